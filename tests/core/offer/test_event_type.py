"""Which event types are valid, and what their periods and booking windows mean."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from slotengine.core.ledger.terms import LONGEST_LIFE
from slotengine.core.offer.event_type import (
    DateRange,
    EventType,
    Host,
    Limit,
    Period,
    PeriodCache,
    RollingDays,
)
from slotengine.core.time.instant import DAY, FIRST_US, LAST_US, from_us, to_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

HALF_HOUR = timedelta(minutes=30)
SECOND = timedelta(seconds=1)
FIRST_DAY = date(1970, 1, 1).toordinal()
ZONES = ("UTC", "Europe/Rome", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe")

moments = st.integers(
    to_us(datetime(1995, 1, 1, tzinfo=UTC)), to_us(datetime(2040, 1, 1, tzinfo=UTC))
)


def talk(**more: Any) -> EventType:
    options: dict[str, Any] = {"id": "talk", "length": HALF_HOUR, "all_of": ["room"]} | more
    return EventType(**options)


# --- What is refused -------------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("id", {"id": ""}),
    ("id", {"id": 7}),
    ("length", {"length": timedelta()}),
    ("length", {"length": -HALF_HOUR}),
    ("length", {"length": SECOND * 90}),
    ("length", {"length": 30}),
    ("lengths", {"lengths": [timedelta(hours=1)]}),
    ("lengths", {"lengths": [HALF_HOUR, SECOND]}),
    ("interval", {"interval": timedelta()}),
    ("offset", {"offset": -HALF_HOUR}),
    ("offset", {"offset": SECOND}),
    ("before", {"before": -SECOND}),
    ("after", {"after": -SECOND}),
    ("notice", {"notice": -SECOND}),
    ("notice", {"notice": 120}),
    ("all_of", {"all_of": []}),
    ("all_of", {"all_of": "room"}),
    ("all_of", {"all_of": 5}),
    ("all_of", {"all_of": Host("room")}),
    ("any_of", {"any_of": None}),
    ("any_of", {"any_of": [Host("desk")]}),
    ("lengths", {"lengths": None}),
    ("lengths", {"lengths": HALF_HOUR}),
    ("limits", {"limits": Limit(Period.DAY, count=1)}),
    ("limits", {"limits": [Limit(Period.DAY, time=SECOND * 60)]}),
    ("notice", {"notice": timedelta.max}),
    ("schedule", {"schedule": FixedWindows}),
    ("resource", {"all_of": [""]}),
    ("resource", {"all_of": [7]}),
    ("any_of", {"any_of": ["desk"]}),
    ("any_of", {"any_of": "desk"}),
    ("any_of", {"any_of": [[]]}),
    ("any_of", {"any_of": [["desk", "room"]]}),
    ("any_of", {"all_of": [], "any_of": [["desk"], [Host("desk", weight=2)]]}),
    ("schedule", {"schedule": "mornings"}),
    ("zone", {"zone": ""}),
    ("zone", {"zone": 5}),
    ("zone", {"zone": "Mars/Phobos"}),
    ("window", {"window": 30}),
    ("limits", {"limits": [3]}),
    ("limits", {"limits": [Limit(Period.DAY, count=1), Limit(Period.DAY, count=2)]}),
    ("seats", {"seats": 0}),
    ("seats", {"seats": True}),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG, ids=[f"{f}-{w}" for f, w in WRONG])
def test_what_can_never_be_right_is_refused(field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        talk(**wrong)
    assert caught.value.field == field


PARTS: list[tuple[str, Callable[[], object]]] = [
    ("weight", lambda: Host("room", weight=0)),
    ("units", lambda: Host("room", units=0)),
    ("schedule", lambda: Host("room", schedule="mornings")),  # type: ignore[arg-type]
    ("limits", lambda: Limit("day", count=1)),  # type: ignore[arg-type]
    ("limits", lambda: Limit(Period.DAY)),
    ("limits", lambda: Limit(Period.DAY, count=1, time=HALF_HOUR)),
    ("limits", lambda: Limit(Period.DAY, count=0)),
    ("limits", lambda: Limit(Period.DAY, time=timedelta())),
    ("limits", lambda: Limit(Period.DAY, time=SECOND)),
    ("window", lambda: RollingDays(-1)),
    ("window", lambda: RollingDays(36_526)),
    ("window", lambda: RollingDays(True)),
    ("window", lambda: DateRange(date(2030, 1, 2), date(2030, 1, 1))),
    ("window", lambda: DateRange(datetime(2030, 1, 2, tzinfo=UTC), date(2030, 1, 2))),
]


@pytest.mark.parametrize(("field", "make"), PARTS)
def test_what_parts_refuse(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidField) as caught:
        make()
    assert caught.value.field == field


def test_an_event_type_is_a_value() -> None:
    one = talk(all_of=["room", Host("desk")], any_of=[["a", "b"]], limits=[Limit(Period.DAY, 1)])
    other = talk(all_of=[Host("room"), "desk"], any_of=[("a", "b")], limits=(Limit(Period.DAY, 1),))
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert [host.resource for host in one.hosts()] == ["room", "desk", "a", "b"]
    assert talk(schedule=FixedWindows([(0, 1)])) != talk()


def test_hosts_end_up_as_hosts_however_they_were_given() -> None:
    event_type = talk(all_of=["room"], any_of=[["a", Host("b")]])
    assert event_type.all_of == event_type.fixed == (Host("room"),)
    assert event_type.any_of == event_type.groups == ((Host("a"), Host("b")),)


def test_the_least_and_the_most_are_allowed() -> None:
    minute, longest = timedelta(minutes=1), timedelta(microseconds=LONGEST_LIFE)
    event_type = talk(length=minute, interval=minute, notice=longest)
    assert (event_type.interval, event_type.notice) == (minute, longest)
    with pytest.raises(InvalidField):
        talk(notice=longest + timedelta(microseconds=1))
    assert RollingDays(36_525).days == 36_525


def test_what_is_given_is_read_once() -> None:
    groups = (group for group in (["a", "b"], (one for one in "cd")))
    event_type = talk(all_of=iter(["room"]), any_of=groups, lengths=iter([HALF_HOUR]))
    assert [host.resource for host in event_type.hosts()] == ["room", "a", "b", "c", "d"]
    assert event_type.lengths == (HALF_HOUR,)


def test_limits_are_of_bookings_or_of_minutes() -> None:
    assert Limit(Period.DAY, count=3).units == 3
    assert Limit(Period.WEEK, time=timedelta(hours=2)).units == 120


# --- Periods -------------------------------------------------------------------------------


def period_of(per: Period, on: date) -> tuple[int, ...]:
    return {
        Period.DAY: (on.year, on.month, on.day),
        Period.WEEK: on.isocalendar()[:2],
        Period.MONTH: (on.year, on.month),
        Period.YEAR: (on.year,),
    }[per]


@given(st.sampled_from(Period), st.dates(date(1900, 1, 1), date(2100, 12, 31)))
def test_a_period_is_all_its_days_and_no_others(per: Period, on: date) -> None:
    first, following = per.days(on.toordinal() - FIRST_DAY)
    days = [date.fromordinal(day + FIRST_DAY) for day in range(first - 1, following + 1)]
    assert on in days[1:-1]
    assert [period_of(per, day) == period_of(per, on) for day in days] == [
        False,
        *[True] * (len(days) - 2),
        False,
    ]


@given(st.sampled_from(Period), moments, st.sampled_from(ZONES))
@example(Period.DAY, to_us(datetime(2018, 2, 18, 2, 30, tzinfo=UTC)), "America/Sao_Paulo")
@example(Period.DAY, to_us(datetime(2011, 12, 30, 9, 59, tzinfo=UTC)), "Pacific/Apia")
def test_the_span_of_a_period_is_what_the_clock_shows(per: Period, moment: int, key: str) -> None:
    start, end = per.span(Zone.of(key), moment)
    assert start <= moment < end
    on = from_us(start).astimezone(ZoneInfo(key)).date()
    assert period_of(per, on) == period_of(per, from_us(moment).astimezone(ZoneInfo(key)).date())
    before = from_us(start - 1).astimezone(ZoneInfo(key)).date()
    after = from_us(end).astimezone(ZoneInfo(key)).date()
    assert period_of(per, before) < period_of(per, on) < period_of(per, after)
    assert per.span(Zone.of(key), start) == per.span(Zone.of(key), end - 1) == (start, end)


@given(
    st.sampled_from(Period),
    st.lists(moments, min_size=2, max_size=30),
    st.sampled_from(ZONES),
    st.integers(1, 20),
)
def test_periods_are_kept_as_they_are_worked_out(
    per: Period, asked: list[int], key: str, kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slotengine.core.offer.event_type._PERIODS_KEPT", kept)
        periods = PeriodCache(per, Zone.of(key))
        nearby = (moment + days * DAY for moment in asked for days in (0, 1, -1, 0))
        for moment in nearby:
            assert periods.span(moment) == per.span(Zone.of(key), moment)
            periods.check_invariants()


def test_what_lies_beyond_the_years_that_count_is_not_kept() -> None:
    periods = PeriodCache(Period.YEAR, Zone.of("UTC"))
    last = LAST_LOCAL - DAY
    assert periods.span(last) == Period.YEAR.span(Zone.of("UTC"), last)
    assert periods.span(FIRST_LOCAL) == Period.YEAR.span(Zone.of("UTC"), FIRST_LOCAL)
    periods.check_invariants()


def test_clocks_that_go_back_over_midnight() -> None:
    """When midnight occurs twice, the repeated time belongs to the date that had begun before."""
    azores = Zone.of("Atlantic/Azores")
    # 2024-10-27: at 01:00 summer time (UTC+0) the clock goes back to 00:00 (UTC-1).
    first, again = (to_us(datetime(2024, 10, 27, hour, 30, tzinfo=UTC)) for hour in (0, 1))
    assert Period.DAY.span(azores, first) == Period.DAY.span(azores, again)
    # In 1996 Newfoundland went back at 00:01 to 23:01 of the day before.
    johns = Zone.of("America/St_Johns")
    night = to_us(datetime(1996, 10, 27, 2, 30, tzinfo=UTC))
    sunday = Period.DAY.span(johns, night)
    assert johns.date(night) == johns.date(night + 12 * 3600 * 10**6)
    backwards = to_us(datetime(1996, 10, 27, 2, 45, tzinfo=UTC))
    assert johns.date(backwards) < johns.date(night)
    assert Period.DAY.span(johns, backwards) == sunday
    assert sunday[0] <= backwards < sunday[1]


@pytest.mark.parametrize("per", Period)
@pytest.mark.parametrize("moment", [FIRST_US, LAST_US])
def test_at_the_ends_of_the_calendar(per: Period, moment: int) -> None:
    start, end = per.span(Zone.of("Pacific/Kiritimati"), moment)
    assert FIRST_US < start < end < LAST_US


# --- Booking windows -------------------------------------------------------------------


def last_of(days: int, business: bool, now: int, key: str) -> int:
    """Return when the last bookable date ends, by counting dates one by one."""
    last, left = from_us(now).astimezone(ZoneInfo(key)).date(), days
    while left:
        last += timedelta(days=1)
        left -= not business or last.weekday() < 5
    return Zone.of(key).midnight(last.toordinal() + 1 - FIRST_DAY)


@given(moments, st.integers(0, 40), st.booleans(), st.sampled_from(ZONES))
def test_rolling_days_are_counted_one_by_one(now: int, days: int, business: bool, key: str) -> None:
    window = RollingDays(days, business=business)
    assert window.span(Zone.of(key), now) == (now, last_of(days, business, now, key))


@pytest.mark.parametrize("today", range(7))
def test_business_days_may_be_counted_from_any_day_of_the_week(today: int) -> None:
    for days in range(12):
        window, now = RollingDays(days, business=True), today * DAY
        assert window.span(Zone.of("UTC"), now) == (now, last_of(days, True, now, "UTC"))


def test_a_range_of_dates_is_that_of_the_zone() -> None:
    window = DateRange(date(2030, 3, 31), date(2030, 3, 31))
    opens, end = window.span(Zone.of("Europe/Rome"), now=0)
    assert from_us(opens) == datetime(2030, 3, 30, 23, tzinfo=UTC)
    assert from_us(end) == datetime(2030, 3, 31, 22, tzinfo=UTC)  # an hour shorter, that day


def test_periods_beyond_those_that_are_kept_are_right_too() -> None:
    periods = PeriodCache(Period.DAY, Zone.of("UTC"))
    for day in range(4_100):
        assert periods.span(day * DAY + 1) == (day * DAY, (day + 1) * DAY)
    assert periods.span(1) == (0, DAY)
