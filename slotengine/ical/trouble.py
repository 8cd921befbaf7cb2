"""What can go wrong while a calendar is read, and how long reading may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from slotengine.errors import BadCalendar

# What the libraries raise over a text that is wrong in a way they did not think of.
LIBRARY_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Trouble(Exception):
    """What is wrong with the part of the file that is being read."""


@contextmanager
def about(part: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a `BadCalendar` that names the part.

    What the libraries say is left out: they quote the file.
    """
    try:
        yield
    except Trouble as trouble:
        raise BadCalendar(f"{part}: {trouble}") from None
    except LIBRARY_ERRORS:
        raise BadCalendar(f"{part}: its times cannot be worked out") from None


class Budget:
    """How many steps may still be taken while reading a file."""

    def __init__(self, steps: int) -> None:
        self._steps = self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps, or raise `Trouble` if they are not there any more."""
        self._left -= steps
        if self._left < 0:
            raise Trouble(f"more than {self._steps} instances to look at")
