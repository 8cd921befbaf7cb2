"""The invariants, checked from events, from answers, and by counting independently.

Three checkers look at the engine, independently of each other.  A `Watch` follows every
change and compares it with what the engine says.  `Count` adds up events, and compares the
sums with the engine's.  `Acknowledged` knows the answers alone: what customers were told
they have must be there whenever it is looked up.
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
"""The number of violations that are kept in full.  All are counted."""
LAPSED_KEPT: Final = 100


class Broken:
    """The violations found, in words: the first of them, and their number."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str] = []

    def add(self, told: str) -> None:
        """Add a violation."""
        self.count += 1
        if len(self.told) < MOST_KEPT:
            self.told.append(told)

    def unless(self, right: bool, told: str) -> None:
        """Add a violation unless a condition is true."""
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
    Verb.FORGET: (0, -1),
}
"""What each verb does to the number of holds and of bookings."""


class Count:
    """The numbers of holds and bookings by the events, counted in the step of each change."""

    def __init__(self, engine: SlotEngine) -> None:
        self.verbs: Counter[Verb] = Counter()
        self.held = 0
        self.confirmed = 0
        self._stop = engine.observe(self._take)

    @property
    def seen(self) -> int:
        """The number of events."""
        return self.verbs.total()

    def _take(self, event: Event) -> None:
        self.verbs[event.verb] += 1
        held, confirmed = CHANGES[event.verb]
        self.held += held
        self.confirmed += confirmed

    def close(self) -> None:
        """Stop counting."""
        self._stop()

    def check(self, engine: SlotEngine, broken: Broken) -> None:
        """Compare the sums with what the engine says."""
        says = engine.statistics()
        theirs = says.held, says.confirmed, says.accepted, says.expired
        ours = self.held, self.confirmed, self.verbs[Verb.RESERVE], self.verbs[Verb.EXPIRE]
        broken.unless(theirs == ours, f"the engine counts {theirs}, but there are {ours}")


def over_at(one: Reservation) -> datetime:
    """Return when a reservation stops taking anything."""
    return max(one.end, *(one.end + claim.after for claim in one.claims))


class Bag:
    """Reservations by uid, from which a random one can be drawn.  Everything is O(1)."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._all: list[Reservation] = []

    def __len__(self) -> int:
        return len(self._all)

    def get(self, uid: str) -> Reservation | None:
        """Return a reservation, or None."""
        place = self._places.get(uid)
        return None if place is None else self._all[place]

    def put(self, one: Reservation) -> None:
        """Add a reservation, or replace the one with its uid."""
        place = self._places.setdefault(one.uid, len(self._all))
        if place == len(self._all):
            self._all.append(one)
        else:
            self._all[place] = one

    def discard(self, uid: str) -> Reservation | None:
        """Remove a reservation if it is there, and return it."""
        place = self._places.pop(uid, None)
        if place is None:
            return None
        gone, last = self._all[place], self._all.pop()
        if last is not gone:
            self._all[place] = last
            self._places[last.uid] = place
        return gone

    def draw(self, rng: random.Random) -> Reservation | None:
        """Return a random reservation, which stays; None if there are none."""
        return self._all[int(rng.random() * len(self._all))] if self._all else None

    def uids(self) -> list[str]:
        """Return all uids at this moment."""
        return list(self._places)


class Acknowledged:
    """What customers have, according to the answers they got."""

    def __init__(self, engine: SlotEngine, broken: Broken) -> None:
        self.holds = Bag()
        self.bookings = Bag()
        self.lapsed: deque[Reservation] = deque(maxlen=LAPSED_KEPT)
        """The latest holds that lapsed although a customer wanted them."""
        self.answers = 0
        """How many reservations customers were given."""
        self._engine = engine
        self._broken = broken

    def given(self, one: Reservation, *, wanted: bool) -> None:
        """Record a new hold.  No customer comes back for one that is not ``wanted``.

        A customer that waited may be woken so late that the hold has lapsed.
        """
        self.answers += 1
        late = one.until is not None and one.until <= self._engine.now()
        seen = one.state, one.version
        right = seen == (State.HELD, 1) or (late and seen == (State.EXPIRED, 2))
        self._broken.unless(right, f"a new hold is {one!r}")
        if wanted and not late:
            self.holds.put(one)

    def changed(self, before: Reservation, now: Reservation, state: State, steps: int = 1) -> None:
        """Record the answer to an accepted verb, which must raise the version by that much."""
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
        """Check that a reservation which could not be changed is unchanged."""
        said = self._engine.local.get(one.uid)
        self._broken.unless(
            said == one or self.may_be_over(one, said), f"a refusal made {said!r} of {one!r}"
        )

    def refused_as_expired(self, one: Reservation, refusal: Refused) -> None:
        """Record that a hold is reported as lapsed, or as changed."""
        until = one.until
        right = until is not None and until <= self._engine.now()
        self._broken.unless(right, f"{refusal!r}, but it is {one!r}")
        self.expired(one.uid)

    def expired(self, uid: str) -> None:
        """Record that a hold has lapsed, if a customer wanted it."""
        gone = self.holds.discard(uid)
        if gone is not None:
            self.lapsed.append(gone)

    def may_be_over(self, one: Reservation, said: Reservation | None) -> bool:
        """Return whether a hold or booking can rightly be reported as ended."""
        if one.until is None:
            return (
                said is None
                and to_us(over_at(one), "end") <= self._engine.ledger.state.forgotten_before
            )
        if to_us(one.until, "until") > self._engine.ledger.state.now:
            return False
        return said is None or said.state is State.EXPIRED

    def check_in_turns(self) -> Iterator[None]:
        """Ask the engine about every reservation, a few at a time."""
        for bag in (self.holds, self.bookings):
            for count, uid in enumerate(bag.uids()):
                if count % CHECKED_PER_TURN == 0:
                    yield
                one = bag.get(uid)
                if one is not None:
                    said = self._engine.local.get(uid)
                    right = said == one or self.may_be_over(one, said)
                    self._broken.unless(right, f"{one!r} was acknowledged, but is {said!r}")


class Audit:
    """All three checkers."""

    def __init__(self, engine: SlotEngine) -> None:
        self.broken = Broken()
        self.watch = Watch(engine)
        self.count = Count(engine)
        self.acknowledged = Acknowledged(engine, self.broken)
        self.whole = 0
        """The number of complete audits."""
        self._watched_ill = False

    def in_turns(self) -> Iterator[None]:
        """Check everything, a little at a time."""
        yield from self.acknowledged.check_in_turns()
        try:
            yield from self.watch.check_in_turns()
        except InvariantBroken as error:
            self._note(error)
        self.whole += 1

    def swept(self) -> None:
        """Check, once nothing is left to lapse, that every expiry was announced."""
        try:
            self.watch.check_swept()
        except InvariantBroken as error:
            self._note(error)

    def _note(self, error: InvariantBroken) -> None:
        # A watch keeps raising the first violation that it found.
        if not self._watched_ill:
            self.broken.add(str(error))
        self._watched_ill = True

    def close(self) -> None:
        """Stop checking."""
        self.watch.close()
        self.count.close()
