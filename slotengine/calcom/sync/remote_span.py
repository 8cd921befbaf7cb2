"""The span that a hold at the remote occupies, and an index of such spans.

Pure.  Times are UTC microseconds of our own clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from slotengine.core.time.instant import DAY


class RemoteSpan(NamedTuple):
    """A span of time of one of the remote's event types."""

    remote_id: int
    """The remote's id of the event type."""
    start: int
    end: int

    def overlaps(self, other: RemoteSpan) -> bool:
        """Return whether the remote counts one as a conflict with the other.

        >>> early, middle, late = (RemoteSpan(1, start, start + 30) for start in (0, 20, 30))
        >>> early.overlaps(middle), early.overlaps(late)
        (True, False)
        """
        return (
            self.remote_id == other.remote_id and self.start < other.end and other.start < self.end
        )


T = TypeVar("T")


class SpanIndex(Generic[T]):
    """Finds the owners of overlapping spans, by the days that the spans touch.

    >>> index: SpanIndex[str] = SpanIndex()
    >>> index.add(RemoteSpan(1, 0, 30), "ann")
    >>> [list(index.overlapping(RemoteSpan(remote_id, 20, 50))) for remote_id in (1, 2)]
    [['ann'], []]
    """

    def __init__(self) -> None:
        self._days: dict[tuple[int, int], list[tuple[RemoteSpan, T]]] = {}

    def add(self, span: RemoteSpan, owner: T) -> None:
        """Add an owner of a span.  O(1)."""
        for day in _days(span):
            self._days.setdefault(day, []).append((span, owner))

    def remove(self, span: RemoteSpan, owner: T) -> None:
        """Remove an owner that was added.  O(k) for k owners on that day."""
        for day in _days(span):
            owners = self._days[day]
            owners.remove((span, owner))
            if not owners:
                del self._days[day]

    def overlapping(self, span: RemoteSpan) -> Iterator[T]:
        """Yield the owners of overlapping spans, once for each day.  O(k) for k on those days."""
        for day in _days(span):
            for other, owner in self._days.get(day, ()):
                if other.overlaps(span):
                    yield owner

    def __len__(self) -> int:
        return sum(len(owners) for owners in self._days.values())


def _days(span: RemoteSpan) -> Iterator[tuple[int, int]]:
    for day in range(span.start // DAY, (span.end - 1) // DAY + 1):
        yield span.remote_id, day
