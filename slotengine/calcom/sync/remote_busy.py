"""What the remote's slots say about who is busy.

The remote tells which starts are free, and nothing else.  A start that is
offered here and not there means that somebody is busy, somewhere in that slot:
but no minute of it that lies in a slot that *is* free there can be the reason.
So what becomes busy here is the slot without all those minutes.  Where nothing
is left, the slot was missing for a reason that no minute tells; then its start
alone is hidden.

Pure.  Times are UTC microseconds; spans are half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from slotengine.core.event_type import EventType
from slotengine.core.instant import DAY, duration_us
from slotengine.core.interval import Span, joined, touches, without


@dataclass(slots=True)
class Day:
    """What is known of the starts of one event type on one day."""

    asked_at: int
    """When somebody last asked for it."""
    as_of: int | None = None
    """When the remote was last asked; None if never, with an answer."""
    free: frozenset[int] = frozenset()
    """The starts that the remote offers."""
    missing: frozenset[int] = frozenset()
    """Those that are offered here, and not there."""


@dataclass(slots=True)
class Watched:
    """All that is known of one event type's slots at the remote, by days since the epoch."""

    length: int
    before: int
    after: int
    blames: tuple[str, ...]
    """The resources that are busy if a slot is missing; empty if that cannot be told."""
    resources: tuple[str, ...]
    """All that its slots are of."""
    days: dict[int, Day] = field(default_factory=dict)

    @classmethod
    def of(cls, event_type: EventType) -> Watched:
        """Return what is known at first: whom a slot that is missing can be blamed on.

        If there is one host, on them; if all take turns, on all of them.  In
        any other case some one of several is busy, and it is not told who.
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
        """Note that somebody asks for a range."""
        for day in days_of(start, end):
            self.days.setdefault(day, Day(now)).asked_at = now

    def forget(self, before: int, today: int) -> bool:
        """Forget days that nobody has asked for since then, or that are over; tell if any were."""
        forgotten = [
            day for day, known in self.days.items() if known.asked_at < before or day < today
        ]
        for day in forgotten:
            del self.days[day]
        return bool(forgotten)

    def runs_without(self, asked: AbstractSet[int]) -> list[tuple[int, int]]:
        """Return the first and the last of days in a row, of all but those: each is a question."""
        runs: list[tuple[int, int]] = []
        for day in sorted(self.days.keys() - asked):
            if runs and runs[-1][1] == day - 1:
                runs[-1] = runs[-1][0], day
            else:
                runs.append((day, day))
        return runs

    def learn(self, answer: Answered) -> None:
        """Take an answer into account."""
        for day in range(answer.first, answer.last + 1):
            if day in self.days:
                known = self.days[day]
                known.as_of = answer.asked_at
                known.free = frozenset(s for s in answer.free if s // DAY == day)
                known.missing = frozenset(
                    s for s in missing(answer, self.length) if s // DAY == day
                )

    def as_of(self, start: int, end: int) -> int | None:
        """Return when the remote was last heard of for all of a range; None if for some never."""
        moments = []
        for day in days_of(start, end):
            known = self.days.get(day)
            if known is None or known.as_of is None:
                return None
            moments.append(known.as_of)
        return min(moments, default=None)

    def occupied(self, start: int) -> Span:
        """Return what a slot takes of its resources' time."""
        return start - self.before, start + self.length + self.after


class Answered(NamedTuple):
    """What the remote has said of some days, and what there was here at that moment."""

    first: int
    last: int
    asked_at: int
    free: frozenset[int]
    offered: Sequence[int]
    """The starts that are offered here, but for what was imported from the remote."""
    own: tuple[int, ...]
    """The edges of where the remote may have had holds of ours: those prove nothing."""


def missing(answer: Answered, length: int) -> Iterator[int]:
    """Yield the starts that are offered here and not there, but for what we hold there ourselves.

    >>> answer = Answered(0, 0, 0, frozenset({0, 60}), offered=[0, 30, 60, 90], own=(100, 130))
    >>> list(missing(answer, 30))
    [30]
    """
    for start in answer.offered:
        if start not in answer.free and not touches(answer.own, start, start + length):
            yield start


class Found(NamedTuple):
    """What the remote's slots mean here."""

    busy: dict[str, list[Span]]
    """By resource, what becomes busy."""
    hidden: dict[str, frozenset[int]]
    """By event type, the starts that are not offered although no busy span is in their way."""


def compare(watched: Mapping[str, Watched]) -> Found:
    """Return what all that is known means together.

    A minute that any event type of a resource can be had in is not busy.
    O(n log n) for n starts that are known.

    >>> day = Day(0, 0, free=frozenset({45}), missing=frozenset({30}))
    >>> talk = Watched(30, 0, 0, ("room",), ("room",), {0: day})
    >>> compare({"talk": talk})
    Found(busy={'room': [(30, 45)]}, hidden={'talk': frozenset()})
    """
    free: dict[str, list[Span]] = {}
    blamed: dict[str, list[Span]] = {}
    for one in watched.values():
        for day in one.days.values():
            _gather(free, one.resources, (one.occupied(start) for start in day.free))
            spans = ((start, start + one.length) for start in day.missing)
            _gather(blamed, one.blames, spans)
    busy = {
        resource: without(_pairs(joined(spans)), sorted(free.get(resource, ())))
        for resource, spans in blamed.items()
    }
    edges = {resource: joined(spans) for resource, spans in busy.items()}
    hidden = {name: _hidden(one, edges) for name, one in watched.items()}
    return Found({resource: spans for resource, spans in busy.items() if spans}, hidden)


def _gather(into: dict[str, list[Span]], resources: Iterable[str], spans: Iterable[Span]) -> None:
    found = list(spans)
    for resource in resources:
        into.setdefault(resource, []).extend(found)


def _pairs(edges: Sequence[int]) -> Iterator[Span]:
    return zip(edges[::2], edges[1::2], strict=True)


def _hidden(one: Watched, busy: Mapping[str, Sequence[int]]) -> frozenset[int]:
    """Return the missing starts that what is busy does not explain: somebody of them is free."""
    return frozenset(
        start
        for day in one.days.values()
        for start in day.missing
        if not one.blames
        or not all(touches(busy.get(who, ()), *one.occupied(start)) for who in one.blames)
    )


def days_of(start: int, end: int) -> range:
    """Return the days on which something that begins in a span can begin.

    >>> days_of(0, DAY), days_of(DAY - 1, DAY + 1)
    (range(0, 1), range(0, 2))
    """
    return range(start // DAY, -(-end // DAY))
