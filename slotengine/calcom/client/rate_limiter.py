"""A rate limiter: says when the next request may start, so that the remote need not answer 429.

The remote counts requests in windows of a minute that may begin at any moment,
and it shuts out a caller that exceeds its limit for another minute.  So no
minute, wherever it begins, may contain more requests than the limit.  The
remote counts a request at some moment between its start and its response.
Here a request counts from its start until a minute after its response, which
keeps the limit exactly.  (If a request is cancelled, that moment is unknown;
the request counts until a minute after the cancellation.)

A token bucket does not keep such a limit: a full bucket, plus the tokens that
are added within the minute, allow twice as many requests.  The
libraries that are maintained offer token buckets, or windows that begin when a
request starts, and they call a sleep function that cannot be replaced.

Some requests must be sent back to back, such as the two that renew a hold.
They share one ticket, which can go ahead of ordinary tickets.  The ticket waits
until all of its requests fit, and no later ticket overtakes it.

Synchronous: it says how long to wait, and the caller waits.  Times are seconds
of the clock that is passed in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

WINDOW_S: Final = 60.0

Ticket = tuple[bool, int]
"""A place in the queue; the smaller ticket comes first."""


class RateLimiter:
    """Allows at most ``limit`` requests a minute, first come, first served; None for no limit.

    >>> now = 0.0
    >>> limiter = RateLimiter(limit=1, clock=lambda: now)
    >>> with limiter.request():
    ...     now = 2.0
    >>> limiter.wait_s(limiter.join())
    60.0
    """

    __slots__ = (
        "_clock", "_finished_at", "_limit", "_next", "_not_before", "_queue", "_remaining",
        "_remaining_until", "in_flight",
    )  # fmt: skip

    def __init__(self, *, limit: int | None, clock: Callable[[], float]) -> None:
        self.in_flight = 0
        """Requests that have started and have no response yet."""
        self._limit = limit
        self._clock = clock
        self._finished_at: deque[float] = deque()  # the responses of the last minute
        self._queue: list[Ticket] = []  # in order; a ticket for n permits n times
        self._next = 0
        self._not_before = float("-inf")
        self._remaining = 0
        self._remaining_until = float("-inf")

    @property
    def waiting(self) -> int:
        """How many requests wait for a permit."""
        return len(self._queue)

    @property
    def remembered(self) -> int:
        """How many finished requests still count."""
        return len(self._finished_at)

    def join(self, permits: int = 1, *, first: bool = False) -> Ticket:
        """Return a ticket for a number of permits; ``first`` puts it ahead of ordinary ones.

        The caller must call `leave` once for each permit.  O(n) for n waiting.
        """
        ticket = (not first, self._next)
        self._next += 1
        for _ in range(permits):
            insort(self._queue, ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give one permit of a ticket back, whether it was used or not.  O(n) for n waiting."""
        del self._queue[bisect_left(self._queue, ticket)]

    def wait_s(self, ticket: Ticket) -> float:
        """Return in how many seconds all permits of a ticket may be ready; 0 if they are now.

        The wait can turn out to be longer, so ask again afterwards.  Once it is
        0 it stays 0, whoever joins the queue, until `pause` is called.
        """
        now = self._clock()
        while self._finished_at and self._finished_at[0] + WINDOW_S <= now:
            self._finished_at.popleft()
        permits = bisect_right(self._queue, ticket) - bisect_left(self._queue, ticket)
        waits = [self._not_before - now, self._full_until(ticket, now) - now]
        if permits > 1 and permits > self._remaining:
            waits.append(self._remaining_until - now)
        return max(0.0, *waits)

    def _full_until(self, ticket: Ticket, now: float) -> float:
        if self._limit is None:
            return now
        # The tickets ahead, and all permits of this one.
        queued = bisect_right(self._queue, ticket)
        too_many = self.in_flight + len(self._finished_at) + queued - self._limit
        if too_many <= 0:
            return now
        if too_many <= len(self._finished_at):
            return self._finished_at[too_many - 1] + WINDOW_S
        # A minute must also pass after requests that are in flight or queued.
        rounds = -(-(too_many - len(self._finished_at)) // self._limit)
        return now + rounds * WINDOW_S

    def pause(self, seconds: float) -> None:
        """Let no request start for some seconds; a longer pause is not made shorter."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def set_remaining(self, remaining: int, seconds: float) -> None:
        """Note how many requests the remote still takes within the next seconds.

        Until then no ticket for several permits may use more than that.
        """
        self._remaining, self._remaining_until = remaining, self._clock() + seconds

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request, from entering the block until leaving it.

        A cancelled request counts too, because it may have been sent.
        """
        self.in_flight += 1
        self._remaining -= 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if self._limit is not None:
                self._finished_at.append(self._clock())


class Permits:
    """Permits for several requests that are sent back to back, ahead of ordinary calls.

    Made by `CalComClient.permits`.  Other calls wait behind these permits, so
    give back those that are not used.
    """

    __slots__ = ("_limiter", "_ticket", "left")

    def __init__(self, limiter: RateLimiter, count: int) -> None:
        self.left = count
        """How many have not been used or given back."""
        self._limiter = limiter
        self._ticket = limiter.join(count, first=True)

    def wait_s(self) -> float:
        """Return in how many seconds all that are left may be ready; 0 if they are now.

        The wait can turn out to be longer, so ask again afterwards.
        """
        return self._limiter.wait_s(self._ticket)

    def use(self) -> bool:
        """Use one permit; return False if the permits are not ready or none is left.

        Send the request before the next await.
        """
        if self.left == 0 or self.wait_s():
            return False
        self._leave()
        return True

    def give_back(self) -> None:
        """Let other calls have the permits that are left."""
        while self.left:
            self._leave()

    def _leave(self) -> None:
        self.left -= 1
        self._limiter.leave(self._ticket)
