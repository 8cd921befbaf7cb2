"""The spans in which a calendar is busy."""

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
"""The default budget: the steps of work for one file, each about as costly as one instance."""


class BusyTime(NamedTuple):
    """What a calendar says about a range of time."""

    spans: list[tuple[datetime, datetime]]
    """When its owner is busy: in UTC, in order, joined where spans overlap or touch."""
    problems: list[Problem]
    """What could not be read as it is written, and what was assumed, in no particular order.

    There are at most 1,000.  If the result is incomplete, one of them says why."""
    complete: bool
    """False if reading ended early: the file is truncated, or ``max_events`` was used up."""


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
    """Return the spans in which the calendar's owner is busy within ``[start, end)``.

    The spans are in UTC and in order, joined where they overlap or touch, and clipped to the
    range.  ``zone`` is the IANA name of the owner's time zone, if it is known.

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

    Whatever can be read is read.  Whatever cannot be read counts as busy, as far as it is
    known.  Both are reported in ``problems``:

    >>> cut = busy_spans(text.partition("EXDATE")[0], day, day + timedelta(days=7))
    >>> len(cut.spans), cut.complete
    (3, False)
    >>> print(cut.problems[0])
    the file, line 6: it is truncated: END:VEVENT is missing; assumed: its readable part counts

    What counts as busy:

    - Events, and the periods of free/busy components other than ``FREE``.  To-dos and journals
      take no time.
    - Not events that are cancelled (``STATUS``) or transparent (``TRANSP`` or, if it is
      missing, Microsoft's busy status ``FREE``).  Tentative events are busy.
    - Not events that the ``owner`` has declined.  ``owner`` is the address, or several
      addresses, under which they are invited (``ATTENDEE``).  Without it, no event counts as
      declined.
    - Instances that ``RRULE`` and ``RDATE`` add, except those that ``EXDATE`` and the obsolete
      ``EXRULE`` remove.  Instances that were moved, cancelled or changed (``RECURRENCE-ID``)
      count as changed; with ``THISANDFUTURE`` so do all later ones.
    - Of two versions of an event or instance, the one with the higher ``SEQUENCE``.  If the numbers
      are equal, or the two are in different calendars of the file, both count.

    When it is busy:

    - Rules follow RFC 5545, in the local time of the event's zone.  An instance starts at the
      same time of day in summer and in winter.  ``DTSTART`` is always the first instance, and is
      included in ``COUNT``, whether or not the rule matches it.
    - In ``DURATION``, days are calendar days, which end at the same time of day, and hours are
      elapsed time.  In the night in which clocks go back, ``P1D`` lasts 25 hours and ``PT24H``
      lasts 24.  With ``DTEND``, every instance has the same elapsed time as the first.
    - A start that is skipped by a change of the clock is read with the offset before the change.
      A start that is repeated is the first of the two.
    - A zone is looked up by its IANA name, then by its Windows name, then in the ``VTIMEZONE``
      components of the file.  Last, the name is taken apart: ``UTC+01``, for example, means one
      hour ahead of UTC.
    - Times without a zone are in the calendar's zone (``X-WR-TIMEZONE``), or else in ``zone``, or
      else in UTC.  Whole days are in ``zone``, or else in the calendar's zone, or else in UTC.
    - A whole-day event without an end, or with an end on its first day, lasts that day.  Any
      other event without an end and a duration takes no time.
    - With a date for ``UNTIL``, a rule runs until the end of that date.  A rule for whole days runs
      to the end of the day of its ``UNTIL``, in UTC or in ``zone``, whichever is later.

    What is assumed, and reported:

    - A time in an unknown zone is busy at two times: in the calendar's zone (or at the offset
      that the name contains), and in ``zone``.
    - An event that starts on a date and ends at a time starts at 00:00 of the date.  An event that
      starts at a time and ends on a date ends at 00:00 of the date, in the zone of the start or in
      ``zone``, whichever is later.
    - If an end cannot be read, or is before the start, the event or period lasts a day.  Of several
      ends or durations, the longest counts.  An end without a zone is in the zone of the start.
    - An event without a readable start takes no time.  If a rule cannot be read, the first
      instance counts.
    - If the file is truncated, its readable part counts.

    O(n log n) for n instances.  ``max_events`` limits the work for the rules of the file, in
    steps of about the cost of one instance.  A rule without ``COUNT`` is evaluated within the
    range only.  Steps are counted, not timed, so the same file gives the same result everywhere.
    When they are used up, the instances found so far count.  Apart from that, time and memory
    grow with the size of the file, by about 0.5 s for a megabyte.  In an event loop, read large
    files in a thread.

    :raises BadCalendar: if the text is not a calendar; with ``strict``, for the first problem.
    :raises InvalidField: if ``text`` is neither str nor bytes, a time is naive, the end is not
        after the start, the zone is unknown, or ``max_events`` is not a positive whole number.
    """
    begin, finish = to_us(start, "start"), to_us(end, "end")
    if begin >= finish:
        raise InvalidField("end", f"must be after the start, which is {start}, not {end}")
    if not is_count(max_events):
        raise InvalidField("max_events", f"must be a positive whole number, not {max_events!r}")
    if not isinstance(text, str | bytes):
        raise InvalidField("text", f"must be str or bytes, not {type(text).__name__}")
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
    # Events without a rule cost nothing.  They come first, so that they always count.
    for series in sorted(by_uid(events), key=lambda series: any(each.rules for each in series)):
        with log.guard(series[0].name, series[0].line):
            timeline.add(series)


def _addresses(owner: object) -> list[str]:
    """Return one address, or several, as a list.  Raises `InvalidField`."""
    several = [owner] if isinstance(owner, str) else owner
    if isinstance(several, Collection):
        addresses = [one for one in several if isinstance(one, str)]
        if len(addresses) == len(several):
            return addresses
    raise InvalidField("owner", f"must be an address or a collection of them, not {owner!r}")
