"""A resource whose capacity changes under what is taken of it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slotengine.core.ledger.reservation import Entry, Reservable, Session
from slotengine.core.ledger.timeline import (
    END_OF_TIME,
    MOST_IN_PLAIN_LISTS,
    NO_ROOM,
    START_OF_TIME,
    CountedTimeline,
    ExclusiveTimeline,
    PartitionedTimeline,
    Taken,
)
from slotengine.testing import strategies
from tests.core.ledger.entries import Made
from tests.sizes import machine_size

Standing = list[Taken[Entry | Session]]

capacities = st.integers(1, 3)
spans = strategies.spans(last=9)


class ResizedAgainstList(RuleBasedStateMachine):
    """Goal: a resource answers as a list of claims does, however its capacity was changed.

    Method: spans are taken if the list has room for them, or in spite of that; in between
    the capacity is raised and lowered, also below what is taken.
    """

    @initialize(capacity=capacities)
    def begin(self, capacity: int) -> None:
        self.made = Made()
        self.resource = self.made.resource("room", capacity)
        self.taken: Standing = []

    def level(self, moment: int) -> int:
        return sum(one.units for one in self.taken if one.start <= moment < one.end)

    def has_room(self, start: int, end: int, units: int) -> bool:
        capacity = self.resource.capacity
        return all(self.level(moment) + units <= capacity for moment in range(start, end))

    @rule(capacity=capacities)
    def change_capacity(self, capacity: int) -> None:
        if capacity != self.resource.capacity:
            self.resource.set_capacity(capacity)
        assert self.resource.capacity == capacity
        self.is_of_the_cheapest_kind()

    def is_of_the_cheapest_kind(self) -> None:
        peak = max((self.level(moment) for moment in range(20)), default=0)
        resource = self.resource
        if not resource.overbooked:
            assert peak <= resource.capacity
            kind = ExclusiveTimeline if resource.capacity == 1 else CountedTimeline
            assert isinstance(resource.timeline, kind)

    @rule(span=spans, units=st.integers(1, 2), whatever=st.booleans())
    def take(self, span: tuple[int, int], units: int, whatever: bool) -> None:
        place = self.resource.timeline.room(*span, units)
        fits = self.has_room(*span, units)
        # One unit is never asked for more: that is checked before.
        if self.resource.capacity > 1 or units == 1:
            assert (place != NO_ROOM) == fits
        if fits or whatever:
            owner = self.made.entry()
            self.resource.take(place if fits else NO_ROOM, *span, units, owner)
            self.taken.append(Taken(*span, units, owner))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.taken))
        self.taken.remove(one)
        self.resource.give_back(*one)

    @invariant()
    def invariants_hold(self) -> None:
        self.resource.check_invariants()
        standing = self.resource.overlapping(START_OF_TIME, END_OF_TIME)
        assert sorted(standing, key=_number) == sorted(self.taken, key=_number)
        peak = max((self.level(moment) for moment in range(20)), default=0)
        assert self.resource.timeline.peak() == peak


def _number(taken: Taken[Entry | Session]) -> tuple[int, int]:
    return taken.start, taken.owner.number


TestResizedAgainstList = ResizedAgainstList.TestCase
TestResizedAgainstList.settings = machine_size(steps=30)


def taken(spans: list[tuple[int, int]], capacity: int = 1) -> tuple[Reservable, Standing]:
    """Return a resource of which spans are taken, and what is taken of it."""
    made, standing = Made(), Standing()
    resource = made.resource("room", capacity)
    for start, end in spans:
        owner = made.entry()
        place = resource.timeline.room(start, end, 1)
        resource.take(place, start, end, 1, owner)
        standing.append(Taken(start, end, 1, owner))
    return resource, standing


def test_one_unit_becomes_several_and_one_again() -> None:
    resource, standing = taken([(0, 10), (10, 17)])
    resource.set_capacity(3)
    assert isinstance(resource.timeline, CountedTimeline)
    assert resource.timeline.room(0, 17, 2) != NO_ROOM
    assert resource.timeline.room(9, 11, 3) == NO_ROOM
    resource.set_capacity(2)
    assert resource.timeline.room(0, 17, 2) == NO_ROOM
    resource.set_capacity(1)
    assert isinstance(resource.timeline, ExclusiveTimeline)
    assert resource.overlapping(0, 20) == standing
    assert not resource.overbooked
    resource.check_invariants()


def test_what_does_not_fit_any_more_stays() -> None:
    resource, standing = taken([(0, 10), (5, 15)], capacity=2)
    resource.set_capacity(1)
    assert resource.overbooked
    assert resource.overlapping(0, 20) == standing
    assert resource.timeline.room(12, 16, 1) == NO_ROOM
    assert resource.timeline.room(15, 16, 1) != NO_ROOM
    resource.check_invariants()
    resource.set_capacity(2)
    assert not resource.overbooked
    resource.check_invariants()


def test_a_limit_of_one_stays_counted() -> None:
    limit = Made().resource("limit:some", 2)
    limit.set_capacity(1, counted=True)
    assert isinstance(limit.timeline, CountedTimeline)
    assert limit.timeline.capacity == 1


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 3), (2, 1)])
def test_a_long_timeline_changes_its_kind(before: int, after: int) -> None:
    """Also one of parts, and of spans that reach over their borders."""
    spans = [(start * 10, start * 10 + 9) for start in range(3 * MOST_IN_PLAIN_LISTS)]
    resource, standing = taken(spans, before)
    assert isinstance(resource.timeline, PartitionedTimeline)
    resource.set_capacity(after)
    assert isinstance(resource.timeline, PartitionedTimeline)
    assert resource.overlapping(START_OF_TIME, END_OF_TIME) == standing
    assert resource.timeline.peak() == 1
    assert (resource.timeline.room(3, 100_000, after) == NO_ROOM) is True
    assert (resource.timeline.room(3, 7, after - 1 or 1) == NO_ROOM) is (after == 1)
    resource.check_invariants()
    for one in standing:
        resource.give_back(*one)
    assert resource.load == 0
    resource.check_invariants()
