"""The customers who call the engine at a fixed rate, with a random kind of call each time.

Each answer is compared with what the customer may expect.  A refusal must have a reason:
a conflict, a start that is too late, or a quota.  A customer who is given something has it.
One task makes all calls, except those that wait for a slot; these have a task each, and
their number is limited.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from time import perf_counter, perf_counter_ns
from typing import Final, NamedTuple

import anyio
import anyio.abc

from benchmarks.arrivals import Arrivals
from benchmarks.soak.audit import Audit, over_at
from benchmarks.soak.plan import GREEDY, HOT, SEATS, UNITS, Plan
from slotengine import (
    Claim,
    HoldExpired,
    KeyReused,
    KeySpent,
    LifeExceeded,
    LocalEngine,
    NoneFree,
    QuotaExceeded,
    Refused,
    Request,
    Reservation,
    Slot,
    SlotEngine,
    SlotQuery,
    SlotTaken,
    StaleVersion,
    State,
    UnknownReservation,
)
from slotengine.core.time.instant import from_us, to_us

MIX: Final = {
    "room": 20,
    "units": 6,
    "two claims": 6,
    "seats": 5,
    "talk": 5,
    "hot": 12,
    "wait": 3,
    "retry": 4,
    "extend": 7,
    "confirm": 13,
    "confirm late": 1,
    "release": 5,
    "cancel": 3,
    "move": 5,
    "get": 2,
    "slots": 2,
    "next free": 2,
}
"""The weight of each kind of call."""

KINDS: Final = (*MIX, "complete")
"""The last kind cancels talks that are over, because the daily limit counts them."""

RETRIED: Final = 200
"""How many of the latest requests with a key can be repeated."""
ANSWERED: Final = (SlotTaken, NoneFree, QuotaExceeded)
"""Errors that a customer who requests something must expect."""
LAPSED: Final = (HoldExpired, StaleVersion)
"""Errors that a customer with a hold must expect.  Lapsing is a change, and raises the version."""

GONE: Final = (*LAPSED, UnknownReservation)
"""The same, after a delay: the hold may have lapsed so long ago that it is forgotten."""


class Keyed(NamedTuple):
    """A request with a key that was accepted."""

    room: str
    start: datetime
    length: timedelta
    holder: str
    ttl: timedelta
    key: str
    uid: str


class Customers:
    """All customers, and the results of their calls."""

    def __init__(
        self,
        engine: SlotEngine,
        plan: Plan,
        audit: Audit,
        measured: Callable[[str, float, int, int], None],
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        """How often each kind of call had each result."""
        self.gave_up = 0
        """How many were cancelled while they waited."""
        self.turned_away = 0
        """How many could not wait because the waitlist was full."""
        self.waiting = 0
        """How many are waiting now."""
        self.cut_off = 0
        """How many were waiting when the soak was interrupted."""
        self.arrivals = Arrivals(plan.rate, plan.seconds, spin_s=0)
        self._engine = engine
        self._plan = plan
        self._audit = audit
        self._has = audit.acknowledged
        self._measured = measured
        self._rng = random.Random(plan.seed)
        self._guests = 0
        self._keyed: deque[Keyed] = deque(maxlen=RETRIED)
        # Two heaps of when bookings are over: talks, and all others.
        self._talks_over: list[tuple[datetime, str]] = []
        self._over: list[tuple[datetime, str]] = []
        self._grid = timedelta(seconds=plan.horizon_s / 30)
        self._calls: dict[str, Callable[[], Awaitable[None]]] = {
            "room": self._room, "units": self._units, "two claims": self._two_claims,
            "seats": self._seats, "talk": self._talk, "hot": self._hot, "retry": self._retry,
            "extend": self._extend, "confirm": self._confirm, "confirm late": self._confirm_late,
            "release": self._release, "cancel": self._cancel, "move": self._move,
            "get": self._get, "slots": self._slots, "next free": self._next_free,
        }  # fmt: skip
        self._stocks = {
            "retry": self._keyed, "extend": self._has.holds, "confirm": self._has.holds,
            "confirm late": self._has.lapsed, "release": self._has.holds,
            "cancel": self._has.bookings, "move": self._has.bookings, "get": self._has.bookings,
        }  # fmt: skip

    async def come(self) -> None:
        """Make each call when it is due, or as soon as possible afterwards."""
        arrivals, kinds, weights = self.arrivals, list(MIX), list(MIX.values())
        arrivals.began = perf_counter()
        async with anyio.create_task_group() as waits:
            while await arrivals.wait():
                due = arrivals.next_due()
                arrivals.issued += 1
                kind = self._rng.choices(kinds, weights)[0]
                if not self._stocks.get(kind, True):
                    kind = "room"  # nothing to do this kind of call with yet
                if kind == "wait":
                    self._begin_to_wait(waits, due)
                else:
                    await self._timed(kind, due, self._calls[kind])
                await self._complete()

    async def _timed(self, kind: str, due: float, call: Callable[[], Awaitable[None]]) -> None:
        began = perf_counter_ns()
        try:
            await call()
        except Exception as error:
            self.outcomes[f"{kind}: {type(error).__name__}"] += 1
            if not isinstance(error, ANSWERED):  # including assertions of the engine
                self._audit.broken.add(f"{kind}: {error!r}")
        else:
            self.outcomes[f"{kind}: done"] += 1
        self._measured(kind, due, began, perf_counter_ns())

    # --- Requests ----------------------------------------------------------------------------

    async def _room(self) -> None:
        start, length = self._some_time(), self._some_length()
        room, holder, ttl = self._a_room(), self._holder(), self._ttl()
        once = holder.startswith("guest") and self._rng.random() < 0.4
        key = f"key of {holder}" if once else None
        hold = await self._engine.reserve(room, start, length, holder=holder, ttl=ttl, key=key)
        if key is not None:
            self._keyed.append(Keyed(room, start, length, holder, ttl, key, hold.uid))
        self._given(hold)

    async def _units(self) -> None:
        units = self._rng.randint(1, UNITS - 1)
        start, length = self._some_time(), self._some_length()
        pool, ttl = f"pool-{self._some()}", self._ttl()
        self._given(
            await self._engine.reserve(
                pool, start, length, units=units, holder=self._holder(), ttl=ttl
            )
        )

    async def _two_claims(self) -> None:
        after = Claim(f"pool-{self._some()}", before=self._grid / 5, after=self._grid / 5)
        claims = (Claim(self._a_room()), after)
        request = Request(
            self._some_time(), self._some_length(), claims, holder=self._holder(), ttl=self._ttl()
        )
        self._given(await self._engine.reserve(request))

    async def _seats(self) -> None:
        seats = self._rng.randint(1, SEATS // 4)
        lesson, start = f"lesson-{self._some()}", self._some_minute()
        self._given(
            await self._engine.reserve_slot(
                lesson, start, seats=seats, holder=self._holder(), ttl=self._ttl()
            )
        )

    async def _talk(self) -> None:
        talk, start = f"talk-{self._some()}", self._some_minute()
        self._given(
            await self._engine.reserve_slot(talk, start, holder=self._holder(), ttl=self._ttl())
        )

    async def _hot(self) -> None:
        start, length = self._hot_time()
        hold = await self._engine.reserve(
            self._hot_room(), start, length, holder=self._guest(), ttl=self._ttl() / 4
        )
        self._has.given(hold, wanted=False)

    def _begin_to_wait(self, waits: anyio.abc.TaskGroup, due: float) -> None:
        if self.waiting >= self._plan.most_waiting:
            self.turned_away += 1
            return
        self.waiting += 1
        waits.start_soon(self._wait, due)

    async def _wait(self, due: float) -> None:
        """Wait for a popular room, and sometimes give up early."""
        patience = timedelta(seconds=self._plan.patience_s * self._rng.random())
        leaves = self._plan.patience_s * self._rng.random()
        start, length = self._hot_time()

        async def call() -> None:
            hold = await self._engine.reserve(
                self._hot_room(), start, length,
                holder=self._guest(), ttl=self._ttl() / 4, wait=patience,
            )  # fmt: skip
            self._has.given(hold, wanted=False)

        try:
            with anyio.move_on_after(leaves if leaves < patience.total_seconds() / 2 else None):
                await self._timed("wait", due, call)
                return
            self.gave_up += 1
        except anyio.get_cancelled_exc_class():
            self.cut_off += 1
            raise
        finally:
            self.waiting -= 1

    async def _retry(self) -> None:
        """Repeat a request with its key, or reuse the key for a different request."""
        said = self._rng.choice(self._keyed)
        length = said.length if self._rng.random() < 0.9 else said.length + self._grid
        before = self._engine.local.get(said.uid)
        try:
            again = await self._engine.reserve(
                said.room, said.start, length,
                holder=said.holder, ttl=said.ttl, key=said.key,
            )  # fmt: skip
        except KeyReused:
            right = length != said.length
        except KeySpent:  # the key is remembered for longer than what came of it
            right = self._engine.local.get(said.uid) is None
            self._keyed.remove(said)
        else:
            right = again.uid == said.uid
        self._audit.broken.unless(right, f"{said} was asked again, for {length}; it was {before}")

    # --- Holds and bookings ------------------------------------------------------------------

    async def _extend(self) -> None:
        one = self._held()
        try:
            now = await self._engine.extend(one.uid, ttl=self._ttl(), version=one.version)
        except GONE as refusal:
            self._has.refused_as_expired(one, refusal)
        except LifeExceeded:
            self._has.unchanged(one)
        else:
            self._has.changed(one, now, State.HELD)

    async def _confirm(self) -> None:
        one = self._held()
        try:
            now = await self._engine.confirm(one.uid, version=one.version)
        except GONE as refusal:
            self._has.refused_as_expired(one, refusal)
        else:
            self._has.changed(one, now, State.CONFIRMED)
            self._booked(now)

    async def _confirm_late(self) -> None:
        """Confirm a hold that has lapsed, if it is still free and still known."""
        one = self._has.lapsed.popleft()
        try:
            now = await self._engine.confirm(one.uid, if_still_free=True)
        except UnknownReservation:
            retention = timedelta(seconds=self._plan.retention_s)
            right = one.until is not None and one.until + retention <= self._engine.now()
            self._audit.broken.unless(right, f"{one!r} was forgotten too soon")
        else:
            self._has.changed(one, now, State.CONFIRMED, steps=2)
            self._booked(now)

    async def _release(self) -> None:
        await self._give_up(self._held())

    async def release_all(self) -> None:
        """Release all holds that a customer would come back for."""
        for uid in self._has.holds.uids():
            one = self._has.holds.get(uid)
            if one is not None:
                with self._surprised():
                    await self._give_up(one)

    async def cancel_all(self) -> None:
        """Cancel all bookings."""
        for uid in self._has.bookings.uids():
            with self._surprised():
                await self._engine.cancel(uid)
            self._has.bookings.discard(uid)

    @contextmanager
    def _surprised(self) -> Iterator[None]:
        """Record any exception, and continue."""
        try:
            yield
        except Exception as error:
            self._audit.broken.add(f"at the end: {error!r}")

    async def _give_up(self, one: Reservation) -> None:
        try:
            now = await self._engine.release(one.uid)
        except UnknownReservation as refusal:
            self._has.refused_as_expired(one, refusal)
            return
        if now.state is State.EXPIRED:  # as if released
            self._has.expired(one.uid)
        else:
            self._has.changed(one, now, State.RELEASED)

    async def _cancel(self) -> None:
        one = self._has.bookings.draw(self._rng)
        assert one is not None
        await self._cancel_this(one)

    async def _cancel_this(self, one: Reservation) -> None:
        try:
            now = await self._engine.cancel(one.uid)
        except UnknownReservation:
            self._forgotten(one, None)
        else:
            self._has.changed(one, now, State.CANCELLED)

    def _forgotten(self, one: Reservation, said: Reservation | None) -> None:
        """Return whether a booking could have been forgotten since it was drawn."""
        right = self._has.may_be_over(one, said)
        self._audit.broken.unless(right, f"{one!r} is said to be {said!r}")

    async def _move(self) -> None:
        """Move a booking or hold to another time, and to another room if it takes a room alone."""
        some = self._has.holds if self._has.holds and self._rng.random() < 0.5 else None
        one = (some or self._has.bookings).draw(self._rng)
        assert one is not None
        start = self._some_time() if one.event_type is None else self._some_minute()
        on = one.resources
        resource = self._a_room() if len(on) == 1 and on[0].startswith("room") else None
        try:
            now = await self._engine.move(one.uid, start, resource=resource, version=one.version)
        except LAPSED as refusal:
            self._has.refused_as_expired(one, refusal)
        except UnknownReservation:
            self._forgotten(one, None)
        except Refused:
            self._has.unchanged(one)
            raise
        else:
            self._has.changed(one, now, one.state)
            if now.state is State.CONFIRMED:
                self._booked(now)

    # --- Queries -----------------------------------------------------------------------------

    async def _get(self) -> None:
        one = self._has.bookings.draw(self._rng)
        assert one is not None
        said = await self._engine.get(one.uid)
        if said != one:
            self._forgotten(one, said)

    async def _slots(self) -> None:
        """List slots, and reserve the last one, which must succeed."""
        talk, now = f"talk-{self._some()}", self._engine.now()
        reach = timedelta(seconds=max(self._plan.horizon_s, 120))
        wanted = self._rng.random() < 0.3

        def take_the_last(local: LocalEngine) -> tuple[list[Slot], Reservation | None]:
            offered = local.slots(SlotQuery(talk, now, now + reach))
            if not wanted or not offered:
                return offered, None
            start = offered[-1].start
            return offered, local.reserve_slot(talk, start, holder=self._guest(), ttl=self._ttl())

        offered, hold = await self._engine.run(take_the_last)
        self._in_order([slot.start for slot in offered], now)
        if hold is not None:
            self._given(hold)

    async def _next_free(self) -> None:
        now = self._engine.now()
        offered = await self._engine.next_free(SlotQuery(f"lesson-{self._some()}"), count=3)
        self._audit.broken.unless(len(offered) == 3, f"{offered} are the next 3 slots")
        self._in_order([slot.start for slot in offered], now)

    def _in_order(self, starts: list[datetime], now: datetime) -> None:
        right = starts == sorted(set(starts)) and (not starts or starts[0] >= now)
        self._audit.broken.unless(right, f"at {now}, {starts} are offered")

    # --- Past bookings -----------------------------------------------------------------------

    async def _complete(self) -> None:
        """Cancel at most two talks that are over."""
        for _ in range(2):
            one = self._next_over(self._talks_over, self._engine.now())
            if one is None:
                return
            await self._timed("complete", perf_counter(), partial(self._cancel_this, one))

    async def forget_what_is_over(self) -> None:
        """Forget past bookings from time to time, which the engine does not do by itself."""
        while True:
            await anyio.sleep(self._plan.forget_s)
            with anyio.CancelScope(shield=True):  # once begun, it goes on to the end
                moment = self._engine.now()
                while (one := self._next_over(self._over, moment)) is not None:
                    self._has.bookings.discard(one.uid)
                forgotten = await self._engine.forget_bookings(moment)
                self.outcomes["forgotten"] += forgotten

    def _booked(self, one: Reservation) -> None:
        talk = one.event_type is not None and one.event_type.startswith("talk")
        heappush(self._talks_over if talk else self._over, (over_at(one), one.uid))

    def _next_over(self, over: list[tuple[datetime, str]], moment: datetime) -> Reservation | None:
        """Take the next booking that is over from a heap, if there is one."""
        while over and over[0][0] <= moment:
            at, uid = heappop(over)
            one = self._has.bookings.get(uid)
            if one is not None and over_at(one) == at:  # otherwise it was cancelled or moved
                return one
        return None

    # --- Random choices ----------------------------------------------------------------------

    def _given(self, hold: Reservation) -> None:
        """Record a hold.  One customer in four does not come back, and a greedy one never does."""
        greedy = hold.holder is not None and hold.holder.startswith("greedy")
        self._has.given(hold, wanted=not greedy and self._rng.random() < 0.75)

    def _held(self) -> Reservation:
        one = self._has.holds.draw(self._rng)
        assert one is not None
        return one

    def _guest(self) -> str:
        self._guests += 1
        return f"guest-{self._guests}"

    def _holder(self) -> str:
        chance = self._rng.random()
        if chance < 0.05:
            return f"greedy-{self._rng.randrange(GREEDY)}"
        if chance < 0.3:
            return f"regular-{self._rng.randrange(self._plan.rooms)}"
        return self._guest()

    def _ttl(self) -> timedelta:
        """Return one of eight TTLs, each of which the engine keeps in a queue of its own."""
        plan = self._plan
        longer = self._rng.randrange(8) / 7 * (plan.longest_ttl_s - 4 * plan.shortest_ttl_s)
        return timedelta(seconds=4 * plan.shortest_ttl_s + longer)

    def _a_room(self) -> str:
        return f"room-{self._rng.randrange(self._plan.rooms)}"

    def _hot_room(self) -> str:
        return f"hot-{self._rng.randrange(HOT)}"

    def _some(self) -> int:
        return self._rng.randrange(self._plan.some)

    def _some_length(self) -> timedelta:
        return self._rng.randint(1, 3) * self._grid

    def _some_time(self) -> datetime:
        """Return a time on the grid, within the horizon."""
        return self._ahead(self._grid, self._rng.randint(1, 27))

    def _some_minute(self) -> datetime:
        minutes = max(1, int(self._plan.horizon_s // 60))
        return self._ahead(timedelta(minutes=1), self._rng.randint(1, minutes))

    def _hot_time(self) -> tuple[datetime, timedelta]:
        """Return the next time that everybody wants, and how long the slot is."""
        length = 6 * self._grid
        return self._ahead(length, 1), length

    def _ahead(self, grid: timedelta, steps: int) -> datetime:
        """Return the next time on the grid, or one that is some steps later."""
        step = grid // timedelta(microseconds=1)
        return from_us((to_us(self._engine.now(), "now") // step + steps) * step)
