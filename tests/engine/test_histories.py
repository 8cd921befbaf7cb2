"""What concurrent callers saw can be explained one call at a time, in tasks and in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any

import anyio
import pytest

from slotengine import BlockingEngine, SlotEngine, minutes
from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.commands import Adopt, Confirm, Extend, Reserve
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, State
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import CountedTimeline
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.event_type import EventType, Limit, Period
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import Windows
from slotengine.engine.turns import Turns
from slotengine.testing import SimClock
from slotengine.testing.histories import RecordedCall, Recorder
from slotengine.testing.internal.actions import Action, Get, ReserveSlot, requests_of
from slotengine.testing.internal.engine_calls import in_engine, in_local_engine
from slotengine.testing.internal.ledger_model import LedgerModel
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.linearizability import NotLinearizable, check_linearizable
from tests.engine.callers import MODEL, Caller, world

CALLERS = 6
ROUNDS = 5
CALLS = 4

STEPS = (0, 1, 3, 5, 8)
"""How many ticks the clock goes on between two rounds."""


def told(recorder: Recorder) -> set[type]:
    """Return which kinds of actions were accepted."""
    return {type(call.what) for call in recorder.calls if not isinstance(call.answer, tuple)}


def repeats(recorder: Recorder) -> list[RecordedCall]:
    """Return the calls that repeat one that was asked before."""
    seen: set[CommandId] = set()
    found = []
    for call in recorder.calls:
        client: CommandId | None = getattr(call.what, "client", None)
        if client in seen:
            found.append(call)
        elif client is not None:
            seen.add(client)
    return found


# --- Tasks -------------------------------------------------------------------------------


async def waste(random: Random) -> None:
    """Let others go first, sometimes."""
    for _ in range(random.randrange(4)):
        await anyio.lowlevel.checkpoint()


def can_be_asked_again(action: Action) -> bool:
    """Return whether a repeat may tell what came of it, if nobody got the answer."""
    numbered = getattr(action, "client", None) is not None
    return numbered or any(one.key for one in requests_of(action))


async def call(engine: SlotEngine, caller: Caller, recorder: Recorder) -> None:
    """Call once, with others in between; or be cancelled at it, and never know."""
    action = caller.next()
    with anyio.CancelScope() as scope:
        asked = recorder.ask(action)
        if caller.random.random() < 0.1 and not can_be_asked_again(action):
            scope.cancel()
        engine.turns = Turns(1)  # so that it gives way before it decides
        await waste(caller.random)
        answer = await in_engine(engine, action)
        await waste(caller.random)
        asked.answered(answer)
        caller.learn(answer)


async def record(seed: int) -> Recorder:
    engine, clock, recorder = world()
    callers = Caller.several(CALLERS, seed)

    async def calls(caller: Caller) -> None:
        for _ in range(CALLS):
            await call(engine, caller, recorder)

    async with engine:
        for _ in range(ROUNDS):
            async with anyio.create_task_group() as tasks:
                for caller in callers:
                    tasks.start_soon(calls, caller)
            # The clock stands still while anybody waits; the sweeper runs when it can.
            clock.set(from_us(clock.now() + Random(f"{seed} {clock.now()}").choice(STEPS)))
    return recorder


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(10))
async def test_what_tasks_see_can_be_explained(seed: int) -> None:
    recorder = await record(seed)
    assert len(recorder.calls) == CALLERS * ROUNDS * CALLS
    assert check_linearizable(recorder.calls, MODEL) >= 1
    assert told(recorder) >= {Reserve, Confirm, Adopt}
    at_once = sum(
        any(one is not two and one.asked_at < two.asked_at < (one.answered_at or 0)
            for two in recorder.calls)
        for one in recorder.calls
    )  # fmt: skip
    assert at_once > len(recorder.calls) / 2
    assert any(one.answered_at is None for one in recorder.calls)


@pytest.mark.anyio
async def test_tasks_request_and_repeat_what_was_done() -> None:
    """In one history or another: which tasks run first is up to the event loop."""
    requested = repeated = False
    for seed in range(100):
        recorder = await record(seed)
        answers = [call.answer for call in recorder.calls]
        requested |= any(getattr(one, "state", None) is State.REQUESTED for one in answers)
        again = [call.answer for call in repeats(recorder)]
        repeated |= any(isinstance(one, ObservedReservation) for one in again)
        if requested and repeated:
            return
    pytest.fail("no task did both in a hundred histories")


# --- Threads -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(2))
def test_what_threads_see_can_be_explained(backend: str, seed: int) -> None:
    inner, clock, recorder = world()
    callers = Caller.several(CALLERS, seed)

    def calls(caller: Caller) -> None:
        for _ in range(CALLS):
            action = caller.next()
            asked = recorder.ask(action)
            answer = in_local_engine(engine, action)
            asked.answered(answer)
            caller.learn(answer)

    with BlockingEngine(inner, backend=backend) as engine:
        for step in STEPS:
            threads = [threading.Thread(target=calls, args=(caller,)) for caller in callers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            engine.loop_thread.call(partial(jump, clock, step))
    assert len(recorder.calls) == CALLERS * CALLS * len(STEPS)
    assert all(one.answered_at is not None for one in recorder.calls)
    check_linearizable(recorder.calls, MODEL)


async def jump(clock: SimClock, us: int) -> None:
    clock.set(from_us(clock.now() + us))


# --- A race ------------------------------------------------------------------------------


class Racing(SlotEngine):
    """Looks whether a slot is free, gives way to others, and takes it for free then."""

    async def reserve(self, request: Any, *_: Any, **more: Any) -> Any:  # type: ignore[override]
        assert not more
        if not self.local.is_free(request):
            return self.local.reserve(request)  # which refuses
        await anyio.lowlevel.checkpoint()
        with unchecked():
            return self.local.reserve(request)


@contextmanager
def unchecked() -> Iterator[None]:
    right = CountedTimeline.room
    CountedTimeline.room = lambda *_: 0  # type: ignore[method-assign]
    try:
        yield
    finally:
        CountedTimeline.room = right  # type: ignore[method-assign]


def wish(i: int) -> Reserve:
    start = i % 3
    # With a buffer, so that it takes a `Request` to say it.
    proposal = Proposal(start, 4, (Claim("hall", start, 5),), Terms().default_ttl)
    return Reserve((proposal,), ())


ONE_HALL = LedgerModel(Terms(), {"hall": (3, None)})


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "at_once", "explained"), [
    (SlotEngine, True, True), (Racing, True, False), (Racing, False, True),
])  # fmt: skip
async def test_a_race_is_found(kind: type[SlotEngine], at_once: bool, explained: bool) -> None:
    """Goal: an await between the look and the deed would not go unnoticed.

    Method: an engine that has one is called by several, at once and in turn.
    """
    clock = SimClock(from_us(0))
    recorder = Recorder(clock.now)
    async with kind(clock=clock) as engine:
        engine.add_resource("hall", capacity=3)

        async def caller(i: int) -> None:
            asked = recorder.ask(wish(i))
            asked.answered(await in_engine(engine, asked.what))

        async with anyio.create_task_group() as tasks:
            for i in range(5):
                if at_once:
                    tasks.start_soon(caller, i)
                else:
                    await caller(i)
    if explained:
        assert check_linearizable(recorder.calls, ONE_HALL) == 1
    else:
        with pytest.raises(NotLinearizable) as found:
            check_linearizable(recorder.calls, ONE_HALL)
        assert len(found.value.explained) == 3  # as many as there are units


# --- Event types and quotas --------------------------------------------------------------


def us(count: int) -> timedelta:
    return timedelta(0, 0, count)


def hold(name: str, start: int, holder: str) -> Reserve:
    claims = (Claim(name, start, start + 2),)
    return Reserve((Proposal(start, start + 2, claims, 5, holder),), ())


QUOTAS = Terms(5, 1, 20, retention=15, max_holds=1, max_lapses=1, cool_down=9)
ROOMS: dict[str, tuple[int, Windows | None]] = {"room": (1, None), "annex": (1, None)}
TALK = EventType(
    id="talk",
    length=minutes(2),
    any_of=[["room", "annex"]],
    limits=[Limit(Period.DAY, count=2)],
    zone="UTC",
)


async def answers(engine: SlotEngine, recorder: Recorder, *actions: Action) -> None:
    for action in actions:
        asked = recorder.ask(action)
        asked.answered(await in_engine(engine, action))


@pytest.mark.anyio
async def test_quotas_are_about_all_that_a_holder_has() -> None:
    """Goal: what is refused because of something elsewhere, or long ago, is explained.

    Method: a second hold in another room, and one after a lapse; neither was
    refused but for the holder's sake.
    """
    clock = SimClock(from_us(0))
    recorder = Recorder(clock.now)
    async with SlotEngine(
        default_ttl=us(5), min_ttl=us(1), max_ttl=us(20), retention=us(15),
        max_holds=1, max_lapses=1, cool_down=us(9), clock=clock,
    ) as engine:  # fmt: skip
        for room in ROOMS:
            engine.add_resource(room)
        await answers(engine, recorder, hold("room", 2, "a"), hold("annex", 2, "a"))
        await clock.advance(us(5))
        await answers(engine, recorder, hold("annex", 4, "a"), hold("annex", 4, "b"))
    refused = [isinstance(call.answer, tuple) for call in recorder.calls]
    assert refused == [False, True, True, False]
    assert check_linearizable(recorder.calls, LedgerModel(QUOTAS, dict(ROOMS))) == 1
    with pytest.raises(NotLinearizable):  # the third, without any lapse before
        check_linearizable(recorder.calls[2:3], LedgerModel(QUOTAS, dict(ROOMS)))


@pytest.mark.anyio
async def test_quotas_of_requests_are_about_all_that_a_holder_has() -> None:
    """Goal: the same, where a request brings the quota, and the terms have none.

    Method: a second hold in another room, and a renewal; neither was refused but for
    what the requests said.
    """
    clock = SimClock(from_us(0))
    recorder = Recorder(clock.now)
    quota = Quota(holds=1, life=7)
    first, second = (
        one._replace(requests=(one.requests[0]._replace(quota=quota),))
        for one in (hold("room", 2, "a"), hold("annex", 2, "a"))
    )
    terms, numbers = Terms(5, 1, 20, retention=15), count(1)
    async with SlotEngine(
        default_ttl=us(5), min_ttl=us(1), max_ttl=us(20), retention=us(15),
        clock=clock, new_uid=lambda _: f"r{next(numbers)}",
    ) as engine:  # fmt: skip
        for room in ROOMS:
            engine.add_resource(room)
        await answers(engine, recorder, first, second)
        await clock.advance(us(3))
        renew = Extend("r1", 5)
        await answers(engine, recorder, renew, renew._replace(ttl=4))
    refused = [isinstance(call.answer, tuple) for call in recorder.calls]
    assert refused == [False, True, True, False]
    model = LedgerModel(terms, dict(ROOMS))
    assert check_linearizable(recorder.calls, model) == 1
    with pytest.raises(NotLinearizable):  # the second, without the first
        check_linearizable(recorder.calls[1:2], model)


@pytest.mark.anyio
async def test_what_is_reserved_by_rules_can_be_explained() -> None:
    clock = SimClock(from_us(0))
    recorder = Recorder(clock.now)
    ttl = Terms().default_ttl
    slot = ReserveSlot(SlotRequest("talk", 120_000_000, ttl=ttl))
    model = LedgerModel(Terms(), dict(ROOMS), event_types=[TALK])
    async with SlotEngine(clock=clock) as engine:
        for room in ROOMS:
            engine.add_resource(room)
        engine.add_event_type(TALK)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(answers, engine, recorder, slot)
    assert sum(isinstance(call.answer, tuple) for call in recorder.calls) == 1
    assert check_linearizable(recorder.calls, model) == 1
    assert check_linearizable([], model) == 0
    first, second, _ = recorder.calls
    second.answer = replace(second.answer, claims=first.answer.claims)
    with pytest.raises(NotLinearizable):  # the same host cannot be had twice
        check_linearizable([first, second], model)


def test_what_is_about_nothing_is_a_part_of_its_own() -> None:
    recorder = Recorder()
    recorder.ask(Get("")).answered(None)
    assert check_linearizable(recorder.calls, ONE_HALL) == 1
