"""From start to close: in any task, once, whatever is cancelled, and what a crash comes to."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import unittest
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from slotengine import (
    BlockingEngine,
    EngineClosed,
    Event,
    InvalidField,
    SlotEngine,
    State,
    minutes,
)
from slotengine.engine import background
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)

pytestmark = pytest.mark.anyio


class Oops(Exception):
    """What goes wrong in somebody's clock."""


class BreakableClock(SimClock):
    """A clock that breaks when it is told to."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.broken_by: BaseException | None = None

    async def wait(self, wake: anyio.Event, until: int) -> None:
        self.wake = wake
        await super().wait(wake, until)
        if self.broken_by is not None:
            raise self.broken_by

    async def break_by(self, error: BaseException, engine: SlotEngine) -> None:
        await settle()  # so that it is being read
        self.broken_by = error
        self.wake.set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def works(engine: SlotEngine, resource: str = "room") -> None:
    """Reserve, and see the sweeper mark it."""
    if resource not in engine.ledger.occupancy.resources:
        engine.add_resource(resource)
    clock = engine.clock
    assert isinstance(clock, SimClock)
    hold = await engine.reserve(resource, START, HALF_HOUR)
    expired = engine.statistics().expired
    await clock.advance(minutes(5))
    assert engine.statistics().expired == expired + 1
    found = await engine.get(hold.uid)
    assert found is not None
    assert found.state is State.EXPIRED


async def in_a_task(function: Callable[[], Coroutine[object, object, object]]) -> None:
    """Run something in a task of its own, which is over when this returns."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function)


# --- In any task ---------------------------------------------------------------------------


async def test_it_is_started_and_closed_without_a_with(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    await works(engine)
    await engine.aclose()
    with pytest.raises(EngineClosed, match="not running"):
        await engine.get("1")
    assert "slotengine sweeper" not in {task.name for task in anyio.get_running_tasks()}


@pytest.mark.parametrize("enter", ["start", "__aenter__"])
async def test_one_task_starts_it_and_another_closes_it(clock: SimClock, enter: str) -> None:
    engine = SlotEngine(clock=clock)
    await in_a_task(getattr(engine, enter))
    await works(engine)
    await in_a_task(lambda: works(engine, "annex"))

    async def leave() -> None:
        if enter == "start":
            await engine.aclose()
        else:
            await engine.__aexit__(None, None, None)

    await in_a_task(leave)
    with pytest.raises(EngineClosed):
        engine.now()


async def test_the_end_of_a_scope_that_it_was_started_in_does_not_end_it(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    with anyio.CancelScope() as scope:
        await engine.start()
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    with anyio.move_on_after(0):
        await anyio.sleep_forever()
    await works(engine)
    await engine.aclose()


async def test_an_exit_stack_may_be_left_by_another_task(clock: SimClock) -> None:
    stack = AsyncExitStack()
    engine = SlotEngine(clock=clock)

    async def enter() -> None:
        assert await stack.enter_async_context(engine) is engine

    await in_a_task(enter)
    await works(engine)
    await in_a_task(stack.aclose)
    with pytest.raises(EngineClosed):
        engine.now()


async def test_a_lifespan_of_a_web_framework(clock: SimClock) -> None:
    """As ASGI servers run it: its two halves in a task of their own, requests in others."""
    state: dict[str, SlotEngine] = {}

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with SlotEngine(clock=clock) as engine:
            state["engine"] = engine
            yield

    begun, over = anyio.Event(), anyio.Event()

    async def server() -> None:
        async with lifespan():
            begun.set()
            await over.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        await begun.wait()
        await in_a_task(lambda: works(state["engine"]))
        over.set()
    with pytest.raises(EngineClosed):
        state["engine"].now()


def test_unittest_enters_it_in_its_own_way() -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            self.engine = await self.enterAsyncContext(SlotEngine(clock=SimClock(NOW)))
            self.other = SlotEngine(clock=SimClock(NOW))
            await self.other.start()
            self.addAsyncCleanup(self.other.aclose)

        async def test_it(self) -> None:
            await works(self.engine)
            await works(self.other)

    result = unittest.TestResult()
    case = Case("test_it")
    case.run(result)
    assert result.testsRun == 1
    assert (result.errors, result.failures) == ([], [])
    for engine in (case.engine, case.other):
        with pytest.raises(EngineClosed):
            engine.now()


FIXTURES = """
    import pytest
    import pytest_asyncio
    from datetime import UTC, datetime
    from slotengine import EngineClosed, SlotEngine, minutes

    START = datetime(2050, 1, 7, 9, 7, 23, tzinfo=UTC)
    kept = []

    @pytest_asyncio.fixture
    async def engine():
        async with SlotEngine() as engine:
            kept.append(engine)
            yield engine

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def shared():
        engine = SlotEngine()
        await engine.start()
        engine.add_resource("room")
        yield engine
        await engine.aclose()

    @pytest.mark.asyncio
    async def test_with(engine):
        engine.add_resource("room")
        assert (await engine.reserve("room", START, minutes(30))).uid

    @pytest.mark.asyncio(loop_scope="module")
    @pytest.mark.parametrize("day", [1, 2])
    async def test_shared(shared, day):
        assert (await shared.reserve("room", START.replace(day=day), minutes(30))).uid
        kept.append(shared)

    def test_plain(engine):
        engine.add_resource("room")
        assert engine.local.reserve("room", START, minutes(30)).uid

    def test_closed():
        with pytest.raises(EngineClosed):
            kept[0].now()
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_fixtures_of_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    (tmp_path / "test_it.py").write_text(textwrap.dedent(FIXTURES))
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nfilterwarnings = error\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 passed" in ended.stdout


def environment() -> dict[str, str]:
    root = Path(importlib.import_module("slotengine").__path__[0]).parent
    return os.environ | {"PYTHONPATH": str(root)}


# --- Once ----------------------------------------------------------------------------------


async def test_it_is_started_once(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    with pytest.raises(EngineClosed, match="before"):
        await engine.start()
    await works(engine)
    await engine.aclose()
    with pytest.raises(EngineClosed, match="before"):
        await engine.start()


async def test_of_two_starts_at_once_one_is_refused(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    refused: list[EngineClosed] = []

    async def start() -> None:
        try:
            await engine.start()
        except EngineClosed as closed:
            refused.append(closed)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        tasks.start_soon(start)
    assert len(refused) == 1
    await works(engine)
    await engine.aclose()


async def test_closing_can_be_repeated_and_done_at_once(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(engine.aclose)
    await engine.aclose()
    with pytest.raises(EngineClosed):
        engine.now()


async def test_what_was_closed_before_it_was_started_is_not_started(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.aclose()
    with pytest.raises(EngineClosed, match="before"):
        await engine.start()


async def test_closing_tells_calls_that_wait_and_streams(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    engine.add_resource("room")
    await engine.reserve("room", START, HALF_HOUR)
    told: list[object] = []

    async def wait() -> None:
        try:
            await engine.reserve("room", START, HALF_HOUR, wait=minutes(1))
        except EngineClosed as closed:
            told.append(closed.__cause__)

    async def read() -> None:
        told.append([event async for event in engine.subscribe()])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(read)
        await settle()
        await engine.aclose()
    assert sorted(told, key=str) == [None, []]


# --- Cancelled -----------------------------------------------------------------------------


async def test_a_start_that_is_cancelled_has_not_started(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.start()
    assert scope.cancelled_caught
    with pytest.raises(EngineClosed):
        engine.now()
    await engine.start()
    await works(engine)
    await engine.aclose()


async def test_a_close_that_is_cancelled_has_closed(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.aclose()
    with pytest.raises(EngineClosed):
        engine.now()
    assert "slotengine sweeper" not in {task.name for task in anyio.get_running_tasks()}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_close_that_is_cancelled_natively_has_closed(clock: SimClock) -> None:
    engine = SlotEngine(clock=clock)
    await engine.start()
    closing = asyncio.create_task(engine.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    with pytest.raises(EngineClosed):
        engine.now()
    await engine.aclose()
    assert not background.tasks


# --- The end of the event loop ----------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_ends_its_engine(
    backend: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    engine = SlotEngine()

    async def main() -> None:
        await engine.start()
        await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)
    with pytest.raises(EngineClosed):
        engine.now()

    async def again() -> None:
        with pytest.raises(EngineClosed):
            await engine.get("1")
        await engine.aclose()

    anyio.run(again, backend=backend)
    gc.collect()
    assert not background.tasks
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_loop_that_ends_before_the_engine_has_had_a_turn() -> None:
    engine = SlotEngine()
    asyncio.run(engine.start())
    with pytest.raises(EngineClosed):
        engine.now()


def test_an_engine_that_is_dropped_goes_on(clock: SimClock) -> None:
    """Nobody but the event loop knows of it any more, and asyncio keeps no tasks."""

    async def main() -> None:
        engine = SlotEngine(clock=clock)
        await engine.start()
        engine.add_resource("room")
        await settle()
        del engine
        gc.collect()
        assert "slotengine sweeper" in {task.get_name() for task in asyncio.all_tasks()}

    asyncio.run(main())
    assert not background.tasks


def test_the_sweeper_sees_no_context_of_whoever_starts_it() -> None:
    secret = contextvars.ContextVar("secret", default="none")
    seen: list[str] = []

    class Spy(SimClock):
        async def wait(self, wake: anyio.Event, until: int) -> None:
            seen.append(secret.get())
            await super().wait(wake, until)

    async def main() -> None:
        secret.set("hunter2")
        async with SlotEngine(clock=Spy(NOW)):
            await settle()

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    assert seen == ["none", "none"]


def test_trio_as_a_guest_of_asyncio(clock: SimClock) -> None:
    """Both loops run then, in one thread; the engine is trio's."""

    async def guest() -> str:
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            hold = await engine.reserve("room", START, HALF_HOUR)
            for _ in range(100):
                await engine.get(hold.uid)
            return hold.uid

    async def host() -> str:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome.unwrap()),
        )
        return await done

    assert asyncio.run(host())


# --- A crash ---------------------------------------------------------------------------------


async def test_a_crash_closes_the_engine_with_its_cause() -> None:
    clock, oops = BreakableClock(), Oops("battery")
    engine = SlotEngine(clock=clock)
    await engine.start()
    engine.add_resource("room")
    hold = await engine.reserve("room", START, HALF_HOUR)
    stream = engine.subscribe()
    await engine.extend(hold.uid)
    told: list[object] = []

    async def wait() -> None:
        with pytest.raises(EngineClosed) as caught:
            await engine.reserve("room", START, HALF_HOUR, wait=minutes(1))
        told.append(caught.value.__cause__)

    async def read() -> None:
        try:
            async for event in stream:
                assert isinstance(event, Event)
                told.append(event.reservation.uid)
        except EngineClosed as closed:
            told.append(closed.__cause__)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(read)
        await settle()
        await clock.break_by(oops, engine)
    assert told.count(oops) == 2
    assert told.count(hold.uid) == 1
    calls: list[Callable[[], object]] = [
        engine.now,
        lambda: engine.local.get(hold.uid),
        engine.subscribe,
    ]
    for call in calls:
        with pytest.raises(EngineClosed, match="crashed, by Oops") as caught:
            call()
        assert caught.value.__cause__ is oops
    with pytest.raises(EngineClosed) as caught:
        await engine.confirm(hold.uid)
    assert caught.value.__cause__ is oops
    for _ in range(2):
        with pytest.raises(EngineClosed) as caught:
            await engine.aclose()
        assert caught.value.__cause__ is oops
    assert engine.statistics().held == 1


async def test_leaving_a_crashed_engine_tells_of_it() -> None:
    clock, oops = BreakableClock(), Oops("battery")
    with pytest.raises(EngineClosed) as caught:
        async with SlotEngine(clock=clock) as engine:
            await clock.break_by(oops, engine)
    assert caught.value.__cause__ is oops


async def test_what_the_body_raises_comes_before_the_crash() -> None:
    clock = BreakableClock()
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012
        async with SlotEngine(clock=clock) as engine:
            await clock.break_by(Oops(), engine)
            raise error
    assert caught.value is error


async def test_a_crash_while_it_is_closed_is_told_too() -> None:
    class Stubborn(SimClock):
        async def wait(self, wake: anyio.Event, until: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise Oops  # instead of the cancellation

    engine = SlotEngine(clock=Stubborn(NOW))
    await engine.start()
    await settle()
    with pytest.raises(EngineClosed) as caught:
        await engine.aclose()
    assert isinstance(caught.value.__cause__, Oops)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_not_even_an_exit_in_the_sweeper_takes_trio_down() -> None:
    clock, stop = BreakableClock(), SystemExit(3)
    engine = SlotEngine(clock=clock)
    await engine.start()
    await clock.break_by(stop, engine)
    with pytest.raises(EngineClosed) as caught:
        await engine.aclose()
    assert caught.value.__cause__ is stop


def test_an_exit_in_the_sweeper_is_an_exit_on_asyncio() -> None:
    clock = BreakableClock()
    engine = SlotEngine(clock=clock)

    async def main() -> None:
        await engine.start()
        await clock.break_by(SystemExit(3), engine)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    with pytest.raises(EngineClosed):
        engine.now()
    gc.collect()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_crash_reaches_other_threads(backend: str) -> None:
    clock, oops = BreakableClock(), Oops()
    engine = SlotEngine(clock=clock)
    blocking = BlockingEngine(engine, backend=backend)
    blocking.start()
    blocking.add_resource("room")
    with blocking.subscribe() as events:
        blocking.loop_thread.call(lambda: clock.break_by(oops, engine))
        for call in (
            lambda: next(events),
            blocking.now,
            lambda: blocking.get("1"),
            blocking.close,
        ):
            with pytest.raises(EngineClosed) as caught:
                call()
            assert caught.value.__cause__ is oops
    assert list(events) == []
    blocking.close()  # told once


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("error", [None, KeyError("mine")], ids=repr)
def test_leaving_a_blocking_engine_that_has_crashed(backend: str, error: Exception | None) -> None:
    """It tells of the crash, unless the body raises an error of its own."""
    clock, oops = BreakableClock(), Oops()
    engine = SlotEngine(clock=clock)
    raised = pytest.raises(EngineClosed if error is None else KeyError)
    with raised as caught, BlockingEngine(engine, backend=backend) as blocking:
        blocking.loop_thread.call(lambda: clock.break_by(oops, engine))
        if error is not None:
            raise error
    assert caught.value.__cause__ is (oops if error is None else None)
    assert "slotengine" not in {thread.name for thread in threading.enumerate()}


# --- What is injected, and what is copied ---------------------------------------------------


@pytest.mark.parametrize("told", [None, "x", 1.5, True, NOW, 2**70, -(2**70), 1893484800.0])
async def test_a_clock_that_tells_no_time_is_refused_at_the_start(told: object) -> None:
    class Wrong(SimClock):
        is_wrong = True

        def now(self) -> Any:
            return told if self.is_wrong else super().now()

    clock = Wrong(NOW)
    engine = SlotEngine(clock=clock)
    with pytest.raises(InvalidField, match="clock must tell the time in whole microseconds"):
        await engine.start()
    clock.is_wrong = False
    async with engine:
        await works(engine)


@pytest.mark.parametrize("clock", [5, "x", object(), SimClock, datetime, anyio.Event])
def test_what_is_no_clock_is_refused(clock: Any) -> None:
    with pytest.raises(InvalidField, match="clock must have the methods of a Clock"):
        SlotEngine(clock=clock)


@pytest.mark.parametrize("new_uid", [None, 5, "x", "5"])
def test_what_makes_no_uids_is_refused(new_uid: Any) -> None:
    with pytest.raises(InvalidField, match="new_uid must be a function"):
        SlotEngine(new_uid=new_uid)


async def test_nothing_that_runs_is_copied(clock: SimClock) -> None:
    """A copy would share the books, and wake no sweeper."""
    async with SlotEngine(clock=clock) as engine:
        runs: list[object] = [engine, engine.subscribe(), SlotEngine(), BlockingEngine()]
        for one in runs:
            for journey in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="cannot be copied or pickled"):
                    journey(one)
        await works(engine)
