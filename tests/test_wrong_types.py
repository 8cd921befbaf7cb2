"""What is of a wrong type ends in an error of ours, says which, and changes nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from slotengine import (
    AllOf,
    Away,
    BlockingEngine,
    Claim,
    DateRange,
    EachOf,
    EventType,
    FixedWindows,
    Host,
    Hours,
    InvalidField,
    Kind,
    Limit,
    LocalEngine,
    OneOf,
    Period,
    Policy,
    Put,
    Request,
    Reservation,
    ResourceConfig,
    RollingDays,
    Schedule,
    Seats,
    SlotEngine,
    SlotError,
    SlotQuery,
    State,
    Travel,
    hours,
    minutes,
)
from slotengine.calcom import CalComClient, CalComSync, SyncedEventType
from slotengine.calcom.catalog.load import catalog_from
from slotengine.ical import busy_spans
from slotengine.testing import SimClock, Watch, attach

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
END = START + 2 * HALF_HOUR
FREE = START + timedelta(days=3)


def wrong() -> Iterator[Any]:
    """Yield values of every type that somebody might hand over by mistake, fresh ones each time."""
    yield from (None, 5, -1, 0, 1.5, float("nan"), float("inf"), True, 2**70, 10**400, 1 + 2j)
    yield from ("", "x", "room", "é" * 600, "\ud800", "a\0b", b"x", bytearray(b"x"))
    yield from ([], [1], (), (1, 2), {}, {"a": 1}, {1}, frozenset({"room"}), [[[]]], [None])
    yield from (["room"], ("room",), [["room"]], range(3), slice(1), iter([]), iter([1]))
    yield from (object(), object, len, Ellipsis, Exception(), Policy.FIRST, State.HELD)
    yield from (datetime(2030, 1, 7, 9), date(2030, 1, 7), time(9))  # noqa: DTZ001
    yield from (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    yield from (timedelta.min, timedelta.max, timedelta(), timedelta(microseconds=1))
    yield from (Claim("room"), {"room": 5}, {5: []}, {"room": [(START,)]}, {"room": [START]})
    yield from ([(START, END)], (START, END), [START, END], (END, START), (None, None))


GOOD: dict[str, Any] = {
    "resource": "room", "start": START, "length": HALF_HOUR, "end": END, "id": "new",
    "request": Request(FREE, HALF_HOUR, (Claim("room"),)),
    "kind": Kind.RESOURCE, "entries": [Put(Kind.RESOURCE, "attic", ResourceConfig())],
    "what": "room", "to": FREE, "query": SlotQuery("talk", START, END),
    "event_type": "talk", "source": "calendar", "spans": {"room": [(START, END)]}, "before": NOW,
}  # fmt: skip
VERBS = [
    name
    for name, _ in inspect.getmembers(SlotEngine, inspect.isfunction)
    if not name.startswith("_") and name not in {"start", "aclose", "now", "statistics"}
    and name != "run"  # what it is given is called
]  # fmt: skip
CASES = [
    (verb, name)
    for verb in VERBS
    for name in inspect.signature(getattr(SlotEngine, verb)).parameters
    if name != "self"
]


async def prepared() -> tuple[SlotEngine, str, str]:
    engine = SlotEngine(clock=SimClock(NOW))
    await engine.start()
    for resource in ("room", "annex", "hall"):
        engine.add_resource(resource)
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["hall"]))
    hold = engine.local.reserve("annex", START, HALF_HOUR)
    booking = engine.local.confirm(engine.local.reserve("annex", FREE, HALF_HOUR).uid)
    return engine, hold.uid, booking.uid


def state(engine: SlotEngine, *uids: str) -> tuple[object, ...]:
    """Return all that callers can see of an engine."""
    names = engine.ledger.occupancy.resources
    return (
        replace(engine.statistics(), refused=0),
        [engine.local.get(uid) for uid in uids],
        [engine.local.busy(one, NOW, FREE + HALF_HOUR) for one in names],
        [engine.local.imported(one, NOW, FREE) for one in names],
        engine.settings(), sorted(engine.ledger.state.keys.used()),
    )  # fmt: skip


@pytest.mark.parametrize(("verb", "parameter"), CASES)
def test_a_verb_refuses_what_is_no_such_thing(verb: str, parameter: str) -> None:
    """Goal: nothing comes out but our errors, and what is refused has changed nothing.

    Method: each parameter of each verb is given each value, the others being right.
    """

    async def main() -> None:
        names = list(inspect.signature(getattr(SlotEngine, verb)).parameters)[1:]
        for value in wrong():
            engine, hold, booking = await prepared()
            given = {name: GOOD[name] for name in names if name in GOOD}
            if "uid" in names:
                given["uid"] = hold
            if verb == "reserve":
                del given["event_type"]
            given[parameter] = value
            before = state(engine, hold, booking)
            try:
                result = getattr(engine, verb)(**given)
                if inspect.isawaitable(result):
                    await result
            except SlotError as error:
                str(error).encode()
                assert state(engine, hold, booking) == before, repr(value)
            engine.check_invariants()
            await engine.aclose()

    asyncio.run(main())


TALK = EventType(id="talk", length=HALF_HOUR, all_of=["hall"])
VALUES: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "Claim": (Claim, {"resource": "room"}),
    "Request": (Request, {"start": START, "length": HALF_HOUR, "claims": (Claim("room"),)}),
    "AllOf": (AllOf, {"requests": [Request(FREE, HALF_HOUR, (Claim("room"),))]}),
    "EachOf": (EachOf, {"requests": [Request(FREE, HALF_HOUR, (Claim("room"),))]}),
    "OneOf": (OneOf, {"candidates": [Request(FREE, HALF_HOUR, (Claim("room"),))]}),
    "SlotQuery": (SlotQuery, {"event_type": "talk", "start": START, "end": END}),
    "EventType": (EventType, {"id": "e", "length": HALF_HOUR, "all_of": ["room"]}),
    "Host": (Host, {"resource": "room"}),
    "Limit": (Limit, {"per": Period.DAY, "count": 3}),
    "RollingDays": (RollingDays, {"days": 3}),
    "DateRange": (DateRange, {"first": date(2030, 1, 1), "last": date(2030, 1, 2)}),
    "Seats": (Seats, {"total": 3}),
    "Hours": (Hours, {"start_min": 0, "end_min": 60}),
    "hours": (hours, {}),
    "minutes": (minutes, {}),
    "FixedWindows": (FixedWindows, {}),
    "Away": (Away, {"first": date(2030, 1, 1), "last": date(2030, 1, 2)}),
    "Travel": (Travel, {"first": date(2030, 1, 1), "last": date(2030, 1, 2), "zone": "UTC"}),
    "Schedule": (Schedule, {"zone": "UTC"}),
    "weekly_hours": (lambda zone, rule: Schedule.weekly_hours(zone, rule), {
        "zone": "UTC", "rule": "mon 09:00-10:00"
    }),
    "overrides": (lambda overrides, travel, away: Schedule.weekly_hours(
        "UTC", overrides=overrides, travel=travel, away=away
    ), {"overrides": {}, "travel": (), "away": ()}),
    "SlotEngine": (SlotEngine, {}),
    "LocalEngine": (LocalEngine, {}),
    "BlockingEngine": (BlockingEngine, {}),
    "SimClock": (SimClock, {"start": NOW}),
    "CalComClient": (CalComClient, {"base_url": "http://127.0.0.1:1"}),
    "CalComSync": (CalComSync, {
        "engine": SlotEngine(), "client": CalComClient("http://127.0.0.1:1"),
        "event_types": {17: SyncedEventType(TALK)},
    }),
    "SyncedEventType": (SyncedEventType, {"event_type": TALK}),
    "permits": (lambda count: CalComClient("http://127.0.0.1:1").permits(count), {"count": 2}),
    "Watch": (lambda engine, known: Watch(engine, known).close(), {
        "engine": SlotEngine(), "known": (),
    }),
    "attach": (lambda engine: attach(engine).__enter__(), {"engine": SlotEngine()}),
    "observe": (lambda listen: SlotEngine().observe(listen), {"listen": print}),
    "SimClock.set": (lambda moment: SimClock(NOW).set(moment), {"moment": NOW}),
    "SimClock.advance": (
        lambda by: anyio.run(SimClock(NOW).advance, by), {"by": HALF_HOUR}
    ),
    "SimClock.advance_to": (
        lambda moment: anyio.run(SimClock(NOW).advance_to, moment), {"moment": NOW}
    ),
    "catalog_from": (catalog_from, {"raw": {}}),
    "busy_spans": (busy_spans, {
        "text": "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nEND:VCALENDAR\n",
        "start": START, "end": END,
    }),
}  # fmt: skip
INJECTED = {"clock", "new_uid", "sleep", "random", "session", "refresh", "token"} | {
    "folder",
    "keep_calendars",
}
"""What is called, or handed on, such as paths: its mistakes show when it is."""


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_checked_when_it_is_made_or_used(name: str) -> None:
    make, good = VALUES[name]
    for parameter in inspect.signature(make).parameters:
        for value in () if parameter in INJECTED else wrong():
            try:
                made = make(**good | {parameter: value})
            except SlotError as error:
                str(error).encode()
                continue
            if isinstance(made, Request | Claim):
                asyncio.run(used(made))
            if isinstance(made, AllOf | EachOf | OneOf | SlotQuery):
                asyncio.run(asked(made))


async def used(one: Request | Claim) -> None:
    """Use a request in every way that there is."""
    engine, hold, _ = await prepared()
    asked = one if isinstance(one, Request) else Request(FREE, HALF_HOUR, (one,))
    for use in (
        engine.local.is_free,
        lambda request: engine.local.move(hold, request),
        lambda request: engine.local.reserve(AllOf([request])),
        lambda request: engine.local.reserve(EachOf([request])),
        lambda request: engine.local.reserve(OneOf([request])),
        engine.local.reserve,
        engine.local.adopt,
    ):
        try:
            use(asked)
        except SlotError as error:
            str(error).encode()
    engine.check_invariants()
    await engine.aclose()


async def asked(one: AllOf | EachOf | OneOf | SlotQuery) -> None:
    """Use a value that asks for something."""
    engine, hold, _ = await prepared()
    uses: list[Callable[[Any], object]] = [engine.local.reserve, partial(engine.local.move, hold)]
    if isinstance(one, SlotQuery):
        uses = [engine.local.slots, engine.local.next_free]
    for use in uses:
        try:
            use(one)
        except SlotError as error:
            str(error).encode()
    engine.check_invariants()
    await engine.aclose()


# --- Lists, tuples and what can be read once ------------------------------------------------------


def test_any_iterable_will_do_and_is_read_once() -> None:
    async def main() -> None:
        engine, hold, _ = await prepared()
        requests = [Request(FREE + n * HALF_HOUR, HALF_HOUR, (Claim("room"),)) for n in range(4)]
        held = await engine.reserve(AllOf(one for one in requests[:2]))  # type: ignore[arg-type]
        assert len(held) == 2
        each = await engine.reserve(EachOf(iter(requests[:3])))  # type: ignore[arg-type]
        assert [isinstance(one, Reservation) for one in each] == [False, False, True]
        any_of_them = await engine.reserve(OneOf(iter(requests)))  # type: ignore[arg-type]
        assert any_of_them.start == requests[3].start
        renewed = [replace(requests[3], start=FREE + timedelta(days=1), ttl=minutes(9))]
        moved = await engine.move(hold, OneOf(iter(renewed)))  # type: ignore[arg-type]
        assert moved.until == NOW + minutes(9)  # the candidates' TTL was seen
        await engine.replace_busy("calendar", {"hall": iter([[START, END]])})  # type: ignore[dict-item]
        assert len(await engine.imported("hall", NOW, FREE)) == 1
        with pytest.raises(InvalidField, match=r"must be (several|a sequence)"):
            await engine.reserve(AllOf(5))  # type: ignore[arg-type]
        with pytest.raises(InvalidField, match=r"must be (several|a sequence)"):
            await engine.reserve(AllOf(requests[0]))  # type: ignore[arg-type]
        await engine.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_request_does_not_change_with_the_list_it_was_made_of(kind: Any) -> None:
    claims = [Claim("room")]
    request = Request(FREE, HALF_HOUR, kind(claims))
    claims.append(Claim("annex"))
    assert request.claims == (Claim("room"),)
    assert request == Request(FREE, HALF_HOUR, (Claim("room"),))
    assert hash(request) == hash(Request(FREE, HALF_HOUR, (Claim("room"),)))


def test_an_event_type_does_not_change_with_the_lists_it_was_made_of() -> None:
    group, groups, lengths = ["room", "annex"], [["hall"]], [HALF_HOUR]
    limits = [Limit(Period.DAY, count=3)]
    talk = EventType(
        id="talk", length=HALF_HOUR, all_of=group, any_of=groups, lengths=lengths, limits=limits
    )
    before = repr(talk)
    group.append("x")
    groups[0].append("y")
    groups.append(["z"])
    lengths.append(minutes(60))
    limits.clear()
    assert repr(talk) == before


def test_a_schedule_does_not_change_with_what_it_was_made_of() -> None:
    ranges, away = [Hours(540, 600)], [Away(date(2030, 1, 1), date(2030, 1, 2))]
    weekly = {0: ranges}
    schedule = Schedule("UTC", weekly, away=away)
    before = repr(schedule), hash(schedule)
    ranges.append(Hours(700, 800))
    weekly.clear()
    away.clear()
    assert (repr(schedule), hash(schedule)) == before
