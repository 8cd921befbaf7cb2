"""Reservations that no ledger has made, for tests of what ledgers are made of."""

from __future__ import annotations

from slotengine.core.ledger.reservation import Entries, Entry, Reservable
from slotengine.core.ledger.store import NEXT_VERSION, OTHER_CLAIMS, Rows


class Made:
    """Rows, and resources that these refer to."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.entries = Entries(self.rows)
        self.count = 0

    def entry(
        self, start: int = 0, end: int = 1, *, until: int = 100, created: int = 0, uid: str = ""
    ) -> Entry:
        """Add a hold, which takes nothing yet, and return it."""
        self.count += 1
        self.rows.add(
            uid or f"uid-{self.count}", start, end, until, created, NEXT_VERSION, OTHER_CLAIMS,
            self.count,
        )  # fmt: skip
        return self.entries[uid or f"uid-{self.count}"]

    def resource(self, id: str, capacity: int = 1) -> Reservable:
        """Return a new resource."""
        resource = Reservable(id, self.entries.at, capacity)
        resource.number = self.rows.add_resource(id, resource)
        return resource
