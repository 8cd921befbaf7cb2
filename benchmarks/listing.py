"""Listing available slots, ours and by a naive scan: ``python -m benchmarks.listing``.

One host, or fifty in a pool, open 09:00-17:00 for thirty days, with half-hour slots.
There are bookings in those days, and ten times as many in the time around them, which
must not matter.  Both ways must find the same slots.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median

from benchmarks.measure import Bar, Findings, Say, Scale, frozen, processor_seconds
from benchmarks.workloads import DAY, MINUTE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.schedule import Schedule, hours
from slotengine.engine.values import Slot, slots_of
from slotengine.errors import Refused

DAYS = 30
LENGTH = 30 * MINUTE
FIRST = 21_915 * DAY  # 2030-01-01
RUNS = 7
# Hosts, bookings of each host in the month, and how many times as many around it.
WORLDS = [
    *((1, 0, 10), (1, 50, 10), (1, 500, 0), (1, 500, 10)),
    *((50, 0, 10), (50, 50, 10), (50, 300, 10)),
]


@dataclass
class Listing:
    """The hosts of one pool with bookings, and a month to be listed."""

    hosts: int
    bookings: int
    """Bookings of each host in the month."""
    around: int = 10
    """How many times as many there are before and after the month."""
    taken: list[list[tuple[int, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schedule = Schedule("UTC", dict.fromkeys(range(7), hours("09:00-17:00")))
        self.ledger = Ledger()
        self.service = BookingService(self.ledger)
        names = [f"host-{i}" for i in range(self.hosts)]
        for name in names:
            self.ledger.add_resource(name, schedule=self.schedule)
        half_hour = timedelta(minutes=30)
        self.service.add(EventType(id="talk", length=half_hour, any_of=[names]))
        self.query = AvailabilityQuery("talk", FIRST, FIRST + DAYS * DAY)
        for name in names:
            self.taken.append(sorted(self._book(name)))

    def _book(self, name: str) -> list[tuple[int, int]]:
        months = range(-(self.around // 2), self.around // 2 + 1)
        booked: list[tuple[int, int]] = []
        for month in months:
            # A random generator of its own, so that the month does not depend on what is around it.
            draw = random.Random(f"{self.bookings}/{name}/{month}")
            wanted = self.bookings
            while wanted:
                day = month * DAYS + draw.randrange(DAYS)
                start = FIRST + day * DAY + (9 * 60 + draw.randrange(32) * 15) * MINUTE
                # Quarter-hour bookings still fit where half-hour slots no longer do.
                end = start + draw.choice((15, 15, 30)) * MINUTE
                try:
                    self.ledger.reserve(
                        name, start, end, uid=f"{name}-{month}-{wanted}-{start}", now=0, ttl=10**9
                    )
                except Refused:
                    continue
                self.ledger.confirm(f"{name}-{month}-{wanted}-{start}", now=0)
                booked.append((start, end))
                wanted -= 1
        return booked

    def ours(self) -> Sequence[int]:
        return self.service.available_slots(self.query, now=0).starts

    def ours_as_slots(self) -> list[Slot]:
        return slots_of(self.service.available_slots(self.query, now=0))

    def naive(self) -> list[int]:
        """For each start and each host, test whether any booking overlaps."""
        opening = [FIRST + day * DAY + 9 * 60 * MINUTE for day in range(DAYS)]
        return [
            start
            for start in (start + step * LENGTH for start in opening for step in range(16))
            if any(
                not any(low < start + LENGTH and start < high for low, high in taken)
                for taken in self.taken
            )
        ]


def measure(scale: Scale, say: Say) -> Findings:
    """Measure a month alone, with history around it, and with more bookings in it."""
    history = {"little": 0, "much": 10}
    worlds = {
        (hosts, bookings, name): Listing(hosts, bookings, around)
        for hosts, bookings in ((1, 50), (1, 500), (50, 50))
        for name, around in history.items()
    }
    ms: dict[tuple[int, int, str], list[float]] = {key: [] for key in worlds}
    for key, world in worlds.items():
        say("{} host(s), {} bookings, {} history".format(*key))
        assert list(world.ours()) == world.naive()
    with frozen():
        for _ in range(scale.runs):
            for key, world in worlds.items():
                # The fastest of several runs, because other processes disturb short measurements.
                ms[key].append(min(processor_seconds(world.ours) for _ in range(5)) * 1e3)
    bars = []
    for hosts, bookings in ((1, 50), (1, 500), (50, 50)):
        little, much = (median(ms[hosts, bookings, name]) for name in history)
        bars.append(
            Bar(
                f"slots of a month, {hosts} host(s), {bookings} bookings: with ten times as much "
                "around it, of the cost with nothing",
                much / little, "×", most=2, note=f"{little:.2f} and {much:.2f} ms",
            )
        )  # fmt: skip
    each_us = {
        bookings: median(ms[1, bookings, "little"]) * 1e3
        / (len(worlds[1, bookings, "little"].ours()) + bookings)
        for bookings in (50, 500)
    }  # fmt: skip
    name = "slots of a month, for each returned or booked: 500 bookings, of the cost with 50"
    bars.append(Bar(name, each_us[500] / each_us[50], "×", most=2))
    return Findings(bars, {f"{key}": taken for key, taken in ms.items()})


def main() -> None:
    print(f"{'':30}{'naive':>12}{'ours':>12}{'as Slots':>12}{'ratio':>8}{'slots':>8}")
    for hosts, bookings, around in WORLDS:
        listing = Listing(hosts, bookings, around)
        assert list(listing.ours()) == listing.naive()
        gc.collect()
        timings = [
            [
                processor_seconds(call)
                for call in (listing.naive, listing.ours, listing.ours_as_slots)
            ]
            for _ in range(RUNS)
        ]
        naive, ours, as_slots = (median(column) * 1e3 for column in zip(*timings, strict=True))
        name = f"{hosts} host(s), {bookings} bookings"
        name += "" if around else ", none around"
        print(
            f"{name:30}{naive:9.2f} ms{ours:9.2f} ms{as_slots:9.2f} ms"
            f"{naive / ours:7.0f}x{len(listing.ours()):8}"
        )


if __name__ == "__main__":
    main()
