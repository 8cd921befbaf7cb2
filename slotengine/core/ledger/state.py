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
    DEMAND_BITS,
    ENDED,
    HELD,
    REQUESTED,
    Claim,
    Entries,
    Entry,
    Reservable,
)
from slotengine.core.ledger.store import NEXT_VERSION, OTHER_CLAIMS, TAKES, Rows
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.ledger.uids import count_in, serial_of
from slotengine.core.ledger.waitlist import Waitlist

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Moved, Reserved
    from slotengine.core.ledger.index import Index
    from slotengine.core.ledger.proposal import Slotted
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
        "rows",
        "seq",
        "serial",
        "superseded",
        "terms",
        "waiting",
        "waitlist",
    )

    def __init__(self, terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self.retention = self.terms.retention
        self.seq = 0
        """The number of the latest change."""
        self.now = START_OF_TIME
        """The time of the latest step: an earlier one is read as this."""
        self.rows = Rows()
        """Reservations, those that ended within the retention among them."""
        self.entries = Entries(self.rows)
        """The same by uid, with attributes."""
        self.queue = ExpiryQueue(self.rows.numbers)
        """Holds, by when they lapse."""
        self.occupancy = Occupancy(self.rows, self.queue, lambda: self.now)
        """Who stands where."""
        self.resources: dict[str, Reservable] = self.occupancy.resources
        """The same dictionary as the occupancy's, one step nearer."""
        self.configuration = Configuration(self.occupancy)
        """Schedules, event types and documents; and resources and limits, as they are set."""
        self.holders = Holders(self.terms) if self.terms.has_quotas() else None
        """What each holder has on hold; None until a quota asks for it."""
        self.keys = Keys()
        """What each idempotency key was used for."""
        self.clients = Clients()
        """What is remembered of commands that can be repeated."""
        self.ended: deque[int] = deque()
        """The rows of ended reservations, in the order in which they were marked as such.

        One that was reinstated since stays where it is, and so does one whose uid was used
        again; how often that happened stands in ``superseded``.  Of a row that is there several
        times, so many of the first do not count."""
        self.superseded: Counter[int] = Counter()
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
            held=len(self.rows) - self.confirmed - ended - len(self.rows.wanted_of),
            confirmed=self.confirmed,
            requested=len(self.rows.wanted_of),
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
        return list(map(self.entries.at, self.queue.lapsed(now, len(self.rows))))

    def made_by(self, change: Reserved | Requested | ReservationKept, rows: Rows) -> Entry:
        """Add the reservation that a change makes, which stands nowhere yet, to some rows."""
        created = change.created if isinstance(change, ReservationKept) else change.at
        until = NEVER if isinstance(change, Requested) else change.until
        resource, claims = self._claims_of(change)
        row = rows.add(
            change.uid, change.start, change.end, until, created,
            NEXT_VERSION | DEMAND_BITS[change.demand], resource, change.serial,
        )  # fmt: skip
        entry = Entry(rows, row, change.serial)
        if claims is not None:
            entry.claims = claims
        if change.holder is not None:
            entry.holder = change.holder
        if change.event_type is not None:
            entry.event_type = change.event_type
        if change.seats is not None:
            entry.seats = change.seats
        if change.quota is not None:
            entry.quota = change.quota
        if change.extra is not None:
            entry.extra = change.extra
        return entry

    def _claims_of(self, slot: Slot) -> tuple[int, tuple[Claim, ...] | None]:
        """Return the number of the resource of which a slot takes one unit for its span.

        If it takes anything else, or the resource of one that has ended was removed since,
        return `OTHER_CLAIMS` and its claims.
        """
        claims = slot.claims
        if len(claims) == 1 and slot.seats is None:
            name, start, end, units = claims[0]
            if units == 1 and start == slot.start and end == slot.end:
                resource = self.resources.get(name)
                if resource is not None:
                    return resource.number, None
        return OTHER_CLAIMS, claims

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

    def add(self, change: Reserved | Requested | ReservationKept) -> Entry:
        """Keep a new reservation, instead of one with its uid that is as good as forgotten."""
        before = self.rows.row_of.get(change.uid)
        if before is not None:
            self.superseded[before] += 1
            self.forget(before)
        return self.made_by(change, self.rows)

    def slot_into(self, entry: Entry, slot: Slot) -> None:
        """Let an entry, which stands nowhere, be for a slot."""
        assert not entry.placed
        entry.start, entry.end = slot.start, slot.end
        entry.event_type, entry.seats, entry.demand = slot.event_type, slot.seats, slot.demand
        self.rows.numbers[entry.number + TAKES], entry.claims = self._claims_of(slot)

    def forget(self, row: int) -> None:
        """Keep the reservation of a row no longer, which stands nowhere."""
        if self.index is not None:
            self.index.remove(self.entries.at(row))
        key = self.rows.key_of.get(row)
        self.rows.remove(row)
        if key is not None:
            self.keys.forget(key, self.now)
            self.maintenance_due = min(self.maintenance_due, self.keys.due)

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant of the state.  O(n log n); for tests and simulation."""
        self.rows.check_invariants()
        self.queue.check_invariants()
        self.configuration.check_invariants()
        if self.holders is not None:
            self._check_holders(self.holders)
        self.occupancy.check_invariants()
        if self.index is not None:
            self.index.check_invariants()
        standing: dict[str, list[Claim]] = {}
        for entry, claim in self.occupancy.standing():
            assert self.entries[entry.uid] == entry
            standing.setdefault(entry.uid, []).append(claim)
        for uid, entry in self.entries.items():
            entry.check_invariants()
            assert uid == entry.uid
            assert sorted(standing.get(uid, [])) == sorted(entry.placed * entry.all_claims())
            assert self.maintenance_due <= entry.until or entry.state in ENDED
            assert entry.key is None or self.made_with(entry.key) == entry
        self.keys.check_invariants()
        self.clients.check_invariants()
        assert self.maintenance_due <= self.clients.due
        assert self.maintenance_due <= self.keys.due
        assert all(self.made_with(key) is not None for key, _ in self.keys.used())
        states = Counter(entry.state for entry in self.entries.values())
        held = {entry.number for entry in self.entries.values() if entry.state is HELD}
        assert held == set(self.queue)
        assert len(self.queue) == self.tally().held == len(held)
        assert all(self.entries.at(row).state is REQUESTED for row in self.rows.wanted_of)
        assert len(self.rows.wanted_of) == states[REQUESTED]
        assert self.confirmed == states[CONFIRMED]
        ended = {entry.number for entry in self.entries.values() if entry.state in ENDED}
        assert ended == set(Counter(self.ended) - self.superseded)
        assert all(self.superseded.values())

    def _check_holders(self, holders: Holders) -> None:
        live: dict[str, dict[Entry, int]] = {}
        for entry in self.entries.values():
            if entry.holder is not None and entry.state is HELD and entry.until > self.now:
                live.setdefault(entry.holder, {})[entry] = entry.end - entry.start
        holders.check_invariants(live, self.now)
