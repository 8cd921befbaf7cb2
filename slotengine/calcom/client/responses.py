"""What the headers and the status of an answer mean, whatever the operation was.

Pure: an answer in, a value or an error out.
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

Clear = Callable[[str], str]
"""Takes our secrets out of a text."""

USUAL_RESET_S: Final = 60.0
"""For how long the remote shuts out, where it does not say."""

LONGEST_RESET_S: Final = 3600.0
"""A larger number counts milliseconds, and none is believed beyond it."""

_LONGEST_TEXT: Final = 1000

_REMAINING: Final = "x-ratelimit-remaining-"
_RESET: Final = "x-ratelimit-reset-"
_USUAL_LIMIT: Final = "default"
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


class Answer(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    raw: bytes

    def request_id(self, clear: Clear) -> str | None:
        """Return what the remote calls the request, if it does."""
        text = self.headers.get("x-request-id")
        if text is None:
            return None
        # Bytes that are not UTF-8 arrive as surrogates, which cannot be printed.
        return clear(text.encode("utf-8", "replace").decode())[:_LONGEST_TEXT]

    def said(self, clear: Clear) -> tuple[str, str]:
        """Return the code and the message of an error, empty where it has none."""
        code, message = (clear(text)[:_LONGEST_TEXT] for text in parse_error(self.raw))
        return code, message

    def date(self) -> datetime | None:
        """Return what time it was there when the answer was made, in whole seconds, rounded down.

        None if it does not say, or if it was kept by somebody in between.

        >>> Answer(200, {"date": "Mon, 05 Sep 2050 10:00:00 GMT"}, b"").date()
        datetime.datetime(2050, 9, 5, 10, 0, tzinfo=datetime.timezone.utc)
        """
        text = self.headers.get("date")
        # An age is only given by whoever answers with what was answered before.
        return None if text is None or "age" in self.headers else _date(text)

    def remaining(self) -> int | None:
        """Return how many requests the remote still takes, until it resets; None if it says none.

        It refuses when no limit has anything left.
        """
        remaining = _limits(self.headers, _REMAINING)
        return int(max(remaining)) if remaining else None

    def reset_s(self) -> float:
        """Return in how many seconds the remote takes requests again.

        >>> Answer(429, {"x-ratelimit-reset-default": "12"}, b"").reset_s()
        12.0
        >>> Answer(429, {"x-ratelimit-reset-default": "12000"}, b"").reset_s()
        12.0
        >>> Answer(429, {}, b"").reset_s()
        60.0
        """
        # Of several limits, all must be exceeded: the first to end frees the way.
        seconds = min(_limits(self.headers, _RESET), default=None)
        if seconds is None:
            seconds = _decimal(self.headers.get("retry-after"))
        if seconds is None:
            return USUAL_RESET_S
        if seconds > LONGEST_RESET_S:
            seconds /= 1000
        return min(seconds, LONGEST_RESET_S)


def refusal(operation: str, answer: Answer, clear: Clear) -> RemoteRefused:
    """Return the error for an answer that says no.

    >>> refusal("reserve", Answer(422, {}, b""), str)
    RemoteConflict('reserve', 422, '', '', None)
    """
    status = answer.status
    code, message = answer.said(clear)
    if status < 400:
        message = f"it is elsewhere, at {clear(_origin(answer))}; redirects are not followed"
    request_id = answer.request_id(clear)
    if status == 429:
        return RateLimited(operation, status, code, message, request_id, answer.reset_s())
    return REFUSALS.get(status, RemoteRefused)(operation, status, code, message, request_id)


def _origin(answer: Answer) -> str:
    """Return where a redirect leads, without path and query: they may say too much."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"


@lru_cache(maxsize=8)  # all answers of a second have the same
def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _limits(headers: Mapping[str, str], prefix: str) -> list[float]:
    """Return what is said of the usual limit, or, if it is not there, of each of the others."""
    usual = _decimal(headers.get(prefix + _USUAL_LIMIT))
    if usual is not None:
        return [usual]
    values = (_decimal(text) for name, text in headers.items() if name.startswith(prefix))
    return [value for value in values if value is not None]


def _decimal(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None
