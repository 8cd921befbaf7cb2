"""Continues after a restart, and says what to keep for the next one.

What was kept of a reservation is taken as it is, except that a request that was
in flight may have been carried out.  Nothing is known of a reservation that was
not kept: the remote may have an orphaned hold for it, whose uid is lost and
whose end is waited for.
"""

from __future__ import annotations

from typing import Final

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.orphans import SLACK, Orphan
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import PRESENT, RemoteState
from slotengine.calcom.sync.tracked_hold import TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import SavedHold, SavedOrphan, SavedState, Synced
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import MINUTE, duration_us, to_us
from slotengine.engine.values import Reservation

# A request that was in flight may have been carried out.
_AFTER_A_CRASH: Final = {
    RemoteState.MOVING: RemoteState.MOVE_UNKNOWN,
    RemoteState.DELETING: RemoteState.DELETE_UNKNOWN,
}


class Restorer:
    """Fills the index of a sync that begins, and reads from it what to keep."""

    def __init__(self, env: Environment, index: HoldIndex) -> None:
        self._engine = env.engine
        self._index = index

    def restore(self, saved: SavedState) -> None:
        """Track what was kept, and whatever else is live here."""
        for orphan in saved.orphans:
            span = RemoteSpan(orphan.remote_id, orphan.start, orphan.end)
            self._index.orphans.add(Orphan(span, orphan.until))
        by_remote_id = {one.remote_id: one for one in self._index.synced.values()}
        for kept in saved.holds:
            synced = by_remote_id.get(kept.remote_id)
            if synced is not None and not kept.over:
                self._restore_hold(kept, synced)
        for reservation in self._index.live_reservations():
            if reservation.uid not in self._index.by_uid:
                synced = self._index.synced[reservation.event_type or ""]
                self._track_unsaved(self._index.track(reservation, synced), reservation)
        for tracked in self._index.by_uid.values():
            tracked.promised = True

    def saved(self) -> SavedState:
        """Return what to keep."""
        return SavedState(
            tuple(tracked.saved() for tracked in self._index.by_uid.values()),
            tuple(SavedOrphan(*one.span, one.until) for one in self._index.orphans.live(0)),
        )

    def _restore_hold(self, kept: SavedHold, synced: Synced) -> None:
        tracked = TrackedHold(kept.uid, synced, booked=kept.booked)
        observed, state = tracked.observed, RemoteState(kept.remote_state)
        reservation = self._engine.get_nowait(kept.uid)
        span = RemoteSpan(kept.remote_id, kept.start, kept.end)
        if kept.remote_uid is not None and state in PRESENT:
            observed.state = _AFTER_A_CRASH.get(state, state)
            observed.span = span
            self._index.set_lifetime(tracked, kept.covered_until, kept.gone_after)
            tracked.remote_uid = kept.remote_uid
        elif state in {RemoteState.CREATING, RemoteState.CREATE_UNKNOWN}:
            observed.restored = True
            until = self._index.now() + synced.max_ttl_us + SLACK
            self._index.add_orphan(Orphan(span, until))
        if not is_live(reservation) and tracked.remote_uid is None:
            return
        self._index.adopt(tracked)

    def _track_unsaved(self, tracked: TrackedHold, reservation: Reservation) -> None:
        """Take into account a hold at the remote that is ours, and whose uid was not kept."""
        tracked.observed.restored = True
        synced = tracked.synced
        until = self._index.now() + synced.max_ttl_us
        held_until = reservation.until if reservation.state is State.HELD else None
        if synced.custom_ttl and held_until is not None:
            headroom = duration_us(synced.headroom, "headroom")
            until = min(until, to_us(held_until) + headroom + MINUTE)
        self._index.add_orphan(Orphan(span_of(reservation, synced), until + SLACK))
