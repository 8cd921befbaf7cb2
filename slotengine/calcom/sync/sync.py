"""Keeps an engine and a remote Cal.com in step.

`CalComSync` has the engine's verbs for event types.  The engine decides first,
so what it refuses costs no request, and no two callers of this engine are ever
given the same slot.  Then the remote is told: before the caller gets a result
(`SyncMode.STRICT`), or afterwards (`SyncMode.BACKGROUND`).

`verbs` and `confirm` hold the steps of the verbs.  `next_step` decides what to
ask of the remote for each reservation, and `outbound` asks it.  `inbound` polls
the remote's slots, and `remote_busy` works out what they mean.  Changes that
are made on the engine itself reach the remote as well.
"""

from __future__ import annotations

import asyncio
import logging
import random as chance
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.sync.audit import Audit
from slotengine.calcom.sync.confirm import Confirmer
from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.errors import SyncClosed
from slotengine.calcom.sync.inbound import Inbound
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.monitor import Monitor
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.remote_state import RemoteState
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.restore import Restorer
from slotengine.calcom.sync.values import (
    AvailableSlots,
    ReconcileReport,
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
from slotengine.calcom.sync.verbs import IdempotencyKeys, Verbs
from slotengine.core.ledger.checks import is_count
from slotengine.core.time.instant import MICROSECOND, duration_us, to_us
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import LARGEST_BUFFER, Subscription
from slotengine.engine.inputs import clock_of
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Quota, Reservation
from slotengine.errors import EngineClosed, InvalidField, UnknownEventType

logger = logging.getLogger(__name__)


def _nothing(_: object) -> None:
    pass


class CalComSync:
    """Keeps the event types of an engine in step with those of a remote.

    ``event_types`` maps the remote's ids to the event types here.  Enter the
    sync once, inside the engine and the client that it is given, and close it
    before them.

    ``on_event`` is called with each `SyncEvent`.  ``on_hold`` and
    ``on_orphan`` are called with what to save for a restart; pass it to the
    next sync as ``saved``.  ``on_hold`` gets a `SavedHold` whenever one
    changes, before and after each request, and a last time with ``over``, when
    it can be dropped.  ``on_orphan`` gets a `SavedOrphan` for what a lost
    request may have left at the remote; it can be dropped after its ``until``.
    All of these must be quick and must not raise.

    In the background at most ``parallel`` requests of each kind are in flight
    at a time, and at most ``backlog`` reservations wait for the remote.  On
    closing, what the remote does not have is tried once more, for at most
    ``drain``.  If more than ``event_buffer`` of the engine's events are
    waiting, they are dropped, and all reservations are looked at instead.

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
            raise InvalidField(
                "event_buffer", f"must be at most {LARGEST_BUFFER}, not {event_buffer}"
            )
        if saved is not None and not isinstance(saved, SavedState):
            raise InvalidField("saved", f"must be a SavedState, not {saved!r:.99}")
        listeners = {"on_event": on_event, "on_hold": on_hold, "on_orphan": on_orphan}
        for name, listener in listeners.items():
            if not callable(listener):
                raise InvalidField(name, f"must be a function, not {listener!r}")
        self._drain_us = duration_us(drain, "drain")
        if self._drain_us < 0:
            raise InvalidField("drain", f"must be at least 0, not {drain}")
        env = Environment(
            engine,
            SystemClock() if clock is None else clock_of(clock),
            chance.Random() if random is None else random,
        )
        self._engine = engine
        self._client = client
        self._saved = SavedState() if saved is None else saved
        self._monitor = Monitor(on_event)
        self.index = HoldIndex(
            env, self._synced,
            save=_nothing if on_hold is _nothing else lambda tracked: on_hold(tracked.saved()),
            save_orphan=lambda one: on_orphan(SavedOrphan(*one.span, one.until)),
        )  # fmt: skip
        """What is known of the remote: for diagnosis and tests, to read only."""
        self._requests = Requests(env, client, self.index, self._monitor)
        self._outbound = Outbound(
            env, self.index, self._requests, parallel=parallel, backlog=backlog
        )
        self._inbound = Inbound(env, client, self._synced, self.index.recent_spans)
        self._audit = Audit(env, self.index, self._requests, self._outbound, self._inbound)
        self._restorer = Restorer(self.index)
        self._keys = IdempotencyKeys(self._saved.keys)
        self._verbs = Verbs(env, self.index, self._outbound, self._keys)
        self._confirmer = Confirmer(env, self.index, self._outbound, self._monitor)
        self._event_buffer = event_buffer
        self._entered = self._open = False
        self._subscription: Subscription | None = None
        self._stop_dates: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.unsent: tuple[Unsent, ...] = ()
        """What the remote was not told before the sync was closed; empty until then."""

    # --- Opening and closing ---------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise SyncClosed
        self._entered = self._open = True
        self._subscription = self._engine.subscribe(buffer=self._event_buffer)
        await self._engine.run(lambda local: self._restorer.restore(self._saved, local))
        for tracked in list(self.index.by_uid.values()):
            self._outbound.enqueue(tracked)
        self._stop_dates = self._client.on_date(self._requests.on_date)
        work = [self._outbound.follow_engine(self._subscription), self._outbound.work()]
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
            await asyncio.wait(self._tasks[:1])  # process the events received so far
            await self._outbound.drain(self._drain_us)
        except EngineClosed:
            logger.warning(
                "the engine was closed before the sync, which cannot finish its work now"
            )
        finally:
            await self._stop()
            self.unsent = await self._outbound.unsent()
            if self.unsent:
                logger.warning("the remote was not told %d changes", len(self.unsent))

    async def abort(self) -> None:
        """Cancel everything immediately and tell the remote nothing more, as a crash would.

        For tests of restarts.
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

    @property
    def is_open(self) -> bool:
        """Whether the sync is running."""
        return self._open

    def saved(self) -> SavedState:
        """Return what a later sync needs to continue where this one is; also after closing."""
        return self._restorer.saved()._replace(keys=self._keys.saved())

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
        quota: Quota | None = None,
    ) -> Reservation:
        """Hold a slot on both sides; like `SlotEngine.reserve_slot`.

        Strict: returns once the remote has accepted the hold.  If the remote
        refuses it or does not respond, the hold is given back here, and the
        client's error is raised, such as `RemoteConflict` or `RemoteDown`.  If
        the remote may hold the slot nevertheless, with an unknown uid,
        `RemoteUncertain` is raised.  Retry with the same idempotency ``key``.

        Background: returns immediately; a later refusal is reported as `Revoked`.
        Raises `SyncOverloaded` if too many reservations wait for the remote.

        Both raise `RemoteBusy` for a start that the remote did not offer when
        it was last polled.  Both raise `SyncOverloaded` for a hold that has to
        be renewed at the remote, if the client's rate limit allows no more
        renewals than those of the present holds.  Repeating a key whose hold
        has ended raises `WrongState`.

        There are no ``seats``: a hold at the remote takes one.
        """
        synced = self._synced_type(event_type)
        self._inbound.check_offered(synced, to_us(start, "start"))
        return await self._verbs.reserve(
            synced,
            lambda local, engine_key: local.reserve_slot(
                event_type, start,
                length=length, holder=holder, ttl=ttl, key=engine_key, only=only, quota=quota,
            ),
            key,
        )  # fmt: skip

    async def extend(
        self, uid: str, *, ttl: timedelta | None = None, version: int | None = None
    ) -> Reservation:
        """Let a hold live longer; like `SlotEngine.extend`.

        If the remote's hold already lasts long enough, nothing is sent.
        Otherwise it is renewed.  Strict: immediately, if the remote can hold it
        that long; the hold here is extended only if the renewal succeeds, and
        is revoked if the remote loses the slot during the renewal.  In all
        other cases the remote's hold is renewed shortly before it ends.
        """
        self._check_open()
        tracked = self.index.by_uid.get(uid)
        if tracked is None or not tracked.synced.strict:
            return await self._engine.extend(uid, ttl=ttl, version=version)
        return await self._verbs.extend(tracked, ttl, version)

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

        Background: returns immediately, and the hold is revoked if the remote
        refuses.

        The mode is that of the event type that the reservation is moved to.
        """
        self._check_open()
        if not await self._verbs.is_strict_move(uid, event_type):
            return await self._engine.move_slot(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            )
        return await self._verbs.move(
            uid,
            lambda local: local.move_slot(
                uid, start, event_type=event_type, length=length, ttl=ttl, version=version
            ),
        )

    async def confirm(self, uid: str, *, version: int | None = None) -> Reservation:
        """Turn a hold into a booking, and treat the remote's hold as ``on_confirm`` says.

        Strict: the remote is asked first.  If it no longer holds the slot, the
        hold is revoked and an error is raised.  If it cannot be asked, an error
        is raised and the hold stays as it was.

        With a callback: the callback is awaited first.  If it raises, this
        raises the same error and the hold stays as it was.  If the hold's last
        minute begins while the callback is running, the hold is booked here, so
        that nobody else gets the slot; if the callback then raises, that
        booking is cancelled.  If the callback has booked the slot, but it
        was released here meanwhile and somebody else took it, `Diverged` is
        reported.

        A repeated call asks the remote again, if the remote is to keep a hold
        for the booking.  If it does not have one, an error is raised, but the
        booking stays.

        Background: returns a booking immediately.  The callback is called once,
        afterwards; if it raises, `Diverged` is reported.
        """
        self._check_open()
        tracked = self.index.by_uid.get(uid)
        if tracked is None or not tracked.synced.strict:
            return await self._engine.confirm(uid, version=version)
        return await self._confirmer.confirm(tracked, version)

    async def release(self, uid: str, *, version: int | None = None) -> Reservation:
        """Release a hold on both sides; like `SlotEngine.release`.

        Strict: returns once the remote was told.  If the remote cannot be told
        now, it is told later, and the hold is released here all the same.
        """
        self._check_open()
        return await self._verbs.propagate_end(await self._engine.release(uid, version=version))

    async def cancel(self, uid: str, *, version: int | None = None) -> Reservation:
        """Cancel a booking on both sides; like `release`, and like `SlotEngine.cancel`.

        A booking that a callback has made at the remote is not cancelled there,
        nor moved there by `move_slot`: the caller has to do that.
        """
        self._check_open()
        return await self._verbs.propagate_end(await self._engine.cancel(uid, version=version))

    # --- Reading ------------------------------------------------------------------------------

    async def get(self, uid: str) -> Reservation | None:
        """Return a reservation, like `SlotEngine.get`."""
        self._check_open()
        return await self._engine.get(uid)

    def remote_state(self, uid: str) -> RemoteState | None:
        """Return what is known of a reservation's hold at the remote; None if not tracked."""
        tracked = self.index.by_uid.get(uid)
        return None if tracked is None else tracked.observed.state

    async def slots(
        self,
        event_type: str,
        start: datetime,
        end: datetime,
        *,
        length: timedelta | None = None,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
    ) -> AvailableSlots:
        """Return the slots that both sides offer; like `SlotEngine.slots`.

        From now on the remote is polled for this range.  The first call polls
        it immediately and waits for that.
        """
        synced = self._synced_type(event_type)
        span = to_us(start, "start"), to_us(end, "end")
        # A range that the engine refuses must not be polled.
        await self._engine.slots(SlotQuery(event_type, start, end, length=length, zone=zone))
        await self._inbound.watch(synced, *span)
        found = await self._engine.slots(
            SlotQuery(event_type, start, end, length=length, zone=zone, ignoring=ignoring)
        )
        return self._inbound.offers(synced, *span, found)

    # --- Upkeep and diagnosis -----------------------------------------------------------------

    async def poll(self) -> None:
        """Poll the remote now for all ranges that are polled."""
        self._check_open()
        await self._inbound.poll_all()

    async def reconcile(self) -> ReconcileReport:
        """Compare both sides, repair what can be repaired, and report what was found.

        Costs one request for each hold at the remote, the requests of each
        repair, and a search for each range that is polled.
        """
        self._check_open()
        return await self._audit.reconcile()

    async def settled(self) -> None:
        """Wait until the remote was told all that it can be told now; mostly for tests.

        It does not wait for what is due later, such as a retry.
        """
        await self._outbound.idle()

    @property
    def waiting(self) -> frozenset[str]:
        """The uids of reservations whose last change the remote does not have yet."""
        return frozenset(self._outbound.waiting)

    def statistics(self) -> SyncStatistics:
        """Return what was done so far, and the present state.  O(n) for n tracked holds."""
        outbound, inbound, clock_skew = self._outbound, self._inbound, self.index.clock_skew
        holds = self.index.by_uid.values()
        return SyncStatistics(
            tracked=len(holds),
            backlog=len(outbound.waiting),
            held=sum(tracked.observed.state is RemoteState.HELD for tracked in holds),
            orphans=len(self.index.orphans.live(self.index.now())),
            **vars(self._monitor.counters),
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

    # --- Checks -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise SyncClosed

    def _synced_type(self, event_type: str) -> Synced:
        self._check_open()
        synced = self._synced.get(event_type)
        if synced is None:
            raise UnknownEventType(event_type)
        return synced
