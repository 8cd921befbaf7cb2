"""Expiry: a million holds that lapse at one instant, and announcements under load.

In both cases, something else wants its turn on the event loop all the time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from math import inf
from statistics import median
from time import perf_counter
from typing import Final

import anyio

from benchmarks.churn import FIRST, NOW, SLOT, Population
from benchmarks.measure import (
    Bar,
    Findings,
    Say,
    Scale,
    Stretches,
    Waits,
    frozen,
    summary,
    without_collector,
    worst_stretch,
)
from slotengine import Event, LocalEngine, SlotEngine, SystemClock, Verb
from slotengine.core.time.instant import from_us, to_us
from slotengine.testing import SimClock

RESOURCES: Final = 1_000
HOUR: Final = timedelta(hours=1)
LENGTH: Final = timedelta(0, 0, SLOT)
CALL_EVERY_S: Final = 0.001
ROOM: Final = 1_000_000
"""How many events the listener may be behind; enough that it misses none."""

Guard = Callable[[], AbstractContextManager[None]]
GUARDS: Final[dict[str, Guard]] = {
    "": nullcontext,
    ", gc.freeze() before": frozen,
    ", collector off": without_collector,
}
"""What is done about the cycle collector."""


async def mass_expiry(holds: int, guard: Guard) -> dict[str, float]:
    """Return how long the loop was blocked while holds lapsed at once, and how late calls were.

    A call is due every millisecond, and its latency counts from then.  The guard covers the
    expiry alone, not the making of the holds.
    """
    clock = SimClock(from_us(NOW))
    async with SlotEngine(clock=clock) as engine:
        population = Population(holds, RESOURCES)
        for name in population.names:
            engine.add_resource(name)

        def fill(local: LocalEngine) -> None:
            for name, start in population.bookings():
                local.reserve(name, from_us(start), LENGTH, ttl=HOUR, past=True)

        await engine.run(fill)
        gc.collect()  # collect what earlier runs left behind
        await anyio.sleep(0.01)  # by now, the sweeper waits
        clock.set(clock.moment + HOUR)
        with guard():
            return await _calls_meanwhile(engine, population.names[0], holds)


async def _calls_meanwhile(engine: SlotEngine, name: str, holds: int) -> dict[str, float]:
    """Hold and release free slots until a number of holds has expired."""
    free = from_us(FIRST - SLOT)

    async def call() -> None:
        hold = await engine.reserve(name, free, LENGTH, past=True)
        await engine.release(hold.uid)

    waits, stretches = Waits(), Stretches()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stretches.watch)
        due = perf_counter()
        while engine.statistics().expired < holds or not waits.wall_ms:
            due += CALL_EVERY_S
            await waits.until(due, call)
        tasks.cancel_scope.cancel()
    return summary(waits.wall_ms) | stretches.worst()


async def announcements(rate: float | None, seconds: float) -> tuple[list[float], float]:
    """Return how late each expiry was announced, in ms, and how many holds were made per second.

    Holds are made at a fixed rate, or as fast as possible.  Each lives for a third of the
    time, on the real clock, and then lapses.
    """
    ttl = timedelta(seconds=seconds / 3)
    clock = SystemClock()
    async with SlotEngine(clock=clock, default_ttl=ttl, min_ttl=ttl) as engine:
        names = [f"resource-{i}" for i in range(RESOURCES)]
        for name in names:
            engine.add_resource(name)
        late_ms: list[float] = []
        with engine.subscribe(buffer=ROOM) as events:

            async def listen() -> None:
                async for event in events:
                    assert isinstance(event, Event), "the listener was too slow"
                    if event.verb is Verb.EXPIRE:
                        until = event.reservation.until
                        assert until is not None
                        late_ms.append((clock.now() - to_us(until, "until")) / 1e3)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                holds = await _keep_holding(engine, names, rate or inf, seconds)
                while engine.statistics().held:  # noqa: ASYNC110 - nobody tells when the last lapses
                    await anyio.sleep(0.05)
                events.close()
        assert len(late_ms) == holds
    return late_ms, holds / seconds


async def _keep_holding(engine: SlotEngine, names: list[str], rate: float, seconds: float) -> int:
    """Hold free slots at a fixed rate, and return how many were held."""
    began, held = perf_counter(), 0
    while (passed := perf_counter() - began) < seconds:
        if held >= passed * rate:
            await anyio.sleep(CALL_EVERY_S)
            continue
        row, column = divmod(held, len(names))
        await engine.reserve(names[column], from_us(FIRST + row * SLOT), LENGTH, past=True)
        held += 1
    return held


def measure(scale: Scale, say: Say) -> Findings:
    """Let a million holds lapse, with and without the cycle collector; then announce under load."""
    findings = Findings()
    for guarded, guard in GUARDS.items():
        name = f"the loop is kept busy while {scale.live:,} holds lapse at once{guarded}"
        runs = []
        for run in range(scale.few_runs):
            say(f"{name}: run {run + 1}")
            runs.append(anyio.run(mass_expiry, scale.live, guard))
        findings.runs[name] = runs
        findings.bars.append(worst_stretch(name, runs))
    findings.bars += _announced(scale, say, findings)
    return findings


def _announced(scale: Scale, say: Say, findings: Findings) -> Iterator[Bar]:
    """Yield how late expiries are announced, under half of the maximum load and under all of it."""
    say("expiries are announced under all the load there can be")
    full = [anyio.run(announcements, None, scale.seconds) for _ in range(scale.few_runs)]
    rate = median(rate for _, rate in full) / 2
    say(f"expiries are announced under {rate:,.0f} holds a second")
    half = [anyio.run(announcements, rate, scale.seconds) for _ in range(scale.few_runs)]
    name = "expiry told late, p99"
    for load, runs, most in (
        ("half load", half, 50),
        ("full load", full, None),
    ):
        summaries = [summary(late_ms) for late_ms, _ in runs]
        findings.runs[f"{name}, {load}"] = summaries
        note = f"{median(made for _, made in runs):,.0f} holds a second, each of which lapses"
        yield Bar(
            f"{name}, {load}", median(one["p99"] for one in summaries), "ms", most=most, note=note
        )
