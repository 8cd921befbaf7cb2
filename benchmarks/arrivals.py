"""Open loops: calls arrive at a fixed rate, whether or not earlier ones were answered.

The latency of a call counts from when it was due, not from when it could be sent.
Otherwise a slow system would get fewer calls and look fast (coordinated omission).
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import get_context
from time import perf_counter
from typing import Any, Final

import anyio

from benchmarks.churn import KEPT, SLOT, Population
from benchmarks.measure import summary
from benchmarks.peers.crowd import runner
from benchmarks.wire import Connection, connect, reservation_requests, slotengine_server
from slotengine import Reservation, SlotEngine, SlotTaken
from slotengine.core.time.instant import from_us

LIVE: Final = 10_000
RESOURCES: Final = 100
CONNECTIONS: Final = 64
"""Connections of each client.  A call waits if all of them are busy."""
SPIN_S: Final = 0.002
"""Timers are only this exact, so a loop spins for this long before a call is due."""
DRAIN_S: Final = 1.0
"""How long the calls still in flight at the end may take."""
ENOUGH: Final = 0.99
"""The system is saturated if it answers less than this share of the calls that are due."""


@dataclass(frozen=True)
class Rung:
    """One rate of a ladder, and its results."""

    rate: float
    """Calls due each second."""
    answered: float
    """Calls answered each second, during the time in which calls were due."""
    ms: dict[str, float]
    """Percentiles of the time from when a call was due until it was answered."""

    @property
    def saturated(self) -> bool:
        """Whether more calls were due than could be answered."""
        return self.answered < ENOUGH * self.rate


class Arrivals:
    """When calls are due: at a fixed rate, for a fixed time."""

    def __init__(self, rate: float, seconds: float, *, spin_s: float = SPIN_S) -> None:
        self.rate = rate
        self.seconds = seconds
        self.due_in_all = max(1, int(rate * seconds))
        self.issued = 0
        self.began = perf_counter()
        self._spin_s = spin_s

    def next_due(self) -> float:
        """Return when the next call is due that has not been issued."""
        return self.began + self.issued / self.rate

    async def wait(self) -> bool:
        """Return when the next call is due; False if none is left or the time is over."""
        if self.issued >= self.due_in_all:
            return False
        spin_s = self._spin_s
        while (left := self.next_due() - perf_counter()) > 0:  # noqa: ASYNC110 - it is a moment
            await anyio.sleep(left - spin_s if left > 2 * spin_s else 0)
        return perf_counter() < self.began + self.seconds + DRAIN_S


class Clock(Arrivals):
    """When calls are due, and how long after that they were answered."""

    def __init__(self, rate: float, seconds: float) -> None:
        super().__init__(rate, seconds)
        self.latencies_ms = array("d")
        self.in_time = 0

    def answered(self, due: float) -> None:
        """Record that a call was answered now."""
        now = perf_counter()
        self.latencies_ms.append((now - due) * 1e3)
        self.in_time += now < self.began + self.seconds

    def give_up(self) -> None:
        """Record the calls that were never issued, as if they were answered now."""
        while self.issued < self.due_in_all:
            self.latencies_ms.append((perf_counter() - self.next_due()) * 1e3)
            self.issued += 1

    def rung(self) -> Rung:
        """Return the results."""
        return Rung(self.rate, self.in_time / self.seconds, summary(self.latencies_ms))


# --- The engine ---------------------------------------------------------------------------

Call = Callable[[], Coroutine[Any, Any, object]]


async def engine_rung(rate: float, seconds: float) -> Rung:
    """Call an engine in this process at a fixed rate."""
    async with SlotEngine() as engine:
        calls = _calls(engine)
        clock = Clock(rate, seconds)
        while await clock.wait():
            due = clock.next_due()
            clock.issued += 1
            await next(calls)()
            clock.answered(due)
        clock.give_up()
    return clock.rung()


async def engine_capacity(seconds: float) -> float:
    """Return the calls per second if each starts as soon as the one before is answered."""
    async with SlotEngine() as engine:
        calls, made, began = _calls(engine), 0, perf_counter()
        while perf_counter() < began + seconds:
            await next(calls)()
            made += 1
        return made / (perf_counter() - began)


def _calls(engine: SlotEngine) -> Iterator[Call]:
    """Yield an endless sequence of calls to an engine that has bookings.

    A third is refused, a third is accepted, and a third releases what was accepted.
    """
    population = Population(LIVE, RESOURCES)
    length = timedelta(0, 0, SLOT)
    for name in population.names:
        engine.add_resource(name)
    for name, start in population.bookings():
        engine.local.confirm(engine.local.reserve(name, from_us(start), length, past=True).uid)
    rounds = [
        (name, from_us(booked), other, from_us(free))
        for (name, booked), (other, free) in population.rounds(LIVE)
    ]
    kept: deque[Reservation] = deque()

    async def refused(name: str, start: datetime) -> None:
        try:
            await engine.reserve(name, start, length, past=True)
        except SlotTaken:
            return
        raise AssertionError("what is booked was had once more")

    async def accepted(name: str, start: datetime) -> None:
        kept.append(await engine.reserve(name, start, length, past=True))

    async def released() -> None:
        if len(kept) > KEPT:
            await engine.release(kept.popleft().uid)

    while True:
        for name, booked, other, free in rounds:
            yield partial(refused, name, booked)
            yield partial(accepted, other, free)
            yield released


# --- HTTP ---------------------------------------------------------------------------------


def http_rung(rate: float, seconds: float, clients: int) -> Rung:
    """Start a server, and let several processes together send it requests at a fixed rate."""
    with (
        slotengine_server() as server,
        ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool,
    ):
        shares = [(server.address, rate / clients, seconds, number) for number in range(clients)]
        found = list(pool.map(_client, shares))
    latencies = [ms for latencies, _ in found for ms in latencies]
    return Rung(rate, sum(in_time for _, in_time in found) / seconds, summary(latencies))


def _client(share: tuple[tuple[str, int], float, float, int]) -> tuple[array[float], int]:
    address, rate, seconds, number = share
    with runner() as loop:
        clock = loop.run(http_client(address, rate, seconds, first_day=1 + 100 * number))
    return clock.latencies_ms, clock.in_time


async def http_client(
    address: tuple[str, int], rate: float, seconds: float, *, first_day: int = 1
) -> Clock:
    """Send requests at a fixed rate, each on an idle connection."""
    requests = reservation_requests(first_day)
    under_way: dict[Connection, float] = {}
    waiting: deque[float] = deque()

    def answered(connection: Connection, status: int) -> None:
        assert status == 201, status
        clock.answered(under_way.pop(connection))
        if waiting:
            send(connection, waiting.popleft())
        else:
            idle.append(connection)

    def send(connection: Connection, due: float) -> None:
        under_way[connection] = due
        connection.send(next(requests))

    connections = await connect(address, CONNECTIONS, answered)
    idle = list(connections)
    clock = Clock(rate, seconds)
    while await clock.wait():
        while clock.issued < clock.due_in_all and clock.next_due() <= perf_counter():
            due = clock.next_due()
            clock.issued += 1
            if idle:
                send(idle.pop(), due)
            else:
                waiting.append(due)
        await asyncio.sleep(0)
    until = clock.began + seconds + DRAIN_S
    while under_way and perf_counter() < until:  # noqa: ASYNC110 - a millisecond does not matter
        await asyncio.sleep(0.001)
    for due in (*waiting, *under_way.values()):
        clock.latencies_ms.append((perf_counter() - due) * 1e3)
    clock.give_up()
    for connection in connections:
        connection.close()
    return clock
