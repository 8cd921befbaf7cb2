"""Calls that wait in line, each in a task of its own, beside a model of the line.

The model says who is answered, with what and in which order, whenever everybody
has had a turn; so nobody may sleep who could be served.  One of those who wait
can be cancelled in the very moment in which it is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from slotengine.core.ledger.line import Waiter
from slotengine.core.ledger.reservation import Verb
from slotengine.engine import waiting
from slotengine.engine.values import Reservation
from slotengine.testing.model import Seen, outcome
from slotengine.testing.naive_line import NaiveLine, Waiting
from slotengine.testing.operations import (
    Answer,
    Operation,
    as_told,
    in_engine,
    seen,
    uids_for,
    wanted,
)
from slotengine.testing.simulation.steps import MOST_WAITING, SCALE, Call, GiveUp
from slotengine.testing.simulation.transcript import text
from slotengine.testing.watch import InvariantBroken

if TYPE_CHECKING:
    from slotengine.testing.simulation.world import World


class Caller:
    """A call that may wait, and what comes of it."""

    def __init__(self, call: Call, operation: Operation) -> None:
        self.call = call
        self.operation = operation
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.answer: Answer = None
        """What it was told; or what it would have been, if it is cancelled just then."""
        self.waiter: Waiter[waiting.Caller] | None = None

    def __str__(self) -> str:
        return f"client {self.call.client}, who waits: {self.operation.text(SCALE)}"


class Waiters:
    """All calls that wait in the world's engine, and the line as it must be."""

    def __init__(self, world: World) -> None:
        self.line: NaiveLine[Caller] = NaiveLine(world.naive, MOST_WAITING)
        self._world = world
        self._callers: list[Caller] = []  # whose tasks were not seen to end
        self._order: list[Caller] = []  # in which they were answered, as far as not seen
        self._doomed: Caller | None = None

    def begin(self) -> None:
        """Begin with a new engine, in which nobody waits."""
        self.line.clear()
        self._callers = []
        self._order = []
        self._doomed = None

        def answered(waiter: Waiter[Any], error: Exception | None) -> None:
            doomed = self._doomed
            self._order += [one for one in self._callers if one.waiter is waiter]
            if doomed is not None and waiter is doomed.waiter and error is None:
                assert waiter.caller.entry is not None
                now = self._world.engine.ledger.now
                doomed.answer = seen(Reservation(waiter.caller.entry, now))
                doomed.scope.cancel()

        self._world.engine.waitlist.on_answer = answered

    @property
    def idle(self) -> bool:
        """Whether all calls have come to their end that the engine has answered."""
        left = sum(not caller.done.is_set() for caller in self._callers)
        return left == len(self._world.engine.waitlist)

    def spare(self) -> None:
        """Let nobody be cancelled any more."""
        self._doomed = None

    # --- Coming and going --------------------------------------------------------------------

    async def call(self, call: Call, operation: Operation) -> None:
        """Let a client call, and hold what it is told at once against the model's; or it waits."""
        world, caller = self._world, Caller(call, operation)
        room = world.engine.waitlist
        before = len(room)
        self._callers.append(caller)
        world.start(self._run, caller)
        await world.wait(
            lambda: caller.done.is_set() or len(room) > before, "a call that may have to wait"
        )
        expected = self._asked(caller)
        if caller.done.is_set():
            self._callers.remove(caller)
            world.compare_answer(call, operation, caller.answer, expected)
            world.keep(acknowledge=world.learn(call, caller.answer))
        elif expected is not None:
            raise InvariantBroken("waits", f"{caller}, though there is an answer: {text(expected)}")
        else:
            caller.waiter = list(room.line)[-1]
            world.note(call, "waits")
        await world.rest()

    async def _run(self, caller: Caller) -> None:
        with self._world.carried_out(), caller.scope:
            caller.answer = await in_engine(self._world.engine, caller.operation)
        caller.done.set()

    def _asked(self, caller: Caller) -> Answer:
        """Return what the model says at once, None if one has to wait."""
        naive, operation = self._world.naive, caller.operation
        proposal, check, last = wanted(naive, operation)
        uid = uids_for(operation, caller.answer)[0]
        wait, now = operation.wait or 0, self._world.clock.now()
        return as_told(
            outcome(lambda: self.line.ask(caller, proposal, wait, now, check, last, uid))
        )

    def nth(self, nth: int) -> Waiting[Caller] | None:
        """Return the nth who waits, from the latest; None if there are not so many."""
        waiting = list(self.line)
        return waiting[-1 - nth] if nth < len(waiting) else None

    async def give_up(self, step: GiveUp) -> None:
        """Cancel one of those who wait; or see to it that it will be."""
        self._world.note(step)
        one = self.nth(step.nth)
        if one is None:
            return
        caller = one.caller
        if step.when_served:
            self._doomed = self._doomed or caller
            return
        caller.scope.cancel()
        await self._world.wait(caller.done.is_set, "a call that is cancelled")
        self._forget(caller)
        self.line.give_up(caller)
        await self._world.rest()

    def _forget(self, caller: Caller) -> None:
        self._callers.remove(caller)
        if caller is self._doomed:
            self._doomed = None

    # --- Being served ------------------------------------------------------------------------

    def settle(self) -> None:
        """Hold whom the engine has answered, and with what, against the model.

        For when all who had something to do have done it.  Raises `InvariantBroken`.
        """
        told: list[bool] = []
        while self._serve_some(told):
            pass
        # Not before: all that was recorded meanwhile belongs to it.
        self._world.keep(acknowledge=any(told))
        for caller in self._callers:
            if caller.done.is_set():
                raise InvariantBroken("waits", f"{caller}, and must wait: {text(caller.answer)}")

    def _answer_of(self, caller: Caller) -> Answer:
        return caller.answer if caller in self._order[:1] else None

    def _serve_some(self, told: list[bool]) -> bool:
        """Answer whoever is to be, and return whether what one was handed is free again.

        Add to what was ``told`` whether a client knows of its answer.
        """
        now = self._world.clock.now()
        passed_on: list[str] = []
        while (answered := self.line.next(now, self._answer_of)) is not None:
            caller, expected = answered[0], as_told(answered[1])
            if not caller.done.is_set():
                raise InvariantBroken(
                    "waits", f"{caller}, though there is an answer: {text(expected)}"
                )
            if caller is not self._order.pop(0):
                raise InvariantBroken("waits", f"{caller}, while others are served")
            doomed = caller is self._doomed and isinstance(expected, Seen)
            self._forget(caller)
            if doomed:
                self._world.compare_lost(caller, expected)
                if not _has_key(caller.operation):
                    passed_on.append(expected.uid)
            else:
                self._world.compare_answer(caller.call, caller.operation, caller.answer, expected)
                told.append(self._world.learn(caller.call, caller.answer))
        for uid in passed_on:
            self._world.naive.end(uid, Verb.RELEASE, now)
        return bool(passed_on)


def _has_key(operation: Operation) -> bool:
    if operation.ask is not None:
        return operation.ask.key is not None
    return operation.proposals[0].key is not None
