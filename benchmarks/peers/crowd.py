"""Many callers at once, for peers that are servers: each has its steps, and keeps their order.

What to do follows from the decisions that are right (`workloads.steps`), so that
callers need not wait for each other; the time of each step is given to the
server with it.  If a server decided otherwise, the digest would tell.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from time import perf_counter, perf_counter_ns

from benchmarks.workloads import Outcome, Step, Storm, outcome

Do = Callable[[Step], Awaitable[bool]]
"""Does a step, and returns whether it was accepted."""


async def let_loose(
    storm: Storm, divided: Sequence[list[Step]], callers: Sequence[Do], timings: array[int] | None
) -> Outcome:
    """Let each caller do its share, all at once, and take the time."""
    decisions = bytearray(len(storm.asks))

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
    """Return what runs coroutines, one after the other, on the fastest event loop there is."""
    if find_spec("uvloop") is None:
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
