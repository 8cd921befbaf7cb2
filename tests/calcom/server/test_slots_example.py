"""The example catalog: a week of each of its event types, and what can be had of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slotengine import minutes
from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.load import load_catalog
from slotengine.testing import SimClock
from tests.calcom.server.api import Api, Start

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[3] / "examples" / "catalog.toml"
CATALOG = load_catalog(EXAMPLE)

NOW = datetime(2030, 11, 29, 8, tzinfo=UTC)  # a Friday
WEEK = {"start": "2030-12-02", "end": "2030-12-08"}
MONDAY = datetime(2030, 12, 2, tzinfo=UTC)


@pytest.fixture
def catalog() -> Catalog:
    return CATALOG


@pytest.fixture
async def api(start: Start) -> Api:
    return await start(SimClock(NOW))


def stamps(day: int, *times: str, offset: str = "Z") -> list[str]:
    return [f"2030-12-{day:02}T{time}{offset}" for time in times]


async def test_a_week_of_consultations_in_utc_and_elsewhere(api: Api) -> None:
    """Office hours in Rome are 08:00 to 16:00 in UTC; on Monday at nine one is booked."""
    hours = ["08:00", "09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    monday = [hour for hour in hours if hour != "09:00"]
    in_utc = stamps(2, *monday)
    for day in (3, 4, 5, 6):
        in_utc += stamps(day, *hours)
    assert await api.starts(eventTypeId=2, **WEEK) == in_utc
    moments = [datetime.fromisoformat(start) for start in in_utc]
    for zone, first in (
        ("Europe/Rome", "2030-12-02T09:00+01:00"),
        ("America/New_York", "2030-12-02T03:00-05:00"),
        ("Asia/Tokyo", "2030-12-02T17:00+09:00"),
    ):
        starts = await api.starts(eventTypeId=2, timeZone=zone, **WEEK)
        assert starts[0] == first
        assert [datetime.fromisoformat(start) for start in starts] == moments


async def test_a_reservation_removes_its_slot_for_everyone_until_it_expires(api: Api) -> None:
    slot = "2030-12-03T10:00Z"
    offering = [2, 3, 5, 6, 8]  # all that need, or could have, the same consultant
    before = {each: await api.starts(eventTypeId=each, **WEEK) for each in offering}
    await api.hold(eventTypeId=2, slotStart=slot)
    assert slot not in await api.starts(eventTypeId=2, **WEEK)
    assert not {"2030-12-03T10:00Z", "2030-12-03T11:00Z"} & set(
        await api.starts(eventTypeId=3, **WEEK)
    )
    for each in (6, 8):  # round robin: the other consultant is free
        assert await api.starts(eventTypeId=each, **WEEK) == before[each]
    await api.clock.advance(minutes(5))
    for each in offering:
        assert await api.starts(eventTypeId=each, **WEEK) == before[each]


@pytest.mark.parametrize("event_type_id", CATALOG.event_types)
async def test_what_is_offered_can_be_had_and_nothing_is_left_out(
    api: Api, event_type_id: int
) -> None:
    """Every quarter of an hour of a week is tried, one after the other."""
    length = CATALOG.event_types[event_type_id].rules.length
    starts = await api.starts(eventTypeId=event_type_id, **WEEK)
    offered = [datetime.fromisoformat(start) for start in starts]
    assert offered
    had = []
    start = MONDAY
    while start + length <= MONDAY + timedelta(days=7):
        answer = await api.post(eventTypeId=event_type_id, slotStart=start.isoformat())
        assert answer.status in {201, 422}
        if answer.status == 201:
            had.append(start)
            await api.delete(answer.data["reservationUid"])
        start += minutes(15)
    assert set(offered) <= set(had)
    # What can be had beside that lies between two that are offered, and would overlap with them.
    for start in had:
        assert any(abs(start - slot) < length for slot in offered)


async def test_the_trainers_calendar_is_in_the_way(api: Api) -> None:
    """A dentist, on Tuesday from 13:00 to 14:30 in UTC; a workshop takes two hours."""
    tuesday = {"start": "2030-12-03", "end": "2030-12-03"}
    starts = await api.starts(eventTypeId=7, **tuesday)
    assert starts[-2:] == stamps(3, "10:30", "11:00")
    answer = await api.post(eventTypeId=7, slotStart="2030-12-03T11:30Z")
    assert answer.status == 422
    assert answer.message == "Can't reserve a slot if the event is already booked."
    (span,) = await api.engine.imported("user:4", MONDAY, MONDAY + timedelta(days=2))
    assert (span.source, span.end - span.start) == ("calendar:calendars/trainer.ics", minutes(90))


async def test_a_class_with_seats(api: Api) -> None:
    answer = await api.search(eventTypeId=4, format="range", **WEEK)
    assert list(answer.data) == ["2030-12-02", "2030-12-04"]
    assert answer.data["2030-12-02"][0] == {
        "start": "2030-12-02T17:00:00.000Z",
        "end": "2030-12-02T18:30:00.000Z",
        "seatsBooked": 7,
        "seatsRemaining": 1,
        "seatsTotal": 8,
        "bookingUid": "existing-class",
    }
    await api.hold(eventTypeId=4, slotStart="2030-12-02T17:00Z")
    assert "2030-12-02T17:00Z" not in await api.starts(eventTypeId=4, **WEEK)


async def test_a_booking_can_be_moved_to_its_own_time(api: Api) -> None:
    moved = await api.starts(eventTypeId=2, bookingUidToReschedule="existing-consultation", **WEEK)
    assert stamps(2, "09:00")[0] in moved


async def test_who_can_be_found_by_name(api: Api) -> None:
    by_id = await api.starts(eventTypeId=5, **WEEK)
    by_team = await api.starts(
        teamSlug="advice", eventTypeSlug="panel", organizationSlug="example", **WEEK
    )
    assert by_team == by_id
    by_user = await api.starts(username="consultant-1", eventTypeSlug="consultation", **WEEK)
    assert by_user == await api.starts(eventTypeId=2, **WEEK)
    together = {"usernames": "consultant-1,consultant-2", "organizationSlug": "example"}
    # Both are booked on these days, and so not free together either.
    found = await api.starts(**together, **WEEK)
    assert len(found) == 5 * 16 - 2 - 1
    apart = await api.search(usernames="consultant-1,trainer", organizationSlug="example", **WEEK)
    assert apart.status == 401
