"""What the tests of this folder share: aiohttp runs on asyncio only; catalogs; a server."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.load import CatalogError, catalog_from
from slotengine.calcom.catalog.schema import Problem
from slotengine.calcom.catalog.secrets import fingerprint
from slotengine.calcom.server import ENGINE, create_app
from slotengine.calcom.server import app as server
from slotengine.testing import SimClock
from tests.calcom.server.api import NOW, RAW_CATALOG, Api, Start

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
            "apiKeys": [fingerprint("cal_one")],
            "accessTokens": [{"token": fingerprint("token-one"), "clientId": "platform"}],
        },
        {"id": 2, "username": "two", "apiKeys": [fingerprint("cal_two")]},
        {"id": 3, "username": "three"},
    ],
    "oauthClients": [
        {
            "id": "platform",
            "secret": fingerprint("oauth-secret"),
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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def right() -> dict[str, Any]:
    """A catalog in which nothing is wrong, as parsed from a file; to be changed at will."""
    return copy.deepcopy(RIGHT)


@pytest.fixture
def first_problem(right: dict[str, Any]) -> Callable[[str, object], Problem]:
    """Change what a key such as ``users[0].id`` names, and return what is wrong then.

    It may have consequences, which come after it.
    """

    def first_problem(path: str, value: object) -> Problem:
        put(right, path, value)
        with pytest.raises(CatalogError) as caught:
            catalog_from(right)
        return caught.value.problems[0]

    return first_problem


@pytest.fixture
def catalog() -> Catalog:
    return catalog_from(RAW_CATALOG)


@pytest.fixture(params=["served", "embedded"])
async def start(catalog: Catalog, request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Return what starts a server; it takes a catalog, and the arguments of `create_app`.

    As `serve` does, and as whoever embeds the application and leaves aiohttp as it
    is: the answers must be the same.
    """
    stack = contextlib.AsyncExitStack()

    async def start(
        clock: SimClock | None = None, *, catalog: Catalog = catalog, **options: Any
    ) -> Api:
        clock = clock or SimClock(NOW)
        if "engine" not in options:
            options["clock"] = clock
        app = create_app(catalog, **options)
        runner = web.AppRunner(app)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        if request.param == "served":
            app[server.ADAPTER].writes_directly = True
            listening = server.listening(app[server.ADAPTER], "127.0.0.1", 0)
            port = (await stack.enter_async_context(listening)).sockets[0].getsockname()[1]
        else:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
        session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        await stack.enter_async_context(session)
        return Api(session, port, app[ENGINE], clock)

    async with stack:
        yield start


@pytest.fixture
async def api(start: Start) -> Api:
    return await start()


def put(raw: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.replace("[", ".").replace("]", "").split(".")
    at: Any = raw
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    if not last.isdigit():
        at[last] = value
    else:
        at[int(last) : int(last) + 1] = [value]  # the one after the last is a new one
