"""Who calls: the credentials of a request, and what is wrong with them.

They are looked up once, and then two ask about them: `throttle`, as whom a
request is counted, and those endpoints that want to know the user.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.secrets import API_KEY_PREFIX, digest_of
from slotengine.calcom.server.messages import AUTHORIZATION, CLIENT_ID, Headers
from slotengine.calcom.wire import HttpError, sendable

INVALID_KEY: Final = "CustomThrottlerGuard - Invalid API Key"


class Kind(Enum):
    """By what a caller is known."""

    ADDRESS = "address"
    API_KEY = "API key"
    ACCESS_TOKEN = "access token"
    OAUTH_CLIENT = "OAuth client"

    # Looked up with each request; the usual one, of the name, is written in Python.
    __hash__ = object.__hash__


class Caller(NamedTuple):
    """Who calls, as far as it is known and right."""

    kind: Kind
    name: str | bytes
    """Which of this kind: a client's id, or the digest of a secret; of an address nothing yet."""
    user_id: int | None
    """Who answers for what is done; None if nobody says."""
    wrong: str | None = None
    """What is wrong with the credentials; only those who want to know the user care."""
    key_is_unknown: bool = False
    """Whether they are an API key of nobody's, which nobody accepts."""

    def user(self) -> int | None:
        """Return the id of the user who calls, None if nobody says.

        Raises `HttpError` 401 for wrong credentials, although none are needed.
        """
        if self.wrong is not None:
            raise HttpError(401, self.wrong)
        return self.user_id

    @property
    def quota_kind(self) -> Kind:
        """Whose quota counts: an address's only if no user answers for what is done.

        A client's credentials count also beside a wrong token, with which its requests are
        counted as an address's.
        """
        if self.kind is Kind.ADDRESS and self.user_id is not None:
            return Kind.OAUTH_CLIENT
        return self.kind

    def holder(self, address: str) -> str:
        """Return for whom slots are held: the user who answers for it, else an address.

        No address is ever taken for a user: what is in front tells them apart.

        >>> Caller(Kind.API_KEY, b"...", 7).holder("192.0.2.7"), NOBODY.holder("192.0.2.7")
        ('user:7', 'address:192.0.2.7')
        """
        if self.user_id is not None:
            return f"user:{self.user_id}"
        return f"address:{sendable(address)}"

    def __repr__(self) -> str:
        return f"<Caller known by {self.kind.value}>"


NOBODY: Final = Caller(Kind.ADDRESS, "", None)


def caller_of(headers: Headers, catalog: Catalog) -> Caller:
    """Return who calls.

    With credentials of two kinds, a client's and others, the client's decide who
    the user is, and the others as whom it is counted: as in the original, where
    the one is asked before the other.
    """
    if AUTHORIZATION not in headers and CLIENT_ID not in headers:
        return NOBODY  # the usual case, made cheap
    bearer, client = _bearer(headers, catalog), _client(headers, catalog)
    if bearer is None or client is None:
        return bearer or client or NOBODY
    return bearer._replace(user_id=client.user_id, wrong=client.wrong)


def _bearer(headers: Headers, catalog: Catalog) -> Caller | None:
    """Return whom the Authorization header is of, if there is one."""
    header = headers.get(AUTHORIZATION)
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    # Anything but a bearer token is no token of ours either, and so as good as a wrong one.
    secret = token.strip() if scheme.lower() == "bearer" else header
    if secret.startswith(API_KEY_PREFIX):
        return _of_key(secret, catalog)
    return _of_token(secret, headers.get("Origin"), catalog)


def _of_key(secret: str, catalog: Catalog) -> Caller:
    digest = digest_of(secret)
    user_id = catalog.api_keys.owner_of(digest)
    if user_id is None:
        return NOBODY._replace(wrong=INVALID_KEY, key_is_unknown=True)
    return Caller(Kind.API_KEY, digest, user_id)


def _of_token(secret: str, origin: str | None, catalog: Catalog) -> Caller:
    digest = digest_of(secret)
    access = catalog.access_tokens.owner_of(digest)
    if access is None:
        return NOBODY._replace(wrong="ApiAuthStrategy - access token - Invalid Access Token.")
    wrong = None
    if origin is not None and access.origins is not None and origin.lower() not in access.origins:
        wrong = (
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client."
        )
    return Caller(Kind.ACCESS_TOKEN, digest, access.user_id, wrong)


def _client(headers: Headers, catalog: Catalog) -> Caller | None:
    """Return which OAuth client calls, if a request has both an id and a secret of one."""
    client_id = headers.get(CLIENT_ID)
    secret = headers.get("x-cal-secret-key")
    if not client_id or not secret:
        return None
    client = catalog.oauth_clients.get(client_id)
    if client is None:
        shown = sendable(client_id)
        wrong = f"ApiAuthStrategy - oAuth client - Client with ID {shown} not found"
        return NOBODY._replace(wrong=wrong)
    if client.secret.find(secret) is None:
        return NOBODY._replace(wrong="ApiAuthStrategy - oAuth client - Invalid client secret")
    return Caller(Kind.OAUTH_CLIENT, client_id, client.owner_id)
