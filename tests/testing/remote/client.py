"""A plain client of a stand-in, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from slotengine.testing import SimClock
from slotengine.testing.remote import RemoteCalCom

NOW = datetime(2050, 9, 5, 6, tzinfo=UTC)  # a Monday
TEN = datetime(2050, 9, 5, 10, tzinfo=UTC)
SLOTS = "/v2/slots"
PATH = "/v2/slots/reservations"
VERSION = {"cal-api-version": "2024-09-04"}

RESERVED = "This time slot is already reserved by another user. Please choose a different time."
BOOKED = "Can't reserve a slot if the event is already booked."
NO_HOSTS = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Answer:
    """A response, read."""

    def __init__(self, status: int, raw: bytes, headers: Any) -> None:
        self.status = status
        self.raw = raw
        self.headers = headers

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def data(self) -> Any:
        assert self.body["status"] == "success"
        return self.body["data"]

    @property
    def error(self) -> Any:
        assert self.body["status"] == "error"
        return self.body["error"]

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.error["message"]


class Client:
    """A stand-in, its clock, and a session with it."""

    def __init__(
        self, session: aiohttp.ClientSession, remote: RemoteCalCom, clock: SimClock
    ) -> None:
        self.session = session
        self.remote = remote
        self.clock = clock

    async def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **sent: Any
    ) -> Answer:
        headers = VERSION if headers is None else headers
        async with self.session.request(method, path, headers=headers, **sent) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def post(self, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        sent = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"} | fields
        return await self.call("POST", PATH, headers=VERSION | (headers or {}), json=sent)

    async def patch(
        self, uid: str, *, headers: dict[str, str] | None = None, **fields: Any
    ) -> Answer:
        sent = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"} | fields
        headers = VERSION | (headers or {})
        return await self.call("PATCH", f"{PATH}/{uid}", headers=headers, json=sent)

    async def get(self, uid: str) -> Answer:
        return await self.call("GET", f"{PATH}/{uid}")

    async def delete(self, uid: str) -> Answer:
        return await self.call("DELETE", f"{PATH}/{uid}")

    async def uid(self, **fields: Any) -> str:
        """Hold a slot, and return the uid."""
        answer = await self.post(**fields)
        assert answer.status == 201, answer.body
        uid = answer.data["reservationUid"]
        assert isinstance(uid, str)
        return uid

    async def search(self, **query: Any) -> Answer:
        """Search from ten to noon, unless told otherwise; None leaves a parameter out."""
        usual = {"start": "2050-09-05T10:00:00Z", "end": "2050-09-05T12:00:00Z"}
        if not query.keys() & {"eventTypeId", "username", "usernames", "teamSlug"}:
            usual["eventTypeId"] = "1"
        params = {name: value for name, value in (usual | query).items() if value is not None}
        return await self.call("GET", SLOTS, params=params)

    async def starts(self, **query: Any) -> list[str]:
        """Return the starts that a search shows, as hours and minutes."""
        answer = await self.search(**query)
        assert answer.status == 200, answer.body
        return [slot["start"][11:16] for slots in answer.data.values() for slot in slots]


Start = Callable[..., Awaitable[Client]]
