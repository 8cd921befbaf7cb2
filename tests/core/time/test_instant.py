"""Conversion between datetimes and the core's microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine.core.time.instant import EPOCH, duration_us, from_us, span_us, to_us
from slotengine.errors import InvalidField

offsets = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001 - the zone is drawn too
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=offsets,
)


@given(moments)
def test_there_and_back_is_the_same_moment(moment: datetime) -> None:
    back = from_us(to_us(moment))
    assert back == moment
    assert back.tzinfo is UTC


@given(moments)
def test_microseconds_are_those_since_the_epoch(moment: datetime) -> None:
    assert to_us(moment) == (moment - EPOCH) // timedelta(microseconds=1)


def test_a_time_that_exists_twice_is_two_moments() -> None:
    early = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Rome"))
    assert to_us(early.replace(fold=1)) - to_us(early) == duration_us(timedelta(hours=1))


@given(st.timedeltas())
def test_durations(duration: timedelta) -> None:
    assert duration_us(duration) == duration // timedelta(microseconds=1)


@pytest.mark.parametrize("naive", [datetime(2030, 1, 1), "2030-01-01", 5, None])  # noqa: DTZ001
def test_what_is_no_aware_datetime_is_refused(naive: datetime) -> None:
    with pytest.raises(InvalidField, match="timezone-aware") as refused:
        to_us(naive, "start")
    assert refused.value.field == "start"


@pytest.mark.parametrize("wrong", [5, 0.5, "PT5M", None])
def test_what_is_no_timedelta_is_refused(wrong: timedelta) -> None:
    with pytest.raises(InvalidField, match="timedelta") as refused:
        duration_us(wrong, "length")
    assert refused.value.field == "length"


def test_who_does_not_name_the_field_is_told_what_kind_it_is() -> None:
    with pytest.raises(InvalidField) as refused:
        to_us(datetime(2030, 1, 1))  # noqa: DTZ001
    assert refused.value.field == "time"
    with pytest.raises(InvalidField) as refused:
        duration_us(5)  # type: ignore[arg-type]
    assert refused.value.field == "duration"


def test_a_span_is_a_start_and_a_length() -> None:
    minute = timedelta(minutes=1)
    assert span_us(EPOCH + minute, 2 * minute) == (60_000_000, 180_000_000)
    with pytest.raises(InvalidField) as refused:
        span_us(datetime(2030, 1, 1), minute)  # noqa: DTZ001
    assert refused.value.field == "start"
    with pytest.raises(InvalidField) as refused:
        span_us(EPOCH, 60)  # type: ignore[arg-type]
    assert refused.value.field == "length"
