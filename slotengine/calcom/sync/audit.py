"""Compares both sides in full, and repairs the differences."""

from __future__ import annotations

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.inbound import Inbound
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.next_step import Desired
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.remote_state import PRESENT, RemoteState
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.calcom.sync.values import Difference, Finding, ReconcileReport
from slotengine.core.time.instant import SECOND, from_us, to_us

_TOLERANCE = SECOND
"""How much earlier than expected a hold may end at the remote before that is reported."""


class Audit:
    """Looks at all reservations; the other modules look only at those that have changed."""

    def __init__(
        self,
        env: Environment,
        index: HoldIndex,
        requests: Requests,
        outbound: Outbound,
        inbound: Inbound,
    ) -> None:
        self._env = env
        self._index = index
        self._requests = requests
        self._outbound = outbound
        self._inbound = inbound

    async def reconcile(self) -> ReconcileReport:
        """Compare, repair, and report."""
        new = {tracked.uid for tracked in await self._outbound.enqueue_all()}
        found: list[Finding] = []
        holds = list(self._index.by_uid.values())
        for tracked in holds:
            compare = self._compare(tracked, is_new=tracked.uid in new)
            finding = await self._outbound.run_shielded(compare)
            if finding is not None:
                found.append(finding)
        for orphan in self._index.orphans.live(self._env.now()):
            _, start, end = orphan.span
            until = from_us(orphan.until)
            found.append(
                Finding(Difference.ORPHAN, None, from_us(start), from_us(end), False, until)
            )
        await self._inbound.poll_all()
        return ReconcileReport(from_us(self._env.now()), len(holds), tuple(found))

    async def _compare(self, tracked: TrackedHold, *, is_new: bool) -> Finding | None:
        await self._outbound.settle(tracked)  # a change that waits to be sent is no difference
        if tracked.over and not is_new:
            return None
        async with tracked.lock:
            difference = await self._difference(tracked)
        if is_new:
            difference = Difference.UNTRACKED
        if difference is None:
            return None
        self._outbound.retry_now(tracked)
        await self._outbound.settle(tracked)
        desired, observed = await self._desired(tracked), tracked.observed
        if desired is None:
            repaired = observed.state not in PRESENT
        else:
            covered = self._env.now() < observed.covered_until
            repaired = tracked.held_at(desired.span) and covered
        span = desired.span if desired is not None else observed.span or tracked.target
        if span is None:
            return None
        until = from_us(observed.gone_after) if observed.state in PRESENT else None
        return Finding(
            difference, tracked.uid, from_us(span.start), from_us(span.end), repaired, until
        )

    async def _difference(self, tracked: TrackedHold) -> Difference | None:
        """Return how the sides differ about a reservation, and record what the remote says."""
        observed, desired = tracked.observed, await self._desired(tracked)
        can_look_up = observed.state in {RemoteState.HELD, RemoteState.MOVE_UNKNOWN}
        if tracked.remote_uid is None or not can_look_up:
            if desired is None:
                return Difference.LEFT_OVER if observed.state in PRESENT else None
            return Difference.MISSING_THERE
        known_span, covered = observed.span, observed.covered_until
        found = await self._requests.look_up(tracked)
        if found is None:
            if observed.state in PRESENT:
                return Difference.UNKNOWN
            return None if desired is None else Difference.MISSING_THERE
        clock_skew = self._requests.clock_skew
        ends = to_us(found.until) - clock_skew.ahead
        if clock_skew.hold_observed and ends + clock_skew.error + _TOLERANCE < covered:
            self._index.set_lifetime(tracked, ends, observed.gone_after)
            return Difference.ENDS_EARLIER
        if desired is None:
            return Difference.LEFT_OVER
        return None if observed.span == known_span == desired.span else Difference.ELSEWHERE

    async def _desired(self, tracked: TrackedHold) -> Desired | None:
        return await self._env.engine.run(lambda local: self._index.desired(tracked, local))
