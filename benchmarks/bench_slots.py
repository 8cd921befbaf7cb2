"""The cost of listing slots, and of reserving one of a pool; the naive scan must agree."""

from __future__ import annotations

from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.listing import FIRST, Listing
from benchmarks.workloads import DAY, MINUTE
from slotengine.core.offer.booking_rules import SlotRequest


@pytest.mark.parametrize(("hosts", "bookings"), [(1, 0), (1, 50), (1, 500), (50, 0), (50, 20)])
def test_list_a_month(benchmark: BenchmarkFixture, hosts: int, bookings: int) -> None:
    listing = Listing(hosts, bookings, around=0)
    assert list(benchmark(listing.ours)) == listing.naive()


def test_the_next_free_slot(benchmark: BenchmarkFixture) -> None:
    listing = Listing(50, 5, around=0)
    query = listing.query._replace(end=FIRST + 366 * DAY)
    found = benchmark(lambda: listing.service.next_available_slots(query, 1, now=0))
    assert found.starts == listing.naive()[:1]


def test_reserve_one_of_fifty(benchmark: BenchmarkFixture) -> None:
    """Choose one of fifty hosts by turns.  All are free: each round uses another day."""
    listing = Listing(50, 0)
    numbers = count()

    def reserve_and_release() -> str:
        i = next(numbers)
        start = FIRST + i % 1_000 * DAY + 9 * 60 * MINUTE
        request = SlotRequest("talk", start, ttl=5 * MINUTE)
        entry = listing.service.reserve(request, uid=f"uid-{i}", now=i)
        listing.ledger.release(entry.uid, now=i)
        return entry.all_claims()[0].resource

    assert benchmark(reserve_and_release).startswith("host-")
