"""Valkey with a script that decides on the server: pipelined, and one call per operation.

Each resource has a sorted set of taken spans, by start.  With pipelining, a thousand
operations are sent at once, without waiting for an answer.  A real caller could not do
that, because it must know that a hold was accepted before it confirms it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import valkey
import valkey.asyncio

from benchmarks.peers import Attempt
from benchmarks.peers.crowd import Do, let_loose, runner
from benchmarks.peers.servers import valkey as server
from benchmarks.targets import RecordingTarget
from benchmarks.workloads import TTL, Outcome, Step, Storm, outcome, shares, steps
from slotengine import FixedWindows
from slotengine.engine.uids import new_uid

CALLERS = 64
AT_ONCE = 1_000

SCRIPT = (Path(__file__).parent / "valkey.lua").read_text()


class Asking:
    """The arguments of the script for each step of a storm.  Requests outside hours skip it."""

    def __init__(self, storm: Storm) -> None:
        self.covers = FixedWindows(storm.windows).covers
        self.requests = storm.requests
        self.uids = [""] * len(storm.requests)

    def is_open(self, step: Step) -> bool:
        """Return whether a step is within opening hours."""
        request = self.requests[step.request]
        return self.covers(request.start, request.end)

    def __call__(self, step: Step) -> tuple[object, ...]:
        resource, start, end, _, _ = self.requests[step.request]
        if step.verb != "reserve":
            return 1, resource, step.verb, self.uids[step.request], start, step.now
        uid = self.uids[step.request] = new_uid()
        return 1, resource, step.verb, uid, start, step.now, end, step.now + TTL


@contextmanager
def pipelined(storm: Storm) -> Iterator[Attempt]:
    """Run a server, and send it a thousand operations at a time."""
    in_order = steps(storm, RecordingTarget(storm))
    with server() as socket:
        client: Any = valkey.Valkey(unix_socket_path=str(socket))
        sha = client.script_load(SCRIPT)

        def attempt(timings: array[int] | None = None) -> Outcome:
            client.flushdb()
            decisions, asking = bytearray(len(storm.requests)), Asking(storm)
            began = perf_counter()
            for first in range(0, len(in_order), AT_ONCE):
                batch = in_order[first : first + AT_ONCE]
                asked = [step for step in batch if asking.is_open(step)]
                sent = perf_counter_ns()
                answers = _send(client, sha, map(asking, asked))
                if timings is not None:
                    timings.extend([perf_counter_ns() - sent] * len(batch))
                for step, accepted in zip(asked, answers, strict=True):
                    if step.verb == "reserve":
                        decisions[step.request] = accepted
                    else:
                        assert accepted, step
            return outcome(len(in_order), decisions, perf_counter() - began)

        try:
            yield attempt
        finally:
            client.close()


def _send(client: Any, sha: str, batch: Iterable[tuple[object, ...]]) -> list[int]:
    pipe = client.pipeline(transaction=False)
    for arguments in batch:
        pipe.evalsha(sha, *arguments)
    answers: list[int] = pipe.execute()
    return answers


@contextmanager
def one_by_one(storm: Storm) -> Iterator[Attempt]:
    """Run a server, and let 64 callers, each with a connection, share each storm."""
    divided = shares(storm, steps(storm, RecordingTarget(storm)), CALLERS)
    with server() as socket, runner() as loop:
        clients: list[Any] = [
            valkey.asyncio.Valkey(unix_socket_path=str(socket), single_connection_client=True)
            for _ in range(CALLERS)
        ]

        async def storming(timings: array[int] | None) -> Outcome:
            await clients[0].flushdb()
            sha = await clients[0].script_load(SCRIPT)
            asking = Asking(storm)
            callers = [caller(one, sha, asking) for one in clients]
            return await let_loose(storm, divided, callers, timings)

        def caller(client: Any, sha: str, asking: Asking) -> Do:
            async def do(step: Step) -> bool:
                return asking.is_open(step) and bool(await client.evalsha(sha, *asking(step)))

            return do

        async def close() -> None:
            for client in clients:
                await client.aclose()

        def attempt(timings: array[int] | None = None) -> Outcome:
            return loop.run(storming(timings))

        try:
            yield attempt
        finally:
            loop.run(close())
