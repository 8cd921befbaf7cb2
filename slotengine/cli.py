"""The command ``slotengine``: parses arguments, prints, and sets exit codes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import click
from rich.console import Console

from slotengine import InvalidRequest, __version__
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.catalog_file import CatalogError, load_catalog
from slotengine.calcom.catalog_tables import LONGEST
from slotengine.calcom.server import serve as run_server
from slotengine.cli_slots import NoSuchEventType, chosen, moment, offered, table


class _Wrong(click.ClickException):
    """Like wrong options, but how the command is used has nothing to do with it."""

    exit_code = 2


_catalog_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--catalog",
    "catalog_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to offer: a TOML or JSON file, such as examples/catalog.toml.",
)


def _loaded(path: Path, now: datetime | None = None) -> Catalog:
    try:
        return load_catalog(path, now=now)
    except CatalogError as error:
        raise _Wrong(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slotengine")
def cli() -> None:
    """Reserve slots: hold them, keep them, or let them go."""


@cli.command()
@_catalog_option
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
    catalog = _loaded(catalog_path)
    try:
        run_server(
            catalog, host, port, enforce_availability=enforce_availability, announce=click.echo
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from None


def _zone(context: click.Context, option: click.Parameter, value: str) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown; not a possible name; a folder of zones
        raise click.BadParameter(f"{value!r} is no IANA time zone, such as Europe/Rome") from None


def _moment(option: str, text: str | None, zone: ZoneInfo, *, end: bool = False) -> datetime | None:
    try:
        return None if text is None else moment(text, zone, end=end)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no date or time, such as 2030-12-02 or 2030-12-02T09:00",
            param_hint=f"'{option}'",
        ) from None


@cli.command()
@_catalog_option
@click.option("--event-type", "name", required=True, help="Which: its id or its slug.")
@click.option("--from", "first", help="The first date or time in the zone.  [default: now]")
@click.option("--to", "last", help="The last date, or the end.  [default: a week later]")
@click.option("--tz", "zone", callback=_zone, default="UTC", show_default=True, help="The zone.")
@click.option("--length", type=click.IntRange(1, LONGEST), help="In minutes, if not the usual.")
@click.option("--now", "as_of", help="As of when to look.  [default: now]")
def slots(
    catalog_path: Path,
    name: str,
    first: str | None,
    last: str | None,
    zone: ZoneInfo,
    length: int | None,
    as_of: str | None,
) -> None:
    """Print which slots of an event type are offered, by the catalog alone.

    Exits with 0, also if there are none, and with 2 if the catalog, or what is
    asked of it, is wrong.
    """
    start, end = _moment("--from", first, zone), _moment("--to", last, zone, end=True)
    now = _moment("--now", as_of, zone)
    catalog = _loaded(catalog_path, now)
    try:
        offer = chosen(catalog, name)
        asked = None if length is None else timedelta(minutes=length)
        look = anyio.run(
            lambda: offered(catalog, offer, start, end, length=asked, zone=zone, now=now)
        )
    except (NoSuchEventType, InvalidRequest) as error:
        raise _Wrong(str(error)) from None
    taken = length or offer.length
    if not look:
        click.echo(f"No slots of {offer.slug}, {taken} minutes, are free in that time.")
        return
    title = f"{offer.slug}, {taken} minutes: {len(look)} slots"
    Console().print(table(look, title + (" (seats left/in all)" if look[0].seats else ""), zone))
