"""The body of a request, however it arrives, and for as long as it may take."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from slotengine.calcom.answers import TRAFFIC, path_of, refusal
from slotengine.calcom.wire import HttpError

logger = logging.getLogger(__name__)

LARGEST_BODY: Final = 100 * 1024
"""In bytes, as in the original.  A sensible body has two hundred."""
BODY_TIMEOUT_S: Final = 30


async def read_json(request: web.Request) -> bytes:
    """Return a raw body that is said to be JSON.  Raises `HttpError`."""
    sent_as = request.headers.get("Content-Type", "application/json")
    if sent_as != "application/json" and (
        request.content_type != "application/json"
        or (request.charset or "utf-8").lower() != "utf-8"
    ):
        raise HttpError(415, "The body must be application/json, in UTF-8")
    return await _received(request)


async def expected(request: web.Request) -> web.StreamResponse | None:
    """Ask for a body that waits to be asked for, unless it will be refused anyway."""
    if request.headers["Expect"].lower() != "100-continue":
        return refusal(request, HttpError(417, "The only Expect is 100-continue"))
    if request.version >= HttpVersion11 and not _is_too_large(request):
        try:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except ConnectionError:
            return refusal(request, _went_away(request))
        request.writer.output_size = 0  # the answer has not begun
    return None


def _is_too_large(request: web.Request) -> bool:
    return (request.content_length or 0) > LARGEST_BODY


def _went_away(request: web.Request) -> HttpError:
    """Return the answer to a body of which no more will come; seldom does anybody read it."""
    logger.debug("%s %s: the client went away", request.method, path_of(request.raw_path))
    return HttpError(400, "The body did not arrive")


_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})
NOT_DECODED: Final = "The Content-Encoding must be gzip, deflate or identity"
_TOO_LARGE: Final = f"The body is larger than {LARGEST_BODY} bytes"


async def _received(request: web.Request) -> bytes:
    """Return the raw body, however it arrives."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in _ENCODINGS:
        raise HttpError(415, NOT_DECODED)
    if _is_too_large(request):  # or whoever announces it could keep us waiting
        raise HttpError(413, _TOO_LARGE)
    traffic = request.app[TRAFFIC]
    try:
        if request.content.is_eof():  # nearly always: it came along with its head
            return await request.read()
        async with traffic.patience(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        if traffic.given_up:
            request.content.feed_eof()  # or aiohttp goes on waiting for the rest
            raise HttpError(503, "The server is stopping; try again") from None
        raise HttpError(408, f"The body did not arrive within {BODY_TIMEOUT_S} seconds") from None
    except ConnectionError:
        raise _went_away(request) from None
    except web.HTTPRequestEntityTooLarge:
        raise HttpError(413, _TOO_LARGE) from None
    except (web.RequestPayloadError, HttpProcessingError):
        # Nothing more can be read of it; otherwise aiohttp tries, fails, and logs that.
        request.content.feed_eof()
        raise HttpError(400, "The body cannot be read: its encoding is broken") from None
