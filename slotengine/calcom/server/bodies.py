"""Bodies of requests: which are accepted, how large they may be, and decompression.

All but decompression is decided from the head alone.  Decompression stops at the
largest size.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from slotengine.calcom.server.messages import (
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    Headers,
)
from slotengine.calcom.wire import HttpError

MAX_BODY_BYTES: Final = 100 * 1024
"""The largest body, as in the original.  A usual body has two hundred bytes."""
MAX_BYTES_IN_FLIGHT: Final = 16 * 1024 * 1024
"""The memory for all bodies that are being received or handled."""

MAX_GZIP_MEMBERS: Final = 16
"""The most gzip streams that a body may consist of.  Usually it is one."""

# By hand: `email.message` takes quadratic time, and raises on some parameters.
_PARAMETER: Final = re.compile(r';\s*([^;="\s]*)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^;]*))?')
"""A parameter of a media type.  Every part may be absent, so that matching never backtracks."""

_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})

UNSUPPORTED_ENCODING: Final = "The Content-Encoding must be gzip, deflate or identity"
TOO_LARGE: Final = f"The body is larger than {MAX_BODY_BYTES} bytes"
BAD_ENCODING: Final = "The body cannot be read: its encoding is broken"


def expect_json(headers: Headers) -> tuple[int, str | None]:
    """Return the most bytes of a JSON body, as sent, and its compression: gzip or deflate.

    Raises `HttpError` 415, 413, or 400 for an invalid Content-Length.
    """
    sent_as = headers.get(CONTENT_TYPE, "application/json")
    if sent_as != "application/json" and not _is_json(sent_as):
        raise HttpError(415, "The body must be application/json, in UTF-8")
    encoding = headers.get(CONTENT_ENCODING)
    if encoding is not None:
        encoding = encoding.strip().lower()
        if encoding not in _ENCODINGS:
            raise HttpError(415, UNSUPPORTED_ENCODING)
    bound = _length(headers)
    if bound > MAX_BODY_BYTES:
        raise HttpError(413, TOO_LARGE)
    return bound, None if encoding == "identity" else encoding


def _is_json(content_type: str) -> bool:
    media_type, _, _ = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        return False
    for parameter in _PARAMETER.finditer(content_type, len(media_type)):
        if parameter[1].lower() == "charset":  # the first one counts
            return (parameter[2] or "").strip().strip('"').lower() == "utf-8"
    return True


def _length(headers: Headers) -> int:
    """Return the announced length; the largest accepted one if it is not announced."""
    length = headers.get(CONTENT_LENGTH)
    if length is None:
        return MAX_BODY_BYTES if "Transfer-Encoding" in headers else 0
    if not (length.isascii() and length.isdigit()):
        raise HttpError(400, "The Content-Length must be a whole number")
    return int(length) if len(length) < 19 else MAX_BODY_BYTES + 1


def decompressed(raw: bytes, encoding: str) -> bytes:
    """Return a decompressed body.

    Raises `HttpError` 413 if it is too large, or 400 if it is truncated or corrupt.
    """
    if not raw:
        return b""
    parts: list[bytes] = []
    left = MAX_BODY_BYTES
    for _ in range(MAX_GZIP_MEMBERS):
        decompressor = zlib.decompressobj(_bits(raw, encoding))
        try:
            part = decompressor.decompress(raw, left + 1)
        except zlib.error:
            break
        if len(part) > left:
            raise HttpError(413, TOO_LARGE)
        if not decompressor.eof:
            break
        parts.append(part)
        left -= len(part)
        raw = decompressor.unused_data
        if not raw:
            return b"".join(parts)
        if encoding != "gzip":
            break
    raise HttpError(400, BAD_ENCODING)


def _bits(raw: bytes, encoding: str) -> int:
    """Return the ``wbits`` of zlib for a format."""
    if encoding == "gzip":
        return _GZIP
    # Some clients omit the header of two bytes, of which the first ends in 8.
    return _ZLIB if raw[0] & 0x0F == zlib.DEFLATED else _RAW


class ByteBudget:
    """A number of bytes that requests share.

    >>> budget = ByteBudget(100)
    >>> budget.take(70), budget.take(70), budget.left
    (True, False, 30)
    >>> budget.give_back(70)
    >>> budget.left
    100
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Take bytes; return False if fewer are left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back bytes that were taken."""
        self.left += size
