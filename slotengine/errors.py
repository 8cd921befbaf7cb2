"""Every exception that slotengine raises, in one small tree.

``SlotError``
    ``Refused``         the current state does not allow it; the same request may succeed later
    ``InvalidRequest``  the request itself is wrong; it can never succeed as it is
    ``EngineClosed``    the engine is not running
    ``EngineMisused``   the engine runs, but cannot be called from this thread, loop or process

Every error has its details as attributes and as ``args``, so it can be pickled.
An error describes the reservations of other callers by spans and states only.
It never contains their uids or holders.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple


class SlotError(Exception):
    """Base class of all exceptions that slotengine raises.

    ``index`` is the position, from 0, of the request that failed in a batch such as
    `AllOf`.  It is None if there was only one request.

    >>> issubclass(SlotTaken, Refused) and issubclass(Refused, SlotError)
    True
    """

    index: int | None = None

    def of_request(self, index: int) -> None:
        """Set ``index``, if it is not set yet, and add a note that shows up in tracebacks."""
        if self.index is None:
            self.index = index
            self.add_note(f"in the request at index {index} of the batch")


class Refused(SlotError):
    """The request is valid, but the current state does not allow it."""

    def find_details(self) -> None:
        """Compute details that are otherwise computed on first access, as of now."""


class InvalidRequest(SlotError, ValueError):
    """The request is wrong in itself: repeating it unchanged can never succeed."""


class EngineClosed(SlotError):
    """The engine is not running: it has not been started, was closed, or has crashed.

    ``problem`` says which.  After a crash, ``__cause__`` is the exception that caused it.
    """

    def __init__(
        self,
        problem: str = "start it with 'async with SlotEngine() as engine:' or "
        "'await engine.start()', and do not call it once it is closed",
    ) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the engine is not running: {self.problem}"


class EngineMisused(SlotError, RuntimeError):
    """The engine cannot be called from this thread, event loop or process.

    The call changed nothing, and the engine keeps running where it was started.
    ``problem`` says what is wrong and what to do instead.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


# --- Refused: the slot cannot be reserved ----------------------------------------------


class InTheWay(NamedTuple):
    """A span that conflicts with a request, and how many units it takes."""

    start: datetime
    end: datetime
    units: int
    booked: bool
    """True for a booking or imported busy time, False for a hold, which may still lapse."""


class Obstruction(NamedTuple):
    """Why a span was refused.  It reveals nothing about who made the other reservations."""

    start: datetime
    end: datetime
    in_the_way: tuple[InTheWay, ...]
    retry_at: datetime | None
    """The earliest moment at which a retry could succeed, if only holds conflict; else None."""


def _stored_args(error: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = BaseException.args.__get__(error)  # type: ignore[attr-defined]
    return args


class SlotTaken(Refused):
    """Holds or bookings take the span on a resource.

    The details (``in_the_way``, ``retry_at``) are computed on first access, because
    most refusals of a popular slot are never inspected.  They reflect the state at that
    moment, not at the refusal.  To learn what refused this request, read them before the
    next ``await``.

    The arguments are the resource and either the details or a function that computes
    them, followed by its arguments.  If the function has an attribute ``only_holds``,
    that is called to answer `only_holds` alone.
    """

    # BaseException.__new__ has already stored the args.  An __init__ that stored them
    # again made a refusal cost 2.8 µs instead of 2.1 in the booking storm.
    if TYPE_CHECKING:

        def __init__(
            self,
            resource: str,
            obstruction: Obstruction | Callable[..., Obstruction],
            *about: object,
        ) -> None: ...

    @property
    def args(self) -> tuple[str, Obstruction]:  # type: ignore[override]
        """The resource and the details."""
        return self.resource, self.obstruction

    @property
    def resource(self) -> str:
        """The resource on which the span is taken."""
        resource: str = _stored_args(self)[0]
        return resource

    @property
    def obstruction(self) -> Obstruction:
        """All details, computed on first access and then kept."""
        resource, found, *about = _stored_args(self)
        obstruction: Obstruction = found if isinstance(found, Obstruction) else found(*about)
        BaseException.args.__set__(self, (resource, obstruction))  # type: ignore[attr-defined]
        return obstruction

    def find_details(self) -> None:
        """Compute the obstruction, as of now."""
        _ = self.obstruction

    @property
    def start(self) -> datetime:
        """The start of the occupied span that was refused, buffers included."""
        return self.obstruction.start

    @property
    def end(self) -> datetime:
        """The end of the occupied span that was refused, buffers included."""
        return self.obstruction.end

    @property
    def in_the_way(self) -> tuple[InTheWay, ...]:
        """The spans that conflict on ``resource``, in order of start."""
        return self.obstruction.in_the_way

    @property
    def retry_at(self) -> datetime | None:
        """The earliest moment at which a retry could succeed, if only holds are in the way.

        None if a booking is in the way: then waiting does not help, and another slot
        is the better offer.  This is not a promise: another caller may be faster, and
        a hold may be extended.
        """
        return self.obstruction.retry_at

    @property
    def only_holds(self) -> bool:
        """Whether ``retry_at`` is not None.  This is cheaper than computing ``retry_at``."""
        _, found, *about = _stored_args(self)
        tell: Callable[..., bool] | None = getattr(found, "only_holds", None)
        return self.retry_at is not None if tell is None else tell(*about)

    def __reduce__(self) -> tuple[type[SlotTaken], tuple[str, Obstruction], dict[str, Any]]:
        return type(self), (self.resource, self.obstruction), self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.resource!r}, {self.obstruction!r})"

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        taken = f"{self.resource} is taken between {span}"
        if self.retry_at is None:
            return taken
        # The hold may have ended between the refusal and this read.
        held = "held" if self.in_the_way else "no longer held"
        return f"{taken}; {held}, try again at {self.retry_at.isoformat()}"


class NoSeatsLeft(SlotTaken):
    """The shared session of this event type and start has too few seats left.

    ``start`` and ``end`` are those of the session.  ``in_the_way`` has the session,
    with the number of seats that are taken.
    """

    def __str__(self) -> str:
        return f"{self.resource} has too few seats left at {self.start.isoformat()}"


class LimitReached(SlotTaken):
    """The event type's limit for this period, such as three bookings a day, is used up.

    ``resource`` is the id of the limit; ``start`` and ``end`` are those of the period.
    """

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        again = "" if self.retry_at is None else f"; try again at {self.retry_at.isoformat()}"
        return f"{self.resource} is used up from {span}{again}"


class SlotAwaited(SlotTaken):
    """Other callers are ahead on the waitlist for this span, or for one that overlaps it.

    ``retry_at`` is when the last of them gives up, if nothing else is in the way.
    """

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return (
            f"other callers are waiting for {self.resource} between {span}; wait as well (wait=...)"
        )


class TooManyWaiting(Refused):
    """The waitlist is full.  Try again later, or reserve another slot."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the waitlist has reached its maximum of {self.limit}; try again later"


class OutsideHours(Refused):
    """The resource is not open for the whole slot."""

    def __init__(self, resource: str, start: datetime, end: datetime) -> None:
        super().__init__(resource, start, end)
        self.resource = resource
        self.start = start
        self.end = end

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return f"{self.resource} is not open for the whole of {span}"


class TooSoon(Refused):
    """The event type requires more notice; ``earliest`` is the first start that is allowed now."""

    def __init__(self, event_type: str, earliest: datetime) -> None:
        super().__init__(event_type, earliest)
        self.event_type = event_type
        self.earliest = earliest

    def __str__(self) -> str:
        earliest = self.earliest.isoformat()
        return f"{self.event_type} needs more notice: the earliest start is {earliest}"


class AlreadyOver(Refused):
    """The slot has already ended.  Pass ``past=True`` to reserve it anyway."""

    def __init__(self, end: datetime) -> None:
        super().__init__(end)
        self.end = end

    def __str__(self) -> str:
        return f"the slot ended at {self.end.isoformat()}; pass past=True to reserve it anyway"


class NotBookable(Refused):
    """The start is outside the booking window, ``[first, end)``, of the event type."""

    def __init__(self, event_type: str, first: datetime, end: datetime) -> None:
        super().__init__(event_type, first, end)
        self.event_type = event_type
        self.first = first
        self.end = end

    def __str__(self) -> str:
        first, end = self.first.isoformat(), self.end.isoformat()
        return f"{self.event_type} must start at or after {first} and before {end}"


class NoneFree(Refused):
    """Every candidate was refused; ``refusals`` has the reasons, in the candidates' order.

    The arguments are the refusals, or a function that builds them on first access,
    followed by its arguments.  That makes refusing a pool of hundreds as cheap as
    refusing a pool of two.  The reasons are those of the decision, whenever they are read.
    """

    def __init__(
        self, refusals: tuple[Refused, ...] | Callable[..., tuple[Refused, ...]], *about: object
    ) -> None:
        super().__init__(refusals, *about)

    @property
    def args(self) -> tuple[tuple[Refused, ...]]:  # type: ignore[override]
        """The reason why each candidate was refused."""
        return (self.refusals,)

    @property
    def refusals(self) -> tuple[Refused, ...]:
        """The reason why each candidate was refused, built on first access and then kept."""
        made, *about = _stored_args(self)
        refusals: tuple[Refused, ...] = made(*about) if callable(made) else made
        BaseException.args.__set__(self, (refusals,))  # type: ignore[attr-defined]
        return refusals

    def __reduce__(self) -> tuple[type[NoneFree], tuple[tuple[Refused, ...]], dict[str, Any]]:
        return type(self), (self.refusals,), self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.refusals!r})"

    def find_details(self) -> None:
        """Compute the details of each refusal, as of now."""
        for refusal in self.refusals:
            refusal.find_details()

    @property
    def retry_at(self) -> datetime | None:
        """The earliest moment at which one of the candidates could be free; None if none could."""
        moments = [r.retry_at for r in self.refusals if isinstance(r, SlotTaken)]
        return min((moment for moment in moments if moment is not None), default=None)

    def __str__(self) -> str:
        return f"none of the {len(self.refusals)} candidates is free"


class QuotaExceeded(Refused):
    """The holder already has as much as the quota allows.

    ``quota`` is ``"holds"``, ``"time"`` (the total length of the slots held),
    ``"lapses"`` (holds in a row that lapsed) or ``"waits"`` (places on the waitlist).
    ``limit`` is how much is allowed, ``used`` how much is used.  ``retry_at`` is the earliest
    moment at which a retry could succeed; None if that depends on more than time.
    """

    def __init__(
        self,
        quota: str,
        limit: int | timedelta,
        used: int | timedelta,
        retry_at: datetime | None,
    ) -> None:
        super().__init__(quota, limit, used, retry_at)
        self.quota = quota
        self.limit = limit
        self.used = used
        self.retry_at = retry_at

    def __str__(self) -> str:
        again = "" if self.retry_at is None else f"; try again at {self.retry_at.isoformat()}"
        return f"the holder has used {self.used} of a quota of {self.limit} ({self.quota}){again}"


# --- Refused: the reservation has changed, or does not exist ---------------------------


class UnknownReservation(Refused, LookupError):
    """No reservation has this uid.  It never existed, or it ended long ago and was forgotten."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid)
        self.uid = uid

    def __str__(self) -> str:
        return f"no reservation has the uid {self.uid!r}; it never existed, or ended long ago"


class WrongState(Refused):
    """The verb is not allowed in the reservation's state, for example releasing a booking."""

    def __init__(self, uid: str, state: str, verb: str) -> None:
        super().__init__(uid, state, verb)
        self.uid = uid
        self.state = state
        self.verb = verb

    def __str__(self) -> str:
        return f"cannot {self.verb} reservation {self.uid}: it is {self.state}"


class HoldExpired(WrongState):
    """The hold lapsed before this call.  Reserve again, or confirm with ``if_still_free=True``."""


class StaleVersion(Refused):
    """The reservation has changed since the caller read it.  Read it again, then decide."""

    def __init__(self, uid: str, expected: int, actual: int) -> None:
        super().__init__(uid, expected, actual)
        self.uid = uid
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"reservation {self.uid} is at version {self.actual}, not {self.expected}; "
            "read it again before you change it"
        )


class KeySpent(Refused):
    """The idempotency key was used for this very request, whose reservation was forgotten since.

    The reservation ``uid`` ended, or was forgotten on request.  To reserve anew, use a new key.
    """

    def __init__(self, key: str, uid: str) -> None:
        super().__init__(key, uid)
        self.key = key
        self.uid = uid

    def __str__(self) -> str:
        return (
            f"the key {self.key!r} was used for reservation {self.uid}, which was forgotten "
            "since; use a new key to reserve anew"
        )


class SessionExpired(Refused):
    """The command belongs to a client session that has ended, so it may be a late repeat.

    Nothing was done now; what came of an earlier sending is not remembered.  Read the
    reservations that the command is about, then open another session.
    """

    def __init__(self, session: bytes) -> None:
        super().__init__(session)
        self.session = session

    def __str__(self) -> str:
        return (
            f"the client session {self.session.hex()} has ended; read what came of its last "
            "commands, then open another session"
        )


class CursorExpired(Refused):
    """The events after a cursor are not there any more, or are of another engine's life.

    Begin anew: subscribe, list the reservations (`SlotEngine.find`), then follow.
    """

    def __str__(self) -> str:
        return (
            "the events after this cursor are not there any more: "
            "subscribe without one, list the reservations, then follow"
        )


class LifeExceeded(Refused):
    """The hold would live longer than a hold may; ``latest`` is its latest possible end."""

    def __init__(self, uid: str, latest: datetime) -> None:
        super().__init__(uid, latest)
        self.uid = uid
        self.latest = latest

    def __str__(self) -> str:
        return f"reservation {self.uid} cannot be held beyond {self.latest.isoformat()}"


# --- Refused: the configuration ------------------------------------------------------------


class Retired(Refused):
    """The resource or event type is retired: what stands stays, but nothing new can be had."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(kind, id)
        self.kind = kind
        self.id = id

    def __str__(self) -> str:
        return f"{_said(self.kind)} {self.id!r} is retired, so nothing new can be reserved of it"


class StaleSetting(Refused):
    """An entry of the configuration has changed since the caller read it.

    Nothing of the batch is done.  Version 0 stands for an entry that is not there.
    """

    def __init__(self, kind: str, id: str, expected: int, actual: int) -> None:
        super().__init__(kind, id, expected, actual)
        self.kind = kind
        self.id = id
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"{_said(self.kind)} {self.id!r} is at version {self.actual}, not {self.expected}; "
            "read it again before you change it"
        )


class SettingInUse(Refused):
    """Other entries of the configuration need this one as it is.

    ``by`` has the kind and the id of the first hundred of them, ``count`` is how many
    there are.  Change those first, or in the same batch.
    """

    def __init__(self, kind: str, id: str, by: tuple[tuple[str, str], ...], count: int) -> None:
        super().__init__(kind, id, by, count)
        self.kind = kind
        self.id = id
        self.by = by
        self.count = count

    def __str__(self) -> str:
        first = " ".join((_said(self.by[0][0]), repr(self.by[0][1])))
        others = f" and {self.count - 1} more" if self.count > 1 else ""
        return f"{_said(self.kind)} {self.id!r} is used by {first}{others}; change that first"


class StillTaken(Refused):
    """More is taken than a change of the configuration would leave.

    ``units`` is what it would leave, ``most`` the most that is taken at once.  ``spans`` says
    when more is taken than would be left: the first hundred spans of ``count``, each with the
    units taken and whether bookings are among what takes them.  Cancel or move that first, or
    change it with ``force=True``: then what stands stays.
    """

    def __init__(
        self,
        kind: str,
        id: str,
        units: int,
        most: int,
        spans: tuple[InTheWay, ...],
        count: int,
    ) -> None:
        super().__init__(kind, id, units, most, spans, count)
        self.kind = kind
        self.id = id
        self.units = units
        self.most = most
        self.spans = spans
        self.count = count

    def __str__(self) -> str:
        what = "a booking" if any(span.booked for span in self.spans) else "a hold"
        first, last = self.spans[0].start, self.spans[-1].end
        return (
            f"{_said(self.kind)} {self.id!r} would be left with {self.units}, but up to "
            f"{self.most} are taken, by {what} among others, in {self.count} span(s) from "
            f"{first.isoformat()} to {last.isoformat()}"
        )


def _said(kind: str) -> str:
    return kind.replace("_", " ")


# --- InvalidRequest --------------------------------------------------------------------


class UnknownResource(InvalidRequest):
    """No resource has this id.  Add it to the engine first."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"no resource has the id {self.resource!r}; add it first, with add_resource"


class UnknownEventType(InvalidRequest):
    """No event type has this id.  Add it to the engine first."""

    def __init__(self, event_type: str) -> None:
        super().__init__(event_type)
        self.event_type = event_type

    def __str__(self) -> str:
        return f"no event type has the id {self.event_type!r}; add it first, with add_event_type"


class UnknownSetting(InvalidRequest):
    """No entry of the configuration has this kind and id.  Put it there first."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(kind, id)
        self.kind = kind
        self.id = id

    def __str__(self) -> str:
        return f"no {_said(self.kind)} has the id {self.id!r}; put it there first, with configure"


class TooManyUnits(InvalidRequest):
    """The request wants more units, or seats, than there are in all."""

    def __init__(self, resource: str, wanted: int, capacity: int) -> None:
        super().__init__(resource, wanted, capacity)
        self.resource = resource
        self.wanted = wanted
        self.capacity = capacity

    def __str__(self) -> str:
        return f"{self.resource} has only {self.capacity}, so {self.wanted} can never be reserved"


class InvalidTTL(InvalidRequest):
    """The TTL is outside the bounds that the engine was configured with."""

    def __init__(self, ttl: timedelta, shortest: timedelta, longest: timedelta) -> None:
        super().__init__(ttl, shortest, longest)
        self.ttl = ttl
        self.shortest = shortest
        self.longest = longest

    def __str__(self) -> str:
        return f"the TTL must be between {self.shortest} and {self.longest}, not {self.ttl}"


class KeyReused(InvalidRequest):
    """The idempotency key was already used for a different request."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return (
            f"the key {self.key!r} was used for a different request; use a new key for each request"
        )


class InvalidField(InvalidRequest):
    """An argument is invalid, such as a naive time or an end before its start.

    ``field`` names the argument, and ``problem`` says what is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


class ReplayError(InvalidRequest):
    """A recorded change does not follow from those before it.

    One is missing, or there twice, or is of another ledger: do not go on from here.  ``seq`` is
    the number of the change, or the number that was expected.
    """

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(seq, problem)
        self.seq = seq
        self.problem = problem

    def __str__(self) -> str:
        return f"change {self.seq} cannot be replayed: {self.problem}"


class BadCalendar(InvalidRequest):
    """The text is not an iCalendar file, or was read with ``strict`` and has a problem.

    ``problem`` says where and what.  It names an event by its UID, never by its
    summary, which may be private.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the calendar cannot be read: {self.problem}"
