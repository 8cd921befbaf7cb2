"""What outlives a crash: where the steps of a simulated engine are kept.

`Store` is the seam for a durable engine.  The simulator asks it for an engine,
crashes that engine after some step, and asks for the next one.  `MemoryStore`
keeps the changes of each step in a list and replays them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, Protocol

import anyio

from slotengine.core.ledger.changes import Changes
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.turns import Turns
from slotengine.testing.simulation.steps import EVENT_TYPES, MOST_WAITING, RESOURCES, TERMS


def _delta(us: int | None) -> timedelta | None:
    return None if us is None else timedelta(0, 0, us)


ENGINE_OPTIONS: Final[dict[str, Any]] = {
    "default_ttl": _delta(TERMS.default_ttl),
    "min_ttl": _delta(TERMS.shortest_ttl),
    "max_ttl": _delta(TERMS.longest_ttl),
    "max_life": _delta(TERMS.max_life),
    "retention": _delta(TERMS.retention),
    "max_length": _delta(TERMS.longest_span),
    "max_waiters": MOST_WAITING,
    "max_holds": TERMS.max_holds,
    "max_held": _delta(TERMS.max_held),
    "max_lapses": TERMS.max_lapses,
    "cool_down": _delta(TERMS.cool_down),
}
"""The arguments of a simulated engine: `TERMS`, as callers of `SlotEngine` write them."""
ENGINE_OPTIONS_WITHOUT_QUOTAS: Final = ENGINE_OPTIONS | dict.fromkeys(
    ("max_life", "max_holds", "max_held", "max_lapses")
)


def configure(engine: SlotEngine) -> None:
    """Add the resources and event types of the simulation to an engine."""
    for name, (capacity, schedule) in RESOURCES.items():
        engine.add_resource(name, capacity=capacity, schedule=schedule)
    for event_type in EVENT_TYPES.values():
        engine.add_event_type(event_type)


class Store(Protocol):
    """Makes one engine after another, each with the steps that were kept."""

    def engine(
        self, clock: Clock, new_uid: Callable[[int], str], options: Mapping[str, Any]
    ) -> SlotEngine:
        """Return an engine with these options and all that was kept, `configure`d, not started.

        Its calls can be parked only if its `SlotEngine.turns` are `ParkingTurns`.
        """

    def steps(self) -> int:
        """Return the number of steps that changed anything."""

    def crash(self, keep: int) -> None:
        """Drop all steps but the first ``keep``, and let the engine write no more."""


PARKED: ContextVar[anyio.Event | None] = ContextVar("PARKED", default=None)
"""The event that the calls of a task wait for before they run, if they are parked."""


class ParkingTurns(Turns):
    """Turns that let any call be parked: kept at the point where it gives way."""

    def __init__(self) -> None:
        super().__init__()
        self._ends_turn = self.is_over
        self.is_over = _always

    async def give_way(self) -> None:
        """Wait while the call is parked; then give way if a turn is over."""
        parked = PARKED.get()
        if parked is not None:
            await parked.wait()
        if self._ends_turn():
            await super().give_way()


def _always() -> bool:
    return True


class MemoryStore:
    """Keeps the changes of each step in a list."""

    def __init__(self) -> None:
        self.kept: list[Changes] = []

    def engine(
        self, clock: Clock, new_uid: Callable[[int], str], options: Mapping[str, Any]
    ) -> SlotEngine:
        """Return an engine that has replayed all steps."""
        engine = SlotEngine(clock=clock, new_uid=new_uid, **options)
        engine.turns = ParkingTurns()
        configure(engine)
        engine.replay(self.kept)
        engine.record(self.kept.append)
        return engine

    def steps(self) -> int:
        """Return the number of steps."""
        return len(self.kept)

    def crash(self, keep: int) -> None:
        """Drop all steps but the first ``keep``."""
        self.kept = self.kept[:keep]  # a new list: the old engine may still append to its own
