"""Costs that must not grow with other data that the engine holds.

Each call is measured with little and with much of that data, by turns, and so is its
floor: the same step on plain sorted lists, without the library.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise
from statistics import median
from typing import Final

from benchmarks.measure import Bar, Findings, Say, Scale, frozen, processor_seconds
from benchmarks.workloads import DAY, MINUTE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Limit, Period

FIRST: Final = 21_915 * DAY  # 2030-01-01
SLOT: Final = 5 * MINUTE
TTL: Final = 5 * MINUTE
TIMES: Final = 20
"""The number of calls in one measurement."""
YEARLY: Final = (Limit(Period.YEAR, count=100_000),)

Timed = Callable[[], float]
"""Does something `TIMES` times, and returns the processor time in seconds."""


@dataclass
class Question:
    """A cost with little and with much other data, next to the floor's."""

    name: str
    most: float
    ours: tuple[Timed, Timed]
    floor: tuple[Timed, Timed] | None = None
    us: dict[str, list[float]] = field(default_factory=dict)

    def ask(self) -> None:
        """Measure everything once."""
        named = dict(zip(("ours, little", "ours, much"), self.ours, strict=True))
        if self.floor is not None:
            named |= zip(("floor, little", "floor, much"), self.floor, strict=True)
        for name, timed in named.items():
            # The fastest of several runs, because other processes disturb short measurements.
            taken = min(timed() for _ in range(3)) / TIMES * 1e6
            self.us.setdefault(name, []).append(taken)

    def bar(self) -> Bar:
        """Return the ratio of the cost with much data to the cost with little."""
        of = {name: median(taken) for name, taken in self.us.items()}
        grown = of["ours, much"] / of["ours, little"]
        note = f"{of['ours, little']:.1f} and {of['ours, much']:.1f} µs"
        if self.floor is not None:
            note += f"; floor {of['floor, little']:.1f} and {of['floor, much']:.1f}"
        return Bar(self.name, grown, "×", most=self.most, note=note)


def service(*limits: Limit) -> BookingService:
    """Return a booking service with one host who is always open, and its event types."""
    ledger = Ledger()
    ledger.add_resource("host")
    made = BookingService(ledger)
    five = timedelta(minutes=5)
    made.add(EventType(id="talk", length=five, all_of=["host"], limits=limits))
    return made


class Counted:
    """Bookings under a yearly limit, one after the other; and their starts, as a list."""

    def __init__(self, bookings: int, *limits: Limit) -> None:
        self.service = service(*limits)
        self.ledger = self.service.ledger
        self.bookings = bookings
        self.numbers = count()
        for i in range(bookings):
            self.book(i)
        self.starts = [FIRST + i * SLOT for i in range(bookings)]

    def book(self, place: int) -> str:
        uid = f"uid-{next(self.numbers)}"
        self.service.reserve(SlotRequest("talk", FIRST + place * SLOT, ttl=TTL), uid=uid, now=0)
        self.ledger.confirm(uid, now=0)
        return uid

    def cancel(self) -> float:
        """Cancel the latest bookings, which were made before."""
        uids = [self.book(self.bookings + i) for i in range(TIMES)]
        return processor_seconds(lambda: [self.ledger.cancel(uid, now=0) for uid in uids])

    def cancel_in_a_list(self) -> float:
        latest = [FIRST + (self.bookings + i) * SLOT for i in range(TIMES)]
        self.starts += latest

        def cancel() -> None:
            for start in latest:
                del self.starts[bisect_left(self.starts, start)]

        return processor_seconds(cancel)

    def list_slots(self) -> float:
        """List six hours of a free day, as a caller who moves the first booking would."""
        start = FIRST + 200 * DAY
        query = AvailabilityQuery(
            "talk", start, start + 6 * 60 * MINUTE, ignoring=frozenset({"uid-0"})
        )
        assert len(self.service.available_slots(query, now=0).starts) == 72
        return processor_seconds(
            lambda: [self.service.available_slots(query, now=0) for _ in range(TIMES)]
        )

    def list_in_a_list(self) -> float:
        """Look up each start, and count what is used of the year."""
        starts, year = self.starts, (FIRST, FIRST + 365 * DAY)

        def look() -> None:
            for _ in range(TIMES):
                used = bisect_left(starts, year[1]) - bisect_left(starts, year[0]) - 1
                first = FIRST + 200 * DAY
                for start in range(first, first + 6 * 60 * MINUTE, SLOT):
                    place = bisect_right(starts, start)
                    assert used < 100_000
                    assert not place or starts[place - 1] + SLOT <= start

        return processor_seconds(look)

    def reserve(self) -> float:
        """Reserve; releasing again is not measured."""
        uids = [f"held-{next(self.numbers)}" for _ in range(TIMES)]
        requests = [
            SlotRequest("talk", FIRST + (self.bookings + i) * SLOT, ttl=TTL) for i in range(TIMES)
        ]

        def hold() -> None:
            for uid, request in zip(uids, requests, strict=True):
                self.service.reserve(request, uid=uid, now=0)

        taken = processor_seconds(hold)
        for uid in uids:
            self.ledger.release(uid, now=0)
        return taken


class Courts:
    """Ten courts with bookings of twenty minutes, and optionally one of 300 days."""

    def __init__(self, bookings: int, *, long: bool) -> None:
        self.ledger = Ledger()
        self.ledger.add_resource("courts", capacity=10)
        if long:
            self.book(FIRST, FIRST + 300 * DAY, "long")
        for i in range(bookings):
            start = FIRST + i * 30 * MINUTE
            self.book(start, start + 20 * MINUTE, f"uid-{i}")
        self.last = FIRST + (bookings - 5) * 30 * MINUTE

    def book(self, start: int, end: int, uid: str) -> None:
        self.ledger.reserve("courts", start, end, uid=uid, now=0, ttl=TTL)
        self.ledger.confirm(uid, now=0)

    def busy(self) -> float:
        """Ask what is taken in an hour."""
        span = self.last, self.last + 60 * MINUTE
        return processor_seconds(
            lambda: [self.ledger.busy("courts", *span, now=0) for _ in range(TIMES)]
        )


class Imported:
    """Sources of busy time with 100 spans each, by turns; and all their edges, as a list."""

    def __init__(self, sources: int) -> None:
        self.ledger = Ledger()
        self.ledger.add_resource("host")
        self.edges: list[int] = []
        self.spans = [self._said(number, sources) for number in range(sources)]
        for number, spans in enumerate(self.spans):
            self.ledger.replace_busy(f"source-{number}", {"host": spans}, now=0)
            self.edges += [edge for span in spans for edge in span]
        self.edges.sort()

    @staticmethod
    def _said(number: int, sources: int) -> list[tuple[int, int]]:
        starts = (FIRST + (i * sources + number) * 30 * MINUTE for i in range(100))
        return [(start, start + 10 * MINUTE) for start in starts]

    def _later(self, minutes: int) -> list[tuple[int, int]]:
        return [(start + minutes * MINUTE, end + minutes * MINUTE) for start, end in self.spans[0]]

    def replace(self) -> float:
        """Let one source move all its spans by some minutes, and back."""
        said = [self._later(i % 5) for i in range(1, TIMES + 1)]

        def replace() -> None:
            for spans in said:
                self.ledger.replace_busy("source-0", {"host": spans}, now=0)

        return processor_seconds(replace)

    def replace_in_a_list(self) -> float:
        said = [self._later(i % 5) for i in range(TIMES + 1)]
        pairs = list(pairwise(said))

        def replace() -> None:
            for before, after in pairs:
                for span in before:
                    for edge in span:
                        del self.edges[bisect_left(self.edges, edge)]
                for span in after:
                    for edge in span:
                        insort(self.edges, edge)

        return processor_seconds(replace)


def questions(scale: Scale) -> Iterator[Question]:
    """Yield everything that is compared."""
    few, many = scale.hosts, scale.hosts * 16
    little, much = Counted(few, *YEARLY), Counted(many, *YEARLY)
    yield Question(
        f"cancelling under a yearly limit, among {many:,} bookings, of the cost among {few:,}",
        1.5, (little.cancel, much.cancel), (little.cancel_in_a_list, much.cancel_in_a_list),
    )  # fmt: skip
    yield Question(
        f"slots(ignoring=...) of six hours under a yearly limit, among {many:,} bookings, "
        f"of the cost among {few:,}",
        1.5, (little.list_slots, much.list_slots), (little.list_in_a_list, much.list_in_a_list),
    )  # fmt: skip
    without, long = Courts(many, long=False), Courts(many, long=True)
    yield Question(
        f"busy of an hour of ten courts, {many:,} bookings: with one of 300 days, of without",
        1.5, (without.busy, long.busy),
    )  # fmt: skip
    some, others = Imported(10), Imported(100)
    yield Question(
        "replace_busy of one source beside 100 of 100 spans, of the cost beside 10",
        2, (some.replace, others.replace), (some.replace_in_a_list, others.replace_in_a_list),
    )  # fmt: skip
    free = Counted(few)
    yield Question(
        "a reservation under a yearly limit, of one without", 2, (free.reserve, little.reserve)
    )


def measure(scale: Scale, say: Say) -> Findings:
    """Compare the same calls with little and with much other data."""
    asked = list(questions(scale))
    with frozen():
        for run in range(scale.runs):
            for question in asked:
                say(f"{question.name}, run {run + 1}")
                question.ask()
    bars = [question.bar() for question in asked]
    return Findings(bars, {question.name: question.us for question in asked})
