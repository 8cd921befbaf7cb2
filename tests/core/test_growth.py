"""The cost of an operation must not depend on unrelated data.

Goal: no cost grows with the data next to it.

Method: the same call is made in a small world and in one with more of everything else,
and the instructions are counted, so no test depends on speed.  `benchmarks.pools` and
`benchmarks.beside` measure the time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from slotengine.core.ledger.commands import Release, Reserve
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Limit, Period
from slotengine.core.time.instant import DAY, HOUR, MINUTE, SECOND
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import NoneFree, SlotAwaited, SlotTaken
from tests.instructions import instructions

FIRST = 21_915 * DAY + 17 * SECOND  # 2030-01-01, and some seconds
TTL = 5 * MINUTE


def levels(cost: Callable[[int], int], few: int, many: int, *, by: float = 1.2) -> bool:
    """Return whether a cost is about the same in a large world as in a small one."""
    small, large = cost(few), cost(many)
    assert small > 20, "the call does something"
    return large <= by * small


def counted(bookings: int, *, confirmed: bool = True) -> BookingService:
    """Return a service with one host and bookings of five minutes under a yearly limit."""
    ledger = Ledger()
    ledger.add_resource("host")
    service = BookingService(ledger)
    yearly = Limit(Period.YEAR, count=100_000)
    five = timedelta(minutes=5)
    service.add(EventType(id="talk", length=five, all_of=["host"], limits=[yearly]))
    for i in range(bookings):
        request = SlotRequest("talk", FIRST + i * 5 * MINUTE, ttl=TTL)
        service.reserve(request, uid=f"uid-{i}", now=0)
        if confirmed:
            ledger.confirm(f"uid-{i}", now=0)
    return service


@pytest.mark.parametrize("which", ["first", "last"])
def test_cancelling_does_not_look_through_what_shares_a_limit(which: str) -> None:
    def cost(bookings: int) -> int:
        service = counted(bookings)
        uid = "uid-0" if which == "first" else f"uid-{bookings - 1}"
        taken = instructions(lambda: service.ledger.cancel(uid, now=0))
        service.ledger.check_invariants()
        return taken

    assert levels(cost, 50, 400)


def test_giving_back_one_of_many_units_does_not_look_through_the_others() -> None:
    """In a theatre, everybody takes the same span, and owners are distinguished by identity."""

    def cost(seats: int) -> int:
        ledger = Ledger()
        ledger.add_resource("theatre", capacity=1_000)
        for i in range(seats):
            ledger.reserve("theatre", FIRST, FIRST + 3 * HOUR, uid=f"uid-{i}", now=0, ttl=TTL)
        taken = instructions(lambda: ledger.release(f"uid-{seats - 2}", now=0))
        ledger.check_invariants()
        return taken

    assert levels(cost, 50, 400)


@pytest.mark.parametrize("ignoring", [(), ("uid-0",), ("uid-0", "uid-1", "nobody")])
@pytest.mark.parametrize("swept", [True, False])
def test_slots_do_not_look_through_what_shares_a_limit(
    ignoring: tuple[str, ...], swept: bool
) -> None:
    """Neither with reservations to ignore, nor while a lapsed hold is not marked yet."""

    def cost(bookings: int) -> int:
        service = counted(bookings)
        if not swept:
            service.reserve(SlotRequest("talk", FIRST + 300 * DAY, ttl=TTL), uid="lapses", now=0)
        start = FIRST + 200 * DAY
        query = AvailabilityQuery("talk", start, start + 6 * HOUR, ignoring=frozenset(ignoring))
        return instructions(lambda: service.available_slots(query, now=0 if swept else TTL))

    assert levels(cost, 50, 400)


def test_a_limit_that_only_a_lapsed_hold_reaches_is_not_reached() -> None:
    ledger = Ledger(maintenance=0)
    ledger.add_resource("host")
    service = BookingService(ledger)
    once = Limit(Period.YEAR, count=1)
    five = timedelta(minutes=5)
    service.add(EventType(id="talk", length=five, all_of=["host"], limits=[once]))
    service.reserve(SlotRequest("talk", FIRST + DAY, ttl=TTL), uid="a", now=0)
    query = AvailabilityQuery("talk", FIRST, FIRST + HOUR)
    assert not service.available_slots(query, now=TTL - 1).starts
    assert service.available_slots(query, now=TTL).starts


def test_a_long_span_does_not_slow_the_hours_it_does_not_touch() -> None:
    """Neither while it exists, nor after it has gone."""

    def cost(bookings: int) -> int:
        ledger = Ledger()
        ledger.add_resource("courts", capacity=10)
        ledger.reserve("courts", FIRST, FIRST + 300 * DAY, uid="long", now=0, ttl=TTL)
        for i in range(bookings):
            start = FIRST + i * 30 * MINUTE
            ledger.reserve("courts", start, start + 20 * MINUTE, uid=f"uid-{i}", now=0, ttl=TTL)
        last = FIRST + bookings * 30 * MINUTE
        around = last - 2 * HOUR, last + 2 * HOUR
        standing = instructions(lambda: ledger.busy("courts", *around, now=0))
        assert len(ledger.reservations_in("courts", *around, now=0)) == 5
        ledger.release("long", now=0)
        gone = instructions(lambda: ledger.busy("courts", *around, now=0))
        assert len(ledger.reservations_in("courts", *around, now=0)) == 4
        assert gone <= standing
        ledger.check_invariants()
        return standing

    assert levels(cost, 50, 400)


@pytest.mark.parametrize("per", list(Period))
def test_a_limit_is_counted_without_the_calendar(per: Period) -> None:
    """A period is computed once, and then a limit adds little to the cost of a reservation.

    This counts the second reservation of a period.
    """

    def cost(limits: list[Limit]) -> int:
        ledger = Ledger()
        ledger.add_resource("host")
        service = BookingService(ledger)
        five = timedelta(minutes=5)
        service.add(
            EventType(id="talk", length=five, all_of=["host"], limits=limits, zone="Europe/Rome")
        )
        service.reserve(SlotRequest("talk", FIRST, ttl=TTL), uid="first", now=0)
        request = SlotRequest("talk", FIRST + 5 * MINUTE, ttl=TTL)
        return instructions(lambda: service.reserve(request, uid="second", now=0))

    assert cost([Limit(per, count=100)]) <= 2 * cost([])


# --- Pools -------------------------------------------------------------------------------


def pool(hosts: int, **more: Any) -> BookingService:
    """Return hosts with the same hours, each with a booking a day and some holds."""
    ledger = Ledger()
    day = FixedWindows(
        [(FIRST + i * DAY + 9 * HOUR, FIRST + i * DAY + 17 * HOUR) for i in range(10)]
    )
    ledger.add_resource("always", schedule=day)
    names = [f"host-{i}" for i in range(hosts)]
    for number, name in enumerate(names):
        ledger.add_resource(name, schedule=day)
        for i in range(10):
            if i % 3 == number % 3:
                continue
            start = FIRST + i * DAY + (9 + (number + i) % 8) * HOUR
            ledger.reserve(name, start, start + HOUR, uid=f"{name}-{i}", now=0, ttl=TTL)
            if i % 4:
                ledger.confirm(f"{name}-{i}", now=0)
    service = BookingService(ledger)
    half_hour = timedelta(minutes=30)
    service.add(EventType(id="talk", length=half_hour, any_of=[names], **more))
    return service


ODD_STEP = timedelta(minutes=45)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"seats": 3},
        {"all_of": ["always"]},
        {"interval": ODD_STEP},
        {"interval": ODD_STEP, "seats": 3},
        {"interval": ODD_STEP, "all_of": ["always"]},
        {"before": timedelta(minutes=5), "interval": timedelta(minutes=20)},
    ],
    ids=lambda more: ", ".join(more) or "plain",
)
def test_listing_a_pool_does_not_look_at_everybody(more: dict[str, Any]) -> None:
    def cost(hosts: int) -> int:
        service = pool(hosts, **more)
        query = AvailabilityQuery("talk", FIRST, FIRST + 10 * DAY)
        service.available_slots(query, now=0)  # hours are computed once
        return instructions(lambda: service.available_slots(query, now=0))

    assert levels(cost, 10, 80)


@pytest.mark.parametrize("hosts", [10, 100])
@pytest.mark.parametrize("why", ["taken", "closed", "imported"])
def test_refusing_one_of_a_pool_is_no_more_than_giving_one(hosts: int, why: str) -> None:
    service = pool(hosts)
    ledger, names = service.ledger, [f"host-{i}" for i in range(hosts)]
    free, full = FIRST + 5 * DAY + 16 * HOUR + 30 * MINUTE, FIRST + 6 * DAY + 9 * HOUR
    if why == "taken":
        for number, name in enumerate(names):
            with suppress(SlotTaken):
                ledger.reserve(name, full, full + HOUR, uid=f"full-{number}", now=0, ttl=TTL)
    elif why == "closed":
        full = FIRST + 6 * DAY
    else:
        ledger.replace_busy("calendar", {key: [(full, full + HOUR)] for key in names}, now=0)
    service.reserve(
        SlotRequest("talk", free - HOUR, ttl=TTL), uid="first", now=0
    )  # turns are counted
    accepted = instructions(
        lambda: service.reserve(SlotRequest("talk", free, ttl=TTL), uid="accepted", now=0)
    )

    def refuse() -> None:
        with pytest.raises(NoneFree):
            service.reserve(SlotRequest("talk", full, ttl=TTL), uid="refused", now=0)

    assert instructions(refuse) <= 1.2 * accepted


# --- Imported busy time ------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
def test_replacing_what_one_source_says_does_not_sort_the_others(apart: bool) -> None:
    def cost(sources: int) -> int:
        ledger = Ledger()
        ledger.add_resource("host")
        spread = DAY if apart else 30 * MINUTE
        for number in range(sources):
            starts = [FIRST + (i * sources + number) * spread for i in range(20)]
            spans = [(start, start + 10 * MINUTE) for start in starts]
            ledger.replace_busy(f"source-{number}", {"host": spans}, now=0)
        spans = [(FIRST + i * 15 * MINUTE, FIRST + i * 15 * MINUTE + MINUTE) for i in range(20)]
        taken = instructions(lambda: ledger.replace_busy("source-0", {"host": spans}, now=0))
        ledger.resource("host").check_invariants()
        return taken

    assert levels(cost, 5, 50)


# --- Batches and moves among much that is live -----------------------------------------------


def full_hall(claims: int, *, free: int) -> Ledger:
    """Return a hall with overlapping holds, and units that are free beside them."""
    ledger = Ledger()
    ledger.add_resource("hall", capacity=claims + free)
    for i in range(claims):
        ledger.reserve("hall", i % 7, 100 + i % 7, uid=f"uid-{i}", now=0, ttl=TTL)
    return ledger


def proposed(resource: str, start: int, end: int, **more: Any) -> Proposal:
    return Proposal(start, end, (Claim(resource, start, end),), TTL, **more)


@pytest.mark.parametrize("fitting", [1, 5])
def test_a_batch_does_not_look_through_what_is_live_beside_it(fitting: int) -> None:
    """Whether all of it fits, or some of it is refused."""

    def cost(claims: int) -> int:
        ledger = full_hall(claims, free=fitting)
        batch = [proposed("hall", 20 + i, 60 + i) for i in range(5)]
        uids = [f"batch-{i}" for i in range(5)]
        taken = instructions(lambda: ledger.reserve_each(batch, uids=uids, now=1))
        ledger.check_invariants()
        assert ledger.tally().held == claims + fitting
        return taken

    assert levels(cost, 50, 400)


def test_a_batch_does_not_look_through_what_shares_a_limit() -> None:
    year = (Claim("limit:year", 0, 10**7),)

    def cost(claims: int) -> int:
        ledger = Ledger()
        ledger.add_limit("limit:year", 1_000)
        ledger.add_resource("room")
        for i in range(claims):
            ledger.reserve("room", i * 10, i * 10 + 10, uid=f"u{i}", now=0, ttl=TTL, limits=year)
        starts = [10**6 + i * 10 for i in range(5)]
        batch = [proposed("room", start, start + 10, limits=year) for start in starts]
        uids = [f"batch-{i}" for i in range(5)]
        return instructions(lambda: ledger.reserve_each(batch, uids=uids, now=1))

    assert levels(cost, 50, 400)


@pytest.mark.parametrize("to", [(0, 90), (50, 103), (90, 200)])
def test_a_move_within_a_full_hall_does_not_look_through_it(to: tuple[int, int]) -> None:
    """Whether its own claim covers all that it wants, or some, or there is no room."""

    def cost(claims: int) -> int:
        ledger = full_hall(claims, free=0)

        def move() -> None:
            with suppress(SlotTaken):
                ledger.move("uid-0", proposed("hall", *to), now=1)

        return instructions(move)

    assert levels(cost, 50, 400)


def test_a_move_within_a_limit_that_is_used_up_does_not_look_through_it() -> None:
    year = (Claim("limit:year", 0, 10**7),)

    def cost(claims: int) -> int:
        ledger = Ledger()
        ledger.add_limit("limit:year", claims)
        ledger.add_resource("room")
        for i in range(claims):
            ledger.reserve("room", i * 10, i * 10 + 10, uid=f"u{i}", now=0, ttl=TTL, limits=year)
        later = proposed("room", 10**6, 10**6 + 10, limits=year)
        return instructions(lambda: ledger.move("u0", later, now=1))

    assert levels(cost, 50, 400)


def test_a_batch_and_a_move_do_not_look_through_the_members_of_a_session() -> None:
    def cost(members: int) -> int:
        ledger = Ledger()
        ledger.add_resource("class")
        more = {"event_type": "yoga", "seats": Seats(1_000, 1)}
        for i in range(members):
            ledger.reserve_proposal(proposed("class", 0, 10, **more), uid=f"uid-{i}", now=0)
        batch = [proposed("class", 0, 10, **more)] * 5
        two = proposed("class", 0, 10, event_type="yoga", seats=Seats(1_000, 2))
        uids = [f"batch-{i}" for i in range(5)]

        def both() -> None:
            ledger.reserve_each(batch, uids=uids, now=1)
            ledger.move("uid-0", two, now=1)

        taken = instructions(both)
        ledger.check_invariants()
        assert ledger.tally().sessions == 1
        return taken

    assert levels(cost, 50, 400)


# --- The waitlist ----------------------------------------------------------------------------


def waited_for(behind: int, elsewhere: int) -> Ledger:
    """Return a ledger with a hold, commands that wait for its span, and some for other spans."""
    ledger = Ledger(Terms(max_waiters=10_000))
    ledger.add_resource("room")
    ledger.reserve("room", FIRST, FIRST + HOUR, uid="held", now=0, ttl=TTL)
    for i in range(elsewhere):
        start = FIRST + (1 + i) * DAY
        ledger.reserve("room", start, start + HOUR, uid=f"other-{i}", now=0, ttl=TTL)
        wait_for(ledger, start, f"elsewhere-{i}")
    for i in range(behind):
        wait_for(ledger, FIRST, f"behind-{i}")
    return ledger


def wait_for(ledger: Ledger, start: int, uid: str) -> None:
    request = Proposal(start, start + HOUR, (Claim("room", start, start + HOUR),), TTL)
    ledger.step(Reserve((request,), (uid,), wait=HOUR), 0)


@pytest.mark.parametrize("many", [(1_000, 10), (10, 1_000)], ids=["behind", "elsewhere"])
def test_what_waits_behind_or_elsewhere_costs_nothing(many: tuple[int, int]) -> None:
    """Goal: joining, freeing and serving cost the same however many commands wait.

    But for the logarithm: a hundred times as many are seven steps of a bisection more.
    """

    def cost(counts: tuple[int, int]) -> int:
        ledger = waited_for(*counts)

        def work() -> None:
            wait_for(ledger, FIRST, "new")
            ledger.step(Release("held"), 0)
            assert len(ledger.serve(0)) == 1
            with pytest.raises(SlotAwaited):
                ledger.reserve("room", FIRST, FIRST + HOUR, uid="late", now=0, ttl=TTL)

        return instructions(work)

    assert cost(many) <= 1.2 * cost((10, 10))
