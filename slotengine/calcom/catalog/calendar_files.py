"""Calendar files of users: which period is read, and the copy of the last complete file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from slotengine.errors import BadCalendar
from slotengine.ical import BusyTime, busy_spans

logger = logging.getLogger(__name__)

LOOK_BACK: Final = timedelta(days=1)
LOOK_AHEAD: Final = timedelta(days=5 * 366)
"""The period that is read of a calendar, counted from its import.

Measured: a daily event costs 12 ms."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar file and the user whom it makes busy."""

    source: str
    """The source of the busy time, as the engine knows it."""
    resource: str
    zone: str | None
    """The time zone of the user, in which whole-day events are read; None if unknown."""
    text: bytes = field(repr=False)
    owner: tuple[str, ...] = field(default=(), repr=False)
    """The email addresses of the user; events that they declined are not busy time."""
    last_complete: bytes | None = field(default=None, repr=False)
    """The last complete file, if the present one is incomplete."""

    def read(self, now: datetime) -> BusyTime:
        """Return the busy time of the file, from a day before ``now`` to five years ahead.

        Raises `BadCalendar` if the file is not a calendar.
        """
        return self._read(self.text, now)

    def busy(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """Return the busy spans of the user, from a day before ``now`` to five years ahead.

        An incomplete file counts together with the last complete one.  The spans
        may overlap.  Raises `BadCalendar` as `read` does, unless there is a copy.
        """
        if self.last_complete is None:
            return self.read(now).spans
        spans = list(self._read(self.last_complete, now).spans)
        with suppress(BadCalendar):  # reported when the catalog was loaded
            spans += self.read(now).spans
        return spans

    def _read(self, text: bytes, now: datetime) -> BusyTime:
        # Clip the period to the years 1 to 9999, as datetime has no others.
        first = datetime.min.replace(tzinfo=UTC)
        last = datetime.max.replace(tzinfo=UTC)
        start = now - LOOK_BACK if now - first > LOOK_BACK else first
        end = now + LOOK_AHEAD if last - now > LOOK_AHEAD else last
        return busy_spans(text, start, end, zone=self.zone, owner=self.owner)


class CalendarCopies:
    """A folder with a copy of the last complete version of each calendar file.

    With it a truncated download, or an error page in its place, does not free the
    user's time, even after a restart.  A copy is named by a digest of the
    calendar's path, and only the owner of the process may read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, calendar: Path, text: bytes) -> None:
        """Save a complete calendar.  Logs a warning if it cannot be written."""
        copy = self._copy(calendar)
        try:
            if copy.exists() and copy.read_bytes() == text:
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    # All or nothing, even if the power fails: half a copy would be useless.
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    Path(file.name).unlink()
                    raise
            Path(file.name).replace(copy)
        except OSError as error:
            logger.warning("cannot save a copy of the calendar %s: %s", calendar, error)

    def of(self, calendar: Path) -> bytes | None:
        """Return the copy of a calendar; None if there is none."""
        try:
            return self._copy(calendar).read_bytes()
        except OSError:
            return None

    def _copy(self, calendar: Path) -> Path:
        name = str(calendar.absolute()).encode(errors="surrogateescape")
        return self._folder / f"{sha256(name).hexdigest()[:32]}.ics"


MAX_REPORTED: Final = 5
"""How many problems of one calendar are listed in a catalog's warnings."""


def incomplete_warning(path: str, problem: str, *, has_copy: bool) -> str:
    """Return a warning that a calendar could not be read to its end."""
    copy = "its last complete copy counts as well" if has_copy else "there is no copy of it"
    return f"the calendar {path} cannot be read to its end ({problem}); {copy}"


def calendar_warnings(path: str, found: BusyTime, *, has_copy: bool) -> Iterator[str]:
    """Yield the warnings about a calendar that was read."""
    if not found.complete:
        yield incomplete_warning(path, "it is truncated, or takes too much work", has_copy=has_copy)
    for problem in found.problems[:MAX_REPORTED]:
        yield f"the calendar {path}: {problem}"
    if len(found.problems) > MAX_REPORTED:
        yield f"the calendar {path}: {len(found.problems) - MAX_REPORTED} more problems"
