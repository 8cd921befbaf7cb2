"""Offsets, dates and midnights, compared with the datetimes of the standard library."""

from __future__ import annotations

import pickle
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from slotengine.core.time.instant import DAY, HOUR, from_us, to_us
from slotengine.core.time.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

ZONES = (
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Pacific/Apia",
)
moments = st.integers(
    to_us(datetime(1990, 1, 1, tzinfo=UTC)), to_us(datetime(2040, 1, 1, tzinfo=UTC))
).map(from_us)


@given(moments, st.sampled_from(ZONES))
def test_offset_and_date_are_what_a_datetime_says(moment: datetime, key: str) -> None:
    zone, local = Zone.of(key), moment.astimezone(ZoneInfo(key))
    assert timedelta(microseconds=zone.offset(to_us(moment))) == local.utcoffset()
    assert zone.date(to_us(moment)) == local.date().toordinal() - date(1970, 1, 1).toordinal()


@given(st.integers(7_000, 25_000), st.sampled_from(ZONES))
@example(15_338, "Pacific/Apia")  # 2011-12-30, which never was
@example(17_839, "America/Sao_Paulo")  # 2018-11-04, which began at 01:00
def test_a_date_begins_at_the_first_moment_that_shows_it(day: int, key: str) -> None:
    zone = Zone.of(key)
    begins = zone.midnight(day)
    assert zone.date(begins) >= day
    # Nothing in the two days before shows this date or a later one.
    assert all(zone.date(begins - step) < day for step in (1, HOUR // 4, HOUR, 6 * HOUR, DAY))
    assert begins <= zone.midnight(day + 1)


@pytest.mark.parametrize(
    ("key", "day", "begins"),
    [
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),  # 00:00 to 01:00 was skipped
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00"),  # 23:00 to 00:00 came twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),  # skipped: begins as the next does
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00"),
        ("Asia/Kathmandu", "2024-06-01", "2024-05-31T18:15"),
    ],
)
def test_midnights_that_are_not(key: str, day: str, begins: str) -> None:
    ordinal = date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()
    expected = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    assert from_us(Zone.of(key).midnight(ordinal)) == expected


def test_at_the_ends_of_the_calendar() -> None:
    zone = Zone.of("Pacific/Kiritimati")
    assert zone.offset(FIRST_LOCAL - 10 * DAY) == zone.offset(FIRST_LOCAL)
    assert zone.offset(LAST_LOCAL + 10 * DAY) == 14 * HOUR
    assert zone.midnight(-800_000) == FIRST_LOCAL
    assert zone.midnight(3_000_000) == LAST_LOCAL
    # Of the first and the last date, and beyond, no zone is asked.
    for one in (zone, Zone.of("America/New_York")):
        for edge in (FIRST_LOCAL, LAST_LOCAL - DAY, LAST_LOCAL):
            assert one.midnight(edge // DAY) == edge
    utc = Zone.of("UTC")
    assert utc.date(LAST_LOCAL + 10 * DAY) == utc.date(LAST_LOCAL - 1) == LAST_LOCAL // DAY - 1
    west = Zone.of("America/New_York")
    second = FIRST_LOCAL // DAY + 1
    assert west.date(west.midnight(second)) == second == west.date(west.midnight(second) - 1) + 1


@pytest.mark.parametrize(
    "key", ["Mars/Phobos", "", "../etc", "Europe", "a\0b", "a/" * 3000 + "a", 7, None, ["UTC"]]
)
def test_what_is_no_zone(key: object) -> None:
    with pytest.raises(InvalidField, match="my field is not an IANA time zone"):
        Zone.of(key, "my field")  # type: ignore[arg-type]


def test_there_is_one_of_each() -> None:
    zone = Zone.of("Europe/Rome")
    assert zone is Zone.of("Europe/Rome")
    assert pickle.loads(pickle.dumps(zone)) is zone
    assert repr(zone) == "Zone.of('Europe/Rome')"
    assert Zone("Asia/Thimphu").key == "Asia/Thimphu"


def test_a_zone_that_cannot_be_looked_up_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`tests/test_extras.py` tests the same in separate processes, with the whole package."""
    for package in ("tzdata", "tzdata.zoneinfo", "tzdata.zoneinfo.Europe"):
        monkeypatch.setitem(sys.modules, package, None)
    zoneinfo.reset_tzpath(to=[])
    ZoneInfo.clear_cache(only_keys=["Europe/London"])
    try:
        with pytest.raises(InvalidField, match=r"no time zone data; install it, or the package"):
            Zone.of("Europe/Nowhere")
        assert Zone.of("UTC").offset(0) == 0
    finally:
        zoneinfo.reset_tzpath()
