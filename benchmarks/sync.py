"""Strict mode against the bare client: ``python -m benchmarks.sync``.

Many callers hold and release slots, again and again, at a local remote, which is the
stand-in in a process of its own.  Half of the runs use the client alone.  The other half
use `CalComSync` in strict mode, which sends the same requests.  Runs are interleaved and
the medians compared, because machines are noisy.  Only the ratio is meaningful.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from statistics import median

from slotengine import EventType, SlotEngine, minutes
from slotengine.calcom import CalComClient, CalComSync, SyncedEventType
from slotengine.testing.remote import RateLimit, RateLimits, RemoteCalCom, RemoteEventType

CALLERS = 64
HOLDS = 40  # by each caller, in each run
RUNS = 5

FIRST = datetime(2050, 9, 5, tzinfo=UTC)
TALK = EventType(id="talk", length=minutes(30), all_of=["room"])
MANY = RateLimit(10**9)

Caller = Callable[[datetime], Awaitable[None]]


def serve(pipe: Connection) -> None:
    """Run the remote until it is told to stop."""

    async def main() -> None:
        remote = RemoteCalCom([RemoteEventType(id=1)], limits=RateLimits(address=MANY))
        async with remote:
            pipe.send(remote.url)
            while not await asyncio.to_thread(pipe.poll, 1):
                remote.log.clear()

    asyncio.run(main())


async def storm(caller: Caller, callers: int, holds: int) -> float:
    """Return how many holds were made and released per second."""

    async def one(number: int) -> None:
        for _ in range(holds):
            await caller(FIRST + number * minutes(30))

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(callers)))
    return callers * holds / (time.perf_counter() - began)


async def compare(url: str, *, callers: int, holds: int, runs: int) -> list[tuple[float, float]]:
    """Return the rates of the bare client and of the sync, for each run."""
    async with (
        CalComClient(url, per_minute=None, connections=callers) as client,
        SlotEngine() as engine,
    ):
        engine.add_resource("room")
        engine.add_event_type(TALK)
        async with CalComSync(engine, client, {1: SyncedEventType(TALK)}) as sync:

            async def bare(start: datetime) -> None:
                hold = await client.reserve(1, start)
                await client.delete(hold.uid)

            async def synced(start: datetime) -> None:
                hold = await sync.reserve_slot("talk", start)
                await sync.release(hold.uid)

            await storm(bare, callers, 2)  # open the connections
            rates = [
                (await storm(bare, callers, holds), await storm(synced, callers, holds))
                for _ in range(runs)
            ]
            counted = sync.statistics()
            assert counted.accepted == callers * holds * runs, counted
            assert counted.tracked == 0, counted
    return rates


def measure(*, callers: int, holds: int, runs: int) -> list[tuple[float, float]]:
    """Start a remote, and compare."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    try:
        return asyncio.run(compare(ours.recv(), callers=callers, holds=holds, runs=runs))
    finally:
        ours.send("stop")
        process.join(timedelta(seconds=10).total_seconds())


def main() -> None:
    rates = measure(callers=CALLERS, holds=HOLDS, runs=RUNS)
    for run, (bare, synced) in enumerate(rates, 1):
        print(f"run {run}: client {bare:,.0f}/s, sync {synced:,.0f}/s, {synced / bare:.0%}")
    bare, synced = (median(rate) for rate in zip(*rates, strict=True))
    ratio = median(synced / bare for bare, synced in rates)
    print(
        f"{CALLERS} callers, holds made and released: client {bare:,.0f}/s, "
        f"strict sync {synced:,.0f}/s: {ratio:.0%}"
    )


if __name__ == "__main__":
    main()
