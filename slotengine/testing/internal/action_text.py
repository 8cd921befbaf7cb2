"""What callers do, in words: for transcripts of histories, and for failures.

>>> from slotengine.core.ledger.reservation import Claim
>>> request = Proposal(130, 160, (Claim("room-1", 130, 160),), ttl=50)
>>> text(Reserve((request,), ()), Scale(origin=100, tick=10))
'reserve room-1 3..6 for 5'
>>> text(Confirm("a", if_still_free=True, version=2))
'confirm a if still free at version 2'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from slotengine.core.ledger.commands import (
    ONE,
    Adopt,
    Annotate,
    Choice,
    Confirm,
    Extend,
    Forget,
    ImportBusy,
    Move,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
    Configure,
    Put,
    Remove,
    ResourceConfig,
    Setting,
    SettingChange,
)
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.ledger.extra import KEEP, Extra
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import BOOKED_UNTIL
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.event_type import EventType, Host
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
from slotengine.testing.internal.observed import ObservedReservation


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
        if duration == PENDING:
            return "ever"
        ticks, more = divmod(duration, self.tick)
        if more > self.tick // 2:
            ticks, more = ticks + 1, more - self.tick
        return f"{ticks}{more:+}us" if more else f"{ticks}"

    def span(self, start: int, end: int) -> str:
        """Return how a span is written."""
        return f"{self.at(start)}..{self.at(end)}"


PLAIN: Final = Scale()


def text(action: Action, scale: Scale = PLAIN) -> str:
    """Return an action in words, with times as the scale writes them."""
    return " ".join(word for word in (*_words(action, scale), *_options(action, scale)) if word)


def answer_text(answer: Answer, scale: Scale = PLAIN) -> str:
    """Return an answer in a few words.

    >>> from slotengine.errors import UnknownReservation
    >>> answer_text([None, (UnknownReservation, ("a",))])
    'None; UnknownReservation'
    """
    match answer:
        case ObservedReservation():
            until = "" if answer.until == BOOKED_UNTIL else f" until {scale.at(answer.until)}"
            where = "+".join(claim.resource for claim in answer.claims)
            return (
                f"{answer.uid} v{answer.version} {answer.state.value}{until}: "
                f"{where} {scale.span(answer.start, answer.end)}"
            )
        case Setting():
            return f"{answer.kind} {answer.id} v{answer.version}"
        case list():
            return "; ".join(answer_text(one, scale) for one in answer)
        case (type() as kind, *_):
            return kind.__name__
        case _:
            return str(answer)


def _words(action: Action, scale: Scale) -> Iterator[str]:
    """Yield what is done; a word may be empty."""
    match action:
        case Reserve():
            yield from _reserve(action, scale)
        case Adopt():
            yield f"adopt {_request(action.request, scale)}"
        case ReserveSlot():
            yield "reserve"
            yield from _slot(action.request, scale)
        case Move():
            yield from _move(action, scale)
        case MoveTo():
            yield from _move_to(action, scale)
        case MoveSlot():
            yield from ("move", action.uid, "by the rules" + (" of" if action.request[0] else ""))
            yield from _slot(action.request, scale)
            yield "" if action.seats is None else f"with {action.seats} seats"
            yield "renewed" if action.renew else ""
        case Extend():
            yield from ("extend", action.uid, f"for {scale.lasts(action.ttl)}")
        case Confirm():
            yield from ("confirm", action.uid, "if still free" if action.if_still_free else "")
            yield "" if action.enforce else "against the rules"
        case Annotate():
            yield from _annotate(action)
        case Replace():
            yield from ("replace", action.uid, "by", _request(action.request, scale))
        case Configure():
            yield f"configure {', '.join(map(_entry, action.entries))}"
            yield "by force" if action.force else ""
        case _:
            yield from _short(action, scale)


def _short(action: Action, scale: Scale) -> Iterator[str]:
    match action:
        case ForgetBookings() | Forget():
            yield f"forget bookings before {scale.at(action.before)}"
            yield ", ".join(getattr(action, "uids", ()))
        case ImportBusy(source, spans):
            said = [f"{name} {scale.span(*span)}" for name, theirs in spans for span in theirs]
            yield f"{source} says busy: {', '.join(said) or 'nothing'}"
        case IsFree():
            yield f"is {_request(action.request, scale)} free?"
        case ListLive():
            yield f"list {action.resource} {scale.span(action.start, action.end)}"
        case Get():
            yield from ("get", action.uid)
        case _:
            yield from (type(action).__name__.lower(), getattr(action, "uid", ""))


def _options(action: Action, scale: Scale) -> Iterator[str]:
    """Yield what may be said with many actions."""
    wait = getattr(action, "wait", None)
    version = getattr(action, "version", None)
    yield "" if wait is None else f"and wait for {scale.lasts(wait)}"
    yield "" if version is None else f"at version {version}"
    yield "jumping the waitlist" if getattr(action, "jump", False) else ""
    client = getattr(action, "client", None)
    yield "" if client is None else f"as command {client.number}"


# --- Commands ----------------------------------------------------------------------------


def _reserve(action: Reserve, scale: Scale) -> Iterator[str]:
    yield "reserve" if action.mode is ONE else f"reserve {action.mode.value} of"
    yield " | ".join(_request(one, scale) for one in action.requests)
    yield "as a series" if is_series(action) else ""
    yield from _choice(action.choice, scale)
    yield action.key or ""


def _move(action: Move, scale: Scale) -> Iterator[str]:
    yield from ("move", action.uid, "to" if action.choice is None else "to any of")
    yield " | ".join(_request(one, scale) for one in action.candidates)
    if action.choice is not None:
        yield from _choice(action.choice, scale)
    yield "renewed" if action.renew else ""


def _move_to(action: MoveTo, scale: Scale) -> Iterator[str]:
    yield from ("move", action.uid, f"to {scale.at(action.start)}")
    yield "" if action.resource is None else f"on {action.resource}"
    yield "" if action.length is None else f"of {scale.lasts(action.length)}"
    yield "" if action.ttl is None else f"for {scale.lasts(action.ttl)}"


def _annotate(action: Annotate) -> Iterator[str]:
    yield from ("annotate", action.uid)
    if action.metadata is not KEEP:
        yield f"metadata {dict(action.metadata)}"
    if action.details is not KEEP:
        yield f"details {action.details!r:.20}"
    if action.tags is not KEEP:
        yield f"tags {list(action.tags)}"


def _choice(choice: Choice, scale: Scale) -> Iterator[str]:
    yield "" if choice.policy is Policy.FIRST else choice.policy.value
    yield "" if choice.weights is None else f"by {':'.join(map(str, choice.weights))}"
    yield "" if choice.load_in is None else f"in {scale.span(*choice.load_in)}"


def _entry(entry: SettingChange) -> str:
    if isinstance(entry, Put):
        done = f"= {_value(entry.value)}"
    elif isinstance(entry, Remove):
        done = "removed"
    else:
        done = "retired" if entry.retired else "taken back"
    words = f"{entry.kind} {entry.id} {done}"
    return words if entry.version is None else f"{words} at version {entry.version}"


def _value(value: object) -> str:
    if isinstance(value, EventType):
        return _event_type(value)
    if not isinstance(value, ResourceConfig):
        return repr(value)
    words = [f"{value.capacity} units"]
    words += ["with hours"] if value.schedule is not None else []
    return " ".join((*words, "retired") if value.retired else words)


def _event_type(event_type: EventType) -> str:
    hosts = [" or ".join(map(_host, group)) for group in event_type.groups]
    words = [", and ".join((*map(_host, event_type.fixed), *hosts))]
    words += [f"at most {limit.units} a {limit.per.value}" for limit in event_type.limits]
    return ", ".join(words)


def _host(host: Host) -> str:
    weight = "" if host.weight == 1 else f" weighing {host.weight}"
    return host.resource + weight + ("" if host.credit is None else f" credited {host.credit}")


# --- Requests ----------------------------------------------------------------------------


def _request(request: Proposal, scale: Scale) -> str:
    words = []
    slot = request.start, request.end
    for name, start, end, units in request.claims:
        span = "" if (start, end) == slot else f"[{scale.span(start, end)}]"
        words.append(f"{name}{span}" + (f"*{units}" if units > 1 else ""))
    said = [f"{'+'.join(words)} {scale.span(*slot)} for {scale.lasts(request.ttl)}"]
    if request.seats is not None:
        said.append(f"as {request.seats.wanted} of {request.seats.total} of {request.event_type}")
    said.append("on request" if request.requested else "")
    said += [_extra(request.extra), request.key or "", _quota(request.quota, scale)]
    return " ".join(word for word in said if word)


def _slot(request: SlotRequest, scale: Scale) -> Iterator[str]:
    yield request.event_type
    yield f"at {scale.at(request.start)}"
    yield "" if request.length is None else f"of {scale.lasts(request.length)}"
    yield f"for {request.seats} persons" if request.seats > 1 else ""
    yield "" if request.only is None else f"with {' or '.join(sorted(request.only))}"
    yield "" if request.enforce else "against the rules"
    yield "" if request.ttl is None else f"for {scale.lasts(request.ttl)}"
    yield "on request" if request.requested else ""
    yield request.key or ""
    yield _quota(request.quota, scale)


def _extra(extra: Extra | None) -> str:
    return "" if extra is None or not extra.tags else f"({', '.join(extra.tags)})"


def _quota(quota: Quota | None, scale: Scale) -> str:
    if quota is None:
        return ""
    counts = (quota.holds, "holds"), (quota.waits, "waits")
    words = [f"{count} {name}" for count, name in counts if count is not None]
    durations = ("held", quota.held), ("life", quota.life)
    words += [f"{scale.lasts(us)} {name}" for name, us in durations if us is not None]
    return f"(quota: {', '.join(words) or 'none'})"
