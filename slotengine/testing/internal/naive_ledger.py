"""The rules of the ledger again, written as simply as possible, to compare with.

`NaiveLedger` keeps a list of reservations, and works every answer out from scratch:
slow, but short enough to check by reading.  Make the same calls on it and on a
`Ledger`, and compare the outcomes (`slotengine.testing.internal.observed`).

It expires and forgets at the exact moment.  So a ledger that agrees with it does not
show whether its sweeper has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, TypeAlias

from slotengine.core.ledger.commands import Annotate, Replace
from slotengine.core.ledger.expiry import NEVER, PENDING
from slotengine.core.ledger.extra import KEEP, Extra
from slotengine.core.ledger.index import Order, Query
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    ENDED,
    NEXT,
    REPEATS,
    UNDYING,
    Claim,
    Demand,
    State,
    Verb,
    is_limit,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import DAY, from_us
from slotengine.core.time.schedule import Windows
from slotengine.errors import (
    AlreadyOver,
    HoldExpired,
    InvalidTTL,
    KeyReused,
    KeySpent,
    LifeExceeded,
    NoneFree,
    QuotaExceeded,
    Refused,
    SlotError,
    StaleVersion,
    TooManyUnits,
    UnknownReservation,
    UnknownResource,
    WrongState,
)
from slotengine.testing.internal.naive_occupancy import NaiveOccupancy, members_of, sharing
from slotengine.testing.internal.observed import ObservedReservation, describe

WantedNow: TypeAlias = tuple[Proposal, Callable[[int], None] | None]

NO_QUOTA: Final = Quota()
"""A quota without limits."""


class NaiveLedger(NaiveOccupancy):
    """A ledger that can be checked by reading it.

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
        super().__init__(resources)
        self.terms = terms
        self.without_awaited: Callable[[Proposal, ObservedReservation | None], Proposal] = (
            _as_proposed
        )
        """Called before each placement, with the reservation that moves; may refuse, or leave out
        members of pools."""
        self.serial = 0
        self.event_types: dict[str, EventType] = {}
        """The event types that `naive_booking_rules` has added."""
        self.keys: dict[str, tuple[object, str, int]] = {}
        self.wanted: dict[str, Proposal] = {}
        """What was requested last, by uid."""
        self.sessions: dict[bytes, Any] = {}
        """The sessions of clients, which `naive_clients` keeps."""
        self.demands: dict[str, Demand] = {}  # the rules that each was made by
        # Of each holder, since its last confirmation: when each expired hold was made, and expired.
        self.lapses: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def jumping(self, *, jumps: bool = True) -> Iterator[None]:
        """Let requests be had whoever waits for them, while the block runs, if they may jump."""
        right = self.without_awaited
        if jumps:
            self.without_awaited = _as_proposed
        try:
            yield
        finally:
            self.without_awaited = right

    def at(self, now: int) -> None:
        """Let time pass: expire holds that are due, and forget reservations after the retention."""
        self.now = now = max(self.now, now)
        over = [one for one in self.known.values() if one.state is State.HELD and one.until <= now]
        for one in sorted(over, key=lambda each: each.until):
            self._change(one, Verb.EXPIRE)
            if one.holder is not None:
                self.lapses.setdefault(one.holder, []).append((one.created, one.until))
        for one in list(self.known.values()):
            if one.state in ENDED and one.until + self.terms.retention <= now:
                del self.known[one.uid]
        self.keys = {
            key: (asked, uid, made)
            for key, (asked, uid, made) in self.keys.items()
            if uid in self.known or made + DAY > self.now
        }

    def replace_busy(
        self, source: str, spans: Mapping[str, Sequence[tuple[int, int]]], now: int
    ) -> None:
        """Do as `Ledger.replace_busy`."""
        self.at(now)
        self.imported[source] = spans

    def forget_bookings(self, before: int, now: int, uids: Sequence[str] | None = None) -> int:
        """Do as `SlotEngine.forget_bookings`; of these only, if some are given."""
        self.at(now)
        over = [
            one
            for one in self.known.values()
            if one.state is State.CONFIRMED
            and (uids is None or one.uid in uids)
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
    ) -> ObservedReservation:
        """Do as `Ledger.reserve_proposal`."""
        self.at(now)
        fingerprint = _asked(proposal)
        if (done := self._done(proposal.key, fingerprint)) is not None:
            return done
        self.check(proposal)
        if proposal.requested:
            self.check_type_not_retired(proposal.event_type)
            return self._made(proposal, proposal.claims, uid, proposal.key, fingerprint)
        self._check_new(proposal)
        self.check_type_not_retired(proposal.event_type)
        if check is not None:
            check(self.now)
        self._check_ahead(proposal)
        self._check_quotas(proposal, None)
        claims = self.decide(self.without_awaited(proposal, None))
        return self._made(proposal, claims, uid, proposal.key, fingerprint)

    def adopt(self, proposal: Proposal, uid: str, now: int) -> ObservedReservation:
        """Do as `Ledger.adopt`."""
        self.at(now)
        fingerprint = _asked(proposal._replace(limits=()), "adopt")
        if (done := self._done(proposal.key, fingerprint)) is not None:
            return done
        self.check(proposal._replace(seats=None) if proposal.seats else proposal)
        claims, seats = proposal.claims + proposal.limits, proposal.seats
        members = members_of(proposal, self.live(None))
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
    ) -> list[ObservedReservation]:
        """Do as `Ledger.reserve_all`: one by one, undoing all of them at a refusal."""
        self.at(now)
        self._check_batch(proposals)
        before = dict(self.known), dict(self.keys), dict(self.opened)
        serial = self.serial
        made: list[ObservedReservation] = []
        try:
            for proposal, uid in zip(proposals, uids, strict=True):
                made.append(self.reserve(proposal, uid, now))
        except Refused as refusal:
            refusal.of_request(len(made))
            # For a batch, its own earlier claims never expire, unless they share a session
            # with others.
            others = self.live(None)
            for uid in self.known.keys() - before[0].keys():
                shared = [
                    one.until
                    for one in others
                    if one.session == self.known[uid].session and one.uid in before[0]
                ]
                self.known[uid] = replace(self.known[uid], until=max(shared, default=UNDYING))
            describe(refusal)
            self.known, self.keys, self.opened = before
            self.serial = serial
            raise
        return made

    def reserve_each(
        self,
        proposals: Sequence[Proposal],
        uids: Sequence[str],
        now: int,
        done: Sequence[str | None] = (),
    ) -> list[object]:
        """Do as `Ledger.reserve_each`, with refusals as `outcome` describes them.

        ``done`` are the uids of those that were reserved before, by the same command.
        """
        self.at(now)
        before = list(done) or [None] * len(proposals)
        self._check_batch(proposals, before)
        results: list[ObservedReservation | Refused] = []
        for proposal, uid, known in zip(proposals, uids, before, strict=True):
            try:
                results.append(
                    self.reserve(proposal, uid, now) if known is None else self._get(known)
                )
            except Refused as refusal:
                refusal.of_request(len(results))
                results.append(refusal)
        # A refusal is explained as of the time it is read: after the whole batch.
        return [describe(one) if isinstance(one, Refused) else one for one in results]

    def reserve_any(
        self,
        candidates: Sequence[Proposal],
        uid: str,
        now: int,
        policy: Policy = Policy.FIRST,
        weights: Sequence[int] | None = None,
        load_in: tuple[int, int] | None = None,
        key: str | None = None,
    ) -> ObservedReservation:
        """Do as `Ledger.reserve_any`."""
        self.at(now)
        choice = (policy, weights and tuple(weights), load_in)
        fingerprint = (*map(_asked, candidates), choice)
        if (done := self._done(key, fingerprint)) is not None:
            return done
        _check_each(candidates, self.check)
        _check_each(candidates, self._check_new)
        chosen, claims = self._choose(candidates, policy, weights, load_in, None, renew=False)
        return self._made(chosen, claims, uid, key, fingerprint)

    # --- The life of a reservation -------------------------------------------------------

    def extend(
        self, uid: str, ttl: int, now: int, version: int | None = None
    ) -> ObservedReservation:
        """Do as `Ledger.extend`."""
        self.at(now)
        self.terms.check_ttl(ttl)
        one = self._get(uid)
        self._admit(one, Verb.EXTEND, version)
        self._check_life(one, _lapse(self.now, ttl))
        return self._change(one, Verb.EXTEND, until=_lapse(self.now, ttl))

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
    ) -> ObservedReservation:
        """Do as `Ledger.move_any`."""
        self.at(now)
        _check_each(candidates, self.check)
        one = self._get(uid)
        self._admit(one, Verb.MOVE, version)
        if one.state is State.REQUESTED:
            raise WrongState(uid, one.state.value, Verb.MOVE.value)
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
            until=_lapse(self.now, chosen.ttl) if renew else one.until,
        )

    def move_to(
        self,
        uid: str,
        proposal: Proposal,
        now: int,
        *,
        renew: bool = False,
        version: int | None = None,
    ) -> ObservedReservation:
        """Do as `Ledger.move`."""
        self.at(now)
        self.check(proposal)
        one = self.known.get(uid)
        if one is not None and one.state is State.REQUESTED:
            self._admit(one, Verb.MOVE, version)
            self.check_type_not_retired(proposal.event_type)
            return self._want(one, proposal)
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
        check: Callable[[ObservedReservation, int], None] | None = None,
        *,
        enforce: bool = True,
        wanted_now: Callable[[ObservedReservation], WantedNow] | None = None,
    ) -> ObservedReservation:
        """Do as `Ledger.confirm`.

        ``wanted_now`` says what was requested by the rules of now, and the check before.
        """
        self.at(now)
        one = self._get(uid)
        if one.state is State.REQUESTED:
            self._admit(one, Verb.CONFIRM, version)
            wanted = (self.wanted[uid], None) if wanted_now is None else wanted_now(one)
            return self._grant(one, *wanted, enforce=enforce)
        if not (if_still_free and one.state is State.EXPIRED):
            if not self._admit(one, Verb.CONFIRM, version):
                return one
            self.lapses.pop(one.holder or "", None)
            return self._change(one, Verb.CONFIRM, until=BOOKED_UNTIL)
        self._admit(one, Verb.REINSTATE, version)
        self.check_type_not_retired(one.event_type)
        for claim in one.claims:
            if claim.resource not in self.resources:
                raise UnknownResource(claim.resource)
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
        if enforce:
            if check is not None and again.demand is Demand.RULES:
                check(one, self.now)
            self._check_ahead(again)
        hours = enforce and again.demand is Demand.HOURS
        claims = self.decide(self.without_awaited(again, None), hours=hours)
        self.lapses.pop(one.holder or "", None)
        return self._change(one, Verb.REINSTATE, until=BOOKED_UNTIL, claims=claims)

    def _want(self, one: ObservedReservation, proposal: Proposal) -> ObservedReservation:
        self.wanted[one.uid] = proposal
        self.demands[one.uid] = proposal.demand
        return self._change(
            one,
            Verb.MOVE,
            start=proposal.start,
            end=proposal.end,
            claims=proposal.claims,
            event_type=proposal.event_type,
            seats=proposal.seats,
        )

    def _grant(
        self,
        one: ObservedReservation,
        wanted: Proposal,
        check: Callable[[int], None] | None,
        *,
        enforce: bool,
    ) -> ObservedReservation:
        """Reserve and confirm what was requested, in its place."""
        self.check_type_not_retired(one.event_type)
        # Whatever was said of a TTL when it was requested, a booking has none.
        self.check(wanted._replace(ttl=self.terms.shortest_ttl))
        if enforce:
            if check is not None:
                check(self.now)
            self._check_ahead(wanted)
        claims = self.decide(self.without_awaited(wanted, None))
        granted = self._change(one, Verb.CONFIRM, until=BOOKED_UNTIL, claims=claims)
        self._note_session(granted)
        return granted

    def check_movable(self, one: ObservedReservation, version: int | None = None) -> None:
        """Do as `Ledger.check_movable`."""
        self._admit(one, Verb.MOVE, version)

    def end(
        self, uid: str, verb: Verb, now: int, version: int | None = None
    ) -> ObservedReservation:
        """Do as `Ledger.release` and `Ledger.cancel`."""
        self.at(now)
        one = self._get(uid)
        if not self._admit(one, verb, version):
            return one
        return self._change(one, verb, until=self.now)

    # --- Reading -------------------------------------------------------------------------

    def replace(self, command: Replace, now: int) -> ObservedReservation:
        """Do as `Ledger.replace`: take the one away, make the other, and undo it if refused."""
        self.at(now)
        asked = command.request
        fingerprint = _asked(asked, "replace", command.uid)
        if (done := self._done(asked.key, fingerprint)) is not None:
            return done
        self.check(asked)
        one = self._get(command.uid)
        self._admit(one, Verb.REPLACE, command.version)
        held = one.state is State.HELD
        noted = (asked.extra or one.extra or Extra())._replace(replaces=one.uid, replaced_by=None)
        asked = asked._replace(holder=asked.holder or one.holder, extra=noted)
        if held:
            self._check_new(asked)
        else:
            asked = asked._replace(quota=None)
        self.check_type_not_retired(asked.event_type)
        self._check_ahead(asked)
        del self.known[one.uid]
        try:
            if held:
                self._check_quotas(asked, None)
            self.known[one.uid] = one
            wanted = self.without_awaited(asked, one)
            del self.known[one.uid]
            claims = self.decide(wanted)
        except Refused as refusal:
            describe(refusal)
            raise
        finally:
            self.known[one.uid] = one
        ended = (one.extra or Extra())._replace(replaced_by=command.new_uid)
        verb = Verb.RELEASE if held else Verb.CANCEL
        self._change(one, verb, until=self.now, extra=ended)
        made = self._made(asked, claims, command.new_uid, asked.key, fingerprint)
        if held:
            return made
        self.lapses.pop(made.holder or "", None)
        return self._change(made, Verb.CONFIRM, until=BOOKED_UNTIL)

    def annotate(self, command: Annotate, now: int) -> ObservedReservation:
        """Do as `Ledger.annotate`."""
        self.at(now)
        one = self._get(command.uid)
        self._admit(one, Verb.ANNOTATE, command.version)
        noted = one.extra or Extra()
        for name in ("metadata", "details", "tags"):
            given = getattr(command, name)
            if given is not KEEP:
                noted = noted._replace(**{name: given})
        extra = None if noted == Extra() else noted
        return one if extra == one.extra else self._change(one, Verb.ANNOTATE, extra=extra)

    def find(self, query: Query, now: int) -> list[str]:
        """Do as `Ledger.find`, with all in one page, as uids.

        Not by when things changed, which is not known here.
        """
        self.at(now)

        def is_meant(one: ObservedReservation) -> bool:
            noted = one.extra or Extra()
            spans = [(one.start, one.end)]
            if query.resource is not None:
                spans = [each[1:3] for each in one.claims if each.resource == query.resource]
            if query.within is not None:
                first, last = query.within
                spans = [each for each in spans if max(first, each[0]) < min(last, each[1])]
            return (
                spans != []
                and query.holder in {None, one.holder}
                and query.event_type in {None, one.event_type}
                and (query.tag is None or query.tag in noted.tags)
                and (query.states is None or one.state in query.states)
                and (query.created_since is None or query.created_since <= one.created)
            )

        by_start = query.order is Order.START
        found = [
            (one.start if by_start else one.created, one.serial, one.uid)
            for one in self.known.values()
            if is_meant(one)
        ]
        return [uid for _, _, uid in sorted(found, reverse=query.descending)]

    def get(self, uid: str, now: int) -> ObservedReservation | None:
        """Do as `Ledger.get`."""
        self.at(now)
        return self.known.get(uid)

    def is_free(self, proposal: Proposal, now: int) -> bool:
        """Do as `Ledger.is_free`."""
        self.at(now)
        self.check(proposal)
        self._check_new(proposal)
        try:
            self.check_type_not_retired(proposal.event_type)
            self._check_ahead(proposal)
            self._check_quotas(proposal, None)
            self.decide(self.without_awaited(proposal, None))
        except Refused:
            return False
        return True

    def busy(self, resource: str, start: int, end: int, now: int) -> list[tuple[int, int, int]]:
        """Do as `Ledger.busy`."""
        self.at(now)
        pieces: list[tuple[int, int, int]] = []
        live = self.live(None)
        for low, high in pairwise(self.edges(resource, start, end, live)):
            units = min(self.taken(resource, low, live), self.resources[resource][0])
            if pieces and pieces[-1][1:] == (low, units):
                pieces[-1] = (pieces[-1][0], high, units)
            elif units:
                pieces.append((low, high, units))
        return pieces

    def reservations_in(self, resource: str, start: int, end: int, now: int) -> set[str]:
        """Return the uids of the reservations that `Ledger.reservations_in` returns."""
        self.at(now)
        return {
            one.uid
            for one in self.live(None)
            for claim in one.claims
            if claim.resource == resource and claim.start < end and start < claim.end
        }

    # --- Inside --------------------------------------------------------------------------

    def check(self, proposal: Proposal) -> None:
        """Raise, as a ledger does, if a proposal can never be accepted."""
        # Requests to an engine have no digest yet.
        (proposal if proposal.digest else proposal._replace(key=None)).check()
        pools = [claim for pool in proposal.pools for claim in pool.claims]
        for claim in (*proposal.claims, *pools):
            if claim.resource not in self.resources:
                raise UnknownResource(claim.resource)
            capacity, _ = self.resources[claim.resource]
            if claim.units > capacity:
                raise TooManyUnits(claim.resource, claim.units, capacity)
        self.terms.check_ttl(proposal.ttl)

    def _check_batch(self, proposals: Sequence[Proposal], done: Sequence[str | None] = ()) -> None:
        def check(proposal: Proposal) -> None:
            if self._done(proposal.key, _asked(proposal)) is None:
                self.check(proposal)
                self._check_new(proposal)

        _check_each(proposals, check, done)

    def _check_new(self, proposal: Proposal) -> None:
        """Refuse a TTL that is longer than the life that the quota allows."""
        life = (proposal.quota or NO_QUOTA).life
        if life is not None and proposal.ttl > life:
            shortest, longest = self.terms.shortest_ttl, min(life, self.terms.longest_ttl)
            durations = (timedelta(0, 0, us) for us in (proposal.ttl, shortest, longest))
            raise InvalidTTL(*durations)

    def _check_life(self, one: ObservedReservation, until: int) -> None:
        longest = _least(self.terms.max_life, (one.quota or NO_QUOTA).life)
        if longest is not None and until - one.created > longest:
            raise LifeExceeded(one.uid, from_us(one.created + longest))

    def _check_quotas(self, proposal: Proposal, own: ObservedReservation | None) -> None:
        """Refuse a hold that exceeds the holder's quota; a move, only if it is longer."""
        holder = proposal.holder if own is None else own.holder
        theirs = [one for one in self.live(own) if one.holder == holder]
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
                raise QuotaExceeded("holds", most, len(holds), _moment(retry_at))
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
        self,
        proposal: Proposal,
        holds: list[ObservedReservation],
        own: ObservedReservation | None,
        longest: int | None,
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
            retry_at = _moment(fits[0]) if fits else None
            limit = timedelta(0, 0, longest)
            raise QuotaExceeded("time", limit, timedelta(0, 0, used), retry_at)

    def _done(self, key: str | None, fingerprint: object) -> ObservedReservation | None:
        if key is None or key not in self.keys:
            return None
        used_for, uid, _ = self.keys[key]
        if used_for != fingerprint:
            raise KeyReused(key)
        if uid not in self.known:
            raise KeySpent(key, uid)
        return self.known[uid]

    def _get(self, uid: str) -> ObservedReservation:
        if uid not in self.known:
            raise UnknownReservation(uid)
        return self.known[uid]

    def _admit(self, one: ObservedReservation, verb: Verb, version: int | None) -> bool:
        if version is not None and version != one.version:
            raise StaleVersion(one.uid, version, one.version)
        if verb in REPEATS[one.state]:
            return False
        if verb not in NEXT[one.state]:
            kind = HoldExpired if one.state is State.EXPIRED else WrongState
            raise kind(one.uid, one.state.value, verb.value)
        return True

    def _change(
        self, one: ObservedReservation, verb: Verb, **changes: object
    ) -> ObservedReservation:
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
    ) -> ObservedReservation:
        start, end, _, ttl, holder, event_type, seats, *_ = proposal
        self.serial += 1
        requested = proposal.requested
        made = ObservedReservation(
            uid, State.REQUESTED if requested else State.HELD, 1, start, end, claims,
            BOOKED_UNTIL if requested else _lapse(self.now, ttl), self.now, holder, event_type,
            seats, self.serial, proposal.extra, None if requested else proposal.quota,
        )  # fmt: skip
        self.known[uid] = made
        self.demands[uid] = proposal.demand
        if requested:
            self.wanted[uid] = proposal
        self._note_session(made)
        if key is not None:
            self.keys[key] = (fingerprint, uid, self.now)
        return made

    def _note_session(self, one: ObservedReservation) -> None:
        if one.state is State.REQUESTED:
            return
        if one.seats is not None and len(sharing(one, self.live(None))) == 1:
            self.opened[one.session] = one.created

    def _choose(
        self,
        candidates: Sequence[Proposal],
        policy: Policy,
        weights: Sequence[int] | None,
        load_in: tuple[int, int] | None,
        own: ObservedReservation | None,
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
                self.check_type_not_retired(candidates[i].event_type)
                if own is not None and renew:
                    self._check_life(own, _lapse(self.now, candidates[i].ttl))
                if own is None or own.start != candidates[i].start:
                    self._check_ahead(candidates[i])
                self._check_quotas(candidates[i], own)
                return candidates[i], self.decide(self.without_awaited(candidates[i], own), own)
            except Refused as refusal:
                refusals[i] = refusal
        raise NoneFree(tuple(refusals[i] for i in range(len(loads))))

    def _load(
        self, resource: str, load_in: tuple[int, int] | None, own: ObservedReservation | None
    ) -> int:
        sessions = {
            one.session
            for one in self.live(own)
            for claim in one.claims
            if claim.resource == resource
            and (load_in is None or (claim.start < load_in[1] and load_in[0] < claim.end))
        }
        return len(sessions)

    def _check_ahead(self, proposal: Proposal) -> None:
        if proposal.demand is not Demand.NOTHING and proposal.end <= self.now:
            raise AlreadyOver(from_us(proposal.end))


def _check_each(
    proposals: Sequence[Proposal],
    check: Callable[[Proposal], None],
    done: Sequence[str | None] = (),
) -> None:
    for i, proposal in enumerate(proposals):
        try:
            if not done or done[i] is None:
                check(proposal)
        except SlotError as error:
            error.of_request(i)
            raise


def _least(*limits: int | None) -> int | None:
    """Return the lowest of some limits; None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def _asked(proposal: Proposal, *verb: str) -> object:
    """Return the fingerprint of a request: what must be equal when a key is repeated."""
    return proposal.digest or (verb, proposal._replace(key=None, quota=None, rule=None))


def _as_proposed(proposal: Proposal, _: ObservedReservation | None) -> Proposal:
    return proposal


def _moment(until: int) -> datetime | None:
    return None if until == NEVER else from_us(until)


def _lapse(now: int, ttl: int) -> int:
    return NEVER if ttl == PENDING else now + ttl
