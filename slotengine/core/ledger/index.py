"""Finding reservations: by holder, tag, series, state, event type, resource and time.

An `Index` is built when it is first asked, field by field and order by order, and kept up to
date from then on.  Who asks nothing pays for nothing.

Each answer is a page in a stated order, and the next page begins after the `Place` of the
last reservation told.  A place is made of what the reservation itself says: its time in that
order, and its serial number.  So one that stays as it is keeps its place, whatever others
come, go and change between two pages: it is told once.  One that changes may be told twice,
or not at all, if its place moved across the cursor.

Times are UTC microseconds, spans are half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sortedcontainers import SortedDict

from slotengine.core.ledger.reservation import HELD, Entry, State, is_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

Place: TypeAlias = tuple[int, int]
"""Where a reservation stands in an order: its time in that order, and its serial number."""

SMALL: Final = 64
"""So many reservations are looked through and sorted for each question, rather than kept sorted.

Most holders have a few: a sorted index for each would take more memory than what it is about."""


LIVE: Final = frozenset({HELD, State.CONFIRMED})
"""The states of what stands in timelines."""


class Order(Enum):
    """By which time reservations are listed; those of one time by serial number."""

    START = "start"
    """The start of the slot."""
    CREATED = "created"
    """When it was made."""
    CHANGED = "changed"
    """When its latest change was recorded."""


class Query(NamedTuple):
    """Which reservations are looked for: those that are all that is said here."""

    holder: str | None = None
    tag: str | None = None
    series: str | None = None
    event_type: str | None = None
    resource: str | None = None
    states: frozenset[State] | None = None
    """As of now: a hold that has lapsed is expired."""
    within: tuple[int, int] | None = None
    """A span that the slot overlaps; with a resource, one in which the resource is claimed."""
    created_since: int | None = None
    changed_since: int | None = None
    """A change counts from when it was recorded: an expiry from when the hold was marked."""
    order: Order = Order.START
    descending: bool = False

    @property
    def is_of_a_timeline(self) -> bool:
        """Whether all that is looked for stands in the timeline of its resource."""
        return (
            self.resource is not None
            and self.within is not None
            and self.states is not None
            and self.states <= LIVE
            and not is_limit(self.resource)
        )


class Page(NamedTuple):
    """Some of the reservations that were found."""

    entries: list[Entry]
    after: Place | None
    """Where the next page begins; None if this is the last one."""
    total: int | None
    """How many there are on all pages now, if that was asked."""


class _Field(Enum):
    ALL = "all"
    HOLDER = "holder"
    TAG = "tag"
    SERIES = "series"
    EVENT_TYPE = "event_type"
    RESOURCE = "resource"
    STATE = "state"


_Value: TypeAlias = tuple[_Field, str | State | None]


def _values(entry: Entry, field: _Field) -> Iterable[str | State | None]:
    """Return under which values of a field a reservation is found."""
    extra = entry.extra
    match field:
        case _Field.ALL:
            return (None,)
        case _Field.HOLDER:
            return () if entry.holder is None else (entry.holder,)
        case _Field.EVENT_TYPE:
            return () if entry.event_type is None else (entry.event_type,)
        case _Field.TAG:
            return () if extra is None else extra.tags
        case _Field.SERIES:
            return () if extra is None or extra.series is None else (extra.series.uid,)
        case _Field.RESOURCE:
            names = (claim.resource for claim in entry.all_claims())
            return dict.fromkeys(name for name in names if not is_limit(name))
        case _:
            assert field is _Field.STATE
            return (entry.state,)


def _time(one: Entry | _Filing, order: Order) -> int:
    match order:
        case Order.START:
            return one.start
        case Order.CREATED:
            return one.created
        case _:
            return one.changed


def _size(entry: Entry) -> int:
    """Return the size class of a reservation: all that it takes is shorter than 2 to that power.

    What overlaps a span starts at most its own length before that span.  In one class with
    the very longest, a year's lease would make each search look at a year.
    """
    claims = [claim for claim in entry.all_claims() if not is_limit(claim.resource)]
    first = min([entry.start, *(claim.start for claim in claims)])
    last = max([entry.end, *(claim.end for claim in claims)])
    return (last - first).bit_length()


class _Posting:
    """The reservations of one value of one field."""

    __slots__ = ("entries", "orders")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}  # by serial number
        # Of each order that was asked for: the places of each size class, sorted.  Only lists
        # by start need classes; the others have one.
        self.orders: dict[Order, dict[int, SortedDict[Place, Entry]]] = {}

    def add(self, entry: Entry, filing: _Filing) -> None:
        self.entries[entry.serial] = entry
        for order in self.orders:
            self._sort_in(order, entry, filing)

    def remove(self, serial: int, filing: _Filing) -> None:
        del self.entries[serial]
        for order, classes in self.orders.items():
            size = filing.size if order is Order.START else 0
            del classes[size][_time(filing, order), serial]

    def _sort_in(self, order: Order, entry: Entry, filing: _Filing) -> None:
        classes = self.orders[order]
        size = filing.size if order is Order.START else 0
        if size not in classes:
            classes[size] = SortedDict()
        classes[size][_time(filing, order), entry.serial] = entry

    def sort(self, order: Order, filed: Mapping[int, _Filing]) -> None:
        """Keep an order from now on.  O(n log n), the first time."""
        if order not in self.orders:
            self.orders[order] = {}
            for serial, entry in self.entries.items():
                self._sort_in(order, entry, filed[serial])


class _Filing(NamedTuple):
    """Under what a reservation is found."""

    start: int
    size: int
    created: int
    changed: int
    values: tuple[_Value, ...]


class Index:
    """Which reservations there are, by what is asked.

    ``entries`` are all that are known, and ``lapsed`` returns the holds that have lapsed by a
    moment and are not marked yet.  After each change of a reservation call `update`, and
    `remove` when it is forgotten.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        lapsed: Callable[[int], Iterable[Entry]],
        retention: int,
        *,
        small: int = SMALL,
    ) -> None:
        self._small = small
        self._entries = entries
        self._lapsed = lapsed
        self._retention = retention
        self._fields: list[_Field] = []
        self._postings: dict[_Value, _Posting] = {}
        self._filed: dict[int, _Filing] = {}

    @property
    def has_resources(self) -> bool:
        """Whether it was ever asked for what claims a resource, and has looked at all for that."""
        return _Field.RESOURCE in self._fields

    # --- Keeping up ------------------------------------------------------------------------

    def update(self, entry: Entry) -> None:
        """Take note of a reservation that is new or has changed.

        O(f log n) for the f fields that were ever asked for.
        """
        filing = self._filing(entry)
        before = self._filed.get(entry.serial)
        if filing != before:
            if before is not None:
                self._take_out(entry.serial, before)
            self._filed[entry.serial] = filing
            for value in filing.values:
                self._put_in(value, entry, filing)

    def remove(self, entry: Entry) -> None:
        """Take note of a reservation that is forgotten."""
        self._take_out(entry.serial, self._filed.pop(entry.serial))

    def _filing(self, entry: Entry) -> _Filing:
        values = tuple((field, value) for field in self._fields for value in _values(entry, field))
        return _Filing(entry.start, _size(entry), entry.created, entry.changed, values)

    def _put_in(self, value: _Value, entry: Entry, filing: _Filing) -> None:
        posting = self._postings.get(value)
        if posting is None:
            posting = self._postings[value] = _Posting()
        posting.add(entry, filing)

    def _take_out(self, serial: int, filing: _Filing) -> None:
        for value in filing.values:
            posting = self._postings[value]
            posting.remove(serial, filing)
            if not posting.entries:
                del self._postings[value]

    def _use(self, field: _Field) -> None:
        """Keep an index of a field from now on.  O(n), the first time."""
        if field in self._fields:
            return
        self._fields.append(field)
        for entry in self._entries.values():
            before = self._filed.get(entry.serial)
            filing = self._filed[entry.serial] = self._filing(entry)
            for value in filing.values[0 if before is None else len(before.values) :]:
                self._put_in(value, entry, filing)

    # --- Asking ----------------------------------------------------------------------------

    def find(
        self,
        query: Query,
        now: int,
        *,
        limit: int,
        after: Place | None = None,
        count: bool = False,
    ) -> Page:
        """Return a page of what is found, and how many there are in all if asked to ``count``.

        Of the ended ones, those within the retention.  O(m + k log n) for k that are returned
        and m that are found by the one condition that fewest meet; after a question by
        something new, once O(n log n) for all n reservations.
        """
        sources = self._sources(query, now)
        chosen, fewest = query.order, sum(len(one.entries) for one in sources)
        if fewest <= self._small:
            found = [entry for one in sources for entry in one.entries.values()]
            return self.page_of(found, query, now, limit, after, count=count)
        for order in _restricted(query):
            there = sum(self._count(one, order, query) for one in sources)
            if there < fewest:
                chosen, fewest = order, there
        if chosen is not query.order:
            found = [entry for one in sources for entry in self._walk(one, chosen, query, None)]
            return self.page_of(found, query, now, limit, after, count=count)

        def walk(after: Place | None) -> Iterator[Entry]:
            walks = [self._walk(one, chosen, query, after) for one in sources]
            ordered = _merged(walks, query)
            return (entry for entry in ordered if self.is_found(entry, query, now))

        total = sum(1 for _ in walk(None)) if count else None
        return _page(list(islice(walk(after), limit + 1)), query, limit, total)

    def _sources(self, query: Query, now: int) -> list[_Posting]:
        """Return postings that have all that is looked for: those of the rarest condition."""
        asked = {
            _Field.HOLDER: query.holder,
            _Field.TAG: query.tag,
            _Field.SERIES: query.series,
            _Field.EVENT_TYPE: query.event_type,
            _Field.RESOURCE: query.resource,
        }
        each = [self._posting(field, value) for field, value in asked.items() if value is not None]
        sources = [min(each, key=lambda one: len(one.entries))] if each else None
        if query.states is not None:
            of_states = [self._posting(_Field.STATE, one) for one in State if one in query.states]
            if State.EXPIRED in query.states and HELD not in query.states:
                of_states.append(self._unmarked(now))
            if sources is None or sum(len(one.entries) for one in of_states) < len(
                sources[0].entries
            ):
                sources = of_states
        return [self._posting(_Field.ALL, None)] if sources is None else sources

    def _posting(self, field: _Field, value: str | State | None) -> _Posting:
        self._use(field)
        return self._postings.get((field, value)) or _Posting()

    def _unmarked(self, now: int) -> _Posting:
        posting = _Posting()
        posting.entries.update((entry.serial, entry) for entry in self._lapsed(now))
        return posting

    def _count(self, posting: _Posting, order: Order, query: Query) -> int:
        """Return how many meet a restriction of one order, or a few more.  O(log n)."""
        posting.sort(order, self._filed)
        there = 0
        for size, places in posting.orders[order].items():
            first, last = _bounds(order, size, query)
            below = 0 if first is None else places.bisect_left(first)
            there += (len(places) if last is None else places.bisect_left(last)) - below
        return there

    def _walk(
        self, posting: _Posting, order: Order, query: Query, after: Place | None
    ) -> Iterator[Entry]:
        """Yield what meets a restriction of one order, or a few more, from the cursor on."""
        posting.sort(order, self._filed)
        walks = []
        down = query.descending and order is query.order
        for size, places in posting.orders[order].items():
            first, last = _bounds(order, size, query)
            if after is not None and down:
                last = after if last is None else min(after, last)
            elif after is not None:
                first = after if first is None else max(after, first)
            # No serial number is 0, so nothing stands at a bound of time.
            keys = places.irange(first, last, inclusive=(False, False), reverse=down)
            walks.append(map(places.__getitem__, keys))
        return iter(_merged(walks, query)) if order is query.order else chain.from_iterable(walks)

    def is_found(self, entry: Entry, query: Query, now: int) -> bool:
        """Return whether a reservation is what is looked for."""
        if entry.until + self._retention <= now:
            return False
        extra = entry.extra
        return (
            (query.holder is None or entry.holder == query.holder)
            and (query.event_type is None or entry.event_type == query.event_type)
            and (query.states is None or entry.state_at(now) in query.states)
            and (query.created_since is None or entry.created >= query.created_since)
            and (query.changed_since is None or entry.changed >= query.changed_since)
            and (query.tag is None or (extra is not None and query.tag in extra.tags))
            and (query.series is None or query.series in _values(entry, _Field.SERIES))
            and _takes(entry, query.resource, query.within)
        )

    def page_of(
        self,
        found: Iterable[Entry],
        query: Query,
        now: int,
        limit: int,
        after: Place | None,
        *,
        count: bool,
    ) -> Page:
        """Return a page of those of these that are looked for, as `find` does."""
        entries = [entry for entry in found if self.is_found(entry, query, now)]
        total = len(entries) if count else None
        down = query.descending
        if after is not None:
            entries = [
                entry
                for entry in entries
                if (place := _place(entry, query)) != after and (place > after) != down
            ]
        entries.sort(key=lambda entry: _place(entry, query), reverse=down)
        return _page(entries[: limit + 1], query, limit, total)

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert that everything is found where it should be.  O(n log n); for tests."""
        known = {entry.serial: entry for entry in self._entries.values()}
        assert len(known) == len(self._entries)
        assert not self._fields or self._filed.keys() == known.keys()
        there: dict[_Value, set[int]] = {}
        for serial, filing in self._filed.items():
            assert filing == self._filing(known[serial])
            for value in filing.values:
                there.setdefault(value, set()).add(serial)
        assert {value: set(one.entries) for value, one in self._postings.items()} == there
        for posting in self._postings.values():
            for order, classes in posting.orders.items():
                placed = [entry for places in classes.values() for entry in places.values()]
                assert {entry.serial for entry in placed} == posting.entries.keys()
                assert len(placed) == len(posting.entries)
                for places in classes.values():
                    assert all(place[0] == _time(one, order) for place, one in places.items())


def _restricted(query: Query) -> Iterator[Order]:
    """Yield the orders in which only a part need be looked at."""
    if query.within is not None:
        yield Order.START
    if query.created_since is not None:
        yield Order.CREATED
    if query.changed_since is not None:
        yield Order.CHANGED


def _bounds(order: Order, size: int, query: Query) -> tuple[Place | None, Place | None]:
    """Return between which places of a size class all is that meets the restriction."""
    if order is Order.START:
        if query.within is None:
            return None, None
        start, end = query.within
        longest = 1 << size
        return (start - longest, 0), (end + longest, 0)
    since = query.created_since if order is Order.CREATED else query.changed_since
    return (None if since is None else (since, 0)), None


def _takes(entry: Entry, resource: str | None, within: tuple[int, int] | None) -> bool:
    if resource is None:
        return within is None or (entry.start < within[1] and within[0] < entry.end)
    theirs = [claim for claim in entry.all_claims() if claim.resource == resource]
    if within is None:
        return bool(theirs)
    return any(claim.start < within[1] and within[0] < claim.end for claim in theirs)


def _place(entry: Entry, query: Query) -> Place:
    return _time(entry, query.order), entry.serial


def _merged(walks: Sequence[Iterator[Entry]], query: Query) -> Iterable[Entry]:
    if len(walks) == 1:
        return walks[0]
    return merge(*walks, key=lambda entry: _place(entry, query), reverse=query.descending)


def _page(entries: list[Entry], query: Query, limit: int, total: int | None) -> Page:
    after = _place(entries[limit - 1], query) if len(entries) > limit else None
    return Page(entries[:limit], after, total)
