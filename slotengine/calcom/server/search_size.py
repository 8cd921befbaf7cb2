"""The size of a search: its cost in requests, and the pieces that it is split into.

The pieces together have the slots of the whole, if nothing changes meanwhile.  For that a
search is cut only at a midnight in the viewer's time zone, after which no slot depends on
the time before.  If the grid is fixed to the clock, that is any midnight; otherwise it is
one at which no host is open.

Pure.  Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from slotengine.core.offer.slot_grid import is_fixed
from slotengine.core.time.instant import DAY
from slotengine.core.time.schedule import Windows
from slotengine.core.time.zone import Zone

HOST_TIME: Final = 372 * DAY
"""The host time (span times hosts) that counts as one request: a month of twelve hosts."""
STARTS: Final = 9_000
"""The number of possible slots that counts as one request: a month, every five minutes."""

PIECE_HOST_TIME: Final = 120 * DAY
PIECE_STARTS: Final = 1_500
"""The most that is searched in one piece, unless a single date has more.

Measured: two or three milliseconds for a piece of this size."""


class SearchSize(NamedTuple):
    """The span, hosts and step of a search."""

    span: int
    hosts: int
    step: int
    """The time from one slot to the next."""

    @property
    def host_time(self) -> int:
        """The time of all hosts, added up."""
        return self.span * self.hosts

    @property
    def starts(self) -> int:
        """The number of possible slots."""
        return self.span // self.step

    @property
    def cost(self) -> int:
        """The number of requests that the search counts as.

        >>> month = SearchSize(31 * DAY, 1, DAY // 96)
        >>> month.cost, month._replace(hosts=50).cost, month._replace(span=3650 * DAY).cost
        (1, 5, 39)
        """
        return max(1, -(-self.host_time // HOST_TIME), -(-self.starts // STARTS))

    @property
    def dates(self) -> int:
        """The number of dates in a piece, at least one."""
        of_one = self._replace(span=DAY)
        most = min(PIECE_HOST_TIME // of_one.host_time, PIECE_STARTS // max(1, of_one.starts))
        return max(1, most)


class SearchGrid(NamedTuple):
    """The grid of slots, and the hours of the hosts."""

    step: int
    offset: int
    zone: Zone
    """The zone of the viewer."""
    optimized: bool
    hours: tuple[Windows | None, ...]
    """The hours of each host; None: always open."""

    def pieces(self, start: int, end: int, dates: int) -> Iterator[tuple[int, int]]:
        """Yield the pieces of a span.

        A piece has as many dates as ``dates``, or more if the span cannot be cut at its end.
        """
        begins, day = start, self.zone.date(start)
        while begins < end:
            day += dates
            cut = self.zone.midnight(day)
            if cut >= end:
                yield begins, end
                return
            if cut > begins and self._may_be_cut(cut):
                yield begins, cut
                begins = cut

    def cutter(self, start: int, end: int) -> SearchGrid:
        """Return the grid without hours, if the span may be cut while hosts are open."""
        fixed = is_fixed(
            step=self.step, offset=self.offset, start=start, end=end,
            zone=self.zone, optimized=self.optimized,
        )  # fmt: skip
        return self._replace(hours=()) if fixed else self

    def _may_be_cut(self, cut: int) -> bool:
        if self.zone.offset(cut + DAY) < self.zone.offset(cut):
            return False  # clocks go back, perhaps to the date before the cut
        # If a host is open shortly before the cut, the slots after it continue the steps of
        # those before it.
        return not any(
            _is_open(each, cut - self.step - self.offset, cut + 1) for each in self.hours
        )


def _is_open(hours: Windows | None, start: int, end: int) -> bool:
    return hours is None or any(True for _ in hours.windows(start, end))


Charge = Callable[[int], None]
"""Charges a search as a number of requests, or raises."""


def distinct(hours: Iterable[Windows | None]) -> tuple[Windows | None, ...]:
    """Return the hours without repeats; many hosts share a schedule."""
    return tuple({id(each): each for each in hours}.values())
