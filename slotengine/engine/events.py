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

from slotengine.core.proposal import is_count
from slotengine.core.reservation import Verb
from slotengine.engine.values import Reservation
from slotengine.errors import InvalidField

LARGEST_BUFFER = 2**31 - 1

READS_PER_TURN = 1024
"""A reader with a full buffer gives way to other tasks once in so many events.

More than the verbs and the sweeper publish before they give way (64 and 128),
so that a reader that does nothing else keeps up with any storm."""


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
        if not is_count(size) or size > LARGEST_BUFFER:
            raise InvalidField("buffer", f"must be from 1 to {LARGEST_BUFFER} events")
        self._buffer: deque[Event] = deque(maxlen=size)
        self._unsubscribe = unsubscribe
        self._wake = anyio.Event()
        self._closed = False
        self._unreported = 0
        self._reads_left = READS_PER_TURN
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
        # Give way before anything is taken out, so that a cancelled reader loses nothing; and
        # now and then only, or a storm would publish hundreds of events for each one read.
        self._reads_left -= 1
        if self._reads_left <= 0:
            self._reads_left = READS_PER_TURN
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
