"""Random schedules of callers, strangers, faults and restarts, and what must hold in them.

``python -m tests.calcom.sync.chaos --seeds 10000`` runs ten thousand of them; a
few run with the ordinary tests.  A seed determines its schedule, and each
failure is printed as the command that repeats it.

There are three parties.  Callers use the sync, some with idempotency keys that
they repeat, and book at the remote when they confirm.  Strangers hold and book
at the remote itself, but never over what is held or booked there, and delete
holds of ours.  The world drops connections, sends malformed responses, takes
the remote down, lets time pass, and aborts the sync and restarts it with
nothing but what its callbacks have kept.

The checks do not trust the sync: they record which callers got a hold, and read
the remote's own tables.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slotengine import EventType, Reservation, SlotError, State, minutes
from slotengine.calcom.sync.remote_state import RemoteState, RevokeReason
from slotengine.calcom.sync.tracked_hold import TrackedHold, span_of
from slotengine.calcom.sync.values import (
    ConfirmCallback,
    OnConfirm,
    SyncedEventType,
    SyncMode,
)
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.turns import Turns
from slotengine.testing.remote import (
    DropAfter,
    DropBefore,
    Error429,
    Error500,
    Fault,
    Garbage,
    RemoteBooking,
    SelectedSlot,
)
from slotengine.testing.remote.faults import At
from tests.calcom.sync.world import CHAT, NOW, TALK, TEN, World, world

STARTS = [TEN + minutes(15) * n for n in range(6)]
MOVES = 24
VERBS = ("reserve",) * 3 + ("move", "extend", "release", "confirm", "cancel", "direct")
FAULTS: tuple[Fault, ...] = (
    DropBefore(),
    DropAfter(),
    Error500(),
    Error500(at=At.AFTER),
    Garbage(),
    Error429(reset_s=3),
)


VARIED = EventType(
    id="varied", length=minutes(30), interval=minutes(15), lengths=[minutes(30), minutes(60)],
    all_of=["court"],
)  # fmt: skip
TYPES = ((TALK, 1, SyncMode.STRICT), (CHAT, 2, SyncMode.BACKGROUND), (VARIED, 7, SyncMode.STRICT))
MODES = {event_type.id: mode for event_type, _, mode in TYPES}
THERE = {event_type.id: remote_id for event_type, remote_id, _ in TYPES}
KEYS = (None,) * 16 + ("a", "b", "a#1", "1:a")


class Violation(AssertionError):
    """Something that must never happen."""


class Schedule:
    """One random schedule."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seen: Counter[str] = Counter()
        self.acked: dict[str, SyncMode] = {}
        self.strangers: set[str] = set()
        self.robbed: set[str] = set()
        """The uids of reservations whose hold at the remote a stranger has deleted."""
        self.keys: dict[str, str] = {}
        """The idempotency key of each reservation."""
        self.booked: dict[str, str] = {}
        """The uids of the callback's bookings at the remote, and their reservations."""
        self.calm = False
        """Whether there are no faults, outages or restarts."""
        self.alone = True
        """Whether there is one caller at a time."""
        self.up = True
        self.world: World

    async def run(self) -> None:
        """Run the schedule with faults, then a time without, and check both."""
        draw = self.random
        confirms: list[OnConfirm | ConfirmCallback] = [OnConfirm.KEEP, OnConfirm.RELEASE, self.book]
        synced = [
            SyncedEventType(
                event_type,
                mode,
                custom_ttl=draw.random() < 0.6,
                on_confirm=draw.choice(confirms),
                headroom=minutes(draw.choice([0, 0, 3])),
                max_ttl=minutes(20),
            )
            for event_type, _, mode in TYPES
        ]
        client = {"wait_for_permit": False, "per_minute": draw.choice([None, 20, 60])}
        async with world(
            *synced,
            client=client,
            enter=False,
            now=NOW + timedelta(seconds=draw.choice([0, 1, 29.5, 59.999_999])),
            random=Random(draw.random()),
            drain=minutes(1),
        ) as self.world:
            self.world.engine.turns = Turns(draw.choice([1, 2, 64]))
            self.world.engine.add_event_type(VARIED)
            await self.world.sync.__aenter__()
            rate = draw.choice([0, 0, 0.03, 0.1, 0.25])
            self.calm = rate == 0 and draw.random() < 0.7
            self.world.remote.faults.random(
                draw.randrange(10**9), dict.fromkeys(FAULTS, rate / len(FAULTS))
            )
            self.world.remote.skew = timedelta(seconds=draw.choice([0, 0, 40, -40]))
            for _ in range(MOVES):
                await self.move()
            await self.recover()

    # --- What happens ------------------------------------------------------------------

    async def move(self) -> None:
        lurking = asyncio.create_task(self.lurk()) if self.random.random() < 0.4 else None
        try:
            await self.act()
        finally:
            if lurking is not None:
                lurking.cancel()
                await asyncio.wait([lurking])
        if self.random.random() < 0.6:
            await self.world.settled()
            self.check()

    async def lurk(self) -> None:
        """Be a stranger while something else happens."""
        while True:
            for _ in range(self.random.randrange(1, 30)):
                await asyncio.sleep(0)
            self.stranger()

    async def act(self) -> None:
        draw = self.random.random()
        if draw < 0.55:
            callers = self.random.choice([1, 1, 2, 4])
            self.alone = callers == 1
            await asyncio.gather(*(self.call() for _ in range(callers)))
        elif draw < 0.68:
            self.stranger()
        elif draw < 0.88:
            await self.world.advance(timedelta(seconds=self.random.choice([1, 7, 31, 61, 290])))
        elif draw < 0.93 and not self.calm:
            await (self.world.remote.down() if self.up else self.world.remote.up())
            self.up = not self.up
        elif draw < 0.97 and not self.calm:
            await self.restart()
        else:
            await self.world.sync.slots("talk", STARTS[0], STARTS[-1] + minutes(30))

    async def call(self) -> None:
        """Be a caller; some are cancelled."""
        task = asyncio.create_task(self.ask())
        if self.random.random() < 0.2:
            for _ in range(self.random.randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
        done, _ = await asyncio.wait([task])
        with suppress(asyncio.CancelledError):
            for one in done:
                one.result()

    async def ask(self) -> None:
        sync, engine, draw = self.world.sync, self.world.engine, self.random
        start = draw.choice(STARTS)
        mine = [uid for uid in self.acked if self.is_live(uid)]
        verb = draw.choice(VERBS)
        self.seen[verb] += 1
        try:
            if verb == "reserve" or not mine:
                return await self.reserve(start)
            uid = draw.choice(mine)
            match verb:
                case "move":
                    await self.move_to(uid, start)
                case "extend":
                    await sync.extend(uid, ttl=minutes(draw.choice([1, 4, 12])))
                case "release":
                    await sync.release(uid)
                case "confirm":
                    await self.confirm(uid)
                case "cancel":
                    await sync.cancel(uid)
                case _:
                    engine.local.release(uid)
        except (SlotError, OSError) as error:
            self.seen[type(error).__name__] += 1

    async def reserve(self, start: datetime) -> None:
        draw = self.random
        name, key = draw.choice([*MODES]), draw.choice(KEYS)
        ttl = timedelta(seconds=draw.choice([20, 90, 300, 900]))
        length = minutes(draw.choice([30, 60])) if name == "varied" else None
        hold = await self.world.sync.reserve_slot(name, start, ttl=ttl, length=length, key=key)
        if not self.is_live(hold.uid) or hold.state is State.RELEASED:
            raise Violation(f"{hold} was returned for the key {key}, and is not held")
        if self.keys.setdefault(hold.uid, key or "") != (key or ""):
            raise Violation(f"{hold} was made with the key {self.keys[hold.uid]}, not with {key}")
        self.acked.setdefault(hold.uid, MODES[name])

    async def move_to(self, uid: str, start: datetime) -> None:
        """Move a reservation, perhaps to another event type or length, and check the result."""
        draw, sync = self.random, self.world.sync
        current = self.world.engine.local.get(uid)
        assert current is not None
        name = draw.choice([current.event_type, current.event_type, *MODES])
        assert name is not None
        length = minutes(draw.choice([30, 60])) if name == "varied" else None
        moved = await sync.move_slot(uid, start, event_type=name, length=length)
        self.acked[uid] = MODES[name]  # of concurrent moves the last counts
        asked = (name, start, start + (length or minutes(30)))
        if (moved.event_type, moved.start, moved.end) != asked and self.alone:
            raise Violation(f"{moved} was returned for a move to {asked}")

    async def confirm(self, uid: str) -> None:
        """Confirm a hold; then the remote must have it, unless a stranger has just deleted it."""
        robberies, sync = self.seen["robbed"], self.world.sync
        confirmed = await sync.confirm(uid)
        tracked = sync.index.by_uid.get(uid)
        keeps = (
            tracked is not None
            and tracked.synced.on_confirm is OnConfirm.KEEP
            and not tracked.booked
        )
        quiet = self.calm and self.alone and self.seen["robbed"] == robberies
        if keeps and quiet and MODES[confirmed.event_type or ""] is SyncMode.STRICT:
            there = {(row.event_type_id, row.start, row.end) for row in self.ours()}
            name = confirmed.event_type or ""
            if (THERE[name], confirmed.start, confirmed.end) not in there:
                raise Violation(
                    f"{confirmed} is confirmed, and the remote does not hold it: {there}"
                )

    async def book(self, reservation: Reservation, remote_uid: str | None) -> None:
        """The callback: book at the remote, which ignores holds, after a while, or fail."""
        remote, name = self.world.remote, reservation.event_type or ""
        for _ in range(self.random.randrange(1, 30)):
            await asyncio.sleep(0)
        if self.random.random() < 0.2:
            raise OSError
        for other in remote.bookings:
            if other.event_type_id == THERE[name] and other.overlaps(
                reservation.start, reservation.end
            ):
                if other.uid in self.booked and self.calm:
                    raise Violation(
                        f"{reservation} is booked already, for {self.booked[other.uid]}"
                    )
                raise OSError
        booking = remote.book(THERE[name], reservation.start)
        self.booked[booking.uid] = reservation.uid
        self.seen["booked"] += 1

    def rob(self) -> None:
        """Delete one of our holds at the remote."""
        index = self.world.sync.index.by_uid
        known = {
            tracked.remote_uid for tracked in index.values()
        }  # the uids of the others are not known yet
        rows = [row.uid for row in self.ours() if row.uid in known]
        if rows and self.up and not self.world.remote.undecided:
            row = self.random.choice(rows)
            self.robbed |= {uid for uid, tracked in index.items() if tracked.remote_uid == row}
            self.world.remote.release(row)
            self.seen["robbed"] += 1

    def stranger(self) -> None:
        """Hold or book at the remote what its own checks allow, unless it is down."""
        if not self.up or self.world.remote.undecided:
            return
        remote, draw = self.world.remote, self.random
        if draw.random() < 0.1:
            self.rob()
            return
        remote_id, start = draw.choice([*THERE.values()]), draw.choice(STARTS)
        end = start + minutes(30)
        booked = [one for one in remote.bookings if one.event_type_id == remote_id]
        taken: list[SelectedSlot | RemoteBooking] = [*remote.live(remote_id), *booked]
        if any(one.overlaps(start, end) for one in taken):
            return
        self.seen["stranger"] += 1
        if draw.random() < 0.2:
            remote.book(remote_id, start)
        else:
            row = remote.hold(remote_id, start, minutes=draw.choice([1, 5, 15]))
            self.strangers.add(row.uid)

    async def restart(self) -> None:
        """Abort the sync, or leave it in order, and start another with what was kept."""
        old = self.world.sync
        if self.random.random() < 0.5:
            self.seen["crash"] += 1
            await old.abort()
            kept = self.world.left_by_a_crash()
        else:
            self.seen["left"] += 1
            await old.__aexit__(None, None, None)
            kept = old.saved()
        self.world.sync = self.world.new_sync(saved=kept)
        await self.world.sync.__aenter__()

    async def recover(self) -> None:
        """Without faults both sides must agree soon, or the report must say why not."""
        remote = self.world.remote
        remote.faults.clear()
        if not self.up:
            await remote.up()
        await self.world.pass_slowly(minutes(3), timedelta(seconds=10))
        self.check()
        sync, index = self.world.sync, self.world.sync.index
        for uid in sync.waiting:
            if index.by_uid[uid].observed.state is not RemoteState.CREATE_UNKNOWN:
                raise Violation(f"{uid} has not caught up: {index.by_uid[uid]}")
        await self.compare()
        # By now all orphaned holds have ended.
        await self.world.pass_slowly(minutes(25), timedelta(seconds=30))
        self.check()
        if sync.waiting or index.orphans.live(index.now()):
            raise Violation(f"the sync has not caught up: {self.world.sync.statistics()}")
        await self.compare()

    async def compare(self) -> None:
        """Reconcile; every difference must be reported, and be gone if reported as repaired."""
        before = self.differences()
        report = await self.world.sync.reconcile()
        named = {finding.uid for finding in report.findings}
        if not before <= named:
            raise Violation(f"{before - named} are not reported in {report}")
        left = {finding.uid for finding in report.findings if not finding.repaired}
        if not (after := self.differences()) <= left:
            raise Violation(f"{after - left} still differ, unlike {report} says")

    # --- What must hold ------------------------------------------------------------------

    def is_live(self, uid: str) -> bool:
        found = self.world.engine.local.get(uid)
        return found is not None and found.state in {State.HELD, State.CONFIRMED}

    def check(self) -> None:
        """No caller shares a slot with a stranger, and every hold of ours is known."""
        now = self.world.remote.now()
        held = [row for row in self.world.remote.live() if row.uid in self.strangers]
        booked = [one for one in self.world.remote.bookings if one.uid not in self.booked]
        theirs: list[SelectedSlot | RemoteBooking] = [*held, *booked]
        for event in self.world.revoked:
            if (
                self.calm
                and event.reason is not RevokeReason.REFUSED
                and event.uid not in self.robbed
            ):
                raise Violation(f"{event}, although there was no fault")
        for uid, mode in self.acked.items():
            found = self.world.engine.local.get(uid)
            if found is None or not self.is_live(uid) or self.is_excused(found, mode):
                continue
            remote_id = THERE[found.event_type or ""]
            for other in theirs:
                if other.event_type_id == remote_id and other.overlaps(found.start, found.end):
                    raise Violation(f"{found} ({mode}) and {other}: sold twice at {now}")
        for row in self.ours():
            self.check_known(row)
        for uid in self.world.sync.index.by_uid:
            if self.is_live(uid) and uid not in self.acked:
                raise Violation(f"{uid} is held, and no caller was given it")

    def is_excused(self, found: Reservation, mode: SyncMode) -> bool:
        """Return whether the sync itself reports that the remote may not hold it."""
        uid = found.uid
        if uid in self.robbed or any(event.uid == uid for event in self.world.diverged):
            return True
        if found.state is State.CONFIRMED:
            tracked = self.world.sync.index.by_uid.get(uid)
            if tracked is None or tracked.booked:  # its event type has released it there
                return True
            return uid in self.world.sync.waiting
        # In the background the remote need not have it yet.
        return mode is SyncMode.BACKGROUND and uid in self.world.sync.waiting

    def ours(self) -> list[SelectedSlot]:
        return [row for row in self.world.remote.live() if row.uid not in self.strangers]

    def check_known(self, row: SelectedSlot) -> None:
        """Every hold of ours is known by its uid, or as an orphan that lasts at least as long."""
        index = self.world.sync.index
        if any(tracked.remote_uid == row.uid for tracked in index.by_uid.values()):
            return
        until = to_us(row.release_at - self.world.remote.skew)
        for orphan in index.orphans.live(index.now()):
            span = orphan.span.remote_id, orphan.span.start
            if span == (row.event_type_id, to_us(row.start)) and orphan.until >= until:
                return
        raise Violation(f"{row} is unknown to the sync at {self.world.clock.moment}")

    def differences(self) -> set[str | None]:
        """Return the uids about which the tables of both sides differ."""
        engine, index = self.world.engine, self.world.sync.index
        rows = {row.uid: row for row in self.ours()}
        found: set[str | None] = set()
        known: set[str] = set()
        for uid in {*self.acked, *index.by_uid}:
            tracked = index.by_uid.get(uid)
            row = None if tracked is None else rows.get(tracked.remote_uid or "")
            desired = self.should_be_there(engine.local.get(uid), tracked)
            if row is not None:
                known.add(row.uid)
            there = None if row is None else (row.event_type_id, row.start)
            if desired != there:
                found.add(uid)
        if rows.keys() - known:
            found.add(None)
        return found

    def should_be_there(
        self, here: Reservation | None, tracked: TrackedHold | None
    ) -> tuple[int, datetime] | None:
        if here is None or here.state not in {State.HELD, State.CONFIRMED}:
            return None
        synced = self.world.sync.index.synced[here.event_type or ""]
        over = synced.on_confirm is OnConfirm.RELEASE or here.end <= self.world.clock.moment
        over = over or (tracked is not None and tracked.booked) or here.uid in self.booked.values()
        if here.state is State.CONFIRMED and over:
            return None
        span = span_of(here, synced)
        return span.remote_id, from_us(span.start)


async def run(seed: int) -> Counter[str]:
    """Run one schedule; raises `Violation`."""
    schedule = Schedule(seed)
    await schedule.run()
    return schedule.seen


def _run_despite_taken_ports(seed: int) -> Counter[str]:
    """Run a schedule, again if another program has taken the remote's port meanwhile."""
    try:
        return asyncio.run(asyncio.wait_for(run(seed), 60))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    return asyncio.run(asyncio.wait_for(run(seed), 60))


def run_some(seeds: range) -> tuple[Counter[str], list[str]]:
    """Run several schedules; return what happened, and the failures."""
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in seeds:
        try:
            seen += _run_despite_taken_ports(seed)
        except Exception as error:
            wrong.append(f"python -m tests.calcom.sync.chaos --first {seed} --seeds 1: {error!r}")
    return seen, wrong


def _quiet() -> None:
    logging.disable(logging.CRITICAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    _quiet()
    began = time.perf_counter()
    last = options.first + options.seeds
    shares = [range(n, min(n + 50, last)) for n in range(options.first, last, 50)]
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    if options.jobs == 1:
        results: Any = map(run_some, shares)
    else:
        results = ProcessPoolExecutor(options.jobs, initializer=_quiet).map(run_some, shares)
    for counted, failures in results:
        seen += counted
        wrong += failures
        for failure in failures:
            print(failure, flush=True)
    took_s = time.perf_counter() - began
    print(f"{options.seeds} schedules in {took_s:.0f} s, {len(wrong)} wrong")
    print(", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
