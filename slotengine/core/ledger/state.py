"""The state of a ledger: all that decisions depend on.  Only changes write to it (`apply`).

To add something that decisions depend on: give it a slot here, with a line that says what it
is.  Write it in `apply` alone, and put what that needs in a change (`changes`).  Let `snapshot`
yield it, and let `check_invariants` compare it with what it follows from.
Times are UTC microseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from slotengine.core.ledger.changes import Requested, ReservationKept
from slotengine.core.ledger.clients import Clients
from slotengine.core.ledger.configuration import Configuration
from slotengine.core.ledger.expiry import NEVER, ExpiryQueue
from slotengine.core.ledger.holders import Holders
from slotengine.core.ledger.keys import Keys
from slotengine.core.ledger.occupancy import Occupancy
from slotengine.core.ledger.reservation import (
    CONFIRMED,
    ENDED,
    HELD,
    REQUESTED,
    Claim,
    Entry,
    Reservable,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.ledger.uids import count_in, serial_of
from slotengine.core.ledger.waitlist import Waitlist

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Moved, Reserved
    from slotengine.core.ledger.index import Index
    from slotengine.core.ledger.proposal import Slotted, Wanted
    from slotengine.core.ledger.reservation import Placement

    Slot = Slotted | Placement | Reserved | Requested | Moved | ReservationKept


class Tally(NamedTuple):
    """How many of everything there is in a ledger."""

    held: int
    """Holds; those that lapsed but were not marked yet are among them."""
    confirmed: int
    requested: int
    """What is wanted, and occupies nothing."""
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

    Everything can be read.  Only `apply`, `maintenance` and the shortcut `Ledger.reserve` write.
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
        "seq",
        "serial",
        "superseded",
        "terms",
        "waiting",
        "waitlist",
        "wanted",
    )

    def __init__(self, terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self.retention = self.terms.retention
        self.seq = 0
        """The number of the latest change."""
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

        One that was reinstated since stays where it is, and so does one whose uid was used
        again; how often that happened stands in ``superseded``."""
        self.wanted: dict[str, Wanted] = {}
        """What is wanted by each reservation that is requested, by uid."""
        self.superseded: Counter[Entry] = Counter()
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
        ended = len(self.ended) - self.superseded.total()
        return Tally(
            held=len(self.entries) - self.confirmed - ended - len(self.wanted),
            confirmed=self.confirmed,
            requested=len(self.wanted),
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

    def made_by(self, change: Reserved | Requested | ReservationKept) -> Entry:
        """Return the reservation that a change makes, which stands nowhere yet."""
        created = change.created if isinstance(change, ReservationKept) else change.at
        until = NEVER if isinstance(change, Requested) else change.until
        resource = self._sole_resource(change)
        entry = Entry(
            change.uid, until, created, change.holder, change.start, change.end, resource,
            change.event_type, False, change.quota, change.demand, change.serial, change.extra,
        )  # fmt: skip
        if resource is None:
            entry.claims, entry.seats = change.claims, change.seats
        return entry

    def _sole_resource(self, slot: Slot) -> Reservable | None:
        """Return the resource of a slot that takes one unit of one, for its own span."""
        claims = slot.claims
        if len(claims) != 1 or slot.seats is not None:
            return None
        name, start, end, units = claims[0]
        if units != 1 or start != slot.start or end != slot.end:
            return None
        return self.resources.get(name)  # None if it has ended, and its resource was removed

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

    # --- Writing: only while a change is applied, and by maintenance ------------------------------

    def add(self, entry: Entry) -> None:
        """Keep a new reservation, instead of one with its uid that is as good as forgotten."""
        before = self.entries.get(entry.uid)
        if before is not None:
            self.superseded[before] += 1
            self.forget(before)
        self.entries[entry.uid] = entry

    def slot_into(self, entry: Entry, slot: Slot) -> None:
        """Let an entry, which stands nowhere, be for a slot."""
        assert not entry.placed
        entry.start, entry.end = slot.start, slot.end
        entry.event_type, entry.seats = slot.event_type, slot.seats
        entry.demand = slot.demand
        entry.resource = self._sole_resource(slot)
        entry.claims = slot.claims if entry.resource is None else None

    def forget(self, entry: Entry) -> None:
        """Keep a reservation no longer, which stands nowhere."""
        if self.index is not None:
            self.index.remove(entry)
        del self.entries[entry.uid]
        if entry.key is not None:
            self.keys.forget(entry.key, self.now)
            self.maintenance_due = min(self.maintenance_due, self.keys.due)
            entry.key = None

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
        assert all(self.entries[uid].state is REQUESTED for uid in self.wanted)
        assert len(self.wanted) == states[REQUESTED]
        assert len(self.queue) == self.tally().held == states[HELD]
        assert self.confirmed == states[CONFIRMED]
        ended = {entry.uid for entry in self.entries.values() if entry.state in ENDED}
        assert ended == {entry.uid for entry in Counter(self.ended) - self.superseded}
        assert all(self.superseded.values())

    def _check_holders(self, holders: Holders) -> None:
        live: dict[str, dict[Entry, int]] = {}
        for entry in self.entries.values():
            if entry.holder is not None and entry.state is HELD and entry.until > self.now:
                live.setdefault(entry.holder, {})[entry] = entry.end - entry.start
        holders.check_invariants(live, self.now)
