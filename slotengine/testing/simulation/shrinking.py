"""Shrinking: which steps of a failing history can be left out?

Delta debugging (A. Zeller and R. Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002): leave out half of the steps, then quarters, and
so on down to single steps, as long as the rest still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

MOST_PLAYS: Final = 1_000
"""The most attempts.  For a hundred steps, one or two hundred are enough."""


def shortest(
    length: int, fails: Callable[[Sequence[int]], bool], *, most: int = MOST_PLAYS
) -> tuple[int, ...]:
    """Return the indexes of the steps, of ``length``, that a failing history needs, in order.

    ``fails`` says whether some of the steps fail.  No single step of the result can
    be left out, unless the search ended after ``most`` attempts.

    >>> shortest(100, lambda kept: {3, 50, 98} <= set(kept))
    (3, 50, 98)
    """
    kept = list(range(length))
    size = length
    while size and most > 0:
        start, shorter = 0, False
        while start < len(kept) and most > 0:
            without = kept[:start] + kept[start + size :]
            most -= 1
            if fails(without):
                kept, shorter = without, True
            else:
                start += size
        if not shorter or size > 1:
            size = size // 2
    return tuple(kept)
