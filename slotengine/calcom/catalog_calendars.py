"""The calendars that a catalog names: read, and tried, when the catalog is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from slotengine.calcom.calendars import Calendar
from slotengine.calcom.catalog_tables import Problem, Row, UserTable
from slotengine.calcom.directory import resource_of
from slotengine.core.schedule import Schedule
from slotengine.errors import BadCalendar

_INSTALL = "needs the extra 'ical'; install it with: pip install 'slotengine[ical]'"


class Calendars:
    """The calendars of users, relative to a folder, and what is wrong with them."""

    def __init__(self, users: list[Row[UserTable]], folder: Path, now: datetime) -> None:
        self._users = users
        self._texts: dict[str, bytes] = {}
        self.problems = list(self._read(folder, now))

    def of_users(self, schedules: Mapping[int, Schedule]) -> tuple[Calendar, ...]:
        """Return all of them, to be read where their users are."""
        return tuple(
            Calendar(
                f"calendar:{path}", resource_of(user.id), _zone(user, schedules), self._texts[path]
            )
            for _, user in self._users
            for path in user.calendars
        )

    def _read(self, folder: Path, now: datetime) -> Iterator[Problem]:
        for row_key, user in self._users:
            for index, path in enumerate(user.calendars):
                if path in self._texts:
                    continue
                key = f"{row_key}.calendars[{index}]"
                try:
                    text = self._texts[path] = (folder / path).read_bytes()
                    # Where its user is does not matter to whether it can be read.
                    Calendar(path, "", "UTC", text).busy(now)
                except BadCalendar as error:
                    yield Problem(key, f"cannot be read: {error.problem}")
                except OSError as error:
                    yield Problem(key, f"cannot be read: {error.strerror or error}")
                except ValueError as error:  # no possible path
                    yield Problem(key, f"cannot be read: {error}")
                except ModuleNotFoundError as missing:
                    if (missing.name or "").startswith("slotengine"):
                        raise
                    yield Problem(key, _INSTALL)


def _zone(user: UserTable, schedules: Mapping[int, Schedule]) -> str:
    if user.default_schedule_id is None:
        return "UTC"
    return schedules[user.default_schedule_id].zone
