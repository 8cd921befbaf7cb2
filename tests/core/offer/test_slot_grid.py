"""The grid of slots; the examples are those of the contract's rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from slotengine.core.offer.slot_grid import alignment_min, slot_starts
from slotengine.core.time.instant import MINUTE, from_us, to_us
from slotengine.core.time.zone import Zone

DAY = datetime(2030, 1, 7, tzinfo=UTC)


def at(clock: str) -> int:
    hour, minute = map(int, clock.split(":"))
    return to_us(DAY) + (hour * 60 + minute) * MINUTE


def laid(*ranges: str, step: int = 30, length: int | None = None, **more: Any) -> list[str]:
    """Return the starts as UTC clock times; ranges are like "09:00-17:00"."""
    options: dict[str, Any] = {"offset": 0, "earliest": 0, "zone": "UTC"} | more
    starts = slot_starts(
        [(at(one[:5]), at(one[6:])) for one in ranges],
        length=(step if length is None else length) * MINUTE,
        step=step * MINUTE,
        offset=options["offset"] * MINUTE,
        earliest=options["earliest"],
        zone=Zone.of(options["zone"]),
        optimized=options.get("optimized", False),
    )
    return [f"{from_us(start):%H:%M}" for start in starts]


@pytest.mark.parametrize(
    ("step", "unit"),
    [(60, 60), (120, 60), (30, 30), (90, 30), (40, 20), (45, 15), (10, 10), (25, 5), (7, 1)],
)
def test_the_largest_unit_that_divides_the_step(step: int, unit: int) -> None:
    assert alignment_min(step * MINUTE) == unit


def test_slots_fill_a_range() -> None:
    assert laid("09:00-11:00") == ["09:00", "09:30", "10:00", "10:30"]
    assert laid("09:00-10:59") == ["09:00", "09:30", "10:00"]
    assert laid("09:00-09:29") == []
    assert laid() == []


def test_a_slot_that_lacks_a_microsecond_does_not_fit() -> None:
    start, half_hour = at("09:00"), 30 * MINUTE
    options: dict[str, Any] = {"length": half_hour, "step": half_hour, "offset": 0, "earliest": 0}
    for end, fits in ((start + half_hour - 1, []), (start + 2 * half_hour - 1, [start])):
        assert slot_starts([(start, end)], zone=Zone.of("UTC"), **options) == fits


def test_a_start_goes_up_to_the_grid() -> None:
    assert laid("09:20-12:00", step=60) == ["10:00", "11:00"]
    assert laid("09:20-10:30", step=60) == []
    assert laid("09:20-10:30", step=45) == ["09:30"]
    assert laid("09:20-10:30", step=45, length=15) == ["09:30", "10:15"]
    assert laid("09:23-09:40", step=7) == ["09:23", "09:30"]


def test_alignment_is_by_the_viewers_clock() -> None:
    # In Kathmandu, 5:45 ahead, 09:15 UTC is 15:00.
    assert laid("09:00-11:00", step=60, zone="Asia/Kathmandu") == ["09:15"]
    assert laid("09:00-11:00", step=60, zone="Asia/Kolkata") == ["09:30"]
    assert laid("09:00-11:00", step=60, zone="Europe/Rome") == ["09:00", "10:00"]


def test_clocks_that_change_on_the_way_to_the_full_hour() -> None:
    # In Lord Howe it is 02:00 at 15:00 UTC of that day, and then 01:30 again.
    start = to_us(datetime(2024, 4, 6, 14, 40, tzinfo=UTC))
    starts = slot_starts(
        [(start, start + 4 * 60 * MINUTE)],
        length=60 * MINUTE, step=60 * MINUTE, offset=0, earliest=0,
        zone=Zone.of("Australia/Lord_Howe"),
    )  # fmt: skip
    assert [f"{from_us(one):%H:%M}" for one in starts] == ["15:30", "16:30", "17:30"]


def test_only_whole_minutes_are_left_over_where_clocks_jump_by_odd_seconds() -> None:
    # In Monrovia 00:44:30 came after 23:59:59, so the full hour is 25.5 minutes away.
    start = to_us(datetime(1972, 1, 7, 0, 34, 30, tzinfo=UTC))
    starts = slot_starts(
        [(start, start + 26 * MINUTE - 1)],
        length=10 * MINUTE, step=60 * MINUTE, offset=0, earliest=0,
        zone=Zone.of("Africa/Monrovia"), optimized=True,
    )  # fmt: skip
    assert [f"{from_us(one):%H:%M}" for one in starts] == ["00:45"]


def test_seconds_are_cut() -> None:
    assert laid("09:00-11:00", earliest=at("09:30") + 1) == ["09:30", "10:00", "10:30"]
    assert laid("09:00-11:00", earliest=at("09:31") - 1) == ["09:30", "10:00", "10:30"]
    assert laid("09:00-11:00", earliest=at("09:31")) == ["10:00", "10:30"]
    assert laid("09:00-09:10", step=7, length=2, earliest=at("09:02") + 1) == ["09:02"]
    # Also where no slot would fit at the very moment.
    assert laid("09:00-10:00", earliest=at("09:30") + 1) == ["09:30"]
    assert laid("09:00-10:00", earliest=at("09:31")) == []


def laid_within(start: int, end: int, *more: tuple[int, int], **options: Any) -> list[str]:
    minutes = {"length": 30, "step": 40, "offset": 0, "earliest": 0} | options
    in_us = {name: minutes.pop(name) * MINUTE for name in ("length", "step", "offset")}
    starts = slot_starts([(start, end), *more], zone=Zone.of("UTC"), **in_us, **minutes)
    return [f"{from_us(one):%H:%M:%S}" for one in starts]


def test_a_range_that_begins_with_seconds() -> None:
    """Its first candidate would start before the range, so it is dropped, but its step is kept."""
    start, end = at("09:00") + 1, at("11:00")
    assert laid_within(start, end) == ["09:40:00", "10:20:00"]
    assert laid_within(start, end, offset=5) == ["09:05:00", "09:50:00"]
    assert laid_within(start, end, optimized=True) == ["09:40:00", "10:20:00"]
    assert laid_within(start, at("09:31")) == []
    # The next range continues that grid, although the first range has no slot.
    assert laid_within(start, at("09:31"), (at("09:10"), end)) == ["09:40:00", "10:20:00"]


def test_the_earliest_moment_cuts_a_range() -> None:
    assert laid("09:00-11:00", earliest=at("09:40")) == ["10:00", "10:30"]
    assert laid("09:00-11:00", "12:00-13:00", earliest=at("11:00")) == ["12:00", "12:30"]
    assert laid("09:00-11:00", earliest=at("10:31")) == []


def test_the_offset_is_added_each_time() -> None:
    assert laid("09:00-11:00", offset=10) == ["09:10", "09:50", "10:30"]
    assert laid("09:20-11:00", step=60, length=15, offset=5) == ["10:05"]


def test_ranges_that_overlap_share_one_grid() -> None:
    # By itself the second would begin at 10:15 (45 minutes align to quarters).
    assert laid("09:00-12:00", "10:10-14:00", step=45) == [
        "09:00",
        "09:45",
        "10:30",
        "11:15",
        "12:00",
        "12:45",
    ]
    # The slot of 09:45 began before the second range, and so does not count for it.
    assert laid("09:00-10:40", "09:50-11:30", step=45) == ["09:00", "09:45", "10:30"]
    assert laid("09:00-10:00", "11:10-12:30", step=45) == ["09:00", "11:15"]


@pytest.mark.parametrize(
    ("span", "step", "starts"),
    [
        ("09:20-11:20", 60, ["09:20", "10:20"]),  # nothing is left over
        ("09:20-12:00", 60, ["10:00", "11:00"]),  # 40 minutes are: up to the hour
        ("09:20-11:30", 60, ["09:30", "10:30"]),  # 10 are: up to the quarter
        ("09:22-11:25", 60, ["09:25", "10:25"]),  # 3 are: up to the five minutes
        ("09:22-11:24", 60, ["09:22", "10:22"]),  # 2 are not enough for that
        ("09:00-11:10", 60, ["09:00", "10:00"]),
        ("09:21-11:21", 60, ["09:21", "10:21"]),  # any minute will do
    ],
)
def test_optimized_starts_lose_no_slot(span: str, step: int, starts: list[str]) -> None:
    assert laid(span, step=step, optimized=True) == starts
