"""The waiting room against the plainest one: a list of those who wait, looked through from the top.

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

from slotengine.core.ledger.changes import Change
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.line import Waiter
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Entry, State, Verb
from slotengine.engine.waiting import Caller, WaitingRoom
from slotengine.errors import Refused
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


class RoomAgainstList(RuleBasedStateMachine):
    """Goal: the same callers get the same slots, or the same refusals, in the same order.

    Method: each rule lets some time pass and does one thing to a ledger with a
    waiting room, and to a naive ledger with a naive line.  Then both serve.
    Names are holders, so that who got what can be compared; nobody may sleep
    who could be served.
    """

    @initialize(maintenance=st.sampled_from((0, 1, 16)))
    def begin(self, maintenance: int) -> None:
        self.now = 1
        self.names = map("n{}".format, count(1))
        self.uids = map(str, count(1))
        self.ledger = Ledger(TERMS, on_change=self.changed, maintenance=maintenance)
        add_all(self.ledger)
        self.room = WaitingRoom(
            self.ledger, MOST, lambda: self.now, lambda _: next(self.uids), lambda: None
        )
        self.naive = NaiveLedger(TERMS, dict(RESOURCES))
        self.line: NaiveWaitlist[str] = NaiveWaitlist(self.naive, MOST)
        self.waiters: dict[str, Waiter[Caller]] = {}
        self.uid_of: dict[str, str] = {}

    def changed(self, change: Change, entry: Entry) -> None:
        self.room.told(change.verb, entry)
        if change.verb is Verb.RESERVE:
            assert entry.holder is not None
            self.uid_of[entry.holder] = entry.uid

    def seen(self, entry: Entry) -> ObservedReservation:
        return replace(ObservedReservation.of(entry, self.now), uid=str(entry.holder))

    # --- What callers do -------------------------------------------------------------------

    @rule(proposal=proposals(with_key=False), wait=st.sampled_from((0, 1, 3, 9, 9, 9)), step=steps)
    def ask(self, proposal: Proposal, wait: int, step: int) -> None:
        self.now += step
        name = next(self.names)
        proposal = proposal._replace(holder=name)
        waiters: list[Waiter[Caller]] = []

        def ours() -> object:
            found = self.room.ask(proposal, wait)
            if isinstance(found, Waiter):
                waiters.append(found)
                return "waits"
            return self.seen(found)

        got = outcome(ours)
        assert got == outcome(lambda: self.line.ask(name, proposal, wait, self.now) or "waits")
        if waiters:
            (self.waiters[name],) = waiters
        self.settle()

    @precondition(lambda self: self.waiters)
    @rule(data=st.data(), step=steps)
    def give_up(self, data: st.DataObject, step: int) -> None:
        self.now += step
        name = data.draw(st.sampled_from(list(self.waiters)))
        self.line.give_up(name)
        self.room.abandon(self.waiters.pop(name))
        self.settle()

    @precondition(lambda self: self.uid_of)
    @rule(
        data=st.data(),
        verb=st.sampled_from((Verb.CONFIRM, Verb.EXTEND, Verb.RELEASE, Verb.RELEASE, Verb.CANCEL)),
        ttl=ttls,
        step=steps,
    )
    def change(self, data: st.DataObject, verb: Verb, ttl: int, step: int) -> None:
        name = data.draw(st.sampled_from(list(self.uid_of)))
        uid = self.uid_of[name]
        ours: dict[Verb, Callable[[], Entry]] = {
            Verb.CONFIRM: lambda: self.ledger.confirm(uid, now=self.now, if_still_free=True),
            Verb.EXTEND: lambda: self.ledger.extend(uid, ttl=ttl, now=self.now),
            Verb.RELEASE: lambda: self.ledger.release(uid, now=self.now),
            Verb.CANCEL: lambda: self.ledger.cancel(uid, now=self.now),
        }
        theirs: dict[Verb, Callable[[], ObservedReservation]] = {
            Verb.CONFIRM: lambda: self.naive.confirm(name, self.now, True),
            Verb.EXTEND: lambda: self.naive.extend(name, ttl, self.now),
            Verb.RELEASE: lambda: self.naive.end(name, verb, self.now),
            Verb.CANCEL: lambda: self.naive.end(name, verb, self.now),
        }
        self.both(ours[verb], theirs[verb], step)

    @precondition(lambda self: self.uid_of)
    @rule(data=st.data(), proposal=proposals(with_key=False), step=steps)
    def move(self, data: st.DataObject, proposal: Proposal, step: int) -> None:
        name = data.draw(st.sampled_from(list(self.uid_of)))
        uid = self.uid_of[name]

        def ours() -> Entry:
            self.room.moving(uid)
            return self.ledger.move_any(uid, [proposal], now=self.now)

        self.both(ours, lambda: self.naive.move(name, [proposal], self.now), step)

    def both(
        self, ours: Callable[[], Entry], theirs: Callable[[], ObservedReservation], step: int
    ) -> None:
        self.now += step
        got: Any = outcome(lambda: self.seen(ours()))
        if isinstance(got, tuple) and isinstance(got[1], tuple):
            names = {uid: name for name, uid in self.uid_of.items()}
            got = got[0], tuple(names.get(field, field) for field in got[1])
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
        self.room.imported()
        self.naive.replace_busy(source, busy, self.now)
        self.settle()

    @rule(step=steps)
    def time_passes(self, step: int) -> None:
        self.now += step
        self.settle()

    # --- Serving ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everybody be served, on both sides, and compare what they got."""
        self.ledger.expire(self.now)
        while self.room.due <= self.now:
            self.room.serve()
        while (answered := self.line.next(self.now, self.answer_of)) is not None:
            name, expected = answered
            answer = self.answer_of(name)
            assert answer == expected
            del self.waiters[name]
        assert self.waiters.keys() == {one.caller for one in self.line}

    def answer_of(self, name: str) -> object:
        caller = self.waiters[name].caller
        if not caller.answered.is_set():
            return None
        if caller.error is not None:
            return describe(caller.error)
        assert caller.entry is not None
        return self.seen(caller.entry)

    # --- What must always hold -------------------------------------------------------------

    @invariant()
    def nobody_sleeps_through_a_chance(self) -> None:
        line = self.room.line

        def can_be_had(waiter: Waiter[Caller]) -> bool:
            left = line.without_awaited(waiter.proposal, waiter.ticket)
            try:
                self.ledger.occupancy.decide(left, self.ledger.occupancy.view(self.now))
            except Refused:
                return False
            return True

        line.check_invariants(can_be_had)
        assert not any(waiter.to_try for waiter in line)
        assert (self.ledger.state.screen is not None) == (len(line) > 0)

    @invariant()
    def the_books_are_alike(self) -> None:
        self.ledger.check_invariants()
        for name, uid in self.uid_of.items():
            entry = self.ledger.get(uid, now=self.now)
            assert (entry and self.seen(entry)) == self.naive.get(name, self.now)
            if entry is not None:
                assert entry.state_at(self.now) is not State.HELD or entry.until > self.now


TestRoomAgainstList = RoomAgainstList.TestCase
TestRoomAgainstList.settings = machine_size(steps=40)
