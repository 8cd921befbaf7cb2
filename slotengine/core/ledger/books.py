"""The books: every reservation, and what each applied change does to it.

The writing half of the ledger.  Nothing here decides or refuses: whoever calls
has decided already, be it `Ledger`, just now, or one that did so earlier and
whose recorded changes are taken back in (`Books.apply`).

Also here is what the passing of time does: holds lapse, and what has ended is
forgotten; bookings that are over, only on request (`Books.forget_bookings`).
Times are UTC microseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from slotengine.core.ledger.changes import Change
from slotengine.core.ledger.expiry import NEVER, ExpiryQueue
from slotengine.core.ledger.holders import Holders
from slotengine.core.ledger.occupancy import Occupancy
from slotengine.core.ledger.proposal import Proposal, Slotted
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    CANCEL,
    CONFIRM,
    CONFIRMED,
    ENDED,
    EXPIRE,
    EXTEND,
    HELD,
    MOVE,
    NEXT,
    REINSTATE,
    RELEASE,
    RESERVE,
    Claim,
    Entry,
    Verb,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import START_OF_TIME

if TYPE_CHECKING:
    from slotengine.core.ledger.view import View

    OnChange = Callable[[Change, Entry], None]
    Screen = Callable[[Proposal, View], Proposal]

CHORES: Final = 16
"""How many overdue holds, and ended reservations, one call tidies away on the side.

More than one call can add, so the backlog shrinks under any load; few enough
that no caller notices.  Measured: 11 µs, and 60 if all are on one resource of
many units."""


class Tally(NamedTuple):
    """How many of everything there is in the books."""

    held: int
    """Holds; those that lapsed but were not marked yet are among them."""
    confirmed: int
    ended: int
    """Released, expired and cancelled reservations that can still be asked about."""
    sessions: int
    resources: int
    accepted: int
    """Reservations ever made."""
    expired: int
    """Holds ever marked as expired."""
    keys: int
    """Idempotency keys that are remembered."""


class Books:
    """Reservations, in all their states, and where they stand.

    ``on_change`` is told each change once, after the fact; it may look, but must
    change nothing, and not raise.  ``chores`` is how many overdue things a call
    tidies away.
    """

    def __init__(
        self,
        terms: Terms | None = None,
        *,
        on_change: OnChange | None = None,
        chores: int = CHORES,
    ) -> None:
        self.terms = terms or Terms()
        self.on_change = on_change
        self.now = START_OF_TIME
        """The latest time seen: an earlier one is read as this."""
        self.chores_due = NEVER
        """Before this moment `expire` has nothing to do."""
        self.let_go = START_OF_TIME
        """The latest moment before which bookings were to be forgotten."""
        self.screen: Screen | None = None
        """Asked before anything is placed: may refuse it, or leave out some of its pools.

        The view is the one of the decision: it says which reservation moves, if one does, and
        what earlier requests of the same batch were given."""
        self.chores = chores
        self._retention = self.terms.retention
        self._queue: ExpiryQueue[Entry] = ExpiryQueue()
        self._occupancy = Occupancy(self._queue, lambda: self.now)
        self.holders = Holders(self.terms) if self.terms.has_quotas() else None
        self._resources = self._occupancy.resources  # the same dictionary, one step nearer
        self._entries: dict[str, Entry] = {}
        # What each idempotency key was used for, and what came of it.
        self._keys: dict[str, tuple[tuple[object, ...], Entry]] = {}
        # Ended reservations in the order in which they were marked as such.  One that was
        # reinstated since stays where it is; how often that happened stands in _revived.
        self._ended: deque[Entry] = deque()
        self._revived: Counter[Entry] = Counter()
        self._confirmed = 0
        self._accepted = 0
        self._expired = 0

    def next_expiry(self) -> int:
        """Return a moment before which no hold lapses; NEVER if none is held.  O(1)."""
        return self._queue.due

    def tally(self) -> Tally:
        """Return how many of everything there are in the books.  O(1)."""
        ended = len(self._ended) - self._revived.total()
        return Tally(
            held=len(self._entries) - self._confirmed - ended,
            confirmed=self._confirmed,
            ended=ended,
            sessions=len(self._occupancy.sessions),
            resources=len(self._resources),
            accepted=self._accepted,
            expired=self._expired,
            keys=len(self._keys),
        )

    # --- Time ----------------------------------------------------------------------------

    def look(self, now: int) -> int:
        """Let time pass, without any chores, and return the time it is."""
        if now < self.now:
            return self.now
        self.now = now
        return now

    def _advance(self, now: int) -> int:
        """Let time pass, do a few chores if any are due, and return the time it is."""
        if now < self.now:
            now = self.now
        else:
            self.now = now
        if now >= self.chores_due:
            self.do_chores(now, self.chores)
        return now

    def expire(self, now: int, limit: int | None = None) -> int:
        """Mark holds that have lapsed, in order of ``until``, and return how many.

        Also forgets what was retained long enough.  At most ``limit`` of each:
        a caller with others to serve comes back for the rest, while `chores_due`
        has come.
        """
        now = self.look(now)
        return self.do_chores(now, NEVER if limit is None else limit)

    def do_chores(self, now: int, limit: int) -> int:
        queue, ended = self._queue, self._ended
        lapsed = queue.take_due(now, limit) if queue.due <= now else []
        for entry in lapsed:
            self._apply_expire(entry)
        forget_due = ended[0].until + self._retention if ended else NEVER
        if forget_due <= now or self._revived:
            forget_due = self._forget_some(now, limit)
        self.chores_due = min(forget_due, queue.due)
        # Told last, so that a listener that fails leaves nothing half done.
        if self.on_change is not None:
            self._tell([(Change(EXPIRE, now, one.uid, one.until), one) for one in lapsed])
        return len(lapsed)

    def expiries(self, lapsed: Collection[Entry], now: int) -> tuple[Change, ...]:
        """Return the changes that mark lapsed holds, before the one that needs their room.

        So the order of changes is a possible history.  Holds that lapsed earlier are
        left to the sweeper.  If a quota counts lapses, those of the same holders are marked
        as well, because lapses count in the order in which they happened.  O(l log l) for l
        holds.
        """
        if not lapsed:
            return ()
        holders = self.holders
        if holders is not None and holders.counts_lapses():
            names = dict.fromkeys(entry.holder for entry in lapsed)
            lapsed = [*lapsed, *(one for name in names for one in holders.lapsed_of(name, now))]
        expired = sorted(set(lapsed), key=_lapse)
        return tuple(Change(EXPIRE, now, one.uid, one.until) for one in expired)

    def _tell(self, changes: Iterable[tuple[Change, Entry]]) -> None:
        """Tell of changes.

        The listener is looked up for each: the one that is told may be the last that
        wanted to know, such as a caller whose wait ends with it.
        """
        for change, entry in changes:
            if self.on_change is None:
                return
            self.on_change(change, entry)

    def _forget_some(self, now: int, limit: int) -> int:
        """Forget what was retained long enough, and return when there is more to forget."""
        ended = self._ended
        while ended:
            entry = ended[0]
            revived = bool(self._revived) and entry in self._revived
            due = now if revived else entry.until + self._retention
            if due > now or limit == 0:
                return due
            ended.popleft()
            if revived:
                self._revived -= Counter((entry,))
            else:
                self.forget(entry)
            limit -= 1
        return NEVER

    def forget(self, entry: Entry) -> None:
        del self._entries[entry.uid]
        if entry.key is not None:
            del self._keys[entry.key]
            entry.key = None

    def uids(self) -> list[str]:
        """Return the uids of all that is in the books.  O(n), 5 ms for a million."""
        return list(self._entries)

    def forget_bookings(self, before: int, uids: Iterable[str]) -> int:
        """Forget those of these that are bookings and were over by a moment; return how many.

        A booking is over when nothing that it takes reaches beyond: no buffer, and
        no period of a limit towards which it counts.  So no decision about what is
        to come is another one for it.  Not a change: neither told nor recorded.
        O(log n) each.
        """
        self.let_go = max(self.let_go, before)
        forgotten = 0
        for uid in uids:
            entry = self._entries.get(uid)
            if entry is not None and entry.state is CONFIRMED and _over_at(entry) <= before:
                self._occupancy.unplace(entry)
                self._confirmed -= 1
                self.forget(entry)
                forgotten += 1
        return forgotten

    def _made_by(self, change: Change) -> Entry:
        """Return the reservation that a change makes, which stands nowhere yet."""
        entry = Entry(change.uid, change.until, change.at, change.holder, quota=change.quota)
        self._slot_into(entry, change)
        return entry

    # --- Applying: writes, and cannot refuse -----------------------------------------------

    def _apply_reserve(self, change: Change, now: int) -> None:
        quota, key = change.quota, change.key
        if quota is not None and quota.counts:
            self.count_holders()
        entry = self._made_by(change)
        self._occupancy.put(entry)
        self._accepted += 1
        self._entries[entry.uid] = entry
        if self.holders is not None:
            self.holders.add(entry)
        self._queue.push(entry, entry.until - now)
        if entry.until < self.chores_due:
            self.chores_due = entry.until
        if key is not None:
            if key in self._keys:  # used for one that is as good as forgotten
                self._keys[key][1].key = None
            entry.key = key
            self._keys[key] = (change.request or (), entry)

    def count_holders(self) -> None:
        """Count from now on what each holder has; O(n), the first time.

        Not before somebody asks: whoever sets no quota pays for no counting.
        """
        if self.holders is None:
            self.holders = self._holders_counted()

    def _holders_counted(self) -> Holders:
        """Return what each holder has, counted anew.  O(n)."""
        holders = Holders(self.terms)
        for entry in self._entries.values():
            if entry.state is HELD:
                holders.add(entry)
        return holders

    def _requeue(self, entry: Entry, until: int, now: int) -> None:
        self._queue.drop(entry)
        entry.until = until
        self._queue.push(entry, until - now)
        self.chores_due = min(self.chores_due, until)

    def _apply_extend(self, entry: Entry, until: int, now: int) -> None:
        self._requeue(entry, until, now)
        entry.version += 1

    def _apply_move(self, entry: Entry, change: Change, now: int) -> None:
        self._occupancy.unplace(entry)
        self._slot_into(entry, change)
        self._occupancy.put(entry)
        if change.until != entry.until:
            self._requeue(entry, change.until, now)
        if self.holders is not None:
            self.holders.resized(entry)
        entry.version += 1

    def _apply_confirm(self, entry: Entry) -> None:
        if self.holders is not None:
            self.holders.kept(entry)
        self._queue.drop(entry)
        entry.state = CONFIRMED
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self._confirmed += 1

    def _apply_reinstate(self, entry: Entry) -> None:
        self._occupancy.put(entry)
        if self.holders is not None:
            self.holders.kept(entry)
        self._revived[entry] += 1
        entry.state = NEXT[entry.state][REINSTATE]
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self._confirmed += 1

    def _apply_end(self, entry: Entry, verb: Verb, now: int) -> None:
        if entry.state is HELD:
            self._queue.drop(entry)
        else:
            self._confirmed -= 1
        if self.holders is not None:
            self.holders.remove(entry)
        self._occupancy.unplace(entry)
        entry.state = NEXT[entry.state][verb]
        entry.until = now
        entry.version += 1
        self._ended.append(entry)
        if now + self._retention < self.chores_due:
            self.chores_due = now + self._retention

    def _apply_expire(self, entry: Entry) -> None:
        if self.holders is not None:
            self.holders.lapsed(entry)
        self._occupancy.unplace(entry)
        entry.state = NEXT[entry.state][EXPIRE]
        entry.version += 1
        self._expired += 1
        self._ended.append(entry)  # chores are due since it lapsed, or earlier

    def _slot_into(self, entry: Entry, slot: Slotted | Change) -> None:
        """Let an entry, which stands nowhere, be for a slot."""
        assert not entry.placed
        entry.start, entry.end = start, end = slot.start, slot.end
        entry.event_type, entry.seats = slot.event_type, slot.seats
        entry.demand = slot.demand
        claims = slot.claims
        if len(claims) == 1 and slot.seats is None and claims[0][1:] == (start, end, 1):
            entry.resource, entry.claims = self._resources[claims[0].resource], None
        else:
            entry.resource, entry.claims = None, claims

    def carry_out(self, changes: Iterable[Change]) -> None:
        """Apply changes that were decided, in their order, and tell of each.

        They are told when all are done, so that nobody sees half of a batch.  Only if a
        reservation changes twice is the first change told before the second is applied,
        because with a change goes the reservation as it is.
        """
        if self.on_change is None:
            for change in changes:
                self.apply(change)
            return
        untold: dict[str, tuple[Change, Entry]] = {}
        for change in changes:
            if change.uid in untold:
                self._tell(untold.values())
                untold.clear()
            self.apply(change)
            untold[change.uid] = change, self._entries[change.uid]
        self._tell(untold.values())

    def apply(self, change: Change) -> None:
        """Do what was decided, just now or when the change was recorded.  Nobody is told.

        Applying all changes of a ledger, in order, to one with the same
        resources makes it the same; if it forgot bookings, this one has to, in
        between (`forget_bookings`).
        """
        now, verb = self.look(change.at), change.verb
        if verb is RESERVE:
            self._apply_reserve(change, now)
            return
        entry = self._entries[change.uid]
        if verb is CONFIRM:
            self._apply_confirm(entry)
        elif verb is RELEASE or verb is CANCEL:
            self._apply_end(entry, verb, now)
        elif verb is EXPIRE:
            self._queue.drop(entry)
            self._apply_expire(entry)
        elif verb is EXTEND:
            self._apply_extend(entry, change.until, now)
        elif verb is MOVE:
            self._apply_move(entry, change, now)
        else:
            assert verb is REINSTATE
            self._apply_reinstate(entry)

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant of the books.  O(n log n); for tests and simulation."""
        self._queue.check_invariants()
        if self.holders is not None:
            self._check_holders(self.holders)
        self._occupancy.check_invariants()
        standing: dict[str, list[Claim]] = {}
        for entry, claim in self._occupancy.standing():
            assert self._entries[entry.uid] is entry
            standing.setdefault(entry.uid, []).append(claim)
        for uid, entry in self._entries.items():
            entry.check_invariants()
            assert uid == entry.uid
            assert sorted(standing.get(uid, [])) == sorted(entry.placed * entry.all_claims())
            assert self.chores_due <= entry.until or entry.state in ENDED
            assert entry.key is None or self._keys[entry.key][1] is entry
        assert {entry.uid for _, entry in self._keys.values()} <= self._entries.keys()
        states = Counter(entry.state for entry in self._entries.values())
        assert len(self._queue) == self.tally().held == states[HELD]
        assert self._confirmed == states[CONFIRMED]
        ended = {entry.uid for entry in self._entries.values() if entry.state in ENDED}
        assert ended == {entry.uid for entry in Counter(self._ended) - self._revived}
        assert all(self._revived.values())

    def _check_holders(self, holders: Holders) -> None:
        live: dict[str, dict[Entry, int]] = {}
        for entry in self._entries.values():
            if entry.holder is not None and entry.state is HELD and entry.until > self.now:
                live.setdefault(entry.holder, {})[entry] = entry.end - entry.start
        holders.check_invariants(live, self.now)


def _over_at(entry: Entry) -> int:
    return max(entry.end, *(claim.end for claim in entry.all_claims()))


def _lapse(entry: Entry) -> tuple[int, str]:
    return entry.until, entry.uid
