"""PostgreSQL's exclusion constraint, used by sixteen connections concurrently.

The constraint decides: no two rows of one resource may overlap.  It knows nothing of
time, so if the first insert is refused, lapsed holds in the way are removed, and the
insert is tried again.  All this is one function on the server, one round trip and one
transaction, and is prepared once.  Opening hours are checked before.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.peers import Attempt
from benchmarks.peers.crowd import Do, let_loose, runner
from benchmarks.peers.servers import postgres
from benchmarks.targets import RecordingTarget
from benchmarks.workloads import TTL, Outcome, Step, Storm, shares, steps
from slotengine import FixedWindows
from slotengine.engine.uids import new_uid

Connection = Any  # asyncpg ships no types
CONNECTIONS = 16
NEVER = 2**63 - 1

SCHEMA = (Path(__file__).parent / "postgres.sql").read_text()
RESERVE = "SELECT reserve($1, $2, $3, $4, $5)"
CONFIRM = f"UPDATE holds SET until = {NEVER} WHERE uid = $1 AND until > $2"
RELEASE = "DELETE FROM holds WHERE uid = $1 AND until > $2"


@contextmanager
def exclusion(storm: Storm) -> Iterator[Attempt]:
    """Run a server, and let sixteen connections share each storm."""
    divided = shares(storm, steps(storm, RecordingTarget(storm)), CONNECTIONS)
    numbers = {name: number for number, name in enumerate(storm.resources)}
    requests = [
        (numbers[request.resource], request.start, request.end) for request in storm.requests
    ]
    with postgres() as socket, runner() as loop:
        connections = loop.run(_connect(socket))

        def attempt(timings: array[int] | None = None) -> Outcome:
            return loop.run(_storm(storm, divided, requests, connections, timings))

        try:
            yield attempt
        finally:
            loop.run(_disconnect(connections))


async def _connect(socket: Path) -> list[Connection]:
    connections = [
        await asyncpg.connect(host=str(socket), user="postgres", database="postgres")
        for _ in range(CONNECTIONS)
    ]
    await connections[0].execute(SCHEMA)
    return connections


async def _disconnect(connections: Sequence[Connection]) -> None:
    for connection in connections:
        await connection.close()


async def _storm(
    storm: Storm,
    divided: list[list[Step]],
    requests: list[tuple[int, int, int]],
    connections: Sequence[Connection],
    timings: array[int] | None,
) -> Outcome:
    await connections[0].execute("TRUNCATE holds")
    await connections[0].execute("CHECKPOINT")
    covers, uids = FixedWindows(storm.windows).covers, [""] * len(requests)
    callers = [await _caller(connection, requests, covers, uids) for connection in connections]
    return await let_loose(storm, divided, callers, timings)


async def _caller(
    connection: Connection,
    requests: list[tuple[int, int, int]],
    covers: Callable[[int, int], bool],
    uids: list[str],
) -> Do:
    """Return a function that performs steps on a connection.  The table has a uid per request."""
    reserve = (await connection.prepare(RESERVE)).fetchval
    ends = {
        verb: await connection.prepare(statement)
        for verb, statement in (("confirm", CONFIRM), ("release", RELEASE))
    }

    async def do(step: Step) -> bool:
        if step.verb == "reserve":
            resource, start, end = requests[step.request]
            if not covers(start, end):
                return False
            uid = uids[step.request] = new_uid()
            slot = asyncpg.Range(start, end)
            return bool(await reserve(uid, resource, slot, step.now + TTL, step.now))
        statement = ends[step.verb]
        await statement.fetch(uids[step.request], step.now)
        return str(statement.get_statusmsg()).endswith(" 1")

    return do
