"""Commands are plain values, and what is decided of them is what is then done."""

from __future__ import annotations

import pickle

import pytest

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import ReservationChange
from slotengine.core.ledger.commands import (
    Adopt,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    Mode,
    Move,
    Release,
    Reserve,
)
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal, StartRule
from slotengine.core.ledger.reservation import Claim, Entry, Seats, State, Verb
from slotengine.core.ledger.terms import Terms
from slotengine.errors import NoneFree, SlotTaken
from slotengine.testing.internal.keyed import keyed
from slotengine.testing.internal.observed import ObservedReservation
from tests.core.ledger.untouched import untouched

NOW = 100


def slot(start: int, *resources: str, key: str | None = None) -> Proposal:
    names = resources or ("room",)
    claims = tuple(Claim(name, start, start + 10) for name in names)
    return keyed(Proposal(start, start + 10, claims, 50), key)


def seat(start: int) -> Proposal:
    return slot(start, "hall")._replace(event_type="class", seats=Seats(2))


def ledger_at_100() -> Ledger:
    """Return a ledger with something in each state, and with holds that lapsed unmarked."""
    ledger = Ledger(Terms(default_ttl=50, shortest_ttl=1, longest_ttl=1_000), maintenance=0)
    for name in ("room", "desk", "hall"):
        ledger.add_resource(name)
    for uid, start in (("lapsed", 0), ("lapsed-2", 10)):
        ledger.reserve("room", start, start + 10, uid=uid, now=10, ttl=50)
    ledger.reserve_proposal(seat(70), uid="lapsed-seat", now=20)
    ledger.reserve("room", 20, 30, uid="held", now=90, ttl=50)
    ledger.reserve_proposal(slot(30, key="key"), uid="keyed", now=90)
    ledger.reserve("desk", 20, 30, uid="booked", now=90, ttl=50)
    ledger.confirm("booked", now=90)
    return ledger


ACCEPTED: list[tuple[Command, list[Verb], list[str]]] = [
    (Reserve((slot(40),), ("a",)), [Verb.RESERVE], ["a"]),
    (Reserve((slot(5),), ("a",)), [Verb.EXPIRE, Verb.EXPIRE, Verb.RESERVE], ["a"]),
    (Reserve((slot(30, key="key"),), ("a",)), [], ["keyed"]),
    (Reserve((seat(70),), ("a",)), [Verb.EXPIRE, Verb.RESERVE], ["a"]),
    (
        Reserve((slot(0), seat(70), seat(70)), ("a", "b", "c"), Mode.ALL),
        [Verb.EXPIRE, Verb.EXPIRE, Verb.RESERVE, Verb.RESERVE, Verb.RESERVE],
        ["a", "b", "c"],
    ),
    (
        Reserve(
            (slot(20), slot(40)),
            ("a",),
            Mode.ANY,
            Choice(Policy.LEAST_LOADED, (1, 2)),
            "k",
            b"asked",
        ),
        [Verb.RESERVE],
        ["a"],
    ),
    (Adopt(slot(25), "a"), [Verb.RESERVE, Verb.CONFIRM], ["a"]),
    (Adopt(slot(30, key="key"), "a"), [], ["keyed"]),
    (Move("held", (slot(0),), renew=True), [Verb.EXPIRE, Verb.MOVE], ["held"]),
    (
        Move("held", (slot(35), slot(40)), choice=Choice(load_in=(0, 100)), version=1),
        [Verb.MOVE],
        ["held"],
    ),
    (Extend("held", 500), [Verb.EXTEND], ["held"]),
    (Confirm("held"), [Verb.CONFIRM], ["held"]),
    (Confirm("booked"), [], ["booked"]),
    (
        Confirm("lapsed", if_still_free=True, rule=StartRule("class", 0, 0, 10), closed=("desk",)),
        [Verb.EXPIRE, Verb.REINSTATE],
        ["lapsed"],
    ),
    (Release("held"), [Verb.RELEASE], ["held"]),
    (Release("lapsed"), [], ["lapsed"]),
    (Cancel("booked", 2), [Verb.CANCEL], ["booked"]),
]


@pytest.mark.parametrize(("command", "verbs", "answers"), ACCEPTED)
def test_what_is_decided_is_done(command: Command, verbs: list[Verb], answers: list[str]) -> None:
    ledger = ledger_at_100()
    with untouched(ledger):
        decision = decide(ledger.state, command, NOW)
        assert decide(ledger.state, command, NOW) == decision
    assert [one.verb for one in decision.changes if isinstance(one, ReservationChange)] == verbs
    assert all(change.at == NOW for change in decision.changes)
    assert list(decision.answers) == answers
    told: list[ReservationChange] = []
    ledger.on_change = lambda change, entry: told.append(change)
    assert ledger.step(command, NOW) == decision
    assert tuple(told) == decision.changes
    ledger.check_invariants()
    for uid in answers:
        assert ledger.get(uid, now=NOW) is not None


def test_a_decision_is_of_the_latest_time_seen() -> None:
    ledger = ledger_at_100()
    ledger.look(NOW)
    assert decide(ledger.state, Extend("held", 50), 0) == decide(
        ledger.state, Extend("held", 50), NOW
    )


@pytest.mark.parametrize(("command", "verbs", "answers"), ACCEPTED)
def test_applying_a_decision_that_was_kept_is_the_same(
    command: Command, verbs: list[Verb], answers: list[str]
) -> None:
    here, there = ledger_at_100(), ledger_at_100()
    decision = here.step(command, NOW)
    for change in pickle.loads(pickle.dumps(decision.changes)):
        apply(there.state, change)
    there.look(NOW)
    there.check_invariants()
    assert here.uids() == there.uids()
    assert [seen(here, uid) for uid in here.uids()] == [seen(there, uid) for uid in there.uids()]
    for name in ("room", "desk", "hall"):
        assert here.busy(name, 0, 100, now=NOW) == there.busy(name, 0, 100, now=NOW)
    assert here.tally() == there.tally()
    # Also what is done again with the same key.
    again = Reserve((slot(30, key="key"),), ("again",))
    assert decide(here.state, again, NOW) == decide(there.state, again, NOW)


def seen(ledger: Ledger, uid: str) -> ObservedReservation:
    entry = ledger.get(uid, now=NOW)
    assert isinstance(entry, Entry)
    return ObservedReservation.of(entry, NOW)


@pytest.mark.parametrize("command", [command for command, _, _ in ACCEPTED])
def test_a_command_is_a_plain_value(command: Command) -> None:
    copy = pickle.loads(pickle.dumps(command))
    assert copy == command
    assert repr(copy) == repr(command)
    assert repr(command).startswith(type(command).__name__)


def test_what_is_refused_of_a_batch_is_an_answer() -> None:
    ledger = ledger_at_100()
    command = Reserve((slot(20), slot(50), slot(55)), ("a", "b", "c"), Mode.EACH)
    with untouched(ledger):
        decision = decide(ledger.state, command, NOW)
    first, second, third = decision.answers
    assert isinstance(first, SlotTaken)
    assert isinstance(third, SlotTaken)
    assert (first.index, second, third.index) == (0, "b", 2)
    assert [one.uid for one in decision.changes if isinstance(one, ReservationChange)] == ["b"]
    ledger.carry_out(decision.changes)
    assert ledger.get("c", now=NOW) is None


def test_what_is_refused_changes_nothing() -> None:
    ledger = ledger_at_100()
    refused: list[tuple[Command, type[Exception]]] = [
        (Reserve((slot(25),), ("a",)), SlotTaken),
        (Reserve((slot(0), slot(5)), ("a", "b"), Mode.ALL), SlotTaken),
        (Reserve((slot(25),), ("a",), Mode.ANY), NoneFree),
        (Move("booked", (slot(25),)), SlotTaken),
        (Move("booked", (slot(25),), choice=Choice()), NoneFree),
    ]
    for command, kind in refused:
        with untouched(ledger), pytest.raises(kind):
            decide(ledger.state, command, NOW)
    assert ledger.tally().held == 5
    assert seen(ledger, "held").state is State.HELD
