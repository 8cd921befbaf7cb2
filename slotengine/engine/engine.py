"""The engine for tasks: what a booking service on asyncio or trio embeds.

Every verb of a `LocalEngine` is here as a coroutine, which first gives way to other tasks,
now and then, and then is one step of the ledger, with no await inside.  So a cancelled call
has either happened or not, and an engine needs no lock.  That also means that
an engine belongs to the thread of its event loop; other threads use
`slotengine.BlockingEngine`.  `Background` sees to that where the time is read.

Beside the verbs there are the sweeper, a task that marks what has lapsed; calls that wait
for a slot; and streams of events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar, overload
from weakref import WeakSet

import anyio
import anyio.lowlevel

from slotengine.core.ledger.changes import Changes, Waits
from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Entry
from slotengine.core.ledger.waitlist import Waitlist
from slotengine.engine.background import Background, refuse_in_child
from slotengine.engine.clock import Clock
from slotengine.engine.events import Event, Subscription, position_of
from slotengine.engine.inputs import check_step, check_time, plain, value_of
from slotengine.engine.local import LocalEngine
from slotengine.engine.turns import Turns
from slotengine.engine.uids import new_uid_in
from slotengine.engine.values import (
    Ask,
    Quota,
    Request,
    Reservation,
    Statistics,
    extra_of,
    request_for,
)
from slotengine.engine.waiting import SleepingCalls
from slotengine.errors import EngineClosed, EngineMisused, InvalidField, Refused

if TYPE_CHECKING:
    from slotengine.core.ledger.config import Kind, Setting
    from slotengine.core.ledger.ledger import Ledger
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

P = ParamSpec("P")
R = TypeVar("R")

EXPIRIES_PER_TURN = 128
"""The sweeper marks so many holds before it gives way.

Measured with a million of them lapsing at one instant: a tenth of a millisecond
a turn, and a quarter at the worst.  More than in a turn of calls, so that a backlog shrinks under
any load."""

_running: WeakSet[SlotEngine] = WeakSet()
"""The engines that a forked child has copies of, which do not run there."""


def _awaited(
    verb: Callable[Concatenate[LocalEngine, P], R],
) -> Callable[Concatenate[SlotEngine, P], Coroutine[Any, Any, R]]:
    """Return a verb as a coroutine function with the same parameters."""

    @wraps(verb)
    async def awaited(self: SlotEngine, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._turn_is_over():
            await self._give_way()
        return verb(self.local, *args, **kwargs)

    return awaited


class SlotEngine:
    """Holds slots, keeps them, confirms them, and lets them lapse.

    >>> from datetime import UTC
    >>> from slotengine import minutes
    >>> async def main():
    ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    ...     async with SlotEngine() as engine:
    ...         engine.add_resource("room-1", capacity=1)
    ...         hold = await engine.reserve("room-1", start, minutes(30), holder="customer-7")
    ...         booking = await engine.confirm(hold.uid)
    ...         print(booking.state, booking.length)
    >>> anyio.run(main)
    State.CONFIRMED 0:30:00

    Takes the arguments of `LocalEngine`, by name, and raises as that does.

    It runs from `start` to `aclose`, which ``async with`` calls.  These may be
    called by different tasks, but by the same event loop: the engine belongs to
    it, and a call from another one, another thread, or a forked child, raises
    `EngineMisused` and changes nothing.  Should the engine crash, as it would by
    an error of an injected clock, it is closed: calls, also those that wait,
    and streams of events then raise `EngineClosed` from what crashed it.
    """

    def __init__(
        self,
        *,
        default_ttl: timedelta = timedelta(minutes=5),
        min_ttl: timedelta = timedelta(seconds=1),
        max_ttl: timedelta = timedelta(days=1),
        max_life: timedelta | None = None,
        retention: timedelta = timedelta(hours=1),
        max_length: timedelta = timedelta(days=366),
        max_waiters: int = 1000,
        max_holds: int | None = None,
        max_held: timedelta | None = None,
        max_lapses: int | None = None,
        cool_down: timedelta = timedelta(minutes=5),
        max_waits: int | None = None,
        backlog: int = 1024,
        clock: Clock | None = None,
        new_uid: Callable[[int], str] = new_uid_in,
    ) -> None:
        self.local = LocalEngine(
            default_ttl=default_ttl,
            min_ttl=min_ttl,
            max_ttl=max_ttl,
            max_life=max_life,
            retention=retention,
            max_length=max_length,
            max_waiters=max_waiters,
            max_holds=max_holds,
            max_held=max_held,
            max_lapses=max_lapses,
            cool_down=cool_down,
            max_waits=max_waits,
            backlog=backlog,
            clock=clock,
            new_uid=new_uid,
        )
        """Where the verbs end, to look into.  Change things through it only in `run`."""
        self._reserve: Callable[..., Any] = self.local.reserve
        self._background: Background | None = None
        self._closed = False
        self._crash: BaseException | None = None
        self.turns = Turns()
        self._wake = anyio.Event()
        # Replaced on starting and closing: that the engine runs is checked for free, and that it
        # is called where it runs for a tenth of a microsecond; the await of a verb takes 4.5.
        self.local.read_clock = self._refuse
        self.local.wake = self._wake_sweeper
        self.sleeping = SleepingCalls(self.local.ledger, self.local.wake_if_due)
        """The calls that sleep while their commands wait, to look into."""

    # --- From start to end -----------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run, in this event loop.

        Whoever starts an engine closes it; in the same task or in another.  It
        can be started once.  A call that is cancelled has not started it.

        >>> async def main():
        ...     engine = SlotEngine()
        ...     await engine.start()
        ...     try:
        ...         print(engine.statistics().held)
        ...     finally:
        ...         await engine.aclose()
        >>> anyio.run(main)
        0

        Raises `EngineClosed` if it was started or closed before; and `InvalidField`
        if what the clock tells is no time.
        """
        await anyio.lowlevel.checkpoint()
        if self._background is not None or self._closed:
            raise EngineClosed("it was started or closed before; make another one")
        clock = self.local.clock
        check_time(clock.now())
        self._background = Background(self._sweep, name="slotengine sweeper", ended=self._end)
        self.local.read_clock = self._background.guarded(clock.now)
        _running.add(self)

    async def aclose(self) -> None:
        """Stop running: what waits is told `EngineClosed`, and streams of events end.

        Can be called again, by several tasks at once, and before `start`, which
        then is refused.  It is done even if the caller is cancelled.  What was
        reserved can still be counted (`statistics`), but nothing can be asked.

        Raises `EngineClosed` from what crashed the engine, if anything did; and
        `EngineMisused` elsewhere than where it was started, and then it goes on.
        """
        self._check_here()
        self._end(None)
        if self._background is not None:
            await self._background.stop()
        if self._crash is not None:
            raise self._why_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except EngineClosed:
            if error is None:  # or else that is what comes out: it may well be the same
                raise

    def _end(self, crash: BaseException | None) -> None:
        """Refuse calls from now on, also those that wait, and end the streams of events."""
        if self._crash is None:
            self._crash = crash
        if self._closed:
            return
        self._closed = True
        self.local.read_clock = self._refuse
        _running.discard(self)
        self.local.publisher.close_feeds(lambda: None if crash is None else self._why_closed())
        self.sleeping.close(self._why_closed)

    def _why_closed(self) -> EngineClosed:
        if self._crash is None:
            return EngineClosed()
        closed = EngineClosed(f"it has crashed, by {self._crash!r}")
        closed.__cause__ = self._crash
        return closed

    def _refuse(self) -> NoReturn:
        raise self._why_closed()

    def _check_here(self) -> None:
        """Raise `EngineMisused` if the engine runs, but elsewhere."""
        if self._background is not None and not self._closed:
            self._background.check()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled, such as for another process."""
        raise TypeError(
            "a SlotEngine cannot be copied or pickled: it belongs to its event loop; "
            "make another one, or start one in each process"
        )

    # --- Configuration -----------------------------------------------------------------

    def add_resource(self, id: str, *, capacity: int = 1, schedule: Windows | None = None) -> None:
        """Do as `LocalEngine.add_resource`; before `start`, too."""
        self._check_here()
        self.local.add_resource(id, capacity=capacity, schedule=schedule)

    def add_event_type(self, event_type: EventType) -> None:
        """Do as `LocalEngine.add_event_type`; before `start`, too."""
        self._check_here()
        self.local.add_event_type(event_type)

    configure = _awaited(LocalEngine.configure)

    def setting(self, kind: Kind, id: str, collection: str | None = None) -> Setting | None:
        """Do as `LocalEngine.setting`; before `start`, too."""
        self._check_here()
        return self.local.setting(kind, id, collection)

    def settings(self, kind: Kind | None = None) -> list[Setting]:
        """Do as `LocalEngine.settings`; before `start`, too."""
        self._check_here()
        return self.local.settings(kind)

    @property
    def ttl_bounds(self) -> tuple[timedelta, timedelta]:
        """The shortest and the longest TTL that a hold may have."""
        return self.local.ttl_bounds

    @property
    def default_ttl(self) -> timedelta:
        """How long a hold lives if the caller does not say."""
        return self.local.default_ttl

    def now(self) -> datetime:
        """Return the time by which this engine decides: the clock's, but never going backwards."""
        return self.local.now()

    def look(self) -> int:
        """Return the same as `now`, as UTC microseconds: for what has no need of a datetime."""
        return self.local.look()

    # --- Steps of several calls ------------------------------------------------------------

    async def run(self, step: Callable[[LocalEngine], R]) -> R:
        """Call a function with the `LocalEngine`, in one step: nothing else comes in between.

        What it returns is returned, and what it raises is raised; what it did before that
        stands, and is told to subscribers.  Keep it short: no other task runs meanwhile.

        >>> from datetime import UTC
        >>> from slotengine import LocalEngine, minutes
        >>> def swap(local: LocalEngine) -> str:
        ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     hold = local.reserve("room-1", start, minutes(30))
        ...     local.release(hold.uid)
        ...     return local.reserve("room-1", start, minutes(30), holder="customer-7").holder
        >>> async def main():
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         print(await engine.run(swap))
        >>> anyio.run(main)
        customer-7

        Raises `InvalidField` for a coroutine function, or one that returns a coroutine:
        nothing can be awaited in one step.
        """
        check_step(step)
        if self._turn_is_over():
            await self._give_way()
        self.local.read_clock()  # refuses when closed, and elsewhere
        return plain(step(self.local))

    # --- Reserve -----------------------------------------------------------------------

    @overload
    async def reserve(
        self,
        what: Ask[R],
        /,
        *,
        jump: bool = False,
        wait: timedelta | None = None,
        command_id: CommandId | None = None,
    ) -> R: ...

    @overload
    async def reserve(
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

    async def reserve(
        self,
        what: str | Ask[Any],
        start: Any = None,  # as above; whatever else it is, is refused
        length: Any = None,
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
    ) -> Any:
        """Do as `LocalEngine.reserve`; or wait for a slot that is taken.

        With a ``wait``, a caller that finds the slot taken waits for it, or for all that a
        `Request` claims, for that long at most: first come, first served.  One that is
        cancelled passes on what it was just given, unless it had a ``key`` or a ``command_id``.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> async def main():
        ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     async with SlotEngine() as engine, anyio.create_task_group() as tasks:
        ...         engine.add_resource("room-1")
        ...         hold = await engine.reserve("room-1", start, minutes(30), holder="first")
        ...         tasks.start_soon(engine.release, hold.uid)
        ...         hold = await engine.reserve(
        ...             "room-1", start, minutes(30), holder="second", wait=minutes(1)
        ...         )
        ...         print(hold.holder)
        >>> anyio.run(main)
        second

        Raises as `LocalEngine.reserve` does, with a ``wait`` what is so by then; and
        `TooManyWaiting`.
        """
        if self._turn_is_over():
            await self._give_way()
        if wait is not None:
            if not isinstance(what, str):
                options = (
                    start, length, units, holder, ttl, key, event_type, quota, past,
                    metadata, details, tags,
                )  # fmt: skip
                request = value_of(what, options)
                if not isinstance(request, Request):
                    name = request.__class__.__name__
                    raise InvalidField("wait", f"is for one request, not for what {name} has")
            else:
                request = request_for(
                    what, start, length, units, holder, ttl, key, event_type, quota, past,
                    metadata, details, tags,
                )  # fmt: skip
            return await self._wait_for(self.local.proposal(request), wait, jump, command_id)
        return self._reserve(
            what, start, length,
            units=units, holder=holder, ttl=ttl, key=key, event_type=event_type, quota=quota,
            past=past, metadata=metadata, details=details, tags=tags,
            jump=jump, command_id=command_id,
        )  # fmt: skip

    adopt = _awaited(LocalEngine.adopt)

    # --- Event types ---------------------------------------------------------------------

    async def reserve_slot(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        wait: timedelta | None = None,
        quota: Quota | None = None,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        requested: bool = False,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Do as `LocalEngine.reserve_slot`.

        With a ``wait`` it waits, as `reserve` does, as long as the slot may be booked; for a
        group, until one of its hosts is free.
        """
        if self._turn_is_over():
            await self._give_way()
        local = self.local
        if wait is not None:
            wanted = local.slot_request(
                event_type, start, length, ttl, only, enforce,
                seats=seats, holder=holder, key=key, quota=quota,
                extra=extra_of(metadata or {}, details, tags), requested=requested,
            )  # fmt: skip
            try:
                made = local.repeated(command_id)
                if made is not None:
                    return made
                found = local.service.prepare(wanted, now=local.look())
            except Refused:
                local.refused += 1
                raise
            if isinstance(found, Entry):
                return local.answer(found)
            return await self._wait_for(found, wait, jump, command_id)
        return local.reserve_slot(
            event_type, start,
            length=length, seats=seats, holder=holder, ttl=ttl, key=key,
            only=only, enforce=enforce, quota=quota,
            metadata=metadata, details=details, tags=tags, requested=requested,
            jump=jump, command_id=command_id,
        )  # fmt: skip

    move_slot = _awaited(LocalEngine.move_slot)
    slots = _awaited(LocalEngine.slots)
    openings = _awaited(LocalEngine.openings)
    next_free = _awaited(LocalEngine.next_free)

    # --- Imported busy time --------------------------------------------------------------

    replace_busy = _awaited(LocalEngine.replace_busy)
    imported = _awaited(LocalEngine.imported)

    # --- The life of a reservation -------------------------------------------------------

    extend = _awaited(LocalEngine.extend)
    move = _awaited(LocalEngine.move)
    confirm = _awaited(LocalEngine.confirm)
    release = _awaited(LocalEngine.release)
    cancel = _awaited(LocalEngine.cancel)
    replace = _awaited(LocalEngine.replace)
    annotate = _awaited(LocalEngine.annotate)

    async def forget_bookings(self, before: datetime) -> int:
        """Do as `LocalEngine.forget_bookings`; others have their turn meanwhile."""
        await self._give_way()
        forgotten = 0
        for count in self.local.forgetting(before):
            forgotten += count
            await self._give_way()
        return forgotten

    # --- Reading -------------------------------------------------------------------------

    get = _awaited(LocalEngine.get)
    busy = _awaited(LocalEngine.busy)
    is_free = _awaited(LocalEngine.is_free)
    find = _awaited(LocalEngine.find)

    def subscribe(self, *, buffer: int = 1024, after: str | None = None) -> Subscription:
        """Return a stream of all changes from now on, or ``after`` a cursor; see `Subscription`.

        A subscriber that has ``buffer`` events waiting begins to miss the
        oldest, and is told how many.

        Each event and each subscription has a ``cursor``.  A subscriber that comes back with the
        one of the last event that it has seen goes on without a gap, while the engine
        still has the events since then.  It keeps the latest ones (``backlog``), until as
        many have come while nobody was subscribed.  Otherwise it raises `CursorExpired`: subscribe
        without a cursor, list the reservations with `find`, then follow.  An event of a
        reservation whose ``version`` is no newer than the one that was listed is to be skipped.

        >>> import anyio
        >>> from datetime import UTC, datetime
        >>> from slotengine import minutes
        >>> async def main():
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         with engine.subscribe() as events:
        ...             cursor = events.cursor
        ...         nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...         await engine.reserve("room-1", nine, minutes(30))
        ...         with engine.subscribe(after=cursor) as events:
        ...             async for event in events:
        ...                 return event.verb
        >>> anyio.run(main)
        <Verb.RESERVE: 'reserve'>

        Raises `InvalidField` for what is no cursor, and `EngineClosed`.
        """
        self.local.read_clock()  # refuse when closed: such a stream would never end
        publisher = self.local.publisher
        missed = [] if after is None else publisher.missed_after(after)
        start = publisher.position() if after is None else position_of(after)
        subscription = Subscription(buffer, self._check_here, publisher.listen, start, missed)
        publisher.add_feed(subscription.feed)
        return subscription

    def statistics(self) -> Statistics:
        """Do as `LocalEngine.statistics`; after the end, too."""
        self._check_here()
        return self.local.statistics()

    # --- For tests and tools ---------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The ledger that decides, to look into.  What is changed through it, nobody is told."""
        return self.local.ledger

    @property
    def waitlist(self) -> Waitlist:
        """The commands that wait for slots, to look into."""
        return self.local.ledger.waitlist

    @property
    def clock(self) -> Clock:
        """The clock that the engine was made with."""
        return self.local.clock

    @property
    def turns(self) -> Turns:
        """When async verbs give way to other tasks; can be replaced."""
        return self._turns

    @turns.setter
    def turns(self, turns: Turns) -> None:
        self._turns = turns
        self._turn_is_over = turns.is_over

    def check_invariants(self) -> None:
        """Do as `LocalEngine.check_invariants`."""
        self._check_here()
        self.local.check_invariants()

    def observe(self, listen: Callable[[Event], None]) -> Callable[[], None]:
        """Do as `LocalEngine.observe`; before `start`, too."""
        self._check_here()
        if self._closed:
            raise self._why_closed()
        return self.local.observe(listen)

    def record(self, keep: Callable[[Changes], None]) -> None:
        """Do as `LocalEngine.record`; before `start`, too."""
        self._check_here()
        self.local.record(keep)

    def replay(self, steps: Iterable[Changes]) -> None:
        """Do as `LocalEngine.replay`, before `start`.

        Raises also `EngineMisused` once it was started: subscribers would miss what is replayed.
        """
        self._check_here()
        if self._background is not None:
            raise EngineMisused("steps are replayed before 'start': make another engine for them")
        self.local.replay(steps)

    # --- Inside --------------------------------------------------------------------------

    async def _give_way(self) -> None:
        self._check_here()
        await self._turns.give_way()

    async def _wait_for(
        self, proposal: Proposal, wait: timedelta, jump: bool, command_id: CommandId | None
    ) -> Reservation:
        self._check_here()
        local = self.local
        try:
            found = local.reserve_or_wait(proposal, wait, jump=jump, command_id=command_id)
            if isinstance(found, Waits):
                return await self.sleeping.answer(found.ticket, keep=command_id is not None)
        except Refused:
            local.refused += 1
            raise
        return local.answer(found)

    def _wake_sweeper(self) -> None:
        self._wake.set()

    async def _sweep(self) -> None:
        local, clock, ledger = self.local, self.local.clock, self.local.ledger
        while True:
            while ledger.due <= ledger.look(clock.now()):
                ledger.expire(ledger.state.now, EXPIRIES_PER_TURN)
                self.sleeping.serve(ledger.state.now)
                await anyio.lowlevel.checkpoint()
            self._wake = anyio.Event()
            local.wakes_at = ledger.due
            await clock.wait(self._wake, local.wakes_at)


def after_fork() -> None:
    for engine in list(_running):
        engine.local.read_clock = refuse_in_child


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which has no fork
    os.register_at_fork(after_in_child=after_fork)
