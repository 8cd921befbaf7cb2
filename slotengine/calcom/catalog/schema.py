"""The tables of a catalog file: their keys, and what is right in each by itself.

Here are the field names of the file, in Cal.com's own spelling, with their
types, limits and defaults, and what a table means by itself: a schedule's
hours, an event type's hosts, a booking's span.  `Tables` reads a parsed file,
keeps every table that is right, and lists a `Problem` for everything else.

`checks` has what tables say about each other.  Every key is explained
in ``docs/server.md``, and shown in ``examples/catalog.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from slotengine.calcom.catalog.quotas import NO_QUOTAS, CallerQuotas
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.catalog.secrets import Kept, kept
from slotengine.calcom.wire import MINUTE, parse_timestamp
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.schedule import Away, Hours, Schedule, Travel
from slotengine.engine.values import Quota

SECTIONS: Final = {
    "schedules": "schedule",
    "users": "user",
    "oauthClients": "OAuth client",
    "organizations": "organization",
    "teams": "team",
    "eventTypes": "event type",
    "bookings": "booking",
}
"""The lists of tables that a file may have, and what one of each is called."""
_RATE_LIMITS: Final = "rateLimits"
_QUOTAS: Final = "quotas"
"""The tables that are no lists."""

LONGEST_SPAN: Final = timedelta(microseconds=Terms().longest_span)
"""The longest that anything may take, with its buffers: what an engine allows by default."""
LONGEST: Final = LONGEST_SPAN // MINUTE
"""The same in minutes, and so the longest slot or buffer: 366 days."""
MOST_DAYS: Final = 36_525
"""How far ahead a booking window may reach: a hundred years."""


# --- Types of values -------------------------------------------------------------------


def _read_instant(value: object) -> object:
    """Read a time as the wire does, or as TOML has read it already."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    timestamp = parse_timestamp(value) if isinstance(value, str) else None
    if timestamp is None or timestamp.moment is None:
        raise ValueError("must be an ISO 8601 time")
    return timestamp.moment


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999, in UTC too") from None


def _read_date(value: object) -> object:
    if isinstance(value, str) and len(value) == len("2050-09-05"):
        return date.fromisoformat(value)
    return value


def _read_days(value: object) -> int | tuple[date, date]:
    """Read a number of days, or the first and the last of them."""
    if type(value) is int and 1 <= value <= MOST_DAYS:
        return value
    if isinstance(value, list) and len(value) == 2:
        first, last = map(_read_date, value)
        if type(first) is date and type(last) is date:
            return first, last
    raise ValueError(f"must be 1 to {MOST_DAYS} days, or a list of two dates")


def _read_secret(value: object, info: ValidationInfo) -> Kept:
    """Read what stands for a secret, which may be in the environment: the context."""
    if not isinstance(value, str):
        raise ValueError("must be a valid string")
    return kept(value, info.context or {})


def _read_most(value: object) -> int | None:
    """Read the most of something; None for any number."""
    if value == UNLIMITED_WORD:
        return None
    if type(value) is int and 1 <= value <= MOST_OF_ANYTHING:
        return value
    raise ValueError(f'must be a whole number from 1 to {MOST_OF_ANYTHING}, or "unlimited"')


UNLIMITED_WORD: Final = "unlimited"
MOST_OF_ANYTHING: Final = 1_000_000

Id = Annotated[int, Field(gt=0, lt=2**53)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
"""Shorter than an id may be: many an id is a name with something before it."""
Length = Annotated[int, Field(ge=1, le=LONGEST)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Minutes = Annotated[int, Field(ge=0, le=LONGEST)]
Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Day = Annotated[date, BeforeValidator(_read_date)]
Most = Annotated[int | None, PlainValidator(_read_most)]
Days = Annotated[int | tuple[date, date], PlainValidator(_read_days)]
Secret = Annotated[Kept, PlainValidator(_read_secret)]
Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

_WEEKDAYS: Final = {name: number for number, name in enumerate(get_args(Weekday))}


# --- Schedules -------------------------------------------------------------------------


class Table(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",  # a misspelt key is a problem, not a default
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        strict=True,
    )


class HoursTable(Table):
    """Hours of some days of the week."""

    days: Annotated[list[Weekday], Field(min_length=1)]
    start_time: Clock
    end_time: Clock


class OverrideTable(Table):
    """Hours of one date, instead of its weekly ones."""

    date: Day
    start_time: Clock
    end_time: Clock


class ScheduleTable(Table):
    """When somebody works."""

    id: Id
    name: str = ""
    time_zone: Name
    # Cal.com's default when a schedule says nothing of its hours.
    availability: list[HoursTable] = [
        HoursTable.model_validate(
            {
                "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
                "startTime": "09:00",
                "endTime": "17:00",
            }
        )
    ]
    overrides: list[OverrideTable] = []

    def schedule(self, travel: Sequence[Travel] = (), away: Sequence[Away] = ()) -> Schedule:
        """Return the schedule, of somebody who travels or is away.

        Raises `InvalidField` for an unknown time zone, or trips that overlap.
        """
        weekly: dict[int, list[Hours]] = {}
        for rule in self.availability:
            for day in rule.days:
                weekly.setdefault(_WEEKDAYS[day], []).append(_hours(rule))
        overrides: dict[date, list[Hours]] = {}
        for override in self.overrides:  # several on one date add up
            overrides.setdefault(override.date, []).append(_hours(override))
        return Schedule(self.time_zone, weekly, overrides, travel, away)


def _hours(rule: HoursTable | OverrideTable) -> Hours:
    end_min = _minute_of_day(rule.end_time)
    # Cal.com cannot write 24:00, and so means it by the last minute of the day.
    return Hours(_minute_of_day(rule.start_time), 1440 if end_min == 1439 else end_min)


def _minute_of_day(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


# --- Users and who they belong to ------------------------------------------------------


class AccessTokenTable(Table):
    """A bearer token of a user, perhaps for the web origins of one platform only."""

    token: Secret
    client_id: Name | None = None


class TravelTable(Table):
    """Dates, both included, on which a user's default hours are in another time zone."""

    start_date: Day
    end_date: Day
    time_zone: Name

    def trip(self) -> Travel:
        """Return the trip.  Raises `InvalidField`."""
        return Travel(self.start_date, self.end_date, self.time_zone)


class AbsenceTable(Table):
    """Dates, both included, on which a user is out of office."""

    start: Day
    end: Day

    def away(self) -> Away:
        """Return the absence.  Raises `InvalidField`."""
        return Away(self.start, self.end)


class UserTable(Table):
    """Somebody whose time is booked, or who calls."""

    id: Id
    username: Name
    name: str = ""
    default_schedule_id: Id | None = None
    api_keys: list[Secret] = []
    access_tokens: list[AccessTokenTable] = []
    travel: list[TravelTable] = []
    out_of_office: list[AbsenceTable] = []
    calendars: list[Annotated[str, Field(min_length=1)]] = []  # paths, which may be long
    emails: list[Name] = []
    allow_dynamic_booking: bool = True

    def trips(self) -> tuple[Travel, ...]:
        """Return when the user's default hours are in other zones.  Raises `InvalidField`."""
        return tuple(each.trip() for each in self.travel)

    def absences(self) -> tuple[Away, ...]:
        """Return when the user is away, whichever hours count.  Raises `InvalidField`."""
        return tuple(each.away() for each in self.out_of_office)


class OAuthClientTable(Table):
    """A platform that calls with an id and a secret."""

    id: Name
    secret: Secret
    owner_id: Id
    redirect_uris: list[str] = []


def origin(uri: str) -> str | None:
    """Return scheme, host and port of an address, as browsers send them in ``Origin``.

    >>> origin("https://Platform.example/callback"), origin("mailto:desk@platform.example")
    ('https://platform.example', None)
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return f"{parts.scheme}://{parts.netloc}".lower()


class Profile(NamedTuple):
    """A name that a user has: where in the catalog it stands, and in which organization."""

    key: str
    username: str
    organization_id: int | None
    """None: outside of all."""
    user_id: int


class MemberTable(Table):
    """A user in a team or organization; until accepted, an invitation.

    The ``username`` is that inside the organization, if it is not the user's own.
    """

    user_id: Id
    accepted: bool = True
    username: Name | None = None


class OrganizationTable(Table):
    """Teams, and users who may be in none of them."""

    id: Id
    slug: Name
    name: str = ""
    members: list[MemberTable] = []

    @property
    def accepted(self) -> frozenset[int]:
        """The ids of the users who have accepted to be members."""
        return frozenset(member.user_id for member in self.members if member.accepted)


class TeamTable(OrganizationTable):
    """Users who host together, perhaps of an organization."""

    parent_id: Id | None = None


# --- Event types and bookings ----------------------------------------------------------


class SeatsTable(Table):
    """How many share a slot; the other two keys say what Cal.com's own pages show of that."""

    seats_per_time_slot: Annotated[int, Field(ge=1, le=1000)]
    show_attendee_info: bool = False
    show_availability_count: bool = True


class HostTable(Table):
    """A user as a host of one event type."""

    user_id: Id
    # The API calls it "mandatory", everything else in Cal.com "isFixed".
    is_fixed: Annotated[bool, Field(validation_alias=AliasChoices("isFixed", "mandatory"))] = False
    weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    group_id: Name | None = None
    schedule_id: Id | None = None


class LimitsTable(Table):
    """The most that may be booked of an event type in each period."""

    day: Count | None = None
    week: Count | None = None
    month: Count | None = None
    year: Count | None = None
    disabled: bool = False

    def by_period(self) -> dict[str, int]:
        """Return the limits that there are, of the shortest period first.

        >>> LimitsTable(year=9, day=2).by_period()
        {'day': 2, 'year': 9}
        """
        periods = {"day": self.day, "week": self.week, "month": self.month, "year": self.year}
        return {period: most for period, most in periods.items() if most is not None}


class BookingWindowTable(Table):
    """How far ahead an event type can be booked: some days from today, or certain dates."""

    type: Literal["calendarDays", "businessDays", "range"] | None = None
    value: Days | None = None
    rolling: bool = False
    disabled: bool = False

    @property
    def days(self) -> int | None:
        """How many days ahead, if it is days that count."""
        return self.value if isinstance(self.value, int) else None

    @property
    def dates(self) -> tuple[date, date] | None:
        """The first date and the last, both included, if it is dates that count."""
        return self.value if isinstance(self.value, tuple) else None


class EventTypeTable(Table):
    """What can be booked: of an owner, or of a team and its hosts."""

    id: Id
    slug: Name
    title: str = ""
    owner_id: Id | None = None
    team_id: Id | None = None
    scheduling_type: Literal["collective", "roundRobin"] | None = None
    hosts: list[HostTable] = []
    length_in_minutes: Length
    length_in_minutes_options: list[Length] = []
    before_event_buffer: Minutes = 0
    after_event_buffer: Minutes = 0
    schedule_id: Id | None = None
    seats: SeatsTable | None = None
    slot_interval: Length | None = None
    offset_start: Minutes = 0
    minimum_booking_notice: Minutes = 120
    only_show_first_available_slot: bool = False
    show_optimized_slots: bool = False
    booking_window: BookingWindowTable | None = None
    booking_limits_count: LimitsTable | None = None
    booking_limits_duration: LimitsTable | None = None
    reschedule_with_same_round_robin_host: bool = False

    @property
    def all_hosts(self) -> list[HostTable]:
        """Everybody who may host: of an individual event type, its owner."""
        if self.owner_id is not None:
            return [HostTable.model_validate({"userId": self.owner_id})]
        return self.hosts

    @property
    def host_ids(self) -> list[int]:
        """The ids of everybody who may host."""
        return [host.user_id for host in self.all_hosts]

    @property
    def fixed(self) -> list[HostTable]:
        """The hosts who take part in every slot."""
        everybody = self.scheduling_type != "roundRobin"
        return [host for host in self.all_hosts if everybody or host.is_fixed]

    @property
    def rotating(self) -> list[list[HostTable]]:
        """The groups of hosts of each of whom one takes part; without groups, all are one."""
        groups: dict[str | None, list[HostTable]] = {}
        if self.scheduling_type == "roundRobin":
            for host in self.hosts:
                if not host.is_fixed:
                    groups.setdefault(host.group_id, []).append(host)
        return list(groups.values())

    @property
    def before(self) -> timedelta:
        """The buffer before."""
        return timedelta(minutes=self.before_event_buffer)

    @property
    def after(self) -> timedelta:
        """The buffer after."""
        return timedelta(minutes=self.after_event_buffer)


class BookingTable(Table):
    """What is booked already."""

    uid: Name
    event_type_id: Id
    start: Instant
    end: Instant
    status: Literal["accepted", "pending", "awaiting_host", "cancelled", "rejected"] = "accepted"
    host_ids: list[Id] | None = None
    attendees_count: Annotated[int, Field(ge=1, le=1000)] | None = None

    @property
    def takes_time(self) -> bool:
        """Whether its hosts are not free meanwhile."""
        return self.status not in {"cancelled", "rejected"}

    @property
    def seats_taken(self) -> int:
        """How many seats it takes, where there are seats."""
        return self.attendees_count or 1

    def occupied(self, event_type: EventTypeTable) -> tuple[datetime, datetime]:
        """Return the span that it takes, buffers included.  Raises `OverflowError`."""
        return self.start - event_type.before, self.end + event_type.after


# --- Rate limits -----------------------------------------------------------------------


class RateLimitTable(Table):
    """How often one caller may call, and for how long nothing is answered after that."""

    requests: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    window_seconds: Seconds = 60
    block_seconds: Seconds = 60
    disabled: bool = False

    def limit(self, usual: RateLimit | None) -> RateLimit | None:
        """Return the limit, with as many requests as usual if it does not say how many."""
        if self.disabled or usual is None:
            return None
        requests = usual.requests if self.requests is None else self.requests
        return RateLimit(requests, self.window_seconds, self.block_seconds)


class RateLimitsTable(Table):
    """How often callers of each kind may call."""

    api_key: RateLimitTable = RateLimitTable()
    access_token: RateLimitTable = RateLimitTable()
    oauth_client: RateLimitTable = RateLimitTable()
    address: RateLimitTable = RateLimitTable()
    address_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")] | None = None
    disabled: bool = False

    def limits(self) -> RateLimits:
        """Return all of them, the original's where nothing is said."""
        if self.disabled:
            return replace(UNLIMITED, address_header=self.address_header)
        usual = RateLimits()
        return RateLimits(
            api_key=self.api_key.limit(usual.api_key),
            access_token=self.access_token.limit(usual.access_token),
            oauth_client=self.oauth_client.limit(usual.oauth_client),
            address=self.address.limit(usual.address),
            address_header=self.address_header,
        )


# --- Quotas ----------------------------------------------------------------------------


class QuotaTable(Table):
    """How much one caller may have on hold."""

    holds: Most = None
    held_minutes: Most = None
    life_minutes: Most = None
    disabled: bool = False

    def quota(self, usual: Quota | None) -> Quota | None:
        """Return the quota, as usual where nothing is said; None for none."""
        if self.disabled:
            return None
        said, usual = self.model_fields_set, usual or Quota()
        made = Quota(
            holds=self.holds if "holds" in said else usual.holds,
            held=_span(self.held_minutes) if "held_minutes" in said else usual.held,
            life=_span(self.life_minutes) if "life_minutes" in said else usual.life,
        )
        return None if made == Quota() else made


def _span(count: int | None) -> timedelta | None:
    return None if count is None else count * MINUTE


class QuotasTable(Table):
    """How much callers of each kind may have on hold."""

    api_key: QuotaTable = QuotaTable()
    access_token: QuotaTable = QuotaTable()
    oauth_client: QuotaTable = QuotaTable()
    address: QuotaTable = QuotaTable()
    disabled: bool = False

    def quotas(self) -> CallerQuotas:
        """Return all of them, the usual ones where nothing is said."""
        if self.disabled:
            return NO_QUOTAS
        usual = CallerQuotas()
        return CallerQuotas(
            api_key=self.api_key.quota(usual.api_key),
            access_token=self.access_token.quota(usual.access_token),
            oauth_client=self.oauth_client.quota(usual.oauth_client),
            address=self.address.quota(usual.address),
        )


# --- All of a file ---------------------------------------------------------------------

TableT = TypeVar("TableT", bound=Table, covariant=True)
OneT = TypeVar("OneT", bound=Table)


class Problem(NamedTuple):
    """One thing that is wrong with a catalog: where, and why."""

    key: str
    """Such as ``eventTypes[2].ownerId``; empty for the file as a whole."""
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class Row(NamedTuple, Generic[TableT]):
    """A table that is right by itself, and where it stands."""

    key: str
    table: TableT


class Tables:
    """The tables of a file, and what is wrong with each of them by itself."""

    def __init__(self, raw: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        known = {*SECTIONS, _RATE_LIMITS, _QUOTAS}
        self.problems = [Problem(key, "is not a known table") for key in raw if key not in known]
        self._raw = raw
        self._environ = environ
        self.schedules = self._rows("schedules", ScheduleTable)
        self.users = self._rows("users", UserTable)
        self.oauth_clients = self._rows("oauthClients", OAuthClientTable)
        self.organizations = self._rows("organizations", OrganizationTable)
        self.teams = self._rows("teams", TeamTable)
        self.event_types = self._rows("eventTypes", EventTypeTable)
        self.bookings = self._rows("bookings", BookingTable)
        rates = self._one(_RATE_LIMITS, RateLimitsTable)
        self.rate_limits = None if rates is None else rates.limits()
        quotas = self._one(_QUOTAS, QuotasTable)
        self.quotas = None if quotas is None else quotas.quotas()

    @property
    def groups(self) -> list[Row[OrganizationTable]]:
        """Organizations and teams: an organization is a team with teams in it."""
        return [*self.organizations, *self.teams]

    def profiles(self) -> list[Profile]:
        """Return the names that users have: inside organizations first, then outside of all.

        Who is in one, or in a team of one, has a name there: that which the
        organization says, or the user's own, which then is not one outside.
        """
        names = {user.id: (f"{key}.username", user.username) for key, user in self.users}
        found: list[Profile] = []
        inside: set[int] = set()
        for key, each in self.organizations:
            said = {
                member.user_id: (f"{key}.members[{at}].username", member.username)
                for at, member in enumerate(each.members)
                if member.username is not None
            }
            teams = [team.accepted for _, team in self.teams if team.parent_id == each.id]
            for user_id in sorted(each.accepted.union(*teams) & names.keys()):
                found.append(Profile(*(said.get(user_id) or names[user_id]), each.id, user_id))
                if user_id not in said:
                    inside.add(user_id)
        return found + [
            Profile(*name, None, user_id)
            for user_id, name in names.items()
            if user_id not in inside
        ]

    def ids(self, section: str) -> set[object]:
        """Return all ids, those of wrong tables too: a reference to them is not a problem."""
        ids = (entry.get("id") for entry in self._entries(section) if isinstance(entry, dict))
        return {id for id in ids if isinstance(id, Hashable)}  # noqa: A001

    def _entries(self, section: str) -> list[Any]:
        entries = self._raw.get(section, [])
        return entries if isinstance(entries, list) else []

    def _one(self, section: str, model: type[OneT]) -> OneT | None:
        """Return a table that is no list; None if there is none, or it is wrong."""
        if section not in self._raw:
            return None
        try:
            return model.model_validate(self._raw[section])
        except ValidationError as error:
            self.problems.extend(_problems(section, error))
            return None

    def _rows(self, section: str, model: type[TableT]) -> list[Row[TableT]]:
        if not isinstance(self._raw.get(section, []), list):
            self.problems.append(Problem(section, f"must be a list of tables: [[{section}]]"))
        rows = []
        for index, entry in enumerate(self._entries(section)):
            key = f"{section}[{index}]"
            try:
                rows.append(Row(key, model.model_validate(entry, context=self._environ)))
            except ValidationError as error:
                self.problems.extend(_problems(key, error))
        return rows


_SUBJECT: Final = re.compile("^[A-Z][a-z]+ should ")
"""What pydantic calls the value: input, string, list..."""


def _problems(key: str, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in detail["loc"])
        match detail["type"]:
            case "missing":
                reason = "is missing"
            case "extra_forbidden":
                reason = "is not a known key"
            case "model_type":
                reason = "must be a table"
            case _:
                said = detail["msg"].removeprefix("Value error, ")
                reason = _SUBJECT.sub("must ", said)
        yield Problem(key + path, reason)
