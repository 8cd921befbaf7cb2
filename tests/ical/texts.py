"""Calendars to read, and their results in a form that is easy to compare."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from slotengine.ical import BusyTime, busy_spans

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
END: Final = datetime(2031, 1, 1, tzinfo=UTC)
GOOD: Final = "BEGIN:VEVENT\nUID:good\nDTSTART:20300109T090000Z\nDTEND:20300109T100000Z\nEND:VEVENT"
GOOD_SPAN: Final = "01-09 09:00 to 01-09 10:00"
HOUR: Final = "DURATION:PT1H"
NINE: Final = "DTSTART;TZID=Europe/Rome:20300109T090000"
TWO_NAMES: Final = """BEGIN:VTIMEZONE
TZID:One
TZID:Two
BEGIN:STANDARD
DTSTART:16010101T000000
TZOFFSETFROM:+0300
TZOFFSETTO:+0300
END:STANDARD
END:VTIMEZONE"""


def calendar(*parts: str) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", *parts, "END:VCALENDAR"]
    return "".join(f"{line}\r\n" for part in lines for line in part.split("\n"))


def event(*lines: str, uid: str = "e") -> str:
    return "\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT"])


def read(text: str | bytes, zone: str | None = "Europe/Rome", owner: str = "") -> BusyTime:
    return busy_spans(text, START, END, zone=zone, owner=owner)


def shown(busy: BusyTime) -> list[str]:
    return [f"{begin:%m-%d %H:%M} to {end:%m-%d %H:%M}" for begin, end in busy.spans]


def days(*days: str) -> list[str]:
    """Return spans of one hour from 09:00 in Rome, in winter."""
    return [f"{day} 08:00 to {day} 09:00" for day in days]
