"""Plays a history, step by step, with checks after every step.

Nothing is left to chance.  One driver lets a single call at a time run until it
is done or parked, and lets the sweeper and the subscribers come to rest in
between.  So the order in which an event loop runs its tasks does not matter, and
a history plays alike on asyncio and on trio.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Final, NamedTuple

import anyio

from slotengine.core.ledger.commands import Extend, Reserve
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.maintenance import MAINTENANCE
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import duration_us
from slotengine.testing.internal.actions import (
    AboutOne,
    Action,
    ForgetBookings,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    waits,
)
from slotengine.testing.internal.engine_calls import in_engine, in_local_engine
from slotengine.testing.internal.naive_booking_rules import can_be_with
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation.probe import probe
from slotengine.testing.simulation.quiesce import quiesce
from slotengine.testing.simulation.run import Run
from slotengine.testing.simulation.sent_calls import fits_only_now
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    ORIGIN,
    TERMS,
    TERMS_WITHOUT_QUOTAS,
    TICK,
    Call,
    CallMode,
    Crash,
    Fitted,
    ForgetUpTo,
    GiveUp,
    Import,
    Jump,
    JumpTo,
    JumpToEnd,
    JumpToExpiry,
    Probe,
    Prolong,
    Repeat,
    Resume,
    Shorten,
    StallSubscriber,
    StallSweeper,
    Step,
    at,
)
from slotengine.testing.simulation.store import (
    ENGINE_OPTIONS,
    ENGINE_OPTIONS_WITHOUT_QUOTAS,
    PARKED,
    Store,
)
from slotengine.testing.simulation.waiting_calls import WaitingCalls

CHECK_EVERY: Final = 8
"""All that the engine says is checked after this many steps.

Measured: checking after each step takes twice as long."""


class ParkedCall(NamedTuple):
    """A call that is kept where it gave way to others."""

    scope: anyio.CancelScope
    go_on: anyio.Event
    done: anyio.Event


class Player:
    """Plays one history on one engine after another, with a crash between them."""

    def __init__(self, steps: Sequence[Step], store: Store, *, check_every: int) -> None:
        self.run = Run(store, check_every=check_every)
        self._steps = steps
        self._waiting = WaitingCalls(self.run)
        self._life = Crash()  # says what the next engine is like
        self._parked: list[ParkedCall] = []

    async def play(self) -> None:
        """Play all steps, then stop all faults and see everything end.

        Raises `InvariantBroken`, or what the engine raises.
        """
        while await self._live():
            pass

    async def _live(self) -> bool:
        """Run an engine until it crashes or the steps end; return whether it crashed."""
        run, life = self.run, self._life
        options = ENGINE_OPTIONS if life.quotas else ENGINE_OPTIONS_WITHOUT_QUOTAS
        run.naive.terms = TERMS if life.quotas else TERMS_WITHOUT_QUOTAS
        engine = run.store.engine(run.clock, run.new_uid, options)
        engine.ledger.maintenance = MAINTENANCE if life.tidy else 0
        async with engine, anyio.create_task_group() as run.tasks:
            with run.errors_kept():
                run.begin(engine)
                self._parked = []
                self._waiting.begin()
                run.clock.stall(False)
                run.compare()
                # Stalled only now: a sweeper that has not begun could begin at any time.
                await run.rest()
                run.clock.stall(not life.tidy)
                crashed = await self._until_crash()
                if not crashed:
                    await self._stop_faults()
                    await quiesce(run)
            run.tasks.cancel_scope.cancel()
        if run.failed is not None:
            raise run.failed
        return crashed

    async def _until_crash(self) -> bool:
        run = self.run
        while run.at < len(self._steps):
            step = self._steps[run.at]
            run.at += 1
            if not _is_at_once(step):
                await run.rest()
            if isinstance(step, Crash):
                run.note(step)
                self._life = step
                run.crash(step.lost)
                return True
            await self._do(step)
            run.check()
        return False

    async def _stop_faults(self) -> None:
        """Let everything go on that was stalled or parked."""
        run = self.run
        run.clock.stall(False)
        self._waiting.spare()
        for listener in run.listeners:
            listener.stall(False)
        await run.rest()
        while self._parked:
            await self._do(Resume())
        await run.rest()

    # --- Steps -----------------------------------------------------------------------------

    @singledispatchmethod
    async def _do(self, step: Step) -> None:
        raise AssertionError(step)

    @_do.register
    async def _(self, step: Call) -> None:
        run, action = self.run, self._resolved(step)
        if action is not None and step.numbered:
            action = run.sent.numbered(step.client, action)
        if action is None:
            run.note(step, "nothing to do")
        elif step.mode is CallMode.PARKED and not waits(action) and not fits_only_now(action):
            await self._park(step, action)
        else:
            await self._make(step, action)

    @_do.register
    async def _(self, step: Repeat) -> None:
        action = self.run.sent.again(step.client, step.nth)
        if action is None:
            self.run.note(step, "nothing to do")
        else:
            await self._make(step, action)

    @_do.register
    async def _(self, step: JumpToExpiry) -> None:
        self.run.note(step)
        moment = self.run.sent.session_ends_at(step.client)
        if moment is not None:
            self.run.set_clock(moment + step.off)

    @_do.register
    async def _(self, step: Resume) -> None:
        self.run.note(step)
        if self._parked:
            parked = self._parked.pop(0)
            parked.scope.cancel() if step.cancel else parked.go_on.set()
            await self.run.wait(parked.done.is_set, "a call that was parked")
            await self.run.rest()

    @_do.register
    async def _(self, step: Probe) -> None:
        if not can_be_with(self.run.naive, step.event_type, step.only):
            step = step._replace(only=None)
        await probe(self.run, step)

    @_do.register
    async def _(self, step: GiveUp) -> None:
        await self._waiting.give_up(step)

    @_do.register
    async def _(self, step: Jump) -> None:
        self.run.note(step)
        tick = (self.run.clock.now() - ORIGIN) // TICK
        self.run.set_clock(at(max(0, tick + step.by)) + step.odd)

    @_do.register
    async def _(self, step: JumpTo) -> None:
        self.run.note(step)
        one = self.run.reservation_of(step.client, step.nth)
        if one is not None and one.state is State.CONFIRMED:
            self.run.set_clock(_over(one) + step.off)
        elif one is not None and one.state in {State.HELD, State.EXPIRED} and one.until < NEVER:
            self.run.set_clock(one.until + step.off)

    @_do.register
    async def _(self, step: JumpToEnd) -> None:
        self.run.note(step)
        one = self._waiting.nth(step.nth)
        if one is not None:
            self.run.set_clock(one.until + step.off)

    @_do.register
    async def _(self, step: StallSweeper) -> None:
        self.run.note(step)
        self.run.clock.stall(step.on)

    @_do.register
    async def _(self, step: StallSubscriber) -> None:
        self.run.note(step)
        self.run.listeners[step.subscriber].stall(step.on)

    @_do.register
    async def _(self, step: Import) -> None:
        self.run.note(step)
        self.run.import_busy(step.command)

    # --- Calls -----------------------------------------------------------------------------

    async def _make(self, step: Call | Repeat, action: Action) -> None:
        """Make a call, which may have to wait, and compare its answer."""
        run = self.run
        if isinstance(action, Reserve | ReserveSlot) and action.wait is not None:
            await self._waiting.call(step, action)
        elif step.mode is CallMode.AT_ONCE:
            run.answered(step, action, in_local_engine(run.engine.local, action))
        else:
            run.answered(step, action, await in_engine(run.engine, action))

    def _resolved(self, call: Call) -> Action | None:
        """Return what a client does, with the uid it is about; None if the client knows none."""
        action = self._with_hosts(call.action)
        if not isinstance(action, AboutOne | Fitted):
            return action
        uid = self.run.uid_of(call.client, call.nth)
        if uid is None:
            return None
        one = self.run.naive.known.get(uid)
        if isinstance(action, Fitted):
            return None if one is None else self._fitted(action, one)
        match action:
            case MoveTo(resource=resource):
                if resource is not None and (one is None or not self._can_be_on(one, resource)):
                    action = action._replace(resource=None)
            case MoveSlot():
                if not _can_move_to_slot(one, action):
                    return None
                if one is None or one.seats is None:
                    action = action._replace(seats=None)
        return action._replace(uid=uid)

    def _with_hosts(self, action: Action | Fitted) -> Action | Fitted:
        """Return an action without the hosts that it names, if they cannot be had any more."""
        if isinstance(action, ReserveSlot | MoveSlot):
            request = action.request
            if not can_be_with(self.run.naive, request.event_type, request.only):
                return action._replace(request=request._replace(only=None))
        return action

    def _can_be_on(self, one: ObservedReservation, resource: str) -> bool:
        """Return whether a call may say on which resource a reservation is to be."""
        if one.event_type in EVENT_TYPES:
            groups = self.run.naive.event_types[one.event_type].groups
            return any(host.resource == resource for group in groups for host in group)
        return len(one.claims) == 1

    def _fitted(self, action: Fitted, one: ObservedReservation) -> Action | None:
        """Return what is done about a reservation as it is, if it can be done."""
        match action:
            case Shorten():
                return _shorter(one)
            case Prolong():
                return self._longer(one, action)
            case ForgetUpTo():
                return ForgetBookings(min(_over(one) + action.off, self.run.clock.now()))

    def _longer(self, one: ObservedReservation, action: Prolong) -> Action:
        """Return how to extend a hold to the end of the life it may have, or nearly so."""
        assert TERMS.max_life is not None
        life = TERMS.max_life
        if one.quota is not None and one.quota.life is not None:
            life = min(life, one.quota.life)
        ttl = one.created + life - max(self.run.clock.now(), self.run.naive.now) + action.off
        return MoveTo(one.uid, one.start, ttl=ttl) if action.moving else Extend(one.uid, ttl)

    async def _park(self, call: Call, action: Action) -> None:
        run = self.run
        parked = ParkedCall(anyio.CancelScope(), anyio.Event(), anyio.Event())
        started = anyio.Event()

        async def make_call() -> None:
            PARKED.set(parked.go_on)
            with run.errors_kept(), parked.scope:
                started.set()
                run.answered(call, action, await in_engine(run.engine, action))
            parked.done.set()

        self._parked.append(parked)
        run.start(make_call)
        await run.wait(started.is_set, "a call that is to be parked")


def _over(one: ObservedReservation) -> int:
    """Return when nothing that a reservation takes is left."""
    return max([one.end, *(claim.end for claim in one.claims)])


def _shorter(one: ObservedReservation) -> Action | None:
    """Return how to make a reservation shorter where it is, if it can be."""
    lengths = [one.end - one.start - TICK]
    if one.event_type in EVENT_TYPES:
        lengths = [duration_us(length) for length in EVENT_TYPES[one.event_type].lengths]
    length = max((each for each in lengths if each < one.end - one.start), default=0)
    return MoveTo(one.uid, one.start, length) if length > 0 else None


def _is_at_once(step: Step) -> bool:
    """Return whether no other task runs before the step."""
    return isinstance(step, Call) and step.mode is CallMode.AT_ONCE and not waits(step.action)


def _can_move_to_slot(one: ObservedReservation | None, action: MoveSlot) -> bool:
    """Return whether a reservation can be moved by the rules of an event type."""
    if one is None or one.event_type not in EVENT_TYPES:
        return False
    return not action.request.event_type or one.seats is None
