"""Calls from where the engine is not: other threads, event loops and processes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from slotengine import (
    AllOf,
    BlockingEngine,
    Claim,
    EachOf,
    EngineClosed,
    EngineMisused,
    EventType,
    InvalidField,
    Kind,
    OneOf,
    Put,
    Request,
    ReservationQuery,
    ResourceConfig,
    SlotEngine,
    SlotQuery,
    minutes,
)
from slotengine.engine import background
from slotengine.engine.engine import after_fork
from slotengine.engine.local import LocalEngine
from slotengine.engine.turns import CALLS_PER_TURN
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
END = datetime(2030, 1, 7, 10, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
REQUEST = Request(START, HALF_HOUR, (Claim("room"),))
HALL = Put(Kind.RESOURCE, "hall", ResourceConfig(capacity=3))
PATIENCE_S = 30
"""No test takes as long, unless something hangs."""


class Oops(Exception):
    """What goes wrong in somebody's program."""


CALLS: dict[str, Callable[[SlotEngine, str], object]] = {
    "reserve": lambda e, _: e.reserve("room", START, HALF_HOUR),
    "reserve, waiting": lambda e, _: e.reserve("room", START, HALF_HOUR, wait=minutes(1)),
    "reserve, request": lambda e, _: e.reserve(REQUEST),
    "reserve, a request, waiting": lambda e, _: e.reserve(REQUEST, wait=minutes(1)),
    "adopt": lambda e, _: e.adopt(REQUEST),
    "reserve, all": lambda e, _: e.reserve(AllOf([REQUEST])),
    "reserve, each": lambda e, _: e.reserve(EachOf([REQUEST])),
    "reserve, any": lambda e, _: e.reserve(OneOf([REQUEST])),
    "reserve_slot": lambda e, _: e.reserve_slot("talk", START),
    "reserve_slot, waiting": lambda e, _: e.reserve_slot("talk", START, wait=minutes(1)),
    "move_slot": lambda e, uid: e.move_slot(uid, START, event_type="talk"),
    "slots": lambda e, _: e.slots(SlotQuery("talk", START, END)),
    "next_free": lambda e, _: e.next_free(SlotQuery("talk")),
    "replace_busy": lambda e, _: e.replace_busy("calendar", {"room": [(START, END)]}),
    "imported": lambda e, _: e.imported("room", START, END),
    "extend": lambda e, uid: e.extend(uid),
    "move": lambda e, uid: e.move(uid, START),
    "move, to a request": lambda e, uid: e.move(uid, REQUEST),
    "move, any": lambda e, uid: e.move(uid, OneOf([REQUEST])),
    "confirm": lambda e, uid: e.confirm(uid),
    "release": lambda e, uid: e.release(uid),
    "cancel": lambda e, uid: e.cancel(uid),
    "forget_bookings": lambda e, _: e.forget_bookings(NOW),
    "replace": lambda e, uid: e.replace(uid, REQUEST),
    "annotate": lambda e, uid: e.annotate(uid, tags=["late"]),
    "find": lambda e, _: e.find(ReservationQuery(holder="me")),
    "get": lambda e, uid: e.get(uid),
    "busy": lambda e, _: e.busy("room", START, END),
    "is_free": lambda e, _: e.is_free(REQUEST),
    "local.reserve": lambda e, _: e.local.reserve("room", START, HALF_HOUR),
    "local.reserve, request": lambda e, _: e.local.reserve(REQUEST),
    "local.adopt": lambda e, _: e.local.adopt(REQUEST),
    "local.reserve, all": lambda e, _: e.local.reserve(AllOf([REQUEST])),
    "local.reserve, each": lambda e, _: e.local.reserve(EachOf([REQUEST])),
    "local.reserve, any": lambda e, _: e.local.reserve(OneOf([REQUEST])),
    "local.reserve_slot": lambda e, _: e.local.reserve_slot("talk", START),
    "local.move_slot": lambda e, uid: e.local.move_slot(uid, START, event_type="talk"),
    "local.slots": lambda e, _: e.local.slots(SlotQuery("talk", START, END)),
    "local.openings": lambda e, _: e.local.openings(SlotQuery("talk", START, END)),
    "local.next_free": lambda e, _: e.local.next_free(SlotQuery("talk")),
    "local.replace_busy": lambda e, _: e.local.replace_busy("calendar", {}),
    "local.imported": lambda e, _: e.local.imported("room", START, END),
    "local.extend": lambda e, uid: e.local.extend(uid),
    "local.move": lambda e, uid: e.local.move(uid, START),
    "local.move, to a request": lambda e, uid: e.local.move(uid, REQUEST),
    "local.move, any": lambda e, uid: e.local.move(uid, OneOf([REQUEST])),
    "local.confirm": lambda e, uid: e.local.confirm(uid),
    "local.release": lambda e, uid: e.local.release(uid),
    "local.cancel": lambda e, uid: e.local.cancel(uid),
    "local.forget_bookings": lambda e, _: e.local.forget_bookings(NOW),
    "local.replace": lambda e, uid: e.local.replace(uid, REQUEST),
    "local.annotate": lambda e, uid: e.local.annotate(uid, tags=["late"]),
    "local.find": lambda e, _: e.local.find(ReservationQuery(holder="me")),
    "local.get": lambda e, uid: e.local.get(uid),
    "local.busy": lambda e, _: e.local.busy("room", START, END),
    "local.is_free": lambda e, _: e.local.is_free(REQUEST),
    "start": lambda e, _: e.start(),
    "aclose": lambda e, _: e.aclose(),
    "__aenter__": lambda e, _: e.__aenter__(),
    "__aexit__": lambda e, _: e.__aexit__(None, None, None),
    "add_resource": lambda e, _: e.add_resource("annex"),
    "add_event_type": lambda e, _: e.add_event_type(
        EventType(id="visit", length=HALF_HOUR, all_of=["room"])
    ),
    "configure": lambda e, _: e.configure([HALL]),
    "local.configure": lambda e, _: e.local.configure([HALL]),
    "setting": lambda e, _: e.setting(Kind.RESOURCE, "room"),
    "settings": lambda e, _: e.settings(),
    "subscribe": lambda e, _: e.subscribe(),
    "statistics": lambda e, _: e.statistics(),
    "now": lambda e, _: e.now(),
    "look": lambda e, _: e.look(),
    "check_invariants": lambda e, _: e.check_invariants(),
    "observe": lambda e, _: e.observe(print),
    "record": lambda e, _: e.record(print),
    "replay": lambda e, _: e.replay([]),
    "openings": lambda e, _: e.openings(SlotQuery("talk", START, END)),
    "run": lambda e, _: e.run(lambda local: local.now()),
}
BEFORE_ALL_ELSE = {"start", "__aenter__"}
"""What is refused everywhere alike, since the engine was started."""


def test_every_call_is_tried() -> None:
    public = {
        name
        for name, member in inspect.getmembers(SlotEngine, inspect.isfunction)
        if not name.startswith("_") or name in {"__aenter__", "__aexit__"}
    }
    local = {
        f"local.{name}"
        for name, _ in inspect.getmembers(LocalEngine, inspect.isfunction)
        if name in public and inspect.iscoroutinefunction(getattr(SlotEngine, name))
    }
    assert {name.partition(",")[0] for name in CALLS} == public | local


def prepared(engine: SlotEngine) -> str:
    engine.add_resource("room")
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
    return engine.local.reserve("room", START, HALF_HOUR).uid


async def outcome(call: Callable[[], object]) -> BaseException | None:
    try:
        result = call()
        if inspect.isawaitable(result):
            await result
    except Exception as error:
        return error
    return None


def expected(name: str) -> type[Exception]:
    return EngineClosed if name in BEFORE_ALL_ELSE else EngineMisused


@pytest.mark.parametrize("there", ["asyncio", "trio", "no loop"])
@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_another_thread_is_told_and_changes_nothing(here: str, there: str) -> None:
    found: dict[str, BaseException | None] = {}

    async def all_of_them(engine: SlotEngine, uid: str) -> None:
        for name, call in CALLS.items():
            for _ in range(2 if name == "get" else 1):
                found[name] = await outcome(lambda call=call: call(engine, uid))  # type: ignore[misc]

    def thread(engine: SlotEngine, uid: str) -> None:
        if there != "no loop":
            anyio.run(all_of_them, engine, uid, backend=there)
            return
        for name, call in CALLS.items():
            if not inspect.iscoroutinefunction(getattr(SlotEngine, name.partition(",")[0], None)):
                try:
                    call(engine, uid)
                    found[name] = None
                except Exception as error:
                    found[name] = error

    async def main() -> None:
        clock = SimClock(NOW)
        async with SlotEngine(clock=clock) as engine:
            uid = prepared(engine)
            before = engine.statistics()
            await anyio.to_thread.run_sync(thread, engine, uid)
            assert engine.statistics() == before
            hold = await engine.extend(uid)
            assert hold.version == 2
            await clock.advance(minutes(5))
            assert engine.statistics().expired == 1

    anyio.run(main, backend=here)
    assert len(found) >= 30
    assert {name: type(error) for name, error in found.items()} == {
        name: expected(name) for name in found
    }
    assert "thread" in str(found["local.get"])


@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_a_stream_is_read_where_the_engine_is(here: str) -> None:
    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW)) as engine:
            engine.add_resource("room")
            with engine.subscribe() as events:
                for buffered in range(2):
                    for call in (lambda: anext(events), events.close):
                        error = await anyio.to_thread.run_sync(
                            lambda call=call: anyio.run(outcome, call)  # type: ignore[misc]
                        )
                        assert isinstance(error, EngineMisused)
                    if not buffered:
                        await engine.reserve("room", START, HALF_HOUR)
                assert await anext(events) is not None

    anyio.run(main, backend=here)


@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_a_stream_is_read_by_one_task(here: str) -> None:
    read: list[object] = []

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW)) as engine, anyio.create_task_group() as tasks:
            engine.add_resource("room")
            events = engine.subscribe()

            async def read_one() -> None:
                read.append(await anext(events))

            tasks.start_soon(read_one)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            with pytest.raises(EngineMisused, match="another task"):
                await anext(events)
            await engine.reserve("room", START, HALF_HOUR)

    anyio.run(main, backend=here)
    assert len(read) == 1


# --- Another event loop ----------------------------------------------------------------------


@pytest.fixture
def loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    with asyncio.Runner() as one, asyncio.Runner() as other:
        yield one.get_loop(), other.get_loop()


@pytest.mark.parametrize("closed", [False, True])
def test_another_loop_in_the_same_thread_is_told(
    loops: tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop], closed: bool
) -> None:
    ours, other = asyncio.new_event_loop(), loops[1]
    engine = SlotEngine(clock=SimClock(NOW))
    ours.run_until_complete(engine.start())
    uid = prepared(engine)  # where no loop runs at all, in the same thread
    before = engine.statistics()
    sweeper = asyncio.all_tasks(ours)
    if closed:
        ours.close()
    for name, call in CALLS.items():
        error = other.run_until_complete(outcome(lambda call=call: call(engine, uid)))  # type: ignore[misc]
        assert type(error) is expected(name), name
    if closed:
        with pytest.raises(EngineMisused):
            engine.local.get(uid)
        for task in sweeper:  # as the interpreter would at its end, with a warning
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
        background.tasks.difference_update(sweeper)
        return
    assert engine.statistics() == before
    assert ours.run_until_complete(engine.extend(uid)).version == 2
    ours.run_until_complete(engine.aclose())
    ours.close()


def test_a_loop_inside_of_the_engines_own_is_told_when_it_waits() -> None:
    """trio lets itself be run within a callback of asyncio, and asyncio within a task of trio."""
    found: list[BaseException | None] = []

    async def inner(engine: SlotEngine) -> None:
        found.append(
            await outcome(lambda: engine.reserve("room", START, HALF_HOUR, wait=minutes(1)))
        )
        for _ in range(CALLS_PER_TURN):
            found.append(await outcome(lambda: engine.get("1")))  # noqa: PERF401

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW)) as engine:
            engine.add_resource("room")
            import trio

            trio.run(inner, engine)

    asyncio.run(main())
    assert {type(one) for one in found} == {EngineMisused, type(None)}
    assert isinstance(found[0], EngineMisused)


def test_two_runs_with_one_engine_are_told() -> None:
    engine = SlotEngine()
    asyncio.run(engine.start())

    async def second() -> None:
        with pytest.raises(EngineClosed):
            await engine.reserve("room", START, HALF_HOUR, wait=minutes(1))
        with pytest.raises(EngineClosed):
            await engine.start()

    asyncio.run(second())


# --- A forked child ----------------------------------------------------------------------------


def run_script(source: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    return ended.stdout


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@forks
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_forked_child_is_told(backend: str) -> None:
    printed = run_script(f"""
        import asyncio, os, sys, warnings, anyio
        from datetime import UTC, datetime
        from slotengine import BlockingEngine, EngineMisused, SlotEngine, minutes
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        START = datetime(2050, 1, 7, 9, 7, 23, tzinfo=UTC)

        def told(function):
            try:
                result = function()
            except EngineMisused as error:
                return "forked" in str(error)
            return result

        async def call(function):
            try:
                return await function()
            except EngineMisused as error:
                return "forked" in str(error)

        async def own():
            async with SlotEngine() as engine:
                engine.add_resource("room")
                return (await engine.reserve("room", START, minutes(30))).uid

        async def main():
            engine = SlotEngine()
            await engine.start()
            engine.add_resource("room")
            hold = await engine.reserve("room", START, minutes(30))
            events = engine.subscribe()
            child = os.fork()
            if not child:
                found = [
                    await call(lambda: engine.reserve("room", START, minutes(30), wait=minutes(1))),
                    await call(lambda: engine.get(hold.uid)),
                    await call(lambda: anext(events)),
                    await call(engine.aclose),
                    told(lambda: engine.local.get(hold.uid)), told(engine.statistics),
                    told(lambda: engine.add_resource("annex")), told(events.close),
                ]
                if "{backend}" == "trio":
                    found.append(await own() != hold.uid)
                else:  # asyncio knows that the copy of its loop does not run
                    found.append(asyncio.run(own()) != hold.uid)
                print(found.count(True), len(found), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print((await engine.extend(hold.uid)).version, flush=True)
            await engine.aclose()

        anyio.run(main, backend="{backend}")

        engine = BlockingEngine(backend="{backend}")
        engine.start()
        engine.add_resource("room")
        hold = engine.reserve("room", START, minutes(30))
        child = os.fork()
        if not child:
            calls = [
                lambda: engine.get(hold.uid), engine.now, engine.statistics, engine.close,
                engine.start, lambda: engine.add_resource("annex"),
                lambda: engine.subscribe().__enter__(),
                lambda: engine.reserve("room", START, minutes(30), wait=minutes(1)),
            ]
            found = [told(call) for call in calls]
            with BlockingEngine(backend="{backend}") as own:
                own.add_resource("room")
                found.append(own.reserve("room", START, minutes(30)).uid != hold.uid)
            print(found.count(True), len(found), flush=True)
            sys.exit(0)  # with the parent's engine left open
        print(os.waitpid(child, 0)[1], engine.extend(hold.uid).version)
    """)
    assert printed.split("\n") == ["9 9", "2", "9 9", "0 2", ""]


@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_what_a_child_does_is_refused_in_a_process_of_another_number(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the child above does, where it can be seen which lines ran."""

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW)) as engine:
            uid = prepared(engine)
            now = engine.local.read_clock  # what a fork replaces
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: -1)
                with pytest.raises(EngineMisused, match="forked"):
                    engine.statistics()
                with pytest.raises(EngineMisused, match="forked"):
                    await engine.aclose()
                after_fork()
                with pytest.raises(EngineMisused, match="forked"):
                    await engine.get(uid)
            engine.local.read_clock = now
            assert (await engine.extend(uid)).version == 2

    anyio.run(main, backend=here)
    with BlockingEngine(backend=here) as blocking:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            calls: list[Callable[[], object]] = [blocking.now, blocking.start, blocking.close]
            for call in calls:
                with pytest.raises(EngineMisused, match="forked"):
                    call()
            blocking.loop_thread.finish(blocking.engine.aclose)  # does nothing
        assert blocking.statistics().held == 0


def test_a_callback_of_the_loop_is_where_the_engine_is() -> None:
    async def main() -> list[int]:
        async with SlotEngine(clock=SimClock(NOW)) as engine:
            held: list[int] = []
            asyncio.get_running_loop().call_soon(lambda: held.append(engine.statistics().held))
            await asyncio.sleep(0)
            return held

    assert asyncio.run(main()) == [0]


# --- A blocking engine ---------------------------------------------------------------------------


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_is_started_and_closed_without_a_with(backend: str) -> None:
    engine = BlockingEngine(backend=backend)
    with pytest.raises(EngineClosed):
        engine.now()
    engine.start()
    engine.add_resource("room")
    uid = engine.reserve("room", START.replace(year=2050), HALF_HOUR).uid
    with pytest.raises(EngineClosed, match="before"):
        engine.start()
    with ThreadPoolExecutor(4) as threads:  # any thread may close it, and several may
        assert threads.submit(engine.get, uid).result() is not None
        for closing in [threads.submit(engine.close) for _ in range(4)]:
            closing.result(PATIENCE_S)
    engine.close()
    for call in (engine.now, engine.start, lambda: engine.get(uid)):
        with pytest.raises(EngineClosed):
            call()
    assert "slotengine" not in {thread.name for thread in threading.enumerate()}


def test_closed_before_it_is_started(backend: str) -> None:
    engine = BlockingEngine(backend=backend)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.start()


def test_an_engine_that_runs_elsewhere_stays_there(backend: str) -> None:
    async def main() -> None:
        async with SlotEngine() as engine:
            blocking = BlockingEngine(engine, backend=backend)
            with pytest.raises(EngineClosed if backend == "asyncio" else EngineMisused):
                blocking.start()
            engine.add_resource("room")
            assert engine.local.reserve("room", START.replace(year=2050), HALF_HOUR).uid

    anyio.run(main, backend=backend)


def test_a_backend_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, backend: str) -> None:
        raise LookupError(f"Backend {backend!r} is not available")

    monkeypatch.setattr("slotengine.engine.loop_thread.anyio.run", run)
    engine = BlockingEngine(backend="trio")
    with pytest.raises(LookupError, match="not available"):
        engine.start()
    engine.close()


def test_calls_in_its_own_thread_are_told(backend: str) -> None:
    """Goal: a clock, or whatever else runs there, cannot make the engine wait for itself."""
    found: list[Exception] = []

    class Calling(SimClock):
        def now(self) -> int:
            calls: list[Callable[[], object]] = [engine.statistics, engine.close, engine.start]
            for call in calls:
                try:
                    call()
                except Exception as error:
                    found.append(error)
            return super().now()

    engine = BlockingEngine(SlotEngine(clock=Calling(NOW)), backend=backend)
    with engine:
        engine.now()
    assert len(found) >= 3
    assert {type(one) for one in found} == {EngineMisused}
    assert "own thread" in str(found[0])


def test_closing_tells_calls_that_wait(backend: str) -> None:
    begun = threading.Event()

    class Telling(SlotEngine):
        async def _wait_for(self, *args: Any, **more: Any) -> Any:
            begun.set()
            return await super()._wait_for(*args, **more)

    with ThreadPoolExecutor(1) as threads:
        engine = BlockingEngine(Telling(clock=SimClock(NOW)), backend=backend)
        engine.start()
        engine.add_resource("room")
        engine.reserve("room", START, HALF_HOUR)
        waiting = threads.submit(engine.reserve, "room", START, HALF_HOUR, wait=minutes(1))
        assert begun.wait(PATIENCE_S)
        engine.close()
        assert isinstance(waiting.exception(PATIENCE_S), EngineClosed)


def test_an_interrupted_call_waits_no_longer(backend: str) -> None:
    """Goal: Ctrl-C during a call that waits takes the call out of the queue."""
    with BlockingEngine(SlotEngine(clock=SimClock(NOW)), backend=backend) as engine:
        engine.add_resource("room")
        engine.reserve("room", START, HALF_HOUR)
        portal = engine.loop_thread.portal
        assert portal is not None
        start_task_soon = portal.start_task_soon

        def interrupted() -> None:
            raise KeyboardInterrupt

        def start(function: Any) -> Future[Any]:
            del portal.start_task_soon
            future = start_task_soon(function)
            future.result = interrupted  # type: ignore[assignment, method-assign]
            return future

        portal.start_task_soon = start  # type: ignore[assignment, method-assign]
        with pytest.raises(KeyboardInterrupt):
            engine.reserve("room", START, HALF_HOUR, wait=minutes(1))
        for _ in range(1_000):
            if not engine.statistics().waiting:
                break
        assert engine.statistics().waiting == 0
        assert engine.statistics().held == 1


def test_one_that_is_dropped_is_closed(backend: str) -> None:
    inner = SlotEngine()
    engine = BlockingEngine(inner, backend=backend)
    engine.start()
    thread = engine.loop_thread.thread
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert thread is not None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    with pytest.raises(EngineClosed):
        inner.now()


def test_one_that_is_dropped_in_its_own_thread_is_closed(backend: str) -> None:
    """As by the cycle collector, when it happens to run there."""
    inner = SlotEngine()
    engines = [BlockingEngine(inner, backend=backend)]
    engines[0].start()
    thread, portal = engines[0].loop_thread.thread, engines[0].loop_thread.portal
    assert thread is not None
    assert portal is not None

    def drop() -> None:
        engines.clear()

    portal.call(drop)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    with pytest.raises(EngineClosed):
        inner.now()


def test_what_breaks_the_loop_down_is_told(backend: str) -> None:
    """An exit of the loop's own: later calls find no loop, and closing does not wait for it."""
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        engine = BlockingEngine(SlotEngine(clock=SimClock(NOW)), backend=backend)
        engine.start()

        async def leave() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            engine.loop_thread.call(leave)
        assert engine.loop_thread.thread is not None
        engine.loop_thread.thread.join(PATIENCE_S)
        with pytest.raises(EngineClosed):
            engine.now()
        engine.close()
    finally:
        threading.excepthook = hook


@pytest.mark.parametrize("how", ["return", "raise", "sys.exit", "a thread that calls on"])
def test_the_interpreter_exits_with_one_left_open(backend: str, how: str) -> None:
    end = {
        "return": "",
        "raise": "raise SystemExit(0)",
        "sys.exit": "import sys; sys.exit(0)",
        "a thread that calls on": "threading.Thread(target=many).start()",
    }[how]
    printed = run_script(f"""
        import threading
        from datetime import UTC, datetime
        from slotengine import BlockingEngine, minutes
        engine = BlockingEngine(backend="{backend}")
        engine.start()
        engine.add_resource("room")
        with_another = BlockingEngine(backend="{backend}").__enter__()
        events = engine.subscribe().__enter__()

        def many():
            for _ in range(200):
                engine.get("1")
            print("all", flush=True)

        engine.reserve("room", datetime(2050, 1, 7, 9, tzinfo=UTC), minutes(30))
        print("end", flush=True)
        {end}
    """)
    assert printed.split() == (["end", "all"] if "thread" in how else ["end"])


def test_its_arguments_are_checked() -> None:
    with pytest.raises(InvalidField, match="engine must be a SlotEngine"):
        BlockingEngine("engine")  # type: ignore[arg-type]
    for backend in ("curio", None, ["asyncio"]):
        with pytest.raises(InvalidField, match="backend must be"):
            BlockingEngine(backend=backend)  # type: ignore[arg-type]


def test_finishing_twice_is_harmless(backend: str) -> None:
    engine = BlockingEngine(backend=backend)
    engine.start()
    engine.close()
    engine.loop_thread.finish(engine.engine.aclose)


def test_a_stack_of_engines(backend: str) -> None:
    with ExitStack() as stack:
        engines = [stack.enter_context(BlockingEngine(backend=backend)) for _ in range(3)]
        assert all(engine.statistics().held == 0 for engine in engines)


# --- A stream that is dropped ---------------------------------------------------------------------


@pytest.fixture
def young_objects() -> Iterator[None]:
    """Let the cycle collector look only at what the test makes, not at all that is loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_a_stream_that_is_dropped_is_forgotten(here: str, young_objects: None) -> None:
    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW), backlog=0) as engine:
            engine.add_resource("room")
            engine.subscribe()
            events = engine.subscribe()
            uid = (await engine.reserve("room", START, HALF_HOUR)).uid
            async for _ in events:
                break
            assert engine.statistics().subscribers == 1
            del events
            gc.collect()
            assert engine.statistics().subscribers == 0
            assert engine.ledger.on_change is None
            for _ in range(100):
                engine.subscribe()
                gc.collect()
            await engine.extend(uid)  # they are forgotten without being asked for
            assert engine.local.publisher.feeds == []  # statistics() forgets them
            assert engine.ledger.on_change is None
            with pytest.raises(InvalidField):
                engine.subscribe(buffer=0)

    anyio.run(main, backend=here)


def test_a_task_that_waits_for_an_event_is_not_dropped() -> None:
    """asyncio keeps no tasks, and many a program does not either."""
    read: list[object] = []

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOW)) as engine:
            engine.add_resource("room")

            async def listen() -> None:
                async for event in engine.subscribe():
                    read.append(event)  # noqa: PERF401

            asyncio.create_task(listen())  # noqa: RUF006
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gc.collect()
            await engine.reserve("room", START, HALF_HOUR)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(read) == 1

    asyncio.run(main())
