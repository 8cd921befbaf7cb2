"""The time zones of a calendar's local times, and which one a name means.

A name is looked up in the tz database, then among the names that Windows uses, then in
the ``VTIMEZONE`` components of the file.  The database comes first because it is newer
than most files.  If all fail, the name is taken apart: it may have a prefix before an
IANA name, other capitals, a label from Outlook's menus, or an offset.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate, chain
from typing import Final, NamedTuple, Protocol
from zoneinfo import available_timezones

from slotengine.core.time.instant import FIRST_US, LAST_US, SECOND
from slotengine.core.time.zone import Zone
from slotengine.errors import InvalidField
from slotengine.ical import windows_zones
from slotengine.ical.budget import Budget
from slotengine.ical.lines import Component
from slotengine.ical.problems import ProblemLog
from slotengine.ical.recurrence import (
    DAY,
    FIRST_WALL,
    HOUR,
    LAST_WALL,
    MINUTE,
    RecurrenceRule,
    instances,
)
from slotengine.ical.values import UTC, Time, parse_offset, parse_rule, parse_time

FIRST_UTC: Final = FIRST_US // SECOND
LAST_UTC: Final = LAST_US // SECOND

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_YEAR: Final = 366 * DAY


class WallClock(Protocol):
    """Converts between local time and UTC, both in seconds since 1970-01-01T00:00:00."""

    def utc(self, wall: int) -> int:
        """Return the UTC time of a local time.

        A local time that is skipped is read with the offset before the change.  Of a local
        time that occurs twice, this is the first.
        """

    def wall(self, utc: int) -> int:
        """Return the local time at a UTC time."""


class FixedOffsetClock(NamedTuple):
    """A zone with a constant offset from UTC."""

    offset: int

    def utc(self, wall: int) -> int:
        """Return the UTC time of a local time."""
        return _within(wall - self.offset)

    def wall(self, utc: int) -> int:
        """Return the local time at a UTC time."""
        return utc + self.offset


class IanaClock(NamedTuple):
    """A zone of the tz database."""

    zone: Zone

    def utc(self, wall: int) -> int:
        """Return the UTC time of a local time."""
        shown = _EPOCH + timedelta(seconds=min(max(wall, FIRST_WALL), LAST_WALL))
        ahead = shown.replace(tzinfo=self.zone.info).utcoffset()
        assert ahead is not None
        return _within(wall - ahead.days * DAY - ahead.seconds)

    def wall(self, utc: int) -> int:
        """Return the local time at a UTC time."""
        return utc + self.zone.offset(utc * SECOND) // SECOND


class _Change(NamedTuple):
    utc: int
    before: int
    after: int


class _Observance(NamedTuple):
    """A part of a VTIMEZONE: an offset, and when it begins to apply."""

    start: int
    before: int
    after: int
    listed: list[int]
    rules: list[RecurrenceRule]

    def onsets(self, first: int, last: int, budget: Budget) -> Iterator[int]:
        """Yield when it begins within a range, in the local time that applies until then."""
        yield from (each for each in self.listed if first <= each <= last)
        for each in self.rules:
            yield from instances(each, self.start, first, last, budget.spend)


class VTimezoneClock:
    """A zone described by a VTIMEZONE, evaluated a few years at a time."""

    def __init__(self, observances: list[_Observance], budget: Budget) -> None:
        self._observances = observances
        self._budget = budget
        self._years: dict[int, tuple[list[_Change], list[int]]] = {}

    def utc(self, wall: int) -> int:
        """Return the UTC time of a local time."""
        changes, shown = self._around(wall)
        return _within(wall - self._ahead(changes, bisect_right(shown, wall)))

    def wall(self, utc: int) -> int:
        """Return the local time at a UTC time."""
        changes, _ = self._around(utc)
        place = bisect_right(changes, utc, key=lambda change: change.utc)
        return utc + self._ahead(changes, place)

    def _ahead(self, changes: list[_Change], place: int) -> int:
        return changes[place - 1].after if place else self._first()

    def _first(self) -> int:
        """Return the offset before the first change."""
        return min(self._observances, key=lambda each: each.start).before

    def _around(self, moment: int) -> tuple[list[_Change], list[int]]:
        """Return the changes around a moment, and the first local time after each.

        At least one change before the moment is included, if there is any.
        """
        year = moment // _YEAR
        if year not in self._years:
            changes = self._worked_out((year - 1) * _YEAR, (year + 2) * _YEAR)
            # With the larger of the two offsets, so that skipped times get the offset before.
            shown = (each.utc + max(each.before, each.after) for each in changes)
            self._years[year] = changes, list(accumulate(shown, max))
        return self._years[year]

    def _worked_out(self, first: int, last: int) -> list[_Change]:
        found = set()
        for each in self._observances:
            self._budget.spend(len(each.listed))
            onsets = list(each.onsets(first, last, self._budget))
            onsets += self._last_before(each, first)
            found |= {_Change(onset - each.before, each.before, each.after) for onset in onsets}
        return sorted(found)

    def _last_before(self, observance: _Observance, first: int) -> list[int]:
        """Return the last onset before a moment, or an empty list."""
        # Most rules are yearly or have ended, so larger ranges are seldom needed.
        for back in (2 * _YEAR, 20 * _YEAR, first - FIRST_WALL):
            onsets = observance.onsets(max(first - back, FIRST_WALL), first - 1, self._budget)
            last = max(onsets, default=None)
            if last is not None:
                return [last]
            if first - back <= observance.start:
                break
        return []


def _within(utc: int) -> int:
    return min(max(utc, FIRST_UTC), LAST_UTC)


# --- Names -------------------------------------------------------------------------------

_OFFSET: Final = re.compile(
    r"(?:UTC|GMT)?\s*([+-])(\d\d?)(?:[:.]?(\d\d))?", re.ASCII | re.IGNORECASE
)
_SHOWN: Final = re.compile(
    r"\(?\s*(?:UTC|GMT)\s*(?:([+-])\s*(\d\d?)(?:[:.]?(\d\d))?)?\s*\)?\s*(.*)",
    re.ASCII | re.IGNORECASE,
)


def known_clock(name: str) -> WallClock | None:
    """Return the zone with a name in the tz database or in Windows."""
    if name in (UTC, "Z"):
        return FixedOffsetClock(0)
    for key in (name, windows_zones.ZONES_BY_NAME.get(name.lower())):
        if key is not None:
            try:
                return IanaClock(Zone.of(key))
            except InvalidField:
                pass
    return None


def guess_clock(name: str) -> tuple[WallClock | None, int | None]:
    """Return the zone that a name must mean, or else the offset that it contains."""
    parts = name.replace("\\", "/").split("/")
    for tail in range(min(4, len(parts)), 0, -1):  # "/vendor/date/Europe/Rome"
        found = _keyed("/".join(parts[-tail:]).strip())
        if found is not None:
            return found, None
    ahead = _offset_in(_OFFSET.fullmatch(name.strip()))
    if ahead is not None:
        return FixedOffsetClock(ahead), None
    shown = _SHOWN.fullmatch(name.strip())
    ahead, rest = (_offset_in(shown), shown[4]) if shown else (None, name)
    if ahead is not None and not rest:  # "(GMT +01:00)"
        return FixedOffsetClock(ahead), None
    for each in re.split(r"[,;:/]", rest):
        found = _of_place(" ".join(each.lower().replace("&", "and").split()))
        if found is not None and ahead in (None, *_usual_offsets(found)):
            return found, None
    return None, ahead


def _offset_in(match: re.Match[str] | None) -> int | None:
    if match is None or match[2] is None or int(match[2]) > 23:
        return None
    ahead = int(match[2]) * HOUR + int(match[3] or 0) * MINUTE
    return -ahead if match[1] == "-" else ahead


def _keyed(name: str) -> WallClock | None:
    """Return the zone whose name differs only in spelling."""
    lower = name.lower()
    for each in (lower, lower.replace(" ", "_"), *(lower.replace(sign, "/", 1) for sign in "-_")):
        key = _keys().get(each)
        if key is not None:
            return known_clock(key)
    return None


def _of_place(name: str) -> WallClock | None:
    """Return the zone of a city, or of a label in Windows."""
    plain = re.sub(r"(?: (?:standard|daylight|summer))? time$", "", name)
    key = (
        windows_zones.ZONES_BY_LABEL.get(name)
        or windows_zones.ZONES_BY_NAME.get(f"{plain} standard time")
        or _cities().get(name.replace(" ", "_"))
    )
    return None if key is None else known_clock(key)


def _usual_offsets(clock: WallClock) -> set[int]:
    """Return the offsets of a zone in winter and in summer of an arbitrary year."""
    return {moment - clock.utc(moment) for moment in (1_893_456_000, 1_909_094_400)}  # 2030


@cache
def _keys() -> dict[str, str]:
    return {key.lower(): key for key in sorted(available_timezones())}


@cache
def _cities() -> dict[str, str]:
    """Return the zones by the last part of their name, such as "rome"."""
    return {key.rpartition("/")[2]: name for key, name in _keys().items() if "/" in key}


# --- The zones of a calendar -------------------------------------------------------------


def _plain(name: str) -> str:
    """Return a name in the form in which names are compared, without escapes and quotes."""
    return name.replace("\\", "").strip('"')


class Zones:
    """The zones of one calendar's times."""

    def __init__(self, calendar: Component, owner: str | None, budget: Budget, log: ProblemLog):
        self._log = log
        self._budget = budget
        self._written: dict[str, Component] = {}
        for component in calendar.walk("VTIMEZONE"):
            self._add(component)
        self._found: dict[str, WallClock | None] = {}
        self._offsets: dict[str, int] = {}
        stated = calendar.all("X-WR-TIMEZONE")
        name = stated[0].parts()[1].strip('"') if stated else ""
        clock = self.of(name) if name else None
        if name and clock is None:
            problem = f"unknown time zone {name[:80]!r}"
            log.add("the calendar", stated[0].line, problem, "the calendar names no zone")
        self.owner: WallClock = IanaClock(Zone.of(owner)) if owner else clock or FixedOffsetClock(0)
        """The owner's zone, in which whole days are read."""
        self.default: WallClock = clock or self.owner
        """The zone of times that do not name one."""

    def of(self, name: str) -> WallClock | None:
        """Return the zone that a name means, or None if it is unknown.  O(1) once cached."""
        if name not in self._found:
            self._found[name] = self._looked_up(name)
        return self._found[name]

    def readings(self, name: str) -> tuple[WallClock, ...]:
        """Return the zones in which times in an unknown zone are read."""
        clocks: list[WallClock] = [self.default, self.owner]
        if name in self._offsets:
            clocks[0] = FixedOffsetClock(self._offsets[name])
        return tuple(dict.fromkeys(clocks))

    def _add(self, component: Component) -> None:
        names = component.all("TZID")
        if len(names) != 1:
            self._log.add(
                "VTIMEZONE", component.line, f"it has {len(names)} TZIDs", "it defines each of them"
            )
        for name in names:
            self._written.setdefault(_plain(name.parts()[1]), component)

    def _looked_up(self, name: str) -> WallClock | None:
        clock = known_clock(name)
        if clock is None and _plain(name) in self._written:
            clock = self._clock_of(self._written[_plain(name)])
        if clock is None:
            clock, ahead = guess_clock(name)
            if ahead is not None:
                self._offsets[name] = ahead
        return clock

    def _clock_of(self, component: Component) -> WallClock | None:
        """Return the zone that a VTIMEZONE describes, or None if it is unusable."""
        parts = chain(component.walk("STANDARD"), component.walk("DAYLIGHT"))
        found = [each for part in parts if (each := self._observance(part)) is not None]
        return VTimezoneClock(found, self._budget) if found else None

    def _observance(self, part: Component) -> _Observance | None:
        start = parse_time(part.value("DTSTART"))
        after = parse_offset(part.value("TZOFFSETTO"))
        before = parse_offset(part.value("TZOFFSETFROM"))
        if start is None or after is None:
            self._log.add(
                "VTIMEZONE", part.line, f"a {part.kind} lacks a start or an offset", "it is ignored"
            )
            return None
        before = after if before is None else before
        times = [
            found[0].wall
            for dates in part.all("RDATE")
            for each in dates.parts()[1].split(",")
            if (found := parse_time(each.partition("/")[0])) is not None
        ]
        return _Observance(
            start[0].wall, before, after, [start[0].wall, *times], list(self._rules(part, before))
        )

    def _rules(self, part: Component, before: int) -> Iterator[RecurrenceRule]:
        for each in part.all("RRULE"):
            read = parse_rule(each.parts()[1], None, of_dates=False)
            if read is None:
                self._log.add("VTIMEZONE", each.line, "RRULE cannot be read", "it is ignored")
            else:
                yield read.with_until(None if read.until is None else _local(read.until, before))


def _local(until: Time, ahead: int) -> int:
    """Return the UNTIL of an observance in the local time before it."""
    if until.is_date:
        return until.wall + DAY - 1
    return until.wall + ahead if until.zone == UTC else until.wall
