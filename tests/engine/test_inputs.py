"""What callers say, as numbers; and what is wrong with it, by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.time.instant import HOUR, MINUTE, to_us
from slotengine.core.time.zone import Zone
from slotengine.engine.inputs import busy_spans_of, names_or_none, query_of, span_or_none
from slotengine.engine.requests import SlotQuery
from slotengine.errors import InvalidField

TEN = datetime(2030, 1, 7, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
NAIVE = TEN.replace(tzinfo=None)


def query(**more: Any) -> AvailabilityQuery:
    said: dict[str, Any] = {
        "event_type": "talk",
        "start": TEN,
        "end": ELEVEN,
        "length": None,
        "seats": 1,
        "zone": "Europe/Rome",
        "ignoring": (),
        "only": None,
    }
    return query_of(SlotQuery(**said | more), to_us(TEN) - HOUR)


def test_a_query_is_all_that_was_said() -> None:
    start, rome = to_us(TEN), Zone.of("Europe/Rome")
    assert query() == AvailabilityQuery("talk", start, start + HOUR, None, rome)
    said = query(length=timedelta(minutes=5), seats=2, ignoring=["a"], only=["room"])
    assert said == AvailabilityQuery(
        "talk", start, start + HOUR, 5 * MINUTE, rome, 2, frozenset({"a"}), frozenset({"room"})
    )


def test_a_query_is_from_now_and_for_as_long_as_is_usual() -> None:
    now = to_us(TEN)
    found = query_of(SlotQuery("talk"), now, HOUR)
    assert (found.start, found.end) == (now, now + HOUR)
    found = query_of(SlotQuery("talk", ELEVEN), now, HOUR)
    assert (found.start, found.end) == (now + HOUR, now + 2 * HOUR)


def test_spans_are_pairs_of_moments() -> None:
    start = to_us(TEN)
    assert span_or_none(None) is None
    assert span_or_none((TEN, ELEVEN)) == (start, start + HOUR)
    assert busy_spans_of({"room": [(TEN, ELEVEN)], "desk": []}) == {
        "room": [(start, start + HOUR)],
        "desk": [],
    }


WRONG: list[tuple[str, Callable[[], object]]] = [
    ("query", lambda: query_of("talk", 0)),
    ("end", lambda: query(end=None)),
    ("start", lambda: query(start=NAIVE)),
    ("end", lambda: query(end=NAIVE)),
    ("length", lambda: query(length=5)),
    ("zone", lambda: query(zone="Mars/Phobos")),
    ("ignoring", lambda: query(ignoring="a")),
    ("ignoring", lambda: query(ignoring=[1])),
    ("only", lambda: query(only="room")),
    ("only", lambda: query(only=[1])),
    ("names", lambda: names_or_none("names", 5)),  # type: ignore[arg-type]
    ("spans", lambda: busy_spans_of(5)),  # type: ignore[arg-type]
    ("spans", lambda: busy_spans_of({"room": 5})),  # type: ignore[dict-item]
    ("spans", lambda: busy_spans_of({"room": [5]})),  # type: ignore[list-item]
    ("spans", lambda: busy_spans_of({"room": [(NAIVE, ELEVEN)]})),
    ("spans", lambda: busy_spans_of({"room": [(TEN, NAIVE)]})),
    ("load_in", lambda: span_or_none(5)),
    ("load_in", lambda: span_or_none((TEN, ELEVEN, ELEVEN))),
    ("load_in", lambda: span_or_none([TEN, ELEVEN])),
    ("load_in", lambda: span_or_none((TEN, NAIVE))),
]


@pytest.mark.parametrize(("field", "call"), WRONG)
def test_what_is_wrong_is_named(field: str, call: Callable[[], object]) -> None:
    with pytest.raises(InvalidField) as refused:
        call()
    assert refused.value.field == field
