"""Requests and responses as plain values, independent of the web framework.

The framework passes the `Head` of a request to `service`, which either refuses the
request, without a byte of its body, or admits a body of a size; given that body, it
returns a `Response`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from multidict import istr

Headers = Mapping[str, str]
"""Headers of a request; lookup ignores case.

``items()`` has every line, also of a repeated name."""

# Strings with a cached lower case: aiohttp's headers, a multidict, find them in a third of the
# time.  In any other mapping they are ordinary strings.
AUTHORIZATION: Final = istr("Authorization")
CLIENT_ID: Final = istr("x-cal-client-id")
CONTENT_ENCODING: Final = istr("Content-Encoding")
CONTENT_LENGTH: Final = istr("Content-Length")
CONTENT_TYPE: Final = istr("Content-Type")
EXPECT: Final = istr("Expect")
UPGRADE: Final = istr("Upgrade")
API_VERSION: Final = istr("cal-api-version")
PROXY_HEADERS: Final = tuple(
    map(
        istr,
        (
            "X-Forwarded-For",
            "Forwarded",
            "X-Real-IP",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
        ),
    )
)
"""The headers in which proxies name their callers."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
COMMON_HEADERS: Final = {"Access-Control-Allow-Origin": "*", "Server": "slotengine"}
JSON_HEADERS: Final = COMMON_HEADERS | {"Content-Type": "application/json; charset=utf-8"}

Body = bytes | AsyncIterator[bytes]
"""The body of a response, whole or as a stream of chunks."""


class Head(NamedTuple):
    """A request before its body."""

    method: str
    target: str
    """The request target; bytes that are not UTF-8 are surrogates."""
    headers: Headers
    address: str
    """The address of the peer; empty if it has none."""


class Response(NamedTuple):
    """A response."""

    status: int
    body: Body
    shared_headers: Mapping[str, str]
    """Headers of all responses of a kind, such as `JSON_HEADERS`: always the same object."""
    request_id: str
    own_headers: Mapping[str, str] = NO_HEADERS
    """Further headers of this response, such as its caller's rate limit."""

    @property
    def headers(self) -> dict[str, str]:
        """All headers but Content-Length, Date and Connection."""
        return {**self.shared_headers, "X-Request-Id": self.request_id, **self.own_headers}


class Refusal(NamedTuple):
    """The response to a request that is refused by its head."""

    response: Response
