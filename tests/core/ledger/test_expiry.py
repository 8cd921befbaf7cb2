"""The expiry queue against sorting everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import ref

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slotengine.core.ledger import expiry
from slotengine.core.ledger.expiry import FULL, MOST_LANES, NEVER, ExpiryQueue

numbers = count()


@dataclass(eq=False)
class Egg:
    """Something that lapses."""

    until: int
    uid: str = field(default_factory=lambda: str(next(numbers)))
    queued: Any = None
    place: int = 0


class QueueAgainstSorting(RuleBasedStateMachine):
    """Goal: items come out when they are due, in order, once, and nothing else does.

    Method: a plain list of what is queued, sorted whenever something is taken
    out.  Enough TTLs for all lanes and the sorted list; most share one.
    """

    @initialize(
        lanes=st.sampled_from((1, 2, MOST_LANES)),
        full=st.sampled_from((1, 3, FULL)),
        slack=st.sampled_from((0, 2, expiry.SLACK)),
    )
    def begin(self, lanes: int, full: int, slack: int) -> None:
        self.queue: ExpiryQueue[Egg] = ExpiryQueue(lanes=lanes, full=full, slack=slack)
        self.queued: list[Egg] = []
        self.now = 0

    ttls = st.one_of(st.just(5), st.integers(1, MOST_LANES + 4))

    @rule(ttl=ttls, step=st.integers(0, 2))
    def push(self, ttl: int, step: int) -> None:
        self.now += step
        egg = Egg(self.now + ttl)
        self.queue.push(egg, ttl)
        self.queued.append(egg)

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        egg = data.draw(st.sampled_from(self.queued))
        self.queued.remove(egg)
        self.queue.drop(egg)
        egg.until = NEVER

    @precondition(lambda self: self.queued)
    @rule(data=st.data(), ttl=ttls, step=st.integers(0, 2))
    def extend(self, data: st.DataObject, ttl: int, step: int) -> None:
        self.now += step
        egg = data.draw(st.sampled_from(self.queued))
        self.queue.drop(egg)
        egg.until = self.now + ttl
        self.queue.push(egg, ttl)

    @rule(step=st.integers(0, 8), limit=st.sampled_from((1, 3, 1_000)))
    def take_due(self, step: int, limit: int) -> None:
        self.now += step
        taken = self.queue.take_due(self.now, limit)
        due = sorted(egg.until for egg in self.queued if egg.until <= self.now)
        assert [egg.until for egg in taken] == due[:limit]
        assert all(egg.queued is None for egg in taken)
        for egg in taken:
            self.queued.remove(egg)
        assert self.queue.due == min((egg.until for egg in self.queued), default=NEVER)

    @rule(step=st.integers(0, 8))
    def take_all_due(self, step: int) -> None:
        self.now += step
        while self.queue.due <= self.now:
            for egg in self.queue.take_due(self.now, 4):
                self.queued.remove(egg)
        assert all(egg.until > self.now for egg in self.queued)

    @invariant()
    def invariants_hold(self) -> None:
        self.queue.check_invariants()
        assert len(self.queue) == len(self.queued)


TestQueueAgainstSorting = QueueAgainstSorting.TestCase


def test_one_ttl_keeps_the_order_of_pushes() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue()
    eggs = [Egg(7) for _ in range(5)]
    for egg in eggs:
        queue.push(egg, 7)
    assert queue.take_due(7, 10) == eggs


def test_more_ttls_than_lanes_are_sorted_and_an_empty_lane_is_used_again() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue()
    eggs = [Egg(100 + ttl) for ttl in range(MOST_LANES + 3)]
    for ttl, egg in enumerate(eggs):
        queue.push(egg, 100 + ttl)
    assert list(queue.overflow) == eggs[MOST_LANES:]
    assert queue.take_due(100, 10) == eggs[:1]
    late = Egg(1_000)
    queue.push(late, 900)
    assert late not in queue.overflow
    assert queue.take_due(1_000, 100) == [*eggs[1:], late]
    assert all(egg.queued is None for egg in (*eggs, late))


def test_nothing_is_due_in_an_empty_queue() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue()
    assert queue.due == NEVER
    assert queue.take_due(10**18, 10) == []


def places(queue: ExpiryQueue[Egg]) -> int:
    """Return how many places all lanes have, empty ones and all."""
    lanes = queue.lanes.values()
    return sum(len(bucket) for lane in lanes for bucket in (*lane.tidy, *lane.rest))


def test_empty_places_do_not_pile_up() -> None:
    """Holds with a long TTL that are released at once must not fill the memory until then."""
    queue: ExpiryQueue[Egg] = ExpiryQueue(full=8, slack=4)
    keeper = Egg(10**9)
    queue.push(keeper, 10**9)
    for now in range(1_000):
        egg = Egg(now + 10**9)
        queue.push(egg, 10**9)
        queue.drop(egg)
        assert places(queue) <= 8 * 6
    queue.check_invariants()
    assert queue.take_due(10**9, 10) == [keeper]


def test_who_is_dropped_is_let_go() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue()
    egg = Egg(5)
    queue.push(egg, 5)
    queue.drop(egg)
    left = ref(egg)
    del egg
    assert left() is None


def test_tidying_keeps_what_counts_and_its_order() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue(full=8, slack=4)
    kept: list[Egg] = []
    for now in range(4_000):
        egg = Egg(now + 10**9)
        queue.push(egg, 10**9)
        if now % 20:
            queue.drop(egg)
        else:
            kept.append(egg)
    queue.check_invariants()
    assert places(queue) < 4 * len(kept)
    taken: list[Egg] = []
    while queue.due < NEVER:
        taken += queue.take_due(2 * 10**9, 100)
    assert taken == kept


def test_an_item_leaves_the_sorted_list_at_once() -> None:
    queue: ExpiryQueue[Egg] = ExpiryQueue(lanes=1)
    first, second = Egg(5), Egg(9)
    queue.push(first, 5)
    queue.push(second, 9)
    queue.drop(second)
    assert len(queue.overflow) == 0
    assert queue.take_due(10, 10) == [first]
