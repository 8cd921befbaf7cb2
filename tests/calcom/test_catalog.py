"""Catalogs: what is refused and how that is said, and what the right ones mean."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slotengine import ALWAYS_OPEN, Policy, Seats, SlotEngine, State, minutes
from slotengine.calcom import catalog as catalog_module
from slotengine.calcom.catalog import AllOf, CatalogError, Keyring, catalog_from, load_catalog
from slotengine.core.instant import to_us
from slotengine.core.schedule import FixedWindows
from slotengine.errors import InvalidField

EXAMPLE = Path(__file__).parents[2] / "examples" / "catalog.toml"
MONDAY = datetime(2030, 9, 2, tzinfo=UTC)

RIGHT: dict[str, Any] = {
    "schedules": [
        {"id": 1, "timeZone": "Europe/Rome"},
        {
            "id": 2,
            "timeZone": "UTC",
            "availability": [{"days": ["Monday"], "startTime": "10:00", "endTime": "12:00"}],
            "overrides": [{"date": "2030-12-25", "startTime": "00:00", "endTime": "00:00"}],
        },
    ],
    "users": [
        {
            "id": 1,
            "username": "one",
            "defaultScheduleId": 1,
            "apiKeys": ["cal_one"],
            "accessTokens": [{"token": "token-one", "clientId": "platform"}],
        },
        {"id": 2, "username": "two", "apiKeys": ["cal_two"]},
        {"id": 3, "username": "three"},
    ],
    "oauthClients": [
        {
            "id": "platform",
            "secret": "oauth-secret",
            "ownerId": 1,
            "redirectUris": ["https://platform.example/callback"],
        }
    ],
    "organizations": [{"id": 100, "slug": "org", "members": [{"userId": 3}]}],
    "teams": [
        {
            "id": 10,
            "slug": "team",
            "parentId": 100,
            "members": [{"userId": 1}, {"userId": 2}, {"userId": 3, "accepted": False}],
        }
    ],
    "eventTypes": [
        {
            "id": 1,
            "slug": "solo",
            "ownerId": 1,
            "lengthInMinutes": 30,
            "lengthInMinutesOptions": [15, 30],
        },
        {
            "id": 2,
            "slug": "both",
            "teamId": 10,
            "schedulingType": "collective",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 1}, {"userId": 2}],
        },
        {
            "id": 3,
            "slug": "either",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 1}, {"userId": 2}],
        },
        {
            "id": 4,
            "slug": "class",
            "ownerId": 2,
            "lengthInMinutes": 60,
            "beforeEventBuffer": 15,
            "afterEventBuffer": 30,
            "seats": {"seatsPerTimeSlot": 3},
        },
    ],
    "bookings": [
        {
            "uid": "first",
            "eventTypeId": 3,
            "start": "2030-09-02T10:00:00Z",
            "end": "2030-09-02T10:30:00Z",
            "hostIds": [1],
        },
        {
            "uid": "second",
            "eventTypeId": 4,
            "start": "2030-09-02T12:00:00Z",
            "end": "2030-09-02T13:00:00Z",
            "attendeesCount": 2,
        },
    ],
}

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    raw = copy.deepcopy(RIGHT)
    change(raw)
    return raw


def problems(raw: object) -> list[tuple[str, str]]:
    with pytest.raises(CatalogError) as caught:
        catalog_from(raw)
    return [(problem.key, problem.reason) for problem in caught.value.problems]


def put(path: str, value: object) -> Change:
    """Return a change that sets what a key such as ``users[0].id`` names."""
    *parents, last = path.replace("[", ".").replace("]", "").split(".")

    def change(raw: dict[str, Any]) -> None:
        at: Any = raw
        for part in parents:
            at = at[int(part)] if part.isdigit() else at[part]
        if last.isdigit():
            at.insert(int(last), value) if int(last) >= len(at) else at.__setitem__(
                int(last), value
            )
        else:
            at[last] = value

    return change


def booking(**fields: object) -> dict[str, object]:
    times = {"start": "2030-10-01T10:00:00Z", "end": "2030-10-01T10:30:00Z"}
    return {"uid": "another", "eventTypeId": 1} | times | fields


def event_type(**fields: object) -> dict[str, object]:
    return {"id": 9, "slug": "another", "lengthInMinutes": 30} | fields


def team_type(*hosts: Mapping[str, object], **fields: object) -> dict[str, object]:
    kind = {"teamId": 10, "schedulingType": "roundRobin", "hosts": list(hosts)}
    return event_type(**(kind | fields))


# --- What is refused -------------------------------------------------------------------

WRONG: list[tuple[str, object, str, str]] = [
    # A table by itself: shape and types
    ("colour", [], "colour", "is not a known table"),
    ("users", {}, "users", "must be a list of tables: [[users]]"),
    ("users[0]", 7, "users[0]", "must be a table"),
    ("users[0].id", "1", "users[0].id", "must be a valid integer"),
    ("users[0].id", True, "users[0].id", "must be a valid integer"),
    ("users[0].id", 0, "users[0].id", "must be greater than 0"),
    ("users[0].userName", "x", "users[0].userName", "is not a known key"),
    ("users[0].default_schedule_id", 1, "users[0].default_schedule_id", "is not a known key"),
    ("users[0].username", "", "users[0].username", "must have at least 1 character"),
    ("users[0].apiKeys", "cal_x", "users[0].apiKeys", "must be a valid list"),
    ("users[0].apiKeys[1]", 7, "users[0].apiKeys[1]", "must be a valid string"),
    ("users[2]", {"id": 3}, "users[2].username", "is missing"),
    ("eventTypes[0].lengthInMinutes", 0, "eventTypes[0].lengthInMinutes", "greater than or"),
    ("eventTypes[0].lengthInMinutes", 10**9, "eventTypes[0].lengthInMinutes", "less than or"),
    ("eventTypes[0].bookingLimitsCount", {}, "eventTypes[0].bookingLimitsCount", "not a known key"),
    ("eventTypes[0].afterEventBuffer", -5, "eventTypes[0].afterEventBuffer", "greater than or"),
    ("eventTypes[1].schedulingType", "managed", "eventTypes[1].schedulingType", "must be 'coll"),
    ("eventTypes[3].seats", {"seatsPerTimeSlot": 1001}, "eventTypes[3].seats.seatsPerTimeSlot", ""),
    ("bookings[0].start", "tomorrow", "bookings[0].start", "must be an ISO 8601 time"),
    ("bookings[0].start", "2030-02-30", "bookings[0].start", "must be an ISO 8601 time"),
    ("bookings[0].start", 7, "bookings[0].start", "must be an ISO 8601 time"),
    ("bookings[0].status", "maybe", "bookings[0].status", "must be 'accepted', "),
    # Schedules
    ("schedules[0].timeZone", "Rome", "schedules[0].timeZone", "is not an IANA time zone: 'Rome'"),
    ("schedules[0].timeZone", "../etc", "schedules[0].timeZone", "is not an IANA time zone"),
    ("schedules[0].timeZone", "Europe", "schedules[0].timeZone", "is not an IANA time zone"),
    ("schedules[1].availability[0].endTime", "10:00", "schedules[1].availability[0].endTime", "af"),
    ("schedules[1].availability[0].endTime", "9:00", "schedules[1].availability[0].endTime", "pat"),
    ("schedules[1].availability[0].endTime", "24:00", "schedules[1].availability[0].endTime", "p"),
    (
        "schedules[1].availability[0].days",
        ["Mon"],
        "schedules[1].availability[0].days[0]",
        "must be 'Monday', ",
    ),
    ("schedules[1].availability[0].days", [], "schedules[1].availability[0].days", "at least 1"),
    ("schedules[1].overrides[0].startTime", "09:00", "schedules[1].overrides[0].endTime", "after"),
    ("schedules[1].overrides[0].date", "25.12.2030", "schedules[1].overrides[0].date", ""),
    ("schedules[1].overrides[0].date", "2030-02-30", "schedules[1].overrides[0].date", ""),
    # What must differ
    ("schedules[1].id", 1, "schedules[1].id", "is the same as schedules[0].id"),
    ("users[1].id", 1, "users[1].id", "is the same as users[0].id"),
    ("users[1].username", "one", "users[1].username", "is the same as users[0].username"),
    ("users[1].apiKeys[0]", "cal_one", "users[1].apiKeys[0]", "is the same as users[0].apiKeys[0]"),
    (
        "users[1].accessTokens",
        [{"token": "token-one"}],
        "users[1].accessTokens[0].token",
        "is the same as users[0].accessTokens[0].token",
    ),
    (
        "oauthClients[1]",
        {"id": "platform", "secret": "x", "ownerId": 1},
        "oauthClients[1].id",
        "is the same as oauthClients[0].id",
    ),
    ("teams[0].id", 100, "teams[0].id", "is the same as organizations[0].id"),
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
    ("eventTypes[1].id", 1, "eventTypes[1].id", "is the same as eventTypes[0].id"),
    ("eventTypes[2].slug", "both", "eventTypes[2].slug", "is the same as eventTypes[1].slug"),
    (
        "eventTypes[2].hosts[1]",
        {"userId": 1},
        "eventTypes[2].hosts[1].userId",
        "is the same as eventTypes[2].hosts[0].userId",
    ),
    ("bookings[1].uid", "first", "bookings[1].uid", "is the same as bookings[0].uid"),
    # References to what is not there
    ("users[0].defaultScheduleId", 9, "users[0].defaultScheduleId", "there is no schedule with id"),
    (
        "users[0].accessTokens[0].clientId",
        "x",
        "users[0].accessTokens[0].clientId",
        "there is no OAuth client with id 'x'",
    ),
    ("oauthClients[0].ownerId", 9, "oauthClients[0].ownerId", "there is no user with id 9"),
    ("teams[0].parentId", 9, "teams[0].parentId", "there is no organization with id 9"),
    ("teams[0].members[1]", {"userId": 9}, "teams[0].members[1].userId", "there is no user"),
    ("organizations[0].members[0].userId", 9, "organizations[0].members[0].userId", "no user"),
    ("eventTypes[0].ownerId", 9, "eventTypes[0].ownerId", "there is no user with id 9"),
    ("eventTypes[1].teamId", 9, "eventTypes[1].teamId", "there is no team with id 9"),
    ("eventTypes[0].scheduleId", 9, "eventTypes[0].scheduleId", "there is no schedule with id 9"),
    ("eventTypes[1].hosts[0].userId", 9, "eventTypes[1].hosts[0].userId", "there is no user"),
    ("eventTypes[1].hosts[0].scheduleId", 9, "eventTypes[1].hosts[0].scheduleId", "no schedule"),
    ("bookings[0].eventTypeId", 9, "bookings[0].eventTypeId", "there is no event type with id 9"),
    ("bookings[0].hostIds", [3], "bookings[0].hostIds[0]", "user 3 is no host of event type 3"),
    # Secrets
    ("users[0].apiKeys[0]", "key", "users[0].apiKeys[0]", "must be 'cal_' and some letters"),
    ("users[0].apiKeys[0]", "cal_", "users[0].apiKeys[0]", "must be 'cal_' and some letters"),
    ("users[0].apiKeys[0]", "cal_a b", "users[0].apiKeys[0]", "must be 'cal_' and some letters"),
    ("users[0].apiKeys[0]", "cal_ä", "users[0].apiKeys[0]", "must be 'cal_' and some letters"),
    ("users[0].accessTokens[0].token", "cal_x", "users[0].accessTokens[0].token", "not starting"),
    ("users[0].accessTokens[0].token", "", "users[0].accessTokens[0].token", "printable ASCII"),
    ("oauthClients[0].secret", "", "oauthClients[0].secret", "printable ASCII"),
    ("oauthClients[0].redirectUris[0]", "x", "oauthClients[0].redirectUris[0]", "must be an http"),
    ("oauthClients[0].redirectUris[0]", "http://[", "oauthClients[0].redirectUris[0]", "must be"),
    # Event types
    (
        "eventTypes[0].lengthInMinutesOptions",
        [15, 45],
        "eventTypes[0].lengthInMinutesOptions",
        "must contain lengthInMinutes, 30",
    ),
    (
        "eventTypes[0].lengthInMinutesOptions",
        [30, 30],
        "eventTypes[0].lengthInMinutesOptions[1]",
        "is the same as eventTypes[0].lengthInMinutesOptions[0]",
    ),
    ("eventTypes[4]", event_type(), "eventTypes[4]", "must have an ownerId, or a teamId"),
    ("eventTypes[1].ownerId", 1, "eventTypes[1]", "must have an ownerId or a teamId, not both"),
    ("eventTypes[1].hosts", [], "eventTypes[1].hosts", "must be at least one"),
    ("eventTypes[0].hosts", [{"userId": 2}], "eventTypes[0].hosts", "are for event types of a"),
    ("eventTypes[0].schedulingType", "collective", "eventTypes[0].schedulingType", "of a team"),
    ("eventTypes[1].schedulingType", None, "eventTypes[1].schedulingType", "must be 'collective'"),
    (
        "eventTypes[1].hosts[0].weight",
        5,
        "eventTypes[1].hosts[0].weight",
        "is for round robin; in a collective event type every host takes part",
    ),
    ("eventTypes[1].hosts[0].mandatory", True, "eventTypes[1].hosts[0].isFixed", "is for round"),
    ("eventTypes[1].hosts[0].groupId", "a", "eventTypes[1].hosts[0].groupId", "is for round rob"),
    (
        "eventTypes[1].hosts[1].userId",
        3,
        "eventTypes[1].hosts[1].userId",
        "user 3 is no accepted member of team 10",
    ),
    (
        "eventTypes[4]",
        team_type({"userId": 1, "isFixed": True}, {"userId": 2, "weight": 5}),
        "eventTypes[4].hosts",
        "weights need a single group of hosts, none of whom is fixed",
    ),
    (
        "eventTypes[4]",
        team_type({"userId": 1, "groupId": "a"}, {"userId": 2, "groupId": "b", "weight": 5}),
        "eventTypes[4].hosts",
        "weights need a single group of hosts, none of whom is fixed",
    ),
    # Bookings
    ("bookings[2]", booking(end="2030-10-01T10:00:00Z"), "bookings[2].end", "after the start"),
    ("bookings[2]", booking(eventTypeId=3), "bookings[2].hostIds", "is missing: with round robin"),
    ("bookings[2]", booking(hostIds=[]), "bookings[2].hostIds", "must be at least one"),
    (
        "bookings[2]",
        booking(eventTypeId=2, hostIds=[1, 1]),
        "bookings[2].hostIds[1]",
        "is the same as bookings[2].hostIds[0]",
    ),
    ("bookings[2]", booking(attendeesCount=1), "bookings[2].attendeesCount", "types with seats"),
    (
        "bookings[2]",
        booking(eventTypeId=4, start="0001-01-01", end="0001-01-02"),
        "bookings[2]",
        "the buffers reach beyond the years 1 to 9999",
    ),
    (
        "bookings[2]",
        booking(start="2030-09-02T10:29:00Z", end="2030-09-02T11:00:00Z"),
        "bookings[2]",
        "overlaps with bookings[0] on user 1 (buffers, if any, included)",
    ),
    (
        "bookings[2]",
        booking(eventTypeId=2, start="2030-09-02T13:29:00Z", end="2030-09-02T14:00:00Z"),
        "bookings[2]",
        "overlaps with bookings[1] on user 2 (buffers, if any, included)",
    ),
    (
        "bookings[2]",
        booking(
            eventTypeId=4,
            start="2030-09-02T12:00:00Z",
            end="2030-09-02T13:00:00Z",
            attendeesCount=2,
        ),
        "bookings[2].attendeesCount",
        "makes 4 of 3 seats at that time",
    ),
    (
        "bookings[2]",
        booking(eventTypeId=4, start="2030-09-02T12:00:00Z", end="2030-09-02T12:30:00Z"),
        "bookings[1]",
        "overlaps with bookings[2] on user 2 (buffers, if any, included)",
    ),
]


@pytest.mark.parametrize(("path", "value", "key", "reason"), WRONG)
def test_a_wrong_catalog_is_refused(path: str, value: object, key: str, reason: str) -> None:
    found = problems(changed(put(path, value)))
    # It may have consequences, which come after it.
    assert found[0][0] == key
    assert reason in found[0][1]


def test_the_catalog_that_these_change_is_right() -> None:
    assert repr(catalog_from(RIGHT)) == "<Catalog: 4 event types, 3 users, 2 bookings>"


@pytest.mark.parametrize("raw", [None, [], "text", 7])
def test_what_is_no_table_is_refused(raw: object) -> None:
    assert problems(raw) == [("", "must be a table")]


def test_all_problems_are_listed_at_once() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["users"][1]["id"] = "two"  # wrong by itself...
        raw["users"][1]["username"] = 2
        raw["schedules"][0]["timeZone"] = "Rome"
        raw["oauthClients"][0]["ownerId"] = 9
        raw["eventTypes"][0]["lengthInMinutesOptions"] = [15]
        raw["bookings"][0]["eventTypeId"] = 9

    assert [key for key, _ in problems(changed(change))] == [
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


def test_a_table_that_is_wrong_elsewhere_can_still_be_referred_to() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["users"][1]["username"] = 2
        raw["teams"][0]["slug"] = ""
        raw["eventTypes"][3]["slug"] = ""

    assert [key for key, _ in problems(changed(change))] == [
        "users[1].username",
        "teams[0].slug",
        "eventTypes[3].slug",
    ]


def test_too_many_combinations() -> None:
    def change(raw: dict[str, Any]) -> None:
        ids = range(1001, 1035)
        raw["users"] += [{"id": id, "username": str(id)} for id in ids]  # noqa: A001
        raw["teams"][0]["members"] += [{"userId": id} for id in ids]  # noqa: A001
        hosts = [{"userId": id, "groupId": str(id % 3)} for id in ids]  # noqa: A001
        raw["eventTypes"].append(team_type(*hosts))

    ((key, reason),) = problems(changed(change))
    assert key == "eventTypes[4].hosts"
    assert "more than 1000 ways" in reason


SECRETS = ("cal_one", "cal_two", "token-one", "oauth-secret")


def test_secrets_are_shown_nowhere() -> None:
    catalog = catalog_from(RIGHT)
    shown = [repr(catalog), repr(catalog.api_keys), repr(catalog.access_tokens)]
    shown += [repr(client) for client in catalog.oauth_clients.values()]

    def change(raw: dict[str, Any]) -> None:
        raw["users"][0]["apiKeys"] = "cal_one"
        raw["users"][1]["accessTokens"] = [{"token": ["token-one"]}, {"token": "token-one", "a": 1}]
        raw["oauthClients"][0]["secret"] = {"value": "oauth-secret"}

    with pytest.raises(CatalogError) as caught:
        catalog_from(changed(change))
    shown += [str(caught.value), repr(caught.value)]
    assert len(caught.value.problems) == 4
    assert not [secret for secret in SECRETS for text in shown if secret in text]


# --- Files -----------------------------------------------------------------------------


def test_the_example_is_right_and_shows_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert load_catalog(EXAMPLE).event_types.keys() == set(range(1, 9))
    tables = [each for each in vars(catalog_module).values() if isinstance(each, type)]
    names = {
        field.alias
        for table in tables
        if issubclass(table, catalog_module._Table)
        for field in table.model_fields.values()
    }
    assert {name for name in names if name and name not in text} == set()


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    raw = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    path = tmp_path / "catalog.JSON"
    path.write_text(json.dumps(raw), encoding="utf-8")
    from_json, from_toml = load_catalog(path), load_catalog(str(EXAMPLE))
    assert from_json.event_types == from_toml.event_types
    assert from_json.resources == from_toml.resources
    assert from_json.bookings == from_toml.bookings


def test_dates_and_times_as_toml_writes_them() -> None:
    raw = tomllib.loads(
        """
        [[schedules]]
        id = 1
        timeZone = "UTC"
        overrides = [{ date = 2030-12-24, startTime = "09:00", endTime = "12:00" }]
        [[users]]
        id = 1
        username = "one"
        defaultScheduleId = 1
        [[eventTypes]]
        id = 1
        slug = "one"
        ownerId = 1
        lengthInMinutes = 30
        [[bookings]]
        uid = "a"
        eventTypeId = 1
        start = 2030-09-02T12:00:00+02:00
        end = 2030-09-02T11:00:00
        [[bookings]]
        uid = "b"
        eventTypeId = 1
        start = 2030-09-03
        end = 2030-09-04
        """
    )
    catalog = catalog_from(raw)
    assert [(each.start, each.length) for each in catalog.bookings] == [
        (MONDAY.replace(hour=10), timedelta(hours=1)),
        (MONDAY + timedelta(days=1), timedelta(days=1)),
    ]
    schedule: Any = catalog.resources["user:1"]
    assert date(2030, 12, 24) in schedule.overrides


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.toml", b"users = [", "cannot be read: "),
        ("a.toml", b"\xff", "cannot be read: "),
        ("a.toml", b"a = " + b"[" * 5000, "cannot be read: "),
        ("a.json", b"{", "cannot be read: "),
        ("a.json", b"[" * 100_000, "cannot be read: "),
        ("a.json", b"[]", "must be a table"),
        ("a.json", b'{"users": [{"id": 1}]}', "users[0].username: is missing"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert str(caught.value).startswith(f"{path} is not a usable catalog:\n  {reason}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError) as caught:
            load_catalog(path)
        assert caught.value.file == str(path)


# --- What it means ---------------------------------------------------------------------


def test_an_individual_event_type() -> None:
    solo = catalog_from(RIGHT).event_types[1]
    (request,) = solo.requests(MONDAY, minutes(15), ttl=minutes(5), in_hours=True)
    assert [claim.resource for claim in request.claims] == ["user:1"]
    assert (request.event_type, request.ttl, request.schedule) == ("1", minutes(5), None)
    assert (solo.length, solo.lengths) == (30, (15, 30))
    (anytime,) = solo.requests(MONDAY, minutes(15), ttl=None, in_hours=False)
    assert anytime.schedule is ALWAYS_OPEN


def test_seats_and_buffers() -> None:
    (request,) = (
        catalog_from(RIGHT).event_types[4].requests(MONDAY, minutes(60), ttl=None, in_hours=True)
    )
    assert request.seats == Seats(total=3, wanted=1)
    assert (request.claims[0].before, request.claims[0].after) == (minutes(15), minutes(30))


def hosts_of(raw: dict[str, object]) -> list[list[str]]:
    def change(whole: dict[str, Any]) -> None:
        whole["teams"][0]["members"][2]["accepted"] = True
        whole["users"] += [{"id": 4, "username": "four"}]
        whole["teams"][0]["members"] += [{"userId": 4}]
        whole["eventTypes"] += [raw]

    made = catalog_from(changed(change)).event_types[9]
    return [[claim.resource for claim in candidate.claims] for candidate in made.candidates]


def test_who_could_take_a_slot() -> None:
    one, two, three, four = (dict[str, object](userId=number) for number in (1, 2, 3, 4))
    assert hosts_of(team_type(one, two, schedulingType="collective")) == [["user:1", "user:2"]]
    assert hosts_of(team_type(one, two)) == [["user:1"], ["user:2"]]
    fixed = two | {"mandatory": True}
    assert hosts_of(team_type(one, fixed, three)) == [["user:2", "user:1"], ["user:2", "user:3"]]
    assert hosts_of(team_type(fixed)) == [["user:2"]]
    grouped = team_type(
        one | {"groupId": "a"}, two | {"groupId": "b"}, three | {"groupId": "a"}, four
    )
    assert hosts_of(grouped) == [["user:1", "user:2", "user:4"], ["user:3", "user:2", "user:4"]]


def test_weights() -> None:
    weighted = team_type({"userId": 1, "weight": 300}, {"userId": 2})
    catalog = catalog_from(changed(put("eventTypes[4]", weighted)))
    assert catalog.event_types[3].policy is Policy.LEAST_LOADED
    assert catalog.event_types[9].policy is Policy.WEIGHTED
    assert catalog.event_types[9].weights == (300, 100)


def test_whose_hours_count() -> None:
    """The event type's schedule; else those chosen for its hosts; else their own."""

    def candidates(**fields: object) -> list[object]:
        hosts = [{"userId": 1}, {"userId": 2, "scheduleId": 2}]
        made = team_type(*hosts, **fields)
        catalog = catalog_from(changed(put("eventTypes[4]", made)))
        return [candidate.schedule for candidate in catalog.event_types[9].candidates]

    one = catalog_from(RIGHT).resources["user:1"]
    assert candidates(scheduleId=1) == [one, one]
    own, chosen = candidates()
    assert own is None
    assert isinstance(chosen, AllOf)
    (both,) = candidates(schedulingType="collective")
    assert both == AllOf((one, *chosen.schedules))  # type: ignore[arg-type]


def test_hours_as_cal_com_means_them() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["schedules"][1]["availability"] = [
            {"days": ["Monday"], "startTime": "18:00", "endTime": "23:59"},
            {"days": ["Tuesday"], "startTime": "00:00", "endTime": "01:00"},
            {"days": ["Monday"], "startTime": "08:00", "endTime": "09:00"},
        ]
        raw["users"][1]["defaultScheduleId"] = 2

    catalog = catalog_from(changed(change))
    two, one = catalog.resources["user:2"], catalog.resources["user:1"]
    assert two is not None
    assert one is not None

    def covers(hours: float, until: float) -> bool:
        start, end = MONDAY + timedelta(hours=hours), MONDAY + timedelta(hours=until)
        return two.covers(to_us(start), to_us(end))

    assert covers(18, 25)  # over midnight
    assert covers(8, 9)
    assert not covers(8, 9.01)
    # By default Monday to Friday, 09:00 to 17:00, here in Rome.
    monday = to_us(MONDAY), to_us(MONDAY + timedelta(days=1))
    hour = 3_600_000_000
    assert list(one.windows(*monday)) == [(monday[0] + 7 * hour, monday[0] + 15 * hour)]


def test_all_of_several_schedules() -> None:
    both = AllOf((FixedWindows([(0, 10), (20, 30)]), FixedWindows([(5, 25)])))
    assert list(both.windows(0, 100)) == [(5, 10), (20, 25)]
    assert both.covers(5, 10)
    assert not both.covers(4, 10)
    assert AllOf(()).covers(0, 1)


def test_who_may_choose_durations() -> None:
    event_types = catalog_from(RIGHT).event_types
    assert event_types[1].permitted == {1, 2}  # the owner, and who shares the team
    assert event_types[4].permitted == {1, 2}
    assert event_types[2].permitted == {1, 2, 3}  # the team, and its organization


def test_credentials_are_found_by_what_was_sent() -> None:
    catalog = catalog_from(RIGHT)
    assert catalog.api_keys.find("cal_one") == 1
    assert catalog.api_keys.find("cal_two") == 2
    assert catalog.api_keys.find("cal_three") is None
    token = catalog.access_tokens.find("token-one")
    assert token is not None
    assert token.user_id == 1
    assert token.origins == frozenset({"https://platform.example"})
    assert catalog.oauth_clients["platform"].secret.find("oauth-secret")
    assert not catalog.oauth_clients["platform"].secret.find("oauth-secret2")


def test_a_keyring_takes_any_text() -> None:
    keys = Keyring([("a", 1)])
    for text in ("", "ü", "\udcff", "\ud800", "x" * 100_000):
        assert keys.find(text) is None


# --- Into an engine --------------------------------------------------------------------


@pytest.mark.anyio
async def test_populate() -> None:
    catalog = catalog_from(RIGHT)
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
async def test_populate_with_what_shares_a_session_and_what_takes_no_time() -> None:
    session = {"start": "2030-09-02T12:00:00Z", "end": "2030-09-02T13:00:00Z"}

    def change(raw: dict[str, Any]) -> None:
        raw["bookings"] += [
            booking(uid="third", eventTypeId=4, **session),
            booking(uid="off", eventTypeId=4, status="cancelled", attendeesCount=3, **session),
            booking(uid="no", eventTypeId=2, status="rejected", **session),
            booking(uid="both", eventTypeId=2, status="pending"),
            booking(uid="one", eventTypeId=2, hostIds=[2], start="1999-01-01", end="1999-01-02"),
        ]

    async with SlotEngine() as engine:
        await catalog_from(changed(change)).populate(engine)
        assert engine.statistics().confirmed == 5
        assert engine.statistics().sessions == 1
