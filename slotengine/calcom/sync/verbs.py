"""What the verbs of a sync do on both sides, and when their callers get a result.

Each verb is carried out by the engine first.  In strict mode the caller gets
the result once the remote has accepted it; if the remote does not, the change
is undone here and an error is raised.  In background mode the caller gets the
result immediately.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from typing import Final

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.errors import SyncOverloaded
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import Synced
from slotengine.core.time.instant import to_us
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Reservation
from slotengine.errors import Refused, WrongState

_KEYS_KEPT: Final = 10_000


class IdempotencyKeys:
    """How many attempts with each key were given back; a retry must not find those again."""

    def __init__(self, given_back: tuple[tuple[str, int], ...]) -> None:
        self._given_back = OrderedDict(given_back)

    def for_engine(self, key: str) -> str:
        """Return a key for the engine, unlike those of attempts that were given back."""
        return f"{self._given_back.get(key, 0)}:{key}"

    def give_back(self, key: str) -> None:
        """Count an attempt that was given back."""
        self._given_back[key] = self._given_back.pop(key, 0) + 1
        if len(self._given_back) > _KEYS_KEPT:
            self._given_back.popitem(last=False)

    def saved(self) -> tuple[tuple[str, int], ...]:
        """Return what to save for a restart."""
        return tuple(self._given_back.items())


class Verbs:
    """The verbs that need more than one step."""

    def __init__(
        self, env: Environment, index: HoldIndex, outbound: Outbound, keys: IdempotencyKeys
    ) -> None:
        self._env = env
        self._engine = env.engine
        self._index = index
        self._outbound = outbound
        self._keys = keys

    # --- Reserve ---------------------------------------------------------------------------

    async def reserve(
        self,
        synced: Synced,
        hold: Callable[[LocalEngine, str | None], Reservation],
        key: str | None,
    ) -> Reservation:
        """Hold a slot; ``hold(local, key)`` makes the hold on the engine."""
        if not synced.strict:
            self._outbound.check_backlog()
        reservation, awaited = await self._engine.run(
            lambda local: self._hold(synced, hold, key, local)
        )
        return reservation if awaited is None else await self._accepted(awaited, key)

    def _hold(
        self,
        synced: Synced,
        hold: Callable[[LocalEngine, str | None], Reservation],
        key: str | None,
        local: LocalEngine,
    ) -> tuple[Reservation, TrackedHold | None]:
        """Hold a slot here and track it, in one step: before its event is told to anybody.

        Also return what is tracked if the remote has to accept it before the caller gets it.
        """
        reservation = hold(local, None if key is None else self._keys.for_engine(key))
        if not is_live(reservation):
            # The key's hold has ended, or a sync before a crash has given it back.
            raise WrongState(reservation.uid, reservation.state.value, "reserve")
        tracked = self._index.track(reservation, synced)
        if not tracked.promised and not tracked.waiters:
            self._admit(tracked, key, local)
        if synced.strict and not tracked.promised:
            tracked.waiters += 1
            return reservation, tracked
        tracked.promised = True
        self._outbound.enqueue(tracked)
        return reservation, None

    def _admit(self, tracked: TrackedHold, key: str | None, local: LocalEngine) -> None:
        try:
            self._outbound.renewals.admit(tracked, local)
        except SyncOverloaded:
            self._give_back(tracked, key, local)
            raise

    async def _accepted(self, tracked: TrackedHold, key: str | None) -> Reservation:
        """Return the hold once the remote has accepted it, or give it back."""
        current: Reservation | None = None
        try:
            await self._outbound.settle_now(tracked)
            current = await self._engine.get(tracked.uid)
            if current is not None and is_live(current):
                tracked.promised |= tracked.held_at(span_of(current, tracked.synced))
        finally:
            tracked.waiters -= 1
            if not tracked.promised and not tracked.waiters:
                give_back = self._engine.run(lambda local: self._give_back(tracked, key, local))
                await self._outbound.run_shielded(give_back)
        if not tracked.promised:
            raise await self._outbound.rollback.error_for(tracked, "reserve")
        assert current is not None
        return current

    def _give_back(self, tracked: TrackedHold, key: str | None, local: LocalEngine) -> None:
        """Release, on both sides, a hold that no caller was given, unless there is one by now."""
        if tracked.promised or tracked.waiters:
            return
        with suppress(Refused):
            local.release(tracked.uid)
        if key is not None:
            self._keys.give_back(key)
        self._outbound.enqueue(tracked)

    # --- Extend ----------------------------------------------------------------------------

    async def extend(
        self, tracked: TrackedHold, ttl: timedelta | None, version: int | None
    ) -> Reservation:
        """Let a hold of a strict event type live longer on both sides."""
        uid = tracked.uid
        async with self._outbound.exclusive(tracked):
            before, extended = await self._engine.run(
                lambda local: (local.get(uid), local.extend(uid, ttl=ttl, version=version))
            )
            assert before is not None
            assert before.until is not None
            assert extended.until is not None
            until, now = to_us(extended.until), self._env.now()
            observed = tracked.observed
            if observed.covered_until < until <= now + tracked.synced.max_ttl_us:
                observed.urgent = True
                await self._outbound.settle_now(tracked)
                observed.urgent = False
                if observed.covered_until < until:
                    await self._shorten(uid, before.until)
                    raise await self._outbound.rollback.error_for(tracked, "extend")
        return await self._engine.get(uid) or extended

    async def _shorten(self, uid: str, until: datetime) -> None:
        """Let a hold end when it would have ended before it was extended."""
        left = max(until - self._engine.now(), self._engine.ttl_bounds[0])
        with suppress(Refused):
            await self._engine.extend(uid, ttl=left)

    # --- Move ------------------------------------------------------------------------------

    async def is_strict_move(self, uid: str, event_type: str | None) -> bool:
        """Return whether the remote must accept a move before the caller gets the result."""
        current = await self._engine.get(uid)
        if current is None:
            return False  # the engine will refuse the move
        synced = self._index.synced.get(event_type or current.event_type or "")
        if synced is None:  # the remote should release the hold
            tracked = self._index.by_uid.get(uid)
            return tracked is not None and tracked.synced.strict
        return synced.strict

    async def move(self, uid: str, move: Callable[[LocalEngine], Reservation]) -> Reservation:
        """Move a reservation on both sides in strict mode; ``move`` does so here."""
        tracked = self._index.by_uid.get(uid)
        async with nullcontext() if tracked is None else self._outbound.exclusive(tracked):
            if tracked is not None and tracked.origin is not None:
                # The caller of an earlier move was cancelled: finish that move.
                await self._outbound.settle_now(tracked)
            moved, following = await self._engine.run(
                lambda local: self._move(uid, move, tracked, local)
            )
            if following is not None:
                await self._move_there(following, moved)
        return await self._engine.get(uid) or moved

    def _move(
        self,
        uid: str,
        move: Callable[[LocalEngine], Reservation],
        tracked: TrackedHold | None,
        local: LocalEngine,
    ) -> tuple[Reservation, TrackedHold | None]:
        """Move a reservation here, in one step; return what is to be moved at the remote, too."""
        before = local.get(uid)
        moved = move(local)
        assert before is not None
        if _slot_of(before) == _slot_of(moved):
            return moved, None
        tracked = tracked or self._start_tracking(moved)
        self._outbound.rollback.begin_move(tracked, before, moved, local)
        return moved, tracked

    def _start_tracking(self, moved: Reservation) -> TrackedHold:
        tracked = self._index.track(moved, self._index.synced[moved.event_type or ""])
        tracked.promised = True
        return tracked

    async def _move_there(self, tracked: TrackedHold, moved: Reservation) -> None:
        await self._outbound.settle_now(tracked)
        current = await self._engine.get(tracked.uid)
        if current is None or not is_live(current) or _slot_of(current) != _slot_of(moved):
            raise await self._outbound.rollback.error_for(tracked, "move")

    # --- Release and cancel ----------------------------------------------------------------

    async def propagate_end(self, ended: Reservation) -> Reservation:
        """Tell the remote that a reservation has ended here; in strict mode, wait for that."""
        tracked = self._index.by_uid.get(ended.uid)
        if tracked is not None:
            if tracked.synced.strict:
                await self._outbound.settle_now(tracked)
            else:
                self._outbound.enqueue(tracked)
        return ended


def _slot_of(one: Reservation) -> tuple[datetime, datetime, str | None]:
    return one.start, one.end, one.event_type
