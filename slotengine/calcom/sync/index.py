"""All tracked holds: their spans at the remote, and the hold that each of them should have.

This module answers questions; `outbound` acts on the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from slotengine.calcom.sync.clock_skew import ClockSkew
from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.next_step import Desired
from slotengine.calcom.sync.orphans import Orphan, Orphans
from slotengine.calcom.sync.remote_span import RemoteSpan, SpanIndex
from slotengine.calcom.sync.remote_state import PRESENT, RemoteEvent
from slotengine.calcom.sync.tracked_hold import Lifetime, TrackedHold, is_live, span_of
from slotengine.calcom.sync.values import OnConfirm, Synced
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import SECOND, to_us
from slotengine.engine.listing import MOST_IN_A_PAGE, ReservationQuery, each_found
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Reservation

_FREED_KEPT: Final = 60 * SECOND

_LIVE: Final = ReservationQuery(
    states=[State.HELD, State.CONFIRMED],
    start=datetime.min.replace(tzinfo=UTC),
    end=datetime.max.replace(tzinfo=UTC),
    limit=MOST_IN_A_PAGE,
)


class HoldIndex:
    """The tracked holds by their uids, the orphaned holds, and the clock skew."""

    def __init__(
        self,
        env: Environment,
        synced: dict[str, Synced],
        *,
        save: Callable[[TrackedHold], None],
        save_orphan: Callable[[Orphan], None],
    ) -> None:
        self.by_uid: dict[str, TrackedHold] = {}
        self.synced = synced
        """The synced event types, by their ids here."""
        self.orphans = Orphans()
        self.clock_skew = ClockSkew()
        self.blocked: set[TrackedHold] = set()
        """Holds that wait until another hold of ours is gone from their span at the remote."""
        self.unblock: Callable[[TrackedHold], None]
        """Called with each of ``blocked`` when the spans of another hold have changed."""
        self.on_earlier_end: Callable[[TrackedHold], None]
        """Called with a hold that ends earlier at the remote than was known."""
        self._env = env
        self._save = save
        self._save_orphan = save_orphan
        self._present: SpanIndex[TrackedHold] = SpanIndex()
        self._recently_freed: deque[tuple[RemoteSpan, int]] = deque()

    def now(self) -> int:
        """Return the engine's time."""
        return self._env.now()

    def track(self, reservation: Reservation, synced: Synced) -> TrackedHold:
        """Return the tracked hold of a reservation, a new one if there is none."""
        tracked = self.by_uid.get(reservation.uid)
        if tracked is None:
            tracked = self.by_uid[reservation.uid] = TrackedHold(reservation.uid, synced)
        return tracked

    def adopt(self, tracked: TrackedHold) -> None:
        """Add a tracked hold that was made elsewhere."""
        self.by_uid[tracked.uid] = tracked
        self._reindex(tracked)

    def forget(self, tracked: TrackedHold) -> None:
        """Stop tracking a reservation."""
        del self.by_uid[tracked.uid]
        tracked.over = True
        self._save(tracked)

    def add_orphan(self, orphan: Orphan) -> None:
        """Add a hold that a lost request may have made at the remote."""
        self.orphans.add(orphan, self.clock_skew.snapshot)
        self._save_orphan(orphan)

    def desired(self, tracked: TrackedHold, local: LocalEngine) -> Desired | None:
        """Return the hold that the remote should have now, according to the engine."""
        reservation = local.get(tracked.uid)
        if reservation is None or not is_live(reservation):
            return None
        synced = self.synced.get(reservation.event_type or "")
        if synced is None:  # it was moved to an event type that is not synced
            return None
        tracked.synced = synced
        span = span_of(reservation, synced)
        if (
            tracked.callback_lock.locked()
        ):  # the callback was given the remote's uid, so that hold must stay
            return Desired(span, 0, booked=reservation.state is State.CONFIRMED)
        if reservation.state is State.HELD:
            assert reservation.until is not None
            return Desired(span, to_us(reservation.until))
        return self._desired_booking(tracked, span)

    def _desired_booking(self, tracked: TrackedHold, span: RemoteSpan) -> Desired | None:
        on_confirm = tracked.synced.on_confirm
        if on_confirm is OnConfirm.RELEASE or tracked.booked:
            return None
        if on_confirm is not OnConfirm.KEEP and not tracked.callback_failed:
            return Desired(span, span.end, booked=True, to_book=True)
        return Desired(span, span.end, booked=True) if span.end > self.now() else None

    def record_booked(self, tracked: TrackedHold) -> None:
        """Record that the callback has booked it at the remote."""
        tracked.booked = True
        self._save(tracked)

    def set_lifetime(self, tracked: TrackedHold, covered_until: int, gone_after: int) -> None:
        """Record how long its hold lasts at the remote, at least and at most."""
        tracked.lifetime = Lifetime(covered_until, gone_after, self.clock_skew.snapshot)
        tracked.observed.covered_until = covered_until
        tracked.observed.gone_after = gone_after

    def clock_jumped(self) -> None:
        """Adjust how long holds last, because the remote's clock was adjusted.

        The time until which a hold certainly lasts can only move earlier, and
        the time after which it is certainly gone only later: perhaps another
        clock was adjusted, or this one will be adjusted back.
        O(n) for n tracked holds.
        """
        for tracked in self.by_uid.values():
            if tracked.observed.state in PRESENT:
                self._clock_jumped(tracked)
        for orphan in self.orphans.clock_jumped(self.clock_skew):
            self._save_orphan(orphan)

    def _clock_jumped(self, tracked: TrackedHold) -> None:
        observed, (covered_until, gone_after, snapshot) = tracked.observed, tracked.lifetime
        change = self.clock_skew.changed_since(snapshot)
        before = observed.covered_until, observed.gone_after
        observed.covered_until = min(observed.covered_until, covered_until - change.most)
        observed.gone_after = max(observed.gone_after, gone_after - change.least)
        if before != (observed.covered_until, observed.gone_after):
            self._save(tracked)
            self.on_earlier_end(tracked)

    def record(self, tracked: TrackedHold, event: RemoteEvent) -> None:
        """Change the remote state of a hold by an event; the caller must have its lock."""
        tracked.record(event)
        # A request that was refused, or not even sent, has never occupied its span.
        self._reindex(tracked, was_held=event not in {RemoteEvent.REFUSED, RemoteEvent.NOT_DONE})
        self._save(tracked)

    def _reindex(self, tracked: TrackedHold, *, was_held: bool = False) -> None:
        """Update the spans of a hold, and unblock the holds that it was in the way of."""
        spans = tracked.spans
        if spans == tracked.indexed:
            return
        now = self.now()
        for span in tracked.indexed:
            self._present.remove(span, tracked)
            if was_held and span not in spans:
                self._recently_freed.append((span, now))
        while self._recently_freed and self._recently_freed[0][1] < now - _FREED_KEPT:
            self._recently_freed.popleft()
        for span in spans:
            self._present.add(span, tracked)
        tracked.indexed = spans
        for blocked in tuple(self.blocked):
            self.unblock(blocked)

    def recent_spans(self, since: int) -> Iterator[RemoteSpan]:
        """Yield the spans in which the remote may have had holds of ours since some time."""
        for tracked in self.by_uid.values():
            yield from tracked.indexed
        for orphan in self.orphans.live(since):
            yield orphan.span
        for span, gone_at in self._recently_freed:
            if gone_at >= since:
                yield span

    def blockers(
        self, tracked: TrackedHold, desired: Desired | None, local: LocalEngine
    ) -> list[TrackedHold]:
        """Return the holds that are in the way at the remote, but will be deleted or moved."""
        if desired is None:
            return []
        found = []
        for other in self._present.overlapping(desired.span):
            if other is not tracked and other not in found:
                theirs = self.desired(other, local)
                if theirs is None or not theirs.span.overlaps(desired.span):
                    found.append(other)
        return found

    def live_reservations(self, local: LocalEngine) -> Iterator[Reservation]:
        """Yield the live reservations of the synced event types.  O(n) for n of them."""
        seen: set[str] = set()
        hosts = (host for one in self.synced.values() for host in one.event_type.hosts())
        for resource in {host.resource: None for host in hosts}:
            query = replace(_LIVE, resource=resource)
            for found in each_found(local.find, query):
                if found.uid not in seen and found.event_type in self.synced:
                    seen.add(found.uid)
                    yield found
