"""What the server uses of a catalog: keyrings, schedules together, and its bookings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from slotengine import (
    EventType,
    LimitReached,
    Seats,
    SlotEngine,
    SlotQuery,
    SlotTaken,
    State,
    minutes,
)
from slotengine.calcom.catalog.catalog import Keyring
from slotengine.calcom.catalog.load import catalog_from
from slotengine.calcom.catalog.secrets import digest_of
from slotengine.errors import InvalidField
from slotengine.testing import SimClock
from tests.standing import standing

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
        (first,) = (await engine.find(standing("user:1", *whole_day))).reservations
        assert (first.start, first.state) == (MONDAY.replace(hour=10), State.CONFIRMED)
        (second,) = (await engine.find(standing("user:2", *whole_day))).reservations
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


TEN = MONDAY.replace(hour=10)


def on_monday(uid: str, start: str, end: str, **fields: object) -> dict[str, object]:
    times = {"start": f"2030-09-02T{start}:00Z", "end": f"2030-09-02T{end}:00Z"}
    return {"uid": uid, "eventTypeId": 1} | times | fields


@pytest.mark.anyio
@pytest.mark.parametrize("order", list(permutations(("first", "double", "triple"))))
async def test_bookings_of_one_host_at_a_time_all_stand(
    right: dict[str, Any], caplog: pytest.LogCaptureFixture, order: tuple[str, ...]
) -> None:
    """Each keeps its uid, takes its time until it is cancelled, in whatever order they are."""
    right["eventTypes"][0] |= {"bookingLimitsCount": {"day": 3}}
    right["bookings"] = [
        on_monday("triple", "10:15", "10:30"),
        on_monday("first", "10:00", "10:30"),
        on_monday("double", "10:10", "10:40"),
    ]
    times = {"first": (0, 30), "double": (10, 40), "triple": (15, 30)}
    clock = SimClock(MONDAY + timedelta(hours=6, seconds=1))
    async with SlotEngine(clock=clock) as engine:
        booked = await catalog_from(right).populate(engine)
        assert list(booked) == ["triple", "first", "double"]
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2
        assert "bookings[2]: 'double' overlaps with bookings[1] ('first') on user 1" in told[0]
        assert "bookings[0]: 'triple' overlaps with bookings[2] ('double') on user 1" in told[1]
        left = dict(times)
        for uid in order:
            one = await engine.get(booked[uid])
            assert one is not None
            assert (one.state, one.start) == (State.CONFIRMED, TEN + minutes(times[uid][0]))
            busy = [
                TEN + minutes(n)
                for n in range(60)
                if any(start <= n < end for start, end in left.values())
            ]
            spans = await engine.busy("user:1", MONDAY, MONDAY + timedelta(days=1))
            assert all(span.units == 1 for span in spans)
            shown = [
                TEN + minutes(n)
                for n in range(60)
                if any(one.start <= TEN + minutes(n) < one.end for one in spans)
            ]
            assert shown == busy
            with pytest.raises(SlotTaken):
                await engine.reserve("user:1", busy[0], minutes(1))
            if len(left) == 3:  # all of them count
                with pytest.raises(LimitReached):
                    await engine.reserve_slot("1", MONDAY.replace(hour=14))
            else:
                hold = await engine.reserve_slot("1", MONDAY.replace(hour=14))
                await engine.release(hold.uid)
            assert (await engine.cancel(one.uid)).state is State.CANCELLED
            del left[uid]
        assert await engine.busy("user:1", MONDAY, MONDAY + timedelta(days=1)) == []
        await engine.reserve("user:1", TEN, minutes(60))
        engine.check_invariants()


@pytest.mark.anyio
async def test_whatever_an_owner_has_does_not_stop_a_server(
    right: dict[str, Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    lines = "BEGIN:VEVENT", "UID:1", "DTSTART:20300902T100000Z", "DURATION:PT3H", "END:VEVENT"
    text = "\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"])
    (tmp_path / "a.ics").write_text(text, encoding="utf-8")
    right["users"][0]["calendars"] = ["a.ics"]
    right["eventTypes"][3] |= {"bookingLimitsCount": {"day": 1}}
    right["eventTypes"][0] |= {"bookingLimitsDuration": {"day": 30}}
    whole = {"eventTypeId": 4, "start": "2030-09-02T12:00:00Z", "end": "2030-09-02T13:00:00Z"}
    right["bookings"] += [
        on_monday("night", "02:00", "02:30"),  # outside hours
        on_monday("long", "15:00", "18:00"),  # six times as long as any, and beyond the limit
        {**whole, "uid": "crowd", "attendeesCount": 9},  # beyond the seats
        {**whole, "uid": "shorter", "end": "2030-09-02T12:30:00Z"},  # no part of that session
        on_monday("evening", "20:00", "21:00", eventTypeId=4),  # the second of one a day
        on_monday("retired", "10:00", "10:30", eventTypeId=3, hostIds=[3]),
        {"uid": "old", "eventTypeId": 1, "start": "1999-01-01", "end": "1999-01-02"},
        {
            "uid": "seconds",
            "eventTypeId": 1,
            "start": "2030-09-02T22:00:00Z",
            "end": "2030-09-02T22:00:30Z",
        },
    ]
    clock = SimClock(MONDAY - timedelta(days=1, seconds=29))
    catalog = catalog_from(right, folder=tmp_path, now=clock.moment)
    async with SlotEngine(clock=clock) as engine:
        booked = await catalog.populate(engine)
        assert len(booked) == len(right["bookings"]) == 10
        for uid in booked.values():
            found = await engine.get(uid)
            assert found is not None
            assert found.state is State.CONFIRMED
        told = "\n".join(record.getMessage() for record in caplog.records)
        for uid in ("crowd", "shorter", "retired"):
            assert repr(uid) in told
        # The day's limit is reached; in the evening there are seats left.
        slots = await engine.slots(SlotQuery("4", MONDAY, MONDAY + timedelta(days=1)))
        assert [slot.start for slot in slots] == [MONDAY.replace(hour=20)]
        page = await engine.find(standing("user:3", MONDAY, TEN + minutes(60)))
        assert page.reservations[0].start == TEN
        for uid in booked.values():
            await engine.cancel(uid)
        engine.check_invariants()
        assert engine.statistics().sessions == 0
        assert len(await engine.slots(SlotQuery("4", MONDAY, MONDAY + timedelta(days=1)))) > 1


@pytest.mark.anyio
async def test_an_event_type_that_is_there_already_is_a_problem(right: dict[str, Any]) -> None:
    async with SlotEngine() as engine:
        engine.add_resource("room")
        engine.add_event_type(EventType(id="1", length=timedelta(hours=1), all_of=["room"]))
        with pytest.raises(InvalidField, match="already exists"):
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
