"""Checks of what callers give, the same wherever it comes in."""

from __future__ import annotations

from typing import Final

from slotengine.core.time.instant import FIRST_US, LAST_US
from slotengine.errors import InvalidField

LONGEST_TEXT: Final = 512
"""So many characters may an id, a holder, a key, a label or the name of a source have."""


def is_count(value: object) -> bool:
    """Return whether a value is a positive whole number (True is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text(value: object) -> bool:
    """Return whether a value is a string with something in it."""
    return isinstance(value, str) and value != ""


def check_text(field: str, value: object) -> None:
    """Raise `InvalidField` unless the value is None or a text that can be kept."""
    if value is not None:
        check_name(field, value)


def check_name(field: str, value: object) -> None:
    """Raise `InvalidField` unless the value is a text that can be kept, and written anywhere.

    It has at most `LONGEST_TEXT` characters, no NUL, which databases refuse, and no
    lone surrogates, which no encoding has.  Subclasses of ``str`` will do.
    """
    if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and "\0" not in value:
        if value.isascii():
            return
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    raise InvalidField(
        field,
        f"must be a non-empty string of at most {LONGEST_TEXT} characters, without NUL or "
        f"lone surrogates, not {value!r:.99}",
    )


def check_key(key: object, digest: object) -> None:
    """Raise `InvalidField` unless there is no key, or one with the digest of its request."""
    check_text("key", key)
    if key is not None and digest.__class__ is not bytes:
        raise InvalidField("digest", f"must be given with a key, as bytes, not {digest!r:.99}")


def check_schedule(schedule: object) -> None:
    """Raise `InvalidField` unless there is no schedule, or it tells when it is open."""
    if schedule is None:
        return
    answers = (callable(getattr(schedule, name, None)) for name in ("covers", "windows"))
    if isinstance(schedule, type) or not all(answers):
        raise InvalidField("schedule", f"must tell when it is open, as {schedule!r} cannot")


def check_span(start: int, end: int) -> None:
    """Raise `InvalidField` unless the span ends after its start, within the calendar."""
    if start >= end:
        raise InvalidField("end", "must be after the start")
    if start < FIRST_US or end > LAST_US:
        raise InvalidField("span", "reaches beyond the calendar, the years 1 to 9999")
