"""Keeps an engine and a remote Cal.com in step.

`CalComSync` has the engine's verbs for event types.  Each verb decides here
first, so a local refusal costs no request, and no two callers of ours are ever
given the same slot.  Then the remote follows: before the caller is answered
(`Mode.STRICT`), or afterwards (`Mode.BACKGROUND`).

`reconcile` decides what to do about each reservation, and `outbound` does it.
`inbound` polls the remote's slots, and `remote_busy` works out what they mean.
Changes that are made on the engine itself are followed as well.
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
from slotengine.calcom.sync.audit import Audit
from slotengine.calcom.sync.callback import Callback
from slotengine.calcom.sync.errors import SyncClosed, SyncOverloaded
from slotengine.calcom.sync.inbound import Inbound
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.placeholder import hold_placeholder
from slotengine.calcom.sync.remote_state import RemoteState
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.restore import Restorer
from slotengine.calcom.sync.tracked_hold import MoveOrigin, TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import (
    Offers,
    OnConfirm,
    Report,
    SavedHold,
    SavedOrphan,
    SavedState,
    Synced,
    SyncedEventType,
    SyncEvent,
    SyncStatistics,
    Unsent,
    synced_by_id,
)
from slotengine.core.ledger.checks import is_count
from slotengine.core.ledger.reservation import State, Verb
from slotengine.core.time.instant import MICROSECOND, duration_us, to_us
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import LARGEST_BUFFER, Lagged, Subscription
from slotengine.engine.inputs import clock_of
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


def _slot_of(one: Reservation) -> tuple[datetime, datetime, str | None]:
    return one.start, one.end, one.event_type


def _nothing(_: object) -> None:
    pass


class CalComSync:
    """Keeps the event types of an engine in step with those of a remote.

    ``event_types`` maps the remote's ids to the event types here.  Enter the
    sync once, inside the engine and the client that it is given, and leave it
    before them.

    ``on_event`` is called with each `SyncEvent`.  ``on_hold`` is called with
    what to keep of a reservation over a restart: whenever that changes, before
    and after each request, and a last time with ``over``, when it can be
    dropped.  ``on_orphan`` is called with what a lost request may have left at
    the remote; it can be dropped after its ``until``.  Pass what was kept as
    ``saved``.  All of these must be quick and must not raise.

    In the background at most ``parallel`` requests of each kind are in flight
    at a time, and at most ``backlog`` reservations wait for the remote.  On
    leaving, what the remote does not have is tried once more, for at most
    ``drain``.  If more than ``event_buffer`` of the engine's events are waiting
    to be followed, all reservations are looked at instead.

    ``clock`` waits for the engine's time; it and ``random`` are for tests.

        talk = EventType(id="talk", length=minutes(30), all_of=["room"])
        engine.add_event_type(talk)
        async with CalComSync(engine, client, {17: SyncedEventType(talk)}) as sync:
            hold = await sync.reserve_slot("talk", start)

    Raises `InvalidField` for invalid arguments, such as an event type that is
    given twice.
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
        event_buffer: int = 65_536,
        saved: SavedState | None = None,
        on_event: Callable[[SyncEvent], None] = _nothing,
        on_hold: Callable[[SavedHold], None] = _nothing,
        on_orphan: Callable[[SavedOrphan], None] = _nothing,
        clock: Clock | None = None,
        random: chance.Random | None = None,
    ) -> None:
        self._synced = synced_by_id(event_types)
        if not isinstance(engine, SlotEngine):
            raise InvalidField("engine", f"must be a SlotEngine, not {engine!r}")
        if not isinstance(client, CalComClient):
            raise InvalidField("client", f"must be a CalComClient, not {client!r}")
        counts = {"parallel": parallel, "backlog": backlog, "event_buffer": event_buffer}
        for name, number in counts.items():
            if not is_count(number):
                raise InvalidField(name, f"must be a whole number, at least 1, not {number!r}")
        if event_buffer > LARGEST_BUFFER:
            raise InvalidField("event_buffer", f"must be at most {LARGEST_BUFFER}")
        if saved is not None and not isinstance(saved, SavedState):
            raise InvalidField("saved", f"must be a SavedState, not {saved!r:.99}")
        listeners = {"on_event": on_event, "on_hold": on_hold, "on_orphan": on_orphan}
        for name, listener in listeners.items():
            if not callable(listener):
                raise InvalidField(name, f"must be a function, not {listener!r}")
        self._engine = engine
        self._clock = SystemClock() if clock is None else clock_of(clock)
        self._drain = duration_us(drain, "drain")
        if self._drain < 0:
            raise InvalidField("drain", f"must not be negative, as {drain}")
        self._saved = SavedState() if saved is None else saved
        random = chance.Random() if random is None else random
        keep = _nothing if on_hold is _nothing else lambda tracked: on_hold(tracked.saved())
        self.index = HoldIndex(
            engine, self._synced,
            keep=keep, keep_orphan=lambda one: on_orphan(SavedOrphan(*one.span, one.until)),
        )  # fmt: skip
        """What is known of the remote: for diagnosis and tests, to read only."""
        self._requests = Requests(engine, client, self.index, random=random, tell=on_event)
        self._outbound = Outbound(
            engine, self.index, self._requests,
            clock=self._clock, parallel=parallel, backlog=backlog, tell=on_event,
        )  # fmt: skip
        self._inbound = Inbound(
            engine, client, self._synced,
            clock=self._clock, random=random, recent_spans=self.index.recent_spans,
        )  # fmt: skip
        self._callback = Callback(
            engine, self.index, self._requests, self._outbound, clock=self._clock
        )
        self._restorer = Restorer(engine, self.index)
        self._audit = Audit(engine, self.index, self._requests, self._outbound, self._inbound)
        self._keys: OrderedDict[str, int] = OrderedDict(self._saved.keys)
        self._event_buffer = event_buffer
        self._entered = self._open = False
        self._subscription: Subscription | None = None
        self._client = client
        self._stop_dates: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.unsent: tuple[Unsent, ...] = ()
        """What the remote was not told, once the sync was left."""

    # --- Entering and leaving --------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise SyncClosed
        self._entered = self._open = True
        self._subscription = self._engine.subscribe(buffer=self._event_buffer)
        self._restorer.restore(self._saved)
        for tracked in list(self.index.by_uid.values()):
            self._outbound.enqueue(tracked)
        self._stop_dates = self._client.on_date(self._requests.on_date)
        work = [self._follow_events(self._subscription), self._outbound.work()]
        work += [self._inbound.keep_polling(one) for one in self._synced.values()]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._open:  # aborted
            return
        self._open = False
        assert self._subscription is not None
        try:
            self._subscription.close()
            await asyncio.wait(self._tasks[:1])  # follow what has happened so far
            await self._try_once_more()
        except EngineClosed:
            logger.warning("the engine was left before the sync, which cannot finish its work now")
        finally:
            await self._stop()
            self.unsent = self._outbound.unsent()
            if self.unsent:
                logger.warning("the remote was not told %d changes", len(self.unsent))

    async def abort(self) -> None:
        """End at once, as a crash would: cancel everything, and tell the remote nothing more.

        For tests of what a restart makes of it.
        """
        self._open = False
        if self._subscription is not None:
            self._subscription.close()
        await self._stop()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._inbound.stop()
        await self._outbound.stop()
        if self._stop_dates is not None:
            self._stop_dates()
            self._stop_dates = None

    async def _try_once_more(self) -> None:
        draining = asyncio.create_task(self._outbound.drain())
        drained = anyio.Event()
        draining.add_done_callback(lambda _: drained.set())
        try:
            until = self._outbound.now() + self._drain
            while not draining.done() and self._outbound.now() < until:
                await self._clock.wait(drained, until)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    @property
    def is_open(self) -> bool:
        """Whether the sync is running."""
        return self._open

    def saved(self) -> SavedState:
        """Return what a later sync needs to continue where this one is; also after leaving it."""
        return self._restorer.saved()._replace(keys=tuple(self._keys.items()))

    # --- Following what is done on the engine itself ----------------------------------------

    async def _follow_events(self, events: Subscription) -> None:
        async for event in events:
            if isinstance(event, Lagged):
                self._audit.look_at_all()
                continue
            reservation = event.reservation
            tracked = self.index.by_uid.get(reservation.uid)
            if tracked is None:
                self._audit.adopt(reservation)
            elif not (tracked.waiting and event.verb is Verb.RESERVE):  # its caller settles it
                self._outbound.enqueue(tracked)

    # --- The verbs ----------------------------------------------------------------------------

    async def reserve_slot(
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
        """Hold a slot on both sides; like `SlotEngine.reserve_slot`.

        Strict: returns once the remote has accepted the hold.  If the remote
        refuses it or does not respond, the hold is given back here, and the
        client's error is raised, such as `RemoteConflict` or `RemoteDown`.  If
        the remote may hold the slot nevertheless, with an unknown uid,
        `RemoteUncertain` is raised.  Retry with the same idempotency ``key``.

        Background: returns at once; a later refusal is reported as `Revoked`.
        Raises `SyncOverloaded` if too many reservations wait for the remote.

        Both raise `RemoteBusy` for a start that the remote did not offer, and
        `SyncOverloaded` for a hold that has to be renewed there if the client's
        rate limit is needed for those that are held already.  Repeating a key
        whose hold has ended raises `WrongState`.
        """
        synced = self._synced_type(event_type)
        self._inbound.check_offered(synced, to_us(start, "start"))
        if not synced.strict:
            self._outbound.check_backlog()
        reservation = await self._engine.reserve_slot(
            event_type, start,
            length=length, holder=holder, ttl=ttl, key=self._engine_key(key), only=only,
        )  # fmt: skip
        if not is_live(reservation):
            # The key's hold has ended, or was given back by an earlier, forgotten sync.
            raise WrongState(reservation.uid, reservation.state.value, "reserve")
        tracked = self.index.track(reservation, synced)
        if not tracked.promised and not tracked.waiting:
            self._admit(tracked, key)
        if synced.strict and not tracked.promised:
            return await self._accepted(tracked, reservation, key)
        tracked.promised = True
        self._outbound.enqueue(tracked)
        return reservation

    async def _accepted(
        self, tracked: TrackedHold, reservation: Reservation, key: str | None
    ) -> Reservation:
        """Return the hold once the remote has accepted it, or give it back."""
        tracked.waiting += 1
        current: Reservation | None = None
        try:
            await self._outbound.follow(tracked)
            current = self._engine.get_nowait(tracked.uid)
            if current is not None and is_live(current):
                tracked.promised |= tracked.held_at(span_of(current, tracked.synced))
        finally:
            tracked.waiting -= 1
            if not tracked.promised and not tracked.waiting:
                self._give_back(tracked, key)
        if not tracked.promised:
            raise self._error_for(tracked, "reserve")
        assert current is not None
        return current

    def _admit(self, tracked: TrackedHold, key: str | None) -> None:
        try:
            self._outbound.admit(tracked)
        except SyncOverloaded:
            self._give_back(tracked, key)
            raise

    def _give_back(self, tracked: TrackedHold, key: str | None) -> None:
        """Release, on both sides, a hold that no caller was given."""
        with suppress(Refused):
            self._engine.release_nowait(tracked.uid)
        if key is not None:
            self._keys[key] = self._keys.pop(key, 0) + 1
            if len(self._keys) > _KEYS_KEPT:
                self._keys.popitem(last=False)
        self._outbound.enqueue(tracked)

    def _engine_key(self, key: str | None) -> str | None:
        """Return a key for the engine that no attempt which was given back has used."""
        return None if key is None else f"{self._keys.get(key, 0)}:{key}"

    async def extend(
        self, uid: str, *, ttl: timedelta | None = None, version: int | None = None
    ) -> Reservation:
        """Let a hold live longer; like `SlotEngine.extend`.

        While the remote's hold lasts as long, nothing is sent.  Otherwise it is
        renewed.  Strict: at once, if the remote can hold it that long; the hold
        is extended only if this succeeds, and revoked if it is lost in between.
        In all other cases it is renewed shortly before it ends at the remote.
        """
        self._check_open()
        tracked = self.index.by_uid.get(uid)
        if tracked is None or not tracked.synced.strict:
            return await self._engine.extend(uid, ttl=ttl, version=version)
        async with self._outbound.exclusive(tracked):
            before = self._engine.get_nowait(uid)
            extended = self._engine.extend_nowait(uid, ttl=ttl, version=version)
            assert before is not None
            assert before.until is not None
            assert extended.until is not None
            until, now = to_us(extended.until), self._outbound.now()
            observed = tracked.observed
            if observed.covered_until < until <= now + tracked.synced.max_ttl_us:
                observed.urgent = True
                await self._outbound.follow(tracked)
                observed.urgent = False
                if observed.covered_until < until:
                    self._shorten(uid, before.until)
                    raise self._error_for(tracked, "extend")
        return self._current(uid, extended)

    def _shorten(self, uid: str, until: datetime) -> None:
        """Let a hold end when it would have ended before it was extended."""
        left = max(until - self._engine.now(), self._engine.ttl_bounds[0])
        with suppress(Refused):
            self._engine.extend_nowait(uid, ttl=left)

    async def move_slot(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
    ) -> Reservation:
        """Move a hold or a booking to another slot on both sides; like `SlotEngine.move_slot`.

        Strict: if the remote refuses, the reservation stays where it was on
        both sides, and the client's error is raised.  If the old and the new
        time overlap, the remote holds neither for a moment; if somebody else
        takes the time then, the hold is revoked.

        Background: returns at once, and the hold is revoked if the remote
        refuses.

        The event type that the reservation is moved to decides the mode.
        """
        self._check_open()
        tracked = self.index.by_uid.get(uid)
        if not self._is_strict_at(uid, event_type, tracked):
            return await self._engine.move_slot(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            )
        async with nullcontext() if tracked is None else self._outbound.exclusive(tracked):
            if (
                tracked is not None and tracked.origin is not None
            ):  # an earlier caller was cancelled
                await self._outbound.follow(tracked)
            before = self._engine.get_nowait(uid)
            moved = self._engine.move_slot_nowait(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            )
            assert before is not None
            if _slot_of(before) != _slot_of(moved):
                await self._follow_move(tracked or self._start_tracking(moved), before, moved)
        return self._current(uid, moved)

    def _is_strict_at(self, uid: str, event_type: str | None, tracked: TrackedHold | None) -> bool:
        """Return whether the remote must accept a move before it is returned."""
        current = self._engine.get_nowait(uid)
        if current is None:
            return False  # the engine will refuse the move
        synced = self._synced.get(event_type or current.event_type or "")
        if synced is None:  # the remote is to release the hold
            return tracked is not None and tracked.synced.strict
        return synced.strict

    def _start_tracking(self, moved: Reservation) -> TrackedHold:
        tracked = self.index.track(moved, self._synced[moved.event_type or ""])
        tracked.promised = True
        return tracked

    async def _follow_move(
        self, tracked: TrackedHold, before: Reservation, moved: Reservation
    ) -> None:
        placeholder = hold_placeholder(self._engine, before, moved)
        tracked.origin = MoveOrigin(before, placeholder, tracked.observed.restored)
        tracked.observed.restored = False
        tracked.observed.can_move_back = True
        tracked.succeeded()
        tracked.last_error = tracked.move_error = None
        await self._outbound.follow(tracked)
        current = self._engine.get_nowait(tracked.uid)
        if current is None or not is_live(current) or _slot_of(current) != _slot_of(moved):
            raise self._error_for(tracked, "move")

    async def confirm(self, uid: str, *, version: int | None = None) -> Reservation:
        """Turn a hold into a booking, and treat the remote's hold as ``on_confirm`` says.

        Strict: the remote is asked first.  If it does not hold the slot any
        more, the hold is revoked, and an error is raised.  If it cannot be
        asked, an error is raised, and the hold stays as it was.

        With a callback: the callback is awaited first, and if it raises, so
        does this, with the hold as it was.  In its last minute a hold is booked
        here while the callback is running, so that nobody else gets the slot;
        if the callback raises then, the booking is cancelled.  If the callback
        has booked what is no longer to be had here, because it was released
        meanwhile, `Diverged` is reported.

        A repeat asks the remote again, as long as it is to hold the booking; it
        raises if the remote does not, but the booking stays.

        Background: it is a booking at once.  The callback is called once,
        afterwards, and if it raises, `Diverged` is reported.
        """
        self._check_open()
        tracked = self.index.by_uid.get(uid)
        if tracked is None or not tracked.synced.strict:
            return await self._engine.confirm(uid, version=version)
        async with self._outbound.exclusive(tracked):
            current = self._engine.get_nowait(uid)
            if current is not None and current.state is State.HELD:
                await self._check_held(tracked)
                if not isinstance(tracked.synced.on_confirm, OnConfirm):
                    booking = self._callback.book(tracked, current, version)
                    await self._outbound.run_shielded(booking)
                    version = None  # it was checked before the callback
            elif is_live(current) and self._is_kept(tracked):
                await self._check_held(tracked)
            confirmed = self._engine.confirm_nowait(uid, version=version)
        self._outbound.enqueue(tracked)
        return confirmed

    async def _check_held(self, tracked: TrackedHold) -> None:
        """Raise unless the remote says that it holds a reservation; revoke what it cannot hold."""
        problem = await self._outbound.check(tracked)
        if problem is not None:
            raise problem
        await self._outbound.follow(tracked)
        current = self._engine.get_nowait(tracked.uid)
        if current is None or not is_live(current):
            raise self._error_for(tracked, "confirm")
        if tracked.observed.state in {RemoteState.REFUSED, RemoteState.ABSENT}:
            raise self._error_for(tracked, "confirm")
        if not tracked.held_at(span_of(current, tracked.synced)):
            raise self._outbound.uncertain(tracked)

    def _is_kept(self, tracked: TrackedHold) -> bool:
        """Return whether the remote is to hold a booking."""
        desired = self.index.desired(tracked)
        return desired is not None and not desired.to_book

    async def release(self, uid: str, *, version: int | None = None) -> Reservation:
        """Release a hold on both sides; like `SlotEngine.release`.

        Strict: returns once the remote was told.  If the remote cannot be told
        now, it is told later, and the hold is released here all the same.
        """
        self._check_open()
        released = await self._engine.release(uid, version=version)
        return await self._ended(uid, released)

    async def cancel(self, uid: str, *, version: int | None = None) -> Reservation:
        """Cancel a booking on both sides; like `release`, and like `SlotEngine.cancel`.

        If a callback has booked it at the remote, the caller has to cancel it
        there, and to move it there after a `move_slot`.
        """
        self._check_open()
        cancelled = await self._engine.cancel(uid, version=version)
        return await self._ended(uid, cancelled)

    async def _ended(self, uid: str, ended: Reservation) -> Reservation:
        tracked = self.index.by_uid.get(uid)
        if tracked is not None:
            if tracked.synced.strict:
                await self._outbound.follow(tracked)
            else:
                self._outbound.enqueue(tracked)
        return ended

    async def get(self, uid: str) -> Reservation | None:
        """Return a reservation, like `SlotEngine.get`."""
        self._check_open()
        return await self._engine.get(uid)

    def remote_state(self, uid: str) -> RemoteState | None:
        """Return what is known of a reservation's hold at the remote; None if not tracked."""
        tracked = self.index.by_uid.get(uid)
        return None if tracked is None else tracked.observed.state

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
        """Return the slots that both sides offer; like `SlotEngine.slots`.

        From now on the remote is polled for this range.  The first call polls
        it at once and waits for that.
        """
        synced = self._synced_type(event_type)
        span = to_us(start, "start"), to_us(end, "end")
        # A range that the engine refuses must not be polled.
        await self._engine.slots(event_type, start, end, length=length, zone=zone)
        await self._inbound.watch(synced, *span)
        found = await self._engine.slots(
            event_type, start, end, length=length, zone=zone, ignoring=ignoring
        )
        return self._inbound.offers(synced, *span, found)

    async def poll(self) -> None:
        """Poll the remote now for all ranges that are polled."""
        self._check_open()
        await self._inbound.poll_all()

    async def reconcile(self) -> Report:
        """Compare both sides, repair what can be repaired, and report what was found.

        Costs one request for each hold at the remote, the requests of each
        repair, and a search for each range that is polled.
        """
        self._check_open()
        return await self._audit.reconcile()

    def statistics(self) -> SyncStatistics:
        """Return what was done so far, and the present state.  O(n) for n tracked holds."""
        outbound, inbound, clock_skew = self._outbound, self._inbound, self._requests.clock_skew
        holds = self.index.by_uid.values()
        counters = vars(self._requests.counters)
        return SyncStatistics(
            tracked=len(holds),
            backlog=len(outbound.waiting),
            held=sum(tracked.observed.state is RemoteState.HELD for tracked in holds),
            orphans=len(self.index.orphans.live(outbound.now())),
            **counters,
            polls=inbound.polls,
            polls_failed=inbound.polls_failed,
            busy_spans=inbound.busy_spans,
            hidden=inbound.hidden,
            staleness=inbound.staleness(),
            clock_skew=clock_skew.ahead * MICROSECOND if clock_skew.known else None,
            clock_skew_error=clock_skew.error * MICROSECOND if clock_skew.known else None,
            clock_skew_max=clock_skew.largest * MICROSECOND,
            clock_jumps=clock_skew.jumps,
        )

    @property
    def waiting(self) -> frozenset[str]:
        """The uids of reservations whose last change the remote does not have yet."""
        return frozenset(self._outbound.waiting)

    async def settled(self) -> None:
        """Return when the remote was told all that it can be told now; for tests mostly.

        What waits for a later time, such as a retry, still waits.
        """
        await self._outbound.idle()

    # --- Inside --------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise SyncClosed

    def _synced_type(self, event_type: str) -> Synced:
        self._check_open()
        synced = self._synced.get(event_type)
        if synced is None:
            raise UnknownEventType(event_type)
        return synced

    def _error_for(self, tracked: TrackedHold, verb: str) -> Exception:
        """Return the error for a caller that does not get what it asked for."""
        if verb == "move" and tracked.move_error is not None:
            return tracked.move_error
        if isinstance(tracked.last_error, OutcomeUnknown):
            return self._outbound.uncertain(tracked)
        return tracked.last_error or HoldExpired(tracked.uid, State.EXPIRED.value, verb)

    def _current(self, uid: str, otherwise: Reservation) -> Reservation:
        return self._engine.get_nowait(uid) or otherwise
