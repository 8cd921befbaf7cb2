"""The endpoint of the search: ``GET /v2/slots``.

It resolves names to an event type, asks the engine for slots, and writes them.
`slots_wire` has the query and the response.

A long search is split into pieces (`search_size`), and other requests are served between
them.  No date is split, so the slots of one date are those of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, TypeAlias

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
    SearchGrid,
    SearchSize,
    distinct,
)
from slotengine.calcom.server.slots_wire import (
    AnyQuery,
    ById,
    ByTeam,
    ByUser,
    ByUsernames,
    SeatCount,
    SlotsQuery,
    SlotTuple,
    parse_query,
    slots_data,
)
from slotengine.calcom.wire import MINUTE, HttpError
from slotengine.core.ledger.reservation import State
from slotengine.core.offer.availability import AvailableSlots
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import LAST_US, from_us
from slotengine.core.time.zone import Zone
from slotengine.engine.engine import SlotEngine
from slotengine.engine.listing import MOST_IN_A_PAGE, ReservationQuery, each_found
from slotengine.engine.local import LocalEngine
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Reservation

MAX_RANGE: Final = timedelta(days=3653)
"""The longest time that can be searched at once: ten years."""
MAX_STARTS: Final = 110_000
"""The most possible slots of a search: a year, every five minutes.

Measured: 0.3 s, in pieces."""

MAX_HOST_TIME: Final = timedelta(days=36_530)
"""The longest host time of a search (span times hosts): ten years of ten hosts.

Measured: 0.45 s, in pieces."""

TURNS: Final = 4
"""The turns of the event loop between two pieces; a request takes three."""

# The original's words for a range that its engine cannot search.
_RANGE_TOO_LONG: Final = "Invalid time range given - check the 'start' and 'end' query parameters."

US: Final = timedelta(microseconds=1)

DYNAMIC_LENGTH: Final = timedelta(minutes=30)
DYNAMIC_NOTICE: Final = timedelta(minutes=120)

_STANDING: Final = frozenset({State.HELD, State.CONFIRMED})

Find = Callable[[str, LocalEngine], Reservation | None]


class SlotSearch:
    """Searches for slots.

    ``reservation`` finds a reservation of the catalog by the engine's uid.
    """

    def __init__(self, catalog: Catalog, engine: SlotEngine, reservation: Find) -> None:
        self._catalog = catalog
        self._engine = engine
        self._reservation = reservation
        self._booked: dict[str, str] = {}
        self._uids: dict[str, str] = {}
        self._long: anyio.Lock | None = None
        """Held by the long search that runs."""

    def add_bookings(self, booked: Mapping[str, str]) -> None:
        """Add bookings: the engine's uid of each, by the catalog's uid."""
        self._booked.update(booked)
        self._uids.update({engine_uid: uid for uid, engine_uid in booked.items()})

    async def search(self, pairs: Iterable[tuple[str, str]], charge: Charge) -> Reply:
        """Return the available slots for a query string, decoded into pairs.

        ``charge`` is called with the cost, in requests, before the search.  Long
        searches run one at a time.  Raises `HttpError`.
        """
        query = parse_query(pairs)
        event_type, rules = self._resolve(query)
        length = _length(query, event_type, rules)
        size = SearchSize(0, len(list(rules.hosts())), (rules.interval or length) // US)
        start, end = self._span(query, size)
        size = size._replace(span=end - start)
        charge(size.cost)
        search = _Search(query, event_type, rules, length)
        found = await self._engine.run(lambda local: self._begin(search, start, end, size, local))
        if isinstance(found, _Search):
            return await self._in_pieces(found, start, end, size.dates)
        return found

    def _begin(
        self, search: _Search, start: int, end: int, size: SearchSize, local: LocalEngine
    ) -> Reply | _Search:
        """Search, or return what is to be searched in pieces."""
        query, event_type = search.query, search.event_type
        rescheduled = self._rescheduled(query, local)
        only = _hosts(query, event_type, rescheduled)
        if start >= end or only == frozenset():
            return _found(self._written(query, event_type, None, local))
        search = search._replace(rescheduled=rescheduled, only=only)
        if size.host_time <= PIECE_HOST_TIME and size.starts <= PIECE_STARTS:
            available = self._available(search, start, end, local)
            return _found(self._written(query, event_type, available, local))
        return search

    async def _in_pieces(self, search: _Search, start: int, end: int, dates: int) -> Reply:
        """Search in pieces, and yield to other requests between them."""
        if self._long is None:
            self._long = anyio.Lock()
        found: list[_Piece] = []
        async with self._long:
            grid = self._grid(search).cutter(start, end)
            for begins, ends in grid.pieces(start, end, dates):
                piece = partial(self._piece, search, begins, ends, end)
                found.append(await self._engine.run(piece))
                for _ in range(TURNS):
                    await anyio.lowlevel.checkpoint()
        return await self._engine.run(partial(self._joined, search, found))

    def _piece(
        self, search: _Search, begins: int, ends: int, end: int, local: LocalEngine
    ) -> _Piece:
        # A slot that starts in the piece may end after it.
        last = min(ends + search.length // US, end)
        available = self._available(search, begins, last, local)
        if available is not None and ends < end:
            before = [one for one in available.starts if one < ends]
            available = available._replace(starts=before)
        return available, self._written(search.query, search.event_type, available, local)

    def _joined(self, search: _Search, found: list[_Piece], local: LocalEngine) -> Reply:
        """Return the response of all pieces, without slots that have passed meanwhile."""
        now = local.look()
        dates = []
        for available, written in found:
            if available is not None and available.starts and available.starts[0] < now:
                left = [one for one in available.starts if one >= now]
                written = self._written(
                    search.query, search.event_type, available._replace(starts=left), local
                )
            if written != b"{}":
                dates += [b",", written[1:-1]]
        return 200, b"".join([_BEFORE, b"{", *dates[1:], b"}", _AFTER])

    def _grid(self, search: _Search) -> SearchGrid:
        rules, resources = search.rules, self._catalog.resources
        schedules = (
            (rules.schedule, host.schedule, resources[host.resource]) for host in rules.hosts()
        )
        hours = (next((one for one in each if one is not None), None) for each in schedules)
        return SearchGrid(
            (rules.interval or search.length) // US,
            rules.offset // US,
            Zone.of(search.query.time_zone or "UTC"),
            rules.optimized,
            distinct(hours),
        )

    def _written(
        self,
        query: SlotsQuery,
        event_type: CatalogEventType | None,
        found: AvailableSlots | None,
        local: LocalEngine,
    ) -> bytes:
        shown = () if found is None else self._shown(event_type, found, local)
        return orjson.dumps(slots_data(shown, zone=query.time_zone, ranges=query.ranges))

    # --- The event type ------------------------------------------------------------------

    def _resolve(self, query: AnyQuery) -> tuple[CatalogEventType | None, EventType]:
        """Return the event type of the catalog (None for a dynamic one), and its rules."""
        if isinstance(query, ByUsernames):
            return None, self._dynamic_event_type(query)
        found = query.event_type_id if isinstance(query, ById) else self._named(query)
        event_type = None if found is None else self._catalog.event_types.get(found)
        if event_type is None:
            raise HttpError(404, "Event Type not found")
        return event_type, event_type.rules

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

    def _dynamic_event_type(self, query: ByUsernames) -> EventType:
        """Return a dynamic event type, of several users who must all be free."""
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
            # The original's text, with a file name in it: clients may rely on it.
            where = "slots-input.service.ts"
            raise HttpError(404, f"{where}: Organization with slug {slug} not found")
        return organization_id

    # --- The slots -----------------------------------------------------------------------

    def _available(
        self, search: _Search, start: int, end: int, local: LocalEngine
    ) -> AvailableSlots | None:
        """Return the available slots; None if the span has passed."""
        start = max(start, local.look())
        if start >= end:
            return None
        rescheduled = search.rescheduled
        return local.openings(
            SlotQuery(
                search.rules if search.event_type is None else search.rules.id,
                from_us(start),
                from_us(end),
                length=search.length,
                zone=search.query.time_zone or "UTC",
                ignoring=() if rescheduled is None else (rescheduled.uid,),
                only=search.only,
            )
        )

    def _span(self, query: SlotsQuery, size: SearchSize) -> tuple[int, int]:
        """Return the span to search, from now at the earliest.  Raises `HttpError`."""
        start = max(query.earliest_start, self._engine.look())
        end = min(query.latest_end, LAST_US)
        longest = min(MAX_RANGE // US, MAX_STARTS * size.step, MAX_HOST_TIME // US // size.hosts)
        if end - start > longest:
            raise HttpError(400, _RANGE_TOO_LONG)
        return start, max(start, end)

    def _rescheduled(self, query: SlotsQuery, local: LocalEngine) -> Reservation | None:
        """Return the booking or hold to be moved; None if there is none."""
        uid = query.booking_uid_to_reschedule
        found = None if uid is None else self._reservation(self._booked.get(uid, uid), local)
        return found if found is not None and found.state in _STANDING else None

    # --- The response --------------------------------------------------------------------

    def _shown(
        self, event_type: CatalogEventType | None, available: AvailableSlots, local: LocalEngine
    ) -> list[SlotTuple]:
        length = available.length
        if available.total is None:
            return [(start, start + length, None) for start in available.starts]
        assert event_type is not None  # only event types of the catalog have seats
        return [
            (start, start + length, self._seats(event_type, available, start, local))
            for start in available.starts
        ]

    def _seats(
        self,
        event_type: CatalogEventType,
        available: AvailableSlots,
        start: int,
        local: LocalEngine,
    ) -> SeatCount:
        assert available.total is not None
        taken = available.taken.get(start, 0)
        booking_uid = (
            self._booking_uid(event_type, start, start + available.length, local) if taken else None
        )
        return SeatCount(taken, available.total, booking_uid)

    def _booking_uid(
        self, event_type: CatalogEventType, start: int, end: int, local: LocalEngine
    ) -> str | None:
        """Return the catalog's uid of a booking in a session, if there is one.

        Never the engine's uid, which would let the caller change the reservation.
        """
        query = ReservationQuery(
            event_type=event_type.rules.id, states=[State.CONFIRMED],
            start=from_us(start), end=from_us(end), limit=MOST_IN_A_PAGE,
        )  # fmt: skip
        for host in event_type.rules.hosts():
            for one in each_found(local.find, replace(query, resource=host.resource)):
                uid = self._uids.get(one.uid) if one.start == query.start else None
                if uid is not None:
                    return uid
        return None


class _Search(NamedTuple):
    """A query with its event type and hosts."""

    query: SlotsQuery
    event_type: CatalogEventType | None
    rules: EventType
    length: timedelta
    rescheduled: Reservation | None = None
    only: Collection[str] | None = None


_Piece: TypeAlias = tuple[AvailableSlots | None, bytes]
"""What a piece of a search has found, and the same as it is written."""


_BEFORE: Final = b'{"status":"success","data":'
_AFTER: Final = b"}"


def _found(data: bytes) -> Reply:
    return 200, _BEFORE + data + _AFTER


def _length(query: SlotsQuery, event_type: CatalogEventType | None, rules: EventType) -> timedelta:
    """Return the length of the slots.  Raises `HttpError` for a length they cannot have."""
    if event_type is None or query.duration == event_type.length:
        return rules.length
    return slot_minutes(event_type, query.duration, field="duration") * MINUTE


def _hosts(
    query: SlotsQuery, event_type: CatalogEventType | None, rescheduled: Reservation | None
) -> Collection[str] | None:
    """Return the hosts of groups who may take part: None for all, empty if a group has none.

    With round robin the caller may select hosts, and a booking that is moved may have
    to keep its own.
    """
    if event_type is None or not event_type.round_robin:
        return None
    groups = left = list(event_type.group_hosts)
    if query.rr_host_subset_ids:
        subset = frozenset(map(resource_of, query.rr_host_subset_ids))
        left = [group & subset for group in left]
    if (
        event_type.same_host
        and rescheduled is not None
        and rescheduled.event_type == event_type.rules.id
    ):
        left = [group & frozenset(rescheduled.resources) for group in left]
    if left == groups:
        return None
    return frozenset[str]().union(*left) if all(left) else frozenset()
