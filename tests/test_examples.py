"""The examples do what they say, and the picture of a week is the one in ``docs``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import anyio
import pytest

from examples import repeats, week
from examples.week import Kind, Piece, Week
from slotengine import SlotEngine, SlotQuery, State
from tests.standing import standing

ROOT: Final = Path(__file__).parents[1]
SVG: Final = "{http://www.w3.org/2000/svg}"
LANES: Final = (week.VISIT, *week.VETS)
START, END = week.at(week.MON, 0), week.at(week.SUN + timedelta(1), 0)


class Box(NamedTuple):
    """What a box of the picture says: from its place alone, not from its label."""

    kind: str
    lane: str
    begins: datetime
    """As the wall clock shows it, without a zone."""
    minutes: int


def boxes(svg: str) -> Iterator[Box]:
    """Yield every box that stands for a span of time; those of the legend have no label."""
    row = len(LANES) * week.LANE + week.DAY_GAP
    for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if rect.find(f"{SVG}title") is None:
            continue
        x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
        day, down = divmod(y - week.TOP, row)
        minute = round((x - week.LEFT) * 60 / week.HOUR)
        midnight = datetime.combine(week.MON + timedelta(day), time())
        yield Box(
            rect.attrib["class"],
            LANES[int(down) // week.LANE],
            midnight + timedelta(minutes=minute),
            round(width * 60 / week.HOUR),
        )


def box(kind: Kind, lane: str, start: datetime, end: datetime) -> Box:
    """Return what the picture should have for a span within one day."""
    wall = start.astimezone(week.ROME).replace(tzinfo=None)
    # Aware datetimes of one zone are subtracted by what its clocks show, so not without UTC.
    length = end.astimezone(UTC) - start.astimezone(UTC)
    return Box(kind.name.lower(), lane, wall, length // timedelta(minutes=1))


async def expected(engine: SlotEngine) -> Counter[Box]:
    """Return what the engine says, without the windows."""
    found: Counter[Box] = Counter(
        box(Kind.OFFERED, week.VISIT, slot.start, slot.end)
        for slot in await engine.slots(SlotQuery(week.VISIT, START, END, zone=week.ZONE))
    )
    for vet in week.VETS:
        for busy in await engine.imported(vet, START, END):
            found[box(Kind.IMPORTED, vet, busy.start, busy.end)] += 1
        for one in (await engine.find(standing(vet, START, END))).reservations:
            kind = Kind.HOLD if one.state is State.HELD else Kind.BOOKING
            found[box(kind, vet, one.start, one.end)] += 1
            if one.event_type == week.VISIT:
                found[box(Kind.BUFFER, vet, one.end, one.end + timedelta(minutes=15))] += 1
    return found


def test_it_draws_what_the_engine_says() -> None:
    """Goal: every span is drawn once, where it belongs, and nothing else is.

    Method: times are read back from the places of the boxes, and compared with
    what an engine of the same state answers.
    """

    async def main() -> None:
        async with week.open_clinic() as engine:
            await week.fill(engine)
            svg = week.draw(await week.read_week(engine))
            drawn = Counter(one for one in boxes(svg) if one.kind not in {"window", "skipped"})
            assert drawn == await expected(engine)
            kinds = Counter(one.kind for one in drawn.elements())
            statistics = engine.statistics()
            assert kinds["hold"] == statistics.held == len(week.HELD)
            assert kinds["booking"] == statistics.confirmed == len(week.BOOKED) + 1
            assert kinds["imported"] == sum(map(len, week.CALENDARS.values()))
            assert kinds["offered"] > 0

    anyio.run(main)


@pytest.mark.parametrize("vet", week.VETS)
def test_windows_are_drawn_where_the_schedule_is_open(vet: str) -> None:
    svg = week.draw(anyio.run(week.clinic_week))
    windows = [one for one in boxes(svg) if (one.kind, one.lane) == ("window", vet)]
    moment = START.astimezone(UTC)
    while moment < END:
        wall = moment.astimezone(week.ROME).replace(tzinfo=None)
        inside = sum(
            one.begins <= wall < one.begins + timedelta(minutes=one.minutes) for one in windows
        )
        us = int(moment.timestamp()) * 1_000_000
        assert inside == week.VETS[vet].covers(us, us + 1), wall
        moment += timedelta(minutes=15)


def test_the_hour_that_clocks_skip_is_marked() -> None:
    svg = week.draw(anyio.run(week.clinic_week))
    two = datetime.combine(week.SUN, time(2))
    assert [one for one in boxes(svg) if one.kind == "skipped"] == [
        Box("skipped", week.VISIT, two, minutes=60)
    ]
    hour = timedelta(hours=1)
    assert {one.kind for one in boxes(svg) if two <= one.begins < two + hour} == {"skipped"}


def test_any_week_can_be_drawn() -> None:
    """Whatever the names, where clocks go back, and for what reaches out of the week."""
    zone, monday = ZoneInfo("Europe/Rome"), date(2030, 10, 21)
    start, end = datetime(2030, 10, 26, 23, tzinfo=UTC), datetime(2030, 10, 27, 2, tzinfo=UTC)
    lane = '<a> & "b"'
    pieces = (
        Piece(lane, Kind.BOOKING, start, end),  # from 01:00, over the second 02:00, to 03:00
        Piece(lane, Kind.HOLD, end + timedelta(days=7), end + timedelta(days=8)),
        Piece(lane, Kind.HOLD, start - timedelta(days=7), start - timedelta(days=5, hours=12)),
    )
    svg = week.draw(Week(lane, zone, monday, end, (lane,), pieces, {}))
    drawn = [
        (rect.attrib["class"], (float(rect.attrib["x"]) - week.LEFT) / week.HOUR,
         float(rect.attrib["width"]) / week.HOUR)
        for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    ]  # fmt: skip
    assert drawn == [("booking", 1, 2), ("booking", 2, 1), ("hold", 0, 13)]


def test_the_picture_in_the_docs_is_what_the_script_makes(tmp_path: Path) -> None:
    out = tmp_path / "week.svg"
    command = [sys.executable, str(ROOT / "examples" / "week.py"), "--out", str(out)]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this package, not one that is installed
    )
    svg = out.read_bytes()
    offered = Counter(one.kind for one in boxes(svg.decode()))["offered"]
    assert done.stdout == f"{out}: {offered} slots are offered\n"
    assert svg == (ROOT / "docs" / "pictures" / "week.svg").read_bytes()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_sent_twice_is_done_once(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    anyio.run(repeats.main, backend=backend)
    assert capsys.readouterr().out == (
        "with command ids: 2 holds, 2 bookings\nwithout command ids: 5 holds, 3 bookings\n"
    )
