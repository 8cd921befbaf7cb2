"""What a server offers, in the terms of the engine: event types, hosts, credentials.

A `Catalog` is ready for use: event types that turn a start and a length into
requests for the engine, credentials as digests, and `Catalog.populate`, which
makes hosts and existing bookings known to an engine.

There is one resource per user, of capacity one.  So whatever takes a host's
time, through whichever event type, is in the way of all their event types.

Knows nothing of the file that all this is written in; that is `catalog_file`'s.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Generic, NamedTuple, TypeVar

from slotengine.core.proposal import Policy
from slotengine.core.reservation import Seats
from slotengine.core.schedule import ALWAYS_OPEN, Windows
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Claim, Request

T = TypeVar("T")

API_KEY_PREFIX: Final = "cal_"
"""What tells an API key from an access token."""


class Keyring(Generic[T]):
    """Secrets, and what each of them stands for.  Keeps digests only, and shows none.

    >>> keys = Keyring([("cal_1234", 7)])
    >>> keys.find("cal_1234"), keys.find("cal_5678"), keys
    (7, None, <Keyring of 1>)
    """

    __slots__ = ("_owners",)

    def __init__(self, owners: Iterable[tuple[str, T]]) -> None:
        digests = ((_digest(secret), owner) for secret, owner in owners)
        self._owners = {digest: (digest, owner) for digest, owner in digests}

    def find(self, secret: str) -> T | None:
        """Return what the secret stands for, in a time that does not depend on the others."""
        digest = _digest(secret)
        found = self._owners.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._owners)}>"


def _digest(secret: str) -> bytes:
    # Headers that are not UTF-8 arrive with their bytes escaped as surrogates.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Whom an access token acts for, and from which web origins; None: from any."""

    user_id: int
    origins: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A platform: whom it acts for, and its secret."""

    owner_id: int
    secret: Keyring[bool]


class Candidate(NamedTuple):
    """One set of hosts who could take a slot."""

    claims: tuple[Claim, ...]
    schedule: Windows | None
    """Hours that take the place of the hosts' own; None: their own."""

    @property
    def resources(self) -> frozenset[str]:
        """The ids of the hosts' resources."""
        return frozenset(claim.resource for claim in self.claims)


@dataclass(frozen=True, slots=True)
class EventType:
    """What can be booked, in the terms of the engine."""

    id: int
    slug: str
    length: int
    """In minutes, unless another is asked for."""
    lengths: tuple[int, ...]
    """What can be asked for; empty if nothing else than the length."""
    before: timedelta
    after: timedelta
    seats: Seats | None
    round_robin: bool
    candidates: tuple[Candidate, ...]
    """Who could take a slot: one set of hosts, or with round robin any one of several."""
    weights: tuple[int, ...] | None
    """How often each candidate is to be preferred, if not whoever has the least to do."""
    fixed: frozenset[str]
    """The resources that every candidate claims."""
    permitted: frozenset[int]
    """The users who may say how long a hold lives."""

    @property
    def policy(self) -> Policy:
        """Which candidate to prefer."""
        return Policy.LEAST_LOADED if self.weights is None else Policy.WEIGHTED

    @property
    def earliest(self) -> datetime:
        """The first start at which the buffer before does not leave the calendar."""
        return datetime.min.replace(tzinfo=UTC) + self.before

    def end(self, start: datetime, length: int) -> datetime:
        """Return the end of a slot of so many minutes.

        Raises `OverflowError` if it, or the buffer after it, leaves the calendar.
        """
        occupied_until = start + timedelta(minutes=length) + self.after
        return occupied_until - self.after

    def requests(
        self, start: datetime, length: timedelta, *, ttl: timedelta | None, in_hours: bool
    ) -> list[Request]:
        """Return a request to the engine for each of the candidates.

        Unless ``in_hours``, nobody's working hours count.
        """
        event_type = str(self.id)
        return [
            Request(
                start,
                length,
                candidate.claims,
                ttl=ttl,
                event_type=event_type,
                seats=self.seats,
                schedule=candidate.schedule if in_hours else ALWAYS_OPEN,
            )
            for candidate in self.candidates
        ]


@dataclass(frozen=True, slots=True, repr=False)
class Catalog:
    """Everything a server needs to know; `catalog_file.load_catalog` reads one."""

    event_types: Mapping[int, EventType]
    resources: Mapping[str, Windows | None]
    """The resource of each user, and its hours."""
    bookings: tuple[Request, ...]
    """What is booked already."""
    api_keys: Keyring[int]
    access_tokens: Keyring[AccessToken]
    oauth_clients: Mapping[str, OAuthClient]

    async def populate(self, engine: SlotEngine) -> None:
        """Make users and existing bookings known to an engine.

        Raises `InvalidField` if it has a resource of the same id already.
        """
        for id, schedule in self.resources.items():  # noqa: A001
            engine.add_resource(id, schedule=schedule)
        for request in self.bookings:
            hold = await engine.reserve_request(request)
            await engine.confirm(hold.uid)

    def __repr__(self) -> str:
        return (
            f"<Catalog: {len(self.event_types)} event types, "
            f"{len(self.resources)} users, {len(self.bookings)} bookings>"
        )
