"""The heart: decides whether a span can be had, and keeps the books.

Every verb has two halves.  Deciding reads and may refuse; applying writes and
cannot.  Nothing is awaited in between, so one call is one atomic step.  Each
applied change is told to ``on_change``, if anybody listens, and `apply` takes
recorded changes back in: recovery is `apply` in a loop.

Liveness follows from ``until`` alone.  A hold that has lapsed but was not yet
marked may still stand in a timeline; a decision that meets one there takes it
out first (`_clear_lapsed`).  So it never matters whether a sweeper has run.

Knows nothing of clocks: ``now`` comes in with every call, and never goes
backwards (an earlier one is read as the latest seen).  Nor does it make uids.
Times are UTC microseconds, spans are half-open, and durations microseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from slotengine.core.expiry import NEVER, ExpiryQueue
from slotengine.core.instant import from_us
from slotengine.core.obstruction import Busy, Standing, steps
from slotengine.core.occupancy import Occupancy, live_members
from slotengine.core.proposal import (
    Policy,
    Proposal,
    Terms,
    by_preference,
    check_span,
    check_text,
    is_count,
    is_text,
)
from slotengine.core.reservation import (
    BOOKED_UNTIL,
    ENDED,
    NEXT,
    REPEATS,
    Change,
    Claim,
    Entry,
    Seats,
    State,
    Verb,
)
from slotengine.core.schedule import ALWAYS_OPEN
from slotengine.core.timeline import NO_ROOM, START_OF_TIME
from slotengine.errors import (
    HoldExpired,
    InvalidField,
    KeyReused,
    LifeExceeded,
    NoneFree,
    Obstruction,
    OutsideHours,
    Refused,
    SlotTaken,
    StaleVersion,
    UnknownReservation,
    UnknownResource,
    WrongState,
)

if TYPE_CHECKING:
    from slotengine.core.schedule import Windows

    OnChange = Callable[[Verb, Entry, int], None]

HELD: Final = State.HELD  # a module global is found faster than an enum's member
CONFIRMED: Final = State.CONFIRMED

CHORES: Final = 16
"""How many overdue holds, and ended reservations, one call tidies away on the side.

More than one call can add, so the backlog shrinks under any load; few enough
that no caller notices (about 15 µs)."""


class Tally(NamedTuple):
    """How many of everything there is in the books."""

    held: int
    """Holds; those that lapsed but were not marked yet are among them."""
    confirmed: int
    ended: int
    """Released, expired and cancelled reservations that can still be asked about."""
    sessions: int
    resources: int
    accepted: int
    """Reservations ever made."""
    expired: int
    """Holds ever marked as expired."""


class Ledger:
    """Reservations of resources: decided, kept, and ended.

    >>> ledger = Ledger(Terms(default_ttl=300, shortest_ttl=1, longest_ttl=1000))
    >>> ledger.add_resource("room-1")
    >>> hold = ledger.reserve("room-1", 1000, 1030, uid="a", now=0, ttl=300)
    >>> ledger.reserve("room-1", 1029, 1060, uid="b", now=299, ttl=300)
    Traceback (most recent call last):
        ...
    slotengine.errors.SlotTaken: room-1 is taken ...
    >>> ledger.reserve("room-1", 1029, 1060, uid="b", now=300, ttl=300).uid
    'b'
    """

    def __init__(
        self,
        terms: Terms | None = None,
        *,
        on_change: OnChange | None = None,
        chores: int = CHORES,
    ) -> None:
        self.terms = terms or Terms()
        self._chores = chores
        self.on_change = on_change
        self.now = START_OF_TIME
        """The latest time seen: an earlier one is read as this."""
        self._occupancy = Occupancy(lambda: self.now)
        self._resources = self._occupancy.resources  # the same dictionary, one step nearer
        self._entries: dict[str, Entry] = {}
        # What each idempotency key was used for, and what came of it.
        self._keys: dict[str, tuple[tuple[object, ...], Entry]] = {}
        self._queue: ExpiryQueue[Entry] = ExpiryQueue()
        # Ended reservations in the order in which they were marked as such.
        self._ended: deque[Entry] = deque()
        self._confirmed = 0
        self._accepted = 0
        self._shortest_ttl, self._longest_ttl = self.terms.shortest_ttl, self.terms.longest_ttl
        self._retention = self.terms.retention
        self._expired = 0
        self.chores_due = NEVER
        """Before this moment `expire` has nothing to do."""

    # --- Resources -------------------------------------------------------------------

    def add_resource(self, id: str, *, capacity: int = 1, schedule: Windows | None = None) -> None:
        """Make a resource known.

        Raises `InvalidField` if the id is empty or in use, or if there is not
        at least one unit of it.
        """
        self._occupancy.add_resource(id, capacity, schedule)

    # --- Reserve ---------------------------------------------------------------------

    def reserve(
        self,
        resource: str,
        start: int,
        end: int,
        *,
        uid: str,
        now: int,
        ttl: int,
        holder: str | None = None,
        event_type: str | None = None,
    ) -> Entry:
        """Hold one unit of one resource for exactly a span: the usual case, made cheap.

        O(log n).  Raises as `reserve_proposal` does, which see; the rules are
        the same, and what they ask is asked of the same timelines.
        """
        # The helpers that the other verbs call are written out here: a call costs 60 ns, and
        # these eight made up a fifth of the whole.
        if now < self.now:
            now = self.now
        else:
            self.now = now
        if now >= self.chores_due:
            self._do_chores(now, self._chores)
        try:
            found = self._resources[resource]
        except (KeyError, TypeError):
            raise UnknownResource(resource) from None
        if start >= end:
            check_span(start, end)
        if not self._shortest_ttl <= ttl <= self._longest_ttl:
            self.terms.check_ttl(ttl)
        entries = self._entries
        if not uid or uid in entries:
            self._check_uid(uid)
        if holder is not None or event_type is not None:
            check_text("holder", holder)
            check_text("event_type", event_type)
        schedule = found.schedule
        if schedule is not None and not schedule.covers(start, end):
            raise OutsideHours(resource, from_us(start), from_us(end))
        place = found.timeline.room(start, end, 1)
        if place == NO_ROOM:
            if self._queue.due <= now:
                place = self._occupancy.second_look(found, start, end, 1, now)
            if place == NO_ROOM:
                raise SlotTaken(resource, self._span_obstruction, resource, start, end)
        until = now + ttl
        self._accepted += 1
        entry = entries[uid] = Entry(uid, until, now, holder, start, end, found, event_type)
        entry.placed = True
        found.take(place, start, end, 1, entry)
        self._queue.push(entry, ttl)
        if until < self.chores_due:
            self.chores_due = until
        if self.on_change is not None:
            self.on_change(Verb.RESERVE, entry, now)
        return entry

    def _span_obstruction(self, resource: str, start: int, end: int) -> Obstruction:
        # Later than `reserve`, so that a refusal nobody reads costs no claim either.
        return self._occupancy.obstruction(resource, (Claim(resource, start, end),), None)

    def reserve_proposal(self, proposal: Proposal, *, uid: str, now: int) -> Entry:
        """Hold what is proposed: all its claims or none.

        Accepted if and only if the slot lies inside the windows of every
        claimed resource, and no instant of any occupied span would exceed a
        capacity.  O(c log n) for c claims.

        Raises `SlotTaken`, `NoSeatsLeft`, `OutsideHours`; and for bad input
        `UnknownResource`, `TooManyUnits`, `InvalidTTL`, `KeyReused`, `InvalidField`.
        """
        now = self._advance(now)
        self._check_uid(uid)
        self._check_proposal(proposal)
        known = self._known_key(proposal.key, proposal.fingerprint(), now)
        if known is not None:
            return known
        entry = self._place_new(proposal, uid, now)
        self._admit(entry, proposal.ttl, now, proposal.key, proposal.fingerprint())
        return entry

    def reserve_all(
        self, proposals: Sequence[Proposal], *, uids: Sequence[str], now: int
    ) -> list[Entry]:
        """Hold everything that is proposed, or nothing.

        Later proposals meet the claims of earlier ones.  Raises what
        `reserve_proposal` raises, for the first one that cannot be had.
        """
        now = self._advance(now)
        self._check_batch(proposals, uids, now)
        entries: list[Entry] = []
        fresh: list[tuple[Entry, Proposal]] = []
        try:
            for proposal, uid in zip(proposals, uids, strict=True):
                entry = self._known_key(proposal.key, proposal.fingerprint(), now)
                if entry is None:
                    entry = self._place_new(proposal, uid, now)
                    fresh.append((entry, proposal))
                entries.append(entry)
        except BaseException as error:
            if isinstance(error, SlotTaken):
                _ = error.obstruction  # found before what is in the way may be undone
            for entry, _ in reversed(fresh):
                self._occupancy.unplace(entry)
            raise
        for entry, proposal in fresh:
            self._admit(entry, proposal.ttl, now, proposal.key, proposal.fingerprint())
        return entries

    def reserve_each(
        self, proposals: Sequence[Proposal], *, uids: Sequence[str], now: int
    ) -> list[Entry | Refused]:
        """Hold each of the proposals that can be had, and say of each what came of it."""
        now = self._advance(now)
        self._check_batch(proposals, uids, now)
        results: list[Entry | Refused] = []
        for proposal, uid in zip(proposals, uids, strict=True):
            try:
                results.append(self.reserve_proposal(proposal, uid=uid, now=now))
            except Refused as refusal:
                results.append(refusal)
        return results

    def reserve_any(
        self,
        candidates: Sequence[Proposal],
        *,
        uid: str,
        now: int,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[int, int] | None = None,
        key: str | None = None,
    ) -> Entry:
        """Hold one of several candidates: the one the policy prefers among those that fit.

        The load of a candidate is how many live claims its resources have, in
        all or overlapping the span ``load_in``; resources that all candidates
        share are left out.  Live holds count like bookings.

        Raises `NoneFree`, with the refusal of each candidate; and for bad
        input as `reserve_proposal` does.
        """
        now = self._advance(now)
        self._check_uid(uid)
        self._check_candidates(candidates, weights, policy, load_in)
        if any(proposal.key is not None for proposal in candidates):
            raise InvalidField("key", "belongs to the whole call, not to one candidate")
        check_text("key", key)
        fingerprint = tuple(proposal.fingerprint() for proposal in candidates)
        known = self._known_key(key, fingerprint, now)
        if known is not None:
            return known

        def place(proposal: Proposal) -> tuple[Entry, Proposal]:
            return self._place_new(proposal, uid, now), proposal

        order = self._by_preference(candidates, policy, weights, load_in, now)
        entry, chosen = _first_that_fits(candidates, order, place)
        self._admit(entry, chosen.ttl, now, key, fingerprint)
        return entry

    # --- The life of a reservation -----------------------------------------------------

    def extend(self, uid: str, *, ttl: int, now: int, version: int | None = None) -> Entry:
        """Let a live hold live for ``ttl`` from now.  O(1).

        Raises `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`,
        `LifeExceeded`, `InvalidTTL`.
        """
        now = self._advance(now)
        self.terms.check_ttl(ttl)
        entry = self._known(uid, now)
        self._admits(entry, Verb.EXTEND, now, version)
        self._check_life(entry, now + ttl)
        self._apply_extend(entry, now + ttl, now)
        self._tell(Verb.EXTEND, entry, now)
        return entry

    def move(
        self,
        uid: str,
        proposal: Proposal,
        *,
        now: int,
        renew: bool = False,
        version: int | None = None,
    ) -> Entry:
        """Re-slot a live hold or a booking to what is proposed, keeping its uid.

        Its own claims are not in its way.  With ``renew``, a hold also lives
        for the proposal's TTL from now, in the same step.  The holder stays.
        If it is refused, nothing has changed.

        Raises what `reserve_proposal` and `extend` raise.
        """
        try:
            return self.move_any(uid, [proposal], now=now, renew=renew, version=version)
        except NoneFree as none_free:
            raise none_free.refusals[0] from None

    def move_any(
        self,
        uid: str,
        candidates: Sequence[Proposal],
        *,
        now: int,
        renew: bool = False,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Entry:
        """Re-slot as `move` does, to the candidate the policy prefers among those that fit.

        Its own claims count neither as load nor as in the way.
        """
        now = self._advance(now)
        self._check_candidates(candidates, weights, policy, load_in)
        entry = self._known(uid, now)
        self._admits(entry, Verb.MOVE, now, version)
        renew = renew and entry.state is HELD
        if renew:
            for proposal in candidates:
                self._check_life(entry, now + proposal.ttl)
        before = _Slot.of(entry)
        self._occupancy.unplace(entry)

        def place(proposal: Proposal) -> Proposal:
            self._slot_into(entry, _Slot.of_proposal(proposal))
            self._place(entry, proposal.schedule, now)
            return proposal

        try:
            order = self._by_preference(candidates, policy, weights, load_in, now)
            chosen = _first_that_fits(candidates, order, place)
        except BaseException:
            self._slot_into(entry, before)
            self._occupancy.put(entry)
            raise
        if renew:
            self._requeue(entry, now + chosen.ttl, now)
        entry.version += 1
        self._tell(Verb.MOVE, entry, now)
        return entry

    def confirm(
        self, uid: str, *, now: int, if_still_free: bool = False, version: int | None = None
    ) -> Entry:
        """Turn a live hold into a booking; of a booking, return it as it is.

        With ``if_still_free`` a hold that has expired is confirmed too, if its
        claims are still free: decided anew, in the same step.  Its hours are
        not; it was let in once.

        O(1), or as `reserve_proposal` for an expired one.  Raises
        `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`, and,
        if it is no longer free, `SlotTaken` or `NoSeatsLeft`.
        """
        now = self._advance(now)
        entry = self._known(uid, now)
        if if_still_free and entry.state_at(now) is State.EXPIRED:
            self._admits(entry, Verb.REINSTATE, now, version)
            return self._reinstate(entry, now)
        if self._admits(entry, Verb.CONFIRM, now, version):
            self._apply_confirm(entry)
            self._tell(Verb.CONFIRM, entry, now)
        return entry

    def release(self, uid: str, *, now: int, version: int | None = None) -> Entry:
        """Give a hold up.  Of one that has ended as a hold, return it as it is.  O(log n).

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        booking, which is to be cancelled instead.
        """
        return self._end(uid, Verb.RELEASE, now, version)

    def cancel(self, uid: str, *, now: int, version: int | None = None) -> Entry:
        """Give a booking up.  Of one already cancelled, return it as it is.  O(log n).

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        hold, which is to be released instead.
        """
        return self._end(uid, Verb.CANCEL, now, version)

    def expire(self, now: int, limit: int | None = None) -> int:
        """Mark holds that have lapsed, in order of ``until``, and return how many.

        Also forgets what was retained long enough.  At most ``limit`` of each:
        a caller with others to serve comes back for the rest, while `chores_due`
        has come.
        """
        now = self.look(now)
        return self._do_chores(now, NEVER if limit is None else limit)

    # --- Reading -----------------------------------------------------------------------

    def get(self, uid: str, *, now: int) -> Entry | None:
        """Return a reservation, or None if there never was one or it was forgotten.  O(1).

        Read its state with `Entry.state_at`.
        """
        try:
            return self._known(uid, self.look(now))
        except UnknownReservation:
            return None

    def busy(self, resource: str, start: int, end: int, *, now: int) -> list[Busy]:
        """Return where in the span units are taken, and how many, in order.

        The pieces are cut to the span and as long as can be.  O(log n + k log k)
        for k claims in the span.  Raises `UnknownResource` or `InvalidField`.
        """
        return steps(self._live_in(resource, start, end, now), start, end)

    def is_free(self, proposal: Proposal, *, now: int) -> bool:
        """Return whether the proposal could be had at this moment.  As `reserve_proposal`.

        A decision is a promise; this is only an answer.
        """
        now = self.look(now)
        self._check_proposal(proposal)
        try:
            entry = self._new_entry(proposal, "", now)
            self._occupancy.decide(entry, proposal.schedule, now, swept=self._swept(now))
        except Refused:
            return False
        return True

    def reservations_in(self, resource: str, start: int, end: int, *, now: int) -> list[Entry]:
        """Return the live reservations with a claim on the resource in the span, by start.

        O(log n + k).  Raises `UnknownResource` or `InvalidField`.
        """
        standing = self._live_in(resource, start, end, now)
        return [member for taken in standing for member in live_members(taken.owner, self.now)]

    def _live_in(self, resource: str, start: int, end: int, now: int) -> list[Standing]:
        now = self.look(now)
        check_span(start, end)
        found = self._occupancy.resource(resource)
        return self._occupancy.live_in(found, start, end, now, swept=self._swept(now))

    def next_expiry(self) -> int:
        """Return a moment before which no hold lapses; NEVER if none is held.  O(1)."""
        return self._queue.due

    def tally(self) -> Tally:
        """Return how many of everything there are in the books.  O(1)."""
        return Tally(
            held=len(self._queue),
            confirmed=self._confirmed,
            ended=len(self._entries) - len(self._queue) - self._confirmed,
            sessions=len(self._occupancy.sessions),
            resources=len(self._resources),
            accepted=self._accepted,
            expired=self._expired,
        )

    # --- Replay --------------------------------------------------------------------------

    def record(self, verb: Verb, entry: Entry, at: int) -> Change:
        """Return a change just told to ``on_change`` as plain values, for a journal to keep."""
        if verb not in {Verb.RESERVE, Verb.MOVE}:
            return Change(verb, at, entry.uid, entry.until)
        request = None if entry.key is None else self._keys[entry.key][0]
        return Change(
            verb,
            at,
            entry.uid,
            entry.until,
            entry.start,
            entry.end,
            entry.all_claims(),
            entry.seats,
            entry.holder,
            entry.event_type,
            entry.key,
            request,
        )

    def apply(self, change: Change) -> None:
        """Take a recorded change back in, as it happened: nothing is decided again.

        Replaying all changes of a ledger, in order, into one with the same
        resources makes it the same.  Nobody is told.
        """
        now = self.look(change.at)
        if change.verb is Verb.RESERVE:
            self._replay_reserve(change, now)
            return
        entry = self._entries[change.uid]
        match change.verb:
            case Verb.EXTEND:
                assert change.until is not None
                self._apply_extend(entry, change.until, now)
            case Verb.MOVE:
                self._replay_move(entry, change, now)
            case Verb.CONFIRM:
                self._apply_confirm(entry)
            case Verb.REINSTATE:
                self._put_again(entry, now)
                self._apply_reinstate(entry)
            case Verb.RELEASE | Verb.CANCEL:
                self._apply_end(entry, change.verb, now)
            case _:
                assert change.verb is Verb.EXPIRE
                self._queue.drop(entry)
                self._apply_expire(entry)

    def _replay_reserve(self, change: Change, now: int) -> None:
        assert change.until is not None
        entry = Entry(change.uid, change.until, now, change.holder)
        self._slot_into(entry, _Slot.of_change(change))
        self._put_again(entry, now)
        self._enter(entry, change.until - now, change.key, change.request or ())

    def _replay_move(self, entry: Entry, change: Change, now: int) -> None:
        assert change.until is not None
        self._occupancy.unplace(entry)
        self._slot_into(entry, _Slot.of_change(change))
        self._put_again(entry, now)
        if change.until != entry.until:
            self._requeue(entry, change.until, now)
        entry.version += 1

    def _put_again(self, entry: Entry, now: int) -> None:
        """Put as it was put then: with room made as the decision made it."""
        self._occupancy.make_room(entry, now)
        self._occupancy.put(entry)

    # --- Time ----------------------------------------------------------------------------

    def look(self, now: int) -> int:
        """Let time pass, without any chores, and return the time it is."""
        if now < self.now:
            return self.now
        self.now = now
        return now

    def _advance(self, now: int) -> int:
        """Let time pass, do a few chores if any are due, and return the time it is."""
        if now < self.now:
            now = self.now
        else:
            self.now = now
        if now >= self.chores_due:
            self._do_chores(now, self._chores)
        return now

    def _do_chores(self, now: int, limit: int) -> int:
        lapsed = self._queue.take_due(now, limit)
        for entry in lapsed:
            self._apply_expire(entry)
            if self.on_change is not None:
                self.on_change(Verb.EXPIRE, entry, now)
        self._forget_some(now, limit)
        retained_until = self._ended[0].until + self.terms.retention if self._ended else NEVER
        self.chores_due = min(self._queue.due, retained_until)
        return len(lapsed)

    def _forget_some(self, now: int, limit: int) -> None:
        ended, retention = self._ended, self.terms.retention
        while ended and limit:
            entry = ended[0]
            if entry.state in ENDED:
                if entry.until + retention > now:
                    return
                self._forget(entry)
            # else: it was reinstated, and stands here again if it has ended since
            ended.popleft()
            limit -= 1

    def _forget(self, entry: Entry) -> None:
        if self._entries.get(entry.uid) is entry:
            del self._entries[entry.uid]
        if entry.key is not None:
            del self._keys[entry.key]
            entry.key = None

    # --- Checking what callers say ---------------------------------------------------------

    def _check_uid(self, uid: str) -> None:
        if not is_text(uid):
            raise InvalidField("uid", "must be a non-empty string")
        if uid in self._entries:
            raise InvalidField("uid", "is in use")

    def _check_proposal(self, proposal: Proposal) -> None:
        self._occupancy.check(proposal)
        self.terms.check_ttl(proposal.ttl)

    def _check_batch(self, proposals: Sequence[Proposal], uids: Sequence[str], now: int) -> None:
        """Refuse all bad input of a batch before anything of it is done."""
        if len(proposals) != len(uids) or len(set(uids)) < len(uids):
            raise InvalidField("uids", "must be as many as the proposals, each different")
        keys = [proposal.key for proposal in proposals if proposal.key is not None]
        if len(set(keys)) < len(keys):
            raise InvalidField("key", "must be different for each request of a batch")
        for proposal, uid in zip(proposals, uids, strict=True):
            self._check_uid(uid)
            self._check_proposal(proposal)
            self._known_key(proposal.key, proposal.fingerprint(), now)

    def _check_candidates(
        self,
        candidates: Sequence[Proposal],
        weights: Sequence[int] | None,
        policy: Policy,
        load_in: tuple[int, int] | None,
    ) -> None:
        if not candidates:
            raise InvalidField("candidates", "must be at least one")
        if not isinstance(policy, Policy):
            raise InvalidField("policy", f"must be a Policy, not {policy!r}")
        if load_in is not None and load_in[0] >= load_in[1]:
            raise InvalidField("load_in", "must end after its start")
        for proposal in candidates:
            self._check_proposal(proposal)
        if weights is not None and (
            len(weights) != len(candidates) or not all(is_count(weight) for weight in weights)
        ):
            raise InvalidField("weights", "must be positive whole numbers, one for each candidate")

    def _check_life(self, entry: Entry, until: int) -> None:
        longest = self.terms.max_life
        if longest is not None and until > entry.created + longest:
            raise LifeExceeded(entry.uid, from_us(entry.created + longest))

    def _known(self, uid: str, now: int) -> Entry:
        """Return the entry of a uid.  Raises `UnknownReservation`, also for one to be forgotten."""
        try:
            entry = self._entries[uid]
        except (KeyError, TypeError):
            raise UnknownReservation(uid) from None
        if entry.until + self._retention <= now:
            raise UnknownReservation(uid)
        return entry

    def _known_key(
        self, key: str | None, fingerprint: tuple[object, ...], now: int
    ) -> Entry | None:
        """Return what the key was used for, if it was.  Raises `KeyReused`."""
        if key is None or key not in self._keys:
            return None
        used_for, entry = self._keys[key]
        if entry.until + self._retention <= now:
            return None
        if used_for != fingerprint:
            raise KeyReused(key)
        return entry

    def _admits(self, entry: Entry, verb: Verb, now: int, version: int | None) -> bool:
        """Return whether there is anything to do, or raise if the verb is not admitted."""
        if version is not None and version != entry.version_at(now):
            raise StaleVersion(entry.uid, version, entry.version_at(now))
        state = entry.state if entry.until > now else entry.state_at(now)
        if verb in NEXT[state]:
            return True
        if verb in REPEATS[state]:
            return False
        kind = HoldExpired if state is State.EXPIRED else WrongState
        raise kind(entry.uid, state.value, verb.value)

    def _swept(self, now: int) -> bool:
        """Return whether no hold that has lapsed by now can still stand anywhere."""
        return self._queue.due > now

    # --- Placing ---------------------------------------------------------------------------

    def _new_entry(self, proposal: Proposal, uid: str, now: int) -> Entry:
        until = now + proposal.ttl
        entry = Entry(uid, until, now, proposal.holder)
        self._slot_into(entry, _Slot.of_proposal(proposal))
        return entry

    def _place_new(self, proposal: Proposal, uid: str, now: int) -> Entry:
        """Return a new entry whose claims stand in the timelines, but which nobody knows yet."""
        entry = self._new_entry(proposal, uid, now)
        self._place(entry, proposal.schedule, now)
        return entry

    def _place(self, entry: Entry, schedule: Windows | None, now: int) -> None:
        self._occupancy.decide(entry, schedule, now, swept=self._swept(now))
        self._occupancy.put(entry)

    def _slot_into(self, entry: Entry, slot: _Slot) -> None:
        """Let an entry, which stands nowhere, be for another slot."""
        assert not entry.placed
        entry.start, entry.end = slot.start, slot.end
        entry.event_type, entry.seats = slot.event_type, slot.seats
        first = slot.claims[0]
        if slot.seats is None and slot.claims == (Claim(first.resource, slot.start, slot.end),):
            entry.resource, entry.claims = self._resources[first.resource], None
        else:
            entry.resource, entry.claims = None, slot.claims

    def _by_preference(
        self,
        candidates: Sequence[Proposal],
        policy: Policy,
        weights: Sequence[int] | None,
        load_in: tuple[int, int] | None,
        now: int,
    ) -> list[int]:
        """Return the candidates' indexes, the preferred one first."""
        if policy is Policy.FIRST:
            return list(range(len(candidates)))
        # What all candidates share, such as a host who is always needed, tells none of them apart.
        claimed = [{claim.resource for claim in one.claims} for one in candidates]
        shared = set.intersection(*claimed) if len(candidates) > 1 else set()
        swept = self._swept(now)
        loads = [
            sum(
                self._occupancy.load(self._resources[resource], load_in, now, swept=swept)
                for resource in resources - shared
            )
            for resources in claimed
        ]
        return by_preference(policy, loads, weights or [1] * len(loads))

    # --- Applying: writes, and cannot refuse -----------------------------------------------

    def _admit(
        self,
        entry: Entry,
        ttl: int,
        now: int,
        key: str | None = None,
        fingerprint: tuple[object, ...] = (),
    ) -> None:
        """Enter a placed reservation into the books, and tell."""
        self._enter(entry, ttl, key, fingerprint)
        self._tell(Verb.RESERVE, entry, now)

    def _enter(
        self, entry: Entry, ttl: int, key: str | None, fingerprint: tuple[object, ...]
    ) -> None:
        self._accepted += 1
        self._entries[entry.uid] = entry
        self._queue.push(entry, ttl)
        if entry.until < self.chores_due:
            self.chores_due = entry.until
        if key is not None:
            if key in self._keys:  # used for one that is as good as forgotten
                self._keys[key][1].key = None
            entry.key = key
            self._keys[key] = (fingerprint, entry)

    def _tell(self, verb: Verb, entry: Entry, now: int) -> None:
        if self.on_change is not None:
            self.on_change(verb, entry, now)

    def _requeue(self, entry: Entry, until: int, now: int) -> None:
        self._queue.drop(entry)
        entry.until = until
        self._queue.push(entry, until - now)
        self.chores_due = min(self.chores_due, until)

    def _apply_extend(self, entry: Entry, until: int, now: int) -> None:
        self._requeue(entry, until, now)
        entry.version += 1

    def _apply_confirm(self, entry: Entry) -> None:
        self._queue.drop(entry)
        entry.state = CONFIRMED
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self._confirmed += 1

    def _reinstate(self, entry: Entry, now: int) -> Entry:
        while entry.state is HELD:  # its expiry is announced first, and in its turn
            self._do_chores(now, CHORES)
        self._place(entry, ALWAYS_OPEN, now)
        self._apply_reinstate(entry)
        self._tell(Verb.REINSTATE, entry, now)
        return entry

    def _apply_reinstate(self, entry: Entry) -> None:
        entry.state = NEXT[entry.state][Verb.REINSTATE]
        entry.until = BOOKED_UNTIL
        entry.version += 1
        self._confirmed += 1

    def _end(self, uid: str, verb: Verb, now: int, version: int | None) -> Entry:
        now = self._advance(now)
        entry = self._known(uid, now)
        if self._admits(entry, verb, now, version):
            self._apply_end(entry, verb, now)
            self._tell(verb, entry, now)
        return entry

    def _apply_end(self, entry: Entry, verb: Verb, now: int) -> None:
        if entry.state is HELD:
            self._queue.drop(entry)
        else:
            self._confirmed -= 1
        self._occupancy.unplace(entry)
        entry.state = NEXT[entry.state][verb]
        entry.until = now
        entry.version += 1
        self._retain(entry)

    def _apply_expire(self, entry: Entry) -> None:
        self._occupancy.unplace(entry)
        entry.state = NEXT[entry.state][Verb.EXPIRE]
        entry.version += 1
        self._expired += 1
        self._retain(entry)

    def _retain(self, entry: Entry) -> None:
        self._ended.append(entry)
        if entry.until + self._retention < self.chores_due:
            self.chores_due = entry.until + self._retention

    # --- Invariants ------------------------------------------------------------------------

    def _check(self) -> None:
        """Assert every invariant of the books.  O(n log n); for tests and simulation."""
        self._queue._check()
        self._occupancy._check()
        standing: dict[str, list[Claim]] = {}
        for entry, claim in self._occupancy.standing():
            assert self._entries[entry.uid] is entry
            standing.setdefault(entry.uid, []).append(claim)
        for uid, entry in self._entries.items():
            entry._check()
            assert uid == entry.uid
            assert sorted(standing.get(uid, [])) == sorted(entry.placed * entry.all_claims())
            assert self.chores_due <= entry.until or entry.state in ENDED
            assert entry.key is None or self._keys[entry.key][1] is entry
        assert {entry.uid for _, entry in self._keys.values()} <= self._entries.keys()
        states = Counter(entry.state for entry in self._entries.values())
        assert len(self._queue) == states[HELD]
        assert self._confirmed == states[CONFIRMED]
        ended = {entry.uid for entry in self._entries.values() if entry.state in ENDED}
        assert ended <= {entry.uid for entry in self._ended}


class _Slot(NamedTuple):
    """What a move changes."""

    start: int
    end: int
    claims: tuple[Claim, ...]
    event_type: str | None
    seats: Seats | None

    @classmethod
    def of(cls, entry: Entry) -> _Slot:
        return cls(entry.start, entry.end, entry.all_claims(), entry.event_type, entry.seats)

    @classmethod
    def of_proposal(cls, proposal: Proposal) -> _Slot:
        start, end, claims, _, _, event_type, seats, *_ = proposal
        return cls(start, end, claims, event_type, seats)

    @classmethod
    def of_change(cls, change: Change) -> _Slot:
        assert change.start is not None
        assert change.end is not None
        assert change.claims is not None
        return cls(change.start, change.end, change.claims, change.event_type, change.seats)


Placed = TypeVar("Placed")


def _first_that_fits(
    candidates: Sequence[Proposal], order: Iterable[int], place: Callable[[Proposal], Placed]
) -> Placed:
    """Return what ``place`` makes of the first candidate that it does not refuse."""
    refusals: dict[int, Refused] = {}
    for i in order:
        try:
            return place(candidates[i])
        except Refused as refusal:
            refusals[i] = refusal
    raise NoneFree(tuple(refusals[i] for i in sorted(refusals)))
