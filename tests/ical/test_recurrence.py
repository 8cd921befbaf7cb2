"""The instances of rules, compared with tables made by hand and with a naive model."""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.ical.budget import Budget, BudgetSpent
from slotengine.ical.recurrence import DAY, LAST_WALL, Freq, RecurrenceRule, has_instance, instances
from slotengine.ical.values import parse_rule, parse_time

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001


def seconds(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds())


def shown(wall: int, *, is_date: bool) -> str:
    moment = EPOCH + timedelta(seconds=wall)
    return f"{moment:%Y-%m-%d}" if is_date else f"{moment:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def expanded(start: str, text: str, limit: int = 6) -> list[str]:
    """Return the first instances of a rule, up to a number."""
    read_start = parse_time(start)
    assert read_start is not None
    moment, _ = read_start
    read = parse_rule(text, None, of_dates=moment.is_date)
    assert read is not None
    until = None if read.until is None else read.until.wall + (DAY - 1) * read.until.is_date
    found = []
    rule = read.with_until(until)
    for wall in instances(rule, moment.wall, moment.wall, LAST_WALL, Budget(10**6).spend):
        found.append(shown(wall, is_date=moment.is_date))
        if len(found) == limit:
            break
    return found


# --- By hand -----------------------------------------------------------------------------

# Each part with each FREQ: the dates, or the times, that the table of the RFC (section 3.3.10)
# makes of it.  2030-01-01 is a Tuesday; 2028 is a leap year.
TABLE: Final = [
    # BYMONTH limits, but for YEARLY.
    (
        "20300131T100000",
        "YEARLY;BYMONTH=1,2,3;COUNT=4",
        "2030-01-31 2030-03-31 2031-01-31 2031-03-31",
    ),
    ("20300115T100000", "MONTHLY;BYMONTH=1,6;COUNT=3", "2030-01-15 2030-06-15 2031-01-15"),
    (
        "20300115T100000",
        "MONTHLY;INTERVAL=5;BYMONTH=1,6;COUNT=3",
        "2030-01-15 2030-06-15 2035-01-15",
    ),
    ("20300129T100000", "WEEKLY;BYMONTH=1,6;COUNT=3", "2030-01-29 2030-06-04 2030-06-11"),
    ("20300131T100000", "DAILY;BYMONTH=1,12;COUNT=3", "2030-01-31 2030-12-01 2030-12-02"),
    (
        "20300131T233000",
        "HOURLY;BYMONTH=1,3;COUNT=3",
        "2030-01-31 23:30, 2030-03-01 00:30, 2030-03-01 01:30",
    ),
    (
        "20300131T235930",
        "MINUTELY;BYMONTH=1,3;COUNT=3",
        "2030-01-31 23:59:30, 2030-03-01 00:00:30, 2030-03-01 00:01:30",
    ),
    (
        "20300131T235959",
        "SECONDLY;BYMONTH=1,3;COUNT=3",
        "2030-01-31 23:59:59, 2030-03-01 00:00, 2030-03-01 00:00:01",
    ),
    # BYWEEKNO expands a year, by the weekday of DTSTART if no BYDAY says otherwise.
    ("20300102T100000", "YEARLY;BYWEEKNO=1,20;COUNT=3", "2030-01-02 2030-05-15 2031-01-01"),
    (
        "20300102T100000",
        "YEARLY;BYWEEKNO=1;BYDAY=WE,FR;COUNT=3",
        "2030-01-02 2030-01-04 2031-01-01",
    ),
    ("20261231T100000", "YEARLY;BYWEEKNO=53;COUNT=2", "2026-12-31 2032-12-30"),
    ("20261231T100000", "YEARLY;BYWEEKNO=-1;COUNT=3", "2026-12-31 2027-12-30 2028-12-28"),
    # Weeks over the end of the year: week 1 of 2031 begins on Monday, 30 December 2030.
    (
        "20291231T100000",
        "YEARLY;BYWEEKNO=1;BYDAY=MO;COUNT=4",
        "2029-12-31 2030-12-30 2031-12-29 2033-01-03",
    ),
    (
        "20270101T100000",
        "YEARLY;BYWEEKNO=53;BYDAY=FR,SA;COUNT=3",
        "2027-01-01 2027-01-02 2032-12-31",
    ),
    (
        "20291231T100000",
        "YEARLY;INTERVAL=2;BYWEEKNO=1;BYDAY=MO;COUNT=3",
        "2029-12-31 2031-12-29 2034-01-02",
    ),
    (
        "20300101T100000",
        "YEARLY;BYWEEKNO=1;BYMONTH=12;BYDAY=MO,TU;COUNT=3",
        "2030-01-01 2030-12-30 2030-12-31",
    ),
    # With weeks from Sunday, the first of 2026 is that of 4 January: it has four days and more.
    ("20260104T100000", "YEARLY;BYWEEKNO=1;BYDAY=SU;WKST=SU;COUNT=2", "2026-01-04 2027-01-03"),
    # BYYEARDAY expands a year, and limits what is shorter than a day.
    ("20280229T100000", "YEARLY;BYYEARDAY=60;COUNT=3", "2028-02-29 2029-03-01 2030-03-01"),
    ("20281231T100000", "YEARLY;BYYEARDAY=366;COUNT=2", "2028-12-31 2032-12-31"),
    ("20300101T100000", "YEARLY;BYYEARDAY=-365,-1;COUNT=3", "2030-01-01 2030-12-31 2031-01-01"),
    (
        "20300101T100000",
        "YEARLY;BYYEARDAY=1,32,60;BYMONTH=1,2;COUNT=3",
        "2030-01-01 2030-02-01 2031-01-01",
    ),
    (
        "20300101T230000",
        "HOURLY;BYYEARDAY=1,-1;COUNT=3",
        "2030-01-01 23:00, 2030-12-31 00:00, 2030-12-31 01:00",
    ),
    (
        "20300101T235930",
        "MINUTELY;BYYEARDAY=1,3;COUNT=2",
        "2030-01-01 23:59:30, 2030-01-03 00:00:30",
    ),
    ("20300101T235959", "SECONDLY;BYYEARDAY=1,3;COUNT=2", "2030-01-01 23:59:59, 2030-01-03 00:00"),
    # BYMONTHDAY expands years and months, and limits days and what is shorter.
    ("20300131T100000", "YEARLY;BYMONTHDAY=31;COUNT=3", "2030-01-31 2030-03-31 2030-05-31"),
    (
        "20280229T100000",
        "YEARLY;BYMONTH=2;BYMONTHDAY=-1;COUNT=3",
        "2028-02-29 2029-02-28 2030-02-28",
    ),
    (
        "20300131T100000",
        "MONTHLY;BYMONTHDAY=-1,15;COUNT=4",
        "2030-01-31 2030-02-15 2030-02-28 2030-03-15",
    ),
    (
        "20300131T100000",
        "DAILY;BYMONTHDAY=-1,1;COUNT=4",
        "2030-01-31 2030-02-01 2030-02-28 2030-03-01",
    ),
    ("20300131T233000", "HOURLY;BYMONTHDAY=-1;COUNT=2", "2030-01-31 23:30, 2030-02-28 00:30"),
    (
        "20300131T235930",
        "MINUTELY;BYMONTHDAY=31;COUNT=2",
        "2030-01-31 23:59:30, 2030-03-31 00:00:30",
    ),
    ("20300131T235959", "SECONDLY;BYMONTHDAY=31;COUNT=2", "2030-01-31 23:59:59, 2030-03-31 00:00"),
    # BYDAY: notes 1 and 2.
    ("20300101T100000", "YEARLY;BYDAY=1TU,-1TU;COUNT=3", "2030-01-01 2030-12-31 2031-01-07"),
    ("20301231T100000", "YEARLY;BYDAY=53TU;COUNT=2", "2030-12-31 2036-12-30"),
    ("20300101T100000", "YEARLY;BYDAY=TU;COUNT=3", "2030-01-01 2030-01-08 2030-01-15"),
    (
        "20300129T100000",
        "YEARLY;BYMONTH=1;BYDAY=-1TU,5WE;COUNT=3",
        "2030-01-29 2030-01-30 2031-01-28",
    ),
    (
        "20300913T100000",
        "YEARLY;BYMONTHDAY=13;BYDAY=FR;COUNT=3",
        "2030-09-13 2030-12-13 2031-06-13",
    ),
    (
        "20300101T100000",
        "YEARLY;BYYEARDAY=1,2,3;BYDAY=TU,TH;COUNT=3",
        "2030-01-01 2030-01-03 2031-01-02",
    ),
    (
        "20300913T100000",
        "MONTHLY;BYMONTHDAY=13;BYDAY=FR;COUNT=3",
        "2030-09-13 2030-12-13 2031-06-13",
    ),
    (
        "20300101T100000",
        "MONTHLY;BYDAY=1TU,-1FR;COUNT=4",
        "2030-01-01 2030-01-25 2030-02-05 2030-02-22",
    ),
    ("20300129T100000", "MONTHLY;BYDAY=5TU;COUNT=3", "2030-01-29 2030-04-30 2030-07-30"),
    ("20300128T100000", "MONTHLY;BYDAY=MO;COUNT=3", "2030-01-28 2030-02-04 2030-02-11"),
    (
        "20300101T100000",
        "WEEKLY;BYDAY=TU,SU;COUNT=4",
        "2030-01-01 2030-01-06 2030-01-08 2030-01-13",
    ),
    (
        "20300101T100000",
        "WEEKLY;INTERVAL=2;BYDAY=TU,SU;COUNT=4",
        "2030-01-01 2030-01-06 2030-01-15 2030-01-20",
    ),
    (
        "20300101T100000",
        "WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU;COUNT=4",
        "2030-01-01 2030-01-13 2030-01-15 2030-01-27",
    ),
    (
        "20300101T100000",
        "DAILY;INTERVAL=2;BYDAY=TU,TH;COUNT=4",
        "2030-01-01 2030-01-03 2030-01-15 2030-01-17",
    ),
    ("20300101T233000", "HOURLY;BYDAY=TU;COUNT=2", "2030-01-01 23:30, 2030-01-08 00:30"),
    ("20300101T235930", "MINUTELY;BYDAY=TU;COUNT=2", "2030-01-01 23:59:30, 2030-01-08 00:00:30"),
    ("20300101T235959", "SECONDLY;BYDAY=TU;COUNT=2", "2030-01-01 23:59:59, 2030-01-08 00:00"),
    # BYHOUR, BYMINUTE and BYSECOND expand what is longer, and limit what is not.
    (
        "20300101T090507",
        "YEARLY;BYHOUR=9,17;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 17:05:07, 2031-01-01 09:05:07",
    ),
    (
        "20300101T090507",
        "MONTHLY;BYMINUTE=5,45;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 09:45:07, 2030-02-01 09:05:07",
    ),
    (
        "20300101T090507",
        "WEEKLY;BYSECOND=7,8;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 09:05:08, 2030-01-08 09:05:07",
    ),
    (
        "20300101T090507",
        "DAILY;BYHOUR=9,10;BYMINUTE=5,6;COUNT=5",
        "2030-01-01 09:05:07, 2030-01-01 09:06:07, 2030-01-01 10:05:07, "
        "2030-01-01 10:06:07, 2030-01-02 09:05:07",
    ),
    (
        "20300101T090507",
        "HOURLY;BYHOUR=9,11;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 11:05:07, 2030-01-02 09:05:07",
    ),
    (
        "20300101T090507",
        "HOURLY;BYMINUTE=5,6;BYSECOND=7;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 09:06:07, 2030-01-01 10:05:07",
    ),
    ("20300101T095907", "MINUTELY;BYHOUR=9,11;COUNT=2", "2030-01-01 09:59:07, 2030-01-01 11:00:07"),
    (
        "20300101T090507",
        "MINUTELY;BYMINUTE=5,7;BYSECOND=7,9;COUNT=4",
        "2030-01-01 09:05:07, 2030-01-01 09:05:09, 2030-01-01 09:07:07, 2030-01-01 09:07:09",
    ),
    ("20300101T095959", "SECONDLY;BYHOUR=9,11;COUNT=2", "2030-01-01 09:59:59, 2030-01-01 11:00"),
    ("20300101T090559", "SECONDLY;BYMINUTE=5,7;COUNT=2", "2030-01-01 09:05:59, 2030-01-01 09:07"),
    (
        "20300101T090507",
        "SECONDLY;BYSECOND=7,9;COUNT=3",
        "2030-01-01 09:05:07, 2030-01-01 09:05:09, 2030-01-01 09:06:07",
    ),
    (
        "20300101T090500",
        "SECONDLY;INTERVAL=7;BYSECOND=0,7;COUNT=4",
        "2030-01-01 09:05, 2030-01-01 09:05:07, 2030-01-01 09:12, 2030-01-01 09:12:07",
    ),
    ("20300101T090507", "DAILY;BYSECOND=60;COUNT=2", "2030-01-01 09:05:07, 2030-01-01 09:05:59"),
    # BYSETPOS picks from the whole period, also from before DTSTART in the first one.
    (
        "20301023T090000",
        "WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,3;COUNT=3",
        "2030-10-23 2030-10-28 2030-10-30",
    ),
    (
        "20300131T100000",
        "MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3",
        "2030-01-31 2030-02-28 2030-03-29",
    ),
    (
        "20301231T100000",
        "YEARLY;BYDAY=TU;BYSETPOS=1,-1;COUNT=3",
        "2030-12-31 2031-01-07 2031-12-30",
    ),
    (
        "20300101T120000",
        "DAILY;BYHOUR=6,12,18;BYSETPOS=2,-1;COUNT=3",
        "2030-01-01 12:00, 2030-01-01 18:00, 2030-01-02 12:00",
    ),
    (
        "20300101T090507",
        "HOURLY;BYMINUTE=1,5,9;BYSETPOS=2;COUNT=2",
        "2030-01-01 09:05:07, 2030-01-01 10:05:07",
    ),
    (
        "20300101T090507",
        "MINUTELY;BYSECOND=1,7,9;BYSETPOS=2;COUNT=2",
        "2030-01-01 09:05:07, 2030-01-01 09:06:07",
    ),
    (
        "20300101T090507",
        "SECONDLY;BYSECOND=7,9;BYSETPOS=1;COUNT=2",
        "2030-01-01 09:05:07, 2030-01-01 09:05:09",
    ),
    ("20300101T100000", "MONTHLY;BYMONTHDAY=1,2;BYSETPOS=5;COUNT=2", "2030-01-01"),
    # What is not a date is left out.
    ("20280229T100000", "YEARLY;COUNT=3", "2028-02-29 2032-02-29 2036-02-29"),
    ("20300131T100000", "MONTHLY;COUNT=3", "2030-01-31 2030-03-31 2030-05-31"),
    ("20300130T100000", "MONTHLY;INTERVAL=13;COUNT=3", "2030-01-30 2032-03-30 2033-04-30"),
    # DTSTART is the first instance, and counted, whatever the rule says.
    ("20300102T100000", "WEEKLY;BYDAY=FR;COUNT=3", "2030-01-02 2030-01-04 2030-01-11"),
    ("20300102T100000", "YEARLY;BYMONTH=2;BYMONTHDAY=30;UNTIL=22000101", "2030-01-02"),
    ("20300102T100000", "DAILY;UNTIL=20300104T100000", "2030-01-02 2030-01-03 2030-01-04"),
    ("20300102T100000", "DAILY;UNTIL=20300104T095959", "2030-01-02 2030-01-03"),
    ("20300102T100000", "DAILY;UNTIL=20300104", "2030-01-02 2030-01-03 2030-01-04"),
    ("20300102T100000", "DAILY;UNTIL=20291231", "2030-01-02"),
    ("20300102T100000", "DAILY;COUNT=1", "2030-01-02"),
    # Of dates, the times of the day are left out.
    ("20301018", "DAILY;INTERVAL=2;BYMINUTE=1,2,3,4;COUNT=3", "2030-10-18 2030-10-20 2030-10-22"),
    ("20301018", "WEEKLY;BYHOUR=9,10;BYSECOND=3;COUNT=2", "2030-10-18 2030-10-25"),
    # What may not be in a rule of that FREQ, or has a number that may not be there.
    ("20300101T100000", "MONTHLY;BYWEEKNO=20;COUNT=2", "2030-01-01 2030-02-01"),
    ("20300101T100000", "DAILY;BYYEARDAY=100;COUNT=2", "2030-01-01 2030-01-02"),
    ("20300101T100000", "WEEKLY;BYMONTHDAY=30;COUNT=2", "2030-01-01 2030-01-08"),
    ("20300101T100000", "WEEKLY;BYDAY=2TU;COUNT=2", "2030-01-01 2030-01-08"),
    ("20300101T100000", "YEARLY;BYWEEKNO=1;BYDAY=1TU;COUNT=2", "2030-01-01 2030-12-31"),
]


@pytest.mark.parametrize(("start", "rule", "dates"), TABLE, ids=[row[1] for row in TABLE])
def test_a_rule_worked_out_by_hand(start: str, rule: str, dates: str) -> None:
    expected = dates.split(", ") if ":" in dates else dates.split()
    found = expanded(start, f"FREQ={rule}")
    if ":" not in dates:
        found = [each.partition(" ")[0] for each in found]
    assert found == expected


OLD: Final = {
    "D3 #3": "FREQ=DAILY;INTERVAL=3;COUNT=3",
    "D1": "FREQ=DAILY;COUNT=2",
    "W2 TU TH #5": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;COUNT=5",
    "W1 MO 20300201": "FREQ=WEEKLY;BYDAY=MO;UNTIL=20300201",
    "MP3 2- FR 1+ MO TU #7": "FREQ=MONTHLY;INTERVAL=3;BYDAY=-2FR,1MO,1TU;COUNT=7",
    "MD3 20 LD 2- #7": "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=20,-1,-2;COUNT=7",
    "YM2 5 1 #4": "FREQ=YEARLY;INTERVAL=2;BYMONTH=1,5;COUNT=4",
    "YD1 141 1 #4": "FREQ=YEARLY;BYYEARDAY=1,141;COUNT=4",
    "md1 1 #0": "FREQ=MONTHLY;BYMONTHDAY=1",
}


@pytest.mark.parametrize(("old", "new"), OLD.items(), ids=OLD)
def test_rules_of_vcalendar_are_read(old: str, new: str) -> None:
    assert expanded("20300101T100000", old) == expanded("20300101T100000", new)


@pytest.mark.parametrize("text", ["", "D", "D1 0900", "W1 XX", "D1 M5 #2", "MP1 9", "X1 #2"])
def test_rules_of_neither_grammar_are_not_read_as_more_than_they_say(text: str) -> None:
    read = parse_rule(text, None, of_dates=False)
    assert read is None or read.odd


def test_examples_of_the_standard() -> None:
    """The examples of section 3.8.5.3 that are easy to get wrong."""
    assert expanded("19970902T090000", "FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3;COUNT=3") == [
        "1997-09-02 09:00",  # DTSTART does not match the rule, so two more follow
        "1997-09-04 09:00",
        "1997-10-07 09:00",
    ]
    assert expanded("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO") == [
        "1997-08-05 09:00", "1997-08-10 09:00", "1997-08-19 09:00", "1997-08-24 09:00",
    ]  # fmt: skip
    assert expanded("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU") == [
        "1997-08-05 09:00", "1997-08-17 09:00", "1997-08-19 09:00", "1997-08-31 09:00",
    ]  # fmt: skip
    assert expanded("19961105T090000", "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;"
                    "BYMONTHDAY=2,3,4,5,6,7,8", 3) == [
        "1996-11-05 09:00", "2000-11-07 09:00", "2004-11-02 09:00",
    ]  # fmt: skip
    assert expanded("19970512T090000", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", 3) == [
        "1997-05-12 09:00", "1998-05-11 09:00", "1999-05-17 09:00",
    ]  # fmt: skip


# --- Against a model ---------------------------------------------------------------------

FIRST: Final = seconds(datetime(2026, 1, 1))  # noqa: DTZ001
LONG: Final = 4 * 366 * DAY


def period_of(rule: RecurrenceRule, wall: int) -> int:
    """Return the number of the period that a moment is in, counted from anywhere."""
    moment = EPOCH + timedelta(seconds=wall)
    day = wall // DAY
    if rule.freq is Freq.YEARLY:
        return week_of(day, rule.week_start)[0] if rule.weeks else moment.year
    if rule.freq is Freq.MONTHLY:
        return 12 * moment.year + moment.month
    if rule.freq is Freq.WEEKLY:
        return (day + 3 - rule.week_start) // 7
    return (
        wall // {Freq.DAILY: DAY, Freq.HOURLY: 3600, Freq.MINUTELY: 60, Freq.SECONDLY: 1}[rule.freq]
    )


def week_of(day: int, week_start: int) -> tuple[int, int, int]:
    """Return the year of the week of a day, its number, and its number from the end.

    The year is that of the fourth day of the week, in which at least four of its days are.
    """
    fourth = day - (day + 3 - week_start) % 7 + 3
    date = EPOCH + timedelta(days=fourth)
    number = (date.timetuple().tm_yday - 1) // 7
    left = (366 if isleap(date.year) else 365) - date.timetuple().tm_yday
    return date.year, number + 1, -(left // 7) - 1


def is_on_day(rule: RecurrenceRule, wall: int, start: int) -> bool:
    """Return whether a moment's day is one of the rule's."""
    moment, first = EPOCH + timedelta(seconds=wall), EPOCH + timedelta(seconds=start)
    of_year, year = moment.timetuple().tm_yday, 366 if isleap(moment.year) else 365
    month = monthrange(moment.year, moment.month)[1]
    is_long = rule.freq >= Freq.MONTHLY
    if rule.months and moment.month not in rule.months:
        return False
    if rule.year_days and not {of_year, of_year - year - 1} & {*rule.year_days}:
        return False
    if rule.month_days and not {moment.day, moment.day - month - 1} & {*rule.month_days}:
        return False
    if rule.weeks and not {*week_of(wall // DAY, rule.week_start)[1:]} & {*rule.weeks}:
        return False
    if rule.weekdays:
        by_year = rule.freq is Freq.YEARLY and not rule.months
        place, length = (of_year, year) if by_year else (moment.day, month)
        numbers = {0, (place + 6) // 7, -((length - place) // 7) - 1}
        return any(day == moment.weekday() and each in numbers for each, day in rule.weekdays)
    if rule.freq is Freq.WEEKLY or (rule.weeks and not (rule.year_days or rule.month_days)):
        return moment.weekday() == first.weekday()
    if is_long and not (rule.year_days or rule.month_days or rule.weeks):
        in_month = rule.freq is Freq.MONTHLY or rule.months or moment.month == first.month
        return bool(in_month) and moment.day == first.day
    return True


def is_at_time(rule: RecurrenceRule, wall: int, start: int) -> bool:
    parts = (
        (rule.hours, wall // 3600 % 24, start // 3600 % 24, Freq.HOURLY),
        (rule.minutes, wall // 60 % 60, start // 60 % 60, Freq.MINUTELY),
        (rule.seconds, wall % 60, start % 60, Freq.SECONDLY),
    )
    return all(
        value in listed if listed else rule.freq <= freq or value == usual
        for listed, value, usual, freq in parts
    )


def naive(
    rule: RecurrenceRule, start: int, first: int, last: int, moments: list[int]
) -> Iterator[int]:
    """Yield the instances by testing every moment at which there could be one."""
    base = period_of(rule, start)
    sets: dict[int, list[int]] = {}
    for wall in moments:
        if is_on_day(rule, wall, start) and is_at_time(rule, wall, start):
            number = period_of(rule, wall)
            if (number - base) % rule.interval == 0 and number >= base:
                sets.setdefault(number, []).append(wall)
    found = [start]
    for _, walls in sorted(sets.items()):
        picked = walls
        if rule.positions:
            places = {each - 1 if each > 0 else len(walls) + each for each in rule.positions}
            picked = [wall for place, wall in enumerate(walls) if place in places]
        found += [wall for wall in picked if wall > start]
    if rule.count is not None:
        found = found[: rule.count]
    if rule.until is not None:
        found = found[:1] + [wall for wall in found[1:] if wall <= rule.until]
    yield from (wall for wall in found if first <= wall <= last)


def numbers(
    low: int, high: int, *, zero: bool = True, most: int = 3
) -> st.SearchStrategy[tuple[int, ...]]:
    one = st.integers(low, high) if zero else st.integers(low, high).filter(bool)
    lists = st.lists(one, min_size=1, max_size=most, unique=True)
    return st.just(()) | lists.map(sorted).map(tuple)


@st.composite
def rules(draw: st.DrawFn, freqs: tuple[Freq, ...]) -> RecurrenceRule:
    freq = draw(st.sampled_from(freqs))
    is_long = freq >= Freq.MONTHLY
    low = draw(st.sampled_from([0, -2])) if is_long else 0
    weeks = draw(numbers(-53, 53, zero=False)) if freq is Freq.YEARLY else ()
    days = st.tuples(st.just(0) if weeks else st.integers(low, -low), st.integers(0, 6))
    return RecurrenceRule(
        freq,
        interval=draw(st.integers(1, 3)),
        count=draw(st.none() | st.integers(1, 6)),
        months=draw(numbers(1, 12)),
        weeks=weeks,
        year_days=draw(numbers(-366, 366, zero=False))
        if freq is Freq.YEARLY or freq < Freq.DAILY
        else (),
        month_days=draw(numbers(-31, 31, zero=False)) if freq is not Freq.WEEKLY else (),
        weekdays=tuple(sorted(draw(st.sets(days, max_size=4)))),
        hours=draw(numbers(0, 23)),
        minutes=draw(numbers(0, 59)),
        seconds=draw(numbers(0, 59)),
        positions=draw(st.just(()) | numbers(-3, 3, zero=False)),
        week_start=draw(st.integers(0, 6)),
    )


@given(
    rules((Freq.DAILY, Freq.WEEKLY, Freq.MONTHLY, Freq.YEARLY)),
    st.integers(0, 800 * DAY),
    st.data(),
)
def test_rules_of_days_agree_with_the_model(
    rule: RecurrenceRule, after: int, data: st.DataObject
) -> None:
    start = FIRST + after
    if data.draw(st.booleans()):
        rule = replace(rule, count=None, until=start + data.draw(st.integers(-DAY, LONG)))
    times = [
        hour * 3600 + minute * 60 + second
        for hour in rule.hours or (start // 3600 % 24,)
        for minute in rule.minutes or (start // 60 % 60,)
        for second in rule.seconds or (start % 60,)
    ]
    days = range(start // DAY - 800, (start + LONG) // DAY + 800)
    moments = [day * DAY + time for day in days for time in times]
    first = start + data.draw(st.integers(-DAY, LONG // 2))
    last = first + data.draw(st.integers(0, LONG // 2))
    found = list(instances(rule, start, first, last, Budget(10**6).spend))
    assert found == list(naive(rule, start, first, last, moments))


@given(rules((Freq.SECONDLY, Freq.MINUTELY, Freq.HOURLY)), st.integers(0, 800 * DAY), st.data())
def test_rules_within_days_agree_with_the_model(
    rule: RecurrenceRule, after: int, data: st.DataObject
) -> None:
    start = FIRST + after
    unit, length = {Freq.SECONDLY: (1, 4000), Freq.MINUTELY: (60, 3000), Freq.HOURLY: (3600, 900)}[
        rule.freq
    ]
    begin = start - start % unit
    inside = [0]
    if rule.freq is Freq.HOURLY:
        inside = [
            60 * minute + second
            for minute in rule.minutes or (start // 60 % 60,)
            for second in rule.seconds or (start % 60,)
        ]
    elif rule.freq is Freq.MINUTELY:
        inside = list(rule.seconds or (start % 60,))
    moments = [begin + period * unit + each for period in range(length) for each in inside]
    first = start + data.draw(st.integers(0, length // 2)) * unit
    last = begin + (length - 1) * unit
    found = list(instances(rule, start, first, last, Budget(10**6).spend))
    assert found == [each for each in naive(rule, start, first, last, moments) if each <= last]


# --- Cost --------------------------------------------------------------------------------


@given(rules(tuple(Freq)), st.integers(0, 800 * DAY), st.integers(1, 500))
def test_a_budget_ends_the_walk(rule: RecurrenceRule, after: int, steps: int) -> None:
    """The instances found until then are the same as without a budget."""
    start = FIRST + after
    found = []
    try:
        for wall in instances(rule, start, start, LAST_WALL, Budget(steps).spend):
            found.append(wall)  # noqa: PERF402
    except BudgetSpent:
        pass
    assert len(found) <= steps + 1
    assert found == sorted(set(found))


def test_a_rule_without_a_count_costs_what_is_in_the_range() -> None:
    rule = RecurrenceRule(Freq.SECONDLY)
    late = LAST_WALL - 10
    assert len(list(instances(rule, FIRST, late, LAST_WALL, Budget(30).spend))) == 11
    counted = replace(rule, count=10**9)
    with pytest.raises(BudgetSpent):
        list(instances(counted, FIRST, late, LAST_WALL, Budget(1_000).spend))


def test_whether_there_is_an_instance() -> None:
    weekly = RecurrenceRule(Freq.WEEKLY, count=3)
    budget = Budget(1_000)
    assert has_instance(weekly, FIRST, FIRST + 14 * DAY, budget.spend)
    assert not has_instance(weekly, FIRST, FIRST + 21 * DAY, budget.spend)
    assert not has_instance(weekly, FIRST, FIRST + DAY, budget.spend)
