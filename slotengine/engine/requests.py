"""How to ask for more than one thing, and how to ask for slots.  Immutable values.

`AllOf`, `EachOf` and `OneOf` go where a `Request` goes; a `SlotQuery` says which slots are
looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from slotengine.core.ledger.policy import Policy
from slotengine.engine.values import Ask, Request, Reservation
from slotengine.errors import Refused

if TYPE_CHECKING:
    from slotengine.core.offer.event_type import EventType


@dataclass(frozen=True, slots=True)
class AllOf(Ask[list[Reservation]]):
    """Several requests, all of them or none; later ones meet the claims of earlier ones.

    >>> from datetime import UTC
    >>> from slotengine import AllOf, Claim, LocalEngine, Request, SlotTaken, minutes
    >>> engine = LocalEngine()
    >>> engine.add_resource("room-1")
    >>> request = Request(datetime(2030, 1, 7, 9, tzinfo=UTC), minutes(30), (Claim("room-1"),))
    >>> try:
    ...     engine.reserve(AllOf([request, request]))
    ... except SlotTaken as refusal:
    ...     print(refusal.index)
    1

    The refusal is that of the first request that cannot be had; its ``index`` says which.
    As a ``series``, each reservation says of which series it is, and which of it: its `Series`.
    """

    requests: Sequence[Request]
    series: bool = False

    def __post_init__(self) -> None:
        _keep(self, "requests", self.requests)


@dataclass(frozen=True, slots=True)
class EachOf(Ask[list[Reservation | Refused]]):
    """Several requests, each that can be had; later ones meet the claims of earlier ones.

    The answer has a reservation or a refusal for each request, in the same order.  An
    invalid request is raised, and then nothing is reserved.
    """

    requests: Sequence[Request]

    def __post_init__(self) -> None:
        _keep(self, "requests", self.requests)


@dataclass(frozen=True, slots=True)
class OneOf(Ask[Reservation]):
    """One of several candidates: the one that the policy prefers among those that can be had.

    Load is counted in live claims, holds and bookings alike: all of them, or those that
    overlap the span ``load_in``.  ``weights`` are for ``Policy.WEIGHTED``, one for each
    candidate.  A ``key`` makes retries safe, as that of a `Request`; the candidates have none.
    If none can be had, `NoneFree` has the refusal of each.

    >>> from datetime import UTC
    >>> from slotengine import Claim, LocalEngine, OneOf, Request, minutes
    >>> engine = LocalEngine()
    >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
    >>> rooms = "room-1", "room-2"
    >>> for room in rooms:
    ...     engine.add_resource(room)
    >>> either = OneOf([Request(nine, minutes(30), (Claim(room),)) for room in rooms])
    >>> [engine.reserve(either).resources for _ in rooms]
    [('room-1',), ('room-2',)]
    """

    candidates: Sequence[Request]
    policy: Policy = Policy.FIRST
    weights: Sequence[int] | None = None
    load_in: tuple[datetime, datetime] | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        _keep(self, "candidates", self.candidates)
        _keep(self, "weights", self.weights)


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """Which slots of an event type are looked for.

    Each begins at or after the ``start``, by default now, and ends by the ``end``.  They
    begin at full hours, or the like, of the clocks in ``zone``; where the interval does
    not divide the hour, ask for whole days, since the grid begins where the range does.
    ``seats`` of a slot must be free.  Of each group ``only`` the resources named there are
    considered.  Reservations whose uids are in ``ignoring``, such as the caller's own, are
    looked through.

    What is looked for may also be an `EventType` that was not added, if it
    has no limits: such as some hosts together, for once.
    """

    event_type: str | EventType
    start: datetime | None = None
    end: datetime | None = None
    length: timedelta | None = None
    seats: int = 1
    zone: str = "UTC"
    ignoring: Collection[str] = ()
    only: Collection[str] | None = None


def _keep(value: object, name: str, several: object) -> None:
    """Keep a tuple of what is asked for: it must not change with a list that somebody has.

    Whatever else was given is refused when it is used.
    """
    if isinstance(several, Iterable) and not isinstance(several, str | tuple):
        object.__setattr__(value, name, tuple(several))
