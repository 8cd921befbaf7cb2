"""Shrinking: which steps of a failing history can be left out?

Delta debugging (A. Zeller and R. Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002): leave out half of the steps, then quarters, and
so on down to single steps, as long as the rest still fails.  What is left is short, so then
every run of steps can be tried: some steps can only be left out together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

MOST_PLAYS: Final = 1_000
"""The most attempts.  For a hundred steps, one or two hundred are enough."""

FEW: Final = 24
"""Of so many steps, every run is tried: there are fewer than three hundred."""


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
        if not size and len(kept) <= FEW:
            kept, most, size = _without_a_run(kept, fails, most)
    return tuple(kept)


def _without_a_run(
    kept: list[int], fails: Callable[[Sequence[int]], bool], most: int
) -> tuple[list[int], int, int]:
    """Leave out several steps in a row; return the rest, the attempts left, and a size.

    The size is 1 if single steps have to be tried again, and 0 if there is no such run.
    """
    for size in range(len(kept) - 1, 1, -1):
        for start in range(len(kept) - size + 1):
            if most <= 0:
                return kept, most, 0
            without = kept[:start] + kept[start + size :]
            most -= 1
            if fails(without):
                return without, most, 1
    return kept, most, 0
