"""How the cost of an operation grows with the number of reservations and resources.

Everything becomes slower once it no longer fits into the processor's cache, so the
growth is compared with that of the bare `SortedList` calls in the same runs.  The cycle
collector ignores live objects here (`gc.freeze`); `collector` measures its cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from benchmarks.churn import KEPT, OPERATIONS, FloorChurn, LedgerChurn, Population
from benchmarks.measure import Bar, Findings, Say, Scale, frozen

ROUNDS_PER_RUN = 10_000


@dataclass
class Point:
    """One size, and the nanoseconds per operation in each run."""

    live: int
    resources: int
    ledger_ns: list[float] = field(default_factory=list)
    floor_ns: list[float] = field(default_factory=list)


def curve(sizes: list[tuple[int, int]], scale: Scale, say: Say) -> list[Point]:
    """Measure several numbers of bookings by turns, so that a slow machine affects all alike."""
    points = [Point(*size) for size in sizes]
    number = min(ROUNDS_PER_RUN, scale.requests // 2)
    prepared = []
    for point in points:
        say(f"{point.live:,} bookings on {point.resources:,} resources")
        population = Population(point.live, point.resources)
        prepared.append(
            (LedgerChurn(population), FloorChurn(population), population.rounds(number))
        )
    with frozen():
        for run in range(scale.runs):
            say(f"up to {points[-1].live:,} bookings, run {run + 1}")
            for point, (ledger, floor, rounds) in zip(points, prepared, strict=True):
                operations = number * OPERATIONS
                point.ledger_ns.append(ledger.run(rounds) / operations * 1e9)
                point.floor_ns.append(floor.run(rounds) / operations * 1e9)
    return points


def growth(small: Point, large: Point) -> tuple[float, float]:
    """Return by how much the ledger's cost grows, and that of the bare calls."""
    return (
        median(large.ledger_ns) / median(small.ledger_ns),
        median(large.floor_ns) / median(small.floor_ns),
    )


def measure(scale: Scale, say: Say) -> Findings:
    """Measure on a thousandth and a tenth as many resources as live reservations, and on one."""
    findings = Findings()
    for resources in (scale.live // 1_000, scale.live // 10):
        points = curve([(live, resources) for live in scale.sizes()], scale, say)
        findings.runs[f"{resources:,} resources"] = points
        ours, bare = growth(points[1], points[-1])
        findings.bars.append(
            Bar(
                f"growth of cost from {points[1].live:,} to {points[-1].live:,} live on "
                f"{resources:,} resources, of that of the bare calls",
                ours / bare, "×", most=1.2, note=f"× {ours:.2f}, bare × {bare:.2f}",
            )
        )  # fmt: skip
    findings.bars += _one_resource(scale, say, findings)
    return findings


def _one_resource(scale: Scale, say: Say, findings: Findings) -> Iterator[Bar]:
    """Yield the cost of a resource with very many bookings, alone and next to others with as many.

    The larger numbers all exceed the processor's cache, so they compare the index itself.
    """
    few, many = max(scale.live // 10_000, 2 * KEPT), scale.live // 10
    points = curve([(few, 1), (many, max(1, many // few)), (many, 1)], scale, say)
    findings.runs["1 resource"] = points
    names = f"its cost with {few:,}", f"the cost of as many on {points[1].resources:,} resources"
    for name, point in zip(names, points, strict=False):
        ours, bare = growth(point, points[-1])
        yield Bar(
            f"one resource with {many:,} bookings, of {name}",
            ours, "×", most=2, note=f"bare × {bare:.2f}",
        )  # fmt: skip
