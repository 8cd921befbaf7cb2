"""Connections as hostile or careless clients use them; each is answered, and none costs others."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from slotengine.calcom import connection, server
from slotengine.calcom.catalog_file import catalog_from
from slotengine.calcom.server import ENGINE, create_app
from slotengine.testing import SimClock
from tests.calcom.api import NOW, PATH, RAW_CATALOG
from tests.calcom.idlers import PATIENCE_S

IDLE = int(os.environ.get("IDLE_CONNECTIONS", "1000"))

HEADERS = "Host: x\r\ncal-api-version: 2024-09-04\r\n"
UID = "00000000-0000-4000-8000-000000000000"


def request(method: str, path: str, body: str = "", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\n{HEADERS}{lines}{length}\r\n{body}".encode()


HOLD = request("POST", PATH, '{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}')
READ = request("GET", f"{PATH}/{UID}")
SLOWLY = request(
    "POST", PATH, '{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}', "Expect: 100-continue"
)
CHUNKED = request("POST", PATH, "", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
OLD = READ.replace(b"HTTP/1.1", b"HTTP/1.0")
SEARCH = request("GET", "/v2/slots?eventTypeId=1&start=2050-09-05&end=2050-11-05&format=range")


class Served:
    """A server as `serve` runs it, and plain connections to it."""

    def __init__(self, app: web.Application, port: int) -> None:
        self.engine = app[ENGINE]
        self.port = port

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def half_closed(self, *pieces: bytes) -> bytes:
        """Send some pieces, say that no more will come, and return all that comes back."""
        async with self.connection() as (reader, writer), asyncio.timeout(30):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            return await reader.read()


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    app = create_app(catalog_from(RAW_CATALOG), clock=SimClock(NOW))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = await server._listen(runner, "127.0.0.1", 0)
    try:
        yield Served(app, listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await runner.cleanup()
        for _ in range(5):  # until what was cut off is closed on this side, too
            await asyncio.sleep(0)


pytestmark = pytest.mark.anyio


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)]


ENDED: dict[str, tuple[bytes, list[int]]] = {
    "nothing": (b"", []),
    "half a head": (HOLD[:40], []),
    "a hold": (HOLD, [201]),
    "a read": (READ, [200]),
    "of HTTP/1.0": (OLD, [200]),
    "chunked": (CHUNKED, [400]),
    "two": (HOLD + READ, [201, 200]),
    "many": (HOLD + READ * 50 + HOLD, [201, *[200] * 50, 422]),
    "a body that waits": (SLOWLY, [100, 201]),
    "half a body": (HOLD[:-3], [400]),
    "one, and half a body": (READ + HOLD[:-3], [200, 400]),
    "one, and half a head": (READ + READ + HOLD[:40], [200, 200]),
    "no HTTP": (b"nonsense\r\n\r\n", [400]),
}


@pytest.mark.parametrize(("sent", "expected"), ENDED.values(), ids=list(ENDED))
async def test_a_client_that_sends_no_more_is_answered(
    sent: bytes, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with served() as it:
        assert statuses(await it.half_closed(sent)) == expected
        held = it.engine.statistics().held
        assert held == expected.count(201)
    assert not caplog.records


@settings(max_examples=15, deadline=None)
@given(
    stream=st.lists(st.sampled_from([HOLD, READ, CHUNKED, SLOWLY, SEARCH]), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 1500), max_size=4),
)
def test_however_it_is_cut_up_all_is_answered_before_the_end(
    stream: list[bytes], cuts: list[int]
) -> None:
    async def main() -> None:
        async with served() as it:
            sent = b"".join(stream)
            edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
            pieces = [sent[start:end] for start, end in pairwise(edges)]
            answer = await it.half_closed(*pieces)
            found = [status for status in statuses(answer) if status != 100]
            assert len(found) == len(stream)
            assert it.engine.statistics().held == (201 in found)

    asyncio.run(main())


async def test_a_body_that_nobody_wants_and_nobody_can_read_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    release = request("DELETE", f"{PATH}/{UID}", "no gzip", "Content-Encoding: gzip")
    async with served() as it:
        for pieces in ([release], [release[:-4], release[-4:]]):
            assert statuses(await it.half_closed(*pieces)) == [200]
    assert not caplog.records


async def talk_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(NONSENSE)
        await writer.drain()


NONSENSE = b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000


async def test_who_goes_on_with_nonsense_is_told_so() -> None:
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        writer.write(NONSENSE)
        for _ in range(3):  # were it closed by now, this would cut it, and lose the answer
            assert statuses(await it.half_closed(READ)) == [200]
            writer.write(NONSENSE)
            await writer.drain()
        assert statuses(await reader.read()) == [400]


async def test_nonsense_is_not_listened_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0)
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        writer.write(NONSENSE)
        assert statuses(await reader.read()) == [400]
        with pytest.raises(ConnectionError):
            await talk_on(writer)


async def test_byte_by_byte() -> None:
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        for sent in (READ, HOLD):
            for at in range(len(sent)):
                writer.write(sent[at : at + 1])
                await asyncio.sleep(0)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 20")
            await reader.readuntil(b"}")


async def test_idle_connections_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # They are idle for as long as it takes to connect the others, which may be too long.
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", PATIENCE_S)
    async with served() as it, asyncio.timeout(PATIENCE_S), idlers(it.port) as (tell, told):
        assert await told() == f"{IDLE} connected"
        assert statuses(await it.half_closed(HOLD)) == [201]
        for request in (READ, READ.replace(b"GET", b"HEAD")):  # the one is answered at once
            tell(request.hex())
        assert await told() == f"{IDLE} answered"


@asynccontextmanager
async def idlers(
    port: int,
) -> AsyncIterator[tuple[Callable[[str], None], Callable[[], Awaitable[str]]]]:
    """Run `tests.calcom.idlers`, and yield what tells it a line, and what it tells."""
    command = (sys.executable, "-m", "tests.calcom.idlers", str(port), str(IDLE))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def told() -> str:
        return (await stdout.readline()).decode().strip()

    try:
        yield lambda line: stdin.write(f"{line}\n".encode()), told
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_who_does_not_read_is_not_read_either() -> None:
    """Answers wait in the server only until there are too many; then requests wait outside."""
    async with served() as it:
        with socket.create_connection(("127.0.0.1", it.port)) as client:
            client.setblocking(False)
            sent = turns_without_any = 0
            while turns_without_any < 100:
                try:
                    sent += client.send(SEARCH * 100)
                    turns_without_any = 0
                    assert sent < 100_000_000
                except BlockingIOError:
                    turns_without_any += 1
                # The server has its turn; others are answered all the while.
                assert statuses(await it.half_closed(READ)) == [200]


async def test_heads_are_not_kept_without_end() -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(100))
    chunks = b"".join(b"3e8\r\n%b\r\n" % (b" " * 1000) for _ in range(80))
    chunked = CHUNKED.replace(b"2\r\n{}\r\n", chunks + b"2\r\n{}\r\n")
    async with served() as it:
        for first in (b"", READ, CHUNKED, chunked, READ * 300, READ.replace(b"\r\n\r\n", b"")):
            async with it.connection() as (reader, writer), asyncio.timeout(30):
                writer.write(first)
                for _ in range(first.count(b"HTTP/1.1\r\n") * first.endswith(b"\r\n")):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert statuses(head)[0] in (200, 400)
                    length = re.search(rb"Content-Length: (\d+)", head)
                    assert length is not None
                    await reader.readexactly(int(length[1]))
                writer.write(READ[:-2] if first.endswith(b"\r\n") or not first else b"\r\n")
                writer.write(fields)
                assert statuses(await reader.read()) == [400]


async def test_a_large_head_is_read() -> None:
    large = READ[:-2] + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1000) for n in range(30)) + b"\r\n"
    async with served() as it:
        pieces = [large[start : start + 500] for start in range(0, len(large), 500)]
        assert statuses(await it.half_closed(*pieces)) == [200]
        assert statuses(await it.half_closed(large * 5)) == [200] * 5


async def ask_on(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(client, SEARCH * 100)


async def test_answers_that_nobody_reads_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0)
    async with served() as it, asyncio.timeout(60):
        with socket.create_connection(("127.0.0.1", it.port)) as client:
            client.setblocking(False)
            with pytest.raises(ConnectionError):
                await ask_on(client)


@pytest.mark.parametrize("path", ["/v2/nothing", f"{PATH}/{UID}"])
async def test_half_a_body_that_nobody_wants_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sent = request("DELETE", path, "nobody wants this")[:-5]
    async with served() as it:
        for pieces in ([sent], [sent[:-4], sent[-4:]]):
            assert statuses(await it.half_closed(*pieces)) in ([200], [404])
        async with it.connection() as (reader, writer):
            writer.write(sent)
            assert statuses(await reader.readline()) in ([200], [404])
        assert statuses(await it.half_closed(READ)) == [200]
    assert not caplog.records


UPGRADES = ["h2c", "TLS/1.0", "websocket", "x"]


@pytest.mark.parametrize("protocol", UPGRADES)
async def test_a_body_is_not_read_as_a_request_after_an_offer_to_upgrade(protocol: str) -> None:
    """The parser drops what has come together with it, and would begin in the middle of that."""
    offer = request("GET", f"{PATH}/{UID}", "", f"Upgrade: {protocol}", "Connection: Upgrade")
    other = request("POST", "/v2/nothing", HOLD.decode())
    cut = len(other) - len(HOLD)
    async with served() as it:
        async with it.connection() as (reader, writer), asyncio.timeout(30):
            writer.write(offer + other[:cut])
            assert statuses(await reader.readline()) == [200]
            with suppress(ConnectionError):
                writer.write(other[cut:])
                await reader.read()
        assert it.engine.statistics().held == 0


@pytest.mark.parametrize("protocol", UPGRADES)
async def test_who_offers_to_upgrade_may_go_on(protocol: str) -> None:
    """As long as the offer comes alone; some clients make it with each request."""
    lines = f"Upgrade: {protocol}", "Connection: Upgrade"
    hold = request("POST", PATH, '{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}', *lines)
    read = request("GET", f"{PATH}/{UID}", "", *lines)
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        for sent, status in ((hold, 201), (read, 200), (hold, 422), (READ, 200)):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            assert statuses(head) == [status]
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))


async def test_of_an_offer_to_upgrade_and_more_all_is_answered_before_the_end() -> None:
    offer = request("GET", f"{PATH}/{UID}", "", "Upgrade: websocket", "Connection: Upgrade")
    async with served() as it:
        found = statuses(await it.half_closed(offer, READ))
        assert found in ([200], [200, 200])  # if it has come in one piece, the offer is the last


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0", "1.2"])
async def test_other_versions_are_not_http(version: str) -> None:
    async with served() as it:
        for path in (f"{PATH}/{UID}", "/openapi.json", "/"):
            sent = request("GET", path).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
            assert statuses(await it.half_closed(sent)) == [400]


async def test_what_is_packed_is_not_unpacked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of it may be a lot of work: who sends it for nothing is not listened to."""
    monkeypatch.setattr(connection, "LINGER_S", 0)
    body = gzip.compress(bytes(10_000_000))
    for method, path, status in (
        ("DELETE", f"{PATH}/{UID}", 200),
        ("GET", "/docs", 200),
        ("POST", "/v2/nothing", 404),
        ("POST", PATH, 413),
    ):
        lines = "Content-Encoding: gzip", f"Content-Length: {100 * len(body)}"
        sent = request(method, path, "", *lines) + body[:-100]
        async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
            writer.write(sent)
            answer = await reader.read()
            assert statuses(answer) == [status]
            assert b"\r\nConnection: close\r\n" in answer


async def test_who_goes_away_before_it_is_asked_for_its_body_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    head = SLOWLY.split(b"{")[0]
    async with served() as it:
        for _ in range(20):
            async with it.connection() as (_, writer):
                writer.write(head)
                writer.transport.abort()
        assert statuses(await it.half_closed(READ)) == [200]
    assert not caplog.records
