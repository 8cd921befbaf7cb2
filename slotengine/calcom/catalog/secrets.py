"""Secrets as a catalog keeps them: never as callers send them.

In the file stands either a fingerprint, ``sha256:`` and the 64 hexadecimal digits
of the digest of its UTF-8, which the command ``slotengine hash-key`` prints; or
``env:`` and the name of an environment variable that has the secret itself.
Whoever reads the file then cannot call with what it says.

A digest without salt and without deliberate slowness is enough for a secret that
is random and long, which no list of likely ones has; for words that somebody made
up it is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

API_KEY_PREFIX: Final = "cal_"
"""What tells an API key from an access token."""

_HASHED: Final = "sha256:"
_NAMED: Final = "env:"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def digest_of(secret: str) -> bytes:
    """Return the digest that is kept instead of a secret, 32 bytes."""
    # Headers that are not UTF-8 arrive with their bytes escaped as surrogates.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def fingerprint(secret: str) -> str:
    """Return what stands in a catalog for a secret.

    >>> fingerprint("cal_1234")
    'sha256:eb7a5e565c2eba79612c3caddb3e07d7c10dd349780dcdd2986cc81aa1594fb3'
    """
    return _HASHED + digest_of(secret).hex()


def is_sendable(secret: str) -> bool:
    """Tell whether a secret can be sent in a header as it is, and is more than a prefix.

    >>> is_sendable("cal_1234"), is_sendable("cal_"), is_sendable("two words")
    (True, False, False)
    """
    text = secret.removeprefix(API_KEY_PREFIX)
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True, slots=True)
class Kept:
    """A secret of a catalog, as far as it is known."""

    digest: bytes = field(repr=False)
    is_api_key: bool | None
    """By its prefix; None if only its digest is known."""


def kept(written: str, environ: Mapping[str, str]) -> Kept:
    """Return the secret for which something stands in a catalog.

    Raises `ValueError`, which says what to do and never shows the secret.

    >>> kept("env:DESK_KEY", {"DESK_KEY": "cal_1234"})
    Kept(is_api_key=True)
    >>> kept("cal_1234", {})
    Traceback (most recent call last):
    ...
    ValueError: must not be the secret itself: write 'sha256:...', as the command ...
    """
    if written.startswith(_HASHED):
        digest = written.removeprefix(_HASHED)
        if not _DIGEST.fullmatch(digest):
            raise ValueError(
                f"must have 64 lowercase hexadecimal digits after {_HASHED!r}, "
                "as the command `slotengine hash-key` prints them"
            )
        return Kept(bytes.fromhex(digest), is_api_key=None)
    if written.startswith(_NAMED):
        return _of_environment(written.removeprefix(_NAMED), environ)
    raise ValueError(
        f"must not be the secret itself: write '{_HASHED}...', as the command "
        "`slotengine hash-key` prints it for the secret on its standard input, "
        f"or '{_NAMED}NAME', to read it from the environment variable NAME"
    )


def _of_environment(name: str, environ: Mapping[str, str]) -> Kept:
    if not _NAME.fullmatch(name):  # not shown: it may be the secret, by mistake
        raise ValueError(f"must have the name of an environment variable after {_NAMED!r}")
    secret = environ.get(name)
    if secret is None:
        raise ValueError(f"the environment variable {name} is not set")
    if not is_sendable(secret):
        raise ValueError(
            f"the environment variable {name} must have printable ASCII without spaces, "
            f"more than {API_KEY_PREFIX!r}"
        )
    return Kept(digest_of(secret), is_api_key=secret.startswith(API_KEY_PREFIX))
