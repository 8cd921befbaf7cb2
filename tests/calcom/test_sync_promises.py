"""What a yes of the sync is worth: found by a hostile reading, each of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from slotengine import EventType, SlotTaken, State, minutes
from slotengine.calcom import (
    RemoteConflict,
    RemoteUncertain,
    SyncClosed,
    SyncedEventType,
)
from slotengine.testing.remote import Gate, RemoteEventType, Wait
from tests.calcom.world import BACKGROUND, NOON, REMOTE_TYPES, STRICT, TEN, world

pytestmark = pytest.mark.anyio

OTHER = EventType(id="other", length=minutes(30), all_of=["ann"])
VARIED = EventType(
    id="varied", length=minutes(30), lengths=[minutes(30), minutes(60)], all_of=["ann"]
)
VARIED_THERE = RemoteEventType(id=7, length=30, lengths=(30, 60), owner=1, notice=0)


# --- Moves that change no start ---------------------------------------------------------------


async def test_a_move_to_another_event_type_that_is_refused_is_no_success() -> None:
    async with world(STRICT, SyncedEventType(OTHER, 4, timed=True), enter=False) as w:
        w.engine.add_event_type(OTHER)
        async with w.sync:
            hold = await w.sync.reserve("talk", TEN)
            w.remote.hold(4, TEN)
            with pytest.raises(RemoteConflict):
                await w.sync.move(hold.uid, TEN, event_type="other")
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert (current.state, current.event_type) == (State.HELD, "talk")
            assert len(w.remote.live(1)) == 1


async def test_a_change_of_length_that_is_refused_is_no_success() -> None:
    types = (*REMOTE_TYPES, VARIED_THERE)
    async with world(SyncedEventType(VARIED, 7, timed=True), remote_types=types, enter=False) as w:
        w.engine.add_event_type(VARIED)
        async with w.sync:
            hold = await w.sync.reserve("varied", TEN)
            w.remote.hold(7, TEN + minutes(30))
            with pytest.raises(RemoteConflict):
                await w.sync.move(hold.uid, TEN, length=minutes(60))
            current = await w.sync.get(hold.uid)
            assert current is not None
            assert (current.state, current.end) == (State.HELD, TEN + minutes(30))
            assert w.there == ["10:00", "10:30"]
