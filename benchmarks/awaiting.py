"""What ``await engine.reserve`` and the like cost on top of the ledger, and how long they block.

This is the same storm, through the public API: aware datetimes in, reservations and
exceptions out.  The clock is virtual, and moved by the driver of the storm.  The sweeper
runs, as in a service.
"""

from __future__ import annotations

import gc
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import cache
from time import perf_counter, process_time
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel

from benchmarks.measure import (
    Bar,
    Findings,
    Say,
    Scale,
    Stretches,
    frozen,
    missing,
    ratio,
    without_collector,
    worst_stretch,
)
from benchmarks.peers import in_process
from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import TTL, Outcome, Storm, decide, outcome, steps, storm
from slotengine import FixedWindows, SlotEngine
from slotengine.core.time.instant import from_us
from slotengine.errors import Refused

LOOPS: Final[dict[str, tuple[str, dict[str, object], tuple[str, ...]]]] = {
    "asyncio": ("asyncio", {}, ()),
    "asyncio with uvloop": ("asyncio", {"use_uvloop": True}, ("uvloop",)),
    "trio": ("trio", {}, ("trio",)),
}
"""For each event loop: anyio's backend, its options, and the packages it needs."""


class StormClock:
    """A clock that the driver of the storm moves, by assignment, which is cheaper than a call."""

    def __init__(self, us: int) -> None:
        self.us = us

    def now(self) -> int:
        return self.us

    async def wait(self, wake: anyio.Event, until: int) -> None:
        while self.us < until and not wake.is_set():
            await anyio.lowlevel.checkpoint()


class Row(NamedTuple):
    """A step of the storm, with the arguments that a caller of the engine passes."""

    verb: str
    request: int
    now: int
    resource: str
    start: datetime
    length: timedelta


def rows_of(stream: Storm) -> list[Row]:
    # Equal times share one object.  A caller's times are new and in the processor's cache;
    # separate objects here would be scattered over as much memory as the engine itself uses.
    start_of, length_of = cache(from_us), cache(lambda us: timedelta(0, 0, us))
    requests = [(one.resource, start_of(one.start), length_of(one.end - one.start))
                for one in stream.requests]  # fmt: skip
    return [
        Row(verb, request, now, *requests[request])
        for verb, request, now in steps(stream, RecordingTarget(stream))
    ]


async def drive(engine: SlotEngine, clock: StormClock, rows: list[Row]) -> Outcome:
    """Run a storm on an engine that uses this clock, and measure the time."""
    uids: list[str] = [""] * len(rows)
    reserve, confirm, release = engine.reserve, engine.confirm, engine.release
    requests = 0
    began, busy = perf_counter(), process_time()
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
    busy, seconds = process_time() - busy, perf_counter() - began
    return outcome(len(rows), bytes(uid != "" for uid in uids[:requests]), seconds, busy)


class Runner:
    """Runs one storm again and again, each time on a new engine."""

    def __init__(self, stream: Storm) -> None:
        self.stream = stream
        self.rows = rows_of(stream)
        self.hours = FixedWindows(stream.windows)

    def run(self, loop: str, stretches: Stretches | None = None) -> Outcome:
        """Run it on an event loop; ``stretches`` measures how long the loop is blocked."""
        backend, options, _ = LOOPS[loop]
        return anyio.run(self._run, stretches, backend=backend, backend_options=options)

    async def _run(self, stretches: Stretches | None) -> Outcome:
        clock = StormClock(self.stream.began)
        async with (
            SlotEngine(clock=clock, default_ttl=timedelta(0, 0, TTL)) as engine,
            anyio.create_task_group() as tasks,
        ):
            for name in self.stream.resources:
                engine.add_resource(name, schedule=self.hours)
            gc.collect()  # collect what the last engine left behind
            if stretches is not None:
                tasks.start_soon(stretches.watch)
                await anyio.lowlevel.checkpoint()  # let it start
            found = await drive(engine, clock, self.rows)
            tasks.cancel_scope.cancel()
        return found


def measure(scale: Scale, say: Say) -> Findings:
    """Compare engine, ledger and bare calls on each loop, and measure how long it is blocked."""
    stream = storm(requests=scale.requests)
    runner, findings = Runner(stream), Findings()
    loops = []
    for name, (_, _, needs) in LOOPS.items():
        lacking = missing(*needs)
        if lacking is None:
            loops.append(name)
        else:
            findings.skipped.append(f"{name}: {lacking}")
    floor = RecordingTarget(stream)
    operations = decide(stream, floor).operations
    rates: dict[str, list[float]] = {name: [] for name in ("bare", "ledger", *loops)}
    with frozen(), in_process(LedgerTarget)(stream) as ledger:
        for run in range(scale.runs):
            rates["bare"].append(operations / floor.replay())
            expected = ledger()
            rates["ledger"].append(expected.processor_rate)
            for name in loops:
                answer = runner.run(name)
                assert answer.digest == expected.digest, f"other decisions on {name}"
                rates[name].append(answer.processor_rate)
            told = (f"{name} {measured[-1]:,.0f}/s" for name, measured in rates.items())
            say(f"run {run + 1}: {', '.join(told)}")
        findings.bars = [
            Bar(f"await, of the rate of bare SortedList calls, {name}",
                ratio(rates[name], rates["bare"]), "%", least=0.15 if name == "asyncio" else None)
            for name in loops
        ] + [
            Bar(f"await, of the ledger's rate, {name}", ratio(rates[name], rates["ledger"]), "%",
                least=0.70)
            for name in loops
        ]  # fmt: skip
        worst = {}
        for name in loops:
            for collector in ("", ", collector off"):
                say(f"how busy, {name}{collector}")
                with without_collector() if collector else nullcontext():
                    worst[f"{name}{collector}"] = _worst(runner, name, scale.runs)
    for name, runs in worst.items():
        findings.bars.append(worst_stretch(f"the loop is kept busy in a storm, {name}", runs))
    findings.runs = {"rates": rates, "stretches": worst}
    return findings


def _worst(runner: Runner, loop: str, runs: int) -> list[dict[str, float]]:
    """Return the longest stretch of each run."""
    worst = []
    for _ in range(runs):
        stretches = Stretches()
        runner.run(loop, stretches)
        worst.append(stretches.worst())
    return worst
