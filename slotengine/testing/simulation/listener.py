"""A subscriber that can stall, and knows what it must hear."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from slotengine.engine.events import Event, Lagged, Subscription


class Listener:
    """A subscriber, and how far it is in all that was told."""

    def __init__(self, stream: Subscription, told: Sequence[Event]) -> None:
        self._stream = stream
        self._told = told
        self._next = 0
        self._deaf = False
        self._go_on = anyio.Event()
        self.wrong: str | None = None

    def deafen(self, on: bool) -> None:
        """Stop to read, or go on."""
        if on and not self._deaf:
            self._go_on = anyio.Event()
        self._deaf = on
        if not on:
            self._go_on.set()

    @property
    def idle(self) -> bool:
        """Whether it has heard all there is to hear, or does not listen."""
        return self._deaf or self._next == len(self._told) or self.wrong is not None

    async def run(self) -> None:
        """Read the events, and hold each against what was told."""
        async for event in self._stream:
            if isinstance(event, Lagged):
                self._next += event.missed
            elif self._next < len(self._told) and event is self._told[self._next]:
                self._next += 1
            else:
                self.wrong = f"heard {event} as number {self._next} of {len(self._told)}"
            while self._deaf:
                await self._go_on.wait()
