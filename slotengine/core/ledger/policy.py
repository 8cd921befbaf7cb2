"""Which of several candidates to prefer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from fractions import Fraction


class Policy(Enum):
    """Which candidate to prefer when several would do."""

    FIRST = "first"
    """The first that fits, in the order given."""
    LEAST_LOADED = "least loaded"
    """The one whose resources have the fewest live claims; ties in the order given."""
    WEIGHTED = "weighted"
    """In turn, in proportion to the weights; ties in the order given.

    The quota method (M. L. Balinski and H. P. Young, "The quota method of
    apportionment", 1975): of the candidates whose next claim would not exceed
    their fair share, rounded up, the one with the lowest (claims + 1) / weight.
    With all candidates free, nobody is ever a whole claim away from their share."""


def by_preference(policy: Policy, loads: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Return the indexes of candidates with these loads, the preferred one first.  O(n log n).

    >>> by_preference(Policy.FIRST, [2, 1, 0], [1, 1, 1])
    [0, 1, 2]
    >>> by_preference(Policy.LEAST_LOADED, [2, 1, 0], [1, 1, 1])
    [2, 1, 0]
    >>> by_preference(Policy.WEIGHTED, [2, 1, 0], [6, 1, 1])
    [0, 2, 1]
    """
    indexes = list(range(len(loads)))
    if policy is Policy.FIRST:
        return indexes
    if policy is Policy.LEAST_LOADED:
        return sorted(indexes, key=loads.__getitem__)
    return by_turn(loads, weights, [0] * len(loads))


def by_turn(loads: Sequence[int], weights: Sequence[int], latest: Sequence[int]) -> list[int]:
    """Return the indexes of those who share work by weight, whose turn it is first.  O(n log n).

    As `Policy.WEIGHTED`; among those to whom it would be equally fair, the one
    whose ``latest`` work was given to them the longest ago.

    >>> by_turn([1, 0, 0], [1, 1, 1], [5, 7, 6])
    [2, 1, 0]
    >>> by_turn([1, 1], [2, 1], [5, 6])
    [0, 1]
    """
    if len(set(weights)) == 1:  # then it is a matter of counting, and fractions cost 1 µs each
        return sorted(range(len(loads)), key=lambda i: (loads[i], latest[i]))
    next_total, weight_of_all = sum(loads) + 1, sum(weights)

    def rank(i: int) -> tuple[bool, Fraction, int]:
        within_quota = loads[i] * weight_of_all < weights[i] * next_total
        return not within_quota, Fraction(loads[i] + 1, weights[i]), latest[i]

    return sorted(range(len(loads)), key=rank)
