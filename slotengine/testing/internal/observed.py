"""What callers can see of reservations and errors, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from slotengine.core.ledger.extra import Extra
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Entry, Seats, State
from slotengine.errors import (
    InvalidField,
    InvalidTTL,
    KeyReused,
    NoneFree,
    Refused,
    SlotError,
    SlotTaken,
    TooManyUnits,
    UnknownResource,
)


@dataclass(frozen=True)
class ObservedReservation:
    """What callers see of a reservation."""

    uid: str
    state: State
    version: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    until: int
    created: int
    holder: str | None
    event_type: str | None
    seats: Seats | None
    serial: int = field(default=0, compare=False)
    """Compared by the ledger's own machine: in a history, calls that have nothing in common have
    no order."""
    extra: Extra | None = None
    quota: Quota | None = field(default=None, compare=False)
    """The quota it was made under; callers do not see it."""

    @classmethod
    def of(cls, entry: Entry, now: int) -> ObservedReservation:
        """Return what callers see of a ledger's entry at a moment."""
        return cls(
            entry.uid,
            entry.state_at(now),
            entry.version_at(now),
            entry.start,
            entry.end,
            entry.all_claims(),
            entry.until,
            entry.created,
            entry.holder,
            entry.event_type,
            entry.seats,
            entry.serial,
            entry.extra,
            entry.quota,
        )

    @property
    def session(self) -> object:
        """What occupies its claims: the reservation itself, or the session it shares."""
        return self.uid if self.seats is None else (self.event_type, self.start)


COMPARABLE: Final = (Refused, TooManyUnits, UnknownResource, KeyReused, InvalidTTL, InvalidField)
"""The errors on whose details an engine and the naive ledger must agree."""


def outcome(call: Callable[[], object]) -> object:
    """Return the result of a call, or its error as `describe` has it."""
    try:
        return call()
    except COMPARABLE as error:
        return describe(error)


def describe(error: Exception) -> object:
    """Return an error with all its details, as of now, as a value to compare."""
    if isinstance(error, NoneFree):
        return NoneFree, [describe(refusal) for refusal in error.refusals]
    which = () if not isinstance(error, SlotError) or error.index is None else (error.index,)
    if isinstance(error, SlotTaken):
        about = error.obstruction
        # The order of spans with the same start has no meaning.
        ways = tuple(sorted(about.in_the_way))
        return type(error), error.resource, about._replace(in_the_way=ways), *which
    return type(error), error.args, *which
