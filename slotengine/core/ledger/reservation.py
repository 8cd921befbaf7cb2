"""What a reservation is, and what may become of it.

One table, `NEXT`, holds every transition; nothing else in slotengine decides
whether a verb is admitted in a state.

::

    HELD ──confirm──▶ CONFIRMED ──cancel──▶ CANCELLED
     │ └──release──▶ RELEASED        ▲
     └────expire───▶ EXPIRED ──reinstate

    REQUESTED ──confirm──▶ CONFIRMED, ──release──▶ RELEASED, ──cancel──▶ CANCELLED

What is requested occupies nothing: it is kept as it is wanted, and decided when it is confirmed.
A hold is live while ``now < until``.  A hold whose ``until`` has come *is*
expired, whether or not anybody has marked it yet: `Entry.state_at` is the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from slotengine.core.ledger.config import LIMIT
from slotengine.core.ledger.expiry import NEVER, PENDING
from slotengine.core.ledger.resource import Resource
from slotengine.core.ledger.store import (
    CHANGED,
    CREATED,
    DEMAND,
    DEMAND_SHIFT,
    END,
    MORE,
    NEXT_VERSION,
    OTHER_CLAIMS,
    PLACED,
    SERIAL,
    START,
    STATE,
    TAKES,
    UNTIL,
    VERSION,
    WIDTH,
    WORD,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from slotengine.core.ledger.extra import Extra
    from slotengine.core.ledger.proposal import Wanted
    from slotengine.core.ledger.quota import Quota
    from slotengine.core.ledger.store import Rows


class _Fast(Enum):
    # Members are singletons, so identity is hash enough.  Enum's own hash is Python code:
    # measured, a look into a table of states or verbs costs 0.11 µs with it, and 0.07 so.
    __hash__ = object.__hash__


class State(_Fast):
    """The state of a reservation."""

    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REQUESTED = "requested"
    """What is wanted is kept, and nothing is occupied: confirming it decides it."""


class Verb(_Fast):
    """What can be done to a reservation.

    ``REINSTATE`` is confirming a hold that has expired, because its span is
    still free; callers ask for it by confirming ``if_still_free``.
    """

    RESERVE = "reserve"
    REQUEST = "request"
    """It is kept as it is wanted, until it is confirmed."""
    EXTEND = "extend"
    MOVE = "move"
    CONFIRM = "confirm"
    REINSTATE = "reinstate"
    RELEASE = "release"
    EXPIRE = "expire"
    CANCEL = "cancel"
    ANNOTATE = "annotate"
    """Its metadata, details or tags are replaced."""
    FORGET = "forget"
    """A booking that is over is forgotten on request.  That is told, and is no change of it."""
    REPLACE = "replace"
    """Another one is made in its place.  What is told is its release, or cancellation, and then
    that the other one is reserved."""


class Demand(_Fast):
    """What is asked of a reservation, but for room: when it is made, and when it is reinstated."""

    NOTHING = "nothing"
    AHEAD = "ahead"
    """That it is not over."""
    HOURS = "hours"
    """That it is not over, and in the resources' own hours."""
    RULES = "rules"
    """All that its event type asks."""


STATES: Final = tuple(State)
"""The states, each at the place that is its number in a row."""

NUMBER_OF: Final = {state: number for number, state in enumerate(STATES)}

DEMANDS: Final = tuple(Demand)
"""What may be asked of a reservation, each at the place that is its number in a row."""

DEMAND_BITS: Final = {demand: number << DEMAND_SHIFT for number, demand in enumerate(DEMANDS)}
"""The bits of a row's word for each."""

ANYTHING_GOES: Final = Demand.NOTHING
HELD: Final = State.HELD  # a module global is found faster than an enum's member
CONFIRMED: Final = State.CONFIRMED
REQUESTED: Final = State.REQUESTED
EXPIRED: Final = State.EXPIRED
RESERVE: Final = Verb.RESERVE
REQUEST: Final = Verb.REQUEST
EXTEND: Final = Verb.EXTEND
MOVE: Final = Verb.MOVE
CONFIRM: Final = Verb.CONFIRM
REINSTATE: Final = Verb.REINSTATE
RELEASE: Final = Verb.RELEASE
EXPIRE: Final = Verb.EXPIRE
CANCEL: Final = Verb.CANCEL
ANNOTATE: Final = Verb.ANNOTATE
FORGET: Final = Verb.FORGET
REPLACE: Final = Verb.REPLACE

NEXT: Final[dict[State, dict[Verb, State]]] = {
    State.HELD: {
        Verb.EXTEND: State.HELD,
        Verb.MOVE: State.HELD,
        Verb.ANNOTATE: State.HELD,
        Verb.CONFIRM: State.CONFIRMED,
        Verb.RELEASE: State.RELEASED,
        Verb.REPLACE: State.RELEASED,
        Verb.EXPIRE: State.EXPIRED,
    },
    State.CONFIRMED: {
        Verb.MOVE: State.CONFIRMED,
        Verb.ANNOTATE: State.CONFIRMED,
        Verb.CANCEL: State.CANCELLED,
        Verb.REPLACE: State.CANCELLED,
    },
    State.RELEASED: {Verb.ANNOTATE: State.RELEASED},
    State.EXPIRED: {Verb.REINSTATE: State.CONFIRMED},
    State.CANCELLED: {Verb.ANNOTATE: State.CANCELLED},
    State.REQUESTED: {
        Verb.MOVE: State.REQUESTED,
        Verb.ANNOTATE: State.REQUESTED,
        Verb.CONFIRM: State.CONFIRMED,
        Verb.RELEASE: State.RELEASED,
        Verb.CANCEL: State.CANCELLED,
    },
}
"""Every transition.  A pair that is not here, nor in `REPEATS`, is refused.

What was given up can be annotated, such as by why; a hold that has expired is refused, as to
every verb but two."""

REPEATS: Final[dict[State, frozenset[Verb]]] = {
    State.HELD: frozenset(),
    State.CONFIRMED: frozenset({Verb.CONFIRM}),
    State.RELEASED: frozenset({Verb.RELEASE}),
    State.EXPIRED: frozenset({Verb.RELEASE}),
    State.CANCELLED: frozenset({Verb.CANCEL}),
    State.REQUESTED: frozenset(),
}
"""Verbs that are already true of a state: accepted, and nothing changes."""

ENDED: Final = frozenset({State.RELEASED, State.EXPIRED, State.CANCELLED})
"""States that occupy nothing any more."""


NOWHERE: Final = ENDED | {State.REQUESTED}
"""States that occupy nothing."""


class Claim(NamedTuple):
    """A reservation's take on one resource: the occupied span (slot plus buffers) and units."""

    resource: str
    start: int
    end: int
    units: int = 1


def is_limit(resource: str) -> bool:
    """Return whether an id is that of a limit, and not of a thing.

    >>> is_limit("limit:day:consultation"), is_limit("room-1")
    (True, False)
    """
    return resource.startswith(LIMIT)


class Seats(NamedTuple):
    """How many seats a reservation takes of the shared session that it joins, and of how many."""

    total: int
    wanted: int = 1


class Placement(NamedTuple):
    """What a reservation is for: all that a move changes."""

    start: int
    end: int
    claims: tuple[Claim, ...]
    event_type: str | None
    seats: Seats | None
    hosts: frozenset[str] | None = None
    """Among whom a session must be, to be joined; None: whoever has it."""
    demand: Demand = ANYTHING_GOES

    @classmethod
    def of(cls, entry: Entry) -> Placement:
        """Return what an entry is for."""
        return cls(
            entry.start, entry.end, entry.all_claims(), entry.event_type, entry.seats, None,
            entry.demand,
        )  # fmt: skip


class Session:
    """One shared session: it occupies its claims once, for all who have a seat in it.

    There is one per event type and start.  It stands in the timelines as long
    as it has members; it is live as long as one of them is.
    """

    __slots__ = ("claims", "created", "end", "key", "members", "number", "start", "taken", "uid")

    def __init__(
        self,
        key: tuple[str, int],
        start: int,
        end: int,
        claims: tuple[Claim, ...],
        created: int,
        uid: str = "",
        number: int = 0,
    ) -> None:
        self.uid = uid
        """See `uids.session_uid`; empty for one that is only thought of."""
        self.number = number
        """What it is called in the timelines: below 0, where no row is.

        0 for one that is only thought of."""
        self.key = key
        self.start = start
        self.end = end
        self.created = created  # when the one who opened it was
        self.claims = claims
        self.members: MutableMapping[str, Entry] = {}
        self.taken = 0

    def all_claims(self) -> tuple[Claim, ...]:
        """Return what it occupies."""
        return self.claims

    def is_one_with(self, other: Entry | Session) -> bool:
        """Return whether another one is this session, perhaps as a view sees it."""
        return isinstance(other, Session) and other.key == self.key

    def is_among(self, hosts: frozenset[str] | None) -> bool:
        """Return whether all that it occupies, limits aside, is among these; None: whatever is."""
        return hosts is None or all(
            claim.resource in hosts or is_limit(claim.resource) for claim in self.claims
        )

    @property
    def event_type(self) -> str:
        """What it is a session of."""
        return self.key[0]

    @property
    def until(self) -> int:
        """When the last of its members lapses.  O(members)."""
        return self.until_without(None)

    def until_without(self, own: Entry | None) -> int:
        """Return when the last of its members but ``own`` lapses; -NEVER if there is no other."""
        others = (member.until for member in self.members.values() if member != own)
        return max(others, default=-NEVER)


Numbers: TypeAlias = tuple[str, State, int, int, int, int, int, int, int, str | None, int]
"""The uid, state and version of a reservation, its start, end and until, when it was created and
changed, its serial number, the id of its `Entry.resource`, and not 0 if there may be more."""

Beside: TypeAlias = tuple[
    tuple[Claim, ...] | None, str | None, str | None, Seats | None, "Session | None", str | None,
    "Extra | None",
]  # fmt: skip
"""The claims of a reservation, if its `Entry.resource` is none; its holder, event type, seats,
session, key, and the like."""


class Entry:
    """A reservation as the ledger keeps it: where its row is, and what can be read there.

    It belongs to the ledger, which changes the row.  Callers may read it until they next let
    the ledger act, and must not write: later the row may be of another reservation, and
    reading it is an error.  Two are equal if they are the same reservation of one ledger.
    """

    __slots__ = ("number", "rows", "serial")

    def __init__(self, rows: Rows, number: int, serial: int) -> None:
        self.rows = rows
        self.number = number
        """Where its row begins; also what it is called in the timelines."""
        self.serial = serial
        """See `uids.serial_of`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and other.serial == self.serial and other.rows is self.rows

    def __hash__(self) -> int:
        return self.serial

    def __repr__(self) -> str:
        if not self.is_known():
            return f"<Entry {self.serial}, forgotten>"
        return f"<Entry {self.uid} {self.state.value}>"

    def is_known(self) -> bool:
        """Return whether it is not forgotten yet, so that it can be read."""
        return self.rows.numbers[self.number + SERIAL] == self.serial

    @property
    def _row(self) -> int:
        """Where its row begins, checked to be still its own."""
        number = self.number
        assert self.rows.numbers[number + SERIAL] == self.serial, "it is forgotten"
        return number

    def read_at(self, now: int) -> Numbers:
        """Return its numbers at once, as what they stand for at ``now``.

        Measured, with all of `Reservation`: 0.5 µs, and 1.8 one by one.
        """
        rows, row = self.rows, self.number
        start, end, until, created, changed, word, takes, serial, _ = rows.read(row)
        assert serial == self.serial, "it is forgotten"
        state = STATES[word & STATE]
        version = word >> VERSION
        if until <= now:
            if state is HELD:  # as `state_at` and `version_at`
                state = EXPIRED
                version += 1
            if state is EXPIRED:
                changed = until  # the same whether or not it is marked yet
        return (
            rows.uids[row // WIDTH], state, version, start, end, until, created, changed,
            serial, None if takes < 0 else rows.resources[takes].id, word & MORE,
        )  # fmt: skip

    def read_beside(self) -> Beside:
        """Return at once what stands beside its numbers."""
        rows, row = self.rows, self._row
        return (
            rows.claims_of.get(row), rows.holder_of.get(row), rows.event_type_of.get(row),
            rows.seats_of.get(row), rows.session_of.get(row), rows.key_of.get(row),
            rows.extra_of.get(row),
        )  # fmt: skip

    # --- Numbers -------------------------------------------------------------------------

    @property
    def uid(self) -> str:
        """Its name."""
        number = self.number  # as `_row`, written out: measured, 0.06 µs instead of 0.14
        assert self.rows.numbers[number + SERIAL] == self.serial, "it is forgotten"
        return self.rows.uids[number // WIDTH]

    @property
    def start(self) -> int:
        """When its slot begins."""
        return self.rows.numbers[self._row + START]

    @start.setter
    def start(self, start: int) -> None:
        self.rows.numbers[self._row + START] = start

    @property
    def end(self) -> int:
        """When its slot ends."""
        return self.rows.numbers[self._row + END]

    @end.setter
    def end(self, end: int) -> None:
        self.rows.numbers[self._row + END] = end

    @property
    def until(self) -> int:
        """While held, when it lapses; once ended, when it ended; for a booking, never."""
        numbers, number = self.rows.numbers, self.number
        assert numbers[number + SERIAL] == self.serial, "it is forgotten"
        return numbers[number + UNTIL]

    @until.setter
    def until(self, until: int) -> None:
        self.rows.numbers[self._row + UNTIL] = until

    @property
    def created(self) -> int:
        """When it was made."""
        return self.rows.numbers[self._row + CREATED]

    @property
    def changed(self) -> int:
        """When the latest change was recorded."""
        return self.rows.numbers[self._row + CHANGED]

    @changed.setter
    def changed(self, changed: int) -> None:
        self.rows.numbers[self._row + CHANGED] = changed

    @property
    def state(self) -> State:
        """What it is marked as; see `state_at`."""
        return STATES[self.rows.numbers[self._row + WORD] & STATE]

    @state.setter
    def state(self, state: State) -> None:
        at = self._row + WORD
        self.rows.numbers[at] = self.rows.numbers[at] & ~STATE | NUMBER_OF[state]

    @property
    def version(self) -> int:
        """Raised by every change."""
        return self.rows.numbers[self._row + WORD] >> VERSION

    @version.setter
    def version(self, version: int) -> None:
        at = self._row + WORD
        flags = self.rows.numbers[at] & (NEXT_VERSION - 1)
        self.rows.numbers[at] = version << VERSION | flags

    @property
    def placed(self) -> bool:
        """Whether its claims stand in the timelines."""
        return bool(self.rows.numbers[self._row + WORD] & PLACED)

    @placed.setter
    def placed(self, placed: bool) -> None:
        at = self._row + WORD
        self.rows.numbers[at] = self.rows.numbers[at] & ~PLACED | placed * PLACED

    @property
    def demand(self) -> Demand:
        """What is asked of it when it is reinstated."""
        return DEMANDS[(self.rows.numbers[self._row + WORD] & DEMAND) >> DEMAND_SHIFT]

    @demand.setter
    def demand(self, demand: Demand) -> None:
        at = self._row + WORD
        self.rows.numbers[at] = self.rows.numbers[at] & ~DEMAND | DEMAND_BITS[demand]

    @property
    def resource(self) -> Reservable | None:
        """The resource of which it takes one unit for exactly its slot, as is usual.

        None if it takes anything else: see `claims`.
        """
        number = self.rows.numbers[self._row + TAKES]
        if number == OTHER_CLAIMS:
            return None
        resource: Reservable = self.rows.resources[number]
        return resource

    @resource.setter
    def resource(self, resource: Reservable | None) -> None:
        number = OTHER_CLAIMS if resource is None else resource.number
        self.rows.numbers[self._row + TAKES] = number

    # --- What stands beside the numbers ----------------------------------------------------

    @property
    def claims(self) -> tuple[Claim, ...] | None:
        """Its claims, if there is not just the one of its `resource`."""
        claims: tuple[Claim, ...] | None = self.rows.claims_of.get(self._row)
        return claims

    @claims.setter
    def claims(self, claims: tuple[Claim, ...] | None) -> None:
        self.rows.keep(self.rows.claims_of, self._row, claims)

    @property
    def holder(self) -> str | None:
        """For whom it was made."""
        return self.rows.holder_of.get(self._row)

    @holder.setter
    def holder(self, holder: str | None) -> None:
        self.rows.keep(self.rows.holder_of, self._row, holder)

    @property
    def event_type(self) -> str | None:
        """What was booked."""
        return self.rows.event_type_of.get(self._row)

    @event_type.setter
    def event_type(self, event_type: str | None) -> None:
        self.rows.keep(self.rows.event_type_of, self._row, event_type)

    @property
    def seats(self) -> Seats | None:
        """The seats that it takes of a session."""
        seats: Seats | None = self.rows.seats_of.get(self._row)
        return seats

    @seats.setter
    def seats(self, seats: Seats | None) -> None:
        self.rows.keep(self.rows.seats_of, self._row, seats)

    @property
    def session(self) -> Session | None:
        """The session that it is in."""
        session: Session | None = self.rows.session_of.get(self._row)
        return session

    @session.setter
    def session(self, session: Session | None) -> None:
        self.rows.keep(self.rows.session_of, self._row, session)

    @property
    def key(self) -> str | None:
        """Its idempotency key."""
        return self.rows.key_of.get(self._row)

    @key.setter
    def key(self, key: str | None) -> None:
        self.rows.keep(self.rows.key_of, self._row, key)

    @property
    def quota(self) -> Quota | None:
        """What it was made under: renewing and moving it count for whoever made it."""
        quota: Quota | None = self.rows.quota_of.get(self._row)
        return quota

    @quota.setter
    def quota(self, quota: Quota | None) -> None:
        self.rows.keep(self.rows.quota_of, self._row, quota)

    @property
    def extra(self) -> Extra | None:
        """Metadata, details, tags and the like."""
        return self.rows.extra_of.get(self._row)

    @extra.setter
    def extra(self, extra: Extra | None) -> None:
        self.rows.keep(self.rows.extra_of, self._row, extra)

    @property
    def wanted(self) -> Wanted | None:
        """What is wanted, while it is requested."""
        wanted: Wanted | None = self.rows.wanted_of.get(self._row)
        return wanted

    @wanted.setter
    def wanted(self, wanted: Wanted | None) -> None:
        self.rows.keep(self.rows.wanted_of, self._row, wanted)

    # --- What follows from it --------------------------------------------------------------

    def state_at(self, now: int) -> State:
        """Return the state that holds at ``now``: a hold past its ``until`` is expired."""
        state = self.state
        return State.EXPIRED if state is HELD and self.until <= now else state

    def version_at(self, now: int) -> int:
        """Return the version that goes with `state_at`: expiry is a change like any other."""
        return self.version + (self.state is HELD and self.until <= now)

    def until_without(self, own: Entry | None) -> int:
        """Return when it lapses; -NEVER if it is ``own``, in whose way it is not."""
        return -NEVER if self == own else self.until

    @property
    def session_key(self) -> tuple[str, int]:
        """Which session it belongs to: the one of its event type and start."""
        event_type = self.event_type
        assert event_type is not None
        return event_type, self.start

    @property
    def seats_wanted(self) -> int:
        """How many seats it takes of its session."""
        seats = self.seats
        assert seats is not None
        return seats.wanted

    def all_claims(self) -> tuple[Claim, ...]:
        """Return its claims, however they are kept."""
        resource = self.resource
        if resource is not None:
            return (Claim(resource.id, self.start, self.end),)
        claims = self.claims
        assert claims is not None
        return claims

    def check_invariants(self) -> None:
        """Assert every invariant of one reservation; for tests and simulation."""
        assert self.start < self.end
        assert self.version >= 1
        assert (self.resource is None) != (self.claims is None)
        assert self.until == BOOKED_UNTIL or self.state is not CONFIRMED
        assert self.until < PENDING or self.state not in ENDED
        assert self.serial > 0
        assert self.placed or self.state is not CONFIRMED
        assert not (self.placed and self.state in NOWHERE)
        assert self.until == NEVER or self.state is not REQUESTED
        assert (self.session is not None) == (self.placed and self.seats is not None)


class Entries(Mapping[str, Entry]):
    """The reservations of some rows by uid, as they are now; to be read."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def at(self, number: int) -> Entry:
        """Return the reservation whose row begins somewhere."""
        rows = self._rows
        return Entry(rows, number, rows.numbers[number + SERIAL])

    def __getitem__(self, uid: str) -> Entry:
        rows = self._rows
        number = rows.row_of[uid]
        return Entry(rows, number, rows.numbers[number + SERIAL])

    def __contains__(self, uid: object) -> bool:
        return uid in self._rows.row_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.row_of)

    def __len__(self) -> int:
        return len(self._rows.row_of)


BOOKED_UNTIL: Final = NEVER
UNDYING: Final = NEVER - 1
"""Until when the claims of a batch stand in the eyes of that batch: it is no use to wait."""


Reservable: TypeAlias = Resource[Entry | Session]
"""A resource that reservations take, and the sessions that share it."""
