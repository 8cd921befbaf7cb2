"""Connections as hostile or careless clients use them; each is answered, and none costs others."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from slotengine.calcom.catalog.load import catalog_from
from slotengine.calcom.server import ENGINE, create_app, service
from slotengine.calcom.server import app as server
from slotengine.calcom.server.messages import Response
from slotengine.testing import SimClock
from tests.calcom.server.api import NOW, PATH, RAW_CATALOG
from tests.calcom.server.idlers import PATIENCE_S

IDLE = int(os.environ.get("IDLE_CONNECTIONS", "1000"))

HEADERS = "Host: x\r\ncal-api-version: 2024-09-04\r\n"
UID = "00000000-0000-4000-8000-000000000000"


def request(method: str, path: str, body: str = "", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\n{HEADERS}{lines}{length}\r\n{body}".encode()


BODY = '{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
HOLD = request("POST", PATH, BODY)
READ = request("GET", f"{PATH}/{UID}")
SLOWLY = request("POST", PATH, BODY, "Expect: 100-continue")
CHUNKED = request("POST", PATH, "", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
OLD = READ.replace(b"HTTP/1.1", b"HTTP/1.0")
SEARCH = request("GET", "/v2/slots?eventTypeId=1&start=2050-09-05&end=2050-11-05&format=range")


class Served:
    """A server as `serve` runs it, and plain connections to it."""

    def __init__(self, app: web.Application, port: int) -> None:
        self.engine = app[ENGINE]
        self.shutdown = app[server.ADAPTER].shutdown
        self.port = port

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def answers(self, *pieces: bytes, number: int = 1) -> list[int]:
        """Send some pieces, and return the statuses of as many answers as are expected.

        And of no more: what comes after them is waited for until another
        connection has been answered, twice.
        """
        async with self.connection() as (reader, writer), asyncio.timeout(30):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            found = [await self.answer(reader) for _ in range(number)]
            for _ in range(2):
                async with self.connection() as (others, other):
                    other.write(READ)
                    assert await self.answer(others) == 200
            more = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0)
            if more.done():
                assert more.result() == b""
            more.cancel()
            return found

    @staticmethod
    async def answer(reader: asyncio.StreamReader) -> int:
        """Return the status of the next answer, read whole."""
        head = await reader.readuntil(b"\r\n\r\n")
        status = statuses(head)[0]
        length = re.search(rb"Content-Length: (\d+)", head)
        if status != 100 and length is not None:
            await reader.readexactly(int(length[1]))
        return status

    async def closed(self, *pieces: bytes) -> bytes:
        """Send some pieces, and return all that comes until the server closes."""
        async with self.connection() as (reader, writer), asyncio.timeout(30):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    app = create_app(catalog_from(RAW_CATALOG), clock=SimClock(NOW))
    runner = web.AppRunner(app)
    await runner.setup()
    app[server.ADAPTER].writes_directly = True
    try:
        async with server.listening(app[server.ADAPTER], "127.0.0.1", 0) as listener:
            yield Served(app, listener.sockets[0].getsockname()[1])
        for _ in range(5):  # until what was cut off is closed on this side, too
            await asyncio.sleep(0)
    finally:
        await runner.cleanup()


pytestmark = pytest.mark.anyio


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)]


def body_of(size: int, start: str = "2050-09-05T10:00") -> str:
    body = f'{{"eventTypeId":1,"slotStart":"{start}","x":"'
    return body + "x" * (size - len(body) - 2) + '"}'


def chunked(body: str, size: int = 1000) -> bytes:
    sent = body.encode()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return request("POST", PATH, "", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


LARGE = request("POST", PATH, body_of(40_000))
LARGER = request("POST", PATH, body_of(100_000))
NOWHERE = request("POST", "/v2/nothing", body_of(100_000))
ENORMOUS = request("POST", PATH, body_of(400_000))

EXCHANGES: dict[str, tuple[tuple[bytes, ...], list[int]]] = {
    "40,000 bytes, in two writes": ((LARGE[:20_000], LARGE[20_000:]), [201]),
    "40,000 bytes, the last 35,000 in one": ((LARGE[:5_000], LARGE[5_000:] + READ), [201, 200]),
    "100,000 bytes, in one write": ((LARGER,), [201]),
    "100,000 bytes, and another request": ((LARGER + READ,), [201, 200]),
    "the same again": ((LARGER, LARGER, READ), [201, 422, 200]),
    "in chunks": ((chunked(body_of(100_000)) + READ,), [201, 200]),
    "in large chunks": ((chunked(body_of(100_000), 50_000), READ), [201, 200]),
    "refused, in one write": ((NOWHERE,), [404]),
    "refused, and another request": ((NOWHERE + READ,), [404, 200]),
    "refused, in pieces": (
        (NOWHERE[:500], NOWHERE[500:50_000], NOWHERE[50_000:], READ),
        [404, 200],
    ),
    "two in one": ((HOLD + READ,), [201, 200]),
    "many in one": ((HOLD + READ * 50 + HOLD,), [201, *[200] * 50, 422]),
    "of HTTP/1.0": ((OLD,), [200]),
    "no HTTP": ((b"nonsense\r\n\r\n",), [400]),
}


@pytest.mark.parametrize(("sent", "expected"), EXCHANGES.values(), ids=list(EXCHANGES))
async def test_each_request_has_one_answer(
    sent: tuple[bytes, ...], expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with served() as it:
        assert await it.answers(*sent, number=len(expected)) == expected
        assert it.engine.statistics().held == expected.count(201)
    assert not caplog.records


@pytest.mark.parametrize(
    "sent",
    [
        ENORMOUS,
        chunked(body_of(400_000)),
        ENORMOUS.replace(b"cal-api", b"Content-Encoding: gzip\r\ncal-api"),
        ENORMOUS.replace(b"cal-api", b"Expect: 100-continue\r\ncal-api"),
    ],
)
async def test_a_body_that_is_too_large_is_refused_once_and_then_the_connection_ends(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has sent all of it before it reads: it is not cut off before its answer."""
    caplog.set_level(logging.WARNING)
    async with served() as it:
        answer = await it.closed(sent, HOLD)
        assert statuses(answer) == [413]
        assert b"\r\nConnection: close\r\n" in answer
        assert it.engine.statistics().held == 0
    assert not caplog.records


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    head, body = SLOWLY[: -len(BODY)], SLOWLY[-len(BODY) :]
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        for status in (201, 422):
            writer.write(head)
            assert await it.answer(reader) == 100
            writer.write(body)
            assert await it.answer(reader) == status


async def test_what_was_not_asked_for_is_not_taken_for_a_request() -> None:
    """A client that waits to be asked for its body, and is refused, may send it or not."""
    head = request("POST", "/v2/nothing", HOLD.decode(), "Expect: 100-continue")[: -len(HOLD)]
    async with served() as it:
        for rest in (b"", HOLD):
            async with it.connection() as (reader, writer), asyncio.timeout(30):
                writer.write(head)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert statuses(answer) == [404]
                assert b"\r\nConnection: close\r\n" in answer
                writer.write(rest)
                writer.write_eof()
                assert b"HTTP/1.1" not in await reader.read()
        assert it.engine.statistics().held == 0


@settings(max_examples=15, deadline=None)
@given(
    stream=st.lists(st.sampled_from([HOLD, READ, CHUNKED, SEARCH, LARGE]), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 1500), max_size=4),
)
def test_however_it_is_cut_up_all_is_answered(stream: list[bytes], cuts: list[int]) -> None:
    async def main() -> None:
        async with served() as it:
            sent = b"".join(stream)
            edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
            pieces = [sent[start:end] for start, end in pairwise(edges)]
            found = await it.answers(*pieces, number=len(stream))
            assert it.engine.statistics().held == (201 in found)

    asyncio.run(main())


async def test_a_body_that_nobody_wants_and_nobody_can_read_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    release = request("DELETE", f"{PATH}/{UID}", "no gzip", "Content-Encoding: gzip")
    async with served() as it:
        for pieces in ([release], [release[:-4], release[-4:]]):
            assert await it.answers(*pieces) == [200]
    assert not caplog.records


NONSENSE = b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000


async def test_nonsense_is_refused_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="slotengine")
    async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
        writer.write(NONSENSE)
        with suppress(ConnectionError):  # it has not read all that was sent
            assert statuses(await reader.read()) == [400]
    assert {record.levelname for record in caplog.records} <= {"DEBUG"}
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.parametrize("end", [b"\0", b"\x01x", b"\rx", b"x" * 9000])
async def test_a_key_is_not_logged_where_it_cannot_be_read(
    caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cal_owner" + end + b"\r\n\r\n"
    async with served() as it:
        assert statuses(await it.closed(sent)) == [400]
    assert "cannot be read" in caplog.text
    assert "cal_owner" not in caplog.text


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
async def test_a_head_that_never_comes(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.SERVE_OPTIONS, "keepalive_timeout", 0.05)
    async with served() as it:
        assert await it.closed(sent) == b""


async def test_resets_are_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whenever they come: before a request, within one, and before or while it is answered."""
    caplog.set_level(logging.INFO)
    half = LARGE[: len(LARGE) // 2]
    async with served() as it:
        for sent in (b"", HOLD[:30], half, LARGE, HOLD, SEARCH * 30, NOWHERE[:5000], CHUNKED[:-5]):
            for _ in range(10):
                async with it.connection() as (_, writer):
                    linger = struct.pack("ii", 1, 0)
                    found = writer.get_extra_info("socket")
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.write(sent)
                    await asyncio.sleep(0)
            assert await it.answers(READ) == [200]
    assert not caplog.records


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
    monkeypatch.setitem(server.SERVE_OPTIONS, "keepalive_timeout", PATIENCE_S)
    async with served() as it, asyncio.timeout(PATIENCE_S), idlers(it.port) as (tell, told):
        assert await told() == f"{IDLE} connected"
        assert await it.answers(HOLD) == [201]
        for request in (READ, READ.replace(b"GET", b"HEAD")):
            tell(request.hex())
        assert await told() == f"{IDLE} answered"


@asynccontextmanager
async def idlers(
    port: int,
) -> AsyncIterator[tuple[Callable[[str], None], Callable[[], Awaitable[str]]]]:
    """Run `tests.calcom.server.idlers`, and yield what tells it a line, and what it tells."""
    command = (sys.executable, "-m", "tests.calcom.server.idlers", str(port), str(IDLE))
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
                assert await it.answers(READ) == [200]


async def test_heads_are_not_kept_without_end() -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(100))
    async with served() as it:
        for first in (READ[:-2], READ + READ[:-2], CHUNKED + READ[:-2]):
            try:
                answer = await it.closed(first + fields)
            except ConnectionResetError:  # closed while more of the head was still to be read
                continue
            assert statuses(answer)[-1] == 400
        assert await it.answers(READ) == [200]


async def test_a_large_head_is_read() -> None:
    large = READ[:-2] + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1000) for n in range(30)) + b"\r\n"
    async with served() as it:
        pieces = [large[start : start + 500] for start in range(0, len(large), 500)]
        assert await it.answers(*pieces) == [200]
        assert await it.answers(large * 5, number=5) == [200] * 5


async def test_an_answer_that_nobody_reads_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(server, "WRITE_TIMEOUT_S", 0.05)
    large = SEARCH.replace(b"2050-11-05", b"2055-11-05")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with served() as it, asyncio.timeout(60):
            client.connect(("127.0.0.1", it.port))
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(large)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            for _ in range(1000):
                if not it.shutdown.in_flight:
                    break
                await asyncio.sleep(0.01)
            with suppress(ConnectionResetError):
                assert len(await reader.read()) < int(length[1])
            assert await it.answers(READ) == [200]
            writer.close()
    assert not caplog.records


async def test_a_client_that_does_not_read_small_responses_delays_no_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handled = 0
    handle = service.Service.handle

    def counting(
        self: service.Service, admitted: service.Admitted, body: bytes
    ) -> Awaitable[Response]:
        nonlocal handled
        handled += 1
        return handle(self, admitted, body)

    monkeypatch.setattr(service.Service, "handle", counting)
    requests = 4000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with served() as it, asyncio.timeout(60):
            client.connect(("127.0.0.1", it.port))
            _, writer = await asyncio.open_connection(sock=client)
            writer.write(SEARCH.replace(b"2050-11-05", b"2050-09-16") * requests)
            before, polls = 0, 0
            while polls < 100:  # until nothing more is handled: the server waits for the client
                polls = polls + 1 if handled == before > 0 else 0
                before = handled
                await asyncio.sleep(0.01)
            assert 0 < handled < requests
            assert it.shutdown.in_flight == 0
            writer.close()


@pytest.mark.parametrize("path", ["/v2/nothing", f"{PATH}/{UID}"])
async def test_half_a_body_that_nobody_wants_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sent = request("DELETE", path, "nobody wants this")[:-5]
    async with served() as it:
        for pieces in ([sent], [sent[:-4], sent[-4:]]):
            async with it.connection() as (reader, writer):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                assert await it.answer(reader) in (200, 404)
        async with it.connection() as (reader, writer):
            writer.write(sent)
            assert statuses(await reader.readline()) in ([200], [404])
        assert await it.answers(READ) == [200]
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
async def test_who_offers_to_upgrade_is_answered_and_the_connection_ends(protocol: str) -> None:
    lines = f"Upgrade: {protocol}", "Connection: Upgrade"
    hold = request("POST", PATH, BODY, *lines)
    async with served() as it:
        for pieces, status in ((hold,), 201), ((hold[:90], hold[90:]), 422), ((hold, READ), 422):
            answer = await it.closed(*pieces)
            assert statuses(answer) == [status]
            assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0", "1.2"])
async def test_other_versions_are_not_http(version: str) -> None:
    async with served() as it:
        for path in (f"{PATH}/{UID}", "/openapi.json", "/"):
            sent = request("GET", path).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
            assert re.match(rb"HTTP/\d\.\d 400 ", await it.closed(sent))


@pytest.mark.parametrize("auto_decompress", [True, False])
async def test_what_is_packed_is_not_unpacked_for_nothing(
    monkeypatch: pytest.MonkeyPatch, auto_decompress: bool
) -> None:
    """A few bytes of it may be a lot of work."""
    monkeypatch.setitem(server.SERVE_OPTIONS, "auto_decompress", auto_decompress)
    unpacked = []
    monkeypatch.setattr(service, "decompressed", lambda *sent: unpacked.append(sent))
    body = gzip.compress(bytes(10_000_000))
    for method, path, status in (
        ("DELETE", f"{PATH}/{UID}", 200),
        ("GET", "/docs", 200),
        ("POST", "/v2/nothing", 404),
        ("POST", PATH, 413),
    ):
        length = 100 * len(body) if status == 413 else len(body)
        lines = "Content-Encoding: gzip", f"Content-Length: {length}"
        sent = request(method, path, "", *lines) + body
        async with served() as it, it.connection() as (reader, writer), asyncio.timeout(30):
            writer.write(sent)
            assert await it.answer(reader) == status
    assert unpacked == []


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
        assert await it.answers(READ) == [200]
    assert not caplog.records
