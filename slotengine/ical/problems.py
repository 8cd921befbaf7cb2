"""What was wrong with a calendar file, and what was assumed instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from slotengine.errors import BadCalendar
from slotengine.ical.budget import BudgetSpent

MAX_PROBLEMS: Final = 1_000
"""How many problems are kept of one file."""


class Problem(NamedTuple):
    """Something in a calendar that could not be read as it stands.

    >>> print(Problem("event 'a@example.org'", 12, "DTEND cannot be read", "it lasts a day"))
    event 'a@example.org', line 12: DTEND cannot be read; assumed: it lasts a day
    """

    component: str
    """The event, named by its UID or its number in the calendar, never by its summary."""
    line: int
    """The first one is 1.  Of a line that is folded, the first part."""
    problem: str
    assumed: str

    def __str__(self) -> str:
        return f"{self.component}, line {self.line}: {self.problem}; assumed: {self.assumed}"


_SPENT: Final = "there is too much to work out", "no instances but those found so far"


class ProblemLog:
    """Collects the problems of one file, or raises the first one if it is strict."""

    def __init__(self, *, strict: bool) -> None:
        self.problems: list[Problem] = []
        self.complete = True
        self._strict = strict

    def add(self, component: str, line: int, problem: str, assumed: str) -> None:
        """Keep a problem.  Raises `BadCalendar` if the log is strict."""
        if self._strict:
            raise BadCalendar(f"{component}, line {line}: {problem}")
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(component, line, problem, assumed))

    def add_incomplete(self, component: str, line: int, problem: str, assumed: str) -> None:
        """Keep a problem for which reading ended early, so that the result is not complete."""
        del self.problems[MAX_PROBLEMS - 1 :]  # why it is not complete is always told
        self.add(component, line, problem, assumed)
        self.complete = False

    @contextmanager
    def guard(self, component: str, line: int) -> Iterator[None]:
        """Keep an exception from inside as a problem, unless the log is strict."""
        try:
            yield
        except BadCalendar:  # what is strict is over
            raise
        except BudgetSpent:
            self.add_incomplete(component, line, *_SPENT)
        except Exception:
            # There is no case known.  But a file comes from anywhere, and one event of it must
            # not take all the others with it.
            self.add_incomplete(component, line, "it cannot be worked out", "what was found so far")
