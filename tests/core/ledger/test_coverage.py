"""How often time is covered, against plain lists of spans."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from slotengine.core.ledger.coverage import Coverage
from slotengine.core.time.interval import clipped, joined
from slotengine.testing import strategies

# Few instants, so that spans of several touch, nest and repeat.
spans = strategies.spans(last=24, longest=8)
some = (
    st.lists(spans, max_size=5)
    .map(joined)
    .map(lambda edges: list(zip(edges[::2], edges[1::2], strict=True)))
)


@given(st.lists(st.tuples(st.integers(0, 3), some), max_size=12), st.lists(spans, min_size=1))
def test_covered_is_what_somebody_covers(
    changes: list[tuple[int, list[tuple[int, int]]]], asked: list[tuple[int, int]]
) -> None:
    coverage = Coverage()
    said: dict[int, list[tuple[int, int]]] = {}
    for who, theirs in changes:
        coverage.change(less=said.get(who, []), more=theirs)
        said[who] = theirs
        coverage.check_invariants()
        edges = joined([span for each in said.values() for span in each])
        for start, end in asked:
            inside = list(clipped(edges, start, end))
            assert coverage.touches(start, end) == bool(inside)
            found = list(coverage.touching(start, end))
            assert [(max(low, start), min(high, end)) for low, high in found] == inside
            # Whole, and not cut to the span.
            assert set(found) <= set(zip(edges[::2], edges[1::2], strict=True))
    coverage.change(less=[span for each in said.values() for span in each])
    assert not coverage.touches(-1, 99)
    coverage.check_invariants()
