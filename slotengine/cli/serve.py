"""``slotengine serve``: Cal.com's slots API over a catalog file."""

from __future__ import annotations

from pathlib import Path

import click

from slotengine.calcom.server import serve as run_server
from slotengine.cli.catalog import catalog_option, load


def default_calendar_folder() -> Path | None:
    """Return the default folder for copies of calendars; None for a user without a home."""
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
    help="Whether hours, notice and booking windows are enforced, and slots in the past refused.",
)
@click.option(
    "--keep-calendars",
    default=default_calendar_folder,
    show_default="in the user's configuration folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the last complete copy of each calendar.",
)
def command(
    catalog_path: Path,
    host: str,
    port: int,
    enforce_availability: bool,
    keep_calendars: Path | None,
) -> None:
    """Serve Cal.com's slots API for the event types of a catalog.

    Exits with 0 when stopped by SIGTERM or SIGINT, with 2 if the catalog is
    invalid, and with 1 if it cannot listen.
    """
    catalog = load(catalog_path, keep_calendars=keep_calendars)
    if catalog.calendars and keep_calendars is None:
        click.echo(
            "calendars are not copied: the user has no home folder; use --keep-calendars", err=True
        )
    try:
        run_server(
            catalog, host, port, enforce_availability=enforce_availability, announce=click.echo
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from None
