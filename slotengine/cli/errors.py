"""Errors that end a command."""

from __future__ import annotations

import click


class BadInput(click.ClickException):
    """The input of a command is invalid, other than its options.  Exit code 2."""

    exit_code = 2
