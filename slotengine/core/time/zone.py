"""What the clock on the wall shows, in any IANA time zone: offsets, dates, and when dates begin.

``zoneinfo`` does not tell when a zone changes its offset, so changes are probed
for, bucket by bucket, and kept.  Everybody else in the core asks here.

Times are UTC microseconds.  A date is its number of days since 1970-01-01.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from slotengine.core.time.instant import DAY, EPOCH, SECOND
from slotengine.errors import InvalidField

EPOCH_ORDINAL: Final = EPOCH.toordinal()

# Every offset is shorter than a day, so between these any local date, and the one before
# it, are in the calendar.
FIRST_LOCAL: Final = (date.min.toordinal() + 2 - EPOCH_ORDINAL) * DAY
LAST_LOCAL: Final = (date.max.toordinal() - EPOCH_ORDINAL) * DAY

# What some systems have beside the zones: other ways to count, and whatever is set on them.
_ONLY_HERE: Final = ("right/", "posix/", "posixrules", "localtime")

UTC_NAMES: Final = frozenset({
    "Etc/UCT", "Etc/UTC", "Etc/Universal", "Etc/Zulu", "UCT", "UTC", "Universal", "Zulu",
})  # fmt: skip
"""Links to one zone in the tz database, which needs no data."""

# 2**40 microseconds are 12.7 days: a few dozen windows, which five steps search.
BUCKET_BITS: Final = 40

# The closest changes in the whole tz database are 96 hours apart (Freetown, 1939).
PROBE_S: Final = 12 * 60 * 60

# No zone lies deeper, as "posix/America/Argentina/Ushuaia" does: zoneinfo looks for the
# folders of a name one inside the other, so that of enough of them Python's stack runs out.
_MAX_SLASHES: Final = 3

Stretch = tuple[int, int, int]
"""Start, end, and the offset from UTC that applies between them, all in microseconds."""


class Zone:
    """A time zone.  `Zone.of` returns the one of each name; they compare by identity.

    >>> rome = Zone.of("Europe/Rome")
    >>> rome.offset(0) // SECOND, rome.date(0), rome.midnight(1) // SECOND
    (3600, 0, 82800)
    """

    __slots__ = ("info", "key")

    info: tzinfo
    """What datetimes of this zone carry."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.info = UTC if key in UTC_NAMES else ZoneInfo(key)

    @staticmethod
    def of(key: str, field: str = "zone") -> Zone:
        """Return the zone of an IANA name.  O(1).

        UTC needs no time zone data; the other zones come from the system's, or
        else from the package tzdata.  Raises `InvalidField` if there is no such zone,
        or no data.
        """
        try:
            if not key.startswith(_ONLY_HERE) and key.count("/") <= _MAX_SLASHES:
                return _named(key)
        # Unknown; not a possible key; a folder of zones; no text at all.
        except (KeyError, ValueError, OSError, TypeError, AttributeError):
            if not _is_there_data():
                raise InvalidField(field, f"cannot be looked up: {key!r}; {NO_DATA}") from None
        raise InvalidField(field, f"is not an IANA time zone: {key!r}")

    def stretches(self, bucket: int) -> tuple[Stretch, ...]:
        """Return the stretches of one offset that a bucket of ``2**BUCKET_BITS`` consists of.

        O(1) but for the first time, which takes 0.04 ms, and 0.1 ms if there is
        a change to find.  None lies outside of `FIRST_LOCAL` to `LAST_LOCAL`.
        """
        return _stretches(self, bucket)

    def offset(self, us: int) -> int:
        """Return how far the wall clock is ahead of UTC at a moment, in microseconds.  O(1)."""
        us = min(max(us, FIRST_LOCAL), LAST_LOCAL - 1)
        stretches = _stretches(self, us >> BUCKET_BITS)
        if len(stretches) == 1:  # nearly always
            return stretches[0][2]
        return next(offset for _, end, offset in stretches if us < end)

    def keeps_minutes(self, start: int, end: int, unit: int) -> bool:
        """Return whether a change of the clock in the span is by a multiple of ``unit``, if any is.

        Then what lies at multiples of it does so on all clocks.  O(n) for the n buckets
        of the span.
        """
        start, end = max(start, FIRST_LOCAL), min(end, LAST_LOCAL)
        offsets = {
            offset % unit
            for bucket in range(start >> BUCKET_BITS, (end >> BUCKET_BITS) + 1)
            for begins, ends, offset in _stretches(self, bucket)
            if begins <= end and start < ends
        }
        return len(offsets) <= 1

    def date(self, us: int) -> int:
        """Return the date that the wall clock shows at a moment.  O(1)."""
        us = min(max(us, FIRST_LOCAL), LAST_LOCAL - 1)
        return (us + self.offset(us)) // DAY

    def midnight(self, day: int) -> int:
        """Return when a date begins: the first moment at which the clock shows it, or a later one.

        Not always 00:00: where clocks skip that, the date begins at the change,
        and a date that a zone skipped begins, and ends, when the next one does.
        Where clocks go back over midnight it begins the first time.  O(1).
        """
        wall = day * DAY
        if not FIRST_LOCAL + DAY <= wall < LAST_LOCAL - DAY:
            return min(max(wall, FIRST_LOCAL), LAST_LOCAL)
        return next(
            max(start, wall - offset)
            # Offsets are shorter than a day.
            for bucket in ((wall - DAY) >> BUCKET_BITS, (wall + DAY) >> BUCKET_BITS)
            for start, end, offset in _stretches(self, bucket)
            if wall - offset < end
        )

    def __repr__(self) -> str:
        return f"Zone.of({self.key!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _named, (self.key,)


NO_DATA: Final = "this system has no time zone data; install it, or the package tzdata"


def _is_there_data() -> bool:
    """Tell whether the system knows time zones at all, by one that every database has."""
    try:
        ZoneInfo("Europe/London")
    except (KeyError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1024)
def _named(key: str) -> Zone:
    return Zone(key)


@lru_cache(maxsize=4096)
def _stretches(zone: Zone, bucket: int) -> tuple[Stretch, ...]:
    """Probe for changes, and where two probes differ search for the second.

    No zone has changed within a second.  Kept, because schedules share zones.
    """
    start = max(bucket << BUCKET_BITS, FIRST_LOCAL)
    end = min(bucket + 1 << BUCKET_BITS, LAST_LOCAL)
    if start >= end:
        return ()
    info = zone.info
    first_s, last_s = start // SECOND, (end - 1) // SECOND
    probes = [*range(first_s, last_s, PROBE_S), last_s]
    readings = [(probe, _offset(info, probe)) for probe in probes]
    changes = [
        change * SECOND
        for (low, before), (high, after) in pairwise(readings)
        if before != after
        for change in _changes(info, low, high)
    ]
    stretches = zip([start, *changes], [*changes, end], strict=True)
    return tuple((left, right, _offset(info, left // SECOND)) for left, right in stretches)


def _changes(info: tzinfo, low: int, high: int) -> Iterator[int]:
    """Yield the seconds in (low, high] at which the zone's offset changes, searching in halves.

    Changes that cancel out between the two are not seen.
    """
    if _offset(info, low) == _offset(info, high):
        return
    if high - low == 1:
        yield high
        return
    middle = (low + high) // 2
    yield from _changes(info, low, middle)
    yield from _changes(info, middle, high)


def _offset(info: tzinfo, utc_s: int) -> int:
    """Return how far the zone's wall clock is ahead of UTC, in microseconds."""
    utc = datetime(1970, 1, 1, tzinfo=info) + timedelta(seconds=utc_s)
    # Both carry the same zone, so this is the difference of what the clocks show.
    return (info.fromutc(utc) - utc) // timedelta(microseconds=1)
