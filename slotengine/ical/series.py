"""The instances of the events that share a UID.

A series is worked out on the wall clock of its zone, where each instance has a
plain time of day whatever the season; only then is each placed on the time line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

import recurring_ical_events
from icalendar import Calendar, Component, Event
from icalendar.prop import vDDDLists, vDDDTypes, vRecur

from slotengine.core.instant import FIRST_US, LAST_US, MICROSECOND, from_us
from slotengine.ical.rules import bound
from slotengine.ical.text import each_of
from slotengine.ical.trouble import Trouble
from slotengine.ical.zones import Zones, times_a_day, wall

_LAST_SECOND: Final = time(23, 59, 59)
# Wider than any zone is from UTC, so that no instance at the range's edges is missed.
_MARGIN: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Version:
    """What one VEVENT tells: all of a series, or one instance of it."""

    event: Component
    name: str
    """What to call it in an error."""
    uid: str
    sequence: int
    busy: bool
    start: date | datetime
    length: timedelta
    """In real time, or in days if it starts on a day; zero if it is not busy."""
    instance: date | datetime | None
    """Which instance it tells of, if it is not the whole series."""


def instances(
    series: list[Version], zones: Zones, begin: int, finish: int
) -> Iterator[tuple[int, int]]:
    """Yield the instances of a series that are in the range, and perhaps some near it."""
    main = max(series, key=lambda version: (version.instance is None, version.sequence))
    zone = zones.home
    if isinstance(main.start, datetime):
        assert main.start.tzinfo is not None
        zone = main.start.tzinfo
    calendar, longest = Calendar(), timedelta()
    for version in series:
        plain, period = _plain(version, main, zone, zones)
        calendar.add_component(plain)
        longest = max(longest, period)
    reach = longest + max(_reach(version, zone, zones) for version in series)
    first, last = _moved(begin, -(_MARGIN + longest), reach), _moved(finish, _MARGIN, reach)
    for rules in recurring_ical_events.CalendarQuery(calendar).series:
        bound(rules, zones.budget)
        for instance in rules.between(first, last):
            length = instance.end - instance.start
            if not length:
                continue
            left = zones.us(instance.start, zone)
            if isinstance(instance.start, datetime):
                right = left + length // MICROSECOND
            else:
                right = zones.us(instance.end, zone)
            if left < right:  # a zone may skip a whole day
                yield left, right


def _reach(version: Version, zone: tzinfo, zones: Zones) -> timedelta:
    """Return how far from where the rule puts it an instance may end."""
    if version.instance is None:
        return version.length
    moved = zones.us(wall(version.start, zone), zone) - zones.us(wall(version.instance, zone), zone)
    return version.length + abs(moved) * MICROSECOND


def _moved(us: int, by: timedelta, reach: timedelta) -> datetime:
    """Return a moment as a wall clock in UTC shows it, so much later.

    It stays so far within the calendar that the library can go on by the reach.
    """
    room = reach // MICROSECOND
    us = min(max(us + by // MICROSECOND, FIRST_US + room), LAST_US - room)
    return from_us(us).replace(tzinfo=None)


def _plain(version: Version, main: Version, zone: tzinfo, zones: Zones) -> tuple[Event, timedelta]:
    """Return the event on the zone's wall clock, and the longest period that it lists.

    Its end is its start and its length, so that however far an instance is
    from its end on the wall clock, it lasts that long in real time.
    """
    event, plain = version.event, Event()
    start = wall(version.start, zone)
    plain["UID"] = "1"
    plain["SEQUENCE"] = version.sequence
    plain["DTSTART"] = vDDDTypes(start)
    plain["DTEND"] = vDDDTypes(start + version.length)
    if version.instance is not None:
        instance, first = wall(version.instance, zone), wall(main.start, zone)
        if isinstance(first, datetime) and not isinstance(instance, datetime):
            instance = datetime.combine(instance, first.time())  # some name it by its day alone
        plain["RECURRENCE-ID"] = vDDDTypes(instance)
        reach = str(event["RECURRENCE-ID"].params.get("RANGE", "")).upper()
        if reach:
            plain["RECURRENCE-ID"].params["RANGE"] = reach
        return plain, timedelta()
    added = [each for listed in each_of(event, "RDATE") for each in _dates(listed, zone, zones)]
    if not version.busy:
        added = [each[0] if isinstance(each, tuple) else each for each in added]
    if added:
        plain["RDATE"] = vDDDLists(added)
    left_out = [each for listed in each_of(event, "EXDATE") for each in _dates(listed, zone, zones)]
    if left_out:
        plain["EXDATE"] = vDDDLists(left_out)
    if rules := [_rule(each, start, zone, zones) for each in each_of(event, "RRULE")]:
        plain["RRULE"] = rules
    return plain, max((each[1] for each in added if isinstance(each, tuple)), default=timedelta())


def _dates(
    listed: vDDDLists, zone: tzinfo, zones: Zones
) -> Iterator[date | datetime | tuple[date | datetime, timedelta]]:
    """Yield what an RDATE or EXDATE lists, on the zone's wall clock."""
    for each in listed.dts:
        period = zones.period(each.dt, listed.params)
        if period is None:
            yield wall(zones.moment(each.dt, listed.params), zone)
        else:
            yield wall(period[0], zone), period[1]


def _rule(rule: vRecur, start: date | datetime, zone: tzinfo, zones: Zones) -> vRecur:
    """Return the rule with its UNTIL on the zone's wall clock."""
    if rule.get("INTERVAL", [1])[0] < 1:
        raise Trouble("its rule has an INTERVAL of less than 1")
    if "COUNT" in rule and "UNTIL" in rule:
        raise Trouble("its rule has both COUNT and UNTIL")
    zones.budget.spend(times_a_day(rule))
    if "UNTIL" not in rule:
        return rule
    (until,) = rule["UNTIL"]
    if isinstance(until, datetime):
        until = wall(until, zone) if until.tzinfo is not None else until
        until = until if isinstance(start, datetime) else rule["UNTIL"][0].date()
    elif isinstance(start, datetime):
        until = datetime.combine(until, _LAST_SECOND)
    plain = vRecur(rule)
    plain["UNTIL"] = [until]
    return plain
