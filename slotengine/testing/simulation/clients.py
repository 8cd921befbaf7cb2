"""What clients of a booking service do, and what befalls them: histories, made from a seed.

Each client plays one scene after another, a few calls each, and everybody's
are shuffled into one history, with the weather in between: clocks that jump,
a sweeper that stalls, subscribers that do not read, crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Final

from slotengine.core.proposal import Policy, Proposal
from slotengine.core.reservation import Claim, Seats
from slotengine.testing.operations import Operation
from slotengine.testing.simulation.steps import (
    LAST,
    RESOURCES,
    Call,
    Crash,
    Deafen,
    How,
    Import,
    Jump,
    JumpTo,
    Resume,
    Stall,
    Step,
)

CLIENTS: Final = 6
SUBSCRIBERS: Final = 2

TTLS: Final = (8, 8, 8, 3, 1, 20)
UNITS: Final = (1, 1, 2, 3)
BUFFERS: Final = ((0, 0), (0, 0), (1, 0), (1, 2))


def history(seed: int, steps: int) -> list[Step]:
    """Return the history of a seed: the same steps for the same seed, on any machine.

    >>> history(7, 3) == history(7, 5)[:3]
    True
    """
    random = Random(seed)
    clients = [_Client(number, random) for number in range(CLIENTS)]
    plays = [client.scenes() for client in clients]
    made: list[Step] = []
    while len(made) < steps:
        if random.random() < 0.25:
            made.append(_weather(random))
        else:
            made.append(next(random.choice(plays)))
    return made


def _weather(random: Random) -> Step:
    match random.randrange(14):
        case 0 | 1 | 2 | 3:
            return Jump(random.choice((1, 1, 2, 3, 8)))
        case 4:
            return Jump(-random.choice((1, 2, 5)))
        case 5:
            return JumpTo(random.randrange(CLIENTS), random.randrange(2), random.choice((-1, 0, 1)))
        case 6 | 7:
            return Stall(on=random.random() < 0.5)
        case 8 | 9:
            return Deafen(random.randrange(SUBSCRIBERS), on=random.random() < 0.5)
        case 10:
            return _import(random)
        case 11:
            return Crash(random.choice((0, 0, 1, 2, 5)))
        case _:
            return Resume(cancel=random.random() < 0.4)


def _import(random: Random) -> Import:
    names = random.sample(list(RESOURCES), random.choice((0, 1, 2)))
    spans = []
    for name in names:
        start, end = _span(random)
        spans.append((name, start, end))
    return Import(random.choice(("calendar", "feed")), tuple(spans))


def _span(random: Random) -> tuple[int, int]:
    start = random.randrange(LAST - 1)
    return start, min(LAST, start + random.randint(1, 4))


class _Client:
    """One client, who forgets nothing but what it was never told."""

    def __init__(self, number: int, random: Random) -> None:
        self._number = number
        self._random = random
        self._keys = count(1)

    def scenes(self) -> Iterator[Step]:
        """Yield step after step, for ever."""
        scenes: list[Callable[[], Iterator[Step]]] = [
            self._buys,
            self._buys,
            self._retries,
            self._extends_at_the_last_moment,
            self._confirms_late,
            self._vanishes,
            self._moves,
            self._moves,
            self._hoards,
            self._takes_several,
            self._takes_any,
            self._joins,
            self._acts_on_an_old_view,
            self._gives_up,
            self._gives_up,
            self._uses_a_key_again,
        ]
        while True:
            yield from self._random.choice(scenes)()

    # --- Scenes --------------------------------------------------------------------------

    def _buys(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        if self._random.random() < 0.3:
            yield self._call(self._extend())
        yield self._call(Operation("confirm"))
        if self._random.random() < 0.3:
            yield self._call(Operation("confirm"))

    def _retries(self) -> Iterator[Step]:
        operation = self._keyed(self._reserve())
        yield self._call(operation, How.LOST)
        yield self._call(operation)
        if self._random.random() < 0.3:
            yield self._call(operation)
        yield self._call(Operation("confirm"), How.LOST)
        yield self._call(Operation("confirm"))

    def _extends_at_the_last_moment(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        for _ in range(self._random.randint(1, 3)):
            yield JumpTo(self._number, 0, self._random.choice((-1, -1, 0)))
            yield self._call(self._extend(), self._random.choice((How.ASYNC, How.AT_ONCE)))

    def _confirms_late(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield JumpTo(self._number, 0, self._random.choice((-1, 0, 0, 1, 3)))
        confirm = Operation("confirm", if_still_free=self._random.random() < 0.5)
        yield self._call(confirm, self._random.choice((How.ASYNC, How.AT_ONCE)))

    def _vanishes(self) -> Iterator[Step]:
        yield self._call(self._reserve())

    def _moves(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        for _ in range(self._random.randint(1, 3)):
            if self._random.random() < 0.4:
                yield self._call(Operation("move", start=self._random.randrange(LAST)))
            else:
                renew = self._random.random() < 0.5
                yield self._call(Operation("move_request", (self._wish(),), renew=renew))
            if self._random.random() < 0.3:
                yield self._call(Operation("confirm"))

    def _hoards(self) -> Iterator[Step]:
        for _ in range(self._random.randint(2, 5)):
            yield self._call(self._reserve())

    def _takes_several(self) -> Iterator[Step]:
        verb = self._random.choice(("reserve_all", "reserve_each"))
        wishes = tuple(self._wish() for _ in range(self._random.randint(2, 3)))
        yield self._call(Operation(verb, wishes))
        yield self._call(Operation("confirm"))
        yield self._call(Operation("release"), nth=1)

    def _takes_any(self) -> Iterator[Step]:
        wishes = tuple(self._wish() for _ in range(self._random.randint(2, 3)))
        policy = self._random.choice((Policy.FIRST, Policy.LEAST_LOADED))
        yield self._call(Operation("reserve_any", wishes, policy=policy))
        yield self._call(Operation("confirm"))

    def _joins(self) -> Iterator[Step]:
        yield self._call(Operation("reserve_request", (self._seat(),)))
        yield self._call(self._random.choice((Operation("confirm"), Operation("release"))))

    def _acts_on_an_old_view(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield self._call(self._extend())
        version = self._random.choice((1, 2))
        verb = self._random.choice(("extend", "confirm", "release"))
        yield self._call(Operation(verb, ttl=8, version=version))

    def _uses_a_key_again(self) -> Iterator[Step]:
        operation = self._keyed(self._reserve())
        yield self._call(operation)
        (wish,) = operation.proposals
        other = Operation("reserve_request", (self._wish()._replace(key=wish.key),))
        yield self._call(other)

    def _gives_up(self) -> Iterator[Step]:
        nth = self._random.choice((0, 0, 1, 2))
        for verb in self._random.sample(("release", "cancel", "cancel", "get"), 2):
            yield self._call(Operation(verb), nth=nth)

    # --- What they ask for ------------------------------------------------------------------

    def _call(self, operation: Operation, how: How | None = None, *, nth: int = 0) -> Call:
        if how is None:
            rare = (How.AT_ONCE, How.LOST, How.PARKED)
            how = How.ASYNC if self._random.random() < 0.7 else self._random.choice(rare)
        return Call(self._number, operation, nth, how)

    def _extend(self) -> Operation:
        return Operation("extend", ttl=self._random.choice(TTLS))

    def _keyed(self, operation: Operation) -> Operation:
        (wish,) = operation.proposals
        key = f"client-{self._number}-{next(self._keys)}"
        return operation._replace(proposals=(wish._replace(key=key),))

    def _reserve(self) -> Operation:
        if self._random.random() < 0.4:
            return Operation("reserve_request", (self._wish(),))
        wish = self._wish(plain=True)
        return Operation("reserve", (wish,))

    def _wish(self, *, plain: bool = False) -> Proposal:
        start, end = _span(self._random)
        before, after = (0, 0) if plain else self._random.choice(BUFFERS)
        several = 1 if plain else self._random.choice((1, 1, 2))
        claims = tuple(
            Claim(name, start - before, end + after, self._units(name))
            for name in self._random.sample(list(RESOURCES), several)
        )
        holder = f"client-{self._number}"
        return Proposal(start, end, claims, self._random.choice(TTLS), holder)

    def _units(self, name: str) -> int:
        return self._random.choice(UNITS) if RESOURCES[name][0] > 1 else 1

    def _seat(self) -> Proposal:
        start = self._random.choice((2, 2, 8))
        claims = (Claim(self._random.choice(("room", "annex")), start, start + 2),)
        seats = Seats(3, self._random.choice((1, 1, 2)))
        return Proposal(
            start, start + 2, claims, self._random.choice(TTLS), event_type="class", seats=seats
        )
