"""When tracked holds are settled: those in a queue now, those with a timer later."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable

import anyio

from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.core.ledger.expiry import NEVER


class WorkQueue:
    """Tracked holds that wait for a worker, first come, first served."""

    def __init__(self) -> None:
        self.holds: deque[TrackedHold] = deque()
        self._filled = asyncio.Event()

    def put(self, tracked: TrackedHold) -> None:
        """Append a hold.  O(1)."""
        self.holds.append(tracked)
        self._filled.set()

    async def get(self) -> TrackedHold:
        """Remove and return the first hold; wait until there is one."""
        while not self.holds:
            self._filled.clear()
            await self._filled.wait()
        return self.holds.popleft()


class Timers:
    """At most one timer for each tracked hold; its time is `TrackedHold.due`.

    A heap with lazy deletion: an entry counts only if its time is still that of
    its hold.
    """

    def __init__(self, env: Environment, on_due: Callable[[TrackedHold], None]) -> None:
        self._env = env
        self._on_due = on_due
        self._heap: list[tuple[int, int, TrackedHold]] = []
        self._count = 0
        self._wake = anyio.Event()
        self._wakes_at = 0

    def set(self, tracked: TrackedHold, at: int) -> None:
        """Set the timer of a hold, in place of the one that it had; `NEVER` for none.

        O(log n) for n timers.
        """
        known, tracked.due = tracked.due, at if at < NEVER else 0
        if tracked.due and tracked.due != known:
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, tracked))
            if at < self._wakes_at:
                self._wake.set()

    async def run(self) -> None:
        """Call ``on_due`` with each hold when its time has come, until this is cancelled."""
        while True:
            now = self._env.now()
            while self._heap and self._heap[0][0] <= now:
                at, _, tracked = heapq.heappop(self._heap)
                if tracked.due == at:
                    tracked.due = 0
                    self._on_due(tracked)
            self._wake = anyio.Event()
            self._wakes_at = self._heap[0][0] if self._heap else NEVER
            await self._env.clock.wait(self._wake, self._wakes_at)
