"""Admission: what the waitlist leaves to a command, and whether a refused command joins it.

Reads only, as all of deciding.  A command comes after the tickets that are earlier than its
own (`View.ticket`).  What those wait for is not available to it, even if it is free.
Times are UTC microseconds, durations microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slotengine.core.ledger.changes import Decision, Waits
from slotengine.core.ledger.reservation import ANYTHING_GOES, Claim, Entry, Placement
from slotengine.core.time.instant import from_us
from slotengine.errors import NoneFree, Obstruction, Refused, SlotAwaited, SlotTaken

if TYPE_CHECKING:
    from slotengine.core.ledger.commands import Reserve
    from slotengine.core.ledger.proposal import Proposal
    from slotengine.core.ledger.state import LedgerState
    from slotengine.core.ledger.view import View


def admitted(state: LedgerState, request: Proposal, view: View) -> Proposal:
    """Return a request without the members of its pools that earlier commands wait for.

    A reservation that moves may keep what it has.  Raises `SlotAwaited` if earlier commands
    wait for a claim, or for each member of a pool.  O(1) while no command waits.
    """
    if not state.waiting:
        return request
    waitlist, ticket = state.waitlist, view.ticket
    held = _kept(view.own, request)
    claim = waitlist.awaited(request, ticket, held)
    if claim is not None:
        raise SlotAwaited(claim.resource, _obstruction, state, claim, request.slot(), view)
    return waitlist.without_awaited(request, ticket, held)


def _kept(own: Entry | None, request: Proposal) -> Sequence[Claim]:
    """Return the claims that a reservation which moves may keep, whatever commands wait.

    None of them if it wants more seats of the session that it is in.
    """
    if own is None:
        return ()
    before, wanted = own.seats, request.seats
    if (
        before is not None
        and wanted is not None
        and wanted.wanted > before.wanted
        and (own.event_type, own.start) == (request.event_type, request.start)
    ):
        return ()
    return own.all_claims()


def _obstruction(state: LedgerState, claim: Claim, slot: Placement, view: View) -> Obstruction:
    if claim not in slot.claims:  # but in one of the pools
        slot = slot._replace(claims=(*slot.claims, claim))
    found = state.occupancy.obstruction(claim.resource, slot, view)
    if found.in_the_way:
        return found
    until = max(state.waitlist.last_deadline(claim), state.now)
    return found._replace(retry_at=from_us(until))


# --- Joining -------------------------------------------------------------------------------


def decide_to_wait(
    state: LedgerState, command: Reserve, refusal: Refused, now: int, ticket: int
) -> Decision:
    """Return that a refused command waits, or raise why it does not.

    Its ``ticket`` is the one that it has, or `NEWCOMER`.  It does not wait past the deadline,
    nor for what it can never have: it would only keep other commands away.  A command that has
    a ticket goes on waiting, also at its deadline, until it is tried for the last time.

    Raises the refusal, or `OutsideHours`, `NoneFree`, `QuotaExceeded` or `TooManyWaiting`.
    """
    (request,), wait, waitlist = command.requests, command.wait, state.waitlist
    assert wait is not None
    waiting = waitlist.by_ticket.get(ticket)
    until = deadline(request, wait, now) if waiting is None else waiting.until
    if waiting is None and until <= now:
        raise refusal
    if not _may_pass(refusal) or state.occupancy.exceeds_limits(request):
        raise refusal
    closed = state.occupancy.closed(request, now)
    if closed is not None:
        raise closed from None
    if waiting is None:
        waitlist.check_room(request)
        ticket = waitlist.next_ticket
    return Decision((), (Waits(ticket, until),))


def deadline(request: Proposal, wait: int, now: int) -> int:
    """Return when the wait for a request ends: at the latest when it can no longer be had."""
    until = now + wait
    if request.demand is not ANYTHING_GOES:
        until = min(until, request.end - 1)
    if request.rule is not None:
        until = min(until, request.start - request.rule.notice)
    return until


def _may_pass(refusal: Refused) -> bool:
    """Return whether waiting can help against a refusal."""
    if isinstance(refusal, NoneFree):
        return any(_may_pass(one) for one in refusal.refusals)
    return isinstance(refusal, SlotTaken)
