"""Under a rate limit holds stay alive, and no more are promised than it can keep alive."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import Reservation, State, minutes
from slotengine.calcom import (
    CalComClient,
    RateLimited,
    RemoteConflict,
    RevokeReason,
    SyncedEventType,
    SyncMode,
    SyncOverloaded,
)
from slotengine.testing.remote import Error429, RateLimit, RateLimits
from tests.calcom.sync.world import CHAT, NOON, STRICT, TALK, TEN, World, world

pytestmark = pytest.mark.anyio

FIXED_TTL = SyncedEventType(TALK)
QUARTER = minutes(15)


async def hold_many(w: World, count: int) -> list[Reservation]:
    return [
        await w.sync.reserve_slot("talk", TEN + minutes(30) * n, ttl=QUARTER) for n in range(count)
    ]


def states(w: World, holds: list[Reservation]) -> Counter[State | None]:
    found = (w.engine.local.get(hold.uid) for hold in holds)
    return Counter(one.state if one else None for one in found)


@pytest.mark.parametrize("wait", [False, True], ids=["refused", "waiting"])
async def test_a_burst_of_holds_is_kept_alive(wait: bool) -> None:
    """As many holds as the default limit allows, made at once and so due at once.

    The remote counts as well, and refuses none of the requests.
    """
    client = {"per_minute": 120, "wait_for_permit": wait}
    async with world(FIXED_TTL, client=client) as w:
        holds = await hold_many(w, 120)
        for _ in range(28):
            await w.pass_slowly(timedelta(seconds=30), timedelta(seconds=3))
            assert w.revoked == []
            assert len(w.there) == 120
        assert states(w, holds) == {State.HELD: 120}


async def test_a_hold_that_could_not_be_kept_alive_is_refused_with_a_time_to_retry() -> None:
    async with world(FIXED_TTL, client={"per_minute": 10}) as w:
        holds = await hold_many(w, 10)
        await w.advance(minutes(1))
        with pytest.raises(SyncOverloaded) as refused:
            await w.sync.reserve_slot("talk", TEN + minutes(30) * 10, ttl=QUARTER)
        assert (refused.value.waiting, refused.value.retry_at) == (10, holds[0].until)
        assert "10 reservations are renewed" in str(refused.value)
        assert (len(w.there), w.engine.statistics().held) == (10, 10)
        # A hold that needs no renewal is accepted, and a release makes room.
        await w.sync.reserve_slot("talk", TEN + minutes(30) * 11, ttl=minutes(5))
        await w.sync.release(holds[3].uid)
        await w.sync.reserve_slot("talk", TEN + minutes(30) * 10, ttl=QUARTER)
        await w.pass_slowly(minutes(13), timedelta(seconds=3))
        assert w.revoked == []


async def test_a_refused_hold_can_be_retried_with_its_key() -> None:
    async with world(FIXED_TTL, client={"per_minute": 2}) as w:
        first, _ = await hold_many(w, 2)
        await w.advance(minutes(1))
        for _ in range(2):
            with pytest.raises(SyncOverloaded):
                await w.sync.reserve_slot("talk", NOON, ttl=QUARTER, key="k")
        await w.sync.release(first.uid)
        hold = await w.sync.reserve_slot("talk", NOON, ttl=QUARTER, key="k")
        assert (hold.state, w.there) == (State.HELD, ["10:30", "12:00"])


async def test_one_request_a_minute_renews_nothing() -> None:
    async with world(FIXED_TTL, client={"per_minute": 1}) as w:
        with pytest.raises(SyncOverloaded):
            await w.sync.reserve_slot("talk", TEN, ttl=QUARTER)
        assert w.engine.statistics().held == 0


async def test_in_the_background_as_well() -> None:
    synced = SyncedEventType(CHAT, SyncMode.BACKGROUND)
    async with world(synced, client={"per_minute": 2, "wait_for_permit": False}) as w:
        for n in range(2):
            await w.sync.reserve_slot("chat", TEN + minutes(30) * n, ttl=QUARTER)
        with pytest.raises(SyncOverloaded):
            await w.sync.reserve_slot("chat", NOON, ttl=QUARTER)
        assert w.engine.statistics().held == 2


async def test_renewals_go_before_new_holds() -> None:
    """Other calls use up the limit again and again."""
    async with world(FIXED_TTL, client={"per_minute": 20, "wait_for_permit": False}) as w:
        holds = await hold_many(w, 20)
        for _ in range(400):
            with_luck = (w.client.get("nobody") for _ in range(10))
            await asyncio.gather(*with_luck, return_exceptions=True)
            await w.advance(timedelta(seconds=2))
        assert w.revoked == []
        assert states(w, holds) == {State.HELD: 20}


async def test_an_extension_that_is_held_back_loses_nothing() -> None:
    async with world(STRICT, client={"per_minute": 2}) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        with pytest.raises(RateLimited) as limited:
            await w.sync.extend(hold.uid, ttl=minutes(15))
        assert limited.value.retry_after_s == 60
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.until) == (State.HELD, hold.until)
        assert (w.requests(), w.there, w.revoked) == (["post"], ["10:00"], [])
        await w.advance(minutes(1))
        await w.sync.extend(hold.uid, ttl=minutes(15))
        assert w.requests() == ["post", "delete", "post"]


async def test_an_overlapping_move_that_is_held_back_loses_nothing() -> None:
    async with world(STRICT, client={"per_minute": 2}) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        with pytest.raises(RateLimited):
            await w.sync.move_slot(hold.uid, TEN + minutes(10))
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.start, w.there, w.requests()) == (TEN, ["10:00"], ["post"])


async def test_what_the_remote_says_remains_counts() -> None:
    """Another client with the same key has used up most of the limit."""
    limits = RateLimits(api_key=RateLimit(4), address=RateLimit(4))
    async with world(STRICT, remote={"limits": limits}) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        for _ in range(2):
            await w.client.get("nobody")
        with pytest.raises(RateLimited):
            await w.sync.extend(hold.uid, ttl=minutes(15))
        assert (w.there, w.revoked) == (["10:00"], [])
        assert w.requests("delete") == []


async def shut_out(w: World) -> None:
    """Exceed the remote's limit with another client of the same key."""
    async with CalComClient(w.remote.url, api_key="cal_all", attempts=1, per_minute=None) as other:
        with suppress(RateLimited):
            while True:
                await other.get("nobody")


@pytest.mark.parametrize("mode", SyncMode)
async def test_a_renewal_that_the_remote_shuts_out_is_made_later(mode: SyncMode) -> None:
    limits = RateLimits(api_key=RateLimit(10))
    synced = replace(FIXED_TTL, mode=mode)
    async with world(synced, client={"wait_for_permit": False}, remote={"limits": limits}) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=QUARTER)
        await w.settled()
        await w.pass_slowly(timedelta(seconds=148))
        await shut_out(w)
        await w.advance(timedelta(seconds=2))
        assert [(one.op, one.status) for one in w.remote.log][-1] == ("delete", 429)
        assert w.sync.statistics().not_done == 1
        for _ in range(80):
            await w.advance(timedelta(seconds=5))
            assert w.there == ["10:00"]
        assert (w.revoked, states(w, [hold])) == ([], {State.HELD: 1})
        assert [one.status for one in w.remote.log if one.op == "delete"] == [429, 200, 200, 200]


@pytest.mark.parametrize("mode", SyncMode)
async def test_a_renewal_that_is_shut_out_between_its_two_requests(mode: SyncMode) -> None:
    """The hold is gone there, so strict mode does not wait a minute for the second request."""
    synced = replace(FIXED_TTL, mode=mode)
    async with world(synced, client={"wait_for_permit": False}) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=QUARTER)
        await w.settled()
        w.remote.faults.script(Error429(reset_s=60), op="post")
        await w.pass_slowly(timedelta(seconds=150))
        assert w.there == []
        if mode is SyncMode.STRICT:
            assert [(one.uid, one.reason) for one in w.revoked] == [
                (hold.uid, RevokeReason.NOT_REACHED)
            ]
            return
        await w.pass_slowly(timedelta(seconds=62), timedelta(seconds=2))
        assert (w.there, w.revoked) == (["10:00"], [])


async def test_permits_are_given_back_once_all_is_done() -> None:
    async with world(FIXED_TTL, client={"per_minute": 4, "wait_for_permit": False}) as w:
        await hold_many(w, 2)
        theirs = w.remote.hold(1, NOON)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", NOON)
        assert theirs in w.live
        await w.pass_slowly(minutes(14))
        await w.sync.__aexit__(None, None, None)
        assert w.client.statistics().waiting == 0


async def test_permits_are_given_back_when_the_sync_is_left() -> None:
    async with world(FIXED_TTL, client={"per_minute": 4, "wait_for_permit": False}) as w:
        await hold_many(w, 4)
        await w.advance(timedelta(seconds=150))
        assert w.client.statistics().waiting > 0
        await w.sync.__aexit__(None, None, None)
        assert w.client.statistics().waiting == 0
