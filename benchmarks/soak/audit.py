"""What must always be so: checked from the events, from the answers, and by counting again.

Three look at the engine, and none knows what the others do.  A `Watch` is told
each change, and asks about all it knows.  The `Count` adds up events, and holds
the sums against the engine's own.  `Acknowledged` knows the answers alone: what
customers were told is theirs must be there whenever somebody looks.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from slotengine import Event, Refused, Reservation, SlotEngine, State, Verb
from slotengine.core.time.instant import to_us
from slotengine.testing import InvariantBroken, Watch
from slotengine.testing.watch import CHECKED_PER_TURN

MOST_KEPT: Final = 20
"""Of what is found broken, so many are told; all are counted."""
LAPSED_KEPT: Final = 100


class Broken:
    """What was found, in words; the first of it, and how much there was."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str] = []

    def add(self, told: str) -> None:
        """Note something that must not be."""
        self.count += 1
        if len(self.told) < MOST_KEPT:
            self.told.append(told)

    def unless(self, right: bool, told: str) -> None:
        """Note it, unless it is right."""
        if not right:
            self.add(told)


CHANGES: Final[dict[Verb, tuple[int, int]]] = {
    Verb.RESERVE: (1, 0),
    Verb.EXTEND: (0, 0),
    Verb.MOVE: (0, 0),
    Verb.CONFIRM: (-1, 1),
    Verb.REINSTATE: (0, 1),
    Verb.RELEASE: (-1, 0),
    Verb.EXPIRE: (-1, 0),
    Verb.CANCEL: (0, -1),
}
"""What each verb does to the number of holds, and of bookings."""


class Count:
    """How many there are by the events, which are told it in the very step of each change.

    Except of bookings that are forgotten, of which nobody is told: their number is
    what the engine says, and while it is at it there is nothing to compare.
    """

    def __init__(self, engine: SlotEngine) -> None:
        self.verbs: Counter[Verb] = Counter()
        self.held = 0
        self.confirmed = 0
        self.forgetting = False
        self._stop = engine.observe(self._take)

    @property
    def seen(self) -> int:
        """How many events there were."""
        return self.verbs.total()

    def _take(self, event: Event) -> None:
        self.verbs[event.verb] += 1
        held, confirmed = CHANGES[event.verb]
        self.held += held
        self.confirmed += confirmed

    def forgot(self, bookings: int) -> None:
        """Count bookings no longer that were forgotten, all by now."""
        self.confirmed -= bookings
        self.forgetting = False

    def close(self) -> None:
        """Count no longer."""
        self._stop()

    def check(self, engine: SlotEngine, broken: Broken) -> None:
        """Hold it against what the engine says of itself."""
        if self.forgetting:
            return
        says = engine.statistics()
        theirs = says.held, says.confirmed, says.accepted, says.expired
        ours = self.held, self.confirmed, self.verbs[Verb.RESERVE], self.verbs[Verb.EXPIRE]
        broken.unless(theirs == ours, f"the engine counts {theirs}, but there are {ours}")


def over_at(one: Reservation) -> datetime:
    """Return from when on nothing is taken by a reservation."""
    return max(one.end, *(one.end + claim.after for claim in one.claims))


class Bag:
    """Reservations by uid, of which any can be drawn; all is O(1)."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._all: list[Reservation] = []

    def __len__(self) -> int:
        return len(self._all)

    def get(self, uid: str) -> Reservation | None:
        """Return one, or None."""
        place = self._places.get(uid)
        return None if place is None else self._all[place]

    def put(self, one: Reservation) -> None:
        """Add one, or let it take the place of what it was."""
        place = self._places.setdefault(one.uid, len(self._all))
        if place == len(self._all):
            self._all.append(one)
        else:
            self._all[place] = one

    def discard(self, uid: str) -> Reservation | None:
        """Take one out, if it is there, and return it."""
        place = self._places.pop(uid, None)
        if place is None:
            return None
        gone, last = self._all[place], self._all.pop()
        if last is not gone:
            self._all[place] = last
            self._places[last.uid] = place
        return gone

    def draw(self, rng: random.Random) -> Reservation | None:
        """Return any, which stays, or None of nothing."""
        return self._all[int(rng.random() * len(self._all))] if self._all else None

    def uids(self) -> list[str]:
        """Return all uids at this moment."""
        return list(self._places)


class Acknowledged:
    """What customers have, as they were told."""

    def __init__(self, engine: SlotEngine, broken: Broken) -> None:
        self.holds = Bag()
        self.bookings = Bag()
        self.lapsed: deque[Reservation] = deque(maxlen=LAPSED_KEPT)
        """The last holds that lapsed while somebody wanted them."""
        self.answers = 0
        """How many reservations customers were told they had been given."""
        self._engine = engine
        self._broken = broken

    def given(self, one: Reservation, *, wanted: bool) -> None:
        """Note a new hold; nobody comes back for one that is not ``wanted``."""
        self.answers += 1
        right = one.state is State.HELD and one.version == 1
        self._broken.unless(right, f"a new hold is {one!r}")
        if wanted:
            self.holds.put(one)

    def changed(self, before: Reservation, now: Reservation, state: State, steps: int = 1) -> None:
        """Note the answer to a verb that was admitted, which must raise the version by so much."""
        expected = before.uid, before.version + steps, state
        right = (now.uid, now.version, now.state) == expected
        self._broken.unless(right, f"{before!r} became {now!r}")
        self.holds.discard(before.uid)
        self.bookings.discard(before.uid)
        if state is State.HELD:
            self.holds.put(now)
        elif state is State.CONFIRMED:
            self.bookings.put(now)

    def unchanged(self, one: Reservation) -> None:
        """Look whether one that could not be changed is what it was."""
        said = self._engine.get_nowait(one.uid)
        self._broken.unless(
            said == one or self.may_be_over(one, said), f"a refusal made {said!r} of {one!r}"
        )

    def refused_as_expired(self, one: Reservation, refusal: Refused) -> None:
        """Note that a hold is said to have lapsed, or to be another one than it was."""
        until = one.until
        right = until is not None and until <= self._engine.now()
        self._broken.unless(right, f"{refusal!r}, but it is {one!r}")
        self.expired(one.uid)

    def expired(self, uid: str) -> None:
        """Let a hold be one that has lapsed, if somebody wanted it."""
        gone = self.holds.discard(uid)
        if gone is not None:
            self.lapsed.append(gone)

    def may_be_over(self, one: Reservation, said: Reservation | None) -> bool:
        """Return whether it is right that a hold, or a booking, is no more, if so it is said."""
        if one.until is None:
            return said is None and to_us(over_at(one), "end") <= self._engine.ledger.let_go
        if to_us(one.until, "until") > self._engine.ledger.now:
            return False
        return said is None or said.state is State.EXPIRED

    def check_in_turns(self) -> Iterator[None]:
        """Ask the engine about everything, a little at a time."""
        for bag in (self.holds, self.bookings):
            for count, uid in enumerate(bag.uids()):
                if count % CHECKED_PER_TURN == 0:
                    yield
                one = bag.get(uid)
                if one is not None:
                    said = self._engine.get_nowait(uid)
                    right = said == one or self.may_be_over(one, said)
                    self._broken.unless(right, f"{one!r} was acknowledged, but is {said!r}")


class Audit:
    """All three."""

    def __init__(self, engine: SlotEngine) -> None:
        self.broken = Broken()
        self.watch = Watch(engine)
        self.count = Count(engine)
        self.acknowledged = Acknowledged(engine, self.broken)
        self.whole = 0
        """How often everything was looked at."""
        self._watched_ill = False

    def in_turns(self) -> Iterator[None]:
        """Look at everything, a little at a time."""
        yield from self.acknowledged.check_in_turns()
        try:
            yield from self.watch.check_in_turns()
        except InvariantBroken as error:
            self._note(error)
        self.whole += 1

    def swept(self) -> None:
        """Look whether all that lapsed was announced, now that there is nothing left to lapse."""
        try:
            self.watch.check_swept()
        except InvariantBroken as error:
            self._note(error)

    def _note(self, error: InvariantBroken) -> None:
        # A watch goes on to raise the first thing that it found.
        if not self._watched_ill:
            self.broken.add(str(error))
        self._watched_ill = True

    def close(self) -> None:
        """Look no longer."""
        self.watch.close()
        self.count.close()
