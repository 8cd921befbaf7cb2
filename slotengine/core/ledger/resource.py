"""A thing that can be taken, and what is taken of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from sortedcontainers import SortedList

from slotengine.core.ledger.coverage import Coverage
from slotengine.core.ledger.timeline import (
    END_OF_TIME,
    NO_ROOM,
    START_OF_TIME,
    CountedTimeline,
    ExclusiveTimeline,
    PartitionedTimeline,
    Taken,
    Timeline,
    timeline_for,
)
from slotengine.core.time.interval import Span, clipped, joined

if TYPE_CHECKING:
    from slotengine.core.ledger.config import HoursRef
    from slotengine.core.time.schedule import Windows


class Occupant(Protocol):
    """What takes a resource, as far as a resource must know it."""

    @property
    def number(self) -> int:
        """What it is called in a timeline."""

    @property
    def event_type(self) -> str | None:
        """The event type that it counts for, in turns."""

    @property
    def created(self) -> int:
        """When it was made."""

    @property
    def until(self) -> int:
        """When it lapses."""


Owner = TypeVar("Owner", bound=Occupant)

NOBODY_YET: Final = START_OF_TIME

NO_NUMBER: Final = -1
"""The number of what no row refers to, such as a limit."""


class Turns(NamedTuple):
    """How much of one event type a resource has, and when it was given the latest of it."""

    load: int
    latest: int


NO_TURNS: Final = Turns(0, NOBODY_YET)


class Imported(NamedTuple):
    """A span in which a resource is busy with something that is no reservation."""

    start: int
    end: int
    source: str


class Resource(Generic[Owner]):
    """A host, a room, a table, a court: with an id, a capacity in units, and opening hours.

    Without a schedule it is always open.  What is imported as ``busy`` takes all
    units of it; reservations that are there already stay.  So it is while it is ``retired``,
    which is for all time.
    """

    __slots__ = (
        "_imported",
        "_owner_of",
        "busy",
        "capacity",
        "hours",
        "id",
        "number",
        "overbooked",
        "restricted",
        "retired",
        "schedule",
        "timeline",
        "turn_times",
        "version",
    )

    def __init__(
        self,
        id: str,
        owner_of: Callable[[int], Owner],
        capacity: int = 1,
        schedule: Windows | None = None,
    ) -> None:
        assert capacity >= 1
        self.id = id
        self._owner_of = owner_of  # what is called so in the timeline
        self.number = NO_NUMBER
        """What it is called in the rows of reservations (`store`)."""
        self.capacity = capacity
        self.schedule = schedule
        self.hours: HoursRef = schedule
        """The schedule as it is configured: by name, by text, or itself."""
        self.retired = False
        """Whether nothing new can be taken of it."""
        self.restricted = False
        """Whether it is retired, or there is imported busy time: it must be asked about both."""
        self.version = 0
        """The edition of the configuration in which it was last changed."""
        self.timeline: Timeline[int] = timeline_for(capacity)
        self.overbooked = False
        """Whether it was ever taken beyond its capacity, by what was adopted (`Ledger.adopt`)."""
        self.busy: Coverage | None = None
        """All imported busy time together; None if there is none."""
        self._imported: dict[str, tuple[int, ...]] = {}
        self.turn_times: dict[str, SortedList[int]] | None = None
        """For each event type when what stands was created; None unless turns are counted."""

    # --- Reservations ------------------------------------------------------------------

    @property
    def load(self) -> int:
        """How many claims stand in the timeline.  O(1)."""
        return len(self.timeline)

    def overlapping(self, start: int, end: int) -> list[Taken[Owner]]:
        """Return what is taken in a span, in order of start, with who took it.  O(log n + k)."""
        owner_of = self._owner_of
        return [
            Taken(begins, ends, units, owner_of(number))
            for begins, ends, units, number in self.timeline.overlapping(start, end)
        ]

    def take(self, place: int, start: int, end: int, units: int, owner: Owner) -> None:
        """Take a span at a place that the timeline's ``room`` gave, or though it gave none.

        `Ledger.reserve` has this written out.
        """
        # There may have been more units when what a snapshot restores was taken.
        if (place == NO_ROOM or units > self.capacity) and not self.overbooked:
            self._overbook()
        if self.timeline.put(place, start, end, units, owner.number):
            self.partition()
        if self.turn_times is not None:
            self.count_turn(owner)

    def partition(self) -> None:
        """Let a timeline that has outgrown itself be one of parts."""
        assert isinstance(self.timeline, ExclusiveTimeline | CountedTimeline)
        self.timeline = PartitionedTimeline(self.timeline)

    def _overbook(self) -> None:
        """Let more be taken than there is: spans are counted, however many overlap."""
        self.overbooked = True
        self._refill(CountedTimeline(self.capacity))

    def set_capacity(self, capacity: int, *, counted: bool = False) -> None:
        """Let there be another number of units; all that stands stays, whether it fits or not.

        With ``counted`` spans are counted even if there is one unit.  O(n) to find the most
        that is taken, and O(n log n) if spans were counted and are not any more, or the
        other way round.
        """
        assert capacity >= 1
        assert capacity != self.capacity
        self.capacity = capacity
        self.overbooked = self.timeline.peak() > capacity
        if capacity == 1 and not self.overbooked and not counted:
            self._refill(ExclusiveTimeline())
        elif not self.timeline.set_capacity(capacity):
            self._refill(CountedTimeline(capacity))

    def _refill(self, timeline: ExclusiveTimeline[int] | CountedTimeline[int]) -> None:
        """Let all that is taken stand in another timeline, which is empty.  O(n log n)."""
        taken = self.timeline.overlapping(START_OF_TIME, END_OF_TIME)
        self.timeline = timeline
        for start, end, units, number in taken:
            place = self.timeline.room(start, end, units)
            if self.timeline.put(place, start, end, units, number):
                self.partition()

    def count_turn(self, owner: Owner) -> None:
        """Count what was taken among the turns, which are counted."""
        assert self.turn_times is not None
        if owner.event_type is not None:
            self.turn_times.setdefault(owner.event_type, SortedList()).add(owner.created)

    def give_back(self, start: int, end: int, units: int, owner: Owner) -> None:
        """Give back a span that the owner took."""
        self.timeline.remove(start, end, units, owner.number)
        if self.turn_times is not None and owner.event_type is not None:
            created = self.turn_times[owner.event_type]
            created.remove(owner.created)
            if not created:  # any text may be the label of an event type
                del self.turn_times[owner.event_type]

    def count_turns(self) -> None:
        """Count turns from now on, for whoever chooses by them.  O(n) the first time."""
        if self.turn_times is None:
            self.turn_times = self._counted()

    def _counted(self) -> dict[str, SortedList[int]]:
        turns: dict[str, SortedList[int]] = {}
        for taken in self.overlapping(START_OF_TIME, END_OF_TIME):
            event_type = taken.owner.event_type
            if event_type is not None:
                turns.setdefault(event_type, SortedList()).add(taken.owner.created)
        return turns

    # --- Imported busy time --------------------------------------------------------------

    def replace_busy(self, source: str, edges: tuple[int, ...]) -> None:
        """Let these edges be all that a source says.

        O(k log n) for k of its spans, old and new, and what others say beneath them.
        """
        before = self._imported.pop(source, ())
        if edges:
            self._imported[source] = edges
        busy = Coverage() if self.busy is None else self.busy
        busy.change(less=_spans(before), more=_spans(edges))
        self.busy = busy if self._imported else None
        self.restricted = self.retired or self.busy is not None

    def set_retired(self, retired: bool) -> None:
        """Let nothing new be taken of it, or let that be over."""
        self.retired = retired
        self.restricted = retired or self.busy is not None

    def is_closed_to(self, start: int, end: int) -> bool:
        """Return whether it is retired, or any of the span is imported busy time.  O(log n)."""
        return self.retired or self.is_busy(start, end)

    def is_busy(self, start: int, end: int) -> bool:
        """Return whether any of the span is imported busy time.  O(log n)."""
        return self.busy is not None and self.busy.touches(start, end)

    def busy_in(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the imported busy spans that have an instant of the span, whole and joined."""
        return iter(()) if self.busy is None else self.busy.touching(start, end)

    def spans_of(self, source: str) -> tuple[Span, ...]:
        """Return the spans that a source says it is busy."""
        return tuple(_spans(self._imported.get(source, ())))

    def imported_in(self, start: int, end: int) -> list[Imported]:
        """Return what each source says of the span, in order, cut to it."""
        return sorted(
            Imported(low, high, source)
            for source, edges in self._imported.items()
            for low, high in clipped(edges, start, end)
        )

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n log n); for tests and simulation."""
        self.timeline.check_invariants()
        if not self.overbooked:
            taken = self.timeline.overlapping(START_OF_TIME, END_OF_TIME)
            assert all(self.timeline.level(one.start) <= self.capacity for one in taken)
        assert self.load == len(self.timeline.overlapping(START_OF_TIME, END_OF_TIME))
        assert all(self._imported.values())
        assert self.restricted == (self.retired or self.busy is not None)
        if self.busy is None:
            assert not self._imported
        else:
            self.busy.check_invariants()
            every = [span for edges in self._imported.values() for span in _spans(edges)]
            covered = chain.from_iterable(self.busy.touching(START_OF_TIME, END_OF_TIME))
            assert tuple(covered) == joined(every)
        if self.turn_times is not None:
            counted = {name: list(created) for name, created in self._counted().items()}
            assert counted == {name: list(one) for name, one in self.turn_times.items()}


def _spans(edges: Sequence[int]) -> Iterator[Span]:
    """Yield the windows between edges."""
    return zip(edges[::2], edges[1::2], strict=True)
