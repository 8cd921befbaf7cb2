"""The booking storm: a seeded stream of operations that can drive any implementation.

A thousand resources are open 09:00-17:00 for 90 days.  Requests for holds arrive one per
millisecond of virtual time.  The resource is drawn by Zipf's law with s = 1, the start
from a 15-minute grid, the length from 15, 30 and 60 minutes.  One request in ten is
outside opening hours.  Of the accepted holds, 60 % are confirmed and 25 % released, each
within the next 10,000 requests.  The rest lapse after 30 seconds of virtual time.

What happens to a hold depends on whether it was accepted, so each implementation is
driven step by step.  Its decisions are digested, so that it cannot be fast but wrong.
"""

from __future__ import annotations

import gc
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import accumulate
from time import perf_counter, perf_counter_ns, process_time
from typing import Any, Final, NamedTuple, Protocol
from zlib import crc32

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE

TTL: Final = 30 * SECOND
TICK: Final = 1_000
WITHIN: Final = 10_000
OPENING: Final = 9 * 60
CLOSING: Final = 17 * 60
OUTSIDE: Final = 0.1
"""The share of requests that are outside opening hours."""
LENGTHS: Final = (15, 30, 60)


class HoldRequest(NamedTuple):
    """One request of the storm, and what happens to the hold if it is accepted."""

    resource: str
    start: int
    end: int
    fate: str
    """``confirm``, ``release`` or ``lapse``."""
    after: int
    """The number of requests after which it happens."""


@dataclass(frozen=True)
class Storm:
    """A complete stream: the resources, their hours, and the requests."""

    resources: list[str]
    windows: list[tuple[int, int]]
    began: int
    requests: list[HoldRequest]

    def first(self, requests: int) -> Storm:
        """Return the first part of this storm, with a number of requests."""
        return replace(self, requests=self.requests[:requests])


def storm(
    *, requests: int = 100_000, resources: int = 1_000, days: int = 90, seed: int = 1
) -> Storm:
    """Return a booking storm with a number of requests.

    >>> len(storm(requests=10, resources=3).requests)
    10
    """
    rng = random.Random(seed)
    first_day = 20_000 * DAY
    names = [f"resource-{i}" for i in range(resources)]
    zipf = list(accumulate(1 / rank for rank in range(1, resources + 1)))
    closed = {length: _starts_outside(length) for length in LENGTHS}
    made = []
    for name in rng.choices(names, cum_weights=zipf, k=requests):
        length = rng.choice(LENGTHS)
        if rng.random() < OUTSIDE:
            start = rng.choice(closed[length])
        else:
            start = rng.randrange(OPENING, CLOSING - length + 1, 15)
        begin = first_day + rng.randrange(days) * DAY + start * MINUTE
        fate = rng.choices(("confirm", "release", "lapse"), weights=(60, 25, 15))[0]
        made.append(HoldRequest(name, begin, begin + length * MINUTE, fate, rng.randint(1, WITHIN)))
    windows = [
        (first_day + day * DAY + OPENING * MINUTE, first_day + day * DAY + CLOSING * MINUTE)
        for day in range(days)
    ]
    return Storm(names, windows, first_day - 100 * DAY, made)


def _starts_outside(length: int) -> list[int]:
    """Return the starts on a day's grid, in minutes, at which a slot is outside the hours."""
    starts = range(0, 24 * 60 - length + 1, 15)
    return [start for start in starts if not OPENING <= start <= CLOSING - length]


class Target(Protocol):
    """An implementation that runs the storm.  A token is how it refers to a hold."""

    def reserve(self, resource: str, start: int, end: int, now: int) -> Any:
        """Return a token, or None if refused."""

    def confirm(self, token: Any, now: int) -> None: ...

    def release(self, token: Any, now: int) -> None: ...


class Outcome(NamedTuple):
    """The result of a run."""

    operations: int
    accepted: int
    seconds: float
    digest: str
    """A digest of all decisions, in order."""
    processor_seconds: float | None = None
    """The processor time; None if other processes took part."""

    @property
    def rate(self) -> float:
        """Operations per second of elapsed time."""
        return self.operations / self.seconds

    @property
    def processor_rate(self) -> float:
        """Operations per second of processor time, for runs in this process only."""
        assert self.processor_seconds is not None
        return self.operations / self.processor_seconds


def decide(storm: Storm, target: Target) -> Outcome:
    """Run a storm on a target that makes the decisions, and measure the time.

    Later steps depend on the decisions, so this keeps a list for each request, which is not
    the target's work.  To race targets, use `drive`.
    """
    due: list[list[tuple[Callable[[Any, int], None], Any]]] = [
        [] for _ in range(len(storm.requests) + WITHIN + 1)
    ]
    verbs = {"confirm": target.confirm, "release": target.release}
    decisions = bytearray()
    reserve, now, operations = target.reserve, storm.began, 0
    began = perf_counter()
    for i, (resource, start, end, fate, after) in enumerate(storm.requests):
        for verb, token in due[i]:
            now += TICK
            verb(token, now)
            operations += 1
        now += TICK
        operations += 1
        token = reserve(resource, start, end, now)
        decisions.append(token is not None)
        if token is not None and fate != "lapse":
            due[i + after].append((verbs[fate], token))
    return outcome(operations, decisions, perf_counter() - began)


def outcome(
    operations: int,
    decisions: bytes | bytearray,
    seconds: float,
    processor_seconds: float | None = None,
) -> Outcome:
    """Return the result of a run.  A decision is 1 for an accepted request, and 0 for any other."""
    digest = sha256(decisions).hexdigest()[:16]
    return Outcome(operations, sum(decisions), seconds, digest, processor_seconds)


class Timed:
    """Wraps a target, and records the time of each call, in ns."""

    def __init__(self, target: Target, timings: array[int]) -> None:
        self.target = target
        self.timings = timings

    def reserve(self, resource: str, start: int, end: int, now: int) -> Any:
        began = perf_counter_ns()
        token = self.target.reserve(resource, start, end, now)
        self.timings.append(perf_counter_ns() - began)
        return token

    def confirm(self, token: Any, now: int) -> None:
        began = perf_counter_ns()
        self.target.confirm(token, now)
        self.timings.append(perf_counter_ns() - began)

    def release(self, token: Any, now: int) -> None:
        began = perf_counter_ns()
        self.target.release(token, now)
        self.timings.append(perf_counter_ns() - began)


class Step(NamedTuple):
    """One operation of a storm whose decisions are known."""

    verb: str
    """``reserve``, ``confirm`` or ``release``."""
    request: int
    """The index of the request."""
    now: int


class _Noting:
    """Wraps a target and records steps; a token is the request's index and the target's token."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.steps: list[Step] = []
        self.requests = 0

    def reserve(self, resource: str, start: int, end: int, now: int) -> Any:
        number = self.requests
        self.requests += 1
        self.steps.append(Step("reserve", number, now))
        token = self.target.reserve(resource, start, end, now)
        return None if token is None else (number, token)

    def confirm(self, token: Any, now: int) -> None:
        self.steps.append(Step("confirm", token[0], now))
        self.target.confirm(token[1], now)

    def release(self, token: Any, now: int) -> None:
        self.steps.append(Step("release", token[0], now))
        self.target.release(token[1], now)


def steps(storm: Storm, judge: Target) -> list[Step]:
    """Return all operations of a storm, as they follow from the judge's decisions.

    With them, many callers can run a storm at once.  Operations on one resource and day
    depend on no others, because no slot crosses midnight and each step has its own time.
    A caller that keeps these in order, on one connection, must get the same decisions.
    """
    noting = _Noting(judge)
    decide(storm, noting)
    return noting.steps


def drive(storm: Storm, steps: Sequence[Step], target: Target) -> Outcome:
    """Run a storm whose steps are known on a target, and measure the time.

    This makes no objects that the cycle collector would visit.  Measured with a target that
    does nothing: 0.12 µs a step, compared with 0.85 for `decide`.
    """
    rows = [
        (step.verb, step.request, step.now, *storm.requests[step.request][:3]) for step in steps
    ]
    tokens: list[Any] = [None] * len(storm.requests)
    reserve, confirm, release = target.reserve, target.confirm, target.release
    gc.collect()  # so that each starts without garbage from others
    began, busy = perf_counter(), process_time()
    for verb, request, now, resource, start, end in rows:
        if verb == "reserve":
            tokens[request] = reserve(resource, start, end, now)
        elif verb == "confirm":
            confirm(tokens[request], now)
        else:
            release(tokens[request], now)
    busy, seconds = process_time() - busy, perf_counter() - began
    return outcome(len(steps), bytes(token is not None for token in tokens), seconds, busy)


def shares(storm: Storm, steps: Sequence[Step], callers: int) -> list[list[Step]]:
    """Return the steps of several callers; each resource and day belongs to one caller."""
    divided: list[list[Step]] = [[] for _ in range(callers)]
    for step in steps:
        request = storm.requests[step.request]
        divided[crc32(f"{request.resource}/{request.start // DAY}".encode()) % callers].append(step)
    return divided
