"""What happens to reservations, as plain values.

A decision is a list of changes.  Applying them, now or when a journal is replayed, is
all that ever writes to the state: so both make the same of them.
Times are UTC microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from slotengine.core.ledger.config import Configured
from slotengine.core.ledger.reservation import ANYTHING_GOES, Claim, Demand, Seats, Verb

if TYPE_CHECKING:
    from slotengine.core.ledger.clients import CommandId, Outcome
    from slotengine.core.ledger.extra import Extra
    from slotengine.core.ledger.quota import Quota
    from slotengine.errors import Refused


class Change(NamedTuple):
    """One accepted change: what a journal keeps, and `LedgerState.apply` carries out.

    ``at`` is when it was decided, and ``until`` when the reservation lapses or when it
    ended, from then on.  What a reservation is for is said by those that make or move one.
    """

    verb: Verb
    at: int
    uid: str
    until: int
    start: int = 0
    end: int = 0
    claims: tuple[Claim, ...] = ()
    seats: Seats | None = None
    holder: str | None = None
    event_type: str | None = None
    key: str | None = None
    digest: bytes | None = None
    quota: Quota | None = None
    demand: Demand = ANYTHING_GOES
    serial: int = 0
    extra: Extra | None = None


class Forgotten(NamedTuple):
    """The record of bookings that were forgotten on request: `Ledger.forget_bookings` again.

    No change of any reservation, but it has to be kept with the changes: others
    may have been given since what those took.
    """

    before: int
    uids: tuple[str, ...]


class Answered(NamedTuple):
    """A command of a client was accepted: the last record of its step.

    It is remembered, so that a repeat of the command can be answered: see `clients`.
    """

    at: int
    command_id: CommandId
    outcome: Outcome


class ClientDropped(NamedTuple):
    """A session of a client had ended, and is no longer remembered."""

    at: int
    session: bytes


Record: TypeAlias = Change | Configured | Forgotten | Answered | ClientDropped
"""What a journal keeps."""


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

    changes: tuple[Change | Configured, ...]
    answers: tuple[str | Refused | Waits, ...]
    answered: Answered | None = None
    """What is remembered of it, if it had a `CommandId` and changes something."""
