"""Where on the time line the times of a calendar are."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo
from math import prod
from typing import Any, Final

from icalendar import Component
from icalendar.parser import Parameters
from icalendar.prop import vRecur
from icalendar.timezone import TZP

from slotengine.core.instant import to_us
from slotengine.ical.text import each_of, one
from slotengine.ical.trouble import Budget, Trouble

# About what the longest walk costs that a yearly rule of a time zone can lead to.
_ZONE_COST: Final = 10_000

# Knows IANA and Windows names; our own, so that it has no zone of any file.
_NAMED: Final = TZP("zoneinfo")


def _named(name: str) -> tzinfo | None:
    """Return the zone that goes by that name everywhere, if one does."""
    try:
        return _NAMED.timezone(name.strip("/"))
    except (OSError, ValueError):  # a folder of zones; not a possible name
        return None


class Zones:
    """The zones that a calendar's times can be in."""

    def __init__(self, calendar: Component, home: tzinfo, budget: Budget) -> None:
        self.home = home
        self.budget = budget
        self._written = {
            str(one(each, "TZID")): each for each in calendar.walk("VTIMEZONE") if "TZID" in each
        }
        self._found: dict[str, tzinfo] = {}

    def find(self, name: str) -> tzinfo:
        """Return the zone of that name."""
        zone = self._found.get(name) or _named(name)
        if zone is None and name in self._written:
            zone = self._made(self._written[name])
        if zone is None and name.startswith("/"):  # "/vendor/date/Europe/Rome"
            parts = name.split("/")
            tails = ("/".join(parts[first:]) for first in range(2, len(parts)))
            zone = next((zone for tail in tails if (zone := _named(tail))), None)
        if zone is None:
            raise Trouble(f"unknown time zone {name[:80]!r}")
        self._found[name] = zone
        return zone

    def _made(self, component: Any) -> tzinfo:
        for part in component.subcomponents:
            for rule in each_of(part, "RRULE"):
                # So few changes a year that looking for the one before an instant is cheap.
                if rule.get("FREQ") != ["YEARLY"] or len(rule.get("BYMONTH", ())) != 1:
                    raise Trouble("a time zone must change once a year, in one month")
                if times_a_day(rule) > 1:
                    raise Trouble("a time zone must change once a day at most")
                self.budget.spend(_ZONE_COST)
        zone: tzinfo = component.to_tz(_NAMED, lookup_tzid=False)
        return zone

    def moment(self, value: object, params: Parameters) -> date | datetime:
        """Return a value as an aware datetime, or as the date that it is."""
        if not isinstance(value, datetime):
            if not isinstance(value, date):
                raise Trouble("a time is neither a date nor a time of day on a date")
            return value
        if value.tzinfo is not None:
            return value
        name = params.get("TZID")
        return value.replace(tzinfo=self.home if name is None else self.find(str(name)))

    def moment_of(self, component: Component, name: str) -> date | datetime | None:
        """Return the moment that a property tells, if it is there."""
        value = one(component, name)
        return None if value is None else self.moment(value.dt, value.params)

    def period(self, value: object, params: Parameters) -> tuple[datetime, timedelta] | None:
        """Return the start and length of a period, or None if the value is no period."""
        if not isinstance(value, tuple):
            return None
        begin, end = value
        start = self.moment(begin, params)
        assert isinstance(start, datetime)
        if isinstance(end, timedelta):
            return start, positive(end)
        return start, between(start, self.moment(end, params))

    def us(self, moment: date | datetime, zone: tzinfo) -> int:
        """Return where on the time line a wall-clock time of the zone is, or a day's midnight."""
        if not isinstance(moment, datetime):
            moment, zone = datetime.combine(moment, time()), self.home
        return to_us(moment.replace(tzinfo=zone))


def wall(moment: date | datetime, zone: tzinfo) -> date | datetime:
    """Return what the clock on the zone's wall shows; dates are dates everywhere."""
    if not isinstance(moment, datetime):
        return moment
    return moment.astimezone(zone).replace(tzinfo=None)


def between(start: date | datetime, end: date | datetime) -> timedelta:
    """Return the real time between two moments, or the days between two dates."""
    if isinstance(start, datetime) and isinstance(end, datetime):
        return positive(timedelta(microseconds=to_us(end) - to_us(start)))
    if isinstance(start, datetime) or isinstance(end, datetime):
        raise Trouble("it starts on a day and ends at a time of day, or the other way round")
    return positive(end - start)


def positive(length: timedelta) -> timedelta:
    """Return the length, if it is one."""
    if length < timedelta():
        raise Trouble("it ends before it starts")
    return length


def times_a_day(rule: vRecur) -> int:
    """Return how many times of day a rule lists."""
    return prod(len(rule.get(part, ("",))) for part in ("BYHOUR", "BYMINUTE", "BYSECOND"))
