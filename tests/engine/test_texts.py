"""Callers' texts: which are refused, and that none of them is kept for ever."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import anyio
import pytest

from slotengine import (
    AllOf,
    Claim,
    EachOf,
    EventType,
    Host,
    InvalidField,
    OneOf,
    Refused,
    Request,
    Seats,
    SlotEngine,
    minutes,
)
from slotengine.core.ledger.checks import LONGEST_TEXT
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)

pytestmark = pytest.mark.anyio

BAD = {
    "empty": "",
    "too long": "x" * (LONGEST_TEXT + 1),
    "too long, not ASCII": "é" * (LONGEST_TEXT + 1),
    "a lone surrogate": "room\ud800",
    "surrogates of a pair, each alone": "\ude00\ud83d",
    "NUL": "a\0b",
    "bytes": b"room",
    "a number": 5,
    "a list": ["room"],
}
GOOD = {
    "the longest": "x" * LONGEST_TEXT,
    "the longest, not ASCII": "é" * LONGEST_TEXT,
    "beyond the BMP": "\U0001f600",
    "whitespace and controls": " \n\x01",
    "an enumeration": StrEnum("Names", ["room"]).room,  # type: ignore[attr-defined]
}

EDGES: dict[str, Callable[[SlotEngine, str], object]] = {
    "holder": lambda e, text: e.local.reserve("room", START, HALF_HOUR, holder=text),
    "holder, with a key": lambda e, text: e.local.reserve(
        "room", START, HALF_HOUR, holder=text, key="k"
    ),
    "key": lambda e, text: e.local.reserve("room", START, HALF_HOUR, key=text),
    "event_type": lambda e, text: e.local.reserve("room", START, HALF_HOUR, event_type=text),
    "holder of a request": lambda e, text: e.local.reserve(request(holder=text)),
    "key of a request": lambda e, text: e.local.reserve(request(key=text)),
    "event_type of a request": lambda e, text: e.local.reserve(request(event_type=text)),
    "event_type of a session": lambda e, text: e.local.reserve(
        request(event_type=text, seats=Seats(3))
    ),
    "event_type of what moves": lambda e, text: e.local.move(
        e.local.reserve("annex", START, HALF_HOUR).uid, request(event_type=text)
    ),
    "one of several": lambda e, text: e.local.reserve(AllOf([request(holder=text)])),
    "each of several": lambda e, text: e.local.reserve(EachOf([request(holder=text)])),
    "key of candidates": lambda e, text: e.local.reserve(OneOf([request()], key=text)),
    "holder of a slot": lambda e, text: e.local.reserve_slot("talk", START, holder=text),
    "key of a slot": lambda e, text: e.local.reserve_slot("talk", START, key=text),
    "of a booking adopted": lambda e, text: e.local.adopt(request(holder=text)),
    "resource": lambda e, text: e.add_resource(text),
    "event type": lambda e, text: e.add_event_type(
        EventType(id=text, length=HALF_HOUR, all_of=["room"])
    ),
    "host": lambda e, text: Host(text),
    "host of an event type": lambda e, text: EventType(id="x", length=HALF_HOUR, all_of=[text]),
    "source": lambda e, text: e.local.replace_busy(text, {"room": [(START, START + DAY)]}),
}


def request(**more: object) -> Request:
    return Request(START, HALF_HOUR, (Claim("room"),), **more)  # type: ignore[arg-type]


@pytest.fixture
def events(engine: SlotEngine) -> SlotEngine:
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["hall"]))
    return engine


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("edge", EDGES)
async def test_a_text_that_cannot_be_kept_is_refused(
    events: SlotEngine, edge: str, bad: str
) -> None:
    before = events.statistics()
    with pytest.raises(InvalidField) as caught:
        EDGES[edge](events, BAD[bad])  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400
    str(caught.value).encode()  # can be written
    after = events.statistics()
    if edge != "event_type of what moves":
        assert after == before
    events.check_invariants()


@pytest.mark.parametrize("good", GOOD)
@pytest.mark.parametrize("edge", EDGES)
async def test_any_other_text_is_taken(events: SlotEngine, edge: str, good: str) -> None:
    text = GOOD[good]
    if edge == "resource" and text == "room":
        return
    EDGES[edge](events, text)
    events.check_invariants()


async def test_what_only_asks_for_a_name_finds_none(events: SlotEngine) -> None:
    for text in ("room\ud800", "x" * 10_000, "a\0b"):
        assert await events.get(text) is None
        for call in (
            lambda: events.local.confirm(text),  # noqa: B023
            lambda: events.local.reserve(text, START, HALF_HOUR),  # noqa: B023
            lambda: events.local.reserve_slot(text, START),  # noqa: B023
            lambda: events.local.busy(text, START, START + DAY),  # noqa: B023
        ):
            with pytest.raises((Refused, ValueError)) as caught:
                call()
            str(caught.value).encode()


@pytest.mark.parametrize("bad", BAD)
async def test_a_uid_that_cannot_be_kept_is_refused(clock: SimClock, bad: str) -> None:
    """Whoever brings a source of uids is told, by every verb that draws one."""
    uid: object = "right"
    async with SlotEngine(clock=clock, new_uid=lambda _: uid) as engine:  # type: ignore[arg-type, return-value]
        engine.add_resource("room")
        engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
        engine.local.reserve("room", START - HALF_HOUR, HALF_HOUR)
        before, uid = engine.statistics(), BAD[bad]
        for verb in (
            lambda: engine.local.reserve("room", START, HALF_HOUR),
            lambda: engine.local.reserve(request()),
            lambda: engine.local.reserve_slot("talk", START),
            lambda: engine.local.reserve(AllOf([request()])),
            lambda: engine.local.reserve(EachOf([request()])),
            lambda: engine.local.reserve(OneOf([request()])),
            lambda: engine.local.adopt(request()),
        ):
            with pytest.raises(InvalidField, match="uid must be a non-empty string"):
                verb()
        with pytest.raises(InvalidField, match="uid must be a non-empty string"):
            await engine.reserve("room", START, HALF_HOUR, wait=minutes(1))
        assert engine.statistics() == before
        engine.check_invariants()


# --- Nothing is kept ---------------------------------------------------------------------------


def sizes(engine: SlotEngine) -> dict[str, int]:
    """Return how much there is in all containers that the engine reaches, by their kind."""
    gc.collect()
    skipped = (type, type(sizes), type(gc))
    seen: set[int] = set()
    found: dict[str, int] = {}
    kept = engine.local.service, engine.local.publisher.feeds  # all that the engine keeps
    todo: list[object] = [engine.ledger, engine.waitlist, *kept]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, skipped):
            continue
        seen.add(id(one))
        if isinstance(one, dict | list | set | frozenset):
            kind = type(one).__name__
            found[kind] = found.get(kind, 0) + len(one)
        if type(one).__module__.startswith(("slotengine", "sortedcontainers", "builtins", "coll")):
            todo += gc.get_referents(one)
    return found


async def use(engine: SlotEngine, clock: SimClock, turn: int) -> None:
    """Use hundreds of texts, each once, in every way that there is."""
    first = clock.moment + minutes(61)
    for number in range(100):
        text = f"{turn}-{number}"
        start = first + number * DAY
        engine.local.replace_busy(text, {"room": [(start + HALF_HOUR, start + minutes(60))]})
        held = [
            engine.local.reserve("one", start, HALF_HOUR, holder=text, event_type=text),
            engine.local.reserve("two", start, HALF_HOUR, key=text),
            engine.local.reserve_slot("talk", start + minutes(60), holder=text, key=f"slot {text}"),
            engine.local.reserve(
                Request(start, HALF_HOUR, (Claim("hall"),), event_type=text, seats=Seats(2))
            ),
            engine.local.reserve(
                OneOf(
                    [Request(start, HALF_HOUR, (Claim("annex"),), holder=text)], key=f"any {text}"
                )
            ),
        ]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await engine.reserve("one", start, HALF_HOUR, holder=text, wait=minutes(1))
        engine.subscribe()
        if number % 3 == 0:
            engine.local.confirm(held[0].uid)
            engine.local.cancel(held[0].uid)
            engine.local.confirm(held[1].uid)
        elif number % 3 == 1:
            for one in held:
                engine.local.release(one.uid)
        else:
            engine.local.move(
                held[0].uid, Request(start, HALF_HOUR, (Claim("one"),), event_type=f"moved {text}")
            )
        engine.local.replace_busy(text, {})
    await clock.advance(minutes(5))
    await clock.advance(timedelta(hours=1))
    clock.set(clock.moment + 200 * DAY)
    engine.local.forget_bookings(clock.moment)
    await clock.advance(timedelta(hours=2))


async def test_nothing_is_kept_of_texts_that_are_over(clock: SimClock) -> None:
    """Goal: labels, keys, holders, sources and uids are gone when what they were for is.

    Method: all containers that the engine reaches are measured after each of some rounds.
    """
    async with SlotEngine(clock=clock, max_holds=5, max_lapses=3, max_waits=2) as engine:
        for resource in ("room", "annex", "one", "two"):
            engine.add_resource(resource)
        engine.add_resource("hall", capacity=3)
        engine.add_event_type(EventType(id="talk", length=HALF_HOUR, any_of=[["one", "two"]]))
        engine.local.reserve_slot("talk", START + 2 * HALF_HOUR)  # from now on turns are counted
        found = []
        for turn in range(4):
            await use(engine, clock, turn)
            assert engine.statistics().held == engine.statistics().ended == 0
            engine.check_invariants()
            found.append(sizes(engine))
        grown = {kind: found[-1][kind] - size for kind, size in found[1].items()}
        lists = grown.pop("list")  # of which some are emptied when the next hold lapses
        assert all(size <= 0 for size in grown.values()), grown
        assert lists < 100, "less than one for every second text"
