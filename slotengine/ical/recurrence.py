"""Compute the instances of a recurrence rule (RFC 5545, section 3.3.10) in local time.

This module knows nothing of time zones.  A time is a local time, in seconds since
1970-01-01T00:00:00 local time, and a day is a number of days since then.  Other modules
decide whether such a local time exists, and which instant it is.

A rule is evaluated one period at a time.  The periods follow from FREQ and INTERVAL, and
the first is the one that contains DTSTART.  The full set of each period is computed by
the RFC's table, including times before DTSTART, because BYSETPOS selects from that set.
Then times up to DTSTART are dropped.  DTSTART is always the first instance, and is
included in COUNT.

Where the RFC leaves a choice:

- With BYWEEKNO, years consist of whole weeks.  A year's first week may begin in December of
  the calendar year before, and DTSTART belongs to the year of its week.
- BYWEEKNO, BYYEARDAY and BYMONTHDAY restrict each other: a day must match all of them.
- A part that the RFC does not allow with the FREQ (such as BYWEEKNO in a monthly rule) is
  ignored, and so is a number in BYDAY where none is allowed.  `values` takes care of that.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = date(1970, 1, 1).toordinal()
FIRST_DAY: Final = date.min.toordinal() - _EPOCH
LAST_DAY: Final = date.max.toordinal() - _EPOCH
FIRST_WALL: Final = FIRST_DAY * DAY
LAST_WALL: Final = (LAST_DAY + 1) * DAY - 1

Spend = Callable[[int], None]


class Freq(IntEnum):
    """The length of a rule's periods, from the shortest to the longest."""

    SECONDLY = 0
    MINUTELY = 1
    HOURLY = 2
    DAILY = 3
    WEEKLY = 4
    MONTHLY = 5
    YEARLY = 6


@dataclass(frozen=True, slots=True)
class RecurrenceRule:
    """A recurrence rule.  Each part is sorted and without repetitions; a missing part is empty."""

    freq: Freq
    interval: int = 1
    count: int | None = None
    until: int | None = None
    """The last local time at which there may be an instance."""
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    """Pairs of a number in the month or year, 0 for every one, and a weekday.  Monday is 0."""
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 0


def day_of(day: date) -> int:
    """Return the number of a date, counted from 0 for 1970-01-01."""
    return day.toordinal() - _EPOCH


def instances(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[int]:
    """Yield the instances from ``first`` to ``last``, in order, of a rule that starts at ``start``.

    Each step calls ``spend``, which can end the evaluation by raising.  A step is a period,
    a day that is tested, or an instance that is found.  A rule with COUNT is evaluated from
    its start, any other rule from ``first``.
    """
    assert rule.interval >= 1
    number = 1
    first, last = max(first, start), min(last, LAST_WALL)
    if first <= start <= last:
        yield start
    if _is_over(rule, start + 1, number + 1):
        return
    origin = first if rule.count is None else start
    for moment in _matches(rule, start, origin, last, spend):
        if moment <= start:
            continue
        number += 1
        if moment > last or _is_over(rule, moment, number):
            return
        if moment >= first:
            spend(1)
            yield moment


def has_instance(rule: RecurrenceRule, start: int, moment: int, spend: Spend) -> bool:
    """Return whether the rule has an instance at a moment."""
    return any(True for _ in instances(rule, start, moment, moment, spend))


def matches_start(rule: RecurrenceRule, start: int, spend: Spend) -> bool:
    """Return whether the rule itself matches DTSTART, which is an instance in any case."""
    return any(moment == start for moment in _matches(rule, start, start, start, spend))


def _is_over(rule: RecurrenceRule, moment: int, number: int) -> bool:
    """Return whether the rule ended before its instance with a number, at a moment.

    A rule must not have both COUNT and UNTIL.  If it has, the later of the two ends it.
    """
    counted = rule.count is not None and number > rule.count
    if rule.until is None:
        return counted
    return moment > rule.until and (rule.count is None or counted)


def _matches(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[int]:
    """Yield the sets of all periods from that of ``first`` to that of ``last``, in order."""
    if first > last:
        return
    if rule.freq >= Freq.DAILY:
        times = _times(rule, start, spend)
        for days in _PERIODS[rule.freq](rule, start // DAY, first // DAY, last // DAY, spend):
            yield from _picked(rule, days, times, spend)
    else:
        yield from _within_days(rule, start, first, last, spend)


def _picked(rule: RecurrenceRule, days: list[int], times: list[int], spend: Spend) -> Iterator[int]:
    if not rule.positions:
        for day in days:
            for time in times:
                yield day * DAY + time
        return
    spend(len(days) * len(times))
    yield from _at_positions(rule, [day * DAY + time for day in days for time in times])


def _at_positions(rule: RecurrenceRule, found: list[int]) -> list[int]:
    if not rule.positions:
        return found
    places = (place - 1 if place > 0 else len(found) + place for place in rule.positions)
    return [found[place] for place in sorted({each for each in places if 0 <= each < len(found)})]


def _times(rule: RecurrenceRule, start: int, spend: Spend) -> list[int]:
    """Return the times of day of instances, in seconds."""
    hours = rule.hours or (start % DAY // HOUR,)
    minutes = rule.minutes or (start % HOUR // MINUTE,)
    seconds = rule.seconds or (start % MINUTE,)
    spend(len(hours) * len(minutes) * len(seconds))
    return [
        hour * HOUR + minute * MINUTE + second
        for hour in hours
        for minute in minutes
        for second in seconds
    ]


# --- Days, weeks, months, years ----------------------------------------------------------


def _steps(interval: int, base: int, target: int) -> int:
    """Return how many intervals fit between the base and the target."""
    return max(0, (target - base) // interval)


def _daily(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[list[int]]:
    day = start + _steps(rule.interval, start, first) * rule.interval
    while day <= last:
        spend(1)
        if _is_in(rule, day):
            yield [day]
        day += rule.interval


def _weekly(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[list[int]]:
    base = _week_start(start, rule.week_start)
    weekdays = {day for _, day in rule.weekdays} or {_weekday(start)}
    offsets = sorted((day - rule.week_start) % 7 for day in weekdays)
    step = 7 * rule.interval
    week = base + _steps(step, base, first - 6) * step
    while week <= last:
        spend(1)
        days = [week + offset for offset in offsets]
        yield [each for each in days if _is_date(each) and _is_in_month(rule, each)]
        week += step


def _monthly(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[list[int]]:
    base, lowest = _month_number(start), _month_number(first)
    number = base + _steps(rule.interval, base, lowest) * rule.interval
    while number <= _month_number(last):
        spend(1)
        year, month = divmod(number, 12)
        if not rule.months or month + 1 in rule.months:
            days = _days_of_month(rule, year, month + 1, _date(start).day)
            spend(len(days))
            yield days
        number += rule.interval


def _days_of_month(rule: RecurrenceRule, year: int, month: int, usual: int) -> list[int]:
    first, length = _month(year, month)
    if not rule.month_days and rule.weekdays:
        return _expanded(rule.weekdays, first, length)
    days = _numbered(rule.month_days or (usual,), first, length)
    return [day for day in days if _is_on_weekday(rule, day, first, length)]


def _yearly(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[list[int]]:
    year, lowest, highest = _date(start).year, _date(first).year, _date(last).year
    days_of_year = _days_of_year
    if rule.weeks:
        # A year of whole weeks may begin in the calendar year before, and end in the next.
        year, lowest, highest = _week_year(start, rule.week_start), lowest - 1, highest + 1
        days_of_year = _days_of_weeks
    year += _steps(rule.interval, year, lowest) * rule.interval
    while year <= highest:
        spend(1)
        days = days_of_year(rule, year, _date(start), spend)
        spend(len(days))
        yield days
        year += rule.interval


def _days_of_year(rule: RecurrenceRule, year: int, start: date, spend: Spend) -> list[int]:
    months = rule.months or range(1, 13)
    first, length = _new_year(year), 366 if isleap(year) else 365
    if rule.year_days:
        days = _numbered(rule.year_days, first, length)
        spend(len(days))
        return [day for day in days if _is_in(rule, day)]
    if rule.month_days:
        spend(len(months) * len(rule.month_days))
        days = [day for month in months for day in _numbered(rule.month_days, *_month(year, month))]
        return [day for day in days if _is_in(rule, day)]
    if rule.weekdays and rule.months:
        spans = [_month(year, month) for month in rule.months]
        return [day for span in spans for day in _expanded(rule.weekdays, *span)]
    if rule.weekdays:
        return _expanded(rule.weekdays, first, length)
    months = rule.months or (start.month,)
    return [day for month in months for day in _numbered((start.day,), *_month(year, month))]


def _days_of_weeks(rule: RecurrenceRule, year: int, start: date, spend: Spend) -> list[int]:
    first = _first_week(year, rule.week_start)
    count = (_first_week(year + 1, rule.week_start) - first) // 7
    weekdays = {day for _, day in rule.weekdays}
    if not (weekdays or rule.year_days or rule.month_days):
        weekdays = {start.weekday()}
    weeks = {week if week > 0 else count + 1 + week for week in rule.weeks}
    starts = [first + 7 * (week - 1) for week in sorted(weeks) if 1 <= week <= count]
    spend(7 * len(starts))
    return [
        day
        for monday in starts
        for day in range(monday, monday + 7)
        if _is_date(day)
        and (not weekdays or _weekday(day) in weekdays)
        and _is_in_month(rule, day)
        and _is_on_year_day(rule, day)
        and _is_on_month_day(rule, day)
    ]


_PERIODS: Final = {
    Freq.DAILY: _daily,
    Freq.WEEKLY: _weekly,
    Freq.MONTHLY: _monthly,
    Freq.YEARLY: _yearly,
}


# --- Hours, minutes, seconds -------------------------------------------------------------

_UNITS: Final = {Freq.SECONDLY: 1, Freq.MINUTELY: MINUTE, Freq.HOURLY: HOUR}


def _within_days(
    rule: RecurrenceRule, start: int, first: int, last: int, spend: Spend
) -> Iterator[int]:
    unit = _UNITS[rule.freq]
    base = start - start % unit
    step = rule.interval * unit
    inner = _inner(rule, start, spend)
    moment = base + _steps(step, base, first - unit) * step
    while moment <= last:
        spend(1)
        after = _skipped(rule, moment)
        if after is None:
            yield from _at_positions(rule, [moment + each for each in inner])
            after = moment + step
        # Continue with the rule's first period that does not begin earlier.
        moment = base + -(-(after - base) // step) * step


def _inner(rule: RecurrenceRule, start: int, spend: Spend) -> list[int]:
    """Return the positions of the instances within a period."""
    if rule.freq is Freq.SECONDLY:
        return [0]
    seconds = rule.seconds or (start % MINUTE,)
    if rule.freq is Freq.MINUTELY:
        return list(seconds)
    minutes = rule.minutes or (start % HOUR // MINUTE,)
    spend(len(minutes) * len(seconds))
    return [minute * MINUTE + second for minute in minutes for second in seconds]


def _skipped(rule: RecurrenceRule, moment: int) -> int | None:
    """Return None if the period may have instances, or else the end of the time without any."""
    if not _is_in(rule, moment // DAY):
        return moment - moment % DAY + DAY
    if rule.hours and moment % DAY // HOUR not in rule.hours:
        return moment - moment % HOUR + HOUR
    if rule.freq is Freq.HOURLY:
        return None
    if rule.minutes and moment % HOUR // MINUTE not in rule.minutes:
        return moment - moment % MINUTE + MINUTE
    if rule.freq is Freq.SECONDLY and rule.seconds and moment % MINUTE not in rule.seconds:
        return moment + 1
    return None


# --- Days ----------------------------------------------------------------------------


def _is_in(rule: RecurrenceRule, day: int) -> bool:
    """Return whether a day matches the parts that restrict days."""
    return (
        _is_in_month(rule, day)
        and _is_on_year_day(rule, day)
        and _is_on_month_day(rule, day)
        and (not rule.weekdays or _is_on_weekday(rule, day, *_around(rule, day)))
    )


def _around(rule: RecurrenceRule, day: int) -> tuple[int, int]:
    """Return the month or year in which weekdays are numbered, as first day and length."""
    found = _date(day)
    if rule.freq is Freq.YEARLY and not rule.months:
        return _new_year(found.year), 366 if isleap(found.year) else 365
    return _month(found.year, found.month)


def _is_in_month(rule: RecurrenceRule, day: int) -> bool:
    return not rule.months or _date(day).month in rule.months


def _is_on_year_day(rule: RecurrenceRule, day: int) -> bool:
    if not rule.year_days:
        return True
    year = _date(day).year
    number, length = day - _new_year(year) + 1, 366 if isleap(year) else 365
    return number in rule.year_days or number - length - 1 in rule.year_days


def _is_on_month_day(rule: RecurrenceRule, day: int) -> bool:
    if not rule.month_days:
        return True
    found = _date(day)
    length = monthrange(found.year, found.month)[1]
    return found.day in rule.month_days or found.day - length - 1 in rule.month_days


def _is_on_weekday(rule: RecurrenceRule, day: int, first: int, length: int) -> bool:
    """Return whether a day is one of the rule's weekdays, numbered within a span of days."""
    if not rule.weekdays:
        return True
    forward, backward = (day - first) // 7 + 1, -((first + length - 1 - day) // 7) - 1
    return any(
        weekday == _weekday(day) and number in (0, forward, backward)
        for number, weekday in rule.weekdays
    )


def _expanded(weekdays: Iterable[tuple[int, int]], first: int, length: int) -> list[int]:
    """Return the days of a span that match the weekdays."""
    found = set()
    for number, weekday in weekdays:
        day = first + (weekday - _weekday(first)) % 7
        every = range(day, first + length, 7)
        if not number:
            found |= set(every)
        elif -len(every) <= number <= len(every):
            found.add(every[number - 1 if number > 0 else number])
    return sorted(found)


def _numbered(numbers: Iterable[int], first: int, length: int) -> list[int]:
    """Return the days of a span by number, counted from 1 or, backwards, from -1."""
    places = (number - 1 if number > 0 else length + number for number in numbers)
    return sorted({first + place for place in places if 0 <= place < length})


def _date(day: int) -> date:
    return date.fromordinal(day + _EPOCH)


def _is_date(day: int) -> bool:
    return FIRST_DAY <= day <= LAST_DAY


def _weekday(day: int) -> int:
    return (day + 3) % 7  # 1970-01-01 was a Thursday


def _week_start(day: int, first: int) -> int:
    return day - (_weekday(day) - first) % 7


def _month_number(day: int) -> int:
    found = _date(day)
    return 12 * found.year + found.month - 1


def _month(year: int, month: int) -> tuple[int, int]:
    """Return the first day of a month and its length."""
    return day_of(date(year, month, 1)), monthrange(year, month)[1]


def _new_year(year: int) -> int:
    """Return the first day of a year.  Works for years just outside the calendar as well."""
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 + 1 - _EPOCH


def _first_week(year: int, first: int) -> int:
    """Return the first day of the first week with at least four days in the year."""
    week = _week_start(_new_year(year), first)
    return week if _new_year(year) - week <= 3 else week + 7


def _week_year(day: int, first: int) -> int:
    """Return the year to which the week of a day belongs."""
    year = _date(day).year
    if day < _first_week(year, first):
        return year - 1
    return year + (day >= _first_week(year + 1, first))
