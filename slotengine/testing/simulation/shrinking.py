"""The shortest failing history that can be found: which steps can be left out?

Delta debugging (A. Zeller and R. Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002): leave out half of the steps, then quarters, and
so on down to single ones, for as long as what is left still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

MOST_PLAYS: Final = 1_000
"""So many attempts at most; a hundred or two will do for a hundred steps."""


def shortest(
    length: int, fails: Callable[[Sequence[int]], bool], *, most: int = MOST_PLAYS
) -> tuple[int, ...]:
    """Return which of so many steps are needed for a history that fails, in order.

    None of them can be left out any more, unless ``most`` attempts did not do.

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
