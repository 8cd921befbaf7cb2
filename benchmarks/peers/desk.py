"""What a service keeps around an index that knows neither hours nor uids."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import Storm, Target
from slotengine import FixedWindows
from slotengine.engine.uids import new_uid


class Desk:
    """Opening hours before an index is asked, and a uid for what it gives.

    Both are as cheap as the ledger's own.  A token is the uid.
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
