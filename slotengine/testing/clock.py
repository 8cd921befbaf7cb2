"""A virtual clock, which stands still until it is advanced."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import anyio.lowlevel

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import FIRST_US, LAST_US, duration_us, from_us, to_us
from slotengine.errors import InvalidField


class SimClock:
    """A virtual clock for an engine, so that no test waits.

    >>> from datetime import UTC
    >>> from slotengine import SlotEngine, minutes
    >>> async def main():
    ...     clock = SimClock(datetime(2030, 1, 7, 8, tzinfo=UTC))
    ...     async with SlotEngine(clock=clock) as engine:
    ...         engine.add_resource("room-1")
    ...         start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    ...         hold = await engine.reserve("room-1", start, minutes(30))
    ...         await clock.advance(minutes(5))
    ...         print((await engine.get(hold.uid)).state, engine.statistics().expired)
    >>> anyio.run(main)
    State.EXPIRED 1
    """

    def __init__(self, start: datetime) -> None:
        self._now = to_us(start, "start")
        self._waiting: list[tuple[int, anyio.Event]] = []

    def now(self) -> int:
        """Return the virtual time as UTC microseconds since the Unix epoch."""
        return self._now

    @property
    def moment(self) -> datetime:
        """The virtual time."""
        return from_us(self._now)

    def set(self, moment: datetime) -> None:
        """Jump to a moment, forward or back, and wake the tasks that waited for it.

        They run when the caller next gives way to other tasks.
        """
        self._now = to_us(moment, "moment")
        for until, wake in self._waiting:
            if until <= self._now:
                wake.set()

    async def advance(self, by: timedelta) -> None:
        """Advance the time, and return when all tasks that this wakes have nothing left to do.

        Raises `InvalidField` if the new time is not in the years 1 to 9999.
        """
        moment = self._now + duration_us(by, "by")
        if not FIRST_US <= moment <= LAST_US:
            raise InvalidField(
                "by", f"must not lead out of the calendar, the years 1 to 9999, as {by} does"
            )
        self.set(from_us(moment))
        for _ in range(16):
            # On asyncio, the call below sleeps for a tenth of a second if a task is not blocked
            # yet.  Most are after a few turns.
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()

    @property
    def next_wake(self) -> datetime | None:
        """The next moment for which a task waits, or None."""
        until = min((until for until, _ in self._waiting), default=NEVER)
        return None if until >= LAST_US else from_us(until)

    async def advance_to(self, moment: datetime) -> None:
        """Advance to a moment, and stop at each moment before it for which a task waits.

        So every sweep runs at the moment it is due, as if time passed.  `advance` jumps
        there at once, as if the machine had slept.
        """
        to_us(moment, "moment")  # refuse a wrong value at once
        await self.advance(timedelta())  # let tasks that are about to wait do so
        while (stop := self.next_wake) is not None and self.moment <= stop < moment:
            await self.advance(stop - self.moment)
        await self.advance(moment - self.moment)

    async def wait(self, wake: anyio.Event, until: int) -> None:
        """Return when ``wake`` is set or the clock has reached ``until``."""
        if until <= self._now:
            return
        waiter = (until, wake)
        self._waiting.append(waiter)
        try:
            await wake.wait()
        finally:
            self._waiting.remove(waiter)
