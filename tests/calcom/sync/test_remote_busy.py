"""What the remote's slots say about who is busy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine import EventType, minutes
from slotengine.calcom.sync.remote_busy import (
    PollResult,
    Watched,
    WatchedDay,
    days_of,
    infer_busy,
    missing,
)
from slotengine.core.time.instant import DAY
from slotengine.core.time.interval import joined, overlaps


def watched(
    free: set[int], gone: set[int], *, length: int = 30, before: int = 0, after: int = 0,
    busy_if_missing: tuple[str, ...] = ("room",), resources: tuple[str, ...] | None = None,
) -> Watched:  # fmt: skip
    day = WatchedDay(0, 0, frozenset(free), frozenset(gone))
    return Watched(length, before, after, busy_if_missing, resources or busy_if_missing, {0: day})


CASES = {
    "a missing slot is busy": ({60}, {0, 30}, [(0, 60)], set()),
    "minutes of a free slot are not busy": ({15}, {0, 30}, [(0, 15), (45, 60)], set()),
    "a start without busy minutes is hidden": ({0, 20}, {10}, [], {10}),
    "a start with a busy minute is not hidden": ({20}, {10}, [(10, 20)], set()),
    "everything is free": ({0, 30}, set(), [], set()),
}


@pytest.mark.parametrize(("free", "gone", "busy", "hidden"), CASES.values(), ids=CASES)
def test_what_becomes_busy(
    free: set[int], gone: set[int], busy: list[tuple[int, int]], hidden: set[int]
) -> None:
    found = infer_busy({"talk": watched(free, gone)})
    assert found.busy == ({"room": busy} if busy else {})
    assert found.hidden == {"talk": frozenset(hidden)}


def test_the_buffers_of_a_free_slot_are_not_busy() -> None:
    found = infer_busy({"talk": watched({60}, {0, 30}, before=10, after=5)})
    assert found.busy == {"room": [(0, 50)]}


def test_a_minute_that_is_free_for_one_event_type_is_busy_for_none() -> None:
    """The other event type's slot is missing for a reason of its own, such as its notice."""
    found = infer_busy({
        "talk": watched(set(), {0}),
        "chat": watched({0}, set(), busy_if_missing=("room",)),
        "walk": watched(set(), {30}, busy_if_missing=("garden",)),
    })  # fmt: skip
    assert found.busy == {"garden": [(30, 60)]}
    assert found.hidden["talk"] == {0}


def test_nobody_is_busy_if_it_is_unknown_who() -> None:
    found = infer_busy({"talk": watched(set(), {0}, busy_if_missing=(), resources=("ann", "room"))})
    assert found.busy == {}
    assert found.hidden == {"talk": {0}}


HALF_HOUR = timedelta(minutes=30)
BUSY_IF_MISSING: dict[str, tuple[EventType, tuple[str, ...]]] = {
    "one": (EventType(id="t", length=HALF_HOUR, all_of=["a"]), ("a",)),
    "any of two": (EventType(id="t", length=HALF_HOUR, any_of=[["a", "b"]]), ("a", "b")),
    "together": (EventType(id="t", length=HALF_HOUR, all_of=["a", "b"]), ()),
    "one with others": (EventType(id="t", length=HALF_HOUR, all_of=["a"], any_of=[["b"]]), ()),
    "two groups": (EventType(id="t", length=HALF_HOUR, any_of=[["a"], ["b"]]), ()),
}


@pytest.mark.parametrize(
    ("event_type", "busy_if_missing"), BUSY_IF_MISSING.values(), ids=BUSY_IF_MISSING
)
def test_who_is_busy_if_a_slot_is_missing(
    event_type: EventType, busy_if_missing: tuple[str, ...]
) -> None:
    assert Watched.of(event_type).busy_if_missing == busy_if_missing


def test_our_own_holds_there_prove_nothing() -> None:
    result = PollResult(0, 0, 0, frozenset(), offered=[0, 30, 60], own=(40, 50))
    assert list(missing(result, 30)) == [0, 60]


def test_days() -> None:
    one = Watched.of(EventType(id="t", length=minutes(30), all_of=["a"]))
    one.ask(0, 2 * DAY, now=5)
    one.ask(5 * DAY, 5 * DAY + 1, now=7)
    assert one.runs_without(set()) == [(0, 1), (5, 5)]
    assert one.runs_without({0, 5}) == [(1, 1)]
    one.learn(PollResult(0, 1, 9, frozenset({DAY}), offered=[0, DAY, 2 * DAY], own=()))
    assert (one.as_of(0, 2 * DAY), one.as_of(0, 6 * DAY), one.as_of(3 * DAY, 4 * DAY)) == (
        9, None, None
    )  # fmt: skip
    # Starts on days that nobody asked for are not kept.
    assert [set(one.days[day].missing) for day in (0, 1, 5)] == [{0}, set(), set()]
    one.forget(before=6, today=0)
    assert set(one.days) == {5}
    one.forget(before=0, today=6)
    assert one.days == {}
    assert days_of(3, 3) == range(1)


# Few starts close together, so that free and missing ones overlap in every way.
starts = st.sets(st.integers(0, 12).map(lambda n: n * 5))


@given(starts, starts, st.sampled_from([5, 15, 30]), st.integers(0, 7), st.integers(0, 7))
def test_free_slots_are_offered_and_missing_ones_are_not(
    free: set[int], offered: set[int], length: int, before: int, after: int
) -> None:
    """The one promise: of our own slots, exactly those are offered that the remote offers."""
    one = watched(free, offered - free, length=length, before=before, after=after)
    found = infer_busy({"talk": one})
    edges = joined(found.busy.get("room", []))
    for start in free | offered:
        refused = start in found.hidden["talk"] or overlaps(edges, *one.occupied(start))
        assert refused == (start not in free), start
    assert all(start < end for start, end in found.busy.get("room", []))
