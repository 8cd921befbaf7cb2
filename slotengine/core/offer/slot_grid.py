"""The grid on which slots start, laid out in free ranges.

The rules are those of Cal.com's slots API, so that clients of either see the same times:

1. The first candidate in a range is its start or, if that is later, the earliest moment
   that can be booked.  Seconds are cut off, in the viewer's local time.
2. The candidate moves up to the next local time whose minute is a multiple of the largest
   of 60, 30, 20, 15, 10 and 5 that divides the step.
3. The offset is added.
4. If the candidate is less than one step plus offset after the last slot so far, it moves to
   that distance from it, so that overlapping ranges share one grid.
5. More slots follow, one step plus offset apart, as long as they fit.

Cutting off the seconds may move a candidate to before its range.  That slot is left out,
but the grid continues from it.  A candidate may also be before the earliest moment; the
caller has to check for that.

A range that lies inside another adds no slots, so callers leave it out.

Steps are elapsed time: across a change of offset, slots keep their distance.

This module does not know what the ranges mean.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slotengine.core.time.instant import MINUTE
from slotengine.core.time.interval import Span
from slotengine.core.time.zone import Zone

_UNITS: Final = (60, 30, 20, 15, 10, 5, 1)
_ROUND_MIN: Final = (15, 5)
"""Smaller multiples, in minutes, that an optimized start may be rounded to."""


def alignment_min(step: int) -> int:
    """Return the unit, in minutes, to whose multiples slots with this step are aligned.

    >>> alignment_min(45 * MINUTE), alignment_min(120 * MINUTE), alignment_min(7 * MINUTE)
    (15, 60, 1)
    """
    return next(unit for unit in _UNITS if step // MINUTE % unit == 0)


def is_fixed(
    *, step: int, offset: int, start: int, end: int, zone: Zone, optimized: bool = False
) -> bool:
    """Return whether slots in a span start at the same times wherever its ranges begin.

    They do if the step divides the hour, there is no offset, and the zone's offset changes
    by multiples of the step only.

    >>> about = {"offset": 0, "start": 0, "end": 9**15, "zone": Zone.of("UTC")}
    >>> is_fixed(step=30 * MINUTE, **about), is_fixed(step=45 * MINUTE, **about)
    (True, False)
    """
    unit = alignment_min(step) * MINUTE
    # The first candidate of a range at the end of the span may be up to an hour later.
    return (
        step == unit
        and not offset
        and not optimized
        and zone.offsets_agree_modulo(start - unit, end + unit, unit)
    )


def slot_starts(
    ranges: Sequence[Span],
    *,
    length: int,
    step: int,
    offset: int,
    earliest: int,
    zone: Zone,
    optimized: bool = False,
) -> list[int]:
    """Return the starts of the slots that fit into the ranges, in order.

    The starts of the ranges must ascend, and so must their ends (see `interval.maximal`).  A
    start may be up to a minute before ``earliest``.  O(n + k) for n ranges and k slots.

    >>> starts = slot_starts(
    ...     [(20 * MINUTE, 150 * MINUTE)],
    ...     length=30 * MINUTE, step=30 * MINUTE, offset=0, earliest=0, zone=Zone.of("UTC"),
    ... )
    >>> [start // MINUTE for start in starts]
    [30, 60, 90, 120]
    """
    unit, advance = alignment_min(step), step + offset
    starts: list[int] = []
    follows = None
    for start, end in ranges:
        latest = end - length
        candidate = max(start, earliest)
        if candidate - MINUTE >= latest:
            continue
        first = _first_candidate(candidate, end, unit, zone, optimized=optimized) + offset
        if follows is not None and first < follows:
            first = follows
        if first <= latest:
            here = range(first, latest + 1, advance)
            starts.extend(here if first >= start else here[1:])
            follows = here[-1] + advance
    return starts


def _first_candidate(start: int, end: int, unit: int, zone: Zone, *, optimized: bool) -> int:
    """Return the first start from a moment on, seconds cut off, before the offset is added."""
    start -= (start + zone.offset(start)) % MINUTE
    if not optimized:
        return _next_multiple(start, unit, zone)
    # Round up only by as much as would be left over at the end, so that no slot is lost.
    left_over = (end - start) // MINUTE % unit
    roundings = (_next_multiple(start, minutes, zone) for minutes in (unit, *_ROUND_MIN))
    return next((each for each in roundings if each - start <= left_over * MINUTE), start)


def _next_multiple(moment: int, unit: int, zone: Zone) -> int:
    """Return the next moment at which the local time is a multiple of a number of minutes.

    Multiples are counted from the full hour.  The zone's offset may change on the way.
    """
    while True:
        offset = zone.offset(moment)
        missing = -(moment + offset) % (unit * MINUTE)
        moment += missing
        if zone.offset(moment) == offset:
            return moment
