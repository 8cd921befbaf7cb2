"""The stand-in line by line, section 5: which reservations are accepted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from slotengine import minutes
from slotengine.testing.remote import (
    RateLimit,
    RateLimits,
    RemoteEventType,
    RemoteHost,
    Status,
)
from tests.calcom.server.api import UUID4
from tests.testing.remote.client import (
    BOOKED,
    NO_HOSTS,
    PATH,
    RESERVED,
    TEN,
    VERSION,
    Client,
    Start,
    bearer,
)

pytestmark = pytest.mark.anyio

OWNER = bearer("cal_owner")
ANONYMOUS = (
    "reservationDuration can only be used for authenticated requests - "
    "use access token, api key or OAuth credentials"
)
FORBIDDEN = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)
NOT_VARIABLE = "You passed 'slotDuration' but this event type is not a variable length event type."
NOT_POSSIBLE = (
    "Provided 'slotDuration' is not one of the possible lengths for the event type. "
    "The possible lengths for this variable length event type are: 15, 30, 45"
)


# --- 5.1 Body --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        ("2050-09-05T10:00:00", "2050-09-05T10:00:00.000Z"),
        ("2050-09-05T10:00:00+02:00", "2050-09-05T08:00:00.000Z"),
        ("2050-09-05", "2050-09-05T00:00:00.000Z"),
    ],
)
async def test_section_5_1_the_start_is_converted_to_utc(
    client: Client, sent: str, means: str
) -> None:
    assert (await client.post(slotStart=sent)).data["slotStart"] == means


async def test_section_5_1_null_is_absent(client: Client) -> None:
    answer = await client.post(slotDuration=None, reservationDuration=None)
    assert (answer.data["slotDuration"], answer.data["reservationDuration"]) == (30, 5)


@pytest.mark.parametrize(
    ("event_type_id", "asked", "outcome"),
    [
        (1, 15, 15),
        (1, 60, NOT_POSSIBLE),
        (1, -15, NOT_POSSIBLE),
        (2, 60, NOT_VARIABLE),
        (2, 30, NOT_VARIABLE),
        (1, 0, 0),
        (2, 0, 0),
    ],
)
async def test_section_5_1_slot_duration(
    client: Client, event_type_id: int, asked: int, outcome: int | str
) -> None:
    """Also of section 13, number 6: a zero is not checked, and makes a hold without length."""
    answer = await client.post(eventTypeId=event_type_id, slotDuration=asked)
    if isinstance(outcome, str):
        assert answer.refusal == (400, outcome)
    else:
        assert answer.data["slotDuration"] == outcome


async def test_section_5_1_a_duration_of_zero_needs_no_permission(client: Client) -> None:
    """Also of section 13, number 5."""
    answer = await client.post(reservationDuration=0)
    assert answer.status == 201
    assert answer.data["reservationDuration"] == 0
    assert answer.data["reservationUntil"] == "2050-09-05T06:00:00.000Z"
    assert client.remote.live() == ()
    assert (await client.post()).status == 201


@pytest.mark.parametrize("hold_minutes", [-5, 1, 100_000])
async def test_section_5_1_a_duration_has_no_bounds(client: Client, hold_minutes: int) -> None:
    assert (await client.post(reservationDuration=hold_minutes)).refusal == (401, ANONYMOUS)
    answer = await client.post(headers=OWNER, reservationDuration=hold_minutes)
    assert answer.data["reservationDuration"] == hold_minutes
    assert client.remote.rows[0].release_at == client.remote.now() + minutes(hold_minutes)


@pytest.mark.parametrize(
    ("who", "event_type_id", "status"),
    [
        ("cal_owner", 1, 201),
        ("cal_colleague", 1, 201),  # of a team in common
        ("cal_stranger", 1, 403),
        ("cal_director", 1, 403),
        ("cal_member", 4, 201),
        ("cal_director", 4, 201),  # of the team's organization
        ("cal_owner", 4, 403),
    ],
)
async def test_section_5_1_who_may_pass_a_duration(
    client: Client, who: str, event_type_id: int, status: int
) -> None:
    answer = await client.post(
        headers=bearer(who), eventTypeId=event_type_id, reservationDuration=7
    )
    assert answer.status == status
    if status == 403:
        assert answer.refusal == (403, FORBIDDEN)
        assert answer.error["code"] == "ForbiddenException"


# --- 5.2 The order of checks -----------------------------------------------------------

# Each mends what the one before complains about, and nothing that comes later.
ORDER: list[tuple[str, dict[str, Any], dict[str, str], tuple[int, str]]] = [
    (
        "1 API key",
        {"eventTypeId": "x", "reservationDuration": 7},
        bearer("cal_none"),
        (401, "CustomThrottlerGuard - Invalid API Key"),
    ),
    (
        "2 credentials",
        {"eventTypeId": "x", "reservationDuration": 7},
        bearer("none"),
        (401, "ApiAuthStrategy - access token - Invalid Access Token."),
    ),
    ("3 body", {"eventTypeId": "x", "reservationDuration": 7}, {}, (400, "Bad Request Exception")),
    (
        "4 authenticated",
        {"eventTypeId": 99, "reservationDuration": 7},
        {},
        (401, ANONYMOUS),
    ),
    (
        "5 event type",
        {"eventTypeId": 99, "reservationDuration": 7, "slotStart": "2050-02-30"},
        bearer("cal_stranger"),
        (404, "Event Type with ID=99 not found"),
    ),
    (
        "6 permission",
        {"reservationDuration": 7, "slotStart": "2050-02-30", "slotDuration": 7},
        bearer("cal_stranger"),
        (403, FORBIDDEN),
    ),
    (
        "7 start",
        {"reservationDuration": 7, "slotStart": "2050-02-30", "slotDuration": 7},
        OWNER,
        (400, "Invalid start date"),
    ),
    (
        "8 length",
        {"slotStart": "9999-12-31T23:59:00Z", "slotDuration": 7},
        {},
        (400, NOT_POSSIBLE),
    ),
    ("9 end", {"slotStart": "9999-12-31T23:59:00Z"}, {}, (400, "Invalid end date")),
    ("11 booking", {}, {}, (422, BOOKED)),
    ("12 hold", {"slotStart": "2050-09-05T11:00:00Z"}, {}, (422, RESERVED)),
]


@pytest.mark.parametrize(
    ("fields", "headers", "refusal"), [row[1:] for row in ORDER], ids=[row[0] for row in ORDER]
)
async def test_section_5_2_order_of_checks(
    client: Client, fields: dict[str, Any], headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    client.remote.hold(1, TEN)
    client.remote.book(1, TEN)
    client.remote.hold(1, TEN + minutes(60))
    assert (await client.post(headers=headers, **fields)).refusal == refusal
    assert len(client.remote.rows) == 2


async def test_section_5_2_the_rate_limit_comes_first_of_all(start: Start) -> None:
    client = await start(limits=RateLimits(access_token=RateLimit(0)))
    answer = await client.call("POST", PATH, headers=VERSION | bearer("none"), json=[])
    assert answer.status == 429


async def test_section_5_2_step_13_comes_last(client: Client) -> None:
    nobody: dict[str, Any] = {"eventTypeId": 7}
    assert (await client.post(**nobody)).refusal == (
        400,
        "Cannot reserve a slot for a team event without any hosts",
    )
    client.remote.book(7, TEN, user_ids=[2])
    assert (await client.post(**nobody)).refusal == (422, BOOKED)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (Status.ACCEPTED, True),
        (Status.PENDING, True),
        (Status.AWAITING_HOST, True),
        (Status.CANCELLED, False),
        (Status.REJECTED, False),
    ],
)
async def test_section_5_2_which_bookings_are_active(
    client: Client, status: Status, refused: bool
) -> None:
    client.remote.book(1, TEN, status=status)
    assert (await client.post()).status == (422 if refused else 201)


async def test_section_5_2_a_cancelled_booking_is_in_the_way_no_more(client: Client) -> None:
    booking = client.remote.book(1, TEN)
    assert (await client.post()).refusal == (422, BOOKED)
    assert client.remote.cancel(booking.uid).status is Status.CANCELLED
    assert (await client.post()).status == 201


@pytest.mark.parametrize(
    ("at", "free"),
    [("09:30", True), ("09:31", False), ("10:00", False), ("10:29", False), ("10:30", True)],
)
@pytest.mark.parametrize("kind", ["hold", "book"])
async def test_section_5_2_overlap_is_half_open(
    client: Client, kind: str, at: str, free: bool
) -> None:
    getattr(client.remote, kind)(1, TEN)
    answer = await client.post(slotStart=f"2050-09-05T{at}:00Z")
    assert answer.status == (201 if free else 422)


@pytest.mark.parametrize("kind", ["hold", "book"])
async def test_section_5_2_other_event_types_do_not_count(client: Client, kind: str) -> None:
    """Also of section 13, number 8."""
    getattr(client.remote, kind)(2, TEN)
    assert (await client.post()).status == 201


async def test_section_5_2_a_hold_lives_until_its_last_moment(client: Client) -> None:
    await client.uid()
    await client.clock.advance(minutes(5) - timedelta(milliseconds=1))
    assert (await client.post()).refusal == (422, RESERVED)
    await client.clock.advance(timedelta(milliseconds=1))
    assert (await client.post()).status == 201
    assert len(client.remote.rows) == 2  # the expired one lingers


async def test_section_5_1_nobody_is_of_a_team_that_nobody_describes(start: Start) -> None:
    event_type = RemoteEventType(id=1, team=77, hosts=(RemoteHost(2),))
    client = await start(event_type)
    refused = await client.post(headers=bearer("cal_member"), reservationDuration=7)
    assert refused.refusal == (403, FORBIDDEN)


async def test_section_5_2_neither_the_past_nor_the_grid_is_checked(client: Client) -> None:
    """Also of section 13, number 13."""
    for start in ("1999-01-01", "2050-09-05T03:07:11Z"):
        assert (await client.post(slotStart=start)).status == 201


async def test_section_5_2_seats_of_a_booking(client: Client) -> None:
    """Also of section 13, number 26: the event type's id stands for a booking's."""
    client.remote.book(3, TEN, attendees=1)
    assert (await client.post(eventTypeId=3)).status == 201
    client.remote.book(3, TEN + minutes(60), attendees=2)
    sent = "2050-09-05T13:15:00+02:00"
    assert (await client.post(eventTypeId=3, slotStart=sent)).refusal == (
        422,
        f"Booking with id=3 at {sent} has no more seats left.",
    )


async def test_section_13_7_only_one_hold_per_seated_slot(client: Client) -> None:
    assert (await client.post(eventTypeId=3)).status == 201
    assert (await client.post(eventTypeId=3)).refusal == (422, RESERVED)


# --- 5.3 Round robin -------------------------------------------------------------------


async def test_section_5_3_without_fixed_hosts_as_many_holds_as_hosts(client: Client) -> None:
    client.remote.book(5, TEN)  # bookings do not count
    statuses = [(await client.post(eventTypeId=5)).status for _ in range(3)]
    assert statuses == [201, 201, 422]
    assert (await client.post(eventTypeId=5)).refusal == (422, NO_HOSTS)


async def test_section_13_11_shifted_holds_are_unlimited(client: Client) -> None:
    for minute in range(5):
        answer = await client.post(eventTypeId=5, slotStart=f"2050-09-05T10:0{minute}:00Z")
        assert answer.status == 201


async def test_section_13_11_more_holds_than_hosts_pass_again(client: Client) -> None:
    for _ in range(3):
        client.remote.hold(5, TEN)
    assert (await client.post(eventTypeId=5)).status == 201


async def test_section_5_3_with_a_fixed_host_one_hold(client: Client) -> None:
    assert (await client.post(eventTypeId=6)).status == 201
    assert (await client.post(eventTypeId=6)).refusal == (422, NO_HOSTS)
    assert (await client.post(eventTypeId=6, slotStart="2050-09-05T10:15:00Z")).status == 201


async def test_section_5_3_with_a_fixed_host_its_own_bookings_count(client: Client) -> None:
    client.remote.book(6, TEN, user_ids=[3, 2])  # owned by the other host
    assert (await client.post(eventTypeId=6)).status == 201
    client.remote.book(6, TEN + minutes(60), user_ids=[2])
    later: dict[str, Any] = {"slotStart": "2050-09-05T11:00:00Z"}
    assert (await client.post(eventTypeId=6, **later)).refusal == (422, BOOKED)
    overlapping: dict[str, Any] = {"slotStart": "2050-09-05T11:15:00Z"}
    assert (await client.post(eventTypeId=6, **overlapping)).status == 201


# --- 5.4 and 5.5 What is stored and answered -------------------------------------------


@pytest.mark.parametrize(
    ("event_type_id", "user_id", "seat"), [(1, 1, False), (3, 4, True), (4, 2, False)]
)
async def test_section_5_4_what_is_stored(
    client: Client, event_type_id: int, user_id: int, seat: bool
) -> None:
    """Also of section 13, number 9: a team's hold is its first host's alone."""
    uid = await client.uid(eventTypeId=event_type_id)
    (row,) = client.remote.rows
    assert (row.uid, row.event_type_id, row.user_id, row.is_seat) == (
        uid,
        event_type_id,
        user_id,
        seat,
    )
    assert (row.start, row.end) == (TEN, TEN + minutes(30))
    assert row.release_at == client.remote.now() + minutes(5)
    assert client.remote.live(event_type_id) == (row,)
    assert client.remote.live(99) == ()


async def test_section_5_5_the_answer(client: Client) -> None:
    answer = await client.post(
        eventTypeId=1, slotStart="2050-09-05T12:00:00.5+02:00", slotDuration=45
    )
    uid = answer.data["reservationUid"]
    assert UUID4.fullmatch(uid)
    assert (answer.status, answer.body) == (
        201,
        {
            "status": "success",
            "data": {
                "eventTypeId": 1,
                "slotStart": "2050-09-05T10:00:00.500Z",
                "slotEnd": "2050-09-05T10:45:00.500Z",
                "slotDuration": 45,
                "reservationUid": uid,
                "reservationDuration": 5,
                "reservationUntil": "2050-09-05T06:05:00.000Z",
            },
        },
    )


# --- The test's own hands --------------------------------------------------------------


async def test_holds_and_bookings_can_be_put_there(client: Client) -> None:
    row = client.remote.hold(1, TEN, length=7, minutes=-1, uid="known")
    assert (row.end - row.start, row.uid, client.remote.live()) == (minutes(7), "known", ())
    assert client.remote.book(4, TEN).user_ids == (2, 3)
    assert client.remote.book(5, TEN).user_ids == (2,)
    assert client.remote.book(6, TEN, length=7).end == TEN + minutes(7)
    assert len(client.remote.bookings) == 3
    assert client.remote.release("known") == 1
    for call in (client.remote.hold, client.remote.book):
        with pytest.raises(LookupError):
            call(99, TEN)
        with pytest.raises(ValueError, match="timezone"):
            call(1, datetime(2050, 1, 1))  # noqa: DTZ001
    with pytest.raises(LookupError):
        client.remote.cancel("none")
