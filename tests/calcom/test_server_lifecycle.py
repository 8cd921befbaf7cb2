"""Starting, stopping and embedding."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from slotengine import ALWAYS_OPEN, Claim, Request, SlotEngine, State, minutes
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.server import create_app
from slotengine.testing import SimClock
from tests.calcom.api import (
    NOW,
    OWNER,
    Start,
)

pytestmark = pytest.mark.anyio

# --- Embedding -------------------------------------------------------------------------


async def test_a_lent_engine_stays_open_and_shows_only_the_catalogs_holds(start: Start) -> None:
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock, max_ttl=timedelta(hours=2)) as engine:
        engine.add_resource("room-1")
        room = await engine.reserve("room-1", NOW, minutes(30))
        api = await start(clock, engine=engine)
        assert api.engine is engine
        uid = await api.hold()
        assert (await engine.release(uid)).state is State.RELEASED
        assert (await api.get(room.uid)).data is None
        too_long = await api.post(headers=OWNER, reservationDuration=121)
        assert too_long.body["error"]["details"]["errors"][0]["constraints"] == {
            "max": "reservationDuration must not be greater than 120"
        }


async def test_the_usual_hold_fits_the_engine(start: Start) -> None:
    clock = SimClock(NOW)
    short = minutes(2)
    async with SlotEngine(clock=clock, max_ttl=short, default_ttl=short) as engine:
        api = await start(clock, engine=engine)
        assert (await api.post()).data["reservationDuration"] == 2


async def test_a_hold_of_the_application_itself_is_seen(start: Start) -> None:
    api = await start()
    claims = (Claim("user:1"),)
    held = await api.engine.reserve_request(
        Request(NOW, minutes(30), claims, event_type="2", schedule=ALWAYS_OPEN)
    )
    assert (await api.get(held.uid)).data["eventTypeId"] == 2


async def test_a_hold_past_its_longest_life(start: Start) -> None:
    clock = SimClock(NOW)
    ten = minutes(10)
    async with SlotEngine(clock=clock, max_ttl=ten, max_life=ten) as engine:
        api = await start(clock, engine=engine)
        uid = await api.hold()
        await clock.advance(minutes(4))
        assert (await api.patch(uid)).status == 200
        await clock.advance(minutes(2))
        answer = await api.patch(uid)
        assert answer.status == 422
        assert "may be held until 2050-09-05T06:10:00" in answer.message


async def test_an_engine_that_is_closed(start: Start) -> None:
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        api = await start(SimClock(NOW), engine=engine)
    answer = await api.get("anything")
    assert answer.status == 503
    assert answer.body["error"]["code"] == "ServiceUnavailableException"


async def test_an_engine_brings_its_own_clock(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="clock"):
        create_app(catalog, engine=SlotEngine(), clock=SimClock(NOW))


async def test_a_resource_that_is_there_already_stops_the_start(catalog: Catalog) -> None:
    async with SlotEngine() as engine:
        engine.add_resource("user:1")
        runner = web.AppRunner(create_app(catalog, engine=engine))
        with pytest.raises(ValueError, match="user:1"):
            await runner.setup()
        await runner.cleanup()


async def test_an_application_can_be_started_and_stopped_by_different_tasks(
    catalog: Catalog,
) -> None:
    runner = web.AppRunner(create_app(catalog))
    await asyncio.create_task(runner.setup())
    await asyncio.create_task(runner.cleanup())


async def test_what_a_lent_engine_holds_for_others_is_left_alone(start: Start) -> None:
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("room-1")
        room = await engine.reserve("room-1", NOW, minutes(30))
        api = await start(clock, engine=engine)
        assert (await api.get(room.uid)).data is None
        answer = await api.patch(room.uid)
        assert (answer.status, answer.message) == (404, f"Slot with uid={room.uid} not found")
        answer = await api.delete(room.uid)
        assert (answer.status, answer.body) == (200, {"status": "success"})
        assert engine.get_nowait(room.uid) == room
