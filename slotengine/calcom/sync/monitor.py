"""Counts what a sync does, for `SyncStatistics`, and tells its listener of events."""

from __future__ import annotations

from collections.abc import Callable

from slotengine.calcom.sync.remote_state import RevokeReason
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.calcom.sync.values import CaughtUp, Diverged, Revoked, SyncEvent
from slotengine.core.time.instant import from_us
from slotengine.engine.values import Reservation


class Counters:
    """The counters of `SyncStatistics`, under the same names."""

    def __init__(self) -> None:
        self.sent = 0
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.not_done = 0
        self.retried = 0
        self.renewed = 0
        self.revoked = 0
        self.given_back = 0
        self.diverged = 0


class Monitor:
    """Counts what happens, and calls the listener with each event."""

    def __init__(self, on_event: Callable[[SyncEvent], None]) -> None:
        self.counters = Counters()
        self.troubled = False
        """Whether a request for a promised hold has failed since the last `CaughtUp`."""
        self._on_event = on_event

    def diverged(self, tracked: TrackedHold, problem: str) -> None:
        """Report that the two sides differ about a reservation; once for each."""
        if not tracked.diverged:
            tracked.diverged = True
            self.counters.diverged += 1
            self._on_event(Diverged(tracked.uid, tracked.synced.id, problem))

    def revoked(
        self,
        tracked: TrackedHold,
        released: Reservation,
        reason: RevokeReason,
        problem: Exception | None,
    ) -> None:
        """Report that a hold was revoked; if no caller was given it, only count it."""
        if not tracked.promised:
            self.counters.given_back += 1
            return
        self.counters.revoked += 1
        said = "" if problem is None else str(problem)
        start, end = released.start, released.end
        self._on_event(Revoked(tracked.uid, tracked.synced.id, start, end, reason, said))

    def caught_up(self, now: int) -> None:
        """Report that the remote has everything again, if there was trouble before."""
        if self.troubled:
            self.troubled = False
            self._on_event(CaughtUp(from_us(now)))
