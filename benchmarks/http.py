"""The server next to an aiohttp hello-world: the cost of each kind of request, in one run.

``python -m benchmarks.http`` starts both servers, each in a process of its own, and loads
them by turns from this process.  It uses keep-alive connections, each with one request
in flight, written beforehand.  The client uses plain sockets, so that it is never the
bottleneck.  Every answer is checked after the clock has stopped.

The servers share one processor, and this process has the others.  With ``--shared`` the
system decides instead.  Linux would then wake the client on the processor of the server
that it waits for.  Measured, that interrupts the server at four answers of five, and
evicts what a request needs from the cache.

With ``--loop uvloop``, both servers run on uvloop, if it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import selectors
import socket
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from time import perf_counter, process_time
from typing import Any, Final, NamedTuple

import orjson

from benchmarks import hello
from benchmarks.wire import Server, running, trace
from slotengine.calcom.catalog import catalog_from
from slotengine.calcom.server import serve

HOSTS: Final = 120
ALONE: Final = 80
"""Event types with ids up to this one have a single host."""
DAYS: Final = 180
"""How far ahead slots are held."""
PATH: Final = "/v2/slots/reservations"
TURN: Final = 250
"""How many requests one server gets before the turn of the other."""

# --- The servers -------------------------------------------------------------------------


def catalog() -> dict[str, Any]:
    """Return a catalog of a hundred event types, with one host, with two, or with a pool.

    Everybody works from 9 to 17 on weekdays.
    """
    schedules = [{"id": 1, "timeZone": "Europe/Rome"}]
    users = [
        {"id": host, "username": f"host-{host}", "defaultScheduleId": 1}
        for host in range(1, HOSTS + 1)
    ]
    members = [{"userId": user["id"]} for user in users]
    event_types: list[dict[str, Any]] = []
    for number in range(1, 101):
        event_type: dict[str, Any] = {
            "id": number,
            "slug": f"event-{number}",
            "lengthInMinutes": 30,
        }
        if number <= ALONE:
            event_type["ownerId"] = number
            if number % 4 == 0:
                event_type |= {"lengthInMinutesOptions": [15, 30], "afterEventBuffer": 5}
        else:
            first = ALONE + 2 * (number - ALONE) - 1
            hosts = [{"userId": first}, {"userId": first + 1}]
            kind = "collective" if number <= 90 else "roundRobin"
            event_type |= {"teamId": 1, "schedulingType": kind, "hosts": hosts}
        event_types.append(event_type)
    team = {"id": 1, "slug": "everybody", "members": members}
    return {
        "schedules": schedules,
        "users": users,
        "teams": [team],
        "eventTypes": event_types,
        "rateLimits": {"disabled": True},  # all requests come from one address
        "quotas": {"disabled": True},
    }


def bodies(now: datetime) -> Iterator[bytes]:
    """Yield the bodies of requests that will all be accepted, in random order.

    Event types do not share hosts, and a slot with its buffer takes 35 minutes.  The time
    from 8 to 15 UTC is within everybody's hours, in summer and in winter.
    """
    days = (now + timedelta(days=day) for day in range(2, DAYS + 2))
    starts = [
        day.replace(hour=8, minute=0, second=0, microsecond=0) + timedelta(minutes=35 * turn)
        for day in days
        if day.weekday() < 5
        for turn in range(12)
    ]
    wanted = [(event_type, start) for event_type in range(1, 101) for start in starts]
    random.Random(7).shuffle(wanted)
    for event_type, start in wanted:
        yield body(event_type, start)


def body(event_type: int, start: datetime) -> bytes:
    """Return a body such as clients send."""
    return orjson.dumps({"eventTypeId": event_type, "slotStart": f"{start:%Y-%m-%dT%H:%M:%SZ}"})


def run_server(which: str, loop: str) -> None:
    """Run one of the two servers in this process."""
    if loop == "uvloop":
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    else:
        new_loop = asyncio.new_event_loop
    if which == "hello":
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(hello.main())
    else:
        served = catalog_from(catalog())
        serve(served, port=0, announce=lambda text: print(text, flush=True), new_loop=new_loop)


def command(which: str, loop: str) -> tuple[str, ...]:
    """Return the command that runs one of the two servers."""
    return sys.executable, "-m", "benchmarks.http", "--serve", which, "--loop", loop


# --- The load ----------------------------------------------------------------------------

_COMMON: Final = (
    "Host: 127.0.0.1:8080\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    "User-Agent: benchmarks.http\r\n"
)


_numbers = count()


def request(method: str, target: str, content: bytes | None = None) -> bytes:
    """Return a request such as clients send, with a header that is unique to it."""
    head = f"{method} {target} HTTP/1.1\r\n{_COMMON}cal-api-version: 2024-09-04\r\n".encode()
    head += trace(next(_numbers))
    if content is None:
        return head + b"\r\n"
    said = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head + said + content


def hello_request() -> bytes:
    """Return a request to the other server, as long as one for a reservation."""
    return request("POST", "/", body(100, datetime(2050, 9, 5, 10, tzinfo=UTC)))


class Measured(NamedTuple):
    """The results of a run of requests."""

    seconds: float
    server_s: float
    """The server's processor time in seconds; 0 where the system does not report it."""
    client_s: float
    latencies_ms: list[float]
    answers: list[bytes]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.answers) / self.seconds

    @property
    def cost_us(self) -> float:
        """The server's processor time per request in µs; elapsed time where that is not known."""
        return (self.server_s or self.seconds) / len(self.answers) * 1e6

    def check(self, status: int) -> None:
        """Raise unless every answer had this status."""
        statuses = Counter(int(answer[9:12]) for answer in self.answers)
        assert set(statuses) == {status}, statuses

    def data(self) -> list[Any]:
        """Return the data of the answers."""
        return [
            orjson.loads(answer[answer.index(b"\r\n\r\n") :])["data"] for answer in self.answers
        ]


Load = Callable[[Sequence[bytes]], Measured]


def load(server: Server, requests: Sequence[bytes], connections: int) -> Measured:
    """Send requests over several connections.  Each sends the next after an answer."""
    with connected(server, connections) as send:
        return send(requests)


@contextmanager
def connected(server: Server, connections: int) -> Iterator[Load]:
    """Open connections to a server, and yield a function that sends requests over them."""
    sockets = [socket.create_connection(server.address) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(each, selectors.EVENT_READ)
        try:
            yield lambda requests: _load(server, iter(requests), selector, sockets)
        finally:
            for each in sockets:
                each.close()


def together(parts: Sequence[Measured]) -> Measured:
    """Return several runs as one."""
    return Measured(
        sum(one.seconds for one in parts),
        sum(one.server_s for one in parts),
        sum(one.client_s for one in parts),
        [latency for one in parts for latency in one.latencies_ms],
        [answer for one in parts for answer in one.answers],
    )


def _load(
    server: Server,
    requests: Iterator[bytes],
    selector: selectors.BaseSelector,
    sockets: list[socket.socket],
) -> Measured:
    began_at: dict[socket.socket, float] = {}
    parts = dict.fromkeys(sockets, b"")
    latencies: list[float] = []
    answers: list[bytes] = []
    server_s, client_s, began = server.busy_s() or 0, process_time(), perf_counter()
    for first, sent in zip(sockets, requests, strict=False):
        began_at[first] = perf_counter()
        first.sendall(sent)
    under_way = len(began_at)
    while under_way:
        for key, _ in selector.select():
            each = key.fileobj
            assert isinstance(each, socket.socket)
            received = parts[each] + each.recv(1 << 20)
            if not _is_whole(received):
                parts[each] = received
                continue
            parts[each] = b""
            now = perf_counter()
            latencies.append((now - began_at[each]) * 1000)
            answers.append(received)
            following = next(requests, None)
            if following is None:
                under_way -= 1
                continue
            began_at[each] = now
            each.sendall(following)
    seconds = perf_counter() - began
    server_s = (server.busy_s() or 0) - server_s
    return Measured(seconds, server_s, process_time() - client_s, latencies, answers)


def _is_whole(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        assert received, "the server has closed the connection"
        return False
    at = received.find(b"Content-Length: ", 0, head) + 16
    return len(received) == head + 4 + int(received[at : received.index(b"\r", at)])


# --- The comparison ----------------------------------------------------------------------


class Comparison:
    """Both servers, loaded by turns."""

    def __init__(self, hello: Server, ours: Server, connections: int) -> None:
        self._hello = hello
        self._ours = ours
        self._connections = connections
        self.results: dict[str, list[tuple[Measured, Measured]]] = {}

    def run(self, name: str, status: int, requests: Iterable[bytes]) -> Measured:
        """Measure requests to our server and to the hello-world, a few of each by turns.

        Whatever else the machine does meanwhile then affects both.
        """
        wanted = list(requests)
        theirs, parts = [], []
        with (
            connected(self._hello, self._connections) as load_hello,
            connected(self._ours, self._connections) as load_ours,
        ):
            for at in range(0, len(wanted), TURN):
                theirs.append(load_hello([hello_request() for _ in range(TURN)]))
                parts.append(load_ours(wanted[at : at + TURN]))
        ours, floor = together(parts), together(theirs)
        floor.check(200)
        ours.check(status)
        self.results.setdefault(name, []).append((ours, floor))
        return ours

    def round(self, contents: list[bytes], now: datetime) -> None:
        """Hold, be refused, read, move, release, and search."""
        held = self.run("POST, accepted", 201, (request("POST", PATH, one) for one in contents))
        uids = [data["reservationUid"] for data in held.data()]
        assert len(set(uids)) == len(contents)
        # Not in a pool, where another host may be free.
        hot = next(one for one in contents if orjson.loads(one)["eventTypeId"] <= ALONE)
        self.run("POST, refused", 422, (request("POST", PATH, hot) for _ in contents))
        self.run("GET", 200, (request("GET", f"{PATH}/{uid}") for uid in uids))
        by_uid = {
            data["reservationUid"]: orjson.dumps(
                {"eventTypeId": data["eventTypeId"], "slotStart": data["slotStart"]}
            )
            for data in held.data()
        }
        renew = (request("PATCH", f"{PATH}/{uid}", again) for uid, again in by_uid.items())
        self.run("PATCH, renewed", 200, renew)
        monday = now + timedelta(days=14 - now.weekday())
        weeks = (
            request(
                "GET",
                f"/v2/slots?eventTypeId={1 + turn % 100}&start={monday:%Y-%m-%d}"
                f"&end={monday + timedelta(days=4):%Y-%m-%d}&timeZone=Europe/Rome",
            )
            for turn in range(len(contents) // 5)
        )
        self.run("GET /v2/slots, a week", 200, weeks)
        self.run("DELETE", 200, (request("DELETE", f"{PATH}/{uid}") for uid in uids))

    def report(self) -> None:
        """Print medians over the rounds."""
        print(
            f"{'':24}{'cpu µs':>8}{'hello':>7}{'ratio':>7}{'(range)':>14}"
            f"{'requests/s':>12}{'hello':>8}{'p50 ms':>8}{'p99':>7}{'hello':>7}{'client':>8}"
        )
        for name, pairs in self.results.items():
            ratios = [ours.cost_us / floor.cost_us for ours, floor in pairs]
            latencies = sorted(one for ours, _ in pairs for one in ours.latencies_ms)
            of_floor = sorted(one for _, floor in pairs for one in floor.latencies_ms)
            busy = _median(ours.client_s / ours.seconds for ours, _ in pairs)
            print(
                f"{name:24}{_median(ours.cost_us for ours, _ in pairs):8.1f}"
                f"{_median(floor.cost_us for _, floor in pairs):7.1f}{_median(ratios):6.2f}×"
                f"{f'{min(ratios):.2f} to {max(ratios):.2f}':>14}"
                f"{_median(ours.rate for ours, _ in pairs):12,.0f}"
                f"{_median(floor.rate for _, floor in pairs):8,.0f}"
                f"{latencies[len(latencies) // 2]:8.2f}{latencies[len(latencies) * 99 // 100]:7.2f}"
                f"{of_floor[len(of_floor) * 99 // 100]:7.2f}{busy:8.0%}"
            )


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


@contextmanager
def apart(*servers: Server) -> Iterator[bool]:
    """Give the servers one processor, and this process all others.

    Yield whether that worked.  It needs Linux and at least two processors.
    """
    if sys.platform != "linux" or not servers:
        yield False
        return
    allowed = os.sched_getaffinity(0)
    *others, last = sorted(allowed)
    if not others:
        yield False
        return
    for server in servers:
        os.sched_setaffinity(server.pid, {last})
    os.sched_setaffinity(0, others)
    try:
        yield True
    finally:
        os.sched_setaffinity(0, allowed)


def compare(
    loop: str, rounds: int, requests: int, connections: int, *, shared: bool = False
) -> None:
    """Run the comparison on one kind of event loop, and print the results."""
    now = datetime.now(UTC)
    stream = bodies(now)
    with (
        running(command("hello", loop)) as floor,
        running(command("ours", loop)) as ours,
        apart(*(() if shared else (floor, ours))) as pinned,
    ):
        comparison = Comparison(floor, ours, connections)
        load(floor, [hello_request() for _ in range(2000)], connections)  # to warm up
        load(ours, [request("POST", PATH, next(stream)) for _ in range(500)], connections)
        for _ in range(rounds):
            comparison.round([next(stream) for _ in range(requests)], now)
    where = "the servers on one processor, the client on others" if pinned else "unpinned"
    print(f"On {loop}, {rounds} rounds of {requests} requests, {connections} connections, {where}:")
    comparison.report()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--shared", action="store_true", help="let the system choose the processors"
    )
    parser.add_argument("--serve", choices=["hello", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        run_server(options.serve, options.loop)
    else:
        compare(
            options.loop,
            options.rounds,
            options.requests,
            options.connections,
            shared=options.shared,
        )


if __name__ == "__main__":
    main()
