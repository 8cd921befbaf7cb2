"""Which spans of a range a calendar takes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from slotengine.core.ledger.checks import is_count
from slotengine.core.time.instant import SECOND, from_us, to_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.zone import Zone
from slotengine.errors import InvalidField
from slotengine.ical.budget import Budget
from slotengine.ical.events import normalized_address, read_event, read_periods
from slotengine.ical.lines import Component, parse_calendars
from slotengine.ical.problems import Problem, ProblemLog
from slotengine.ical.series import BusyCollector, by_uid
from slotengine.ical.zones import Zones

MAX_EVENTS: Final = 500_000
"""How many steps of work a file may take, each of about what one instance of a rule costs."""


class BusyTime(NamedTuple):
    """What a calendar says of a range of time."""

    spans: list[tuple[datetime, datetime]]
    """When its owner is busy: in UTC, in order, joined where they overlap or touch."""
    problems: list[Problem]
    """What could not be read as it stands, and what was assumed, in no order: 1,000 at most,
    of which one says why the result is not complete, if it is not."""
    complete: bool
    """False if reading ended early: the file is cut short, or ``max_events`` are spent."""


def busy_spans(
    text: str | bytes,
    start: datetime,
    end: datetime,
    *,
    zone: str | None = None,
    owner: str | Collection[str] = (),
    max_events: int = MAX_EVENTS,
    strict: bool = False,
) -> BusyTime:
    """Return when, in ``[start, end)``, the calendar's owner is busy.

    The spans are in UTC and in order, joined where they overlap or touch, and
    clipped to the range: they are all that the calendar says of the range, and
    nothing else.  ``zone`` is where its owner is, if that is known.

    >>> from datetime import UTC, timedelta
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
    >>> busy = busy_spans(text, day, day + timedelta(days=7))
    >>> for begin, finish in busy.spans:
    ...     print(begin, finish)
    2030-01-07 08:00:00+00:00 2030-01-07 09:00:00+00:00
    2030-01-09 08:00:00+00:00 2030-01-09 09:00:00+00:00
    >>> busy.problems, busy.complete
    ([], True)

    What can be read is read, what cannot counts as busy as far as it is known,
    and both are told in ``problems``:

    >>> cut = busy_spans(text.partition("EXDATE")[0], day, day + timedelta(days=7))
    >>> len(cut.spans), cut.complete
    (3, False)
    >>> print(cut.problems[0])
    the file, line 6: it is cut short: END:VEVENT is missing; assumed: what is there counts

    What counts:

    - Events, and the periods of free/busy components that are not ``FREE``.
      To-dos and journals take no time.
    - Not what is cancelled (``STATUS``) or transparent (``TRANSP``; where that
      is absent, Microsoft's busy status ``FREE``).  Tentative is busy.
    - Not what the ``owner`` has declined: the address, or several, under which they
      are a guest (``ATTENDEE``).  Without it nobody is known to have declined.
    - ``RRULE``, ``RDATE``, ``EXDATE`` and the old ``EXRULE``; an instance that was
      moved, cancelled or changed (``RECURRENCE-ID``), also with all that follow it
      (``THISANDFUTURE``).
    - Of two versions of one event or instance the higher ``SEQUENCE``.  If that tells no
      difference, or if they stand in two calendars of the file, both count.

    When it is:

    - Rules are those of RFC 5545, worked out on the wall clock of the event's zone:
      an instance starts at the same time of day in summer and in winter.  ``DTSTART``
      is always the first one, and ``COUNT`` counts it, whether the rule matches it or not.
    - ``DURATION`` has days as the calendar has them, from 12:00 to 12:00, and hours
      of real time: the night that clocks go back, ``P1D`` lasts 25 hours and ``PT24H``
      24.  With ``DTEND`` every instance lasts as long in real time as the first.
    - A start that a change of the clock skips is read by the offset before the change;
      one that it repeats is the first.
    - A zone is looked up by its IANA name, then by its Windows name, then in the
      file's own ``VTIMEZONE`` components, then as what else is known of such names:
      ``UTC+01`` is one hour east.
    - Times without a zone are read in the one that the calendar names
      (``X-WR-TIMEZONE``), or else in ``zone``, or else in UTC.  Whole days are those
      of ``zone``, or else of the calendar's zone, or else of UTC.
    - An event of whole days without an end, or that ends on the day it starts, lasts
      that day; any other event without an end or a duration takes no time.
    - ``UNTIL`` with a date lets the rule run until the end of that date.  A rule of whole
      days runs to the end of the day that its ``UNTIL`` is on, in UTC or by ``zone``, whichever
      is later.

    What is assumed, and told:

    - A time in an unknown zone is busy at two readings: in the calendar's zone (or at
      the offset that the name tells), and in ``zone``.
    - An event that starts on a date and ends at a time is busy from 00:00 of the date; one
      that starts at a time and ends on a date, until 00:00 of that, in the zone of the start
      or in ``zone``, whichever is later.
    - An end that cannot be read, or is before the start: the event, or the period, lasts a day.  Of
      several ends or durations the longest counts.  An end without a zone is in that
      of the start.
    - An event without a start that can be read takes no time.  Of a rule that cannot
      be read, the first instance counts.
    - Of a file that is cut short, what is there counts.

    O(n log n) for n instances.  ``max_events`` bounds the work for the rules of the file,
    in steps of about what one instance costs; a rule without ``COUNT`` is worked out
    in the range alone.  A step is counted, not timed: the same file gives the same
    result everywhere.  When they are spent, the instances found so far stand.  Beside
    that, time and memory grow with the size of the file, some 0.5 s for a megabyte: in
    an event loop, read what is large in a thread.

    :raises BadCalendar: if the text is no calendar at all; if ``strict``, for the first
        problem that there is.
    :raises InvalidField: if the text is neither text nor bytes, a time is naive, the end
        not after the start, the zone unknown, or ``max_events`` no positive whole number.
    """
    begin, finish = to_us(start, "start"), to_us(end, "end")
    if begin >= finish:
        raise InvalidField("end", "must be after the start")
    if not is_count(max_events):
        raise InvalidField("max_events", f"must be a positive whole number, not {max_events!r}")
    if not isinstance(text, str | bytes):
        raise InvalidField("text", f"must be text or bytes, not {type(text).__name__}")
    if zone is not None:
        Zone.of(zone)
    owners = frozenset(map(normalized_address, _addresses(owner)))
    log, budget = ProblemLog(strict=strict), Budget(max_events)
    spans: list[tuple[int, int]] = []
    for calendar in parse_calendars(text, log):
        zones = Zones(calendar, zone, budget, log)
        timeline = BusyCollector(zones, begin // SECOND, -(-finish // SECOND), budget, log)
        _add_all(calendar, zones, timeline, owners - {""}, log)
        spans += timeline.spans
    windows = FixedWindows((left * SECOND, right * SECOND) for left, right in spans)
    busy = [(from_us(left), from_us(right)) for left, right in windows.windows(begin, finish)]
    return BusyTime(busy, log.problems, log.complete)


def _add_all(
    calendar: Component,
    zones: Zones,
    timeline: BusyCollector,
    owner: frozenset[str],
    log: ProblemLog,
) -> None:
    for number, component in enumerate(calendar.walk("VFREEBUSY"), 1):
        with log.guard(f"free/busy component number {number}", component.line):
            name, found = read_periods(component, number, log)
            for period in found:
                timeline.add_period(name, component.line, period)
    events = []
    for number, component in enumerate(calendar.walk("VEVENT"), 1):
        with log.guard(f"event number {number}", component.line):
            read = read_event(component, number, owner, log)
            if read is not None:
                events.append(read)
    # Those without a rule first: they cost nothing, so that they are there whatever is spent.
    for series in sorted(by_uid(events), key=lambda series: any(each.rules for each in series)):
        with log.guard(series[0].name, series[0].line):
            timeline.add(series)


def _addresses(owner: object) -> list[str]:
    """Return the addresses that one, or several, are.  Raises `InvalidField`."""
    several = [owner] if isinstance(owner, str) else owner
    if isinstance(several, Collection):
        addresses = [one for one in several if isinstance(one, str)]
        if len(addresses) == len(several):
            return addresses
    raise InvalidField("owner", f"must be an address, or several, not {owner!r}")
