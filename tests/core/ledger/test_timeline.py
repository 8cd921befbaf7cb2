"""The interval index against a plain list of claims."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slotengine.core.ledger.timeline import (
    ACROSS,
    END_OF_TIME,
    NO_ROOM,
    START_OF_TIME,
    CountedTimeline,
    ExclusiveTimeline,
    PartitionedTimeline,
    Plain,
    Taken,
    Timeline,
    timeline_for,
)
from slotengine.testing import strategies
from tests.core.ledger.entries import Made

# Few instants, so that spans touch, nest and repeat: step functions break there.
spans = strategies.spans(last=24, longest=6)


class Owner:
    """Owners are told apart by identity alone."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"owner-{self.number}"


class TimelineAgainstList(RuleBasedStateMachine):
    """Goal: a timeline of any kind answers as a plain list of claims would.

    Method: the same random changes go to both, and every answer is compared.
    Plain timelines outgrow themselves after four claims here, so partitions
    are cut, and crossed, all the time.
    """

    @initialize(capacity=st.integers(1, 4), limit=st.sampled_from((2, 4, 1_000)))
    def begin(self, capacity: int, limit: int) -> None:
        plain: Plain[Owner] = timeline_for(capacity)
        plain.limit = limit
        self.timeline: Timeline[Owner] = plain
        self.capacity = capacity
        self.claims: list[Taken[Owner]] = []
        self.made = 0

    def peak(self, start: int, end: int) -> int:
        return max(
            sum(claim.units for claim in self.claims if claim.start <= instant < claim.end)
            for instant in range(start, end)
        )

    @rule(span=spans, units=st.integers(1, 4))
    def take_if_there_is_room(self, span: tuple[int, int], units: int) -> None:
        units = min(units, self.capacity)
        place = self.timeline.room(*span, units)
        assert (place == NO_ROOM) == (self.peak(*span) + units > self.capacity)
        if place == NO_ROOM:
            return
        self.made += 1
        claim = Taken(*span, units, Owner(self.made))
        if self.timeline.put(place, *claim):
            assert isinstance(self.timeline, ExclusiveTimeline | CountedTimeline)
            limit = self.timeline.limit
            self.timeline = PartitionedTimeline(self.timeline)
            for part in self.timeline.parts.values():
                part.limit = limit
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        self.timeline.remove(*claim)

    @rule(span=spans)
    def overlapping_agrees(self, span: tuple[int, int]) -> None:
        start, end = span
        expected = [claim for claim in self.claims if claim.start < end and start < claim.end]
        found = self.timeline.overlapping(start, end)
        assert [one.start for one in found] == sorted(one.start for one in found)
        whole = {one.owner: one for one in self.timeline.overlapping(START_OF_TIME, END_OF_TIME)}
        assert {one.owner for one in found} == {one.owner for one in expected}
        # A partitioned timeline cuts what it returns at the borders of the parts it looked at.
        assert all(
            whole[one.owner].start <= one.start < one.end <= whole[one.owner].end for one in found
        )

    @rule(span=spans)
    def pieces_agree(self, span: tuple[int, int]) -> None:
        pieces, owners = self.timeline.pieces(*span)
        found = self.timeline.overlapping(*span)
        assert {one.owner for one in found} == set(owners)
        assert [start for start, _ in pieces] == sorted(start for start, _ in pieces)
        covered = [
            (owner.number, at)
            for (start, end), owner in zip(pieces, owners, strict=True)
            for at in range(start, end)
        ]
        assert sorted(covered) == sorted(
            (one.owner.number, at) for one in found for at in range(one.start, one.end)
        )

    @rule(span=spans, units=st.integers(1, 4))
    def full_agrees(self, span: tuple[int, int], units: int) -> None:
        units = min(units, self.capacity)
        full = self.timeline.full(*span, units)
        assert full == sorted(full)
        assert all(before <= start for (_, before), (start, _) in pairwise(full))
        for instant in range(*span):
            inside = any(start <= instant < end for start, end in full)
            assert inside == (self.peak(instant, instant + 1) + units > self.capacity)

    @rule(
        starts=st.lists(st.integers(0, 24), unique=True).map(sorted),
        before=st.integers(0, 3),
        after=st.integers(1, 5),
        units=st.integers(1, 4),
    )
    def sifting_agrees(self, starts: list[int], before: int, after: int, units: int) -> None:
        units = min(units, self.capacity)
        free, taken = self.timeline.sifted(starts, before, after, units)
        assert free == [
            start
            for start in starts
            if self.timeline.room(start - before, start + after, units) != NO_ROOM
        ]
        assert sorted(free + taken) == starts
        assert taken == sorted(taken)

    @rule(span=spans)
    def changes_are_counted(self, span: tuple[int, int]) -> None:
        assert self.timeline.changes(START_OF_TIME, END_OF_TIME) >= bool(self.claims)
        assert 0 <= self.timeline.changes(*span) <= 3 * len(self.claims)

    @rule(span=spans)
    def level_agrees(self, span: tuple[int, int]) -> None:
        for moment in span:
            assert self.timeline.level(moment) == self.peak(moment, moment + 1)

    @invariant()
    def invariants_hold(self) -> None:
        self.timeline.check_invariants()
        everything = self.timeline.overlapping(START_OF_TIME, END_OF_TIME)
        assert sorted(everything, key=_number) == sorted(self.claims, key=_number)
        assert len(self.timeline) == len(self.claims)


def _number(taken: Taken[Owner]) -> int:
    return taken.owner.number


TestTimelineAgainstList = TimelineAgainstList.TestCase


@given(st.lists(st.tuples(spans, st.integers(1, 3)), max_size=12), st.data())
def test_the_order_of_changes_leaves_no_trace(
    changes: list[tuple[tuple[int, int], int]], data: st.DataObject
) -> None:
    """Equal neighbouring steps are merged, so the same claims give the same steps."""
    one, other = CountedTimeline[int](100), CountedTimeline[int](100)
    numbered = list(enumerate(changes))
    for i, (span, units) in numbered:
        one.put(0, *span, units, i)
    for i, (span, units) in data.draw(st.permutations(numbered)):
        other.put(0, *span, units, i)
    assert one.edges == other.edges
    assert one.taken == other.taken


@pytest.mark.parametrize("capacity", [1, 3])
def test_a_long_timeline_is_partitioned_and_answers_alike(capacity: int) -> None:
    made = Made()
    resource = made.resource("court", capacity)
    claims = [(start * 10, start * 10 + 10) for start in range(5_000)]
    owners = [made.entry() for _ in claims]
    for (start, end), owner in zip(claims, owners, strict=True):
        resource.take(resource.timeline.room(start, end, capacity), start, end, capacity, owner)
    assert isinstance(resource.timeline, PartitionedTimeline)
    assert len(resource.timeline.parts) > 2
    resource.check_invariants()
    assert resource.load == 5_000
    assert resource.timeline.room(49_995, 50_001, 1) == NO_ROOM
    assert resource.timeline.room(50_000, 50_001, 1) != NO_ROOM
    assert len(resource.timeline.overlapping(15_005, 15_025)) == 3
    levels = [resource.timeline.level(moment) for moment in (-1, 0, 25_000, 49_999, 50_000)]
    assert levels == [0, capacity, capacity, capacity, 0]
    for (start, end), owner in zip(claims, owners, strict=True):
        resource.give_back(start, end, capacity, owner)
    resource.check_invariants()
    assert len(resource.timeline) == resource.load == 0
    assert len(resource.timeline.parts) == 1
    # One span over all the parts there were.
    resource.take(resource.timeline.room(0, 60_000, 1), 0, 60_000, 1, owners[0])
    resource.check_invariants()


def test_a_span_over_many_parts_is_one_span() -> None:
    made = Made()
    resource = made.resource("hall", 2)
    for i in range(3_000):
        resource.take(resource.timeline.room(i, i + 1, 1), i, i + 1, 1, made.entry())
    assert isinstance(resource.timeline, PartitionedTimeline)
    whole = made.entry()
    resource.take(resource.timeline.room(0, 3_000, 1), 0, 3_000, 1, whole)
    resource.check_invariants()
    found = [one for one in resource.overlapping(10, 2_990) if one.owner == whole]
    assert len(found) == 1
    assert resource.timeline.room(5, 6, 1) == NO_ROOM
    resource.give_back(0, 3_000, 1, whole)
    assert resource.timeline.room(5, 6, 1) != NO_ROOM
    resource.check_invariants()


@pytest.mark.parametrize("capacity", [1, 2])
def test_a_span_over_a_border_is_put_into_both_parts(capacity: int) -> None:
    plain: Plain[str] = timeline_for(capacity)
    plain.limit = 2
    outgrown = [
        plain.put(plain.room(start, start + 1, 1), start, start + 1, 1, owner)
        for start, owner in ((0, "a"), (10, "b"), (20, "c"))
    ]
    assert outgrown == [False, False, True]
    line = PartitionedTimeline(plain)
    assert list(line.parts) == [START_OF_TIME, 10]
    line.remove(10, 11, 1, "b")
    line.put(line.room(5, 15, capacity), 5, 15, capacity, "over")
    assert line.room(14, 16, 1) == line.room(5, 6, 1) == NO_ROOM
    assert line.overlapping(4, 16) == [Taken(5, 15, capacity, "over")]
    line.check_invariants()


def test_the_pieces_of_a_long_timeline_are_those_of_its_parts() -> None:
    plain = ExclusiveTimeline[str]()
    plain.limit = 2
    for start, owner in ((0, "a"), (10, "b"), (20, "c")):
        plain.put(plain.room(start, start + 5, 1), start, start + 5, 1, owner)
    line = PartitionedTimeline(plain)
    assert len(line.parts) == 2
    assert line.pieces(2, 21) == ([(0, 5), (10, 15), (20, 25)], ["a", "b", "c"])
    assert line.full(2, 21, 1) == [(0, 5), (10, 15), (20, 25)]


def test_a_part_that_a_span_reaches_into_is_split_when_it_is_full() -> None:
    plain = CountedTimeline[str](9)
    plain.limit = 4
    for start in (0, 10, 20, 30, 40):
        plain.put(0, start, start + 5, 1, f"{start}")
    line = PartitionedTimeline(plain)
    assert list(line.parts)[1:] == [20]
    for part in line.parts.values():
        part.limit = 3
    for start in (16, 17, 18):  # over the border, into both parts
        place = line.room(start, start + 6, 1)
        assert place == ACROSS
        line.put(place, start, start + 6, 1, f"over-{start}")
    assert len(line.parts) > 2
    line.check_invariants()


def test_spans_that_cannot_be_parted_do_not_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long spans all overlap, four times as many as a part may have: cutting them would only
    double them each time."""
    monkeypatch.setattr("slotengine.core.ledger.timeline.MOST_IN_PLAIN_LISTS", 64)
    made = Made()
    resource = made.resource("stadium", 100_000)
    for i in range(300):
        resource.take(resource.timeline.room(i, 1_000_000, 1), i, 1_000_000, 1, made.entry())
    assert isinstance(resource.timeline, PartitionedTimeline)
    stored = sum(len(part) for part in resource.timeline.parts.values())
    assert stored == 300
    resource.check_invariants()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40)), min_size=30, max_size=60))
def test_partitions_agree_with_one_plain_timeline(pairs: list[tuple[int, int]]) -> None:
    plain = CountedTimeline[Owner](5)
    small = CountedTimeline[Owner](5)
    small.limit = 3
    cut: Timeline[Owner] = small
    for i, (start, length) in enumerate(pairs):
        end, owner = start + length, Owner(i)
        room = plain.room(start, end, 1)
        place = cut.room(start, end, 1)
        assert (place == NO_ROOM) == (room == NO_ROOM)
        if room != NO_ROOM:
            plain.put(room, start, end, 1, owner)
            if cut.put(place, start, end, 1, owner):
                cut = PartitionedTimeline(small)
    cut.check_invariants()


def test_of_spans_with_one_start_those_that_are_over_are_left_out() -> None:
    line: Plain[str] = timeline_for(3)
    for end, owner in ((10, "short"), (12, "long")):
        line.put(line.room(0, end, 1), 0, end, 1, owner)
    assert sorted(line.overlapping(0, 20), key=lambda one: one.end) == [
        Taken(0, 10, 1, "short"),
        Taken(0, 12, 1, "long"),
    ]
    assert list(line.overlapping(11, 20)) == [Taken(0, 12, 1, "long")]


@pytest.mark.parametrize("capacity", [1, 2])
def test_starts_on_a_long_timeline_are_sifted_part_by_part(capacity: int) -> None:
    plain: Plain[str] = timeline_for(capacity)
    plain.limit = 2
    for start, owner in ((0, "a"), (10, "b"), (20, "c")):
        plain.put(plain.room(start, start + 5, capacity), start, start + 5, capacity, owner)
    line = PartitionedTimeline(plain)
    assert len(line.parts) == 2
    assert line.sifted(range(-2, 27), 0, 1, 1) == (
        [-2, -1, 5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 25, 26],
        [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24],
    )
    assert line.sifted(range(4, 12), 1, 1, 1) == ([6, 7, 8, 9], [4, 5, 10, 11])
    assert line.changes(0, 25) >= line.changes(0, 5) >= 1


def test_pieces_of_spans_of_units_name_who_took_each() -> None:
    line: Plain[str] = timeline_for(3)
    for start, end, owner in ((0, 10, "a"), (5, 4_000, "b")):
        line.put(line.room(start, end, 1), start, end, 1, owner)
    assert line.pieces(2, 8) == ([(0, 10), (5, 4_000)], ["a", "b"])
    assert line.pieces(20, 30) == ([(5, 4_000)], ["b"])
