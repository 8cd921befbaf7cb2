"""Requests a second over HTTP: ``POST /v2/slots/reservations`` against a hello-world of aiohttp.

Both servers run all the while, each in a process of its own, and are loaded in
turns by this one: each connection sends its next request as soon as the last is
answered.  All slots asked for are free, so each answer is a hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.measure import Bar, Findings, Say, Scale, missing, ratio
from benchmarks.peers.crowd import runner
from benchmarks.wire import (
    HELLO,
    Connection,
    Server,
    connect,
    hello_requests,
    reservation_requests,
    running,
    slotengine_server,
)

CONNECTIONS: Final = 32


@dataclass
class Loaded:
    """A server under load: what is sent to it, and what came of it, run by run."""

    server: Server
    requests: Iterator[bytes]
    status: int
    rates: list[float] = field(default_factory=list)
    busy_us: list[float] = field(default_factory=list)
    """Time of the processor that the server had for each request; none where nobody tells."""

    async def run(self, seconds: float) -> None:
        """Load it for so long."""
        before = self.server.busy_s()
        began = perf_counter()
        answers = await closed_loop(self, seconds)
        self.rates.append(answers / (perf_counter() - began))
        after = self.server.busy_s()
        if before is not None and after is not None:
            self.busy_us.append((after - before) / answers * 1e6)


async def closed_loop(loaded: Loaded, seconds: float) -> int:
    """Return how many requests were answered in that time."""
    until = perf_counter() + seconds
    idle, done, answers = 0, asyncio.Event(), 0

    def answered(connection: Connection, status: int) -> None:
        nonlocal idle, answers
        assert status == loaded.status, status
        answers += 1
        if perf_counter() < until:
            connection.send(next(loaded.requests))
            return
        idle += 1
        if idle == CONNECTIONS:
            done.set()

    connections = await connect(loaded.server.address, CONNECTIONS, answered)
    for connection in connections:
        connection.send(next(loaded.requests))
    async with asyncio.timeout(seconds + 10):
        await done.wait()
    for connection in connections:
        connection.close()
    return answers


def measure(scale: Scale, say: Say) -> Findings:
    """Load both servers in turns."""
    lacking = missing("aiohttp", "orjson", "pydantic", "click", "rich")
    if lacking:
        return Findings(skipped=[f"HTTP: {lacking}"])
    with running(HELLO) as hello, slotengine_server() as ours, runner() as loop:
        bare = Loaded(hello, hello_requests(), 200)
        serving = Loaded(ours, reservation_requests(), 201)
        for run in range(scale.runs):
            for loaded in (bare, serving):
                loop.run(loaded.run(scale.seconds))
            say(f"run {run + 1}: hello {bare.rates[-1]:,.0f}/s, ours {serving.rates[-1]:,.0f}/s")
    note = ""
    if serving.busy_us:
        note = (
            f"processor time of a request: {median(serving.busy_us):.0f} µs against "
            f"{median(bare.busy_us):.0f}, so {ratio(bare.busy_us, serving.busy_us):.0%} by that"
        )
    bar = Bar(
        "POST /v2/slots/reservations, of the requests a second of hello-world",
        ratio(serving.rates, bare.rates), "%", least=0.70, note=note,
    )  # fmt: skip
    runs = {
        name: {"rates": loaded.rates, "busy_us": loaded.busy_us}
        for name, loaded in (("hello", bare), ("reservations", serving))
    }
    return Findings([bar], dict(runs))
