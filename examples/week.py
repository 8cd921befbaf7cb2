"""Draw a week of a small clinic: working hours, what is taken, and the available slots.

    python examples/week.py --out week.svg

Three vets work in Rome, each with their own hours.  A visit takes one of them, by turns,
plus fifteen minutes to tidy up.  It is Monday morning.  Some visits are booked, some are
held by customers who have not decided yet, and calendars have been imported.  In this
week, the clocks go forward.

The file has two parts.  `open_clinic`, `fill` and `read_week` use an engine, and produce a
`Week`.  `draw` turns any `Week` into an SVG file, and does not use the engine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import anyio

from slotengine import (
    Away,
    EventType,
    ReservationQuery,
    Schedule,
    SlotEngine,
    SlotQuery,
    State,
    hours,
    minutes,
)
from slotengine.testing import SimClock

# --- The data of a picture ---------------------------------------------------------------


class Kind(Enum):
    """What a span of time is.  The members are in the order in which they are painted."""

    WINDOW = "window"
    BUFFER = "buffer"
    IMPORTED = "imported busy time"
    BOOKING = "booking"
    HOLD = "hold"
    OFFERED = "offered slot"


class Piece(NamedTuple):
    """A span of time, and the lane in which it is drawn."""

    lane: str
    kind: Kind
    start: datetime
    end: datetime


class Week(NamedTuple):
    """Seven days from ``first`` on, in the local time of a zone."""

    title: str
    zone: ZoneInfo
    first: date
    now: datetime
    lanes: tuple[str, ...]
    pieces: tuple[Piece, ...]
    notes: Mapping[date, str]

    def midnight(self, day: int) -> datetime:
        """Return the start of a day of the week, in UTC.  Day 7 is the next Monday."""
        return datetime.combine(self.first + timedelta(day), time(), self.zone).astimezone(UTC)


# --- The clinic --------------------------------------------------------------------------

ZONE: Final = "Europe/Rome"
ROME: Final = ZoneInfo(ZONE)
MON, TUE, WED, THU, FRI, SAT, SUN = (date(2030, 3, 25 + day) for day in range(7))
VISIT: Final = "visit"

VETS: Final = {
    "vet-1": Schedule.weekly_hours(
        ZONE, "mon-fri 09:00-13:00 14:00-18:00", overrides={WED: hours("14:00-20:00")}
    ),
    "vet-2": Schedule.weekly_hours(
        ZONE, "mon,wed,fri 08:00-14:00", "tue,thu 13:00-19:00", away=[Away(THU, FRI)]
    ),
    "vet-3": Schedule.weekly_hours(
        ZONE, "thu,sat,sun 10:00-16:00", "fri-sat 22:00-05:00"  # on call, past midnight
    ),
}  # fmt: skip
NOTES: Final = {
    WED: "vet-1: other hours",
    THU: "vet-2 is away",
    FRI: "vet-2 is away",
    SUN: "clocks go forward",
}


def at(day: date, hour: int, minute: int = 0) -> datetime:
    """Return the moment of a local time in Rome."""
    return datetime.combine(day, time(hour, minute), ROME)


NOW: Final = at(MON, 7, 40)
BOOKED: Final = (
    *(at(MON, hour) for hour in (10, 10, 12, 15)),
    *(at(TUE, hour) for hour in (9, 14, 14, 16)),
    *(at(WED, hour) for hour in (9, 11, 17)),
    *(at(THU, hour) for hour in (10, 10, 15)),
    *(at(FRI, hour) for hour in (15, 23)),
    *(at(SAT, hour) for hour in (11, 12)),
    *(at(SUN, hour) for hour in (1, 12)),
)
HELD: Final = (at(MON, 17), at(TUE, 17), at(WED, 15), at(THU, 11), at(SAT, 14), at(SUN, 3))
CALENDARS: Final = {
    "vet-1": [(at(TUE, 10, 20), at(TUE, 12, 10))],
    "vet-2": [(at(MON, 11, 30), at(MON, 12, 40)), (at(WED, 12, 30), at(WED, 14))],
    "vet-3": [(at(THU, 13), at(THU, 14, 30)), (at(SAT, 22), at(SAT, 23, 15))],
}


def open_clinic() -> SlotEngine:
    """Return an engine with the vets and the event types.  Its clock stands still."""
    engine = SlotEngine(clock=SimClock(NOW))
    for vet, schedule in VETS.items():
        engine.add_resource(vet, schedule=schedule)
    visit = EventType(
        id=VISIT,
        length=minutes(45),
        interval=minutes(60),
        after=minutes(15),
        notice=timedelta(hours=2),
        any_of=[list(VETS)],
    )
    engine.add_event_type(visit)
    return engine


async def fill(engine: SlotEngine) -> None:
    """Book and hold visits, block a morning, and import the vets' calendars."""
    await engine.replace_busy("calendars", CALENDARS)
    operation = await engine.reserve("vet-1", at(FRI, 9), timedelta(hours=3, minutes=30))
    await engine.confirm(operation.uid)
    for start in BOOKED:
        hold = await engine.reserve_slot(VISIT, start)
        await engine.confirm(hold.uid)
    for start in HELD:
        await engine.reserve_slot(VISIT, start)


async def read_week(engine: SlotEngine) -> Week:
    """Return the engine's state as a week."""
    start, end = at(MON, 0), at(SUN + timedelta(1), 0)
    pieces = [
        Piece(VISIT, Kind.OFFERED, slot.start, slot.end)
        for slot in await engine.slots(SlotQuery(VISIT, start, end, zone=ZONE))
    ]
    for vet, schedule in VETS.items():
        pieces += [Piece(vet, Kind.WINDOW, *span) for span in windows(schedule, start, end)]
        pieces += [
            Piece(vet, Kind.IMPORTED, busy.start, busy.end)
            for busy in await engine.imported(vet, start, end)
        ]
        query = ReservationQuery(
            resource=vet, states=[State.HELD, State.CONFIRMED], start=start, end=end
        )
        for one in (await engine.find(query)).reservations:
            kind = Kind.HOLD if one.state is State.HELD else Kind.BOOKING
            pieces.append(Piece(vet, kind, one.start, one.end))
            pieces += [
                Piece(vet, Kind.BUFFER, one.end, one.end + claim.after)
                for claim in one.claims
                if claim.after
            ]
    title = "A visit takes one of three vets: what is taken, and what is offered"
    return Week(title, ROME, MON, NOW, (VISIT, *VETS), tuple(pieces), NOTES)


def windows(
    schedule: Schedule, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield when a schedule is open.  Schedules use microseconds, and this file uses seconds."""
    span = int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000
    for opens, closes in schedule.windows(*span):
        yield (
            datetime.fromtimestamp(opens / 1_000_000, UTC),
            datetime.fromtimestamp(closes / 1_000_000, UTC),
        )


# --- The picture -------------------------------------------------------------------------

LEFT, TOP, RIGHT, BOTTOM = 172, 104, 28, 18
HOUR = 32
"""The width of an hour, in pixels like all sizes here."""
LANE, BAR, DAY_GAP = 17, 13, 11
QUARTER: Final = timedelta(minutes=15)
"""Nowadays every time zone changes its clocks at a multiple of 15 minutes."""

STYLE: Final = """
  text { font: 11.5px -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2933 }
  .title { font-size: 17px; font-weight: 600 }
  .day { font-size: 13px; font-weight: 600 }
  .quiet { fill: #616e7c }
  .card { fill: #ffffff; stroke: #d0d7de }
  .line { stroke: #e4e7eb }
  .rule { stroke: #cbd2d9 }
  .now { stroke: #d64545; stroke-width: 2 }
  .window { fill: #dfeaf7 }
  .buffer { fill: #2f5fb3; fill-opacity: .28 }
  .imported { fill: #8893a0 }
  .booking { fill: #2f5fb3 }
  .hold { fill: url(#stripes); stroke: #b7630b }
  .offered { fill: #e6f6ec; stroke: #1a7f4b; stroke-width: 1.3 }
  .skipped { fill: #f0ebf8; stroke: #8661c1; stroke-dasharray: 3 2 }
"""
STRIPES: Final = (
    '<defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff1d6"/>'
    '<rect width="3" height="6" fill="#f0a030"/></pattern></defs>'
)


def draw(week: Week) -> str:
    """Return the week as an SVG file: the same text for the same week.

    Each day has a row, and each row has the lanes.  Noon is at the same place in all rows.
    An hour that the clocks skip is marked; an hour that they repeat is drawn twice in the
    same place.
    """
    width, height = LEFT + 24 * HOUR + RIGHT, top(week, 7) - DAY_GAP + BOTTOM
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(week.title)}</title>",
        f"<style>{STYLE}</style>",
        STRIPES,
        f'<rect class="card" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        text(20, 32, week.title, "title"),
        *legend(),
        *axis(week, height),
        *rows(week),
        *bars(week),
        *skipped(week),
        *now(week),
        "</svg>\n",
    ])  # fmt: skip


def top(week: Week, day: int) -> int:
    """Return the top of a day's row."""
    return TOP + day * (len(week.lanes) * LANE + DAY_GAP)


def across(minute: float) -> float:
    """Return the horizontal position of a minute of the day."""
    return LEFT + minute * HOUR / 60


def parts(week: Week, start: datetime, end: datetime) -> Iterator[tuple[int, float, float]]:
    """Yield the parts of a span on each day: the day, and the first and last minute of the day."""
    # In UTC: the difference of two datetimes in one zone is local time, not elapsed time.
    start = max(start.astimezone(UTC), week.midnight(0))
    end = min(end.astimezone(UTC), week.midnight(7))
    if start >= end:
        return
    cuts = [cut for cut in jumps(week) if start < cut < end]
    for begin, finish in pairwise([start, *cuts, end]):
        wall = begin.astimezone(week.zone)
        minute = wall.hour * 60 + wall.minute
        length = (finish - begin) / timedelta(minutes=1)
        yield (wall.date() - week.first).days, minute, minute + length


def jumps(week: Week) -> Iterator[datetime]:
    """Yield the moments at which local time jumps: at midnight, and where clocks are changed."""
    moment = week.midnight(0)
    while moment < week.midnight(7):
        before = moment.astimezone(week.zone)
        moment += QUARTER
        after = moment.astimezone(week.zone)
        if (before.date(), before.utcoffset()) != (after.date(), after.utcoffset()):
            yield moment


def rect(kind: str, x: float, y: float, width: float, height: float, label: str = "") -> str:
    """Return a box, with a tooltip."""
    box = f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f"{box}><title>{escape(label)}</title></rect>" if label else f"{box}/>"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return text, with its baseline at ``y``."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def line(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}"/>'


def legend() -> Iterator[str]:
    """Yield a sample of each kind, with its name."""
    x = 20
    for kind in Kind:
        yield rect(kind.name.lower(), x, 50, 22, BAR)
        yield text(x + 29, 60.5, kind.value)
        x += 52 + 6 * len(kind.value)
    yield rect("skipped", x, 50, 22, BAR)
    yield text(x + 29, 60.5, "skipped hour")


def axis(week: Week, height: float) -> Iterator[str]:
    """Yield a line for each hour, a label for every third, and the name of the zone."""
    yield text(20, TOP - 11, week.zone.key, "quiet")
    for hour in range(25):
        x, named = across(hour * 60), hour % 3 == 0
        yield line("rule" if named else "line", x, TOP - 5, x, height - BOTTOM)
        if named:
            yield text(x, TOP - 11, f"{hour:02}:00", "quiet", "middle")


def rows(week: Week) -> Iterator[str]:
    """Yield the labels to the left of the days, and the lines between them."""
    for day in range(7):
        y, on = top(week, day), week.first + timedelta(day)
        yield line("rule", 20, y - DAY_GAP / 2, across(24 * 60), y - DAY_GAP / 2)
        yield text(20, y + 12, f"{on:%a} {on.day} {on:%b}", "day")
        yield text(20, y + 12 + LANE, week.notes.get(on, ""), "quiet")
        for number, lane in enumerate(week.lanes):
            yield text(LEFT - 9, y + 10.5 + number * LANE, lane, "quiet", "end")


def bars(week: Week) -> Iterator[str]:
    """Yield every piece, in the order in which they are painted."""
    order = list(Kind)
    for piece in sorted(week.pieces, key=lambda piece: order.index(piece.kind)):
        start, end = piece.start.astimezone(week.zone), piece.end.astimezone(week.zone)
        label = f"{piece.lane}: {piece.kind.value}, {start:%a %H:%M}-{end:%H:%M}"
        for day, begin, finish in parts(week, piece.start, piece.end):
            x, y = across(begin), top(week, day) + week.lanes.index(piece.lane) * LANE
            yield rect(piece.kind.name.lower(), x, y, across(finish) - x, BAR, label)


def skipped(week: Week) -> Iterator[str]:
    """Yield a mark over the local times that the clocks skip."""
    for jump in jumps(week):
        before, after = (jump - QUARTER).astimezone(week.zone), jump.astimezone(week.zone)
        wall, shown = before.replace(tzinfo=None) + QUARTER, after.replace(tzinfo=None)
        if wall < shown:
            minute, length = wall.hour * 60 + wall.minute, (shown - wall) / timedelta(minutes=1)
            y, lanes = top(week, (wall.date() - week.first).days), len(week.lanes)
            height = lanes * LANE - (LANE - BAR)
            label = f"{wall:%H:%M}-{shown:%H:%M} does not exist"
            yield rect("skipped", across(minute), y, length * HOUR / 60, height, label)


def now(week: Week) -> Iterator[str]:
    """Yield a line at the present time."""
    for day, minute, _ in parts(week, week.now, week.now + QUARTER):
        y = top(week, day)
        yield line("now", across(minute), y - 4, across(minute), y + len(week.lanes) * LANE)
        yield text(across(minute) - 5, y + 10.5, "now", "quiet", "end")


# --- The command ---------------------------------------------------------------------------


async def clinic_week() -> Week:
    """Return the week of the clinic."""
    async with open_clinic() as engine:
        await fill(engine)
        return await read_week(engine)


def main() -> None:
    """Write the picture to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Draw a week of a small clinic as an SVG file.")
    parser.add_argument("--out", type=Path, default=Path("week.svg"), metavar="FILE.svg")
    out: Path = parser.parse_args().out
    seen = anyio.run(clinic_week)
    out.write_text(draw(seen), encoding="utf-8", newline="\n")
    offered = sum(piece.kind is Kind.OFFERED for piece in seen.pieces)
    print(f"{out}: {offered} slots are offered")


if __name__ == "__main__":
    main()
