"""One soak, from the first call until every reservation is forgotten."""

from __future__ import annotations

import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time
from traceback import format_exception
from typing import Final, NamedTuple

import anyio

from benchmarks.collector import pauses
from benchmarks.measure import frozen
from benchmarks.memory import resident
from benchmarks.report import circumstances
from benchmarks.soak.audit import Audit
from benchmarks.soak.customers import KINDS, Customers
from benchmarks.soak.listeners import come_and_go, listen, listen_slowly
from benchmarks.soak.meter import Gauges, Rows, Times
from benchmarks.soak.plan import QUARTERS, Plan, engine
from slotengine import SlotEngine, SystemClock
from slotengine.core.ledger.keys import KEY_LIFE

AUDIT_NAP_S: Final = 0.002
"""The pause between two pieces of an audit, so that no call waits for more than one."""
BEAT_S: Final = 0.02
"""The interval at which a task asks for its turn."""
MB: Final = 1e6

Told = Callable[[float, str], None]
"""Called from time to time with the seconds that are over, and the state of the soak."""


class Beat(NamedTuple):
    """How late a task got its turn, and how long this process was busy since it went to sleep.

    If the latter is much less, another process had the processor.
    """

    late_ms: float
    busy_ms: float


class Soak:
    """A soak, and its results so far."""

    def __init__(self, plan: Plan, told: Told) -> None:
        self.plan = plan
        self.circumstances = circumstances(
            plan
        )  # now, because another commit may be checked out by the end
        self.rows = Rows()
        self.calls = [{kind: Times() for kind in KINDS} for _ in range(QUARTERS)]
        """For each quarter and kind, how long calls took."""
        self.since_due = [{kind: Times() for kind in KINDS} for _ in range(QUARTERS)]
        """The same, counted from when the calls were due."""
        self.told = [Times() for _ in range(QUARTERS)]
        """For each quarter, the time from a change until the fast subscriber received it."""
        self.lapsed = [Times() for _ in range(QUARTERS)]
        """The same, counted from the hold's ``until``."""
        self.left: dict[str, int] = {}
        """What is still there although nothing should be."""
        self.interrupted = False
        self.ran_s = 0.0
        self.processor_s = 0.0
        self.clock = SystemClock()
        self.engine: SlotEngine = engine(plan, self.clock)
        self._tell = told
        self._window: dict[str, Times] = defaultdict(Times)
        self._gauges = Gauges()
        self._latest = Beat(0.0, 0.0)

    async def run(self) -> None:
        """Run until the time is over or it is interrupted; a second interrupt ends it at once."""
        with frozen(), pauses() as stopped_ms:
            async with self.engine as engine:
                self.audit = Audit(engine)
                self.customers = Customers(engine, self.plan, self.audit, self._measured)
                coming, settling = anyio.CancelScope(), anyio.CancelScope()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._interrupted_by_signals, [coming, settling])
                    await self._load(coming, stopped_ms)
                    with settling:
                        await self._settle()
                    tasks.cancel_scope.cancel()
                self.audit.close()

    async def _load(self, coming: anyio.CancelScope, stopped_ms: list[float]) -> None:
        engine, audit = self.engine, self.audit
        began, busy = perf_counter(), process_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            for seed in (1, 2):
                tasks.start_soon(listen_slowly, engine, audit)
                tasks.start_soon(come_and_go, engine, audit, self.plan.seed + seed)
            tasks.start_soon(self.customers.forget_what_is_over)
            tasks.start_soon(self._beat)
            tasks.start_soon(self._sample, stopped_ms)
            tasks.start_soon(self._audit_again_and_again)
            with coming:
                await self.customers.come()
            tasks.cancel_scope.cancel()
        self.ran_s = perf_counter() - began
        self.processor_s = process_time() - busy

    async def _listen(self) -> None:
        await listen(self.engine, self.clock, self.audit, self._heard)

    async def _interrupted_by_signals(self, scopes: list[anyio.CancelScope]) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self.interrupted = True
                if scopes:
                    scopes.pop(0).cancel()

    # --- Measuring ---------------------------------------------------------------------------

    @property
    def _second(self) -> float:
        return perf_counter() - self.customers.arrivals.began

    def _measured(self, kind: str, due: float, began_ns: int, ended_ns: int) -> None:
        took, waited = ended_ns - began_ns, ended_ns - int(due * 1e9)
        if kind != "wait":
            self._window["call"].add(took)
            self._window["since due"].add(waited)
        quarter = self.plan.quarter(self._second)
        if quarter is not None:
            self.calls[quarter][kind].add(took)
            self.since_due[quarter][kind].add(waited)

    def _heard(self, late_ns: int, lapsed_ns: int | None) -> None:
        self._window["told"].add(late_ns)
        quarter = self.plan.quarter(self._second)
        if quarter is not None:
            self.told[quarter].add(late_ns)
        if lapsed_ns is not None:
            self._window["lapsed"].add(lapsed_ns)
            if quarter is not None:
                self.lapsed[quarter].add(lapsed_ns)

    async def _beat(self) -> None:
        """Measure how late a task can be, and how busy this process was meanwhile."""
        while True:
            busy, due = process_time(), perf_counter() + BEAT_S
            await anyio.sleep(BEAT_S)
            late = Beat((perf_counter() - due) * 1e3, (process_time() - busy) * 1e3)
            self._latest = max(self._latest, late)

    async def _sample(self, stopped_ms: list[float]) -> None:
        """Take readings, and add a row of them from time to time."""
        plan, row_ends, busy = self.plan, self.plan.row_s, process_time()
        next_s = plan.sample_s
        while True:
            await anyio.sleep(max(0.0, next_s - self._second))
            next_s += plan.sample_s
            self.audit.count.check(self.engine, self.audit.broken)
            self._read()
            if self._second >= row_ends:
                collected = {"collector ms": max(stopped_ms, default=0.0)}
                used = {"processor": (process_time() - busy) / plan.row_s}
                self._end_row(collected | used | self._latest._asdict())
                self._latest = Beat(0.0, 0.0)
                row_ends += plan.row_s
                busy = process_time()
                stopped_ms.clear()

    def _read(self) -> None:
        engine, says, arrivals = self.engine, self.engine.statistics(), self.customers.arrivals
        due = min(int(self._second * self.plan.rate), arrivals.due_in_all)
        holders = engine.ledger.state.holders
        assert holders is not None
        self._gauges.read(
            mean={
                "rss MB": resident() / MB,
                "blocks": sys.getallocatedblocks(),
                "held": says.held,
                "confirmed": says.confirmed,
                "ended": says.ended,
                "keys": engine.ledger.tally().keys,
                "holders": len(holders.records),
            },
            highest={
                "waiting": says.waiting,
                "backlog": max(0, due - arrivals.issued),
                "overdue ms": says.overdue.total_seconds() * 1e3,
            },
        )

    def _end_row(self, more: dict[str, float]) -> None:
        row = {"second": self._second} | self._gauges.take() | more
        row["calls"] = self._window["call"].count
        row["changes"] = self._window["told"].count
        for name in ("call", "since due", "told", "lapsed"):
            times = self._window[name]
            row |= {f"{name} {key} us": value for key, value in times.summary_us().items()}
            times.clear()
        self.rows.add(row)
        self._tell(
            self._second,
            f"{row['rss MB']:.0f} MB, {row['held']:,.0f} held, {row['confirmed']:,.0f} booked, "
            f"p99.9 {row['since due p99.9 us'] / 1e3:.1f} ms, {self.audit.broken.count} broken",
        )

    # --- Auditing ----------------------------------------------------------------------------

    async def _audit_again_and_again(self) -> None:
        while True:
            await anyio.sleep(self.plan.audit_s)
            for _ in self.audit.in_turns():
                await anyio.sleep(AUDIT_NAP_S)

    async def _settle(self) -> None:
        """Let everything end and be forgotten, and check everything once more."""
        plan, engine, audit = self.plan, self.engine, self.audit
        self._tell(plan.seconds, "what is held lapses")
        await self.customers.release_all()
        # A hold that is extended lives for its TTL from then on, so this is the longest life.
        await _until(lambda: engine.statistics().held == 0, plan.longest_ttl_s + plan.grace_s)
        audit.swept()
        for _ in audit.in_turns():
            pass
        audit.count.check(engine, audit.broken)
        self._compare_with_answers()
        await self.customers.cancel_all()
        self._tell(plan.seconds, "what has ended is forgotten")
        await _until(lambda: engine.statistics().ended == 0, plan.retention_s + plan.grace_s)
        self._look_for_leftovers()

    def _compare_with_answers(self) -> None:
        """Compare what the engine gave with what customers were told that they got."""
        audit, gave_up = self.audit, self.customers.gave_up
        unheard = self.engine.statistics().accepted - audit.acknowledged.answers
        audit.broken.unless(
            0 <= unheard <= gave_up + self.customers.cut_off,
            f"{unheard} holds were never answered for, and {gave_up} customers gave up",
        )
        booked, bookings = self.engine.statistics().confirmed, len(audit.acknowledged.bookings)
        audit.broken.unless(booked == bookings, f"{booked} are booked, {bookings} acknowledged")

    def _look_for_leftovers(self) -> None:
        ledger, says = self.engine.ledger, self.engine.statistics()
        try:
            ledger.check_invariants()
        except AssertionError as error:
            self.audit.broken.add(f"the state is wrong: {''.join(format_exception(error))}")
        self.left = {
            "holds": says.held,
            "bookings": says.confirmed,
            "ended": says.ended,
            "sessions": says.sessions,
            "entries": len(ledger.uids()),
            "places taken": sum(1 for _ in ledger.occupancy.standing()),
            "subscribers": says.subscribers - 2,  # the subscription of the audit itself
            "waiting": says.waiting,
        }
        # Keys are kept for a day: let it pass, now that nothing else depends on the time.
        ledger.expire(ledger.state.now + KEY_LIFE)
        self.left["keys"] = ledger.tally().keys


async def _until(settled: Callable[[], bool], seconds: float) -> None:
    """Return when a condition becomes true, or after a time if it does not."""
    until = perf_counter() + seconds
    while not settled() and perf_counter() < until:  # noqa: ASYNC110 - nobody tells
        await anyio.sleep(0.02)
