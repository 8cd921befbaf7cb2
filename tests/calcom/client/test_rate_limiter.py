"""The rate limiter: never more than the limit in any minute, first come, first served."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.client.rate_limiter import WINDOW_S, Permits, RateLimiter


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
    """Goal: whenever the remote counts each request, it never counts too many.

    Method: requests follow one another with gaps, and take some time; the
    remote counts each at its start, at its end, or in between.
    """
    time = Time()
    limiter = RateLimiter(limit=limit, clock=time.clock)
    counts: list[float] = []
    for gap, takes in calls:
        time.now += gap
        ticket = limiter.join()
        while wait := limiter.wait_s(ticket):
            time.now += wait
        limiter.leave(ticket)
        begun = time.now
        with limiter.request():
            time.now += takes
        counts.append(counted.uniform(begun, time.now))
    for first in counts:
        assert sum(first <= count < first + WINDOW_S for count in counts) <= limit


def test_first_come_first_served() -> None:
    time = Time()
    limiter = RateLimiter(limit=1, clock=time.clock)
    with limiter.request():
        pass
    first, second = limiter.join(), limiter.join()
    assert limiter.waiting == 2
    time.now += 60
    assert (limiter.wait_s(first), limiter.wait_s(second)) == (0, 60)
    limiter.leave(first)
    assert limiter.wait_s(second) == 0


def test_the_wait_behind_many_others_is_a_lower_bound() -> None:
    time = Time()
    limiter = RateLimiter(limit=2, clock=time.clock)
    with limiter.request(), limiter.request():
        pass
    time.now += 20
    assert [limiter.wait_s(limiter.join()) for _ in range(6)] == [40, 40, 60, 60, 120, 120]


def test_nobody_waits_for_a_ticket_that_was_given_back() -> None:
    limiter = RateLimiter(limit=1, clock=Time().clock)
    first, second, third = limiter.join(), limiter.join(), limiter.join()
    limiter.leave(second)
    assert (limiter.wait_s(first), limiter.wait_s(third)) == (0, 60)


def test_a_request_in_flight_counts() -> None:
    time = Time()
    limiter = RateLimiter(limit=1, clock=time.clock)
    ticket = limiter.join()
    with limiter.request():
        time.now += 3600
        assert limiter.in_flight == 1
        assert limiter.wait_s(ticket) == 60
    assert limiter.wait_s(ticket) == 60
    time.now += 60
    assert limiter.wait_s(ticket) == 0


def test_a_pause_holds_for_all_and_is_never_shortened() -> None:
    time = Time()
    limiter = RateLimiter(limit=None, clock=time.clock)
    ticket = limiter.join()
    assert limiter.wait_s(ticket) == 0
    limiter.pause(30)
    limiter.pause(10)
    assert limiter.wait_s(ticket) == 30
    time.now += 30
    assert limiter.wait_s(ticket) == 0


def test_without_a_limit_nothing_is_remembered() -> None:
    limiter = RateLimiter(limit=None, clock=Time().clock)
    for _ in range(3):
        with limiter.request():
            pass
    assert limiter.remembered == 0


# --- Several permits at once ---------------------------------------------------------------


def send(limiter: RateLimiter) -> None:
    with limiter.request():
        pass


def test_permits_wait_until_all_of_them_fit() -> None:
    time = Time()
    limiter = RateLimiter(limit=3, clock=time.clock)
    send(limiter)
    time.now += 10
    send(limiter)
    permits = Permits(limiter, 2)
    assert (permits.wait_s(), permits.use(), permits.left) == (50, False, 2)
    time.now += 50
    assert permits.use()
    send(limiter)
    # Nobody else gets the other permit, and it needs no waiting.
    assert limiter.wait_s(limiter.join()) > 0
    assert (permits.wait_s(), permits.use(), permits.left) == (0, True, 0)
    assert not permits.use()


def test_permits_go_ahead_of_ordinary_calls_and_behind_earlier_permits() -> None:
    time = Time()
    limiter = RateLimiter(limit=2, clock=time.clock)
    send(limiter)
    send(limiter)
    restored = limiter.join()
    first, second = Permits(limiter, 2), Permits(limiter, 1)
    time.now += 60
    assert (first.wait_s(), second.wait_s(), limiter.wait_s(restored)) == (0, 60, 60)
    first.give_back()
    assert (second.wait_s(), limiter.wait_s(restored)) == (0, 0)
    assert limiter.waiting == 2
    second.give_back()
    assert limiter.waiting == 1


def test_permits_do_not_exceed_what_the_remote_says_remains() -> None:
    time = Time()
    limiter = RateLimiter(limit=None, clock=time.clock)
    limiter.set_remaining(2, 30)
    one, two = Permits(limiter, 1), Permits(limiter, 2)
    assert (one.wait_s(), two.wait_s()) == (0, 0)
    send(limiter)
    assert (one.wait_s(), two.wait_s()) == (0, 30)
    time.now += 30
    assert two.wait_s() == 0


@given(
    limit=st.integers(2, 6),
    calls=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 30.0])), max_size=30),
)
def test_a_second_permit_is_always_ready_after_the_first(
    limit: int, calls: list[tuple[bool, float]]
) -> None:
    """Goal: if the first of two permits can be used, so can the second, at once.

    Method: pairs of permits and ordinary requests come in any order.  Each pair
    uses its first permit when it can, and an ordinary request tries to come in
    between.
    """
    time = Time()
    limiter = RateLimiter(limit=limit, clock=time.clock)
    pairs: list[Permits] = []
    for is_pair, gap in calls:
        time.now += gap
        if is_pair:
            pairs.append(Permits(limiter, 2))
        for permits in pairs:
            if permits.use():
                send(limiter)
                ticket = limiter.join()
                if limiter.wait_s(ticket) == 0:
                    send(limiter)
                limiter.leave(ticket)
                assert permits.use()
                send(limiter)
        pairs = [permits for permits in pairs if permits.left]
