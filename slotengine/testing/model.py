"""The rules of the ledger once more, as simply as they can be said.

`NaiveLedger` keeps a list of reservations and works every answer out from
scratch, looking at each moment at which anything begins: hopelessly slow, and
short enough to be believed.
Drive it and a `Ledger` with the same calls, and compare (`outcome`).

It expires and forgets at the very moment, so agreeing with it also means that
it cannot be seen whether the ledger's sweeper has run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Final

from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    ENDED,
    NEXT,
    REPEATS,
    UNDYING,
    Claim,
    Demand,
    Entry,
    Seats,
    State,
    Verb,
    is_limit,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import Windows
from slotengine.errors import (
    AlreadyOver,
    HoldExpired,
    InTheWay,
    InvalidTTL,
    KeyReused,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    Obstruction,
    OutsideHours,
    QuotaExceeded,
    Refused,
    SlotError,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    UnknownReservation,
    UnknownResource,
    WrongState,
)

NO_QUOTA: Final = Quota()
"""What limits nothing."""


@dataclass(frozen=True)
class Seen:
    """What can be seen of a reservation."""

    uid: str
    state: State
    version: int
    start: int
    end: int
    claims: tuple[Claim, ...]
    until: int
    created: int
    holder: str | None
    event_type: str | None
    seats: Seats | None
    quota: Quota | None = field(default=None, compare=False)
    """What it was made under, which callers are not told."""

    @classmethod
    def of(cls, entry: Entry, now: int) -> Seen:
        """Return what can be seen of a ledger's entry at a moment."""
        return cls(
            entry.uid,
            entry.state_at(now),
            entry.version_at(now),
            entry.start,
            entry.end,
            entry.all_claims(),
            entry.until,
            entry.created,
            entry.holder,
            entry.event_type,
            entry.seats,
            entry.quota,
        )

    @property
    def session(self) -> object:
        """What stands in the way of others on its behalf: itself, or the session it shares."""
        return self.uid if self.seats is None else (self.event_type, self.start)


COMPARABLE: Final = (Refused, TooManyUnits, UnknownResource, KeyReused, InvalidTTL)
"""The errors whose details a ledger and this one must agree about."""


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns, or what it raises with all its details, to be compared."""
    try:
        return call()
    except COMPARABLE as error:
        return told(error)


def told(error: Exception) -> object:
    """Return an error with all its details, as of now, to be compared."""
    if isinstance(error, NoneFree):
        return NoneFree, [told(refusal) for refusal in error.refusals]
    which = () if not isinstance(error, SlotError) or error.index is None else (error.index,)
    if isinstance(error, SlotTaken):
        about = error.obstruction
        # Which of two spans with one start comes first says nothing.
        ways = tuple(sorted(about.in_the_way))
        return type(error), error.resource, about._replace(in_the_way=ways), *which
    return type(error), error.args, *which


class NaiveLedger:
    """A ledger that anybody can check by reading it.

    >>> naive = NaiveLedger(Terms(5, 1, 20), {"room-1": (1, None)})
    >>> naive.reserve(Proposal(3, 6, (Claim("room-1", 3, 6),), ttl=5), "a", now=0).state
    <State.HELD: 'held'>
    >>> naive.reserve(Proposal(5, 7, (Claim("room-1", 5, 7),), ttl=5), "b", now=4)
    Traceback (most recent call last):
        ...
    slotengine.errors.SlotTaken: ...
    >>> naive.reserve(Proposal(5, 7, (Claim("room-1", 5, 7),), ttl=5), "b", now=5).uid
    'b'
    """

    def __init__(self, terms: Terms, resources: dict[str, tuple[int, Windows | None]]) -> None:
        self.terms = terms
        self.resources = resources
        self.screen: Callable[[Proposal, Seen | None], Proposal] = _as_proposed
        """Asked before anything is placed, with what moves there: as `Ledger.screen`."""
        self.event_types: dict[str, EventType] = {}
        """Those that `naive_plan` knows of."""
        self.now = 0
        self.known: dict[str, Seen] = {}
        self.keys: dict[str, tuple[object, str]] = {}
        self.imported: dict[str, Mapping[str, Sequence[tuple[int, int]]]] = {}
        self.demands: dict[str, Demand] = {}  # what each was made under
        self.opened: dict[object, int] = {}  # when whoever opened each session was made
        # Of each holder, since it last confirmed: when the hold was made, and when it lapsed.
        self.lapses: dict[str, list[tuple[int, int]]] = {}

    def at(self, now: int) -> None:
        """Let time pass: expire what is due, and forget what was retained long enough."""
        self.now = now = max(self.now, now)
        over = [one for one in self.known.values() if one.state is State.HELD and one.until <= now]
        for one in sorted(over, key=lambda each: each.until):
            self._change(one, Verb.EXPIRE)
            if one.holder is not None:
                self.lapses.setdefault(one.holder, []).append((one.created, one.until))
        for one in list(self.known.values()):
            if one.state in ENDED and one.until + self.terms.retention <= now:
                del self.known[one.uid]
        self.keys = {key: use for key, use in self.keys.items() if use[1] in self.known}

    def replace_busy(
        self, source: str, spans: Mapping[str, Sequence[tuple[int, int]]], now: int
    ) -> None:
        """Do as `Ledger.replace_busy`."""
        self.at(now)
        self.imported[source] = spans

    def forget_bookings(self, before: int, now: int) -> int:
        """Do as `SlotEngine.forget_bookings`."""
        self.at(now)
        over = [
            one
            for one in self.known.values()
            if one.state is State.CONFIRMED
            and one.end <= before
            and all(claim.end <= before for claim in one.claims)
        ]
        for one in over:
            del self.known[one.uid]
        self.at(now)
        return len(over)

    # --- Reserve -----------------------------------------------------------------------

    def reserve(
        self, proposal: Proposal, uid: str, now: int, check: Callable[[int], None] | None = None
    ) -> Seen:
        """Do as `Ledger.reserve_proposal`."""
        self.at(now)
        self.check(proposal)
        fingerprint = _asked(proposal)
        if (done := self._done(proposal.key, fingerprint)) is not None:
            return done
        self._check_new(proposal)
        if check is not None:
            check(self.now)
        self._check_ahead(proposal)
        self._check_quotas(proposal, None)
        claims = self.decide(self.screen(proposal, None))
        return self._made(proposal, claims, uid, proposal.key, fingerprint)

    def adopt(self, proposal: Proposal, uid: str, now: int) -> Seen:
        """Do as `Ledger.adopt`."""
        self.at(now)
        self.check(proposal._replace(seats=None) if proposal.seats else proposal)
        fingerprint = _asked(proposal)
        if (done := self._done(proposal.key, fingerprint)) is not None:
            return done
        claims, seats = proposal.claims + proposal.limits, proposal.seats
        members = _members(proposal, self._live(None))
        if members:
            theirs = {claim.resource for claim in members[0].claims if not is_limit(claim.resource)}
            if members[0].end == proposal.end and theirs == {
                one.resource for one in proposal.claims
            }:
                claims = members[0].claims
            else:
                seats = None
        made = self._made(proposal._replace(seats=seats), claims, uid, proposal.key, fingerprint)
        self.lapses.pop(made.holder or "", None)
        return self._change(made, Verb.CONFIRM, until=BOOKED_UNTIL)

    def reserve_all(
        self, proposals: Sequence[Proposal], uids: Sequence[str], now: int
    ) -> list[Seen]:
        """Do as `Ledger.reserve_all`: one after the other, and undo everything on a refusal."""
        self.at(now)
        self._check_batch(proposals)
        before = dict(self.known), dict(self.keys), dict(self.opened)
        made: list[Seen] = []
        try:
            for proposal, uid in zip(proposals, uids, strict=True):
                made.append(self.reserve(proposal, uid, now))
        except Refused as refusal:
            refusal.of_request(len(made))
            # In the eyes of this batch its own earlier claims never lapse, unless they are
            # in a session of others, which takes them along.
            others = self._live(None)
            for uid in self.known.keys() - before[0].keys():
                shared = [
                    one.until
                    for one in others
                    if one.session == self.known[uid].session and one.uid in before[0]
                ]
                self.known[uid] = replace(self.known[uid], until=max(shared, default=UNDYING))
            told(refusal)
            self.known, self.keys, self.opened = before
            raise
        return made

    def reserve_each(
        self, proposals: Sequence[Proposal], uids: Sequence[str], now: int
    ) -> list[object]:
        """Do as `Ledger.reserve_each`, with each refusal as `outcome` tells it."""
        self.at(now)
        self._check_batch(proposals)
        results: list[Seen | Refused] = []
        for proposal, uid in zip(proposals, uids, strict=True):
            try:
                results.append(self.reserve(proposal, uid, now))
            except Refused as refusal:
                refusal.of_request(len(results))
                results.append(refusal)
        # A refusal is explained as of when it is read: after the whole batch.
        return [told(one) if isinstance(one, Refused) else one for one in results]

    def reserve_any(
        self,
        candidates: Sequence[Proposal],
        uid: str,
        now: int,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[int, int] | None = None,
        key: str | None = None,
    ) -> Seen:
        """Do as `Ledger.reserve_any`."""
        self.at(now)
        _check_each(candidates, self.check)
        choice = (policy, weights and tuple(weights), load_in)
        fingerprint = (*map(_asked, candidates), choice)
        if (done := self._done(key, fingerprint)) is not None:
            return done
        _check_each(candidates, self._check_new)
        chosen, claims = self._choose(candidates, policy, weights, load_in, None, renew=False)
        return self._made(chosen, claims, uid, key, fingerprint)

    # --- The life of a reservation -------------------------------------------------------

    def extend(self, uid: str, ttl: int, now: int, version: int | None = None) -> Seen:
        """Do as `Ledger.extend`."""
        self.at(now)
        self.terms.check_ttl(ttl)
        one = self._get(uid)
        self._admit(one, Verb.EXTEND, version)
        self._check_life(one, self.now + ttl)
        return self._change(one, Verb.EXTEND, until=self.now + ttl)

    def move(
        self,
        uid: str,
        candidates: Sequence[Proposal],
        now: int,
        renew: bool = False,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Seen:
        """Do as `Ledger.move_any`."""
        self.at(now)
        _check_each(candidates, self.check)
        one = self._get(uid)
        self._admit(one, Verb.MOVE, version)
        renew = renew and one.state is State.HELD
        chosen, claims = self._choose(candidates, policy, weights, load_in, one, renew=renew)
        self.demands[uid] = chosen.demand
        return self._change(
            one,
            Verb.MOVE,
            start=chosen.start,
            end=chosen.end,
            claims=claims,
            event_type=chosen.event_type,
            seats=chosen.seats,
            until=self.now + chosen.ttl if renew else one.until,
        )

    def move_to(
        self,
        uid: str,
        proposal: Proposal,
        now: int,
        *,
        renew: bool = False,
        version: int | None = None,
    ) -> Seen:
        """Do as `Ledger.move`."""
        self.check(proposal)
        try:
            return self.move(uid, [proposal], now, renew=renew, version=version)
        except NoneFree as none_free:
            raise none_free.refusals[0] from None

    def confirm(
        self,
        uid: str,
        now: int,
        if_still_free: bool = False,
        version: int | None = None,
        check: Callable[[Seen, int], None] | None = None,
    ) -> Seen:
        """Do as `Ledger.confirm`."""
        self.at(now)
        one = self._get(uid)
        if not (if_still_free and one.state is State.EXPIRED):
            if not self._admit(one, Verb.CONFIRM, version):
                return one
            self.lapses.pop(one.holder or "", None)
            return self._change(one, Verb.CONFIRM, until=BOOKED_UNTIL)
        self._admit(one, Verb.REINSTATE, version)
        again = Proposal(
            one.start,
            one.end,
            tuple(claim for claim in one.claims if not is_limit(claim.resource)),
            1,
            event_type=one.event_type,
            seats=one.seats,
            limits=tuple(claim for claim in one.claims if is_limit(claim.resource)),
            demand=self.demands[uid],
        )
        if check is not None and again.demand is Demand.RULES:
            check(one, self.now)
        self._check_ahead(again)
        hours = again.demand is Demand.HOURS
        claims = self.decide(self.screen(again, None), hours=hours)
        self.lapses.pop(one.holder or "", None)
        return self._change(one, Verb.REINSTATE, until=BOOKED_UNTIL, claims=claims)

    def check_movable(self, one: Seen, version: int | None = None) -> None:
        """Do as `Ledger.check_movable`."""
        self._admit(one, Verb.MOVE, version)

    def end(self, uid: str, verb: Verb, now: int, version: int | None = None) -> Seen:
        """Do as `Ledger.release` and `Ledger.cancel`."""
        self.at(now)
        one = self._get(uid)
        if not self._admit(one, verb, version):
            return one
        return self._change(one, verb, until=self.now)

    # --- Reading -------------------------------------------------------------------------

    def get(self, uid: str, now: int) -> Seen | None:
        """Do as `Ledger.get`."""
        self.at(now)
        return self.known.get(uid)

    def is_free(self, proposal: Proposal, now: int) -> bool:
        """Do as `Ledger.is_free`."""
        self.at(now)
        self.check(proposal)
        self._check_new(proposal)
        try:
            self._check_ahead(proposal)
            self._check_quotas(proposal, None)
            self.decide(self.screen(proposal, None))
        except Refused:
            return False
        return True

    def busy(self, resource: str, start: int, end: int, now: int) -> list[tuple[int, int, int]]:
        """Do as `Ledger.busy`."""
        self.at(now)
        pieces: list[tuple[int, int, int]] = []
        live = self._live(None)
        for low, high in pairwise(self._edges(resource, start, end, live)):
            units = min(self._taken(resource, low, live), self.resources[resource][0])
            if pieces and pieces[-1][1:] == (low, units):
                pieces[-1] = (pieces[-1][0], high, units)
            elif units:
                pieces.append((low, high, units))
        return pieces

    def reservations_in(self, resource: str, start: int, end: int, now: int) -> set[str]:
        """Return the uids of what `Ledger.reservations_in` returns."""
        self.at(now)
        return {
            one.uid
            for one in self._live(None)
            for claim in one.claims
            if claim.resource == resource and claim.start < end and start < claim.end
        }

    # --- Inside --------------------------------------------------------------------------

    def check(self, proposal: Proposal) -> None:
        """Raise as a ledger does for what can never be right."""
        proposal.check()
        pools = [claim for pool in proposal.pools for claim in pool.claims]
        for claim in (*proposal.claims, *pools):
            if claim.resource not in self.resources:
                raise UnknownResource(claim.resource)
            capacity, _ = self.resources[claim.resource]
            if claim.units > capacity:
                raise TooManyUnits(claim.resource, claim.units, capacity)
        self.terms.check_ttl(proposal.ttl)

    def _check_batch(self, proposals: Sequence[Proposal]) -> None:
        def check(proposal: Proposal) -> None:
            self.check(proposal)
            if self._done(proposal.key, _asked(proposal)) is None:
                self._check_new(proposal)

        _check_each(proposals, check)

    def _check_new(self, proposal: Proposal) -> None:
        """Refuse a hold that is to live longer than its quota ever allows."""
        life = (proposal.quota or NO_QUOTA).life
        if life is not None and proposal.ttl > life:
            shortest, longest = self.terms.shortest_ttl, min(life, self.terms.longest_ttl)
            durations = (timedelta(0, 0, us) for us in (proposal.ttl, shortest, longest))
            raise InvalidTTL(*durations)

    def _check_life(self, one: Seen, until: int) -> None:
        longest = _least(self.terms.max_life, (one.quota or NO_QUOTA).life)
        if longest is not None and until - one.created > longest:
            raise LifeExceeded(one.uid, from_us(one.created + longest))

    def _check_quotas(self, proposal: Proposal, own: Seen | None) -> None:
        """Refuse what is more than the holder may have; of a move, only what is longer."""
        holder = proposal.holder if own is None else own.holder
        theirs = [one for one in self._live(own) if one.holder == holder]
        holds = [one for one in theirs if one.state is State.HELD]
        if holder is None or (own is not None and own.state is not State.HELD):
            return
        quota = (proposal.quota if own is None else own.quota) or NO_QUOTA
        if own is None:
            self._check_lapses(holder)
            most = _least(self.terms.max_holds, quota.holds)
            if most is not None and len(holds) >= most:
                retry_at = next(
                    moment
                    for moment in sorted(one.until for one in holds)
                    if sum(one.until > moment for one in holds) < most
                )
                raise QuotaExceeded("holds", most, len(holds), from_us(retry_at))
        elif proposal.end - proposal.start <= own.end - own.start:
            return
        self._check_held(proposal, holds, own, _least(self.terms.max_held, quota.held))

    def _check_lapses(self, holder: str) -> None:
        most, row = self.terms.max_lapses, 0
        latest: int | None = None
        for made, lapse in self.lapses.get(holder, []):
            apart = latest is None or made >= latest + self.terms.cool_down
            row, latest = 1 if apart else row + 1, lapse
        if most is not None and latest is not None and row >= most:
            until = latest + self.terms.cool_down
            if self.now < until:
                raise QuotaExceeded("lapses", most, row, from_us(until))

    def _check_held(
        self, proposal: Proposal, holds: list[Seen], own: Seen | None, longest: int | None
    ) -> None:
        if longest is None:
            return

        def held_at(moment: int) -> int:
            return sum(one.end - one.start for one in holds if one.until > moment)

        wanted = proposal.end - proposal.start
        moments = sorted({self.now, *(one.until for one in holds)})
        fits = [moment for moment in moments if held_at(moment) + wanted <= longest]
        if self.now not in fits:
            used = held_at(self.now) + (0 if own is None else own.end - own.start)
            retry_at = from_us(fits[0]) if fits else None
            limit = timedelta(0, 0, longest)
            raise QuotaExceeded("time", limit, timedelta(0, 0, used), retry_at)

    def _done(self, key: str | None, fingerprint: object) -> Seen | None:
        if key is None or key not in self.keys:
            return None
        used_for, uid = self.keys[key]
        if used_for != fingerprint:
            raise KeyReused(key)
        return self.known[uid]

    def _get(self, uid: str) -> Seen:
        if uid not in self.known:
            raise UnknownReservation(uid)
        return self.known[uid]

    def _admit(self, one: Seen, verb: Verb, version: int | None) -> bool:
        if version is not None and version != one.version:
            raise StaleVersion(one.uid, version, one.version)
        if verb in REPEATS[one.state]:
            return False
        if verb not in NEXT[one.state]:
            kind = HoldExpired if one.state is State.EXPIRED else WrongState
            raise kind(one.uid, one.state.value, verb.value)
        return True

    def _change(self, one: Seen, verb: Verb, **changes: object) -> Seen:
        changed = replace(
            one,
            state=NEXT[one.state][verb],
            version=one.version + 1,
            **changes,  # type: ignore[arg-type]
        )
        self.known[one.uid] = changed
        if verb in {Verb.MOVE, Verb.REINSTATE}:
            self._note_session(changed)
        return changed

    def _made(
        self,
        proposal: Proposal,
        claims: tuple[Claim, ...],
        uid: str,
        key: str | None,
        fingerprint: object,
    ) -> Seen:
        start, end, _, ttl, holder, event_type, seats, *_ = proposal
        made = Seen(
            uid, State.HELD, 1, start, end, claims,
            self.now + ttl, self.now, holder, event_type, seats, proposal.quota,
        )  # fmt: skip
        self.known[uid] = made
        self.demands[uid] = proposal.demand
        self._note_session(made)
        if key is not None:
            self.keys[key] = (fingerprint, uid)
        return made

    def _note_session(self, one: Seen) -> None:
        if one.seats is not None and len(_sharing(one, self._live(None))) == 1:
            self.opened[one.session] = one.created

    def _choose(
        self,
        candidates: Sequence[Proposal],
        policy: Policy,
        weights: Sequence[int] | None,
        load_in: tuple[int, int] | None,
        own: Seen | None,
        *,
        renew: bool,
    ) -> tuple[Proposal, tuple[Claim, ...]]:
        names = [{claim.resource for claim in one.claims} for one in candidates]
        shared = set.intersection(*names) if len(names) > 1 else set()
        loads = [
            sum(self._load(resource, load_in, own) for resource in resources - shared)
            for resources in names
        ]
        shares = list(weights or [1] * len(loads))

        def rank(i: int) -> object:
            if policy is Policy.FIRST:
                return i
            if policy is Policy.LEAST_LOADED:
                return loads[i], i
            fair_share = Fraction(shares[i] * (sum(loads) + 1), sum(shares))
            return loads[i] >= fair_share, Fraction(loads[i] + 1, shares[i]), i

        refusals: dict[int, Refused] = {}
        for i in sorted(range(len(loads)), key=rank):  # type: ignore[arg-type]
            try:
                if own is not None and renew:
                    self._check_life(own, self.now + candidates[i].ttl)
                if own is None or own.start != candidates[i].start:
                    self._check_ahead(candidates[i])
                self._check_quotas(candidates[i], own)
                return candidates[i], self.decide(self.screen(candidates[i], own), own)
            except Refused as refusal:
                refusals[i] = refusal
        raise NoneFree(tuple(refusals[i] for i in range(len(loads))))

    def _load(self, resource: str, load_in: tuple[int, int] | None, own: Seen | None) -> int:
        sessions = {
            one.session
            for one in self._live(own)
            for claim in one.claims
            if claim.resource == resource
            and (load_in is None or (claim.start < load_in[1] and load_in[0] < claim.end))
        }
        return len(sessions)

    def _live(self, own: Seen | None) -> list[Seen]:
        return [
            one
            for one in self.known.values()
            if one.state not in ENDED and (own is None or one.uid != own.uid)
        ]

    def _taken(self, resource: str, instant: int, live: Iterable[Seen]) -> int:
        capacity, _ = self.resources[resource]
        if self._imported_at(resource, instant):
            return capacity
        standing = {
            (one.session, claim)
            for one in live
            for claim in one.claims
            if claim.resource == resource and claim.start <= instant < claim.end
        }
        return sum(claim.units for _, claim in standing)

    def _edges(self, resource: str, start: int, end: int, live: Iterable[Seen]) -> list[int]:
        """Return the ends of a span, and each moment of it at which anything begins or ends."""
        theirs = (claim for one in live for claim in one.claims if claim.resource == resource)
        moments = {moment for claim in theirs for moment in (claim.start, claim.end)}
        moments |= {moment for span in self.imported_spans(resource) for moment in span}
        return sorted({start, end, *(one for one in moments if start < one < end)})

    def imported_spans(self, resource: str) -> list[tuple[int, int]]:
        """Return where imported busy time is, whoever says so: each span as long as can be."""
        every = (span for theirs in self.imported.values() for span in theirs.get(resource, ()))
        return _joined(every)

    def imported_by_source(self, resource: str) -> list[tuple[str, int, int]]:
        """Return what each source says, in order: each span as long as can be."""
        return sorted(
            (source, *span)
            for source, theirs in self.imported.items()
            for span in _joined(theirs.get(resource, ()))
        )

    def _imported_at(self, resource: str, instant: int) -> bool:
        return any(start <= instant < end for start, end in self.imported_spans(resource))

    def _fits(self, claim: Claim, live: Sequence[Seen]) -> bool:
        name, start, end, units = claim
        capacity, _ = self.resources[name]
        return all(
            self._taken(name, instant, live) + units <= capacity
            for instant in self._edges(name, start, end, live)[:-1]
        )

    def decide(
        self, proposal: Proposal, own: Seen | None = None, *, hours: bool = True
    ) -> tuple[Claim, ...]:
        """Return the claims that the proposal would get, or raise."""
        live, fixed, limits = self._live(own), proposal.claims, proposal.limits
        asked = proposal._replace(claims=fixed + limits)
        members = _members(proposal, live)
        if members:
            claims = self._claims(asked, live)
            if claims is not None:
                return claims
            will_do = _will_do(members[0], proposal)
            kind = NoSeatsLeft if will_do and members[0].end == proposal.end else SlotTaken
            refused = members[0].claims[0].resource
            raise kind(refused, partial(self.obstruction, asked, refused, own))
        for i, claim in enumerate(fixed if hours else ()):
            its_own = proposal.schedules[i] if proposal.schedules else proposal.schedule
            self._check_hours(claim, proposal, its_own)
        for claim in fixed:
            self._check_fits(claim, asked, own)
        picks = fixed
        for pool in proposal.pools:
            picks += (self._pick(pool, proposal, own),)
        asked = proposal._replace(claims=picks + limits)
        for claim in limits:
            self._check_fits(claim, asked, own)
        return asked.claims

    def check_open(self, proposal: Proposal) -> None:
        """Raise if hours do not admit a proposal even if everybody else gives up all they have.

        Whoever shares a session takes it as it is.
        """
        members = _members(proposal, self._live(None))
        if not (members and members[0].end == proposal.end and _will_do(members[0], proposal)):
            NaiveLedger(self.terms, self.resources).decide(proposal._replace(limits=()))

    def _check_ahead(self, proposal: Proposal) -> None:
        if proposal.demand is not Demand.NOTHING and proposal.end <= self.now:
            raise AlreadyOver(from_us(proposal.end))

    def _check_hours(self, claim: Claim, proposal: Proposal, schedule: Windows | None) -> None:
        schedule = schedule or self.resources[claim.resource][1]
        if schedule is not None and not schedule.covers(proposal.start, proposal.end):
            span = from_us(proposal.start), from_us(proposal.end)
            raise OutsideHours(claim.resource, *span)

    def _check_fits(self, claim: Claim, asked: Proposal, own: Seen | None) -> None:
        if not self._fits(claim, self._live(own)):
            kind = LimitReached if is_limit(claim.resource) else SlotTaken
            raise kind(claim.resource, partial(self.obstruction, asked, claim.resource, own))

    def _pick(self, pool: Pool, proposal: Proposal, own: Seen | None) -> Claim:
        """Return the claim of whoever's turn it is among those who can."""
        refusals: dict[int, Refused] = {}
        for i in self._turns(pool, proposal.event_type, own):
            claim = pool.claims[i]
            asked = proposal._replace(claims=(*proposal.claims, claim))
            try:
                self._check_hours(claim, proposal, pool.schedules and pool.schedules[i])  # type: ignore[arg-type]
                self._check_fits(claim, asked, own)
            except Refused as refusal:
                refusals[i] = refusal
            else:
                return claim
        if len(refusals) == 1:
            raise refusals[0]
        raise NoneFree(tuple(refusals[i] for i in range(len(refusals))))

    def _turns(self, pool: Pool, event_type: str | None, own: Seen | None) -> list[int]:
        given: list[dict[object, int]] = [
            {
                one.session: one.created if one.seats is None else self.opened[one.session]
                for one in self._live(own)
                if one.event_type == event_type
                and claim.resource in {theirs.resource for theirs in one.claims}
            }
            for claim in pool.claims
        ]
        keep = {claim.resource for claim in own.claims} if own is not None else set()
        shares = pool.weights or (1,) * len(given)

        def rank(i: int) -> object:
            load = len(given[i])
            fair_share = Fraction(shares[i] * (sum(map(len, given)) + 1), sum(shares))
            latest = max(given[i].values(), default=-1)
            kept = pool.claims[i].resource in keep
            return not kept, load >= fair_share, Fraction(load + 1, shares[i]), latest

        return sorted(range(len(given)), key=rank)  # type: ignore[arg-type]

    def _claims(self, proposal: Proposal, live: Sequence[Seen]) -> tuple[Claim, ...] | None:
        """Return the claims that the proposal would get beside what is live, None if none."""
        members = _members(proposal, live)
        if members:
            assert proposal.seats is not None
            total, wanted = proposal.seats
            room = members[0].end == proposal.end and _seats(members) + wanted <= total
            return members[0].claims if room and _will_do(members[0], proposal) else None
        return proposal.claims if all(self._fits(one, live) for one in proposal.claims) else None

    def obstruction(self, proposal: Proposal, refused: str, own: Seen | None) -> Obstruction:
        """Ask again for each moment at which something lapses, and see what is there now."""
        live = self._live(own)
        retry_at = next(
            (
                moment
                for moment in sorted({self.now, *(one.until for one in live)})
                if self._claims(proposal, [one for one in live if one.until > moment]) is not None
            ),
            BOOKED_UNTIL,  # imported busy time does not lapse
        )
        members = _members(proposal, live)
        if members:
            span = members[0].start, members[0].end
            ways = [self._way(*span, _seats(members), members)]
        else:
            whole = Claim(refused, proposal.start, proposal.end)
            where = next((one for one in proposal.claims if one.resource == refused), None)
            where = where or next(iter(proposal.claims), whole)
            span = where.start, where.end
            by_session = {
                one.session: self._way(theirs.start, theirs.end, theirs.units, _sharing(one, live))
                for one in live
                for theirs in one.claims
                if theirs.resource == refused
                and theirs.start < where.end
                and where.start < theirs.end
            }
            ways = [*by_session.values(), *self._imported_ways(refused, where)]
            if is_limit(refused):
                units = Counter[bool]()
                for way in ways:
                    units[way.booked] += way.units
                ways = [way._replace(units=units[way.booked]) for way in ways]
                ways = list({way.booked: way for way in ways}.values())
        return Obstruction(
            from_us(span[0]),
            from_us(span[1]),
            tuple(sorted(ways)) if retry_at > self.now else (),
            None if retry_at >= UNDYING else from_us(retry_at),
        )

    def _imported_ways(self, resource: str, where: Claim) -> Iterable[InTheWay]:
        """Return the imported busy spans in the way, each as far as it reaches."""
        capacity, _ = self.resources[resource]
        return [
            InTheWay(from_us(start), from_us(end), capacity, True)
            for start, end in self.imported_spans(resource)
            if start < where.end and where.start < end
        ]

    @staticmethod
    def _way(start: int, end: int, units: int, owners: Iterable[Seen]) -> InTheWay:
        booked = any(one.until == BOOKED_UNTIL for one in owners)
        return InTheWay(from_us(start), from_us(end), units, booked)


def _check_each(proposals: Sequence[Proposal], check: Callable[[Proposal], None]) -> None:
    for i, proposal in enumerate(proposals):
        try:
            check(proposal)
        except SlotError as error:
            error.of_request(i)
            raise


def _least(*limits: int | None) -> int | None:
    """Return the lowest of some limits, of which some may be none."""
    return min((limit for limit in limits if limit is not None), default=None)


def _asked(proposal: Proposal) -> object:
    """Return all that must be the same again if a key is."""
    return proposal.request or proposal._replace(key=None, quota=None)


def _joined(several: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in sorted(several):
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((start, end))
    return spans


def _as_proposed(proposal: Proposal, _: Seen | None) -> Proposal:
    return proposal


def _sharing(one: Seen, live: Iterable[Seen]) -> list[Seen]:
    """Return those who share a session with one, or just that one."""
    return [other for other in live if other.session == one.session]


def _members(proposal: Proposal, live: Iterable[Seen]) -> list[Seen]:
    """Return who is in the session that the proposal is for."""
    return [
        one
        for one in live
        if proposal.seats is not None
        and one.seats is not None
        and (one.event_type, one.start) == (proposal.event_type, proposal.start)
    ]


def _will_do(one: Seen, proposal: Proposal) -> bool:
    """Return whether the hosts of a session are among those that a proposal is about."""
    theirs = {claim.resource for claim in one.claims if not is_limit(claim.resource)}
    return proposal.hosts is None or theirs <= proposal.hosts


def _seats(members: Iterable[Seen]) -> int:
    return sum(one.seats.wanted for one in members if one.seats is not None)
