"""How often each caller may call: a count in a window, and a while of nothing beyond it.

A window begins with a caller's first request.  The request after the last that is
allowed begins a block instead, during which none counts; then all begins anew.

Knows nothing of who callers are.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from slotengine.core.time.instant import SECOND

MOST_CALLERS: Final = 100_000
"""How many callers are remembered at once; each takes about 300 bytes."""


class RateLimit(NamedTuple):
    """So many requests in a window, and once that is exceeded none for a while."""

    requests: int
    window_s: int = 60
    block_s: int = 60
    name: str = "default"


USUAL_LIMIT: Final = RateLimit(120)
TRUSTED_LIMIT: Final = RateLimit(500)
"""The original's, for callers whom it knows by more than a key or an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limit for each kind of caller, None for none; the defaults are the original's."""

    api_key: RateLimit | None = USUAL_LIMIT
    access_token: RateLimit | None = TRUSTED_LIMIT
    oauth_client: RateLimit | None = TRUSTED_LIMIT
    address: RateLimit | None = USUAL_LIMIT
    address_header: str | None = None
    """Where a trusted proxy says which address calls; None: whoever has connected does."""


UNLIMITED: Final = RateLimits(api_key=None, access_token=None, oauth_client=None, address=None)


class Count(NamedTuple):
    """How a caller stands after a request: how many are left, and when that changes."""

    limit: RateLimit
    remaining: int
    reset_s: int
    """Seconds until the window, or the block, ends; begun ones count."""
    exceeded: bool

    def headers(self) -> dict[str, str]:
        """Return the three headers that tell of it.

        >>> Count(RateLimit(120), 7, 60, exceeded=False).headers()["X-RateLimit-Remaining-Default"]
        '7'
        """
        limit, remaining, reset = _names(self.limit.name)
        return {
            limit: str(self.limit.requests),
            remaining: str(self.remaining),
            reset: str(self.reset_s),
        }


@cache
def _names(name: str) -> tuple[str, str, str]:
    """Return what the three headers of a limit are called."""
    shown = name.capitalize()
    return (
        f"X-RateLimit-Limit-{shown}",
        f"X-RateLimit-Remaining-{shown}",
        f"X-RateLimit-Reset-{shown}",
    )


class Windows:
    """The requests of each caller, under one limit.

    >>> windows = Windows(RateLimit(2))
    >>> [windows.hit("a", now=0).remaining for _ in range(3)], windows.hit("b", now=0).remaining
    ([1, 0, 0], 1)
    >>> windows.hit("a", now=59_000_000)
    Count(limit=RateLimit(...), remaining=0, reset_s=1, exceeded=True)

    Who has been quiet for a window, or a block, is forgotten as others come; and
    beyond ``most`` callers also who is next to be.
    """

    __slots__ = ("_blocked", "_counting", "_limit", "_most")

    def __init__(self, limit: RateLimit, *, most: int = MOST_CALLERS) -> None:
        assert limit.requests >= 0
        assert limit.window_s > 0
        assert limit.block_s > 0
        assert most > 0
        self._limit = limit
        self._most = most
        # When it ends, and how many so far; and when each block ends.  All windows are equally
        # long, and so are all blocks, and time does not go backwards: the first ends first.
        self._counting: dict[Hashable, tuple[int, int]] = {}
        self._blocked: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Return how many callers are remembered."""
        return len(self._counting) + len(self._blocked)

    def hit(self, caller: Hashable, *, now: int) -> Count:
        """Count a request.  O(1); ``now`` is never before that of an earlier call."""
        limit = self._limit
        until = self._blocked.get(caller)
        if until is not None:
            if now < until:
                return self._count(0, until - now, exceeded=True)
            del self._blocked[caller]
        ends, hits = self._counting.get(caller, (now, 0))
        if now >= ends:
            self._counting.pop(caller, None)  # to be the last again
            ends, hits = now + limit.window_s * SECOND, 0
            self._make_room(now)
        hits += 1
        if hits <= limit.requests:
            self._counting[caller] = ends, hits
            return self._count(limit.requests - hits, ends - now, exceeded=False)
        self._counting.pop(caller, None)
        self._blocked[caller] = now + limit.block_s * SECOND
        return self._count(0, limit.block_s * SECOND, exceeded=True)

    def charge(self, caller: Hashable, more: int, *, now: int) -> Count:
        """Count a request that `hit` has let pass as so many more, if the caller has them left.

        If not, nothing more is counted, and ``exceeded`` says so.  What is more than a
        window has is let pass if nothing else was counted in it, and then takes all.

        >>> windows = Windows(RateLimit(10))
        >>> windows.hit("a", now=0).remaining, windows.charge("a", 4, now=0).remaining
        (9, 5)
        >>> windows.charge("a", 6, now=0)
        Count(limit=RateLimit(...), remaining=5, reset_s=60, exceeded=True)
        >>> windows.hit("b", now=0).remaining, windows.charge("b", 99, now=0).remaining
        (9, 0)
        """
        limit = self._limit
        ends, hits = self._counting.get(caller, (now, 0))
        if now >= ends:  # it has ended since, or is blocked
            return self._count(0, max(0, self._blocked.get(caller, now) - now), exceeded=True)
        if hits + more > limit.requests:
            if hits > 1:
                return self._count(limit.requests - hits, ends - now, exceeded=True)
            more = limit.requests - hits
        self._counting[caller] = ends, hits + more
        return self._count(limit.requests - hits - more, ends - now, exceeded=False)

    def _count(self, remaining: int, us: int, *, exceeded: bool) -> Count:
        return Count(self._limit, remaining, -(-us // SECOND), exceeded)

    def _make_room(self, now: int) -> None:
        """Forget two of those whose time is over, or one more if there are too many.

        Two for each that is added, so that they become fewer, and nobody waits.
        """
        for _ in range(2):
            self._forget_one(now)
        if len(self) >= self._most:
            del (self._counting or self._blocked)[next(iter(self._counting or self._blocked))]

    def _forget_one(self, now: int) -> None:
        if self._blocked:
            caller = next(iter(self._blocked))
            if self._blocked[caller] <= now:
                del self._blocked[caller]
                return
        if self._counting:
            caller = next(iter(self._counting))
            if self._counting[caller][0] <= now:
                del self._counting[caller]

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests."""
        assert len(self) <= self._most
        assert not self._counting.keys() & self._blocked.keys()
        ends = [end for end, _ in self._counting.values()]
        assert ends == sorted(ends)
        assert list(self._blocked.values()) == sorted(self._blocked.values())
        assert all(1 <= hits <= self._limit.requests for _, hits in self._counting.values())
