"""A remote, a client, an engine and a sync between them, on one simulated clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import anyio

from slotengine import EventType, SlotEngine, minutes
from slotengine.calcom import CalComClient
from slotengine.calcom.sync.sync import CalComSync
from slotengine.calcom.sync.values import (
    CaughtUp,
    Diverged,
    Revoked,
    SavedHold,
    SavedOrphan,
    SavedState,
    SyncedEventType,
    SyncEvent,
    SyncMode,
)
from slotengine.core.time.instant import SECOND
from slotengine.testing import SimClock
from slotengine.testing.remote import (
    RateLimit,
    RateLimits,
    RemoteApiKey,
    RemoteCalCom,
    RemoteEventType,
    RemoteHost,
    RemoteTeam,
    SelectedSlot,
)

NOW: Final = datetime(2050, 9, 5, 6, tzinfo=UTC)  # a Monday
TEN: Final = datetime(2050, 9, 5, 10, tzinfo=UTC)
NOON: Final = datetime(2050, 9, 5, 12, tzinfo=UTC)
DAY: Final = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)

TALK: Final = EventType(id="talk", length=minutes(30), all_of=["room"])
CHAT: Final = EventType(id="chat", length=minutes(30), all_of=["booth"])
PAIR: Final = EventType(id="pair", length=minutes(30), any_of=[["ann", "bob"]])
LONG: Final = EventType(
    id="long", length=minutes(60), interval=minutes(15), all_of=["court"], lengths=()
)

STRICT: Final = SyncedEventType(TALK, custom_ttl=True, renew_before=timedelta(seconds=30))
BACKGROUND: Final = SyncedEventType(
    CHAT, SyncMode.BACKGROUND, custom_ttl=True, renew_before=timedelta(seconds=30)
)

THERE: Final = {"talk": 1, "chat": 2, "pair": 3, "long": 4, "other": 4, "varied": 7}
"""The remote's ids of the event types."""

REMOTE_TYPES: Final = (
    RemoteEventType(id=1, length=30, owner=1, notice=0),
    RemoteEventType(id=2, length=30, owner=2, notice=0),
    RemoteEventType(
        id=3,
        length=30,
        team=10,
        hosts=(RemoteHost(3), RemoteHost(4)),
        round_robin=True,
        notice=0,
    ),
    RemoteEventType(id=4, length=60, step=15, owner=1, notice=0),
    RemoteEventType(id=7, length=30, lengths=(30, 60), step=15, owner=1, notice=0),
)


_MANY: Final = RateLimit(10**9)
UNLIMITED: Final = RateLimits(api_key=_MANY, address=_MANY)


class Longest:
    """Always draws the longest wait, and no jitter."""

    def uniform(self, least: float, most: float) -> float:
        return 0.0 if least < 0 else most


@dataclass
class World:
    """Both sides and the sync between them."""

    clock: SimClock
    remote: RemoteCalCom
    client: CalComClient
    engine: SlotEngine
    synced: tuple[SyncedEventType, ...]
    options: dict[str, Any]
    events: list[SyncEvent] = field(default_factory=list)
    kept: dict[str, SavedHold] = field(default_factory=dict)
    kept_orphans: list[SavedOrphan] = field(default_factory=list)
    sync: CalComSync = field(init=False)

    def new_sync(self, **options: Any) -> CalComSync:
        """Return another sync of the same two sides, not entered."""
        return CalComSync(
            self.engine,
            self.client,
            {THERE[one.id]: one for one in self.synced},
            clock=self.clock,
            **({"random": Longest()} | self.options | options),
            on_event=self.events.append,
            on_hold=self._keep,
            on_orphan=self.kept_orphans.append,
        )

    def _keep(self, tracked: SavedHold) -> None:
        if tracked.over:
            self.kept.pop(tracked.uid, None)
        else:
            self.kept[tracked.uid] = tracked

    def left_by_a_crash(self) -> SavedState:
        """Return what the callbacks have kept and have not dropped."""
        now = self.clock.now()
        orphans = tuple(orphan for orphan in self.kept_orphans if orphan.until > now)
        return SavedState(tuple(self.kept.values()), orphans)

    @property
    def revoked(self) -> list[Revoked]:
        return [event for event in self.events if isinstance(event, Revoked)]

    @property
    def diverged(self) -> list[Diverged]:
        return [event for event in self.events if isinstance(event, Diverged)]

    @property
    def caught_up(self) -> list[CaughtUp]:
        return [event for event in self.events if isinstance(event, CaughtUp)]

    @property
    def live(self) -> list[SelectedSlot]:
        """The holds at the remote, by start."""
        return sorted(self.remote.live(), key=lambda row: row.start)

    @property
    def there(self) -> list[str]:
        """The starts of the holds at the remote, as hours and minutes."""
        return [f"{row.start:%H:%M}" for row in self.live]

    def requests(self, *ops: str) -> list[str]:
        """Return the operations that were requested, in order."""
        return [one.op for one in self.remote.log if one.op and (not ops or one.op in ops)]

    async def settled(self) -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        await self.sync.settled()

    async def advance(self, by: timedelta) -> None:
        """Advance the clock, and let everything happen that is due."""
        for _ in range(16):  # what was sent arrives first
            await anyio.lowlevel.checkpoint()
        self.clock.set(self.clock.moment + by)
        for _ in range(8):
            await anyio.lowlevel.checkpoint()
        await self.settled()

    async def pass_slowly(self, by: timedelta, step: timedelta = timedelta(seconds=5)) -> None:
        """Advance the clock in steps."""
        until = self.clock.moment + by
        while self.clock.moment < until:
            await self.advance(min(step, until - self.clock.moment))


@asynccontextmanager
async def world(
    *synced: SyncedEventType,
    remote_types: Iterable[RemoteEventType] = REMOTE_TYPES,
    client: dict[str, Any] | None = None,
    remote: dict[str, Any] | None = None,
    enter: bool = True,
    now: datetime = NOW,
    **options: Any,
) -> AsyncIterator[World]:
    """Run a world that syncs these event types."""
    clock = SimClock(now)

    async def sleep(seconds: float) -> None:
        never = anyio.Event()
        await clock.wait(never, clock.now() + int(seconds * SECOND))

    settings: dict[str, Any] = {
        "api_key": "cal_all",
        "clock": lambda: clock.now() / SECOND,
        "sleep": sleep,
        "attempts": 1,
        "per_minute": None,
        "random": Random(1),
    }
    settings |= client or {}
    async with (
        RemoteCalCom(
            remote_types,
            clock=clock,
            teams=(RemoteTeam(id=10, slug="all", members=frozenset({1, 2, 3, 4})),),
            api_keys=(RemoteApiKey("cal_all", 1),),
            **({"limits": UNLIMITED} | (remote or {})),
        ) as stand_in,
        CalComClient(stand_in.url, **settings) as calcom,
        SlotEngine(clock=clock) as engine,
    ):
        for resource in ("room", "booth", "ann", "bob", "court"):
            engine.add_resource(resource)
        for event_type in (TALK, CHAT, PAIR, LONG):
            engine.add_event_type(event_type)
        whole = World(clock, stand_in, calcom, engine, synced or (STRICT, BACKGROUND), options)
        whole.sync = whole.new_sync()
        if enter:
            await whole.sync.__aenter__()
        try:
            yield whole
        finally:
            if whole.sync.is_open:
                await whole.sync.__aexit__(None, None, None)
