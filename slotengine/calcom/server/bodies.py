"""Bodies of requests: which are accepted, how long they may be, and unpacking them.

What is decided here needs the head alone, except for unpacking, which is done
in one step that stops at the largest size.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from slotengine.calcom.server.messages import (
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    Headers,
)
from slotengine.calcom.wire import HttpError

LARGEST_BODY: Final = 100 * 1024
"""In bytes, as in the original.  A sensible body has two hundred."""
MOST_IN_FLIGHT: Final = 16 * 1024 * 1024
"""In bytes: how much all bodies that are being received and handled may take together."""

MOST_MEMBERS: Final = 16
"""How many streams of gzip one after the other a body may have.  Nearly all have one."""

_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})

NOT_DECODED: Final = "The Content-Encoding must be gzip, deflate or identity"
TOO_LARGE: Final = f"The body is larger than {LARGEST_BODY} bytes"
BROKEN: Final = "The body cannot be read: its encoding is broken"


class Expected(NamedTuple):
    """A body that may be read."""

    bound: int
    """In bytes, as sent; 0 if there is none."""
    encoding: str | None
    """What it is packed by: ``gzip`` or ``deflate``."""

    @property
    def room(self) -> int:
        """How many bytes it takes at most, packed and unpacked."""
        return self.bound if self.encoding is None else self.bound + LARGEST_BODY


NOTHING: Final = Expected(0, None)


def expected_json(headers: Headers) -> Expected:
    """Return what body comes after a head that should announce JSON.

    Raises `HttpError` 415, 413, or 400 for a length that is none.
    """
    sent_as = headers.get(CONTENT_TYPE, "application/json")
    if sent_as != "application/json" and not _is_json(sent_as):
        raise HttpError(415, "The body must be application/json, in UTF-8")
    encoding = headers.get(CONTENT_ENCODING)
    if encoding is not None:
        encoding = encoding.strip().lower()
        if encoding not in _ENCODINGS:
            raise HttpError(415, NOT_DECODED)
    bound = _length(headers)
    if bound > LARGEST_BODY:
        raise HttpError(413, TOO_LARGE)
    return Expected(bound, None if encoding == "identity" else encoding)


def _is_json(content_type: str) -> bool:
    kind, *parameters = content_type.split(";")
    named = (parameter.partition("=") for parameter in parameters)
    charset = next(
        (value.strip().strip('"') for name, _, value in named if name.strip().lower() == "charset"),
        "utf-8",
    )
    return kind.strip().lower() == "application/json" and charset.lower() == "utf-8"


def _length(headers: Headers) -> int:
    """Return how many bytes may come; without a length, as many as are accepted."""
    length = headers.get(CONTENT_LENGTH)
    if length is None:
        return LARGEST_BODY if "Transfer-Encoding" in headers else 0
    if not (length.isascii() and length.isdigit()):
        raise HttpError(400, "The Content-Length must be a whole number")
    return int(length) if len(length) < 19 else LARGEST_BODY + 1


def unpacked(raw: bytes, encoding: str) -> bytes:
    """Return a body as it was before it was packed.

    Raises `HttpError` 413 if it is too large, or 400 if it is not whole.
    """
    if not raw:
        return b""
    parts: list[bytes] = []
    left = LARGEST_BODY
    for _ in range(MOST_MEMBERS):
        unpacking = zlib.decompressobj(_bits(raw, encoding))
        try:
            part = unpacking.decompress(raw, left + 1)
        except zlib.error:
            break
        if len(part) > left:
            raise HttpError(413, TOO_LARGE)
        if not unpacking.eof:
            break
        parts.append(part)
        left -= len(part)
        raw = unpacking.unused_data
        if not raw:
            return b"".join(parts)
        if encoding != "gzip":
            break
    raise HttpError(400, BROKEN)


def _bits(raw: bytes, encoding: str) -> int:
    """Return what zlib is told of the format."""
    if encoding == "gzip":
        return _GZIP
    # Some send it without the header of two bytes, of which the first ends in 8.
    return _ZLIB if raw[0] & 0x0F == zlib.DEFLATED else _RAW


class Room:
    """What is left of some bytes that many share.

    >>> room = Room(100)
    >>> room.take(70), room.take(70), room.left
    (True, False, 30)
    >>> room.give_back(70)
    >>> room.left
    100
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Take some bytes, if there are as many."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self.left += size
