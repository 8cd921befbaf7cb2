"""The engine: what a booking service embeds.

It gives the ledger a clock and uids, sweeps what has lapsed, tells subscribers,
and speaks datetimes.  Every verb comes twice: the plain ``def`` with ``_nowait``
in its name holds the logic, and the ``async`` one gives way to other tasks now
and then before it calls it.

Each verb is one step of the ledger with no await inside, so a cancelled call
has either happened or not, and an engine needs no lock.  That also means that
an engine belongs to the thread of its event loop; other threads use
`slotengine.BlockingEngine`.  `Background` sees to that where the time is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self
from weakref import WeakSet

import anyio
import anyio.lowlevel

from slotengine.core.ledger.changes import Change, Forgotten, Record
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim as CoreClaim
from slotengine.core.ledger.reservation import Demand, Entry
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.availability import LONGEST_RANGE, AvailableSlots
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.time.instant import DAY, LAST_US, duration_us, from_us, span_us, to_us
from slotengine.engine.background import Background, refuse_in_child
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.events import Event, Feed, Observer, Subscription
from slotengine.engine.inputs import (
    busy_spans_of,
    check_time,
    checked,
    clock_of,
    listed,
    names_or_none,
    query_of,
    span_or_none,
)
from slotengine.engine.turns import Turns
from slotengine.engine.uids import new_uid as system_new_uid
from slotengine.engine.values import (
    BusySpan,
    ImportedSpan,
    Quota,
    Request,
    Reservation,
    Slot,
    Statistics,
    demand_of,
    quota_or_none,
    slots_of,
)
from slotengine.engine.waiting import WaitingRoom
from slotengine.errors import EngineClosed, InvalidField, Refused, SlotError, UnknownReservation

if TYPE_CHECKING:
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

EXPIRIES_PER_TURN = 128
"""The sweeper marks so many holds before it gives way.

Measured with a million of them lapsing at one instant: a tenth of a millisecond
a turn, and a quarter at the worst.  More than in a turn of calls, so that a backlog shrinks under
any load."""

FORGOTTEN_PER_TURN = 256
"""So many bookings are looked at, whether they are over, before others have their turn."""

_running: WeakSet[SlotEngine] = WeakSet()
"""The engines that a forked child has copies of, which do not run there."""


class SlotEngine:
    """Holds slots, keeps them, confirms them, and lets them lapse.

    >>> from datetime import UTC
    >>> from slotengine import minutes
    >>> async def main():
    ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    ...     async with SlotEngine() as engine:
    ...         engine.add_resource("room-1", capacity=1)
    ...         hold = await engine.reserve("room-1", start, minutes(30), holder="customer-7")
    ...         booking = await engine.confirm(hold.uid)
    ...         print(booking.state, booking.length)
    >>> anyio.run(main)
    State.CONFIRMED 0:30:00

    Arguments: how long a hold lives by default, and may live at least and at
    most; the age past which it cannot be extended (``max_life``, None for no
    cap); how long ended reservations can still be asked about (``retention``);
    the longest span that can be asked for, buffers included (``max_length``);
    how many may wait for slots at once (``max_waiters``); and, for tests and
    simulations, the clock and the source of uids.

    Quotas, for each holder that is named, and none by default: how many live
    holds it may have (``max_holds``), how long their slots may be together
    (``max_held``), and after how many lapses in a row (``max_lapses``) it gets no
    hold for a while (``cool_down``), and how many slots it may wait for at once
    (``max_waits``).  Bookings do not count.  A request may bring a `Quota` of its own.

    Raises `InvalidField` if those durations contradict each other.

    It runs from `start` to `aclose`, which ``async with`` calls.  These may be
    called by different tasks, but by the same event loop: the engine belongs to
    it, and a call from another one, another thread, or a forked child, raises
    `EngineMisused` and changes nothing.  Should the engine crash, as it would by
    an error of an injected clock, it is closed: calls, also those that wait,
    and streams of events then raise `EngineClosed` from what crashed it.
    """

    def __init__(
        self,
        *,
        default_ttl: timedelta = timedelta(minutes=5),
        min_ttl: timedelta = timedelta(seconds=1),
        max_ttl: timedelta = timedelta(days=1),
        max_life: timedelta | None = None,
        retention: timedelta = timedelta(hours=1),
        max_length: timedelta = timedelta(days=366),
        max_waiters: int = 1000,
        max_holds: int | None = None,
        max_held: timedelta | None = None,
        max_lapses: int | None = None,
        cool_down: timedelta = timedelta(minutes=5),
        max_waits: int | None = None,
        clock: Clock | None = None,
        new_uid: Callable[[], str] = system_new_uid,
    ) -> None:
        self._terms = Terms(
            default_ttl=duration_us(default_ttl, "default_ttl"),
            shortest_ttl=duration_us(min_ttl, "min_ttl"),
            longest_ttl=duration_us(max_ttl, "max_ttl"),
            max_life=None if max_life is None else duration_us(max_life, "max_life"),
            retention=duration_us(retention, "retention"),
            longest_span=duration_us(max_length, "max_length"),
            max_holds=max_holds,
            max_held=None if max_held is None else duration_us(max_held, "max_held"),
            max_lapses=max_lapses,
            cool_down=duration_us(cool_down, "cool_down"),
        )
        self._ledger = Ledger(self._terms)
        self._service = BookingService(self._ledger)
        clock = SystemClock() if clock is None else clock_of(clock)
        if new_uid is not system_new_uid:
            new_uid = checked(new_uid)
        self._room = WaitingRoom(
            self._ledger, max_waiters, lambda: self._now(), new_uid, self._heed, max_waits
        )
        self._clock = clock
        self._new_uid = new_uid
        # Replaced on starting and closing: that the engine runs is checked for free, and that it
        # is called where it runs for a tenth of a microsecond; the await of a verb takes 4.5.
        self._now: Callable[[], int] = self._refuse
        self._background: Background | None = None
        self._closed = False
        self._crash: BaseException | None = None
        self.turns = Turns()
        self._wake = anyio.Event()
        self._wakes_at = NEVER
        self._feeds: list[Feed] = []
        self._keep: Callable[[Record], None] | None = None
        self._refused = 0

    # --- From start to end -----------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run, in this event loop.

        Whoever starts an engine closes it; in the same task or in another.  It
        can be started once.  A call that is cancelled has not started it.

        >>> async def main():
        ...     engine = SlotEngine()
        ...     await engine.start()
        ...     try:
        ...         print(engine.statistics().held)
        ...     finally:
        ...         await engine.aclose()
        >>> anyio.run(main)
        0

        Raises `EngineClosed` if it was started or closed before; and `InvalidField`
        if what the clock tells is no time.
        """
        await anyio.lowlevel.checkpoint()
        if self._background is not None or self._closed:
            raise EngineClosed("it was started or closed before; make another one")
        check_time(self._clock.now())
        self._background = Background(self._sweep, name="slotengine sweeper", ended=self._end)
        self._now = self._background.guarded(self._clock.now)
        _running.add(self)

    async def aclose(self) -> None:
        """Stop running: what waits is told `EngineClosed`, and streams of events end.

        Can be called again, by several tasks at once, and before `start`, which
        then is refused.  It is done even if the caller is cancelled.  What was
        reserved can still be counted (`statistics`), but nothing can be asked.

        Raises `EngineClosed` from what crashed the engine, if anything did; and
        `EngineMisused` elsewhere than where it was started, and then it goes on.
        """
        self._check_here()
        self._end(None)
        if self._background is not None:
            await self._background.stop()
        if self._crash is not None:
            raise self._why_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except EngineClosed:
            if error is None:  # or else that is what comes out: it may well be the same
                raise

    def _end(self, crash: BaseException | None) -> None:
        """Refuse calls from now on, and tell whoever waits."""
        if self._crash is None:
            self._crash = crash
        if self._closed:
            return
        self._closed = True
        self._now = self._refuse
        _running.discard(self)
        for feed in self._feeds:
            feed.close(None if crash is None else self._why_closed())
        self._feeds.clear()
        self._room.close(self._why_closed)

    def _why_closed(self) -> EngineClosed:
        if self._crash is None:
            return EngineClosed()
        closed = EngineClosed(f"it has crashed, by {self._crash!r}")
        closed.__cause__ = self._crash
        return closed

    def _refuse(self) -> NoReturn:
        raise self._why_closed()

    def _check_here(self) -> None:
        """Raise `EngineMisused` if the engine runs, but elsewhere."""
        if self._background is not None and not self._closed:
            self._background.check()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled, such as for another process."""
        raise TypeError(
            "a SlotEngine cannot be copied or pickled: it belongs to its event loop; "
            "make another one, or start one in each process"
        )

    # --- Configuration -----------------------------------------------------------------

    def add_resource(
        self,
        id: str,
        *,
        capacity: int = 1,
        schedule: Windows | None = None,
    ) -> None:
        """Make a resource known; without a schedule it is always open.

        Can be done at any time, also before the engine is started.  Raises
        `InvalidField` for an id that is empty or in use, or no capacity.
        """
        self._check_here()
        self._ledger.add_resource(id, capacity=capacity, schedule=schedule)

    def add_event_type(self, event_type: EventType) -> None:
        """Make an event type known; its resources must be so already.

        Can be done at any time, also before the engine is started.  Raises
        `UnknownResource`, `TooManyUnits`, or `InvalidField` for an id in use.
        """
        self._check_here()
        self._service.add(event_type)

    @property
    def ttl_bounds(self) -> tuple[timedelta, timedelta]:
        """The shortest and the longest TTL that a hold may have."""
        return timedelta(0, 0, self._terms.shortest_ttl), timedelta(0, 0, self._terms.longest_ttl)

    @property
    def default_ttl(self) -> timedelta:
        """How long a hold lives if the caller does not say."""
        return timedelta(0, 0, self._terms.default_ttl)

    def now(self) -> datetime:
        """Return the time by which this engine decides: the clock's, but never going backwards."""
        return from_us(self._ledger.look(self._now()))

    # --- Reserve -----------------------------------------------------------------------

    async def reserve(
        self,
        resource: str,
        start: datetime,
        length: timedelta,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        wait: timedelta | None = None,
        quota: Quota | None = None,
        past: bool = False,
    ) -> Reservation:
        """Hold a span of one resource for a while.

        Accepted if and only if the span lies inside the resource's hours and
        no instant of it would exceed the capacity; decided and done in one step.

        A ``key`` makes retries safe: the same key with the same request
        returns the same reservation, whatever has become of it.  Keys are known
        to the whole engine: let them begin with something of the caller's own.

        With a ``wait``, a caller that finds the span taken stands in line for it,
        for so long at most: first come, first served.  One that is cancelled
        passes on what it was just given, unless it had a ``key``.

        With a ``quota`` the holder may have no more than that, and the hold lives no
        longer, however often it is renewed; see `Quota`.

        A span that is over is refused, unless it is said that it may be ``past``.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> async def main():
        ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     async with SlotEngine() as engine, anyio.create_task_group() as tasks:
        ...         engine.add_resource("room-1")
        ...         hold = await engine.reserve("room-1", start, minutes(30), holder="first")
        ...         tasks.start_soon(engine.release, hold.uid)
        ...         hold = await engine.reserve(
        ...             "room-1", start, minutes(30), holder="second", wait=minutes(1)
        ...         )
        ...         print(hold.holder)
        >>> anyio.run(main)
        second

        Raises `SlotTaken` (when it has waited, as it is by then), `OutsideHours`,
        `AlreadyOver`, `QuotaExceeded` or `TooManyWaiting`; for bad input
        `UnknownResource`, `TooManyUnits`, `InvalidTTL`, `KeyReused` or `InvalidField`.
        O(log n) in the claims on the resource.
        """
        if self._turn_is_over():
            await self._give_way()
        if wait is not None:
            begin, end = span_us(start, length)
            claims = (CoreClaim(resource, begin, end, units),)
            lives = self._terms.default_ttl if ttl is None else duration_us(ttl, "ttl")
            proposal = Proposal(
                begin, end, claims, lives, holder, event_type,
                key=key, quota=quota_or_none(quota), demand=demand_of(past),
            )  # fmt: skip
            return await self._wait_for(proposal, wait)
        return self.reserve_nowait(
            resource, start, length,
            units=units, holder=holder, ttl=ttl, key=key, event_type=event_type, quota=quota,
            past=past,
        )  # fmt: skip

    def reserve_nowait(
        self,
        resource: str,
        start: datetime,
        length: timedelta,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        quota: Quota | None = None,
        past: bool = False,
    ) -> Reservation:
        """Do as `reserve`, at once."""
        begin, end = span_us(start, length)
        most = None if quota is None else quota_or_none(quota)
        lives = self._terms.default_ttl if ttl is None else duration_us(ttl, "ttl")
        demand = Demand.HOURS if past is False else demand_of(past)
        now = self._now()
        try:
            if units == 1 and key is None and units.__class__ is int:
                entry = self._ledger.reserve(
                    resource, begin, end,
                    uid=self._new_uid(), now=now, ttl=lives, holder=holder, event_type=event_type,
                    quota=most, demand=demand,
                )  # fmt: skip
            else:
                claims = (CoreClaim(resource, begin, end, units),)
                entry = self._ledger.reserve_proposal(
                    Proposal(
                        begin, end, claims, lives, holder, event_type,
                        key=key, quota=most, demand=demand,
                    ),
                    uid=self._new_uid(), now=now,
                )  # fmt: skip
        except Refused:
            self._refused += 1
            raise
        return self._answer(entry)

    async def reserve_request(
        self, request: Request, *, wait: timedelta | None = None
    ) -> Reservation:
        """Hold all that a request claims, or nothing: several resources, buffers, seats.

        With a ``wait`` it stands in line for all of it at once, as `reserve` does.
        Raises as `reserve` does, and `NoSeatsLeft`.  O(c log n) for c claims.
        """
        if self._turn_is_over():
            await self._give_way()
        if wait is not None:
            return await self._wait_for(self._proposal(request), wait)
        return self.reserve_request_nowait(request)

    def reserve_request_nowait(self, request: Request) -> Reservation:
        """Do as `reserve_request`, at once."""
        proposal, now = self._proposal(request), self._now()
        try:
            entry = self._ledger.reserve_proposal(proposal, uid=self._new_uid(), now=now)
        except Refused:
            self._refused += 1
            raise
        return self._answer(entry)

    async def adopt(self, request: Request) -> Reservation:
        """Let a booking stand that was made elsewhere, whatever is in its way.

        For data that is there already, such as two bookings of one room at a time.
        Nothing is asked but that the resources exist: neither hours nor the past, nor
        what is taken, nor limits.  All of it takes time, and counts towards the limits
        of its event type, until it is cancelled or moved.  It joins the session of its
        event type and start, also beyond the seats; with another end or other hosts
        it stands by itself.

        >>> from datetime import UTC
        >>> from slotengine import Claim, minutes
        >>> async def main():
        ...     nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         twice = [
        ...             await engine.adopt(Request(nine, minutes(30), (Claim("room-1"),)))
        ...             for _ in range(2)
        ...         ]
        ...         for booking in twice:
        ...             print(len(await engine.busy("room-1", nine, nine + minutes(60))))
        ...             await engine.cancel(booking.uid)
        ...         print(len(await engine.busy("room-1", nine, nine + minutes(60))))
        >>> anyio.run(main)
        1
        1
        0

        Returns a booking.  Raises `UnknownResource`, `TooManyUnits`, `KeyReused` or
        `InvalidField`.  O(c log n) for c claims.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.adopt_nowait(request)

    def adopt_nowait(self, request: Request) -> Reservation:
        """Do as `adopt`, at once."""
        proposal, now = self._proposal(request), self._now()
        return self._answer(self._service.adopt(proposal, uid=self._new_uid(), now=now))

    async def reserve_all(self, requests: Sequence[Request]) -> list[Reservation]:
        """Hold every one of the requests, or nothing; later ones meet the claims of earlier ones.

        Raises as `reserve_request` does, for the first that cannot be had; the
        error's ``index`` says which that is.

        >>> from datetime import UTC
        >>> from slotengine import Claim, SlotTaken, minutes
        >>> async def main():
        ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         twice = [Request(start, minutes(30), (Claim("room-1"),))] * 2
        ...         try:
        ...             await engine.reserve_all(twice)
        ...         except SlotTaken as refusal:
        ...             print(refusal.index)
        >>> anyio.run(main)
        1
        """
        if self._turn_is_over():
            await self._give_way()
        return self.reserve_all_nowait(requests)

    def reserve_all_nowait(self, requests: Sequence[Request]) -> list[Reservation]:
        """Do as `reserve_all`, at once."""
        proposals, now = self._proposals(requests), self._now()
        uids = [self._new_uid() for _ in proposals]
        try:
            entries = self._ledger.reserve_all(proposals, uids=uids, now=now)
        except Refused:
            self._refused += 1
            raise
        return [self._answer(entry) for entry in entries]

    async def reserve_each(self, requests: Sequence[Request]) -> list[Reservation | Refused]:
        """Hold each request that can be had; the answer to each is a reservation or its refusal.

        Bad input in any of them is raised, and then nothing is held.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.reserve_each_nowait(requests)

    def reserve_each_nowait(self, requests: Sequence[Request]) -> list[Reservation | Refused]:
        """Do as `reserve_each`, at once."""
        proposals, now = self._proposals(requests), self._now()
        uids = [self._new_uid() for _ in proposals]
        results = self._ledger.reserve_each(proposals, uids=uids, now=now)
        self._refused += sum(isinstance(result, Refused) for result in results)
        return [
            result if isinstance(result, Refused) else self._answer(result) for result in results
        ]

    async def reserve_any(
        self,
        candidates: Sequence[Request],
        *,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[datetime, datetime] | None = None,
        key: str | None = None,
    ) -> Reservation:
        """Hold one of several candidates: the one that the policy prefers among those that fit.

        Load is counted in live claims, holds and bookings alike: all of them,
        or those that overlap the span ``load_in``.

        Raises `NoneFree`, with the refusal of each candidate.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.reserve_any_nowait(
            candidates, policy=policy, weights=weights, load_in=load_in, key=key
        )

    def reserve_any_nowait(
        self,
        candidates: Sequence[Request],
        *,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[datetime, datetime] | None = None,
        key: str | None = None,
    ) -> Reservation:
        """Do as `reserve_any`, at once."""
        proposals, now = self._proposals(candidates), self._now()
        try:
            entry = self._ledger.reserve_any(
                proposals, uid=self._new_uid(), now=now,
                policy=policy, weights=weights, load_in=span_or_none(load_in), key=key,
            )  # fmt: skip
        except Refused:
            self._refused += 1
            raise
        return self._answer(entry)

    # --- Event types ---------------------------------------------------------------------

    async def reserve_slot(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        wait: timedelta | None = None,
        quota: Quota | None = None,
    ) -> Reservation:
        """Hold a slot of an event type, by its rules: in one step, with the right resources.

        Of each group the one takes part who is free and whose turn it is;
        ``only`` those named there are considered.  Unless ``enforce``, hours,
        notice and booking window do not count; what is taken, and limits, always do.
        With a ``wait`` it stands in line, as `reserve` does, as long as the slot
        may be booked: of a group, for whoever of it is free first.  With a ``quota``
        the holder may have no more than that, as with `reserve`.

        Raises `TooSoon`, `NotBookable`, `OutsideHours`, `LimitReached`,
        `QuotaExceeded`, `SlotTaken`, `NoSeatsLeft`, or `NoneFree` if nobody of a group can; for
        bad input `UnknownEventType`, `TooManyUnits`, `InvalidTTL`, `KeyReused`
        or `InvalidField`.  O(h log n) for h hosts.
        """
        if self._turn_is_over():
            await self._give_way()
        if wait is not None:
            ask = self._ask(
                event_type, start, length, ttl, only, enforce,
                seats=seats, holder=holder, key=key, quota=quota,
            )  # fmt: skip
            proposal, last = self._service.prepare(ask, now=self._now())
            return await self._wait_for(proposal, wait, last)
        return self.reserve_slot_nowait(
            event_type, start,
            length=length, seats=seats, holder=holder, ttl=ttl, key=key,
            only=only, enforce=enforce, quota=quota,
        )  # fmt: skip

    def reserve_slot_nowait(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        quota: Quota | None = None,
    ) -> Reservation:
        """Do as `reserve_slot`, at once."""
        ask = self._ask(
            event_type, start, length, ttl, only, enforce,
            seats=seats, holder=holder, key=key, quota=quota,
        )  # fmt: skip
        now = self._now()
        try:
            entry = self._service.reserve(ask, uid=self._new_uid(), now=now)
        except Refused:
            self._refused += 1
            raise
        return self._answer(entry)

    async def move_slot(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        seats: int | None = None,
        ttl: timedelta | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        version: int | None = None,
    ) -> Reservation:
        """Re-slot a live hold or a booking by the rules of its event type, keeping its uid.

        By default it keeps its event type, length and seats, and in any case its
        hosts if they can.  Its own claims and seats are not in its way, and notice and
        booking window do not count for what stays where it is: to its own start it
        moves to get more ``seats``, for which it stands in line, or fewer.  With a ``ttl``, a hold
        also lives that long from now.  If it is refused, nothing has changed.

        Raises as `reserve_slot` and `extend` do.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.move_slot_nowait(
            uid, start,
            event_type=event_type, length=length, seats=seats, ttl=ttl, only=only,
            enforce=enforce, version=version,
        )  # fmt: skip

    def move_slot_nowait(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        seats: int | None = None,
        ttl: timedelta | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        version: int | None = None,
    ) -> Reservation:
        """Do as `move_slot`, at once."""
        current = self._current(uid)
        if event_type is None:
            if current.event_type is None:
                raise InvalidField("event_type", "must be given: the reservation is of none")
            event_type = current.event_type
            length = current.length if length is None else length
        if seats is None:
            seats = 1 if current.seats is None else current.seats.wanted
        ask = self._ask(event_type, start, length, ttl, only, enforce, seats=seats)
        now = self._moving(uid)
        entry = self._service.move(uid, ask, now=now, renew=ttl is not None, version=version)
        return self._answer(entry)

    async def slots(
        self,
        event_type: str | EventType,
        start: datetime,
        end: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> list[Slot]:
        """Return the slots of an event type that are offered in a range, in order.

        Each begins at or after the start and ends by the end of the range.  They
        begin at full hours, or the like, of the clocks in ``zone``; where the
        interval does not divide the hour, ask for whole days, since the grid
        begins where the range does.  Whatever is
        offered can be reserved at this moment; reservations whose uids are in
        ``ignoring``, such as the caller's own, are looked through.

        What is looked for may also be an `EventType` that was not added, if it
        has no limits: such as some hosts together, for once.

        Raises `UnknownEventType` or `InvalidField`.  O(h w + b log b + s), for
        w windows of h hosts, b that is taken in the range, and s slots.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.slots_nowait(
            event_type, start, end,
            length=length, seats=seats, zone=zone, ignoring=ignoring, only=only,
        )  # fmt: skip

    def slots_nowait(
        self,
        event_type: str | EventType,
        start: datetime,
        end: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> list[Slot]:
        """Do as `slots`, at once."""
        return slots_of(
            self.openings_nowait(
                event_type, start, end,
                length=length, seats=seats, zone=zone, ignoring=ignoring, only=only,
            )
        )  # fmt: skip

    def openings_nowait(
        self,
        event_type: str | EventType,
        start: datetime,
        end: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> AvailableSlots:
        """Return the same slots as `slots_nowait`, their starts in UTC microseconds.

        For whoever writes down what is offered, and needs no datetimes for it.
        """
        query = query_of(event_type, start, end, length, seats, zone, ignoring, only)
        return self._service.available_slots(query, now=self._now())

    async def next_free(
        self,
        event_type: str | EventType,
        after: datetime | None = None,
        count: int = 1,
        *,
        within: timedelta = timedelta(days=366),
        length: timedelta | None = None,
        seats: int = 1,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> list[Slot]:
        """Return the next slots of an event type, from ``after``, or now, on: the first ``count``.

        There are fewer if there are no more that end ``within`` so much time.
        Otherwise as `slots`; the cost is that of a range to the last one found.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.next_free_nowait(
            event_type, after, count, within=within,
            length=length, seats=seats, zone=zone, ignoring=ignoring, only=only,
        )  # fmt: skip

    def next_free_nowait(
        self,
        event_type: str | EventType,
        after: datetime | None = None,
        count: int = 1,
        *,
        within: timedelta = timedelta(days=366),
        length: timedelta | None = None,
        seats: int = 1,
        zone: str = "UTC",
        ignoring: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> list[Slot]:
        """Do as `next_free`, at once."""
        now = self._now()
        start = from_us(self._ledger.look(now) if after is None else to_us(after, "after"))
        reach = duration_us(within, "within")
        if reach > LONGEST_RANGE:
            raise InvalidField("within", f"must be no more than {LONGEST_RANGE // DAY} days")
        query = query_of(event_type, start, start, length, seats, zone, ignoring, only)
        query = query._replace(end=query.start + reach)
        return slots_of(self._service.next_available_slots(query, count, now=now))

    # --- Imported busy time --------------------------------------------------------------

    async def replace_busy(
        self, source: str, spans: Mapping[str, Iterable[tuple[datetime, datetime]]]
    ) -> None:
        """Let these be the spans that a source says resources are busy, and nothing else.

        In one step: what the source said before and does not say now is free
        again, of every resource.  Busy time takes all units of a resource;
        reservations that are there already stay.  It is not kept anywhere: read
        it again after a restart.

        Raises `InvalidField` or `UnknownResource`, and then nothing has changed.
        O(n log n) for all that is imported of these resources.
        """
        if self._turn_is_over():
            await self._give_way()
        self.replace_busy_nowait(source, spans)

    def replace_busy_nowait(
        self, source: str, spans: Mapping[str, Iterable[tuple[datetime, datetime]]]
    ) -> None:
        """Do as `replace_busy`, at once."""
        found = busy_spans_of(spans)
        self._ledger.replace_busy(source, found, now=self._now())
        self._room.imported()

    async def imported(self, resource: str, start: datetime, end: datetime) -> list[ImportedSpan]:
        """Return what each source of busy time says of a resource in a range, in order.

        Raises `UnknownResource` or `InvalidField`.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.imported_nowait(resource, start, end)

    def imported_nowait(self, resource: str, start: datetime, end: datetime) -> list[ImportedSpan]:
        """Do as `imported`, at once."""
        self._now()  # refuse when closed, as every verb does
        span = to_us(start, "start"), to_us(end, "end")
        return [
            ImportedSpan(from_us(low), from_us(high), source)
            for low, high, source in self._ledger.imported(resource, *span)
        ]

    @contextmanager
    def out_of_turn(self) -> Iterator[None]:
        """Let what is done in the block go before those who wait: for what is promised already.

        Nobody who waits keeps it off, but what is taken does.  Do not await in
        the block, or others are let through as well.

        >>> from datetime import UTC
        >>> async def main():
        ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         with engine.out_of_turn():
        ...             hold = engine.reserve_nowait("room-1", start, timedelta(minutes=30))
        """
        self._check_here()
        with self._room.looking_away():
            yield

    # --- The life of a reservation -------------------------------------------------------

    async def extend(
        self, uid: str, *, ttl: timedelta | None = None, version: int | None = None
    ) -> Reservation:
        """Let a live hold live for ``ttl`` (by default the default) from now, in place.

        Raises `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`,
        `LifeExceeded` or `InvalidTTL`.  O(1).
        """
        if self._turn_is_over():
            await self._give_way()
        return self.extend_nowait(uid, ttl=ttl, version=version)

    def extend_nowait(
        self, uid: str, *, ttl: timedelta | None = None, version: int | None = None
    ) -> Reservation:
        """Do as `extend`, at once."""
        lives = self._terms.default_ttl if ttl is None else duration_us(ttl, "ttl")
        now = self._now()
        return self._answer(self._ledger.extend(uid, ttl=lives, now=now, version=version))

    async def move(
        self,
        uid: str,
        start: datetime,
        length: timedelta | None = None,
        *,
        resource: str | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
        past: bool = False,
    ) -> Reservation:
        """Re-slot a live hold or a booking in one step, keeping its uid, units and buffers.

        Its own claims are not in its way; what others wait for it may keep, but
        not take.  By default it keeps its length and its resources; another
        ``resource`` can be named if it is on one only.  With a ``ttl``, a hold
        also lives that long from now.  What decides is the hours of the
        resources, also if the reservation was made with others (`move_request`
        can say so again); if its event type is one that the engine knows, the
        rules of that, as with `move_slot`.  To another start it may move into the
        ``past`` only if that is said; then no rules count.  If it is refused, nothing
        has changed.

        Raises as `reserve` and `extend` do.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.move_nowait(
            uid, start, length, resource=resource, ttl=ttl, version=version, past=past
        )

    def move_nowait(
        self,
        uid: str,
        start: datetime,
        length: timedelta | None = None,
        *,
        resource: str | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
        past: bool = False,
    ) -> Reservation:
        """Do as `move`, at once."""
        current = self._current(uid)
        if self._service.knows(current.event_type):
            only = None
            if resource is not None:
                rules = self._service.rules_of(current.event_type or "")
                only = rules.restricted_to(resource)
            return self.move_slot_nowait(
                uid, start,
                length=length, ttl=ttl, only=only, enforce=not past, version=version,
            )  # fmt: skip
        claims = current.claims
        if resource is not None:
            if len(claims) > 1:
                raise InvalidField("resource", "is ambiguous: move_request tells which is which")
            claims = (replace(claims[0], resource=resource),)
        request = Request(
            start,
            current.length if length is None else length,
            claims,
            ttl=ttl,
            event_type=current.event_type,
            seats=current.seats,
            past=past,
        )
        return self.move_request_nowait(uid, request, version=version)

    async def move_request(
        self, uid: str, request: Request, *, version: int | None = None
    ) -> Reservation:
        """Re-slot to what a request claims; as `move`, for any kind of reservation.

        A hold is renewed if the request has a ``ttl``.  Holder, key and quota of the
        request are not looked at: it counts for whoever made the reservation.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.move_request_nowait(uid, request, version=version)

    def move_request_nowait(
        self, uid: str, request: Request, *, version: int | None = None
    ) -> Reservation:
        """Do as `move_request`, at once."""
        now = self._moving(uid)
        entry = self._ledger.move(
            uid, self._proposal(request), now=now, renew=request.ttl is not None, version=version
        )
        return self._answer(entry)

    async def move_any(
        self,
        uid: str,
        candidates: Sequence[Request],
        *,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[datetime, datetime] | None = None,
        version: int | None = None,
    ) -> Reservation:
        """Re-slot to the candidate that the policy prefers among those that fit.

        A hold is renewed if the candidates have a ``ttl``, which then all must.
        Raises `NoneFree`, and as `move` does.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.move_any_nowait(
            uid, candidates, policy=policy, weights=weights, load_in=load_in, version=version
        )

    def move_any_nowait(
        self,
        uid: str,
        candidates: Sequence[Request],
        *,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[datetime, datetime] | None = None,
        version: int | None = None,
    ) -> Reservation:
        """Do as `move_any`, at once."""
        candidates = listed("requests", candidates)
        proposals = self._proposals(candidates)
        renewals = {request.ttl is not None for request in candidates}
        if len(renewals) > 1:
            raise InvalidField("ttl", "must be given for all candidates or for none")
        now = self._moving(uid)
        entry = self._ledger.move_any(
            uid, proposals, now=now, renew=True in renewals,
            policy=policy, weights=weights, load_in=span_or_none(load_in), version=version,
        )  # fmt: skip
        return self._answer(entry)

    async def confirm(
        self,
        uid: str,
        *,
        if_still_free: bool = False,
        version: int | None = None,
        enforce: bool = True,
    ) -> Reservation:
        """Turn a live hold into a booking; repeating it returns the same booking.

        A hold that has expired is refused, unless ``if_still_free``: then it is
        decided anew whether it can be had, in the same step, by the rules by which it
        was made: that it is not over, hours, notice, booking window, limits, and who
        waits.  Unless ``enforce``, only limits and what is taken, or waited for, count.
        A schedule that a request brought along is not asked again, and quotas
        are about holds, not bookings.

        Raises `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`;
        `SlotTaken` or `NoSeatsLeft` if it is no longer free, or others wait for it;
        and `AlreadyOver`, `TooSoon`, `NotBookable` or `OutsideHours`.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.confirm_nowait(
            uid, if_still_free=if_still_free, version=version, enforce=enforce
        )

    def confirm_nowait(
        self,
        uid: str,
        *,
        if_still_free: bool = False,
        version: int | None = None,
        enforce: bool = True,
    ) -> Reservation:
        """Do as `confirm`, at once."""
        now = self._now()
        entry = self._service.confirm(
            uid, now=now, if_still_free=if_still_free, version=version, enforce=enforce
        )
        return self._answer(entry)

    async def release(self, uid: str, *, version: int | None = None) -> Reservation:
        """Give a hold up; harmless to repeat, and after its expiry.

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        booking, which is to be cancelled.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.release_nowait(uid, version=version)

    def release_nowait(self, uid: str, *, version: int | None = None) -> Reservation:
        """Do as `release`, at once."""
        now = self._now()
        return self._answer(self._ledger.release(uid, now=now, version=version))

    async def cancel(self, uid: str, *, version: int | None = None) -> Reservation:
        """Give a booking up; harmless to repeat.

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        hold, which is to be released.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.cancel_nowait(uid, version=version)

    def cancel_nowait(self, uid: str, *, version: int | None = None) -> Reservation:
        """Do as `cancel`, at once."""
        now = self._now()
        return self._answer(self._ledger.cancel(uid, now=now, version=version))

    async def forget_bookings(self, before: datetime) -> int:
        """Forget bookings that were over by some time, and return how many.

        A booking is kept until this is asked for: whoever runs an engine for long
        should, now and then.  One is over when nothing that it takes reaches beyond
        ``before``: no buffer, and no day, week, month or year of a limit towards
        which it counts.  Then it and its key are as if they had never been; nobody
        is told, since nothing has become of it.  Whose turn it is in a group is
        counted from the bookings that are left.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> async def main():
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         yesterday = engine.now() - timedelta(days=1)
        ...         hold = await engine.reserve("room-1", yesterday, minutes(30), past=True)
        ...         await engine.confirm(hold.uid)
        ...         print(await engine.forget_bookings(engine.now() - minutes(60)))
        >>> anyio.run(main)
        1

        Others have their turn meanwhile.  Raises `InvalidField` for a time to come.
        O(n) for n reservations, and O(log n) for each that is forgotten.
        """
        moment = self._past_us(before)
        uids, forgotten = self._ledger.uids(), 0
        for first in range(0, len(uids), FORGOTTEN_PER_TURN):
            await self._give_way()
            forgotten += self._forget_bookings(moment, uids[first : first + FORGOTTEN_PER_TURN])
        return forgotten

    def forget_bookings_nowait(self, before: datetime) -> int:
        """Do as `forget_bookings`, at once."""
        return self._forget_bookings(self._past_us(before), self._ledger.uids())

    # --- Reading -------------------------------------------------------------------------

    async def get(self, uid: str) -> Reservation | None:
        """Return a reservation, also one that ended within the retention, or None.  O(1)."""
        if self._turn_is_over():
            await self._give_way()
        return self.get_nowait(uid)

    def get_nowait(self, uid: str) -> Reservation | None:
        """Do as `get`, at once."""
        now = self._now()
        entry = self._ledger.get(uid, now=now)
        return None if entry is None else self._view(entry)

    async def busy(self, resource: str, start: datetime, end: datetime) -> list[BusySpan]:
        """Return where in a range units of the resource are taken, and how many, in order.

        Imported busy time takes all of them.  Raises `UnknownResource` or
        `InvalidField`.  O(log n + k log k) for k claims in the range.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.busy_nowait(resource, start, end)

    def busy_nowait(self, resource: str, start: datetime, end: datetime) -> list[BusySpan]:
        """Do as `busy`, at once."""
        span = to_us(start, "start"), to_us(end, "end")
        return [
            BusySpan(from_us(begin), from_us(finish), units)
            for begin, finish, units in self._ledger.busy(resource, *span, now=self._now())
        ]

    async def is_free(self, request: Request) -> bool:
        """Return whether a request could be had now.  An answer, not a promise: `reserve` it."""
        if self._turn_is_over():
            await self._give_way()
        return self.is_free_nowait(request)

    def is_free_nowait(self, request: Request) -> bool:
        """Do as `is_free`, at once."""
        return self._ledger.is_free(self._proposal(request), now=self._now())

    async def reservations(
        self, resource: str, start: datetime, end: datetime
    ) -> list[Reservation]:
        """Return the live reservations that claim the resource in a range, by start.

        For the service itself: it shows whose they are.
        """
        if self._turn_is_over():
            await self._give_way()
        return self.reservations_nowait(resource, start, end)

    def reservations_nowait(
        self, resource: str, start: datetime, end: datetime
    ) -> list[Reservation]:
        """Do as `reservations`, at once."""
        now = self._now()
        span = to_us(start, "start"), to_us(end, "end")
        return [
            self._view(entry) for entry in self._ledger.reservations_in(resource, *span, now=now)
        ]

    def subscribe(self, *, buffer: int = 1024) -> Subscription:
        """Return a stream of all changes from now on; see `Subscription`.

        A subscriber that has ``buffer`` events waiting begins to miss the
        oldest, and is told how many.
        """
        self._now()  # refuse when closed: such a stream would never end
        subscription = Subscription(buffer, self._check_here, self._listen)
        self._feeds.append(subscription.feed)
        self._listen()
        return subscription

    def statistics(self) -> Statistics:
        """Return how the engine is doing, at this moment.  O(subscribers)."""
        self._check_here()
        tally = self._ledger.tally()
        self._listen()
        now = self._ledger.look(self._clock.now())
        late = max(0, now - self._ledger.next_expiry()) if tally.held else 0
        return Statistics(
            held=tally.held,
            confirmed=tally.confirmed,
            ended=tally.ended,
            sessions=tally.sessions,
            resources=tally.resources,
            accepted=tally.accepted,
            refused=self._refused + self._room.refused,
            expired=tally.expired,
            overdue=timedelta(0, 0, late),
            subscribers=len(self._feeds),
            missed=sum(feed.missed for feed in self._feeds),
            waiting=len(self._room),
        )

    # --- For tests and tools ---------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The ledger that decides, to look into.  What is changed through it, nobody is told."""
        return self._ledger

    @property
    def waitlist(self) -> WaitingRoom:
        """The callers who wait for slots, to look into."""
        return self._room

    @property
    def clock(self) -> Clock:
        """The clock that the engine was made with."""
        return self._clock

    @property
    def turns(self) -> Turns:
        """When async verbs give way to other tasks; can be replaced."""
        return self._turns

    @turns.setter
    def turns(self, turns: Turns) -> None:
        self._turns = turns
        self._turn_is_over = turns.is_over

    def check_invariants(self) -> None:
        """Assert every invariant of the ledger and the waitlist.  O(n log n) for n reservations."""
        self._check_here()
        self._ledger.check_invariants()
        self._room.check_invariants()

    def observe(self, listen: Callable[[Event], None]) -> Callable[[], None]:
        """Call a function with each event, in the very step of the change.

        A task that reads a subscription hears of a change when it next runs; by
        then the engine may have gone on.  The function must neither change
        anything nor raise.  It counts as a subscriber.  Returns a function that
        ends it.  Raises `InvalidField` unless ``listen`` can be called.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> async def main():
        ...     async with SlotEngine() as engine:
        ...         engine.add_resource("room-1")
        ...         stop = engine.observe(lambda event: print(event.verb))
        ...         start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        ...         await engine.reserve("room-1", start, minutes(30))
        ...         stop()
        >>> anyio.run(main)
        Verb.RESERVE
        """
        self._check_here()
        if self._closed:
            raise self._why_closed()
        observer = Observer(listen)
        self._feeds.append(observer)
        self._listen()

        def stop() -> None:
            observer.close()
            self._listen()

        return stop

    def record(self, keep: Callable[[Record], None]) -> None:
        """Hand a record of each change to a function, in the very step of the change.

        These are what a journal keeps, and `replay` takes back in.  The function
        must neither change anything nor raise.  Raises `InvalidField` unless
        ``keep`` can be called.
        """
        self._check_here()
        if not callable(keep):
            raise InvalidField("keep", f"must be a function of a record, not {keep!r}")
        self._keep = keep
        self._listen()

    def replay(self, records: Iterable[Record]) -> None:
        """Carry out recorded changes again, in order: nothing is decided, and nobody is told.

        For an engine with the same resources and event types, before it is started.
        Raises `InvalidField` for what is no list of records.
        """
        self._check_here()
        records = listed("records", records)
        if not all(isinstance(record, Change | Forgotten) for record in records):
            raise InvalidField("records", f"must be records of changes, not {records!r:.99}")
        for record in records:
            if isinstance(record, Forgotten):
                self._ledger.forget_bookings(*record)
            else:
                self._ledger.apply(record)

    # --- Inside --------------------------------------------------------------------------

    async def _give_way(self) -> None:
        self._check_here()
        await self._turns.give_way()

    async def _wait_for(
        self,
        proposal: Proposal,
        wait: timedelta,
        last: int = LAST_US,
    ) -> Reservation:
        self._check_here()
        patience = duration_us(wait, "wait")
        return self._answer(await self._room.reserve(proposal, patience, last))

    def _past_us(self, before: datetime) -> int:
        moment = to_us(before, "before")
        if moment > self._ledger.look(self._now()):
            raise InvalidField("before", "must not be in the future")
        return moment

    def _forget_bookings(self, before: int, uids: Sequence[str]) -> int:
        self._now()  # refuse when closed
        forgotten = self._ledger.forget_bookings(before, uids)
        if self._keep is not None:
            self._keep(Forgotten(before, tuple(uids)))
        if forgotten:
            self._room.imported()
        return forgotten

    def _moving(self, uid: str) -> int:
        """Return the time, at which a reservation is about to move away."""
        now = self._now()
        self._room.moving(uid)
        return now

    def _current(self, uid: str) -> Reservation:
        current = self.get_nowait(uid)
        if current is None:
            raise UnknownReservation(uid)
        return current

    def _ask(
        self,
        event_type: str,
        start: datetime,
        length: timedelta | None,
        ttl: timedelta | None,
        only: Collection[str] | None,
        enforce: bool,
        *,
        seats: int,
        holder: str | None = None,
        key: str | None = None,
        quota: Quota | None = None,
    ) -> SlotRequest:
        return SlotRequest(
            event_type,
            to_us(start, "start"),
            None if length is None else duration_us(length, "length"),
            self._terms.default_ttl if ttl is None else duration_us(ttl, "ttl"),
            holder,
            key,
            seats,
            names_or_none("only", only),
            enforce,
            quota_or_none(quota),
        )

    def _proposal(self, request: Request) -> Proposal:
        if not isinstance(request, Request):
            raise InvalidField("request", f"must be a Request, not {request!r}")
        return request.proposal(self._terms.default_ttl)

    def _proposals(self, requests: Sequence[Request]) -> list[Proposal]:
        proposals: list[Proposal] = []
        try:
            for request in listed("requests", requests):
                proposals.append(self._proposal(request))  # noqa: PERF401, so that it can be told
        except SlotError as error:
            error.of_request(len(proposals))
            raise
        return proposals

    def _view(self, entry: Entry) -> Reservation:
        return Reservation(entry, self._ledger.now)

    def _answer(self, entry: Entry) -> Reservation:
        """Return what callers see of an entry, and wake the sweeper if it would sleep too long."""
        ledger = self._ledger
        if ledger.chores_due < self._wakes_at:
            self._wakes_at = ledger.chores_due
            self._wake.set()
        return Reservation(entry, ledger.now)

    async def _sweep(self) -> None:
        ledger, room, clock = self._ledger, self._room, self._clock
        while True:
            while min(ledger.chores_due, room.due) <= ledger.look(clock.now()):
                ledger.expire(ledger.now, EXPIRIES_PER_TURN)
                room.serve()
                await anyio.lowlevel.checkpoint()
            self._wake = anyio.Event()
            self._wakes_at = min(ledger.chores_due, room.due)
            await clock.wait(self._wake, self._wakes_at)

    def _listen(self) -> None:
        """Let the ledger tell of changes while somebody wants to know."""
        self._feeds = [feed for feed in self._feeds if not feed.closed]
        wanted = self._feeds or self._room or self._keep
        self._ledger.on_change = self._publish if wanted else None

    def _heed(self) -> None:
        """Look after those who wait: see `WaitingRoom`."""
        self._listen()
        self._wake.set()

    def _publish(self, change: Change, entry: Entry) -> None:
        if self._keep is not None:
            self._keep(change)
        self._room.told(change.verb, entry)
        if not self._feeds:
            return
        # The ledger tells after the fact, so what the entry says now is what was decided.
        event = Event(change.verb, from_us(change.at), Reservation(entry, change.at))
        unheard = False
        for feed in self._feeds:
            if feed.closed:
                unheard = True
            else:
                feed.publish(event)
        if unheard:
            self._listen()


def after_fork() -> None:
    for engine in list(_running):
        engine._now = refuse_in_child  # noqa: SLF001 - as in start() and _end()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which has no fork
    os.register_at_fork(after_in_child=after_fork)
