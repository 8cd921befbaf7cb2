"""The waitlist again, written as simply as possible, to compare with.

`NaiveWaitlist` is a list of waiting callers, in order of arrival.  Whenever a caller
may be served, the list is gone through from the start, and again after each answer,
until no caller can be answered.

>>> from slotengine.core.ledger.terms import Terms
>>> naive = NaiveLedger(Terms(5, 1, 20), {"room-1": (1, None)})
>>> waitlist = NaiveWaitlist[str](naive, most=10)
>>> ask = Proposal(3, 6, (Claim("room-1", 3, 6),), ttl=5)
>>> waitlist.ask("first", ask, wait=0, now=0).until
5
>>> waitlist.ask("second", ask, wait=9, now=0)
>>> waitlist.next(now=4)
>>> caller, made = waitlist.next(now=5)
>>> caller, made.until
('second', 10)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Demand
from slotengine.core.time.instant import LAST_US, from_us
from slotengine.errors import (
    NoneFree,
    Obstruction,
    QuotaExceeded,
    SlotAwaited,
    SlotTaken,
    TooManyWaiting,
)
from slotengine.testing.internal.naive_clients import check_session, ends_at
from slotengine.testing.internal.naive_ledger import NO_QUOTA, NaiveLedger
from slotengine.testing.internal.observed import COMPARABLE, ObservedReservation, describe

Caller = TypeVar("Caller")
Check = Callable[[int], None] | None


@dataclass(eq=False)
class WaitlistEntry(Generic[Caller]):
    """A waiting caller: its proposal, and the end of its wait."""

    caller: Caller
    proposal: Proposal
    until: int
    check: Check
    session: bytes | None = None


class NaiveWaitlist(Generic[Caller]):
    """The waiting callers of a naive ledger; others cannot reserve what these wait for."""

    def __init__(self, naive: NaiveLedger, most: int) -> None:
        self._naive = naive
        self._most = most
        self._waiting: list[WaitlistEntry[Caller]] = []
        self._earlier: Sequence[WaitlistEntry[Caller]] | None = None
        """The callers before the one that is tried; None: all that wait, for a new caller."""
        naive.without_awaited = self._without_awaited

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[WaitlistEntry[Caller]]:
        return iter(list(self._waiting))

    # --- Joining and leaving ------------------------------------------------------------------

    def ask(
        self,
        caller: Caller,
        proposal: Proposal,
        wait: int,
        now: int,
        check: Check = None,
        last: int = LAST_US,
        uid: str | None = None,
        session: bytes | None = None,
    ) -> ObservedReservation | None:
        """Return the reservation that a new caller gets at once; None if it waits.

        The uid is ``uid``, or the caller's name.  It waits until ``last`` at most, and no
        longer than its ``session``.  Raises the refusal, such as `TooManyWaiting`.
        """
        try:
            return self._naive.reserve(proposal, uid or str(caller), now, check)
        except (SlotTaken, NoneFree) as refusal:
            until = min(self._naive.now + wait, last)
            if proposal.demand is not Demand.NOTHING:
                until = min(until, proposal.end - 1)
            if until <= self._naive.now or not _may_pass(refusal):
                raise
            limits = self._naive.resources
            if any(claim.units > limits[claim.resource][0] for claim in proposal.limits):
                raise
            self._naive.check_open(proposal)
        theirs = sum(one.proposal.holder == proposal.holder for one in self._waiting)
        most = (proposal.quota or NO_QUOTA).waits
        if most is not None and theirs >= most:
            raise QuotaExceeded("waits", most, theirs, None)
        if len(self._waiting) >= self._most:
            raise TooManyWaiting(self._most)
        if session is not None:
            until = min(until, ends_at(self._naive, session) - 1)
        self._waiting.append(WaitlistEntry(caller, proposal, until, check, session))
        return None

    def give_up(self, caller: Caller) -> None:
        """Remove a waiting caller."""
        self._waiting = [one for one in self._waiting if one.caller is not caller]

    def clear(self) -> None:
        """Remove all waiting callers."""
        self._waiting = []

    # --- Serving ----------------------------------------------------------------------------

    def next(
        self, now: int, answer_of: Callable[[Caller], object] = lambda caller: None
    ) -> tuple[Caller, Any] | None:
        """Return the caller that is answered next, and its answer; None if there is none.

        A caller whose slot is free gets it.  One whose wait is over is refused.  One that
        is refused for another reason, such as a quota, may be told so at once or later:
        ``answer_of`` returns the engine's answer, which also has the uid to use, or None
        while it is another caller's turn.
        """
        self._naive.at(now)
        for i, one in enumerate(self._waiting):
            if self._is_behind(one, i):
                continue
            answer = self._try(one, i, answer_of(one.caller))
            is_late = answer is not None and not isinstance(answer, ObservedReservation)
            if answer is None or (is_late and answer_of(one.caller) is None):
                continue
            return self._answered(one, answer)
        return self._next_overdue(answer_of)

    def _next_overdue(self, answer_of: Callable[[Caller], object]) -> tuple[Caller, Any] | None:
        one = min(self._waiting, key=lambda each: each.until, default=None)
        if one is None or one.until > self._naive.now:
            return None
        answer = self._try(one, self._waiting.index(one), answer_of(one.caller), last=True)
        return self._answered(one, answer)

    def _answered(self, one: WaitlistEntry[Caller], answer: object) -> tuple[Caller, Any]:
        self._waiting.remove(one)
        return one.caller, answer

    def _try(
        self, one: WaitlistEntry[Caller], i: int, answer: object, *, last: bool = False
    ) -> object:
        """Return what the i-th caller gets: a reservation, a final refusal, or None to wait on."""
        uid = answer.uid if isinstance(answer, ObservedReservation) else "new"
        known = self._naive.resources
        limits = tuple(claim for claim in one.proposal.limits if claim.resource in known)
        proposal = one.proposal._replace(limits=limits)  # some may be gone since
        with self._turn_of(i):
            try:
                if one.session is not None:
                    check_session(self._naive, one.session)
                return self._naive.reserve(proposal, uid, self._naive.now, one.check)
            except COMPARABLE as error:
                if last or not _may_pass(error):
                    return describe(error)
            try:
                self._naive.check_open(proposal)
            except COMPARABLE as error:
                return describe(error)
            return None

    @contextmanager
    def _turn_of(self, i: int) -> Iterator[None]:
        self._earlier = self._waiting[:i]
        try:
            yield
        finally:
            self._earlier = None

    # --- Order -------------------------------------------------------------------------------

    def _is_behind(self, one: WaitlistEntry[Caller], i: int) -> bool:
        with self._turn_of(i):
            try:
                self._without_awaited(one.proposal, None)
            except SlotAwaited:
                return True
        return False

    def _without_awaited(self, proposal: Proposal, own: ObservedReservation | None) -> Proposal:
        """Return the proposal without hosts that earlier callers wait for, or refuse."""
        earlier = self._waiting if self._earlier is None else self._earlier
        held = () if own is None or _wants_more(proposal, own) else own.claims

        def is_free(claim: Claim) -> bool:
            return not any(_is_for(one.proposal, claim, held) for one in earlier)

        left = tuple(_left_of(pool, is_free) for pool in proposal.pools)
        for claim in proposal.claims:
            if not is_free(claim):
                self._refuse(claim, proposal, own)
        for pool, some in zip(proposal.pools, left, strict=True):
            if not some.claims:
                self._refuse(pool.claims[0], proposal, own)
        return proposal._replace(pools=left)

    def _refuse(
        self, claim: Claim, proposal: Proposal, own: ObservedReservation | None
    ) -> NoReturn:
        raise SlotAwaited(claim.resource, partial(self._obstruction, claim, proposal, own))

    def _obstruction(
        self, claim: Claim, proposal: Proposal, own: ObservedReservation | None
    ) -> Obstruction:
        claims = proposal.claims
        claims += () if claim in claims else (claim,)  # the claim is from a pool
        asked = proposal._replace(claims=claims)
        found = self._naive.obstruction(asked, claim.resource, own)
        if found.in_the_way:
            return found
        waits = [one.until for one in self._waiting if _is_for(one.proposal, claim, ())]
        return found._replace(retry_at=from_us(max([self._naive.now, *waits])))


def _wants_more(proposal: Proposal, own: ObservedReservation) -> bool:
    """Return whether a move wants more seats of its own session."""
    if own.seats is None or proposal.seats is None:
        return False
    in_it = own.session == (proposal.event_type, proposal.start)
    return in_it and own.seats.wanted < proposal.seats.wanted


def _is_for(proposal: Proposal, claim: Claim, held: Iterable[Claim]) -> bool:
    """Return whether a proposal overlaps a claim, apart from what is held already."""
    for other in proposal.all_claims():
        start, end = max(claim.start, other.start), min(claim.end, other.end)
        is_held = any(
            mine.resource == claim.resource
            and mine.units >= claim.units
            and mine.start <= start
            and end <= mine.end
            for mine in held
        )
        if other.resource == claim.resource and start < end and not is_held:
            return True
    return False


def _left_of(pool: Pool, is_free: Callable[[Claim], bool]) -> Pool:
    keep = [i for i, claim in enumerate(pool.claims) if is_free(claim)]
    return Pool(
        tuple(pool.claims[i] for i in keep),
        pool.weights and tuple(pool.weights[i] for i in keep),
        pool.credits and tuple(pool.credits[i] for i in keep),
    )


def _may_pass(error: Exception) -> bool:
    """Return whether waiting could help."""
    if isinstance(error, NoneFree):
        return any(_may_pass(one) for one in error.refusals)
    return isinstance(error, SlotTaken)
