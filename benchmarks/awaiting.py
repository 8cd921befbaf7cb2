"""What ``await engine.reserve`` and its like cost beyond the ledger, and whom they keep waiting.

The same storm, but through the public API: aware datetimes in, reservations and
exceptions out.  The clock is virtual, and moved by whoever drives the storm;
the sweeper runs, as it does in a service.
"""

from __future__ import annotations

import gc
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import cache
from time import perf_counter
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel

from benchmarks.measure import (
    Bar,
    Findings,
    Say,
    Scale,
    Waits,
    frozen,
    missing,
    ratio,
    without_collector,
    worst_wait,
)
from benchmarks.peers import in_process
from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import TTL, Outcome, Storm, outcome, steps, storm
from slotengine import FixedWindows, SlotEngine
from slotengine.core.time.instant import from_us
from slotengine.errors import Refused

LOOPS: Final[dict[str, tuple[str, dict[str, object], tuple[str, ...]]]] = {
    "asyncio": ("asyncio", {}, ()),
    "asyncio with uvloop": ("asyncio", {"use_uvloop": True}, ("uvloop",)),
    "trio": ("trio", {}, ("trio",)),
}
"""Of each: anyio's backend, its options, and the packages it needs."""

PAUSE_S: Final = 0.001
"""So long the task that waits for its turn sleeps each time."""


class StormClock:
    """A clock that whoever drives the storm moves, by assignment: cheaper than a call."""

    def __init__(self, us: int) -> None:
        self.us = us

    def now(self) -> int:
        return self.us

    async def wait(self, wake: anyio.Event, until: int) -> None:
        while self.us < until and not wake.is_set():
            await anyio.lowlevel.checkpoint()


class Row(NamedTuple):
    """A step of the storm, as a caller of the engine takes it."""

    verb: str
    request: int
    now: int
    resource: str
    start: datetime
    length: timedelta


def rows_of(stream: Storm) -> list[Row]:
    # Equal times are one object each, so that they are as near as a caller's, who has just made
    # them, and not scattered over as much memory as the engine itself has.
    start_of, length_of = cache(from_us), cache(lambda us: timedelta(0, 0, us))
    asks = [(one.resource, start_of(one.start), length_of(one.end - one.start))
            for one in stream.asks]  # fmt: skip
    return [
        Row(verb, request, now, *asks[request])
        for verb, request, now in steps(stream, RecordingTarget(stream))
    ]


async def drive(engine: SlotEngine, clock: StormClock, rows: list[Row]) -> Outcome:
    """Let a storm loose on an engine that runs on this clock, and take the time."""
    uids: list[str] = [""] * len(rows)
    reserve, confirm, release = engine.reserve, engine.confirm, engine.release
    requests = 0
    began = perf_counter()
    for verb, request, clock.us, resource, start, length in rows:
        if verb == "reserve":
            requests += 1
            try:
                hold = await reserve(resource, start, length)
            except Refused:
                continue
            uids[request] = hold.uid
        elif verb == "confirm":
            await confirm(uids[request])
        else:
            await release(uids[request])
    seconds = perf_counter() - began
    return outcome(len(rows), bytes(uid != "" for uid in uids[:requests]), seconds)


class Runner:
    """Lets one storm loose again and again, each time on a new engine."""

    def __init__(self, stream: Storm) -> None:
        self.stream = stream
        self.rows = rows_of(stream)
        self.hours = FixedWindows(stream.windows)

    def run(self, loop: str, waits: Waits | None = None) -> Outcome:
        """Run it on an event loop; ``waits`` is told by how much others were kept waiting."""
        backend, options, _ = LOOPS[loop]
        return anyio.run(self._run, waits, backend=backend, backend_options=options)

    async def _run(self, waits: Waits | None) -> Outcome:
        clock = StormClock(self.stream.began)
        async with (
            SlotEngine(clock=clock, default_ttl=timedelta(0, 0, TTL)) as engine,
            anyio.create_task_group() as tasks,
        ):
            for name in self.stream.resources:
                engine.add_resource(name, schedule=self.hours)
            gc.collect()  # what the last engine left is nobody's concern here
            if waits is not None:
                tasks.start_soon(tick, waits)
                await anyio.sleep(10 * PAUSE_S)  # until it is on its way
            found = await drive(engine, clock, self.rows)
            tasks.cancel_scope.cancel()
        return found


async def tick(waits: Waits) -> None:
    """Wake up every millisecond, and note by how much that was too late."""
    while True:
        await waits.until(perf_counter() + PAUSE_S)


def measure(scale: Scale, say: Say) -> Findings:
    """Compare engine and ledger on each event loop, and look at who waits during a storm."""
    stream = storm(requests=scale.requests)
    runner, findings = Runner(stream), Findings()
    loops = []
    for name, (_, _, needs) in LOOPS.items():
        lacking = missing(*needs)
        if lacking is None:
            loops.append(name)
        else:
            findings.skipped.append(f"{name}: {lacking}")
    rates: dict[str, list[float]] = {name: [] for name in ("ledger", *loops)}
    with frozen(), in_process(LedgerTarget)(stream) as ledger:
        for run in range(scale.runs):
            expected = ledger()
            rates["ledger"].append(expected.rate)
            for name in loops:
                answer = runner.run(name)
                assert answer.digest == expected.digest, f"other decisions on {name}"
                rates[name].append(answer.rate)
            told = (f"{name} {measured[-1]:,.0f}/s" for name, measured in rates.items())
            say(f"run {run + 1}: {', '.join(told)}")
        findings.bars = [
            Bar(f"await, of the ledger's rate, {name}", ratio(rates[name], rates["ledger"]), "%",
                least=0.70)
            for name in loops
        ]  # fmt: skip
        worst = {}
        for name in loops:
            for collector in ("", ", collector off"):
                say(f"who waits, {name}{collector}")
                with without_collector() if collector else nullcontext():
                    worst[f"{name}{collector}"] = _worst(runner, name, scale.runs)
    for name, runs in worst.items():
        findings.bars.append(worst_wait(f"another task waits during a storm, {name}", runs))
    findings.runs = {"rates": rates, "waits": worst}
    return findings


def _worst(runner: Runner, loop: str, runs: int) -> list[dict[str, float]]:
    """Return the longest wait of each run."""
    worst = []
    for _ in range(runs):
        waits = Waits()
        runner.run(loop, waits)
        worst.append(waits.worst())
    return worst
