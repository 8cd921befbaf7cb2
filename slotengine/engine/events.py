"""Telling subscribers what happened, without ever waiting for them.

Each subscriber has a buffer of its own.  When it is full the oldest event in it
makes way, and the subscriber is told how many it missed before it is given the
next.  Publishing is a few list operations per subscriber, and nothing at all
while there is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel

from slotengine.core.reservation import Verb
from slotengine.engine.values import Reservation
from slotengine.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one reservation, told after the fact and exactly once.

    ``at`` is when it was decided; for an expiry, when it was marked: the moment
    it took effect is the reservation's ``until``.
    """

    verb: Verb
    at: datetime
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class Lagged:
    """The subscriber was too slow, and missed so many events at this point of the stream."""

    missed: int


class Subscription:
    """A stream of events, from the moment it was opened until it is closed.

    It is an async iterator for one task, and a context manager that closes it::

        with engine.subscribe() as events:
            async for event in events: ...

    Closing it, or leaving the engine, ends the iteration once the buffer is
    empty.
    """

    def __init__(self, size: int, unsubscribe: Callable[[Subscription], None]) -> None:
        if size < 1:
            raise InvalidField("buffer", "must be at least 1 event")
        self._buffer: deque[Event] = deque(maxlen=size)
        self._unsubscribe = unsubscribe
        self._wake = anyio.Event()
        self._closed = False
        self._unreported = 0
        self.missed = 0
        """How many events this subscriber was too slow for, ever."""

    def publish(self, event: Event) -> None:
        """Give the subscriber an event.  O(1); never waits, never fails."""
        if len(self._buffer) == self._buffer.maxlen:
            self.missed += 1
            self._unreported += 1
        self._buffer.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the stream: what is buffered can still be read, then the iteration ends."""
        self._closed = True
        self._unsubscribe(self)
        self._wake.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event | Lagged:
        # Always give way before taking anything out: a cancelled reader loses no
        # event, and one that never catches up cannot keep others from running.
        await anyio.lowlevel.checkpoint()
        while not self._buffer:
            if self._closed:
                raise StopAsyncIteration
            self._wake = anyio.Event()
            await self._wake.wait()
        if self._unreported:
            lagged = Lagged(self._unreported)
            self._unreported = 0
            return lagged
        return self._buffer.popleft()
