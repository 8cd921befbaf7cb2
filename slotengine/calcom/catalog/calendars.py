"""Reads the calendar files that a catalog names, when the catalog is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from slotengine.calcom.catalog.calendar_files import (
    Calendar,
    CalendarCopies,
    calendar_warnings,
    incomplete_warning,
)
from slotengine.calcom.catalog.directory import resource_of
from slotengine.calcom.catalog.schema import Problem, Row
from slotengine.calcom.catalog.user_tables import UserTable
from slotengine.core.time.schedule import Schedule
from slotengine.errors import BadCalendar


class CalendarReader:
    """Reads the calendars of users, with paths relative to a folder.

    ``copies`` saves complete files; None: no copies are saved.
    """

    def __init__(
        self,
        users: list[Row[UserTable]],
        folder: Path,
        now: datetime,
        copies: CalendarCopies | None = None,
    ) -> None:
        self._users = users
        self._folder = folder
        self._now = now
        self._copies = copies
        self._texts: dict[str, tuple[bytes, bytes | None]] = {}
        """Each file by its path, and its last complete copy if the file is incomplete."""
        self.warnings: list[str] = []
        """Assumptions made about calendars, and files that are incomplete."""
        self.problems = list(self._read_all())

    def of_users(self, schedules: Mapping[int, Schedule]) -> tuple[Calendar, ...]:
        """Return all calendars, each with the time zone of its user."""
        return tuple(
            Calendar(
                f"calendar:{path}",
                resource_of(user.id),
                _zone(user, schedules),
                text,
                tuple(user.emails),
                last_complete,
            )
            for _, user in self._users
            for path in user.calendars
            for text, last_complete in [self._texts[path]]
        )

    def _read_all(self) -> Iterator[Problem]:
        for row_key, user in self._users:
            for index, path in enumerate(user.calendars):
                if path in self._texts:
                    continue
                try:
                    self._texts[path] = self._read(path)
                except BadCalendar as error:
                    problem = f"{path!r} cannot be read: {error.problem}"
                except OSError as error:
                    problem = f"{path!r} cannot be read: {error.strerror or error}"
                except ValueError as error:  # a path that no system accepts
                    problem = f"{path!r} cannot be read: {error}"
                else:
                    continue
                yield Problem(f"{row_key}.calendars[{index}]", problem)

    def _read(self, path: str) -> tuple[bytes, bytes | None]:
        """Read a file and check that it is a calendar; the time zone does not matter for that."""
        file = self._folder / path
        text = file.read_bytes()
        try:
            found = Calendar(path, "", None, text).read(self._now)
        except BadCalendar as error:
            copy = self._copy(file)
            if copy is None:
                raise
            self.warnings.append(incomplete_warning(path, error.problem, has_copy=True))
            return text, copy
        copy = None
        if self._copies is not None:
            if found.complete:
                self._copies.keep(file, text)
            else:
                copy = self._copy(file)
        self.warnings += calendar_warnings(path, found, has_copy=copy is not None)
        return text, copy

    def _copy(self, file: Path) -> bytes | None:
        """Return the copy of a file, if there is one and it is still a calendar."""
        copy = None if self._copies is None else self._copies.of(file)
        if copy is not None:
            try:
                Calendar("", "", None, copy).read(self._now)
            except BadCalendar:
                return None
        return copy


def _zone(user: UserTable, schedules: Mapping[int, Schedule]) -> str | None:
    if user.default_schedule_id is None:
        return None
    return schedules[user.default_schedule_id].zone
