"""The expiry queue against sorting everything."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slotengine.core.ledger import expiry
from slotengine.core.ledger.expiry import FULL, MOST_LANES, NEVER, ExpiryQueue
from slotengine.core.ledger.store import UNTIL
from tests.core.ledger.entries import Made


class Eggs:
    """Rows that lapse, in a queue of their own."""

    def __init__(
        self, *, lanes: int = MOST_LANES, full: int = FULL, slack: int = expiry.SLACK
    ) -> None:
        self.made = Made()
        self.numbers = self.made.rows.numbers
        self.queue = ExpiryQueue(self.numbers, lanes=lanes, full=full, slack=slack)

    def lay(self, until: int, ttl: int) -> int:
        """Push a row that lapses at a time, which is a TTL from now."""
        row = self.made.entry(until=until).number
        self.queue.push(row, until, ttl)
        return row

    def until(self, row: int) -> int:
        return self.numbers[row + UNTIL]


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
        self.eggs = Eggs(lanes=lanes, full=full, slack=slack)
        self.queue = self.eggs.queue
        self.queued: list[int] = []
        self.now = 0

    ttls = st.one_of(st.just(5), st.integers(1, MOST_LANES + 4))

    @rule(ttl=ttls, step=st.integers(0, 2))
    def push(self, ttl: int, step: int) -> None:
        self.now += step
        self.queued.append(self.eggs.lay(self.now + ttl, ttl))

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        egg = data.draw(st.sampled_from(self.queued))
        self.queued.remove(egg)
        self.queue.drop(egg)
        self.eggs.numbers[egg + UNTIL] = NEVER

    @precondition(lambda self: self.queued)
    @rule(data=st.data(), ttl=ttls, step=st.integers(0, 2))
    def extend(self, data: st.DataObject, ttl: int, step: int) -> None:
        self.now += step
        egg = data.draw(st.sampled_from(self.queued))
        self.queue.drop(egg)
        self.eggs.numbers[egg + UNTIL] = self.now + ttl
        self.queue.push(egg, self.now + ttl, ttl)

    @rule(step=st.integers(0, 8), limit=st.sampled_from((1, 3, 1_000)))
    def take_due(self, step: int, limit: int) -> None:
        self.now += step
        taken = self.queue.take_due(self.now, limit)
        due = sorted(
            self.eggs.until(egg) for egg in self.queued if self.eggs.until(egg) <= self.now
        )
        assert [self.eggs.until(egg) for egg in taken] == due[:limit]
        for egg in taken:
            self.queued.remove(egg)
        assert self.queue.due == min((self.eggs.until(egg) for egg in self.queued), default=NEVER)

    @rule(step=st.integers(0, 8))
    def take_all_due(self, step: int) -> None:
        self.now += step
        while self.queue.due <= self.now:
            for egg in self.queue.take_due(self.now, 4):
                self.queued.remove(egg)
        assert all(self.eggs.until(egg) > self.now for egg in self.queued)

    @invariant()
    def invariants_hold(self) -> None:
        self.queue.check_invariants()
        assert len(self.queue) == len(self.queued)


TestQueueAgainstSorting = QueueAgainstSorting.TestCase


def test_one_ttl_keeps_the_order_of_pushes() -> None:
    eggs = Eggs()
    laid = [eggs.lay(7, 7) for _ in range(5)]
    assert eggs.queue.take_due(7, 10) == laid


def test_more_ttls_than_lanes_are_sorted_and_an_empty_lane_is_used_again() -> None:
    eggs = Eggs()
    queue = eggs.queue
    laid = [eggs.lay(100 + ttl, 100 + ttl) for ttl in range(MOST_LANES + 3)]
    assert [row for _, _, row in queue.overflow] == laid[MOST_LANES:]
    assert queue.take_due(100, 10) == laid[:1]
    late = eggs.lay(1_000, 900)
    queue.check_invariants()
    assert len(queue.overflow) == 3
    assert queue.take_due(1_000, 100) == [*laid[1:], late]
    assert len(queue) == 0


def test_nothing_is_due_in_an_empty_queue() -> None:
    queue = Eggs().queue
    assert queue.due == NEVER
    assert queue.take_due(10**18, 10) == []


def buckets(queue: ExpiryQueue) -> int:
    """Return how many buckets all lanes have."""
    return len(queue.buckets)


def test_empty_buckets_do_not_pile_up() -> None:
    """Holds with a long TTL that are released at once must not fill the memory until then."""
    eggs = Eggs(full=8, slack=4)
    queue = eggs.queue
    keeper = eggs.lay(10**9, 10**9)
    for now in range(1_000):
        queue.drop(eggs.lay(now + 10**9, 10**9))
        assert buckets(queue) <= 6
    queue.check_invariants()
    assert queue.take_due(10**9, 10) == [keeper]


def test_tidying_keeps_what_counts_and_its_order() -> None:
    """Buckets that were full, and of which nearly all rows leave early, are put together."""
    eggs = Eggs(full=8, slack=4)
    queue = eggs.queue
    laid = [eggs.lay(now + 10**9, 10**9) for now in range(4_000)]
    kept = [egg for number, egg in enumerate(laid) if number % 20 == 0]
    staying = set(kept)
    for egg in laid:
        if egg not in staying:
            queue.drop(egg)
    assert buckets(queue) == 500
    kept += [eggs.lay(now + 10**9, 10**9) for now in range(4_000, 6_400)]
    queue.check_invariants()
    assert buckets(queue) < 2 * len(kept) // 8
    queue.drop(kept.pop(3))  # one that was put elsewhere
    taken: list[int] = []
    while queue.due < NEVER:
        taken += queue.take_due(2 * 10**9, 100)
    assert taken == kept


def test_a_row_leaves_the_sorted_list_at_once() -> None:
    eggs = Eggs(lanes=1)
    first, second = eggs.lay(5, 5), eggs.lay(9, 9)
    eggs.queue.drop(second)
    assert len(eggs.queue.overflow) == 0
    assert eggs.queue.take_due(10, 10) == [first]


def test_what_is_dropped_is_not_kept_in_its_bucket() -> None:
    eggs = Eggs()
    first, second, third = (eggs.lay(5, 5) for _ in range(3))
    eggs.queue.drop(second)
    assert list(eggs.queue) == [first, third]
    assert eggs.queue.lapsed(5, 10) == [first, third]


def test_of_those_in_the_sorted_list_the_earlier_made_lapses_first() -> None:
    """Not the one whose row comes first: another ledger, with the same changes, may have others."""
    eggs = Eggs(lanes=1)
    eggs.lay(100, 100)
    first, second = eggs.lay(7, 7), eggs.lay(7, 7)
    eggs.queue.drop(first)
    eggs.queue.drop(second)
    eggs.made.rows.remove(first)
    eggs.made.rows.remove(second)
    later = eggs.lay(9, 9), eggs.lay(9, 9)
    assert later == (second, first)
    assert eggs.queue.lapsed(9, 10) == list(later)
    assert eggs.queue.take_due(9, 10) == list(later)


def test_the_number_of_lapsed_rows_is_limited() -> None:
    eggs = Eggs(lanes=1)
    laid = [eggs.lay(5, 5), eggs.lay(5, 5), eggs.lay(6, 6)]
    assert eggs.queue.lapsed(4, 10) == []
    assert eggs.queue.lapsed(6, 1) == laid[:1]
    assert eggs.queue.lapsed(6, 10) == laid
