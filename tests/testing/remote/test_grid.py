"""Arithmetic on spans, and the grid: where ranges overlap, and beside the engine's own."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from slotengine.core.offer.availability import starts_that_fit
from slotengine.core.offer.slot_grid import slot_starts
from slotengine.core.time.instant import HOUR, MINUTE, to_us
from slotengine.core.time.interval import maximal
from slotengine.core.time.zone import Zone
from slotengine.testing import strategies
from slotengine.testing.remote.grid import Grid, Span, both, union, without

spans = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5)).map(lambda p: (p[0], sum(p))))


def instants(found: list[Span]) -> set[int]:
    return {instant for start, end in found for instant in range(start, end)}


@given(left=spans, right=spans)
def test_spans_are_sets_of_instants(left: list[Span], right: list[Span]) -> None:
    one, other = union(left), union(right)
    assert instants(one) == instants(left)
    assert instants(without(one, right)) == instants(left) - instants(right)
    assert instants(both(one, other)) == instants(left) & instants(right)
    for found in (one, without(one, right), both(one, other)):
        assert found == union(found)


def test_section_11_4_overlapping_ranges_share_one_grid() -> None:
    grid = Grid(length_min=30, step_min=30, offset_min=0, zone=UTC)
    free = [(0, HOUR), (15 * MINUTE, 2 * HOUR), (0, 2 * HOUR + 30 * MINUTE)]
    assert [start // MINUTE for start in grid.starts(free, earliest=0)] == [0, 30, 60, 90, 120]
    # The second would have begun with 00:25, inside the step of 00:10.
    late = Grid(length_min=15, step_min=45, offset_min=10, zone=UTC)
    free = [(0, 30 * MINUTE), (5 * MINUTE, 3 * HOUR)]
    assert [start // MINUTE for start in late.starts(free, earliest=0)] == [10, 65, 120]


# Clocks on Lord Howe go back by half an hour at 15:00, and those in Kathmandu never change.
EVENING = to_us(datetime(2024, 4, 6, 13, tzinfo=UTC))


def test_a_start_is_a_multiple_also_after_clocks_went_back_by_half_an_hour() -> None:
    """At 01:20, forty minutes before 02:00, which then is 01:30: so up to 02:00 once more."""
    grid = Grid(length_min=60, step_min=60, offset_min=0, zone=ZoneInfo("Australia/Lord_Howe"))
    (start,) = grid.starts([(EVENING + 80 * MINUTE, EVENING + 4 * HOUR)], 0)[:1]
    assert start == EVENING + 150 * MINUTE


ranges = st.lists(
    st.tuples(
        strategies.instants(st.integers(0, 36).map((5 * MINUTE).__mul__)),
        st.integers(1, 40).map((5 * MINUTE).__mul__),
    ).map(lambda pair: (pair[0], sum(pair))),
    min_size=1,
    max_size=3,
)


@given(
    ranges,
    strategies.instants(st.integers(0, 180).map(MINUTE.__mul__)),
    st.sampled_from((15, 30, 45, 7)),
    st.sampled_from((15, 30, 40, 60, 7)),
    st.sampled_from((0, 0, 5)),
    st.sampled_from(("UTC", "Asia/Kathmandu", "Australia/Lord_Howe")),
)
def test_both_grids_are_one(
    ranges: list[Span], earliest: int, length_min: int, step_min: int, offset_min: int, zone: str
) -> None:
    """Goal: the stand-in shows what the engine offers, whatever the seconds.

    Method: free time and the earliest moment at random.  The original also shows
    what begins some seconds before free time does, or ends a second after it;
    nothing of that can be had.
    """
    free = union((EVENING + start, EVENING + end) for start, end in ranges)
    earliest += EVENING
    grid = Grid(length_min, step_min, offset_min, ZoneInfo(zone))
    length = length_min * MINUTE
    ours = slot_starts(
        list(maximal(free)), length=length, step=step_min * MINUTE, offset=offset_min * MINUTE,
        earliest=earliest, zone=Zone.of(zone),
    )  # fmt: skip
    assert ours == starts_that_fit(grid.starts(free, earliest), length, free)
