"""The memory that a live hold takes: ``python -m benchmarks.memory LIVE RESOURCES``.

Each measurement is a process of its own, and counts what the operating system has given
it.  That includes the resources, and any waste.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from benchmarks.churn import LedgerChurn, Population
from benchmarks.measure import Bar, Findings, Say, Scale


def resident() -> int:
    """Return the resident memory of this process; on other systems than Linux, its maximum."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def bytes_per_hold(live: int, resources: int) -> float:
    """Return the bytes per hold, for a number of holds and resources, in this process."""
    population = Population(live, resources)
    gc.collect()
    before = resident()
    churn = LedgerChurn(population, confirm=False)
    taken = resident() - before
    assert churn.ledger.tally().held == live
    return taken / live


def measure(scale: Scale, say: Say) -> Findings:
    """Measure on a thousandth and a tenth as many resources as there are holds."""
    findings = Findings()
    for resources in (scale.live // 1_000, scale.live // 10):
        say(f"{scale.live:,} holds on {resources:,} resources")
        command = [sys.executable, "-m", "benchmarks.memory", str(scale.live), str(resources)]
        measured = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        findings.runs[f"{resources:,} resources"] = measured
        name = f"memory of a live hold, {scale.live:,} on {resources:,} resources"
        findings.bars.append(Bar(name, measured, "bytes", most=350))
    return findings


if __name__ == "__main__":
    print(bytes_per_hold(*map(int, sys.argv[1:])))
