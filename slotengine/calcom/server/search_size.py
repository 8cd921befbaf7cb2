"""How much a search looks at: what it counts as, and where it may be cut into pieces.

What is found in the pieces is what a search of the whole finds, if nothing changes
meanwhile: a piece ends where a date of the viewer's does, and only where no slot
depends on what comes before.  That is anywhere if the grid is the clock's own,
otherwise where no host is open.

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
"""How much of the hosts' time, added up, counts as one request: twelve of them for a month."""
STARTS: Final = 9_000
"""How many slots that there could be count as one: a month of one every five minutes."""

PIECE_HOST_TIME: Final = 120 * DAY
PIECE_STARTS: Final = 1_500
"""What is looked at without giving way, unless one date has more: two or three milliseconds."""


class Size(NamedTuple):
    """How much a search looks at."""

    span: int
    hosts: int
    step: int
    """From one slot to the next."""

    @property
    def host_time(self) -> int:
        """The hosts' time, added up."""
        return self.span * self.hosts

    @property
    def starts(self) -> int:
        """How many slots there could be."""
        return self.span // self.step

    @property
    def cost(self) -> int:
        """What it counts as, in requests.

        >>> month = Size(31 * DAY, 1, DAY // 96)
        >>> month.cost, month._replace(hosts=50).cost, month._replace(span=3650 * DAY).cost
        (1, 5, 39)
        """
        return max(1, -(-self.host_time // HOST_TIME), -(-self.starts // STARTS))

    @property
    def dates(self) -> int:
        """How many dates a piece has; at least one."""
        of_one = self._replace(span=DAY)
        most = min(PIECE_HOST_TIME // of_one.host_time, PIECE_STARTS // max(1, of_one.starts))
        return max(1, most)


class Grid(NamedTuple):
    """On what slots are laid out."""

    step: int
    offset: int
    zone: Zone
    """The viewer's."""
    optimized: bool
    hours: tuple[Windows | None, ...]
    """Those that count, of each host; None: always."""

    def pieces(self, start: int, end: int, dates: int) -> Iterator[tuple[int, int]]:
        """Yield the pieces of a span: whole dates, so many unless it cannot be cut there."""
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

    def cutter(self, start: int, end: int) -> Grid:
        """Return the same without hours, if a span may be cut while somebody is open."""
        fixed = is_fixed(
            step=self.step, offset=self.offset, start=start, end=end,
            zone=self.zone, optimized=self.optimized,
        )  # fmt: skip
        return self._replace(hours=()) if fixed else self

    def _may_be_cut(self, cut: int) -> bool:
        if self.zone.offset(cut + DAY) < self.zone.offset(cut):
            return False  # clocks go back, perhaps to a date before the cut
        # Slots of what was open before go on from the last one, by a step.
        return not any(
            _is_open(each, cut - self.step - self.offset, cut + 1) for each in self.hours
        )


def _is_open(hours: Windows | None, start: int, end: int) -> bool:
    return hours is None or any(True for _ in hours.windows(start, end))


Charge = Callable[[int], None]
"""What counts a search as so many requests, or raises."""


def distinct(hours: Iterable[Windows | None]) -> tuple[Windows | None, ...]:
    """Return each once; many hosts share a schedule."""
    return tuple({id(each): each for each in hours}.values())
