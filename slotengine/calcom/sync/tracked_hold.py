"""A tracked hold: what is known of one reservation's hold at the remote, and its locks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from slotengine.calcom.client.rate_limiter import Permits
from slotengine.calcom.sync.clock_skew import SkewSnapshot
from slotengine.calcom.sync.next_step import Failure, Observed, Rules
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import PRESENT, RemoteEvent, RemoteState, after
from slotengine.calcom.sync.values import SavedHold, Synced
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import duration_us, to_us
from slotengine.engine.values import Reservation


class MoveOrigin(NamedTuple):
    """Where a reservation was before a move that the remote has not accepted yet.

    ``placeholder`` is the uid of the hold that keeps the old time free here, if
    there is one.  ``restored`` is the value of `Observed.restored` before the
    move, which resets it.
    """

    reservation: Reservation
    placeholder: str | None
    restored: bool


class Lifetime(NamedTuple):
    """How long a hold lasts at the remote, at least and at most, and the skew at that time."""

    covered_until: int = 0
    gone_after: int = 0
    snapshot: SkewSnapshot = (None, None)


@dataclass(eq=False, slots=True)
class TrackedHold:
    """A reservation that has, or should have, a hold at the remote.

    Requests for it are sent only with its ``lock``.  The verbs of strict
    callers take turns by its ``verb_lock``.
    """

    uid: str
    synced: Synced
    observed: Observed = field(default_factory=Observed)
    remote_uid: str | None = None
    target: RemoteSpan | None = None
    """Where the request in flight, or the last lost one, would put the hold."""
    promised: bool = False
    """A caller was given the hold."""
    callback_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a strict caller waits for the callback."""
    booked: bool = False
    """The callback has booked it at the remote."""
    callback_failed: bool = False
    """The callback has failed, so the remote has no booking; its hold is kept instead."""
    over: bool = False
    """It is no longer tracked."""
    diverged: bool = False
    """`Diverged` was reported."""
    last_error: Exception | None = None
    """Why the last request failed, for callers that wait."""
    move_error: Exception | None = None
    """Why the last move was undone, if it was."""
    failures: int = 0
    """How many requests in a row have failed."""
    origin: MoveOrigin | None = None
    blocked: bool = False
    queued: bool = False
    permits: Permits | None = None
    """For requests that must be sent back to back, while they wait to be sent."""
    due: int = 0
    """When to settle it again; 0 if no time is set."""
    waiters: int = 0
    """How many callers wait for the remote to accept it."""
    callers: int = 0
    """How many callers have, or wait for, the ``verb_lock``; while any do, the hold is tracked."""
    lifetime: Lifetime = field(default_factory=Lifetime)
    """As it was last set; in ``observed`` it is adjusted by later jumps of the clock."""
    indexed: tuple[RemoteSpan, ...] = ()
    """Its spans that are in the index now."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    verb_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def rules(self) -> Rules:
        """The settings that a decision needs."""
        synced = self.synced
        renew_before = duration_us(synced.renew_before, "renew_before")
        return Rules(synced.strict, synced.renew_in_place, renew_before)

    @property
    def spans(self) -> tuple[RemoteSpan, ...]:
        """Where the remote may have a hold for this reservation."""
        state, span, target = self.observed.state, self.observed.span, self.target
        if state is RemoteState.CREATING:
            return () if target is None else (target,)
        if state not in PRESENT or span is None:
            return ()
        both = state in {RemoteState.MOVING, RemoteState.MOVE_UNKNOWN} and target is not None
        return (span, target) if both and target is not None else (span,)

    def record(self, event: RemoteEvent) -> None:
        """Change the remote state by an event."""
        self.observed.state = after(self.observed.state, event)
        if self.observed.state not in PRESENT:
            self.remote_uid = None

    def held_at(self, span: RemoteSpan) -> bool:
        """Return whether the remote holds it there, as far as is known."""
        return self.observed.state is RemoteState.HELD and self.observed.span == span

    def failed(self, failure: Failure, error: Exception) -> None:
        """Record that a request has failed."""
        self.failures += 1
        self.last_error = error
        if failure is Failure.LOST and self.observed.failure in {Failure.LOST, Failure.LOST_AGAIN}:
            failure = Failure.LOST_AGAIN
        self.observed.failure = failure

    def succeeded(self) -> None:
        """Forget past failures."""
        self.failures = 0
        self.observed.failure = Failure.NONE
        self.observed.not_before = 0

    def saved(self) -> SavedHold:
        """Return what to save for a restart."""
        observed = self.observed
        nowhere = observed.span is None or observed.state in {
            RemoteState.CREATING,
            RemoteState.CREATE_UNKNOWN,
        }
        span = self.target if nowhere else observed.span
        return SavedHold(
            self.uid,
            self.remote_uid,
            observed.state.value,
            *(span or RemoteSpan(self.synced.remote_id, 0, 0)),
            observed.covered_until,
            observed.gone_after,
            self.booked,
            self.over,
        )


def span_of(reservation: Reservation, synced: Synced) -> RemoteSpan:
    """Return the span that the remote should hold for a reservation."""
    start, end = to_us(reservation.start, "start"), to_us(reservation.end, "end")
    return RemoteSpan(synced.remote_id, start, end)


def is_live(reservation: Reservation | None) -> bool:
    """Return whether a reservation is a hold or a booking."""
    return reservation is not None and reservation.state in {State.HELD, State.CONFIRMED}
