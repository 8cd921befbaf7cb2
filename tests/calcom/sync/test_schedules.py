"""Faults that random schedules have found, each in as few steps as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from slotengine import Reservation, State, minutes
from slotengine.calcom import OnConfirm, RemoteConflict, RemoteFailed, RemoteUncertain
from slotengine.calcom.sync.remote_state import RemoteState
from slotengine.testing.remote import DropAfter, Error500, Gate, Wait
from tests.calcom.sync.world import NOON, PAIR, STRICT, TEN, World, world

pytestmark = pytest.mark.anyio

ELEVEN = TEN + minutes(60)


async def soon(is_so: Callable[[], bool]) -> None:
    """Return when the condition holds, without waiting for the sync to settle."""
    for _ in range(20_000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never became true")


async def booked(w: World) -> Reservation:
    """Hold the talk at ten, confirm it, and let the remote follow."""
    hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
    await w.sync.confirm(hold.uid)
    await w.settled()
    return hold


def books(w: World, uid: str) -> bool:
    found = w.engine.local.get(uid)
    return found is not None and found.state is State.CONFIRMED


# --- Repeated confirms -------------------------------------------------------------------------


async def test_a_repeated_confirm_promises_as_much_as_the_first() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.release(w.live[0].uid)
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        assert w.there == ["10:00"]


async def test_a_repeated_confirm_raises_if_the_time_was_taken_and_the_booking_stays() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.release(w.live[0].uid)
        theirs = w.remote.hold(1, TEN)
        for _ in range(2):
            with pytest.raises(RemoteConflict):
                await w.sync.confirm(hold.uid)
        assert books(w, hold.uid)
        assert [one.uid for one in w.diverged] == [hold.uid]
        w.remote.release(theirs.uid)
        await w.sync.confirm(hold.uid)
        assert w.there == ["10:00"]


async def test_a_repeated_confirm_raises_while_the_remote_cannot_be_asked() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.faults.script(Error500(), op="get")
        with pytest.raises(RemoteFailed):
            await w.sync.confirm(hold.uid)
        assert books(w, hold.uid)
        await w.sync.confirm(hold.uid)


async def test_a_repeated_confirm_raises_while_a_post_is_unknown() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.release(w.live[0].uid)
        w.remote.faults.script(DropAfter(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.confirm(hold.uid)
        assert books(w, hold.uid)
        await w.pass_slowly(minutes(70), minutes(1))
        await w.sync.confirm(hold.uid)
        assert w.there == ["10:00"]


async def test_a_repeated_confirm_does_not_ask_for_a_hold_that_was_released() -> None:
    async with world(replace(STRICT, on_confirm=OnConfirm.RELEASE)) as w:
        hold = await booked(w)
        asked = w.requests()
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        await w.settled()
        assert (w.requests(), w.there) == (asked, [])


async def test_a_repeated_confirm_does_not_wait_for_a_background_callback() -> None:
    """A booking that was made on the engine itself is booked by such a callback."""
    goes_on, booked = asyncio.Event(), []

    async def book(reservation: Reservation, _: str | None) -> None:
        await goes_on.wait()
        booked.append(reservation.uid)

    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.engine.local.confirm(hold.uid)
        again = asyncio.create_task(w.sync.confirm(hold.uid))
        for _ in range(50):
            await asyncio.sleep(0)
        waits = not again.done()
        goes_on.set()
        assert ((await again).state, waits) == (State.CONFIRMED, False)
        await w.settled()
        assert (booked, w.there) == ([hold.uid], [])


# --- Cancelled callers --------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["confirm", "reconcile"])
async def test_a_response_is_acted_upon_though_its_caller_was_cancelled(verb: str) -> None:
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.remote.release(w.live[0].uid)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="get")
        work: Coroutine[Any, Any, Any] = (
            w.sync.confirm(hold.uid) if verb == "confirm" else w.sync.reconcile()
        )
        asked = asyncio.create_task(work)
        await gate.reached()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.open()
        await soon(lambda: w.there == ["10:00"])


async def test_a_request_of_a_cancelled_reconcile_continues() -> None:
    """No worker makes the request: the only one is busy."""
    async with world(STRICT, parallel=1) as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.local.release(other.uid)
        await gate.reached()
        w.remote.release(w.live[0].uid)
        w.remote.faults.script(Wait(gate), op="post")
        asked = asyncio.create_task(w.sync.reconcile())
        await gate.reached(2)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.open()
        await w.settled()
        assert (w.there, w.sync.statistics().orphans) == (["10:00"], 0)


# --- One reservation, one tracked hold ------------------------------------------------------------


async def test_a_reservation_is_not_tracked_twice_while_a_caller_waits() -> None:
    """After the first move the remote is to hold nothing, after the second something again."""
    released = replace(STRICT, event_type=PAIR, on_confirm=OnConfirm.RELEASE)
    async with world(STRICT, released) as w:
        hold = await booked(w)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        first = asyncio.create_task(w.sync.move_slot(hold.uid, ELEVEN, event_type="pair"))
        await gate.reached()
        second = asyncio.create_task(w.sync.move_slot(hold.uid, NOON, event_type="talk"))
        await asyncio.sleep(0)
        gate.open()
        await first
        assert (await second).start == NOON
        assert w.there == ["12:00"]  # before anything else can have sent it
        await w.settled()
        assert (w.there, w.diverged) == (["12:00"], [])
        assert w.requests("post") == ["post"] * 2
        assert (await w.sync.reconcile()).findings == ()
        await w.sync.cancel(hold.uid)
        await w.settled()
        assert (w.there, w.sync.statistics().tracked) == ([], 0)


async def test_a_hold_that_is_over_is_forgotten_after_the_last_caller() -> None:
    released = replace(STRICT, event_type=PAIR, on_confirm=OnConfirm.RELEASE)
    async with world(STRICT, released) as w:
        hold = await booked(w)
        await w.sync.move_slot(hold.uid, TEN, event_type="pair")
        await w.settled()
        assert (w.there, w.sync.statistics().tracked) == ([], 0)


async def test_a_forgotten_hold_sends_no_request() -> None:
    """While it waits for a busy worker, the reservation is forgotten and tracked anew."""
    async with world(STRICT, parallel=1) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.local.release(other.uid)
        await gate.reached()
        w.engine.local.move_slot(hold.uid, TEN, event_type="pair")
        comparing = asyncio.create_task(w.sync.reconcile())
        await soon(lambda: w.sync.remote_state(hold.uid) is None)
        w.engine.local.move_slot(hold.uid, TEN, event_type="talk")
        gate.open()
        assert all(finding.repaired for finding in (await comparing).findings)
        await w.settled()
        assert (w.there, w.revoked) == (["10:00"], [])
        assert w.requests("post") == ["post"] * 3
        assert (await w.sync.reconcile()).findings == ()


async def test_reconcile_does_not_report_on_a_replaced_hold() -> None:
    async with world(STRICT) as w:
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.local.release(other.uid)
        await gate.reached()
        comparing = asyncio.create_task(w.sync.reconcile())
        await asyncio.sleep(0)
        w.engine.local.move_slot(hold.uid, TEN, event_type="pair")
        await soon(lambda: w.sync.remote_state(hold.uid) is None)
        w.engine.local.move_slot(hold.uid, TEN, event_type="talk")
        await soon(lambda: w.sync.remote_state(hold.uid) is RemoteState.HELD)
        gate.open()
        assert (await comparing).findings == ()
        assert w.there == ["10:00"]
