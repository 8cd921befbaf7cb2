"""Reserving on both sides: strict, in the background, and with idempotency keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from slotengine import (
    KeyReused,
    LifeExceeded,
    Quota,
    QuotaExceeded,
    Reservation,
    SlotTaken,
    State,
    UnknownEventType,
    minutes,
)
from slotengine.calcom import (
    RemoteConflict,
    RemoteDown,
    RemoteNotFound,
    RemoteState,
    RemoteUnreachable,
    RevokeReason,
    SyncedEventType,
    SyncOverloaded,
)
from slotengine.testing.remote import Gate, RemoteEventType, Wait
from tests.calcom.sync.world import (
    NOON,
    PAIR,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio


async def test_strict_returns_once_the_remote_has_accepted() -> None:
    async with world() as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        asked = asyncio.create_task(w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=61)))
        await gate.reached()
        assert not asked.done()
        gate.open()
        hold = await asked
        assert (hold.state, w.there) == (State.HELD, ["10:00"])
        # The remote counts in whole minutes; its hold never ends before ours.
        assert w.live[0].release_at == w.clock.moment + minutes(2)
        assert w.sync.remote_state(hold.uid) is RemoteState.HELD


async def test_a_local_refusal_costs_no_request() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(SlotTaken):
            await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(UnknownEventType):
            await w.sync.reserve_slot("walk", TEN)
        assert w.requests() == ["post"]


async def test_a_quota_is_asked_before_the_remote_and_the_hold_keeps_it() -> None:
    async with world() as w:
        quota = Quota(holds=1, life=minutes(20))
        hold = await w.sync.reserve_slot("talk", TEN, holder="ann", quota=quota)
        with pytest.raises(QuotaExceeded):
            await w.sync.reserve_slot("talk", NOON, holder="ann", quota=quota)
        assert w.requests() == ["post"]
        await w.advance(minutes(1))
        with pytest.raises(LifeExceeded):
            await w.sync.extend(hold.uid, ttl=minutes(30))
        await w.sync.reserve_slot("talk", NOON, holder="bob", quota=quota)
        assert w.there == ["10:00", "12:00"]


async def test_strict_gives_back_a_hold_that_the_remote_refuses() -> None:
    async with world() as w:
        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", TEN)
        await w.engine.reserve_slot("talk", TEN)  # the slot is free here again
        assert w.revoked == []
        statistics = w.sync.statistics()
        assert (statistics.given_back, statistics.refused, statistics.revoked) == (1, 1, 0)


async def test_strict_refuses_at_once_when_the_breaker_is_open() -> None:
    async with world(client={"failures": 2}) as w:
        await w.remote.down()
        for error in (RemoteUnreachable, RemoteUnreachable, RemoteDown):
            with pytest.raises(error):
                await w.sync.reserve_slot("talk", TEN)
        await w.remote.up()
        await w.advance(timedelta(seconds=30))
        await w.sync.reserve_slot("talk", TEN)


async def test_background_returns_at_once_and_follows() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        assert (w.there, w.sync.remote_state(hold.uid)) == ([], RemoteState.ABSENT)
        await w.settled()
        assert (w.there, w.sync.remote_state(hold.uid)) == (["10:00"], RemoteState.HELD)
        assert w.events == []


async def test_background_revokes_a_hold_that_the_remote_refuses() -> None:
    async with world() as w:
        w.remote.hold(2, TEN)
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        (revoked,) = w.revoked
        assert (revoked.uid, revoked.reason, revoked.start) == (hold.uid, RevokeReason.REFUSED, TEN)
        assert "already reserved" in revoked.problem
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert current.state is State.RELEASED


async def test_background_catches_up_when_the_remote_is_back() -> None:
    async with world() as w:
        await w.remote.down()
        starts = [TEN + minutes(30) * n for n in range(4)]
        for start in starts:
            await w.sync.reserve_slot("chat", start, ttl=minutes(20))
        await w.advance(minutes(1))
        assert w.sync.statistics().backlog == 4
        assert w.revoked == []
        await w.remote.up()
        await w.pass_slowly(minutes(3), timedelta(seconds=10))
        assert [row.start for row in w.live] == starts
        assert len(w.caught_up) == 1
        assert w.sync.statistics().backlog == 0


async def test_the_backlog_is_bounded() -> None:
    async with world(backlog=2) as w:
        await w.remote.down()
        for n in range(2):
            await w.sync.reserve_slot("chat", TEN + minutes(30) * n)
        with pytest.raises(SyncOverloaded, match="2 reservations"):
            await w.sync.reserve_slot("chat", NOON)
        await w.engine.reserve_slot("chat", NOON)  # the refused hold took nothing here


async def test_requests_for_different_reservations_run_in_parallel_up_to_a_bound() -> None:
    async with world(parallel=2) as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post", times=None)
        for n in range(5):
            await w.sync.reserve_slot("chat", TEN + minutes(30) * n)
        await gate.reached(2)
        for _ in range(200):
            await asyncio.sleep(0)
        assert gate.arrived == 2
        gate.open()
        await w.settled()
        assert len(w.there) == 5


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_key_makes_retries_safe(name: str) -> None:
    async with world() as w:
        first = await w.sync.reserve_slot(name, TEN, key="k")
        early = await w.sync.reserve_slot(name, TEN, key="k")
        await w.settled()
        again = await w.sync.reserve_slot(name, TEN, key="k")
        await w.settled()
        assert {early.uid, again.uid} == {first.uid}
        assert (w.requests(), w.sync.statistics().sent) == (["post"], 1)
        with pytest.raises(KeyReused):
            await w.sync.reserve_slot(name, NOON, key="k")
        assert w.there == ["10:00"]


async def test_a_key_can_be_used_again_after_a_refusal_of_the_remote() -> None:
    async with world() as w:
        theirs = w.remote.hold(1, TEN)
        for _ in range(2):
            with pytest.raises(RemoteConflict):
                await w.sync.reserve_slot("talk", TEN, key="k")
        w.remote.release(theirs.uid)
        hold = await w.sync.reserve_slot("talk", TEN, key="k")
        assert hold.state is State.HELD
        assert (await w.sync.reserve_slot("talk", TEN, key="k")).uid == hold.uid


async def test_two_callers_with_one_key_get_one_hold() -> None:
    async with world() as w:
        both = await asyncio.gather(*(w.sync.reserve_slot("talk", TEN, key="k") for _ in range(2)))
        assert both[0].uid == both[1].uid
        assert w.requests() == ["post"]


async def test_one_of_two_callers_with_a_key_may_be_cancelled() -> None:
    async with world() as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        leaves, stays = (
            asyncio.create_task(w.sync.reserve_slot("talk", TEN, key="k")) for _ in range(2)
        )
        await gate.reached()
        leaves.cancel()
        await asyncio.wait([leaves])
        gate.open()
        assert (await stays).state is State.HELD
        await w.settled()
        assert w.there == ["10:00"]


async def test_one_of_64_callers_gets_the_slot() -> None:
    async with world() as w:
        results = await asyncio.gather(
            *(w.sync.reserve_slot("talk", TEN) for _ in range(64)), return_exceptions=True
        )
        assert sum(isinstance(one, Reservation) for one in results) == 1
        assert sum(isinstance(one, SlotTaken) for one in results) == 63
        assert w.requests() == ["post"]


async def test_an_event_type_that_the_remote_does_not_have_is_refused() -> None:
    async with world(remote_types=[RemoteEventType(id=9)]) as w:
        with pytest.raises(RemoteNotFound):
            await w.sync.reserve_slot("talk", TEN)
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        assert [one.uid for one in w.revoked] == [hold.uid]


async def test_hosts_of_a_group_are_held_one_after_the_other() -> None:
    async with world(SyncedEventType(PAIR)) as w:
        first, second = [await w.sync.reserve_slot("pair", TEN) for _ in range(2)]
        assert {*first.resources, *second.resources} == {"ann", "bob"}
        with pytest.raises(Exception, match="none of the 2 candidates"):
            await w.sync.reserve_slot("pair", TEN)
        assert w.there == ["10:00", "10:00"]
