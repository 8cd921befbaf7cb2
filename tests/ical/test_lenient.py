"""What is wrong in a calendar: read as far as it can be, busy where it cannot, and told."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine import BadCalendar
from slotengine.core.schedule import FixedWindows
from slotengine.ical import MAX_PROBLEMS, BusyTime, Problem, busy_spans
from slotengine.ical import series as series_module

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
END: Final = datetime(2031, 1, 1, tzinfo=UTC)
OFFICE: Final = (Path(__file__).parents[1] / "data" / "office.ics").read_bytes()
GOOD: Final = "BEGIN:VEVENT\nUID:good\nDTSTART:20300109T090000Z\nDTEND:20300109T100000Z\nEND:VEVENT"
GOOD_SPAN: Final = "01-09 09:00 to 01-09 10:00"


def calendar(*parts: str) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", *parts, "END:VCALENDAR"]
    return "".join(f"{line}\r\n" for part in lines for line in part.split("\n"))


def event(*lines: str, uid: str = "e") -> str:
    return "\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT"])


def read(text: str | bytes, zone: str | None = "Europe/Rome", owner: str = "") -> BusyTime:
    return busy_spans(text, START, END, zone=zone, owner=owner)


def shown(busy: BusyTime) -> list[str]:
    return [f"{begin:%m-%d %H:%M} to {end:%m-%d %H:%M}" for begin, end in busy.spans]


class Case(NamedTuple):
    parts: tuple[str, ...]
    spans: list[str]
    problem: str = ""
    """What is told; nothing if empty."""
    zone: str | None = "Europe/Rome"
    owner: str = ""


def days(*days: str) -> list[str]:
    """Return spans of one hour from 09:00 in Rome, in winter."""
    return [f"{day} 08:00 to {day} 09:00" for day in days]


NY: Final = "DTSTART;TZID=America/New_York:20300109T090000"
AUTUMN: Final = "DTSTART;TZID=Europe/Rome:20301026T120000"
HOUR: Final = "DURATION:PT1H"
NINE: Final = "DTSTART;TZID=Europe/Rome:20300109T090000"
TWO_NAMES: Final = """BEGIN:VTIMEZONE
TZID:One
TZID:Two
BEGIN:STANDARD
DTSTART:16010101T000000
TZOFFSETFROM:+0300
TZOFFSETTO:+0300
END:STANDARD
END:VTIMEZONE"""

CASES: Final = {
    "a quote inside a parameter of a guest": Case(
        (GOOD, event(NINE, HOUR, 'ATTENDEE;CN="Ann "the" Boss":mailto:ann@example.org')),
        ["01-09 08:00 to 01-09 10:00"],
    ),
    "a quote inside a parameter of a time": Case(
        (GOOD, event('DTSTART;X-A="b"c";TZID=Europe/Rome:20300110T090000', HOUR)),
        [GOOD_SPAN, *days("01-10")],
        "event 'e', line 10: DTSTART has a quote or a colon too many",
    ),
    "a transparent instance in a zone that is an offset": Case(
        (
            GOOD,
            event(
                "RECURRENCE-ID;TZID=UTC+01:20300110T090000",
                "DTSTART:20300110T090000",
                "TRANSP:TRANSPARENT",
            ),
        ),
        [GOOD_SPAN],
    ),
    "a zone with two names": Case((TWO_NAMES, GOOD), [GOOD_SPAN], "it has 2 TZIDs"),
    "a zone with two names, by the second": Case(
        (TWO_NAMES, event("DTSTART;TZID=Two:20300109T120000", HOUR)), [GOOD_SPAN], "2 TZIDs"
    ),
    "a zone without a name": Case(
        (TWO_NAMES.replace("TZID:One\nTZID:Two\n", ""), GOOD), [GOOD_SPAN], "it has 0 TZIDs"
    ),
    "an end and no duration worth the name": Case(
        (event(NY, "DTEND;TZID=America/New_York:20300109T100000", "DURATION:PT0S"),),
        ["01-09 14:00 to 01-09 15:00"],
        "it has both DTEND and DURATION; assumed: the longer counts",
    ),
    "an end and a longer duration": Case(
        (event(NY, "DTEND;TZID=America/New_York:20300109T100000", "DURATION:PT2H"),),
        ["01-09 14:00 to 01-09 16:00"],
        "it has both DTEND and DURATION",
    ),
    "a day while clocks go back": Case(
        (event(AUTUMN, "DURATION:P1D"),), ["10-26 10:00 to 10-27 11:00"]
    ),
    "a day and an hour": Case((event(AUTUMN, "DURATION:P1DT1H"),), ["10-26 10:00 to 10-27 12:00"]),
    "a week": Case((event(AUTUMN, "DURATION:P1W"),), ["10-26 10:00 to 11-02 11:00"]),
    "24 hours": Case((event(AUTUMN, "DURATION:PT24H"),), ["10-26 10:00 to 10-27 10:00"]),
    "days in a period": Case(
        (event(AUTUMN, "RDATE;TZID=Europe/Rome;VALUE=PERIOD:20301026T120000/P1D"),),
        ["10-26 10:00 to 10-27 11:00"],
    ),
    "an end without a zone, the owner in the east": Case(
        (event(NY, "DTEND:20300109T100000"),),
        ["01-09 14:00 to 01-09 15:00"],
        "one of its times names no zone; assumed: that of DTSTART",
    ),
    "an end without a zone, the owner in the west": Case(
        (event(NY, "DTEND:20300109T100000"),),
        ["01-09 14:00 to 01-09 15:00"],
        "one of its times names no zone",
        zone="America/Halifax",
    ),
    "a start without a zone": Case(
        (event("DTSTART:20300109T090000", "DTEND;TZID=America/New_York:20300109T100000"),),
        ["01-09 08:00 to 01-09 15:00"],
        "DTEND names a zone, and DTSTART none",
    ),
    "a start without a zone, the owner further west": Case(
        (event("DTSTART:20300109T090000", "DTEND;TZID=America/New_York:20300109T100000"),),
        ["01-09 14:00 to 01-09 15:00"],
        "DTEND names a zone, and DTSTART none",
        zone="America/Los_Angeles",
    ),
    "dates left out, and an instance, without a zone": Case(
        (
            event(NY, HOUR, "RRULE:FREQ=DAILY;COUNT=4", "EXDATE:20300110T090000"),
            event("RECURRENCE-ID:20300111T090000", "DTSTART:20300111T000000Z", "DURATION:PT2H"),
        ),
        [
            "01-09 14:00 to 01-09 15:00",
            "01-11 00:00 to 01-11 02:00",
            "01-12 14:00 to 01-12 15:00",
        ],
        "one of its times names no zone",
    ),
    "an end that cannot be read": Case(
        (GOOD, event("DTSTART:20300209T090000Z", "DTEND:tomorrow")),
        [GOOD_SPAN, "02-09 09:00 to 02-10 09:00"],
        "event 'e', line 11: DTEND cannot be read: 'tomorrow'; assumed: it lasts a day",
    ),
    "an end that cannot be read, and a duration": Case(
        (event(NINE, HOUR, "DTEND:tomorrow"),), days("01-09"), "DTEND cannot be read"
    ),
    "an end before the start": Case(
        (event(NINE, "DTEND;TZID=Europe/Rome:20300109T080000"),),
        ["01-09 08:00 to 01-10 08:00"],
        "it ends before it starts; assumed: it lasts a day",
    ),
    "a duration back": Case(
        (event(NINE, "DURATION:-PT1H"),), ["01-09 08:00 to 01-10 08:00"], "DURATION cannot be read"
    ),
    "days that end before they start": Case(
        (event("DTSTART;VALUE=DATE:20300109", "DTEND;VALUE=DATE:20300107"),),
        ["01-08 23:00 to 01-09 23:00"],
        "it ends before it starts",
    ),
    "from a date to a time": Case(
        (event("DTSTART;VALUE=DATE:20300109", "DTEND;TZID=Europe/Rome:20300110T083000"),),
        ["01-08 23:00 to 01-10 07:30"],
        "it starts on a date and ends at a time; assumed: from 00:00 of the date",
    ),
    "from a date to a time, in a series": Case(
        (
            event(
                "DTSTART;VALUE=DATE:20300109",
                "DTEND:20300109T083000Z",
                "RRULE:FREQ=WEEKLY;COUNT=2",
            ),
        ),
        ["01-08 23:00 to 01-09 08:30", "01-15 23:00 to 01-16 08:30"],
        "it starts on a date and ends at a time",
    ),
    "from a date to that midnight": Case(
        (event("DTSTART;VALUE=DATE:20300109", "DTEND;TZID=Europe/Rome:20300109T000000"),),
        ["01-08 23:00 to 01-09 23:00"],
        "it starts on a date and ends at a time",
    ),
    "hours from a date": Case(
        (event("DTSTART;VALUE=DATE:20300109", "DURATION:PT8H"),),
        ["01-08 23:00 to 01-09 07:00"],
        "it starts on a date and lasts hours",
    ),
    "from a time to a date": Case(
        (event(NINE, "DTEND;VALUE=DATE:20300111"),),
        ["01-09 08:00 to 01-10 23:00"],
        "it starts at a time and ends on a date",
    ),
    "from a time to that date": Case(
        (event(NINE, "DTEND;VALUE=DATE:20300109"),),
        ["01-09 08:00 to 01-09 23:00"],
        "it starts at a time and ends on a date",
    ),
    "a date that is a midnight": Case(
        (event("DTSTART;VALUE=DATE:20300109T000000"),),
        ["01-08 23:00 to 01-09 23:00"],
        "DTSTART is '20300109T000000'; assumed: 2030-01-09",
    ),
    "a date that is a time": Case(
        (event("DTSTART;VALUE=DATE:20300109T090000", HOUR),), days("01-09"), "DTSTART is"
    ),
    "times that are written otherwise": Case(
        (event("DTSTART:2030-01-09T09:00:00+01:00", "DTEND:20300109T0900z"),),
        days("01-09"),
        "assumed: 2030-01-09T09:00:00",
    ),
    "hour 24": Case(
        (event("DTSTART:20300109T230000Z", "DTEND:20300109T240000Z"),),
        ["01-09 23:00 to 01-10 00:00"],
        "assumed: 2030-01-10T00:00:00",
    ),
    "no start": Case((GOOD, event(HOUR)), [GOOD_SPAN], "it has no DTSTART; assumed: it takes no"),
    "a start that cannot be read": Case(
        (GOOD, event("DTSTART:20300132T090000", HOUR)), [GOOD_SPAN], "DTSTART cannot be read"
    ),
    "a start before all time": Case(
        (GOOD, event("DTSTART:00000101T090000", HOUR)), [GOOD_SPAN], "DTSTART cannot be read"
    ),
    "a changed instance without a start": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=2"),
            event("RECURRENCE-ID;TZID=Europe/Rome:20300110T090000", HOUR),
        ),
        days("01-09", "01-10"),
        "it has no DTSTART",
    ),
    "a cancelled instance without a start": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=2"),
            event("RECURRENCE-ID;TZID=Europe/Rome:20300110T090000", "STATUS:CANCELLED"),
        ),
        days("01-09"),
    ),
    "all from an instance on cancelled, without a start": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=9"),
            event(
                "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Rome:20300110T090000",
                "STATUS:CANCELLED",
            ),
        ),
        days("01-09"),
    ),
    "another range": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=2"),
            event(
                "RECURRENCE-ID;RANGE=THISANDPRIOR:20300110T080000Z",
                NINE.replace("0109", "0111"),
                HOUR,
            ),
        ),
        days("01-09", "01-11"),
        "RANGE is 'THISANDPRIOR'",
    ),
    "an instance that has a rule of its own": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;UNTIL=20300110T080000Z"),
            event(
                "RECURRENCE-ID:20300110T080000Z",
                NINE.replace("0109", "0110"),
                HOUR,
                "RRULE:FREQ=DAILY;COUNT=3",
            ),
        ),
        days("01-09", "01-10", "01-11", "01-12"),
        "one instance has RRULE; assumed: its instances count, too",
    ),
    "two starts": Case(
        (event(NINE, HOUR, "DTSTART;TZID=Europe/Rome:20300110T090000"),),
        days("01-09", "01-10"),
        "DTSTART is there more than once; assumed: it starts at each",
    ),
    "an unknown zone": Case(
        ("X-WR-TIMEZONE:America/New_York", event("DTSTART;TZID=Nowhere:20300109T090000", HOUR)),
        [*days("01-09"), "01-09 14:00 to 01-09 15:00"],
        "unknown time zone 'Nowhere'; assumed: the calendar's and the owner's",
    ),
    "an unknown zone in a series": Case(
        (
            "X-WR-TIMEZONE:America/New_York",
            event("DTSTART;TZID=Nowhere:20300109T090000", HOUR, "RRULE:FREQ=DAILY;COUNT=2"),
            event(
                "RECURRENCE-ID;TZID=Nowhere:20300110T090000",
                "DTSTART;TZID=Nowhere:20300111T090000",
                HOUR,
            ),
        ),
        [
            *days("01-09"), "01-09 14:00 to 01-09 15:00",
            *days("01-11"), "01-11 14:00 to 01-11 15:00",
        ],
        "unknown time zone 'Nowhere'",
    ),
    "an unknown zone that tells its offset": Case(
        (event('DTSTART;TZID="(UTC-05:00) Atlantis":20300109T090000', HOUR),),
        [*days("01-09"), "01-09 14:00 to 01-09 15:00"],
        "unknown time zone '(UTC-05:00) Atlantis'",
    ),
    "an unknown zone, and no other": Case(
        (event("DTSTART;TZID=Nowhere:20300109T090000", HOUR),), days("01-09"), "unknown time zone"
    ),
    "an unknown zone of a period that is busy": Case(
        (
            "X-WR-TIMEZONE:America/New_York",
            "BEGIN:VFREEBUSY\nFREEBUSY;TZID=Nowhere:20300109T090000/PT1H\nEND:VFREEBUSY",
        ),
        [*days("01-09"), "01-09 14:00 to 01-09 15:00"],
        "free/busy component number 1, line 4: unknown time zone 'Nowhere'",
    ),
    "the calendar's zone": Case(
        (
            event("DTSTART:20300109T090000", HOUR, uid="1"),
            event("DTSTART;VALUE=DATE:20300201", uid="2"),
            "X-WR-TIMEZONE:America/New_York",
        ),
        ["01-09 14:00 to 01-09 15:00", "01-31 23:00 to 02-01 23:00"],
    ),
    "the calendar's zone, if the owner's is not known": Case(
        (
            "X-WR-TIMEZONE:America/New_York",
            event("DTSTART:20300109T090000", HOUR, uid="1"),
            event("DTSTART;VALUE=DATE:20300201", uid="2"),
        ),
        ["01-09 14:00 to 01-09 15:00", "02-01 05:00 to 02-02 05:00"],
        zone=None,
    ),
    "no zone at all": Case(
        (event("DTSTART:20300109T080000", HOUR),), days("01-09"), zone=None
    ),
    "a calendar's zone that is unknown": Case(
        ("X-WR-TIMEZONE:Atlantis", event("DTSTART:20300109T090000", HOUR)),
        days("01-09"),
        "the calendar, line 3: unknown time zone 'Atlantis'",
    ),
    "an invitation that was declined": Case(
        (GOOD, event(NINE, HOUR, "ATTENDEE;PARTSTAT=DECLINED;CN=Me:MAILTO:Me@Example.org")),
        [GOOD_SPAN],
        owner="me@example.org",
    ),
    "an invitation that was declined, by another address": Case(
        (event(NINE, HOUR, "ATTENDEE;PARTSTAT=DECLINED;EMAIL=me@example.org:urn:uuid:1"),),
        [],
        owner="mailto:me@example.org",
    ),
    "an invitation that somebody else declined": Case(
        (
            event(
                NINE,
                HOUR,
                "ATTENDEE;PARTSTAT=DECLINED:mailto:you@example.org",
                "ATTENDEE;PARTSTAT=ACCEPTED:mailto:me@example.org",
            ),
        ),
        days("01-09"),
        owner="me@example.org",
    ),
    "an invitation that was declined, for nobody in particular": Case(
        (event(NINE, HOUR, "ATTENDEE;PARTSTAT=DECLINED:mailto:me@example.org"),), days("01-09")
    ),
    "an invitation that was declined and accepted": Case(
        (
            event(
                NINE,
                HOUR,
                "ATTENDEE;PARTSTAT=DECLINED:mailto:me@example.org",
                "ATTENDEE;PARTSTAT=ACCEPTED:mailto:me@example.org",
            ),
        ),
        days("01-09"),
        owner="me@example.org",
    ),
    "a name that says declined": Case(
        (
            event(
                NINE, HOUR, 'ATTENDEE;CN="a";PARTSTAT=DECLINED;X="b":mailto:you@example.org',
                'ATTENDEE;CN="a"b;PARTSTAT=DECLINED:mailto:me@example.org',
            ),
        ),
        days("01-09"),
        owner="me@example.org",
    ),
    "one instance declined": Case(
        (
            event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=3"),
            event(
                "RECURRENCE-ID:20300110T080000Z",
                NINE.replace("0109", "0110"),
                HOUR,
                "ATTENDEE;PARTSTAT=DECLINED:mailto:me@example.org",
            ),
        ),
        days("01-09", "01-11"),
        owner="me@example.org",
    ),
    "a series declined, but for one instance": Case(
        (
            event(
                NINE,
                HOUR,
                "RRULE:FREQ=DAILY;COUNT=3",
                "ATTENDEE;PARTSTAT=DECLINED:mailto:me@example.org",
            ),
            event("RECURRENCE-ID:20300110T080000Z", NINE.replace("0109", "0110"), HOUR),
        ),
        days("01-10"),
        owner="me@example.org",
    ),
    "a rule that cannot be read": Case(
        (event(NINE, HOUR, "RRULE:FREQ=OFTEN"),), days("01-09"), "RRULE cannot be read"
    ),
    "a rule without its colon": Case(
        (event(NINE, HOUR, "RRULE FREQ=DAILY"),), days("01-09"), "RRULE cannot be read"
    ),
    "a rule of another calendar": Case(
        (event(NINE, HOUR, "RRULE:RSCALE=HEBREW;FREQ=DAILY"),), days("01-09"), "RRULE cannot be"
    ),
    "a rule with a step of none": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;INTERVAL=0;COUNT=2"),),
        days("01-09", "01-10"),
        "in its RRULE INTERVAL is '0'",
    ),
    "a rule of no instance": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=0"),), days("01-09"), "COUNT is '0'"
    ),
    "a rule that ends twice": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=3;UNTIL=20300110T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "it has both COUNT and UNTIL",
    ),
    "a rule that ends twice, the other way round": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=2;UNTIL=20300111T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "it has both COUNT and UNTIL",
    ),
    "a part of a rule that is wrong": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;BYMONTH=13,1;BYDAY=XX,WE;COUNT=2;WKST=A;X=1"),),
        days("01-09", "01-16"),
        "in its RRULE X is unknown",
    ),
    "a rule with characters escaped": Case(
        (event(NINE, HOUR, r"RRULE:FREQ=DAILY\;COUNT=2"),), days("01-09", "01-10"), "escaped"
    ),
    "a rule of vCalendar 1.0": Case(
        (event(NINE, HOUR, "RRULE:W2 WE FR #3"),),
        days("01-09", "01-11", "01-23"),
        "in its RRULE the grammar is vCalendar's",
    ),
    "a rule of vCalendar 1.0 until a time": Case(
        (event(NINE, HOUR, "RRULE:D1 20300111T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "the grammar is vCalendar's",
    ),
    "a rule that leaves out": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=4", "EXRULE:FREQ=DAILY;INTERVAL=2"),),
        days("01-10", "01-12"),
    ),
    "a rule that leaves out, but not the first": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=4", "EXRULE:FREQ=WEEKLY;BYDAY=TH,FR"),),
        days("01-09", "01-12"),
    ),
    "dates that cannot be read": Case(
        (event(NINE, HOUR, "RDATE:never,20300110T080000Z", "EXDATE:,x,20300110T080000Z"),),
        days("01-09"),
        "RDATE cannot be read: 'never'; assumed: it adds nothing",
    ),
    "more dates of another kind": Case(
        (
            event(NINE, HOUR, "RDATE;VALUE=DATE:20300111", uid="1"),
            event("DTSTART;VALUE=DATE:20300201", "RDATE:20300203T090000Z", uid="2"),
        ),
        [
            *days("01-09", "01-11"),
            "01-31 23:00 to 02-01 23:00",
            "02-02 23:00 to 02-03 23:00",
        ],
    ),
    "periods of dates": Case(
        (event(NINE, HOUR, "RDATE;VALUE=PERIOD:20300201/20300203,20300205/P1D"),),
        [*days("01-09"), "01-31 23:00 to 02-02 23:00", "02-04 23:00 to 02-05 23:00"],
        "RDATE is '20300201/20300203'",
    ),
    "a period that ends before it starts": Case(
        ("BEGIN:VFREEBUSY\nFREEBUSY:20300109T080000Z/20300109T070000Z\nEND:VFREEBUSY",),
        ["01-09 08:00 to 01-10 08:00"],
        "a period of it ends before it starts; assumed: it lasts a day",
    ),
    "periods that are none": Case(
        ("BEGIN:VFREEBUSY\nUID:f\nFREEBUSY:never,never/PT1H\nEND:VFREEBUSY", GOOD),
        [GOOD_SPAN],
        "free/busy component 'f', line 5: FREEBUSY cannot be read: 'never/PT1H'",
    ),
    "periods without an end": Case(
        (
            "BEGIN:VFREEBUSY\nUID:f\nFREEBUSY:20300109T080000Z,20300111T080000Z/soon\n"
            "END:VFREEBUSY",
        ),
        ["01-09 08:00 to 01-10 08:00", "01-11 08:00 to 01-12 08:00"],
        "FREEBUSY has a period without an end that can be read: '20300109T080000Z'; assumed: "
        "it lasts a day",
    ),
    "a period of an event without an end that can be read": Case(
        (event(NINE, HOUR, "RDATE;VALUE=PERIOD:20300111T080000Z/-PT1H"),),
        [*days("01-09"), "01-11 08:00 to 01-12 08:00"],
        "RDATE has a period without an end that can be read",
    ),
    "a start that is declared as a date, and is none": Case(
        (event("DTSTART;VALUE=DATE:20300109T080000Z"),),
        ["01-09 08:00 to 01-10 08:00"],
        "DTSTART is '20300109T080000Z'; assumed: 2030-01-09T08:00:00",
    ),
    "a calendar's zone in quotes": Case(
        ('X-WR-TIMEZONE:"America/New_York"', event("DTSTART:20300109T090000", HOUR)),
        ["01-09 14:00 to 01-09 15:00"],
    ),
    "two ends": Case(
        (event(NINE, "DTEND:20300109T080000Z", "DTEND:20300109T090000Z"),),
        days("01-09"),
        "it has more than one end; assumed: the longest counts",
    ),
    "a colon in the name of a zone that is an offset": Case(
        (
            event(
                "DTSTART;TZID=UTC+01:00:20300109T090000",
                "DTEND;TZID=UTC+01:00:20300109T100000",
                "RRULE:FREQ=DAILY;COUNT=3",
                "EXDATE;TZID=UTC+01:00:20300110T090000,20300112T090000",
            ),
        ),
        days("01-09", "01-11"),
        "DTSTART has a quote or a colon too many",
        zone="Asia/Tokyo",
    ),
    "a colon in the name of a zone, and colons in the time": Case(
        (event("DTSTART;TZID=GMT+1:00:2030-01-09T09:00:00", HOUR),),
        days("01-09"),
        "DTSTART has a quote or a colon too many",
        zone="Asia/Tokyo",
    ),
    "a zone that is UTC by its letter": Case(
        (event("DTSTART;TZID=Z:20300109T080000", HOUR),), days("01-09")
    ),
    "a zone with an escaped name": Case(
        (
            TWO_NAMES.replace("TZID:Two\n", "").replace("One", "My\\, own"),
            event('DTSTART;TZID="My, own":20300109T120000', HOUR),
        ),
        [GOOD_SPAN],
    ),
    "a zone with a quoted name": Case(
        (
            TWO_NAMES.replace("TZID:Two\n", "").replace("One", '"My own"'),
            event("DTSTART;TZID=My own:20300109T120000", HOUR),
        ),
        [GOOD_SPAN],
    ),
    "a rule of days until the owner's midnight of the last": Case(
        (event("DTSTART;VALUE=DATE:20300109", "RRULE:FREQ=DAILY;UNTIL=20300110T230000Z"),),
        ["01-08 23:00 to 01-11 23:00"],
    ),
    "a rule of days until the last second of the last": Case(
        (event("DTSTART;VALUE=DATE:20300109", "RRULE:FREQ=DAILY;UNTIL=20300110T225959Z"),),
        ["01-08 23:00 to 01-10 23:00"],
    ),
    "a day added by the owner's midnight": Case(
        (event("DTSTART;VALUE=DATE:20300109", "RDATE:20300110T230000Z,20300112T000000Z"),),
        ["01-08 23:00 to 01-09 23:00", "01-10 23:00 to 01-12 23:00"],
    ),
    "an end that is a date, the owner in the west": Case(
        (event("DTSTART:20300109T150000Z", "DTEND;VALUE=DATE:20300110"),),
        ["01-09 15:00 to 01-10 05:00"],
        "it starts at a time and ends on a date; assumed: until 00:00 of the date",
        zone="America/New_York",
    ),
    "declined, the address written as in a link": Case(
        (GOOD, event(NINE, HOUR, "ATTENDEE;PARTSTAT=DECLINED:mailto:ann%2Bwork@example.org")),
        [GOOD_SPAN],
        owner="ann+work@example.org",
    ),
    "a sequence that is no number": Case(
        (event(NINE, HOUR, "SEQUENCE:new"),), days("01-09"), "SEQUENCE is 'new'; assumed: it is 0"
    ),
    "transparent and not": Case(
        (event(NINE, HOUR, "TRANSP:TRANSPARENT", "TRANSP:OPAQUE"),), days("01-09")
    ),
    "a line that is none": Case(
        (event(NINE, "this is private", HOUR),), days("01-09"), "a line of it cannot be read"
    ),
    "an event without its end": Case(
        (event(NINE, HOUR).removesuffix("\nEND:VEVENT"), GOOD),
        ["01-09 08:00 to 01-09 10:00"],
        "VEVENT of line 3, line 7: its END is missing",
    ),
    "an alarm without its end": Case(
        ("BEGIN:VEVENT\nBEGIN:VALARM\nDURATION:PT9H\n" + NINE + "\n" + HOUR + "\nEND:VEVENT",),
        [],
        "VALARM of line 4, line 8: its END is missing",
    ),
    "an alarm without its end, before the start": Case(
        (f"BEGIN:VEVENT\n{HOUR}\nBEGIN:VALARM\nDURATION:PT9H\n{NINE}\nEND:VEVENT",),
        days("01-09"),
        "VALARM of line 5, line 8: its END is missing",
    ),
    "an end without its beginning": Case(
        (event(NINE, HOUR, "END:VALARM"),), days("01-09"), "END:VALARM without its BEGIN"
    ),
    "in small letters": Case((event(NINE, HOUR).lower().replace("e:", "E:"),), days("01-09")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_read_and_what_is_told(case: Case) -> None:
    text = calendar(*case.parts)
    busy = read(text, case.zone, case.owner)
    assert shown(busy) == case.spans
    assert busy.complete
    assert any(case.problem in str(each) for each in busy.problems) == bool(case.problem)
    assert "private" not in str(busy.problems)
    if case.problem:
        with pytest.raises(BadCalendar) as caught:
            busy_spans(text, START, END, zone=case.zone, owner=case.owner, strict=True)
        assert "private" not in str(caught.value)
    else:
        assert busy == busy_spans(text, START, END, zone=case.zone, owner=[case.owner], strict=True)


SERIES_OF_DAYS: Final = event("DTSTART;VALUE=DATE:20300219", "RRULE:FREQ=WEEKLY;COUNT=4")
MOVED: Final = event(
    "RECURRENCE-ID;TZID=W. Europe Standard Time:20300226T000000", "DTSTART;VALUE=DATE:20300301"
)
CANCELLED: Final = event(
    "RECURRENCE-ID;TZID=W. Europe Standard Time:20300305T000000", "STATUS:CANCELLED"
)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_an_instance_of_whole_days_is_named_by_the_day_in_its_own_zone(zone: str) -> None:
    found = read(calendar(SERIES_OF_DAYS, MOVED, CANCELLED), zone)
    days = calendar(
        *(event(f"DTSTART;VALUE=DATE:203{day}", uid=day) for day in ("00219", "00301", "00312"))
    )
    assert found == read(days, zone)
    assert len(found.spans) == 3


def test_an_instance_of_whole_days_can_be_named_by_the_owners_midnight() -> None:
    """In UTC: the day that is written if there is an instance, or else the owner's."""
    for written, zone in (("20300226T000000Z", "Asia/Tokyo"), ("20300225T150000Z", "Asia/Tokyo")):
        cancelled = event(f"RECURRENCE-ID:{written}", "STATUS:CANCELLED")
        assert len(read(calendar(SERIES_OF_DAYS, cancelled), zone).spans) == 3
    elsewhere = event("RECURRENCE-ID:20300227T120000Z", "STATUS:CANCELLED")
    assert len(read(calendar(SERIES_OF_DAYS, elsewhere)).spans) == 4


FUTURE: Final = {
    "days to times": (
        SERIES_OF_DAYS,
        event(
            "RECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20300226",
            "DTSTART;TZID=Europe/Rome:20300227T090000",
            HOUR,
        ),
        ["02-18 23:00 to 02-19 23:00", *days("02-27", "03-06", "03-13")],
    ),
    "times to days": (
        event(NINE, HOUR, "RRULE:FREQ=WEEKLY;COUNT=3"),
        event("RECURRENCE-ID;RANGE=THISANDFUTURE:20300116T080000Z", "DTSTART;VALUE=DATE:20300117"),
        [*days("01-09"), "01-16 23:00 to 01-17 23:00", "01-23 23:00 to 01-24 23:00"],
    ),
    "times to times of another zone": (
        event(NINE, HOUR, "RRULE:FREQ=WEEKLY;COUNT=3"),
        event(
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20300116T080000Z",
            "DTSTART;TZID=America/New_York:20300116T090000",
            HOUR,
        ),
        [*days("01-09"), "01-16 14:00 to 01-16 15:00", "01-23 14:00 to 01-23 15:00"],
    ),
}


@pytest.mark.parametrize(("main", "change", "spans"), FUTURE.values(), ids=FUTURE)
def test_instances_that_follow_one_that_changed(main: str, change: str, spans: list[str]) -> None:
    assert shown(read(calendar(main, change))) == spans


# --- Whole files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        calendar(event("SUMMARY:caf\u00e9", "DTSTART:20300109T090000Z", HOUR)).encode("latin-1"),
        calendar(GOOD).encode("utf-16"),
        codecs.BOM_UTF16_BE + calendar(GOOD).encode("utf-16-be"),
        calendar(GOOD).encode("utf-16-le"),
        codecs.BOM_UTF8 + calendar(GOOD).encode(),
        calendar(GOOD).encode().replace(b"DTSTART", b"DTS\0TART"),
        calendar(GOOD).replace("\r\n", "\r"),
        calendar(GOOD).replace("\r\n", "\r\r\n"),
        calendar(GOOD).replace("DTSTART", "DTSTA\r\n RT").replace(":2030", "\r\n\t:2030"),
        "   \n" + calendar(GOOD),
        "Content-Type: text/calendar\n\n" + calendar(GOOD),
        calendar(GOOD).replace("SION:2.0", "SION:2.0\r\nBEGIN:VTODO\r\nDTSTART:x\r\nEND:VTODO"),
        calendar("BEGIN:X-ALL", GOOD, "END:X-ALL"),
        calendar(event("SUMMARY:\u2028BEGIN:VEVENT\x0bEND", "DTSTART:20300109T090000Z", HOUR)),
        calendar(GOOD) + "\ud800",
    ],
)  # fmt: skip
def test_how_a_file_is_written_makes_no_difference(text: str | bytes) -> None:
    busy = read(text)
    assert shown(busy) == [GOOD_SPAN]
    assert busy.complete


@pytest.mark.parametrize(
    "text",
    ["", " \r\n", b"\0", "<html></html>", "DTSTART:20300109T090000Z", "BEGIN:VCARD\nEND:VCARD",
     b"\x1f\x8b\x08\x00" + bytes(range(256)), "END:VCALENDAR", "BEGIN:VCALEN"],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadCalendar, match=r"the file: it is (empty|not iCalendar text)"):
        read(text)


@pytest.mark.parametrize("step", range(7))
def test_a_file_that_is_cut_short_says_what_is_there(step: int) -> None:
    whole = busy_spans(OFFICE, datetime(2026, 1, 1, tzinfo=UTC), END, zone="Europe/Rome")
    assert whole.complete
    cuts = range(len("BEGIN:VCALENDAR") + step, OFFICE.rindex(b"END:VCALENDAR") + 13, 7)
    seen = 0
    for cut in cuts:
        busy = busy_spans(OFFICE[:cut], datetime(2026, 1, 1, tzinfo=UTC), END, zone="Europe/Rome")
        assert not busy.complete
        assert any("it is cut short: END:" in each.problem for each in busy.problems)
        seen = max(seen, len(busy.spans))
        with pytest.raises(BadCalendar, match=r"cut short|cannot be read"):
            busy_spans(OFFICE[:cut], START, END, strict=True)
    assert seen >= len(whole.spans)


def test_a_file_whose_beginning_is_missing_says_what_is_there() -> None:
    busy = read(GOOD + "\nEND:VCALENDAR")
    assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
    assert "BEGIN:VCALENDAR is missing" in str(busy.problems[0])


def test_a_calendar_that_breaks_off_before_the_next_one_is_not_complete() -> None:
    busy = read(calendar(GOOD).removesuffix("END:VCALENDAR\r\n") + calendar(event(NINE, HOUR)))
    assert shown(busy) == ["01-09 08:00 to 01-09 10:00"]
    assert not busy.complete


def test_no_more_problems_are_kept_than_so_many() -> None:
    bad = event("DTSTART:x", "DTSTART:y")
    busy = read(calendar(*[bad] * MAX_PROBLEMS, GOOD))
    assert len(busy.problems) == MAX_PROBLEMS
    assert shown(busy) == [GOOD_SPAN]


def test_a_problem_says_where_it_is() -> None:
    nameless = event("DTEND:x", "DTSTART:20300209T090000Z").replace("UID:e\n", "")
    busy = read(calendar(GOOD, nameless))
    assert busy.problems == [
        Problem(
            "event number 2", 9, "DTEND cannot be read: 'x'",
            "it lasts a day, if nothing else says how long",
        )
    ]  # fmt: skip


@pytest.mark.parametrize("error", [OverflowError, RecursionError, AssertionError, KeyError])
def test_what_nobody_thought_of_takes_only_its_event(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = series_module._start_clocks

    def broken(event: object, *rest: object) -> object:
        if getattr(event, "uid", "") == "odd":
            raise error
        return real(event, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(series_module, "_start_clocks", broken)
    text = calendar(event(NINE, HOUR, uid="odd"), GOOD)
    busy = read(text)
    assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
    assert "event 'odd', line 3: it cannot be worked out" in str(busy.problems[0])
    with pytest.raises(BadCalendar, match="event 'odd'"):
        busy_spans(text, START, END, strict=True)


# --- What it costs -----------------------------------------------------------------------

UNITS: Final = (("HOUR", 24), ("MINUTE", 60), ("SECOND", 60))
ALL_TIMES: Final = ";".join(f"BY{unit}={','.join(map(str, range(count)))}" for unit, count in UNITS)
ENDLESS: Final = {
    "every second": "FREQ=SECONDLY",
    "every second of 30 February": "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    "every minute": "FREQ=MINUTELY",
    "30 February": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    "the Monday that is a Tuesday": "FREQ=DAILY;INTERVAL=7;BYDAY=MO;COUNT=2",
    "every second of a year": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;{ALL_TIMES}",
    "the last second of a year": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;{ALL_TIMES}",
    "every second of every day": f"FREQ=DAILY;{ALL_TIMES}",
    "every second of every hour": "FREQ=HOURLY;" + ALL_TIMES.partition(";")[2],
    "a step that meets no minute": "FREQ=SECONDLY;INTERVAL=61;BYMINUTE=1;BYSECOND=1,3",
}


@pytest.mark.parametrize("rule", ENDLESS.values(), ids=ENDLESS)
def test_when_the_budget_is_spent_what_was_found_stands(rule: str) -> None:
    endless = event("DTSTART:19300101T000000Z", "DURATION:PT1S", f"RRULE:{rule}")
    text = calendar(endless, GOOD)
    busy = busy_spans(text, START, END, max_events=5_000)
    assert not busy.complete
    assert GOOD_SPAN in shown(busy) or len(busy.spans) > 1  # what has no rule costs nothing
    assert "event 'e', line 3: there is too much to work out" in str(busy.problems[0])
    assert busy == busy_spans(text, START, END, max_events=5_000)
    with pytest.raises(BadCalendar, match=r"event 'e'.*too much"):
        busy_spans(text, START, END, max_events=5_000, strict=True)


@pytest.mark.parametrize("rules", [1, 5])
def test_a_zone_that_costs_more_than_there_is_takes_only_what_names_it(rules: int) -> None:
    """Also where it only names which instance an event tells of."""
    zone = TWO_NAMES.replace(
        "END:STANDARD", "RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30\n" * rules + "END:STANDARD"
    )
    single = event("RECURRENCE-ID;TZID=Two:20300109T120000", NINE, HOUR)
    for max_events in (1, 5, 1_000):
        text = calendar(zone, single, GOOD)
        busy = busy_spans(text, START, END, max_events=max_events)
        assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
        assert busy.problems[-1].problem == "there is too much to work out"
        with pytest.raises(BadCalendar):
            busy_spans(text, START, END, max_events=max_events, strict=True)


def test_rules_that_never_match_cost_little() -> None:
    rules = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"
    never = [event(NINE, HOUR, f"RRULE:{rules}", uid=str(number)) for number in range(62)]
    busy = busy_spans(calendar(*never), START, END, zone="Europe/Rome", max_events=1_000)
    assert (shown(busy), busy.complete) == (days("01-09"), True)


def test_the_events_of_a_file_share_the_budget() -> None:
    daily = [event(NINE, HOUR, "RRULE:FREQ=DAILY", uid=str(number)) for number in range(4)]
    assert busy_spans(calendar(daily[0]), START, END, max_events=800).complete
    busy = busy_spans(calendar(*daily), START, END, max_events=800)
    assert not busy.complete
    assert len(busy.spans) == 357


STARTS: Final = [f"DTSTART:20300109T09{number:02}00Z" for number in range(60)]
REPEATED: Final = {
    "starts and ends": event(*STARTS, *(each.replace("START", "END") for each in STARTS)),
    "starts and dates left out": event(HOUR, *STARTS, "EXDATE" + ",20300109T093000Z" * 60),
    "starts and instances": event(HOUR, *STARTS, "RRULE:FREQ=DAILY;COUNT=3")
    + "".join(
        "\n" + event(each, each.replace("DTSTART", "RECURRENCE-ID"), HOUR) for each in STARTS
    ),
    "lengths and instances": event(
        STARTS[0], *(f"DURATION:PT{number}M" for number in range(1, 60)), "RRULE:FREQ=DAILY"
    ),
}


@pytest.mark.parametrize("repeated", REPEATED.values(), ids=REPEATED)
def test_what_is_there_many_times_is_paid_for(repeated: str) -> None:
    """Each with each of the others: what grows with the square of the file counts as steps."""
    text = calendar(repeated.replace("EXDATE,", "EXDATE:"), GOOD)
    busy = busy_spans(text, START, END, max_events=2_500)
    assert not busy.complete
    assert busy.spans
    assert busy_spans(text, START, END, max_events=100_000).complete


def test_what_is_free_costs_nothing() -> None:
    rule = "RRULE:FREQ=SECONDLY"
    for free in ("TRANSP:TRANSPARENT", "STATUS:CANCELLED", "X-A:1"):
        text = calendar(event("DTSTART:19800101T000000Z", rule, free))
        assert busy_spans(text, START, END, max_events=1) == ([], [], True)


def test_components_can_lie_deep_within_each_other() -> None:
    deep = 30_000
    text = calendar("BEGIN:X\n" * deep + GOOD + "\nBEGIN:VEVENT" * 1_000 + "\nEND:X" * deep)
    assert GOOD_SPAN in shown(read(text))


# --- Whatever is wrong -------------------------------------------------------------------

LINES: Final = OFFICE.decode().splitlines(keepends=True)
JUNK: Final = st.text('0123456789TZP/;:=,-+XBEGINDTSTART\r\n "\\\u00e9\x00', max_size=8)
SPRING: Final = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC)
VALUES: Final = st.sampled_from(
    ["99991231T235959Z", "00010101T000000", "P999999999W", "-P1D", "PT999999999S", "20260229",
     "FREQ=YEARLY;BYWEEKNO=53;BYDAY=2MO,-53SU", "FREQ=HOURLY;INTERVAL=999999999", "9" * 5_000,
     "FREQ=SECONDLY;COUNT=999999999", "FREQ=YEARLY;BYYEARDAY=-366;UNTIL=99991231", "20260303/P1D",
     "99991231T235959/PT9H,00010101/00010101", "THISANDFUTURE", "DECLINED", "DAYLIGHT", "+2359",
     "/a/b/c/d/Europe/Rome", "(UTC+23:59) X, Rome, Y", "GMT-99", "..", "Europe", "\U0001f600"]
)  # fmt: skip


def spans_of(busy: BusyTime) -> FixedWindows:
    return FixedWindows.between(*busy.spans)


def check(text: str | bytes) -> None:
    for zone in ("Pacific/Apia", None):
        try:
            busy = busy_spans(text, *SPRING, zone=zone, owner="a@example.org", max_events=2_000)
        except BadCalendar:
            return
        edges = [moment for span in busy.spans for moment in span]
        assert edges == sorted(set(edges))
        assert all(SPRING[0] <= moment <= SPRING[1] for moment in edges)
        assert "cannot be worked out" not in str(busy.problems)
        try:
            strict = busy_spans(text, *SPRING, zone=zone, max_events=2_000, strict=True)
        except BadCalendar:
            assert busy.problems
        else:
            assert busy.problems == []
            assert busy.complete
            assert all(
                spans_of(busy).covers(*map(int, (a.timestamp() * 1e6, b.timestamp() * 1e6)))
                for a, b in strict.spans
            )


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 60), JUNK), max_size=4))
def test_a_text_is_read_or_refused(changes: list[tuple[int, int, str]]) -> None:
    """Whatever is wrong with it, nothing comes out but a result or our error."""
    lines = list(LINES)
    for line, place, junk in changes:
        lines[line] = lines[line][:place] + junk + lines[line][place + len(junk) :]
    check("".join(lines))


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), VALUES), min_size=1, max_size=4))
def test_values_at_the_edge_are_read_or_refused(changes: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for line, value in changes:
        name, colon, _ = lines[line].rpartition(":")
        lines[line] = f"{name}{colon}{value}\r\n"
    check("".join(lines))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["delete", "repeat", "swap", "cut"]),
            st.integers(0, len(LINES) - 1),
            st.integers(0, len(LINES) - 1),
        ),
        max_size=5,
    )
)
def test_lines_in_disorder_are_read_or_refused(changes: list[tuple[str, int, int]]) -> None:
    lines = list(LINES)
    for change, one, other in changes:
        one, other = one % max(len(lines), 1), other % max(len(lines), 1)
        if not lines:
            break
        if change == "delete":
            del lines[one]
        elif change == "repeat":
            lines.insert(other, lines[one])
        elif change == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines = lines[: one + 1]
    check("".join(lines))


@given(st.binary(max_size=300), st.integers(0, len(OFFICE)))
def test_bytes_are_read_or_refused(junk: bytes, place: int) -> None:
    check(OFFICE[:place] + junk + OFFICE[place:])


def test_a_range_of_all_time_is_read() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for line in ("DTSTART:99991231T235959Z", "DTSTART;VALUE=DATE:99991231", "DTSTART:00010101"):
        for rule in ("FREQ=DAILY", "FREQ=YEARLY;BYWEEKNO=1,53", "FREQ=MONTHLY;BYDAY=-1MO"):
            text = calendar(event(line, "DURATION:P9W", f"RRULE:{rule}"))
            for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
                busy = busy_spans(text, first, last, zone=zone, max_events=50_000)
                assert "cannot be worked out" not in str(busy.problems)
