"""An event type made ready for a ledger: durations as numbers, hours and limits looked up.

A `BookingRules` turns a start and a length into a `Proposal`, and knows what has
nothing to do with what is taken: the lengths, the notice, the booking window.
Times and durations are microseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from slotengine.core.ledger.checks import is_count
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import LIMIT, Claim, Demand, Seats
from slotengine.core.ledger.timeline import END_OF_TIME
from slotengine.core.offer.event_type import EventType, Host, Limit, Periods
from slotengine.core.offer.slot_grid import is_fixed
from slotengine.core.time.instant import MINUTE, duration_us, from_us
from slotengine.core.time.schedule import ALWAYS_OPEN, AnyOf, FixedWindows, Schedule
from slotengine.core.time.zone import Zone
from slotengine.errors import InvalidField, NotBookable, OutsideHours, TooManyUnits, TooSoon

if TYPE_CHECKING:
    from slotengine.core.ledger.quota import Quota
    from slotengine.core.time.schedule import Windows


class SlotRequest(NamedTuple):
    """What somebody asks for: a slot of an event type, by its rules."""

    event_type: str
    start: int
    length: int | None = None
    """None: the usual one."""
    ttl: int = 0
    holder: str | None = None
    key: str | None = None
    seats: int = 1
    """How many, of an event type that has seats."""
    only: frozenset[str] | None = None
    """Of the groups, the resources that will do; None: all."""
    enforce: bool = True
    """Whether hours, notice and booking window count."""
    quota: Quota | None = None
    """How much the holder may have, beside what the engine allows."""


class HostRule(NamedTuple):
    """A host, and the hours that count for this event type; None: always."""

    resource: str
    units: int
    weight: int
    hours: Windows | None


class LimitRule:
    """A limit of an event type, as a resource of the ledger."""

    __slots__ = ("_latest", "by_minutes", "periods", "resource", "units")

    def __init__(self, event_type: str, limit: Limit, zone: Zone) -> None:
        self.by_minutes = limit.count is None
        what = "time" if self.by_minutes else "count"
        self.resource = f"{LIMIT}{limit.per.value} {what}:{event_type}"
        self.units = limit.units
        self.periods = Periods(limit.per, zone)
        self._latest = Claim(self.resource, 0, 0, 0)

    def claim(self, start: int, length: int) -> Claim:
        """Return what a slot takes of it: of the whole period in which it begins.

        O(log n) for n periods that were claimed before.
        """
        latest = self._latest
        needed = length // MINUTE if self.by_minutes else 1
        if latest[1] <= start < latest[2] and latest[3] == needed:
            return latest
        claim = self._latest = Claim(self.resource, *self.periods.span(start), needed)
        return claim

    def needed(self, length: int) -> int:
        """Return how many units a slot of a length takes."""
        return length // MINUTE if self.by_minutes else 1


class SharedHours(NamedTuple):
    """Hosts of one group who have the same hours."""

    hours: Windows | None
    hosts: tuple[HostRule, ...]


class BookingRules:
    """An event type over the resources of a ledger.

    ``hours`` are those of the resources themselves.
    """

    def __init__(self, event_type: EventType, hours: Mapping[str, Windows | None]) -> None:
        self.event_type = event_type
        self.id = event_type.id
        self.length = duration_us(event_type.length)
        self.lengths = frozenset(map(duration_us, event_type.lengths)) or frozenset({self.length})
        interval = event_type.interval
        self.interval = None if interval is None else duration_us(interval)
        self.offset = duration_us(event_type.offset)
        self.before = duration_us(event_type.before)
        self.after = duration_us(event_type.after)
        self.notice = duration_us(event_type.notice)
        self.seats = event_type.seats
        self.fixed = tuple(self._host_rule(host, hours) for host in event_type.fixed)
        self.groups = tuple(
            tuple(self._host_rule(host, hours) for host in group) for group in event_type.groups
        )
        self.zone = self._zone_of_dates()
        self.limits = tuple(LimitRule(self.id, limit, self.zone) for limit in event_type.limits)
        self._fixed_hours = _hours(self.fixed, enforce=True)
        self._all_hours = _hours(self.fixed, enforce=False)
        self.sole_resource = self._sole_resource()
        self.longest_span = self.before + max(self.lengths) + self.after
        """The longest span that a slot may occupy."""

    def _host_rule(self, host: Host, hours: Mapping[str, Windows | None]) -> HostRule:
        said = (self.event_type.schedule, host.schedule, hours[host.resource])
        schedule = next((each for each in said if each is not None), None)
        return HostRule(host.resource, host.units, host.weight, schedule)

    def _sole_resource(self) -> str | None:
        """Return the resource of which a slot takes one unit, and nothing else but of limits.

        None if there is more to it: then it takes a proposal to say what.
        """
        more = self.groups or self.seats or self.before or self.after
        if more or len(self.fixed) > 1 or self.fixed[0].units > 1:
            return None
        return self.fixed[0].resource

    def _zone_of_dates(self) -> Zone:
        hosts = (host for group in (self.fixed, *self.groups) for host in group)
        schedules = [self.event_type.schedule, *(host.hours for host in hosts)]
        named = (one.zone for one in schedules if isinstance(one, Schedule))
        return Zone.of(self.event_type.zone or next(named, "UTC"))

    def resources_of(self, groups: Iterable[tuple[HostRule, ...]]) -> frozenset[str]:
        """Return the resources of all fixed hosts, and of some groups."""
        return frozenset(host.resource for group in (self.fixed, *groups) for host in group)

    def restricted_to(self, resource: str) -> frozenset[str]:
        """Return everybody, but of the group that a resource is in only that one.

        Raises `InvalidField` if it is in none.
        """
        group = next(
            (group for group in self.groups if any(one.resource == resource for one in group)), None
        )
        if group is None:
            raise InvalidField("resource", f"{resource!r} is in no group of {self.id!r}")
        others = self.resources_of(self.groups) - {one.resource for one in group}
        return frozenset({resource, *others})

    # --- What is asked for ---------------------------------------------------------------

    def length_of(self, asked: int | None) -> int:
        """Return the length of a slot.  Raises `InvalidField` if there is no such."""
        if asked is None:
            return self.length
        if asked not in self.lengths:
            known = ", ".join(str(length // MINUTE) for length in sorted(self.lengths))
            raise InvalidField("length", f"must be one of {known} minutes for {self.id!r}")
        return asked

    def seats_of(self, wanted: int) -> Seats | None:
        """Return the seats that are asked for.  Raises `InvalidField` or `TooManyUnits`."""
        if not is_count(wanted):
            raise InvalidField("seats", f"must be a positive whole number, not {wanted!r}")
        if self.seats is None:
            if wanted != 1:
                raise InvalidField("seats", f"{self.id!r} has none")
            return None
        if wanted > self.seats:
            raise TooManyUnits(self.id, wanted, self.seats)
        return Seats(self.seats, wanted)

    def fixed_hours(self, enforce: bool) -> tuple[Windows, ...]:
        """Return the hours that count of each fixed host, if they are to, or all hours."""
        return self._fixed_hours if enforce else self._all_hours

    def groups_of(self, only: Collection[str] | None) -> tuple[tuple[HostRule, ...], ...]:
        """Return the groups, less whoever will not do.

        Raises `InvalidField` if that leaves nobody of a group, or names who is no host.
        """
        if only is None:
            return self.groups
        strangers = set(only) - self.resources_of(self.groups)
        if strangers:
            raise InvalidField("only", f"must name hosts of {self.id!r}, not {min(strangers)!r}")
        left = tuple(
            tuple(host for host in group if host.resource in only) for group in self.groups
        )
        if not all(left):
            raise InvalidField("only", f"must leave one of each group of {self.id!r}")
        return left

    def has_fixed_grid(self, length: int, start: int, end: int, zone: Zone) -> bool:
        """Return whether bookings cannot move the grid that slots of a span are laid on."""
        return is_fixed(
            step=self.interval or length,
            offset=self.offset,
            start=start,
            end=end,
            zone=zone,
            optimized=self.event_type.optimized,
        )

    def limit_claims(self, start: int, length: int) -> tuple[Claim, ...]:
        """Return what a slot takes of the limits.  O(l log n), as `LimitRule.claim`."""
        return tuple([rule.claim(start, length) for rule in self.limits])

    @cached_property
    def groups_by_hours(self) -> tuple[tuple[SharedHours, ...], ...]:
        """The groups, each by the hours of its hosts.  O(h) the first time."""
        return tuple(map(_by_hours, self.groups))

    @cached_property
    def open_hours(self) -> tuple[Windows | None, ...]:
        """When somebody of each group is open; None: always, or not known beforehand."""
        return tuple(map(_hours_of_all, self.groups_by_hours))

    def proposal(self, request: SlotRequest) -> Proposal:
        """Return what the ledger is to decide.  O(h) for h hosts.

        Raises `InvalidField` or `TooManyUnits` for what can never be had.
        """
        start = request.start
        length = self.length_of(request.length)
        occupied = start - self.before, start + length + self.after
        groups, only = self.groups_of(request.only), request.only and tuple(sorted(request.only))
        # From lists where there is a choice, which costs 0.2 µs less each than from generators.
        return Proposal(
            start,
            start + length,
            tuple([Claim(one.resource, *occupied, one.units) for one in self.fixed]),
            request.ttl,
            request.holder,
            self.id,
            self.seats_of(request.seats),
            request.key,
            None,
            tuple([_pool(group, occupied, enforce=request.enforce) for group in groups]),
            self.limit_claims(start, length),
            self.fixed_hours(request.enforce),
            None if self.seats is None else self.resources_of(groups),
            (
                self.id,
                start,
                length,
                request.ttl,
                request.holder,
                request.seats,
                only,
                request.enforce,
            ),
            request.quota,
            self.demand(request.enforce),
        )

    def demand(self, enforce: bool) -> Demand:
        """Return what a reservation is made under."""
        return Demand.RULES if enforce else Demand.NOTHING

    # --- When it can begin -----------------------------------------------------------------

    def bookable_span(self, now: int) -> tuple[int, int]:
        """Return when a slot must begin that is reserved ``now``, as a span of time.

        Empty, with an end at or before the start, if it is too late for all.
        """
        opens, end = self._window(now)
        return max(now + self.notice, opens), end

    def _window(self, now: int) -> tuple[int, int]:
        window = self.event_type.window
        return (now, END_OF_TIME) if window is None else window.span(self.zone, now)

    def check_hours(self, start: int, end: int, claims: Iterable[Claim]) -> None:
        """Raise `OutsideHours` unless all of these hosts are open for the slot."""
        hosts = (host for group in (self.fixed, *self.groups) for host in group)
        hours = {host.resource: host.hours for host in hosts}
        for claim in claims:
            theirs = hours.get(claim.resource)
            if theirs is not None and not theirs.covers(start, end):
                raise OutsideHours(claim.resource, from_us(start), from_us(end))

    def check_start(self, start: int, now: int) -> None:
        """Raise `TooSoon` or `NotBookable` unless a slot may begin then.  O(1)."""
        if start < now + self.notice:
            raise TooSoon(self.id, from_us(now + self.notice))
        opens, end = self._window(now)
        if not opens <= start < end:
            raise NotBookable(self.id, from_us(opens), from_us(end))


def _by_hours(group: Iterable[HostRule]) -> tuple[SharedHours, ...]:
    """Return a group by the hours of its hosts, in the order in which these come up.

    Hours that are equal are the same, whether or not they are one object.
    """
    by_hours: dict[object, list[HostRule]] = {}
    latest: Windows | None = None
    hosts: list[HostRule] = []
    for host in group:
        if not hosts or host.hours is not latest:
            latest = host.hours
            try:
                hosts = by_hours.setdefault(latest, [])
            except TypeError:  # somebody's own kind of hours, without a hash
                hosts = by_hours[len(by_hours)] = []
        hosts.append(host)
    return tuple(SharedHours(each[0].hours, tuple(each)) for each in by_hours.values())


def _hours_of_all(by_hours: Sequence[SharedHours]) -> Windows | None:
    """Return when one of several is open, if that cannot change; None if one of them always is."""
    schedules = [shared.hours for shared in by_hours]
    if len(schedules) == 1:
        return schedules[0]
    fixed = [each for each in schedules if isinstance(each, Schedule | FixedWindows)]
    return AnyOf(fixed) if len(fixed) == len(schedules) else None


def _pool(group: tuple[HostRule, ...], occupied: tuple[int, int], *, enforce: bool) -> Pool:
    """Return a group of which one is to be had for a span."""
    return Pool(
        tuple([Claim(one.resource, *occupied, one.units) for one in group]),
        tuple([one.weight for one in group]),
        _hours(group, enforce=enforce),
    )


def _hours(hosts: Iterable[HostRule], *, enforce: bool) -> tuple[Windows, ...]:
    """Return the hours that count of each."""
    return tuple([one.hours if enforce and one.hours is not None else ALWAYS_OPEN for one in hosts])
