"""A connection that loses answers, and a client that repeats what got none.

Run it from a checkout with ``python -m examples.repeats``.  Each command is sent twice, and
each would be done twice: two holds instead of one.  With an id from `CommandIds` it is done
once, and both attempts are answered alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import anyio

from slotengine import Claim, CommandId, CommandIds, Engine, Request, SlotEngine, minutes

T = TypeVar("T")
Command: TypeAlias = Callable[[Engine, CommandId | None], Awaitable[T]]

NINE = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)


class Connection:
    """Carries commands to an engine, and loses the first answer to each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lost: set[int] = set()

    async def send(self, command: Command[T], number: int, command_id: CommandId | None) -> T:
        """Send a command.  Raises `ConnectionResetError` when it is done but nobody is told."""
        answer = await command(self._engine, command_id)
        if number not in self._lost:
            self._lost.add(number)
            raise ConnectionResetError
        return answer


class Client:
    """Sends each command until there is an answer, with an id or without one."""

    def __init__(self, connection: Connection, ids: CommandIds | None) -> None:
        self._connection = connection
        self._ids = ids
        self._sent = 0

    async def do(self, command: Command[T]) -> T:
        """Return the answer to a command, however often it has to be sent."""
        self._sent += 1
        with nullcontext() if self._ids is None else self._ids.next() as command_id:
            while True:
                try:
                    return await self._connection.send(command, self._sent, command_id)
                except ConnectionResetError:
                    continue


async def book(client: Client) -> None:
    """Hold three places, move one, confirm it, and put another booking in its place."""
    for _ in range(3):
        hold = await client.do(
            lambda engine, sent: engine.reserve("hall", NINE, HALF_HOUR, command_id=sent)
        )
    moved = await client.do(
        lambda engine, sent: engine.move(hold.uid, NINE + HALF_HOUR, command_id=sent)
    )
    await client.do(lambda engine, sent: engine.confirm(moved.uid, command_id=sent))
    later = Request(NINE + 2 * HALF_HOUR, HALF_HOUR, (Claim("hall"),))
    await client.do(lambda engine, sent: engine.adopt(later, command_id=sent))


async def main() -> None:
    """Do the same with ids and without, and print what the engine has in the end."""
    for with_ids in (True, False):
        async with SlotEngine() as engine:
            engine.add_resource("hall", capacity=40)
            ids = CommandIds(engine.now) if with_ids else None
            await book(Client(Connection(engine), ids))
            found = engine.statistics()
            print(
                f"{'with' if with_ids else 'without'} command ids: "
                f"{found.held} holds, {found.confirmed} bookings"
            )


if __name__ == "__main__":
    anyio.run(main)
