"""A steady state: a fixed number of live reservations, while others come and go among them.

On each resource, every other quarter of an hour is booked.  A round of the churn has
three operations: a request for a booked quarter, which is refused; a request for a free
one, which is accepted; and the release of one that was accepted some rounds ago.  The
number of live reservations stays the same, and rounds are spread over all resources.

The floor is the `SortedList` calls that this comes down to.
"""

from __future__ import annotations

import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from time import perf_counter_ns, process_time
from typing import Any, Final, NamedTuple

from sortedcontainers import SortedList

from benchmarks.workloads import DAY, MINUTE, SECOND, TICK
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.terms import Terms
from slotengine.engine.uids import new_uid
from slotengine.errors import SlotTaken

FIRST: Final = 20_000 * DAY
NOW: Final = FIRST - DAY
SLOT: Final = 15 * MINUTE
TTL: Final = 5 * MINUTE
KEPT: Final = 16
"""The number of rounds after which an accepted reservation is released."""
OPERATIONS: Final = 3
"""Operations in a round."""

# Ended reservations are forgotten soon, so they do not accumulate.
TERMS: Final = Terms(longest_ttl=DAY, retention=2 * SECOND)


class Round(NamedTuple):
    """A booked quarter of an hour on one resource, and a free one on another."""

    booked: tuple[str, int]
    free: tuple[str, int]


class Population:
    """Bookings on a number of resources: where they are, and what a churn does to them."""

    def __init__(self, live: int, resources: int, seed: int = 1) -> None:
        self.names = [f"resource-{i}" for i in range(resources)]
        self.live = live
        self._numbers = array("q", range(live))
        random.Random(seed).shuffle(self._numbers)

    def bookings(self) -> Iterable[tuple[str, int]]:
        """Yield the resource and start of each booking, in random order."""
        names, resources = self.names, len(self.names)
        for number in self._numbers:
            row, column = divmod(number, resources)
            yield names[column], FIRST + row * 2 * SLOT

    def rounds(self, number: int) -> list[Round]:
        """Return a number of rounds.  No quarter is used twice before all are used once."""
        assert self.live > KEPT, "what is free must not be asked for before it was released"
        booked = islice(cycle(self.bookings()), number)
        others = islice(cycle(self.bookings()), number // 2, number // 2 + number)
        return [
            Round(one, (name, start + SLOT))
            for one, (name, start) in zip(booked, others, strict=True)
        ]


class LedgerChurn:
    """A ledger with that population."""

    def __init__(self, population: Population, *, confirm: bool = True) -> None:
        self.ledger = Ledger(TERMS)
        for name in population.names:
            self.ledger.add_resource(name)
        self.now = NOW
        for resource, start in population.bookings():
            uid = new_uid()
            self.ledger.reserve(resource, start, start + SLOT, uid=uid, now=NOW, ttl=DAY)
            if confirm:
                self.ledger.confirm(uid, now=NOW)

    def run(self, rounds: Iterable[Round], timings: array[int] | None = None) -> float:
        """Return the processor time of the rounds, in seconds.

        The wall-clock time of each operation, in nanoseconds, is appended to ``timings``.
        """
        reserve: Callable[..., Any] = self.ledger.reserve
        release: Callable[..., Any] = self.ledger.release
        if timings is not None:
            reserve, release = timed(reserve, timings), timed(release, timings)
        kept: deque[str] = deque()
        now = self.now
        began = process_time()
        for (name, booked), (other, free) in rounds:
            now += TICK
            try:
                reserve(name, booked, booked + SLOT, uid=new_uid(), now=now, ttl=TTL)
            except SlotTaken:
                pass
            else:
                raise AssertionError("what is booked was had once more")
            now += TICK
            kept.append(reserve(other, free, free + SLOT, uid=new_uid(), now=now, ttl=TTL).uid)
            if len(kept) > KEPT:
                now += TICK
                release(kept.popleft(), now=now)
        for uid in kept:
            now += TICK
            release(uid, now=now)
        taken = process_time() - began
        self.now = now
        return taken


def timed(call: Callable[..., Any], timings: array[int]) -> Callable[..., Any]:
    """Return a call that records how long it takes, in nanoseconds, even if it raises."""

    def timed(*arguments: Any, **named: Any) -> Any:
        began = perf_counter_ns()
        try:
            return call(*arguments, **named)
        finally:
            timings.append(perf_counter_ns() - began)

    return timed


class FloorChurn:
    """Sorted lists of the starts of that population."""

    def __init__(self, population: Population) -> None:
        self.lists: dict[str, SortedList[int]] = {name: SortedList() for name in population.names}
        for resource, start in population.bookings():
            self.lists[resource].add(start)

    def run(self, rounds: Iterable[Round]) -> float:
        """Return the processor time of the calls of the rounds, in seconds."""
        calls: list[tuple[Callable[[int], object], int]] = []
        kept: deque[tuple[Callable[[int], object], int]] = deque()
        for (name, booked), (other, free) in rounds:
            starts = self.lists[other]
            calls += [
                (self.lists[name].bisect_right, booked),
                (starts.bisect_right, free),
                (starts.add, free),
            ]
            kept.append((starts.remove, free))
            if len(kept) > KEPT:
                calls.append(kept.popleft())
        calls += kept
        began = process_time()
        for call, value in calls:
            call(value)
        return process_time() - began
