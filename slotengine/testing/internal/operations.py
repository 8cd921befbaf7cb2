"""Calls as plain values, which can be made on an engine and on the naive ledger.

So a test can make the same calls on an engine, in tasks or in threads, and on a
`NaiveLedger`, and compare the answers: an `ObservedReservation`, a list of them, or
an error with its details.

>>> from slotengine.core.ledger.terms import Terms
>>> naive = NaiveLedger(Terms(5, 1, 20), {"room-1": (1, None)})
>>> reserve = Operation("reserve", (Proposal(3, 6, (Claim("room-1", 3, 6),), ttl=5),))
>>> print(in_model(naive, reserve, ["a"], now=0).state)
State.HELD
>>> print(reserve)
reserve room-1 3..6 for 5

Times and durations are microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import BOOKED_UNTIL, Claim, Demand, Verb, is_limit
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import LAST_US, from_us, to_us
from slotengine.core.time.schedule import ALWAYS_OPEN, FixedWindows
from slotengine.engine import values
from slotengine.engine.requests import AllOf, EachOf, OneOf
from slotengine.engine.values import Request, Reservation, extra_of
from slotengine.errors import UnknownReservation
from slotengine.testing.internal import naive_booking_rules
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.naive_waitlist import Check
from slotengine.testing.internal.observed import COMPARABLE, ObservedReservation, describe, outcome

if TYPE_CHECKING:
    from slotengine.core.time.schedule import Windows
    from slotengine.engine.blocking import BlockingEngine
    from slotengine.engine.engine import SlotEngine
    from slotengine.engine.local import LocalEngine


class Scale(NamedTuple):
    """How times are written: in ticks, counted from an origin.

    >>> Scale(origin=100, tick=10).at(130), Scale(origin=100, tick=10).at(129)
    ('3', '3-1us')
    """

    origin: int = 0
    tick: int = 1

    def at(self, moment: int) -> str:
        """Return how a moment is written."""
        return self.lasts(moment - self.origin)

    def lasts(self, duration: int) -> str:
        """Return how a duration is written."""
        ticks, more = divmod(duration, self.tick)
        if more > self.tick // 2:
            ticks, more = ticks + 1, more - self.tick
        return f"{ticks}{more:+}us" if more else f"{ticks}"

    def span(self, start: int, end: int) -> str:
        """Return how a span is written."""
        return f"{self.at(start)}..{self.at(end)}"


PLAIN: Final = Scale()


class Operation(NamedTuple):
    """A call: a verb of the engine and its arguments; others are ignored.

    ``proposals`` are the requests of ``reserve...``, ``move_...`` and ``is_free``;
    ``uid`` is the reservation that other verbs are about.  A ``move`` goes to
    ``start``, on ``resource``, with a new ``length`` if there is one; with ``renew``,
    the hold gets a new ``ttl``.  ``policy``, ``weights`` and ``load_in`` choose among
    several proposals.  ``slot_request`` is the request of a ``..._slot``: without an
    event type, a move keeps its own, and without ``seats`` its seats.
    ``reservations`` lists those of a ``resource`` within ``load_in``;
    ``forget_bookings`` forgets those that were over by ``start``.  With a ``wait``, a
    ``reserve...`` may wait: call `NaiveWaitlist.ask` in place of `in_model`.
    """

    verb: str
    proposals: tuple[Proposal, ...] = ()
    uid: str = ""
    start: int = 0
    ttl: int = 0
    version: int | None = None
    renew: bool = False
    if_still_free: bool = False
    policy: Policy = Policy.FIRST
    key: str | None = None
    length: int | None = None
    slot_request: SlotRequest | None = None
    wait: int | None = None
    weights: tuple[int, ...] | None = None
    load_in: tuple[int, int] | None = None
    resource: str | None = None
    seats: int | None = None

    def __str__(self) -> str:
        return self.text()

    def text(self, scale: Scale = PLAIN) -> str:
        """Return the call in words, with times as the scale writes them."""
        return " ".join(self._words(scale))

    def _words(self, scale: Scale) -> Iterator[str]:
        yield self.verb
        if self.uid:
            yield self.uid
        if self.proposals:
            yield " | ".join(_text(one, scale) for one in self.proposals)
        if self.slot_request is not None:
            yield from _ask_words(self.slot_request, scale)
        if self.verb == "move":
            yield f"to {scale.at(self.start)}"
        if self.resource is not None:
            yield f"on {self.resource}"
        if self.seats is not None:
            yield f"with {self.seats} seats"
        if self.length is not None:
            yield f"of {scale.lasts(self.length)}"
        if self.verb == "forget_bookings":
            yield f"before {scale.at(self.start)}"
        if self.verb == "extend" or (self.verb == "move" and self.renew):
            yield f"for {scale.lasts(self.ttl)}"
        if self.wait is not None:
            yield f"and wait for {scale.lasts(self.wait)}"
        if self.policy is not Policy.FIRST:
            yield self.policy.value
        if self.weights is not None:
            yield f"by {':'.join(map(str, self.weights))}"
        if self.load_in is not None:
            yield f"in {scale.span(*self.load_in)}"
        if self.key is not None:
            yield self.key
        for name in ("renew", "if_still_free"):
            if getattr(self, name):
                yield name
        if self.version is not None:
            yield f"at version {self.version}"


def _ask_words(ask: SlotRequest, scale: Scale) -> Iterator[str]:
    yield ask.event_type or "there"
    yield f"at {scale.at(ask.start)}"
    if ask.length is not None:
        yield f"of {scale.lasts(ask.length)}"
    if ask.seats > 1:
        yield f"for {ask.seats} persons"
    if ask.only is not None:
        yield f"with {' or '.join(sorted(ask.only))}"
    if not ask.enforce:
        yield "against the rules"
    if ask.ttl is not None:
        yield f"for {scale.lasts(ask.ttl)}"
    if ask.key is not None:
        yield ask.key
    if ask.quota is not None:
        yield _quota_text(ask.quota, scale)


def _text(proposal: Proposal, scale: Scale) -> str:
    words = []
    slot = proposal.start, proposal.end
    for name, start, end, units in proposal.claims:
        span = "" if (start, end) == slot else f"[{scale.span(start, end)}]"
        words.append(f"{name}{span}" + (f"*{units}" if units > 1 else ""))
    text = f"{'+'.join(words)} {scale.span(*slot)} for {scale.lasts(proposal.ttl)}"
    if proposal.seats is not None:
        text += f" as {proposal.seats.wanted} of {proposal.seats.total} of {proposal.event_type}"
    if proposal.key is not None:
        text += f" {proposal.key}"
    return text if proposal.quota is None else f"{text} {_quota_text(proposal.quota, scale)}"


def _quota_text(quota: Quota, scale: Scale) -> str:
    words = [f"{count} {name}" for name, count in _counted(quota) if count is not None]
    durations = ("held", quota.held), ("life", quota.life)
    words += [f"{scale.lasts(us)} {name}" for name, us in durations if us is not None]
    return f"(quota: {', '.join(words) or 'none'})"


def _counted(quota: Quota) -> tuple[tuple[str, int | None], ...]:
    return ("holds", quota.holds), ("waits", quota.waits)


JUMPING: Final = frozenset(
    {
        "reserve", "reserve_request", "reserve_all", "reserve_each", "reserve_any", "reserve_slot",
        "move", "move_request", "move_any", "move_slot", "confirm",
    }
)  # fmt: skip
"""The verbs that can jump the waitlist."""

Answer = Any
"""An `ObservedReservation`, None, a list of these and of errors, or an error; see `outcome`."""


def observed(reservation: Reservation) -> ObservedReservation:
    """Return a reservation of an engine as a value to compare."""
    start, end, until = reservation.start, reservation.end, reservation.until
    return ObservedReservation(
        reservation.uid,
        reservation.state,
        reservation.version,
        to_us(start, "start"),
        to_us(end, "end"),
        tuple(
            Claim(
                claim.resource,
                to_us(start - claim.before, "before"),
                to_us(end + claim.after, "after"),
                claim.units,
            )
            for claim in reservation.claims
        ),
        BOOKED_UNTIL if until is None else to_us(until, "until"),
        to_us(reservation.created, "created"),
        reservation.holder,
        reservation.event_type,
        reservation.seats,
        reservation.serial,
        extra_of(reservation.metadata, reservation.details, reservation.tags),
    )


# --- On an engine --------------------------------------------------------------------------


async def in_engine(engine: SlotEngine, operation: Operation) -> Answer:
    """Make a call with the async verb of an engine, and return the answer."""
    name, args, kwargs = _call(operation)
    try:
        result = await getattr(engine, name)(*args, **kwargs)
    except COMPARABLE as error:
        return describe(error)
    return _answered(operation, result)


def in_local_engine(engine: LocalEngine, operation: Operation, *, jump: bool = False) -> Answer:
    """Make a call, ahead of the waitlist if it may ``jump``, and return the answer."""
    name, args, kwargs = _call(operation)
    if jump and name in JUMPING:
        kwargs["jump"] = True
    return outcome(lambda: _answered(operation, getattr(engine, name)(*args, **kwargs)))


def in_thread(engine: BlockingEngine, operation: Operation) -> Answer:
    """Make a call from a thread, and return the answer."""
    name, args, kwargs = _call(operation)
    return outcome(lambda: _answered(operation, getattr(engine, name)(*args, **kwargs)))


def _answered(operation: Operation, result: object) -> Answer:
    answer = _plain(result)
    if operation.verb != "reservations":
        return answer
    # The order of reservations with the same start is not defined.
    return [
        one
        for _, same in groupby(answer, attrgetter("start"))
        for one in sorted(same, key=attrgetter("uid"))
    ]


def _plain(result: object) -> Answer:
    if isinstance(result, list):
        return [_plain(one) for one in result]
    if isinstance(result, Exception):
        return describe(result)
    return observed(result) if isinstance(result, Reservation) else result


def _call(operation: Operation) -> tuple[str, tuple[object, ...], dict[str, object]]:
    """Return the name of a verb and its arguments, as the engine takes them."""
    name, args, kwargs = _verb(operation)
    return (
        name,
        args,
        kwargs if operation.wait is None else {**kwargs, "wait": _delta(operation.wait)},
    )


def _verb(operation: Operation) -> tuple[str, tuple[object, ...], dict[str, object]]:
    proposals, uid, version = operation.proposals, operation.uid, operation.version
    match operation.verb:
        case "reserve":
            return "reserve", *_simple(proposals[0])
        case "reserve_request":
            return "reserve", (request_of(proposals[0]),), {}
        case "reserve_all":
            return "reserve", (AllOf([request_of(one) for one in proposals]),), {}
        case "reserve_each":
            return "reserve", (EachOf([request_of(one) for one in proposals]),), {}
        case "reserve_any":
            return "reserve", (_one_of(operation, renew=True),), {}
        case "move_any":
            return "move", (uid, _one_of(operation, renew=operation.renew)), {"version": version}
        case "reserve_slot":
            return operation.verb, *_slot(operation)
        case "extend":
            return "extend", (uid,), {"ttl": _delta(operation.ttl), "version": version}
        case "move":
            return (
                "move",
                (uid, from_us(operation.start)),
                {
                    "length": _delta_or_none(operation.length),
                    "resource": operation.resource,
                    "ttl": _delta(operation.ttl) if operation.renew else None,
                    "version": version,
                },
            )
        case "move_slot":
            return operation.verb, *_move_to_slot(operation)
        case "move_request":
            wanted = request_of(proposals[0], renew=operation.renew)
            return "move", (uid, wanted), {"version": version}
        case "confirm":
            if_still_free = operation.if_still_free
            return "confirm", (uid,), {"if_still_free": if_still_free, "version": version}
        case "release" | "cancel":
            return operation.verb, (uid,), {"version": version}
        case "is_free":
            return "is_free", (request_of(proposals[0]),), {}
        case "reservations":
            assert operation.load_in is not None
            return "reservations", (operation.resource, *map(from_us, operation.load_in)), {}
        case "forget_bookings":
            return "forget_bookings", (from_us(operation.start),), {}
        case "get":
            return "get", (uid,), {}
        case _:
            raise _unknown(operation)


def _one_of(operation: Operation, *, renew: bool) -> OneOf:
    load_in = operation.load_in
    return OneOf(
        [request_of(one, renew=renew) for one in operation.proposals],
        operation.policy,
        operation.weights,
        None if load_in is None else (from_us(load_in[0]), from_us(load_in[1])),
        operation.key,
    )


def _unknown(operation: Operation) -> ValueError:
    return ValueError(f"{operation.verb!r} is no verb; there are {', '.join(sorted(MODEL))}")


def _simple(proposal: Proposal) -> tuple[tuple[object, ...], dict[str, object]]:
    (claim,) = proposal.claims
    assert (claim.start, claim.end) == (proposal.start, proposal.end)
    return (claim.resource, from_us(proposal.start), _delta(proposal.end - proposal.start)), {
        "units": claim.units,
        "holder": proposal.holder,
        "ttl": _delta(proposal.ttl),
        "key": proposal.key,
        "event_type": proposal.event_type,
        "quota": quota_of(proposal.quota),
        "past": proposal.demand is Demand.NOTHING,
    }


def _slot(operation: Operation) -> tuple[tuple[object, ...], dict[str, object]]:
    event_type, start, length, ttl, holder, key, seats, only, enforce, quota, _ = _ask(operation)
    return (event_type, from_us(start)), {
        "length": _delta_or_none(length),
        "seats": seats,
        "holder": holder,
        "ttl": _delta_or_none(ttl),
        "key": key,
        "only": only,
        "enforce": enforce,
        "quota": quota_of(quota),
    }


def _move_to_slot(operation: Operation) -> tuple[tuple[object, ...], dict[str, object]]:
    event_type, start, length, ttl, _, _, _, only, enforce, *_ = _ask(operation)
    return (operation.uid, from_us(start)), {
        "event_type": event_type or None,
        "length": _delta_or_none(length),
        "seats": operation.seats,
        "ttl": _delta_or_none(ttl) if operation.renew else None,
        "only": only,
        "enforce": enforce,
        "version": operation.version,
    }


def request_of(proposal: Proposal, *, renew: bool = True) -> Request:
    """Return a proposal as a `Request`; without its TTL unless ``renew``."""
    start, end = proposal.start, proposal.end
    return Request(
        from_us(start),
        _delta(end - start),
        tuple(
            values.Claim(name, units, _delta(start - first), _delta(last - end))
            for name, first, last, units in proposal.claims
        ),
        proposal.holder,
        _delta(proposal.ttl) if renew else None,
        proposal.key,
        proposal.event_type,
        proposal.seats,
        _schedule_of(proposal),
        quota_of(proposal.quota),
        past=proposal.demand is Demand.NOTHING,
    )


def _schedule_of(proposal: Proposal) -> Windows | None:
    """Return a schedule that leaves all claims of a proposal open, or closed; None if none does."""
    if proposal.closed is None:
        return None
    if not proposal.closed:
        return ALWAYS_OPEN
    assert set(proposal.closed) == {claim.resource for claim in proposal.claims}
    return FixedWindows([(proposal.end, proposal.end + 1)])


def quota_of(quota: Quota | None) -> values.Quota | None:
    """Return a quota of the core as one of the engine."""
    if quota is None:
        return None
    return values.Quota(
        holds=quota.holds,
        held=_delta_or_none(quota.held),
        waits=quota.waits,
        life=_delta_or_none(quota.life),
    )


def _delta(us: int) -> timedelta:
    return timedelta(0, 0, us)


def _delta_or_none(us: int | None) -> timedelta | None:
    return None if us is None else _delta(us)


# --- On the naive ledger --------------------------------------------------------------------


def in_model(naive: NaiveLedger, operation: Operation, uids: Sequence[str], now: int) -> Answer:
    """Make a call on the naive ledger, and return the answer.

    New reservations get these ``uids``: one for each proposal, and a single one for
    `reserve_any`.  Use those of the engine's answer (`uids_for`).
    """
    assert operation.wait is None, "call NaiveWaitlist.ask in place of this"
    if operation.verb not in MODEL:
        raise _unknown(operation)
    return without_limits(outcome(lambda: MODEL[operation.verb](naive, operation, uids, now)))


def without_limits(answer: Answer) -> Answer:
    """Return an answer without the claims on limits, which callers do not see."""
    if isinstance(answer, list):
        return [without_limits(one) for one in answer]
    if isinstance(answer, ObservedReservation):
        claims = tuple(claim for claim in answer.claims if not is_limit(claim.resource))
        return replace(answer, claims=claims)
    return answer


def wanted(naive: NaiveLedger, operation: Operation) -> tuple[Proposal, Check, int]:
    """Return what a single ``reserve...`` requests; see `naive_booking_rules.prepared`."""
    if operation.slot_request is not None:
        return naive_booking_rules.prepared(naive, operation.slot_request)
    return operation.proposals[0], None, LAST_US


def _moved(naive: NaiveLedger, operation: Operation, _: Sequence[str], now: int) -> Answer:
    naive.at(now)
    one = naive.known.get(operation.uid)
    if one is None:
        raise UnknownReservation(operation.uid)
    if one.event_type in naive.event_types:
        ttl = operation.ttl if operation.renew else naive.terms.default_ttl
        ask = SlotRequest("", operation.start, operation.length, ttl)
        if operation.resource is not None:
            ask = ask._replace(only=naive_booking_rules.with_host(naive, one, operation.resource))
        return naive_booking_rules.move_slot(
            naive, one.uid, ask, now, renew=operation.renew, version=operation.version
        )
    by = operation.start - one.start
    length = one.end - one.start if operation.length is None else operation.length
    end = operation.start + length
    proposal = Proposal(
        operation.start,
        end,
        tuple(
            Claim(
                operation.resource or claim.resource,
                claim.start + by,
                claim.end - one.end + end,
                claim.units,
            )
            for claim in one.claims
        ),
        operation.ttl if operation.renew else naive.terms.default_ttl,
        event_type=one.event_type,
        seats=one.seats,
        demand=Demand.HOURS,
    )
    return _move_to(naive, operation, proposal, now)


def _move_to(naive: NaiveLedger, operation: Operation, proposal: Proposal, now: int) -> Answer:
    proposal = proposal._replace(holder=None, key=None, quota=None)
    return naive.move_to(
        operation.uid, proposal, now, renew=operation.renew, version=operation.version
    )


def _moved_to_any(naive: NaiveLedger, operation: Operation, _: Sequence[str], now: int) -> Answer:
    candidates = [one._replace(holder=None, key=None, quota=None) for one in operation.proposals]
    return naive.move(
        operation.uid,
        candidates,
        now,
        renew=operation.renew,
        policy=operation.policy,
        weights=operation.weights,
        load_in=operation.load_in,
        version=operation.version,
    )


def _reservations(naive: NaiveLedger, operation: Operation, _: Sequence[str], now: int) -> Answer:
    assert operation.resource is not None
    assert operation.load_in is not None
    found = naive.reservations_in(operation.resource, *operation.load_in, now)
    return sorted((naive.known[uid] for uid in found), key=attrgetter("start", "uid"))


def _ask(operation: Operation) -> SlotRequest:
    assert operation.slot_request is not None
    return operation.slot_request


MODEL: dict[str, Callable[[NaiveLedger, Operation, Sequence[str], int], Answer]] = {
    "reserve": lambda naive, op, uids, now: naive.reserve(op.proposals[0], uids[0], now),
    "reserve_request": lambda naive, op, uids, now: naive.reserve(op.proposals[0], uids[0], now),
    "reserve_all": lambda naive, op, uids, now: naive.reserve_all(op.proposals, uids, now),
    "reserve_each": lambda naive, op, uids, now: naive.reserve_each(op.proposals, uids, now),
    "reserve_slot": lambda naive, op, uids, now: naive_booking_rules.reserve_slot(
        naive, _ask(op), uids[0], now
    ),
    "reserve_any": lambda naive, op, uids, now: naive.reserve_any(
        op.proposals, uids[0], now, op.policy, op.weights, op.load_in, op.key
    ),
    "extend": lambda naive, op, _, now: naive.extend(op.uid, op.ttl, now, op.version),
    "move": _moved,
    "move_slot": lambda naive, op, _, now: naive_booking_rules.move_slot(
        naive, op.uid, _ask(op), now, renew=op.renew, version=op.version, seats=op.seats
    ),
    "move_request": lambda naive, op, _, now: _move_to(naive, op, op.proposals[0], now),
    "confirm": lambda naive, op, _, now: naive.confirm(
        op.uid,
        now,
        op.if_still_free,
        version=op.version,
        check=partial(naive_booking_rules.check_again, naive),
    ),
    "release": lambda naive, op, _, now: naive.end(op.uid, Verb.RELEASE, now, op.version),
    "cancel": lambda naive, op, _, now: naive.end(op.uid, Verb.CANCEL, now, op.version),
    "get": lambda naive, op, _, now: naive.get(op.uid, now),
    "move_any": _moved_to_any,
    "is_free": lambda naive, op, _, now: naive.is_free(op.proposals[0], now),
    "reservations": _reservations,
    "forget_bookings": lambda naive, op, _, now: naive.forget_bookings(op.start, now),
}
"""Each verb on the naive ledger."""


def uids_in(answer: Answer) -> list[str]:
    """Return the uids of the reservations in an answer, in order."""
    several = answer if isinstance(answer, list) else [answer]
    return [one.uid for one in several if isinstance(one, ObservedReservation)]


def uids_for(operation: Operation, answer: Answer) -> list[str]:
    """Return the uids that the naive ledger must use, going by an engine's answer."""
    if isinstance(answer, ObservedReservation):
        return [answer.uid]
    uids = [f"new-{i}" for i in range(max(1, len(operation.proposals)))]
    if isinstance(answer, list):
        uids = [
            one.uid if isinstance(one, ObservedReservation) else uid
            for one, uid in zip(answer, uids, strict=False)
        ]
    return uids
