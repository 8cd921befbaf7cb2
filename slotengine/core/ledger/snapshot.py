"""A snapshot: the changes that make an empty state the same as another one.

Same in all that can be asked, and in all that later decisions depend on.  What waits is no
part of it.  Two states are the same if their snapshots are.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from slotengine.core.ledger.changes import (
    Answered,
    BusyImported,
    KeyKept,
    LapsesKept,
    ReservationKept,
    SessionKept,
    SnapshotBegun,
)
from slotengine.core.ledger.config import Configured
from slotengine.core.ledger.reservation import ENDED

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Change
    from slotengine.core.ledger.reservation import Entry
    from slotengine.core.ledger.state import LedgerState


def snapshot(state: LedgerState) -> Iterator[Change]:
    """Yield the changes that rebuild a state.  O(n log n).

    What is past its retention is left out, as nobody can tell.  The state must not change
    until all are made.
    """
    seq, now = state.seq, state.now
    yield SnapshotBegun(seq, now, state.serial, state.expired, state.forgotten_before)
    configuration = state.configuration
    yield Configured(seq, now, configuration.edition, tuple(configuration.settings()))
    for source in state.occupancy.sources():
        yield BusyImported(seq, now, source, state.occupancy.imported_from(source))
    for one in sorted(state.occupancy.sessions.values(), key=attrgetter("key")):
        yield SessionKept(
            seq, now, one.uid, one.event_type, one.start, one.end, one.claims, one.created
        )
    for entry in _entries(state):
        yield _kept(entry, seq, now, known=entry.until + state.retention > now)
    yield from _keys(state)
    if state.holders is not None:
        for lapses in sorted(state.holders.kept_lapses(now)):
            yield LapsesKept(seq, now, *lapses)
    for command_id, outcome, at in state.clients.recorded():
        yield Answered(seq, at, command_id, outcome)


def _entries(state: LedgerState) -> Iterator[Entry]:
    """Yield all reservations that are known: live ones as they were made, others as they ended."""
    live = (entry for entry in state.entries.values() if entry.state not in ENDED)
    yield from sorted(live, key=attrgetter("serial"))
    # One that was reinstated, and has ended again, counts as ended then.
    superseded = Counter(state.superseded)
    for row in state.ended:
        if superseded[row]:
            superseded[row] -= 1
            continue
        entry = state.entries.at(row)
        if entry.until + state.retention > state.now:
            yield entry


def _kept(entry: Entry, seq: int, now: int, *, known: bool) -> ReservationKept:
    """Return a reservation as it is; without its key if it is past its retention, unmarked."""
    return ReservationKept(
        seq, now, entry.uid, entry.version, entry.state, entry.until, entry.start, entry.end,
        entry.all_claims(), entry.seats, entry.holder, entry.event_type, entry.created,
        entry.changed, entry.quota, entry.demand, entry.serial, entry.extra, entry.wanted,
        entry.key if known else None,
    )  # fmt: skip


def _keys(state: LedgerState) -> Iterator[KeyKept]:
    keys = state.keys
    for key, use in sorted((*keys.used(), *keys.spent())):
        # Another reservation may have been given the uid of one that was forgotten.
        known = state.made_with(key) is not None and state.knows(use.uid, state.now)
        if known or not keys.is_over(use, state.now):
            yield KeyKept(state.seq, state.now, key, *use)
