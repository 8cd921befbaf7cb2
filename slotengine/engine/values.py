"""What callers give the engine and get from it: immutable, with aware datetimes and timedeltas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from slotengine.core.ledger import expiry
from slotengine.core.ledger import reservation as core
from slotengine.core.ledger.checks import check_schedule, check_span
from slotengine.core.ledger.extra import Extra, Series
from slotengine.core.ledger.keys import digest, encode, said
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota as CoreQuota
from slotengine.core.ledger.reservation import Demand, Entry, Seats, State
from slotengine.core.time.instant import duration_us, from_us, span_us
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.ledger.policy import Policy
    from slotengine.core.offer.availability import AvailableSlots
    from slotengine.core.time.schedule import Windows

T_co = TypeVar("T_co", covariant=True)

NO_TIME = timedelta()


def minutes(count: float) -> timedelta:
    """Return so many minutes.

    >>> minutes(90)
    datetime.timedelta(seconds=5400)

    Raises `InvalidField` for what is no number, or too large a one.
    """
    try:
        return timedelta(minutes=count)
    except (TypeError, ValueError, OverflowError):
        raise InvalidField("minutes", f"must be a number of minutes, not {count!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much the holder of a request may have at once; what is None is not limited.

    It goes with the request, so each class of callers can have its own.  The quotas
    of the engine apply as well, and the lower limit decides.  A hold keeps the quota
    it was made under: whoever renews or moves it, that counts for its holder.  All
    live holds of the holder count, whichever quota they were made under.

    A request that is repeated with its ``key`` is the same under another quota.

    Raises `InvalidField` for what is not positive, and whole.

    >>> Quota(holds=20, life=minutes(30))
    Quota(holds=20, held=None, waits=None, life=datetime.timedelta(seconds=1800))
    """

    holds: int | None = None
    """How many live holds."""
    held: timedelta | None = None
    """How long the slots of all live holds may be, together."""
    waits: int | None = None
    """How many places in the queues for slots (``wait=``)."""
    life: timedelta | None = None
    """How long the hold that is made may live in all, from its making, renewals included."""
    in_core: CoreQuota = field(init=False, repr=False, compare=False)
    """The same as the core understands it."""

    def __post_init__(self) -> None:
        held, life = self.held, self.life
        made = CoreQuota(
            self.holds,
            None if held is None else duration_us(held, "held"),
            self.waits,
            None if life is None else duration_us(life, "life"),
        )
        object.__setattr__(self, "in_core", made)


def quota_or_none(quota: object) -> CoreQuota | None:
    """Return a quota as the core understands it, if there is one.  Raises `InvalidField`."""
    if quota is None:
        return None
    if not isinstance(quota, Quota):
        raise InvalidField("quota", f"must be a Quota, not {quota!r}")
    return quota.in_core


@dataclass(frozen=True, slots=True)
class Claim:
    """A take on one resource: how many units, and the buffers around the slot.

    Buffers widen what is occupied, never the slot: two reservations conflict
    when their occupied spans overlap.
    """

    resource: str
    units: int = 1
    before: timedelta = NO_TIME
    after: timedelta = NO_TIME

    def around(self, start: int, end: int) -> core.Claim:
        """Return what this occupies, for a slot in core time.  Raises `InvalidField`."""
        before, after = duration_us(self.before, "before"), duration_us(self.after, "after")
        return core.Claim(self.resource, start - before, end + after, self.units)


class Ask(Generic[T_co]):
    """What can be reserved: a `Request`, `AllOf`, `EachOf` or `OneOf`.

    An ``Ask[list[Reservation]]`` is answered by a list of reservations, and so on.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Request(Ask["Reservation"]):
    """What somebody would like to hold: a slot, and a claim on each resource it needs.

    ``seats`` joins, or opens, the one shared session of this ``event_type`` and
    ``start``.  Who joins a session takes it as it is: the claims are then those
    of whoever opened it.  ``schedule`` takes the place of the resources' own
    hours.  A ``key`` is known to the whole engine: let it begin with something
    of the caller's own.  All the rest has to be the same whenever it is used, but for
    the quota; schedules of a class of your own are the same if class and ``repr`` are.
    With a ``quota`` the holder may have no more than that.  A slot that is over is
    refused, unless ``past`` is said.

    >>> from datetime import UTC
    >>> start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    >>> Request(start, minutes(30), (Claim("room-1"), Claim("projector", units=2)))
    Request(start=...)
    """

    start: datetime
    length: timedelta
    claims: tuple[Claim, ...]
    holder: str | None = None
    ttl: timedelta | None = None
    key: str | None = None
    event_type: str | None = None
    seats: Seats | None = None
    schedule: Windows | None = None
    quota: Quota | None = None
    past: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    """At most 50 names of at most 40 characters, each with a text of at most 500."""
    details: str | None = None
    """A document that is kept as it is, of at most 65,536 bytes in UTF-8."""
    tags: tuple[str, ...] = ()
    """At most 16 texts of at most 64 characters, by which it is found."""
    requested: bool = False
    """Whether it is only kept, occupying nothing, and decided when it is confirmed."""

    def __post_init__(self) -> None:
        # What is asked for must not change with a list that somebody still has.
        if isinstance(self.metadata, Mapping):
            object.__setattr__(self, "metadata", dict(self.metadata))
        if self.tags.__class__ is not tuple and isinstance(self.tags, Iterable):
            object.__setattr__(self, "tags", texts_of("tags", self.tags))
        if self.claims.__class__ is not tuple and isinstance(self.claims, Iterable):
            object.__setattr__(self, "claims", tuple(self.claims))

    def proposal(
        self, default_ttl: int, verb: str = "reserve", *, replaces: str | None = None
    ) -> Proposal:
        """Return this request as the core understands it.  Raises `InvalidField`.

        The verb, and what it ``replaces``, are part of what is asked with a key.
        """
        start, end = span_us(self.start, self.length)
        claims = tuple([claim.around(start, end) for claim in _checked(self.claims)])
        return Proposal(
            start,
            end,
            claims,
            ttl_us(self.ttl, default_ttl),
            self.holder,
            self.event_type,
            self.seats,
            self.key,
            None if self.key is None else digest(verb, replaces=replaces, **asked_by(self)),
            closed=self._closed(start, end),
            quota=quota_or_none(self.quota),
            demand=demand_of(self.past, self.schedule),
            extra=extra_of(self.metadata, self.details, self.tags),
            requested=flag("requested", self.requested),
        )

    def _closed(self, start: int, end: int) -> tuple[str, ...] | None:
        """Return what is closed by the schedule of the request; None if it has none."""
        schedule = self.schedule
        if schedule is None:
            return None
        check_schedule(schedule)
        check_span(start, end)
        if schedule.covers(start, end):
            return ()
        return tuple(claim.resource for claim in self.claims)


def request_for(
    resource: str,
    start: Any,
    length: Any,
    units: int,
    holder: str | None,
    ttl: timedelta | None,
    key: str | None,
    event_type: str | None,
    quota: Quota | None,
    past: bool,
    metadata: Mapping[str, str] | None,
    details: str | None,
    tags: Iterable[str],
) -> Request:
    """Return a request for some units of one resource."""
    return Request(
        start, length, (Claim(resource, units),), holder, ttl, key, event_type,
        quota=quota, past=past, metadata={} if metadata is None else metadata,
        details=details, tags=tags if isinstance(tags, tuple) else texts_of("tags", tags),
    )  # fmt: skip


ASKED: Final = tuple(one.name for one in fields(Request) if one.name not in {"key", "quota"})
"""The fields that have to be the same when a request is repeated with its key."""

UNSAID: Final = {
    one.name: encode(one.default_factory() if callable(one.default_factory) else one.default)
    for one in fields(Request)
    if one.name in ASKED
}
"""The canonical form of each field that is not said."""


def asked_by(request: Request) -> dict[str, object]:
    """Return what a request asks, by name, for a digest.  What was not said is left out."""
    asked = said({name: getattr(request, name) for name in ASKED}, UNSAID)
    asked["claims"] = [(one.resource, one.units, one.before, one.after) for one in request.claims]
    return asked


def digest_of_any(
    candidates: Sequence[Request],
    policy: Policy,
    weights: Sequence[int] | None,
    load_in: tuple[int, int] | None,
) -> bytes:
    """Return the digest of a request for any one of several candidates."""
    asked = [asked_by(candidate) for candidate in candidates]
    return digest("any", candidates=asked, policy=policy, weights=weights, load_in=load_in)


PENDING: Final = timedelta.max
"""The TTL of a hold that does not lapse by itself: it is confirmed, released, or extended."""


def ttl_us(ttl: timedelta | None, default: int) -> int:
    """Return a TTL as the core understands it.  Raises `InvalidField`."""
    if ttl is None:
        return default
    return expiry.PENDING if ttl == PENDING else duration_us(ttl, "ttl")


def extra_of(metadata: object, details: str | None, tags: object) -> Extra | None:
    """Return what a reservation has beside what it takes, if anything.  Raises `InvalidField`."""
    if not metadata and details is None and not tags:
        return None
    return Extra(metadata_of(metadata), details, texts_of("tags", tags)).or_none()


def in_series(uid: str, proposals: Iterable[Proposal]) -> list[Proposal]:
    """Return the same proposals as those of one series, in this order."""
    return [
        one._replace(extra=(one.extra or Extra())._replace(series=Series(uid, i)))
        for i, one in enumerate(proposals)
    ]


def metadata_of(metadata: object) -> tuple[tuple[str, str], ...]:
    """Return metadata as the core understands it.  Raises `InvalidField`."""
    if not isinstance(metadata, Mapping):
        raise InvalidField("metadata", f"must map names to texts, not {metadata!r:.99}")
    if not all(isinstance(name, str) for name in metadata):
        raise InvalidField("metadata", "must have names that are strings")
    return tuple(sorted(metadata.items(), key=itemgetter(0)))


def texts_of(field: str, texts: object) -> tuple[str, ...]:
    """Return several texts.  Raises `InvalidField` for one."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidField(field, f"must be several strings, not {texts!r:.99}")
    return tuple(texts)


def flag(field: str, value: bool) -> bool:
    """Return what is True or False.  Raises `InvalidField` for anything else."""
    if value.__class__ is not bool:
        raise InvalidField(field, f"must be True or False, not {value!r}")
    return value


def demand_of(past: bool, schedule: Windows | None = None) -> Demand:
    """Return what is asked of a reservation, other than one by an event type's rules.

    Raises `InvalidField`.
    """
    if flag("past", past):
        return Demand.NOTHING
    return Demand.HOURS if schedule is None else Demand.AHEAD


def _checked(claims: object) -> Sequence[Claim]:
    if not isinstance(claims, Sequence) or not all(isinstance(one, Claim) for one in claims):
        raise InvalidField("claims", f"must be a tuple of Claims, not {claims!r}")
    return claims


class Reservation:
    """A reservation, as it was when the engine answered.  Immutable.

    Datetimes are aware, in UTC.  They are made when read: most callers read one
    or two of them, and each costs twice as much as all the rest (measured: 0.31
    and 0.16 µs).
    """

    __slots__ = (
        "_changed",
        "_claims",
        "_created",
        "_end",
        "_event_type",
        "_extra",
        "_holder",
        "_key",
        "_seats",
        "_serial",
        "_session",
        "_start",
        "_state",
        "_uid",
        "_until",
        "_version",
    )

    def __init__(self, entry: Entry, now: int) -> None:
        (
            self._uid, self._state, self._version, self._start, self._end, self._until,
            self._created, self._changed, self._serial, resource, more,
        ) = entry.read_at(now)  # fmt: skip
        # The id alone for the usual reservation; see `Entry`.
        self._claims: tuple[core.Claim, ...] | str | None = resource
        if not more:
            self._holder = self._event_type = self._session = self._key = None
            self._seats = self._extra = None
            return
        (
            claims, self._holder, self._event_type, self._seats, session, self._key, self._extra,
        ) = entry.read_beside()  # fmt: skip
        if resource is None:
            self._claims = claims
        self._session = None if session is None or self._until <= now else session.uid

    @property
    def uid(self) -> str:
        """The capability: whoever knows it may act on the reservation."""
        return self._uid

    @property
    def state(self) -> State:
        """The state it was in."""
        return self._state

    @property
    def version(self) -> int:
        """Raised by every change; give it back to act only on what you saw."""
        return self._version

    @property
    def start(self) -> datetime:
        """The start of the slot."""
        return from_us(self._start)

    @property
    def end(self) -> datetime:
        """The end of the slot: the first moment that is not part of it."""
        return from_us(self._end)

    @property
    def length(self) -> timedelta:
        """How long the slot is."""
        return timedelta(0, 0, self._end - self._start)

    @property
    def until(self) -> datetime | None:
        """When a hold lapses, or when an ended reservation ended.

        None for a booking, for what is requested, and for a hold that does not lapse by itself
        (`PENDING`).
        """
        return None if self._until == core.BOOKED_UNTIL else from_us(self._until)

    @property
    def created(self) -> datetime:
        """When it was first held."""
        return from_us(self._created)

    @property
    def changed(self) -> datetime:
        """When it last changed; of a hold that has expired, when it lapsed."""
        return from_us(self._changed)

    @property
    def serial(self) -> int:
        """A number that no other reservation has, below 2**53; later ones have higher ones."""
        return self._serial

    @property
    def key(self) -> str | None:
        """The idempotency key it was made with."""
        return self._key

    @property
    def metadata(self) -> dict[str, str]:
        """What was noted of it, by name."""
        return {} if self._extra is None else dict(self._extra.metadata)

    @property
    def details(self) -> str | None:
        """A document that was given with it, as it is."""
        return None if self._extra is None else self._extra.details

    @property
    def tags(self) -> tuple[str, ...]:
        """The texts by which it can be found."""
        return () if self._extra is None else self._extra.tags

    @property
    def series(self) -> Series | None:
        """Of which series it is, and which of it."""
        return None if self._extra is None else self._extra.series

    @property
    def replaces(self) -> str | None:
        """The uid of the reservation in whose place it was made."""
        return None if self._extra is None else self._extra.replaces

    @property
    def replaced_by(self) -> str | None:
        """The uid of the reservation that was made in its place."""
        return None if self._extra is None else self._extra.replaced_by

    @property
    def holder(self) -> str | None:
        """For whom it was made, as the caller said."""
        return self._holder

    @property
    def event_type(self) -> str | None:
        """What was booked, as the caller said."""
        return self._event_type

    @property
    def seats(self) -> Seats | None:
        """The seats it takes of a shared session, if it is for one."""
        return self._seats

    @property
    def session(self) -> str | None:
        """The uid of the shared session that it has seats in; None when it has ended."""
        return self._session

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What it takes of each resource."""
        claims = self._claims
        if isinstance(claims, str):
            return (Claim(claims),)
        assert claims is not None
        return tuple(
            Claim(
                resource,
                units,
                timedelta(0, 0, self._start - start),
                timedelta(0, 0, end - self._end),
            )
            for resource, start, end, units in claims
            if not core.is_limit(resource)
        )

    @property
    def resources(self) -> tuple[str, ...]:
        """The ids of the resources it is on."""
        return tuple(claim.resource for claim in self.claims)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can have it: texts, numbers, lists, dictionaries and None.

        Times are texts in UTC, as ``isoformat`` writes them.  ``state`` is the value of the
        `State`; ``seats`` and ``series`` are dictionaries or None; each of the ``claims`` has
        ``resource``, ``units``, and the ``start`` and ``end`` of what it occupies.

        >>> from slotengine import LocalEngine
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> start = datetime.fromisoformat("2030-01-07T09:00:00+00:00")
        >>> hold = engine.reserve("room-1", start, minutes(30), holder="customer-7")
        >>> data = hold.as_dict()
        >>> data["state"], data["start"], data["claims"][0]["resource"]
        ('held', '2030-01-07T09:00:00+00:00', 'room-1')
        """
        until, seats, series = self.until, self._seats, self.series
        return {
            "uid": self._uid,
            "serial": self._serial,
            "state": self._state.value,
            "version": self._version,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "until": None if until is None else until.isoformat(),
            "created": self.created.isoformat(),
            "changed": self.changed.isoformat(),
            "holder": self._holder,
            "event_type": self._event_type,
            "key": self._key,
            "seats": None if seats is None else seats._asdict(),
            "session": self._session,
            "claims": [
                {
                    "resource": claim.resource,
                    "units": claim.units,
                    "start": (self.start - claim.before).isoformat(),
                    "end": (self.end + claim.after).isoformat(),
                }
                for claim in self.claims
            ],
            "metadata": self.metadata,
            "details": self.details,
            "tags": list(self.tags),
            "series": None if series is None else series._asdict(),
            "replaces": self.replaces,
            "replaced_by": self.replaced_by,
        }

    def _facts(self) -> tuple[object, ...]:
        # Claims may be kept as the id of a resource in one, and one by one in the other.
        return self.claims, *(getattr(self, one) for one in self.__slots__ if one != "_claims")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reservation) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((self._uid, self._version))

    def __repr__(self) -> str:
        until = "" if self.until is None else f" until {self.until.isoformat()}"
        return (
            f"<Reservation {self._uid} v{self._version}: {', '.join(self.resources)} "
            f"{self.start.isoformat()} to {self.end.isoformat()}, {self._state.value}{until}>"
        )


class BusySpan(NamedTuple):
    """A span in which so many units of a resource are taken."""

    start: datetime
    end: datetime
    units: int


class ImportedSpan(NamedTuple):
    """A span in which a source says that a resource is busy with what is no reservation."""

    start: datetime
    end: datetime
    source: str


class SeatsLeft(NamedTuple):
    """The seats of a slot that is shared."""

    taken: int
    total: int

    @property
    def left(self) -> int:
        """How many are free; none if more are taken than there are."""
        return max(0, self.total - self.taken)


class Slot(NamedTuple):
    """A span that an event type could be booked for, in UTC."""

    start: datetime
    end: datetime
    seats: SeatsLeft | None = None
    """Of an event type that has seats."""


def slots_of(openings: AvailableSlots) -> list[Slot]:
    """Return the slots as callers see them."""
    length = timedelta(0, 0, openings.length)
    total = openings.total
    found = []
    for us in openings.starts:
        start = from_us(us)
        seats = None if total is None else SeatsLeft(openings.taken.get(us, 0), total)
        found.append(Slot(start, start + length, seats))
    return found


@dataclass(frozen=True, slots=True)
class Statistics:
    """How an engine is doing, at one moment."""

    held: int
    """Holds now; those that have lapsed but were not yet marked are among them."""
    confirmed: int
    """Bookings now."""
    requested: int
    """What is requested now, and occupies nothing."""
    ended: int
    """Ended reservations that can still be asked about."""
    sessions: int
    """Shared sessions now."""
    resources: int
    accepted: int
    """Reservations ever made."""
    refused: int
    """Requests to reserve that were refused because of the state, ever."""
    expired: int
    """Holds ever marked as expired."""
    overdue: timedelta
    """How long the next hold to be marked has been waiting for it at most: the sweeper's lag."""
    subscribers: int
    missed: int
    """Events that present subscribers were too slow for."""
    waiting: int
    """Calls that wait for a slot now."""
