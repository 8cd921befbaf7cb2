"""A simulator: one seed drives many clients of one engine, and all faults that it must survive.

`history` makes the steps of a seed, and `play` plays them, on an engine with a
virtual clock and on a naive ledger.  After each step the answers are compared and
the invariants checked.  After the last step all faults stop, and everything must
come to its end.  `simulate` does both, and shrinks a history that fails.

>>> play(history(seed=7, steps=20)).failure is None
True

From the command line: ``slotengine simulate --seeds 1000``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio

from slotengine.errors import EngineClosed
from slotengine.testing.simulation.history import history
from slotengine.testing.simulation.player import CHECK_EVERY, Player
from slotengine.testing.simulation.shrinking import shortest
from slotengine.testing.simulation.steps import RESOURCES, TERMS, Step
from slotengine.testing.simulation.store import (
    ENGINE_OPTIONS,
    MemoryStore,
    ParkingTurns,
    Store,
    configure,
)
from slotengine.testing.simulation.transcript import TranscriptLine
from slotengine.testing.watch import InvariantBroken

__all__ = [
    "ENGINE_OPTIONS",
    "RESOURCES",
    "TERMS",
    "Failure",
    "Finding",
    "MemoryStore",
    "ParkingTurns",
    "Played",
    "Step",
    "Store",
    "TranscriptLine",
    "configure",
    "history",
    "investigate",
    "play",
    "simulate",
]


class Failure(NamedTuple):
    """The first thing that went wrong."""

    rule: str
    """The rule that was broken, or the name of the error that was raised."""
    details: str
    steps: int
    """The number of steps played, including the one that failed."""


class Played(NamedTuple):
    """The outcome of a history."""

    transcript: tuple[TranscriptLine, ...]
    failure: Failure | None

    @property
    def text(self) -> str:
        """The transcript, line by line; the same each time."""
        return "".join(f"{line}\n" for line in self.transcript)


def play(
    steps: Sequence[Step],
    *,
    backend: str = "asyncio",
    store: Callable[[], Store] = MemoryStore,
    check_every: int = CHECK_EVERY,
) -> Played:
    """Play a history, on an engine of a fresh ``store``.

    The same steps give the same transcript each time, on any backend.  After each
    step, its answer and all reservations are checked; after each ``check_every``
    steps, everything.
    """
    player = Player(steps, store(), check_every=check_every)
    try:
        anyio.run(player.play, backend=backend)
    except Exception as error:
        return Played(tuple(player.run.transcript), _failure(error, player.run.at))
    return Played(tuple(player.run.transcript), None)


def _failure(error: Exception, steps: int) -> Failure:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, EngineClosed) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # a task of the engine failed
    if isinstance(error, InvariantBroken):
        return Failure(error.rule, error.details, steps)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename.rpartition('/')[2]}, {where.name}: {where.line}"
    return Failure(type(error).__name__, f"{error} [{place}]", steps)


class Finding(NamedTuple):
    """A seed that fails, and the shortest history found that breaks the same rule."""

    seed: int
    steps: int
    only: tuple[int, ...]
    """The indexes of the steps that are needed."""
    played: Played
    """The outcome of these steps."""
    whole: bool = False
    """Whether all steps are needed: the history does not fail if each step is checked fully."""

    def command(self, *more: str) -> str:
        """Return the command that plays these steps again."""
        words = f"slotengine simulate --seed {self.seed} --steps {self.steps}"
        if not self.whole:
            words += f" --only {','.join(map(str, self.only)) or 'none'}"
        return " ".join((words, *more))


def simulate(
    seed: int,
    steps: int,
    *,
    backend: str = "asyncio",
    store: Callable[[], Store] = MemoryStore,
) -> Finding | None:
    """Play the history of a seed.  If it fails, shrink it and return the finding."""
    if play(history(seed, steps), backend=backend, store=store).failure is None:
        return None
    return investigate(seed, steps, backend=backend, store=store)


def investigate(
    seed: int,
    steps: int,
    *,
    backend: str = "asyncio",
    store: Callable[[], Store] = MemoryStore,
) -> Finding:
    """Return the shortest history found that breaks the same rule as a failing seed does."""
    whole = history(seed, steps)

    def played(kept: Sequence[int]) -> Played:
        # With all checks after each step; otherwise their times depend on the number of steps.
        return play([whole[i] for i in kept], backend=backend, store=store, check_every=1)

    failure = played(range(steps)).failure
    if failure is None:  # with all checks after each step, it does not fail
        found = play(whole, backend=backend, store=store)
        assert found.failure is not None, "the seed is one that fails"
        return Finding(seed, steps, tuple(range(steps)), found, whole=True)

    def fails(kept: Sequence[int]) -> bool:
        found = played(kept).failure
        return found is not None and found.rule == failure.rule

    # Without the steps after the failure, unless the failure came at the end of the run.
    length = failure.steps if fails(range(failure.steps)) else steps
    only = shortest(length, fails)
    return Finding(seed, steps, only, played(only))
