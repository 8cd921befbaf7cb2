"""Waiting for a slot that is taken: first come, first served.

The order is `core.ledger.line`'s.  Here is what makes it happen: callers sleep until
they are told, and one task, the engine's sweeper, lets those try who may
(`WaitingRoom.serve`).  It holds the slot for them in the step in which it finds
it free, and then wakes them; so nobody comes in between, and nobody wakes in
vain.

While nobody waits, the ledger knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import anyio

from slotengine.core.ledger.checks import is_count
from slotengine.core.ledger.line import NEWCOMER, Line, Waiter, places_of, sessions_of
from slotengine.core.ledger.quota import stricter
from slotengine.core.ledger.reservation import ANYTHING_GOES, Entry, State, Verb
from slotengine.core.time.instant import LAST_US, from_us
from slotengine.errors import (
    EngineClosed,
    InvalidField,
    NoneFree,
    Obstruction,
    QuotaExceeded,
    Refused,
    SlotAwaited,
    SlotTaken,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.ledger import Ledger
    from slotengine.core.ledger.proposal import Proposal
    from slotengine.core.ledger.reservation import Claim, Placement
    from slotengine.core.ledger.view import View

TRIES_PER_TURN = 64
"""The sweeper lets so many try before it gives way: as many as there are calls in a turn."""

GIVES_NOTHING_BACK = frozenset({Verb.EXTEND, Verb.CONFIRM})
"""What is done to a reservation without anything new becoming free."""


class Caller:
    """A call that sleeps until there is an answer: a reservation, or an error."""

    __slots__ = ("answered", "entry", "error")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.entry: Entry | None = None
        self.error: Exception | None = None


OnAnswer = Callable[[Waiter[Caller], Exception | None], None]


class WaitingRoom:
    """Those who wait for slots of one ledger.

    There may be so many of them, and so many for each holder who is named.

    ``heed`` is called when there is something to do for `serve`, and when somebody
    begins to wait or none does any more: only meanwhile changes need be `told`.
    """

    def __init__(
        self,
        ledger: Ledger,
        most: int,
        now: Callable[[], int],
        new_uid: Callable[[Proposal], str],
        heed: Callable[[], None],
        most_each: int | None = None,
    ) -> None:
        if most.__class__ is not int or most < 0:
            raise InvalidField("max_waiters", f"must be a whole number, not {most!r}")
        if most_each is not None and not is_count(most_each):
            raise InvalidField("max_waits", f"must be positive, and whole, not {most_each!r}")
        self._most_each = most_each
        self.of_holders: dict[str, int] = {}  # how often each waits
        self.line: Line[Caller] = Line(most)
        self.refused = 0
        """Requests that were refused, at once or in the end."""
        self._ledger = ledger
        self._now = now
        self._new_uid = new_uid
        self._heed = heed
        self.ticket = NEWCOMER
        self._looks_away = False
        self.on_answer: OnAnswer | None = None
        """Called before a caller is woken, with its error, if it gets one; for tests and tools."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self.line)

    @property
    def due(self) -> int:
        """When there is something to do for `serve`."""
        return self.line.due

    # --- Callers ---------------------------------------------------------------------------

    async def reserve(self, proposal: Proposal, wait: int, last: int = LAST_US) -> Entry:
        """Hold what is proposed, or wait for it, for so long at most.

        Whoever waited until after the ``last`` moment at which it may be had, or for
        what can never be had, would only keep others off.  Raises what
        `Ledger.reserve_proposal` raises, `TooManyWaiting`, and `QuotaExceeded` if the
        holder waits for as many already.
        """
        try:
            found = self.ask(proposal, wait, last)
            return found if isinstance(found, Entry) else await self._answer_to(found)
        except Refused:
            self.refused += 1
            raise

    async def _answer_to(self, waiter: Waiter[Caller]) -> Entry:
        caller = waiter.caller
        try:
            await caller.answered.wait()
        except BaseException:
            self.abandon(waiter)
            raise
        if caller.error is not None:
            raise caller.error
        assert caller.entry is not None
        return caller.entry

    def ask(self, proposal: Proposal, wait: int, last: int = LAST_US) -> Entry | Waiter[Caller]:
        """Hold what is proposed, or stand in line for it.  Raises as `reserve` does."""
        if wait < 0:
            raise InvalidField("wait", "must not be negative")
        try:
            return self._try(proposal, NEWCOMER)
        except (SlotTaken, NoneFree) as refusal:
            until = min(self._ledger.state.now + wait, last)
            if proposal.demand is not ANYTHING_GOES:  # once it is over nobody can have it
                until = min(until, proposal.end - 1)
            if until <= self._ledger.state.now or not _may_pass(refusal):
                raise
            # Whoever waited in vain would only keep others off.
            if self._ledger.occupancy.exceeds_limits(proposal):
                raise
            closed = self._closed(proposal)
            if closed is not None:
                raise closed from None
        holder = proposal.holder
        self._check_holder(proposal)
        waiter = self.line.join(proposal, until, Caller())
        if holder is not None:
            self.of_holders[holder] = self.of_holders.get(holder, 0) + 1
        self._attend()
        return waiter

    def _closed(self, proposal: Proposal) -> Refused | None:
        return self._ledger.occupancy.closed(proposal, self._ledger.state.now)

    def _check_holder(self, proposal: Proposal) -> None:
        holder, most = proposal.holder, self._most_each
        if proposal.quota is not None:
            most = stricter(most, proposal.quota.waits)
        if most is not None and holder is not None and self.of_holders.get(holder, 0) >= most:
            raise QuotaExceeded("waits", most, self.of_holders[holder], None)

    def abandon(self, waiter: Waiter[Caller]) -> None:
        """Pass on what a caller who was cancelled waited for, or was just handed.

        With a key it is kept: whoever asks again with the key will know of it.
        So it is if somebody else has changed it since, who must know of it, too.
        """
        self.dismiss(waiter)
        entry, now = waiter.caller.entry, self._ledger.state.now
        if entry is None or entry.key is not None:
            return
        if entry.version == 1 and entry.state_at(now) is State.HELD:
            self._ledger.release(entry.uid, now=now)
            self._heed()

    def close(self, closed: Callable[[], EngineClosed]) -> None:
        """Tell all who wait that the engine is closed, each by an error of its own."""
        for waiter in self.line:
            self._answer(waiter, error=closed())

    def check_invariants(self) -> None:
        """Assert every invariant of the queue; who could be served by now is not looked at."""
        self.line.check_invariants(lambda waiter: False)

    # --- Changes ---------------------------------------------------------------------------

    def told(self, verb: Verb, entry: Entry) -> None:
        """Note what may have become free by a change."""
        if not self.line or verb in GIVES_NOTHING_BACK:
            return
        # Of what is new, a session that can be joined is worth a try.
        self.line.freed(sessions_of(entry) if verb is Verb.RESERVE else places_of(entry))
        self._heed()

    def moving(self, uid: str) -> None:
        """Note what becomes free if a reservation moves away."""
        if not self.line:
            return
        entry = self._ledger.get(uid, now=self._ledger.state.now)
        if entry is not None:
            self.line.freed(places_of(entry))
            self._heed()

    def imported(self) -> None:
        """Note that anything may have become free, and nobody told what."""
        if not self.line:
            return
        self.line.freed_all()
        self._heed()

    # --- Serving ---------------------------------------------------------------------------

    def serve(self) -> None:
        """Let some of those try who may, and send away whose time is over."""
        for _ in range(TRIES_PER_TURN):
            waiter = self.line.next()
            if waiter is not None:
                self._serve_one(waiter, last=False)
                continue
            waiter = self.line.overdue(self._ledger.state.now)
            if waiter is None:
                return
            self._serve_one(waiter, last=True)

    def _serve_one(self, waiter: Waiter[Caller], *, last: bool) -> None:
        """Let one try; if it is for the ``last`` time, what it hears is the answer."""
        caller = waiter.caller
        try:
            entry = self._try(waiter.proposal, waiter.ticket)
        except (SlotTaken, NoneFree) as refusal:
            closed = self._closed(waiter.proposal)  # the session it was to join may be over
            if last or closed is not None or not _may_pass(refusal):
                answer = refusal if last or closed is None else closed
                answer.find_details()  # as of now, and not of when it is read
                self._answer(waiter, error=answer)
        except Exception as error:
            self._answer(waiter, error=error)
        else:
            caller.entry = entry
            self._answer(waiter)

    def _answer(self, waiter: Waiter[Caller], error: Exception | None = None) -> None:
        if self.on_answer is not None:
            self.on_answer(waiter, error)
        waiter.caller.error = error
        self.dismiss(waiter)
        waiter.caller.answered.set()

    def dismiss(self, waiter: Waiter[Caller]) -> None:
        holder = waiter.proposal.holder
        if waiter.in_line and holder is not None:
            self.of_holders[holder] -= 1
            if not self.of_holders[holder]:
                del self.of_holders[holder]
        self.line.leave(waiter)
        self._attend()

    def _attend(self) -> None:
        """See to it that the ledger asks us as long as somebody waits."""
        self._ledger.state.screen = self.screen if self.line else None
        self._heed()

    # --- Fairness --------------------------------------------------------------------------

    def _try(self, proposal: Proposal, ticket: int) -> Entry:
        self.ticket = ticket
        try:
            return self._ledger.reserve_proposal(
                proposal, uid=self._new_uid(proposal), now=self._now()
            )
        finally:
            self.ticket = NEWCOMER

    def screen(self, proposal: Proposal, view: View) -> Proposal:
        """Return what nobody waits for who came before; refuse if that is not enough.

        What moves has come last, but may keep what it has; not if it wants more seats.
        """
        if self._looks_away:
            return proposal
        own = view.own
        held = () if own is None or _wants_more(proposal, own) else own.all_claims()
        claim = self.line.behind(proposal, self.ticket, held)
        if claim is not None:
            self._refuse(claim, proposal.slot(), view)
        return self.line.without_awaited(proposal, self.ticket, held)

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Let others go first for as long as the block lasts."""
        before, self._looks_away = self._looks_away, True
        try:
            yield
        finally:
            self._looks_away = before

    def _refuse(self, claim: Claim, slot: Placement, view: View) -> NoReturn:
        raise SlotAwaited(claim.resource, self._obstruction, claim, slot, view)

    def _obstruction(self, claim: Claim, slot: Placement, view: View) -> Obstruction:
        if claim not in slot.claims:  # but in one of the pools
            slot = slot._replace(claims=(*slot.claims, claim))
        found = self._ledger.occupancy.obstruction(claim.resource, slot, view)
        if found.in_the_way:
            return found
        until = max(self.line.free_of(claim), self._ledger.state.now)
        return found._replace(retry_at=from_us(until))


def _wants_more(proposal: Proposal, own: Entry) -> bool:
    """Return whether what moves wants more seats than it has, of the session that it is in."""
    before, wanted = own.seats, proposal.seats
    return (
        before is not None
        and wanted is not None
        and wanted.wanted > before.wanted
        and (own.event_type, own.start) == (proposal.event_type, proposal.start)
    )


def _may_pass(refusal: Refused) -> bool:
    """Return whether it is of any use to wait."""
    if isinstance(refusal, NoneFree):
        return any(_may_pass(one) for one in refusal.refusals)
    return isinstance(refusal, SlotTaken)
