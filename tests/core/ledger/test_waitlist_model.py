"""A ledger with commands that wait, against the naive waitlist, a plain list of them.

Few instants and resources, so that spans touch, nest and repeat, and holds
lapse, and waits end, at the very moment something happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slotengine.core.ledger.changes import ReservationChange, Waits
from slotengine.core.ledger.commands import (
    FIRST_CHOICE,
    Cancel,
    Command,
    Confirm,
    Extend,
    Move,
    Release,
    Reserve,
)
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Entry, State, Verb
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_waitlist import NaiveWaitlist
from slotengine.testing.internal.observed import ObservedReservation, describe, outcome
from tests.core.ledger.test_ledger_model import (
    RESOURCES,
    TERMS,
    THINGS,
    add_all,
    proposals,
    spans,
    steps,
    ttls,
)
from tests.sizes import machine_size

MOST = 5
jumps = st.sampled_from((False, False, False, True))


class WaitlistAgainstNaive(RuleBasedStateMachine):
    """Goal: the same commands get the same slots, or the same refusals, in the same order.

    Method: each rule lets some time pass and does one thing to a ledger, and to a naive
    ledger with a naive waitlist.  Then both serve.  Names are holders, so that who got
    what can be compared.  No command may sleep that could be served.
    """

    @initialize(maintenance=st.sampled_from((0, 1, 16)), limit=st.sampled_from((1, 2, None)))
    def begin(self, maintenance: int, limit: int | None) -> None:
        self.now = 1
        self.limit = limit
        self.names = map("n{}".format, count(1))
        self.uids = map(str, count(1))
        terms = replace(TERMS, max_waiters=MOST)
        self.ledger = Ledger(terms, on_change=self.changed, maintenance=maintenance)
        add_all(self.ledger)
        self.naive = NaiveLedger(TERMS, dict(RESOURCES))
        self.naive_waitlist: NaiveWaitlist[str] = NaiveWaitlist(self.naive, MOST)
        self.tickets: dict[str, int] = {}
        self.answers: dict[int, object] = {}  # of those that were served, in this order
        self.uid_of: dict[str, str] = {}

    def changed(self, change: ReservationChange, entry: Entry) -> None:
        if change.verb is Verb.RESERVE:
            assert entry.holder is not None
            self.uid_of[entry.holder] = entry.uid

    def decided(self, command: Command) -> tuple[object, ...]:
        """Carry out a command, and return the answers."""
        return self.ledger.step(command, self.now).answers

    def seen(self, uid: object) -> ObservedReservation:
        entry = self.ledger.get(str(uid), now=self.now)
        assert entry is not None
        return replace(ObservedReservation.of(entry, self.now), uid=str(entry.holder))

    # --- What callers do -------------------------------------------------------------------

    @rule(
        proposal=proposals(with_key=False),
        wait=st.sampled_from((None, 0, 1, 3, 9, 9, 9)),
        jump=jumps,
        step=steps,
    )
    def reserve(self, proposal: Proposal, wait: int | None, jump: bool, step: int) -> None:
        self.now += step
        name = next(self.names)
        proposal = proposal._replace(holder=name)
        jump = jump and wait is None
        command = Reserve((proposal,), (next(self.uids),), wait=wait, jump=jump)
        waits: list[int] = []

        def ours() -> object:
            (answer,) = self.decided(command)
            if isinstance(answer, Waits):
                waits.append(answer.ticket)
                return "waits"
            return self.seen(answer)

        got = outcome(ours)
        with self.naive.jumping(jumps=jump):
            theirs = outcome(
                lambda: self.naive_waitlist.ask(name, proposal, wait or 0, self.now) or "waits"
            )
        assert got == theirs
        if waits:
            (self.tickets[name],) = waits
        self.settle()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), step=steps)
    def give_up(self, data: st.DataObject, step: int) -> None:
        self.now += step
        name = data.draw(st.sampled_from(list(self.tickets)))
        self.naive_waitlist.give_up(name)
        self.ledger.leave(self.tickets.pop(name))
        self.settle()

    @precondition(lambda self: self.uid_of)
    @rule(
        data=st.data(),
        verb=st.sampled_from((Verb.CONFIRM, Verb.EXTEND, Verb.RELEASE, Verb.RELEASE, Verb.CANCEL)),
        ttl=ttls,
        jump=jumps,
        step=steps,
    )
    def change(self, data: st.DataObject, verb: Verb, ttl: int, jump: bool, step: int) -> None:
        name = data.draw(st.sampled_from(list(self.uid_of)))
        uid = self.uid_of[name]
        commands: dict[Verb, Command] = {
            Verb.CONFIRM: Confirm(uid, if_still_free=True, jump=jump),
            Verb.EXTEND: Extend(uid, ttl),
            Verb.RELEASE: Release(uid),
            Verb.CANCEL: Cancel(uid),
        }
        theirs: dict[Verb, Callable[[], ObservedReservation]] = {
            Verb.CONFIRM: lambda: self.naive.confirm(name, self.now, True),
            Verb.EXTEND: lambda: self.naive.extend(name, ttl, self.now),
            Verb.RELEASE: lambda: self.naive.end(name, verb, self.now),
            Verb.CANCEL: lambda: self.naive.end(name, verb, self.now),
        }
        self.both(commands[verb], theirs[verb], jump and verb is Verb.CONFIRM, step)

    @precondition(lambda self: self.uid_of)
    @rule(
        data=st.data(),
        wanted=st.lists(proposals(with_key=False), min_size=1, max_size=2),
        jump=jumps,
        step=steps,
    )
    def move(self, data: st.DataObject, wanted: list[Proposal], jump: bool, step: int) -> None:
        name = data.draw(st.sampled_from(list(self.uid_of)))
        command = Move(self.uid_of[name], tuple(wanted), choice=FIRST_CHOICE, jump=jump)
        self.both(command, lambda: self.naive.move(name, wanted, self.now), jump, step)

    def both(
        self,
        command: Command,
        theirs: Callable[[], ObservedReservation],
        jump: bool,
        step: int,
    ) -> None:
        self.now += step
        got: Any = outcome(lambda: self.seen(self.decided(command)[0]))
        if isinstance(got, tuple) and isinstance(got[1], tuple):
            names = {uid: name for name, uid in self.uid_of.items()}
            got = got[0], tuple(names.get(field, field) for field in got[1]), *got[2:]
        with self.naive.jumping(jumps=jump):
            assert got == outcome(theirs)
        self.settle()

    @rule(
        source=st.sampled_from(("calendar", "feed")),
        busy=st.dictionaries(st.sampled_from(THINGS), st.lists(spans, max_size=2), max_size=2),
        step=steps,
    )
    def replace_busy(self, source: str, busy: dict[str, list[tuple[int, int]]], step: int) -> None:
        self.now += step
        self.ledger.replace_busy(source, busy, now=self.now)
        self.naive.replace_busy(source, busy, self.now)
        self.settle()

    @precondition(lambda self: self.uid_of)
    @rule(data=st.data(), step=steps)
    def forget_bookings(self, data: st.DataObject, step: int) -> None:
        self.now += step
        before = data.draw(st.integers(0, self.now))
        self.ledger.look(self.now)
        self.ledger.forget_bookings(before, self.ledger.uids())
        self.naive.forget_bookings(before, self.now)
        self.settle()

    @rule(step=steps)
    def time_passes(self, step: int) -> None:
        self.now += step
        self.settle()

    # --- Serving ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything be served, on both sides, and compare the answers and their order."""
        self.ledger.expire(self.now)
        while self.ledger.waitlist.due <= self.now:
            for ticket, answer in self.ledger.serve(self.now, self.limit):
                self.answers[ticket] = (
                    describe(answer)
                    if isinstance(answer, Exception)
                    else self.seen(answer.answers[0])
                )
        while (answered := self.naive_waitlist.next(self.now, self.answer_of)) is not None:
            name, expected = answered
            ticket = next(iter(self.answers))
            assert (ticket, self.answers.pop(ticket)) == (self.tickets.pop(name), expected)
        assert not self.answers
        assert self.tickets.keys() == {one.caller for one in self.naive_waitlist}

    def answer_of(self, name: str) -> object:
        """Return the answer of a command if it is the next that was answered."""
        first = next(iter(self.answers), None)
        return None if first != self.tickets[name] else self.answers[self.tickets[name]]

    # --- What must always hold -------------------------------------------------------------

    @invariant()
    def no_command_sleeps_through_a_chance(self) -> None:
        self.ledger.check_invariants()
        waitlist = self.ledger.waitlist
        assert not any(waiting.ready for waiting in waitlist)
        assert waitlist.due > self.now
        assert {waiting.ticket for waiting in waitlist} == set(self.tickets.values())

    @invariant()
    def the_ledgers_are_alike(self) -> None:
        for name, uid in self.uid_of.items():
            entry = self.ledger.get(uid, now=self.now)
            assert (entry and self.seen(uid)) == self.naive.get(name, self.now)
            if entry is not None:
                assert entry.state_at(self.now) is not State.HELD or entry.until > self.now


TestWaitlistAgainstNaive = WaitlistAgainstNaive.TestCase
TestWaitlistAgainstNaive.settings = machine_size(steps=40)
