"""The search for slots on the wire: the query of ``GET /v2/slots`` in, its data out.

Every parameter, validation text and timestamp format of the search is here and
nowhere else; what reservations need of the wire is `wire`'s.  Pure: text and
values in, values out; knows nothing of catalogs or engines, and so neither
whether there is such an event type nor whether it can be so long.

Repeated parameters are read as the original's web framework reads them: a name
that is given twice, or with ``[]`` after it, has a list for its value, which
only a few parameters may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple, TypeVar
from zoneinfo import available_timezones

from slotengine.calcom.wire import NUMERIC, HttpError, parse_timestamp, sendable, stamp
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import DAY, LAST_US, MINUTE, SECOND, from_us, to_us
from slotengine.core.time.zone import UTC_NAMES, Zone

T = TypeVar("T")

LONGEST: Final = Terms().longest_span // MINUTE
"""The longest slot that can be asked for, in minutes: what an engine allows by default."""


# --- The query -------------------------------------------------------------------------


class ById(NamedTuple):
    """Any event type, by its id."""

    event_type_id: int


class ByUser(NamedTuple):
    """An event type of a user, who is looked for in the organization, if there is one."""

    username: str
    event_type_slug: str
    organization_slug: str | None


class ByTeam(NamedTuple):
    """An event type of a team, of the organization, or of none."""

    team_slug: str
    event_type_slug: str
    organization_slug: str | None


class ByUsernames(NamedTuple):
    """No event type: when several users of an organization are all free."""

    usernames: tuple[str, ...]
    """Two at least, in the order in which they were sent; the same may be there twice."""
    organization_slug: str


Target = ById | ByUser | ByTeam | ByUsernames


@dataclass(frozen=True, slots=True)
class SlotsQuery:
    """A query whose every parameter is well written; whether it makes sense is asked later."""

    target: Target
    first: datetime
    """The earliest start of a slot, UTC."""
    last: datetime
    """Until when slots are searched, UTC; they may end one second later."""
    time_zone: str | None
    """An IANA name in its usual spelling; None for UTC, with nothing said of it."""
    duration: int | None
    """In minutes, 1 to `LONGEST`."""
    ranges: bool
    """Whether the ends of slots are to be shown."""
    rescheduled_uid: str | None
    """A booking that is not in the way, if there is one of that uid."""
    host_subset: tuple[int, ...]
    """The only users who may host; empty for no such restriction."""

    @property
    def earliest_start(self) -> int:
        """The first instant at which a slot may start, in UTC microseconds."""
        return to_us(self.first)

    @property
    def latest_end(self) -> int:
        """The last instant at which a slot may end, in UTC microseconds.

        A second after ``last``: so a slot that ends at midnight fits in a day
        that ends at 23:59:59.
        """
        return to_us(self.last) + SECOND


def parse_query(pairs: Iterable[tuple[str, str]]) -> SlotsQuery:
    """Read a query string, decoded into pairs, or raise `HttpError` 400 with all that is wrong.

    >>> query = parse_query([("eventTypeId", "1"), ("start", "2050-09-05"), ("end", "2050-09-06")])
    >>> query.target, query.first.isoformat(), query.last.isoformat()
    (ById(event_type_id=1), '2050-09-05T00:00:00+00:00', '2050-09-06T23:59:59+00:00')
    """
    sent = _Parameters(pairs)
    target = _target(sent)
    first = _moment(sent, "start")
    last = _moment(sent, "end")
    # The time of day, not the instant: a fraction of a second after midnight counts as well.
    if (last.hour, last.minute, last.second) == (0, 0, 0):
        last = last.replace(hour=23, minute=59, second=59)
    query = SlotsQuery(
        target,
        first,
        last,
        time_zone=_time_zone(sent),
        duration=_duration(sent),
        ranges=_ranges(sent),
        rescheduled_uid=sent.text("bookingUidToReschedule") or None,
        host_subset=_host_subset(sent),
    )
    sent.refuse()
    return query


class _Parameters:
    """What was sent, by name, and what is wrong with it.

    Each method takes a parameter and notes what is wrong; what it returns then
    does not matter, since `refuse` raises.
    """

    __slots__ = ("_sent", "_wrong")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._wrong: dict[str, list[str]] = {}
        self._sent: dict[str, str | list[str]] = {}
        for name, value in pairs:
            self._add(sendable(name), sendable(value))

    def _add(self, name: str, value: str) -> None:
        key = name.removesuffix("[]")
        before = self._sent.get(key)
        if before is None:
            self._sent[key] = value if key == name else [value]
        elif isinstance(before, list):
            before.append(value)
        else:
            self._sent[key] = [before, value]

    def __contains__(self, name: str) -> bool:
        return name in self._sent

    def wrong(self, name: str, *texts: str) -> None:
        """Note what is wrong with a parameter."""
        self._wrong.setdefault(name, []).extend(texts)

    def know(self, *names: str) -> None:
        """Note all parameters but these as unknown."""
        for name in self._sent:
            if name not in names:
                self.wrong(name, f"property {name} should not exist")

    def text(self, name: str, *, needed: bool = False) -> str:
        """Take text; empty if it was not sent and need not be."""
        value = self._sent.get(name)
        if isinstance(value, list) or (value is None and needed):
            self.wrong(name, f"{name} must be a string")
        return value if isinstance(value, str) else ""

    def parsed(
        self, name: str, parse: Callable[[str], T | None], problem: str, *, needed: bool = False
    ) -> T | None:
        """Take text that means something; None if it was not sent and need not be."""
        value = self._sent.get(name)
        if value is None and not needed:
            return None
        meaning = parse(value) if isinstance(value, str) else None
        if meaning is None:
            self.wrong(name, problem)
        return meaning

    def items(self, name: str) -> list[str]:
        """Take a list, repeated or separated by commas; empty if it was not sent."""
        value = self._sent.get(name, [])
        values = [value] if isinstance(value, str) else value
        return [item.strip() for each in values for item in each.split(",")]

    def refuse(self) -> None:
        """Raise `HttpError` 400 if anything is wrong."""
        if self._wrong:
            problems = (
                f"{name} property is wrong,{', '.join(texts)} "
                for name, texts in self._wrong.items()
            )
            raise HttpError(400, ", ".join(problems))


# --- Which slots -----------------------------------------------------------------------

_COMMON: Final = (
    "start",
    "end",
    "timeZone",
    "duration",
    "format",
    "bookingUidToReschedule",
    "rrHostSubsetIds",
)

_BY_ID: Final = ("eventTypeId",)
_BY_USER: Final = ("username", "eventTypeSlug", "organizationSlug")
_BY_TEAM: Final = ("teamSlug", "eventTypeSlug", "organizationSlug")
_BY_USERNAMES: Final = ("usernames", "organizationSlug")
QUERY_GROUPS: Final = (_BY_ID, _BY_USER, _BY_TEAM, _BY_USERNAMES)
"""What says which slots: the parameters of one of these, beside those that all may have."""
QUERY_NAMES: Final = frozenset(_COMMON).union(*QUERY_GROUPS)
"""All parameters there are."""


def _target(sent: _Parameters) -> Target:
    """Choose the first group whose parameters are there; those of others are unknown then."""
    if "eventTypeId" in sent:
        sent.know(*_COMMON, *_BY_ID)
        return ById(_number(sent, "eventTypeId") or 0)
    if "username" in sent and "eventTypeSlug" in sent:
        sent.know(*_COMMON, *_BY_USER)
        slug, username = sent.text("eventTypeSlug"), sent.text("username")
        return ByUser(username, slug, sent.text("organizationSlug") or None)
    if "teamSlug" in sent and "eventTypeSlug" in sent:
        sent.know(*_COMMON, *_BY_TEAM)
        slug, team = sent.text("eventTypeSlug"), sent.text("teamSlug")
        return ByTeam(team, slug, sent.text("organizationSlug") or None)
    sent.know(*_COMMON, *_BY_USERNAMES)
    usernames = tuple(sent.items("usernames"))
    if len(usernames) < 2:
        sent.wrong("usernames", "The array must contain at least 2 elements.")
    return ByUsernames(usernames, sent.text("organizationSlug", needed=True))


def _moment(sent: _Parameters, name: str) -> datetime:
    problem = f"{name} must be a valid ISO 8601 date string"
    return sent.parsed(name, _existing, problem, needed=True) or datetime.min.replace(tzinfo=UTC)


def _existing(text: str) -> datetime | None:
    """Return the moment; None also for what is written like one, such as 30 February."""
    instant = parse_timestamp(text)
    return None if instant is None else instant.moment


def _integer(text: str) -> int | None:
    return int(text) if NUMERIC.fullmatch(text) else None


def _number(sent: _Parameters, name: str) -> int | None:
    return sent.parsed(name, _integer, f"{name} {_NO_NUMBER}")


_NO_NUMBER: Final = "must be a number conforming to the specified constraints"


def _duration(sent: _Parameters) -> int | None:
    minutes = _number(sent, "duration")
    if minutes is not None and minutes < 1:
        sent.wrong("duration", "duration must not be less than 1")
    elif minutes is not None and minutes > LONGEST:
        sent.wrong("duration", f"duration must not be greater than {LONGEST}")
    return minutes


def _host_subset(sent: _Parameters) -> tuple[int, ...]:
    ids = [_integer(item) for item in sent.items("rrHostSubsetIds")]
    if None in ids:
        sent.wrong("rrHostSubsetIds", f"each value in rrHostSubsetIds {_NO_NUMBER}")
    return tuple(id for id in ids if id is not None)  # noqa: A001


# --- How they are shown ----------------------------------------------------------------

_FORMATS: Final = {"": False, "time": False, "range": True}


def _ranges(sent: _Parameters) -> bool:
    problem = "slotFormat must be either 'range' or 'time'"  # its old name, in the original too
    return sent.parsed("format", lambda text: _FORMATS.get(text.lower()), problem) or False


def _time_zone(sent: _Parameters) -> str | None:
    problem = "timeZone must be a valid IANA time-zone"
    return sent.parsed("timeZone", lambda name: _zones().get(name.lower()), problem)


@cache
def _zones() -> dict[str, str]:
    """Return the names of all time zones, by their lower case: case does not matter in them.

    Takes 5 ms, or 40 if the disk is cold, and that only once.
    """
    # Two files beside the zones: that of the machine itself, and that of a machine without one.
    names = available_timezones() - {"localtime", "Factory"}
    return {name.lower(): name for name in names | UTC_NAMES}


# --- The answer ------------------------------------------------------------------------


class SeatsShown(NamedTuple):
    """How many seats of a slot are taken, of how many."""

    booked: int
    total: int
    booking_uid: str | None
    """The booking of that session, if there is one."""


class OfferedSlot(NamedTuple):
    """A slot that can be had, in UTC microseconds; with seats if its event type has some."""

    start: int
    end: int
    seats: SeatsShown | None


Offered = tuple[int, int, SeatsShown | None]
"""The same without names, which there can be tens of thousands of."""


def slots_data(
    slots: Iterable[Offered], *, zone: str | None, ranges: bool
) -> dict[str, list[dict[str, object]]]:
    """Return slots by the dates on which they start in a zone, None for UTC.

    Dates ascend, and a date's slots are in the order given, which should be
    that of time.  Raises `HttpError` 400 if the zone's clock leaves the years
    1 to 9999.

    >>> slots_data([OfferedSlot(0, 1_800_000_000, None)], zone="Asia/Tokyo", ranges=False)
    {'1970-01-01': [{'start': '1970-01-01T09:00:00.000+09:00'}]}
    """
    starts, ends = _WallClock(zone), _WallClock(zone)
    days: dict[str, list[dict[str, object]]] = {}
    # 0.31 microseconds for each of a month's 15-minute slots, 0.51 with ranges; with
    # `astimezone` and `isoformat` for each time instead, 1.8 and 3.4 (CPython 3.11).
    for start, end, seats in slots:
        shown: dict[str, object] = {"start": starts.write(start)}
        if ranges:
            shown["end"] = ends.write(end)
        if seats is not None:
            shown["seatsBooked"] = seats.booked
            shown["seatsRemaining"] = max(0, seats.total - seats.booked)
            shown["seatsTotal"] = seats.total
            if seats.booking_uid is not None:
                shown["bookingUid"] = seats.booking_uid
        days.setdefault(starts.date, []).append(shown)
    # Clocks that are put back at midnight may show a date after the next.
    return dict(sorted(days.items()))


_MINUTES: Final = tuple(f"T{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))
"""What a clock shows at each minute of a day."""


class _WallClock:
    """Writes instants as a zone's clock shows them; fast if they are in order.

    The zone is asked once for each stretch in which the date and the offset
    stay the same; within it, what the clock shows is arithmetic.
    """

    __slots__ = ("_from", "_midnight", "_name", "_offset", "_until", "_zone", "date")

    def __init__(self, zone: str | None) -> None:
        self._name = zone or "UTC"
        self._zone = Zone.of(self._name).info
        self._from = self._until = self._midnight = 0
        self._offset = ""
        self.date = ""
        """The date of the instant that was written last."""

    def write(self, instant: int) -> str:
        """Return an instant as ISO 8601 with milliseconds and offset.  O(1)."""
        if not self._from <= instant < self._until:
            self._turn_to(instant)
        minute, rest = divmod(instant - self._midnight, MINUTE)
        if not rest:
            return f"{self.date}{_MINUTES[minute]}:00.000{self._offset}"
        second, us = divmod(rest, SECOND)
        return f"{self.date}{_MINUTES[minute]}:{second:02}.{us // 1000:03}{self._offset}"

    def _turn_to(self, instant: int) -> None:
        local = self._local(instant)
        shown = local.isoformat(timespec="milliseconds")
        self.date = shown[:10]
        # Of all zones only these two are written with a Z, even where others mean the same.
        self._offset = "Z" if self._name in {"UTC", "GMT"} else shown[23:]
        minute_of_day = local.hour * 60 + local.minute
        self._midnight = instant - (
            minute_of_day * MINUTE + local.second * SECOND + local.microsecond
        )
        # No zone changes twice within a day (see `core.time.schedule`): if its offset is the same
        # at the end of the date, then so it is until there.  Else ask again each time.
        midnight = self._midnight + DAY
        steady = self._local(min(midnight - 1, LAST_US)).utcoffset() == local.utcoffset()
        self._from = instant
        self._until = midnight if steady else instant + 1

    def _local(self, instant: int) -> datetime:
        moment = from_us(instant)
        try:
            return moment.astimezone(self._zone)
        except OverflowError:
            raise HttpError(
                400,
                f"Could not adjust timezone for slot {stamp(moment)} with timezone {self._name}",
            ) from None
