"""Arithmetic on sequences of spans, compared with sets of instants."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import example, given

from slotengine.core.time.interval import (
    check_edges,
    clipped,
    intersection,
    joined,
    maximal,
    overlaps,
    without,
)
from slotengine.core.time.schedule import FixedWindows

# Few instants, so that spans touch, nest and repeat.
spans = st.tuples(st.integers(0, 14), st.integers(1, 5)).map(lambda p: (p[0], p[0] + p[1]))
some = st.lists(spans, max_size=6)


def instants(runs: list[tuple[int, int]]) -> set[int]:
    return {instant for start, end in runs for instant in range(start, end)}


@given(some, spans)
def test_edges_say_what_is_inside(runs: list[tuple[int, int]], span: tuple[int, int]) -> None:
    edges, inside, asked = joined(runs), instants(runs), set(range(*span))
    check_edges(edges)
    assert instants(list(zip(edges[::2], edges[1::2], strict=True))) == inside
    assert FixedWindows(runs).covers(*span) == (asked <= inside)
    assert overlaps(edges, *span) == bool(asked & inside)
    assert instants(list(clipped(edges, *span))) == asked & inside


@given(some)
@example([(0, 4), (1, 4)])
def test_the_widest_contain_all_the_others(runs: list[tuple[int, int]]) -> None:
    ranges = maximal(runs)
    assert set(ranges) <= set(runs)
    assert ranges == sorted(set(ranges))
    assert [start for start, _ in ranges] == sorted({start for start, _ in ranges})
    assert [end for _, end in ranges] == sorted({end for _, end in ranges})
    for start, end in runs:
        assert any(low <= start and end <= high for low, high in ranges)


@given(some, some)
@example([(0, 2)], [(2, 4)])
def test_in_common_is_what_lies_in_one_of_each(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    both = intersection(maximal(left), maximal(right))
    assert all(start < end for start, end in both)
    for start in range(20):
        for end in range(start + 1, 20):

            def within(runs: list[tuple[int, int]], start: int = start, end: int = end) -> bool:
                return any(low <= start and end <= high for low, high in runs)

            assert within(both) == (within(left) and within(right))


@given(some, some)
@example([(0, 4)], [(0, 2)])
@example([(0, 4), (6, 9)], [(2, 8)])  # one hole in two of them
def test_without_takes_holes_out(runs: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    edges = joined(runs)
    disjoint = list(zip(edges[::2], edges[1::2], strict=True))
    left = without(disjoint, sorted(holes))
    assert instants(left) == instants(runs) - instants(holes)
    assert all(low < high for low, high in left)
    assert left == sorted(left)
