"""The server over a real socket, with a real client, on a virtual clock.

In the order of the contract's sections.  Nothing here sleeps.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotengine import ALWAYS_OPEN, Claim, Request, SlotEngine, State, minutes
from slotengine.calcom import server
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.catalog_file import catalog_from
from slotengine.calcom.server import ENGINE, LARGEST_BODY, create_app
from slotengine.testing import SimClock

pytestmark = pytest.mark.anyio

NOW = datetime(2050, 9, 5, 6, tzinfo=UTC)  # a Monday
PATH = "/v2/slots/reservations"
VERSION = {"cal-api-version": "2024-09-04"}
OWNER = {"Authorization": "Bearer cal_owner"}

RAW_CATALOG: dict[str, Any] = {
    "schedules": [
        {"id": 1, "timeZone": "Europe/Rome"},  # Monday to Friday, 09:00 to 17:00
        {
            "id": 2,
            "timeZone": "UTC",
            "availability": [{"days": ["Monday"], "startTime": "10:00", "endTime": "12:00"}],
        },
    ],
    "users": [
        {
            "id": 1,
            "username": "owner",
            "apiKeys": ["cal_owner"],
            "accessTokens": [{"token": "owner-token"}, {"token": "web", "clientId": "platform"}],
        },
        {"id": 2, "username": "colleague", "apiKeys": ["cal_colleague"]},
        {"id": 3, "username": "stranger", "apiKeys": ["cal_stranger"]},
        {"id": 4, "username": "host-1"},
        {"id": 5, "username": "host-2"},
        {"id": 6, "username": "host-3", "apiKeys": ["cal_invited"]},
        {"id": 7, "username": "office", "defaultScheduleId": 1},
        {"id": 8, "username": "director", "apiKeys": ["cal_director"]},
        {"id": 9, "username": "teacher"},
        {"id": 10, "username": "visitor"},
    ],
    "oauthClients": [
        {
            "id": "platform",
            "secret": "secret",
            "ownerId": 1,
            "redirectUris": ["https://platform.example/callback"],
        }
    ],
    "organizations": [{"id": 100, "slug": "org", "members": [{"userId": 8}]}],
    "teams": [
        {
            "id": 10,
            "slug": "hosts",
            "parentId": 100,
            "members": [{"userId": 4}, {"userId": 5}, {"userId": 6}, {"userId": 7}],
        },
        {
            "id": 11,
            "slug": "desk",
            "members": [{"userId": 1}, {"userId": 2}, {"userId": 6, "accepted": False}],
        },
    ],
    "eventTypes": [
        {
            "id": 1,
            "slug": "any",
            "ownerId": 1,
            "lengthInMinutes": 30,
            "lengthInMinutesOptions": [15, 30, 45],
        },
        {"id": 2, "slug": "hour", "ownerId": 1, "lengthInMinutes": 60},
        {
            "id": 3,
            "slug": "class",
            "ownerId": 9,
            "lengthInMinutes": 30,
            "seats": {"seatsPerTimeSlot": 2},
        },
        {"id": 4, "slug": "office", "ownerId": 7, "lengthInMinutes": 30},
        {
            "id": 5,
            "slug": "panel",
            "teamId": 10,
            "schedulingType": "collective",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 4}, {"userId": 5}],
        },
        {
            "id": 6,
            "slug": "talk",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 4}, {"userId": 5}, {"userId": 6}],
        },
        {
            "id": 7,
            "slug": "workshop",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 4, "isFixed": True}, {"userId": 5}, {"userId": 6}],
        },
        {
            "id": 8,
            "slug": "buffered",
            "ownerId": 10,
            "lengthInMinutes": 30,
            "beforeEventBuffer": 15,
            "afterEventBuffer": 30,
        },
        {
            "id": 9,
            "slug": "weighted",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 5, "weight": 1}, {"userId": 6, "weight": 3}],
        },
        {"id": 11, "slug": "monday", "ownerId": 7, "lengthInMinutes": 30, "scheduleId": 2},
        {
            "id": 12,
            "slug": "office-talk",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 7}],
        },
        {
            "id": 13,
            "slug": "seated-talk",
            "teamId": 10,
            "schedulingType": "roundRobin",
            "lengthInMinutes": 30,
            "hosts": [{"userId": 5}, {"userId": 6}],
            "seats": {"seatsPerTimeSlot": 2},
        },
    ],
    "bookings": [
        {
            "uid": "booked-1",
            "eventTypeId": 2,
            "start": "2050-09-06T10:00:00Z",
            "end": "2050-09-06T11:00:00Z",
        },
        {
            "uid": "booked-class",
            "eventTypeId": 3,
            "start": "2050-09-06T10:00:00Z",
            "end": "2050-09-06T10:30:00Z",
            "attendeesCount": 2,
        },
        {
            "uid": "booked-host-1",
            "eventTypeId": 6,
            "start": "2050-09-06T10:00:00Z",
            "end": "2050-09-06T10:30:00Z",
            "hostIds": [4],
            "status": "pending",
        },
        {
            "uid": "cancelled",
            "eventTypeId": 2,
            "start": "2050-09-06T10:30:00Z",
            "end": "2050-09-06T11:30:00Z",
            "status": "cancelled",
        },
    ],
}


@dataclass(frozen=True)
class Answer:
    """A response, read."""

    status: int
    body: Any
    headers: Any

    @property
    def data(self) -> Any:
        assert self.body["status"] == "success"
        return self.body["data"]

    @property
    def message(self) -> str:
        assert self.body["status"] == "error"
        message = self.body["error"]["message"]
        assert isinstance(message, str)
        return message


class Api:
    """A server on a socket, a client of it, and what is behind it."""

    def __init__(
        self, session: aiohttp.ClientSession, port: int, engine: SlotEngine, clock: SimClock
    ) -> None:
        self.session = session
        self.port = port
        self.engine = engine
        self.clock = clock

    async def call(
        self, method: str, path: str = PATH, *, headers: dict[str, str] = VERSION, **sent: Any
    ) -> Answer:
        async with self.session.request(method, path, headers=headers, **sent) as response:
            raw = await response.read()
            return Answer(response.status, orjson.loads(raw) if raw else None, response.headers)

    async def post(self, *, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        fields = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"} | body
        return await self.call("POST", headers=VERSION | (headers or {}), json=fields)

    async def patch(
        self, uid: str, *, headers: dict[str, str] | None = None, **body: Any
    ) -> Answer:
        fields = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"} | body
        sent = VERSION | (headers or {})
        return await self.call("PATCH", f"{PATH}/{uid}", headers=sent, json=fields)

    async def get(self, uid: str) -> Answer:
        return await self.call("GET", f"{PATH}/{uid}")

    async def delete(self, uid: str) -> Answer:
        return await self.call("DELETE", f"{PATH}/{uid}")

    async def hold(self, **body: Any) -> str:
        answer = await self.post(**body)
        assert answer.status == 201
        uid = answer.data["reservationUid"]
        assert isinstance(uid, str)
        return uid

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    def state(self) -> list[object]:
        """Return everything that the engine has in its books."""
        statistics = self.engine.statistics()
        everything = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return [
            (statistics.held, statistics.confirmed, statistics.ended, statistics.sessions),
            [
                self.engine.reservations_nowait(f"user:{user['id']}", *everything)
                for user in RAW_CATALOG["users"]
            ],
        ]


Start = Callable[..., Awaitable[Api]]


@pytest.fixture
def catalog() -> Catalog:
    return catalog_from(RAW_CATALOG)


@pytest.fixture
async def start(catalog: Catalog) -> AsyncIterator[Start]:
    """Return what starts a server; it takes the arguments of `create_app`."""
    runners: list[web.AppRunner] = []
    sessions: list[aiohttp.ClientSession] = []

    async def start(clock: SimClock | None = None, **options: Any) -> Api:
        clock = clock or SimClock(NOW)
        if "engine" not in options:
            options["clock"] = clock
        app = create_app(catalog, **options)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        sessions.append(session)
        return Api(session, port, app[ENGINE], clock)

    yield start
    for session in sessions:
        await session.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def api(start: Start) -> Api:
    return await start()


def hosts_of(api: Api, uid: str) -> set[str]:
    held = api.engine.get_nowait(uid)
    assert held is not None
    return set(held.resources)


UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


# --- The documented request ------------------------------------------------------------


async def test_the_documented_request(api: Api) -> None:
    sent = {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00Z",
        "slotDuration": "30",
        "reservationDuration": 5,
    }
    headers = VERSION | OWNER
    first = await api.call("POST", json=sent, headers=headers)
    assert first.status == 201
    uid = first.data["reservationUid"]
    assert UUID4.fullmatch(uid)
    assert first.body == {
        "status": "success",
        "data": {
            "eventTypeId": 1,
            "slotStart": "2050-09-05T10:00:00.000Z",
            "slotEnd": "2050-09-05T10:30:00.000Z",
            "slotDuration": 30,
            "reservationUid": uid,
            "reservationDuration": 5,
            "reservationUntil": "2050-09-05T06:05:00.000Z",
        },
    }

    second = await api.call("POST", json=sent, headers=headers)
    assert second.status == 422

    await api.clock.advance(minutes(5) - timedelta(microseconds=1))
    assert (await api.call("POST", json=sent, headers=headers)).status == 422
    await api.clock.advance(timedelta(microseconds=1))
    assert (await api.call("POST", json=sent, headers=headers)).status == 201


async def test_a_thousand_at_once_and_one_gets_it(api: Api) -> None:
    answers = await asyncio.gather(*(api.post() for _ in range(1000)))
    assert sorted(answer.status for answer in answers) == [201] + [422] * 999


# --- 1: routes -------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("root", ["/v2", "/v2/ee"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_aliases(api: Api, prefix: str, root: str, slash: str) -> None:
    path = f"{prefix}{root}/slots/reservations"
    body = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"}
    made = await api.call("POST", path + slash, json=body)
    assert made.status == 201
    one = f"{path}/{made.data['reservationUid']}{slash}"
    assert (await api.call("GET", one)).data["eventTypeId"] == 1
    assert (await api.call("PATCH", one, json=body)).status == 200
    assert (await api.call("DELETE", one)).status == 200
    assert (await api.call("GET", one)).data is None


@pytest.mark.parametrize(
    ("method", "path", "shown"),
    [
        ("GET", "/", "/"),
        ("GET", "/v2", "/v2"),
        ("GET", PATH, PATH),
        ("PUT", PATH, PATH),
        ("PATCH", PATH, PATH),
        ("DELETE", PATH + "/", PATH + "/"),
        ("POST", PATH + "/some-uid", PATH + "/some-uid"),
        ("PUT", PATH + "/some-uid?a=b&c", PATH + "/some-uid?a=b&c"),
        ("GET", PATH + "/a/b", PATH + "/a/b"),
        ("GET", "/api/v2/nothing?x=1", "/v2/nothing?x=1"),
        ("GET", "/v2/ee/nothing", "/v2/nothing"),
        ("GET", "/api/v2/ee/nothing", "/v2/nothing"),
        ("POST", "/v1/slots/reservations", "/v1/slots/reservations"),
        ("TRACE", PATH, PATH),
        ("PROPFIND", PATH, PATH),
    ],
)
async def test_what_is_not_an_endpoint(api: Api, method: str, path: str, shown: str) -> None:
    answer = await api.call(method, path)
    assert answer.status == 404
    assert answer.message == f"Cannot {method} {shown}"
    assert answer.body["path"] == shown


async def test_head_is_get_without_a_body(api: Api) -> None:
    uid = await api.hold()
    answer = await api.call("HEAD", f"{PATH}/{uid}")
    assert (answer.status, answer.body) == (200, None)


# --- 2.1: cal-api-version --------------------------------------------------------------


@pytest.mark.parametrize(
    "version", [None, "", "2024-04-15", "2024-06-14", "2024-08-13", "2099-01-01", "nonsense"]
)
async def test_another_version_has_no_such_endpoints(api: Api, version: str | None) -> None:
    headers = {} if version is None else {"cal-api-version": version}
    before = api.state()
    for method, path in [("POST", PATH), ("GET", f"{PATH}/x"), ("DELETE", f"{PATH}/x")]:
        answer = await api.call(method, path, headers=headers)
        assert answer.status == 404
        assert answer.message == f"Cannot {method} {path}"
    assert api.state() == before


# --- 2.2: authentication ---------------------------------------------------------------

OAUTH = {"x-cal-client-id": "platform", "x-cal-secret-key": "secret"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-cal-client-id": "platform"},  # half a pair is nobody
        {"x-cal-secret-key": "wrong"},
        {"x-cal-client-id": "unknown"},
        {"Authorization": ""},
    ],
)
async def test_anonymous(api: Api, headers: dict[str, str]) -> None:
    assert (await api.post(headers=headers)).status == 201
    answer = await api.post(headers=headers, reservationDuration=5)
    assert answer.status == 401
    assert answer.message == (
        "reservationDuration can only be used for authenticated requests - "
        "use access token, api key or OAuth credentials"
    )


@pytest.mark.parametrize(
    "headers",
    [
        OWNER,
        {"Authorization": "bearer cal_owner"},
        {"Authorization": "cal_owner"},  # the original takes away "Bearer " if it is there
        {"Authorization": "Bearer owner-token"},
        {"Authorization": "Bearer owner-token", "Origin": "https://anywhere.example"},
        {"Authorization": "Bearer web"},
        {"Authorization": "Bearer web", "Origin": "https://platform.example"},
        OAUTH,
        OAUTH | {"Authorization": "Bearer never-looked-at"},
        {"Authorization": "Bearer cal_colleague"},  # a team in common with the owner
    ],
)
async def test_who_may_choose_how_long_a_hold_lives(api: Api, headers: dict[str, str]) -> None:
    answer = await api.post(headers=headers, reservationDuration=7)
    assert answer.status == 201
    assert answer.data["reservationDuration"] == 7
    assert answer.data["reservationUntil"] == "2050-09-05T06:07:00.000Z"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": "Bearer cal_wrong"}, "CustomThrottlerGuard - Invalid API Key"),
        ({"Authorization": "Bearer cal_"}, "CustomThrottlerGuard - Invalid API Key"),
        (OAUTH | {"Authorization": "Bearer cal_x"}, "CustomThrottlerGuard - Invalid API Key"),
        (
            {"Authorization": "Bearer wrong"},
            "ApiAuthStrategy - access token - Invalid Access Token.",
        ),
        ({"Authorization": "Bearer"}, "ApiAuthStrategy - access token - Invalid Access Token."),
        ({"Authorization": "Basic x"}, "ApiAuthStrategy - access token - Invalid Access Token."),
        ({"Authorization": "cal_wrong"}, "CustomThrottlerGuard - Invalid API Key"),
        (
            {"Authorization": "Bearer web", "Origin": "https://elsewhere.example"},
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        ),
        (
            {"Authorization": "Bearer web", "Origin": "https://platform.example.evil"},
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        ),
        (
            {"x-cal-client-id": "who", "x-cal-secret-key": "secret"},
            "ApiAuthStrategy - oAuth client - Client with ID who not found",
        ),
        (
            OAUTH | {"x-cal-secret-key": "wrong"},
            "ApiAuthStrategy - oAuth client - Invalid client secret",
        ),
        (
            OAUTH | {"x-cal-secret-key": "wrong"} | OWNER,  # the first method decides
            "ApiAuthStrategy - oAuth client - Invalid client secret",
        ),
    ],
)
async def test_wrong_credentials_are_refused_though_none_are_needed(
    api: Api, headers: dict[str, str], message: str
) -> None:
    uid = await api.hold()
    before = api.state()
    for answer in (
        await api.post(headers=headers, slotStart="2050-09-05T12:00:00Z"),
        await api.patch(uid, headers=headers, slotStart="2050-09-05T12:00:00Z"),
        await api.call("POST", headers=VERSION | headers, data=b"not even JSON"),
    ):
        assert (answer.status, answer.message) == (401, message)
        assert answer.body["error"]["code"] == "UnauthorizedException"
    assert api.state() == before


async def test_an_unknown_api_key_is_refused_everywhere(api: Api) -> None:
    uid = await api.hold()
    headers = VERSION | {"Authorization": "Bearer cal_wrong"}
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.call(method, f"{PATH}/{uid}", headers=headers)
        assert (answer.status, answer.message) == (401, "CustomThrottlerGuard - Invalid API Key")
    assert (await api.get(uid)).data is not None


async def test_other_wrong_credentials_do_not_matter_where_none_are_asked_for(api: Api) -> None:
    uid = await api.hold()
    for headers in ({"Authorization": "Bearer wrong"}, OAUTH | {"x-cal-secret-key": "wrong"}):
        assert (await api.call("GET", f"{PATH}/{uid}", headers=VERSION | headers)).status == 200
    assert (await api.call("DELETE", f"{PATH}/{uid}", headers=VERSION | headers)).status == 200


# --- 2.3: other headers ----------------------------------------------------------------


async def test_every_response_has_its_own_request_id_and_allows_every_origin(api: Api) -> None:
    answers = [
        await api.post(),
        await api.post(),
        await api.get("unknown"),
        await api.call("GET", "/nowhere"),
        await api.call("POST", json=[]),
        await api.call("OPTIONS"),
    ]
    assert [answer.status for answer in answers] == [201, 422, 200, 404, 400, 204]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(UUID4.fullmatch(id) for id in ids)  # noqa: A001
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {"*"}
    bodies = answers[:-1]
    assert {answer.headers["Content-Type"] for answer in bodies} == {
        "application/json; charset=utf-8"
    }


@pytest.mark.parametrize("path", [PATH, f"{PATH}/uid", "/api" + PATH, "/anything"])
async def test_preflight(api: Api, path: str) -> None:
    answer = await api.call(
        "OPTIONS",
        path,
        headers={"Origin": "https://a.example", "Access-Control-Request-Method": "PATCH"},
    )
    assert (answer.status, answer.body) == (204, None)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    methods = set(answer.headers["Access-Control-Allow-Methods"].split(","))
    assert methods == {"GET", "PATCH", "DELETE", "HEAD", "POST", "PUT", "OPTIONS"}
    assert set(answer.headers["Access-Control-Allow-Headers"].split(",")) == {
        "x-cal-client-id",
        "x-cal-secret-key",
        "x-cal-platform-embed",
        "cal-api-version",
        "Accept",
        "Authorization",
        "Content-Type",
        "Origin",
    }
    assert answer.headers["Access-Control-Max-Age"] == "86400"


# --- 3: errors -------------------------------------------------------------------------


async def test_the_error_envelope(api: Api) -> None:
    await api.hold()
    api.clock.set(NOW + timedelta(milliseconds=123, microseconds=456))
    answer = await api.call(
        "POST",
        "/api/v2/ee/slots/reservations?a=1&b=%20",
        json={"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"},
    )
    message = "This time slot is already reserved by another user. Please choose a different time."
    assert answer.status == 422
    assert answer.body == {
        "status": "error",
        "timestamp": "2050-09-05T06:00:00.123Z",
        "path": "/v2/slots/reservations?a=1&b=%20",
        "error": {
            "code": "UnprocessableEntityException",
            "message": message,
            "details": {"message": message, "error": "Unprocessable Entity", "statusCode": 422},
        },
    }


async def test_a_body_with_several_errors(api: Api) -> None:
    answer = await api.post(eventTypeId="1", slotStart="soon", extra=1)
    assert answer.status == 400
    target = {"eventTypeId": "1", "slotStart": "soon"}
    assert answer.body["error"] == {
        "code": "BadRequestException",
        "message": "Bad Request Exception",
        "details": {
            "errors": [
                {
                    "target": target,
                    "property": "eventTypeId",
                    "value": "1",
                    "children": [],
                    "constraints": {"isInt": "eventTypeId must be an integer number"},
                },
                {
                    "target": target,
                    "property": "slotStart",
                    "value": "soon",
                    "children": [],
                    "constraints": {
                        "isDateString": "slotStart must be a valid ISO 8601 date string"
                    },
                },
            ]
        },
    }


async def test_a_bug_of_ours_gives_the_framework_body_and_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: str) -> None:
        raise RuntimeError("the wheel has come off")

    monkeypatch.setattr(api.engine, "get", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.get("anything")
    assert answer.status == 500
    assert answer.body == {"statusCode": 500, "message": "Internal server error"}
    assert answer.headers["X-Request-Id"]
    assert "the wheel has come off" in caplog.text


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


@pytest.mark.parametrize(
    ("key", "event_type", "status"),
    [
        ("cal_owner", 1, 201),
        ("cal_colleague", 1, 201),
        ("cal_invited", 1, 403),  # invited to the owner's team, and has not accepted
        ("cal_director", 1, 403),  # of the organization of another team
        ("cal_stranger", 1, 403),
        ("cal_director", 6, 201),  # of the team's organization
        ("cal_invited", 6, 201),  # a member of the team
        ("cal_owner", 6, 403),
        ("cal_colleague", 4, 403),
        ("cal_director", 4, 403),  # a team's organization counts for the team's event types only
    ],
)
async def test_permission(api: Api, key: str, event_type: int, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await api.post(headers=headers, eventTypeId=event_type, reservationDuration=1)
    assert answer.status == status
    # Without a duration there is nothing to permit.
    assert (await api.post(headers=headers, slotStart="2050-09-07")).status == 201


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


NO_HOSTS = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
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
    loads = [len(api.engine.reservations_nowait(f"user:{user}", *day)) for user in (5, 6)]
    assert loads == [2, 6]


async def test_round_robin_with_seats(api: Api) -> None:
    first, second = [await api.hold(eventTypeId=13) for _ in range(2)]
    assert hosts_of(api, first) == hosts_of(api, second)  # one session, with one host
    answer = await api.post(eventTypeId=13)
    assert answer.message == "Booking with id=13 at 2050-09-05T10:00:00Z has no more seats left."


async def test_round_robin_outside_hours(api: Api) -> None:
    answer = await api.post(eventTypeId=12, slotStart="2050-09-10T10:00:00Z")
    assert (answer.status, answer.message) == (422, CLOSED)


# --- Availability ----------------------------------------------------------------------

CLOSED = "This time slot is outside working hours. Please choose a different time."


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


# --- 6: GET ----------------------------------------------------------------------------


async def test_get(api: Api) -> None:
    made = await api.post()
    answer = await api.get(made.data["reservationUid"])
    assert answer.status == 200
    expected = dict(made.data)
    del expected["reservationDuration"]
    assert answer.data == expected


@pytest.mark.parametrize("uid", ["unknown", "00000000-0000-4000-8000-000000000000", "%00", "ü"])
async def test_get_of_an_unknown_uid_is_null(api: Api, uid: str) -> None:
    answer = await api.get(uid)
    assert (answer.status, answer.body) == (200, {"status": "success", "data": None})


async def test_get_shows_an_expired_hold_for_the_retention(api: Api) -> None:
    made = await api.post()
    uid = made.data["reservationUid"]
    await api.clock.advance(minutes(5))
    answer = await api.get(uid)
    assert answer.data["reservationUntil"] == made.data["reservationUntil"]
    await api.clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    assert (await api.get(uid)).data is not None
    await api.clock.advance(timedelta(microseconds=1))
    assert (await api.get(uid)).data is None


async def test_get_of_what_is_no_hold_any_more_is_null(api: Api) -> None:
    released, confirmed, cancelled = [
        await api.hold(slotStart=f"2050-09-05T{hour}:00:00Z") for hour in (10, 11, 12)
    ]
    await api.delete(released)
    await api.engine.confirm(confirmed)
    await api.engine.confirm(cancelled)
    await api.engine.cancel(cancelled)
    for uid in (released, confirmed, cancelled):
        assert (await api.get(uid)).data is None


# --- 7: PATCH --------------------------------------------------------------------------


async def test_patch_renews_in_place(api: Api) -> None:
    uid = await api.hold()
    await api.clock.advance(minutes(4))
    answer = await api.patch(uid)
    assert answer.status == 200
    assert answer.data == {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00.000Z",
        "slotEnd": "2050-09-05T10:30:00.000Z",
        "slotDuration": 30,
        "reservationUid": uid,
        "reservationDuration": 5,
        "reservationUntil": "2050-09-05T06:09:00.000Z",
    }
    await api.clock.advance(minutes(4))
    assert (await api.post()).status == 422
    await api.clock.advance(minutes(1))
    assert (await api.post()).status == 201


async def test_patch_moves_also_to_an_overlapping_time(api: Api) -> None:
    uid = await api.hold()
    answer = await api.patch(uid, slotStart="2050-09-05T10:15:00Z")
    assert (answer.status, answer.data["reservationUid"]) == (200, uid)
    assert (await api.get(uid)).data["slotStart"] == "2050-09-05T10:15:00.000Z"
    assert (await api.post(slotStart="2050-09-05T09:45:00Z")).status == 201  # given up
    assert (await api.post(slotStart="2050-09-05T10:30:00Z")).status == 422  # taken


async def test_patch_forgets_the_previous_durations(api: Api) -> None:
    made = await api.post(headers=OWNER, slotDuration=45, reservationDuration=60)
    uid = made.data["reservationUid"]
    answer = await api.patch(uid)
    assert answer.data["slotDuration"] == 30
    assert answer.data["reservationUntil"] == "2050-09-05T06:05:00.000Z"


async def test_patch_to_another_event_type(api: Api) -> None:
    uid = await api.hold()
    answer = await api.patch(uid, eventTypeId=5, slotStart="2050-09-05T12:00:00Z")
    assert answer.status == 200
    assert answer.data["eventTypeId"] == 5
    assert hosts_of(api, uid) == {"user:4", "user:5"}
    assert (await api.post()).status == 201


async def test_patch_is_refused_and_nothing_has_changed(api: Api) -> None:
    uid = await api.hold()
    await api.hold(slotStart="2050-09-05T12:00:00Z")
    await api.clock.advance(minutes(1))
    before = api.state()
    refused: list[tuple[dict[str, Any], int]] = [
        ({"slotStart": "2050-09-05T12:15:00Z"}, 422),
        ({"slotStart": "2050-09-06T10:00:00Z"}, 422),
        ({"slotStart": "2050-09-05T05:00:00Z"}, 422),
        ({"eventTypeId": 4, "slotStart": "2050-09-10T10:00:00Z"}, 422),
        ({"eventTypeId": 999}, 404),
        ({"slotDuration": 7}, 400),
        ({"slotStart": "2050-02-30"}, 400),
        ({"slotStart": None}, 400),
        ({"eventTypeId": "1"}, 400),
    ]
    for body, status in refused:
        assert (await api.patch(uid, **body)).status == status
    assert api.state() == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer cal_stranger"}, 403), (OWNER, 200)],
)
async def test_patch_needs_the_permission_of_post(
    api: Api, headers: dict[str, str], status: int
) -> None:
    uid = await api.hold()
    answer = await api.patch(uid, headers=headers, reservationDuration=60)
    assert answer.status == status
    if status == 200:
        assert answer.data["reservationUntil"] == "2050-09-05T07:00:00.000Z"
        assert answer.data["reservationDuration"] == 60


async def test_patch_of_what_is_no_hold(api: Api) -> None:
    released, confirmed, expired = [
        await api.hold(slotStart=f"2050-09-05T{hour}:00:00Z") for hour in (10, 11, 12)
    ]
    await api.delete(released)
    await api.engine.confirm(confirmed)
    await api.clock.advance(minutes(5))
    before = api.state()
    for uid in (released, confirmed, expired, "unknown", "%F0%9F%A6%89"):
        answer = await api.patch(uid, slotStart="2050-09-07")
        assert answer.status == 404
        shown = "🦉" if uid.startswith("%") else uid
        assert answer.message == f"Slot with uid={shown} not found"
        assert answer.body["error"]["code"] == "NotFoundException"
    assert api.state() == before


async def test_patch_of_a_round_robin_hold_keeps_its_host_if_possible(api: Api) -> None:
    uids = [await api.hold(eventTypeId=6) for _ in range(3)]
    await api.hold(eventTypeId=6, slotStart="2050-09-05T12:00:00Z")
    await api.delete(uids[0])
    for uid in uids[1:]:
        before = hosts_of(api, uid)
        assert (await api.patch(uid, eventTypeId=6)).status == 200
        assert hosts_of(api, uid) == before


async def test_patch_of_a_round_robin_hold_changes_its_host_if_need_be(api: Api) -> None:
    uids = [await api.hold(eventTypeId=6) for _ in range(3)]
    uid = next(uid for uid in uids if hosts_of(api, uid) == {"user:4"})
    while_booked = "2050-09-06T10:00:00Z"
    assert (await api.patch(uid, eventTypeId=6, slotStart=while_booked)).status == 200
    assert hosts_of(api, uid) < {"user:5", "user:6"}


async def test_patch_of_a_round_robin_hold_where_nobody_is_free(api: Api) -> None:
    for _ in range(3):
        await api.hold(eventTypeId=6)
    uid = await api.hold(eventTypeId=6, slotStart="2050-09-05T12:00:00Z")
    answer = await api.patch(uid, eventTypeId=6, slotStart="2050-09-05T10:15:00Z")
    assert (answer.status, answer.message) == (422, NO_HOSTS)
    assert (await api.get(uid)).data["slotStart"] == "2050-09-05T12:00:00.000Z"


async def test_patch_of_a_seat(api: Api) -> None:
    uid = await api.hold(eventTypeId=3)
    await api.hold(eventTypeId=3)
    assert (await api.patch(uid, eventTypeId=3)).status == 200  # its own seat is not in its way
    full = await api.patch(uid, eventTypeId=3, slotStart="2050-09-06T10:00:00Z")
    assert full.message == "Booking with id=3 at 2050-09-06T10:00:00Z has no more seats left."


async def test_many_patches_at_once(api: Api) -> None:
    uid = await api.hold()
    answers = await asyncio.gather(
        *(api.patch(uid, slotStart=f"2050-09-05T{10 + i % 8}:00:00Z") for i in range(50))
    )
    assert {answer.status for answer in answers} == {200}
    assert api.engine.statistics().held == 1


def overtake(api: Api, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Let somebody else do something between the next look at a hold and what follows it."""
    get = api.engine.get

    async def get_and_be_overtaken(uid: str) -> object:
        held = await get(uid)
        monkeypatch.setattr(api.engine, "get", get)
        await getattr(api.engine, verb)(uid)
        return held

    monkeypatch.setattr(api.engine, "get", get_and_be_overtaken)


async def test_patch_looks_again_when_somebody_was_quicker(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await api.hold()
    overtake(api, monkeypatch, "extend")
    answer = await api.patch(uid, slotStart="2050-09-05T12:00:00Z")
    assert answer.status == 200
    assert answer.data["slotStart"] == "2050-09-05T12:00:00.000Z"


async def test_patch_never_moves_what_has_become_a_booking(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await api.hold()
    overtake(api, monkeypatch, "confirm")
    assert (await api.patch(uid, slotStart="2050-09-05T12:00:00Z")).status == 404
    booking = api.engine.get_nowait(uid)
    assert booking is not None
    assert booking.start == datetime(2050, 9, 5, 10, tzinfo=UTC)


# --- 8: DELETE -------------------------------------------------------------------------


async def test_delete(api: Api) -> None:
    uid = await api.hold()
    for _ in range(2):
        answer = await api.delete(uid)
        assert (answer.status, answer.body) == (200, {"status": "success"})
    assert (await api.get(uid)).data is None
    assert (await api.post()).status == 201


async def test_delete_of_anything_else_changes_nothing(api: Api) -> None:
    confirmed = await api.hold()
    await api.engine.confirm(confirmed)
    expired = await api.hold(slotStart="2050-09-05T12:00:00Z")
    await api.clock.advance(minutes(5))
    before = api.state()
    for uid in (confirmed, expired, "unknown", "%2F", "a b", "x" * 4000):
        answer = await api.delete(uid)
        assert (answer.status, answer.body) == (200, {"status": "success"})
    assert api.state() == before
    booking = api.engine.get_nowait(confirmed)
    assert booking is not None
    assert booking.state is State.CONFIRMED


# --- Abuse -----------------------------------------------------------------------------

HUGE = "9" * 5000

ABUSE: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"0",
    b'""',
    b"{",
    b"}",
    b"\x00\x01",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"eventTypeId":NaN}',
    b'{"eventTypeId":-Infinity}',
    b'{"eventTypeId":1e999}',
    b'{"eventTypeId":-0,"slotStart":"2050"}',
    b'{"eventTypeId":' + HUGE.encode() + b',"slotStart":"2050"}',
    b'{"eventTypeId":0.' + HUGE.encode() + b',"slotStart":"2050"}',
    b'{"eventTypeId":9223372036854775808,"slotStart":"2050"}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":"' + HUGE.encode() + b'"}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":-1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":0}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":-0.0}',
    b'{"eventTypeId":true,"slotStart":true,"slotDuration":true,"reservationDuration":true}',
    b'{"eventTypeId":{},"slotStart":{},"slotDuration":{},"reservationDuration":{}}',
    b'{"eventTypeId":[1],"slotStart":["2050-09-05"]}',
    b'{"eventTypeId":1,"slotStart":"\\ud800"}',
    b'{"eventTypeId":1,"slotStart":"\\u0000"}',
    b'{"eventTypeId":1,"slotStart":"\xf0\x9f\xa6\x89"}',
    b'{"eventTypeId":1,"slotStart":"' + b"9" * 50_000 + b'"}',
    b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00:60Z"}',
    b'{"eventTypeId":1,"slotStart":"0000-01-01"}',
    b'{"eventTypeId":1,"slotStart":"0001-01-01T00:00+23:59"}',
    b'{"eventTypeId":1,"slotStart":"0001-01-01T00:00Z"}',
    b'{"eventTypeId":1,"slotStart":"9999-12-31T24:00Z"}',
    b'{"eventTypeId":1,"slotStart":"9999-12-31T23:59:59.999Z"}',
    b'{"eventTypeId":4,"slotStart":"9999-12-31T23:29Z"}',
    b'{"eventTypeId":1,"slotStart":"2050-W53-7"}',
    b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00:00+99:99"}',
    b'{"__proto__":{"eventTypeId":1},"constructor":1}',
    b"[" * 90_000,
    b'{"a":' * 15_000,
    b'{"eventTypeId":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"eventTypeId":' + b'{"a":' * 300 + b"1" + b"}" * 301,
    b'{"junk":' + b"[" * 900 + b"]" * 900 + b"}",
    b"{" + b",".join(b'"k%d":0' % i for i in range(5000)) + b"}",
]


@pytest.mark.parametrize("raw", ABUSE, ids=range(len(ABUSE)))
async def test_abuse_is_refused_and_changes_nothing(api: Api, raw: bytes) -> None:
    uid = await api.hold(slotStart="2050-09-20T10:00:00Z")
    before = api.state()
    headers = VERSION | OWNER | {"Content-Type": "application/json"}
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{uid}")):
        answer = await api.call(method, path, headers=headers, data=raw)
        assert 400 <= answer.status < 500
        assert answer.body["status"] == "error"
        assert answer.message
    assert api.state() == before


@pytest.mark.parametrize("size", [LARGEST_BODY + 1, 10 * LARGEST_BODY])
async def test_a_body_that_is_too_large(api: Api, size: int) -> None:
    before = api.state()
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05","x":"'
    raw += b"x" * (size - len(raw) - 2) + b'"}'
    answer = await api.call(
        "POST", headers=VERSION | {"Content-Type": "application/json"}, data=raw
    )
    assert answer.status == 413
    assert answer.body["error"]["code"] == "PayloadTooLargeException"
    assert api.state() == before


async def test_the_largest_body(api: Api) -> None:
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00","x":"'
    raw += b"x" * (LARGEST_BODY - len(raw) - 2) + b'"}'
    answer = await api.call(
        "POST", headers=VERSION | {"Content-Type": "application/json"}, data=raw
    )
    assert answer.status == 201


async def test_a_body_that_never_comes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT_S", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        b"Content-Length: 1000\r\n\r\n{"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await writer.wait_closed()


async def test_a_compressed_body(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    headers = VERSION | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    bomb = gzip.compress(b" " * 50_000_000)
    broken = await api.call("POST", headers=headers, data=b"this is no gzip")
    assert broken.status == 400
    assert broken.message == "The body cannot be read: its encoding is broken"
    assert not caplog.records
    assert (await api.call("POST", headers=headers, data=bomb)).status == 413
    assert (await api.call("POST", headers=headers, data=gzip.compress(raw))).status == 201


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 201),
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON;charset=UTF-8", 201),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("multipart/form-data", 415),
        ("nonsense", 415),
        ("", 415),
    ],
)
async def test_content_types(api: Api, content_type: str | None, status: int) -> None:
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    header = b"" if content_type is None else f"Content-Type: {content_type}\r\n".encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\nConnection: close\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(raw)
    answer = await api.raw(head % PATH.encode() + header + length + raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 415:
        assert b'"code":"UnsupportedMediaTypeException"' in answer


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/slots/reservations/\xff\xfe",
        b"/v2/slots/reservations/%FF%FE",
        b"/v2/slots/reservations/%ED%A0%80",
        b"/v2/slots/reservations/%",
        b"/v2/slots/reservations/{uid}",
        b"/v2/slots/reservations/..%2f..%2fetc",
        b"/v2/slots/reservations/../../etc",
        b"/v2/slots/reservations/x?\xff=\xfe",
        b"//v2//slots",
        b"/\xf0\x9f\xa6\x89",
        b"*",
        b"http://127.0.0.1/v2/slots/reservations/x",
        b"http://[nonsense/v2",
        b"/" + b"x" * 8000,
        b"/" + b"x" * 20_000,
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"PATCH", b"DELETE", b"POST"])
async def test_odd_targets(api: Api, method: bytes, target: bytes) -> None:
    await api.hold()
    before = api.state()
    body = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    answer = await api.raw(
        method + b" " + target + b" HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert re.match(rb"HTTP/1\.[01] [24]", answer)
    assert api.state() == before


@pytest.mark.parametrize(
    "headers",
    [
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer cal_\xff",
        b"Authorization: \xff",
        b"x-cal-client-id: \xff\r\nx-cal-secret-key: \xfe",
        b"x-cal-client-id: platform\r\nx-cal-secret-key: \xfe",
        b"Authorization: Bearer web\r\nOrigin: \xff",
        b"Authorization: Bearer " + b"x" * 5000,
        b"Content-Type: \xff",
        b"Content-Type: application/json; charset=\xff",
        b"Content-Encoding: \xff",
        b"Transfer-Encoding: chunked\r\n\r\nnonsense",
        b"Content-Length: -1",
        b"Content-Length: nonsense",
        b"Expect: nonsense",
        b"nonsense",
        b"X: " + b"x" * 100_000,
    ],
)
async def test_odd_headers(api: Api, headers: bytes) -> None:
    before = api.state()
    answer = await api.raw(
        b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        b"Connection: close\r\n" + headers + b"\r\n\r\n"
    )
    assert re.match(rb"HTTP/1\.[01] 4", answer)
    assert api.state() == before


async def test_a_client_that_goes_away_changes_nothing(api: Api) -> None:
    before = api.state()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        b'Content-Length: 1000\r\n\r\n{"eventTypeId":1,'
    )
    writer.close()
    await reader.read()
    await writer.wait_closed()
    assert (await api.get("unknown")).status == 200
    assert api.state() == before


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["2050-09-05T10:00:00Z", "30", 1, 3, 15, 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
FIELDS = ("eventTypeId", "slotStart", "slotDuration", "reservationDuration", "other")
bodies = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values))
segments = st.just("") | st.text(
    st.characters(codec="utf-8", exclude_characters="/\\"), max_size=30
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["POST", "GET", "PATCH", "DELETE", "PUT", "OPTIONS"]),
    segment=segments,
    sent=bodies | json_values,
    authorization=st.none() | header_texts | header_texts.map("Bearer {}".format),
    version=st.just("2024-09-04") | header_texts,
)
async def test_whatever_is_sent_is_answered(
    api: Api, method: str, segment: str, sent: object, authorization: str | None, version: str
) -> None:
    headers = {"cal-api-version": version, "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    before = api.state()
    path = reservation_path(segment)
    raw = orjson.dumps(sent, option=orjson.OPT_NON_STR_KEYS)
    answer = await api.call(method, path, headers=headers, data=raw)
    assert answer.status in {200, 201, 204, 400, 401, 403, 404, 415, 422}
    if answer.status == 201:
        await api.delete(answer.data["reservationUid"])
        await api.clock.advance(timedelta(hours=2))
    elif answer.status >= 400:
        assert answer.body["status"] == "error"
        assert api.state() == before


def reservation_path(segment: str) -> str:
    return f"{PATH}/{quote(segment, safe='')}" if segment not in {"", ".", ".."} else PATH


# --- Embedding -------------------------------------------------------------------------


async def test_a_lent_engine_stays_open_and_shows_only_the_catalogs_holds(start: Start) -> None:
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock, max_ttl=timedelta(hours=2)) as engine:
        engine.add_resource("room-1")
        room = await engine.reserve("room-1", NOW, minutes(30))
        api = await start(clock, engine=engine)
        assert api.engine is engine
        uid = await api.hold()
        assert (await engine.release(uid)).state is State.RELEASED
        assert (await api.get(room.uid)).data is None
        too_long = await api.post(headers=OWNER, reservationDuration=121)
        assert too_long.body["error"]["details"]["errors"][0]["constraints"] == {
            "max": "reservationDuration must not be greater than 120"
        }


async def test_the_usual_hold_fits_the_engine(start: Start) -> None:
    clock = SimClock(NOW)
    short = minutes(2)
    async with SlotEngine(clock=clock, max_ttl=short, default_ttl=short) as engine:
        api = await start(clock, engine=engine)
        assert (await api.post()).data["reservationDuration"] == 2


async def test_a_hold_of_the_application_itself_is_seen(start: Start) -> None:
    api = await start()
    claims = (Claim("user:1"),)
    held = await api.engine.reserve_request(
        Request(NOW, minutes(30), claims, event_type="2", schedule=ALWAYS_OPEN)
    )
    assert (await api.get(held.uid)).data["eventTypeId"] == 2


async def test_a_hold_past_its_longest_life(start: Start) -> None:
    clock = SimClock(NOW)
    ten = minutes(10)
    async with SlotEngine(clock=clock, max_ttl=ten, max_life=ten) as engine:
        api = await start(clock, engine=engine)
        uid = await api.hold()
        await clock.advance(minutes(4))
        assert (await api.patch(uid)).status == 200
        await clock.advance(minutes(2))
        answer = await api.patch(uid)
        assert answer.status == 422
        assert "may be held until 2050-09-05T06:10:00" in answer.message


async def test_an_engine_that_is_closed(start: Start) -> None:
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        api = await start(SimClock(NOW), engine=engine)
    answer = await api.get("anything")
    assert answer.status == 503
    assert answer.body["error"]["code"] == "ServiceUnavailableException"


async def test_an_engine_brings_its_own_clock(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="clock"):
        create_app(catalog, engine=SlotEngine(), clock=SimClock(NOW))


async def test_a_resource_that_is_there_already_stops_the_start(catalog: Catalog) -> None:
    async with SlotEngine() as engine:
        engine.add_resource("user:1")
        runner = web.AppRunner(create_app(catalog, engine=engine))
        with pytest.raises(ValueError, match="user:1"):
            await runner.setup()
        await runner.cleanup()


async def test_an_application_can_be_started_and_stopped_by_different_tasks(
    catalog: Catalog,
) -> None:
    runner = web.AppRunner(create_app(catalog))
    await asyncio.create_task(runner.setup())
    await asyncio.create_task(runner.cleanup())
