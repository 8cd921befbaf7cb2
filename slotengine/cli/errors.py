"""How commands fail."""

from __future__ import annotations

import click


class Wrong(click.ClickException):
    """What a command was given is wrong, though not its options: exit code 2."""

    exit_code = 2
