"""Every change of every zone's clock from 2000 to 2040, compared with local time.

Without ``--long``, one change of each kind: same offsets, same weekday, same time of day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo, available_timezones

from slotengine.core.time.schedule import Schedule, hours
from slotengine.core.time.zone import PROBE_S

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY_S = 24 * 60 * 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FROM_S, UNTIL_S = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2040))

# Many edges around the hours at which clocks change; 23:30-00:10 runs over midnight.
RANGES = hours(
    "00:30-00:40 01:00-01:30 01:45-02:15 02:25-02:35 "
    "02:40-03:00 03:20-04:00 12:00-12:01 23:30-00:10"
)
OPEN_MIN = [(each.start_min, each.end_min) for each in RANGES[:-1]] + [(1410, 1440), (0, 10)]

Change = tuple[int, int, int]  # the second at which it happens, and the offsets before and after


def offset_s(zone: ZoneInfo, utc_s: int) -> int:
    offset = datetime.fromtimestamp(utc_s, zone).utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


def changes(zone: ZoneInfo) -> Iterator[Change]:
    """Yield the changes, found by a scan in steps shorter than the distance of any two."""
    before = offset_s(zone, FROM_S)
    for probe in range(FROM_S, UNTIL_S, 3 * DAY_S):
        after = offset_s(zone, probe)
        if after != before:
            low, high = probe - 3 * DAY_S, probe
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_s(zone, middle) == before else (low, middle)
            yield high, before, after
            before = after


@cache
def distinct_zones() -> list[tuple[str, tuple[Change, ...]]]:
    """Return one zone for each distinct history of changes, and the changes."""
    seen: dict[tuple[int, tuple[Change, ...]], str] = {}
    for key in sorted(available_timezones()):
        zone = ZoneInfo(key)
        seen.setdefault((offset_s(zone, FROM_S), tuple(changes(zone))), key)
    return [(key, found) for (_, found), key in seen.items()]


def chosen_zones(*, long: bool) -> Iterator[tuple[str, list[Change]]]:
    """Yield the zones with their changes: all of them, or the first of each kind."""
    seen: set[tuple[int, int, int]] = set()
    for key, found in distinct_zones():
        chosen = []
        for change_s, before, after in found:
            kind = before, after, (change_s + before) % (7 * DAY_S)
            if long or kind not in seen:
                seen.add(kind)
                chosen.append((change_s, before, after))
        if chosen:
            yield key, chosen


def wall_minute(zone: ZoneInfo, utc_s: int) -> float:
    local = datetime.fromtimestamp(utc_s, zone).replace(tzinfo=None)
    return (local - datetime.combine(local, time.min)) / timedelta(minutes=1)


def windows_by_the_clock(zone: ZoneInfo, change: Change) -> list[tuple[int, int]]:
    """Return what is open within two days of the change, by reading local time.

    It is read wherever the answer can differ: at the change, and at every edge of the hours
    with the offsets before and after.
    """
    change_s, *offsets = change
    first_s, last_s = change_s - 2 * DAY_S, change_s + 2 * DAY_S
    critical = {first_s, change_s, last_s} | {
        day_s + edge_min * 60 - offset
        for day_s in range((first_s // DAY_S - 1) * DAY_S, last_s + 2 * DAY_S, DAY_S)
        for window in OPEN_MIN
        for edge_min in window
        for offset in offsets
    }
    pieces = pairwise(sorted(each for each in critical if first_s <= each <= last_s))

    def is_open(piece: tuple[int, int]) -> bool:
        minute = wall_minute(zone, piece[0])
        assert minute < 1440
        return any(start <= minute < end for start, end in OPEN_MIN)

    runs = (list(run) for opened, run in groupby(pieces, is_open) if opened)
    return [(run[0][0] * SECOND, run[-1][1] * SECOND) for run in runs]


def test_every_change_of_every_zone(long: bool) -> None:
    checked = 0
    for key, found in chosen_zones(long=long):
        zone, schedule = ZoneInfo(key), Schedule(key, dict.fromkeys(range(7), RANGES))
        for change in found:
            moment = change[0] * SECOND
            span = moment - 2 * DAY_S * SECOND, moment + 2 * DAY_S * SECOND
            windows = list(schedule.windows(*span))
            where = f"{key} {EPOCH + timedelta(seconds=change[0])}"
            assert windows == windows_by_the_clock(zone, change), where
            for start, end in windows:
                assert schedule.covers(start, end), where
                assert end == span[1] or not schedule.covers(start, end + 1), where
                assert start == span[0] or not schedule.covers(start - 1, end), where
            checked += 1
    assert checked > (5_000 if long else 200), "the scan found the world's clocks"


def test_every_change_of_every_zone_by_the_day(long: bool) -> None:
    """A date that is open all day lasts as long as local time shows that date."""
    for key, found in chosen_zones(long=long):
        zone = ZoneInfo(key)
        for change_s, before, after in found:
            day = datetime.fromtimestamp(change_s, zone).date()
            schedule = Schedule(key, overrides={day: hours("00:00-24:00")})
            span = (change_s - 3 * DAY_S) * SECOND, (change_s + 3 * DAY_S) * SECOND
            total = sum(end - start for start, end in schedule.windows(*span))
            midnight_s = (day - EPOCH.date()) // timedelta(seconds=1)
            # Each side of the change shows what of the date lies on its side.
            begun = min(DAY_S, change_s - (midnight_s - before))
            to_come = min(DAY_S, midnight_s + DAY_S - after - change_s)
            assert total == (max(0, begun) + to_come) * SECOND, f"{key} {day}"


def test_no_zone_changes_back_between_two_probes() -> None:
    gaps = [right[0] - left[0] for _, found in distinct_zones() for left, right in pairwise(found)]
    assert min(gaps) > 4 * PROBE_S


def test_critical_instants_agree_with_every_minute() -> None:
    """Reading local time only where it matters gives the same as reading it every minute."""
    for key in ("Europe/Rome", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"):
        zone = ZoneInfo(key)
        for change in list(changes(zone))[:12]:
            windows = windows_by_the_clock(zone, change)
            for utc_s in range(change[0] - 2 * DAY_S, change[0] + 2 * DAY_S, 60):
                minute = wall_minute(zone, utc_s)
                expected = any(start <= minute < end for start, end in OPEN_MIN)
                found = any(start <= utc_s * SECOND < end for start, end in windows)
                assert found == expected
