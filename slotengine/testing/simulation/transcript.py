"""The transcript of a history, line by line."""

from __future__ import annotations

from typing import NamedTuple

from slotengine.testing.internal.action_text import answer_text
from slotengine.testing.internal.actions import Answer
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation.steps import SCALE, Step


class TranscriptLine(NamedTuple):
    """A line of a transcript: a step, and the answer."""

    what: Step | str
    answer: Answer = None

    def __str__(self) -> str:
        return f"{self.what}" if self.answer is None else f"{self.what} -> {text(self.answer)}"


def difference(answer: Answer, expected: Answer) -> str:
    """Return how an answer differs from the expected one; in detail, if the short texts are equal.

    >>> difference(None, 3)
    'is None, must be 3'
    """
    words = text(answer), text(expected)
    if words[0] != words[1]:
        return f"is {words[0]}, must be {words[1]}"
    if isinstance(answer, list) and isinstance(expected, list) and len(answer) == len(expected):
        return "; ".join(
            difference(*pair) for pair in zip(answer, expected, strict=True) if pair[0] != pair[1]
        )
    if isinstance(answer, ObservedReservation) and isinstance(expected, ObservedReservation):
        differing = (
            f"{name} is {one}, must be {other}"
            for (name, one), other in zip(
                vars(answer).items(), vars(expected).values(), strict=True
            )
            if one != other
        )
        return f"is {words[0]}, but its {'; its '.join(differing)}"
    return f"is {_details(answer)}, must be {_details(expected)}"


def _details(answer: Answer) -> str:
    return f"{text(answer)} {answer[1:]}" if isinstance(answer, tuple) else repr(answer)


def text(answer: Answer) -> str:
    """Return an answer in a few words."""
    return answer_text(answer, SCALE)
