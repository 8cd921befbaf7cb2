"""The problems of a calendar file: what was wrong, and what was assumed instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from slotengine.errors import BadCalendar
from slotengine.ical.budget import BudgetSpent

MAX_PROBLEMS: Final = 1_000
"""The most problems that are kept for one file."""


class Problem(NamedTuple):
    """Something in a calendar that could not be read as it is written.

    >>> print(Problem("event 'a@example.org'", 12, "DTEND cannot be read", "it lasts a day"))
    event 'a@example.org', line 12: DTEND cannot be read; assumed: it lasts a day
    """

    component: str
    """The event, named by its UID or its number in the calendar, but never by its summary."""
    line: int
    """The line, counted from 1; of a folded line, the first part."""
    problem: str
    assumed: str

    def __str__(self) -> str:
        return f"{self.component}, line {self.line}: {self.problem}; assumed: {self.assumed}"


_SPENT: Final = "it takes too much work, given max_events", "only the instances found so far"


class ProblemLog:
    """Collects the problems of one file, or raises the first one if it is strict."""

    def __init__(self, *, strict: bool) -> None:
        self.problems: list[Problem] = []
        self.complete = True
        self._strict = strict

    def add(self, component: str, line: int, problem: str, assumed: str) -> None:
        """Add a problem.  Raises `BadCalendar` if the log is strict."""
        if self._strict:
            raise BadCalendar(f"{component}, line {line}: {problem}")
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(component, line, problem, assumed))

    def add_incomplete(self, component: str, line: int, problem: str, assumed: str) -> None:
        """Add a problem that ended the reading early, so that the result is incomplete."""
        del self.problems[MAX_PROBLEMS - 1 :]  # keep room: this reason must always be reported
        self.add(component, line, problem, assumed)
        self.complete = False

    @contextmanager
    def guard(self, component: str, line: int) -> Iterator[None]:
        """Turn an exception raised inside the block into a problem, unless the log is strict."""
        try:
            yield
        except BadCalendar:  # the log is strict
            raise
        except BudgetSpent:
            self.add_incomplete(component, line, *_SPENT)
        except Exception:
            # No cause is known.  But files come from anywhere, and one bad event must not
            # hide all the others.
            self.add_incomplete(
                component, line, "it cannot be evaluated", "only what was found so far"
            )
