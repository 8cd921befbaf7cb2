"""What a service needs around an index that has neither opening hours nor uids."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import Storm, Target
from slotengine import FixedWindows
from slotengine.engine.uids import new_uid


class Desk:
    """Checks opening hours before it asks an index, and gives each hold a uid.

    Both cost as little as in the ledger.  The token is the uid.
    """

    def __init__(self, storm: Storm, index: Target) -> None:
        self.covers = FixedWindows(storm.windows).covers
        self.index = index
        self.tokens: dict[str, Any] = {}

    def reserve(self, resource: str, start: int, end: int, now: int) -> str | None:
        if not self.covers(start, end):
            return None
        token = self.index.reserve(resource, start, end, now)
        if token is None:
            return None
        uid = new_uid()
        self.tokens[uid] = token
        return uid

    def confirm(self, token: str, now: int) -> None:
        self.index.confirm(self.tokens[token], now)

    def release(self, token: str, now: int) -> None:
        self.index.release(self.tokens.pop(token), now)
