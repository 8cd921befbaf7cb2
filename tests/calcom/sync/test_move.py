"""Moving reservations on both sides, and undoing what the remote refuses."""

from __future__ import annotations

import asyncio

import pytest

from slotengine import (
    SlotTaken,
    State,
    minutes,
)
from slotengine.calcom import (
    RemoteConflict,
)
from slotengine.testing.remote import Gate, Wait
from tests.calcom.sync.world import (
    NOON,
    STRICT,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio

LATER = TEN + minutes(15)


@pytest.mark.parametrize("name", ["talk", "chat"])
@pytest.mark.parametrize(
    ("to", "requests"), [(NOON, ["patch"]), (LATER, ["delete", "post"])], ids=["apart", "overlap"]
)
async def test_a_move_is_followed(name: str, to: object, requests: list[str]) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        assert to in {NOON, LATER}
        start = NOON if to == NOON else LATER
        moved = await w.sync.move_slot(hold.uid, start)
        await w.settled()
        assert (moved.uid, moved.start) == (hold.uid, start)
        assert [row.start for row in w.live] == [start]
        assert w.requests() == ["post", *requests]
        assert w.engine.statistics().held == 1


@pytest.mark.parametrize("to", [NOON, LATER], ids=["apart", "overlap"])
async def test_strict_undoes_a_move_that_the_remote_refuses(to: object) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        start = NOON if to == NOON else LATER
        w.remote.hold(1, start + minutes(20))
        with pytest.raises(RemoteConflict):
            await w.sync.move_slot(hold.uid, start)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.start) == (State.HELD, TEN)
        assert w.there[0] == "10:00"
        assert w.engine.statistics().held == 1
        assert w.revoked == []


async def test_nobody_takes_what_a_move_leaves_before_the_remote_accepts() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="patch")
        w.remote.hold(1, NOON)
        moving = asyncio.create_task(w.sync.move_slot(hold.uid, NOON))
        await gate.reached()
        with pytest.raises(SlotTaken):
            await w.sync.reserve_slot("talk", TEN)
        gate.open()
        with pytest.raises(RemoteConflict):
            await moving
        assert (await w.engine.get(hold.uid)).start == TEN  # type: ignore[union-attr]


async def test_callers_on_the_waitlist_do_not_take_it_either() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="patch")
        w.remote.hold(1, NOON)
        moving = asyncio.create_task(w.sync.move_slot(hold.uid, NOON))
        await gate.reached()
        waits = w.engine.reserve_slot("talk", TEN, wait=minutes(60))
        waiting = asyncio.create_task(waits)
        await asyncio.sleep(0)
        assert w.engine.statistics().waiting == 1
        gate.open()
        with pytest.raises(RemoteConflict):
            await moving
        assert (await w.engine.get(hold.uid)).start == TEN  # type: ignore[union-attr]
        assert w.engine.statistics().waiting == 1
        waiting.cancel()


async def test_background_revokes_a_hold_whose_move_the_remote_refuses() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        w.remote.hold(2, NOON)
        await w.sync.move_slot(hold.uid, NOON)
        await w.settled()
        assert [one.uid for one in w.revoked] == [hold.uid]
        assert w.there == ["12:00"]


async def test_two_holds_in_the_background_change_places() -> None:
    async with world() as w:
        first = await w.sync.reserve_slot("chat", TEN)
        second = await w.sync.reserve_slot("chat", NOON)
        await w.settled()
        await w.sync.move_slot(first.uid, TEN + minutes(60))
        await w.sync.move_slot(second.uid, TEN)
        await w.sync.move_slot(first.uid, NOON)
        await w.settled()
        assert (w.there, w.revoked) == (["10:00", "12:00"], [])
        assert (await w.sync.reconcile()).findings == ()


async def test_a_hold_that_is_moved_to_an_unsynced_event_type_is_released_there() -> None:
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.engine.move_slot(hold.uid, TEN, event_type="chat")
        await w.settled()
        assert w.there == []
