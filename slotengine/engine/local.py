"""The engine without an event loop: every verb is a plain call, and one step.

It gives the ledger a clock and uids, reads and returns datetimes, and publishes what has
changed.  `slotengine.engine.engine.SlotEngine` has the same verbs for tasks, and a sweeper;
its verbs end here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from slotengine.core.ledger.changes import Changes, Waits
from slotengine.core.ledger.checks import check_name, check_text, is_count
from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    Annotate,
    Cancel,
    Choice,
    Command,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Kind, Setting, SettingChange, check_kind
from slotengine.core.ledger.extra import KEEP, Extra, Keep
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Demand, Entry
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.uids import bucket_for
from slotengine.core.offer.availability import LONGEST_RANGE, AvailableSlots
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.time.instant import DAY, FIRST_US, duration_us, from_us, span_us, to_us
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.events import Event, Observer
from slotengine.engine.inputs import (
    busy_spans_of,
    checked,
    clock_of,
    listed,
    names_or_none,
    query_of,
    span_or_none,
    value_of,
)
from slotengine.engine.listing import ReservationPage, ReservationQuery
from slotengine.engine.publisher import Publisher
from slotengine.engine.requests import AllOf, EachOf, OneOf, SlotQuery
from slotengine.engine.uids import new_uid_in
from slotengine.engine.values import (
    Ask,
    BusySpan,
    ImportedSpan,
    Quota,
    Request,
    Reservation,
    Slot,
    Statistics,
    demand_of,
    digest_of_any,
    extra_of,
    flag,
    in_series,
    metadata_of,
    quota_or_none,
    request_for,
    slots_of,
    texts_of,
    ttl_us,
)
from slotengine.errors import InvalidField, Refused, SlotError, UnknownReservation

if TYPE_CHECKING:
    from slotengine.core.offer.event_type import EventType
    from slotengine.core.time.schedule import Windows

T = TypeVar("T")

REACH = 366 * DAY
"""How far `LocalEngine.next_free` looks if the query has no end."""

FORGOTTEN_PER_TURN = 256
"""How many reservations `LocalEngine.forgetting` looks at in one piece."""


class LocalEngine:
    """Holds slots, confirms them, and lets them lapse: by plain calls, in one thread.

    It has no tasks.  A hold lapses at its time whether or not anybody marks it; `sweep`
    marks those that have, and tells of them.  Nobody can wait for a slot here.

    >>> from datetime import UTC
    >>> from slotengine import minutes
    >>> engine = LocalEngine()
    >>> engine.add_resource("room-1", capacity=1)
    >>> start = datetime(2030, 1, 7, 9, tzinfo=UTC)
    >>> hold = engine.reserve("room-1", start, minutes(30), holder="customer-7")
    >>> booking = engine.confirm(hold.uid)
    >>> print(booking.state, booking.length)
    State.CONFIRMED 0:30:00

    Arguments: how long a hold lives by default, and may live at least and at
    most; the age past which it cannot be extended (``max_life``, None for no
    cap); how long ended reservations can still be asked about (``retention``);
    the longest span that can be asked for, buffers included (``max_length``);
    how many may wait for slots at once (``max_waiters``); and, for tests and
    simulations, the clock and the source of uids (``new_uid``), a function of the bucket
    that a uid has to name (`slotengine.core.ledger.uids`).

    Quotas, for each holder that is named, and none by default: how many live
    holds it may have (``max_holds``), how long their slots may be together
    (``max_held``), and after how many lapses in a row (``max_lapses``) it gets no
    hold for a while (``cool_down``), and how many slots it may wait for at once
    (``max_waits``).  Bookings do not count.  A request may bring a `Quota` of its own.

    The latest events are kept for subscribers that come back, as many as ``backlog``: see
    `SlotEngine.subscribe`.

    Raises `InvalidField` if those durations contradict each other.
    """

    def __init__(
        self,
        *,
        default_ttl: timedelta = timedelta(minutes=5),
        min_ttl: timedelta = timedelta(seconds=1),
        max_ttl: timedelta = timedelta(days=1),
        max_life: timedelta | None = None,
        retention: timedelta = timedelta(hours=1),
        max_length: timedelta = timedelta(days=366),
        max_waiters: int = 1000,
        max_holds: int | None = None,
        max_held: timedelta | None = None,
        max_lapses: int | None = None,
        cool_down: timedelta = timedelta(minutes=5),
        max_waits: int | None = None,
        backlog: int = 1024,
        clock: Clock | None = None,
        new_uid: Callable[[int], str] = new_uid_in,
    ) -> None:
        if backlog != 0 and not is_count(backlog):
            raise InvalidField("backlog", f"must be a number of events, not {backlog!r}")
        self.terms = Terms(
            default_ttl=duration_us(default_ttl, "default_ttl"),
            shortest_ttl=duration_us(min_ttl, "min_ttl"),
            longest_ttl=duration_us(max_ttl, "max_ttl"),
            max_life=None if max_life is None else duration_us(max_life, "max_life"),
            retention=duration_us(retention, "retention"),
            longest_span=duration_us(max_length, "max_length"),
            max_holds=max_holds,
            max_held=None if max_held is None else duration_us(max_held, "max_held"),
            max_lapses=max_lapses,
            cool_down=duration_us(cool_down, "cool_down"),
            max_waiters=max_waiters,
            max_waits=max_waits,
        )
        self.ledger = Ledger(self.terms)
        """The ledger that decides, to look into.  What is changed through it, nobody is told."""
        self.service = BookingService(self.ledger)
        self.clock: Clock = SystemClock() if clock is None else clock_of(clock)
        """The clock that the engine was made with."""
        self.read_clock: Callable[[], int] = self.clock.now
        """Called for the time by every verb.  `SlotEngine` replaces it, to refuse calls."""
        self._new_uid = new_uid if new_uid is new_uid_in else checked(new_uid)
        self.wakes_at = FIRST_US
        """When the sweeper wakes by itself: it is woken (`wake`) for what is due before."""
        self.wake: Callable[[], None] = _nobody_sleeps
        self.publisher = Publisher(self.ledger, backlog)
        """Tells subscribers, observers and the journal."""
        self.refused = 0
        """How many requests were refused, immediately or after a wait."""

    # --- Configuration -----------------------------------------------------------------

    def add_resource(
        self,
        id: str,
        *,
        capacity: int = 1,
        schedule: Windows | None = None,
    ) -> None:
        """Add a resource; without a schedule it is always open.

        As `configure` with one `Put`, but the schedule may be of any class that has the methods
        of `Windows`.  Can be done at any time.  Raises `InvalidField` for an id that is empty
        or in use, or no capacity.
        """
        self.ledger.add_resource(id, capacity=capacity, schedule=schedule)

    def add_event_type(self, event_type: EventType) -> None:
        """Add an event type; its resources must be there already.

        As `configure` with one `Put`, but its schedules may be of any class.  Can be done at any
        time.  Raises `UnknownResource`, `TooManyUnits`, or `InvalidField` for an id in use.
        """
        self.service.add(event_type)

    def configure(
        self,
        entries: Iterable[SettingChange],
        *,
        force: bool = False,
        command_id: CommandId | None = None,
    ) -> tuple[Setting, ...]:
        """Change the configuration: do all that the entries say, or nothing.

        Each entry is a `Put`, a `Remove` or a `Retire`.  What is changed holds from then on:
        whoever waits for a slot that is free now gets it, and slots are found by the new rules.
        What was reserved before stays as it is.

        Returns what is set, without the entries that were so already; nothing if it is a repeat
        with the same ``command_id``.  A batch that would leave
        less than is taken is refused with what is in the way; with ``force`` it is done,
        and nothing new can be had there until enough has ended.

        >>> from slotengine import Kind, Put, ResourceConfig, Retire
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> hall = Put(Kind.RESOURCE, "hall", ResourceConfig(capacity=40))
        >>> for setting in engine.configure([hall, Retire(Kind.RESOURCE, "room-1")]):
        ...     print(setting.id, setting.value, setting.version)
        hall ResourceConfig(capacity=40, schedule=None, retired=False) 2
        room-1 ResourceConfig(capacity=1, schedule=None, retired=True) 2

        Raises `StaleSetting`, `SettingInUse` or `StillTaken`; for bad input `UnknownResource`,
        `UnknownEventType`, `UnknownSetting`, `TooManyUnits` or `InvalidField`.
        O(1) for each entry that is added or gets more; O(n) for n claims on what gets less; and
        O(e) for the e entries of the configuration if one is removed or a schedule changes.
        """
        batch = listed("entries", entries)
        done = self.service.configure(
            batch, now=self.read_clock(), force=bool(force), client=command_id
        )
        self.wake_if_due()
        return done

    def setting(self, kind: Kind, id: str, collection: str | None = None) -> Setting | None:
        """Return an entry of the configuration, or None if it is not there.  O(1).

        Raises `InvalidField` for what is no kind, or no name.
        """
        check_kind(kind)
        check_name("id", id)
        check_text("collection", collection)
        return self.ledger.configuration.get(kind, id, collection)

    def settings(self, kind: Kind | None = None) -> list[Setting]:
        """Return all entries of the configuration, or those of one kind.  O(e) for e entries.

        Raises `InvalidField` for what is no kind.
        """
        if kind is not None:
            check_kind(kind)
        found = self.ledger.configuration.settings()
        return [setting for setting in found if kind is None or setting.kind is kind]

    @property
    def ttl_bounds(self) -> tuple[timedelta, timedelta]:
        """The shortest and the longest TTL that a hold may have."""
        return timedelta(0, 0, self.terms.shortest_ttl), timedelta(0, 0, self.terms.longest_ttl)

    @property
    def default_ttl(self) -> timedelta:
        """How long a hold lives if the caller does not say."""
        return timedelta(0, 0, self.terms.default_ttl)

    def now(self) -> datetime:
        """Return the time by which this engine decides: the clock's, but never going backwards."""
        return from_us(self.look())

    def look(self) -> int:
        """Return the time by which this engine decides, as UTC microseconds."""
        return self.ledger.look(self.read_clock())

    # --- Reserve -----------------------------------------------------------------------

    @overload
    def reserve(
        self, what: Ask[T], /, *, jump: bool = False, command_id: CommandId | None = None
    ) -> T: ...

    @overload
    def reserve(
        self,
        what: str,
        start: datetime,
        length: timedelta,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        quota: Quota | None = None,
        past: bool = False,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation: ...

    def reserve(
        self,
        what: str | Ask[Any],
        start: Any = None,  # as above; whatever else it is, is refused
        length: Any = None,
        *,
        units: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        event_type: str | None = None,
        quota: Quota | None = None,
        past: bool = False,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Any:
        """Hold a span of one resource for a while; or what a request says.

        Either the id of a resource, the start and the length; or one value: a `Request`
        (several resources, buffers, seats), `AllOf` or `EachOf` several requests, or
        `OneOf` several candidates.  The answer to `AllOf` is a list of reservations, that to
        `EachOf` a list of reservations and refusals, and any other a reservation.

        Accepted if and only if the span lies inside the resource's hours and
        no instant of it would exceed the capacity; decided and done in one step.

        A ``key`` makes retries safe: the same key with the same request
        returns the same reservation, whatever has become of it.  It is remembered as
        long as the reservation, and at least for a day.  Keys are known
        to the whole engine: let them begin with something of the caller's own.

        With a ``quota`` the holder may have no more than that, and the hold lives no
        longer, however often it is renewed; see `Quota`.

        A span that is over is refused, unless it is said that it may be ``past``.

        What is noted of it (``metadata``, ``details``, ``tags``) is as in a `Request`.

        With ``jump`` it comes before all callers that wait, such as for what is promised
        already.  What is taken still counts.

        With a ``command_id``, as every verb that changes something, it is done once however
        often it is called; see `CommandIds`.

        >>> from datetime import UTC
        >>> from slotengine import Claim, minutes
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> engine.add_resource("projector", capacity=4)
        >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        >>> engine.reserve("projector", nine, minutes(30), units=2).resources
        ('projector',)
        >>> both = Request(nine, minutes(30), (Claim("room-1"), Claim("projector", units=2)))
        >>> engine.reserve(both).resources
        ('room-1', 'projector')

        Raises `SlotTaken`, `OutsideHours`, `AlreadyOver`, `QuotaExceeded`, `NoSeatsLeft` or
        `NoneFree`; for bad input `UnknownResource`, `TooManyUnits`, `InvalidTTL`,
        `KeyReused` or `InvalidField`; `KeySpent` if the key was used for a reservation that
        is forgotten.  O(log n) in the claims on each resource.
        """
        if not isinstance(what, str):
            options = (
                start, length, units, holder, ttl, key, event_type, quota, past,
                metadata, details, tags,
            )  # fmt: skip
            return self._reserve_value(value_of(what, options), jump, command_id)
        plain = key is None and command_id is None and metadata is None and details is None
        if not plain or tags != () or units != 1 or units.__class__ is not int:
            request = request_for(
                what, start, length, units, holder, ttl, key, event_type, quota, past,
                metadata, details, tags,
            )  # fmt: skip
            return self._reserve_value(request, jump, command_id)
        begin, end = span_us(start, length)
        most = None if quota is None else quota_or_none(quota)
        lives = self.terms.default_ttl if ttl is None else ttl_us(ttl, 0)
        demand = Demand.HOURS if past is False else demand_of(past)
        now = self.read_clock()
        try:
            entry = self.ledger.reserve(
                what, begin, end,
                uid=self._new_uid(bucket_for(what)), now=now, ttl=lives,
                holder=holder, event_type=event_type, quota=most, demand=demand, jump=jump,
            )  # fmt: skip
        except Refused:
            self.refused += 1
            raise
        return self.answer(entry)

    def _reserve_value(
        self, what: Ask[Any], jump: bool, client: CommandId | None
    ) -> Reservation | list[Reservation] | list[Reservation | Refused]:
        try:
            match what:
                case AllOf():
                    return self._reserve_all(what, jump, client)
                case EachOf():
                    return self._reserve_each(what, jump, client)
                case OneOf():
                    return self._reserve_one(what, jump, client)
                case _:
                    proposal, now = self.proposal(what), self.read_clock()
                    uids = (self._uid_for(proposal),)
                    command = Reserve((proposal,), uids, jump=jump, client=client)
                    return self.answer(self.ledger.do(command, now=now))
        except Refused:
            self.refused += 1
            raise

    def _reserve_all(self, what: AllOf, jump: bool, client: CommandId | None) -> list[Reservation]:
        proposals, now = self._proposals("requests", what.requests), self.read_clock()
        if what.series and proposals:
            proposals = in_series(self._uid_for(proposals[0]), proposals)
        uids = tuple(map(self._uid_for, proposals))
        command = Reserve(tuple(proposals), uids, ALL, jump=jump, client=client)
        answers = self.ledger.step(command, now).answers
        return [self._answered(answer) for answer in answers]

    def _reserve_each(
        self, what: EachOf, jump: bool, client: CommandId | None
    ) -> list[Reservation | Refused]:
        proposals, now = self._proposals("requests", what.requests), self.read_clock()
        uids = tuple(map(self._uid_for, proposals))
        command = Reserve(tuple(proposals), uids, EACH, jump=jump, client=client)
        answers = self.ledger.step(command, now).answers
        self.refused += sum(isinstance(answer, Refused) for answer in answers)
        return [one if isinstance(one, Refused) else self._answered(one) for one in answers]

    def _reserve_one(self, what: OneOf, jump: bool, client: CommandId | None) -> Reservation:
        proposals, now = self._proposals("candidates", what.candidates), self.read_clock()
        span, digest = span_or_none(what.load_in), None
        if what.key is not None:
            digest = digest_of_any(what.candidates, what.policy, what.weights, span)
        uid = self._new_uid(proposals[0].bucket() if proposals else 0)
        choice = Choice(what.policy, what.weights, span)
        command = Reserve(
            tuple(proposals), (uid,), ANY, choice, what.key, digest, jump=jump, client=client
        )
        return self.answer(self.ledger.do(command, now=now))

    def adopt(self, request: Request, *, command_id: CommandId | None = None) -> Reservation:
        """Let a booking stand that was made elsewhere, whatever is in its way.

        For data that is there already, such as two bookings of one room at a time.
        Nothing is asked but that the resources exist: neither hours nor the past, nor
        what is taken, nor limits.  All of it takes time, and counts towards the limits
        of its event type, until it is cancelled or moved.  It joins the session of its
        event type and start, also beyond the seats; with another end or other hosts
        it stands by itself.

        >>> from datetime import UTC
        >>> from slotengine import Claim, minutes
        >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> request = Request(nine, minutes(30), (Claim("room-1"),))
        >>> for booking in [engine.adopt(request), engine.adopt(request)]:
        ...     print(len(engine.busy("room-1", nine, nine + minutes(60))))
        ...     cancelled = engine.cancel(booking.uid)
        1
        1
        >>> print(len(engine.busy("room-1", nine, nine + minutes(60))))
        0

        Returns a booking.  Raises `UnknownResource`, `TooManyUnits`, `KeyReused` or
        `InvalidField`.  O(c log n) for c claims.
        """
        proposal, now = self.proposal(request, "adopt"), self.read_clock()
        made = self.repeated(command_id)
        if made is not None:
            return made
        uid = self._uid_for(proposal)
        return self.answer(self.service.adopt(proposal, uid=uid, now=now, client=command_id))

    # --- Event types ---------------------------------------------------------------------

    def reserve_slot(
        self,
        event_type: str,
        start: datetime,
        *,
        length: timedelta | None = None,
        seats: int = 1,
        holder: str | None = None,
        ttl: timedelta | None = None,
        key: str | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        quota: Quota | None = None,
        metadata: Mapping[str, str] | None = None,
        details: str | None = None,
        tags: Iterable[str] = (),
        requested: bool = False,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Hold a slot of an event type, by its rules: in one step, with the right resources.

        Of each group the one takes part who is free and whose turn it is;
        ``only`` those named there are considered.  Unless ``enforce``, hours,
        notice and booking window do not count; what is taken, and limits, always do.
        With a ``quota`` the holder may have no more than that, and with ``jump`` it comes
        before all callers that wait, as with `reserve`; and so it has ``metadata``, ``details``
        and ``tags``.

        What is ``requested`` is only kept, and occupies nothing: `confirm` decides it, by the
        rules of then, and chooses the hosts.

        Raises `TooSoon`, `NotBookable`, `OutsideHours`, `LimitReached`,
        `QuotaExceeded`, `SlotTaken`, `NoSeatsLeft`, or `NoneFree` if nobody of a group can; for
        bad input `UnknownEventType`, `TooManyUnits`, `InvalidTTL`, `KeyReused`
        or `InvalidField`.  O(h log n) for h hosts.
        """
        ask = self.slot_request(
            event_type, start, length, ttl, only, enforce,
            seats=seats, holder=holder, key=key, quota=quota,
            extra=extra_of(metadata or {}, details, tags), requested=requested,
        )  # fmt: skip
        return self._view(self.reserve_slot_request(ask, jump=jump, command_id=command_id))

    def reserve_slot_request(
        self,
        request: SlotRequest,
        *,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Entry:
        """Do the same as `reserve_slot`, in terms of the core.

        The entry may be read until the engine is next called.
        """
        now = self.read_clock()
        try:
            entry = None if command_id is None else self.ledger.repeated(command_id, now=now)
            if entry is None:
                uid = self._new_uid(self.service.bucket(request.event_type))
                entry = self.service.reserve(
                    request, uid=uid, now=now, jump=jump, client=command_id
                )
        except Refused:
            self.refused += 1
            raise
        self._mind_maintenance()
        return entry

    def move_slot(
        self,
        uid: str,
        start: datetime,
        *,
        event_type: str | None = None,
        length: timedelta | None = None,
        seats: int | None = None,
        ttl: timedelta | None = None,
        only: Collection[str] | None = None,
        enforce: bool = True,
        version: int | None = None,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Re-slot a live hold or a booking by the rules of its event type, keeping its uid.

        By default it keeps its event type, length and seats, and in any case its
        hosts if they can.  Its own claims and seats are not in its way, and notice and
        booking window do not count for what stays where it is: to its own start it
        moves to get more ``seats``, for which others may wait, or fewer.  With a ``ttl``, a hold
        also lives that long from now.  If it is refused, nothing has changed.

        Raises as `reserve_slot` and `extend` do.
        """
        moved = self.repeated(command_id)
        if moved is not None:
            return moved
        current = self._current(uid)
        if event_type is None:
            if current.event_type is None:
                raise InvalidField("event_type", "must be given: the reservation is of none")
            event_type = current.event_type
            length = current.length if length is None else length
        if seats is None:
            seats = 1 if current.seats is None else current.seats.wanted
        ask = self.slot_request(event_type, start, length, ttl, only, enforce, seats=seats)
        entry = self.move_slot_request(
            uid, ask,
            renew=ttl is not None, version=version, jump=jump, command_id=command_id,
        )  # fmt: skip
        return self._view(entry)

    def move_slot_request(
        self,
        uid: str,
        request: SlotRequest,
        *,
        renew: bool = False,
        version: int | None = None,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Entry:
        """Do the same as `move_slot`, in terms of the core; with ``renew`` for the request's TTL.

        The entry may be read until the engine is next called.
        """
        now = self.read_clock()
        entry = self.service.move(
            uid, request,
            now=now, renew=renew, version=version, jump=jump, client=command_id,
        )  # fmt: skip
        self._mind_maintenance()
        return entry

    def slots(self, query: SlotQuery) -> list[Slot]:
        """Return the slots of an event type that are offered in a range, in order.

        Whatever is offered can be reserved at this moment.

        Raises `UnknownEventType` or `InvalidField`.  O(h w + b log b + s), for
        w windows of h hosts, b that is taken in the range, and s slots.
        """
        return slots_of(self.openings(query))

    def openings(self, query: SlotQuery) -> AvailableSlots:
        """Return the same slots as `slots`, their starts in UTC microseconds.

        For whoever writes down what is offered, and needs no datetimes for it.
        """
        now = self.look()
        return self.service.available_slots(query_of(query, now), now=now)

    def next_free(self, query: SlotQuery, count: int = 1) -> list[Slot]:
        """Return the next slots of an event type: the first ``count``, or fewer if there are none.

        Without an ``end``, the query is for 366 days.  Otherwise as `slots`; the cost is that of
        a range to the last one found.
        """
        now = self.look()
        asked = query_of(query, now, REACH)
        if asked.end - asked.start > LONGEST_RANGE:
            most = LONGEST_RANGE // DAY
            raise InvalidField("end", f"must be at most {most} days after the start")
        return slots_of(self.service.next_available_slots(asked, count, now=now))

    # --- Imported busy time --------------------------------------------------------------

    def replace_busy(
        self,
        source: str,
        spans: Mapping[str, Iterable[tuple[datetime, datetime]]],
        *,
        command_id: CommandId | None = None,
    ) -> None:
        """Let these be the spans that a source says resources are busy, and nothing else.

        In one step: what the source said before and does not say now is free
        again, of every resource.  Busy time takes all units of a resource;
        reservations that are there already stay.

        Raises `InvalidField` or `UnknownResource`, and then nothing has changed.
        O(n log n) for all that is imported of these resources.
        """
        found = busy_spans_of(spans)
        self.ledger.replace_busy(source, found, now=self.read_clock(), client=command_id)
        self.wake_if_due()

    def imported(self, resource: str, start: datetime, end: datetime) -> list[ImportedSpan]:
        """Return what each source of busy time says of a resource in a range, in order.

        Raises `UnknownResource` or `InvalidField`.
        """
        self.read_clock()  # refuse when closed, as every verb does
        span = to_us(start, "start"), to_us(end, "end")
        return [
            ImportedSpan(from_us(low), from_us(high), source)
            for low, high, source in self.ledger.imported(resource, *span)
        ]

    # --- The life of a reservation -------------------------------------------------------

    def extend(
        self,
        uid: str,
        *,
        ttl: timedelta | None = None,
        version: int | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Let a live hold live for ``ttl`` (by default the default) from now, in place.

        Raises `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`,
        `LifeExceeded` or `InvalidTTL`.  O(1).
        """
        lives = self.terms.default_ttl if ttl is None else ttl_us(ttl, 0)
        return self._do(Extend(uid, lives, version, command_id))

    def move(
        self,
        uid: str,
        to: datetime | Request | OneOf,
        length: timedelta | None = None,
        *,
        resource: str | None = None,
        ttl: timedelta | None = None,
        version: int | None = None,
        past: bool = False,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Re-slot a live hold or a booking in one step, keeping its uid, units and buffers.

        To another start; or to what a `Request` claims, or to `OneOf` several candidates,
        for any kind of reservation.

        Its own claims are not in its way; what others wait for it may keep, but
        not take, unless it may ``jump`` the waitlist.  By default it keeps its length and
        its resources; another ``resource`` can be named if it is on one only.  With a
        ``ttl``, a hold also lives that long from now.  What decides is the hours of the
        resources, also if the reservation was made with others (a `Request`
        can say so again); if its event type is one that the engine knows, the
        rules of that, as with `move_slot`.  To another start it may move into the
        ``past`` only if that is said; then no rules count.  If it is refused, nothing
        has changed.

        A `Request` has all that there is to say but the version.  A hold is renewed if it has
        a ``ttl``, which all or none of several candidates must have.  Its holder, key
        and quota are not looked at: it counts for whoever made the reservation.

        Raises as `reserve` and `extend` do.
        """
        if isinstance(to, Ask):
            if (length, resource, ttl, past) != (None, None, None, False):
                name = to.__class__.__name__
                raise InvalidField(
                    "to",
                    f"must be given without length, resource, ttl and past: the {name} has them",
                )
            return self._move_to_value(uid, to, version, jump, command_id)
        if not isinstance(to, datetime):
            raise InvalidField(
                "to", f"must be a timezone-aware datetime, a Request or OneOf, not {to!r:.99}"
            )
        moved = self.repeated(command_id)
        if moved is not None:
            return moved
        current = self._current(uid)
        if self.service.knows(current.event_type):
            only = None
            if resource is not None:
                rules = self.service.rules_of(current.event_type or "")
                only = rules.restricted_to(resource)
            return self.move_slot(
                uid, to,
                length=length, ttl=ttl, only=only, enforce=not past, version=version,
                jump=jump, command_id=command_id,
            )  # fmt: skip
        claims = current.claims
        if resource is not None:
            if len(claims) > 1:
                raise InvalidField(
                    "resource", "is ambiguous: move to a Request that has the claims"
                )
            claims = (replace(claims[0], resource=resource),)
        request = Request(
            to,
            current.length if length is None else length,
            claims,
            ttl=ttl,
            event_type=current.event_type,
            seats=current.seats,
            past=past,
        )
        return self._move_to_value(uid, request, version, jump, command_id)

    def _move_to_value(
        self,
        uid: str,
        to: Ask[Any],
        version: int | None,
        jump: bool,
        client: CommandId | None,
    ) -> Reservation:
        if not isinstance(to, OneOf):
            proposal = self.proposal(to)
            renew = isinstance(to, Request) and to.ttl is not None
            return self._do(Move(uid, (proposal,), renew, None, version, jump, client))
        candidates = listed("candidates", to.candidates)
        proposals = self._proposals("candidates", candidates)
        renewals = {request.ttl is not None for request in candidates}
        if len(renewals) > 1:
            raise InvalidField("ttl", "must be given for all candidates or for none")
        if to.key is not None:
            raise InvalidField("key", "is for what is reserved; what moves has a uid")
        choice = Choice(to.policy, to.weights, span_or_none(to.load_in))
        renew = True in renewals
        return self._do(Move(uid, tuple(proposals), renew, choice, version, jump, client))

    def confirm(
        self,
        uid: str,
        *,
        if_still_free: bool = False,
        version: int | None = None,
        enforce: bool = True,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Turn a live hold into a booking; repeating it returns the same booking.

        What was requested is decided now, like something new: by the rules and hours of now,
        limits, and what is taken or waited for.  If it is refused, it stays requested.

        A hold that has expired is refused, unless ``if_still_free``: then it is
        decided anew whether it can be had, in the same step, by the rules by which it
        was made: that it is not over, hours, notice, booking window and limits; and after
        the callers that wait, unless it may ``jump``.  Unless ``enforce``, only limits and
        what is taken, or waited for, count.
        A schedule that a request brought along is not asked again, and quotas
        are about holds, not bookings.

        Raises `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`;
        `SlotTaken` or `NoSeatsLeft` if it is no longer free, or others wait for it;
        and `AlreadyOver`, `TooSoon`, `NotBookable` or `OutsideHours`.
        """
        confirmed = self.repeated(command_id)
        if confirmed is not None:
            return confirmed
        entry = self.service.confirm(
            uid, now=self.read_clock(), if_still_free=if_still_free, version=version,
            enforce=enforce, jump=jump, client=command_id,
        )  # fmt: skip
        return self.answer(entry)

    def release(
        self, uid: str, *, version: int | None = None, command_id: CommandId | None = None
    ) -> Reservation:
        """Give a hold up; harmless to repeat, and after its expiry.

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        booking, which is to be cancelled.
        """
        return self._do(Release(uid, version, command_id))

    def cancel(
        self, uid: str, *, version: int | None = None, command_id: CommandId | None = None
    ) -> Reservation:
        """Give a booking up; harmless to repeat.

        Raises `UnknownReservation`, `StaleVersion`; and `WrongState` for a
        hold, which is to be released.
        """
        return self._do(Cancel(uid, version, command_id))

    def replace(
        self,
        uid: str,
        request: Request,
        *,
        version: int | None = None,
        jump: bool = False,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """End a hold or a booking and make another one in its place, in one step.

        A hold is replaced by a hold, and a booking by a booking.  What the first one takes is
        not in the way of the second, nor does it count for the holder's quota.  The new one
        has the holder of the old one unless the request names one, and its metadata, details,
        tags and series unless the request has any of these.  Each names the other
        (``replaces``, ``replaced_by``).  With a ``key``, repeating the call returns the new one.

        >>> from datetime import UTC
        >>> from slotengine import Claim, minutes
        >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> old = engine.confirm(engine.reserve("room-1", nine, minutes(30)).uid)
        >>> request = Request(nine + minutes(15), minutes(30), (Claim("room-1"),))
        >>> new = engine.replace(old.uid, request)
        >>> print(new.state, new.replaces == old.uid, engine.get(old.uid).state)
        State.CONFIRMED True State.CANCELLED

        If it is refused, nothing has changed.  Raises what `reserve` raises, and
        `UnknownReservation`, `HoldExpired`, `WrongState`, `StaleVersion`.
        """
        proposal, now = self.proposal(request, "replace", replaces=uid), self.read_clock()
        command = Replace(uid, proposal, self._uid_for(proposal), version, jump, command_id)
        try:
            return self.answer(self.ledger.do(command, now=now))
        except Refused:
            self.refused += 1
            raise

    def annotate(
        self,
        uid: str,
        *,
        metadata: Mapping[str, str] | Keep = KEEP,
        details: str | Keep | None = KEEP,
        tags: Iterable[str] | Keep = KEEP,
        version: int | None = None,
        command_id: CommandId | None = None,
    ) -> Reservation:
        """Replace the metadata, the details or the tags of a reservation; others stay.

        It raises the version and is an event, unless all is the same already.  Also what was
        released or cancelled can be annotated, as long as it is kept.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> hold = engine.reserve("room-1", datetime(2030, 1, 7, 9, tzinfo=UTC), minutes(30))
        >>> hold = engine.annotate(hold.uid, metadata={"guests": "3"}, tags=["vip"])
        >>> hold.metadata, hold.details, hold.tags, hold.version
        ({'guests': '3'}, None, ('vip',), 2)

        Raises `UnknownReservation`, `HoldExpired`, `StaleVersion` or `InvalidField`.  O(1).
        """
        command = Annotate(
            uid,
            metadata if metadata is KEEP else metadata_of(metadata),
            details,
            tags if tags is KEEP else texts_of("tags", tags),
            version,
            command_id,
        )
        return self._do(command)

    def forget_bookings(self, before: datetime) -> int:
        """Forget bookings that were over by some time, and return how many.

        A booking is kept until this is asked for: whoever runs an engine for long
        should, now and then.  One is over when nothing that it takes reaches beyond
        ``before``: no buffer, and no day, week, month or year of a limit towards
        which it counts.  Subscribers are told.  Then it is as if it had never been, but that its
        key is remembered until a day after its making.  Whose turn it is in a group is
        counted from the bookings that are left.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> yesterday = engine.now() - timedelta(days=1)
        >>> hold = engine.reserve("room-1", yesterday, minutes(30), past=True)
        >>> booking = engine.confirm(hold.uid)
        >>> print(engine.forget_bookings(engine.now() - minutes(60)))
        1

        Raises `InvalidField` for a time to come.
        O(n) for n reservations, and O(log n) for each that is forgotten.
        """
        return sum(self.forgetting(before))

    def forgetting(self, before: datetime) -> Iterator[int]:
        """Do as `forget_bookings`, in pieces, and say of each how many it forgot."""
        moment = to_us(before, "before")
        if moment > self.look():
            raise InvalidField("before", "must not be in the future")
        uids = self.ledger.uids()
        for first in range(0, len(uids), FORGOTTEN_PER_TURN):
            self.read_clock()  # refuses when closed
            piece = uids[first : first + FORGOTTEN_PER_TURN]
            forgotten = self.ledger.forget_bookings(moment, piece)
            self.wake_if_due()
            yield forgotten

    def sweep(self, limit: int | None = None) -> int:
        """Mark holds that have lapsed, at most ``limit``, tell of them, and return how many.

        Also forgets what was retained for long enough.  What lapsed and is not marked
        yet is in nobody's way: this is for subscribers, and for memory.  O(log n) each.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine = LocalEngine()
        >>> engine.sweep()
        0
        """
        return self.ledger.expire(self.read_clock(), limit)

    # --- Reading -------------------------------------------------------------------------

    def get(self, uid: str) -> Reservation | None:
        """Return a reservation, also one that ended within the retention, or None.  O(1)."""
        now = self.look()
        entry = self.ledger.get(uid, now=now)
        return None if entry is None else self._view(entry)

    def busy(self, resource: str, start: datetime, end: datetime) -> list[BusySpan]:
        """Return where in a range units of the resource are taken, and how many, in order.

        Imported busy time takes all of them.  Raises `UnknownResource` or
        `InvalidField`.  O(log n + k log k) for k claims in the range.
        """
        span = to_us(start, "start"), to_us(end, "end")
        return [
            BusySpan(from_us(begin), from_us(finish), units)
            for begin, finish, units in self.ledger.busy(resource, *span, now=self.look())
        ]

    def is_free(self, request: Request) -> bool:
        """Return whether a request could be had now.  An answer, not a promise: `reserve` it."""
        return self.ledger.is_free(self.proposal(request), now=self.look())

    def find(self, query: ReservationQuery) -> ReservationPage:
        """Return a page of the reservations that a question is about, also of ended ones.

        For the service itself: it shows whose they are.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
        >>> for i in range(3):
        ...     start = nine + minutes(60 * i)
        ...     hold = engine.reserve("room-1", start, minutes(30), holder="ada")
        >>> query = ReservationQuery(holder="ada", limit=2, total=True)
        >>> page = engine.find(query)
        >>> [one.start.hour for one in page.reservations], page.total
        ([9, 10], 3)
        >>> page = engine.find(query.following(page))
        >>> [one.start.hour for one in page.reservations], page.cursor
        ([11], None)

        The first question about something, such as holders, takes O(n log n) for n
        reservations; from then on an index is kept, and it takes O(m + k log n), for k that
        are returned and m that meet the condition which fewest meet.  No index is needed for what
        is held or confirmed on a resource within a range.

        Raises `InvalidField`.
        """
        if not isinstance(query, ReservationQuery):
            raise InvalidField("query", f"must be a ReservationQuery, not {query!r}")
        now = self.read_clock()
        asked = query.in_core()
        after = query.place(asked)
        page = self.ledger.find(asked, now=now, limit=query.limit, after=after, count=query.total)
        return query.page(asked, page, self.ledger.time(now))

    def statistics(self) -> Statistics:
        """Return how the engine is doing, at this moment.  O(subscribers)."""
        tally = self.ledger.tally()
        self.publisher.listen()
        feeds = self.publisher.feeds
        now = self.ledger.look(self.clock.now())
        late = max(0, now - self.ledger.state.next_expiry()) if tally.held else 0
        return Statistics(
            held=tally.held,
            confirmed=tally.confirmed,
            requested=tally.requested,
            ended=tally.ended,
            sessions=tally.sessions,
            resources=tally.resources,
            accepted=tally.accepted,
            refused=self.refused,
            expired=tally.expired,
            overdue=timedelta(0, 0, late),
            subscribers=len(feeds),
            missed=sum(feed.missed for feed in feeds),
            waiting=len(self.ledger.waitlist),
        )

    # --- For tests and tools ---------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert every invariant of the ledger and the waitlist.  O(n log n) for n reservations."""
        self.ledger.check_invariants()

    def observe(self, listen: Callable[[Event], None]) -> Callable[[], None]:
        """Call a function with each event, in the very step of the change.

        A task that reads a subscription hears of a change when it next runs; by
        then the engine may have gone on.  The function must neither change
        anything nor raise.  It counts as a subscriber.  Returns a function that
        ends it.  Raises `InvalidField` unless ``listen`` can be called.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine = LocalEngine()
        >>> engine.add_resource("room-1")
        >>> stop = engine.observe(lambda event: print(event.verb))
        >>> start = datetime(2030, 1, 7, 9, tzinfo=UTC)
        >>> hold = engine.reserve("room-1", start, minutes(30))
        Verb.RESERVE
        >>> stop()
        """
        observer = Observer(listen)
        self.publisher.add_feed(observer)

        def stop() -> None:
            observer.close()
            self.publisher.listen()

        return stop

    def record(self, keep: Callable[[Changes], None]) -> None:
        """Hand the changes of each step to a function, when the step is done.

        These are what a journal keeps, and `replay` takes back in.  The function
        must neither change anything nor raise.  Raises `InvalidField` unless
        ``keep`` can be called.
        """
        if not callable(keep):
            raise InvalidField("keep", f"must be a function of changes, not {keep!r}")
        self.publisher.record(keep)

    def replay(self, steps: Iterable[Changes]) -> None:
        """Carry out recorded steps again, in order: nothing is decided, and nobody is told.

        For an engine as it was when the first of them was recorded, before it is started: one
        with the same configuration, or an empty one if the first step is a `snapshot`.  What
        was configured since is in the changes.

        Raises `InvalidField` for what is no list of steps, and `ReplayError` for a change that
        does not follow from those before.
        """
        self.ledger.replay(listed("steps", steps))

    def snapshot(self) -> Changes:
        """Return one step that makes an empty engine the same as this one, for `replay`.

        But for what waits.  O(n log n) for n reservations.

        >>> from datetime import UTC
        >>> from slotengine import minutes
        >>> engine, other = LocalEngine(), LocalEngine()
        >>> engine.add_resource("room-1")
        >>> hold = engine.reserve("room-1", datetime(2030, 1, 7, 9, tzinfo=UTC), minutes(30))
        >>> other.replay([engine.snapshot()])
        >>> other.get(hold.uid) == hold
        True
        """
        self.look()
        return self.ledger.snapshot()

    # --- Inside, and for the engine on top ---------------------------------------------------

    def _current(self, uid: str) -> Reservation:
        current = self.get(uid)
        if current is None:
            raise UnknownReservation(uid)
        return current

    def slot_request(
        self,
        event_type: str,
        start: datetime,
        length: timedelta | None,
        ttl: timedelta | None,
        only: Collection[str] | None,
        enforce: bool,
        *,
        seats: int,
        holder: str | None = None,
        key: str | None = None,
        quota: Quota | None = None,
        extra: Extra | None = None,
        requested: bool = False,
    ) -> SlotRequest:
        """Return what is asked for, in terms of the core.  Raises `InvalidField`."""
        return SlotRequest(
            event_type,
            to_us(start, "start"),
            None if length is None else duration_us(length, "length"),
            None if ttl is None else ttl_us(ttl, 0),
            holder,
            key,
            seats,
            names_or_none("only", only),
            enforce,
            quota_or_none(quota),
            extra,
            flag("requested", requested),
        )

    def proposal(
        self, request: object, verb: str = "reserve", *, replaces: str | None = None
    ) -> Proposal:
        """Return a request in terms of the core: see `Request.proposal`.  Raises `InvalidField`."""
        if not isinstance(request, Request):
            raise InvalidField("request", f"must be a Request, not {request!r}")
        return request.proposal(self.terms.default_ttl, verb, replaces=replaces)

    def _proposals(self, field: str, requests: Sequence[Request]) -> list[Proposal]:
        proposals: list[Proposal] = []
        try:
            for request in listed(field, requests):
                proposals.append(self.proposal(request))  # noqa: PERF401, so that it can be told
        except SlotError as error:
            error.of_request(len(proposals))
            raise
        return proposals

    def _uid_for(self, proposal: Proposal) -> str:
        return self._new_uid(proposal.bucket())

    def _view(self, entry: Entry) -> Reservation:
        return Reservation(entry, self.ledger.state.now)

    def repeated(self, command_id: CommandId | None) -> Reservation | None:
        """Return what a command made or changed if this is a repeat of it, or None.

        Asked before anything of the state is, since the state may be another one by now.
        """
        if command_id is None:
            return None
        entry = self.ledger.repeated(command_id, now=self.read_clock())
        return None if entry is None else self.answer(entry)

    def _do(self, command: Command) -> Reservation:
        return self.answer(self.ledger.do(command, now=self.read_clock()))

    def _answered(self, uid: object) -> Reservation:
        return self.answer(self.ledger.state.entries[str(uid)])

    def reserve_or_wait(
        self,
        proposal: Proposal,
        wait: timedelta,
        *,
        jump: bool,
        command_id: CommandId | None,
    ) -> Entry | Waits:
        """Hold what is proposed, or let it wait for that long at most: for `SlotEngine`.

        What waits is answered by `Ledger.serve`, under its ticket.
        """
        lasts = duration_us(wait, "wait")
        uids = (self._uid_for(proposal),)
        command = Reserve((proposal,), uids, wait=lasts, jump=jump, client=command_id)
        (answer,) = self.ledger.step(command, self.read_clock()).answers
        if isinstance(answer, Waits):
            self.wake_if_due()  # the wait may end before the sweeper would look
            return answer
        return self.ledger.state.entries[str(answer)]

    def answer(self, entry: Entry) -> Reservation:
        """Return what callers see of an entry, and wake the sweeper if it would sleep too long."""
        self._mind_maintenance()
        return Reservation(entry, self.ledger.state.now)

    def _mind_maintenance(self) -> None:
        state = self.ledger.state
        if state.maintenance_due < self.wakes_at or state.waiting:
            self.wake_if_due()

    def wake_if_due(self) -> None:
        """Wake the sweeper if there is something to do before it would look."""
        due = self.ledger.due
        if due < self.wakes_at:
            self.wakes_at = due
            self.wake()


def _nobody_sleeps() -> None:
    """Wake the sweeper, if there is one."""
