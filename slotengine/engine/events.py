"""Telling subscribers what happened, without ever waiting for them.

Each subscriber has a buffer of its own, its `Feed`.  When it is full the oldest
event in it makes way, and the subscriber is told how many it missed before it is
given the next.  Publishing is a few list operations per subscriber, and nothing
at all while there is none.

The engine keeps feeds, and no `Subscription`, so that one which is dropped is
collected, and no longer fed.  A task that waits for an event is kept by what it waits for.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from threading import get_ident
from types import TracebackType
from typing import Final, NamedTuple, NoReturn, Self

import anyio
import anyio.lowlevel

from slotengine.core.ledger.checks import is_count
from slotengine.core.ledger.reservation import Verb
from slotengine.engine.cursors import cursor_of, read_cursor
from slotengine.engine.values import Reservation
from slotengine.errors import CursorExpired, EngineMisused, InvalidField

LARGEST_BUFFER = 2**31 - 1

READS_PER_TURN = 1024
"""A reader with a full buffer gives way to other tasks once in this many events.

More than the verbs and the sweeper publish before they give way (64 and 128),
so that a reader that does nothing else keeps up with any storm."""


HISTORY_LENGTH: Final = 8
"""How many random bytes name the history of an engine."""

_CURSOR: Final = struct.Struct(f">B{HISTORY_LENGTH}sHQ")
_FORM: Final = 1


class Position(NamedTuple):
    """A place in the stream of events: after the change number ``seq`` of one history."""

    history: bytes
    shard: int
    seq: int

    def cursor(self) -> str:
        """Return the position as text.

        >>> Position(bytes(8), 0, 7).cursor()
        'AQAAAAAAAAAAAAAAAAAAAAAABw=='
        """
        return cursor_of(_CURSOR, _FORM, *self)


def position_of(cursor: object) -> Position:
    """Return what a cursor says.  Raises `InvalidField` for what is no cursor.

    >>> position_of(Position(bytes(8), 0, 7).cursor()).seq
    7
    """
    found = read_cursor(_CURSOR, cursor)
    if found is None or found[0] != _FORM:
        raise InvalidField("after", f"must be the cursor of an event, not {cursor!r:.99}")
    return Position(*found[1:])


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one reservation, told after the fact and exactly once.

    ``at`` is when it was decided; for an expiry, when it was marked: the moment
    it took effect is the reservation's ``until``.  ``seq`` is the number of the change: it
    rises from event to event, but for bookings that were forgotten together.
    """

    verb: Verb
    at: datetime
    reservation: Reservation
    seq: int
    position: Position = field(repr=False)
    """After which place in the stream events go on from here."""

    @property
    def cursor(self) -> str:
        """What `SlotEngine.subscribe` takes to go on ``after`` this event.  Opaque text."""
        return self.position.cursor()


class Backlog:
    """The latest events, for subscribers that come back.

    It is filled while there are subscribers, and for as many events afterwards as it keeps;
    if no subscriber has come back by then, none of what it has is of use.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._events: deque[Event] = deque()
        self._since = 0
        """All events after this number are here."""
        self._unheard = 0
        self.is_open = False

    def open(self, seq: int) -> None:
        """Keep events from now on, if that is not so already; ``seq`` is the latest number."""
        self._unheard = 0
        if not self.is_open:
            self.is_open, self._since = self.size > 0, seq

    def add(self, event: Event, *, heard: bool) -> None:
        """Keep an event; ``heard`` says whether there is a subscriber."""
        if not self.is_open:
            return
        self._events.append(event)
        if len(self._events) > self.size:
            self._since = self._events.popleft().seq
        self._unheard = 0 if heard else self._unheard + 1
        if self._unheard >= self.size:
            self.is_open = False
            self._events.clear()

    def after(self, seq: int, latest: int) -> list[Event]:
        """Return all events after a number; ``latest`` is that of the latest change.

        Raises `CursorExpired` if some of them are not here.
        """
        if not (self.is_open and self._since <= seq <= latest):
            raise CursorExpired
        return [event for event in self._events if event.seq > seq]


@dataclass(frozen=True, slots=True)
class Lagged:
    """The subscriber was too slow, and missed this number of events at this point."""

    missed: int


class Feed:
    """What the engine keeps of a subscription: where it puts events."""

    can_resume = True
    """Whether its reader may come back, and go on after a cursor."""

    def __init__(self, size: int, missed: Iterable[Event] = ()) -> None:
        self.resumed = deque(missed)
        """Events before those of the buffer."""
        self.buffer: deque[Event] = deque(maxlen=size)
        self.wake = anyio.Event()
        self.closed = False
        self.why: Exception | None = None
        self.missed = 0
        self.unreported = 0

    def publish(self, event: Event) -> None:
        """Give the subscriber an event.  O(1); never waits, never fails."""
        if len(self.buffer) == self.buffer.maxlen:
            self.missed += 1
            self.unreported += 1
        self.buffer.append(event)
        self.wake.set()

    def close(self, why: Exception | None = None) -> None:
        """Tell the subscriber that there will be no more, and why, if that is an error."""
        self.closed = True
        self.why = why
        self.wake.set()


class Observer(Feed):
    """A function that is called with each event; see `SlotEngine.observe`."""

    can_resume = False

    def __init__(self, listen: Callable[[Event], None]) -> None:
        if not callable(listen):
            raise InvalidField("listen", f"must be a function of an event, not {listen!r}")
        super().__init__(1)
        self._listen = listen

    def publish(self, event: Event) -> None:
        """Call the function."""
        self._listen(event)


class Subscription:
    """A stream of events, from the moment it was opened until it is closed or dropped.

    It is an async iterator for one task, and a context manager that closes it::

        with engine.subscribe() as events:
            async for event in events: ...

    Closing it, or the engine, ends the iteration once the buffer is empty.  After a
    crash of the engine, what comes then is `EngineClosed`.  It belongs
    to the engine's event loop: elsewhere, all of this raises `EngineMisused`, and so
    does a second task that would wait for the same stream.
    """

    def __init__(
        self,
        size: int,
        check: Callable[[], None],
        closed: Callable[[], None],
        start: Position,
        missed: Iterable[Event] = (),
    ) -> None:
        if not is_count(size) or size > LARGEST_BUFFER:
            raise InvalidField("buffer", f"must be from 1 to {LARGEST_BUFFER} events")
        self.feed = Feed(size, missed)
        self._check = check
        self._tell_closed = closed
        self._position = start
        self._thread = get_ident()
        self._reads_left = READS_PER_TURN
        self._is_read = False

    def __del__(self) -> None:
        # Run by the cycle collector, perhaps, at any time and in any thread: so it is but noted,
        # and the engine forgets the feed when it next publishes.
        if hasattr(self, "feed"):  # else it was refused
            self.feed.closed = True
            self.feed.resumed.clear()
            self.feed.buffer.clear()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled."""
        raise TypeError("a Subscription cannot be copied or pickled: subscribe again")

    @property
    def missed(self) -> int:
        """How many events this subscriber was too slow for, ever."""
        return self.feed.missed

    @property
    def cursor(self) -> str:
        """Where the stream stands: ``after`` it, all that was not read yet would be told."""
        return self._position.cursor()

    def close(self) -> None:
        """End the stream: what is buffered can still be read, then the iteration ends."""
        self._check()
        self.feed.close()
        self._tell_closed()

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
        if get_ident() != self._thread:
            self._check()
        # Give way before anything is taken out, so that a cancelled reader loses nothing; and
        # now and then only, or a storm would publish hundreds of events for each one read.
        self._reads_left -= 1
        if self._reads_left <= 0:
            self._reads_left = READS_PER_TURN
            await anyio.lowlevel.checkpoint()
        feed = self.feed
        if feed.resumed:
            return self._read(feed.resumed.popleft())
        while not feed.buffer:
            if feed.closed:
                if feed.why is not None:
                    raise feed.why
                raise StopAsyncIteration
            await self._event()
        if feed.unreported:
            lagged = Lagged(feed.unreported)
            feed.unreported = 0
            return lagged
        return self._read(feed.buffer.popleft())

    def _read(self, event: Event) -> Event:
        self._position = event.position
        return event

    async def _event(self) -> None:
        """Wait until there is one, or the end."""
        self._check()
        if self._is_read:
            raise EngineMisused("another task waits for this stream: let each task subscribe")
        self.feed.wake = anyio.Event()
        self._is_read = True
        try:
            await self.feed.wake.wait()
        finally:
            self._is_read = False
