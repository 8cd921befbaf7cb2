"""``slotengine hash-key``: the fingerprint of a secret, for a catalog."""

from __future__ import annotations

import sys
from getpass import getpass

import click

from slotengine.calcom.catalog.secrets import API_KEY_PREFIX, fingerprint, is_sendable
from slotengine.cli.errors import BadInput


@click.command()
def command() -> None:
    """Print the fingerprint of an API key, token or secret, for a catalog.

    Reads the secret from standard input, so that neither the process list nor the
    shell's history shows it; if it is typed in, it is not echoed.  Exits with 2 if
    the secret cannot be sent in a header.
    """
    secret = getpass("The secret: ") if sys.stdin.isatty() else sys.stdin.read()
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not is_sendable(secret):
        raise BadInput(
            "the secret must be printable ASCII without spaces, and not empty; "
            f"an API key needs more than the prefix {API_KEY_PREFIX!r}"
        )
    click.echo(fingerprint(secret))
