"""The search for slots, section 4 of the contract: what it finds, and how that is shown."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import quote
from zoneinfo import available_timezones

import pytest

from slotengine import minutes
from slotengine.calcom.catalog.load import catalog_from
from slotengine.testing import SimClock
from tests.calcom.server.api import MONDAY, NOW, RAW_CATALOG, SEARCH, VERSION, Api, Start

pytestmark = pytest.mark.anyio

HOURS = [f"{MONDAY}T{hour:02}:00Z" for hour in range(24)]


def named(**fields: object) -> dict[str, Any]:
    """Return a catalog in which the same names mean different things in different places."""
    raw = copy.deepcopy(RAW_CATALOG)
    raw["organizations"] += [{"id": 101, "slug": "other-org"}]
    raw["teams"] += [
        {"id": 12, "slug": "hosts", "members": [{"userId": 1}]},
        {"id": 13, "slug": "hosts", "parentId": 101, "members": [{"userId": 2}]},
    ]
    panel = raw["eventTypes"][4] | {"slotInterval": 60}
    assert panel["slug"] == "panel"
    raw["eventTypes"] += [
        panel | {"id": 20, "teamId": 12, "hosts": [{"userId": 1}], "lengthInMinutes": 45},
        panel | {"id": 21, "teamId": 13, "hosts": [{"userId": 2}], "lengthInMinutes": 50},
    ]
    raw["users"][3] |= fields
    return raw


async def length_of(api: Api, **query: str | int) -> str:
    """Return the end of the first slot at noon: which event type it is shows in its length."""
    noon = {"start": f"{MONDAY}T12:00:00Z", "end": f"{MONDAY}T13:00:00Z", "format": "range"}
    answer = await api.search(**(noon | query))
    assert answer.status == 200, answer.message
    end = answer.data[MONDAY][0]["end"]
    assert isinstance(end, str)
    return end[11:16]


# --- 4.1: the four ways to say what is looked for --------------------------------------


async def test_the_documented_search(api: Api) -> None:
    answer = await api.search(eventTypeId=4, timeZone="Europe/Rome", format="range")
    assert answer.status == 200
    assert answer.body["status"] == "success"
    assert list(answer.body["data"]) == [MONDAY]
    slots = answer.data[MONDAY]
    assert slots[0] == {
        "start": "2050-09-05T09:00:00.000+02:00",
        "end": "2050-09-05T09:30:00.000+02:00",
    }
    assert len(slots) == 16
    assert slots[-1]["end"] == "2050-09-05T17:00:00.000+02:00"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_an_event_type_of_a_user(start: Start) -> None:
    api = await start(catalog=catalog_from(named()))
    of_nobody: dict[str, str | int] = {"username": "owner", "eventTypeSlug": "hour"}
    assert await length_of(api, **of_nobody) == "13:00"
    # host-1 is in a team of the organization, the director in itself, the owner in neither.
    for username in ("host-1", "director"):
        answer = await api.search(username=username, eventTypeSlug="x", organizationSlug="org")
        assert (answer.status, answer.message) == (404, "Event Type not found")
    answer = await api.search(**of_nobody, organizationSlug="org")
    assert (answer.status, answer.message) == (404, "User with username owner not found")


ANNS: list[dict[str, Any]] = [
    {"id": 31, "username": "ann"},
    {"id": 32, "username": "ann"},
    {"id": 33, "username": "ann"},
    {"id": 34, "username": "ann-of-org"},
    {"id": 35, "username": "bob"},
    {"id": 36, "username": "bob"},
]


def anns() -> dict[str, Any]:
    """Return a catalog in which the same names mean different people here and there."""
    raw = copy.deepcopy(RAW_CATALOG)
    raw["users"] += copy.deepcopy(ANNS)
    raw["organizations"] += [
        {"id": 201, "slug": "first", "members": [{"userId": 32}, {"userId": 35}]},
        {
            "id": 202,
            "slug": "second",
            "members": [{"userId": 34, "username": "ann"}, {"userId": 33, "accepted": False}],
        },
        {"id": 203, "slug": "third"},
    ]
    # 33 is in the third by a team alone; 36 is a member of it, as 35 is of the first.
    raw["organizations"][-1]["members"] = [{"userId": 36}]
    raw["teams"].append({"id": 210, "slug": "team", "parentId": 203, "members": [{"userId": 33}]})
    raw["eventTypes"] += [
        {"id": user, "slug": "talk", "ownerId": user, "lengthInMinutes": user, "slotInterval": 60}
        for user in (31, 32, 33, 34, 35, 36)
    ]
    return raw


@pytest.mark.parametrize(
    ("username", "organization", "user"),
    [
        ("ann", None, 31),
        ("ann", "first", 32),
        ("ann", "second", 34),
        ("ann", "third", 33),
        ("ann-of-org", None, 34),
        ("ann-of-org", "second", None),
        ("bob", "first", 35),
        ("bob", "third", 36),
        ("bob", "second", None),
        ("bob", None, None),  # nobody is outside, and two could be meant
        ("Ann", None, None),
        ("director", None, None),
    ],
)
async def test_usernames_are_per_organization(
    start: Start, username: str, organization: str | None, user: int | None
) -> None:
    api = await start(catalog=catalog_from(anns()))
    inside: dict[str, str] = {} if organization is None else {"organizationSlug": organization}
    answer = await api.search(username=username, eventTypeSlug="talk", **inside)
    if username == "director":  # who is in an organization, and the only one of that name
        assert answer.message == "Event Type not found"
    elif user is None:
        assert (answer.status, answer.message) == (404, f"User with username {username} not found")
    else:
        assert await length_of(api, username=username, eventTypeSlug="talk", **inside) == (
            f"12:{user}"
        )


async def test_several_users_of_the_organization_that_is_named(start: Start) -> None:
    api = await start(catalog=catalog_from(anns()))
    together: dict[str, str | int] = {"usernames": "ann,bob", "duration": 60}
    await api.hold(eventTypeId=32, slotStart=f"{MONDAY}T12:00:00Z")
    first = await api.starts(**together, organizationSlug="first")
    third = await api.starts(**together, organizationSlug="third")
    assert set(third) - set(first) == {HOURS[12]}
    answer = await api.search(**together, organizationSlug="second")
    assert answer.message == "User with username bob not found"


async def test_an_event_type_of_a_team(start: Start) -> None:
    api = await start(catalog=catalog_from(named()))
    panel: dict[str, str | int] = {"teamSlug": "hosts", "eventTypeSlug": "panel"}
    assert await length_of(api, **panel) == "12:45"
    assert await length_of(api, **panel, organizationSlug="org") == "12:30"
    assert await length_of(api, **panel, organizationSlug="other-org") == "12:50"


async def test_several_users_together(api: Api) -> None:
    together: dict[str, str | int] = {"usernames": "host-1,office", "organizationSlug": "org"}
    assert await length_of(api, **together) == "12:30"
    assert await length_of(api, **together, duration=45) == "12:45"
    # Notice is two hours, and the office is open from 09:00 to 17:00 in Rome.
    starts = await api.starts(**together, duration=60)
    assert starts == HOURS[8:15]
    await api.hold(eventTypeId=4, slotStart=f"{MONDAY}T10:15:00Z")
    assert await api.starts(**together, duration=60) == [s for s in starts if s != HOURS[10]]
    repeated = await api.call(
        "GET",
        f"{SEARCH}?start={MONDAY}&end={MONDAY}&usernames[]=host-1&usernames[]=%20office%20"
        "&organizationSlug=org&duration=60",
    )
    assert len(repeated.data[MONDAY]) == len(starts) - 1
    assert await length_of(api, usernames="office,office", organizationSlug="org") == "12:30"


async def test_users_who_are_not_to_be_found_together(start: Start) -> None:
    api = await start(catalog=catalog_from(named(allowDynamicBooking=False)))
    answer = await api.search(usernames="office,host-1", organizationSlug="org")
    assert answer.status == 401
    assert answer.message == "Some of the users in this group do not allow dynamic booking"
    assert answer.body["error"]["code"] == "UnauthorizedException"
    assert (await api.search(usernames="office,host-2", organizationSlug="org")).status == 200


NOT_FOUND: list[tuple[dict[str, str | int], str]] = [
    ({"eventTypeId": 999}, "Event Type not found"),
    ({"eventTypeId": -1}, "Event Type not found"),
    ({"username": "owner", "eventTypeSlug": "panel"}, "Event Type not found"),
    ({"username": "nobody", "eventTypeSlug": "hour"}, "User with username nobody not found"),
    ({"username": "", "eventTypeSlug": "hour"}, "User with username  not found"),
    ({"teamSlug": "desk", "eventTypeSlug": "hour"}, "Event Type not found"),
    # It is part of an organization, so it is not found without.
    ({"teamSlug": "hosts", "eventTypeSlug": "panel"}, "Team with slug hosts not found"),
    ({"teamSlug": "ü", "eventTypeSlug": "panel"}, "Team with slug ü not found"),
    (
        {"teamSlug": "hosts", "eventTypeSlug": "panel", "organizationSlug": "x"},
        "slots-input.service.ts: Organization with slug x not found",
    ),
    (
        {"username": "owner", "eventTypeSlug": "hour", "organizationSlug": "x"},
        "slots-input.service.ts: Organization with slug x not found",
    ),
    (
        {"usernames": "office,owner", "organizationSlug": ""},
        "slots-input.service.ts: Organization with slug  not found",
    ),
    (
        {"usernames": "office,owner", "organizationSlug": "org"},
        "User with username owner not found",
    ),
]


@pytest.mark.parametrize(("query", "message"), NOT_FOUND)
async def test_what_is_not_found(api: Api, query: dict[str, str | int], message: str) -> None:
    answer = await api.search(**query)
    assert (answer.status, answer.message) == (404, message)
    assert answer.body["error"]["code"] == "NotFoundException"


# --- 3.2: what is wrong with a query ---------------------------------------------------


async def test_a_wrong_query_says_all_that_is_wrong(api: Api) -> None:
    answer = await api.call("GET", SEARCH + "?start=soon&timeZone=Rome&usernames=a,b&username=c")
    message = (
        "username property is wrong,property username should not exist , "
        "organizationSlug property is wrong,organizationSlug must be a string , "
        "start property is wrong,start must be a valid ISO 8601 date string , "
        "end property is wrong,end must be a valid ISO 8601 date string , "
        "timeZone property is wrong,timeZone must be a valid IANA time-zone "
    )
    assert (answer.status, answer.message) == (400, message)
    assert answer.body == {
        "status": "error",
        "timestamp": "2050-09-05T06:00:00.000Z",
        "path": "/v2/slots?start=soon&timeZone=Rome&usernames=a,b&username=c",
        "error": {
            "code": "BadRequestException",
            "message": message,
            "details": {"message": message, "error": "Bad Request", "statusCode": 400},
        },
    }


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "a=%FF&b=%&c=%00&d=" + "x" * 4000,
        "eventTypeId=1&start=2050-09-05&end=2050-09-05&timeZone=../../etc/passwd",
        "eventTypeId=1&start=2050-09-05&end=2050-09-05&timeZone=%00",
        "eventTypeId=1&start=2050-09-05&end=2050-09-05&timeZone=" + "A" * 4000,
        "eventTypeId=1&start=2050-09-05&end=2050-09-05&timeZone=localtime",
        "eventTypeId=1&eventTypeId=2&start=2050-09-05&end=2050-09-05",
        "eventTypeId=99999999999999999999&start=2050-09-05&end=2050-09-05",
        "eventTypeId=1&start=2050-09-05&end=2050-09-05&duration=" + "9" * 18,
        "eventTypeId=1&start=2050-02-30&end=2050-09-05",
        "usernames=" + ",".join("ab" * 900) + "&start=2050-09-05&end=2050-09-05",
        "&".join(f"p{i}={i}" for i in range(500)),
    ],
)
async def test_a_hostile_query_is_refused(api: Api, sent: str) -> None:
    before = api.state()
    answer = await api.raw(
        f"GET {SEARCH}?{sent} HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        "Connection: close\r\n\r\n".encode("latin-1")
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"property is wrong," in answer
    assert api.state() == before


async def test_a_zone_can_be_any(api: Api) -> None:
    """Each is known to the engine as well, or the search would fail."""
    noon = f"{MONDAY}T12:00:00Z"
    names = sorted(available_timezones() - {"localtime", "Factory"})
    assert len(names) > 400
    for name in names:
        answer = await api.search(
            eventTypeId=1, timeZone=name.upper(), start=noon, end=f"{MONDAY}T13:00:00Z"
        )
        assert answer.status == 200, name


# --- duration --------------------------------------------------------------------------


async def test_one_of_several_lengths(api: Api) -> None:
    assert await length_of(api, eventTypeId=1) == "12:30"
    assert await length_of(api, eventTypeId=1, duration=45) == "12:45"
    assert await length_of(api, eventTypeId=2, duration=60) == "13:00"


async def test_a_length_that_is_none_of_the_event_types(api: Api) -> None:
    answer = await api.search(eventTypeId=1, duration=20)
    assert (answer.status, answer.message) == (
        400,
        "Provided 'duration' is not one of the possible lengths for the event type. "
        "The possible lengths for this variable length event type are: 15, 30, 45",
    )
    answer = await api.search(eventTypeId=2, duration=30)
    assert (answer.status, answer.message) == (
        400,
        "You passed 'duration' but this event type is not a variable length event type.",
    )


async def test_slots_follow_each_other_by_their_length(api: Api) -> None:
    starts = await api.starts(eventTypeId=1, duration=45, start=f"{MONDAY}T08:00:00Z")
    assert starts[:4] == [f"{MONDAY}T{time}Z" for time in ("08:00", "08:45", "09:30", "10:15")]


# --- 4.2: the window -------------------------------------------------------------------


async def test_a_date_is_a_whole_date_of_utc(api: Api) -> None:
    """The zone does not matter: whoever wants a local day sends its instants."""
    date = {"start": "2050-09-12", "end": "2050-09-12"}
    whole = [f"2050-09-12T{hour:02}:00Z" for hour in range(24)]
    assert await api.starts(eventTypeId=2, **date) == whole
    midnight = {"start": "2050-09-12T00:00:00Z", "end": "2050-09-12T00:00:00Z"}
    assert await api.starts(eventTypeId=2, **midnight) == whole
    in_tokyo = await api.search(eventTypeId=2, timeZone="Asia/Tokyo", **date)
    assert {day: len(slots) for day, slots in in_tokyo.data.items()} == {
        "2050-09-12": 15,
        "2050-09-13": 9,
    }


async def test_the_bounds_count_to_the_second(api: Api) -> None:
    async def between(start: str, end: str) -> list[str]:
        day = "2050-09-12T"
        return await api.starts(eventTypeId=2, start=day + start, end=day + end)

    nine, ten = "2050-09-12T09:00Z", "2050-09-12T10:00Z"
    assert await between("09:00:00Z", "11:00:00Z") == [nine, ten]
    assert await between("09:00:01Z", "11:00:00Z") == [ten]
    assert await between("09:00:00Z", "10:59:59Z") == [nine, ten]
    assert await between("09:00:00Z", "10:59:58Z") == [nine]
    assert await between("11:00:00+02:00", "12:00:00+02:00") == [nine]


@pytest.mark.parametrize(
    ("first", "last"),
    [("2050-09-14", "2050-09-12"), ("2049-01-01", "2049-01-31"), ("0001-01-01", "0001-01-02")],
)
async def test_where_there_is_nothing_the_answer_is_empty(api: Api, first: str, last: str) -> None:
    answer = await api.search(eventTypeId=1, start=first, end=last)
    assert (answer.status, answer.data) == (200, {})


async def test_how_much_can_be_searched_at_once(api: Api) -> None:
    """Ten years, or 110000 slots, whichever is less; the past does not count."""
    message = "Invalid time range given - check the 'start' and 'end' query parameters."
    for event_type, enough, too_much in ((4, "2056-09-01", "2057-09-01"), (2, "2060", "2061")):
        answer = await api.search(eventTypeId=event_type, start="0001-01-01", end=too_much)
        assert (answer.status, answer.message) == (400, message)
        answer = await api.search(eventTypeId=event_type, start="0001-01-01", end=enough)
        assert answer.status == 200


async def test_how_much_of_many_hosts_can_be_searched(start: Start) -> None:
    """A hundred years of all of them together: ten hosts for ten years, twenty for five."""
    raw = copy.deepcopy(RAW_CATALOG)
    raw["users"] += [{"id": number, "username": f"host-{number}"} for number in range(50, 70)]
    raw["teams"][0]["members"] += [{"userId": number} for number in range(50, 70)]
    crowd = {
        "id": 90, "slug": "crowd", "teamId": 10, "schedulingType": "roundRobin",
        "lengthInMinutes": 600, "hosts": [{"userId": number} for number in range(50, 70)],
    }  # fmt: skip
    raw["eventTypes"].append(crowd)
    api = await start(catalog=catalog_from(raw))
    answer = await api.search(eventTypeId=90, start="2050-09-06", end="2055-09-01")
    assert answer.status == 200
    answer = await api.search(eventTypeId=90, start="2050-09-06", end="2056-09-01")
    assert answer.status == 400


async def test_the_end_of_the_calendar(start: Start) -> None:
    api = await start(SimClock(NOW.replace(year=9999, month=12, day=30)))
    last = {"start": "9999-12-30T21:00:00Z", "end": "9999-12-31"}
    assert await api.starts(eventTypeId=2, timeZone="Asia/Tokyo", **last) == [
        f"9999-12-31T0{hour}:00+09:00" for hour in (6, 7, 8)
    ]


# --- 4.3: zones and formats ------------------------------------------------------------


async def test_a_week_of_each_zone(api: Api) -> None:
    week = {"start": "2050-09-12", "end": "2050-09-18"}
    utc = await api.search(eventTypeId=4, **week)
    days = [f"2050-09-{day}" for day in (12, 13, 14, 15, 16)]
    assert list(utc.data) == days  # no weekend
    assert utc.data["2050-09-12"][0] == {"start": "2050-09-12T07:00:00.000Z"}
    sydney = await api.search(eventTypeId=4, timeZone="Australia/Sydney", **week)
    assert list(sydney.data) == [*days, "2050-09-17"]  # Friday ends on Saturday there
    assert sydney.data["2050-09-12"][0] == {"start": "2050-09-12T17:00:00.000+10:00"}
    assert sydney.data["2050-09-13"][0] == {"start": "2050-09-13T00:00:00.000+10:00"}
    assert sum(map(len, sydney.data.values())) == sum(map(len, utc.data.values())) == 80


async def test_the_week_of_a_change_of_clocks(api: Api) -> None:
    """Hours stay where the wall clock has them: in Rome it is put back on 30 October."""
    week = {"start": "2050-10-28", "end": "2050-10-31"}
    utc = await api.search(eventTypeId=4, **week)
    assert [(slots[0]["start"], len(slots)) for slots in utc.data.values()] == [
        ("2050-10-28T07:00:00.000Z", 16),
        ("2050-10-31T08:00:00.000Z", 16),
    ]
    rome = await api.search(eventTypeId=4, timeZone="Europe/Rome", **week)
    assert [slots[0]["start"] for slots in rome.data.values()] == [
        "2050-10-28T09:00:00.000+02:00",
        "2050-10-31T09:00:00.000+01:00",
    ]
    always = await api.search(
        eventTypeId=2,
        timeZone="Europe/Rome",
        start="2050-10-29T22:00:00Z",
        end="2050-10-30T23:00:00Z",
    )
    assert len(always.data["2050-10-30"]) == 25


async def test_a_zone_of_half_hours_has_a_grid_of_its_own(api: Api) -> None:
    starts = await api.starts(
        eventTypeId=2,
        timeZone="Asia/Kolkata",
        start="2050-09-12T00:00:00Z",
        end="2050-09-12T03:00:00Z",
    )
    assert starts == ["2050-09-12T06:00+05:30", "2050-09-12T07:00+05:30"]


@pytest.mark.parametrize("zone", ["UTC", "GMT", "Europe/London"])
async def test_how_an_offset_of_zero_is_written(api: Api, zone: str) -> None:
    starts = await api.starts(
        eventTypeId=2, timeZone=zone, start="2051-01-02T10:00:00Z", end="2051-01-02T11:00:00Z"
    )
    assert starts == ["2051-01-02T10:00" + ("+00:00" if "/" in zone else "Z")]


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("", {"start"}),
        ("time", {"start"}),
        ("TIME", {"start"}),
        ("range", {"start", "end"}),
        ("Range", {"start", "end"}),
    ],
)
async def test_formats(api: Api, sent: str, keys: set[str]) -> None:
    answer = await api.search(eventTypeId=4, format=sent)
    assert all(slot.keys() == keys for slot in answer.data[MONDAY])


# --- Routes and headers ----------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("root", ["/v2", "/v2/ee"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_aliases(api: Api, prefix: str, root: str, slash: str) -> None:
    answer = await api.search(f"{prefix}{root}/slots{slash}", eventTypeId=4)
    assert len(answer.data[MONDAY]) == 16


async def test_head_is_get_without_a_body(api: Api) -> None:
    query = {"eventTypeId": "4", "start": MONDAY, "end": MONDAY}
    answer = await api.call("HEAD", SEARCH, params=query)
    assert (answer.status, answer.body) == (200, None)
    assert (await api.call("HEAD", SEARCH)).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_other_methods(api: Api, method: str) -> None:
    answer = await api.call(method, SEARCH + "?a=b")
    assert (answer.status, answer.message) == (404, f"Cannot {method} {SEARCH}?a=b")


@pytest.mark.parametrize("version", [None, "2024-08-13"])
async def test_another_version_has_no_such_search(api: Api, version: str | None) -> None:
    headers = {} if version is None else {"cal-api-version": version}
    answer = await api.call("GET", SEARCH + "?eventTypeId=1", headers=headers)
    assert (answer.status, answer.message) == (404, f"Cannot GET {SEARCH}?eventTypeId=1")


async def test_credentials_do_not_matter_unless_they_are_an_unknown_key(api: Api) -> None:
    path = f"{SEARCH}?eventTypeId=4&start={MONDAY}&end={MONDAY}"
    for token, status in (("cal_owner", 200), ("anything", 200), ("cal_wrong", 401)):
        headers = VERSION | {"Authorization": f"Bearer {token}"}
        assert (await api.call("GET", path, headers=headers)).status == status


async def test_a_search_changes_nothing(api: Api) -> None:
    await api.hold(eventTypeId=3)
    await api.clock.advance(minutes(1))
    before = api.state()
    for event_type in RAW_CATALOG["eventTypes"]:
        await api.starts(eventTypeId=event_type["id"], rrHostSubsetIds="5", end="2050-10-05")
    assert api.state() == before


async def test_names_are_shown_as_they_were_sent(api: Api) -> None:
    answer = await api.call(
        "GET", f"{SEARCH}?username={quote('<b>ü')}&eventTypeSlug=x&start={MONDAY}&end={MONDAY}"
    )
    assert answer.message == "User with username <b>ü not found"
