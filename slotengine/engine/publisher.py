"""Who is told what the ledger does: subscribers, observers, and what keeps a journal.

The ledger shows each reservation as a change leaves it, in the middle of a step; the publisher
makes events of that.  When the step is done it hands them out, and the changes to what records
them.  While nobody wants to know, the ledger makes no changes to tell of.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import TYPE_CHECKING

from slotengine.core.ledger.changes import Changes, Forgotten, ReservationChange
from slotengine.core.time.instant import from_us
from slotengine.engine.events import (
    HISTORY_LENGTH,
    Backlog,
    Event,
    Feed,
    Position,
    position_of,
)
from slotengine.engine.values import Reservation
from slotengine.errors import CursorExpired

if TYPE_CHECKING:
    from slotengine.core.ledger.ledger import Ledger
    from slotengine.core.ledger.reservation import Entry


class Publisher:
    """Tells of what one ledger does.  ``backlog`` is how many events are kept."""

    def __init__(self, ledger: Ledger, backlog: int) -> None:
        self._ledger = ledger
        self._history = urandom(HISTORY_LENGTH)
        self._backlog = Backlog(backlog)
        self._events: list[Event] = []
        """Those of the step that is under way."""
        self._keep: Callable[[Changes], None] | None = None
        self.feeds: list[Feed] = []

    # --- Who wants to know -----------------------------------------------------------------

    def record(self, keep: Callable[[Changes], None]) -> None:
        """Hand the changes of each step to a function, when the step is done."""
        self._keep = keep
        self.listen()

    def add_feed(self, feed: Feed) -> None:
        """Give a feed every event from now on, until it is closed."""
        self.feeds.append(feed)
        if feed.can_resume:
            self._backlog.open(self._ledger.state.seq)
        self.listen()

    def close_feeds(self, why: Callable[[], Exception | None]) -> None:
        """Tell every feed that there will be no more, each by an error of its own."""
        for feed in self.feeds:
            feed.close(why())
        self.feeds.clear()

    def listen(self) -> None:
        """Let the ledger tell of changes while somebody wants to know."""
        self.feeds = [feed for feed in self.feeds if not feed.closed]
        ledger, wanted = self._ledger, self.feeds or self._backlog.is_open
        ledger.on_change = ledger.on_forget = self._show if wanted else None
        ledger.on_step = self._tell if wanted or self._keep else None

    # --- Coming back -----------------------------------------------------------------------

    def position(self) -> Position:
        """Return the place in the stream of events after the latest change."""
        return self._position_after(self._ledger.state.seq)

    def missed_after(self, cursor: str) -> list[Event]:
        """Return all events after a cursor.  O(backlog).

        Raises `CursorExpired`, or `InvalidField` for what is no cursor.
        """
        position, latest = position_of(cursor), self.position()
        if position[:2] != latest[:2]:
            raise CursorExpired
        return self._backlog.after(position.seq, latest.seq)

    def _position_after(self, seq: int) -> Position:
        return Position(self._history, self._ledger.state.terms.shard, seq)

    # --- Telling ---------------------------------------------------------------------------

    def _show(self, change: ReservationChange | Forgotten, entry: Entry) -> None:
        """Make an event of a change, with the reservation as the change leaves it."""
        seq = change.seq
        # Of several with one number, it is only from the last that one can go on.
        is_last = not isinstance(change, Forgotten) or entry.uid == change.uids[-1]
        position = self._position_after(seq if is_last else seq - 1)
        one = Reservation(entry, change.at)
        self._events.append(Event(change.verb, from_us(change.at), one, seq, position))

    def _tell(self, changes: Changes) -> None:
        """Tell what was done in a step."""
        if self._keep is not None:
            self._keep(changes)
        events, self._events = self._events, []
        backlog, heard = self._backlog, any(feed.can_resume for feed in self.feeds)
        unheard = False
        for event in events:
            backlog.add(event, heard=heard)
            for feed in self.feeds:
                if feed.closed:
                    unheard = True
                else:
                    feed.publish(event)
        if unheard or not (self.feeds or backlog.is_open):
            self.listen()
