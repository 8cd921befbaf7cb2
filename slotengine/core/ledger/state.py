"""The state of a ledger, and `LedgerState.apply`, the only thing that changes it.

Nothing here decides or refuses.  A change was decided before: just now (`decide`), or by
the ledger whose recorded changes are replayed.

To add something that decisions depend on: give it a slot here with a line that says what it
is, write it in `apply` alone, put what `apply` needs in a change (`changes`), and compare it
in `check_invariants` with what it follows from.
Times are UTC microseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from slotengine.core.ledger.changes import Answered, Change, ClientDropped, Forgotten
from slotengine.core.ledger.clients import Clients
from slotengine.core.ledger.config import Configured
from slotengine.core.ledger.configuration import Configuration
from slotengine.core.ledger.expiry import NEVER, ExpiryQueue, life_left
from slotengine.core.ledger.holders import Holders
from slotengine.core.ledger.keys import Keys, KeyUse
from slotengine.core.ledger.occupancy import Occupancy
from slotengine.core.ledger.reservation import (
    ANNOTATE,
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
    Reservable,
    Verb,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.ledger.uids import count_in, serial_of
from slotengine.core.ledger.waitlist import Waitlist

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Record
    from slotengine.core.ledger.index import Index
    from slotengine.core.ledger.proposal import Slotted


class Tally(NamedTuple):
    """How many of everything there is in a ledger."""

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


class LedgerState:
    """Reservations, in all their states, and where they stand.

    Everything can be read.  Only `apply`, maintenance, and the shortcut `Ledger.reserve` write.
    """

    __slots__ = (
        "clients",
        "configuration",
        "confirmed",
        "ended",
        "entries",
        "expired",
        "forgotten_before",
        "holders",
        "index",
        "keys",
        "maintenance_due",
        "now",
        "occupancy",
        "queue",
        "resources",
        "retention",
        "revived",
        "serial",
        "terms",
        "waiting",
        "waitlist",
    )

    def __init__(self, terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self.retention = self.terms.retention
        self.now = START_OF_TIME
        """The time of the latest step: an earlier one is read as this."""
        self.entries: dict[str, Entry] = {}
        """Reservations by uid, those that ended within the retention among them."""
        self.queue: ExpiryQueue[Entry] = ExpiryQueue()
        """Holds, by when they lapse."""
        self.occupancy = Occupancy(self.queue, lambda: self.now)
        """Who stands where."""
        self.resources: dict[str, Reservable] = self.occupancy.resources
        """The same dictionary as the occupancy's, one step nearer."""
        self.configuration = Configuration(self.resources, self.occupancy.limits)
        """Schedules, event types and documents; and resources and limits, as they are set."""
        self.holders = Holders(self.terms) if self.terms.has_quotas() else None
        """What each holder has on hold; None until a quota asks for it."""
        self.keys = Keys()
        """What each idempotency key was used for."""
        self.clients = Clients()
        """What is remembered of commands that can be repeated."""
        self.ended: deque[Entry] = deque()
        """Ended reservations in the order in which they were marked as such.

        One that was reinstated since stays where it is; how often that happened stands in
        ``revived``."""
        self.revived: Counter[Entry] = Counter()
        self.forgotten_before = START_OF_TIME
        """The latest moment before which bookings were to be forgotten."""
        self.maintenance_due = NEVER
        """Before this moment `maintain` has nothing to do."""
        self.waitlist = Waitlist(self.terms.max_waiters, self.terms.max_waits)
        """The commands that wait.  They are not recorded, and no part of a snapshot."""
        self.waiting = self.waitlist.by_ticket
        """The same dictionary as the waitlist's, one step nearer."""
        self.serial = serial_of(self.terms.shard, 0)
        """The serial number of the latest reservation."""
        self.index: Index | None = None
        """What questions are answered by; None until somebody asks."""
        # How many bookings there are, and holds ever marked as expired.
        self.confirmed = 0
        self.expired = 0

    def next_expiry(self) -> int:
        """Return a moment before which no hold lapses; NEVER if none is held.  O(1)."""
        return self.queue.due

    def tally(self) -> Tally:
        """Return how many of everything there are.  O(1)."""
        ended = len(self.ended) - self.revived.total()
        return Tally(
            held=len(self.entries) - self.confirmed - ended,
            confirmed=self.confirmed,
            ended=ended,
            sessions=len(self.occupancy.sessions),
            resources=len(self.resources),
            accepted=count_in(self.serial),
            expired=self.expired,
            keys=len(self.keys),
        )

    def knows(self, uid: str, now: int) -> bool:
        """Return whether a reservation is neither forgotten nor to be forgotten by now."""
        entry = self.entries.get(uid)
        return entry is not None and entry.until + self.retention > now

    def unmarked(self, now: int) -> list[Entry]:
        """Return the holds that have lapsed and are not marked yet.  O(l) for l of them."""
        return self.queue.lapsed(now, len(self.entries))

    def made_by(self, change: Change) -> Entry:
        """Return the reservation that a change makes, which stands nowhere yet."""
        entry = Entry(
            change.uid, change.until, change.at, change.holder,
            quota=change.quota, serial=change.serial, extra=change.extra,
        )  # fmt: skip
        self._slot_into(entry, change)
        return entry

    def made_with(self, key: str) -> Entry | None:
        """Return the reservation that was made with a key, if it is not forgotten."""
        use = self.keys.find(key)
        entry = None if use is None else self.entries.get(use.uid)
        # Another reservation may have been given the uid of one that was forgotten.
        return None if entry is None or entry.key != key else entry

    def count_holders(self) -> None:
        """Count from now on what each holder has; O(n), the first time.

        Not before somebody asks: whoever sets no quota pays for no counting.
        """
        if self.holders is None:
            self.holders = self.holders_counted()

    def holders_counted(self) -> Holders:
        """Return what each holder has, counted anew.  O(n)."""
        holders = Holders(self.terms)
        for entry in self.entries.values():
            if entry.state is HELD:
                holders.add(entry)
        return holders

    # --- Applying: writes, and cannot refuse -----------------------------------------------

    def apply(self, record: Record) -> None:
        """Do what was decided, just now or when it was recorded.  Nobody is told.

        Applying all records of a ledger, in order, to an empty one makes it the same.
        """
        if not isinstance(record, Change):
            self._apply_other(record)
            return
        change, verb = record, record.verb
        self.now = now = max(self.now, change.at)
        if verb is RESERVE:
            self._apply_reserve(change, now)
            return
        entry = self.entries[change.uid]
        if verb is CONFIRM:
            self._apply_confirm(entry)
        elif verb is RELEASE or verb is CANCEL:
            self._apply_end(entry, verb, now)
            if change.extra is not None:
                entry.extra = change.extra
        elif verb is EXPIRE:
            self.queue.drop(entry)
            self.mark_expired(entry, now)
        elif verb is EXTEND:
            self._apply_extend(entry, change.until, now)
        elif verb is MOVE:
            self._apply_move(entry, change, now)
        elif verb is ANNOTATE:
            entry.extra = change.extra
            entry.version += 1
        else:
            assert verb is REINSTATE
            self._apply_reinstate(entry)
        self.note(entry, now)

    def note(self, entry: Entry, now: int) -> None:
        """Note when a reservation changed, and let it be found by what it says now."""
        entry.changed = now
        if self.index is not None:
            self.index.update(entry)

    def _apply_other(self, record: Configured | Forgotten | Answered | ClientDropped) -> None:
        """Apply what is no change of a reservation."""
        if isinstance(record, Forgotten):
            self.forget_bookings(record.before, record.uids)
            return
        self.now = max(self.now, record.at)
        match record:
            case Configured():
                self.configuration.apply(record)
            case Answered():
                self.clients.record(record.command_id, record.outcome, record.at)
                self.maintenance_due = min(self.maintenance_due, self.clients.due)
            case _:
                self.clients.drop(record.session)

    def _apply_reserve(self, change: Change, now: int) -> None:
        quota, key = change.quota, change.key
        if quota is not None and quota.counts:
            self.count_holders()
        entry = self.made_by(change)
        self.occupancy.put(entry)
        self.serial = entry.serial
        self.entries[entry.uid] = entry
        if self.holders is not None:
            self.holders.add(entry)
        self.queue.push(entry, life_left(now, entry.until))
        if entry.until < self.maintenance_due:
            self.maintenance_due = entry.until
        if key is not None:
            assert change.digest is not None
            used_for = self.made_with(key)
            if used_for is not None:  # as good as forgotten
                used_for.key = None
            entry.key = key
            self.keys.add(key, KeyUse(change.digest, entry.uid, entry.created))
        if self.index is not None:
            self.index.update(entry)

    def _requeue(self, entry: Entry, until: int, now: int) -> None:
        self.queue.drop(entry)
        entry.until = until
        self.queue.push(entry, life_left(now, until))
        self.maintenance_due = min(self.maintenance_due, until)

    def _apply_extend(self, entry: Entry, until: int, now: int) -> None:
        self._requeue(entry, until, now)
        entry.version += 1

    def _apply_move(self, entry: Entry, change: Change, now: int) -> None:
        self.occupancy.unplace(entry)
        self._slot_into(entry, change)
        self.occupancy.put(entry)
        if change.until != entry.until:
            self._requeue(entry, change.until, now)
        if self.holders is not None:
            self.holders.resized(entry)
        entry.version += 1

    def _apply_confirm(self, entry: Entry) -> None:
        if self.holders is not None:
            self.holders.kept(entry)
        self.queue.drop(entry)
        entry.state = CONFIRMED
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self.confirmed += 1

    def _apply_reinstate(self, entry: Entry) -> None:
        self.occupancy.put(entry)
        if self.holders is not None:
            self.holders.kept(entry)
        self.revived[entry] += 1
        entry.state = NEXT[entry.state][REINSTATE]
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self.confirmed += 1

    def _apply_end(self, entry: Entry, verb: Verb, now: int) -> None:
        if entry.state is HELD:
            self.queue.drop(entry)
        else:
            self.confirmed -= 1
        if self.holders is not None:
            self.holders.remove(entry)
        self.occupancy.unplace(entry)
        entry.state = NEXT[entry.state][verb]
        entry.until = now
        entry.version += 1
        self.ended.append(entry)
        if now + self.retention < self.maintenance_due:
            self.maintenance_due = now + self.retention

    def mark_expired(self, entry: Entry, now: int) -> None:
        if self.holders is not None:
            self.holders.lapsed(entry)
        self.occupancy.unplace(entry)
        entry.state = NEXT[entry.state][EXPIRE]
        entry.version += 1
        self.expired += 1
        self.ended.append(entry)  # maintenance is due since it lapsed, or earlier
        self.note(entry, now)

    def _slot_into(self, entry: Entry, slot: Slotted | Change) -> None:
        """Let an entry, which stands nowhere, be for a slot."""
        assert not entry.placed
        entry.start, entry.end = start, end = slot.start, slot.end
        entry.event_type, entry.seats = slot.event_type, slot.seats
        entry.demand = slot.demand
        claims = slot.claims
        if len(claims) == 1 and slot.seats is None and claims[0][1:] == (start, end, 1):
            entry.resource, entry.claims = self.resources[claims[0].resource], None
        else:
            entry.resource, entry.claims = None, claims

    def forget(self, entry: Entry) -> None:
        if self.index is not None:
            self.index.remove(entry)
        del self.entries[entry.uid]
        if entry.key is not None:
            self.keys.forget(entry.key, self.now)
            self.maintenance_due = min(self.maintenance_due, self.keys.due)
            entry.key = None

    def forget_bookings(self, before: int, uids: Iterable[str]) -> int:
        """Forget those of these that are bookings and were over by a moment; return how many.

        A booking is over when nothing that it takes reaches beyond: no buffer, and
        no period of a limit towards which it counts.  So no decision about what is
        to come is another one for it.  O(log n) each.
        """
        self.forgotten_before = max(self.forgotten_before, before)
        forgotten = 0
        for uid in uids:
            entry = self.entries.get(uid)
            if entry is not None and entry.state is CONFIRMED and _over_at(entry) <= before:
                self.occupancy.unplace(entry)
                self.confirmed -= 1
                self.forget(entry)
                forgotten += 1
        return forgotten

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant of the state.  O(n log n); for tests and simulation."""
        self.queue.check_invariants()
        self.configuration.check_invariants()
        if self.holders is not None:
            self._check_holders(self.holders)
        self.occupancy.check_invariants()
        if self.index is not None:
            self.index.check_invariants()
        standing: dict[str, list[Claim]] = {}
        for entry, claim in self.occupancy.standing():
            assert self.entries[entry.uid] is entry
            standing.setdefault(entry.uid, []).append(claim)
        for uid, entry in self.entries.items():
            entry.check_invariants()
            assert uid == entry.uid
            assert sorted(standing.get(uid, [])) == sorted(entry.placed * entry.all_claims())
            assert self.maintenance_due <= entry.until or entry.state in ENDED
            assert entry.key is None or self.made_with(entry.key) is entry
        self.keys.check_invariants()
        self.clients.check_invariants()
        assert self.maintenance_due <= self.clients.due
        assert self.maintenance_due <= self.keys.due
        assert all(self.made_with(key) is not None for key, _ in self.keys.used())
        states = Counter(entry.state for entry in self.entries.values())
        assert len(self.queue) == self.tally().held == states[HELD]
        assert self.confirmed == states[CONFIRMED]
        ended = {entry.uid for entry in self.entries.values() if entry.state in ENDED}
        assert ended == {entry.uid for entry in Counter(self.ended) - self.revived}
        assert all(self.revived.values())

    def _check_holders(self, holders: Holders) -> None:
        live: dict[str, dict[Entry, int]] = {}
        for entry in self.entries.values():
            if entry.holder is not None and entry.state is HELD and entry.until > self.now:
                live.setdefault(entry.holder, {})[entry] = entry.end - entry.start
        holders.check_invariants(live, self.now)


def _over_at(entry: Entry) -> int:
    return max(entry.end, *(claim.end for claim in entry.all_claims()))
