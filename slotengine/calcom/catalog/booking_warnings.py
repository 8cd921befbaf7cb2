"""Finds bookings that conflict with each other, or with their event types.

The bookings were made already, so they are kept and make their hosts busy.  Each
conflict gets a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from slotengine.calcom.catalog.checks import indexed
from slotengine.calcom.catalog.event_type_tables import BookingTable, EventTypeTable
from slotengine.calcom.catalog.schema import Problem, Tables


def booking_warnings(tables: Tables) -> Iterator[Problem]:
    """Yield the problems of the bookings in valid tables.

    O(n log n) for n bookings of a few hosts each.
    """
    event_types = {each.id: each for _, each in tables.event_types}
    placed: list[_TimedBooking] = []
    for key, booking in tables.bookings:
        if not booking.takes_time:
            continue
        event_type = event_types[booking.event_type_id]
        yield from _warn_of_hosts(f"{key}.hostIds", booking, event_type)
        placed.append(_TimedBooking.of(key, booking, event_type))
    # A conflict is reported for the booking that starts later.  If both start together, it is
    # reported for the one further down in the file.
    placed.sort(key=lambda each: each.booking.start)
    yield from _warn_of_overlaps(placed)
    yield from _warn_of_sessions(placed)
    yield from _warn_of_seats(placed)


class _TimedBooking(NamedTuple):
    """A booking that takes time, with its span, buffers included, and its hosts."""

    key: str
    booking: BookingTable
    event_type: EventTypeTable
    start: datetime
    end: datetime
    hosts: tuple[int, ...]

    @classmethod
    def of(cls, key: str, booking: BookingTable, event_type: EventTypeTable) -> _TimedBooking:
        hosts = booking.host_ids or event_type.host_ids
        return cls(key, booking, event_type, *booking.occupied(event_type), tuple(hosts))

    @property
    def name(self) -> str:
        """Its key in the catalog, and its uid."""
        return f"{self.key} ({self.booking.uid!r})"

    @property
    def session(self) -> tuple[int, datetime]:
        """The session it belongs to, if its event type has seats."""
        return self.event_type.id, self.booking.start

    def shares_with(self, other: _TimedBooking) -> bool:
        """Return whether both are of one session: same event type, slot and hosts."""
        same_slot = self.session == other.session and self.end == other.end
        return (
            self.event_type.seats is not None and same_slot and set(self.hosts) == set(other.hosts)
        )


def _warn_of_hosts(
    key: str, booking: BookingTable, event_type: EventTypeTable
) -> Iterator[Problem]:
    possible = event_type.host_ids
    for host_key, host in indexed(key, booking.host_ids or ()):
        if host not in possible:
            yield Problem(
                host_key,
                f"user {host} is no host of event type {event_type.id}; "
                f"the booking {booking.uid!r} takes the user's time all the same",
            )


def _warn_of_overlaps(placed: list[_TimedBooking]) -> Iterator[Problem]:
    """Yield bookings that take the same host at the same time."""
    by_host: dict[int, list[_TimedBooking]] = {}
    for each in placed:
        for host in each.hosts:
            by_host.setdefault(host, []).append(each)
    for host, bookings in by_host.items():
        latest: _TimedBooking | None = None
        for each in bookings:
            if latest and each.start < latest.end and not each.shares_with(latest):
                yield Problem(
                    each.key,
                    f"{each.booking.uid!r} overlaps with {latest.name} on user {host} "
                    "(buffers, if any, included); both are kept",
                )
            if latest is None or each.end > latest.end:
                latest = each


def _warn_of_sessions(placed: list[_TimedBooking]) -> Iterator[Problem]:
    """Yield bookings of an event type with seats that start together, but are not one session."""
    first: dict[tuple[int, datetime], _TimedBooking] = {}
    for each in placed:
        if each.event_type.seats is None:
            continue
        opened = first.setdefault(each.session, each)
        # With a host in common they overlap, which is reported already.
        if not each.shares_with(opened) and not set(each.hosts) & set(opened.hosts):
            yield Problem(
                each.key,
                f"{each.booking.uid!r} starts at the same time as {opened.name}, but with "
                "other hosts or another end: an event type with seats has one session at a "
                "time; the booking is kept as a session of its own",
            )


def _warn_of_seats(placed: list[_TimedBooking]) -> Iterator[Problem]:
    taken: dict[tuple[int, datetime], int] = {}
    first: dict[tuple[int, datetime], _TimedBooking] = {}
    for each in placed:
        seats = each.event_type.seats
        if seats is None or not each.shares_with(first.setdefault(each.session, each)):
            continue
        taken[each.session] = taken.get(each.session, 0) + each.booking.seats_taken
        if taken[each.session] > seats.seats_per_time_slot:
            yield Problem(
                f"{each.key}.attendeesCount",
                f"with {each.booking.uid!r}, {taken[each.session]} of {seats.seats_per_time_slot} "
                f"seats are taken in the session of {first[each.session].name}; "
                "the booking is kept",
            )
