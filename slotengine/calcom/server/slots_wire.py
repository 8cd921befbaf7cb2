"""The search for slots on the wire: the query of ``GET /v2/slots``, and the data it returns.

Pure: knows nothing of catalogs or engines, and so not whether an event type exists or
can have a length.

Repeated parameters are read as the original's web framework reads them: a name that is
sent twice, or that ends in ``[]``, has a list as its value, which few parameters allow.
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
    ApiModel,
    Constraint,
    ResponseBody,
    broken_constraints,
)
from slotengine.calcom.wire import (
    NUMERIC,
    TIMES_OF_DAY,
    HttpError,
    parse_timestamp,
    stamp,
    without_surrogates,
)
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import DAY, LAST_US, MINUTE, SECOND, from_us, to_us
from slotengine.core.time.zone import UTC_NAMES, Zone

LONGEST_MINUTES: Final = Terms().longest_span // MINUTE
"""The longest slot in minutes, as an engine allows by default."""

# --- Values of parameters --------------------------------------------------------------

Sent = str | list[str]
"""The value of a parameter as it was sent; a list if it was repeated."""


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
    """Return 23:59:59 of the same date for a midnight, and any other moment unchanged."""
    # A fraction of a second after midnight counts as midnight, too.
    if (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        return moment.replace(hour=23, minute=59, second=59)
    return moment


def _integer(value: Sent) -> int:
    text = _text(value)
    if not NUMERIC.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _items(value: Sent) -> list[str]:
    """Return the items of a list, repeated or separated by commas."""
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
    """Return the names of all time zones by their lower case, since case does not matter.

    Takes 5 ms, or 40 with a cold disk, once.
    """
    # Two names that are not zones: the machine's own, and that of a machine without one.
    names = available_timezones() - {"localtime", "Factory"}
    return {name.lower(): name for name in names | UTC_NAMES}


def _none_if_empty(text: str) -> str | None:
    return text or None


_Text = Annotated[str, IS_STRING]
_OptionalText = Annotated[str | None, AfterValidator(_none_if_empty), IS_STRING, ABSENT]
_Number = Annotated[int, BeforeValidator(_integer)]

# --- The query -------------------------------------------------------------------------


class SlotsQuery(ApiModel):
    """The parameters of every search."""

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
        Field(description="In minutes; one of the event type's lengths"),
    ] = None
    format: Annotated[
        Literal["time", "range", ""],
        BeforeValidator(_lower),
        Constraint("isIn", "slotFormat must be either 'range' or 'time'"),  # its old name
        Field(description="With `range`, each slot has its end, too"),
    ] = "time"
    booking_uid_to_reschedule: Annotated[
        _OptionalText,
        Field(description="The uid of a booking or hold to move; its time counts as free"),
    ] = None
    rr_host_subset_ids: Annotated[
        tuple[int, ...],
        BeforeValidator(_integers),
        Constraint("isNumber", "each value in " + IS_NUMBER.text),
        Field(description="For round robin: the ids of the users to choose hosts from"),
    ] = ()

    @property
    def ranges(self) -> bool:
        """Whether the response has the ends of slots."""
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
    """A search for slots of an event type, by its id."""

    event_type_id: Annotated[
        _Number, IS_NUMBER, Field(description="The id of an event type", examples=[1])
    ]


class ByUser(SlotsQuery):
    """A search for slots of a user's event type; an organization limits it to its users."""

    event_type_slug: Annotated[_Text, Field(description="An event type of the user or team")]
    username: Annotated[_Text, Field(description="The user who owns the event type")]
    organization_slug: _OfOrganization = None


class ByTeam(SlotsQuery):
    """A search for slots of a team's event type.

    Without an organization, only teams outside of all organizations are found.
    """

    event_type_slug: Annotated[_Text, Field(description="An event type of the user or team")]
    team_slug: Annotated[_Text, Field(description="The team that owns the event type")]
    organization_slug: _OfOrganization = None


class ByUsernames(SlotsQuery):
    """A search for times at which several users of an organization are all free.

    The users are in the order sent; one may occur twice.
    """

    usernames: Annotated[
        tuple[str, ...],
        Field(min_length=2),
        BeforeValidator(_items),
        Constraint("arrayMinSize", "The array must contain at least 2 elements."),
        Field(description="Instead of an event type: the users who must all be free"),
    ]
    organization_slug: Annotated[
        _Text, Field(description="The organization of the user, team or users")
    ]


AnyQuery = ById | ByUser | ByTeam | ByUsernames
QUERIES: Final = (ById, ByUser, ByTeam, ByUsernames)
"""All kinds of queries; each has parameters of its own, which name the event type."""


def own_parameters(query: type[SlotsQuery]) -> list[str]:
    """Return the parameters that not every search has.

    >>> own_parameters(ByTeam)
    ['eventTypeSlug', 'teamSlug', 'organizationSlug']
    """
    shared = SlotsQuery.model_fields
    return [field.alias or "" for name, field in query.model_fields.items() if name not in shared]


def parse_query(pairs: Iterable[tuple[str, str]]) -> AnyQuery:
    """Read a query string, decoded into pairs.  Raises `HttpError` 400 with all problems.

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
    """Return the values by name; a list for a name that is repeated or ends in ``[]``."""
    found: dict[str, Sent] = {}
    for sent_name, sent_value in pairs:
        name, value = without_surrogates(sent_name), without_surrogates(sent_value)
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
    """Return the kind of query, by its own parameters; the first if those of several were sent.

    Its model then refuses the parameters of the others.
    """
    if "eventTypeId" in sent:
        return ById
    if "eventTypeSlug" in sent:
        if "username" in sent:
            return ByUser
        if "teamSlug" in sent:
            return ByTeam
    return ByUsernames


def _wrong(query: type[SlotsQuery], error: ValidationError) -> HttpError:
    """Return the 400: unknown parameters first, then the query's own, then the others."""
    own, shared = own_parameters(query), [each.alias for each in SlotsQuery.model_fields.values()]
    order = [*own, *shared]
    problems = sorted(
        broken_constraints(query, error),
        key=lambda each: order.index(each.field) if each.field in order else -1,
    )
    texts = (f"{each.field} property is wrong,{each.text} " for each in problems)
    return HttpError(400, ", ".join(texts))


# --- The response ----------------------------------------------------------------------

_Seats = Annotated[Annotated[int, Field(ge=0)] | None, ABSENT]


class SlotShown(ResponseBody):
    """An available slot; with seats if its event type has seats."""

    start: datetime
    end: Annotated[datetime | None, ABSENT, Field(description="With `format=range`")] = None
    seats_booked: _Seats = None
    seats_remaining: _Seats = None
    seats_total: _Seats = None
    booking_uid: Annotated[str | None, ABSENT] = None


_Date = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class SlotsByDate(RootModel[dict[_Date, Annotated[list[SlotShown], Field(min_length=1)]]]):
    """Available slots by the dates on which they start; dates and slots ascend."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


class SeatCount(NamedTuple):
    """The seats of a slot."""

    booked: int
    total: int
    booking_uid: str | None
    """The uid of a booking in the session, if there is one."""


class OfferedSlot(NamedTuple):
    """An available slot, in UTC microseconds; with seats if its event type has seats."""

    start: int
    end: int
    seats: SeatCount | None


SlotTuple = tuple[int, int, SeatCount | None]
"""The same as a plain tuple: there can be tens of thousands."""


def slots_data(
    slots: Iterable[SlotTuple], *, zone: str | None, ranges: bool
) -> dict[str, list[dict[str, object]]]:
    """Return slots by the dates on which they start in a zone, None for UTC.

    Dates ascend; the slots of a date are in the order given, which should ascend.
    Raises `HttpError` 400 if the zone's clock leaves the years 1 to 9999.

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
    # Where clocks go back at midnight, a date may recur after the next one.
    return dict(sorted(days.items()))


class _WallClock:
    """Formats instants in a zone; fast if they ascend.

    The zone is asked once for each period in which date and offset stay the same;
    within it the local time is arithmetic.
    """

    __slots__ = ("_from", "_midnight", "_name", "_offset", "_until", "_zone", "date")

    def __init__(self, zone: str | None) -> None:
        self._name = zone or "UTC"
        self._zone = Zone.of(self._name).info
        self._from = self._until = self._midnight = 0
        self._offset = ""
        self.date = ""
        """The date of the last instant that was written."""

    def write(self, instant: int) -> str:
        """Return an instant as ISO 8601 with milliseconds and offset.  O(1)."""
        if not self._from <= instant < self._until:
            self._turn_to(instant)
        minute, rest = divmod(instant - self._midnight, MINUTE)
        if not rest:
            return f"{self.date}{TIMES_OF_DAY[minute]}:00.000{self._offset}"
        second, us = divmod(rest, SECOND)
        return f"{self.date}{TIMES_OF_DAY[minute]}:{second:02}.{us // 1000:03}{self._offset}"

    def _turn_to(self, instant: int) -> None:
        local = self._local(instant)
        shown = local.isoformat(timespec="milliseconds")
        self.date = shown[:10]
        # The original writes Z for these two zones only, although others mean the same.
        self._offset = "Z" if self._name in {"UTC", "GMT"} else shown[23:]
        minute_of_day = local.hour * 60 + local.minute
        self._midnight = instant - (
            minute_of_day * MINUTE + local.second * SECOND + local.microsecond
        )
        # No zone changes twice within a day (see `core.time.schedule`): an offset that is the same
        # at the end of the date holds until then.  Otherwise ask for each instant.
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
