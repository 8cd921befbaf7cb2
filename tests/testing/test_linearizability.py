"""The checker of histories, held against one that tries every order there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import event, given

from slotengine.core.ledger.commands import Reserve
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, State
from slotengine.core.ledger.terms import Terms
from slotengine.errors import SlotTaken
from slotengine.testing.histories import RecordedCall, Recorder
from slotengine.testing.internal.ledger_model import LedgerModel
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.linearizability import (
    NotLinearizable,
    Undecided,
    check_linearizable,
    linearize,
    parts,
)


class Write(NamedTuple):
    name: str
    value: int


class Read(NamedTuple):
    name: str


class Registers:
    """Some cells, each of which holds a number, at first 0; the answer to a write is None."""

    def begin(self) -> tuple[tuple[str, int], ...]:
        return ()

    def step(
        self, state: tuple[tuple[str, int], ...], call: RecordedCall
    ) -> tuple[tuple[str, int], ...] | None:
        cells = dict(state)
        if isinstance(call.what, Write):
            cells[call.what.name] = call.what.value
            return tuple(sorted(cells.items()))
        right = call.answered_at is None or cells.get(call.what.name, 0) == call.answer
        return state if right else None

    def touches(self, call: RecordedCall) -> Iterator[str]:
        yield call.what.name


def by_brute_force(calls: Sequence[RecordedCall]) -> bool:
    """Return whether any order of the calls answered, and of any of the others, will do."""
    model = Registers()
    optional = [call for call in calls if call.answered_at is None]
    for bits in range(1 << len(optional)):
        some = [one for i, one in enumerate(optional) if bits >> i & 1]
        chosen = [call for call in calls if call.answered_at is not None or call in some]
        for order in permutations(chosen):
            if any(
                late.answered_at is not None and late.answered_at < early.asked_at
                for i, early in enumerate(order)
                for late in order[i + 1 :]
            ):
                continue
            state: tuple[tuple[str, int], ...] | None = model.begin()
            for call in order:
                state = None if state is None else model.step(state, call)
            if state is not None:
                return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[RecordedCall]:
    count = draw(st.integers(1, 5))
    ticks = draw(st.permutations(range(2 * count)))
    calls = []
    for i in range(count):
        asked_at, answered_at = sorted(ticks[2 * i : 2 * i + 2])
        name = draw(st.sampled_from("aab"))
        what = draw(st.sampled_from([Write(name, 1), Write(name, 2), Read(name), Read(name)]))
        answer = draw(st.integers(0, 2)) if isinstance(what, Read) else None
        answered = draw(st.sampled_from([answered_at] * 4 + [None]))
        calls.append(RecordedCall(what, asked_at, 0, answer, answered))
    return calls


@given(histories())
def test_it_explains_what_can_be_explained_and_nothing_else(calls: list[RecordedCall]) -> None:
    expected = by_brute_force(calls)
    event(f"can be explained: {expected}")
    if expected:
        assert 1 <= check_linearizable(calls, Registers()) <= 2
        return
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(calls, Registers())
    explained = {id(call) for call in found.value.explained}
    assert explained < {id(call) for call in found.value.calls}


@given(histories())
def test_the_order_it_finds_is_one(calls: list[RecordedCall]) -> None:
    for part in parts(calls, Registers()):
        try:
            order = linearize(part, Registers())
        except NotLinearizable:
            continue
        assert {id(call) for call in part if call.answered_at} <= {id(call) for call in order}
        for i, early in enumerate(order):
            for late in order[i + 1 :]:
                assert late.answered_at is None or late.answered_at > early.asked_at


def test_calls_with_nothing_in_common_are_looked_at_alone() -> None:
    calls = [RecordedCall(Write(name, 1), i, 0, None, i + 100) for i, name in enumerate("abcabc")]
    assert [[call.what.name for call in part] for part in parts(calls, Registers())] == [
        ["a", "a"], ["b", "b"], ["c", "c"],
    ]  # fmt: skip
    assert check_linearizable(calls, Registers()) == 3


def test_many_calls_at_once_take_no_ages() -> None:
    """Goal: what was reached once is not looked at twice.

    Method: 12 writes at once, and a read that cannot be explained: the orders
    are 479 million, the states that they lead through 8 thousand.
    """
    calls = [RecordedCall(Write("a", i % 2), i, 0, None, 100 + i) for i in range(12)]
    calls.append(RecordedCall(Read("a"), 200, 0, 5, 201))
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(calls, Registers())
    assert len(found.value.explained) == 12


def test_a_long_history_of_few_at_once_is_explained() -> None:
    calls: list[RecordedCall] = []
    for i in range(1_000):
        calls.append(RecordedCall(Write("a", i), 10 * i, 0, None, 10 * i + 12))
        calls.append(RecordedCall(Read("a"), 10 * i + 1, 0, i, 10 * i + 13))
    assert check_linearizable(calls, Registers()) == 1


def test_a_search_that_takes_too_long_ends() -> None:
    calls = [RecordedCall(Write("a", i % 2), i, 0, None, 100 + i) for i in range(12)]
    calls.append(RecordedCall(Read("a"), 200, 0, 5, 201))
    with pytest.raises(Undecided, match="no result after 500 steps"):
        check_linearizable(calls, Registers(), most=500)


def test_what_cannot_be_explained_is_told() -> None:
    recorder = Recorder()
    write, read = recorder.ask(Write("a", 1)), recorder.ask(Read("a"))
    write.answered(None)
    read.answered(2)
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(recorder.calls, Registers())
    assert str(found.value).splitlines() == [
        "no order explains 2 calls; one explains these:",
        "  [0, 2] Write(name='a', value=1) -> None",
        "but then none of these can be next:",
        "  [1, 3] Read(name='a') -> 2",
    ]


def test_commands_and_reservations_are_told_in_words() -> None:
    recorder = Recorder()
    asks = Reserve((Proposal(3, 6, (Claim("room", 3, 6),), 5),), ())
    held = ObservedReservation(
        "a", State.HELD, 1, 3, 6, asks.requests[0].claims, 5, 0, None, None, None
    )
    first, second = recorder.ask(asks), recorder.ask(asks)
    first.answered(held)
    second.answered([replace(held, uid="b"), (SlotTaken, ("room",))])
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(recorder.calls, LedgerModel(Terms(5, 1, 9), {"room": (1, None)}))
    assert str(found.value).splitlines() == [
        "no order explains 2 calls; one explains these:",
        "  [0, 2] reserve room 3..6 for 5 -> a v1 held until 5: room 3..6",
        "but then none of these can be next:",
        "  [1, 3] reserve room 3..6 for 5 -> b v1 held until 5: room 3..6; SlotTaken",
    ]


class Pings:
    """What is about nothing at all, and always answered in the same way."""

    def begin(self) -> int:
        return 0

    def step(self, state: int, call: RecordedCall) -> int | None:
        return state if call.answer == "pong" else None

    def touches(self, call: RecordedCall) -> Iterator[str]:
        yield from ()


def test_calls_that_are_about_nothing_are_looked_at_alone() -> None:
    recorder = Recorder()
    for answer in ("pong", "pong", "pang"):
        recorder.ask("ping").answered(answer)
    assert check_linearizable(recorder.calls[:2], Pings()) == 2
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(recorder.calls, Pings())
    assert found.value.calls == (recorder.calls[2],)
