"""Many concurrent callers, for peers that are servers: each has its steps, in order.

The steps follow from the correct decisions (`workloads.steps`), so callers need not wait
for each other, and each step's time is sent to the server with it.  If a server decides
otherwise, the digest shows it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from time import perf_counter, perf_counter_ns

from benchmarks.workloads import Outcome, Step, Storm, outcome

Do = Callable[[Step], Awaitable[bool]]
"""Performs a step, and returns whether it was accepted."""


async def let_loose(
    storm: Storm, divided: Sequence[list[Step]], callers: Sequence[Do], timings: array[int] | None
) -> Outcome:
    """Let all callers do their shares concurrently, and measure the time."""
    decisions = bytearray(len(storm.requests))

    async def call(do: Do, share: list[Step]) -> None:
        for step in share:
            began = perf_counter_ns()
            accepted = await do(step)
            if timings is not None:
                timings.append(perf_counter_ns() - began)
            if step.verb == "reserve":
                decisions[step.request] = accepted
            else:
                assert accepted, step

    began = perf_counter()
    await asyncio.gather(*map(call, callers, divided))
    operations = sum(map(len, divided))
    return outcome(operations, decisions, perf_counter() - began)


def runner() -> asyncio.Runner:
    """Return a function that runs coroutines on the fastest event loop that is installed."""
    if find_spec("uvloop") is None:
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
