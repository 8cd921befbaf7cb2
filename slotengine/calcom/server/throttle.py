"""Rate limiting: as whom a request is counted, and the errors beyond the limit.

A valid API key, access token or OAuth client is counted by itself, and any other caller
by address, so that invalid credentials neither evade a limit nor use up another's.  An
IPv6 address is counted with its network of 64 bits, since one machine has all of it.

Time is an argument.  `catalog.rate_limits` does the counting.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from slotengine.calcom.catalog.rate_limits import (
    FixedWindowCounter,
    RateLimit,
    RateLimits,
    RateLimitStatus,
)
from slotengine.calcom.server.auth import INVALID_KEY, Caller, CallerKind
from slotengine.calcom.server.messages import PROXY_HEADERS, Headers
from slotengine.calcom.wire import HttpError

logger = logging.getLogger(__name__)

_PROXY: Final = (
    "a request has the header %s of a proxy, and %s: all callers behind that proxy count as one "
    "address, with one rate limit and one quota; set addressHeader in the catalog's [rateLimits] "
    "to the header in which the proxy names the caller, or have the proxy remove the header"
)

TOO_MANY: Final = "CustomThrottlerGuard - Too many requests. Please try again later."


Now = Callable[[], int]
"""Returns the time in UTC microseconds, which never goes backwards."""


class Admission(NamedTuple):
    """Whether a request is admitted, and the state of its rate limit; None: not counted."""

    error: HttpError | None
    status: RateLimitStatus | None

    def check(self) -> None:
        """Raise `HttpError` if the request is refused."""
        if self.error is not None:
            raise self.error

    def headers(self) -> dict[str, str]:
        """Return the rate-limit headers of the response."""
        return {} if self.status is None else self.status.headers()


class Account(NamedTuple):
    """The counter of a caller's requests, if any, and a problem for which all are refused."""

    counter: FixedWindowCounter | None
    name: str | bytes
    problem: str | None

    def admit(self, now: Now) -> Admission:
        """Count a request; refuse it beyond the limit, and for an unknown API key."""
        error = None if self.problem is None else HttpError(401, self.problem)
        if self.counter is None:
            return Admission(error, None)
        status = self.counter.hit(self.name, now=now())
        return Admission(too_many_requests() if status.exceeded else error, status)

    def charge(self, cost: int, now: Now) -> Admission:
        """Count an admitted request as ``cost`` requests, or refuse it."""
        if self.counter is None or cost == 1:
            return Admission(None, None)
        status = self.counter.charge(self.name, cost - 1, now=now())
        return Admission(too_costly(cost, status) if status.exceeded else None, status)

    def __repr__(self) -> str:
        return "<Account>"


class Throttle:
    """Counts the requests of each caller."""

    __slots__ = ("_address_header", "_counters", "_warned")

    def __init__(self, limits: RateLimits) -> None:
        name = limits.address_header
        self._address_header = None if name is None else name.lower()
        self._warned = False
        self._counters = {
            CallerKind.ADDRESS: _counter(limits.address),
            CallerKind.API_KEY: _counter(limits.api_key),
            CallerKind.ACCESS_TOKEN: _counter(limits.access_token),
            CallerKind.OAUTH_CLIENT: _counter(limits.oauth_client),
        }

    def account(self, caller: Caller, headers: Headers, address: str) -> Account | None:
        """Return the account of a caller; None if it has no limit."""
        counter, name = self._counters[caller.kind], caller.name
        problem = INVALID_KEY if caller.has_unknown_key else None
        if counter is None and problem is None:
            return None
        if caller.kind is CallerKind.ADDRESS:
            name = self.address(headers, address)
        return Account(counter, name, problem)

    def warn_of_proxy(self, headers: Headers) -> None:
        """Warn once of a proxy that the catalog does not name.

        All its callers share one address then, and so one rate limit and one quota.
        """
        if self._warned:
            return
        for name in PROXY_HEADERS:
            if name in headers:
                if self._address_header is None or self._address_header not in headers:
                    self._warned = True
                    known = "the catalog names no addressHeader"
                    if self._address_header is not None:
                        known = f"not the catalog's addressHeader, {self._address_header}"
                    logger.warning(_PROXY, name, known)
                return

    def address(self, headers: Headers, address: str) -> str:
        """Return the caller's address, as a trusted proxy names it, in the form that is counted."""
        if self._address_header is not None:
            address = _last_value(headers, self._address_header, address)
        return rate_limit_address(address)


def _counter(limit: RateLimit | None) -> FixedWindowCounter | None:
    return None if limit is None else FixedWindowCounter(limit)


def too_many_requests() -> HttpError:
    """Return the 429; its details repeat its message."""
    return HttpError(429, TOO_MANY, TOO_MANY)


def too_costly(cost: int, status: RateLimitStatus) -> HttpError:
    """Return the 429 of a search that costs more requests than are left, with a hint."""
    hint = (
        f"this search counts as {cost} requests, of which {status.remaining} are left; "
        f"ask for less time or fewer hosts at once, or in {status.reset_s} s"
    )
    return HttpError(429, TOO_MANY, f"{TOO_MANY} ({hint})")


def _last_value(headers: Headers, name: str, address: str) -> str:
    """Return the last address in a header, or ``address`` if there is none.

    A proxy appends to the header: after a comma, or as another line.  Anything before
    that is chosen by the client.
    """
    last = None
    for each, value in headers.items():  # also repeated lines
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

    It starts at the earliest comma after which all is well formed: commas may be
    quoted, where a proxy repeats the client's own headers.
    """
    last = _LAST.search(line)
    if last is not None:
        for pair in _PAIRS.finditer(last[1]):
            name, _, value = pair[0].partition("=")
            if name.lower() == "for":
                return value.strip('"')
    return None


@lru_cache(maxsize=1024)
def rate_limit_address(address: str) -> str:
    """Return an address in the form that is counted: without a port, IPv6 as a network.

    >>> rate_limit_address("192.0.2.7"), rate_limit_address("::ffff:192.0.2.7")
    ('192.0.2.7', '192.0.2.7')
    >>> rate_limit_address("2001:db8::5:6:7:8")
    '2001:db8::/64'

    The port differs for each connection:

    >>> rate_limit_address("192.0.2.7:50123"), rate_limit_address("[2001:db8::5:6:7:8]:50123")
    ('192.0.2.7', '2001:db8::/64')
    """
    address = address.strip()
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:  # a socket without an address, or a proxy with names of its own
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
