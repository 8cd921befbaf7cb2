"""Faults of the stand-in: what fails on purpose, and for which requests.

Faults are values.  `Faults` chooses the requests that they hit: by a script, or at
random, alike for the same seed.  This module knows nothing of sockets: the server
cuts connections and sends responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import accumulate
from random import Random
from typing import Final, Literal

import anyio

from slotengine.calcom.catalog.rate_limits import DEFAULT_LIMIT, RateLimit, RateLimitStatus
from slotengine.calcom.wire import UNEXPECTED
from slotengine.core.time.instant import SECOND
from slotengine.engine.clock import Clock
from slotengine.testing.remote.responses import Answer, BareError, engine_error, too_many_requests

Op = Literal["search", "post", "get", "patch", "delete"]
"""The five endpoints: ``search`` is GET of the slots, ``get`` that of one reservation."""

Effect = Literal["reserved", "moved", "released", "purged"]
"""The effect of a request on the rows."""


class At(Enum):
    """The points of a request at which a fault can hit."""

    BEFORE = "before"
    """It has arrived; nothing is read yet."""
    BETWEEN = "between"
    """It has passed all checks; nothing is changed yet."""
    AFTER = "after"
    """It has taken effect; the response is not sent yet."""


@dataclass(slots=True)
class Exchange:
    """One request in the log; filled in as it proceeds."""

    at: datetime
    method: str
    path: str
    op: Op | None
    """None if the path is not an endpoint."""
    uid: str | None = None
    """The reservation that it names; of a POST, the one that it makes."""
    effect: Effect | None = None
    status: int | None = None
    """None until the response is sent; always None if the connection is cut."""
    faults: tuple[Fault, ...] = ()


# --- Faults ----------------------------------------------------------------------------


class Cut(Exception):
    """The connection must be cut."""


class Gate:
    """A point at which requests wait until the test opens it.

    >>> gate = Gate()
    >>> gate.waiting, gate.is_open
    (0, False)
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._arrival = asyncio.Event()
        self.arrived = 0
        """The number of requests that have reached it, ever."""
        self.waiting = 0
        """The number of requests that wait at it now."""

    @property
    def is_open(self) -> bool:
        """Whether requests pass without waiting."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let all requests through, from now on."""
        self._opened.set()

    async def reached(self, requests: int = 1) -> None:
        """Wait until this many requests have reached it."""
        while self.arrived < requests:
            self._arrival.clear()
            await self._arrival.wait()

    async def passed(self) -> None:
        """Wait until it is open; called by the stand-in."""
        self.arrived += 1
        self.waiting += 1
        self._arrival.set()
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


@dataclass(frozen=True, slots=True)
class Wait:
    """The request waits at a gate."""

    gate: Gate
    at: At = At.BEFORE

    async def over(self, clock: Clock) -> None:
        """Wait until the gate is open."""
        await self.gate.passed()


@dataclass(frozen=True, slots=True)
class Latency:
    """The request waits for some seconds of the stand-in's clock."""

    seconds: float
    at: At = At.BEFORE

    async def over(self, clock: Clock) -> None:
        """Wait until the time has passed."""
        until = clock.now() + int(self.seconds * SECOND)
        never = anyio.Event()
        while clock.now() < until:
            await clock.wait(never, until)


@dataclass(frozen=True, slots=True)
class DropBefore:
    """The connection is cut before the request takes effect."""

    @property
    def at(self) -> At:
        """Before the effect."""
        return At.BEFORE

    def answer(self, exchange: Exchange) -> Answer:
        """Raise `Cut`."""
        raise Cut


@dataclass(frozen=True, slots=True)
class DropAfter:
    """The connection is cut after the request has taken effect."""

    @property
    def at(self) -> At:
        """After the effect."""
        return At.AFTER

    def answer(self, exchange: Exchange) -> Answer:
        """Raise `Cut`."""
        raise Cut


@dataclass(frozen=True, slots=True)
class Error500:
    """A 500, from the framework or, with ``database``, in the envelope."""

    at: At = At.BEFORE
    database: bool = False

    def answer(self, exchange: Exchange) -> Answer:
        """Return the response, or raise it if it needs the envelope."""
        if self.database:
            raise BareError(
                500, "INTERNAL_SERVER_ERROR", "There was an error, please try again later."
            )
        return Answer(500, UNEXPECTED)


@dataclass(frozen=True, slots=True)
class Error429:
    """A 429 although no limit was reached; the request has no effect."""

    reset_s: int = 60
    limit: RateLimit = DEFAULT_LIMIT

    @property
    def at(self) -> At:
        """Before the effect."""
        return At.BEFORE

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an exceeded limit."""
        return RateLimitStatus(self.limit, 0, self.reset_s, exceeded=True).headers()

    def answer(self, exchange: Exchange) -> Answer:
        """Raise the error."""
        raise too_many_requests()


@dataclass(frozen=True, slots=True)
class EngineError:
    """The search engine fails with a code of `responses.TRPC`; the request has no effect."""

    code: str
    message: str | None = None

    @property
    def at(self) -> At:
        """Before the effect."""
        return At.BEFORE

    def answer(self, exchange: Exchange) -> Answer:
        """Raise the error."""
        raise engine_error(self.code, self.message)


_SUCCESS: Final = {"post": 201}


@dataclass(frozen=True, slots=True)
class Garbage:
    """A success by its status, with a broken body."""

    body: bytes = b'{"status":"success","data":{"slotStart'
    at: At = At.AFTER
    status: int | None = None
    """By default, that of a success."""

    def answer(self, exchange: Exchange) -> Answer:
        """Return the body."""
        return Answer(self.status or _SUCCESS.get(exchange.op or "", 200), self.body)


Delay = Wait | Latency
Break = DropBefore | DropAfter | Error500 | Error429 | EngineError | Garbage
Fault = Delay | Break


# --- Which requests are hit ----------------------------------------------------------------

Match = Callable[[Exchange], bool]


@dataclass(slots=True)
class _Script:
    faults: tuple[Fault, ...]
    op: Op | None
    match: Match
    skip: int
    times: int | None

    def take(self, exchange: Exchange) -> tuple[Fault, ...]:
        """Return the faults, if this request is to be hit."""
        if self.op not in {None, exchange.op} or not self.match(exchange):
            return ()
        if self.skip:
            self.skip -= 1
            return ()
        if self.times is not None:
            self.times -= 1
        return self.faults

    @property
    def is_over(self) -> bool:
        return self.times == 0


@dataclass(slots=True)
class _Chance:
    seed: int
    faults: tuple[Fault, ...]
    bounds: tuple[float, ...]
    op: Op | None
    draws: dict[Op | None, Random] = field(default_factory=dict)

    def take(self, exchange: Exchange) -> tuple[Fault, ...]:
        """Return at most one fault, by a random draw."""
        if self.op not in {None, exchange.op}:
            return ()
        # One sequence for each endpoint: the fault of the third POST does not depend
        # on the number of searches before it.
        draws = self.draws.setdefault(exchange.op, Random(f"{self.seed} {exchange.op}"))
        drawn = draws.random()
        for fault, bound in zip(self.faults, self.bounds, strict=True):
            if drawn < bound:
                return (fault,)
        return ()


class Faults:
    """Chooses the faults of each request.

    >>> faults = Faults()
    >>> faults.script(DropAfter(), op="post")
    >>> faults.random(seed=7, rates={Error500(): 0.01, Error429(): 0.02})
    """

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self._chance: _Chance | None = None

    def script(
        self,
        *faults: Fault,
        op: Op | None = None,
        match: Match | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Hit the next ``times`` requests that match with these faults; None for all of them.

        The first ``skip`` that match are spared.  Several faults hit the same
        request, in order, such as a `Latency` and then a `DropAfter`.  If several
        scripts match, the first one decides; random faults come after scripts.

        Raises `ValueError` without faults, or if they could never hit a request.
        """
        if not faults or skip < 0 or (times is not None and times < 1):
            raise ValueError("a script needs a fault, skip >= 0, and times >= 1 or None")
        self._scripts.append(_Script(faults, op, match or (lambda _: True), skip, times))

    def random(self, seed: int, rates: Mapping[Fault, float], *, op: Op | None = None) -> None:
        """Hit each request with at most one fault, each at its rate, from 0 to 1.

        The n-th request of an endpoint always gets the same fault with the same
        seed and rates.  Replaces the random faults set before.

        Raises `ValueError` if the rates are negative or add up to more than 1.
        """
        bounds = tuple(accumulate(rates.values()))
        if any(rate < 0 for rate in rates.values()) or (bounds and bounds[-1] > 1 + 1e-9):
            raise ValueError("rates must be from 0 to 1, and add up to at most 1")
        self._chance = _Chance(seed, tuple(rates), bounds, op)

    def clear(self) -> None:
        """Remove all faults."""
        self._scripts.clear()
        self._chance = None

    def of(self, exchange: Exchange) -> tuple[Fault, ...]:
        """Return the faults of a request, and count it; called by the stand-in."""
        for script in self._scripts:
            if taken := script.take(exchange):
                if script.is_over:
                    self._scripts.remove(script)
                return taken
        return self._chance.take(exchange) if self._chance is not None else ()
