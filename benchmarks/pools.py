"""The cost of many hosts: listing a pool, refusing one of it, finding the next free slot.

Each is compared, in the same runs, with a floor: a few lines on plain sorted lists,
without the library, which must find the same.

- *bisecting*: each start of the grid is looked up among each host's bookings, until a
  free host is found.  This works where bookings do not move the grid.
- *sweeping*: the gaps between each host's bookings are collected in one pass, sorted, and
  laid out.  This works everywhere.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count, islice
from math import gcd
from statistics import median
from typing import Final

from benchmarks.measure import Bar, Findings, Say, Scale, frozen, processor_seconds
from benchmarks.workloads import DAY, MINUTE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.schedule import ALWAYS_OPEN, FixedWindows
from slotengine.errors import NoneFree, SlotTaken

DAYS: Final = 30
LENGTH: Final = 30 * MINUTE
ODD_STEP: Final = 45 * MINUTE
FIRST: Final = 21_915 * DAY  # 2030-01-01
TTL: Final = 5 * MINUTE
MOST: Final = 3
"""How many times as much as the floor a listing may cost."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Host:
    """A host of a pool: its windows and its bookings, both sorted and disjoint."""

    open: list[Span]
    booked: list[Span]


# --- Floors --------------------------------------------------------------------------------


Lists = tuple[list[int], list[int], list[int], list[int]]
"""A host's windows and bookings, as lists of starts and ends."""


def as_lists(hosts: Iterable[Host]) -> list[Lists]:
    """Return hosts in the form that the floors need, prepared like an index."""
    return [
        (
            [opens for opens, _ in host.open],
            [closes for _, closes in host.open],
            [begins for begins, _ in host.booked],
            [ends for _, ends in host.booked],
        )
        for host in hosts
    ]


def bisected(hosts: Sequence[Lists], starts: Iterable[int], length: int) -> Iterator[int]:
    """Yield the starts at which a host is open and free, by bisection for one after the other."""
    for start in starts:
        end = start + length
        for opens, closes, begins, ends in hosts:
            window = bisect_right(opens, start)
            if not window or closes[window - 1] < end:
                continue
            after = bisect_right(begins, start)
            if after and ends[after - 1] > start:
                continue
            if after < len(begins) and begins[after] < end:
                continue
            yield start
            break


def bisected_in_hours(hosts: Sequence[Lists], starts: Iterable[int], length: int) -> Iterator[int]:
    """Yield the same, for starts that lie in everybody's hours."""
    for start in starts:
        end = start + length
        for _, _, begins, ends in hosts:
            after = bisect_right(begins, start)
            if after and ends[after - 1] > start:
                continue
            if after < len(begins) and begins[after] < end:
                continue
            yield start
            break


def gaps(hosts: Iterable[Host], length: int) -> list[Span]:
    """Return, by a sweep, the maximal ranges in which a host is open and free for long enough.

    Bookings may overlap.
    """
    found: list[Span] = []
    for host in hosts:
        booked, at = host.booked, 0
        for opens, closes in host.open:
            free = opens
            while at < len(booked) and booked[at][0] < closes:
                begins, ends = booked[at]
                if begins - free >= length:
                    found.append((free, -begins))
                free = max(free, ends)
                if ends > closes:
                    break
                at += 1
            if closes - free >= length:
                found.append((free, -closes))
    found.sort()  # by start, the longest first
    ranges: list[Span] = []
    for start, end in found:
        if not ranges or -end > ranges[-1][1]:
            ranges.append((start, -end))
    return ranges


def crossed(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """Return the overlaps of two lists of ranges; the ranges on the left are disjoint."""
    found: list[Span] = []
    at = 0
    for start, end in left:
        while at < len(right) and right[at][1] <= start:
            at += 1
        here = at
        while here < len(right) and right[here][0] < end:
            found.append((max(start, right[here][0]), min(end, right[here][1])))
            here += 1
    ranges: list[Span] = []
    for start, end in sorted(set(found), key=lambda span: (span[0], -span[1])):
        if not ranges or end > ranges[-1][1]:
            ranges.append((start, end))
    return ranges


def laid(ranges: Iterable[Span], length: int, step: int) -> list[int]:
    """Return the starts that fit into the ranges, on the grid of a viewer in UTC."""
    unit = next(unit for unit in (60, 30, 20, 15, 10, 5, 1) if gcd(step // MINUTE, unit) == unit)
    starts: list[int] = []
    follows = 0
    for start, end in ranges:
        first = start - start % MINUTE
        first = max(first + -first % (unit * MINUTE), follows)
        if first + length <= end:
            here = range(first, end - length + 1, step)
            starts += here if first >= start else here[1:]  # it may be before the range
            follows = here[-1] + step
    return starts


# --- Pools ---------------------------------------------------------------------------------


class Pool:
    """The hosts of a pool over some days, in the library and as plain lists."""

    def __init__(
        self, hosts: int, bookings: int, *, days: int = DAYS, own_hours: bool = False
    ) -> None:
        self.days = days
        self.names = [f"host-{i}" for i in range(hosts)]
        self.hosts: list[Host] = []
        self.ledger = Ledger()
        shared = self._hours(0)
        schedule = FixedWindows(shared)
        for i, name in enumerate(self.names):
            windows = self._hours(i) if own_hours else shared
            self.ledger.add_resource(
                name, schedule=FixedWindows(windows) if own_hours else schedule
            )
            booked = self._booked(name, bookings, windows)
            self.hosts.append(Host(windows, booked))
            for start, end in booked:
                self._book(name, start, end)
        self.lists = as_lists(self.hosts)
        self.service = BookingService(self.ledger)
        half_hour, odd = timedelta(minutes=30), timedelta(minutes=45)
        self.service.add(EventType(id="talk", length=half_hour, any_of=[self.names]))
        self.service.add(EventType(id="odd", length=half_hour, interval=odd, any_of=[self.names]))
        self.service.add(EventType(id="class", length=half_hour, seats=5, any_of=[self.names]))
        self.service.add(
            EventType(id="odd class", length=half_hour, seats=5, interval=odd, any_of=[self.names])
        )
        if hosts > 1:
            first, *others = self.names
            self.service.add(EventType(id="two", length=half_hour, all_of=[first], any_of=[others]))
            self.service.add(
                EventType(
                    id="odd two", length=half_hour, interval=odd, all_of=[first], any_of=[others]
                )
            )
        starts = range(FIRST, FIRST + days * DAY, LENGTH)
        opens, closes = min(self.hosts[0].open)[0] % DAY, max(self.hosts[0].open)[1] % DAY
        if own_hours:
            opens, closes = 8 * 60 * MINUTE, 18 * 60 * MINUTE
        self.starts = [each for each in starts if opens <= each % DAY <= closes - LENGTH]

    def _hours(self, host: int) -> list[Span]:
        """Return eight hours a day.  With hours of their own, hosts start up to two hours apart."""
        opens = (9 * 60 if host == 0 else 8 * 60 + host % 25 * 5) * MINUTE
        days = range(FIRST, FIRST + self.days * DAY, DAY)
        return [(day + opens, day + opens + 8 * 60 * MINUTE) for day in days]

    def _booked(self, name: str, bookings: int, windows: list[Span]) -> list[Span]:
        """Return bookings of 5 to 30 minutes, at any multiple of five minutes within the hours."""
        draw = random.Random(f"{name}/{bookings}")
        booked: list[Span] = []
        taken: set[int] = set()
        while len(booked) < bookings:
            opens, closes = draw.choice(windows)
            start = opens + draw.randrange((closes - opens) // (5 * MINUTE)) * 5 * MINUTE
            end = min(start + draw.choice((5, 10, 15, 30)) * MINUTE, closes)
            fives = range(start, end, 5 * MINUTE)
            if taken.isdisjoint(fives):
                taken.update(fives)
                booked.append((start, end))
        return sorted(booked)

    def _book(self, name: str, start: int, end: int) -> None:
        uid = f"{name}-{start}"
        self.ledger.reserve(name, start, end, uid=uid, now=0, ttl=TTL, hours=ALWAYS_OPEN)
        self.ledger.confirm(uid, now=0)

    def fill(self, start: int, end: int, length: int) -> None:
        """Book every host that has no bookings yet, back to back."""
        for i, name in enumerate(self.names):
            more = [(begins, begins + length) for begins in range(start, end, length)]
            for begins, ends in more:
                self._book(name, begins, ends)
            self.hosts[i] = Host(self.hosts[i].open, sorted([*self.hosts[i].booked, *more]))
        self.lists = as_lists(self.hosts)

    def query(self, event_type: str) -> AvailabilityQuery:
        return AvailabilityQuery(event_type, FIRST, FIRST + self.days * DAY)

    def listing(self, event_type: str) -> list[int]:
        """Return the slots that the library offers."""
        return list(self.service.available_slots(self.query(event_type), now=0).starts)

    def bisecting(self) -> list[int]:
        return list(bisected_in_hours(self.lists, self.starts, LENGTH))

    def bisecting_with_hours(self) -> list[int]:
        return list(bisected(self.lists, self.starts, LENGTH))

    def sweep(self, step: int) -> list[int]:
        return laid(gaps(self.hosts, LENGTH), LENGTH, step)

    def sweep_of_two(self, step: int) -> list[int]:
        first, *others = self.hosts
        ranges = crossed(gaps([first], LENGTH), gaps(others, LENGTH))
        return laid(ranges, LENGTH, step)


Call = Callable[[], object]


@dataclass(frozen=True)
class Race:
    """One of our operations next to its floor."""

    name: str
    ours: Call
    floor: Call
    most: float | None = MOST


def raced(races: Sequence[Race], scale: Scale, say: Say, findings: Findings) -> None:
    """Run all races by turns, and compute their bars."""
    for race in races:
        assert race.ours() == race.floor(), f"{race.name}: not the same is found"
    us: dict[str, tuple[list[float], list[float]]] = {race.name: ([], []) for race in races}
    with frozen():
        for run in range(scale.runs):
            for race in races:
                say(f"{race.name}, run {run + 1}")
                # The fastest of several runs, because other processes disturb short measurements.
                for call, taken in zip((race.ours, race.floor), us[race.name], strict=True):
                    taken.append(min(processor_seconds(call) for _ in range(3)) * 1e6)
    for race in races:
        ours, floor = map(median, us[race.name])
        note = f"{ours:,.0f} and {floor:,.0f} µs"
        findings.bars.append(Bar(race.name, ours / floor, "×", most=race.most, note=note))
        findings.runs[race.name] = dict(zip(("ours_us", "floor_us"), us[race.name], strict=True))


def listings(scale: Scale) -> Iterator[Race]:
    """Yield listings of pools, with few hosts and with many."""
    most = scale.hosts
    pools = [Pool(hosts, 50) for hosts in (most // 50, most // 10, most * 2 // 5, most)]
    for pool in pools:
        hosts = len(pool.names)
        yield Race(
            f"a month of {hosts} hosts with 50 bookings each, of bisecting for each start",
            partial(pool.listing, "talk"), pool.bisecting,
        )  # fmt: skip
    pool = pools[-1]
    sweep = partial(pool.sweep, LENGTH)
    yield Race(
        f"the same with seats, {most} hosts, of a sweep", partial(pool.listing, "class"), sweep
    )
    about = f"of {most} hosts with 50 bookings each, of a sweep"
    for event_type, what, floor in (
        ("odd", "in steps of 45 minutes", pool.sweep),
        ("odd class", "in steps of 45 minutes, with seats", pool.sweep),
        ("two", "one of them always", pool.sweep_of_two),
        ("odd two", "in steps of 45 minutes, one of them always", pool.sweep_of_two),
    ):
        step = ODD_STEP if "odd" in event_type else LENGTH
        yield Race(
            f"a month {what}, {about}", partial(pool.listing, event_type), partial(floor, step)
        )
    own = Pool(most, 50, own_hours=True)
    yield Race(
        f"a month of {most} hosts with hours of their own, of bisecting for each start",
        partial(own.listing, "talk"), own.bisecting_with_hours,
    )  # fmt: skip
    yield Race(
        f"the same in steps of 45 minutes, {most} hosts, of a sweep",
        partial(own.listing, "odd"), partial(own.sweep, ODD_STEP),
    )  # fmt: skip
    dense = Pool(most // 5, 500)
    yield Race(
        f"a month of {most // 5} hosts with 500 bookings each, of bisecting for each start",
        partial(dense.listing, "talk"), dense.bisecting,
    )  # fmt: skip
    yield Race(
        f"the same in steps of 45 minutes, {most // 5} hosts, of a sweep",
        partial(dense.listing, "odd"), partial(dense.sweep, ODD_STEP),
    )  # fmt: skip


def following(scale: Scale) -> Iterator[Race]:
    """Yield searches for the next slot: where there are plenty, and where none is for long."""
    hosts = scale.hosts
    ahead = timedelta(days=300) // timedelta(microseconds=1)
    sparse = Pool(hosts, 50)
    yield Race(
        f"the next slot of {hosts} hosts with 50 bookings each, of bisecting until there is one",
        partial(_next_of, sparse), partial(_first_of, sparse), most=None,
    )  # fmt: skip
    full = Pool(hosts, 0, days=20)
    for start, end in full.hosts[0].open[:-1]:
        full.fill(start, end, LENGTH)
    yield Race(
        f"the next slot of {hosts} hosts who are booked up for 19 days, of bisecting",
        partial(_next_of, full), partial(_first_of, full),
    )  # fmt: skip
    away = Pool(hosts, 0, days=300)
    away.fill(FIRST - DAY, FIRST - DAY + ahead, ahead)
    yield Race(
        f"the next slot of {hosts} hosts who are away for 299 days, of bisecting",
        partial(_next_of, away), partial(_first_of, away),
    )  # fmt: skip


def _next_of(pool: Pool) -> list[int]:
    return list(pool.service.next_available_slots(pool.query("talk"), 1, now=0).starts)


def _first_of(pool: Pool) -> list[int]:
    return list(islice(bisected_in_hours(pool.lists, pool.starts, LENGTH), 1))


def refusals(scale: Scale, say: Say, findings: Findings) -> None:
    """Compare refusing one of a pool with granting one; releasing it again is not measured."""
    most = scale.hosts
    for hosts in (most // 50, most // 10, most * 2 // 5, most):
        say(f"refusing one of {hosts} hosts")
        pool = Pool(hosts, 0)
        start = pool.hosts[0].open[0][0]
        pool.fill(start, start + LENGTH, LENGTH)
        numbers = count()
        accepted_us: list[float] = []
        refused_us: list[float] = []
        with frozen():
            for run in range(10 * scale.runs):
                uid, free = f"uid-{next(numbers)}", start + (1 + run % 25) * DAY
                accept = partial(
                    pool.service.reserve, SlotRequest("talk", free, ttl=TTL), uid=uid, now=0
                )
                accepted_us.append(processor_seconds(accept) * 1e6)
                pool.ledger.release(uid, now=0)
                refused_us.append(processor_seconds(partial(_refuse, pool, start)) * 1e6)
        accepted, refused = median(accepted_us), median(refused_us)
        name = f"refusing one of {hosts} hosts, of the cost of giving one"
        note = f"{refused:.0f} and {accepted:.0f} µs"
        findings.bars.append(Bar(name, refused / accepted, "×", most=1.2, note=note))
        findings.runs[name] = {"accepted_us": accepted_us, "refused_us": refused_us}


def _refuse(pool: Pool, start: int) -> None:
    try:
        pool.service.reserve(SlotRequest("talk", start, ttl=TTL), uid="refused", now=0)
    except (NoneFree, SlotTaken):  # with one host, the error is the one that refuses it
        return
    raise AssertionError("somebody was free")


def measure(scale: Scale, say: Say) -> Findings:
    """Measure listings, searches for the next slot, and refusals."""
    findings = Findings()
    raced(list(listings(scale)), scale, say, findings)
    raced(list(following(scale)), scale, say, findings)
    refusals(scale, say, findings)
    return findings
