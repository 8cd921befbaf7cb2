"""What the passing of time does: holds lapse, and what has ended is forgotten.

Each step does a little of it (`MAINTENANCE`), and a sweeper the rest.  No decision depends
on whether it was done: what has lapsed is ignored, marked or not.
Times are UTC microseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.apply import mark_expired
from slotengine.core.ledger.changes import ClientDropped, Expired
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.reservation import Entry
from slotengine.core.ledger.store import UNTIL, VERSION, WORD

if TYPE_CHECKING:
    from slotengine.core.ledger.state import LedgerState

MAINTENANCE: Final = 16
"""How many lapsed holds one step marks, and how many ended reservations it forgets.

More than one step can add, so the backlog shrinks under any load; few enough
that no caller notices.  Measured: 11 µs, and 60 if all are on one resource of
many units."""


def mark_lapsed(state: LedgerState, now: int, limit: int) -> list[Entry]:
    """Mark holds that have lapsed, in order of ``until``, at most ``limit``, and return them.

    It does as `Expired` changes do, which are made only if somebody wants to know: see
    `changes_that_marked`.
    """
    if state.queue.due > now:
        return []
    rows = state.queue.take_due(now, limit)
    for row in rows:
        state.seq += 1
        mark_expired(state, row, (state.rows.numbers[row + WORD] >> VERSION) + 1)
    return list(map(state.entries.at, rows))


def changes_that_marked(state: LedgerState, lapsed: Sequence[Entry]) -> tuple[Expired, ...]:
    """Return the changes that `mark_lapsed` made, right after it made them."""
    first = state.seq - len(lapsed) + 1
    return tuple(
        Expired(first + i, state.now, one.uid, one.version, one.until)
        for i, one in enumerate(lapsed)
    )


def forget_retained(state: LedgerState, now: int, limit: int) -> None:
    """Forget what was retained long enough, and keys whose time is over, ``limit`` of each.

    No change, as nobody can tell: what is past its retention is unknown, forgotten or not.
    Also says when maintenance is due next.
    """
    ended = state.ended
    forget_due = state.rows.numbers[ended[0] + UNTIL] + state.retention if ended else NEVER
    if forget_due <= now or state.superseded:
        forget_due = _forget_some(state, now, limit)
    if state.keys.due <= now:
        state.keys.drop_spent(now, limit)
    state.maintenance_due = min(forget_due, state.queue.due, state.keys.due, state.clients.due)


def _forget_some(state: LedgerState, now: int, limit: int) -> int:
    """Forget what was retained long enough, and return when there is more to forget."""
    ended = state.ended
    while ended:
        row = ended[0]
        superseded = bool(state.superseded) and row in state.superseded
        due = now if superseded else state.rows.numbers[row + UNTIL] + state.retention
        if due > now or limit == 0:
            return due
        ended.popleft()
        if superseded:
            state.superseded -= Counter((row,))
        else:
            state.forget(row)
        limit -= 1
    return NEVER


def sessions_to_drop(state: LedgerState, now: int, limit: int) -> tuple[ClientDropped, ...]:
    """Return the changes that drop sessions of clients which have ended, at most ``limit``."""
    if state.clients.due > now:
        return ()
    ended = state.clients.ended(now, limit)
    return tuple(
        ClientDropped(seq, now, session) for seq, session in enumerate(ended, state.seq + 1)
    )


def expiries(state: LedgerState, lapsed: Collection[Entry], now: int) -> tuple[Expired, ...]:
    """Return the changes that mark lapsed holds, before the one that needs their room.

    So the order of changes is a possible history.  Holds that lapsed earlier are
    left to the sweeper.  If a quota counts lapses, those of the same holders are marked
    as well, because lapses count in the order in which they happened.  O(l log l) for l
    holds.
    """
    if not lapsed:
        return ()
    holders = state.holders
    if holders is not None and holders.counts_lapses():
        names = dict.fromkeys(entry.holder for entry in lapsed)
        lapsed = [*lapsed, *(one for name in names for one in holders.lapsed_of(name, now))]
    expired = sorted(set(lapsed), key=_lapse)
    return tuple(
        Expired(seq, now, one.uid, one.version + 1, one.until)
        for seq, one in enumerate(expired, state.seq + 1)
    )


def _lapse(entry: Entry) -> tuple[int, str]:
    return entry.until, entry.uid
