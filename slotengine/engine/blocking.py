"""The engine for threaded frameworks (WSGI and the like): the same verbs, plain calls.

The engine runs in the event loop of a thread of its own; a call from any other
thread is carried over by anyio's portal and waits for its answer.  Measured:
120 µs a call, nearly all of it the way there and back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar, overload
from weakref import finalize

from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event, Lagged, Subscription
from slotengine.engine.local import LocalEngine
from slotengine.engine.loop_thread import LoopThread
from slotengine.engine.values import Ask, Quota, Reservation, Statistics
from slotengine.errors import EngineClosed, InvalidField, Refused, SlotError

if TYPE_CHECKING:
    from slotengine.core.ledger.clients import CommandId
    from slotengine.core.ledger.config import Kind, Setting
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

P = ParamSpec("P")
R = TypeVar("R")


def _carried(
    verb: Callable[Concatenate[SlotEngine, P], Awaitable[R]],
) -> Callable[Concatenate[BlockingEngine, P], R]:
    """Return the blocking twin of an async verb, with the same parameters."""

    @wraps(verb)
    def blocking(self: BlockingEngine, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.loop_thread.call(lambda: _with_details(verb(self.engine, *args, **kwargs)))

    return blocking


async def _with_details(call: Awaitable[R]) -> R:
    """Return the answer, with the details of refusals found here, and not where they are read."""
    try:
        result = await call
    except Refused as refusal:
        refusal.find_details()
        raise
    for one in result if isinstance(result, list) else ():
        if isinstance(one, Refused):
            one.find_details()
    return result


class BlockingEngine:
    """An engine for threads: a context manager, or to `start` and `close`.

    Any number of threads may call it at once; each call is one atomic step.

    >>> from datetime import UTC
    >>> from slotengine import minutes
    >>> with BlockingEngine() as engine:
    ...     engine.add_resource("room-1")
    ...     hold = engine.reserve("room-1", datetime(2030, 1, 7, 9, tzinfo=UTC), minutes(30))
    ...     print(engine.confirm(hold.uid).state)
    State.CONFIRMED

    Takes the engine to run, if it is not to be the default one, and the
    ``backend`` to run it on: "asyncio" or "trio".

    One that is dropped, or left open when the interpreter exits, is closed.  In
    its own thread, such as in its clock, and in a forked child, calls raise
    `EngineMisused`; before it is started and after it is closed, `EngineClosed`.
    """

    def __init__(self, engine: SlotEngine | None = None, *, backend: str = "asyncio") -> None:
        if engine is not None and not isinstance(engine, SlotEngine):
            raise InvalidField("engine", f"must be a SlotEngine, not {engine!r}")
        if backend not in ("asyncio", "trio"):
            raise InvalidField("backend", f"must be 'asyncio' or 'trio', not {backend!r}")
        self.engine = engine or SlotEngine()
        """The engine that it runs: for what runs in its event loop, such as the clock."""
        self.loop_thread = LoopThread(backend)
        """The thread that runs the event loop."""
        self._finalizer: finalize[..., BlockingEngine] | None = None

    def start(self) -> None:
        """Run the engine, in a thread of its own, until it is closed.

        Raises `EngineClosed` if it was started or closed before; and
        `LookupError` if the backend is not installed.
        """
        self.loop_thread.start()
        try:
            self.loop_thread.call(self.engine.start)
        except BaseException:
            self.loop_thread.stop()
            raise
        self._finalizer = finalize(self, self.loop_thread.finish, self.engine.aclose)

    def close(self) -> None:
        """Stop the engine and its thread: calls that wait are told `EngineClosed`.

        Can be called again, by several threads at once, and before `start`,
        which then is refused.  Raises `EngineClosed` from what crashed the
        engine, if anything did.
        """
        self._close(cancel=False)

    def _close(self, *, cancel: bool) -> None:
        try:
            self.loop_thread.call(self.engine.aclose)
        except EngineClosed as closed:
            if closed.__cause__ is not None:
                raise
        finally:
            self.loop_thread.stop(cancel=cancel)
            if self._finalizer is not None:
                self._finalizer.detach()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close(cancel=error is not None)
        except EngineClosed:
            if error is None:  # or else that is what comes out: it may well be the same
                raise

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled, such as for another process."""
        raise TypeError(
            "a BlockingEngine cannot be copied or pickled: it has a thread; "
            "start one in each process"
        )

    adopt = _carried(SlotEngine.adopt)

    @overload
    def reserve(
        self,
        what: Ask[R],
        /,
        *,
        jump: bool = False,
        wait: timedelta | None = None,
        command_id: CommandId | None = None,
    ) -> R: ...

    @overload
    def reserve(
        self,
        what: str,
        start: datetime,
        length: timedelta,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        quota: Quota | None = None,
        past: bool = False,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        jump: bool = False,
        wait: timedelta | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation: ...

    @wraps(SlotEngine.reserve)
    def reserve(self, *args: Any, **kwargs: Any) -> Any:
        """Do as `SlotEngine.reserve`."""
        return self.loop_thread.call(lambda: _with_details(self.engine.reserve(*args, **kwargs)))

    reserve_slot = _carried(SlotEngine.reserve_slot)
    move_slot = _carried(SlotEngine.move_slot)
    slots = _carried(SlotEngine.slots)
    openings = _carried(SlotEngine.openings)
    next_free = _carried(SlotEngine.next_free)
    replace_busy = _carried(SlotEngine.replace_busy)
    imported = _carried(SlotEngine.imported)
    extend = _carried(SlotEngine.extend)
    move = _carried(SlotEngine.move)
    confirm = _carried(SlotEngine.confirm)
    release = _carried(SlotEngine.release)
    cancel = _carried(SlotEngine.cancel)
    replace = _carried(SlotEngine.replace)
    annotate = _carried(SlotEngine.annotate)
    forget_bookings = _carried(SlotEngine.forget_bookings)
    get = _carried(SlotEngine.get)
    busy = _carried(SlotEngine.busy)
    is_free = _carried(SlotEngine.is_free)
    find = _carried(SlotEngine.find)

    def run(self, step: Callable[[LocalEngine], R]) -> R:
        """Do as `SlotEngine.run`: the function is called in the engine's own thread."""
        return self.loop_thread.call(lambda: _with_details(self.engine.run(step)))

    def add_resource(self, id: str, *, capacity: int = 1, schedule: Windows | None = None) -> None:
        """Do as `SlotEngine.add_resource`; before `start`, too."""

        def add() -> None:
            self.engine.add_resource(id, capacity=capacity, schedule=schedule)

        self._at_once(add) if self.loop_thread.runs else add()

    def add_event_type(self, event_type: EventType) -> None:
        """Do as `SlotEngine.add_event_type`; before `start`, too."""

        def add() -> None:
            self.engine.add_event_type(event_type)

        self._at_once(add) if self.loop_thread.runs else add()

    configure = _carried(SlotEngine.configure)

    def setting(self, kind: Kind, id: str, collection: str | None = None) -> Setting | None:
        """Do as `SlotEngine.setting`."""
        return self._at_once(lambda: self.engine.setting(kind, id, collection))

    def settings(self, kind: Kind | None = None) -> list[Setting]:
        """Do as `SlotEngine.settings`."""
        return self._at_once(lambda: self.engine.settings(kind))

    def now(self) -> datetime:
        """Do as `SlotEngine.now`."""
        return self._at_once(self.engine.now)

    def statistics(self) -> Statistics:
        """Do as `SlotEngine.statistics`."""
        return self._at_once(self.engine.statistics)

    @contextmanager
    def subscribe(self, *, buffer: int = 1024, after: str | None = None) -> Iterator[EventStream]:
        """Open a stream of changes, as a context manager over a plain iterator.

        It begins now, or ``after`` a cursor: see `SlotEngine.subscribe`.

        The iterator waits for each event, and ends when the engine is left; after a
        crash of the engine it raises `EngineClosed`.  It is for one thread: another one
        that would wait for the same stream is told `EngineMisused`.
        """
        subscription = self._at_once(lambda: self.engine.subscribe(buffer=buffer, after=after))
        try:
            yield EventStream(self.loop_thread, subscription)
        finally:
            with suppress(SlotError):  # it was closed with the engine, or is not ours
                self._at_once(subscription.close)

    def _at_once(self, function: Callable[[], R]) -> R:
        async def call() -> R:
            return function()

        return self.loop_thread.call(call)


class EventStream:
    """The events of a subscription, one after the other: see `BlockingEngine.subscribe`.

    No generator: to the second thread that reads one, that says what it is, not what to do.
    """

    def __init__(self, thread: LoopThread, subscription: Subscription) -> None:
        self._thread = thread
        self._subscription = subscription

    @property
    def cursor(self) -> str:
        """Where the stream stands: ``after`` it, all that was not read yet would be told."""
        return self._subscription.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event | Lagged:
        async def following() -> Event | Lagged | None:
            return await anext(self._subscription, None)

        try:
            event = self._thread.call(following)
        except EngineClosed as closed:
            if closed.__cause__ is not None:
                raise
            event = None
        if event is None:
            raise StopIteration
        return event
