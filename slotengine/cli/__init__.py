"""The command ``slotengine``; each subcommand is a module of this package.

A subcommand is imported on use: each works without the extras of the others, and
``--help`` needs only click.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from slotengine import __version__

__all__ = ["cli"]

_COMMANDS: Final = ("hash-key", "serve", "simulate", "slots")


class _Commands(click.Group):
    """Imports each subcommand from the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = import_module(f"slotengine.cli.{cmd_name.replace('-', '_')}")
        except ModuleNotFoundError as missing:
            return _unavailable(cmd_name, missing)
        command = module.command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command


def _unavailable(name: str, missing: ModuleNotFoundError) -> click.Command:
    """Return a command that fails with the name of the package that is missing."""
    package = (missing.name or "").partition(".")[0]
    if package in {"", "slotengine"}:  # a bug of this package
        raise missing
    problem = (
        f"slotengine {name} needs {package}, which is not installed; "
        "install it with: pip install 'slotengine[cli,server]'"
    )

    def refuse() -> None:
        raise click.ClickException(problem)

    return click.Command(
        name,
        callback=refuse,
        help=problem,
        short_help=f"(needs {package}, which is not installed)",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slotengine")
def cli() -> None:
    """Hold, book and release time slots."""
