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
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any, Final

import anyio

from slotengine.calcom.belief import PRESENT, Belief, Ghost, Ghosts, News, Place, Places
from slotengine.calcom.client import CalComClient
from slotengine.calcom.client_wire import RemoteReservation
from slotengine.calcom.drift import Drift
from slotengine.calcom.errors import (
    ClientClosed,
    OutcomeUnknown,
    RateLimited,
    RemoteConflict,
    RemoteDown,
    RemoteError,
    RemoteNotFound,
    RemoteRefused,
)
from slotengine.calcom.link import Link, is_live, place_of
from slotengine.calcom.reconcile import Do, Failure, Reason, Step, Wanted, next_step
from slotengine.calcom.sync_errors import RemoteUncertain, SyncOverloaded
from slotengine.calcom.sync_values import (
    USUAL_MINUTES,
    CaughtUp,
    Confirm,
    Diverged,
    Revoked,
    SyncedEventType,
    SyncEvent,
    Unsent,
)
from slotengine.core.instant import MINUTE, SECOND, from_us, to_us
from slotengine.core.reservation import State
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation
from slotengine.errors import InvalidField, Refused

logger = logging.getLogger(__name__)

SLACK: Final = 5 * SECOND
"""How much longer than its time a ghost is reckoned with: the request may have been slow."""

_FIRST_BACKOFF: Final = SECOND
_LAST_BACKOFF: Final = 60 * SECOND
_MOST_STEPS: Final = 16
_MOST_ROUNDS: Final = 4
_TRACES_KEPT: Final = 60 * SECOND


class Counters:
    """What was done so far; see `SyncStatistics`."""

    def __init__(self) -> None:
        self.sent = 0
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.not_done = 0
        self.retried = 0
        self.renewed = 0
        self.revoked = 0
        self.given_back = 0
        self.diverged = 0


class Outbound:
    """All links, and the tasks that settle them."""

    def __init__(
        self,
        engine: SlotEngine,
        client: CalComClient,
        synced: dict[str, SyncedEventType],
        *,
        clock: Clock,
        random: Random,
        parallel: int,
        backlog: int,
        tell: Callable[[SyncEvent], None],
        keep: Callable[[Link], None],
    ) -> None:
        self.links: dict[str, Link] = {}
        self.ghosts = Ghosts()
        self.counters = Counters()
        self.drift = Drift()
        self.waiting: set[str] = set()
        """The uids of links whose last change has not arrived at the remote."""
        self.guards: set[str] = set()
        """The uids of holds here that are ours and nobody's."""
        self._engine = engine
        self._client = client
        self._synced = synced
        self._clock = clock
        self._random = random
        self._parallel = parallel
        self._most_waiting = backlog
        self._tell = tell
        self._keep = keep
        self._present: Places[Link] = Places()
        self._traces: deque[tuple[Place, int]] = deque()
        self._queue: deque[Link] = deque()
        self._fed = asyncio.Event()
        self._alarms: list[tuple[int, int, Link]] = []
        self._alarms_set = 0
        self._wake = anyio.Event()
        self._wakes_at = 0
        self._blocked: set[Link] = set()
        self._troubled = False
        self._settling = 0
        self._at_rest = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def now(self) -> int:
        """Return the time by which the engine decides."""
        return to_us(self._engine.now())

    # --- Links -----------------------------------------------------------------------------

    def track(self, reservation: Reservation, synced: SyncedEventType) -> Link:
        """Return the link of a reservation, a new one if need be."""
        link = self.links.get(reservation.uid)
        if link is None:
            link = self.links[reservation.uid] = Link(reservation.uid, synced)
            self.waiting.add(link.uid)
        return link

    def adopt(self, link: Link) -> None:
        """Take on a link that was made elsewhere."""
        self.links[link.uid] = link
        self.waiting.add(link.uid)
        self._index(link)

    def check_room(self) -> None:
        """Raise `SyncOverloaded` if too many wait already."""
        if len(self.waiting) >= self._most_waiting:
            raise SyncOverloaded(len(self.waiting))

    def wanted(self, link: Link) -> Wanted | None:
        """Return what the remote should have for a link, by the engine's state of this moment."""
        reservation = self._engine.get_nowait(link.uid)
        if reservation is None or not is_live(reservation):
            return None
        synced = self._synced.get(reservation.event_type or "")
        if synced is None:  # moved to what the remote knows nothing of
            return None
        link.synced = synced
        place = place_of(reservation, synced)
        if reservation.state is State.HELD:
            assert reservation.until is not None
            return Wanted(place, to_us(reservation.until))
        return self._wanted_booking(link, place)

    def _wanted_booking(self, link: Link, place: Place) -> Wanted | None:
        confirm = link.synced.confirm
        if confirm is Confirm.RELEASE or link.booked:
            return None
        if confirm is not Confirm.KEEP and not link.kept:
            return Wanted(place, place.end, booked=True, to_book=True)
        return Wanted(place, place.end, booked=True) if place.end > self.now() else None

    def presences(self, since: int) -> Iterator[Place]:
        """Yield where the remote has had, or may have had, holds of ours since some moment."""
        for link in self.links.values():
            yield from link.indexed
        for ghost in self.ghosts.live(since):
            yield ghost.place
        for place, gone_at in self._traces:
            if gone_at >= since:
                yield place

    def _index(self, link: Link, *, traced: bool = False) -> None:
        """Note where it is now, and wake those who were in its way."""
        places = link.places
        if places == link.indexed:
            return
        now = self.now()
        for place in link.indexed:
            self._present.remove(place, link)
            if traced and place not in places:
                self._traces.append((place, now))
        while self._traces and self._traces[0][1] < now - _TRACES_KEPT:
            self._traces.popleft()
        for place in places:
            self._present.add(place, link)
        link.indexed = places
        for blocked in tuple(self._blocked):
            self.enqueue(blocked)

    def _in_the_way(self, link: Link, wanted: Wanted | None) -> list[Link]:
        """Return the links that occupy the place at the remote, and are to leave it."""
        if wanted is None:
            return []
        found = []
        for other in self._present.overlapping(wanted.place):
            if other is not link and other not in found:
                theirs = self.wanted(other)
                if theirs is None or not theirs.place.overlaps(wanted.place):
                    found.append(other)
        return found

    # --- Who settles, and when ---------------------------------------------------------------

    def enqueue(self, link: Link) -> None:
        """Let a worker look at it, after those that were enqueued before.  O(1)."""
        if link.queued:
            return
        link.queued = True
        if link.uid in self.links:
            self.waiting.add(link.uid)
        self._queue.append(link)
        self._fed.set()

    async def idle(self) -> None:
        """Return when the queue is empty, and nobody settles anything."""
        while self._queue or self._settling:
            self._at_rest.clear()
            await self._at_rest.wait()

    async def work(self) -> None:
        """Settle what is enqueued, for ever; so many at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(self._worker())
            group.create_task(self._alarm())

    async def _worker(self) -> None:
        while True:
            while not self._queue:
                self._fed.clear()
                await self._fed.wait()
            link = self._queue.popleft()
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
            self._wakes_at = self._alarms[0][0] if self._alarms else 2**62
            await self._clock.wait(self._wake, self._wakes_at)

    def _look_again(self, link: Link, at: int) -> None:
        link.due = at if at < 2**62 else 0
        if link.due:
            self._alarms_set += 1
            heapq.heappush(self._alarms, (at, self._alarms_set, link))
            if at < self._wakes_at:
                self._wake.set()

    async def own(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a task of ours do it; whoever waits for it here can be cancelled, the task is not."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def follow(self, link: Link) -> None:
        """Return when it is settled, also if others have to be settled before."""
        await self.own(self._follow(link))

    async def _follow(self, link: Link) -> None:
        for _ in range(_MOST_ROUNDS):
            await self.settle(link)
            if not link.blocked:
                return
            for other in self._in_the_way(link, self.wanted(link)):
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
                await self._settle(link)
        finally:
            self._settling -= 1
            self._at_rest.set()

    async def _settle(self, link: Link) -> None:
        for _ in range(_MOST_STEPS):
            wanted = self.wanted(link)
            link.blocked = bool(self._in_the_way(link, wanted))
            now = self.now()
            step = next_step(link.sight, wanted, link.synced.rules, now=now, blocked=link.blocked)
            if step.do in {Do.WAIT, Do.NOTHING}:
                break
            await self._perform(link, step, wanted)
        else:
            step = Step(Do.WAIT, self.now() + SECOND)
        self._rest(link, step)

    def _rest(self, link: Link, step: Step) -> None:
        """Leave a link until something happens."""
        wanted, sight = self.wanted(link), link.sight
        arrived = wanted is not None and link.held_at(wanted.place)
        if arrived or wanted is None:
            self._drop_origin(link)
        if arrived and step.at > sight.not_before:
            link.succeeded()  # what has failed is not wanted any more
        link.blocked = link.blocked and step.do is Do.WAIT and not arrived
        (self._blocked.add if link.blocked else self._blocked.discard)(link)
        self._look_again(link, step.at)
        over = wanted is None and sight.belief not in PRESENT
        at_rest = over or step.do is Do.NOTHING or (arrived and sight.failure is Failure.NONE)
        if at_rest:
            self.waiting.discard(link.uid)
        if over:
            self._forget(link)
        self._tell_of_trouble()

    def _forget(self, link: Link) -> None:
        if self.links.get(link.uid) is link and link.waiting == 0:
            del self.links[link.uid]
            link.due = 0
            self._keep(link)

    def _tell_of_trouble(self) -> None:
        if self._troubled and not self.waiting:
            self._troubled = False
            self._tell(CaughtUp(from_us(self.now())))

    # --- The steps -----------------------------------------------------------------------

    async def _perform(self, link: Link, step: Step, wanted: Wanted | None) -> None:
        match step.do:
            case Do.POST:
                assert wanted is not None
                await self._post(link, wanted)
            case Do.PATCH:
                assert wanted is not None
                await self._patch(link, wanted)
            case Do.DELETE:
                await self._delete(link, wanted)
            case Do.GET:
                await self.look_up(link)
            case Do.BOOK:
                await self._book(link)
            case Do.LAPSE:
                self.learn(link, News.LAPSED)
            case Do.BACK:
                self._move_back(link)
            case Do.REVOKE:
                assert step.reason is not None
                self._revoke(link, step.reason)
            case _:
                raise AssertionError(step)

    def learn(self, link: Link, news: News) -> None:
        """Believe news of a link; for who has its lock."""
        link.learn(news)
        # What was refused, or not even sent, has left no trace at the remote.
        self._index(link, traced=news not in {News.REFUSED, News.NOT_DONE})
        self._keep(link)

    def _send(self, link: Link, news: News, target: Place | None) -> int:
        """Note that a request is about to be sent, and return when."""
        link.target = target
        self.counters.sent += 1
        self.counters.retried += link.failures > 0
        self.learn(link, news)
        return self.now()

    async def _post(self, link: Link, wanted: Wanted) -> None:
        sight, place = link.sight, wanted.place
        minutes = link.synced.minutes_for(max(0, wanted.until - self.now()))
        in_doubt = sight.belief is Belief.UNKNOWN
        sent_at = self._send(link, News.POST, place)
        try:
            remote = await self._client.reserve(
                place.remote_id,
                from_us(place.start),
                slot_minutes=_slot_minutes(link.synced, place),
                reservation_minutes=minutes,
            )
        except RemoteConflict as refused:
            ghost = self.ghosts.until(place, sent_at)
            sight.ghost_until = ghost or 0
            self._failed(link, Failure.REFUSED, refused)
            self.learn(link, News.REFUSED if ghost is None else News.CONTESTED)
        except OutcomeUnknown as unknown:
            self._haunt(place, minutes)
            self._failed(link, Failure.LOST, unknown)
            self.learn(link, News.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(link, _kind(error), error)
            doubtful = failure is Failure.NOT_DONE and in_doubt
            said = News.REFUSED if failure is Failure.REFUSED else News.NOT_DONE
            self.learn(link, News.LOST if doubtful else said)
        except BaseException:
            self._haunt(place, minutes)
            self.learn(link, News.LOST)
            raise
        else:
            self._accepted(link, remote, minutes, sent_at)

    async def _patch(self, link: Link, wanted: Wanted) -> None:
        assert link.remote_uid is not None
        place = wanted.place
        # The length of time is everybody's to choose here, but one that is not theirs to choose
        # elsewhere had better be the same.
        minutes = link.synced.minutes_for(max(0, wanted.until - self.now()))
        self.counters.renewed += link.sight.place == place
        sent_at = self._send(link, News.PATCH, place)
        try:
            remote = await self._client.update(
                link.remote_uid,
                place.remote_id,
                from_us(place.start),
                slot_minutes=_slot_minutes(link.synced, place),
                reservation_minutes=minutes,
            )
        except OutcomeUnknown as unknown:
            sight = link.sight
            sight.gone_after = max(sight.gone_after, self.now() + _us(minutes) + SLACK)
            self._failed(link, Failure.LOST, unknown)
            self.learn(link, News.LOST)
        except RemoteNotFound as missing:
            # Its row is gone; whether the event type is, a POST will tell.
            self.counters.not_done += 1
            link.verdict = missing
            self.learn(link, News.MISSING)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(link, _kind(error), error)
            self.learn(link, News.REFUSED if failure is Failure.REFUSED else News.NOT_DONE)
        except BaseException:
            link.sight.gone_after = max(link.sight.gone_after, self.now() + _us(minutes) + SLACK)
            self.learn(link, News.LOST)
            raise
        else:
            self._accepted(link, remote, minutes, sent_at)

    def _accepted(
        self, link: Link, remote: RemoteReservation, asked: int | None, sent_at: int
    ) -> None:
        assert link.target is not None
        sight, received = link.sight, self.now()
        minutes = remote.reservation_minutes or asked or USUAL_MINUTES
        self.drift.measure(to_us(remote.until), minutes * MINUTE, sent_at, received)
        # It was made after it was sent and before it was answered, whatever the clock there says.
        sight.covered_until = sent_at + minutes * MINUTE
        sight.gone_after = received + minutes * MINUTE + SLACK
        sight.place = link.target
        sight.eager = sight.patient = False
        link.diverged = False
        link.succeeded()
        self.counters.accepted += 1
        link.remote_uid = remote.uid
        self.learn(link, News.ACCEPTED)
        if to_us(remote.end) != link.target.end:
            self._diverge(link, f"the remote's slot ends at {remote.end.isoformat()}")

    async def _delete(self, link: Link, wanted: Wanted | None) -> None:
        assert link.remote_uid is not None
        self.counters.renewed += wanted is not None and link.sight.place == wanted.place
        self._send(link, News.DELETE, None)
        try:
            await self._client.delete(link.remote_uid)
        except OutcomeUnknown as unknown:
            self._failed(link, Failure.LOST, unknown)
            self.learn(link, News.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            self._failed(link, Failure.NOT_DONE, error)
            self.learn(link, News.NOT_DONE)
        except BaseException:
            self.learn(link, News.LOST)
            raise
        else:
            link.succeeded()
            self.learn(link, News.ACCEPTED)

    async def look_up(self, link: Link) -> RemoteReservation | None:
        """Ask the remote where a hold is, and believe it; for who has the link's lock."""
        assert link.remote_uid is not None
        sight, asked_at = link.sight, self.now()
        try:
            found = await self._client.get(link.remote_uid)
        except (RemoteError, ClientClosed) as error:
            self._failed(link, Failure.NOT_DONE, error)
            return None
        link.succeeded()
        if found is None:
            self.learn(link, News.MISSING)
            return None
        place = _nearest(found, sight.place, link.target)
        left = to_us(found.until) - self.drift.ahead
        if sight.belief is Belief.ASTRAY:
            sight.covered_until = left - self.drift.error
            sight.gone_after = max(left, asked_at) + self.drift.error + SLACK
        sight.place = place
        self.learn(link, News.FOUND)
        return found

    async def _book(self, link: Link) -> None:
        confirm = link.synced.confirm
        assert not isinstance(confirm, Confirm)
        reservation = self._engine.get_nowait(link.uid)
        assert reservation is not None
        try:
            await confirm(reservation, link.remote_uid)
        except (RemoteDown, RateLimited) as error:
            self._failed(link, Failure.NOT_DONE, error)
        except Exception as error:  # it is the caller's code
            link.kept = True
            link.succeeded()
            self._diverge(link, f"it was not booked there: {type(error).__name__}")
        else:
            link.booked = True
            link.succeeded()

    # --- Giving up ------------------------------------------------------------------------

    def _failed(self, link: Link, failure: Failure, error: Exception) -> Failure:
        counters = self.counters
        link.failed(failure, error)
        self._troubled |= link.promised and failure is not Failure.REFUSED
        if failure is Failure.REFUSED:
            counters.refused += 1
            reservation = self._engine.get_nowait(link.uid)
            if reservation is not None and reservation.state is State.CONFIRMED:
                self._diverge(link, f"it is booked here, but {error}")
        elif failure is Failure.LOST:
            counters.lost += 1
        else:
            counters.not_done += 1
        told_s = error.retry_after_s if isinstance(error, RateLimited | RemoteDown) else 0.0
        most = min(_LAST_BACKOFF, _FIRST_BACKOFF << min(link.failures - 1, 10))
        pause = int(told_s * SECOND) + int(self._random.uniform(0.5, 1) * most)
        if failure is Failure.REFUSED or (failure is Failure.LOST and link.failures == 1):
            pause = 0  # it is well, or may be
        link.sight.not_before = self.now() + pause
        return failure

    def _haunt(self, place: Place, minutes: int | None) -> None:
        self.ghosts.add(Ghost(place, self.now() + _us(minutes) + SLACK))

    def _diverge(self, link: Link, problem: str) -> None:
        if not link.diverged:
            link.diverged = True
            self.counters.diverged += 1
            synced = link.synced
            self._tell(Diverged(link.uid, synced.id, problem))

    def uncertain(self, link: Link) -> RemoteUncertain:
        """Return the error that says that nobody knows whether the remote holds it."""
        wanted = self.wanted(link)
        start = self._engine.now() if wanted is None else from_us(wanted.place.start)
        until = None
        if wanted is not None:
            until = self.ghosts.until(wanted.place, self.now())
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
            self.counters.given_back += 1
            return
        self.counters.revoked += 1
        start, end = revoked.start, revoked.end
        said = "" if problem is None else str(problem)
        self._tell(Revoked(link.uid, link.synced.id, start, end, reason, said))

    def _move_back(self, link: Link) -> None:
        """Let it be here where it was before a move that the remote has not agreed to."""
        assert link.origin is not None
        before = link.origin.reservation
        verdict = link.verdict
        if isinstance(verdict, OutcomeUnknown):
            verdict = self.uncertain(link)  # of the place that is given up
        self._drop_origin(link)
        link.succeeded()
        try:
            self._engine.move_slot_nowait(
                link.uid, before.start,
                event_type=before.event_type, length=before.length, enforce=False,
            )  # fmt: skip
        except Refused as refused:
            logger.warning("%s could not be moved back: %s", link.uid, refused)
            self._revoke(link, Reason.REFUSED)
        link.verdict = verdict

    def _drop_origin(self, link: Link) -> None:
        """Let go of where it was before a move."""
        origin, link.origin = link.origin, None
        link.sight.can_go_back = False
        if origin is not None and origin.guard is not None:
            self._engine.release_nowait(origin.guard)
            self.guards.discard(origin.guard)

    # --- Leaving ---------------------------------------------------------------------------

    async def drain(self) -> None:
        """Try once more, at once, whatever has not arrived; some at a time."""
        links = [self.links[uid] for uid in list(self.waiting) if uid in self.links]
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

    def unsent(self) -> tuple[Unsent, ...]:
        """Return what the remote does not know."""
        found = []
        for uid in sorted(self.waiting & self.links.keys()):
            link = self.links[uid]
            wanted = self.wanted(link)
            place = link.sight.place or link.target if wanted is None else wanted.place
            if place is not None:
                span = from_us(place.start), from_us(place.end)
                found.append(Unsent(uid, *span, wanted is not None, link.sight.belief))
        return tuple(found)


def _nearest(found: RemoteReservation, *believed: Place | None) -> Place:
    """Return which of the places it is at; that its length differs there is another matter."""
    start = to_us(found.start)
    for place in believed:
        if place is not None and (place.remote_id, place.start) == (found.event_type_id, start):
            return place
    return Place(found.event_type_id, start, to_us(found.end))


def _us(minutes: int | None) -> int:
    return (minutes or USUAL_MINUTES) * MINUTE


def _kind(error: Exception) -> Failure:
    """Tell a refusal that waiting will not change from trouble on the way."""
    if isinstance(error, RateLimited):
        return Failure.NOT_DONE
    return Failure.REFUSED if isinstance(error, RemoteRefused | InvalidField) else Failure.NOT_DONE


def _slot_minutes(synced: SyncedEventType, place: Place) -> int | None:
    """Return what the remote is to be told of the length; it refuses to be told for nothing."""
    if not synced.event_type.lengths:
        return None
    return (place.end - place.start) // MINUTE
