"""What the verbs of the sync do on both sides, when all goes well and when the remote says no."""

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
    KeyReused,
    Reservation,
    SlotError,
    SlotTaken,
    State,
    UnknownEventType,
    minutes,
)
from slotengine.calcom import (
    CalComSync,
    Mode,
    OnConfirm,
    RateLimited,
    RemoteBusy,
    RemoteConflict,
    RemoteDown,
    RemoteNotFound,
    RemoteState,
    RemoteUncertain,
    RemoteUnreachable,
    RevokeReason,
    SyncClosed,
    SyncedEventType,
    SyncOverloaded,
)
from slotengine.testing.remote import Error429, Gate, RemoteEventType, Wait
from tests.calcom.client.scripted import until
from tests.calcom.sync.world import (
    BACKGROUND,
    NOON,
    PAIR,
    STRICT,
    TALK,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio

LATER = TEN + minutes(15)


# --- Reserve -------------------------------------------------------------------------------


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
        # Whole minutes are what the remote knows; it never ends before ours.
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


async def test_strict_gives_back_what_the_remote_refuses() -> None:
    async with world() as w:
        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.reserve_slot("talk", TEN)
        await w.engine.reserve_slot("talk", TEN)  # it is free here again
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


async def test_background_revokes_what_the_remote_refuses() -> None:
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
        await w.engine.reserve_slot("chat", NOON)  # nothing was taken here


async def test_requests_of_different_reservations_go_in_parallel_up_to_a_bound() -> None:
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


async def test_a_key_can_be_used_again_after_the_remote_has_refused() -> None:
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


async def test_one_of_two_callers_with_a_key_may_leave() -> None:
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


async def test_of_64_callers_for_a_slot_one_gets_it() -> None:
    async with world() as w:
        results = await asyncio.gather(
            *(w.sync.reserve_slot("talk", TEN) for _ in range(64)), return_exceptions=True
        )
        assert sum(isinstance(one, Reservation) for one in results) == 1
        assert sum(isinstance(one, SlotTaken) for one in results) == 63
        assert w.requests() == ["post"]


async def test_what_cannot_be_asked_of_the_remote_is_refused() -> None:
    async with world(remote_types=[RemoteEventType(id=9)]) as w:
        with pytest.raises(RemoteNotFound):
            await w.sync.reserve_slot("talk", TEN)
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        assert [one.uid for one in w.revoked] == [hold.uid]


async def test_hosts_that_take_turns_are_held_one_after_the_other() -> None:
    async with world(SyncedEventType(PAIR)) as w:
        first, second = [await w.sync.reserve_slot("pair", TEN) for _ in range(2)]
        assert {*first.resources, *second.resources} == {"ann", "bob"}
        with pytest.raises(Exception, match="none of 2"):
            await w.sync.reserve_slot("pair", TEN)
        assert w.there == ["10:00", "10:00"]


# --- Release, expiry -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_release_deletes(name: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        await w.sync.release(hold.uid)
        await w.settled()
        assert (w.there, w.requests()) == ([], ["post", "delete"])
        assert w.sync.statistics().tracked == 0


async def test_a_release_before_the_remote_was_told_costs_no_request() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.sync.release(hold.uid)
        await w.settled()
        assert w.requests() == []


async def test_whoever_takes_what_was_just_released_waits_for_the_delete() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        leaving = asyncio.create_task(w.sync.release(hold.uid))
        await gate.reached()
        coming = asyncio.create_task(w.sync.reserve_slot("talk", TEN))
        for _ in range(100):
            await asyncio.sleep(0)
        assert w.requests() == ["post", "delete"]
        gate.open()
        await leaving
        assert (await coming).state is State.HELD
        assert w.requests() == ["post", "delete", "post"]


async def test_in_the_background_too() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="delete")
        await w.sync.release(hold.uid)
        await gate.reached()
        await w.sync.reserve_slot("chat", LATER)
        for _ in range(100):
            await asyncio.sleep(0)
        assert w.requests() == ["post", "delete"]
        gate.open()
        await w.settled()
        assert (w.there, w.revoked) == (["10:15"], [])


async def test_what_lapses_here_is_released_there() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=timedelta(seconds=61))
        await w.advance(timedelta(seconds=61))
        assert (w.there, w.requests()) == ([], ["post", "delete"])


async def test_what_has_lapsed_there_as_well_is_not_asked_about() -> None:
    async with world() as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(1))
        await w.advance(minutes(2))
        assert w.requests() == ["post"]
        assert w.sync.statistics().tracked == 0


async def test_what_is_done_on_the_engine_itself_is_followed() -> None:
    async with world() as w:
        hold = await w.engine.reserve_slot("talk", TEN)
        await w.settled()
        assert w.there == ["10:00"]
        await w.engine.move_slot(hold.uid, NOON)
        await w.settled()
        assert w.there == ["12:00"]
        await w.engine.release(hold.uid)
        await w.settled()
        assert w.there == []


# --- Extend ----------------------------------------------------------------------------------


async def test_extending_within_what_the_remote_holds_costs_no_request() -> None:
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


async def test_in_place_where_the_remote_can() -> None:
    """The stand-in cannot: the PATCH is in its own way, and the long way is taken."""
    async with world(replace(STRICT, in_place=True)) as w:
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


async def test_what_lives_longer_than_the_remote_allows_is_renewed() -> None:
    """Without credentials every hold is of five minutes."""
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
async def test_a_renewal_that_somebody_else_is_quicker_than_revokes(name: str) -> None:
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


async def test_strict_does_not_extend_what_the_remote_cannot_be_asked_about() -> None:
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


async def test_strict_gives_up_what_the_remote_does_not_hold_any_more() -> None:
    async with world(replace(STRICT, custom_ttl=False)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        await w.remote.down()
        await w.pass_slowly(timedelta(seconds=299))
        assert w.revoked == []
        await w.advance(timedelta(seconds=1))
        assert [(one.uid, one.reason) for one in w.revoked] == [
            (hold.uid, RevokeReason.NOT_REACHED)
        ]


# --- Move ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["talk", "chat"])
@pytest.mark.parametrize(
    ("to", "requests"), [(NOON, ["patch"]), (LATER, ["delete", "post"])], ids=["apart", "overlap"]
)
async def test_a_move_is_followed(name: str, to: object, requests: list[str]) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        assert to in {NOON, LATER}
        start = NOON if to == NOON else LATER
        moved = await w.sync.move_slot(hold.uid, start)
        await w.settled()
        assert (moved.uid, moved.start) == (hold.uid, start)
        assert [row.start for row in w.live] == [start]
        assert w.requests() == ["post", *requests]
        assert w.engine.statistics().held == 1


@pytest.mark.parametrize("to", [NOON, LATER], ids=["apart", "overlap"])
async def test_strict_moves_back_what_the_remote_refuses(to: object) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        start = NOON if to == NOON else LATER
        w.remote.hold(1, start + minutes(20))
        with pytest.raises(RemoteConflict):
            await w.sync.move_slot(hold.uid, start)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.start) == (State.HELD, TEN)
        assert w.there[0] == "10:00"
        assert w.engine.statistics().held == 1
        assert w.revoked == []


async def test_nobody_takes_what_a_move_has_left_before_the_remote_has_agreed() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="patch")
        w.remote.hold(1, NOON)
        moving = asyncio.create_task(w.sync.move_slot(hold.uid, NOON))
        await gate.reached()
        with pytest.raises(SlotTaken):
            await w.sync.reserve_slot("talk", TEN)
        gate.open()
        with pytest.raises(RemoteConflict):
            await moving
        assert (await w.engine.get(hold.uid)).start == TEN  # type: ignore[union-attr]


async def test_nor_does_anybody_who_waits_for_it() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="patch")
        w.remote.hold(1, NOON)
        moving = asyncio.create_task(w.sync.move_slot(hold.uid, NOON))
        await gate.reached()
        waits = w.engine.reserve_slot("talk", TEN, wait=minutes(60))
        waiting = asyncio.create_task(waits)
        await asyncio.sleep(0)
        assert w.engine.statistics().waiting == 1
        gate.open()
        with pytest.raises(RemoteConflict):
            await moving
        assert (await w.engine.get(hold.uid)).start == TEN  # type: ignore[union-attr]
        assert w.engine.statistics().waiting == 1
        waiting.cancel()


async def test_background_revokes_what_the_remote_does_not_let_move() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        w.remote.hold(2, NOON)
        await w.sync.move_slot(hold.uid, NOON)
        await w.settled()
        assert [one.uid for one in w.revoked] == [hold.uid]
        assert w.there == ["12:00"]


async def test_two_in_the_background_change_places() -> None:
    async with world() as w:
        first = await w.sync.reserve_slot("chat", TEN)
        second = await w.sync.reserve_slot("chat", NOON)
        await w.settled()
        await w.sync.move_slot(first.uid, TEN + minutes(60))
        await w.sync.move_slot(second.uid, TEN)
        await w.sync.move_slot(first.uid, NOON)
        await w.settled()
        assert (w.there, w.revoked) == (["10:00", "12:00"], [])
        assert (await w.sync.reconcile()).findings == ()


async def test_what_is_moved_to_an_event_type_that_is_not_synced_is_let_go() -> None:
    async with world(STRICT) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.engine.move_slot(hold.uid, TEN, event_type="chat")
        await w.settled()
        assert w.there == []


# --- Confirm, cancel --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", Mode)
async def test_a_booking_is_kept_at_the_remote_until_it_is_over(mode: Mode) -> None:
    async with world(replace(STRICT, mode=mode, max_ttl=minutes(60))) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.settled()
        booking = await w.sync.confirm(hold.uid)
        assert booking.state is State.CONFIRMED
        for _ in range(53):
            await w.advance(minutes(5))
            assert w.there == ["10:00"]
        await w.pass_slowly(minutes(70), minutes(5))
        assert w.there == []
        assert w.requests().count("post") == 6


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_or_released(name: str) -> None:
    released = [replace(one, on_confirm=OnConfirm.RELEASE) for one in (STRICT, BACKGROUND)]
    async with world(*released) as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert w.there == []


@pytest.mark.parametrize("mode", Mode)
async def test_or_booked_by_a_callback(mode: Mode) -> None:
    async def book(reservation: Reservation, remote_uid: str | None) -> None:
        assert remote_uid == w.live[0].uid
        w.remote.book(1, reservation.start)

    async with world(replace(STRICT, mode=mode, on_confirm=book)) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.settled()
        booking = await w.sync.confirm(hold.uid)
        await w.settled()
        assert booking.state is State.CONFIRMED
        assert ([one.start for one in w.remote.bookings], w.there) == ([TEN], [])
        # What we have booked ourselves is not busy.
        await w.sync.slots("talk", TEN, NOON)
        assert w.engine.imported_nowait("room", TEN, NOON) == []


async def failing(reservation: Reservation, remote_uid: str | None) -> None:
    raise OSError("no")


async def test_strict_does_not_confirm_what_the_callback_could_not_book() -> None:
    async with world(replace(STRICT, on_confirm=failing)) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(OSError, match="no"):
            await w.sync.confirm(hold.uid)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, w.there) == (State.HELD, ["10:00"])


async def test_in_the_background_that_is_told_and_the_hold_is_kept() -> None:
    async with world(replace(BACKGROUND, on_confirm=failing)) as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        await w.settled()
        assert [one.uid for one in w.diverged] == [hold.uid]
        assert w.there == ["10:00"]


async def test_a_booking_that_the_remote_refuses_stays_and_is_told() -> None:
    async with world() as w:
        w.remote.hold(2, TEN)
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.sync.confirm(hold.uid)
        await w.settled()
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert current.state is State.CONFIRMED
        assert [one.uid for one in w.diverged] == [hold.uid]
        assert w.revoked == []


async def test_strict_does_not_confirm_what_has_lapsed_there() -> None:
    """The time has come, and nobody has looked yet."""
    async with world(replace(STRICT, custom_ttl=False)) as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        w.clock.set(w.clock.moment + minutes(6))
        w.remote.hold(1, TEN)
        with pytest.raises(RemoteConflict):
            await w.sync.confirm(hold.uid)
        assert [one.uid for one in w.revoked] == [hold.uid]


@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_cancelled_booking_is_released_there(name: str) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.sync.confirm(hold.uid)
        await w.sync.cancel(hold.uid)
        await w.settled()
        assert w.there == []


# --- The rest ----------------------------------------------------------------------------------


async def test_it_is_entered_once_and_used_inside() -> None:
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
async def test_event_types_are_by_the_remotes_id_and_each_once(wrong: Any) -> None:
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
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        SyncedEventType(**({"event_type": TALK} | wrong))  # type: ignore[arg-type]


async def test_other_lengths_are_asked_for() -> None:
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


async def test_a_remote_of_another_length_is_told_of() -> None:
    remote = RemoteEventType(id=1, length=45, notice=0)
    async with world(remote_types=[remote]) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        assert [one.uid for one in w.diverged] == [hold.uid]


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(minutes=-4)])
async def test_the_clock_there_may_be_another(skew: timedelta) -> None:
    async with world(replace(STRICT, custom_ttl=False), remote={"skew": skew}) as w:
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        for _ in range(20):
            await w.advance(timedelta(seconds=30))
            assert w.there == ["10:00"]
        statistics = w.sync.statistics()
        assert (statistics.clock_skew, statistics.clock_skew_max) == (skew, abs(skew))
        assert statistics.clock_skew_error == timedelta(0)


async def test_a_hold_that_lapsed_while_the_remote_was_asked_is_not_returned() -> None:
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
def test_errors_keep_their_facts_on_a_journey(error: SlotError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (arrived.args, vars(arrived), str(arrived)) == (error.args, vars(error), str(error))
    assert str(error)
