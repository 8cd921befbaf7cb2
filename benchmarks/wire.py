"""A minimal HTTP client to load a server, with keep-alive connections, and servers to load.

The client must cost much less than the server, so it writes prepared bytes, and reads
only the status and the length of an answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from slotengine.calcom.wire import VERSION

EVENT_TYPES: Final = 100
LENGTH_MIN: Final = 15
PATIENCE_S: Final = 10

HELLO: Final = (sys.executable, "-m", "benchmarks.hello")

_LISTENING: Final = re.compile(r"http://([0-9.]+):([0-9]+)")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")


class Connection(asyncio.Protocol):
    """One connection, with one request in flight at a time.

    ``answered`` is called with the status of each answer.
    """

    def __init__(self, answered: Callable[[Connection, int], None]) -> None:
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(received, 0, head + 2)
        assert length is not None, received
        if len(received) < head + 4 + int(length[1]):
            return
        self._received = b""
        self._answered(self, int(received[9:12]))


async def connect(
    address: tuple[str, int], number: int, answered: Callable[[Connection, int], None]
) -> list[Connection]:
    """Open connections to a server."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(answered), *address) for _ in range(number)
    ]
    return [connection for _, connection in made]


def hello_requests() -> Iterator[bytes]:
    """Yield endless requests to `benchmarks.hello`, with bodies like those of reservations."""
    body = b'{"eventTypeId":100,"slotStart":"2050-09-05T10:00:00Z"}'
    for number in count():
        yield _HELLO % (trace(number), len(body), body)


def reservation_requests(first_day: int = 1) -> Iterator[bytes]:
    """Yield requests for different free slots, from a number of days ahead on.

    They go through the event types, and then to the next quarter of an hour, which is enough
    for millions.
    """
    for number, body in enumerate(_bodies(first_day)):
        yield _POST % (trace(number), len(body), body)


def refused_requests(first_day: int = 1) -> Iterator[bytes]:
    """Yield requests for the first of those slots, again and again."""
    body = next(_bodies(first_day))
    for number in count():
        yield _POST % (trace(number), len(body), body)


def _bodies(first_day: int) -> Iterator[bytes]:
    now = datetime.now(UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=first_day)
    while True:
        text = start.strftime("%Y-%m-%dT%H:%M:%SZ")
        for event_type in range(1, EVENT_TYPES + 1):
            yield b'{"eventTypeId":%d,"slotStart":"%s"}' % (event_type, text.encode())
        start += timedelta(minutes=LENGTH_MIN)


def trace(number: int) -> bytes:
    """Return a unique header line, like the one that a tracing proxy adds."""
    return b"traceparent: 00-%032x-%016x-01\r\n" % (number + 1, number + 1)


_COMMON: Final = (
    b"Host: bench\r\ncal-api-version: "
    + VERSION.encode()
    + b"\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)
_HELLO: Final = b"POST / HTTP/1.1\r\n" + _COMMON
_POST: Final = b"POST /v2/slots/reservations HTTP/1.1\r\n" + _COMMON


def catalog() -> dict[str, object]:
    """Return the catalog: event types of a quarter of an hour, with hosts who are always open."""
    numbers = range(1, EVENT_TYPES + 1)
    return {
        "users": [{"id": one, "username": f"user-{one}"} for one in numbers],
        "eventTypes": [
            {"id": one, "slug": f"talk-{one}", "ownerId": one, "lengthInMinutes": LENGTH_MIN}
            for one in numbers
        ],
        "rateLimits": {"disabled": True},  # all requests come from one address
        "quotas": {"disabled": True},
    }


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its process."""

    address: tuple[str, int]
    pid: int

    def busy_s(self) -> float | None:
        """Return the processor time so far, in seconds, of its first thread, which serves.

        None where the system does not report it; Linux does.
        """
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9
        except OSError:
            return None


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Run a server that prints where it listens, and stop it with SIGTERM."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        listening = _LISTENING.search(process.stdout.readline())
        assert listening is not None, f"{' '.join(command)} did not start"
        yield Server((listening[1], int(listening[2])), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def slotengine_server() -> Iterator[Server]:
    """Run ``slotengine serve`` with the catalog, on a free port."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.json"
        path.write_text(json.dumps(catalog()))
        command = (
            sys.executable, "-m", "slotengine", "serve", "--port", "0", "--catalog", str(path)
        )  # fmt: skip
        with running(command) as server:
            yield server
