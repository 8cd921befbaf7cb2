"""The requests that a server is at, and how long it waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

LAST_WORDS_S: Final = 1
"""How long answers to requests that were given up may take."""


class Traffic:
    """The requests under way, so that stopping can wait for them.

    aiohttp's own shutdown waits for handlers, but no longer reads what they
    wait for: it drops bodies that have not arrived yet.
    """

    __slots__ = ("_idle", "_waits", "given_up", "stopping", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.stopping = False
        self.given_up = False
        self._idle = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` if what is inside takes longer, or at once when giving up."""
        async with asyncio.timeout(seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def done(self) -> None:
        """Count one request less."""
        self.under_way -= 1
        if self.stopping and not self.under_way:
            self._idle.set()

    async def stop(self, grace_s: float) -> None:
        """Let connections end with the request they are at, and wait for those.

        What takes longer than the grace is given up.
        """
        self.stopping = True
        await self._until_idle(grace_s)
        self.give_up()
        await self._until_idle(LAST_WORDS_S)

    def give_up(self) -> None:
        """Wait no longer, neither for bodies nor for the requests under way."""
        self.given_up = True
        for wait in self._waits:
            with contextlib.suppress(RuntimeError):  # it is ending already
                wait.reschedule(0)

    async def _until_idle(self, seconds: float) -> None:
        if self.under_way:
            with contextlib.suppress(TimeoutError):
                async with self.patience(seconds):
                    await self._idle.wait()
