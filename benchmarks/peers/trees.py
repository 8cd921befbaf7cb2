"""`intervaltree`: one tree for each resource, and a queue of the next holds to lapse."""

from __future__ import annotations

from collections import deque
from typing import Any

from intervaltree import Interval, IntervalTree

from benchmarks.peers import in_process
from benchmarks.peers.desk import Desk
from benchmarks.workloads import TTL, Storm

Token = tuple[str, Any]


class IntervalTreeTarget:
    """A token is the resource and the interval, whose data is the number of the hold."""

    def __init__(self, storm: Storm) -> None:
        self.trees: dict[str, Any] = {name: IntervalTree() for name in storm.resources}
        self.held: set[int] = set()
        self.queue: deque[tuple[int, Token]] = deque()
        self.count = 0

    def reserve(self, resource: str, start: int, end: int, now: int) -> Token | None:
        queue = self.queue
        while queue and queue[0][0] <= now:
            _, (name, interval) = queue.popleft()
            if interval.data in self.held:
                self.release((name, interval), now)
        tree = self.trees[resource]
        if tree.overlaps(start, end):
            return None
        self.count += 1
        interval = Interval(start, end, self.count)
        tree.add(interval)
        self.held.add(self.count)
        queue.append((now + TTL, (resource, interval)))
        return resource, interval

    def confirm(self, token: Token, now: int) -> None:
        self.held.remove(token[1].data)

    def release(self, token: Token, now: int) -> None:
        self.held.remove(token[1].data)
        self.trees[token[0]].remove(token[1])


intervals = in_process(lambda storm: Desk(storm, IntervalTreeTarget(storm)))
