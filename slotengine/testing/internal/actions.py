"""What callers do with an engine, as plain values.

Most are commands of the ledger (`slotengine.core.ledger.commands`).  In a history they name
no uids of what they make: it is the engine that makes these, and `with_uids` puts them in
from its answer.  The others are here: what an engine first turns into a command, and what is
only asked.  `engine_calls` makes the call on an engine, and `naive_calls` on a naive ledger.

Times and durations are microseconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.commands import (
    ANY,
    Adopt,
    Annotate,
    Cancel,
    Command,
    Confirm,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.extra import Extra, Series
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import is_limit
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.testing.internal.observed import ObservedReservation


class ReserveSlot(NamedTuple):
    """Hold a slot by the rules of its event type; it may ``wait``, or ``jump`` the waitlist."""

    request: SlotRequest
    uid: str = ""
    wait: int | None = None
    jump: bool = False
    client: CommandId | None = None


class MoveSlot(NamedTuple):
    """Re-slot by the rules of an event type; with ``renew`` for the TTL of the request.

    Without an event type or ``seats``, those that the reservation has are kept.
    """

    uid: str
    request: SlotRequest
    renew: bool = False
    seats: int | None = None
    version: int | None = None
    jump: bool = False
    client: CommandId | None = None


class MoveTo(NamedTuple):
    """Re-slot to another start, and the rest as it is unless another is named.

    With a ``ttl``, a hold also lives that long from now.
    """

    uid: str
    start: int
    length: int | None = None
    resource: str | None = None
    ttl: int | None = None
    version: int | None = None
    jump: bool = False
    client: CommandId | None = None


class ForgetBookings(NamedTuple):
    """Forget all bookings that were over ``before`` a moment."""

    before: int


class Get(NamedTuple):
    """Ask for a reservation."""

    uid: str


class IsFree(NamedTuple):
    """Ask whether something could be had."""

    request: Proposal


class ListLive(NamedTuple):
    """Ask for the live reservations of a resource in a span."""

    resource: str
    start: int
    end: int


Action: TypeAlias = (
    Command | ReserveSlot | MoveSlot | MoveTo | ForgetBookings | Get | IsFree | ListLive
)
"""Whatever a caller can do."""

Jumping: TypeAlias = Reserve | Move | Confirm | Replace | ReserveSlot | MoveSlot | MoveTo
"""What can jump the waitlist."""

Identified: TypeAlias = Command | ReserveSlot | MoveSlot | MoveTo
"""What a client can number, so that it can be repeated."""

AboutOne: TypeAlias = (
    Move | Extend | Confirm | Release | Cancel | Annotate | Replace | MoveSlot | MoveTo | Get
)
"""What is about a reservation that is there, which its ``uid`` names."""

Answer: TypeAlias = Any
"""An `ObservedReservation`, None, a list of these and of errors, or an error; see `outcome`."""


def waits(action: object) -> bool:
    """Return whether an action may wait."""
    return isinstance(action, Reserve | ReserveSlot) and action.wait is not None


def requests_of(action: Action) -> tuple[Proposal, ...]:
    """Return what is requested, in terms of the ledger; nothing if it is by an event type."""
    match action:
        case Reserve():
            return action.requests
        case Move():
            return action.candidates
        case Adopt() | Replace() | IsFree():
            return (action.request,)
    return ()


def with_requests(action: Action, requests: tuple[Proposal, ...]) -> Action:
    """Return the same action for other requests, as many as `requests_of` has."""
    match action:
        case Reserve():
            return action._replace(requests=requests)
        case Move():
            return action._replace(candidates=requests)
        case Adopt() | Replace() | IsFree():
            return action._replace(request=requests[0])
    return action


def uids_in(answer: Answer) -> list[str]:
    """Return the uids of the reservations in an answer, in order."""
    several = answer if isinstance(answer, list) else [answer]
    return [one.uid for one in several if isinstance(one, ObservedReservation)]


def with_uids(action: Action, answer: Answer, unknown: str = "new") -> Action:
    """Return an action with the uids of what it makes, which an engine's answer tells.

    What was refused, or is not known, gets a uid that begins with ``unknown``.
    """
    match action:
        case Reserve():
            return _numbered(action, answer, unknown)
        case ReserveSlot():
            return action._replace(uid=_only_uid(answer, unknown))
        case Replace():
            return action._replace(new_uid=_only_uid(answer, unknown))
        case Adopt():
            return action._replace(uid=_only_uid(answer, unknown))
    return action


def _only_uid(answer: Answer, unknown: str) -> str:
    return next(iter(uids_in(answer)), f"{unknown}-0")


def _numbered(action: Reserve, answer: Answer, unknown: str) -> Reserve:
    several = answer if isinstance(answer, list) else [answer]
    size = 1 if action.mode is ANY else len(action.requests)
    uids = [f"{unknown}-{i}" for i in range(size)]
    for i, one in enumerate(several[:size]):
        if isinstance(one, ObservedReservation):
            uids[i] = one.uid
    requests = action.requests
    if is_series(action):
        requests = in_series(requests, next(filter(None, map(_series_of, several)), unknown))
    return action._replace(requests=requests, uids=tuple(uids))


# --- Series ------------------------------------------------------------------------------


def in_series(requests: tuple[Proposal, ...], uid: str = "") -> tuple[Proposal, ...]:
    """Return the same requests as those of one series, in this order.

    Without a uid, it is the engine that makes one.
    """
    return tuple(
        one._replace(extra=(one.extra or Extra())._replace(series=Series(uid, i)))
        for i, one in enumerate(requests)
    )


def is_series(action: Reserve) -> bool:
    """Return whether what is reserved is to be a series."""
    return any(one.extra is not None and one.extra.series is not None for one in action.requests)


def _series_of(answer: Answer) -> str | None:
    extra = answer.extra if isinstance(answer, ObservedReservation) else None
    return None if extra is None or extra.series is None else extra.series.uid


# --- Answers -----------------------------------------------------------------------------


def without_limits(answer: Answer) -> Answer:
    """Return an answer without the claims on limits, which callers do not see."""
    if isinstance(answer, list):
        return [without_limits(one) for one in answer]
    if isinstance(answer, ObservedReservation):
        claims = tuple(claim for claim in answer.claims if not is_limit(claim.resource))
        return replace(answer, claims=claims)
    return answer
