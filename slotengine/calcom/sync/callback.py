"""Confirms a hold through the callback that books it at the remote, while the caller waits.

The callback is awaited first, and the hold is confirmed here afterwards.  The
hold must not end meanwhile, so in its last minute it is booked here in advance.
If the callback fails then, the booking is cancelled.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import anyio

from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.calcom.sync.values import OnConfirm
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import SECOND, to_us
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation
from slotengine.errors import Refused

_BOOKED_BEFORE: Final = 60 * SECOND
"""How long before its end a hold is booked here if the callback is still running."""


class Callback:
    """Calls the callbacks of strict event types."""

    def __init__(
        self,
        engine: SlotEngine,
        index: HoldIndex,
        requests: Requests,
        outbound: Outbound,
        *,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._index = index
        self._requests = requests
        self._outbound = outbound
        self._clock = clock

    async def book(self, tracked: TrackedHold, current: Reservation, version: int | None) -> None:
        """Book a hold at the remote, and then here; raise what the callback raises."""
        on_confirm = tracked.synced.on_confirm
        assert not isinstance(on_confirm, OnConfirm)
        assert current.until is not None
        if version is not None and current.version != version:
            return  # the engine will refuse it
        last_minute = to_us(current.until) - _BOOKED_BEFORE
        async with tracked.callback_lock:
            if last_minute <= self._outbound.now():
                self._book_in_advance(tracked.uid)
            keeper = asyncio.create_task(self._book_in_last_minute(tracked.uid, last_minute))
            try:
                await on_confirm(current, tracked.remote_uid)
            except Exception:
                self._not_booked(tracked)
                raise
            else:
                self._booked(tracked)
            finally:
                keeper.cancel()
                self._outbound.enqueue(tracked)

    async def _book_in_last_minute(self, uid: str, last_minute: int) -> None:
        await self._clock.wait(anyio.Event(), last_minute)
        self._book_in_advance(uid)

    def _book_in_advance(self, uid: str) -> None:
        """Book a hold here that ends soon, while the callback is still running."""
        with suppress(Refused), self._engine.out_of_turn():
            self._engine.confirm_nowait(uid, if_still_free=True, enforce=False)

    def _booked(self, tracked: TrackedHold) -> None:
        """Book here what the callback has booked at the remote; the caller may have left."""
        self._index.now_booked(tracked)
        try:
            with self._engine.out_of_turn():  # the remote has decided
                self._engine.confirm_nowait(tracked.uid, if_still_free=True, enforce=False)
        except Refused as refused:
            self._requests.diverge(tracked, f"it is booked at the remote, but not here: {refused}")

    def _not_booked(self, tracked: TrackedHold) -> None:
        """Cancel what was booked in advance; the hold would have ended by now, or nearly."""
        current = self._engine.get_nowait(tracked.uid)
        if current is not None and current.state is State.CONFIRMED:
            with suppress(Refused):
                self._engine.cancel_nowait(tracked.uid)
