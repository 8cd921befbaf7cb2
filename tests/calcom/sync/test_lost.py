"""Lost responses, and callers that are cancelled at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import State, minutes
from slotengine.calcom import (
    Difference,
    RemoteConflict,
    RemoteDown,
    RemoteState,
    RemoteUncertain,
    RevokeReason,
    SyncMode,
)
from slotengine.calcom.sync.orphans import SLACK
from slotengine.core.time.instant import MICROSECOND
from slotengine.testing.remote import (
    At,
    DropAfter,
    DropBefore,
    Error429,
    Error500,
    Fault,
    Garbage,
    Gate,
    Wait,
)
from tests.calcom.sync.world import BACKGROUND, NOON, NOW, STRICT, TEN, World, world

pytestmark = pytest.mark.anyio

LATER = TEN + minutes(15)
LOST_AND_DONE: list[Fault] = [DropAfter(), Error500(at=At.AFTER), Garbage()]
LOST_AND_NOT_DONE: list[Fault] = [DropBefore(), Error500()]
NAMES = {
    DropAfter(): "dropped after",
    Error500(at=At.AFTER): "500 after",
    Garbage(): "garbage",
    DropBefore(): "dropped before",
    Error500(): "500 before",
}


# --- POST ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOST_AND_NOT_DONE, ids=NAMES.get)
@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_lost_post_that_was_not_carried_out_is_repeated(name: str, fault: Fault) -> None:
    async with world() as w:
        w.remote.faults.script(fault, op="post")
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        assert (w.there, w.sync.remote_state(hold.uid)) == (["10:00"], RemoteState.HELD)
        assert w.requests() == ["post", "post"]


@pytest.mark.parametrize("fault", LOST_AND_DONE, ids=NAMES.get)
async def test_strict_raises_if_the_outcome_stays_unknown(fault: Fault) -> None:
    async with world() as w:
        w.remote.faults.script(fault, op="post")
        with pytest.raises(RemoteUncertain) as uncertain:
            await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        assert isinstance(uncertain.value.__cause__, RemoteConflict)
        # Our own orphaned hold refused us; nobody gets the slot before it has ended.
        retry_at = NOW + minutes(5) + SLACK * MICROSECOND
        assert uncertain.value.retry_at == retry_at
        assert (w.there, w.sync.statistics().orphans) == (["10:00"], 1)
        assert (await w.engine.reserve_slot("talk", NOON)).state is State.HELD
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", LATER)
        (finding,) = (await w.sync.reconcile()).findings
        assert (finding.difference, finding.until) == (Difference.ORPHAN, retry_at)
        await w.advance(minutes(5) + SLACK * MICROSECOND)
        assert (await w.sync.reserve_slot("talk", TEN)).state is State.HELD
        assert w.sync.statistics().orphans == 0


@pytest.mark.parametrize("fault", LOST_AND_DONE, ids=NAMES.get)
async def test_in_the_background_the_orphan_is_waited_for(fault: Fault) -> None:
    async with world(replace(BACKGROUND, custom_ttl=False)) as w:
        w.remote.faults.script(fault, op="post")
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(20))
        await w.settled()
        assert w.sync.remote_state(hold.uid) is RemoteState.CREATE_UNKNOWN
        await w.pass_slowly(minutes(4))
        assert (w.revoked, w.requests()) == ([], ["post", "post"])
        await w.advance(timedelta(seconds=66))
        assert (w.sync.remote_state(hold.uid), w.there) == (RemoteState.HELD, ["10:00"])


async def test_a_slot_that_was_taken_after_the_orphan_ended_is_revoked() -> None:
    async with world(replace(BACKGROUND, custom_ttl=False)) as w:
        w.remote.faults.script(DropAfter(), op="post")
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(20))
        await w.settled()
        w.clock.set(NOW + minutes(5))
        w.remote.hold(2, TEN)
        await w.advance(timedelta(seconds=6))
        assert [(one.uid, one.reason) for one in w.revoked] == [(hold.uid, RevokeReason.REFUSED)]


async def test_the_next_caller_is_refused_while_an_orphan_may_hold_the_slot() -> None:
    """Unless the remote accepts the next caller's hold, that caller is refused as well."""
    async with world() as w:
        w.remote.faults.script(DropAfter(), op="post")
        w.remote.faults.script(DropBefore(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", TEN)
        assert w.requests() == ["post", "post"]
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", TEN)
        assert len(w.live) == 1


async def test_strict_sends_no_third_post() -> None:
    async with world() as w:
        w.remote.faults.script(Error500(), op="post", times=2)
        with pytest.raises(RemoteUncertain):
            await w.sync.reserve_slot("talk", TEN)
        assert w.requests() == ["post", "post"]


async def test_background_repeats_until_the_outcome_is_known() -> None:
    async with world(client={"failures": 100}) as w:
        w.remote.faults.script(Error500(), op="post", times=6)
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(30))
        await w.pass_slowly(minutes(4))
        assert (w.there, w.revoked) == (["10:00"], [])
        assert w.sync.remote_state(hold.uid) is RemoteState.HELD
        assert w.sync.statistics().retried == 6


# --- DELETE, PATCH --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOST_AND_DONE + LOST_AND_NOT_DONE, ids=NAMES.get)
@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_lost_delete_is_repeated(name: str, fault: Fault) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        w.remote.faults.script(fault, op="delete", times=2)
        await w.sync.release(hold.uid)
        await w.pass_slowly(minutes(1))
        assert (w.there, w.sync.statistics().tracked) == ([], 0)


async def test_a_delete_that_never_arrives_is_given_up_once_the_hold_has_expired() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(2))
        await w.remote.down()
        await w.sync.release(hold.uid)
        await w.pass_slowly(timedelta(seconds=130), timedelta(seconds=1))
        assert w.sync.statistics().tracked == 0


@pytest.mark.parametrize("fault", LOST_AND_DONE + LOST_AND_NOT_DONE, ids=NAMES.get)
@pytest.mark.parametrize("name", ["talk", "chat"])
async def test_a_lost_move_is_looked_up(name: str, fault: Fault) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        w.remote.faults.script(fault, op="patch")
        moved = await w.sync.move_slot(hold.uid, NOON)
        await w.settled()
        assert (moved.start, w.there) == (NOON, ["12:00"])
        assert w.requests("get") == ["get"]
        assert w.requests("patch") == ["patch"] * (1 if fault in LOST_AND_DONE else 2)


async def test_a_lost_move_that_cannot_be_looked_up_is_given_up() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.faults.script(DropAfter(), op="patch")
        w.remote.faults.script(DropBefore(), op="get", times=4)
        with pytest.raises(RemoteUncertain):
            await w.sync.move_slot(hold.uid, NOON)
        assert [(one.uid, one.reason) for one in w.revoked] == [(hold.uid, RevokeReason.UNCERTAIN)]
        await w.pass_slowly(minutes(1))
        assert (w.there, w.engine.statistics().held) == ([], 0)


async def test_a_hold_that_was_deleted_there_is_made_again() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.release(w.live[0].uid)
        await w.sync.move_slot(hold.uid, NOON)
        assert (w.there, w.requests()) == (["12:00"], ["post", "patch", "post"])


@pytest.mark.parametrize("fault", LOST_AND_DONE, ids=NAMES.get)
async def test_strict_gives_up_a_hold_whose_renewal_was_lost(fault: Fault) -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(5))
        w.remote.faults.script(fault, op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.extend(hold.uid, ttl=minutes(10))
        assert [(one.uid, one.reason) for one in w.revoked] == [(hold.uid, RevokeReason.UNCERTAIN)]


@pytest.mark.parametrize("fault", LOST_AND_DONE, ids=NAMES.get)
async def test_a_lost_move_that_overlaps_is_undone(fault: Fault) -> None:
    """The orphan is in the way of the old time as well, so the hold is lost."""
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.faults.script(fault, op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.move_slot(hold.uid, LATER)
        assert [one.uid for one in w.revoked] == [hold.uid]
        assert (w.there, w.engine.statistics().held) == (["10:15"], 0)


# --- Cancelled callers --------------------------------------------------------------------------


async def _confirm_and_cancel(w: World, uid: str) -> None:
    await w.sync.confirm(uid)
    await w.sync.cancel(uid)


Verb = Callable[[World, str], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "reserve": lambda w, _: w.sync.reserve_slot("talk", LATER + minutes(60)),
    "extend": lambda w, uid: w.sync.extend(uid, ttl=minutes(20)),
    "move": lambda w, uid: w.sync.move_slot(uid, NOON),
    "move a little": lambda w, uid: w.sync.move_slot(uid, LATER),
    "confirm": lambda w, uid: w.sync.confirm(uid),
    "release": lambda w, uid: w.sync.release(uid),
    "confirm and cancel": _confirm_and_cancel,
    "slots": lambda w, _: w.sync.slots("talk", TEN, NOON),
    "reconcile": lambda w, _: w.sync.reconcile(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_cancelling_a_caller_at_any_step_leaves_both_sides_in_step(verb: str) -> None:
    """The caller is cancelled at each turn of the event loop in a row of runs."""
    turns = 0
    while True:
        async with world() as w:
            hold = await w.sync.reserve_slot("talk", TEN)
            before = w.engine.statistics().held
            task = asyncio.ensure_future(VERBS[verb](w, hold.uid))
            for _ in range(turns):
                await asyncio.sleep(0)
            left = not task.done()
            task.cancel()
            await asyncio.wait([task])
            for _ in range(50):
                await asyncio.sleep(0)
            await w.settled()
            report = await w.sync.reconcile()
            assert report.findings == (), turns
            statistics = w.engine.statistics()
            assert statistics.held + statistics.confirmed == len(w.there)
            if left and verb == "reserve":
                assert statistics.held == before, turns
                assert w.revoked == []
        if not left:
            break
        turns += 1
    assert turns > 0


@pytest.mark.parametrize("op", ["post", "patch", "delete"])
async def test_a_request_in_flight_continues_after_its_caller_is_cancelled(op: str) -> None:
    verb = {"post": "reserve", "patch": "move", "delete": "release"}[op]
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op=op)  # type: ignore[arg-type]
        task = asyncio.ensure_future(VERBS[verb](w, hold.uid))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await w.settled()
        assert (await w.sync.reconcile()).findings == ()
        assert w.sync.statistics().orphans == 0


# --- Leaving the sync ----------------------------------------------------------------------------


async def test_leaving_sends_what_the_remote_does_not_have() -> None:
    async with world(enter=False) as w:
        async with w.sync:
            for n in range(20):
                await w.sync.reserve_slot("chat", TEN + minutes(30) * n)
        assert len(w.there) == 20
        assert w.sync.unsent == ()


async def test_what_could_not_be_sent_on_leaving_is_reported() -> None:
    async with world(enter=False) as w:
        async with w.sync:
            kept = await w.sync.reserve_slot("chat", TEN)
            await w.settled()
            await w.remote.down()
            new = await w.sync.reserve_slot("chat", NOON)
            await w.sync.release(kept.uid)
        unsent = {one.uid: (one.start, one.desired) for one in w.sync.unsent}
        assert unsent == {kept.uid: (TEN, False), new.uid: (NOON, True)}


async def test_leaving_takes_no_longer_than_drain() -> None:
    async with world(enter=False, drain=timedelta(seconds=10)) as w:
        gate = Gate()
        w.remote.faults.script(Wait(gate, At.AFTER), op="post")
        await w.sync.__aenter__()
        hold = await w.sync.reserve_slot("chat", TEN)
        await gate.reached()
        leaving = asyncio.ensure_future(w.sync.__aexit__(None, None, None))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not leaving.done()
        w.clock.set(w.clock.moment + timedelta(seconds=10))
        await leaving
        (unsent,) = w.sync.unsent
        assert (unsent.uid, unsent.remote_state) == (hold.uid, RemoteState.CREATE_UNKNOWN)
        assert len(w.sync.saved().orphans) == 1
        gate.open()


@pytest.mark.parametrize(
    ("op", "state"), [("patch", RemoteState.MOVE_UNKNOWN), ("delete", RemoteState.DELETE_UNKNOWN)]
)
async def test_the_outcome_of_a_request_that_leaving_cuts_off_is_unknown(
    op: str, state: RemoteState
) -> None:
    async with world(enter=False, drain=timedelta(seconds=10)) as w:
        gate = Gate()
        await w.sync.__aenter__()
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        w.remote.faults.script(Wait(gate, At.AFTER), op=op)  # type: ignore[arg-type]
        # A move that overlaps deletes first.
        await w.sync.move_slot(hold.uid, NOON if op == "patch" else LATER)
        await gate.reached()
        leaving = asyncio.ensure_future(w.sync.__aexit__(None, None, None))
        for _ in range(100):
            await asyncio.sleep(0)
        w.clock.set(w.clock.moment + timedelta(seconds=10))
        await leaving
        (unsent,) = w.sync.unsent
        assert (unsent.uid, unsent.remote_state) == (hold.uid, state)
        gate.open()
        w.sync = w.new_sync(saved=w.sync.saved())
        async with w.sync:
            await w.settled()
            assert (w.there, w.revoked) == (["12:00" if op == "patch" else "10:15"], [])


async def test_a_rate_limit_is_no_reason_to_revoke() -> None:
    async with world(
        replace(STRICT, mode=SyncMode.BACKGROUND), client={"wait_for_permit": False}
    ) as w:
        w.remote.faults.script(Error429(reset_s=30), op="post")
        await w.sync.reserve_slot("talk", TEN, ttl=minutes(10))
        await w.pass_slowly(timedelta(seconds=29))
        assert (w.requests(), w.revoked) == (["post"], [])
        assert w.sync.statistics().not_done == 1  # it was not even tried before that
        await w.pass_slowly(timedelta(seconds=20))
        assert w.there == ["10:00"]


async def test_a_failure_of_what_is_no_longer_desired_is_forgotten() -> None:
    async with world(client={"wait_for_permit": False}) as w:
        hold = await w.sync.reserve_slot("chat", TEN, ttl=minutes(10))
        await w.settled()
        w.remote.faults.script(Error429(reset_s=1), op="patch")
        await w.sync.move_slot(hold.uid, NOON)
        await w.settled()
        assert w.sync.statistics().backlog == 1
        await w.sync.move_slot(hold.uid, TEN)
        await w.settled()
        assert (w.sync.statistics().backlog, len(w.caught_up)) == (0, 1)


async def test_a_move_of_a_booking_is_undone_as_well() -> None:
    async with world() as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.sync.confirm(hold.uid)
        w.remote.faults.script(DropAfter(), op="post")
        with pytest.raises(RemoteUncertain):
            await w.sync.move_slot(hold.uid, LATER)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, current.start) == (State.CONFIRMED, TEN)
        # The orphan is in its way; once that has ended, the booking is held there again.
        await w.pass_slowly(minutes(62), minutes(1))
        assert (w.there, w.revoked) == (["10:00"], [])


async def test_strict_raises_while_the_remote_is_down() -> None:
    async with world(client={"failures": 1}) as w:
        w.remote.faults.script(Error500(), op="post")
        with pytest.raises(RemoteUncertain) as uncertain:
            await w.sync.reserve_slot("talk", TEN)
        assert isinstance(uncertain.value.__cause__, RemoteDown)
