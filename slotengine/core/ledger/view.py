"""What one decision sees: the ledger as of a moment, without the reservation that moves.

A hold that has lapsed may still stand in the timelines, because it is not marked yet.
A view ignores such a hold and leaves it in place, so reading and deciding change
nothing.  `View.lapsed_in` finds the lapsed holds that have to be marked before a
decision is applied.

A view also includes what earlier requests of the same batch were given (`Batch`).
That is in no timeline yet.

Knows nothing of verbs, keys or hours.  Times are UTC microseconds and spans half-open.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.obstruction import Standing, steps
from slotengine.core.ledger.reservation import (
    Claim,
    Entries,
    Entry,
    Placement,
    Reservable,
    Session,
)
from slotengine.core.ledger.resource import NO_TURNS, Turns
from slotengine.core.ledger.store import Rows
from slotengine.core.ledger.timeline import END_OF_TIME, NO_ROOM, START_OF_TIME, Taken
from slotengine.core.ledger.waitlist import NEWCOMER

if TYPE_CHECKING:
    from slotengine.core.ledger.expiry import ExpiryQueue

BACKLOG: Final = 512
"""The most lapsed holds that are subtracted from the counts of what stands.

If there are more, live claims are counted one by one on each resource."""

Key = tuple[str, int]
"""The identity of a session: its event type and its start."""


class Batch:
    """What earlier requests of a batch were given, for the decisions on the later ones."""

    __slots__ = ("_claims", "_members", "_opened", "entries", "rows")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        """Where its reservations are: rows of its own, as none of them is decided yet."""
        self.entries: list[Entry] = []
        self._claims: dict[str, list[Standing]] = {}
        self._members: dict[Key, dict[str, Entry]] = {}
        self._opened: dict[Key, Session] = {}

    def add(self, entry: Entry, joined: Session | None) -> None:
        """Add a reservation that was accepted, and the session that it ``joined``, if any."""
        self.entries.append(entry)
        owner: Entry | Session = entry
        if entry.seats is not None:
            key = entry.session_key
            members = self._members.setdefault(key, {})
            members[entry.uid] = entry
            if joined is not None:
                return
            claims = entry.all_claims()
            owner = self._opened[key] = Session(key, entry.start, entry.end, claims, entry.created)
            owner.members = members
        for name, start, end, units in entry.all_claims():
            self._claims.setdefault(name, []).append(Taken(start, end, units, owner))

    def clear(self) -> None:
        """Empty the batch, when it is applied or refused."""
        self.entries.clear()
        self._claims.clear()
        self._members.clear()
        self._opened.clear()

    def taken(self, resource: str, start: int, end: int) -> list[Standing]:
        """Return the claims of the batch on a resource in a span."""
        claims = self._claims.get(resource, ())
        return [one for one in claims if one.start < end and start < one.end]

    def of_holder(self, holder: str) -> list[Entry]:
        """Return the reservations of a holder."""
        return [entry for entry in self.entries if entry.holder == holder]

    def members(self, key: Key) -> dict[str, Entry]:
        """Return the reservations of the batch in a session, by uid."""
        return self._members.get(key, {})

    def opened(self, key: Key) -> Session | None:
        """Return the session that the batch opens, if it opens one."""
        return self._opened.get(key)


NO_BATCH: Final = Batch(Rows())


class View:
    """The ledger as of ``now``, without ``own``, and with what a ``batch`` was given.

    A view is made for one question.  It is valid until the ledger next changes.
    """

    __slots__ = (
        "_entries",
        "_gone",
        "_lapsed",
        "_queue",
        "_sessions",
        "batch",
        "keep",
        "now",
        "own",
        "swept",
        "ticket",
    )

    def __init__(
        self,
        entries: Entries,
        sessions: Mapping[Key, Session],
        queue: ExpiryQueue,
        now: int,
        own: Entry | None = None,
        batch: Batch = NO_BATCH,
        keep: Collection[str] = (),
        ticket: int = NEWCOMER,
    ) -> None:
        self._entries = entries
        self._sessions = sessions
        self._queue = queue
        self.now = now
        self.own = own
        self.batch = batch
        self.keep = keep
        """Resources that take precedence over those whose turn it is."""
        self.ticket = ticket
        """The place on the waitlist: earlier tickets come first."""
        self.swept = queue.due > now
        """Whether no lapsed hold stands in a timeline."""
        # Worked out when first asked for: what has lapsed, and what does not count of a resource.
        self._lapsed: list[Entry] | None = None
        self._gone: dict[str, list[Entry | Session]] | None = None

    def at(self, now: int) -> View:
        """Return the same view as of another moment."""
        return View(
            self._entries, self._sessions, self._queue, now, self.own, self.batch, self.keep,
            self.ticket,
        )  # fmt: skip

    def is_plain(self) -> bool:
        """Return whether all that stands is live and counts, and nothing else does."""
        return self.swept and self.own is None and not self.batch.entries

    # --- Room ------------------------------------------------------------------------

    def fits(self, resource: Reservable, start: int, end: int, units: int) -> bool:
        """Return whether the units are free at every instant of a span.

        O(log n), and O(b log b) for b claims that the batch has on the resource.  If there
        is room only where something has lapsed, O(log n + k log k) for k claims there.
        """
        if resource.busy and resource.is_busy(start, end):
            return False
        if units > resource.capacity:  # there were more units when an expired hold was made
            return False
        if self.own is None and not self.batch.entries:
            if resource.timeline.room(start, end, units) != NO_ROOM:
                return True
            if self.swept:
                return False
        capacity = resource.capacity
        for low, high, is_certain in self.tight(resource, start, end, units):
            if is_certain and self.swept:
                return False
            if not _fits_beside(self.live_in(resource, low, high), low, high, units, capacity):
                return False
        return True

    def tight(
        self, resource: Reservable, start: int, end: int, units: int
    ) -> Iterator[tuple[int, int, bool]]:
        """Yield the parts of a span with no room beside all that stands, lapsed or not.

        The reservation that moves does not count, and what the batch was given does.  Each
        part comes with whether that is certain; if not, the claims in the part decide.
        O((b + 1) log n) for b claims of the batch in the span.
        """
        capacity = resource.capacity
        mine = self._vacated(resource.id)
        edges = {start, end}
        if mine is not None:
            edges |= {min(max(edge, start), end) for edge in (mine.start, mine.end)}
        for low, high in pairwise(sorted(edges)):
            left = 0 if mine is None or not mine.start <= low < mine.end else mine.units
            given = self.batch.taken(resource.id, low, high) if self.batch.entries else []
            levels = steps(given, low, high) if given else []
            bounds = sorted({low, high, *(edge for one in levels for edge in one[:2])})
            level_at = {one.start: one.units for one in levels}
            for first, last in pairwise(bounds):
                wanted = units + level_at.get(first, 0) - left
                room = resource.timeline.room(first, last, wanted)
                # A timeline of one unit does not count units, so ``left`` cannot be subtracted.
                if wanted > capacity or room == NO_ROOM:
                    yield first, last, not left or capacity > 1

    def _vacated(self, resource: str) -> Claim | None:
        """Return the claim on a resource that stands there only for what moves, if any."""
        own = self.own
        if own is None or (own.session is not None and len(own.session.members) > 1):
            return None
        return next((claim for claim in own.all_claims() if claim.resource == resource), None)

    def live_in(self, resource: Reservable, start: int, end: int) -> list[Standing]:
        """Return what is live in a span, in order of start.  O(log n + k)."""
        live = self.live_among(resource.overlapping(start, end))
        given = self.batch.taken(resource.id, start, end) if self.batch.entries else []
        return sorted([*live, *given], key=_start) if given else live

    def live_among(self, standing: list[Standing]) -> list[Standing]:
        now, own = self.now, self.own
        if own is None:
            return standing if self.swept else [one for one in standing if one.owner.until > now]
        return [one for one in standing if one.owner.until_without(own) > now]

    def lapsed_in(self, resource: Reservable, start: int, end: int) -> list[Entry]:
        """Return the holds that have lapsed by now, but still stand in a span."""
        found: list[Entry] = []
        for taken in resource.overlapping(start, end):
            owner = taken.owner
            if isinstance(owner, Session):
                found += self.lapsed_members(owner)
            elif owner.until <= self.now and owner != self.own:
                found.append(owner)
        return found

    # --- Sessions --------------------------------------------------------------------

    def session(self, slot: Placement) -> Session | None:
        """Return the live session of a slot's event type and start, with its live members.

        What moves may be among the members, but its seats do not count.  O(1), or O(m) for
        m members while some hold has lapsed.
        """
        assert slot.event_type is not None
        key = slot.event_type, slot.start
        session = self._sessions.get(key)
        if self.is_plain():
            return session
        given = self.batch.members(key)
        live: MutableMapping[str, Entry] = {}
        taken = left = 0
        if session is not None:
            live, taken = session.members, session.taken
            if not self.swept:
                members = session.members.items()
                live = {uid: one for uid, one in members if one.until > self.now}
                taken = sum(one.seats_wanted for one in live.values())
            if self.own is not None and self.own.uid in live:
                taken -= self.own.seats_wanted
                left = 1
            if taken == session.taken and not given:
                return session
        opened = session if len(live) > left else self.batch.opened(key)
        if opened is None:
            return None
        seen = Session(key, opened.start, opened.end, opened.claims, opened.created)
        seen.members = ChainMap({}, given, live)
        seen.taken = taken + sum(one.seats_wanted for one in given.values())
        return seen

    def lapsed_members(self, session: Session) -> list[Entry]:
        """Return the members of a session whose holds have lapsed."""
        members = session.members.values()
        return [one for one in members if one.until <= self.now and one != self.own]

    # --- Loads and turns -------------------------------------------------------------

    def load(self, resource: Reservable, within: tuple[int, int] | None) -> int:
        """Return how many live claims there are on a resource, in all or in a span.

        O(1) for all if little has lapsed, else as `live_in`.
        """
        if within is None:
            gone = self._gone_from(resource)
            if gone is not None:
                given = self.batch.taken(resource.id, START_OF_TIME, END_OF_TIME)
                return resource.load - len(gone) + len(given)
        return len(self.live_in(resource, *(within or (START_OF_TIME, END_OF_TIME))))

    def turns(self, resource: Reservable, event_type: str) -> Turns:
        """Return how many live claims of an event type there are, and when the latest was made.

        O(log n) on a resource whose turns are counted, if little has lapsed; else O(n).
        """
        counted = resource.turn_times
        if counted is not None and self.is_plain():
            times = counted.get(event_type)
            return Turns(len(times), times[-1]) if times else NO_TURNS
        gone = self._gone_from(resource)
        if counted is None or gone is None:
            return _turns_of(self.live_in(resource, START_OF_TIME, END_OF_TIME), event_type)
        created = counted.get(event_type, ())
        skipped = Counter(owner.created for owner in gone if owner.event_type == event_type)
        load, latest = len(created) - skipped.total(), NO_TURNS.latest
        for moment in reversed(created):
            if not skipped[moment]:
                latest = moment
                break
            skipped[moment] -= 1
        given = self.batch.taken(resource.id, START_OF_TIME, END_OF_TIME)
        theirs = _turns_of(given, event_type)
        return Turns(load + theirs.load, max(latest, theirs.latest))

    def _gone_from(self, resource: Reservable) -> Sequence[Entry | Session] | None:
        """Return what stands on a resource but is not live; None if too much has lapsed."""
        if self.swept and self.own is None:
            return ()
        if self._lapsed is None or self._gone is None:
            self._gone = {}
            lapsed = self._queue.lapsed(self.now, BACKLOG + 1)
            self._lapsed = list(map(self._entries.at, lapsed))
            own = [] if self.own is None else [self.own]
            for owner in {entry.session or entry: None for entry in (*self._lapsed, *own)}:
                if owner.until_without(self.own) <= self.now:
                    for claim in owner.all_claims():
                        self._gone.setdefault(claim.resource, []).append(owner)
        return None if len(self._lapsed) > BACKLOG else self._gone.get(resource.id, ())


def _turns_of(standing: Sequence[Standing], event_type: str) -> Turns:
    created = [one.owner.created for one in standing if one.owner.event_type == event_type]
    return Turns(len(created), max(created)) if created else NO_TURNS


def _fits_beside(taken: list[Standing], start: int, end: int, units: int, capacity: int) -> bool:
    """Return whether units are left of a capacity at every instant, beside what is taken."""
    left = capacity - units
    if sum(one.units for one in taken) <= left:
        return True
    if all(one.start <= start and end <= one.end for one in taken):
        return False  # all of it at all instants, as with limits, which may have thousands
    return max(step.units for step in steps(taken, start, end)) <= left


def _start(taken: Standing) -> int:
    return taken.start
