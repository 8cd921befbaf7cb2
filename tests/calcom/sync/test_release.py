"""Releases, expiries and changes on the engine itself, and what the remote is told of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from slotengine import (
    State,
    minutes,
)
from slotengine.testing.remote import Gate, Wait
from tests.calcom.sync.world import (
    NOON,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio

LATER = TEN + minutes(15)


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_release_deletes(name: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        await w.sync.release(hold.uid)
        await w.settled()
        assert (w.there, w.requests()) == ([], ["post", "delete"])
        assert w.sync.statistics().tracked == 0


async def test_a_release_before_the_remote_was_told_costs_no_request() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.sync.release(hold.uid)
        await w.settled()
        assert w.requests() == []


async def test_strict_a_new_hold_waits_for_the_delete_of_the_old_one() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        leaving = asyncio.create_task(w.sync.release(hold.uid))
        await gate.reached()
        coming = asyncio.create_task(w.sync.reserve_slot("talk", TEN))
        for _ in range(100):
            await asyncio.sleep(0)
        assert w.requests() == ["post", "delete"]
        gate.open()
        await leaving
        assert (await coming).state is State.HELD
        assert w.requests() == ["post", "delete", "post"]


async def test_in_the_background_as_well() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        await w.sync.release(hold.uid)
        await gate.reached()
        await w.sync.reserve_slot("chat", LATER)
        for _ in range(100):
            await asyncio.sleep(0)
        assert w.requests() == ["post", "delete"]
        gate.open()
        await w.settled()
        assert (w.there, w.revoked) == (["10:15"], [])


async def test_a_hold_that_expires_here_is_released_there() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=61))
        await w.advance(timedelta(seconds=61))
        assert (w.there, w.requests()) == ([], ["post", "delete"])


async def test_a_hold_that_expires_on_both_sides_costs_no_request() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(1))
        await w.advance(minutes(2))
        assert w.requests() == ["post"]
        assert w.sync.statistics().tracked == 0


async def test_changes_on_the_engine_itself_are_followed() -> None:
    async with world() as w:
        hold = await w.engine.reserve_slot("talk", TEN)
        await w.settled()
        assert w.there == ["10:00"]
        await w.engine.move_slot(hold.uid, NOON)
        await w.settled()
        assert w.there == ["12:00"]
        await w.engine.release(hold.uid)
        await w.settled()
        assert w.there == []
