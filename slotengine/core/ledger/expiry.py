"""Which hold lapses next.

Nearly all holds of a service share one time to live, and then they lapse in
the order in which they were made: a queue, with no sorting at all.  So there is
one queue (a lane) per TTL for the first few TTLs, and one sorted list for
whatever is left.  The next hold to lapse is at the head of one of them.

A lane is a row of short lists (buckets), and an item knows its place in one of
them.  When it ends early, or is extended, it leaves that place empty: nothing
has to be told from the living later, and nothing long dead is kept or visited.

Knows nothing of states or clocks.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import Any, Final, Generic, Protocol, TypeVar

from sortedcontainers import SortedKeyList

NEVER: Final = 2**63 - 1

PENDING: Final = NEVER
"""The TTL of a hold that does not lapse by itself.  Such holds have a lane of their own."""

MOST_LANES: Final = 16
"""TTLs with a lane of their own.

Measured: a push into a lane costs 0.12 µs, one into a sorted list of 20,000 0.7."""

FULL: Final = 256
"""So many places make a bucket full: few enough that going through one is nothing, and many
enough that there are few buckets."""

SLACK: Final = 64
"""So many buckets of one lane are never worth looking after: with their places, 128 KiB."""

TIDIED: Final = 2
"""Beyond, so many buckets are looked after whenever a new one is begun.

Measured: 0.03 µs for each item pushed, if a sixth of them stays for long."""


def lapse_of(now: int, ttl: int) -> int:
    """Return when a hold lapses that lives for ``ttl`` from now.

    >>> lapse_of(5, 10), lapse_of(5, PENDING) == NEVER
    (15, True)
    """
    return NEVER if ttl == PENDING else now + ttl


def life_left(now: int, until: int) -> int:
    """Return the TTL from now of a hold that lapses at ``until``."""
    return PENDING if until == NEVER else until - now


class Lapsing(Protocol):
    """Anything that lapses, told apart by ``uid``.

    ``until`` may change only while the item is queued nowhere.  ``queued`` and
    ``place`` belong to the queue; ``queued`` is None while it is queued nowhere.
    """

    uid: str
    until: int
    queued: Any
    place: int


Item = TypeVar("Item", bound=Lapsing)
Bucket = list[Item | None]


class _Lane(Generic[Item]):
    """Items of one TTL in buckets, oldest first; those of ``tidy`` come before ``rest``."""

    __slots__ = ("_first", "_head", "full", "newest", "rest", "slack", "tidy")

    def __init__(self, full: int, slack: int) -> None:
        self.full = full
        self.slack = slack
        self.newest: Bucket[Item] = []
        """The last one of ``rest``."""
        self.tidy: deque[Bucket[Item]] = deque()
        self.rest = deque([self.newest])
        # How many places at the head of the first bucket are known to be empty.
        self._first = self.newest
        self._head = 0

    def begin_bucket(self) -> Bucket[Item]:
        """Return a new bucket, at the end, and look after some others."""
        self.newest = []
        self.rest.append(self.newest)
        if len(self.tidy) + len(self.rest) > self.slack:
            for _ in range(TIDIED):
                self._tidy_one()
        return self.newest

    def _tidy_one(self) -> None:
        # Many who leave early would leave many buckets nearly empty.  A round through all of
        # them takes half as many new ones, so the empty places stay in proportion to the rest.
        if self.rest[0] is self.newest:
            self.tidy.append(self.newest)
            self.tidy, self.rest = deque(), self.tidy
        bucket = self.rest.popleft()
        left = len(bucket) - bucket.count(None)
        if left > self.full // 2:
            self.tidy.append(bucket)
            return
        if not self.tidy or len(self.tidy[-1]) + left > self.full:
            self.tidy.append([])
        last = self.tidy[-1]
        for item in bucket:
            if item is not None:
                item.queued, item.place = last, len(last)
                last.append(item)

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, the oldest first."""
        for bucket in chain(self.tidy, self.rest):
            first = self._head if bucket is self._first else 0
            for item in islice(bucket, first, None):
                if item is not None:
                    yield item

    def is_empty(self) -> bool:
        """Return whether nothing is queued here."""
        bucket, place = self.head()
        return place == len(bucket)

    def head(self) -> tuple[Bucket[Item], int]:
        """Return where the oldest item is; the end of the newest bucket if there is none."""
        while True:
            buckets = self.tidy or self.rest
            bucket = buckets[0]
            place, most = self._head if bucket is self._first else 0, len(bucket)
            while place < most and bucket[place] is None:
                place += 1
            if place < most or bucket is self.newest:
                self._first, self._head = bucket, place
                return bucket, place
            buckets.popleft()


class ExpiryQueue(Generic[Item]):
    """Items in order of ``until``, cheap for few distinct TTLs, correct for any.

    ``due`` is a lower bound of every ``until`` in the queue: before it there
    is nothing to do.

    >>> class Egg:
    ...     queued, place = None, 0
    ...     def __init__(self, uid, until):
    ...         self.uid, self.until = uid, until
    >>> queue = ExpiryQueue()
    >>> soft, hard = Egg("soft", 4), Egg("hard", 9)
    >>> queue.push(hard, ttl=9)
    >>> queue.push(soft, ttl=4)
    >>> queue.due
    4
    >>> queue.take_due(8, limit=10) == [soft], queue.take_due(9, limit=10) == [hard]
    (True, True)
    """

    __slots__ = ("_full", "_most_lanes", "_slack", "due", "lanes", "overflow")

    def __init__(self, *, lanes: int = MOST_LANES, full: int = FULL, slack: int = SLACK) -> None:
        self.lanes: dict[int, _Lane[Item]] = {}
        self._most_lanes = lanes
        self._full = full
        self._slack = slack
        self.overflow: SortedKeyList[Item, tuple[int, str]] = SortedKeyList(key=_by_until)
        self.due = NEVER

    def push(self, item: Item, ttl: int) -> None:
        """Queue an item that lapses ``ttl`` from now, at ``item.until``.

        "Now" must not go backwards from push to push.  O(1) for one of the
        first TTLs, else O(log n).
        """
        lane = self.lanes.get(ttl) or self._new_lane(ttl)
        if lane is None:
            self.overflow.add(item)
            item.queued = self.overflow
        else:
            bucket = lane.newest
            place = len(bucket)
            if place >= self._full:
                bucket, place = lane.begin_bucket(), 0
            bucket.append(item)
            item.queued = bucket
            item.place = place
        until = item.until
        if until < self.due:
            self.due = until

    def drop(self, item: Item) -> None:
        """Take out a queued item; call it before ``item.until`` changes.

        O(1), or O(log n) for one in the sorted list.
        """
        bucket = item.queued
        if bucket is self.overflow:
            self.overflow.remove(item)
        else:
            bucket[item.place] = None
        item.queued = None

    def take_due(self, now: int, limit: int) -> list[Item]:
        """Take out the next items with ``until <= now``, in order, at most ``limit`` of them.

        Items with one ``until`` and one TTL come in the order of their pushes.
        O(limit), and O(log n) for each item from the sorted list.
        """
        taken: list[Item] = []
        while len(taken) < limit:
            lane, others = self._find_next()
            if self.due > now:
                break
            if lane is None:
                item = self.overflow.pop(0)
                item.queued = None
                taken.append(item)
                continue
            following = _take_from(lane, min(now, others), limit, taken)
            if following is not None and now < following <= others:
                self.due = following  # as `_find_next` would find: the usual case, made cheap
                break
        else:
            self._find_next()
        return taken

    def lapsed(self, now: int, limit: int) -> list[Item]:
        """Return items with ``until <= now``, in no order, at most ``limit`` of them.

        They stay where they are.  O(limit), and the places that were left empty.
        """
        found: list[Item] = []
        if self.due <= now:
            every: list[Iterable[Item]] = [*self.lanes.values(), self.overflow]
            for items in every:
                for item in items:
                    if item.until > now or len(found) == limit:
                        break
                    found.append(item)
        return found

    def _find_next(self) -> tuple[_Lane[Item] | None, int]:
        """Set ``due`` to the earliest time at any head.

        Returns its lane (None: the sorted list), and the earliest time at any
        other head.
        """
        earliest, others = self.overflow[0].until if self.overflow else NEVER, NEVER
        found = None
        for lane in self.lanes.values():
            bucket, place = lane.head()
            item = bucket[place] if place < len(bucket) else None
            if item is None:
                continue
            until = item.until
            if until < earliest:
                earliest, others, found = until, earliest, lane
            elif until < others:
                others = until
        self.due = earliest
        return found, others

    def _new_lane(self, ttl: int) -> _Lane[Item] | None:
        """Return a lane for a new TTL, in place of an empty one if need be."""
        if len(self.lanes) == self._most_lanes:
            empty = [ttl for ttl, lane in self.lanes.items() if lane.is_empty()]
            if not empty:
                return None
            del self.lanes[empty[0]]
        lane = self.lanes[ttl] = _Lane(self._full, self._slack)
        return lane

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n log n); for tests and simulation."""
        for lane in self.lanes.values():
            buckets = [*lane.tidy, *lane.rest]
            assert lane.rest[-1] is lane.newest
            items = [item for bucket in buckets for item in bucket if item is not None]
            assert all(one.until <= other.until for one, other in pairwise(items))
            assert all(item.queued[item.place] is item for item in items)
            assert all(len(bucket) <= self._full for bucket in buckets)
            assert not items or self.due <= items[0].until
        assert all(item.queued is self.overflow for item in self.overflow)
        assert not self.overflow or self.due <= self.overflow[0].until

    def __len__(self) -> int:
        """Return how many items are queued.  O(n); for tests."""
        lanes = self.lanes.values()
        buckets = (bucket for lane in lanes for bucket in (*lane.tidy, *lane.rest))
        return sum(len(one) - one.count(None) for one in buckets) + len(self.overflow)


def _take_from(lane: _Lane[Item], horizon: int, limit: int, taken: list[Item]) -> int | None:
    """Take what is due by the horizon out of a lane's first bucket, until there are so many.

    Returns when the next item of that bucket lapses, if there is one.
    """
    bucket, first = lane.head()
    for place in range(first, len(bucket)):
        item = bucket[place]
        if item is None:
            continue
        if item.until > horizon or len(taken) == limit:
            return item.until
        taken.append(item)
        bucket[place] = None
        item.queued = None
    return None


def _by_until(item: Lapsing) -> tuple[int, str]:
    # The uid makes the key unique: among thousands with one deadline, taking one out
    # would otherwise mean looking through them all.
    return item.until, item.uid
