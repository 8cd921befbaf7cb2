"""The steps of a history: plain values, each of which makes sense whatever else is left out.

So a history can be cut short, step by step, and what is left is a history.
That is why a step names no uid and no moment of expiry: it says "the latest of
client 3", and "a tick before that one lapses", and finds out when it is played.

A tick is a microsecond, and the clock begins at 0: few instants, so that spans
touch, nest and repeat, and things happen at the very moment at which others end.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from slotengine.core.proposal import Terms
from slotengine.core.schedule import FixedWindows, Windows
from slotengine.testing.operations import Operation

TERMS: Final = Terms(
    default_ttl=8, shortest_ttl=1, longest_ttl=20, max_life=25, retention=15, longest_span=20
)
RESOURCES: Final[dict[str, tuple[int, Windows | None]]] = {
    "room": (1, None),
    "annex": (1, None),
    "desk": (1, FixedWindows([(0, 6), (7, 14)])),
    "hall": (3, None),
}
"""What there is: capacity and hours of each."""
LAST: Final = 14
"""Slots end by this tick.  The clock goes beyond: that a slot is over frees nobody from it."""


class How(Enum):
    """What becomes of a call."""

    ASYNC = "async"
    """Awaited, and its answer believed."""
    AT_ONCE = "at once"
    """The ``_nowait`` verb, before any other task can run."""
    LOST = "reply lost"
    """Done, but the client never hears of it."""
    PARKED = "parked"
    """Gives way to others for some steps, before it is done, or is cancelled there."""


class Call(NamedTuple):
    """A client calls a verb; if that is about a reservation, its ``nth`` from the latest."""

    client: int
    operation: Operation
    nth: int = 0
    how: How = How.ASYNC

    def __str__(self) -> str:
        about = "" if self.operation.proposals and self.operation.verb.startswith("res") else "its "
        which = "" if not about else ("latest: " if not self.nth else f"latest but {self.nth}: ")
        how = "" if self.how is How.ASYNC else f" ({self.how.value})"
        return f"client {self.client}: {about}{which}{self.operation}{how}"


class Resume(NamedTuple):
    """The oldest call that is parked goes on, or is cancelled where it stands."""

    cancel: bool = False

    def __str__(self) -> str:
        return "what is parked is cancelled" if self.cancel else "what is parked goes on"


class Jump(NamedTuple):
    """The clock jumps by so many ticks, forward or back."""

    by: int

    def __str__(self) -> str:
        return f"clock {self.by:+}"


class JumpTo(NamedTuple):
    """The clock jumps to when a client's nth reservation lapses, give or take a tick."""

    client: int
    nth: int = 0
    off: int = 0

    def __str__(self) -> str:
        return f"clock to where client {self.client}'s latest but {self.nth} lapses, {self.off:+}"


class Stall(NamedTuple):
    """The sweeper gets no turn any more, or gets them again."""

    on: bool = True

    def __str__(self) -> str:
        return "sweeper stalls" if self.on else "sweeper goes on"


class Deafen(NamedTuple):
    """A subscriber stops to read, or goes on."""

    subscriber: int
    on: bool = True

    def __str__(self) -> str:
        return f"subscriber {self.subscriber} {'stalls' if self.on else 'goes on'}"


class Import(NamedTuple):
    """A source says when resources are busy, and nothing it said before holds."""

    source: str
    spans: tuple[tuple[str, int, int], ...]

    def __str__(self) -> str:
        said = ", ".join(f"{name} {start}..{end}" for name, start, end in self.spans)
        return f"{self.source} says busy: {said or 'nothing'}"


class Crash(NamedTuple):
    """The engine dies and starts anew; so many records that nobody was told of are lost."""

    lost: int = 0

    def __str__(self) -> str:
        return f"crash, {self.lost} records lost"


Step = Call | Resume | Jump | JumpTo | Stall | Deafen | Import | Crash
