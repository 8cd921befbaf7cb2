"""Orphaned holds: those that a POST without a response may have made at the remote.

If such a POST was carried out, nobody knows the uid of its hold.  So nobody can
release the hold, and it ends when its time is over.  An orphan can outlive the
reservation that it was made for, so orphans are stored apart.

Pure.  Times are UTC microseconds of our own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slotengine.calcom.sync.clock_skew import ClockSkew, SkewSnapshot
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.core.time.instant import SECOND

SLACK: Final = 5 * SECOND
"""How much longer than its time to live an orphan is expected to last: the POST may be slow."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A hold of ours that may be at the remote until ``until``; its uid is unknown."""

    span: RemoteSpan
    until: int


class Orphans:
    """All orphaned holds that may still be at the remote.

    >>> orphans = Orphans()
    >>> orphans.add(Orphan(RemoteSpan(1, 0, 30), until=100))
    >>> [orphans.until(RemoteSpan(1, 20, 50), now) for now in (99, 100)]
    [100, None]
    """

    def __init__(self) -> None:
        self._all: list[
            tuple[Orphan, Orphan, SkewSnapshot]
        ] = []  # each as it is now, and as it was added

    def add(self, orphan: Orphan, snapshot: SkewSnapshot = (None, None)) -> None:
        """Add an orphan, with the clock skew by which its end was computed.  O(1)."""
        self._all.append((orphan, orphan, snapshot))

    def until(self, span: RemoteSpan, now: int) -> int | None:
        """Return the time at which all orphans that may block a span have ended; None without any.

        O(n) for n orphans.  There are few: one for each response that was lost
        in the last minutes.
        """
        self._forget(now)
        return max((o.until for o, *_ in self._all if o.span.overlaps(span)), default=None)

    def live(self, now: int) -> tuple[Orphan, ...]:
        """Return all that may still be at the remote."""
        self._forget(now)
        return tuple(orphan for orphan, *_ in self._all)

    def clock_jumped(self, clock_skew: ClockSkew) -> list[Orphan]:
        """Lengthen orphans after a clock adjustment; return those that got longer."""
        longer = []
        for index, (orphan, first, snapshot) in enumerate(self._all):
            until = first.until - clock_skew.changed_since(snapshot).least
            if until > orphan.until:
                longer.append(replace(orphan, until=until))
                self._all[index] = longer[-1], first, snapshot
        return longer

    def _forget(self, now: int) -> None:
        if self._all:
            self._all = [entry for entry in self._all if entry[0].until > now]
