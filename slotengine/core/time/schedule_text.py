"""Schedules as text, and back.

The text of a schedule is what a configuration keeps, a journal records and a process sends
to another.  It is canonical: two schedules have the same text if and only if they are equal.
The text is JSON, with one key that says what kind of schedule it is:

``{"zone":"Europe/Rome","weekly":{"0":["09:00-17:00"]}}``
    a `Schedule`; ``overrides``, ``travel`` and ``away`` are there if they are not empty
``{"spans":[[0,3600000000]]}``
    `FixedWindows`, in UTC microseconds
``{"open":"always"}``
    ``ALWAYS_OPEN``
``{"all_of":[...]}``, ``{"any_of":[...]}``
    `ScheduleIntersection` and `ScheduleUnion`

A class of your own that has the methods of `Windows` has no text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    AlwaysOpen,
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

_MARK: Final = "{"
"""What each text begins with."""


def is_schedule_text(text: str) -> bool:
    """Return whether a text is that of a schedule, and not the name of one.

    >>> is_schedule_text('{"open":"always"}'), is_schedule_text("office hours")
    (True, False)
    """
    return text.startswith(_MARK)


def has_text(schedule: object) -> TypeGuard[Windows]:
    """Return whether `schedule_text` can write a schedule."""
    if type(schedule) in {ScheduleIntersection, ScheduleUnion}:
        assert isinstance(schedule, ScheduleIntersection | ScheduleUnion)
        return all(map(has_text, schedule.schedules))
    return type(schedule) in {AlwaysOpen, FixedWindows, Schedule}


def schedule_text(schedule: Windows) -> str:
    """Return the text of a schedule.  O(n) for its rules.

    >>> schedule_text(FixedWindows([(0, 10), (10, 15)]))
    '{"spans":[[0,15]]}'
    >>> schedule_text(Schedule.weekly_hours("Europe/Rome", "mon 09:00-17:00"))
    '{"weekly":{"0":["09:00-17:00"]},"zone":"Europe/Rome"}'

    :raises InvalidField: for a schedule of a class that is not slotengine's own.
    """
    return json.dumps(_written(schedule), sort_keys=True, separators=(",", ":"))


def schedule_from_text(text: str) -> Windows:
    """Return the schedule that a text says.  O(n).

    >>> schedule_from_text('{"spans":[[0,15]]}').covers(3, 12)
    True

    :raises InvalidField: if it is not the text of a schedule.
    """
    try:
        return _read(json.loads(text))
    except InvalidField:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        problem = f"must be the text of a schedule (see schedule_text), not {text!r:.199}"
        raise InvalidField("schedule", problem) from error


TEXTS_KEPT: Final = 256
"""How many schedules `ScheduleTexts` keeps at most, used or not."""


class ScheduleTexts:
    """Schedules by their text, so that those with the same text share one object and its cache.

    A memo: it holds nothing that cannot be worked out again.

    >>> texts = ScheduleTexts()
    >>> texts.schedule('{"spans":[[0,15]]}') is texts.schedule('{"spans":[[0,15]]}')
    True
    """

    __slots__ = ("_by_text", "_texts")

    def __init__(self) -> None:
        self._by_text: dict[str, Windows] = {}
        self._texts: dict[int, str] = {}  # by the id of an object that _by_text keeps

    def text(self, schedule: Windows) -> str | Windows:
        """Return the text of a schedule; the schedule itself if it has none.

        Remembers the schedule, which will be the one with this text.  O(1) if it is
        remembered already.
        """
        known = self._texts.get(id(schedule))
        if known is not None:
            return known
        if not has_text(schedule):
            return schedule
        text = schedule_text(schedule)
        same = self._by_text.get(text)
        return self._keep(text, schedule) if same is None else self._texts[id(same)]

    def canonical(self, text: str) -> str:
        """Return the canonical text of the schedule that a text says.  Raises `InvalidField`."""
        same = self._by_text.get(text)
        return schedule_text(schedule_from_text(text)) if same is None else self._texts[id(same)]

    def schedule(self, text: str) -> Windows:
        """Return the schedule with a canonical text."""
        schedule = self._by_text.get(text)
        if schedule is None:
            schedule = schedule_from_text(text)
            self._keep(text, schedule)
        return schedule

    def _keep(self, text: str, schedule: Windows) -> str:
        if len(self._by_text) >= TEXTS_KEPT:
            self._by_text.clear()
            self._texts.clear()
        self._by_text[text] = schedule
        self._texts[id(schedule)] = text
        return text


def _written(schedule: Windows) -> dict[str, Any]:
    # By class, and not isinstance: a class derived from one of these may be open otherwise.
    kind = type(schedule)
    if kind is Schedule:
        assert isinstance(schedule, Schedule)
        return _rules(schedule)
    if kind is FixedWindows:
        assert isinstance(schedule, FixedWindows)
        return {"spans": [list(span) for span in schedule.spans()]}
    if kind is AlwaysOpen:
        return {"open": "always"}
    if kind is ScheduleIntersection or kind is ScheduleUnion:
        assert isinstance(schedule, ScheduleIntersection | ScheduleUnion)
        key = "all_of" if kind is ScheduleIntersection else "any_of"
        return {key: [_written(each) for each in schedule.schedules]}
    raise InvalidField(
        "schedule",
        f"must be a Schedule, FixedWindows, ALWAYS_OPEN, or made of these, to be written down, "
        f"not {schedule!r:.199}",
    )


def _rules(schedule: Schedule) -> dict[str, Any]:
    written = {
        "weekly": {str(day): list(map(str, each)) for day, each in schedule.weekly.items()},
        "overrides": {
            on.isoformat(): list(map(str, each)) for on, each in schedule.overrides.items()
        },
        "travel": [
            [each.first.isoformat(), each.last.isoformat(), each.zone] for each in schedule.travel
        ],
        "away": [[each.first.isoformat(), each.last.isoformat()] for each in schedule.away],
    }
    return {"zone": schedule.zone, **{name: each for name, each in written.items() if each}}


def _read(written: dict[str, Any]) -> Windows:
    if "zone" in written:
        return _read_rules(**written)
    ((kind, what),) = written.items()
    read = _READERS.get(kind)
    if read is None:
        raise ValueError(kind)
    return read(what)


def _read_rules(
    zone: str,
    weekly: Mapping[str, list[str]] = MappingProxyType({}),
    overrides: Mapping[str, list[str]] = MappingProxyType({}),
    travel: Sequence[list[str]] = (),
    away: Sequence[list[str]] = (),
) -> Schedule:
    return Schedule(
        zone,
        {int(day): _ranges(each) for day, each in weekly.items()},
        {date.fromisoformat(on): _ranges(each) for on, each in overrides.items()},
        [Travel(*_days(first, last), theirs) for first, last, theirs in travel],
        [Away(*_days(first, last)) for first, last in away],
    )


def _ranges(texts: list[str]) -> tuple[Hours, ...]:
    if not isinstance(texts, list):
        raise TypeError(texts)
    return tuple(one for text in texts for one in hours(text))


def _days(first: str, last: str) -> tuple[date, date]:
    return date.fromisoformat(first), date.fromisoformat(last)


def _read_always(what: str) -> Windows:
    if what != "always":
        raise ValueError(what)
    return ALWAYS_OPEN


def _read_spans(what: list[list[int]]) -> Windows:
    return FixedWindows((start, end) for start, end in what)


def _read_all(what: list[dict[str, Any]]) -> Windows:
    return ScheduleIntersection(tuple(_read(each) for each in what))


def _read_any(what: list[dict[str, Any]]) -> Windows:
    return ScheduleUnion(_read(each) for each in what)


_READERS: Final[dict[str, Callable[[Any], Windows]]] = {
    "open": _read_always,
    "spans": _read_spans,
    "all_of": _read_all,
    "any_of": _read_any,
}
