"""Authentication: the caller of a request, by its credentials.

Credentials are looked up once.  `throttle` asks as whom the request is counted, and
some endpoints ask for the user.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.secrets import API_KEY_PREFIX, digest_of
from slotengine.calcom.server.messages import AUTHORIZATION, CLIENT_ID, Headers
from slotengine.calcom.wire import HttpError, without_surrogates

INVALID_KEY: Final = "CustomThrottlerGuard - Invalid API Key"


class CallerKind(Enum):
    """How a caller is known."""

    ADDRESS = "address"
    API_KEY = "API key"
    ACCESS_TOKEN = "access token"
    OAUTH_CLIENT = "OAuth client"

    # Faster than the default, which is written in Python: kinds are looked up on each request.
    __hash__ = object.__hash__


class Caller(NamedTuple):
    """The caller of a request."""

    kind: CallerKind
    name: str | bytes
    """A client's id, or the digest of a secret; empty for an address."""
    user_id: int | None
    """The user who is responsible; None for an anonymous caller."""
    problem: str | None = None
    """Why the credentials are invalid, for endpoints that need the user."""
    has_unknown_key: bool = False
    """Whether they are an unknown API key, which every endpoint refuses."""

    def user(self) -> int | None:
        """Return the id of the user, None for an anonymous caller.

        Raises `HttpError` 401 for invalid credentials, although none are required.
        """
        if self.problem is not None:
            raise HttpError(401, self.problem)
        return self.user_id

    @property
    def quota_kind(self) -> CallerKind:
        """The kind of caller whose quota counts: an address only without a user.

        The credentials of a client count here also beside an invalid token, although
        the request then counts for the address in rate limits.
        """
        if self.kind is CallerKind.ADDRESS and self.user_id is not None:
            return CallerKind.OAUTH_CLIENT
        return self.kind

    def holder(self, address: str) -> str:
        """Return the holder of the caller's holds: the user, or else the address.

        The prefix tells users and addresses apart.

        >>> Caller(CallerKind.API_KEY, b"...", 7).holder("192.0.2.7"), ANONYMOUS.holder("192.0.2.7")
        ('user:7', 'address:192.0.2.7')
        """
        if self.user_id is not None:
            return f"user:{self.user_id}"
        return f"address:{without_surrogates(address)}"

    def __repr__(self) -> str:
        return f"<Caller known by {self.kind.value}>"


ANONYMOUS: Final = Caller(CallerKind.ADDRESS, "", None)


def authenticate(headers: Headers, catalog: Catalog) -> Caller:
    """Return the caller of a request.

    With the credentials of a client and a bearer token, the client determines the
    user, and the token as whom the request is counted: as in the original.
    """
    if AUTHORIZATION not in headers and CLIENT_ID not in headers:
        return ANONYMOUS  # usually
    bearer, client = _bearer(headers, catalog), _client(headers, catalog)
    if bearer is None or client is None:
        return bearer or client or ANONYMOUS
    return bearer._replace(user_id=client.user_id, problem=client.problem)


def _bearer(headers: Headers, catalog: Catalog) -> Caller | None:
    """Return the caller of an Authorization header, if there is one."""
    header = headers.get(AUTHORIZATION)
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    # Any other scheme is no token of ours, and is treated like an invalid one.
    secret = token.strip() if scheme.lower() == "bearer" else header
    if secret.startswith(API_KEY_PREFIX):
        return _of_key(secret, catalog)
    return _of_token(secret, headers.get("Origin"), catalog)


def _of_key(secret: str, catalog: Catalog) -> Caller:
    digest = digest_of(secret)
    user_id = catalog.api_keys.owner_of(digest)
    if user_id is None:
        return ANONYMOUS._replace(problem=INVALID_KEY, has_unknown_key=True)
    return Caller(CallerKind.API_KEY, digest, user_id)


def _of_token(secret: str, origin: str | None, catalog: Catalog) -> Caller:
    digest = digest_of(secret)
    access = catalog.access_tokens.owner_of(digest)
    if access is None:
        return ANONYMOUS._replace(problem="ApiAuthStrategy - access token - Invalid Access Token.")
    problem = None
    if origin is not None and access.origins is not None and origin.lower() not in access.origins:
        problem = (
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client."
        )
    return Caller(CallerKind.ACCESS_TOKEN, digest, access.user_id, problem)


def _client(headers: Headers, catalog: Catalog) -> Caller | None:
    """Return the OAuth client of a request that has both a client id and a secret."""
    client_id = headers.get(CLIENT_ID)
    secret = headers.get("x-cal-secret-key")
    if not client_id or not secret:
        return None
    client = catalog.oauth_clients.get(client_id)
    if client is None:
        shown = without_surrogates(client_id)
        problem = f"ApiAuthStrategy - oAuth client - Client with ID {shown} not found"
        return ANONYMOUS._replace(problem=problem)
    if client.secret.find(secret) is None:
        return ANONYMOUS._replace(problem="ApiAuthStrategy - oAuth client - Invalid client secret")
    return Caller(CallerKind.OAUTH_CLIENT, client_id, client.owner_id)
