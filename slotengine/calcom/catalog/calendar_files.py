"""Calendars of users, imported into an engine: how far they are read, and what is kept of them."""

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

BACK: Final = timedelta(days=1)
AHEAD: Final = timedelta(days=5 * 366)
"""How far a calendar is read, from the moment of its import: five years.

Measured: an event of every day costs 12 ms."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar, and the user whose time it takes."""

    source: str
    """Whose word it is, as the engine is told."""
    resource: str
    zone: str | None
    """Where the user is, if that is known: whole days are read there."""
    text: bytes = field(repr=False)
    owner: tuple[str, ...] = field(default=(), repr=False)
    """The addresses of the user: what they have declined takes no time."""
    last_whole: bytes | None = field(default=None, repr=False)
    """What the file said when it was last read to its end, if it cannot be now."""

    def read(self, now: datetime) -> BusyTime:
        """Return what the file says, from a day before now to five years ahead.

        Raises `BadCalendar`.
        """
        return self._read(self.text, now)

    def busy(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """Return when the user is busy, from a day before now to five years ahead.

        That is what the file says, and if it cannot be read to its end, also
        what it said when it last could.  The spans may overlap.  Raises as
        `read` does, unless there is such a copy.
        """
        if self.last_whole is None:
            return self.read(now).spans
        spans = list(self._read(self.last_whole, now).spans)
        with suppress(BadCalendar):  # told when the catalog was read
            spans += self.read(now).spans
        return spans

    def _read(self, text: bytes, now: datetime) -> BusyTime:
        # At the ends of the calendar there is less to be read.
        first = datetime.min.replace(tzinfo=UTC)
        last = datetime.max.replace(tzinfo=UTC)
        start = now - BACK if now - first > BACK else first
        end = now + AHEAD if last - now > AHEAD else last
        return busy_spans(text, start, end, zone=self.zone, owner=self.owner)


class LastWhole:
    """A folder with a copy of each calendar as it was when it was last read to its end.

    So a download that broke off, or an error page in its place, does not free what
    the rest of the file takes, not even over a restart.  A copy is named by a
    digest of the calendar's path, and only its owner may read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, calendar: Path, text: bytes) -> None:
        """Keep a calendar that was read to its end.  Logs a warning if that is not possible."""
        copy = self._copy(calendar)
        try:
            if copy.exists() and copy.read_bytes() == text:
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    # All or nothing, even if the power fails: half a copy would be of no use.
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    Path(file.name).unlink()
                    raise
            Path(file.name).replace(copy)
        except OSError as error:
            logger.warning("no copy of the calendar %s can be kept: %s", calendar, error)

    def of(self, calendar: Path) -> bytes | None:
        """Return the copy of a calendar, if there is one."""
        try:
            return self._copy(calendar).read_bytes()
        except OSError:
            return None

    def _copy(self, calendar: Path) -> Path:
        name = str(calendar.absolute()).encode(errors="surrogateescape")
        return self._folder / f"{sha256(name).hexdigest()[:32]}.ics"


TOLD: Final = 5
"""How many problems of a calendar are among a catalog's warnings."""


def told(path: str, problem: str, *, has_copy: bool) -> str:
    """Return a warning that not all of a calendar could be read."""
    beside = "what it said when it last was whole counts as well" if has_copy else "no copy is kept"
    return f"the calendar {path} cannot be read to its end ({problem}); {beside}"


def warnings(path: str, found: BusyTime, *, has_copy: bool) -> Iterator[str]:
    """Yield what there is to tell of a calendar that was read."""
    if not found.complete:
        yield told(path, "it is cut short, or takes too much work", has_copy=has_copy)
    for problem in found.problems[:TOLD]:
        yield f"the calendar {path}: {problem}"
    if len(found.problems) > TOLD:
        yield f"the calendar {path}: {len(found.problems) - TOLD} more problems"
