"""How far the remote's clock is ahead of ours, as its answers show.

An answer says until when a hold lives by the remote's clock, and for how long:
so it says what time it was there when the hold was made, which was between the
request and its answer.  The middle of those is the best guess, and half of the
time between them how wrong it may be.

Pure.  Times are UTC microseconds.
"""

from __future__ import annotations


class Drift:
    """The last measure, and the largest.

    >>> drift = Drift()
    >>> drift.measure(until=1_060, lives=60, sent=980, received=990)
    >>> drift.ahead, drift.error, drift.most
    (15, 5, 15)
    """

    def __init__(self) -> None:
        self.measured = False
        self.ahead = 0
        """Negative if it is behind."""
        self.error = 0
        self.most = 0
        """The largest that was measured, either way."""

    def measure(self, until: int, lives: int, sent: int, received: int) -> None:
        """Learn from an answer: what was made between two moments lives so long, until then."""
        assert sent <= received
        self.measured = True
        self.ahead = until - lives - (sent + received) // 2
        self.error = (received - sent + 1) // 2
        self.most = max(self.most, abs(self.ahead))
