"""The cost of richer requests, compared to the simple one: units, several claims, seats.

Each request is held and released again, among existing bookings.  Runs are interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from statistics import median
from typing import Final

from benchmarks.churn import FIRST, NOW, SLOT, TERMS, TTL, Population
from benchmarks.measure import Bar, Findings, Say, Scale, frozen, processor_seconds
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Entry, Seats
from slotengine.engine.uids import new_uid

RESOURCES: Final = 100
CAPACITY: Final = 8
SEATS: Final = 20
OPENED: Final = FIRST - 2 * SLOT
"""When a session that can be joined is open on each resource."""

# The units of each resource, of the one that is taken together with it, and of the pooled one.
BESIDE: Final = "{}-beside"
MANY: Final = "{}-of-many"

Reserve = Callable[[Ledger, str, int, int], Entry]
"""Holds a slot of a resource, with a start and a time."""


def simple(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    return ledger.reserve(name, start, start + SLOT, uid=new_uid(), now=now, ttl=TTL)


def one_of_many(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    return simple(ledger, MANY.format(name), start, now)


def two_of_many(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    return _claiming(ledger, start, now, Claim(MANY.format(name), start, start + SLOT, 2))


def two_claims(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    end = start + SLOT
    return _claiming(
        ledger, start, now, Claim(name, start, end), Claim(BESIDE.format(name), start, end)
    )


def _claiming(ledger: Ledger, start: int, now: int, *claims: Claim) -> Entry:
    proposal = Proposal(start, start + SLOT, claims, TTL)
    return ledger.reserve_proposal(proposal, uid=new_uid(), now=now)


def seat(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    end = start + SLOT
    claims = (Claim(name, start, end),)
    proposal = Proposal(start, end, claims, TTL, event_type=name, seats=Seats(SEATS))
    return ledger.reserve_proposal(proposal, uid=new_uid(), now=now)


def seat_of_open(ledger: Ledger, name: str, start: int, now: int) -> Entry:
    return seat(ledger, name, OPENED, now)


SIMPLE: Final = "one unit of one resource"
PATHS: Final[dict[str, Reserve]] = {
    SIMPLE: simple,
    f"one of {CAPACITY} units": one_of_many,
    f"two of {CAPACITY} units": two_of_many,
    "two resources": two_claims,
    f"a session of {SEATS} seats": seat,
    f"a seat of an open session of {SEATS}": seat_of_open,
}


class World:
    """Resources with one unit and with many, with every other quarter of an hour booked."""

    def __init__(self, bookings: int) -> None:
        self.ledger = Ledger(TERMS)
        population = Population(bookings, RESOURCES)
        for name in population.names:
            self.ledger.add_resource(name)
            self.ledger.add_resource(BESIDE.format(name))
            self.ledger.add_resource(MANY.format(name), capacity=CAPACITY)
            self._book(seat, name, OPENED)
        booked = list(population.bookings())
        for name, start in booked:
            for reserve in (two_claims, one_of_many, one_of_many):
                self._book(reserve, name, start)
        self._slots: Iterator[tuple[str, int]] = cycle(
            [(name, start + SLOT) for name, start in booked]
        )
        self._ticks = count(NOW, 1_000)

    def _book(self, reserve: Reserve, name: str, start: int) -> None:
        self.ledger.confirm(reserve(self.ledger, name, start, NOW).uid, now=NOW)

    def hold_and_release(self, reserve: Reserve, times: int) -> None:
        """Hold and release a number of slots, all of them free."""
        ledger = self.ledger
        for _ in range(times):
            (name, start), now = next(self._slots), next(self._ticks)
            ledger.release(reserve(ledger, name, start, now).uid, now=now)


def measure(scale: Scale, say: Say) -> Findings:
    """Compare each path with the simple one."""
    times = scale.requests // 10
    world = World(bookings=max(RESOURCES, times))
    runs: dict[str, list[float]] = {name: [] for name in PATHS}
    with frozen():
        for run in range(scale.runs):
            say(f"run {run + 1}")
            for name, reserve in PATHS.items():
                taken = processor_seconds(partial(world.hold_and_release, reserve, times))
                runs[name].append(taken / times * 1e6)
    simple_us = median(runs[SIMPLE])
    bars = [
        Bar(
            f"{name}, of the cost of {SIMPLE}",
            median(taken_us) / simple_us, "×", most=3,
            note=f"{median(taken_us):.1f} µs against {simple_us:.1f}",
        )
        for name, taken_us in runs.items()
        if name != SIMPLE
    ]  # fmt: skip
    return Findings(bars, {"us": runs})
