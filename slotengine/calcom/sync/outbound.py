"""Telling the remote what happens here: performs what `reconcile` decides.

Each reservation has a link, and whoever wants it settled takes its lock and
goes on until nothing can be done about it now: workers do, fed by a queue, and
callers who wait for the remote do so themselves.  What failed comes back to the
queue when its time has come.

A caller that is cancelled never cancels a request: those are made by tasks of
our own, whose answers are always heard.
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
from slotengine.calcom.sync.index import Links
from slotengine.calcom.sync.reconcile import (
    Do,
    Failure,
    Reason,
    Step,
    Wanted,
    held_back,
    most_renewals,
    next_step,
    turns_for,
)
from slotengine.calcom.sync.remote_state import PRESENT, Belief, News
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.tracked_hold import Link, is_live
from slotengine.calcom.sync.values import (
    CaughtUp,
    Revoked,
    SyncEvent,
    Unsent,
)
from slotengine.core.expiry import NEVER
from slotengine.core.instant import SECOND, from_us, to_us
from slotengine.core.reservation import State
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.errors import EngineClosed, Refused

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_STEPS: Final = 16
_MOST_ROUNDS: Final = 4
_ROUNDING: Final = 1e-9


class Lane:
    """Links that wait for a worker, first come first served."""

    def __init__(self) -> None:
        self.links: deque[Link] = deque()
        self._fed = asyncio.Event()

    def put(self, link: Link) -> None:
        """Let it be the last.  O(1)."""
        self.links.append(link)
        self._fed.set()

    async def get(self) -> Link:
        """Return the first, when there is one."""
        while not self.links:
            self._fed.clear()
            await self._fed.wait()
        return self.links.popleft()


class Outbound:
    """All links, and the tasks that settle them."""

    def __init__(
        self,
        engine: SlotEngine,
        links: Links,
        requests: Requests,
        *,
        clock: Clock,
        parallel: int,
        backlog: int,
        tell: Callable[[SyncEvent], None],
    ) -> None:
        self.links = links
        self.links.unblock = self.enqueue
        self.links.sooner = self._look_in_time
        self.waiting: set[str] = set()
        """The uids of links whose last change has not arrived at the remote."""
        self._engine = engine
        self._ask = requests
        self._clock = clock
        self._parallel = parallel
        self._most_waiting = backlog
        self._tell = tell
        self._there = Lane()
        """Of what the remote has already: that it is renewed in time goes before all else."""
        self._new = Lane()
        self._renewed: dict[str, float] = {}
        """What each hold that has to be renewed takes of what can be."""
        self._alarms: list[tuple[int, int, Link]] = []
        self._alarms_set = 0
        self._wake = anyio.Event()
        self._wakes_at = 0
        self._settling = 0
        self._at_rest = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def now(self) -> int:
        """Return the time by which the engine decides."""
        return self.links.now()

    # --- Links -----------------------------------------------------------------------------

    def check_room(self) -> None:
        """Raise `SyncOverloaded` if too many wait already."""
        if len(self.waiting) >= self._most_waiting:
            raise SyncOverloaded(len(self.waiting))

    def take_on(self, link: Link) -> None:
        """Count a new hold; raise `SyncOverloaded` if the rate limit cannot keep it alive.

        O(n) for n that have to be renewed, if it has to be.
        """
        share = self._share(link, self.links.wanted(link))
        if not share:
            return
        if fsum(self._renewed.values()) + share > 1 + _ROUNDING:
            untils = (self._until(uid) for uid in self._renewed)
            raise SyncOverloaded(len(self._renewed), from_us(min(untils, default=self.now())))
        self._renewed[link.uid] = share

    def _until(self, uid: str) -> int:
        link = self.links.by_uid.get(uid)
        wanted = None if link is None else self.links.wanted(link)
        return self.now() if wanted is None else wanted.until

    def _share(self, link: Link, wanted: Wanted | None) -> float:
        """Return which part a hold takes of all that can be renewed; 0 if it need not be."""
        per_minute, synced, sight = self._ask.per_minute, link.synced, link.sight
        if per_minute is None or wanted is None or sight.belief is Belief.REFUSED:
            return 0
        longest = synced.longest_us
        lasts = sight.covered_until if link.held_at(wanted.place) else self.now() + longest
        if wanted.until <= lasts:
            return 0
        most = most_renewals(per_minute, synced.rules, longest)
        return 1 / most if most else inf

    # --- Who settles, and when ---------------------------------------------------------------

    def enqueue(self, link: Link) -> None:
        """Let a worker look at it, after those that were enqueued before.  O(1)."""
        if link.queued:
            return
        link.queued = True
        if link.uid in self.links.by_uid:
            self.waiting.add(link.uid)
        (self._there if link.sight.belief in PRESENT else self._new).put(link)

    async def idle(self) -> None:
        """Return when the queue is empty, and nobody settles anything."""
        while self._there.links or self._new.links or self._settling:
            self._at_rest.clear()
            await self._at_rest.wait()

    async def work(self) -> None:
        """Settle what is enqueued, for ever; so many at a time of either kind."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(self._worker(self._there))
                group.create_task(self._worker(self._new))
            group.create_task(self._alarm())

    async def _worker(self, lane: Lane) -> None:
        while True:
            link = await lane.get()
            link.queued = False
            try:
                await self.settle(link)
            except Exception:
                logger.exception("following %s failed", link.uid)

    async def _alarm(self) -> None:
        while True:
            now = self.now()
            while self._alarms and self._alarms[0][0] <= now:
                at, _, link = heapq.heappop(self._alarms)
                if link.due == at:
                    link.due = 0
                    self.enqueue(link)
            self._wake = anyio.Event()
            self._wakes_at = self._alarms[0][0] if self._alarms else NEVER
            await self._clock.wait(self._wake, self._wakes_at)

    def _look_again(self, link: Link, at: int) -> None:
        known, link.due = link.due, at if at < NEVER else 0
        if link.due and link.due != known:
            self._alarms_set += 1
            heapq.heappush(self._alarms, (at, self._alarms_set, link))
            if at < self._wakes_at:
                self._wake.set()

    def _look_in_time(self, link: Link) -> None:
        """Look at a link again when it is to be renewed, now that its hold ends sooner."""
        renew_at = link.sight.covered_until - link.synced.rules.renew_before
        self._look_again(link, max(self.now(), min(renew_at, link.due or NEVER)))

    async def own(self, work: Coroutine[Any, Any, T]) -> T:
        """Let a task of ours do it; whoever waits for it here can be cancelled, the task is not."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._own_is_done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise SyncClosed from None  # given up by `stop`; nobody cancelled the caller
            raise

    def _own_is_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a task of ours ended: %r", error)  # whoever waits for it is told, too

    @asynccontextmanager
    async def turn(self, link: Link) -> AsyncIterator[None]:
        """Let it be the turn of one caller; not before a callback has ended whose caller has left.

        Whoever waits must not come back to a link that nobody follows: there
        would be another of the same reservation, and both would ask for it.
        """
        link.callers += 1
        try:
            async with link.turn:
                async with link.booking:
                    pass
                yield
        finally:
            link.callers -= 1
            if not link.callers and link.sight.belief not in PRESENT:
                self.enqueue(link)  # now it can be forgotten, if it is over

    async def check(self, link: Link) -> Exception | None:
        """Ask whether the remote has what it is believed to have; return why it cannot be asked."""
        return await self.own(self._check(link))

    async def _check(self, link: Link) -> Exception | None:
        problem: Exception | None = None
        async with link.lock:
            if link.sight.belief is Belief.HELD:
                await self._ask.look_up(link)
                if link.sight.failure is not Failure.NONE:
                    problem = link.verdict
            else:
                self.ask_again(link)
        self.enqueue(link)  # whoever wanted to know may be gone
        return problem

    def ask_again(self, link: Link) -> None:
        """Let the next request be made at once, also for what was refused; for who has its lock."""
        link.sight.not_before = 0
        if link.sight.belief is Belief.REFUSED:  # perhaps it is not, any more
            link.succeeded()

    async def follow(self, link: Link) -> None:
        """Return when it is settled, also if others have to be settled before."""
        await self.own(self._follow(link))

    async def _follow(self, link: Link) -> None:
        for _ in range(_MOST_ROUNDS):
            await self.settle(link)
            if not link.blocked:
                return
            for other in self.links.in_the_way(link, self.links.wanted(link)):
                await self.settle(other)
        async with link.lock:
            if link.blocked:  # and will be for too long
                link.failed(Failure.NOT_DONE, self.uncertain(link))
        await self.settle(link)

    async def settle(self, link: Link) -> None:
        """Do what can be done now about one link."""
        self._settling += 1
        try:
            async with link.lock:
                if not link.over:  # another follows it now, or nobody is to
                    await self._settle(link)
        finally:
            self._settling -= 1
            self._at_rest.set()

    async def _settle(self, link: Link) -> None:
        waits_for_turns = False
        try:
            for _ in range(_MOST_STEPS):
                wanted = self.links.wanted(link)
                link.blocked = bool(self.links.in_the_way(link, wanted))
                now, rules = self.now(), link.synced.rules
                step = next_step(link.sight, wanted, rules, now=now, blocked=link.blocked)
                if step.do in {Do.WAIT, Do.NOTHING}:
                    break
                turns = turns_for(step, link.sight, wanted)
                if turns and (wait := self._ask.wait_for_turns(link, turns)):
                    assert wanted is not None
                    later = held_back(link.sight, wanted, now=now, ready_at=now + wait)
                    if later is not None:
                        step, waits_for_turns = later, True
                        break
                    self._ask.held_back(link, wait)
                    continue
                await self._perform(link, step, wanted)
            else:
                step = Step(Do.WAIT, self.now() + SECOND)
        finally:
            if not waits_for_turns:
                self._ask.give_back_turns(link)
        self._rest(link, step)

    def _rest(self, link: Link, step: Step) -> None:
        """Leave a link until something happens."""
        wanted, sight = self.links.wanted(link), link.sight
        if share := self._share(link, wanted):
            self._renewed[link.uid] = share
        else:
            self._renewed.pop(link.uid, None)
        arrived = wanted is not None and link.held_at(wanted.place)
        if arrived or wanted is None:
            self._drop_origin(link)
        if arrived and step.at > sight.not_before:
            link.succeeded()  # what has failed is not wanted any more
        link.blocked = link.blocked and step.do is Do.WAIT and not arrived
        (self.links.blocked.add if link.blocked else self.links.blocked.discard)(link)
        over = wanted is None and sight.belief not in PRESENT
        remembered = self._remembered_until(link) if over else 0
        self._look_again(link, min(step.at, remembered or NEVER))
        at_rest = over or step.do is Do.NOTHING or (arrived and sight.failure is Failure.NONE)
        if at_rest:
            self.waiting.discard(link.uid)
        if over and not remembered:
            self._forget(link)
        self._tell_of_trouble()

    def _remembered_until(self, link: Link) -> int:
        """Return how long it has to be known that it was booked there; 0 if it need not be."""
        current = self._engine.get_nowait(link.uid)
        if not link.booked or current is None or not is_live(current):
            return 0
        end = to_us(current.end)
        return end if end > self.now() else 0

    def _forget(self, link: Link) -> None:
        if self.links.by_uid.get(link.uid) is link and not (link.waiting or link.callers):
            self.links.forget(link)
            self._renewed.pop(link.uid, None)
            link.due = 0

    def _tell_of_trouble(self) -> None:
        if self._ask.troubled and not self.waiting:
            self._ask.troubled = False
            self._tell(CaughtUp(from_us(self.now())))

    # --- The steps -----------------------------------------------------------------------

    async def _perform(self, link: Link, step: Step, wanted: Wanted | None) -> None:
        match step.do:
            case Do.POST:
                assert wanted is not None
                await self._ask.post(link, wanted)
            case Do.PATCH:
                assert wanted is not None
                await self._ask.patch(link, wanted)
            case Do.DELETE:
                await self._ask.delete(link)
            case Do.GET:
                await self._ask.look_up(link)
            case Do.BOOK:
                await self._ask.book(link)
            case Do.LAPSE:
                self.links.learn(link, News.LAPSED)
            case Do.BACK:
                assert step.reason is not None
                self._move_back(link, step.reason)
            case Do.REVOKE:
                assert step.reason is not None
                self._revoke(link, step.reason)
            case _:
                raise AssertionError(step)

    # --- Giving up ------------------------------------------------------------------------

    def uncertain(self, link: Link) -> RemoteUncertain:
        """Return the error that says that nobody knows whether the remote holds it."""
        wanted = self.links.wanted(link)
        start = self._engine.now() if wanted is None else from_us(wanted.place.start)
        until = None
        if wanted is not None:
            until = self.links.ghosts.until(wanted.place, self.now())
        return RemoteUncertain(link.synced.id, start, None if until is None else from_us(until))

    def _revoke(self, link: Link, reason: Reason) -> None:
        """Give up what the remote does not hold, and say so."""
        problem = link.verdict
        if reason is Reason.UNCERTAIN:
            link.verdict = self.uncertain(link)
            link.verdict.__cause__ = problem
        revoked = self._engine.release_nowait(link.uid)
        self._drop_origin(link)
        if not link.promised:
            self._ask.counters.given_back += 1
            return
        self._ask.counters.revoked += 1
        start, end = revoked.start, revoked.end
        said = "" if problem is None else str(problem)
        self._tell(Revoked(link.uid, link.synced.id, start, end, reason, said))

    def _move_back(self, link: Link, reason: Reason) -> None:
        """Let it be here where it was before a move that the remote has not agreed to."""
        assert link.origin is not None
        before = link.origin.reservation
        link.sight.patient = link.origin.patient
        link.undone = link.verdict
        if reason is Reason.UNCERTAIN:
            link.undone = self.uncertain(link)  # of the place that is given up
            link.undone.__cause__ = link.verdict
        self._drop_origin(link)
        link.succeeded()
        try:
            with self._engine.out_of_turn():  # it was guarded: who waits for it came later
                self._engine.move_slot_nowait(
                    link.uid, before.start,
                    event_type=before.event_type, length=before.length, enforce=False,
                )  # fmt: skip
        except Refused as refused:
            # What it had left could not be guarded; a booking stays where it is now.
            logger.warning("%s could not be moved back: %s", link.uid, refused)
            current = self._engine.get_nowait(link.uid)
            if current is not None and current.state is State.HELD:
                self._revoke(link, Reason.REFUSED)

    def _drop_origin(self, link: Link) -> None:
        """Let go of where it was before a move."""
        origin, link.origin = link.origin, None
        link.sight.can_go_back = False
        if origin is not None and origin.guard is not None:
            self._engine.release_nowait(origin.guard)

    # --- Leaving ---------------------------------------------------------------------------

    async def drain(self) -> None:
        """Hear what is under way, and try once more what has not arrived; some at a time."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        links = [self.links.by_uid[uid] for uid in list(self.waiting) if uid in self.links.by_uid]
        pending = iter(links)

        async def some() -> None:
            for link in pending:
                link.sight.not_before = 0
                await self.settle(link)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(some())

    async def stop(self) -> None:
        """Give up the requests that are still under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in self.links.by_uid.values():
            self._ask.give_back_turns(link)

    def unsent(self) -> tuple[Unsent, ...]:
        """Return what the remote does not know."""
        found = []
        for uid in sorted(self.waiting & self.links.by_uid.keys()):
            link = self.links.by_uid[uid]
            try:
                wanted = self.links.wanted(link)
            except EngineClosed:  # left first, and with it went all that is wanted
                wanted = None
            place = link.sight.place or link.target if wanted is None else wanted.place
            if place is not None:
                span = from_us(place.start), from_us(place.end)
                found.append(Unsent(uid, *span, wanted is not None, link.sight.belief))
        return tuple(found)
