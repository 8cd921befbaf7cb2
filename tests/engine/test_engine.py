"""Every verb of the engine: what it answers, what it refuses, and what that leaves unchanged."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from itertools import count
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine import (
    ALWAYS_OPEN,
    AllOf,
    AlreadyOver,
    BusySpan,
    Claim,
    DateRange,
    EachOf,
    EngineClosed,
    EventType,
    FixedWindows,
    HoldExpired,
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    KeySpent,
    Kind,
    Lagged,
    LifeExceeded,
    NoneFree,
    NoSeatsLeft,
    OneOf,
    OutsideHours,
    Policy,
    Put,
    Quota,
    QuotaExceeded,
    Refused,
    Remove,
    Request,
    Reservation,
    ReservationQuery,
    ResourceConfig,
    Retire,
    Schedule,
    Seats,
    SlotEngine,
    SlotError,
    SlotQuery,
    SlotTaken,
    StaleVersion,
    State,
    TooManyUnits,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
    Verb,
    WrongState,
    hours,
    minutes,
)
from slotengine.core.time.instant import to_us
from slotengine.core.time.schedule import AlwaysOpen, ScheduleIntersection, Windows
from slotengine.engine.local import FORGOTTEN_PER_TURN, LocalEngine
from slotengine.engine.turns import CALLS_PER_TURN, Turns
from slotengine.testing import SimClock
from tests.standing import standing

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
MICROSECOND = timedelta(microseconds=1)
ROME = ZoneInfo("Europe/Rome")

pytestmark = pytest.mark.anyio


def asks(
    *resources: str, start: datetime = START, length: timedelta = HALF_HOUR, **more: Any
) -> Request:
    """Return a request for one unit of each resource."""
    return Request(start, length, tuple(Claim(one) for one in resources), **more)


def books(engine: SlotEngine) -> object:
    """Return all that can be seen of an engine, but for its count of refusals."""
    year = timedelta(days=365)
    return (
        replace(engine.statistics(), refused=0),
        [
            engine.local.find(standing(resource, NOW - year, NOW + year)).reservations
            for resource in engine.ledger.occupancy.resources
        ],
    )


# --- Each verb twice -------------------------------------------------------------------


class Call(NamedTuple):
    """One call of a verb, on an engine that `prepare` prepared."""

    verb: str
    args: tuple[object, ...]
    options: dict[str, object] = {}  # noqa: RUF012 - nobody writes to it


WEEK = (START - timedelta(days=3), START + timedelta(days=3))
LARGER = Put(Kind.RESOURCE, "hall", ResourceConfig(capacity=4))
CANDIDATES = [asks("room"), asks("annex"), asks("hall")]

# Each verb at least once accepted, and once refused if it can be.
CALLS = [
    Call("openings", (SlotQuery("talk", START, START + minutes(60)),)),
    Call("reserve", ("hall", START, HALF_HOUR), {"units": 2, "holder": "me", "ttl": minutes(1)}),
    Call("reserve", ("room", START, HALF_HOUR)),
    Call("reserve", ("room", START, HALF_HOUR), {"key": "one"}),
    Call("reserve", ("no such room", START, HALF_HOUR)),
    Call("reserve", (asks("annex", "hall", holder="me", key="two"),)),
    Call("reserve", (asks("room", "hall"),)),
    Call("reserve", (AllOf([asks("annex"), asks("hall")]),)),
    Call("reserve", (AllOf([asks("annex"), asks("room")]),)),
    Call("reserve", (EachOf([asks("annex"), asks("room")]),)),
    Call("reserve", (OneOf(CANDIDATES, Policy.LEAST_LOADED, load_in=WEEK),)),
    Call("reserve", (OneOf(CANDIDATES, Policy.WEIGHTED, [1, 2, 3]),)),
    Call("reserve", (OneOf([asks("room")], key="three"),)),
    Call("reserve_slot", ("talk", START), {"holder": "me", "ttl": minutes(1), "key": "four"}),
    Call("adopt", (asks("room", "hall"),)),
    Call("adopt", (asks("nowhere"),)),
    Call("reserve_slot", ("talk", START), {"only": ["annex"], "length": HALF_HOUR}),
    Call("reserve_slot", ("class", START + HALF_HOUR), {"seats": 2, "enforce": False}),
    Call("reserve_slot", ("class", NOW)),
    Call("reserve_slot", ("no such thing", START)),
    Call("move_slot", ("hold", START), {"event_type": "talk", "ttl": minutes(9), "version": 1}),
    Call("move_slot", ("booking", START), {"event_type": "class", "only": (), "enforce": False}),
    Call("move_slot", ("hold", START)),
    Call("slots", (SlotQuery("talk", *WEEK, zone="Europe/Rome", ignoring={"hold"}),)),
    Call("slots", (SlotQuery("class", *WEEK, HALF_HOUR, 2, only=[]),)),
    Call("slots", (SlotQuery("talk", START, START),)),
    Call("next_free", (SlotQuery("talk"),)),
    Call("next_free", (SlotQuery("class", START, START + timedelta(days=1), seats=3), 3)),
    Call("next_free", (SlotQuery("talk", START), 0)),
    Call("replace_busy", ("calendar", {"annex": [WEEK], "hall": []})),
    Call("replace_busy", ("calendar", {"no such room": [WEEK]})),
    Call("imported", ("annex", *WEEK)),
    Call("imported", ("annex", START, START)),
    Call("extend", ("hold",), {"ttl": minutes(7), "version": 1}),
    Call("extend", ("booking",)),
    Call("move", ("hold", START + HALF_HOUR), {"resource": "annex", "ttl": minutes(9)}),
    Call("move", ("hold", START, minutes(60)), {"version": 2}),
    Call("move", ("booking", asks("annex")), {"version": 2}),
    Call("move", ("booking", asks("room"))),
    Call("move", ("hold", OneOf(CANDIDATES, Policy.LEAST_LOADED, load_in=WEEK))),
    Call("move", ("booking", OneOf([asks("room")]))),
    Call("confirm", ("hold",), {"version": 1}),
    Call("confirm", ("lapsed",), {"if_still_free": True}),
    Call("confirm", ("lapsed",)),
    Call("annotate", ("hold",), {"metadata": {"room": "blue"}, "tags": ["vip"], "version": 1}),
    Call("annotate", ("no such uid",), {"details": "late"}),
    Call("replace", ("hold", asks("room", key="five")), {"version": 1}),
    Call("replace", ("booking", asks("room"))),
    Call("find", (ReservationQuery(holder="somebody", total=True),)),
    Call("find", (ReservationQuery(limit=0),)),
    Call("release", ("hold",), {"version": 1}),
    Call("release", ("booking",)),
    Call("cancel", ("booking",), {"version": 2}),
    Call("cancel", ("hold",)),
    Call("forget_bookings", (NOW,)),
    Call("forget_bookings", (START,)),
    Call("configure", ([LARGER, Remove(Kind.RESOURCE, "no such room")],)),
    Call("configure", ([LARGER],)),
    Call("configure", ([Retire(Kind.EVENT_TYPE, "talk")],), {"force": True}),
    Call("get", ("hold",)),
    Call("get", ("no such uid",)),
    Call("busy", ("hall", *WEEK)),
    Call("busy", ("hall", START, START)),
    Call("is_free", (asks("annex"),)),
    Call("is_free", (asks("room"),)),
    Call("find", (standing("hall", *WEEK),)),
    Call("find", (standing("no such room", *WEEK),)),
]

VERBS = [
    name
    for name, member in inspect.getmembers(SlotEngine, inspect.iscoroutinefunction)
    if not name.startswith("_") and name not in {"start", "aclose", "run"}
]


def prepare(engine: SlotEngine, clock: SimClock) -> None:
    """Let there be one that has lapsed, a hold of "room" at `START`, and a booking of "hall"."""
    engine.add_resource("room")
    engine.add_resource("annex")
    engine.add_resource("hall", capacity=3)
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, any_of=[["room", "annex"]]))
    engine.add_event_type(
        EventType(id="class", length=HALF_HOUR, all_of=["hall"], seats=3, notice=minutes(30))
    )
    engine.local.reserve("annex", START + HALF_HOUR, HALF_HOUR, ttl=minutes(1))
    clock.set(clock.moment + minutes(1))
    engine.local.reserve("room", START, HALF_HOUR, holder="somebody")
    engine.local.reserve("hall", START, HALF_HOUR)
    engine.local.confirm("booking")


def prepared(clock: SimClock) -> SlotEngine:
    uids = iter(["lapsed", "hold", "booking", *map(str, range(100))])
    return SlotEngine(clock=clock, new_uid=lambda _: next(uids))


async def outcome(answer: Callable[[], Any]) -> object:
    """Return what a call, waiting or not, returns, or what it raises in a form that compares."""
    try:
        result = answer()
        result = await result if inspect.isawaitable(result) else result
    except SlotError as error:
        return type(error), str(error)
    return [
        (type(one), str(one)) if isinstance(one, Refused) else one
        for one in (result if isinstance(result, list) else [result])
    ]


def test_every_verb_is_tried() -> None:
    assert {call.verb for call in CALLS} == set(VERBS)


WAITING = {"reserve", "reserve_slot"}
"""Verbs that can wait for a slot, which only their async forms do."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_twin_that_does_not_wait(verb: str) -> None:
    twin = getattr(LocalEngine, verb)
    assert not inspect.iscoroutinefunction(twin)
    parameters = dict(inspect.signature(getattr(SlotEngine, verb)).parameters)
    assert (parameters.pop("wait", None) is not None) == (verb in WAITING)
    assert dict(inspect.signature(twin).parameters) == parameters


@pytest.mark.parametrize("call", CALLS, ids=[f"{call.verb}-{i}" for i, call in enumerate(CALLS)])
async def test_both_forms_answer_alike(call: Call) -> None:
    clocks = SimClock(NOW), SimClock(NOW)
    async with prepared(clocks[0]) as one, prepared(clocks[1]) as other:
        prepare(one, clocks[0])
        prepare(other, clocks[1])
        one.turns = Turns(1)  # gives way, and is none the wiser
        forms = getattr(one, call.verb), getattr(other.local, call.verb)
        answers = [await outcome(partial(form, *call.args, **call.options)) for form in forms]
        assert answers[0] == answers[1]
        assert books(one) == books(other)
        assert one.statistics() == other.statistics()
        one.check_invariants()


async def test_an_async_verb_gives_way_now_and_then(engine: SlotEngine) -> None:
    ends = [engine.turns.is_over() for _ in range(3 * CALLS_PER_TURN)]
    assert ends == 3 * ([False] * (CALLS_PER_TURN - 1) + [True])
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(somebody_else)
        for _ in range(4 * CALLS_PER_TURN):
            await engine.get("1")
        tasks.cancel_scope.cancel()
    assert 3 <= turns <= 6  # one more or less, as the loop has it


# --- How long a hold lives -------------------------------------------------------------


async def test_a_hold_lives_for_five_minutes_unless_the_caller_says_otherwise(
    engine: SlotEngine, clock: SimClock
) -> None:
    assert engine.default_ttl == minutes(5)
    first = await engine.reserve("room", START, HALF_HOUR)
    second = await engine.reserve("annex", START, HALF_HOUR, ttl=timedelta(seconds=90))
    assert first.created == second.created == clock.moment == engine.now()
    assert first.until == NOW + minutes(5)
    assert second.until == NOW + timedelta(seconds=90)
    assert (await engine.reserve(asks("hall"))).until == NOW + minutes(5)
    assert (await engine.reserve(asks("hall", ttl=minutes(2)))).until == NOW + minutes(2)


async def test_a_hold_is_live_until_the_very_moment(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    clock.set(NOW + minutes(5) - MICROSECOND)
    assert engine.local.get(hold.uid) == hold
    with pytest.raises(SlotTaken):
        engine.local.reserve("room", START, HALF_HOUR)
    clock.set(NOW + minutes(5))  # and the sweeper has not run
    lapsed = engine.local.get(hold.uid)
    assert lapsed is not None
    assert (lapsed.state, lapsed.version, lapsed.until) == (State.EXPIRED, 2, hold.until)
    assert engine.local.reserve("room", START, HALF_HOUR).state is State.HELD
    with pytest.raises(HoldExpired):
        engine.local.confirm(hold.uid)
    assert engine.local.get(hold.uid) == lapsed


async def test_the_bounds_of_a_life_are_configured(clock: SimClock) -> None:
    async with SlotEngine(
        default_ttl=minutes(2), min_ttl=minutes(1), max_ttl=minutes(3), clock=clock
    ) as engine:
        engine.add_resource("hall", capacity=5)
        assert engine.ttl_bounds == (minutes(1), minutes(3))
        assert engine.default_ttl == minutes(2)
        uid = (await engine.reserve("hall", START, HALF_HOUR)).uid
        for ttl in (minutes(1), minutes(3)):
            hold = await engine.reserve("hall", START, HALF_HOUR, ttl=ttl)
            assert hold.until == NOW + ttl
            assert (await engine.extend(hold.uid)).until == NOW + minutes(2)
        for ttl in (
            minutes(1) - MICROSECOND,
            minutes(3) + MICROSECOND,
            timedelta.max - MICROSECOND,
            -minutes(1),
        ):
            before = books(engine)
            for attempt in (
                partial(engine.local.reserve, "hall", START, HALF_HOUR, ttl=ttl),
                partial(engine.local.reserve, asks("hall", ttl=ttl)),
                partial(engine.local.extend, uid, ttl=ttl),
                partial(engine.local.move, uid, START, ttl=ttl),
            ):
                with pytest.raises(InvalidTTL) as caught:
                    attempt()
                assert (caught.value.ttl, caught.value.shortest) == (ttl, minutes(1))
                assert caught.value.longest == minutes(3)
            assert books(engine) == before


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"min_ttl": timedelta()}, "min_ttl"),
        ({"min_ttl": -minutes(1)}, "min_ttl"),
        ({"min_ttl": timedelta(days=2)}, "min_ttl"),
        ({"default_ttl": timedelta(days=2)}, "default_ttl"),
        ({"default_ttl": MICROSECOND}, "default_ttl"),
        ({"max_ttl": minutes(1)}, "default_ttl"),
        ({"max_life": minutes(1)}, "max_life"),
        ({"retention": -MICROSECOND}, "retention"),
        ({"default_ttl": 300}, "default_ttl"),
        ({"min_ttl": 1.0}, "min_ttl"),
        ({"max_ttl": None}, "max_ttl"),
        ({"max_life": "1 day"}, "max_life"),
        ({"retention": 3600}, "retention"),
        ({"max_length": timedelta()}, "max_length"),
        ({"max_length": 3600}, "max_length"),
        ({"max_holds": 0}, "max_holds"),
        ({"max_held": 3600}, "max_held"),
        ({"max_held": timedelta()}, "max_held"),
        ({"max_lapses": 0}, "max_lapses"),
        ({"cool_down": 300}, "cool_down"),
    ],
)
def test_durations_that_contradict_each_other_are_refused(
    options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        SlotEngine(**options)
    assert caught.value.field == field


async def test_a_hold_cannot_be_extended_past_its_longest_life(clock: SimClock) -> None:
    async with SlotEngine(max_ttl=minutes(10), max_life=minutes(10), clock=clock) as engine:
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR)
        await clock.advance(minutes(4))
        assert (await engine.extend(hold.uid, ttl=minutes(6))).until == NOW + minutes(10)
        before = books(engine)
        for attempt in (
            partial(engine.local.extend, hold.uid, ttl=minutes(6) + MICROSECOND),
            partial(engine.local.move, hold.uid, START, ttl=minutes(7)),
        ):
            with pytest.raises(LifeExceeded) as caught:
                attempt()
            assert caught.value.latest == NOW + minutes(10)
        assert books(engine) == before
        await engine.confirm(hold.uid)
        await engine.move(hold.uid, START, ttl=minutes(7))  # a booking has no life to exceed


async def test_quotas_are_for_each_holder(clock: SimClock) -> None:
    """Each of them alone, the others being none: what is had, and what is too much."""
    async with SlotEngine(max_holds=1, clock=clock) as engine:
        engine.add_resource("hall", capacity=9)
        await engine.reserve("hall", START, HALF_HOUR, holder="a")
        with pytest.raises(QuotaExceeded) as caught:
            await engine.reserve("hall", START, HALF_HOUR, holder="a")
        assert (caught.value.quota, caught.value.limit) == ("holds", 1)
        await engine.reserve("hall", START, HALF_HOUR, holder="b")
    async with SlotEngine(max_held=HALF_HOUR, clock=clock) as engine:
        engine.add_resource("hall", capacity=9)
        await engine.reserve("hall", START, HALF_HOUR, holder="a")
        with pytest.raises(QuotaExceeded) as caught:
            await engine.reserve("hall", START, minutes(1), holder="a")
        assert caught.value.quota == "time"
    for cool_down in (None, minutes(1)):
        options: dict[str, Any] = {} if cool_down is None else {"cool_down": cool_down}
        async with SlotEngine(max_lapses=1, clock=clock, **options) as engine:
            engine.add_resource("hall", capacity=9)
            await engine.reserve("hall", START, HALF_HOUR, holder="a")
            await clock.advance(minutes(5))
            with pytest.raises(QuotaExceeded) as caught:
                await engine.reserve("hall", START, HALF_HOUR, holder="a")
            assert caught.value.quota == "lapses"
            assert caught.value.retry_at == clock.moment + (cool_down or minutes(5))


async def test_a_request_brings_a_quota(clock: SimClock) -> None:
    """In each verb that reserves; and what is made lives no longer, whoever renews it."""
    quota = Quota(holds=2, held=minutes(60), life=minutes(9))
    wish = Request(START, HALF_HOUR, (Claim("hall"),), holder="a", quota=quota)
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("hall", capacity=9)
        clock.set(NOW + timedelta(seconds=61))
        first = await engine.reserve("hall", START, HALF_HOUR, holder="a", quota=quota)
        await clock.advance(timedelta(minutes=1, seconds=7))
        await engine.reserve(wish)
        assert first.until is not None
        for call in (
            partial(engine.reserve, "hall", START, HALF_HOUR, holder="a", quota=quota),
            partial(engine.reserve, wish),
            partial(engine.reserve, AllOf([wish])),
        ):
            with pytest.raises(QuotaExceeded) as caught:
                await call()
            assert caught.value.args == ("holds", 2, 2, first.until)
        (refusal,) = await engine.reserve(EachOf([wish]))
        assert isinstance(refusal, QuotaExceeded)
        with pytest.raises(NoneFree):
            await engine.reserve(OneOf([wish]))
        assert not await engine.is_free(wish)
        with pytest.raises(QuotaExceeded) as caught:
            await engine.move(first.uid, START, HALF_HOUR + MICROSECOND)
        assert caught.value.quota == "time"
        await clock.advance(first.until - clock.moment - MICROSECOND)
        await engine.extend(first.uid, ttl=minutes(4))
        with pytest.raises(LifeExceeded) as late:
            await engine.extend(first.uid, ttl=minutes(4) + 2 * MICROSECOND)
        assert late.value.latest == first.created + minutes(9)
        with pytest.raises(InvalidTTL) as wrong:
            await engine.reserve(
                "hall", START, HALF_HOUR, ttl=minutes(10), quota=Quota(life=minutes(9))
            )
        assert wrong.value.longest == minutes(9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"holds": 0}, {"holds": True}, {"holds": 2.0}, {"waits": -1}, {"held": timedelta()},
        {"held": 3600}, {"life": -minutes(1)}, {"life": "1 h"}, {"life": timedelta(days=10**6)},
    ],
)  # fmt: skip
async def test_a_quota_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        Quota(**wrong)
    assert caught.value.field in wrong


async def test_the_longest_span_is_configured(clock: SimClock) -> None:
    async with SlotEngine(max_length=minutes(60), clock=clock) as engine:
        engine.add_resource("room")
        with pytest.raises(InvalidField):
            await engine.reserve("room", START, minutes(60) + MICROSECOND)
        assert (await engine.reserve("room", START, minutes(60))).length == minutes(60)


# --- Bad input -------------------------------------------------------------------------

NAIVE = datetime(2030, 1, 7, 9)  # noqa: DTZ001 - what is to be refused

ILL_TIMED: dict[str, Callable[[SlotEngine, Any], object]] = {
    "reserve": lambda e, when: e.local.reserve("room", when, HALF_HOUR),
    "reserve_request": lambda e, when: e.local.reserve(asks("room", start=when)),
    "reserve_all": lambda e, when: e.local.reserve(AllOf([asks("room"), asks("hall", start=when)])),
    "reserve_each": lambda e, when: e.local.reserve(
        EachOf([asks("room"), asks("hall", start=when)])
    ),
    "reserve_any": lambda e, when: e.local.reserve(OneOf([asks("room"), asks("hall", start=when)])),
    "load from": lambda e, when: e.local.reserve(OneOf([asks("room")], load_in=(when, START))),
    "load until": lambda e, when: e.local.reserve(OneOf([asks("room")], load_in=(START, when))),
    "move": lambda e, when: e.local.move("1", when),
    "move_request": lambda e, when: e.local.move("1", asks("room", start=when)),
    "move_any": lambda e, when: e.local.move("1", OneOf([asks("room", start=when)])),
    "busy from": lambda e, when: e.local.busy("room", when, START),
    "busy until": lambda e, when: e.local.busy("room", START, when),
    "is_free": lambda e, when: e.local.is_free(asks("room", start=when)),
}


@pytest.mark.parametrize("call", ILL_TIMED.values(), ids=ILL_TIMED)
@pytest.mark.parametrize(
    "when", [NAIVE, None, "2030-01-07T09:00Z", 1_893_456_000, 0.5, date(2030, 1, 7), minutes(1)]
)
async def test_only_aware_datetimes_are_taken(
    engine: SlotEngine, call: Callable[[SlotEngine, Any], object], when: object
) -> None:
    await engine.reserve("annex", START, HALF_HOUR)
    before = books(engine)
    with pytest.raises(InvalidField, match="must be a timezone-aware datetime"):
        call(engine, when)
    assert books(engine) == before


BAD_INPUT: dict[str, tuple[Callable[[SlotEngine], object], type[InvalidRequest]]] = {
    "no length": (lambda e: e.local.reserve("room", START, timedelta()), InvalidField),
    "negative length": (lambda e: e.local.reserve("room", START, -HALF_HOUR), InvalidField),
    "length in minutes": (lambda e: e.local.reserve("room", START, 30), InvalidField),  # type: ignore[call-overload]
    "no length to move to": (lambda e: e.local.move("1", START, timedelta()), InvalidField),
    "ttl in seconds": (lambda e: e.local.reserve("room", START, HALF_HOUR, ttl=300), InvalidField),  # type: ignore[call-overload]
    "unknown resource": (lambda e: e.local.reserve("attic", START, HALF_HOUR), UnknownResource),
    "no resource": (lambda e: e.local.reserve(None, START, HALF_HOUR), UnknownResource),  # type: ignore[call-overload]
    "resource unhashable": (lambda e: e.local.reserve([], START, HALF_HOUR), UnknownResource),  # type: ignore[call-overload]
    "resource unhashable in a request": (
        lambda e: e.local.reserve(Request(START, HALF_HOUR, (Claim([]),))),  # type: ignore[arg-type]
        UnknownResource,
    ),
    "unknown among several": (
        lambda e: e.local.reserve(asks("room", "attic")),
        UnknownResource,
    ),
    "no units": (lambda e: e.local.reserve("hall", START, HALF_HOUR, units=0), InvalidField),
    "negative units": (
        lambda e: e.local.reserve("hall", START, HALF_HOUR, units=-1),
        InvalidField,
    ),
    "true units": (lambda e: e.local.reserve("hall", START, HALF_HOUR, units=True), InvalidField),
    "broken units": (lambda e: e.local.reserve("hall", START, HALF_HOUR, units=1.0), InvalidField),  # type: ignore[call-overload]
    "too many units": (lambda e: e.local.reserve("hall", START, HALF_HOUR, units=4), TooManyUnits),
    "key unhashable": (lambda e: e.local.reserve("room", START, HALF_HOUR, key=[]), InvalidField),  # type: ignore[call-overload]
    "no claims": (lambda e: e.local.reserve(asks()), InvalidField),
    "one resource twice": (lambda e: e.local.reserve(asks("room", "room")), InvalidField),
    "buffer in minutes": (
        lambda e: e.local.reserve(Request(START, HALF_HOUR, (Claim("room", 1, 5),))),  # type: ignore[arg-type]
        InvalidField,
    ),
    "negative buffer": (
        lambda e: e.local.reserve(Request(START, HALF_HOUR, (Claim("room", after=-minutes(5)),))),
        InvalidField,
    ),
    "seats without an event type": (
        lambda e: e.local.reserve(asks("room", seats=Seats(5))),
        InvalidField,
    ),
    "no seats": (
        lambda e: e.local.reserve(asks("room", event_type="yoga", seats=Seats(0))),
        InvalidField,
    ),
    "too many seats": (
        lambda e: e.local.reserve(asks("room", event_type="yoga", seats=Seats(2, 3))),
        TooManyUnits,
    ),
    "no candidates": (lambda e: e.local.reserve(OneOf([])), InvalidField),
    "too few weights": (
        lambda e: e.local.reserve(OneOf([asks("room"), asks("hall")], weights=[1])),
        InvalidField,
    ),
    "weight of nothing": (
        lambda e: e.local.reserve(OneOf([asks("room")], weights=[0])),
        InvalidField,
    ),
    "key of a candidate": (lambda e: e.local.reserve(OneOf([asks("room", key="x")])), InvalidField),
    "one key twice": (
        lambda e: e.local.reserve(AllOf([asks("room", key="x"), asks("hall", key="x")])),
        InvalidField,
    ),
    "bad one among several": (
        lambda e: e.local.reserve(EachOf([asks("room"), asks("attic")])),
        UnknownResource,
    ),
    "ttl for some": (
        lambda e: e.local.move("1", OneOf([asks("room"), asks("hall", ttl=minutes(1))])),
        InvalidField,
    ),
    "no candidates to move to": (lambda e: e.local.move("1", OneOf([])), InvalidField),
    "too many units to move to": (
        lambda e: e.local.move("1", Request(START, HALF_HOUR, (Claim("hall", 4),))),
        TooManyUnits,
    ),
    "moved to an unknown resource": (
        lambda e: e.local.move("1", START, resource="attic"),
        UnknownResource,
    ),
    "empty range": (lambda e: e.local.busy("room", START, START), InvalidField),
    "range reversed": (lambda e: e.local.find(standing("room", START, NOW)), InvalidField),
    "busy where": (lambda e: e.local.busy("attic", NOW, START), UnknownResource),
    "free where": (lambda e: e.local.is_free(asks("attic")), UnknownResource),
    "resource twice": (lambda e: e.add_resource("room"), InvalidField),
    "resource unnamed": (lambda e: e.add_resource(""), InvalidField),
    "resource numbered": (lambda e: e.add_resource(7), InvalidField),  # type: ignore[arg-type]
    "no capacity": (lambda e: e.add_resource("new", capacity=0), InvalidField),
    "capacity in part": (lambda e: e.add_resource("new", capacity=1.5), InvalidField),  # type: ignore[arg-type]
    "buffer of no events": (lambda e: e.subscribe(buffer=0), InvalidField),
}


@pytest.mark.parametrize(("call", "error"), BAD_INPUT.values(), ids=BAD_INPUT)
async def test_bad_input_is_refused_and_changes_nothing(
    engine: SlotEngine, call: Callable[[SlotEngine], object], error: type[InvalidRequest]
) -> None:
    await engine.reserve("annex", START, HALF_HOUR, key="mine")
    before = books(engine)
    with pytest.raises(error):
        call(engine)
    assert books(engine) == before
    assert engine.statistics().refused == 0  # the input says no, not the state


FAR_EAST, FAR_WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))

OFF_THE_CALENDAR: dict[str, Callable[[SlotEngine], object]] = {
    "ends after 9999": lambda e: e.local.reserve(
        "room", datetime(9999, 12, 31, 23, tzinfo=UTC), timedelta(hours=2)
    ),
    "begins after 9999 in UTC": lambda e: e.local.reserve(
        "room", datetime(9999, 12, 31, 23, tzinfo=FAR_WEST), HALF_HOUR
    ),
    "begins before 0001 in UTC": lambda e: e.local.reserve(
        "room", datetime(1, 1, 1, tzinfo=FAR_EAST), HALF_HOUR
    ),
    "longest there is": lambda e: e.local.reserve("room", START, timedelta.max),
    "longest, of a counted resource": lambda e: e.local.reserve("hall", START, timedelta.max),
    "outside hours": lambda e: e.local.reserve(
        "shop", datetime(9999, 12, 31, 23, tzinfo=UTC), timedelta(hours=2)
    ),
    "buffer": lambda e: e.local.reserve(
        Request(START, HALF_HOUR, (Claim("room", before=timedelta.max),))
    ),
    "moved to": lambda e: e.local.move("1", START, timedelta.max),
    "asked about": lambda e: e.local.is_free(asks("room", length=timedelta.max)),
}


@pytest.mark.parametrize("call", OFF_THE_CALENDAR.values(), ids=OFF_THE_CALENDAR)
async def test_what_leaves_the_calendar_is_refused(
    engine: SlotEngine, call: Callable[[SlotEngine], object]
) -> None:
    await engine.reserve("annex", START, HALF_HOUR)
    before = books(engine)
    with pytest.raises(InvalidField):
        call(engine)
    assert books(engine) == before


async def test_a_span_that_is_over_is_had_only_if_that_is_asked_for(
    engine: SlotEngine, clock: SimClock
) -> None:
    """Over at its end, to the microsecond; one that is under way is not."""
    second = timedelta(seconds=1)
    clock.set(NOW + 29 * second + MICROSECOND)
    now = engine.now()
    over, under_way = now - minutes(1), now - minutes(1) + MICROSECOND
    length = minutes(1)
    before = books(engine)
    later = await engine.reserve("annex", START, HALF_HOUR)
    attempts: list[Callable[[datetime, bool], Awaitable[Any]]] = [
        lambda start, past: engine.reserve("room", start, length, past=past),
        lambda start, past: engine.reserve("hall", start, length, units=2, past=past),
        lambda start, past: engine.reserve("room", start, length, wait=length, past=past),
        lambda start, past: engine.reserve(
            asks("room", start=start, length=length, past=past, schedule=ALWAYS_OPEN)
        ),
        lambda start, past: engine.reserve(
            AllOf([asks("room", start=start, length=length, past=past)])
        ),
        lambda start, past: engine.move(later.uid, start, length, past=past),
        lambda start, past: engine.move(
            later.uid, asks("room", start=start, length=length, past=past)
        ),
    ]
    for attempt in attempts:
        with pytest.raises(AlreadyOver) as caught:
            await attempt(over, False)
        assert caught.value.end == now
        for start, past in ((over, True), (under_way, False)):
            made = await attempt(start, past)
            one = made[0] if isinstance(made, list) else made
            assert one.start == start
            if one.uid == later.uid:
                await engine.move(later.uid, START, HALF_HOUR, resource="annex")
            else:
                await engine.release(one.uid)
    asked = asks("room", start=over, length=length)
    assert not await engine.is_free(asked)
    assert await engine.is_free(replace(asked, past=True))
    (refused,) = await engine.reserve(EachOf([asked]))
    assert isinstance(refused, AlreadyOver)
    with pytest.raises(NoneFree):
        await engine.reserve(OneOf([asked]))
    with pytest.raises(NoneFree):
        await engine.move(later.uid, OneOf([asked]))
    with pytest.raises(InvalidField, match="past"):
        await engine.reserve("room", over, length, past=1)  # type: ignore[call-overload]
    # What is over may stay where it is, and change all else.
    old = await engine.reserve("room", over, length, past=True)
    assert (await engine.move(old.uid, over, resource="annex")).resources == ("annex",)
    await engine.release(old.uid)
    await engine.release(later.uid)
    assert books(engine) != before


async def test_nobody_waits_for_a_span_until_after_it_is_over(
    engine: SlotEngine, clock: SimClock
) -> None:
    await engine.reserve("room", START, HALF_HOUR, ttl=timedelta(hours=9))
    answers: list[Exception] = []

    async def waits() -> None:
        try:
            await engine.reserve("room", START, HALF_HOUR, wait=timedelta(hours=5))
        except SlotTaken as refusal:
            answers.append(refusal)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(START + HALF_HOUR - 2 * MICROSECOND - NOW)
        assert answers == []
        await clock.advance(MICROSECOND)
        assert [type(one) for one in answers] == [SlotTaken]


# --- Reinstating by the rules by which a hold was made ---------------------------------


class Doors:
    """Hours that somebody changes while the engine runs."""

    is_open = True

    def covers(self, start: int, end: int) -> bool:
        return self.is_open

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        if self.is_open:
            yield start, end


async def lapsed(engine: SlotEngine, clock: SimClock, hold: Reservation) -> str:
    """Return the uid of a hold once it has lapsed, half a second ago."""
    assert hold.until is not None
    await clock.advance(hold.until - clock.moment + timedelta(milliseconds=500))
    return hold.uid


async def test_reinstating_asks_for_the_notice(engine: SlotEngine, clock: SimClock) -> None:
    engine.add_event_type(
        EventType(id="visit", length=HALF_HOUR, all_of=["room"], notice=minutes(30))
    )
    hold = await engine.reserve_slot("visit", NOW + minutes(34), ttl=minutes(5))
    late = await engine.reserve_slot("visit", NOW + minutes(4), ttl=minutes(5), enforce=False)
    uid = await lapsed(engine, clock, hold)
    before = await engine.get(uid)
    with pytest.raises(TooSoon) as caught:
        await engine.confirm(uid, if_still_free=True)
    assert caught.value.earliest == clock.moment + minutes(30)
    assert await engine.get(uid) == before
    assert await engine.is_free(asks("room", start=hold.start))
    # One that was made against the rules is reinstated against them; and so is any if said so.
    assert (await engine.confirm(late.uid, if_still_free=True)).state is State.CONFIRMED
    booking = await engine.confirm(uid, if_still_free=True, enforce=False)
    assert booking.state is State.CONFIRMED


async def test_reinstating_asks_for_the_booking_window(engine: SlotEngine, clock: SimClock) -> None:
    clock.set(datetime(2030, 1, 7, 23, 58, tzinfo=UTC))
    window = DateRange(date(2030, 1, 1), date(2030, 1, 7))
    engine.add_event_type(
        EventType(id="fair", length=HALF_HOUR, all_of=["room"], window=window, zone="UTC")
    )
    # No time passes a window of dates, but a move may leave it: then that was not enforced.
    hold = await engine.reserve_slot("fair", datetime(2030, 1, 7, 23, 59, tzinfo=UTC))
    await engine.move_slot(hold.uid, datetime(2030, 1, 9, tzinfo=UTC), enforce=False)
    uid = await lapsed(engine, clock, hold)
    assert (await engine.confirm(uid, if_still_free=True)).state is State.CONFIRMED


async def test_reinstating_asks_whether_it_is_over(engine: SlotEngine, clock: SimClock) -> None:
    plain = await engine.reserve("room", NOW, minutes(5))
    past = await engine.reserve("annex", NOW - HALF_HOUR, minutes(5), past=True)
    longer = await engine.reserve("hall", NOW, minutes(5) + timedelta(seconds=1))
    for hold in (plain, past, longer):
        await lapsed(engine, clock, hold)
    with pytest.raises(AlreadyOver):
        await engine.confirm(plain.uid, if_still_free=True)
    assert (await engine.confirm(past.uid, if_still_free=True)).state is State.CONFIRMED
    assert (await engine.confirm(longer.uid, if_still_free=True)).state is State.CONFIRMED
    assert (await engine.confirm(plain.uid, if_still_free=True, enforce=False)).end <= clock.moment


async def test_reinstating_asks_for_hours(engine: SlotEngine, clock: SimClock) -> None:
    doors, its_own = Doors(), Doors()
    engine.add_resource("pool", schedule=doors)
    for id, seats in (("lesson", None), ("course", 3)):  # noqa: A001
        engine.add_event_type(
            EventType(id=id, length=HALF_HOUR, any_of=[["pool"]], all_of=["room"], seats=seats)
        )
    plain = await engine.reserve("pool", START, HALF_HOUR)
    own = await engine.reserve(asks("pool", start=START + HALF_HOUR, schedule=its_own))
    ruled = await engine.reserve_slot("lesson", START + 2 * HALF_HOUR)
    seated = await engine.reserve_slot("course", START + 3 * HALF_HOUR)
    for hold in (plain, own, ruled, seated):
        await lapsed(engine, clock, hold)
    doors.is_open = its_own.is_open = False
    for hold in (plain, ruled, seated):
        with pytest.raises(OutsideHours):
            await engine.confirm(hold.uid, if_still_free=True)
    # Who joins a session takes it as it is.
    await engine.reserve_slot("course", seated.start, enforce=False)
    again = await engine.confirm(seated.uid, if_still_free=True)
    assert again.seats == Seats(3)
    doors.is_open = True
    for hold in (plain, own, ruled):
        assert (await engine.confirm(hold.uid, if_still_free=True)).state is State.CONFIRMED


async def test_the_ends_of_the_calendar_can_be_had(engine: SlotEngine) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert (await engine.reserve("room", first, HALF_HOUR, past=True)).start == first
    assert (await engine.reserve("room", last - HALF_HOUR, HALF_HOUR)).end == last
    assert len(await engine.busy("room", first, last)) == 2


# --- Time zones ------------------------------------------------------------------------


async def test_times_of_any_zone_are_the_same_instants(engine: SlotEngine) -> None:
    hold = await engine.reserve("room", START.astimezone(ZoneInfo("Asia/Kathmandu")), HALF_HOUR)
    assert (hold.start, hold.end) == (START, START + HALF_HOUR)
    assert hold.start.tzinfo is UTC
    with pytest.raises(SlotTaken):
        await engine.reserve("room", START.astimezone(FAR_WEST), HALF_HOUR)


async def test_an_hour_that_comes_twice_is_two_hours(engine: SlotEngine) -> None:
    twice = datetime(2030, 10, 27, 2, 30, tzinfo=ROME)
    first = await engine.reserve("room", twice, HALF_HOUR)
    second = await engine.reserve("room", twice.replace(fold=1), HALF_HOUR)
    assert first.start == datetime(2030, 10, 27, 0, 30, tzinfo=UTC)
    assert second.start == datetime(2030, 10, 27, 1, 30, tzinfo=UTC)
    with pytest.raises(SlotTaken):
        await engine.reserve("room", datetime(2030, 10, 27, 2, 45, tzinfo=ROME), HALF_HOUR)


async def test_a_length_is_elapsed_time_across_a_change_of_offset(engine: SlotEngine) -> None:
    night = await engine.reserve("room", datetime(2030, 3, 31, 0, tzinfo=ROME), timedelta(hours=4))
    assert night.length == timedelta(hours=4)
    assert night.end.astimezone(ROME) == datetime(2030, 3, 31, 5, tzinfo=ROME)
    # 02:30 exists on no clock that night; PEP 495 reads it with the offset before.
    missing = await engine.reserve("annex", datetime(2030, 3, 31, 2, 30, tzinfo=ROME), HALF_HOUR)
    assert missing.start == datetime(2030, 3, 31, 1, 30, tzinfo=UTC)


# --- Refusals --------------------------------------------------------------------------


async def test_a_refusal_tells_what_is_in_the_way_and_nothing_of_whose_it_is(
    engine: SlotEngine,
) -> None:
    hold = await engine.reserve("hall", START, HALF_HOUR, units=2, holder="a secret", key="secret")
    later = await engine.reserve("hall", START + minutes(15), HALF_HOUR, holder="a secret")
    await engine.confirm(later.uid)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve("hall", START + minutes(5), minutes(20))
    refusal = caught.value
    assert refusal.resource == "hall"
    assert (refusal.start, refusal.end) == (START + minutes(5), START + minutes(25))
    assert refusal.in_the_way == (
        InTheWay(START, START + HALF_HOUR, 2, booked=False),
        InTheWay(START + minutes(15), START + minutes(45), 1, booked=True),
    )
    assert refusal.retry_at == hold.until  # the booking alone leaves room enough
    told = f"{refusal} {refusal!r} {refusal.obstruction!r} {refusal.args!r}"
    assert "secret" not in told
    assert all(f"'{one.uid}'" not in told for one in (hold, later))


async def test_the_args_of_a_refusal_are_its_facts(engine: SlotEngine) -> None:
    """As `slotengine.errors` says of every error; and so is what logs show of it."""
    await engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve("room", START, HALF_HOUR)
    assert caught.value.args == ("room", caught.value.obstruction)
    assert "object at 0x" not in repr(caught.value)


async def test_a_booking_in_the_way_leaves_nothing_to_wait_for(engine: SlotEngine) -> None:
    booking = await engine.reserve("room", START, HALF_HOUR)
    await engine.confirm(booking.uid)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve("room", START, HALF_HOUR)
    assert caught.value.retry_at is None
    assert "try again" not in str(caught.value)


slots = st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9))


@given(holds=st.lists(slots, min_size=1, max_size=8), booked=st.sets(st.integers(0, 7)), want=slots)
async def test_a_retry_at_the_moment_told_succeeds_and_not_before(
    holds: list[tuple[int, int, int, int]], booked: set[int], want: tuple[int, int, int, int]
) -> None:
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("hall", capacity=3)

        def reserve(start: int, length: int, units: int, ttl: int) -> Reservation:
            return engine.local.reserve(
                "hall", START + minutes(start), minutes(length), units=units, ttl=minutes(ttl)
            )

        for i, hold in enumerate(holds):
            try:
                made = reserve(*hold)
            except SlotTaken:
                continue
            if i in booked:
                engine.local.confirm(made.uid)
        try:
            reserve(*want)
        except SlotTaken as taken:
            refusal = taken
        else:
            return
        assert refusal.in_the_way
        retry_at = refusal.retry_at
        clock.set(NOW + minutes(10) if retry_at is None else retry_at - MICROSECOND)
        with pytest.raises(SlotTaken):
            reserve(*want)
        if retry_at is not None:
            clock.set(retry_at)
            reserve(*want)


async def test_outside_hours_is_refused_and_buffers_may_reach_there(engine: SlotEngine) -> None:
    opens, closes = START, START + timedelta(hours=8)
    with pytest.raises(OutsideHours) as caught:
        await engine.reserve("shop", opens - MICROSECOND, HALF_HOUR)
    assert caught.value.resource == "shop"
    assert (caught.value.start, caught.value.end) == (
        opens - MICROSECOND, opens - MICROSECOND + HALF_HOUR
    )  # fmt: skip
    with pytest.raises(OutsideHours):
        await engine.reserve("shop", closes - HALF_HOUR + MICROSECOND, HALF_HOUR)
    early = Request(opens, HALF_HOUR, (Claim("shop", before=HALF_HOUR),))
    booked = await engine.reserve(early)
    assert booked.start == opens
    assert (await engine.reserve("shop", closes - HALF_HOUR, HALF_HOUR)).end == closes
    with pytest.raises(OutsideHours):  # a move asks the same
        await engine.move(booked.uid, closes)


async def test_a_schedule_in_the_request_takes_the_place_of_the_resources_own(
    engine: SlotEngine,
) -> None:
    closed = FixedWindows([(0, 1)])
    night = START + timedelta(hours=18)
    assert (await engine.reserve(asks("shop", start=night, schedule=ALWAYS_OPEN))).uid
    with pytest.raises(OutsideHours):
        await engine.reserve(asks("room", schedule=closed))
    assert not await engine.is_free(asks("room", schedule=closed))


class Flood:
    """Hours that cannot be read."""

    def covers(self, start: int, end: int, /) -> bool:
        raise OSError("the timetable is under water")

    def windows(self, start: int, end: int, /) -> Any:
        raise NotImplementedError


FLOODED = asks("annex", schedule=Flood())


@pytest.mark.parametrize(
    "call",
    [
        Call("reserve", (FLOODED,)),
        Call("reserve", (AllOf([asks("room"), FLOODED]),)),
        Call("reserve", (EachOf([FLOODED, asks("room")]),)),
        Call("reserve", (OneOf([FLOODED]),)),
        Call("move", ("1", FLOODED)),
        Call("move", ("1", OneOf([FLOODED]))),
    ],
)
async def test_a_schedule_that_raises_leaves_nothing_half_done(
    engine: SlotEngine, call: Call
) -> None:
    await engine.reserve("hall", START, HALF_HOUR)
    before = books(engine)
    with pytest.raises(OSError, match="under water"):
        await getattr(engine, call.verb)(*call.args)
    assert books(engine) == before
    engine.check_invariants()


# --- Keys and versions -----------------------------------------------------------------


async def test_the_same_key_and_request_give_the_same_reservation(
    engine: SlotEngine, clock: SimClock
) -> None:
    first = await engine.reserve("room", START, HALF_HOUR, holder="me", key="k")
    await clock.advance(minutes(1))
    assert await engine.reserve("room", START, HALF_HOUR, holder="me", key="k") == first
    assert await engine.reserve(asks("room", holder="me", key="k")) == first
    booking = await engine.confirm(first.uid)
    assert await engine.reserve("room", START, HALF_HOUR, holder="me", key="k") == booking
    cancelled = await engine.cancel(first.uid)
    assert await engine.reserve("room", START, HALF_HOUR, holder="me", key="k") == cancelled
    assert engine.statistics().accepted == 1
    await clock.advance(timedelta(hours=1))  # forgotten, but not the key
    with pytest.raises(KeySpent) as spent:
        await engine.reserve("room", START, HALF_HOUR, holder="me", key="k")
    assert (spent.value.key, spent.value.uid) == ("k", first.uid)
    before = engine.statistics().refused
    with pytest.raises(KeySpent):
        await engine.reserve(EachOf([asks("annex"), asks("room", holder="me", key="k")]))
    assert engine.statistics().refused == before + 1
    with pytest.raises(KeyReused):
        await engine.reserve("room", START, HALF_HOUR, holder="you", key="k")
    await clock.advance(timedelta(hours=23))
    again = await engine.reserve("room", START, HALF_HOUR, holder="you", key="k", past=True)
    assert again.uid != first.uid


async def test_the_same_key_with_another_request_is_an_error(engine: SlotEngine) -> None:
    await engine.reserve("room", START, HALF_HOUR, key="k")
    before = books(engine)
    for other in (
        asks("annex", key="k"),
        asks("room", key="k", holder="me"),
        asks("room", key="k", length=minutes(31)),
        asks("room", key="k", start=START + MICROSECOND),
        asks("room", key="k", ttl=minutes(6)),
    ):
        with pytest.raises(KeyReused) as caught:
            await engine.reserve(other)
        assert caught.value.key == "k"
        with pytest.raises(KeyReused):
            await engine.reserve(EachOf([asks("hall"), other]))
    with pytest.raises(KeyReused):
        await engine.reserve(OneOf([asks("room")], key="k"))
    assert books(engine) == before


async def test_what_is_repeated_with_its_key_is_known_whatever_is_configured_by_then(
    clock: SimClock,
) -> None:
    """Less of it, or nothing at all, and shorter holds: after a restart, say."""

    def many(units: int = 3, **more: Any) -> Request:
        return Request(START, HALF_HOUR, (Claim("hall", units),), ttl=minutes(90), **more)

    asked: list[Callable[[SlotEngine], Awaitable[Reservation]]] = [
        lambda e: e.reserve(many(key="one")),
        lambda e: e.reserve(OneOf([many()], key="any")),
        lambda e: e.adopt(many(key="adopted")),
        lambda e: e.reserve_slot("talk", START, length=HALF_HOUR, key="slot"),
        lambda e: e.reserve_slot("talk", START, length=HALF_HOUR, key="slot", wait=minutes(1)),
    ]
    replaced = many(key="replaced")
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("hall", capacity=20)
        engine.add_resource("room")
        engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
        answers = [await ask(engine) for ask in asked]
        (one,) = await engine.reserve(AllOf([many(key="batch")]))
        old = await engine.reserve(many())
        new = await engine.replace(old.uid, replaced)
        snapshot = engine.local.snapshot()
    again = SlotEngine(clock=clock, max_ttl=minutes(30), max_length=minutes(10))
    again.replay([snapshot])
    async with again as engine:
        await engine.configure([Put(Kind.RESOURCE, "hall", ResourceConfig(1))], force=True)
        await engine.configure([Remove(Kind.EVENT_TYPE, "talk")], force=True)
        assert [await ask(engine) for ask in asked] == answers
        assert await engine.reserve(AllOf([many(key="batch")])) == [one]
        assert await engine.replace(old.uid, replaced) == new
        for other in (
            engine.reserve_slot("talk", START, key="slot"),
            engine.reserve_slot("talk", START, key="slot", wait=minutes(1)),
            engine.reserve(many(2, key="one")),
        ):
            with pytest.raises(KeyReused):
                await other
        with pytest.raises(UnknownEventType):
            await engine.reserve_slot("talk", START, key="another")
        with pytest.raises(InvalidField, match="key"):
            await engine.reserve_slot("talk", START, key="")


async def test_a_key_is_for_one_verb_and_for_replacing_one_reservation(engine: SlotEngine) -> None:
    request = asks("hall", key="k")
    old, other = [await engine.reserve(asks("hall")) for _ in range(2)]
    made = await engine.replace(old.uid, request)
    assert await engine.replace(old.uid, request) == made
    before = books(engine)
    for call in (
        engine.replace(other.uid, request), engine.reserve(request), engine.adopt(request),
    ):  # fmt: skip
        with pytest.raises(KeyReused):
            await call
    assert books(engine) == before


class Closed:
    """Somebody's own schedule, which nobody can compare with another."""

    def covers(self, start: int, end: int) -> bool:
        return True

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


class Named(Closed):
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Named({self.name!r})"


def weekdays(text: str) -> Schedule:
    return Schedule("Europe/Rome", dict.fromkeys(range(5), hours(text)))


@pytest.mark.parametrize(
    ("mine", "equal", "others"),
    [
        (weekdays("08:00-18:00"), weekdays("08:00-18:00"), [None, weekdays("08:00-19:00")]),
        (
            FixedWindows.between((NOW, NOW + timedelta(days=1))),
            FixedWindows.between(
                (NOW, NOW + minutes(60)), (NOW + minutes(60), NOW + timedelta(days=1))
            ),
            [None, FixedWindows.between((NOW, NOW + timedelta(days=2)))],
        ),
        (ALWAYS_OPEN, AlwaysOpen(), [None, weekdays("08:00-18:00")]),
        (
            ScheduleIntersection((ALWAYS_OPEN,)),
            ScheduleIntersection((ALWAYS_OPEN,)),
            [ScheduleIntersection((weekdays("08:00-18:00"),))],
        ),
        (Named("a"), Named("a"), [Named("b"), None]),
        (None, None, [ALWAYS_OPEN, Closed()]),
    ],
)
async def test_a_key_stands_for_the_schedule_too(
    engine: SlotEngine, mine: Windows | None, equal: Windows | None, others: list[Windows | None]
) -> None:
    hold = await engine.reserve(asks("room", key="k", schedule=mine))
    assert await engine.reserve(asks("room", key="k", schedule=equal)) == hold
    for other in others:
        with pytest.raises(KeyReused):
            await engine.reserve(asks("room", key="k", schedule=other))
        with pytest.raises(KeyReused):
            await engine.reserve(AllOf([asks("room", key="k", schedule=other)]))
    several = await engine.reserve(OneOf([asks("annex", schedule=mine)], key="any"))
    assert await engine.reserve(OneOf([asks("annex", schedule=equal)], key="any")) == several
    for other in others:
        with pytest.raises(KeyReused):
            await engine.reserve(OneOf([asks("annex", schedule=other)], key="any"))


async def test_schedules_that_cannot_be_told_apart_are_the_same(engine: SlotEngine) -> None:
    hold = await engine.reserve(asks("room", key="k", schedule=Closed()))
    assert await engine.reserve(asks("room", key="k", schedule=Closed())) == hold


async def test_a_retry_is_the_same_request_when_the_defaults_have_changed(
    clock: SimClock,
) -> None:
    """Which they may have after a restart; a default that is said is another request."""
    before, after = (LocalEngine(clock=clock, default_ttl=minutes(ttl)) for ttl in (5, 6))
    digest = before.proposal(asks("room", key="k")).digest
    assert after.proposal(asks("room", key="k")).digest == digest
    assert after.proposal(asks("room", key="k", ttl=minutes(6))).digest != digest


async def test_the_key_of_reserve_any_belongs_to_the_whole_call(engine: SlotEngine) -> None:
    candidates = [asks("room"), asks("annex")]
    first = await engine.reserve(OneOf(candidates, key="k"))
    assert await engine.reserve(OneOf(candidates, key="k")) == first
    with pytest.raises(KeyReused):
        await engine.reserve(OneOf(candidates[::-1], key="k"))


async def test_every_change_raises_the_version_and_a_stale_one_is_refused(
    engine: SlotEngine, clock: SimClock
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    seen = [hold.version]
    seen.append((await engine.extend(hold.uid, version=1)).version)
    seen.append((await engine.move(hold.uid, START + HALF_HOUR, version=2)).version)
    seen.append((await engine.confirm(hold.uid, version=3)).version)
    seen.append((await engine.confirm(hold.uid, version=4)).version)  # changes nothing
    before = books(engine)
    stale: list[Callable[[], object]] = [
        lambda: engine.local.extend(hold.uid, version=1),
        lambda: engine.local.move(hold.uid, START, version=1),
        lambda: engine.local.move(hold.uid, asks("annex"), version=1),
        lambda: engine.local.move(hold.uid, OneOf([asks("annex")]), version=1),
        lambda: engine.local.confirm(hold.uid, version=1),
        lambda: engine.local.release(hold.uid, version=1),
        lambda: engine.local.cancel(hold.uid, version=1),
    ]
    for attempt in stale:
        with pytest.raises(StaleVersion) as caught:
            attempt()
        assert caught.value.uid == hold.uid
        assert (caught.value.expected, caught.value.actual) == (1, 4)
    assert books(engine) == before
    seen.append((await engine.cancel(hold.uid, version=4)).version)
    assert seen == [1, 2, 3, 4, 4, 5]


async def test_expiry_is_a_change_like_any_other(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    clock.set(NOW + minutes(5))  # lapsed, not marked
    with pytest.raises(StaleVersion) as caught:
        engine.local.release(hold.uid, version=hold.version)
    assert caught.value.actual == hold.version + 1
    await clock.advance(timedelta())
    again = await engine.confirm(hold.uid, if_still_free=True, version=hold.version + 1)
    assert (again.state, again.version) == (State.CONFIRMED, hold.version + 2)


# --- The life of a reservation -----------------------------------------------------------


async def test_extending_counts_from_now(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await clock.advance(minutes(4))
    assert (await engine.extend(hold.uid)).until == NOW + minutes(9)
    assert (await engine.extend(hold.uid, ttl=minutes(1))).until == NOW + minutes(5)
    await clock.advance(minutes(1))
    with pytest.raises(HoldExpired):
        await engine.extend(hold.uid)


async def test_a_move_keeps_what_it_is_not_told_to_change(engine: SlotEngine) -> None:
    claim = Claim("hall", units=2, before=minutes(10), after=minutes(5))
    request = Request(START, HALF_HOUR, (claim,), holder="me", event_type="dance")
    hold = await engine.reserve(request)
    moved = await engine.move(hold.uid, START + minutes(5))  # overlaps itself
    assert (moved.start, moved.length) == (START + minutes(5), HALF_HOUR)
    assert (moved.uid, moved.claims, moved.until) == (hold.uid, (claim,), hold.until)
    assert (moved.holder, moved.event_type) == ("me", "dance")
    longer = await engine.move(hold.uid, START, minutes(60))
    assert longer.length == minutes(60)
    assert await engine.busy("hall", NOW, START + timedelta(days=1)) == [
        BusySpan(START - minutes(10), START + minutes(65), 2)
    ]


async def test_a_move_to_another_resource(engine: SlotEngine) -> None:
    request = Request(START, HALF_HOUR, (Claim("room", after=minutes(5)),))
    hold = await engine.reserve(request)
    moved = await engine.move(hold.uid, START, resource="annex")
    assert moved.claims == (Claim("annex", after=minutes(5)),)
    assert moved.resources == ("annex",)
    assert await engine.is_free(asks("room"))
    assert not await engine.is_free(asks("annex"))


async def test_a_move_of_several_claims_cannot_name_one_resource(engine: SlotEngine) -> None:
    hold = await engine.reserve(asks("room", "hall"))
    before = books(engine)
    with pytest.raises(InvalidField, match="move to a Request"):
        await engine.move(hold.uid, START, resource="annex")
    assert books(engine) == before
    assert (await engine.move(hold.uid, START + HALF_HOUR)).resources == ("room", "hall")
    moved = await engine.move(hold.uid, asks("annex", "hall"))
    assert moved.resources == ("annex", "hall")


async def test_a_move_with_a_ttl_renews_the_hold(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await clock.advance(minutes(1))
    assert (await engine.move(hold.uid, START + HALF_HOUR)).until == NOW + minutes(5)
    assert (await engine.move(hold.uid, START, ttl=minutes(9))).until == NOW + minutes(10)
    moved = await engine.move(hold.uid, asks("annex", ttl=minutes(3)))
    assert moved.until == NOW + minutes(4)
    moved = await engine.move(hold.uid, OneOf([asks("room", ttl=minutes(2))]))
    assert moved.until == NOW + minutes(3)
    assert (await engine.move(hold.uid, OneOf([asks("annex")]))).until == NOW + minutes(3)
    await engine.confirm(hold.uid)
    assert (await engine.move(hold.uid, START, ttl=minutes(9))).until is None


async def test_a_refused_move_changes_nothing(engine: SlotEngine) -> None:
    hold = await engine.reserve(asks("room", "hall"))
    other = await engine.reserve("annex", START, HALF_HOUR)
    before = books(engine)
    with pytest.raises(SlotTaken) as caught:
        await engine.move(hold.uid, asks("annex", "hall"))
    assert caught.value.retry_at == other.until
    with pytest.raises(NoneFree):
        await engine.move(hold.uid, OneOf([asks("annex"), asks("shop", start=NOW)]))
    assert books(engine) == before


async def test_a_move_ignores_the_holder_and_key_of_the_request(engine: SlotEngine) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR, holder="me")
    moved = await engine.move(hold.uid, asks("annex", holder="you", key="k"))
    assert moved.holder == "me"
    assert (await engine.reserve("room", START, HALF_HOUR, key="k")).uid != hold.uid


async def test_a_move_to_any_prefers_by_policy(engine: SlotEngine) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    for day in (1, 2):
        await engine.reserve("annex", START + timedelta(days=day), HALF_HOUR)
    candidates = [asks("annex"), asks("hall")]
    least = Policy.LEAST_LOADED
    assert (await engine.move(hold.uid, OneOf(candidates, policy=least))).resources == ("hall",)
    today = (START, START + timedelta(hours=1))  # its own claim counts as no load
    moved = await engine.move(hold.uid, OneOf(candidates, policy=least, load_in=today))
    assert moved.resources == ("annex",)
    heavy = await engine.move(
        hold.uid, OneOf([asks("room"), asks("hall")], policy=Policy.WEIGHTED, weights=[1, 3])
    )
    assert heavy.resources == ("hall",)


async def test_confirming_again_returns_the_same_booking(
    engine: SlotEngine, clock: SimClock
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    booking = await engine.confirm(hold.uid)
    assert (booking.state, booking.until) == (State.CONFIRMED, None)
    await clock.advance(timedelta(days=1))
    assert await engine.confirm(hold.uid) == booking
    assert await engine.confirm(hold.uid, if_still_free=True) == booking


async def test_a_hold_that_lapsed_is_confirmed_only_if_still_free(
    engine: SlotEngine, clock: SimClock
) -> None:
    one = await engine.reserve("room", START, HALF_HOUR)
    other = await engine.reserve("annex", START, HALF_HOUR)
    await clock.advance(minutes(5))
    with pytest.raises(HoldExpired) as caught:
        await engine.confirm(one.uid)
    assert (caught.value.uid, caught.value.state, caught.value.verb) == (
        one.uid, "expired", "confirm"
    )  # fmt: skip
    await engine.reserve("annex", START + minutes(10), HALF_HOUR)
    assert (await engine.confirm(one.uid, if_still_free=True)).state is State.CONFIRMED
    before = books(engine)
    with pytest.raises(SlotTaken):
        await engine.confirm(other.uid, if_still_free=True)
    assert books(engine) == before


async def test_release_and_cancel_are_idempotent_and_not_each_other(
    engine: SlotEngine, clock: SimClock
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(WrongState) as caught:
        await engine.cancel(hold.uid)
    assert not isinstance(caught.value, HoldExpired)
    await clock.advance(minutes(1))
    released = await engine.release(hold.uid)
    assert (released.state, released.until) == (State.RELEASED, NOW + minutes(1))
    await clock.advance(minutes(1))
    assert await engine.release(hold.uid) == released
    booking = await engine.confirm((await engine.reserve("room", START, HALF_HOUR)).uid)
    with pytest.raises(WrongState):
        await engine.release(booking.uid)
    cancelled = await engine.cancel(booking.uid)
    assert (cancelled.state, cancelled.until) == (State.CANCELLED, NOW + minutes(2))
    assert await engine.cancel(booking.uid) == cancelled
    lapsing = await engine.reserve("room", START, HALF_HOUR)
    await clock.advance(minutes(5))
    assert (await engine.release(lapsing.uid)).state is State.EXPIRED
    for verb in (engine.extend, engine.confirm):
        with pytest.raises(WrongState):
            await verb(released.uid)
    with pytest.raises(WrongState):
        await engine.move(cancelled.uid, START)


@pytest.mark.parametrize("uid", ["", "no such uid", "9" * 10_000, None, 7, [], b"1"])
async def test_a_uid_that_never_was(engine: SlotEngine, uid: Any) -> None:
    assert await engine.get(uid) is None
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: engine.extend(uid),
        lambda: engine.move(uid, START),
        lambda: engine.move(uid, asks("room")),
        lambda: engine.move(uid, OneOf([asks("room")])),
        lambda: engine.confirm(uid),
        lambda: engine.release(uid),
        lambda: engine.cancel(uid),
    ]
    for attempt in attempts:
        with pytest.raises(UnknownReservation) as caught:
            await attempt()
        assert caught.value.uid == uid


async def test_ended_reservations_are_told_of_until_their_retention_is_over(
    clock: SimClock,
) -> None:
    async with SlotEngine(clock=clock, retention=minutes(10)) as engine:
        engine.add_resource("hall", capacity=3)
        uids = [(await engine.reserve("hall", START, HALF_HOUR)).uid for _ in range(3)]
        await engine.release(uids[0])
        await engine.confirm(uids[1])
        await clock.advance(minutes(10) - MICROSECOND)
        states = [getattr(await engine.get(uid), "state", None) for uid in uids]
        assert states == [State.RELEASED, State.CONFIRMED, State.EXPIRED]
        clock.set(NOW + minutes(10))  # nobody has swept
        assert engine.local.get(uids[0]) is None
        with pytest.raises(UnknownReservation):
            engine.local.release(uids[0])
        await clock.advance(minutes(5))
        assert await engine.get(uids[2]) is None
        await clock.advance(timedelta(days=999))
        assert getattr(await engine.get(uids[1]), "state", None) is State.CONFIRMED


async def test_nothing_ended_is_kept_with_no_retention(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, retention=timedelta()) as engine:
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR, key="k")
        assert (await engine.release(hold.uid)).state is State.RELEASED
        assert await engine.get(hold.uid) is None
        with pytest.raises(KeySpent):
            await engine.reserve("room", START, HALF_HOUR, key="k")
        again = await engine.reserve("room", START, HALF_HOUR)
        assert again.uid != hold.uid
        engine.check_invariants()


# --- Several at once -------------------------------------------------------------------


async def test_bookings_are_kept_until_they_are_to_be_forgotten(
    engine: SlotEngine, clock: SimClock
) -> None:
    booking = await engine.confirm((await engine.reserve("room", START, HALF_HOUR)).uid)
    await clock.advance(timedelta(days=365))
    assert await engine.get(booking.uid) == booking
    with engine.subscribe() as events:
        assert await engine.forget_bookings(START) == 0
        assert await engine.forget_bookings(START + HALF_HOUR) == 1
    (event,) = [event async for event in events]
    assert not isinstance(event, Lagged)
    assert (event.verb, event.reservation) == (Verb.FORGET, booking)
    assert await engine.get(booking.uid) is None
    assert engine.statistics().confirmed == 0
    assert await engine.busy("room", START, START + HALF_HOUR) == []


async def test_what_is_not_over_cannot_be_forgotten(engine: SlotEngine, clock: SimClock) -> None:
    with pytest.raises(InvalidField, match="before"):
        await engine.forget_bookings(clock.moment + MICROSECOND)
    assert await engine.forget_bookings(clock.moment) == 0


async def test_others_have_their_turn_while_bookings_are_forgotten(
    engine: SlotEngine, clock: SimClock
) -> None:
    for n in range(4 * FORGOTTEN_PER_TURN):
        start = NOW - timedelta(days=1) + n * MICROSECOND
        engine.local.confirm(engine.local.reserve("room", start, MICROSECOND, past=True).uid)
    left: list[int] = []

    async def somebody_else() -> None:
        while engine.statistics().confirmed:
            left.append(engine.statistics().confirmed)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(somebody_else)
        assert await engine.forget_bookings(NOW) == 4 * FORGOTTEN_PER_TURN
    assert len(set(left)) >= 2  # whose turn comes first is trio's to say


async def test_nothing_more_is_forgotten_of_an_engine_that_was_left(clock: SimClock) -> None:
    refused: list[bool] = []

    async def forget(engine: SlotEngine) -> None:
        try:
            await engine.forget_bookings(NOW)
        except EngineClosed:
            refused.append(True)

    async with anyio.create_task_group() as tasks:
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            hold = engine.local.reserve("room", NOW - HALF_HOUR, HALF_HOUR, past=True)
            engine.local.confirm(hold.uid)
            closed = anyio.Event()
            engine.turns = turns = Turns()
            turns.give_way = closed.wait  # type: ignore[method-assign]
            tasks.start_soon(forget, engine)
            await anyio.wait_all_tasks_blocked()
        closed.set()
    assert refused == [True]


async def test_who_waits_for_the_past_has_it_when_that_is_forgotten(
    engine: SlotEngine, clock: SimClock
) -> None:
    past = NOW - HALF_HOUR
    await engine.confirm((await engine.reserve("room", past, HALF_HOUR, past=True)).uid)
    async with anyio.create_task_group() as tasks:
        wait = minutes(1)
        tasks.start_soon(partial(engine.reserve, "room", past, HALF_HOUR, wait=wait, past=True))
        await anyio.wait_all_tasks_blocked()
        assert engine.statistics().waiting == 1
        await engine.forget_bookings(NOW)
    assert engine.statistics().held == 1


async def test_several_resources_are_held_together_or_not_at_all(engine: SlotEngine) -> None:
    hold = await engine.reserve(asks("room", "hall"))
    assert hold.resources == ("room", "hall")
    before = books(engine)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve(asks("annex", "room"))
    assert caught.value.resource == "room"
    assert books(engine) == before
    await engine.release(hold.uid)
    assert await engine.is_free(asks("room", "hall"))


async def test_all_of_a_batch_or_nothing(engine: SlotEngine) -> None:
    requests = [asks("room"), asks("annex", holder="me"), asks("hall", "shop")]
    held = await engine.reserve(AllOf(requests))
    assert [one.resources for one in held] == [("room",), ("annex",), ("hall", "shop")]
    assert len({one.uid for one in held}) == 3
    before = books(engine)
    tomorrow = START + timedelta(days=1)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve(AllOf([asks("room", start=tomorrow), asks("annex")]))
    assert caught.value.resource == "annex"
    with pytest.raises(SlotTaken):  # they meet each other
        await engine.reserve(AllOf([asks("room", start=tomorrow), asks("room", start=tomorrow)]))
    assert books(engine) == before
    assert await engine.reserve(AllOf([])) == []


async def test_a_batch_tells_which_of_its_requests_failed(engine: SlotEngine) -> None:
    """Whatever is wrong with it, and wherever that is found."""
    await engine.reserve("room", START, HALF_HOUR, key="k")
    before = books(engine)
    errors: list[tuple[Request, type[SlotError]]] = [
        (asks("room"), SlotTaken),
        (asks("shop", start=NOW), OutsideHours),
        (asks("nowhere"), UnknownResource),
        (asks("annex", ttl=minutes(0)), InvalidTTL),
        (asks("annex", key="k"), KeyReused),
        (asks("annex", start=START.replace(tzinfo=None)), InvalidField),
    ]
    for wrong, kind in errors:
        for at in range(3):
            batch = [asks("hall"), asks("hall")]
            batch.insert(at, wrong)
            with pytest.raises(kind) as caught:
                await engine.reserve(AllOf(batch))
            assert caught.value.index == at
            assert any(f"index {at} of" in note for note in caught.value.__notes__)
            arrived = pickle.loads(pickle.dumps(caught.value))
            assert (arrived.index, str(arrived)) == (at, str(caught.value))
    with pytest.raises(UnknownResource) as unknown:
        await engine.reserve(EachOf([asks("hall"), asks("nowhere")]))
    assert unknown.value.index == 1
    with pytest.raises(UnknownResource) as unknown:
        await engine.reserve(OneOf([asks("hall"), asks("nowhere")]))
    assert unknown.value.index == 1
    made, refused = await engine.reserve(EachOf([asks("annex"), asks("room")]))
    assert isinstance(made, Reservation)
    assert isinstance(refused, SlotTaken)
    assert refused.index == 1
    await engine.release(made.uid)
    for keys in (("a", "\0"), ("a", "a")):
        for several in (AllOf, EachOf):
            with pytest.raises(InvalidField, match="key") as invalid:
                await engine.reserve(several([asks("hall", key=key) for key in keys]))
            assert invalid.value.index == 1
    for single in (engine.reserve(asks("nowhere")), engine.is_free(asks("nowhere"))):
        with pytest.raises(UnknownResource) as unknown:
            await single
        assert unknown.value.index is None
    hold = await engine.reserve(asks("hall"))
    with pytest.raises(UnknownResource) as unknown:
        await engine.move(hold.uid, asks("nowhere"))
    assert unknown.value.index is None
    await engine.release(hold.uid)
    assert books(engine) != before  # but for that hold all is as it was
    assert await engine.is_free(asks("hall"))


async def test_a_batch_can_be_retried(engine: SlotEngine) -> None:
    requests = [asks("room", key="a"), asks("annex", key="b")]
    held = await engine.reserve(AllOf(requests))
    assert await engine.reserve(AllOf(requests)) == held
    assert await engine.reserve(EachOf(requests)) == held


async def test_each_of_a_batch_gets_an_answer(engine: SlotEngine) -> None:
    answers = await engine.reserve(
        EachOf([asks("room"), asks("room"), asks("shop", start=NOW), asks("hall")])
    )
    first, second, third, last = answers
    assert isinstance(first, Reservation)
    assert isinstance(second, SlotTaken)
    assert second.retry_at == first.until
    assert isinstance(third, OutsideHours)
    assert isinstance(last, Reservation)
    assert engine.statistics().refused == 2
    assert await engine.reserve(EachOf([])) == []


async def test_any_of_several_in_the_order_given(engine: SlotEngine) -> None:
    candidates = [asks("room"), asks("annex")]
    got = [(await engine.reserve(OneOf(candidates))).resources for _ in candidates]
    assert got == [("room",), ("annex",)]
    with pytest.raises(NoneFree) as caught:
        await engine.reserve(OneOf([*candidates, asks("shop", start=NOW)]))
    assert [type(refusal) for refusal in caught.value.refusals] == [
        SlotTaken, SlotTaken, OutsideHours
    ]  # fmt: skip
    assert caught.value.retry_at == NOW + minutes(5)


async def test_any_of_several_by_load(engine: SlotEngine) -> None:
    for day in (1, 2):
        await engine.reserve("room", START + timedelta(days=day), HALF_HOUR)
    await engine.reserve("annex", START + timedelta(hours=1), HALF_HOUR)
    candidates = [asks("room"), asks("annex")]
    chosen = await engine.reserve(OneOf(candidates, policy=Policy.LEAST_LOADED))
    assert chosen.resources == ("annex",)
    await engine.release(chosen.uid)
    today = (START, START + timedelta(hours=2))
    chosen = await engine.reserve(OneOf(candidates, policy=Policy.LEAST_LOADED, load_in=today))
    assert chosen.resources == ("room",)


async def test_any_of_several_in_proportion_to_weights(engine: SlotEngine) -> None:
    got = {"room": 0, "annex": 0}
    for day in range(40):
        candidates = [asks(name, start=START + timedelta(days=day)) for name in got]
        one = await engine.reserve(OneOf(candidates, policy=Policy.WEIGHTED, weights=[3, 1]))
        got[one.resources[0]] += 1
    assert got == {"room": 30, "annex": 10}


async def test_seats_of_a_shared_session(engine: SlotEngine) -> None:
    yoga = asks("room", event_type="yoga", seats=Seats(total=3, wanted=2))
    first = await engine.reserve(yoga)
    assert first.seats == Seats(3, 2)
    assert engine.statistics().sessions == 1
    with pytest.raises(NoSeatsLeft) as caught:
        await engine.reserve(yoga)
    assert caught.value.retry_at == first.until
    last_seat = replace(yoga, seats=Seats(3))
    last = await engine.reserve(last_seat)
    assert await engine.busy("room", NOW, START + timedelta(days=1)) == [
        BusySpan(START, START + HALF_HOUR, 1)
    ]
    for other in (asks("room"), asks("room", event_type="dance", seats=Seats(3))):
        with pytest.raises(SlotTaken):
            await engine.reserve(other)
    found = await engine.find(standing("room", NOW, START + HALF_HOUR))
    assert [one.uid for one in found.reservations] == [
        first.uid, last.uid
    ]  # fmt: skip
    later = await engine.move(last.uid, START + timedelta(hours=1))
    assert (later.seats, later.event_type) == (Seats(3), "yoga")
    assert engine.statistics().sessions == 2
    await engine.release(first.uid)
    assert engine.statistics().sessions == 1


# --- Reading ---------------------------------------------------------------------------


async def test_busy_is_a_step_function_cut_to_the_range(
    engine: SlotEngine, clock: SimClock
) -> None:
    await engine.reserve("hall", START, HALF_HOUR)
    await engine.reserve("hall", START + minutes(15), HALF_HOUR, units=2, ttl=minutes(9))
    assert await engine.busy("hall", START + minutes(5), START + minutes(40)) == [
        BusySpan(START + minutes(5), START + minutes(15), 1),
        BusySpan(START + minutes(15), START + minutes(30), 3),
        BusySpan(START + minutes(30), START + minutes(40), 2),
    ]
    clock.set(NOW + minutes(5))  # one has lapsed, nobody has swept
    assert engine.local.busy("hall", START, START + timedelta(hours=1)) == [
        BusySpan(START + minutes(15), START + minutes(45), 2)
    ]


async def test_is_free_answers_as_reserve_would(engine: SlotEngine) -> None:
    assert await engine.is_free(asks("room", "hall"))
    assert engine.statistics().accepted == 0
    await engine.reserve("room", START, HALF_HOUR)
    assert not await engine.is_free(asks("room", "hall"))
    assert not await engine.is_free(asks("shop", start=NOW))
    assert await engine.is_free(asks("room", start=START + HALF_HOUR))
    assert engine.statistics().refused == 0


async def test_reservations_are_the_live_ones_by_start(engine: SlotEngine, clock: SimClock) -> None:
    late = await engine.reserve("hall", START + HALF_HOUR, HALF_HOUR, holder="late")
    early = await engine.reserve("hall", START, HALF_HOUR, holder="early")
    brief = await engine.reserve("hall", START, HALF_HOUR, ttl=minutes(1))
    await engine.reserve("room", START, HALF_HOUR)
    found = await engine.find(standing("hall", NOW, START + HALF_HOUR))
    assert found.reservations == [early, brief]
    clock.set(NOW + minutes(1))  # brief has lapsed
    day = (NOW, NOW + timedelta(days=1))
    assert engine.local.find(standing("hall", *day)).reservations == [early, late]


async def test_statistics_count(clock: SimClock) -> None:
    async with SlotEngine(clock=clock) as engine:
        assert set(vars_of(engine)) == {0}
        engine.add_resource("hall", capacity=3)
        holds = [await engine.reserve("hall", START, HALF_HOUR) for _ in range(3)]
        with pytest.raises(SlotTaken):
            await engine.reserve("hall", START, HALF_HOUR)
        with pytest.raises(SlotTaken):
            await engine.reserve(asks("hall"))
        with pytest.raises(SlotTaken):
            await engine.reserve(AllOf([asks("hall")]))
        with pytest.raises(NoneFree):
            await engine.reserve(OneOf([asks("hall")]))
        await engine.reserve(EachOf([asks("hall"), asks("hall")]))
        engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["hall"]))
        with pytest.raises(SlotTaken):
            await engine.reserve_slot("talk", START)
        with pytest.raises(SlotTaken):
            await engine.reserve_slot("talk", START, wait=timedelta())
        with pytest.raises(StaleVersion):
            await engine.confirm(holds[0].uid, version=9)  # no request to reserve
        await engine.confirm(holds[0].uid)
        await engine.release(holds[1].uid)
        with engine.subscribe():
            now = engine.statistics()
        assert (now.held, now.confirmed, now.ended, now.accepted) == (1, 1, 1, 3)
        assert (now.refused, now.expired, now.resources, now.sessions) == (8, 0, 1, 0)
        assert (now.subscribers, now.missed, now.overdue) == (1, 0, timedelta())
        clock.set(NOW + minutes(7))  # before the sweeper can run
        assert engine.statistics().overdue == minutes(2)
        await clock.advance(timedelta())
        now = engine.statistics()
        assert (now.held, now.ended, now.expired, now.overdue) == (0, 2, 1, timedelta())
        await clock.advance(timedelta(hours=1))
        assert engine.statistics().ended == 0


def vars_of(engine: SlotEngine) -> list[int]:
    numbers = engine.statistics()
    return [
        getattr(numbers, name) for name in numbers.__slots__ if name != "overdue"
    ]  # fmt: skip


# --- The clock and the uids that are injected --------------------------------------------


async def test_now_never_goes_backwards(engine: SlotEngine, clock: SimClock) -> None:
    """Goal: what was expired once is expired for ever, whatever the clock does.

    Method: the clock jumps past a hold's end and back before it, and nobody sweeps.
    """
    hold = engine.local.reserve("room", START, HALF_HOUR)
    clock.set(NOW + minutes(6))
    lapsed = engine.local.get(hold.uid)
    clock.set(NOW)
    assert engine.now() == NOW + minutes(6)
    assert engine.local.get(hold.uid) == lapsed
    assert lapsed is not None
    assert lapsed.state is State.EXPIRED
    with pytest.raises(HoldExpired):
        engine.local.confirm(hold.uid)
    assert engine.local.reserve("room", START, HALF_HOUR).created == NOW + minutes(6)


async def test_uids_come_from_the_source_injected(clock: SimClock) -> None:
    numbers = count()
    async with SlotEngine(clock=clock, new_uid=lambda _: f"uid-{next(numbers)}") as engine:
        engine.add_resource("hall", capacity=9)
        single = await engine.reserve("hall", START, HALF_HOUR)
        batch = await engine.reserve(AllOf([asks("hall"), asks("hall")]))
        assert [one.uid for one in (single, *batch)] == ["uid-0", "uid-1", "uid-2"]


async def test_a_source_that_repeats_a_uid_makes_no_reservation(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, new_uid=lambda _: "same") as engine:
        engine.add_resource("hall", capacity=9)
        await engine.reserve("hall", START, HALF_HOUR)
        before = books(engine)
        for attempt in (
            lambda: engine.local.reserve("hall", START, HALF_HOUR),
            lambda: engine.local.reserve(asks("hall")),
            lambda: engine.local.reserve(AllOf([asks("hall")])),
            lambda: engine.local.reserve(OneOf([asks("hall")])),
        ):
            with pytest.raises(InvalidField) as caught:
                attempt()
            assert caught.value.field == "uid"
        assert books(engine) == before


# --- Running or not ----------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS, ids=[f"{call.verb}-{i}" for i, call in enumerate(CALLS)])
async def test_an_engine_that_does_not_run_refuses(call: Call, clock: SimClock) -> None:
    engine = prepared(clock)
    for attempt in range(2):
        if attempt == 1:
            async with engine:
                prepare(engine, clock)
        before = engine.statistics()
        with pytest.raises(EngineClosed, match="not running"):
            await getattr(engine, call.verb)(*call.args, **call.options)
        with pytest.raises(EngineClosed):
            getattr(engine.local, call.verb)(*call.args, **call.options)
        with pytest.raises(EngineClosed):
            engine.subscribe()
        with pytest.raises(EngineClosed):
            engine.now()
        assert engine.statistics() == before


async def test_resources_can_be_added_at_any_time(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    engine.add_resource("before")
    async with engine:
        await engine.reserve("before", START, HALF_HOUR)
        engine.add_resource("during")
        await engine.reserve("during", START, HALF_HOUR)
    engine.add_resource("after")
    assert engine.statistics().resources == 3


async def test_the_sweeper_is_known_by_its_name(engine: SlotEngine) -> None:
    assert "slotengine sweeper" in {task.name for task in anyio.get_running_tasks()}


async def test_an_engine_is_entered_once(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    async with engine as same:
        assert same is engine
        with pytest.raises(EngineClosed):
            await engine.__aenter__()
        engine.add_resource("room")
        assert (await engine.reserve("room", START, HALF_HOUR)).uid  # it runs all the same
    with pytest.raises(EngineClosed):
        async with engine:
            raise AssertionError("unreachable")


async def test_engines_do_not_share(clock: SimClock) -> None:
    async with SlotEngine(clock=clock) as one, SlotEngine(clock=clock) as other:
        one.add_resource("room")
        other.add_resource("room")
        first, second = [await e.reserve("room", START, HALF_HOUR) for e in (one, other)]
        assert first.uid != second.uid
        assert await other.get(first.uid) is None
        await clock.advance(minutes(5))
        assert one.statistics().expired == other.statistics().expired == 1


async def test_an_engine_has_the_systems_clock_by_default() -> None:
    async with SlotEngine() as engine:
        before = datetime.now(UTC)
        assert timedelta(seconds=-5) < engine.now() - before < timedelta(seconds=5)
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR)
        assert hold.until is not None
        assert hold.until - hold.created == minutes(5)


async def test_times_go_in_and_out_exactly(engine: SlotEngine) -> None:
    odd = START + timedelta(microseconds=123_457)
    hold = await engine.reserve("room", odd, HALF_HOUR + MICROSECOND, ttl=minutes(1) + MICROSECOND)
    assert (hold.start, hold.length) == (odd, HALF_HOUR + MICROSECOND)
    assert hold.until == NOW + minutes(1) + MICROSECOND
    assert to_us(hold.end) - to_us(hold.start) == 30 * 60_000_000 + 1
    assert Verb.RESERVE.value == "reserve"


async def test_what_is_no_request_is_refused(engine: SlotEngine) -> None:
    request = asks("room")
    wrong: list[Callable[[], object]] = [
        lambda: engine.local.reserve(None),  # type: ignore[call-overload]
        lambda: engine.local.reserve(AllOf(request)),  # type: ignore[arg-type]
        lambda: engine.local.reserve(EachOf([None])),  # type: ignore[list-item]
        lambda: engine.local.move("uid", OneOf([None])),  # type: ignore[list-item]
        lambda: engine.local.reserve(OneOf([request], load_in=5)),  # type: ignore[arg-type]
        lambda: engine.local.reserve(OneOf([request], load_in=(START,))),  # type: ignore[arg-type]
        lambda: engine.subscribe(buffer=10**30),
    ]
    for call in wrong:
        with pytest.raises(InvalidField):
            call()
    assert engine.statistics().held == 0
