"""The rules by which the stand-in accepts a hold: Cal.com's, defects included.

Pure.  It reads and checks bodies, and checks holds and bookings.  A check and the
change that it allows are separate calls, as they are separate statements in the
original, so that other requests can come in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from slotengine.calcom.wire import HttpError, Timestamp, parse_timestamp, reservation_data
from slotengine.testing.remote.directory import Directory, RemoteEventType
from slotengine.testing.remote.tables import ACTIVE, SelectedSlot, Tables, Wanted

USUAL_HOLD_MINUTES: Final = 5

RESERVED: Final = (
    "This time slot is already reserved by another user. Please choose a different time."
)
BOOKED: Final = "Can't reserve a slot if the event is already booked."
NO_HOSTS: Final = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)
FORBIDDEN: Final = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)
NOT_ANONYMOUSLY: Final = (
    "reservationDuration can only be used for authenticated requests - "
    "use access token, api key or OAuth credentials"
)


# --- The body of POST and PATCH ----------------------------------------------------------


class Body(NamedTuple):
    """A body whose every field has the right type."""

    event_type_id: int
    slot_start: Timestamp
    slot_duration: int | None
    reservation_duration: int | None


_FIELDS: Final = ("eventTypeId", "slotStart", "slotDuration", "reservationDuration")


def read_body(sent: Mapping[str, Any]) -> Body:
    """Read the fields of a body.  Raises `HttpError` 400 with all problems.

    >>> read_body({"eventTypeId": 1, "slotStart": "2050-09-05", "slotDuration": None})[2]
    """
    target = {name: sent[name] for name in _FIELDS if name in sent}
    start = target.get("slotStart")
    instant = parse_timestamp(start) if isinstance(start, str) else None
    event_type_id = _integer(target.get("eventTypeId"))
    violations = {}
    if event_type_id is None:
        violations["eventTypeId"] = _not_an_integer("eventTypeId")
    if instant is None:
        violations["slotStart"] = {"isDateString": "slotStart must be a valid ISO 8601 date string"}
    for name in ("slotDuration", "reservationDuration"):
        if target.get(name) is not None and _integer(target[name]) is None:
            violations[name] = _not_an_integer(name)
    if violations:
        raise HttpError(
            400,
            "Bad Request Exception",
            {"errors": [_violation(target, name, texts) for name, texts in violations.items()]},
        )
    assert event_type_id is not None
    assert instant is not None
    return Body(
        event_type_id,
        instant,
        _integer(target.get("slotDuration")),
        _integer(target.get("reservationDuration")),
    )


def _integer(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _not_an_integer(name: str) -> dict[str, str]:
    return {"isInt": f"{name} must be an integer number"}


def _violation(target: Mapping[str, Any], name: str, texts: dict[str, str]) -> dict[str, object]:
    value = {"value": target[name]} if name in target else {}
    return {"target": target, **value, "property": name, "children": [], "constraints": texts}


# --- Checks ----------------------------------------------------------------------------


def event_type_of(directory: Directory, body: Body) -> RemoteEventType:
    """Return the event type that a body names.  Raises `HttpError` 404."""
    event_type = directory.find_event_type(body.event_type_id)
    if event_type is None:
        raise HttpError(404, f"Event Type with ID={body.event_type_id} not found")
    return event_type


def check_anonymous(body: Body, user_id: int | None) -> None:
    """Refuse a ``reservationDuration`` without credentials; 0 does not count as one."""
    if body.reservation_duration and user_id is None:
        raise HttpError(401, NOT_ANONYMOUSLY)


def check_permission(
    directory: Directory, event_type: RemoteEventType, body: Body, user_id: int | None
) -> None:
    """Refuse a ``reservationDuration`` from a caller who may not set it; 0 does not count."""
    if body.reservation_duration:
        assert user_id is not None
        if not directory.may_time(user_id, event_type):
            raise HttpError(403, FORBIDDEN)


def wanted_by(body: Body, event_type: RemoteEventType) -> Wanted:
    """Return the hold that a body requests.  Raises `HttpError` 400."""
    start = body.slot_start.moment
    if start is None:
        raise HttpError(400, "Invalid start date")
    minutes = _slot_minutes(event_type, body.slot_duration)
    try:
        end = start + timedelta(minutes=minutes)
    except OverflowError:
        raise HttpError(400, "Invalid end date") from None
    hold_minutes = body.reservation_duration
    return Wanted(
        event_type,
        start,
        body.slot_start.text,
        end,
        USUAL_HOLD_MINUTES if hold_minutes is None else hold_minutes,
    )


def _slot_minutes(event_type: RemoteEventType, asked: int | None) -> int:
    if asked is None:
        return event_type.length
    if asked == 0:  # neither checked nor replaced
        return 0
    if not event_type.lengths:
        raise HttpError(
            400,
            "You passed 'slotDuration' but this event type is not a variable length event type.",
        )
    if asked not in event_type.lengths:
        raise HttpError(
            400,
            "Provided 'slotDuration' is not one of the possible lengths for the event type. "
            "The possible lengths for this variable length event type are: "
            + ", ".join(map(str, event_type.lengths)),
        )
    return asked


def check_post(tables: Tables, wanted: Wanted, now: datetime) -> int:
    """Return the user of a new hold.  Raises `HttpError` if it conflicts."""
    event_type = wanted.event_type
    _check_bookings(tables, wanted, exempt=event_type.round_robin)
    if event_type.round_robin:
        _check_round_robin(tables, wanted, now)
    else:
        _check_holds(tables, wanted, now)
    if not event_type.takers:
        raise HttpError(400, "Cannot reserve a slot for a team event without any hosts")
    return event_type.takers[0].user_id


def check_patch(tables: Tables, wanted: Wanted, now: datetime) -> None:
    """Raise `HttpError` if a hold cannot be moved; it conflicts with itself, too."""
    _check_bookings(tables, wanted, exempt=False)
    _check_holds(tables, wanted, now)


def _check_bookings(tables: Tables, wanted: Wanted, *, exempt: bool) -> None:
    event_type = wanted.event_type
    in_the_way = [
        booking
        for booking in tables.bookings
        if booking.event_type_id == event_type.id
        and booking.status in ACTIVE
        and booking.overlaps(wanted.start, wanted.end)
    ]
    if event_type.seats is None:
        if in_the_way and not exempt:
            raise HttpError(422, BOOKED)
        return
    if any(booking.attendees >= event_type.seats for booking in in_the_way):
        # The message calls the event type a booking.
        shown = f"Booking with id={event_type.id} at {wanted.start_sent}"
        raise HttpError(422, f"{shown} has no more seats left.")


def _check_holds(tables: Tables, wanted: Wanted, now: datetime) -> None:
    if any(
        row.event_type_id == wanted.event_type.id and row.overlaps(wanted.start, wanted.end)
        for row in tables.live(now)
    ):
        raise HttpError(422, RESERVED)


def _check_round_robin(tables: Tables, wanted: Wanted, now: datetime) -> None:
    """Apply the rules of round robin: exact times only, and few bookings count."""
    event_type = wanted.event_type
    exact = (event_type.id, wanted.start, wanted.end)
    held = sum((row.event_type_id, row.start, row.end) == exact for row in tables.live(now))
    if not event_type.has_fixed:
        if held == len(event_type.hosts):  # more than that is accepted again
            raise HttpError(422, NO_HOSTS)
        return
    if held:
        raise HttpError(422, NO_HOSTS)
    fixed = {host.user_id for host in event_type.hosts if host.fixed}
    if any(
        (booking.event_type_id, booking.start, booking.end) == exact
        and booking.status in ACTIVE
        and booking.user_ids[0] in fixed
        for booking in tables.bookings
    ):
        raise HttpError(422, BOOKED)


def shown(row: SelectedSlot, hold_minutes: int | None = None) -> dict[str, object]:
    """Return a hold as in the response to POST and PATCH; without minutes, to GET."""
    return reservation_data(
        event_type_id=row.event_type_id,
        start=row.start,
        end=row.end,
        uid=row.uid,
        until=row.release_at,
        reservation_minutes=hold_minutes,
    )
