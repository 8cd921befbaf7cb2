"""A virtual clock that can stall the engine's sweeper, and knows whether it sleeps."""

from __future__ import annotations

import anyio

from slotengine.core.time.instant import from_us
from slotengine.testing.clock import SimClock
from slotengine.testing.simulation.steps import ORIGIN


class SweptClock(SimClock):
    """A virtual clock on which only the sweeper waits, and which can keep it from waking."""

    def __init__(self) -> None:
        super().__init__(from_us(ORIGIN))
        self.stalled = False
        self._go_on = anyio.Event()

    def stall(self, on: bool) -> None:
        """Keep the sweeper from running, or let it run again."""
        if on and not self.stalled:
            self._go_on = anyio.Event()
        self.stalled = on
        if not on:
            self._go_on.set()

    @property
    def idle(self) -> bool:
        """Whether the sweeper sleeps, or is stalled."""
        return self.stalled or (
            bool(self._waiting) and not any(wake.is_set() for _, wake in self._waiting)
        )

    async def wait(self, wake: anyio.Event, until: int) -> None:
        """Do as `SimClock.wait`, but do not return while stalled."""
        await super().wait(wake, until)
        while self.stalled:
            await self._go_on.wait()
