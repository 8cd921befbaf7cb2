"""The catalog of a server: event types, users, bookings and credentials.

`Catalog.populate` adds all of it to an engine.  Each user is one resource of capacity
one, so a host who is busy with one event type is busy for all.

Knows nothing of the file that a catalog is read from: see `load`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Final, Generic, TypeVar

from slotengine.calcom.catalog.calendar_files import Calendar
from slotengine.calcom.catalog.directory import Directory
from slotengine.calcom.catalog.quotas import CallerQuotas
from slotengine.calcom.catalog.rate_limits import RateLimits
from slotengine.calcom.catalog.secrets import digest_of
from slotengine.core.ledger.reservation import Seats
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import FIRST_US, LAST_US, duration_us
from slotengine.core.time.schedule import Windows
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Claim, Request

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Keyring(Generic[T]):
    """Maps secrets to their owners.  Stores digests only, and never shows them.

    >>> keys = Keyring([(digest_of("cal_1234"), 7)])
    >>> keys.find("cal_1234"), keys.find("cal_5678"), keys
    (7, None, <Keyring of 1>)
    """

    __slots__ = ("_owners",)

    def __init__(self, owners: Iterable[tuple[bytes, T]]) -> None:
        self._owners = {digest: (digest, owner) for digest, owner in owners}

    def find(self, secret: str) -> T | None:
        """Return the owner of a secret, None if there is none, in constant time."""
        return self.owner_of(digest_of(secret))

    def owner_of(self, digest: bytes) -> T | None:
        """Return the owner of the secret with this digest; as `find`."""
        found = self._owners.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._owners)}>"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The user of an access token, and the web origins that may send it; None: any."""

    user_id: int
    origins: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A platform: its secret, and the user for whom it acts."""

    owner_id: int
    secret: Keyring[bool]


@dataclass(frozen=True)  # without slots, which leave no room for cached properties
class CatalogEventType:
    """An event type: its rules as the engine knows them, and what only the API knows."""

    id: int
    slug: str
    rules: EventType
    """The engine's event type; its id is this id as text."""
    round_robin: bool
    same_host: bool
    """Whether a booking that is moved keeps its host."""
    permitted: frozenset[int]
    """The ids of users who may choose how long a hold lives."""

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that can be chosen, in minutes; empty if there is no choice."""
        return tuple(length // _MINUTE for length in self.rules.lengths)

    @cached_property
    def length(self) -> int:
        """The default length in minutes."""
        return self.rules.length // _MINUTE

    @cached_property
    def earliest_start(self) -> int:
        """The earliest possible start, with the buffer before it still in the year 1."""
        return FIRST_US + duration_us(self.rules.before)

    @cached_property
    def latest_end(self) -> int:
        """The latest possible end, with the buffer after it still in the year 9999."""
        return LAST_US - duration_us(self.rules.after)

    @cached_property
    def group_hosts(self) -> tuple[frozenset[str], ...]:
        """The resources of each host group, of which one takes part."""
        return tuple(frozenset(host.resource for host in group) for group in self.rules.groups)

    @cached_property
    def rotating(self) -> frozenset[str]:
        """The resources in host groups, of which not all take part."""
        return frozenset[str]().union(*self.group_hosts)


_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Booking:
    """An existing booking."""

    uid: str
    """The uid in the catalog; the engine gives the booking another."""
    event_type_id: int
    start: datetime
    length: timedelta
    hosts: frozenset[str]
    """The resources of its hosts."""
    seats: int
    """The number of seats taken; 1 for an event type without seats."""


@dataclass(frozen=True, slots=True, repr=False)
class Catalog:
    """All that a server offers; `load_catalog` reads one."""

    event_types: Mapping[int, CatalogEventType]
    resources: Mapping[str, Windows | None]
    """The hours of each user by resource; None: always open."""
    bookings: tuple[Booking, ...]
    """The existing bookings."""
    calendars: tuple[Calendar, ...]
    """Calendars with busy time of users."""
    directory: Directory
    api_keys: Keyring[int]
    access_tokens: Keyring[AccessToken]
    oauth_clients: Mapping[str, OAuthClient]
    rate_limits: RateLimits | None
    """None if the catalog sets none."""
    quotas: CallerQuotas | None
    """None if the catalog sets none."""
    warnings: tuple[str, ...] = ()
    """Problems that do not make it invalid, such as overlapping bookings of a host."""

    async def populate(self, engine: SlotEngine) -> dict[str, str]:
        """Add users, event types, bookings and calendars to an engine.

        Returns the engine's uid of each booking, by the catalog's uid.

        Bookings are added without checks of hours, notice, booking window or
        conflicts, and count towards limits.  Each of the catalog's warnings is logged.

        Raises `InvalidField` if the engine already has a resource or an event type
        of the same id.
        """
        for id, schedule in self.resources.items():  # noqa: A001
            engine.add_resource(id, schedule=schedule)
        for offer in self.event_types.values():
            engine.add_event_type(offer.rules)
        for warning in self.warnings:
            logger.warning("%s", warning)
        in_order = sorted(self.bookings, key=attrgetter("start"))
        engines = {booking.uid: await self._book(engine, booking) for booking in in_order}
        booked = {booking.uid: engines[booking.uid] for booking in self.bookings}
        await self._import(engine)
        return booked

    async def _book(self, engine: SlotEngine, booking: Booking) -> str:
        rules = self.event_types[booking.event_type_id].rules
        claims = (Claim(host, 1, rules.before, rules.after) for host in sorted(booking.hosts))
        request = Request(
            booking.start,
            booking.length,
            tuple(claims),
            event_type=rules.id,
            seats=None if rules.seats is None else Seats(rules.seats, booking.seats),
        )
        return (await engine.adopt(request)).uid

    async def _import(self, engine: SlotEngine) -> None:
        """Import all calendars, each source once with all of its users."""
        now = engine.now()
        sources: dict[str, dict[str, list[tuple[datetime, datetime]]]] = {}
        for calendar in self.calendars:
            # A large file takes seconds, and a lent engine serves others meanwhile.
            spans = await asyncio.to_thread(calendar.busy, now)
            sources.setdefault(calendar.source, {})[calendar.resource] = spans
        for source, busy in sources.items():
            await engine.replace_busy(source, busy)

    def __repr__(self) -> str:
        return (
            f"<Catalog: {len(self.event_types)} event types, "
            f"{len(self.resources)} users, {len(self.bookings)} bookings>"
        )
