"""Requests and responses as plain values, whichever web framework carries them.

A framework makes a `Head` of what it has read before the body.  The `service`
says to it either how to refuse the request, without a byte of its body, or how
long the body may be; given that body, it returns a `Response`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from multidict import istr

Headers = Mapping[str, str]
"""Headers of a request: looking one up ignores the case of its name.

``items()`` has each line, also those of a name that is repeated."""

# Texts that know their own lower case: they are looked up in aiohttp's headers, which are a
# multidict, in a third of the time.  In any other mapping they are texts like others.
AUTHORIZATION: Final = istr("Authorization")
CLIENT_ID: Final = istr("x-cal-client-id")
CONTENT_ENCODING: Final = istr("Content-Encoding")
CONTENT_LENGTH: Final = istr("Content-Length")
CONTENT_TYPE: Final = istr("Content-Type")
EXPECT: Final = istr("Expect")
UPGRADE: Final = istr("Upgrade")
API_VERSION: Final = istr("cal-api-version")
FORWARDING: Final = tuple(
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
"""In which proxies say for whom they call."""

Body = bytes | AsyncIterator[bytes]
"""The body of a response, in one piece, or in pieces of which each is sent as it comes."""


class Head(NamedTuple):
    """A request before its body."""

    method: str
    target: str
    """As on the request line, bytes that are not UTF-8 as surrogates."""
    headers: Headers
    address: str
    """The address that has connected; empty if it has none."""


class Response(NamedTuple):
    """What is answered."""

    status: int
    headers: dict[str, str]
    """All but those that frame the message: Content-Length, Date, Connection."""
    body: Body


class Refusal(NamedTuple):
    """The answer to a request of which the body need not be read."""

    response: Response
