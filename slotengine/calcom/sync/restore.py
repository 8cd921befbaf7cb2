"""Continues from the state that an earlier sync has saved.

The saved state of a hold is taken as it is, but a request that was in flight
may have been carried out.  If nothing was saved of a live reservation, the
remote may have an orphaned hold for it.  Until that has ended, a refusal may be
due to it.
"""

from __future__ import annotations

from typing import Final

from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.orphans import SLACK, Orphan
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import PRESENT, RemoteState
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import SavedHold, SavedOrphan, SavedState, Synced
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import MINUTE, duration_us, to_us
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Reservation

# A request that was in flight may have been carried out.
_AFTER_A_CRASH: Final = {
    RemoteState.MOVING: RemoteState.MOVE_UNKNOWN,
    RemoteState.DELETING: RemoteState.DELETE_UNKNOWN,
}


class Restorer:
    """Fills the index from a saved state, and makes a saved state from the index."""

    def __init__(self, index: HoldIndex) -> None:
        self._index = index

    def restore(self, saved: SavedState, local: LocalEngine) -> None:
        """Track the saved holds, and all other live reservations of the engine."""
        for orphan in saved.orphans:
            span = RemoteSpan(orphan.remote_id, orphan.start, orphan.end)
            self._index.orphans.add(Orphan(span, orphan.until))
        by_remote_id = {one.remote_id: one for one in self._index.synced.values()}
        for hold in saved.holds:
            synced = by_remote_id.get(hold.remote_id)
            if synced is not None and not hold.over:
                self._restore_hold(hold, synced, local)
        for reservation in self._index.live_reservations(local):
            if reservation.uid not in self._index.by_uid:
                synced = self._index.synced[reservation.event_type or ""]
                self._track_unsaved(self._index.track(reservation, synced), reservation)
        for tracked in self._index.by_uid.values():
            tracked.promised = True

    def saved(self) -> SavedState:
        """Return the state to save, without the idempotency keys."""
        return SavedState(
            tuple(tracked.saved() for tracked in self._index.by_uid.values()),
            tuple(SavedOrphan(*one.span, one.until) for one in self._index.orphans.live(0)),
        )

    def _restore_hold(self, hold: SavedHold, synced: Synced, local: LocalEngine) -> None:
        tracked = TrackedHold(hold.uid, synced, booked=hold.booked)
        observed, state = tracked.observed, RemoteState(hold.remote_state)
        reservation = local.get(hold.uid)
        span = RemoteSpan(hold.remote_id, hold.start, hold.end)
        if hold.remote_uid is not None and state in PRESENT:
            observed.state = _AFTER_A_CRASH.get(state, state)
            observed.span = span
            self._index.set_lifetime(tracked, hold.covered_until, hold.gone_after)
            tracked.remote_uid = hold.remote_uid
        elif state in {RemoteState.CREATING, RemoteState.CREATE_UNKNOWN}:
            observed.restored = True
            until = self._index.now() + synced.max_ttl_us + SLACK
            self._index.add_orphan(Orphan(span, until))
        if not is_live(reservation) and tracked.remote_uid is None:
            return
        self._index.adopt(tracked)

    def _track_unsaved(self, tracked: TrackedHold, reservation: Reservation) -> None:
        """Expect an orphaned hold at the remote, because nothing was saved of the reservation."""
        tracked.observed.restored = True
        synced = tracked.synced
        until = self._index.now() + synced.max_ttl_us
        held_until = reservation.until if reservation.state is State.HELD else None
        if synced.custom_ttl and held_until is not None:
            headroom = duration_us(synced.headroom, "headroom")
            until = min(until, to_us(held_until) + headroom + MINUTE)
        self._index.add_orphan(Orphan(span_of(reservation, synced), until + SLACK))
