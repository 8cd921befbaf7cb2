"""What is covered by several who each cover spans of their own: when, not by whom.

A step function in two columns: each edge is an instant at which the number of
those who cover it changes, each depth that number from then to the next edge.
Equal neighbours are merged, so an edge at which the depth is not 0 is followed
by another.

Knows nothing of what the spans mean.  Times are UTC microseconds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from slotengine.core.ledger.timeline import END_OF_TIME
from slotengine.core.time.interval import Span


class Coverage:
    """How many cover each instant.

    >>> busy = Coverage()
    >>> busy.change(more=[(10, 40), (30, 50)])
    >>> busy.touches(0, 10), busy.touches(45, 60), list(busy.touching(0, 99))
    (False, True, [(10, 50)])
    >>> busy.change(less=[(30, 50)], more=[(60, 70)])
    >>> list(busy.touching(0, 99))
    [(10, 40), (60, 70)]
    """

    __slots__ = ("_depths", "_edges")

    def __init__(self) -> None:
        self._edges = array("q")
        self._depths = array("q")

    def change(self, *, less: Iterable[Span] = (), more: Iterable[Span] = ()) -> None:
        """Take spans out that were put in before, and put others in.

        O(k log n) for k spans and the edges beneath those that differ; what lies
        elsewhere is copied in pieces, which costs 1 ns an edge.
        """
        rises: Counter[int] = Counter()
        for spans, by in ((less, -1), (more, 1)):
            for start, end in spans:
                rises[start] += by
                rises[end] -= by
        old_edges, old_depths = self._edges, self._depths
        edges, depths = array("q"), array("q")
        at = raised = level = 0  # how far it was gone through, and where that has come to
        changes = sorted(edge for edge, by in rises.items() if by)
        for edge in [*changes, END_OF_TIME]:
            place = bisect_left(old_edges, edge, at)
            if at < place:
                # What lies between differs from step to step, but the first may be none any more.
                at += old_depths[at] + raised == level
                edges += old_edges[at:place]
                between = old_depths[at:place]
                depths += array("q", [depth + raised for depth in between]) if raised else between
                at = place
                level = depths[-1] if depths else 0
            depth = old_depths[at - 1] if at else 0
            if at < len(old_edges) and old_edges[at] == edge:
                depth = old_depths[at]
                at += 1
            raised += rises[edge]
            if depth + raised != level:
                level = depth + raised
                edges.append(edge)
                depths.append(level)
        self._edges, self._depths = edges, depths

    def touches(self, start: int, end: int) -> bool:
        """Return whether any instant of the span is covered.  O(log n)."""
        after = bisect_right(self._edges, start)
        if after and self._depths[after - 1]:
            return True
        # Where nothing is covered, the next edge is one at which something is.
        return after < len(self._edges) and self._edges[after] < end

    def touching(self, start: int, end: int) -> Iterator[Span]:
        """Yield what is covered of the span, whole and joined, in order.

        O(log n + k) for k edges of it.
        """
        at = bisect_right(self._edges, start)
        while at and self._depths[at - 1]:
            at -= 1
        while at < len(self._edges) and self._edges[at] < end:
            closing = at + 1
            while self._depths[closing]:
                closing += 1
            yield self._edges[at], self._edges[closing]
            at = closing + 1

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests and simulation."""
        assert len(self._edges) == len(self._depths)
        assert all(earlier < later for earlier, later in pairwise(self._edges))
        assert all(before != after for before, after in pairwise([0, *self._depths]))
        assert not self._depths or self._depths[-1] == 0
        assert all(depth >= 0 for depth in self._depths)
