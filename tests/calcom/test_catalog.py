"""What the server uses of a catalog: keyrings, schedules together, and its bookings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slotengine import EventType, Seats, SlotEngine, State, minutes
from slotengine.calcom.catalog import Keyring
from slotengine.calcom.catalog_file import catalog_from
from slotengine.calcom.secrets import digest_of
from slotengine.errors import InvalidField
from slotengine.testing import SimClock

MONDAY = datetime(2030, 9, 2, tzinfo=UTC)


def test_a_keyring_takes_any_text() -> None:
    keys = Keyring([(digest_of("a"), 1)])
    for text in ("", "ü", "\udcff", "\ud800", "x" * 100_000):
        assert keys.find(text) is None


@pytest.mark.anyio
async def test_populate(right: dict[str, Any]) -> None:
    right["eventTypes"][0]["bookingLimitsCount"] = {"day": 5}
    catalog = catalog_from(right)
    async with SlotEngine() as engine:
        booked = await catalog.populate(engine)
        assert engine.statistics().resources == 3  # the limits of event types are none
        assert engine.statistics().confirmed == 2
        whole_day = MONDAY, MONDAY + timedelta(days=1)
        (first,) = await engine.reservations("user:1", *whole_day)
        assert (first.start, first.state) == (MONDAY.replace(hour=10), State.CONFIRMED)
        (second,) = await engine.reservations("user:2", *whole_day)
        assert (second.seats, second.until) == (Seats(3, 2), None)
        assert list(booked.values()) == [first.uid, second.uid]
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


@pytest.mark.anyio
async def test_an_event_type_that_is_there_already_is_a_problem(right: dict[str, Any]) -> None:
    async with SlotEngine() as engine:
        engine.add_resource("room")
        engine.add_event_type(EventType(id="1", length=timedelta(hours=1), all_of=["room"]))
        with pytest.raises(InvalidField, match="added before"):
            await catalog_from(right).populate(engine)


@pytest.mark.anyio
async def test_calendars_are_imported_for_all_their_users(
    right: dict[str, Any], tmp_path: Path
) -> None:
    lines = "BEGIN:VEVENT", "UID:1", "DTSTART:20300902T100000", "DURATION:PT1H", "END:VEVENT"
    text = "\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"])
    (tmp_path / "a.ics").write_text(text, encoding="utf-8")
    right["users"][0]["calendars"] = right["users"][1]["calendars"] = ["a.ics"]
    ten = MONDAY.replace(hour=10)
    for now, there in ((ten, 1), (ten + timedelta(days=2), 0), (ten - timedelta(days=1900), 0)):
        async with SlotEngine(clock=SimClock(now)) as engine:
            await catalog_from(right, folder=tmp_path).populate(engine)
            found = [
                [span[:2] for span in await engine.imported(user, MONDAY, ten + minutes(60))]
                for user in ("user:1", "user:2")
            ]
        in_rome = ten - timedelta(hours=2)
        each = [[(in_rome, in_rome + minutes(60))], [(ten, ten + minutes(60))]]
        assert found == (each if there else [[], []])
