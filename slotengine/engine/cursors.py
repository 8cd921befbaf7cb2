"""Cursors: packed values as text, which callers keep and give back."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


def cursor_of(form: struct.Struct, *values: Any) -> str:
    """Return values, packed, as text.

    >>> cursor_of(struct.Struct(">H"), 513)
    'AgE='
    """
    return urlsafe_b64encode(form.pack(*values)).decode()


def read_cursor(form: struct.Struct, cursor: object) -> tuple[Any, ...] | None:
    """Return the values of a cursor; None for anything that `cursor_of` does not return.

    >>> read_cursor(struct.Struct(">H"), "AgE=")
    (513,)
    >>> read_cursor(struct.Struct(">H"), "AgE?=") is None
    True
    """
    if not isinstance(cursor, str):
        return None
    try:
        values = form.unpack(urlsafe_b64decode(cursor))
    except (ValueError, struct.error):
        return None
    # Decoding passes over much that should not be there.
    return values if cursor_of(form, *values) == cursor else None
