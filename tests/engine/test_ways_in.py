"""What tests and tools may look at and replace: events in the step, records, turns, answers."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from slotengine import (
    BlockingEngine,
    EngineClosed,
    EngineMisused,
    InvalidField,
    SlotEngine,
    State,
    minutes,
)
from slotengine.core.ledger.changes import Changes, Confirmed, Extended, Forgotten, Reserved
from slotengine.core.ledger.reservation import Entry, Verb
from slotengine.core.time.instant import to_us
from slotengine.engine.events import Event
from slotengine.engine.turns import Turns
from slotengine.errors import ReplayError
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)

pytestmark = pytest.mark.anyio


async def test_an_observer_is_called_in_the_step_of_the_change(
    engine: SlotEngine, clock: SimClock
) -> None:
    seen: list[Event] = []
    stop = engine.observe(seen.append)
    assert engine.statistics().subscribers == 1
    hold = engine.local.reserve("room", START, HALF_HOUR)
    assert [(event.verb, event.reservation) for event in seen] == [(Verb.RESERVE, hold)]
    await clock.advance(minutes(5))
    assert [event.verb for event in seen] == [Verb.RESERVE, Verb.EXPIRE]
    stop()
    stop()
    assert engine.ledger.on_change is None
    engine.local.reserve("room", START, HALF_HOUR)
    assert len(seen) == 2
    assert engine.statistics().missed == 0


async def test_an_observer_may_come_before_the_engine_starts_and_not_after_its_end() -> None:
    seen: list[Event] = []
    engine = SlotEngine(clock=SimClock(NOW))
    engine.add_resource("room")
    engine.observe(seen.append)
    async with engine:
        engine.local.reserve("room", START, HALF_HOUR)
    assert len(seen) == 1
    with pytest.raises(EngineClosed):
        engine.observe(seen.append)
    with pytest.raises(InvalidField, match="listen"):
        SlotEngine().observe(None)  # type: ignore[arg-type]


async def test_an_engine_that_replays_records_is_the_same(
    engine: SlotEngine, clock: SimClock
) -> None:
    steps: list[Changes] = [engine.local.snapshot()]
    engine.record(steps.append)
    past = NOW - minutes(60)
    over = engine.local.reserve("room", past, HALF_HOUR, past=True).uid
    engine.local.confirm(over)
    hold = engine.local.reserve("room", START, HALF_HOUR, key="key").uid
    engine.local.extend(hold, ttl=minutes(9))
    assert await engine.forget_bookings(NOW) == 1
    again = engine.local.reserve("room", past, HALF_HOUR, past=True).uid
    engine.local.confirm(again)
    assert [type(one) for changes in steps[1:] for one in changes] == [
        Reserved, Confirmed, Reserved, Extended, Forgotten, Reserved, Confirmed,
    ]  # fmt: skip
    other = SlotEngine(clock=clock)
    other.replay(steps)
    async with other:
        assert other.local.get(over) is None
        for uid in (hold, again):
            assert other.local.get(uid) == engine.local.get(uid)
        assert other.local.reserve("room", START, HALF_HOUR, key="key").uid == hold
        other.check_invariants()


async def test_turns_can_be_replaced(engine: SlotEngine) -> None:
    engine.turns = Turns(calls=1)
    assert engine.turns.is_over()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.reserve("room", START, HALF_HOUR)
    assert scope.cancelled_caught
    assert engine.statistics().held == 0


async def test_who_is_answered_is_told_before_it_is_woken(
    engine: SlotEngine, clock: SimClock
) -> None:
    first = await engine.reserve("room", START, HALF_HOUR)
    answered: list[tuple[int, type]] = []

    async def wait() -> None:
        hold = await engine.reserve("room", START, HALF_HOUR, wait=minutes(9))
        assert hold.state is State.HELD

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert len(engine.waitlist) == 1
        engine.sleeping.on_answer = lambda ticket, answer: answered.append((ticket, type(answer)))
        await engine.release(first.uid)
    assert answered == [(1, Entry)]


def test_the_engine_of_a_blocking_one_is_there_for_its_own_thread() -> None:
    inner = SlotEngine(clock=SimClock(NOW))

    async def now() -> datetime:
        return inner.now()

    with BlockingEngine(inner) as engine:
        assert engine.engine is inner
        assert engine.loop_thread.call(now) == NOW


async def test_only_records_are_replayed_and_only_a_function_keeps_them() -> None:
    engine = SlotEngine()
    with pytest.raises(InvalidField, match="keep must be a function"):
        engine.record(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="steps must be several"):
        engine.replay(None)  # type: ignore[arg-type]
    for step in ("step", (), ("change",)):
        with pytest.raises(ReplayError):
            engine.replay([step])  # type: ignore[list-item]


async def test_nothing_is_replayed_once_an_engine_was_started(clock: SimClock) -> None:
    """Subscribers would not be told, and go on after a cursor as if nothing had happened."""
    steps: list[Changes] = []
    engine = SlotEngine(clock=clock)
    engine.record(steps.append)
    engine.add_resource("room")
    other = SlotEngine(clock=clock)
    async with other:
        with pytest.raises(EngineMisused, match="before 'start'"):
            other.replay(steps)
    with pytest.raises(EngineMisused):
        other.replay(steps)
    assert other.settings() == []


async def test_the_time_is_told_in_two_forms(clock: SimClock) -> None:
    async with SlotEngine(clock=clock) as engine:
        assert engine.look() == to_us(engine.now()) == clock.now()
    with pytest.raises(EngineClosed):
        engine.look()
