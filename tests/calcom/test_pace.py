"""The pace: never more than the limit in any minute, first come first served."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.pace import WINDOW_S, Pace


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
