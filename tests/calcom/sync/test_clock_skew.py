"""The clock skew: a steady clock was never set, and a clock that was set is noticed soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.sync.clock_skew import NO_CHANGE, ClockSkew
from slotengine.core.time.instant import HOUR, MINUTE, SECOND

LIVES = 5 * MINUTE

moments = st.integers(0, HOUR)
offsets = st.integers(-10 * HOUR, 10 * HOUR)
answers = st.tuples(
    st.sampled_from(["hold", "date"]),
    st.integers(0, 20 * SECOND),  # since the previous response
    st.integers(0, 20 * SECOND),  # until the response was made
    st.integers(0, 20 * SECOND),  # until the response arrived
)


class There:
    """A remote whose clock is ahead, and the responses that tell its time."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.now = 10**15
        self.clock_skew = ClockSkew()

    def answer(self, kind: str, since: int = SECOND, going: int = 0, coming: int = 0) -> bool:
        sent = self.now + since
        made = sent + going
        self.now = made + coming
        there = made + self.ahead
        if kind == "date":
            return self.clock_skew.observe_date(there // SECOND * SECOND, sent, self.now)
        until = (there + LIVES) // 1000 * 1000  # whole milliseconds, as on the wire
        return self.clock_skew.observe_hold(until, LIVES, sent, self.now)


@given(offsets, st.lists(answers, max_size=30))
def test_a_steady_clock_was_never_set(ahead: int, asked: list[tuple[str, int, int, int]]) -> None:
    there = There(ahead)
    for one in asked:
        assert not there.answer(*one)
        if there.clock_skew.hold_observed:
            assert abs(there.clock_skew.ahead - ahead) <= there.clock_skew.error + 1000
    assert there.clock_skew.jumps == 0
    assert there.clock_skew.changed_since((None, None)) == NO_CHANGE


@given(
    offsets,
    st.lists(answers, max_size=10),
    st.sampled_from(["hold", "date"]),
    st.integers(3 * SECOND + 2000, HOUR),
    st.sampled_from([1, -1]),
)
def test_a_change_of_three_seconds_is_noticed_with_the_next_response(
    ahead: int, before: list[tuple[str, int, int, int]], kind: str, by: int, sign: int
) -> None:
    there = There(ahead)
    there.answer(kind)
    for one in before:
        there.answer(*one)
    then = there.clock_skew.snapshot
    there.ahead += sign * by
    assert there.answer(kind)
    assert there.clock_skew.jumps == 1
    back, ahead_by = there.clock_skew.changed_since(then)
    assert back - 1000 <= sign * by <= ahead_by + 1000
    assert (back == 0) is (sign > 0)
    assert there.clock_skew.changed_since((None, None)) != NO_CHANGE


@given(offsets, st.lists(st.tuples(offsets, answers), max_size=20))
def test_changes_that_cancel_out_are_no_change(
    ahead: int, steps: list[tuple[int, tuple[str, int, int, int]]]
) -> None:
    there = There(ahead)
    there.answer("date")
    then = there.clock_skew.snapshot
    for to, (_, *times) in steps:
        there.ahead = to
        there.answer("date", *times)
    there.ahead = ahead
    there.answer("date")
    assert there.clock_skew.changed_since(then) == NO_CHANGE


def test_a_change_that_the_request_explains_is_noticed_later() -> None:
    there = There(0)
    there.answer("date")
    there.ahead = -15 * SECOND
    assert not there.answer("date", coming=0, going=20 * SECOND)
    assert there.answer("date")


def test_small_changes_add_up() -> None:
    there = There(0)
    there.answer("hold")
    then = there.clock_skew.snapshot
    for _ in range(30):
        there.ahead += SECOND // 10
        there.answer("hold", going=SECOND // 100)
    assert there.clock_skew.jumps == 2
    assert there.clock_skew.changed_since(then).most >= 2 * SECOND


def test_a_proxy_may_have_another_clock() -> None:
    clock_skew, now = ClockSkew(), 10**15
    for _ in range(5):
        now += MINUTE
        assert not clock_skew.observe_date(now + HOUR, now, now)
        assert not clock_skew.observe_hold(now + LIVES, LIVES, now, now)
    assert (clock_skew.ahead, clock_skew.largest) == (0, 0)
    # Only the proxy's clock is set, which the next hold corrects.
    assert clock_skew.observe_date(now, now, now)
    assert clock_skew.ahead == -HOUR
    assert clock_skew.observe_hold(now + LIVES, LIVES, now, now)
    assert clock_skew.ahead == 0
    assert not clock_skew.observe_date(now, now, now)


def test_a_hold_that_agrees_with_the_last_date_is_no_second_jump() -> None:
    there = There(0)
    for kind in ("date", "hold"):
        there.answer(kind)
    there.ahead = HOUR
    assert there.answer("date")
    assert not there.answer("hold")
    assert (there.clock_skew.jumps, there.clock_skew.ahead) == (1, HOUR)


def test_dates_alone_tell_the_skew() -> None:
    there = There(-HOUR)
    assert not there.clock_skew.known
    there.answer("date")
    clock_skew = there.clock_skew
    assert (clock_skew.known, clock_skew.hold_observed) == (True, False)
    assert abs(clock_skew.ahead + HOUR) <= clock_skew.error == SECOND // 2
