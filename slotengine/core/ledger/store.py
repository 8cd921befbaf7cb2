"""How reservations are kept: a row of numbers for each, which refers to no object.

As objects, a million reservations take half a kilobyte each, and each full collection of
Python's cycle collector visits them one by one.  So a reservation is a *row*: `WIDTH` numbers
of one array.  What few reservations have (a holder, several claims, a key) stands apart, in
mappings from rows to what they have.

This module alone decides the layout.  Code that runs in each operation reads and writes single
numbers, as in ``numbers[row + UNTIL]``; everything else uses `Entry`, which has attributes.

A row is known by where it begins in the array.  When its reservation is forgotten, the row is
used for another one; the serial number tells them apart.  So rows do not leave the ledger:
outside, a reservation is known by its uid.

Knows nothing of what the numbers mean for decisions.  Times are UTC microseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from slotengine.core.ledger.extra import Extra

WIDTH: Final = 9
"""How many numbers a row has."""

START: Final = 0
END: Final = 1
UNTIL: Final = 2
"""When a hold lapses, or when what has ended did so; `expiry.NEVER` for a booking."""
CREATED: Final = 3
CHANGED: Final = 4
WORD: Final = 5
"""The state, the version and what else needs few bits: see below."""
TAKES: Final = 6
"""The number of the resource of which it takes one unit for its slot, or `OTHER_CLAIMS`."""
SERIAL: Final = 7
"""The serial number; 0 if the row is free."""
BUCKET: Final = 8
"""In which bucket of the expiry queue it is, while it is held."""

OTHER_CLAIMS: Final = -1

STATE: Final = 0b0000111
"""The bits of a word that are the number of the state."""
PLACED: Final = 0b0001000
"""The bit of a word that says that the claims stand in the timelines."""
MORE: Final = 0b0010000
"""The bit of a word that says that there is, or was, something beside the numbers."""
DEMAND: Final = 0b1100000
"""The bits of a word that are the number of what is asked of the reservation."""
DEMAND_SHIFT: Final = 5
"""How many bits of a word are to the right of these."""
VERSION: Final = 7
"""How many bits of a word are to the right of the version."""
NEXT_VERSION: Final = 1 << VERSION
"""Added to a word, it raises the version by one."""

WHOLE: Final = Struct(f"{WIDTH}q")
"""Reads or writes a row at once.  Measured: 0.25 µs, and 0.4 for nine assignments."""

BYTES: Final = 8
"""How many bytes a number takes."""

UNUSED: Final = 256
"""So many resources that were removed are not worth looking for who still refers to them."""


class Rows:
    """The rows of all reservations, and what stands beside them.

    >>> rows = Rows()
    >>> row = rows.add("a", 900, 930, 1200, 600, NEXT_VERSION | PLACED, OTHER_CLAIMS, 1)
    >>> rows.numbers[row + END], rows.row_of["a"] == row, rows.uid(row)
    (930, True, 'a')
    >>> rows.remove(row)
    >>> len(rows), "a" in rows.row_of
    (0, False)
    """

    __slots__ = (
        "_beside",
        "_removed",
        "_spare",
        "_unused",
        "claims_of",
        "event_type_of",
        "extra_of",
        "free",
        "holder_of",
        "key_of",
        "number_of",
        "numbers",
        "quota_of",
        "resources",
        "row_of",
        "seats_of",
        "session_of",
        "uids",
        "wanted_of",
    )

    def __init__(self, *, unused: int = UNUSED) -> None:
        self._unused = unused
        self.numbers = array("q")
        self.uids: list[str] = []
        """The uid of each row, found at ``row // WIDTH``; of a free row, empty."""
        self.row_of: dict[str, int] = {}
        """Where the row of each uid begins."""
        self.free: list[int] = []
        """Rows without a reservation; the last is used first."""
        # What few reservations have, by row.  Its types are those of the attributes of `Entry`.
        self.holder_of: dict[int, str] = {}
        self.event_type_of: dict[int, str] = {}
        self.claims_of: dict[int, Any] = {}
        """The claims of those that take others than one unit of one resource for their slot."""
        self.seats_of: dict[int, Any] = {}
        self.session_of: dict[int, Any] = {}
        self.key_of: dict[int, str] = {}
        self.quota_of: dict[int, Any] = {}
        self.extra_of: dict[int, Extra] = {}
        self.wanted_of: dict[int, Any] = {}
        """What is wanted by those that are requested, and by no others."""
        self._beside: tuple[dict[int, Any], ...] = (
            self.holder_of, self.event_type_of, self.claims_of, self.seats_of, self.session_of,
            self.key_of, self.quota_of, self.extra_of, self.wanted_of,
        )  # fmt: skip
        self.resources: list[Any] = []
        """The resources by number; one that was removed stays as long as it may be referred to."""
        self.number_of: dict[str, int] = {}
        """The number of each of these, by id."""
        self._removed: set[str] = set()
        self._spare: list[int] = []  # numbers of resources that can be given once more

    def __len__(self) -> int:
        """Return how many reservations there are.  O(1)."""
        return len(self.row_of)

    def __iter__(self) -> Iterator[int]:
        """Yield the row of every reservation, in the order in which they were added."""
        return iter(self.row_of.values())

    def apart(self) -> Rows:
        """Return other rows, none yet, for reservations of the same resources."""
        rows = Rows()
        rows.resources, rows.number_of = self.resources, self.number_of
        return rows

    # --- Reservations --------------------------------------------------------------------

    def add(
        self,
        uid: str,
        start: int,
        end: int,
        until: int,
        created: int,
        word: int,
        resource: int,
        serial: int,
    ) -> int:
        """Keep a reservation of a new uid, and return where its row begins.  O(1) amortized."""
        numbers, free = self.numbers, self.free
        if free:
            row = free.pop()
            self.uids[row // WIDTH] = uid
            WHOLE.pack_into(
                numbers, row * BYTES,
                start, end, until, created, created, word, resource, serial, 0,
            )  # fmt: skip
        else:
            row = len(numbers)
            self.uids.append(uid)
            numbers.frombytes(
                WHOLE.pack(start, end, until, created, created, word, resource, serial, 0)
            )
        self.row_of[uid] = row
        return row

    def remove(self, row: int) -> None:
        """Forget a reservation, and free its row.  O(1)."""
        number, numbers = row // WIDTH, self.numbers
        del self.row_of[self.uids[number]]
        self.uids[number] = ""
        numbers[row + SERIAL] = 0
        if numbers[row + WORD] & MORE:
            for mapping in self._beside:
                mapping.pop(row, None)
        self.free.append(row)

    def keep(self, mapping: dict[int, Any], row: int, value: object) -> None:
        """Let a reservation have something in one of the mappings beside its numbers, or None."""
        if value is None:
            mapping.pop(row, None)
        else:
            mapping[row] = value
            self.numbers[row + WORD] |= MORE

    def uid(self, row: int) -> str:
        """Return the uid of a row's reservation."""
        return self.uids[row // WIDTH]

    def read(self, row: int) -> tuple[int, ...]:
        """Return the numbers of a row, in the order of the columns."""
        return WHOLE.unpack_from(self.numbers, row * BYTES)

    # --- Resources -----------------------------------------------------------------------

    def add_resource(self, id: str, resource: object) -> int:
        """Return a number for a resource that is new.

        If one of this id was removed, the new one takes its place, for all that refer to it.
        """
        number = self.number_of.get(id)
        if number is not None:
            self._removed.remove(id)
            self.resources[number] = resource
            return number
        if self._spare:
            number = self._spare.pop()
            self.resources[number] = resource
        else:
            number = len(self.resources)
            self.resources.append(resource)
        self.number_of[id] = number
        return number

    def remove_resource(self, id: str) -> None:
        """Note that a resource was removed, so that its number is free when nobody refers to it.

        O(n), once for `UNUSED` of them, and for as many as there are others.
        """
        self._removed.add(id)
        if len(self._removed) < max(self._unused, len(self.number_of) // 2):
            return
        used = {self.numbers[row + TAKES] for row in self}
        for name in [one for one in self._removed if self.number_of[one] not in used]:
            self._removed.remove(name)
            self._spare.append(self.number_of.pop(name))

    # --- Invariants ----------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests and simulation."""
        numbers = self.numbers
        assert len(numbers) == len(self.uids) * WIDTH
        used = set(self.row_of.values())
        assert len(used) == len(self.row_of)
        assert len(set(self.free)) == len(self.free)
        assert used.isdisjoint(self.free)
        assert used.union(self.free) == set(range(0, len(numbers), WIDTH))
        assert all(self.uid(row) == uid for uid, row in self.row_of.items())
        assert not any(map(self.uid, self.free))
        assert not any(numbers[row + SERIAL] for row in self.free)
        serials = {numbers[row + SERIAL] for row in used}
        assert len(serials - {0}) == len(used)
        more = {row for row in used if numbers[row + WORD] & MORE}
        assert all(mapping.keys() <= more for mapping in self._beside)
        given = sorted(self.number_of.values())
        assert sorted([*given, *self._spare]) == list(range(len(self.resources)))
        assert self._removed <= self.number_of.keys()
        referred = {numbers[row + TAKES] for row in used} - {OTHER_CLAIMS}
        assert referred <= set(given)
