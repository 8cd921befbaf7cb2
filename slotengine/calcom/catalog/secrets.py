"""Secrets in a catalog, which never contains them as callers send them.

A catalog has either a fingerprint, ``sha256:`` and 64 hexadecimal digits, which the
command ``slotengine hash-key`` prints; or ``env:`` and the name of an environment
variable that holds the secret itself.  The file alone does not let anyone call.

A plain SHA-256 digest is enough for secrets that are random and long, which cannot be
guessed.  It is not enough for passwords that people make up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

API_KEY_PREFIX: Final = "cal_"
"""The prefix that tells an API key from an access token."""

_HASHED: Final = "sha256:"
_NAMED: Final = "env:"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def digest_of(secret: str) -> bytes:
    """Return the digest that is stored instead of a secret, 32 bytes."""
    # Headers that are not UTF-8 arrive with their bytes escaped as surrogates.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def fingerprint(secret: str) -> str:
    """Return a secret's fingerprint, as a catalog has it.

    >>> fingerprint("cal_1234")
    'sha256:eb7a5e565c2eba79612c3caddb3e07d7c10dd349780dcdd2986cc81aa1594fb3'
    """
    return _HASHED + digest_of(secret).hex()


def is_sendable(secret: str) -> bool:
    """Return whether a secret can be sent in a header unescaped, and is more than a prefix.

    >>> is_sendable("cal_1234"), is_sendable("cal_"), is_sendable("two words")
    (True, False, False)
    """
    text = secret.removeprefix(API_KEY_PREFIX)
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True, slots=True)
class HashedSecret:
    """The digest of a secret."""

    digest: bytes = field(repr=False)
    is_api_key: bool | None
    """Whether it has the prefix of an API key; None if only the digest is known."""


def read_secret(written: str, environ: Mapping[str, str]) -> HashedSecret:
    """Read a fingerprint, or the name of an environment variable, from a catalog.

    Raises `ValueError`, which never shows the secret.

    >>> read_secret("env:DESK_KEY", {"DESK_KEY": "cal_1234"})
    HashedSecret(is_api_key=True)
    >>> read_secret("cal_1234", {})
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
        return HashedSecret(bytes.fromhex(digest), is_api_key=None)
    if written.startswith(_NAMED):
        return _of_environment(written.removeprefix(_NAMED), environ)
    raise ValueError(
        f"must not be the secret itself: write '{_HASHED}...', as the command "
        "`slotengine hash-key` prints it for the secret on its standard input, "
        f"or '{_NAMED}NAME', to read it from the environment variable NAME"
    )


def _of_environment(name: str, environ: Mapping[str, str]) -> HashedSecret:
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
    return HashedSecret(digest_of(secret), is_api_key=secret.startswith(API_KEY_PREFIX))
