"""What goes wrong on purpose, and with which request.

Faults are values; `Faults` says which requests they befall: those of a script,
or by chance, which is the same chance for the same seed.  Knows nothing of
sockets: the server cuts connections and sends answers as it is told here.
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
from slotengine.testing.remote.answers import Answer, BareError, engine_error, too_many_requests

Op = Literal["search", "post", "get", "patch", "delete"]
"""The five endpoints: ``search`` is GET of the slots, ``get`` that of one reservation."""

Effect = Literal["reserved", "moved", "released", "purged"]
"""What a request has done to the rows."""


class At(Enum):
    """The moments of a request at which something can go wrong."""

    BEFORE = "before"
    """It has arrived, and nothing has been looked at."""
    BETWEEN = "between"
    """It has been found acceptable, and nothing has been changed."""
    AFTER = "after"
    """What it asked for is done, and not yet answered."""


@dataclass(slots=True)
class Exchange:
    """One request, as the log keeps it; filled in as it proceeds."""

    at: datetime
    method: str
    path: str
    op: Op | None
    """None for what is no endpoint."""
    uid: str | None = None
    """The reservation that it names or, from a POST, gets."""
    effect: Effect | None = None
    status: int | None = None
    """None until it is answered, and for good if the connection is cut."""
    faults: tuple[Fault, ...] = ()


# --- Faults ----------------------------------------------------------------------------


class Cut(Exception):
    """The connection is to be dropped."""


class Gate:
    """Where requests wait until the test lets them go on.

    >>> gate = Gate()
    >>> gate.waiting, gate.is_open
    (0, False)
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._arrival = asyncio.Event()
        self.arrived = 0
        """How many requests have come to it, ever."""
        self.waiting = 0
        """How many are waiting at it now."""

    @property
    def is_open(self) -> bool:
        """Whether requests pass without waiting."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let everybody through, from now on."""
        self._opened.set()

    async def reached(self, requests: int = 1) -> None:
        """Return when so many requests have come to it."""
        while self.arrived < requests:
            self._arrival.clear()
            await self._arrival.wait()

    async def passed(self) -> None:
        """Return when it is open; called by the stand-in."""
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
        """Return when the gate is open."""
        await self.gate.passed()


@dataclass(frozen=True, slots=True)
class Latency:
    """The request waits so many seconds on the stand-in's clock: with `SimClock`, for the test."""

    seconds: float
    at: At = At.BEFORE

    async def over(self, clock: Clock) -> None:
        """Return when the time has passed."""
        until = clock.now() + int(self.seconds * SECOND)
        never = anyio.Event()
        while clock.now() < until:
            await clock.wait(never, until)


@dataclass(frozen=True, slots=True)
class DropBefore:
    """The connection is cut, and nothing has happened."""

    @property
    def at(self) -> At:
        """Before the effect."""
        return At.BEFORE

    def answer(self, exchange: Exchange) -> Answer:
        """Raise `Cut`."""
        raise Cut


@dataclass(frozen=True, slots=True)
class DropAfter:
    """The connection is cut, and all that was asked for has happened."""

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
        """Return the answer, or raise it if it needs the envelope."""
        if self.database:
            raise BareError(
                500, "INTERNAL_SERVER_ERROR", "There was an error, please try again later."
            )
        return Answer(500, UNEXPECTED)


@dataclass(frozen=True, slots=True)
class Error429:
    """A 429 although no limit was reached; nothing has happened."""

    reset_s: int = 60
    limit: RateLimit = DEFAULT_LIMIT

    @property
    def at(self) -> At:
        """Before the effect."""
        return At.BEFORE

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a limit that is exceeded."""
        return RateLimitStatus(self.limit, 0, self.reset_s, exceeded=True).headers()

    def answer(self, exchange: Exchange) -> Answer:
        """Raise the error."""
        raise too_many_requests()


@dataclass(frozen=True, slots=True)
class EngineError:
    """The search engine reports one of `answers.TRPC`; nothing has happened."""

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
    """A success by its status, whose body is anything but."""

    body: bytes = b'{"status":"success","data":{"slotStart'
    at: At = At.AFTER
    status: int | None = None
    """None: as success would have it."""

    def answer(self, exchange: Exchange) -> Answer:
        """Return the body."""
        return Answer(self.status or _SUCCESS.get(exchange.op or "", 200), self.body)


Delay = Wait | Latency
Break = DropBefore | DropAfter | Error500 | Error429 | EngineError | Garbage
Fault = Delay | Break


# --- Which request it befalls -------------------------------------------------------------

Match = Callable[[Exchange], bool]


@dataclass(slots=True)
class _Script:
    faults: tuple[Fault, ...]
    op: Op | None
    match: Match
    skip: int
    times: int | None

    def take(self, exchange: Exchange) -> tuple[Fault, ...]:
        """Return the faults if it is this request's turn."""
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
        """Return at most one fault, by a draw."""
        if self.op not in {None, exchange.op}:
            return ()
        # One sequence for each endpoint: what befalls the third POST does not
        # depend on how many searches came before it.
        draws = self.draws.setdefault(exchange.op, Random(f"{self.seed} {exchange.op}"))
        drawn = draws.random()
        for fault, bound in zip(self.faults, self.bounds, strict=True):
            if drawn < bound:
                return (fault,)
        return ()


class Faults:
    """Which requests go wrong, and how.

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
        """Let faults befall the next ``times`` requests that match, or with None all of them.

        The first ``skip`` that match are spared.  Several faults befall the
        same request, in their order, as a `Latency` and then a `DropAfter`.  Of
        several scripts the first whose turn it is decides, and then no chance.

        Raises `ValueError` without faults, or if they could never befall any.
        """
        if not faults or skip < 0 or (times is not None and times < 1):
            raise ValueError("a script has faults, skips none or some, and comes at least once")
        self._scripts.append(_Script(faults, op, match or (lambda _: True), skip, times))

    def random(self, seed: int, rates: Mapping[Fault, float], *, op: Op | None = None) -> None:
        """Let at most one fault befall each request, each as often as its rate from 0 to 1.

        The n-th request of an endpoint always meets the same fate with the
        same seed and rates.  Takes the place of an earlier chance.

        Raises `ValueError` if the rates are negative or add up to more than 1.
        """
        bounds = tuple(accumulate(rates.values()))
        if any(rate < 0 for rate in rates.values()) or (bounds and bounds[-1] > 1 + 1e-9):
            raise ValueError("rates must not be negative, nor add up to more than 1")
        self._chance = _Chance(seed, tuple(rates), bounds, op)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._scripts.clear()
        self._chance = None

    def of(self, exchange: Exchange) -> tuple[Fault, ...]:
        """Return what befalls a request, and count it; called by the stand-in."""
        for script in self._scripts:
            if taken := script.take(exchange):
                if script.is_over:
                    self._scripts.remove(script)
                return taken
        return self._chance.take(exchange) if self._chance is not None else ()
