"""What a server offers, in the terms of the engine: event types, hosts, credentials.

A `Catalog` is ready for use: event types as the engine knows them, with what
callers know of them, credentials as digests, and `Catalog.populate`, which
makes all of that and existing bookings known to an engine.

There is one resource per user, of capacity one.  So whatever takes a host's
time, through whichever event type, is in the way of all their event types.

Knows nothing of the file that a catalog is read from: see `load`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from slotengine.core.time.schedule import Windows
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Claim, Request

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Keyring(Generic[T]):
    """Secrets, and what each of them stands for.  Keeps digests only, and shows none.

    >>> keys = Keyring([(digest_of("cal_1234"), 7)])
    >>> keys.find("cal_1234"), keys.find("cal_5678"), keys
    (7, None, <Keyring of 1>)
    """

    __slots__ = ("_owners",)

    def __init__(self, owners: Iterable[tuple[bytes, T]]) -> None:
        self._owners = {digest: (digest, owner) for digest, owner in owners}

    def find(self, secret: str) -> T | None:
        """Return what the secret stands for, in a time that does not depend on the others."""
        return self.owner_of(digest_of(secret))

    def owner_of(self, digest: bytes) -> T | None:
        """Return what the secret of this digest stands for; as `find`."""
        found = self._owners.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._owners)}>"


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


@dataclass(frozen=True)  # without slots, which leave no place for what is cached
class Offer:
    """An event type: its rules as the engine knows them, and what only callers know."""

    id: int
    slug: str
    rules: EventType
    """Its id is this one's, as text."""
    round_robin: bool
    same_host: bool
    """Whether a booking that is moved stays with its host."""
    permitted: frozenset[int]
    """The users who may say how long a hold lives."""

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """In minutes, what can be asked for; empty if nothing else than the length."""
        return tuple(length // _MINUTE for length in self.rules.lengths)

    @cached_property
    def length(self) -> int:
        """In minutes, unless another is asked for."""
        return self.rules.length // _MINUTE

    @cached_property
    def earliest(self) -> datetime:
        """The first start at which the buffer before does not leave the calendar."""
        return datetime.min.replace(tzinfo=UTC) + self.rules.before

    def end(self, start: datetime, length: timedelta) -> datetime:
        """Return the end of a slot of a length.

        Raises `OverflowError` if it, or the buffer after it, leaves the calendar.
        """
        after = self.rules.after
        return (start + length + after) - after

    @cached_property
    def group_hosts(self) -> tuple[frozenset[str], ...]:
        """The resources of each group of which one takes part."""
        return tuple(frozenset(host.resource for host in group) for group in self.rules.groups)

    @cached_property
    def rotating(self) -> frozenset[str]:
        """The resources of which not all take part."""
        return frozenset[str]().union(*self.group_hosts)


_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Booking:
    """What is booked already."""

    uid: str
    """As callers know it; the engine gives it another."""
    event_type_id: int
    start: datetime
    length: timedelta
    hosts: frozenset[str]
    """The resources that it takes."""
    seats: int
    """How many, of an event type that has seats; else 1."""


@dataclass(frozen=True, slots=True, repr=False)
class Catalog:
    """Everything a server needs to know; `load_catalog` reads one."""

    event_types: Mapping[int, Offer]
    resources: Mapping[str, Windows | None]
    """The resource of each user, and its hours."""
    bookings: tuple[Booking, ...]
    """What is booked already."""
    calendars: tuple[Calendar, ...]
    """What else keeps users busy."""
    directory: Directory
    api_keys: Keyring[int]
    access_tokens: Keyring[AccessToken]
    oauth_clients: Mapping[str, OAuthClient]
    rate_limits: RateLimits | None
    """How often each may call; None if the catalog does not say."""
    quotas: CallerQuotas | None
    """How much each may hold; None if the catalog does not say."""
    warnings: tuple[str, ...] = ()
    """What should not be as it is, but is: such as two bookings of one host at a time."""

    async def populate(self, engine: SlotEngine) -> dict[str, str]:
        """Make users, event types, bookings and calendars known to an engine.

        Returns the engine's uid of each booking, by the catalog's.

        A booking stands, whatever the rules are today, and whatever is in its way:
        hours, notice and window do not count for it, but it counts towards limits.
        Those that should not be there as they are have a line in the log each.

        Raises `InvalidField` if the engine has a resource or an event type of
        the same id already.
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
        """Import all calendars, each source once with all the users it is of."""
        now = engine.now()
        sources: dict[str, dict[str, list[tuple[datetime, datetime]]]] = {}
        for calendar in self.calendars:
            # A large one takes seconds, and an engine that is lent has others to serve.
            spans = await asyncio.to_thread(calendar.busy, now)
            sources.setdefault(calendar.source, {})[calendar.resource] = spans
        for source, busy in sources.items():
            await engine.replace_busy(source, busy)

    def __repr__(self) -> str:
        return (
            f"<Catalog: {len(self.event_types)} event types, "
            f"{len(self.resources)} users, {len(self.bookings)} bookings>"
        )
