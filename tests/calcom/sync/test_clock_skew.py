"""What is said of another clock: never that it was set when it was not, and soon when it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.sync.clock_skew import NOT_AT_ALL, Drift
from slotengine.core.instant import HOUR, MINUTE, SECOND

LIVES = 5 * MINUTE

moments = st.integers(0, HOUR)
offsets = st.integers(-10 * HOUR, 10 * HOUR)
answers = st.tuples(
    st.sampled_from(["hold", "date"]),
    st.integers(0, 20 * SECOND),  # since the one before
    st.integers(0, 20 * SECOND),  # until it was made
    st.integers(0, 20 * SECOND),  # until it arrived
)


class There:
    """A clock that is so far ahead, and what it says in its answers."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.now = 10**15
        self.drift = Drift()

    def answer(self, kind: str, since: int = SECOND, going: int = 0, coming: int = 0) -> bool:
        sent = self.now + since
        made = sent + going
        self.now = made + coming
        there = made + self.ahead
        if kind == "date":
            return self.drift.hear(there // SECOND * SECOND, sent, self.now)
        until = (there + LIVES) // 1000 * 1000  # as the wire has it
        return self.drift.measure(until, LIVES, sent, self.now)


@given(offsets, st.lists(answers, max_size=30))
def test_a_clock_that_goes_on_was_never_set(
    ahead: int, asked: list[tuple[str, int, int, int]]
) -> None:
    there = There(ahead)
    for one in asked:
        assert not there.answer(*one)
        if there.drift.measured:
            assert abs(there.drift.ahead - ahead) <= there.drift.error + 1000
    assert there.drift.jumps == 0
    assert there.drift.set_since((None, None)) == NOT_AT_ALL


@given(
    offsets,
    st.lists(answers, max_size=10),
    st.sampled_from(["hold", "date"]),
    st.integers(3 * SECOND + 2000, HOUR),
    st.sampled_from([1, -1]),
)
def test_one_that_was_set_by_three_seconds_is_noticed_with_the_next_answer(
    ahead: int, before: list[tuple[str, int, int, int]], kind: str, by: int, sign: int
) -> None:
    there = There(ahead)
    there.answer(kind)
    for one in before:
        there.answer(*one)
    then = there.drift.stand
    there.ahead += sign * by
    assert there.answer(kind)
    assert there.drift.jumps == 1
    back, ahead_by = there.drift.set_since(then)
    assert back - 1000 <= sign * by <= ahead_by + 1000
    assert (back == 0) is (sign > 0)
    assert there.drift.set_since((None, None)) != NOT_AT_ALL


@given(offsets, st.lists(st.tuples(offsets, answers), max_size=20))
def test_one_that_is_set_to_and_fro_was_not_set_in_the_end(
    ahead: int, steps: list[tuple[int, tuple[str, int, int, int]]]
) -> None:
    there = There(ahead)
    there.answer("date")
    then = there.drift.stand
    for to, (_, *times) in steps:
        there.ahead = to
        there.answer("date", *times)
    there.ahead = ahead
    there.answer("date")
    assert there.drift.set_since(then) == NOT_AT_ALL


def test_what_the_requests_own_time_explains_is_noticed_later() -> None:
    there = There(0)
    there.answer("date")
    there.ahead = -15 * SECOND
    assert not there.answer("date", coming=0, going=20 * SECOND)
    assert there.answer("date")


def test_little_by_little_it_adds_up() -> None:
    there = There(0)
    there.answer("hold")
    then = there.drift.stand
    for _ in range(30):
        there.ahead += SECOND // 10
        there.answer("hold", going=SECOND // 100)
    assert there.drift.jumps == 2
    assert there.drift.set_since(then).most >= 2 * SECOND


def test_somebody_in_between_may_have_another_clock() -> None:
    drift, now = Drift(), 10**15
    for _ in range(5):
        now += MINUTE
        assert not drift.hear(now + HOUR, now, now)
        assert not drift.measure(now + LIVES, LIVES, now, now)
    assert (drift.ahead, drift.most) == (0, 0)
    # It is set, and the one that matters is not: that is mended with the next hold.
    assert drift.hear(now, now, now)
    assert drift.ahead == -HOUR
    assert drift.measure(now + LIVES, LIVES, now, now)
    assert drift.ahead == 0
    assert not drift.hear(now, now, now)


def test_a_hold_that_says_the_same_as_the_date_before_it_is_no_second_jump() -> None:
    there = There(0)
    for kind in ("date", "hold"):
        there.answer(kind)
    there.ahead = HOUR
    assert there.answer("date")
    assert not there.answer("hold")
    assert (there.drift.jumps, there.drift.ahead) == (1, HOUR)


def test_dates_alone_tell_how_far_it_is_ahead() -> None:
    there = There(-HOUR)
    assert not there.drift.heard
    there.answer("date")
    drift = there.drift
    assert (drift.heard, drift.measured) == (True, False)
    assert abs(drift.ahead + HOUR) <= drift.error == SECOND // 2
