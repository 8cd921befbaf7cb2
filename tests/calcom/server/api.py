"""A server on a socket, with its catalog and a client, for the tests of this folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from slotengine import SlotEngine
from slotengine.calcom.catalog.secrets import fingerprint
from slotengine.testing import SimClock
from tests.standing import standing

NOW = datetime(2050, 9, 5, 6, tzinfo=UTC)  # a Monday
MONDAY = "2050-09-05"
PATH = "/v2/slots/reservations"
SEARCH = "/v2/slots"
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
            "apiKeys": [fingerprint("cal_owner")],
            "accessTokens": [
                {"token": fingerprint("owner-token")},
                {"token": fingerprint("web"), "clientId": "platform"},
            ],
        },
        {"id": 2, "username": "colleague", "apiKeys": [fingerprint("cal_colleague")]},
        {"id": 3, "username": "stranger", "apiKeys": [fingerprint("cal_stranger")]},
        {"id": 4, "username": "host-1"},
        {"id": 5, "username": "host-2"},
        {"id": 6, "username": "host-3", "apiKeys": [fingerprint("cal_invited")]},
        {"id": 7, "username": "office", "defaultScheduleId": 1},
        {"id": 8, "username": "director", "apiKeys": [fingerprint("cal_director")]},
        {"id": 9, "username": "teacher"},
        {"id": 10, "username": "visitor"},
    ],
    "oauthClients": [
        {
            "id": "platform",
            "secret": fingerprint("secret"),
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

# Most tests are about something else than the usual notice of two hours.
for _event_type in RAW_CATALOG["eventTypes"]:
    _event_type["minimumBookingNotice"] = 0


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

    async def search(self, path: str = SEARCH, /, **query: str | int) -> Answer:
        """Search, by default for all of Monday."""
        return await self.call("GET", path, params={"start": MONDAY, "end": MONDAY} | query)

    async def starts(self, **query: str | int) -> list[str]:
        """Return when the slots start that are found, without the zeros that all of them have."""
        answer = await self.search(**query)
        assert answer.status == 200, answer.message
        found = [slot["start"] for slots in answer.data.values() for slot in slots]
        return [start.replace(":00.000", "") for start in found]

    async def hold(self, **body: Any) -> str:
        answer = await self.post(**body)
        assert answer.status == 201
        uid = answer.data["reservationUid"]
        assert isinstance(uid, str)
        return uid

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        async with self.connection() as (reader, writer):
            writer.write(sent)
            return await reader.read()

    def state(self) -> list[object]:
        """Return everything that the engine has in its books."""
        statistics = self.engine.statistics()
        everything = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return [
            (statistics.held, statistics.confirmed, statistics.ended, statistics.sessions),
            [
                self.engine.local.find(standing(f"user:{user['id']}", *everything)).reservations
                for user in RAW_CATALOG["users"]
            ],
        ]


Start = Callable[..., Awaitable[Api]]


def hosts_of(api: Api, uid: str) -> set[str]:
    held = api.engine.local.get(uid)
    assert held is not None
    return set(held.resources)


UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

OAUTH = {"x-cal-client-id": "platform", "x-cal-secret-key": "secret"}
NO_HOSTS = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)
CLOSED = "This time slot is outside working hours. Please choose a different time."
