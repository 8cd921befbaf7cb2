"""The search for slots: ``GET /v2/slots``.

What is asked for is resolved here, from names to an event type, and handed to
the engine; what stands on the wire is `slots_wire`'s, and which slots there are
the engine's.

A long search is done piece by piece (`search_size`), and gives way in between, so
that others are answered meanwhile: each date is as it is at one moment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
import orjson

from slotengine.calcom.catalog.catalog import Catalog, CatalogEventType
from slotengine.calcom.catalog.directory import resource_of
from slotengine.calcom.server.refusals import slot_minutes
from slotengine.calcom.server.responses import Reply
from slotengine.calcom.server.search_size import (
    PIECE_HOST_TIME,
    PIECE_STARTS,
    Charge,
    Grid,
    Size,
    distinct,
)
from slotengine.calcom.server.slots_wire import (
    AnyQuery,
    ById,
    ByTeam,
    ByUser,
    ByUsernames,
    Offered,
    SeatsShown,
    SlotsQuery,
    parse_query,
    slots_data,
)
from slotengine.calcom.wire import MINUTE, HttpError
from slotengine.core.ledger.reservation import State
from slotengine.core.offer.availability import AvailableSlots
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import LAST_US, from_us, to_us
from slotengine.core.time.zone import Zone
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation

LONGEST_RANGE: Final = timedelta(days=3653)
"""How much time can be searched at once: ten years."""
MOST_STARTS: Final = 110_000
"""How many slots a search could find at most: a year of one every five minutes.

Measured: 0.3 s, in pieces."""

MOST_HOST_TIME: Final = timedelta(days=36_530)
"""How much of the hosts' time a search may look at, added up: ten hosts for ten years.

Measured: 0.45 s, in pieces."""

TURNS: Final = 4
"""How many turns of the event loop others have between two pieces: a request takes three."""

# The original's words for a range that its engine cannot search.
_TOO_LONG: Final = "Invalid time range given - check the 'start' and 'end' query parameters."

US: Final = timedelta(microseconds=1)

DYNAMIC_LENGTH: Final = timedelta(minutes=30)
DYNAMIC_NOTICE: Final = timedelta(minutes=120)

_STANDING: Final = frozenset({State.HELD, State.CONFIRMED})

Find = Callable[[str], Reservation | None]


class SlotSearch:
    """The endpoint.

    ``reservation`` returns one of the catalog's by the engine's uid.
    """

    def __init__(self, catalog: Catalog, engine: SlotEngine, reservation: Find) -> None:
        self._catalog = catalog
        self._engine = engine
        self._reservation = reservation
        self._booked: dict[str, str] = {}
        self._uids: dict[str, str] = {}
        self._long: anyio.Lock | None = None
        """Which long search has its turn."""

    def know(self, booked: Mapping[str, str]) -> None:
        """Take note of the engine's uids of the catalog's bookings, by the catalog's."""
        self._booked.update(booked)
        self._uids.update({theirs: uid for uid, theirs in booked.items()})

    def search(self, pairs: Iterable[tuple[str, str]], charge: Charge) -> Reply | Awaitable[Reply]:
        """Find the slots that can be had, for a query string in pairs.

        ``charge`` is told what that counts as, in requests, before anything is looked
        at.  A search that takes long waits for others that do.  Raises `HttpError`.
        """
        query = parse_query(pairs)
        offer, rules = self._resolve(query)
        length = _length(query, offer, rules)
        size = Size(0, len(list(rules.hosts())), (rules.interval or length) // US)
        start, end = self._span(query, size)
        size = size._replace(span=end - start)
        charge(size.cost)
        rescheduled = self._rescheduled(query)
        only = _hosts(query, offer, rescheduled)
        if start >= end or only == frozenset():
            return _found(self._written(query, offer, None))
        look = _Look(query, offer, rules, length, rescheduled, only)
        if size.host_time <= PIECE_HOST_TIME and size.starts <= PIECE_STARTS:
            return _found(self._written(query, offer, self._openings(look, start, end)))
        return self._in_pieces(look, start, end, size.dates)

    async def _in_pieces(self, look: _Look, start: int, end: int, dates: int) -> Reply:
        """Do a long search: one at a time, giving way between its pieces."""
        if self._long is None:
            self._long = anyio.Lock()
        query, offer, found = look.query, look.offer, []
        async with self._long:
            grid = self._grid(look).cutter(start, end)
            for begins, ends in grid.pieces(start, end, dates):
                # What begins in the piece may end after it.
                openings = self._openings(look, begins, min(ends + look.length // US, end))
                if openings is not None and ends < end:
                    before = [one for one in openings.starts if one < ends]
                    openings = openings._replace(starts=before)
                found.append((openings, self._written(query, offer, openings)))
                for _ in range(TURNS):
                    await anyio.lowlevel.checkpoint()
        return self._joined(look, found)

    def _joined(self, look: _Look, found: list[tuple[AvailableSlots | None, bytes]]) -> Reply:
        """Return all pieces as one answer, without what is past by now."""
        now = to_us(self._engine.now())
        dates = []
        for openings, written in found:
            if openings is not None and openings.starts and openings.starts[0] < now:
                left = [one for one in openings.starts if one >= now]
                written = self._written(look.query, look.offer, openings._replace(starts=left))
            if written != b"{}":
                dates += [b",", written[1:-1]]
        return Reply(200, b"".join([_BEFORE, b"{", *dates[1:], b"}", _AFTER]))

    def _grid(self, look: _Look) -> Grid:
        rules, resources = look.rules, self._catalog.resources
        said = ((rules.schedule, host.schedule, resources[host.resource]) for host in rules.hosts())
        hours = (next((one for one in each if one is not None), None) for each in said)
        return Grid(
            (rules.interval or look.length) // US,
            rules.offset // US,
            Zone.of(look.query.time_zone or "UTC"),
            rules.optimized,
            distinct(hours),
        )

    def _written(
        self, query: SlotsQuery, offer: CatalogEventType | None, found: AvailableSlots | None
    ) -> bytes:
        shown = () if found is None else self._shown(offer, found)
        return orjson.dumps(slots_data(shown, zone=query.time_zone, ranges=query.ranges))

    # --- What is asked for ---------------------------------------------------------------

    def _resolve(self, query: AnyQuery) -> tuple[CatalogEventType | None, EventType]:
        """Return the event type that is asked for; it is not the catalog's if it is dynamic."""
        if isinstance(query, ByUsernames):
            return None, self._together(query)
        found = query.event_type_id if isinstance(query, ById) else self._named(query)
        offer = None if found is None else self._catalog.event_types.get(found)
        if offer is None:
            raise HttpError(404, "Event Type not found")
        return offer, offer.rules

    def _named(self, query: ByUser | ByTeam) -> int | None:
        return self._of_user(query) if isinstance(query, ByUser) else self._of_team(query)

    def _of_user(self, query: ByUser) -> int | None:
        directory = self._catalog.directory
        user_id = self._user(query.username, self._organization(query.organization_slug))
        return directory.user_event_types.get((user_id, query.event_type_slug))

    def _of_team(self, query: ByTeam) -> int | None:
        directory = self._catalog.directory
        organization_id = self._organization(query.organization_slug)
        team_id = directory.teams.get((organization_id, query.team_slug))
        if team_id is None:
            raise HttpError(404, f"Team with slug {query.team_slug} not found")
        return directory.team_event_types.get((team_id, query.event_type_slug))

    def _together(self, query: ByUsernames) -> EventType:
        """Return the event type of several users, who must all be free."""
        organization_id = self._organization(query.organization_slug)
        user_ids = [self._user(username, organization_id) for username in query.usernames]
        if not self._catalog.directory.without_dynamic_booking.isdisjoint(user_ids):
            raise HttpError(401, "Some of the users in this group do not allow dynamic booking")
        return EventType(
            id="dynamic",
            length=DYNAMIC_LENGTH if query.duration is None else query.duration * MINUTE,
            all_of=list(dict.fromkeys(map(resource_of, user_ids))),
            notice=DYNAMIC_NOTICE,
        )

    def _user(self, username: str, organization_id: int | None) -> int:
        user_id = self._catalog.directory.user(username, organization_id)
        if user_id is None:
            raise HttpError(404, f"User with username {username} not found")
        return user_id

    def _organization(self, slug: str | None) -> int | None:
        if slug is None:
            return None
        organization_id = self._catalog.directory.organizations.get(slug)
        if organization_id is None:
            # Clients may know the text, which names a file of the original.
            where = "slots-input.service.ts"
            raise HttpError(404, f"{where}: Organization with slug {slug} not found")
        return organization_id

    # --- What there is -------------------------------------------------------------------

    def _openings(self, look: _Look, start: int, end: int) -> AvailableSlots | None:
        """Return the slots that are offered now, None if there cannot be any."""
        start = max(start, to_us(self._engine.now()))
        if start >= end:
            return None
        rescheduled = look.rescheduled
        return self._engine.openings_nowait(
            look.rules if look.offer is None else look.rules.id,
            from_us(start),
            from_us(end),
            length=look.length,
            zone=look.query.time_zone or "UTC",
            ignoring=() if rescheduled is None else (rescheduled.uid,),
            only=look.only,
        )

    def _span(self, query: SlotsQuery, size: Size) -> tuple[int, int]:
        """Return which span is to be searched; nothing is offered before now."""
        start = max(query.earliest_start, to_us(self._engine.now()))
        end = min(query.latest_end, LAST_US)
        longest = min(
            LONGEST_RANGE // US, MOST_STARTS * size.step, MOST_HOST_TIME // US // size.hosts
        )
        if end - start > longest:
            raise HttpError(400, _TOO_LONG)
        return start, max(start, end)

    def _rescheduled(self, query: SlotsQuery) -> Reservation | None:
        """Return the booking, or hold, that is to be moved; None if there is no such."""
        uid = query.booking_uid_to_reschedule
        found = None if uid is None else self._reservation(self._booked.get(uid, uid))
        return found if found is not None and found.state in _STANDING else None

    # --- What is shown of it -------------------------------------------------------------

    def _shown(self, offer: CatalogEventType | None, openings: AvailableSlots) -> list[Offered]:
        length = openings.length
        if openings.total is None:
            return [(start, start + length, None) for start in openings.starts]
        assert offer is not None  # seats are of the catalog's event types only
        return [
            (start, start + length, self._seats(offer, openings, start))
            for start in openings.starts
        ]

    def _seats(self, offer: CatalogEventType, openings: AvailableSlots, start: int) -> SeatsShown:
        assert openings.total is not None
        taken = openings.taken.get(start, 0)
        booking_uid = self._booking_uid(offer, start, start + openings.length) if taken else None
        return SeatsShown(taken, openings.total, booking_uid)

    def _booking_uid(self, offer: CatalogEventType, start: int, end: int) -> str | None:
        """Return the uid of a booking of the catalog's in a session, if there is one.

        Never one of the engine's: whoever knows that may act on the reservation.
        """
        session = offer.rules.id, from_us(start)
        for host in offer.rules.hosts():
            for one in self._engine.reservations_nowait(host.resource, session[1], from_us(end)):
                if (one.event_type, one.start) == session and one.state is State.CONFIRMED:
                    uid = self._uids.get(one.uid)
                    if uid is not None:
                        return uid
        return None


class _Look(NamedTuple):
    """What is looked for, resolved."""

    query: SlotsQuery
    offer: CatalogEventType | None
    rules: EventType
    length: timedelta
    rescheduled: Reservation | None
    only: Collection[str] | None


_BEFORE: Final = b'{"status":"success","data":'
_AFTER: Final = b"}"


def _found(data: bytes) -> Reply:
    return Reply(200, _BEFORE + data + _AFTER)


def _length(query: SlotsQuery, offer: CatalogEventType | None, rules: EventType) -> timedelta:
    """Return how long the slots are to be.  Raises `HttpError` if they cannot be so long."""
    if offer is None or query.duration == offer.length:
        return rules.length
    return slot_minutes(offer, query.duration, field="duration") * MINUTE


def _hosts(
    query: SlotsQuery, offer: CatalogEventType | None, rescheduled: Reservation | None
) -> Collection[str] | None:
    """Return who of the groups of hosts will do: None for all, empty if nobody of a group is left.

    With round robin the caller may name some hosts, and a booking that is moved
    may have to stay with its own.
    """
    if offer is None or not offer.round_robin:
        return None
    groups = left = list(offer.group_hosts)
    if query.rr_host_subset_ids:
        subset = frozenset(map(resource_of, query.rr_host_subset_ids))
        left = [group & subset for group in left]
    if offer.same_host and rescheduled is not None and rescheduled.event_type == offer.rules.id:
        left = [group & frozenset(rescheduled.resources) for group in left]
    if left == groups:
        return None
    return frozenset[str]().union(*left) if all(left) else frozenset()
