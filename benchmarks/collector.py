"""How long Python's cycle collector stops everything when an engine is full.

A full collection visits every live object, and nothing else runs meanwhile.  Calling
`gc.freeze` once an engine is filled excludes the objects that exist by then.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.churn import LedgerChurn, Population
from benchmarks.measure import Bar, Findings, Say, Scale, frozen, processor_seconds, summary

RESOURCES: Final = 1_000


@contextmanager
def pauses() -> Iterator[list[float]]:
    """Yield a list to which the duration of each collection is appended, in ms."""
    found: list[float] = []
    began = 0.0

    def told(phase: str, _: object) -> None:
        nonlocal began
        if phase == "start":
            began = perf_counter()
        else:
            found.append((perf_counter() - began) * 1e3)

    gc.callbacks.append(told)
    try:
        yield found
    finally:
        gc.callbacks.remove(told)


def measure(scale: Scale, say: Say) -> Findings:
    """Fill a ledger, then churn, with the collector as it is and after `gc.freeze`."""
    say(f"{scale.live:,} bookings are made")
    population = Population(scale.live, min(RESOURCES, scale.live))
    gc.collect()
    with pauses() as filling:
        churn = LedgerChurn(population)
    findings = Findings(runs={"pauses while filling, ms": summary(filling or [0.0])})
    rounds = population.rounds(scale.requests)
    for kind, guard in (("as it is", nullcontext()), ("frozen", frozen())):
        with guard:
            say(f"operations with the collector {kind}")
            timings = array("q")
            with pauses() as found:
                churn.run(rounds, timings)
            whole = [processor_seconds(gc.collect) * 1e3 for _ in range(scale.few_runs)]
        operations_us = summary([ns / 1e3 for ns in timings])
        findings.runs[kind] = {
            "operations, us": operations_us,
            "pauses, ms": summary(found or [0.0]),
            "a whole collection, ms": whole,
        }
        live = f"{scale.live:,} live, collector {kind}"
        note = f"p50 {operations_us['p50']:.1f} µs, longest {operations_us['max'] / 1e3:.1f} ms"
        findings.bars += [
            Bar(
                f"a whole collection takes, {live}", median(whole), "ms",
                most=100 if kind == "as it is" else None,
            ),
            Bar(
                f"an operation, 99.9th percentile, {live}", operations_us["p99.9"], "µs", note=note
            ),
        ]  # fmt: skip
    return findings
