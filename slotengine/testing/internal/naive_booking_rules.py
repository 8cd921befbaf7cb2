"""The rules of event types again: what a slot takes, when it may start, which are offered.

What the booking service does to a ledger is done to a `NaiveLedger` here, written down
again in plain dates and loops.  Compare it with `slotengine.core.offer.booking_service`.

Every event type must name its zone, one whose clocks do not change at midnight.
Times and durations are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from slotengine.core.ledger.config import LIMIT, Kind, Put
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Seats, State, is_limit
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import LAST_US, MINUTE, duration_us, from_us, to_us
from slotengine.core.time.schedule import Windows
from slotengine.errors import NotBookable, OutsideHours, TooSoon, UnknownReservation
from slotengine.testing.internal.naive_availability import World, naive_slots
from slotengine.testing.internal.naive_configuration import configure
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_waitlist import Check
from slotengine.testing.internal.observed import ObservedReservation


def add(naive: NaiveLedger, event_type: EventType) -> None:
    """Add an event type and its limits to a naive ledger."""
    configure(naive, [Put(Kind.EVENT_TYPE, event_type.id, event_type)])


# --- Proposals ----------------------------------------------------------------------------


def prepared(naive: NaiveLedger, ask: SlotRequest) -> tuple[Proposal, Check, int]:
    """Return the proposal of a request, the check that comes before, and the latest time for it."""
    event_type = naive.event_types[ask.event_type]
    proposal = _proposal(naive, event_type, ask)
    if not ask.enforce:
        return proposal, None, LAST_US
    check = partial(_check_start, event_type, ask.start)
    return proposal, check, ask.start - duration_us(event_type.notice)


def _proposal(naive: NaiveLedger, event_type: EventType, ask: SlotRequest) -> Proposal:
    length = duration_us(event_type.length) if ask.length is None else ask.length
    start, end = ask.start, ask.start + length
    first, last = start - duration_us(event_type.before), end + duration_us(event_type.after)

    def claims(hosts: Iterable[Host]) -> tuple[Claim, ...]:
        return tuple(Claim(host.resource, first, last, host.units) for host in hosts)

    def is_closed(host: Host) -> bool:
        hours = _hours(naive, event_type, host)
        return ask.enforce and hours is not None and not hours.covers(start, end)

    groups = [
        [host for host in group if ask.only is None or host.resource in ask.only]
        for group in event_type.groups
    ]
    only = None if ask.only is None else sorted(ask.only)
    return Proposal(
        start,
        end,
        claims(event_type.fixed),
        naive.terms.default_ttl if ask.ttl is None else ask.ttl,
        ask.holder,
        event_type.id,
        None if event_type.seats is None else Seats(event_type.seats, ask.seats),
        ask.key,
        pools=tuple(
            Pool(
                claims(group),
                tuple(host.weight for host in group),
                tuple(host.credit or 0 for host in group),
            )
            for group in groups
        ),
        limits=tuple(_counted(limit, event_type, start, length) for limit in event_type.limits),
        closed=tuple(
            host.resource
            for hosts in (event_type.fixed, *groups)
            for host in hosts
            if is_closed(host)
        ),
        digest=repr((*ask._replace(only=None, quota=None), only)).encode(),
        hosts=frozenset(
            host.resource for hosts in (event_type.fixed, *groups) for host in hosts
        ),
        quota=ask.quota,
        demand=Demand.RULES if ask.enforce else Demand.NOTHING,
        requested=ask.requested,
        extra=ask.extra,
    )  # fmt: skip


def _hours(naive: NaiveLedger, event_type: EventType, host: Host) -> Windows | None:
    return event_type.schedule or host.schedule or naive.resources[host.resource][1]


def _name(limit: Limit, event_type: EventType) -> str:
    kind = "time" if limit.count is None else "count"
    return f"{LIMIT}{limit.per.value} {kind}:{event_type.id}"


def _counted(limit: Limit, event_type: EventType, start: int, length: int) -> Claim:
    units = 1 if limit.time is None else length // MINUTE
    first, following = _days(limit.per, _date(event_type, start))
    span = _midnight(event_type, first), _midnight(event_type, following)
    return Claim(_name(limit, event_type), *span, units)


def _days(per: Period, on: date) -> tuple[date, date]:
    """Return the first dates of the period of a date, and of the following period."""
    if per is Period.DAY:
        return on, on + timedelta(days=1)
    if per is Period.WEEK:
        monday = on - timedelta(days=on.weekday())
        return monday, monday + timedelta(days=7)
    if per is Period.MONTH:
        first = on.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    return date(on.year, 1, 1), date(on.year + 1, 1, 1)


def with_host(naive: NaiveLedger, one: ObservedReservation, resource: str) -> frozenset[str]:
    """Return the hosts that a reservation accepts if it has to be with a certain one."""
    event_type = naive.event_types[one.event_type or ""]
    will_do = {host.resource for host in event_type.fixed}
    for group in event_type.groups:
        names = {host.resource for host in group}
        will_do |= {resource} if resource in names else names
    return frozenset(will_do)


# --- Notice and window ------------------------------------------------------------------------


def _check_start(event_type: EventType, start: int, now: int) -> None:
    earliest = now + duration_us(event_type.notice)
    if start < earliest:
        raise TooSoon(event_type.id, from_us(earliest))
    window = event_type.window
    if isinstance(window, RollingDays):
        assert not window.business
        opens, last = now, _date(event_type, now) + timedelta(days=window.days)
    elif isinstance(window, DateRange):
        opens, last = _midnight(event_type, window.first), window.last
    else:
        return
    end = _midnight(event_type, last + timedelta(days=1))
    if not opens <= start < end:
        raise NotBookable(event_type.id, from_us(opens), from_us(end))


def _date(event_type: EventType, moment: int) -> date:
    assert event_type.zone is not None
    return from_us(moment).astimezone(ZoneInfo(event_type.zone)).date()


def _midnight(event_type: EventType, on: date) -> int:
    assert event_type.zone is not None
    return to_us(datetime.combine(on, time(), ZoneInfo(event_type.zone)))


def can_be_with(naive: NaiveLedger, event_type: str, only: frozenset[str] | None) -> bool:
    """Return whether these can be all the hosts that are considered."""
    if only is None:
        return True
    found = naive.event_types[event_type]
    groups = [{host.resource for host in group} for group in found.groups]
    return only <= {host.resource for host in found.hosts()} and all(map(only.intersection, groups))


def check_again(naive: NaiveLedger, one: ObservedReservation, now: int) -> None:
    """Raise unless the rules by which a reservation was made still accept it."""
    event_type = naive.event_types[one.event_type or ""]
    _check_start(event_type, one.start, now)
    others = naive.live(None)
    if one.seats is not None and any(
        (two.session, two.end) == (one.session, one.end) for two in others
    ):
        return
    hours = {host.resource: _hours(naive, event_type, host) for host in event_type.hosts()}
    for claim in one.claims:
        theirs = hours.get(claim.resource)
        if theirs is not None and not theirs.covers(one.start, one.end):
            raise OutsideHours(claim.resource, from_us(one.start), from_us(one.end))


def wanted_now(
    naive: NaiveLedger, one: ObservedReservation, *, enforce: bool = True
) -> tuple[Proposal, Check]:
    """Return what was requested, and the check that comes before, by the rules of now."""
    wanted = naive.wanted[one.uid]
    if naive.demands[one.uid] is not Demand.RULES:
        limits = tuple(claim for claim in wanted.limits if claim.resource in naive.resources)
        wanted = wanted._replace(limits=limits)  # some may be gone since
        return wanted if enforce else wanted._replace(closed=()), None
    event_type = naive.event_types[one.event_type or ""]
    named = {claim.resource for pool in wanted.pools for claim in pool.claims}
    only: set[str] = set()
    for group in event_type.groups:
        names = {host.resource for host in group}
        only |= names & named or names
    ask = SlotRequest(
        event_type.id,
        one.start,
        one.end - one.start,
        seats=1 if one.seats is None else one.seats.wanted,
        only=frozenset(only) or None,
        enforce=enforce,
    )
    proposal, check, _ = prepared(naive, ask)
    return proposal, check


# --- Verbs -----------------------------------------------------------------------------------


def adopt(naive: NaiveLedger, proposal: Proposal, uid: str, now: int) -> ObservedReservation:
    """Do as `BookingService.adopt`."""
    if proposal.event_type in naive.event_types:
        event_type, start = naive.event_types[proposal.event_type], proposal.start
        length = proposal.end - start
        claims = (_counted(limit, event_type, start, length) for limit in event_type.limits)
        proposal = proposal._replace(limits=tuple(claim for claim in claims if claim.units))
    return naive.adopt(proposal, uid, now)


def reserve_slot(naive: NaiveLedger, ask: SlotRequest, uid: str, now: int) -> ObservedReservation:
    """Do as `BookingService.reserve`."""
    proposal, check, _ = prepared(naive, ask)
    return naive.reserve(proposal, uid, now, check)


def move_slot(
    naive: NaiveLedger,
    uid: str,
    ask: SlotRequest,
    now: int,
    *,
    renew: bool = False,
    version: int | None = None,
    seats: int | None = None,
) -> ObservedReservation:
    """Do as `SlotEngine.move_slot` does with `BookingService.move`."""
    current = naive.get(uid, now)
    if current is None:
        raise UnknownReservation(uid)
    if not ask.event_type:  # it keeps its own, and its length
        assert current.event_type is not None
        length = current.end - current.start if ask.length is None else ask.length
        ask = ask._replace(event_type=current.event_type, length=length)
    event_type = naive.event_types[ask.event_type]
    if seats is None:
        seats = 1 if current.seats is None else current.seats.wanted
    ask = ask._replace(seats=seats, holder=None, key=None, quota=None)
    proposal = _proposal(naive, event_type, ask)
    stays = (current.event_type, current.start) == (event_type.id, ask.start)
    if ask.enforce and not stays and current.state is not State.REQUESTED:
        naive.check_movable(current, version)
        _check_start(event_type, ask.start, naive.now)
    return naive.move_to(uid, proposal, now, renew=renew, version=version)


def offered(naive: NaiveLedger, query: AvailabilityQuery, now: int) -> dict[int, int]:
    """Return the offered slots: the seats taken by start."""
    naive.at(now)
    live = naive.live(None)
    things = {name: what for name, what in naive.resources.items() if not is_limit(name)}
    busy = {name: naive.imported_spans(name) for name in things}
    event_type = naive.event_types[str(query.event_type)]
    world = World(things, live, busy, naive.now, naive.retired)
    return naive_slots(event_type, world, query)
