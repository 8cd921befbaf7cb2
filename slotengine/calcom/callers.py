"""Who calls: the credentials of a request, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from slotengine.calcom.catalog import Catalog
from slotengine.calcom.secrets import API_KEY_PREFIX
from slotengine.calcom.wire import HttpError, sendable

Headers = Mapping[str, str]
"""The headers of a request; looking one up does not depend on the case of its name."""


def bearer_of(headers: Headers) -> str | None:
    """Return the credentials of the Authorization header, if there is one."""
    header = headers.get("Authorization")
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    # Anything but a bearer token is no token of ours either, and so as good as a wrong one.
    return token.strip() if scheme.lower() == "bearer" else header


def authenticate(headers: Headers, catalog: Catalog) -> int | None:
    """Return the id of the user who calls, None if nobody says.

    Raises `HttpError` 401 for wrong credentials, although none are needed.
    """
    client_id = headers.get("x-cal-client-id")
    secret = headers.get("x-cal-secret-key")
    if client_id and secret:
        return _oauth_owner(catalog, client_id, secret)
    token = bearer_of(headers)
    if token is None:
        return None
    if token.startswith(API_KEY_PREFIX):
        return catalog.api_keys.find(token)
    return _token_owner(catalog, token, headers.get("Origin"))


def _oauth_owner(catalog: Catalog, client_id: str, secret: str) -> int:
    client = catalog.oauth_clients.get(client_id)
    if client is None:
        shown = sendable(client_id)
        raise HttpError(401, f"ApiAuthStrategy - oAuth client - Client with ID {shown} not found")
    if client.secret.find(secret) is None:
        raise HttpError(401, "ApiAuthStrategy - oAuth client - Invalid client secret")
    return client.owner_id


def _token_owner(catalog: Catalog, token: str, origin: str | None) -> int:
    access = catalog.access_tokens.find(token)
    if access is None:
        raise HttpError(401, "ApiAuthStrategy - access token - Invalid Access Token.")
    if origin is not None and access.origins is not None and origin.lower() not in access.origins:
        raise HttpError(
            401,
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        )
    return access.user_id
