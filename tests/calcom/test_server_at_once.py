"""What is answered at once is answered like everything else, however it arrives.

Connections are driven by hand here, piece by piece, over a transport that keeps
what is written; `test_server*` goes over sockets, with and without it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count, pairwise
from typing import Any, Final, NamedTuple

import pytest
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slotengine import SlotEngine
from slotengine.calcom import callers, connection, server
from slotengine.calcom.answers import TRAFFIC
from slotengine.calcom.catalog_file import catalog_from
from slotengine.calcom.connection import (
    HEADS_KNOWN,
    IDLE_TIMEOUT_S,
    LEAST_TAKEN,
    LONGEST_AT_ONCE,
    LONGEST_KNOWN,
    Connection,
    Outbox,
    Understood,
)
from slotengine.calcom.secrets import digest_of
from slotengine.calcom.server import WHOLE, create_app
from slotengine.calcom.traffic import Traffic
from slotengine.testing import SimClock
from tests.calcom.api import NOW, PATH, RAW_CATALOG, SEARCH

UIDS: Final = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(100))
"""What the engine of these tests calls its reservations, in their order."""


def request(
    method: str, target: str, body: bytes | None = None, *, version: str = "1.1", **headers: str
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "cal-api-version: 2024-09-04"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def holding(start: str, event_type: int = 1) -> bytes:
    return b'{"eventTypeId":%d,"slotStart":"%s"}' % (event_type, start.encode())


POST: Final = request("POST", PATH, holding("2050-09-05T10:00:00Z"))

USUAL: Final = {
    "hold": POST,
    "hold another": request("POST", PATH, holding("2050-09-05T11:00:00Z")),
    "hold with milliseconds": request("POST", PATH, holding("2050-09-05T12:00:00.500Z")),
    "hold with empty lines": request("POST", PATH, b"{\r\n\r\n" + holding("2050-09-07T10:00")[1:]),
    "of nothing": request("POST", PATH, holding("2050-09-05T12:00:00Z", 77)),
    "nonsense": request("POST", PATH, b"{"),
    "an empty body": request("POST", PATH, b""),
    "no body": request("POST", PATH),
    "with a key": request("POST", PATH, holding("2050-09-07T12:00Z"), Authorization="Bearer x"),
    "with a wrong key": request("POST", PATH, b"{}", Authorization="Bearer cal_wrong"),
    "read": request("GET", f"{PATH}/{UIDS[0]}"),
    "read, wrong key": request("GET", f"{PATH}/{UIDS[0]}", Authorization="Bearer cal_wrong"),
    "read nothing": request("GET", f"{PATH}/{UIDS[99]}"),
    "move": request("PATCH", f"{PATH}/{UIDS[0]}", holding("2050-09-05T14:00:00Z")),
    "move nothing": request("PATCH", f"{PATH}/{UIDS[99]}", holding("2050-09-05T14:00:00Z")),
    "release": request("DELETE", f"{PATH}/{UIDS[1]}"),
    "search": request("GET", f"{SEARCH}?eventTypeId=4&start=2050-09-05&end=2050-09-05"),
    "search in vain": request("GET", f"{SEARCH}?eventTypeId=77&start=2050-09-05&end=2050-09-05"),
    "search for nothing": request("GET", f"{SEARCH}?%FF=%ZZ&a[]=1"),
}

LINES: Final = USUAL["hold with empty lines"]

CHUNKED: Final = b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"

UNUSUAL: Final = {
    "by an alias": POST.replace(b" /v2/", b" /api/v2/", 1),
    "of another version": POST.replace(b"2024-09-04", b"2024-08-13", 1),
    "with a query": POST.replace(b"reservations ", b"reservations? ", 1),
    "in chunks": request("POST", PATH, Transfer_Encoding="chunked") + CHUNKED,
    "not compressed": request("POST", PATH, b"{}", Content_Encoding="identity"),
    "in no known way": request("POST", PATH, b"{}", Content_Encoding="snappy"),
    "of another type": request("POST", PATH, Content_Type="text/plain"),
    "of a long type": request("POST", PATH, Content_Type="application/json; charset=utf-8"),
    "put": request("PUT", PATH, b"{}"),
    "put one": request("PUT", f"{PATH}/{UIDS[0]}", b"{}"),
    "head": request("HEAD", f"{PATH}/{UIDS[0]}"),
    "options": request("OPTIONS", PATH),
    "a strange uid": request("GET", f"{PATH}/strange"),
    "a uid with a slash": request("GET", f"{PATH}/{UIDS[0]}/"),
    "search by nothing": request("GET", SEARCH),
    "search elsewhere": request("POST", f"{SEARCH}?a=b"),
    "elsewhere": request("GET", "/v2/elsewhere"),
    "elsewhere, wrong key": request("GET", "/v2/elsewhere", Authorization="Bearer cal_wrong"),
    "options, wrong key": request("OPTIONS", PATH, Authorization="Bearer cal_wrong"),
    "put one, wrong key": request("PUT", f"{PATH}/{UIDS[0]}", Authorization="Bearer cal_wrong"),
    "with much in it": request("POST", PATH, b" " * LONGEST_AT_ONCE + b"{}"),
    "after empty lines": b"\r\n\r\n" + POST,
}

LAST: Final = {
    "asked for first": request("POST", PATH, b"{}", Expect="100-continue"),
    "the last one": request("POST", PATH, b"{}", Connection="close"),
    "of an old kind": request("POST", PATH, b"{}", version="1.0"),
    "no HTTP": b"nonsense\r\n\r\n",
}
"""After these the connection is closed, or, with Expect, pieces would matter."""


class Kept(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.unsent = self.taken = 0  # bytes in all, and since somebody asked how many

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.closed = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        self.unsent -= self.taken
        return self.unsent

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False  # like one with TLS

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


class Driven(NamedTuple):
    """A connection that is driven by hand."""

    connection: Connection
    transport: Kept
    traffic: Traffic
    at_once: list[bool]
    """Of each request that could be answered at once, whether it was."""

    async def settle(self) -> None:
        """Let everything happen that needs no more data."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> bytes:
        """Send data, and return what is written for it."""
        self.transport.written = b""
        self.connection.data_received(data)
        await self.settle()
        return self.transport.written


@asynccontextmanager
async def driven(*, at_once: bool = True) -> AsyncIterator[Driven]:
    uids = map(UIDS.__getitem__, count())
    asked: list[bool] = []
    async with SlotEngine(clock=SimClock(NOW), new_uid=lambda: next(uids)) as engine:
        # Bookings of its own would take the first uids.
        app = create_app(catalog_from(RAW_CATALOG | {"bookings": []}), engine=engine)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None

        def understand(message: RawRequestMessage, address: str) -> Understood | None:
            understood = app[WHOLE].understand(message, address)
            if understood is None:
                asked.append(False)
                return None

            def answer(body: bytes) -> bytes | None:
                response = understood.answer(body)
                asked.append(response is not None)
                return response

            return understood._replace(answer=answer)

        one = Connection(
            runner.server,
            server._unreadable,
            understand if at_once else None,
            Outbox(),
            access_log=None,
        )
        transport = Kept()
        one.connection_made(transport)
        it = Driven(one, transport, app[TRAFFIC], asked)
        await it.settle()
        yield it
        one.connection_lost(None)
        await runner.cleanup()


def responses(written: bytes) -> list[tuple[bytes, frozenset[bytes], bytes]]:
    """Return what was answered: status line, headers, body; less what is different each time."""
    written = re.sub(rb"(X-Request-Id|Date): [^\r]*", rb"\1: ?", written)
    # What is no request is answered with the time of the machine.
    written = re.sub(rb'("timestamp"):"[^"]*"', rb"\1:0", written)
    found = []
    while written:
        head, _, written = written.partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((status, frozenset(headers), written[:size]))
        written = written[size:]
    return found


async def answered(pieces: Sequence[bytes], *, at_once: bool, patient: bool = True) -> bytes:
    """Return all that comes back for some pieces; if not patient, they come all in one turn."""
    async with driven(at_once=at_once) as it:
        for piece in pieces:
            it.connection.data_received(piece)
            if patient:
                await it.settle()
        for _ in pieces:
            await it.settle()
        return it.transport.written


@pytest.mark.parametrize("sent", USUAL.values(), ids=list(USUAL))
def test_the_usual_is_answered_at_once(sent: bytes) -> None:
    async def main() -> None:
        async with driven() as it:
            for _ in range(3):
                assert await it.send(sent)
            assert it.at_once == [True] * 3

    asyncio.run(main())


@pytest.mark.parametrize("sent", (UNUSUAL | LAST).values(), ids=list(UNUSUAL | LAST))
def test_the_unusual_is_not(sent: bytes) -> None:
    async def main() -> None:
        async with driven() as it:
            assert await it.send(sent)
            assert True not in it.at_once

    asyncio.run(main())


@pytest.mark.parametrize(
    "sent", (USUAL | UNUSUAL | LAST).values(), ids=list(USUAL | UNUSUAL | LAST)
)
def test_the_answer_is_the_same(sent: bytes) -> None:
    pieces = [POST, sent]
    now = asyncio.run(answered(pieces, at_once=True))
    assert responses(now) == responses(asyncio.run(answered(pieces, at_once=False)))


# Less what is answered without a body, but with the length of one.
_IN_STREAMS: Final = [sent for name, sent in (USUAL | UNUSUAL).items() if name != "head"]
STREAMS: Final = st.lists(st.sampled_from(_IN_STREAMS), min_size=1, max_size=6)


@settings(deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 2000), max_size=5), patient=st.booleans())
@example(
    # The end of a head in two pieces, then a body in which there seems to be one.
    stream=[LINES, POST],
    cuts=[LINES.index(b"\r\n{"), LINES.index(b"\n{"), len(LINES) + 5],
    patient=True,
)
@example(stream=[POST, POST], cuts=[20, len(POST)], patient=True)
@example(stream=[POST, POST], cuts=[len(POST), len(POST) + 150], patient=True)
@example(stream=[POST, POST, POST], cuts=[len(POST)], patient=True)
@example(stream=[POST, POST], cuts=[len(POST), 2 * len(POST) - 1], patient=True)
def test_pieces_do_not_matter(stream: list[bytes], cuts: list[int], patient: bool) -> None:
    """However requests are cut into pieces, or put into one, each has its answer, in order."""
    sent = b"".join(stream)
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in pairwise(edges)]
    now = responses(asyncio.run(answered(pieces, at_once=True, patient=patient)))
    assert now == responses(asyncio.run(answered(stream, at_once=False)))
    assert len(now) == len(stream)


def test_the_same_head_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is sent again, with as long a body, need not be read again; any other must."""
    read = []
    note = Connection.read

    def noted(self: Connection, messages: list[Any], data: bytes) -> bool:
        read.append(data)
        return note(self, messages, data)

    monkeypatch.setattr(Connection, "read", noted)

    async def main() -> None:
        async with driven() as it:
            same = USUAL["hold another"]
            for sent in (POST, same, POST, USUAL["with a key"], POST, same):
                assert await it.send(sent)
            assert read == [POST, USUAL["with a key"]]
            read.clear()
            more, rest = POST + POST[:100], POST[100:]
            for sent in (more, rest, POST):
                assert (await it.send(sent)).startswith(b"HTTP/1.1 422 ")
            assert [one for one in read if one] == [more, rest]

    asyncio.run(main())


def test_no_part_of_a_body_is_taken_for_a_request() -> None:
    async def main() -> None:
        async with driven() as it:
            release = request("DELETE", f"{PATH}/{UIDS[0]}", b"{}")
            assert await it.send(release)  # of which the head is known now
            assert await it.send(POST)
            # After empty lines, as long a body is announced as there are bytes after those.
            head = request("POST", PATH, Content_Length="400", X="")
            head = head.replace(b"X: ", b"X: " + b"x" * (400 - len(head)))
            assert await it.send(b"\r\n\r\n" + head) == b""
            assert await it.send(release) == b""
            assert b" 400 " in await it.send(b" " * (400 - len(release)))
            assert UIDS[0].encode() in await it.send(USUAL["read"])

    asyncio.run(main())


KEY: Final = "cal_0123456789abcdef"


@pytest.mark.parametrize(("at_once", "times"), [(True, 1), (False, 3)])
def test_a_key_is_looked_up_once(
    monkeypatch: pytest.MonkeyPatch, at_once: bool, times: int
) -> None:
    """Once for each request; at once, not even again for the same head."""
    digested = []

    def noted(secret: str) -> bytes:
        digested.append(secret)
        return digest_of(secret)

    monkeypatch.setattr(callers, "digest_of", noted)
    sent = request("POST", PATH, holding("2050-09-05T10:00:00Z"), Authorization=f"Bearer {KEY}")

    async def main() -> None:
        async with driven(at_once=at_once) as it:
            for _ in range(3):
                assert b"Invalid API Key" in await it.send(sent)
            assert digested == [KEY] * times

    asyncio.run(main())


def test_more_heads_than_are_remembered() -> None:
    async def main() -> None:
        async with driven() as it:
            for number in range(2 * HEADS_KNOWN):
                sent = request("POST", PATH, holding("2050-09-05T10:00:00Z"), Number=str(number))
                for _ in range(2):
                    assert await it.send(sent)
                assert len(it.connection._heads) <= HEADS_KNOWN
            assert it.at_once == [True] * 4 * HEADS_KNOWN

    asyncio.run(main())


def test_long_heads_are_not_remembered() -> None:
    """Many thousands of connections may have some."""

    async def main() -> None:
        async with driven() as it:
            sent = request("POST", PATH, holding("2050-09-05T10:00:00Z"), X="x" * LONGEST_KNOWN)
            for _ in range(2):
                assert await it.send(sent)
            assert it.at_once == [True] * 2
            assert not it.connection._heads

    asyncio.run(main())


def test_nothing_is_answered_at_once_while_the_client_does_not_read() -> None:
    async def main() -> None:
        async with driven() as it:
            await it.send(POST)
            it.connection.pause_writing()
            await it.send(POST)
            it.connection.resume_writing()
            await it.settle()
            assert it.at_once == [True]
            assert it.transport.written.startswith(b"HTTP/1.1 422 ")
            await it.send(POST)
            assert it.at_once == [True, True]

    asyncio.run(main())


@pytest.mark.parametrize(("taken", "cut"), [(0, True), (1000, True), (LEAST_TAKEN, False)])
def test_who_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, taken: int, cut: bool
) -> None:
    """But not who reads slowly."""
    monkeypatch.setattr(connection, "STALL_S", 0)

    async def main() -> None:
        async with driven() as it:
            it.transport.unsent, it.transport.taken = 100 * LEAST_TAKEN, taken
            it.connection.pause_writing()
            await it.settle()
            assert it.transport.closed == cut
            it.transport.taken = 0
            it.connection.resume_writing()
            await it.settle()
            assert it.transport.closed == cut

    asyncio.run(main())


def test_whoever_is_gone_is_sent_nothing() -> None:
    async def main() -> None:
        async with driven() as it:
            it.connection.data_received(POST)
            it.transport.close()
            await it.settle()
            assert it.at_once == [True]
            assert it.transport.written == b""

    asyncio.run(main())


def test_nothing_is_answered_at_once_by_a_server_that_stops() -> None:
    async def main() -> None:
        async with driven() as it:
            await it.send(POST)
            it.traffic.stopping = True
            assert b"\r\nConnection: close\r\n" in await it.send(POST)
            assert True not in it.at_once[1:]
            assert it.transport.closed
            assert await it.send(POST) == b""

    asyncio.run(main())


def test_whoever_was_answered_at_once_is_not_idle() -> None:
    async def main() -> None:
        async with driven() as it:
            began = asyncio.get_running_loop().time()
            await it.send(POST)
            assert it.connection._silence is None  # which would close it if nothing ever came
            assert it.connection._next_keepalive_close_time >= began + IDLE_TIMEOUT_S

    asyncio.run(main())


def test_an_aiohttp_that_we_do_not_know_reads_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_KNOWN", ("_parser", "_something_new"))

    async def main() -> None:
        async with driven() as it:
            assert (await it.send(POST)).startswith(b"HTTP/1.1 201 ")
            assert it.at_once == []

    asyncio.run(main())
