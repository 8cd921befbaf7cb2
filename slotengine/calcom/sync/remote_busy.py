"""Works out from the remote's slots who is busy there.

The remote tells which starts are free, and nothing else.  If a start is offered
here and missing there, somebody is busy at some moment of that slot.  Minutes
of the slot that lie in another slot that *is* free there cannot be the reason.
So the slot without those minutes becomes busy here.  If no minute is left, the
slot is missing for a reason that no busy time can express; then only that start
is hidden.

Pure.  Times are UTC microseconds; spans are half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import DAY, duration_us
from slotengine.core.time.interval import Span, joined, overlaps, without


@dataclass(slots=True)
class WatchedDay:
    """What is known of the starts of one event type on one day."""

    asked_at: int
    """When a caller last asked for the day."""
    as_of: int | None = None
    """When the last poll that got a response was sent; None if there was none."""
    free: frozenset[int] = frozenset()
    """The starts that the remote offers."""
    missing: frozenset[int] = frozenset()
    """The starts that are offered here and not there."""


@dataclass(slots=True)
class Watched:
    """All that is known of one event type's slots at the remote, by days since the epoch."""

    length: int
    before: int
    after: int
    busy_if_missing: tuple[str, ...]
    """The resources that are busy if a slot is missing; empty if that cannot be told."""
    resources: tuple[str, ...]
    """All resources of the event type."""
    days: dict[int, WatchedDay] = field(default_factory=dict)

    @classmethod
    def of(cls, event_type: EventType) -> Watched:
        """Return the initial state for an event type.

        If a slot is missing and needs a single host, that host is busy.  If it
        needs any one of several hosts, all of them are busy.  In all other
        cases some of the hosts are busy, and it is unknown which.
        """
        resources = tuple(host.resource for host in event_type.hosts())
        fixed, groups = len(event_type.fixed), len(event_type.groups)
        told = (fixed, groups) in {(1, 0), (0, 1)}
        return cls(
            duration_us(event_type.length, "length"),
            duration_us(event_type.before, "before"),
            duration_us(event_type.after, "after"),
            resources if told else (),
            resources,
        )

    def ask(self, start: int, end: int, now: int) -> None:
        """Watch the days of a range that a caller asks for."""
        for day in days_of(start, end):
            self.days.setdefault(day, WatchedDay(now)).asked_at = now

    def forget(self, before: int, today: int) -> bool:
        """Forget past days, and days that nobody has asked for since ``before``.

        Return whether there were any.
        """
        forgotten = [
            day for day, known in self.days.items() if known.asked_at < before or day < today
        ]
        for day in forgotten:
            del self.days[day]
        return bool(forgotten)

    def runs_without(self, asked: AbstractSet[int]) -> list[tuple[int, int]]:
        """Return the first and last days of each run of watched days that are not in the set."""
        runs: list[tuple[int, int]] = []
        for day in sorted(self.days.keys() - asked):
            if runs and runs[-1][1] == day - 1:
                runs[-1] = runs[-1][0], day
            else:
                runs.append((day, day))
        return runs

    def learn(self, result: PollResult) -> None:
        """Take the result of a poll into account."""
        for day in range(result.first, result.last + 1):
            if day in self.days:
                known = self.days[day]
                known.as_of = result.asked_at
                known.free = frozenset(s for s in result.free if s // DAY == day)
                known.missing = frozenset(
                    s for s in missing(result, self.length) if s // DAY == day
                )

    def as_of(self, start: int, end: int) -> int | None:
        """Return the time of the oldest poll for a range; None if some day was never polled."""
        moments = []
        for day in days_of(start, end):
            known = self.days.get(day)
            if known is None or known.as_of is None:
                return None
            moments.append(known.as_of)
        return min(moments, default=None)

    def occupied(self, start: int) -> Span:
        """Return the time that a slot takes of its resources, buffers included."""
        return start - self.before, start + self.length + self.after


class PollResult(NamedTuple):
    """The remote's slots on some days, and our own slots at that moment."""

    first: int
    last: int
    asked_at: int
    free: frozenset[int]
    """The starts that the remote offers."""
    offered: Sequence[int]
    """The starts that are offered here if the imported busy time is left out."""
    own: tuple[int, ...]
    """The edges of the spans in which the remote may have had holds of ours.

    Starts that are missing in those spans are ignored."""


def missing(result: PollResult, length: int) -> Iterator[int]:
    """Yield the starts that are offered here and not there, except where we have holds there.

    >>> result = PollResult(0, 0, 0, frozenset({0, 60}), offered=[0, 30, 60, 90], own=(100, 130))
    >>> list(missing(result, 30))
    [30]
    """
    for start in result.offered:
        if start not in result.free and not overlaps(result.own, start, start + length):
            yield start


class RemoteBusyTime(NamedTuple):
    """What follows from the remote's slots."""

    busy: dict[str, list[Span]]
    """By resource, the spans in which it is busy."""
    hidden: dict[str, frozenset[int]]
    """By event type, the starts that are not offered although no busy span is in their way."""


def infer_busy(watched: Mapping[str, Watched]) -> RemoteBusyTime:
    """Return who is busy, judged by all that is known of the remote's slots.

    A minute is not busy for a resource if a free slot of any of its event types
    contains it.  O(n log n) for n known starts.

    >>> day = WatchedDay(0, 0, free=frozenset({45}), missing=frozenset({30}))
    >>> talk = Watched(30, 0, 0, ("room",), ("room",), {0: day})
    >>> infer_busy({"talk": talk})
    RemoteBusyTime(busy={'room': [(30, 45)]}, hidden={'talk': frozenset()})
    """
    free: dict[str, list[Span]] = {}
    suspected: dict[str, list[Span]] = {}
    for one in watched.values():
        for day in one.days.values():
            _gather(free, one.resources, (one.occupied(start) for start in day.free))
            spans = ((start, start + one.length) for start in day.missing)
            _gather(suspected, one.busy_if_missing, spans)
    busy = {
        resource: without(_pairs(joined(spans)), sorted(free.get(resource, ())))
        for resource, spans in suspected.items()
    }
    edges = {resource: joined(spans) for resource, spans in busy.items()}
    hidden = {name: _hidden(one, edges) for name, one in watched.items()}
    return RemoteBusyTime({resource: spans for resource, spans in busy.items() if spans}, hidden)


def _gather(into: dict[str, list[Span]], resources: Iterable[str], spans: Iterable[Span]) -> None:
    found = list(spans)
    for resource in resources:
        into.setdefault(resource, []).extend(found)


def _pairs(edges: Sequence[int]) -> Iterator[Span]:
    return zip(edges[::2], edges[1::2], strict=True)


def _hidden(one: Watched, busy: Mapping[str, Sequence[int]]) -> frozenset[int]:
    """Return the missing starts that no busy span explains, because some host is free."""
    return frozenset(
        start
        for day in one.days.values()
        for start in day.missing
        if not one.busy_if_missing
        or not all(overlaps(busy.get(who, ()), *one.occupied(start)) for who in one.busy_if_missing)
    )


def days_of(start: int, end: int) -> range:
    """Return the days that a span overlaps, numbered from 1970-01-01.

    >>> days_of(0, DAY), days_of(DAY - 1, DAY + 1)
    (range(0, 1), range(0, 2))
    """
    return range(start // DAY, -(-end // DAY))
