"""What all responses have in common: headers, envelopes, statuses.

A `Reply` is a status and a JSON body; `respond` adds the headers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

from slotengine.calcom.server.messages import (
    COMMON_HEADERS,
    JSON_HEADERS,
    NO_HEADERS,
    Response,
)
from slotengine.calcom.wire import UNEXPECTED, HttpError, error_body, without_surrogates
from slotengine.core.time.instant import to_us
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid
from slotengine.errors import (
    AlreadyOver,
    BadCalendar,
    CursorExpired,
    EngineClosed,
    EngineMisused,
    HoldExpired,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    KeySpent,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    OutsideHours,
    QuotaExceeded,
    Refused,
    ReplayError,
    Retired,
    SessionExpired,
    SettingInUse,
    SlotAwaited,
    SlotError,
    SlotTaken,
    StaleSetting,
    StaleVersion,
    StillTaken,
    TooManyUnits,
    TooManyWaiting,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
    UnknownSetting,
    WrongState,
)

logger = logging.getLogger(__name__)

STATUS_BY_ERROR: Final[dict[type[SlotError], int]] = {
    # The slot is refused: one status for every reason.
    SlotTaken: 422,
    NoSeatsLeft: 422,
    LimitReached: 422,
    SlotAwaited: 422,
    NoneFree: 422,
    OutsideHours: 422,
    AlreadyOver: 422,
    TooSoon: 422,
    NotBookable: 422,
    Retired: 422,
    LifeExceeded: 422,
    # Not 429, at which clients would hold back all other requests, too.
    QuotaExceeded: 422,
    # There is no such reservation, or no longer.
    UnknownReservation: 404,
    WrongState: 404,
    HoldExpired: 404,
    # Not possible over HTTP: versions, keys, sessions of clients, waiting, configuration.
    StaleVersion: 422,
    StaleSetting: 422,
    SettingInUse: 422,
    StillTaken: 422,
    KeySpent: 422,
    SessionExpired: 422,
    CursorExpired: 422,
    TooManyWaiting: 503,
    # Invalid requests.
    InvalidField: 400,
    InvalidTTL: 400,
    KeyReused: 400,
    TooManyUnits: 400,
    UnknownResource: 400,
    UnknownEventType: 400,
    UnknownSetting: 400,
    BadCalendar: 400,
    ReplayError: 400,
    EngineClosed: 503,
    EngineMisused: 503,
    # Errors without a status of their own, such as those of a lent engine.
    Refused: 422,
    InvalidRequest: 400,
}
"""The status of each error of the engine; any other error has its base class's."""

PREFLIGHT_HEADERS: Final = COMMON_HEADERS | {
    "Access-Control-Allow-Methods": "GET,PATCH,DELETE,HEAD,POST,PUT,OPTIONS",
    "Access-Control-Allow-Headers": (
        "x-cal-client-id,x-cal-secret-key,x-cal-platform-embed,cal-api-version,"
        "Accept,Authorization,Content-Type,Origin"
    ),
    "Access-Control-Max-Age": "86400",
}


Reply: TypeAlias = tuple[int, bytes]
"""A status and a JSON body.  A plain tuple, since a named one takes ten times as long to make."""


def status_of(error: SlotError) -> int:
    """Return the status of an error of the engine."""
    kind = type(error)
    status = _statuses.get(kind)
    if status is None:
        status = next(STATUS_BY_ERROR[each] for each in kind.__mro__ if each in STATUS_BY_ERROR)
        _statuses[kind] = status
    return status


_statuses: Final[dict[type[SlotError], int]] = {}
"""A cache of lookups, by type of error."""


def error_reply(error: Exception, method: str, target: str, engine: SlotEngine) -> Reply:
    """Return the response to a request that raised an error; bugs are logged."""
    path = path_of(target)
    if isinstance(error, SlotError):
        error = HttpError(status_of(error), str(error))
    if not isinstance(error, HttpError):
        logger.error("%s %s failed", method, path, exc_info=error)
        return 500, UNEXPECTED
    try:
        now = engine.look()
    except EngineClosed:
        now = to_us(datetime.now(UTC))
    return error.status, error_body(error, path=path, now=now)


def respond(reply: Reply, own_headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """Return a JSON response, with further headers."""
    status, body = reply
    return Response(status, body, JSON_HEADERS, new_uid(), own_headers)


_SCHEME_AND_HOST: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def path_of(target: str) -> str:
    """Return a request target with aliases rewritten, as in the original.

    >>> path_of("/api/v2/ee/slots?start=2050-09-05")
    '/v2/slots?start=2050-09-05'
    """
    if target.startswith("/v2/slots") and target.isascii():
        return target  # usually
    path = without_surrogates(target)
    if absolute := _SCHEME_AND_HOST.match(path):
        path = "/" + path[absolute.end() :].removeprefix("/")
    if path.startswith("/api/v2/"):
        path = path.removeprefix("/api")
    if path.startswith("/v2/ee/"):
        path = "/v2/" + path.removeprefix("/v2/ee/")
    return path
