"""Restarts with what was kept, and reconciling both sides."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import SlotEngine, State, minutes
from slotengine.calcom import (
    CalComSync,
    Difference,
    OnConfirm,
    RemoteState,
    RemoteUncertain,
    SavedOrphan,
    SavedState,
    SyncClosed,
)
from slotengine.calcom.sync.orphans import SLACK
from slotengine.core.time.instant import to_us
from slotengine.testing.remote import At, DropAfter, Error500, Gate, Wait
from tests.calcom.sync.world import BACKGROUND, CHAT, NOON, NOW, STRICT, TEN, World, world

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def again(w: World, saved: SavedState | None) -> AsyncIterator[CalComSync]:
    w.sync = w.new_sync(saved=saved)
    async with w.sync:
        await w.settled()
        yield w.sync


def kept(w: World) -> SavedState:
    """Return what `on_hold` and `on_orphan` were given."""
    return w.left_by_a_crash()


@pytest.mark.parametrize("name", ["talk", "chat"])
@pytest.mark.parametrize("how", ["left", "killed"])
async def test_a_restart_makes_no_duplicates(name: str, how: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN, ttl=minutes(20))
        await w.settled()
        if how == "left":
            await w.sync.__aexit__(None, None, None)
            saved = w.sync.saved()
        else:
            await w.sync.abort()
            saved = kept(w)
        async with again(w, saved) as sync:
            assert (w.requests(), sync.remote_state(hold.uid)) == (["post"], RemoteState.HELD)
            await sync.move_slot(hold.uid, NOON)
            await sync.release(hold.uid)
            await w.settled()
            assert w.there == []


async def test_a_hold_that_ended_meanwhile_is_released() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(20))
        await w.sync.abort()
        await w.engine.release(hold.uid)
        async with again(w, kept(w)):
            assert w.there == []


async def test_a_hold_that_was_made_meanwhile_is_sent() -> None:
    async with world() as w:
        await w.sync.abort()
        await w.engine.reserve_slot("talk", TEN)
        async with again(w, None):
            assert w.there == ["10:00"]


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_without_saved_state_the_orphan_is_waited_for(name: str) -> None:
    """The uid is lost, so the hold is made anew once the orphan has ended; nothing is revoked."""
    async with world(replace(STRICT, custom_ttl=False), replace(BACKGROUND, custom_ttl=False)) as w:
        hold = await w.sync.reserve_slot(name, TEN, ttl=minutes(20))
        await w.settled()
        await w.sync.abort()
        async with again(w, None) as sync:
            assert sync.remote_state(hold.uid) is RemoteState.CREATE_UNKNOWN
            await w.pass_slowly(minutes(6))
            assert (sync.remote_state(hold.uid), w.revoked) == (RemoteState.HELD, [])
            assert w.there == ["10:00"]


async def test_with_credentials_the_orphan_is_waited_for_no_longer_than_it_can_last() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(4))
        await w.sync.abort()
        async with again(w, None) as sync:
            assert sync.remote_state(hold.uid) is RemoteState.CREATE_UNKNOWN
            bound = to_us(NOW + minutes(5)) + SLACK
            assert [orphan.until for orphan in sync.saved().orphans] == [bound]


@pytest.mark.parametrize("op", ["post", "patch", "delete"])
async def test_a_crash_during_a_request(op: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(20))
        if op != "post":
            await w.settled()
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op=op)  # type: ignore[arg-type]
        if op == "patch":
            await w.sync.move_slot(hold.uid, NOON)
        if op == "delete":
            await w.sync.release(hold.uid)
        await gate.reached()
        kept_before = kept(w)  # what a crash leaves
        await w.sync.abort()
        gate.open()
        async with again(w, kept_before):
            await w.pass_slowly(minutes(66), minutes(1))
            current = w.engine.local.get(hold.uid)
            assert current is None or current.state is not State.HELD or len(w.there) == 1
            assert w.revoked == []
            assert (await w.sync.reconcile()).agrees


async def test_after_a_crash_during_a_renewal_the_hold_is_made_again() -> None:
    """The hold was deleted to be made anew, and the response was lost in the crash."""
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op="delete")
        extending = asyncio.create_task(w.sync.extend(hold.uid, ttl=minutes(15)))
        await gate.reached()
        kept_before = kept(w)
        await w.sync.abort()
        with pytest.raises(SyncClosed):
            await extending
        gate.open()
        async with again(w, kept_before) as sync:
            assert (sync.remote_state(hold.uid), w.there) == (RemoteState.HELD, ["10:00"])
            assert w.requests() == ["post", "delete", "delete", "post"]


async def test_after_a_crash_during_a_request_strict_waits_for_the_orphan() -> None:
    async with world(replace(STRICT, custom_ttl=False)) as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op="post")
        hold = await w.engine.reserve_slot("talk", TEN, ttl=minutes(20))
        await gate.reached()
        kept_before = kept(w)
        await w.sync.abort()
        gate.open()
        async with again(w, kept_before) as sync:
            assert sync.remote_state(hold.uid) is RemoteState.CREATE_UNKNOWN
            await w.pass_slowly(minutes(6))
            assert (sync.remote_state(hold.uid), w.revoked) == (RemoteState.HELD, [])


async def test_a_move_in_flight_is_looked_up_though_the_clock_skew_is_unknown() -> None:
    async with world(remote={"skew": timedelta(minutes=-3)}) as w:
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(20))
        await w.settled()
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op="patch")
        await w.sync.move_slot(hold.uid, NOON)
        await gate.reached()
        kept_before = kept(w)
        await w.sync.abort()
        gate.open()
        async with again(w, kept_before) as sync:
            await w.advance(minutes(1))
            assert (sync.remote_state(hold.uid), w.there) == (RemoteState.HELD, ["12:00"])
            assert (await sync.reconcile()).findings == ()


async def test_orphans_survive_a_restart() -> None:
    async with world() as w:
        w.remote.faults.script(DropAfter(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.sync.__aexit__(None, None, None)
        saved = w.sync.saved()
        until = to_us(NOW + minutes(5)) + SLACK
        assert saved.orphans == (SavedOrphan(1, to_us(TEN), to_us(TEN + minutes(30)), until),)
        async with again(w, saved) as sync:
            with pytest.raises(RemoteUncertain):
                await sync.reserve_slot("talk", TEN)


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_orphans_survive_a_crash(name: str) -> None:
    """Also an orphan of an earlier request of the same reservation at another time."""
    async with world() as w:
        w.remote.faults.script(DropAfter(), op="post", times=2)
        if name == "talk":
            with pytest.raises(RemoteUncertain):
                await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        else:
            hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(5))
            await w.settled()
            await w.sync.move_slot(hold.uid, NOON)
            await w.advance(timedelta(seconds=5))
            assert w.there == ["10:00", "12:00"]
        before = [(one.start, one.end) for one in w.sync.saved().orphans]
        assert (to_us(TEN), to_us(TEN + minutes(30))) in before
        await w.sync.abort()
        async with again(w, kept(w)) as sync:
            after = [(one.start, one.end) for one in sync.saved().orphans]
            assert set(before) <= set(after)


async def test_what_is_kept_says_when_to_drop_it() -> None:
    async with world() as w:
        for name in ("talk", "chat") * 3:
            hold = await w.sync.reserve_slot(name, TEN)
            await w.settled()
            assert set(w.kept) == {hold.uid}
            await w.sync.release(hold.uid)
            await w.settled()
            assert w.kept == {}


async def test_leaving_the_engine_first_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as w:
        engine = SlotEngine(clock=w.clock)
        async with engine:
            engine.add_resource("booth")
            engine.add_event_type(CHAT)
            sync = CalComSync(engine, w.client, {2: BACKGROUND}, clock=w.clock)
            await w.remote.down()
            await sync.__aenter__()
            hold = await sync.reserve_slot("chat", TEN)
            await sync.settled()
        await sync.__aexit__(None, None, None)
        assert [one.uid for one in sync.unsent] == [hold.uid]
        assert "the engine was closed before the sync" in caplog.text
        gc.collect()
        assert "never retrieved" not in caplog.text


async def test_a_callback_is_not_called_again() -> None:
    calls: list[object] = []

    async def book(*args: object) -> None:
        calls.append(args)

    async with world(replace(BACKGROUND, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        w.remote.faults.script(Error500(), op="delete", times=None)
        await w.sync.confirm(hold.uid)
        await w.settled()
        await w.sync.abort()
        w.remote.faults.clear()
        async with again(w, kept(w)):
            assert (len(calls), w.there) == (1, [])


# --- Reconciling ----------------------------------------------------------------------------


async def report(w: World) -> list[tuple[Difference, bool]]:
    found = await w.sync.reconcile()
    return [(finding.difference, finding.repaired) for finding in found.findings]


async def test_nothing_to_report() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN)
        await w.sync.reserve_slot("chat", TEN)
        found = await w.sync.reconcile()
        assert (found.compared, found.findings, found.agrees) == (2, (), True)


async def test_a_hold_that_is_missing_there_is_made_again() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN)
        w.remote.release(w.live[0].uid)
        assert await report(w) == [(Difference.MISSING_THERE, True)]
        assert w.there == ["10:00"]


async def test_a_hold_that_is_missing_there_and_taken_is_revoked() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        booking = await w.sync.reserve_slot("talk", NOON)
        await w.sync.confirm(booking.uid)
        for row in w.live:
            w.remote.release(row.uid)
            w.remote.hold(1, row.start, minutes=60)
        assert await report(w) == [
            (Difference.MISSING_THERE, True),  # by revoking it
            (Difference.MISSING_THERE, False),
        ]
        assert [one.uid for one in w.revoked] == [hold.uid]
        assert [one.uid for one in w.diverged] == [booking.uid]
        # The booking stays, and is reported every time.
        assert await report(w) == [(Difference.MISSING_THERE, False)]


async def test_a_refused_booking_is_held_once_its_time_is_free() -> None:
    async with world() as w:
        theirs = w.remote.hold(2, TEN, minutes=60)
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.sync.confirm(hold.uid)
        await w.settled()
        w.remote.release(theirs.uid)
        assert await report(w) == [(Difference.MISSING_THERE, True)]
        assert w.there == ["10:00"]


async def test_a_hold_that_is_elsewhere_there_is_moved_back() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN)
        await w.client.update(w.live[0].uid, 1, NOON)
        assert await report(w) == [(Difference.ELSEWHERE, True)]
        assert w.there == ["10:00"]


async def test_a_hold_that_ends_earlier_than_known_is_renewed() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(20))
        await w.client.update(w.live[0].uid, 1, NOON, reservation_minutes=1)
        await w.client.update(w.live[0].uid, 1, TEN, reservation_minutes=1)
        assert await report(w) == [(Difference.ENDS_EARLIER, True)]
        await w.pass_slowly(minutes(2))
        assert w.there == ["10:00"]


async def test_a_hold_that_could_not_be_deleted_is_reported_and_deleted() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.faults.script(Error500(), op="delete", times=2)
        await w.sync.release(hold.uid)
        assert await report(w) == [(Difference.LEFT_OVER, True)]
        assert w.there == []


async def test_a_remote_that_does_not_respond_is_reported() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN)
        w.remote.faults.script(Error500(), op="get")
        assert await report(w) == [(Difference.UNKNOWN, True)]
        assert await report(w) == []


async def test_a_hold_that_is_not_tracked_yet_is_reported() -> None:
    async with world() as w:
        hold = w.engine.local.reserve_slot("talk", TEN)  # the sync has not seen the event yet
        assert await report(w) == [(Difference.UNTRACKED, True)]
        assert w.sync.remote_state(hold.uid) is RemoteState.HELD


async def test_more_events_than_the_buffer_holds_are_followed() -> None:
    async with world(event_buffer=1) as w:
        holds = [w.engine.local.reserve_slot("chat", TEN + minutes(30) * n) for n in range(5)]
        await w.settled()
        assert len(w.there) == len(holds)


async def test_bookings_that_are_released_there_are_not_missing() -> None:
    async with world(replace(STRICT, on_confirm=OnConfirm.RELEASE)) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.sync.confirm(hold.uid)
        assert await report(w) == []
        assert (await w.sync.get(hold.uid)) is not None
        await w.advance(timedelta(seconds=1))
