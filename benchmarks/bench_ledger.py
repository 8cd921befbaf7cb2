"""What single verbs of the ledger cost, and that a small storm is decided as it should be.

Timed with ``python -m pytest benchmarks --benchmark-enable``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import MINUTE, drive, storm
from slotengine.core.ledger import Ledger
from slotengine.core.reservation import State
from slotengine.engine.uids import new_uid
from slotengine.errors import SlotTaken

TTL = 5 * MINUTE


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for i in range(100):
        ledger.add_resource(f"resource-{i}")
    return ledger


def fresh_slots() -> Iterator[tuple[str, int, int]]:
    """Yield slots that are all free, going round the resources."""
    for i in count():
        start = i // 100 * 30 * MINUTE
        yield f"resource-{i % 100}", start, start + 30 * MINUTE


def test_reserve_accepted(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    slots = fresh_slots()
    entry = benchmark(lambda: ledger.reserve(*next(slots), uid=new_uid(), now=0, ttl=TTL))
    assert entry.until == TTL


def test_reserve_refused(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    slot = next(fresh_slots())
    ledger.reserve(*slot, uid="first", now=0, ttl=TTL)

    def refused() -> bool:
        try:
            ledger.reserve(*slot, uid="second", now=1, ttl=TTL)
        except SlotTaken:
            return True
        return False

    assert benchmark(refused)


@pytest.mark.parametrize(
    ("verb", "state"), [("confirm", State.CONFIRMED), ("release", State.RELEASED)]
)
def test_reserve_and_end(
    benchmark: BenchmarkFixture, ledger: Ledger, verb: str, state: State
) -> None:
    slots, end = fresh_slots(), getattr(ledger, verb)
    now = count()

    def both() -> State:
        uid, at = new_uid(), next(now)
        ledger.reserve(*next(slots), uid=uid, now=at, ttl=TTL)
        ended: State = end(uid, now=at).state
        return ended

    assert benchmark(both) is state


def test_extend(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    ledger.reserve(*next(fresh_slots()), uid="uid", now=0, ttl=TTL)
    now = count()
    assert benchmark(lambda: ledger.extend("uid", ttl=TTL, now=next(now))).version > 1


def test_expire_a_thousand(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    slots, now = fresh_slots(), count(step=TTL)

    def hold_a_thousand() -> tuple[tuple[int], dict[str, int]]:
        at = next(now)
        for _ in range(1_000):
            ledger.reserve(*next(slots), uid=new_uid(), now=at, ttl=TTL)
        return (at + TTL,), {}

    rounds = 20 if benchmark.enabled else 1
    marked = benchmark.pedantic(  # type: ignore[no-untyped-call]
        ledger.expire, setup=hold_a_thousand, rounds=rounds
    )
    assert marked == 1_000


def test_a_small_storm_is_decided_as_the_floor_decides_it(benchmark: BenchmarkFixture) -> None:
    stream = storm(requests=2_000, resources=20, days=10)
    expected = drive(stream, RecordingTarget(stream))
    outcome = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: drive(stream, LedgerTarget(stream)), rounds=3
    )
    assert outcome.digest == expected.digest
    assert 0 < outcome.accepted < 2_000
