"""``slotengine slots``: the slots that a catalog's event type has on offer, by date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slotengine.calcom.catalog import Catalog, CatalogEventType
from slotengine.calcom.catalog.values import LONGEST_MINUTES
from slotengine.cli.catalog import catalog_option, load
from slotengine.cli.errors import Wrong
from slotengine.core.time.zone import Zone
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Slot
from slotengine.errors import InvalidRequest
from slotengine.testing import SimClock

DAYS_SHOWN = timedelta(days=7)


class NoSuchEventType(LookupError):
    """The catalog has no event type of this id or slug, or several.  Says which there are."""


def chosen(catalog: Catalog, name: str) -> CatalogEventType:
    """Return the event type of an id or a slug.  Raises `NoSuchEventType`."""
    offers = catalog.event_types.values()
    found = [one for one in offers if str(one.id) == name] or [
        one for one in offers if one.slug == name
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{one.id} ({one.slug})" for one in found or offers) or "none"
    problem = "several event types have" if found else "no event type has"
    raise NoSuchEventType(f"{problem} the id or slug {name!r}; there are: {known}")


def moment(text: str, zone: Zone, *, end: bool = False) -> datetime:
    """Read a date or a time of the zone; a date is its beginning, or its end.

    Raises `ValueError`.

    >>> moment("2030-03-31", Zone.of("Europe/Rome"), end=True).isoformat()
    '2030-04-01T00:00:00+02:00'
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        read = datetime.fromisoformat(text)
        return read if read.tzinfo is not None else read.replace(tzinfo=zone.info)
    return datetime.combine(day + timedelta(days=end), time.min, zone.info)


async def offered(
    catalog: Catalog,
    offer: CatalogEventType,
    start: datetime | None,
    end: datetime | None,
    *,
    length: timedelta | None,
    zone: Zone,
    now: datetime | None = None,
) -> list[Slot]:
    """Return the slots from a start, or now, until an end, or for a week.

    ``now`` is as of when; None: the system's clock says.  Raises `InvalidRequest`.
    """
    clock = None if now is None else SimClock(now)
    async with SlotEngine(clock=clock) as engine:
        await catalog.populate(engine)
        start = engine.now() if start is None else start
        latest = datetime.max.replace(tzinfo=UTC)
        if end is None:
            end = start + DAYS_SHOWN if latest - start > DAYS_SHOWN else latest
        return await engine.slots(offer.rules.id, start, end, length=length, zone=zone.key)


def table(slots: Sequence[Slot], title: str, zone: Zone) -> Table:
    """Return the slots as a table with a row for each date of the zone."""
    shown = Table(title=Text(title), title_justify="left", show_lines=False)
    shown.add_column("Date", no_wrap=True)
    shown.add_column("", justify="right")
    shown.add_column(f"Start ({zone.key})")
    local = [(slot.start.astimezone(zone.info), slot) for slot in slots]
    for day, group in groupby(local, lambda pair: pair[0].date()):
        of_day = list(group)
        shown.add_row(f"{day:%a %d %b %Y}", str(len(of_day)), "  ".join(times(of_day)))
    return shown


def times(of_day: Sequence[tuple[datetime, Slot]]) -> Iterable[str]:
    """Yield each start as the clock shows it; with its offset on a day that has two."""
    ambiguous = len({start.utcoffset() for start, _ in of_day}) > 1
    for start, slot in of_day:
        seats = "" if slot.seats is None else f"({slot.seats.left}/{slot.seats.total})"
        offset = start.isoformat()[-6:] if ambiguous else ""
        yield f"{start:%H:%M}{offset}{seats}"


def _zone(context: click.Context, option: click.Parameter, value: str) -> Zone:
    try:
        return Zone.of(value, "zone")
    except InvalidRequest as error:
        raise click.BadParameter(f"{error} (a zone is, for instance, Europe/Rome)") from None


def _moment(option: str, text: str | None, zone: Zone, *, end: bool = False) -> datetime | None:
    try:
        return None if text is None else moment(text, zone, end=end)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no date or time, such as 2030-12-02 or 2030-12-02T09:00",
            param_hint=f"'{option}'",
        ) from None


@click.command()
@catalog_option
@click.option("--event-type", "name", required=True, help="Which: its id or its slug.")
@click.option("--from", "first", help="The first date or time in the zone.  [default: now]")
@click.option("--to", "last", help="The last date, or the end.  [default: a week later]")
@click.option("--tz", "zone", callback=_zone, default="UTC", show_default=True, help="The zone.")
@click.option(
    "--length", type=click.IntRange(1, LONGEST_MINUTES), help="In minutes, if not the usual."
)
@click.option("--now", "as_of", help="As of when to look.  [default: now]")
def command(
    catalog_path: Path,
    name: str,
    first: str | None,
    last: str | None,
    zone: Zone,
    length: int | None,
    as_of: str | None,
) -> None:
    """Print which slots of an event type are offered, by the catalog alone.

    Exits with 0, also if there are none, and with 2 if the catalog, or what is
    asked of it, is wrong.
    """
    start, end = _moment("--from", first, zone), _moment("--to", last, zone, end=True)
    now = _moment("--now", as_of, zone)
    catalog = load(catalog_path, now)
    try:
        offer = chosen(catalog, name)
        asked = None if length is None else timedelta(minutes=length)
        look = anyio.run(
            lambda: offered(catalog, offer, start, end, length=asked, zone=zone, now=now)
        )
    except (NoSuchEventType, InvalidRequest) as error:
        raise Wrong(str(error)) from None
    taken = length or offer.length
    if not look:
        click.echo(f"No slots of {offer.slug}, {taken} minutes, are free in that time.")
        return
    title = f"{offer.slug}, {taken} minutes: {len(look)} slots"
    Console().print(table(look, title + (" (seats left/in all)" if look[0].seats else ""), zone))
