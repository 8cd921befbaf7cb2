"""The command ``slotengine``: parses arguments, prints, and sets exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from getpass import getpass
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import click
from rich.console import Console

from slotengine import InvalidRequest, __version__
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.catalog_file import CatalogError, load_catalog
from slotengine.calcom.catalog_tables import LONGEST
from slotengine.calcom.secrets import API_KEY_PREFIX, fingerprint, is_sendable
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


@cli.command("hash-key")
def hash_key() -> None:
    """Print what stands in a catalog for an API key, a token or a secret.

    Reads it from standard input, where no list of processes and no history of
    commands shows it, and without showing it if it is typed in.  Exits with 2 if
    it cannot be sent in a header.
    """
    secret = getpass("The secret: ") if sys.stdin.isatty() else sys.stdin.read()
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not is_sendable(secret):
        raise _Wrong(f"it must be printable ASCII without spaces, more than {API_KEY_PREFIX!r}")
    click.echo(fingerprint(secret))


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


def _indexes(context: click.Context, option: click.Parameter, text: str | None) -> list[int] | None:
    if text is None or text == "none":
        return None if text is None else []
    try:
        steps = [int(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of steps, such as 3,17,44") from None
    if steps != sorted(set(steps)):
        raise click.BadParameter(f"{text!r} must be in order, and each step once")
    return steps


@cli.command()
@click.option("--seeds", type=click.IntRange(1), help="How many.  [default: 100, or 1 with --seed]")
@click.option("--seed", "first", type=click.IntRange(0), help="The first one.  [default: 0]")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(1), help="Of each.")
@click.option("--only", callback=_indexes, help="Play only these steps of the seed, as 3,17,44.")
@click.option("--fault", "broken", help="Break the engine in this way, which must be found.")
@click.option(
    "--backend",
    default="asyncio",
    show_default=True,
    type=click.Choice(["asyncio", "trio"]),
    help="The event loop to run on.",
)
def simulate(
    seeds: int | None,
    first: int | None,
    steps: int,
    only: list[int] | None,
    broken: str | None,
    backend: str,
) -> None:
    """Let many clients and all that can go wrong loose on an engine, from seeds.

    Exits with 1 if an invariant was broken: then it prints the shortest history
    found that does it, and the command that plays just that again.
    """
    # Only this command needs the tools of testing, and Hypothesis none of them.
    from slotengine import cli_simulate
    from slotengine.testing.faults import ABOUT

    if broken is not None and broken not in ABOUT:
        raise click.BadParameter(f"there are: {', '.join(ABOUT)}", param_hint="'--fault'")
    seed = first or 0
    if only is not None and seeds is not None:
        raise click.UsageError("--only is about the steps of one --seed, not of several --seeds")
    if only is not None:
        if not all(0 <= step < steps for step in only):
            raise click.BadParameter(f"there are steps 0 to {steps - 1}", param_hint="'--only'")
        played = cli_simulate.replay(seed, steps, only, backend=backend, broken=broken)
        click.echo(played.text, nl=False)
        if played.failure is not None:
            raise click.ClickException(f"{played.failure.rule}: {played.failure.told}")
        click.echo(f"{len(only)} of {steps} steps of seed {seed}: nothing found.")
        return
    total = seeds or (100 if first is None else 1)
    with cli_simulate.progress(total) as done:
        finding = cli_simulate.first_finding(
            range(seed, seed + total), steps, backend=backend, broken=broken, done=done
        )
    if finding is not None:
        more = [] if broken is None else [f"--fault {broken}"]
        more += [] if backend == "asyncio" else [f"--backend {backend}"]
        click.echo(cli_simulate.report(finding, more))
        raise click.exceptions.Exit(1)
    click.echo(f"{total} seeds of {steps} steps, from {seed} on: nothing found.")
