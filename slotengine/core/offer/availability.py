"""Search for available slots: opening hours, less what is taken, laid out on the grid.

Every slot that is returned can be reserved at that moment, and every start on the grid
that could be reserved is returned.  The search works as follows:

1. Each host is free within its hours for the event type, less what is booked or imported
   as busy, with the buffers of both sides.
2. A slot needs all fixed hosts, and one host of each group, for its whole length.  The
   free ranges of a group's hosts are therefore kept separate, even where they overlap, and
   intersected with those of the other hosts.
3. The ranges are clipped to the searched range, and slots are laid out in them
   (`slot_grid`).  If the step does not divide the hour, the result depends on where the
   search starts: search whole days, as the contract of Cal.com's slots API expects.
4. Holds remove slots but do not move the grid.  A hold lasts for minutes only, and other
   viewers should not see the grid jump back and forth.
5. Limits that are reached remove slots, and so do shared sessions that are full.  A session
   with seats left is offered at its start, on the grid or not.

Where bookings cannot move the grid (`slot_grid.is_fixed`: steps of 5, 10, 15, 20, 30 or
60 minutes), the grid is laid out in the opening hours alone.  Its starts are then tested
against one host after the other, until a host is found for each.

Cost with a fixed grid: O(w + s) for w windows and s slots, plus O(log b) for each start
and host tested.  Otherwise: O(w + b) for each host looked at, with b spans taken in the
range; a group's hosts are not looked at in a window in which another is free throughout.
With several groups, the number of overlapping pairs of their free ranges is added.
Reservations outside the range do not matter.

The search only reads.  Times are UTC microseconds, spans half-open.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.obstruction import Standing, steps
from slotengine.core.ledger.reservation import BOOKED_UNTIL, Entry, Session
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.offer.booking_rules import BookingRules, HostRule, LimitRule, SharedHours
from slotengine.core.offer.slot_grid import slot_starts
from slotengine.core.time.instant import DAY, MINUTE, from_us
from slotengine.core.time.interval import (
    Span,
    clipped,
    intersection,
    joined,
    maximal,
    partition,
    without,
)
from slotengine.core.time.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.ledger.occupancy import Occupancy
    from slotengine.core.ledger.reservation import Reservable
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

UTC_ZONE: Final = Zone.of("UTC")
LONGEST_RANGE: Final = 3_660 * DAY
"""The longest range of one search.  Ten years may contain a million slots."""
FEW_LOOKUPS: Final = 8
"""Up to this many starts are looked up one by one; for more, one pass is as fast."""
NOT_LIVE: Final = -NEVER
"""The end of something that has lapsed, or is ignored."""


class AvailabilityQuery(NamedTuple):
    """Which slots to search for: those that start and end within a span."""

    event_type: str | EventType
    start: int
    end: int
    length: int | None = None
    """None: the event type's own length."""
    zone: Zone = UTC_ZONE
    """The viewer's zone.  Slots start at round times of day in this zone."""
    seats: int = 1
    ignoring: frozenset[str] = frozenset()
    """Uids of reservations to ignore: the caller's own, or one that is to be moved."""
    only: frozenset[str] | None = None
    """The resources that are acceptable in the groups; None: all."""


class AvailableSlots(NamedTuple):
    """The result of a search."""

    starts: Sequence[int]
    length: int
    total: int | None
    """The number of seats of each slot, for an event type with seats."""
    taken: dict[int, int]
    """The number of seats taken, by start, for sessions that exist."""


class AvailabilitySearch:
    """One search, at one moment."""

    def __init__(
        self,
        rules: BookingRules,
        query: AvailabilityQuery,
        occupancy: Occupancy,
        now: int,
        *,
        swept: bool,
        ignored: Iterable[Entry | None],
    ) -> None:
        if query.start >= query.end:
            raise InvalidField("end", f"must be after the start, which is {from_us(query.start)}")
        if query.end - query.start > LONGEST_RANGE:
            days = (query.end - query.start) / DAY
            problem = f"must be at most {LONGEST_RANGE // DAY} days after the start, not {days:g}"
            raise InvalidField("end", problem)
        self._rules = rules
        self._query = query
        self._occupancy = occupancy
        self._now = now
        self._swept = swept
        # Owners that have no live claims without the ignored uids.
        owners: Iterable[Entry | Session] = [
            one.session or one for one in ignored if one is not None and one.placed
        ]
        self._ignored = {owner for owner in owners if live_until(owner, now, query.ignoring) <= now}
        self._length = rules.length_of(query.length)
        self._wanted = rules.seats_of(query.seats)
        self._groups = rules.groups_of(query.only)
        # The first slot of a date is that of the whole date, not of the part that is searched.
        self._start, self._end = max(query.start, FIRST_LOCAL), min(query.end, LAST_LOCAL)
        if rules.event_type.first_only:
            midnight = query.zone.midnight(query.zone.date(self._start))
            self._start = min(self._start, midnight)
        self._groups_by_hours = (
            rules.groups_by_hours
            if query.only is None
            else _restrict(rules.groups_by_hours, query.only)
        )
        self._windows: dict[int, list[Span]] = {}
        self._everything_counts = swept and not query.ignoring
        self._holds_seen = False
        self.unfinished_from = self._end
        """The start of the last range, if the end of the search cuts it off."""

    def available_slots(self) -> AvailableSlots:
        """Return the available slots, in order."""
        first, end = self._rules.bookable_span(self._now)
        starts: list[int] = []
        taken: dict[int, int] = {}
        if self._start < self._end and first < min(end, self._end):
            starts = self._starts_on_grid()
            if starts and (starts[0] < first or starts[-1] >= end):
                starts = [start for start in starts if first <= start < end]
            starts = self._within_limits(starts)
            if self._wanted is not None:
                starts, taken = self._with_sessions(starts, first, end)
            if self._rules.event_type.first_only:
                starts = first_of_each_date(starts, self._query.zone)
                starts = [start for start in starts if start >= self._query.start]
        return AvailableSlots(starts, self._length, self._rules.seats, taken)

    def _starts_on_grid(self) -> list[int]:
        """Return the starts on the grid at which all fixed hosts and one of each group are free."""
        rules = self._rules
        fixed = rules.has_fixed_grid(self._length, self._start, self._end, self._query.zone)
        starts = self._grid_starts(self._open_ranges() if fixed else self._free_ranges())
        if fixed or self._holds_seen:
            for host in rules.fixed:
                known = not fixed or host.hours is rules.fixed[0].hours
                starts = self._split_by_hours(starts, host.hours, known=known)[0]
                starts = self.split_by_host(host, starts)[0]
            for by_hours in self._groups_by_hours:
                starts = self._starts_with_a_host(by_hours, starts)
        return starts

    def _grid_starts(self, ranges: Sequence[Span]) -> list[int]:
        rules = self._rules
        if ranges and ranges[-1][1] == self._end:
            self.unfinished_from = ranges[-1][0]
        return slot_starts(
            ranges,
            length=self._length,
            step=rules.interval or self._length,
            offset=rules.offset,
            # At least a minute ahead.  The grid cuts off seconds, so starts before the end of
            # the notice are dropped afterwards.
            earliest=self._now + max(rules.notice, MINUTE),
            zone=self._query.zone,
            optimized=rules.event_type.optimized,
        )

    # --- Opening hours -----------------------------------------------------------------------

    def _open_ranges(self) -> list[Span]:
        """Return where the first fixed host and one host of each group are open."""
        needs = [self._windows_of(host.hours) for host in self._rules.fixed[:1]]
        needs += map(self._windows_of_all, range(len(self._groups)))
        return reduce(_intersect, needs)

    def _windows_of_all(self, group: int) -> list[Span]:
        """Return the windows in which at least one host of a group is open."""
        by_hours = self._groups_by_hours[group]
        if any(shared.hours is None for shared in by_hours):
            return self._windows_of(None)
        known = None if self._query.only else self._rules.open_hours[group]
        if known is not None:
            return self._windows_of(known)
        windows = [window for shared in by_hours for window in self._windows_of(shared.hours)]
        return list(clipped(joined(windows), self._start, self._end))

    def _windows_of(self, hours: Windows | None) -> list[Span]:
        """Return the windows of a schedule in the range.  Hosts that share it share one list."""
        windows = self._windows.get(id(hours))
        if windows is None:
            whole = self._start, self._end
            windows = [whole] if hours is None else list(hours.windows(*whole))
            self._windows[id(hours)] = windows
        return windows

    # --- With a fixed grid: test its starts --------------------------------------------------

    def _starts_with_a_host(self, by_hours: Sequence[SharedHours], starts: list[int]) -> list[int]:
        """Return the starts at which one host of a group is free.

        A start that has a host is not tested again, and the search ends once all have one.
        """
        found: list[int] = []
        for hours, hosts in by_hours:
            if not starts:
                break
            open_then, closed = self._split_by_hours(starts, hours, known=len(by_hours) == 1)
            for host in hosts:
                if not open_then:
                    break
                fits, open_then = self.split_by_host(host, open_then)
                found += fits
            starts = sorted(open_then + closed) if closed else open_then
        found.sort()
        return found

    def _split_by_hours(
        self, starts: list[int], hours: Windows | None, *, known: bool
    ) -> tuple[list[int], list[int]]:
        """Return the starts at which the hours cover a slot, and the other starts.

        With ``known``, all do, because they were laid out in these hours.
        """
        if hours is None or known:
            return starts, []
        length = self._length
        if len(starts) > 8 * FEW_LOOKUPS:  # computing the windows costs as much as this many tests
            covered = set(starts_that_fit(starts, length, self._windows_of(hours)))
        else:
            covered = {start for start in starts if hours.covers(start, start + length)}
        return (
            [start for start in starts if start in covered],
            [start for start in starts if start not in covered],
        )

    def split_by_host(self, host: HostRule, starts: list[int]) -> tuple[list[int], list[int]]:
        """Return the starts at which a host is free, given that it is open, and the other starts.

        O(s log n) for s starts or, if that is less, for the reservations between them.
        """
        resource = self._occupancy.resources[host.resource]
        if not starts or (not resource.load and not resource.restricted):
            return starts, []
        if resource.retired:
            return [], starts
        reach = starts[0] - self._rules.before, starts[-1] + self._length + self._rules.after
        if self._everything_counts:
            free, taken = self._split_by_timeline(resource, host.units, starts, reach)
        else:
            holes = sorted(chain(*self._full_spans(resource, host.units, *reach)))
            free, taken = partition(starts, self._blocked_starts(holes))
        if resource.busy and free:
            free, busy = partition(free, self._blocked_starts(resource.busy_in(*reach)))
            taken = sorted(taken + busy) if busy else taken
        return free, taken

    def _split_by_timeline(
        self, resource: Reservable, units: int, starts: list[int], reach: Span
    ) -> tuple[list[int], list[int]]:
        """Return the starts with room, and those without.  Everything in the timeline counts."""
        timeline = resource.timeline
        if len(starts) > FEW_LOOKUPS and 2 * timeline.changes(*reach) < len(starts):
            holes = timeline.full(*reach, units)
            return partition(starts, self._blocked_starts(holes))
        return timeline.sifted(starts, self._rules.before, self._length + self._rules.after, units)

    def _blocked_starts(self, holes: Iterable[Span]) -> Iterator[Span]:
        """Yield, for each hole, the span of starts at which a slot would overlap it."""
        # A slot's own buffers must be clear of the occupied spans, which include buffers.
        before, reach = self._rules.before, self._length + self._rules.after
        for start, end in holes:
            yield start - reach + 1, end + before

    # --- With any other grid: free ranges, in which to lay it out ----------------------------

    def _free_ranges(self) -> list[Span]:
        """Return where all fixed hosts and one host of each group are free, bookings considered."""
        needs = [
            self._free_ranges_of_host(host, self._windows_of(host.hours))
            for host in self._rules.fixed
        ]
        needs += map(self._free_ranges_of_group, self._groups_by_hours)
        return reduce(_intersect, needs)

    def _free_ranges_of_group(self, by_hours: Sequence[SharedHours]) -> list[Span]:
        """Return where any host of a group is free, as ranges.

        If a host is free throughout a window, that covers what other hosts could add, so they
        are not looked at there.
        """
        found: set[Span] = set()
        for hours, hosts in by_hours:
            windows = self._windows_of(hours)
            for host in hosts:
                if not windows:
                    break
                found.update(self._free_ranges_of_host(host, windows))
                windows = [window for window in windows if window not in found]
        return maximal(found)

    def _free_ranges_of_host(self, host: HostRule, windows: list[Span]) -> list[Span]:
        """Return where a slot fits into the windows of one host, bookings considered."""
        resource = self._occupancy.resources[host.resource]
        if not resource.load and not resource.restricted:
            return windows
        if resource.retired:
            return []
        spans = [(windows[0][0], windows[-1][1])] if len(windows) > FEW_LOOKUPS else windows
        before, after = self._rules.before, self._rules.after
        booked: list[Span] = []
        for start, end in spans:
            reach = start - before, end + after
            here, held = self._full_spans(resource, host.units, *reach)
            self._holds_seen = self._holds_seen or bool(held)
            booked += here
            if resource.busy:
                booked += resource.busy_in(*reach)
        if not booked:
            return windows
        if resource.busy or len(spans) > 1:
            booked.sort()
        if before or after:
            booked = [(start - after, end + before) for start, end in booked]
        # Drop gaps that are too short by a minute or more.  The others stay: a candidate whose
        # seconds are cut off may be before its gap, and the grid continues from it.
        least = self._length - MINUTE
        return [gap for gap in without(windows, booked) if gap[1] - gap[0] > least]

    def _full_spans(
        self, resource: Reservable, units: int, start: int, end: int
    ) -> tuple[list[Span], list[Span]]:
        """Return where too few units are left: because of bookings, and because of holds too."""
        now, ignoring = self._now, self._query.ignoring
        if resource.capacity > 1:
            return self._full_spans_of_pool(resource, units, start, end)
        spans, owners = resource.timeline.pieces(start, end)
        if ignoring:
            owner_of = self._occupancy.owner_of
            untils = [live_until(owner_of(owner), now, ignoring) for owner in owners]
        else:
            untils = self._occupancy.untils(owners)
        lapses = list(zip(spans, untils, strict=True))
        booked = [span for span, until in lapses if until == BOOKED_UNTIL]
        if len(booked) == len(spans):
            return booked, []
        return booked, [span for span, until in lapses if now < until < BOOKED_UNTIL]

    def _full_spans_of_pool(
        self, resource: Reservable, units: int, start: int, end: int
    ) -> tuple[list[Span], list[Span]]:
        now, ignoring = self._now, self._query.ignoring
        booked: list[Standing] = []
        held: list[Standing] = []
        for one in resource.overlapping(start, end):
            owner = one.owner
            until = live_until(owner, now, ignoring) if ignoring else owner.until
            if until > now:
                (booked if until == BOOKED_UNTIL else held).append(one)
        most = resource.capacity - units
        return (
            [step[:2] for step in steps(booked, start, end) if step.units > most],
            [step[:2] for step in steps(booked + held, start, end) if step.units > most]
            if held
            else [],
        )

    # --- Limits and sessions ---------------------------------------------------------------

    def _within_limits(self, starts: list[int]) -> list[int]:
        for rule in self._rules.limits:
            if not starts:
                break
            starts = list(self._starts_within_limit(rule, starts))
        return starts

    def _starts_within_limit(self, rule: LimitRule, starts: Sequence[int]) -> Iterator[int]:
        """Yield the starts in whose period enough of a limit is left."""
        left = rule.units - rule.units_for(self._length)
        resource = self._occupancy.limits[rule.resource]
        ends, admits = START_OF_TIME, False
        for start in starts:
            if start >= ends:
                period, ends = rule.periods.span(start)
                admits = self._used(resource, period, left) <= left
            if admits:
                yield start

    def _used(self, limit: Reservable, period: int, most: int) -> int:
        """Return how much of a limit is used in the period that starts then.

        A result of ``most`` or less may include holds that have lapsed.
        """
        # A year may have thousands of claims.  Look at them only if the answer depends on them.
        used = limit.timeline.level(period) - sum(
            claim.units
            for owner in self._ignored
            for claim in owner.all_claims()
            if claim.resource == limit.id and claim.start <= period < claim.end
        )
        if used <= most or self._swept:
            return used
        return sum(
            units
            for _, _, units, owner in limit.overlapping(period, period + 1)
            if live_until(owner, self._now, self._query.ignoring) > self._now
        )

    def _with_sessions(
        self, starts: list[int], first: int, end: int
    ) -> tuple[list[int], dict[int, int]]:
        """Add the starts of sessions that can be joined, and remove those of other sessions."""
        assert self._wanted is not None
        total, wanted = self._wanted
        taken: dict[int, int] = {}
        joinable: dict[int, bool] = {}
        first, last = max(first, self._start), min(end - 1, self._end - self._length)
        hosts = self._rules.resources_of(self._groups)
        for session in self._occupancy.sessions_in(self._rules.id, self._start, self._end):
            start, seats = session.start, self._seats_taken(session)
            if not seats:
                continue
            taken[start] = seats
            joinable[start] = (
                session.end - start == self._length
                and session.is_among(hosts)
                and seats + wanted <= total
                and first <= start <= last
            )
        starts = [start for start in starts if start not in joinable]
        for start in sorted(joinable):
            if joinable[start]:
                insort(starts, start)
        return starts, taken

    def _seats_taken(self, session: Session) -> int:
        return sum(
            member.seats_wanted
            for member in session.members.values()
            if member.until > self._now and member.uid not in self._query.ignoring
        )


def _restrict(
    groups: Iterable[Sequence[SharedHours]], only: Collection[str]
) -> tuple[tuple[SharedHours, ...], ...]:
    """Return the groups, reduced to the acceptable resources."""
    return tuple(
        tuple(
            SharedHours(hours, left)
            for hours, hosts in by_hours
            if (left := tuple(host for host in hosts if host.resource in only))
        )
        for by_hours in groups
    )


def live_until(owner: Entry | Session, now: int, ignoring: Collection[str]) -> int:
    """Return the time until which an owner is live without the ignored uids, or `NOT_LIVE`."""
    members: Iterable[Entry] = (owner,) if isinstance(owner, Entry) else owner.members.values()
    moments = (one.until for one in members if one.until > now and one.uid not in ignoring)
    return max(moments, default=NOT_LIVE)


def starts_that_fit(starts: Iterable[int], length: int, ranges: Sequence[Span]) -> list[int]:
    """Return which of the ascending starts leave room for a slot in one of the ranges.  O(n + r).

    >>> starts_that_fit([0, 5, 10, 15], 5, [(0, 7), (10, 20)])
    [0, 10, 15]
    """
    found: list[int] = []
    at, count = 0, len(ranges)
    for start in starts:
        # Ends ascend, so of the ranges that have started the last one ends last.
        while at < count and ranges[at][0] <= start:
            at += 1
        if at and start + length <= ranges[at - 1][1]:
            found.append(start)
    return found


def first_of_each_date(starts: Iterable[int], zone: Zone) -> list[int]:
    """Return the first of the ascending starts on each date of a zone.

    >>> day = 86_400_000_000
    >>> first_of_each_date([5, 6, day + 3, day + 4], UTC_ZONE)
    [5, 86400000003]
    """
    firsts: dict[int, int] = {}
    for start in starts:
        firsts.setdefault(zone.date(start), start)
    return list(firsts.values())


def _intersect(left: list[Span], right: list[Span]) -> list[Span]:
    return left if left is right else intersection(left, right)
