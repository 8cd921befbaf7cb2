"""One HTTP request of the client, and what came of it: an answer, or none.

Everything that aiohttp raises ends here, as a value.  That says whether the
request may have been sent, and it drops the exception, for some of them keep
the headers of the request, and so the credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from slotengine.calcom.client.responses import Answer
from slotengine.errors import InvalidField

LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""In bytes.  A year of slots, one every five minutes, with all they can have, is less than
two thirds of it."""

# A Node server closes connections that were idle for five seconds; a request that meets the
# closing is lost, and nobody knows whether it was read.
_KEEPALIVE_S: Final = 4.0

# Raised before anything was written to the remote.
_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)


class Lost(NamedTuple):
    """No answer; unless ``sent``, the request has certainly not arrived."""

    sent: bool
    problem: str


def base_of(url: str) -> str:
    """Return the address that paths are added to, or raise `InvalidField`.

    >>> base_of("https://calendar.example/api/")
    'https://calendar.example/api'
    >>> base_of("https://api.cal.com/v2")
    'https://api.cal.com'
    """
    try:
        parsed = URL(url)
        right = parsed.scheme in {"http", "https"} and bool(parsed.host)
    except (TypeError, ValueError):
        raise InvalidField("base_url", "is no URL") from None
    if not right:
        raise InvalidField("base_url", "must begin with https:// or http://, and a host")
    if parsed.user is not None or parsed.password is not None:
        raise InvalidField("base_url", "must not have credentials")  # and they are not quoted
    if parsed.raw_query_string or parsed.raw_fragment:
        raise InvalidField("base_url", "must have no query and no fragment")
    # Every path begins with the version already.
    return str(parsed).rstrip("/").removesuffix("/v2").rstrip("/")


def new_session(connections: int) -> aiohttp.ClientSession:
    """Return a session with a pool; without cookies, for only credentials say who we are."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
) -> Answer | Lost:
    """Send one request, and read its answer; no redirect is followed."""
    try:
        async with session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
            raise_for_status=False,
            # Connecting ends well before the whole does, so which of them it was is certain.
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2),
            middlewares=(_Once(),),
        ) as response:
            raw = await _read(response)
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, names, raw)
    except _NOT_SENT as error:
        return Lost(sent=False, problem=f"no connection: {_cause(error)}")
    except TimeoutError:
        return Lost(sent=True, problem="no answer in time")
    except (aiohttp.ClientError, OSError, _TooLarge) as error:
        return Lost(sent=True, problem=f"no answer: {type(error).__name__}")


def _cause(error: Exception) -> str:
    """Return what went wrong with a connection, without where it led."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "not in time"
    if isinstance(error, aiohttp.ClientConnectorError) and error.strerror:
        return error.strerror
    return type(error).__name__


class _Once:
    """Keeps aiohttp from repeating a GET or a DELETE by itself.

    It does when a connection breaks, and a failure to connect would then hide
    that the request was sent before; nor would the repeat be counted.
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
    """The answer is larger than any that makes sense."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > LARGEST_ANSWER:
            raise _TooLarge
    return bytes(raw)
