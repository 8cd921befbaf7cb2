"""What a successful call of the sync promises; each test comes from a hostile reading."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import (
    EventType,
    Reservation,
    SlotTaken,
    State,
    UnknownReservation,
    WrongState,
    minutes,
)
from slotengine.calcom import (
    RemoteConflict,
    RemoteFailed,
    RemoteUncertain,
    SavedState,
    SyncClosed,
    SyncedEventType,
    SyncMode,
)
from slotengine.testing.remote import Error500, Gate, Wait
from tests.calcom.sync.world import BACKGROUND, NOON, STRICT, TEN, world

pytestmark = pytest.mark.anyio

OTHER = EventType(id="other", length=minutes(30), all_of=["ann"])
VARIED = EventType(
    id="varied", length=minutes(30), lengths=[minutes(30), minutes(60)], all_of=["ann"]
)


# --- Moves with the same start ---------------------------------------------------------------


async def test_a_refused_move_to_another_event_type_raises() -> None:
    async with world(STRICT, SyncedEventType(OTHER, custom_ttl=True), enter=False) as w:
        w.engine.add_event_type(OTHER)
        async with w.sync:
            hold = await w.sync.reserve_slot("talk", TEN)
            w.remote.hold(4, TEN)
            with pytest.raises(RemoteConflict):
                await w.sync.move_slot(hold.uid, TEN, event_type="other")
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert (current.state, current.event_type) == (State.HELD, "talk")
            assert len(w.remote.live(1)) == 1


async def test_a_refused_change_of_length_raises() -> None:
    async with world(SyncedEventType(VARIED, custom_ttl=True), enter=False) as w:
        w.engine.add_event_type(VARIED)
        async with w.sync:
            hold = await w.sync.reserve_slot("varied", TEN)
            w.remote.hold(7, TEN + minutes(30))
            with pytest.raises(RemoteConflict):
                await w.sync.move_slot(hold.uid, TEN, length=minutes(60))
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert (current.state, current.end) == (State.HELD, TEN + minutes(30))
            assert w.there == ["10:00", "10:30"]


@pytest.mark.parametrize("tracked", [True, False], ids=["background", "not synced"])
async def test_a_move_to_a_strict_event_type_is_strict(tracked: bool) -> None:
    async with world(*([STRICT, BACKGROUND] if tracked else [STRICT])) as w:
        hold = await w.engine.reserve_slot("chat", TEN)
        await w.settled()
        theirs = w.remote.hold(1, NOON)
        with pytest.raises(RemoteConflict):
            await w.sync.move_slot(hold.uid, NOON, event_type="talk")
        await w.settled()
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.event_type, current.start) == (State.HELD, "chat", TEN)
        assert (w.revoked, len(w.remote.live(2))) == ([], int(tracked))
        w.remote.release(theirs.uid)
        gate = Gate()
        w.remote.faults.script(Wait(gate), times=1)
        moving = asyncio.create_task(w.sync.move_slot(hold.uid, NOON, event_type="talk"))
        await gate.reached()
        assert not moving.done()
        gate.open()
        assert (await moving).event_type == "talk"
        assert ([row.event_type_id for row in w.live], w.there) == ([1], ["12:00"])


async def test_a_move_to_a_background_event_type_is_not_strict() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.hold(2, NOON)
        moved = await w.sync.move_slot(hold.uid, NOON, event_type="chat")
        assert (moved.event_type, w.requests()) == ("chat", ["post"])
        await w.settled()
        assert [one.uid for one in w.revoked] == [hold.uid]


async def test_an_unknown_reservation_cannot_be_moved() -> None:
    async with world() as w:
        with pytest.raises(UnknownReservation):
            await w.sync.move_slot("nobody", NOON, event_type="talk")


async def test_a_strict_move_after_a_restart_without_saved_state_raises() -> None:
    async with world(STRICT, enter=False) as w:
        hold = w.engine.local.reserve_slot("talk", TEN, ttl=minutes(15))
        w.remote.hold(1, TEN)
        w.remote.hold(1, NOON)
        async with w.sync:
            await w.settled()
            with pytest.raises(RemoteConflict):
                await w.sync.move_slot(hold.uid, NOON)
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert (current.state, current.start) == (State.HELD, TEN)


# --- Confirming -------------------------------------------------------------------------------


async def test_strict_does_not_confirm_a_hold_that_was_deleted_and_taken_there() -> None:
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.remote.release(w.live[0].uid)
        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.confirm(hold.uid)
        assert [one.uid for one in w.revoked] == [hold.uid]


async def test_strict_confirms_a_deleted_hold_once_it_is_made_again() -> None:
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.remote.release(w.live[0].uid)
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        assert w.there == ["10:00"]


async def test_strict_does_not_confirm_a_move_that_the_remote_has_refused() -> None:
    """The hold was moved on the engine itself, and the remote has refused that."""
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(10))
        w.remote.hold(1, NOON)
        w.engine.local.move_slot(hold.uid, NOON)
        with pytest.raises(RemoteConflict):
            await w.sync.confirm(hold.uid)


async def test_strict_does_not_confirm_after_a_restart_without_saved_state() -> None:
    async with world(STRICT, enter=False) as w:
        hold = w.engine.local.reserve_slot("talk", TEN, ttl=minutes(15))
        w.remote.hold(1, TEN)
        async with w.sync:
            await w.settled()
            with pytest.raises(RemoteUncertain):
                await w.sync.confirm(hold.uid)
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert current.state is State.HELD


async def test_strict_does_not_confirm_while_the_remote_cannot_be_asked() -> None:
    """The hold may have been deleted there; once the remote responds, it is confirmed."""
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.remote.faults.script(Error500(), op="get")
        with pytest.raises(RemoteFailed):
            await w.sync.confirm(hold.uid)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, w.revoked) == (State.HELD, [])
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED


class Booking:
    """A callback that waits until it is told to book or to fail."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.error: Exception | None = None
        self.booked: list[tuple[str, str | None]] = []

    async def __call__(self, reservation: Reservation, remote_uid: str | None) -> None:
        self.called.set()
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        self.booked.append((reservation.uid, remote_uid))


@pytest.mark.parametrize("ttl_s", [20, 90, 300])
async def test_nobody_else_gets_a_slot_while_the_callback_books_it(ttl_s: int) -> None:
    book = Booking()
    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=ttl_s))
        asked = asyncio.create_task(w.sync.confirm(hold.uid))
        await book.called.wait()
        remote_uid = w.live[0].uid
        try:
            for _ in range(20):
                async with asyncio.timeout(20):  # nothing here waits for the callback
                    await w.advance(timedelta(seconds=19))
                with pytest.raises(SlotTaken):
                    await w.sync.reserve_slot("talk", TEN)
        finally:
            book.goes_on.set()  # otherwise leaving the sync would wait for ever
        assert (await asked).state is State.CONFIRMED
        assert (book.booked, w.events) == ([(hold.uid, remote_uid)], [])
        await w.settled()
        assert w.there == []
        assert len(book.booked) == 1


@pytest.mark.parametrize(
    ("ttl_s", "state"), [(20, State.CANCELLED), (300, State.HELD)], ids=["last minute", "before"]
)
async def test_after_a_failed_callback_the_hold_is_as_it_was_or_cancelled(
    ttl_s: int, state: State
) -> None:
    book = Booking()
    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=ttl_s))
        book.error = OSError("no")
        book.goes_on.set()
        with pytest.raises(OSError, match="no"):
            await w.sync.confirm(hold.uid)
        await w.settled()
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, w.there) == (state, ["10:00"] if state is State.HELD else [])


async def test_a_release_during_the_callback_is_reported() -> None:
    book = Booking()
    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        asked = asyncio.create_task(w.sync.confirm(hold.uid))
        await book.called.wait()
        w.engine.local.release(hold.uid)
        book.goes_on.set()
        with pytest.raises(WrongState):
            await asked
        (diverged,) = w.diverged
        assert diverged.uid == hold.uid
        assert "booked at the remote" in diverged.problem


@pytest.mark.parametrize("fails", [False, True], ids=["booked", "not booked"])
async def test_a_repeated_confirm_waits_for_the_callback_of_a_cancelled_one(fails: bool) -> None:
    book = Booking()
    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        first = asyncio.create_task(w.sync.confirm(hold.uid))
        await book.called.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        again = asyncio.create_task(w.sync.confirm(hold.uid))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not again.done()
        book.error = OSError("no") if fails else None
        book.goes_on.set()
        if fails:
            with pytest.raises(OSError, match="no"):
                await again
            book.error = None
            await w.sync.confirm(hold.uid)
        else:
            assert (await again).state is State.CONFIRMED
        await w.settled()
        assert (len(book.booked), w.there) == (1, [])


async def test_a_booking_by_the_callback_is_saved_at_once() -> None:
    book = Booking()
    book.goes_on.set()
    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.faults.script(Error500(), op="delete", times=None)
        await w.sync.confirm(hold.uid)
        assert w.kept[hold.uid].booked


@pytest.mark.parametrize("how", ["moved", "left", "crashed"])
@pytest.mark.parametrize("mode", SyncMode)
async def test_what_is_booked_at_the_remote_is_not_booked_again(mode: SyncMode, how: str) -> None:
    book = Booking()
    book.goes_on.set()
    async with world(replace(STRICT, mode=mode, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert w.there == []
        if how == "moved":
            await w.sync.move_slot(hold.uid, NOON)
        else:
            await w.sync.__aexit__(None, None, None)
            saved = w.sync.saved() if how == "left" else w.left_by_a_crash()
            w.sync = w.new_sync(saved=saved)
            await w.sync.__aenter__()
        await w.settled()
        assert (len(book.booked), w.there) == (1, [])
        await w.pass_slowly(timedelta(hours=7), minutes(30))
        assert (len(book.booked), w.sync.statistics().tracked) == (1, 0)


# --- Keys ---------------------------------------------------------------------------------------


async def test_keys_of_callers_and_of_earlier_attempts_differ() -> None:
    async with world(STRICT) as w:
        theirs = w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", TEN, key="a")
        w.remote.release(theirs.uid)
        await w.sync.reserve_slot("talk", TEN, key="a")
        for key in ("a#1", "1:a", "0:a"):
            with pytest.raises(SlotTaken):
                await w.sync.reserve_slot("talk", TEN, key=key)


async def test_repeating_a_key_whose_hold_has_ended_raises() -> None:
    async with world() as w:
        for name in ("talk", "chat"):
            hold = await w.sync.reserve_slot(name, TEN, key=name)
            await w.sync.release(hold.uid)
            with pytest.raises(WrongState) as ended:
                await w.sync.reserve_slot(name, TEN, key=name)
            assert ended.value.uid == hold.uid


@pytest.mark.parametrize("how", ["left", "crashed"])
async def test_after_a_restart_a_key_does_not_return_a_hold_that_was_given_back(how: str) -> None:
    async with world(STRICT) as w:
        theirs = w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", TEN, key="a")
        w.remote.release(theirs.uid)
        await w.sync.__aexit__(None, None, None)
        saved = w.sync.saved() if how == "left" else SavedState(tuple(w.kept.values()))
        w.sync = w.new_sync(saved=saved)
        await w.sync.__aenter__()
        if how == "crashed":  # the attempt is not known any more
            with pytest.raises(WrongState):
                await w.sync.reserve_slot("talk", TEN, key="a")
            return
        hold = await w.sync.reserve_slot("talk", TEN, key="a")
        assert (hold.state, w.there) == (State.HELD, ["10:00"])


# --- Leaving ------------------------------------------------------------------------------------


async def test_callers_that_wait_while_the_sync_is_left_get_sync_closed() -> None:
    async with world(STRICT, drain=timedelta(seconds=1)) as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        asked = asyncio.create_task(w.sync.reserve_slot("talk", TEN))
        await gate.reached()
        leaving = asyncio.create_task(w.sync.__aexit__(None, None, None))
        for _ in range(50):
            await asyncio.sleep(0)
        w.clock.set(w.clock.moment + timedelta(seconds=2))
        await leaving
        with pytest.raises(SyncClosed):
            await asked
        gate.open()


async def test_a_cancelled_caller_gets_its_cancellation() -> None:
    async with world(STRICT) as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        asked = asyncio.create_task(w.sync.reserve_slot("talk", TEN))
        await gate.reached()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.open()


# --- Bookings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("synced", [STRICT, BACKGROUND], ids=["strict", "background"])
async def test_a_booking_that_is_over_is_no_longer_tracked(synced: SyncedEventType) -> None:
    """Also if the remote's hold lasts as long as the slot, so that no renewal is ever due."""
    async with world(synced) as w:
        start = w.clock.moment + minutes(15)
        hold = await w.sync.reserve_slot(synced.id, start, ttl=minutes(50))
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert w.sync.statistics().tracked == 1
        await w.pass_slowly(minutes(60), minutes(5))
        assert (w.sync.statistics().tracked, w.there) == (0, [])


async def test_a_booking_that_the_remote_refused_is_not_tracked_for_ever() -> None:
    async with world(BACKGROUND) as w:
        start = w.clock.moment + minutes(15)
        w.remote.hold(2, start)
        hold = await w.sync.reserve_slot("chat", start)
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert w.sync.statistics().tracked == 1
        await w.pass_slowly(minutes(60), minutes(5))
        assert w.sync.statistics().tracked == 0
