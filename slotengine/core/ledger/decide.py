"""Deciding: what comes of a command, given the state as it is.

Everything here reads, and may refuse.  What is decided is a list of changes (`changes`),
and `apply` applies them.  So nothing has happened until a decision is carried
out, and it can be carried out until the state next changes.

`decide` calls one function for each command.  Each takes the state, the command and the
time, and returns a `Decision` or raises.

Whoever decides passes ``now``; it is read as the latest time seen if it is earlier.
Times are UTC microseconds, spans are half-open, and durations microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from slotengine.core.ledger.admission import admitted, decide_to_wait
from slotengine.core.ledger.changes import (
    Annotated,
    BusyImported,
    Cancelled,
    Confirmed,
    Decision,
    Extended,
    Forgotten,
    Granted,
    Moved,
    Reinstated,
    Released,
    Requested,
    Reserved,
)
from slotengine.core.ledger.checks import check_key, check_name, is_count
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    ONE,
    Adopt,
    Annotate,
    Cancel,
    Choice,
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
from slotengine.core.ledger.config import EVENT_TYPE, Configure, Configured
from slotengine.core.ledger.configure import Surroundings, decide_settings
from slotengine.core.ledger.expiry import lapse_of
from slotengine.core.ledger.extra import (
    KEEP,
    NOTHING,
    check_details,
    check_metadata,
    check_tags,
)
from slotengine.core.ledger.maintenance import expiries
from slotengine.core.ledger.policy import Policy, by_preference
from slotengine.core.ledger.proposal import Proposal, Slotted, Wanted
from slotengine.core.ledger.quota import Quota, stricter
from slotengine.core.ledger.repeats import decide_once
from slotengine.core.ledger.reservation import (
    ANNOTATE,
    CANCEL,
    CONFIRM,
    CONFIRMED,
    EXTEND,
    HELD,
    MOVE,
    NEXT,
    REINSTATE,
    RELEASE,
    REPEATS,
    REPLACE,
    STATES,
    UNDYING,
    Demand,
    Entry,
    Placement,
    Seats,
    State,
    Verb,
    is_limit,
)
from slotengine.core.ledger.store import STATE, UNTIL, VERSION, WORD
from slotengine.core.ledger.view import Batch, View
from slotengine.core.ledger.waitlist import AHEAD, NEWCOMER
from slotengine.core.time.instant import FIRST_US, LAST_US, from_us
from slotengine.errors import (
    AlreadyOver,
    HoldExpired,
    InvalidField,
    KeyReused,
    KeySpent,
    LifeExceeded,
    NoneFree,
    OutsideHours,
    Refused,
    Retired,
    SlotError,
    SlotTaken,
    StaleVersion,
    UnknownEventType,
    UnknownReservation,
    WrongState,
)

if TYPE_CHECKING:
    from slotengine.core.ledger.holders import Holders
    from slotengine.core.ledger.proposal import StartRule
    from slotengine.core.ledger.state import LedgerState
    from slotengine.core.ledger.waitlist import Waiting

Placed = TypeVar("Placed")


def decide(state: LedgerState, command: Command, now: int, ticket: int = NEWCOMER) -> Decision:
    """Return what comes of a command, which is not done yet, or refuse.

    A command of the waitlist comes with its ``ticket``.  One with a `CommandId` that was
    accepted before is answered as it was then, and nothing else is asked.

    Reads only.  The changes can be applied until the state next changes.
    Raises what the verb of the command raises.
    """
    if now < state.now:
        now = state.now
    if command.client is not None:
        return decide_once(
            state, command, now, lambda one: decide(state, one, now, ticket),
            newcomer=ticket == NEWCOMER,
        )  # fmt: skip
    if isinstance(command, Reserve):
        return decide_reserve(state, command, now, ticket)
    return DECIDE[command.__class__](state, command, now)


def decide_reserve(state: LedgerState, command: Reserve, now: int, ticket: int) -> Decision:
    if command.wait is not None:
        if command.mode is not ONE:
            raise InvalidField("wait", "is for a single request")
        if command.wait < 0:
            raise InvalidField("wait", "must not be negative")
        if command.jump:
            raise InvalidField("wait", "cannot be given to a command that jumps the waitlist")
    if command.jump:
        ticket = AHEAD
    if command.mode is ONE:
        return _decide_one(state, command, now, ticket)
    if command.mode is ANY:
        return _decide_any(state, command, now, ticket)
    return _decide_batch(state, command, now, ticket)


def _decide_one(state: LedgerState, command: Reserve, now: int, ticket: int) -> Decision:
    if ticket in state.waiting:
        command = _as_configured(state, command, state.waiting[ticket])
    (proposal,), (uid,) = command.requests, command.uids
    if uid.__class__ is not str or not uid or uid in state.entries:
        check_uid(state, uid, now)
    known = _known_request(state, proposal, now)
    if known is not None:
        return Decision((), (known.uid,))
    check_proposal(state, proposal)
    if proposal.requested:
        check_not_retired(state, proposal.event_type)
        expired = expiries(state, _lapsed_with(state, uid, proposal.key, now), now)
        seq = state.seq + len(expired) + 1
        return Decision((*expired, _requested(proposal, uid, now, seq, state.serial + 1)), (uid,))
    check_ttl_of(state, proposal.ttl, proposal.quota)
    view = state.occupancy.view(now, ticket=ticket)
    try:
        slot = _decide_new(state, proposal, view)
    except (SlotTaken, NoneFree) as refusal:
        if command.wait is None:
            raise
        return decide_to_wait(state, command, refusal, now, ticket)
    lapsed = _lapsed_before_new(state, slot, uid, proposal.holder, proposal.key, view)
    expired = expiries(state, lapsed, now)
    seq = state.seq + len(expired) + 1
    change = _reserved(proposal, slot, uid, now, seq, state.serial + 1)
    return Decision((*expired, change), (uid,))


def _as_configured(state: LedgerState, command: Reserve, waiting: Waiting) -> Reserve:
    """Return a command that waited without the limits that went meanwhile.

    Raises `UnknownEventType` if its event type went.
    """
    (proposal,) = command.requests
    if waiting.is_gone:
        raise UnknownEventType(proposal.event_type or "")
    limits = tuple(one for one in proposal.limits if one.resource in state.occupancy.limits)
    return command._replace(requests=(proposal._replace(limits=limits),))


def _decide_batch(state: LedgerState, command: Reserve, now: int, ticket: int) -> Decision:
    proposals, uids = command.requests, command.uids
    _check_batch(state, proposals, uids, now)
    changes: list[Reserved | Requested] = []
    answers: list[str | Refused] = []
    lapsed: list[Entry] = []
    batch = Batch(state.rows.apart())
    view = state.occupancy.view(now, batch=batch, ticket=ticket)
    i = 0
    try:
        for i, proposal in enumerate(proposals):
            known = _known_request(state, proposal, now)
            if known is not None:
                answers.append(known.uid)
                continue
            nth = len(changes) + 1
            if proposal.requested:
                check_not_retired(state, proposal.event_type)
                lapsed += _lapsed_with(state, uids[i], proposal.key, now)
                seq, serial = state.seq + nth, state.serial + nth
                changes.append(_requested(proposal, uids[i], now, seq, serial))
                answers.append(uids[i])
                continue
            try:
                slot = _decide_new(state, proposal, view)
            except Refused as refusal:
                if command.mode is ALL:
                    _keep_for_ever(state, view)  # as far as this batch goes
                    refusal.find_details()  # while the others are still known
                    raise
                refusal.of_request(i)
                answers.append(refusal)
                continue
            lapsed += _lapsed_before_new(state, slot, uids[i], proposal.holder, proposal.key, view)
            change = _reserved(proposal, slot, uids[i], now, state.seq + nth, state.serial + nth)
            changes.append(change)
            answers.append(uids[i])
            entry = state.made_by(change, batch.rows)
            joined = None if entry.seats is None else view.session(Placement.of(entry))
            batch.add(entry, joined)
    except SlotError as error:
        error.of_request(i)
        raise
    finally:
        batch.clear()  # the details of refusals may be read later
    expired = expiries(state, lapsed, now)
    if expired:
        changes = [one._replace(seq=one.seq + len(expired)) for one in changes]
    return Decision((*expired, *changes), tuple(answers))


def _keep_for_ever(state: LedgerState, view: View) -> None:
    """Let the claims of a batch that is refused never lapse.

    Claims in a session that somebody else opened are an exception.  Once that session
    is over, the batch would open one of its own, perhaps elsewhere.
    """
    for entry in view.batch.entries:
        theirs: list[int] = []
        if entry.seats is not None:
            session = state.occupancy.sessions.get(entry.session_key)
            members = () if session is None else session.members.values()
            theirs = [one.until for one in members if one.until > view.now]
        entry.until = max(theirs, default=UNDYING)


def _decide_any(state: LedgerState, command: Reserve, now: int, ticket: int) -> Decision:
    candidates, (uid,), _, choice, key, digest = command[:6]
    check_uid(state, uid, now)
    known = known_key(state, key, digest, now)
    if known is not None:
        return Decision((), (known.uid,))
    _check_candidates(state, candidates, choice)
    _check_not_requested(candidates)
    if any(proposal.key is not None for proposal in candidates):
        raise InvalidField("key", "belongs to the whole call, not to one candidate")
    _check_each(candidates, lambda one: check_ttl_of(state, one.ttl, one.quota))
    view = state.occupancy.view(now, ticket=ticket)

    def placed(proposal: Proposal) -> tuple[Slotted, Proposal]:
        return _decide_new(state, proposal, view), proposal

    order = _by_preference(state, candidates, choice, view)
    slot, chosen = _first_that_fits(candidates, order, placed)
    lapsed = _lapsed_before_new(state, slot, uid, chosen.holder, key, view)
    expired = expiries(state, lapsed, now)
    chosen = chosen._replace(key=key, digest=digest)
    seq = state.seq + len(expired) + 1
    change = _reserved(chosen, slot, uid, now, seq, state.serial + 1)
    return Decision((*expired, change), (uid,))


def decide_adopt(state: LedgerState, command: Adopt, now: int) -> Decision:
    proposal, uid = command[:2]
    check_uid(state, uid, now)
    known = _known_request(state, proposal, now)
    if known is not None:
        return Decision((), (known.uid,))
    _check_not_requested((proposal,))
    seats = proposal.seats
    if isinstance(seats, Seats) and is_count(seats.total) and is_count(seats.wanted):
        proposal = proposal._replace(seats=Seats(max(seats), seats.wanted))
    check_proposal(state, proposal)
    view = state.occupancy.view(now)
    slot = state.occupancy.adopted(proposal._replace(seats=seats), view)
    lapsed = _lapsed_before_new(state, slot, uid, proposal.holder, proposal.key, view)
    expired = expiries(state, lapsed, now)
    seq = state.seq + len(expired) + 1
    change = _reserved(proposal._replace(quota=None), slot, uid, now, seq, state.serial + 1)
    return Decision((*expired, change, Confirmed(seq + 1, now, uid, 2)), (uid,))


def decide_move(state: LedgerState, command: Move, now: int) -> Decision:
    uid, candidates, renew, choice, version, jump = command[:6]
    if choice is None:
        check_proposal(state, candidates[0])
    else:
        _check_candidates(state, candidates, choice)
    _check_not_requested(candidates)
    entry = known(state, uid, now)
    admits(entry, MOVE, now, version)
    if entry.state is State.REQUESTED:
        return _decide_to_want(state, entry, command, now)
    renew = renew and entry.state is HELD
    keep = [claim.resource for claim in entry.all_claims()]
    view = state.occupancy.view(now, entry, keep=keep, ticket=AHEAD if jump else NEWCOMER)

    def placed(proposal: Proposal) -> tuple[Slotted, Proposal]:
        check_not_retired(state, proposal.event_type)
        if renew:
            check_life(state, entry, lapse_of(now, proposal.ttl))
        if proposal.start != entry.start:  # what stays may be over, as it was before
            _check_ahead(proposal, now)
        if state.holders is not None:
            state.holders.check_move(entry, proposal.end - proposal.start, view)
        proposal = admitted(state, proposal, view)
        return state.occupancy.decide(proposal, view), proposal

    if choice is None:
        slot, chosen = placed(candidates[0])
    else:
        order = _by_preference(state, candidates, choice, view)
        slot, chosen = _first_that_fits(candidates, order, placed)
    holder = entry.holder if entry.state is HELD else None  # bookings count for no quota
    lapsed = _lapsed_before(state, slot, holder, view)
    until = lapse_of(now, chosen.ttl) if renew else entry.until
    expired = expiries(state, lapsed, now)
    change = Moved(
        state.seq + len(expired) + 1, now, uid, entry.version + 1, until,
        slot.start, slot.end, slot.claims, slot.seats, slot.event_type, slot.demand,
    )  # fmt: skip
    return Decision((*expired, change), (uid,))


def decide_replace(state: LedgerState, command: Replace, now: int) -> Decision:
    uid, request, new_uid, version, jump, _ = command
    check_uid(state, new_uid, now)
    before = _known_request(state, request, now)
    if before is not None:
        return Decision((), (before.uid,))
    check_proposal(state, request)
    _check_not_requested((request,))
    entry = known(state, uid, now)
    admits(entry, REPLACE, now, version)
    held = entry.state is HELD
    request = _in_place_of(entry, request if held else request._replace(quota=None))
    if held:
        check_ttl_of(state, request.ttl, request.quota)
    check_not_retired(state, request.event_type)
    _check_ahead(request, now)
    view = state.occupancy.view(now, entry, ticket=AHEAD if jump else NEWCOMER)
    holders = _counted_for(state, request.quota) if held else None
    if holders is not None:
        length = request.end - request.start
        holders.check(request.holder, length, view, request.quota, own=entry)
    request = admitted(state, request, view)
    slot = state.occupancy.decide(request, view)
    holder = request.holder if held else None  # bookings count for no quota
    lapsed = _lapsed_before_new(state, slot, new_uid, holder, request.key, view)
    expired = expiries(state, lapsed, now)
    seq = state.seq + len(expired) + 1
    ended = (Released if held else Cancelled)(seq, now, uid, entry.version + 1, new_uid)
    made = _reserved(request, slot, new_uid, now, seq + 1, state.serial + 1)
    if held:
        return Decision((*expired, ended, made), (new_uid,))
    return Decision((*expired, ended, made, Confirmed(seq + 2, now, new_uid, 2)), (new_uid,))


def _in_place_of(entry: Entry, request: Proposal) -> Proposal:
    """Return a request with what it takes over from the reservation that it replaces."""
    extra = entry.extra or NOTHING if request.extra is None else request.extra
    extra = extra._replace(replaces=entry.uid, replaced_by=None)
    holder = entry.holder if request.holder is None else request.holder
    return request._replace(holder=holder, extra=extra)


def decide_extend(state: LedgerState, command: Extend, now: int) -> Decision:
    uid, ttl, version = command[:3]
    state.terms.check_ttl(ttl)
    row, following = admitted_row(state, uid, EXTEND, now, version)
    until = lapse_of(now, ttl)
    if state.terms.max_life is not None or row in state.rows.quota_of:
        check_life(state, state.entries.at(row), until)
    return Decision((Extended(state.seq + 1, now, uid, following, until),), (uid,))


def decide_confirm(state: LedgerState, command: Confirm, now: int) -> Decision:
    uid, version = command.uid, command.version
    if command.if_still_free:
        entry = known(state, uid, now)
        if entry.state_at(now) is State.EXPIRED:
            admits(entry, REINSTATE, now, version)
            return _decide_reinstate(state, entry, command, now)
    row, following = admitted_row(state, uid, CONFIRM, now, version)
    if not following:
        return Decision((), (uid,))
    if row in state.rows.wanted_of:
        return _decide_grant(state, state.entries.at(row), command, now)
    if state.holders is None:
        return Decision((Confirmed(state.seq + 1, now, uid, following),), (uid,))
    expired = expiries(state, _forgiven(state.entries.at(row), state.holders, now), now)
    change = Confirmed(state.seq + len(expired) + 1, now, uid, following)
    return Decision((*expired, change), (uid,))


def _decide_grant(state: LedgerState, entry: Entry, command: Confirm, now: int) -> Decision:
    """Decide what was requested, as something new."""
    proposal = command.request or _as_wanted(state, entry, command)
    check_not_retired(state, entry.event_type)
    state.occupancy.check(proposal)  # resources may be removed, or have less, by now
    if command.enforce:
        _check_ahead(proposal, now)
    view = state.occupancy.view(now, ticket=AHEAD if command.jump else NEWCOMER)
    proposal = admitted(state, proposal, view)
    slot = state.occupancy.decide(proposal, view)
    expired = expiries(state, _lapsed_before(state, slot, None, view), now)
    seq, version = state.seq + len(expired) + 1, entry.version + 1
    granted = Granted(seq, now, entry.uid, version, slot.claims, slot.seats)
    return Decision((*expired, granted), (entry.uid,))


def _as_wanted(state: LedgerState, entry: Entry, command: Confirm) -> Proposal:
    """Propose what was requested as it is kept, but for limits that are there no more."""
    wanted = entry.wanted
    assert wanted is not None
    limits = tuple(one for one in wanted.limits if one.resource in state.occupancy.limits)
    return Proposal(
        entry.start,
        entry.end,
        entry.all_claims(),
        ttl=0,
        event_type=entry.event_type,
        seats=entry.seats,
        pools=wanted.pools,
        limits=limits,
        closed=wanted.closed if command.enforce else (),
        hosts=wanted.hosts,
        demand=entry.demand,
    )


def _decide_to_want(state: LedgerState, entry: Entry, command: Move, now: int) -> Decision:
    """Let something else be requested; nothing of it is decided."""
    if command.choice is not None:  # between candidates it would have to be decided now
        raise WrongState(entry.uid, entry.state.value, MOVE.value)
    (proposal,) = command.candidates
    check_not_retired(state, proposal.event_type)
    change = Moved(
        state.seq + 1, now, entry.uid, entry.version + 1, entry.until, proposal.start,
        proposal.end, proposal.claims, proposal.seats, proposal.event_type, proposal.demand,
        Wanted.of(proposal),
    )  # fmt: skip
    return Decision((change,), (entry.uid,))


def _decide_reinstate(state: LedgerState, entry: Entry, command: Confirm, now: int) -> Decision:
    proposal = _as_it_was(entry, enforce=command.enforce)
    check_not_retired(state, entry.event_type)
    for claim in proposal.claims:
        state.occupancy.resource(claim.resource)  # it may be removed by now
    if command.enforce:
        if entry.demand is Demand.RULES:
            _check_rules(state, entry, command.rule, command.closed, now)
        _check_ahead(proposal, now)
    view = state.occupancy.view(now, ticket=AHEAD if command.jump else NEWCOMER)
    proposal = admitted(state, proposal, view)  # it has lapsed: others may wait for it
    lapsed = _lapsed_before(state, state.occupancy.decide(proposal, view), None, view)
    if entry.state is HELD:
        lapsed.append(entry)
    if state.holders is not None:
        lapsed += _forgiven(entry, state.holders, now)
    expired = expiries(state, lapsed, now)
    version = entry.version_at(now) + 1
    change = Reinstated(state.seq + len(expired) + 1, now, entry.uid, version)
    return Decision((*expired, change), (entry.uid,))


def decide_end(state: LedgerState, command: Release | Cancel, now: int) -> Decision:
    uid, version = command[:2]
    verb, kind = (RELEASE, Released) if isinstance(command, Release) else (CANCEL, Cancelled)
    _, following = admitted_row(state, uid, verb, now, version)
    if not following:
        return Decision((), (uid,))
    return Decision((kind(state.seq + 1, now, uid, following),), (uid,))


def decide_configure(state: LedgerState, command: Configure, now: int) -> Decision:
    """Answers nothing: what is set is in the change."""
    around = Surroundings(state.occupancy.view(now), state.entries.values(), state.terms)
    settings, lapsed = decide_settings(state.configuration, command, around)
    if not settings:
        return Decision((), ())
    expired = expiries(state, lapsed, now)
    seq, edition = state.seq + len(expired) + 1, state.configuration.edition + 1
    return Decision((*expired, Configured(seq, now, edition, settings)), ())


def decide_forget(state: LedgerState, command: Forget, now: int) -> Decision:
    """Answer the uids that are forgotten."""
    before, uids = command.before, dict.fromkeys(command.uids)
    found = tuple(uid for uid in uids if is_over_by(state.entries.get(uid), before))
    if not found:
        return Decision((), ())
    return Decision((Forgotten(state.seq + 1, now, before, found),), found)


def is_over_by(entry: Entry | None, before: int) -> bool:
    """Return whether it is a booking of which nothing reaches beyond a moment.

    No buffer does, and no period of a limit towards which it counts.  So no decision about
    what is to come is another one for it.
    """
    if entry is None or entry.state is not CONFIRMED:
        return False
    return max(entry.end, *(claim.end for claim in entry.all_claims())) <= before


def decide_import(state: LedgerState, command: ImportBusy, now: int) -> Decision:
    """Answers nothing.  What the source said already changes nothing."""
    spans = state.occupancy.spans_to_import(command.source, command.spans)
    if spans == state.occupancy.imported_from(command.source):
        return Decision((), ())
    return Decision((BusyImported(state.seq + 1, now, command.source, spans),), ())


def decide_annotate(state: LedgerState, command: Annotate, now: int) -> Decision:
    uid, metadata, details, tags, version, _ = command
    if metadata is not KEEP:
        check_metadata(metadata)
    if details is not KEEP:
        check_details(details)
    if tags is not KEEP:
        check_tags(tags)
    entry = known(state, uid, now)
    admits(entry, ANNOTATE, now, version)
    before = entry.extra or NOTHING
    after = before._replace(
        metadata=before.metadata if metadata is KEEP else metadata,
        details=before.details if details is KEEP else details,
        tags=before.tags if tags is KEEP else tags,
    )
    if after == before:
        return Decision((), (uid,))
    change = Annotated(state.seq + 1, now, uid, entry.version + 1, after.or_none())
    return Decision((change,), (uid,))


def _decide_new(state: LedgerState, proposal: Proposal, view: View) -> Slotted:
    """Return what a new reservation gets, or refuse."""
    return state.occupancy.decide(screened(state, proposal, view), view)


def _forgiven(entry: Entry, holders: Holders, now: int) -> list[Entry]:
    """Return the lapsed holds of a holder, which are forgiven by this confirmation."""
    return holders.lapsed_of(entry.holder, now) if holders.counts_lapses() else []


def _check_rules(
    state: LedgerState, entry: Entry, rule: StartRule | None, closed: Collection[str], now: int
) -> None:
    """Raise unless the rules of its event type admit an entry that is reinstated."""
    if rule is not None:
        rule.check(entry.start, now)
    for claim in entry.all_claims():
        if claim.resource in closed and not (
            entry.seats is not None and state.occupancy.is_joinable(Placement.of(entry), now)
        ):
            raise OutsideHours(claim.resource, from_us(entry.start), from_us(entry.end))


# --- Parts of a decision -------------------------------------------------------------


def screened(state: LedgerState, proposal: Proposal, view: View) -> Proposal:
    """Return what the waitlist leaves to a new request, or refuse."""
    check_not_retired(state, proposal.event_type)
    _check_ahead(proposal, view.now)
    holders = _counted_for(state, proposal.quota)
    if holders is not None:
        length = proposal.end - proposal.start
        holders.check(proposal.holder, length, view, proposal.quota)
    return admitted(state, proposal, view)


def _counted_for(state: LedgerState, quota: Quota | None) -> Holders | None:
    """Return the counts of what holders have, made for this question if none are kept."""
    if state.holders is None and quota is not None and quota.counts:
        return state.holders_counted()
    return state.holders


def _lapsed_before_new(
    state: LedgerState, slot: Slotted, uid: str, holder: str | None, key: str | None, view: View
) -> list[Entry]:
    """Return the lapsed holds to be marked before a new reservation is made.

    Those with its uid or its key, too, which are as good as forgotten.
    """
    if view.swept:
        return []
    return _lapsed_before(state, slot, holder, view) + _lapsed_with(state, uid, key, view.now)


def _lapsed_with(state: LedgerState, uid: str, key: str | None, now: int) -> list[Entry]:
    """Return the lapsed holds with a uid or a key, which are as good as forgotten."""
    both = state.entries.get(uid), None if key is None else state.made_with(key)
    return [one for one in both if one is not None and one.state is HELD and one.until <= now]


def _lapsed_before(
    state: LedgerState, slot: Slotted, holder: str | None, view: View
) -> list[Entry]:
    """Return the lapsed holds whose room, seats or limits a decision needs.

    Also all lapsed holds of a holder if holders are counted, needed or not: they may have
    made room in the holder's quota.
    """
    if view.swept:
        return []
    lapsed = state.occupancy.lapsed_in_the_way(slot, view)
    if state.holders is not None:
        lapsed += state.holders.lapsed_of(holder, view.now)
    return lapsed


def _by_preference(
    state: LedgerState,
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
        sum(view.load(state.resources[resource], load_in) for resource in resources - shared)
        for resources in claimed
    ]
    return by_preference(policy, loads, weights or [1] * len(loads))


# --- Checking what callers say ---------------------------------------------------------


def check_uid(state: LedgerState, uid: str, now: int) -> None:
    check_name("uid", uid)
    if state.knows(uid, now):
        raise InvalidField("uid", "is in use")


def check_proposal(state: LedgerState, proposal: Proposal) -> None:
    state.occupancy.check(proposal)
    terms = state.terms
    longest = terms.longest_span
    for _, start, end, _ in proposal.all_claims() if proposal.pools else proposal.claims:
        if not FIRST_US <= start < end <= LAST_US or end - start > longest:
            terms.check_span(start, end)
    if not terms.shortest_ttl <= proposal.ttl <= terms.longest_ttl:
        terms.check_ttl(proposal.ttl)


def _check_batch(
    state: LedgerState, proposals: Sequence[Proposal], uids: Sequence[str], now: int
) -> None:
    """Refuse all bad input of a batch before anything of it is done."""
    for uid in uids:
        check_uid(state, uid, now)
    if len(proposals) != len(uids) or len(set(uids)) < len(uids):
        raise InvalidField("uids", "must be as many as the proposals, each different")
    keys: set[str] = set()

    def check_new_key(proposal: Proposal) -> None:
        key = proposal.key
        check_key(key, proposal.digest)
        if key is not None and key in keys:
            raise InvalidField("key", "must be different for each request of a batch")
        if key is not None:
            keys.add(key)

    def check(proposal: Proposal) -> None:
        if _known_request(state, proposal, now) is None:
            check_proposal(state, proposal)
            check_ttl_of(state, proposal.ttl, proposal.quota)

    _check_each(proposals, check_new_key)
    _check_each(proposals, check)


def _check_candidates(state: LedgerState, candidates: Sequence[Proposal], choice: Choice) -> None:
    policy, weights, load_in = choice
    if not candidates:
        raise InvalidField("candidates", "must be at least one")
    if not isinstance(policy, Policy):
        raise InvalidField("policy", f"must be a Policy, not {policy!r}")
    if load_in is not None and load_in[0] >= load_in[1]:
        raise InvalidField("load_in", "must end after its start")
    _check_each(candidates, lambda one: check_proposal(state, one))
    if weights is not None and (
        not hasattr(weights, "__len__")
        or len(weights) != len(candidates)
        or not all(is_count(weight) for weight in weights)
    ):
        raise InvalidField("weights", "must be positive whole numbers, one for each candidate")


def check_ttl_of(state: LedgerState, ttl: int, quota: Quota | None) -> None:
    """Raise `InvalidTTL` for a new hold that would live longer than its quota ever allows.

    Not asked of a repeat: that makes no new hold, whatever its quota is by now.
    """
    if quota is not None and quota.life is not None and ttl > quota.life:
        raise state.terms.invalid_ttl(ttl, quota.life)


def check_life(state: LedgerState, entry: Entry, until: int) -> None:
    longest = state.terms.max_life
    if entry.quota is not None:
        longest = stricter(longest, entry.quota.life)
    if longest is not None and until > entry.created + longest:
        raise LifeExceeded(entry.uid, from_us(entry.created + longest))


def known(state: LedgerState, uid: str, now: int) -> Entry:
    """Return the entry of a uid.  Raises `UnknownReservation`, also for one to be forgotten."""
    rows = state.rows
    try:
        row = rows.row_of[uid]
    except (KeyError, TypeError):
        raise UnknownReservation(uid) from None
    if rows.numbers[row + UNTIL] + state.retention <= now:
        raise UnknownReservation(uid)
    return state.entries.at(row)


def _known_request(state: LedgerState, proposal: Proposal, now: int) -> Entry | None:
    """Return what this very request made before, if it has a key.

    Asked before the request is checked: since it was accepted, there may be another
    configuration.  Raises `KeyReused`, `KeySpent` or `InvalidField`.
    """
    return known_key(state, proposal.key, proposal.digest, now)


def known_key(state: LedgerState, key: str | None, digest: bytes | None, now: int) -> Entry | None:
    """Return the reservation that was made with a key, or None if the key is free.

    Raises `KeyReused`, or `KeySpent` if the reservation is forgotten; and `InvalidField`.
    """
    if key is None:
        return None
    check_key(key, digest)
    use = state.keys.find(key)
    if use is None:
        return None
    entry = state.made_with(key)
    if entry is not None and entry.until + state.retention <= now:
        entry = None
    if entry is None and state.keys.is_over(use, now):
        return None
    if use.digest != digest:
        raise KeyReused(key)
    if entry is None:
        raise KeySpent(key, use.uid)
    return entry


def admits(entry: Entry, verb: Verb, now: int, version: int | None) -> bool:
    """Return whether there is anything to do, or raise if the verb is not admitted."""
    if version is not None and version != entry.version_at(now):
        if not is_count(version):
            raise InvalidField("version", f"must be a whole number, not {version!r}")
        raise StaleVersion(entry.uid, version, entry.version_at(now))
    state = entry.state_at(now)
    if verb in NEXT[state]:
        return True
    if verb in REPEATS[state]:
        return False
    kind = HoldExpired if state is State.EXPIRED else WrongState
    raise kind(entry.uid, state.value, verb.value)


def admitted_row(
    state: LedgerState, uid: str, verb: Verb, now: int, version: int | None
) -> tuple[int, int]:
    """Return the row of a uid, and the version that comes of a verb; 0 if there is nothing to do.

    As `known` and `admits`, which decide whatever is not as usual.
    """
    rows = state.rows
    row = rows.row_of.get(uid) if uid.__class__ is str else None
    if row is not None and version is None and rows.numbers[row + UNTIL] > now:
        word = rows.numbers[row + WORD]  # it is what it is marked as
        if verb in NEXT[STATES[word & STATE]]:
            return row, (word >> VERSION) + 1
    entry = known(state, uid, now)
    admitted = admits(entry, verb, now, version)
    return entry.number, entry.version + 1 if admitted else 0


def _check_not_requested(proposals: Iterable[Proposal]) -> None:
    if any(proposal.requested for proposal in proposals):
        raise InvalidField("requested", "is for what is reserved by itself, and not decided yet")


def check_not_retired(state: LedgerState, event_type: str | None) -> None:
    retired = state.configuration.retired_event_types
    if retired and event_type in retired:
        raise Retired(EVENT_TYPE, event_type or "")


def _check_ahead(proposal: Proposal, now: int) -> None:
    if proposal.rule is not None:
        proposal.rule.check(proposal.start, now)
    if proposal.is_over(now):
        raise AlreadyOver(from_us(proposal.end))


def _as_it_was(entry: Entry, *, enforce: bool) -> Proposal:
    """Propose what an entry was for once more.

    Hours are asked about only if they were the resources' own.
    """
    claims = entry.all_claims()
    return Proposal(
        entry.start,
        entry.end,
        tuple(claim for claim in claims if not is_limit(claim.resource)),
        ttl=0,
        event_type=entry.event_type,
        seats=entry.seats,
        closed=None if enforce and entry.demand is Demand.HOURS else (),
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


def _requested(proposal: Proposal, uid: str, now: int, seq: int, serial: int) -> Requested:
    """Return the change by which something is requested."""
    return Requested(
        seq, now, uid, 1, proposal.start, proposal.end, proposal.claims, Wanted.of(proposal),
        proposal.seats, proposal.holder, proposal.event_type, proposal.key, proposal.digest,
        proposal.demand, serial, proposal.extra,
    )  # fmt: skip


def _reserved(
    proposal: Proposal, slot: Slotted, uid: str, now: int, seq: int, serial: int
) -> Reserved:
    """Return the change by which somebody gets a slot."""
    return Reserved(
        seq, now, uid, 1, lapse_of(now, proposal.ttl), slot.start, slot.end, slot.claims,
        slot.seats, proposal.holder, slot.event_type, proposal.key, proposal.digest,
        proposal.quota, slot.demand, serial, proposal.extra,
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


DECIDE: Final[Mapping[type, Callable[[LedgerState, Any, int], Decision]]] = {
    Adopt: decide_adopt,
    Annotate: decide_annotate,
    Cancel: decide_end,
    Configure: decide_configure,
    Confirm: decide_confirm,
    Extend: decide_extend,
    Forget: decide_forget,
    ImportBusy: decide_import,
    Move: decide_move,
    Release: decide_end,
    Replace: decide_replace,
}
"""What decides a command of each kind; `decide_reserve` has a place on the waitlist, too."""
