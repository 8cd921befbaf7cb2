"""What every answer of the server has in common: headers, envelopes, statuses.

Here are also the keys under which an application keeps what its handlers need.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from slotengine.calcom.catalog import Catalog
from slotengine.calcom.traffic import Traffic
from slotengine.calcom.wire import HttpError, error_body
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid
from slotengine.errors import (
    EngineClosed,
    InvalidRequest,
    Refused,
    SlotError,
    UnknownReservation,
    WrongState,
)

ENGINE: Final = web.AppKey("slotengine", SlotEngine)
"""Where an application keeps its engine: ``app[ENGINE]``."""
CATALOG: Final = web.AppKey("catalog", Catalog)
TRAFFIC: Final = web.AppKey("traffic", Traffic)

STATUS: Final[dict[type[SlotError], int]] = {
    Refused: 422,
    UnknownReservation: 404,
    WrongState: 404,  # it is a reservation no longer
    InvalidRequest: 400,
    EngineClosed: 503,
}
"""The status for each error of the engine; for one that is not here, its parent's."""

ALWAYS: Final = {"Access-Control-Allow-Origin": "*", "Server": "slotengine"}
PREFLIGHT: Final = ALWAYS | {
    "Access-Control-Allow-Methods": "GET,PATCH,DELETE,HEAD,POST,PUT,OPTIONS",
    "Access-Control-Allow-Headers": (
        "x-cal-client-id,x-cal-secret-key,x-cal-platform-embed,cal-api-version,"
        "Accept,Authorization,Content-Type,Origin"
    ),
    "Access-Control-Max-Age": "86400",
}
JSON: Final = ALWAYS | {"Content-Type": "application/json; charset=utf-8"}

# The aliases that the original rewrites.
PREFIXES: Final = tuple(prefix + root for prefix in ("", "/api") for root in ("/v2", "/v2/ee"))
"""What the path of every endpoint begins with."""


def status_of(error: SlotError) -> int:
    """Return the status for an error of the engine."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal(request: web.Request, error: HttpError) -> web.Response:
    """Return the answer that says what is wrong."""
    try:
        now = request.app[ENGINE].now()
    except EngineClosed:
        now = datetime.now(UTC)
    response = respond(error.status, error_body(error, path=path_of(request), now=now))
    if request.content.exception() is not None:  # where the next request begins is unknown
        response.force_close()
    return response


def respond(status: int, body: bytes) -> web.Response:
    """Return an answer of JSON."""
    return web.Response(status=status, body=body, headers=JSON | {"X-Request-Id": new_uid()})


_SCHEME_AND_HOST: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def path_of(request: web.Request) -> str:
    """Return the request target as the original sees it: aliases rewritten."""
    path = sendable(request.raw_path)
    if absolute := _SCHEME_AND_HOST.match(path):
        path = "/" + path[absolute.end() :].removeprefix("/")
    if path.startswith("/api/v2/"):
        path = path.removeprefix("/api")
    if path.startswith("/v2/ee/"):
        path = "/v2/" + path.removeprefix("/v2/ee/")
    return path


def sendable(received: str) -> str:
    """Return text that can be sent back; bytes that are not UTF-8 arrive as surrogates."""
    return received.encode("utf-8", "replace").decode()
