"""The callback that books at the remote is called once, despite cancellations and repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine import Reservation, State, minutes
from slotengine.calcom import RateLimited, RemoteDown, SyncMode
from slotengine.testing.remote import DropAfter, Gate, Wait
from tests.calcom.sync.world import STRICT, TEN, World, world

pytestmark = pytest.mark.anyio

SHUT_OUT = RateLimited("book", 429, "", "", None, 30)


class ConfirmCallback:
    """Books at the remote, or raises the errors that it was given, one at each call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[str, str | None]] = []
        self.world: World

    async def __call__(self, reservation: Reservation, remote_uid: str | None) -> None:
        self.calls.append((reservation.uid, remote_uid))
        if self.errors:
            raise self.errors.pop(0)
        self.world.remote.book(1, reservation.start)


@pytest.mark.parametrize("mode", SyncMode)
async def test_it_is_called_once_however_often_the_hold_is_confirmed(mode: SyncMode) -> None:
    book = ConfirmCallback()
    async with world(replace(STRICT, mode=mode, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.settled()
        remote_uid = w.live[0].uid
        first = await w.sync.confirm(hold.uid)
        early = await w.sync.confirm(hold.uid)
        await w.settled()
        again = await w.sync.confirm(hold.uid)
        await w.settled()
        assert first == early == again
        assert book.calls == [(hold.uid, remote_uid)]
        assert ([one.start for one in w.remote.bookings], w.there) == ([TEN], [])


async def test_it_continues_after_its_caller_is_cancelled_and_is_not_called_again() -> None:
    book = ConfirmCallback()
    called, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly(reservation: Reservation, remote_uid: str | None) -> None:
        called.set()
        await goes_on.wait()
        await book(reservation, remote_uid)

    async with world(replace(STRICT, on_confirm=slowly)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        asked = asyncio.create_task(w.sync.confirm(hold.uid))
        await called.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        goes_on.set()
        await w.settled()
        current = await w.sync.get(hold.uid)
        assert current is not None
        assert (current.state, len(book.calls)) == (State.CONFIRMED, 1)
        assert await w.sync.confirm(hold.uid) == current
        assert len(book.calls) == 1


async def test_a_confirm_whose_delete_was_lost_can_be_repeated() -> None:
    """The lost response is that to the DELETE of the hold, after the booking was made."""
    book = ConfirmCallback()
    async with world(replace(STRICT, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        w.remote.faults.script(DropAfter(), op="delete", times=2)
        first = await w.sync.confirm(hold.uid)
        await w.settled()
        assert await w.sync.confirm(hold.uid) == first
        await w.pass_slowly(minutes(2))
        assert (len(book.calls), w.there, w.diverged) == (1, [], [])


async def test_strict_calls_it_again_when_a_failed_confirm_is_repeated() -> None:
    book = ConfirmCallback(OSError("no"))
    async with world(replace(STRICT, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        with pytest.raises(OSError, match="no"):
            await w.sync.confirm(hold.uid)
        assert (await w.sync.confirm(hold.uid)).state is State.CONFIRMED
        await w.settled()
        assert (len(book.calls), w.there, len(w.remote.bookings)) == (2, [], 1)


async def test_in_the_background_a_failure_is_final_and_the_hold_is_kept() -> None:
    book = ConfirmCallback(OSError("no"))
    async with world(replace(STRICT, mode=SyncMode.BACKGROUND, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert (len(book.calls), [one.uid for one in w.diverged]) == (1, [hold.uid])
        for _ in range(60):  # until the slot is over
            assert w.there == ["10:00"]
            await w.advance(minutes(4))
        await w.pass_slowly(minutes(60), minutes(4))
        assert (len(book.calls), w.there) == (1, [])


@pytest.mark.parametrize(
    "error", [lambda: RemoteDown("book", 30), lambda: SHUT_OUT], ids=["down", "limited"]
)
async def test_in_the_background_it_is_called_again_if_it_certainly_did_nothing(
    error: Callable[[], Exception],
) -> None:
    book = ConfirmCallback(error(), error())
    async with world(replace(STRICT, mode=SyncMode.BACKGROUND, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN)
        await w.settled()
        await w.sync.confirm(hold.uid)
        await w.settled()
        assert len(book.calls) == 1
        await w.pass_slowly(timedelta(seconds=28))
        assert (len(book.calls), w.there) == (1, ["10:00"])
        await w.pass_slowly(minutes(3))
        assert (len(book.calls), w.there, w.diverged) == (3, [], [])
        assert len(w.remote.bookings) == 1


async def test_it_gets_the_uid_that_the_hold_has_by_then() -> None:
    """A renewal in flight gives the hold another uid."""
    book = ConfirmCallback()
    async with world(replace(STRICT, custom_ttl=False, on_confirm=book)) as w:
        book.world = w
        hold = await w.sync.reserve_slot("talk", TEN, ttl=minutes(12))
        gate = Gate()
        w.remote.faults.script(Wait(gate), op="post")
        await w.pass_slowly(timedelta(seconds=265))
        w.clock.set(w.clock.moment + timedelta(seconds=5))
        await gate.reached()
        asked = asyncio.create_task(w.sync.confirm(hold.uid))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.open()
        await asked
        (made,) = (
            one.uid for one in w.remote.log if one.op == "post" and one is not w.remote.log[0]
        )
        assert book.calls == [(hold.uid, made)]
