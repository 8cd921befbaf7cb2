"""Taking changes back in that were recorded, such as those of a journal.

Nothing is decided again.  But what comes from outside is checked: each change has to follow
from the state as it is, or `ReplayError` says which one does not, and why.  So a missing change,
one that is there twice, or one of another ledger is found at once, and not by what it does later.
Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import (
    Annotated,
    Answered,
    BusyImported,
    Cancelled,
    Changes,
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
from slotengine.core.ledger.config import (
    Configured,
    Document,
    EventTypeConfig,
    Kind,
    LimitConfig,
    ResourceConfig,
    Setting,
    hours_in,
)
from slotengine.core.ledger.reservation import CONFIRMED, HELD, NEXT, REQUESTED, Placement
from slotengine.core.time.schedule_text import is_schedule_text
from slotengine.errors import ReplayError, SlotError

if TYPE_CHECKING:
    from slotengine.core.ledger.reservation import Claim, Entry
    from slotengine.core.ledger.state import LedgerState

_SNAPSHOT: Final = frozenset(
    {SessionKept, ReservationKept, KeyKept, LapsesKept, Configured, BusyImported, Answered}
)
"""What may follow the beginning of a snapshot, with its number."""

_VALUES: Final[Mapping[Kind, type]] = {
    Kind.SCHEDULE: str,
    Kind.RESOURCE: ResourceConfig,
    Kind.LIMIT: LimitConfig,
    Kind.EVENT_TYPE: EventTypeConfig,
    Kind.DOCUMENT: Document,
}


def replay(state: LedgerState, steps: Iterable[Changes]) -> None:
    """Carry out recorded changes again, step by step.  Nobody is told.

    A snapshot may come first, if nothing has happened to the state yet; it is one step.

    Raises `ReplayError` for a change that does not follow from the state.  Then those before it
    were carried out, and the state is of no use unless they end a step.
    """
    for changes in steps:
        if changes.__class__ is not tuple or not changes:
            problem = f"a step must be a tuple of changes, not {changes!r:.99}"
            raise ReplayError(state.seq + 1, problem)
        in_snapshot = changes[0].__class__ is SnapshotBegun
        for change in changes:
            _check(state, change, in_snapshot=in_snapshot)
            apply(state, change)


def _check(state: LedgerState, change: Any, *, in_snapshot: bool) -> None:
    """Raise unless a change can follow."""
    kind = change.__class__
    check = CHECKS.get(kind)
    if check is None:
        raise ReplayError(state.seq + 1, f"no change: {change!r:.99}")
    seq = change.seq
    if not in_snapshot:
        if seq != state.seq + 1:
            raise ReplayError(seq, f"the change after {state.seq} must come next")
        if change.at < state.now:
            raise ReplayError(seq, "was made before the change that comes before it")
    elif kind is not SnapshotBegun and (kind not in _SNAPSHOT or seq != state.seq):
        raise ReplayError(seq, f"is no part of a snapshot: {kind}")
    check(state, change)


def _check_begun(state: LedgerState, change: SnapshotBegun) -> None:
    _require(
        change.seq, state.seq == 0, "a snapshot is for an empty ledger, with nothing configured"
    )
    _require(change.seq, change.seq >= 0, "a snapshot must be of a number from 0")


def _check_nothing(state: LedgerState, change: object) -> None:
    """Let a change be that is right if its number and its time are."""


def _require(seq: int, holds: bool, problem: str) -> None:
    if not holds:
        raise ReplayError(seq, problem)


def _check_transition(state: LedgerState, change: Any) -> None:
    """Raise unless the reservation is there, in a state and a version that the change follows."""
    seq, uid = change.seq, change.uid
    entry = state.entries.get(uid)
    if entry is None:
        raise ReplayError(seq, f"there is no reservation {uid!r}")
    if change.verb not in NEXT[entry.state]:
        raise ReplayError(seq, f"{uid!r} is {entry.state.value}: {change.verb.value}")
    if change.version != entry.version + 1:
        raise ReplayError(
            seq, f"{uid!r} has version {entry.version}, which {change.version} does not follow"
        )


def _check_new(state: LedgerState, change: Reserved | Requested) -> None:
    seq = change.seq
    before = state.entries.get(change.uid)
    if before is not None:
        _check_is_gone(state, before, change)
    _require(seq, change.version == 1, "a new reservation has version 1")
    if change.serial <= state.serial:
        raise ReplayError(seq, f"serial numbers rise: {state.serial} was used before")
    _require(seq, change.key is None or change.digest is not None, "a key goes with its digest")


def _check_reserved(state: LedgerState, change: Reserved) -> None:
    _check_new(state, change)
    _check_slot(state, change)


def _check_requested(state: LedgerState, change: Requested) -> None:
    _check_new(state, change)
    _check_wanted(state, change)


def _check_wanted(state: LedgerState, change: Requested | Moved) -> None:
    seq, wanted = change.seq, change.wanted
    assert wanted is not None
    _require(seq, change.start < change.end, "a slot ends after its start")
    _require(seq, bool(change.claims or wanted.pools), "a slot takes something")
    _check_claims(state, seq, change.claims)
    for pool in wanted.pools:
        _check_claims(state, seq, pool.claims)


def _check_granted(state: LedgerState, change: Granted) -> None:
    _check_transition(state, change)
    entry = state.entries[change.uid]
    if entry.state is not REQUESTED:
        raise ReplayError(change.seq, f"{change.uid!r} was not requested")
    _require(change.seq, bool(change.claims), "a slot takes something")
    _check_claims(state, change.seq, change.claims)


def _check_confirmed(state: LedgerState, change: Confirmed) -> None:
    _check_transition(state, change)
    entry = state.entries[change.uid]
    if entry.state is not HELD:
        raise ReplayError(change.seq, f"{change.uid!r} is no hold")


def _check_is_gone(state: LedgerState, entry: Entry, change: Reserved | Requested) -> None:
    gone = entry.state is not HELD and entry.until + state.retention <= change.at
    if not gone:
        raise ReplayError(change.seq, f"there is a reservation {change.uid!r} already")


def _check_moved(state: LedgerState, change: Moved) -> None:
    _check_transition(state, change)
    entry = state.entries[change.uid]
    requested = entry.state is REQUESTED
    _require(change.seq, (change.wanted is not None) == requested, "only a request wants something")
    if requested:
        _check_wanted(state, change)
        return
    if entry.state is CONFIRMED:
        _require(change.seq, change.until == entry.until, "a booking does not lapse")
    _check_slot(state, change)


def _check_slot(state: LedgerState, change: Reserved | Moved | ReservationKept) -> None:
    seq, seats = change.seq, change.seats
    _require(seq, change.start < change.end, "a slot ends after its start")
    _require(seq, bool(change.claims), "a slot takes something")
    _check_claims(state, seq, change.claims)
    if seats is not None:
        _require(seq, change.event_type is not None, "a session is of an event type")
        _require(seq, seats.wanted >= 1, "a seat is taken at least")


def _check_claims(state: LedgerState, seq: int, claims: tuple[Claim, ...]) -> None:
    for claim in claims:
        known = claim.resource in state.resources or claim.resource in state.occupancy.limits
        if not known:
            raise ReplayError(seq, f"there is no resource {claim.resource!r}")
        if not (claim.start < claim.end and claim.units >= 1):
            raise ReplayError(seq, f"takes nothing: {claim}")


def _check_reinstated(state: LedgerState, change: Reinstated) -> None:
    _check_transition(state, change)
    _check_claims(state, change.seq, Placement.of(state.entries[change.uid]).claims)


def _check_expired(state: LedgerState, change: Expired) -> None:
    _check_transition(state, change)
    entry = state.entries[change.uid]
    if change.until != entry.until:
        raise ReplayError(change.seq, f"{change.uid!r} lapses at {entry.until}")
    if change.until > change.at:
        raise ReplayError(change.seq, f"{change.uid!r} has not lapsed")


def _check_forgotten(state: LedgerState, change: Forgotten) -> None:
    for uid in change.uids:
        entry = state.entries.get(uid)
        booked = entry is not None and entry.state is CONFIRMED
        if not booked:
            raise ReplayError(change.seq, f"there is no booking {uid!r}")
    _require(change.seq, len(set(change.uids)) == len(change.uids), "forgets a booking twice")


def _check_busy(state: LedgerState, change: BusyImported) -> None:
    try:
        same = state.occupancy.spans_to_import(change.source, change.spans) == change.spans
    except SlotError as error:
        raise ReplayError(change.seq, str(error)) from None
    _require(change.seq, same, "spans must be in order, and not touch")


def _check_dropped(state: LedgerState, change: ClientDropped) -> None:
    _require(change.seq, change.session in state.clients, "there is no such session of a client")


def _check_session_kept(state: LedgerState, change: SessionKept) -> None:
    key = change.event_type, change.start
    if key in state.occupancy.sessions:
        raise ReplayError(change.seq, f"there is a session {key} already")
    _check_claims(state, change.seq, change.claims)


def _check_reservation_kept(state: LedgerState, change: ReservationKept) -> None:
    seq = change.seq
    if change.uid in state.entries:
        raise ReplayError(seq, f"{change.uid!r} is there twice")
    _require(
        seq, (change.wanted is not None) == (change.state is REQUESTED), "a request wants something"
    )
    if change.state in {HELD, CONFIRMED}:
        _check_slot(state, change)
    if change.seats is not None and change.state in {HELD, CONFIRMED}:
        key = change.event_type, change.start
        if key not in state.occupancy.sessions:
            raise ReplayError(seq, f"there is no session {key}")


def _check_lapses_kept(state: LedgerState, change: LapsesKept) -> None:
    _require(change.seq, state.holders is not None, "no quota counts lapses here")


def _check_configured(state: LedgerState, change: Configured) -> None:
    configuration, seq = state.configuration, change.seq
    of_snapshot = seq == state.seq  # its settings were changed in many editions
    if not (of_snapshot or change.edition == configuration.edition + 1):
        raise ReplayError(
            seq,
            f"is edition {change.edition} of the configuration, not {configuration.edition + 1}",
        )
    # What is put earlier in the same change is there, as far as what comes later is concerned.
    there = {(one.kind, one.collection, one.id) for one in configuration.settings()}
    for one in change.settings:
        key = one.kind, one.collection, one.id
        if one.value is None:
            if key not in there:
                raise ReplayError(seq, f"there is no {one.kind} {one.id!r}")
            there.discard(key)
            continue
        if not (isinstance(one.value, _VALUES[one.kind])):
            raise ReplayError(seq, f"is no {one.kind}: {one.id!r}")
        for needed in _needed(one):
            if needed not in there:
                raise ReplayError(seq, f"there is no {needed[0]} {needed[2]!r}")
        there.add(key)


def _needed(setting: Setting) -> Iterable[tuple[Kind, str | None, str]]:
    """Yield what an entry refers to."""
    value = setting.value
    for hours in hours_in(value):
        if isinstance(hours, str) and not is_schedule_text(hours):
            yield Kind.SCHEDULE, None, hours
    if isinstance(value, EventTypeConfig):
        for host in value.hosts():
            yield Kind.RESOURCE, None, host.resource


CHECKS: Final[Mapping[type, Callable[[LedgerState, Any], None]]] = {
    Reserved: _check_reserved,
    Requested: _check_requested,
    Granted: _check_granted,
    Confirmed: _check_confirmed,
    Moved: _check_moved,
    Reinstated: _check_reinstated,
    Expired: _check_expired,
    Configured: _check_configured,
    Forgotten: _check_forgotten,
    BusyImported: _check_busy,
    ClientDropped: _check_dropped,
    SessionKept: _check_session_kept,
    ReservationKept: _check_reservation_kept,
    LapsesKept: _check_lapses_kept,
    Extended: _check_transition,
    Released: _check_transition,
    Cancelled: _check_transition,
    Annotated: _check_transition,
    Answered: _check_nothing,
    KeyKept: _check_nothing,
    SnapshotBegun: _check_begun,
}
"""What must be true before a change of each kind, beside its number and its time."""
