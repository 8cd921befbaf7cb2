"""The statistics of the sync: what each number counts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from slotengine import minutes
from slotengine.calcom import RateLimited, RemoteConflict, RemoteUncertain
from slotengine.testing.remote import DropAfter, DropBefore, Error429, Error500
from tests.calcom.sync.world import DAY, NOON, TEN, World, world

pytestmark = pytest.mark.anyio

NEXT_DAY = DAY[1], DAY[1] + timedelta(days=1)


class Counted:
    """Returns which numbers have changed since the last call, and by how much."""

    def __init__(self, w: World) -> None:
        self.world = w
        self.before = self._now()

    def _now(self) -> dict[str, Any]:
        return asdict(self.world.sync.statistics())

    async def changes(self) -> dict[str, Any]:
        await self.world.settled()
        before, self.before = self.before, self._now()
        return {
            name: value - before[name]
            for name, value in self.before.items()
            if isinstance(value, int) and value != before[name]
        }


async def test_the_fate_of_holds_is_counted() -> None:
    async with world(client={"wait_for_permit": False}) as w:
        counted = Counted(w)
        assert set(counted.before) == {
            "tracked", "backlog", "held", "orphans", "sent", "accepted", "refused", "lost",
            "not_done", "retried", "renewed", "revoked", "given_back", "diverged", "polls",
            "polls_failed", "busy_spans", "hidden", "staleness", "clock_skew", "clock_skew_error",
            "clock_skew_max", "clock_jumps",
        }  # fmt: skip

        held = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        assert await counted.changes() == {"tracked": 1, "held": 1, "sent": 1, "accepted": 1}

        await w.sync.extend(held.uid, ttl=minutes(9))
        assert await counted.changes() == {"sent": 2, "accepted": 1, "renewed": 1}

        await w.sync.release(held.uid)
        assert await counted.changes() == {"tracked": -1, "held": -1, "sent": 1}

        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", TEN)
        assert await counted.changes() == {"sent": 1, "refused": 1, "given_back": 1}

        w.remote.faults.script(DropAfter(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", NOON)
        assert await counted.changes() == {
            "sent": 2, "lost": 1, "retried": 1, "refused": 1, "given_back": 1, "orphans": 1,
        }  # fmt: skip

        w.remote.faults.script(Error429(reset_s=1), op="post")
        with pytest.raises(RateLimited):
            await w.sync.reserve_slot("talk", NOON + minutes(60))
        assert await counted.changes() == {"sent": 1, "not_done": 1, "given_back": 1}
        await w.advance(timedelta(seconds=1))

        w.remote.hold(2, TEN)
        await w.sync.reserve_slot("chat", TEN)
        assert w.sync.statistics().backlog == 1
        assert await counted.changes() == {"sent": 1, "refused": 1, "revoked": 1}

        booked = await w.sync.reserve_slot("chat", TEN)
        await w.sync.confirm(booked.uid)
        await w.settled()
        assert await counted.changes() == {"tracked": 1, "sent": 1, "refused": 1, "diverged": 1}


async def test_a_renewal_in_the_background_is_counted_with_its_retries() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(5))
        await w.settled()
        await w.engine.extend(hold.uid, ttl=minutes(9))
        await w.settled()
        counted = Counted(w)
        w.remote.faults.script(DropBefore(), op="delete", times=2)
        await w.pass_slowly(timedelta(seconds=275))
        assert await counted.changes() == {
            "sent": 4, "lost": 2, "retried": 2, "renewed": 1, "accepted": 1,
        }  # fmt: skip


async def test_polls_are_counted_and_the_oldest_one_is_the_staleness() -> None:
    async with world() as w:
        counted = Counted(w)
        assert w.sync.statistics().staleness is None
        w.remote.book(1, TEN)
        await w.sync.slots("talk", *DAY)
        assert await counted.changes() == {"polls": 1, "busy_spans": 1}
        await w.advance(timedelta(seconds=30))
        await w.sync.slots("chat", *NEXT_DAY)
        assert await counted.changes() == {"polls": 1}
        assert w.sync.statistics().staleness == timedelta(seconds=30)
        w.remote.faults.script(Error500(), op="search", times=None)
        await w.advance(timedelta(seconds=30))
        assert await counted.changes() == {"polls": 2, "polls_failed": 2}
        assert w.sync.statistics().staleness == timedelta(seconds=60)
