"""Busy time from iCalendar files: what counts as busy, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine import BadCalendar, InvalidField
from slotengine.core.time.schedule import FixedWindows
from slotengine.ical import busy_spans

OFFICE: Final = (Path(__file__).parents[1] / "data" / "office.ics").read_bytes()

# New York puts its clocks forward on 8 March 2026, Rome on 29 March.
START: Final = datetime(2026, 3, 2, tzinfo=UTC)
END: Final = datetime(2026, 4, 7, tzinfo=UTC)


def calendar(*components: str) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", *components, "END:VCALENDAR"]
    return "".join(f"{line}\r\n" for part in lines for line in part.split("\n"))


def event(*lines: str, uid: str = "e") -> str:
    return "\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT"])


def read(text: str | bytes, *, zone: str = "UTC", start: datetime = START) -> list[str]:
    """Return the busy spans, each as text, from the start to `END`."""
    busy = busy_spans(text, start, END, zone=zone, strict=True)
    assert busy.problems == []
    assert busy.complete
    spans = busy.spans
    assert all(moment.tzinfo is UTC for span in spans for moment in span)
    return [f"{begin:%m-%d %H:%M} to {end:%m-%d %H:%M}" for begin, end in spans]


# --- A whole file ------------------------------------------------------------------------

GOLDEN: Final = [
    "03-02 08:00 to 03-02 09:00",  # planning, Rome, winter
    "03-05 21:00 to 03-05 21:45",  # overseas, New York, winter
    "03-08 04:00 to 03-08 11:00",  # maintenance: 23:00 to 07:00, and seven hours only
    "03-09 08:00 to 03-09 09:00",
    "03-11 12:00 to 03-11 13:30",  # release
    "03-12 20:00 to 03-12 20:45",  # overseas, summer
    "03-19 20:00 to 03-19 20:45",  # and no planning on the 16th
    "03-24 10:00 to 03-24 10:30",  # planning, moved from the 23rd
    "03-26 20:00 to 03-26 20:45",
    "03-26 23:00 to 03-29 22:00",  # fair, and the journey on a day of 23 hours
    "04-02 20:00 to 04-02 20:45",  # overseas for the last time; no planning on 30 March
    "04-06 07:00 to 04-06 08:00",  # planning, summer
]


def test_a_calendar_with_two_zones_around_their_changes_of_the_clock() -> None:
    assert read(OFFICE, zone="Europe/Rome") == GOLDEN


@pytest.mark.parametrize(
    "text",
    [OFFICE.decode(), b"\xef\xbb\xbf" + OFFICE, "\ufeff" + OFFICE.decode(), b"\r\n" + OFFICE],
    ids=["text", "mark", "mark in text", "empty line"],
)
def test_how_the_text_comes_makes_no_difference(text: str | bytes) -> None:
    assert read(text, zone="Europe/Rome") == GOLDEN


def test_line_ends_make_no_difference() -> None:
    assert read(OFFICE.replace(b"\r\n", b"\n"), zone="Europe/Rome") == GOLDEN


def test_the_range_can_be_read_in_parts() -> None:
    """A span that is clipped at the end of one part continues at the start of the next."""
    middle = datetime(2026, 3, 28, 5, tzinfo=UTC)
    parts = [
        *busy_spans(OFFICE, START, middle, zone="Europe/Rome").spans,
        *busy_spans(OFFICE, middle, END, zone="Europe/Rome").spans,
    ]
    assert (datetime(2026, 3, 26, 23, tzinfo=UTC), middle) in parts
    whole = FixedWindows.between(*parts)
    assert list(whole.windows(0, 2**60)) == list(
        FixedWindows.between(*busy_spans(OFFICE, START, END, zone="Europe/Rome").spans).windows(
            0, 2**60
        )
    )


def test_calendars_in_one_file_are_taken_together() -> None:
    one = calendar(event("DTSTART:20260303T090000Z", "DURATION:PT1H"))
    other = calendar(event("DTSTART:20260303T100000Z", "DURATION:PT1H"))
    assert read(one + other) == ["03-03 09:00 to 03-03 11:00"]


def test_a_calendar_of_nothing_is_a_calendar() -> None:
    assert read(calendar()) == []


# --- Single events -----------------------------------------------------------------------

TAKES: Final = {
    "an end": (
        ["DTSTART:20260303T090000Z", "DTEND:20260303T100000Z"],
        "03-03 09:00 to 03-03 10:00",
    ),
    "a duration": (["DTSTART:20260303T090000Z", "DURATION:P1DT1H"], "03-03 09:00 to 03-04 10:00"),
    "hours of real time, and days as the calendar has them": (
        # Clocks in New York go from 02:00 to 03:00 on the 8th.
        ["DTSTART;TZID=America/New_York:20260307T120000", "DURATION:P1DT2H"],
        "03-07 17:00 to 03-08 18:00",
    ),
    "a zone": (
        ["DTSTART;TZID=America/New_York:20260303T090000", "DURATION:PT1H"],
        "03-03 14:00 to 03-03 15:00",
    ),
    "two zones": (
        [
            "DTSTART;TZID=Europe/Rome:20260303T090000",
            "DTEND;TZID=America/New_York:20260303T130000",
        ],
        "03-03 08:00 to 03-03 18:00",
    ),
    "a Windows zone": (
        ["DTSTART;TZID=W. Europe Standard Time:20260303T090000", "DURATION:PT1H"],
        "03-03 08:00 to 03-03 09:00",
    ),
    "a zone with a prefix": (
        ["DTSTART;TZID=/example.org/20260101/Europe/Rome:20260303T090000", "DURATION:PT1H"],
        "03-03 08:00 to 03-03 09:00",
    ),
    "no zone": (["DTSTART:20260303T090000", "DURATION:PT1H"], "03-03 00:00 to 03-03 01:00"),
    "UTC, whatever the zone": (
        ["DTSTART;TZID=Europe/Rome:20260303T090000Z", "DURATION:PT1H"],
        "03-03 09:00 to 03-03 10:00",
    ),
    "a day": (["DTSTART;VALUE=DATE:20260303"], "03-02 15:00 to 03-03 15:00"),
    "a day in a zone": (
        ["DTSTART;VALUE=DATE;TZID=Europe/Rome:20260303"],
        "03-02 15:00 to 03-03 15:00",
    ),
    "a day that ends at once": (
        ["DTSTART;VALUE=DATE:20260303", "DTEND;VALUE=DATE:20260303"],
        "03-02 15:00 to 03-03 15:00",
    ),
    "some days": (
        ["DTSTART;VALUE=DATE:20260303", "DTEND;VALUE=DATE:20260306"],
        "03-02 15:00 to 03-05 15:00",
    ),
    "a duration of days": (
        ["DTSTART;VALUE=DATE:20260303", "DURATION:P1W"],
        "03-02 15:00 to 03-09 15:00",
    ),
    "perhaps": (
        ["DTSTART:20260303T090000Z", "DURATION:PT1H", "STATUS:TENTATIVE"],
        "03-03 09:00 to 03-03 10:00",
    ),
    "opaque, though it says free": (
        [
            "DTSTART:20260303T090000Z",
            "DURATION:PT1H",
            "TRANSP:OPAQUE",
            "X-MICROSOFT-CDO-BUSYSTATUS:FREE",
        ],
        "03-03 09:00 to 03-03 10:00",
    ),
    "a bad alarm": (
        [
            "DTSTART:20260303T090000Z",
            "DURATION:PT1H",
            "BEGIN:VALARM",
            "DURATION:x",
            "TRIGGER",
            "END:VALARM",
        ],
        "03-03 09:00 to 03-03 10:00",
    ),
    "since long ago": (
        ["DTSTART:20250101T090000Z", "DTEND:20260303T100000Z"],
        "03-02 00:00 to 03-03 10:00",
    ),
}


@pytest.mark.parametrize(("lines", "span"), TAKES.values(), ids=TAKES)
def test_an_event_takes_time(lines: list[str], span: str) -> None:
    assert read(calendar(event(*lines)), zone="Asia/Tokyo") == [span]


TAKES_NONE: Final = {
    "no end": ["DTSTART:20260303T090000Z"],
    "its start": ["DTSTART:20260303T090000Z", "DTEND:20260303T090000Z"],
    "no duration": ["DTSTART:20260303T090000Z", "DURATION:PT0S"],
    "cancelled": ["DTSTART:20260303T090000Z", "DURATION:PT1H", "STATUS:cancelled"],
    "transparent": ["DTSTART:20260303T090000Z", "DURATION:PT1H", "TRANSP:TRANSPARENT"],
    "free": ["DTSTART:20260303T090000Z", "DURATION:PT1H", "X-MICROSOFT-CDO-BUSYSTATUS:FREE"],
    "cancelled for good": ["DTSTART;VALUE=DATE:20260303", "STATUS:CANCELLED", "RRULE:FREQ=DAILY"],
    "before": ["DTSTART:20260301T090000Z", "DTEND:20260302T000000Z"],
    "after": ["DTSTART:20260407T000000Z", "DURATION:PT1H"],
}


@pytest.mark.parametrize("lines", TAKES_NONE.values(), ids=TAKES_NONE)
def test_an_event_takes_no_time(lines: list[str]) -> None:
    assert read(calendar(event(*lines))) == []


def test_events_without_a_uid_are_events() -> None:
    first = "BEGIN:VEVENT\nDTSTART:20260303T090000Z\nDURATION:PT1H\nEND:VEVENT"
    instance = first.replace("DUR", "RECURRENCE-ID:20260303T090000Z\nDUR").replace(
        "ART:20260303T09", "ART:20260303T13"
    )
    assert read(calendar(first, first.replace("T09", "T11"), instance)) == [
        "03-03 09:00 to 03-03 10:00",
        "03-03 11:00 to 03-03 12:00",
        "03-03 13:00 to 03-03 14:00",
    ]


def test_of_two_versions_the_later_counts() -> None:
    old = event("DTSTART;TZID=Asia/Tokyo:20260303T090000", "DURATION:PT1H", "SEQUENCE:1")
    new = event(
        "DTSTART;TZID=Europe/Rome:20260328T090000",
        "DURATION:PT1H",
        "SEQUENCE:2",
        "RRULE:FREQ=DAILY;COUNT=2",
    )
    expected = ["03-28 08:00 to 03-28 09:00", "03-29 07:00 to 03-29 08:00"]
    assert read(calendar(old, new)) == read(calendar(new, old)) == expected


def test_of_two_versions_both_count_if_nothing_tells_the_later() -> None:
    one = event("DTSTART:20260303T090000Z", "DURATION:PT1H")
    other = event("DTSTART:20260304T090000Z", "DURATION:PT1H")
    assert read(calendar(one, other)) == [
        "03-03 09:00 to 03-03 10:00",
        "03-04 09:00 to 03-04 10:00",
    ]


def test_of_two_versions_of_an_instance_the_later_counts_or_both() -> None:
    series = event(*DAILY)
    one = event(FOURTH, "DTSTART:20260310T080000Z", "DURATION:PT1H", "SEQUENCE:1")
    other = event("RECURRENCE-ID:20260304T080000Z", "DTSTART:20260312T080000Z", "DURATION:PT1H")
    assert read(calendar(series, one, other)) == at_nine(3, 5, 6, 10)
    other = other.replace("DUR", "SEQUENCE:1\nDUR")
    assert read(calendar(series, one, other)) == at_nine(3, 5, 6, 10, 12)


def test_periods_that_are_not_free_count() -> None:
    component = """BEGIN:VFREEBUSY
FREEBUSY:20260303T090000Z/PT1H,20260303T120000Z/20260303T130000Z
FREEBUSY;FBTYPE=BUSY-TENTATIVE:20260303T140000Z/PT1H
FREEBUSY;FBTYPE=FREE:20260303T160000Z/PT8H
FREEBUSY:20260305T160000Z/20260305T160000Z
END:VFREEBUSY"""
    assert read(calendar(component)) == [
        "03-03 09:00 to 03-03 10:00",
        "03-03 12:00 to 03-03 13:00",
        "03-03 14:00 to 03-03 15:00",
    ]


# --- Zones -------------------------------------------------------------------------------

OWN_ZONE: Final = """BEGIN:VTIMEZONE
TZID:Ours
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:{summer}
TZOFFSETTO:{winter}
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:{winter}
TZOFFSETTO:{summer}
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE"""
SUNDAYS: Final = event(
    "DTSTART;TZID=Ours:20260322T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=2"
)


def test_a_file_can_bring_its_own_zone() -> None:
    zone = OWN_ZONE.format(winter="+0130", summer="+0230")
    expected = ["03-22 07:30 to 03-22 08:30", "03-29 06:30 to 03-29 07:30"]
    assert read(calendar(zone, SUNDAYS)) == read(calendar(SUNDAYS, zone)) == expected


def test_a_zone_is_of_its_calendar_alone() -> None:
    east = calendar(OWN_ZONE.format(winter="+0100", summer="+0200"), SUNDAYS)
    west = calendar(OWN_ZONE.format(winter="-0500", summer="-0400"), SUNDAYS)
    assert read(east)[0] == "03-22 08:00 to 03-22 09:00"
    assert read(west)[0] == "03-22 14:00 to 03-22 15:00"
    assert len(read(east + west)) == 4
    with pytest.raises(BadCalendar, match="unknown time zone 'Ours'"):
        read(calendar(SUNDAYS))


def test_a_start_that_is_skipped_or_repeated() -> None:
    """Both are read with the offset before the change, for instances of a rule as well."""
    skipped = event(
        "DTSTART;TZID=Europe/Rome:20260328T023000", "DURATION:PT15M", "RRULE:FREQ=DAILY;COUNT=3"
    )
    assert read(calendar(skipped)) == [
        "03-28 01:30 to 03-28 01:45",
        "03-29 01:30 to 03-29 01:45",
        "03-30 00:30 to 03-30 00:45",
    ]
    repeated = event("DTSTART;TZID=Europe/Rome:20251026T023000", "DURATION:PT15M")
    autumn = datetime(2025, 10, 1, tzinfo=UTC)
    assert read(calendar(repeated), start=autumn) == ["10-26 00:30 to 10-26 00:45"]


def test_an_instance_can_be_moved_to_a_time_that_is_repeated() -> None:
    """It moves to the second occurrence, which has the same local time as the first."""
    daily = event(
        "DTSTART;TZID=Europe/Rome:20251020T090000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2"
    )
    moved = event("RECURRENCE-ID:20251021T070000Z", "DTSTART:20251026T013000Z", "DURATION:PT1H")
    autumn = datetime(2025, 10, 1, tzinfo=UTC)
    assert read(calendar(daily, moved), start=autumn) == [
        "10-20 07:00 to 10-20 08:00",
        "10-26 01:30 to 10-26 02:30",
    ]


def test_an_instance_lasts_as_long_as_the_first() -> None:
    nights = event(
        "DTSTART;TZID=Europe/Rome:20260327T230000",
        "DTEND;TZID=Europe/Rome:20260328T050000",
        "RRULE:FREQ=DAILY;COUNT=2",
    )
    assert read(calendar(nights)) == ["03-27 22:00 to 03-28 04:00", "03-28 22:00 to 03-29 04:00"]


def test_a_day_that_a_zone_skipped_takes_no_time() -> None:
    """Samoa went from 29 to 31 December 2011."""
    text = calendar(event("DTSTART;VALUE=DATE:20111230"))
    whole = datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 1, 30, tzinfo=UTC)
    assert busy_spans(text, *whole, zone="Pacific/Apia").spans == []
    assert len(busy_spans(text, *whole, zone="Pacific/Pago_Pago").spans) == 1


# --- Series ------------------------------------------------------------------------------

NINE: Final = ("DTSTART;TZID=Europe/Rome:20260303T090000", "DURATION:PT1H")
DAILY: Final = (*NINE, "RRULE:FREQ=DAILY;COUNT=4")


def at_nine(*days: int) -> list[str]:
    return [f"03-{day:02} 08:00 to 03-{day:02} 09:00" for day in days]


SERIES: Final = {
    "a count": (DAILY, at_nine(3, 4, 5, 6)),
    "no instance of the rule but the first": (
        (*NINE, "RRULE:FREQ=WEEKLY;BYDAY=FR;UNTIL=20260315"),
        at_nine(3, 6, 13),
    ),
    "until a moment": ((*NINE, "RRULE:FREQ=DAILY;UNTIL=20260305T080000Z"), at_nine(3, 4, 5)),
    "until just before": ((*NINE, "RRULE:FREQ=DAILY;UNTIL=20260305T075959Z"), at_nine(3, 4)),
    "until a wall-clock time": (
        (*NINE, "RRULE:FREQ=DAILY;UNTIL=20260305T090000"),
        at_nine(3, 4, 5),
    ),
    "until a date": ((*NINE, "RRULE:FREQ=DAILY;UNTIL=20260305"), at_nine(3, 4, 5)),
    "two rules": (
        (*NINE, "RRULE:FREQ=DAILY;COUNT=2", "RRULE:FREQ=DAILY;INTERVAL=3;COUNT=2"),
        at_nine(3, 4, 6),
    ),
    "more dates": (
        (*NINE, "RDATE;TZID=Europe/Rome:20260305T090000,20260307T090000", "RDATE:20260309T080000Z"),
        at_nine(3, 5, 7, 9),
    ),
    "a period": (
        (*NINE, "RDATE;VALUE=PERIOD:20260305T080000Z/PT2H,20260307T080000Z/20260307T083000Z"),
        [*at_nine(3), "03-05 08:00 to 03-05 10:00", "03-07 08:00 to 03-07 08:30"],
    ),
    "a long period": (
        ("DTSTART:20250101T090000Z", "RDATE;VALUE=PERIOD:20251201T000000Z/20260303T090000Z"),
        ["03-02 00:00 to 03-03 09:00"],
    ),
    "dates left out": (
        (*DAILY, "EXDATE;TZID=Europe/Rome:20260304T090000", "EXDATE:20260306T080000Z"),
        at_nine(3, 5),
    ),
    "a day left out": ((*DAILY, "EXDATE;VALUE=DATE:20260304"), at_nine(3, 5, 6)),
    "one of every hour left out": (
        # The hours beside it bear its number, one in UTC and one on the wall clock.
        (
            "DTSTART;TZID=Europe/Rome:20260303T080000",
            "DURATION:PT1H",
            "RRULE:FREQ=HOURLY;COUNT=5",
            "EXDATE;TZID=Europe/Rome:20260303T100000",
        ),
        ["03-03 07:00 to 03-03 09:00", "03-03 10:00 to 03-03 12:00"],
    ),
    "days": (
        ("DTSTART;VALUE=DATE:20260303", "RRULE:FREQ=DAILY;INTERVAL=2;UNTIL=20260307T000000Z"),
        [f"03-{day:02} 00:00 to 03-{day + 1:02} 00:00" for day in (3, 5, 7)],
    ),
    "a rule that never matches": ((*NINE, "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), at_nine(3)),
    "transparent, its periods too": (
        (*DAILY, "TRANSP:TRANSPARENT", "RDATE;VALUE=PERIOD:20260309T080000Z/PT2H"),
        [],
    ),
}


@pytest.mark.parametrize(("lines", "spans"), SERIES.values(), ids=SERIES)
def test_a_series(lines: tuple[str, ...], spans: list[str]) -> None:
    assert read(calendar(event(*lines))) == spans


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_an_instance_is_found_wherever_the_range_cuts_it(zone: str) -> None:
    timed = event(f"DTSTART;TZID={zone}:20260201T120000", "DURATION:PT3H", "RRULE:FREQ=DAILY")
    days = event("DTSTART;VALUE=DATE:20260201", "RRULE:FREQ=DAILY;INTERVAL=2")
    noon = datetime(2026, 3, 3, 12, tzinfo=ZoneInfo(zone))
    for hours in range(3):
        hour = noon + timedelta(hours=hours), noon + timedelta(hours=hours + 1)
        assert busy_spans(calendar(timed), *hour).spans == [hour]
        assert busy_spans(calendar(days), *hour, zone=zone).spans == [hour]
        next_day = hour[0] + timedelta(days=1), hour[1] + timedelta(days=1)
        assert busy_spans(calendar(days), *next_day, zone=zone).spans == []


def test_until_is_a_date_for_days() -> None:
    """UNTIL means the date as written, even if it is still the day before in New York."""
    for until in ("20260305T000000Z", "20260305"):
        days = event("DTSTART;VALUE=DATE:20260303", f"RRULE:FREQ=DAILY;UNTIL={until}")
        assert read(calendar(days), zone="America/New_York") == ["03-03 05:00 to 03-06 05:00"]


FOURTH: Final = "RECURRENCE-ID;TZID=Europe/Rome:20260304T090000"
INSTANCES: Final = {
    "moved": (
        [FOURTH, "DTSTART;TZID=Europe/Rome:20260310T090000", "DURATION:PT1H"],
        at_nine(3, 5, 6, 10),
    ),
    "moved, in another zone": (
        [
            "RECURRENCE-ID:20260304T080000Z",
            "DTSTART;TZID=Asia/Tokyo:20260310T170000",
            "DURATION:PT1H",
        ],
        at_nine(3, 5, 6, 10),
    ),
    "named by its day": (
        [
            "RECURRENCE-ID;VALUE=DATE:20260304",
            "DTSTART;TZID=Europe/Rome:20260310T090000",
            "DURATION:PT1H",
        ],
        at_nine(3, 5, 6, 10),
    ),
    "moved into the range": (
        ["RECURRENCE-ID:20250101T080000Z", "DTSTART:20260310T080000Z", "DURATION:PT1H"],
        at_nine(3, 4, 5, 6, 10),
    ),
    "moved out of the range": (
        [FOURTH, "DTSTART:20270310T080000Z", "DURATION:PT1H"],
        at_nine(3, 5, 6),
    ),
    "longer": (
        [FOURTH, "DTSTART;TZID=Europe/Rome:20260304T090000", "DURATION:P7D"],
        ["03-03 08:00 to 03-03 09:00", "03-04 08:00 to 03-11 08:00"],
    ),
    "a whole day": (
        [FOURTH, "DTSTART;VALUE=DATE:20260304"],
        [*at_nine(3), "03-04 00:00 to 03-05 00:00", *at_nine(5, 6)],
    ),
    "cancelled": (
        [FOURTH, "DTSTART:20260304T080000Z", "DURATION:PT1H", "STATUS:CANCELLED"],
        at_nine(3, 5, 6),
    ),
    "transparent": (
        [FOURTH, "DTSTART:20260304T080000Z", "DURATION:PT1H", "TRANSP:TRANSPARENT"],
        at_nine(3, 5, 6),
    ),
    "it and all that follow": (
        [
            FOURTH.replace(";", ";RANGE=THISANDFUTURE;"),
            "DTSTART;TZID=Europe/Rome:20260304T100000",
            "DURATION:PT2H",
        ],
        [*at_nine(3), *(f"03-{day:02} 09:00 to 03-{day:02} 11:00" for day in (4, 5, 6))],
    ),
    "it and all that follow, cancelled": (
        [
            FOURTH.replace(";", ";RANGE=THISANDFUTURE;"),
            "DTSTART;TZID=Europe/Rome:20260304T090000",
            "STATUS:CANCELLED",
        ],
        at_nine(3),
    ),
}


@pytest.mark.parametrize(("lines", "spans"), INSTANCES.values(), ids=INSTANCES)
def test_one_instance_of_a_series(lines: list[str], spans: list[str]) -> None:
    assert read(calendar(event(*DAILY), event(*lines))) == spans
    assert read(calendar(event(*lines), event(*DAILY))) == spans


def test_an_instance_of_a_transparent_series_can_be_busy() -> None:
    busy = event(FOURTH, "DTSTART;TZID=Europe/Rome:20260304T090000", "DURATION:PT1H")
    period = "RDATE;VALUE=PERIOD:20260309T080000Z/PT2H"
    assert read(calendar(event(*DAILY, "TRANSP:TRANSPARENT", period), busy)) == at_nine(4)


def test_an_instance_without_its_series_counts() -> None:
    text = calendar(event(FOURTH, "DTSTART;TZID=Europe/Rome:20260304T090000", "DURATION:PT1H"))
    assert read(text) == at_nine(4)


# --- What is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("start", {"start": datetime(2026, 3, 2)}),  # noqa: DTZ001
        ("end", {"end": datetime(2026, 3, 2)}),  # noqa: DTZ001
        ("end", {"end": START}),
        ("end", {"end": START - timedelta(days=1)}),
        ("zone", {"zone": "Middle/Earth"}),
        ("zone", {"zone": "W. Europe Standard Time"}),
        ("max_events", {"max_events": 0}),
        ("max_events", {"max_events": "many"}),
        ("text", {"text": None}),
    ],
)
def test_bad_arguments_are_refused(field: str, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidField) as caught:
        busy_spans(**{"text": OFFICE, "start": START, "end": END, **arguments})  # type: ignore[arg-type]
    assert caught.value.field == field


# --- Ranges ------------------------------------------------------------------------------


def test_what_goes_on_for_ever_is_read_as_far_as_the_range() -> None:
    assert len(read(calendar(event(*NINE, "RRULE:FREQ=WEEKLY")))) == 5


def test_a_range_can_be_all_of_time() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert len(busy_spans(calendar(event(*DAILY)), first, last).spans) == 4
    fourth = FOURTH.replace(";", ";RANGE=THISANDFUTURE;")
    for year in (2025, 2027):
        moved = event(fourth, f"DTSTART:{year}0304T080000Z", "DURATION:PT1H")
        assert len(busy_spans(calendar(event(*DAILY), moved), first, last).spans) == 4


# --- Against a model ---------------------------------------------------------------------

MINUTE: Final = timedelta(minutes=1)
ZONES: Final = ("Europe/Rome", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")


class Meeting(NamedTuple):
    """An event in the model, with its minutes counted from `START` in local time."""

    zone: str
    minute: int
    minutes: int
    times: int
    floating: bool
    lasts: bool
    """Whether it has a duration; otherwise, it has an end."""

    def first(self) -> datetime:
        return START.replace(tzinfo=None) + self.minute * MINUTE

    def component(self, uid: int) -> str:
        start = self.first().replace(tzinfo=ZoneInfo(self.zone))
        end = (start.astimezone(UTC) + self.minutes * MINUTE).strftime("%Y%m%dT%H%M%SZ")
        written = f"{start:%Y%m%dT%H%M%S}"
        return event(
            f"DTSTART:{written}" if self.floating else f"DTSTART;TZID={self.zone}:{written}",
            f"DURATION:PT{self.minutes}M" if self.lasts else f"DTEND:{end}",
            *([f"RRULE:FREQ=DAILY;COUNT={self.times}"] if self.times > 1 else []),
            uid=str(uid),
        )

    def taken(self) -> set[datetime]:
        """Return every minute that it takes."""
        minutes = set()
        for day in range(self.times):
            wall = self.first() + timedelta(days=day)
            start = wall.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)
            minutes |= {start + minute * MINUTE for minute in range(self.minutes)}
        return minutes


@st.composite
def meetings(draw: st.DrawFn, home: str) -> Meeting:
    floating = draw(st.booleans())
    return Meeting(
        zone=home if floating else draw(st.sampled_from(ZONES)),
        # Around both changes of the clock.
        minute=draw(st.integers(4 * 1440, 8 * 1440) | st.integers(25 * 1440, 29 * 1440)),
        minutes=draw(st.integers(1, 2_000)),
        times=draw(st.integers(1, 4)),
        floating=floating,
        lasts=floating or draw(st.booleans()),
    )


@given(st.data(), st.sampled_from(ZONES))
def test_the_minutes_that_events_take_are_busy(data: st.DataObject, home: str) -> None:
    written = data.draw(st.lists(meetings(home), max_size=6))
    taken = {minute for meeting in written for minute in meeting.taken()}
    text = calendar(*(meeting.component(uid) for uid, meeting in enumerate(written)))
    spans = busy_spans(text, START, END, zone=home, strict=True).spans
    found = set()
    for begin, end in spans:
        found |= {begin + minute * MINUTE for minute in range((end - begin) // MINUTE)}
    assert found == {minute for minute in taken if START <= minute < END}
    edges = [moment for span in spans for moment in span]
    assert edges == sorted(set(edges))
