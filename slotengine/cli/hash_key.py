"""``slotengine hash-key``: what stands in a catalog for a secret."""

from __future__ import annotations

import sys
from getpass import getpass

import click

from slotengine.calcom.catalog.secrets import API_KEY_PREFIX, fingerprint, is_sendable
from slotengine.cli.errors import Wrong


@click.command()
def command() -> None:
    """Print what stands in a catalog for an API key, a token or a secret.

    Reads it from standard input, where no list of processes and no history of
    commands shows it, and without showing it if it is typed in.  Exits with 2 if
    it cannot be sent in a header.
    """
    secret = getpass("The secret: ") if sys.stdin.isatty() else sys.stdin.read()
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not is_sendable(secret):
        raise Wrong(f"it must be printable ASCII without spaces, more than {API_KEY_PREFIX!r}")
    click.echo(fingerprint(secret))
