"""A subscriber that can be stalled, and knows which events it must receive."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from slotengine.engine.events import Event, Lagged, Subscription


class Listener:
    """A subscriber, and its position in the list of all events."""

    def __init__(self, stream: Subscription, events: Sequence[Event]) -> None:
        self._stream = stream
        self._events = events
        self._next = 0
        self._stalled = False
        self._go_on = anyio.Event()
        self.wrong: str | None = None
        """What it received that it should not have, if anything."""

    def stall(self, on: bool) -> None:
        """Stop reading, or go on."""
        if on and not self._stalled:
            self._go_on = anyio.Event()
        self._stalled = on
        if not on:
            self._go_on.set()

    @property
    def idle(self) -> bool:
        """Whether it has read every event, or does not read."""
        return self._stalled or self._next == len(self._events) or self.wrong is not None

    async def run(self) -> None:
        """Read the events, and compare each with the list."""
        async for event in self._stream:
            if isinstance(event, Lagged):
                self._next += event.missed
            elif self._next < len(self._events) and event is self._events[self._next]:
                self._next += 1
            else:
                self.wrong = f"received {event} as number {self._next} of {len(self._events)}"
            while self._stalled:
                await self._go_on.wait()
