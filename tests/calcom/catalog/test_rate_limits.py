"""The windows of a rate limit, beside a naive one that goes through all requests again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.catalog.rate_limits import FixedWindowCounter, RateLimit, RateLimitStatus

SECOND = 1_000_000

# Few callers and short limits, so that windows fill, end and begin again.
limits = st.builds(RateLimit, st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))
calls = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(st.integers(0, 6).map(SECOND.__mul__), st.integers(0, 6 * SECOND)),
    ),
    max_size=60,
)


def last_of(limit: RateLimit, times: list[int]) -> RateLimitStatus:
    """Return how the last of all requests of one caller is answered."""
    at = 0
    while True:  # each turn is one window, and the block after it if there is one
        ends = times[at] + limit.window_s * SECOND
        inside = [time for time in times[at:] if time < ends]
        if len(inside) <= limit.requests:
            if at + len(inside) == len(times):
                left = limit.requests - len(inside)
                return RateLimitStatus(limit, left, -((times[-1] - ends) // SECOND), exceeded=False)
            at += len(inside)
            continue
        until = inside[limit.requests] + limit.block_s * SECOND
        after = [time for time in times[at + limit.requests :] if time >= until]
        if not after:
            return RateLimitStatus(limit, 0, -((times[-1] - until) // SECOND), exceeded=True)
        at = len(times) - len(after)


@given(limits, calls)
def test_windows_agree_with_the_naive_model(limit: RateLimit, calls: list[tuple[str, int]]) -> None:
    windows = FixedWindowCounter(limit)
    times: dict[str, list[int]] = {}
    now = 0
    for caller, later in calls:
        now += later
        times.setdefault(caller, []).append(now)
        assert windows.hit(caller, now=now) == last_of(limit, times[caller])
        windows.check_invariants()


@given(limits, st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.integers(0, SECOND))))
def test_no_more_callers_are_remembered_than_allowed(
    limit: RateLimit, most: int, calls: list[tuple[int, int]]
) -> None:
    windows = FixedWindowCounter(limit, max_callers=most)
    now = 0
    for caller, later in calls:
        now += later
        windows.hit(caller, now=now)
        windows.check_invariants()


@given(limits, st.integers(1, 50))
def test_who_has_gone_quiet_is_forgotten(limit: RateLimit, callers: int) -> None:
    windows = FixedWindowCounter(limit)
    for caller in range(callers):
        for _ in range(limit.requests + caller % 2):
            windows.hit(caller, now=0)
    later = max(limit.window_s, limit.block_s) * SECOND
    for caller in range(callers):
        windows.hit(("new", caller), now=later)
        windows.check_invariants()
    assert len(windows) == callers


def test_who_is_pushed_out_is_who_would_be_next() -> None:
    windows = FixedWindowCounter(RateLimit(2), max_callers=2)
    for now, caller in enumerate("abab"):
        windows.hit(caller, now=now)
    windows.hit("c", now=4)
    assert windows.hit("b", now=5).exceeded
    assert windows.hit("a", now=6).remaining == 1
