"""Parse the values of properties: times, durations, offsets and rules.

Each function returns None for what it cannot parse.  Values that deviate from the RFC but
can be understood are parsed, and marked as odd.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Final, NamedTuple

from slotengine.ical.recurrence import DAY, HOUR, LAST_WALL, MINUTE, Freq, RecurrenceRule, day_of

UTC: Final = "UTC"

_TIME: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z)?)?", re.ASCII | re.IGNORECASE
)
_ODD_TIME: Final = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d))?(?:[.,]\d+)?\s*"
    r"(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_DURATION: Final = re.compile(
    r"([+-]?)P(?:(\d{1,9})W)?(?:(\d{1,9})D)?"
    r"(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?",
    re.ASCII | re.IGNORECASE,
)
_OFFSET: Final = re.compile(r"([+-]?)(\d\d):?(\d\d)(?::?(\d\d))?", re.ASCII)


class Time(NamedTuple):
    """A date, or a date and a time of day, as it is written."""

    wall: int
    """The local time, as `recurrence` counts it; for a date, its midnight."""
    zone: str | None
    """The name of the time zone, or None if there is no name."""
    is_date: bool


class Duration(NamedTuple):
    """Calendar days, followed by seconds of elapsed time."""

    days: int
    seconds: int

    @property
    def is_none(self) -> bool:
        return not (self.days or self.seconds)


def parse_time(text: str, zone: str | None = None) -> tuple[Time, bool] | None:
    """Return a date or time, and whether it is odd.  ``zone`` applies unless the text has another.

    >>> parse_time("20300109T090000Z", "Europe/Rome")
    (Time(wall=1894179600, zone='UTC', is_date=False), False)
    >>> parse_time("2030-01-09"), parse_time("tomorrow")
    ((Time(wall=1894147200, zone=None, is_date=True), True), None)
    """
    match, is_odd = _TIME.fullmatch(text), False
    if match is None:
        match, is_odd = _ODD_TIME.fullmatch(text.strip()), True
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(each or 0) for each in match.groups()[:6])
    try:
        wall = day_of(date(year, month, day)) * DAY
    except ValueError:
        return None
    if match[4] is None:
        return Time(wall, zone, is_date=True), is_odd
    # A leap second counts as the second before it, as the RFC requires.
    of_day = hour * HOUR + minute * MINUTE + min(second, 59)
    if of_day > DAY or minute > 59 or second > 60 or wall + of_day > LAST_WALL:
        return None
    if match[7]:
        zone = UTC if match[7] in "Zz" else f"UTC{match[7]}"
    return Time(wall + of_day, zone, is_date=False), is_odd or hour == 24


def parse_duration(text: str) -> Duration | None:
    """Return a duration.  A negative one is refused.

    >>> parse_duration("P1DT2H"), parse_duration("-PT1H"), parse_duration("P")
    (Duration(days=1, seconds=7200), None, None)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()[1:]):
        return None
    weeks, days, hours, minutes, seconds = (int(each or 0) for each in match.groups()[1:])
    found = Duration(7 * weeks + days, hours * HOUR + minutes * MINUTE + seconds)
    return None if match[1] == "-" and not found.is_none else found


def parse_offset(text: str) -> int | None:
    """Return an offset from UTC, in seconds; positive is east.

    >>> parse_offset("+0130"), parse_offset("-0500"), parse_offset("noon")
    (5400, -18000, None)
    """
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds = (int(each or 0) for each in match.groups()[1:])
    found = hours * HOUR + minutes * MINUTE + seconds
    if found >= DAY:
        return None
    return -found if match[1] == "-" else found


# --- Rules -------------------------------------------------------------------------------

_WEEKDAYS: Final = {
    name: day for day, name in enumerate(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))
}
_WEEKDAY: Final = re.compile(r"([+-]?\d{1,3})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,9}", re.ASCII)

# The lowest and highest number of each part.  Parts that can count backwards exclude 0.
_LISTS: Final = {
    "BYMONTH": (1, 12),
    "BYWEEKNO": (-53, 53),
    "BYYEARDAY": (-366, 366),
    "BYMONTHDAY": (-31, 31),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 60),
    "BYSETPOS": (-366 * DAY, 366 * DAY),
}
# Combinations that the RFC does not allow.
_NOT_WITH: Final = {
    "BYWEEKNO": frozenset(Freq) - {Freq.YEARLY},
    "BYYEARDAY": frozenset({Freq.DAILY, Freq.WEEKLY, Freq.MONTHLY}),
    "BYMONTHDAY": frozenset({Freq.WEEKLY}),
}
_TIMES_OF_DAY: Final = frozenset({"BYHOUR", "BYMINUTE", "BYSECOND"})
_KNOWN: Final = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "WKST", *_LISTS})


class ParsedRule(NamedTuple):
    """A rule as it is written.  Its UNTIL is not converted to local time yet."""

    rule: RecurrenceRule
    until: Time | None
    odd: list[str]
    """What was ignored in it, or is otherwise not as it should be."""

    def with_until(self, wall: int | None) -> RecurrenceRule:
        """Return the rule with its UNTIL in local time."""
        return replace(self.rule, until=wall)


def parse_rule(text: str, zone: str | None, *, of_dates: bool) -> ParsedRule | None:
    """Return a rule for events that start at times in a zone, or on dates.

    >>> parse_rule("FREQ=DAILY;INTERVAL=2;BYMINUTE=1,2", None, of_dates=True).rule.minutes
    ()
    """
    old = _of_vcalendar(text)
    if old is not None:
        text = old
    odd = ["has an escaped character"] if "\\" in text else []
    odd += ["has the grammar of vCalendar 1.0"] if old is not None else []
    parts = dict(_split(part) for part in text.replace("\\", "").upper().split(";"))
    parts.pop("", None)
    try:
        freq = Freq[parts["FREQ"]]
    except KeyError:
        return None
    if parts.pop("RSCALE", "GREGORIAN") != "GREGORIAN":
        return None
    odd += [f"has the unknown part {name[:20]}" for name in parts if name not in _KNOWN]
    if of_dates:
        parts = {name: value for name, value in parts.items() if name not in _TIMES_OF_DAY}
    lists = {
        name: _numbers(parts[name], low, high, name, odd)
        if name in parts and not _is_excluded(name, freq, odd)
        else ()
        for name, (low, high) in _LISTS.items()
    }
    until = _until(parts, zone, odd)
    read = RecurrenceRule(
        freq,
        interval=_positive(parts, "INTERVAL", odd) or 1,
        count=_positive(parts, "COUNT", odd),
        months=lists["BYMONTH"],
        weeks=lists["BYWEEKNO"],
        year_days=lists["BYYEARDAY"],
        month_days=lists["BYMONTHDAY"],
        weekdays=_weekdays(parts.get("BYDAY", ""), freq, bool(lists["BYWEEKNO"]), odd),
        hours=lists["BYHOUR"],
        minutes=lists["BYMINUTE"],
        seconds=tuple(sorted({min(second, 59) for second in lists["BYSECOND"]})),
        positions=lists["BYSETPOS"],
        week_start=_week_start(parts, odd),
    )
    if read.count is not None and until is not None:
        odd.append("has both COUNT and UNTIL, of which the later counts")
    return ParsedRule(read, until, odd)


_OLD_RULE: Final = re.compile(
    r"(D|W|MP|MD|YM|YD)(\d{1,4})((?: +[A-Z0-9+-]+)*?)(?: +(?:#(\d{1,9})|(\d{8}(?:T\d{6}Z?)?)))?",
    re.ASCII | re.IGNORECASE,
)
_OLD_FREQS: Final = {
    "D": ("DAILY", ""),
    "W": ("WEEKLY", "BYDAY"),
    "MP": ("MONTHLY", "BYDAY"),
    "MD": ("MONTHLY", "BYMONTHDAY"),
    "YM": ("YEARLY", "BYMONTH"),
    "YD": ("YEARLY", "BYYEARDAY"),
}


def _of_vcalendar(text: str) -> str | None:
    """Return a vCalendar 1.0 rule in the grammar of RFC 5545, or None if it is not one.

    Without an end, it has two instances.  With ``#0`` it never ends.

    >>> _of_vcalendar("MP3 2- FR #17"), _of_vcalendar("D2 #0"), _of_vcalendar("FREQ=DAILY")
    ('FREQ=MONTHLY;INTERVAL=3;BYDAY=-2FR;COUNT=17', 'FREQ=DAILY;INTERVAL=2', None)
    """
    match = _OLD_RULE.fullmatch(text.strip())
    if match is None:
        return None
    freq, part = _OLD_FREQS[match[1].upper()]
    values, number = [], ""
    for word in match[3].upper().replace("LD", "1-").split():
        signed = f"-{word[:-1]}" if word.endswith("-") else word.removesuffix("+")
        if match[1].upper() == "MP" and word[0].isdigit():
            number = signed  # applies to the weekdays that follow
        else:
            values.append(f"{number}{signed}")
    read = f"FREQ={freq};INTERVAL={match[2]}"
    if values:
        read += f";{part}={','.join(values)}"
    if match[5]:
        return f"{read};UNTIL={match[5]}"
    return read if match[4] == "0" else f"{read};COUNT={match[4] or 2}"


def _split(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip()


def _is_excluded(name: str, freq: Freq, odd: list[str]) -> bool:
    if freq in _NOT_WITH.get(name, ()):
        odd.append(f"has {name}, which a {freq.name} rule cannot have")
        return True
    return False


def _numbers(text: str, low: int, high: int, name: str, odd: list[str]) -> tuple[int, ...]:
    found = set()
    for each in text.split(","):
        number = int(each) if _NUMBER.fullmatch(each := each.strip()) else None
        if number is None or not low <= number <= high or (number == 0 and low < 0):
            odd.append(f"has {each[:20]!r} in {name}")
        else:
            found.add(number)
    return tuple(sorted(found))


def _weekdays(
    text: str, freq: Freq, has_weeks: bool, odd: list[str]
) -> tuple[tuple[int, int], ...]:
    found = set()
    for each in text.split(",") if text else ():
        match = _WEEKDAY.fullmatch(each.strip())
        if match is None:
            odd.append(f"has {each[:20]!r} in BYDAY")
            continue
        number = int(match[1] or 0)
        if match[1] and (not number or freq < Freq.MONTHLY or has_weeks):
            odd.append(f"has {each[:20]!r} in BYDAY, where a number is not allowed")
            number = 0
        found.add((number, _WEEKDAYS[match[2]]))
    return tuple(sorted(found))


def _positive(parts: dict[str, str], name: str, odd: list[str]) -> int | None:
    if name not in parts:
        return None
    is_number = _NUMBER.fullmatch(parts[name]) is not None
    if is_number and int(parts[name]) > 0:
        return int(parts[name])
    odd.append(f"has {name}={parts[name][:20]!r}")
    return 1 if is_number else None


def _week_start(parts: dict[str, str], odd: list[str]) -> int:
    name = parts.get("WKST", "MO")
    if name not in _WEEKDAYS:
        odd.append(f"has WKST={name[:20]!r}")
    return _WEEKDAYS.get(name, 0)


def _until(parts: dict[str, str], zone: str | None, odd: list[str]) -> Time | None:
    if "UNTIL" not in parts:
        return None
    read = parse_time(parts["UNTIL"], zone)
    if read is None:
        odd.append(f"has UNTIL={parts['UNTIL'][:20]!r}")
        return None
    if read[1]:
        odd.append(f"has UNTIL={parts['UNTIL'][:20]!r}")
    return read[0]
