"""Calendars of users, imported into an engine: how far they are read, and with what.

Needs the extra ``ical``, and asks for it only where there is a calendar.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

BACK: Final = timedelta(days=1)
AHEAD: Final = timedelta(days=5 * 366)
"""How far a calendar is read, from the moment of its import: five years.

Measured: an event of every day costs 20 ms."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar, and the user whose time it takes."""

    source: str
    """Whose word it is, as the engine is told."""
    resource: str
    zone: str
    """Where the user is: times that name no zone, and whole days, are read there."""
    text: bytes = field(repr=False)

    def busy(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """Return when the user is busy, from a day before now to five years ahead.

        Raises `BadCalendar`, or `ModuleNotFoundError` without the extra.
        """
        from slotengine.ical import busy_spans

        # At the ends of the calendar there is less to be read.
        first = datetime.min.replace(tzinfo=UTC)
        last = datetime.max.replace(tzinfo=UTC)
        start = now - BACK if now - first > BACK else first
        end = now + AHEAD if last - now > AHEAD else last
        return busy_spans(self.text, start, end, zone=self.zone)
