"""What random schedules have found, each told in as few steps as it takes."""

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
    """Return when it is so, which nobody need be waited for; no matter what else goes on."""
    for _ in range(20_000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never was")


async def booked(w: World) -> Reservation:
    """Hold the talk at ten, confirm that, and let all be done that follows."""
    hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
    await w.sync.confirm(hold.uid)
    await w.settled()
    return hold


def books(w: World, uid: str) -> bool:
    found = w.engine.get_nowait(uid)
    return found is not None and found.state is State.CONFIRMED


# --- Who confirms again what is confirmed ------------------------------------------------------


async def test_a_second_yes_means_as_much_as_the_first() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.release(w.live[0].uid)
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        assert w.there == ["10:00"]


async def test_there_is_none_while_somebody_else_has_it_there_and_the_booking_stays() -> None:
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


async def test_nor_while_the_remote_cannot_be_asked() -> None:
    async with world(STRICT) as w:
        hold = await booked(w)
        w.remote.faults.script(Error500(), op="get")
        with pytest.raises(RemoteFailed):
            await w.sync.confirm(hold.uid)
        assert books(w, hold.uid)
        await w.sync.confirm(hold.uid)


async def test_nor_while_nobody_knows_whether_it_was_made_anew() -> None:
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


async def test_the_remote_is_not_asked_for_what_it_is_not_to_hold() -> None:
    async with world(replace(STRICT, on_confirm=OnConfirm.RELEASE)) as w:
        hold = await booked(w)
        asked = w.requests()
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        await w.settled()
        assert (w.requests(), w.there) == (asked, [])


async def test_nor_is_the_callback_waited_for_that_books_it_in_its_own_time() -> None:
    """Which is what becomes of a booking that was made on the engine itself."""
    goes_on, booked = asyncio.Event(), []

    async def book(reservation: Reservation, _: str | None) -> None:
        await goes_on.wait()
        booked.append(reservation.uid)

    async with world(replace(STRICT, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        w.engine.confirm_nowait(hold.uid)
        again = asyncio.create_task(w.sync.confirm(hold.uid))
        for _ in range(50):
            await asyncio.sleep(0)
        waits = not again.done()
        goes_on.set()
        assert ((await again).state, waits) == (State.CONFIRMED, False)
        await w.settled()
        assert (booked, w.there) == ([hold.uid], [])


# --- Who leaves when the remote has just been asked ---------------------------------------------


@pytest.mark.parametrize("verb", ["confirm", "reconcile"])
async def test_what_a_caller_has_found_out_is_acted_upon_though_it_has_left(verb: str) -> None:
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


async def test_a_request_of_a_reconcile_that_is_left_goes_on() -> None:
    """No worker makes it: the only one has his hands full."""
    async with world(STRICT, parallel=1) as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.release_nowait(other.uid)
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


# --- One reservation, one link -------------------------------------------------------------------


async def test_who_waits_for_a_turn_finds_the_reservation_followed_by_nobody_else() -> None:
    """The first move leaves nothing to hold there, and the second something again."""
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
        assert w.there == ["12:00"]  # before anybody else can have seen to it
        await w.settled()
        assert (w.there, w.diverged) == (["12:00"], [])
        assert w.requests("post") == ["post"] * 2
        assert (await w.sync.reconcile()).findings == ()
        await w.sync.cancel(hold.uid)
        await w.settled()
        assert (w.there, w.sync.statistics().tracked) == ([], 0)


async def test_after_the_last_turn_what_is_over_is_forgotten() -> None:
    released = replace(STRICT, event_type=PAIR, on_confirm=OnConfirm.RELEASE)
    async with world(STRICT, released) as w:
        hold = await booked(w)
        await w.sync.move_slot(hold.uid, TEN, event_type="pair")
        await w.settled()
        assert (w.there, w.sync.statistics().tracked) == ([], 0)


async def test_a_link_that_is_not_followed_any_more_asks_for_nothing() -> None:
    """It waits for a worker, who has his hands full, while it is let go and taken up anew."""
    async with world(STRICT, parallel=1) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.release_nowait(other.uid)
        await gate.reached()
        w.engine.move_slot_nowait(hold.uid, TEN, event_type="pair")
        comparing = asyncio.create_task(w.sync.reconcile())
        await soon(lambda: w.sync.remote_state(hold.uid) is None)
        w.engine.move_slot_nowait(hold.uid, TEN, event_type="talk")
        gate.open()
        assert all(finding.repaired for finding in (await comparing).findings)
        await w.settled()
        assert (w.there, w.revoked) == (["10:00"], [])
        assert w.requests("post") == ["post"] * 3
        assert (await w.sync.reconcile()).findings == ()


async def test_a_comparison_does_not_report_on_a_link_that_another_has_replaced() -> None:
    async with world(STRICT) as w:
        other = await w.sync.reserve_slot("talk", NOON, ttl=minutes(30))
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(30))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        w.engine.release_nowait(other.uid)
        await gate.reached()
        comparing = asyncio.create_task(w.sync.reconcile())
        await asyncio.sleep(0)
        w.engine.move_slot_nowait(hold.uid, TEN, event_type="pair")
        await soon(lambda: w.sync.remote_state(hold.uid) is None)
        w.engine.move_slot_nowait(hold.uid, TEN, event_type="talk")
        await soon(lambda: w.sync.remote_state(hold.uid) is RemoteState.HELD)
        gate.open()
        assert (await comparing).findings == ()
        assert w.there == ["10:00"]
