"""Keeping an engine and a remote Cal.com in step.

`CalComSync` has the verbs of the engine that concern event types.  Each decides
here first, so that a local refusal costs no request and no two callers of ours
are ever told yes for one slot; then the remote follows: before the caller is
told (`Mode.STRICT`), or after (`Mode.BACKGROUND`).

What to do about each reservation is `reconcile`'s to decide and `outbound`'s to
do; what the remote's slots mean is `comparing`'s, and asking for them
`inbound`'s.  Changes made on the engine itself are followed as well.
"""

from __future__ import annotations

import asyncio
import logging
import random as chance
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

import anyio

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.client.errors import OutcomeUnknown
from slotengine.calcom.sync.audit import Mending
from slotengine.calcom.sync.errors import SyncClosed, SyncOverloaded
from slotengine.calcom.sync.inbound import Inbound
from slotengine.calcom.sync.index import Links
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.placeholder import guard
from slotengine.calcom.sync.remote_state import Belief
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.restore import Resuming
from slotengine.calcom.sync.tracked_hold import Link, Origin, is_live, place_of
from slotengine.calcom.sync.values import (
    Confirm,
    Offers,
    Report,
    Saved,
    SavedGhost,
    SavedLink,
    Synced,
    SyncedEventType,
    SyncEvent,
    SyncStatistics,
    Unsent,
    paired,
)
from slotengine.core.instant import MICROSECOND, SECOND, duration_us, to_us
from slotengine.core.reservation import State, Verb
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Lagged, Subscription
from slotengine.engine.values import Reservation
from slotengine.errors import (
    EngineClosed,
    HoldExpired,
    InvalidField,
    Refused,
    UnknownEventType,
    WrongState,
)

logger = logging.getLogger(__name__)

_KEYS_KEPT: Final = 10_000
_EVENTS: Final = 65_536
_BOOKED_BEFORE: Final = 60 * SECOND
"""So long before its end a hold is booked here if a callback is at it."""


def _slot_of(one: Reservation) -> tuple[datetime, datetime, str | None]:
    return one.start, one.end, one.event_type


def _nothing(_: object) -> None:
    pass


class CalComSync:
    """Keeps the event types of an engine in step with those of a remote.

    ``event_types`` maps the remote's ids of those to what each is here.  Enter
    it, once, inside the engine and the client that it is given; leave it before
    them.  ``on_event`` is called with each `SyncEvent`, and ``on_link``
    with what is to be kept of a reservation over a restart whenever that
    changes, before a request and after it, the last time as ``over``: then it
    may be dropped.  ``on_ghost`` is called with what a lost request may have
    left there, which may be dropped after its ``until``.  ``saved`` is what was
    kept.  All of them must be quick, and not raise.

    At most ``parallel`` requests for the background are under way at a time,
    and at most ``backlog`` reservations wait for the remote.  On leaving, what
    has not arrived is tried once more, for at most ``drain``.

    ``clock`` is what the engine's time is waited for with; it and ``random``
    are for tests.

        talk = EventType(id="talk", length=minutes(30), all_of=["room"])
        engine.add_event_type(talk)
        async with CalComSync(engine, client, {17: SyncedEventType(talk)}) as sync:
            hold = await sync.reserve("talk", start)

    Raises `InvalidField` if two of the remote's are the same here.
    """

    def __init__(
        self,
        engine: SlotEngine,
        client: CalComClient,
        event_types: Mapping[int, SyncedEventType],
        *,
        parallel: int = 8,
        backlog: int = 1024,
        drain: timedelta = timedelta(seconds=10),
        saved: Saved | None = None,
        on_event: Callable[[SyncEvent], None] = _nothing,
        on_link: Callable[[SavedLink], None] = _nothing,
        on_ghost: Callable[[SavedGhost], None] = _nothing,
        clock: Clock | None = None,
        random: chance.Random | None = None,
    ) -> None:
        self._synced = paired(event_types)
        if parallel < 1 or backlog < 1:
            raise InvalidField("parallel", "and backlog must be at least 1")
        self._engine = engine
        self._clock = clock or SystemClock()
        self._drain = duration_us(drain, "drain")
        self._saved = saved or Saved()
        random = random or chance.Random()
        keep = _nothing if on_link is _nothing else lambda link: on_link(link.saved())
        self._links = Links(
            engine, self._synced,
            keep=keep, keep_ghost=lambda one: on_ghost(SavedGhost(*one.place, one.until)),
        )  # fmt: skip
        self._ask = Requests(engine, client, self._links, random=random, tell=on_event)
        self._out = Outbound(
            engine, self._links, self._ask,
            clock=self._clock, parallel=parallel, backlog=backlog, tell=on_event,
        )  # fmt: skip
        self._in = Inbound(
            engine, client, self._synced,
            clock=self._clock, random=random, presences=self._links.presences,
        )  # fmt: skip
        self._resuming = Resuming(engine, self._links, self._synced)
        self._mending = Mending(engine, self._links, self._ask, self._out, self._in, self._synced)
        self._keys: OrderedDict[str, int] = OrderedDict(self._saved.keys)
        self._entered = self._open = False
        self._subscription: Subscription | None = None
        self._client = client
        self._stop_hearing: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.unsent: tuple[Unsent, ...] = ()
        """What the remote was not told, once the sync was left."""

    # --- Entering and leaving --------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise SyncClosed
        self._entered = self._open = True
        self._subscription = self._engine.subscribe(buffer=_EVENTS)
        self._resuming.resume(self._saved)
        for link in list(self._links.by_uid.values()):
            self._out.enqueue(link)
        self._stop_hearing = self._client.on_date(self._ask.hear)
        work = [self._watch(self._subscription), self._out.work()]
        work += [self._in.keep_polling(one) for one in self._synced.values()]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        assert self._subscription is not None
        assert self._stop_hearing is not None
        try:
            self._subscription.close()
            await asyncio.wait(self._tasks[:1])  # what has happened so far is followed
            await self._try_once_more()
        except EngineClosed:
            logger.warning("the engine was left before the sync, which cannot end in order now")
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._in.stop()
            await self._out.stop()
            self._stop_hearing()
            self.unsent = self._out.unsent()
            if self.unsent:
                logger.warning("%d changes did not arrive at the remote", len(self.unsent))

    async def _try_once_more(self) -> None:
        draining = asyncio.create_task(self._out.drain())
        drained = anyio.Event()
        draining.add_done_callback(lambda _: drained.set())
        try:
            until = self._out.now() + self._drain
            while not draining.done() and self._out.now() < until:
                await self._clock.wait(drained, until)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    def saved(self) -> Saved:
        """Return what a later sync needs to go on where this one is; also after leaving it."""
        return self._resuming.saved()._replace(keys=tuple(self._keys.items()))

    # --- Following what is done on the engine itself ----------------------------------------

    async def _watch(self, events: Subscription) -> None:
        async for event in events:
            if isinstance(event, Lagged):
                self._mending.look_at_all()
                continue
            reservation = event.reservation
            link = self._links.by_uid.get(reservation.uid)
            if link is not None:
                if not (link.waiting and event.verb is Verb.RESERVE):  # that is being seen to
                    self._out.enqueue(link)
            else:
                self._mending.adopt(reservation)

    # --- The verbs ----------------------------------------------------------------------------

    async def reserve(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
    ) -> Reservation:
        """Hold a slot on both sides; as `SlotEngine.reserve_slot`.

        Strict: returned once the remote has accepted it.  If it does not, or is
        not heard of, the hold is given back here, and what the client has
        raised is raised: `RemoteConflict`, `RemoteDown`...; or `RemoteUncertain`
        if the remote may hold it nevertheless, without our knowing the uid.
        With the same ``key`` it can be tried again.  What a key has made, and
        has ended since, is no yes: `WrongState` is raised, in both modes.

        Background: returned at once; a later refusal is told as `Revoked`.
        Raises `SyncOverloaded` if too many wait for the remote.

        In both, raises `RemoteBusy` for a start that the remote did not offer,
        and `SyncOverloaded` for a hold that has to be renewed there if the
        client's rate limit is needed for those that are held already.
        """
        synced = self._of(event_type)
        self._in.check(synced, to_us(start, "start"))
        if not synced.strict:
            self._out.check_room()
        reservation = await self._engine.reserve_slot(
            event_type, start,
            length=length, holder=holder, ttl=ttl, key=self._engine_key(key), only=only,
        )  # fmt: skip
        if not is_live(reservation):
            # A repeat of what has ended since, or was given back by a sync that is forgotten.
            raise WrongState(reservation.uid, reservation.state.value, "reserve")
        link = self._links.track(reservation, synced)
        if not link.promised and not link.waiting:
            self._take_on(link, key)
        if synced.strict and not link.promised:
            return await self._accepted(link, reservation, key)
        link.promised = True
        self._out.enqueue(link)
        return reservation

    async def _accepted(self, link: Link, reservation: Reservation, key: str | None) -> Reservation:
        """Return the hold once the remote has accepted it, or give it back."""
        link.waiting += 1
        current: Reservation | None = None
        try:
            await self._out.follow(link)
            current = self._engine.get_nowait(link.uid)
            if current is not None and is_live(current):
                link.promised |= link.held_at(place_of(current, link.synced))
        finally:
            link.waiting -= 1
            if not link.promised and not link.waiting:
                self._give_back(link, key)
        if not link.promised:
            raise self._why(link, "reserve")
        assert current is not None
        return current

    def _take_on(self, link: Link, key: str | None) -> None:
        try:
            self._out.take_on(link)
        except SyncOverloaded:
            self._give_back(link, key)
            raise

    def _give_back(self, link: Link, key: str | None) -> None:
        """Let go, on both sides, of what no caller was given."""
        with suppress(Refused):
            self._engine.release_nowait(link.uid)
        if key is not None:
            self._keys[key] = self._keys.pop(key, 0) + 1
            if len(self._keys) > _KEYS_KEPT:
                self._keys.popitem(last=False)
        self._out.enqueue(link)

    def _engine_key(self, key: str | None) -> str | None:
        """Return a key for the engine that no attempt has used that was given back."""
        return None if key is None else f"{self._keys.get(key, 0)}:{key}"

    async def extend(
        self, uid: str, *, ttl: timedelta | None = None, version: int | None = None
    ) -> Reservation:
        """Let a hold live longer; as `SlotEngine.extend`.

        While the remote's hold lasts as long, nothing is sent.  Otherwise it is
        renewed: strict at once, if the remote can hold it as long as that, and
        the hold is extended only if this succeeds, revoked if it is lost
        meanwhile; in all other cases shortly before it ends there.
        """
        self._check_open()
        link = self._links.by_uid.get(uid)
        if link is None or not link.synced.strict:
            return await self._engine.extend(uid, ttl=ttl, version=version)
        async with self._out.turn(link):
            before = self._engine.get_nowait(uid)
            extended = self._engine.extend_nowait(uid, ttl=ttl, version=version)
            assert before is not None
            assert before.until is not None
            assert extended.until is not None
            until, now = to_us(extended.until), self._out.now()
            if link.sight.covered_until < until <= now + link.synced.longest_us:
                link.sight.eager = True
                await self._out.follow(link)
                link.sight.eager = False
                if link.sight.covered_until < until:
                    self._shorten(uid, before.until)
                    raise self._why(link, "extend")
        return self._now_of(uid, extended)

    def _shorten(self, uid: str, until: datetime) -> None:
        """Let a hold live as long as it did before; it is over if that is."""
        left = max(until - self._engine.now(), self._engine.ttl_bounds[0])
        with suppress(Refused):
            self._engine.extend_nowait(uid, ttl=left)

    async def move(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
    ) -> Reservation:
        """Re-slot a hold or a booking on both sides; as `SlotEngine.move_slot`.

        Strict: if the remote refuses, it is where it was before, here and
        there, and what the client has raised is raised.  Where the old and the
        new time overlap, the remote holds neither for a moment, and if somebody
        else is quicker the hold is revoked.  Background: it is returned at
        once, and revoked if the remote refuses.  Which of them it is, is said
        by the event type that it is moved to.
        """
        self._check_open()
        link = self._links.by_uid.get(uid)
        if not self._is_strict_at(uid, event_type, link):
            return await self._engine.move_slot(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            )
        async with nullcontext() if link is None else self._out.turn(link):
            if link is not None and link.origin is not None:  # of a move whose caller did not stay
                await self._out.follow(link)
            before = self._engine.get_nowait(uid)
            moved = self._engine.move_slot_nowait(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            )
            assert before is not None
            if _slot_of(before) != _slot_of(moved):
                await self._follow_move(link or self._now_followed(moved), before, moved)
        return self._now_of(uid, moved)

    def _is_strict_at(self, uid: str, event_type: str | None, link: Link | None) -> bool:
        """Tell whether a move has to be agreed to: by the event type that it leads to."""
        current = self._engine.get_nowait(uid)
        if current is None:
            return False  # the engine will say so
        synced = self._synced.get(event_type or current.event_type or "")
        if synced is None:  # then the remote is to let it go
            return link is not None and link.synced.strict
        return synced.strict

    def _now_followed(self, moved: Reservation) -> Link:
        link = self._links.track(moved, self._synced[moved.event_type or ""])
        link.promised = True
        return link

    async def _follow_move(self, link: Link, before: Reservation, moved: Reservation) -> None:
        guarded = guard(self._engine, before, moved)
        link.origin = Origin(before, guarded, link.sight.patient)
        link.sight.patient = False
        link.sight.can_go_back = True
        link.succeeded()
        link.verdict = link.undone = None
        await self._out.follow(link)
        current = self._engine.get_nowait(link.uid)
        if current is None or not is_live(current) or _slot_of(current) != _slot_of(moved):
            raise self._why(link, "move")

    async def confirm(self, uid: str, *, version: int | None = None) -> Reservation:
        """Turn a hold into a booking, and do with the remote's hold as its event type says.

        Strict: the remote is asked first.  Refused, and revoked, if it does not
        hold it any more; refused, with the hold as it was, if it cannot be asked;
        a callback is awaited first, and what it raises is raised, with the hold
        as it was.  In its last minute a hold is booked here while the callback
        is under way, so that nobody else gets it; should it raise then, the
        booking is cancelled.  If it has booked what is not to be had here any
        more, because somebody has released it, `Diverged` is told.  A repeat is
        asked about as well, as long as the remote is to hold the booking: it is
        a yes if that does, and the booking stays in any case.

        Background: it is a booking at once; the callback is called once,
        afterwards, and should it raise, `Diverged` is told.
        """
        self._check_open()
        link = self._links.by_uid.get(uid)
        if link is None or not link.synced.strict:
            return await self._engine.confirm(uid, version=version)
        async with self._out.turn(link):
            current = self._engine.get_nowait(uid)
            if current is not None and current.state is State.HELD:
                await self._check_cover(link)
                if not isinstance(link.synced.confirm, Confirm):
                    await self._out.own(self._book(link, current, version))
                    version = None  # that it is as the caller saw it was checked before
            elif is_live(current) and self._is_kept(link):
                await self._check_cover(link)
            confirmed = self._engine.confirm_nowait(uid, version=version)
        self._out.enqueue(link)
        return confirmed

    async def _check_cover(self, link: Link) -> None:
        """Return if the remote says that it holds it; if it does not and cannot, it is revoked."""
        problem = await self._out.check(link)
        if problem is not None:
            raise problem
        await self._out.follow(link)
        current = self._engine.get_nowait(link.uid)
        if current is None or not is_live(current):
            raise self._why(link, "confirm")
        if link.sight.belief in {Belief.REFUSED, Belief.UNSENT}:
            raise self._why(link, "confirm")
        if not link.held_at(place_of(current, link.synced)):
            raise self._out.uncertain(link)

    def _is_kept(self, link: Link) -> bool:
        """Tell whether the remote is to hold a booking."""
        wanted = self._links.wanted(link)
        return wanted is not None and not wanted.to_book

    async def _book(self, link: Link, current: Reservation, version: int | None) -> None:
        confirm = link.synced.confirm
        assert not isinstance(confirm, Confirm)
        assert current.until is not None
        if version is not None and current.version != version:
            return  # the engine will say so
        last_minute = to_us(current.until) - _BOOKED_BEFORE
        async with link.booking:
            if last_minute <= self._out.now():
                self._book_here(link.uid)
            keeper = asyncio.create_task(self._keep_free(link.uid, last_minute))
            try:
                await confirm(current, link.remote_uid)
            except Exception:
                self._not_booked(link)
                raise
            else:
                self._booked(link)
            finally:
                keeper.cancel()
                self._out.enqueue(link)

    async def _keep_free(self, uid: str, last_minute: int) -> None:
        await self._clock.wait(anyio.Event(), last_minute)
        self._book_here(uid)

    def _book_here(self, uid: str) -> None:
        """Book a hold that is nearly over while the callback is still at it."""
        with suppress(Refused), self._engine.out_of_turn():
            self._engine.confirm_nowait(uid, if_still_free=True)

    def _booked(self, link: Link) -> None:
        """Book here, too, what the callback has booked there; whoever asked may be gone."""
        self._links.now_booked(link)
        try:
            with self._engine.out_of_turn():  # the remote has decided
                self._engine.confirm_nowait(link.uid, if_still_free=True)
        except Refused as refused:
            self._ask.diverge(link, f"it is booked there, but here {refused}")

    def _not_booked(self, link: Link) -> None:
        """Undo what was booked here lest the hold should end; its time is over, or nearly."""
        current = self._engine.get_nowait(link.uid)
        if current is not None and current.state is State.CONFIRMED:
            with suppress(Refused):
                self._engine.cancel_nowait(link.uid)

    async def release(self, uid: str, *, version: int | None = None) -> Reservation:
        """Give a hold up on both sides; as `SlotEngine.release`.

        Strict: returned once the remote was told; if it cannot be told now, it
        will be later, and the hold is given up here all the same.
        """
        self._check_open()
        released = await self._engine.release(uid, version=version)
        return await self._ended(uid, released)

    async def cancel(self, uid: str, *, version: int | None = None) -> Reservation:
        """Give a booking up on both sides; as `release`, and as `SlotEngine.cancel`.

        What a callback has booked at the remote, the caller has to cancel there,
        and to move there after a `move`.
        """
        self._check_open()
        cancelled = await self._engine.cancel(uid, version=version)
        return await self._ended(uid, cancelled)

    async def _ended(self, uid: str, ended: Reservation) -> Reservation:
        link = self._links.by_uid.get(uid)
        if link is not None:
            if link.synced.strict:
                await self._out.follow(link)
            else:
                self._out.enqueue(link)
        return ended

    async def get(self, uid: str) -> Reservation | None:
        """Return a reservation, as `SlotEngine.get`."""
        self._check_open()
        return await self._engine.get(uid)

    def belief(self, uid: str) -> Belief | None:
        """Return what is believed of a reservation's hold at the remote; None if it is over."""
        link = self._links.by_uid.get(uid)
        return None if link is None else link.sight.belief

    # --- Both sides -----------------------------------------------------------------------------

    async def slots(
        self,
        event_type: str,
        start: datetime,
        end: datetime,
        *,
        length: timedelta | None = None,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
    ) -> Offers:
        """Return the slots that both sides offer; as `SlotEngine.slots`.

        From now on the remote is asked about this range regularly.  The first
        time it is asked at once, and awaited.
        """
        synced = self._of(event_type)
        span = to_us(start, "start"), to_us(end, "end")
        # What the engine refuses must not be polled for ever.
        await self._engine.slots(event_type, start, end, length=length, zone=zone)
        await self._in.heard_of(synced, *span)
        found = await self._engine.slots(
            event_type, start, end, length=length, zone=zone, ignoring=ignoring
        )
        return self._in.offers(synced, *span, found)

    async def reconcile(self) -> Report:
        """Compare both sides, mend what can be mended, and report what was found.

        Costs a request for each hold at the remote, one for each hold that is
        mended, and a search for each range that is polled.
        """
        self._check_open()
        return await self._mending.reconcile()

    def statistics(self) -> SyncStatistics:
        """Return what was done so far, and how things are.  O(links)."""
        out, inbound, drift = self._out, self._in, self._ask.drift
        counters = vars(self._ask.counters)
        return SyncStatistics(
            followed=len(self._links.by_uid),
            backlog=len(out.waiting),
            held=sum(link.sight.belief is Belief.HELD for link in self._links.by_uid.values()),
            ghosts=len(self._links.ghosts.live(out.now())),
            **counters,
            polls=inbound.polls,
            polls_failed=inbound.polls_failed,
            busy_spans=inbound.busy_spans,
            hidden=inbound.hidden,
            staleness=inbound.staleness(),
            drift=drift.ahead * MICROSECOND if drift.heard else None,
            drift_error=drift.error * MICROSECOND if drift.heard else None,
            drift_most=drift.most * MICROSECOND,
            drift_jumps=drift.jumps,
        )

    async def settled(self) -> None:
        """Return when nothing can be done now that the remote was not told; for tests mostly.

        What waits for a time to come, such as a retry, still waits.
        """
        await self._out.idle()

    # --- Inside --------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise SyncClosed

    def _of(self, event_type: str) -> Synced:
        self._check_open()
        synced = self._synced.get(event_type)
        if synced is None:
            raise UnknownEventType(event_type)
        return synced

    def _why(self, link: Link, verb: str) -> Exception:
        """Return why a caller does not get what it asked for."""
        if verb == "move" and link.undone is not None:
            return link.undone
        if isinstance(link.verdict, OutcomeUnknown):
            return self._out.uncertain(link)
        return link.verdict or HoldExpired(link.uid, State.EXPIRED.value, verb)

    def _now_of(self, uid: str, otherwise: Reservation) -> Reservation:
        return self._engine.get_nowait(uid) or otherwise
