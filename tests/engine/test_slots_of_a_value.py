"""Slots of an event type that was not added: some resources together, for once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from slotengine import (
    EventType,
    Host,
    InvalidField,
    Limit,
    Period,
    SlotEngine,
    SlotQuery,
    TooManyUnits,
    UnknownEventType,
    UnknownResource,
    minutes,
)
from tests.engine.conftest import HOUR, NOW

pytestmark = pytest.mark.anyio

TOGETHER = EventType(id="together", length=HOUR, all_of=["room", "shop"], notice=minutes(90))


async def starts(engine: SlotEngine, event_type: str | EventType) -> list[int]:
    found = await engine.slots(SlotQuery(event_type, NOW, NOW + 6 * HOUR))
    return [slot.start.hour for slot in found]


async def test_it_is_searched_as_one_that_was_added(engine: SlotEngine) -> None:
    await engine.reserve("room", NOW + 4 * HOUR, HOUR)
    for_once = await starts(engine, TOGETHER)
    assert for_once == [10, 11, 13]
    following = await engine.next_free(SlotQuery(TOGETHER), count=2)
    assert [slot.start for slot in following] == [NOW + 2 * HOUR, NOW + 3 * HOUR]
    with pytest.raises(UnknownEventType):
        await starts(engine, "together")
    engine.add_event_type(TOGETHER)
    assert await starts(engine, "together") == for_once
    assert await starts(engine, TOGETHER) == for_once


async def test_it_must_fit_the_engine(engine: SlotEngine) -> None:
    unknown = EventType(id="a", length=HOUR, all_of=["nowhere"])
    with pytest.raises(UnknownResource):
        await starts(engine, unknown)
    too_many = EventType(id="b", length=HOUR, all_of=[Host("hall", units=4)])
    with pytest.raises(TooManyUnits):
        await starts(engine, too_many)


async def test_limits_are_for_those_that_were_added(engine: SlotEngine) -> None:
    limit = Limit(Period.DAY, count=1)
    limited = EventType(id="c", length=HOUR, all_of=["room"], limits=[limit])
    with pytest.raises(InvalidField, match="must be added to the engine first"):
        await starts(engine, limited)
    engine.add_event_type(limited)
    assert await starts(engine, "c") == [9, 10, 11, 12, 13]
    await engine.reserve_slot("c", datetime(2030, 1, 7, 12, tzinfo=UTC))
    assert await starts(engine, "c") == []
