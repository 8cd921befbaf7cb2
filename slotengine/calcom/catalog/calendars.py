"""The calendars that a catalog names: read, and tried, when the catalog is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from slotengine.calcom.catalog.calendar_files import Calendar, LastWhole, told, warnings
from slotengine.calcom.catalog.directory import resource_of
from slotengine.calcom.catalog.schema import Problem, Row
from slotengine.calcom.catalog.user_tables import UserTable
from slotengine.core.time.schedule import Schedule
from slotengine.errors import BadCalendar


class Calendars:
    """The calendars of users, relative to a folder, and what is wrong with them.

    Without ``last_whole`` no copies are kept.
    """

    def __init__(
        self,
        users: list[Row[UserTable]],
        folder: Path,
        now: datetime,
        last_whole: LastWhole | None = None,
    ) -> None:
        self._users = users
        self._folder = folder
        self._now = now
        self._kept = last_whole
        self._texts: dict[str, tuple[bytes, bytes | None]] = {}
        """What each file says, and if it cannot be read to its end, what it said before."""
        self.warnings: list[str] = []
        """What was assumed of the calendars, and of which not all is there."""
        self.problems = list(self._read_all())

    def of_users(self, schedules: Mapping[int, Schedule]) -> tuple[Calendar, ...]:
        """Return all of them, to be read where their users are."""
        return tuple(
            Calendar(
                f"calendar:{path}",
                resource_of(user.id),
                _zone(user, schedules),
                text,
                tuple(user.emails),
                last_whole,
            )
            for _, user in self._users
            for path in user.calendars
            for text, last_whole in [self._texts[path]]
        )

    def _read_all(self) -> Iterator[Problem]:
        for row_key, user in self._users:
            for index, path in enumerate(user.calendars):
                if path in self._texts:
                    continue
                try:
                    self._texts[path] = self._read(path)
                except BadCalendar as error:
                    problem = f"cannot be read: {error.problem}"
                except OSError as error:
                    problem = f"cannot be read: {error.strerror or error}"
                except ValueError as error:  # no possible path
                    problem = f"cannot be read: {error}"
                else:
                    continue
                yield Problem(f"{row_key}.calendars[{index}]", problem)

    def _read(self, path: str) -> tuple[bytes, bytes | None]:
        """Read a file, and try it; where its user is does not matter to that."""
        file = self._folder / path
        text = file.read_bytes()
        try:
            found = Calendar(path, "", None, text).read(self._now)
        except BadCalendar as error:
            copy = self._copy(file)
            if copy is None:
                raise
            self.warnings.append(told(path, error.problem, has_copy=True))
            return text, copy
        copy = None
        if self._kept is not None:
            if found.complete:
                self._kept.keep(file, text)
            else:
                copy = self._copy(file)
        self.warnings += warnings(path, found, has_copy=copy is not None)
        return text, copy

    def _copy(self, file: Path) -> bytes | None:
        """Return what a file said before, if there is a copy, and nothing has happened to that."""
        copy = None if self._kept is None else self._kept.of(file)
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
