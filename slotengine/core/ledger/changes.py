"""What happens to a ledger, as plain values: what a journal keeps, and `replay` takes back in.

A decision is a list of changes.  `apply` carries each out, now or when it is
replayed, and nothing else writes to the state: so both make the same of them.

Every change begins with ``seq``, its number: one more than that of the change before, for as
long as there is the ledger.  Then comes ``at``, when it was decided, which never goes back.  A
change of a reservation goes on with its ``uid`` and the ``version`` that it has from then on.

All changes of one step are carried out, told and recorded together, or none of them.  So what
a journal keeps is one tuple of changes after the other (`Changes`), and a step ends where a
tuple ends.

To let a reservation have something more: add a field with a default to `Reserved` (and `Moved`,
if moving changes it), fill it in `decide`, apply it in `apply`, and give it back in `snapshot`.
For a change of a new kind: write its class here, add it to `Change`, its function to
`apply.APPLY`, and what must be true before it to `replay.CHECKS`.
Times are UTC microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, get_args

from slotengine.core.ledger.config import Configured
from slotengine.core.ledger.reservation import (
    ANNOTATE,
    ANYTHING_GOES,
    CANCEL,
    CONFIRM,
    EXPIRE,
    EXTEND,
    FORGET,
    MOVE,
    REINSTATE,
    RELEASE,
    REQUEST,
    RESERVE,
    Claim,
    Demand,
    Seats,
    State,
    Verb,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.clients import CommandId, Outcome
    from slotengine.core.ledger.extra import Extra
    from slotengine.core.ledger.proposal import Wanted
    from slotengine.core.ledger.quota import Quota
    from slotengine.core.time.interval import Span
    from slotengine.errors import Refused


class Reserved(NamedTuple):
    """A hold was made, which lapses at ``until``.

    The ``claims`` are final: one of each pool, and those on limits; of one that joins a shared
    session, those of the session.
    """

    seq: int
    at: int
    uid: str
    version: int
    until: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    seats: Seats | None = None
    holder: str | None = None
    event_type: str | None = None
    key: str | None = None
    digest: bytes | None = None
    quota: Quota | None = None
    demand: Demand = ANYTHING_GOES
    serial: int = 0
    extra: Extra | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return RESERVE


class Requested(NamedTuple):
    """Something was requested: it is kept as it is wanted, and occupies nothing.

    The fields are those of `Reserved`, but the ``claims`` are those of no pool or limit, which are
    in ``wanted``.
    """

    seq: int
    at: int
    uid: str
    version: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    wanted: Wanted
    seats: Seats | None = None
    holder: str | None = None
    event_type: str | None = None
    key: str | None = None
    digest: bytes | None = None
    demand: Demand = ANYTHING_GOES
    serial: int = 0
    extra: Extra | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return REQUEST

    @property
    def quota(self) -> Quota | None:
        """None: quotas are about holds."""
        return None


class Granted(NamedTuple):
    """What was requested became a booking, with these claims and seats."""

    seq: int
    at: int
    uid: str
    version: int
    claims: tuple[Claim, ...]
    seats: Seats | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return CONFIRM


class Extended(NamedTuple):
    """A hold lapses at another moment, ``until``."""

    seq: int
    at: int
    uid: str
    version: int
    until: int

    @property
    def verb(self) -> Verb:
        """What was done."""
        return EXTEND


class Moved(NamedTuple):
    """A hold or a booking is for another slot; the fields are those of `Reserved`.

    Or something else is requested; then those of `Requested`.
    """

    seq: int
    at: int
    uid: str
    version: int
    until: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    seats: Seats | None = None
    event_type: str | None = None
    demand: Demand = ANYTHING_GOES
    wanted: Wanted | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return MOVE


class Confirmed(NamedTuple):
    """A hold became a booking."""

    seq: int
    at: int
    uid: str
    version: int

    @property
    def verb(self) -> Verb:
        """What was done."""
        return CONFIRM


class Reinstated(NamedTuple):
    """An expired hold became a booking, with its claims."""

    seq: int
    at: int
    uid: str
    version: int

    @property
    def verb(self) -> Verb:
        """What was done."""
        return REINSTATE


class Released(NamedTuple):
    """A hold was given up, perhaps for the reservation that was made in its place."""

    seq: int
    at: int
    uid: str
    version: int
    replaced_by: str | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return RELEASE


class Cancelled(NamedTuple):
    """A booking was given up, perhaps for the reservation that was made in its place."""

    seq: int
    at: int
    uid: str
    version: int
    replaced_by: str | None = None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return CANCEL


class Expired(NamedTuple):
    """A hold that lapsed at ``until`` was marked as expired."""

    seq: int
    at: int
    uid: str
    version: int
    until: int

    @property
    def verb(self) -> Verb:
        """What was done."""
        return EXPIRE


class Annotated(NamedTuple):
    """Metadata, details or tags were replaced: ``extra`` is all that it has of them since."""

    seq: int
    at: int
    uid: str
    version: int
    extra: Extra | None

    @property
    def verb(self) -> Verb:
        """What was done."""
        return ANNOTATE


class Forgotten(NamedTuple):
    """Bookings that were over by a moment, ``before``, were forgotten on request.

    Others may have been given since what those took.
    """

    seq: int
    at: int
    before: int
    uids: tuple[str, ...]

    @property
    def verb(self) -> Verb:
        """What was done."""
        return FORGET


class BusyImported(NamedTuple):
    """These are the spans that a source says resources are busy, and nothing else.

    The spans of each resource are in order, and do not touch.
    """

    seq: int
    at: int
    source: str
    spans: tuple[tuple[str, tuple[Span, ...]], ...]


class Answered(NamedTuple):
    """A command of a client was accepted: the last change of its step.

    It is remembered, so that a repeat of the command can be answered: see `clients`.
    """

    seq: int
    at: int
    command_id: CommandId
    outcome: Outcome


class ClientDropped(NamedTuple):
    """A session of a client had ended, and is no longer remembered."""

    seq: int
    at: int
    session: bytes


# --- In a snapshot only: see `snapshot` ---------------------------------------------------


class SnapshotBegun(NamedTuple):
    """A snapshot begins: what follows is all that there is after the change number ``seq``.

    All changes of a snapshot have that number.
    """

    seq: int
    at: int
    serial: int
    """The serial number of the latest reservation."""
    expired: int
    """Holds ever marked as expired."""
    forgotten_before: int


class SessionKept(NamedTuple):
    """A shared session as it is.  Whoever opened it may have left."""

    seq: int
    at: int
    uid: str
    event_type: str
    start: int
    end: int
    claims: tuple[Claim, ...]
    created: int


class ReservationKept(NamedTuple):
    """A reservation as it is; its ``uid`` and ``version`` as in `Reserved`.

    With a ``key`` comes what that was used for (`KeyKept`).
    """

    seq: int
    at: int
    uid: str
    version: int
    state: State
    until: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    seats: Seats | None
    holder: str | None
    event_type: str | None
    created: int
    changed: int
    quota: Quota | None
    demand: Demand
    serial: int
    extra: Extra | None
    wanted: Wanted | None = None
    key: str | None = None


class KeyKept(NamedTuple):
    """What an idempotency key was used for.  The reservation of the ``uid`` may be forgotten."""

    seq: int
    at: int
    key: str
    digest: bytes
    uid: str
    made: int


class LapsesKept(NamedTuple):
    """The lapses of a holder that may count still: see `holders`."""

    seq: int
    at: int
    holder: str
    lapses: int
    last_lapse: int
    previous: int
    earlier: int
    pending: tuple[tuple[int, int], ...]
    forgiven_at: int


ReservationChange: TypeAlias = (
    Reserved
    | Requested
    | Granted
    | Extended
    | Moved
    | Confirmed
    | Reinstated
    | Released
    | Cancelled
    | Expired
    | Annotated
)
"""A change of one reservation: an event tells of it."""

RESERVATION_CHANGES: Final = frozenset(get_args(ReservationChange))
"""The classes of these."""

Change: TypeAlias = (
    ReservationChange
    | Configured
    | Forgotten
    | BusyImported
    | Answered
    | ClientDropped
    | SnapshotBegun
    | SessionKept
    | ReservationKept
    | KeyKept
    | LapsesKept
)
"""What a journal keeps."""

Changes: TypeAlias = tuple[Change, ...]
"""All changes of one step, in order."""


class Waits(NamedTuple):
    """The answer to a command that waits: its ticket, and when its wait ends."""

    ticket: int
    until: int


class Decision(NamedTuple):
    """What comes of a command: the changes, in order, and an answer to each request.

    A command that is already true changes nothing.  An answer is the uid of a
    reservation; or, of a batch in which each request stands for itself, the refusal; or
    that the command waits.
    """

    changes: Changes
    answers: tuple[str | Refused | Waits, ...]
