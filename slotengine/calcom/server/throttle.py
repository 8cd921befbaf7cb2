"""Who is counted as whom, and what is said to those who call too often.

An API key, an access token and an OAuth client count by themselves if they are
known and right; everybody else counts by address, so that nobody gets around a
limit, or uses up another's, by claiming to be somebody.  An address of IPv6
counts with its network of 64 bits, since one machine has all of that.

Time is an argument.  `catalog.rate_limits` does the counting.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from slotengine.calcom.catalog.rate_limits import (
    FixedWindowCounter,
    RateLimit,
    RateLimits,
    RateLimitStatus,
)
from slotengine.calcom.server.auth import INVALID_KEY, Caller, Kind
from slotengine.calcom.server.messages import FORWARDING, Headers
from slotengine.calcom.wire import HttpError
from slotengine.core.time.instant import to_us

logger = logging.getLogger(__name__)

_PROXY: Final = (
    "a request carries the header %s, as if through a proxy, and %s: all callers behind that proxy "
    "count as one address, with one rate limit and one quota; set addressHeader in the catalog's "
    "[rateLimits] to the header in which the proxy says who calls, or have the proxy remove it"
)

TOO_MANY: Final = "CustomThrottlerGuard - Too many requests. Please try again later."


Now = Callable[[], datetime]
"""What tells the time, in UTC; never going backwards."""


class Admission(NamedTuple):
    """Whether a request may go on, and how its caller stands; None: is not counted."""

    error: HttpError | None
    counted: RateLimitStatus | None

    def check(self) -> None:
        """Raise `HttpError` if the request may not go on."""
        if self.error is not None:
            raise self.error

    def headers(self) -> dict[str, str]:
        """Return the headers that tell of it."""
        return {} if self.counted is None else self.counted.headers()


class Account(NamedTuple):
    """Where the requests of a caller are counted, if they are, and what is refused always."""

    windows: FixedWindowCounter | None
    name: str | bytes
    wrong: str | None

    def admit(self, now: Now) -> Admission:
        """Count a request, and refuse it if that is one too many, or its API key is unknown."""
        error = None if self.wrong is None else HttpError(401, self.wrong)
        if self.windows is None:
            return Admission(error, None)
        count = self.windows.hit(self.name, now=to_us(now()))
        return Admission(too_many_requests() if count.exceeded else error, count)

    def charge(self, cost: int, now: Now) -> Admission:
        """Count a request that was admitted as one of a higher cost, or refuse it."""
        if self.windows is None or cost == 1:
            return Admission(None, None)
        count = self.windows.charge(self.name, cost - 1, now=to_us(now()))
        return Admission(too_costly(cost, count) if count.exceeded else None, count)

    def __repr__(self) -> str:
        return "<Account>"


class Throttle:
    """Counts the requests to an application, each for its caller."""

    __slots__ = ("_address_header", "_warned", "_windows")

    def __init__(self, limits: RateLimits) -> None:
        name = limits.address_header
        self._address_header = None if name is None else name.lower()
        self._warned = False
        self._windows = {
            Kind.ADDRESS: _windows(limits.address),
            Kind.API_KEY: _windows(limits.api_key),
            Kind.ACCESS_TOKEN: _windows(limits.access_token),
            Kind.OAUTH_CLIENT: _windows(limits.oauth_client),
        }

    def account(self, caller: Caller, headers: Headers, address: str) -> Account | None:
        """Return where the requests of a caller are counted; None if all are free to go on."""
        windows, name = self._windows[caller.kind], caller.name
        wrong = INVALID_KEY if caller.key_is_unknown else None
        if windows is None and wrong is None:
            return None
        if caller.kind is Kind.ADDRESS:
            name = self.address(headers, address)
        return Account(windows, name, wrong)

    def look_for_proxy(self, headers: Headers) -> None:
        """Warn, once, of a proxy in front that the catalog does not know of.

        All who call through it are one address then, and share what one may have.
        """
        if self._warned:
            return
        for name in FORWARDING:
            if name in headers:
                if self._address_header is None or self._address_header not in headers:
                    self._warned = True
                    known = "the catalog names no addressHeader"
                    if self._address_header is not None:
                        known = f"not the catalog's addressHeader, {self._address_header}"
                    logger.warning(_PROXY, name, known)
                return

    def address(self, headers: Headers, address: str) -> str:
        """Return what the address that calls is counted as, by what a trusted proxy says."""
        if self._address_header is not None:
            address = _told(headers, self._address_header, address)
        return counted_as(address)


def _windows(limit: RateLimit | None) -> FixedWindowCounter | None:
    return None if limit is None else FixedWindowCounter(limit)


def too_many_requests() -> HttpError:
    """Return the 429: its details are its message once more."""
    return HttpError(429, TOO_MANY, TOO_MANY)


def too_costly(cost: int, count: RateLimitStatus) -> HttpError:
    """Return the 429 of a request that counts as more than is left, which its details say."""
    hint = (
        f"this search counts as {cost} requests, of which {count.remaining} are left; "
        f"ask for less time or fewer hosts at once, or in {count.reset_s} s"
    )
    return HttpError(429, TOO_MANY, f"{TOO_MANY} ({hint})")


def _told(headers: Headers, name: str, address: str) -> str:
    """Return the last address that stands in a header, or this one if there is none.

    A proxy that finds the header there may add to it: a comma and more, or
    another line.  What came before is the client's to choose.
    """
    last = None
    for each, value in headers.items():  # as often as it is there
        if each.lower() == name:
            last = value
    if last is None:
        return address
    if name == "forwarded":
        return _forwarded_for(last) or address
    return last.rpartition(",")[2]


_PAIR: Final = r"""[!#$%&'*+.^_`|~0-9A-Za-z-]+=(?:"(?:[^"\\]|\\.)*"|[^\s",;]*)"""
_PAIRS: Final = re.compile(_PAIR)
_LAST: Final = re.compile(rf"(?:^|,)[ \t]*({_PAIR}(?:;{_PAIR})*)[ \t]*$")


def _forwarded_for(line: str) -> str | None:
    """Return the address in the last element of a ``Forwarded`` header (RFC 7239).

    >>> _forwarded_for('for=192.0.2.7, for="[2001:db8::7]:50123";proto=https')
    '[2001:db8::7]:50123'

    The earliest comma after which all is well formed begins it: commas may also be
    quoted, in what a proxy repeats of the client's own headers.
    """
    last = _LAST.search(line)
    if last is not None:
        for pair in _PAIRS.finditer(last[1]):
            name, _, value = pair[0].partition("=")
            if name.lower() == "for":
                return value.strip('"')
    return None


@lru_cache(maxsize=1024)
def counted_as(address: str) -> str:
    """Return what an address is counted as.

    >>> counted_as("192.0.2.7"), counted_as("::ffff:192.0.2.7"), counted_as("2001:db8::5:6:7:8")
    ('192.0.2.7', '192.0.2.7', '2001:db8::/64')

    Without the port, which is another for each connection:

    >>> counted_as("192.0.2.7:50123"), counted_as("[2001:db8::5:6:7:8]:50123")
    ('192.0.2.7', '2001:db8::/64')
    """
    address = address.strip()
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:  # of a socket without addresses, or from a proxy that has its own names
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
