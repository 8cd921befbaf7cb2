"""Taking changes back in that were recorded, such as those of a journal.

Nothing is decided again.  But what comes from outside is checked: each change has to follow
from the state as it is, or `ReplayError` says which one does not, and why.  So a missing change,
one that is there twice, or one of another ledger is found at once, and not by what it does later.

What depends on the terms of the ledger (`Terms`) is not asked, because those may be others
after a restart.  Times are UTC microseconds.
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
from slotengine.core.ledger.checks import check_key, check_span, check_text, is_count, is_text
from slotengine.core.ledger.config import Configure, Configured, Put, Remove
from slotengine.core.ledger.configure import Surroundings, decide_settings
from slotengine.core.ledger.decide import is_over_by
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.proposal import Wanted
from slotengine.core.ledger.quota import check_quota
from slotengine.core.ledger.reservation import (
    CONFIRMED,
    ENDED,
    EXPIRE,
    HELD,
    NEXT,
    REQUESTED,
    STATES,
    Placement,
)
from slotengine.core.ledger.store import STATE, UNTIL, VERSION, WORD
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.uids import MOST_SERIAL
from slotengine.core.time.instant import FIRST_US, LAST_US
from slotengine.errors import ReplayError, SlotError

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Change
    from slotengine.core.ledger.config import Setting, SettingChange
    from slotengine.core.ledger.reservation import Claim, Entry, State
    from slotengine.core.ledger.state import LedgerState

    HasSeats = Reserved | Requested | Granted | Moved | ReservationKept

_ANY_TERMS: Final = Terms(longest_span=LAST_US - FIRST_US)
"""What is configured is checked by these: it was right by the terms of then."""

_MALFORMED: Final = (
    ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What checking or applying a change raises in which something is not what it should be."""


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
        try:
            _carry_out(state, changes)
        except ReplayError:
            raise
        except SlotError as error:
            raise ReplayError(state.seq + 1, str(error)) from error
        except _MALFORMED as error:
            problem = f"something in it is not what it should be ({type(error).__name__})"
            raise ReplayError(state.seq + 1, problem) from error


def _carry_out(state: LedgerState, changes: Changes) -> None:
    """Check and apply the changes of a step."""
    in_snapshot = changes[0].__class__ is SnapshotBegun
    checks = SNAPSHOT_CHECKS if in_snapshot else CHECKS
    for change in changes:
        check = checks.get(change.__class__)
        if check is None:
            whole = "snapshot" if in_snapshot else "step"
            raise ReplayError(state.seq + 1, f"no change in a {whole}: {change!r:.99}")
        if in_snapshot:
            _check_part(state, change)
        elif change.seq != state.seq + 1:
            raise ReplayError(change.seq, f"the change after {state.seq} must come next")
        elif change.at < state.now:
            raise ReplayError(change.seq, "was made before the change that comes before it")
        elif change.at > LAST_US:
            raise ReplayError(change.seq, "was made beyond the calendar")
        check(state, change)
        apply(state, change)
    if in_snapshot:
        _check_whole(state)


def _require(seq: int, holds: bool, problem: str) -> None:
    if not holds:
        raise ReplayError(seq, problem)


def _check_transition(state: LedgerState, change: Any) -> State:
    """Raise unless the reservation is in a state and a version that the change follows.

    Returns that state.
    """
    seq, uid, numbers = change.seq, change.uid, state.rows.numbers
    row = state.rows.row_of.get(uid)
    if row is None:
        raise ReplayError(seq, f"there is no reservation {uid!r}")
    before, version = STATES[numbers[row + WORD] & STATE], numbers[row + WORD] >> VERSION
    if change.verb not in NEXT[before]:
        raise ReplayError(seq, f"{uid!r} is {before.value}: {change.verb.value}")
    if change.version != version + 1:
        raise ReplayError(
            seq, f"{uid!r} has version {version}, which {change.version} does not follow"
        )
    if numbers[row + UNTIL] <= change.at and before is HELD and change.verb is not EXPIRE:
        raise ReplayError(seq, f"{uid!r} lapsed at {numbers[row + UNTIL]}")
    return before


def _check_until(change: Reserved | Extended | Moved) -> None:
    """Raise unless it is a moment at which a hold can lapse."""
    until = change.until
    if not (change.at < until <= LAST_US or until == NEVER):
        raise ReplayError(change.seq, f"a hold cannot lapse at {until}")


def _check_new(state: LedgerState, change: Reserved | Requested) -> None:
    seq, uid = change.seq, change.uid
    if uid in state.rows.row_of and state.entries[uid].state not in ENDED:
        raise ReplayError(seq, f"there is a reservation {uid!r} already")
    if uid.__class__ is not str or not uid:
        raise ReplayError(seq, "a uid is a text")
    if change.holder is not None:
        check_text("holder", change.holder)
    if change.version != 1:
        raise ReplayError(seq, "a new reservation has version 1")
    if not state.serial < change.serial < MOST_SERIAL:
        raise ReplayError(seq, f"serial numbers rise: {state.serial} was used before")
    if change.key is not None:
        check_key(change.key, change.digest)
        _check_is_free(state, change.key, change)
    if change.quota is not None:
        check_quota(change.quota, change.holder)


def _check_is_free(state: LedgerState, key: str, change: Reserved | Requested) -> None:
    """Raise if a key cannot be used again, however short the retention is."""
    use, before = state.keys.find(key), state.made_with(key)
    if use is None:
        return
    gone = before is None or before.state in ENDED
    if not (gone and state.keys.is_over(use, change.at)):
        raise ReplayError(change.seq, f"the key {key!r} was used before")


def _check_reserved(state: LedgerState, change: Reserved) -> None:
    _check_new(state, change)
    _check_until(change)
    _check_slot(state, change)
    if change.seats is not None:
        _check_seat(state, change, change.event_type, change.start, change.end)


def _check_requested(state: LedgerState, change: Requested) -> None:
    _check_new(state, change)
    _check_wanted(state, change)


def _check_wanted(state: LedgerState, change: Requested | Moved) -> None:
    seq, wanted = change.seq, change.wanted
    _require(seq, isinstance(wanted, Wanted), "a request wants something")
    assert wanted is not None
    check_span(change.start, change.end)
    _require(seq, bool(change.claims or wanted.pools), "a slot takes something")
    _require_seats(change, change.event_type)
    _check_claims(state, seq, change.claims)
    for pool in wanted.pools:
        _check_claims(state, seq, pool.claims)


def _check_granted(state: LedgerState, change: Granted) -> None:
    if _check_transition(state, change) is not REQUESTED:
        raise ReplayError(change.seq, f"{change.uid!r} was not requested")
    entry = state.entries[change.uid]
    _require(change.seq, bool(change.claims), "a slot takes something")
    _check_claims(state, change.seq, change.claims)
    _require_seats(change, entry.event_type)
    _check_seat(state, change, entry.event_type, entry.start, entry.end)


def _check_extended(state: LedgerState, change: Extended) -> None:
    _check_transition(state, change)
    _check_until(change)


def _check_confirmed(state: LedgerState, change: Confirmed) -> None:
    if _check_transition(state, change) is not HELD:
        raise ReplayError(change.seq, f"{change.uid!r} is no hold")


def _check_moved(state: LedgerState, change: Moved) -> None:
    before = _check_transition(state, change)
    requested = before is REQUESTED
    _require(change.seq, (change.wanted is not None) == requested, "only a request wants something")
    if requested:
        _check_wanted(state, change)
        return
    if before is CONFIRMED:
        _require(change.seq, change.until == NEVER, "a booking does not lapse")
    else:
        _check_until(change)
    _check_slot(state, change)
    own = state.entries[change.uid]
    _check_seat(state, change, change.event_type, change.start, change.end, own=own)


def _check_slot(state: LedgerState, change: Reserved | Moved | ReservationKept) -> None:
    check_span(change.start, change.end)
    if not change.claims:
        raise ReplayError(change.seq, "a slot takes something")
    _check_claims(state, change.seq, change.claims)
    if change.seats is not None:
        _require_seats(change, change.event_type)


def _require_seats(change: HasSeats, event_type: str | None) -> None:
    """Raise unless seats are at least one, of a session of an event type."""
    seats = change.seats
    if seats is not None:
        _require(change.seq, is_text(event_type), "a session is of an event type")
        _require(change.seq, seats.wanted >= 1, "a seat is taken at least")


def _check_seat(
    state: LedgerState,
    change: HasSeats,
    event_type: str | None,
    start: int,
    end: int,
    *,
    own: Entry | None = None,
) -> None:
    """Raise unless the session, if somebody else is in it, takes the same."""
    if change.seats is None:
        return
    session = state.occupancy.sessions.get((event_type or "", start))
    if session is None or (own is not None and session.members.keys() == {own.uid}):
        return
    same = session.end == end and session.claims == change.claims
    _require(change.seq, same, "a session takes the same for all")


def _check_claims(state: LedgerState, seq: int, claims: tuple[Claim, ...]) -> None:
    for claim in claims:
        resource, start, end, units = claim
        if resource not in state.resources and resource not in state.occupancy.limits:
            raise ReplayError(seq, f"there is no resource {resource!r}")
        if not (start < end and units >= 1):
            raise ReplayError(seq, f"takes nothing: {claim}")
    if len(claims) > 1:
        _require(seq, len({claim[:3] for claim in claims}) == len(claims), "takes a span twice")


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
        if not is_over_by(entry, change.before):
            raise ReplayError(change.seq, f"{uid!r} is not over by {change.before}")
    _require(change.seq, len(set(change.uids)) == len(change.uids), "forgets a booking twice")


def _check_busy(state: LedgerState, change: BusyImported) -> None:
    same = state.occupancy.spans_to_import(change.source, change.spans) == change.spans
    _require(change.seq, same, "spans must be in order, and not touch")


def _check_answered(state: LedgerState, change: Answered) -> None:
    """Also in a snapshot, which has them in order of their times."""
    clients = state.clients
    clients.find(change.command_id, change.at)
    _require(change.seq, change.at >= clients.latest, "was answered before another one")
    for one in change.outcome:
        right = one is None or (is_text(one.uid) and is_count(one.version))
        _require(change.seq, right, "an answer is a uid with a version, or none")


def _check_dropped(state: LedgerState, change: ClientDropped) -> None:
    clients, session = state.clients, change.session
    _require(change.seq, session in clients, "there is no such session of a client")
    _require(change.seq, clients.expires_at(session) <= change.at, "the session goes on")


# --- The configuration -----------------------------------------------------------------------


def _check_configured(state: LedgerState, change: Configured) -> None:
    """Raise unless it is what comes of a command that says the same, by force."""
    configuration, seq = state.configuration, change.seq
    of_snapshot = seq == state.seq  # its settings were changed in many editions
    if not (of_snapshot or change.edition == configuration.edition + 1):
        raise ReplayError(
            seq,
            f"is edition {change.edition} of the configuration, not {configuration.edition + 1}",
        )
    for one in change.settings:
        first = 1 if of_snapshot else change.edition
        right = is_count(one.version) and first <= one.version <= change.edition
        _require(seq, right, f"{one.id!r} cannot have the version {one.version}")
    around = Surroundings(state.occupancy.view(change.at), state.entries.values(), _ANY_TERMS)
    command = Configure(tuple(map(_entry_for, change.settings)), force=True)
    settled = decide_settings(configuration, command, around)
    # Whether a limit goes with its event type depends on the retention of then.
    named = {one[:2] for one in change.settings}
    found = [one for one in settled.settings if one[:2] in named or one.value is not None]
    same = list(map(_unversioned, found)) == list(map(_unversioned, change.settings))
    _require(seq, same and not settled.lapsed, "is not what a configuration is set to")


def _unversioned(setting: Setting) -> Setting:
    return setting._replace(version=0)


def _entry_for(setting: Setting) -> SettingChange:
    if setting.value is None:
        return Remove(setting.kind, setting.id, collection=setting.collection)
    return Put(setting.kind, setting.id, setting.value, collection=setting.collection)


# --- Snapshots -------------------------------------------------------------------------------


def _check_part(state: LedgerState, change: Change) -> None:
    """Raise unless a change is of the snapshot, by its number and its time."""
    if change.__class__ is not SnapshotBegun:
        _require(change.seq, change.seq == state.seq, "is no part of this snapshot")
        _require(change.seq, change.at <= state.now, "was made after the snapshot")


def _check_begun(state: LedgerState, change: SnapshotBegun) -> None:
    seq = change.seq
    untouched = state.seq == 0 and state.configuration.edition == 0 and not state.entries
    _require(seq, untouched, "a snapshot is for an empty ledger, with nothing configured")
    _require(seq, seq >= 0, "a snapshot must be of a number from 0")
    _require(seq, change.at <= LAST_US, "was made beyond the calendar")
    right = state.serial <= change.serial < MOST_SERIAL and change.expired >= 0
    _require(seq, right, "counts nothing that can be")


def _check_session_kept(state: LedgerState, change: SessionKept) -> None:
    key = change.event_type, change.start
    if key in state.occupancy.sessions:
        raise ReplayError(change.seq, f"there is a session {key} already")
    _require(change.seq, is_text(change.event_type), "a session is of an event type")
    _require(change.seq, bool(change.claims), "a session takes something")
    check_span(change.start, change.end)
    _check_claims(state, change.seq, change.claims)


def _check_reservation_kept(state: LedgerState, change: ReservationKept) -> None:
    seq = change.seq
    if change.uid in state.entries:
        raise ReplayError(seq, f"{change.uid!r} is there twice")
    _require(seq, is_text(change.uid), "a uid is a text")
    check_text("holder", change.holder)
    requested, live = change.state is REQUESTED, change.state in {HELD, CONFIRMED}
    _require(seq, (change.wanted is not None) == requested, "a request wants something")
    _require(seq, is_count(change.version), "versions begin with 1")
    _require(seq, 0 < change.serial <= state.serial, "its serial number was not given yet")
    _require(seq, change.created <= change.changed <= state.now, "it cannot have changed then")
    _check_until_kept(state, change)
    check_span(change.start, change.end)
    if change.quota is not None:
        check_quota(change.quota, change.holder)
    if not live:  # its resources may be removed
        for claim in change.claims:
            _require(seq, claim.start < claim.end and claim.units >= 1, f"takes nothing: {claim}")
        return
    _check_slot(state, change)
    if change.seats is not None:
        key = change.event_type, change.start
        if key not in state.occupancy.sessions:
            raise ReplayError(seq, f"there is no session {key}")
        _check_seat(state, change, change.event_type, change.start, change.end)


def _check_until_kept(state: LedgerState, change: ReservationKept) -> None:
    """Raise unless the moment at which it lapses, or has ended, goes with its state."""
    until = change.until
    if change.state in {CONFIRMED, REQUESTED}:
        right = until == NEVER
    elif change.state is HELD:
        right = FIRST_US <= until <= LAST_US or until == NEVER
    else:
        right = FIRST_US <= until <= state.now
    _require(change.seq, right, f"what is {change.state.value} cannot be so until {until}")


def _check_key_kept(state: LedgerState, change: KeyKept) -> None:
    check_key(change.key, change.digest)
    is_new = state.keys.find(change.key) is None
    _require(change.seq, is_new, f"the key {change.key!r} is there twice")
    _require(change.seq, change.made <= state.now, "a key cannot have been used later")


def _check_lapses_kept(state: LedgerState, change: LapsesKept) -> None:
    in_order = tuple(sorted(change.pending)) == change.pending
    right = change.lapses >= 0 and change.earlier >= 0 and is_text(change.holder)
    _require(change.seq, right and in_order, "no lapses are such")
    for until, created in change.pending:
        _require(change.seq, created <= until, "no hold lapses before it is made")


def _check_whole(state: LedgerState) -> None:
    """Raise if something is missing at the end of a snapshot, or is there twice.  O(n)."""
    serials = {entry.serial for entry in state.entries.values()}
    _require(state.seq, len(serials) == len(state.entries), "a serial number is there twice")
    for entry in state.entries.values():
        known = entry.key is None or state.made_with(entry.key) == entry
        _require(state.seq, known, f"nothing says what the key {entry.key!r} was used for")
    for session in state.occupancy.sessions.values():
        _require(state.seq, bool(session.members), f"nobody is in the session {session.key}")


CHECKS: Final[Mapping[type, Callable[[LedgerState, Any], object]]] = {
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
    Extended: _check_extended,
    Released: _check_transition,
    Cancelled: _check_transition,
    Annotated: _check_transition,
    Answered: _check_answered,
}
"""What must be true before a change of each kind, beside its number and its time."""

SNAPSHOT_CHECKS: Final[Mapping[type, Callable[[LedgerState, Any], object]]] = {
    SnapshotBegun: _check_begun,
    Configured: _check_configured,
    BusyImported: _check_busy,
    SessionKept: _check_session_kept,
    ReservationKept: _check_reservation_kept,
    KeyKept: _check_key_kept,
    LapsesKept: _check_lapses_kept,
    Answered: _check_answered,
}
"""The same in a snapshot."""
