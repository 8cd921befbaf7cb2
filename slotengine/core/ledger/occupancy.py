"""Who stands where: every resource, every shared session, and the claims upon them.

This is where "may this span be had?" is decided, and which of several resources
it is to be.  Deciding (`decide`) reads, through a `View` that looks past what has
lapsed; `put` and `unplace` write, and cannot refuse.

Knows nothing of verbs, keys or uids.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, TypeAlias

from sortedcontainers import SortedList

from slotengine.core.ledger.checks import check_name, check_span
from slotengine.core.ledger.config import RESOURCE
from slotengine.core.ledger.obstruction import (
    Finder,
    Obstacle,
    claim_obstruction,
    free_from,
    imported_obstacles,
    obstacles,
    session_obstruction,
)
from slotengine.core.ledger.policy import by_turn
from slotengine.core.ledger.proposal import Pool, Proposal, Slotted
from slotengine.core.ledger.reservation import (
    UNDYING,
    Claim,
    Entries,
    Entry,
    Placement,
    Reservable,
    Session,
    is_limit,
)
from slotengine.core.ledger.resource import Resource
from slotengine.core.ledger.store import (
    END,
    OTHER_CLAIMS,
    START,
    TAKES,
    UNTIL,
)
from slotengine.core.ledger.timeline import END_OF_TIME, START_OF_TIME, CountedTimeline
from slotengine.core.ledger.uids import session_uid
from slotengine.core.ledger.view import NO_BATCH, Batch, View
from slotengine.core.ledger.waitlist import NEWCOMER
from slotengine.core.time.instant import from_us
from slotengine.core.time.interval import joined
from slotengine.errors import (
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    Obstruction,
    OutsideHours,
    Refused,
    Retired,
    SlotTaken,
    TooManyUnits,
    UnknownResource,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.expiry import ExpiryQueue
    from slotengine.core.ledger.store import Rows
    from slotengine.core.time.interval import Span
    from slotengine.core.time.schedule import Windows


ImportedSpans: TypeAlias = "tuple[tuple[str, tuple[Span, ...]], ...]"
"""Spans in which resources are busy, by the id of the resource."""


class Occupancy:
    """Resources, sessions, and what is taken of them.

    ``rows`` has the reservations, and ``queue`` knows which holds lapse next.  ``now`` tells the
    latest time seen, for refusals whose details are read later.
    """

    def __init__(self, rows: Rows, queue: ExpiryQueue, now: Callable[[], int]) -> None:
        self._rows = rows
        self._entries = Entries(rows)
        self.resources: dict[str, Reservable] = {}
        self.limits: dict[str, Reservable] = {}
        """Limits, each as a resource of so many units; apart, so that nobody else finds them."""
        self.sessions: dict[tuple[str, int], Session] = {}
        # By their numbers in the timelines: -1 of the first that was ever opened, -2 of the next.
        self._sessions_by_number: dict[int, Session] = {}
        self._opened = 0
        # Bound once: resources share it, and there may be very many of them.
        self._find_owner = self.owner_of
        # When they begin, of each event type that has any.
        self._sessions_of: dict[str, SortedList[int]] = {}
        self._sources: dict[str, frozenset[str]] = {}  # who is said to be busy, by whom
        self._queue = queue
        self._now = now
        self._finder = Finder(self.obstruction, self.only_holds)
        self.span_finder = Finder(self._span_obstruction, self._only_holds_in_span)
        """Of refusals of a span on one resource, which make no slot unless they are read."""

    # --- Resources -------------------------------------------------------------------

    def add_resource(self, id: str, capacity: int) -> Reservable:
        """Add a resource, of which nothing is taken, and return it."""
        resource = self.resources[id] = Resource(id, self._find_owner, capacity)
        resource.number = self._rows.add_resource(id, resource)
        return resource

    def remove_resource(self, id: str) -> None:
        """Remove a resource, of which nothing is taken any more."""
        del self.resources[id]
        self._rows.remove_resource(id)

    def add_limit(self, id: str, units: int) -> Reservable:
        """Add a limit, of which nothing is taken, and return it."""
        limit = self.limits[id] = Resource(id, self._find_owner, units)
        limit.timeline = CountedTimeline(units)  # also of one unit: its place is no matter
        return limit

    def owner_of(self, number: int) -> Entry | Session:
        """Return the reservation or session that is called so in the timelines.  O(1)."""
        return self._entries.at(number) if number >= 0 else self._sessions_by_number[number]

    def untils(self, numbers: Iterable[int]) -> list[int]:
        """Return when what is called so in the timelines lapses; as `owner_of`, but cheaper."""
        numbers_of_rows, sessions = self._rows.numbers, self._sessions_by_number
        return [
            numbers_of_rows[number + UNTIL] if number >= 0 else sessions[number].until
            for number in numbers
        ]

    def sources(self) -> list[str]:
        """Return who says that resources are busy, in order."""
        return sorted(name for name in self._sources if self.imported_from(name))

    def imported_from(self, source: str) -> ImportedSpans:
        """Return the spans that a source says resources are busy.  O(k) for k spans."""
        # A resource may have been removed since, and even have been added again.
        names = sorted(self._sources.get(source, frozenset()) & self.resources.keys())
        found = ((name, self.resources[name].spans_of(source)) for name in names)
        return tuple((name, spans) for name, spans in found if spans)

    def spans_to_import(self, source: str, spans: ImportedSpans) -> ImportedSpans:
        """Return spans of resources as they are kept: in order, and joined where they touch.

        Raises `InvalidField` or `UnknownResource`.
        """
        check_name("source", source)
        found: dict[str, tuple[Span, ...]] = {}
        for name, theirs in spans:
            self.resource(name)
            edges = joined(_checked(theirs))
            if edges:
                found[name] = tuple(zip(edges[::2], edges[1::2], strict=True))
        return tuple(sorted(found.items()))

    def resource(self, id: str) -> Reservable:
        """Return a resource.  Raises `UnknownResource`."""
        try:
            return self.resources[id]
        except (KeyError, TypeError):
            raise UnknownResource(id) from None

    def check(self, proposal: Proposal) -> None:
        """Raise unless the proposal makes sense, given these resources."""
        proposal.check()
        resources = self.resources
        for name, _, _, units in proposal.all_claims() if proposal.pools else proposal.claims:
            try:
                most = resources[name].capacity
            except KeyError:
                raise UnknownResource(name) from None
            if units > most:
                raise TooManyUnits(name, units, most)

    def view(
        self,
        now: int,
        own: Entry | None = None,
        batch: Batch = NO_BATCH,
        keep: Collection[str] = (),
        ticket: int = NEWCOMER,
    ) -> View:
        """Return what a decision sees: see `View`.  O(1)."""
        return View(self._entries, self.sessions, self._queue, now, own, batch, keep, ticket)

    def _claimed(self, name: str) -> Reservable:
        """Return the resource, or the limit, of a claim that was decided."""
        found = self.resources.get(name)
        return self.limits[name] if found is None else found

    # --- Deciding: reads, and may refuse ---------------------------------------------

    def decide(self, proposal: Proposal, view: View) -> Slotted:
        """Return what the proposal gets, with one claim of each pool, or refuse.

        Fixed claims come first, then each pool, then limits.  O(c log n) for c claims,
        and O(p log p) for p of a pool.

        Raises `OutsideHours`, `SlotTaken`, `NoSeatsLeft`, `NoneFree` or `LimitReached`.
        """
        resources, limits, closed = self.resources, proposal.limits, proposal.closed
        # Mostly the proposal itself says what it gets: making a placement would cost 0.25 µs.
        slot: Slotted = proposal
        if proposal.seats is not None or proposal.pools or limits:
            slot = asked = proposal.slot()
            if asked.seats is not None:
                session = self._joined(proposal, asked, view)
                if session is not None:
                    return asked._replace(claims=session.claims)
        # All hours before any room, so that nobody is told what stands where they may not be.
        for claim in proposal.claims:
            self._check_hours(claim, slot, closed)
        if limits:
            slot = slot._replace(claims=slot.claims + limits)
        for claim in proposal.claims:
            name, start, end, units = claim
            if not view.fits(resources[name], start, end, units):
                raise SlotTaken(name, self._finder, name, slot, view)
        if proposal.pools:
            claims = proposal.claims
            for pool in proposal.pools:
                claims += (self.pick(pool, proposal, view),)
            slot = slot._replace(claims=claims + limits)
        if limits:
            reached = self.limit_reached(limits, view)
            if reached is not None:
                raise LimitReached(reached, self._finder, reached, slot, view)
        return slot

    def limit_reached(self, claims: tuple[Claim, ...], view: View) -> str | None:
        """Return the first limit of which there is not as much left as is claimed, if any.

        O(log n) each.
        """
        for name, start, end, units in claims:
            # More units than there are, such as ninety minutes of sixty a day, never fit.
            if not view.fits(self.limits[name], start, end, units):
                return name
        return None

    def exceeds_limits(self, proposal: Proposal) -> bool:
        """Return whether a proposal takes more of a limit than there is, whoever gives up what."""
        return any(claim.units > self.limits[claim.resource].capacity for claim in proposal.limits)

    def adopted(self, proposal: Proposal, view: View) -> Placement:
        """Return what a proposal gets if it stands whatever is in its way.

        It joins the session of its event type and start, though all seats are taken;
        but if that has other hosts or another end, it stands by itself.
        """
        slot = proposal.slot()
        if slot.seats is not None:
            session = view.session(slot)
            if session is not None:
                hosts = frozenset(claim.resource for claim in slot.claims)
                theirs = {one.resource for one in session.claims if not is_limit(one.resource)}
                if session.end == slot.end and theirs == hosts:
                    return slot._replace(claims=session.claims)
                slot = slot._replace(seats=None)
        return slot._replace(claims=slot.claims + proposal.limits)

    def closed(self, proposal: Proposal, now: int) -> Refused | None:
        """Return why a proposal can never be had, whoever gives up what; None if hours admit it.

        Because a fixed resource, or all of a pool, are closed; in the way of one who
        could join a session that is not.  O(c log n) for c claims.
        """
        slot = proposal.slot()
        if slot.seats is not None and self.is_joinable(slot, now):
            return None
        try:
            for claim in proposal.claims:
                self._check_hours(claim, slot, proposal.closed)
            for pool in proposal.pools:
                self._check_hours_of_pool(pool, slot, proposal.closed)
        except (OutsideHours, Retired, NoneFree) as refusal:
            return refusal
        return None

    def is_joinable(self, slot: Placement, now: int) -> bool:
        """Return whether a slot is that of a live session, with seats left or not."""
        assert slot.event_type is not None
        session = self.sessions.get((slot.event_type, slot.start))
        return (
            session is not None
            and session.until > now
            and session.end == slot.end
            and session.is_among(slot.hosts)
        )

    def _check_hours_of_pool(
        self, pool: Pool, slot: Placement, closed: tuple[str, ...] | None
    ) -> None:
        """Raise unless somebody of a pool is open."""
        refusals: list[Refused] = []
        for claim in pool.claims:
            try:
                self._check_hours(claim, slot, closed)
            except (OutsideHours, Retired) as refusal:
                refusals.append(refusal)
            else:
                return
        raise refusals[0] if len(refusals) == 1 else NoneFree(tuple(refusals))

    def _check_hours(self, claim: Claim, slot: Slotted, closed: tuple[str, ...] | None) -> None:
        """Raise unless a resource is not retired, and open for a slot."""
        resource = self.resources[claim.resource]
        if resource.retired:
            raise _retired(claim)
        if closed is not None:
            is_open = claim.resource not in closed
        else:
            hours = resource.schedule
            is_open = hours is None or hours.covers(slot.start, slot.end)
        if not is_open:
            raise _outside_hours(claim, slot)

    def pick(self, pool: Pool, proposal: Proposal, view: View) -> Claim:
        """Return the claim of the first in turn that can be had.

        Resources that the view is to keep are preferred to whose turn it is.
        """
        slot = proposal.slot()
        closed = None if proposal.closed is None else frozenset(proposal.closed)
        outside: list[int] = []
        # Turns are worked out only if somebody can be had, and each is looked at once.
        first = self._first_free(pool, slot, closed, range(len(pool.claims)), view, outside)
        if first is None:
            if len(pool.claims) == 1:
                raise self._refusals(pool, slot, view, outside)[0]
            raise NoneFree(self._refusals, pool, slot, view, outside)
        turns = self.turns(pool, slot.event_type, view)
        order = [i for i in turns if i >= first] if first else turns
        found = self._first_free(pool, slot, closed, order, view, outside)
        assert found is not None
        return pool.claims[found]

    def _first_free(
        self,
        pool: Pool,
        slot: Placement,
        closed: frozenset[str] | None,
        order: Iterable[int],
        view: View,
        outside: list[int],
    ) -> int | None:
        """Return the first of a pool that can be had, and note who is not open, or retired."""
        start, end = slot.start, slot.end
        hours: Windows | None = None
        is_open = True
        for i in order:
            name, low, high, units = pool.claims[i]
            resource = self.resources[name]
            if closed is not None:
                is_open = name not in closed
            elif resource.schedule is not hours:  # nearly always the same for all
                hours = resource.schedule
                is_open = hours is None or hours.covers(start, end)
            if resource.retired or not is_open:
                outside.append(i)
            elif view.fits(resource, low, high, units):
                return i
        return None

    def _refusals(
        self, pool: Pool, slot: Placement, view: View, outside: Collection[int]
    ) -> tuple[Refused, ...]:
        """Return why nobody of a pool could be had, one by one."""
        closed = frozenset(outside)
        return tuple(
            (
                _retired(claim)
                if self.resources[claim.resource].retired
                else _outside_hours(claim, slot)
            )
            if i in closed
            else SlotTaken(
                claim.resource,
                self._finder,
                claim.resource,
                slot._replace(claims=(*slot.claims, claim)),
                view,
            )
            for i, claim in enumerate(pool.claims)
        )

    def turns(self, pool: Pool, event_type: str | None, view: View) -> list[int]:
        """Return the indexes of a pool, whoever's turn it is first."""
        assert event_type is not None
        found = [self.resources[claim.resource] for claim in pool.claims]
        if len(found) == 1:
            return [0]
        turns = [view.turns(one, event_type) for one in found]
        weights = pool.weights or (1,) * len(found)
        loads = [one.load for one in turns]
        if pool.credits is not None:
            loads = list(map(add, loads, pool.credits))
        order = by_turn(loads, weights, [one.latest for one in turns])
        if view.keep:
            order.sort(key=lambda i: found[i].id not in view.keep)
        return order

    def _joined(self, proposal: Proposal, slot: Placement, view: View) -> Session | None:
        """Return the live session for the slot, if there is one; raise if one cannot join that.

        Who joins a session takes it as it is, hours and all, if its hosts will do.
        """
        assert slot.seats is not None
        session = view.session(slot)
        if session is None:
            return None
        asked = slot._replace(claims=slot.claims + proposal.limits)
        most = slot.seats.total - slot.seats.wanted
        resource = session.claims[0].resource
        if session.end != slot.end or not session.is_among(slot.hosts):
            raise SlotTaken(resource, self._finder, resource, asked, view)
        if session.taken > most:
            raise NoSeatsLeft(resource, self._finder, resource, asked, view)
        return session

    def lapsed_in_the_way(self, slot: Slotted, view: View) -> list[Entry]:
        """Return the lapsed holds that have to be marked before a slot is taken.

        These are the lapsed members of its session, and the lapsed holds on its claims
        where there is no room beside them.  O(c (log n + k)) for c claims, with k others
        in the span of each.
        """
        found: list[Entry] = []
        if slot.seats is not None:
            session = self.sessions.get((slot.event_type, slot.start))  # type: ignore[arg-type]
            if session is not None:
                found += view.lapsed_members(session)
            if view.session(_asked(slot)) is not None:
                return found  # it takes nothing but seats
        for name, start, end, units in slot.claims:
            resource = self._claimed(name)
            # A year's limit has many claims: they are gone through only if there is need.
            for low, high, _ in view.tight(resource, start, end, units):
                found += view.lapsed_in(resource, low, high)
        return found

    # --- Applying: writes, and cannot refuse -----------------------------------------

    def put(self, entry: Entry) -> None:
        """Let the claims of an entry, which fit, stand in the timelines."""
        entry.placed = True
        resource = entry.resource
        if resource is not None:
            start, end = entry.start, entry.end
            resource.take(resource.timeline.room(start, end, 1), start, end, 1, entry)
            return
        seats = entry.seats
        if seats is None:
            self.occupy(entry.all_claims(), entry)
        else:
            self._seat(entry, seats.wanted)

    def unplace_row(self, row: int) -> None:
        """Take the claims of a row, which stand there, out of the timelines: as `unplace`.

        The usual reservation is made cheap.  Whoever calls this writes the row's word, and
        with it that nothing stands there any more.
        """
        numbers, resource = self._rows.numbers, self._rows.numbers[row + TAKES]
        if resource == OTHER_CLAIMS or self._rows.resources[resource].turn_times is not None:
            self.unplace(self._entries.at(row))
            return
        timeline = self._rows.resources[resource].timeline
        timeline.remove(numbers[row + START], numbers[row + END], 1, row)

    def unplace(self, entry: Entry) -> None:
        """Take the claims of an entry, which stand there, out of the timelines."""
        entry.placed = False
        resource = entry.resource
        if resource is not None:
            resource.give_back(entry.start, entry.end, 1, entry)
            return
        session = entry.session
        if session is not None:
            self._unseat(entry, session)
        else:
            self._vacate(entry.all_claims(), entry)

    def replace_busy(self, source: str, spans: Mapping[str, tuple[Span, ...]]) -> None:
        """Let these be the spans that a source says are busy, and nothing else.

        O(k log n) for k spans that it said and says, and what others say beneath.
        """
        before = self._sources.pop(source, frozenset())
        for name in before & self.resources.keys() | spans.keys():  # some may be removed by now
            edges = tuple(chain.from_iterable(spans.get(name, ())))
            self.resources[name].replace_busy(source, edges)
        if spans:
            self._sources[source] = frozenset(spans)

    def count(self, limits: tuple[Claim, ...], entry: Entry) -> None:
        """Let claims on limits stand, of which there is as much left.  O(log n) each."""
        for name, start, end, units in limits:
            limit = self.limits[name]
            limit.take(limit.timeline.room(start, end, units), start, end, units, entry)

    def occupy(self, claims: tuple[Claim, ...], owner: Entry | Session) -> None:
        """Let claims, which fit, stand in the timelines."""
        for name, start, end, units in claims:
            found = self._claimed(name)
            found.take(found.timeline.room(start, end, units), start, end, units, owner)

    def _vacate(self, claims: tuple[Claim, ...], owner: Entry | Session) -> None:
        for name, start, end, units in claims:
            self._claimed(name).give_back(start, end, units, owner)

    def _seat(self, entry: Entry, wanted: int) -> None:
        """Let an entry join its session, and open the session if it is the first."""
        key, uid = entry.session_key, entry.uid
        session = self.sessions.get(key)
        if session is None:
            claims = entry.all_claims()
            theirs = session_uid(uid, entry.version, claims[0].resource)
            session = self.open(key, entry.end, claims, entry.created, theirs)
        else:
            entry.claims = session.claims  # it may be with another host than the one proposed
        session.members[uid] = entry
        session.taken += wanted
        entry.session = session

    def _unseat(self, entry: Entry, session: Session) -> None:
        del session.members[entry.uid]
        session.taken -= entry.seats_wanted
        entry.session = None
        if not session.members:
            self._close(session)

    def open(
        self, key: tuple[str, int], end: int, claims: tuple[Claim, ...], created: int, uid: str
    ) -> Session:
        """Let a session stand, which has no members yet."""
        event_type, start = key
        self._opened += 1
        session = Session(key, start, end, claims, created, uid, -self._opened)
        self.sessions[key] = self._sessions_by_number[session.number] = session
        self._sessions_of.setdefault(event_type, SortedList()).add(start)
        self.occupy(claims, session)
        return session

    def _close(self, session: Session) -> None:
        event_type, start = session.key
        del self.sessions[session.key]
        del self._sessions_by_number[session.number]
        starts = self._sessions_of[event_type]
        starts.remove(start)
        if not starts:
            del self._sessions_of[event_type]
        self._vacate(session.claims, session)

    # --- Reading ---------------------------------------------------------------------

    def sessions_in(self, event_type: str, start: int, end: int) -> Iterator[Session]:
        """Yield the sessions of an event type that begin in a span, in order.  O(log n + k)."""
        starts = self._sessions_of.get(event_type)
        if starts is not None:
            for begins in starts.irange(start, end, (True, False)):
                yield self.sessions[event_type, begins]

    # --- Explaining a refusal, when somebody asks ------------------------------------

    def obstruction(self, refused: str, slot: Slotted, view: View) -> Obstruction:
        """Return what is in the way of a slot, as a view has it, but as of now."""
        now, own = max(view.now, self._now()), view.own
        view = view.at(now)
        session = None if slot.seats is None else view.session(_asked(slot))
        free_at = now
        where = slot.claims[0] if slot.claims else Claim(refused, slot.start, slot.end)
        what: list[Obstacle] = []
        for claim in slot.claims:
            resource = self._claimed(claim.resource)
            standing = view.live_in(resource, claim.start, claim.end)
            if session is not None:
                standing = [one for one in standing if not session.is_one_with(one.owner)]
            in_the_way = obstacles(standing, claim.resource, own)
            if resource.busy:
                busy = resource.busy_in(claim.start, claim.end)
                in_the_way += imported_obstacles(busy, resource.capacity)
            free_at = max(free_at, free_from(in_the_way, claim, resource.capacity, now))
            if claim.resource == refused:
                where, what = claim, in_the_way
        if session is not None:
            return session_obstruction(session, slot, now, own, free_at)
        return claim_obstruction(where, what, free_at, now)

    def only_holds(self, refused: str, slot: Slotted, view: View) -> bool:
        """Return whether all that is in the way of a slot lapses, as `obstruction` would tell."""
        if slot.seats is not None:
            return self.obstruction(refused, slot, view).retry_at is not None
        view = view.at(max(view.now, self._now()))
        for claim in slot.claims:
            resource = self._claimed(claim.resource)
            if resource.capacity != 1:
                return self.obstruction(refused, slot, view).retry_at is not None
            if not _only_holds_on(resource, claim.start, claim.end, view):
                return False
        return True

    def _span_obstruction(
        self, refused: str, resource: str, start: int, end: int, limits: tuple[Claim, ...]
    ) -> Obstruction:
        slot = Placement(start, end, (Claim(resource, start, end), *limits), None, None)
        return self.obstruction(refused, slot, self.view(self._now()))

    def _only_holds_in_span(
        self, refused: str, resource: str, start: int, end: int, limits: tuple[Claim, ...]
    ) -> bool:
        found = self.resources[resource]
        if limits or found.capacity != 1:
            return (
                self._span_obstruction(refused, resource, start, end, limits).retry_at is not None
            )
        return _only_holds_on(found, start, end, self.view(self._now()))

    # --- Invariants ------------------------------------------------------------------

    def standing(self) -> Iterator[tuple[Entry, Claim]]:
        """Yield every claim that stands, for each entry that has it.  O(n)."""
        for resource in (*self.resources.values(), *self.limits.values()):
            for start, end, units, owner in resource.overlapping(START_OF_TIME, END_OF_TIME):
                for member in _behind(owner):
                    yield member, Claim(resource.id, start, end, units)

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n log n); for tests and simulation."""
        for resource in (*self.resources.values(), *self.limits.values()):
            resource.check_invariants()
        for entry, claim in self.standing():
            assert entry.placed
            assert claim in entry.all_claims()
        opened = [(name, start) for name, starts in self._sessions_of.items() for start in starts]
        assert sorted(opened) == sorted(self.sessions)
        assert all(self._sessions_of.values())
        for key, session in self.sessions.items():
            assert key == session.key
            assert session.members
            assert session.taken == sum(one.seats_wanted for one in session.members.values())
            assert all(one.session is session for one in session.members.values())
            assert self._sessions_by_number[session.number] is session
        assert len(self._sessions_by_number) == len(self.sessions)


def _asked(slot: Slotted) -> Placement:
    return slot.slot() if isinstance(slot, Proposal) else slot


def _only_holds_on(resource: Reservable, start: int, end: int, view: View) -> bool:
    if resource.busy and resource.is_busy(start, end):
        return False
    live = view.live_in(resource, start, end)
    return all(one.owner.until_without(view.own) < UNDYING for one in live)


def _retired(claim: Claim) -> Retired:
    return Retired(RESOURCE, claim.resource)


def _outside_hours(claim: Claim, slot: Slotted) -> OutsideHours:
    return OutsideHours(claim.resource, from_us(slot.start), from_us(slot.end))


def live_members(owner: Entry | Session, now: int) -> Iterator[Entry]:
    """Yield the live reservations behind something that stands in a timeline."""
    return (member for member in _behind(owner) if member.until > now)


def _behind(owner: Entry | Session) -> Iterable[Entry]:
    return owner.members.values() if isinstance(owner, Session) else (owner,)


def _checked(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in spans:
        check_span(start, end)
        yield start, end
