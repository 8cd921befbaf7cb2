"""How much work reading a calendar file may cost."""

from __future__ import annotations


class BudgetSpent(Exception):
    """The budget is spent."""


class Budget:
    """How much work may still be done for a file.

    Counted, not timed, so that the same file gives the same result everywhere.
    """

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Take steps, or raise `BudgetSpent` if they are not there any more."""
        self._left -= steps
        if self._left < 0:
            self._left = 0
            raise BudgetSpent
