"""What all benchmarks share: bars, findings, scales, percentiles.

Only ratios of interleaved runs are meaningful.  Every family therefore keeps each single
run (`Findings.runs`) next to the median by which it is judged.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import ceil
from statistics import median
from time import perf_counter, process_time
from typing import Final

import anyio
import anyio.lowlevel

Say = Callable[[str], None]
"""Called with a text about the progress."""

PERCENTILES: Final = (50.0, 99.0, 99.9)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    requests: int = 100_000
    """Requests in a storm."""
    runs: int = 5
    """Interleaved runs of everything that is compared; half as many of slow peers."""
    live: int = 1_000_000
    """The most reservations that are live at once."""
    seconds: float = 3.0
    """How long a steady load lasts."""
    hosts: int = 500
    """The most hosts in a pool."""

    @property
    def few_runs(self) -> int:
        """Runs of long measurements."""
        return ceil(self.runs / 2)

    def sizes(self) -> list[int]:
        """Return the numbers of live reservations, from a thousandth of the most to the most.

        >>> Scale().sizes()
        [1000, 10000, 100000, 1000000]
        """
        return [self.live // 10**power for power in (3, 2, 1, 0)]


FULL: Final = Scale()
QUICK: Final = Scale(requests=5_000, runs=3, live=50_000, seconds=0.5, hosts=100)
TINY: Final = Scale(requests=400, runs=1, live=20_000, seconds=0.05, hosts=50)


@dataclass(frozen=True)
class Bar:
    """A goal and what was measured.  Without ``least`` and ``most``, it is only reported."""

    name: str
    measured: float
    unit: str
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is no goal.

        >>> Bar("speed", 3, "x", least=2).met, Bar("delay", 6, "ms", most=5).met
        (True, False)
        """
        if self.least is not None:
            return self.measured >= self.least
        return None if self.most is None else self.measured <= self.most

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.least is not None:
            return f"≥ {quantity(self.least, self.unit)}"
        return "" if self.most is None else f"≤ {quantity(self.most, self.unit)}"


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit, rounded to significant digits.

    >>> quantity(0.253, "%"), quantity(2.5, "×"), quantity(12.25, "ms"), quantity(526.3, "bytes")
    ('25 %', '2.5 ×', '12.2 ms', '526 bytes')
    """
    if unit == "%":
        return f"{value:.0%}".replace("%", " %")
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{number} {unit}"


@dataclass
class Findings:
    """The results of a family of benchmarks."""

    bars: list[Bar] = field(default_factory=list)
    runs: dict[str, object] = field(default_factory=dict)
    """Every run, as plain values, so that medians and pictures can be made again."""
    skipped: list[str] = field(default_factory=list)
    """What was not measured, and why."""


Family = Callable[[Scale, Say], Findings]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value of a sorted sequence that the given per cent do not exceed.

    >>> percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 99.9)
    (2, 4)
    """
    assert ordered
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles and the maximum, by name.

    >>> summary([3, 1, 2])
    {'p50': 2, 'p99': 3, 'p99.9': 3, 'max': 3}
    """
    ordered = sorted(values)
    found = {f"p{percent:g}": percentile(ordered, percent) for percent in PERCENTILES}
    return found | {"max": ordered[-1]}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the quotient of two medians.

    >>> ratio([1, 2, 9], [4, 4, 4])
    0.5
    """
    return median(ours) / median(theirs)


def processor_seconds(call: Callable[[], object]) -> float:
    """Return how much processor time a call takes.  Other processes are not included."""
    began = process_time()
    call()
    return process_time() - began


@contextmanager
def frozen() -> Iterator[None]:
    """Exclude all existing objects from the cycle collector."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the cycle collector off, so that only the engine's own work is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Waits:
    """How long a task waited for its turn, each time, in milliseconds of elapsed time."""

    def __init__(self) -> None:
        self.wall_ms: list[float] = []

    async def until(self, due: float, then: Callable[[], Awaitable[object]] | None = None) -> None:
        """Sleep until a moment of `perf_counter`, do something, and record how late it is."""
        if (delay := due - perf_counter()) > 0:  # otherwise it would queue behind earlier tasks
            await anyio.sleep(delay)
        if then is not None:
            await then()
        self.wall_ms.append((perf_counter() - due) * 1e3)


class Stretches:
    """How long an event loop is blocked between two turns, in ms of processor time.

    A task that always wants its turn (`watch`) sees each stretch.  Time in the cycle
    collector is counted separately.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.longest_collection_ms = 0.0
        self._collected = 0.0
        self._began = 0.0

    async def watch(self) -> None:
        """Take every turn, until cancelled."""
        gc.callbacks.append(self._told)
        try:
            while True:
                busy, collected = process_time(), self._collected
                await anyio.lowlevel.checkpoint()
                stretch = process_time() - busy - (self._collected - collected)
                self.longest_ms = max(self.longest_ms, stretch * 1e3)
        finally:
            gc.callbacks.remove(self._told)

    def _told(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = process_time()
        else:
            taken = process_time() - self._began
            self._collected += taken
            self.longest_collection_ms = max(self.longest_collection_ms, taken * 1e3)

    def worst(self) -> dict[str, float]:
        """Return the longest stretch of each kind."""
        return {"stretch_ms": self.longest_ms, "collection_ms": self.longest_collection_ms}


def worst_stretch(name: str, worst: Sequence[dict[str, float]]) -> Bar:
    """Return the bar of five milliseconds for the longest stretches of several runs.

    It uses the median of the runs, because the program does the same in each of them.
    """
    told = ", ".join(f"{run['stretch_ms']:.1f} ({run['collection_ms']:.1f})" for run in worst)
    note = f"longest stretch of each run (and longest collection, not in it): {told}"
    return Bar(name, median(run["stretch_ms"] for run in worst), "ms", most=5, note=note)


def missing(*packages: str) -> str | None:
    """Return why something cannot be measured for want of packages, or None if it can.

    >>> missing("json"), missing("no_such_package")
    (None, 'no_such_package is not installed (extra: bench)')
    """
    absent = [name for name in packages if find_spec(name) is None]
    return f"{', '.join(absent)} is not installed (extra: bench)" if absent else None
