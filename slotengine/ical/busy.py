"""Which spans of a range a calendar takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Final

from icalendar import Component

from slotengine.core.instant import MICROSECOND, from_us, to_us
from slotengine.core.proposal import is_count
from slotengine.core.schedule import FixedWindows
from slotengine.core.zone import Zone
from slotengine.errors import InvalidField
from slotengine.ical.series import Version, instances
from slotengine.ical.text import each_of, one, parsed, word
from slotengine.ical.trouble import Budget, Trouble, about
from slotengine.ical.zones import Zones, between, positive

MAX_EVENTS: Final = 500_000
"""How many instances of its events a file may take to read, those before the range included."""

_DAY: Final = timedelta(days=1)


def busy_spans(
    text: str | bytes,
    start: datetime,
    end: datetime,
    *,
    zone: str = "UTC",
    max_events: int = MAX_EVENTS,
) -> list[tuple[datetime, datetime]]:
    r"""Return when, in ``[start, end)``, the calendar's owner is busy.

    The spans are in UTC and in order, joined where they overlap or touch, and
    clipped to the range: they are all that the calendar says of the range, and
    nothing else.  ``zone`` is where its owner is; times that name no zone, and
    whole days, are read there.

    >>> from datetime import UTC
    >>> text = '''BEGIN:VCALENDAR
    ... BEGIN:VEVENT
    ... UID:1
    ... DTSTART;TZID=Europe/Rome:20300107T090000
    ... DURATION:PT1H
    ... RRULE:FREQ=DAILY;COUNT=3
    ... EXDATE;TZID=Europe/Rome:20300108T090000
    ... END:VEVENT
    ... END:VCALENDAR'''
    >>> day = datetime(2030, 1, 7, tzinfo=UTC)
    >>> for begin, finish in busy_spans(text, day, day + timedelta(days=7)):
    ...     print(begin, finish)
    2030-01-07 08:00:00+00:00 2030-01-07 09:00:00+00:00
    2030-01-09 08:00:00+00:00 2030-01-09 09:00:00+00:00

    What counts:

    - Events, and the periods of free/busy components that are not ``FREE``.
      To-dos and journals take no time.
    - Not what is cancelled (``STATUS``) or transparent (``TRANSP``; where that
      is absent, Microsoft's busy status ``FREE``).  Tentative is busy.  That a
      guest has declined is not looked at: a file does not say which guest it is of.
    - ``RRULE``, ``RDATE`` and ``EXDATE``; an instance that was moved, cancelled or
      changed (``RECURRENCE-ID``), also with all that follow it (``THISANDFUTURE``).
    - Of two versions of one event or instance the higher ``SEQUENCE``.  If that tells no
      difference, or if they stand in two calendars of the file, both count.

    When it is:

    - An instance starts at the same wall-clock time in summer and in winter, and
      lasts as long in real time as the first.  A start that a change of the clock
      skips is read by the offset before the change; one that it repeats is the first.
    - A zone is looked up by its IANA name, then by its Windows name, then in the
      file's own ``VTIMEZONE`` components.  One that is nowhere is refused.
    - A day lasts from midnight to midnight in ``zone``.  An event of whole days
      without an end, or that ends on the day it starts, lasts that day; any other
      event without an end or a duration takes no time.
    - ``DURATION`` is real time, a day being 24 hours, except for whole days.
    - ``UNTIL`` with a date lets the rule run until the end of that date.

    O(n log n) for n instances, counted from the first one of each event, so the
    past of a calendar has its price.  ``max_events`` bounds n, and with it the
    steps of rules that seldom or never match.  A megabyte of single events takes
    more than a second: in an event loop, read what is large in a thread.

    :raises BadCalendar: if the text is no calendar, is cut short, has an event
        (or time zone, or free/busy component) that cannot be read or has more
        than ``max_events`` instances.
    :raises InvalidField: if a time is naive, the end not after the start, the
        zone unknown, or ``max_events`` no positive whole number.
    """
    begin, finish = to_us(start, "start"), to_us(end, "end")
    if begin >= finish:
        raise InvalidField("end", "must be after the start")
    if not is_count(max_events):
        raise InvalidField("max_events", f"must be a positive whole number, not {max_events!r}")
    home = Zone.of(zone).info
    budget = Budget(max_events)
    spans = [
        span
        for calendar in parsed(text)
        for span in _spans(calendar, Zones(calendar, home, budget), begin, finish)
    ]
    busy = FixedWindows(spans).windows(begin, finish)
    return [(from_us(left), from_us(right)) for left, right in busy]


def _spans(calendar: Component, zones: Zones, begin: int, finish: int) -> Iterator[tuple[int, int]]:
    """Yield when the calendar is busy, at least in the range, in no order."""
    for number, component in enumerate(calendar.walk("VFREEBUSY"), 1):
        with about(_name(component, "free/busy component", number)):
            yield from _periods(component, zones)
    for series in _series(calendar, zones):
        with about(series[0].name):
            if any(version.busy for version in series):
                yield from instances(series, zones, begin, finish)


def _name(component: Component, kind: str, number: int) -> str:
    uid = component.get("UID")
    return f"{kind} {uid[:80]!r}" if isinstance(uid, str) and uid else f"{kind} number {number}"


def _periods(component: Component, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yield the periods of a free/busy component that are not free."""
    for value in each_of(component, "FREEBUSY"):
        if str(value.params.get("FBTYPE", "BUSY")).upper() == "FREE":
            continue
        period = zones.period(value.dt, value.params)
        assert period is not None  # what the library has read as one is one
        start, length = to_us(period[0]), period[1] // MICROSECOND
        if length:
            yield start, start + length


def _series(calendar: Component, zones: Zones) -> Iterable[list[Version]]:
    """Return the events of the calendar, those of one UID together."""
    found: dict[object, list[Version]] = {}
    seen: set[tuple[str, int, date | datetime | None]] = set()
    for number, event in enumerate(calendar.walk("VEVENT"), 1):
        name = _name(event, "event", number)
        with about(name):
            version = _version(event, name, zones)
        alike = version.uid, version.sequence, version.instance
        # Nothing tells which of two alike is the newer, so each is a series of its own.
        key: object = number if not version.uid or alike in seen else version.uid
        seen.add(alike)
        found.setdefault(key, []).append(version)
    return found.values()


def _version(event: Component, name: str, zones: Zones) -> Version:
    for bad, _ in event.errors:
        raise Trouble(f"{bad or 'a line of it'} cannot be read")
    instance = zones.moment_of(event, "RECURRENCE-ID")
    start = zones.moment_of(event, "DTSTART")
    if start is None:
        raise Trouble("it has no DTSTART")
    busy = not _is_free(event)
    length = _length(event, start, zones) if busy else timedelta()
    uid, sequence = str(one(event, "UID") or ""), int(one(event, "SEQUENCE") or 0)
    return Version(event, name, uid, sequence, busy, start, length, instance)


def _is_free(event: Component) -> bool:
    transparency = word(event, "TRANSP")
    return (
        word(event, "STATUS") == "CANCELLED"
        or transparency == "TRANSPARENT"
        or (not transparency and word(event, "X-MICROSOFT-CDO-BUSYSTATUS") == "FREE")
    )


def _length(event: Component, start: date | datetime, zones: Zones) -> timedelta:
    """Return how long the event lasts, in real time, or in days if it starts on a day."""
    end, duration = zones.moment_of(event, "DTEND"), one(event, "DURATION")
    whole_days = not isinstance(start, datetime)
    if duration is None:
        length = timedelta() if end is None else between(start, end)
        return max(length, _DAY) if whole_days else length
    if end is not None:
        raise Trouble("it has both DTEND and DURATION")
    length = positive(duration.dt)
    if whole_days and (length % _DAY or not length):
        raise Trouble("it starts on a day, and its DURATION is not in days")
    return length
