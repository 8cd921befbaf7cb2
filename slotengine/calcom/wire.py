"""Cal.com's JSON as clients and servers both need it: errors, envelopes, times, numbers.

Version 2024-09-04 of the slots API.  Pure: bytes and values in, values and bytes out;
knows nothing of sockets, headers, catalogs or engines.  What only the server needs of the
wire is in ``server.models``, what only the client needs in ``client.wire``.

An invalid request raises `HttpError`, and `error_body` makes a response of it.  Times
are truncated to milliseconds when they are read, since responses have no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from slotengine.core.time.instant import EPOCH, SECOND, to_us
from slotengine.core.time.instant import MINUTE as MINUTE_US
from slotengine.extras import missing

try:
    import orjson
except ModuleNotFoundError as error:
    raise missing("slotengine.calcom", "server", error.name or "orjson") from None

VERSION: Final = "2024-09-04"
"""The version of the API, the value of the header ``cal-api-version``."""

MINUTE: Final = timedelta(minutes=1)

# --- Responses -------------------------------------------------------------------------

ERRORS: Final[dict[int, tuple[str, str]]] = {
    400: ("BadRequestException", "Bad Request"),
    401: ("UnauthorizedException", "Unauthorized"),
    403: ("ForbiddenException", "Forbidden"),
    404: ("NotFoundException", "Not Found"),
    408: ("RequestTimeoutException", "Request Timeout"),
    413: ("PayloadTooLargeException", "Payload Too Large"),
    415: ("UnsupportedMediaTypeException", "Unsupported Media Type"),
    417: ("ExpectationFailedException", "Expectation Failed"),
    422: ("UnprocessableEntityException", "Unprocessable Entity"),
    429: ("ThrottlerException", "Too Many Requests"),
    503: ("ServiceUnavailableException", "Service Unavailable"),
}
"""The ``code`` of each error status, and the ``error`` in its details."""

DONE: Final = b'{"status":"success"}'
"""The success envelope without data, for DELETE."""

UNEXPECTED: Final = b'{"statusCode":500,"message":"Internal server error"}'
"""The body of a response to a bug of the server; not in the envelope, as in the original."""


class HttpError(Exception):
    """An error response: a status of `ERRORS`, a message, and perhaps details.

    >>> error = HttpError(404, "Event Type with ID=7 not found")
    >>> error.status, str(error)
    (404, 'Event Type with ID=7 not found')
    """

    def __init__(
        self, status: int, message: str, details: Mapping[str, object] | str | None = None
    ) -> None:
        super().__init__(status, message, details)
        assert status in ERRORS
        self.status = status
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


def error_body(error: HttpError, *, path: str, now: int) -> bytes:
    """Return the error envelope; ``now`` is in UTC microseconds."""
    status, message, details = error.status, error.message, error.details
    facts = _facts(status, message) if details is None else _facts_with(status, message, details)
    return b'{"status":"error","timestamp":"%b","path":%b,"error":%b}' % (
        stamp_us(now).encode(),
        orjson.dumps(path),
        facts,
    )


@lru_cache(maxsize=64)
def _facts(status: int, message: str) -> bytes:
    """Return the facts of an error without details.  Cached, because most errors are usual."""
    details = {"message": message, "error": ERRORS[status][1], "statusCode": status}
    return _facts_with(status, message, details)


def _facts_with(status: int, message: str, details: Mapping[str, object] | str) -> bytes:
    return orjson.dumps({"code": ERRORS[status][0], "message": message, "details": details})


def without_surrogates(received: str) -> str:
    """Return text that UTF-8 can encode: received bytes that are not UTF-8 are surrogates."""
    return received.encode("utf-8", "replace").decode()


def success(data: object) -> bytes:
    """Return the success envelope.

    >>> success(None)
    b'{"status":"success","data":null}'
    """
    return orjson.dumps({"status": "success", "data": data})


def reservation_data(
    *,
    event_type_id: int,
    start: datetime,
    end: datetime,
    uid: str,
    until: datetime,
    reservation_minutes: int | None = None,
) -> dict[str, object]:
    """Return a reservation as POST and PATCH return it; without minutes, as GET does."""
    data: dict[str, object] = {
        "eventTypeId": event_type_id,
        "slotStart": stamp(start),
        "slotEnd": stamp(end),
        "slotDuration": (end - start) // MINUTE,
        "reservationUid": uid,
    }
    if reservation_minutes is not None:
        data["reservationDuration"] = reservation_minutes
    data["reservationUntil"] = stamp(until)
    return data


# --- Times -----------------------------------------------------------------------------

TIMES_OF_DAY: Final = tuple(f"T{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))
"""The text of each minute of a day."""

# ISO 8601 as the original's validator accepts it, without what its parser then refuses.
# `datetime.fromisoformat` accepts other forms, which also differ between Python versions.
_ISO_8601: Final = re.compile(
    r"""
    (?P<year>[0-9]{4})
    (?:
        (?P<dash>-?)
        (?:
            (?P<month>0[1-9]|1[0-2])
            (?: (?P=dash) (?P<day>0[1-9]|[12][0-9]|3[01]) | (?<=-[0-9]{2}) )  # never YYYYMM
        |   (?P<ordinal>[0-3][0-9]{2})
        |   W (?P<week>[0-4][0-9]|5[0-3]) (?: (?P=dash) (?P<weekday>[1-7]) )?
        )
        (?:
            (?P<separator>[T ])
            (?P<hour>[01][0-9]|2[0-4])
            (?:
                (?P<colon>:?) (?P<minute>[0-5][0-9])
                (?:
                    (?P=colon) (?P<second>[0-5][0-9])
                    (?: [.,] (?P<fraction>[0-9]+) )?
                )?
            )?
            (?:
                [Zz]
            |   (?P<sign>[+-]) (?P<offset_hours>[01][0-9]|2[0-3])
                (?: :? (?P<offset_minutes>[0-5][0-9]) )?
            )?
        )?
    )?
    """,
    re.VERBOSE | re.ASCII,
)


# The usual form, which all Python versions read alike.
_USUAL: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z", re.ASCII
)


class Timestamp(NamedTuple):
    """A time as it was sent, and the moment it means; None for a date that does not exist."""

    text: str
    moment: datetime | None


def parse_timestamp(text: str) -> Timestamp | None:
    """Read an ISO 8601 time; None for anything else.

    Without an offset it is in UTC, and a date alone is its midnight.  The moment is
    None if the time does not exist, such as 30 February, or is outside the years 1 to
    9999.  There are no leap seconds.

    >>> parse_timestamp("2050-W36-1T12:00+02:00").moment.isoformat()
    '2050-09-05T10:00:00+00:00'
    >>> parse_timestamp("2050-02-30")
    Timestamp(text='2050-02-30', moment=None)
    >>> parse_timestamp("tomorrow") is None
    True
    """
    if _USUAL.fullmatch(text):  # 0.5 µs; the rest takes 3.7
        try:
            return Timestamp(text, datetime.fromisoformat(text))
        except ValueError:  # 24:00, or a time that does not exist
            pass
    match = _ISO_8601.fullmatch(text)
    if match is None:
        return None
    try:
        return Timestamp(text, _moment(match))
    except (ValueError, OverflowError):
        return Timestamp(text, None)


@lru_cache(maxsize=4096)
def instant(text: str) -> int | None:
    """Read an ISO 8601 time as UTC microseconds; None if it is none, or does not exist.

    Cached, because the same slots are requested again and again.

    >>> instant("2050-09-16T10:00:00Z"), instant("2050-02-30"), instant("tomorrow")
    (2546935200000000, None, None)
    """
    timestamp = parse_timestamp(text)
    return None if timestamp is None or timestamp.moment is None else to_us(timestamp.moment)


def _moment(match: re.Match[str]) -> datetime | None:
    day = _day(match)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    separator, hour, minute, second, fraction = match.group(
        "separator", "hour", "minute", "second", "fraction"
    )
    if separator is None:
        return midnight
    if separator != "T":
        return None
    since_midnight = timedelta(
        hours=int(hour),
        minutes=int(minute or 0),
        seconds=int(second or 0),
        milliseconds=int((fraction or "0")[:3].ljust(3, "0")),
    )
    if since_midnight > timedelta(hours=24):  # 24:00 is the next midnight; 24:01 does not exist
        return None
    # In one step: the local time may be in the year 0 or 10000 although the moment is not.
    return midnight + (since_midnight - _offset(match))


def _day(match: re.Match[str]) -> date:
    year = int(match["year"])
    if match["week"]:
        return date.fromisocalendar(year, int(match["week"]), int(match["weekday"] or 1))
    if match["ordinal"]:
        day = date(year, 1, 1) + timedelta(days=int(match["ordinal"]) - 1)
        if day.year != year:
            raise ValueError(match["ordinal"])
        return day
    return date(year, int(match["month"] or 1), int(match["day"] or 1))


def _offset(match: re.Match[str]) -> timedelta:
    sign, hours, minutes = match.group("sign", "offset_hours", "offset_minutes")
    if sign is None:
        return timedelta(0)
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return -offset if sign == "-" else offset


def stamp(moment: datetime) -> str:
    """Return a UTC moment as text.

    >>> stamp(datetime(2050, 9, 5, 10, tzinfo=UTC))
    '2050-09-05T10:00:00.000Z'
    """
    assert moment.tzinfo is UTC
    # 0.3 µs; `isoformat`, which adds the offset, takes 0.9.
    seconds = orjson.dumps(moment, option=orjson.OPT_OMIT_MICROSECONDS)[1:20].decode()
    return seconds + _THOUSANDTHS[moment.microsecond // 1000]


def stamp_us(us: int) -> str:
    """Return UTC microseconds since the Unix epoch as text, as `stamp` writes a moment.

    >>> stamp_us(2_546_935_200_000_000)
    '2050-09-16T10:00:00.000Z'
    """
    # Measured in instructions: 3,500, and 10,500 for making a datetime and writing that.
    minute, rest = divmod(us, MINUTE_US)
    day, minute = divmod(minute, 24 * 60)
    if not rest:
        return f"{_date(day)}{TIMES_OF_DAY[minute]}:00.000Z"
    second, rest = divmod(rest, SECOND)
    return f"{_date(day)}{TIMES_OF_DAY[minute]}{_SECONDS[second]}{_THOUSANDTHS[rest // 1000]}"


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    """Return the text of a date, in days since the Unix epoch."""
    return (EPOCH + timedelta(day)).date().isoformat()


_SECONDS: Final = tuple(f":{second:02}" for second in range(60))
_THOUSANDTHS: Final = tuple(f".{milliseconds:03}Z" for milliseconds in range(1000))


# --- Numbers ---------------------------------------------------------------------------

# At most 18 digits, which fit into an int64.
NUMERIC: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
"""Matches a whole number as text."""


def integer(value: object) -> int | None:
    """Return a JSON number without a fraction as an int: 30 and 30.0, but not true."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None
