"""The sync as a whole: lifecycle, settings, errors, and both sides with different rules."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slotengine import (
    EventType,
    HoldExpired,
    InvalidField,
    SlotError,
    minutes,
)
from slotengine.calcom import (
    CalComSync,
    RemoteBusy,
    RemoteUncertain,
    SyncClosed,
    SyncedEventType,
    SyncOverloaded,
)
from slotengine.testing.remote import Gate, RemoteEventType, Wait
from tests.calcom.client.scripted import until
from tests.calcom.sync.world import (
    NOON,
    STRICT,
    TALK,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio


async def test_the_sync_is_entered_once_and_used_inside() -> None:
    async with world(enter=False) as w:
        with pytest.raises(SyncClosed):
            await w.sync.reserve_slot("talk", TEN)
        async with w.sync:
            pass
        with pytest.raises(SyncClosed):
            await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(SyncClosed):
            await w.sync.__aenter__()


@pytest.mark.parametrize(
    "wrong",
    [{1: STRICT, 2: STRICT}, {0: STRICT}, {"1": STRICT}, {True: STRICT}, {1: TALK}, [STRICT]],
    ids=["twice", "zero", "text", "truth", "bare", "list"],
)
async def test_event_types_are_mapped_by_the_remotes_id_and_given_once(wrong: Any) -> None:
    async with world(enter=False) as w:
        with pytest.raises(InvalidField) as refused:
            CalComSync(w.engine, w.client, wrong)
        assert refused.value.field == "event_types"


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_type": "talk"},
        {"poll_every": timedelta(0)},
        {"jitter": 1},
        {"max_ttl": timedelta(1) / 10**9},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        SyncedEventType(**({"event_type": TALK} | wrong))  # type: ignore[arg-type]


async def test_other_lengths_are_requested() -> None:
    varied = EventType(
        id="varied", length=minutes(30), lengths=[minutes(15), minutes(30)], all_of=["room"]
    )
    remote = RemoteEventType(id=7, length=30, lengths=(15, 30), notice=0)
    async with world(enter=False, remote_types=[remote]) as w:
        w.engine.add_event_type(varied)
        w.synced = (SyncedEventType(varied),)
        async with w.new_sync() as sync:
            await sync.reserve_slot("varied", TEN, length=minutes(15))
            assert w.live[0].end == TEN + minutes(15)


async def test_a_remote_event_type_of_another_length_is_reported() -> None:
    remote = RemoteEventType(id=1, length=45, notice=0)
    async with world(remote_types=[remote]) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        assert [one.uid for one in w.diverged] == [hold.uid]


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(minutes=-4)])
async def test_the_remotes_clock_may_be_skewed(skew: timedelta) -> None:
    async with world(replace(STRICT, custom_ttl=False), remote={"skew": skew}) as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        for _ in range(20):
            await w.advance(timedelta(seconds=30))
            assert w.there == ["10:00"]
        statistics = w.sync.statistics()
        assert (statistics.clock_skew, statistics.clock_skew_max) == (skew, abs(skew))
        assert statistics.clock_skew_error == timedelta(0)


async def test_a_hold_that_expires_before_the_remote_responds_is_not_returned() -> None:
    async with world() as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        asked = asyncio.create_task(w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=5)))
        await gate.reached()
        w.clock.set(w.clock.moment + timedelta(seconds=5))
        gate.open()
        with pytest.raises(HoldExpired):
            await asked
        await w.settled()
        assert w.there == []


async def test_verbs_of_one_reservation_take_turns() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        moves = [w.sync.move_slot(hold.uid, TEN + minutes(30) * n) for n in (1, 2, 3, 0)]
        await asyncio.gather(*moves, w.sync.extend(hold.uid, ttl=minutes(20)))
        await until(lambda: w.sync.statistics().backlog == 0)
        assert w.there == ["10:00"]
        assert w.engine.statistics().held == 1


ERRORS = [
    RemoteUncertain("talk", TEN, NOON),
    RemoteUncertain("talk", TEN, None),
    RemoteBusy("talk", TEN, NOON),
    SyncOverloaded(7),
    SyncOverloaded(7, NOON),
    SyncClosed(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_errors_pickle(error: SlotError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (arrived.args, vars(arrived), str(arrived)) == (error.args, vars(error), str(error))
    assert str(error)


async def test_an_aborted_sync_tells_the_remote_nothing_more() -> None:
    async with world(enter=False) as w:
        async with w.sync:
            hold = await w.sync.reserve_slot("talk", TEN)
            assert (w.sync.is_open, w.sync.waiting) == (True, frozenset())
            w.engine.local.release(hold.uid)
            await w.sync.abort()
            assert not w.sync.is_open
            with pytest.raises(SyncClosed):
                await w.sync.poll()
        assert (w.there, w.requests()) == (["10:00"], ["post"])
        assert w.sync.unsent == ()


@pytest.mark.parametrize("name", ["parallel", "backlog"])
async def test_bounds_are_at_least_one(name: str) -> None:
    async with world(enter=False) as w:
        with pytest.raises(InvalidField, match=f"^{name} must be .*at least 1, not 0"):
            w.new_sync(**{name: 0})
