"""Undoes here what the remote has not accepted: revokes holds, and moves them back.

After a move, a placeholder keeps the old time reserved here until the remote has
accepted the move.  Without it somebody else could take the old time meanwhile,
and a move that the remote refuses could not be undone.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from slotengine.calcom.client.errors import OutcomeUnknown
from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.errors import RemoteUncertain
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.monitor import Monitor
from slotengine.calcom.sync.remote_state import RevokeReason
from slotengine.calcom.sync.tracked_hold import MoveOrigin, TrackedHold
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import MICROSECOND, from_us, to_us
from slotengine.core.time.interval import Span, without
from slotengine.core.time.schedule import ALWAYS_OPEN
from slotengine.engine.local import LocalEngine
from slotengine.engine.values import Claim, Request, Reservation
from slotengine.errors import HoldExpired, Refused, SlotError

logger = logging.getLogger(__name__)

PLACEHOLDER_TTL: Final = timedelta(minutes=5)
"""The longest that a placeholder lives, in case nobody releases it."""


class Rollback:
    """Undoes changes here, and makes the errors that their callers get."""

    def __init__(self, env: Environment, index: HoldIndex, monitor: Monitor) -> None:
        self._engine = env.engine
        self._index = index
        self._monitor = monitor

    # --- Errors ----------------------------------------------------------------------------

    async def uncertain(self, tracked: TrackedHold) -> RemoteUncertain:
        """Return the error for a hold that the remote may or may not have."""
        return await self._engine.run(lambda local: self._uncertain(tracked, local))

    def _uncertain(self, tracked: TrackedHold, local: LocalEngine) -> RemoteUncertain:
        desired = self._index.desired(tracked, local)
        if desired is None:
            return RemoteUncertain(tracked.synced.id, local.now(), None)
        until = self._index.orphans.until(desired.span, self._index.now())
        retry_at = None if until is None else from_us(until)
        return RemoteUncertain(tracked.synced.id, from_us(desired.span.start), retry_at)

    async def error_for(self, tracked: TrackedHold, verb: str) -> Exception:
        """Return the error for a caller that does not get what it asked for."""
        if verb == "move" and tracked.move_error is not None:
            return tracked.move_error
        if isinstance(tracked.last_error, OutcomeUnknown):
            return await self.uncertain(tracked)
        return tracked.last_error or HoldExpired(tracked.uid, State.EXPIRED.value, verb)

    # --- Holds and moves, each in a step of the engine -------------------------------------

    def revoke(self, tracked: TrackedHold, reason: RevokeReason, local: LocalEngine) -> None:
        """Release here what the remote does not hold, and report it."""
        problem = tracked.last_error
        if reason is RevokeReason.UNCERTAIN:
            tracked.last_error = self._uncertain(tracked, local)
            tracked.last_error.__cause__ = problem
        released = local.release(tracked.uid)
        self.drop_origin(tracked, local)
        self._monitor.revoked(tracked, released, reason, problem)

    def begin_move(
        self,
        tracked: TrackedHold,
        before: Reservation,
        moved: Reservation,
        local: LocalEngine,
    ) -> None:
        """Remember where a reservation was, so that its move can be undone."""
        placeholder = hold_placeholder(local, before, moved)
        tracked.origin = MoveOrigin(before, placeholder, tracked.observed.restored)
        tracked.observed.restored = False
        tracked.observed.can_move_back = True
        tracked.succeeded()
        tracked.last_error = tracked.move_error = None

    def move_back(self, tracked: TrackedHold, reason: RevokeReason, local: LocalEngine) -> None:
        """Undo a move that the remote has not accepted."""
        assert tracked.origin is not None
        before = tracked.origin.reservation
        tracked.observed.restored = tracked.origin.restored
        tracked.move_error = tracked.last_error
        if reason is RevokeReason.UNCERTAIN:
            tracked.move_error = self._uncertain(
                tracked, local
            )  # it names the span that is given up
            tracked.move_error.__cause__ = tracked.last_error
        self.drop_origin(tracked, local)
        tracked.succeeded()
        try:
            # The placeholder kept the time free, so this comes before all callers that wait.
            local.move_slot(
                tracked.uid, before.start,
                event_type=before.event_type, length=before.length, enforce=False, jump=True,
            )  # fmt: skip
        except Refused as refused:
            # There was no placeholder.  A booking stays where it is now.
            logger.warning("the hold %s could not be moved back: %s", tracked.uid, refused)
            current = local.get(tracked.uid)
            if current is not None and current.state is State.HELD:
                self.revoke(tracked, RevokeReason.REFUSED, local)

    def drop_origin(self, tracked: TrackedHold, local: LocalEngine) -> None:
        """Forget where a reservation was before its move, and release the placeholder."""
        origin, tracked.origin = tracked.origin, None
        tracked.observed.can_move_back = False
        if origin is not None and origin.placeholder is not None:
            local.release(origin.placeholder)


def hold_placeholder(local: LocalEngine, before: Reservation, moved: Reservation) -> str | None:
    """Hold the time that a move has freed; return the placeholder's uid, None if there is none."""
    spans = list(_freed(before, moved))
    if not spans:
        return None
    first = min(start for _, start, _ in spans)
    last = max(end for _, _, end in spans)
    # One reservation from the first start to the last end: negative buffers
    # shorten each claim to its own span.
    claims = tuple(
        Claim(
            claim.resource,
            claim.units,
            before=(first - start) * MICROSECOND,
            after=(end - last) * MICROSECOND,
        )
        for claim, start, end in spans
    )
    request = Request(
        from_us(first), (last - first) * MICROSECOND, claims,
        ttl=min(PLACEHOLDER_TTL, local.ttl_bounds[1]), schedule=ALWAYS_OPEN, past=True,
    )  # fmt: skip
    try:
        return local.reserve(request).uid
    except SlotError as error:  # for example, others are still in a shared session
        logger.debug("no placeholder for the time that a move has freed: %s", error)
        return None


def _freed(before: Reservation, moved: Reservation) -> list[tuple[Claim, int, int]]:
    """Return the claims from before a move, each with a span that it does not occupy any more."""
    taken = {claim.resource: _occupied(moved, claim) for claim in moved.claims}
    found = []
    for claim in before.claims:
        spans = [_occupied(before, claim)]
        if claim.resource in taken:
            spans = without(spans, [taken[claim.resource]])
        found += [(claim, *span) for span in spans]
    return found


def _occupied(reservation: Reservation, claim: Claim) -> Span:
    return to_us(reservation.start - claim.before), to_us(reservation.end + claim.after)
