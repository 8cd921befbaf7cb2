"""Confirms a hold of a strict event type, while the caller waits.

The remote is asked first.  If a callback is to book the slot there, it is
awaited next, and the hold is confirmed here afterwards.  The hold must not end
meanwhile, so in its last minute it is confirmed in advance.  If the callback
fails then, the booking is cancelled.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import anyio

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.monitor import Monitor
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.remote_state import RemoteState
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import OnConfirm
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import SECOND, to_us
from slotengine.engine.values import Reservation
from slotengine.errors import Refused, UnknownReservation

_CONFIRMED_BEFORE: Final = 60 * SECOND
"""How long before its end a hold is confirmed here if the callback is still running."""


class Confirmer:
    """Confirms holds of strict event types."""

    def __init__(
        self, env: Environment, index: HoldIndex, outbound: Outbound, monitor: Monitor
    ) -> None:
        self._env = env
        self._engine = env.engine
        self._index = index
        self._outbound = outbound
        self._monitor = monitor

    async def confirm(self, tracked: TrackedHold, version: int | None) -> Reservation:
        """Confirm a hold once the remote has said that it holds the slot; see `CalComSync`."""
        async with self._outbound.exclusive(tracked):
            current = await self._engine.get(tracked.uid)
            if current is not None and current.state is State.HELD:
                await self._check_held(tracked)
                if not isinstance(tracked.synced.on_confirm, OnConfirm):
                    booking = self._book(tracked, current, version)
                    await self._outbound.run_shielded(booking)
                    version = None  # it was checked before the callback
            elif is_live(current) and await self._is_kept(tracked):
                await self._check_held(tracked)
            confirmed = await self._engine.confirm(tracked.uid, version=version)
        self._outbound.enqueue(tracked)
        return confirmed

    async def _check_held(self, tracked: TrackedHold) -> None:
        """Raise unless the remote says that it holds the slot; revoke what it cannot hold."""
        problem = await self._outbound.look_up(tracked)
        if problem is not None:
            raise problem
        await self._outbound.settle_now(tracked)
        current, state = await self._engine.get(tracked.uid), tracked.observed.state
        rollback = self._outbound.rollback
        if current is None or not is_live(current):
            raise await rollback.error_for(tracked, "confirm")
        if state in {RemoteState.REFUSED, RemoteState.ABSENT}:
            raise await rollback.error_for(tracked, "confirm")
        if not tracked.held_at(span_of(current, tracked.synced)):
            raise await rollback.uncertain(tracked)

    async def _is_kept(self, tracked: TrackedHold) -> bool:
        """Return whether the remote is to keep its hold for a booking."""
        desired = await self._engine.run(lambda local: self._index.desired(tracked, local))
        return desired is not None and not desired.to_book

    # --- The callback ----------------------------------------------------------------------

    async def _book(self, tracked: TrackedHold, current: Reservation, version: int | None) -> None:
        """Book a hold at the remote, and then here; raise what the callback raises."""
        on_confirm = tracked.synced.on_confirm
        assert not isinstance(on_confirm, OnConfirm)
        assert current.until is not None
        if version is not None and current.version != version:
            return  # the engine will refuse it
        last_minute = to_us(current.until) - _CONFIRMED_BEFORE
        async with tracked.callback_lock:
            if last_minute <= self._env.now():
                await self._confirm_in_advance(tracked.uid)
            timer = asyncio.create_task(self._confirm_in_last_minute(tracked.uid, last_minute))
            try:
                await on_confirm(current, tracked.remote_uid)
            except Exception:
                await self._not_booked(tracked)
                raise
            else:
                await self._booked(tracked)
            finally:
                timer.cancel()
                self._outbound.enqueue(tracked)

    async def _confirm_in_last_minute(self, uid: str, last_minute: int) -> None:
        await self._env.clock.wait(anyio.Event(), last_minute)
        await self._confirm_in_advance(uid)

    async def _confirm_in_advance(self, uid: str) -> None:
        """Confirm a hold that ends soon, while the callback is still running."""
        with suppress(Refused):
            await self._engine.confirm(uid, if_still_free=True, enforce=False, jump=True)

    async def _booked(self, tracked: TrackedHold) -> None:
        """Confirm what the callback has booked at the remote, even if its caller is gone."""
        self._index.record_booked(tracked)
        try:
            # The remote has decided, so it comes before all callers that wait.
            await self._engine.confirm(tracked.uid, if_still_free=True, enforce=False, jump=True)
        except Refused as refused:
            self._monitor.diverged(tracked, f"it is booked at the remote, but not here: {refused}")

    async def _not_booked(self, tracked: TrackedHold) -> None:
        """Cancel a booking made in advance: as a hold it would have ended, or would end soon."""
        with suppress(Refused, UnknownReservation):  # it may be a hold still, or have ended
            await self._engine.cancel(tracked.uid)
