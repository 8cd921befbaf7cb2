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

Cost: O(h w + b log b + s), for w windows of h hosts, b that is taken in the
range, and s slots; what lies outside the range does not matter.  With several
groups, also the pairs of their free ranges that overlap.

Reads only.  Times are UTC microseconds, spans half-open.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from slotengine.core.expiry import NEVER
from slotengine.core.grid import lay
from slotengine.core.instant import DAY, MINUTE
from slotengine.core.interval import Span, common, widest, without
from slotengine.core.obstruction import Standing, steps
from slotengine.core.plan import LimitRule, Party, Plan
from slotengine.core.reservation import BOOKED_UNTIL, Entry, Session
from slotengine.core.timeline import START_OF_TIME
from slotengine.core.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.event_type import EventType
    from slotengine.core.occupancy import Occupancy
    from slotengine.core.resource import Resource

UTC_ZONE: Final = Zone.of("UTC")
LONGEST_RANGE: Final = 3_660 * DAY
"""The longest range that can be searched at once: ten years may have a million slots."""
GONE: Final = -NEVER
"""Until when something stands that does not, or is to be ignored."""


class Query(NamedTuple):
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


class Openings(NamedTuple):
    """Slots that are offered."""

    starts: Sequence[int]
    length: int
    total: int | None
    """How many seats each of them has, if the event type has seats."""
    taken: dict[int, int]
    """Of the slots that are shared already, by start: how many seats are taken."""


class Free(NamedTuple):
    """Where a slot fits: as far as bookings go, and with holds as well."""

    beside_bookings: list[Span]
    beside_all: list[Span]


class Search:
    """One look at what can be had, at one moment."""

    def __init__(
        self,
        plan: Plan,
        query: Query,
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
        self._plan = plan
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
        self._length = plan.length_of(query.length)
        self._wanted = plan.seats_of(query.seats)
        self._groups = plan.groups_of(query.only)
        # The first slot of a date is that of the whole date, not of what is looked at of it.
        self._start, self._end = max(query.start, FIRST_LOCAL), min(query.end, LAST_LOCAL)
        if plan.event_type.first_only:
            midnight = query.zone.midnight(query.zone.date(self._start))
            self._start = min(self._start, midnight)
        self._windows: list[tuple[object, list[Span]]] = []
        self._sessions: dict[int, Session] = {}

    def openings(self) -> Openings:
        """Return the slots that are offered, in order."""
        first, end = self._plan.bookable(self._now)
        starts: list[int] = []
        taken: dict[int, int] = {}
        if self._start < self._end and first < min(end, self._end):
            free = self._free()
            starts = self._laid(free)
            if free.beside_all is not free.beside_bookings:
                starts = fitting(starts, self._length, free.beside_all)
            if starts and (starts[0] < first or starts[-1] >= end):
                starts = [start for start in starts if first <= start < end]
            starts = self._within_limits(starts)
            if self._wanted is not None:
                starts, taken = self._with_sessions(starts, first, end)
            if self._plan.event_type.first_only:
                starts = first_of_dates(starts, self._query.zone)
                starts = [start for start in starts if start >= self._query.start]
        return Openings(starts, self._length, self._plan.seats, taken)

    def _laid(self, free: Free) -> list[int]:
        plan = self._plan
        return lay(
            free.beside_bookings,
            length=self._length,
            step=plan.interval or self._length,
            offset=plan.offset,
            # A minute ahead at least; the grid cuts the seconds, and what begins before the
            # notice is over is dropped afterwards.
            earliest=self._now + max(plan.notice, MINUTE),
            zone=self._query.zone,
            optimized=plan.event_type.optimized,
        )

    # --- Where a slot fits ---------------------------------------------------------------

    def _free(self) -> Free:
        """Return where all fixed hosts, and one of each group, are free."""
        needs = [self._free_of(party) for party in self._plan.fixed]
        needs += [_pooled([self._free_of(party) for party in group]) for group in self._groups]
        whole = needs[0]
        for need in needs[1:]:
            whole = _intersected(whole, need)
        return whole

    def _free_of(self, party: Party) -> Free:
        """Return where a slot fits into one host's time."""
        windows = self._windows_of(party)
        resource = self._occupancy.resources[party.resource]
        before, after = self._plan.before, self._plan.after
        reach = self._start - before, self._end + after
        booked, held = self._taken(resource, party.units, *reach)
        if resource.busy:
            booked = sorted([*booked, *resource.busy_in(*reach)])
        if not booked and not held:
            return Free(windows, windows)
        # A slot keeps its own buffers from what others occupy, whose buffers are in that.
        if before or after:
            booked = [(start - after, end + before) for start, end in booked]
            held = [(start - after, end + before) for start, end in held]
        beside_bookings = without(windows, booked) if booked else windows
        return Free(beside_bookings, without(beside_bookings, held) if held else beside_bookings)

    def _windows_of(self, party: Party) -> list[Span]:
        """Return the windows of a host in the range; hosts of the same hours share one list."""
        for hours, windows in self._windows:
            if hours is party.hours:
                return windows
        whole = [(self._start, self._end)]
        windows = whole if party.hours is None else list(party.hours.windows(*whole[0]))
        self._windows.append((party.hours, windows))
        return windows

    def _taken(
        self, resource: Resource, units: int, start: int, end: int
    ) -> tuple[list[Span], list[Span]]:
        """Return where too few units are left, because of bookings, and because of all."""
        standing = resource.timeline.overlapping(start, end)
        now, ignoring = self._now, self._query.ignoring
        booked: list[Standing] = []
        held: list[Standing] = []
        for one in standing:
            owner = one.owner
            until = standing_until(owner, now, ignoring) if ignoring else owner.until
            if until <= now:
                continue
            (booked if until == BOOKED_UNTIL else held).append(one)
            if owner.__class__ is Session:
                self._note(owner)
        if resource.capacity == 1:
            return [one[:2] for one in booked], [one[:2] for one in held]
        most = resource.capacity - units
        return (
            [step[:2] for step in steps(booked, start, end) if step.units > most],
            [step[:2] for step in steps(booked + held, start, end) if step.units > most]
            if held
            else [],
        )

    def _note(self, owner: Entry | Session) -> None:
        """Remember a session that may be joined."""
        if owner.event_type == self._plan.id:
            assert isinstance(owner, Session)
            self._sessions[owner.start] = owner

    # --- Limits and sessions ---------------------------------------------------------------

    def _within_limits(self, starts: list[int]) -> list[int]:
        for rule in self._plan.limits:
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

    def _used(self, limit: Resource, period: int, most: int) -> int:
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
        sessions = self._occupancy.sessions
        hosts = self._plan.names(self._groups)
        for start in {*starts, *self._sessions}:
            session = sessions.get((self._plan.id, start))
            seats = 0 if session is None else self._seats_taken(session)
            if session is None or not seats:
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


def _pooled(several: Sequence[Free]) -> Free:
    """Return where one of several is free."""
    if len(several) == 1:
        return several[0]
    beside_bookings = _any_of([free.beside_bookings for free in several])
    if all(free.beside_all is free.beside_bookings for free in several):
        return Free(beside_bookings, beside_bookings)
    return Free(beside_bookings, _any_of([free.beside_all for free in several]))


def _any_of(lists: Sequence[list[Span]]) -> list[Span]:
    """Return the ranges of several, as ranges.  Lists that are one and the same count once."""
    # Hosts who have nothing in the range all have the list of their windows, the same one.
    once = {id(ranges): ranges for ranges in lists}
    if len(once) == 1:
        return lists[0]
    return widest(span for ranges in once.values() for span in ranges)


def _intersected(left: Free, right: Free) -> Free:
    beside_bookings = _both(left.beside_bookings, right.beside_bookings)
    if left.beside_all is left.beside_bookings and right.beside_all is right.beside_bookings:
        return Free(beside_bookings, beside_bookings)
    return Free(beside_bookings, _both(left.beside_all, right.beside_all))


def _both(left: list[Span], right: list[Span]) -> list[Span]:
    return left if left is right else common(left, right)
