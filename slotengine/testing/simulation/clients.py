"""What the clients of a booking service do: scenes of a few calls each.

`slotengine.testing.simulation.history` shuffles the scenes of all clients into one
history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Final

from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    Adopt,
    Annotate,
    Cancel,
    Choice,
    Confirm,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
    Configure,
    Kind,
    Put,
    Retire,
    SettingChange,
)
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.ledger.extra import KEEP
from slotengine.core.ledger.keys import KEY_LIFE
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import duration_us
from slotengine.core.time.schedule import ALWAYS_OPEN, FixedWindows, Windows
from slotengine.core.time.schedule_text import schedule_text
from slotengine.testing.internal.actions import (
    Action,
    Get,
    IsFree,
    Jumping,
    ListLive,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    in_series,
    waits,
)
from slotengine.testing.simulation.steps import (
    EVENT_TYPES,
    FIRST,
    LAST,
    MONDAY,
    RESOURCES,
    TERMS,
    TICK,
    USUAL,
    VARIANTS,
    Call,
    CallMode,
    Fitted,
    ForgetUpTo,
    GiveUp,
    Jump,
    JumpTo,
    Probe,
    Prolong,
    Shorten,
    Step,
    at,
    usual_config,
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
HOURS: Final = (
    schedule_text(FixedWindows([(at(26), at(32))])),
    schedule_text(FixedWindows([(at(25), at(29)), (at(30), at(39))])),
)
"""Hours that resources get for a while."""
HOT: Final = ((27, 29), (27, 29), (28, 31), (30, 32))
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
            *(self._hoards,) * 3,
            self._takes_several,
            self._takes_any,
            *(self._annotates,) * 2,
            *(self._replaces,) * 4,
            *(self._configures,) * 7,
            *(self._lets_a_host_join,) * 2,
            *(self._joins,) * 3,
            *(self._requests,) * 4,
            *(self._keeps_for_ever,) * 4,
            *(self._adopts,) * 2,
            *(self._acts_on_an_old_view,) * 2,
            self._lapses_again,
            self._lives_long,
            self._reads,
            *(self._forgets,) * 4,
            *(self._ends_its_own,) * 4,
            *(self._uses_a_key_again,) * 2,
            *(self._waits,) * 30,
            *(self._gives_back,) * 20,
            self._waits_and_asks_again,
            *(self._lists_slots,) * 5,
            *(self._books_by_rules,) * 5,
            *(self._moves_by_rules,) * 2,
            *(self._lists_slots_and_moves,) * 6,
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
        yield self._call(Confirm(""))
        if self._random.random() < 0.3:
            yield self._call(Confirm(""))

    def _retries(self) -> Iterator[Step]:
        action = self._keyed(self._reserve())
        yield self._call(action, CallMode.LOST)
        yield self._call(action)
        if self._random.random() < 0.3:
            yield self._call(action)
        yield self._call(Confirm(""), CallMode.LOST)
        yield self._call(Confirm(""))

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
        free = self._random.random() < 0.5
        confirm = Confirm("", free, enforce=self._random.random() < 0.8)
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
                yield self._call(Move("", (self._proposal(),), renew))
            else:
                yield self._call(self._move_to_any(renew=renew))
            if self._random.random() < 0.3:
                yield self._call(Confirm(""))

    def _hoards(self) -> Iterator[Step]:
        for _ in range(self._random.randint(2, 5)):
            (request,) = self._reserve().requests
            yield self._call(_one(request._replace(holder=f"client-{self._number}")))
        start = self._start()  # and then a longer slot in place of the latest
        claims = (Claim(self._random.choice(list(RESOURCES)), start, start + 4 * TICK),)
        longer = Proposal(start, start + 4 * TICK, claims, 8 * TICK)
        yield self._call(Move("", (longer,)))

    def _takes_several(self) -> Iterator[Step]:
        mode = self._random.choice((ALL, EACH))
        if self._random.random() < 0.3:
            yield self._call(Reserve(in_series(self._several()), (), ALL))
        proposals = tuple(self._proposal() for _ in range(self._random.randint(2, 3)))
        if self._random.random() < 0.4:
            proposals = tuple(proposal._replace(key=self._key()) for proposal in proposals)
            yield self._call(Reserve(proposals, (), mode), CallMode.LOST)
            if self._random.random() < 0.3:
                proposals = (self._proposal(), *proposals[1:])
        yield self._call(Reserve(proposals, (), mode))
        yield self._call(Confirm(""))
        yield self._call(Release(""), nth=1)

    def _annotates(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        for _ in range(2):
            tags = self._random.choice(((), ("vip",), ("vip", "new")))
            metadata = self._random.choice((KEEP, (("guests", "3"),)))
            version = self._random.choice((None, None, None, 1, 2))
            annotate = Annotate("", metadata, tags=tags, version=version)
            yield self._call(annotate, nth=self._random.choice((0, 0, 1)))
            if self._random.random() < 0.3:
                yield self._call(self._random.choice((Release(""), Confirm(""), Cancel(""))))

    def _replaces(self) -> Iterator[Step]:
        yield self._call(self._reserve(hot=True))
        if self._random.random() < 0.4:
            yield self._call(Confirm(""))
        if self._random.random() < 0.2:
            yield JumpTo(self._number, 0, self._random.choice((-1, 0)))
        request = self._proposal(hot=self._random.random() < 0.6)
        version = self._random.choice((None, None, None, 1, 2))
        replace = Replace("", request, "", version)
        if self._random.random() < 0.3:
            replace = replace._replace(request=request._replace(key=self._key()))
            yield self._call(replace, CallMode.LOST)
        yield self._call(replace)
        yield self._call(self._random.choice((Confirm(""), Release(""), Get(""))))

    def _configures(self) -> Iterator[Step]:
        """Change what there is, and change it back, as its owner may at any time."""
        names = self._random.sample(list(USUAL), self._random.choice((1, 1, 2)))
        force = self._random.random() < 0.3
        yield self._call(Configure(tuple(map(self._setting, names)), force))
        for name in names:
            if self._random.random() < 0.8:
                force = self._random.random() < 0.6
                yield self._call(Configure((USUAL[name],), force))

    def _lets_a_host_join(self) -> Iterator[Step]:
        """Let a host join a group that others have worked in for some time."""
        few = replace(EVENT_TYPES["talk"], any_of=[["room", "desk"]], limits=[])
        yield self._call(Configure((Put(Kind.EVENT_TYPE, "talk", few),)))
        for start in self._random.sample(range(FIRST, LAST, 3), 4):
            request = SlotRequest("talk", at(start), ttl=20 * TICK, enforce=False)
            yield self._call(ReserveSlot(request))
        many = replace(few, any_of=[["annex", "room", "desk"]])
        yield self._call(Configure((Put(Kind.EVENT_TYPE, "talk", many),)))
        for start in (33, 27):
            request = SlotRequest("talk", at(start), ttl=8 * TICK, enforce=False)
            yield self._call(ReserveSlot(request))
        yield self._call(Configure((USUAL["talk"],), force=True))

    def _setting(self, name: str) -> SettingChange:
        """Return a change of a resource or an event type, or that it is retired."""
        version = self._random.choice((None, None, None, 1, 9))
        if name in EVENT_TYPES:
            if self._random.random() < 0.3:
                return Retire(Kind.EVENT_TYPE, name, self._random.random() < 0.8, version)
            return Put(Kind.EVENT_TYPE, name, self._random.choice(VARIANTS[name]), version)
        config = usual_config(name)
        match self._random.randrange(4):
            case 0:
                return Retire(Kind.RESOURCE, name, self._random.random() < 0.7, version)
            case 1:
                config = config._replace(schedule=self._random.choice((None, *HOURS)))
            case _:
                # Not fewer than event types need, which is refused for their sake.
                fewer = (2, 2, 4) if config.capacity > 1 else (1, 2)
                config = config._replace(capacity=self._random.choice(fewer))
        return Put(Kind.RESOURCE, name, config, version)

    def _takes_any(self) -> Iterator[Step]:
        action = self._reserve_any()
        if self._random.random() < 0.3:
            action = action._replace(key=self._key())
            yield self._call(action, CallMode.LOST)
            if self._random.random() < 0.3:
                choice = self._choice(len(action.requests))._replace(weights=None)
                action = action._replace(choice=choice)
        yield self._call(action)
        yield self._call(Confirm(""))

    def _joins(self) -> Iterator[Step]:
        yield self._call(_one(self._seat()))
        yield self._call(self._random.choice((Confirm(""), Release(""))))

    def _requests(self) -> Iterator[Step]:
        """Request something, change one's mind perhaps, and have it decided, or give it up."""
        yield self._call(self._request())
        if self._random.random() < 0.3:
            yield self._call(self._random.choice((self._move(), self._move_slot(), self._extend())))
        if self._random.random() < 0.2:
            yield Jump(self._random.choice((1, 3, 8)))
        nth = self._random.choice((0, 0, 0, 1))
        confirm = Confirm("", enforce=self._random.random() < 0.7)
        actions: tuple[Action, ...] = (*(confirm,) * 5, Release(""), Cancel(""))
        yield self._call(self._random.choice(actions), nth=nth)
        if self._random.random() < 0.4:
            yield self._call(self._random.choice((Confirm(""), Cancel(""), self._move())), nth=nth)

    def _request(self) -> Reserve | ReserveSlot:
        """Return how to request something, which is not decided yet."""
        match self._random.randrange(8):
            case 0:
                return _one(_on_request(self._seat()))
            case 1 | 2 | 3:
                action = self._by_rules()
                return action._replace(request=action.request._replace(requested=True))
            case 4:
                others = tuple(self._proposal(hot=True) for _ in range(2))
                mode = self._random.choice((ALL, EACH))
                return Reserve((_on_request(self._proposal(hot=True)), *others), (), mode)
            case _:
                (proposal,) = self._reserve(hot=True).requests
                if self._random.random() < 0.2:
                    proposal = proposal._replace(key=self._key())
                return _one(_on_request(proposal))

    def _keeps_for_ever(self) -> Iterator[Step]:
        """Hold something until further notice; not all engines allow that."""
        if self._random.random() < 0.3:
            action = self._by_rules()
            yield self._call(action._replace(request=action.request._replace(ttl=PENDING)))
        else:
            (request,) = self._reserve(hot=True).requests
            yield self._call(_one(request._replace(ttl=PENDING)))
        if self._random.random() < 0.3:
            yield JumpTo(self._number)
        changes: tuple[Action, ...] = (
            Extend("", PENDING),
            self._extend(),
            self._move()._replace(ttl=PENDING),
            Annotate("", tags=("vip",)),
        )
        yield self._call(self._random.choice(changes))
        if self._random.random() < 0.3:
            yield Jump(self._random.choice((3, 8)))
        yield self._call(self._random.choice((Confirm(""), Release(""), Release(""))))

    def _adopts(self) -> Iterator[Step]:
        """Let a booking stand that was made elsewhere."""
        proposal = self._proposal(hot=self._random.random() < 0.7)
        match self._random.randrange(4):
            case 0:
                proposal = self._seat()
            case 1 | 2:
                proposal = self._slot_elsewhere()
        if self._random.random() < 0.3:
            proposal = proposal._replace(key=self._key())
            yield self._call(Adopt(proposal, ""), CallMode.LOST)
        yield self._call(Adopt(proposal, ""))
        actions = (Cancel(""), Cancel(""), self._move(), Get(""), Release(""))
        yield self._call(self._random.choice(actions))

    def _slot_elsewhere(self) -> Proposal:
        """Return a slot of an event type, as another system has booked it."""
        event_type = EVENT_TYPES[self._random.choice(list(EVENT_TYPES))]
        lengths = event_type.lengths or [event_type.length]
        start = self._start()
        end = start + duration_us(self._random.choice(lengths))
        hosts = [*event_type.fixed, *map(self._random.choice, event_type.groups)]
        claims = tuple(Claim(host.resource, start, end, host.units) for host in hosts)
        seats = None if event_type.seats is None else Seats(event_type.seats)
        return Proposal(start, end, claims, TERMS.default_ttl, self._holder(), event_type.id, seats)

    def _acts_on_an_old_view(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield self._call(self._random.choice((self._extend(), Confirm(""))))
        if self._random.random() < 0.2:
            yield JumpTo(self._number)
        version = self._random.choice((1, 2))
        actions: tuple[Action, ...] = (
            Extend("", 8 * TICK, version),
            Confirm("", if_still_free=True, version=version),
            Release("", version),
            Cancel("", version),
            MoveTo("", self._start(), version=version),
            self._move_to_any()._replace(version=version),
        )
        yield self._call(self._random.choice(actions))

    def _uses_a_key_again(self) -> Iterator[Step]:
        """Repeat a request with its key, or another request that differs in one thing."""
        if self._random.random() < 0.4:
            request = self._by_rules().request._replace(key=self._key())
            yield self._call(ReserveSlot(request))
            for _ in range(2):
                yield self._call(ReserveSlot(self._altered(request)))
            return
        seat = self._random.random() < 0.3
        action = self._keyed(_one(self._seat()) if seat else self._reserve())
        yield self._call(action)
        (proposal,) = action.requests
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
            yield self._call(_one(changed))

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
                yield self._call(Confirm("", if_still_free=True))
        off = self._random.choice((-1, 0, 0, 1))
        yield JumpTo(self._number, 0, self._random.choice((off, TERMS.cool_down + off)))
        yield self._call(self._reserve_as_holder(), CallMode.ASYNC)

    def _reserve_as_holder(self) -> Reserve:
        ttl = self._random.choice((TICK, TERMS.cool_down))
        proposal = self._proposal(plain=True)._replace(holder=f"client-{self._number}", ttl=ttl)
        return _one(proposal)

    def _lives_long(self) -> Iterator[Step]:
        yield self._call(self._reserve())
        yield self._call(Extend("", 20 * TICK))
        yield Jump(self._random.choice((5, 8)))
        off, moving = self._random.choice((-1, 0, 0, 1)), self._random.random() < 0.4
        yield self._call(Prolong("", off, moving))

    def _forgets(self) -> Iterator[Step]:
        """Have past bookings forgotten, the client's own among them, and request that again."""
        action = self._keyed(self._reserve(hot=True))
        yield self._call(action)
        yield self._call(Confirm(""))
        soon = JumpTo(self._number, 0, self._random.choice((-1, 0, 0, TICK // 2)))
        yield self._random.choice((Jump(3), Jump(8), Jump(8), soon))
        yield self._call(ForgetUpTo("", self._random.choice((-1, 0, 0, 1))))
        if self._random.random() < 0.5:
            yield self._call(action)

    def _reads(self) -> Iterator[Step]:
        """Only read."""
        if self._random.random() < 0.7:
            yield self._call(IsFree(self._proposal()))
        start, end = span(self._random)
        name = self._random.choice(list(RESOURCES))
        yield self._call(ListLive(name, at(start), at(end)))

    def _ends_its_own(self) -> Iterator[Step]:
        nth = self._random.choice((0, 0, 1, 2))
        actions: tuple[Action, ...] = (Release(""), Cancel(""), Cancel(""), Get(""))
        for action in self._random.sample(actions, 2):
            yield self._call(action, nth=nth)

    def _waits(self) -> Iterator[Step]:
        yield self._call(self._waiting(self._any_reserve()))
        if self._random.random() < 0.3:
            yield GiveUp(when_served=self._random.random() < 0.8)
        if self._random.random() < 0.5:
            yield self._call(self._random.choice((Confirm(""), Release(""), Get(""))))

    def _waits_and_asks_again(self) -> Iterator[Step]:
        action = self._waiting(self._keyed(self._reserve(hot=True)))
        yield self._call(action, self._random.choice((CallMode.ASYNC, CallMode.LOST)))
        if self._random.random() < 0.5:
            yield GiveUp(when_served=True)
        again = action if self._random.random() < 0.5 else action._replace(wait=None)
        yield self._call(again)

    def _gives_back(self) -> Iterator[Step]:
        """Take a slot for which others may soon wait, and give it back."""
        yield self._call(self._reserve(hot=True))
        if self._random.random() < 0.3:
            yield self._call(Confirm(""))
        match self._random.randrange(8):
            case 7:
                yield self._call(Move("", (self._proposal(),)))
            case 0 | 1:
                yield self._call(Release(""))
                yield self._call(Cancel(""))
            case 2:
                yield self._call(MoveTo("", at(self._random.randrange(FIRST, LAST))))
            case 3 | 4 | 5:
                yield self._call(Shorten())
            case _:
                yield JumpTo(self._number, 0, self._random.choice((-1, 0, 0, 1)))

    def _lists_slots(self) -> Iterator[Step]:
        yield self._probe(self._random.choice(list(EVENT_TYPES)))
        if self._random.random() < 0.5:
            yield self._call(Confirm(""))

    def _lists_slots_and_moves(self) -> Iterator[Step]:
        action = self._by_rules()
        yield self._call(action)
        yield self._probe(action.request.event_type, moves=True)

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
        action = self._by_rules()
        if self._random.random() < 0.2:
            action = action._replace(request=action.request._replace(key=self._key()))
            yield self._call(action, CallMode.LOST)
        yield self._call(action)
        following = (Confirm(""), Release(""), MoveTo("", self._start()))
        yield self._call(self._random.choice(following))

    def _moves_by_rules(self) -> Iterator[Step]:
        yield self._call(self._by_rules())
        yield self._call(self._move_slot())

    def _move_slot(self) -> MoveSlot:
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
        return MoveSlot("", request, renew, seats, version)

    # --- Requests ------------------------------------------------------------------

    def _call(self, action: Action | Fitted, mode: CallMode | None = None, *, nth: int = 0) -> Call:
        if mode is None:
            rare = (CallMode.AT_ONCE, *(CallMode.LOST,) * 3, CallMode.PARKED)
            mode = CallMode.ASYNC if self._random.random() < 0.65 else self._random.choice(rare)
            if isinstance(action, Jumping) and not waits(action) and self._random.random() < 0.06:
                action = action._replace(jump=True)
        return Call(self._number, action, nth, mode)

    def _extend(self) -> Extend:
        return Extend("", self._random.choice(TTLS) * TICK)

    def _key(self) -> str:
        return f"client-{self._number}-{next(self._keys)}"

    def _several(self) -> tuple[Proposal, ...]:
        return tuple(self._proposal() for _ in range(self._random.randint(2, 3)))

    def _choice(self, size: int) -> Choice:
        """Return how to choose among so many candidates."""
        policy = self._random.choice(list(Policy))
        load_in = self._random.choice((None, (at(27), at(30))))
        weights = None
        if policy is Policy.WEIGHTED:
            weights = tuple(self._random.choice((1, 2, 3)) for _ in range(size))
        return Choice(policy, weights, load_in)

    def _reserve_any(self) -> Reserve:
        requests = self._several()
        return Reserve(requests, (), ANY, self._choice(len(requests)))

    def _move_to_any(self, *, renew: bool = False) -> Move:
        candidates = self._several()
        return Move("", candidates, renew, self._choice(len(candidates)))

    def _move(self) -> MoveTo:
        resource = self._random.choice((None, None, *RESOURCES))
        ttl = self._random.choice(TTLS) * TICK if self._random.random() < 0.3 else None
        start = at(self._random.randrange(FIRST, LAST))
        return MoveTo("", start, resource=resource, ttl=ttl)

    def _waiting(self, action: Reserve | ReserveSlot) -> Reserve | ReserveSlot:
        return action._replace(wait=self._random.choice(WAITS) * TICK)

    def _any_reserve(self) -> Reserve | ReserveSlot:
        match self._random.randrange(5):
            case 0:
                return self._by_rules()
            case 1:
                return _one(self._seat())
            case _:
                return self._reserve(hot=True)

    def _by_rules(self) -> ReserveSlot:
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
        return ReserveSlot(request)

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

    def _keyed(self, action: Reserve) -> Reserve:
        (request,) = action.requests
        return action._replace(requests=(request._replace(key=self._key()),))

    def _reserve(self, *, hot: bool = False) -> Reserve:
        return _one(self._proposal(plain=self._random.random() < 0.6, hot=hot))

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


def _on_request(proposal: Proposal) -> Proposal:
    return proposal._replace(requested=True)


def _one(request: Proposal) -> Reserve:
    """Return how to hold one thing."""
    return Reserve((request,), ())
