"""Cal.com's grid of slots, and arithmetic on sorted lists of spans.

Pure.  Instants are UTC microseconds and spans half-open; names of minutes say so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Final, NamedTuple

from slotengine.core.time.instant import MINUTE, SECOND, from_us

Span = tuple[int, int]

_UNITS_MIN: Final = (60, 30, 20, 15, 10, 5)


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans, sorted; empty spans are dropped.

    >>> union([(5, 9), (1, 3), (3, 4)])
    [(1, 4), (5, 9)]
    """
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def without(spans: Iterable[Span], busy: Iterable[Span]) -> list[Span]:
    """Return sorted spans without others.

    >>> without([(0, 10)], [(2, 3), (8, 12)])
    [(0, 2), (3, 8)]
    """
    left = list(spans)
    for start, end in union(busy):
        left = [
            piece
            for one in left
            for piece in ((one[0], min(one[1], start)), (max(one[0], end), one[1]))
            if piece[0] < piece[1]
        ]
    return left


def both(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """Return the intersection of sorted spans.

    >>> both([(0, 10)], [(2, 3), (8, 12)])
    [(2, 3), (8, 10)]
    """
    others = list(right)
    found = ((max(a, c), min(b, d)) for a, b in left for c, d in others)
    return [(start, end) for start, end in found if start < end]


class Grid(NamedTuple):
    """The rules for the starts of slots in free time, in the viewer's zone."""

    length_min: int
    step_min: int
    offset_min: int
    zone: tzinfo

    def starts(self, free: Iterable[Span], earliest: int) -> list[int]:
        """Return the starts of slots in sorted spans, none before ``earliest``.

        >>> from datetime import UTC
        >>> grid = Grid(length_min=60, step_min=60, offset_min=0, zone=UTC)
        >>> nine_twenty = (9 * 60 + 20) * MINUTE
        >>> [start // MINUTE / 60 for start in grid.starts([(nine_twenty, 12 * 60 * MINUTE)], 0)]
        [10.0, 11.0]
        """
        starts: list[int] = []
        for span in free:
            for start in self._in(span, earliest, starts):
                at = bisect_left(starts, start)
                if at == len(starts) or starts[at] != start:
                    starts.insert(at, start)
        return starts

    def _in(self, span: Span, earliest: int, before: list[int]) -> Iterator[int]:
        """Yield the starts in one span; they continue the grid of the spans before."""
        advance = (self.step_min + self.offset_min) * MINUTE
        start = self._aligned(max(span[0], earliest)) + self.offset_min * MINUTE
        at = bisect_left(before, start)
        if at > 0 and before[at - 1] + advance > start:
            # Within the step of that slot, which counts once even if it is in this span too.
            start = before[at - 1] + advance
        while start + self.length_min * MINUTE - SECOND <= span[1]:
            yield start
            start += advance

    def _aligned(self, instant: int) -> int:
        """Return the next instant whose minute in the zone is a multiple of the step's unit."""
        instant -= instant % MINUTE
        unit = next((one for one in _UNITS_MIN if self.step_min % one == 0), 1)
        # More than once where clocks change in between, by half an hour.
        while over := from_us(instant).astimezone(self.zone).minute % unit:
            instant += (unit - over) * MINUTE
        return instant
