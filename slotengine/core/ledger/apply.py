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
    ENDED,
    HELD,
    NUMBER_OF,
    REQUESTED,
    STATES,
    Placement,
    State,
)
from slotengine.core.ledger.store import (
    CHANGED,
    DEMAND,
    MORE,
    NEXT_VERSION,
    PLACED,
    STATE,
    UNTIL,
    VERSION,
    WORD,
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
    entry = state.add(change)
    state.occupancy.put(entry)
    state.serial = change.serial
    if state.holders is not None:
        state.holders.add(entry)
    _queue(state, entry.number, change.until)
    if key is not None:
        _use_key(state, entry, change)
    if state.index is not None:
        state.index.update(entry)


def apply_requested(state: LedgerState, change: Requested) -> None:
    entry = state.add(change)
    entry.state = REQUESTED
    entry.wanted = change.wanted
    state.serial = change.serial
    if change.key is not None:
        _use_key(state, entry, change)
    if state.index is not None:
        state.index.update(entry)


def apply_granted(state: LedgerState, change: Granted) -> None:
    entry = state.entries[change.uid]
    entry.wanted = None
    granted = Placement.of(entry)._replace(claims=change.claims, seats=change.seats)
    state.slot_into(entry, granted)
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put(entry)
    _book(state, entry.number, change.version)


def apply_extended(state: LedgerState, change: Extended) -> None:
    row = state.rows.row_of[change.uid]
    _requeue(state, row, change.until)
    _changed(state, row, change.version)


def apply_moved(state: LedgerState, change: Moved) -> None:
    entry = state.entries[change.uid]
    if change.wanted is not None:
        entry.wanted = change.wanted
        state.slot_into(entry, change)
        _changed(state, entry.number, change.version)
        return
    state.occupancy.unplace(entry)
    state.slot_into(entry, change)
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put(entry)
    if change.until != entry.until:
        _requeue(state, entry.number, change.until)
    if state.holders is not None:
        state.holders.resized(entry)
    _changed(state, entry.number, change.version)


def apply_confirmed(state: LedgerState, change: Confirmed) -> None:
    row = state.rows.row_of[change.uid]
    if state.holders is not None:
        state.holders.kept(state.entries.at(row), state.now)
    state.queue.drop(row)
    _book(state, row, change.version)


def apply_reinstated(state: LedgerState, change: Reinstated) -> None:
    entry = state.entries[change.uid]
    entry.version = change.version  # it names the session that it may open
    state.occupancy.put(entry)
    if state.holders is not None:
        state.holders.kept(entry, state.now)
    state.superseded[entry.number] += 1
    _book(state, entry.number, change.version)


def apply_ended(state: LedgerState, change: Released | Cancelled) -> None:
    numbers, now = state.rows.numbers, state.now
    row = state.rows.row_of[change.uid]
    before = STATES[numbers[row + WORD] & STATE]
    if before is REQUESTED:
        state.entries.at(row).wanted = None
    else:
        _leave(state, row, before)
    numbers[row + UNTIL] = now
    if change.replaced_by is not None:
        entry = state.entries.at(row)
        entry.extra = (entry.extra or NOTHING)._replace(replaced_by=change.replaced_by)
    state.ended.append(row)
    if now + state.retention < state.maintenance_due:
        state.maintenance_due = now + state.retention
    after = AFTER_RELEASE if change.__class__ is Released else AFTER_CANCEL
    _become(state, row, change.version, after)


def apply_expired(state: LedgerState, change: Expired) -> None:
    row = state.rows.row_of[change.uid]
    state.queue.drop(row)
    mark_expired(state, row, change.version)


def mark_expired(state: LedgerState, row: int, version: int) -> None:
    """Let a hold that has lapsed, and is not queued any more, be expired."""
    if state.holders is not None:
        state.holders.lapsed(state.entries.at(row), state.queue.due)
    state.occupancy.unplace_row(row)
    state.expired += 1
    state.ended.append(row)  # maintenance is due since it lapsed, or earlier
    _become(state, row, version, AFTER_EXPIRY)


def apply_annotated(state: LedgerState, change: Annotated) -> None:
    entry = state.entries[change.uid]
    entry.extra = change.extra
    _changed(state, entry.number, change.version)


def apply_configured(state: LedgerState, change: Configured) -> None:
    state.configuration.apply(change)


def apply_forgotten(state: LedgerState, change: Forgotten) -> None:
    state.forgotten_before = max(state.forgotten_before, change.before)
    for uid in change.uids:
        entry = state.entries[uid]
        state.occupancy.unplace(entry)
        state.confirmed -= 1
        state.forget(entry.number)


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
    entry = state.add(change)
    if change.state in ENDED:
        state.ended.append(entry.number)
        state.maintenance_due = min(state.maintenance_due, change.until + state.retention)
    elif change.state is REQUESTED:
        entry.wanted = change.wanted
    else:
        state.occupancy.put(entry)
        if change.state is HELD:
            if state.holders is not None:
                state.holders.add(entry)
            _queue(state, entry.number, change.until)
        else:
            state.confirmed += 1
    entry.state, entry.version, entry.changed = change.state, change.version, change.changed
    entry.key = change.key
    if state.index is not None:
        state.index.update(entry)


def apply_key_kept(state: LedgerState, change: KeyKept) -> None:
    use = KeyUse(change.digest, change.uid, change.made)
    entry = state.entries.get(change.uid)
    if entry is not None and entry.key == change.key:
        state.keys.add(change.key, use)
    else:
        state.keys.spend(change.key, use)
        state.maintenance_due = min(state.maintenance_due, state.keys.due)


def apply_lapses_kept(state: LedgerState, change: LapsesKept) -> None:
    if state.holders is not None and state.holders.counts_lapses():  # as the terms are now
        state.holders.restore(change)


# --- Parts -----------------------------------------------------------------------------------


def _changed(state: LedgerState, row: int, version: int) -> None:
    """Note the version and the time of a change, and let the reservation be found by both."""
    numbers = state.rows.numbers
    numbers[row + WORD] = version << VERSION | numbers[row + WORD] & (NEXT_VERSION - 1)
    numbers[row + CHANGED] = state.now
    if state.index is not None:
        state.index.update(state.entries.at(row))


def _become(state: LedgerState, row: int, version: int, after: int) -> None:
    """Do as `_changed`, of a change after which a reservation is in another state."""
    numbers = state.rows.numbers
    numbers[row + WORD] = version << VERSION | numbers[row + WORD] & (MORE | DEMAND) | after
    numbers[row + CHANGED] = state.now
    if state.index is not None:
        state.index.update(state.entries.at(row))


def _leave(state: LedgerState, row: int, before: State) -> None:
    """Let a hold or a booking, which ends, stand nowhere."""
    if before is HELD:
        state.queue.drop(row)
    else:
        state.confirmed -= 1
    if state.holders is not None:
        state.holders.remove(state.entries.at(row))
    state.occupancy.unplace_row(row)


def _use_key(state: LedgerState, entry: Entry, change: Reserved | Requested) -> None:
    """Note what the key of a change was used for."""
    key = change.key
    assert key is not None
    assert change.digest is not None
    used_for = state.made_with(key)
    if used_for is not None:  # as good as forgotten
        used_for.key = None
    entry.key = key
    state.keys.add(key, KeyUse(change.digest, change.uid, change.at))


def _book(state: LedgerState, row: int, version: int) -> None:
    state.rows.numbers[row + UNTIL] = BOOKED_UNTIL
    state.confirmed += 1
    _become(state, row, version, AFTER_CONFIRM)


def _queue(state: LedgerState, row: int, until: int) -> None:
    state.queue.push(row, until, life_left(state.now, until))
    if until < state.maintenance_due:
        state.maintenance_due = until


def _requeue(state: LedgerState, row: int, until: int) -> None:
    state.queue.drop(row)
    state.rows.numbers[row + UNTIL] = until
    _queue(state, row, until)


# The lower bits of the word of a row (`store`) after changes of the state.
AFTER_CONFIRM: Final = NUMBER_OF[State.CONFIRMED] | PLACED
AFTER_RELEASE: Final = NUMBER_OF[State.RELEASED]
AFTER_CANCEL: Final = NUMBER_OF[State.CANCELLED]
AFTER_EXPIRY: Final = NUMBER_OF[State.EXPIRED]

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
