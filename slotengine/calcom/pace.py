"""When the next request may start, so that the remote need not say 429.

The remote counts requests in windows of a minute, which begin when it likes,
and shuts out for another minute whoever exceeds one.  So of any minute,
wherever it begins, no more requests than the limit may be counted in.  The
remote counts a request at some moment between its start and its answer; here
it counts from its start until a minute after its answer, and the limit is kept
exactly.  (Of a request that was given up, the moment is not known: it counts
until a minute after that.)

A bucket that refills does not keep it: a full one and what flows in within the
minute make twice the limit.  The well-kept libraries offer that, or windows
that begin at a request's start, and wait by a sleep that cannot be handed in.

Synchronous: it says how long to wait, and somebody else waits.  Times are
seconds of a clock that is handed in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0


class Pace:
    """At most ``limit`` requests a minute, first come first served; None for no limit.

    >>> now = 0.0
    >>> pace = Pace(limit=1, clock=lambda: now)
    >>> with pace.request():
    ...     now = 2.0
    >>> pace.wait_s(pace.join())
    60.0
    """

    __slots__ = ("_answered", "_clock", "_limit", "_next", "_not_before", "_queue", "under_way")

    def __init__(self, *, limit: int | None, clock: Callable[[], float]) -> None:
        self.under_way = 0
        """Requests that were started and not answered."""
        self._limit = limit
        self._clock = clock
        self._answered: deque[float] = deque()  # when, of the last minute's
        self._queue: list[int] = []  # the numbers drawn, ascending
        self._next = 0
        self._not_before = float("-inf")

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    def join(self) -> int:
        """Draw a number; whoever does must `leave`.  O(1)."""
        number = self._next
        self._next += 1
        self._queue.append(number)
        return number

    def leave(self, number: int) -> None:
        """Give the number back, whether its turn came or not.  O(n) for n waiting."""
        del self._queue[bisect_left(self._queue, number)]

    def wait_s(self, number: int) -> float:
        """Return how many seconds until it could be the number's turn; 0 if it is now.

        It may prove too short: ask again after that time.
        """
        now = self._clock()
        while self._answered and self._answered[0] + WINDOW_S <= now:
            self._answered.popleft()
        return max(0.0, self._not_before - now, self._full_until(number, now) - now)

    def _full_until(self, number: int, now: float) -> float:
        if self._limit is None:
            return now
        ahead = bisect_left(self._queue, number)
        too_many = self.under_way + len(self._answered) + ahead + 1 - self._limit
        if too_many <= 0:
            return now
        if too_many <= len(self._answered):
            return self._answered[too_many - 1] + WINDOW_S
        # Then some that are not answered yet, or not even started, must be a minute old.
        rounds = -(-(too_many - len(self._answered)) // self._limit)
        return now + rounds * WINDOW_S

    def pause(self, seconds: float) -> None:
        """Let nobody start for so long; a longer pause is not made shorter."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def request(self) -> PacedRequest:
        """Return what counts a request, from when it is entered until it is left."""
        return PacedRequest(self)

    def _start(self) -> None:
        self.under_way += 1

    def _end(self) -> None:
        self.under_way -= 1
        if self._limit is not None:
            self._answered.append(self._clock())


class PacedRequest:
    """One request, counted; also if it was cancelled, for it may have been sent."""

    __slots__ = ("_pace",)

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __enter__(self) -> None:
        self._pace._start()

    def __exit__(self, *_: object) -> None:
        self._pace._end()
