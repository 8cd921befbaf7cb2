"""Those who listen to the engine: one who is quick, some who are slow, and some who come and go.

Whatever happens while somebody listens is either heard or missed, and of what is
missed the number is told: that is checked of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import anyio

from benchmarks.soak.audit import Audit
from slotengine import Event, Lagged, SlotEngine, SystemClock, Verb
from slotengine.core.time.instant import to_us
from slotengine.engine.events import Subscription

ROOM: Final = 100_000
"""Events that the quick listener can be behind; it must not miss any."""
SLOW_ROOM: Final = 128
SLOW_EVERY_S: Final = 0.25
SLOW_AT_ONCE: Final = 16
STAYS_S: Final = 0.5


class Ear:
    """A subscription, and how much of it was heard."""

    def __init__(self, engine: SlotEngine, audit: Audit, buffer: int) -> None:
        self.events: Subscription = engine.subscribe(buffer=buffer)
        self.heard = 0
        self.told_missed = 0
        self._audit = audit
        self._from = audit.count.seen

    def hear(self, heard: Event | Lagged) -> None:
        """Note one event, or how many were missed."""
        if isinstance(heard, Lagged):
            self.told_missed += heard.missed
        else:
            self.heard += 1

    async def leave(self) -> None:
        """Close it, hear what is left in it, and compare with all that has happened."""
        self.events.close()
        happened = self._audit.count.seen - self._from
        with anyio.CancelScope(shield=True):
            async for heard in self.events:
                self.hear(heard)
        told = self.heard, self.told_missed, self.events.missed
        right = self.heard + self.told_missed == happened and self.told_missed == told[2]
        self._audit.broken.unless(right, f"of {happened} events {told} were heard and missed")


async def listen(
    engine: SlotEngine, clock: SystemClock, audit: Audit, late: Callable[[int, int | None], None]
) -> None:
    """Hear everything at once; what has lapsed is no one's any more.

    ``late`` is told how many ns after the change an event was heard, and, of an
    expiry, how many after the until of the hold.
    """
    ear = Ear(engine, audit, ROOM)
    try:
        async for heard in ear.events:
            ear.hear(heard)
            if not isinstance(heard, Event):
                audit.broken.add(f"the quick listener was too slow: {heard}")
                continue
            now, lapsed_ns = clock.now(), None
            if heard.verb is Verb.EXPIRE:
                one = heard.reservation
                assert one.until is not None
                lapsed_ns = (now - to_us(one.until, "until")) * 1000
                audit.acknowledged.expired(one.uid)
            late((now - to_us(heard.at, "at")) * 1000, lapsed_ns)
    finally:
        await ear.leave()


async def listen_slowly(engine: SlotEngine, audit: Audit) -> None:
    """Hear some events now and then, and miss most."""
    ear = Ear(engine, audit, SLOW_ROOM)
    try:
        async for heard in ear.events:
            ear.hear(heard)
            if ear.heard % SLOW_AT_ONCE == 0:
                await anyio.sleep(SLOW_EVERY_S)
    finally:
        await ear.leave()


async def come_and_go(engine: SlotEngine, audit: Audit, seed: int) -> None:
    """Listen for a moment, be cancelled, and begin anew."""
    rng = random.Random(seed)
    while True:
        ear = Ear(engine, audit, SLOW_ROOM)
        try:
            with anyio.move_on_after(STAYS_S * rng.random()):
                await _hear_all(ear)
        finally:
            await ear.leave()


async def _hear_all(ear: Ear) -> None:
    async for heard in ear.events:
        ear.hear(heard)
