"""Watches a running engine: checks each change as it happens, and all that the engine says.

A `Watch` keeps its own records, made of the events alone.  So it finds the effects
that a fault anywhere in the engine would have on callers: an oversold span, a
version that was not raised, an expiry that came twice or early, a lost booking, a
claim that was never released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.reservation import ENDED, NEXT, NOWHERE, State, Verb
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event
from slotengine.engine.inputs import listed
from slotengine.engine.values import Reservation
from slotengine.errors import InvalidField, Refused

if TYPE_CHECKING:
    from slotengine.engine.values import Claim

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
ALWAYS: Final = datetime.min.replace(tzinfo=UTC), FOREVER
CHECKED_PER_TURN: Final = 64
"""How many reservations `check_in_turns` checks before other tasks have their turn."""


class InvariantBroken(AssertionError):
    """The engine broke a rule: a fault of the engine, not of its caller.

    ``rule`` is its name (see `RULES`), and ``details`` says what happened.
    """

    def __init__(self, rule: str, details: str) -> None:
        super().__init__(rule, details)
        self.rule = rule
        self.details = details

    def __str__(self) -> str:
        return f"{self.rule}: {self.details}"


RULES: Final = {
    "reserved once": "a reservation begins once, as a hold at version 1",
    "version": "each change raises the version by one",
    "transition": "states change only as the table of states allows",
    "until": "a hold ends at `until`: it is not changed later, nor expired earlier",
    "order": "expiries come in the order of `until`, and time does not go backwards",
    "capacity": "at no time are more units of a resource taken than it has",
    "imported": "imported busy time is not given out",
    "kept": "reservations stay as published: bookings until cancelled, holds until they end",
    "busy": "the units taken are those of live reservations, and no others",
    "announced": "every expiry is published",
    "served": "no call waits for a slot that it could have",
}
"""The rules that a watch checks, by name."""


class Watch:
    """Checks every change of an engine, from the moment the watch is made.

    Violations are kept in ``broken``, and raised by `check`; never from inside the
    engine, where they would hit a caller.  ``known`` are the reservations that the
    engine has already, if any.

    O(k) for each change, for k live reservations on its resources.  Raises
    `InvalidField` for a wrong engine or wrong reservations.
    """

    def __init__(self, engine: SlotEngine, known: Iterable[Reservation] = ()) -> None:
        if not isinstance(engine, SlotEngine):
            raise InvalidField("engine", f"must be a SlotEngine, not {engine!r}")
        self.broken: list[InvariantBroken] = []
        self.seen = 0
        """The number of events so far."""
        self._engine = engine
        known = listed("known", known)
        if not all(isinstance(one, Reservation) for one in known):
            raise InvalidField("known", f"must be reservations, not {known!r:.99}")
        self.reservations: dict[str, Reservation] = {one.uid: one for one in known}
        # An engine that ran before has reservations that the watch does not know; the first event
        # of one of these is taken as correct.
        self._from_the_start = engine.statistics().accepted == 0
        # Holds that had expired when they were first seen; the event may have come before.
        self._lapsed_before = {one.uid for one in known if one.state is State.EXPIRED}
        self._on: dict[str, dict[str, Reservation]] = {}  # live ones by resource
        for one in self.reservations.values():
            self._stand(one)
        self._ended: deque[str] = deque()
        self._retention = timedelta(0, 0, engine.ledger.state.terms.retention)
        self._at: datetime | None = None
        self._lapsed: datetime | None = None
        self._in_turn: list[Event] = []
        self._edition = engine.ledger.configuration.edition
        self._configured_at: datetime | None = None
        self._stop = engine.observe(self._take)

    def close(self) -> None:
        """Stop watching."""
        self._stop()

    def check(self) -> None:
        """Raise `InvariantBroken` for a violation so far, or if the engine's answers are wrong.

        It is asked about everything that the watch knows.  O(n log n) for n reservations.
        """
        for _ in self.check_in_turns():
            pass

    def check_in_turns(self) -> Iterator[None]:
        """Do as `check`, in pieces, between which other tasks may have their turn.

        For a busy engine.  Each piece, of some reservations or one resource, is
        checked at its own moment.
        """
        self._settle_order()
        self.raise_first()
        for count, uid in enumerate(list(self.reservations)):
            if count % CHECKED_PER_TURN == 0:
                yield
            self._check_kept(uid)
            self.raise_first()
        for resource in list(self._on):
            yield
            self._check_busy(resource)
            self.raise_first()

    def check_swept(self) -> None:
        """Raise `InvariantBroken` if an expiry was not published, or a call waits in vain.

        To be called when the sweeper has nothing left to do, such as after
        `SimClock.advance`.  O(n) for n reservations.
        """
        now = self._engine.now()
        for one in self.reservations.values():
            if one.state is State.HELD and _until(one) <= now:
                self._break("announced", one)
        self._check_served()
        self.raise_first()

    def _check_served(self) -> None:
        ledger = self._engine.ledger
        waitlist = ledger.waitlist
        for waiting in waitlist:
            if waitlist.awaited(waiting.request, waiting.ticket) is not None:
                continue
            wanted = waitlist.without_awaited(waiting.request, waiting.ticket)
            try:
                ledger.occupancy.decide(wanted, ledger.occupancy.view(ledger.state.now))
            except Refused:
                continue
            details = f"{RULES['served']}: {wanted}, until {from_us(waiting.until)}"
            self.broken.append(InvariantBroken("served", details))

    def raise_first(self) -> None:
        """Raise the first violation, if any."""
        if self.broken:
            raise self.broken[0]

    # --- Each change ---------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        self.seen += 1
        one = event.reservation
        if event.verb is Verb.FORGET:
            self._take_forgotten(one)
            return
        before = self.reservations.get(one.uid)
        self._check_order(event)
        self._check_step(event, before)
        self._lapsed_before.discard(one.uid)
        if before is not None:
            self._leave(before)
        self.reservations[one.uid] = one
        if one.state in ENDED:
            self._ended.append(one.uid)
            self._forget(event.at)
            return
        granted = before is not None and before.state is State.REQUESTED
        takes = granted or event.verb in {Verb.RESERVE, Verb.MOVE, Verb.REINSTATE}
        if takes and one.state is not State.REQUESTED:
            self._check_room(event)
        self._stand(one)

    def _take_forgotten(self, one: Reservation) -> None:
        if not self._may_be_forgotten(one):
            self._break("kept", one, "was forgotten before it was over")
        before = self.reservations.pop(one.uid, None)
        if before is not None:
            self._leave(before)

    def _check_order(self, event: Event) -> None:
        if event.verb is not Verb.EXPIRE:
            if self._in_turn and self._in_turn[-1].at == event.at:
                self._in_turn.clear()  # they made room for this change, out of turn
            self._settle_order()
        if self._at is not None and event.at < self._at:
            self._break("order", event.reservation, f"told at {event.at}, after {self._at}")
        self._at = event.at
        edition = self._engine.ledger.configuration.edition
        if edition != self._edition:  # of which no event tells
            self._edition, self._configured_at = edition, event.at
        if event.verb is Verb.EXPIRE and event.at != self._configured_at:
            self._in_turn.append(event)

    def _settle_order(self) -> None:
        """Check the order of expiries, except those that made room for a change.

        That may be one of the configuration, too.
        """
        for event in self._in_turn:
            until = _until(event.reservation)
            if self._lapsed is not None and until < self._lapsed:
                self._break("order", event.reservation, f"expired after one of {self._lapsed}")
            else:
                self._lapsed = until
        self._in_turn.clear()

    def _check_step(self, event: Event, before: Reservation | None) -> None:
        verb, one = event.verb, event.reservation
        if before is None:
            if self._from_the_start or verb in {Verb.RESERVE, Verb.REQUEST}:
                self._check_first(event)
        elif not (verb is Verb.EXPIRE and one.uid in self._lapsed_before and _same(one, before)):
            if NEXT[before.state].get(verb) is not one.state:
                self._break("transition", one, f"{verb.value} while {before.state.value}")
            if one.version != before.version + 1:
                self._break("version", one, f"{verb.value} at version {before.version}")
            if before.state is State.HELD and (verb is Verb.EXPIRE) != (_until(before) <= event.at):
                self._break("until", before, f"{verb.value} at {event.at}")
        if one.state is State.HELD and _until(one) <= event.at:
            self._break("until", one, f"held at {event.at}")

    def _check_first(self, event: Event) -> None:
        verb, one = event.verb, event.reservation
        first = {Verb.RESERVE: State.HELD, Verb.REQUEST: State.REQUESTED}
        if first.get(verb) is not one.state or one.version != 1:
            self._break("reserved once", one, f"{verb.value} of what nobody reserved")

    def _check_room(self, event: Event) -> None:
        one = event.reservation
        if self._is_adopted(one):
            return  # whatever is in its way
        for claim in one.claims:
            span = _occupied(one, claim)
            there = [
                other
                for other in self._on.get(claim.resource, {}).values()
                if self._may_stand(other, event.at) and not self._is_forgotten(other)
            ]
            joins = one.seats is not None and any(_session(one) == _session(two) for two in there)
            if joins:
                self._check_seats(one, there)
                continue
            for start, end, units in _steps(claim.resource, [*there, one], *span):
                if units > self._capacity(claim.resource) and not self._is_overbooked(claim):
                    self._break("capacity", one, f"{units} units from {start} to {end}")
            if self._engine.ledger.resource(claim.resource).is_busy(*map(_us, span)):
                self._break("imported", one)

    def _is_adopted(self, one: Reservation) -> bool:
        """Return whether a reservation was confirmed in the step that made it, and replaces none.

        Events are published at the end of their step.
        """
        entry = self._engine.ledger.state.entries.get(one.uid)
        new = one.version == 1 and one.replaces is None
        return new and entry is not None and entry.state is State.CONFIRMED

    def _may_stand(self, other: Reservation, at: datetime) -> bool:
        """Return whether another reservation takes units, going by the events so far.

        An expired hold does until its expiry is published, which must come before any
        change that needed its place.  For a hold that expired before the watch began,
        the event may never come.
        """
        return _is_live(other, at) or other.uid not in self._lapsed_before

    def _check_seats(self, one: Reservation, there: Iterable[Reservation]) -> None:
        taken = sum(two.seats.wanted for two in (*there, one) if two.seats and _shares(one, two))
        if one.seats is not None and taken > one.seats.total:
            self._break("capacity", one, f"{taken} seats of {one.seats.total}")

    # --- The engine's answers --------------------------------------------------------------

    def _check_kept(self, uid: str) -> None:
        one = self.reservations.get(uid)
        if one is None:
            return  # forgotten meanwhile
        said = self._engine.local.get(uid)
        now = self._decided_at()
        if one.state is State.HELD and _until(one) <= now:
            if said is not None and said.state is not State.EXPIRED:
                self._break("until", said, f"at {now}")
        elif said is None and self._may_be_forgotten(one):
            self._leave(one)
            del self.reservations[uid]
        elif said != one and not (said is None and self._is_over(one, now)):
            self._break("kept", one, f"now {said}")

    def _check_busy(self, resource: str) -> None:
        capacity = self._capacity(resource)
        imported = [
            (span.start, span.end, capacity)
            for span in self._engine.local.imported(resource, *ALWAYS)
        ]
        said = list(map(tuple, self._engine.local.busy(resource, *ALWAYS)))
        now = self._decided_at()
        live = [
            one
            for one in self._on[resource].values()
            if _is_live(one, now) and not self._is_forgotten(one)
        ]
        ours = [
            (start, end, min(units, capacity))
            for start, end, units in _steps(resource, live, *ALWAYS, imported)
        ]
        if _merged(ours) != said:
            self.broken.append(
                InvariantBroken("busy", f"{resource} is busy {_merged(ours)}, but said is {said}")
            )

    def _decided_at(self) -> datetime:
        """Return the time by which the engine just answered; its clock may have gone on."""
        return from_us(self._engine.ledger.state.now)

    def _capacity(self, resource: str) -> int:
        return self._engine.ledger.resource(resource).capacity

    def _is_overbooked(self, claim: Claim) -> bool:
        """Return whether the resource was overbooked on request (`adopt`)."""
        return self._engine.ledger.resource(claim.resource).overbooked

    def _is_forgotten(self, one: Reservation) -> bool:
        """Return whether a booking was forgotten, and was allowed to be."""
        ledger = self._engine.ledger
        return self._may_be_forgotten(one) and ledger.get(one.uid, now=ledger.state.now) is None

    def _may_be_forgotten(self, one: Reservation) -> bool:
        """Return whether a booking was over when the engine was asked to forget such bookings."""
        ends = [one.end, *(_occupied(one, claim)[1] for claim in one.claims)]
        return (
            one.state is State.CONFIRMED
            and _us(max(ends)) <= self._engine.ledger.state.forgotten_before
        )

    def _is_over(self, one: Reservation, now: datetime) -> bool:
        return one.state in ENDED and now - _until(one) >= self._retention

    # --- Records -------------------------------------------------------------------------

    def _stand(self, one: Reservation) -> None:
        for claim in one.claims if one.state not in NOWHERE else ():
            self._on.setdefault(claim.resource, {})[one.uid] = one

    def _leave(self, one: Reservation) -> None:
        for claim in one.claims:
            self._on.get(claim.resource, {}).pop(one.uid, None)

    def _forget(self, now: datetime) -> None:
        while self._ended:
            one = self.reservations.get(self._ended[0])
            if one is not None and one.state in ENDED:
                if not self._is_over(one, now):
                    return
                del self.reservations[one.uid]
            self._ended.popleft()

    def _break(self, rule: str, one: Reservation, more: str = "") -> None:
        details = f"{RULES[rule]}; {one!r}" + (f": {more}" if more else "")
        self.broken.append(InvariantBroken(rule, details))


@contextmanager
def attach(engine: SlotEngine) -> Iterator[Watch]:
    """Watch an engine while the block runs, and check it at the end.

    >>> import anyio
    >>> from slotengine import SlotEngine, minutes
    >>> async def main():
    ...     start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    ...     async with SlotEngine() as engine:
    ...         engine.add_resource("room-1")
    ...         with attach(engine) as watch:
    ...             hold = await engine.reserve("room-1", start, minutes(30))
    ...             await engine.confirm(hold.uid)
    ...         print(watch.seen, watch.broken)
    >>> anyio.run(main)
    2 []

    Raises `InvariantBroken` at the end, unless the block raises an error itself.
    """
    watch = Watch(engine)
    try:
        yield watch
        watch.check()
    finally:
        watch.close()


# --- Spans -----------------------------------------------------------------------------------


def _same(one: Reservation, before: Reservation) -> bool:
    """Return whether nothing but the time of the record is another: it had expired before."""
    return (one.state, one.version, _until(one)) == (before.state, before.version, _until(before))


def _until(one: Reservation) -> datetime:
    return one.until or FOREVER


def _is_live(one: Reservation, now: datetime) -> bool:
    return one.state not in ENDED and _until(one) > now


def _us(moment: datetime) -> int:
    return to_us(moment, "moment")


def _occupied(one: Reservation, claim: Claim) -> tuple[datetime, datetime]:
    return one.start - claim.before, one.end + claim.after


def _session(one: Reservation) -> object:
    return one.uid if one.seats is None else (one.event_type, one.start)


def _shares(one: Reservation, two: Reservation) -> bool:
    return _session(one) == _session(two)


Piece = tuple[datetime, datetime, int]


def _steps(
    resource: str,
    live: Iterable[Reservation],
    start: datetime,
    end: datetime,
    more: Iterable[Piece] = (),
) -> list[Piece]:
    """Return where units are taken in a span, and how many; a session counts once.

    Worked out edge by edge, in O(k²) for k reservations, to be simple.
    """
    sessions = {
        (_session(one), *_occupied(one, claim), claim.units)
        for one in live
        for claim in one.claims
        if claim.resource == resource
    }
    taken = [(first, last, units) for _, first, last, units in sessions]
    taken = [
        (max(first, start), min(last, end), units)
        for first, last, units in (*taken, *more)
        if first < end and start < last
    ]
    edges = sorted({edge for first, last, _ in taken for edge in (first, last)})
    pieces = []
    for low, high in pairwise(edges):
        units = sum(units for first, last, units in taken if first <= low < last)
        if units:
            pieces.append((low, high, units))
    return pieces


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Join pieces that touch and have the same units."""
    merged: list[Piece] = []
    for start, end, units in pieces:
        if merged and merged[-1][1:] == (start, units):
            merged[-1] = (merged[-1][0], end, units)
        else:
            merged.append((start, end, units))
    return merged
