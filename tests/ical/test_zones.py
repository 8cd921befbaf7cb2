"""Which time zone a name means, and its local times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.core.time.zone import Zone
from slotengine.ical import busy_spans, windows_zones
from slotengine.ical.zones import FixedOffsetClock, IanaClock, guess_clock, known_clock

# 09:00 on 9 July 2030, in UTC.
NAMES: Final = {
    "Europe/Rome": "07:00",
    "europe/rome": "07:00",
    "America/New York": "13:00",
    "Europe_London": "08:00",
    "America-Chicago": "14:00",
    "US-Eastern": "13:00",
    "Germany/Berlin": "07:00",
    "/Europe/Stockholm": "07:00",
    "/mozilla.org/20050126_1/Europe/Berlin": "07:00",
    "/freeassociation.sourceforge.net/Tzfile/America/Argentina/Buenos_Aires": "12:00",
    "/citadel.org/20260108_1/UTC": "09:00",
    "tzone://Microsoft/Utc": "09:00",
    "W. Europe Standard Time": "07:00",
    "w. europe standard time": "07:00",
    "W. Europe Daylight Time": "07:00",
    "Eastern Standard Time (Mexico)": "14:00",
    "Eastern": "13:00",
    "(UTC-05:00) Eastern Time (US and Canada)": "13:00",
    "(UTC-05:00) Eastern Time (US & Canada)": "13:00",
    "(GMT-08.00) Pacific Time (US & Canada), Tijuana": "16:00",
    "Pacific Time (US & Canada); Tijuana": "16:00",
    "(GMT+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna": "07:00",
    "(UTC+01:00) Sarajevo, Skopje, Warsaw, Zagreb": "07:00",
    "(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi": "03:30",
    "(UTC+09:00) Osaka, Sapporo, Tokyo": "00:00",
    "(UTC+00:00) Dublin, Edinburgh, Lisbon, London": "08:00",
    "(UTC) Coordinated Universal Time": "09:00",
    "Greenwich Mean Time: Dublin, Edinburgh, Lisbon, London": "08:00",
    "Canberra, Melbourne, Sydney": "23:00",
    "UTC": "09:00",
    "utc": "09:00",
    "GMT": "09:00",
    "UTC+01": "08:00",
    "UTC+1": "08:00",
    "UTC-5": "14:00",
    "UTC+01:00": "08:00",
    "UTC+11": "22:00",
    "GMT+0100": "08:00",
    "GMT-0530": "14:30",
    "+05:30": "03:30",
    "(GMT +01:00)": "08:00",
    # The database counts these westward.
    "Etc/GMT-1": "08:00",
    "Etc/GMT+5": "14:00",
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=NAMES)
def test_a_name_means_a_clock(name: str, expected: str) -> None:
    text = f"""BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;TZID="{name}":20300709T090000
DURATION:PT1H
END:VEVENT
END:VCALENDAR"""
    day = datetime(2030, 7, 8, tzinfo=UTC)
    busy = busy_spans(text, day, day + timedelta(days=4), zone="Asia/Kathmandu", strict=True)
    ((begin, end),) = busy.spans
    assert f"{begin:%H:%M}" == expected
    assert end - begin == timedelta(hours=1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Nowhere",
        "Europe",
        "..",
        "/",
        "/etc/localtime",
        "right/Europe/Rome",
        "localtime",
        "UTC+25",
        "(UTC+01:00) New York",
        "(UTC+05:00) Nowhere",
        "X" * 500,
        "a/" * 500,
        "\u5927\u962a",
        "GMT+1/2",
    ],
)
def test_a_name_may_mean_nothing(name: str) -> None:
    assert known_clock(name) is None
    assert guess_clock(name)[0] is None or name == "right/Europe/Rome"


def test_all_zones_that_windows_names_are_there() -> None:
    assert len(windows_zones.ZONES_BY_NAME) > 130
    for name in (
        *windows_zones.ZONES_BY_NAME,
        *windows_zones.ZONES_BY_NAME.values(),
        *windows_zones.ZONES_BY_LABEL.values(),
    ):
        assert known_clock(name) is not None, name


MADE: Final = """BEGIN:VCALENDAR
BEGIN:VTIMEZONE
TZID:Ours
{parts}
END:VTIMEZONE
BEGIN:VEVENT
DTSTART;TZID=Ours:{start}
DURATION:PT1S
END:VEVENT
END:VCALENDAR"""
NEW_YORK: Final = """BEGIN:STANDARD
DTSTART:18831118T120358
TZOFFSETFROM:-0456{lmt}
TZOFFSETTO:-0500
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19870405T020000
TZOFFSETFROM:-0500
TZOFFSETTO:-0400
RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20060402T070000Z
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:19871025T020000
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20061029T060000Z
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:20070311T020000
TZOFFSETFROM:-0500
TZOFFSETTO:-0400
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20071104T020000
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU
END:STANDARD""".format(lmt="02")


@given(
    st.datetimes(datetime(1987, 4, 1), datetime(2037, 1, 1))  # noqa: DTZ001
    # Around the changes of the clock, in any of the years.
    | st.builds(
        lambda year, month, day, second: datetime(year, month, day) + timedelta(seconds=second),  # noqa: DTZ001
        st.integers(1988, 2036),
        st.sampled_from([3, 4, 10, 11]),
        st.integers(1, 30),
        st.integers(0, 4 * 3600),
    )
)
def test_a_written_clock_shows_what_the_named_one_does(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    text = MADE.format(parts=NEW_YORK, start=f"{moment:%Y%m%dT%H%M%S}")
    expected = moment.replace(tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    around = expected - timedelta(days=1), expected + timedelta(days=1)
    assert busy_spans(text, *around, strict=True).spans == [
        (expected, expected + timedelta(seconds=1))
    ]


def test_a_written_clock_that_never_changes_again() -> None:
    """The last change applies for ever; before the first, the offset before it applies."""
    parts = """BEGIN:STANDARD
DTSTART:19500101T000000
RDATE:19600101T000000
TZOFFSETFROM:+0100
TZOFFSETTO:+0300
END:STANDARD"""
    for start, expected in (("20300109T120000", 9), ("19400109T120000", 11)):
        text = MADE.format(parts=parts, start=start)
        year = int(start[:4])
        whole = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 2, 1, tzinfo=UTC)
        assert busy_spans(text, *whole, strict=True).spans[0][0].hour == expected


def test_a_written_clock_without_a_part_that_can_be_read_is_none() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    for parts in ("", "BEGIN:STANDARD\nTZOFFSETTO:+0100\nEND:STANDARD"):
        text = MADE.format(parts=parts, start="20300109T120000")
        busy = busy_spans(text, start, start + timedelta(days=30), zone="Europe/Rome")
        assert busy.spans[0][0].hour == 11
        assert any("unknown time zone 'Ours'" in each.problem for each in busy.problems)


def test_a_written_clock_that_changes_all_the_time_is_paid_for() -> None:
    parts = """BEGIN:STANDARD
DTSTART:19500101T000000
TZOFFSETFROM:+0100
TZOFFSETTO:+0100
RRULE:FREQ=SECONDLY
END:STANDARD"""
    start = datetime(2030, 1, 1, tzinfo=UTC)
    text = MADE.format(parts=parts, start="20300109T120000")
    busy = busy_spans(text, start, start + timedelta(days=30))
    assert (busy.spans, busy.complete) == ([], False)


@given(
    st.sampled_from(["Europe/Rome", "Pacific/Apia", "Africa/Monrovia"]),
    st.integers(-(2**31), 2**32),
)
def test_a_clock_shows_a_time_when_it_shows_it(name: str, utc: int) -> None:
    for clock in (IanaClock(Zone.of(name)), FixedOffsetClock(-1800)):
        wall = clock.wall(utc)
        first = clock.utc(wall)
        assert first <= utc
        assert clock.wall(first) == wall
