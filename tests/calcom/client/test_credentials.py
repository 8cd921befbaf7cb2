"""Access tokens that are refreshed, and secrets that stay hidden."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slotengine import InvalidField, SlotError, minutes
from slotengine.calcom import CalComClient, RemoteDenied, RemoteError
from slotengine.calcom.client.credentials import Credentials
from tests.calcom.client.scripted import (
    CREATED,
    DROP,
    START,
    UID,
    Action,
    Hang,
    Raw,
    Reply,
    SkippingLoop,
    error,
    nobody,
    remote,
    success,
    until,
)
from tests.calcom.server.api import Api

pytestmark = pytest.mark.anyio

FOUND = success(None)
DENIED = error(401)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": SkippingLoop}


# --- Refreshing --------------------------------------------------------------------------


class Tokens:
    """A source of access tokens: new-1, new-2, ...; with a gate it waits until that opens."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.asked = 0
        self.ended = 0
        self.gate = gate

    async def __call__(self) -> str:
        self.asked += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.ended += 1
        return f"new-{self.asked}"


def bearers(server: Any) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in server.seen]


async def test_a_refused_token_is_refreshed_and_the_call_repeated(api: Api) -> None:
    async def refresh() -> str:
        return "owner-token"

    url = f"http://127.0.0.1:{api.port}"
    async with CalComClient(url, token="old", refresh=refresh) as client:
        held = await client.reserve(1, START, reservation_minutes=9)
        assert held.reservation_minutes == 9
        await client.delete(held.uid)
        statistics = client.statistics()
    assert (statistics.calls, statistics.sent, statistics.retried) == (2, 3, 1)
    assert statistics.refused == 1


async def test_the_call_is_repeated_once_only() -> None:
    tokens = Tokens()
    async with (
        remote(DENIED, DENIED, FOUND) as server,
        CalComClient(server.url, token="old", refresh=tokens) as client,
    ):
        with pytest.raises(RemoteDenied):
            await client.get(UID)
        await client.get(UID)
    assert bearers(server) == ["old", "new-1", "new-1"]
    assert tokens.asked == 1


async def test_only_a_401_asks_for_another_token() -> None:
    tokens = Tokens()
    async with (
        remote(error(403)) as server,
        CalComClient(server.url, token="old", refresh=tokens) as client,
    ):
        with pytest.raises(RemoteDenied):
            await client.get(UID)
    assert tokens.asked == 0


async def test_one_refresh_serves_all_calls() -> None:
    tokens = Tokens(asyncio.Event())
    hangs = [Hang(then=DENIED) for _ in range(3)]
    async with (
        remote(*hangs, *[FOUND] * 4) as server,
        CalComClient(server.url, token="old", refresh=tokens) as client,
    ):
        calls = [asyncio.ensure_future(client.get(UID)) for _ in hangs]
        for hang in hangs:
            await hang.read.wait()
        hangs[0].go.set()
        hangs[1].go.set()
        await until(lambda: client.statistics().refused == 2)
        assert tokens.gate is not None
        tokens.gate.set()
        await calls[0]
        await calls[1]
        hangs[2].go.set()  # refused with a token that has been replaced since
        await calls[2]
        await client.get(UID)
    assert tokens.asked == 1
    assert bearers(server) == ["old"] * 3 + ["new-1"] * 4


async def test_a_cancelled_caller_does_not_end_the_refresh_of_others() -> None:
    tokens = Tokens(asyncio.Event())
    async with (
        remote(DENIED, DENIED, FOUND) as server,
        CalComClient(server.url, token="old", refresh=tokens) as client,
    ):
        first = asyncio.ensure_future(client.get(UID))
        await until(lambda: tokens.asked == 1)
        second = asyncio.ensure_future(client.get(UID))
        await until(lambda: client.statistics().refused == 2)
        first.cancel()
        await asyncio.wait({first})
        assert tokens.gate is not None
        tokens.gate.set()
        await second
    assert tokens.asked == 1


async def test_a_refresh_that_takes_too_long_is_not_waited_for() -> None:
    tokens = Tokens(asyncio.Event())
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    async with (
        remote(DENIED) as server,
        CalComClient(
            server.url, token="old", refresh=tokens, clock=loop.time, timeout_s=30
        ) as client,
    ):
        call = asyncio.ensure_future(client.get(UID))
        await until(lambda: tokens.asked == 1)
        loop.skip(31)
        with pytest.raises(RemoteDenied):
            await call
        assert (tokens.asked, tokens.ended) == (1, 0)
    assert tokens.ended == 1  # leaving the client ends it


@pytest.mark.parametrize("token", ["", "two words", None], ids=str)
async def test_a_refresh_without_a_usable_token_leaves_the_refusal(
    token: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def refresh() -> str:
        response: str = token
        return response

    async with (
        remote(DENIED) as server,
        CalComClient(server.url, token="old", refresh=refresh) as client,
    ):
        with pytest.raises(RemoteDenied):
            await client.get(UID)
    assert "refreshing the access token failed: InvalidField" in caplog.messages


async def test_the_next_call_tries_a_failed_refresh_again() -> None:
    answers: list[str | Exception] = [RuntimeError("refresh-token-9"), "new"]

    async def refresh() -> str:
        response = answers.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    async with (
        remote(DENIED, DENIED, FOUND) as server,
        CalComClient(server.url, token="old", refresh=refresh) as client,
    ):
        with pytest.raises(RemoteDenied):
            await client.get(UID)
        await client.get(UID)
    assert bearers(server) == ["old", "old", "new"]


# --- Secrets -----------------------------------------------------------------------------

SECRET = "s3cr3t-of-ours"

ECHO = error(422, f"no slot for {SECRET}, Bearer {SECRET}", SECRET)
STEPS: dict[str, Action] = {
    "an echo": Reply(422, ECHO.body, {"X-Request-Id": f"request-of-{SECRET}"}),
    "an echo, limited": Reply(429, ECHO.body, {"X-RateLimit-Reset-Default": "99"}),
    "an echo, failed": Reply(500, ECHO.body, {"X-Request-Id": SECRET}),
    "an echo as a success": Reply(200, f'{{"data": "{SECRET}"'.encode()),
    "an echo as a redirect": Reply(307, b"", {"Location": f"http://{SECRET}.invalid/{SECRET}"}),
    "denied": DENIED,
    "dropped": DROP,
    "not HTTP": Raw(SECRET.encode() + b"\r\n\r\n"),
    "a broken header": Raw(b"HTTP/1.1 200 OK\r\n" + SECRET.encode() + b"\r\n\r\n"),
    "broken gzip": Reply(200, SECRET.encode(), {"Content-Encoding": "gzip"}),
    "half a body": Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + SECRET.encode()),
}
KINDS: dict[str, dict[str, Any]] = {
    "api_key": {"api_key": SECRET},
    "token": {"token": SECRET},
    "pair": {"client_id": "platform", "client_secret": SECRET},
}


def everything(raised: BaseException) -> str:
    """Return all that an error can show: its text, its traceback and its fields."""
    shown = ["".join(traceback.TracebackException.from_exception(raised).format())]
    error: BaseException | None = raised
    while error is not None:
        shown += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(shown) + repr(pickle.dumps(raised))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("operation", ["reserve", "get", "slots"])
async def test_no_secret_is_shown(
    operation: str, step: Action, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    calls: dict[str, Callable[[CalComClient], Awaitable[object]]] = {
        "reserve": lambda client: client.reserve(1, START),
        "get": lambda client: client.get(UID),
        "slots": lambda client: client.slots(START, START + minutes(9), event_type_id=1),
    }
    async with remote(step) as server:
        async with CalComClient(server.url, attempts=1, failures=1, **KINDS[kind]) as client:
            with pytest.raises(RemoteError) as caught:
                await calls[operation](client)
            shown = repr(client) + repr(client.statistics()) + everything(caught.value)
        assert any(SECRET in value for value in server.seen[0].headers.values())
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert not any(SECRET in repr(vars(record)) for record in caplog.records)


async def test_no_secret_is_shown_when_unreachable() -> None:
    async with nobody() as url, CalComClient(url, attempts=1, api_key=SECRET) as client:
        with pytest.raises(RemoteError) as caught:
            await client.reserve(1, START)
    assert SECRET not in everything(caught.value)


async def test_neither_the_old_nor_the_new_token_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def refresh() -> str:
        return "another-" + SECRET

    both = error(401, f"neither {SECRET} nor another-{SECRET}")
    async with (
        remote(both, both) as server,
        CalComClient(server.url, token=SECRET, refresh=refresh) as client,
    ):
        with pytest.raises(RemoteDenied) as caught:
            await client.get(UID)
        shown = repr(client) + everything(caught.value)
    assert len(server.seen) == 2
    assert caught.value.message == "neither *** nor ***"
    assert SECRET not in shown + caplog.text


async def test_the_error_of_a_failed_refresh_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def refresh() -> str:
        raise RuntimeError("refresh-token-9")

    async with (
        remote(DENIED) as server,
        CalComClient(server.url, token=SECRET, refresh=refresh) as client,
    ):
        with pytest.raises(RemoteDenied) as caught:
            await client.get(UID)
    assert "refreshing the access token failed: RuntimeError" in caplog.messages
    assert "refresh-token-9" not in caplog.text + everything(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"api_key": SECRET + "\n"},
        {"token": SECRET + " "},
        {"client_id": "a", "client_secret": SECRET + "\u00e4"},
        {"api_key": SECRET, "token": SECRET},
    ],
    ids=str,
)
def test_a_refused_credential_is_not_quoted(arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidField) as caught:
        CalComClient(**arguments)  # type: ignore[arg-type]
    assert SECRET not in everything(caught.value)


def test_a_base_url_with_credentials_is_not_quoted() -> None:
    with pytest.raises(InvalidField) as caught:
        CalComClient(f"https://user:{SECRET}@calendar.example")
    assert SECRET not in everything(caught.value)


def test_credentials_show_only_their_kind() -> None:
    for arguments in KINDS.values():
        assert SECRET not in repr(Credentials(**arguments))
    assert Credentials().redact(SECRET) == SECRET


def test_the_check_for_secrets_can_fail() -> None:
    assert SECRET in everything(SlotError(SECRET))
    hidden = SlotError("nothing")
    hidden.__context__ = aiohttp.ClientError(SECRET)
    hidden.__suppress_context__ = True
    assert SECRET in everything(hidden)


@asynccontextmanager
async def aiohttp_server(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_no_cookie_is_kept() -> None:
    cookies: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        response = web.Response(body=CREATED.encode().partition(b"\r\n\r\n")[2])
        response.set_cookie("uid", "x")
        return response

    # By host name, because no cookies are kept for an IP address anyway.
    async with (
        aiohttp_server(handler) as url,
        CalComClient(url.replace("127.0.0.1", "localhost")) as client,
    ):
        await client.reserve(1, START)
        await client.reserve(1, START)
    assert cookies == [{}, {}]
