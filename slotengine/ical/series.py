"""The instances of the events that share a UID, placed in time.

A series is computed in the local time of its zone, in which every instance has the same
time of day in all seasons.  Only then is each instance converted to UTC.  If something
is in doubt, the series is read in every possible way, and all of them are busy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from slotengine.ical.budget import Budget
from slotengine.ical.events import CalendarEvent, WrittenPeriod
from slotengine.ical.problems import ProblemLog
from slotengine.ical.recurrence import DAY, has_instance, instances, matches_start
from slotengine.ical.values import UTC, Duration, ParsedRule, Time
from slotengine.ical.zones import WallClock, Zones

_BOTH: Final = "both the calendar's zone and the owner's"
_WHOLE_DAY: Final = Duration(1, 0)
# Larger than any offset from UTC, so that no instance at the edges of the range is missed.
_MARGIN: Final = 2 * DAY

UtcSpan = tuple[int, int]
"""Start and end, in seconds since the epoch, UTC."""


class Series(NamedTuple):
    """The events of one UID that count: of two versions of an event, the later."""

    whole: list[CalendarEvent]
    """Events that describe the whole series; several if no version is the latest."""
    single: list[CalendarEvent]
    """Events that describe single instances."""


def by_uid(events: Iterable[CalendarEvent]) -> list[list[CalendarEvent]]:
    """Return the events of a calendar, grouped by UID.  O(n)."""
    found: dict[object, list[CalendarEvent]] = {}
    for number, event in enumerate(events):
        found.setdefault(event.uid or number, []).append(event)
    return list(found.values())


def _series(events: list[CalendarEvent], zones: Zones) -> Series:
    told = [(event, _instance(event, zones)) for event in events]
    newest: dict[int | None, int] = {}
    for event, instance in told:
        newest[instance] = max(event.sequence, newest.get(instance, event.sequence))
    kept = [event for event, instance in told if event.sequence == newest[instance]]
    return Series(
        [event for event in kept if event.instance is None],
        [event for event in kept if event.instance is not None],
    )


def _instance(event: CalendarEvent, zones: Zones) -> int | None:
    """Return a number that is equal for two events that describe the same instance."""
    moment = event.instance
    if moment is None or moment.is_date:
        return None if moment is None else moment.wall
    clock = None if moment.zone is None else zones.of(moment.zone)
    return (clock or zones.default).utc(moment.wall)


class _Reading:
    """One way of reading the times of a series; the number selects among the possible zones."""

    def __init__(self, zones: Zones, number: int) -> None:
        self.zones = zones
        self._number = number

    def chosen(self, clocks: tuple[WallClock, ...]) -> WallClock:
        """Return the zone of this reading, or the last if there are fewer."""
        return clocks[min(self._number, len(clocks) - 1)]

    def clock(self, moment: Time, default: WallClock) -> WallClock:
        """Return the zone in which a time is read; ``default`` if it names none."""
        if moment.is_date:
            return self.zones.owner
        return default if moment.zone is None else self.chosen(_clocks(moment.zone, self.zones))

    def utc(self, moment: Time, default: WallClock) -> int:
        """Return the UTC time of a time, or of the start of a date."""
        return self.clock(moment, default).utc(moment.wall)


def _clocks(zone: str, zones: Zones) -> tuple[WallClock, ...]:
    known = zones.of(zone)
    return zones.readings(zone) if known is None else (known,)


def start_clocks(event: CalendarEvent, start: Time, zones: Zones) -> tuple[WallClock, ...]:
    """Return the zones in which a start can be read."""
    if start.is_date:
        return (zones.owner,)
    if start.zone is not None:
        return _clocks(start.zone, zones)
    # If only the end names a zone, that may be the zone of the start as well.
    ends = [
        (clock, clock.utc(end.wall))
        for end in event.ends
        if end.zone is not None and not end.is_date
        for clock in _clocks(end.zone, zones)
    ]
    clocks = dict.fromkeys([zones.default, *(clock for clock, _ in ends)])
    right = [clock for clock in clocks if any(clock.utc(start.wall) < end for _, end in ends)]
    return tuple(right) or (zones.default,)


class _Placed(NamedTuple):
    """An event in one zone, with what is needed to place its instances."""

    event: CalendarEvent
    start: Time
    clock: WallClock
    lengths: list[Duration]
    """The longest of these counts.  Empty if the event takes no time."""

    @property
    def reach(self) -> int:
        """Return the longest that an instance can last, in seconds."""
        return max((each.days * DAY + each.seconds for each in self.lengths), default=0) + DAY

    def span(self, wall: int, utc: int) -> UtcSpan:
        """Return the UTC span of an instance, given its start in local time and in UTC."""
        return utc, max(
            (self.clock.utc(wall + each.days * DAY) if each.days else utc) + each.seconds
            for each in self.lengths
        )


class _Follower(NamedTuple):
    """A changed instance that also changes all later ones (``THISANDFUTURE``)."""

    key: int
    shift: int
    """How much later the instances start, in local time."""
    placed: _Placed


class _Changes(NamedTuple):
    """The instances of a series that differ from its rules."""

    gone: set[int]
    """The keys of instances that are excluded, or described by an event of their own."""
    days_off: set[int]
    followers: list[_Follower]
    """The changes that apply to all later instances, sorted by key."""

    def follower(self, key: int) -> _Follower | None:
        place = bisect_right(self.followers, key, key=lambda each: each.key)
        return self.followers[place - 1] if place else None


class BusyCollector:
    """Collects the busy spans of a calendar's series within a range."""

    def __init__(
        self, zones: Zones, first: int, last: int, budget: Budget, log: ProblemLog
    ) -> None:
        self._zones = zones
        self._first = first
        self._last = last
        self._budget = budget
        self._log = log
        self._told: set[str] = set()
        self.spans: list[UtcSpan] = []

    def add(self, events: list[CalendarEvent]) -> None:
        """Add the busy spans of the events of one UID.  May raise `BudgetSpent` on the way."""
        self._told.clear()
        series = _series(events, self._zones)
        self._budget.spend(_repeated(series))
        readings = map(self._readings, (*series.whole, *series.single))
        for number in range(max(readings)):
            self._place(series, _Reading(self._zones, number))

    def add_period(self, name: str, line: int, period: WrittenPeriod) -> None:
        """Add a busy period."""
        zone = period.start.zone
        clocks = (self._zones.default,) if zone is None else _clocks(zone, self._zones)
        if zone is not None and self._zones.of(zone) is None:
            self._log.add(name, line, f"unknown time zone {zone[:80]!r}", _BOTH)
        for number, _ in enumerate(clocks):
            self._add_period(name, line, period, _Reading(self._zones, number))

    # --- Doubts --------------------------------------------------------------------------

    def _readings(self, event: CalendarEvent) -> int:
        """Return the number of ways to read the event, and report why there is more than one."""
        known = dict.fromkeys(each.zone for each in event.times() if each.zone is not None)
        unknown = [zone for zone in known if self._zones.of(zone) is None]
        for zone in unknown:
            self._tell(event, f"unknown time zone {zone[:80]!r}", _BOTH)
        starts = [len(start_clocks(event, start, self._zones)) for start in event.starts]
        if starts and event.starts[0].zone is None and not event.starts[0].is_date:
            if any(each.zone and not each.is_date for each in event.ends):
                self._tell(
                    event,
                    "DTEND names a zone, and DTSTART none",
                    "each zone in which it starts before it ends",
                )
        elif starts and not event.starts[0].is_date:
            bare = (each for each in event.times() if each.zone is None and not each.is_date)
            if next(bare, None) is not None:
                self._tell(event, "one of its times names no zone", "the zone of DTSTART")
        return max([1, *starts, *(len(self._zones.readings(zone)) for zone in unknown)])

    def _tell(self, event: CalendarEvent, problem: str, assumed: str) -> None:
        """Report a problem of an event once, in whichever reading it is found first."""
        if f"{event.line} {problem}" not in self._told:
            self._told.add(f"{event.line} {problem}")
            self._log.add(event.name, event.line, problem, assumed)

    # --- Placing -------------------------------------------------------------------------

    def _place(self, series: Series, reading: _Reading) -> None:
        singles = {id(event): self._placed(event, reading) for event in series.single}
        for event in series.single:
            for placed in singles[id(event)]:
                if event.busy:
                    self._add_instances(placed, _Changes(set(), set(), []), reading)
        for event in series.whole:
            for placed in self._placed(event, reading):
                changes = self._changes(placed, series.single, reading)
                if event.busy or any(each.placed.lengths for each in changes.followers):
                    self._add_instances(placed, changes, reading)

    def _placed(self, event: CalendarEvent, reading: _Reading) -> list[_Placed]:
        found = []
        for start in event.starts:
            clock = reading.chosen(start_clocks(event, start, self._zones))
            lengths = self._lengths(event, start, clock, reading) if event.busy else []
            found.append(_Placed(event, start, clock, lengths))
        return found

    def _lengths(
        self, event: CalendarEvent, start: Time, clock: WallClock, reading: _Reading
    ) -> list[Duration]:
        """Return how long an event lasts; an empty list if it takes no time."""
        lengths = list(event.lengths)
        if start.is_date and any(each.seconds for each in lengths):
            self._tell(
                event, "it starts on a date and lasts hours", "it starts at 00:00 of the date"
            )
        is_bad = event.has_bad_end
        for end in event.ends:
            length = self._until(event, start, end, clock, reading)
            if length is None:
                is_bad = True
                self._tell(event, "it ends before it starts", "it lasts a day")
            else:
                lengths.append(length)
        lengths = [each for each in lengths if not each.is_none]
        if not lengths and (is_bad or start.is_date):
            return [_WHOLE_DAY]
        return lengths

    def _until(
        self, event: CalendarEvent, start: Time, end: Time, clock: WallClock, reading: _Reading
    ) -> Duration | None:
        """Return the time from the start to an end, or None if the end is before the start."""
        if start.is_date and end.is_date:
            days = (end.wall - start.wall) // DAY
            return Duration(days, 0) if days >= 0 else None
        begin = clock.utc(start.wall)
        if start.is_date:
            self._tell(
                event, "it starts on a date and ends at a time", "it starts at 00:00 of the date"
            )
            finish = reading.utc(end, clock)
        elif end.is_date:
            self._tell(
                event, "it starts at a time and ends on a date", "it ends at 00:00 of the date"
            )
            # The date may be in the zone of the start or in the owner's, so use the later end.
            clocks = clock, self._zones.owner
            finish = max(each.utc(end.wall) for each in clocks)
            if finish <= begin:
                finish = max(each.utc(end.wall + DAY) for each in clocks)
        else:
            finish = reading.utc(end, clock)
        if start.is_date and finish == begin:
            return None
        return Duration(0, finish - begin) if finish >= begin else None

    def _add_instances(self, placed: _Placed, changes: _Changes, reading: _Reading) -> None:
        """Add the instances of the event and its rules, apart from those that were changed."""
        event, followers = placed.event, changes.followers
        if event.busy:
            for each in event.added:
                if (
                    isinstance(each, WrittenPeriod)
                    and self._key_of(each, reading) not in changes.gone
                ):
                    self._add_period(event.name, event.line, each, reading)
        if not (placed.lengths or followers):
            return
        shifts = [each.shift for each in followers]
        reach = max(placed.reach, *(each.placed.reach for each in followers), 0)
        first = self._first - _MARGIN - reach - max([0, *shifts])
        last = self._last + _MARGIN - min([0, *shifts])
        changes.gone.update(self._left_out_by_rules(placed, first, last, reading))
        for wall, utc in self._instances(placed, first, last, reading):
            key = _key(placed, wall, utc)
            if key in changes.gone or wall // DAY in changes.days_off:
                continue
            follower = changes.follower(key)
            if follower is not None:
                moved, wall = follower.placed, wall + follower.shift
                if moved.start.is_date:
                    wall -= wall % DAY
                if moved.lengths:
                    self._budget.spend(len(moved.lengths) - 1)
                    self._add(moved.span(wall, moved.clock.utc(wall)))
            elif placed.lengths:
                self._budget.spend(len(placed.lengths) - 1)
                self._add(placed.span(wall, utc))

    def _add(self, span: UtcSpan) -> None:
        # A whole day that the zone skipped takes no time.
        if span[0] < min(span[1], self._last) and self._first < span[1]:
            self.spans.append(span)

    def _add_period(self, name: str, line: int, period: WrittenPeriod, reading: _Reading) -> None:
        clock = reading.clock(period.start, self._zones.default)
        begin, end = clock.utc(period.start.wall), period.end
        if isinstance(end, Time):
            finish = reading.utc(end, clock)
        else:
            finish = clock.utc(period.start.wall + end.days * DAY) + end.seconds
        if finish < begin:
            self._log.add(name, line, "a period ends before it starts", "it lasts a day")
            finish = begin + DAY
        if begin < finish:
            self._add((begin, finish))

    def _instances(
        self, placed: _Placed, first: int, last: int, reading: _Reading
    ) -> Iterator[tuple[int, int]]:
        """Yield the starts of instances, in local time and in UTC; the cheapest come first."""
        event, start, clock = placed.event, placed.start, placed.clock
        for each in event.added:
            if not isinstance(each, WrittenPeriod):
                yield _added(placed, each, reading)
        yield start.wall, clock.utc(start.wall)
        for read in event.rules:
            rule = read.with_until(_until_wall(placed, read, reading))
            for wall in instances(rule, start.wall, first, last, self._budget.spend):
                day_or_time = wall - wall % DAY if start.is_date else wall
                yield day_or_time, clock.utc(day_or_time)

    def _left_out_by_rules(
        self, placed: _Placed, first: int, last: int, reading: _Reading
    ) -> Iterator[int]:
        for read in placed.event.left_out_rules:
            rule = read.with_until(_until_wall(placed, read, reading))
            start, spend = placed.start.wall, self._budget.spend
            for wall in instances(rule, start, first, last, spend):
                if wall != start or matches_start(rule, start, spend):
                    yield _key(placed, wall, placed.clock.utc(wall))

    # --- Instances that have changed -----------------------------------------------------

    def _changes(
        self, placed: _Placed, singles: list[CalendarEvent], reading: _Reading
    ) -> _Changes:
        changes = _Changes(set(), set(), [])
        for moment in placed.event.left_out:
            if moment.is_date and not placed.start.is_date:
                changes.days_off.add(moment.wall // DAY)
            else:
                changes.gone.add(self._named(placed, moment, reading))
        for event in singles:
            assert event.instance is not None
            key = self._named(placed, event.instance, reading)
            if event.and_future:
                changes.followers.append(self._follower(placed, event, key, reading))
            changes.gone.add(key)
        changes.followers.sort(key=lambda each: each.key)
        return changes

    def _named(self, placed: _Placed, moment: Time, reading: _Reading) -> int:
        """Return the key of the instance that a time refers to."""
        start, clock = placed.start, placed.clock
        if not start.is_date:
            if moment.is_date:  # some programs write only its date
                return clock.utc(moment.wall + start.wall % DAY)
            return reading.utc(moment, clock)
        day = moment.wall // DAY  # in its own zone
        if moment.zone != UTC or self._is_instance(placed, day, reading):
            return day
        other = self._zones.owner.wall(reading.utc(moment, clock)) // DAY
        return other if self._is_instance(placed, other, reading) else day

    def _is_instance(self, placed: _Placed, day: int, reading: _Reading) -> bool:
        start = placed.start.wall
        return day * DAY == start or any(
            has_instance(
                read.with_until(_until_wall(placed, read, reading)),
                start,
                day * DAY,
                self._budget.spend,
            )
            for read in placed.event.rules
        )

    def _key_of(self, period: WrittenPeriod, reading: _Reading) -> int:
        return reading.utc(period.start, self._zones.default)

    def _follower(
        self, placed: _Placed, event: CalendarEvent, key: int, reading: _Reading
    ) -> _Follower:
        if not event.starts:  # this instance is free, and so are all later ones
            return _Follower(key, 0, placed._replace(lengths=[]))
        own = self._placed(event, reading)[0]
        origin = key * DAY if placed.start.is_date else placed.clock.wall(key)
        start = own.start.wall
        if not own.start.is_date:
            start = placed.clock.wall(own.clock.utc(start))
        clock = self._zones.owner if own.start.is_date else placed.clock
        return _Follower(key, start - origin, own._replace(clock=clock))


def _repeated(series: Series) -> int:
    """Return the extra work for repeated properties; 0 for a series without any."""
    again = sum(len(event.starts) for event in series.whole) - 1
    cost = max(again, 0) * len(series.single)
    for event in (*series.whole, *series.single):
        others = len(event.ends) + len(event.lengths) + len(event.left_out) + len(event.added)
        cost += max(len(event.starts) - 1, 0) * others
    return cost


def _key(placed: _Placed, wall: int, utc: int) -> int:
    """Return what distinguishes an instance from the others: its day, or its UTC time."""
    return wall // DAY if placed.start.is_date else utc


def _added(placed: _Placed, moment: Time, reading: _Reading) -> tuple[int, int]:
    """Return the start of a listed instance, in local time and in UTC."""
    start, clock = placed.start, placed.clock
    if start.is_date:
        wall = moment.wall
        if moment.zone == UTC:  # some programs write a date as its midnight
            there = clock.wall(reading.utc(moment, clock))
            wall = wall if there % DAY else there
        wall -= wall % DAY
    elif moment.is_date:
        wall = moment.wall + start.wall % DAY
    else:
        utc = reading.utc(moment, clock)
        return clock.wall(utc), utc
    return wall, clock.utc(wall)


def _until_wall(placed: _Placed, read: ParsedRule, reading: _Reading) -> int | None:
    """Return the end of a rule, in the local time of its event."""
    until = read.until
    if until is None:
        return None
    wall = until.wall if until.is_date else placed.clock.wall(reading.utc(until, placed.clock))
    if not (until.is_date or placed.start.is_date):
        return wall
    # A date that is written as its midnight may be another date in UTC.  Use the later.
    last = max(wall, until.wall)
    return last - last % DAY + DAY - 1
