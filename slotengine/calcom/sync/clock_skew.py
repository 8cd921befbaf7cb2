"""Derives from the remote's responses how far its clock is ahead, and whether it was adjusted.

Two things in a response tell the remote's time.  A response that makes a hold
says until when the hold lives, and for how long; and every response may have a
``Date`` in whole seconds (RFC 9110, 6.6.1).  Either was true at some moment
between the request and its response, which bounds the skew from both sides.

A ``Date`` may come from a proxy whose clock differs.  So each kind of
observation is compared only with its own kind.  A clock was adjusted if the present
and the past observation cannot both be true of one clock that runs steadily,
nor of two clocks that differ by less than a second.  A change of three seconds
plus the duration of the requests is always noticed.

Pure.  Times are UTC microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from slotengine.core.time.instant import SECOND


class SkewRange(NamedTuple):
    """How far a clock is ahead, or by how much it was adjusted: a lower and an upper bound."""

    least: int
    most: int

    @property
    def middle(self) -> int:
        """The best estimate."""
        return (self.least + self.most) // 2

    @property
    def error(self) -> int:
        """The largest error of the estimate."""
        return (self.most - self.least + 1) // 2

    def plus(self, other: SkewRange) -> SkewRange:
        """Return the range of the sum of both.

        >>> SkewRange(10, 20).plus(SkewRange(-1, 1))
        SkewRange(least=9, most=21)
        """
        return SkewRange(self.least + other.least, self.most + other.most)


NO_CHANGE: Final = SkewRange(0, 0)

TOLERANCE: Final = SECOND
"""How far the clocks of several servers behind one address may differ."""

SkewSnapshot = tuple[SkewRange | None, SkewRange | None]
"""The skew at some moment, by holds and by dates; None if there was no observation yet."""


@dataclass(slots=True)
class _Estimate:
    """What one kind of observation has shown."""

    first: SkewRange | None = None
    now: SkewRange | None = None

    def learn(self, new: SkewRange) -> SkewRange:
        """Add an observation; return by how much the clock was adjusted since the last one."""
        change = _change(self.now, new)
        known = self.now
        # Of two that agree keep the narrower, so that many small changes are noticed in the end.
        if known is None or change != NO_CHANGE or new.error < known.error:
            self.now = new
        self.first = self.first or new
        return change

    def change_since(self, then: SkewRange | None) -> SkewRange:
        """Return by how much the clock was adjusted since an earlier observation."""
        return _change(then or self.first, self.now)


def _change(then: SkewRange | None, now: SkewRange | None) -> SkewRange:
    """Return by how much a clock was adjusted between two observations of its skew."""
    if then is None or now is None:
        return NO_CHANGE
    moved = SkewRange(now.least - then.most, now.most - then.least)
    certain = moved.least > TOLERANCE or moved.most < -TOLERANCE
    return moved if certain else NO_CHANGE


class ClockSkew:
    """The remote's clock skew, its maximum, and its adjustments since any moment.

    >>> clock_skew = ClockSkew()
    >>> clock_skew.observe_hold(until=1_060, lives=60, sent=980, received=990)
    False
    >>> clock_skew.ahead, clock_skew.error, clock_skew.largest
    (15, 5, 15)
    >>> clock_skew.observe_date(date=0, sent=1_000, received=1_000)
    False
    >>> then = clock_skew.snapshot
    >>> clock_skew.observe_date(date=3_000_000, sent=1_000, received=1_000)
    True
    >>> clock_skew.changed_since(then), clock_skew.changed_since(clock_skew.snapshot)
    (SkewRange(least=0, most=4000010), SkewRange(least=0, most=0))
    """

    def __init__(self) -> None:
        self.hold_observed = False
        """Whether a hold has shown how far the clock is ahead."""
        self.ahead = 0
        """The best estimate of the skew; negative if the remote's clock is behind."""
        self.error = 0
        """The largest error of ``ahead``."""
        self.largest = 0
        """The largest skew that holds have shown, in either direction."""
        self.jumps = 0
        """How often the clock was adjusted."""
        self._holds = _Estimate()
        self._dates = _Estimate()

    @property
    def known(self) -> bool:
        """Whether anything has shown how far the clock is ahead."""
        return self.hold_observed or self._dates.now is not None

    @property
    def snapshot(self) -> SkewSnapshot:
        """What is known now; keep it with any time that is computed from it."""
        return self._holds.now, self._dates.now

    def changed_since(self, snapshot: SkewSnapshot) -> SkewRange:
        """Return the largest possible adjustments since the snapshot, back and ahead.

        `NO_CHANGE` unless it was certainly adjusted.  If holds and dates disagree,
        the range contains both.
        """
        holds, dates = snapshot
        one, other = self._holds.change_since(holds), self._dates.change_since(dates)
        return SkewRange(min(0, one.least, other.least), max(0, one.most, other.most))

    def observe_hold(self, until: int, lives: int, sent: int, received: int) -> bool:
        """Learn from a hold that lives for ``lives`` microseconds, until ``until`` there.

        It was made between ``sent`` and ``received``.  Return whether the clock
        was adjusted since the last hold.
        """
        assert sent <= received
        new = SkewRange(until - lives - received, until - lives - sent)
        self.hold_observed = True
        self._set(new)
        return self._count(self._holds.learn(new))

    def observe_date(self, date: int, sent: int, received: int) -> bool:
        """Learn from the date of a response that was made between ``sent`` and ``received``.

        The date is rounded down to a second.  Return whether the clock was adjusted
        since the last date.
        """
        assert sent <= received
        new = SkewRange(date - received, date + SECOND - sent)
        change = self._dates.learn(new)
        if self._holds.now is None:
            self.ahead, self.error = new.middle, new.error
        elif change != NO_CHANGE:
            # Probably the clock by which holds end was adjusted as well.
            self._holds.now = self._holds.now.plus(change)
            self._set(self._holds.now)
        return self._count(change)

    def _set(self, skew: SkewRange) -> None:
        self.ahead, self.error = skew.middle, skew.error
        self.largest = max(self.largest, abs(self.ahead))

    def _count(self, change: SkewRange) -> bool:
        self.jumps += change != NO_CHANGE
        return change != NO_CHANGE
