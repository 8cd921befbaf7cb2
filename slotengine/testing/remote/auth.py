"""Credentials and rate limits of the stand-in's callers.

Pure: header values and the time are arguments.  The rate limiter comes first, and
looks up API keys on every endpoint.  Only POST authenticates the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from slotengine.calcom.catalog.rate_limits import (
    AUTHENTICATED_LIMIT,
    DEFAULT_LIMIT,
    FixedWindowCounter,
    RateLimit,
    RateLimitStatus,
)
from slotengine.calcom.wire import HttpError
from slotengine.testing.remote.responses import too_many_requests

KEY_PREFIX: Final = "cal_"
"""The prefix of API keys, which access tokens do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limits for each kind of caller; by default, the original's."""

    api_key: RateLimit = DEFAULT_LIMIT
    access_token: RateLimit = AUTHENTICATED_LIMIT
    oauth_client: RateLimit = AUTHENTICATED_LIMIT
    address: RateLimit = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class RemoteApiKey:
    """An API key, which begins with ``cal_``, its user, and limits of its own."""

    secret: str = field(repr=False)
    user_id: int
    expired: bool = False
    limits: tuple[RateLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteAccessToken:
    """An access token, its user, and the web origins that it is valid for; None for any."""

    secret: str = field(repr=False)
    user_id: int
    origins: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RemoteOAuthClient:
    """A platform's OAuth client, which acts for the owner of its organization."""

    id: str
    secret: str = field(repr=False)
    owner_id: int


Headers = Mapping[str, str]


def bearer(headers: Headers) -> str | None:
    """Return the token of an Authorization header; all of it, if it is not a bearer's."""
    header = headers.get("Authorization")
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else header


class Credentials:
    """All credentials that the stand-in accepts."""

    def __init__(
        self,
        api_keys: Iterable[RemoteApiKey],
        access_tokens: Iterable[RemoteAccessToken],
        oauth_clients: Iterable[RemoteOAuthClient],
    ) -> None:
        self._api_keys = {one.secret: one for one in api_keys}
        self._access_tokens = {one.secret: one for one in access_tokens}
        self._oauth_clients = {one.id: one for one in oauth_clients}

    def api_key(self, secret: str) -> RemoteApiKey:
        """Return an API key; raises the 401 that an unknown one gets on every endpoint."""
        key = self._api_keys.get(secret)
        if key is None:
            raise HttpError(401, "CustomThrottlerGuard - Invalid API Key")
        return key

    def caller(self, headers: Headers) -> int | None:
        """Return the user id of the caller, or None without credentials.

        Raises `HttpError` 401 for wrong credentials, although none are required.
        """
        client_id, secret = headers.get("x-cal-client-id"), headers.get("x-cal-secret-key")
        if client_id and secret:
            return self._owner(client_id, secret)
        token = bearer(headers)
        if token is None:
            return None
        if token.startswith(KEY_PREFIX):
            key = self.api_key(token)
            if key.expired:
                raise HttpError(401, "ApiAuthStrategy - api key - Your api key is expired")
            return key.user_id
        return self._user(token, headers.get("Origin"))

    def _owner(self, client_id: str, secret: str) -> int:
        client = self._oauth_clients.get(client_id)
        if client is None:
            raise HttpError(
                401, f"ApiAuthStrategy - oAuth client - Client with ID {client_id} not found"
            )
        if client.secret != secret:
            raise HttpError(401, "ApiAuthStrategy - oAuth client - Invalid client secret")
        return client.owner_id

    def _user(self, secret: str, origin: str | None) -> int:
        token = self._access_tokens.get(secret)
        if token is None:
            raise HttpError(401, "ApiAuthStrategy - access token - Invalid Access Token.")
        if origin is not None and token.origins is not None and origin not in token.origins:
            raise HttpError(
                401,
                "ApiAuthStrategy - access token - "
                "The origin matches no redirect URI of the token's OAuth client.",
            )
        return token.user_id


class Limiter:
    """Counts requests per caller, in windows that begin with the first request."""

    def __init__(self, limits: RateLimits, credentials: Credentials) -> None:
        self._limits = limits
        self._credentials = credentials
        self._windows: dict[RateLimit, FixedWindowCounter] = {}

    def admit(self, headers: Headers, address: str, now: int) -> dict[str, str]:
        """Count a request, and return its rate limit headers.

        Raises `HttpError` 401 for an unknown API key, and `Throttled` when the
        caller has exceeded all its limits.
        """
        caller, limits = self._of(headers, address)
        shown: dict[str, str] = {}
        exceeded = 0
        for limit in limits:
            count = self._hit(caller, limit, now)
            exceeded += count.exceeded
            shown |= count.headers()
        if exceeded == len(limits):
            raise Throttled(shown)
        return shown

    def _of(self, headers: Headers, address: str) -> tuple[str, tuple[RateLimit, ...]]:
        token = bearer(headers)
        if token is not None and token.startswith(KEY_PREFIX):
            key = self._credentials.api_key(token)
            return f"key {token}", key.limits or (self._limits.api_key,)
        if token is not None:
            return f"token {token}", (self._limits.access_token,)
        if client_id := headers.get("x-cal-client-id"):
            return f"client {client_id}", (self._limits.oauth_client,)
        address = headers.get("cf-connecting-ip", address)
        return f"address {address}", (self._limits.address,)

    def _hit(self, caller: str, limit: RateLimit, now: int) -> RateLimitStatus:
        windows = self._windows.get(limit)
        if windows is None:
            windows = self._windows[limit] = FixedWindowCounter(limit)
        return windows.hit(caller, now=now)


class Throttled(Exception):
    """The caller has exceeded all its limits; carries the rate limit headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers)
        self.headers = headers
        self.error = too_many_requests()
