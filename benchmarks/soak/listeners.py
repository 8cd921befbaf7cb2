"""The subscribers: a fast one, some slow ones, and some that come and go.

Every event while a subscription is open is either received or missed, and the number of
missed events is reported.  That is checked for each subscriber.
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
"""How many events the fast subscriber may be behind.  It must miss none."""
SLOW_ROOM: Final = 128
SLOW_EVERY_S: Final = 0.25
SLOW_AT_ONCE: Final = 16
STAYS_S: Final = 0.5


class Ear:
    """A subscription, and how much it received."""

    def __init__(self, engine: SlotEngine, audit: Audit, buffer: int) -> None:
        self.events: Subscription = engine.subscribe(buffer=buffer)
        self.heard = 0
        self.told_missed = 0
        self._audit = audit
        self._from = audit.count.seen

    def hear(self, heard: Event | Lagged) -> None:
        """Record an event, or the number of missed ones."""
        if isinstance(heard, Lagged):
            self.told_missed += heard.missed
        else:
            self.heard += 1

    async def leave(self) -> None:
        """Close it, receive what is left, and compare with everything that happened."""
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
    """Receive everything at once, and record which holds have lapsed.

    ``late`` is called with the time in ns from a change to its receipt and, for an expiry,
    from the hold's ``until``.
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
    """Receive some events from time to time, and miss most."""
    ear = Ear(engine, audit, SLOW_ROOM)
    try:
        async for heard in ear.events:
            ear.hear(heard)
            if ear.heard % SLOW_AT_ONCE == 0:
                await anyio.sleep(SLOW_EVERY_S)
    finally:
        await ear.leave()


async def come_and_go(engine: SlotEngine, audit: Audit, seed: int) -> None:
    """Listen for a moment, be cancelled, and start again."""
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
