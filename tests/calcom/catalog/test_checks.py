"""What is wrong with a catalog although each table is right by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slotengine.calcom.catalog.booking_warnings import booking_warnings
from slotengine.calcom.catalog.checks import find_problems
from slotengine.calcom.catalog.load import CatalogError, catalog_from
from slotengine.calcom.catalog.schema import Problem, Tables
from slotengine.calcom.catalog.secrets import fingerprint


def booking(**fields: object) -> dict[str, object]:
    times = {"start": "2030-10-01T10:00:00Z", "end": "2030-10-01T10:30:00Z"}
    return {"uid": "another", "eventTypeId": 1} | times | fields


def trip(start: str = "2030-03-01", end: str = "2030-03-05", zone: str = "UTC") -> dict[str, str]:
    return {"startDate": start, "endDate": end, "timeZone": zone}


# Path, value, and the reason that is given there.
WRONG: list[tuple[str, object, str]] = [
    # Schedules
    ("schedules[0].timeZone", "Rome", "is not an IANA time zone: 'Rome'"),
    ("schedules[0].timeZone", "../etc", "is not an IANA time zone"),
    ("schedules[0].timeZone", "Europe", "is not an IANA time zone"),
    (
        "schedules[1].availability[0].endTime",
        "10:00",
        "must be after startTime, 10:00, not 10:00; 23:59",
    ),
    # What must differ
    ("schedules[1].id", 1, "is the same as schedules[0].id"),
    ("users[1].id", 1, "is the same as users[0].id"),
    ("users[1].username", "one", "is the same as users[0].username"),
    (
        "organizations[0].members[0].username",
        "two",
        "is the same as users[1].username",
    ),
    ("teams[0].members[0].username", "x", "is for members of organizations; a member of a team"),
    ("users[1].apiKeys[0]", fingerprint("cal_one"), "is the same as users[0].apiKeys[0]"),
    ("teams[0].id", 100, "is the same as organizations[0].id"),
    ("eventTypes[1].id", 1, "is the same as eventTypes[0].id"),
    ("eventTypes[2].slug", "both", "is the same as eventTypes[1].slug"),
    ("bookings[1].uid", "first", "is the same as bookings[0].uid"),
    # References to what is not there
    ("users[0].defaultScheduleId", 9, "there is no schedule with id 9"),
    ("users[0].accessTokens[0].clientId", "x", "there is no OAuth client with id 'x'"),
    ("oauthClients[0].ownerId", 9, "there is no user with id 9"),
    ("teams[0].parentId", 9, "there is no organization with id 9"),
    ("teams[0].members[1].userId", 9, "there is no user with id 9"),
    ("organizations[0].members[0].userId", 9, "there is no user with id 9"),
    ("eventTypes[0].ownerId", 9, "there is no user with id 9"),
    ("eventTypes[1].teamId", 9, "there is no team with id 9"),
    ("eventTypes[0].scheduleId", 9, "there is no schedule with id 9"),
    ("eventTypes[1].hosts[0].userId", 9, "there is no user with id 9"),
    ("eventTypes[1].hosts[0].scheduleId", 9, "there is no schedule with id 9"),
    ("bookings[0].eventTypeId", 9, "there is no event type with id 9"),
    # Users
    ("users[1].travel", [trip()], "needs a defaultScheduleId: the hours of that"),
    ("users[0].travel", [trip(), trip()], "must not overlap: each date"),
    ("users[0].travel", [trip(), trip("2030-03-05", "2030-03-09")], "must not overlap"),
    (
        "users[1].outOfOffice",
        [{"start": "2030-03-01", "end": "2030-03-01"}],
        "needs a defaultScheduleId: the dates are in the time zone of that schedule",
    ),
    # Secrets
    ("users[0].apiKeys[0]", "cal_plain", "must not be the secret itself: write 'sha256:...'"),
    ("users[0].apiKeys[0]", "sha256:ABC", "must have 64 lowercase hexadecimal digits after"),
    ("users[0].apiKeys[0]", "env:", "must have the name of an environment variable after 'env:'"),
    ("users[0].accessTokens[0].token", "plain", "must not be the secret itself: write 'sha256:..."),
    ("oauthClients[0].secret", "", "must not be the secret itself: write 'sha256:...'"),
    ("oauthClients[0].redirectUris[0]", "x", "must be an http or https address"),
    # Event types
    ("eventTypes[0].lengthInMinutesOptions", [15, 45], "must contain lengthInMinutes, 30"),
    (
        "eventTypes[0].hosts",
        [{"userId": 2}],
        "are for event types of a team; of this one the owner is",
    ),
    ("eventTypes[0].schedulingType", "collective", "is for event types of a team"),
    ("eventTypes[1].schedulingType", None, "must be 'collective' or 'roundRobin'"),
    ("eventTypes[1].hosts", [], "must name at least one host, for an event type of a team"),
    (
        "eventTypes[1].hosts[0].weight",
        5,
        "is for round robin; every host takes part in a collective",
    ),
    ("eventTypes[1].hosts[0].groupId", "a", "is for round robin; every host takes part in a coll"),
    ("eventTypes[1].hosts[1].userId", 3, "user 3 is not an accepted member of team 10"),
    ("eventTypes[0].rescheduleWithSameRoundRobinHost", True, "is for round robin"),
    ("eventTypes[1].rescheduleWithSameRoundRobinHost", True, "is for round robin"),
    ("eventTypes[0].bookingLimitsCount", {}, "must have a limit for a day, week, month or year"),
    (
        "eventTypes[0].bookingLimitsDuration",
        {"disabled": False},
        "must have a limit for a day, week,",
    ),
    # Bookings
    (
        "bookings[2]",
        booking(eventTypeId=4, start="0001-01-01", end="0001-01-02"),
        "the buffers of its event type reach beyond the years 1 to 9999",
    ),
]

DATES = ["2030-01-01", "2030-02-01"]

WRONG_WINDOWS: list[tuple[object, str, str]] = [
    ({}, ".type", "is missing; give a type, or disabled = true"),
    ({"value": 3}, ".type", "is missing; give a type, or disabled = true"),
    ({"type": "range"}, ".value", "must be the first and the last date"),
    ({"type": "range", "value": 3}, ".value", "must be the first and the last date"),
    ({"type": "range", "value": DATES[::-1]}, ".value", "must not end before it starts"),
    ({"type": "calendarDays"}, ".value", "must be a number of days"),
    ({"type": "businessDays", "value": DATES}, ".value", "must be a number of days"),
    ({"type": "calendarDays", "value": 3, "rolling": True}, ".rolling", "is not supported: days"),
    (
        {"disabled": True, "value": 3},
        ".disabled",
        "must not be true beside a window; remove one or",
    ),
]

# Path and value, and then where the problem is, which is elsewhere, and why it is one.
WRONG_ELSEWHERE: list[tuple[str, object, str, str]] = [
    # Users
    (
        "users[0].travel",
        [trip(), trip("2030-03-09", "2030-03-08")],
        "users[0].travel[1].endDate",
        "must not be before startDate",
    ),
    (
        "users[0].travel",
        [trip(zone="Rome")],
        "users[0].travel[0].timeZone",
        "is not an IANA time zone: 'Rome'",
    ),
    (
        "users[0].outOfOffice",
        [{"start": "2030-03-01", "end": "2030-02-01"}],
        "users[0].outOfOffice[0].end",
        "must not be before the start",
    ),
    (
        "users[2].calendars",
        ["a.ics", "a.ics"],
        "users[2].calendars[1]",
        "is the same as users[2].calendars[0]",
    ),
    # An override, which is of both its times
    ("schedules[1].overrides[0].startTime", "09:00", "schedules[1].overrides[0].endTime", "after"),
    # What must differ
    (
        "users[1].accessTokens",
        [{"token": fingerprint("token-one")}],
        "users[1].accessTokens[0].token",
        "is the same as users[0].accessTokens[0].token",
    ),
    (
        "oauthClients[1]",
        {"id": "platform", "secret": fingerprint("x"), "ownerId": 1},
        "oauthClients[1].id",
        "is the same as oauthClients[0].id",
    ),
    (
        "teams[1]",
        {"id": 11, "slug": "team", "parentId": 100},
        "teams[1].slug",
        "is the same as teams[0].slug",
    ),
    (
        "organizations[1]",
        {"id": 101, "slug": "org"},
        "organizations[1].slug",
        "is the same as organizations[0].slug",
    ),
    (
        "teams[0].members[2]",
        {"userId": 1},
        "teams[0].members[2].userId",
        "is the same as teams[0].members[0].userId",
    ),
    (
        "eventTypes[2].hosts[1]",
        {"userId": 1},
        "eventTypes[2].hosts[1].userId",
        "is the same as eventTypes[2].hosts[0].userId",
    ),
    (
        "eventTypes[0].lengthInMinutesOptions",
        [30, 30],
        "eventTypes[0].lengthInMinutesOptions[1]",
        "is the same as eventTypes[0].lengthInMinutesOptions[0]",
    ),
    # Event types
    (
        "eventTypes[0].bookingLimitsCount",
        {"day": 1, "disabled": True},
        "eventTypes[0].bookingLimitsCount.disabled",
        "must not be true beside limits; remove one or the other",
    ),
    (
        "eventTypes[0].bookingLimitsDuration",
        {"day": 90, "month": 60, "year": 600},
        "eventTypes[0].bookingLimitsDuration.day",
        "must be no more than in a month",
    ),
    *(
        ("eventTypes[0].bookingWindow", window, f"eventTypes[0].bookingWindow{key}", reason)
        for window, key, reason in WRONG_WINDOWS
    ),
    ("eventTypes[0].ownerId", None, "eventTypes[0]", "must have an ownerId or a teamId"),
    ("eventTypes[1].ownerId", 1, "eventTypes[1]", "must have an ownerId or a teamId, not both"),
    ("eventTypes[1].hosts[0].mandatory", True, "eventTypes[1].hosts[0].isFixed", "is for round"),
    # Bookings
    ("bookings[2]", booking(end="2030-10-01T10:00:00Z"), "bookings[2].end", "after the start"),
    (
        "bookings[2]",
        booking(eventTypeId=3),
        "bookings[2].hostIds",
        "is missing: a round robin booking needs its host",
    ),
    (
        "bookings[2]",
        booking(hostIds=[]),
        "bookings[2].hostIds",
        "must name at least one host, or be left out",
    ),
    (
        "eventTypes[3].afterEventBuffer",
        366 * 24 * 60,
        "eventTypes[3].lengthInMinutes",
        "must be no more than 527040 with both buffers",
    ),
    (
        "bookings[2]",
        booking(start="2030-01-01T00:00:00Z", end="2031-02-01T00:00:00Z"),
        "bookings[2].end",
        "must be 527040 minutes after the start at most, buffers included",
    ),
    ("bookings[0].hostIds", [9], "bookings[0].hostIds[0]", "there is no user with id 9"),
    (
        "bookings[2]",
        booking(eventTypeId=2, hostIds=[1, 1]),
        "bookings[2].hostIds[1]",
        "is the same as bookings[2].hostIds[0]",
    ),
    ("bookings[2]", booking(attendeesCount=1), "bookings[2].attendeesCount", "types with seats"),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "reason"),
    [(path, value, path, reason) for path, value, reason in WRONG] + WRONG_ELSEWHERE,
)
def test_what_does_not_fit_together_is_refused(
    first_problem: Callable[[str, object], Problem], path: str, value: object, key: str, reason: str
) -> None:
    problem = first_problem(path, value)
    assert problem.key == key
    assert reason in problem.reason


def test_the_catalog_that_these_change_is_right(right: dict[str, Any]) -> None:
    assert list(find_problems(Tables(right, {}))) == []
    assert list(booking_warnings(Tables(right, {}))) == []


def test_all_problems_are_listed_at_once(right: dict[str, Any]) -> None:
    right["users"][1]["id"] = "two"  # wrong by itself...
    right["users"][1]["username"] = 2
    right["schedules"][0]["timeZone"] = "Rome"
    right["oauthClients"][0]["ownerId"] = 9
    right["eventTypes"][0]["lengthInMinutesOptions"] = [15]
    right["bookings"][0]["eventTypeId"] = 9
    with pytest.raises(CatalogError) as caught:
        catalog_from(right)
    assert [problem.key for problem in caught.value.problems] == [
        "users[1].id",
        "users[1].username",
        "schedules[0].timeZone",
        "oauthClients[0].ownerId",
        "teams[0].members[1].userId",
        "eventTypes[3].ownerId",
        "eventTypes[1].hosts[1].userId",
        "eventTypes[2].hosts[1].userId",
        "eventTypes[0].lengthInMinutesOptions",
        "bookings[0].eventTypeId",
    ]


def test_a_table_that_is_wrong_elsewhere_can_still_be_referred_to(right: dict[str, Any]) -> None:
    right["users"][1]["username"] = 2
    right["teams"][0]["slug"] = ""
    right["eventTypes"][3]["slug"] = ""
    assert list(find_problems(Tables(right, {}))) == []


def test_a_limit_leaves_time_for_a_slot(first_problem: Callable[[str, object], Problem]) -> None:
    problem = first_problem("eventTypes[0].bookingLimitsDuration", {"day": 14, "week": 15})
    assert problem.key == "eventTypes[0].bookingLimitsDuration.day"
    assert problem.reason == "must be at least the length of the shortest slot, 15, but is 14"


# --- Bookings that should not be as they are, but stand --------------------------------

SESSION: dict[str, object] = {
    "eventTypeId": 4,
    "start": "2030-09-02T12:00:00Z",
    "end": "2030-09-02T13:00:00Z",
}


@pytest.mark.parametrize(
    ("fields", "key", "reason"),
    [
        (
            {"start": "2030-09-02T10:29:00Z", "end": "2030-09-02T11:00:00Z"},
            "bookings[2]",
            "'another' overlaps with bookings[0] ('first') on user 1",
        ),
        (  # the earlier one is right, wherever it stands
            {"start": "2030-09-02T09:45:00Z", "end": "2030-09-02T10:15:00Z"},
            "bookings[0]",
            "'first' overlaps with bookings[2] ('another') on user 1",
        ),
        (  # and of two with one start the first in the file
            {"start": "2030-09-02T10:00:00Z", "end": "2030-09-02T10:15:00Z"},
            "bookings[2]",
            "'another' overlaps with bookings[0] ('first') on user 1",
        ),
        (  # by a buffer alone
            {"eventTypeId": 2, "start": "2030-09-02T13:29:00Z", "end": "2030-09-02T14:00:00Z"},
            "bookings[2]",
            "overlaps with bookings[1] ('second') on user 2 (buffers, if any, included)",
        ),
        (
            SESSION | {"attendeesCount": 2},
            "bookings[2].attendeesCount",
            "with 'another', 4 of 3 seats are taken in the session of bookings[1] ('second')",
        ),
        (
            SESSION | {"end": "2030-09-02T12:30:00Z"},
            "bookings[2]",
            "overlaps with bookings[1] ('second') on user 2",
        ),
        (
            {"eventTypeId": 3, "hostIds": [3]},
            "bookings[2].hostIds[0]",
            "user 3 is no host of event type 3; the booking 'another' takes the user's time",
        ),
    ],
)
def test_what_should_not_be_is_told_and_stands(
    right: dict[str, Any], fields: dict[str, object], key: str, reason: str
) -> None:
    right["bookings"].append(booking(**fields))
    (found,) = booking_warnings(Tables(right, {}))
    assert found.key == key
    assert reason in found.reason
    catalog = catalog_from(right)
    assert catalog.warnings == (str(found),)
    assert len(catalog.bookings) == 3
    right["bookings"][2]["status"] = "cancelled"
    assert catalog_from(right).warnings == ()


@pytest.mark.parametrize(
    ("host", "end"), [(2, "2030-10-01T10:30:00Z"), (2, "2030-10-01T10:45:00Z")]
)
def test_a_session_has_one_place_and_one_end(right: dict[str, Any], host: int, end: str) -> None:
    """Two hosts at the same time, each with some of the seats: the engine knows one session."""
    right["eventTypes"][2]["seats"] = {"seatsPerTimeSlot": 5}
    right["bookings"] += [
        booking(uid="third", eventTypeId=3, hostIds=[1]),
        booking(uid="fourth", eventTypeId=3, hostIds=[host], end=end),
    ]
    (warning,) = catalog_from(right).warnings
    assert warning.startswith(
        "bookings[3]: 'fourth' starts at the same time as bookings[2] ('third')"
    )
    right["bookings"][3] |= {"hostIds": [1], "end": "2030-10-01T10:30:00Z"}
    assert catalog_from(right).warnings == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"bookingWindow": {"disabled": True}, "bookingLimitsCount": {"disabled": True}},
        {"bookingWindow": {"type": "calendarDays", "value": 30, "rolling": False}},
        {"bookingWindow": {"type": "range", "value": ["2030-01-01", "2030-01-01"]}},
        {"bookingLimitsCount": {"day": 2, "week": 2}, "bookingLimitsDuration": {"year": 600}},
        {"rescheduleWithSameRoundRobinHost": True, "showOptimizedSlots": True},
        {"hosts": [{"userId": 1, "weight": 5}, {"userId": 2, "isFixed": True}]},
        {"hosts": [{"userId": 1, "groupId": "a", "weight": 5}, {"userId": 2, "groupId": "b"}]},
    ],
)
def test_what_fits_together(right: dict[str, Any], fields: dict[str, object]) -> None:
    right["eventTypes"][2] |= fields
    assert list(find_problems(Tables(right, {}))) == []


def test_trips_may_follow_each_other(right: dict[str, Any]) -> None:
    right["users"][0]["travel"] = [trip(), trip("2030-03-06", "2030-03-09", "Asia/Tokyo")]
    assert list(find_problems(Tables(right, {}))) == []
