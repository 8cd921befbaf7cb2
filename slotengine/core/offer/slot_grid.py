"""Where slots begin: free ranges laid out on a grid.

The rules are those of Cal.com's slots API, so that clients of either see the
same times:

1. A range's first candidate is its start, or the earliest moment that may be
   booked, if that is later; its seconds are cut, as the viewer's clock shows it.
2. Its minute, as the viewer's clock shows it, goes up to the next multiple of
   the largest of 60, 30, 20, 15, 10 and 5 that divides the step.
3. The offset is added.
4. A candidate that lies inside the step of a slot already laid goes on from
   there, so that ranges which overlap share one grid.
5. Slots follow each other by the step and the offset as long as they fit.

A candidate that lost its seconds may begin before its range: such a slot cannot
be had, and is left out, but the grid goes on from there.  It may also begin
before the earliest moment; whether that will do is the caller's to say.

A range that lies in another adds nothing, so callers leave those out.

Steps are elapsed time: across a change of offset slots keep their distance.

Knows nothing of what the ranges mean.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slotengine.core.time.instant import MINUTE
from slotengine.core.time.interval import Span
from slotengine.core.time.zone import Zone

_UNITS: Final = (60, 30, 20, 15, 10, 5, 1)
_ROUND_MIN: Final = (15, 5)
"""What an optimized start is rounded to, if there is no room for more."""


def unit_min(step: int) -> int:
    """Return what minutes of an hour the slots of a step begin at multiples of.

    >>> unit_min(45 * MINUTE), unit_min(120 * MINUTE), unit_min(7 * MINUTE)
    (15, 60, 1)
    """
    return next(unit for unit in _UNITS if step // MINUTE % unit == 0)


def is_fixed(
    *, step: int, offset: int, start: int, end: int, zone: Zone, optimized: bool = False
) -> bool:
    """Return whether slots of a span lie at the same times, wherever its ranges begin.

    So it is where they follow each other as the clock's multiples do: with a step
    that divides the hour and no offset, on a clock that does not change by less.

    >>> about = {"offset": 0, "start": 0, "end": 9**15, "zone": Zone.of("UTC")}
    >>> is_fixed(step=30 * MINUTE, **about), is_fixed(step=45 * MINUTE, **about)
    (True, False)
    """
    unit = unit_min(step) * MINUTE
    # Of a range that ends with the span the first candidate may go up to an hour beyond.
    return (
        step == unit
        and not offset
        and not optimized
        and zone.keeps_minutes(start - unit, end + unit, unit)
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

    The ranges' starts and ends must both ascend (`interval.widest`).  A start may
    be less than a minute before ``earliest``.  O(n + k) for n ranges and k slots.

    >>> starts = slot_starts(
    ...     [(20 * MINUTE, 150 * MINUTE)],
    ...     length=30 * MINUTE, step=30 * MINUTE, offset=0, earliest=0, zone=Zone.of("UTC"),
    ... )
    >>> [start // MINUTE for start in starts]
    [30, 60, 90, 120]
    """
    unit, advance = unit_min(step), step + offset
    starts: list[int] = []
    follows = None
    for start, end in ranges:
        latest = end - length
        candidate = max(start, earliest)
        if candidate - MINUTE >= latest:
            continue
        first = _aligned(candidate, end, unit, zone, optimized=optimized) + offset
        if follows is not None and first < follows:
            first = follows
        if first <= latest:
            here = range(first, latest + 1, advance)
            starts.extend(here if first >= start else here[1:])
            follows = here[-1] + advance
    return starts


def _aligned(start: int, end: int, unit: int, zone: Zone, *, optimized: bool) -> int:
    """Return the first moment from ``start``, less its seconds, that a slot may begin at.

    The offset is left out.
    """
    start -= (start + zone.offset(start)) % MINUTE
    if not optimized:
        return _rounded(start, unit, zone)
    # What is left over in the range may be lost at its beginning, and no more.
    left_over = (end - start) // MINUTE % unit
    roundings = (_rounded(start, minutes, zone) for minutes in (unit, *_ROUND_MIN))
    return next((each for each in roundings if each - start <= left_over * MINUTE), start)


def _rounded(moment: int, unit: int, zone: Zone) -> int:
    """Return the first moment from one on at which the clock shows a multiple of so many minutes.

    Counted from the full hour.  Clocks may change on the way there.
    """
    while True:
        offset = zone.offset(moment)
        missing = -(moment + offset) % (unit * MINUTE)
        moment += missing
        if zone.offset(moment) == offset:
            return moment
