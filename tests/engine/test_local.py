"""The engine without an event loop, and steps of several calls."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from functools import partial

import anyio
import pytest

from slotengine import (
    BlockingEngine,
    Claim,
    Engine,
    EngineClosed,
    Event,
    InvalidField,
    LocalEngine,
    Request,
    SlotEngine,
    SlotTaken,
    State,
    Verb,
    minutes,
)
from slotengine.core.ledger.changes import (
    Answered,
    Changes,
    ClientDropped,
    Confirmed,
    Expired,
    Reserved,
)
from slotengine.core.ledger.clients import IDLE, CommandId, session_id
from slotengine.core.ledger.commands import Reserve
from slotengine.core.time.instant import to_us
from slotengine.testing import SimClock
from tests.standing import standing

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 0, 30, tzinfo=UTC)
HALF_HOUR = minutes(30)


@pytest.fixture
def local(clock: SimClock) -> LocalEngine:
    engine = LocalEngine(clock=clock)
    engine.add_resource("room")
    return engine


# --- Without an event loop -----------------------------------------------------------------


def test_a_hold_lapses_whether_or_not_anybody_sweeps(local: LocalEngine, clock: SimClock) -> None:
    events: list[Event] = []
    stop = local.observe(events.append)
    first = local.reserve("room", START, HALF_HOUR)
    with pytest.raises(SlotTaken):
        local.reserve("room", START, HALF_HOUR)
    clock.set(NOW + minutes(5))
    assert local.get(first.uid) != first
    second = local.reserve("room", START, HALF_HOUR)
    assert local.confirm(second.uid).state is State.CONFIRMED
    verbs = [event.verb for event in events]
    assert verbs == [Verb.RESERVE, Verb.EXPIRE, Verb.RESERVE, Verb.CONFIRM]
    stop()
    local.check_invariants()
    statistics = local.statistics()
    assert (statistics.expired, statistics.refused, statistics.waiting) == (1, 1, 0)


def test_what_has_lapsed_is_marked_when_asked(local: LocalEngine, clock: SimClock) -> None:
    for n in range(3):
        local.reserve("room", START + n * HALF_HOUR, HALF_HOUR)
    assert local.sweep() == 0
    clock.set(NOW + minutes(5))
    assert local.sweep(2) == 2
    assert local.sweep() == 1
    assert local.statistics().expired == 3


def test_both_take_the_same_arguments() -> None:
    assert inspect.signature(SlotEngine) == inspect.signature(LocalEngine)


def test_an_engine_is_what_the_protocol_says() -> None:
    engine: Engine = SlotEngine()
    verbs = [name for name, _ in inspect.getmembers(Engine, inspect.iscoroutinefunction)]
    own = {
        name
        for name, _ in inspect.getmembers(engine, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert {*verbs, "reserve", "start", "aclose", "run"} == own
    for name in verbs:
        said = inspect.signature(getattr(Engine, name)).parameters
        assert said == inspect.signature(getattr(SlotEngine, name)).parameters, name


# --- One step of several calls -------------------------------------------------------------


@pytest.mark.anyio
async def test_nothing_comes_in_between_the_calls_of_a_step(engine: SlotEngine) -> None:
    engine.local.reserve("room", START, HALF_HOUR)

    async def wait_for_it() -> None:
        hold = await engine.reserve("room", START, HALF_HOUR, holder="waits", wait=minutes(4))
        assert hold.holder == "waits"

    def step(local: LocalEngine) -> str:
        (held,) = local.find(standing("room", START, START + HALF_HOUR)).reservations
        local.release(held.uid)
        return local.reserve("room", START, HALF_HOUR, holder="mine", jump=True).uid

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_it)
        await anyio.wait_all_tasks_blocked()
        uid = await engine.run(step)
        assert (await engine.confirm(uid)).holder == "mine"
        await engine.cancel(uid)


@pytest.mark.anyio
async def test_what_a_step_raises_comes_out_and_what_it_did_stands(engine: SlotEngine) -> None:
    def step(local: LocalEngine) -> None:
        local.reserve("room", START, HALF_HOUR, holder="first")
        local.reserve("room", START, HALF_HOUR, holder="second")

    with engine.subscribe() as events:
        with pytest.raises(SlotTaken):
            await engine.run(step)
        event = await anext(events)
    assert isinstance(event, Event)
    assert event.reservation.holder == "first"
    assert await engine.get(event.reservation.uid) == event.reservation


@pytest.mark.anyio
async def test_a_step_is_a_plain_function(engine: SlotEngine) -> None:
    async def step(local: LocalEngine) -> None:
        local.reserve("room", START, HALF_HOUR)

    for wrong in (step, partial(step), 5, None):
        with pytest.raises(InvalidField, match="step must be a plain function of a LocalEngine"):
            await engine.run(wrong)  # type: ignore[arg-type, unused-coroutine]
    with pytest.raises(InvalidField, match="step must be a plain function, not one that returns"):
        await engine.run(lambda local: step(local))  # type: ignore[unused-coroutine]
    assert engine.statistics().held == 0


@pytest.mark.anyio
async def test_a_cancelled_step_did_not_happen(engine: SlotEngine) -> None:
    while not engine.turns.is_over():
        pass
    for _ in range(63):
        await engine.run(lambda local: local.now())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.run(lambda local: local.reserve("room", START, HALF_HOUR))
    assert scope.cancelled_caught
    assert engine.statistics().held == 0


@pytest.mark.anyio
async def test_no_step_before_the_start_and_after_the_end(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    for _ in range(2):
        with pytest.raises(EngineClosed):
            await engine.run(lambda _: 5)
        await engine.aclose()


def test_threads_make_steps_too(clock: SimClock) -> None:
    with BlockingEngine(SlotEngine(clock=clock)) as engine:
        engine.add_resource("room")
        hold = engine.run(lambda local: local.reserve("room", START, HALF_HOUR))
        assert engine.get(hold.uid) == hold
        with pytest.raises(SlotTaken) as caught:
            engine.run(lambda local: local.reserve("room", START, HALF_HOUR))
        assert caught.value.retry_at == hold.until


@pytest.mark.anyio
async def test_a_step_is_told_of_in_order(engine: SlotEngine) -> None:
    steps: list[Changes] = []
    engine.record(steps.append)
    wanted = Request(START, HALF_HOUR, (Claim("room"),))

    def step(local: LocalEngine) -> None:
        local.confirm(local.reserve(wanted).uid)

    await engine.run(step)
    assert [[type(change) for change in changes] for changes in steps] == [[Reserved], [Confirmed]]


def test_what_clients_may_repeat_is_recorded_and_replayed() -> None:
    clock = SimClock(NOW)
    engine, again = LocalEngine(clock=clock), LocalEngine(clock=clock)
    steps: list[Changes] = []
    for each in (engine, again):
        each.add_resource("room")
    engine.record(steps.append)
    now = to_us(NOW)
    request = engine.proposal(Request(START, HALF_HOUR, (Claim("room"),)))
    command_id = CommandId(session_id(now, bytes(8)), number=0, awaited=0)
    command = Reserve((request,), ("a",), client=command_id)
    engine.ledger.step(command, now)
    again.replay(steps)
    assert again.ledger.step(command, now).answers == ("a",)
    assert [type(change) for changes in steps for change in changes] == [Reserved, Answered]
    engine.ledger.expire(now + IDLE)
    again.replay(steps[1:])
    assert [type(changes[0]) for changes in steps[1:]] == [ClientDropped, Expired]
    assert len(again.ledger.state.clients) == len(engine.ledger.state.clients) == 0
