"""The state of one run: an engine, the naive ledger beside it, and what its clients know.

Everything that a step needs is here: how an answer is compared and learned, how
all tasks come to rest, how a crash takes back what no client knows of, and all
checks.  `slotengine.testing.simulation.player` decides what happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from copy import copy
from itertools import count
from typing import Any, Final, Protocol

import anyio
import anyio.abc
import anyio.lowlevel

from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.commands import ImportBusy, Replace, Reserve
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event
from slotengine.errors import Refused
from slotengine.testing.internal import naive_booking_rules
from slotengine.testing.internal.action_text import text
from slotengine.testing.internal.actions import (
    Action,
    Answer,
    ListLive,
    ReserveSlot,
    uids_in,
    with_uids,
)
from slotengine.testing.internal.engine_calls import in_local_engine
from slotengine.testing.internal.naive_calls import in_model
from slotengine.testing.internal.naive_configuration import number_settings
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_waitlist import NaiveWaitlist
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation.listener import Listener
from slotengine.testing.simulation.sent_calls import SentCalls
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    FIRST,
    LAST,
    MOST_WAITING,
    RESOURCES,
    SCALE,
    TERMS,
    Call,
    CallMode,
    Repeat,
    Step,
    at,
)
from slotengine.testing.simulation.store import Store
from slotengine.testing.simulation.swept_clock import SweptClock
from slotengine.testing.simulation.transcript import TranscriptLine, difference
from slotengine.testing.watch import ALWAYS, InvariantBroken, Watch

KEPT: Final = (
    *("known", "keys", "opened", "serial", "wanted", "demands", "sessions"),
    *("resources", "event_types", "retired", "versions", "edition", "imported"),
)
"""What of a naive ledger is restored after a crash."""

MOST_TURNS: Final = 500
"""A task that is not at rest after this many turns of the event loop never will be."""

BUFFERS: Final = (4, 1_000)
"""The buffer of each subscriber: the first lags when it stalls, the second does not."""


class Actor(Protocol):
    """Something that acts by itself, and must come to rest after each step."""

    @property
    def idle(self) -> bool:
        """Whether it has nothing left to do."""

    def settle(self) -> None:
        """Check what it did, once everything is at rest.  Raises `InvariantBroken`."""


class Run:
    """An engine under test, the naive ledger, and the clients' knowledge of both."""

    engine: SlotEngine
    watch: Watch
    tasks: anyio.abc.TaskGroup

    def __init__(self, store: Store, *, check_every: int) -> None:
        self.store = store
        self.at = 0
        """The number of steps played, including the current one."""
        self._check_every = check_every
        self.transcript: list[TranscriptLine] = []
        self.clock = SweptClock()
        self.naive = NaiveLedger(TERMS, dict(RESOURCES))
        number_settings(self.naive)
        for event_type in EVENT_TYPES.values():
            naive_booking_rules.add(self.naive, event_type)
        self.waitlist: NaiveWaitlist[Any] = NaiveWaitlist(self.naive, MOST_WAITING)
        self.actors: list[Actor] = []
        self.listeners: list[Listener] = []
        self.uids: list[str] = []
        """All uids that may belong to reservations."""
        self.failed: Exception | None = None
        """The first error in any task."""
        self.sent = SentCalls(self.naive, self.clock, self._waiting_ids)
        self._numbers = count(1)
        self._known: dict[int, list[str]] = {}  # the uids that each client knows
        self._refused = 0
        # What a crash may take back: the number of steps, and how to restore the naive ledger.
        self._checkpoints: list[tuple[int, Callable[[], None]]] = []
        self.checkpoint(acknowledged=True)

    def _waiting_ids(self) -> list[CommandId]:
        """Return the ids of the calls that wait, of those that have one."""
        ids = [one.caller.action.client for one in self.waitlist]
        return [one for one in ids if one is not None]

    def begin(self, engine: SlotEngine) -> None:
        """Go on with another engine, that was just started."""
        self.engine = engine
        known = [engine.local.get(uid) for uid in self.naive.known]
        self.watch = Watch(engine, [one for one in known if one is not None])
        events: list[Event] = []
        engine.observe(events.append)
        self.listeners = [Listener(engine.subscribe(buffer=size), events) for size in BUFFERS]
        for listener in self.listeners:
            self.start(listener.run)
        self._refused = 0

    def import_busy(self, command: ImportBusy) -> None:
        """Import the busy spans of a source, which then knows that this is done."""
        in_model(self.naive, command, self.clock.now())
        in_local_engine(self.engine.local, command)
        self.checkpoint(acknowledged=True)

    def set_clock(self, us: int) -> None:
        """Set the clock; the tasks that this wakes have not run yet."""
        self.clock.set(from_us(us))

    def note(self, what: Step | str, answer: Answer = None) -> None:
        """Add a line to the transcript."""
        self.transcript.append(TranscriptLine(what, answer))

    def new_uid(self, bucket: int) -> str:
        """Return the next uid of the engine, which ends in its bucket as any uid does."""
        uid = f"r{next(self._numbers)}-{bucket:04x}"
        self.uids.append(uid)
        return uid

    # --- Tasks -----------------------------------------------------------------------------

    @contextmanager
    def errors_kept(self) -> Iterator[None]:
        """Keep an error in `failed`, so that it leaves the task group as itself."""
        try:
            yield
        except Exception as error:
            self.failed = error

    def start(self, run: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Start a task that ends with the engine."""
        self.tasks.start_soon(run, *args)

    async def rest(self) -> None:
        """Let the sweeper, subscribers and waiting calls do their work, and check the latter."""
        await self.wait(
            lambda: (
                self.clock.idle
                and all(one.idle for one in self.actors)
                and all(one.idle for one in self.listeners)
            ),
            "the sweeper, a subscriber or a waiting call",
        )
        if not self.clock.stalled:
            for actor in self.actors:
                actor.settle()

    async def wait(self, condition: Callable[[], bool], who: str) -> None:
        """Let others run until a condition holds.

        Raises `InvariantBroken` after `MOST_TURNS` turns.
        """
        for _ in range(MOST_TURNS):
            if condition():
                return
            await anyio.lowlevel.checkpoint()
        raise InvariantBroken("rest", f"{who} does not come to rest")

    # --- Answers ---------------------------------------------------------------------------

    def uid_of(self, client: int, nth: int) -> str | None:
        """Return the uid of a client's ``nth`` reservation, counted from the latest."""
        known = self._known.get(client, [])
        return known[-1 - nth] if nth < len(known) else None

    def reservation_of(self, client: int, nth: int = 0) -> ObservedReservation | None:
        """Return a client's ``nth`` reservation from the latest, unless it was forgotten."""
        return self.naive.known.get(self.uid_of(client, nth) or "")

    def answered(self, call: Call | Repeat, action: Action, answer: Answer) -> None:
        """Compare an answer, just given, with the naive ledger's, and let the client know."""
        expected = in_model(self.naive, with_uids(action, answer), self.clock.now())
        self.compare_answer(call, action, answer, expected)
        self.checkpoint(acknowledged=self.learn(call, action, answer))

    def compare_answer(
        self, call: Call | Repeat, action: Action, answer: Answer, expected: Answer
    ) -> None:
        """Compare an answer with the expected one."""
        self.note(call, answer)
        if isinstance(action, Reserve | ReserveSlot | Replace):
            self._refused += _refusals(answer)
        if answer != expected:
            raise InvariantBroken(
                "answer", f"{text(action, SCALE)}: {difference(answer, expected)}"
            )

    def learn(self, call: Call | Repeat, action: Action, answer: Answer) -> bool:
        """Let a client know its answer, and return whether it does."""
        if call.mode is CallMode.LOST:
            return False
        self.sent.learned(call.client, action)
        known = self._known.setdefault(call.client, [])
        known += [uid for uid in uids_in(answer) if uid not in known]
        return True

    # --- Crashes ---------------------------------------------------------------------------

    def checkpoint(self, *, acknowledged: bool) -> None:
        """Remember the present state, in case a crash takes back what follows.

        If it is ``acknowledged``, a client knows of everything so far, and no crash may
        lose any of it.
        """
        if acknowledged:
            self._checkpoints = []
        naive = self.naive
        kept = {name: copy(getattr(naive, name)) for name in KEPT}
        lapses = {holder: list(theirs) for holder, theirs in naive.lapses.items()}

        def restore() -> None:
            vars(naive).update({name: copy(value) for name, value in kept.items()})
            naive.lapses = {holder: list(theirs) for holder, theirs in lapses.items()}

        self._checkpoints.append((self.store.steps(), restore))

    def crash(self, lost: int) -> None:
        """Lose up to ``lost`` steps of the engine, of those that no client knows of."""
        wish = self.store.steps() - lost
        while self._checkpoints[-1][0] > wish and len(self._checkpoints) > 1:
            self._checkpoints.pop()
        keep, restore = self._checkpoints[-1]
        restore()
        self.store.crash(keep)
        self.checkpoint(acknowledged=True)
        # Within its life an engine never goes back in time.  Across a restart, the machine's
        # clock has to see to that.
        self.set_clock(max(self.clock.now(), self.naive.now))

    # --- Checks ----------------------------------------------------------------------------

    def check(self) -> None:
        """Check events and reservations, and now and then everything else.

        Raises `InvariantBroken`, or what failed in a task.
        """
        if self.failed is not None:
            raise self.failed
        self.watch.raise_first()
        for listener in self.listeners:
            if listener.wrong is not None:
                raise InvariantBroken("events", listener.wrong)
        self.compare()
        if self.at % self._check_every == 0:
            self.check_all()

    def check_all(self) -> None:
        """Check all that the engine says.  Raises `InvariantBroken` or `AssertionError`."""
        self.watch.check()
        self._check_imported()
        self._check_reservations()
        self.engine.check_invariants()

    def _check_imported(self) -> None:
        for resource in RESOURCES:
            found = [
                (one.source, to_us(one.start, "start"), to_us(one.end, "end"))
                for one in self.engine.local.imported(resource, *ALWAYS)
            ]
            expected = self.naive.imported_by_source(resource)
            if sorted(found) != expected:
                raise InvariantBroken("imported", f"{resource}: {found}, must be {expected}")

    def _check_reservations(self) -> None:
        for resource in RESOURCES:
            everywhere = ListLive(resource, at(FIRST - 2), at(LAST + 2))
            found = in_local_engine(self.engine.local, everywhere)
            expected = in_model(self.naive, everywhere, self.clock.now())
            if found != expected:
                raise InvariantBroken("kept", f"{resource}: {difference(found, expected)}")

    def compare(self) -> None:
        """Compare all reservations, and the statistics, with those of the naive ledger."""
        self.engine.now()  # both must have seen the time, or it could go back for one of them
        self.naive.at(self.clock.now())
        known, ledger = self.naive.known, self.engine.ledger
        for uid in self.uids:
            # Not by the engine's own view, which `Watch` checks: that takes three times as long.
            entry = ledger.get(uid, now=ledger.state.now)
            found = None if entry is None else ObservedReservation.of(entry, ledger.state.now)
            expected = known.get(uid)
            if found != expected:
                raise InvariantBroken("kept", f"{uid}: {difference(found, expected)}")
            if found is not None and expected is not None and found.quota != expected.quota:
                raise InvariantBroken(
                    "kept", f"{uid}: under {found.quota}, must be {expected.quota}"
                )
        # A refused or forgotten reservation stays so.
        self.uids = [uid for uid in self.uids if uid in known]
        waiting, expected_waiting = len(self.engine.waitlist), len(self.waitlist)
        if waiting != expected_waiting:
            raise InvariantBroken("waits", f"{waiting} calls wait, must be {expected_waiting}")
        self._check_statistics()

    def _check_statistics(self) -> None:
        found = self.engine.statistics()
        states = Counter(one.state for one in self.naive.known.values())
        subscribers = 2 + len(self.listeners)  # and those of `begin`: the watch, the list of events
        counted = (
            found.confirmed, found.requested, found.waiting, found.subscribers, found.refused,
        )  # fmt: skip
        expected = (
            states[State.CONFIRMED], states[State.REQUESTED],
            len(self.waitlist), subscribers, self._refused,
        )  # fmt: skip
        if counted != expected:
            raise InvariantBroken("statistics", f"{found}, must be {expected}")


def _refusals(answer: Answer) -> int:
    if isinstance(answer, list):
        return sum(map(_refusals, answer))
    return int(isinstance(answer, tuple) and issubclass(answer[0], Refused))
