"""Errors that end a command."""

from __future__ import annotations

import click


class BadInput(click.ClickException):
    """Input of a command other than its options is invalid, such as a file.  Exit code 2."""

    exit_code = 2
