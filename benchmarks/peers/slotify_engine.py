"""`slotify-scheduling`: an engine with a store of its own for each resource.

One store for all resources would be even slower, because it scans everything it has.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from slotify import AvailabilityEngine, BookingConflictError, Slot, SlotGenerator

from benchmarks.peers import in_process
from benchmarks.workloads import TTL, Storm
from slotengine import FixedWindows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(us: int) -> datetime:
    return EPOCH + timedelta(0, 0, us)


class SlotifyTarget:
    """A token is the engine and the hold's id.

    The engine offers slots within hours, but does not check holds, so hours are checked here.
    """

    def __init__(self, storm: Storm) -> None:
        self.covers = FixedWindows(storm.windows).covers
        generator = SlotGenerator(start="09:00", end="17:00", timezone="UTC")
        self.engines = {
            name: AvailabilityEngine(generator, resource_id=name) for name in storm.resources
        }

    def reserve(
        self, resource: str, start: int, end: int, now: int
    ) -> tuple[AvailabilityEngine, str] | None:
        if not self.covers(start, end):
            return None
        engine = self.engines[resource]
        slot = Slot(moment(start), moment(end))
        try:
            hold = engine.hold(slot, expires_at=moment(now + TTL), now=moment(now))
        except BookingConflictError:
            return None
        return engine, hold.hold_id

    def confirm(self, token: tuple[AvailabilityEngine, str], now: int) -> None:
        engine, hold = token
        engine.confirm_hold(hold, now=moment(now))

    def release(self, token: tuple[AvailabilityEngine, str], now: int) -> None:
        engine, hold = token
        engine.release_hold(hold)


slots = in_process(SlotifyTarget)
