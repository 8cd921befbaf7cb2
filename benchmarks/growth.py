"""How the cost of an operation grows with how much there is: over few and over many resources.

Everything becomes slower as it leaves the processor's cache, so the growth is
held against that of the bare `SortedList` calls in the same runs.  The cycle
collector is kept away from what lives (`gc.freeze`): `collector` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks.churn import OPERATIONS, FloorChurn, LedgerChurn, Population
from benchmarks.measure import Bar, Findings, Say, Scale, frozen

ROUNDS_PER_RUN = 10_000


@dataclass
class Point:
    """One size, and nanoseconds an operation in each run."""

    live: int
    resources: int
    ledger_ns: list[float] = field(default_factory=list)
    floor_ns: list[float] = field(default_factory=list)


def curve(sizes: list[int], resources: int, scale: Scale, say: Say) -> list[Point]:
    """Measure all the sizes, in turn, so many times: what slows the machine slows all."""
    points = [Point(live, resources) for live in sizes]
    number = min(ROUNDS_PER_RUN, scale.requests // 2)
    prepared = []
    for point in points:
        say(f"{point.live:,} bookings on {resources:,} resources")
        population = Population(point.live, resources)
        prepared.append(
            (LedgerChurn(population), FloorChurn(population), population.rounds(number))
        )
    with frozen():
        for run in range(scale.runs):
            say(f"{resources:,} resources, run {run + 1}")
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
    """Measure over a thousandth and a tenth as many resources as live at the most, and over one."""
    findings = Findings()
    for resources in (scale.live // 1_000, scale.live // 10):
        points = curve(scale.sizes(), resources, scale, say)
        findings.runs[f"{resources:,} resources"] = points
        ours, bare = growth(points[1], points[-1])
        findings.bars.append(
            Bar(
                f"growth of cost from {points[1].live:,} to {points[-1].live:,} live on "
                f"{resources:,} resources, of that of the bare calls",
                ours / bare, "×", most=1.2, note=f"× {ours:.2f}, bare × {bare:.2f}",
            )
        )  # fmt: skip
    points = curve([max(scale.live // 10_000, 20), scale.live // 10], 1, scale, say)
    findings.runs["1 resource"] = points
    ours, bare = growth(*points)
    findings.bars.append(
        Bar(
            f"one resource with {points[1].live:,} bookings, of its cost with {points[0].live:,}",
            ours, "×", most=2, note=f"bare × {bare:.2f}",
        )
    )  # fmt: skip
    return findings
