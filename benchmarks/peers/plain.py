"""The naive way: a list of holds for each resource, scanned from one end to the other."""

from __future__ import annotations

from benchmarks.peers import in_process
from benchmarks.peers.desk import Desk
from benchmarks.workloads import TTL, Storm

NEVER = 2**63 - 1


class NaiveTarget:
    """Holds as ``[start, end, until]``.  Lapsed holds are dropped when a scan meets them."""

    def __init__(self, storm: Storm) -> None:
        self.holds: dict[str, list[list[int]]] = {name: [] for name in storm.resources}

    def reserve(
        self, resource: str, start: int, end: int, now: int
    ) -> tuple[str, list[int]] | None:
        holds = self.holds[resource]
        for hold in holds:
            if hold[0] < end and start < hold[1]:
                if hold[2] > now:
                    return None
                holds = self.holds[resource] = [one for one in holds if one[2] > now]
        hold = [start, end, now + TTL]
        holds.append(hold)
        return resource, hold

    def confirm(self, token: tuple[str, list[int]], now: int) -> None:
        token[1][2] = NEVER

    def release(self, token: tuple[str, list[int]], now: int) -> None:
        self.holds[token[0]].remove(token[1])


naive = in_process(lambda storm: Desk(storm, NaiveTarget(storm)))
