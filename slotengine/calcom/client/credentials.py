"""Who we are to a remote Cal.com, and how that is kept from everybody else.

Credentials know the headers to send, and what must never be seen: no repr, no
log and no exception of ours shows it, and what a remote echoes is cleared.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from slotengine.errors import InvalidField

logger = logging.getLogger(__name__)

Refresh = Callable[[], Awaitable[str]]
"""Fetches a new access token when the old one is refused."""

CLEARED: Final = "***"

# What can stand in a header as it is, and cannot end it.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Credentials:
    """An API key, an access token, the pair of an OAuth client, or nothing at all.

    Raises `InvalidField`, naming the argument and not its value, for more than
    one of them and for what cannot be sent.

    >>> credentials = Credentials(api_key="cal_secret")
    >>> credentials
    <Credentials: api_key>
    >>> credentials.clear("no such key: cal_secret")
    'no such key: ***'
    """

    __slots__ = ("_headers", "_kind", "_refresh", "_refreshing", "_secrets")

    def __init__(
        self,
        *,
        api_key: str | None = None,
        token: str | None = None,
        refresh: Refresh | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
    ) -> None:
        kinds = {"api_key": api_key, "token": token, "client_id": client_id}
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise InvalidField(given[1], f"cannot be combined with {given[0]}")
        if (client_id is None) != (client_secret is None):
            raise InvalidField("client_secret", "and client_id are given together or not at all")
        if refresh is not None and token is None:
            raise InvalidField("refresh", "needs a token to begin with")
        self._kind = given[0] if given else "none"
        self._refresh = refresh
        self._refreshing: asyncio.Task[None] | None = None
        self._secrets: tuple[str, ...] = ()
        self._headers: Mapping[str, str] = {}
        if client_id is not None and client_secret is not None:
            self._use_pair(client_id, client_secret)
        elif api_key is not None:
            self._use_bearer("api_key", api_key)
        elif token is not None:
            self._use_bearer("token", token)

    def __repr__(self) -> str:
        return f"<Credentials: {self._kind}>"

    @property
    def headers(self) -> Mapping[str, str]:
        """What to send; another object once the token was refreshed."""
        return self._headers

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen, the token before the last refresh included."""
        return self._secrets

    def clear(self, text: str) -> str:
        """Return the text without our secrets, wherever it is from."""
        for secret in self._secrets:
            text = text.replace(secret, CLEARED)
        return text

    async def refresh(self, refused: Mapping[str, str], patience_s: float) -> bool:
        """Get another token in place of the refused headers; tell whether there is one.

        Of many callers whose token was refused, one refresh serves all.  It
        goes on if its caller is cancelled or out of patience, and serves the next.
        """
        if self._headers is not refused:
            return True
        if self._refresh is None:
            return False
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._renew(self._refresh))
        task = self._refreshing
        await asyncio.wait({task}, timeout=patience_s)
        return self._headers is not refused

    async def aclose(self) -> None:
        """End a refresh that is under way."""
        task = self._refreshing
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _renew(self, refresh: Refresh) -> None:
        try:
            self._use_bearer("refresh", await refresh())
        except Exception as error:
            # Not its text, nor what it came from: that may well hold the refresh token.
            logger.warning("refreshing the access token failed: %s", type(error).__name__)
        finally:
            self._refreshing = None

    def _use_bearer(self, field: str, secret: str) -> None:
        _check(field, secret)
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._secrets = (secret, *self._secrets[:1])

    def _use_pair(self, client_id: str, secret: str) -> None:
        _check("client_id", client_id)
        _check("client_secret", secret)
        self._headers = {"x-cal-client-id": client_id, "x-cal-secret-key": secret}
        self._secrets = (secret,)


def _check(field: str, value: object) -> None:
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise InvalidField(field, "must be printable ASCII without spaces")
