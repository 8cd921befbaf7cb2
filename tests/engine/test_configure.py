"""An engine whose configuration changes while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from slotengine import (
    BlockingEngine,
    Document,
    EventType,
    InvalidField,
    Kind,
    LimitConfig,
    LocalEngine,
    OutsideHours,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Retired,
    Schedule,
    SlotEngine,
    SlotQuery,
    SlotTaken,
    StaleSetting,
    StillTaken,
    UnknownEventType,
    minutes,
)
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
OFFICE = Schedule.weekly_hours("UTC", "mon-fri 09:00-17:00")
ROOM = Put(Kind.RESOURCE, "room", ResourceConfig())


def running(*entries: Put) -> LocalEngine:
    engine = LocalEngine(clock=SimClock(NOW))
    engine.configure(entries)
    return engine


def test_settings_can_be_read() -> None:
    office = Put(Kind.SCHEDULE, "office", OFFICE)
    hook = Put(Kind.DOCUMENT, "7", Document("body", "s3cret"), collection="hooks")
    engine = running(office, ROOM, hook)
    room = engine.setting(Kind.RESOURCE, "room")
    assert room is not None
    assert (room.value, room.version) == (ResourceConfig(), 1)
    assert engine.setting(Kind.RESOURCE, "hall") is None
    assert engine.settings(Kind.RESOURCE) == [room]
    assert [one.id for one in engine.settings()] == ["office", "room", "7"]
    assert engine.setting(Kind.DOCUMENT, "7", "hooks") in engine.settings(Kind.DOCUMENT)
    assert "s3cret" not in repr(engine.settings())
    wrong: Any = "resource"
    for read in (lambda: engine.setting(wrong, "room"), lambda: engine.settings(wrong)):
        with pytest.raises(InvalidField, match="kind must be a Kind, not 'resource'"):
            read()


def test_a_resource_is_added_and_changed_by_its_version() -> None:
    engine = running()
    engine.add_resource("room", schedule=OFFICE)
    found = engine.setting(Kind.RESOURCE, "room")
    assert found is not None
    assert isinstance(found.value, ResourceConfig)
    larger = found.value._replace(capacity=2)
    engine.configure([Put(Kind.RESOURCE, "room", larger, found.version)])
    with pytest.raises(StaleSetting):
        engine.configure([Remove(Kind.RESOURCE, "room", found.version)])
    engine.reserve("room", START, HALF_HOUR)
    engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(OutsideHours):
        engine.reserve("room", START + minutes(600), HALF_HOUR)
    with pytest.raises(StillTaken) as refused:
        engine.configure([Put(Kind.RESOURCE, "room", ResourceConfig(1))])
    (span,) = refused.value.spans
    assert (span.start, span.end, span.units, span.booked) == (START, START + HALF_HOUR, 2, False)
    engine.configure([Put(Kind.RESOURCE, "room", ResourceConfig(1))], force=True)
    engine.check_invariants()


def test_event_types_and_limits_are_put() -> None:
    engine = running(ROOM, Put(Kind.LIMIT, "limit:doors", LimitConfig(3)))
    talk = EventType(id="talk", length=HALF_HOUR, all_of=["room"])
    engine.configure([Put(Kind.EVENT_TYPE, "talk", talk)])
    assert engine.reserve_slot("talk", START).event_type == "talk"
    engine.configure([Retire(Kind.EVENT_TYPE, "talk")])
    with pytest.raises(Retired):
        engine.reserve_slot("talk", START + HALF_HOUR)
    assert engine.slots(SlotQuery("talk", NOW, NOW + minutes(600))) == []


@pytest.mark.anyio
async def test_who_waits_gets_the_places_that_are_added(engine: SlotEngine) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    given: list[str] = []

    async def wait(holder: str) -> None:
        hold = await engine.reserve("room", START, HALF_HOUR, holder=holder, wait=minutes(4))
        given.append(str(hold.holder))

    async with anyio.create_task_group() as tasks:
        for holder in ("anna", "ben"):
            tasks.start_soon(wait, holder)
            await anyio.wait_all_tasks_blocked()
        await engine.configure([Put(Kind.RESOURCE, "room", ResourceConfig(3))])
    assert sorted(given) == ["anna", "ben"]
    assert engine.settings(Kind.RESOURCE)[0] == engine.setting(Kind.RESOURCE, "room")


@pytest.mark.anyio
async def test_who_waits_for_an_event_type_that_is_removed_is_told(engine: SlotEngine) -> None:
    await engine.configure(
        [
            Put(Kind.EVENT_TYPE, name, EventType(id=name, length=HALF_HOUR, all_of=["room"]))
            for name in ("talk", "chat")
        ]
    )
    hold = await engine.reserve("room", START, HALF_HOUR)
    told: list[str] = []

    async def wait(event_type: str) -> None:
        try:
            await engine.reserve_slot(event_type, START, wait=minutes(4))
        except UnknownEventType as error:
            told.append(error.event_type)
        else:
            told.append("held")

    async with anyio.create_task_group() as tasks:
        for name in ("talk", "chat"):
            tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
        await engine.configure([Remove(Kind.EVENT_TYPE, "talk")])
        await anyio.wait_all_tasks_blocked()
        assert told == ["talk"]
        await engine.release(hold.uid)
    assert told == ["talk", "held"]


@pytest.mark.anyio
async def test_who_waits_for_what_is_retired_is_told(engine: SlotEngine) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    refused: list[Exception] = []

    async def wait() -> None:
        try:
            await engine.reserve("room", START, HALF_HOUR, wait=minutes(4))
        except Retired as refusal:
            refused.append(refusal)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await engine.configure([Retire(Kind.RESOURCE, "room")])
    assert len(refused) == 1


def test_threads_may_change_it_too() -> None:
    with BlockingEngine() as engine:
        engine.configure([ROOM])
        assert [one.id for one in engine.settings()] == ["room"]
        found = engine.setting(Kind.RESOURCE, "room")
        assert found is not None
        assert found.version == 1


def test_records_bring_the_configuration_back() -> None:
    """An engine without any resource replays all there is."""
    records: list[Any] = []
    engine = LocalEngine(clock=SimClock(NOW))
    engine.record(records.append)
    office = Put(Kind.SCHEDULE, "office", OFFICE)
    named = Put(Kind.RESOURCE, "room", ResourceConfig(2, "office"))
    engine.configure([office, named])
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
    hold = engine.reserve_slot("talk", START)
    engine.configure([Put(Kind.RESOURCE, "room", ResourceConfig(1, "office"))])
    again = LocalEngine(clock=SimClock(NOW))
    again.replay(records)
    assert again.settings() == engine.settings()
    assert again.get(hold.uid) == hold
    with pytest.raises(SlotTaken):
        again.reserve_slot("talk", START)
    again.check_invariants()
