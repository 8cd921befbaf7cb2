"""Starting, stopping and embedding."""

from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from slotengine import ALWAYS_OPEN, Claim, Request, SlotEngine, State, minutes
from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.server import create_app
from slotengine.testing import SimClock
from tests.calcom.server.api import (
    NOW,
    OWNER,
    VERSION,
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
    held = await api.engine.reserve(
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
        assert engine.local.get(room.uid) == room


# --- As part of another application ----------------------------------------------------


@pytest.mark.parametrize("auto_decompress", [True, False])
async def test_an_application_may_be_part_of_another(
    catalog: Catalog, auto_decompress: bool
) -> None:
    """Whose runner decides whether aiohttp unpacks; it is right either way."""
    whole = web.Application()
    whole.add_subapp("/booking", create_app(catalog, clock=SimClock(NOW)))
    runner = web.AppRunner(whole, auto_decompress=auto_decompress, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        path = "/booking/v2/slots/reservations"
        sent = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
        headers = VERSION | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for body, status in (
                (gzip.compress(sent), 201),
                (gzip.compress(sent), 422),
                (gzip.compress(bytes(50_000_000)), 413),
                (b"no gzip", 400),
            ):
                async with session.post(path, data=body, headers=headers) as response:
                    assert response.status == status
            async with session.get(f"{path}/x", headers=VERSION) as response:
                assert response.status == 200
            async with session.get("/booking/docs") as response:
                assert response.status == 200
            async with session.get("/booking/v2/nothing", headers=VERSION) as response:
                assert response.status == 404
                error = (await response.json())["error"]
                assert error["message"] == "Cannot GET /v2/nothing"
    finally:
        await runner.cleanup()
