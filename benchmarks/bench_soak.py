"""The soak at a tiny size: it runs, it finds nothing wrong, and it would find a fault.

Nothing here depends on speed.  Durations are reported but not judged.
"""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from benchmarks.soak.__main__ import main, soaked
from benchmarks.soak.audit import Bag
from benchmarks.soak.customers import KINDS
from benchmarks.soak.plan import QUARTERS, QUICK
from benchmarks.soak.verdict import findings
from slotengine import Reservation, SlotEngine, minutes
from slotengine.testing.simulation.faults import fault

TINY = replace(QUICK, seconds=0.6)


def quiet(second: float, text: str) -> None:
    """Ignore the progress."""


def test_a_soak_makes_calls_of_each_kind_finds_nothing_and_leaves_nothing() -> None:
    soak = soaked(TINY, quiet)
    assert soak.audit.broken.told == []
    assert soak.left.keys() >= {"holds", "bookings", "ended", "keys"}
    assert not any(soak.left.values())
    done = {outcome.partition(":")[0] for outcome in soak.customers.outcomes}
    assert done > {"room", "units", "two claims", "confirm", "release", "extend", "hot"}
    assert done <= {*KINDS, "forgotten"}
    assert soak.audit.whole >= 1
    assert soak.audit.count.seen == soak.audit.watch.seen > 50
    assert len(soak.rows) >= 1
    assert sum(soak.lapsed[quarter].count for quarter in range(QUARTERS)) > 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("version-not-raised", "version"),
        ("expiry-told-twice", "the engine counts"),
        ("expiry-not-told", "the engine counts"),
        ("booking-lapses", "kept"),
    ],
)
def test_a_soak_finds_what_is_wrong(name: str, told: str) -> None:
    with fault(name):
        soak = soaked(TINY, quiet)
    assert any(told in broken for broken in soak.audit.broken.told), soak.audit.broken.told


def test_a_soak_finds_what_stays_for_good() -> None:
    with fault("never-forgets"):
        soak = soaked(TINY, quiet)
    assert soak.left["entries"] > 0


def test_the_command_writes_the_verdict_and_draws_it(tmp_path: Path) -> None:
    arguments = ["--quick", "--minutes", "0.012", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "invariants broken" in result.output
    assert "too short for anything to settle" in result.output
    written = json.loads((tmp_path / "soak.json").read_text())
    assert written["columns"].keys() >= {"second", "rss MB", "since due p99.9 us"}
    assert len({len(values) for values in written["columns"].values()}) == 1
    assert "| invariants broken | 0  | ≤ 0  | met |" in (tmp_path / "soak.md").read_text()
    picture = (tmp_path / "soak.svg").read_text()
    assert all(title in picture for title in ("Memory", "Reservations", "answer", "lapsed"))
    assert len(picture) < 200_000


def test_who_finds_something_ends_with_1(tmp_path: Path) -> None:
    arguments = ["--quick", "--minutes", "0.012", "--output", str(tmp_path)]
    with fault("expiry-not-told"):
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "Broken: the engine counts" in " ".join(result.output.split())


def test_whoever_interrupts_it_has_what_was_found_by_then() -> None:
    heard = []

    def interrupt(second: float, text: str) -> None:
        heard.append(text)
        if len(heard) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    soak = soaked(replace(TINY, seconds=600.0), interrupt)
    assert soak.interrupted
    assert soak.ran_s < 300
    assert soak.audit.broken.told == []
    assert not any(soak.left.values())
    never = next(bar for bar in findings(soak).bars if bar.name == "calls due that were never made")
    assert never.measured > 0
    assert "interrupted" in never.note


def test_growth_is_told_of_a_soak_that_has_settled() -> None:
    plan = replace(QUICK, horizon_s=0.15)
    assert plan.settles
    names = [bar.name for bar in findings(soaked(plan, quiet)).bars]
    assert "memory of the process: growth an hour" in names


def test_a_bag_gives_any_and_keeps_the_rest() -> None:
    async def some() -> list[Reservation]:
        async with SlotEngine() as engine:
            engine.add_resource("room", capacity=3)
            start = engine.now()
            return [await engine.reserve("room", start, minutes(5)) for _ in range(3)]

    one, two, three = anyio.run(some)
    bag, rng = Bag(), random.Random(1)
    assert bag.draw(rng) is None
    for reservation in (one, two, three, two):
        bag.put(reservation)
    assert len(bag) == 3
    assert {bag.draw(rng) for _ in range(100)} == {one, two, three}
    assert bag.discard(one.uid) == one
    assert bag.discard(one.uid) is None
    assert (bag.get(two.uid), bag.get(three.uid)) == (two, three)
    assert sorted(bag.uids()) == sorted([two.uid, three.uid])
