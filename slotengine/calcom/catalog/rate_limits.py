"""Rate limits: a fixed window of requests for each caller, and a block once it is exceeded.

A window begins with a caller's first request.  The first request beyond the limit
begins a block, during which every request is refused; after it a new window begins.

Knows nothing of who callers are.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from slotengine.core.time.instant import SECOND

MAX_CALLERS: Final = 100_000
"""The most callers that are remembered at once; each takes about 300 bytes."""


class RateLimit(NamedTuple):
    """A number of requests in a window, and how long a caller is blocked beyond it."""

    requests: int
    window_s: int = 60
    block_s: int = 60
    name: str = "default"


DEFAULT_LIMIT: Final = RateLimit(120)
AUTHENTICATED_LIMIT: Final = RateLimit(500)
"""The original's limit for access tokens and OAuth clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limit of each kind of caller; None: no limit.  The defaults are the original's."""

    api_key: RateLimit | None = DEFAULT_LIMIT
    access_token: RateLimit | None = AUTHENTICATED_LIMIT
    oauth_client: RateLimit | None = AUTHENTICATED_LIMIT
    address: RateLimit | None = DEFAULT_LIMIT
    address_header: str | None = None
    """The header in which a trusted proxy names the caller's address; None: the peer's counts."""


UNLIMITED: Final = RateLimits(api_key=None, access_token=None, oauth_client=None, address=None)


class RateLimitStatus(NamedTuple):
    """The state of a caller's window after a request."""

    limit: RateLimit
    remaining: int
    reset_s: int
    """Seconds until the window or the block ends, rounded up."""
    exceeded: bool

    def headers(self) -> dict[str, str]:
        """Return the three rate-limit headers of a response.

        >>> status = RateLimitStatus(RateLimit(120), remaining=7, reset_s=60, exceeded=False)
        >>> status.headers()["X-RateLimit-Remaining-Default"]
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
    """Return the names of the three headers of a limit."""
    shown = name.capitalize()
    return (
        f"X-RateLimit-Limit-{shown}",
        f"X-RateLimit-Remaining-{shown}",
        f"X-RateLimit-Reset-{shown}",
    )


class FixedWindowCounter:
    """Counts the requests of each caller under one limit.

    >>> windows = FixedWindowCounter(RateLimit(2))
    >>> [windows.hit("a", now=0).remaining for _ in range(3)], windows.hit("b", now=0).remaining
    ([1, 0, 0], 1)
    >>> windows.hit("a", now=59_000_000)
    RateLimitStatus(limit=RateLimit(...), remaining=0, reset_s=1, exceeded=True)

    A caller whose window or block has ended is forgotten as others come.  Beyond
    ``max_callers``, so is the caller whose window or block ends next.
    """

    __slots__ = ("_blocked", "_counting", "_limit", "_max_callers")

    def __init__(self, limit: RateLimit, *, max_callers: int = MAX_CALLERS) -> None:
        assert limit.requests >= 0
        assert limit.window_s > 0
        assert limit.block_s > 0
        assert max_callers > 0
        self._limit = limit
        self._max_callers = max_callers
        # The end and count of each window, and the end of each block.  All windows are equally
        # long, so are all blocks, and time does not go backwards: the first entry ends first.
        self._counting: dict[Hashable, tuple[int, int]] = {}
        self._blocked: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Return the number of callers remembered."""
        return len(self._counting) + len(self._blocked)

    def hit(self, caller: Hashable, *, now: int) -> RateLimitStatus:
        """Count a request.  O(1); ``now`` is never before that of an earlier call."""
        limit = self._limit
        until = self._blocked.get(caller)
        if until is not None:
            if now < until:
                return self._count(0, until - now, exceeded=True)
            del self._blocked[caller]
        ends, hits = self._counting.get(caller, (now, 0))
        if now >= ends:
            self._counting.pop(caller, None)  # so that it is added again at the end
            ends, hits = now + limit.window_s * SECOND, 0
            self._make_room(now)
        hits += 1
        if hits <= limit.requests:
            self._counting[caller] = ends, hits
            return self._count(limit.requests - hits, ends - now, exceeded=False)
        self._counting.pop(caller, None)
        self._blocked[caller] = now + limit.block_s * SECOND
        return self._count(0, limit.block_s * SECOND, exceeded=True)

    def charge(self, caller: Hashable, more: int, *, now: int) -> RateLimitStatus:
        """Count ``more`` further requests for one that `hit` has admitted.

        If fewer are left, nothing is counted and the status is ``exceeded``.  A request
        that costs more than a whole window is admitted as the first of a window, and
        uses it up.

        >>> windows = FixedWindowCounter(RateLimit(10))
        >>> windows.hit("a", now=0).remaining, windows.charge("a", 4, now=0).remaining
        (9, 5)
        >>> windows.charge("a", 6, now=0)
        RateLimitStatus(limit=RateLimit(...), remaining=5, reset_s=60, exceeded=True)
        >>> windows.hit("b", now=0).remaining, windows.charge("b", 99, now=0).remaining
        (9, 0)
        """
        limit = self._limit
        ends, hits = self._counting.get(caller, (now, 0))
        if now >= ends:  # the window has ended since, or the caller is blocked
            return self._count(0, max(0, self._blocked.get(caller, now) - now), exceeded=True)
        if hits + more > limit.requests:
            if hits > 1:
                return self._count(limit.requests - hits, ends - now, exceeded=True)
            more = limit.requests - hits
        self._counting[caller] = ends, hits + more
        return self._count(limit.requests - hits - more, ends - now, exceeded=False)

    def _count(self, remaining: int, us: int, *, exceeded: bool) -> RateLimitStatus:
        return RateLimitStatus(self._limit, remaining, -(-us // SECOND), exceeded)

    def _make_room(self, now: int) -> None:
        """Forget up to two callers whose window or block has ended; if still full, one more.

        Forgetting two for each caller added shrinks the number at a constant cost per request.
        """
        for _ in range(2):
            self._forget_one(now)
        if len(self) >= self._max_callers:
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
        assert len(self) <= self._max_callers
        assert not self._counting.keys() & self._blocked.keys()
        ends = [end for end, _ in self._counting.values()]
        assert ends == sorted(ends)
        assert list(self._blocked.values()) == sorted(self._blocked.values())
        assert all(1 <= hits <= self._limit.requests for _, hits in self._counting.values())
