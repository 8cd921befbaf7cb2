"""The remote's clock is set ahead or back: when the sync notices, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from slotengine import SlotEngine, SlotError, State, minutes
from slotengine.calcom import (
    CalComClient,
    DateListener,
    Difference,
    RemoteConflict,
    RemoteUncertain,
    RevokeReason,
    SyncedEventType,
    SyncMode,
)
from slotengine.core.time.instant import to_us
from slotengine.testing.remote import (
    DropAfter,
    Error429,
    Error500,
    Fault,
    Garbage,
    Latency,
)
from tests.calcom.sync.world import CHAT, DAY, NOON, STRICT, TALK, TEN, World, world

pytestmark = pytest.mark.anyio

FIXED_TTL = SyncedEventType(TALK)
FIXED_TTL_BEHIND = SyncedEventType(CHAT, SyncMode.BACKGROUND)
FOUR_OF_FIVE = timedelta(seconds=285)
"""After this a hold of five minutes has a quarter of a minute left."""


async def hear(w: World, fault: Fault | None = None) -> None:
    """Make a request that has nothing to do with any hold of ours."""
    if fault is not None:
        w.remote.faults.script(fault, op="get")
    with suppress(SlotError):
        await w.client.get("nobody")
    await w.advance(timedelta(0))


# --- Ahead: holds end earlier --------------------------------------------------------------


@pytest.mark.parametrize("synced", [FIXED_TTL, FIXED_TTL_BEHIND], ids=["strict", "background"])
async def test_a_poll_notices_and_holds_are_renewed_in_time(
    synced: SyncedEventType,
) -> None:
    """The renewal was due after two and a half minutes, and the hold now ends after two."""
    async with world(synced) as w:
        await w.sync.slots(synced.id, *DAY)
        await w.sync.reserve_slot(synced.id, TEN, ttl=minutes(15))
        await w.settled()
        w.remote.skew += minutes(3)
        for _ in range(140):
            await w.advance(timedelta(seconds=5))
            assert w.there == ["10:00"]
        statistics = w.sync.statistics()
        assert (statistics.clock_skew, statistics.clock_skew_max) == (minutes(3), minutes(3))
        assert (statistics.clock_jumps, w.revoked) == (1, [])


@pytest.mark.parametrize("fault", [None, Error429(reset_s=3), Error500(), Garbage()], ids=repr)
async def test_any_other_response_notices(fault: Fault | None) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew += FOUR_OF_FIVE
        await w.advance(timedelta(0))
        assert w.requests("post", "delete") == ["post"]  # no response has told it yet
        await hear(w, fault)
        await w.advance(timedelta(seconds=3))  # the pause after a 429 is over
        assert w.requests("post", "delete") == ["post", "delete", "post"]
        assert hold.until is not None
        assert w.live[0].release_at - FOUR_OF_FIVE >= hold.until


async def test_a_response_about_another_hold_notices() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew += FOUR_OF_FIVE
        await w.sync.reserve_slot("talk", NOON, ttl=minutes(5))
        await w.advance(timedelta(0))
        assert w.requests() == ["post", "post", "delete", "post"]
        assert {row.release_at - w.remote.now() for row in w.live} == {minutes(5)}


class Undated(CalComClient):
    """A client of a remote whose responses have no date."""

    def on_date(self, listener: DateListener) -> Callable[[], None]:
        return lambda: None


async def test_without_dates_another_hold_notices() -> None:
    async with (
        world(enter=False) as w,
        Undated(w.remote.url, api_key="cal_all", attempts=1, per_minute=None) as w.client,
        w.new_sync() as w.sync,
    ):
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew += FOUR_OF_FIVE
        await w.client.get("nobody")
        await w.advance(timedelta(0))
        assert w.requests("post", "delete") == ["post"]
        await w.sync.reserve_slot("talk", NOON, ttl=minutes(5))
        await w.advance(timedelta(0))
        assert w.requests("post", "delete") == ["post", "post", "delete", "post"]
        statistics = w.sync.statistics()
        assert (statistics.clock_skew, statistics.clock_jumps) == (FOUR_OF_FIVE, 1)
        assert {row.release_at - w.remote.now() for row in w.live} == {minutes(5)}


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_hold_that_has_ended_there_and_was_taken_is_revoked(name: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN, ttl=minutes(5))
        await w.settled()
        w.remote.skew += minutes(6)
        w.remote.hold(1 if name == "talk" else 2, TEN)
        await hear(w)
        assert [(one.uid, one.reason) for one in w.revoked] == [(hold.uid, RevokeReason.REFUSED)]


async def test_a_hold_that_has_ended_there_and_is_free_is_made_again() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew += minutes(6)
        assert w.there == []
        await hear(w)
        assert (w.there, w.revoked) == (["10:00"], [])


async def test_strict_confirms_only_what_the_remote_still_holds() -> None:
    """The row of the expired hold is still there; only its end shows that it has expired."""
    async with world() as w:
        theirs, ours = [await w.sync.reserve_slot("talk", start) for start in (TEN, NOON)]
        w.remote.skew += minutes(6)
        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.confirm(theirs.uid)
        assert [one.uid for one in w.revoked] == [theirs.uid]
        assert (await w.sync.confirm(ours.uid)).state is State.CONFIRMED
        assert w.there == ["10:00", "12:00"]


async def test_reconcile_reports_and_repairs_it() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew += FOUR_OF_FIVE
        (finding,) = (await w.sync.reconcile()).findings
        assert (finding.difference, finding.uid, finding.repaired) == (
            Difference.ENDS_EARLIER,
            hold.uid,
            True,
        )
        assert w.live[0].release_at >= w.remote.now() + minutes(5)


async def test_the_corrected_end_survives_a_crash() -> None:
    async with world(FIXED_TTL) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(15))
        before = w.kept[hold.uid]
        w.remote.skew += minutes(1)
        await hear(w)
        after = w.kept[hold.uid]
        # The clock may have been set by a second more, the resolution of a date.
        assert (before.covered_until - after.covered_until) // 1_000_000 == 61
        assert before.gone_after == after.gone_after


# --- Back: holds end later -----------------------------------------------------------------


async def test_a_released_hold_is_deleted_although_it_should_have_ended() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew -= minutes(20)
        await hear(w)
        await w.advance(minutes(6))
        assert (w.there, w.requests("delete")) == ([], ["delete"])


async def test_an_orphaned_hold_lasts_longer() -> None:
    async with world() as w:
        w.remote.faults.script(DropAfter(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.skew -= minutes(20)
        await hear(w)
        (finding,) = (await w.sync.reconcile()).findings
        assert finding.difference is Difference.ORPHAN
        assert finding.until is not None
        assert finding.until - w.clock.moment >= w.live[0].release_at - w.remote.now()
        assert w.kept_orphans[-1].until == to_us(finding.until)


async def test_setting_it_ahead_and_back_cancels_out() -> None:
    async with world(FIXED_TTL) as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(15))
        for _ in range(50):
            for skew in (4, 0):
                w.remote.skew = timedelta(seconds=skew)
                await hear(w)
        assert w.sync.statistics().clock_jumps == 100
        await w.pass_slowly(timedelta(seconds=143))
        assert w.requests("post", "delete") == ["post"]  # renewed six seconds earlier, no more
        await w.sync.release(next(iter(w.kept)))
        await w.settled()
        assert w.sync.statistics().tracked == 0


# --- Not set -------------------------------------------------------------------------------


async def test_a_change_of_one_second_is_ignored() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        for skew_ms in (999, 0, -999) * 3:
            w.remote.skew = timedelta(milliseconds=skew_ms)
            await hear(w)
            await w.advance(timedelta(milliseconds=330))
        assert w.sync.statistics().clock_jumps == 0
        assert w.requests("post", "delete") == ["post"]


async def test_a_change_that_the_request_explains_is_ignored() -> None:
    """The response took twenty seconds, so it may have been made fifteen seconds ago."""
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.faults.script(Latency(20), op="get")
        asked = asyncio.create_task(w.client.get("nobody"))
        await w.advance(timedelta(0))
        w.remote.skew -= timedelta(seconds=15)
        await w.advance(timedelta(seconds=20))
        await asked
        assert w.sync.statistics().clock_jumps == 0
        await hear(w)
        assert w.sync.statistics().clock_jumps == 1


async def test_a_clock_that_was_always_wrong_was_not_set() -> None:
    async with world(FIXED_TTL, remote={"skew": minutes(-7)}) as w:
        await w.sync.slots("talk", *DAY)
        assert w.sync.statistics().clock_skew == minutes(-7) + timedelta(seconds=0.5)
        assert w.sync.statistics().clock_skew_error == timedelta(seconds=0.5)
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(15))
        await w.pass_slowly(minutes(10))
        assert w.sync.statistics().clock_jumps == 0
        assert (w.sync.statistics().clock_skew, w.there) == (minutes(-7), ["10:00"])


async def test_a_sync_that_was_left_hears_no_dates() -> None:
    async with world() as w:
        await hear(w)
        await w.sync.__aexit__(None, None, None)
        w.remote.skew += minutes(5)
        await w.client.get("nobody")
        assert w.sync.statistics().clock_jumps == 0


async def test_a_date_after_the_engine_was_left_does_no_harm() -> None:
    async with world(enter=False) as w:
        async with SlotEngine(clock=w.clock) as engine:
            engine.add_resource("room")
            engine.add_event_type(TALK)
            w.engine, w.synced = engine, (STRICT,)
            w.sync = await w.new_sync().__aenter__()
            await hear(w)
        w.remote.skew += minutes(5)
        assert await w.client.get("nobody") is None
