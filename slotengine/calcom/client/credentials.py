"""The credentials that a client sends; they are kept out of logs and errors.

Credentials know the headers to send and the secrets in them.  No repr, log or
exception of ours shows a secret, and secrets that a remote echoes are redacted.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from slotengine.errors import InvalidField

logger = logging.getLogger(__name__)

RefreshCallback = Callable[[], Awaitable[str]]
"""Fetches a new access token when the old one is refused."""

REDACTED: Final = "***"

# Characters that can stand in a header unchanged and cannot end it.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Credentials:
    """An API key, an access token, the id and secret of an OAuth client, or nothing.

    Raises `InvalidField` for more than one of them, and for values that cannot
    be sent.  The error names the argument and never its value.

    >>> credentials = Credentials(api_key="cal_secret")
    >>> credentials
    <Credentials: api_key>
    >>> credentials.redact("no such key: cal_secret")
    'no such key: ***'
    """

    __slots__ = ("_headers", "_kind", "_refresh", "_refreshing", "_secrets")

    def __init__(
        self,
        *,
        api_key: str | None = None,
        token: str | None = None,
        refresh: RefreshCallback | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
    ) -> None:
        kinds = {"api_key": api_key, "token": token, "client_id": client_id}
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise InvalidField(given[1], f"cannot be combined with {given[0]}")
        if (client_id is None) != (client_secret is None):
            raise InvalidField("client_secret", "and client_id must be given together")
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
        """The headers to send; a different object after each refresh."""
        return self._headers

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may see, including the token before the last refresh."""
        return self._secrets

    def redact(self, text: str) -> str:
        """Return the text with our secrets replaced."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    async def refresh(self, refused: Mapping[str, str], patience_s: float) -> bool:
        """Replace the token of the refused headers; return whether there is a new one.

        If the tokens of many callers are refused together, one refresh serves
        them all.  The refresh continues if its caller is cancelled or waits no
        longer, and serves the next caller.
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
        """Cancel a refresh that is under way."""
        task = self._refreshing
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _renew(self, refresh: RefreshCallback) -> None:
        try:
            self._use_bearer("refresh", await refresh())
        except Exception as error:
            # Neither its text nor its cause: they may well contain the refresh token.
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
