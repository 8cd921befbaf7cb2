"""The breaker: every state with every event, and a model of it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slotengine.calcom.client.circuit_breaker import Breaker, Circuit, Passage

FAILURES = 2
COOLDOWN_S = 30.0


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now


def breaker_in(circuit: Circuit, time: Time) -> tuple[Breaker, Passage]:
    """Return a breaker in a state, and a passage that counts in it."""
    breaker = Breaker(failures=FAILURES, cooldown_s=COOLDOWN_S, clock=time.clock)
    passage = breaker.passage()
    if circuit is Circuit.CLOSED:
        return breaker, passage
    for _ in range(FAILURES):
        passage.failed()
    if circuit is Circuit.HALF_OPEN:
        time.now += COOLDOWN_S
        passage = breaker.passage()
    return breaker, passage


TABLE = {
    (Circuit.CLOSED, "succeeded"): (Circuit.CLOSED, 0.0),
    (Circuit.CLOSED, "failed"): (Circuit.CLOSED, 0.0),
    (Circuit.CLOSED, "given up"): (Circuit.CLOSED, 0.0),
    (Circuit.OPEN, "succeeded"): (Circuit.OPEN, COOLDOWN_S),
    (Circuit.OPEN, "failed"): (Circuit.OPEN, COOLDOWN_S),
    (Circuit.OPEN, "given up"): (Circuit.OPEN, COOLDOWN_S),
    (Circuit.HALF_OPEN, "succeeded"): (Circuit.CLOSED, 0.0),
    (Circuit.HALF_OPEN, "failed"): (Circuit.OPEN, COOLDOWN_S),
    (Circuit.HALF_OPEN, "given up"): (Circuit.OPEN, 0.0),
}


@pytest.mark.parametrize(("circuit", "event"), TABLE)
def test_every_state_with_every_event(circuit: Circuit, event: str) -> None:
    breaker, passage = breaker_in(circuit, Time())
    assert breaker.circuit is circuit
    with passage:
        if event == "succeeded":
            passage.succeeded()
        elif event == "failed":
            passage.failed()
    assert (breaker.circuit, breaker.closed_for_s()) == TABLE[circuit, event]


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == {
        (circuit, event) for circuit in Circuit for event in ("succeeded", "failed", "given up")
    }


def test_only_failures_in_a_row_count() -> None:
    breaker, passage = breaker_in(Circuit.CLOSED, Time())
    for _ in range(5):
        assert not passage.failed()
        passage.succeeded()
    assert not passage.failed()
    assert passage.failed()
    assert (breaker.circuit, breaker.opened) == (Circuit.OPEN, 1)


def test_while_a_probe_is_under_way_nobody_else_passes() -> None:
    breaker, probe = breaker_in(Circuit.HALF_OPEN, Time())
    assert breaker.closed_for_s() == COOLDOWN_S
    with pytest.raises(AssertionError):
        breaker.passage()
    with probe:  # given up
        pass
    with breaker.passage() as next_probe:
        next_probe.succeeded()
    assert breaker.circuit is Circuit.CLOSED


def test_stragglers_of_a_former_state_do_not_count() -> None:
    time = Time()
    breaker = Breaker(failures=1, cooldown_s=COOLDOWN_S, clock=time.clock)
    early, late, last = breaker.passage(), breaker.passage(), breaker.passage()
    early.failed()
    time.now += COOLDOWN_S
    probe = breaker.passage()
    late.succeeded()
    assert breaker.circuit.value == "half open"
    probe.succeeded()
    assert not last.failed()
    assert breaker.circuit.value == "closed"


class BreakerAgainstRules(RuleBasedStateMachine):
    """Goal: it opens exactly after failures in a row, and one at a time may probe.

    Method: requests begin and end in any order while time goes on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.breaker = Breaker(failures=FAILURES, cooldown_s=COOLDOWN_S, clock=self.time.clock)
        self.passages: list[Passage] = []
        self.opened_at: float | None = None
        self.probes: list[Passage] = []

    @precondition(lambda self: self.breaker.closed_for_s() == 0)
    @rule()
    def begin(self) -> None:
        probing = self.breaker.circuit is Circuit.OPEN
        passage = self.breaker.passage()
        self.passages.append(passage)
        if probing:
            self.probes.append(passage)

    @precondition(lambda self: self.passages)
    @rule(data=st.data(), verdict=st.sampled_from(["succeeded", "failed", "given up"]))
    def end(self, data: st.DataObject, verdict: str) -> None:
        passage = self.passages.pop(data.draw(st.integers(0, len(self.passages) - 1)))
        before = self.breaker.circuit
        with passage:
            if verdict == "succeeded":
                passage.succeeded()
            elif verdict == "failed" and passage.failed():
                self.opened_at = self.time.now
        if passage in self.probes:
            self.probes.remove(passage)
            assert self.breaker.circuit is not Circuit.HALF_OPEN
        elif before is not Circuit.CLOSED:
            assert self.breaker.circuit is before

    @rule(seconds=st.sampled_from([1.0, 15.0, COOLDOWN_S]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def it_keeps_its_cooldown(self) -> None:
        assert len(self.probes) == (self.breaker.circuit is Circuit.HALF_OPEN)
        if self.breaker.circuit is Circuit.OPEN:
            assert self.opened_at is not None
            left = max(0.0, self.opened_at + COOLDOWN_S - self.time.now)
            assert self.breaker.closed_for_s() == left


TestBreakerAgainstRules = BreakerAgainstRules.TestCase
