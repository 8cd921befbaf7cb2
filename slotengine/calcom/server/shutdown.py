"""Graceful shutdown: waits for the requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

ABORT_GRACE_S: Final = 1
"""The time for the responses to aborted requests."""


class GracefulShutdown:
    """Counts the requests in flight, and waits for them.

    aiohttp's own shutdown waits for handlers, but stops reading: it drops bodies that
    have not arrived yet.
    """

    __slots__ = ("_deadlines", "_idle", "aborted", "in_flight", "stopping")

    def __init__(self) -> None:
        self.in_flight = 0
        self.stopping = False
        self.aborted = False
        self._idle = asyncio.Event()
        self._deadlines: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` after ``seconds``, or when requests are aborted."""
        async with asyncio.timeout(seconds) as deadline:
            self._deadlines.add(deadline)
            try:
                yield
            finally:
                self._deadlines.discard(deadline)

    def done(self) -> None:
        """Count a request as finished."""
        self.in_flight -= 1
        if self.stopping and not self.in_flight:
            self._idle.set()

    async def stop(self, grace_s: float) -> None:
        """Close connections after their current request, and wait for those.

        Requests that take longer than ``grace_s`` are aborted.
        """
        self.stopping = True
        await self._until_idle(grace_s)
        self.abort()
        await self._until_idle(ABORT_GRACE_S)

    def abort(self) -> None:
        """Stop waiting for bodies and for requests in flight."""
        self.aborted = True
        for deadline in self._deadlines:
            with contextlib.suppress(RuntimeError):  # it has ended
                deadline.reschedule(0)

    async def _until_idle(self, seconds: float) -> None:
        if self.in_flight:
            with contextlib.suppress(TimeoutError):
                async with self.timeout(seconds):
                    await self._idle.wait()
