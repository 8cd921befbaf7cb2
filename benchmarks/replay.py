"""Replay: recorded changes are applied again, compared with deciding and applying them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from statistics import median
from time import process_time
from typing import Final

from benchmarks.churn import NOW, SLOT, TERMS, Population
from benchmarks.measure import Bar, Findings, Say, Scale, frozen, ratio
from benchmarks.workloads import DAY
from slotengine.core.ledger.changes import Changes
from slotengine.core.ledger.ledger import Ledger

RESOURCES: Final = 1_000


def fresh(population: Population) -> Ledger:
    """Return a ledger with the resources of a population, and nothing else."""
    ledger = Ledger(TERMS)
    for name in population.names:
        ledger.add_resource(name)
    return ledger


def book(ledger: Ledger, population: Population) -> None:
    """Make two changes of each booking: it is held, and then confirmed or extended."""
    verbs = cycle((ledger.confirm, lambda uid, *, now: ledger.extend(uid, ttl=DAY, now=now)))
    for number, (name, start) in enumerate(population.bookings()):
        uid = str(number)
        ledger.reserve(name, start, start + SLOT, uid=uid, now=NOW, ttl=DAY)
        next(verbs)(uid, now=NOW)


def recorded(population: Population) -> list[Changes]:
    """Return the steps of these bookings."""
    steps: list[Changes] = []
    ledger = fresh(population)
    ledger.on_step = steps.append
    book(ledger, population)
    return steps


def processor_seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call, with all that was there before not collected."""
    with frozen():
        began = process_time()
        call()
        return process_time() - began


def measure(scale: Scale, say: Say) -> Findings:
    """Replay as many changes as there are reservations at most, two for each booking."""
    population = Population(scale.live // 2, min(RESOURCES, scale.live // 20))
    steps = recorded(population)
    decided: list[float] = []
    replayed: list[float] = []
    for run in range(scale.few_runs):
        ledger, again = fresh(population), fresh(population)
        decided.append(processor_seconds(partial(book, ledger, population)))
        replayed.append(processor_seconds(partial(again.replay, steps)))
        assert again.tally() == ledger.tally()
        say(f"run {run + 1}: decided in {decided[-1]:.2f} s, replayed in {replayed[-1]:.2f} s")
    note = f"{median(replayed):.2f} s and {median(decided):.2f} s"
    bar = Bar(
        f"replaying {len(steps):,} changes, of deciding and applying them",
        ratio(replayed, decided), "×", most=1, note=note,
    )  # fmt: skip
    return Findings([bar], {"decided": decided, "replayed": replayed})
