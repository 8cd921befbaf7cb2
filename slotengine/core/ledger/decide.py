"""Deciding: what comes of a command, given the books as they are.

Everything here reads, and may refuse.  What is decided is a list of changes (`changes`),
and `books` applies them.  So nothing has happened until a decision is carried out, and
it can be carried out until the books next change.

Whoever decides passes ``now``; it is read as the latest time seen if it is earlier.
Times are UTC microseconds, spans are half-open, and durations microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from slotengine.core.ledger.books import Books
from slotengine.core.ledger.changes import Change, Decision
from slotengine.core.ledger.checks import check_name, check_text, is_count
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    ONE,
    Adopt,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    Move,
    Release,
    Reserve,
)
from slotengine.core.ledger.policy import Policy, by_preference
from slotengine.core.ledger.proposal import Proposal, Slotted
from slotengine.core.ledger.quota import Quota, stricter
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    CANCEL,
    CONFIRM,
    EXTEND,
    HELD,
    MOVE,
    NEXT,
    REINSTATE,
    RELEASE,
    REPEATS,
    RESERVE,
    UNDYING,
    Demand,
    Entry,
    Placement,
    Seats,
    State,
    Verb,
    is_limit,
)
from slotengine.core.ledger.view import Batch, View
from slotengine.core.time.instant import FIRST_US, LAST_US, from_us
from slotengine.core.time.schedule import ALWAYS_OPEN
from slotengine.errors import (
    AlreadyOver,
    HoldExpired,
    InvalidField,
    KeyReused,
    LifeExceeded,
    NoneFree,
    OutsideHours,
    Refused,
    SlotError,
    StaleVersion,
    UnknownReservation,
    WrongState,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.holders import Holders
    from slotengine.core.ledger.proposal import StartRule

Placed = TypeVar("Placed")


class Decider(Books):
    """The books, and what is decided by them."""

    def decide(self, command: Command, now: int) -> Decision:
        """Return what comes of a command, which is not done yet, or refuse.

        Reads only.  The changes can be applied until the ledger next changes.
        Raises what the verb of the command raises.
        """
        if now < self.now:
            now = self.now
        match command:
            case Reserve():
                return self._decide_reserve(command, now)
            case Confirm():
                return self._decide_confirm(command, now)
            case Release():
                return self._decide_end(command, RELEASE, now)
            case Cancel():
                return self._decide_end(command, CANCEL, now)
            case Extend():
                return self._decide_extend(command, now)
            case Move():
                return self._decide_move(command, now)
            case _:
                return self._decide_adopt(command, now)

    def _decide_reserve(self, command: Reserve, now: int) -> Decision:
        if command.mode is ONE:
            return self._decide_one(command, now)
        if command.mode is ANY:
            return self._decide_any(command, now)
        return self._decide_batch(command, now)

    def _decide_one(self, command: Reserve, now: int) -> Decision:
        (proposal,), (uid,) = command.requests, command.uids
        if uid.__class__ is not str or not uid or uid in self._entries:
            self._check_uid(uid)
        self._check_proposal(proposal)
        known = self._known_request(proposal, now)
        if known is not None:
            return Decision((), (known.uid,))
        self._check_ttl_of(proposal.ttl, proposal.quota)
        view = self._occupancy.view(now)
        slot = self._decide_new(proposal, view)
        lapsed = self._lapsed_before_new(slot, proposal.holder, proposal.key, view)
        change = _reserved(proposal, slot, uid, now)
        return Decision((*self.expiries(lapsed, now), change), (uid,))

    def _decide_batch(self, command: Reserve, now: int) -> Decision:
        proposals, uids = command.requests, command.uids
        self._check_batch(proposals, uids, now)
        changes: list[Change] = []
        answers: list[str | Refused] = []
        lapsed: list[Entry] = []
        batch = Batch()
        view = self._occupancy.view(now, batch=batch)
        i = 0
        try:
            for i, proposal in enumerate(proposals):
                known = self._known_request(proposal, now)
                if known is not None:
                    answers.append(known.uid)
                    continue
                try:
                    slot = self._decide_new(proposal, view)
                except Refused as refusal:
                    if command.mode is ALL:
                        self._keep_for_ever(view)  # as far as this batch goes
                        refusal.find_details()  # while the others are still known
                        raise
                    refusal.of_request(i)
                    answers.append(refusal)
                    continue
                lapsed += self._lapsed_before_new(slot, proposal.holder, proposal.key, view)
                changes.append(_reserved(proposal, slot, uids[i], now))
                answers.append(uids[i])
                entry = self._made_by(changes[-1])
                joined = None if entry.seats is None else view.session(Placement.of(entry))
                batch.add(entry, joined)
        except SlotError as error:
            error.of_request(i)
            raise
        finally:
            batch.clear()  # the details of refusals may be read later
        return Decision((*self.expiries(lapsed, now), *changes), tuple(answers))

    def _keep_for_ever(self, view: View) -> None:
        """Let the claims of a batch that is refused never lapse.

        Claims in a session that somebody else opened are an exception.  Once that session
        is over, the batch would open one of its own, perhaps elsewhere.
        """
        for entry in view.batch.entries:
            theirs: list[int] = []
            if entry.seats is not None:
                session = self._occupancy.sessions.get(entry.session_key)
                members = () if session is None else session.members.values()
                theirs = [one.until for one in members if one.until > view.now]
            entry.until = max(theirs, default=UNDYING)

    def _decide_any(self, command: Reserve, now: int) -> Decision:
        candidates, (uid,), _, choice, key = command
        self._check_uid(uid)
        self._check_candidates(candidates, choice)
        if any(proposal.key is not None for proposal in candidates):
            raise InvalidField("key", "belongs to the whole call, not to one candidate")
        check_text("key", key)
        policy, weights, load_in = choice
        fingerprint = (
            *(proposal.fingerprint() for proposal in candidates),
            (policy, weights and tuple(weights), load_in),
        )
        known = self._known_key(key, fingerprint, now)
        if known is not None:
            return Decision((), (known.uid,))
        _check_each(candidates, lambda one: self._check_ttl_of(one.ttl, one.quota))
        view = self._occupancy.view(now)

        def decide(proposal: Proposal) -> tuple[Slotted, Proposal]:
            return self._decide_new(proposal, view), proposal

        order = self._by_preference(candidates, choice, view)
        slot, chosen = _first_that_fits(candidates, order, decide)
        lapsed = self._lapsed_before_new(slot, chosen.holder, key, view)
        change = _reserved(chosen._replace(key=key, request=fingerprint), slot, uid, now)
        return Decision((*self.expiries(lapsed, now), change), (uid,))

    def _decide_adopt(self, command: Adopt, now: int) -> Decision:
        proposal, uid = command
        self._check_uid(uid)
        seats = proposal.seats
        if isinstance(seats, Seats) and is_count(seats.total) and is_count(seats.wanted):
            proposal = proposal._replace(seats=Seats(max(seats), seats.wanted))
        self._check_proposal(proposal)
        known = self._known_request(proposal, now)
        if known is not None:
            return Decision((), (known.uid,))
        view = self._occupancy.view(now)
        slot = self._occupancy.adopted(proposal._replace(seats=seats), view)
        lapsed = self._lapsed_before_new(slot, proposal.holder, proposal.key, view)
        change = _reserved(proposal._replace(quota=None), slot, uid, now)
        confirmed = Change(CONFIRM, now, uid, BOOKED_UNTIL)
        return Decision((*self.expiries(lapsed, now), change, confirmed), (uid,))

    def _decide_move(self, command: Move, now: int) -> Decision:
        uid, candidates, renew, choice, version = command
        if choice is None:
            self._check_proposal(candidates[0])
        else:
            self._check_candidates(candidates, choice)
        entry = self._known(uid, now)
        self._admits(entry, MOVE, now, version)
        renew = renew and entry.state is HELD
        keep = [claim.resource for claim in entry.all_claims()]
        view = self._occupancy.view(now, entry, keep=keep)

        def decide(proposal: Proposal) -> tuple[Slotted, Proposal]:
            if renew:
                self.check_life(entry, now + proposal.ttl)
            if proposal.start != entry.start:  # what stays may be over, as it was before
                _check_ahead(proposal, now)
            if self.holders is not None:
                self.holders.check_move(entry, proposal.end - proposal.start, view)
            if self.screen is not None:
                proposal = self.screen(proposal, view)
            return self._occupancy.decide(proposal, view), proposal

        if choice is None:
            slot, chosen = decide(candidates[0])
        else:
            order = self._by_preference(candidates, choice, view)
            slot, chosen = _first_that_fits(candidates, order, decide)
        holder = entry.holder if entry.state is HELD else None  # bookings count for no quota
        lapsed = self._lapsed_before(slot, holder, view)
        until = now + chosen.ttl if renew else entry.until
        change = Change(
            MOVE, now, uid, until, slot.start, slot.end, slot.claims, slot.seats,
            event_type=slot.event_type, demand=slot.demand,
        )  # fmt: skip
        return Decision((*self.expiries(lapsed, now), change), (uid,))

    def _decide_extend(self, command: Extend, now: int) -> Decision:
        uid, ttl, version = command
        self.terms.check_ttl(ttl)
        entry = self._known(uid, now)
        self._admits(entry, EXTEND, now, version)
        self.check_life(entry, now + ttl)
        return Decision((Change(EXTEND, now, uid, now + ttl),), (uid,))

    def _decide_confirm(self, command: Confirm, now: int) -> Decision:
        uid, version = command.uid, command.version
        entry = self._known(uid, now)
        if command.if_still_free and entry.state_at(now) is State.EXPIRED:
            self._admits(entry, REINSTATE, now, version)
            return self._decide_reinstate(entry, command, now)
        if not self._admits(entry, CONFIRM, now, version):
            return Decision((), (uid,))
        change = Change(CONFIRM, now, uid, BOOKED_UNTIL)
        if self.holders is None:
            return Decision((change,), (uid,))
        forgiven = self._forgiven(entry, self.holders, now)
        return Decision((*self.expiries(forgiven, now), change), (uid,))

    def _decide_reinstate(self, entry: Entry, command: Confirm, now: int) -> Decision:
        proposal = _as_it_was(entry, enforce=command.enforce)
        if command.enforce:
            if entry.demand is Demand.RULES:
                self._check_rules(entry, command.rule, command.closed, now)
            _check_ahead(proposal, now)
        view = self._occupancy.view(now)
        if self.screen is not None:
            proposal = self.screen(proposal, view)  # it has lapsed: others may wait for it
        lapsed = self._lapsed_before(self._occupancy.decide(proposal, view), None, view)
        if entry.state is HELD:
            lapsed.append(entry)
        if self.holders is not None:
            lapsed += self._forgiven(entry, self.holders, now)
        change = Change(REINSTATE, now, entry.uid, BOOKED_UNTIL)
        return Decision((*self.expiries(lapsed, now), change), (entry.uid,))

    def _decide_end(self, command: Release | Cancel, verb: Verb, now: int) -> Decision:
        uid, version = command
        if not self._admits(self._known(uid, now), verb, now, version):
            return Decision((), (uid,))
        return Decision((Change(verb, now, uid, now),), (uid,))

    def _decide_new(self, proposal: Proposal, view: View) -> Slotted:
        """Return what a new reservation gets, or refuse."""
        return self._occupancy.decide(self._screened(proposal, view), view)

    def _forgiven(self, entry: Entry, holders: Holders, now: int) -> list[Entry]:
        """Return the lapsed holds of a holder, which are forgiven by this confirmation."""
        return holders.lapsed_of(entry.holder, now) if holders.counts_lapses() else []

    def _check_rules(
        self, entry: Entry, rule: StartRule | None, closed: Collection[str], now: int
    ) -> None:
        """Raise unless the rules of its event type admit an entry that is reinstated."""
        if rule is not None:
            rule.check(entry.start, now)
        for claim in entry.all_claims():
            if claim.resource in closed and not (
                entry.seats is not None and self._occupancy.is_joinable(Placement.of(entry), now)
            ):
                raise OutsideHours(claim.resource, from_us(entry.start), from_us(entry.end))

    # --- Parts of a decision -------------------------------------------------------------

    def _screened(self, proposal: Proposal, view: View) -> Proposal:
        """Return what is left of a new proposal once others have had their say, or refuse."""
        _check_ahead(proposal, view.now)
        holders = self._counted_for(proposal.quota)
        if holders is not None:
            length = proposal.end - proposal.start
            holders.check(proposal.holder, length, view, proposal.quota)
        return proposal if self.screen is None else self.screen(proposal, view)

    def _counted_for(self, quota: Quota | None) -> Holders | None:
        """Return the counts of what holders have, made for this question if none are kept."""
        if self.holders is None and quota is not None and quota.counts:
            return self._holders_counted()
        return self.holders

    def _lapsed_before_new(
        self, slot: Slotted, holder: str | None, key: str | None, view: View
    ) -> list[Entry]:
        """Return the lapsed holds to be marked before a new reservation is made."""
        if view.swept:
            return []
        lapsed = self._lapsed_before(slot, holder, view)
        if key is not None and key in self._keys:  # used for one that is as good as forgotten
            used_for = self._keys[key][1]
            if used_for.state is HELD:
                lapsed.append(used_for)
        return lapsed

    def _lapsed_before(self, slot: Slotted, holder: str | None, view: View) -> list[Entry]:
        """Return the lapsed holds whose room, seats or limits a decision needs.

        Also all lapsed holds of a holder if holders are counted, needed or not: they may have
        made room in the holder's quota.
        """
        if view.swept:
            return []
        lapsed = self._occupancy.lapsed_in_the_way(slot, view)
        if self.holders is not None:
            lapsed += self.holders.lapsed_of(holder, view.now)
        return lapsed

    def _by_preference(
        self,
        candidates: Sequence[Proposal],
        choice: Choice,
        view: View,
    ) -> list[int]:
        """Return the candidates' indexes, the preferred one first."""
        policy, weights, load_in = choice
        if policy is Policy.FIRST:
            return list(range(len(candidates)))
        # What all candidates share, such as a host who is always needed, tells none of them apart.
        claimed = [{claim.resource for claim in one.claims} for one in candidates]
        shared = set.intersection(*claimed) if len(candidates) > 1 else set()
        loads = [
            sum(view.load(self._resources[resource], load_in) for resource in resources - shared)
            for resources in claimed
        ]
        return by_preference(policy, loads, weights or [1] * len(loads))

    # --- Checking what callers say ---------------------------------------------------------

    def _check_uid(self, uid: str) -> None:
        check_name("uid", uid)
        if uid in self._entries:
            raise InvalidField("uid", "is in use")

    def _check_proposal(self, proposal: Proposal) -> None:
        self._occupancy.check(proposal)
        terms = self.terms
        longest = terms.longest_span
        for _, start, end, _ in proposal.all_claims() if proposal.pools else proposal.claims:
            if not FIRST_US <= start < end <= LAST_US or end - start > longest:
                terms.check_span(start, end)
        if not terms.shortest_ttl <= proposal.ttl <= terms.longest_ttl:
            terms.check_ttl(proposal.ttl)

    def _check_batch(self, proposals: Sequence[Proposal], uids: Sequence[str], now: int) -> None:
        """Refuse all bad input of a batch before anything of it is done."""
        for uid in uids:
            self._check_uid(uid)
        if len(proposals) != len(uids) or len(set(uids)) < len(uids):
            raise InvalidField("uids", "must be as many as the proposals, each different")
        keys: set[str] = set()

        def check_key(proposal: Proposal) -> None:
            key = proposal.key
            check_text("key", key)
            if key is not None and key in keys:
                raise InvalidField("key", "must be different for each request of a batch")
            if key is not None:
                keys.add(key)

        def check(proposal: Proposal) -> None:
            self._check_proposal(proposal)
            if self._known_request(proposal, now) is None:
                self._check_ttl_of(proposal.ttl, proposal.quota)

        _check_each(proposals, check_key)
        _check_each(proposals, check)

    def _check_candidates(self, candidates: Sequence[Proposal], choice: Choice) -> None:
        policy, weights, load_in = choice
        if not candidates:
            raise InvalidField("candidates", "must be at least one")
        if not isinstance(policy, Policy):
            raise InvalidField("policy", f"must be a Policy, not {policy!r}")
        if load_in is not None and load_in[0] >= load_in[1]:
            raise InvalidField("load_in", "must end after its start")
        _check_each(candidates, self._check_proposal)
        if weights is not None and (
            not hasattr(weights, "__len__")
            or len(weights) != len(candidates)
            or not all(is_count(weight) for weight in weights)
        ):
            raise InvalidField("weights", "must be positive whole numbers, one for each candidate")

    def _check_ttl_of(self, ttl: int, quota: Quota | None) -> None:
        """Raise `InvalidTTL` for a new hold that would live longer than its quota ever allows.

        Not asked of a repeat: that makes no new hold, whatever its quota is by now.
        """
        if quota is not None and quota.life is not None and ttl > quota.life:
            raise self.terms.invalid_ttl(ttl, quota.life)

    def check_life(self, entry: Entry, until: int) -> None:
        longest = self.terms.max_life
        if entry.quota is not None:
            longest = stricter(longest, entry.quota.life)
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

    def _known_request(self, proposal: Proposal, now: int) -> Entry | None:
        """Return what this very request made before, if it has a key.  Raises `KeyReused`."""
        if proposal.key is None:
            return None
        return self._known_key(proposal.key, proposal.fingerprint(), now)

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
            if not is_count(version):
                raise InvalidField("version", f"must be a whole number, not {version!r}")
            raise StaleVersion(entry.uid, version, entry.version_at(now))
        state = entry.state if entry.until > now else entry.state_at(now)
        if verb in NEXT[state]:
            return True
        if verb in REPEATS[state]:
            return False
        kind = HoldExpired if state is State.EXPIRED else WrongState
        raise kind(entry.uid, state.value, verb.value)


def _check_ahead(proposal: Proposal, now: int) -> None:
    if proposal.rule is not None:
        proposal.rule.check(proposal.start, now)
    if proposal.is_over(now):
        raise AlreadyOver(from_us(proposal.end))


def _as_it_was(entry: Entry, *, enforce: bool) -> Proposal:
    """Propose what an entry was for once more.

    Hours are asked about only if they were the resources' own: others are not known here.
    """
    claims = entry.all_claims()
    return Proposal(
        entry.start,
        entry.end,
        tuple(claim for claim in claims if not is_limit(claim.resource)),
        ttl=0,
        event_type=entry.event_type,
        seats=entry.seats,
        schedule=None if enforce and entry.demand is Demand.HOURS else ALWAYS_OPEN,
        limits=tuple(claim for claim in claims if is_limit(claim.resource)),
        demand=entry.demand,
    )


def _check_each(proposals: Iterable[Proposal], check: Callable[[Proposal], None]) -> None:
    """Check each of several; what is wrong says with which."""
    for i, proposal in enumerate(proposals):
        try:
            check(proposal)
        except SlotError as error:
            error.of_request(i)
            raise


def _reserved(proposal: Proposal, slot: Slotted, uid: str, now: int) -> Change:
    """Return the change by which somebody gets a slot."""
    key = proposal.key
    return Change(
        RESERVE, now, uid, now + proposal.ttl, slot.start, slot.end, slot.claims, slot.seats,
        proposal.holder, slot.event_type, key, None if key is None else proposal.fingerprint(),
        proposal.quota, slot.demand,
    )  # fmt: skip


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
