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

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from slotengine.core.ledger.config import LIMIT
from slotengine.core.ledger.expiry import NEVER, PENDING
from slotengine.core.ledger.resource import Resource

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from slotengine.core.ledger.extra import Extra
    from slotengine.core.ledger.quota import Quota


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

    __slots__ = ("claims", "created", "end", "key", "members", "start", "taken", "uid")

    def __init__(
        self,
        key: tuple[str, int],
        start: int,
        end: int,
        claims: tuple[Claim, ...],
        created: int,
        uid: str = "",
    ) -> None:
        self.uid = uid
        """See `uids.session_uid`; empty for one that is only thought of."""
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
        others = (member.until for member in self.members.values() if member is not own)
        return max(others, default=-NEVER)


class Entry:
    """A reservation as the ledger keeps it.

    It belongs to the ledger, which changes it in place.  Callers may read it
    until they next let the ledger act, and must not write.
    """

    __slots__ = (
        "changed",
        "claims",
        "created",
        "demand",
        "end",
        "event_type",
        "extra",
        "holder",
        "key",
        "place",
        "placed",
        "queued",
        "quota",
        "resource",
        "seats",
        "serial",
        "session",
        "start",
        "state",
        "uid",
        "until",
        "version",
    )

    place: int  # the expiry queue's, like `queued`

    def __init__(
        self,
        uid: str,
        until: int,
        created: int,
        holder: str | None,
        start: int = 0,
        end: int = 0,
        resource: Reservable | None = None,
        event_type: str | None = None,
        placed: bool = False,
        quota: Quota | None = None,
        demand: Demand = ANYTHING_GOES,
        serial: int = 0,
        extra: Extra | None = None,
    ) -> None:
        self.uid = uid
        self.serial = serial
        """See `uids.serial_of`."""
        self.extra = extra
        self.demand = demand
        self.state = HELD
        self.version = 1
        # While held, the moment it lapses; once ended, the moment it ended; for a booking, never.
        self.until = until
        self.created = self.changed = created  # the latter: when the latest change was recorded
        self.holder = holder
        # What it was made under: renewing and moving it count for whoever made it.
        self.quota = quota
        self.key: str | None = None
        self.queued: Any = None
        # Its slot.  The usual reservation takes one unit of one resource for exactly its
        # slot: then `resource` says it all.  Otherwise `claims` does, and `resource` is None.
        self.start = start
        self.end = end
        self.resource = resource
        self.event_type = event_type
        self.claims: tuple[Claim, ...] | None = None
        self.seats: Seats | None = None
        self.session: Session | None = None
        self.placed = placed
        """Whether its claims stand in the timelines."""

    def state_at(self, now: int) -> State:
        """Return the state that holds at ``now``: a hold past its ``until`` is expired."""
        if self.state is HELD and self.until <= now:
            return State.EXPIRED
        return self.state

    def version_at(self, now: int) -> int:
        """Return the version that goes with `state_at`: expiry is a change like any other."""
        return self.version + (self.state is HELD and self.until <= now)

    def until_without(self, own: Entry | None) -> int:
        """Return when it lapses; -NEVER if it is ``own``, in whose way it is not."""
        return -NEVER if self is own else self.until

    @property
    def session_key(self) -> tuple[str, int]:
        """Which session it belongs to: the one of its event type and start."""
        assert self.event_type is not None
        return self.event_type, self.start

    @property
    def seats_wanted(self) -> int:
        """How many seats it takes of its session."""
        assert self.seats is not None
        return self.seats.wanted

    def all_claims(self) -> tuple[Claim, ...]:
        """Return its claims, however they are kept."""
        if self.claims is not None:
            return self.claims
        assert self.resource is not None
        return (Claim(self.resource.id, self.start, self.end),)

    def check_invariants(self) -> None:
        """Assert every invariant of one reservation; for tests and simulation."""
        assert self.start < self.end
        assert self.version >= 1
        assert (self.resource is None) != (self.claims is None)
        assert (self.queued is not None) == (self.state is HELD)
        assert self.until == BOOKED_UNTIL or self.state is not CONFIRMED
        assert self.until < PENDING or self.state not in ENDED
        assert self.serial > 0
        assert self.placed or self.state is not CONFIRMED
        assert not (self.placed and self.state in NOWHERE)
        assert self.until == NEVER or self.state is not REQUESTED
        assert (self.session is not None) == (self.placed and self.seats is not None)


BOOKED_UNTIL: Final = NEVER
UNDYING: Final = NEVER - 1
"""Until when the claims of a batch stand in the eyes of that batch: it is no use to wait."""


Reservable: TypeAlias = Resource[Entry | Session]
"""A resource that reservations take, and the sessions that share it."""
