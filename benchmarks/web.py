"""The cost of ``POST /v2/slots/reservations``, compared with an aiohttp hello-world.

Both servers run all the time, each in a process of its own, and are loaded by turns from
this process: each connection sends its next request as soon as the last is answered.
Each request has a unique header, as behind a proxy that traces requests.  First, all
requested slots are free, so each answer is a hold.  Then a taken slot is requested
again and again.

`benchmarks.http` compares the other kinds of requests as well.
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
    refused_requests,
    reservation_requests,
    running,
    slotengine_server,
)

CONNECTIONS: Final = 32


@dataclass
class Loaded:
    """A server under load: what is sent to it, and the results of each run."""

    server: Server
    requests: Iterator[bytes]
    status: int
    rates: list[float] = field(default_factory=list)
    busy_us: list[float] = field(default_factory=list)
    """The server's processor time per request in µs; empty where the system does not report it."""

    async def run(self, seconds: float) -> None:
        """Load it for a time."""
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
    """Load both servers by turns."""
    lacking = missing("aiohttp", "orjson", "pydantic", "click", "rich")
    if lacking:
        return Findings(skipped=[f"HTTP: {lacking}"])
    with running(HELLO) as hello, slotengine_server() as ours, runner() as loop:
        bare = Loaded(hello, hello_requests(), 200)
        accepted = Loaded(ours, reservation_requests(), 201)
        refused = Loaded(ours, refused_requests(), 422)
        for run in range(scale.runs):
            for loaded in (bare, accepted, refused):
                loop.run(loaded.run(scale.seconds))
            say(
                f"run {run + 1}: hello {bare.rates[-1]:,.0f}/s, accepted "
                f"{accepted.rates[-1]:,.0f}/s, refused {refused.rates[-1]:,.0f}/s"
            )
    named = {"hello": bare, "accepted": accepted, "refused": refused}
    bars = [_bar(name, named[name], bare) for name in ("accepted", "refused")]
    runs = {
        name: {"rates": loaded.rates, "busy_us": loaded.busy_us} for name, loaded in named.items()
    }
    return Findings(bars, dict(runs))


def _bar(name: str, loaded: Loaded, bare: Loaded) -> Bar:
    """Return the bar of processor time or, where it is not known, of elapsed time at full load."""
    ours, theirs = loaded.busy_us, bare.busy_us
    if not ours:
        ours, theirs = ([1e6 / rate for rate in each.rates] for each in (loaded, bare))
    return Bar(
        f"POST /v2/slots/reservations, {name}: processor time of a request, of hello-world",
        ratio(ours, theirs), "×", most=2,
        note=(
            f"{median(ours):.0f} µs against {median(theirs):.0f}; "
            f"requests a second: {ratio(loaded.rates, bare.rates):.0%}"
        ),
    )  # fmt: skip
