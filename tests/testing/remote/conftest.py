"""What the tests of this folder share: aiohttp runs on asyncio only; a stand-in and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from slotengine.testing import SimClock
from slotengine.testing.remote import (
    RemoteAccessToken,
    RemoteApiKey,
    RemoteCalCom,
    RemoteEventType,
    RemoteHost,
    RemoteOAuthClient,
    RemoteOrganization,
    RemoteTeam,
    RemoteUser,
)
from tests.testing.remote.client import NOW, Client, Start

TWO = (RemoteHost(2), RemoteHost(3))

EVENT_TYPES = (
    RemoteEventType(id=1, slug="any", owner=1, lengths=(15, 30, 45), notice=0),
    RemoteEventType(id=2, slug="hour", owner=1, length=60, notice=0),
    RemoteEventType(id=3, slug="class", owner=4, seats=2, notice=0),
    RemoteEventType(id=4, slug="panel", team=10, hosts=TWO, notice=0),
    RemoteEventType(
        id=5, slug="talk", team=10, hosts=TWO, round_robin=True, host_subsets=True, notice=0
    ),
    RemoteEventType(
        id=6,
        slug="workshop",
        team=10,
        hosts=(RemoteHost(2, fixed=True), RemoteHost(3)),
        round_robin=True,
        notice=0,
    ),
    RemoteEventType(id=7, slug="nobody", team=10),
    RemoteEventType(id=8, slug="usual", owner=5),
)

KNOWN: dict[str, Any] = {
    "users": (
        RemoteUser(id=1, username="owner", profiles={"org": "boss"}),
        RemoteUser(id=2, username="host", profiles={"org": "first"}),
        RemoteUser(id=3, profiles={"org": "owner"}),
        RemoteUser(id=6, username="shy", profiles={"org": "shy"}, dynamic=False),
    ),
    "teams": (
        RemoteTeam(id=10, slug="hosts", members=frozenset({2, 3}), organization=100),
        RemoteTeam(id=11, slug="desk", members=frozenset({1, 7})),
    ),
    "organizations": (RemoteOrganization(id=100, slug="org", members=frozenset({8})),),
    "api_keys": (
        RemoteApiKey("cal_owner", 1),
        RemoteApiKey("cal_colleague", 7),
        RemoteApiKey("cal_member", 2),
        RemoteApiKey("cal_director", 8),
        RemoteApiKey("cal_stranger", 9),
        RemoteApiKey("cal_old", 1, expired=True),
    ),
    "access_tokens": (
        RemoteAccessToken("token", 1),
        RemoteAccessToken("web", 1, frozenset({"https://platform.example"})),
    ),
    "oauth_clients": (RemoteOAuthClient("platform", "secret", 1),),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Return what starts a stand-in; it takes the arguments of `RemoteCalCom`."""
    async with AsyncExitStack() as stack:

        async def start(*event_types: RemoteEventType, **options: Any) -> Client:
            clock = SimClock(NOW)
            remote = await stack.enter_async_context(
                RemoteCalCom(event_types or EVENT_TYPES, clock=clock, **(KNOWN | options))
            )
            session = await stack.enter_async_context(aiohttp.ClientSession(remote.url))
            return Client(session, remote, clock)

        yield start


@pytest.fixture
async def client(start: Start) -> Client:
    return await start()
