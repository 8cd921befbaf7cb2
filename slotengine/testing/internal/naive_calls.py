"""What callers do, done on a naive ledger: commands, and what an engine makes commands of.

>>> from slotengine.core.ledger.reservation import Claim
>>> from slotengine.core.ledger.terms import Terms
>>> naive = NaiveLedger(Terms(5, 1, 20), {"room-1": (1, None)})
>>> request = Proposal(3, 6, (Claim("room-1", 3, 6),), ttl=5)
>>> print(in_model(naive, Reserve((request,), ("a",)), now=0).state)
State.HELD
>>> in_model(naive, Reserve((request,), ("b",)), now=4)[0].__name__
'SlotTaken'
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from slotengine.core.ledger.commands import (
    ALL,
    EACH,
    ONE,
    Adopt,
    Annotate,
    Cancel,
    Command,
    Confirm,
    Extend,
    Forget,
    ImportBusy,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Configure
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Verb
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import LAST_US
from slotengine.errors import UnknownReservation
from slotengine.testing.internal import naive_booking_rules, naive_configuration
from slotengine.testing.internal.actions import (
    Action,
    Answer,
    ForgetBookings,
    Get,
    IsFree,
    ListLive,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    without_limits,
)
from slotengine.testing.internal.naive_clients import Outcome, once
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_waitlist import Check
from slotengine.testing.internal.observed import outcome


def in_model(naive: NaiveLedger, action: Action, now: int) -> Answer:
    """Do it on the naive ledger, and return the answer.

    What is made gets the uids that it says: see `actions.with_uids`.
    """
    assert getattr(action, "wait", None) is None, "call NaiveWaitlist.ask in place of this"
    with naive.jumping(jumps=getattr(action, "jump", False)):
        return without_limits(outcome(lambda: _done_once(naive, action, now)))


def wanted(naive: NaiveLedger, action: Reserve | ReserveSlot) -> tuple[Proposal, Check, int]:
    """Return what a single one requests; see `naive_booking_rules.prepared`."""
    if isinstance(action, ReserveSlot):
        return naive_booking_rules.prepared(naive, action.request)
    return action.requests[0], None, LAST_US


def _done_once(naive: NaiveLedger, action: Action, now: int) -> object:
    client = getattr(action, "client", None)
    if client is None:
        return _done(naive, action, now)
    return once(naive, client, action, now, lambda earlier: _done(naive, action, now, earlier))


def _done(naive: NaiveLedger, action: Action, now: int, earlier: Outcome = ()) -> object:
    match action:
        case ReserveSlot(request, uid):
            return naive_booking_rules.reserve_slot(naive, request, uid, now)
        case MoveSlot(uid, request, renew, seats, version):
            return naive_booking_rules.move_slot(
                naive, uid, request, now, renew=renew, version=version, seats=seats
            )
        case MoveTo():
            return _moved_to(naive, action, now)
        case ForgetBookings(before):
            return naive.forget_bookings(before, now)
        case Get(uid):
            return naive.get(uid, now)
        case IsFree(request):
            return naive.is_free(request, now)
        case ListLive(resource, start, end):
            found = naive.reservations_in(resource, start, end, now)
            return sorted((naive.known[uid] for uid in found), key=attrgetter("start", "uid"))
    return decided(naive, action, now, earlier)


def decided(naive: NaiveLedger, command: Command, now: int, earlier: Outcome = ()) -> object:
    """Return what comes of a command: a reservation, or several and refusals, or settings.

    Of a batch of which each request stands for itself, some may have been done ``earlier``, under
    the same id.
    """
    match command:
        case Reserve():
            return _reserved(naive, command, now, earlier)
        case Adopt(request, uid):
            return naive_booking_rules.adopt(naive, request, uid, now)
        case Move():
            return _moved(naive, command, now)
        case Extend(uid, ttl, version):
            return naive.extend(uid, ttl, now, version)
        case Confirm(uid, if_still_free, version, enforce):
            again = partial(naive_booking_rules.check_again, naive)
            wanted = partial(naive_booking_rules.wanted_now, naive, enforce=enforce)
            return naive.confirm(
                uid, now, if_still_free, version, again, enforce=enforce, wanted_now=wanted
            )
        case Release(uid, version):
            return naive.end(uid, Verb.RELEASE, now, version)
        case Cancel(uid, version):
            return naive.end(uid, Verb.CANCEL, now, version)
        case Annotate():
            return naive.annotate(command, now)
        case Replace():
            return naive.replace(command, now)
        case Configure(entries, force):
            naive.at(now)
            return list(naive_configuration.configure(naive, entries, force=force))
        case Forget(before, uids):
            return naive.forget_bookings(before, now, uids)
        case ImportBusy(source, spans):
            naive.replace_busy(source, dict(spans), now)
            return None


def _reserved(naive: NaiveLedger, command: Reserve, now: int, earlier: Outcome) -> object:
    requests, uids, mode = command.requests, command.uids, command.mode
    if mode is ONE:
        return naive.reserve(requests[0], uids[0], now)
    if mode is ALL:
        return naive.reserve_all(requests, uids, now)
    if mode is EACH:
        return naive.reserve_each(requests, uids, now, earlier)
    return naive.reserve_any(requests, uids[0], now, *command.choice, command.key)


def _moved(naive: NaiveLedger, command: Move, now: int) -> object:
    # It keeps its holder, key and quota, whatever the requests say.
    candidates = [one._replace(holder=None, key=None, quota=None) for one in command.candidates]
    if command.choice is None:
        return naive.move_to(
            command.uid, candidates[0], now, renew=command.renew, version=command.version
        )
    policy, weights, load_in = command.choice
    return naive.move(
        command.uid,
        candidates,
        now,
        renew=command.renew,
        policy=policy,
        weights=weights,
        load_in=load_in,
        version=command.version,
    )


def _moved_to(naive: NaiveLedger, action: MoveTo, now: int) -> object:
    naive.at(now)
    one = naive.known.get(action.uid)
    if one is None:
        raise UnknownReservation(action.uid)
    ttl = naive.terms.default_ttl if action.ttl is None else action.ttl
    renew = action.ttl is not None
    if one.event_type in naive.event_types:
        ask = SlotRequest("", action.start, action.length, ttl)
        if action.resource is not None:
            ask = ask._replace(only=naive_booking_rules.with_host(naive, one, action.resource))
        return naive_booking_rules.move_slot(
            naive, one.uid, ask, now, renew=renew, version=action.version
        )
    by = action.start - one.start
    length = one.end - one.start if action.length is None else action.length
    end = action.start + length
    proposal = Proposal(
        action.start,
        end,
        tuple(
            Claim(
                action.resource or claim.resource,
                claim.start + by,
                claim.end - one.end + end,
                claim.units,
            )
            for claim in one.claims
        ),
        ttl,
        event_type=one.event_type,
        seats=one.seats,
        demand=Demand.HOURS,
    )
    return naive.move_to(action.uid, proposal, now, renew=renew, version=action.version)
