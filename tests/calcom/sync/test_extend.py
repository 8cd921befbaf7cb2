"""Extending holds, and renewing them at the remote."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import (
    State,
    minutes,
)
from slotengine.calcom import (
    RateLimited,
    RevokeReason,
)
from slotengine.testing.remote import Error429, Gate, Wait
from tests.calcom.sync.world import (
    STRICT,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio


async def test_extending_within_the_remotes_hold_costs_no_request() -> None:
    async with world(replace(STRICT, headroom=minutes(5))) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.advance(minutes(4))
        await w.sync.extend(hold.uid, ttl=minutes(5))
        assert w.requests() == ["post"]


async def test_strict_extends_at_once() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.advance(minutes(4))
        extended = await w.sync.extend(hold.uid, ttl=minutes(5))
        assert w.requests() == ["post", "delete", "post"]
        assert w.live[0].release_at == extended.until
        assert w.sync.statistics().renewed == 1


async def test_a_renewal_in_place_falls_back_to_delete_and_post() -> None:
    """The stand-in refuses the PATCH, because it counts the hold as a conflict with itself."""
    async with world(replace(STRICT, renew_in_place=True)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.advance(minutes(4))
        await w.sync.extend(hold.uid, ttl=minutes(5))
        assert w.requests() == ["post", "patch", "delete", "post"]


async def test_background_extends_shortly_before_the_end() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(5))
        await w.settled()
        await w.sync.extend(hold.uid, ttl=minutes(9))
        await w.pass_slowly(timedelta(seconds=265))
        assert w.requests() == ["post"]
        await w.advance(timedelta(seconds=5))
        assert w.requests() == ["post", "delete", "post"]
        assert w.live[0].release_at >= w.clock.moment + timedelta(seconds=270)


async def test_a_hold_that_outlives_the_remotes_is_renewed() -> None:
    """Without credentials the remote holds for five minutes."""
    async with world(replace(STRICT, custom_ttl=False)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        for _ in range(23):
            await w.advance(timedelta(seconds=30))
            assert w.there == ["10:00"]
        assert w.requests().count("post") == 3
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert current.state is State.HELD


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_hold_whose_time_is_taken_during_its_renewal_is_revoked(name: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN, ttl=minutes(5))
        await w.settled()
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        await w.engine.extend(hold.uid, ttl=minutes(9))
        await w.advance(timedelta(seconds=0))
        w.clock.set(w.clock.moment + timedelta(seconds=270))
        await gate.reached()
        w.remote.hold(1 if name == "talk" else 2, TEN)
        gate.open()
        await w.settled()
        assert [(one.uid, one.reason) for one in w.revoked] == [(hold.uid, RevokeReason.REFUSED)]


async def test_strict_does_not_extend_while_the_remote_cannot_be_asked() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        await w.advance(minutes(4))
        w.remote.faults.script(Error429(), op="delete")
        with pytest.raises(RateLimited):
            await w.sync.extend(hold.uid, ttl=minutes(5))
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.until) == (State.HELD, hold.until)
        assert w.revoked == []


async def test_strict_revokes_a_hold_that_ended_at_the_remote() -> None:
    async with world(replace(STRICT, custom_ttl=False)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        await w.remote.down()
        await w.pass_slowly(timedelta(seconds=299))
        assert w.revoked == []
        await w.advance(timedelta(seconds=1))
        assert [(one.uid, one.reason) for one in w.revoked] == [
            (hold.uid, RevokeReason.NOT_REACHED)
        ]
