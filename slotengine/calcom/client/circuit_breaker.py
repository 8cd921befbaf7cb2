"""Stop asking a remote that is down, and notice when it is back.

A breaker is closed while all is well.  After so many failures in a row it is
open, and lets nothing pass.  When it has been open for its cooldown it lets
one request pass, the probe, and is half open until that one is back: a success
closes it, a failure opens it again.

    closed --failures in a row--> open --cooldown, then a request--> half open
       ^                            ^                                   |  |
       |                            +----------- failed ----------------+  |
       +------------------------------ succeeded --------------------------+

Only requests that the breaker let pass in its present state count: one that
was sent before it opened says nothing about the remote as it is now.

Synchronous, and ours because the well-kept libraries read the system's clock.
Times are seconds of a clock that is handed in.  Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Self


class Circuit(Enum):
    """Whether requests may pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """Open after ``failures`` in a row, for ``cooldown_s`` seconds.

    >>> now = 0.0
    >>> breaker = Breaker(failures=1, cooldown_s=30, clock=lambda: now)
    >>> with breaker.passage() as passage:
    ...     passage.failed()
    True
    >>> breaker.circuit, breaker.closed_for_s()
    (<Circuit.OPEN: 'open'>, 30.0)
    >>> now = 30.0
    >>> with breaker.passage() as passage:
    ...     passage.succeeded()
    >>> breaker.circuit
    <Circuit.CLOSED: 'closed'>
    """

    __slots__ = (
        "_age",
        "_clock",
        "_cooldown_s",
        "_failures",
        "_in_a_row",
        "_lets_pass_at",
        "circuit",
        "opened",
    )

    def __init__(self, *, failures: int, cooldown_s: float, clock: Callable[[], float]) -> None:
        self.circuit = Circuit.CLOSED
        self.opened = 0
        """How often failures have opened it."""
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._in_a_row = 0
        self._lets_pass_at = 0.0
        self._age = 0
        """How often the state has changed; a passage of another age no longer counts."""

    def closed_for_s(self) -> float:
        """Return in how many seconds a request may pass; 0 if now.

        While a probe is under way that is a guess: as long as if it failed.
        """
        match self.circuit:
            case Circuit.CLOSED:
                return 0.0
            case Circuit.OPEN:
                return max(0.0, self._lets_pass_at - self._clock())
            case Circuit.HALF_OPEN:
                return float(self._cooldown_s)

    def passage(self) -> Passage:
        """Let one request pass; only when `closed_for_s` is 0."""
        assert self.closed_for_s() == 0
        if self.circuit is Circuit.OPEN:
            self._become(Circuit.HALF_OPEN)
        return Passage(self, self._age)

    def _become(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._age += 1
        self._in_a_row = 0

    def _open(self) -> None:
        self._become(Circuit.OPEN)
        self.opened += 1
        self._lets_pass_at = self._clock() + self._cooldown_s

    def _succeeded(self, age: int) -> None:
        if age != self._age:
            return
        self._in_a_row = 0
        if self.circuit is Circuit.HALF_OPEN:
            self._become(Circuit.CLOSED)

    def _failed(self, age: int) -> bool:
        if age != self._age:
            return False
        self._in_a_row += 1
        opens = self.circuit is Circuit.HALF_OPEN or self._in_a_row >= self._failures
        if opens:
            self._open()
        return opens

    def _came_to_nothing(self, age: int) -> None:
        """Let the next one be the probe, if the one that was it has been given up."""
        if age == self._age and self.circuit is Circuit.HALF_OPEN:
            self._become(Circuit.OPEN)


class Passage:
    """One request on its way; left without a verdict, as when cancelled, it does not count."""

    __slots__ = ("_age", "_breaker", "_judged")

    def __init__(self, breaker: Breaker, age: int) -> None:
        self._breaker = breaker
        self._age = age
        self._judged = False

    def succeeded(self) -> None:
        """Say that the remote is well: it answered, be it with a refusal."""
        self._judged = True
        self._breaker._succeeded(self._age)

    def failed(self) -> bool:
        """Say that the remote is not well; tell whether that opened the breaker."""
        self._judged = True
        return self._breaker._failed(self._age)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._judged:
            self._breaker._came_to_nothing(self._age)
