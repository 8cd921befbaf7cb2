"""A circuit breaker: stops sending requests to a remote that is down.

The breaker is closed while the remote works.  After a number of failures in a
row it opens and lets no request pass.  Once it has been open for its cooldown
it lets one request pass, the probe, and is half open until the probe ends.  A
successful probe closes the breaker; a failed one opens it again.

    closed --failures in a row--> open --cooldown, then a request--> half open
       ^                            ^                                   |  |
       |                            +----------- failed ----------------+  |
       +------------------------------ succeeded --------------------------+

Only requests that the breaker let pass in its present state count.  A request
that was sent before the breaker opened says nothing about the remote now.

Synchronous.  The libraries that are maintained read the system clock; here the clock
is passed in, and times are its seconds.  Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Self


class CircuitState(Enum):
    """Whether the circuit breaker lets requests pass."""

    CLOSED = "closed"
    """All requests pass."""
    OPEN = "open"
    """No request passes."""
    HALF_OPEN = "half open"
    """One request, the probe, is in flight; no other passes."""


class CircuitBreaker:
    """Opens after ``failures`` failures in a row, for ``cooldown_s`` seconds.

    >>> now = 0.0
    >>> breaker = CircuitBreaker(failures=1, cooldown_s=30, clock=lambda: now)
    >>> with breaker.attempt() as attempt:
    ...     attempt.failed()
    True
    >>> breaker.circuit, breaker.retry_after_s()
    (<CircuitState.OPEN: 'open'>, 30.0)
    >>> now = 30.0
    >>> with breaker.attempt() as attempt:
    ...     attempt.succeeded()
    >>> breaker.circuit
    <CircuitState.CLOSED: 'closed'>
    """

    __slots__ = (
        "_clock",
        "_cooldown_s",
        "_failures",
        "_generation",
        "_in_a_row",
        "_probe_at",
        "circuit",
        "times_opened",
    )

    def __init__(self, *, failures: int, cooldown_s: float, clock: Callable[[], float]) -> None:
        self.circuit = CircuitState.CLOSED
        self.times_opened = 0
        """How often failures have opened it."""
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._in_a_row = 0
        self._probe_at = 0.0
        self._generation = 0
        """How often the state has changed; an attempt of an earlier generation does not count."""

    def retry_after_s(self) -> float:
        """Return in how many seconds a request may pass; 0 if one may pass now.

        While a probe is in flight this is an estimate: the wait if it fails.
        """
        match self.circuit:
            case CircuitState.CLOSED:
                return 0.0
            case CircuitState.OPEN:
                return max(0.0, self._probe_at - self._clock())
            case CircuitState.HALF_OPEN:
                return float(self._cooldown_s)

    def attempt(self) -> Attempt:
        """Let one request pass.  Call it only when `retry_after_s` is 0."""
        assert self.retry_after_s() == 0
        if self.circuit is CircuitState.OPEN:
            self._become(CircuitState.HALF_OPEN)
        return Attempt(self, self._generation)

    def record_success(self, generation: int) -> None:
        """Count an attempt that got a response."""
        if generation != self._generation:
            return
        self._in_a_row = 0
        if self.circuit is CircuitState.HALF_OPEN:
            self._become(CircuitState.CLOSED)

    def record_failure(self, generation: int) -> bool:
        """Count an attempt that failed; return whether that opened the breaker."""
        if generation != self._generation:
            return False
        self._in_a_row += 1
        opens = self.circuit is CircuitState.HALF_OPEN or self._in_a_row >= self._failures
        if opens:
            self._become(CircuitState.OPEN)
            self.times_opened += 1
            self._probe_at = self._clock() + self._cooldown_s
        return opens

    def record_abandoned(self, generation: int) -> None:
        """Note that an attempt ended without a result; if it was the probe, allow another."""
        if generation == self._generation and self.circuit is CircuitState.HALF_OPEN:
            self._become(CircuitState.OPEN)

    def _become(self, circuit: CircuitState) -> None:
        self.circuit = circuit
        self._generation += 1
        self._in_a_row = 0


class Attempt:
    """One request that the breaker let pass.

    An attempt that is left without a result, as when it is cancelled, does not
    count.
    """

    __slots__ = ("_breaker", "_generation", "_recorded")

    def __init__(self, breaker: CircuitBreaker, generation: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._recorded = False

    def succeeded(self) -> None:
        """Record that the remote answered, if only with a refusal."""
        self._recorded = True
        self._breaker.record_success(self._generation)

    def failed(self) -> bool:
        """Record a failure; return whether it opened the breaker."""
        self._recorded = True
        return self._breaker.record_failure(self._generation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._recorded:
            self._breaker.record_abandoned(self._generation)
