"""Everything slotengine raises, in one small tree.

``SlotError``
    ``Refused``         the state says no; another time, or another view, may be accepted
    ``InvalidRequest``  the input says no; the same request can never be accepted
    ``EngineClosed``    the engine is not running
    ``EngineMisused``   it runs, but cannot be called from here

Every error carries its facts as fields, and its ``args`` are those facts, so
it pickles.  What an error says about other people's reservations is spans and
states only: never a uid, never a holder.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple


class SlotError(Exception):
    """The root of the tree.

    ``index`` tells which request of a batch it is about, counted from 0, such as
    which of `reserve_all`; None if there was but one.

    >>> issubclass(SlotTaken, Refused) and issubclass(Refused, SlotError)
    True
    """

    index: int | None = None

    def of_request(self, index: int) -> None:
        """Let it be about a request of a batch; whoever reads a traceback is told, too."""
        if self.index is None:
            self.index = index
            self.add_note(f"request {index} of the batch, counted from 0")


class Refused(SlotError):
    """The state says no: what was asked for cannot be had now."""

    def find_details(self) -> None:
        """Find now what would otherwise be found when first read, as of that moment."""


class InvalidRequest(SlotError, ValueError):
    """The input says no: asking again for the same can never succeed."""


class EngineClosed(SlotError):
    """The engine is not running: it was not started yet, was closed, or has crashed.

    After a crash, what crashed it is the ``__cause__``.  ``problem`` says which it is.
    """

    def __init__(
        self,
        problem: str = "it is to be started once, with 'async with SlotEngine() as engine:' or "
        "'await engine.start()', and called until it is closed",
    ) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the engine is not running: {self.problem}"


class EngineMisused(SlotError, RuntimeError):
    """The engine cannot be called from here: another thread, event loop or process.

    Nothing has changed, and where it was started it goes on.  ``problem`` says
    what is wrong, and what to do instead.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


# --- Refused: the slot cannot be had ---------------------------------------------------


class InTheWay(NamedTuple):
    """A span that stands in the way of a request: when, by how many units, and how firmly."""

    start: datetime
    end: datetime
    units: int
    booked: bool
    """True for a booking or imported busy time; False for a hold, which may yet lapse."""


class Obstruction(NamedTuple):
    """Why a span was refused, as far as a stranger may know."""

    start: datetime
    end: datetime
    in_the_way: tuple[InTheWay, ...]
    retry_at: datetime | None
    """The earliest moment at which a retry could succeed; None if not only holds are in the way."""


def _stored_args(error: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = BaseException.args.__get__(error)  # type: ignore[attr-defined]
    return args


class SlotTaken(Refused):
    """The span is taken on a resource, by holds or bookings in the way.

    The details (``in_the_way``, ``retry_at``) are found when first read, as of
    that moment, because on a hot slot most refusals are never looked at.  Read
    them before giving way to others to learn what refused this very request.

    Made with the resource and the details, or with a function that finds them
    and what to call it with; its attribute ``only_holds``, if it has one, finds less.
    """

    # There is no __init__: BaseException has stored the args before one would run.  Storing
    # them again made a refusal cost 2.8 µs instead of 2.1 in the booking storm.
    if TYPE_CHECKING:

        def __init__(
            self,
            resource: str,
            obstruction: Obstruction | Callable[..., Obstruction],
            *about: object,
        ) -> None: ...

    @property
    def args(self) -> tuple[str, Obstruction]:  # type: ignore[override]
        """The facts: the resource, and all the details."""
        return self.resource, self.obstruction

    @property
    def resource(self) -> str:
        """The resource that the span is taken on."""
        resource: str = _stored_args(self)[0]
        return resource

    @property
    def obstruction(self) -> Obstruction:
        """All the details at once; found on the first read, then kept."""
        resource, found, *about = _stored_args(self)
        obstruction: Obstruction = found if isinstance(found, Obstruction) else found(*about)
        BaseException.args.__set__(self, (resource, obstruction))  # type: ignore[attr-defined]
        return obstruction

    def find_details(self) -> None:
        """Find the obstruction now."""
        _ = self.obstruction

    @property
    def start(self) -> datetime:
        """The start of the occupied span that was refused (buffers included)."""
        return self.obstruction.start

    @property
    def end(self) -> datetime:
        """The end of the occupied span that was refused (buffers included)."""
        return self.obstruction.end

    @property
    def in_the_way(self) -> tuple[InTheWay, ...]:
        """What stands in the way on ``resource``, in order of start."""
        return self.obstruction.in_the_way

    @property
    def retry_at(self) -> datetime | None:
        """The earliest moment at which a retry could succeed, if only holds are in the way.

        None when a booking is in the way: waiting does not help, so offer
        another slot.  Not a promise: others may be quicker, or extend.
        """
        return self.obstruction.retry_at

    @property
    def only_holds(self) -> bool:
        """Whether there is a ``retry_at``: a question that is cheaper than when it is."""
        _, found, *about = _stored_args(self)
        tell: Callable[..., bool] | None = getattr(found, "only_holds", None)
        return self.retry_at is not None if tell is None else tell(*about)

    def __reduce__(self) -> tuple[type[SlotTaken], tuple[str, Obstruction], dict[str, Any]]:
        return type(self), (self.resource, self.obstruction), self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.resource!r}, {self.obstruction!r})"

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return f"{self.resource} is taken between {span}{self._held()}"

    def _held(self) -> str:
        if self.retry_at is None:
            return ""
        # Read when whoever was in the way has gone, it must not say that they are there.
        held = "held" if self.in_the_way else "no longer held"
        return f"; {held}, try again at {self.retry_at.isoformat()}"


class NoSeatsLeft(SlotTaken):
    """The shared session of this event type and start has too few seats left.

    ``start`` and ``end`` are those of the session, and what is in the way is
    the session with the seats taken in it.
    """

    def __str__(self) -> str:
        return f"{self.resource} has too few seats left at {self.start.isoformat()}"


class LimitReached(SlotTaken):
    """As much is reserved as the event type allows in this period, such as three a day.

    ``resource`` is the id of the limit, ``start`` and ``end`` are those of the period.
    """

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return f"{self.resource} is reached from {span}{self._held()}"


class SlotAwaited(SlotTaken):
    """Others, who came before, wait for the span or for one that overlaps it.

    ``retry_at`` is when the last of them will have given up, if nothing else is in the way.
    """

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return f"others wait for {self.resource} between {span}"


class TooManyWaiting(Refused):
    """As many wait for slots as may: try again later, or take another slot."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} wait already, and no more may"


class OutsideHours(Refused):
    """The slot does not lie inside the hours in which the resource is open."""

    def __init__(self, resource: str, start: datetime, end: datetime) -> None:
        super().__init__(resource, start, end)
        self.resource = resource
        self.start = start
        self.end = end

    def __str__(self) -> str:
        span = f"{self.start.isoformat()} to {self.end.isoformat()}"
        return f"{self.resource} is not open for all of {span}"


class TooSoon(Refused):
    """The event type wants more notice; ``earliest`` is the first start it would take now."""

    def __init__(self, event_type: str, earliest: datetime) -> None:
        super().__init__(event_type, earliest)
        self.event_type = event_type
        self.earliest = earliest

    def __str__(self) -> str:
        return f"{self.event_type} cannot begin before {self.earliest.isoformat()}"


class AlreadyOver(Refused):
    """The slot ended before now, or just now; ask for ``past=True`` if that is meant."""

    def __init__(self, end: datetime) -> None:
        super().__init__(end)
        self.end = end

    def __str__(self) -> str:
        return f"the slot was over at {self.end.isoformat()}; past=True takes it all the same"


class NotBookable(Refused):
    """The event type can be booked for other dates only: from ``first`` on, before ``end``."""

    def __init__(self, event_type: str, first: datetime, end: datetime) -> None:
        super().__init__(event_type, first, end)
        self.event_type = event_type
        self.first = first
        self.end = end

    def __str__(self) -> str:
        span = f"from {self.first.isoformat()} until {self.end.isoformat()}"
        return f"{self.event_type} can only be booked {span}"


class NoneFree(Refused):
    """Every candidate was refused; ``refusals`` says why, in the candidates' order.

    Made with the refusals, or with a function that makes them when they are first
    read, and what to call it with: a pool of hundreds is refused as soon as one of
    two.  What each of them was refused for was settled before.
    """

    def __init__(
        self, refusals: tuple[Refused, ...] | Callable[..., tuple[Refused, ...]], *about: object
    ) -> None:
        super().__init__(refusals, *about)

    @property
    def args(self) -> tuple[tuple[Refused, ...]]:  # type: ignore[override]
        """The facts: why each candidate was refused."""
        return (self.refusals,)

    @property
    def refusals(self) -> tuple[Refused, ...]:
        """Why each candidate was refused; made on the first read, then kept."""
        made, *about = _stored_args(self)
        refusals: tuple[Refused, ...] = made(*about) if callable(made) else made
        BaseException.args.__set__(self, (refusals,))  # type: ignore[attr-defined]
        return refusals

    def __reduce__(self) -> tuple[type[NoneFree], tuple[tuple[Refused, ...]], dict[str, Any]]:
        return type(self), (self.refusals,), self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.refusals!r})"

    def find_details(self) -> None:
        """Find the details of each refusal now."""
        for refusal in self.refusals:
            refusal.find_details()

    @property
    def retry_at(self) -> datetime | None:
        """The earliest moment at which one of the candidates could be free, if any could."""
        moments = [r.retry_at for r in self.refusals if isinstance(r, SlotTaken)]
        return min((moment for moment in moments if moment is not None), default=None)

    def __str__(self) -> str:
        return f"none of {len(self.refusals)} candidates is free"


class QuotaExceeded(Refused):
    """The holder has as much on hold as a holder may.

    ``quota`` says of what: ``"holds"``, ``"time"`` (of all slots together),
    ``"lapses"`` (in a row) or ``"waits"`` (in line).  ``limit`` is how much there may
    be, ``used`` how much there is; ``retry_at`` is the earliest moment at which a
    retry could succeed, None if it depends on more than time.
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
        return f"the holder's quota of {self.quota} is {self.limit}, with {self.used} used{again}"


# --- Refused: the reservation is not what the caller thinks ----------------------------


class UnknownReservation(Refused, LookupError):
    """No reservation has this uid: there never was one, or it ended long ago."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid)
        self.uid = uid

    def __str__(self) -> str:
        return f"no reservation {self.uid!r}: never made, or ended and forgotten"


class WrongState(Refused):
    """The reservation's state does not admit the verb, for example releasing a booking."""

    def __init__(self, uid: str, state: str, verb: str) -> None:
        super().__init__(uid, state, verb)
        self.uid = uid
        self.state = state
        self.verb = verb

    def __str__(self) -> str:
        return f"reservation {self.uid} is {self.state}: cannot {self.verb} it"


class HoldExpired(WrongState):
    """The hold lapsed before the verb arrived; reserve again, or confirm ``if_still_free``."""


class StaleVersion(Refused):
    """The reservation has changed since the caller saw it; read it again, then decide."""

    def __init__(self, uid: str, expected: int, actual: int) -> None:
        super().__init__(uid, expected, actual)
        self.uid = uid
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"reservation {self.uid} is at version {self.actual}, not {self.expected}"


class LifeExceeded(Refused):
    """The hold would outlive the longest life a hold may have; ``latest`` is its last moment."""

    def __init__(self, uid: str, latest: datetime) -> None:
        super().__init__(uid, latest)
        self.uid = uid
        self.latest = latest

    def __str__(self) -> str:
        return f"reservation {self.uid} may be held until {self.latest.isoformat()} at the latest"


# --- InvalidRequest --------------------------------------------------------------------


class UnknownResource(InvalidRequest):
    """No resource has this id; add it to the engine first."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"no resource {self.resource!r}; add it with add_resource first"


class UnknownEventType(InvalidRequest):
    """No event type has this id; add it to the engine first."""

    def __init__(self, event_type: str) -> None:
        super().__init__(event_type)
        self.event_type = event_type

    def __str__(self) -> str:
        return f"no event type {self.event_type!r}; add it with add_event_type first"


class TooManyUnits(InvalidRequest):
    """More units are wanted than the resource, or seats than the session, has at all."""

    def __init__(self, resource: str, wanted: int, capacity: int) -> None:
        super().__init__(resource, wanted, capacity)
        self.resource = resource
        self.wanted = wanted
        self.capacity = capacity

    def __str__(self) -> str:
        return f"{self.resource}: {self.wanted} wanted, but it has {self.capacity} in all"


class InvalidTTL(InvalidRequest):
    """The time to live is outside the bounds the engine was given."""

    def __init__(self, ttl: timedelta, shortest: timedelta, longest: timedelta) -> None:
        super().__init__(ttl, shortest, longest)
        self.ttl = ttl
        self.shortest = shortest
        self.longest = longest

    def __str__(self) -> str:
        return f"a hold may live from {self.shortest} to {self.longest}, not {self.ttl}"


class KeyReused(InvalidRequest):
    """The idempotency key was used before, for another request."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"key {self.key!r} was used for a different request; use a new key for each"


class InvalidField(InvalidRequest):
    """A value that can never be right: a naive time, an end before its start, no claims..."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


class BadCalendar(InvalidRequest):
    """The text is no iCalendar file, or strictly read a wrong one; ``problem`` says where and why.

    An event is named by its UID, never by its summary, which may be private.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the calendar cannot be read: {self.problem}"
