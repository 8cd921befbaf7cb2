"""An engine in step with a remote Cal.com, and how both sides behave when something fails.

Run it from a checkout with ``python -m examples.sync``; it needs the extra ``calcom``.
The remote is the stand-in from `slotengine.testing.remote`, and time is simulated, so
the whole example takes less than a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio

from slotengine import EventType, ReservationQuery, SlotEngine, SlotError, State, minutes
from slotengine.calcom import (
    CalComClient,
    CalComSync,
    RemoteDown,
    SyncedEventType,
    SyncEvent,
    SyncMode,
)
from slotengine.testing import SimClock
from slotengine.testing.remote import DropAfter, RemoteApiKey, RemoteCalCom, RemoteEventType

MONDAY = datetime(2050, 9, 5, 8, tzinfo=UTC)
TEN = MONDAY + timedelta(hours=2)
NOON = MONDAY + timedelta(hours=4)
SECOND = 1_000_000

TODAY = ReservationQuery(
    states=[State.HELD, State.CONFIRMED], start=MONDAY, end=MONDAY + timedelta(days=1)
)

TALK = EventType(id="talk", length=minutes(30), all_of=["ann"])
CHAT = EventType(id="chat", length=minutes(30), all_of=["bob"])


class Stage:
    """Both sides, with methods that print their state."""

    def __init__(self, clock: SimClock, remote: RemoteCalCom, engine: SlotEngine) -> None:
        self.clock = clock
        self.remote = remote
        self.engine = engine
        self.sync: CalComSync

    async def print_state(self, text: str) -> None:
        """Print what happened, and what each side holds."""
        print(f"{self.clock.moment:%H:%M:%S}  {text}")
        for name, host, remote_id in (("talk", "ann", 1), ("chat", "bob", 2)):
            here = (await self.engine.find(replace(TODAY, resource=host))).reservations
            there = sorted(row.start for row in self.remote.live(remote_id))
            ours = ", ".join(f"{one.start:%H:%M} {one.state.value}" for one in here) or "-"
            theirs = ", ".join(f"{start:%H:%M}" for start in there) or "-"
            print(f"            {name}: here {ours:<28} there {theirs}")

    def print_event(self, event: SyncEvent) -> None:
        """Print an event of the sync."""
        print(f"{self.clock.moment:%H:%M:%S}  [{event}]")

    async def wait(self, by: timedelta) -> None:
        """Advance the clock, step by step."""
        until = self.clock.moment + by
        while self.clock.moment < until:
            self.clock.set(min(until, self.clock.moment + timedelta(seconds=5)))
            await self.settle()

    async def settle(self) -> None:
        """Let both sides finish what they can do at this time."""
        for _ in range(10):
            await asyncio.sleep(0)
        await self.sync.settled()

    async def attempt(self, name: str, start: datetime) -> None:
        """Request a slot, and print the result."""
        try:
            hold = await self.sync.reserve_slot(name, start, ttl=minutes(10))
        except SlotError as error:
            await self.print_state(f"{name} at {start:%H:%M}: no. {type(error).__name__}: {error}")
        else:
            await self.print_state(f"{name} at {start:%H:%M}: yes, until {hold.until:%H:%M}")


async def strict(stage: Stage) -> None:
    """In strict mode, a hold is returned once the remote has accepted it."""
    print("\n== Strict: talk")
    hold = await stage.sync.reserve_slot("talk", TEN, ttl=minutes(10))
    await stage.print_state("talk at 10:00: yes")
    await stage.sync.move_slot(hold.uid, NOON)
    await stage.print_state("moved to 12:00")
    stage.remote.hold(1, TEN)
    await stage.attempt("talk", TEN)
    await stage.sync.release(hold.uid)
    await stage.print_state("released")


async def background(stage: Stage) -> None:
    """In background mode, a hold is returned at once, and revoked if the remote refuses it."""
    print("\n== Background: chat")
    await stage.attempt("chat", TEN)
    await stage.settle()
    await stage.print_state("the remote has followed")
    stage.remote.hold(2, NOON)
    await stage.attempt("chat", NOON)
    await stage.settle()
    await stage.print_state("the remote has refused: somebody else holds 12:00 there")


async def lost(stage: Stage) -> None:
    """A response is lost, so the remote keeps an orphaned hold with an unknown uid."""
    print("\n== A response is lost")
    stage.remote.faults.script(DropAfter(), op="post")
    await stage.attempt("talk", TEN + timedelta(hours=1))
    for finding in (await stage.sync.reconcile()).findings:
        print(f"            report: {finding.difference.value} until {finding.until:%H:%M:%S}")
    await stage.wait(timedelta(minutes=10, seconds=5))
    await stage.attempt("talk", TEN + timedelta(hours=1))


async def outage(stage: Stage) -> None:
    """The remote goes down: strict mode raises at once, background mode catches up later."""
    print("\n== The remote stops")
    await stage.remote.down()
    refused = 0
    while True:
        try:
            await stage.sync.reserve_slot("talk", NOON)
        except RemoteDown as error:
            await stage.print_state(
                f"strict: no response {refused} times; now refused at once: {error}"
            )
            break
        except SlotError:
            refused += 1
    for hour in (5, 6, 7):
        await stage.attempt("chat", MONDAY + timedelta(hours=hour))
    await stage.wait(minutes(2))
    await stage.remote.up()
    print("\n== The remote is back")
    await stage.wait(minutes(2))
    await stage.print_state("background has caught up")
    await stage.attempt("talk", NOON)


async def main() -> None:
    """Run all scenes."""
    clock = SimClock(MONDAY)

    async def sleep(seconds: float) -> None:
        await clock.wait(anyio.Event(), clock.now() + int(seconds * SECOND))

    async with (
        RemoteCalCom(
            [RemoteEventType(id=1, notice=0), RemoteEventType(id=2, notice=0)],
            api_keys=[RemoteApiKey("cal_key", 1)],
            clock=clock,
        ) as remote,
        CalComClient(
            remote.url,
            api_key="cal_key",
            attempts=1,
            clock=lambda: clock.now() / SECOND,
            sleep=sleep,
        ) as client,
        SlotEngine(clock=clock) as engine,
    ):
        for host, event_type in (("ann", TALK), ("bob", CHAT)):
            engine.add_resource(host)
            engine.add_event_type(event_type)
        stage = Stage(clock, remote, engine)
        synced = {
            1: SyncedEventType(TALK, custom_ttl=True),
            2: SyncedEventType(CHAT, SyncMode.BACKGROUND, custom_ttl=True),
        }
        async with CalComSync(
            engine, client, synced, clock=clock, on_event=stage.print_event
        ) as stage.sync:
            for scene in (strict, background, lost, outage):
                await scene(stage)
            report = await stage.sync.reconcile()
            print(f"\n{report.compared} compared; the report has:")
            for finding in report.findings:
                print(f"    {finding.difference.value}, until {finding.until:%H:%M:%S}")
            print(stage.sync.statistics())


if __name__ == "__main__":
    asyncio.run(main())
