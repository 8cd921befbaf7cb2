"""Subscriptions: every change in order, gaps told, and nobody ever waited for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from slotengine import (
    AllOf,
    Claim,
    Event,
    InvalidField,
    Lagged,
    Request,
    Reservation,
    SlotEngine,
    SlotTaken,
    State,
    Subscription,
    Verb,
    minutes,
)
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)

pytestmark = pytest.mark.anyio


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def buffered(events: Subscription) -> list[Event | Lagged]:
    """Return what can be read without waiting."""
    found = []
    while events.feed.buffer:
        found.append(await anext(events))
    return found


def number(event: Event | Lagged) -> int:
    """Return which reservation it tells of: uids are counted from 1."""
    assert isinstance(event, Event)
    return int(event.reservation.uid)


async def make(engine: SlotEngine, first: int, last: int) -> None:
    """Make the reservations "first" to "last", each on a day of its own."""
    for day in range(first, last + 1):
        assert engine.local.reserve("room", START + day * DAY, HALF_HOUR).uid == str(day)


async def test_every_change_is_told_in_order_as_it_was_decided(
    engine: SlotEngine, clock: SimClock
) -> None:
    with engine.subscribe() as events:
        answers: list[Reservation | None] = [
            await engine.reserve("room", START, HALF_HOUR),
            await engine.extend("1"),
            await engine.move("1", START + HALF_HOUR),
            await engine.confirm("1"),
            await engine.cancel("1"),
            await engine.reserve(Request(START, HALF_HOUR, (Claim("annex"),))),
            await engine.release("2"),
            await engine.reserve("hall", START, HALF_HOUR),
        ]
        clock.set(NOW + minutes(5))
        await settle()
        answers += [await engine.get("3"), await engine.confirm("3", if_still_free=True)]
    told = [event async for event in events]
    assert [event.verb for event in told if isinstance(event, Event)] == [
        Verb.RESERVE, Verb.EXTEND, Verb.MOVE, Verb.CONFIRM, Verb.CANCEL,
        Verb.RESERVE, Verb.RELEASE, Verb.RESERVE, Verb.EXPIRE, Verb.REINSTATE,
    ]  # fmt: skip
    assert [event.reservation for event in told if isinstance(event, Event)] == answers
    assert [event.at for event in told if isinstance(event, Event)] == [NOW] * 8 + [
        NOW + minutes(5)
    ] * 2


async def test_what_changes_nothing_is_not_told(engine: SlotEngine) -> None:
    await engine.reserve("room", START, HALF_HOUR, key="k")
    await engine.confirm("1")
    with engine.subscribe() as events:
        await engine.confirm("1")
        await engine.reserve("room", START, HALF_HOUR, key="k")
        await engine.get("1")
        with pytest.raises(SlotTaken):
            await engine.reserve("room", START, HALF_HOUR)
        with pytest.raises(SlotTaken):
            await engine.reserve(AllOf([Request(START, HALF_HOUR, (Claim("room"),))]))
        assert await buffered(events) == []


async def test_a_thousand_and_some_changes_are_kept_unless_it_is_said_otherwise(
    engine: SlotEngine,
) -> None:
    with engine.subscribe() as events, engine.subscribe(buffer=2**31 - 1) as patient:
        await make(engine, 1, 1024)
        assert events.missed == 0
        await make(engine, 1025, 1025)
        assert (events.missed, patient.missed) == (1, 0)


async def test_only_what_happens_after_subscribing_is_told(engine: SlotEngine) -> None:
    await make(engine, 1, 2)
    with engine.subscribe() as events:
        await make(engine, 3, 4)
    await make(engine, 5, 5)
    assert [number(event) async for event in events] == [3, 4]


async def test_a_subscriber_that_lags_is_told_how_much_it_missed_and_where(
    engine: SlotEngine,
) -> None:
    with engine.subscribe(buffer=3) as events:
        await make(engine, 1, 3)
        assert number(await anext(events)) == 1
        await make(engine, 4, 8)  # 2 to 5 make way
        assert await anext(events) == Lagged(4)
        assert [number(event) for event in await buffered(events)] == [6, 7, 8]
        assert events.missed == engine.statistics().missed == 4
        await make(engine, 9, 11)
        assert [number(event) for event in await buffered(events)] == [9, 10, 11]
        await make(engine, 12, 15)
        assert await anext(events) == Lagged(1)
        await make(engine, 16, 16)  # and it lags again before it goes on
        assert await anext(events) == Lagged(1)
        assert [number(event) for event in await buffered(events)] == [14, 15, 16]
        assert events.missed == 6


async def test_what_was_read_and_what_was_missed_is_all_there_was(engine: SlotEngine) -> None:
    with engine.subscribe(buffer=7) as events:
        read = missed = 0
        for day in range(1, 200):
            await make(engine, day, day)
            if day % 10 == 0:
                for event in await buffered(events):
                    if isinstance(event, Lagged):
                        missed += event.missed
                    else:
                        read += 1
                        assert number(event) == read + missed
    async for event in events:
        missed += event.missed if isinstance(event, Lagged) else 0
        read += isinstance(event, Event)
    assert read + missed == 199
    assert missed == events.missed


async def test_a_buffer_of_one_keeps_the_newest(engine: SlotEngine) -> None:
    with engine.subscribe(buffer=1) as events:
        await make(engine, 1, 5)
    assert await anext(events) == Lagged(4)
    assert [number(event) async for event in events] == [5]


async def test_a_stalled_subscriber_slows_nobody(engine: SlotEngine) -> None:
    """Goal: whoever does not read costs the engine no wait and no memory.

    Method: the verbs that cannot wait are called with one stalled subscriber and one that reads.
    """
    with engine.subscribe(buffer=2) as stalled, engine.subscribe() as reading:
        await make(engine, 1, 1_000)
        assert [number(event) for event in await buffered(reading)] == list(range(1, 1_001))
        assert len(stalled.feed.buffer) == 2
        assert (stalled.missed, reading.missed) == (998, 0)
        statistics = engine.statistics()
        assert (statistics.subscribers, statistics.missed) == (2, 998)
    assert engine.statistics().missed == 0  # of present subscribers


async def test_a_reader_that_does_nothing_else_keeps_up_with_a_storm(engine: SlotEngine) -> None:
    """Goal: only a slow subscriber misses anything.

    Method: one reads as fast as it can, while a storm of async calls, and then a
    mass expiry, make several times as many events as its buffer takes.
    """
    events = engine.subscribe(buffer=4_096)  # some turns of the sweeper
    read: list[Event | Lagged] = []

    async def reader() -> None:
        async for event in events:
            read.append(event)  # noqa: PERF401 - so that what was read so far can be seen

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await settle()
        for day in range(10_000):
            await engine.reserve("room", START + day * DAY, HALF_HOUR)
        while events.feed.buffer:
            await anyio.lowlevel.checkpoint()
        assert (events.missed, len(read)) == (0, 10_000)
        engine.clock.set(NOW + minutes(5))  # type: ignore[attr-defined]
        while engine.statistics().held:
            await anyio.lowlevel.checkpoint()
        events.close()
    assert (events.missed, len(read)) == (0, 20_000)


async def test_a_reader_that_never_catches_up_lets_others_run(engine: SlotEngine) -> None:
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker)
        with engine.subscribe() as events:
            for day in range(1, 5_001):
                await make(engine, day, day)
                await anext(events)
        tasks.cancel_scope.cancel()
    assert turns >= 3


async def test_each_subscriber_has_all_of_it(engine: SlotEngine) -> None:
    with engine.subscribe() as one, engine.subscribe() as other:
        await make(engine, 1, 3)
        assert await buffered(one) == await buffered(other)
        one.close()
        await make(engine, 4, 4)
        assert [number(event) for event in await buffered(other)] == [4]
        assert [event async for event in one] == []
        assert engine.statistics().subscribers == 1


async def test_a_reader_waits_for_what_comes(engine: SlotEngine) -> None:
    read: list[int] = []

    async def reader(events: Subscription) -> None:
        async for event in events:
            read.append(number(event))  # noqa: PERF401 - so that it can be seen so far

    with engine.subscribe() as events:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader, events)
            await settle()
            assert read == []
            await make(engine, 1, 1)
            await settle()
            assert read == [1]
            await make(engine, 2, 3)
            await settle()
            assert read == [1, 2, 3]
            events.close()  # wakes the reader, and ends it


async def test_closing_ends_the_stream_once_it_is_empty(engine: SlotEngine) -> None:
    events = engine.subscribe()
    await make(engine, 1, 2)
    events.close()
    events.close()  # harmless
    assert [number(event) async for event in events] == [1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_leaving_the_engine_ends_every_stream(clock: SimClock) -> None:
    read: dict[str, list[str]] = {"early": [], "late": []}

    async def reader(name: str, events: Subscription) -> None:
        async for event in events:
            assert isinstance(event, Event)
            read[name].append(event.reservation.uid)

    async with anyio.create_task_group() as tasks:
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            tasks.start_soon(reader, "early", engine.subscribe())
            await settle()
            late = engine.subscribe()
            hold = await engine.reserve("room", START, HALF_HOUR)
        await reader("late", late)
    assert read == {"early": [hold.uid], "late": [hold.uid]}
    assert engine.statistics().subscribers == 0
    with late:  # leaving it after the engine is harmless
        pass


async def test_a_cancelled_reader_loses_nothing(engine: SlotEngine) -> None:
    """Goal: what a cancelled reader did not return can be read by the next.

    Method: readers are cancelled before they begin, and, one by one, after every
    number of turns that a read can take.
    """
    read: list[int] = []

    async def reader(scope: anyio.CancelScope, events: Subscription) -> None:
        with scope:
            while True:
                read.append(number(await anext(events)))

    with engine.subscribe() as events:
        await make(engine, 1, 1)
        cancelled = anyio.CancelScope()
        cancelled.cancel()
        await reader(cancelled, events)
        last = 1
        for turns in range(8):
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reader, scope, events)
                for turn in range(8):
                    if turn == turns:
                        scope.cancel()
                    if turn % 2:
                        last += 1
                        await make(engine, last, last)
                    await anyio.lowlevel.checkpoint()
        read += [number(event) for event in await buffered(events)]
    assert read == list(range(1, last + 1))


async def test_no_event_is_built_while_nobody_listens(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, backlog=0) as engine:
        ledger = engine.ledger
        assert ledger.on_change is None
        with engine.subscribe(), engine.subscribe() as second:
            assert ledger.on_change is not None
            second.close()
            assert ledger.on_change is not None
        assert ledger.on_change is None


@pytest.mark.parametrize("size", [0, -1])
async def test_a_buffer_takes_at_least_one_event(engine: SlotEngine, size: int) -> None:
    with pytest.raises(InvalidField) as caught:
        engine.subscribe(buffer=size)
    assert caught.value.field == "buffer"
    assert engine.statistics().subscribers == 0
    assert engine.ledger.on_change is None


async def test_an_event_stays_as_it_was(engine: SlotEngine) -> None:
    with engine.subscribe() as events:
        await engine.reserve("room", START, HALF_HOUR)
        await engine.confirm("1")
        await engine.cancel("1")
    states = [event.reservation.state async for event in events if isinstance(event, Event)]
    assert states == [State.HELD, State.CONFIRMED, State.CANCELLED]
