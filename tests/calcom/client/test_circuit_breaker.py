"""The circuit breaker: every state with every event, and against a model."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slotengine.calcom.client.circuit_breaker import Attempt, CircuitBreaker, CircuitState

FAILURES = 2
COOLDOWN_S = 30.0


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now


def breaker_in(circuit: CircuitState, time: Time) -> tuple[CircuitBreaker, Attempt]:
    """Return a breaker in a state, and an attempt that counts in it."""
    breaker = CircuitBreaker(failures=FAILURES, cooldown_s=COOLDOWN_S, clock=time.clock)
    attempt = breaker.attempt()
    if circuit is CircuitState.CLOSED:
        return breaker, attempt
    for _ in range(FAILURES):
        attempt.failed()
    if circuit is CircuitState.HALF_OPEN:
        time.now += COOLDOWN_S
        attempt = breaker.attempt()
    return breaker, attempt


TABLE = {
    (CircuitState.CLOSED, "succeeded"): (CircuitState.CLOSED, 0.0),
    (CircuitState.CLOSED, "failed"): (CircuitState.CLOSED, 0.0),
    (CircuitState.CLOSED, "abandoned"): (CircuitState.CLOSED, 0.0),
    (CircuitState.OPEN, "succeeded"): (CircuitState.OPEN, COOLDOWN_S),
    (CircuitState.OPEN, "failed"): (CircuitState.OPEN, COOLDOWN_S),
    (CircuitState.OPEN, "abandoned"): (CircuitState.OPEN, COOLDOWN_S),
    (CircuitState.HALF_OPEN, "succeeded"): (CircuitState.CLOSED, 0.0),
    (CircuitState.HALF_OPEN, "failed"): (CircuitState.OPEN, COOLDOWN_S),
    (CircuitState.HALF_OPEN, "abandoned"): (CircuitState.OPEN, 0.0),
}


@pytest.mark.parametrize(("circuit", "event"), TABLE)
def test_every_state_with_every_event(circuit: CircuitState, event: str) -> None:
    breaker, attempt = breaker_in(circuit, Time())
    assert breaker.circuit is circuit
    with attempt:
        if event == "succeeded":
            attempt.succeeded()
        elif event == "failed":
            attempt.failed()
    assert (breaker.circuit, breaker.retry_after_s()) == TABLE[circuit, event]


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == {
        (circuit, event)
        for circuit in CircuitState
        for event in ("succeeded", "failed", "abandoned")
    }


def test_only_failures_in_a_row_count() -> None:
    breaker, attempt = breaker_in(CircuitState.CLOSED, Time())
    for _ in range(5):
        assert not attempt.failed()
        attempt.succeeded()
    assert not attempt.failed()
    assert attempt.failed()
    assert (breaker.circuit, breaker.times_opened) == (CircuitState.OPEN, 1)


def test_no_other_request_passes_during_a_probe() -> None:
    breaker, probe = breaker_in(CircuitState.HALF_OPEN, Time())
    assert breaker.retry_after_s() == COOLDOWN_S
    with pytest.raises(AssertionError):
        breaker.attempt()
    with probe:  # abandoned
        pass
    with breaker.attempt() as next_probe:
        next_probe.succeeded()
    assert breaker.circuit is CircuitState.CLOSED


def test_results_from_an_earlier_state_do_not_count() -> None:
    time = Time()
    breaker = CircuitBreaker(failures=1, cooldown_s=COOLDOWN_S, clock=time.clock)
    early, late, last = breaker.attempt(), breaker.attempt(), breaker.attempt()
    early.failed()
    time.now += COOLDOWN_S
    probe = breaker.attempt()
    late.succeeded()
    assert breaker.circuit.value == "half open"
    probe.succeeded()
    assert not last.failed()
    assert breaker.circuit.value == "closed"


class CircuitBreakerAgainstRules(RuleBasedStateMachine):
    """Goal: it opens exactly after enough failures in a row, and there is one probe at a time.

    Method: attempts begin and end in any order while time passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.breaker = CircuitBreaker(
            failures=FAILURES, cooldown_s=COOLDOWN_S, clock=self.time.clock
        )
        self.attempts: list[Attempt] = []
        self.opened_at: float | None = None
        self.probes: list[Attempt] = []

    @precondition(lambda self: self.breaker.retry_after_s() == 0)
    @rule()
    def begin(self) -> None:
        probing = self.breaker.circuit is CircuitState.OPEN
        attempt = self.breaker.attempt()
        self.attempts.append(attempt)
        if probing:
            self.probes.append(attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), last_error=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end(self, data: st.DataObject, last_error: str) -> None:
        attempt = self.attempts.pop(data.draw(st.integers(0, len(self.attempts) - 1)))
        before = self.breaker.circuit
        with attempt:
            if last_error == "succeeded":
                attempt.succeeded()
            elif last_error == "failed" and attempt.failed():
                self.opened_at = self.time.now
        if attempt in self.probes:
            self.probes.remove(attempt)
            assert self.breaker.circuit is not CircuitState.HALF_OPEN
        elif before is not CircuitState.CLOSED:
            assert self.breaker.circuit is before

    @rule(seconds=st.sampled_from([1.0, 15.0, COOLDOWN_S]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def it_keeps_its_cooldown(self) -> None:
        assert len(self.probes) == (self.breaker.circuit is CircuitState.HALF_OPEN)
        if self.breaker.circuit is CircuitState.OPEN:
            assert self.opened_at is not None
            left = max(0.0, self.opened_at + COOLDOWN_S - self.time.now)
            assert self.breaker.retry_after_s() == left


TestCircuitBreakerAgainstRules = CircuitBreakerAgainstRules.TestCase
