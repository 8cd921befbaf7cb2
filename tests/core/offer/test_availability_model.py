"""Available slots, compared with a naive scan of every minute and with the decisions.

A few hosts have odd hours in odd zones, two event types share them, and random things
have been done to them.  Then both searches must agree, and the ledger must accept exactly
the slots that they find.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import hypothesis.strategies as st
from hypothesis import event, given

from slotengine.core.ledger.config import Kind, Put, ResourceConfig, Retire
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import ENDED, Claim, State
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import (
    EventType,
)
from slotengine.core.time.instant import HOUR, MINUTE, duration_us, to_us
from slotengine.core.time.schedule import FixedWindows, Schedule, Windows, hours
from slotengine.core.time.zone import Zone
from slotengine.errors import InvalidRequest, Refused
from slotengine.testing import strategies
from slotengine.testing.internal.naive_availability import World, naive_grid, naive_slots
from slotengine.testing.internal.observed import ObservedReservation

# Nights in which clocks change here and there, and one on which nothing happens.
NIGHTS = [
    to_us(datetime(2024, 3, 31, tzinfo=UTC)),  # Rome goes forward
    to_us(datetime(2024, 11, 3, tzinfo=UTC)),  # New York goes back
    to_us(datetime(2024, 4, 6, 6, tzinfo=UTC)),  # Lord Howe goes back by half an hour
    to_us(datetime(2011, 12, 29, 16, tzinfo=UTC)),  # Apia skips a day
    to_us(datetime(2030, 6, 5, tzinfo=UTC)),
]
HOSTS = {"host-1": 1, "host-2": 1, "host-3": 1, "hall": 3}
TTL = 30 * MINUTE

zones = st.sampled_from(strategies.ZONES)
quarters = st.integers(-20, 140).map(lambda quarter: quarter * 15 * MINUTE)
instants = strategies.instants(quarters)

WEEKLY = ("00:00-24:00", "01:00-04:30 05:00-09:00", "22:00-03:15", "09:10-17:00")


@st.composite
def schedules(draw: st.DrawFn, night: int) -> Windows | None:
    kind = draw(st.sampled_from(("always", "weekly", "weekly", "fixed")))
    if kind == "always":
        return None
    if kind == "weekly":
        some = hours(draw(st.sampled_from(WEEKLY)))
        return Schedule(draw(zones), dict.fromkeys(range(7), some))
    starts = draw(st.lists(quarters, min_size=1, max_size=3))
    return FixedWindows([(night + start, night + start + 3 * HOUR) for start in starts])


@dataclass
class Shop:
    """A ledger with two event types, driven at random."""

    night: int
    maintenance: int
    resources: dict[str, tuple[int, Windows | None]]
    types: list[EventType]
    now: int
    busy: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    uids: list[str] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ledger = Ledger(maintenance=self.maintenance)
        for name, (capacity, schedule) in self.resources.items():
            self.ledger.add_resource(name, capacity=capacity, schedule=schedule)
        self.service = BookingService(self.ledger)
        for event_type in self.types:
            self.service.add(event_type)

    def reserve(self, request: SlotRequest) -> str | None:
        uid = f"uid-{len(self.uids)}"
        try:
            self.service.reserve(request, uid=uid, now=self.now)
        except (Refused, InvalidRequest):
            return None
        self.uids.append(uid)
        return uid

    def world(self) -> World:
        entries = [self.ledger.get(uid, now=self.now) for uid in self.uids]
        seen = [ObservedReservation.of(entry, self.now) for entry in entries if entry is not None]
        live = [one for one in seen if one.state in {State.HELD, State.CONFIRMED}]
        return World(self.resources, live, self.busy, self.now, self.retired)

    def configure(self, *entries: Put | Retire) -> bool:
        """Change the configuration by force, and return whether that was accepted."""
        try:
            self.service.configure(entries, now=self.now, force=True)
        except (Refused, InvalidRequest):
            return False
        return True

    def offered(self, query: AvailabilityQuery) -> dict[int, int]:
        found = self.service.available_slots(query, now=self.now)
        return {start: found.taken.get(start, 0) for start in found.starts}


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    night = draw(st.sampled_from(NIGHTS))
    resources = {name: (units, draw(schedules(night))) for name, units in HOSTS.items()}
    types = [draw(strategies.event_types(name, HOSTS, night)) for name in ("talk", "class")]
    shop = Shop(
        night,
        draw(st.sampled_from((0, 1, 16))),
        resources,
        types,
        night + draw(instants) - 6 * HOUR,
    )
    for _ in range(draw(st.integers(0, 8))):
        do_something(draw, shop)
    return shop


def do_something(draw: st.DrawFn, shop: Shop) -> None:
    """Reserve something at random and perhaps confirm it, or let time pass, or import busy time."""
    what = draw(
        st.sampled_from(
            ("hold", "hold", "book", "book", "wait", "busy", "end", "move", "set", "set", "retire")
        )
    )
    if what == "wait":
        shop.now += draw(strategies.instants(st.sampled_from((MINUTE, 10 * MINUTE, TTL))))
    elif what == "set":
        change_rules(draw, shop)
    elif what == "retire":
        name = draw(st.sampled_from([*HOSTS, *(one.id for one in shop.types)]))
        kind = Kind.RESOURCE if name in HOSTS else Kind.EVENT_TYPE
        assert shop.configure(Retire(kind, name, name not in shop.retired))
        shop.retired ^= {name}
    elif what in {"end", "move"}:
        end_or_move(draw, shop, what)
    elif what == "busy":
        lengths = strategies.instants(st.just(50 * MINUTE))
        spans = st.lists(st.tuples(instants, lengths), max_size=2).map(
            lambda pairs: [
                (shop.night + start, shop.night + start + length) for start, length in pairs
            ]
        )
        shop.busy = draw(st.dictionaries(st.sampled_from(list(HOSTS)), spans, max_size=2))
        shop.ledger.replace_busy("calendar", shop.busy, now=shop.now)
    else:
        event_type = draw(st.sampled_from(shop.types))
        start = draw(likely_starts(shop, event_type))
        if what == "book" and draw(st.integers(0, 3)) == 0:
            adopt(draw, shop, event_type, start)
            return
        request = SlotRequest(
            event_type.id, start, ttl=TTL, enforce=draw(st.sampled_from((True, False)))
        )
        uid = shop.reserve(request)
        if uid is not None and what == "book":
            shop.ledger.confirm(uid, now=shop.now)


def change_rules(draw: st.DrawFn, shop: Shop) -> None:
    """Change the hours or the capacity of a host, or most rules of an event type."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(list(HOSTS)))
        units, hours = draw(st.integers(1, 3)), draw(schedules(shop.night))
        if shop.configure(
            Put(Kind.RESOURCE, name, ResourceConfig(units, hours, name in shop.retired))
        ):
            shop.resources[name] = units, hours
        return
    i = draw(st.sampled_from((0, 1)))
    before = shop.types[i]
    there = {name: capacity for name, (capacity, _) in shop.resources.items()}
    after = draw(strategies.event_types(before.id, there, shop.night))
    # What a limit has counted, in which zone, and seats that are taken stay as they are.
    with suppress(InvalidRequest):
        after = replace(after, limits=before.limits, zone=before.zone, seats=before.seats)
        if shop.configure(Put(Kind.EVENT_TYPE, before.id, after)):
            shop.types[i] = after
            shop.retired.discard(before.id)


def adopt(draw: st.DrawFn, shop: Shop, event_type: EventType, start: int) -> None:
    """Add an external booking, which may overlap others."""
    host = draw(st.sampled_from(list(event_type.hosts())))
    end = start + duration_us(event_type.length)
    occupied = start - duration_us(event_type.before), end + duration_us(event_type.after)
    claims = (Claim(host.resource, *occupied, host.units),)
    uid = f"uid-{len(shop.uids)}"
    proposal = Proposal(start, end, claims, TTL, event_type=event_type.id)
    with suppress(Refused, InvalidRequest):
        shop.service.adopt(proposal, uid=uid, now=shop.now)
        shop.uids.append(uid)


def end_or_move(draw: st.DrawFn, shop: Shop, what: str) -> None:
    live = shop.world().live
    if not live:
        return
    one = draw(st.sampled_from(live))
    if what == "end":
        end = shop.ledger.release if one.state is State.HELD else shop.ledger.cancel
        end(one.uid, now=shop.now)
        return
    event_type = draw(st.sampled_from(shop.types))
    request = SlotRequest(
        event_type.id, draw(likely_starts(shop, event_type)), ttl=TTL, enforce=False
    )
    with suppress(Refused, InvalidRequest):
        shop.service.move(one.uid, request, now=shop.now)


def likely_starts(shop: Shop, event_type: EventType) -> st.SearchStrategy[int]:
    """Any start, or one that is offered, or one that is taken, so that sessions are shared."""
    odd = st.sampled_from((0, 0, 5 * MINUTE))
    anywhere = st.tuples(instants, odd).map(lambda parts: shop.night + sum(parts))
    query = AvailabilityQuery(event_type.id, shop.night, shop.night + 26 * HOUR)
    taken = [one.start for one in shop.world().live]
    likely = [*list(shop.offered(query))[:10], *taken]
    return st.one_of(anywhere, *([st.sampled_from(likely)] * 2 if likely else []))


@st.composite
def queries(draw: st.DrawFn, shop: Shop) -> AvailabilityQuery:
    event_type = shop.types[0]
    starts = st.sampled_from((0, -6 * HOUR, 3 * HOUR + 20 * MINUTE))
    start = shop.night + draw(strategies.instants(starts))
    return AvailabilityQuery(
        event_type.id,
        start,
        start + draw(strategies.instants(st.sampled_from((10, 26, 50)).map(HOUR.__mul__))),
        draw(st.sampled_from((None, *map(duration_us, event_type.lengths)))),
        Zone.of(draw(zones)),
        draw(st.sampled_from((1, 1, 2))) if event_type.seats else 1,
        frozenset(draw(st.lists(st.sampled_from(shop.uids), max_size=1)) if shop.uids else ()),
        draw(some_hosts(event_type)),
    )


def some_hosts(event_type: EventType) -> st.SearchStrategy[frozenset[str] | None]:
    """All hosts, or the first of each group and a random selection of the others."""
    names = [host.resource for host in event_type.hosts()]
    firsts = [group[0].resource for group in event_type.groups]
    some = st.lists(st.sampled_from(names)).map(lambda more: frozenset([*firsts, *more]))
    return st.one_of(st.none(), st.none(), some)


@given(st.data())
def test_slots(data: st.DataObject) -> None:
    """Goal: the offered slots are those of the rules, and those that can be reserved.

    Method: a naive scan finds the same slots; each slot is reserved and released again; and no
    other start on the grid can be reserved.
    """
    shop = data.draw(shops())
    query = data.draw(queries(shop))
    event_type, world = shop.types[0], shop.world()
    offered = shop.offered(query)
    assert offered == naive_slots(event_type, world, query)
    count = data.draw(st.integers(1, 6))
    following = shop.service.next_available_slots(query, count, now=shop.now)
    assert list(following.starts) == list(offered)[:count]
    seats = [following.taken.get(start, 0) for start in following.starts]
    assert seats == list(offered.values())[:count]
    event("offered" if offered else "nothing offered")
    event("shared" if any(offered.values()) else "not shared")
    if query.ignoring:
        check_moves(shop, query, offered)
        return
    length = query.length
    for start in offered:
        request = SlotRequest(event_type.id, start, length, TTL, seats=query.seats, only=query.only)
        uid = shop.reserve(request)
        assert uid is not None, "what is offered can be reserved"
        shop.ledger.release(uid, now=shop.now)
    shop.ledger.check_invariants()
    check_nothing_else(shop, query, offered)


def check_nothing_else(shop: Shop, query: AvailabilityQuery, offered: dict[int, int]) -> None:
    """Check that every start on the grid which can be reserved is offered."""
    event_type = shop.types[0]
    if event_type.first_only:
        return
    for start in naive_grid(event_type, shop.world(), query):
        if start in offered:
            continue
        request = SlotRequest(
            event_type.id, start, query.length, TTL, seats=query.seats, only=query.only
        )
        assert shop.reserve(request) is None, "what can be reserved on the grid is offered"


def check_moves(shop: Shop, query: AvailabilityQuery, offered: dict[int, int]) -> None:
    """Check that a reservation can move to what is offered when the search ignores it."""
    (uid,) = query.ignoring
    entry = shop.ledger.get(uid, now=shop.now)
    if entry is None:  # it ended, and has been forgotten since
        return
    if entry.event_type != query.event_type or entry.state_at(shop.now) in ENDED:
        return
    wanted = 1 if entry.seats is None else entry.seats.wanted
    if wanted != query.seats:
        return
    for start in offered:
        request = SlotRequest(
            query.event_type, start, query.length, TTL, seats=wanted, only=query.only
        )
        assert shop.service.move(uid, request, now=shop.now).start == start
