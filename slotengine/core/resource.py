"""A thing that can be taken, and what is taken of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotengine.core.timeline import (
    END_OF_TIME,
    NO_ROOM,
    START_OF_TIME,
    CountedTimeline,
    ExclusiveTimeline,
    PartitionedTimeline,
    Timeline,
    timeline_for,
)

if TYPE_CHECKING:
    from slotengine.core.reservation import Entry, Session
    from slotengine.core.schedule import Windows


class Resource:
    """A host, a room, a table, a court: with an id, a capacity in units, and opening hours.

    Without a schedule it is always open.
    """

    __slots__ = ("capacity", "id", "load", "schedule", "timeline")

    def __init__(self, id: str, capacity: int = 1, schedule: Windows | None = None) -> None:
        assert capacity >= 1
        self.id = id
        self.capacity = capacity
        self.schedule = schedule
        self.timeline: Timeline[Entry | Session] = timeline_for(capacity)
        self.load = 0
        """How many claims stand in the timeline."""

    def take(self, place: int, start: int, end: int, units: int, owner: Entry | Session) -> None:
        """Take a span at a place that the timeline's ``room`` gave."""
        assert place != NO_ROOM
        timeline = self.timeline
        if timeline.put(place, start, end, units, owner):
            assert isinstance(timeline, ExclusiveTimeline | CountedTimeline)
            self.timeline = PartitionedTimeline(timeline)
        self.load += 1

    def give_back(self, start: int, end: int, units: int, owner: Entry | Session) -> None:
        """Give back a span that the owner took."""
        self.timeline.remove(start, end, units, owner)
        self.load -= 1

    def _check(self) -> None:
        """Assert every invariant.  O(n log n); for tests and simulation."""
        self.timeline._check()
        assert self.load == len(self.timeline.overlapping(START_OF_TIME, END_OF_TIME))
