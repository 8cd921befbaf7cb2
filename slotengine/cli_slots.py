"""What ``slotengine slots`` prints: the slots that a catalog's event type has on offer, by date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from slotengine.calcom.catalog import Catalog, Offer
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Slot
from slotengine.testing import SimClock

DAYS_SHOWN = timedelta(days=7)


class NoSuchEventType(LookupError):
    """The catalog has no event type of this id or slug, or several.  Says which there are."""


def chosen(catalog: Catalog, name: str) -> Offer:
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


def moment(text: str, zone: ZoneInfo, *, end: bool = False) -> datetime:
    """Read a date or a time of the zone; a date is its beginning, or its end.

    Raises `ValueError`.

    >>> moment("2030-03-31", ZoneInfo("Europe/Rome"), end=True).isoformat()
    '2030-04-01T00:00:00+02:00'
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        read = datetime.fromisoformat(text)
        return read if read.tzinfo is not None else read.replace(tzinfo=zone)
    return datetime.combine(day + timedelta(days=end), time.min, zone)


async def offered(
    catalog: Catalog,
    offer: Offer,
    start: datetime | None,
    end: datetime | None,
    *,
    length: timedelta | None,
    zone: ZoneInfo,
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


def table(slots: Sequence[Slot], title: str, zone: ZoneInfo) -> Table:
    """Return the slots as a table with a row for each date of the zone."""
    shown = Table(title=Text(title), title_justify="left", show_lines=False)
    shown.add_column("Date", no_wrap=True)
    shown.add_column("", justify="right")
    shown.add_column(f"Start ({zone.key})")
    local = [(slot.start.astimezone(zone), slot) for slot in slots]
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
