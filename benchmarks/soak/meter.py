"""Count durations in constant memory.

What looks for growth must not grow itself.  So durations are counted in buckets, and the
rows that are kept are numbers in arrays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Final

from benchmarks.measure import PERCENTILES

FINE: Final = 5
"""The bits of precision: durations are distinguished to one part in 32."""
LONGEST_BITS: Final = 37
"""Durations of two minutes and more are counted in the last bucket."""
BUCKETS: Final = (LONGEST_BITS - FINE + 1) << FINE


def bucket_of(ns: int) -> int:
    """Return the bucket of a duration.  Neighbouring buckets differ by at most one part in 32.

    >>> bucket_of(7), bucket_of(31), bucket_of(32), bucket_of(65) - bucket_of(63)
    (7, 31, 32, 1)
    """
    shift = max(0, ns.bit_length() - FINE - 1)
    return min((shift << FINE) + (ns >> shift), BUCKETS - 1)


def longest_in(bucket: int) -> int:
    """Return the longest duration in a bucket.

    >>> all(bucket_of(longest_in(b)) == b < bucket_of(longest_in(b) + 1) for b in range(500))
    True
    """
    shift = max(0, (bucket >> FINE) - 1)
    return ((bucket - (shift << FINE) + 1) << shift) - 1


class Times:
    """A histogram of durations, in nanoseconds.

    >>> times = Times()
    >>> for ns in (1_000, 2_015, 900_000):
    ...     times.add(ns)
    >>> times.summary_us()
    {'p50': 2.015, 'p99': 900.0, 'p99.9': 900.0, 'max': 900.0}
    """

    __slots__ = ("_counts", "count", "longest")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * BUCKETS))
        self.count = 0
        self.longest = 0

    def add(self, ns: int) -> None:
        """Count a duration.  O(1)."""
        ns = max(ns, 0)
        self._counts[bucket_of(ns)] += 1
        self.count += 1
        self.longest = max(self.longest, ns)

    def take_in(self, other: Times) -> None:
        """Add all counts of another histogram."""
        for bucket, count in enumerate(other._counts):
            if count:
                self._counts[bucket] += count
        self.count += other.count
        self.longest = max(self.longest, other.longest)

    def clear(self) -> None:
        """Reset all counts."""
        self._counts[:] = array("I", bytes(4 * BUCKETS))
        self.count = self.longest = 0

    def summary_us(self) -> dict[str, float]:
        """Return percentiles and the maximum in µs, named as in `measure.summary`; all 0 if empty.

        O(buckets).
        """
        wanted = [(f"p{percent:g}", ceil(self.count * percent / 100)) for percent in PERCENTILES]
        found: dict[str, float] = {}
        seen = 0
        for bucket, count in enumerate(self._counts):
            if not count:
                continue
            seen += count
            while wanted and seen >= wanted[0][1]:
                found[wanted.pop(0)[0]] = min(longest_in(bucket), self.longest) / 1e3
        found |= {name: 0.0 for name, _ in wanted}
        return found | {"max": self.longest / 1e3}


class Gauges:
    """The readings since the last row: the mean or the maximum of each."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._highest: dict[str, float] = {}
        self._count = 0

    def read(self, mean: Mapping[str, float], highest: Mapping[str, float]) -> None:
        """Take a reading of each gauge."""
        self._count += 1
        for name, value in mean.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        for name, value in highest.items():
            self._highest[name] = max(self._highest.get(name, 0.0), value)

    def take(self) -> dict[str, float]:
        """Return the readings, and start again."""
        means = {name: value / self._count for name, value in self._sums.items()}
        found = means | self._highest
        self.__init__()  # type: ignore[misc]
        return found


class Rows:
    """A table, stored as an array for each column."""

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {}

    def add(self, row: Mapping[str, float]) -> None:
        """Add a row; all rows have the same columns."""
        assert not self.columns or row.keys() == self.columns.keys()
        for name, value in row.items():
            self.columns.setdefault(name, array("d")).append(value)

    def __len__(self) -> int:
        return min(map(len, self.columns.values()), default=0)


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Return the slope of the line through the points (least squares).

    >>> slope([(0, 1), (1, 3), (2, 5)]), slope([(1, 1)])
    (2.0, 0.0)
    """
    points = list(points)
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
