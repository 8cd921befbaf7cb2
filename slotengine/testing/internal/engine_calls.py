"""What callers do, done on an engine: by the verb that says it, and with what that answers.

So a test can do the same on an engine, in tasks or in threads, and on a naive ledger
(`naive_calls`), and compare the answers: an `ObservedReservation`, a list of them, or an
error with its details.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from slotengine.core.ledger.commands import (
    ALL,
    EACH,
    ONE,
    Adopt,
    Annotate,
    Cancel,
    Choice,
    Confirm,
    Extend,
    ImportBusy,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Configure, Setting
from slotengine.core.ledger.expiry import NEVER, PENDING
from slotengine.core.ledger.extra import KEEP, Extra, Keep
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, State
from slotengine.core.time.instant import from_us, to_us
from slotengine.core.time.schedule import ALWAYS_OPEN, FixedWindows
from slotengine.engine import values
from slotengine.engine.listing import ReservationPage, ReservationQuery
from slotengine.engine.requests import AllOf, EachOf, OneOf
from slotengine.engine.values import Ask, Request, Reservation
from slotengine.testing.internal.actions import (
    Action,
    Answer,
    ForgetBookings,
    Get,
    IsFree,
    ListLive,
    MoveSlot,
    MoveTo,
    ReserveSlot,
    is_series,
)
from slotengine.testing.internal.observed import COMPARABLE, ObservedReservation, describe, outcome

if TYPE_CHECKING:
    from slotengine.core.time.schedule import Windows
    from slotengine.engine.blocking import BlockingEngine
    from slotengine.engine.engine import SlotEngine
    from slotengine.engine.local import LocalEngine


class EngineCall(NamedTuple):
    """A verb of an engine, and its arguments."""

    verb: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def on(self, engine: object) -> Any:
        """Return what the verb of an engine returns."""
        # What was left out is not said.
        options = {name: value for name, value in self.options.items() if value is not None}
        return getattr(engine, self.verb)(*self.arguments, **options)


async def in_engine(engine: SlotEngine, action: Action) -> Answer:
    """Do it with the async verb of an engine, and return the answer."""
    try:
        result = await call_of(action).on(engine)
    except COMPARABLE as error:
        return describe(error)
    return _answered(action, result)


def in_local_engine(engine: LocalEngine | BlockingEngine, action: Action) -> Answer:
    """Do it with a plain call, and return the answer."""
    return outcome(lambda: _answered(action, call_of(action).on(engine)))


def _answered(action: Action, result: object) -> Answer:
    answer = _plain(result)
    if not isinstance(action, ListLive):
        return answer
    # The order of reservations with the same start is not defined.
    return [
        one
        for _, same in groupby(answer, attrgetter("start"))
        for one in sorted(same, key=attrgetter("uid"))
    ]


def _plain(result: object) -> Answer:
    if isinstance(result, Setting):
        return result
    if isinstance(result, ReservationPage):
        result = result.reservations
    if isinstance(result, list | tuple):
        return [_plain(one) for one in result]
    if isinstance(result, Exception):
        return describe(result)
    return observed(result) if isinstance(result, Reservation) else result


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
        NEVER if until is None else to_us(until, "until"),
        to_us(reservation.created, "created"),
        reservation.holder,
        reservation.event_type,
        reservation.seats,
        reservation.serial,
        _extra_of(reservation),
    )


def _extra_of(one: Reservation) -> Extra | None:
    metadata = tuple(sorted(one.metadata.items()))
    return Extra(
        metadata, one.details, one.tags, one.series, one.replaces, one.replaced_by
    ).or_none()


# --- Calls -------------------------------------------------------------------------------


def call_of(action: Action) -> EngineCall:
    """Return the call that does it, with its command id if it has one."""
    call, client = _call_of(action), getattr(action, "client", None)
    return call._replace(options={**call.options, "command_id": client})


def _call_of(action: Action) -> EngineCall:
    match action:
        case Reserve():
            return _reserve(action)
        case Move():
            return _move(action)
        case Adopt():
            return EngineCall("adopt", (request_of(action.request),), {})
        case Extend(uid, ttl, version):
            return EngineCall("extend", (uid,), {"ttl": _ttl(ttl), "version": version})
        case Confirm():
            names = ("if_still_free", "version", "enforce", "jump")
            options = {name: getattr(action, name) for name in names}
            return EngineCall("confirm", (action.uid,), options)
        case Release(uid, version):
            return EngineCall("release", (uid,), {"version": version})
        case Cancel(uid, version):
            return EngineCall("cancel", (uid,), {"version": version})
        case Annotate():
            return _annotate(action)
        case Replace():
            options = {"version": action.version, "jump": action.jump or None}
            return EngineCall("replace", (action.uid, request_of(action.request)), options)
        case Configure():
            return EngineCall("configure", (action.entries,), {"force": action.force})
        case ImportBusy(source, spans):
            busy = {name: [(from_us(a), from_us(b)) for a, b in theirs] for name, theirs in spans}
            return EngineCall("replace_busy", (source, busy), {})
    return _call_of_others(action)


def _call_of_others(action: Action) -> EngineCall:
    """Return the call for what is no command."""
    match action:
        case ReserveSlot():
            return _reserve_slot(action)
        case MoveSlot():
            return _move_slot(action)
        case MoveTo():
            return _move_to(action)
        case ForgetBookings(before):
            return EngineCall("forget_bookings", (from_us(before),), {})
        case IsFree(request):
            return EngineCall("is_free", (request_of(request),), {})
        case ListLive(resource, start, end):
            live = [State.HELD, State.CONFIRMED]
            query = ReservationQuery(
                resource=resource, states=live, start=from_us(start), end=from_us(end), limit=1000
            )
            return EngineCall("find", (query,), {})
        case Get(uid):
            return EngineCall("get", (uid,), {})
    raise ValueError(f"an engine has no verb for {action!r:.99}")


def _reserve(action: Reserve) -> EngineCall:
    options = {"wait": _delta_or_none(action.wait), "jump": action.jump or None}
    if action.mode is ONE:
        (request,) = action.requests
        if _is_plain(request):
            arguments, more = _plain_reserve(request)
            return EngineCall("reserve", arguments, {**options, **more})
        return EngineCall("reserve", (request_of(request),), options)
    asked = [request_of(one) for one in action.requests]
    what: Ask[Any]
    if action.mode is ALL:
        what = AllOf(asked, series=is_series(action))
    elif action.mode is EACH:
        what = EachOf(asked)
    else:
        what = _one_of(asked, action.choice, action.key)
    return EngineCall("reserve", (what,), options)


def _is_plain(request: Proposal) -> bool:
    """Return whether a request can be said without a `Request`."""
    slot = request.start, request.end
    alone = len(request.claims) == 1 and request.claims[0][1:3] == slot
    return alone and request.seats is None and request.closed is None and not request.requested


def _plain_reserve(request: Proposal) -> tuple[tuple[object, ...], dict[str, object]]:
    (claim,) = request.claims
    length = _delta(request.end - request.start)
    return (claim.resource, from_us(request.start), length), {
        "units": claim.units,
        "holder": request.holder,
        "ttl": _ttl(request.ttl),
        "key": request.key,
        "event_type": request.event_type,
        "quota": quota_of(request.quota),
        "past": request.demand is Demand.NOTHING,
        **_noted(request.extra),
    }


def _noted(extra: Extra | None) -> dict[str, object]:
    """Return what is noted of a reservation, as options."""
    if extra is None:
        return {}
    return {"metadata": dict(extra.metadata), "details": extra.details, "tags": extra.tags}


def _move(action: Move) -> EngineCall:
    candidates = [request_of(one, renew=action.renew) for one in action.candidates]
    to = candidates[0] if action.choice is None else _one_of(candidates, action.choice)
    options = {"version": action.version, "jump": action.jump or None}
    return EngineCall("move", (action.uid, to), options)


def _one_of(candidates: list[Request], choice: Choice, key: str | None = None) -> OneOf:
    policy, weights, load_in = choice
    span = None if load_in is None else (from_us(load_in[0]), from_us(load_in[1]))
    return OneOf(candidates, policy, weights, span, key)


def _move_to(action: MoveTo) -> EngineCall:
    return EngineCall(
        "move",
        (action.uid, from_us(action.start)),
        {
            "length": _delta_or_none(action.length),
            "resource": action.resource,
            "ttl": _ttl_or_none(action.ttl),
            "version": action.version,
            "jump": action.jump or None,
        },
    )


def _reserve_slot(action: ReserveSlot) -> EngineCall:
    event_type, start, length, ttl, holder, key, seats, only, enforce, quota, *_ = action.request
    return EngineCall(
        "reserve_slot",
        (event_type, from_us(start)),
        {
            "length": _delta_or_none(length),
            "seats": seats,
            "holder": holder,
            "ttl": _ttl_or_none(ttl),
            "key": key,
            "only": only,
            "enforce": enforce,
            "quota": quota_of(quota),
            **_noted(action.request.extra),
            "requested": action.request.requested or None,
            "wait": _delta_or_none(action.wait),
            "jump": action.jump or None,
        },
    )


def _move_slot(action: MoveSlot) -> EngineCall:
    event_type, start, length, ttl, _, _, _, only, enforce, *_ = action.request
    return EngineCall(
        "move_slot",
        (action.uid, from_us(start)),
        {
            "event_type": event_type or None,
            "length": _delta_or_none(length),
            "seats": action.seats,
            "ttl": _ttl_or_none(ttl) if action.renew else None,
            "only": only,
            "enforce": enforce,
            "version": action.version,
            "jump": action.jump or None,
        },
    )


def _annotate(action: Annotate) -> EngineCall:
    metadata = action.metadata
    return EngineCall(
        "annotate",
        (action.uid,),
        {
            "metadata": metadata if isinstance(metadata, Keep) else dict(metadata),
            "tags": action.tags,
            "version": action.version,
            # None is what the details become.
            **({} if action.details is KEEP else {"details": action.details}),
        },
    )


# --- Values ------------------------------------------------------------------------------


def request_of(proposal: Proposal, *, renew: bool = True) -> Request:
    """Return a proposal as a `Request`; without its TTL unless ``renew``."""
    start, end = proposal.start, proposal.end
    extra = proposal.extra or Extra()
    return Request(
        from_us(start),
        _delta(end - start),
        tuple(
            values.Claim(name, units, _delta(start - first), _delta(last - end))
            for name, first, last, units in proposal.claims
        ),
        proposal.holder,
        _ttl(proposal.ttl) if renew else None,
        proposal.key,
        proposal.event_type,
        proposal.seats,
        _schedule_of(proposal),
        quota_of(proposal.quota),
        past=proposal.demand is Demand.NOTHING,
        metadata=dict(extra.metadata),
        details=extra.details,
        tags=extra.tags,
        requested=proposal.requested,
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


def _ttl(us: int) -> timedelta:
    return values.PENDING if us == PENDING else _delta(us)


def _ttl_or_none(us: int | None) -> timedelta | None:
    return None if us is None else _ttl(us)
