"""What changes do to the state: `apply`, and a function for each kind of change.

Nothing here decides or refuses.  A change was decided before: just now (`decide`), or by the
ledger whose changes are replayed; those of the latter were checked (`replay`).
Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from slotengine.core.ledger.changes import (
    Annotated,
    Answered,
    BusyImported,
    Cancelled,
    ClientDropped,
    Confirmed,
    Expired,
    Extended,
    Forgotten,
    Granted,
    KeyKept,
    LapsesKept,
    Moved,
    Reinstated,
    Released,
    Requested,
    ReservationKept,
    Reserved,
    SessionKept,
    SnapshotBegun,
)
from slotengine.core.ledger.config import Configured
from slotengine.core.ledger.expiry import life_left
from slotengine.core.ledger.extra import NOTHING
from slotengine.core.ledger.keys import KeyUse
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    CONFIRMED,
    ENDED,
    EXPIRED,
    HELD,
    NEXT,
    REQUESTED,
    Placement,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Change
    from slotengine.core.ledger.reservation import Entry
    from slotengine.core.ledger.state import LedgerState


def apply(state: LedgerState, change: Change) -> None:
    """Do what was decided, just now or when the change was recorded.  Nobody is told.

    Applying all changes of a ledger, in order, to an empty state makes it the same.
    """
    state.seq = change.seq
    if change.at > state.now:
        state.now = change.at
    APPLY[change.__class__](state, change)


def apply_reserved(state: LedgerState, change: Reserved) -> None:
    quota, key = change.quota, change.key
    if quota is not None and quota.counts:
        state.count_holders()
    entry = state.made_by(change)
    state.add(entry)
    state.occupancy.put(entry)
    state.serial = entry.serial
    if state.holders is not None:
        state.holders.add(entry)
    _queue(state, entry)
    if key is not None:
        _use_key(state, entry, change)
    if state.index is not None:
        state.index.update(entry)


def apply_requested(state: LedgerState, change: Requested) -> None:
    entry = state.made_by(change)
    entry.state = REQUESTED
    state.add(entry)
    state.wanted[entry.uid] = change.wanted
    state.serial = entry.serial
    if change.key is not None:
        _use_key(state, entry, change)
    if state.index is not None:
        state.index.update(entry)


def apply_granted(state: LedgerState, change: Granted) -> None:
    entry = state.entries[change.uid]
    del state.wanted[change.uid]
    granted = Placement.of(entry)._replace(claims=change.claims, seats=change.seats)
    state.slot_into(entry, granted)
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put(entry)
    _book(state, entry)
    _changed(state, entry, change.version)


def apply_extended(state: LedgerState, change: Extended) -> None:
    entry = state.entries[change.uid]
    _requeue(state, entry, change.until)
    _changed(state, entry, change.version)


def apply_moved(state: LedgerState, change: Moved) -> None:
    entry = state.entries[change.uid]
    if change.wanted is not None:
        state.wanted[change.uid] = change.wanted
        state.slot_into(entry, change)
        _changed(state, entry, change.version)
        return
    state.occupancy.unplace(entry)
    state.slot_into(entry, change)
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put(entry)
    if change.until != entry.until:
        _requeue(state, entry, change.until)
    if state.holders is not None:
        state.holders.resized(entry)
    _changed(state, entry, change.version)


def apply_confirmed(state: LedgerState, change: Confirmed) -> None:
    entry = state.entries[change.uid]
    if state.holders is not None:
        state.holders.kept(entry, state.now)
    state.queue.drop(entry)
    _book(state, entry)
    _changed(state, entry, change.version)


def apply_reinstated(state: LedgerState, change: Reinstated) -> None:
    entry = state.entries[change.uid]
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put_back(entry)
    if state.holders is not None:
        state.holders.kept(entry, state.now)
    state.superseded[entry] += 1
    _book(state, entry)
    _changed(state, entry, change.version)


def apply_ended(state: LedgerState, change: Released | Cancelled) -> None:
    entry = state.entries[change.uid]
    if entry.state is REQUESTED:
        del state.wanted[change.uid]
    else:
        _leave(state, entry)
    entry.state = NEXT[entry.state][change.verb]
    entry.until = state.now
    if change.replaced_by is not None:
        entry.extra = (entry.extra or NOTHING)._replace(replaced_by=change.replaced_by)
    state.ended.append(entry)
    if state.now + state.retention < state.maintenance_due:
        state.maintenance_due = state.now + state.retention
    _changed(state, entry, change.version)


def apply_expired(state: LedgerState, change: Expired) -> None:
    entry = state.entries[change.uid]
    state.queue.drop(entry)
    mark_expired(state, entry, change.version)


def mark_expired(state: LedgerState, entry: Entry, version: int) -> None:
    """Let a hold that has lapsed, and is not queued any more, be expired."""
    if state.holders is not None:
        state.holders.lapsed(entry, state.queue.due)
    state.occupancy.unplace(entry)
    entry.state = EXPIRED
    state.expired += 1
    state.ended.append(entry)  # maintenance is due since it lapsed, or earlier
    _changed(state, entry, version)


def apply_annotated(state: LedgerState, change: Annotated) -> None:
    entry = state.entries[change.uid]
    entry.extra = change.extra
    _changed(state, entry, change.version)


def apply_configured(state: LedgerState, change: Configured) -> None:
    state.configuration.apply(change)


def apply_forgotten(state: LedgerState, change: Forgotten) -> None:
    state.forgotten_before = max(state.forgotten_before, change.before)
    for uid in change.uids:
        entry = state.entries[uid]
        state.occupancy.unplace(entry)
        state.confirmed -= 1
        state.forget(entry)


def apply_busy_imported(state: LedgerState, change: BusyImported) -> None:
    state.occupancy.replace_busy(change.source, dict(change.spans))


def apply_answered(state: LedgerState, change: Answered) -> None:
    state.clients.record(change.command_id, change.outcome, change.at)
    state.maintenance_due = min(state.maintenance_due, state.clients.due)


def apply_client_dropped(state: LedgerState, change: ClientDropped) -> None:
    state.clients.drop(change.session)


# --- In a snapshot ---------------------------------------------------------------------------


def apply_snapshot_begun(state: LedgerState, change: SnapshotBegun) -> None:
    state.serial = change.serial
    state.expired = change.expired
    state.forgotten_before = change.forgotten_before


def apply_session_kept(state: LedgerState, change: SessionKept) -> None:
    key = change.event_type, change.start
    state.occupancy.open(key, change.end, change.claims, change.created, change.uid)


def apply_reservation_kept(state: LedgerState, change: ReservationKept) -> None:
    if change.quota is not None and change.quota.counts:
        state.count_holders()
    entry = state.made_by(change)
    state.add(entry)
    if change.state in ENDED:
        state.ended.append(entry)
        state.maintenance_due = min(state.maintenance_due, entry.until + state.retention)
    elif change.state is REQUESTED:
        assert change.wanted is not None
        state.wanted[entry.uid] = change.wanted
    else:
        state.occupancy.put(entry)
        if change.state is HELD:
            if state.holders is not None:
                state.holders.add(entry)
            _queue(state, entry)
        else:
            state.confirmed += 1
    entry.state, entry.version, entry.changed = change.state, change.version, change.changed
    if state.index is not None:
        state.index.update(entry)


def apply_key_kept(state: LedgerState, change: KeyKept) -> None:
    use = KeyUse(change.digest, change.uid, change.made)
    entry = state.entries.get(change.uid)
    if entry is not None and entry.created == change.made:
        entry.key = change.key
        state.keys.add(change.key, use)
    else:
        state.keys.spend(change.key, use)
        state.maintenance_due = min(state.maintenance_due, state.keys.due)


def apply_lapses_kept(state: LedgerState, change: LapsesKept) -> None:
    assert state.holders is not None
    state.holders.restore(change)


# --- Parts -----------------------------------------------------------------------------------


def _changed(state: LedgerState, entry: Entry, version: int) -> None:
    """Note the version and the time of a change, and let the reservation be found by both."""
    entry.version = version
    entry.changed = state.now
    if state.index is not None:
        state.index.update(entry)


def _leave(state: LedgerState, entry: Entry) -> None:
    """Let a hold or a booking, which ends, stand nowhere."""
    if entry.state is HELD:
        state.queue.drop(entry)
    else:
        state.confirmed -= 1
    if state.holders is not None:
        state.holders.remove(entry)
    state.occupancy.unplace(entry)


def _use_key(state: LedgerState, entry: Entry, change: Reserved | Requested) -> None:
    """Note what the key of a change was used for."""
    key = change.key
    assert key is not None
    assert change.digest is not None
    used_for = state.made_with(key)
    if used_for is not None:  # as good as forgotten
        used_for.key = None
    entry.key = key
    state.keys.add(key, KeyUse(change.digest, entry.uid, entry.created))


def _book(state: LedgerState, entry: Entry) -> None:
    entry.state = CONFIRMED
    entry.until = BOOKED_UNTIL
    state.confirmed += 1


def _queue(state: LedgerState, entry: Entry) -> None:
    state.queue.push(entry, life_left(state.now, entry.until))
    if entry.until < state.maintenance_due:
        state.maintenance_due = entry.until


def _requeue(state: LedgerState, entry: Entry, until: int) -> None:
    state.queue.drop(entry)
    entry.until = until
    _queue(state, entry)


APPLY: Final[Mapping[type, Callable[[LedgerState, Any], None]]] = {
    Reserved: apply_reserved,
    Requested: apply_requested,
    Granted: apply_granted,
    Extended: apply_extended,
    Moved: apply_moved,
    Confirmed: apply_confirmed,
    Reinstated: apply_reinstated,
    Released: apply_ended,
    Cancelled: apply_ended,
    Expired: apply_expired,
    Annotated: apply_annotated,
    Configured: apply_configured,
    Forgotten: apply_forgotten,
    BusyImported: apply_busy_imported,
    Answered: apply_answered,
    ClientDropped: apply_client_dropped,
    SnapshotBegun: apply_snapshot_begun,
    SessionKept: apply_session_kept,
    ReservationKept: apply_reservation_kept,
    KeyKept: apply_key_kept,
    LapsesKept: apply_lapses_kept,
}
"""What carries out a change of each kind."""
