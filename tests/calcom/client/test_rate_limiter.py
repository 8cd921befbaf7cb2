"""The pace: never more than the limit in any minute, first come first served."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.client.rate_limiter import WINDOW_S, Claim, Pace


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now


@given(
    limit=st.integers(1, 4),
    calls=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 7.0, 59.9, 60.0]), st.sampled_from([0.0, 0.3, 70.0])),
        min_size=1,
        max_size=25,
    ),
    counted=st.randoms(use_true_random=False),
)
def test_no_minute_has_more_than_the_limit(
    limit: int, calls: list[tuple[float, float]], counted: Random
) -> None:
    """Goal: however late the remote counts each request, it never counts too many.

    Method: one caller after another, each arriving some time after the one
    before and taking some time; the remote counts each at its start, at its
    end, or between.
    """
    time = Time()
    pace = Pace(limit=limit, clock=time.clock)
    counts: list[float] = []
    for gap, takes in calls:
        time.now += gap
        number = pace.join()
        while wait := pace.wait_s(number):
            time.now += wait
        pace.leave(number)
        begun = time.now
        with pace.request():
            time.now += takes
        counts.append(counted.uniform(begun, time.now))
    for first in counts:
        assert sum(first <= count < first + WINDOW_S for count in counts) <= limit


def test_who_comes_first_starts_first() -> None:
    time = Time()
    pace = Pace(limit=1, clock=time.clock)
    with pace.request():
        pass
    first, second = pace.join(), pace.join()
    assert pace.waiting == 2
    time.now += 60
    assert (pace.wait_s(first), pace.wait_s(second)) == (0, 60)
    pace.leave(first)
    assert pace.wait_s(second) == 0


def test_who_waits_behind_many_is_told_how_long_at_least() -> None:
    time = Time()
    pace = Pace(limit=2, clock=time.clock)
    with pace.request(), pace.request():
        pass
    time.now += 20
    assert [pace.wait_s(pace.join()) for _ in range(6)] == [40, 40, 60, 60, 120, 120]


def test_who_leaves_is_not_waited_for() -> None:
    pace = Pace(limit=1, clock=Time().clock)
    first, second, third = pace.join(), pace.join(), pace.join()
    pace.leave(second)
    assert (pace.wait_s(first), pace.wait_s(third)) == (0, 60)


def test_a_request_under_way_counts() -> None:
    time = Time()
    pace = Pace(limit=1, clock=time.clock)
    number = pace.join()
    with pace.request():
        time.now += 3600
        assert pace.under_way == 1
        assert pace.wait_s(number) == 60
    assert pace.wait_s(number) == 60
    time.now += 60
    assert pace.wait_s(number) == 0


def test_a_pause_holds_for_all_and_is_never_made_shorter() -> None:
    time = Time()
    pace = Pace(limit=None, clock=time.clock)
    number = pace.join()
    assert pace.wait_s(number) == 0
    pace.pause(30)
    pace.pause(10)
    assert pace.wait_s(number) == 30
    time.now += 30
    assert pace.wait_s(number) == 0


def test_without_a_limit_nothing_is_remembered() -> None:
    pace = Pace(limit=None, clock=Time().clock)
    for _ in range(3):
        with pace.request():
            pass
    assert len(pace._answered) == 0


# --- Several turns at once -----------------------------------------------------------------


def send(pace: Pace) -> None:
    with pace.request():
        pass


def test_a_claim_waits_until_all_its_turns_fit() -> None:
    time = Time()
    pace = Pace(limit=3, clock=time.clock)
    send(pace)
    time.now += 10
    send(pace)
    claim = Claim(pace, 2)
    assert (claim.wait_s(), claim.use(), claim.turns) == (50, False, 2)
    time.now += 50
    assert claim.use()
    send(pace)
    # Nobody else gets the other one, and it needs no waiting.
    assert pace.wait_s(pace.join()) > 0
    assert (claim.wait_s(), claim.use(), claim.turns) == (0, True, 0)
    assert not claim.use()


def test_a_claim_goes_before_those_that_have_no_hurry_and_after_those_that_have() -> None:
    time = Time()
    pace = Pace(limit=2, clock=time.clock)
    send(pace)
    send(pace)
    patient = pace.join()
    first, second = Claim(pace, 2), Claim(pace, 1)
    time.now += 60
    assert (first.wait_s(), second.wait_s(), pace.wait_s(patient)) == (0, 60, 60)
    first.give_back()
    assert (second.wait_s(), pace.wait_s(patient)) == (0, 0)
    assert pace.waiting == 2
    second.give_back()
    assert pace.waiting == 1


def test_what_the_remote_has_left_is_not_exceeded_by_what_must_be_done_at_once() -> None:
    time = Time()
    pace = Pace(limit=None, clock=time.clock)
    pace.heard(2, 30)
    one, two = Claim(pace, 1), Claim(pace, 2)
    assert (one.wait_s(), two.wait_s()) == (0, 0)
    send(pace)
    assert (one.wait_s(), two.wait_s()) == (0, 30)
    time.now += 30
    assert two.wait_s() == 0


@given(
    limit=st.integers(2, 6),
    turns=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 30.0])), max_size=30),
)
def test_what_has_begun_can_be_ended(limit: int, turns: list[tuple[bool, float]]) -> None:
    """Goal: whoever may use the first of two turns may use the second at once.

    Method: claims and ordinary requests come in any order; each claim uses its
    first turn when it can, and an ordinary request tries to come between.
    """
    time = Time()
    pace = Pace(limit=limit, clock=time.clock)
    claims: list[Claim] = []
    for is_claim, gap in turns:
        time.now += gap
        if is_claim:
            claims.append(Claim(pace, 2))
        for claim in claims:
            if claim.use():
                send(pace)
                number = pace.join()
                if pace.wait_s(number) == 0:
                    send(pace)
                pace.leave(number)
                assert claim.use()
                send(pace)
        claims = [claim for claim in claims if claim.turns]
