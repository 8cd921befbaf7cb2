"""The waitlist: the commands that wait for spans, and which of them may be tried next.

Each command that waits has a ticket, and tickets are numbered in order of arrival.  No
command gets a span while an earlier one waits for an overlapping span of the same resource;
commands whose spans do not overlap do not affect each other.  A reservation that moves may
keep the spans that it has, and comes after all tickets for the rest.

A command also watches the limits that it claims, and the session that it would join.  A
change there makes it ready to be tried, but does not keep later commands away.

Commands that wait for exactly the same span share one queue, and only the first of a queue
can be in front.  So a change costs O(log n) and one look at the first of each queue that it
touches, however many wait behind.

A waitlist lasts for one owner's term.  It is neither recorded nor part of a snapshot; after
a restart or takeover, callers ask again.

Knows nothing of tasks, and decides nothing: `Ledger.serve` tries what is ready.
Times are UTC microseconds and spans are half-open.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from sortedcontainers import SortedList

from slotengine.core.ledger.changes import (
    BusyImported,
    Cancelled,
    Expired,
    Forgotten,
    Granted,
    Moved,
    Reinstated,
    Released,
    Reserved,
)
from slotengine.core.ledger.config import EVENT_TYPE, Configured
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import stricter
from slotengine.core.ledger.reservation import Claim, Entry
from slotengine.core.ledger.timeline import START_OF_TIME, CountedTimeline
from slotengine.errors import QuotaExceeded, TooManyWaiting

if TYPE_CHECKING:
    from slotengine.core.ledger.changes import Change
    from slotengine.core.ledger.clients import CommandId
    from slotengine.core.ledger.commands import Reserve

NEWCOMER: Final = NEVER
"""The place of a command that does not wait: after all tickets."""

AHEAD: Final = 0
"""The place of a command that jumps the waitlist: before all tickets."""


class Place(NamedTuple):
    """A span of a resource, a limit or a session."""

    name: Hashable
    start: int
    end: int


class Waiting:
    """A command on the waitlist.

    It is queued for ``places``, the spans that it claims, and watches others.  ``ready``
    says whether it is to be tried.
    """

    __slots__ = ("command", "is_gone", "places", "ready", "ticket", "until", "watched")

    def __init__(self, ticket: int, command: Reserve, until: int) -> None:
        self.ticket = ticket
        self.command = command
        self.until = until
        request = self.request
        self.places = list(dict.fromkeys(Place(*claim[:3]) for claim in request.all_claims()))
        self.watched = [Place(*claim[:3]) for claim in request.limits] + _session_of(request)
        self.ready = False
        self.is_gone = False
        """Whether its event type was removed."""

    @property
    def request(self) -> Proposal:
        """What it asks for."""
        return self.command.requests[0]


class _Queue:
    """The commands that wait for one span, in order of arrival."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        # A dict finds its first item slowly once many before it were deleted.
        self.waiting: OrderedDict[int, Waiting] = OrderedDict()

    @property
    def first(self) -> Waiting:
        return next(iter(self.waiting.values()))


class _Queues:
    """The queues for the spans of each resource, limit or session, found by overlap."""

    __slots__ = ("_by_place", "_timelines")

    def __init__(self) -> None:
        self._by_place: dict[Place, _Queue] = {}
        self._timelines: dict[Hashable, CountedTimeline[_Queue]] = {}

    def add(self, place: Place, waiting: Waiting) -> None:
        queue = self._by_place.get(place)
        if queue is None:
            name, start, end = place
            queue = self._by_place[place] = _Queue()
            timeline = self._timelines.setdefault(name, CountedTimeline(NEVER))
            timeline.put(timeline.room(start, end, 1), start, end, 1, queue)
        queue.waiting[waiting.ticket] = waiting

    def remove(self, place: Place, waiting: Waiting) -> None:
        queue = self._by_place[place]
        del queue.waiting[waiting.ticket]
        if not queue.waiting:
            name, start, end = place
            del self._by_place[place]
            timeline = self._timelines[name]
            timeline.remove(start, end, 1, queue)
            if not len(timeline):
                del self._timelines[name]

    def overlapping(self, place: Place) -> list[_Queue]:
        """Return the queues for spans that overlap a span.  O(log n + k)."""
        timeline = self._timelines.get(place.name)
        if timeline is None:
            return []
        return [taken.owner for taken in timeline.overlapping(place.start, place.end)]

    def firsts(self) -> Iterator[Waiting]:
        return (queue.first for queue in self._by_place.values())

    def check_invariants(self, expected: set[tuple[Place, int]]) -> None:
        found = {
            (place, ticket) for place, queue in self._by_place.items() for ticket in queue.waiting
        }
        assert found == expected
        assert all(list(one.waiting) == sorted(one.waiting) for one in self._by_place.values())
        assert sum(map(len, self._timelines.values())) == len(self._by_place)
        for timeline in self._timelines.values():
            timeline.check_invariants()


class Waitlist:
    """The commands that wait: at most ``most`` of them, and ``most_each`` of one holder.

    >>> from slotengine.core.ledger.commands import Reserve
    >>> waitlist = Waitlist(most=10)
    >>> request = Proposal(900, 930, (Claim("room-1", 900, 930),), ttl=5)
    >>> for uid in ("a", "b"):
    ...     waitlist.join(Reserve((request,), (uid,)), until=2000)
    >>> waitlist.free([Place("room-1", 915, 945)])
    >>> first = waitlist.next_ready()
    >>> first.ticket, first.command.uids
    (1, ('a',))
    >>> waitlist.next_ready() is None  # the other is behind it
    True
    >>> waitlist.leave(first.ticket)
    >>> waitlist.next_ready().command.uids
    ('b',)
    """

    def __init__(self, most: int, most_each: int | None = None) -> None:
        self.most = most
        self.most_each = most_each
        self.by_ticket: dict[int, Waiting] = {}
        """All that wait, in order of arrival; to be read."""
        self.by_holder: dict[str, int] = {}
        """How many commands of each holder wait, of those that have any; to be read."""
        self._by_client: dict[tuple[bytes, int], Waiting] = {}
        self._last_ticket = 0
        self._queues = _Queues()
        self._watched = _Queues()
        self._deadlines: SortedList[tuple[int, int]] = SortedList()
        self._ready: list[int] = []  # a heap of tickets, also of some that have left

    def __len__(self) -> int:
        """Return how many commands wait.  O(1)."""
        return len(self.by_ticket)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self.by_ticket.values()))

    @property
    def due(self) -> int:
        """When there is something to serve: at any time if a command is ready, or at a deadline.

        O(1).
        """
        if self._ready:
            return START_OF_TIME
        return self._deadlines[0][0] if self._deadlines else NEVER

    # --- Joining and leaving -----------------------------------------------------------------

    @property
    def next_ticket(self) -> int:
        """The ticket of the command that joins next."""
        return self._last_ticket + 1

    def repeated(self, command_id: CommandId) -> Waiting | None:
        """Return the command that waits and has an id, if there is one.  O(1)."""
        return self._by_client.get(command_id[:2])

    def check_room(self, request: Proposal) -> None:
        """Raise `QuotaExceeded` or `TooManyWaiting` if a command cannot join."""
        holder, most = request.holder, self.most_each
        if request.quota is not None:
            most = stricter(most, request.quota.waits)
        if most is not None and holder is not None and self.by_holder.get(holder, 0) >= most:
            raise QuotaExceeded("waits", most, self.by_holder[holder], None)
        if len(self.by_ticket) >= self.most:
            raise TooManyWaiting(self.most)

    def join(self, command: Reserve, until: int) -> None:
        """Add a command that was refused, with the `next_ticket`.  O(c log n) for c claims."""
        self._last_ticket += 1
        waiting = Waiting(self._last_ticket, command, until)
        self.by_ticket[waiting.ticket] = waiting
        self._deadlines.add((until, waiting.ticket))
        for place in waiting.places:
            self._queues.add(place, waiting)
        for place in waiting.watched:
            self._watched.add(place, waiting)
        holder = waiting.request.holder
        if holder is not None:
            self.by_holder[holder] = self.by_holder.get(holder, 0) + 1
        if command.client is not None:
            self._by_client[command.client[:2]] = waiting

    def leave(self, ticket: int) -> None:
        """Remove a command, whatever the reason; without effect if it has left before.

        What was behind it becomes ready.  O(c log n + k) for c claims and k queues touched.
        """
        waiting = self.by_ticket.pop(ticket, None)
        if waiting is None:
            return
        self._deadlines.remove((waiting.until, ticket))
        for place in waiting.places:
            self._queues.remove(place, waiting)
        for place in waiting.watched:
            self._watched.remove(place, waiting)
        holder = waiting.request.holder
        if holder is not None:
            self.by_holder[holder] -= 1
            if not self.by_holder[holder]:
                del self.by_holder[holder]
        if waiting.command.client is not None:
            del self._by_client[waiting.command.client[:2]]
        for place in waiting.places:
            self._make_ready(queue.first for queue in self._queues.overlapping(place))
        if not self.by_ticket:
            self._ready.clear()  # so that nothing is due

    def clear(self) -> list[Waiting]:
        """Remove all commands, and return them in order of arrival."""
        waiting = list(self)
        for one in waiting:
            self.leave(one.ticket)
        return waiting

    # --- What may be tried -------------------------------------------------------------------

    def on_changes(self, changes: Iterable[Change], entries: Mapping[str, Entry]) -> None:
        """Make ready what may get what some changes leave.

        Called before the changes are applied, with the reservations by uid: what moves is then
        still where it leaves.  O(log n + k) for each claim, as `free`.  A change of the
        configuration, an import and what is forgotten may free anything (`free_all`).
        """
        for change in changes:
            match change:
                case Reserved():  # others can join the session that it opens
                    self.free(_session_of(change))
                case Moved():
                    self.free(_places_of(entries[change.uid]) + _session_of(change))
                case Granted():  # others can join the session that it opens
                    self.free(_session_of(entries[change.uid]))
                case Released() | Cancelled() | Expired() | Reinstated():
                    self.free(_places_of(entries[change.uid]))
                case Configured():
                    self._note_removed(change)
                    self.free_all()
                case BusyImported() | Forgotten():
                    self.free_all()

    def _note_removed(self, change: Configured) -> None:
        """Note whose event type is removed: O(n), if any is."""
        settings = (one for one in change.settings if one.kind is EVENT_TYPE)
        removed = {one.id for one in settings if one.value is None}
        for waiting in self.by_ticket.values() if removed else ():
            if waiting.request.event_type in removed:
                waiting.is_gone = True

    def free(self, places: Iterable[Place]) -> None:
        """Make ready what is first in a queue for any of these places, and all that watch one.

        O(log n + k) for k queues touched, and those that watch.
        """
        for place in places:
            self._make_ready(queue.first for queue in self._queues.overlapping(place))
            for queue in self._watched.overlapping(place):
                self._make_ready(queue.waiting.values())

    def free_all(self) -> None:
        """Make ready all that is first in a queue: anything may have become free.  O(n)."""
        self._make_ready(self._queues.firsts())

    def next_ready(self) -> Waiting | None:
        """Return the earliest command that is ready and in front, or None.

        It is not ready any more.  If it is refused, it waits for the next change.
        """
        while self._ready:
            waiting = self.by_ticket.get(heappop(self._ready))
            if waiting is not None:
                waiting.ready = False
                if self.awaited(waiting.request, waiting.ticket) is None:
                    return waiting
        return None

    def overdue(self, now: int) -> Waiting | None:
        """Return a command whose wait is over, the earliest deadline first, or None."""
        if not self._deadlines or self._deadlines[0][0] > now:
            return None
        return self.by_ticket[self._deadlines[0][1]]

    def _make_ready(self, some: Iterable[Waiting]) -> None:
        for waiting in some:
            if not waiting.ready:
                waiting.ready = True
                heappush(self._ready, waiting.ticket)

    # --- Order -------------------------------------------------------------------------------

    def awaited(
        self, request: Proposal, ticket: int = NEWCOMER, held: Sequence[Claim] = ()
    ) -> Claim | None:
        """Return the first claim that a command with an earlier ticket waits for, or None.

        Of a pool, one resource that nobody waits for is enough.  What a moving reservation
        has ``held`` before does not count.  O(c (log n + k)) for c claims and k queues there.
        """
        for claim in request.claims:
            if self.is_awaited(claim, ticket, held):
                return claim
        for pool in request.pools:
            if all(self.is_awaited(claim, ticket, held) for claim in pool.claims):
                return pool.claims[0]
        return None

    def without_awaited(
        self, request: Proposal, ticket: int = NEWCOMER, held: Sequence[Claim] = ()
    ) -> Proposal:
        """Return a request without the members of its pools that are `awaited`."""
        if not request.pools:
            return request
        pools = tuple(self._left_of(pool, ticket, held) for pool in request.pools)
        return request._replace(pools=pools)

    def _left_of(self, pool: Pool, ticket: int, held: Sequence[Claim]) -> Pool:
        keep = [i for i, one in enumerate(pool.claims) if not self.is_awaited(one, ticket, held)]
        weights, had = pool.weights, pool.credits
        return Pool(
            tuple(pool.claims[i] for i in keep),
            None if weights is None else tuple(weights[i] for i in keep),
            None if had is None else tuple(had[i] for i in keep),
        )

    def is_awaited(self, claim: Claim, ticket: int, held: Sequence[Claim]) -> bool:
        """Return whether an earlier command waits for a part of a claim that is not held."""
        queues = chain.from_iterable(map(self._queues.overlapping, _newly_taken(claim, held)))
        return any(queue.first.ticket < ticket for queue in queues)

    def last_deadline(self, claim: Claim) -> int:
        """Return when the last command ends its wait that waits for a part of a claim.  O(k)."""
        queues = self._queues.overlapping(Place(*claim[:3]))
        waiting = chain.from_iterable(queue.waiting.values() for queue in queues)
        return max((one.until for one in waiting), default=START_OF_TIME)

    # --- Invariants --------------------------------------------------------------------------

    def check_invariants(self, fits: Callable[[Waiting], bool]) -> None:
        """Assert every invariant; also that all that is in front and ``fits`` is ready."""
        every = list(self.by_ticket.values())
        self._queues.check_invariants(
            {(place, one.ticket) for one in every for place in one.places}
        )
        self._watched.check_invariants(
            {(place, one.ticket) for one in every for place in one.watched}
        )
        assert list(self.by_ticket) == sorted(self.by_ticket) == [one.ticket for one in every]
        assert list(self._deadlines) == sorted((one.until, one.ticket) for one in every)
        assert {one.ticket for one in every if one.ready} <= set(self._ready)
        assert every or not self._ready
        clients = {one.command.client[:2]: one for one in every if one.command.client is not None}
        assert self._by_client == clients
        holders = [one.request.holder for one in every]
        assert self.by_holder == {one: holders.count(one) for one in holders if one is not None}
        for waiting in every:
            in_front = self.awaited(waiting.request, waiting.ticket) is None
            assert waiting.ready or not in_front or not fits(waiting)


def _newly_taken(claim: Claim, held: Sequence[Claim]) -> list[Place]:
    """Return the parts of a claim that are not held yet: all of it if it has more units."""
    name, start, end, units = claim
    for mine in held:
        if mine.resource == name and mine.units >= units and mine.start < end and start < mine.end:
            rest = (start, mine.start), (mine.end, end)
            return [Place(name, low, high) for low, high in rest if low < high]
    return [Place(name, start, end)]


def _places_of(entry: Entry) -> list[Place]:
    """Return what an entry takes."""
    return [Place(*claim[:3]) for claim in entry.all_claims()] + _session_of(entry)


def _session_of(slot: Proposal | Entry | Reserved | Moved) -> list[Place]:
    if slot.seats is None:
        return []
    return [Place((slot.event_type, slot.start), slot.start, slot.start + 1)]
