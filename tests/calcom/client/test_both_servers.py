"""The client against our own server and against the stand-in: both tell it the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from slotengine import minutes
from slotengine.calcom import (
    CalComClient,
    RemoteConflict,
    RemoteNotFound,
    RemoteRefused,
    RemoteSeats,
    RemoteSlot,
)
from slotengine.testing import SimClock
from slotengine.testing.remote import (
    RemoteApiKey,
    RemoteCalCom,
    RemoteEventType,
    RemoteOrganization,
    RemoteTeam,
    RemoteUser,
)
from tests.calcom.server.api import NOW, Start

pytestmark = pytest.mark.anyio

START = datetime(2050, 9, 5, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)

EVENT_TYPES = (
    RemoteEventType(id=2, slug="hour", owner=1, length=60, notice=0),
    RemoteEventType(id=3, slug="class", owner=9, seats=2, notice=0),
)


@pytest.fixture(params=["our own server", "the stand-in"])
async def client(request: pytest.FixtureRequest, start: Start) -> AsyncIterator[CalComClient]:
    """A client of either server; both have the same event types and callers."""
    if request.param == "our own server":
        api = await start()
        async with CalComClient(f"http://127.0.0.1:{api.port}", api_key="cal_owner") as client:
            yield client
        return
    async with (
        RemoteCalCom(
            EVENT_TYPES,
            users=[RemoteUser(id=1, username="owner"), RemoteUser(id=9, username="teacher")],
            teams=[RemoteTeam(id=11, slug="desk", members=frozenset({1}))],
            organizations=[RemoteOrganization(id=100, slug="org")],
            api_keys=[RemoteApiKey("cal_owner", 1)],
            stale=timedelta(0),
            clock=SimClock(NOW),
        ) as remote,
        CalComClient(remote.url, api_key="cal_owner") as client,
    ):
        yield client


async def starts(client: CalComClient, **more: str) -> list[datetime]:
    slots = await client.slots(
        START - HOUR, START + 2 * HOUR, event_type_id=2, time_zone=more.get("time_zone")
    )
    return [slot.start for slot in slots]


async def test_all_five_operations(client: CalComClient) -> None:
    around = [START - HOUR, START, START + HOUR]
    assert await starts(client) == around
    held = await client.reserve(2, START, reservation_minutes=7)
    assert (held.start, held.end, held.until) == (START, START + HOUR, NOW + minutes(7))
    assert await starts(client) == [START - HOUR, START + HOUR]
    assert await starts(client, time_zone="Asia/Tokyo") == [START - HOUR, START + HOUR]
    with pytest.raises(RemoteConflict):
        await client.reserve(2, START)
    read = await client.get(held.uid)
    assert read is not None
    assert (read.uid, read.event_type_id, read.start, read.until) == (
        held.uid,
        2,
        START,
        held.until,
    )
    moved = await client.update(held.uid, 2, START + HOUR)
    assert (moved.uid, moved.start, moved.until) == (held.uid, START + HOUR, NOW + minutes(5))
    assert await starts(client) == [START - HOUR, START]
    await client.delete(held.uid)
    assert await client.get(held.uid) is None
    assert await starts(client) == around


async def test_both_list_the_same_slots(client: CalComClient) -> None:
    by_id = await client.slots(START, START + HOUR, event_type_id=2)
    assert by_id == [RemoteSlot(START, START + HOUR, None, None)]
    by_name = await client.slots(START, START + HOUR, username="owner", event_type_slug="hour")
    assert by_name == by_id
    times = await client.slots(START, START + HOUR, event_type_id=2, format="time")
    assert times == [RemoteSlot(START, None, None, None)]
    seated = await client.slots(START, START + minutes(30), event_type_id=3)
    assert seated == [RemoteSlot(START, START + minutes(30), RemoteSeats(0, 2, 2), None)]
    assert await client.slots(START, START + minutes(59), event_type_id=2) == []


async def test_both_refuse_the_same(client: CalComClient) -> None:
    with pytest.raises(RemoteNotFound, match="Event Type with ID=99 not found"):
        await client.reserve(99, START)
    with pytest.raises(RemoteNotFound, match="Event Type not found"):
        await client.slots(START, START + HOUR, event_type_id=99)
    with pytest.raises(RemoteNotFound, match="User with username nobody not found"):
        await client.slots(START, START + HOUR, username="nobody", event_type_slug="hour")
    with pytest.raises(RemoteNotFound, match="Slot with uid=nothing not found"):
        await client.update("nothing", 2, START)
    with pytest.raises(RemoteRefused, match="not a variable length event type") as caught:
        await client.reserve(2, START, slot_minutes=30)
    assert (caught.value.status, caught.value.code) == (400, "BadRequestException")
    assert await client.get("nothing") is None
    await client.delete("nothing")
