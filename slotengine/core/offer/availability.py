"""Which slots of an event type are offered: windows less what is taken, laid on the grid.

What is offered can be reserved at that moment, and what could be reserved on
the grid is offered.  It comes about in these steps:

1. Each host is free in the windows that count for the event type, less what is
   booked or imported as busy there, with both sides' buffers around it.
2. A slot needs all fixed hosts and one of each group, for all of its length, so
   ranges of a group's hosts are pooled, not merged, and intersected with those
   of the others.
3. On these ranges, cut to the range that is asked about, the slots are laid out
   (`grid`).  So where steps do not divide the hour it matters from when on one
   asks: ask for whole days, as the contract of Cal.com's slots API expects.
4. Holds take slots away, but do not shift the grid: a hold is there for some
   minutes only, and what others see should not jump to and fro meanwhile.
5. So do limits that are reached, and shared sessions that are full; a session
   with seats left is offered at its start, wherever that is.

Where bookings cannot move the grid (`grid.is_fixed`: steps of 5, 10, 15, 20, 30
or 60 minutes) it is laid out in the opening hours alone, and its starts are held
against one host after the other, until somebody is found for each.

Cost: O(w + s) for w windows and s slots, and O(log b) for each start and host
that is asked; elsewhere O(w + b) for each host who is looked at, of b that is
taken in the range, and of a group nobody is looked at in a window in which
another is free throughout.  What lies outside the range does not matter.  With
several groups, also the pairs of their free ranges that overlap.

Reads only.  Times are UTC microseconds, spans half-open.
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
from slotengine.core.time.instant import DAY, MINUTE
from slotengine.core.time.interval import Span, clipped, common, joined, parted, widest, without
from slotengine.core.time.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.ledger.occupancy import Occupancy
    from slotengine.core.ledger.reservation import Reservable
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

UTC_ZONE: Final = Zone.of("UTC")
LONGEST_RANGE: Final = 3_660 * DAY
"""The longest range that can be searched at once: ten years may have a million slots."""
FEW: Final = 8
"""So many are looked up one by one; from there on it is as quick to go through what is there."""
GONE: Final = -NEVER
"""Until when something stands that does not, or is to be ignored."""


class AvailabilityQuery(NamedTuple):
    """Which slots are looked for: those that begin in a span of time, and end in it."""

    event_type: str | EventType
    start: int
    end: int
    length: int | None = None
    """None: the usual one."""
    zone: Zone = UTC_ZONE
    """The viewer's: slots begin at full hours, or the like, of this clock."""
    seats: int = 1
    ignoring: frozenset[str] = frozenset()
    """Uids of reservations that are not to count: the caller's own, or one that is moved."""
    only: frozenset[str] | None = None
    """Of the groups, the resources that will do; None: all."""


class AvailableSlots(NamedTuple):
    """Slots that are offered."""

    starts: Sequence[int]
    length: int
    total: int | None
    """How many seats each of them has, if the event type has seats."""
    taken: dict[int, int]
    """Of the slots that are shared already, by start: how many seats are taken."""


class AvailabilitySearch:
    """One look at what can be had, at one moment."""

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
            raise InvalidField("end", "must be after the start")
        if query.end - query.start > LONGEST_RANGE:
            raise InvalidField(
                "end", f"must be {LONGEST_RANGE // DAY} days after the start at most"
            )
        self._rules = rules
        self._query = query
        self._occupancy = occupancy
        self._now = now
        self._swept = swept
        # What stands there because of nobody but them, whose uids are ignored.
        owners: Iterable[Entry | Session] = [
            one.session or one for one in ignored if one is not None and one.placed
        ]
        self._ignored = {
            owner for owner in owners if standing_until(owner, now, query.ignoring) <= now
        }
        self._length = rules.length_of(query.length)
        self._wanted = rules.seats_of(query.seats)
        self._groups = rules.groups_of(query.only)
        # The first slot of a date is that of the whole date, not of what is looked at of it.
        self._start, self._end = max(query.start, FIRST_LOCAL), min(query.end, LAST_LOCAL)
        if rules.event_type.first_only:
            midnight = query.zone.midnight(query.zone.date(self._start))
            self._start = min(self._start, midnight)
        self._groups_by_hours = (
            rules.groups_by_hours
            if query.only is None
            else _among(rules.groups_by_hours, query.only)
        )
        self._windows: dict[int, list[Span]] = {}
        self._all_stands = swept and not query.ignoring
        self._holds_seen = False
        self.cut_from = self._end
        """When the range begins that ends with the look, and so may go on beyond it."""

    def available_slots(self) -> AvailableSlots:
        """Return the slots that are offered, in order."""
        first, end = self._rules.bookable_span(self._now)
        starts: list[int] = []
        taken: dict[int, int] = {}
        if self._start < self._end and first < min(end, self._end):
            starts = self._offered()
            if starts and (starts[0] < first or starts[-1] >= end):
                starts = [start for start in starts if first <= start < end]
            starts = self._within_limits(starts)
            if self._wanted is not None:
                starts, taken = self._with_sessions(starts, first, end)
            if self._rules.event_type.first_only:
                starts = first_of_dates(starts, self._query.zone)
                starts = [start for start in starts if start >= self._query.start]
        return AvailableSlots(starts, self._length, self._rules.seats, taken)

    def _offered(self) -> list[int]:
        """Return the starts on the grid at which all fixed hosts, and one of each group, fit."""
        rules = self._rules
        fixed = rules.has_fixed_grid(self._length, self._start, self._end, self._query.zone)
        starts = self._laid(self._open() if fixed else self._free())
        if fixed or self._holds_seen:
            for host in rules.fixed:
                known = not fixed or host.hours is rules.fixed[0].hours
                starts = self._open_at(starts, host.hours, known=known)[0]
                starts = self.partition(host, starts)[0]
            for by_hours in self._groups_by_hours:
                starts = self._fitting_any(by_hours, starts)
        return starts

    def _laid(self, ranges: Sequence[Span]) -> list[int]:
        rules = self._rules
        if ranges and ranges[-1][1] == self._end:
            self.cut_from = ranges[-1][0]
        return slot_starts(
            ranges,
            length=self._length,
            step=rules.interval or self._length,
            offset=rules.offset,
            # A minute ahead at least; the grid cuts the seconds, and what begins before the
            # notice is over is dropped afterwards.
            earliest=self._now + max(rules.notice, MINUTE),
            zone=self._query.zone,
            optimized=rules.event_type.optimized,
        )

    # --- Where somebody is open --------------------------------------------------------------

    def _open(self) -> list[Span]:
        """Return where one of each group is open, and the first of the fixed hosts."""
        needs = [self._windows_of(host.hours) for host in self._rules.fixed[:1]]
        needs += map(self._windows_of_all, range(len(self._groups)))
        return reduce(_both, needs)

    def _windows_of_all(self, group: int) -> list[Span]:
        """Return the windows in which one of a group is open."""
        by_hours = self._groups_by_hours[group]
        if any(shared.hours is None for shared in by_hours):
            return self._windows_of(None)
        known = None if self._query.only else self._rules.open_hours[group]
        if known is not None:
            return self._windows_of(known)
        windows = [window for shared in by_hours for window in self._windows_of(shared.hours)]
        return list(clipped(joined(windows), self._start, self._end))

    def _windows_of(self, hours: Windows | None) -> list[Span]:
        """Return the windows of a schedule in the range; those who share it share one list."""
        windows = self._windows.get(id(hours))
        if windows is None:
            whole = self._start, self._end
            windows = [whole] if hours is None else list(hours.windows(*whole))
            self._windows[id(hours)] = windows
        return windows

    # --- Where a slot fits: of the starts of a grid ---------------------------------------

    def _fitting_any(self, by_hours: Sequence[SharedHours], starts: list[int]) -> list[int]:
        """Return the starts at which one of a group fits.

        Nobody is looked at for a start that is found already, and nobody at all once
        all are found.
        """
        found: list[int] = []
        for hours, hosts in by_hours:
            if not starts:
                break
            open_then, closed = self._open_at(starts, hours, known=len(by_hours) == 1)
            for host in hosts:
                if not open_then:
                    break
                fits, open_then = self.partition(host, open_then)
                found += fits
            starts = sorted(open_then + closed) if closed else open_then
        found.sort()
        return found

    def _open_at(
        self, starts: list[int], hours: Windows | None, *, known: bool
    ) -> tuple[list[int], list[int]]:
        """Return at which starts hours cover a slot, and at which not.

        With ``known``, all do: they were laid out in these hours.
        """
        if hours is None or known:
            return starts, []
        length = self._length
        if len(starts) > 8 * FEW:  # working out the windows takes as long as asking for so many
            covered = set(fitting(starts, length, self._windows_of(hours)))
        else:
            covered = {start for start in starts if hours.covers(start, start + length)}
        return (
            [start for start in starts if start in covered],
            [start for start in starts if start not in covered],
        )

    def partition(self, host: HostRule, starts: list[int]) -> tuple[list[int], list[int]]:
        """Return at which starts a host, who is open, is free for a slot, and at which not.

        O(s log n) for s starts or, if there are fewer, what stands between them.
        """
        resource = self._occupancy.resources[host.resource]
        if not starts or (not resource.load and not resource.busy):
            return starts, []
        reach = starts[0] - self._rules.before, starts[-1] + self._length + self._rules.after
        if self._all_stands:
            free, taken = self._sifted(resource, host.units, starts, reach)
        else:
            holes = sorted(chain(*self._taken(resource, host.units, *reach)))
            free, taken = parted(starts, self._starts_hit_by(holes))
        if resource.busy and free:
            free, busy = parted(free, self._starts_hit_by(resource.busy_in(*reach)))
            taken = sorted(taken + busy) if busy else taken
        return free, taken

    def _sifted(
        self, resource: Reservable, units: int, starts: list[int], reach: Span
    ) -> tuple[list[int], list[int]]:
        """Return at which starts there is room, and at which not, where all that stands counts."""
        timeline = resource.timeline
        if len(starts) > FEW and 2 * timeline.changes(*reach) < len(starts):
            holes = timeline.full(*reach, units)
            return parted(starts, self._starts_hit_by(holes))
        return timeline.sifted(starts, self._rules.before, self._length + self._rules.after, units)

    def _starts_hit_by(self, holes: Iterable[Span]) -> Iterator[Span]:
        """Yield between which starts a slot would run into each of the holes."""
        # A slot keeps its own buffers from what others occupy, whose buffers are in that.
        before, reach = self._rules.before, self._length + self._rules.after
        for start, end in holes:
            yield start - reach + 1, end + before

    # --- Where a slot fits: as far as bookings go, for a grid to be laid out ----------------

    def _free(self) -> list[Span]:
        """Return where all fixed hosts, and one of each group, are free beside bookings."""
        needs = [self._free_of(host, self._windows_of(host.hours)) for host in self._rules.fixed]
        needs += map(self._pooled, self._groups_by_hours)
        return reduce(_both, needs)

    def _pooled(self, by_hours: Sequence[SharedHours]) -> list[Span]:
        """Return where one of a group is free, as ranges.

        A window in which somebody is free throughout holds whatever others are in it,
        so they are not looked at there.
        """
        found: set[Span] = set()
        for hours, hosts in by_hours:
            windows = self._windows_of(hours)
            for host in hosts:
                if not windows:
                    break
                found.update(self._free_of(host, windows))
                windows = [window for window in windows if window not in found]
        return widest(found)

    def _free_of(self, host: HostRule, windows: list[Span]) -> list[Span]:
        """Return where a slot fits into some windows of one host, beside bookings."""
        resource = self._occupancy.resources[host.resource]
        if not resource.load and not resource.busy:
            return windows
        spans = [(windows[0][0], windows[-1][1])] if len(windows) > FEW else windows
        before, after = self._rules.before, self._rules.after
        booked: list[Span] = []
        for start, end in spans:
            reach = start - before, end + after
            here, held = self._taken(resource, host.units, *reach)
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
        # What is too short is left out.  The grid may go on from a start less than a minute before.
        least = self._length - MINUTE
        return [gap for gap in without(windows, booked) if gap[1] - gap[0] > least]

    def _taken(
        self, resource: Reservable, units: int, start: int, end: int
    ) -> tuple[list[Span], list[Span]]:
        """Return where too few units are left, because of bookings, and because of all."""
        now, ignoring = self._now, self._query.ignoring
        if resource.capacity > 1:
            return self._taken_of_many(resource, units, start, end)
        spans, owners = resource.timeline.pieces(start, end)
        if ignoring:
            untils = [standing_until(owner, now, ignoring) for owner in owners]
        else:
            untils = [owner.until for owner in owners]
        lapses = list(zip(spans, untils, strict=True))
        booked = [span for span, until in lapses if until == BOOKED_UNTIL]
        if len(booked) == len(spans):
            return booked, []
        return booked, [span for span, until in lapses if now < until < BOOKED_UNTIL]

    def _taken_of_many(
        self, resource: Reservable, units: int, start: int, end: int
    ) -> tuple[list[Span], list[Span]]:
        now, ignoring = self._now, self._query.ignoring
        booked: list[Standing] = []
        held: list[Standing] = []
        for one in resource.timeline.overlapping(start, end):
            owner = one.owner
            until = standing_until(owner, now, ignoring) if ignoring else owner.until
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
            starts = list(self._within(rule, starts))
        return starts

    def _within(self, rule: LimitRule, starts: Sequence[int]) -> Iterator[int]:
        """Yield the starts in whose period there is enough left of a limit."""
        left = rule.units - rule.needed(self._length)
        resource = self._occupancy.limits[rule.resource]
        ends, admits = START_OF_TIME, False
        for start in starts:
            if start >= ends:
                period, ends = rule.periods.span(start)
                admits = self._used(resource, period, left) <= left
            if admits:
                yield start

    def _used(self, limit: Reservable, period: int, most: int) -> int:
        """Return how much of a limit is used in the period that begins then.

        It may be less if it is no more than ``most``, because something has lapsed.
        """
        # A year may have thousands: none of them is looked at unless it depends on them.
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
            for _, _, units, owner in limit.timeline.overlapping(period, period + 1)
            if standing_until(owner, self._now, self._query.ignoring) > self._now
        )

    def _with_sessions(
        self, starts: list[int], first: int, end: int
    ) -> tuple[list[int], dict[int, int]]:
        """Return the starts with sessions that can be joined, without those that cannot."""
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


def _among(
    groups: Iterable[Sequence[SharedHours]], only: Collection[str]
) -> tuple[tuple[SharedHours, ...], ...]:
    """Return the groups, less whoever will not do."""
    return tuple(
        tuple(
            SharedHours(hours, left)
            for hours, hosts in by_hours
            if (left := tuple(host for host in hosts if host.resource in only))
        )
        for by_hours in groups
    )


def standing_until(owner: Entry | Session, now: int, ignoring: Collection[str]) -> int:
    """Return when what stands in a timeline lapses, `GONE` if it has, or is to be ignored."""
    members: Iterable[Entry] = (owner,) if isinstance(owner, Entry) else owner.members.values()
    moments = (one.until for one in members if one.until > now and one.uid not in ignoring)
    return max(moments, default=GONE)


def fitting(starts: Iterable[int], length: int, ranges: Sequence[Span]) -> list[int]:
    """Return the ascending starts of which a slot of the length lies in one of the ranges.

    O(n + r).

    >>> fitting([0, 5, 10, 15], 5, [(0, 7), (10, 20)])
    [0, 10, 15]
    """
    found: list[int] = []
    at, count = 0, len(ranges)
    for start in starts:
        # Of all ranges that have begun the last one ends last.
        while at < count and ranges[at][0] <= start:
            at += 1
        if at and start + length <= ranges[at - 1][1]:
            found.append(start)
    return found


def first_of_dates(starts: Iterable[int], zone: Zone) -> list[int]:
    """Return the first of the ascending starts of each date of a zone.

    >>> day = 86_400_000_000
    >>> first_of_dates([5, 6, day + 3, day + 4], UTC_ZONE)
    [5, 86400000003]
    """
    firsts: dict[int, int] = {}
    for start in starts:
        firsts.setdefault(zone.date(start), start)
    return list(firsts.values())


def _both(left: list[Span], right: list[Span]) -> list[Span]:
    return left if left is right else common(left, right)
