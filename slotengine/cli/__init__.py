"""The command ``slotengine``: each of its commands is a file here.

A command is imported when it is asked for, so that each works where the extras of
the others are not installed, and ``--help`` works with none but click.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from slotengine import __version__

__all__ = ["cli"]

_COMMANDS: Final = ("hash-key", "serve", "simulate", "slots")


class _Commands(click.Group):
    """Finds each command in the module of its name."""

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
    """Return what stands for a command that needs more than is installed, and says what."""
    package = (missing.name or "").partition(".")[0]
    if package in {"", "slotengine"}:  # that is our own mistake
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
    """Reserve slots: hold them, keep them, or let them go."""
