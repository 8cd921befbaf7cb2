"""How many holds the rate limit can keep alive by renewals, and which holds need them."""

from __future__ import annotations

from math import fsum, inf
from typing import Final

from slotengine.calcom.sync.errors import SyncOverloaded
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.next_step import Desired, max_renewals
from slotengine.calcom.sync.remote_state import RemoteState
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.core.time.instant import from_us
from slotengine.engine.local import LocalEngine

_ROUNDING: Final = 1e-9


class RenewalCapacity:
    """The renewals that the rate limit allows, and the share of them that each hold needs.

    A hold needs a share if it is to live longer here than the remote's hold.
    The shares of all holds should add up to at most 1.
    """

    def __init__(self, index: HoldIndex, per_minute: int | None) -> None:
        self._index = index
        self._per_minute = per_minute
        self._shares: dict[str, float] = {}

    def admit(self, tracked: TrackedHold, local: LocalEngine) -> None:
        """Count a new hold; raise `SyncOverloaded` if the rate limit cannot keep it alive.

        O(n) for n holds that have to be renewed, if this one has to be.
        """
        share = self._share(tracked, self._index.desired(tracked, local))
        if not share:
            return
        if fsum(self._shares.values()) + share > 1 + _ROUNDING:
            ends = (self._until(uid, local) for uid in self._shares)
            first_end = min(ends, default=self._index.now())
            raise SyncOverloaded(len(self._shares), from_us(first_end))
        self._shares[tracked.uid] = share

    def update(self, tracked: TrackedHold, desired: Desired | None) -> None:
        """Take into account what a hold needs now.  O(1)."""
        if share := self._share(tracked, desired):
            self._shares[tracked.uid] = share
        else:
            self.forget(tracked)

    def forget(self, tracked: TrackedHold) -> None:
        """Give back the share of a hold, if it has one.  O(1)."""
        self._shares.pop(tracked.uid, None)

    def _until(self, uid: str, local: LocalEngine) -> int:
        tracked = self._index.by_uid.get(uid)
        desired = None if tracked is None else self._index.desired(tracked, local)
        return self._index.now() if desired is None else desired.until

    def _share(self, tracked: TrackedHold, desired: Desired | None) -> float:
        """Return the fraction of all possible renewals that a hold needs; 0 if it needs none."""
        observed = tracked.observed
        if self._per_minute is None or desired is None or observed.state is RemoteState.REFUSED:
            return 0
        max_ttl = tracked.synced.max_ttl_us
        held = tracked.held_at(desired.span)
        lasts_until = observed.covered_until if held else self._index.now() + max_ttl
        if desired.until <= lasts_until:
            return 0
        most = max_renewals(self._per_minute, tracked.rules, max_ttl)
        return 1 / most if most else inf
