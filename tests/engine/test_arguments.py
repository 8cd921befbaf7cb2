"""Whatever a caller says reaches the decision, in every form of a verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain, count
from operator import attrgetter
from typing import Any, NamedTuple

import pytest

from slotengine import (
    AllOf,
    Claim,
    EachOf,
    EventType,
    FixedWindows,
    InvalidField,
    OneOf,
    Policy,
    Quota,
    Request,
    SlotEngine,
    SlotError,
    SlotQuery,
    minutes,
)
from slotengine.core.time.instant import to_us
from slotengine.testing import SimClock
from tests.engine.conftest import HOUR, NOW
from tests.standing import standing

START = NOW + HOUR
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)
TODAY = (START, START + HOUR)
MORNING = (NOW, NOW + 4 * HOUR)

pytestmark = pytest.mark.anyio


def asks(resource: str, start: datetime = START, **more: Any) -> Request:
    return Request(start, HALF_HOUR, (Claim(resource),), **more)


class Said(NamedTuple):
    """A call, and one thing more that can be said in it."""

    verb: str
    args: tuple[object, ...]
    option: str
    value: object
    others: dict[str, object] = {}  # noqa: RUF012 - nobody writes to it
    inside: Callable[..., object] | None = None
    """The value in which it is said, if it is no argument of the verb."""

    def spoken(self, **more: object) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments of the call, with something more said."""
        said = {**self.others, **more}
        if self.inside is None:
            return self.args, said
        first = self.args[:1] if self.verb == "move" else ()
        return (*first, self.inside(*self.args[len(first) :], **said)), {}


def one_of(verb: str, *said: Any) -> Said:
    return Said(verb, *said)._replace(inside=OneOf)


def query(verb: str, *said: Any) -> Said:
    return Said(verb, *said)._replace(inside=SlotQuery)


HALL = ("hall", START, HALF_HOUR)
ONE = Quota(holds=1)
BOTH = [asks("busier"), asks("quieter")]
LATER = [asks("busier", START + HOUR), asks("quieter", START + HOUR)]
SHARES: dict[str, object] = {"policy": Policy.WEIGHTED}
LOADS: dict[str, object] = {"policy": Policy.LEAST_LOADED}

SAID = [
    Said("reserve", HALL, "units", 2),
    Said("reserve", HALL, "holder", "me"),
    Said("reserve", HALL, "ttl", minutes(1)),
    Said("reserve", HALL, "key", "mine"),
    Said("reserve", HALL, "event_type", "visit"),
    Said("reserve", HALL, "quota", ONE, {"holder": "me"}),
    Said("reserve", HALL, "quota", Quota(life=minutes(1))),
    Said("reserve", HALL, "metadata", {"guests": "3"}),
    Said("reserve", HALL, "details", "{}"),
    Said("reserve", HALL, "tags", ["vip"]),
    Said("reserve", HALL, "tags", ("vip",), {"units": 2, "key": "mine"}),
    # With more than one unit, or a key, it goes another way.
    Said("reserve", ("busier", START, HALF_HOUR), "quota", ONE, {"holder": "me", "units": 2}),
    Said("reserve", HALL, "holder", "me", {"units": 2}),
    Said("reserve", HALL, "ttl", minutes(1), {"units": 2}),
    Said("reserve", HALL, "event_type", "visit", {"units": 2}),
    Said("reserve", HALL, "units", 3, {"key": "mine"}),
    one_of("reserve", (BOTH,), "policy", Policy.LEAST_LOADED),
    one_of("reserve", (BOTH,), "weights", [9, 1], SHARES),
    one_of("reserve", (BOTH,), "load_in", TODAY, LOADS),
    one_of("reserve", (BOTH,), "key", "mine"),
    Said("reserve_slot", ("talk", START), "length", HOUR),
    Said("reserve_slot", ("class", START), "seats", 2),
    Said("reserve_slot", ("talk", START), "holder", "me"),
    Said("reserve_slot", ("talk", START), "ttl", minutes(1)),
    Said("reserve_slot", ("talk", START), "key", "mine"),
    Said("reserve_slot", ("talk", START), "only", ["quieter"]),
    Said("reserve_slot", ("talk", NOW), "enforce", False),
    Said("reserve_slot", ("talk", START), "quota", ONE, {"holder": "me"}),
    Said("reserve_slot", ("class", START), "quota", ONE, {"holder": "me"}),
    Said("reserve_slot", ("talk", START), "requested", True),
    Said("reserve_slot", ("meeting", START + HOUR), "requested", True),
    Said("reserve_slot", ("talk", START), "metadata", {"guests": "3"}),
    Said("reserve_slot", ("talk", START), "details", "{}"),
    Said("reserve_slot", ("talk", START), "tags", ["vip"]),
    Said("reserve_slot", ("meeting", START + HOUR), "tags", ["vip"]),
    Said("reserve_slot", ("class", START), "tags", ["vip"], {"key": "mine"}),
    Said("move_slot", ("hold", START + HOUR), "event_type", "class"),
    Said("move_slot", ("hold", START + HOUR), "length", HOUR),
    Said("move_slot", ("hold", START + HOUR), "length", HOUR, {"event_type": "talk"}),
    Said("move_slot", ("hold", START + HOUR), "ttl", minutes(9)),
    Said("move_slot", ("hold", START + HOUR), "only", ["quieter"]),
    Said("move_slot", ("hold", NOW), "enforce", False),
    Said("move_slot", ("hold", START + HOUR), "version", 9),
    query("slots", ("talk", *MORNING), "length", HOUR),
    query("slots", ("class", *MORNING), "seats", 3),
    query("slots", ("talk", *MORNING), "zone", "Asia/Kathmandu", {"length": HOUR}),
    query("slots", ("meeting", *MORNING), "ignoring", ["meeting"]),
    query("slots", ("talk", *MORNING), "only", ["shop"]),
    query("openings", ("talk", *MORNING), "length", HOUR),
    query("openings", ("class", *MORNING), "seats", 3),
    query("openings", ("talk", *MORNING), "zone", "Asia/Kathmandu", {"length": HOUR}),
    query("openings", ("meeting", *MORNING), "ignoring", ["meeting"]),
    query("openings", ("talk", *MORNING), "only", ["shop"]),
    query("next_free", ("talk",), "start", START),
    Said("next_free", (SlotQuery("talk"),), "count", 2),
    query("next_free", ("talk",), "end", START - minutes(15)),
    query("next_free", ("talk", START), "length", HOUR),
    query("next_free", ("class", START), "seats", 3),
    query("next_free", ("talk", START), "zone", "Asia/Kathmandu", {"length": HOUR}),
    query("next_free", ("meeting", START), "ignoring", ["meeting"]),
    query("next_free", ("talk",), "only", ["shop"]),
    Said("extend", ("hold",), "ttl", minutes(1)),
    Said("extend", ("hold",), "version", 9),
    Said("move", ("plain", START), "length", HOUR),
    Said("move", ("plain", START), "resource", "quieter"),
    Said("move", ("plain", START), "ttl", minutes(9)),
    Said("move", ("plain", START), "version", 9),
    Said("move", ("hold", START + HOUR), "length", HOUR),
    Said("move", ("hold", START + HOUR), "resource", "quieter"),
    Said("move", ("hold", START + HOUR), "ttl", minutes(9)),
    Said("move", ("hold", START + HOUR), "version", 9),
    Said("move", ("plain", asks("quieter")), "version", 9),
    one_of("move", ("plain", LATER), "policy", Policy.LEAST_LOADED),
    one_of("move", ("plain", LATER), "weights", [9, 1], SHARES),
    one_of("move", ("plain", LATER), "load_in", TODAY, LOADS),
    Said("move", ("plain", OneOf(LATER)), "version", 9),
    Said("confirm", ("lapsed",), "if_still_free", True),
    Said("confirm", ("plain",), "version", 9),
    Said("release", ("plain",), "version", 9),
    Said("cancel", ("booking",), "version", 9),
]


def prepare(engine: SlotEngine, clock: SimClock) -> None:
    """Let "busier" be so on other days, and "quieter" in the hour from `START`."""
    for resource, capacity in (
        ("busier", 9),
        ("quieter", 9),
        ("hall", 3),
        ("room", 1),
        ("annex", 1),
    ):
        engine.add_resource(resource, capacity=capacity)
    engine.add_resource("shop", schedule=FixedWindows([(to_us(START), to_us(START + 3 * HOUR))]))
    engine.add_event_type(
        EventType(
            id="talk",
            length=HALF_HOUR,
            lengths=[HALF_HOUR, HOUR],
            any_of=[["busier", "quieter", "shop"]],
            notice=minutes(10),
        )
    )
    engine.add_event_type(EventType(id="class", length=HALF_HOUR, all_of=["hall"], seats=3))
    engine.add_event_type(EventType(id="meeting", length=HALF_HOUR, all_of=["room"]))
    engine.local.reserve("annex", START, HALF_HOUR, ttl=minutes(1))  # lapsed
    engine.local.reserve_slot("meeting", START)  # meeting
    engine.local.reserve_slot("talk", START)  # hold
    engine.local.reserve_slot("class", START)  # booking
    engine.local.confirm("booking")
    engine.local.reserve_slot("class", START)
    engine.local.reserve("busier", START + DAY, HALF_HOUR)  # plain
    for day in range(2, 5):
        engine.local.reserve("busier", START + day * DAY, HALF_HOUR)
    for _ in range(2):
        engine.local.reserve("quieter", START, HALF_HOUR)
    both = (Claim("annex"), Claim("room"))
    engine.local.reserve(Request(START + DAY, HALF_HOUR, both))  # pair
    clock.set(NOW + minutes(1))


def world(clock: SimClock) -> SlotEngine:
    uids = chain(
        ["lapsed", "meeting", "hold", "booking", "seat", "plain", *"12345", "pair"],
        map(str, count(10)),
    )
    return SlotEngine(clock=clock, new_uid=lambda _: next(uids))


async def answer_of(form: Callable[..., Any], *args: object, **options: object) -> object:
    answer = form(*args, **options)
    return await answer if inspect.isawaitable(answer) else answer


async def twice(form: Callable[..., Any], said: Said, **more: object) -> list[object]:
    """Return what two calls after another answer, the second being a retry of the first."""
    answers: list[object] = []
    for _ in range(2):
        args, options = said.spoken(**more)
        try:
            answers.append(await answer_of(form, *args, **options))
        except SlotError as error:
            answers.append(repr(error))
    return answers


@pytest.mark.parametrize("said", SAID, ids=[f"{one.verb}-{one.option}" for one in SAID])
async def test_what_is_said_makes_a_difference_in_every_form(said: Said) -> None:
    """Goal: no form of a verb loses an argument on the way to the rules.

    Method: in worlds that are alike, the same call with the argument and without it; and
    then the other forms, which are to answer as the first does.
    """
    forms: list[tuple[str, dict[str, object]]] = [(f"local.{said.verb}", {}), (said.verb, {})]
    if said.verb in ("reserve", "reserve_slot") and said.inside is None:
        forms.append((said.verb, {"wait": timedelta()}))
    found = []
    for name, more in forms:
        for argument in ({said.option: said.value}, {}):
            clock = SimClock(NOW)
            async with world(clock) as engine:
                prepare(engine, clock)
                found.append(await twice(attrgetter(name)(engine), said, **more, **argument))
                engine.check_invariants()
    with_it, without_it = found[:2]
    assert with_it != without_it
    assert found == [with_it, without_it] * len(forms)


async def test_only_one_thing_is_waited_for(clock: SimClock) -> None:
    async with world(clock) as engine:
        prepare(engine, clock)
        for what in (AllOf(BOTH), EachOf(BOTH), OneOf(BOTH)):
            with pytest.raises(
                InvalidField, match=f"one request, not for what {type(what).__name__}"
            ):
                await engine.reserve(what, wait=HOUR)


# --- What is wrong is told by its name -------------------------------------------------------

NAIVE = START.replace(tzinfo=None)

WRONG = [
    Said("reserve", ("hall", NAIVE, HALF_HOUR), "start", None),
    Said("reserve", ("hall", START, 30), "length", None),
    Said("reserve", HALL, "ttl", 300),
    Said("reserve", (asks("hall", ttl=300),), "ttl", None),
    Said("reserve", (Request(START, HALF_HOUR, (Claim("hall", 1, 5),)),), "before", None),  # type: ignore[arg-type]
    Said("reserve", (Request(START, HALF_HOUR, (Claim("hall", after=5),)),), "after", None),  # type: ignore[arg-type]
    Said("reserve", (Request(START, HALF_HOUR, 5),), "claims", None),  # type: ignore[arg-type]
    Said("reserve", (asks("hall", holder="me", quota=20),), "quota", None),
    Said("reserve", (asks("hall", quota=Quota(holds=20)),), "holder", None),
    Said("reserve", HALL, "quota", {"holds": 20}),
    Said("reserve_slot", ("talk", START), "quota", 20),
    Said("reserve", HALL, "metadata", ["guests"]),
    Said("reserve", HALL, "tags", "vip"),
    Said("reserve", HALL, "details", 5),
    Said("reserve_slot", ("talk", START), "metadata", ["guests"]),
    Said("reserve_slot", ("talk", START), "tags", "vip"),
    Said("reserve_slot", ("talk", START), "requested", 1),
    Said("reserve", (asks("hall", requested=1),), "requested", None),
    Said("reserve", (OneOf([asks("hall", requested=True)]),), "requested", None),
    Said("reserve_slot", ("talk", START), "details", 5),
    Said("reserve", (asks("hall"),), "what", None, {"tags": ["vip"]}),
    Said("reserve", (AllOf(asks("hall")),), "requests", None),  # type: ignore[arg-type]
    Said("reserve", (AllOf("hall"),), "requests", None),  # type: ignore[arg-type]
    Said("reserve", (EachOf(asks("hall")),), "requests", None),  # type: ignore[arg-type]
    Said("reserve", (OneOf(5),), "candidates", None),  # type: ignore[arg-type]
    Said("slots", ("talk",), "query", None),
    Said("slots", (SlotQuery("talk", START),), "end", None),
    Said("reserve", ("hall",), "start", None),
    Said("reserve", (BOTH,), "what", None),
    Said("reserve", ("hall", START), "length", None),
    Said("reserve", (asks("hall"), START, HALF_HOUR), "what", None),
    Said("reserve", (asks("hall"),), "what", None, {"holder": "me"}),
    Said("move", ("plain", asks("hall")), "to", None, {"past": True}),
    Said("move", ("plain", OneOf(BOTH, key="mine")), "key", None),
    Said("move", ("plain", OneOf(5)), "candidates", None),  # type: ignore[arg-type]
    one_of("reserve", (BOTH,), "load_in", 5),
    one_of("reserve", (BOTH,), "load_in", (NAIVE, START)),
    one_of("reserve", (BOTH,), "load_in", (START, NAIVE)),
    Said("reserve_slot", ("talk", NAIVE), "start", None),
    Said("reserve_slot", ("talk", START), "length", 30),
    Said("reserve_slot", ("talk", START), "ttl", 300),
    Said("reserve_slot", ("talk", START), "only", "quieter"),
    Said("reserve_slot", ("talk", START), "only", [1]),
    Said("move_slot", ("plain", START), "event_type", None),
    Said("move_slot", ("hold", START), "ttl", 300),
    query("slots", ("talk", NAIVE, START), "start", None),
    query("slots", ("talk", START, NAIVE), "end", None),
    query("slots", ("talk", *TODAY), "length", 30),
    query("slots", ("talk", *TODAY), "zone", "Mars/Phobos"),
    query("slots", ("talk", *TODAY), "ignoring", "hold"),
    query("slots", ("talk", *TODAY), "ignoring", [1]),
    query("slots", ("talk", *TODAY), "only", "quieter"),
    query("next_free", ("talk",), "end", 5),
    query("next_free", ("talk",), "end", NOW + 3661 * DAY),
    query("next_free", ("talk",), "start", NAIVE),
    Said("replace_busy", ("calendar", 5), "spans", None),
    Said("replace_busy", ("calendar", {"hall": 5}), "spans", None),
    Said("replace_busy", ("calendar", {"hall": [5]}), "spans", None),
    Said("replace_busy", ("calendar", {"hall": [(NAIVE, START)]}), "spans", None),
    Said("replace_busy", ("calendar", {"hall": [(START, NAIVE)]}), "spans", None),
    Said("imported", ("hall", NAIVE, START), "start", None),
    Said("imported", ("hall", START, NAIVE), "end", None),
    Said("extend", ("hold",), "ttl", 300),
    Said("move", ("pair", START), "resource", "room"),
    Said("move", ("plain", NAIVE), "start", None),
    Said("move", ("plain", START), "ttl", 300),
    Said("move", ("plain", "hall"), "to", None),
    one_of("move", ("plain", [asks("hall"), asks("room", ttl=HOUR)]), "ttl", None),
    one_of("move", ("plain", BOTH), "load_in", 5),
    Said("forget_bookings", (NAIVE,), "before", None),
    Said("forget_bookings", (START,), "before", None),
    Said("busy", ("hall", NAIVE, START), "start", None),
    Said("busy", ("hall", START, NAIVE), "end", None),
    Said("is_free", ("hall",), "request", None),
    Said("find", (standing("hall", NAIVE, START),), "start", None),
    Said("find", (standing("hall", START, NAIVE),), "end", None),
]


@pytest.mark.parametrize("said", WRONG, ids=[f"{one.verb}-{one.option}" for one in WRONG])
async def test_what_is_wrong_is_told_by_its_name(said: Said, clock: SimClock) -> None:
    forms: list[tuple[str, dict[str, object]]] = [(f"local.{said.verb}", {}), (said.verb, {})]
    several = said.inside or isinstance(said.args[0], AllOf | EachOf | OneOf)
    if "wait" in inspect.signature(getattr(SlotEngine, said.verb)).parameters and not several:
        forms.append((said.verb, {"wait": timedelta()}))
    wrong = {} if said.value is None else {said.option: said.value}
    async with world(clock) as engine:
        prepare(engine, clock)
        for name, more in forms:
            args, options = said.spoken(**wrong)
            with pytest.raises(InvalidField) as caught:
                await answer_of(attrgetter(name)(engine), *args, **options, **more)
            assert caught.value.field == said.option
