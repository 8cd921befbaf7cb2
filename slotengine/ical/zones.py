"""The clocks that a calendar's times are read by, and which one a name means.

A name is looked for in the tz database, among the names that Windows has for its
zones, and in the file's own ``VTIMEZONE`` components, in this order: the
database is newer than most files.  Only then is it taken apart: a prefix before
a name of the database, capitals, what Outlook shows in its menus, an offset.
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
    """A clock on a wall; all in seconds since 1970-01-01T00:00:00, there or in UTC."""

    def utc(self, wall: int) -> int:
        """Return when the clock shows that.

        A time that it skips is read by the offset before the change, and of
        one that it shows twice it is the first.
        """

    def wall(self, utc: int) -> int:
        """Return what the clock shows then."""


class FixedOffsetClock(NamedTuple):
    """A clock that is always as far ahead of UTC."""

    offset: int

    def utc(self, wall: int) -> int:
        """Return when the clock shows that."""
        return _within(wall - self.offset)

    def wall(self, utc: int) -> int:
        """Return what the clock shows then."""
        return utc + self.offset


class IanaClock(NamedTuple):
    """The clock of a zone of the tz database."""

    zone: Zone

    def utc(self, wall: int) -> int:
        """Return when the clock shows that."""
        shown = _EPOCH + timedelta(seconds=min(max(wall, FIRST_WALL), LAST_WALL))
        ahead = shown.replace(tzinfo=self.zone.info).utcoffset()
        assert ahead is not None
        return _within(wall - ahead.days * DAY - ahead.seconds)

    def wall(self, utc: int) -> int:
        """Return what the clock shows then."""
        return utc + self.zone.offset(utc * SECOND) // SECOND


class _Change(NamedTuple):
    utc: int
    before: int
    after: int


class _Observance(NamedTuple):
    """A part of a VTIMEZONE: when its offset begins to apply."""

    start: int
    before: int
    after: int
    listed: list[int]
    rules: list[RecurrenceRule]

    def onsets(self, first: int, last: int, budget: Budget) -> Iterator[int]:
        """Yield when, by the clock until then, it begins in a range."""
        yield from (each for each in self.listed if first <= each <= last)
        for each in self.rules:
            yield from instances(each, self.start, first, last, budget.spend)


class VTimezoneClock:
    """The clock that a VTIMEZONE describes, worked out around the years that are asked for."""

    def __init__(self, observances: list[_Observance], budget: Budget) -> None:
        self._observances = observances
        self._budget = budget
        self._years: dict[int, tuple[list[_Change], list[int]]] = {}

    def utc(self, wall: int) -> int:
        """Return when the clock shows that."""
        changes, shown = self._around(wall)
        return _within(wall - self._ahead(changes, bisect_right(shown, wall)))

    def wall(self, utc: int) -> int:
        """Return what the clock shows then."""
        changes, _ = self._around(utc)
        place = bisect_right(changes, utc, key=lambda change: change.utc)
        return utc + self._ahead(changes, place)

    def _ahead(self, changes: list[_Change], place: int) -> int:
        return changes[place - 1].after if place else self._first()

    def _first(self) -> int:
        """Return the offset that applies before all changes."""
        return min(self._observances, key=lambda each: each.start).before

    def _around(self, moment: int) -> tuple[list[_Change], list[int]]:
        """Return the changes about a moment, and from when on the clock shows the time after each.

        There is at least one before it, if there is any.
        """
        year = moment // _YEAR
        if year not in self._years:
            changes = self._worked_out((year - 1) * _YEAR, (year + 2) * _YEAR)
            # By the later of the two offsets, so that what is skipped is read by the earlier.
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
        """Return the last onset before a moment, if there is one."""
        # Rules are yearly, or have ended; what is further back is seldom looked at.
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
    """Return the clock of a zone that is called so in the tz database, or by Windows."""
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
    """Return the clock that a name can only mean, or else the offset that it tells."""
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
    """Return the clock of a name that differs from a zone's only in how it is written."""
    lower = name.lower()
    for each in (lower, lower.replace(" ", "_"), *(lower.replace(sign, "/", 1) for sign in "-_")):
        key = _keys().get(each)
        if key is not None:
            return known_clock(key)
    return None


def _of_place(name: str) -> WallClock | None:
    """Return the clock of a city, or of what Windows shows."""
    plain = re.sub(r"(?: (?:standard|daylight|summer))? time$", "", name)
    key = (
        windows_zones.ZONES_BY_LABEL.get(name)
        or windows_zones.ZONES_BY_NAME.get(f"{plain} standard time")
        or _cities().get(name.replace(" ", "_"))
    )
    return None if key is None else known_clock(key)


def _usual_offsets(clock: WallClock) -> set[int]:
    """Return how far it is ahead in winter and in summer, of a year that is as good as any."""
    return {moment - clock.utc(moment) for moment in (1_893_456_000, 1_909_094_400)}  # 2030


@cache
def _keys() -> dict[str, str]:
    return {key.lower(): key for key in sorted(available_timezones())}


@cache
def _cities() -> dict[str, str]:
    """Return the zones by the last part of their name, such as "rome"."""
    return {key.rpartition("/")[2]: name for key, name in _keys().items() if "/" in key}


# --- Those of a calendar -----------------------------------------------------------------


def _plain(name: str) -> str:
    """Return a name as it is compared: as a property it is escaped, as a parameter quoted."""
    return name.replace("\\", "").strip('"')


class Zones:
    """What the times of one calendar are read by."""

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
            log.add("the calendar", stated[0].line, problem, "it names none")
        self.owner: WallClock = IanaClock(Zone.of(owner)) if owner else clock or FixedOffsetClock(0)
        """The clock of the owner, by which whole days are read."""
        self.default: WallClock = clock or self.owner
        """The clock of times that name no zone."""

    def of(self, name: str) -> WallClock | None:
        """Return the clock that a name means, or None if that is unknown.  O(1) but once."""
        if name not in self._found:
            self._found[name] = self._looked_up(name)
        return self._found[name]

    def readings(self, name: str) -> tuple[WallClock, ...]:
        """Return the clocks that times in an unknown zone are read by."""
        clocks: list[WallClock] = [self.default, self.owner]
        if name in self._offsets:
            clocks[0] = FixedOffsetClock(self._offsets[name])
        return tuple(dict.fromkeys(clocks))

    def _add(self, component: Component) -> None:
        names = component.all("TZID")
        if len(names) != 1:
            self._log.add(
                "VTIMEZONE", component.line, f"it has {len(names)} TZIDs", "it is all of these"
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
        """Return the clock that a VTIMEZONE describes, or None if it does not."""
        parts = chain(component.walk("STANDARD"), component.walk("DAYLIGHT"))
        found = [each for part in parts if (each := self._observance(part)) is not None]
        return VTimezoneClock(found, self._budget) if found else None

    def _observance(self, part: Component) -> _Observance | None:
        start = parse_time(part.value("DTSTART"))
        after = parse_offset(part.value("TZOFFSETTO"))
        before = parse_offset(part.value("TZOFFSETFROM"))
        if start is None or after is None:
            self._log.add(
                "VTIMEZONE", part.line, f"a {part.kind} without a start and an offset", "it is none"
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
                self._log.add("VTIMEZONE", each.line, "RRULE cannot be read", "it is none")
            else:
                yield read.with_until(None if read.until is None else _local(read.until, before))


def _local(until: Time, ahead: int) -> int:
    """Return the UNTIL of an observance by the clock before it."""
    if until.is_date:
        return until.wall + DAY - 1
    return until.wall + ahead if until.zone == UTC else until.wall
