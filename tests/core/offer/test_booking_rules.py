"""Booking rules: the proposal for a request, and when a slot can start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from slotengine.core.ledger.admission import deadline
from slotengine.core.ledger.keys import digest
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.availability import LONGEST_RANGE, AvailabilityQuery
from slotengine.core.offer.booking_rules import BookingRules, SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import DAY, HOUR, MINUTE, from_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import (
    InvalidField,
    InvalidRequest,
    NotBookable,
    StaleVersion,
    TooManyUnits,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
)

NAMES = ("room", "host-1", "host-2", "host-3", "host-4")


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def event_type(**more: Any) -> EventType:
    options: dict[str, Any] = {"id": "talk", "length": minutes(30), "all_of": ["room"]} | more
    return EventType(**options)


def planned(**more: Any) -> BookingRules:
    return BookingRules(event_type(**more), dict.fromkeys(NAMES))


@pytest.fixture
def service() -> BookingService:
    ledger = Ledger(Terms(MINUTE, 1, HOUR, longest_span=DAY))
    for name in NAMES:
        ledger.add_resource(name, capacity=3)
    return BookingService(ledger)


# --- Proposals -------------------------------------------------------------------------------


def test_all_that_was_asked_for_is_proposed() -> None:
    hours = FixedWindows([(0, DAY)])
    rules = planned(
        all_of=[Host("room", units=2)],
        any_of=[[Host("host-1", weight=3, schedule=hours), Host("host-2", units=2)]],
        before=minutes(5),
        after=minutes(10),
        limits=[Limit(Period.DAY, count=3), Limit(Period.DAY, time=minutes(90))],
    )
    request = SlotRequest("talk", HOUR, ttl=MINUTE, holder="somebody", key="k")
    start, end = HOUR, HOUR + 30 * MINUTE
    occupied = start - 5 * MINUTE, end + 10 * MINUTE
    pool = Pool((Claim("host-1", *occupied), Claim("host-2", *occupied, 2)), (3, 1))
    assert rules.proposal(request) == Proposal(
        start,
        end,
        (Claim("room", *occupied, 2),),
        MINUTE,
        "somebody",
        "talk",
        key="k",
        pools=(pool,),
        limits=(Claim("limit:day count:talk", 0, DAY), Claim("limit:day time:talk", 0, DAY, 30)),
        digest=digest("slot", event_type="talk", start=HOUR, ttl=MINUTE, holder="somebody"),
        closed=(),
        demand=Demand.RULES,
    )
    assert rules.proposal(request._replace(enforce=False)).demand is Demand.NOTHING
    assert rules.longest_span == 45 * MINUTE
    assert [type(claim.units) for claim in rules.proposal(request).limits] == [int, int]


def test_seats_are_among_those_who_will_do() -> None:
    rules = planned(seats=4, any_of=[["host-1", "host-2"]])
    proposal = rules.proposal(SlotRequest("talk", 0, seats=3, only=frozenset({"host-2"})))
    assert proposal.seats == Seats(4, 3)
    assert proposal.hosts == frozenset({"room", "host-2"})


def test_everybody_but_of_one_group_only_one() -> None:
    rules = planned(any_of=[["host-1", "host-2"], ["host-3", "host-4"]])
    assert rules.restricted_to("host-1") == {"room", "host-1", "host-3", "host-4"}
    assert rules.restricted_to("host-4") == {"room", "host-1", "host-2", "host-4"}


def test_both_kinds_of_limits_can_be_of_one_period(service: BookingService) -> None:
    limits = [Limit(Period.DAY, count=3), Limit(Period.DAY, time=minutes(90))]
    service.add(event_type(limits=limits))
    units = {name: limit.capacity for name, limit in service.ledger.occupancy.limits.items()}
    assert units == {"limit:day count:talk": 3, "limit:day time:talk": 90}


# --- Refusals --------------------------------------------------------------------------------

REFUSED: list[tuple[tuple[object, ...], Callable[[BookingService], object]]] = [
    (("length",), lambda x: x.rules_of("talk").length_of(MINUTE)),
    (("seats",), lambda x: x.rules_of("talk").seats_of(0)),
    (("seats",), lambda x: x.rules_of("talk").seats_of(2)),
    (("shared", 3, 2), lambda x: x.rules_of("shared").seats_of(3)),
    (("only",), lambda x: x.rules_of("talk").groups_of({"room", "host-3"})),
    (("only",), lambda x: x.rules_of("talk").groups_of({"room"})),
    (("resource",), lambda x: x.rules_of("talk").restricted_to("room")),
    (("event_type",), lambda x: x.add("talk")),  # type: ignore[arg-type]
    (("event_type",), lambda x: x.add(event_type())),
    (("event_type",), lambda x: x.rules_of(event_type(limits=[Limit(Period.DAY, count=1)]))),
    (("nothing",), lambda x: x.rules_of("nothing")),
    (("room", 4, 3), lambda x: x.add(event_type(id="new", all_of=[Host("room", units=4)]))),
    (("length",), lambda x: x.add(event_type(id="new", after=timedelta(days=1)))),
    (("length",), lambda x: x.add(event_type(id="new", before=timedelta(days=1)))),
    (("end",), lambda x: x.available_slots(AvailabilityQuery("talk", 5, 5), now=0)),
    (("end",), lambda x: x.available_slots(AvailabilityQuery("talk", 0, LONGEST_RANGE + 1), now=0)),
    (("count",), lambda x: x.next_available_slots(AvailabilityQuery("talk", 0, DAY), 0, now=0)),
    (("nobody",), lambda x: x.move("nobody", SlotRequest("talk", 0, ttl=1), now=0)),
]


@pytest.mark.parametrize(("about", "call"), REFUSED)
def test_what_is_refused_is_named(
    service: BookingService, about: tuple[object, ...], call: Callable[[BookingService], object]
) -> None:
    service.add(event_type(any_of=[["host-1", "host-2"]]))
    service.add(event_type(id="shared", seats=2))
    kinds = InvalidField, TooManyUnits, UnknownEventType, UnknownReservation
    with pytest.raises(kinds) as refused:
        call(service)
    assert isinstance(refused.value, InvalidRequest | UnknownReservation)
    assert refused.value.args[: len(about)] == about
    assert all(refused.value.args)


def test_a_slot_may_be_as_long_as_a_span_can_be(service: BookingService) -> None:
    longest = event_type(
        id="long", length=minutes(24 * 60 - 15), before=minutes(5), after=minutes(10)
    )
    service.add(longest)
    assert service.rules_of("long").longest_span == DAY


def test_a_search_may_go_as_far_as_that(service: BookingService) -> None:
    service.add(event_type())
    end = (
        service.available_slots(AvailabilityQuery("talk", 0, LONGEST_RANGE), now=0).starts[-1]
        + 30 * MINUTE
    )
    assert end == LONGEST_RANGE


def test_what_has_no_limits_need_not_be_added(service: BookingService) -> None:
    rules = service.rules_of(event_type(id="new", length=minutes(45)))
    assert (rules.id, rules.length) == ("new", 45 * MINUTE)
    assert not service.knows("new")


# --- Notice and booking window ---------------------------------------------------------------


def test_a_notice_is_the_least_time_from_now() -> None:
    rules = planned(notice=minutes(10), window=RollingDays(0))
    assert rules.bookable_span(HOUR) == (HOUR + 10 * MINUTE, DAY)
    rules.check_start(HOUR + 10 * MINUTE, HOUR)
    with pytest.raises(TooSoon) as refused:
        rules.check_start(HOUR + 10 * MINUTE - 1, HOUR)
    assert refused.value.args == ("talk", from_us(HOUR + 10 * MINUTE))


def test_a_window_begins_with_its_first_moment() -> None:
    rules = planned(window=DateRange(date(2030, 1, 7), date(2030, 1, 7)))
    opens, end = rules.bookable_span(0)
    assert from_us(opens).date() == from_us(end - 1).date() == date(2030, 1, 7)
    rules.check_start(opens, 0)
    rules.check_start(end - 1, 0)
    for start in (opens - 1, end):
        with pytest.raises(NotBookable) as refused:
            rules.check_start(start, 0)
        assert refused.value.args == ("talk", from_us(opens), from_us(end))


def test_what_is_prepared_can_be_had_until_its_notice(service: BookingService) -> None:
    service.add(event_type(notice=minutes(10)))
    request = SlotRequest("talk", HOUR, ttl=MINUTE)
    proposal = service.prepare(request, now=0)
    assert isinstance(proposal, Proposal)
    rule = proposal.rule
    assert proposal == service.rules_of("talk").proposal(request, rule)
    assert rule is not None
    last = deadline(proposal, wait=2 * HOUR, now=0)
    assert last == HOUR - 10 * MINUTE
    rule.check(HOUR, last)
    with pytest.raises(TooSoon):
        rule.check(HOUR, last + 1)
    proposal = service.prepare(request._replace(enforce=False), now=0)
    assert isinstance(proposal, Proposal)
    assert proposal.rule is None
    assert deadline(proposal, wait=2 * HOUR, now=0) == 2 * HOUR


# --- Moving ----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, HOUR])
def test_a_move_says_which_version_it_means(service: BookingService, start: int) -> None:
    service.add(event_type())
    service.reserve(SlotRequest("talk", 0, ttl=MINUTE), uid="a", now=0)
    with pytest.raises(StaleVersion):
        service.move("a", SlotRequest("talk", start, ttl=MINUTE), now=0, version=2)
    assert service.move("a", SlotRequest("talk", start, ttl=MINUTE), now=0, version=1).version == 2


def test_who_may_not_move_is_told_so_before_it_is_too_soon(service: BookingService) -> None:
    service.add(event_type(notice=minutes(10)))
    service.reserve(SlotRequest("talk", 10 * MINUTE, ttl=MINUTE), uid="a", now=0)
    with pytest.raises(StaleVersion):
        service.move("a", SlotRequest("talk", 0, ttl=MINUTE), now=1, version=2)


def test_a_move_renews_if_asked(service: BookingService) -> None:
    service.add(event_type())
    service.reserve(SlotRequest("talk", 0, ttl=MINUTE), uid="a", now=0)
    assert service.move("a", SlotRequest("talk", HOUR, ttl=MINUTE), now=10).until == MINUTE
    moved = service.move("a", SlotRequest("talk", HOUR, ttl=MINUTE), now=10, renew=True)
    assert moved.until == MINUTE + 10


def test_the_digest_of_a_request_never_changes() -> None:
    """Also if requests can say more: what is not said is no part of it."""
    rules = planned(any_of=[["host-1", "host-2"]])
    plain = SlotRequest("talk", HOUR, key="k")
    full = SlotRequest(
        "talk", HOUR + 7, 30 * MINUTE, MINUTE, "caffè", "k", 1, frozenset({"room", "host-2"}),
        enforce=False,
    )  # fmt: skip
    assert [digest_of(rules, one).hex() for one in (plain, full)] == [
        "01a277a647528bdee89a414338c374c6cc",
        "0101edf05ecf3a085ead22cd41934e0169",
    ]
    assert digest_of(rules, plain._replace(key="other")) == digest_of(rules, plain)


def digest_of(rules: BookingRules, request: SlotRequest) -> bytes:
    digest = rules.proposal(request).digest
    assert digest is not None
    return digest
