"""When a resource is open: weekly hours, overrides, travel and absences -> windows.

A schedule is written in local time; the rest of the core uses UTC microseconds.  This
module converts one to the other, by one rule:

    An instant is open if and only if it is open on some local date.  Read in the zone
    that applies on that date, the instant must fall on that date, at a time of day
    within the date's hours.

Everything else follows from that rule.

- Across a change of offset, hours keep their local times.  09:00-17:00 stays
  09:00-17:00, although 01:00-04:00 may last an hour more or less on such a day.
- A time that occurs twice (``fold`` 0 and 1 of PEP 495) is open both times or neither:
  01:00-01:30 in a night that repeats 01:00-02:00 is *two* windows.
- A time that is skipped does not exist.  Hours that begin or end in a gap begin or end
  at the change.  Hours that lie in a gap, or on a date that the zone skipped, are empty.

What is open on a date:

- A date has the hours of its override if it has one, and otherwise its weekly hours.
- Hours that run past midnight belong to the date on which they begin, so an override
  does not cut the night before short.
- A date in an absence has no hours at all: hours that began the evening before end at
  midnight.
- The zone is that of the trip that includes the date, and otherwise the home zone.  Around
  a trip, an instant may fall on two dates, or on none.  It is open if it is on either.

Windows are computed on first use and cached in buckets of fixed length, so nothing is
ever computed from the beginning of time.  This module knows nothing of reservations,
clocks or event types.  Spans are half-open, ``[start, end)``.  Every schedule is closed
before 0001-01-03 and from 9999-12-31 (UTC), where local times may lie outside the years 1 to 9999.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeVar

from slotengine.core.time.instant import DAY, MINUTE, to_us
from slotengine.core.time.interval import check_edges, clipped, joined
from slotengine.core.time.zone import (
    BUCKET_BITS,
    EPOCH_ORDINAL,
    FIRST_LOCAL,
    LAST_LOCAL,
    Zone,
)
from slotengine.errors import InvalidField

K = TypeVar("K")
T = TypeVar("T")

_DAY_MIN: Final = 24 * 60
# Nine years.  A full cache of an ordinary schedule takes about 0.4 MB.
BUCKETS_KEPT: Final = 256

_DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS_TEXT: Final = re.compile(r"([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")


# --- The protocol, and simple schedules ------------------------------------------------


class Windows(Protocol):
    """The protocol of a schedule: anything that knows when it is open."""

    def covers(self, start: int, end: int, /) -> bool:
        """Return whether the whole span is open."""
        ...

    def windows(self, start: int, end: int, /) -> Iterator[tuple[int, int]]:
        """Yield what is open within the span, in order; no two windows touch."""
        ...


class AlwaysOpen:
    """A schedule that is always open.  Its only instance is ``ALWAYS_OPEN``.

    >>> ALWAYS_OPEN.covers(10, 20), list(ALWAYS_OPEN.windows(10, 20))
    (True, [(10, 20)])
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AlwaysOpen)

    def __hash__(self) -> int:
        return hash(AlwaysOpen)

    def covers(self, start: int, end: int) -> bool:
        """Return True.  O(1)."""
        assert start < end
        return True

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the span itself.  O(1)."""
        assert start < end
        yield start, end


ALWAYS_OPEN: Final = AlwaysOpen()


def _each(spans: Iterable[tuple[int, int]]) -> Iterable[object]:
    if not isinstance(spans, Iterable):
        raise InvalidField("spans", f"must be an iterable of pairs of times, not {spans!r}")
    return spans


def _span(span: object) -> tuple[int, int]:
    if not isinstance(span, Sequence) or len(span) != 2:
        raise InvalidField("spans", f"must be pairs of times, but one is {span!r}")
    start, end = span
    if type(start) is not int or type(end) is not int:
        raise InvalidField("spans", f"must be in whole UTC microseconds, but one is {span!r}")
    if start >= end:
        raise InvalidField("spans", f"must each end after they start, but one is {span!r}")
    return start, end


class FixedWindows:
    """A schedule that is open in the given spans.  O(n log n) to create.

    The spans may come in any order, and are joined where they meet.  Two such schedules
    are equal if they are open at the same instants.

    >>> market = FixedWindows([(30, 40), (0, 10), (10, 15)])
    >>> market.covers(5, 15), market.covers(5, 16), list(market.windows(5, 35))
    (True, False, [(5, 15), (30, 35)])

    :raises InvalidField: if a span is not a pair of integers, or ends before it starts.
    """

    __slots__ = ("_edges",)

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._edges = joined([_span(one) for one in _each(spans)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedWindows) and self._edges == other._edges

    def __hash__(self) -> int:
        return hash(self._edges)

    @classmethod
    def between(cls, *spans: tuple[datetime, datetime]) -> FixedWindows:
        """Return a schedule that is open between pairs of aware datetimes.

        >>> from datetime import UTC, timedelta
        >>> day = datetime(2030, 1, 7, tzinfo=UTC)
        >>> fair = FixedWindows.between((day, day + timedelta(days=3)))
        """
        return cls((to_us(start, "spans"), to_us(end, "spans")) for start, end in spans)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield all windows, in order; no two meet."""
        return zip(self._edges[::2], self._edges[1::2], strict=True)

    def covers(self, start: int, end: int) -> bool:
        """Return whether the whole span is open.  O(log n)."""
        edges = self._edges
        after = bisect_right(edges, start)
        return after & 1 == 1 and end <= edges[after]

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is open within the span, in order.  O(log n + k) for k windows."""
        assert start < end
        return clipped(self._edges, start, end)

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests and simulation."""
        check_edges(self._edges)


class ScheduleIntersection(NamedTuple):
    """A schedule that is open when all of several schedules are.

    >>> ScheduleIntersection((FixedWindows([(0, 10)]), FixedWindows([(5, 15)]))).covers(5, 10)
    True
    """

    schedules: tuple[Windows, ...]

    def covers(self, start: int, end: int) -> bool:
        """Return whether all schedules are open for the whole span."""
        return all(schedule.covers(start, end) for schedule in self.schedules)

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where all schedules are open within the span, in order."""
        spans = [(start, end)]
        for schedule in self.schedules:
            spans = [window for span in spans for window in schedule.windows(*span)]
        yield from spans


class ScheduleUnion:
    """A schedule that is open when any of several immutable schedules is.

    >>> ScheduleUnion([FixedWindows([(0, 10)]), FixedWindows([(5, 15)])]).covers(2, 12)
    True
    """

    __slots__ = ("buckets", "schedules")

    def __init__(self, schedules: Iterable[Windows]) -> None:
        self.schedules = tuple(schedules)
        self.buckets: dict[int, tuple[int, ...]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleUnion) and self.schedules == other.schedules

    def __hash__(self) -> int:
        return hash(self.schedules)

    def covers(self, start: int, end: int) -> bool:
        """Return whether at every instant of the span at least one schedule is open."""
        return list(self.windows(start, end)) == [(start, end)]

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where any schedule is open within the span, in order, joined where windows meet.

        O(k) for k windows, once the buckets that the span touches are cached.
        """
        assert start < end
        edges = joined(
            window
            for bucket in range(start >> BUCKET_BITS, (end - 1 >> BUCKET_BITS) + 1)
            for window in clipped(self._edges(bucket), start, end)
        )
        return clipped(edges, start, end)

    def _edges(self, bucket: int) -> tuple[int, ...]:
        edges = self.buckets.get(bucket)
        if edges is None:
            if len(self.buckets) >= BUCKETS_KEPT:
                self.buckets.clear()
            span = bucket << BUCKET_BITS, bucket + 1 << BUCKET_BITS
            edges = joined(window for each in self.schedules for window in each.windows(*span))
            self.buckets[bucket] = edges
        return edges


# --- The parts of a schedule -----------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Hours:
    """A range of local time, in minutes after midnight.  24:00 is 1440.

    An end before the start is on the next date.  If the end equals the start, the range
    is empty.

    >>> str(Hours(22 * 60, 6 * 60))
    '22:00-06:00'

    :raises InvalidField: if a time is outside the day.  Only an end can be 24:00.
    """

    start_min: int
    end_min: int

    def __post_init__(self) -> None:
        for name, minutes in (("start_min", self.start_min), ("end_min", self.end_min)):
            latest = _DAY_MIN - (name == "start_min")
            if type(minutes) is not int or not 0 <= minutes <= latest:
                raise InvalidField(f"hours.{name}", f"must be from 0 to {latest}, not {minutes!r}")

    def __str__(self) -> str:
        start, end = divmod(self.start_min, 60), divmod(self.end_min, 60)
        return f"{start[0]:02}:{start[1]:02}-{end[0]:02}:{end[1]:02}"


def hours(text: str) -> tuple[Hours, ...]:
    """Parse ranges of hours that are separated by spaces.

    >>> hours("09:00-12:30 22:00-24:00")
    (Hours(start_min=540, end_min=750), Hours(start_min=1320, end_min=1440))

    :raises InvalidField: if a range is not ``HH:MM-HH:MM``, or there is none.
    """
    if not isinstance(text, str):
        raise InvalidField("hours", f"must be a string such as '09:00-17:00', not {text!r}")
    return tuple(_one_range(part) for part in text.split() or [text])


def _one_range(text: str) -> Hours:
    match = _HOURS_TEXT.fullmatch(text)
    if match is None:
        raise InvalidField("hours", f"must look like '09:00-17:00', not {text!r}")
    start_h, start_min, end_h, end_min = map(int, match.groups())
    return Hours(start_h * 60 + start_min, end_h * 60 + end_min)


@dataclass(frozen=True, slots=True)
class Away:
    """Dates on which nothing is open, from the first to the last inclusive.

    >>> away = Away(date(2024, 8, 12), date(2024, 8, 23))

    :raises InvalidField: if the last date is before the first.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        _days("away", self.first, self.last)


@dataclass(frozen=True, slots=True)
class Travel:
    """Dates on which the hours apply in another zone, from the first to the last inclusive.

    >>> trip = Travel(date(2024, 5, 6), date(2024, 5, 10), "Asia/Tokyo")

    :raises InvalidField: if the last date is before the first, or the zone is unknown.
    """

    first: date
    last: date
    zone: str

    def __post_init__(self) -> None:
        _days("travel", self.first, self.last)
        Zone.of(self.zone, "travel.zone")


# --- The schedule ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a resource is open.  The docstring of this module gives the exact rules.

    ``weekly`` maps weekdays (Monday is 0) to hours.  ``overrides`` maps dates to the hours
    that replace them; a date without hours is closed.  Ranges may overlap or repeat.

    A schedule is an immutable value, equal to any other schedule with the same rules.  It
    caches its windows, so resources with the same hours should share one schedule.

    >>> office = Schedule.weekly_hours("Europe/Rome", "mon-fri 09:00-17:00")
    >>> nine = 1_711_954_800_000_000  # Monday 2024-04-01, 09:00 in Rome
    >>> office.covers(nine, nine + 1), office.covers(nine - 1, nine + 1)
    (True, False)

    :raises InvalidField: if the zone is unknown, a weekday is not 0 to 6, an override is
        not on a plain ``date``, or trips overlap.
    """

    zone: str
    weekly: Mapping[int, Sequence[Hours]] = field(default_factory=dict)
    overrides: Mapping[date, Sequence[Hours]] = field(default_factory=dict)
    travel: Sequence[Travel] = ()
    away: Sequence[Away] = ()

    # The same rules keyed by days since 1970-01-01, and the cache.
    _home: Zone = field(init=False, repr=False, compare=False)
    _trips: tuple[tuple[int, int, Zone], ...] = field(init=False, repr=False, compare=False)
    _away: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _overrides: dict[int, Sequence[Hours]] = field(init=False, repr=False, compare=False)
    buckets: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    @classmethod
    def weekly_hours(
        cls,
        zone: str,
        *rules: str,
        overrides: Mapping[date, Sequence[Hours]] = MappingProxyType({}),
        travel: Sequence[Travel] = (),
        away: Sequence[Away] = (),
    ) -> Schedule:
        """Return a schedule from weekly hours written as text.

        Each rule has days, then hours.  A day that several rules name has the hours of all.

        >>> bar = Schedule.weekly_hours(
        ...     "Europe/Rome",
        ...     "mon-thu,sun 18:00-24:00",
        ...     "fri-sat 12:00-15:00 18:00-03:00",
        ...     overrides={date(2024, 12, 24): hours("12:00-15:00"), date(2024, 12, 25): ()},
        ... )
        >>> [str(each) for each in bar.weekly[4]]
        ['12:00-15:00', '18:00-03:00']

        :raises InvalidField: if a rule cannot be parsed, and as ``Schedule`` does.
        """
        weekly: dict[int, tuple[Hours, ...]] = {}
        for rule in rules:
            if not isinstance(rule, str):
                raise InvalidField(
                    "weekly", f"must be strings such as 'mon 09:00-17:00', not {rule!r}"
                )
            days, _, times = rule.strip().partition(" ")
            ranges = hours(times)
            for weekday in _weekdays(days):
                weekly[weekday] = weekly.get(weekday, ()) + ranges
        return cls(zone, weekly, overrides, travel, away)

    def __post_init__(self) -> None:
        put = partial(object.__setattr__, self)
        put("weekly", _ranges("weekly", self.weekly))
        wrong = [day for day in self.weekly if type(day) is not int or not 0 <= day <= 6]
        if wrong:
            raise InvalidField("weekly", f"must have keys from 0 (Monday) to 6, not {wrong[0]!r}")
        put("overrides", _ranges("overrides", self.overrides))
        put("travel", _all_of("travel", Travel, self.travel))
        put("away", _all_of("away", Away, self.away))
        put("_home", Zone.of(self.zone))
        put("_trips", _trips(self.travel))
        put("_away", joined([_days("away", away.first, away.last) for away in self.away]))
        put("_overrides", {_days("overrides", d, d)[0]: r for d, r in self.overrides.items()})
        put("buckets", {})

    def __hash__(self) -> int:
        weekly, overrides = frozenset(self.weekly.items()), frozenset(self.overrides.items())
        return hash((self.zone, weekly, overrides, self.travel, self.away))

    def __reduce__(self) -> tuple[type[Schedule], tuple[object, ...]]:
        # A mapping proxy cannot be pickled, and the cache can be computed again.
        rules = (self.zone, dict(self.weekly), dict(self.overrides), self.travel, self.away)
        return type(self), rules

    def covers(self, start: int, end: int) -> bool:
        """Return whether the whole span is open.

        O(log n) for the n windows of a bucket, once that is cached.  The search continues in
        the next bucket only while the span is open so far.

        >>> Schedule("UTC", {3: hours("00:00-01:00")}).covers(0, 3_600_000_000)  # a Thursday
        True
        """
        # Every reservation calls this.  A bucket has the sorted edges of its windows, so an
        # odd number of edges at or before an instant means that it is open, until the next
        # edge.  Takes 0.16 µs, of which the call itself takes 0.03 (CPython 3.11).
        assert start < end
        while True:
            bucket = start >> BUCKET_BITS
            try:
                edges = self.buckets[bucket]
            except KeyError:
                edges = self._fill(bucket)
            after = bisect_right(edges, start)
            if not after & 1:
                return False
            # An instant at the window's end is closed, unless the bucket ends there as well.
            start = edges[after]
            if end <= start:
                return True

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is open within the span, in order, joined where windows meet.

        O(k) for the k windows of the buckets that the span touches.

        >>> mondays = Schedule("Asia/Tokyo", {0: hours("09:00-17:00")})
        >>> hour = 3_600_000_000  # 1970 began on a Thursday, at 09:00 in Tokyo
        >>> [(start // hour, end // hour) for start, end in mondays.windows(0, 270 * hour)]
        [(96, 104), (264, 270)]
        """
        assert start < end
        start, end = max(start, FIRST_LOCAL), min(end, LAST_LOCAL)
        opened = until = start
        for bucket in range(start >> BUCKET_BITS, (end - 1 >> BUCKET_BITS) + 1):
            edges = self.buckets.get(bucket)
            if edges is None:
                edges = self._fill(bucket)
            for opens, closes in clipped(edges, start, end):
                if opens != until:
                    if opened < until:
                        yield opened, until
                    opened = opens
                until = closes
        if opened < until:
            yield opened, until

    def _fill(self, bucket: int) -> tuple[int, ...]:
        """Compute the edges of a bucket's windows, and cache them."""
        if len(self.buckets) >= BUCKETS_KEPT:
            self.buckets.clear()
        edges = self.buckets[bucket] = joined(self._open_in(bucket))
        return edges

    def _open_in(self, bucket: int) -> Iterator[tuple[int, int]]:
        """Yield every open span of the bucket, unordered; they may overlap."""
        start = bucket << BUCKET_BITS
        end = start + (1 << BUCKET_BITS)
        # Offsets are shorter than a day, so no other local dates overlap the bucket.
        for day in range(start // DAY - 1, end // DAY + 2):
            ranges = self._open_on(day)
            if not ranges:
                continue
            for steady_from, steady_until, offset in self._zone_on(day).stretches(bucket):
                midnight = day * DAY - offset
                for opens_min, closes_min in ranges:
                    opens = max(midnight + opens_min * MINUTE, steady_from)
                    closes = min(midnight + closes_min * MINUTE, steady_until)
                    if opens < closes:
                        yield opens, closes

    def _open_on(self, day: int) -> list[tuple[int, int]]:
        """Return what is open on a local date, in minutes from 0 to 1440 of that date."""
        if self._is_away(day):
            return []
        last_night = [
            (0, each.end_min) for each in self._begins_on(day - 1) if each.end_min < each.start_min
        ]
        return last_night + [
            (each.start_min, _DAY_MIN if each.end_min < each.start_min else each.end_min)
            for each in self._begins_on(day)
        ]

    def _begins_on(self, day: int) -> Sequence[Hours]:
        if self._is_away(day):
            return ()
        ranges = self._overrides.get(day)
        # Day 0, 1970-01-01, was a Thursday.
        return self.weekly.get((day + 3) % 7, ()) if ranges is None else ranges

    def _is_away(self, day: int) -> bool:
        return bisect_right(self._away, day) & 1 == 1

    def _zone_on(self, day: int) -> Zone:
        for first, end, zone in self._trips:
            if first <= day < end:
                return zone
        return self._home

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n) for what is cached; for tests and simulation."""
        assert len(self.buckets) <= BUCKETS_KEPT
        for bucket, edges in self.buckets.items():
            check_edges(edges)
            assert all(edge - 1 >> BUCKET_BITS == bucket for edge in edges[1::2])
            assert all(edge >> BUCKET_BITS == bucket for edge in edges[::2])
            assert edges == joined(self._open_in(bucket))


# --- Parsing and checking the rules ----------------------------------------------------


def _weekdays(text: str) -> Iterator[int]:
    """Yield the weekdays that a text such as ``mon-wed,sat`` names."""
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        try:
            start, end = _DAY_NAMES.index(first), _DAY_NAMES.index(last if dash else first)
        except ValueError:
            raise InvalidField(
                "weekly", f"has an unknown day in {part!r}; days are {', '.join(_DAY_NAMES)}"
            ) from None
        for step in range((end - start) % 7 + 1):
            yield (start + step) % 7


def _ranges(name: str, given: Mapping[K, Sequence[Hours]]) -> Mapping[K, tuple[Hours, ...]]:
    """Return an immutable copy."""
    if not isinstance(given, Mapping):
        raise InvalidField(name, f"must be a mapping to sequences of Hours, not {given!r}")
    copied = {key: _all_of(name, Hours, ranges) for key, ranges in given.items()}
    return MappingProxyType(copied)


def _all_of(name: str, kind: type[T], given: Iterable[T]) -> tuple[T, ...]:
    """Return a tuple of items, all of one type."""
    try:
        several = tuple(given)
    except TypeError:
        several = ()
        wrong = True
    else:
        wrong = not all(isinstance(one, kind) for one in several)
    if wrong:
        raise InvalidField(name, f"must be a sequence of {kind.__name__}, not {given!r}")
    return several


def _days(name: str, first: date, last: date) -> tuple[int, int]:
    """Return an inclusive range of dates as a half-open range of days since 1970-01-01."""
    # A datetime is a date as well, but which date it is depends on an unknown zone.
    if type(first) is not date or type(last) is not date:
        raise InvalidField(name, f"must have plain dates, not {first!r} and {last!r}")
    if last < first:
        raise InvalidField(name, f"must not end before it starts, but is {first} to {last}")
    return first.toordinal() - EPOCH_ORDINAL, last.toordinal() - EPOCH_ORDINAL + 1


def _trips(travel: Sequence[Travel]) -> tuple[tuple[int, int, Zone], ...]:
    trips = sorted((*_days("travel", each.first, each.last), each.zone) for each in travel)
    if any(start < end for (_, end, _), (start, _, _) in pairwise(trips)):
        raise InvalidField("travel", "must not overlap: each date can have only one zone")
    return tuple((start, end, Zone.of(zone)) for start, end, zone in trips)
