"""The promises of the ledger, one by one; the model test holds them all at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import Changes, Expired, ReservationChange
from slotengine.core.ledger.commands import Annotate, Replace
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.extra import Extra
from slotengine.core.ledger.index import LIVE, Order, Page, Query
from slotengine.core.ledger.keys import KEY_LIFE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule
from slotengine.core.ledger.reservation import Claim, Demand, Entry, Seats, State, Verb
from slotengine.core.ledger.terms import LONGEST_LIFE, Terms
from slotengine.core.ledger.timeline import MOST_IN_PLAIN_LISTS
from slotengine.core.ledger.view import BACKLOG
from slotengine.core.time.instant import DAY, FIRST_US, LAST_US, from_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import (
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    KeySpent,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    OutsideHours,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    TooSoon,
    UnknownReservation,
    UnknownResource,
)
from slotengine.testing.internal.keyed import keyed
from slotengine.testing.internal.observed import ObservedReservation

TERMS = Terms(default_ttl=100, shortest_ttl=10, longest_ttl=1_000, retention=500)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger(TERMS)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    ledger.add_resource("hall", capacity=3)
    ledger.add_resource("shop", schedule=FixedWindows([(100, 200), (300, 400)]))
    return ledger


def slot(
    start: int,
    end: int,
    *resources: str,
    units: int = 1,
    ttl: int = 100,
    buffers: tuple[int, int] = (0, 0),
    seats: Seats | None = None,
    event_type: str | None = None,
    key: str | None = None,
) -> Proposal:
    before, after = buffers
    claims = tuple(Claim(one, start - before, end + after, units) for one in resources or ("room",))
    return keyed(Proposal(start, end, claims, ttl, event_type=event_type, seats=seats), key)


def pooled(start: int, *hosts: str, length: int = 10, **more: Any) -> Proposal:
    pool = Pool(tuple(Claim(host, start, start + length) for host in hosts))
    return Proposal(start, start + length, (), 100, event_type="talk", pools=(pool,), **more)


def hold(ledger: Ledger, uid: str, start: int, end: int, now: int = 0, ttl: int = 100) -> Entry:
    return ledger.reserve("room", start, end, uid=uid, now=now, ttl=ttl)


# --- Reserve ---------------------------------------------------------------------------


def test_spans_are_half_open(ledger: Ledger) -> None:
    hold(ledger, "a", 10, 20)
    hold(ledger, "b", 20, 30)
    hold(ledger, "c", 0, 10)
    with pytest.raises(SlotTaken):
        hold(ledger, "d", 19, 21)


def test_a_hold_holds_until_its_last_microsecond_and_no_longer(ledger: Ledger) -> None:
    hold(ledger, "a", 10, 20, now=0, ttl=100)
    with pytest.raises(SlotTaken):
        hold(ledger, "b", 10, 20, now=99)
    assert hold(ledger, "c", 10, 20, now=100).uid == "c"


def test_a_uid_may_be_any_kind_of_text(ledger: Ledger) -> None:
    class Uid(str):
        __slots__ = ()

    assert hold(ledger, Uid("a"), 10, 20).uid == "a"
    assert ledger.reserve_proposal(slot(20, 30), uid=Uid("b"), now=0).uid == "b"


def test_ids_and_units_may_be_any_kind_of_text_and_number(ledger: Ledger) -> None:
    class Name(StrEnum):
        HALL = "hall"

    class Size(IntEnum):
        PAIR = 2

    entry = ledger.reserve_proposal(slot(0, 5, Name.HALL, units=Size.PAIR), uid="a", now=0)
    assert entry.all_claims() == (Claim("hall", 0, 5, 2),)


def test_a_reservation_is_of_the_event_type_that_was_said(ledger: Ledger) -> None:
    entry = ledger.reserve("room", 0, 5, uid="a", now=0, ttl=100, event_type="talk")
    assert entry.event_type == "talk"


def test_a_reservation_is_of_the_holder_who_was_said(ledger: Ledger) -> None:
    entry = ledger.reserve("room", 0, 5, uid="a", now=0, ttl=100, holder="customer-1")
    assert (entry.holder, entry.event_type) == ("customer-1", None)


@pytest.mark.parametrize("terms", [TERMS, replace(TERMS, max_holds=10)])
def test_hours_and_rules_of_the_moment_count_with_and_without_quotas(terms: Terms) -> None:
    ledger = Ledger(terms)
    ledger.add_resource("shop", schedule=FixedWindows([(100, 200)]))

    def reserve(uid: str, rule: StartRule | None, now: int) -> Entry:
        hours = FixedWindows([(0, 10)])
        return ledger.reserve("shop", 0, 5, uid=uid, now=now, ttl=100, hours=hours, rule=rule)

    with pytest.raises(TooSoon, match="talk"):
        reserve("a", StartRule("talk", 1, 0, 10), now=0)
    with pytest.raises(NotBookable, match="talk"):
        reserve("a", StartRule("talk", 0, 1, 10), now=0)
    with pytest.raises(NotBookable, match="talk"):
        reserve("a", StartRule("talk", 0, -1, 0), now=0)
    assert reserve("a", StartRule("talk", -7, 0, 1), now=7).start == 0
    with pytest.raises(OutsideHours):
        ledger.reserve("shop", 5, 10, uid="b", now=7, ttl=100)


def test_a_hold_that_was_made_by_rules_is_reinstated_by_those_that_are_given(
    ledger: Ledger,
) -> None:
    """The ledger does not know the rules of event types: without any, none is asked."""
    ledger.reserve("room", 500, 510, uid="a", now=0, ttl=100, demand=Demand.RULES)
    rule = StartRule("talk", 50, 0, 1_000)
    with pytest.raises(TooSoon):
        ledger.confirm("a", now=451, if_still_free=True, rule=rule)
    with pytest.raises(OutsideHours):
        ledger.confirm("a", now=451, if_still_free=True, closed=["room"])
    assert ledger.confirm("a", now=451, if_still_free=True).state is State.CONFIRMED


def test_a_repeat_is_not_asked_by_which_rule_it_may_begin(ledger: Ledger) -> None:
    request = slot(10, 20, key="k")._replace(rule=StartRule("talk", 5, 0, 100))
    first = ledger.reserve_proposal(request, uid="a", now=5)
    with pytest.raises(TooSoon):
        ledger.reserve_proposal(request._replace(key="other"), uid="b", now=6)
    later = request._replace(rule=StartRule("talk", 50, 0, 5))
    assert ledger.reserve_proposal(later, uid="b", now=6) == first


def test_all_claims_or_none(ledger: Ledger) -> None:
    hold(ledger, "a", 10, 20)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(slot(10, 20, "desk", "room"), uid="b", now=0)
    assert refused.value.resource == "room"
    assert ledger.busy("desk", 0, 100, now=0) == []
    ledger.reserve_proposal(slot(20, 30, "desk", "room"), uid="c", now=0)
    assert ledger.busy("desk", 0, 100, now=0) == [(20, 30, 1)]


def test_units_are_counted_at_every_instant(ledger: Ledger) -> None:
    ledger.reserve_proposal(slot(0, 20, "hall", units=2), uid="a", now=0)
    ledger.reserve_proposal(slot(10, 30, "hall"), uid="b", now=0)
    with pytest.raises(SlotTaken):
        ledger.reserve_proposal(slot(15, 16, "hall"), uid="c", now=0)
    ledger.reserve_proposal(slot(20, 30, "hall", units=2), uid="d", now=0)
    assert ledger.busy("hall", 5, 25, now=0) == [(5, 10, 2), (10, 25, 3)]
    ledger.release("a", now=1)
    assert ledger.busy("hall", 5, 25, now=1) == [(10, 20, 1), (20, 25, 3)]


def test_buffers_widen_what_is_occupied_but_not_the_slot(ledger: Ledger) -> None:
    ledger.reserve_proposal(slot(100, 200, "shop", buffers=(50, 50)), uid="a", now=0)
    with pytest.raises(SlotTaken):  # 350 - 150 reaches into the buffer after 200
        ledger.reserve_proposal(slot(350, 400, "shop", buffers=(150, 0)), uid="b", now=0)
    ledger.reserve_proposal(slot(350, 400, "shop", buffers=(100, 0)), uid="c", now=0)


def test_hours_hold_for_the_slot(ledger: Ledger) -> None:
    with pytest.raises(OutsideHours) as refused:
        ledger.reserve("shop", 190, 210, uid="a", now=0, ttl=100)
    assert refused.value.resource == "shop"
    assert (refused.value.start, refused.value.end) == (from_us(190), from_us(210))
    with pytest.raises(OutsideHours):
        ledger.reserve_proposal(slot(90, 110, "desk", "shop"), uid="b", now=0)
    overriding = slot(190, 210, "shop")._replace(closed=())
    assert ledger.reserve_proposal(overriding, uid="c", now=0).uid == "c"


def test_hours_of_the_call_decide_beside_an_expired_hold_too() -> None:
    """Then the ledger takes the long way, by a command, to mark the expired hold."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room", schedule=FixedWindows([(0, 100)]))
    hours = FixedWindows([(100, 200)])
    hold(ledger, "lapsed", 0, 10, now=0, ttl=100)
    with pytest.raises(OutsideHours):
        ledger.reserve("room", 95, 105, uid="a", now=150, ttl=100, hours=hours)
    with pytest.raises(InvalidField):
        ledger.reserve("room", 105, 105, uid="a", now=150, ttl=100, hours=hours)
    assert ledger.reserve("room", 100, 110, uid="a", now=150, ttl=100, hours=hours).start == 100


REFUSED_INPUT: list[tuple[type[InvalidRequest], object, Callable[[Ledger], object]]] = [
    (UnknownResource, "attic", lambda x: x.reserve("attic", 0, 1, uid="u", now=0, ttl=100)),
    (InvalidField, "end", lambda x: x.reserve("room", 5, 5, uid="u", now=0, ttl=100)),
    (InvalidField, "end", lambda x: x.reserve("room", 6, 5, uid="u", now=0, ttl=100)),
    (InvalidTTL, timedelta(0, 0, 9), lambda x: x.reserve("room", 0, 5, uid="u", now=0, ttl=9)),
    (
        InvalidTTL,
        timedelta(0, 0, 1001),
        lambda x: x.reserve("room", 0, 5, uid="u", now=0, ttl=1_001),
    ),
    (InvalidTTL, timedelta(0, 0, 0), lambda x: x.extend("old", ttl=0, now=0)),
    (InvalidField, "uid", lambda x: x.reserve("room", 0, 5, uid="old", now=0, ttl=100)),
    (InvalidField, "uid", lambda x: x.reserve_proposal(slot(0, 5), uid="old", now=0)),
    (InvalidField, "uid", lambda x: x.reserve_proposal(slot(0, 5), uid="", now=0)),
    (InvalidField, "uid", lambda x: x.reserve_proposal(slot(0, 5), uid=5, now=0)),  # type: ignore[arg-type]
    (InvalidField, "end", lambda x: x.reserve_proposal(slot(5, 5), uid="u", now=0)),
    (
        InvalidField,
        "claims",
        lambda x: x.reserve_proposal(slot(0, 5, buffers=(-1, 0)), uid="u", now=0),
    ),
    (
        InvalidField,
        "claims",
        lambda x: x.reserve_proposal(slot(0, 5, buffers=(0, -1)), uid="u", now=0),
    ),
    (InvalidField, "span", lambda x: x.reserve("room", 0, LAST_US + 1, uid="u", now=0, ttl=100)),
    (InvalidField, "span", lambda x: x.reserve("room", FIRST_US - 1, 0, uid="u", now=0, ttl=100)),
    (InvalidField, "length", lambda x: x.reserve("room", 0, 367 * DAY, uid="u", now=0, ttl=100)),
    (
        InvalidField,
        "length",
        lambda x: x.reserve_proposal(slot(0, 5, buffers=(0, 366 * DAY)), uid="u", now=0),
    ),
    (
        InvalidField,
        "span",
        lambda x: x.reserve_proposal(slot(0, 5, buffers=(0, LAST_US)), uid="u", now=0),
    ),
    (
        InvalidField,
        "claims",
        lambda x: x.reserve_proposal(slot(0, 5, "room", "room"), uid="u", now=0),
    ),
    (InvalidField, "units", lambda x: x.reserve_proposal(slot(0, 5, units=0), uid="u", now=0)),
    (InvalidField, "units", lambda x: x.reserve_proposal(slot(0, 5, units=True), uid="u", now=0)),
    (
        TooManyUnits,
        "hall",
        lambda x: x.reserve_proposal(slot(0, 5, "hall", units=4), uid="u", now=0),
    ),
    (UnknownResource, "attic", lambda x: x.reserve_proposal(slot(0, 5, "attic"), uid="u", now=0)),
    (
        InvalidTTL,
        timedelta(0, 0, 5),
        lambda x: x.reserve_proposal(slot(0, 5, ttl=5), uid="u", now=0),
    ),
    (
        InvalidField,
        "claims",
        lambda x: x.reserve_proposal(Proposal(0, 5, (), 100), uid="u", now=0),
    ),
    (
        InvalidField,
        "event_type",
        lambda x: x.reserve_proposal(slot(0, 5, seats=Seats(2)), uid="u", now=0),
    ),
    (
        InvalidField,
        "seats",
        lambda x: x.reserve_proposal(slot(0, 5, seats=Seats(0), event_type="e"), uid="u", now=0),
    ),
    (
        TooManyUnits,
        "room",
        lambda x: x.reserve_proposal(slot(0, 5, seats=Seats(2, 3), event_type="e"), uid="u", now=0),
    ),
    (InvalidField, "candidates", lambda x: x.reserve_any([], uid="u", now=0)),
    (InvalidField, "key", lambda x: x.reserve_any([slot(0, 5, key="k")], uid="u", now=0)),
    (
        InvalidField,
        "weights",
        lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, weights=[1, 2]),
    ),
    (InvalidField, "weights", lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, weights=[0])),
    (InvalidField, "policy", lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, policy="first")),  # type: ignore[arg-type]
    (
        InvalidField,
        "load_in",
        lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, load_in=(5, 5)),
    ),
    (InvalidField, "key", lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, key="")),
    (InvalidField, "weights", lambda x: x.move_any("old", [slot(50, 60)], now=0, weights=[0])),
    (InvalidField, "load_in", lambda x: x.move_any("old", [slot(50, 60)], now=0, load_in=(5, 5))),
    (InvalidField, "holder", lambda x: x.reserve("room", 0, 5, uid="u", now=0, ttl=100, holder="")),
    (
        InvalidField,
        "event_type",
        lambda x: x.reserve("room", 0, 5, uid="u", now=0, ttl=100, event_type=""),
    ),
    (
        InvalidField,
        "length",
        lambda x: x.reserve("room", -200 * DAY, 200 * DAY, uid="u", now=0, ttl=100),
    ),
    (InvalidField, "uid", lambda x: x.reserve("room", 0, 5, uid="", now=0, ttl=100)),
    (InvalidField, "key", lambda x: x.reserve_proposal(slot(0, 5, key=""), uid="u", now=0)),
    (
        InvalidField,
        "seats",
        lambda x: x.reserve_proposal(
            slot(0, 5, seats=(2, 1), event_type="e"),  # type: ignore[arg-type]
            uid="u",
            now=0,
        ),
    ),
    (InvalidField, "schedule", lambda x: x.add_resource("attic", schedule="mon-fri")),  # type: ignore[arg-type]
    (
        InvalidField,
        "digest",
        lambda x: x.reserve_proposal(slot(0, 5)._replace(key="k"), uid="u", now=0),
    ),
    (InvalidField, "digest", lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, key="k")),
    (InvalidField, "version", lambda x: x.extend("old", ttl=100, now=0, version="1")),  # type: ignore[arg-type]
    (InvalidField, "uid", lambda x: x.reserve("room", 0, 5, uid=5, now=0, ttl=100)),  # type: ignore[arg-type]
    (InvalidField, "uid", lambda x: x.reserve("room", 0, 5, uid=[], now=0, ttl=100)),  # type: ignore[arg-type]
    (InvalidField, "uid", lambda x: x.reserve_all([slot(0, 5)], uids=[[]], now=0)),  # type: ignore[list-item]
    (InvalidField, "weights", lambda x: x.reserve_any([slot(0, 5)], uid="u", now=0, weights=3)),  # type: ignore[arg-type]
    (InvalidField, "uids", lambda x: x.reserve_all([slot(0, 5)], uids=[], now=0)),
    (InvalidField, "uids", lambda x: x.reserve_all([slot(0, 5)] * 2, uids=["u", "u"], now=0)),
    (
        InvalidField,
        "key",
        lambda x: x.reserve_each([slot(0, 5, key="k")] * 2, uids=["u", "v"], now=0),
    ),
    (
        InvalidField,
        "end",
        lambda x: x.reserve_each([slot(0, 5), slot(9, 9)], uids=["u", "v"], now=0),
    ),
    (
        InvalidField,
        "length",
        lambda x: x.reserve_proposal(pooled(0, "room", length=367 * DAY), uid="u", now=0),
    ),
    (
        InvalidField,
        "span",
        lambda x: x.reserve_proposal(slot(LAST_US, LAST_US + 5), uid="u", now=0),
    ),
    (
        InvalidField,
        "length",
        lambda x: x.reserve_proposal(slot(-200 * DAY, 200 * DAY), uid="u", now=0),
    ),
    (UnknownResource, "attic", lambda x: x.reserve_proposal(pooled(0, "attic"), uid="u", now=0)),
    (UnknownResource, "", lambda x: x.reserve_proposal(slot(0, 5, ""), uid="u", now=0)),
    (UnknownResource, 7, lambda x: x.reserve_proposal(slot(0, 5, 7), uid="u", now=0)),  # type: ignore[arg-type]
    (
        UnknownResource,
        ["room"],
        lambda x: x.reserve_proposal(slot(0, 5, ["room"]), uid="u", now=0),  # type: ignore[arg-type]
    ),
    (
        InvalidField,
        "span",
        lambda x: x.reserve_proposal(slot(FIRST_US, FIRST_US + 5, buffers=(1, 0)), uid="u", now=0),
    ),
    (
        InvalidField,
        "span",
        lambda x: x.reserve_proposal(slot(LAST_US - 5, LAST_US, buffers=(0, 1)), uid="u", now=0),
    ),
    (InvalidField, "units", lambda x: x.reserve_proposal(slot(0, 5, units=1.5), uid="u", now=0)),  # type: ignore[arg-type]
    (
        InvalidField,
        "holder",
        lambda x: x.reserve_proposal(slot(0, 5)._replace(holder=""), uid="u", now=0),
    ),
    (
        InvalidField,
        "event_type",
        lambda x: x.reserve_proposal(slot(0, 5, event_type=""), uid="u", now=0),
    ),
    (InvalidField, "resource", lambda x: x.add_resource("limit:day")),
    (InvalidField, "source", lambda x: x.replace_busy("", {}, now=0)),
    (InvalidField, "end", lambda x: x.imported("room", 5, 5)),
    (InvalidField, "end", lambda x: x.busy("room", 5, 5, now=0)),
    (UnknownResource, "attic", lambda x: x.busy("attic", 0, 5, now=0)),
    (UnknownResource, ["room"], lambda x: x.reservations_in(["room"], 0, 5, now=0)),  # type: ignore[arg-type]
    (InvalidField, "resource", lambda x: x.add_resource("room")),
    (InvalidField, "resource", lambda x: x.add_resource("")),
    (InvalidField, "resource", lambda x: x.add_resource(7)),  # type: ignore[arg-type]
    (InvalidField, "capacity", lambda x: x.add_resource("attic", capacity=0)),
    (InvalidField, "capacity", lambda x: x.add_resource("attic", capacity=True)),
    (InvalidField, "capacity", lambda x: x.add_resource("attic", capacity=1.5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "about", "call"), REFUSED_INPUT)
def test_bad_input_is_refused_and_changes_nothing(
    ledger: Ledger, kind: type[InvalidRequest], about: object, call: Callable[[Ledger], object]
) -> None:
    hold(ledger, "old", 50, 60)
    tally = ledger.tally()
    with pytest.raises(kind) as refused:
        call(ledger)
    assert type(refused.value) is kind
    assert refused.value.args[0] == about
    assert str(refused.value)
    assert ledger.tally() == tally
    assert ledger.busy("room", 0, 100, now=0) == [(50, 60, 1)]
    ledger.check_invariants()


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("min_ttl", {"shortest_ttl": 0}),
        ("min_ttl", {"shortest_ttl": 10, "longest_ttl": 9}),
        ("default_ttl", {"default_ttl": 1}),
        ("max_life", {"max_life": 1}),
        ("max_life", {"default_ttl": 50 * 10**6, "max_life": 40 * 10**6}),
        ("retention", {"retention": -1}),
        ("max_length", {"longest_span": 0}),
        ("max_ttl", {"longest_ttl": LONGEST_LIFE + 1}),
        ("max_ttl", {"retention": LONGEST_LIFE + 1}),
        ("cool_down", {"cool_down": 0}),
        ("cool_down", {"cool_down": LONGEST_LIFE + 1}),
    ],
)
def test_terms_must_not_contradict_each_other(field: str, terms: dict[str, int]) -> None:
    with pytest.raises(InvalidField) as refused:
        Terms(**terms)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "terms",
    [
        {"shortest_ttl": 1, "default_ttl": 1, "longest_ttl": 1, "max_life": 1},
        {"retention": 0, "longest_span": 1, "cool_down": 1},
        {"longest_ttl": LONGEST_LIFE, "retention": LONGEST_LIFE, "cool_down": LONGEST_LIFE},
    ],
)
def test_terms_may_be_as_narrow_and_as_wide_as_can_be(terms: dict[str, int]) -> None:
    made = Terms(**terms)
    assert {name: getattr(made, name) for name in terms} == terms


def test_no_hold_can_be_asked_to_live_longer_than_the_longest_life() -> None:
    assert Terms(max_life=10 * 60 * 10**6).longest_ttl == 10 * 60 * 10**6


# --- Keys --------------------------------------------------------------------------------


def test_the_same_key_with_the_same_request_never_makes_a_second_hold(ledger: Ledger) -> None:
    first = ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=0)
    again = ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=50)
    assert again == first
    assert (again.uid, again.version, again.until) == ("a", 1, 100)
    ledger.release("a", now=60)
    assert ledger.reserve_proposal(slot(0, 5, key="k"), uid="c", now=70).state is State.RELEASED


def test_the_same_key_with_another_request_is_an_error(ledger: Ledger) -> None:
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=0)
    with pytest.raises(KeyReused):
        ledger.reserve_proposal(slot(0, 6, key="k"), uid="b", now=0)
    with pytest.raises(KeyReused):
        ledger.reserve_each([slot(20, 25), slot(0, 6, key="k")], uids=["b", "c"], now=0)
    assert ledger.get("b", now=0) is None


@pytest.mark.parametrize("maintenance", [0, 16])
def test_a_key_outlives_a_reservation_that_is_forgotten_within_a_day(maintenance: int) -> None:
    ledger = Ledger(TERMS, maintenance=maintenance)
    ledger.add_resource("room")
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=7)
    later = 107 + TERMS.retention
    assert ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=later - 1).uid == "a"
    for now in (later, 7 + KEY_LIFE - 1):
        with pytest.raises(KeySpent) as spent:
            ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=now)
        assert (spent.value.key, spent.value.uid) == ("k", "a")
        with pytest.raises(KeyReused):
            ledger.reserve_proposal(slot(0, 6, key="k"), uid="b", now=now)
    assert ledger.reserve_proposal(slot(0, 6, key="k"), uid="c", now=7 + KEY_LIFE).uid == "c"
    ledger.check_invariants()


def test_a_key_lives_as_long_as_its_reservation(ledger: Ledger) -> None:
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=0)
    ledger.confirm("a", now=0)
    later = 3 * KEY_LIFE
    assert ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=later).uid == "a"
    ledger.cancel("a", now=later)
    end = later + TERMS.retention
    assert ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=end - 1).uid == "a"
    assert ledger.reserve_proposal(slot(0, 6, key="k"), uid="b", now=end).uid == "b"


def test_spent_keys_are_dropped_when_their_day_is_over(ledger: Ledger) -> None:
    for number in range(20):
        ledger.reserve_proposal(slot(0, 5, key=f"k-{number}"), uid=f"a-{number}", now=number)
        ledger.release(f"a-{number}", now=number)
    ledger.expire(TERMS.retention + 20)
    assert (ledger.tally().ended, ledger.tally().keys, ledger.state.maintenance_due) == (
        0,
        20,
        KEY_LIFE,
    )
    ledger.expire(KEY_LIFE + 10, limit=4)
    assert (ledger.tally().keys, ledger.state.maintenance_due) == (16, KEY_LIFE + 4)
    ledger.check_invariants()
    ledger.expire(KEY_LIFE + 19)
    assert (ledger.tally().keys, ledger.state.maintenance_due) == (0, NEVER)


def test_keys_do_not_grow_with_the_number_of_requests() -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("room")
    for number in range(500):
        now = number * KEY_LIFE // 24
        ledger.reserve_proposal(slot(now, now + 5, key=f"k-{number}"), uid=f"a-{number}", now=now)
        ledger.release(f"a-{number}", now=now)
        assert ledger.tally().keys <= 26
    ledger.check_invariants()


def test_a_key_is_not_taken_for_that_of_another_reservation_with_the_same_uid(
    ledger: Ledger,
) -> None:
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=0)
    later = 100 + TERMS.retention
    ledger.reserve_proposal(slot(0, 5, key="other"), uid="a", now=later)
    with pytest.raises(KeySpent):
        ledger.reserve_proposal(slot(0, 5, key="k"), uid="b", now=later)


def test_a_key_can_be_used_again_before_the_old_one_is_swept_away() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="a", now=0)
    ledger.reserve_proposal(slot(0, 6, key="k"), uid="b", now=KEY_LIFE)
    ledger.expire(KEY_LIFE)
    assert ledger.reserve_proposal(slot(0, 6, key="k"), uid="c", now=KEY_LIFE).uid == "b"
    ledger.check_invariants()


def test_a_key_belongs_to_a_choice_of_candidates_too(ledger: Ledger) -> None:
    both = [slot(0, 5, "room"), slot(0, 5, "desk")]
    first = ledger.reserve_any(both, uid="a", now=0, key="k", digest=b"asked")
    assert ledger.reserve_any(both, uid="b", now=0, key="k", digest=b"asked") == first
    with pytest.raises(KeyReused):
        ledger.reserve_any(both, uid="b", now=0, key="k", digest=b"something else")


def test_a_batch_is_idempotent_item_by_item(ledger: Ledger) -> None:
    batch = [slot(0, 5, key="k"), slot(5, 9, key="l")]
    first = ledger.reserve_all(batch, uids=["a", "b"], now=0)
    assert ledger.reserve_all(batch, uids=["c", "d"], now=1) == first


# --- Batches and candidates ----------------------------------------------------------------


def test_all_of_a_batch_or_nothing(ledger: Ledger) -> None:
    told: list[str] = []
    ledger.on_change = lambda change, entry: told.append(entry.uid)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_all([slot(0, 5), slot(9, 12), slot(4, 6)], uids=["a", "b", "c"], now=0)
    # As far as the batch goes, what it asks for itself never lapses: no retry can help.
    assert refused.value.in_the_way == (InTheWay(from_us(0), from_us(5), 1, booked=False),)
    assert refused.value.retry_at is None
    assert told == []
    assert ledger.tally().held == 0
    assert ledger.busy("room", 0, 100, now=0) == []
    assert ledger.get("a", now=0) is None
    ledger.reserve_all([slot(0, 5), slot(5, 6)], uids=["a", "b"], now=0)
    assert told == ["a", "b"]
    with pytest.raises(OutsideHours):
        ledger.reserve_all([slot(50, 60), slot(0, 5, "shop")], uids=["c", "d"], now=0)


def test_a_batch_waits_for_the_session_of_others_that_it_joined(ledger: Ledger) -> None:
    """Once they have lapsed the batch opens a session of its own, with another host."""
    elsewhere = Proposal(
        10, 20, (Claim("desk", 10, 20),), 50, event_type="workshop", seats=Seats(3)
    )
    ledger.reserve_proposal(elsewhere, uid="x", now=0)
    batch = [seat(10, 20), slot(12, 18, "desk")]
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_all(batch, uids=["a", "b"], now=0)
    assert refused.value.retry_at == from_us(50)
    assert not refused.value.in_the_way[0].booked
    assert len(ledger.reserve_all(batch, uids=["a", "b"], now=50)) == 2


def test_each_of_a_batch_for_itself(ledger: Ledger) -> None:
    results = ledger.reserve_each([slot(0, 5), slot(4, 6), slot(5, 7)], uids=["a", "b", "c"], now=0)
    assert [type(result) for result in results] == [Entry, SlotTaken, Entry]


def test_the_first_candidate_that_fits(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 5)
    chosen = ledger.reserve_any([slot(0, 5, "room"), slot(0, 5, "desk")], uid="b", now=0)
    assert chosen.all_claims() == (Claim("desk", 0, 5),)
    busier_first = [slot(5, 9, "desk"), slot(5, 9, "hall")]
    assert ledger.reserve_any(busier_first, uid="x", now=0).all_claims() == (Claim("desk", 5, 9),)
    with pytest.raises(NoneFree) as refused:
        ledger.reserve_any(
            [slot(0, 5, "desk"), slot(0, 5, "room"), slot(0, 5, "shop")], uid="c", now=50
        )
    assert [type(one) for one in refused.value.refusals] == [SlotTaken, SlotTaken, OutsideHours]
    assert refused.value.retry_at == from_us(100)
    assert "3 candidates" in str(refused.value)


def test_the_least_loaded_candidate(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 5)
    ledger.confirm("a", now=0)
    hold(ledger, "b", 50, 55)
    both = [slot(10, 15, "room"), slot(10, 15, "desk")]
    first = ledger.reserve_any(both, uid="c", now=0, policy=Policy.LEAST_LOADED)
    assert first.all_claims()[0].resource == "desk"
    ledger.release("c", now=0)
    # In 20..60 the room has one claim and the desk none; in 60..70 neither has any.
    for load_in, expected in (((20, 60), "desk"), ((60, 70), "room")):
        entry = ledger.reserve_any(
            both, uid=f"d{load_in}", now=0, policy=Policy.LEAST_LOADED, load_in=load_in
        )
        assert entry.all_claims()[0].resource == expected
        ledger.release(entry.uid, now=0)


def test_a_move_chooses_as_a_reservation_does(ledger: Ledger) -> None:
    ledger.reserve("hall", 0, 5, uid="m", now=0, ttl=100)
    for uid, start, resource in (("a", 100, "room"), ("b", 120, "room"), ("c", 10, "desk")):
        ledger.reserve_proposal(slot(start, start + 5, resource), uid=uid, now=0)
    choice = [slot(0, 5, "room"), slot(0, 5, "desk")]

    def chosen(**how: Any) -> str:
        return ledger.move_any("m", choice, now=50, **how).all_claims()[0].resource

    assert chosen() == "room"
    assert chosen(policy=Policy.LEAST_LOADED) == "desk"
    assert chosen(policy=Policy.LEAST_LOADED, load_in=(0, 50)) == "room"
    assert chosen(policy=Policy.WEIGHTED) == "desk"
    assert chosen(policy=Policy.WEIGHTED, weights=[5, 1]) == "room"
    assert ledger.expire(100) == 4  # nobody asked for more time


def test_who_is_always_needed_is_no_load(ledger: Ledger) -> None:
    """A host that every candidate claims tells none of them apart, however busy."""
    for i in range(12):
        claims = [slot(i, i + 1, "hall", name) for name in ("room", "desk")]
        ledger.reserve_any(claims, uid=str(i), now=0, policy=Policy.WEIGHTED, weights=[3, 1])
    assert len(ledger.busy("room", 0, 100, now=0)) == 3  # in runs of three
    assert len(ledger.reservations_in("room", 0, 100, now=0)) == 9
    assert len(ledger.reservations_in("desk", 0, 100, now=0)) == 3


def test_lapsed_holds_are_no_load_though_not_swept() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    for start in range(3):
        hold(ledger, f"a{start}", start, start + 1, ttl=10)
    ledger.reserve("desk", 0, 1, uid="b", now=0, ttl=100)
    entry = ledger.reserve_any(
        [slot(10, 15, "desk"), slot(10, 15, "room")],
        uid="c", now=10, policy=Policy.LEAST_LOADED,
    )  # fmt: skip
    assert entry.all_claims()[0].resource == "room"


def test_no_backlog_is_so_long_that_lapsed_holds_are_a_load() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    for name in ("room", "desk"):
        ledger.add_resource(name)
    for start in range(BACKLOG + 2):
        hold(ledger, str(start), start, start + 1, ttl=10)
    ledger.reserve("desk", 0, 1, uid="b", now=0, ttl=100)
    after = BACKLOG + 10
    entry = ledger.reserve_any(
        [slot(after, after + 5, "desk"), slot(after, after + 5, "room")],
        uid="c", now=10, policy=Policy.LEAST_LOADED,
    )  # fmt: skip
    assert entry.all_claims()[0].resource == "room"


def test_a_load_leaves_out_what_has_lapsed_and_who_moves() -> None:
    """But not the session of who moves, if others are in it; nor what was released before."""
    ledger = Ledger(TERMS, maintenance=0)
    for name in ("room", "desk"):
        ledger.add_resource(name)
    for start in range(3):
        ledger.reserve("desk", start, start + 1, uid=f"d{start}", now=0, ttl=10)
    ledger.release("d1", now=0)
    ledger.reserve_proposal(seat(20, 30), uid="m", now=0)
    ledger.reserve_proposal(seat(20, 30), uid="other", now=0)
    candidates = [slot(40, 50, "room"), slot(40, 50, "desk")]
    entry = ledger.move_any("m", candidates, now=10, policy=Policy.LEAST_LOADED)
    assert entry.all_claims()[0].resource == "desk"
    entry = ledger.move_any("m", candidates, now=10, policy=Policy.LEAST_LOADED, load_in=(40, 50))
    assert entry.all_claims()[0].resource == "room"
    ledger.check_invariants()


def test_a_batch_counts_the_seats_that_others_and_itself_have(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10), uid="a", now=0)
    two = ledger.reserve_all([seat(0, 10), seat(0, 10)], uids=["b", "c"], now=0)
    assert [entry.session for entry in two] == [two[0].session] * 2
    with pytest.raises(NoSeatsLeft):
        ledger.reserve_all([seat(0, 10)], uids=["d"], now=0)
    ledger.check_invariants()


def test_a_lapsed_hold_elsewhere_is_in_nobodys_way() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    told = told_of(ledger)
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="released", now=0)
    ledger.release("released", now=0)
    later = KEY_LIFE + 10
    ledger.reserve("desk", 0, 5, uid="lapsed", now=later - 10, ttl=10)
    told.clear()
    ledger.reserve_proposal(seat(20, 30), uid="seat", now=later)
    ledger.reserve_proposal(slot(0, 5, key="k"), uid="again", now=later)
    assert told == [("reserve", "seat"), ("reserve", "again")]
    ledger.check_invariants()


def test_a_move_goes_where_a_hold_has_lapsed_that_nobody_marked() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    for name in ("room", "desk"):
        ledger.add_resource(name)
    hold(ledger, "a", 0, 10, ttl=10)
    ledger.reserve("desk", 0, 10, uid="m", now=0, ttl=100)
    assert ledger.move("m", slot(0, 10, "room"), now=10).all_claims() == (Claim("room", 0, 10),)
    ledger.check_invariants()


def test_a_hold_goes_where_one_has_lapsed_that_nobody_marked() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("hall", capacity=2)
    for uid, ttl in (("a", 10), ("b", 100)):
        ledger.reserve("hall", 0, 10, uid=uid, now=0, ttl=ttl)
    with pytest.raises(SlotTaken):
        ledger.reserve("hall", 5, 15, uid="c", now=9, ttl=100)
    ledger.reserve("hall", 5, 15, uid="c", now=10, ttl=100)
    assert ledger.busy("hall", 0, 20, now=10) == [(0, 5, 1), (5, 10, 2), (10, 15, 1)]
    ledger.check_invariants()


def test_a_limit_comes_free_though_nobody_marked_what_lapsed() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("hall", capacity=3)
    ledger.add_limit("limit:day", 2)
    limit = (Claim("limit:day", 0, 1_000, 2),)
    ledger.reserve_proposal(slot(0, 5, "hall", ttl=10)._replace(limits=limit), uid="a", now=0)
    with pytest.raises(LimitReached):
        ledger.reserve_proposal(slot(0, 5, "hall")._replace(limits=limit), uid="b", now=9)
    ledger.reserve_proposal(slot(0, 5, "hall")._replace(limits=limit), uid="b", now=10)
    ledger.check_invariants()


def test_what_takes_more_than_a_limit_has_can_never_be_had() -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("hall", capacity=3)
    ledger.add_limit("limit:day", 2)
    ledger.add_limit("limit:week", 9)
    exceeds = ledger.occupancy.exceeds_limits
    assert not exceeds(slot(0, 5, "hall", units=3))
    for units in (1, 2, 3):
        week, day = Claim("limit:week", 0, 1_000, 9), Claim("limit:day", 0, 1_000, units)
        assert exceeds(slot(0, 5, "hall")._replace(limits=(week, day))) == (units == 3)


def test_units_and_limits_come_free_though_nobody_marked_what_lapsed() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("hall", capacity=3)
    ledger.add_limit("limit:day", 2)
    limit = (Claim("limit:day", 0, 1_000, 2),)
    ledger.reserve_proposal(slot(0, 5, "hall", ttl=10)._replace(limits=limit), uid="a", now=0)
    ledger.reserve_proposal(slot(0, 5, "hall"), uid="b", now=0)
    with pytest.raises(SlotTaken):
        ledger.reserve_proposal(slot(0, 5, "hall", units=3), uid="c", now=10)
    ledger.reserve_proposal(slot(0, 5, "hall", units=2)._replace(limits=limit), uid="c", now=10)
    ledger.check_invariants()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 120))
def test_weights_are_honoured_within_one(weights: list[int], count: int) -> None:
    """With everybody free, nobody is ever a whole claim away from their share."""
    ledger = Ledger(Terms(default_ttl=100, shortest_ttl=1, longest_ttl=1_000))
    names = [f"host-{i}" for i in range(len(weights))]
    for name in names:
        ledger.add_resource(name)
    counts = dict.fromkeys(names, 0)
    for turn in range(count):
        candidates = [slot(turn, turn + 1, name) for name in names]
        entry = ledger.reserve_any(
            candidates, uid=str(turn), now=0, policy=Policy.WEIGHTED, weights=weights
        )
        counts[entry.all_claims()[0].resource] += 1
        for name, weight in zip(names, weights, strict=True):
            assert abs(counts[name] - weight * (turn + 1) / sum(weights)) < 1


# --- Refusals --------------------------------------------------------------------------------


def test_a_refusal_tells_what_is_in_the_way_but_not_whose(ledger: Ledger) -> None:
    ledger.reserve("room", 0, 10, uid="uid-secret", now=0, ttl=70, holder="holder-secret")
    ledger.reserve("room", 10, 20, uid="b", now=0, ttl=90)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve("room", 5, 15, uid="c", now=0, ttl=100)
    error = refused.value
    assert error.resource == "room"
    assert (error.start, error.end) == (from_us(5), from_us(15))
    assert error.in_the_way == (
        InTheWay(from_us(0), from_us(10), 1, booked=False),
        InTheWay(from_us(10), from_us(20), 1, booked=False),
    )
    assert error.retry_at == from_us(90)
    assert "try again at" in str(error)
    assert "secret" not in repr(error) + str(error) + repr(error.obstruction)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.obstruction == error.obstruction
    assert b"secret" not in pickle.dumps(error)
    hold(ledger, "d", 5, 15, now=90)


def test_no_retry_helps_against_a_booking(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.confirm("a", now=0)
    hold(ledger, "b", 10, 20)
    with pytest.raises(SlotTaken) as refused:
        hold(ledger, "c", 5, 15)
    assert refused.value.retry_at is None
    assert [way.booked for way in refused.value.in_the_way] == [True, False]
    assert "try again" not in str(refused.value)


def test_a_retry_succeeds_as_soon_as_enough_units_lapse(ledger: Ledger) -> None:
    for uid, ttl in (("a", 30), ("b", 60), ("c", 90)):
        ledger.reserve_proposal(slot(0, 10, "hall", ttl=ttl), uid=uid, now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(slot(5, 15, "hall", units=2), uid="d", now=0)
    assert refused.value.retry_at == from_us(60)
    with pytest.raises(SlotTaken):
        ledger.reserve_proposal(slot(5, 15, "hall", units=2), uid="d", now=59)
    ledger.reserve_proposal(slot(5, 15, "hall", units=2), uid="d", now=60)


def test_the_details_are_those_of_the_moment_they_are_first_read(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    with pytest.raises(SlotTaken) as refused:
        hold(ledger, "b", 0, 10)
    ledger.release("a", now=20)
    assert refused.value.in_the_way == ()
    assert refused.value.retry_at == from_us(20)


def test_whole_spans_are_in_the_way_of_a_long_timeline(ledger: Ledger) -> None:
    for start in range(0, 4_000, 2):
        ledger.reserve("hall", start, start + 1, uid=f"s{start}", now=0, ttl=1_000)
    for uid in ("long-1", "long-2"):
        ledger.reserve("hall", 0, 4_000, uid=uid, now=0, ttl=1_000)
    for start in range(4_000, 4_600, 2):
        ledger.reserve("hall", start, start + 1, uid=f"s{start}", now=0, ttl=1_000)
    ledger.check_invariants()
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve("hall", 3_990, 3_991, uid="x", now=0, ttl=1_000)
    spans = {(way.start, way.end) for way in refused.value.in_the_way}
    assert spans == {(from_us(0), from_us(4_000)), (from_us(3_990), from_us(3_991))}


# --- Extend, move, confirm -----------------------------------------------------------------


def test_extending_never_collides_with_itself(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    assert ledger.extend("a", ttl=200, now=50).until == 250
    assert ledger.extend("a", ttl=20, now=60).until == 80  # also to live shorter
    assert ledger.expire(79) == 0
    assert ledger.expire(80) == 1


def test_a_hold_cannot_outlive_the_longest_life() -> None:
    ledger = Ledger(Terms(default_ttl=100, shortest_ttl=10, longest_ttl=100, max_life=150))
    ledger.add_resource("room")
    hold(ledger, "a", 0, 10, now=0)
    with pytest.raises(LifeExceeded) as refused:
        ledger.extend("a", ttl=100, now=51)
    assert (refused.value.uid, refused.value.latest) == ("a", from_us(150))
    assert "cannot be held beyond" in str(refused.value)
    with pytest.raises(LifeExceeded):
        ledger.move("a", slot(5, 15), now=51, renew=True)
    assert ledger.move("a", slot(5, 15), now=51).until == 100
    assert ledger.extend("a", ttl=99, now=51).until == 150


def test_moving_is_never_in_its_own_way(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    hold(ledger, "b", 20, 30)
    entry = ledger.move("a", slot(5, 15), now=1)
    assert (entry.start, entry.end, entry.version, entry.until) == (5, 15, 2, 100)
    with pytest.raises(SlotTaken) as refused:
        ledger.move("a", slot(12, 22), now=1)
    assert refused.value.in_the_way == (InTheWay(from_us(20), from_us(30), 1, booked=False),)
    assert (entry.start, entry.end, entry.version) == (5, 15, 2)
    assert ledger.busy("room", 0, 100, now=1) == [(5, 15, 1), (20, 30, 1)]
    assert ledger.move("a", slot(5, 15, "desk", "hall"), now=2, renew=True).until == 102


def test_a_booking_moves_too_and_needs_no_renewal(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.confirm("a", now=0)
    entry = ledger.move("a", slot(5, 15), now=1, renew=True)
    assert (entry.state, entry.start) == (State.CONFIRMED, 5)
    assert entry.until == NEVER


def test_a_move_that_fails_for_any_reason_changes_nothing(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.add_resource("broken", schedule=Broken(5))
    with pytest.raises(RuntimeError):
        ledger.move("a", slot(5, 15, "broken"), now=1)
    assert ledger.busy("room", 0, 100, now=1) == [(0, 10, 1)]
    ledger.check_invariants()


class Broken:
    """Opening hours that fail when asked about one start."""

    def __init__(self, start: int) -> None:
        self.start = start

    def covers(self, start: int, end: int, /) -> bool:
        if start == self.start:
            raise RuntimeError("broken")
        return True

    def windows(self, start: int, end: int, /) -> Iterator[tuple[int, int]]:
        raise NotImplementedError


@pytest.mark.parametrize("batch", ["reserve_all", "reserve_each"])
def test_a_batch_that_fails_for_any_reason_holds_nothing(batch: str) -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("room", schedule=Broken(50))
    proposals = [slot(0, 5), slot(5, 9), slot(50, 55), slot(60, 65)]
    with pytest.raises(RuntimeError):
        getattr(ledger, batch)(proposals, uids=list("abcd"), now=0)
    ledger.check_invariants()
    assert ledger.busy("room", 0, 100, now=0) == []
    assert ledger.tally().held == ledger.tally().accepted == 0


def test_a_large_backlog_does_not_keep_a_reinstatement_waiting() -> None:
    """Its own expiry is told before it, out of turn, and all are still told once."""
    told: list[tuple[Verb, str]] = []
    ledger = Ledger(replace(TERMS, retention=10_000), maintenance=0)

    def note(change: ReservationChange, entry: Entry) -> None:
        told.append((change.verb, entry.uid))
        assert change.at == ledger.state.now

    ledger.on_change = note
    ledger.add_resource("room")
    for start in range(BACKLOG + 100):
        hold(ledger, str(start), start, start + 1, now=start)
    last = str(BACKLOG + 99)
    told.clear()
    assert ledger.confirm(last, now=5_000, if_still_free=True).state is State.CONFIRMED
    assert told[-2:] == [(Verb.EXPIRE, last), (Verb.REINSTATE, last)]
    assert len(told) == 2
    ledger.expire(5_000)
    expired = [uid for verb, uid in told if verb is Verb.EXPIRE]
    assert len(expired) == len(set(expired)) == BACKLOG + 100
    ledger.check_invariants()


def test_confirming_after_expiry_only_if_still_free(ledger: Ledger) -> None:
    told: list[tuple[Verb, str]] = []
    ledger.on_change = lambda change, entry: told.append((change.verb, entry.uid))
    hold(ledger, "a", 0, 10)
    hold(ledger, "b", 10, 20)
    entry = ledger.confirm("a", now=150, if_still_free=True)
    assert (entry.state, entry.version) == (State.CONFIRMED, 3)
    hold(ledger, "c", 15, 18, now=160)
    with pytest.raises(SlotTaken):
        ledger.confirm("b", now=160, if_still_free=True)
    assert told == [
        (Verb.RESERVE, "a"),
        (Verb.RESERVE, "b"),
        (Verb.EXPIRE, "a"),
        (Verb.EXPIRE, "b"),
        (Verb.REINSTATE, "a"),
        (Verb.RESERVE, "c"),
    ]


def test_hours_are_not_asked_about_again_when_a_hold_is_reinstated(ledger: Ledger) -> None:
    overriding = slot(190, 210, "shop")._replace(closed=())
    ledger.reserve_proposal(overriding, uid="a", now=0)
    assert ledger.confirm("a", now=150, if_still_free=True).state is State.CONFIRMED


def test_an_expiry_is_announced_before_the_hold_is_reinstated() -> None:
    """Only its own: the others had nothing that it needs, and have their turn."""
    told: list[tuple[Verb, str]] = []
    ledger = Ledger(
        TERMS, on_change=lambda change, entry: told.append((change.verb, entry.uid)), maintenance=0
    )
    ledger.add_resource("room")
    for start in range(40):
        hold(ledger, str(start), start, start + 1, now=start)
    ledger.confirm("39", now=500, if_still_free=True)
    assert told[40:] == [(Verb.EXPIRE, "39"), (Verb.REINSTATE, "39")]
    told.clear()
    ledger.expire(500)
    assert told == [(Verb.EXPIRE, str(start)) for start in range(39)]


def test_a_reinstated_booking_that_is_cancelled_is_retained_from_then(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.confirm("a", now=200, if_still_free=True)
    ledger.cancel("a", now=300)
    assert ledger.get("a", now=799) is not None
    ledger.expire(799)
    assert ledger.get("a", now=800) is None
    ledger.expire(800)
    assert ledger.tally().ended == 0
    ledger.expire(10_000)
    ledger.check_invariants()


def test_a_stale_version_is_refused(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.extend("a", ttl=100, now=1, version=1)
    calls: list[Callable[[], object]] = [
        lambda: ledger.extend("a", ttl=100, now=1, version=1),
        lambda: ledger.move("a", slot(5, 9), now=1, version=1),
        lambda: ledger.confirm("a", now=1, version=1),
        lambda: ledger.release("a", now=1, version=1),
        lambda: ledger.confirm("a", now=1, version=3, if_still_free=True),
        lambda: ledger.cancel("a", now=1, version=1),
        lambda: ledger.check_movable("a", now=1, version=1),
    ]
    for call in calls:
        with pytest.raises(StaleVersion) as refused:
            call()
        assert refused.value.actual == 2
        assert "version 2" in str(refused.value)
    # Expiry is a change as well, whether or not it was marked.
    with pytest.raises(StaleVersion):
        ledger.confirm("a", now=101, version=2, if_still_free=True)
    assert ledger.confirm("a", now=101, version=3, if_still_free=True).version == 4


@pytest.mark.parametrize("uid", ["nobody", "", None, ["a"]])
def test_an_unknown_uid_is_refused(ledger: Ledger, uid: str) -> None:
    calls: list[Callable[[], Entry]] = [
        lambda: ledger.extend(uid, ttl=100, now=0),
        lambda: ledger.confirm(uid, now=0),
        lambda: ledger.release(uid, now=0),
        lambda: ledger.cancel(uid, now=0),
        lambda: ledger.move(uid, slot(0, 5), now=0),
    ]
    for call in calls:
        with pytest.raises(UnknownReservation) as refused:
            call()
        assert refused.value.uid == uid
    assert ledger.get(uid, now=0) is None


def test_who_was_forgotten_but_not_yet_tidied_away_is_named(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10)
    ledger.release("a", now=0)
    with pytest.raises(UnknownReservation) as refused:
        ledger.check_movable("a", now=500)
    assert refused.value.uid == "a"


# --- Seats -----------------------------------------------------------------------------------


def seat(start: int, end: int, *, total: int = 3, wanted: int = 1, ttl: int = 100) -> Proposal:
    return slot(start, end, seats=Seats(total, wanted), event_type="workshop", ttl=ttl)


def test_a_session_occupies_its_resource_once(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10), uid="a", now=0)
    ledger.reserve_proposal(seat(0, 10, wanted=2), uid="b", now=0)
    assert ledger.busy("room", 0, 100, now=0) == [(0, 10, 1)]
    assert {one.uid for one in ledger.reservations_in("room", 0, 5, now=0)} == {"a", "b"}
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(seat(0, 10), uid="c", now=0)
    assert refused.value.in_the_way == (InTheWay(from_us(0), from_us(10), 3, booked=False),)
    assert refused.value.retry_at == from_us(100)
    assert str(refused.value).startswith("room has too few seats")
    ledger.release("b", now=1)
    ledger.reserve_proposal(seat(0, 10), uid="c", now=1)
    ledger.release("a", now=2)
    ledger.release("c", now=2)
    assert ledger.busy("room", 0, 100, now=2) == []
    assert ledger.tally().sessions == 0


def test_a_session_conflicts_like_any_other_with_all_else(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10), uid="a", now=0)
    ledger.confirm("a", now=0)
    for other in (seat(5, 15), seat(0, 11), slot(5, 6), slot(0, 10, event_type="workshop")):
        with pytest.raises(SlotTaken) as refused:
            ledger.reserve_proposal(other, uid="b", now=0)
        assert refused.value.retry_at is None
    ledger.reserve_proposal(seat(10, 20), uid="c", now=0)


def test_seats_come_free_as_holds_lapse() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.reserve_proposal(seat(0, 10, ttl=20), uid="a", now=0)
    ledger.reserve_proposal(seat(0, 10, ttl=40, wanted=2), uid="b", now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(seat(0, 10, wanted=3), uid="c", now=0)
    assert refused.value.retry_at == from_us(40)
    with pytest.raises(SlotTaken) as taken:
        ledger.reserve_proposal(seat(0, 12), uid="c", now=0)
    assert taken.value.retry_at == from_us(40)
    ledger.reserve_proposal(seat(0, 10, ttl=100), uid="d", now=20)
    # Once all have lapsed the session is over, swept or not: its start is free for any length.
    ledger.reserve_proposal(seat(0, 12, ttl=10), uid="e", now=120)
    assert ledger.busy("room", 0, 100, now=120) == [(0, 12, 1)]
    assert ledger.reserve_proposal(slot(0, 5), uid="f", now=130).uid == "f"
    ledger.check_invariants()


def test_a_seat_moves_and_its_own_seat_is_not_in_its_way(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10, wanted=3), uid="a", now=0)
    assert ledger.move("a", seat(0, 10, wanted=2), now=0).version == 2
    assert ledger.move("a", seat(5, 15, wanted=3), now=0).start == 5
    ledger.reserve_proposal(seat(20, 30, wanted=2), uid="b", now=0)
    with pytest.raises(NoSeatsLeft):
        ledger.move("a", seat(20, 30, wanted=2), now=0)
    ledger.move("a", seat(20, 30), now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.move("a", seat(20, 30, wanted=2), now=0)
    assert refused.value.in_the_way[0].units == 2  # its own seat is not counted
    with pytest.raises(SlotTaken):
        ledger.move("a", seat(20, 31), now=0)
    ledger.release("b", now=0)
    assert ledger.move("a", seat(20, 31), now=0).end == 31
    ledger.check_invariants()


def test_its_own_seat_does_not_prolong_what_is_in_its_way(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10, ttl=300), uid="a", now=0)
    ledger.reserve_proposal(seat(0, 10, ttl=50), uid="b", now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.move("a", slot(5, 15), now=0)
    assert refused.value.retry_at == from_us(50)
    assert ledger.move("a", slot(5, 15), now=50).start == 5


def test_who_needs_another_session_waits_for_its_claims_too(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 30), uid="a", now=0)
    hold(ledger, "b", 30, 60)
    ledger.confirm("b", now=0)
    with pytest.raises(SlotTaken) as refused:  # another length; and later there is a booking
        ledger.reserve_proposal(seat(0, 60), uid="c", now=0)
    assert refused.value.retry_at is None
    ledger.cancel("b", now=0)
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve_proposal(seat(0, 60), uid="c", now=0)
    assert refused.value.retry_at == from_us(100)
    ledger.reserve_proposal(seat(0, 60), uid="c", now=100)


def test_who_needs_all_seats_waits_for_their_own_host_too(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10), uid="a", now=0)
    ledger.reserve("desk", 0, 10, uid="b", now=0, ttl=100)
    ledger.confirm("b", now=0)
    all_seats = Proposal(
        0, 10, (Claim("desk", 0, 10),), 100, event_type="workshop", seats=Seats(3, 3)
    )
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(all_seats, uid="c", now=0)
    assert refused.value.retry_at is None


def test_a_session_is_looked_up_when_the_details_are_read(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10, wanted=3), uid="a", now=0)
    with pytest.raises(NoSeatsLeft) as refused:
        ledger.reserve_proposal(seat(0, 10), uid="b", now=0)
    ledger.release("a", now=10)
    ledger.reserve_proposal(seat(0, 10, wanted=3, ttl=50), uid="c", now=10)
    assert refused.value.retry_at == from_us(60)
    assert len(refused.value.in_the_way) == 1


def test_a_seat_is_with_the_host_of_its_session(ledger: Ledger) -> None:
    ledger.reserve_proposal(seat(0, 10), uid="a", now=0)
    elsewhere = Proposal(0, 10, (Claim("desk", 0, 10),), 100, event_type="workshop", seats=Seats(3))
    assert ledger.reserve_proposal(elsewhere, uid="b", now=0).all_claims()[0].resource == "room"
    assert ledger.busy("desk", 0, 100, now=0) == []


# --- Replay ----------------------------------------------------------------------------------


def test_replaying_the_changes_makes_the_same_ledger(ledger: Ledger) -> None:
    changes: list[ReservationChange] = []
    ledger.on_change = lambda change, entry: changes.append(change)
    hold(ledger, "a", 0, 10)
    ledger.reserve_proposal(slot(10, 20, "room", "hall", key="k"), uid="b", now=1)
    ledger.reserve_proposal(seat(30, 40, ttl=20), uid="c", now=2)
    ledger.reserve_proposal(seat(30, 40), uid="d", now=2)
    ledger.extend("a", ttl=200, now=3)
    ledger.move("b", slot(50, 60, "desk"), now=4, renew=True)
    ledger.move("d", seat(30, 40, wanted=2), now=5)
    ledger.confirm("d", now=6)
    ledger.move("d", seat(70, 80), now=7)
    ledger.release("a", now=8)
    hold(ledger, "e", 0, 10, now=30)  # "c" has lapsed, and is told before
    ledger.annotate(Annotate("e", tags=("vip",), details="by phone"), now=30)
    ledger.replace(Replace("d", slot(90, 95, "desk"), "g"), now=30)
    ledger.cancel("g", now=31)
    ledger.confirm("c", now=32, if_still_free=True)
    ledger.reserve_proposal(slot(200, 210, "hall")._replace(requested=True), uid="h", now=33)
    ledger.confirm("h", now=34)
    assert {change.verb for change in changes} == set(Verb) - {Verb.REPLACE, Verb.FORGET}
    again = Ledger(TERMS)
    for name, capacity in (("room", 1), ("desk", 1), ("hall", 3)):
        again.add_resource(name, capacity=capacity)
    for change in pickle.loads(pickle.dumps(changes)):
        apply(again.state, change)
    again.check_invariants()
    for uid in "abcdeg":
        ours, theirs = ledger.get(uid, now=32), again.get(uid, now=32)
        assert ours is not None
        assert theirs is not None
        assert ObservedReservation.of(ours, 32) == ObservedReservation.of(theirs, 32)
    assert again.reserve_proposal(slot(10, 20, "room", "hall", key="k"), uid="f", now=32).uid == "b"


def test_replay_makes_room_as_the_decision_did() -> None:
    """What was accepted over a lapsed hold that nobody had marked is accepted again."""
    changes: list[ReservationChange] = []
    ledger = Ledger(TERMS, maintenance=0)
    ledger.on_change = lambda change, entry: changes.append(change)
    again = Ledger(TERMS)
    for one in (ledger, again):
        one.add_resource("room")
        one.add_resource("desk")
    ledger.reserve("desk", 0, 10, uid="a", now=0, ttl=50)
    ledger.reserve_proposal(seat(0, 10, ttl=50), uid="b", now=0)
    ledger.reserve_proposal(slot(0, 10, "room", "desk"), uid="c", now=50)
    ledger.reserve_proposal(seat(20, 30, ttl=50), uid="d", now=60)
    ledger.reserve_proposal(seat(20, 25, ttl=50), uid="e", now=110)
    for change in changes:
        apply(again.state, change)
    again.check_invariants()
    assert again.busy("room", 0, 100, now=110) == ledger.busy("room", 0, 100, now=110)


def test_replay_makes_room_for_what_was_reinstated() -> None:
    changes: list[ReservationChange] = []
    ledger, again = Ledger(TERMS, maintenance=0), Ledger(TERMS)
    ledger.on_change = lambda change, entry: changes.append(change)
    for one in (ledger, again):
        one.add_resource("room")
    hold(ledger, "a", 0, 10, ttl=50)
    ledger.expire(50)
    hold(ledger, "b", 0, 10, now=50, ttl=50)
    ledger.confirm("a", now=100, if_still_free=True)
    # That of the second is told before the first takes its room.
    assert [change.uid for change in changes if change.verb is Verb.EXPIRE] == ["a", "b"]
    assert changes[-1].verb is Verb.REINSTATE
    for change in changes:
        apply(again.state, change)
    again.check_invariants()
    assert again.busy("room", 0, 100, now=100) == [(0, 10, 1)]


def test_what_is_adopted_takes_its_time_until_it_is_cancelled(ledger: Ledger) -> None:
    """Also on a resource that has long outgrown plain lists."""
    ledger.add_resource("busy")
    spans = [(10 * n, 10 * n + 10) for n in range(MOST_IN_PLAIN_LISTS + 60)]
    for n, (start, end) in enumerate(spans):
        ledger.reserve("busy", start, end, uid=f"b{n}", now=0, ttl=100)
    first = ledger.adopt(slot(105, 125, "busy", key="k"), uid="adopted", now=0)
    assert ledger.adopt(slot(105, 125, "busy", key="k"), uid="again", now=0) == first
    with pytest.raises(KeyReused):
        ledger.adopt(slot(105, 126, "busy", key="k"), uid="other", now=0)
    last = spans[-1][1]
    assert ledger.busy("busy", 0, last, now=0) == [(0, last, 1)]
    for n in (10, 11, 12):
        ledger.release(f"b{n}", now=0)
    assert ledger.busy("busy", 0, 300, now=0) == [(0, 100, 1), (105, 125, 1), (130, 300, 1)]
    with pytest.raises(SlotTaken) as caught:
        ledger.reserve_proposal(slot(100, 106, "busy"), uid="c", now=0)
    assert caught.value.retry_at is None
    ledger.check_invariants()
    ledger.cancel("adopted", now=0)
    ledger.reserve("busy", 100, 130, uid="c", now=0, ttl=100)
    ledger.check_invariants()


def test_what_is_adopted_joins_its_session_beyond_the_seats(ledger: Ledger) -> None:
    """With another end it stands by itself."""
    first = ledger.adopt(seat(0, 10, wanted=3), uid="a", now=0)
    joined = ledger.adopt(seat(0, 10), uid="b", now=0)
    alone = ledger.adopt(seat(0, 12), uid="c", now=0)
    assert joined.session is not None
    assert joined.session is first.session
    assert joined.session.taken == 4
    assert (alone.session, alone.seats) == (None, None)
    ledger.check_invariants()


def told_of(ledger: Ledger) -> list[tuple[str, str]]:
    """Return where the ledger's changes are told from now on: verb and uid."""
    told: list[tuple[str, str]] = []
    ledger.on_change = lambda change, entry: told.append((change.verb.value, entry.uid))
    return told


def test_a_listener_may_stop_listening_while_it_is_told(ledger: Ledger) -> None:
    """As the last subscriber does, if it closes with what it is told."""
    told: list[str] = []

    def once(changes: Changes) -> None:
        told.extend(change.uid for change in changes if isinstance(change, Expired))
        ledger.on_step = None

    hold(ledger, "a", 0, 10)
    hold(ledger, "b", 10, 20)
    hold(ledger, "c", 20, 30, ttl=101)
    ledger.on_step = once
    assert ledger.expire(100) == 2
    assert ledger.expire(101) == 1
    assert told == ["a", "b"]


def test_an_expiry_is_told_before_what_needed_its_room() -> None:
    """Though nobody has marked it: room, seats, a limit; of several the first to lapse first."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.add_resource("hall", capacity=3)
    ledger.add_limit("limit:day", 1)
    told = told_of(ledger)
    for n in range(40):
        hold(ledger, f"old-{n}", 100 + n, 101 + n, ttl=10)
    hold(ledger, "late", 0, 5, ttl=12)
    hold(ledger, "early", 5, 10, now=1, ttl=10)
    seat = slot(20, 25, "hall", event_type="class", seats=Seats(2, 2))
    ledger.reserve_proposal(seat, uid="seat", now=1)
    limited = slot(30, 35, "hall")._replace(limits=(Claim("limit:day", 0, 1_000),))
    ledger.reserve_proposal(limited, uid="limited", now=1)
    told.clear()
    assert ledger.is_free(slot(0, 10), now=400)  # which looks past them
    assert told == []
    hold(ledger, "successor", 2, 8, now=400)
    assert told == [("expire", "early"), ("expire", "late"), ("reserve", "successor")]
    told.clear()
    ledger.reserve_proposal(seat, uid="seat-2", now=400)
    ledger.reserve_proposal(limited._replace(start=40, end=45, claims=(Claim("hall", 40, 45),)),
                            uid="limited-2", now=400)  # fmt: skip
    assert told == [
        ("expire", "seat"), ("reserve", "seat-2"), ("expire", "limited"), ("reserve", "limited-2"),
    ]  # fmt: skip
    told.clear()
    assert ledger.expire(400) == 40  # the others in their turn, and nothing twice
    assert told == [("expire", f"old-{n}") for n in range(40)]
    ledger.check_invariants()


def test_an_expiry_is_told_before_what_needed_the_key_or_the_quota() -> None:
    ledger = Ledger(replace(TERMS, max_holds=1), maintenance=0)
    ledger.add_resource("room")
    ledger.add_resource("hall", capacity=3)
    told = told_of(ledger)
    one = slot(0, 5, "hall")._replace(holder="a")
    ledger.reserve_proposal(keyed(one._replace(holder=None)), uid="keyed", now=0)
    ledger.reserve_proposal(one, uid="first", now=0)
    told.clear()
    ledger.reserve_proposal(slot(50, 55)._replace(holder="a"), uid="second", now=400)
    assert told == [("expire", "first"), ("reserve", "second")]
    told.clear()
    later = 400 + KEY_LIFE
    ledger.reserve_proposal(slot(60, 65, "hall", key="k"), uid="again", now=later)
    assert told[-2:] == [("expire", "keyed"), ("reserve", "again")]
    ledger.check_invariants()


def test_what_was_replayed_lapses_in_its_turn(ledger: Ledger) -> None:
    changes: list[ReservationChange] = []
    ledger.on_change = lambda change, entry: changes.append(change)
    hold(ledger, "a", 0, 10, now=10, ttl=100)
    hold(ledger, "b", 10, 20, now=40, ttl=40)
    again = Ledger(TERMS)
    again.add_resource("room")
    for change in changes:
        apply(again.state, change)
    assert again.expire(80) == 1
    assert again.tally().held == 1


# --- Time and memory -------------------------------------------------------------------------


def test_expiries_are_told_once_in_order_and_never_early(ledger: Ledger) -> None:
    told: list[tuple[str, int, int]] = []
    ledger.on_change = lambda change, entry: (
        told.append((entry.uid, entry.until, change.at)) if change.verb is Verb.EXPIRE else None
    )
    for uid, ttl in (("a", 300), ("b", 100), ("c", 200)):
        ledger.reserve("hall", 0, 10, uid=uid, now=0, ttl=ttl)
    assert ledger.state.maintenance_due == ledger.state.next_expiry() == 100
    assert ledger.expire(99) == 0
    assert ledger.expire(250) == 2
    assert ledger.expire(250) == 0
    assert ledger.expire(1_000) == 1
    assert told == [("b", 100, 250), ("c", 200, 250), ("a", 300, 1_000)]


def test_what_lapses_at_this_very_moment_is_marked_by_any_call(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10, ttl=50)
    hold(ledger, "b", 10, 20)
    ledger.extend("b", ttl=100, now=50)
    assert ledger.tally().expired == 1
    hold(ledger, "c", 20, 30, now=150)
    assert ledger.tally().expired == 2


def test_what_lapses_at_this_very_moment_is_marked_by_the_next_hold(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10, ttl=50)
    hold(ledger, "b", 10, 20, now=50)
    assert ledger.tally().expired == 1


def test_whoever_extends_late_may_lapse_early(ledger: Ledger) -> None:
    """Holds lapse in the order of their ends, not in that of their extensions."""
    for uid, start in (("a", 0), ("b", 10)):
        hold(ledger, uid, start, start + 10, ttl=1_000)
    ledger.extend("a", ttl=100, now=10)
    ledger.extend("b", ttl=40, now=40)
    assert ledger.expire(80) == 1
    assert ledger.tally().held == 1


def test_at_most_so_many_are_forgotten_at_once(ledger: Ledger) -> None:
    for start in range(5):
        hold(ledger, str(start), start, start + 1)
        ledger.release(str(start), now=0)
    ledger.expire(500, limit=2)
    assert ledger.tally().ended == 3
    assert ledger.state.maintenance_due == 500
    ledger.expire(500, limit=3)
    assert ledger.tally().ended == 0
    assert ledger.state.maintenance_due == NEVER


def test_every_reservation_is_counted_once(ledger: Ledger) -> None:
    for start in range(3):
        ledger.reserve_proposal(slot(start, start + 1), uid=str(start), now=0)
    hold(ledger, "x", 10, 20)
    assert ledger.tally().accepted == 4


def test_some_maintenance_is_done_on_the_side() -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("hall", capacity=100)
    for i in range(50):
        ledger.reserve("hall", 0, 10, uid=str(i), now=0, ttl=10)
    assert ledger.get("0", now=20) is not None  # reading does no maintenance
    assert ledger.tally().held == 50
    ledger.reserve("hall", 0, 10, uid="x", now=20, ttl=100)
    assert 1 < ledger.tally().held < 50


def test_ended_reservations_are_remembered_for_the_retention(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10, now=0)
    hold(ledger, "b", 10, 20, now=0)
    ledger.release("b", now=50)
    for now, a, b in (
        (549, True, True),
        (550, True, False),
        (599, True, False),
        (600, False, False),
    ):
        assert (ledger.get("a", now=now) is not None) == a
        assert (ledger.get("b", now=now) is not None) == b
    ledger.expire(600)
    assert ledger.tally().ended == 0
    with pytest.raises(UnknownReservation) as refused:
        ledger.release("a", now=600)
    assert refused.value.uid == "a"


def test_what_was_reinstated_does_not_keep_others_from_being_forgotten(ledger: Ledger) -> None:
    for uid in "abc":
        ledger.reserve("hall", 0, 10, uid=uid, now=0, ttl=100)
    for uid in "ab":
        ledger.confirm(uid, now=150, if_still_free=True)
    ledger.expire(700, limit=1)
    while ledger.state.maintenance_due <= 700:
        ledger.expire(700, limit=1)
    assert ledger.tally().ended == 0
    assert ledger.tally().confirmed == 2


def booked(ledger: Ledger, uid: str, proposal: Proposal, now: int = 0) -> None:
    ledger.reserve_proposal(proposal, uid=uid, now=now)
    ledger.confirm(uid, now=now)


def test_bookings_are_forgotten_once_nothing_of_them_reaches_beyond(ledger: Ledger) -> None:
    ledger.add_limit("limit:day", 2)
    day = Claim("limit:day", 0, 1_000)
    booked(ledger, "over", slot(10, 20, key="k"))
    booked(ledger, "buffered", slot(10, 20, "desk", buffers=(5, 5)))
    booked(ledger, "counted", slot(20, 30)._replace(limits=(day,)))
    booked(ledger, "under way", slot(50, 70))
    ledger.reserve_proposal(slot(30, 40), uid="held", now=0)
    for before, forgotten in ((19, 0), (20, 1), (20, 0), (25, 1), (999, 1), (1_000, 1)):
        assert ledger.forget_bookings(before, ledger.uids()) == forgotten
        ledger.check_invariants()
    assert ledger.uids() == ["held"]
    assert ledger.tally()[:3] == (1, 0, 0)
    assert ledger.state.forgotten_before == 1_000
    assert ledger.busy("room", 0, 100, now=0) == [(30, 40, 1)]
    with pytest.raises(UnknownReservation):
        ledger.cancel("over", now=0)
    with pytest.raises(KeySpent):
        ledger.reserve_proposal(slot(10, 20, key="k"), uid="another", now=KEY_LIFE - 1)
    again = slot(40, 50, key="k")
    assert ledger.reserve_proposal(again, uid="another", now=KEY_LIFE).uid == "another"


def test_only_those_are_forgotten_that_are_named(ledger: Ledger) -> None:
    for uid, start in (("a", 10), ("b", 20)):
        booked(ledger, uid, slot(start, start + 10))
    assert ledger.forget_bookings(100, ["b", "no such uid"]) == 1
    assert ledger.uids() == ["a"]


def test_a_session_is_forgotten_member_by_member(ledger: Ledger) -> None:
    seat = slot(10, 20, "room", seats=Seats(3), event_type="class")
    booked(ledger, "a", seat)
    booked(ledger, "b", seat)
    ledger.reserve_proposal(seat, uid="c", now=0)
    assert ledger.forget_bookings(20, ledger.uids()) == 2
    assert ledger.busy("room", 0, 100, now=0) == [(10, 20, 1)]
    ledger.check_invariants()
    ledger.expire(100)
    assert ledger.busy("room", 0, 100, now=100) == []
    ledger.check_invariants()


def test_what_was_reinstated_can_be_forgotten_while_it_is_remembered_as_expired(
    ledger: Ledger,
) -> None:
    hold(ledger, "a", 10, 20)
    ledger.confirm("a", now=150, if_still_free=True)
    assert ledger.forget_bookings(150, ledger.uids()) == 1
    ledger.check_invariants()
    ledger.expire(10_000)
    ledger.check_invariants()
    assert ledger.tally()[:3] == (0, 0, 0)


def test_a_listener_never_sees_anything_half_done() -> None:
    """Not even where a lapsed hold is in the way of what is done."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    told: list[Verb] = []

    def look(change: ReservationChange, entry: Entry) -> None:
        told.append(change.verb)
        assert ledger.busy("room", 50, 60, now=change.at) == [(50, 60, 1)]
        if change.verb is not Verb.EXPIRE:
            ledger.check_invariants()

    hold(ledger, "m", 50, 60)
    ledger.confirm("m", now=0)
    for start in range(3):
        hold(ledger, str(start), start, start + 1)
    ledger.reserve("desk", 50, 60, uid="desk", now=0, ttl=100)
    ledger.on_change = look
    ledger.move_any(
        "m", [slot(50, 60, "room", "desk"), slot(50, 60, "desk")],
        now=200, policy=Policy.LEAST_LOADED,
    )  # fmt: skip
    assert told == [Verb.EXPIRE, Verb.MOVE]
    told.clear()
    ledger.expire(200)
    assert told == [Verb.EXPIRE] * 3


def test_a_listener_is_told_of_a_batch_when_all_of_it_stands(ledger: Ledger) -> None:
    told: list[tuple[Verb, str, int]] = []

    def look(change: ReservationChange, entry: Entry) -> None:
        told.append((change.verb, entry.uid, entry.version))

    def stand(changes: Changes) -> None:
        assert len(changes) == 2
        assert ledger.busy("room", 0, 20, now=changes[0].at) == [(0, 20, 1)]

    ledger.on_change, ledger.on_step = look, stand
    ledger.reserve_all([slot(0, 10), slot(10, 20)], uids=["a", "b"], now=0)
    assert told == [(Verb.RESERVE, "a", 1), (Verb.RESERVE, "b", 1)]
    told.clear()
    # What changes twice in one step is told each time as it was then.
    ledger.adopt(slot(30, 40), uid="c", now=0)
    assert told == [(Verb.RESERVE, "c", 1), (Verb.CONFIRM, "c", 2)]


def test_a_cancelled_booking_that_was_reinstated_waits_for_nobody(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10, ttl=50)
    ledger.expire(60)
    hold(ledger, "b", 10, 20, now=60, ttl=50)
    ledger.expire(110)
    ledger.confirm("a", now=400, if_still_free=True)
    ledger.cancel("a", now=500)
    ledger.expire(610)  # "b" ended at 110; "a", which stood before it, at 500
    assert ledger.tally().ended == 1
    ledger.expire(1_000)
    assert ledger.tally().ended == 0
    ledger.check_invariants()


def test_a_listener_that_fails_loses_nobody_elses_expiry(ledger: Ledger) -> None:
    def fail(change: ReservationChange, entry: Entry) -> None:
        if change.verb is Verb.EXPIRE:
            raise RuntimeError("listener")

    ledger.on_change = fail
    for start in range(5):
        hold(ledger, str(start), start, start + 1)
    with pytest.raises(RuntimeError):
        ledger.expire(100)
    assert ledger.tally().expired == 5
    ledger.check_invariants()


def test_reservations_come_in_order_also_from_a_long_timeline(ledger: Ledger) -> None:
    for start in range(3_000):
        ledger.reserve("hall", start, start + 1, uid=f"s{start}", now=0, ttl=1_000)
    ledger.reserve("hall", 1_000, 2_990, uid="late", now=0, ttl=1_000)
    ledger.reserve("hall", 500, 2_980, uid="early", now=0, ttl=1_000)
    found = ledger.reservations_in("hall", 2_900, 2_905, now=0)
    assert [entry.uid for entry in found][:2] == ["early", "late"]
    with pytest.raises(SlotTaken) as refused:
        ledger.reserve("hall", 2_900, 2_901, uid="x", now=0, ttl=1_000)
    assert [way.start for way in refused.value.in_the_way] == [
        from_us(500), from_us(1_000), from_us(2_900),
    ]  # fmt: skip


def test_time_never_goes_backwards(ledger: Ledger) -> None:
    hold(ledger, "a", 0, 10, now=100)
    entry = ledger.reserve("desk", 0, 10, uid="b", now=50, ttl=100)
    assert (entry.created, entry.until) == (100, 200)
    assert ledger.extend("a", ttl=100, now=-5).until == 200
    assert ledger.extend("a", ttl=50, now=180).until == 230
    assert ledger.busy("desk", 0, 100, now=230) == []
    assert ledger.busy("desk", 0, 100, now=150) == [(0, 10, 1)]  # as of 180, the latest step
    ledger.expire(230)
    assert ledger.busy("desk", 0, 100, now=150) == []


def test_reading_nothing_of_an_untouched_ledger() -> None:
    ledger = Ledger()
    assert ledger.state.maintenance_due == ledger.state.next_expiry() == NEVER
    assert ledger.expire(10**18) == 0
    assert set(ledger.tally()) == {0}


def test_lapsed_claims_do_not_show_though_not_swept() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    hold(ledger, "a", 0, 10)
    assert ledger.busy("room", 0, 100, now=100) == []
    assert ledger.reservations_in("room", 0, 100, now=100) == []
    assert ledger.is_free(slot(0, 10), now=100)
    assert ledger.tally().held == 1


def test_too_many_units_says_how_many_there_are(ledger: Ledger) -> None:
    with pytest.raises(TooManyUnits) as refused:
        ledger.reserve_proposal(slot(0, 5, "hall", units=4), uid="a", now=0)
    assert refused.value.args == ("hall", 4, 3)
    with pytest.raises(TooManyUnits) as refused:
        ledger.reserve_proposal(seat(0, 5, total=3, wanted=4), uid="a", now=0)
    assert refused.value.args == ("room", 4, 3)


def test_the_first_and_the_last_moment_of_the_calendar_can_be_had(ledger: Ledger) -> None:
    for uid, start in (("a", FIRST_US), ("b", LAST_US - 5)):
        ledger.reserve_proposal(slot(start, start + 5), uid=uid, now=0)
        ledger.reserve("desk", start, start + 5, uid=f"{uid}2", now=0, ttl=100)
    ledger.check_invariants()


def test_invalid_ttl_says_the_bounds(ledger: Ledger) -> None:
    with pytest.raises(InvalidTTL) as refused:
        hold(ledger, "a", 0, 10, ttl=5)
    assert refused.value.args == (timedelta(0, 0, 5), timedelta(0, 0, 10), timedelta(0, 0, 1_000))


def test_a_claim_may_be_as_long_as_the_terms_say(ledger: Ledger) -> None:
    longest = TERMS.longest_span
    assert ledger.reserve_proposal(slot(0, longest), uid="a", now=0).end == longest
    assert hold(ledger, "b", longest, 2 * longest).end == 2 * longest
    TERMS.check_span(0, longest)  # does not raise
    with pytest.raises(InvalidField) as refused:
        hold(ledger, "c", 2 * longest, 3 * longest + 1)
    assert refused.value.field == "length"


# --- Imported busy time ------------------------------------------------------------------


def test_busy_time_is_in_the_way_until_its_source_says_otherwise(ledger: Ledger) -> None:
    ledger.replace_busy("calendar", {"room": [(10, 20), (15, 30)], "hall": [(0, 5)]}, now=0)
    ledger.replace_busy("feed", {"room": [(30, 40)]}, now=0)
    for claim in ((9, 11), (25, 26), (35, 50)):
        with pytest.raises(SlotTaken) as caught:
            ledger.reserve("room", *claim, uid="a", now=0, ttl=100)
        assert caught.value.retry_at is None
        way = InTheWay(from_us(10), from_us(40), 1, booked=True)
        assert caught.value.in_the_way == (way,)
    with pytest.raises(SlotTaken) as caught:
        ledger.reserve_proposal(slot(4, 8, "hall"), uid="a", now=0)
    assert caught.value.in_the_way == (InTheWay(from_us(0), from_us(5), 3, booked=True),)
    assert not ledger.is_free(slot(12, 14, "room"), now=0)
    assert ledger.busy("room", 0, 100, now=0) == [(10, 40, 1)]
    assert ledger.imported("room", 0, 35) == [(10, 30, "calendar"), (30, 35, "feed")]
    ledger.replace_busy("calendar", {"room": [(50, 60)]}, now=0)
    assert ledger.imported("hall", 0, 100) == []
    assert ledger.reserve("room", 10, 30, uid="a", now=0, ttl=100).until == 100
    ledger.replace_busy("calendar", {}, now=0)
    ledger.replace_busy("feed", {"room": []}, now=0)
    assert ledger.imported("room", 0, 100) == []
    ledger.check_invariants()


def test_busy_time_leaves_alone_what_is_there(ledger: Ledger) -> None:
    ledger.reserve("room", 10, 20, uid="a", now=0, ttl=100)
    ledger.reserve("hall", 10, 20, uid="b", now=0, ttl=100)
    ledger.replace_busy("calendar", {"room": [(5, 30)], "hall": [(15, 40)]}, now=0)
    assert ledger.confirm("a", now=1).state is State.CONFIRMED
    assert ledger.busy("hall", 0, 100, now=1) == [(10, 15, 1), (15, 40, 3)]
    with pytest.raises(SlotTaken):
        ledger.move("a", slot(12, 22, "room"), now=1)
    assert ledger.move("a", slot(40, 50, "room"), now=1).start == 40
    # A hold that has lapsed cannot be had again: it is not free.
    with pytest.raises(SlotTaken):
        ledger.confirm("b", now=100, if_still_free=True)
    ledger.check_invariants()


def test_who_joins_a_session_is_not_asked_about_busy_time(ledger: Ledger) -> None:
    shared = slot(10, 20, "room", seats=Seats(2), event_type="class")
    ledger.reserve_proposal(shared, uid="a", now=0)
    ledger.replace_busy("calendar", {"room": [(0, 100)]}, now=0)
    assert ledger.reserve_proposal(shared, uid="b", now=0).session is not None


@pytest.mark.parametrize(
    ("error", "source", "spans"),
    [
        (InvalidField, "", {}),
        (InvalidField, 7, {}),
        (UnknownResource, "calendar", {"room": [(0, 1)], "nowhere": [(0, 1)]}),
        (UnknownResource, "calendar", {"room": [(0, 1)], "limit:day": [(0, 1)]}),
        (InvalidField, "calendar", {"room": [(0, 1)], "desk": [(2, 2)]}),
        (InvalidField, "calendar", {"room": [(0, 1)], "desk": [(0, LAST_US + 1)]}),
    ],
)
def test_wrong_busy_time_changes_nothing(
    ledger: Ledger, error: type[Exception], source: str, spans: dict[str, list[tuple[int, int]]]
) -> None:
    ledger.add_limit("limit:day", 3)
    ledger.replace_busy("calendar", {"room": [(50, 60)]}, now=0)
    with pytest.raises(error):
        ledger.replace_busy(source, spans, now=0)
    assert ledger.imported("room", 0, 100) == [(50, 60, "calendar")]
    with pytest.raises(InvalidField):
        ledger.imported("room", 5, 5)


# --- Pools and limits --------------------------------------------------------------------


def test_a_move_keeps_the_host_if_it_can(ledger: Ledger) -> None:
    entry = ledger.reserve_proposal(pooled(0, "room", "desk"), uid="a", now=0)
    ledger.reserve_proposal(pooled(20, "desk"), uid="b", now=0)
    ledger.reserve_proposal(pooled(20, "room"), uid="d", now=1)  # so that it is the desk's turn
    assert entry.resource is not None
    assert ledger.move("a", pooled(40, "desk", "room"), now=0).all_claims() == (
        Claim("room", 40, 50),
    )
    ledger.reserve("room", 60, 70, uid="c", now=0, ttl=100)
    assert ledger.move("a", pooled(60, "desk", "room"), now=0).all_claims() == (
        Claim("desk", 60, 70),
    )
    with pytest.raises(NoneFree) as caught:
        ledger.move("a", pooled(60, "room", "shop"), now=0)
    kinds = [type(refusal) for refusal in caught.value.refusals]
    assert kinds == [SlotTaken, OutsideHours]
    ledger.check_invariants()


def test_a_pool_of_one_refuses_as_that_one_does(ledger: Ledger) -> None:
    ledger.reserve("room", 0, 10, uid="a", now=0, ttl=100)
    with pytest.raises(SlotTaken) as caught:
        ledger.reserve_proposal(pooled(0, "room"), uid="b", now=0)
    assert caught.value.retry_at == from_us(100)


def test_why_nobody_of_a_pool_could_be_had_is_what_it_was_then(ledger: Ledger) -> None:
    """Though it is told one by one only when it is read."""
    ledger.reserve("room", 60, 70, uid="a", now=0, ttl=100)
    ledger.reserve("desk", 60, 70, uid="b", now=0, ttl=100)
    with pytest.raises(NoneFree) as caught:
        ledger.reserve_proposal(pooled(60, "room", "shop", "desk"), uid="c", now=0)
    ledger.release("a", now=1)
    refusals = caught.value.refusals
    assert [type(one) for one in refusals] == [SlotTaken, OutsideHours, SlotTaken]
    assert caught.value.refusals is refusals
    assert caught.value.args == (refusals,)
    assert "no longer held, try again at" in str(refusals[0])
    assert "; held, try again at" in str(refusals[2])
    assert "SlotTaken('room'" in repr(caught.value)
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert [str(one) for one in arrived.refusals] == [str(one) for one in refusals]


def test_the_first_in_turn_of_a_pool_is_looked_for_among_those_who_can_be_had(
    ledger: Ledger,
) -> None:
    names = ("room", "desk", "hall")
    ledger.reserve("room", 0, 10, uid="taken", now=0, ttl=10)
    first = ledger.reserve_proposal(pooled(0, *names), uid="a", now=0)
    ledger.release("a", now=0)
    assert [claim.resource for claim in first.all_claims()] == ["desk"]
    # A hold that has lapsed, and is not marked yet, is in nobody's way.
    lapsed = ledger.reserve_proposal(pooled(0, *names), uid="b", now=10)
    assert [claim.resource for claim in lapsed.all_claims()] == ["room"]
    ledger.check_invariants()


def test_a_batch_is_refused_with_the_details_of_each_host(ledger: Ledger) -> None:
    batch = [pooled(0, "room", "desk"), pooled(0, "room", "desk"), pooled(0, "room", "desk")]
    with pytest.raises(NoneFree) as caught:
        ledger.reserve_all(batch, uids=["a", "b", "c"], now=0)
    # In the eyes of the batch its own claims never lapse.
    assert caught.value.retry_at is None
    assert len(ledger.reserve_all(batch[:2], uids=["a", "b"], now=0)) == 2


def test_ids_of_limits_are_the_ledgers_own(ledger: Ledger) -> None:
    with pytest.raises(InvalidField, match="limit:"):
        ledger.add_resource("limit:day")
    ledger.add_limit("limit:day", 2)
    limit = (Claim("limit:day", 0, 1_000, 2),)
    entry = ledger.reserve_proposal(slot(5, 6, "room")._replace(limits=limit), uid="a", now=0)
    assert entry.all_claims() == (Claim("room", 5, 6), *limit)
    with pytest.raises(LimitReached) as caught:
        ledger.reserve_proposal(slot(7, 8, "room")._replace(limits=limit), uid="b", now=0)
    assert (caught.value.resource, caught.value.end) == ("limit:day", from_us(1_000))
    more = slot(7, 8, "room")._replace(limits=(limit[0]._replace(units=3, start=2_000, end=3_000),))
    with pytest.raises(LimitReached) as caught:
        ledger.reserve_proposal(more, uid="b", now=0)
    assert (caught.value.retry_at, caught.value.in_the_way) == (None, ())
    # It lapses with its hold, and comes back with it if that is confirmed after all.
    reinstated = ledger.confirm("a", now=200, if_still_free=True)
    assert reinstated.all_claims() == (Claim("room", 5, 6), *limit)
    with pytest.raises(LimitReached):
        ledger.reserve_proposal(slot(7, 8, "room")._replace(limits=limit), uid="b", now=200)
    ledger.check_invariants()


# --- What is live on a resource --------------------------------------------------------------


def test_what_stands_on_a_resource_is_found_without_an_index_and_with_one_alike() -> None:
    """Whatever else is asked, and page after page."""
    ledger = Ledger(TERMS)
    for name in ("room", "hall"):
        ledger.add_resource(name, capacity=9)
    for n in range(6):
        tags = ("vip",) if n % 2 else ()
        proposal = Proposal(
            10 + n, 20 + n, (Claim("room", 8 + n, 20 + n),), 30 + n,
            event_type="talk" if n < 4 else None, extra=Extra(tags=tags).or_none(),
        )  # fmt: skip
        ledger.reserve_proposal(proposal, uid=f"r{n}", now=n)
    ledger.confirm("r1", now=6)
    ledger.release("r2", now=6)
    queries = [
        Query(resource="room", states=LIVE, within=(0, 12), order=order, descending=descending,
              tag=tag, event_type=event_type, created_since=since)
        for order in Order
        for descending in (False, True)
        for tag in (None, "vip")
        for event_type in (None, "talk")
        for since in (None, 3)
    ]  # fmt: skip
    queries += [
        Query(resource="hall", states=LIVE, within=(0, 99)),
        Query(resource="attic", states=LIVE, within=(0, 99)),
        Query(resource="room", states=frozenset({State.CONFIRMED}), within=(0, 99)),
        Query(resource="room", states=frozenset({State.HELD}), within=(0, 99)),
    ]

    def pages() -> list[Page]:
        found = []
        for query in queries:
            page = ledger.find(query, now=31, limit=2, count=True)
            found.append(page)
            while page.after is not None:
                page = ledger.find(query, now=31, limit=2, after=page.after, count=True)
                found.append(page)
        return found

    before = pages()
    assert ledger.state.index is None
    assert len(ledger.find(Query(resource="room"), now=31, limit=9).entries) == 6
    assert ledger.state.index is not None
    assert pages() == before
    assert max(page.total or 0 for page in before) == 3  # one has lapsed


@pytest.mark.parametrize(
    "query",
    [
        Query(resource="limit:day", states=LIVE, within=(0, 9)),
        Query(resource="room", states=LIVE),
        Query(resource="room", within=(0, 9)),
        Query(states=LIVE, within=(0, 9)),
        Query(resource="room", states=frozenset({State.RELEASED}), within=(0, 9)),
    ],
)
def test_all_else_is_looked_for_in_the_index(query: Query) -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("room")
    assert ledger.find(query, now=0, limit=9).entries == []
    assert ledger.state.index is not None
