"""A thousand callers for one slot: as many win as there are units, and nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import anyio
import pytest

from slotengine import (
    Claim,
    OneOf,
    Policy,
    Request,
    Reservation,
    SlotEngine,
    SlotTaken,
    State,
    minutes,
)
from slotengine.engine.turns import Turns
from slotengine.errors import NoneFree, Refused
from slotengine.testing import SimClock
from tests.standing import standing

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
CALLERS = 1_000

pytestmark = pytest.mark.anyio


async def storm(
    callers: int, call: Callable[[int], Awaitable[Reservation]]
) -> tuple[list[Reservation], list[Refused]]:
    """Let so many tasks call at once, and return what was accepted and what was refused."""
    accepted: list[Reservation] = []
    refused: list[Refused] = []

    async def caller(number: int) -> None:
        await anyio.lowlevel.checkpoint()  # so that all have started before any goes on
        try:
            accepted.append(await call(number))
        except Refused as refusal:
            refused.append(refusal)

    async with anyio.create_task_group() as tasks:
        for number in range(callers):
            tasks.start_soon(caller, number)
    return accepted, refused


@pytest.mark.parametrize("calls_per_turn", [1, 256])
@pytest.mark.parametrize(("resource", "units"), [("room", 1), ("hall", 3)])
async def test_as_many_win_as_there_are_units(
    engine: SlotEngine, resource: str, units: int, calls_per_turn: int
) -> None:
    async def call(number: int) -> Reservation:
        if calls_per_turn == 1:
            engine.turns = Turns(1)  # every call gives way before it decides
        return await engine.reserve(resource, START, HALF_HOUR, holder=str(number))

    accepted, refused = await storm(CALLERS, call)
    assert len(accepted) == units
    assert len(refused) == CALLERS - units
    assert all(isinstance(refusal, SlotTaken) for refusal in refused)
    statistics = engine.statistics()
    assert (statistics.accepted, statistics.refused) == (units, CALLERS - units)
    assert (await engine.find(standing(resource, NOW, START + HALF_HOUR))).reservations == accepted


async def test_all_callers_with_one_key_win_the_same(engine: SlotEngine) -> None:
    accepted, refused = await storm(
        CALLERS, lambda _: engine.reserve("room", START, HALF_HOUR, holder="me", key="k")
    )
    assert not refused
    assert len({one.uid for one in accepted}) == 1
    assert engine.statistics().accepted == 1


async def test_one_of_all_confirmations_counts(engine: SlotEngine) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    accepted, refused = await storm(CALLERS, lambda _: engine.confirm(hold.uid, version=1))
    assert len(accepted) == 1
    assert len(refused) == CALLERS - 1


@pytest.mark.parametrize("seed", range(3))
async def test_spans_that_are_held_never_overlap(engine: SlotEngine, seed: int) -> None:
    random = Random(seed)
    wishes = [
        (START + minutes(random.randrange(0, 1_000, 5)), minutes(random.randrange(5, 60, 5)))
        for _ in range(CALLERS)
    ]
    accepted, refused = await storm(CALLERS, lambda number: engine.reserve("room", *wishes[number]))
    assert len(accepted) > 10
    assert len(refused) > 10
    spans = sorted((one.start, one.end) for one in accepted)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    # And none was refused for nothing: a free span would have been had.
    assert not any(engine.local.is_free(Request(*wish, (Claim("room"),))) for wish in wishes)


@pytest.mark.parametrize("seed", range(3))
async def test_no_instant_exceeds_the_capacity(
    engine: SlotEngine, clock: SimClock, seed: int
) -> None:
    """Goal: 1,000 callers of all verbs at once never oversell.

    Method: each holds some units, then confirms, moves, extends or releases
    them, giving way to the others in between; a clock goes on meanwhile.
    """
    random = Random(seed)
    capacity = 3

    async def life(number: int) -> Reservation:
        start = START + minutes(random.randrange(0, 600, 15))
        length = minutes(random.choice((15, 30, 60)))
        hold = await engine.reserve("hall", start, length, units=random.randint(1, 3))
        await anyio.lowlevel.checkpoint()
        verb = random.choice(("confirm", "move", "extend", "release", "nothing", "time"))
        if verb == "confirm":
            return await engine.confirm(hold.uid)
        if verb == "move":
            return await engine.move(hold.uid, start + minutes(30), length)
        if verb == "extend":
            return await engine.extend(hold.uid, ttl=minutes(10))
        if verb == "release":
            return await engine.release(hold.uid)
        if verb == "time":
            clock.set(clock.moment + minutes(random.random()))
        return hold

    async def watched(number: int) -> Reservation:
        try:
            return await life(number)
        finally:
            day = (NOW, NOW + timedelta(days=1))
            assert all(1 <= span.units <= capacity for span in engine.local.busy("hall", *day))

    accepted, refused = await storm(CALLERS, watched)
    assert len(accepted) > 10
    assert len(refused) > 10
    live = (await engine.find(standing("hall", NOW, NOW + timedelta(days=1)))).reservations
    for edge in {one.start for one in live}:
        taken = sum(one.claims[0].units for one in live if one.start <= edge < one.end)
        assert taken <= capacity


async def test_any_of_several_is_had_as_often_as_there_is_room(engine: SlotEngine) -> None:
    candidates = [Request(START, HALF_HOUR, (Claim(name),)) for name in ("room", "annex", "hall")]
    accepted, refused = await storm(
        100, lambda _: engine.reserve(OneOf(candidates, policy=Policy.LEAST_LOADED))
    )
    assert len(accepted) == 1 + 1 + 3
    assert {type(refusal) for refusal in refused} == {NoneFree}


async def test_a_storm_does_not_keep_others_from_running(engine: SlotEngine) -> None:
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker)
        for day in range(2_560):
            hold = await engine.reserve("room", START + timedelta(days=day), HALF_HOUR)
            assert hold.state is State.HELD
        tasks.cancel_scope.cancel()
    assert turns >= 9
