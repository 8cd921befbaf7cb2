"""The clocks: the system's, which never goes backwards, and the one that tests bring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TypeVarTuple

import anyio
import pytest

from slotengine import Clock, Event, InvalidField, SlotEngine, SystemClock, minutes
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import to_us
from slotengine.engine.clock import LONGEST_NAP_S
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
HOUR_NS = 3_600_000_000_000
SECOND = 1_000_000

Ts = TypeVarTuple("Ts")

pytestmark = pytest.mark.anyio


def wall_us() -> int:
    return time.time_ns() // 1000


def test_both_are_clocks() -> None:
    clocks: list[Clock] = [SystemClock(), SimClock(NOW)]
    assert [isinstance(clock.now(), int) for clock in clocks] == [True, True]


# --- The system's ----------------------------------------------------------------------


def test_the_systems_clock_tells_the_time_and_never_stands_still_for_long() -> None:
    clock = SystemClock()
    assert abs(clock.now() - wall_us()) < SECOND
    readings = [clock.now() for _ in range(10_000)]
    assert readings == sorted(readings)
    assert readings[0] < readings[-1]


async def test_a_wall_clock_that_was_set_back_is_not_followed() -> None:
    clock = SystemClock()
    clock.offset_ns += HOUR_NS  # as if the wall clock had shown an hour more at first
    before = clock.now()
    await clock.wait(anyio.Event(), before)
    assert clock.now() >= before
    assert abs(clock.now() - wall_us() - HOUR_NS // 1000) < SECOND


async def test_a_wall_clock_found_ahead_is_followed() -> None:
    clock = SystemClock()
    clock.offset_ns -= HOUR_NS  # as if the machine had slept for an hour since
    await clock.wait(anyio.Event(), clock.now())
    assert abs(clock.now() - wall_us()) < SECOND


async def test_holds_lapse_while_the_machine_sleeps() -> None:
    clock = SystemClock()
    clock.offset_ns -= HOUR_NS
    engine = SlotEngine(clock=clock)
    engine.add_resource("room")
    async with engine:
        # Made while the clock is an hour behind: before the sweeper's first wait finds out.
        hold = engine.local.reserve("room", NOW, minutes(30))
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        found = await engine.get(hold.uid)
        assert found is not None
        assert found.state.value == "expired"
        assert engine.statistics().expired == 1


async def test_the_systems_clock_waits_until_the_moment() -> None:
    clock = SystemClock()
    until = clock.now() + 5_000
    with anyio.fail_after(20):
        while clock.now() < until:
            await clock.wait(anyio.Event(), until)
    assert until <= clock.now()


async def test_the_systems_clock_can_be_woken() -> None:
    clock = SystemClock()
    wake = anyio.Event()
    wake.set()
    before = clock.now()
    with anyio.fail_after(20):
        await clock.wait(wake, NEVER)
    assert clock.now() - before < SECOND  # it is not a nap that ended


async def test_a_wait_for_what_is_past_is_short() -> None:
    clock = SystemClock()
    before = clock.now()
    with anyio.fail_after(20):
        await clock.wait(anyio.Event(), 0)
        await clock.wait(anyio.Event(), -NEVER)
    assert clock.now() - before < SECOND


def test_the_systems_clock_sleeps_as_long_as_it_must() -> None:
    """Method: the loop keeps for when it was asked to wake somebody, and nobody sleeps."""

    async def wait(delay: int) -> None:
        clock, wake = SystemClock(), anyio.Event()
        wake.set()
        await clock.wait(wake, clock.now() + delay)

    for delay, longest_s in ((SECOND // 2, 0.5), (100 * SECOND, LONGEST_NAP_S)):
        with asyncio.Runner(loop_factory=WatchedLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, WatchedLoop)
            started = time.monotonic()
            runner.run(wait(delay))
        slept_s = loop.timers[0] - started
        assert longest_s - 0.1 < slept_s < longest_s + time.monotonic() - started


# --- The virtual one ---------------------------------------------------------------------


def test_a_virtual_clock_stands_still_until_it_is_set() -> None:
    clock = SimClock(NOW)
    assert (clock.moment, clock.now()) == (NOW, to_us(NOW))
    clock.set(NOW + minutes(1))
    assert clock.moment == NOW + minutes(1)
    clock.set(NOW - minutes(1))
    assert clock.moment == NOW - minutes(1)


@pytest.mark.parametrize("moment", [datetime(2030, 1, 7), None, 5])  # noqa: DTZ001
def test_a_virtual_clock_takes_aware_datetimes_only(moment: datetime) -> None:
    with pytest.raises(InvalidField):
        SimClock(moment)
    clock = SimClock(NOW)
    with pytest.raises(InvalidField):
        clock.set(moment)
    assert clock.moment == NOW


async def test_a_virtual_clock_advances_by_timedeltas_only(clock: SimClock) -> None:
    with pytest.raises(InvalidField):
        await clock.advance(5)  # type: ignore[arg-type]
    await clock.advance(timedelta(seconds=1))
    assert clock.moment == NOW + timedelta(seconds=1)


async def test_waiters_of_a_virtual_clock_wake_at_their_moments(clock: SimClock) -> None:
    woken: list[int] = []

    async def waiter(after_s: int, wake: anyio.Event) -> None:
        await clock.wait(wake, to_us(NOW + timedelta(seconds=after_s)))
        woken.append(after_s)

    early = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for after_s in (3, 1, 2):
            tasks.start_soon(waiter, after_s, anyio.Event())
        tasks.start_soon(waiter, 99, early)
        tasks.start_soon(waiter, 0, anyio.Event())
        tasks.start_soon(waiter, -1, anyio.Event())
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == [-1, 0]
        await clock.advance(timedelta(seconds=1))
        assert woken[2:] == [1]
        await clock.advance(-timedelta(seconds=1))
        await clock.advance(timedelta(seconds=5))
        assert sorted(woken[3:]) == [2, 3]
        early.set()
        await anyio.wait_all_tasks_blocked()
        assert woken[-1] == 99
    assert clock.next_wake is None


async def test_a_virtual_clock_tells_when_somebody_next_wakes(clock: SimClock) -> None:
    assert clock.next_wake is None
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("room")
        await clock.advance(timedelta())
        assert clock.next_wake is None  # nothing is held: the sweeper sleeps until it is woken
        await engine.reserve("room", NOW, minutes(30))
        await clock.advance(timedelta())
        assert clock.next_wake == NOW + minutes(5)


async def test_a_virtual_clock_stops_wherever_somebody_wakes(clock: SimClock) -> None:
    """So each expiry is told at the moment of its until; a jump tells them all at its end."""
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("hall", capacity=9)
        with engine.subscribe() as events:
            for ttl in (3, 1, 2):
                await engine.reserve("hall", NOW, minutes(30), ttl=minutes(ttl))
            await clock.advance_to(NOW + minutes(2))
            assert engine.statistics().expired == 2
            await clock.advance_to(NOW + minutes(9))
            assert clock.moment == NOW + minutes(9)
        expiries = [event async for event in events][3:]
    assert [event.at for event in expiries if isinstance(event, Event)] == [
        NOW + minutes(i) for i in (1, 2, 3)
    ]
    await clock.advance_to(NOW)
    assert clock.moment == NOW


async def test_a_waiter_that_is_cancelled_is_forgotten(clock: SimClock) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.wait(anyio.Event(), NEVER)
    assert clock.next_wake is None


class WatchedLoop(asyncio.SelectorEventLoop):
    """An event loop that keeps for when a timer was set."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[float] = []

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers.append(when)
        return super().call_at(when, callback, *args, context=context)


def test_no_test_with_a_virtual_clock_ever_waits() -> None:
    """Goal: advancing costs turns of the event loop, never real time.

    Method: something lapses under a loop that would notice a timer.  On trio
    the same holds, because there it is known when all tasks are blocked.
    """

    async def lapse() -> None:
        clock = SimClock(NOW)
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            for count in range(1, 4):
                await engine.reserve("room", NOW, minutes(30))
                await clock.advance(minutes(5))
                assert engine.statistics().expired == count

    loop = WatchedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(lapse())
    assert loop.timers == []
