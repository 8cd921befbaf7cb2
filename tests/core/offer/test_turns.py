"""Round robin is fair, and depends on nothing but the reservations that stand."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import ReservationChange
from slotengine.core.ledger.expiry import ExpiryQueue
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.reservation import Entry, Reservable
from slotengine.core.ledger.resource import NO_TURNS, Turns
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.view import View
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Host
from slotengine.core.time.instant import MINUTE
from tests.core.ledger.entries import Made

SLOT = 30 * MINUTE
TERMS = Terms(retention=0)


def desk(
    weights: list[int], changes: list[ReservationChange] | None = None
) -> tuple[Ledger, BookingService]:
    """Return a ledger and a booking service with one group of hosts; record changes."""
    ledger = Ledger(TERMS)
    if changes is not None:
        ledger.on_change = lambda change, entry: changes.append(change)
    hosts = [f"host-{i}" for i in range(len(weights))]
    for host in hosts:
        ledger.add_resource(host)
    service = BookingService(ledger)
    group = [Host(host, weight=weight) for host, weight in zip(hosts, weights, strict=True)]
    for name in ("talk", "visit"):
        service.add(EventType(id=name, length=timedelta(minutes=30), any_of=[group]))
    return ledger, service


def turns(ledger: Ledger, host: str) -> Turns:
    """Return how much of a talk a host has, as a decision would see it now."""
    return ledger.occupancy.view(ledger.state.now).turns(ledger.resource(host), "talk")


def takes(
    service: BookingService, i: int, now: int = 0, event_type: str = "talk", slot: int = 0
) -> str:
    """Reserve the i-th slot, which is still free, and return the host who takes it."""
    request = SlotRequest(event_type, (slot or i + 1) * SLOT, ttl=5 * MINUTE)
    entry = service.reserve(request, uid=f"{event_type}-{i}", now=now)
    return entry.all_claims()[0].resource


weight_lists = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@given(weight_lists, st.integers(1, 60))
def test_nobody_is_a_whole_booking_away_from_their_share(weights: list[int], runs: int) -> None:
    """This holds at every moment of a run in which all hosts are free."""
    _, service = desk(weights)
    given_to: Counter[str] = Counter()
    for i in range(runs):
        given_to[takes(service, i)] += 1
        for host, weight in enumerate(weights):
            share = Fraction((i + 1) * weight, sum(weights))
            assert abs(given_to[f"host-{host}"] - share) < 1


@given(st.integers(1, 6), st.integers(1, 40))
def test_equals_differ_by_one_at_most(hosts: int, runs: int) -> None:
    _, service = desk([3] * hosts)
    given_to = Counter({f"host-{host}": 0 for host in range(hosts)})
    for i in range(runs):
        given_to[takes(service, i)] += 1
        assert max(given_to.values()) - min(given_to.values()) <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30))
def test_equals_stay_equal_whatever_is_given_up(steps: list[tuple[int, int]]) -> None:
    """The host with the least is next; of several, the one whose last turn is longest ago."""
    ledger, service = desk([1, 1, 1])
    held: dict[str, tuple[str, int]] = {}
    for now, (what, which) in enumerate(steps):
        if what == 0 and held:
            uid = sorted(held)[which % len(held)]
            ledger.release(uid, now=now)
            del held[uid]
            continue
        loads = Counter({f"host-{host}": 0 for host in range(3)})
        latest = dict.fromkeys(loads, -1)
        for host, at in held.values():
            loads[host] += 1
            latest[host] = max(latest[host], at)
        expected = min(loads, key=lambda host: (loads[host], latest[host], host))
        assert takes(service, now, now) == expected
        held[f"talk-{now}"] = expected, now


@given(weight_lists, st.integers(0, 20), st.integers(1, 10))
def test_turns_survive_a_restart(weights: list[int], before: int, after: int) -> None:
    """A ledger rebuilt from the recorded changes picks the same hosts as the original."""
    changes: list[ReservationChange] = []
    ledger, service = desk(weights, changes)
    for i in range(before):
        takes(service, i, now=i)
        if i % 3 == 0:
            ledger.confirm(f"talk-{i}", now=i)
        elif i % 5 == 0:
            ledger.release(f"talk-{i}", now=i)
    again, its_service = desk(weights)
    for change in changes:
        apply(again.state, change)
    for i in range(before, before + after):
        assert takes(service, i, now=i) == takes(its_service, i, now=i)
    again.check_invariants()


def test_each_event_type_has_its_own_turns() -> None:
    _, service = desk([1, 1])
    assert takes(service, 0) == "host-0"
    assert takes(service, 1, event_type="visit") == "host-0"
    assert takes(service, 2) == "host-1"


def test_holds_count_until_they_lapse() -> None:
    ledger, service = desk([1, 1])
    assert [takes(service, i) for i in range(2)] == ["host-0", "host-1"]
    ledger.confirm("talk-1", now=1)
    assert takes(service, 2, now=5 * MINUTE) == "host-0"  # its hold lapsed just now
    assert turns(ledger, "host-0").load == 1


def test_who_cannot_loses_no_turn() -> None:
    ledger, service = desk([1, 1])
    ledger.reserve("host-0", SLOT, 2 * SLOT, uid="a", now=0, ttl=5 * MINUTE)
    assert [takes(service, i) for i in range(3)] == ["host-1", "host-0", "host-0"]


def test_a_backlog_of_lapsed_holds_counts_for_nobody() -> None:
    """There are more than one call cleans up, and none is cleaned up before the pick."""
    ledger, service = desk([1, 1, 1])
    ledger.maintenance = 0
    for i in range(3_001):  # one host more than the others
        takes(service, i)
    assert takes(service, 3_001, now=5 * MINUTE) == "host-0"
    assert takes(service, 3_002, now=5 * MINUTE) == "host-1"
    assert ledger.tally().held > 1_000


@pytest.mark.parametrize("counted", [True, False])
def test_turns_are_those_of_one_event_type_that_have_not_lapsed(counted: bool) -> None:
    """Whether they are counted as things come and go, or when somebody asks."""
    there = Made()
    resource, queue = there.resource("host"), ExpiryQueue(there.rows.numbers)
    assert resource.capacity == 1
    if counted:
        resource.count_turns()
        resource.count_turns()  # harmless to repeat
    made = ((0, 50, "talk"), (10, 100, "talk"), (20, 100, "visit"))
    for start, until, event_type in made:
        entry = there.entry(start, start + 5, until=until, created=start)
        entry.resource, entry.event_type, entry.placed = resource, event_type, True
        resource.take(resource.timeline.room(start, start + 5, 1), start, start + 5, 1, entry)
        queue.push(entry.number, until, until - start)
    for now, expected in ((49, Turns(2, 10)), (50, Turns(1, 10)), (100, NO_TURNS)):
        assert View(there.entries, {}, queue, now).turns(resource, "talk") == expected
    # Of two that are left, the earlier one counts when the later one moves away.
    for moves, expected in ((10, Turns(1, 0)), (0, Turns(1, 10))):
        view = View(there.entries, {}, queue, 20, own=entry_of(resource, moves))
        assert view.turns(resource, "talk") == expected


def entry_of(resource: Reservable, start: int) -> Entry:
    """Return what stands on a resource from a moment on."""
    owner = resource.overlapping(start, start + 1)[0].owner
    assert isinstance(owner, Entry)
    return owner
