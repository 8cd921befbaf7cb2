"""What stands on a resource, asked in the way of the engine."""

from __future__ import annotations

from datetime import datetime

from slotengine import ReservationQuery, State


def standing(resource: str, start: datetime, end: datetime) -> ReservationQuery:
    """Return the question which holds and bookings claim a resource in a range."""
    live = [State.HELD, State.CONFIRMED]
    return ReservationQuery(resource=resource, states=live, start=start, end=end, limit=1000)
