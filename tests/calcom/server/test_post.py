"""What can be reserved, and in which order that is checked: section 5 of the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from slotengine import Claim, Request, minutes
from tests.calcom.server.api import (
    CLOSED,
    NO_HOSTS,
    NOW,
    OWNER,
    Api,
    Start,
    hosts_of,
)
from tests.standing import standing

pytestmark = pytest.mark.anyio

# --- 5.1 and 5.2: POST, and the order of its checks ------------------------------------


async def test_defaults(api: Api) -> None:
    answer = await api.post(eventTypeId=2, slotDuration=None, reservationDuration=None)
    assert answer.status == 201
    assert answer.data["slotDuration"] == 60
    assert answer.data["slotEnd"] == "2050-09-05T11:00:00.000Z"
    assert answer.data["reservationDuration"] == 5
    assert answer.data["reservationUntil"] == "2050-09-05T06:05:00.000Z"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("2050-09-05T12:00:00+02:00", "2050-09-05T10:00:00.000Z"),
        ("2050-09-05T10:00", "2050-09-05T10:00:00.000Z"),
        ("2050-09-06", "2050-09-06T00:00:00.000Z"),
        ("2050-W37-2T09:00Z", "2050-09-13T09:00:00.000Z"),
        ("2050-09-05T24:00", "2050-09-06T00:00:00.000Z"),
        ("2050-09-05T10:00:00.1239Z", "2050-09-05T10:00:00.123Z"),
        ("9999-12-31T23:00Z", "9999-12-31T23:00:00.000Z"),
    ],
)
async def test_times_are_answered_in_utc(api: Api, sent: str, answered: str) -> None:
    answer = await api.post(slotStart=sent)
    assert answer.status == 201
    assert answer.data["slotStart"] == answered


# Each step of the table fails alone, and with everything after it failing too.
STEPS: list[tuple[dict[str, Any], dict[str, str], int, str]] = [
    (
        {"eventTypeId": True},
        {"Authorization": "Bearer cal_wrong"},
        401,
        "CustomThrottlerGuard - Invalid API Key",
    ),
    (
        {"eventTypeId": True},
        {"Authorization": "Bearer wrong"},
        401,
        "ApiAuthStrategy - access token - Invalid Access Token.",
    ),
    ({"eventTypeId": True, "reservationDuration": 5}, {}, 400, "Bad Request Exception"),
    (
        {"eventTypeId": 999, "reservationDuration": 5},
        {},
        401,
        "reservationDuration can only be used for authenticated requests - "
        "use access token, api key or OAuth credentials",
    ),
    (
        {"eventTypeId": 999, "reservationDuration": 5, "slotStart": "2050-02-30"},
        {"Authorization": "Bearer cal_stranger"},
        404,
        "Event Type with ID=999 not found",
    ),
    (
        {"reservationDuration": 5, "slotStart": "2050-02-30", "slotDuration": 7},
        {"Authorization": "Bearer cal_stranger"},
        403,
        "authenticated user is not owner of event type, does not have memberships in common with "
        "owner of the event type, nor does belong to event type's team or org.",
    ),
    ({"slotStart": "2050-02-30", "slotDuration": 7}, {}, 400, "Invalid start date"),
    (
        {"slotStart": "9999-12-31T23:59Z", "slotDuration": 7},
        {},
        400,
        "Provided 'slotDuration' is not one of the possible lengths for the event type. "
        "The possible lengths for this variable length event type are: 15, 30, 45",
    ),
    (
        {"slotStart": "9999-12-31T23:59Z", "eventTypeId": 2, "slotDuration": 60},
        {},
        400,
        "You passed 'slotDuration' but this event type is not a variable length event type.",
    ),
    ({"slotStart": "9999-12-31T23:45Z"}, {}, 400, "Invalid end date"),
    (
        {"slotStart": "2050-09-05T05:59:59.999Z"},
        {},
        422,
        "This time slot is in the past. Please choose a different time.",
    ),
    (
        {"slotStart": "2050-09-06T10:15:00Z"},
        {},
        422,
        "Can't reserve a slot if the event is already booked.",
    ),
]


@pytest.mark.parametrize(("body", "headers", "status", "message"), STEPS)
async def test_the_order_of_checks(
    api: Api, body: dict[str, Any], headers: dict[str, str], status: int, message: str
) -> None:
    before = api.state()
    answer = await api.post(headers=headers, **body)
    assert (answer.status, answer.message) == (status, message)
    assert api.state() == before


@pytest.mark.parametrize("event_type", [0, -1, 10, 2**53, 1e22, 1.7e308])
async def test_unknown_event_type(api: Api, event_type: float) -> None:
    answer = await api.post(eventTypeId=event_type)
    assert (answer.status, answer.body["error"]["code"]) == (404, "NotFoundException")
    assert answer.message == f"Event Type with ID={int(event_type)} not found"


@pytest.mark.parametrize(
    ("minutes_sent", "constraint"),
    [
        (0, {"min": "reservationDuration must not be less than 1"}),
        (-5, {"min": "reservationDuration must not be less than 1"}),
        (1441, {"max": "reservationDuration must not be greater than 1440"}),
    ],
)
async def test_durations_have_bounds(
    api: Api, minutes_sent: int, constraint: dict[str, str]
) -> None:
    uid = await api.hold()
    for answer in (
        await api.post(headers=OWNER, reservationDuration=minutes_sent),
        await api.patch(uid, headers=OWNER, reservationDuration=minutes_sent),
    ):
        assert answer.status == 400
        assert answer.body["error"]["details"]["errors"][0]["constraints"] == constraint


@pytest.mark.parametrize("minutes_sent", [1, 1440])
async def test_the_bounds_themselves(api: Api, minutes_sent: int) -> None:
    answer = await api.post(headers=OWNER, reservationDuration=minutes_sent)
    until = datetime.fromisoformat(answer.data["reservationUntil"])
    assert until == NOW + minutes(minutes_sent)


@pytest.mark.parametrize("slot_duration", [0, -30, "0"])
async def test_a_slot_cannot_be_empty(api: Api, slot_duration: object) -> None:
    answer = await api.post(slotDuration=slot_duration)
    assert answer.status == 400
    assert answer.body["error"]["details"]["errors"][0]["constraints"] == {
        "min": "slotDuration must not be less than 1"
    }


@pytest.mark.parametrize("slot_duration", [15, 30, 45, "45", 15.0])
async def test_one_of_several_lengths(api: Api, slot_duration: float | str) -> None:
    answer = await api.post(slotDuration=slot_duration)
    assert answer.data["slotDuration"] == int(slot_duration)


async def test_back_to_back_is_no_overlap(api: Api) -> None:
    await api.hold()
    assert (await api.post(slotStart="2050-09-05T09:30:00Z")).status == 201
    assert (await api.post(slotStart="2050-09-05T10:30:00Z")).status == 201
    assert (await api.post(slotStart="2050-09-05T10:59:59.999Z")).status == 422


async def test_a_booking_is_in_the_way_and_said_to_be_one(api: Api) -> None:
    answer = await api.post(eventTypeId=2, slotStart="2050-09-06T10:59:00Z")
    assert answer.status == 422
    assert answer.message == "Can't reserve a slot if the event is already booked."
    assert (await api.post(eventTypeId=2, slotStart="2050-09-06T11:00:00Z")).status == 201


async def test_a_booking_made_through_the_engine_counts(api: Api) -> None:
    uid = await api.hold()
    await api.engine.confirm(uid)
    answer = await api.post()
    assert answer.message == "Can't reserve a slot if the event is already booked."


async def test_other_event_types_of_the_host_are_respected(api: Api) -> None:
    await api.hold(eventTypeId=1)
    answer = await api.post(eventTypeId=2, slotStart="2050-09-05T09:45:00Z")
    assert answer.status == 422
    assert answer.message == (
        "This time slot is already reserved by another user. Please choose a different time."
    )


async def test_buffers_widen_what_is_taken(api: Api) -> None:
    await api.hold(eventTypeId=8)  # 10:00 to 10:30, taken from 09:45 to 11:00
    assert (await api.post(eventTypeId=8, slotStart="2050-09-05T11:14:00Z")).status == 422
    assert (await api.post(eventTypeId=8, slotStart="2050-09-05T11:15:00Z")).status == 201
    assert (await api.post(eventTypeId=8, slotStart="2050-09-05T08:45:01Z")).status == 422
    assert (await api.post(eventTypeId=8, slotStart="2050-09-05T08:45:00Z")).status == 201


@pytest.mark.parametrize(
    ("sent", "message"),
    [("9999-12-31T23:15Z", "Invalid end date"), ("0001-01-01T00:10Z", "Invalid start date")],
)
async def test_buffers_cannot_leave_the_calendar(start: Start, sent: str, message: str) -> None:
    api = await start(enforce_availability=False)
    answer = await api.post(eventTypeId=8, slotStart=sent)
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize("sent", ["0001-01-01T00:15Z", "9999-12-31T22:59Z"])
async def test_the_ends_of_the_calendar(start: Start, sent: str) -> None:
    api = await start(enforce_availability=False)
    assert (await api.post(eventTypeId=8, slotStart=sent)).status == 201
    answer = await api.post(eventTypeId=8, slotStart=sent)
    assert answer.status == 422
    assert (await api.post(eventTypeId=4, slotStart=sent)).status == 201


# --- 5.2, step 10: seats ---------------------------------------------------------------


async def test_seats_are_counted(api: Api) -> None:
    first = await api.hold(eventTypeId=3)
    await api.hold(eventTypeId=3)
    answer = await api.post(eventTypeId=3, slotStart="2050-09-05T10:00Z")
    assert answer.status == 422
    assert answer.message == "Booking with id=3 at 2050-09-05T10:00Z has no more seats left."
    await api.delete(first)
    assert (await api.post(eventTypeId=3)).status == 201


async def test_a_seat_comes_free_when_its_hold_lapses(api: Api) -> None:
    await api.hold(eventTypeId=3)
    await api.clock.advance(minutes(3))
    await api.hold(eventTypeId=3)
    assert (await api.post(eventTypeId=3)).status == 422
    await api.clock.advance(minutes(2))
    assert (await api.post(eventTypeId=3)).status == 201
    assert (await api.post(eventTypeId=3)).status == 422


async def test_booked_seats_are_taken(api: Api) -> None:
    answer = await api.post(eventTypeId=3, slotStart="2050-09-06T10:00:00Z")
    assert answer.status == 422
    assert answer.message == "Booking with id=3 at 2050-09-06T10:00:00Z has no more seats left."


async def test_a_session_is_in_the_way_of_other_starts(api: Api) -> None:
    await api.hold(eventTypeId=3)
    assert (await api.post(eventTypeId=3, slotStart="2050-09-05T10:15:00Z")).status == 422


# --- 5.3: several hosts ----------------------------------------------------------------


async def test_a_collective_event_takes_all_its_hosts(api: Api) -> None:
    uid = await api.hold(eventTypeId=5)
    assert hosts_of(api, uid) == {"user:4", "user:5"}
    assert (await api.post(eventTypeId=5, slotStart="2050-09-05T10:15:00Z")).status == 422
    # One of them is taken by something else:
    assert (await api.post(eventTypeId=7)).status == 422
    assert (await api.post(eventTypeId=5, slotStart="2050-09-06T10:15:00Z")).message == (
        "Can't reserve a slot if the event is already booked."
    )


async def test_round_robin_takes_each_host_once(api: Api) -> None:
    uids = [await api.hold(eventTypeId=6) for _ in range(3)]
    hosts = [hosts_of(api, uid) for uid in uids]
    assert set.union(*hosts) == {"user:4", "user:5", "user:6"}
    for shifted in ("10:00", "10:15", "09:45"):
        answer = await api.post(eventTypeId=6, slotStart=f"2050-09-05T{shifted}:00Z")
        assert (answer.status, answer.message) == (422, NO_HOSTS)
    await api.delete(uids[1])
    again = await api.hold(eventTypeId=6)
    assert hosts_of(api, again) == hosts[1]


async def test_round_robin_asks_about_bookings(api: Api) -> None:
    at = "2050-09-06T10:00:00Z"  # host-1 is booked then
    await api.hold(eventTypeId=6, slotStart=at)
    await api.hold(eventTypeId=6, slotStart=at)
    assert (await api.post(eventTypeId=6, slotStart=at)).message == NO_HOSTS


async def test_round_robin_with_a_fixed_host(api: Api) -> None:
    uid = await api.hold(eventTypeId=7)
    assert len(hosts_of(api, uid)) == 2
    assert "user:4" in hosts_of(api, uid)
    assert (await api.post(eventTypeId=7)).message == NO_HOSTS
    booked = await api.post(eventTypeId=7, slotStart="2050-09-06T10:00:00Z")
    assert booked.message == "Can't reserve a slot if the event is already booked."


async def test_round_robin_by_weight(api: Api) -> None:
    for hour in range(8):
        await api.hold(eventTypeId=9, slotStart=f"2050-09-07T{hour:02}:00:00Z")
    day = datetime(2050, 9, 7, tzinfo=UTC), datetime(2050, 9, 8, tzinfo=UTC)
    found = [api.engine.local.find(standing(f"user:{user}", *day)) for user in (5, 6)]
    assert [len(page.reservations) for page in found] == [2, 6]


async def test_round_robin_with_seats(api: Api) -> None:
    first, second = [await api.hold(eventTypeId=13) for _ in range(2)]
    assert hosts_of(api, first) == hosts_of(api, second)  # one session, with one host
    answer = await api.post(eventTypeId=13)
    assert answer.message == "Booking with id=13 at 2050-09-05T10:00:00Z has no more seats left."


async def test_round_robin_outside_hours(api: Api) -> None:
    answer = await api.post(eventTypeId=12, slotStart="2050-09-10T10:00:00Z")
    assert (answer.status, answer.message) == (422, CLOSED)


# --- Availability ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "sent", "status"),
    [
        (4, "2050-09-05T07:00:00Z", 201),  # 09:00 in Rome
        (4, "2050-09-05T06:59:00Z", 422),
        (4, "2050-09-05T14:30:00Z", 201),
        (4, "2050-09-05T14:31:00Z", 422),
        (4, "2050-09-10T10:00:00Z", 422),  # a Saturday
        (4, "9999-12-31T12:00:00Z", 422),
        (11, "2050-09-05T10:00:00Z", 201),  # the event type's own schedule
        (11, "2050-09-05T09:00:00Z", 422),  # though the owner works then
        (1, "2050-09-10T03:00:00Z", 201),  # no schedule: always open
    ],
)
async def test_working_hours(api: Api, event_type: int, sent: str, status: int) -> None:
    answer = await api.post(eventTypeId=event_type, slotStart=sent)
    assert answer.status == status
    if status == 422:
        assert answer.message == CLOSED


async def test_the_past(api: Api) -> None:
    api.clock.set(NOW.replace(hour=11))
    answer = await api.post(slotStart="2050-09-05T10:59:59.999Z")
    assert answer.status == 422
    assert answer.message == "This time slot is in the past. Please choose a different time."
    assert (await api.post(slotStart="2050-09-05T11:00:00Z")).status == 201


async def test_availability_need_not_be_enforced(start: Start) -> None:
    api = await start(enforce_availability=False)
    for event_type in (1, 4, 11):
        day = 10 + event_type
        sent = f"2050-09-{day}T23:00:00Z"
        assert (await api.post(eventTypeId=event_type, slotStart=sent)).status == 201
        assert (await api.post(eventTypeId=event_type, slotStart=sent)).status == 422
    assert (await api.post(slotStart="1999-01-01")).status == 201
    uid = await api.hold(eventTypeId=4, slotStart="1999-01-01")
    assert (await api.patch(uid, eventTypeId=4, slotStart="1999-01-02")).status == 200


@pytest.mark.parametrize(("held", "booked"), [(4, 5), (5, 4)])
async def test_a_booking_counts_before_a_hold_whichever_host_has_it(
    api: Api, held: int, booked: int
) -> None:
    ten = datetime(2050, 9, 5, 10, tzinfo=UTC)
    uids = {}
    for user in (held, booked):
        request = Request(ten, minutes(30), (Claim(f"user:{user}"),))
        uids[user] = (await api.engine.reserve(request)).uid
    answer = await api.post(eventTypeId=5)
    assert answer.message.startswith("This time slot is already reserved by another user.")
    await api.engine.confirm(uids[booked])
    answer = await api.post(eventTypeId=5)
    assert answer.message == "Can't reserve a slot if the event is already booked."
