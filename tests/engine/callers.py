"""Random callers of one engine, whose histories are checked from outside.

They call a small world at once: few resources and few instants, so that they
get in each other's way; and they act on each other's reservations.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random

from slotengine.core.ledger.clients import CommandId, session_id
from slotengine.core.ledger.commands import (
    ALL,
    EACH,
    Adopt,
    Annotate,
    Cancel,
    Confirm,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import EPOCH, from_us
from slotengine.core.time.schedule import FixedWindows, Windows
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.testing import SimClock
from slotengine.testing.histories import Recorder
from slotengine.testing.internal.actions import Action, Answer, Get, Identified, uids_in
from slotengine.testing.internal.ledger_model import LedgerModel

TERMS = Terms(
    default_ttl=8, shortest_ttl=1, longest_ttl=20, max_life=25, retention=15, longest_span=20
)
RESOURCES: dict[str, tuple[int, Windows | None]] = {
    "room": (1, None),
    "annex": (1, None),
    "desk": (1, FixedWindows([(0, 6), (7, 14)])),
    "hall": (3, None),
}
"""What there is: capacity and hours of each, in microseconds since the epoch."""

MODEL = LedgerModel(TERMS, dict(RESOURCES))


def world() -> tuple[SlotEngine, SimClock, Recorder]:
    """Return an engine that is not entered yet, its clock, and a recorder by that."""
    clock = SimClock(from_us(0))
    numbers = count(1)
    engine = engine_on(clock, lambda _: f"r{next(numbers)}")
    return engine, clock, Recorder(clock.now)


def engine_on(clock: Clock, new_uid: Callable[[int], str]) -> SlotEngine:
    """Return an engine of these resources and terms that is not entered yet."""
    assert TERMS.max_life is not None
    engine = SlotEngine(
        default_ttl=from_us(TERMS.default_ttl) - EPOCH,
        min_ttl=from_us(TERMS.shortest_ttl) - EPOCH,
        max_ttl=from_us(TERMS.longest_ttl) - EPOCH,
        max_life=from_us(TERMS.max_life) - EPOCH,
        retention=from_us(TERMS.retention) - EPOCH,
        max_length=from_us(TERMS.longest_span) - EPOCH,
        clock=clock,
        new_uid=new_uid,
    )
    for name, (capacity, schedule) in RESOURCES.items():
        engine.add_resource(name, capacity=capacity, schedule=schedule)
    return engine


class Caller:
    """Somebody who does one thing after another, and knows what everybody has reserved."""

    @classmethod
    def several(cls, count: int, seed: int) -> list[Caller]:
        """Return callers who know of each other's reservations, and repeat each other's calls."""
        known: list[str] = []
        sent: list[Action] = []
        return [cls(number, seed, known, sent) for number in range(count)]

    def __init__(self, number: int, seed: int, known: list[str], sent: list[Action]) -> None:
        self.random = Random(f"{seed} {number}")
        self._number = number
        self._known = known
        self._sent = sent
        self._numbers = count()
        self._session = session_id(0, number.to_bytes(8, "big"))
        self._keys = count(1)

    def next(self) -> Action:
        """Return what to do next: something new, or what somebody has numbered, once more."""
        if self._sent and self.random.random() < 0.1:
            return self.random.choice(self._sent[-4:])
        action = self._next()
        if isinstance(action, Identified) and self.random.random() < 0.2:
            number = next(self._numbers)
            # All may still be repeated.
            action = action._replace(client=CommandId(self._session, number, 0))
            self._sent.append(action)
        return action

    def _next(self) -> Action:
        random = self.random
        if not self._known or random.random() < 0.5:
            return self._reserve()
        uid = random.choice(self._known[-8:])
        confirm = Confirm(uid, random.random() < 0.3)
        actions: tuple[Action, ...] = (
            *(
                confirm,
                confirm,
                Extend(uid, 8),
                Release(uid),
                Cancel(uid),
                Annotate(uid, tags=("a",)),
            ),
            *(Move(uid, (self._wish(),)), Replace(uid, self._wish(), ""), Get(uid)),
        )
        return random.choice(actions)

    def learn(self, answer: Answer) -> None:
        """Let everybody know of what was reserved."""
        self._known.extend(uid for uid in uids_in(answer) if uid not in self._known)

    def _reserve(self) -> Reserve | Adopt:
        random = self.random
        if random.random() < 0.2:
            wishes = tuple(self._wish() for _ in range(2))
            return Reserve(wishes, (), random.choice((ALL, EACH)))
        if random.random() < 0.1:
            return Adopt(self._wish(), "")
        wish = self._wish()
        if random.random() < 0.2:
            return Reserve((wish._replace(requested=True),), ())
        if random.random() < 0.3:  # the key of some other caller's very request, now and then
            wish = wish._replace(start=2, end=5, claims=(Claim("hall", 2, 5),), ttl=8, key="key")
        return Reserve((wish,), ())

    def _wish(self) -> Proposal:
        start = self.random.randrange(12)
        end = start + self.random.randint(1, 3)
        names = self.random.sample(list(RESOURCES), self.random.choice((1, 1, 1, 2)))
        claims = tuple(Claim(name, start, end) for name in names)
        return Proposal(start, end, claims, self.random.choice((8, 3, 1)))
