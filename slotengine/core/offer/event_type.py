"""What can be booked, and by which rules.

An `EventType` says how long a slot is, which resources it takes (each a `Host`), how
much time it keeps free around it, how far ahead it can be booked, and how often.
Everything here is an immutable value, checked on creation.  Whether a slot can be had is
decided in `booking_service` and by the ledger.

Days, weeks, months and years are those of the event type's zone, because what can be
booked must not depend on the viewer.  A week begins on Monday (ISO 8601).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from slotengine.core.ledger.checks import check_name, check_schedule, check_text, is_count
from slotengine.core.ledger.config import (
    DatesConfig,
    EventTypeConfig,
    HostConfig,
    HoursRef,
    PeriodLimitConfig,
    RollingConfig,
)
from slotengine.core.ledger.terms import LONGEST_LIFE
from slotengine.core.time.instant import DAY, duration_us
from slotengine.core.time.schedule_text import schedule_text
from slotengine.core.time.zone import EPOCH_ORDINAL, FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import InvalidField

if TYPE_CHECKING:
    from slotengine.core.time.schedule import Windows

T = TypeVar("T")

_MINUTE: Final = timedelta(minutes=1)
_NO_TIME: Final = timedelta()
_FIRST_COUNTED: Final = FIRST_LOCAL + 2 * 366 * DAY
_LAST_COUNTED: Final = LAST_LOCAL - 2 * 366 * DAY
_PERIODS_KEPT: Final = 4096


# --- Periods and booking windows -----------------------------------------------------------


class Period(Enum):
    """The period that a limit counts in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    def days(self, day: int) -> tuple[int, int]:
        """Return the first day of the period that contains a day, and the first day of the next.

        Days are numbered from 1970-01-01.

        >>> Period.WEEK.days(0), Period.MONTH.days(40)  # a Thursday; 10 February
        ((-3, 4), (31, 59))
        """
        if self is Period.DAY:
            return day, day + 1
        if self is Period.WEEK:
            first = day - (day + 3) % 7
            return first, first + 7
        on = date.fromordinal(day + EPOCH_ORDINAL)
        if self is Period.MONTH:
            begins = on.replace(day=1)
            following = (begins + timedelta(days=31)).replace(day=1)
        else:
            begins = on.replace(month=1, day=1)
            following = begins.replace(year=on.year + 1)
        return begins.toordinal() - EPOCH_ORDINAL, following.toordinal() - EPOCH_ORDINAL

    def span(self, zone: Zone, moment: int) -> tuple[int, int]:
        """Return the period of a zone's calendar that contains a moment, as a span of time.

        Moments in the first and last years of the calendar are assigned to the
        nearest period that lies entirely in the calendar.
        """
        moment = min(max(moment, _FIRST_COUNTED), _LAST_COUNTED)
        first, following = self.days(zone.date(moment))
        end = zone.midnight(following)
        if moment >= end:  # clocks went back across midnight, so the next date began twice
            first, following = self.days(following)
            end = zone.midnight(following)
        return zone.midnight(first), end


class PeriodCache:
    """The periods of one kind in a zone's calendar, cached.

    >>> days = PeriodCache(Period.DAY, Zone.of("UTC"))
    >>> days.span(DAY + 1) == (DAY, 2 * DAY)
    True
    """

    __slots__ = ("_begins", "_spans", "per", "zone")

    def __init__(self, per: Period, zone: Zone) -> None:
        self.per = per
        self.zone = zone
        self._begins: list[int] = []
        self._spans: list[tuple[int, int]] = []

    def span(self, moment: int) -> tuple[int, int]:
        """Return the period that contains a moment, as `Period.span` does.

        O(log n) if it is cached.  Measured: 0.3 µs, where computing it takes 6.
        """
        after = bisect_right(self._begins, moment)
        if after:
            span = self._spans[after - 1]
            if moment < span[1]:
                return span
        span = self.per.span(self.zone, moment)
        if span[0] <= moment < span[1]:  # false at either end of the calendar
            if len(self._begins) >= _PERIODS_KEPT:
                self._begins.clear()
                self._spans.clear()
                after = 0
            self._begins.insert(after, span[0])
            self._spans.insert(after, span)
        return span

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n); for tests."""
        assert self._begins == sorted({begin for begin, _ in self._spans})
        assert self._begins == [begin for begin, _ in self._spans]
        assert len(self._begins) <= _PERIODS_KEPT
        assert all(self.per.span(self.zone, begin) == (begin, end) for begin, end in self._spans)


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of an event type can be reserved in each period, as a count or as a total time.

    A reservation counts in full in the period in which it starts.  A shared session counts
    once.  Live holds count like bookings.

    >>> three_a_day = Limit(Period.DAY, count=3)
    >>> two_hours_a_week = Limit(Period.WEEK, time=timedelta(hours=2))

    :raises InvalidField: unless exactly one of ``count`` and ``time`` is given, and is
        positive; a time must be in whole minutes.
    """

    per: Period
    count: int | None = None
    time: timedelta | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.per, Period):
            raise InvalidField("limits", f"must each have a Period as per, not {self.per!r}")
        if (self.count is None) == (self.time is None):
            raise InvalidField(
                "limits",
                f"must each have either a count or a time, not count={self.count!r} and "
                f"time={self.time!r}",
            )
        if self.count is not None and not is_count(self.count):
            raise InvalidField("limits", f"must have a positive whole count, not {self.count!r}")
        if self.time is not None:
            _whole_minutes("limits", self.time, least=1)

    @property
    def units(self) -> int:
        """The count, or the time in minutes."""
        if self.count is not None:
            return self.count
        assert self.time is not None
        return self.time // _MINUTE


@dataclass(frozen=True, slots=True)
class RollingDays:
    """A booking window from now to the end of the day that is ``days`` days ahead.  0 is today.

    With ``business=True`` only Monday to Friday are counted.

    >>> from datetime import UTC, datetime
    >>> from slotengine.core.time.instant import from_us, to_us
    >>> friday = to_us(datetime(2030, 1, 4, 12, tzinfo=UTC))
    >>> utc = Zone.of("UTC")
    >>> from_us(RollingDays(1).span(utc, friday)[1]).day
    6
    >>> from_us(RollingDays(1, business=True).span(utc, friday)[1]).day
    8

    :raises InvalidField: if the number of days is negative or more than a hundred years.
    """

    days: int
    business: bool = False

    def __post_init__(self) -> None:
        if type(self.days) is not int or not 0 <= self.days <= 36_525:
            raise InvalidField("window", f"must be 0 to 36525 days, not {self.days!r}")

    def span(self, zone: Zone, now: int) -> tuple[int, int]:
        """Return the span in which a slot must start to be bookable at ``now``."""
        today = zone.date(now)
        last = _business_days_after(today, self.days) if self.business else today + self.days
        return now, zone.midnight(last + 1)


def _business_days_after(day: int, count: int) -> int:
    """Return the day that is a number of weekdays after another."""
    # Day 0, 1970-01-01, was a Thursday.  A weekend counts as the Friday before it.
    weekday = (day + 3) % 7
    if count and weekday > 4:
        day -= weekday - 4
        weekday = 4
    weeks, rest = divmod(count, 5)
    return day + 7 * weeks + rest + 2 * (weekday + rest > 4 and rest > 0)


@dataclass(frozen=True, slots=True)
class DateRange:
    """A booking window from the first date to the last, inclusive.

    >>> DateRange(date(2030, 6, 1), date(2030, 8, 31))
    DateRange(first=datetime.date(2030, 6, 1), last=datetime.date(2030, 8, 31))

    :raises InvalidField: if these are not plain dates, or the last is before the first.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if type(self.first) is not date or type(self.last) is not date:
            raise InvalidField(
                "window", f"must be between plain dates, not {self.first!r} and {self.last!r}"
            )
        if self.last < self.first:
            raise InvalidField(
                "window", f"must not end before it starts, but is {self.first} to {self.last}"
            )

    def span(self, zone: Zone, now: int) -> tuple[int, int]:
        """Return the span in which a slot must start.  It does not depend on ``now``."""
        first, last = self.first.toordinal(), self.last.toordinal()
        return zone.midnight(first - EPOCH_ORDINAL), zone.midnight(last + 1 - EPOCH_ORDINAL)


# --- Event types -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Host:
    """A resource as one event type uses it.

    ``weight`` is the host's share of the turns in its group.  ``schedule`` replaces the
    resource's own hours.  ``units`` is how many of its units a slot takes.  ``credit`` is how
    many turns it counts as having had, beside those it had: a host that joins a group later
    gets as many as the least loaded of the others by default, and none if it is there first.

    >>> Host("consultant-1", weight=2).units
    1

    :raises InvalidField: if weight or units are not positive whole numbers, ``credit`` is
        neither None nor a whole number, or ``schedule`` is not a schedule.
    """

    resource: str
    weight: int = 1
    schedule: Windows | None = None
    units: int = 1
    credit: int | None = None

    def __post_init__(self) -> None:
        check_name("resource", self.resource)
        for name, value in (("weight", self.weight), ("units", self.units)):
            if not is_count(value):
                raise InvalidField(name, f"must be a positive whole number, not {value!r}")
        if self.credit is not None and (type(self.credit) is not int or self.credit < 0):
            raise InvalidField("credit", f"must be 0 or more, and whole, not {self.credit!r}")
        check_schedule(self.schedule)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """What can be booked: for how long, with which hosts, when, and how often.

    Every reservation takes all resources in ``all_of``, and one of each group in
    ``any_of``: a free one, by turns.  Both accept ids and `Host` objects, and have `Host`
    objects afterwards.

    >>> talk = EventType(
    ...     id="first-talk",
    ...     length=timedelta(minutes=30),
    ...     all_of=["room-1"],
    ...     any_of=[["consultant-1", Host("consultant-2", weight=2)]],
    ...     after=timedelta(minutes=10),
    ...     notice=timedelta(hours=2),
    ...     limits=[Limit(Period.DAY, count=8)],
    ... )
    >>> [host.resource for host in talk.hosts()]
    ['room-1', 'consultant-1', 'consultant-2']

    ==============  ================================================================
    ``lengths``     the lengths that callers can choose from; only ``length`` if empty
    ``interval``    the time from one offered start to the next; default: the length
    ``offset``      a time added to the first offered start, and to each interval
    ``before``,     the time kept free before and after a slot; other reservations
    ``after``       keep their own buffers in addition
    ``notice``      the least time from now to the start
    ``window``      the dates that can be booked: `RollingDays` or `DateRange`
    ``limits``      how much can be reserved in a day, week, month or year
    ``seats``       the number of seats of each shared session
    ``schedule``    hours that replace those of all hosts
    ``first_only``  offer only the first slot of each date
    ``optimized``   choose starts so that the most slots fit into the free time
    ``zone``        the zone that dates are in; default: the zone of the schedule, or
                    of the first host with one, or UTC
    ==============  ================================================================

    :raises InvalidField: if the rules contradict each other or can never be met.
    """

    id: str
    length: timedelta
    all_of: Sequence[str | Host] = ()
    any_of: Sequence[Sequence[str | Host]] = ()
    lengths: Sequence[timedelta] = ()
    interval: timedelta | None = None
    offset: timedelta = _NO_TIME
    before: timedelta = _NO_TIME
    after: timedelta = _NO_TIME
    notice: timedelta = _NO_TIME
    window: RollingDays | DateRange | None = None
    limits: Sequence[Limit] = ()
    seats: int | None = None
    schedule: Windows | None = None
    first_only: bool = False
    optimized: bool = False
    zone: str | None = None

    # all_of and any_of again, with the types that they have after __post_init__.
    fixed: tuple[Host, ...] = field(init=False, repr=False, compare=False)
    groups: tuple[tuple[Host, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = partial(object.__setattr__, self)
        put("fixed", _hosts("all_of", self.all_of))
        put("groups", tuple(_hosts("any_of", group) for group in _listed("any_of", self.any_of)))
        put("all_of", self.fixed)
        put("any_of", self.groups)
        put("lengths", _listed("lengths", self.lengths))
        put("limits", _listed("limits", self.limits))
        self._check_who()
        self._check_times()
        self._check_rules()

    def hosts(self) -> Iterator[Host]:
        """Yield all hosts: the fixed ones, then those of each group."""
        yield from self.fixed
        for group in self.groups:
            yield from group

    def as_config(self, written: Callable[[Windows], HoursRef] = schedule_text) -> EventTypeConfig:
        """Return the same as a plain value; ``written`` says what stands for a schedule.

        >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room-1"])
        >>> talk.as_config().length
        1800000000

        :raises InvalidField: for a schedule of a class that has no text.
        """

        def hours(schedule: Windows | None) -> HoursRef:
            return None if schedule is None else written(schedule)

        def hosts(group: tuple[Host, ...]) -> tuple[HostConfig, ...]:
            return tuple(
                HostConfig(one.resource, one.weight, hours(one.schedule), one.units, one.credit)
                for one in group
            )

        return EventTypeConfig(
            length=duration_us(self.length),
            fixed=hosts(self.fixed),
            groups=tuple(map(hosts, self.groups)),
            lengths=tuple(map(duration_us, self.lengths)),
            interval=None if self.interval is None else duration_us(self.interval),
            offset=duration_us(self.offset),
            before=duration_us(self.before),
            after=duration_us(self.after),
            notice=duration_us(self.notice),
            window=None if self.window is None else _window_config(self.window),
            limits=tuple(
                PeriodLimitConfig(limit.per.value, limit.units, limit.count is None)
                for limit in self.limits
            ),
            seats=self.seats,
            schedule=hours(self.schedule),
            first_only=self.first_only,
            optimized=self.optimized,
            zone=self.zone,
        )

    @classmethod
    def from_config(
        cls, id: str, config: EventTypeConfig, read: Callable[[HoursRef], Windows | None]
    ) -> EventType:
        """Return the event type that a plain value says; ``read`` returns a schedule.

        >>> config = EventTypeConfig(1_800_000_000, fixed=(HostConfig("room-1"),))
        >>> EventType.from_config("talk", config, lambda hours: None).length
        datetime.timedelta(seconds=1800)

        :raises InvalidField: if the value is not one that `as_config` makes, or its rules
            contradict each other.
        """
        try:
            return cls(**_fields(config, read), id=id)
        except InvalidField:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"must be as EventType.as_config makes them, not {config!r:.199}"
            raise InvalidField("event_type", problem) from error

    def _check_who(self) -> None:
        check_name("id", self.id)
        resources = [host.resource for host in self.hosts()]
        if not resources:
            raise InvalidField("all_of", "and any_of are both empty; name at least one resource")
        if len(set(resources)) < len(resources):
            twice = next(one for one in resources if resources.count(one) > 1)
            raise InvalidField(
                "any_of", f"and all_of must name each resource once, but name {twice!r} twice"
            )
        if not all(self.groups):
            raise InvalidField("any_of", "has an empty group; leave it out, or name its hosts")
        check_schedule(self.schedule)
        check_text("zone", self.zone)
        if self.zone is not None:
            Zone.of(self.zone)

    def _check_times(self) -> None:
        _whole_minutes("length", self.length, least=1)
        for length in self.lengths:
            _whole_minutes("lengths", length, least=1)
        if self.lengths and self.length not in self.lengths:
            raise InvalidField("lengths", f"must include the length itself, {self.length}")
        if self.interval is not None:
            _whole_minutes("interval", self.interval, least=1)
        _whole_minutes("offset", self.offset, least=0)
        for name in ("before", "after", "notice"):
            if not 0 <= duration_us(getattr(self, name), name) <= LONGEST_LIFE:
                value = getattr(self, name)
                raise InvalidField(name, f"must be from 0 to a hundred years, not {value}")

    def _check_rules(self) -> None:
        if self.window is not None and not isinstance(self.window, RollingDays | DateRange):
            raise InvalidField("window", f"must be a RollingDays or DateRange, not {self.window!r}")
        if not all(isinstance(limit, Limit) for limit in self.limits):
            raise InvalidField("limits", f"must be Limit objects, not {self.limits!r}")
        kinds = [(limit.per, limit.count is None) for limit in self.limits]
        if len(set(kinds)) < len(kinds):
            raise InvalidField("limits", "must have at most one count and one time for each period")
        shortest = min((self.length, *self.lengths))
        if any(limit.time is not None and limit.time < shortest for limit in self.limits):
            raise InvalidField(
                "limits", f"must leave time for the shortest slot, which is {shortest}"
            )
        if self.seats is not None and not is_count(self.seats):
            raise InvalidField("seats", f"must be a positive whole number, not {self.seats!r}")


def _listed(name: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return the items as a tuple.  Raises `InvalidField` for anything but an iterable of items."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidField(name, f"must be a list or tuple, not {given!r}")
    return tuple(given)


def _hosts(name: str, given: Iterable[str | Host]) -> tuple[Host, ...]:
    return tuple(one if isinstance(one, Host) else Host(one) for one in _listed(name, given))


def _whole_minutes(name: str, value: timedelta, *, least: int) -> None:
    us = duration_us(value, name)
    if us % 60_000_000 or us < least * 60_000_000:
        kind = "one or more" if least else "zero or more"
        raise InvalidField(name, f"must be {kind} whole minutes, not {value}")


# --- Plain values ------------------------------------------------------------------------


def _fields(config: EventTypeConfig, read: Callable[[HoursRef], Windows | None]) -> dict[str, Any]:
    """Return the fields of an event type, but for its id."""

    def hosts(group: tuple[HostConfig, ...]) -> tuple[Host, ...]:
        return tuple(
            Host(one.resource, one.weight, read(one.schedule), one.units, one.credit)
            for one in group
        )

    interval, window = config.interval, config.window
    return {
        "length": _delta(config.length),
        "all_of": hosts(config.fixed),
        "any_of": tuple(map(hosts, config.groups)),
        "lengths": tuple(map(_delta, config.lengths)),
        "interval": None if interval is None else _delta(interval),
        "offset": _delta(config.offset),
        "before": _delta(config.before),
        "after": _delta(config.after),
        "notice": _delta(config.notice),
        "window": None if window is None else _window(window),
        "limits": tuple(map(_limit, config.limits)),
        "seats": config.seats,
        "schedule": read(config.schedule),
        "first_only": config.first_only,
        "optimized": config.optimized,
        "zone": config.zone,
    }


_delta: Final = partial(timedelta, 0, 0)
"""Returns microseconds as a timedelta."""


def _limit(limit: PeriodLimitConfig) -> Limit:
    if limit.by_minutes:
        return Limit(Period(limit.per), time=timedelta(minutes=limit.most))
    return Limit(Period(limit.per), count=limit.most)


def _window_config(window: RollingDays | DateRange) -> RollingConfig | DatesConfig:
    if isinstance(window, RollingDays):
        return RollingConfig(window.days, window.business)
    return DatesConfig(window.first.isoformat(), window.last.isoformat())


def _window(window: RollingConfig | DatesConfig) -> RollingDays | DateRange:
    if isinstance(window, RollingConfig):
        return RollingDays(window.days, window.business)
    return DateRange(date.fromisoformat(window.first), date.fromisoformat(window.last))
