"""What the status and the headers of a response mean; the same for all operations.

Pure: a response in, a value or an error out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from slotengine.calcom.client.errors import REFUSALS, RateLimited, RemoteRefused
from slotengine.calcom.client.wire import parse_error

Redact = Callable[[str], str]
"""Replaces our secrets in a text."""

DEFAULT_RESET_S: Final = 60.0
"""For how long the remote shuts a caller out if it does not say."""

MAX_RESET_S: Final = 3600.0
"""The longest reset that is accepted; a larger number is taken for milliseconds."""

_MAX_TEXT: Final = 1000

_REMAINING: Final = "x-ratelimit-remaining-"
_RESET: Final = "x-ratelimit-reset-"
_DEFAULT_LIMIT: Final = "default"
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


class Response(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    raw: bytes

    def request_id(self, redact: Redact) -> str | None:
        """Return the remote's id of the request, if it gave one."""
        text = self.headers.get("x-request-id")
        if text is None:
            return None
        # Bytes that are not UTF-8 arrive as surrogates, which cannot be printed.
        return redact(text.encode("utf-8", "replace").decode())[:_MAX_TEXT]

    def said(self, redact: Redact) -> tuple[str, str]:
        """Return the code and the message of an error, empty if it has none."""
        code, message = (redact(text)[:_MAX_TEXT] for text in parse_error(self.raw))
        return code, message

    def date(self) -> datetime | None:
        """Return the remote's time when it made the response, rounded down to a second.

        None if the response does not say, or comes from a cache.

        >>> Response(200, {"date": "Mon, 05 Sep 2050 10:00:00 GMT"}, b"").date()
        datetime.datetime(2050, 9, 5, 10, 0, tzinfo=datetime.timezone.utc)
        """
        text = self.headers.get("date")
        # Only a cache, which repeats an earlier response, gives an age.
        return None if text is None or "age" in self.headers else _date(text)

    def remaining(self) -> int | None:
        """Return how many requests the remote takes until its reset; None if it does not say.

        If the response names several limits, the remote refuses only when none
        of them has anything left.
        """
        remaining = _limits(self.headers, _REMAINING)
        return int(max(remaining)) if remaining else None

    def reset_s(self) -> float:
        """Return in how many seconds the remote takes requests again.

        >>> Response(429, {"x-ratelimit-reset-default": "12"}, b"").reset_s()
        12.0
        >>> Response(429, {"x-ratelimit-reset-default": "12000"}, b"").reset_s()
        12.0
        >>> Response(429, {}, b"").reset_s()
        60.0
        """
        # The remote refuses only while all limits are exceeded, so the first reset is enough.
        seconds = min(_limits(self.headers, _RESET), default=None)
        if seconds is None:
            seconds = _decimal(self.headers.get("retry-after"))
        if seconds is None:
            return DEFAULT_RESET_S
        if seconds > MAX_RESET_S:
            seconds /= 1000
        return min(seconds, MAX_RESET_S)


def refusal(operation: str, response: Response, redact: Redact) -> RemoteRefused:
    """Return the error for a response that refuses the request.

    >>> refusal("reserve", Response(422, {}, b""), str)
    RemoteConflict('reserve', 422, '', '', None)
    """
    status = response.status
    code, message = response.said(redact)
    if status < 400:
        message = f"redirected to {redact(_origin(response))}; redirects are not followed"
    request_id = response.request_id(redact)
    if status == 429:
        return RateLimited(operation, status, code, message, request_id, response.reset_s())
    return REFUSALS.get(status, RemoteRefused)(operation, status, code, message, request_id)


def _origin(response: Response) -> str:
    """Return where a redirect leads, without path and query: those may contain secrets."""
    try:
        parts = urlsplit(response.headers.get("location", ""))
    except ValueError:
        return "an invalid address"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"


@lru_cache(maxsize=8)  # all responses of one second have the same
def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _limits(headers: Mapping[str, str], prefix: str) -> list[float]:
    """Return the number for the default limit, or, without one, those of all other limits."""
    default = _decimal(headers.get(prefix + _DEFAULT_LIMIT))
    if default is not None:
        return [default]
    values = (_decimal(text) for name, text in headers.items() if name.startswith(prefix))
    return [value for value in values if value is not None]


def _decimal(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None
