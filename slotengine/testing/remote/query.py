"""The query of ``GET /v2/slots``, read and checked as Cal.com does, with its messages.

Pure.  All problems of a query end in one `HttpError` 400.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from slotengine.calcom.wire import HttpError, parse_timestamp
from slotengine.core.time.instant import EPOCH


class ByEventType(NamedTuple):
    """One event type, by its id."""

    id: int


class ByUser(NamedTuple):
    """A user's event type, by its slug."""

    username: str
    slug: str
    organization: str | None


class ByTeam(NamedTuple):
    """A team's event type, by its slug."""

    team: str
    slug: str
    organization: str | None


class Dynamic(NamedTuple):
    """Several users of an organization, all together."""

    usernames: tuple[str, ...]
    organization: str


Target = ByEventType | ByUser | ByTeam | Dynamic


class Query(NamedTuple):
    """A search.  Equal queries may be answered from the cache."""

    target: Target
    start: datetime
    end: datetime
    zone: str | None
    duration_min: int | None
    ranges: bool
    reschedule: str | None
    host_ids: tuple[int, ...]


_COMMON: Final = frozenset({
    "start", "end", "timeZone", "duration", "format", "bookingUidToReschedule", "rrHostSubsetIds",
})  # fmt: skip

# The first group whose names are all present decides; then these names are allowed too.
_GROUPS: Final[tuple[tuple[frozenset[str], frozenset[str]], ...]] = (
    (frozenset({"eventTypeId"}), frozenset()),
    (frozenset({"username", "eventTypeSlug"}), frozenset({"organizationSlug"})),
    (frozenset({"teamSlug", "eventTypeSlug"}), frozenset({"organizationSlug"})),
    (frozenset(), frozenset({"usernames", "organizationSlug"})),
)

_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)  # what follows is ignored


def parse_query(items: Iterable[tuple[str, str]]) -> Query:
    """Read a decoded query.  Raises `HttpError` 400 with all problems.

    >>> sent = {"eventTypeId": "1", "start": "2050-09-05", "end": "2050-09-06"}
    >>> parse_query(sent.items()).end.isoformat()
    '2050-09-06T23:59:59+00:00'
    """
    sent: dict[str, list[str]] = {}
    for name, value in items:
        sent.setdefault(name.removesuffix("[]"), []).append(value)
    return _Reader(sent).read()


class _Reader:
    """Reads one query, and collects its problems."""

    def __init__(self, sent: Mapping[str, list[str]]) -> None:
        self._sent = sent
        self._wrong: dict[str, list[str]] = {}

    def read(self) -> Query:
        needed, more = next(group for group in _GROUPS if group[0] <= self._sent.keys())
        for name in self._sent.keys() - (needed | more | _COMMON):
            self._blame(name, f"property {name} should not exist")
        target = self._target(needed)
        query = Query(
            target,
            self._instant("start"),
            _end_of_day(self._instant("end")),
            self._zone(),
            self._integer("duration") if "duration" in self._sent else None,
            self._ranges(),
            self._optional("bookingUidToReschedule"),
            tuple(int(one) for one in self._listed("rrHostSubsetIds") if _INTEGER.fullmatch(one)),
        )
        if self._wrong:
            raise HttpError(400, ", ".join(self._told()))
        return query

    def _told(self) -> list[str]:
        ordered = sorted(self._wrong.items(), key=lambda item: list(self._order()).index(item[0]))
        return [f"{name} property is wrong,{', '.join(texts)} " for name, texts in ordered]

    def _order(self) -> Iterable[str]:
        """Yield names as they were sent, then the missing ones."""
        return dict.fromkeys((*self._sent, *self._wrong))

    def _blame(self, name: str, text: str) -> None:
        self._wrong.setdefault(name, []).append(text)

    def _target(self, needed: frozenset[str]) -> Target:
        if "eventTypeId" in needed:
            return ByEventType(self._integer("eventTypeId"))
        if "username" in needed:
            return ByUser(
                self._text("username"),
                self._text("eventTypeSlug"),
                self._optional("organizationSlug"),
            )
        if "teamSlug" in needed:
            return ByTeam(
                self._text("teamSlug"),
                self._text("eventTypeSlug"),
                self._optional("organizationSlug"),
            )
        usernames = tuple(self._listed("usernames"))
        if len(usernames) < 2:
            self._blame("usernames", "The array must contain at least 2 elements.")
        return Dynamic(usernames, self._text("organizationSlug"))

    # --- One parameter each: a problem is noted, and some value returned -----------------

    def _text(self, name: str) -> str:
        values = self._sent.get(name, [])
        if len(values) != 1:
            self._blame(name, f"{name} must be a string")
            return ""
        return values[0]

    def _optional(self, name: str) -> str | None:
        return self._text(name) if name in self._sent else None

    def _listed(self, name: str) -> list[str]:
        return [part.strip() for value in self._sent.get(name, []) for part in value.split(",")]

    def _instant(self, name: str) -> datetime:
        values = self._sent.get(name, [])
        read = parse_timestamp(values[0]) if len(values) == 1 else None
        if read is None or read.moment is None:
            self._blame(name, f"{name} must be a valid ISO 8601 date string")
            return EPOCH  # not used
        return read.moment

    def _integer(self, name: str) -> int:
        values = self._sent[name]
        found = _INTEGER.match(values[0]) if len(values) == 1 else None
        if found is None:
            self._blame(name, f"{name} must be a number conforming to the specified constraints")
            return 0
        return int(found[0])

    def _zone(self) -> str | None:
        if "timeZone" not in self._sent:
            return None
        values = self._sent["timeZone"]
        with contextlib.suppress(ValueError, KeyError, OSError):  # ZoneInfo may raise any of them
            if len(values) == 1:
                return ZoneInfo(values[0]).key
        self._blame("timeZone", "timeZone must be a valid IANA time-zone")
        return None

    def _ranges(self) -> bool:
        asked = (self._optional("format") or "time").lower()
        if asked not in {"time", "range"}:
            self._blame("format", "slotFormat must be either 'range' or 'time'")
        return asked == "range"


def _end_of_day(end: datetime) -> datetime:
    """Return the actual end: a midnight, with or without a time, means the whole day."""
    return end + timedelta(days=1, seconds=-1) if end.time() == time.min else end
