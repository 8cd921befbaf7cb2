"""Spans of time, and arithmetic on sorted sequences of them.

A span is half-open, ``[start, end)``.  Sequences of spans come in two forms, both in
order of time:

edges
    A flat tuple ``(start, end, start, end, ...)`` of spans that neither overlap nor are adjacent.
    Even positions open a window and odd positions close it, so one bisection tells
    whether an instant is inside.
ranges
    A list of pairs in which no pair contains another, so that both starts and ends
    ascend.  Ranges may overlap: a host who is free from 9 to 12 and another who is
    free from 10 to 13 are two ranges.

This module does not know what the spans mean.  Times are UTC microseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

Span = tuple[int, int]


def joined(spans: Iterable[Span]) -> tuple[int, ...]:
    """Return the edges of the union of the spans.  O(n log n).

    >>> joined([(5, 7), (1, 3), (3, 4)])
    (1, 4, 5, 7)
    """
    edges: list[int] = []
    for start, end in sorted(spans):
        if edges and start <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        else:
            edges += (start, end)
    return tuple(edges)


def clipped(edges: Sequence[int], start: int, end: int) -> Iterator[Span]:
    """Yield the windows between the edges, clipped to the span.  O(log n + k) for k windows.

    >>> list(clipped((1, 4, 5, 7), 3, 6))
    [(3, 4), (5, 6)]
    """
    for opens, closes in overlapping(edges, start, end):
        yield max(opens, start), min(closes, end)


def overlapping(edges: Sequence[int], start: int, end: int) -> Iterator[Span]:
    """Yield the windows that overlap the span, unclipped.  O(log n + k) for k windows.

    >>> list(overlapping((1, 4, 5, 7), 3, 6))
    [(1, 4), (5, 7)]
    """
    after = bisect_right(edges, start)
    for opening in range(after - (after & 1), len(edges), 2):
        if edges[opening] >= end:
            return
        yield edges[opening], edges[opening + 1]


def overlaps(edges: Sequence[int], start: int, end: int) -> bool:
    """Return whether any instant of the span lies in a window.  O(log n).

    >>> overlaps((1, 4, 5, 7), 4, 5), overlaps((1, 4, 5, 7), 4, 6)
    (False, True)
    """
    after = bisect_right(edges, start)
    return after & 1 == 1 or (after < len(edges) and edges[after] < end)


def maximal(spans: Iterable[Span]) -> list[Span]:
    """Return, as ranges, the spans that no other span contains.  O(n log n).

    >>> maximal([(9, 12), (10, 12), (10, 13), (9, 12)])
    [(9, 12), (10, 13)]
    """
    ranges: list[Span] = []
    for span in sorted(spans, key=_by_start_longest_first):
        if not ranges or span[1] > ranges[-1][1]:
            ranges.append(span)
    return ranges


def _by_start_longest_first(span: Span) -> Span:
    return span[0], -span[1]


def intersection(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """Return, as ranges, the overlaps between the ranges of two sides.  O(n + m + k log k).

    >>> intersection([(9, 12), (10, 13)], [(8, 11), (12, 14)])
    [(9, 11), (12, 13)]
    """
    found: list[Span] = []
    first = 0
    for start, end in left:
        # Starts ascend on the left, so a range that ended before this one cannot overlap the next.
        while first < len(right) and right[first][1] <= start:
            first += 1
        for other in range(first, len(right)):
            other_start, other_end = right[other]
            if other_start >= end:
                break
            found.append((max(start, other_start), min(end, other_end)))
    return maximal(found)


def without(spans: Iterable[Span], holes: Sequence[Span]) -> list[Span]:
    """Return what is left of disjoint, sorted spans after the holes are cut out.  O(n + h).

    Holes are sorted by start and may overlap.

    >>> without([(0, 10), (20, 30)], [(2, 3), (8, 22), (9, 9)])
    [(0, 2), (3, 8), (22, 30)]
    """
    left: list[Span] = []
    count, at, reach = len(holes), 0, None
    for start, end in spans:
        free = start if reach is None or reach < start else reach
        while at < count:
            hole_start, hole_end = holes[at]
            if hole_start >= end:
                break
            if free < hole_start:
                left.append((free, hole_start))
            if hole_end > free:
                free = hole_end
            at += 1
        if free < end:
            left.append((free, end))
        reach = free
    return left


def partition(points: Sequence[int], holes: Iterable[Span]) -> tuple[list[int], list[int]]:
    """Return which of the ascending points lie outside the holes, and which inside.

    Holes are sorted by start and may overlap.  O(h log n), plus the copying.

    >>> partition([1, 3, 5, 7, 9], [(2, 5), (4, 8)])
    ([1, 9], [3, 5, 7])
    """
    outside: list[int] = []
    inside: list[int] = []
    at, count = 0, len(points)
    for start, end in holes:
        first = bisect_left(points, start, at)
        after = bisect_left(points, end, first)
        if first < after:
            outside += points[at:first]
            inside += points[first:after]
            at = after
            if at == count:
                break
    outside += points[at:]
    return outside, inside


def check_edges(edges: Sequence[int]) -> None:
    """Assert that the edges describe disjoint windows that do not touch.  O(n)."""
    assert len(edges) % 2 == 0
    assert all(left < right for left, right in pairwise(edges))
