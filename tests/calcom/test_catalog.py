"""What the server uses of a catalog: keyrings, schedules together, and its bookings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slotengine import Seats, SlotEngine, State
from slotengine.calcom.catalog import Keyring
from slotengine.calcom.catalog_file import catalog_from
from slotengine.errors import InvalidField

MONDAY = datetime(2030, 9, 2, tzinfo=UTC)


def test_a_keyring_takes_any_text() -> None:
    keys = Keyring([("a", 1)])
    for text in ("", "ü", "\udcff", "\ud800", "x" * 100_000):
        assert keys.find(text) is None


@pytest.mark.anyio
async def test_populate(right: dict[str, Any]) -> None:
    catalog = catalog_from(right)
    async with SlotEngine() as engine:
        await catalog.populate(engine)
        assert engine.statistics().resources == 3
        assert engine.statistics().confirmed == 2
        whole_day = MONDAY, MONDAY + timedelta(days=1)
        (first,) = await engine.reservations("user:1", *whole_day)
        assert (first.start, first.state) == (MONDAY.replace(hour=10), State.CONFIRMED)
        (second,) = await engine.reservations("user:2", *whole_day)
        assert (second.seats, second.until) == (Seats(3, 2), None)
        with pytest.raises(InvalidField):
            await catalog.populate(engine)


@pytest.mark.anyio
async def test_populate_with_what_shares_a_session_and_what_takes_no_time(
    right: dict[str, Any],
) -> None:
    session = {"eventTypeId": 4, "start": "2030-09-02T12:00:00Z", "end": "2030-09-02T13:00:00Z"}
    both = {"eventTypeId": 2, "start": "2030-10-01", "end": "2030-10-02"}
    right["bookings"] += [
        session | {"uid": "third"},
        session | {"uid": "off", "status": "cancelled", "attendeesCount": 3},
        session | {"uid": "no", "eventTypeId": 2, "status": "rejected"},
        both | {"uid": "both", "status": "pending"},
        both | {"uid": "one", "hostIds": [2], "start": "1999-01-01", "end": "1999-01-02"},
    ]
    async with SlotEngine() as engine:
        await catalog_from(right).populate(engine)
        assert engine.statistics().confirmed == 5
        assert engine.statistics().sessions == 1
