"""One HTTP request of the client and its response, if there is one.

All exceptions of aiohttp end here and become a value.  The value says whether
the request may have been sent.  The exception itself is dropped, because some
exceptions keep the request's headers and thus the credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from slotengine.extras import missing

try:
    import aiohttp
    from yarl import URL
except ModuleNotFoundError as error:
    raise missing("slotengine.calcom.client", "calcom", error.name or "aiohttp") from None

from slotengine.calcom.client.responses import Response
from slotengine.errors import InvalidField

MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024
"""A year of slots, one every five minutes and with all optional fields, takes less than two thirds
of this."""

# A Node server closes connections that were idle for five seconds.  A request that
# is sent as the server closes is lost, and it is unknown whether the server read it.
_KEEPALIVE_S: Final = 4.0

# Raised before anything was written to the remote.
_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)


class Request(NamedTuple):
    """One HTTP request; ``timeout_s`` is for all of it, and half of that for connecting."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


class NoResponse(NamedTuple):
    """There was no response; unless ``sent``, the request has certainly not arrived."""

    sent: bool
    problem: str


def base_of(url: str) -> str:
    """Return the address that paths are appended to, or raise `InvalidField`.

    >>> base_of("https://calendar.example/api/")
    'https://calendar.example/api'
    >>> base_of("https://api.cal.com/v2")
    'https://api.cal.com'
    """
    try:
        parsed = URL(url)
        valid = parsed.scheme in {"http", "https"} and bool(parsed.host)
    except (TypeError, ValueError):
        raise InvalidField("base_url", "is not a valid URL") from None
    if not valid:
        raise InvalidField("base_url", "must begin with https:// or http:// and name a host")
    if parsed.user is not None or parsed.password is not None:
        raise InvalidField("base_url", "must not contain credentials")  # so it is not quoted
    if parsed.raw_query_string or parsed.raw_fragment:
        raise InvalidField("base_url", "must not have a query or a fragment")
    # Every path begins with the version already.
    return str(parsed).rstrip("/").removesuffix("/v2").rstrip("/")


def new_session(connections: int) -> aiohttp.ClientSession:
    """Return a session with a connection pool.

    It keeps no cookies, because only the credentials identify the client.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def send(session: aiohttp.ClientSession, request: Request) -> Response | NoResponse:
    """Send one request and read its response; redirects are not followed."""
    timeout_s = request.timeout_s
    try:
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            raise_for_status=False,
            # The connect timeout is well below the total one, so it is certain which expired.
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2),
            middlewares=(_SendOnce(),),
        ) as received:
            raw = await _read(received)
            names = {name.lower(): value for name, value in received.headers.items()}
            return Response(received.status, names, raw)
    except _NOT_SENT as error:
        return NoResponse(sent=False, problem=f"no connection: {_cause(error)}")
    except TimeoutError:
        return NoResponse(sent=True, problem="no response in time")
    except (aiohttp.ClientError, OSError, _TooLarge) as error:
        return NoResponse(sent=True, problem=f"no response: {type(error).__name__}")


def _cause(error: Exception) -> str:
    """Return what went wrong with a connection, without the address."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorError) and error.strerror:
        return error.strerror
    return type(error).__name__


class _SendOnce:
    """Keeps aiohttp from repeating a GET or a DELETE by itself.

    It repeats them when a connection breaks.  The repeat would not be counted.
    And if it could not connect, the error would say that nothing was sent,
    although the first request was.
    """

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._sent:
            raise aiohttp.ServerDisconnectedError
        self._sent = True
        return await handler(request)


class _TooLarge(Exception):
    """The response is larger than any valid one."""


async def _read(received: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in received.content.iter_any():
        raw += chunk
        if len(raw) > MAX_RESPONSE_BYTES:
            raise _TooLarge
    return bytes(raw)
