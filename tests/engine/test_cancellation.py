"""A call that is cancelled has either happened or not: never half, and never unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from slotengine import (
    AllOf,
    Claim,
    EachOf,
    EngineClosed,
    Event,
    OneOf,
    Refused,
    Request,
    Reservation,
    SlotEngine,
    SlotTaken,
    minutes,
)
from slotengine.engine.turns import Turns
from slotengine.testing import SimClock
from tests.standing import standing

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)

pytestmark = pytest.mark.anyio


def asks(resource: str, start: datetime = START) -> Request:
    return Request(start, HALF_HOUR, (Claim(resource),))


# Each changes the books of an engine on which "1" is a hold and "2" a booking.
CHANGES: dict[str, Callable[[SlotEngine], Awaitable[object]]] = {
    "reserve": lambda e: e.reserve("room", START, HALF_HOUR),
    "reserve_request": lambda e: e.reserve(asks("room")),
    "reserve_all": lambda e: e.reserve(AllOf([asks("room"), asks("shop")])),
    "reserve_each": lambda e: e.reserve(EachOf([asks("room"), asks("shop")])),
    "reserve_any": lambda e: e.reserve(OneOf([asks("room"), asks("shop")])),
    "extend": lambda e: e.extend("1", ttl=minutes(9)),
    "move": lambda e: e.move("1", START + HALF_HOUR),
    "move_request": lambda e: e.move("2", asks("room")),
    "move_any": lambda e: e.move("2", OneOf([asks("room")])),
    "confirm": lambda e: e.confirm("1"),
    "release": lambda e: e.release("1"),
    "cancel": lambda e: e.cancel("2"),
}
READINGS: dict[str, Callable[[SlotEngine], Awaitable[object]]] = {
    "get": lambda e: e.get("1"),
    "busy": lambda e: e.busy("hall", START, START + DAY),
    "is_free": lambda e: e.is_free(asks("room")),
    "find": lambda e: e.find(standing("hall", START, START + DAY)),
}


async def prepare(engine: SlotEngine) -> None:
    await engine.reserve("hall", START, HALF_HOUR)
    await engine.reserve("annex", START, HALF_HOUR)
    await engine.confirm("2")


def books(engine: SlotEngine) -> object:
    """Return all that a change could have touched."""
    span = (NOW - DAY, NOW + 365 * DAY)
    names = ("room", "annex", "hall", "shop")
    return engine.statistics(), [engine.local.find(standing(name, *span)) for name in names]


def give_way_next(engine: SlotEngine) -> None:
    """Let the next async verb give way to others: the only point at which it can be cancelled."""
    turns = Turns()
    turns.is_over = chain((True,), repeat(False)).__next__
    engine.turns = turns


@pytest.mark.parametrize("call", [*CHANGES.values(), *READINGS.values()], ids=[*CHANGES, *READINGS])
async def test_a_call_cancelled_before_it_is_made_has_not_happened(
    engine: SlotEngine, call: Callable[[SlotEngine], Awaitable[object]]
) -> None:
    await prepare(engine)
    before = books(engine)
    give_way_next(engine)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call(engine)
    assert scope.cancelled_caught
    assert books(engine) == before
    engine.check_invariants()


@pytest.mark.parametrize("call", [*CHANGES.values(), *READINGS.values()], ids=[*CHANGES, *READINGS])
async def test_a_call_cancelled_while_it_gives_way_has_not_happened(
    engine: SlotEngine, call: Callable[[SlotEngine], Awaitable[object]]
) -> None:
    await prepare(engine)
    before = books(engine)
    returned: list[object] = []

    async def caller() -> None:
        give_way_next(engine)
        returned.append(await call(engine))

    async def canceller() -> None:
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        tasks.start_soon(canceller)
    # Who of the two ran first is up to the backend.
    assert returned or books(engine) == before
    engine.check_invariants()


@pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("gives_way", [False, True])
async def test_a_call_that_returned_has_happened(
    engine: SlotEngine, call: Callable[[SlotEngine], Awaitable[object]], gives_way: bool
) -> None:
    await prepare(engine)
    before = books(engine)
    if gives_way:
        give_way_next(engine)
    result: Any = None
    with anyio.CancelScope() as scope:
        if not gives_way:
            scope.cancel()  # nobody waits, so nobody is told
        result = await call(engine)
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert books(engine) != before
    for one in result if isinstance(result, list) else [result]:
        assert engine.local.get(one.uid) == one


verbs = st.sampled_from(("reserve", "confirm", "extend", "move", "release", "cancel", "batch"))
lives = st.lists(
    st.tuples(
        st.lists(st.tuples(verbs, st.integers(0, 3)), min_size=1, max_size=4),
        st.integers(0, 6),  # when it is cancelled
    ),
    min_size=1,
    max_size=8,
)


@given(lives=lives)
@settings(max_examples=60)
async def test_whatever_is_cancelled_the_books_are_whole(
    lives: list[tuple[list[tuple[str, int]], int]],
) -> None:
    """Goal: what callers were told is what the books say, and the other way round.

    Method: tasks call verbs that all give way, while each is cancelled at some
    turn or never.  Afterwards the invariants must hold, every returned answer
    must be the latest, and every change the engine told of must belong to a
    call that returned: so none was done half, nor unseen.
    """
    clock = SimClock(NOW)
    answers: dict[str, Reservation] = {}
    changes = 0

    def note(answer: Reservation) -> None:
        nonlocal changes
        answers[answer.uid] = answer
        changes += 1

    async with SlotEngine(clock=clock) as engine, anyio.create_task_group() as tasks:
        engine.add_resource("hall", capacity=2)
        events = engine.subscribe()
        scopes = [anyio.CancelScope() for _ in lives]

        async def act(verb: str, slot: int, own: Reservation | None) -> Reservation | None:
            give_way_next(engine)
            start = START + slot * HALF_HOUR
            if verb == "batch":
                held = await engine.reserve(AllOf([asks("hall", start), asks("hall", start + DAY)]))
                for one in held:
                    note(one)
                return held[0]
            if verb == "reserve" or own is None:
                own = await engine.reserve("hall", start, HALF_HOUR)
            elif verb == "move":
                own = await engine.move(own.uid, start)
            elif verb == "extend":
                own = await engine.extend(own.uid, ttl=minutes(9))
            elif verb == "confirm":
                before, own = own, await engine.confirm(own.uid)
                if own.version == before.version:
                    return own  # it was a booking already
            elif verb == "release":
                before, own = own, await engine.release(own.uid)
                if own.version == before.version:
                    return own
            else:
                before, own = own, await engine.cancel(own.uid)
                if own.version == before.version:
                    return own
            note(own)
            return own

        async def live(steps: list[tuple[str, int]], scope: anyio.CancelScope) -> None:
            own: Reservation | None = None
            with scope:
                for verb, slot in steps:
                    try:
                        own = await act(verb, slot, own)
                    except Refused:
                        continue

        for (steps, _), scope in zip(lives, scopes, strict=True):
            tasks.start_soon(live, steps, scope)
        for turn in range(6):
            for (_, cancelled_at), scope in zip(lives, scopes, strict=True):
                if cancelled_at == turn:
                    scope.cancel()
            await anyio.lowlevel.checkpoint()
            engine.check_invariants()
        for _ in range(40):  # more turns than the longest life has calls
            await anyio.lowlevel.checkpoint()
        engine.check_invariants()
        events.close()
        told = [event async for event in events if isinstance(event, Event)]
        assert len(told) == changes
        assert {event.reservation.uid: event.reservation for event in told} == answers
        assert all(engine.local.get(uid) == answer for uid, answer in answers.items())
        assert engine.statistics().accepted == len(answers)


# --- Leaving -----------------------------------------------------------------------------


async def test_callers_that_still_run_when_the_engine_is_left_are_told(clock: SimClock) -> None:
    told: list[type[BaseException]] = []
    returned: list[str] = []

    async def caller(engine: SlotEngine, number: int) -> None:
        try:
            for day in range(1_000_000):
                give_way_next(engine)
                start = START + day * DAY
                returned.append((await engine.reserve(str(number), start, HALF_HOUR)).uid)
        except EngineClosed as closed:
            told.append(type(closed))

    async with anyio.create_task_group() as tasks, SlotEngine(clock=clock) as engine:
        for number in range(10):
            engine.add_resource(str(number))
            tasks.start_soon(caller, engine, number)
        while len(returned) < 50:
            await anyio.lowlevel.checkpoint()
    assert told == [EngineClosed] * 10
    assert len(returned) == engine.statistics().accepted
    engine.check_invariants()


async def test_an_engine_can_be_left_by_cancelling(clock: SimClock) -> None:
    with anyio.CancelScope() as scope:
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            await engine.reserve("room", START, HALF_HOUR)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(EngineClosed):
        engine.local.get("1")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_and_timeout_go_through(clock: SimClock) -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with SlotEngine(clock=clock):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), SlotEngine(clock=clock):
            await asyncio.Event().wait()


class Oops(Exception):
    """What goes wrong in somebody's program."""


@pytest.mark.parametrize("error", [Oops(), SystemExit(3), KeyError("x")], ids=repr)
async def test_what_the_body_raises_comes_out_as_it_is(
    clock: SimClock, error: BaseException
) -> None:
    """The sweeper's task group is the engine's own affair: nobody should have to know of it."""
    with pytest.raises(type(error)) as caught:
        async with SlotEngine(clock=clock):
            raise error
    assert caught.value is error


async def test_a_refusal_can_be_caught_around_the_engine(clock: SimClock) -> None:
    async def double() -> None:
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            await engine.reserve("room", START, HALF_HOUR)
            await engine.reserve("room", START, HALF_HOUR)

    with pytest.raises(SlotTaken):
        await double()


async def test_a_group_of_the_users_own_comes_out_as_it_is(clock: SimClock) -> None:
    group = ExceptionGroup("two things", [Oops(), KeyError("x")])
    with pytest.raises(ExceptionGroup) as caught:
        async with SlotEngine(clock=clock):
            raise group
    assert caught.value is group


class BrokenClock(SimClock):
    """A clock whose battery is empty."""

    async def wait(self, wake: anyio.Event, until: int) -> None:
        raise Oops


async def test_a_sweeper_that_fails_does_not_fail_silently() -> None:
    with pytest.raises(EngineClosed, match="Oops"):
        async with SlotEngine(clock=BrokenClock(NOW)):
            await anyio.wait_all_tasks_blocked()
