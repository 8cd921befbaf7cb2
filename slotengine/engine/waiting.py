"""Calls that sleep while their commands wait, first come, first served.

The waitlist is the ledger's (`core.ledger.waitlist`): it decides who comes first, and
`Ledger.serve` answers commands in that order.  Here each ticket is mapped to the call that
sleeps for it.  The sweeper serves: the slot is held in the step in which it is found free,
and only then the call is woken.  So no other call comes in between, and no call wakes in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

import anyio

from slotengine.core.ledger.commands import Release
from slotengine.core.ledger.reservation import HELD, Entry
from slotengine.engine.values import Reservation
from slotengine.errors import SlotError

if TYPE_CHECKING:
    from slotengine.core.ledger.ledger import Ledger
    from slotengine.errors import EngineClosed

TRIES_PER_TURN = 64
"""How many commands the sweeper tries before other tasks run: as many as a turn has calls."""


class SleepingCall:
    """A call that sleeps until its command is answered: by a reservation, or an error."""

    __slots__ = ("answered", "entry", "error", "given", "keep")

    def __init__(self, *, keep: bool = False) -> None:
        self.answered = anyio.Event()
        self.keep = keep
        """Whether what it was given stays if the call is cancelled."""
        self.entry: Entry | None = None
        """What it was given; by the time the call wakes, it may be forgotten."""
        self.given: Reservation | None = None
        """The same, as it was when it was given."""
        self.error: Exception | None = None


OnAnswer = Callable[[int, Entry | Exception], None]


class SleepingCalls:
    """The calls that sleep for the tickets of one ledger's waitlist."""

    def __init__(self, ledger: Ledger, wake_sweeper: Callable[[], None]) -> None:
        self._ledger = ledger
        self._wake_sweeper = wake_sweeper
        # Several for one ticket, if a command is repeated while it waits.
        self._calls: dict[int, list[SleepingCall]] = {}
        self.on_answer: OnAnswer | None = None
        """Called with each ticket and its answer, before the call is woken; for tests and tools."""

    async def answer(self, ticket: int, *, keep: bool = False) -> Reservation:
        """Sleep until the command with a ticket is answered.

        Returns the reservation, or raises what refused it.  If the call is cancelled, its
        command leaves the waitlist, unless another call sleeps for that, and what it was just
        given is passed on, unless it is to ``keep`` that, because the command may be repeated.
        """
        call = SleepingCall(keep=keep)
        calls = self._calls.setdefault(ticket, [])
        calls.append(call)
        try:
            await call.answered.wait()
        except BaseException:
            self.abandon(ticket, call)
            raise
        finally:
            calls.remove(call)
            if not calls:
                del self._calls[ticket]
        if call.error is not None:
            raise call.error
        assert call.given is not None
        return call.given

    def abandon(self, ticket: int, call: SleepingCall) -> None:
        """Pass on what a cancelled call waited for, or was just given.

        With a key or a command id it is kept: whoever repeats the request with that gets it.
        It is also kept if it was changed since, because somebody knows of it.
        """
        ledger, entry = self._ledger, call.entry
        now = ledger.state.now
        if self._calls[ticket] == [call]:
            ledger.leave(ticket)
        if entry is not None and entry.is_known():
            kept = call.keep or entry.key is not None or entry.version > 1
            if not kept and entry.state_at(now) is HELD:
                ledger.step(Release(entry.uid), now)
        self._wake_sweeper()

    def serve(self, now: int) -> None:
        """Answer some of the commands that can be answered, and wake their calls."""
        for ticket, answer in self._ledger.serve(now, TRIES_PER_TURN):
            if isinstance(answer, Exception):
                self._wake(ticket, answer)
            else:
                (uid,) = answer.answers
                assert isinstance(uid, str)
                self._wake(ticket, self._ledger.state.entries[uid])

    def close(self, closed: Callable[[], EngineClosed]) -> None:
        """Answer all that wait that the engine is closed, each by an error of its own."""
        for waiting in self._ledger.waitlist.clear():
            self._wake(waiting.ticket, closed())

    def _wake(self, ticket: int, answer: Entry | Exception) -> None:
        if self.on_answer is not None:
            self.on_answer(ticket, answer)
        for i, call in enumerate(self._calls.get(ticket, ())):  # of none, if it is the ledger's own
            if isinstance(answer, Exception):
                call.error = _another(answer) if i else answer
            else:
                call.entry = answer
                call.given = Reservation(answer, self._ledger.state.now)
            call.answered.set()


def _another(error: Exception) -> Exception:
    """Return an error that says the same, to be raised in another task."""
    if not isinstance(error, SlotError):  # who knows how to make another one of those
        return error
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin
