"""The command ``slotengine``: parses arguments, prints, and sets exit codes."""

from __future__ import annotations

from pathlib import Path

import click

from slotengine import __version__
from slotengine.calcom.catalog_file import CatalogError, load_catalog
from slotengine.calcom.server import serve as run_server


class _WrongCatalog(click.ClickException):
    """Like wrong options, but how the command is used has nothing to do with it."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slotengine")
def cli() -> None:
    """Reserve slots: hold them, keep them, or let them go."""


@cli.command()
@click.option(
    "--catalog",
    "catalog_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to offer: a TOML or JSON file, such as examples/catalog.toml.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 for any that is free.",
)
@click.option(
    "--enforce-availability/--no-enforce-availability",
    default=True,
    show_default=True,
    help="Whether hours, notice and booking windows count, and the past is refused.",
)
def serve(catalog_path: Path, host: str, port: int, enforce_availability: bool) -> None:
    """Serve Cal.com's slots API until stopped.

    Exits with 0 when stopped by SIGTERM or SIGINT, with 2 if the catalog is
    wrong, and with 1 if it cannot listen.
    """
    try:
        catalog = load_catalog(catalog_path)
    except CatalogError as error:
        raise _WrongCatalog(str(error)) from None
    try:
        run_server(
            catalog, host, port, enforce_availability=enforce_availability, announce=click.echo
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from None
