"""Playing a history: one engine after another, beside the model, and checks after every step.

Nothing here is left to chance.  There is one driver, which lets one call at a
time run until it is done or parked, and lets the sweeper and the subscribers
come to rest in between.  So it does not matter in which order an event loop
runs its tasks, and a history plays alike on asyncio and on trio.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import singledispatchmethod
from itertools import count
from typing import Any, Final, NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel

from slotengine.core.ledger.books import CHORES
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import duration_us, from_us, to_us
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event
from slotengine.errors import Refused
from slotengine.testing import naive_plan
from slotengine.testing.model import NaiveLedger, Seen
from slotengine.testing.operations import (
    Answer,
    Operation,
    in_engine,
    in_engine_nowait,
    in_model,
    uids_for,
    uids_in,
)
from slotengine.testing.simulation.home import FREE_OPTIONS, OPTIONS, PARKED, Home
from slotengine.testing.simulation.listener import Listener
from slotengine.testing.simulation.looking import look
from slotengine.testing.simulation.settling import settle_down
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    FIRST,
    FREE_TERMS,
    LAST,
    ORIGIN,
    RESOURCES,
    SCALE,
    TERMS,
    TICK,
    Call,
    Crash,
    Deafen,
    GiveUp,
    How,
    Import,
    Jump,
    JumpTo,
    JumpToEnd,
    Look,
    Resume,
    Stall,
    Step,
    at,
)
from slotengine.testing.simulation.swept_clock import SweptClock
from slotengine.testing.simulation.transcript import Told, difference
from slotengine.testing.simulation.waiters import Caller, Waiters
from slotengine.testing.watch import ALWAYS, InvariantBroken, Watch

MOST_TURNS: Final = 500
"""Whoever has not come to rest after so many turns of the event loop never will."""

MADE_FOR_WHAT_IS_THERE: Final = frozenset(
    {"shorten", "prolong", "move", "move_slot", "forget_bookings"}
)
"""Never parked: by the time they went on, the reservation might be of another kind."""

BUFFERS: Final = (4, 1_000)
"""How many events the buffer of each subscriber takes: one lags when it stalls, one does not."""

LOOK_EVERY: Final = 8
"""Everything that the engine says is compared with the events each so many steps.

Measured: looking at each takes twice as long."""


class Parked(NamedTuple):
    """A call that stands where it gave way to others."""

    scope: anyio.CancelScope
    go_on: anyio.Event
    done: anyio.Event


class World:
    """One play of a history."""

    def __init__(self, steps: Sequence[Step], home: Home, *, look_every: int = LOOK_EVERY) -> None:
        self.transcript: list[Told] = []
        self.at = 0
        """How many steps have been played, the one under way included."""
        self.clock = SweptClock()
        self.naive = NaiveLedger(TERMS, dict(RESOURCES))
        for event_type in EVENT_TYPES.values():
            naive_plan.add(self.naive, event_type)
        self.waiters = Waiters(self)
        self.uids: list[str] = []
        """All uids that may be those of reservations."""
        self._steps = steps
        self._home = home
        self._life = Crash()  # which says what the engine is like that comes after
        self._look_every = look_every
        self._failed: Exception | None = None
        self._numbers = count(1)
        self._known: dict[int, list[str]] = {}  # the uids that each client was told
        self._busy: dict[str, Import] = {}
        # What a crash may take back: how many records there were, and the model's books then.
        self._kept: list[tuple[int, Callable[[], None]]] = []
        self.keep(acknowledge=True)

    async def play(self) -> None:
        """Play all steps, and then let everything settle.

        Raises `InvariantBroken`, or whatever the engine does.
        """
        while await self._live():
            pass

    async def _live(self) -> bool:
        """Let an engine live until it crashes, and return whether it did."""
        options = OPTIONS if self._life.quotas else FREE_OPTIONS
        self.naive.terms = TERMS if self._life.quotas else FREE_TERMS
        engine = self.engine = self._home.engine(self.clock, self._new_uid, options)
        engine.ledger.chores = CHORES if self._life.tidy else 0
        async with engine, anyio.create_task_group() as self._tasks:
            with self.carried_out():
                self._begin(engine)
                # Not stalled from the first: a sweeper that has not begun would do so any time.
                await self.rest()
                self.clock.stall(not self._life.tidy)
                crashed = await self._until_crash()
                if not crashed:
                    await settle_down(self)
            self._tasks.cancel_scope.cancel()
        if self._failed is not None:
            raise self._failed
        return crashed

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Let an error leave the task groups as itself, not as one of a group."""
        try:
            yield
        except Exception as error:
            self._failed = error

    def _begin(self, engine: SlotEngine) -> None:
        known = [engine.get_nowait(uid) for uid in self.naive.known]
        self.watch = Watch(engine, [one for one in known if one is not None])
        told: list[Event] = []
        engine.observe(told.append)
        self._listeners = [Listener(engine.subscribe(buffer=size), told) for size in BUFFERS]
        for listener in self._listeners:
            self._tasks.start_soon(listener.run)
        self._parked: list[Parked] = []
        self.waiters.begin()
        self.clock.stall(False)
        self._refused = 0
        for step in self._busy.values():
            self.import_busy(step)
        self.compare()

    async def _until_crash(self) -> bool:
        while self.at < len(self._steps):
            step = self._steps[self.at]
            self.at += 1
            if not _is_at_once(step):
                await self.rest()
            if isinstance(step, Crash):
                self._crash(step)
                return True
            await self._do(step)
            self.check()
        return False

    # --- Steps ---------------------------------------------------------------------------

    @singledispatchmethod
    async def _do(self, step: Step) -> None:
        raise AssertionError(step)

    @_do.register
    async def _(self, step: Call) -> None:
        operation = self._resolved(step)
        if operation is None:
            self.note(step, "nothing to do")
            return
        if operation.wait is not None:
            await self.waiters.call(step, operation)
            return
        if step.how is How.PARKED and step.operation.verb not in MADE_FOR_WHAT_IS_THERE:
            await self._park(step, operation)
            return
        if step.how is How.AT_ONCE:
            answer = in_engine_nowait(self.engine, operation)
        elif step.how is How.OUT_OF_TURN:
            with self.engine.out_of_turn():
                answer = in_engine_nowait(self.engine, operation)
        else:
            answer = await in_engine(self.engine, operation)
        self.answered(step, operation, answer)

    @_do.register
    async def _(self, step: Resume) -> None:
        self.note(step)
        if self._parked:
            parked = self._parked.pop(0)
            parked.scope.cancel() if step.cancel else parked.go_on.set()
            await self.wait(parked.done.is_set, "a call that was parked")
            await self.rest()

    @_do.register
    async def _(self, step: Look) -> None:
        await look(self, step)

    @_do.register
    async def _(self, step: GiveUp) -> None:
        await self.waiters.give_up(step)

    @_do.register
    async def _(self, step: Jump) -> None:
        self.note(step)
        tick = (self.clock.now() - ORIGIN) // TICK
        self.set_clock(at(max(0, tick + step.by)) + step.odd)

    @_do.register
    async def _(self, step: JumpTo) -> None:
        self.note(step)
        one = self.naive.known.get(self._uid(step.client, step.nth) or "")
        if one is not None and one.state in {State.HELD, State.EXPIRED}:
            self.set_clock(one.until + step.off)

    @_do.register
    async def _(self, step: JumpToEnd) -> None:
        self.note(step)
        one = self.waiters.nth(step.nth)
        if one is not None:
            self.set_clock(one.until + step.off)

    @_do.register
    async def _(self, step: Stall) -> None:
        self.note(step)
        self.clock.stall(step.on)

    @_do.register
    async def _(self, step: Deafen) -> None:
        self.note(step)
        self._listeners[step.subscriber].deafen(step.on)

    @_do.register
    async def _(self, step: Import) -> None:
        self.note(step)
        self._busy[step.source] = step
        self.import_busy(step)

    def import_busy(self, step: Import) -> None:
        """Let a source say so, to the engine and to the model."""
        spans: dict[str, list[tuple[int, int]]] = {}
        for name, start, end in step.spans:
            spans.setdefault(name, []).append((start, end))
        self.naive.replace_busy(step.source, spans, self.clock.now())
        self.engine.replace_busy_nowait(
            step.source,
            {
                name: [(from_us(start), from_us(end)) for start, end in theirs]
                for name, theirs in spans.items()
            },
        )

    # --- Calls ---------------------------------------------------------------------------

    def _resolved(self, call: Call) -> Operation | None:
        """Return what a client does, with the uid it is about; None if it knows of none."""
        operation = call.operation
        if operation.verb.startswith(("reserv", "is_free")):
            return operation
        uid = self._uid(call.client, call.nth)
        if uid is None:
            return None
        one = self.naive.known.get(uid)
        if operation.verb == "shorten":
            return None if one is None else _shorter(one)
        if operation.verb == "forget_bookings":
            return None if one is None else self._up_to(one, operation)
        if operation.verb == "prolong":
            return None if one is None else self._longer(one, operation)
        if operation.resource is not None and (one is None or not _can_be_on(one, operation)):
            operation = operation._replace(resource=None)
        if operation.verb == "move_slot" and not _is_movable(one, operation):
            return None
        if operation.seats is not None and (one is None or one.seats is None):
            operation = operation._replace(seats=None)
        return operation._replace(uid=uid)

    def _up_to(self, one: Seen, operation: Operation) -> Operation:
        """Return how bookings are forgotten up to one, give or take a microsecond."""
        over = max([one.end, *(claim.end for claim in one.claims)]) + operation.start
        return operation._replace(start=min(over, self.clock.now()))

    def _longer(self, one: Seen, operation: Operation) -> Operation:
        """Return how a hold lives for just as long as it may in all, or nearly so."""
        assert TERMS.max_life is not None
        life = TERMS.max_life
        if one.quota is not None and one.quota.life is not None:
            life = min(life, one.quota.life)
        ttl = one.created + life - max(self.clock.now(), self.naive.now) + operation.ttl
        if operation.renew:
            return Operation("move", uid=one.uid, start=one.start, ttl=ttl, renew=True)
        return Operation("extend", uid=one.uid, ttl=ttl)

    def _uid(self, client: int, nth: int) -> str | None:
        known = self._known.get(client, [])
        return known[-1 - nth] if nth < len(known) else None

    def latest(self, client: int) -> Seen | None:
        """Return the latest reservation that a client knows of, if it is not forgotten."""
        return self.naive.known.get(self._uid(client, 0) or "")

    def answered(self, call: Call, operation: Operation, answer: Answer) -> None:
        """Hold an answer, just given, against the model's, and let the client know of it."""
        uids, now = uids_for(operation, answer), self.clock.now()
        with self.waiters.line.looking_away() if call.how is How.OUT_OF_TURN else nullcontext():
            expected = in_model(self.naive, operation, uids, now)
        self.compare_answer(call, operation, answer, expected)
        self.keep(acknowledge=self.learn(call, answer))

    def compare_answer(
        self, call: Call, operation: Operation, answer: Answer, expected: Answer
    ) -> None:
        """Hold an answer against what it must be."""
        self.note(call, answer)
        if operation.verb.startswith("reserve"):
            self._refused += _refusals(answer)
        if answer != expected:
            raise InvariantBroken(
                "answer", f"{operation.text(SCALE)}: {difference(answer, expected)}"
            )

    def learn(self, call: Call, answer: Answer) -> bool:
        """Let a client know of its answer, and return whether it does."""
        if call.how is How.LOST:
            return False
        known = self._known.setdefault(call.client, [])
        known += [uid for uid in uids_in(answer) if uid not in known]
        return True

    async def _park(self, call: Call, operation: Operation) -> None:
        parked = Parked(anyio.CancelScope(), anyio.Event(), anyio.Event())
        started = anyio.Event()

        async def run() -> None:
            PARKED.set(parked.go_on)
            with self.carried_out(), parked.scope:
                started.set()
                self.answered(call, operation, await in_engine(self.engine, operation))
            parked.done.set()

        self._parked.append(parked)
        self._tasks.start_soon(run)
        await self.wait(started.is_set, "a call that is to be parked")

    def compare_lost(self, caller: Caller, expected: Seen) -> None:
        """Hold what one was handed who is cancelled in that moment against what it must be."""
        self.note(f"{caller}, is cancelled when served", caller.answer)
        if caller.answer != expected:
            raise InvariantBroken("answer", f"{caller}: {difference(caller.answer, expected)}")

    def start(self, run: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Start a task that lives no longer than the engine."""
        self._tasks.start_soon(run, *args)

    # --- Crashes ---------------------------------------------------------------------------

    def _crash(self, step: Crash) -> None:
        self.note(step)
        self._life = step
        wish = self._home.records() - step.lost
        while self._kept[-1][0] > wish and len(self._kept) > 1:
            self._kept.pop()
        keep, go_back = self._kept[-1]
        go_back()
        self._home.crash(keep)
        self.keep(acknowledge=True)
        # Within its life an engine never goes back in time.  That the next does not either is
        # up to whoever sets the machine's clock.
        self.clock.set(from_us(max(self.clock.now(), self.naive.now)))

    def keep(self, *, acknowledge: bool) -> None:
        """Note how it is now, should a crash take back what comes after.

        If it is acknowledged, somebody knows of all that has happened, and none of it can be lost.
        """
        if acknowledge:
            self._kept = []
        naive = self.naive
        books = dict(naive.known), dict(naive.keys), dict(naive.opened)
        lapses = {holder: list(theirs) for holder, theirs in naive.lapses.items()}

        def go_back() -> None:
            known, keys, opened = books
            naive.known, naive.keys, naive.opened = dict(known), dict(keys), dict(opened)
            naive.lapses = {holder: list(theirs) for holder, theirs in lapses.items()}

        self._kept.append((self._home.records(), go_back))

    # --- Coming to rest ----------------------------------------------------------------------

    async def rest(self) -> None:
        """Let the sweeper, the subscribers and who waits do all that they have to do.

        Then see whether those were served who should have been.
        """
        await self.wait(
            lambda: (
                self.clock.idle and self.waiters.idle and all(one.idle for one in self._listeners)
            ),
            "the sweeper, a subscriber or one who waits",
        )
        if not self.clock.stalled:
            self.waiters.settle()

    async def wait(self, condition: Callable[[], bool], who: str) -> None:
        """Let others run until it is so.  Raises `InvariantBroken` if that takes too long."""
        for _ in range(MOST_TURNS):
            if condition():
                return
            await anyio.lowlevel.checkpoint()
        raise InvariantBroken("rest", f"{who} does not come to rest")

    async def resume_all(self) -> None:
        """Let everything go on that was kept from it."""
        self.clock.stall(False)
        self.waiters.spare()
        for listener in self._listeners:
            listener.deafen(False)
        await self.rest()
        while self._parked:
            await self._do(Resume())
        await self.rest()

    # --- Checks ------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `InvariantBroken` if anything is wrong.  What is told is looked at now and then."""
        if self._failed is not None:
            raise self._failed
        self.watch.raise_first()
        for listener in self._listeners:
            if listener.wrong is not None:
                raise InvariantBroken("events", listener.wrong)
        self.compare()
        if self.at % self._look_every == 0:
            self.check_all()

    def check_all(self) -> None:
        """Raise `InvariantBroken`, or AssertionError, if anything is wrong anywhere."""
        self.watch.check()
        self._check_imported()
        self._check_reservations()
        self.engine.check_invariants()  # who could be served is what the model knows

    def _check_imported(self) -> None:
        """Hold what each source is said to say against what it says."""
        for resource in RESOURCES:
            told = [
                (one.source, to_us(one.start, "start"), to_us(one.end, "end"))
                for one in self.engine.imported_nowait(resource, *ALWAYS)
            ]
            expected = self.naive.imported_by_source(resource)
            if sorted(told) != expected:
                raise InvariantBroken("imported", f"{resource}: {told}, must be {expected}")

    def _check_reservations(self) -> None:
        """Hold who is said to be on each resource against who is."""
        for resource in RESOURCES:
            everywhere = Operation(
                "reservations", resource=resource, load_in=(at(FIRST - 2), at(LAST + 2))
            )
            told = in_engine_nowait(self.engine, everywhere)
            expected = in_model(self.naive, everywhere, (), self.clock.now())
            if told != expected:
                raise InvariantBroken("kept", f"{resource}: {difference(told, expected)}")

    def compare(self) -> None:
        """Hold all reservations that there are against the model's."""
        self.engine.now()  # both must have seen the time, or it could go back for one of them
        self.naive.at(self.clock.now())
        known, ledger = self.naive.known, self.engine.ledger
        for uid in self.uids:
            # Past the engine's own view, which `Watch` looks at: that costs three times as much.
            entry = ledger.get(uid, now=ledger.now)
            told, kept = None if entry is None else Seen.of(entry, ledger.now), known.get(uid)
            if told != kept:
                raise InvariantBroken("kept", f"{uid}: {difference(told, kept)}")
            if told is not None and kept is not None and told.quota != kept.quota:
                raise InvariantBroken("kept", f"{uid}: under {told.quota}, must be {kept.quota}")
        # What was refused, or is forgotten, stays so.
        self.uids = [uid for uid in self.uids if uid in known]
        there, expected = len(self.engine.waitlist), len(self.waiters.line)
        if there != expected:
            raise InvariantBroken("waits", f"{there} do, and {expected} must")
        self._check_statistics()

    def _check_statistics(self) -> None:
        """Hold what the engine counts against what there is."""
        told = self.engine.statistics()
        booked = sum(one.state is State.CONFIRMED for one in self.naive.known.values())
        said = told.confirmed, told.waiting, told.subscribers, told.refused
        expected = booked, len(self.waiters.line), len(self._listeners) + 2, self._refused
        if said != expected:
            raise InvariantBroken("statistics", f"{told}, must be {expected}")

    # --- Inside --------------------------------------------------------------------------------

    def set_clock(self, us: int) -> None:
        """Let the clock jump; who waited for the moment has not run yet."""
        self.clock.set(from_us(us))

    def note(self, what: Step | str, answer: Answer = None) -> None:
        """Add a line to the transcript."""
        self.transcript.append(Told(what, answer))

    def _new_uid(self) -> str:
        uid = f"r{next(self._numbers)}"
        self.uids.append(uid)
        return uid


def _shorter(one: Seen) -> Operation | None:
    """Return how a reservation becomes shorter where it is, if it can."""
    lengths = [one.end - one.start - TICK]
    if one.event_type in EVENT_TYPES:
        lengths = [duration_us(length) for length in EVENT_TYPES[one.event_type].lengths]
    length = max((each for each in lengths if each < one.end - one.start), default=0)
    if length <= 0:
        return None
    return Operation("move", uid=one.uid, start=one.start, length=length)


def _refusals(answer: Answer) -> int:
    if isinstance(answer, list):
        return sum(map(_refusals, answer))
    return int(isinstance(answer, tuple) and issubclass(answer[0], Refused))


def _can_be_on(one: Seen, operation: Operation) -> bool:
    """Return whether a reservation can be told which resource it is to be on."""
    if one.event_type in EVENT_TYPES:
        groups = EVENT_TYPES[one.event_type].groups
        return any(host.resource == operation.resource for group in groups for host in group)
    return len(one.claims) == 1


def _is_at_once(step: Step) -> bool:
    """Return whether nobody else runs before the step."""
    return isinstance(step, Call) and step.how is How.AT_ONCE and step.operation.wait is None


def _is_movable(one: Seen | None, operation: Operation) -> bool:
    """Return whether it makes sense to move a reservation by the rules that are named."""
    assert operation.ask is not None
    if one is None or one.event_type not in EVENT_TYPES:
        return False
    return not operation.ask.event_type or one.seats is None
