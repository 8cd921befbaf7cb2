"""Who waits for what, in which order, and who may try now that something has changed.

Whoever waits stands in line for every span it asks for.  Nobody may take a span
while somebody who came earlier waits for one that overlaps it on the same
resource; whose spans do not touch wait in lines of their own.  What moves may
keep what it has, and takes the rest in turn like everybody.  Limits, and
shared sessions, wake those who wait for them but keep nobody off: who waits for
nine o'clock is no reason to refuse three.

Those who wait for the very same span share one queue, and only the head of a
queue can be in front.  So a change costs O(log n) and a look at the heads of the
queues that it touches, however many stand behind them.

Knows nothing of tasks, nor who gets what: callers try, and say who has left.
Times are UTC microseconds and spans are half-open.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

from sortedcontainers import SortedList

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Entry
from slotengine.core.ledger.timeline import START_OF_TIME, CountedTimeline
from slotengine.errors import TooManyWaiting

NEWCOMER: Final = NEVER
"""The ticket of one who does not wait yet: later than all others."""

Caller = TypeVar("Caller")


class Place(NamedTuple):
    """A span of something that is waited for: a resource, a limit, or a session."""

    name: Hashable
    start: int
    end: int


class Waiter(Generic[Caller]):
    """One who waits: for what, until when, and since when compared with the others (``ticket``)."""

    __slots__ = ("caller", "in_line", "places", "proposal", "signs", "ticket", "to_try", "until")

    def __init__(self, ticket: int, proposal: Proposal, until: int, caller: Caller) -> None:
        self.ticket = ticket
        self.proposal = proposal
        self.until = until
        self.caller = caller
        self.places = [Place(*claim[:3]) for claim in proposal.all_claims()]
        self.signs = [Place(*claim[:3]) for claim in proposal.limits]
        if proposal.seats is not None:
            self.signs.append(_session(proposal.event_type, proposal.start))
        self.in_line = True
        self.to_try = False


class _Queue(Generic[Caller]):
    """Those who wait for one span, first come first."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        # Not a dictionary: the first of one is slow to find once many before it have left.
        self.waiters: OrderedDict[int, Waiter[Caller]] = OrderedDict()

    @property
    def head(self) -> Waiter[Caller]:
        return next(iter(self.waiters.values()))


class _Queues(Generic[Caller]):
    """The queues for all the spans of each thing, to be found by overlap."""

    __slots__ = ("_by_place", "_lines")

    def __init__(self) -> None:
        self._by_place: dict[Place, _Queue[Caller]] = {}
        self._lines: dict[Hashable, CountedTimeline[_Queue[Caller]]] = {}

    def add(self, place: Place, waiter: Waiter[Caller]) -> None:
        queue = self._by_place.get(place)
        if queue is None:
            name, start, end = place
            queue = self._by_place[place] = _Queue()
            line = self._lines.setdefault(name, CountedTimeline(NEVER))
            line.put(line.room(start, end, 1), start, end, 1, queue)
        queue.waiters[waiter.ticket] = waiter

    def remove(self, place: Place, waiter: Waiter[Caller]) -> None:
        queue = self._by_place[place]
        del queue.waiters[waiter.ticket]
        if not queue.waiters:
            name, start, end = place
            del self._by_place[place]
            line = self._lines[name]
            line.remove(start, end, 1, queue)
            if not len(line):
                del self._lines[name]

    def overlapping(self, place: Place) -> list[_Queue[Caller]]:
        """Return the queues for spans that overlap a span.  O(log n + k)."""
        line = self._lines.get(place.name)
        if line is None:
            return []
        return [taken.owner for taken in line.overlapping(place.start, place.end)]

    def heads(self) -> Iterator[Waiter[Caller]]:
        return (queue.head for queue in self._by_place.values())

    def check_invariants(self, expected: set[tuple[Place, int]]) -> None:
        found = {
            (place, ticket) for place, queue in self._by_place.items() for ticket in queue.waiters
        }
        assert found == expected
        assert all(list(one.waiters) == sorted(one.waiters) for one in self._by_place.values())
        assert sum(map(len, self._lines.values())) == len(self._by_place)
        for line in self._lines.values():
            line.check_invariants()


class Line(Generic[Caller]):
    """Everybody who waits: at most so many.

    >>> line = Line[str](most=10)
    >>> ask = Proposal(900, 930, (Claim("room-1", 900, 930),), ttl=5)
    >>> first, second = line.join(ask, 2000, "a"), line.join(ask, 2000, "b")
    >>> line.freed([Place("room-1", 915, 945)])
    >>> line.next().caller
    'a'
    >>> line.next() is None  # the other is behind
    True
    >>> line.leave(first)
    >>> line.next().caller
    'b'
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._tickets = 0
        self._waiting: dict[int, Waiter[Caller]] = {}
        self._queues: _Queues[Caller] = _Queues()
        self._signs: _Queues[Caller] = _Queues()
        self._deadlines: SortedList[tuple[int, int]] = SortedList()
        self.to_try: list[int] = []

    def __len__(self) -> int:
        """Return how many wait.  O(1)."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter[Caller]]:
        return iter(list(self._waiting.values()))

    @property
    def due(self) -> int:
        """When there is next something to do: at once if somebody may try, else at a deadline."""
        if self.to_try:
            return START_OF_TIME
        return self._deadlines[0][0] if self._deadlines else NEVER

    # --- Coming and going ----------------------------------------------------------------

    def join(self, proposal: Proposal, until: int, caller: Caller) -> Waiter[Caller]:
        """Stand at the end, after having tried in vain.  O(c log n) for c claims.

        Raises `TooManyWaiting`.
        """
        if len(self._waiting) >= self.most:
            raise TooManyWaiting(self.most)
        self._tickets += 1
        waiter = Waiter(self._tickets, proposal, until, caller)
        self._waiting[waiter.ticket] = waiter
        self._deadlines.add((until, waiter.ticket))
        for place in waiter.places:
            self._queues.add(place, waiter)
        for place in waiter.signs:
            self._signs.add(place, waiter)
        return waiter

    def leave(self, waiter: Waiter[Caller]) -> None:
        """Stand there no longer, for whatever reason; harmless to repeat.

        Whoever was behind may try now.  O(c log n + k).
        """
        if not waiter.in_line:
            return
        waiter.in_line = False
        del self._waiting[waiter.ticket]
        self._deadlines.remove((waiter.until, waiter.ticket))
        for place in waiter.places:
            self._queues.remove(place, waiter)
        for place in waiter.signs:
            self._signs.remove(place, waiter)
        for place in waiter.places:
            self._call(queue.head for queue in self._queues.overlapping(place))

    # --- Who may try -----------------------------------------------------------------------

    def freed(self, places: Iterable[Place]) -> None:
        """Let those try who are in front for anything that overlaps these places.

        O(log n + k) for k queues touched, and those who wait for a limit or a session.
        """
        for place in places:
            self._call(queue.head for queue in self._queues.overlapping(place))
            for queue in self._signs.overlapping(place):
                self._call(queue.waiters.values())

    def freed_all(self) -> None:
        """Let everybody try who is in front: something has changed, wherever.  O(n)."""
        self._call(self._queues.heads())

    def next(self) -> Waiter[Caller] | None:
        """Return who tries next, the one who came first, or None.

        Whoever tries and gets nothing stays; it is called again after a change.
        """
        while self.to_try:
            waiter = self._waiting.get(heappop(self.to_try))
            if waiter is not None:
                waiter.to_try = False
                if self.behind(waiter.proposal, waiter.ticket) is None:
                    return waiter
        return None

    def overdue(self, now: int) -> Waiter[Caller] | None:
        """Return one who has waited until its time was over, or None."""
        if not self._deadlines or self._deadlines[0][0] > now:
            return None
        return self._waiting[self._deadlines[0][1]]

    def _call(self, waiters: Iterable[Waiter[Caller]]) -> None:
        for waiter in waiters:
            if not waiter.to_try:
                waiter.to_try = True
                heappush(self.to_try, waiter.ticket)

    # --- Who is first ----------------------------------------------------------------------

    def behind(
        self, proposal: Proposal, ticket: int = NEWCOMER, held: Sequence[Claim] = ()
    ) -> Claim | None:
        """Return a claim that somebody waits for who came before the ticket, if it must wait.

        What is ``held`` already does not count, as of one that moves.  Of a pool
        it is enough that one resource is not waited for.
        """
        for claim in proposal.claims:
            if self._is_awaited(claim, ticket, held):
                return claim
        for pool in proposal.pools:
            if all(self._is_awaited(claim, ticket, held) for claim in pool.claims):
                return pool.claims[0]
        return None

    def without_awaited(
        self, proposal: Proposal, ticket: int = NEWCOMER, held: Sequence[Claim] = ()
    ) -> Proposal:
        """Return what is left of the pools of one who is not behind: what nobody waits for."""
        if not proposal.pools:
            return proposal
        pools = tuple(self._left_of(pool, ticket, held) for pool in proposal.pools)
        return proposal._replace(pools=pools)

    def _left_of(self, pool: Pool, ticket: int, held: Sequence[Claim]) -> Pool:
        keep = [i for i, one in enumerate(pool.claims) if not self._is_awaited(one, ticket, held)]
        weights, schedules = pool.weights, pool.schedules
        return Pool(
            tuple(pool.claims[i] for i in keep),
            None if weights is None else tuple(weights[i] for i in keep),
            None if schedules is None else tuple(schedules[i] for i in keep),
        )

    def _is_awaited(self, claim: Claim, ticket: int, held: Sequence[Claim]) -> bool:
        queues = chain.from_iterable(map(self._queues.overlapping, _taken_anew(claim, held)))
        return any(queue.head.ticket < ticket for queue in queues)

    def free_of(self, claim: Claim) -> int:
        """Return when the last of those has given up who wait for what overlaps a claim.  O(k)."""
        queues = self._queues.overlapping(Place(*claim[:3]))
        waiters = chain.from_iterable(queue.waiters.values() for queue in queues)
        return max((waiter.until for waiter in waiters), default=START_OF_TIME)

    # --- Invariants ------------------------------------------------------------------------

    def check_invariants(self, can_be_had: Callable[[Waiter[Caller]], bool]) -> None:
        """Assert every invariant; and that nobody sleeps who is in front and could be served."""
        waiters = list(self._waiting.values())
        self._queues.check_invariants(
            {(place, one.ticket) for one in waiters for place in one.places}
        )
        self._signs.check_invariants(
            {(place, one.ticket) for one in waiters for place in one.signs}
        )
        assert list(self._deadlines) == sorted((one.until, one.ticket) for one in waiters)
        assert {one.ticket for one in waiters if one.to_try} <= set(self.to_try)
        for waiter in waiters:
            assert waiter.in_line
            front = self.behind(waiter.proposal, waiter.ticket) is None
            assert waiter.to_try or not front or not can_be_had(waiter)


def _taken_anew(claim: Claim, held: Sequence[Claim]) -> list[Place]:
    """Return what a claim takes that is not held already: all of it, if it is of more units."""
    name, start, end, units = claim
    for mine in held:
        if mine.resource == name and mine.units >= units and mine.start < end and start < mine.end:
            rest = (start, mine.start), (mine.end, end)
            return [Place(name, low, high) for low, high in rest if low < high]
    return [Place(name, start, end)]


def _session(event_type: str | None, start: int) -> Place:
    return Place((event_type, start), start, start + 1)


def places_of(entry: Entry) -> list[Place]:
    """Return all that a reservation stands in the way of."""
    places = [Place(*claim[:3]) for claim in entry.all_claims()]
    return places + sessions_of(entry)


def sessions_of(entry: Entry) -> list[Place]:
    """Return the session that a reservation is in, if it is in one."""
    return [] if entry.seats is None else [_session(entry.event_type, entry.start)]
