"""What outlives a crash: where a simulated engine keeps its changes, and finds them again.

`Home` is the seam for an engine that is durable: the simulator asks it for an
engine, lets that die at some record, and asks for the next.  `MemoryHome` keeps
the records in a list, and has them taken back in with `Ledger.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, Protocol

import anyio

from slotengine.core.ledger.reservation import Record
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.turns import Turns
from slotengine.testing.simulation.steps import EVENT_TYPES, MOST_WAITING, RESOURCES, TERMS


def _delta(us: int | None) -> timedelta | None:
    return None if us is None else timedelta(0, 0, us)


OPTIONS: Final[dict[str, Any]] = {
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
"""What a simulated engine is made with: `TERMS`, as an engine's callers say them."""
FREE_OPTIONS: Final = OPTIONS | dict.fromkeys(("max_holds", "max_held", "max_lapses"))
"""The same, without quotas."""


def furnish(engine: SlotEngine) -> None:
    """Make known to an engine what there is, and what can be booked."""
    for name, (capacity, schedule) in RESOURCES.items():
        engine.add_resource(name, capacity=capacity, schedule=schedule)
    for event_type in EVENT_TYPES.values():
        engine.add_event_type(event_type)


class Home(Protocol):
    """Where engines come from, one after the other."""

    def engine(
        self, clock: Clock, new_uid: Callable[[], str], options: Mapping[str, Any]
    ) -> SlotEngine:
        """Return an engine with these options, `furnish`ed, not entered, and all that was kept.

        It ought to give way as a `ParkingEngine` does, or no call is ever parked.
        """

    def records(self) -> int:
        """Return how many records there are: of changes, and of what was forgotten on request."""

    def crash(self, keep: int) -> None:
        """Lose all records but the first so many, and let the engine write no more."""


PARKED: ContextVar[anyio.Event | None] = ContextVar("PARKED", default=None)
"""What a call waits for where it gives way to others, if it is to be parked there."""


class ParkingTurns(Turns):
    """Turns after which a call can be kept where it gives way, for as long as one likes."""

    def __init__(self) -> None:
        super().__init__()
        self._ends = self.is_over
        self.is_over = _always

    async def give_way(self) -> None:
        """Wait where a call is to be parked; and give way as often as an engine does."""
        parked = PARKED.get()
        if parked is not None:
            await parked.wait()
        if self._ends():
            await super().give_way()


def _always() -> bool:
    return True


class MemoryHome:
    """Keeps the records of all changes in a list."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def engine(
        self, clock: Clock, new_uid: Callable[[], str], options: Mapping[str, Any]
    ) -> SlotEngine:
        """Return an engine that has made all the changes kept."""
        engine = SlotEngine(clock=clock, new_uid=new_uid, **options)
        engine.turns = ParkingTurns()
        furnish(engine)
        engine.replay(self._records)
        engine.record(self._records.append)
        return engine

    def records(self) -> int:
        """Return how many records there are."""
        return len(self._records)

    def crash(self, keep: int) -> None:
        """Lose all records but the first so many."""
        self._records = self._records[:keep]  # a new list: the old engine may write to its own
