"""The search for available slots again, minute by minute, to compare with.

`naive_slots` checks every minute, or each part of one in which something changes,
for each host.  It combines hosts in every possible way, and lays the slots on the
grid one by one: slow, but short enough to check by reading.
Compare it with `slotengine.core.offer.booking_service.BookingService.available_slots`.

Opening hours must be in whole minutes; the clock and reservations need not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise, product
from zoneinfo import ZoneInfo

from slotengine.core.ledger.config import limit_id
from slotengine.core.ledger.reservation import BOOKED_UNTIL, is_limit
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import MINUTE, duration_us, from_us
from slotengine.core.time.schedule import Windows
from slotengine.testing.internal.observed import ObservedReservation


@dataclass(frozen=True)
class World:
    """The state at one moment: resources with capacity and opening hours, and what takes them."""

    resources: Mapping[str, tuple[int, Windows | None]]
    live: Sequence[ObservedReservation]
    busy: Mapping[str, Sequence[tuple[int, int]]]
    now: int
    retired: Collection[str] = ()
    """Resources, and event types, of which nothing new can be had."""


def naive_slots(event_type: EventType, world: World, query: AvailabilityQuery) -> dict[int, int]:
    """Return the offered starts, with the seats taken at each.

    The event type must have a zone.
    """
    return _Look(event_type, world, query).offered()


def naive_grid(event_type: EventType, world: World, query: AvailabilityQuery) -> list[int]:
    """Return all starts on the grid of unbooked time, offered or not."""
    return _Look(event_type, world, query).on_grid()


class _Look:
    def __init__(self, event_type: EventType, world: World, query: AvailabilityQuery) -> None:
        self.event_type = event_type
        self.world = world
        self.query = query
        self.now = world.now
        self.live = [one for one in world.live if one.uid not in query.ignoring]
        self.length = query.length or duration_us(event_type.length)
        self.before, self.after = duration_us(event_type.before), duration_us(event_type.after)
        self.viewer = ZoneInfo(query.zone.key)
        assert event_type.zone is not None
        self.zone = ZoneInfo(event_type.zone)
        self.groups = [
            [host for host in group if query.only is None or host.resource in query.only]
            for group in event_type.groups
        ]
        self.start = query.start
        if event_type.first_only:  # the first of the date, even if the search begins later
            self.start -= self.start % MINUTE
            while self._local_date(self.start - MINUTE) == self._local_date(self.start):
                self.start -= MINUTE

    def offered(self) -> dict[int, int]:
        if self.event_type.id in self.world.retired:
            return {}
        starts = {
            start
            for start in self.on_grid()
            if self._fits(start) and self._in_limits(start) and not self._members(start)
        }
        if self.event_type.seats is not None:
            starts |= {one.start for one in self.live if self._joinable(one)}
        starts = {start for start in starts if self._bookable(start)}
        if self.event_type.first_only:
            by_date: dict[date, int] = {}
            for start in sorted(starts):
                by_date.setdefault(self._local_date(start), start)
            starts = {start for start in by_date.values() if start >= self.query.start}
        return {start: self._seats_taken(start) for start in sorted(starts)}

    # --- The grid ------------------------------------------------------------------------

    def on_grid(self) -> list[int]:
        """Return the starts on the grid of unbooked time; holds do not count."""
        step = duration_us(self.event_type.interval or timedelta(0)) or self.length
        advance = step + duration_us(self.event_type.offset)
        unit = next(unit for unit in (60, 30, 20, 15, 10, 5, 1) if step // MINUTE % unit == 0)
        earliest = self.now + max(duration_us(self.event_type.notice), MINUTE)
        laid: list[int] = []
        for opens, closes in sorted(self._ranges()):
            first = max(opens, earliest)
            start = self._aligned(first - first % MINUTE, closes, unit)
            start += duration_us(self.event_type.offset)
            inside = [slot for slot in laid if slot <= start < slot + advance]
            if inside:
                start = max(inside) if max(inside) >= opens else max(inside) + advance
            while start + self.length <= closes:
                if start not in laid:
                    laid.append(start)
                start += advance
        return [start for start in laid if start >= self.start]

    def _aligned(self, start: int, closes: int, unit: int) -> int:
        left_over = (closes - start) // MINUTE % unit
        roundings = (unit, 15, 5) if self.event_type.optimized else (unit,)
        for rounding in roundings:
            up = start
            while self._local(up).minute % rounding:
                up += MINUTE
            if not self.event_type.optimized or (up - start) // MINUTE <= left_over:
                return up
        return start

    def _ranges(self) -> set[tuple[int, int]]:
        """Return the runs of minutes in which all fixed hosts and one of each group are free.

        Runs within others are left out.
        """
        found = set()
        pieces = list(pairwise(self._marks()))
        for party in self._parties():
            usable = [
                (nth, piece)
                for nth, piece in enumerate(pieces)
                if all(self._usable(host, *piece, holds=False) for host in party)
            ]
            for _, run in groupby(enumerate(usable), lambda pair: pair[1][0] - pair[0]):
                together = [piece for _, (_, piece) in run]
                found.add((together[0][0], together[-1][1]))
        return {
            (opens, closes)
            for opens, closes in found
            if not any(low <= opens and closes <= high for low, high in found - {(opens, closes)})
        }

    def _marks(self) -> list[int]:
        """Return the full minutes of the search, and all moments at which occupancy changes."""
        start, end = self.start, self.query.end
        marks = {start, end, *range(start - start % MINUTE, end, MINUTE)}
        for name in self.world.resources:
            marks |= {edge - self.after for edge in self._edges(name)}
            marks |= {edge + self.before for edge in self._edges(name)}
        return sorted(mark for mark in marks if start <= mark <= end)

    def _edges(self, resource: str) -> Iterator[int]:
        """Yield the starts and ends of all that takes a resource."""
        for start, end in self.world.busy.get(resource, ()):
            yield from (start, end)
        for one in self.live:
            for claim in one.claims:
                if claim.resource == resource:
                    yield from (claim.start, claim.end)

    def _parties(self) -> Iterator[tuple[Host, ...]]:
        for picked in product(*self.groups):
            yield (*self.event_type.fixed, *picked)

    # --- Free time -----------------------------------------------------------------------

    def _usable(self, host: Host, start: int, end: int, *, holds: bool) -> bool:
        """Return whether a host is free for a slot that covers this span."""
        if host.resource in self.world.retired:
            return False
        capacity, hours = self.world.resources[host.resource]
        hours = self.event_type.schedule or host.schedule or hours
        if hours is not None and not hours.covers(start, end):
            return False
        opens, closes = start - self.before, end + self.after
        moments = [opens, *(edge for edge in self._edges(host.resource) if opens < edge < closes)]
        return all(
            self._taken(host.resource, each, holds=holds) + host.units <= capacity
            for each in moments
        )

    def _taken(self, resource: str, moment: int, *, holds: bool) -> int:
        if any(start <= moment < end for start, end in self.world.busy.get(resource, ())):
            return self.world.resources[resource][0]
        standing = {
            (one.session, claim)
            for one in self.live
            for claim in one.claims
            if claim.resource == resource
            and claim.start <= moment < claim.end
            and (holds or self._is_booked(one))
        }
        return sum(claim.units for _, claim in standing)

    def _is_booked(self, one: ObservedReservation) -> bool:
        shared = [other for other in self.live if other.session == one.session]
        return any(other.until == BOOKED_UNTIL for other in shared)

    def _fits(self, start: int) -> bool:
        end = start + self.length
        return any(
            all(self._usable(host, start, end, holds=True) for host in party)
            for party in self._parties()
        )

    # --- Window and limits -------------------------------------------------------------

    def _bookable(self, start: int) -> bool:
        if start < self.now + duration_us(self.event_type.notice):
            return False
        window, on = self.event_type.window, from_us(start).astimezone(self.zone).date()
        if isinstance(window, DateRange):
            return window.first <= on <= window.last
        if isinstance(window, RollingDays):
            today = from_us(self.now).astimezone(self.zone).date()
            last, left = today, window.days
            while left:
                last += timedelta(days=1)
                left -= not window.business or last.weekday() < 5
            return start >= self.now and on <= last
        return True

    def _in_limits(self, start: int) -> bool:
        return all(self._in_limit(limit, start) for limit in self.event_type.limits)

    def _in_limit(self, limit: Limit, start: int) -> bool:
        period = self._period(limit.per, start)
        name = limit_id(self.event_type.id, limit.per.value, by_minutes=limit.count is None)
        counted = {
            one.session: one
            for one in self.live
            if one.event_type == self.event_type.id
            and self._period(limit.per, one.start) == period
            # Some were made before there was this limit.
            and name in {claim.resource for claim in one.claims}
        }
        if limit.count is not None:
            return len(counted) + 1 <= limit.count
        assert limit.time is not None
        reserved = sum(one.end - one.start for one in counted.values())
        return reserved + self.length <= duration_us(limit.time)

    def _period(self, per: Period, moment: int) -> tuple[int, ...]:
        on = from_us(moment).astimezone(self.zone).date()
        return {
            Period.DAY: (on.year, on.month, on.day),
            Period.WEEK: on.isocalendar()[:2],
            Period.MONTH: (on.year, on.month),
            Period.YEAR: (on.year,),
        }[per]

    # --- Shared sessions -----------------------------------------------------------------

    def _members(self, start: int) -> list[ObservedReservation]:
        return [
            one
            for one in self.live
            if one.seats is not None and one.session == (self.event_type.id, start)
        ]

    def _seats_taken(self, start: int) -> int:
        return sum(one.seats.wanted for one in self._members(start) if one.seats is not None)

    def _joinable(self, one: ObservedReservation) -> bool:
        assert self.event_type.seats is not None
        return (
            one.session == (self.event_type.id, one.start)
            and one.end - one.start == self.length
            and self._will_do(one)
            and self._seats_taken(one.start) + self.query.seats <= self.event_type.seats
            and self.start <= one.start
            and one.end <= self.query.end
        )

    def _will_do(self, one: ObservedReservation) -> bool:
        """Return whether the query accepts the hosts of a session."""
        hosts = {host.resource for party in self._parties() for host in party}
        return {claim.resource for claim in one.claims if not is_limit(claim.resource)} <= hosts

    def _local(self, moment: int) -> datetime:
        return from_us(moment).astimezone(self.viewer)

    def _local_date(self, moment: int) -> date:
        return self._local(moment).date()
