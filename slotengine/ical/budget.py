"""A limit on the work that one calendar file may cause."""

from __future__ import annotations


class BudgetSpent(Exception):
    """The budget is used up."""


class Budget:
    """How much work may still be done for a file.

    Work is counted in steps rather than measured in time, so that the same file gives the
    same result on every machine.
    """

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Spend some steps.  Raises `BudgetSpent` if fewer are left."""
        self._left -= steps
        if self._left < 0:
            self._left = 0
            raise BudgetSpent
