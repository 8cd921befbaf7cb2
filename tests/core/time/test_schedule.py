"""Schedules, compared with local time, above all around changes of the clock."""

from __future__ import annotations

import copy
import pickle
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slotengine.core.time import schedule as module
from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    Away,
    FixedWindows,
    Hours,
    Schedule,
    ScheduleIntersection,
    ScheduleUnion,
    Travel,
    Windows,
    hours,
)
from slotengine.errors import InvalidField
from slotengine.testing import strategies

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BUCKET = 2**40
BEGINNING, END = -62_135_424_000 * SECOND, 253_402_214_400 * SECOND
EVERY_DAY = range(7)


def at(text: str) -> int:
    """Return an ISO time, in UTC unless it has an offset, in the core's microseconds."""
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def daily(zone: str, text: str) -> Schedule:
    return Schedule(zone, dict.fromkeys(EVERY_DAY, hours(text)))


def shown(windows: Windows, start: str, end: str) -> list[str]:
    """Return what is open, as readable UTC times."""
    return [
        " ".join(f"{EPOCH + edge * MICROSECOND:%d %H:%M:%S}" for edge in window)
        for window in windows.windows(at(start), at(end))
    ]


def model_is_open(schedule: Schedule, instant: int) -> bool:
    """Apply the rule literally: does the instant fall within the hours of some local date?"""
    utc = EPOCH + instant * MICROSECOND
    zones = {schedule.zone, *(trip.zone for trip in schedule.travel)}
    return any(
        model_reads_open(schedule, zone, utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        for zone in zones
    )


def model_reads_open(schedule: Schedule, zone: str, local: datetime) -> bool:
    day, reading = local.date(), local - datetime.combine(local, time.min)
    trips = [trip.zone for trip in schedule.travel if trip.first <= day <= trip.last]
    if (trips or [schedule.zone])[0] != zone or is_away(schedule, day):
        return False
    today = [(minutes(h.start_min), minutes(h.end_min)) for h in begins(schedule, day)]
    night = [
        (minutes(h.start_min), minutes(h.end_min))
        for h in begins(schedule, day - timedelta(1))
        if not is_away(schedule, day - timedelta(1))
    ]
    return any(start <= reading < end or end < start <= reading for start, end in today) or any(
        reading < end < start for start, end in night
    )


def begins(schedule: Schedule, day: date) -> tuple[Hours, ...]:
    return tuple(schedule.overrides.get(day, schedule.weekly.get(day.weekday(), ())))


def is_away(schedule: Schedule, day: date) -> bool:
    return any(away.first <= day <= away.last for away in schedule.away)


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def agrees(schedule: Schedule, start: int, end: int, *, step: int) -> None:
    """Assert that windows and covers both agree with the model, all over the span."""
    windows = list(schedule.windows(start, end))
    edges = [edge for window in windows for edge in window]
    assert all(left < right for left, right in pairwise(edges)), "apart, in order, never empty"
    assert all(start <= edge <= end for edge in edges)
    beside = {edge + by for edge in edges for by in (-1, 0)}
    for instant in filter(range(start, end).__contains__, {*range(start, end, step), *beside}):
        expected = model_is_open(schedule, instant)
        assert bisect_right(edges, instant) % 2 == expected, EPOCH + instant * MICROSECOND
        assert schedule.covers(instant, instant + 1) == expected
    for opens, closes in windows:
        assert schedule.covers(opens, closes)
        assert schedule.covers(opens, closes + 1) == (
            closes == end and model_is_open(schedule, end)
        )
    schedule.check_invariants()


# --- Known days ------------------------------------------------------------------------


def test_wall_clock_hours_stay_across_spring() -> None:
    rome = daily("Europe/Rome", "09:00-17:00")
    assert shown(rome, "2024-03-30", "2024-04-01") == [
        "30 08:00:00 30 16:00:00",
        "31 07:00:00 31 15:00:00",
    ]


def test_a_day_of_24_hours_has_23_or_25_of_them() -> None:
    for day, length in (("2024-03-10", 23), ("2024-11-03", 25), ("2024-06-01", 24)):
        opens = Schedule(
            "America/New_York", overrides={date.fromisoformat(day): hours("00:00-24:00")}
        )
        (window,) = opens.windows(at(day) - DAY, at(day) + 3 * DAY)
        assert window[1] - window[0] == length * HOUR


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        # At 03:00 summer time (01:00 UTC) clocks went back to 02:00.
        ("02:00-02:30", ["27 00:00:00 27 00:30:00", "27 01:00:00 27 01:30:00"]),
        ("02:30-03:00", ["27 00:30:00 27 01:00:00", "27 01:30:00 27 02:00:00"]),
        ("02:00-03:00", ["27 00:00:00 27 02:00:00"]),
        ("01:00-02:30", ["26 23:00:00 27 00:30:00", "27 01:00:00 27 01:30:00"]),
        ("02:30-04:00", ["27 00:30:00 27 01:00:00", "27 01:30:00 27 03:00:00"]),
        ("01:00-04:00", ["26 23:00:00 27 03:00:00"]),
    ],
)
def test_a_time_that_exists_twice_is_open_twice(text: str, windows: list[str]) -> None:
    rome = Schedule("Europe/Rome", overrides={date(2024, 10, 27): hours(text)})
    assert shown(rome, "2024-10-26", "2024-10-28") == windows


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        # At 02:00 winter time (01:00 UTC) clocks went forward to 03:00.
        ("02:10-02:50", []),
        ("01:30-02:30", ["31 00:30:00 31 01:00:00"]),
        ("02:30-03:30", ["31 01:00:00 31 01:30:00"]),
        ("01:30-03:30", ["31 00:30:00 31 01:30:00"]),
        ("01:30-02:00 03:00-03:30", ["31 00:30:00 31 01:30:00"]),
    ],
)
def test_a_time_that_does_not_exist_is_shown_by_no_clock(text: str, windows: list[str]) -> None:
    rome = Schedule("Europe/Rome", overrides={date(2024, 3, 31): hours(text)})
    assert shown(rome, "2024-03-30", "2024-04-01") == windows


def test_half_an_hour_of_summer_time() -> None:
    howe = Schedule("Australia/Lord_Howe", {6: hours("01:30-02:30")})
    # Back from 02:00 (+11) to 01:30 (+10:30), and in October forward from 02:00 to 02:30.
    assert shown(howe, "2024-04-06", "2024-04-07") == ["06 14:30:00 06 16:00:00"]
    assert shown(howe, "2024-10-05", "2024-10-06") == ["05 15:00:00 05 15:30:00"]


def test_an_odd_offset() -> None:
    assert shown(daily("Asia/Kathmandu", "09:00-17:00"), "2024-06-01", "2024-06-02") == [
        "01 03:15:00 01 11:15:00"
    ]


def test_summer_time_pauses_for_ramadan() -> None:
    shop = daily("Africa/Casablanca", "02:00-03:00")
    # Back from 03:00 (+01) to 02:00 (+00) on 10 March; forward from 02:00 on 14 April.
    assert shown(shop, "2024-03-09", "2024-03-11T12:00") == [
        "09 01:00:00 09 02:00:00",
        "10 01:00:00 10 03:00:00",
        "11 02:00:00 11 03:00:00",
    ]
    assert shown(shop, "2024-04-13", "2024-04-15T12:00") == [
        "13 02:00:00 13 03:00:00",
        "15 01:00:00 15 02:00:00",
    ]


def test_clocks_that_change_at_midnight() -> None:
    club = daily("America/Sao_Paulo", "23:00-00:30")
    # 4 November 2018 began at 01:00; 17 February 2018 had its last hour twice.
    assert shown(club, "2018-11-04", "2018-11-05") == ["04 02:00:00 04 03:00:00"]
    assert shown(club, "2018-02-17T12:00", "2018-02-18T12:00") == ["18 01:00:00 18 03:30:00"]


def test_a_date_that_never_was() -> None:
    skipped = {date(2011, 12, 30): hours("00:00-24:00")}
    apia = Schedule("Pacific/Apia", {3: hours("22:00-06:00")}, skipped)
    # Thursday the 29th ends at 10:00 UTC, and Saturday the 31st begins: the tail of Thursday
    # night, like all of Friday, is nowhere.
    assert shown(apia, "2011-12-29", "2012-01-02") == ["30 08:00:00 30 10:00:00"]


def test_a_date_that_was_twice() -> None:
    juneau = Schedule("America/Juneau", overrides={date(1867, 10, 18): hours("16:00-17:00")})
    # In the afternoon of the 19th Alaska was sold, and with it the date line: it was the 18th.
    assert shown(juneau, "1867-10-16", "1867-10-21") == [
        "18 00:57:41 18 01:57:41",
        "19 00:57:41 19 01:57:41",
    ]


def test_offsets_of_odd_seconds() -> None:
    # Until that day Liberia was 44 minutes and 30 seconds behind.
    monrovia = daily("Africa/Monrovia", "09:00-10:00")
    assert shown(monrovia, "1972-01-06", "1972-01-08") == [
        "06 09:44:30 06 10:44:30",
        "07 09:00:00 07 10:00:00",
    ]


# --- What is open on a date ------------------------------------------------------------


def june(day: int) -> date:
    return date(2024, 6, day)


def test_hours_over_midnight_belong_to_the_date_they_begin_on() -> None:
    bar = Schedule.weekly_hours("UTC", "fri 22:00-06:00")
    assert shown(bar, "2024-05-31", "2024-06-02") == ["31 22:00:00 01 06:00:00"]
    assert shown(bar, "2024-06-01", "2024-06-02") == ["01 00:00:00 01 06:00:00"]


@pytest.mark.parametrize("text", ["22:00-24:00", "22:00-00:00"])
def test_hours_may_end_at_midnight(text: str) -> None:
    assert shown(daily("UTC", text), "2024-06-01", "2024-06-02") == ["01 22:00:00 02 00:00:00"]


def test_hours_that_meet_are_one_window() -> None:
    opens = daily("UTC", "09:00-12:00 12:00-13:00 10:00-11:00 10:00-11:00 12:30-14:00")
    assert shown(opens, "2024-06-01", "2024-06-02") == ["01 09:00:00 01 14:00:00"]


def test_round_the_clock_is_one_window() -> None:
    opens = daily("Europe/Rome", "00:00-24:00")
    span = at("2020-01-01"), at("2030-01-01")
    assert list(opens.windows(*span)) == [span]
    assert opens.covers(*span)


def test_round_the_clock_is_one_window_to_the_last_microsecond() -> None:
    always = daily("UTC", "00:00-24:00")
    edge = 1_600 * BUCKET  # where one part of what is kept ends and the next begins
    for start, end in ((edge - 5, edge), (edge - 5, edge + 1), (edge, edge + 1)):
        assert list(always.windows(start, end)) == [(start, end)]
        assert always.covers(start, end)


def test_hours_of_no_length_open_nothing() -> None:
    assert shown(daily("UTC", "09:00-09:00 00:00-00:00"), "2024-06-01", "2024-06-09") == []


def test_an_override_replaces_the_hours_of_its_date() -> None:
    first = date(2024, 6, 1)
    opens = replace(
        daily("UTC", "09:00-17:00"),
        overrides={first: hours("08:00-09:00 10:00-11:00"), first + timedelta(1): ()},
    )
    assert shown(opens, "2024-06-01", "2024-06-04") == [
        "01 08:00:00 01 09:00:00",
        "01 10:00:00 01 11:00:00",
        "03 09:00:00 03 17:00:00",
    ]


def test_an_override_needs_no_weekly_hours() -> None:
    opens = Schedule("UTC", overrides={date(2024, 6, 1): hours("22:00-02:00")})
    assert shown(opens, "2024-05-01", "2024-07-01") == ["01 22:00:00 02 02:00:00"]


def test_an_override_leaves_the_night_before_alone_but_absence_does_not() -> None:
    bar = daily("UTC", "22:00-06:00")
    blocked = replace(bar, overrides={date(2024, 6, 2): ()})
    absent = replace(bar, away=(Away(date(2024, 6, 2), date(2024, 6, 2)),))
    assert shown(blocked, "2024-06-01T12:00", "2024-06-03T12:00") == ["01 22:00:00 02 06:00:00"]
    assert shown(absent, "2024-06-01T12:00", "2024-06-03T12:00") == ["01 22:00:00 02 00:00:00"]


def test_absence_includes_both_ends_and_may_overlap() -> None:
    opens = replace(
        daily("UTC", "09:00-10:00"), away=(Away(june(2), june(4)), Away(june(4), june(5)))
    )
    assert shown(opens, "2024-06-01", "2024-06-07") == [
        "01 09:00:00 01 10:00:00",
        "06 09:00:00 06 10:00:00",
    ]


def test_travel_reads_the_same_hours_in_another_zone() -> None:
    opens = replace(
        daily("Europe/Rome", "09:00-10:00"),
        travel=(
            Travel(june(4), june(4), "America/New_York"),
            Travel(june(2), june(3), "Asia/Tokyo"),
        ),
    )
    assert shown(opens, "2024-06-01", "2024-06-06") == [
        "01 07:00:00 01 08:00:00",
        "02 00:00:00 02 01:00:00",
        "03 00:00:00 03 01:00:00",
        "04 13:00:00 04 14:00:00",
        "05 07:00:00 05 08:00:00",
    ]


def test_around_a_trip_dates_meet_or_overlap_or_leave_a_gap() -> None:
    east = replace(daily("UTC", "00:00-24:00"), travel=(Travel(june(2), june(2), "Asia/Tokyo"),))
    # In Tokyo the date is nine hours early: it overlaps the 1st, and leaves the 2nd at 15:00.
    assert shown(east, "2024-06-01", "2024-06-04") == [
        "01 00:00:00 02 15:00:00",
        "03 00:00:00 04 00:00:00",
    ]


# --- Against the model -----------------------------------------------------------------

# A zone, and an instant near an interesting change of its clock.
HARD_DAYS = [
    ("Europe/Rome", "2024-03-31T01:00"),
    ("Europe/Rome", "2024-10-27T01:00"),
    ("America/New_York", "2024-03-10T07:00"),
    ("America/New_York", "2024-11-03T06:00"),
    ("Australia/Lord_Howe", "2024-04-06T15:00"),
    ("Australia/Lord_Howe", "2024-10-05T15:30"),
    ("Asia/Kathmandu", "1985-12-31T18:30"),
    ("Africa/Casablanca", "2024-03-10T02:00"),
    ("Africa/Monrovia", "1972-01-07T00:44:30"),
    ("Africa/Freetown", "1939-09-01T01:00"),  # four days apart: the shortest summer time of all
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Havana", "2024-11-03T05:00"),
    ("America/Juneau", "1867-10-19T00:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Manila", "1844-12-31T16:00"),
    ("Europe/Amsterdam", "1937-06-30T23:40"),
    ("Europe/Rome", "2100-10-31T01:00"),
    ("UTC", "2024-02-29T00:00"),
]


def schedules(zone: str, near: date) -> st.SearchStrategy[Schedule]:
    return strategies.schedules(zone, near, zones=[zone for zone, _ in HARD_DAYS])


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(HARD_DAYS))
def test_agrees_with_the_model_every_minute_of_a_hard_day(
    data: st.DataObject, hard_day: tuple[str, str]
) -> None:
    zone, near = hard_day
    change = at(near)
    schedule = data.draw(schedules(zone, datetime.fromisoformat(near).date()))
    agrees(schedule, change - 30 * HOUR, change + 30 * HOUR, step=MINUTE)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(sorted(available_timezones())), st.integers(-3000, 6000))
def test_agrees_with_the_model_in_any_zone(data: st.DataObject, zone: str, fortnight: int) -> None:
    start = fortnight * BUCKET - 4 * DAY  # so that the bucket's end is inside
    near = (EPOCH + (start + 4 * DAY) * MICROSECOND).date()
    schedule = data.draw(schedules(zone, near))
    agrees(schedule, start, start + 8 * DAY, step=7 * MINUTE + 11 * SECOND)


instants = st.integers(BEGINNING - 3 * DAY, END + 3 * DAY)
instants |= st.sampled_from([BEGINNING, END]).flatmap(lambda e: st.integers(e - DAY, e + DAY))
instants |= st.integers(-(2**80), 2**80)


@settings(deadline=None)
@given(
    st.data(),
    st.sampled_from([zone for zone, _ in HARD_DAYS]),
    instants,
    st.integers(1, 3 * DAY),
)
@example(None, "Pacific/Apia", END - 1, 1)
def test_answers_in_every_year(
    data: st.DataObject | None, zone: str, start: int, length: int
) -> None:
    times = strategies.times_of_day
    text = "00:00-24:00" if data is None else str(data.draw(st.builds(Hours, times, times)))
    schedule = daily(zone, text)
    expected = BEGINNING <= start < END and model_is_open(schedule, start)
    assert schedule.covers(start, start + 1) == expected
    windows = list(schedule.windows(start, start + length))
    assert schedule.covers(start, start + length) == (windows == [(start, start + length)])
    schedule.check_invariants()


def test_is_closed_where_there_is_no_calendar() -> None:
    opens = daily("Pacific/Kiritimati", "00:00-24:00")
    assert opens.covers(BEGINNING, BEGINNING + DAY)
    assert opens.covers(END - DAY, END)
    for start, end in ((BEGINNING - 1, BEGINNING + 1), (END - 1, END + 1), (END, END + 1)):
        assert not opens.covers(start, end)
    assert not opens.covers(END + 2 * BUCKET, END + 3 * BUCKET)
    assert list(opens.windows(BEGINNING - DAY, BEGINNING + DAY)) == [(BEGINNING, BEGINNING + DAY)]
    assert list(opens.windows(END - DAY, END + BUCKET)) == [(END - DAY, END)]
    assert list(opens.windows(END + 1, END + BUCKET)) == []
    assert list(opens.windows(-(2**80), BEGINNING)) == []


def test_what_is_kept_is_bounded() -> None:
    opens = daily("Europe/Rome", "09:00-17:00")
    for bucket in range(-1000, 1000):
        opens.covers(bucket * BUCKET, bucket * BUCKET + 1)
        assert len(opens.buckets) <= module.BUCKETS_KEPT
    opens.check_invariants()


# --- As a value ------------------------------------------------------------------------

RICH = Schedule.weekly_hours(
    "Europe/Rome",
    "mon-fri 09:00-12:30 13:30-17:00",
    "sat 22:00-06:00",
    overrides={date(2024, 12, 25): ()},
    travel=[Travel(date(2024, 5, 6), date(2024, 5, 10), "Asia/Tokyo")],
    away=[Away(date(2024, 8, 12), date(2024, 8, 23))],
)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_are_equal(clone: Callable[[Schedule], Schedule]) -> None:
    RICH.covers(0, 1)
    other = clone(RICH)
    assert other == RICH
    assert hash(other) == hash(RICH)
    assert other != replace(RICH, zone="UTC")
    assert list(other.windows(0, BUCKET)) == list(RICH.windows(0, BUCKET))


def test_whatever_differs_makes_another() -> None:
    others = [
        replace(RICH, zone="UTC"),
        replace(RICH, weekly={}),
        replace(RICH, overrides={}),
        replace(RICH, travel=()),
        replace(RICH, away=()),
    ]
    assert all(other != RICH for other in others)
    assert len({RICH, *others}) == len({hash(one) for one in (RICH, *others)}) == 6


def test_cannot_be_changed() -> None:
    weekly = {0: [Hours(0, 60)]}
    schedule = Schedule("UTC", weekly)
    weekly[0].append(Hours(60, 120))
    weekly[1] = []
    assert schedule.weekly == {0: (Hours(0, 60),)}
    with pytest.raises(TypeError):
        schedule.weekly[1] = ()  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        schedule.zone = "Europe/Rome"  # type: ignore[misc]


def test_what_is_written_out_may_have_all_that_a_schedule_has() -> None:
    overrides = {june(1): hours("12:00-13:00")}
    travel, away = (Travel(june(2), june(3), "Asia/Tokyo"),), (Away(june(4), june(5)),)
    assert Schedule.weekly_hours(
        "UTC", "mon 09:00-10:00", overrides=overrides, travel=travel, away=away
    ) == Schedule("UTC", {0: hours("09:00-10:00")}, overrides, travel, away)


def test_rules_are_read() -> None:
    read = Schedule.weekly_hours("UTC", "sat-mon 09:00-10:00", " MON,wed  11:00-24:00 12:00-13:00")
    assert {day: " ".join(map(str, each)) for day, each in read.weekly.items()} == {
        5: "09:00-10:00",
        6: "09:00-10:00",
        0: "09:00-10:00 11:00-24:00 12:00-13:00",
        2: "11:00-24:00 12:00-13:00",
    }


# --- Bad input -------------------------------------------------------------------------

DAY_ONE = date(2024, 6, 1)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("hours.start_min", lambda: Hours(-1, 5)),
        ("hours.start_min", lambda: Hours(1440, 5)),
        ("hours.start_min", lambda: Hours(True, 5)),
        ("hours.end_min", lambda: Hours(5, 1441)),
        ("hours.end_min", lambda: Hours(5, 6.5)),  # type: ignore[arg-type]
        ("hours.end_min", lambda: hours("09:00-24:30")),
        ("hours", lambda: hours("9-17")),
        ("hours", lambda: hours("09:60-17:00")),
        ("hours", lambda: hours("")),
        ("weekly", lambda: Schedule("UTC", {7: ()})),
        ("weekly", lambda: Schedule("UTC", {"mon": ()})),  # type: ignore[dict-item]
        ("weekly", lambda: Schedule("UTC", {0: "09:00-17:00"})),  # type: ignore[dict-item]
        ("weekly", lambda: Schedule.weekly_hours("UTC", "someday 09:00-17:00")),
        ("weekly", lambda: Schedule.weekly_hours("UTC", "mon- 09:00-17:00")),
        ("weekly", lambda: Schedule.weekly_hours("UTC", "mon-wed-fri 09:00-17:00")),
        ("hours", lambda: Schedule.weekly_hours("UTC", "mon")),
        ("hours", lambda: Schedule.weekly_hours("UTC", "")),
        ("overrides", lambda: Schedule("UTC", overrides={datetime(2024, 6, 1, tzinfo=UTC): ()})),
        ("overrides", lambda: Schedule("UTC", overrides={DAY_ONE: "10"})),  # type: ignore[dict-item]
        ("away", lambda: Away(DAY_ONE, DAY_ONE - timedelta(1))),
        ("away", lambda: Away(DAY_ONE, "2024-06-02")),  # type: ignore[arg-type]
        ("travel", lambda: Travel(DAY_ONE, DAY_ONE - timedelta(1), "UTC")),
        ("travel.zone", lambda: Travel(DAY_ONE, DAY_ONE, "Mars/Olympus")),
        (
            "travel",
            lambda: Schedule(
                "UTC",
                travel=[
                    Travel(DAY_ONE, DAY_ONE + timedelta(1), "Asia/Tokyo"),
                    Travel(DAY_ONE + timedelta(1), DAY_ONE + timedelta(2), "Europe/Rome"),
                ],
            ),
        ),
        ("spans", lambda: FixedWindows([(1, 1)])),
    ],
)
def test_bad_rules_are_refused_by_name(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidField) as refused:
        make()
    assert refused.value.field == field
    assert "\n" not in str(refused.value)


NO_ZONES = ["", "Europe", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "\0", "é" * 300, "utc "]
# These exist on some systems, and mean something else on each.
NO_ZONES += ["right/UTC", "posix/Europe/Rome", "localtime", "posixrules"]


@pytest.mark.parametrize("zone", NO_ZONES)
def test_unknown_zones_are_refused(zone: str) -> None:
    with pytest.raises(InvalidField) as refused:
        Schedule(zone)
    assert refused.value.field == "zone"


# --- The other windows -----------------------------------------------------------------

spans = st.tuples(st.integers(0, 30), st.integers(1, 5)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(spans), spans)
def test_fixed_windows_are_the_instants_of_their_spans(
    given_spans: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    fixed = FixedWindows(given_spans)
    fixed.check_invariants()
    instants = {instant for span in given_spans for instant in range(*span)}
    windows = list(fixed.windows(*asked))
    assert fixed.covers(*asked) == instants.issuperset(range(*asked))
    assert [i for window in windows for i in range(*window)] == sorted(
        instants.intersection(range(*asked))
    )
    assert all(left[1] < right[0] for left, right in pairwise(windows))


def test_fixed_windows_may_be_said_as_datetimes() -> None:
    ten, eleven = (datetime(2030, 1, 7, hour, tzinfo=UTC) for hour in (10, 11))
    fixed = FixedWindows.between((ten, eleven), (eleven, eleven + timedelta(hours=1)))
    assert shown(fixed, "2030-01-07", "2030-01-08") == ["07 10:00:00 07 12:00:00"]
    for wrong in ((ten.replace(tzinfo=None), eleven), (ten, eleven.replace(tzinfo=None))):
        with pytest.raises(InvalidField) as refused:
            FixedWindows.between(wrong)
        assert refused.value.field == "spans"


def test_always_open() -> None:
    always: Windows = ALWAYS_OPEN
    assert always.covers(-(2**80), 2**80)
    assert list(always.windows(-5, 5)) == [(-5, 5)]


def test_all_of_several_schedules() -> None:
    both = ScheduleIntersection((FixedWindows([(0, 10), (20, 30)]), FixedWindows([(5, 25)])))
    assert list(both.windows(0, 100)) == [(5, 10), (20, 25)]
    assert both.covers(5, 10)
    assert not both.covers(4, 10)
    assert ScheduleIntersection(()).covers(0, 1)


def test_windows_that_are_open_at_the_same_instants_are_equal() -> None:
    market = module.FixedWindows([(0, 10), (10, 15)])
    assert market == module.FixedWindows([(0, 15)])
    assert hash(market) == hash(module.FixedWindows([(0, 15)]))
    assert market != module.FixedWindows([(0, 16)])
    assert market != "market"
    assert module.AlwaysOpen() == module.ALWAYS_OPEN
    assert hash(module.AlwaysOpen()) == hash(module.ALWAYS_OPEN)
    assert market != module.ALWAYS_OPEN


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=4),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 50),
    st.integers(1, 20),
)
def test_any_of_several_schedules(
    several: list[list[tuple[int, int]]], start: int, length: int
) -> None:
    """In whole days, so that spans cross the borders of buckets."""
    spans = [[(low * DAY, (low + days) * DAY) for low, days in each] for each in several]
    either = ScheduleUnion([FixedWindows(each) for each in spans])
    all_together = FixedWindows([span for each in spans for span in each])
    low, high = start * DAY, (start + length) * DAY
    for _ in range(2):  # worked out, and kept
        assert list(either.windows(low, high)) == list(all_together.windows(low, high))
        assert either.covers(low, high) == all_together.covers(low, high)


def test_any_of_several_keeps_so_many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotengine.core.time.schedule.BUCKETS_KEPT", 2)
    either = ScheduleUnion([FixedWindows([(0, 100 * DAY)]), FixedWindows([(200 * DAY, 300 * DAY)])])
    found = list(either.windows(0, 365 * DAY))
    assert found == [(0, 100 * DAY), (200 * DAY, 300 * DAY)]
    assert len(either.buckets) <= 2


def test_what_one_of_several_opens_is_asked_for_again() -> None:
    first = FixedWindows([(0, 10)])
    first.check_invariants()
    either = module.ScheduleUnion([first, FixedWindows([(5, 15)])])
    assert [list(either.windows(0, 20)) for _ in range(2)] == [[(0, 15)]] * 2
