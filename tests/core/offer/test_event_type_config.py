"""Event types as plain values: each comes back equal."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine.core.ledger.config import (
    DatesConfig,
    EventTypeConfig,
    HostConfig,
    HoursRef,
    PeriodLimitConfig,
    RollingConfig,
)
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import MINUTE, to_us
from slotengine.core.time.schedule import FixedWindows, Windows
from slotengine.core.time.schedule_text import schedule_from_text, schedule_text
from slotengine.errors import InvalidField
from slotengine.testing import strategies

SOME_NIGHT = to_us(datetime(2024, 3, 31, tzinfo=UTC))
MARKET = FixedWindows([(17_000_003, 40_000_001)])


def read(hours: HoursRef) -> Windows | None:
    return schedule_from_text(hours) if isinstance(hours, str) else hours


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


FULL = EventType(
    id="talk",
    length=minutes(31),
    all_of=["room-1", Host("hall", units=2)],
    any_of=[["anna", Host("ben", weight=3, schedule=MARKET, credit=7)], ["desk"]],
    lengths=[minutes(31), minutes(61)],
    interval=minutes(17),
    offset=minutes(3),
    before=timedelta(minutes=1, seconds=7),
    after=timedelta(microseconds=1),
    notice=timedelta(hours=2, seconds=1),
    window=DateRange(date(2030, 6, 1), date(2030, 8, 31)),
    limits=[Limit(Period.DAY, count=3), Limit(Period.WEEK, time=minutes(122))],
    seats=5,
    schedule=MARKET,
    first_only=True,
    optimized=True,
    zone="Europe/Rome",
)
ROLLING = EventType(
    id="chat", length=minutes(1), all_of=["room-1"], window=RollingDays(30, business=True)
)


@pytest.mark.parametrize("event_type", [FULL, ROLLING], ids=lambda one: one.id)
def test_each_field_comes_back(event_type: EventType) -> None:
    config = event_type.as_config()
    assert EventType.from_config(event_type.id, config, read) == event_type
    json.dumps(config)  # nothing but atoms


def test_what_it_is_as_a_plain_value() -> None:
    config = FULL.as_config()
    assert config.fixed == (HostConfig("room-1"), HostConfig("hall", units=2))
    assert config.groups[0][1] == HostConfig("ben", 3, schedule_text(MARKET), 1, 7)
    assert config.window == DatesConfig("2030-06-01", "2030-08-31")
    assert config.limits == (PeriodLimitConfig("day", 3), PeriodLimitConfig("week", 122, True))
    assert config.before == 67 * 1_000_000
    assert config.longest_span == config.before + 61 * MINUTE + 1
    assert not config.retired
    assert ROLLING.as_config().window == RollingConfig(30, business=True)


@given(st.data())
def test_any_event_type_comes_back(data: st.DataObject) -> None:
    hosts = {"host-1": 1, "host-2": 1, "host-3": 1, "hall": 3}
    event_type = data.draw(strategies.event_types("talk", hosts, SOME_NIGHT))
    config = event_type.as_config()
    assert EventType.from_config("talk", config, read) == event_type


@pytest.mark.parametrize(
    "config",
    [
        EventTypeConfig("half an hour"),  # type: ignore[arg-type]
        EventTypeConfig(MINUTE, fixed=(7,)),  # type: ignore[arg-type]
        EventTypeConfig(10**30, fixed=(HostConfig("room"),)),
        EventTypeConfig(
            MINUTE, fixed=(HostConfig("room"),), limits=(PeriodLimitConfig("decade", 1),)
        ),
        EventTypeConfig(MINUTE, fixed=(HostConfig("room"),), window=DatesConfig("May", "June")),
    ],
)
def test_other_values_are_refused(config: EventTypeConfig) -> None:
    with pytest.raises(
        InvalidField, match=r"event_type must be as EventType\.as_config makes them"
    ):
        EventType.from_config("talk", config, read)


def test_rules_are_checked_as_those_of_any_event_type() -> None:
    with pytest.raises(InvalidField, match="all_of"):
        EventType.from_config("talk", EventTypeConfig(MINUTE), read)


@pytest.mark.parametrize("credit", [-1, 1.5, True, "7"])
def test_a_credit_is_a_number_of_turns(credit: object) -> None:
    with pytest.raises(InvalidField, match="credit must be 0 or more, and whole, not "):
        Host("anna", credit=credit)  # type: ignore[arg-type]
