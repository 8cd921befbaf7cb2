"""Available slots of pools over many days, compared with plain lists.

The naive scan of every minute is too slow for this: more hosts, more days, and both more
and fewer bookings than starts, so that every path of the search is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import event, example, given

from benchmarks.pools import Host, Span, crossed, gaps, laid
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import DAY, HOUR, MINUTE, SECOND
from slotengine.core.time.schedule import FixedWindows, Schedule, hours
from slotengine.core.time.zone import Zone
from slotengine.errors import Refused
from slotengine.testing.strategies import ODD

FIRST = 21_915 * DAY  # 2030-01-01
NOW = FIRST - DAY + 17 * SECOND
LATER = NOW + 2 * SECOND
DAYS = 12
TTL = 5 * MINUTE

HOURS = {
    "day": "09:00-17:00",
    "the same, of one's own": "09:00-17:00",
    "halves": "08:00-12:00 12:40-16:00",
    "late": "12:20-20:05",
}


@dataclass
class Some:
    """A host, with the bookings that affect the grid, and with everything that is taken."""

    open: list[Span]
    booked: list[Span] = field(default_factory=list)
    standing: list[Span] = field(default_factory=list)


def windows(kind: str) -> list[Span]:
    """Return the hours of a kind on all days, computed independently."""
    spans = [text.split("-") for text in HOURS[kind].split()]
    minutes = [[int(text[:2]) * 60 + int(text[3:]) for text in span] for span in spans]
    return [
        (FIRST + day * DAY + opens * MINUTE, FIRST + day * DAY + closes * MINUTE)
        for day in range(DAYS)
        for opens, closes in minutes
    ]


takes = st.tuples(
    st.integers(0, 5),  # whose; some of them will not be there
    st.tuples(st.integers(0, DAYS * 24 * 12 - 1), st.sampled_from(ODD)).map(
        lambda parts: FIRST + parts[0] * 5 * MINUTE + parts[1]
    ),
    st.sampled_from((5, 10, 30, 45, 60, 8 * 60, 24 * 60, 24 * 60, 3 * 24 * 60)),
    st.sampled_from(("book", "book", "book", "hold", "lapse", "ignore", "import")),
)


CROWDED: Final[dict[str, Any]] = {
    "kinds": ["day", "halves", "late", "the same, of one's own"],
    "taken": [
        (number % 4, FIRST + number * 5 * HOUR + number * SECOND, 30 + number, kind)
        for number, kind in enumerate(("book", "hold", "import", "lapse", "book", "ignore") * 8)
    ],
}
"""A deterministic example with some of everything, at odd seconds."""


@given(
    kinds=st.lists(st.sampled_from([*HOURS, "day", "day"]), min_size=1, max_size=6),
    taken=st.lists(takes, max_size=60),
    daily=st.sampled_from((0, 0, 3, 14)),
    step=st.sampled_from((5, 15, 30, 30, 20, 25, 45, 50, 60, 90)),
    before=st.sampled_from((0, 0, 7)),
    after=st.sampled_from((0, 0, 10)),
    units=st.sampled_from((1, 1, 2)),
    fixed=st.booleans(),
    ends=st.sampled_from((DAYS * DAY, DAYS * DAY, DAY // 2 + 13 * SECOND)),
)
@example(**CROWDED, daily=3, step=45, before=7, after=10, units=1, fixed=False, ends=DAYS * DAY)
@example(**CROWDED, daily=14, step=5, before=7, after=10, units=2, fixed=True, ends=DAYS * DAY)
@example(**CROWDED, daily=0, step=30, before=0, after=0, units=1, fixed=True, ends=DAYS * DAY)
def test_slots_of_pools(
    kinds: list[str],
    taken: list[tuple[int, int, int, str]],
    daily: int,
    step: int,
    before: int,
    after: int,
    units: int,
    fixed: bool,
    ends: int,
) -> None:
    """Goal: the same slots are found, for any number of hosts, days and bookings.

    Method: a sweep over the gaps lays out the grid, and each start is compared with everything
    that is taken.
    """
    ledger = Ledger(maintenance=0)
    shared = {kind: Schedule("UTC", dict.fromkeys(range(7), hours(HOURS[kind]))) for kind in HOURS}
    names = [f"host-{i}" for i in range(len(kinds))]
    some = [Some(windows(kind)) for kind in kinds]
    for name, kind in zip(names, kinds, strict=True):
        if kind == "late":
            ledger.add_resource(name, capacity=units, schedule=FixedWindows(windows(kind)))
        else:
            ledger.add_resource(name, capacity=units, schedule=shared[kind])
    fixed = fixed and len(names) > 1
    service = BookingService(ledger)
    minute = timedelta(minutes=1)
    event_type = EventType(
        id="talk",
        length=30 * minute,
        interval=step * minute,
        before=before * minute,
        after=after * minute,
        all_of=names[:fixed],
        any_of=[names[fixed:]],
    )
    service.add(event_type)
    ignored = take(ledger, some, taken, daily, units)
    query = AvailabilityQuery("talk", FIRST, FIRST + ends, ignoring=frozenset(ignored))
    found = service.available_slots(query, now=LATER).starts
    expected = _expected(
        some, step, before * MINUTE, after * MINUTE, fixed=fixed, ends=FIRST + ends
    )
    assert list(found) == expected
    event("found" if found else "nothing found")
    following = service.next_available_slots(query, 3, now=LATER).starts
    assert list(following) == expected[:3]
    if found and not ignored:
        request = SlotRequest("talk", found[len(found) // 2], ttl=TTL, enforce=True)
        assert service.reserve(request, uid="it", now=LATER).uid == "it"


def take(
    ledger: Ledger,
    some: list[Some],
    taken: list[tuple[int, int, int, str]],
    daily: int,
    units: int,
) -> list[str]:
    """Apply all of this to the hosts, and return the uids to ignore."""
    every_day = [
        (0, FIRST + day * DAY + (9 * 60 + i * 25) * MINUTE, 25, "book")
        for day in range(DAYS)
        for i in range(daily)
    ]
    ignored: list[str] = []
    imported: dict[str, list[Span]] = {}
    for number, (whose, start, length, what) in enumerate([*every_day, *taken]):
        if whose >= len(some):
            continue
        name, uid, end = f"host-{whose}", f"uid-{number}", start + length * MINUTE
        if what == "import":
            imported.setdefault(name, []).append((start, end))
            some[whose].booked.append((start, end))
            some[whose].standing.append((start, end))
            continue
        ttl = SECOND if what == "lapse" else TTL
        try:
            _hold(ledger, name, start, end, uid, ttl, units)
        except Refused:
            continue
        if what == "book" or (what == "ignore" and number % 2):
            ledger.confirm(uid, now=NOW)
        if what == "book":
            some[whose].booked.append((start, end))
        if what in {"book", "hold"}:
            some[whose].standing.append((start, end))
        if what == "ignore":
            ignored.append(uid)
    ledger.replace_busy("calendar", imported, now=NOW)
    return ignored


def _hold(ledger: Ledger, name: str, start: int, end: int, uid: str, ttl: int, units: int) -> None:

    claim = Claim(name, start, end, units)
    proposal = Proposal(start, end, (claim,), ttl, closed=())
    ledger.reserve_proposal(proposal, uid=uid, now=NOW)


def _expected(
    some: list[Some], step: int, before: int, after: int, *, fixed: bool, ends: int
) -> list[int]:
    length = 30 * MINUTE
    hosts = [
        Host(
            [(opens, min(closes, ends)) for opens, closes in one.open if opens < ends],
            sorted((start - after, end + before) for start, end in one.booked),
        )
        for one in some
    ]
    # A gap that is too short by less than a minute may lay out a start, which is then dropped.
    least = length - MINUTE + 1
    ranges = gaps(hosts[fixed:], least)
    if fixed:
        ranges = crossed(gaps(hosts[:1], least), ranges)
    starts = laid(ranges, length, step * MINUTE)
    groups = [some[:1], some[1:]] if fixed else [some]

    def fits(one: Some, start: int) -> bool:
        return any(
            opens <= start and start + length <= closes for opens, closes in one.open
        ) and not any(
            low < start + length + after and start - before < high for low, high in one.standing
        )

    return [
        start for start in starts if all(any(fits(one, start) for one in group) for group in groups)
    ]


def test_the_grid_goes_on_from_a_start_that_had_seconds_to_lose() -> None:
    """A gap of 29 minutes and 40 seconds has no slot, but the next range continues its grid."""
    ledger = Ledger()
    ten = FIRST + 10 * 60 * MINUTE
    for name, low, high in (("a", 20 * SECOND, 50 * MINUTE), ("b", 10 * MINUTE, 80 * MINUTE)):
        ledger.add_resource(name, schedule=FixedWindows([(ten + low, ten + high)]))
    ledger.reserve("a", ten + 30 * MINUTE, ten + 50 * MINUTE, uid="it", now=NOW, ttl=TTL)
    ledger.confirm("it", now=NOW)
    service = BookingService(ledger)
    half_hour, odd = timedelta(minutes=30), timedelta(minutes=45)
    service.add(EventType(id="talk", length=half_hour, interval=odd, any_of=[["a", "b"]]))
    found = service.available_slots(AvailabilityQuery("talk", FIRST, FIRST + DAY), now=NOW).starts
    assert list(found) == [ten + 45 * MINUTE]


def test_a_zone_whose_clock_changes_by_half_an_hour_moves_the_grid() -> None:
    """In such a zone, each range is laid out by itself."""
    lord_howe = Zone.of("Australia/Lord_Howe")
    april, day = 19_820 * DAY, 19_800 * DAY  # it goes back on 2024-04-07
    assert not lord_howe.offsets_agree_modulo(day, april, 60 * MINUTE)
    assert lord_howe.offsets_agree_modulo(day, april, 30 * MINUTE)
    assert lord_howe.offsets_agree_modulo(day, day + DAY, 60 * MINUTE)
    assert Zone.of("Europe/Rome").offsets_agree_modulo(day, april, 60 * MINUTE)


@pytest.mark.parametrize("key", ["Africa/Monrovia", "Asia/Kathmandu"])
def test_an_odd_offset_that_never_changes_keeps_its_minutes(key: str) -> None:
    assert Zone.of(key).offsets_agree_modulo(FIRST, FIRST + DAY, 60 * MINUTE)


class Unhashable:
    """A user's own schedule that may change, and therefore has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and self.spans == other.spans

    def covers(self, start: int, end: int) -> bool:
        return FixedWindows(self.spans).covers(start, end)

    def windows(self, start: int, end: int) -> Iterator[Span]:
        return FixedWindows(self.spans).windows(start, end)


@pytest.mark.parametrize("only", [None, frozenset({"b", "c"}), frozenset({"a"})])
def test_hours_that_may_change_are_asked_each_time(only: frozenset[str] | None) -> None:
    ledger = Ledger()
    nine, hour = FIRST + 9 * 60 * MINUTE, 60 * MINUTE
    open_then = {"a": nine, "b": nine + hour, "c": nine + hour}
    own = {name: Unhashable([(start, start + hour)]) for name, start in open_then.items()}
    for name, theirs in own.items():
        ledger.add_resource(name, schedule=theirs)
    service = BookingService(ledger)
    service.add(EventType(id="talk", length=timedelta(hours=1), any_of=[["a", "b", "c"]]))

    def found() -> list[int]:
        query = AvailabilityQuery("talk", FIRST, FIRST + DAY, only=only)
        return list(service.available_slots(query, now=NOW).starts)

    some = only or frozenset(open_then)
    assert found() == sorted({start for name, start in open_then.items() if name in some})
    for theirs in own.values():
        theirs.spans = [(nine + 5 * hour, nine + 6 * hour)]
    assert found() == [nine + 5 * hour]
