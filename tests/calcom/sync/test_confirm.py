"""Confirming and cancelling, and what becomes of the hold at the remote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slotengine import (
    Reservation,
    State,
    minutes,
)
from slotengine.calcom import (
    OnConfirm,
    RemoteConflict,
    SyncMode,
)
from tests.calcom.sync.world import (
    BACKGROUND,
    NOON,
    STRICT,
    TEN,
    world,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", SyncMode)
async def test_a_booking_is_kept_at_the_remote_until_it_is_over(mode: SyncMode) -> None:
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
async def test_on_confirm_the_hold_can_be_released(name: str) -> None:
    released = [replace(one, on_confirm=OnConfirm.RELEASE) for one in (STRICT, BACKGROUND)]
    async with world(*released) as w:
        hold = await w.sync.reserve_slot(name, TEN)
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert w.there == []


@pytest.mark.parametrize("mode", SyncMode)
async def test_on_confirm_a_callback_can_book(mode: SyncMode) -> None:
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
        # Our own booking is not busy.
        await w.sync.slots("talk", TEN, NOON)
        assert w.engine.local.imported("room", TEN, NOON) == []


async def failing(reservation: Reservation, remote_uid: str | None) -> None:
    raise OSError("no")


async def test_strict_does_not_confirm_if_the_callback_fails() -> None:
    async with world(replace(STRICT, on_confirm=failing)) as w:
        hold = await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(OSError, match="no"):
            await w.sync.confirm(hold.uid)
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, w.there) == (State.HELD, ["10:00"])


async def test_in_the_background_a_failed_callback_is_reported_and_the_hold_kept() -> None:
    async with world(replace(BACKGROUND, on_confirm=failing)) as w:
        hold = await w.sync.reserve_slot("chat", TEN)
        await w.settled()
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        await w.settled()
        assert [one.uid for one in w.diverged] == [hold.uid]
        assert w.there == ["10:00"]


async def test_a_booking_that_the_remote_refuses_stays_and_is_reported() -> None:
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


async def test_strict_does_not_confirm_a_hold_that_has_expired_there() -> None:
    """The renewal is overdue, and has not been noticed yet."""
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
