"""Cal.com's JSON as the client sees it: writes requests, reads responses.

Strict in what it writes: a value that the wire format cannot express, or to
which it gives another meaning, is refused with `InvalidField`.  Lenient in what it
reads: numbers may be text, times may be numbers, and unknown fields are
ignored.  A response that cannot be read at all raises `Unreadable`.

Pure, like `slotengine.calcom.wire`, whose formats it shares.  Knows nothing of
sockets, headers or the client's errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from reprlib import repr as shown
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from slotengine.extras import missing

try:
    import orjson
except ModuleNotFoundError as error:
    raise missing("slotengine.calcom.client", "calcom", error.name or "orjson") from None

from slotengine.calcom.wire import MINUTE, NUMERIC, integer, parse_timestamp, stamp
from slotengine.errors import InvalidField

SLOTS_PATH: Final = "/v2/slots"
RESERVATIONS_PATH: Final = "/v2/slots/reservations"


# --- The values in responses -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemoteReservation:
    """A hold at the remote, live while the remote's clock is before ``until``.

    All times are in UTC.  ``reservation_minutes`` is its time to live, counted
    from the call that made or changed it; None if the hold was only read.
    """

    uid: str
    event_type_id: int
    start: datetime
    end: datetime
    until: datetime
    reservation_minutes: int | None


@dataclass(frozen=True, slots=True)
class RemoteSeats:
    """The seats of a slot whose event type has seats."""

    booked: int
    remaining: int
    total: int


@dataclass(frozen=True, slots=True)
class RemoteSlot:
    """A slot that the remote offers, in UTC.

    ``end`` is None unless the format "range" was requested.  ``booking_uid`` is
    the uid of the shared session to join; for a session that has only holds so
    far the remote makes up a uid that belongs to nothing.
    """

    start: datetime
    end: datetime | None
    seats: RemoteSeats | None
    booking_uid: str | None


class Unreadable(ValueError):
    """A response that cannot be read.  The message does not quote the response."""


# --- Requests --------------------------------------------------------------------------


def reservation_path(uid: str) -> str:
    """Return the path of a reservation, quoted so that no uid leads anywhere else.

    >>> reservation_path("a/../b?c")
    '/v2/slots/reservations/a%2F..%2Fb%3Fc'
    """
    # A segment of dots alone means another path, quoted or not.
    if _text("uid", uid) in {".", ".."}:
        raise InvalidField("uid", f"must be the uid of a reservation, not {shown(uid)}")
    return f"{RESERVATIONS_PATH}/{quote(uid, safe='')}"


def reservation_body(
    event_type_id: int,
    start: datetime,
    *,
    slot_minutes: int | None,
    reservation_minutes: int | None,
) -> bytes:
    """Return the body of POST and PATCH.

    >>> start = datetime(2050, 9, 5, 10, tzinfo=UTC)
    >>> reservation_body(1, start, slot_minutes=None, reservation_minutes=5)
    b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00:00.000Z","reservationDuration":5}'
    """
    body: dict[str, object] = {
        "eventTypeId": _positive("event_type_id", event_type_id),
        "slotStart": _exact_stamp("start", start),
    }
    if slot_minutes is not None:
        body["slotDuration"] = _positive("slot_minutes", slot_minutes)
    if reservation_minutes is not None:
        body["reservationDuration"] = _positive("reservation_minutes", reservation_minutes)
    return orjson.dumps(body)


SlotFormat = Literal["range", "time"]
"""Whether the response has the end of each slot ("range") or only its start ("time")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTarget:
    """Whose slots: one of the four groups of parameters that the remote accepts."""

    event_type_id: int | None = None
    event_type_slug: str | None = None
    username: str | None = None
    team_slug: str | None = None
    usernames: Sequence[str] | None = None
    organization_slug: str | None = None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters, or raise `InvalidField` if they are none of the groups.

        >>> SlotTarget(username="ann", event_type_slug="chat").parameters()
        {'username': 'ann', 'eventTypeSlug': 'chat'}
        """
        group, needed, optional = self._group()
        given = {name for name in _TARGET if getattr(self, name) is not None}
        for name in (name for name in _TARGET if name in given - {*needed, *optional}):
            raise InvalidField(name, f"cannot be combined with {group}")
        for name in (name for name in needed if name not in given):
            raise InvalidField(name, f"must be given with {group}")
        return {_TARGET[name]: self._text(name) for name in _TARGET if name in given}

    def _group(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        for group, needed, optional in _GROUPS:
            if getattr(self, group) is not None:
                return group, needed, optional
        raise InvalidField("event_type_id", "or username, team_slug or usernames must be given")

    def _text(self, name: str) -> str:
        value = getattr(self, name)
        if name == "event_type_id":
            return str(_positive(name, value))
        if name == "usernames":
            return _usernames(value)
        return _text(name, value)


_TARGET: Final = {
    "event_type_id": "eventTypeId",
    "username": "username",
    "team_slug": "teamSlug",
    "event_type_slug": "eventTypeSlug",
    "usernames": "usernames",
    "organization_slug": "organizationSlug",
}

# The argument that selects the group, those that it needs, and those that it may have.
_GROUPS: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    ("event_type_id", ("event_type_id",), ()),
    ("username", ("username", "event_type_slug"), ("organization_slug",)),
    ("team_slug", ("team_slug", "event_type_slug"), ("organization_slug",)),
    ("usernames", ("usernames", "organization_slug"), ()),
)


def slots_query(
    target: SlotTarget,
    start: datetime,
    end: datetime,
    *,
    format: SlotFormat,
    time_zone: str | None,
    slot_minutes: int | None,
    booking_uid_to_reschedule: str | None,
) -> str:
    """Return the query string of a search.

    The remote reads an end at midnight as the end of the day that begins then,
    so a millisecond less is sent instead.

    >>> day = datetime(2050, 9, 5, tzinfo=UTC), datetime(2050, 9, 6, tzinfo=UTC)
    >>> slots_query(SlotTarget(event_type_id=1), *day, format="range", time_zone=None,
    ...             slot_minutes=30, booking_uid_to_reschedule=None)
    'eventTypeId=1&start=2050-09-05T00%3A00%3A00.000Z&end=2050-09-05T23%3A59%3A59.999Z&format=range&duration=30'
    """
    parameters = target.parameters()
    parameters["start"] = _exact_stamp("start", start)
    _exact_stamp("end", end)
    if end <= start:
        raise InvalidField("end", f"must be after start, but {end} is not after {start}")
    parameters["end"] = stamp(_not_midnight(end.astimezone(UTC)))
    if format not in {"range", "time"}:
        raise InvalidField("format", f"must be 'range' or 'time', not {shown(format)}")
    parameters["format"] = format
    if time_zone is not None:
        parameters["timeZone"] = _text("time_zone", time_zone)
    if slot_minutes is not None:
        parameters["duration"] = str(_positive("slot_minutes", slot_minutes))
    if booking_uid_to_reschedule is not None:
        name = "booking_uid_to_reschedule"
        parameters["bookingUidToReschedule"] = _text(name, booking_uid_to_reschedule)
    return urlencode(parameters, quote_via=quote, safe="")


def _not_midnight(end: datetime) -> datetime:
    # The remote includes slots that end up to a second later, so one that ends at midnight is kept.
    since_midnight = end - end.replace(hour=0, minute=0, second=0, microsecond=0)
    if since_midnight < timedelta(seconds=1):
        return end - since_midnight - timedelta(milliseconds=1)
    return end


def _positive(field: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise InvalidField(field, f"must be a whole number of at least 1, not {shown(value)}")
    return value


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidField(field, f"must be non-empty text, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidField(
            field, f"must be text that UTF-8 can encode, not {shown(value)}"
        ) from None
    return value


def _usernames(usernames: Sequence[str]) -> str:
    if isinstance(usernames, str) or len(usernames) < 2:
        raise InvalidField("usernames", f"must be at least two names, not {shown(usernames)}")
    for username in usernames:
        if "," in _text("usernames", username) or username != username.strip():
            raise InvalidField(
                "usernames",
                f"must have no commas and no spaces around them, unlike {shown(username)}",
            )
    return ",".join(usernames)


def _exact_stamp(field: str, moment: object) -> str:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidField(field, f"must be a datetime with a time zone, not {shown(moment)}")
    if moment.microsecond % 1000:
        raise InvalidField(
            field,
            f"must be in whole milliseconds, the finest that the wire format has, not {moment}",
        )
    try:
        return stamp(moment.astimezone(UTC))
    except OverflowError:
        raise InvalidField(field, f"must be in the years 1 to 9999 of UTC, not {moment}") from None


# --- Responses -------------------------------------------------------------------------


def parse_reservation(raw: bytes) -> RemoteReservation:
    """Read the response to POST or PATCH.

    >>> response = parse_reservation(
    ...     b'{"status": "success", "data": {"reservationUid": "u", "eventTypeId": "1",'
    ...     b' "slotStart": "2050-09-05T10:00:00Z", "slotDuration": "30",'
    ...     b' "reservationUntil": 2545985100}}'
    ... )
    >>> response.event_type_id, response.end.isoformat(), response.until.isoformat()
    (1, '2050-09-05T10:30:00+00:00', '2050-09-05T10:05:00+00:00')
    """
    data = _success(raw)
    if not isinstance(data, dict):
        raise Unreadable("the response has no reservation")
    return _reservation(data)


def parse_found(raw: bytes) -> RemoteReservation | None:
    """Read the response to GET of a reservation; null is None."""
    return None if _success(raw) is None else parse_reservation(raw)


def parse_done(raw: bytes) -> None:
    """Read the response to DELETE: a success, or an empty body."""
    if raw.strip():
        _success(raw, without_data=True)


def parse_slots(raw: bytes) -> list[RemoteSlot]:
    """Read the response to a search; the slots of all its days in order of start.

    >>> parse_slots(b'{"status": "success", "data": {}}')
    []
    """
    data = _success(raw)
    if not isinstance(data, dict):
        raise Unreadable("the response has no days")
    return sorted(map(_slot, _entries(data)), key=lambda slot: slot.start)


def parse_error(raw: bytes) -> tuple[str, str]:
    """Return the code and the message of an error, empty if it has none.  Never raises.

    >>> parse_error(b'{"status": "error", "error": {"code": "X", "message": "no"}}')
    ('X', 'no')
    >>> parse_error(b"<html>Bad Gateway</html>")
    ('', '')
    """
    response = _json(raw)
    if not isinstance(response, dict):
        return "", ""
    error = response.get("error")
    if not isinstance(error, dict):  # an error of the web framework itself, outside the envelope
        return "", _if_text(response.get("message")) or _if_text(error)
    said = [_if_text(error.get("message")), *_violations(error.get("details"))]
    return _if_text(error.get("code")), "; ".join(part for part in said if part)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _if_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _violations(details: object) -> Iterator[str]:
    """Yield the problems of the fields of a request body, which are not in the message."""
    errors = details.get("errors") if isinstance(details, dict) else None
    for error in errors if isinstance(errors, list) else []:
        constraints = error.get("constraints") if isinstance(error, dict) else None
        for text in constraints.values() if isinstance(constraints, dict) else []:
            if isinstance(text, str):
                yield text


def _success(raw: bytes, *, without_data: bool = False) -> Any:
    """Return the data in the envelope of a success."""
    response = _json(raw)
    if not isinstance(response, dict):
        raise Unreadable("the response is not a JSON object")
    if response.get("status") != "success":
        raise Unreadable("the status in the response is not success")
    if "data" not in response and not without_data:
        raise Unreadable("the response has no data")
    return response.get("data")


def _reservation(data: dict[str, Any]) -> RemoteReservation:
    start = _moment(data, "slotStart")
    minutes = data.get("reservationDuration")
    return RemoteReservation(
        uid=_uid(data, "reservationUid"),
        event_type_id=_whole(data, "eventTypeId"),
        start=start,
        end=_end(data, start),
        until=_moment(data, "reservationUntil"),
        reservation_minutes=None if minutes is None else _whole(data, "reservationDuration"),
    )


def _end(data: dict[str, Any], start: datetime) -> datetime:
    if data.get("slotEnd") is not None:
        return _moment(data, "slotEnd")
    try:
        return start + _whole(data, "slotDuration") * MINUTE
    except OverflowError:
        raise Unreadable("slotDuration is out of range") from None


def _entries(days: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entries in days.values():
        if not isinstance(entries, list):
            raise Unreadable("a day has no list of slots")
        for entry in entries:
            if isinstance(entry, str):  # as in the published example
                yield {"start": entry}
            elif isinstance(entry, dict):
                yield entry
            else:
                raise Unreadable("a slot is not an object")


def _slot(entry: Mapping[str, Any]) -> RemoteSlot:
    uid = entry.get("bookingUid")
    return RemoteSlot(
        start=_moment(entry, "start"),
        end=None if entry.get("end") is None else _moment(entry, "end"),
        seats=None if entry.get("seatsTotal") is None else _seats(entry),
        booking_uid=uid if isinstance(uid, str) else None,
    )


def _seats(entry: Mapping[str, Any]) -> RemoteSeats:
    return RemoteSeats(
        booked=_whole(entry, "seatsBooked"),
        remaining=_whole(entry, "seatsRemaining"),
        total=_whole(entry, "seatsTotal"),
    )


def _uid(data: Mapping[str, Any], field: str) -> str:
    uid = data.get(field)
    if not isinstance(uid, str) or not uid:
        raise Unreadable(f"{field} is missing or not text")
    return uid


def _whole(data: Mapping[str, Any], field: str) -> int:
    number = _number(data.get(field))
    if number is None:
        raise Unreadable(f"{field} is missing or not a whole number")
    return number


def _number(value: object) -> int | None:
    """Return a whole number, written as a number or as text."""
    if isinstance(value, str):
        return int(value) if NUMERIC.fullmatch(value) else None
    return integer(value)


_DECIMAL: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,9}", re.ASCII)


def _decimal(value: object) -> float | None:
    """Return a number with a fraction, written as a number or as text."""
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value) else None
    return value if isinstance(value, float) and isfinite(value) else None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# As seconds this is the year 5138, as milliseconds 1973.
_MILLISECONDS_FROM: Final = 100_000_000_000


def _moment(data: Mapping[str, Any], field: str) -> datetime:
    """Return a time: ISO 8601, or seconds or milliseconds since the epoch, in whole milliseconds.

    >>> _moment({"x": "2545985100.25"}, "x").isoformat()
    '2050-09-05T10:05:00.250000+00:00'
    """
    value = data.get(field)
    # Four digits are a year, not a number of seconds since the epoch.
    short = isinstance(value, str) and len(value) <= 8
    whole = None if short else _number(value)
    number = _decimal(value) if whole is None else whole
    try:
        if number is not None:
            unit = "milliseconds" if abs(number) >= _MILLISECONDS_FROM else "seconds"
            return _EPOCH + timedelta(**{unit: number})
        timestamp = parse_timestamp(value) if isinstance(value, str) else None
    except OverflowError:
        timestamp = None
    if timestamp is None or timestamp.moment is None:
        raise Unreadable(f"{field} is missing or not a time")
    return timestamp.moment
