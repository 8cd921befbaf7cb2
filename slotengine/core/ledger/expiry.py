"""Which hold lapses next.

Nearly all holds of a service share one time to live, and then they lapse in
the order in which they were made: a queue, with no sorting at all.  So there is
one queue (a lane) per TTL for the first few TTLs, and one sorted list for
whatever is left.  The next hold to lapse is at the head of one of them.

A lane is a queue of small dictionaries (buckets), which keep the order in which rows came.  A
hold's row says in which one it is (`store.BUCKET`).  When it ends early, or is extended, it
leaves that, so nothing that has ended is kept or visited.

Knows nothing of states or clocks.  Times are UTC microseconds.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Final, TypeAlias

from sortedcontainers import SortedList

from slotengine.core.ledger.store import BUCKET, SERIAL, UNTIL

NEVER: Final = 2**63 - 1

PENDING: Final = NEVER
"""The TTL of a hold that does not lapse by itself.  Such holds have a lane of their own."""

MOST_LANES: Final = 16
"""TTLs with a lane of their own.

Measured: a push into a lane costs 0.12 µs, one into a sorted list of 20,000 0.7."""

FULL: Final = 340
"""How many rows make a bucket full: as many as a dictionary of 9 KiB holds, so each takes 27
bytes; and few enough that going past those that left takes no time to speak of."""

IN_ORDER: Final = -1
"""The bucket of a hold in the sorted list."""

SLACK: Final = 64
"""How many buckets of a lane are never tidied: 600 KiB."""

TIDIED: Final = 2
"""Beyond, how many buckets are tidied whenever a new one is begun."""

Bucket: TypeAlias = dict[int, None]
"""Rows, in the order in which they came."""


def lapse_of(now: int, ttl: int) -> int:
    """Return when a hold lapses that lives for ``ttl`` from now.

    >>> lapse_of(5, 10), lapse_of(5, PENDING) == NEVER
    (15, True)
    """
    return NEVER if ttl == PENDING else now + ttl


def life_left(now: int, until: int) -> int:
    """Return the TTL from now of a hold that lapses at ``until``."""
    return PENDING if until == NEVER else until - now


class _Lane:
    """Holds of one TTL in buckets, oldest first; those of ``tidy`` come before ``rest``."""

    __slots__ = ("_full", "_queue", "newest", "number", "rest", "slack", "tidy")

    def __init__(self, queue: ExpiryQueue, full: int, slack: int) -> None:
        self._queue = queue
        self._full = full
        self.slack = slack
        self.number, self.newest = queue.new_bucket()
        """The last one of ``rest``."""
        # Buckets are named by their numbers.
        self.tidy: deque[int] = deque()
        self.rest = deque([self.number])

    def begin_bucket(self) -> Bucket:
        """Return a new bucket, at the end, and tidy some others."""
        self.number, self.newest = self._queue.new_bucket()
        self.rest.append(self.number)
        if len(self.tidy) + len(self.rest) > self.slack:
            for _ in range(TIDIED):
                self._tidy_one()
        return self.newest

    def _tidy_one(self) -> None:
        # If many leave early, many buckets are nearly empty.  A round through all of
        # them takes half as many new ones, so the empty places stay in proportion to the rest.
        if self.rest[0] == self.number:
            self.tidy.append(self.number)
            self.tidy, self.rest = deque(), self.tidy
        number = self.rest.popleft()
        buckets, numbers = self._queue.buckets, self._queue.numbers
        bucket = buckets[number]
        if len(bucket) > self._full // 2:
            self.tidy.append(number)
            return
        if not self.tidy or len(buckets[self.tidy[-1]]) + len(bucket) > self._full:
            self.tidy.append(self._queue.new_bucket()[0])
        last = self.tidy[-1]
        buckets[last].update(bucket)
        for row in bucket:
            numbers[row + BUCKET] = last
        del buckets[number]

    def __iter__(self) -> Iterator[int]:
        """Yield the rows, the oldest first."""
        for number in chain(self.tidy, self.rest):
            yield from self._queue.buckets[number]

    def close(self) -> None:
        """Drop the buckets of a lane that is empty."""
        for number in chain(self.tidy, self.rest):
            del self._queue.buckets[number]

    def head(self) -> Bucket:
        """Return the bucket with the oldest row, which comes first there; empty if there is none.

        Empty buckets before it are dropped.
        """
        buckets = self._queue.buckets
        while True:
            numbers = self.tidy or self.rest
            number = numbers[0]
            bucket = buckets[number]
            if bucket or number == self.number:
                return bucket
            del buckets[numbers.popleft()]


class ExpiryQueue:
    """Rows in order of ``until``, cheap for few distinct TTLs, correct for any.

    ``due`` is a lower bound of every ``until`` in the queue: before it there
    is nothing to do.  A row's ``until`` may change only while it is not queued.

    >>> from slotengine.core.ledger.store import OTHER_CLAIMS, Rows
    >>> rows = Rows()
    >>> soft = rows.add("soft", 0, 10, 4, 0, 0, OTHER_CLAIMS, 1)
    >>> hard = rows.add("hard", 0, 10, 9, 0, 0, OTHER_CLAIMS, 2)
    >>> queue = ExpiryQueue(rows.numbers)
    >>> queue.push(hard, until=9, ttl=9)
    >>> queue.push(soft, until=4, ttl=4)
    >>> queue.due
    4
    >>> queue.take_due(8, limit=10) == [soft], queue.take_due(9, limit=10) == [hard]
    (True, True)
    """

    __slots__ = (
        "_full",
        "_made",
        "_most_lanes",
        "_slack",
        "buckets",
        "due",
        "lanes",
        "numbers",
        "overflow",
    )

    def __init__(
        self,
        numbers: array[int],
        *,
        lanes: int = MOST_LANES,
        full: int = FULL,
        slack: int = SLACK,
    ) -> None:
        self.numbers = numbers
        self.lanes: dict[int, _Lane] = {}
        self.buckets: dict[int, Bucket] = {}
        """All buckets, by number."""
        self._made = 0
        self._most_lanes = lanes
        self._full = full
        self._slack = slack
        self.overflow: SortedList[tuple[int, int, int]] = SortedList()
        """The ``until``, the serial number and the row of each in the sorted list."""
        self.due = NEVER

    def new_bucket(self) -> tuple[int, Bucket]:
        """Return the number of a new bucket, and the bucket."""
        self._made += 1
        bucket: Bucket = {}
        self.buckets[self._made] = bucket
        return self._made, bucket

    def push(self, row: int, until: int, ttl: int) -> None:
        """Queue a hold that lapses ``ttl`` from now, at its ``until``.

        "Now" must not go backwards from push to push.  O(1) for one of the
        first TTLs, else O(log n).
        """
        lane = self.lanes.get(ttl) or self._new_lane(ttl)
        if lane is None:
            self.overflow.add((until, self.numbers[row + SERIAL], row))
            self.numbers[row + BUCKET] = IN_ORDER
        else:
            bucket = lane.newest
            if len(bucket) >= self._full:
                bucket = lane.begin_bucket()
            bucket[row] = None
            self.numbers[row + BUCKET] = lane.number
        if until < self.due:
            self.due = until

    def drop(self, row: int) -> None:
        """Take out a queued hold; call it before its ``until`` changes.

        O(1), or O(log n) for one in the sorted list.
        """
        number = self.numbers[row + BUCKET]
        if number == IN_ORDER:
            self.overflow.remove((self.numbers[row + UNTIL], self.numbers[row + SERIAL], row))
        else:
            del self.buckets[number][row]

    def take_due(self, now: int, limit: int) -> list[int]:
        """Take out the next rows with ``until <= now``, in order, at most ``limit`` of them.

        Rows with one ``until`` and one TTL come in the order of their pushes.
        O(limit), and O(log n) for each row from the sorted list.
        """
        taken: list[int] = []
        while len(taken) < limit:
            bucket, others = self._find_next()
            if self.due > now:
                break
            if bucket is None:
                taken.append(self.overflow.pop(0)[2])
                continue
            following = self._take_from(bucket, min(now, others), limit, taken)
            if following is not None and now < following <= others:
                self.due = following  # as `_find_next` would find: the usual case, made cheap
                break
        else:
            self._find_next()
        return taken

    def lapsed(self, now: int, limit: int) -> list[int]:
        """Return rows with ``until <= now``, in no order, at most ``limit`` of them.

        They stay where they are.  O(limit).
        """
        found: list[int] = []
        if self.due <= now:
            in_order = (row for _, _, row in self.overflow)
            every: list[Iterable[int]] = [*self.lanes.values(), in_order]
            for rows in every:
                for row in rows:
                    if self.numbers[row + UNTIL] > now or len(found) == limit:
                        break
                    found.append(row)
        return found

    def _find_next(self) -> tuple[Bucket | None, int]:
        """Set ``due`` to the earliest time at any head.

        Returns the bucket that it comes first in (None: the sorted list), and the earliest
        time at any other head.
        """
        earliest, others = self.overflow[0][0] if self.overflow else NEVER, NEVER
        found = None
        for lane in self.lanes.values():
            bucket = lane.head()
            if not bucket:
                continue
            until = self.numbers[next(iter(bucket)) + UNTIL]
            if until < earliest:
                earliest, others, found = until, earliest, bucket
            elif until < others:
                others = until
        self.due = earliest
        return found, others

    def _take_from(self, bucket: Bucket, horizon: int, limit: int, taken: list[int]) -> int | None:
        """Take what is due by the horizon out of the bucket at a lane's head, up to the limit.

        Returns when the next row of that bucket lapses, if there is one.
        """
        numbers, first = self.numbers, len(taken)
        following = None
        for row in bucket:
            until = numbers[row + UNTIL]
            if until > horizon or len(taken) == limit:
                following = until
                break
            taken.append(row)
        for row in taken[first:]:
            del bucket[row]
        return following

    def _new_lane(self, ttl: int) -> _Lane | None:
        """Return a lane for a new TTL, in place of an empty one if need be."""
        if len(self.lanes) == self._most_lanes:
            empty = [ttl for ttl, lane in self.lanes.items() if not lane.head()]
            if not empty:
                return None
            self.lanes.pop(empty[0]).close()
        lane = self.lanes[ttl] = _Lane(self, self._full, self._slack)
        return lane

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n log n); for tests and simulation."""
        untils = {row: self.numbers[row + UNTIL] for row in self}
        used: list[int] = []
        for lane in self.lanes.values():
            assert lane.rest[-1] == lane.number
            assert self.buckets[lane.number] is lane.newest
            used += [*lane.tidy, *lane.rest]
            rows = list(lane)
            assert all(untils[one] <= untils[other] for one, other in pairwise(rows))
            assert not rows or self.due <= untils[rows[0]]
        assert sorted(used) == sorted(self.buckets)
        for number, bucket in self.buckets.items():
            assert len(bucket) <= self._full
            assert all(self.numbers[row + BUCKET] == number for row in bucket)
        for until, serial, row in self.overflow:
            assert self.numbers[row + BUCKET] == IN_ORDER
            assert (until, serial) == (untils[row], self.numbers[row + SERIAL])
        assert not self.overflow or self.due <= self.overflow[0][0]

    def __iter__(self) -> Iterator[int]:
        """Yield every row that is queued."""
        yield from chain.from_iterable(self.lanes.values())
        yield from (row for _, _, row in self.overflow)

    def __len__(self) -> int:
        """Return how many rows are queued.  O(n); for tests."""
        return sum(1 for _ in self)
