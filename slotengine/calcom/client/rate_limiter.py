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

Some requests must follow each other at once, such as the two that renew a hold.
Whoever has such draws one number for all of them, and can draw it ahead of
those that have no hurry: then it waits until all of them fit, and nobody who
comes later takes what it waits for.

Synchronous: it says how long to wait, and somebody else waits.  Times are
seconds of a clock that is handed in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0

Number = tuple[bool, int]
"""Of a place in the queue; whoever has the smaller one comes first."""


class Pace:
    """At most ``limit`` requests a minute, first come first served; None for no limit.

    >>> now = 0.0
    >>> pace = Pace(limit=1, clock=lambda: now)
    >>> with pace.request():
    ...     now = 2.0
    >>> pace.wait_s(pace.join())
    60.0
    """

    __slots__ = (
        "_answered", "_clock", "_left", "_left_until", "_limit", "_next", "_not_before", "_queue",
        "under_way",
    )  # fmt: skip

    def __init__(self, *, limit: int | None, clock: Callable[[], float]) -> None:
        self.under_way = 0
        """Requests that were started and not answered."""
        self._limit = limit
        self._clock = clock
        self._answered: deque[float] = deque()  # when, of the last minute's
        self._queue: list[Number] = []  # ascending; each once for every turn it is for
        self._next = 0
        self._not_before = float("-inf")
        self._left = 0
        self._left_until = float("-inf")

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._queue)

    def join(self, turns: int = 1, *, first: bool = False) -> Number:
        """Draw a number for so many turns, ahead of those who have no hurry or not.

        Whoever does must `leave` once for each turn.  O(n) for n waiting.
        """
        number = (not first, self._next)
        self._next += 1
        for _ in range(turns):
            insort(self._queue, number)
        return number

    def leave(self, number: Number) -> None:
        """Give a turn back, whether it came or not.  O(n) for n waiting."""
        del self._queue[bisect_left(self._queue, number)]

    def wait_s(self, number: Number) -> float:
        """Return in how many seconds all turns of a number could come; 0 if they can now.

        It may prove too short: ask again after that time.  Once it is 0 it
        stays so, whoever else comes, but for a `pause`.
        """
        now = self._clock()
        while self._answered and self._answered[0] + WINDOW_S <= now:
            self._answered.popleft()
        turns = bisect_right(self._queue, number) - bisect_left(self._queue, number)
        waits = [self._not_before - now, self._full_until(number, now) - now]
        if turns > 1 and turns > self._left:
            waits.append(self._left_until - now)
        return max(0.0, *waits)

    def _full_until(self, number: Number, now: float) -> float:
        if self._limit is None:
            return now
        # Those ahead, and all of its own.
        queued = bisect_right(self._queue, number)
        too_many = self.under_way + len(self._answered) + queued - self._limit
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

    def heard(self, left: int, seconds: float) -> None:
        """Let nobody begin what takes more turns than the remote says are left for so long."""
        self._left, self._left_until = left, self._clock() + seconds

    def request(self) -> PacedRequest:
        """Return what counts a request, from when it is entered until it is left."""
        return PacedRequest(self)

    def _start(self) -> None:
        self.under_way += 1
        self._left -= 1

    def _end(self) -> None:
        self.under_way -= 1
        if self._limit is not None:
            self._answered.append(self._clock())


class Claim:
    """So many turns that come at once, ahead of all who have no hurry.

    `CalComClient.claim` makes it.  Nobody who comes later takes what it waits
    for, so whoever has one gives it back.
    """

    __slots__ = ("_number", "_pace", "turns")

    def __init__(self, pace: Pace, turns: int) -> None:
        self.turns = turns
        """How many are left of it."""
        self._pace = pace
        self._number = pace.join(turns, first=True)

    def wait_s(self) -> float:
        """Return in how many seconds all that are left could be used; 0 if they can now.

        It may prove too short: ask again after that time.
        """
        return self._pace.wait_s(self._number)

    def use(self) -> bool:
        """Use one, if they have come; what it was for must start before anything else happens."""
        if self.turns == 0 or self.wait_s():
            return False
        self._leave()
        return True

    def give_back(self) -> None:
        """Let others have what is left."""
        while self.turns:
            self._leave()

    def _leave(self) -> None:
        self.turns -= 1
        self._pace.leave(self._number)


class PacedRequest:
    """One request, counted; also if it was cancelled, for it may have been sent."""

    __slots__ = ("_pace",)

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __enter__(self) -> None:
        self._pace._start()

    def __exit__(self, *_: object) -> None:
        self._pace._end()
