"""What the parts of a sync have in common: the engine, a clock and a source of randomness."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from slotengine.core.time.instant import to_us
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine


class Environment(NamedTuple):
    """What a sync was given, and does not own."""

    engine: SlotEngine
    clock: Clock
    """Waits for the engine's time."""
    random: Random

    def now(self) -> int:
        """Return the engine's time."""
        return to_us(self.engine.now())
