"""Faults, put in on purpose: whoever claims to find faults must find these.

Each has a name, and breaks slotengine in one way for as long as a block lasts.
A test of a test: `slotengine simulate --fault NAME` must fail, and soon.

>>> from slotengine.core.ledger.ledger import Ledger
>>> before = Ledger.extend
>>> with fault("version-not-raised"):
...     Ledger.extend is before
False
>>> Ledger.extend is before
True

They are put in around methods that are called by name, so that one which is no
more called, or no more there, is missed by the tests.  Not for use in threads:
all engines of the process are broken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from slotengine.core.ledger.books import Books
from slotengine.core.ledger.holders import Holders
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.line import NEWCOMER, Line, Waiter
from slotengine.core.ledger.occupancy import Occupancy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Entry, Reservable, State, Verb
from slotengine.core.ledger.resource import Resource
from slotengine.core.ledger.timeline import NO_ROOM, CountedTimeline, ExclusiveTimeline
from slotengine.core.ledger.view import View
from slotengine.core.offer.availability import AvailabilitySearch
from slotengine.core.offer.booking_rules import BookingRules
from slotengine.core.time.instant import LAST_US
from slotengine.engine.waiting import WaitingRoom
from slotengine.errors import NoneFree, Refused

if TYPE_CHECKING:
    from slotengine.core.ledger.books import OnChange

Method = Callable[..., Any]
Patch = tuple[type, str, Callable[[Method], Method]]
"""A class, the name of a method, and what makes a faulty one of the method that is there."""

FAULTS: Final[dict[str, list[Patch]]] = {}
"""Every fault by its name: what it breaks."""

DESCRIPTIONS: Final[dict[str, str]] = {}
"""What is wrong with each fault in place, in a sentence."""


@contextmanager
def fault(name: str) -> Iterator[None]:
    """Have a fault in place for as long as the block lasts.  Raises `KeyError`."""
    with ExitStack() as stack:
        for owner, method, make in FAULTS[name]:
            stack.enter_context(_patched(owner, method, make))
        yield


@contextmanager
def _patched(owner: type, name: str, make: Callable[[Method], Method]) -> Iterator[None]:
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
    name: str, owner: type, method: str
) -> Callable[[Callable[[Method], Method]], Callable[[Method], Method]]:
    """Add what is decorated to a fault; its docstring, or that of the first, says what is wrong."""

    def add(make: Callable[[Method], Method]) -> Callable[[Method], Method]:
        FAULTS.setdefault(name, []).append((owner, method, make))
        DESCRIPTIONS.setdefault(name, (make.__doc__ or "").partition("\n")[0])
        return make

    return add


# --- Time ------------------------------------------------------------------------------------


@_breaks("until-off-by-one", Entry, "state_at")
def _late_state(right: Method) -> Method:
    """A hold is taken to be live at the very moment of its until."""

    def state_at(self: Entry, now: int) -> State:
        return self.state if self.until == now else right(self, now)

    return state_at


@_breaks("until-off-by-one", Entry, "version_at")
def _late_version(right: Method) -> Method:
    def version_at(self: Entry, now: int) -> int:
        return self.version if self.until == now else right(self, now)

    return version_at


@_breaks("until-off-by-one", Books, "do_chores")
def _late_chores(right: Method) -> Method:
    def do_chores(self: Books, now: int, limit: int) -> int:
        marked: int = right(self, now - 1, limit)
        self.chores_due = max(self.chores_due, now + 1)  # or the sweeper would spin
        return marked

    return do_chores


@_breaks("expiry-told-twice", Ledger, "expire")
def _twice(right: Method) -> Method:
    """The sweeper announces each expiry twice."""

    def expire(self: Ledger, now: int, limit: int | None = None) -> int:
        tell = self.on_change

        def twice(verb: Verb, entry: Entry, at: int) -> None:
            assert tell is not None
            tell(verb, entry, at)
            tell(verb, entry, at)

        return _telling(self, tell and twice, lambda: right(self, now, limit))  # type: ignore[no-any-return]

    return expire


@_breaks("expiry-not-told", Ledger, "expire")
def _never(right: Method) -> Method:
    """The sweeper marks holds as expired, and tells nobody."""

    def expire(self: Ledger, now: int, limit: int | None = None) -> int:
        return _telling(self, None, lambda: right(self, now, limit))  # type: ignore[no-any-return]

    return expire


@_breaks("waits-for-the-sweeper", View, "live_among")
def _in_the_way(right: Method) -> Method:
    """A hold that has lapsed is in the way of others until the sweeper has run."""
    return lambda self, standing: standing


@_breaks("forgets-too-early", Books, "forget_bookings")
def _hasty(right: Method) -> Method:
    """Of bookings that are to be forgotten, some are not quite over."""
    return lambda self, before, uids: right(self, before + 1, uids)


@_breaks("never-forgets", Books, "forget")
def _kept(right: Method) -> Method:
    """What has ended stays in memory for good."""
    return lambda self, entry: None


# --- Room ------------------------------------------------------------------------------------


@_breaks("touching-conflicts", ExclusiveTimeline, "room")
@_breaks("touching-conflicts", CountedTimeline, "room")
def _touching(right: Method) -> Method:
    """Spans that merely touch are taken to be in each other's way: ``<=`` for ``<``."""

    def room(self: Any, start: int, end: int, units: int) -> int:
        if right(self, start - 1, end + 1, units) == NO_ROOM:
            return NO_ROOM
        return right(self, start, end, units)  # type: ignore[no-any-return]

    return room


@_breaks("oversold", CountedTimeline, "room")
def _one_more(right: Method) -> Method:
    """A resource of several units gives one more than it has."""
    return lambda self, start, end, units: right(self, start, end, units - 1)


@_breaks("forgotten-claim", Resource, "give_back")
def _not_given_back(right: Method) -> Method:
    """Of a reservation with several claims, the last is never given back."""

    def give_back(self: Reservable, start: int, end: int, units: int, owner: Any) -> None:
        claims = owner.all_claims()
        if len(claims) == 1 or claims[-1].resource != self.id:
            right(self, start, end, units, owner)

    return give_back


@_breaks("in-its-own-way", Ledger, "move_any")
def _in_its_own_way(right: Method) -> Method:
    """What moves is refused because of its own claims."""

    def move_any(
        self: Ledger, uid: str, candidates: Sequence[Proposal], *, now: int, **how: Any
    ) -> Entry:
        self.check_movable(uid, now=now, version=how.get("version"))
        for candidate in candidates:
            try:
                self.occupancy.decide(candidate, self.occupancy.view(now))
            except Refused as refusal:
                raise NoneFree((refusal,)) from None
        return right(self, uid, candidates, now=now, **how)  # type: ignore[no-any-return]

    return move_any


@_breaks("half-a-batch", Ledger, "reserve_all")
def _half(right: Method) -> Method:
    """Of a batch that is refused, what was had before the refusal is kept."""

    def reserve_all(
        self: Ledger, proposals: Sequence[Proposal], *, uids: Sequence[str], now: int
    ) -> list[Entry]:
        return [
            self.reserve_proposal(proposal, uid=uid, now=now)
            for proposal, uid in zip(proposals, uids, strict=True)
        ]

    return reserve_all


# --- What is said ----------------------------------------------------------------------------


@_breaks("version-not-raised", Ledger, "extend")
def _same_version(right: Method) -> Method:
    """Extending a hold does not raise its version."""

    def extend(self: Ledger, uid: str, **how: Any) -> Entry:
        entry: Entry = right(self, uid, **how)
        entry.version -= 1
        return entry

    return extend


@_breaks("key-forgotten", Ledger, "reserve_proposal")
def _keyless(right: Method) -> Method:
    """A request that is repeated with its key is taken for another one."""

    def reserve_proposal(self: Ledger, proposal: Proposal, **how: Any) -> Entry:
        return right(self, proposal._replace(key=None), **how)  # type: ignore[no-any-return]

    return reserve_proposal


@_breaks("key-mistaken", Proposal, "fingerprint")
def _much_alike(right: Method) -> Method:
    """Requests with one key are taken for the same although they are of another holder."""
    return lambda self: right(self._replace(ttl=1, holder=None))


@_breaks("key-of-other-hours", Proposal, "fingerprint")
def _other_hours(right: Method) -> Method:
    """A key stands for a request although that brings another schedule along."""
    return lambda self: right(self._replace(schedule=None))


@_breaks("successor-told-first", Books, "expire_first")
def _in_its_turn(right: Method) -> Method:
    """That a hold has lapsed is told only after what has its room."""

    def expire_first(self: Books, lapsed: Collection[Entry], now: int) -> None:
        tell, late = self.on_change, list[tuple[Verb, Entry, int]]()

        def successor(*about: Any) -> None:
            self.on_change = tell
            for one in (about, *late):
                if tell is not None:
                    tell(*one)

        self.on_change = lambda *about: late.append(about)
        right(self, lapsed, now)
        self.on_change = successor if late else tell

    return expire_first


@_breaks("stale-version-accepted", Ledger, "confirm")
def _any_version(right: Method) -> Method:
    """A worker that acts on an old view is let through."""
    return lambda self, uid, *, version=None, **how: right(self, uid, **how)


@_breaks("unrecorded-extension", Ledger, "apply")
def _unrecorded(right: Method) -> Method:
    """What was extended lapses at its old moment once the engine has crashed."""

    def apply(self: Ledger, change: Any) -> None:
        if change.verb is Verb.EXTEND:
            change = change._replace(until=self._entries[change.uid].until)
        right(self, change)

    return apply


@_breaks("booking-lapses", Ledger, "confirm")
def _lapses(right: Method) -> Method:
    """A booking vanishes when the hold that it was would have lapsed."""

    def confirm(self: Ledger, uid: str, **how: Any) -> Entry:
        entry = self.get(uid, now=how["now"])
        until = LAST_US if entry is None else entry.until
        booked: Entry = right(self, uid, **how)
        if until <= LAST_US and booked.state is State.CONFIRMED and booked.until > LAST_US:
            booked.until = until
        return booked

    return confirm


# --- What can be booked ------------------------------------------------------------------------


@_breaks("limit-not-counted", BookingRules, "proposal")
def _unlimited(right: Method) -> Method:
    """What is reserved does not count towards the limits of its event type."""
    return lambda self, ask: right(self, ask)._replace(limits=())


@_breaks("host-taken-twice", Occupancy, "pick")
def _anybody(right: Method) -> Method:
    """Of a group of whom nobody is free, the first is taken all the same."""

    def pick(self: Occupancy, pool: Pool, *about: Any, **how: Any) -> Claim:
        try:
            return right(self, pool, *about, **how)  # type: ignore[no-any-return]
        except Refused:
            return pool.claims[0]

    return pick


@_breaks("out-of-turn", Occupancy, "turns")
def _no_turns(right: Method) -> Method:
    """Of a group, the first who is free is always taken."""
    return lambda self, pool, *about, **how: list(range(len(pool.claims)))


@_breaks("hours-not-kept", BookingRules, "fixed_hours")
def _always_open(right: Method) -> Method:
    """Of hosts who are always needed, nobody asks whether they are there at that time."""
    return lambda self, enforce: right(self, False)


@_breaks("notice-not-kept", BookingRules, "check_start")
def _at_any_time(right: Method) -> Method:
    """What is too close, or too far away, is let through."""
    return lambda self, start, now: None


@_breaks("offered-though-held", AvailabilitySearch, "split_by_host")
def _beside_bookings(right: Method) -> Method:
    """Slots are offered as if nothing stood in their way."""
    return lambda self, host, starts: (starts, [])


@_breaks("busy-time-ignored", Resource, "is_busy")
def _never_busy(right: Method) -> Method:
    """What is imported as busy is given away."""
    return lambda self, start, end: False


@_breaks("quota-not-kept", Holders, "check")
def _without_quota(right: Method) -> Method:
    """A holder may have as much as it likes."""
    return lambda self, *about: None


@_breaks("move-escapes-quota", Holders, "check_move")
def _moved_out_of_it(right: Method) -> Method:
    """A hold that moves may be as long as the engine allows, whatever it was made under."""

    def check_move(self: Holders, entry: Entry, *about: Any) -> None:
        quota, entry.quota = entry.quota, None
        try:
            right(self, entry, *about)
        finally:
            entry.quota = quota

    return check_move


@_breaks("renewed-for-ever", Ledger, "check_life")
def _immortal(right: Method) -> Method:
    """A hold may be renewed again and again, beyond the life that its quota gives it."""
    return lambda self, entry, until: None


@_breaks("quota-lost-in-a-crash", Books, "apply")
def _without_its_quota(right: Method) -> Method:
    """After a crash nobody knows under which quota a hold was made."""
    return lambda self, change: right(self, change._replace(quota=None))


# --- Waiting -----------------------------------------------------------------------------------


@_breaks("lapse-wakes-nobody", WaitingRoom, "told")
def _silent_lapse(right: Method) -> Method:
    """Whoever waits for a hold to lapse sleeps on when it does."""

    def told(self: WaitingRoom, verb: Verb, entry: Entry) -> None:
        if verb is not Verb.EXPIRE:
            right(self, verb, entry)

    return told


@_breaks("move-wakes-nobody", WaitingRoom, "moving")
def _silent_move(right: Method) -> Method:
    """Whoever waits for what moves away sleeps on."""
    return lambda self, uid: None


@_breaks("import-wakes-nobody", WaitingRoom, "imported")
def _silent_import(right: Method) -> Method:
    """Whoever waits for imported busy time to end sleeps on when it is gone."""
    return lambda self: None


@_breaks("leaving-wakes-nobody", Line, "leave")
def _silent_leave(right: Method) -> Method:
    """Whoever gives up waiting wakes none of those behind."""

    def leave(self: Line[Any], waiter: Waiter[Any]) -> None:
        called = list(self.to_try), {one.ticket for one in self if one.to_try}
        right(self, waiter)
        self.to_try = called[0]
        for one in self:
            one.to_try = one.ticket in called[1]

    return leave


@_breaks("last-come-first-served", Line, "next")
def _newest(right: Method) -> Method:
    """Of those who wait for the same, the one who came last is served first."""

    def next_(self: Line[Any]) -> Waiter[Any] | None:
        waiter: Waiter[Any] | None = right(self)
        if waiter is None:
            return None
        return [one for one in self if one.places == waiter.places][-1]

    return next_


@_breaks("newcomer-overtakes", WaitingRoom, "screen")
def _overtaking(right: Method) -> Method:
    """Whoever comes at the right moment is served before those who wait."""

    def screen(self: WaitingRoom, proposal: Proposal, own: Entry | None) -> Proposal:
        is_new = own is None and self.ticket == NEWCOMER
        return proposal if is_new else right(self, proposal, own)

    return screen


@_breaks("mover-overtakes", WaitingRoom, "screen")
def _moving_in(right: Method) -> Method:
    """Whoever moves is served before those who wait."""

    def screen(self: WaitingRoom, proposal: Proposal, own: Entry | None) -> Proposal:
        return proposal if own is not None else right(self, proposal, own)

    return screen


@_breaks("handed-to-nobody", WaitingRoom, "abandon")
def _lost(right: Method) -> Method:
    """What one was handed who is cancelled in that moment is held for nobody."""
    return lambda self, waiter: self.dismiss(waiter)


@_breaks("more-wait-than-may", Line, "join")
def _crowd(right: Method) -> Method:
    """Any number may wait."""

    def join(self: Line[Any], *about: Any) -> Waiter[Any]:
        self.most += 1
        return right(self, *about)  # type: ignore[no-any-return]

    return join


def _telling(ledger: Ledger, tell: OnChange | None, act: Callable[[], Any]) -> Any:
    """Let a ledger tell somebody else for as long as it acts."""
    right, ledger.on_change = ledger.on_change, tell
    try:
        return act()
    finally:
        ledger.on_change = right
