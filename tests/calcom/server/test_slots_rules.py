"""Which slots the search finds: sections 9 and 11 of the contract, and that they can be had."""

from __future__ import annotations

import asyncio
import copy
from datetime import timedelta
from typing import Any

import pytest

from slotengine import minutes
from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.load import catalog_from
from tests.calcom.server.api import MONDAY, NO_HOSTS, RAW_CATALOG, Api, Start, hosts_of

pytestmark = pytest.mark.anyio

TUESDAY = "2050-09-06"


def at(time: str, date: str = MONDAY) -> str:
    return f"{date}T{time}:00Z"


def changed(event_type_id: int, **fields: object) -> Catalog:
    """Return the catalog with some fields of one event type changed."""
    raw: dict[str, Any] = copy.deepcopy(RAW_CATALOG)
    (one,) = (each for each in raw["eventTypes"] if each["id"] == event_type_id)
    one |= fields
    return catalog_from(raw)


async def times(api: Api, **query: str | int) -> list[str]:
    """Return the times of day at which slots start, of one day in UTC."""
    return [start[11:16] for start in await api.starts(**query)]


async def morning(
    api: Api, event_type_id: int, date: str = MONDAY, **query: str | int
) -> list[str]:
    """Return the times at which slots start that are over by noon."""
    window = {"start": f"{date}T08:00:00Z", "end": f"{date}T12:00:00Z"}
    return await times(api, eventTypeId=event_type_id, **(window | query))


HALF_HOURS = ["08:00", "08:30", "09:00", "09:30", "10:00", "10:30", "11:00", "11:30"]


# --- 9: what a hold blocks -------------------------------------------------------------


async def test_a_hold_hides_its_slot_at_once_and_until_it_lapses(api: Api) -> None:
    assert await morning(api, 1) == HALF_HOURS
    uid = await api.hold(eventTypeId=1, slotStart=at("10:00"))
    without = [time for time in HALF_HOURS if time != "10:00"]
    assert await morning(api, 1) == without
    assert await morning(api, 2) == ["08:00", "09:00", "11:00"]  # of the same host
    await api.clock.advance(minutes(5) - timedelta(microseconds=1))
    assert await morning(api, 1) == without
    await api.clock.advance(timedelta(microseconds=1))
    assert await morning(api, 1) == HALF_HOURS
    assert (await api.get(uid)).data["reservationUntil"] == f"{MONDAY}T06:05:00.000Z"


async def test_a_hold_that_is_given_up_or_moved(api: Api) -> None:
    uid = await api.hold(eventTypeId=1, slotStart=at("10:00"))
    assert (await api.patch(uid, eventTypeId=1, slotStart=at("10:30"))).status == 200
    assert await morning(api, 1) == [time for time in HALF_HOURS if time != "10:30"]
    await api.delete(uid)
    assert await morning(api, 1) == HALF_HOURS


async def test_a_hold_off_the_grid_hides_what_it_touches_and_does_not_shift_the_grid(
    api: Api,
) -> None:
    uid = await api.hold(eventTypeId=1, slotStart=at("10:15"))
    assert await morning(api, 1) == [t for t in HALF_HOURS if t not in {"10:00", "10:30"}]
    # A booking does: free time begins at its end.
    await api.engine.confirm(uid)
    assert await morning(api, 1, duration=15) == [
        f"{hour:02}:{minute:02}"
        for hour in range(8, 12)
        for minute in (0, 15, 30, 45)
        if (hour, minute) not in {(10, 15), (10, 30)}
    ]


async def test_a_thousand_callers_are_shown_only_what_is_left(api: Api) -> None:
    """Of a slot that one of many gets nobody is told that it can be had."""
    answers = await asyncio.gather(*(api.post(slotStart=at("10:00")) for _ in range(100)))
    assert sorted(answer.status for answer in answers) == [201] + [422] * 99
    assert "10:00" not in await morning(api, 1)


async def test_buffers_on_both_sides(api: Api) -> None:
    """Half an hour, with 15 minutes before and 30 after; both bring theirs."""
    await api.hold(eventTypeId=8, slotStart=at("10:00"))
    # From 09:15 on nothing fits before, and until 11:15 nothing after.
    assert await morning(api, 8) == ["08:00", "08:30", "11:30"]
    for time, status in (("08:45", 201), ("11:14", 422), ("11:15", 201)):
        assert (await api.post(eventTypeId=8, slotStart=at(time))).status == status


# --- 5 and 9: seats --------------------------------------------------------------------


async def seats_at(api: Api, event_type_id: int, start: str) -> dict[str, Any] | None:
    answer = await api.search(eventTypeId=event_type_id, start=start[:10], end=start[:10])
    slots = answer.data.get(start[:10], [])
    return next((dict(slot) for slot in slots if slot["start"][:16] == start[:16]), None)


async def test_seats_are_shown_and_a_full_session_is_not_offered(api: Api) -> None:
    start = at("10:00")
    free = {"seatsBooked": 0, "seatsRemaining": 2, "seatsTotal": 2}
    assert await seats_at(api, 3, start) == {"start": f"{MONDAY}T10:00:00.000Z"} | free
    first = await api.hold(eventTypeId=3, slotStart=start)
    one = {"seatsBooked": 1, "seatsRemaining": 1, "seatsTotal": 2}
    # A hold is no booking, and its uid is its holder's.
    assert await seats_at(api, 3, start) == {"start": f"{MONDAY}T10:00:00.000Z"} | one
    second = await api.hold(eventTypeId=3, slotStart=start)
    assert await seats_at(api, 3, start) is None
    await api.delete(first)
    assert await seats_at(api, 3, start) == {"start": f"{MONDAY}T10:00:00.000Z"} | one
    await api.engine.confirm(second)
    shown = await seats_at(api, 3, start)
    assert shown == {"start": f"{MONDAY}T10:00:00.000Z"} | one  # no uid of the engine's


async def test_a_booking_of_the_catalog_is_named(start: Start) -> None:
    api = await start(catalog=changed(3, seats={"seatsPerTimeSlot": 4}))
    answer = await api.search(eventTypeId=3, start=TUESDAY, end=TUESDAY, format="range")
    (shown,) = (slot for slot in answer.data[TUESDAY] if slot["seatsBooked"])
    assert shown == {
        "start": f"{TUESDAY}T10:00:00.000Z",
        "end": f"{TUESDAY}T10:30:00.000Z",
        "seatsBooked": 2,
        "seatsRemaining": 2,
        "seatsTotal": 4,
        "bookingUid": "booked-class",
    }
    await api.hold(eventTypeId=3, slotStart=at("10:00", TUESDAY))
    again = await seats_at(api, 3, at("10:00", TUESDAY))
    assert again is not None
    assert (again["seatsBooked"], again["bookingUid"]) == (3, "booked-class")
    ignoring = await api.search(
        eventTypeId=3, start=TUESDAY, end=TUESDAY, bookingUidToReschedule="booked-class"
    )
    assert [slot["seatsBooked"] for slot in ignoring.data[TUESDAY] if slot["seatsBooked"]] == [1]


async def test_a_session_off_the_grid_can_still_be_joined(api: Api) -> None:
    await api.hold(eventTypeId=3, slotStart=at("10:10"))
    found = await morning(api, 3)
    assert "10:10" in found
    assert not {"10:00", "10:30"} & set(found)
    assert (await api.post(eventTypeId=3, slotStart=at("10:10"))).status == 201
    assert "10:10" not in await morning(api, 3)


# --- 11.5: several hosts ---------------------------------------------------------------


async def test_a_collective_event_needs_all_its_hosts(api: Api) -> None:
    assert await morning(api, 5) == HALF_HOURS
    await api.hold(eventTypeId=9, slotStart=at("09:00"))  # with one of them
    await api.hold(eventTypeId=9, slotStart=at("09:00"))  # and with somebody else
    assert await morning(api, 5) == [time for time in HALF_HOURS if time != "09:00"]
    # Its own hold is in the way of all its hosts.
    await api.hold(eventTypeId=5, slotStart=at("11:00"))
    assert "11:00" not in await morning(api, 7)


async def test_round_robin_offers_a_slot_while_one_host_is_free(api: Api) -> None:
    for _ in range(3):
        assert await morning(api, 6) == HALF_HOURS
        await api.hold(eventTypeId=6, slotStart=at("10:00"))
    assert await morning(api, 6) == [time for time in HALF_HOURS if time != "10:00"]
    assert (await api.post(eventTypeId=6, slotStart=at("10:00"))).message == NO_HOSTS


async def test_round_robin_with_a_fixed_host(api: Api) -> None:
    await api.hold(eventTypeId=7, slotStart=at("10:00"))
    assert await morning(api, 7) == [time for time in HALF_HOURS if time != "10:00"]
    assert "10:00" not in await morning(api, 7, TUESDAY)  # the fixed host is booked
    assert "10:00" in await morning(api, 6, TUESDAY)


async def test_of_each_group_one_must_be_free(start: Start) -> None:
    hosts = [
        {"userId": 4, "groupId": "a", "weight": 200},
        {"userId": 5, "groupId": "b", "weight": 300},
        {"userId": 6, "groupId": "b"},
    ]
    api = await start(catalog=changed(6, hosts=hosts))
    uid = await api.hold(eventTypeId=6, slotStart=at("10:00"))
    assert len(hosts_of(api, uid)) == 2
    assert await morning(api, 6) == [time for time in HALF_HOURS if time != "10:00"]
    assert (await api.post(eventTypeId=6, slotStart=at("10:00"))).message == NO_HOSTS
    chosen = [
        hosts_of(api, await api.hold(eventTypeId=6, slotStart=f"2050-09-12T{hour:02}:00:00Z"))
        for hour in range(7)
    ]
    assert sum("user:5" in hosts for hosts in chosen) in {5, 6}  # three in four, of eight in all


@pytest.mark.parametrize(
    ("event_type_id", "subset", "found"),
    [
        (6, "4", False),
        (6, "5", True),
        (6, "4,999", False),
        (6, "999", False),
        (6, "999,-5,6", True),
        (7, "5", False),  # host-1 takes part every time
        (9, "4", False),  # is none of its hosts
        (2, "5", True),  # no round robin: there is nothing to choose
    ],
)
async def test_a_subset_of_hosts(api: Api, event_type_id: int, subset: str, found: bool) -> None:
    """On Tuesday at ten, when host-1 is booked."""
    date = MONDAY if event_type_id == 2 else TUESDAY
    assert ("10:00" in await morning(api, event_type_id, date, rrHostSubsetIds=subset)) is found


# --- Bookings that are moved -----------------------------------------------------------


async def test_a_booking_that_is_moved_is_not_in_its_own_way(api: Api) -> None:
    hours = ["08:00", "09:00", "11:00"]
    assert await morning(api, 2, TUESDAY) == hours
    moved = await morning(api, 2, TUESDAY, bookingUidToReschedule="booked-1")
    assert moved == ["08:00", "09:00", "10:00", "11:00"]
    for unknown in ("", "nothing", "cancelled", "booked-class"):
        assert await morning(api, 2, TUESDAY, bookingUidToReschedule=unknown) == hours


async def test_so_is_a_hold_of_ones_own(api: Api) -> None:
    uid = await api.hold(eventTypeId=1, slotStart=at("10:00"))
    other = await api.hold(eventTypeId=1, slotStart=at("11:00"))
    found = await morning(api, 1, bookingUidToReschedule=uid)
    assert found == [time for time in HALF_HOURS if time != "11:00"]
    await api.delete(other)
    assert await morning(api, 1, bookingUidToReschedule=other) == [
        time for time in HALF_HOURS if time != "10:00"
    ]


async def test_a_booking_may_have_to_stay_with_its_host(start: Start) -> None:
    """It is host-1's; everybody's slots can be had by all others."""
    api = await start(catalog=changed(6, rescheduleWithSameRoundRobinHost=True))
    await api.hold(eventTypeId=5, slotStart=at("11:00", TUESDAY))  # host-1 and host-2
    assert await morning(api, 6, TUESDAY) == HALF_HOURS
    moved = {"bookingUidToReschedule": "booked-host-1"}
    assert await morning(api, 6, TUESDAY, **moved) == [t for t in HALF_HOURS if t != "11:00"]
    assert await morning(api, 6, TUESDAY, **moved, rrHostSubsetIds="5") == []
    assert await morning(api, 6, TUESDAY, bookingUidToReschedule="booked-1") == HALF_HOURS


# --- 11.3 and 11.6: notice, windows, limits --------------------------------------------

TOO_SOON = "This time slot is too soon. Please choose a later time."
NOT_BOOKABLE = (
    "This time slot is outside the dates that can be booked. Please choose a different time."
)
LIMITS = "The booking limits of this event type are reached. Please choose a different time."


async def refused(api: Api, event_type_id: int, start: str) -> str:
    before = api.state()
    answer = await api.post(eventTypeId=event_type_id, slotStart=start)
    assert answer.status == 422
    assert api.state() == before
    return answer.message


async def test_notice(start: Start) -> None:
    api = await start(catalog=changed(1, minimumBookingNotice=210))
    assert (await morning(api, 1))[0] == "09:30"
    assert await refused(api, 1, at("09:29")) == TOO_SOON
    uid = await api.hold(eventTypeId=1, slotStart=at("09:30"))
    await api.clock.advance(minutes(1))
    assert (await morning(api, 1))[0] == "10:00"
    assert (await api.patch(uid, eventTypeId=1, slotStart=at("09:30"))).status == 200  # it stays
    answer = await api.patch(uid, eventTypeId=1, slotStart=at("09:00"))
    assert (answer.status, answer.message) == (422, TOO_SOON)


async def test_two_hours_of_notice_unless_said_otherwise(start: Start) -> None:
    raw = copy.deepcopy(RAW_CATALOG)
    del raw["eventTypes"][0]["minimumBookingNotice"]
    api = await start(catalog=catalog_from(raw))
    assert (await times(api, eventTypeId=1))[0] == "08:00"
    assert await refused(api, 1, at("07:59")) == TOO_SOON


@pytest.mark.parametrize(
    ("seconds", "notice", "step", "first"),
    [(1, 120, 40, "08:40"), (841, 0, 15, "06:15"), (900, 0, 15, "06:30"), (0.25, 30, 15, "06:45")],
)
async def test_a_clock_with_seconds(
    start: Start, seconds: float, notice: int, step: int, first: str
) -> None:
    catalog = changed(
        1, lengthInMinutes=15, lengthInMinutesOptions=[15],
        minimumBookingNotice=notice, slotInterval=step,
    )  # fmt: skip
    api = await start(catalog=catalog)
    await api.clock.advance(timedelta(seconds=seconds))
    assert (await times(api, eventTypeId=1, start=MONDAY))[0] == first
    uid = await api.hold(eventTypeId=1, slotStart=at(first))
    assert (await api.get(uid)).data["slotStart"] == f"{MONDAY}T{first}:00.000Z"


@pytest.mark.parametrize(
    ("window", "last"),
    [
        ({"type": "calendarDays", "value": 3}, "2050-09-08"),
        ({"type": "businessDays", "value": 5}, "2050-09-12"),
        ({"type": "range", "value": ["2050-09-07", "2050-09-09"]}, "2050-09-09"),
    ],
)
async def test_windows(start: Start, window: dict[str, object], last: str) -> None:
    """Days end where the owner is: at 22:00 in UTC, since Rome has summer time."""
    api = await start(catalog=changed(11, bookingWindow=window, scheduleId=None))
    answer = await api.search(eventTypeId=11, end="2050-09-30")
    assert max(answer.data) == last
    if window["type"] == "range":
        assert min(answer.data) == "2050-09-07"
        assert await refused(api, 11, at("10:00")) == NOT_BOOKABLE
    assert await refused(api, 11, "2050-09-13T10:00:00Z") == NOT_BOOKABLE
    assert (await api.post(eventTypeId=11, slotStart=f"{last}T10:00:00Z")).status == 201


async def test_limits_count_holds_and_bookings(start: Start) -> None:
    api = await start(catalog=changed(2, bookingLimitsCount={"day": 2, "week": 3}))
    await api.hold(eventTypeId=2, slotStart=at("08:00"))
    assert await morning(api, 2) == ["09:00", "10:00", "11:00"]
    uid = await api.hold(eventTypeId=2, slotStart=at("11:00"))
    assert await morning(api, 2) == []
    assert await refused(api, 2, at("15:00")) == LIMITS
    # With the booking on Tuesday that is three in the week; the next begins on Monday.
    week = await api.search(eventTypeId=2, end="2050-09-12")
    assert list(week.data) == ["2050-09-12"]
    assert await refused(api, 2, at("10:00", "2050-09-11")) == LIMITS
    answer = await api.patch(uid, eventTypeId=2, slotStart=at("10:00"))
    assert answer.status == 200
    assert await morning(api, 1) == ["09:00", "09:30", "11:00", "11:30"]
    await api.delete(uid)
    assert await morning(api, 2) == ["09:00", "10:00", "11:00"]


async def test_limits_of_time(start: Start) -> None:
    api = await start(catalog=changed(1, bookingLimitsDuration={"day": 60}))
    await api.hold(eventTypeId=1, slotStart=at("08:00"))
    assert (await morning(api, 1))[0] == "08:30"
    assert await morning(api, 1, duration=45) == []
    answer = await api.post(eventTypeId=1, slotStart=at("10:00"), slotDuration=45)
    assert answer.message == LIMITS


async def test_a_length_that_a_limit_never_has_time_for(start: Start) -> None:
    raw = copy.deepcopy(RAW_CATALOG)
    event_type = next(one for one in raw["eventTypes"] if one["id"] == 1)
    event_type |= {"bookingLimitsDuration": {"day": 30}}
    # Agreed before the limit was, and so it stands; it counts towards it as well.
    raw["bookings"].append(
        {"uid": "long", "eventTypeId": 1, "start": at("08:00"), "end": at("08:45")}
    )
    api = await start(catalog=catalog_from(raw))
    assert await morning(api, 1, duration=45) == []
    answer = await api.post(eventTypeId=1, slotStart=at("10:00"), slotDuration=45)
    assert (answer.status, answer.message) == (422, LIMITS)
    answer = await api.post(eventTypeId=1, slotStart=at("10:00"))
    assert (answer.status, answer.message) == (422, LIMITS)
    next_day = at("10:00", "2050-09-07")
    uid = await api.hold(eventTypeId=1, slotStart=next_day)
    answer = await api.patch(uid, eventTypeId=1, slotStart=next_day, slotDuration=45)
    assert (answer.status, answer.message) == (422, LIMITS)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("period", ["day", "week", "month", "year"])
async def test_limits_reach_to_the_ends_of_the_calendar(
    start: Start, zone: str, period: str
) -> None:
    raw = copy.deepcopy(RAW_CATALOG)
    always = [{"days": ["Monday"], "startTime": "00:00", "endTime": "23:59"}]
    raw["schedules"] += [{"id": 3, "timeZone": zone, "availability": always}]
    raw["eventTypes"][1] |= {"scheduleId": 3, "bookingLimitsCount": {period: 1}}
    api = await start(catalog=catalog_from(raw), enforce_availability=False)
    for first, second in (
        ("0001-01-01T00:00Z", "0001-01-01T01:00Z"),
        ("9999-12-31T21:00Z", "9999-12-31T22:00Z"),
    ):
        before = api.state()
        uid = await api.hold(eventTypeId=2, slotStart=first)
        assert await refused(api, 2, second) == LIMITS
        await api.delete(uid)
        await api.delete(await api.hold(eventTypeId=2, slotStart=second))
        await api.clock.advance(timedelta(hours=2))
        assert api.state() == before


async def test_rules_need_not_be_enforced_but_limits_are(start: Start) -> None:
    rules = {
        "minimumBookingNotice": 10_000,
        "bookingWindow": {"type": "calendarDays", "value": 1},
        "bookingLimitsCount": {"day": 1},
    }
    api = await start(catalog=changed(1, **rules), enforce_availability=False)
    for date in (MONDAY, "2049-01-01", "2051-01-01"):
        assert (await api.post(eventTypeId=1, slotStart=at("10:00", date))).status == 201
        assert await refused(api, 1, at("12:00", date)) == LIMITS
    assert await morning(api, 1) == []


async def test_the_first_slot_of_each_day_alone(start: Start) -> None:
    api = await start(catalog=changed(4, onlyShowFirstAvailableSlot=True))
    week = {"start": "2050-09-12", "end": "2050-09-18"}
    assert await api.starts(eventTypeId=4, **week) == [
        f"2050-09-{day}T07:00Z" for day in range(12, 17)
    ]
    afternoon = {"start": "2050-09-12T12:00:00Z", "end": "2050-09-12T15:00:00Z"}
    assert await api.starts(eventTypeId=4, **afternoon) == []


async def test_interval_offset_and_optimized_starts(start: Start) -> None:
    api = await start(catalog=changed(2, slotInterval=90, offsetStart=10))
    assert await morning(api, 2) == ["08:10", "09:50"]
    await api.engine.confirm(await api.hold(eventTypeId=1, slotStart=at("08:00"), slotDuration=45))
    assert await morning(api, 2) == ["09:10", "10:50"]
    api = await start(catalog=changed(2, showOptimizedSlots=True))
    await api.engine.confirm(await api.hold(eventTypeId=1, slotStart=at("08:00"), slotDuration=15))
    window = {"start": at("08:00"), "end": at("12:15")}
    assert (await times(api, eventTypeId=2, **window))[0] == "08:15"


# --- What is booked already ------------------------------------------------------------


async def test_bookings_count_towards_limits_and_turns(start: Start) -> None:
    raw = copy.deepcopy(RAW_CATALOG)
    raw["eventTypes"][5] |= {"bookingLimitsCount": {"day": 1}}
    api = await start(catalog=catalog_from(raw))
    assert await morning(api, 6, TUESDAY) == []
    assert await refused(api, 6, at("15:00", TUESDAY)) == LIMITS
    # Host-1 has had a turn, so it is the turn of the other two.
    others = [
        hosts_of(api, await api.hold(eventTypeId=6, slotStart=at("10:00", f"2050-09-{day}")))
        for day in ("08", "09")
    ]
    assert set.union(*others) == {"user:5", "user:6"}


async def test_bookings_stand_whatever_the_rules_are(start: Start) -> None:
    """In the past, outside hours and windows, too long, with too many hosts, beyond the limits."""
    raw = copy.deepcopy(RAW_CATALOG)
    raw["eventTypes"][3] |= {
        "bookingLimitsCount": {"day": 1},
        "bookingWindow": {"type": "calendarDays", "value": 1},
    }
    more: dict[str, dict[str, object]] = {
        "many": {"hostIds": [4, 5]},
        "part": {"hostIds": [5]},
        "brief": {"attendeesCount": 2},
    }
    raw["bookings"] = [
        {"uid": uid, "eventTypeId": event_type, "start": start, "end": end} | more.get(uid, {})
        for uid, event_type, start, end in [
            ("night", 4, "2050-09-12T01:00Z", "2050-09-12T01:30Z"),
            ("again", 4, "2050-09-12T02:00Z", "2050-09-12T02:30Z"),
            ("past", 4, "2001-09-12T02:00Z", "2001-09-12T02:30Z"),
            ("long", 2, "2050-09-13T02:00Z", "2050-09-13T05:00Z"),
            ("many", 6, "2050-09-14T02:00Z", "2050-09-14T02:30Z"),
            ("part", 5, "2050-09-15T02:00Z", "2050-09-15T02:30Z"),
            ("brief", 3, "2050-09-16T02:00Z", "2050-09-16T02:10Z"),
        ]
    ]
    api = await start(catalog=catalog_from(raw))
    assert api.engine.statistics().confirmed == 7
    for event_type, date in ((4, 12), (2, 13), (6, 14), (5, 15), (3, 16)):
        day = f"2050-09-{date}"
        answer = await api.post(eventTypeId=event_type, slotStart=f"{day}T02:00Z")
        assert answer.status == (201 if event_type == 6 else 422)  # a third host is free
    night = {"start": "2050-09-13T00:00:00Z", "end": "2050-09-13T06:00:00Z"}
    assert await times(api, eventTypeId=2, **night) == ["00:00", "01:00", "05:00"]
