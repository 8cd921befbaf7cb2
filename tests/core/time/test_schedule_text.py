"""Schedules as text: each comes back equal, and equal ones have the same text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    Away,
    FixedWindows,
    Schedule,
    ScheduleIntersection,
    ScheduleUnion,
    Travel,
    Windows,
    hours,
)
from slotengine.core.time.schedule_text import (
    TEXTS_KEPT,
    ScheduleTexts,
    has_text,
    is_schedule_text,
    schedule_from_text,
    schedule_text,
)
from slotengine.errors import InvalidField
from slotengine.testing import strategies

OFFICE = Schedule(
    "Europe/Rome",
    {4: hours("09:00-12:30 22:00-03:00"), 0: hours("00:00-24:00")},
    overrides={date(2030, 12, 25): (), date(987, 12, 24): hours("10:01-12:59")},
    travel=[Travel(date(2030, 5, 6), date(2030, 5, 10), "Asia/Tokyo")],
    away=[Away(date(2030, 8, 12), date(2030, 8, 23))],
)
MARKET = FixedWindows([(30_000_017, 40_000_001), (-5, 10)])
KINDS: dict[str, Windows] = {
    "always": ALWAYS_OPEN,
    "never": FixedWindows(()),
    "fixed": MARKET,
    "office": OFFICE,
    "closed": Schedule("UTC"),
    "all": ScheduleIntersection((OFFICE, ScheduleUnion([MARKET, ALWAYS_OPEN]))),
    "any": ScheduleUnion([MARKET, ScheduleIntersection(())]),
}

atoms = st.one_of(
    st.just(ALWAYS_OPEN),
    st.lists(strategies.spans(), max_size=3).map(FixedWindows),
    st.sampled_from(strategies.ZONES).flatmap(
        lambda zone: strategies.schedules(zone, date(2024, 3, 31))
    ),
)
schedules: st.SearchStrategy[Windows] = st.recursive(
    atoms,
    lambda some: st.lists(some, max_size=2).flatmap(
        lambda several: st.sampled_from(
            (ScheduleIntersection(tuple(several)), ScheduleUnion(several))
        )
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_comes_back(name: str) -> None:
    schedule = KINDS[name]
    text = schedule_text(schedule)
    assert is_schedule_text(text)
    assert has_text(schedule)
    assert schedule_from_text(text) == schedule
    assert schedule_text(schedule_from_text(text)) == text


@given(schedules, schedules)
def test_the_text_is_canonical(one: Windows, other: Windows) -> None:
    """Equal schedules, and no others, have the same text."""
    assert (schedule_text(one) == schedule_text(other)) == (one == other)
    back = schedule_from_text(schedule_text(one))
    assert back == one
    assert schedule_text(back) == schedule_text(one)


def test_the_order_of_rules_makes_no_difference() -> None:
    days = {day: hours("09:00-17:00") for day in (0, 1)}
    backwards = dict(reversed(days.items()))
    assert schedule_text(Schedule("UTC", days)) == schedule_text(Schedule("UTC", backwards))


def test_unions_are_equal_by_their_schedules() -> None:
    assert ScheduleUnion([MARKET]) == ScheduleUnion([MARKET])
    assert hash(ScheduleUnion([MARKET])) == hash(ScheduleUnion([MARKET]))
    assert ScheduleUnion([MARKET]) != ScheduleUnion([])
    assert ScheduleUnion([]) != ScheduleIntersection(())


class OwnWindows:
    """A schedule of somebody's own."""

    def covers(self, start: int, end: int) -> bool:
        return start < end

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


class Derived(FixedWindows):
    """Open at other times than its spans, for all that is known."""


@pytest.mark.parametrize(
    "schedule",
    [OwnWindows(), Derived([(0, 1)]), ScheduleUnion([MARKET, OwnWindows()])],
    ids=["own", "derived", "within"],
)
def test_a_class_of_your_own_has_no_text(schedule: Windows) -> None:
    assert not has_text(schedule)
    with pytest.raises(InvalidField, match=r"schedule must be a Schedule, FixedWindows, .* not <"):
        schedule_text(schedule)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "office",
        "[]",
        "{}",
        "{" * 100_000,
        '{"open":"sometimes"}',
        '{"spans":[[0]]}',
        '{"spans":7}',
        '{"shut":"always"}',
        '{"open":"always","spans":[]}',
        '{"zone":"UTC","weekly":{"x":[]}}',
        '{"zone":"UTC","weekly":{"0":"09:00-10:00"}}',
        '{"zone":"UTC","weekly":[]}',
        '{"zone":"UTC","away":[["2030-13-01","2030-13-02"]]}',
        '{"zone":"UTC","hours":{}}',
        '{"all_of":[7]}',
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="schedule must be the text of a schedule"):
        schedule_from_text(text)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"zone": "Mars/Base"}, "zone"),
        ({"zone": "UTC", "weekly": {"7": []}}, "weekly"),
        ({"zone": "UTC", "weekly": {"0": ["9-17"]}}, "hours"),
        ({"spans": [[2, 1]]}, "spans"),
        ({"any_of": [{"spans": [[0.5, 1]]}]}, "spans"),
    ],
)
def test_what_contradicts_itself_is_refused_as_a_schedule_is(
    written: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        schedule_from_text(json.dumps(written))
    assert caught.value.field == field


def test_equal_schedules_share_one_object() -> None:
    texts = ScheduleTexts()
    text = texts.text(OFFICE)
    assert text == schedule_text(OFFICE)
    assert texts.text(OFFICE) is text
    assert isinstance(text, str)
    assert texts.schedule(text) is OFFICE
    again = schedule_from_text(text)
    assert again is not OFFICE
    assert texts.text(again) is text
    assert texts.canonical(str(text)) is text


def test_what_is_not_remembered_is_worked_out() -> None:
    texts = ScheduleTexts()
    spaced = '{"spans": [[0, 10], [10, 15]]}'
    assert texts.canonical(spaced) == '{"spans":[[0,15]]}'
    assert texts.schedule('{"spans":[[0,15]]}') == FixedWindows([(0, 15)])
    own = OwnWindows()
    assert texts.text(own) is own


def test_no_more_are_remembered_than_a_few() -> None:
    texts = ScheduleTexts()
    first = texts.schedule('{"spans":[[0,1]]}')
    for end in range(2, TEXTS_KEPT + 1):
        texts.schedule(f'{{"spans":[[0,{end}]]}}')
    assert texts.schedule('{"spans":[[0,1]]}') is first
    texts.schedule('{"spans":[[7,8]]}')
    assert texts.schedule('{"spans":[[0,1]]}') is not first
    assert texts.schedule('{"spans":[[0,1]]}') == first
