"""What time it is, and waiting for a moment.

A clock is injected into the engine, so that tests and simulations bring their
own (`slotengine.testing.SimClock`).
"""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """The only source of time for an engine."""

    def now(self) -> int:
        """Return the time as UTC microseconds since the Unix epoch."""

    async def wait(self, wake: anyio.Event, until: int) -> None:
        """Return when ``wake`` is set or ``until`` has come, or earlier for no reason."""


LONGEST_NAP_S = 1.0


class SystemClock:
    """The wall clock, except that it never goes backwards.

    It runs on the monotonic clock, set by the wall clock at the start, so that
    a wall clock that is set back neither stops nor prolongs any hold.  When
    the wall clock is found ahead, after the machine slept or was set forward,
    this one follows it, within a second while a `wait` is under way; and stays
    there, should that have been a mistake.

    >>> clock = SystemClock()
    >>> abs(clock.now() * 1000 - time.time_ns()) < 1_000_000_000
    True
    """

    __slots__ = ("offset_ns",)

    def __init__(self) -> None:
        self.offset_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Return the time as UTC microseconds since the Unix epoch."""
        return (time.monotonic_ns() + self.offset_ns) // 1000

    async def wait(self, wake: anyio.Event, until: int) -> None:
        """Return when ``wake`` is set, ``until`` has come, or a second is over."""
        self.offset_ns = max(self.offset_ns, time.time_ns() - time.monotonic_ns())
        delay_s = (until - self.now()) / 1_000_000
        with anyio.move_on_after(max(0.0, min(delay_s, LONGEST_NAP_S))):
            await wake.wait()
