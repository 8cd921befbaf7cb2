"""What is told of a history that was played, line by line."""

from __future__ import annotations

from typing import NamedTuple

from slotengine.core.reservation import BOOKED_UNTIL
from slotengine.testing.model import Seen
from slotengine.testing.operations import Answer, Operation
from slotengine.testing.simulation.steps import SCALE, Step


class Told(NamedTuple):
    """A line of a transcript: what happened, and what came of it."""

    what: Step | Operation | str
    answer: Answer = None

    def __str__(self) -> str:
        return f"{self.what}" if self.answer is None else f"{self.what} -> {text(self.answer)}"


def text(answer: Answer) -> str:
    """Return an answer in a few words."""
    match answer:
        case Seen():
            until = "" if answer.until == BOOKED_UNTIL else f" until {SCALE.at(answer.until)}"
            where = "+".join(claim.resource for claim in answer.claims)
            return (
                f"{answer.uid} v{answer.version} {answer.state.value}{until}: "
                f"{where} {SCALE.span(answer.start, answer.end)}"
            )
        case list():
            return "; ".join(map(text, answer))
        case (type() as kind, *_):
            return kind.__name__
        case _:
            return str(answer)
