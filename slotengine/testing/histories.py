"""Histories: what concurrent callers asked for, when, and what they were answered.

Callers in tasks, in threads or on the other side of a network note their calls
with a `Recorder`.  `slotengine.testing.linearizability` decides whether some order
of one call after the other explains all the answers.

>>> recorder = Recorder()
>>> call = recorder.ask("is room-1 free?")
>>> call.answered("yes")
>>> recorder.calls
[RecordedCall(what='is room-1 free?', asked_at=0, now=0, answer='yes', answered_at=1)]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

NEVER_ANSWERED: Final = None
"""The ``answered_at`` of a call whose answer nobody got."""


@dataclass(slots=True)
class RecordedCall:
    """A call: what was asked for and, once it is known, the answer.

    ``asked_at`` and ``answered_at`` number the questions and answers of all callers
    in their order.  ``now`` is the time by which the call was decided, in
    microseconds.  A call that was never answered may have taken effect at any time
    since it was asked, or not at all.
    """

    what: Any
    asked_at: int
    now: int = 0
    answer: Any = None
    answered_at: int | None = NEVER_ANSWERED
    _tick: Callable[[], int] = field(default=lambda: 0, repr=False, compare=False)

    def answered(self, answer: Any) -> None:
        """Note the answer, as soon as it is there."""
        self.answer = answer
        self.answered_at = self._tick()


class Recorder:
    """Notes the calls of all callers; tasks and threads may share one.

    ``now`` returns the time by which the engine decides, in microseconds.  It must
    stand still while a call is in progress: advance the clock between calls.
    """

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        self.calls: list[RecordedCall] = []
        """All calls, in the order in which they were asked."""
        self._now = now
        self._ticks = count()

    def ask(self, what: Any) -> RecordedCall:
        """Note what is asked, just before it is."""
        # Counting and appending are each a single step of the interpreter, also for threads.
        call = RecordedCall(what, self._tick(), self._now(), _tick=self._tick)
        self.calls.append(call)
        return call

    def _tick(self) -> int:
        return next(self._ticks)
