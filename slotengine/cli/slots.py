"""``slotengine slots``: the available slots of an event type, by date."""

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
from slotengine.cli.errors import BadInput
from slotengine.core.time.zone import Zone
from slotengine.engine.engine import SlotEngine
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Slot
from slotengine.errors import InvalidRequest
from slotengine.testing import SimClock

DEFAULT_SPAN = timedelta(days=7)


class EventTypeNotFound(LookupError):
    """No event type of the catalog matches an id or slug, or more than one does."""


def find_event_type(catalog: Catalog, name: str) -> CatalogEventType:
    """Return the event type with an id or slug.  Raises `EventTypeNotFound`."""
    event_types = catalog.event_types.values()
    found = [one for one in event_types if str(one.id) == name] or [
        one for one in event_types if one.slug == name
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{one.id} ({one.slug})" for one in found or event_types) or "none"
    problem = "several event types have" if found else "no event type has"
    raise EventTypeNotFound(f"{problem} the id or slug {name!r}; the event types are: {known}")


def parse_moment(text: str, zone: Zone, *, end: bool = False) -> datetime:
    """Parse a date or time in a zone; a date means its start, or with ``end`` its end.

    Raises `ValueError` if it is neither, `OverflowError` after the year 9999.

    >>> parse_moment("2030-03-31", Zone.of("Europe/Rome"), end=True).isoformat()
    '2030-04-01T00:00:00+02:00'
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        read = datetime.fromisoformat(text)
        return read if read.tzinfo is not None else read.replace(tzinfo=zone.info)
    return datetime.combine(day + timedelta(days=end), time.min, zone.info)


async def find_slots(
    catalog: Catalog,
    event_type: CatalogEventType,
    start: datetime | None,
    end: datetime | None,
    *,
    length: timedelta | None,
    zone: Zone,
    now: datetime | None = None,
) -> list[Slot]:
    """Return the slots between start and end, by default from now for a week.

    ``now`` is the time at which to look, by default the system's.  Raises
    `InvalidRequest`.
    """
    clock = None if now is None else SimClock(now)
    async with SlotEngine(clock=clock) as engine:
        await catalog.populate(engine)
        start = engine.now() if start is None else start
        latest = datetime.max.replace(tzinfo=UTC)
        if end is None:
            end = start + DEFAULT_SPAN if latest - start > DEFAULT_SPAN else latest
        return await engine.slots(
            SlotQuery(event_type.rules.id, start, end, length=length, zone=zone.key)
        )


def slots_table(slots: Sequence[Slot], title: str, zone: Zone) -> Table:
    """Return a table of the slots with a row for each date in the zone."""
    shown = Table(title=Text(title), title_justify="left", show_lines=False)
    shown.add_column("Date", no_wrap=True)
    shown.add_column("", justify="right")
    shown.add_column(f"Start ({zone.key})")
    local = [(slot.start.astimezone(zone.info), slot) for slot in slots]
    for day, group in groupby(local, lambda pair: pair[0].date()):
        of_day = list(group)
        shown.add_row(f"{day:%a %d %b %Y}", str(len(of_day)), "  ".join(start_times(of_day)))
    return shown


def start_times(of_day: Sequence[tuple[datetime, Slot]]) -> Iterable[str]:
    """Yield each start in local time; with its offset on a day that has two offsets."""
    ambiguous = len({start.utcoffset() for start, _ in of_day}) > 1
    for start, slot in of_day:
        seats = "" if slot.seats is None else f"({slot.seats.left}/{slot.seats.total})"
        offset = start.isoformat()[-6:] if ambiguous else ""
        yield f"{start:%H:%M}{offset}{seats}"


def _zone(context: click.Context, option: click.Parameter, value: str) -> Zone:
    try:
        return Zone.of(value, "zone")
    except InvalidRequest as error:
        raise click.BadParameter(f"{error}; a time zone is, for example, Europe/Rome") from None


def _moment(option: str, text: str | None, zone: Zone, *, end: bool = False) -> datetime | None:
    try:
        return None if text is None else parse_moment(text, zone, end=end)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is not a date or time, such as 2030-12-02 or 2030-12-02T09:00",
            param_hint=f"'{option}'",
        ) from None


@click.command()
@catalog_option
@click.option("--event-type", "name", required=True, help="The event type, by id or slug.")
@click.option("--from", "first", help="The first date or time.  [default: now]")
@click.option("--to", "last", help="The last date, or an end time.  [default: a week later]")
@click.option(
    "--tz", "zone", callback=_zone, default="UTC", show_default=True, help="The time zone."
)
@click.option(
    "--length",
    type=click.IntRange(1, LONGEST_MINUTES),
    help="In minutes.  [default: the event type's]",
)
@click.option("--now", "as_of", help="The time that counts as now.  [default: the system's]")
def command(
    catalog_path: Path,
    name: str,
    first: str | None,
    last: str | None,
    zone: Zone,
    length: int | None,
    as_of: str | None,
) -> None:
    """Print the available slots of an event type.

    Only the catalog counts: there are no holds, and no bookings but its own.
    Exits with 0, even without slots, and with 2 if the catalog or an option is
    invalid.
    """
    start, end = _moment("--from", first, zone), _moment("--to", last, zone, end=True)
    now = _moment("--now", as_of, zone)
    catalog = load(catalog_path, now)
    try:
        event_type = find_event_type(catalog, name)
        asked = None if length is None else timedelta(minutes=length)
        slots = anyio.run(
            lambda: find_slots(catalog, event_type, start, end, length=asked, zone=zone, now=now)
        )
    except (EventTypeNotFound, InvalidRequest) as error:
        raise BadInput(str(error)) from None
    taken = length or event_type.length
    if not slots:
        click.echo(f"No {taken}-minute slots of {event_type.slug} are free in that time.")
        return
    title = f"{event_type.slug}, {taken} minutes: {len(slots)} slots"
    Console().print(
        slots_table(slots, title + (" (seats left/total)" if slots[0].seats else ""), zone)
    )
