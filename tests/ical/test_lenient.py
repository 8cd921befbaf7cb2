"""Faulty events: read as far as possible, busy where in doubt, and reported."""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from slotengine import BadCalendar
from slotengine.ical import busy_spans
from tests.ical.texts import (
    END,
    GOOD,
    GOOD_SPAN,
    HOUR,
    NINE,
    START,
    TWO_NAMES,
    calendar,
    days,
    event,
    read,
    shown,
)


class Case(NamedTuple):
    parts: tuple[str, ...]
    spans: list[str]
    problem: str = ""
    """The problem that is reported; none if empty."""
    zone: str | None = "Europe/Rome"
    owner: str = ""


NY: Final = "DTSTART;TZID=America/New_York:20300109T090000"
AUTUMN: Final = "DTSTART;TZID=Europe/Rome:20301026T120000"
CASES: Final = {
    "a quote inside a parameter of a guest": Case(
        (GOOD, event(NINE, HOUR, 'ATTENDEE;CN="Ann "the" Boss":mailto:ann@example.org')),
        ["01-09 08:00 to 01-09 10:00"],
    ),
    "a quote inside a parameter of a time": Case(
        (GOOD, event('DTSTART;X-A="b"c";TZID=Europe/Rome:20300110T090000', HOUR)),
        [GOOD_SPAN, *days("01-10")],
        "event 'e', line 10: DTSTART has a misplaced quote or colon",
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
        "one of its times names no zone; assumed: the zone of DTSTART",
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
        "it starts on a date and ends at a time; assumed: it starts at 00:00 of the date",
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
        "a single instance has RRULE; assumed: its instances count as well",
    ),
    "two starts": Case(
        (event(NINE, HOUR, "DTSTART;TZID=Europe/Rome:20300110T090000"),),
        days("01-09", "01-10"),
        "it has more than one DTSTART; assumed: it starts at each",
    ),
    "an unknown zone": Case(
        ("X-WR-TIMEZONE:America/New_York", event("DTSTART;TZID=Nowhere:20300109T090000", HOUR)),
        [*days("01-09"), "01-09 14:00 to 01-09 15:00"],
        "unknown time zone 'Nowhere'; assumed: both the calendar's zone and the owner's",
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
        "its RRULE has INTERVAL='0'",
    ),
    "a rule of no instance": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=0"),), days("01-09"), "has COUNT='0'"
    ),
    "a rule that ends twice": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=3;UNTIL=20300110T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "has both COUNT and UNTIL",
    ),
    "a rule that ends twice, the other way round": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;COUNT=2;UNTIL=20300111T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "has both COUNT and UNTIL",
    ),
    "a part of a rule that is wrong": Case(
        (event(NINE, HOUR, "RRULE:FREQ=DAILY;BYMONTH=13,1;BYDAY=XX,WE;COUNT=2;WKST=A;X=1"),),
        days("01-09", "01-16"),
        "its RRULE has the unknown part X",
    ),
    "a rule with characters escaped": Case(
        (event(NINE, HOUR, r"RRULE:FREQ=DAILY\;COUNT=2"),), days("01-09", "01-10"), "escaped"
    ),
    "a rule of vCalendar 1.0": Case(
        (event(NINE, HOUR, "RRULE:W2 WE FR #3"),),
        days("01-09", "01-11", "01-23"),
        "its RRULE has the grammar of vCalendar",
    ),
    "a rule of vCalendar 1.0 until a time": Case(
        (event(NINE, HOUR, "RRULE:D1 20300111T080000Z"),),
        days("01-09", "01-10", "01-11"),
        "has the grammar of vCalendar",
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
        "a period ends before it starts; assumed: it lasts a day",
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
        "DTSTART has a misplaced quote or colon",
        zone="Asia/Tokyo",
    ),
    "a colon in the name of a zone, and colons in the time": Case(
        (event("DTSTART;TZID=GMT+1:00:2030-01-09T09:00:00", HOUR),),
        days("01-09"),
        "DTSTART has a misplaced quote or colon",
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
        "it starts at a time and ends on a date; assumed: it ends at 00:00 of the date",
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
        (event(NINE, "this is private", HOUR),), days("01-09"), "a line cannot be read"
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
    """In UTC, this is the date as written if it has an instance, and otherwise the owner's."""
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
