"""What is taken at the remote is busy here."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from slotengine import SlotError, SlotTaken, State, minutes
from slotengine.calcom import RemoteBusy, SyncedEventType, WhenStale
from slotengine.testing.remote import DropAfter, Error500, Gate, RemoteEventType, Wait
from tests.calcom.sync.world import (
    BACKGROUND,
    DAY,
    LONG,
    NOON,
    NOW,
    PAIR,
    STRICT,
    TEN,
    World,
    world,
)

pytestmark = pytest.mark.anyio

HALF = minutes(30)
LONG_THERE = SyncedEventType(LONG, custom_ttl=True)


async def starts(w: World, name: str = "talk") -> list[datetime]:
    return [slot.start for slot in (await w.sync.slots(name, TEN, NOON)).slots]


def busy(w: World, resource: str = "room") -> list[tuple[str, str, str]]:
    spans = w.engine.local.imported(resource, *DAY)
    return [(f"{s:%H:%M}", f"{e:%H:%M}", source) for s, e, source in spans]


async def test_what_is_booked_there_is_busy_here() -> None:
    async with world() as w:
        w.remote.book(1, TEN)
        assert await starts(w) == [TEN + HALF * n for n in (1, 2, 3)]
        assert busy(w) == [("10:00", "10:30", "cal.com")]
        with pytest.raises(SlotTaken):
            await w.sync.reserve_slot("talk", TEN)
        assert w.requests() == ["search"]  # it is known here, so it costs no request


async def test_what_is_free_there_again_is_free_here() -> None:
    async with world() as w:
        theirs = w.remote.book(1, TEN)
        await starts(w)
        w.remote.cancel(theirs.uid)
        await w.advance(minutes(1))
        assert (busy(w), len(await starts(w))) == ([], 4)


async def test_our_own_holds_are_not_busy() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(20))
        await starts(w)
        await w.advance(minutes(1))
        assert busy(w) == []
        await w.sync.move_slot(hold.uid, TEN + minutes(15))
        await w.sync.release(hold.uid)
        assert len(await starts(w)) == 4
        await w.advance(minutes(1))
        assert (busy(w), len(await starts(w))) == ([], 4)


async def test_a_poll_just_after_a_release_proves_nothing() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await starts(w)
        await w.advance(timedelta(seconds=1))
        await w.sync.release(hold.uid)
        await w.sync.poll()  # the remote answers from its cache
        assert busy(w) == []


async def test_a_poll_in_flight_during_a_release_proves_nothing() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(20))
        await starts(w)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="search")
        polling = asyncio.ensure_future(w.sync.poll())
        await gate.reached()
        await w.sync.release(hold.uid)
        w.remote.hold(1, TEN, minutes=1)  # as if it were still ours
        gate.open()
        await polling
        assert busy(w) == []
        await w.advance(timedelta(seconds=30))
        await w.sync.poll()
        assert busy(w) == [("10:00", "10:30", "cal.com")]


async def test_an_orphaned_hold_is_not_busy() -> None:
    async with world(BACKGROUND) as w:
        w.remote.faults.script(DropAfter(), op="post")
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(5))
        await w.settled()
        await w.sync.release(hold.uid)
        await starts(w, "chat")
        assert busy(w, "booth") == []


async def test_our_hold_explains_only_the_missing_slots_of_its_hosts() -> None:
    async with world() as w:
        await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        w.remote.book(1, TEN)
        await starts(w)
        assert busy(w) == [("10:00", "10:30", "cal.com")]


async def test_overlapping_slots_show_what_is_busy() -> None:
    """The hour from 10:30 is taken, so every slot that touches it is missing."""
    async with world(LONG_THERE) as w:
        w.remote.book(4, TEN + HALF)
        found = await starts(w, "long")
        there = await w.client.slots(TEN, NOON, event_type_id=4)
        assert found == [slot.start for slot in there]
        assert busy(w, "court")[0] == ("10:30", "11:30", "cal.com")


async def test_a_start_that_no_busy_minute_explains_is_hidden() -> None:
    """The remote offers every half hour, we every quarter; free slots cover the whole time."""
    coarse = RemoteEventType(id=4, length=60, step=30, owner=1, notice=0)
    async with world(LONG_THERE, remote_types=[coarse]) as w:
        assert await starts(w, "long") == [TEN + HALF * n for n in range(3)]
        assert w.engine.local.imported("court", TEN, NOON) == []
        with pytest.raises(RemoteBusy) as refused:
            await w.sync.reserve_slot("long", TEN + minutes(15))
        assert refused.value.as_of == NOW
        assert w.sync.statistics().hidden > 0
        assert (await w.sync.reserve_slot("long", TEN + HALF)).state is State.HELD


async def test_all_hosts_are_busy_if_any_one_would_do() -> None:
    async with world(SyncedEventType(PAIR)) as w:
        w.remote.book(3, TEN, user_ids=[3])
        assert len(await starts(w, "pair")) == 4  # the other one is free
        w.remote.book(3, TEN, user_ids=[4])
        await w.advance(minutes(1))
        assert len(await starts(w, "pair")) == 3
        assert busy(w, "ann") == busy(w, "bob") == [("10:00", "10:30", "cal.com")]


async def test_a_slot_that_only_our_hold_hides_there_is_still_offered() -> None:
    async with world(SyncedEventType(PAIR)) as w:
        await w.sync.reserve_slot("pair", TEN)
        assert len(await starts(w, "pair")) == 4
        assert (await w.sync.reserve_slot("pair", TEN)).state is State.HELD


async def test_full_sessions_are_not_free() -> None:
    class_there = RemoteEventType(id=1, length=30, owner=1, notice=0, seats=1)
    async with world(remote_types=[class_there]) as w:
        w.remote.book(1, TEN)
        assert TEN not in await starts(w)


# --- When it is polled -----------------------------------------------------------------------


async def test_only_ranges_that_were_asked_for_are_polled() -> None:
    async with world() as w:
        await w.pass_slowly(minutes(5), minutes(1))
        assert w.requests("search") == []
        await starts(w)
        await starts(w)
        assert w.requests("search") == ["search"]
        await w.pass_slowly(minutes(10), minutes(1))
        asked = len(w.requests("search"))
        assert asked in {10, 11}
        await w.pass_slowly(minutes(10), minutes(1))
        assert len(w.requests("search")) == asked
        assert (busy(w), w.sync.statistics().staleness) == ([], None)


async def test_days_that_are_no_longer_polled_are_forgotten() -> None:
    async with world() as w:
        w.remote.book(1, TEN)
        await starts(w)
        await w.pass_slowly(minutes(15), minutes(1))
        assert busy(w) == []


async def test_concurrent_callers_share_one_poll() -> None:
    async with world() as w:
        await asyncio.gather(*(starts(w) for _ in range(20)))
        assert w.requests("search") == ["search"]


async def test_a_day_that_is_asked_for_during_a_poll_is_polled_next() -> None:
    async with world() as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="search")
        first = asyncio.ensure_future(starts(w))
        await gate.reached()
        tomorrow = TEN + timedelta(days=1)
        second = asyncio.ensure_future(w.sync.slots("talk", tomorrow, tomorrow + HALF))
        for _ in range(20):
            await asyncio.sleep(0)
        gate.open()
        await first
        offers = await second
        assert (len(offers.slots), offers.stale) == (1, False)
        assert w.requests("search") == ["search", "search"]


async def test_polls_have_jitter() -> None:
    class Draws:
        def uniform(self, least: float, most: float) -> float:
            return most if least < 0 else 0

    async with world(replace(STRICT, jitter=0.5), random=Draws()) as w:
        await starts(w)
        await w.pass_slowly(timedelta(seconds=89), timedelta(seconds=1))
        assert len(w.requests("search")) == 1
        await w.advance(timedelta(seconds=1))
        assert len(w.requests("search")) == 2


# --- Staleness --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", WhenStale)
async def test_the_age_is_told_and_stale_slots_follow_the_policy(policy: WhenStale) -> None:
    async with world(replace(STRICT, when_stale=policy)) as w:
        offers = await w.sync.slots("talk", TEN, NOON)
        assert (offers.as_of, offers.stale, len(offers.slots)) == (NOW, False, 4)
        w.remote.faults.script(Error500(), op="search", times=None)
        await w.pass_slowly(minutes(3), minutes(1))
        assert not (await w.sync.slots("talk", TEN, NOON)).stale
        await w.advance(minutes(1))
        offers = await w.sync.slots("talk", TEN, NOON)
        assert (offers.as_of, offers.stale) == (NOW, True)
        assert len(offers.slots) == (4 if policy is WhenStale.OFFER else 0)
        statistics = w.sync.statistics()
        assert (statistics.staleness, statistics.polls_failed) == (minutes(4), 4)


async def test_slots_that_were_never_polled_are_stale() -> None:
    async with world() as w:
        await w.remote.down()
        offers = await w.sync.slots("talk", TEN, NOON)
        assert (offers.as_of, offers.stale, len(offers.slots)) == (None, True, 4)


async def test_a_day_at_the_end_of_time_does_not_end_the_polling() -> None:
    far = datetime.max.replace(microsecond=0, tzinfo=TEN.tzinfo) - minutes(60)
    async with world() as w:
        await starts(w)
        with suppress(SlotError):
            await w.sync.slots("talk", far, far + minutes(59))
        await w.pass_slowly(minutes(3), minutes(1))
        w.remote.book(1, TEN)
        await w.advance(minutes(2))
        offers = await w.sync.slots("talk", TEN, NOON)
        assert (len(offers.slots), offers.stale) == (3, False)


async def test_a_range_that_the_engine_refuses_is_not_polled() -> None:
    async with world() as w:
        with pytest.raises(SlotError):
            await w.sync.slots("talk", TEN, TEN + timedelta(days=365 * 100))
        await w.pass_slowly(minutes(3), minutes(1))
        assert w.requests() == []


async def test_polling_continues_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        await starts(w)
        polled = w.sync.statistics().polls

        def broken(source: str, spans: object) -> None:
            raise ArithmeticError

        with monkeypatch.context() as patched:
            patched.setattr(w.engine.local, "replace_busy", broken)
            await w.advance(minutes(2))
        await w.advance(minutes(2))
        assert w.sync.statistics().polls > polled
