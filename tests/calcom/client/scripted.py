"""A scripted remote, which can also do wrong things, and clocks for a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

START: Final = datetime(2050, 9, 5, 10, tzinfo=UTC)
UID: Final = "5f0c4a4e-6c1e-4b59-9d1f-0d8f5b0a3c11"
HELD: Final[dict[str, Any]] = {
    "eventTypeId": 1,
    "slotStart": "2050-09-05T10:00:00.000Z",
    "slotEnd": "2050-09-05T10:30:00.000Z",
    "slotDuration": 30,
    "reservationUid": UID,
    "reservationDuration": 5,
    "reservationUntil": "2050-09-05T06:05:00.000Z",
}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A response to send; the body is JSON unless it is bytes."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        raw = self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)
        headers = {"Content-Length": str(len(raw))} | self.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} So\r\n{head}\r\n".encode() + raw


@dataclass(frozen=True)
class Raw:
    """Bytes to send before the connection ends."""

    sent: bytes


@dataclass
class Hang:
    """Send no response until ``go`` is set; ``read`` is set when the request has arrived."""

    read: asyncio.Event = field(default_factory=asyncio.Event)
    then: Reply | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)


DROP: Final = Raw(b"")
"""End the connection once the request was read."""

Action = Reply | Raw | Hang


def success(data: Any, status: int = 200) -> Reply:
    return Reply(status, {"status": "success", "data": data})


def error(status: int, message: str = "no", code: str = "Code", **headers: str) -> Reply:
    body = {"status": "error", "error": {"code": code, "message": message}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, body, {"X-Request-Id": "request-1"} | named)


CREATED: Final = success(HELD, 201)
DONE: Final = Reply(200, {"status": "success"})
TOO_MANY: Final = error(429, X_RateLimit_Reset_Default="12")


class Remote:
    """A server that performs one step for each request, and records the requests."""

    def __init__(self, *steps: Action) -> None:
        self.steps = list(steps)
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self.url = ""
        self._changed = asyncio.Event()

    async def quiet(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._changed.clear()
            await self._changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while (seen := await _request(reader)) is not None:
                self.seen.append(seen)
                if not await self._step(self.steps.pop(0), reader, writer):
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.open -= 1
            self._changed.set()

    async def _step(
        self, step: Action, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if isinstance(step, Hang):
            step.read.set()
            if step.then is None:
                await reader.read()  # until the client hangs up
                return False
            await step.go.wait()
            step = step.then
        writer.write(step.sent if isinstance(step, Raw) else step.encode())
        await writer.drain()
        return isinstance(step, Reply)


async def _request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


@asynccontextmanager
async def remote(*steps: Action) -> AsyncIterator[Remote]:
    """Run a remote; at the end, check that every step was used."""
    scripted = Remote(*steps)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        await server.wait_closed()
    assert scripted.steps == []


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """Return an address where no server listens."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"http://127.0.0.1:{port}"


async def until(done: Callable[[], bool]) -> None:
    """Yield until the condition holds; all it depends on runs in this event loop."""
    for _ in range(100_000):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never became true")


class PassingTime:
    """A clock that advances when somebody sleeps, and only then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class StandingTime(PassingTime):
    """A clock that advances when told to; sleepers are woken in order."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        sleeper = (self.now + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleepers(self) -> int:
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for until, wake in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if until <= self.now:
                wake.set()


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be advanced."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped

    def skip(self, seconds: float) -> None:
        self.skipped += seconds


class Longest:
    """Always draws the longest wait."""

    def uniform(self, _: float, most: float) -> float:
        return most
