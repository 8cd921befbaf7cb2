"""Both sides under verbs, faults, strangers and time in any order, chosen by Hypothesis."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slotengine import SlotError, minutes
from slotengine.calcom import OnConfirm, SyncedEventType, SyncMode
from slotengine.testing.remote.faults import Op
from tests.calcom.sync.chaos import FAULTS, STARTS, Schedule
from tests.calcom.sync.world import CHAT, NOW, TALK, world

T = TypeVar("T")

starts = st.sampled_from(STARTS)
# A late response is cut off as well, by the client that waits for it.
faults = st.sampled_from(FAULTS)
ops: st.SearchStrategy[Op] = st.sampled_from(["post", "patch", "delete", "get", "search"])
turns = st.integers(0, 30)


class SyncMachine(RuleBasedStateMachine):
    """Goal: whatever happens, the two sides agree, or the report says where they differ.

    Method: callers, strangers and faults in any order.  Promises are recorded
    apart from the sync, and compared with the remote's own tables whenever
    nothing is in flight; then there is a time without faults, after which both
    sides agree.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.checks = Schedule(0)
        synced = (
            SyncedEventType(TALK, custom_ttl=True, max_ttl=minutes(20)),
            SyncedEventType(CHAT, SyncMode.BACKGROUND, on_confirm=OnConfirm.RELEASE),
        )
        self.entered, self.over = asyncio.Event(), asyncio.Event()
        self.host = self.loop.create_task(self.stay(synced))
        self.do(self.entered.wait())

    async def stay(self, synced: tuple[SyncedEventType, ...]) -> None:
        """Enter the world and leave it in one task, as anyio demands."""
        now = NOW + timedelta(seconds=29.5)  # clocks are rarely at a full minute
        async with world(*synced, client={"wait_for_permit": False}, now=now) as entered:
            self.checks.world = entered
            self.entered.set()
            await self.over.wait()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def ask(self, verb: Coroutine[Any, Any, T], leave_after: int | None = None) -> T | None:
        """Be a caller, perhaps one that is cancelled."""

        async def caller() -> T | None:
            task = asyncio.ensure_future(verb)
            if leave_after is not None:
                for _ in range(leave_after):
                    await asyncio.sleep(0)
                task.cancel()
            with suppress(SlotError, asyncio.CancelledError):
                return await task
            return None

        return self.do(caller())

    @property
    def mine(self) -> list[str]:
        return [uid for uid in self.checks.acked if self.checks.is_live(uid)]

    @rule(
        name=st.sampled_from(["talk", "chat"]),
        start=starts,
        seconds=st.sampled_from([20, 90, 400, 900]),
        leave=st.none() | turns,
    )
    def reserve(self, name: str, start: Any, seconds: int, leave: int | None) -> None:
        ttl = timedelta(seconds=seconds)
        hold = self.ask(self.checks.world.sync.reserve_slot(name, start, ttl=ttl), leave)
        if hold is not None:
            mode = SyncMode.STRICT if name == "talk" else SyncMode.BACKGROUND
            self.checks.acked[hold.uid] = mode

    @precondition(lambda self: self.mine)
    @rule(
        data=st.data(),
        verb=st.sampled_from(["move", "extend", "release", "confirm", "cancel"]),
        start=starts,
        leave=st.none() | turns,
    )
    def change(self, data: st.DataObject, verb: str, start: Any, leave: int | None) -> None:
        sync, uid = self.checks.world.sync, data.draw(st.sampled_from(self.mine))
        calls = {
            "move": lambda: sync.move_slot(uid, start),
            "extend": lambda: sync.extend(uid, ttl=minutes(6)),
            "release": lambda: sync.release(uid),
            "confirm": lambda: sync.confirm(uid),
            "cancel": lambda: sync.cancel(uid),
        }
        self.ask(calls[verb](), leave)

    @rule(fault=faults, op=ops, times=st.integers(1, 3))
    def something_goes_wrong(self, fault: Any, op: Op, times: int) -> None:
        self.checks.world.remote.faults.script(fault, op=op, times=times)

    @rule()
    def a_stranger_comes(self) -> None:
        self.checks.stranger()

    @rule(seconds=st.sampled_from([1, 31, 61, 290]))
    def time_passes(self, seconds: int) -> None:
        self.do(self.checks.world.advance(timedelta(seconds=seconds)))

    @rule()
    def the_remote_comes_or_goes(self) -> None:
        remote = self.checks.world.remote
        self.do(remote.down() if self.checks.up else remote.up())
        self.checks.up = not self.checks.up

    @rule()
    def the_sync_starts_anew(self) -> None:
        self.do(self.checks.restart())

    @rule()
    def somebody_looks(self) -> None:
        self.ask(self.checks.world.sync.slots("talk", STARTS[0], STARTS[-1]))

    @rule()
    def the_two_sides_are_compared(self) -> None:
        self.do(self.checks.compare())

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        self.do(self.checks.world.settled())
        self.checks.check()

    def teardown(self) -> None:
        try:
            self.do(self.checks.recover())
        finally:
            self.over.set()
            self.loop.run_until_complete(self.host)
            self.loop.close()


TestSync = SyncMachine.TestCase
# A step makes some requests over a socket; a run ends with half an hour in small steps.
TestSync.settings = settings(
    max_examples=max(10, settings().max_examples * 3 // 10),
    stateful_step_count=25,
    deadline=None,
)
