"""The state table: every state with every verb, at the ledger's own door."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotengine.core.ledger.commands import Annotate, Replace
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    ENDED,
    NEXT,
    REPEATS,
    Claim,
    Entry,
    State,
    Verb,
)
from slotengine.core.ledger.terms import Terms
from slotengine.errors import HoldExpired, WrongState
from tests.core.ledger.entries import Made

TERMS = Terms(default_ttl=100, shortest_ttl=1, longest_ttl=1_000, retention=10_000)
NOW = 500

# What must come of it: the state afterwards, or None for a refusal.  Written out, not
# computed from the tables under test.
EXPECTED: dict[State, dict[Verb, State | None]] = {
    State.HELD: {
        Verb.REPLACE: State.RELEASED,
        Verb.ANNOTATE: State.HELD,
        Verb.EXTEND: State.HELD,
        Verb.MOVE: State.HELD,
        Verb.CONFIRM: State.CONFIRMED,
        Verb.REINSTATE: State.CONFIRMED,  # confirm if still free: it still is, being held
        Verb.RELEASE: State.RELEASED,
        Verb.EXPIRE: State.HELD,  # not due
        Verb.CANCEL: None,
    },
    State.CONFIRMED: {
        Verb.REPLACE: State.CANCELLED,
        Verb.ANNOTATE: State.CONFIRMED,
        Verb.EXTEND: None,
        Verb.MOVE: State.CONFIRMED,
        Verb.CONFIRM: State.CONFIRMED,
        Verb.REINSTATE: State.CONFIRMED,
        Verb.RELEASE: None,
        Verb.EXPIRE: State.CONFIRMED,
        Verb.CANCEL: State.CANCELLED,
    },
    State.RELEASED: {
        Verb.REPLACE: None,
        Verb.ANNOTATE: State.RELEASED,
        Verb.EXTEND: None,
        Verb.MOVE: None,
        Verb.CONFIRM: None,
        Verb.REINSTATE: None,
        Verb.RELEASE: State.RELEASED,
        Verb.EXPIRE: State.RELEASED,
        Verb.CANCEL: None,
    },
    State.EXPIRED: {
        Verb.REPLACE: None,
        Verb.ANNOTATE: None,
        Verb.EXTEND: None,
        Verb.MOVE: None,
        Verb.CONFIRM: None,
        Verb.REINSTATE: State.CONFIRMED,
        Verb.RELEASE: State.EXPIRED,
        Verb.EXPIRE: State.EXPIRED,
        Verb.CANCEL: None,
    },
    State.REQUESTED: {
        Verb.REPLACE: None,
        Verb.ANNOTATE: State.REQUESTED,
        Verb.EXTEND: None,
        Verb.MOVE: State.REQUESTED,
        Verb.CONFIRM: State.CONFIRMED,
        Verb.REINSTATE: State.CONFIRMED,  # confirm if still free: nothing is in its way
        Verb.RELEASE: State.RELEASED,
        Verb.EXPIRE: State.REQUESTED,  # it never is
        Verb.CANCEL: State.CANCELLED,
    },
    State.CANCELLED: {
        Verb.REPLACE: None,
        Verb.ANNOTATE: State.CANCELLED,
        Verb.EXTEND: None,
        Verb.MOVE: None,
        Verb.CONFIRM: None,
        Verb.REINSTATE: None,
        Verb.RELEASE: None,
        Verb.EXPIRE: State.CANCELLED,
        Verb.CANCEL: State.CANCELLED,
    },
}
PAIRS = [(state, verb) for state, verbs in EXPECTED.items() for verb in verbs]


def ledger_with(state: State, *, swept: bool) -> Ledger:
    """Return a ledger in which "uid" is in the given state at NOW."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    if state is State.REQUESTED:
        asked = Proposal(10, 20, (Claim("room", 10, 20),), 100, requested=True)
        ledger.reserve_proposal(asked, uid="uid", now=0)
        return ledger
    ttl = 100 if state is State.EXPIRED else 1_000
    ledger.reserve("room", 10, 20, uid="uid", now=0, ttl=ttl)
    if state in {State.CONFIRMED, State.CANCELLED}:
        ledger.confirm("uid", now=1)
    if state is State.RELEASED:
        ledger.release("uid", now=1)
    if state is State.CANCELLED:
        ledger.cancel("uid", now=2)
    if swept:
        ledger.expire(NOW)
    return ledger


def do(ledger: Ledger, verb: Verb) -> Entry:
    slot = Proposal(30, 40, (Claim("room", 30, 40),), 100)
    match verb:
        case Verb.REPLACE:
            made = ledger.replace(Replace("uid", slot, "new"), now=NOW)
            assert made.extra is not None
            assert made.extra.replaces == "uid"
            entry = ledger.get("uid", now=NOW)
            assert entry is not None
            assert entry.extra is not None
            assert entry.extra.replaced_by == "new"
            return entry
        case Verb.ANNOTATE:
            return ledger.annotate(Annotate("uid", tags=("vip",)), now=NOW)
        case Verb.EXTEND:
            return ledger.extend("uid", ttl=100, now=NOW)
        case Verb.MOVE:
            return ledger.move("uid", slot, now=NOW)
        case Verb.CONFIRM:
            return ledger.confirm("uid", now=NOW)
        case Verb.REINSTATE:
            return ledger.confirm("uid", now=NOW, if_still_free=True)
        case Verb.RELEASE:
            return ledger.release("uid", now=NOW)
        case Verb.CANCEL:
            return ledger.cancel("uid", now=NOW)
        case _:
            ledger.expire(NOW)
            entry = ledger.get("uid", now=NOW)
            assert entry is not None
            return entry


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize(("state", "verb"), PAIRS)
def test_every_state_with_every_verb(state: State, verb: Verb, *, swept: bool) -> None:
    ledger = ledger_with(state, swept=swept)
    before = ledger.get("uid", now=NOW)
    assert before is not None
    assert before.state_at(NOW) is state
    version = before.version_at(NOW)
    after = EXPECTED[state][verb]
    if after is None:
        kind = HoldExpired if state is State.EXPIRED else WrongState
        with pytest.raises(kind) as refused:
            do(ledger, verb)
        assert (refused.value.uid, refused.value.state) == ("uid", state.value)
        asked = Verb.CONFIRM if verb is Verb.REINSTATE else verb
        assert refused.value.verb == asked.value
        after, changed = state, False
    else:
        assert do(ledger, verb).state_at(NOW) is after
        changed = after is not state or verb in {Verb.EXTEND, Verb.MOVE, Verb.ANNOTATE}
    entry = ledger.get("uid", now=NOW)
    assert entry is not None
    assert entry.state_at(NOW) is after
    assert entry.version_at(NOW) == version + changed
    ledger.check_invariants()


def test_the_picture_in_the_docs_is_the_table() -> None:
    picture = "stateDiagram-v2\n" + "".join(
        f"    {state.value} --> {after.value} : {verb.value}\n"
        for state, steps in NEXT.items()
        for verb, after in steps.items()
    )
    assert picture in (Path(__file__).parents[3] / "docs" / "design.md").read_text("utf-8")


def test_the_tables_name_every_state() -> None:
    assert set(NEXT) == set(REPEATS) == set(State) == set(EXPECTED)
    later = set(Verb) - {Verb.RESERVE, Verb.REQUEST, Verb.FORGET}
    assert all(set(verbs) == later for verbs in EXPECTED.values())


def test_no_verb_is_both_a_step_and_a_repeat() -> None:
    assert all(not NEXT[state].keys() & REPEATS[state] for state in State)


def test_what_has_ended_stays_so_unless_reinstated() -> None:
    ways_out = {
        (state, verb)
        for state in ENDED
        for verb, after in NEXT[state].items()
        if after is not state
    }
    assert ways_out == {(State.EXPIRED, Verb.REINSTATE)}


def test_a_hold_is_live_until_its_very_last_microsecond() -> None:
    entry = Made().entry(until=100)
    assert (entry.state_at(99), entry.version_at(99)) == (State.HELD, 1)
    assert (entry.state_at(100), entry.version_at(100)) == (State.EXPIRED, 2)
    entry.state, entry.until = State.CONFIRMED, BOOKED_UNTIL
    assert entry.state_at(10**18) is State.CONFIRMED
