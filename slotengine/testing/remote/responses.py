"""The stand-in's responses, as values: statuses, bodies and headers.

The envelope and most errors are in `slotengine.calcom.wire`, which our own server
uses too.  Here are the errors that only the original has: of its throttling, its
search engine and its database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import orjson

from slotengine.calcom.wire import HttpError, error_body, stamp
from slotengine.core.time.instant import to_us


class Answer(NamedTuple):
    """A response, before it is written."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class BareError(Exception):
    """An error whose envelope has its own code, and may lack details.

    >>> str(BareError(409, "CONFLICT", "taken"))
    'taken'
    """

    def __init__(self, status: int, code: str, message: str, details: str | None = None) -> None:
        super().__init__(status, code, message, details)
        self.status = status
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


TOO_MANY: Final = "CustomThrottlerGuard - Too many requests. Please try again later."

TRPC: Final = {
    "NOT_FOUND": 404,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "CONFLICT": 409,
    "INTERNAL_SERVER_ERROR": 500,
}
"""The status for each error code of the search engine."""


def too_many_requests() -> BareError:
    """Return the 429; its details repeat its message."""
    return BareError(429, "ThrottlerException", TOO_MANY, TOO_MANY)


def no_such_row() -> BareError:
    """Return the database's error for an update of a row that is gone."""
    return BareError(404, "NOT_FOUND", "No record was found for an update.")


def engine_error(code: str, message: str | None) -> HttpError | BareError:
    """Return the response to an error of the search engine.

    >>> engine_error("NOT_FOUND", None).message
    'NOT_FOUND'
    """
    if message is not None and "Invalid time range given" in message:
        return HttpError(
            400, "Invalid time range given - check the 'start' and 'end' query parameters."
        )
    return BareError(TRPC[code], "TRPCError", message or code)


def refusal(error: HttpError | BareError, *, path: str, now: datetime) -> Answer:
    """Return the response to a refused request."""
    if isinstance(error, HttpError):
        return Answer(error.status, error_body(error, path=path, now=to_us(now)))
    inside: dict[str, object] = {"code": error.code, "message": error.message}
    if error.details is not None:
        inside["details"] = error.details
    body = {"status": "error", "timestamp": stamp(now), "path": path, "error": inside}
    return Answer(error.status, orjson.dumps(body))
