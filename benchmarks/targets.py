"""What runs the storm: the ledger, and the floor that it is compared with."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from time import process_time
from typing import Any

from sortedcontainers import SortedList

from benchmarks.workloads import TTL, Storm
from slotengine import FixedWindows
from slotengine.core.ledger.ledger import Ledger
from slotengine.engine.uids import new_uid
from slotengine.errors import Refused


class LedgerTarget:
    """The ledger with all its rules: opening hours, versions, liveness, uids, retention."""

    def __init__(self, storm: Storm) -> None:
        self.ledger = Ledger()
        hours = FixedWindows(storm.windows)
        for name in storm.resources:
            self.ledger.add_resource(name, schedule=hours)

    def reserve(self, resource: str, start: int, end: int, now: int) -> str | None:
        try:
            return self.ledger.reserve(resource, start, end, uid=new_uid(), now=now, ttl=TTL).uid
        except Refused:
            return None

    def confirm(self, token: str, now: int) -> None:
        self.ledger.confirm(token, now=now)

    def release(self, token: str, now: int) -> None:
        self.ledger.release(token, now=now)


class RecordingTarget:
    """Decides the storm with a sorted list of starts per resource, and records its calls.

    Replaying just those calls (`replay`) is the floor: the cost of a `SortedList` without any
    rules, records or clock around it.  A request outside opening hours makes no call.
    """

    def __init__(self, storm: Storm) -> None:
        self.covers = FixedWindows(storm.windows).covers
        self.lists: dict[str, SortedList[int]] = {name: SortedList() for name in storm.resources}
        self.calls: list[tuple[str, str, int]] = []
        self.ends: dict[tuple[str, int], int] = {}
        self.held: set[tuple[str, int]] = set()
        self.queue: deque[tuple[int, tuple[str, int], int]] = deque()
        self.serial: dict[tuple[str, int], int] = {}
        self.count = 0

    def reserve(self, resource: str, start: int, end: int, now: int) -> Any:
        while self.queue and self.queue[0][0] <= now:
            _, claim, serial = self.queue.popleft()
            if claim in self.held and self.serial[claim] == serial:
                self._remove(claim)
        if not self.covers(start, end):
            return None
        starts = self.lists[resource]
        self.calls.append((resource, "bisect_right", start))
        place = starts.bisect_right(start)
        if place and self.ends[resource, starts[place - 1]] > start:
            return None
        if place < len(starts) and starts[place] < end:
            return None
        claim = (resource, start)
        self.calls.append((resource, "add", start))
        starts.add(start)
        self.ends[claim] = end
        self.held.add(claim)
        self.count += 1
        self.serial[claim] = self.count
        self.queue.append((now + TTL, claim, self.count))
        return claim

    def confirm(self, token: tuple[str, int], now: int) -> None:
        self.held.discard(token)

    def release(self, token: tuple[str, int], now: int) -> None:
        self._remove(token)

    def _remove(self, claim: tuple[str, int]) -> None:
        self.held.discard(claim)
        resource, start = claim
        self.calls.append((resource, "remove", start))
        self.lists[resource].remove(start)

    def replay(self) -> float:
        """Return the processor time in seconds of the bare calls, on fresh lists."""
        lists: dict[str, SortedList[int]] = {name: SortedList() for name in self.lists}
        calls: list[tuple[Callable[[int], object], int]] = [
            (getattr(lists[resource], method), value) for resource, method, value in self.calls
        ]
        gc.collect()
        began = process_time()
        for call, value in calls:
            call(value)
        return process_time() - began
