"""Calls that wait for a slot, each in a task of its own, beside the naive waitlist.

Whenever everything is at rest, the naive waitlist says which calls must have been
answered, with what, and in which order; so no call may wait that could be
served.  A waiting call can also be cancelled at the moment it is served.
"""

from __future__ import annotations

import anyio

from slotengine.core.ledger.commands import Reserve
from slotengine.core.ledger.reservation import Entry, Verb
from slotengine.engine.values import Reservation
from slotengine.testing.internal.action_text import text as words
from slotengine.testing.internal.actions import (
    Answer,
    ReserveSlot,
    uids_in,
    without_limits,
)
from slotengine.testing.internal.engine_calls import in_engine, observed
from slotengine.testing.internal.naive_calls import wanted
from slotengine.testing.internal.naive_clients import Outcome, once, remember
from slotengine.testing.internal.naive_waitlist import WaitlistEntry
from slotengine.testing.internal.observed import ObservedReservation, outcome
from slotengine.testing.simulation.run import Run
from slotengine.testing.simulation.steps import SCALE, Call, GiveUp, Repeat
from slotengine.testing.simulation.transcript import difference, text
from slotengine.testing.watch import InvariantBroken


class Caller:
    """A call that may have to wait, and its answer."""

    def __init__(self, call: Call | Repeat, action: Reserve | ReserveSlot) -> None:
        self.call = call
        self.action = action
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.answer: Answer = None
        """The answer; or the one that is lost, if the call is cancelled when it is served."""
        self.ticket: int | None = None

    def __str__(self) -> str:
        return f"client {self.call.client}, who waits: {words(self.action, SCALE)}"


class WaitingCalls:
    """All calls that wait in the engine of a run; an `Actor`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._callers: list[Caller] = []  # whose tasks have not been seen to end
        self._order: list[Caller] = []  # in which they were answered, until `settle` has seen it
        self._doomed: Caller | None = None  # to be cancelled when it is served
        run.actors.append(self)

    def begin(self) -> None:
        """Begin with a new engine, in which no call waits."""
        self._run.waitlist.clear()
        self._callers = []
        self._order = []
        self._doomed = None
        self._run.engine.sleeping.on_answer = self._on_answer

    def _on_answer(self, ticket: int, answer: Entry | Exception) -> None:
        doomed = self._doomed
        self._order += [one for one in self._callers if one.ticket == ticket]
        if doomed is not None and ticket == doomed.ticket and isinstance(answer, Entry):
            doomed.answer = observed(Reservation(answer, self._run.engine.ledger.state.now))
            doomed.scope.cancel()

    @property
    def idle(self) -> bool:
        """Whether the tasks of all answered calls have ended."""
        left = sum(not caller.done.is_set() for caller in self._callers)
        return left == len(self._run.engine.waitlist)

    def spare(self) -> None:
        """Cancel no call when it is served."""
        self._doomed = None

    def nth(self, nth: int) -> WaitlistEntry[Caller] | None:
        """Return the ``nth`` waiting call, counted from the latest; None if there are fewer."""
        entries = list(self._run.waitlist)
        return entries[-1 - nth] if nth < len(entries) else None

    # --- Calling and giving up -------------------------------------------------------------

    async def call(self, call: Call | Repeat, action: Reserve | ReserveSlot) -> None:
        """Make a call; compare its answer if it has one at once, else let it wait."""
        run, caller = self._run, Caller(call, action)
        waitlist = run.engine.waitlist
        before = len(waitlist)
        self._callers.append(caller)
        run.start(self._make_call, caller)
        await run.wait(
            lambda: caller.done.is_set() or len(waitlist) > before, "a call that may have to wait"
        )
        expected = self._expected(caller)
        if caller.done.is_set():
            self._callers.remove(caller)
            run.compare_answer(call, action, caller.answer, expected)
            run.checkpoint(acknowledged=run.learn(call, action, caller.answer))
        elif expected is not None:
            raise InvariantBroken("waits", f"{caller}, though there is an answer: {text(expected)}")
        else:
            caller.ticket = max(waitlist.by_ticket)
            run.note(call, "waits")
        await run.rest()

    async def _make_call(self, caller: Caller) -> None:
        with self._run.errors_kept(), caller.scope:
            caller.answer = await in_engine(self._run.engine, caller.action)
        caller.done.set()

    def _expected(self, caller: Caller) -> Answer:
        """Return the answer that the call must have at once, or None if it must wait."""
        run, action, client = self._run, caller.action, caller.action.client
        uid = next(iter(uids_in(caller.answer)), "new")
        wait, now = action.wait or 0, run.clock.now()

        def ask(_: Outcome = ()) -> object:
            proposal, check, last = wanted(run.naive, action)
            session = None if client is None else client.session
            return run.waitlist.ask(caller, proposal, wait, now, check, last, uid, session)

        if client is None:
            return without_limits(outcome(ask))
        return without_limits(outcome(lambda: once(run.naive, client, action, now, ask)))

    async def give_up(self, step: GiveUp) -> None:
        """Cancel a waiting call, now or when it is served."""
        self._run.note(step)
        entry = self.nth(step.nth)
        if entry is None:
            return
        caller = entry.caller
        if step.when_served:
            self._doomed = self._doomed or caller
            return
        caller.scope.cancel()
        await self._run.wait(caller.done.is_set, "a call that is cancelled")
        self._forget(caller)
        self._run.waitlist.give_up(caller)
        await self._run.rest()

    def _forget(self, caller: Caller) -> None:
        self._callers.remove(caller)
        if caller is self._doomed:
            self._doomed = None

    # --- Being served ----------------------------------------------------------------------

    def settle(self) -> None:
        """Compare the answers that waiting calls were given with the naive waitlist's.

        Raises `InvariantBroken`.
        """
        known: list[bool] = []
        while self._serve_some(known):
            pass
        # Only now: all that was recorded meanwhile belongs to this step.
        self._run.checkpoint(acknowledged=any(known))
        for caller in self._callers:
            if caller.done.is_set():
                raise InvariantBroken("waits", f"{caller}, and must wait: {text(caller.answer)}")

    def _answer_of(self, caller: Caller) -> Answer:
        return caller.answer if caller in self._order[:1] else None

    def _serve_some(self, known: list[bool]) -> bool:
        """Answer the calls whose turn it is; return whether a cancelled one freed its slot.

        Appends to ``known``, for each call, whether its client knows of the answer.
        """
        run, now = self._run, self._run.clock.now()
        freed: list[str] = []
        while (answered := run.waitlist.next(now, self._answer_of)) is not None:
            caller, expected = answered[0], without_limits(answered[1])
            if not caller.done.is_set():
                raise InvariantBroken(
                    "waits", f"{caller}, though there is an answer: {text(expected)}"
                )
            if caller is not self._order.pop(0):
                raise InvariantBroken("waits", f"{caller}, while others are served")
            served = isinstance(expected, ObservedReservation)
            if served and caller.action.client is not None:
                remember(run.naive, caller.action.client, (), expected)
            doomed = served and caller is self._doomed
            self._forget(caller)
            if doomed:
                self._compare_lost(caller, expected)
                if not _is_kept(caller.action):
                    freed.append(expected.uid)
            else:
                run.compare_answer(caller.call, caller.action, caller.answer, expected)
                known.append(run.learn(caller.call, caller.action, caller.answer))
        for uid in freed:
            run.naive.end(uid, Verb.RELEASE, now)
        return bool(freed)

    def _compare_lost(self, caller: Caller, expected: ObservedReservation) -> None:
        """Compare the reservation of a call that was cancelled when it was served."""
        self._run.note(f"{caller}, is cancelled when served", caller.answer)
        if caller.answer != expected:
            raise InvariantBroken("answer", f"{caller}: {difference(caller.answer, expected)}")


def _is_kept(action: Reserve | ReserveSlot) -> bool:
    """Return whether what comes of an action is kept for its repeat."""
    request = action.request if isinstance(action, ReserveSlot) else action.requests[0]
    return request.key is not None or action.client is not None
