"""The stand-in's tables: holds, live or expired, and bookings.

They store anything; nothing here prevents two live holds from overlapping.  The
checks come before, in `rules`.

Times are aware UTC datetimes in whole milliseconds; spans are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from slotengine.engine.uids import new_uid
from slotengine.testing.remote.directory import RemoteEventType
from slotengine.testing.remote.responses import no_such_row


class Status(Enum):
    """The status of a booking."""

    ACCEPTED = "ACCEPTED"
    PENDING = "PENDING"
    AWAITING_HOST = "AWAITING_HOST"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


ACTIVE: Final = frozenset({Status.ACCEPTED, Status.PENDING, Status.AWAITING_HOST})
"""The bookings that block reservations.  `search` decides which block slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedSlot:
    """One row of the table of holds, live or expired."""

    id: int
    event_type_id: int
    user_id: int
    start: datetime
    end: datetime
    uid: str
    release_at: datetime
    is_seat: bool = False

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Return whether it overlaps a span."""
        return self.start < end and self.end > start

    def is_live(self, now: datetime) -> bool:
        """Return whether it has not expired."""
        return self.release_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBooking:
    """One booking; the first of its users owns it, the others attend."""

    id: int
    uid: str
    event_type_id: int
    user_ids: tuple[int, ...]
    start: datetime
    end: datetime
    status: Status = Status.ACCEPTED
    attendees: int = 1

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Return whether it overlaps a span."""
        return self.start < end and self.end > start


class Wanted(NamedTuple):
    """A hold that is requested, not yet checked."""

    event_type: RemoteEventType
    start: datetime
    start_sent: str
    end: datetime
    hold_minutes: int


class Tables:
    """All holds and bookings."""

    def __init__(self) -> None:
        self.rows: list[SelectedSlot] = []
        self.bookings: list[RemoteBooking] = []
        self._last_id = 0

    def copy(self) -> Tables:
        """Return a copy of both tables."""
        copy = Tables()
        copy.rows, copy.bookings = list(self.rows), list(self.bookings)
        return copy

    def live(self, now: datetime) -> list[SelectedSlot]:
        """Return the holds that have not expired."""
        return [row for row in self.rows if row.is_live(now)]

    def find(self, uid: str) -> SelectedSlot | None:
        """Return a hold, also an expired one.  Uids are not unique: the oldest row wins."""
        return next((row for row in self.rows if row.uid == uid), None)

    def insert(
        self, wanted: Wanted, user_id: int, now: datetime, *, uid: str | None = None
    ) -> SelectedSlot:
        """Store a hold, without any check."""
        row = SelectedSlot(
            id=self._next_id(),
            event_type_id=wanted.event_type.id,
            user_id=user_id,
            start=wanted.start,
            end=wanted.end,
            uid=uid or new_uid(),
            release_at=now + timedelta(minutes=wanted.hold_minutes),
            is_seat=wanted.event_type.seats is not None,
        )
        self.rows.append(row)
        return row

    def update(self, id: int, wanted: Wanted, now: datetime) -> SelectedSlot:
        """Overwrite a hold; its user and seat flag stay, even with another event type.

        Raises `BareError` if the row is gone.
        """
        for index, row in enumerate(self.rows):
            if row.id == id:
                self.rows[index] = replace(
                    row,
                    event_type_id=wanted.event_type.id,
                    start=wanted.start,
                    end=wanted.end,
                    release_at=now + timedelta(minutes=wanted.hold_minutes),
                )
                return self.rows[index]
        raise no_such_row()

    def delete(self, uid: str) -> int:
        """Remove all rows of a uid, and return their number."""
        return self._keep([row for row in self.rows if row.uid != uid])

    def purge(self, event_type_id: int, now: datetime) -> int:
        """Remove the expired rows of an event type, and return their number."""
        return self._keep(
            [row for row in self.rows if row.event_type_id != event_type_id or row.is_live(now)]
        )

    def book(
        self,
        event_type: RemoteEventType,
        start: datetime,
        end: datetime,
        *,
        user_ids: tuple[int, ...],
        status: Status,
        attendees: int,
    ) -> RemoteBooking:
        """Add a booking, without any check."""
        booking = RemoteBooking(
            id=self._next_id(),
            uid=new_uid(),
            event_type_id=event_type.id,
            user_ids=user_ids,
            start=start,
            end=end,
            status=status,
            attendees=attendees,
        )
        self.bookings.append(booking)
        return booking

    def cancel(self, uid: str) -> RemoteBooking:
        """Cancel a booking.  Raises `LookupError` if there is none."""
        for index, booking in enumerate(self.bookings):
            if booking.uid == uid:
                self.bookings[index] = replace(booking, status=Status.CANCELLED)
                return self.bookings[index]
        raise LookupError(uid)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _keep(self, rows: list[SelectedSlot]) -> int:
        removed = len(self.rows) - len(rows)
        self.rows[:] = rows
        return removed
