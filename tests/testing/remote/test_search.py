"""The stand-in line by line, sections 4, 9.1 and 11: what a search shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slotengine import FixedWindows, Schedule, minutes
from slotengine.testing.remote import (
    RemoteEventType,
    RemoteHost,
    RemoteUser,
    Status,
)
from tests.calcom.server.api import UUID4
from tests.testing.remote.client import NOW, SLOTS, TEN, Client, Start

pytestmark = pytest.mark.anyio

ALL = ["10:00", "10:30", "11:00", "11:30"]
PANEL = {"eventTypeId": "4"}
TALK = {"eventTypeId": "5"}


# --- 4.1 Query parameters --------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "event_type_id"),
    [
        ({"eventTypeId": "1"}, 1),
        ({"eventTypeId": "2"}, 2),
        ({"username": "owner", "eventTypeSlug": "hour"}, 2),
        ({"username": "boss", "eventTypeSlug": "hour", "organizationSlug": "org"}, 2),
        ({"teamSlug": "hosts", "eventTypeSlug": "panel", "organizationSlug": "org"}, 4),
    ],
)
async def test_section_4_1_the_target_groups(
    client: Client, query: dict[str, str], event_type_id: int
) -> None:
    expected = {1: ALL, 2: ["10:00", "11:00"], 4: ALL}
    assert await client.starts(**query) == expected[event_type_id]
    # It is that one which is searched: its expired rows are purged.
    client.remote.hold(event_type_id, TEN, minutes=-1)
    await client.search(**query, duration="29")
    assert client.remote.rows == ()


ORG = "slots-input.service.ts: Organization with slug none not found"
NOBODY = "User with username none not found"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"eventTypeId": "99"}, "Event Type not found"),
        ({"username": "owner", "eventTypeSlug": "none"}, "Event Type not found"),
        ({"username": "none", "eventTypeSlug": "any"}, "User with username none not found"),
        # The same name is somebody else inside the organization.
        (
            {"username": "owner", "eventTypeSlug": "any", "organizationSlug": "org"},
            "Event Type not found",
        ),
        ({"username": "boss", "eventTypeSlug": "any"}, "User with username boss not found"),
        ({"username": "owner", "eventTypeSlug": "any", "organizationSlug": "none"}, ORG),
        # Without an organization only teams outside of all match.
        ({"teamSlug": "hosts", "eventTypeSlug": "panel"}, "Team with slug hosts not found"),
        ({"teamSlug": "desk", "eventTypeSlug": "panel"}, "Event Type not found"),
        ({"teamSlug": "hosts", "eventTypeSlug": "panel", "organizationSlug": "none"}, ORG),
        (
            {"usernames": "first,none", "organizationSlug": "org"},
            "User with username none not found",
        ),
        ({"usernames": "first,boss", "organizationSlug": "none"}, ORG),
    ],
)
async def test_section_4_1_what_is_not_found(
    client: Client, query: dict[str, str], message: str
) -> None:
    answer = await client.search(**query)
    assert answer.refusal == (404, message)
    assert answer.error["details"]["error"] == "Not Found"


async def test_section_4_1_a_dynamic_event_type(client: Client) -> None:
    """A collective of 30 minutes that begins two hours from now at the earliest."""
    both = {"usernames": " first , boss", "organizationSlug": "org", "start": "2050-09-05T06:00Z"}
    assert (await client.starts(**both, end="2050-09-05T09:00:00Z")) == ["08:00", "08:30"]
    client.remote.book(2, TEN - minutes(120))  # of boss, from eight to nine
    assert (await client.starts(**both, end="2050-09-05T10:00:00Z")) == ["09:00", "09:30"]
    query = "?usernames[]=first&usernames[]=boss&organizationSlug=org"
    repeated = await client.call(
        "GET", f"{SLOTS}{query}&start=2050-09-05&end=2050-09-05&duration=120"
    )
    shown = [slot["start"][11:16] for slot in repeated.data["2050-09-05"]]
    assert shown[:3] == ["09:00", "11:00", "13:00"]  # the step is the length


async def test_section_4_1_somebody_does_not_allow_dynamic_booking(client: Client) -> None:
    answer = await client.search(usernames="first,shy", organizationSlug="org")
    assert answer.refusal == (
        401,
        "Some of the users in this group do not allow dynamic booking",
    )


async def test_section_4_1_the_length_is_not_checked(client: Client) -> None:
    """Also of section 13, number 22."""
    assert await client.starts(eventTypeId="2", duration="40") == ["10:00", "10:40", "11:20"]
    assert await client.starts(duration="40minutes") == ["10:00", "10:40", "11:20"]
    assert await client.starts(duration="0") == ALL
    assert await client.starts(duration="-5") == []


async def test_section_4_1_a_booking_to_reschedule_is_ignored(client: Client) -> None:
    booking = client.remote.book(1, TEN)
    for uid, expected in ((booking.uid, ALL), ("none", ALL[1:]), ("", ALL[1:])):
        assert await client.starts(bookingUidToReschedule=uid) == expected


async def test_section_4_1_a_subset_of_hosts(client: Client) -> None:
    client.remote.book(2, TEN, user_ids=[2])
    for name, subset, expected in (
        ("rrHostSubsetIds", "2", ["11:00", "11:30"]),
        ("rrHostSubsetIds[]", "3", ALL),
        ("rrHostSubsetIds", "2,3", ALL),
    ):
        assert await client.starts(**TALK, **{name: subset}) == expected
    assert await client.starts(eventTypeId="6", rrHostSubsetIds="3") == ["11:00", "11:30"]


# --- 4.2 The searched window -----------------------------------------------------------

WHOLE_DAY = [f"{hour:02}:00" for hour in range(24)]


@pytest.mark.parametrize("end", ["2050-09-06", "2050-09-06T00:00:00Z", "2050-09-06T02:00+02:00"])
async def test_section_4_2_midnight_means_the_whole_day(client: Client, end: str) -> None:
    assert await client.starts(eventTypeId="2", start="2050-09-06", end=end) == WHOLE_DAY


async def test_section_4_2_the_expansion_is_in_utc(client: Client) -> None:
    """Also of section 13, number 18."""
    query = {"eventTypeId": "2", "start": "2050-09-06", "end": "2050-09-06"}
    answer = await client.search(**query, timeZone="Pacific/Auckland")
    assert {date: len(slots) for date, slots in answer.data.items()} == {
        "2050-09-06": 12,
        "2050-09-07": 12,
    }


@pytest.mark.parametrize(
    ("start_at", "end_at", "expected"),
    [
        ("10:00:00", "11:00:00", ["10:00", "10:30"]),
        ("10:00:00", "10:59:59", ["10:00", "10:30"]),
        ("10:00:00", "10:59:58", ["10:00"]),
        ("10:00:01", "11:00:00", ["10:30"]),
        ("10:20:00", "11:00:00", ["10:30"]),
        ("11:00:00", "10:00:00", []),
        ("10:00:00", "10:00:00", []),
    ],
)
async def test_section_4_2_the_bounds(
    client: Client, start_at: str, end_at: str, expected: list[str]
) -> None:
    bounds = {"start": f"2050-09-05T{start_at}Z", "end": f"2050-09-05T{end_at}Z"}
    assert await client.starts(**bounds) == expected


# --- 4.3 The response ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "at"),
    [
        (None, "2050-09-05T10:00:00.000Z"),
        ("UTC", "2050-09-05T10:00:00.000Z"),
        ("GMT", "2050-09-05T10:00:00.000Z"),
        ("Europe/Rome", "2050-09-05T12:00:00.000+02:00"),
        ("Africa/Abidjan", "2050-09-05T10:00:00.000+00:00"),
    ],
)
async def test_section_4_3_timestamps(client: Client, zone: str | None, at: str) -> None:
    answer = await client.search(timeZone=zone, end="2050-09-05T10:30:00Z")
    assert answer.body == {"status": "success", "data": {"2050-09-05": [{"start": at}]}}


async def test_section_4_3_dates_are_in_order_and_only_those_with_slots(client: Client) -> None:
    client.remote.book(2, datetime(2050, 9, 7, tzinfo=UTC), length=24 * 60)
    answer = await client.search(eventTypeId="2", start="2050-09-06", end="2050-09-08")
    assert list(answer.data) == ["2050-09-06", "2050-09-08"]
    nothing = await client.search(eventTypeId="2", start="2050-09-07", end="2050-09-07")
    assert nothing.data == {}


@pytest.mark.parametrize("format_sent", ["range", "RANGE"])
async def test_section_4_3_ranges(client: Client, format_sent: str) -> None:
    answer = await client.search(format=format_sent, duration="60", timeZone="Europe/Rome")
    assert answer.data["2050-09-05"][0] == {
        "start": "2050-09-05T12:00:00.000+02:00",
        "end": "2050-09-05T13:00:00.000+02:00",
    }


async def test_section_4_3_an_empty_format_is_the_usual_one(client: Client) -> None:
    assert (await client.search(format="")).data == (await client.search(format="Time")).data


async def test_section_13_23_a_dynamic_range_without_duration_ends_at_its_start(
    client: Client,
) -> None:
    both = {"usernames": "first,boss", "organizationSlug": "org", "format": "range"}
    slot = (await client.search(**both)).data["2050-09-05"][0]
    assert slot["end"] == slot["start"]
    known = (await client.search(**both, duration="30")).data["2050-09-05"][0]
    assert known["end"] == "2050-09-05T10:30:00.000Z"


async def test_section_4_3_seats(client: Client) -> None:
    """Also of section 13, number 25: a slot that is full is still shown."""
    booking = client.remote.book(3, TEN, attendees=1)
    client.remote.hold(3, TEN)
    client.remote.hold(3, TEN + minutes(60))
    slots = (await client.search(eventTypeId="3", format="range")).data["2050-09-05"]
    assert slots[0] == {
        "start": "2050-09-05T10:00:00.000Z",
        "end": "2050-09-05T10:30:00.000Z",
        "seatsBooked": 2,
        "seatsRemaining": 0,
        "seatsTotal": 2,
        "bookingUid": booking.uid,
    }
    assert slots[1] == {
        "start": "2050-09-05T10:30:00.000Z",
        "end": "2050-09-05T11:00:00.000Z",
        "seatsBooked": 0,
        "seatsRemaining": 2,
        "seatsTotal": 2,
    }
    assert (slots[2]["seatsBooked"], slots[2]["seatsRemaining"]) == (1, 1)


async def test_section_13_24_a_seat_hold_has_a_made_up_booking_uid(client: Client) -> None:
    client.remote.hold(3, TEN)
    uids = set()
    for _ in range(2):
        uids.add((await client.search(eventTypeId="3")).data["2050-09-05"][0]["bookingUid"])
        await client.clock.advance(timedelta(seconds=2))
    assert len(uids) == 2
    assert all(UUID4.fullmatch(uid) for uid in uids)
    assert client.remote.bookings == ()


async def test_section_4_3_identical_queries_are_stale_for_two_seconds(client: Client) -> None:
    """Also of section 13, number 27."""
    assert await client.starts() == ALL
    await client.uid()
    assert await client.starts() == ALL
    assert await client.starts(timeZone="UTC") == ALL[1:]  # it is another query
    await client.clock.advance(timedelta(seconds=2, microseconds=-1))
    assert await client.starts() == ALL
    await client.clock.advance(timedelta(microseconds=1))
    assert await client.starts() == ALL[1:]


async def test_section_4_3_a_stale_answer_purges_nothing(client: Client) -> None:
    await client.search()
    uid = client.remote.hold(1, TEN, minutes=-1).uid
    await client.search()
    assert [row.uid for row in client.remote.rows] == [uid]
    await client.clock.advance(timedelta(seconds=2))
    await client.search()
    assert [row.uid for row in client.remote.rows] == []


async def test_searches_can_be_made_fresh(start: Start) -> None:
    client = await start(stale=timedelta(0))
    assert await client.starts() == ALL
    await client.uid()
    assert await client.starts() == ALL[1:]


# --- 9.1 What a hold hides -------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type_id", "expected"), [(1, ["11:00", "11:30"]), (2, ["11:00"]), (4, ALL)]
)
async def test_section_9_1_a_hold_hides_what_it_touches_of_its_user(
    client: Client, event_type_id: int, expected: list[str]
) -> None:
    """Off the grid it removes two slots, and shifts none."""
    client.remote.hold(1, TEN + minutes(15))
    assert await client.starts(eventTypeId=str(event_type_id)) == expected


async def test_section_9_1_a_seat_hold_hides_nothing(start: Start) -> None:
    client = await start(
        RemoteEventType(id=1, owner=4, seats=2, notice=0),
        RemoteEventType(id=2, owner=4, notice=0),
    )
    client.remote.hold(1, TEN)
    assert await client.starts(eventTypeId="1") == ALL
    assert await client.starts(eventTypeId="2") == ALL
    client.remote.hold(2, TEN)
    await client.clock.advance(timedelta(seconds=2))
    assert await client.starts(eventTypeId="1") == ALL[1:]


async def test_section_9_1_a_team_hold_hides_the_slot_through_its_first_host(
    client: Client,
) -> None:
    """Also of section 13, numbers 9 and 10."""
    client.remote.hold(5, TEN)
    assert await client.starts(**TALK) == ALL[1:]  # though another could be reserved
    assert (await client.post(eventTypeId=5)).status == 201
    assert await client.starts(**TALK, rrHostSubsetIds="3") == ALL
    assert await client.starts(**PANEL) == ALL[1:]


async def test_section_9_1_buffers_are_not_applied_around_holds(start: Start) -> None:
    client = await start(RemoteEventType(id=1, before=30, after=30, notice=0))
    client.remote.hold(1, TEN + minutes(30))
    assert await client.starts() == ["10:00", "11:00", "11:30"]


# --- 11 Slot computation ---------------------------------------------------------------


async def test_section_11_1_the_event_types_own_hours_come_first(start: Start) -> None:
    nine_to_eleven = FixedWindows.between((TEN - minutes(60), TEN + minutes(60)))
    client = await start(
        RemoteEventType(id=1, notice=0),
        RemoteEventType(id=2, notice=0, hours=nine_to_eleven),
        users=(RemoteUser(id=1, hours=Schedule.weekly_hours("UTC", "Mon 11:00-17:00")),),
    )
    assert await client.starts() == ["11:00", "11:30"]
    assert await client.starts(eventTypeId="2") == ["10:00", "10:30"]


async def test_section_11_2_slots_may_cross_midnight(client: Client) -> None:
    window = {"start": "2050-09-05T23:20:00Z", "end": "2050-09-06T02:00:00Z"}
    assert await client.starts(**window, duration="90") == ["23:30"]


async def test_section_11_3_a_booking_shifts_the_grid(client: Client) -> None:
    client.remote.book(1, TEN, length=50)
    # Free again at 10:50; the unit of 20 minutes allows 11:00, and from there on.
    assert await client.starts(duration="20") == ["11:00", "11:20", "11:40"]
    assert await client.starts(duration="35") == ["10:50", "11:25"]


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.ACCEPTED, ALL[1:]),
        (Status.PENDING, ALL),
        (Status.AWAITING_HOST, ALL),
        (Status.CANCELLED, ALL),
        (Status.REJECTED, ALL),
    ],
)
async def test_section_11_3_which_bookings_block(
    client: Client, status: Status, shown: list[str]
) -> None:
    """Also of section 13, number 14: what is pending is shown as free, and refused."""
    client.remote.book(1, TEN, status=status)
    assert await client.starts() == shown


async def test_section_11_3_pending_bookings_that_block(start: Start) -> None:
    client = await start(RemoteEventType(id=1, notice=0, blocks_unconfirmed=True))
    client.remote.book(1, TEN, status=Status.PENDING)
    assert await client.starts() == ALL[1:]


async def test_section_11_3_bookings_of_any_event_type_that_the_host_attends(
    client: Client,
) -> None:
    client.remote.book(4, TEN, user_ids=[3, 1])
    assert await client.starts() == ALL[1:]


async def test_section_11_3_buffers_add_up(start: Start) -> None:
    buffered = RemoteEventType(id=1, before=15, after=30, step=5, notice=0)
    client = await start(buffered, RemoteEventType(id=2, before=10, step=5, notice=0))
    client.remote.book(1, TEN)
    client.remote.book(1, TEN + minutes(120))
    # Between 10:30 and 12:00 there is no room for half an hour and 45 minutes on each side.
    assert await client.starts(end="2050-09-05T12:30:00Z") == []
    # Its own buffers with the other's: before 11:45 - 0, after 10:30 + 30 + 10.
    assert await client.starts(eventTypeId="2") == ["11:10", "11:15"]


async def test_section_11_3_seats_taken_block_only_the_buffers(start: Start) -> None:
    client = await start(RemoteEventType(id=1, seats=2, after=30, notice=0))
    client.remote.book(1, TEN + minutes(30))
    assert await client.starts() == ["10:30", "11:30"]
    client.remote.book(1, TEN + minutes(30))  # now there are as many bookings as seats
    await client.clock.advance(timedelta(seconds=2))
    assert await client.starts() == ["11:30"]


GRIDS: list[tuple[dict[str, Any], dict[str, str], list[str]]] = [
    ({"length": 60}, {"start": "2050-09-05T09:20:00Z"}, ["10:00", "11:00"]),
    ({"length": 45}, {"start": "2050-09-05T10:05:00Z"}, ["10:15", "11:00"]),
    ({"length": 7}, {"start": "2050-09-05T11:41:00Z"}, ["11:41", "11:48"]),
    ({"length": 20, "step": 60}, {}, ["10:00", "11:00"]),
    ({"length": 60, "step": 30}, {}, ["10:00", "10:30", "11:00"]),
    ({"offset": 10}, {}, ["10:10", "10:50", "11:30"]),
    ({"length": 60}, {"timeZone": "Asia/Kolkata"}, ["16:00"]),
]


@pytest.mark.parametrize(("fields", "query", "expected"), GRIDS)
async def test_section_11_4_the_grid(
    start: Start, fields: dict[str, Any], query: dict[str, str], expected: list[str]
) -> None:
    client = await start(RemoteEventType(id=1, **({"notice": 0} | fields)))
    assert await client.starts(**query) == expected


async def test_section_11_4_ranges_share_one_grid(start: Start) -> None:
    client = await start(RemoteEventType(id=1, length=15, step=45, notice=0))
    client.remote.book(1, TEN + minutes(20), length=10)
    # 10:30 lies inside the step of 10:00, which is not in this range.
    assert await client.starts() == ["10:00", "10:45", "11:30"]


@pytest.mark.parametrize(("notice", "first"), [(0, "06:30"), (30, "06:30"), (31, "07:00")])
async def test_section_11_4_minimum_notice(start: Start, notice: int, first: str) -> None:
    """Without one it is a minute: the slot that begins now is not shown."""
    client = await start(RemoteEventType(id=1, notice=notice))
    starts = await client.starts(start="2050-09-05T06:00:00Z")
    assert (starts[0], client.remote.now()) == (first, NOW)


@pytest.mark.parametrize(
    ("seconds", "notice", "step", "first"),
    [(1, 120, 40, "08:40"), (841, 0, 15, "06:15"), (900, 0, 15, "06:30"), (0.25, 30, 15, "06:45")],
)
async def test_section_11_4_seconds_are_cut(
    start: Start, seconds: float, notice: int, step: int, first: str
) -> None:
    client = await start(RemoteEventType(id=1, length=15, step=step, notice=notice))
    client.clock.set(NOW + timedelta(seconds=seconds))
    assert (await client.starts(start="2050-09-05T06:00:00Z"))[0] == first


async def test_section_11_5_all_hosts_or_one_of_each_group(start: Start) -> None:
    hosts = (RemoteHost(2, fixed=True), RemoteHost(3, group="a"), RemoteHost(4, group="b"))
    client = await start(
        RemoteEventType(id=1, team=10, hosts=(*hosts, RemoteHost(5, group="b")), notice=0,
                        round_robin=True),
        RemoteEventType(id=2, team=10, hosts=hosts, notice=0),
        RemoteEventType(id=3, team=10, notice=0),
    )  # fmt: skip
    client.remote.book(3, TEN, user_ids=[4])
    client.remote.book(3, TEN + minutes(30), user_ids=[3])
    client.remote.book(3, TEN + minutes(90), user_ids=[2])
    assert await client.starts(eventTypeId="1") == ["10:00", "11:00"]
    assert await client.starts(eventTypeId="2") == ["11:00"]
    assert await client.starts(eventTypeId="3") == []  # nobody hosts it


async def test_section_11_6_the_usual_notice_and_the_first_slot_of_a_day(start: Start) -> None:
    client = await start(RemoteEventType(id=1), RemoteEventType(id=2, first_only=True))
    assert (await client.starts(start="2050-09-05T06:00:00Z"))[0] == "08:00"
    only = {"eventTypeId": "2", "start": "2050-09-06", "end": "2050-09-07"}
    assert await client.starts(**only) == ["00:00", "00:00"]
    answer = await client.search(**only, timeZone="Europe/Rome")
    assert [slots[0]["start"][:16] for slots in answer.data.values()] == [
        "2050-09-06T02:00",
        "2050-09-07T00:00",
        "2050-09-08T00:00",
    ]
