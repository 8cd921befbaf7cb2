"""The cost of single verbs of the ledger, and a small storm that must be decided correctly.

To measure, run ``python -m pytest benchmarks --benchmark-enable``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import MINUTE, decide, drive, steps, storm
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.reservation import State
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
    """Yield free slots, going round the resources."""
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


def thousand_holds(ledger: Ledger, slots: Iterator[tuple[str, int, int]]) -> list[str]:
    """Hold a thousand slots, and return the uids."""
    uids = [new_uid() for _ in range(1_000)]
    for uid in uids:
        ledger.reserve(*next(slots), uid=uid, now=0, ttl=TTL)
    return uids


@pytest.mark.parametrize(
    ("verb", "state"), [("confirm", State.CONFIRMED), ("release", State.RELEASED)]
)
def test_end_a_thousand(
    benchmark: BenchmarkFixture, ledger: Ledger, verb: str, state: State
) -> None:
    slots, end = fresh_slots(), getattr(ledger, verb)

    def end_all(uids: list[str]) -> Counter[State]:
        return Counter(end(uid, now=1).state for uid in uids)

    ended = benchmark.pedantic(  # type: ignore[no-untyped-call]
        end_all, setup=lambda: ((thousand_holds(ledger, slots),), {}), rounds=rounds(benchmark)
    )
    assert ended == {state: 1_000}


def rounds(benchmark: BenchmarkFixture) -> int:
    """Return how often a thousand calls are measured; once if nothing is measured."""
    return 50 if benchmark.enabled else 1


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

    marked = benchmark.pedantic(  # type: ignore[no-untyped-call]
        ledger.expire, setup=hold_a_thousand, rounds=rounds(benchmark)
    )
    assert marked == 1_000


def test_a_small_storm_is_decided_as_the_floor_decides_it(benchmark: BenchmarkFixture) -> None:
    stream = storm(requests=2_000, resources=20, days=10)
    expected = decide(stream, RecordingTarget(stream))
    known = steps(stream, RecordingTarget(stream))
    outcome = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: drive(stream, known, LedgerTarget(stream)), rounds=3
    )
    assert outcome.digest == expected.digest
    assert 0 < outcome.accepted < 2_000
