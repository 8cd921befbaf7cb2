"""The search for slots on the wire: the query of ``GET /v2/slots`` in, its data out.

Every parameter and timestamp format of the search is here and nowhere else.  Pure: text
and values in, values out; knows nothing of catalogs or engines, and so neither whether
there is such an event type nor whether it can be so long.

Repeated parameters are read as the original's web framework reads them: a name
that is given twice, or with ``[]`` after it, has a list for its value, which
only a few parameters may have.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Annotated, Final, Literal, NamedTuple
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    SkipValidation,
    ValidationError,
    WithJsonSchema,
)

from slotengine.calcom.server.models import (
    ABSENT,
    IS_NUMBER,
    IS_STRING,
    IS_TIME,
    TIME,
    Answer,
    Constraint,
    Model,
    broken,
)
from slotengine.calcom.wire import NUMERIC, HttpError, parse_timestamp, sendable, stamp
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import DAY, LAST_US, MINUTE, SECOND, from_us, to_us
from slotengine.core.time.zone import UTC_NAMES, Zone

LONGEST_MINUTES: Final = Terms().longest_span // MINUTE
"""The longest slot that can be asked for, in minutes: what an engine allows by default."""

# --- Values of parameters --------------------------------------------------------------

Sent = str | list[str]
"""What was sent for a parameter."""


def _text(value: Sent) -> str:
    if not isinstance(value, str):
        raise ValueError("given more than once")
    return value


def _moment(value: Sent) -> datetime:
    timestamp = parse_timestamp(_text(value))
    if timestamp is None or timestamp.moment is None:  # such as 30 February
        raise ValueError("not a time")
    return timestamp.moment


def _end_of_day(moment: datetime) -> datetime:
    """Return the last second of a date for its midnight, and any other moment as it is."""
    # The time of day, not the instant: a fraction of a second after midnight counts as well.
    if (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        return moment.replace(hour=23, minute=59, second=59)
    return moment


def _integer(value: Sent) -> int:
    text = _text(value)
    if not NUMERIC.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _items(value: Sent) -> list[str]:
    """Return a list that is repeated or separated by commas."""
    values = [value] if isinstance(value, str) else value
    return [item.strip() for each in values for item in each.split(",")]


def _integers(value: Sent) -> list[int]:
    return [_integer(item) for item in _items(value)]


def _lower(value: Sent) -> str:
    return _text(value).lower()


def _zone_name(value: Sent) -> str:
    name = _zones().get(_text(value).lower())
    if name is None:
        raise ValueError("no such time zone")
    return name


@cache
def _zones() -> dict[str, str]:
    """Return the names of all time zones, by their lower case: case does not matter in them.

    Takes 5 ms, or 40 if the disk is cold, and that only once.
    """
    # Two files beside the zones: that of the machine itself, and that of a machine without one.
    names = available_timezones() - {"localtime", "Factory"}
    return {name.lower(): name for name in names | UTC_NAMES}


def _none_if_empty(text: str) -> str | None:
    return text or None


_Text = Annotated[str, IS_STRING]
_OptionalText = Annotated[str | None, AfterValidator(_none_if_empty), IS_STRING, ABSENT]
_Number = Annotated[int, BeforeValidator(_integer)]

# --- The query -------------------------------------------------------------------------


class SlotsQuery(Model):
    """What may be asked of a search, whatever says which slots."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[
        datetime,
        SkipValidation,
        BeforeValidator(_moment),
        WithJsonSchema(TIME),
        IS_TIME,
        Field(description="The earliest start of a slot; a date alone is its midnight in UTC"),
    ]
    end: Annotated[
        datetime,
        SkipValidation,
        BeforeValidator(_moment),
        AfterValidator(_end_of_day),
        WithJsonSchema(TIME),
        IS_TIME,
        Field(description="The latest end of a slot; a midnight stands for the end of that day"),
    ]
    time_zone: Annotated[
        Annotated[str, BeforeValidator(_zone_name)] | None,
        Constraint("isTimeZone", "{field} must be a valid IANA time-zone"),
        ABSENT,
        Field(description="An IANA name; times and dates are shown in that zone"),
    ] = None
    duration: Annotated[
        Annotated[int, Field(ge=1, le=LONGEST_MINUTES), BeforeValidator(_integer)] | None,
        IS_NUMBER,
        ABSENT,
        Field(description="In minutes; one of the event type's"),
    ] = None
    format: Annotated[
        Literal["time", "range", ""],
        BeforeValidator(_lower),
        Constraint("isIn", "slotFormat must be either 'range' or 'time'"),  # its old name
        Field(description="With `range` each slot has its end, too"),
    ] = "time"
    booking_uid_to_reschedule: Annotated[
        _OptionalText, Field(description="A booking or hold that is not in the way")
    ] = None
    rr_host_subset_ids: Annotated[
        tuple[int, ...],
        BeforeValidator(_integers),
        Constraint("isNumber", "each value in " + IS_NUMBER.text),
        Field(description="Round robin: the only users who may host"),
    ] = ()

    @property
    def ranges(self) -> bool:
        """Whether the ends of slots are shown."""
        return self.format == "range"

    @property
    def earliest_start(self) -> int:
        """The first instant at which a slot may start, in UTC microseconds."""
        return to_us(self.start)

    @property
    def latest_end(self) -> int:
        """The last instant at which a slot may end, in UTC microseconds.

        A second after ``end``: so a slot that ends at midnight fits in a day
        that ends at 23:59:59.
        """
        return to_us(self.end) + SECOND


_OfOrganization = Annotated[
    _OptionalText, Field(description="The organization of the user, team or users")
]


class ById(SlotsQuery):
    """A search of any event type, by its id."""

    event_type_id: Annotated[
        _Number, IS_NUMBER, Field(description="The id of an event type", examples=[1])
    ]


class ByUser(SlotsQuery):
    """A search of an event type of a user, found in the organization if one is named."""

    event_type_slug: Annotated[_Text, Field(description="An event type of the user or team")]
    username: Annotated[_Text, Field(description="The user who owns the event type")]
    organization_slug: _OfOrganization = None


class ByTeam(SlotsQuery):
    """A search of an event type of a team, of the organization or of none."""

    event_type_slug: Annotated[_Text, Field(description="An event type of the user or team")]
    team_slug: Annotated[_Text, Field(description="The team that owns the event type")]
    organization_slug: _OfOrganization = None


class ByUsernames(SlotsQuery):
    """A search without an event type, for when several users of an organization are all free.

    The users are in the order in which they were sent; one may be there twice.
    """

    usernames: Annotated[
        tuple[str, ...],
        Field(min_length=2),
        BeforeValidator(_items),
        Constraint("arrayMinSize", "The array must contain at least 2 elements."),
        Field(description="No event type: when all of these are free"),
    ]
    organization_slug: Annotated[
        _Text, Field(description="The organization of the user, team or users")
    ]


AnyQuery = ById | ByUser | ByTeam | ByUsernames
QUERIES: Final = (ById, ByUser, ByTeam, ByUsernames)
"""The queries there are; each has parameters of its own, which say which slots."""


def own_parameters(query: type[SlotsQuery]) -> list[str]:
    """Return the parameters of a query that are not all searches'.

    >>> own_parameters(ByTeam)
    ['eventTypeSlug', 'teamSlug', 'organizationSlug']
    """
    shared = SlotsQuery.model_fields
    return [field.alias or "" for name, field in query.model_fields.items() if name not in shared]


def parse_query(pairs: Iterable[tuple[str, str]]) -> AnyQuery:
    """Read a query string, decoded into pairs, or raise `HttpError` 400 with all that is wrong.

    >>> query = parse_query([("eventTypeId", "1"), ("start", "2050-09-05"), ("end", "2050-09-06")])
    >>> query.event_type_id, query.start.isoformat(), query.end.isoformat()
    (1, '2050-09-05T00:00:00+00:00', '2050-09-06T23:59:59+00:00')
    """
    sent = _collected(pairs)
    query = _chosen(sent)
    try:
        return query.model_validate(sent)
    except ValidationError as error:
        raise _wrong(query, error) from None


def _collected(pairs: Iterable[tuple[str, str]]) -> dict[str, Sent]:
    """Return what was sent by name; a list for a name that is repeated, or ends in ``[]``."""
    found: dict[str, Sent] = {}
    for sent_name, sent_value in pairs:
        name, value = sendable(sent_name), sendable(sent_value)
        key = name.removesuffix("[]")
        before = found.get(key)
        if before is None:
            found[key] = value if key == name else [value]
        elif isinstance(before, list):
            before.append(value)
        else:
            found[key] = [before, value]
    return found


def _chosen(sent: dict[str, Sent]) -> type[AnyQuery]:
    """Return the first query whose parameters are there; it refuses those of the others."""
    if "eventTypeId" in sent:
        return ById
    if "eventTypeSlug" in sent:
        if "username" in sent:
            return ByUser
        if "teamSlug" in sent:
            return ByTeam
    return ByUsernames


def _wrong(query: type[SlotsQuery], error: ValidationError) -> HttpError:
    """Return the 400: unknown parameters first, then those that say which slots."""
    own, shared = own_parameters(query), [each.alias for each in SlotsQuery.model_fields.values()]
    order = [*own, *shared]
    problems = sorted(
        broken(query, error),
        key=lambda each: order.index(each.field) if each.field in order else -1,
    )
    told = (f"{each.field} property is wrong,{each.text} " for each in problems)
    return HttpError(400, ", ".join(told))


# --- The answer ------------------------------------------------------------------------

_Seats = Annotated[Annotated[int, Field(ge=0)] | None, ABSENT]


class Slot(Answer):
    """A slot that can be had; with seats if its event type has some."""

    start: datetime
    end: Annotated[datetime | None, ABSENT, Field(description="With `format=range`")] = None
    seats_booked: _Seats = None
    seats_remaining: _Seats = None
    seats_total: _Seats = None
    booking_uid: Annotated[str | None, ABSENT] = None


_Date = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Slots(RootModel[dict[_Date, Annotated[list[Slot], Field(min_length=1)]]]):
    """Slots by the dates on which they start, both in order."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


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
