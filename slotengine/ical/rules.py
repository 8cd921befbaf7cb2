"""Recurrence rules that come to an end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Self

from slotengine.ical.trouble import Budget


def bound(series: Any, budget: Budget) -> None:
    """Let the rules of a series spend from the budget."""
    # Each instance is held against the changes that reach into the future.
    cost = 1 + len(series.this_and_future)
    rules = getattr(series.recurrence, "rrules", [])  # a lone instance has none
    # The first holds the dates listed one by one: no more of them than the file has.
    rules[1:] = [_BoundRule(rule, budget, cost) for rule in rules[1:]]


class _BoundRule:
    """A rule of dateutil that spends from the budget as it goes on.

    Ending with the range is not enough.  The walk starts at the event's first
    instance; and a rule that never matches (30 February) walks on to the year
    9999 before it gives up, in search of what is past the range.
    """

    def __init__(self, rule: Any, budget: Budget, cost: int) -> None:
        self.until = rule.until
        self._rule = rule.replace(interval=_Interval(rule._interval, budget))
        self._budget = budget
        self._cost = cost

    def between(self, after: datetime, before: datetime, *, inc: bool) -> Iterator[datetime]:
        """Yield the rule's moments in the range, both ends included."""
        assert inc
        for moment in self._rule:
            self._budget.spend(self._cost)
            if moment > before:
                return
            if moment >= after:
                yield moment


class _Interval(int):
    """The INTERVAL of a rule.  dateutil adds it, or a multiple of it, at each step of its walk."""

    _budget: Budget

    def __new__(cls, value: int, budget: Budget) -> Self:
        self = super().__new__(cls, value)
        self._budget = budget
        return self

    def __radd__(self, other: int) -> int:
        self._step()
        return other + int(self)

    def __mul__(self, other: int) -> int:
        self._step()
        return int(self) * other

    def _step(self) -> None:
        # A step that skips years is counted out month by month.
        self._budget.spend(1 + self // 100)
