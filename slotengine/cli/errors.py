"""Errors that end a command."""

from __future__ import annotations

import click


class BadInput(click.ClickException):
    """Invalid input other than in the options, such as a bad catalog file.  Exit code 2."""

    exit_code = 2
