"""The ids of one client's commands: for whoever repeats a command that got no answer.

A connection that breaks after the request was sent leaves its caller in doubt: was it done?
With an idempotency key the caller can ask again, but only to reserve.  A command id does it
for every verb, and is the business of the transport, not of the caller: it is made
beside the arguments, sent with them, and sent again with each repeat.  What the engine does
with it is in `slotengine.core.ledger.clients`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Final

from slotengine.core.ledger.clients import IDLE, RANDOM_LENGTH, WINDOW, CommandId, session_id
from slotengine.core.time.instant import to_us
from slotengine.errors import InvalidField

USED_FOR: Final = IDLE // 2
"""How long commands are numbered in one session.

So every command can be repeated for that long at least, whatever became of the others: the
engine admits a session until `IDLE` after its opening, even if nothing of it was accepted."""


class CommandIds:
    """Gives each command of a client an id, under which it can be repeated.

    Takes a function that tells the engine's time, such as ``engine.now``; and, for tests, the
    source of random bytes.  Any number of tasks and threads may share one.

    >>> from datetime import UTC
    >>> from slotengine import LocalEngine, minutes
    >>> engine = LocalEngine()
    >>> engine.add_resource("room-1")
    >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
    >>> ids = CommandIds(engine.now)
    >>> with ids.next() as command_id:
    ...     for attempt in range(3):
    ...         hold = engine.reserve("room-1", nine, minutes(30), command_id=command_id)
    >>> engine.statistics().held
    1
    """

    def __init__(
        self, now: Callable[[], datetime], *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        for name, function in (("now", now), ("random", random)):
            if not callable(function):
                raise InvalidField(name, f"must be a function, not {function!r:.99}")
        self._now = now
        self._random = random
        self._lock = Lock()
        self._session: _Session | None = None

    @contextmanager
    def next(self) -> Iterator[CommandId]:
        """Give the id of a new command, as a context manager that ends with its last attempt.

        Until then the engine remembers what came of the command.  An id is for one command:
        under the same id another one is answered as if it were the first.
        """
        with self._lock:
            session = self._current()
            command_id = session.next()
        try:
            yield command_id
        finally:
            with self._lock:
                session.awaited.pop(command_id.number, None)

    def _current(self) -> _Session:
        """Return the session for the next command: the one there is, if it will do."""
        now, session = to_us(self._now(), "now"), self._session
        if session is None or session.is_used_up(now):
            name = session_id(now, self._random(RANDOM_LENGTH))
            session = self._session = _Session(name, now)
        return session


class _Session:
    """The numbers of one session."""

    def __init__(self, name: bytes, opened: int) -> None:
        self.name = name
        self.opened = opened
        self.process = os.getpid()
        self.number = 0
        self.awaited: dict[int, None] = {}  # in order

    def is_used_up(self, now: int) -> bool:
        """Return whether the next command needs another session.

        That is so after a while; if too many commands were begun since the oldest one that is
        awaited; and in a forked child, which must not give the ids that its parent gives.
        """
        lowest = next(iter(self.awaited), self.number)
        return (
            not self.opened <= now < self.opened + USED_FOR
            or self.number - lowest >= WINDOW
            or self.process != os.getpid()
        )

    def next(self) -> CommandId:
        number = self.number
        self.number += 1
        self.awaited[number] = None
        return CommandId(self.name, number, next(iter(self.awaited)))
