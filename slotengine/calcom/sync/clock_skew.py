"""How far the remote's clock is ahead of ours, and whether it was set, as its answers show.

Two things in an answer tell the time there.  One that makes a hold says until
when that lives, and for how long; and every answer may have a ``Date``, in
whole seconds (RFC 9110, 6.6.1).  Either was so at some moment between the
request and its answer: that bounds how far the clock is ahead, from both sides.

The ``Date`` may be that of somebody in between, whose clock is another.  So
each is only compared with its own like: a clock was set if what is said now,
and what was said before, cannot both be true of one that goes on, nor of two
that differ by less than a second.  By how much it must have been set to be
noticed for certain: three seconds, and what the requests took.

Pure.  Times are UTC microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from slotengine.core.instant import SECOND


class Bounds(NamedTuple):
    """How far a clock is ahead, or was set: so much at least, and so much at most."""

    least: int
    most: int

    @property
    def middle(self) -> int:
        """The best guess."""
        return (self.least + self.most) // 2

    @property
    def error(self) -> int:
        """How wrong that may be."""
        return (self.most - self.least + 1) // 2

    def plus(self, other: Bounds) -> Bounds:
        """Return the bounds of what is the sum of both.

        >>> Bounds(10, 20).plus(Bounds(-1, 1))
        Bounds(least=9, most=21)
        """
        return Bounds(self.least + other.least, self.most + other.most)


NOT_AT_ALL: Final = Bounds(0, 0)

TOLERANCE: Final = SECOND
"""The clocks of those who take turns behind one address may differ by so much."""

Stand = tuple[Bounds | None, Bounds | None]
"""How far ahead it was at some moment, as holds told, and as dates; None: as they told first."""


@dataclass(slots=True)
class _Clock:
    """What one kind of answer tells."""

    first: Bounds | None = None
    now: Bounds | None = None

    def learn(self, new: Bounds) -> Bounds:
        """Take an answer into account, and return how far it was set since the last."""
        was_set = _between(self.now, new)
        known = self.now
        # The narrower of two that agree: what is added little by little is noticed in the end.
        if known is None or was_set != NOT_AT_ALL or new.error < known.error:
            self.now = new
        self.first = self.first or new
        return was_set

    def since(self, then: Bounds | None) -> Bounds:
        """Return how far it was set since then."""
        return _between(then or self.first, self.now)


def _between(then: Bounds | None, now: Bounds | None) -> Bounds:
    """Return how far a clock was set that was so far ahead then, and is now."""
    if then is None or now is None:
        return NOT_AT_ALL
    moved = Bounds(now.least - then.most, now.most - then.least)
    certain = moved.least > TOLERANCE or moved.most < -TOLERANCE
    return moved if certain else NOT_AT_ALL


class Drift:
    """How far it is ahead, the farthest that it was, and how far it was set since any moment.

    >>> drift = Drift()
    >>> drift.measure(until=1_060, lives=60, sent=980, received=990)
    False
    >>> drift.ahead, drift.error, drift.most
    (15, 5, 15)
    >>> drift.hear(date=0, sent=1_000, received=1_000)
    False
    >>> then = drift.stand
    >>> drift.hear(date=3_000_000, sent=1_000, received=1_000)
    True
    >>> drift.set_since(then), drift.set_since(drift.stand)
    (Bounds(least=0, most=4000010), Bounds(least=0, most=0))
    """

    def __init__(self) -> None:
        self.measured = False
        """A hold has told how far it is ahead."""
        self.ahead = 0
        """Negative if it is behind."""
        self.error = 0
        self.most = 0
        """The farthest that holds have told, either way."""
        self.jumps = 0
        """How often it was set."""
        self._holds = _Clock()
        self._dates = _Clock()

    @property
    def heard(self) -> bool:
        """Whether anything has told how far it is ahead."""
        return self.measured or self._dates.now is not None

    @property
    def stand(self) -> Stand:
        """What is known now; to be kept with what is reckoned now."""
        return self._holds.now, self._dates.now

    def set_since(self, stand: Stand) -> Bounds:
        """Return how far it may have been set since: back, and ahead.

        If it is not certain that it was set, not at all.  Where holds and dates
        tell different things, as far as either says.
        """
        holds, dates = stand
        one, other = self._holds.since(holds), self._dates.since(dates)
        return Bounds(min(0, one.least, other.least), max(0, one.most, other.most))

    def measure(self, until: int, lives: int, sent: int, received: int) -> bool:
        """Learn from a hold that was made between two moments and lives so long, until then.

        Tell whether the clock was set since the last one.
        """
        assert sent <= received
        new = Bounds(until - lives - received, until - lives - sent)
        self.measured = True
        self._is(new)
        return self._count(self._holds.learn(new))

    def hear(self, date: int, sent: int, received: int) -> bool:
        """Learn from the date of an answer that was made between two moments.

        It is rounded down to a second.  Tell whether the clock was set since the last one.
        """
        assert sent <= received
        new = Bounds(date - received, date + SECOND - sent)
        was_set = self._dates.learn(new)
        if self._holds.now is None:
            self.ahead, self.error = new.middle, new.error
        elif was_set != NOT_AT_ALL:
            # So was the clock by which holds end, as far as one knows.
            self._holds.now = self._holds.now.plus(was_set)
            self._is(self._holds.now)
        return self._count(was_set)

    def _is(self, bounds: Bounds) -> None:
        self.ahead, self.error = bounds.middle, bounds.error
        self.most = max(self.most, abs(self.ahead))

    def _count(self, was_set: Bounds) -> bool:
        self.jumps += was_set != NOT_AT_ALL
        return was_set != NOT_AT_ALL
