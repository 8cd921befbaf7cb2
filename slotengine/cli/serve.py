"""``slotengine serve``: Cal.com's slots API over a catalog file."""

from __future__ import annotations

from pathlib import Path

import click

from slotengine.calcom.server import serve as run_server
from slotengine.cli.catalog import catalog_option, load


def usual_folder() -> Path | None:
    """Return where copies of calendars are kept, or None for a user without a home."""
    folder = Path(click.get_app_dir("slotengine"), "calendars")
    return folder if folder.is_absolute() else None


@click.command()
@catalog_option
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
@click.option(
    "--keep-calendars",
    default=usual_folder,
    show_default="in the user's folder for settings",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the last whole copy of each calendar.",
)
def command(
    catalog_path: Path,
    host: str,
    port: int,
    enforce_availability: bool,
    keep_calendars: Path | None,
) -> None:
    """Serve Cal.com's slots API until stopped.

    Exits with 0 when stopped by SIGTERM or SIGINT, with 2 if the catalog is
    wrong, and with 1 if it cannot listen.
    """
    catalog = load(catalog_path, keep_calendars=keep_calendars)
    if catalog.calendars and keep_calendars is None:
        click.echo(
            "no copy of a calendar is kept: there is no home; use --keep-calendars", err=True
        )
    try:
        run_server(
            catalog, host, port, enforce_availability=enforce_availability, announce=click.echo
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from None
