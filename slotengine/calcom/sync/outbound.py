"""Tells the remote what happens here: performs the steps that `reconcile` decides on.

A task that has the lock of a tracked hold settles it: step after step, until
nothing can be done about it now.  Workers settle holds from a queue; callers
that wait for the remote settle theirs themselves.  A hold whose request failed
comes back to the queue when it may be retried.

Cancelling a caller never cancels a request.  Requests are made by tasks of our
own, and their outcomes are always recorded.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import fsum, inf
from typing import Any, Final, TypeVar

import anyio

from slotengine.calcom.sync.errors import RemoteUncertain, SyncClosed, SyncOverloaded
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.reconcile import (
    Action,
    Desired,
    Failure,
    RevokeReason,
    Step,
    held_back,
    max_renewals,
    next_step,
    permits_for,
)
from slotengine.calcom.sync.remote_state import PRESENT, RemoteEvent, RemoteState
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live
from slotengine.calcom.sync.values import CaughtUp, Revoked, SyncEvent, Unsent
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import SECOND, from_us, to_us
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.errors import EngineClosed, Refused

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_STEPS: Final = 16
_MAX_ROUNDS: Final = 4
_ROUNDING: Final = 1e-9


class WorkQueue:
    """Tracked holds that wait for a worker, first come, first served."""

    def __init__(self) -> None:
        self.holds: deque[TrackedHold] = deque()
        self._filled = asyncio.Event()

    def put(self, tracked: TrackedHold) -> None:
        """Append a hold.  O(1)."""
        self.holds.append(tracked)
        self._filled.set()

    async def get(self) -> TrackedHold:
        """Return the first hold, as soon as there is one."""
        while not self.holds:
            self._filled.clear()
            await self._filled.wait()
        return self.holds.popleft()


class Outbound:
    """All tracked holds, and the tasks that settle them."""

    def __init__(
        self,
        engine: SlotEngine,
        index: HoldIndex,
        requests: Requests,
        *,
        clock: Clock,
        parallel: int,
        backlog: int,
        tell: Callable[[SyncEvent], None],
    ) -> None:
        self.index = index
        self.index.unblock = self.enqueue
        self.index.on_earlier_end = self._schedule_renewal
        self.waiting: set[str] = set()
        """The uids of tracked holds whose last change the remote does not have yet."""
        self._engine = engine
        self._requests = requests
        self._clock = clock
        self._parallel = parallel
        self._max_waiting = backlog
        self._tell = tell
        self._renewals = WorkQueue()
        """For holds that the remote has: renewing them in time goes before all else."""
        self._new_holds = WorkQueue()
        self._renewal_shares: dict[str, float] = {}
        """Which part of the renewals that the rate limit allows each hold takes."""
        self._timers: list[tuple[int, int, TrackedHold]] = []
        self._timer_count = 0
        self._wake = anyio.Event()
        self._wakes_at = 0
        self._settling = 0
        self._at_rest = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def now(self) -> int:
        """Return the engine's time."""
        return self.index.now()

    # --- Admission -------------------------------------------------------------------------

    def check_backlog(self) -> None:
        """Raise `SyncOverloaded` if too many holds wait already."""
        if len(self.waiting) >= self._max_waiting:
            raise SyncOverloaded(len(self.waiting))

    def admit(self, tracked: TrackedHold) -> None:
        """Count a new hold; raise `SyncOverloaded` if the rate limit cannot keep it alive.

        O(n) for n holds that have to be renewed, if this one has to be.
        """
        share = self._renewal_share(tracked, self.index.desired(tracked))
        if not share:
            return
        if fsum(self._renewal_shares.values()) + share > 1 + _ROUNDING:
            first_end = min(map(self._until, self._renewal_shares), default=self.now())
            raise SyncOverloaded(len(self._renewal_shares), from_us(first_end))
        self._renewal_shares[tracked.uid] = share

    def _until(self, uid: str) -> int:
        tracked = self.index.by_uid.get(uid)
        desired = None if tracked is None else self.index.desired(tracked)
        return self.now() if desired is None else desired.until

    def _renewal_share(self, tracked: TrackedHold, desired: Desired | None) -> float:
        """Return which part of all possible renewals a hold takes; 0 if it needs none."""
        per_minute, synced = self._requests.per_minute, tracked.synced
        observed = tracked.observed
        if per_minute is None or desired is None or observed.state is RemoteState.REFUSED:
            return 0
        max_ttl = synced.max_ttl_us
        held = tracked.held_at(desired.span)
        lasts_until = observed.covered_until if held else self.now() + max_ttl
        if desired.until <= lasts_until:
            return 0
        most = max_renewals(per_minute, synced.rules, max_ttl)
        return 1 / most if most else inf

    # --- Who settles, and when ---------------------------------------------------------------

    def enqueue(self, tracked: TrackedHold) -> None:
        """Let a worker settle a hold, after those that were enqueued before.  O(1)."""
        if tracked.queued:
            return
        tracked.queued = True
        if tracked.uid in self.index.by_uid:
            self.waiting.add(tracked.uid)
        present = tracked.observed.state in PRESENT
        (self._renewals if present else self._new_holds).put(tracked)

    async def idle(self) -> None:
        """Return when the queues are empty and no hold is being settled."""
        while self._renewals.holds or self._new_holds.holds or self._settling:
            self._at_rest.clear()
            await self._at_rest.wait()

    async def work(self) -> None:
        """Settle what is enqueued, for ever; at most ``parallel`` holds of each queue at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(self._worker(self._renewals))
                group.create_task(self._worker(self._new_holds))
            group.create_task(self._run_timers())

    async def _worker(self, queue: WorkQueue) -> None:
        while True:
            tracked = await queue.get()
            tracked.queued = False
            try:
                await self.settle(tracked)
            except Exception:
                logger.exception("settling the hold %s failed", tracked.uid)

    async def _run_timers(self) -> None:
        while True:
            now = self.now()
            while self._timers and self._timers[0][0] <= now:
                at, _, tracked = heapq.heappop(self._timers)
                if tracked.due == at:
                    tracked.due = 0
                    self.enqueue(tracked)
            self._wake = anyio.Event()
            self._wakes_at = self._timers[0][0] if self._timers else NEVER
            await self._clock.wait(self._wake, self._wakes_at)

    def _schedule(self, tracked: TrackedHold, at: int) -> None:
        known, tracked.due = tracked.due, at if at < NEVER else 0
        if tracked.due and tracked.due != known:
            self._timer_count += 1
            heapq.heappush(self._timers, (at, self._timer_count, tracked))
            if at < self._wakes_at:
                self._wake.set()

    def _schedule_renewal(self, tracked: TrackedHold) -> None:
        """Schedule a hold for its renewal, now that it ends earlier."""
        renew_at = tracked.observed.covered_until - tracked.synced.rules.renew_before
        self._schedule(tracked, max(self.now(), min(renew_at, tracked.due or NEVER)))

    async def run_shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in a task of our own, which goes on if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._shielded_done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise SyncClosed from None  # `stop` cancelled the task, and nobody the caller
            raise

    def _shielded_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a task of ours ended: %r", error)  # the caller gets the error as well

    @asynccontextmanager
    async def exclusive(self, tracked: TrackedHold) -> AsyncIterator[None]:
        """Let one caller after another use a hold, and none before a running callback has ended.

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

    async def check(self, tracked: TrackedHold) -> Exception | None:
        """Ask whether the remote has what it should; return why it cannot be asked, if so."""
        return await self.run_shielded(self._check(tracked))

    async def _check(self, tracked: TrackedHold) -> Exception | None:
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
        """Let the next request be made at once, even after a refusal; needs the hold's lock."""
        tracked.observed.not_before = 0
        if tracked.observed.state is RemoteState.REFUSED:  # the remote may accept it now
            tracked.succeeded()

    async def follow(self, tracked: TrackedHold) -> None:
        """Settle a hold, and before it the holds that are in its way."""
        await self.run_shielded(self._follow(tracked))

    async def _follow(self, tracked: TrackedHold) -> None:
        for _ in range(_MAX_ROUNDS):
            await self.settle(tracked)
            if not tracked.blocked:
                return
            for other in self.index.blockers(tracked, self.index.desired(tracked)):
                await self.settle(other)
        async with tracked.lock:
            if tracked.blocked:  # for too long
                tracked.failed(Failure.NOT_DONE, self.uncertain(tracked))
        await self.settle(tracked)

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
        observed = tracked.observed
        try:
            for _ in range(_MAX_STEPS):
                desired = self.index.desired(tracked)
                tracked.blocked = bool(self.index.blockers(tracked, desired))
                now, rules = self.now(), tracked.synced.rules
                step = next_step(observed, desired, rules, now=now, blocked=tracked.blocked)
                if step.action in {Action.WAIT, Action.NOTHING}:
                    break
                permits = permits_for(step, observed, desired)
                if permits and (wait := self._requests.wait_for_permits(tracked, permits)):
                    assert desired is not None
                    later = held_back(observed, desired, now=now, ready_at=now + wait)
                    if later is not None:
                        step, waits_for_permits = later, True
                        break
                    self._requests.held_back(tracked, wait)
                    continue
                await self._perform(tracked, step, desired)
            else:
                step = Step(Action.WAIT, self.now() + SECOND)
        finally:
            if not waits_for_permits:
                self._requests.give_back_permits(tracked)
        self._rest(tracked, step)

    def _rest(self, tracked: TrackedHold, step: Step) -> None:
        """Leave a hold until its next step is due or something happens."""
        desired, observed = self.index.desired(tracked), tracked.observed
        if share := self._renewal_share(tracked, desired):
            self._renewal_shares[tracked.uid] = share
        else:
            self._renewal_shares.pop(tracked.uid, None)
        arrived = desired is not None and tracked.held_at(desired.span)
        if arrived or desired is None:
            self._drop_origin(tracked)
        if arrived and step.at > observed.not_before:
            tracked.succeeded()  # what has failed is not desired any more
        tracked.blocked = tracked.blocked and step.action is Action.WAIT and not arrived
        (self.index.blocked.add if tracked.blocked else self.index.blocked.discard)(tracked)
        over = desired is None and observed.state not in PRESENT
        remembered = self._remembered_until(tracked) if over else 0
        self._schedule(tracked, min(step.at, remembered or NEVER))
        succeeded = arrived and observed.failure is Failure.NONE
        if over or step.action is Action.NOTHING or succeeded:
            self.waiting.discard(tracked.uid)
        if over and not remembered:
            self._forget(tracked)
        self._report_caught_up()

    def _remembered_until(self, tracked: TrackedHold) -> int:
        """Return until when to remember that it was booked at the remote; 0 if no longer."""
        current = self._engine.get_nowait(tracked.uid)
        if not tracked.booked or current is None or not is_live(current):
            return 0
        end = to_us(current.end)
        return end if end > self.now() else 0

    def _forget(self, tracked: TrackedHold) -> None:
        if tracked.waiting or tracked.callers:
            return
        if self.index.by_uid.get(tracked.uid) is tracked:
            self.index.forget(tracked)
            self._renewal_shares.pop(tracked.uid, None)
            tracked.due = 0

    def _report_caught_up(self) -> None:
        if self._requests.troubled and not self.waiting:
            self._requests.troubled = False
            self._tell(CaughtUp(from_us(self.now())))

    # --- The steps -----------------------------------------------------------------------

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
                self.index.record(tracked, RemoteEvent.LAPSED)
            case Action.MOVE_BACK:
                assert step.reason is not None
                self._move_back(tracked, step.reason)
            case Action.REVOKE:
                assert step.reason is not None
                self._revoke(tracked, step.reason)
            case _:
                raise AssertionError(step)

    # --- Giving up ------------------------------------------------------------------------

    def uncertain(self, tracked: TrackedHold) -> RemoteUncertain:
        """Return the error that says that it is unknown whether the remote holds it."""
        desired = self.index.desired(tracked)
        start = self._engine.now() if desired is None else from_us(desired.span.start)
        until = None
        if desired is not None:
            until = self.index.orphans.until(desired.span, self.now())
        retry_at = None if until is None else from_us(until)
        return RemoteUncertain(tracked.synced.id, start, retry_at)

    def _revoke(self, tracked: TrackedHold, reason: RevokeReason) -> None:
        """Release here what the remote does not hold, and report it."""
        problem = tracked.last_error
        if reason is RevokeReason.UNCERTAIN:
            tracked.last_error = self.uncertain(tracked)
            tracked.last_error.__cause__ = problem
        revoked = self._engine.release_nowait(tracked.uid)
        self._drop_origin(tracked)
        if not tracked.promised:
            self._requests.counters.given_back += 1
            return
        self._requests.counters.revoked += 1
        start, end = revoked.start, revoked.end
        said = "" if problem is None else str(problem)
        self._tell(Revoked(tracked.uid, tracked.synced.id, start, end, reason, said))

    def _move_back(self, tracked: TrackedHold, reason: RevokeReason) -> None:
        """Undo a move here that the remote has not accepted."""
        assert tracked.origin is not None
        before = tracked.origin.reservation
        tracked.observed.restored = tracked.origin.restored
        tracked.move_error = tracked.last_error
        if reason is RevokeReason.UNCERTAIN:
            tracked.move_error = self.uncertain(tracked)  # about the span that is given up
            tracked.move_error.__cause__ = tracked.last_error
        self._drop_origin(tracked)
        tracked.succeeded()
        try:
            # The placeholder kept the time; those that wait for it came later.
            with self._engine.out_of_turn():
                self._engine.move_slot_nowait(
                    tracked.uid, before.start,
                    event_type=before.event_type, length=before.length, enforce=False,
                )  # fmt: skip
        except Refused as refused:
            # There was no placeholder.  A booking stays where it is now.
            logger.warning("the hold %s could not be moved back: %s", tracked.uid, refused)
            current = self._engine.get_nowait(tracked.uid)
            if current is not None and current.state is State.HELD:
                self._revoke(tracked, RevokeReason.REFUSED)

    def _drop_origin(self, tracked: TrackedHold) -> None:
        """Forget where it was before a move, and release the placeholder."""
        origin, tracked.origin = tracked.origin, None
        tracked.observed.can_move_back = False
        if origin is not None and origin.placeholder is not None:
            self._engine.release_nowait(origin.placeholder)

    # --- Leaving ---------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait for what is in flight, and try once more what the remote does not have."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        holds = [self.index.by_uid[uid] for uid in list(self.waiting) if uid in self.index.by_uid]
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
        for tracked in self.index.by_uid.values():
            self._requests.give_back_permits(tracked)

    def unsent(self) -> tuple[Unsent, ...]:
        """Return what the remote was not told."""
        found = []
        for uid in sorted(self.waiting & self.index.by_uid.keys()):
            tracked = self.index.by_uid[uid]
            try:
                desired = self.index.desired(tracked)
            except EngineClosed:  # the engine was left first, and so nothing is desired any more
                desired = None
            observed = tracked.observed
            span = observed.span or tracked.target if desired is None else desired.span
            if span is not None:
                start, end = from_us(span.start), from_us(span.end)
                found.append(Unsent(uid, start, end, desired is not None, observed.state))
        return tuple(found)
