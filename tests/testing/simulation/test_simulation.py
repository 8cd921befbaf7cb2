"""The simulator: nothing is found in the engine, whatever is broken on purpose is, and each
history is the same each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slotengine.core.ledger.changes import Change, Forgotten, Moved, Reserved
from slotengine.core.ledger.commands import (
    Adopt,
    Annotate,
    Cancel,
    Confirm,
    Extend,
    Mode,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Configure, Kind, Setting
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, State
from slotengine.engine.values import ImportedSpan, Statistics
from slotengine.testing.internal.actions import (
    Action,
    Answer,
    Get,
    IsFree,
    ListLive,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    waits,
)
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation import (
    MemoryStore,
    Played,
    TranscriptLine,
    history,
    investigate,
    play,
    simulate,
)
from slotengine.testing.simulation.faults import DESCRIPTIONS, FAULTS, fault
from slotengine.testing.simulation.shrinking import shortest
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    TICK,
    Call,
    CallMode,
    Crash,
    Fitted,
    ForgetUpTo,
    GiveUp,
    Import,
    Jump,
    JumpTo,
    JumpToEnd,
    Probe,
    Prolong,
    Repeat,
    Resume,
    Shorten,
    Step,
    at,
)
from slotengine.testing.watch import RULES

ROOT = Path(__file__).parents[3]
STEPS = 100
Kept = TypeVar("Kept")


# --- Nothing is found --------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "seeds"), [("asyncio", 25), ("trio", 10)])
def test_nothing_is_found(backend: str, seeds: int) -> None:
    """With fresh seeds: `slotengine simulate --seed 1000 --seeds 10000`."""
    for seed in range(seeds):
        assert play(history(seed, STEPS), backend=backend).failure is None, f"seed {seed}"


def kind(action: Action | Fitted) -> object:
    """Return what kind of thing a client does."""
    return action.mode if isinstance(action, Reserve) else type(action)


def several(answer: Answer, kind: type[Kept]) -> list[Kept]:
    """Return all of a kind that an answer has."""
    every = answer if isinstance(answer, list) else [answer]
    return [one for one in every if isinstance(one, kind)]


def test_everything_happens() -> None:
    """Goal: that nothing was found means something.

    Method: over some seeds, each verb is both done and refused, and everything
    that can befall a client does.
    """
    plays = [(history(seed, STEPS), play(history(seed, STEPS))) for seed in range(120)]
    told = [one for _, played in plays for one in played.transcript]
    calls = [(one.what, one.answer) for one in told if isinstance(one.what, Call)]
    accepted = (ObservedReservation, list)
    done = {kind(call.action) for call, answer in calls if isinstance(answer, accepted)}
    refused = {kind(call.action) for call, answer in calls if isinstance(answer, tuple)}
    assert done >= {
        *Mode, ReserveSlot, Extend, Move, MoveTo, MoveSlot, Shorten, Prolong, Confirm, Release,
        Cancel, Annotate, Replace, Configure, Adopt, Get, ListLive,
    }  # fmt: skip
    # Some say it in what they return, unless it can never be had, or have nothing to refuse.
    assert refused - {Mode.EACH} == done - {Mode.EACH, Adopt, Get, ListLive}
    assert {answer for call, answer in calls if kind(call.action) is IsFree} >= {True, False}
    assert sum(getattr(call.action, "jump", False) for call, _ in calls) > 20
    forgotten = [answer for call, answer in calls if kind(call.action) is ForgetUpTo]
    assert max(answer for answer in forgotten if isinstance(answer, int)) > 1
    kinds = {answer[0].__name__ for _, answer in calls if isinstance(answer, tuple)}
    assert kinds >= {
        "SlotTaken", "OutsideHours", "NoSeatsLeft", "NoneFree", "HoldExpired", "WrongState",
        "StaleVersion", "LifeExceeded", "KeyReused", "UnknownReservation", "SlotAwaited",
        "TooManyWaiting", "LimitReached", "QuotaExceeded", "TooSoon", "NotBookable",
        "InvalidTTL", "Retired", "StillTaken", "StaleSetting", "TooManyUnits", "AlreadyOver",
    }  # fmt: skip
    observed = [one for _, answer in calls for one in several(answer, ObservedReservation)]
    assert {one.state for one in observed} == set(State)
    assert sum(one.state is State.HELD and one.until == NEVER for one in observed) > 5
    settings = [one for _, answer in calls for one in several(answer, Setting)]
    assert {one.kind for one in settings} == {Kind.RESOURCE, Kind.EVENT_TYPE, Kind.LIMIT}
    repeats = [one.answer for one in told if isinstance(one.what, Repeat)]
    assert sum(isinstance(answer, accepted) for answer in repeats) > 50
    late = {answer[0].__name__ for answer in repeats if isinstance(answer, tuple)}
    assert late >= {"SessionExpired", "InvalidField", "UnknownReservation", "SlotTaken"}
    assert {call.mode for call, _ in calls} == set(CallMode)
    befell = Counter(type(one.what) for one in told if not isinstance(one.what, str))
    assert {type(step) for steps, _ in plays for step in steps} == set(befell)
    assert any(one.what == Crash(lost) for one in told for lost in (1, 2, 5))


def test_those_who_wait_are_served_whatever_it_is_that_becomes_free() -> None:
    """Goal: nobody sleeps through a chance, and there are chances of every kind.

    Method: over some seeds, what happened right before one who waited was
    served; and whatever else becomes of those who wait does happen.
    """
    causes = Counter[object]()
    fates = Counter[str]()
    for seed in range(300):
        waiting: list[Call] = []
        cause: object = None
        for what, answer in play(history(seed, STEPS)).transcript:
            if isinstance(what, Call) and answer == "waits":
                waiting.append(what)
            elif isinstance(what, Call) and what in waiting:
                waiting.remove(what)
                served = isinstance(answer, ObservedReservation)
                fates["served" if served else answer[0].__name__] += 1
                causes[cause] += served
                continue
            elif isinstance(what, str):
                fates["cancelled when served"] += 1
            cause = kind(what.action) if isinstance(what, Call) else type(what)
    assert causes.keys() >= {
        Release, Cancel, Move, MoveTo, Shorten, Replace, Configure, Import, GiveUp, Jump, JumpTo,
        JumpToEnd, str,
    }  # fmt: skip
    assert fates["served"] > 200
    assert fates["cancelled when served"] > 20
    assert fates.keys() >= {"SlotTaken", "SlotAwaited", "QuotaExceeded", "NoneFree"}


def test_calls_that_wait_can_be_repeated_too() -> None:
    """Goal: who waits under a command id is served once, and not after its session.

    Method: some histories in which all calls that wait are numbered, and repeated later.
    """
    fates = Counter[str]()
    for seed in range(60):
        steps: list[Step] = []
        for step in history(seed, STEPS):
            if isinstance(step, Call) and waits(step.action):
                steps += [step._replace(numbered=True), Jump(1), Repeat(step.client)]
            else:
                steps.append(step)
        played = play(steps)
        assert played.failure is None, f"seed {seed}"
        for what, answer in played.transcript:
            if isinstance(what, Call) and waits(what.action):
                fates["waits" if answer == "waits" else type(answer).__name__] += 1
            elif isinstance(what, Repeat):
                fates[f"repeated: {type(answer).__name__}"] += 1
    assert fates["waits"] > 50
    assert fates["ObservedReservation"] > 50
    assert fates["repeated: ObservedReservation"] > 50
    assert fates["repeated: tuple"] > 5


def test_what_is_offered_is_looked_at_and_taken() -> None:
    looks = [
        (what, answer)
        for seed in range(40)
        for what, answer in play(history(seed, STEPS)).transcript
        if isinstance(what, Probe)
    ]
    some = [(what.event_type, what.moves) for what, answer in looks if "nothing" not in answer]
    assert {event_type for event_type, _ in some} == EVENT_TYPES.keys()
    assert sum(moves for _, moves in some) > 3
    assert any("taken)" in answer for _, answer in looks)  # seats of a session that can be joined
    assert any(answer == "offered: nothing" for _, answer in looks)


def test_what_is_parked_is_done_later_or_never() -> None:
    done = cancelled = 0
    for seed in range(40):
        steps = history(seed, STEPS)
        asked = [step for step in steps if isinstance(step, Call) and step.mode is CallMode.PARKED]
        told = play(steps).transcript
        done += sum(one.what in asked and one.answer != "nothing to do" for one in told)
        cancelled += sum(one.what == Resume(cancel=True) for one in told)
    assert done > 20
    assert cancelled > 20


# --- The same each time ------------------------------------------------------------------


def texts(seeds: Sequence[int], backend: str = "asyncio") -> list[str]:
    return [play(history(seed, STEPS), backend=backend).text for seed in seeds]


def test_a_seed_plays_the_same_on_any_backend_each_time() -> None:
    once = texts(range(12))
    assert all(text.count("\n") > 0.9 * STEPS for text in once)
    assert len(set(once)) == len(once)
    assert texts(range(12)) == once
    assert texts(range(12), "trio") == once


def test_a_seed_plays_the_same_in_any_process() -> None:
    """Byte for byte, whatever Python's hashes are, by which sets are ordered."""
    program = (
        "from slotengine.testing.simulation import history, play\n"
        f"for seed in range(6): print(play(history(seed, {STEPS})).text, end='')"
    )
    for hash_seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert ended.stdout == "".join(texts(range(6)))


@given(st.integers(0, 10**9), st.integers(1, 30), st.integers(0, 30))
def test_a_longer_history_begins_with_the_shorter(seed: int, steps: int, more: int) -> None:
    assert history(seed, steps + more)[:steps] == history(seed, steps)


@given(st.integers(0, 10**9), st.data())
def test_some_steps_of_a_history_are_a_history(seed: int, data: st.DataObject) -> None:
    steps = history(seed, 30)
    kept = data.draw(st.sets(st.integers(0, 29)))
    assert play([steps[i] for i in sorted(kept)]).failure is None


# --- Faults are found --------------------------------------------------------------------

REQUIRED = {
    "until-off-by-one", "touching-conflicts", "forgotten-claim", "expiry-told-twice",
    "version-not-raised", "in-its-own-way", "limit-not-counted", "host-taken-twice",
    "lapse-wakes-nobody", "last-come-first-served",
}  # fmt: skip


def test_every_fault_says_what_it_is() -> None:
    assert FAULTS.keys() == DESCRIPTIONS.keys()
    assert FAULTS.keys() >= REQUIRED
    assert all(about.endswith(".") for about in DESCRIPTIONS.values())


def test_the_page_about_testing_names_all_rules_and_faults() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows).items() >= (RULES | DESCRIPTIONS).items()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_within_a_hundred_seeds(name: str) -> None:
    with fault(name):
        finding = next(filter(None, (simulate(seed, STEPS) for seed in range(100))), None)
        assert finding is not None, DESCRIPTIONS[name]
        assert finding.played.failure is not None
        rule = finding.played.failure.rule
        assert rule != "TypeError"  # it breaks the rules, and nothing else
        assert len(finding.only) <= 8  # it takes no more to show any of them
        assert played(finding.seed, finding.only) == finding.played
        # None of the steps can be left out: without any, it does not fail in this way.
        for left_out in finding.only:
            without = played(finding.seed, [i for i in finding.only if i != left_out])
            assert without.failure is None or without.failure.rule != rule
    assert played(finding.seed, finding.only).failure is None  # and it is the fault's doing


def played(seed: int, only: Sequence[int]) -> Played:
    steps = history(seed, STEPS)
    return play([steps[i] for i in only], check_every=1)


def broken(differs: bool) -> None:
    assert differs
    raise ZeroDivisionError


def test_a_fault_is_gone_afterwards() -> None:
    def methods() -> list[object]:
        return [
            getattr(owner, name, None) if name in vars(owner) else None
            for patches in FAULTS.values()
            for owner, name, _ in patches
        ]

    before = methods()
    for name in FAULTS:
        with pytest.raises(ZeroDivisionError), fault(name):
            broken(methods() != before)
        assert methods() == before


# --- Crashes -----------------------------------------------------------------------------


class Forgetful(MemoryStore):
    """Loses the record of something that somebody was told of."""

    def crash(self, keep: int) -> None:
        super().crash(max(0, keep - 1))


class Careless(MemoryStore):
    """Forgets to write down what was moved where."""

    def crash(self, keep: int) -> None:
        super().crash(keep)
        self.kept = [tuple(map(self._unmoved, changes)) for changes in self.kept]

    def _unmoved(self, change: Change) -> Change:
        if not isinstance(change, Moved):
            return change
        made = (one for one in chain.from_iterable(self.kept) if isinstance(one, Reserved))
        first = next(one for one in made if one.uid == change.uid)
        return change._replace(
            start=first.start, end=first.end, claims=first.claims, seats=first.seats,
            event_type=first.event_type, demand=first.demand,
        )  # fmt: skip


@pytest.mark.parametrize("store", [Forgetful, Careless])
def test_a_home_that_loses_what_was_acknowledged_is_found(store: type[MemoryStore]) -> None:
    finding = next(filter(None, (simulate(seed, STEPS, store=store) for seed in range(100))))
    steps = [history(finding.seed, STEPS)[i] for i in finding.only]
    assert any(isinstance(step, Crash) for step in steps)
    assert len(steps) <= 5


class Mindful(MemoryStore):
    """Forgets that bookings were forgotten."""

    def crash(self, keep: int) -> None:
        super().crash(keep)
        self.kept = [tuple(map(_forgetting_nothing, changes)) for changes in self.kept]


def _forgetting_nothing(change: Change) -> Change:
    return change._replace(uids=()) if isinstance(change, Forgotten) else change


def test_that_bookings_were_forgotten_must_not_be_forgotten() -> None:
    """Goal: a crash brings nothing back that somebody else may have been given since.

    Method: a booking is forgotten, another made in its place, and the engine crashes;
    a store that does not keep what was forgotten is found out.
    """
    wish = Proposal(at(27), at(29), (Claim("room", at(27), at(29)),), 8 * TICK)
    books = [Call(0, Reserve((wish,), ())), Call(0, Confirm(""))]
    forget = Call(0, ForgetUpTo())
    steps: list[Step] = [*books, Jump(30), forget, *books, Crash()]
    played = play(steps)
    assert played.failure is None
    assert [told.answer for told in played.transcript if told.answer == 1]
    assert play(steps, store=Mindful).failure is not None


def test_only_what_nobody_was_told_of_is_lost() -> None:
    """Goal: steps are lost in crashes, and that is nobody's fault.

    Method: after a crash there is never more than there was, sometimes less.
    """
    lost = []

    class Counting(MemoryStore):
        def crash(self, keep: int) -> None:
            lost.append(sum(map(len, self.kept[keep:])))
            super().crash(keep)

    for seed in range(150):
        assert play(history(seed, STEPS), store=Counting).failure is None
    assert min(lost) == 0
    assert max(lost) > 1
    assert sum(one > 0 for one in lost) > 5


# --- Failures ----------------------------------------------------------------------------


def test_an_error_in_a_task_of_the_engine_is_a_failure_too() -> None:
    class Dying(MemoryStore):
        def engine(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            engine = super().engine(*args, **kwargs)
            engine.ledger.expire = lambda *_: 1 // 0  # type: ignore[method-assign]
            return engine

    finding = next(filter(None, (simulate(seed, STEPS, store=Dying) for seed in range(20))))
    failure = finding.played.failure
    assert failure is not None
    assert failure.rule == "ZeroDivisionError"
    assert "1 // 0" in failure.details


def test_what_only_fails_unless_looked_at_closely_can_be_had_again() -> None:
    """Goal: a fault that looking more often mends is told of, with the command that shows it.

    Method: an engine that miscounts once nobody has asked for imported spans for a while.
    """

    class Shy(MemoryStore):
        def engine(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            engine = super().engine(*args, **kwargs)
            imported, statistics = engine.local.imported, engine.statistics
            unseen = 0

            def seen(*about: Any) -> list[ImportedSpan]:
                nonlocal unseen
                unseen = 0
                return imported(*about)

            def shy() -> Statistics:
                nonlocal unseen
                unseen += 1
                return statistics() if unseen < 6 else replace(statistics(), waiting=1)

            engine.local.imported, engine.statistics = seen, shy  # type: ignore[method-assign, assignment]
            return engine

    finding = simulate(0, STEPS, store=Shy)
    assert finding is not None
    assert finding.whole
    assert finding.played.failure is not None
    assert finding.played.failure.rule == "statistics"
    assert finding.command("--backend trio") == (
        "slotengine simulate --seed 0 --steps 100 --backend trio"
    )
    assert play(history(0, STEPS), store=Shy) == finding.played


def test_a_finding_says_how_to_have_it_again() -> None:
    with fault("version-not-raised"):
        failing = next(seed for seed in range(100) if play(history(seed, STEPS)).failure)
        finding = investigate(failing, STEPS)
    only = ",".join(map(str, finding.only))
    assert finding.command("--fault x") == (
        f"slotengine simulate --seed {failing} --steps 100 --only {only} --fault x"
    )
    assert finding._replace(only=()).command().endswith("--only none")


@given(st.integers(0, 60), st.data())
def test_the_shortest_history_is_found(length: int, data: st.DataObject) -> None:
    """As long as it takes some steps, whatever the others are."""
    needed = data.draw(st.sets(st.integers(0, max(0, length - 1)), max_size=min(5, length)))
    assert shortest(length, lambda kept: needed <= set(kept)) == tuple(sorted(needed))


@given(st.integers(1, 40), st.integers(1, 6))
def test_no_single_step_of_the_shortest_can_be_left_out(length: int, few: int) -> None:
    """Also if any few will do, or some prevent each other."""

    def fails(kept: Sequence[int]) -> bool:
        return len(kept) >= min(few, length) and len(kept) % 2 == length % 2

    kept = shortest(length, fails)
    assert fails(kept)
    assert not any(fails([one for one in kept if one != other]) for other in kept)


def test_the_search_for_the_shortest_ends() -> None:
    tries = 0

    def fails(kept: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return len(kept) > 900

    shortest(1_000, fails, most=50)
    assert tries == 50


def test_a_step_is_plain_to_read() -> None:
    lines = {str(step).split(":")[0].split(" ")[0] for step in history(0, 1_000)}
    assert lines == {
        "client",
        "clock",
        "sweeper",
        "subscriber",
        "calendar",
        "feed",
        "crash,",
        "what",
        "the",
    }
    step: Step = Crash(2)
    assert str(TranscriptLine(step)) == "crash, 2 steps lost"
    assert str(TranscriptLine("r1", None)) == "r1"
