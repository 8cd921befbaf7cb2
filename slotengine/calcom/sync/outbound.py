"""Tells the remote what happens here: performs the steps that `next_step` decides on.

To settle a tracked hold is to perform step after step until nothing can be done
about it now, with its lock.  Workers settle holds from two queues; a caller
that waits for the remote settles its hold itself.  A hold whose request failed
returns to its queue when the request may be retried.

Cancelling a caller never cancels a request.  Requests are made by tasks of our
own, and their outcomes are always recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import anyio

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.errors import SyncClosed, SyncOverloaded
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.next_step import (
    Action,
    Desired,
    Failure,
    Step,
    next_step,
    permits_for,
    while_waiting_for_permits,
)
from slotengine.calcom.sync.remote_state import PRESENT, RemoteEvent, RemoteState
from slotengine.calcom.sync.renewals import RenewalCapacity
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.rollback import Rollback
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live
from slotengine.calcom.sync.values import Unsent
from slotengine.calcom.sync.work_queue import Timers, WorkQueue
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.reservation import Verb
from slotengine.core.time.instant import SECOND, from_us, to_us
from slotengine.engine.events import Lagged, Subscription
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Reservation
from slotengine.errors import EngineClosed

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RESTS: Final = frozenset({Action.WAIT, Action.NOTHING})
_MAX_STEPS: Final = 16
_MAX_ROUNDS: Final = 4


class _Next(NamedTuple):
    """What to do now about a hold, and what the remote should have."""

    step: Step | None
    """None if it is to be found out once more."""
    desired: Desired | None
    at_rest: bool = False
    """Whether nothing is to be done until the step is due, and the hold rests."""
    waits_for_permits: bool = False


class Outbound:
    """The tasks that settle tracked holds."""

    def __init__(
        self,
        env: Environment,
        index: HoldIndex,
        requests: Requests,
        *,
        parallel: int,
        backlog: int,
    ) -> None:
        self.waiting: set[str] = set()
        """The uids of tracked holds whose last change the remote does not have yet."""
        self.renewals = RenewalCapacity(index, requests.per_minute)
        self.rollback = Rollback(env, index, requests.monitor)
        self._env = env
        self._engine = env.engine
        self._index = index
        self._requests = requests
        self._parallel = parallel
        self._max_waiting = backlog
        self._present = WorkQueue()
        """Holds that the remote has.  Workers of their own keep renewals in time."""
        self._absent = WorkQueue()
        self._timers = Timers(env, self.enqueue)
        self._settling = 0
        self._at_rest = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        index.unblock = self.enqueue
        index.on_earlier_end = self._schedule_renewal

    # --- The engine's side -----------------------------------------------------------------

    async def follow_engine(self, events: Subscription) -> None:
        """Enqueue every reservation that changes on the engine, until the events end."""
        async for event in events:
            if isinstance(event, Lagged):
                await self.enqueue_all()
                continue
            if event.verb is Verb.FORGET:  # it is over, there as well
                continue
            tracked = self._index.by_uid.get(event.reservation.uid)
            if tracked is None:
                await self._engine.run(partial(self.adopt, event.reservation))
            elif not (tracked.waiters and event.verb is Verb.RESERVE):  # its caller settles it
                self.enqueue(tracked)

    def adopt(self, reservation: Reservation, local: LocalEngine) -> TrackedHold | None:
        """Track and enqueue a reservation that was made or moved on the engine itself.

        Return None if it is not to be tracked.
        """
        synced = self._index.synced.get(reservation.event_type or "")
        current = local.get(reservation.uid)
        if synced is None or not is_live(current):
            return None
        tracked = self._index.track(reservation, synced)
        tracked.promised = True
        self.enqueue(tracked)
        return tracked

    async def enqueue_all(self) -> list[TrackedHold]:
        """Enqueue every live reservation; return those that were not tracked before."""
        return await self._engine.run(self._enqueue_all)

    def _enqueue_all(self, local: LocalEngine) -> list[TrackedHold]:
        for tracked in list(self._index.by_uid.values()):
            self.enqueue(tracked)
        untracked = [
            one for one in self._index.live_reservations(local) if one.uid not in self._index.by_uid
        ]
        adopted = [self.adopt(one, local) for one in untracked]
        return [tracked for tracked in adopted if tracked is not None]

    # --- The queues ------------------------------------------------------------------------

    def check_backlog(self) -> None:
        """Raise `SyncOverloaded` if too many holds wait already."""
        if len(self.waiting) >= self._max_waiting:
            raise SyncOverloaded(len(self.waiting))

    def enqueue(self, tracked: TrackedHold) -> None:
        """Let a worker settle a hold, after those that were enqueued before.  O(1)."""
        if tracked.queued:
            return
        tracked.queued = True
        if tracked.uid in self._index.by_uid:
            self.waiting.add(tracked.uid)
        present = tracked.observed.state in PRESENT
        (self._present if present else self._absent).put(tracked)

    async def idle(self) -> None:
        """Wait until the queues are empty and no hold is being settled."""
        while self._present.holds or self._absent.holds or self._settling:
            self._at_rest.clear()
            await self._at_rest.wait()

    async def work(self) -> None:
        """Settle enqueued holds until this is cancelled; ``parallel`` of each queue at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(self._worker(self._present))
                group.create_task(self._worker(self._absent))
            group.create_task(self._timers.run())

    async def _worker(self, queue: WorkQueue) -> None:
        while True:
            tracked = await queue.get()
            tracked.queued = False
            try:
                await self.settle(tracked)
            except Exception:
                logger.exception("settling the hold %s failed", tracked.uid)

    def _schedule_renewal(self, tracked: TrackedHold) -> None:
        """Schedule a hold for its renewal, now that it ends earlier."""
        renew_at = tracked.observed.covered_until - tracked.rules.renew_before
        self._timers.set(tracked, max(self._env.now(), min(renew_at, tracked.due or NEVER)))

    # --- For callers that wait -------------------------------------------------------------

    async def run_shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in a task of our own, which continues if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._shielded_done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise SyncClosed from None  # `stop` cancelled our task; nobody cancelled the caller
            raise

    def _shielded_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a task of ours ended: %r", error)  # the caller gets the error as well

    @asynccontextmanager
    async def exclusive(self, tracked: TrackedHold) -> AsyncIterator[None]:
        """Give callers exclusive access to a hold, one at a time, and never during its callback.

        A hold is not forgotten while callers wait here.  Otherwise the
        reservation could be tracked a second time, and both would send
        requests for it.
        """
        tracked.callers += 1
        try:
            async with tracked.verb_lock:
                async with tracked.callback_lock:
                    pass
                yield
        finally:
            tracked.callers -= 1
            if not tracked.callers and tracked.observed.state not in PRESENT:
                self.enqueue(tracked)  # now it can be forgotten, if it is over

    async def look_up(self, tracked: TrackedHold) -> Exception | None:
        """Ask the remote where a hold is; return the error if it could not be asked."""
        return await self.run_shielded(self._look_up(tracked))

    async def _look_up(self, tracked: TrackedHold) -> Exception | None:
        problem: Exception | None = None
        async with tracked.lock:
            if tracked.observed.state is RemoteState.HELD:
                await self._requests.look_up(tracked)
                if tracked.observed.failure is not Failure.NONE:
                    problem = tracked.last_error
            else:
                self.retry_now(tracked)
        self.enqueue(tracked)  # the caller may have been cancelled
        return problem

    def retry_now(self, tracked: TrackedHold) -> None:
        """Let the next request be sent immediately, even after a refusal; needs the hold's lock."""
        tracked.observed.not_before = 0
        if tracked.observed.state is RemoteState.REFUSED:  # the remote may accept it now
            tracked.succeeded()

    async def settle_now(self, tracked: TrackedHold) -> None:
        """Settle a hold for a caller that waits, after the holds that block it."""
        await self.run_shielded(self._settle_with_blockers(tracked))

    async def _settle_with_blockers(self, tracked: TrackedHold) -> None:
        for _ in range(_MAX_ROUNDS):
            await self.settle(tracked)
            if not tracked.blocked:
                return
            for other in await self._engine.run(lambda local: self._blockers(tracked, local)):
                await self.settle(other)
        async with tracked.lock:
            if tracked.blocked:  # still, after waiting for the others
                tracked.failed(Failure.NOT_DONE, await self.rollback.uncertain(tracked))
        await self.settle(tracked)

    def _blockers(self, tracked: TrackedHold, local: LocalEngine) -> list[TrackedHold]:
        return self._index.blockers(tracked, self._index.desired(tracked, local), local)

    # --- Settling --------------------------------------------------------------------------

    async def settle(self, tracked: TrackedHold) -> None:
        """Do all that can be done now about one hold."""
        self._settling += 1
        try:
            async with tracked.lock:
                if not tracked.over:  # otherwise another one is tracked for it, or none is needed
                    await self._settle(tracked)
        finally:
            self._settling -= 1
            self._at_rest.set()

    async def _settle(self, tracked: TrackedHold) -> None:
        waits_for_permits = False
        try:
            for _ in range(_MAX_STEPS):
                found = await self._engine.run(lambda local: self._next(tracked, local))
                waits_for_permits = found.waits_for_permits
                if found.at_rest:
                    return
                if found.step is not None:
                    await self._perform(tracked, found.step, found.desired)
        finally:
            if not waits_for_permits:
                self._requests.give_back_permits(tracked)
        later = Step(Action.WAIT, self._env.now() + SECOND)
        await self._engine.run(lambda local: self._rest(tracked, later, local))

    def _next(self, tracked: TrackedHold, local: LocalEngine) -> _Next:
        """Find out what to do now about a hold; if it is nothing, let it rest."""
        observed = tracked.observed
        desired = self._index.desired(tracked, local)
        tracked.blocked = bool(self._index.blockers(tracked, desired, local))
        now, blocked = self._env.now(), tracked.blocked
        step = next_step(observed, desired, tracked.rules, now=now, blocked=blocked)
        waits_for_permits = False
        if step.action not in _RESTS:
            permits = permits_for(step, observed, desired)
            wait = self._requests.wait_for_permits(tracked, permits) if permits else 0
            if not wait:
                return _Next(None if self._undo(tracked, step, local) else step, desired)
            assert desired is not None
            later = while_waiting_for_permits(observed, desired, now=now, ready_at=now + wait)
            if later is None:
                self._requests.record_not_sent(tracked, wait)
                return _Next(None, desired)
            step, waits_for_permits = later, True
        self._rest(tracked, step, local)
        return _Next(step, desired, at_rest=True, waits_for_permits=waits_for_permits)

    async def _perform(self, tracked: TrackedHold, step: Step, desired: Desired | None) -> None:
        match step.action:
            case Action.POST:
                assert desired is not None
                await self._requests.post(tracked, desired)
            case Action.PATCH:
                assert desired is not None
                await self._requests.patch(tracked, desired)
            case Action.DELETE:
                await self._requests.delete(tracked)
            case Action.GET:
                await self._requests.look_up(tracked)
            case Action.BOOK:
                await self._requests.book(tracked)
            case Action.LAPSE:
                self._index.record(tracked, RemoteEvent.LAPSED)
            case _:
                raise AssertionError(step)

    def _undo(self, tracked: TrackedHold, step: Step, local: LocalEngine) -> bool:
        """Undo what the remote does not accept, if that is the step: nothing may come between."""
        if step.action is Action.MOVE_BACK:
            assert step.reason is not None
            self.rollback.move_back(tracked, step.reason, local)
        elif step.action is Action.REVOKE:
            assert step.reason is not None
            self.rollback.revoke(tracked, step.reason, local)
        else:
            return False
        return True

    def _rest(self, tracked: TrackedHold, step: Step, local: LocalEngine) -> None:
        """Do nothing for a hold until its next step is due or something happens."""
        desired, observed = self._index.desired(tracked, local), tracked.observed
        self.renewals.update(tracked, desired)
        arrived = desired is not None and tracked.held_at(desired.span)
        if arrived or desired is None:
            self.rollback.drop_origin(tracked, local)
        if arrived and step.at > observed.not_before:
            tracked.succeeded()  # the request that failed is not needed any more
        tracked.blocked = tracked.blocked and step.action is Action.WAIT and not arrived
        (self._index.blocked.add if tracked.blocked else self._index.blocked.discard)(tracked)
        over = desired is None and observed.state not in PRESENT
        remembered = self._remembered_until(tracked, local) if over else 0
        self._timers.set(tracked, min(step.at, remembered or NEVER))
        succeeded = arrived and observed.failure is Failure.NONE
        if over or step.action is Action.NOTHING or succeeded:
            self.waiting.discard(tracked.uid)
        if over and not remembered:
            self._forget(tracked)
        if not self.waiting:
            self._requests.monitor.caught_up(self._env.now())

    def _remembered_until(self, tracked: TrackedHold, local: LocalEngine) -> int:
        """Return the time until which to remember a booking at the remote; 0 if there is none."""
        current = local.get(tracked.uid)
        if not tracked.booked or current is None or not is_live(current):
            return 0
        end = to_us(current.end)
        return end if end > self._env.now() else 0

    def _forget(self, tracked: TrackedHold) -> None:
        if tracked.waiters or tracked.callers:
            return
        if self._index.by_uid.get(tracked.uid) is tracked:
            self._index.forget(tracked)
            self.renewals.forget(tracked)
            tracked.due = 0

    # --- Closing ---------------------------------------------------------------------------

    async def drain(self, patience: int) -> None:
        """Wait for requests in flight, and tell the remote once more what it does not have."""
        draining = asyncio.create_task(self._drain())
        drained = anyio.Event()
        draining.add_done_callback(lambda _: drained.set())
        try:
            until = self._env.now() + patience
            while not draining.done() and self._env.now() < until:
                await self._env.clock.wait(drained, until)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        holds = [self._index.by_uid[uid] for uid in list(self.waiting) if uid in self._index.by_uid]
        pending = iter(holds)

        async def settle_some() -> None:
            for tracked in pending:
                tracked.observed.not_before = 0
                await self.settle(tracked)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(settle_some())

    async def stop(self) -> None:
        """Cancel the requests that are still in flight."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tracked in self._index.by_uid.values():
            self._requests.give_back_permits(tracked)

    async def unsent(self) -> tuple[Unsent, ...]:
        """Return what the remote was not told."""
        holds = [
            self._index.by_uid[uid] for uid in sorted(self.waiting & self._index.by_uid.keys())
        ]
        try:
            desired = await self._engine.run(
                lambda local: [self._index.desired(tracked, local) for tracked in holds]
            )
        except EngineClosed:  # the engine was closed first, so nothing is desired any more
            desired = [None] * len(holds)
        found = []
        for tracked, wanted in zip(holds, desired, strict=True):
            observed = tracked.observed
            span = observed.span or tracked.target if wanted is None else wanted.span
            if span is not None:
                start, end = from_us(span.start), from_us(span.end)
                found.append(Unsent(tracked.uid, start, end, wanted is not None, observed.state))
        return tuple(found)
