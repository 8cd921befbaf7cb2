"""What outlives a crash: where a simulated engine keeps its changes, and finds them again.

`Home` is the seam for an engine that is durable: the simulator asks it for an
engine, lets that die at some record, and asks for the next.  `MemoryHome` keeps
the records in a list, and has them taken back in with `Ledger.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol

import anyio

from slotengine.core.ledger.reservation import Change, Entry, Verb
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
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


class ParkingEngine(SlotEngine):
    """An engine whose calls can be kept where they give way to others, for as long as one likes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turn_is_really_over = self._turn_is_over
        self._turn_is_over = _always

    async def _give_way(self) -> None:
        parked = PARKED.get()
        if parked is not None:
            await parked.wait()
        if self._turn_is_really_over():
            await super()._give_way()


def _always() -> bool:
    return True


class Forgotten(NamedTuple):
    """The record of bookings that were forgotten on request, which is no change.

    It has to be kept all the same: somebody else may have been given since what they took.
    """

    before: int
    uids: Sequence[str]


Record = Change | Forgotten


class RecordingEngine(ParkingEngine):
    """An engine that hands on the record of each change, in the very step of it."""

    def __init__(self, keep: Callable[[Record], None], **options: Any) -> None:
        super().__init__(**options)
        self._keep = keep
        furnish(self)

    def take_back(self, records: Iterable[Record]) -> None:
        """Take recorded changes back in."""
        for record in records:
            if isinstance(record, Forgotten):
                self._ledger.forget_bookings(*record)
            else:
                self._ledger.apply(record)

    def _forget_bookings(self, before: int, uids: Sequence[str]) -> int:
        forgotten = super()._forget_bookings(before, uids)
        self._keep(Forgotten(before, uids))
        return forgotten

    def _publish(self, verb: Verb, entry: Entry, at: int) -> None:
        self._keep(self._ledger.record(verb, entry, at))
        super()._publish(verb, entry, at)


class MemoryHome:
    """Keeps the records of all changes in a list."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def engine(
        self, clock: Clock, new_uid: Callable[[], str], options: Mapping[str, Any]
    ) -> SlotEngine:
        """Return an engine that has made all the changes kept."""
        keep = self._records.append
        engine = RecordingEngine(keep, clock=clock, new_uid=new_uid, **options)
        engine.take_back(self._records)
        return engine

    def records(self) -> int:
        """Return how many records there are."""
        return len(self._records)

    def crash(self, keep: int) -> None:
        """Lose all records but the first so many."""
        self._records = self._records[:keep]  # a new list: the old engine may write to its own
