"""Named faults, which a checker of the engine must find.

Each breaks slotengine in one way for as long as a block lasts.  They test the tests:
`slotengine simulate --fault NAME` must fail, and soon.

>>> from slotengine.core.ledger.ledger import Ledger
>>> before = Ledger.step
>>> with fault("version-not-raised"):
...     Ledger.step is before
False
>>> Ledger.step is before
True

A fault replaces public methods by name.  So the tests notice if such a method is
renamed, or no longer called.  Do not use faults in threads: they break all engines
of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from slotengine.core.ledger import decide as deciding
from slotengine.core.ledger import ledger as stepping
from slotengine.core.ledger import replay as replaying
from slotengine.core.ledger.changes import (
    Answered,
    Change,
    Changes,
    Decision,
    Expired,
    Extended,
    Granted,
    Moved,
    Requested,
    ReservationChange,
    Reserved,
)
from slotengine.core.ledger.clients import WINDOW, Clients, CommandId, Outcome
from slotengine.core.ledger.commands import Adopt, Command, Confirm, Extend, Mode, Move, Reserve
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.ledger.holders import Holders
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.occupancy import Occupancy
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule
from slotengine.core.ledger.reservation import Claim, Entry, Reservable, State, Verb
from slotengine.core.ledger.resource import Resource
from slotengine.core.ledger.state import LedgerState
from slotengine.core.ledger.timeline import NO_ROOM, CountedTimeline, ExclusiveTimeline
from slotengine.core.ledger.view import View
from slotengine.core.ledger.waitlist import NEWCOMER, Waiting, Waitlist
from slotengine.core.offer.availability import AvailabilitySearch
from slotengine.core.offer.booking_rules import BookingRules
from slotengine.core.time.instant import LAST_US, MINUTE
from slotengine.engine import values
from slotengine.engine.waiting import SleepingCall, SleepingCalls
from slotengine.errors import NoneFree, Refused, SessionExpired

if TYPE_CHECKING:
    from types import ModuleType

    from slotengine.core.ledger.ledger import OnChange

Method = Callable[..., Any]
Owner: TypeAlias = "type | ModuleType"
Patch: TypeAlias = tuple[Owner, str, Callable[[Method], Method]]
"""A class or module, the name of a method or function, and what returns the faulty one."""

FAULTS: Final[dict[str, list[Patch]]] = {}
"""The patches of every fault, by its name."""

DESCRIPTIONS: Final[dict[str, str]] = {}
"""What is wrong under each fault, in a sentence."""


@contextmanager
def fault(name: str) -> Iterator[None]:
    """Put a fault in for as long as the block lasts.  Raises `KeyError` for an unknown name."""
    with ExitStack() as stack:
        for owner, method, make in FAULTS[name]:
            stack.enter_context(_patched(owner, method, make))
        yield


@contextmanager
def _patched(owner: Owner, name: str, make: Callable[[Method], Method]) -> Iterator[None]:
    right, its_own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, make(right))
    try:
        yield
    finally:
        if its_own:
            setattr(owner, name, right)
        else:
            delattr(owner, name)


def _breaks(
    name: str, owner: Owner, method: str
) -> Callable[[Callable[[Method], Method]], Callable[[Method], Method]]:
    """Add the decorated patch to a fault; the docstring of its first patch describes it."""

    def add(make: Callable[[Method], Method]) -> Callable[[Method], Method]:
        FAULTS.setdefault(name, []).append((owner, method, make))
        DESCRIPTIONS.setdefault(name, (make.__doc__ or "").partition("\n")[0])
        return make

    return add


# --- Time ------------------------------------------------------------------------------------


@_breaks("until-off-by-one", Entry, "state_at")
def _late_state(right: Method) -> Method:
    """A hold is still live at the moment at which it ends."""

    def state_at(self: Entry, now: int) -> State:
        return self.state if self.until == now else right(self, now)

    return state_at


@_breaks("until-off-by-one", Entry, "version_at")
def _late_version(right: Method) -> Method:
    def version_at(self: Entry, now: int) -> int:
        return self.version if self.until == now else right(self, now)

    return version_at


@_breaks("until-off-by-one", Entry, "read_at")
def _late_reading(right: Method) -> Method:
    return lambda self, now: right(self, now - 1)


@_breaks("until-off-by-one", stepping, "mark_lapsed")
def _late_marks(right: Method) -> Method:
    return lambda state, now, limit: right(state, now - 1, limit)


@_breaks("until-off-by-one", stepping, "forget_retained")
def _late_maintenance(right: Method) -> Method:
    def forget_retained(state: LedgerState, now: int, limit: int) -> None:
        right(state, now - 1, limit)
        # Otherwise the sweeper would spin.
        state.maintenance_due = max(state.maintenance_due, now + 1)

    return forget_retained


@_breaks("expiry-told-twice", Ledger, "expire")
def _twice(right: Method) -> Method:
    """The sweeper publishes each expiry twice."""

    def expire(self: Ledger, now: int, limit: int | None = None) -> int:
        tell = self.on_change

        def twice(change: ReservationChange, entry: Entry) -> None:
            assert tell is not None
            tell(change, entry)
            tell(change, entry)

        return _telling(self, tell and twice, lambda: right(self, now, limit))  # type: ignore[no-any-return]

    return expire


@_breaks("expiry-not-told", Ledger, "expire")
def _never(right: Method) -> Method:
    """The sweeper marks holds as expired without an event."""

    def expire(self: Ledger, now: int, limit: int | None = None) -> int:
        return _telling(self, None, lambda: right(self, now, limit))  # type: ignore[no-any-return]

    return expire


@_breaks("waits-for-the-sweeper", View, "live_among")
def _in_the_way(right: Method) -> Method:
    """An expired hold is in the way until the sweeper has run."""
    return lambda self, standing: standing


@_breaks("forgets-too-early", deciding, "is_over_by")
def _hasty(right: Method) -> Method:
    """Some bookings are forgotten before they are over."""
    return lambda entry, before: right(entry, before + 1)


@_breaks("never-forgets", LedgerState, "forget")
def _kept(right: Method) -> Method:
    """Ended reservations stay in memory for ever."""
    return lambda self, row: None


@_breaks("pending-lapses", deciding, "lapse_of")
def _patience(right: Method) -> Method:
    """A hold that need not lapse does."""
    return lambda now, ttl: right(now, 8 * MINUTE if ttl == PENDING else ttl)


# --- Space -----------------------------------------------------------------------------------


@_breaks("touching-conflicts", ExclusiveTimeline, "room")
@_breaks("touching-conflicts", CountedTimeline, "room")
def _touching(right: Method) -> Method:
    """Spans that only touch conflict: ``<=`` in place of ``<``."""

    def room(self: Any, start: int, end: int, units: int) -> int:
        if right(self, start - 1, end + 1, units) == NO_ROOM:
            return NO_ROOM
        return right(self, start, end, units)  # type: ignore[no-any-return]

    return room


@_breaks("oversold", CountedTimeline, "room")
def _one_more(right: Method) -> Method:
    """A resource of several units gives out one unit too many."""
    return lambda self, start, end, units: right(self, start, end, units - 1)


@_breaks("forgotten-claim", Resource, "give_back")
def _not_given_back(right: Method) -> Method:
    """The last of several claims of a reservation is never released."""

    def give_back(self: Reservable, start: int, end: int, units: int, owner: Any) -> None:
        claims = owner.all_claims()
        if len(claims) == 1 or claims[-1].resource != self.id:
            right(self, start, end, units, owner)

    return give_back


@_breaks("in-its-own-way", stepping, "decide")
def _in_its_own_way(right: Method) -> Method:
    """A move is refused because of the reservation's own claims."""

    def decide(state: LedgerState, command: Command, now: int, *ticket: int) -> Decision:
        if isinstance(command, Move):
            entry = deciding.known(state, command.uid, now)
            deciding.admits(entry, Verb.MOVE, now, command.version)
            for candidate in command.candidates:
                try:
                    state.occupancy.decide(candidate, state.occupancy.view(now))
                except Refused as refusal:
                    raise refusal if command.choice is None else NoneFree((refusal,)) from None
        return right(state, command, now, *ticket)  # type: ignore[no-any-return]

    return decide


@_breaks("half-a-batch", Ledger, "step")
def _half(right: Method) -> Method:
    """A batch that is refused keeps the holds made before the refusal."""

    def step(self: Ledger, command: Command, now: int) -> Decision:
        if not isinstance(command, Reserve) or command.mode is not Mode.ALL:
            return right(self, command, now)  # type: ignore[no-any-return]
        each = zip(command.requests, command.uids, strict=True)
        done = [right(self, Reserve((request,), (uid,)), now) for request, uid in each]
        return Decision((), tuple(answer for one in done for answer in one.answers))

    return step


@_breaks("request-occupies", Ledger, "carry_out")
def _occupying(right: Method) -> Method:
    """What is requested is taken at once."""

    def carry_out(self: Ledger, changes: Changes) -> None:
        right(self, changes)
        for change in changes:
            if isinstance(change, Requested):
                self.state.occupancy.put(self.state.entries[change.uid])

    return carry_out


@_breaks("granted-though-taken", stepping, "decide")
def _granted(right: Method) -> Method:
    """What was requested is confirmed whatever is taken by then."""

    def decide(state: LedgerState, command: Command, now: int, *ticket: int) -> Decision:
        entry = state.entries.get(command.uid) if isinstance(command, Confirm) else None
        if entry is None or entry.state is not State.REQUESTED:
            return right(state, command, now, *ticket)  # type: ignore[no-any-return]
        request = Proposal(
            entry.start, entry.end, entry.all_claims(), 0,
            event_type=entry.event_type, seats=entry.seats,
        )  # fmt: skip
        slot = state.occupancy.adopted(request, state.occupancy.view(now))
        version = entry.version + 1
        granted = Granted(state.seq + 1, now, entry.uid, version, slot.claims, slot.seats)
        return Decision((granted,), (entry.uid,))

    return decide


# --- Records ----------------------------------------------------------------------------


@_breaks("version-not-raised", Ledger, "step")
def _same_version(right: Method) -> Method:
    """Extending a hold does not raise its version."""

    def step(self: Ledger, command: Command, now: int) -> Decision:
        decision: Decision = right(self, command, now)
        if isinstance(command, Extend):
            self.state.entries[command.uid].version -= 1
        return decision

    return step


@_breaks("key-forgotten", stepping, "decide")
def _keyless(right: Method) -> Method:
    """A request that is repeated with its key makes another hold."""

    def decide(state: LedgerState, command: Command, *about: int) -> Decision:
        if isinstance(command, Reserve):
            requests = tuple(request._replace(key=None) for request in command.requests)
            command = command._replace(requests=requests)
        return right(state, command, *about)  # type: ignore[no-any-return]

    return decide


@_breaks("repeat-decided-anew", Clients, "find")
def _unknown_command(right: Method) -> Method:
    """A command that is repeated under its id is carried out again."""

    def find(self: Clients, command_id: CommandId, now: int) -> None:
        right(self, command_id, now)

    return find


@_breaks("late-repeat-decided", Clients, "find")
def _for_ever(right: Method) -> Method:
    """A command whose session has ended is decided, though it may be a repeat."""

    def find(self: Clients, command_id: CommandId, now: int) -> Outcome | None:
        try:
            return right(self, command_id, now)  # type: ignore[no-any-return]
        except SessionExpired:
            return None

    return find


@_breaks("repeat-unknown-after-crash", replaying, "apply")
def _unrecorded_answer(right: Method) -> Method:
    """After a crash, a command that is repeated under its id is carried out again."""

    def apply(state: LedgerState, change: Change) -> None:
        if isinstance(change, Answered):
            command_id = change.command_id
            another = command_id._replace(number=command_id.awaited + WINDOW - 1)
            change = change._replace(command_id=another)
        right(state, change)

    return apply


@_breaks("key-mistaken", values, "asked_by")
def _much_alike(right: Method) -> Method:
    """A repeated key matches a request of a different holder."""
    return lambda request: right(replace(request, ttl=None, holder=None))


@_breaks("key-of-other-hours", values, "asked_by")
def _other_hours(right: Method) -> Method:
    """A repeated key matches a request with a different schedule."""
    return lambda request: right(replace(request, schedule=None))


@_breaks("successor-told-first", Ledger, "carry_out")
def _in_its_turn(right: Method) -> Method:
    """The expiry of a hold is published only after the reservation that replaced it."""

    def carry_out(self: Ledger, changes: Changes) -> None:
        told: list[tuple[ReservationChange, Entry]] = []
        tell, step = self.on_change, self.on_step
        self.on_step = None
        _telling(self, tell and (lambda *about: told.append(about)), lambda: right(self, changes))
        for about in sorted(told, key=lambda about: isinstance(about[0], Expired)):
            if tell is not None:
                tell(*about)
        self.on_step = step
        if step is not None:
            step(changes)

    return carry_out


@_breaks("stale-version-accepted", stepping, "decide")
def _any_version(right: Method) -> Method:
    """A change with a stale version is accepted."""

    def decide(state: LedgerState, command: Command, *about: int) -> Decision:
        if isinstance(command, Confirm):
            command = command._replace(version=None)
        return right(state, command, *about)  # type: ignore[no-any-return]

    return decide


@_breaks("unrecorded-extension", replaying, "apply")
def _unrecorded(right: Method) -> Method:
    """After a crash, an extended hold expires at its old end."""

    def apply(state: LedgerState, change: Change) -> None:
        if isinstance(change, Extended):
            change = change._replace(until=state.entries[change.uid].until)
        right(state, change)

    return apply


@_breaks("booking-lapses", Ledger, "step")
def _lapses(right: Method) -> Method:
    """A booking ends when its hold would have expired."""

    def step(self: Ledger, command: Command, now: int) -> Decision:
        entry = self.get(command.uid, now=now) if isinstance(command, Confirm) else None
        until = LAST_US if entry is None else entry.until
        decision: Decision = right(self, command, now)
        if entry is not None and until <= LAST_US < entry.until:
            entry.until = until
        return decision

    return step


# --- Booking rules ------------------------------------------------------------------------


@_breaks("limit-not-counted", BookingRules, "proposal")
def _unlimited(right: Method) -> Method:
    """Reservations do not count towards the limits of their event type."""
    return lambda self, *about, **how: right(self, *about, **how)._replace(limits=())


@_breaks("adopted-not-counted", stepping, "decide")
def _uncounted(right: Method) -> Method:
    """A booking from elsewhere does not count towards the limits of its event type."""

    def decide(state: LedgerState, command: Command, *about: int) -> Decision:
        if isinstance(command, Adopt):
            command = command._replace(request=command.request._replace(limits=()))
        return right(state, command, *about)  # type: ignore[no-any-return]

    return decide


@_breaks("host-taken-twice", Occupancy, "pick")
def _anybody(right: Method) -> Method:
    """If no host of a group is free, the first is taken."""

    def pick(self: Occupancy, pool: Pool, *about: Any, **how: Any) -> Claim:
        try:
            return right(self, pool, *about, **how)  # type: ignore[no-any-return]
        except Refused:
            return pool.claims[0]

    return pick


@_breaks("out-of-turn", Occupancy, "turns")
def _no_turns(right: Method) -> Method:
    """The first free host of a group is always taken."""
    return lambda self, pool, *about, **how: list(range(len(pool.claims)))


@_breaks("newcomer-gets-all", Occupancy, "turns")
def _no_credit(right: Method) -> Method:
    """A host who joins a group gets every booking until it has as many as the others."""

    def turns(self: Occupancy, pool: Pool, *about: Any) -> list[int]:
        return right(self, pool._replace(credits=None), *about)  # type: ignore[no-any-return]

    return turns


@_breaks("retired-resource-taken", Resource, "set_retired")
def _still_taken(right: Method) -> Method:
    """A resource that is retired takes new reservations."""
    return lambda self, retired: right(self, False)


@_breaks("retired-event-type-booked", deciding, "check_not_retired")
@_breaks("retired-event-type-booked", stepping, "check_not_retired")
def _still_booked(right: Method) -> Method:
    """An event type that is retired gets new reservations."""
    return lambda state, event_type: None


@_breaks("hours-not-kept", BookingRules, "sole_hours")
def _always_open(right: Method) -> Method:
    """The opening hours of fixed hosts are ignored."""
    return lambda self, enforce: right(self, False)


@_breaks("hours-not-kept", BookingRules, "closed_to")
def _always_open_too(right: Method) -> Method:
    def closed_to(self: BookingRules, *about: Any) -> tuple[str, ...]:
        fixed = {host.resource for host in self.fixed}
        return tuple(name for name in right(self, *about) if name not in fixed)

    return closed_to


@_breaks("notice-not-kept", StartRule, "check")
def _at_any_time(right: Method) -> Method:
    """Notice and booking window are ignored."""
    return lambda self, start, now: None


@_breaks("offered-though-held", AvailabilitySearch, "split_by_host")
def _beside_bookings(right: Method) -> Method:
    """Slots are offered although they are held."""
    return lambda self, host, starts: (starts, [])


@_breaks("busy-time-ignored", Resource, "is_busy")
def _never_busy(right: Method) -> Method:
    """Imported busy time is ignored."""
    return lambda self, start, end: False


@_breaks("quota-not-kept", Holders, "check")
def _without_quota(right: Method) -> Method:
    """Holder quotas are ignored."""
    return lambda self, *about, **how: None


@_breaks("move-escapes-quota", Holders, "check_move")
def _moved_out_of_it(right: Method) -> Method:
    """A move ignores the quota of its hold."""

    def check_move(self: Holders, entry: Entry, *about: Any) -> None:
        quota, entry.quota = entry.quota, None
        try:
            right(self, entry, *about)
        finally:
            entry.quota = quota

    return check_move


@_breaks("renewed-for-ever", deciding, "check_life")
def _immortal(right: Method) -> Method:
    """A hold may be renewed beyond its longest life."""
    return lambda state, entry, until: None


@_breaks("quota-lost-in-a-crash", replaying, "apply")
def _without_its_quota(right: Method) -> Method:
    """After a crash, the quotas of holds are lost."""

    def apply(state: LedgerState, change: Change) -> None:
        right(state, change._replace(quota=None) if isinstance(change, Reserved) else change)

    return apply


# --- Waiting -----------------------------------------------------------------------------------


@_breaks("lapse-wakes-nobody", Waitlist, "on_changes")
def _silent_lapse(right: Method) -> Method:
    """An expiry wakes no waiting call."""

    def on_changes(self: Waitlist, changes: Iterable[Change], entries: Any) -> None:
        right(self, [one for one in changes if not isinstance(one, Expired)], entries)

    return on_changes


@_breaks("move-wakes-nobody", Waitlist, "on_changes")
def _silent_move(right: Method) -> Method:
    """A move wakes no waiting call."""

    def on_changes(self: Waitlist, changes: Iterable[Change], entries: Any) -> None:
        right(self, [one for one in changes if not isinstance(one, Moved)], entries)

    return on_changes


@_breaks("import-wakes-nobody", Waitlist, "free_all")
def _silent_import(right: Method) -> Method:
    """The end of imported busy time wakes no waiting call."""
    return lambda self: None


@_breaks("leaving-wakes-nobody", Waitlist, "leave")
def _silent_leave(right: Method) -> Method:
    """A call that gives up wakes none of those behind it."""

    def leave(self: Waitlist, ticket: int) -> None:
        ready = {one.ticket for one in self if one.ready}
        right(self, ticket)
        for one in self:
            one.ready = one.ticket in ready

    return leave


@_breaks("leaving-wakes-nobody", Waitlist, "next_ready")
def _not_really_ready(right: Method) -> Method:
    def next_ready(self: Waitlist) -> Waiting | None:
        ready = {one.ticket for one in self if one.ready}
        while (found := right(self)) is not None and found.ticket not in ready:
            pass
        return found  # type: ignore[no-any-return]

    return next_ready


@_breaks("last-come-first-served", Waitlist, "next_ready")
def _newest(right: Method) -> Method:
    """Of several calls that wait for the same slot, the last is served first."""

    def next_ready(self: Waitlist) -> Waiting | None:
        found: Waiting | None = right(self)
        if found is None:
            return None
        return [one for one in self if one.places == found.places][-1]

    return next_ready


@_breaks("newcomer-overtakes", Waitlist, "is_awaited")
def _overtaking(right: Method) -> Method:
    """A new call can be served before those that wait."""

    def is_awaited(self: Waitlist, claim: Claim, ticket: int, held: Sequence[Claim]) -> bool:
        return (bool(held) or ticket != NEWCOMER) and right(self, claim, ticket, held)

    return is_awaited


@_breaks("mover-overtakes", Waitlist, "is_awaited")
def _moving_in(right: Method) -> Method:
    """A move can be served before the calls that wait."""

    def is_awaited(self: Waitlist, claim: Claim, ticket: int, held: Sequence[Claim]) -> bool:
        return not held and right(self, claim, ticket, held)

    return is_awaited


@_breaks("handed-to-nobody", SleepingCalls, "abandon")
def _lost(right: Method) -> Method:
    """If a call is cancelled when it gets a slot, the slot stays held."""

    def abandon(self: SleepingCalls, ticket: int, call: SleepingCall) -> None:
        call.entry = None
        right(self, ticket, call)

    return abandon


@_breaks("unbounded-waitlist", Waitlist, "check_room")
def _crowd(right: Method) -> Method:
    """The bound on waiting calls is ignored."""

    def check_room(self: Waitlist, request: Proposal) -> None:
        self.most += 1
        right(self, request)

    return check_room


def _telling(ledger: Ledger, tell: OnChange | None, act: Callable[[], Any]) -> Any:
    """Replace a ledger's ``on_change`` while it acts."""
    right, ledger.on_change = ledger.on_change, tell
    try:
        return act()
    finally:
        ledger.on_change = right
