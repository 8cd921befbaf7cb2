"""Faults of the remote: which error each becomes, and what may be retried.

The rule under test is that of `slotengine.calcom.client.errors`: only `OutcomeUnknown`
leaves open whether a change was made, and no other error is raised if it may
have been made.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import slotengine.calcom.client.errors
from slotengine import SlotError, minutes
from slotengine.calcom import (
    CalComClient,
    ClientClosed,
    OutcomeUnknown,
    RateLimited,
    RemoteConflict,
    RemoteDenied,
    RemoteDown,
    RemoteError,
    RemoteFailed,
    RemoteNotFound,
    RemoteRefused,
    RemoteUnreachable,
)
from tests.calcom.client.scripted import (
    CREATED,
    DONE,
    DROP,
    START,
    UID,
    Action,
    Hang,
    PassingTime,
    Raw,
    Reply,
    SkippingLoop,
    error,
    nobody,
    remote,
    success,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": SkippingLoop}


Operation = Callable[[CalComClient], Awaitable[object]]

READS: dict[str, Operation] = {
    "slots": lambda client: client.slots(START, START + minutes(60), event_type_id=1),
    "get": lambda client: client.get(UID),
}
CHANGES: dict[str, Operation] = {
    "reserve": lambda client: client.reserve(1, START),
    "update": lambda client: client.update(UID, 1, START),
    "delete": lambda client: client.delete(UID),
}
OPERATIONS = READS | CHANGES
IDEMPOTENT = {"slots", "get", "delete"}

each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def client_of(url: str, time: PassingTime, **options: Any) -> CalComClient:
    return CalComClient(url, clock=time.clock, sleep=time.sleep, **options)


# --- One fault, repeatedly -----------------------------------------------------------------

NO_RESPONSE: dict[str, Action] = {
    "dropped": DROP,
    "500": Reply(500, {"statusCode": 500, "message": "Internal server error"}),
    "503": error(503),
    "a page, with 502": Reply(502, b"<html>Bad Gateway</html>"),
    "not HTTP": Raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "half a head": Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": Raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"status": "succ'),
    "no gzip": Reply(200, b"no", {"Content-Encoding": "gzip"}),
    "a page, with 200": Reply(200, b"<html>Sign in</html>"),
    "an error, with 200": Reply(200, {"status": "error"}),
    "a redirect to the result": Reply(303, b"", {"Location": "/result"}),
}


@each_operation
@pytest.mark.parametrize("step", NO_RESPONSE.values(), ids=NO_RESPONSE)
async def test_no_usable_response(step: Action, operation: str) -> None:
    time = PassingTime()
    tries = 3 if operation in IDEMPOTENT else 1
    async with remote(*[step] * tries) as server, client_of(server.url, time) as client:
        with pytest.raises(OutcomeUnknown if operation in CHANGES else RemoteFailed) as caught:
            await OPERATIONS[operation](client)
        statistics = client.statistics()
    assert caught.value.operation == operation
    if (
        isinstance(step, Reply) and step is not NO_RESPONSE["no gzip"]
    ):  # which is no response, once decompressed
        assert f"{step.status}" in caught.value.problem
        assert caught.value.args[2] == step.status
    assert len(server.seen) == statistics.sent == statistics.failed == tries
    assert statistics.retried == len(time.slept) == tries - 1


REFUSED: dict[int, type[RemoteRefused]] = {
    301: RemoteRefused,
    302: RemoteRefused,
    307: RemoteRefused,
    308: RemoteRefused,
    400: RemoteRefused,
    401: RemoteDenied,
    403: RemoteDenied,
    404: RemoteNotFound,
    409: RemoteConflict,
    418: RemoteRefused,
    422: RemoteConflict,
}


@each_operation
@pytest.mark.parametrize("status", REFUSED)
async def test_a_refusal_is_final(status: int, operation: str) -> None:
    time = PassingTime()
    async with remote(error(status)) as server, client_of(server.url, time) as client:
        with pytest.raises(REFUSED[status]) as caught:
            await OPERATIONS[operation](client)
        assert client.statistics().refused == 1
    refused = caught.value
    assert type(refused) is REFUSED[status]
    assert (refused.operation, refused.status) == (operation, status)
    assert (refused.code, refused.request_id) == ("Code", "request-1")
    assert time.slept == []


@each_operation
async def test_no_server_listens(operation: str) -> None:
    time = PassingTime()
    async with nobody() as url, client_of(url, time) as client:
        with pytest.raises(RemoteUnreachable) as caught:
            await OPERATIONS[operation](client)
        assert client.statistics().unreachable == 3
    assert caught.value.operation == operation
    assert len(time.slept) == 2


@each_operation
async def test_no_such_host(operation: str) -> None:
    async with client_of("http://nobody.invalid", PassingTime()) as client:
        with pytest.raises(RemoteUnreachable):
            await OPERATIONS[operation](client)


@each_operation
async def test_the_connection_ends_before_the_request_is_read(operation: str) -> None:
    """The server has not read it, but the client cannot know."""

    async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client_of(url, PassingTime()) as client:
        with pytest.raises(OutcomeUnknown if operation in CHANGES else RemoteFailed):
            await OPERATIONS[operation](client)


@each_operation
async def test_no_response_in_time(operation: str) -> None:
    hangs = [Hang() for _ in range(3 if operation in IDEMPOTENT else 1)]
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    time = PassingTime()
    async with remote(*hangs) as server, client_of(server.url, time) as client:
        call = asyncio.ensure_future(OPERATIONS[operation](client))
        for hang in hangs:
            await hang.read.wait()
            loop.skip(11)
        unknown = operation in CHANGES
        with pytest.raises(
            OutcomeUnknown if unknown else RemoteFailed, match="no response in time"
        ):
            await call
        await server.quiet()  # a connection with a response outstanding is not reused


async def test_a_request_takes_no_longer_than_its_call_has_left() -> None:
    hang = Hang()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    async with (
        remote(hang) as server,
        client_of(server.url, PassingTime(), attempts=1, timeout_s=3) as client,
    ):
        call = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        loop.skip(4)
        with pytest.raises(RemoteFailed, match="no response in time"):
            await asyncio.wait_for(call, 4)


@each_operation
async def test_a_connection_that_takes_too_long_sent_nothing(operation: str) -> None:
    """All connections are taken, so the second request waits for one until it gives up."""
    hang = Hang()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    time = PassingTime()
    async with (
        remote(hang) as server,
        client_of(server.url, time, connections=1, attempts=1) as client,
    ):
        first = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        second = asyncio.ensure_future(OPERATIONS[operation](client))
        await asyncio.sleep(0)
        loop.skip(6)
        with pytest.raises(RemoteUnreachable, match="timed out"):
            await second
        first.cancel()
        await asyncio.wait({first})


async def test_a_response_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotengine.calcom.client.transport.MAX_RESPONSE_BYTES", 10)
    async with remote(CREATED) as server, CalComClient(server.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.reserve(1, START)


# --- Faults one after another --------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(IDEMPOTENT))
async def test_idempotent_requests_are_retried_until_they_succeed(operation: str) -> None:
    response = {"slots": success({}), "get": success(None), "delete": DONE}[operation]
    time = PassingTime()
    async with remote(DROP, error(500), response) as server, client_of(server.url, time) as client:
        await OPERATIONS[operation](client)
        assert client.statistics().retried == 2


async def test_the_outcome_of_a_delete_stays_unknown_if_the_remote_is_then_unreachable() -> None:
    """The last attempt was certainly not carried out; that says nothing of the first."""
    seen: list[str] = []

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(_: float) -> None:
        server.close()
        await server.wait_closed()

    async with CalComClient(url, sleep=close) as client:
        with pytest.raises(OutcomeUnknown, match="ServerDisconnectedError"):
            await client.delete(UID)
        assert client.statistics().unreachable == 2
    assert len(seen) == 1


@pytest.mark.parametrize("then", [error(404), error(429), error(401)], ids=lambda s: str(s.status))
async def test_the_outcome_of_a_delete_stays_unknown_if_it_is_then_refused(then: Reply) -> None:
    async with (
        remote(DROP, then) as server,
        client_of(server.url, PassingTime(), timeout_s=20) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.delete(UID)


async def test_the_outcome_of_a_delete_stays_unknown_if_the_breaker_then_opens() -> None:
    async with remote(DROP) as server, client_of(server.url, PassingTime(), failures=1) as client:
        with pytest.raises(OutcomeUnknown):
            await client.delete(UID)
        with pytest.raises(RemoteDown):
            await client.delete(UID)


async def test_a_post_is_retried_until_the_remote_is_reachable() -> None:
    """No server at first; one begins to listen on that port while the client waits."""
    async with nobody() as url:
        seen: list[bytes] = []
        servers: list[asyncio.Server] = []

        async def response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head)
            writer.write(CREATED.encode())
            await writer.drain()
            writer.close()

        async def listen(_: float) -> None:
            servers.append(
                await asyncio.start_server(response, "127.0.0.1", int(url.rpartition(":")[2]))
            )

        async with CalComClient(url, sleep=listen) as client:
            assert (await client.reserve(1, START)).uid == UID
    for server in servers:
        server.close()
        await server.wait_closed()
    assert len(seen) == 1


async def test_a_request_on_a_broken_pooled_connection_is_not_silently_repeated() -> None:
    """Otherwise aiohttp would repeat the GET by itself, uncounted."""
    async with remote(success(None), DROP, success(None)) as server:
        time = PassingTime()
        async with client_of(server.url, time) as client:
            await client.get(UID)
            await client.get(UID)
            assert client.statistics().sent == 3
            assert client.statistics().retried == len(time.slept) == 1


async def test_redirects_are_never_followed() -> None:
    """Credentials are sent to nobody else."""
    async with remote() as other:
        there = Reply(302, b"", {"Location": f"{other.url}/path?secret=1"})
        async with remote(there) as server, CalComClient(server.url, api_key="cal_k") as client:
            with pytest.raises(RemoteRefused, match=r"http://127\.0\.0\.1; ") as caught:
                await client.get(UID)
        assert other.connections == 0
    assert "path" not in str(caught.value)


@pytest.mark.parametrize("location", ["/other", "http://[", ""])
async def test_a_redirect_without_a_usable_location(location: str) -> None:
    async with (
        remote(Reply(308, b"", {"Location": location})) as server,
        CalComClient(server.url) as client,
    ):
        with pytest.raises(RemoteRefused, match="redirects are not followed"):
            await client.get(UID)


# --- The errors themselves -----------------------------------------------------------------

ERRORS: list[SlotError] = [
    RemoteError("get"),
    RemoteRefused("get", 400, "Code", "message", None),
    RemoteDenied("get", 401, "Code", "message", "id"),
    RemoteNotFound("get", 404, "", "", "id"),
    RemoteConflict("get", 422, "Code", "", "id"),
    RateLimited("get", 429, "Code", "message", "id", 12.0),
    RemoteFailed("get", "status 500", 500, "id", "Code", "message"),
    OutcomeUnknown("delete", "no answer", None, None),
    RemoteUnreachable("get", "no connection"),
    RemoteDown("get", 30.0),
    ClientClosed(),
]


def test_every_error_is_covered() -> None:
    names = vars(slotengine.calcom.client.errors).values()
    classes = {one for one in names if isinstance(one, type) and issubclass(one, SlotError)}
    public = {one for one in classes - {SlotError} if not one.__name__.startswith("_")}
    assert {type(one) for one in ERRORS} == public


@pytest.mark.parametrize("original", ERRORS, ids=lambda one: type(one).__name__)
def test_errors_pickle(original: SlotError) -> None:
    for level in range(pickle.HIGHEST_PROTOCOL + 1):
        arrived = pickle.loads(pickle.dumps(original, level))
        assert type(arrived) is type(original)
        assert arrived.args == original.args
        assert vars(arrived) == vars(original)
        assert str(arrived) == str(original)


def test_only_one_error_says_that_the_change_may_have_happened() -> None:
    remote_errors = [one for one in ERRORS if isinstance(one, RemoteError)]
    assert [type(one) for one in remote_errors if one.may_have_happened] == [OutcomeUnknown]
    assert OutcomeUnknown.__mro__[2] is RemoteError  # and catching another one never catches it


async def test_the_message_of_the_remote_is_kept() -> None:
    constraints = {"isInt": "eventTypeId must be an integer number", "x": 1}
    details = {"errors": [{"constraints": constraints}, {"constraints": 1}, 1]}
    body = {"error": {"code": "Bad", "message": "Bad Request Exception", "details": details}}
    async with (
        remote(Reply(400, body), Reply(400, {"message": ["no"], "error": "Bad"})) as server,
        CalComClient(server.url) as client,
    ):
        with pytest.raises(RemoteRefused) as caught:
            await client.reserve(1, START)
        with pytest.raises(RemoteRefused) as odd:
            await client.reserve(1, START)
    assert str(caught.value) == (
        "reserve: 400 Bad: Bad Request Exception; eventTypeId must be an integer number"
    )
    assert (odd.value.code, odd.value.message) == ("", "Bad")
    assert str(RemoteRefused("get", 400, "", "", None)) == "get: 400 without a message"


async def test_the_message_is_kept_when_the_outcome_is_unknown() -> None:
    response = error(500, "There was an error", "INTERNAL_SERVER_ERROR")
    async with remote(response, response) as server, CalComClient(server.url, attempts=1) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.reserve(1, START)
        with pytest.raises(RemoteFailed) as failed:
            await client.get(UID)
    for caught in (unknown.value, failed.value):
        facts = caught.status, caught.code, caught.message, caught.request_id
        assert facts == (500, "INTERNAL_SERVER_ERROR", "There was an error", "request-1")
    assert str(failed.value) == ("get: status 500 (INTERNAL_SERVER_ERROR: There was an error)")
    assert str(unknown.value) == (
        "reserve: status 500 (INTERNAL_SERVER_ERROR: There was an error); "
        "the change may have been made"
    )


def test_without_a_response_there_is_no_status() -> None:
    silent = [RemoteError("get"), RemoteUnreachable("get", "no connection"), RemoteDown("get", 30)]
    for one in silent:
        assert (one.status, one.code, one.message, one.request_id) == (None, "", "", None)


async def test_long_texts_are_cut_and_invalid_bytes_replaced() -> None:
    response = error(400, "x" * 5000)
    raw = response.encode().replace(b"request-1", b"r\xff1")
    async with remote(Raw(raw)) as server, CalComClient(server.url) as client:
        with pytest.raises(RemoteRefused) as caught:
            await client.get(UID)
    assert len(caught.value.message) == 1000
    assert caught.value.request_id is not None
    assert caught.value.request_id.encode().startswith(b"r")
