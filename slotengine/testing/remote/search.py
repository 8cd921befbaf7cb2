"""The stand-in's search for available slots.

Pure.  It follows Cal.com, without limits on bookings, external calendars, booking
windows, restriction schedules, "optimized slots", "same host when rescheduling" and
managed event types.  Opening hours are those of `slotengine.core.time.schedule`,
without the original's defects around overrides and clock changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from slotengine.calcom.wire import HttpError, stamp
from slotengine.core.time.instant import MINUTE, SECOND, from_us, to_us
from slotengine.engine.uids import new_uid
from slotengine.testing.remote.directory import Directory, RemoteEventType, RemoteHost
from slotengine.testing.remote.grid import Grid, Span, both, union, without
from slotengine.testing.remote.query import ByEventType, ByTeam, ByUser, Dynamic, Query
from slotengine.testing.remote.tables import RemoteBooking, SelectedSlot, Status, Tables

DYNAMIC_ID: Final = 0
"""The id of the event type that stands for several usernames; no row has it."""

Slots = dict[str, list[dict[str, object]]]
"""The slots that begin on each date, in wire format."""


class Offer(NamedTuple):
    """What is searched: an event type, real or made up, and its hosts."""

    event_type: RemoteEventType
    hosts: tuple[RemoteHost, ...]


def resolve(directory: Directory, query: Query) -> Offer:
    """Return the event type and hosts of a query.  Raises `HttpError` 401 or 404."""
    event_type = _target(directory, query)
    if event_type is None:
        raise HttpError(404, "Event Type not found")
    hosts = event_type.takers
    if query.host_ids and event_type.round_robin and event_type.host_subsets:
        hosts = tuple(host for host in hosts if host.user_id in query.host_ids)
    return Offer(event_type, hosts)


def _target(directory: Directory, query: Query) -> RemoteEventType | None:
    match query.target:
        case ByEventType(id):
            return directory.find_event_type(id)
        case ByUser(username, slug, organization):
            owner = directory.user_named(username, organization).id
            return directory.event_type_by_slug(slug, owner=owner)
        case ByTeam(team, slug, organization):
            team_id = directory.team_with(team, organization).id
            return directory.event_type_by_slug(slug, team=team_id)
        case Dynamic(usernames, organization):
            return _dynamic(directory, usernames, organization)


def _dynamic(directory: Directory, usernames: Iterable[str], organization: str) -> RemoteEventType:
    users = [directory.user_named(name, organization) for name in usernames]
    if not all(user.dynamic for user in users):
        raise HttpError(401, "Some of the users in this group do not allow dynamic booking")
    hosts = tuple(RemoteHost(user.id, fixed=True) for user in users)
    return RemoteEventType(id=DYNAMIC_ID, team=0, hosts=hosts)


def search(
    tables: Tables, directory: Directory, offer: Offer, query: Query, now: datetime
) -> Slots:
    """Return the available slots."""
    return _Search(tables, directory, offer, query, now).slots()


class _Search:
    """One search."""

    def __init__(
        self, tables: Tables, directory: Directory, offer: Offer, query: Query, now: datetime
    ) -> None:
        self._tables = tables
        self._directory = directory
        self._event_type, self._hosts = offer
        self._query = query
        self._now = now
        self._length_min = query.duration_min or self._event_type.length
        self._zone: tzinfo = UTC if query.zone is None else ZoneInfo(query.zone)
        self._live = tables.live(now)

    def slots(self) -> Slots:
        if self._length_min < 0:
            return {}
        dates: Slots = {}
        for start in self._starts():
            date = start.astimezone(self._zone).date().isoformat()
            if date not in dates or not self._event_type.first_only:
                dates.setdefault(date, []).append(self._shown(start))
        return dates

    def _starts(self) -> Iterator[datetime]:
        """Yield the starts of all slots, in order."""
        event_type = self._event_type
        step_min = event_type.step or self._length_min
        grid = Grid(self._length_min, step_min, event_type.offset, self._zone)
        # At least a minute from now, even without notice.
        taken_up_from = to_us(self._now) + max(1, event_type.notice) * MINUTE
        earliest = max(self._query.start, self._now + timedelta(minutes=event_type.notice))
        for instant in grid.starts(self._free(), taken_up_from):
            start = from_us(instant)
            if start >= earliest and not self._is_held(start):
                yield start

    # --- Free time -----------------------------------------------------------------------

    def _free(self) -> list[Span]:
        """Return when all fixed hosts, and one host of each group, are free."""
        pools: dict[str, list[Span]] = {}
        free: list[Span] | None = None
        for host in self._hosts:
            spans = self._free_of(host.user_id)
            if self._event_type.round_robin and not host.fixed:
                pools.setdefault(host.group, []).extend(spans)
            else:
                free = spans if free is None else both(free, spans)
        for pool in pools.values():
            free = union(pool) if free is None else both(free, union(pool))
        return free or []

    def _free_of(self, user_id: int) -> list[Span]:
        start, end = to_us(self._query.start), to_us(self._query.end)
        if start >= end:
            return []
        hours = self._event_type.hours or self._directory.user(user_id).hours
        return without(hours.windows(start, end), self._busy(user_id))

    def _busy(self, user_id: int) -> Iterator[Span]:
        """Yield the time that bookings take of a user, buffers included."""
        sessions: Counter[Span] = Counter()
        wanted = self._event_type
        for booking in self._tables.bookings:
            booked = self._booked(booking)
            if user_id not in booking.user_ids or not self._blocks(booking, booked):
                continue
            span = start, end = to_us(booking.start), to_us(booking.end)
            before = start - (booked.before + wanted.after) * MINUTE
            after = end + (booked.after + wanted.before) * MINUTE
            seats = wanted.seats if booked.id == wanted.id and booking.attendees else None
            if seats is not None:
                sessions[span] += 1  # counts bookings, not attendees
            if seats is not None and sessions[span] < seats:
                yield from ((before, start), (end, after))
            else:
                yield before, after

    def _booked(self, booking: RemoteBooking) -> RemoteEventType:
        found = self._directory.find_event_type(booking.event_type_id)
        assert found is not None
        return found

    def _blocks(self, booking: RemoteBooking, booked: RemoteEventType) -> bool:
        if booking.uid == self._query.reschedule:
            return False
        return booking.status is Status.ACCEPTED or (
            booking.status is Status.PENDING and booked.blocks_unconfirmed
        )

    def _is_held(self, start: datetime) -> bool:
        """Return whether a hold hides a slot: of any event type, but only for its one user."""
        end = start + timedelta(minutes=self._length_min)
        considered = {host.user_id for host in self._hosts}
        return any(
            row.user_id in considered and not row.is_seat and row.overlaps(start, end)
            for row in self._live
        )

    # --- Writing -------------------------------------------------------------------------

    def _shown(self, start: datetime) -> dict[str, object]:
        slot: dict[str, object] = {"start": self._stamp(start)}
        if self._query.ranges:
            # An event type that is made up has no length here.
            own_min = 0 if self._event_type.id == DYNAMIC_ID else self._event_type.length
            minutes = self._query.duration_min or own_min
            slot["end"] = self._stamp(start + timedelta(minutes=minutes))
        return slot | self._seats(start)

    def _seats(self, start: datetime) -> dict[str, object]:
        event_type = self._event_type
        if event_type.seats is None:
            return {}
        bookings = [
            booking
            for booking in self._tables.bookings
            if (booking.event_type_id, booking.start) == (event_type.id, start)
            and booking.status is Status.ACCEPTED
        ]
        held = sum(self._is_seat(row, start) for row in self._live)
        booked = sum(booking.attendees for booking in bookings) + held
        seats: dict[str, object] = {
            "seatsBooked": booked,
            "seatsRemaining": event_type.seats - booked,
            "seatsTotal": event_type.seats,
        }
        if bookings or held:  # without a booking, a random uid
            seats["bookingUid"] = bookings[0].uid if bookings else new_uid()
        return seats

    def _is_seat(self, row: SelectedSlot, start: datetime) -> bool:
        return row.is_seat and (row.event_type_id, row.start) == (self._event_type.id, start)

    def _stamp(self, moment: datetime) -> str:
        if self._query.zone in {None, "UTC", "GMT"}:
            return stamp(moment)
        return moment.astimezone(self._zone).isoformat(timespec="milliseconds")


class Cache:
    """Recent responses, by query; later changes do not affect them."""

    def __init__(self, lifetime: timedelta) -> None:
        self._lifetime_us = int(lifetime.total_seconds() * SECOND)
        self._answers: dict[Query, tuple[int, Slots]] = {}

    def get(self, query: Query, now: int) -> Slots | None:
        """Return the response to an equal query, if it is recent enough."""
        until, slots = self._answers.get(query, (now, {}))
        return slots if until > now else None

    def put(self, query: Query, slots: Slots, now: int) -> None:
        """Keep a response, and drop those that are too old."""
        self._answers = {key: kept for key, kept in self._answers.items() if kept[0] > now}
        self._answers[query] = now + self._lifetime_us, slots
