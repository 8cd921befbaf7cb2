"""What the clients of a booking service do: scenes of a few calls each.

`slotengine.testing.simulation.history` shuffles the scenes of all clients into one
history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Final

from slotengine.core.ledger.keys import KEY_LIFE
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import duration_us
from slotengine.core.time.schedule import ALWAYS_OPEN, FixedWindows, Windows
from slotengine.testing.internal.operations import Operation
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    FIRST,
    LAST,
    MONDAY,
    RESOURCES,
    TERMS,
    TICK,
    Call,
    CallMode,
    GiveUp,
    Jump,
    JumpTo,
    Probe,
    Step,
    at,
)

TTLS: Final = (8, 8, 8, 3, 1, 20)
UNITS: Final = (1, 1, 2, 3)
BUFFERS: Final = ((0, 0), (0, 0), (1, 0), (1, 2))
WAITS: Final = (1, 3, 8, 20, 1_000, 1_000)
"""How long clients wait for a slot, in ticks."""
SCHEDULES: Final[tuple[Windows | None, ...]] = (
    *(None,) * 10,
    ALWAYS_OPEN,
    FixedWindows([(at(27), at(33))]),
)
"""The hours that a request brings along, if any."""
HOT: Final = ((27, 29), (27, 29), (28, 31))
"""Spans that many clients request, so that they wait for each other."""


def span(random: Random) -> tuple[int, int]:
    if random.random() < 0.5:
        return random.choice(HOT)
    start = random.randrange(FIRST, LAST - 1)
    return start, min(LAST, start + random.randint(1, 4))


class Client:
    """One client; it remembers every answer that it got."""

    def __init__(self, number: int, random: Random) -> None:
        self._number = number
        self._random = random
        self._keys = count(1)

    def scenes(self) -> Iterator[list[Step]]:
        """Yield steps for ever, in lists: nothing happens between the steps of one list."""
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
            *(self._joins,) * 3,
            *(self._acts_on_an_old_view,) * 2,
            self._lapses_again,
            self._lives_long,
            self._reads,
            *(self._forgets,) * 3,
            *(self._ends_its_own,) * 4,
            *(self._uses_a_key_again,) * 2,
            *(self._waits,) * 11,
            *(self._gives_back,) * 8,
            self._waits_and_asks_again,
            *(self._lists_slots,) * 5,
            *(self._books_by_rules,) * 5,
            *(self._moves_by_rules,) * 2,
            *(self._lists_slots_and_moves,) * 2,
        ]
        while True:
            together: list[Step] = []
            for step in self._random.choice(scenes)():
                together.append(step)
                # A client acts right after its own jump of the clock.
                if not isinstance(step, JumpTo):
                    yield together
                    together = []
            if together:
                yield together

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
        yield self._call(operation, CallMode.LOST)
        yield self._call(operation)
        if self._random.random() < 0.3:
            yield self._call(operation)
        yield self._call(Operation("confirm"), CallMode.LOST)
        yield self._call(Operation("confirm"))

    def _extends_at_the_last_moment(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        for _ in range(self._random.randint(1, 4)):
            yield JumpTo(self._number, 0, self._random.choice((-1, -1, -1, 0)))
            yield self._call(
                self._extend(), self._random.choice((CallMode.ASYNC, CallMode.AT_ONCE))
            )

    def _confirms_late(self) -> Iterator[Step]:
        yield self._call(self._by_rules() if self._random.random() < 0.4 else self._reserve())
        yield JumpTo(self._number, 0, self._random.choice((-1, 0, 0, 1, 3 * TICK)))
        confirm = Operation("confirm", if_still_free=self._random.random() < 0.5)
        yield self._call(confirm, self._random.choice((CallMode.ASYNC, CallMode.AT_ONCE)))

    def _vanishes(self) -> Iterator[Step]:
        yield self._call(self._reserve())

    def _moves(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        for _ in range(self._random.randint(1, 3)):
            renew, chance = self._random.random() < 0.5, self._random.random()
            if chance < 0.4:
                yield self._call(self._move())
            elif chance < 0.8:
                yield self._call(Operation("move_request", (self._proposal(),), renew=renew))
            else:
                yield self._call(self._one_of("move_any")._replace(renew=renew))
            if self._random.random() < 0.3:
                yield self._call(Operation("confirm"))

    def _hoards(self) -> Iterator[Step]:
        for _ in range(self._random.randint(2, 5)):
            (proposal,) = self._reserve().proposals
            proposal = proposal._replace(holder=f"client-{self._number}")
            yield self._call(Operation("reserve_request", (proposal,)))
        start = self._start()  # and then a longer slot in place of the latest
        claims = (Claim(self._random.choice(list(RESOURCES)), start, start + 4 * TICK),)
        longer = Proposal(start, start + 4 * TICK, claims, 8 * TICK)
        yield self._call(Operation("move_request", (longer,)))

    def _takes_several(self) -> Iterator[Step]:
        verb = self._random.choice(("reserve_all", "reserve_each"))
        proposals = tuple(self._proposal() for _ in range(self._random.randint(2, 3)))
        if self._random.random() < 0.4:
            proposals = tuple(proposal._replace(key=self._key()) for proposal in proposals)
            yield self._call(Operation(verb, proposals), CallMode.LOST)
            if self._random.random() < 0.3:
                proposals = (self._proposal(), *proposals[1:])
        yield self._call(Operation(verb, proposals))
        yield self._call(Operation("confirm"))
        yield self._call(Operation("release"), nth=1)

    def _takes_any(self) -> Iterator[Step]:
        operation = self._one_of("reserve_any")
        if self._random.random() < 0.3:
            operation = operation._replace(key=self._key())
            yield self._call(operation, CallMode.LOST)
            if self._random.random() < 0.3:
                operation = self._one_of("reserve_any")._replace(
                    proposals=operation.proposals, weights=None, key=operation.key
                )
        yield self._call(operation)
        yield self._call(Operation("confirm"))

    def _joins(self) -> Iterator[Step]:
        yield self._call(Operation("reserve_request", (self._seat(),)))
        yield self._call(self._random.choice((Operation("confirm"), Operation("release"))))

    def _acts_on_an_old_view(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield self._call(self._random.choice((self._extend(), Operation("confirm"))))
        if self._random.random() < 0.2:
            yield JumpTo(self._number)
        operation = self._random.choice(
            (
                Operation("extend", ttl=8 * TICK),
                Operation("confirm", if_still_free=True),
                Operation("release"),
                Operation("cancel"),
                Operation("move", start=self._start()),
                self._one_of("move_any"),
            )
        )
        yield self._call(operation._replace(version=self._random.choice((1, 2))))

    def _uses_a_key_again(self) -> Iterator[Step]:
        """Repeat a request with its key, or another request that differs in one thing."""
        if self._random.random() < 0.4:
            request = self._by_rules().slot_request
            assert request is not None
            request = request._replace(key=self._key())
            yield self._call(Operation("reserve_slot", slot_request=request))
            for _ in range(2):
                yield self._call(Operation("reserve_slot", slot_request=self._altered(request)))
            return
        seat = self._random.random() < 0.3
        operation = Operation("reserve_request", (self._seat(),)) if seat else self._reserve()
        operation = self._keyed(operation)
        yield self._call(operation)
        (proposal,) = operation.proposals
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"ttl": 9 * TICK},
            {"holder": "another"},
            {"event_type": "another"},
            {"seats": Seats(3, 3)} if seat else {"closed": ()},
            self._proposal()._replace(key=proposal.key)._asdict(),
        )
        for change in self._random.sample(changes, 3):
            if self._random.random() < 0.1:  # the key is about to be forgotten
                yield JumpTo(self._number, 0, self._random.choice((TERMS.retention, KEY_LIFE)))
            changed = proposal._replace(**change)
            if changed.closed is not None and changed.demand is Demand.HOURS:
                changed = changed._replace(demand=Demand.AHEAD)  # as the engine would have it
            yield self._call(Operation("reserve_request", (changed,)))

    def _altered(self, request: SlotRequest) -> SlotRequest:
        """Return the same slot request, or one that differs in one thing."""
        event_type = EVENT_TYPES[request.event_type]
        hosts = frozenset(host.resource for host in event_type.hosts())
        changes: list[dict[str, Any]] = [
            {},
            {"ttl": 9 * TICK},
            {"holder": "another"},
            {"enforce": not request.enforce},
            {"only": hosts if request.only is None else None},
        ]
        if event_type.seats:
            changes.append({"seats": 3 - request.seats})
        others = [one for one in map(duration_us, event_type.lengths) if one != request.length]
        changes += [{"length": one} for one in others]
        return request._replace(**self._random.choice(changes))

    def _lapses_again(self) -> Iterator[Step]:
        """Let holds expire, and request another around the end of the cool-down."""
        for _ in range(2):
            yield self._call(self._reserve_as_holder(), CallMode.ASYNC)
            yield JumpTo(self._number, 0, self._random.choice((0, 0, 0, -1)))
            if self._random.random() < 0.3:
                yield self._call(Operation("confirm", if_still_free=True))
        off = self._random.choice((-1, 0, 0, 1))
        yield JumpTo(self._number, 0, self._random.choice((off, TERMS.cool_down + off)))
        yield self._call(self._reserve_as_holder(), CallMode.ASYNC)

    def _reserve_as_holder(self) -> Operation:
        ttl = self._random.choice((TICK, TERMS.cool_down))
        proposal = self._proposal(plain=True)._replace(holder=f"client-{self._number}", ttl=ttl)
        return Operation("reserve", (proposal,))

    def _lives_long(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield self._call(Operation("extend", ttl=20 * TICK))
        yield Jump(self._random.choice((5, 8)))
        off, renew = self._random.choice((-1, 0, 0, 1)), self._random.random() < 0.4
        yield self._call(Operation("prolong", ttl=off, renew=renew))

    def _forgets(self) -> Iterator[Step]:
        """Have past bookings forgotten, the client's own among them, and request that again."""
        operation = self._keyed(self._reserve(hot=True))
        yield self._call(operation)
        yield self._call(Operation("confirm"))
        yield Jump(self._random.choice((3, 8, 8)))
        yield self._call(Operation("forget_bookings", start=self._random.choice((-1, 0, 0, 1))))
        if self._random.random() < 0.5:
            yield self._call(operation)

    def _reads(self) -> Iterator[Step]:
        """Only read."""
        if self._random.random() < 0.7:
            yield self._call(Operation("is_free", (self._proposal(),)))
        start, end = span(self._random)
        name = self._random.choice(list(RESOURCES))
        yield self._call(Operation("reservations", resource=name, load_in=(at(start), at(end))))

    def _ends_its_own(self) -> Iterator[Step]:
        nth = self._random.choice((0, 0, 1, 2))
        for verb in self._random.sample(("release", "cancel", "cancel", "get"), 2):
            yield self._call(Operation(verb), nth=nth)

    def _waits(self) -> Iterator[Step]:
        yield self._call(self._waiting(self._any_reserve()))
        if self._random.random() < 0.25:
            yield GiveUp(when_served=self._random.random() < 0.8)
        if self._random.random() < 0.5:
            verb = self._random.choice(("confirm", "release", "get"))
            yield self._call(Operation(verb))

    def _waits_and_asks_again(self) -> Iterator[Step]:
        operation = self._waiting(self._keyed(self._reserve(hot=True)))
        yield self._call(operation, self._random.choice((CallMode.ASYNC, CallMode.LOST)))
        if self._random.random() < 0.5:
            yield GiveUp(when_served=True)
        again = operation if self._random.random() < 0.5 else operation._replace(wait=None)
        yield self._call(again)

    def _gives_back(self) -> Iterator[Step]:
        """Take a slot for which others may soon wait, and give it back."""
        yield self._call(self._reserve(hot=True))
        if self._random.random() < 0.3:
            yield self._call(Operation("confirm"))
        match self._random.randrange(6):
            case 0 | 1:
                yield self._call(Operation("release"))
                yield self._call(Operation("cancel"))
            case 2:
                yield self._call(Operation("move", start=at(self._random.randrange(FIRST, LAST))))
            case 3 | 4:
                yield self._call(Operation("shorten"))
            case _:
                yield JumpTo(self._number, 0, self._random.choice((-1, 0, 0, 1)))

    def _lists_slots(self) -> Iterator[Step]:
        yield self._probe(self._random.choice(list(EVENT_TYPES)))
        if self._random.random() < 0.5:
            yield self._call(Operation("confirm"))

    def _lists_slots_and_moves(self) -> Iterator[Step]:
        operation = self._by_rules()
        yield self._call(operation)
        assert operation.slot_request is not None
        yield self._probe(operation.slot_request.event_type, moves=True)

    def _probe(self, event_type: str, *, moves: bool = False) -> Probe:
        start = self._random.choice((FIRST, FIRST, 28, MONDAY))
        end = self._random.choice((LAST, LAST, start + 4))
        return Probe(
            self._number,
            event_type,
            at(start),
            at(end),
            self._length(event_type),
            self._random.choice((1, 1, 2)) if EVENT_TYPES[event_type].seats else 1,
            self._random.choice((None, None, 1, 3)),
            self._random.randrange(4),
            moves,
            self._only(event_type),
        )

    def _books_by_rules(self) -> Iterator[Step]:
        operation = self._by_rules()
        if self._random.random() < 0.2:
            assert operation.slot_request is not None
            operation = operation._replace(
                slot_request=operation.slot_request._replace(key=self._key())
            )
            yield self._call(operation, CallMode.LOST)
        yield self._call(operation)
        yield self._call(
            self._random.choice(
                (Operation("confirm"), Operation("release"), Operation("move", start=self._start()))
            )
        )

    def _moves_by_rules(self) -> Iterator[Step]:
        yield self._call(self._by_rules())
        event_type = self._random.choice(("", "", "", "talk", "talk", "visit"))
        request = SlotRequest(
            event_type,
            self._start(),
            ttl=self._random.choice(TTLS) * TICK,
            only=self._only(event_type) if event_type else None,
            enforce=self._random.random() < 0.5,
        )
        version = self._random.choice((None, None, 1, 2))
        renew = self._random.random() < 0.5
        # Only some have seats.  No random draw, so that all other steps stay the same.
        seats = 1 + self._number % 3 if version is None and not event_type else None
        yield self._call(
            Operation("move_slot", slot_request=request, renew=renew, version=version, seats=seats)
        )

    # --- Requests ------------------------------------------------------------------

    def _call(self, operation: Operation, mode: CallMode | None = None, *, nth: int = 0) -> Call:
        if mode is None:
            rare = (CallMode.AT_ONCE, CallMode.LOST, CallMode.PARKED, CallMode.JUMPING)
            mode = CallMode.ASYNC if self._random.random() < 0.7 else self._random.choice(rare)
        return Call(self._number, operation, nth, mode)

    def _extend(self) -> Operation:
        return Operation("extend", ttl=self._random.choice(TTLS) * TICK)

    def _key(self) -> str:
        return f"client-{self._number}-{next(self._keys)}"

    def _one_of(self, verb: str) -> Operation:
        """Return an operation for one of several candidates."""
        count = self._random.randint(2, 3)
        operation = Operation(
            verb,
            tuple(self._proposal() for _ in range(count)),
            policy=self._random.choice(list(Policy)),
            load_in=self._random.choice((None, (at(27), at(30)))),
        )
        if operation.policy is Policy.WEIGHTED:
            weights = tuple(self._random.choice((1, 2, 3)) for _ in range(count))
            return operation._replace(weights=weights)
        return operation

    def _move(self) -> Operation:
        resource = self._random.choice((None, None, *RESOURCES))
        renew = self._random.random() < 0.3
        ttl = self._random.choice(TTLS) * TICK if renew else 0
        start = at(self._random.randrange(FIRST, LAST))
        return Operation("move", start=start, ttl=ttl, renew=renew, resource=resource)

    def _waiting(self, operation: Operation) -> Operation:
        return operation._replace(wait=self._random.choice(WAITS) * TICK)

    def _any_reserve(self) -> Operation:
        match self._random.randrange(5):
            case 0:
                return self._by_rules()
            case 1:
                return Operation("reserve_request", (self._seat(),))
            case _:
                return self._reserve(hot=True)

    def _by_rules(self) -> Operation:
        names = ("talk", "talk", "course", "course", "visit", "call")
        event_type = EVENT_TYPES[self._random.choice(names)]
        request = SlotRequest(
            event_type.id,
            self._start(),
            self._length(event_type.id),
            self._random.choice(TTLS) * TICK,
            self._holder(),
            seats=self._random.choice((1, 1, 2)) if event_type.seats else 1,
            only=self._only(event_type.id),
            enforce=self._random.random() < 0.5,
        )
        return Operation("reserve_slot", slot_request=request)

    def _only(self, event_type: str) -> frozenset[str] | None:
        """Return the hosts that the client accepts; mostly all."""
        if self._random.random() > 0.2:
            return None
        fixed = [host.resource for host in EVENT_TYPES[event_type].fixed]
        groups = EVENT_TYPES[event_type].groups
        firsts = (self._random.choice(group).resource for group in groups)
        return frozenset([*fixed, *firsts])

    def _length(self, event_type: str) -> int | None:
        lengths = EVENT_TYPES[event_type].lengths
        return duration_us(self._random.choice(lengths)) if lengths else None

    def _start(self) -> int:
        return at(self._random.choice((27, 27, 30, 33, self._random.randrange(FIRST, LAST))))

    def _holder(self) -> str | None:
        return f"client-{self._number}" if self._random.random() < 0.6 else None

    def _keyed(self, operation: Operation) -> Operation:
        (proposal,) = operation.proposals
        return operation._replace(proposals=(proposal._replace(key=self._key()),))

    def _reserve(self, *, hot: bool = False) -> Operation:
        if self._random.random() < 0.4:
            return Operation("reserve_request", (self._proposal(hot=hot),))
        proposal = self._proposal(plain=True, hot=hot)
        return Operation("reserve", (proposal,))

    def _proposal(self, *, plain: bool = False, hot: bool = False) -> Proposal:
        start, end = self._random.choice(HOT) if hot else span(self._random)
        before, after = (0, 0) if plain else self._random.choice(BUFFERS)
        several = 1 if plain else self._random.choice((1, 1, 2))
        claims = tuple(
            Claim(name, at(start - before), at(end + after), self._units(name))
            for name in self._names(several, hot=hot)
        )
        ttl = self._random.choice(TTLS) * TICK
        schedule = None if plain else self._random.choice(SCHEDULES)
        closed: tuple[str, ...] | None = None
        if schedule is not None:
            is_open = schedule.covers(at(start), at(end))
            closed = () if is_open else tuple(claim.resource for claim in claims)
        # Every other client never requests a slot in the past.
        ahead = Demand.HOURS if closed is None else Demand.AHEAD
        demand = ahead if self._number % 2 else Demand.NOTHING
        return Proposal(
            at(start), at(end), claims, ttl, self._holder(), closed=closed, demand=demand
        )

    def _names(self, several: int, *, hot: bool) -> list[str]:
        """Return resources to request: mostly the room."""
        if several == 1 and self._random.random() < (0.7 if hot else 0.4):
            return ["room"]
        return self._random.sample(list(RESOURCES), several)

    def _units(self, name: str) -> int:
        return self._random.choice(UNITS) if RESOURCES[name][0] > 1 else 1

    def _seat(self) -> Proposal:
        start = at(self._random.choice((27, 27, 33)))
        end = start + 2 * TICK
        claims = (Claim(self._random.choice(("room", "annex")), start, end),)
        seats = Seats(3, self._random.choice((1, 2, 2)))
        ttl = self._random.choice(TTLS) * TICK
        return Proposal(start, end, claims, ttl, event_type="class", seats=seats)
