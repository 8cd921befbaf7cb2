"""The booking storm, on the ledger and on bare SortedList calls: ``python -m benchmarks.storm``.

Runs are interleaved and the medians compared, because machines are noisy;
only the ratio means anything.
"""

from __future__ import annotations

import gc
from statistics import median

from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import drive, storm

RUNS = 5


def main() -> None:
    stream = storm()
    floor_target = RecordingTarget(stream)
    floor = drive(stream, floor_target)
    gc.collect()
    gc.freeze()  # the stream is not what is measured, nor is the collector's way through it
    rates: list[float] = []
    floors: list[float] = []
    for run in range(RUNS):
        gc.collect()
        ours = drive(stream, LedgerTarget(stream))
        assert ours.digest == floor.digest, "the ledger decides differently"
        rates.append(ours.rate)
        floors.append(floor.operations / floor_target.replay())
        print(f"run {run + 1}: ledger {rates[-1]:,.0f}/s, bare calls {floors[-1]:,.0f}/s")
    print(
        f"{floor.operations:,} operations, {floor.accepted:,} of {len(stream.asks):,} accepted\n"
        f"ledger {median(rates):,.0f}/s, bare SortedList calls {median(floors):,.0f}/s: "
        f"{median(rates) / median(floors):.0%}"
    )


if __name__ == "__main__":
    main()
