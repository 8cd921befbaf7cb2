"""What a server offers: one TOML or JSON file, in Cal.com's own field names.

`load_catalog` reads the file and refuses a wrong one with `CatalogError`,
which lists everything that is wrong with it, each with its key and the reason.
What it returns, a `Catalog`, is ready for use: event types that turn a start
and a length into requests for the engine, credentials as digests, and
`Catalog.populate`, which makes hosts and existing bookings known to an engine.

There is one resource per user, of capacity one.  So whatever takes a host's
time, through whichever event type, is in the way of all their event types.

Every table of the file is explained in ``examples/catalog.toml``.
"""

from __future__ import annotations

import hmac
import json
import re
import tomllib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from slotengine.calcom.wire import parse_instant
from slotengine.core.proposal import Policy
from slotengine.core.reservation import Seats
from slotengine.core.schedule import ALWAYS_OPEN, Hours, Schedule, Windows
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Claim, Request
from slotengine.errors import InvalidField, InvalidRequest

T = TypeVar("T")

API_KEY_PREFIX: Final = "cal_"
"""What tells an API key from an access token."""

MOST_COMBINATIONS: Final = 1000
"""In how many ways a round robin event type may combine one host of each of its groups."""


# --- Refusals --------------------------------------------------------------------------


class Problem(NamedTuple):
    """One thing that is wrong with a catalog: where, and why."""

    key: str
    """Such as ``eventTypes[2].ownerId``; empty for the file as a whole."""
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class CatalogError(InvalidRequest):
    """The catalog cannot be used; ``problems`` has everything that is wrong with it.

    >>> print(CatalogError("my.toml", (Problem("users[0].id", "is missing"),)))
    my.toml is not a usable catalog:
      users[0].id: is missing
    """

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = problems

    def __str__(self) -> str:
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        return f"{self.file} is not a usable catalog:{listed}"


# --- The tables of the file ------------------------------------------------------------


def _read_instant(value: object) -> object:
    """Read a time as the wire does, or as TOML has read it already."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    instant = parse_instant(value) if isinstance(value, str) else None
    if instant is None or instant.moment is None:
        raise ValueError("must be an ISO 8601 time")
    return instant.moment


def _read_date(value: object) -> object:
    if isinstance(value, str) and len(value) == len("2050-09-05"):
        return date.fromisoformat(value)
    return value


LONGEST: Final = 366 * 24 * 60
"""The longest slot or buffer, in minutes: a year."""

Id = Annotated[int, Field(gt=0, lt=2**53)]
Name = Annotated[str, Field(min_length=1)]
Length = Annotated[int, Field(ge=1, le=LONGEST)]
Minutes = Annotated[int, Field(ge=0, le=LONGEST)]
Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Day = Annotated[date, BeforeValidator(_read_date)]
Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class _Table(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",  # a misspelt key is a problem, not a default
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        strict=True,
    )


class _Hours(_Table):
    days: Annotated[list[Weekday], Field(min_length=1)]
    start_time: Clock
    end_time: Clock


class _Override(_Table):
    date: Day
    start_time: Clock
    end_time: Clock


class _Schedule(_Table):
    id: Id
    name: str = ""
    time_zone: Name
    # Cal.com's default when a schedule says nothing of its hours.
    availability: list[_Hours] = [
        _Hours.model_validate(
            {
                "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
                "startTime": "09:00",
                "endTime": "17:00",
            }
        )
    ]
    overrides: list[_Override] = []


class _AccessToken(_Table):
    token: SecretStr
    client_id: Name | None = None


class _User(_Table):
    id: Id
    username: Name
    name: str = ""
    default_schedule_id: Id | None = None
    api_keys: list[SecretStr] = []
    access_tokens: list[_AccessToken] = []


class _OAuthClient(_Table):
    id: Name
    secret: SecretStr
    owner_id: Id
    redirect_uris: list[str] = []


class _Member(_Table):
    user_id: Id
    accepted: bool = True


class _Organization(_Table):
    id: Id
    slug: Name
    name: str = ""
    members: list[_Member] = []


class _Team(_Organization):
    parent_id: Id | None = None


class _Seats(_Table):
    seats_per_time_slot: Annotated[int, Field(ge=1, le=1000)]
    show_attendee_info: bool = False
    show_availability_count: bool = True


class _Host(_Table):
    user_id: Id
    # The API calls it "mandatory", everything else in Cal.com "isFixed".
    is_fixed: Annotated[bool, Field(validation_alias=AliasChoices("isFixed", "mandatory"))] = False
    weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    group_id: Name | None = None
    schedule_id: Id | None = None


class _EventType(_Table):
    id: Id
    slug: Name
    title: str = ""
    owner_id: Id | None = None
    team_id: Id | None = None
    scheduling_type: Literal["collective", "roundRobin"] | None = None
    hosts: list[_Host] = []
    length_in_minutes: Length
    length_in_minutes_options: list[Length] = []
    before_event_buffer: Minutes = 0
    after_event_buffer: Minutes = 0
    schedule_id: Id | None = None
    seats: _Seats | None = None
    # Kept for the search of slots; reservations do not ask about them, as in the original.
    slot_interval: Length | None = None
    offset_start: Minutes = 0
    minimum_booking_notice: Minutes = 120
    only_show_first_available_slot: bool = False


class _Booking(_Table):
    uid: Name
    event_type_id: Id
    start: Instant
    end: Instant
    status: Literal["accepted", "pending", "awaiting_host", "cancelled", "rejected"] = "accepted"
    host_ids: list[Id] | None = None
    attendees_count: Annotated[int, Field(ge=1, le=1000)] | None = None


_TABLES: Final[dict[str, type[_Table]]] = {
    "schedules": _Schedule,
    "users": _User,
    "oauthClients": _OAuthClient,
    "organizations": _Organization,
    "teams": _Team,
    "eventTypes": _EventType,
    "bookings": _Booking,
}


# --- Reading the file ------------------------------------------------------------------

TableT = TypeVar("TableT", bound=_Table)


class _Row(NamedTuple, Generic[TableT]):
    """A table that is right by itself, and where it stands."""

    key: str
    table: TableT


class _File:
    """The tables of a file, and what is wrong with each of them by itself."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.problems = [Problem(key, "is not a known table") for key in raw if key not in _TABLES]
        self._raw = raw
        self.schedules = self._rows("schedules", _Schedule)
        self.users = self._rows("users", _User)
        self.oauth_clients = self._rows("oauthClients", _OAuthClient)
        self.organizations = self._rows("organizations", _Organization)
        self.teams = self._rows("teams", _Team)
        self.event_types = self._rows("eventTypes", _EventType)
        self.bookings = self._rows("bookings", _Booking)

    def _entries(self, section: str) -> list[Any]:
        entries = self._raw.get(section, [])
        return entries if isinstance(entries, list) else []

    def _rows(self, section: str, model: type[TableT]) -> list[_Row[TableT]]:
        if not isinstance(self._raw.get(section, []), list):
            self.problems.append(Problem(section, f"must be a list of tables: [[{section}]]"))
        rows = []
        for index, entry in enumerate(self._entries(section)):
            key = f"{section}[{index}]"
            try:
                rows.append(_Row(key, model.model_validate(entry)))
            except ValidationError as error:
                self.problems.extend(_problems(key, error))
        return rows

    def ids(self, section: str) -> set[object]:
        """Return all ids, those of wrong tables too: a reference to them is not a problem."""
        entries = self._entries(section)
        ids = (entry.get("id") for entry in entries if isinstance(entry, dict))
        return {id for id in ids if isinstance(id, Hashable)}  # noqa: A001


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


def load_catalog(path: str | Path) -> Catalog:
    """Read a catalog from a TOML file, or from JSON if it is named ``*.json``.

    Raises `CatalogError`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise CatalogError(str(path), (Problem("", error.strerror or str(error)),)) from None
    except (ValueError, RecursionError) as error:  # both parsers, and UTF-8
        raise CatalogError(str(path), (Problem("", f"cannot be read: {error}"),)) from None
    return catalog_from(raw, file=str(path))


def catalog_from(raw: object, *, file: str = "the catalog") -> Catalog:
    """Make a catalog of what a file holds, as parsed already.

    Raises `CatalogError`, naming ``file``.

    >>> catalog_from({"users": [{"id": 1, "username": "front-desk"}]})
    <Catalog: 0 event types, 1 users, 0 bookings>
    """
    if not isinstance(raw, dict):
        raise CatalogError(file, (Problem("", "must be a table"),))
    tables = _File(raw)
    problems = [*tables.problems, *(each for check in _CHECKS for each in check(tables))]
    if problems:
        raise CatalogError(file, tuple(problems))
    return _catalog(tables)


# --- Checks across tables --------------------------------------------------------------


def _repeated(values: Iterable[tuple[str, Hashable]]) -> Iterator[Problem]:
    """Find values that must differ and do not.  Never shows them: they may be secrets."""
    first: dict[Hashable, str] = {}
    for key, value in values:
        if value in first:
            yield Problem(key, f"is the same as {first[value]}")
        first.setdefault(value, key)


def _unknown(
    noun: str, ids: set[object], references: Iterable[tuple[str, Hashable | None]]
) -> Iterator[Problem]:
    """Find references to what is not there."""
    for key, reference in references:
        if reference is not None and reference not in ids:
            yield Problem(key, f"there is no {noun} with id {reference!r}")


def _check_ids(file: _File) -> Iterator[Problem]:
    sections: list[list[_Row[Any]]] = [
        file.schedules,
        file.users,
        file.oauth_clients,
        [*file.organizations, *file.teams],  # an organization is a team with teams in it
        file.event_types,
    ]
    for rows in sections:
        yield from _repeated((f"{key}.id", table.id) for key, table in rows)
    yield from _repeated((f"{key}.uid", table.uid) for key, table in file.bookings)


def _check_names(file: _File) -> Iterator[Problem]:
    yield from _repeated((f"{key}.username", user.username) for key, user in file.users)
    yield from _repeated((f"{key}.slug", each.slug) for key, each in file.organizations)
    yield from _repeated((f"{key}.slug", (team.parent_id, team.slug)) for key, team in file.teams)
    yield from _repeated(
        (f"{key}.slug", (each.owner_id, each.team_id, each.slug)) for key, each in file.event_types
    )


def _check_schedules(file: _File) -> Iterator[Problem]:
    for key, table in file.schedules:
        for index, hours in enumerate(table.availability):
            if hours.start_time >= hours.end_time:
                yield Problem(
                    f"{key}.availability[{index}].endTime",
                    "must be after startTime; 23:59 stands for midnight",
                )
        for index, override in enumerate(table.overrides):
            if override.start_time > override.end_time:
                yield Problem(
                    f"{key}.overrides[{index}].endTime",
                    "must be after startTime, or the same to close the date",
                )
        try:
            _schedule(table)
        except InvalidField as error:  # the time zone is all that can be wrong still
            yield Problem(f"{key}.timeZone", error.problem)


def _check_users(file: _File) -> Iterator[Problem]:
    yield from _unknown(
        "schedule",
        file.ids("schedules"),
        ((f"{key}.defaultScheduleId", user.default_schedule_id) for key, user in file.users),
    )
    api_keys = list(_each(file.users, "apiKeys", lambda user: user.api_keys))
    tokens = list(_each(file.users, "accessTokens", lambda user: user.access_tokens))
    yield from _repeated((key, each.get_secret_value()) for key, each in api_keys)
    yield from _repeated((f"{key}.token", each.token.get_secret_value()) for key, each in tokens)
    yield from _unknown(
        "OAuth client",
        file.ids("oauthClients"),
        ((f"{key}.clientId", each.client_id) for key, each in tokens),
    )
    for key, each in api_keys:
        if not _is_api_key(each) or not _is_sendable(each):
            yield Problem(key, f"must be {API_KEY_PREFIX!r} and some letters and digits")
    for key, token in tokens:
        if _is_api_key(token.token) or not _is_sendable(token.token):
            yield Problem(
                f"{key}.token",
                f"must be printable ASCII without spaces, not starting with {API_KEY_PREFIX!r}",
            )


def _is_api_key(secret: SecretStr) -> bool:
    return secret.get_secret_value().startswith(API_KEY_PREFIX)


def _is_sendable(secret: SecretStr) -> bool:
    """Tell whether the secret can be sent in a header as it is, and is more than a prefix."""
    text = secret.get_secret_value().removeprefix(API_KEY_PREFIX)
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _check_oauth_clients(file: _File) -> Iterator[Problem]:
    yield from _unknown(
        "user",
        file.ids("users"),
        ((f"{key}.ownerId", client.owner_id) for key, client in file.oauth_clients),
    )
    for key, client in file.oauth_clients:
        if not _is_sendable(client.secret):
            yield Problem(f"{key}.secret", "must be printable ASCII without spaces")
    for key, uri in _each(file.oauth_clients, "redirectUris", lambda client: client.redirect_uris):
        if _origin(uri) is None:
            yield Problem(key, "must be an http or https address")


def _check_teams(file: _File) -> Iterator[Problem]:
    yield from _unknown(
        "organization",
        file.ids("organizations"),
        ((f"{key}.parentId", team.parent_id) for key, team in file.teams),
    )
    for key, group in [*file.organizations, *file.teams]:
        members = [
            (f"{key}.members[{index}].userId", member.user_id)
            for index, member in enumerate(group.members)
        ]
        yield from _unknown("user", file.ids("users"), members)
        yield from _repeated(members)


def _each(
    rows: Iterable[_Row[TableT]], name: str, of: Callable[[TableT], Iterable[T]]
) -> Iterator[tuple[str, T]]:
    """Go through a list that each of the rows has, with the key of each of its entries."""
    for key, table in rows:
        for index, entry in enumerate(of(table)):
            yield f"{key}.{name}[{index}]", entry


def _check_event_types(file: _File) -> Iterator[Problem]:
    users, schedules = file.ids("users"), file.ids("schedules")
    rows = file.event_types
    yield from _unknown("user", users, ((f"{key}.ownerId", each.owner_id) for key, each in rows))
    yield from _unknown(
        "team", file.ids("teams"), ((f"{key}.teamId", each.team_id) for key, each in rows)
    )
    yield from _unknown(
        "schedule", schedules, ((f"{key}.scheduleId", each.schedule_id) for key, each in rows)
    )
    hosts = list(_each(rows, "hosts", lambda each: each.hosts))
    yield from _unknown("user", users, ((f"{key}.userId", host.user_id) for key, host in hosts))
    yield from _unknown(
        "schedule", schedules, ((f"{key}.scheduleId", host.schedule_id) for key, host in hosts)
    )
    members = {
        team.id: {member.user_id for member in team.members if member.accepted}
        for _, team in file.teams
    }
    for key, event_type in rows:
        yield from _check_lengths(key, event_type)
        if event_type.team_id is None:
            yield from _check_individual(key, event_type)
        else:
            yield from _check_team_type(key, event_type)
            yield from _check_members(key, event_type, members.get(event_type.team_id))


def _check_lengths(key: str, event_type: _EventType) -> Iterator[Problem]:
    options = event_type.length_in_minutes_options
    yield from _repeated(
        (f"{key}.lengthInMinutesOptions[{index}]", length) for index, length in enumerate(options)
    )
    if options and event_type.length_in_minutes not in options:
        yield Problem(
            f"{key}.lengthInMinutesOptions",
            f"must contain lengthInMinutes, {event_type.length_in_minutes}",
        )


def _check_individual(key: str, event_type: _EventType) -> Iterator[Problem]:
    if event_type.owner_id is None:
        yield Problem(key, "must have an ownerId, or a teamId")
    if event_type.hosts:
        yield Problem(f"{key}.hosts", "are for event types of a team; here the owner is the host")
    if event_type.scheduling_type is not None:
        yield Problem(f"{key}.schedulingType", "is for event types of a team")


def _check_team_type(key: str, event_type: _EventType) -> Iterator[Problem]:
    if event_type.owner_id is not None:
        yield Problem(key, "must have an ownerId or a teamId, not both")
    if not event_type.hosts:
        yield Problem(f"{key}.hosts", "must be at least one, for an event type of a team")
    yield from _repeated(
        (f"{key}.hosts[{index}].userId", host.user_id)
        for index, host in enumerate(event_type.hosts)
    )
    match event_type.scheduling_type:
        case None:
            yield Problem(f"{key}.schedulingType", "must be 'collective' or 'roundRobin'")
        case "collective":
            yield from _check_collective(key, event_type)
        case "roundRobin":
            yield from _check_round_robin(key, event_type)


def _check_members(key: str, event_type: _EventType, members: set[int] | None) -> Iterator[Problem]:
    if members is None:  # the team is unknown or wrong itself, which was said already
        return
    for index, host in enumerate(event_type.hosts):
        if host.user_id not in members:
            yield Problem(
                f"{key}.hosts[{index}].userId",
                f"user {host.user_id} is no accepted member of team {event_type.team_id}",
            )


def _check_collective(key: str, event_type: _EventType) -> Iterator[Problem]:
    for index, host in enumerate(event_type.hosts):
        for name in sorted(host.model_fields_set & {"is_fixed", "weight", "group_id"}):
            yield Problem(
                f"{key}.hosts[{index}].{to_camel(name)}",
                "is for round robin; in a collective event type every host takes part",
            )


def _check_round_robin(key: str, event_type: _EventType) -> Iterator[Problem]:
    groups = _rotating(event_type)
    if prod(map(len, groups)) > MOST_COMBINATIONS:
        yield Problem(
            f"{key}.hosts",
            f"the groups can be combined in more than {MOST_COMBINATIONS} ways; use fewer groups",
        )
    alone = len(groups) == 1 and len(groups[0]) == len(event_type.hosts)
    if not alone and any(host.weight is not None for host in event_type.hosts):
        yield Problem(f"{key}.hosts", "weights need a single group of hosts, none of whom is fixed")


def _check_bookings(file: _File) -> Iterator[Problem]:
    yield from _unknown(
        "event type",
        file.ids("eventTypes"),
        ((f"{key}.eventTypeId", booking.event_type_id) for key, booking in file.bookings),
    )
    event_types = {each.id: each for _, each in file.event_types}
    placed: list[_Placed] = []
    for key, booking in file.bookings:
        event_type = event_types.get(booking.event_type_id)
        if event_type is None:  # unknown, or wrong itself, which was said already
            continue
        problems = list(_check_booking(key, booking, event_type))
        yield from problems
        if not problems and booking.status not in _INACTIVE:
            placed.append(_Placed.of(key, booking, event_type))
    yield from _check_overlaps(placed)
    yield from _check_seats(placed)


_INACTIVE: Final = frozenset({"cancelled", "rejected"})
"""Bookings that take nobody's time."""


def _check_booking(key: str, booking: _Booking, event_type: _EventType) -> Iterator[Problem]:
    if booking.start >= booking.end:
        yield Problem(f"{key}.end", "must be after the start")
    try:
        _occupied(booking, event_type)
    except OverflowError:
        yield Problem(key, "the buffers reach beyond the years 1 to 9999")
    if booking.attendees_count is not None and event_type.seats is None:
        yield Problem(f"{key}.attendeesCount", "is for event types with seats")
    yield from _check_booked_hosts(key, booking, event_type)


def _check_booked_hosts(key: str, booking: _Booking, event_type: _EventType) -> Iterator[Problem]:
    possible = _host_ids(event_type)
    if booking.host_ids is None:
        if event_type.scheduling_type == "roundRobin":
            yield Problem(f"{key}.hostIds", "is missing: with round robin, say who has the booking")
        return
    if not booking.host_ids:
        yield Problem(f"{key}.hostIds", "must be at least one")
    for index, host in enumerate(booking.host_ids):
        if host not in possible:
            yield Problem(
                f"{key}.hostIds[{index}]",
                f"user {host} is no host of event type {event_type.id}",
            )
    yield from _repeated(
        (f"{key}.hostIds[{index}]", host) for index, host in enumerate(booking.host_ids)
    )


class _Placed(NamedTuple):
    """A booking that takes time, and what it takes."""

    key: str
    booking: _Booking
    event_type: _EventType
    start: datetime
    end: datetime
    hosts: tuple[int, ...]

    @classmethod
    def of(cls, key: str, booking: _Booking, event_type: _EventType) -> _Placed:
        hosts = booking.host_ids or _host_ids(event_type)
        return cls(key, booking, event_type, *_occupied(booking, event_type), tuple(hosts))

    def session(self) -> tuple[int, datetime] | None:
        """Return which shared session it belongs to, if its event type has seats."""
        return None if self.event_type.seats is None else (self.event_type.id, self.booking.start)

    def shares_with(self, other: _Placed) -> bool:
        """Tell whether both are the same session: same event type, slot, and hosts."""
        if self.session() is None or self.session() != other.session():
            return False
        same_hosts = set(self.hosts) == set(other.hosts)
        return same_hosts and self.booking.end == other.booking.end


def _check_overlaps(placed: list[_Placed]) -> Iterator[Problem]:
    """Find bookings that take the same host at the same time.  O(n log n), unless they do."""
    by_host: dict[int, list[_Placed]] = {}
    for each in placed:
        for host in each.hosts:
            by_host.setdefault(host, []).append(each)
    for host, bookings in by_host.items():
        bookings.sort(key=lambda each: (each.start, each.end))
        latest: _Placed | None = None
        for each in bookings:
            if latest and each.start < latest.end and not each.shares_with(latest):
                yield Problem(
                    each.key,
                    f"overlaps with {latest.key} on user {host} (buffers, if any, included)",
                )
            if latest is None or each.end > latest.end:
                latest = each


def _check_seats(placed: list[_Placed]) -> Iterator[Problem]:
    taken: dict[tuple[int, datetime], int] = {}
    for each in placed:
        session, seats = each.session(), each.event_type.seats
        if session is None or seats is None:
            continue
        taken[session] = taken.get(session, 0) + (each.booking.attendees_count or 1)
        if taken[session] > seats.seats_per_time_slot:
            yield Problem(
                f"{each.key}.attendeesCount",
                f"makes {taken[session]} of {seats.seats_per_time_slot} seats at that time",
            )


_CHECKS: Final[tuple[Callable[[_File], Iterator[Problem]], ...]] = (
    _check_ids,
    _check_names,
    _check_schedules,
    _check_users,
    _check_oauth_clients,
    _check_teams,
    _check_event_types,
    _check_bookings,
)


# --- What the tables mean --------------------------------------------------------------


def _schedule(table: _Schedule) -> Schedule:
    """Return the schedule.  Raises `InvalidField` for an unknown time zone."""
    weekly: dict[int, list[Hours]] = {}
    for rule in table.availability:
        for day in rule.days:
            weekly.setdefault(_WEEKDAYS[day], []).append(_hours(rule))
    overrides: dict[date, list[Hours]] = {}
    for override in table.overrides:  # several on one date add up
        overrides.setdefault(override.date, []).append(_hours(override))
    return Schedule(table.time_zone, weekly, overrides)


_WEEKDAYS: Final = {name: number for number, name in enumerate(get_args(Weekday))}


def _hours(rule: _Hours | _Override) -> Hours:
    end_min = _minute_of_day(rule.end_time)
    # Cal.com cannot write 24:00, and so means it by the last minute of the day.
    return Hours(_minute_of_day(rule.start_time), 1440 if end_min == 1439 else end_min)


def _minute_of_day(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _host_ids(event_type: _EventType) -> list[int]:
    """Return everybody who may host: of an individual event type, its owner."""
    if event_type.owner_id is not None:
        return [event_type.owner_id]
    return [host.user_id for host in event_type.hosts]


def _fixed(event_type: _EventType) -> list[_Host]:
    """Return the hosts who take part in every slot."""
    everybody = event_type.scheduling_type == "collective"
    return [host for host in event_type.hosts if everybody or host.is_fixed]


def _rotating(event_type: _EventType) -> list[list[_Host]]:
    """Return the groups of hosts of each of whom one takes part; without groups, all are one."""
    groups: dict[str | None, list[_Host]] = {}
    if event_type.scheduling_type == "roundRobin":
        for host in event_type.hosts:
            if not host.is_fixed:
                groups.setdefault(host.group_id, []).append(host)
    return list(groups.values())


def _occupied(booking: _Booking, event_type: _EventType) -> tuple[datetime, datetime]:
    """Return the span that a booking takes, buffers included.  Raises `OverflowError`."""
    return (
        booking.start - timedelta(minutes=event_type.before_event_buffer),
        booking.end + timedelta(minutes=event_type.after_event_buffer),
    )


def _origin(uri: str) -> str | None:
    """Return scheme, host and port of an address, as browsers send them in ``Origin``."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return f"{parts.scheme}://{parts.netloc}".lower()


# --- The catalog -----------------------------------------------------------------------


class Keyring(Generic[T]):
    """Secrets, and what each of them stands for.  Keeps digests only, and shows none.

    >>> keys = Keyring([("cal_1234", 7)])
    >>> keys.find("cal_1234"), keys.find("cal_5678"), keys
    (7, None, <Keyring of 1>)
    """

    __slots__ = ("_owners",)

    def __init__(self, owners: Iterable[tuple[str, T]]) -> None:
        digests = ((_digest(secret), owner) for secret, owner in owners)
        self._owners = {digest: (digest, owner) for digest, owner in digests}

    def find(self, secret: str) -> T | None:
        """Return what the secret stands for, in a time that does not depend on the others."""
        digest = _digest(secret)
        found = self._owners.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._owners)}>"


def _digest(secret: str) -> bytes:
    # Headers that are not UTF-8 arrive with their bytes escaped as surrogates.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Whom an access token acts for, and from which web origins; None: from any."""

    user_id: int
    origins: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A platform: whom it acts for, and its secret."""

    owner_id: int
    secret: Keyring[bool]


class AllOf(NamedTuple):
    """Open when every one of several schedules is."""

    schedules: tuple[Windows, ...]

    def covers(self, start: int, end: int) -> bool:
        """Return whether all are open for the whole span."""
        return all(schedule.covers(start, end) for schedule in self.schedules)

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where in the span all are open, in order."""
        spans = [(start, end)]
        for schedule in self.schedules:
            spans = [window for span in spans for window in schedule.windows(*span)]
        yield from spans


class Candidate(NamedTuple):
    """One set of hosts who could take a slot."""

    claims: tuple[Claim, ...]
    schedule: Windows | None
    """Hours that take the place of the hosts' own; None: their own."""

    @property
    def resources(self) -> frozenset[str]:
        """The ids of the hosts' resources."""
        return frozenset(claim.resource for claim in self.claims)


@dataclass(frozen=True, slots=True)
class EventType:
    """What can be booked, in the terms of the engine."""

    id: int
    slug: str
    length: int
    """In minutes, unless another is asked for."""
    lengths: tuple[int, ...]
    """What can be asked for; empty if nothing else than the length."""
    before: timedelta
    after: timedelta
    seats: Seats | None
    round_robin: bool
    candidates: tuple[Candidate, ...]
    """Who could take a slot: one set of hosts, or with round robin any one of several."""
    weights: tuple[int, ...] | None
    """How often each candidate is to be preferred, if not whoever has the least to do."""
    fixed: frozenset[str]
    """The resources that every candidate claims."""
    permitted: frozenset[int]
    """The users who may say how long a hold lives."""

    @property
    def policy(self) -> Policy:
        """Which candidate to prefer."""
        return Policy.LEAST_LOADED if self.weights is None else Policy.WEIGHTED

    @property
    def earliest(self) -> datetime:
        """The first start at which the buffer before does not leave the calendar."""
        return datetime.min.replace(tzinfo=UTC) + self.before

    def end(self, start: datetime, length: int) -> datetime:
        """Return the end of a slot of so many minutes.

        Raises `OverflowError` if it, or the buffer after it, leaves the calendar.
        """
        occupied_until = start + timedelta(minutes=length) + self.after
        return occupied_until - self.after

    def requests(
        self, start: datetime, length: timedelta, *, ttl: timedelta | None, in_hours: bool
    ) -> list[Request]:
        """Return a request to the engine for each of the candidates.

        Unless ``in_hours``, nobody's working hours count.
        """
        event_type = str(self.id)
        return [
            Request(
                start,
                length,
                candidate.claims,
                ttl=ttl,
                event_type=event_type,
                seats=self.seats,
                schedule=candidate.schedule if in_hours else ALWAYS_OPEN,
            )
            for candidate in self.candidates
        ]


@dataclass(frozen=True, slots=True, repr=False)
class Catalog:
    """Everything a server needs to know; see `load_catalog`."""

    event_types: Mapping[int, EventType]
    resources: Mapping[str, Windows | None]
    """The resource of each user, and its hours."""
    bookings: tuple[Request, ...]
    """What is booked already."""
    api_keys: Keyring[int]
    access_tokens: Keyring[AccessToken]
    oauth_clients: Mapping[str, OAuthClient]

    async def populate(self, engine: SlotEngine) -> None:
        """Make users and existing bookings known to an engine.

        Raises `InvalidField` if it has a resource of the same id already.
        """
        for id, schedule in self.resources.items():  # noqa: A001
            engine.add_resource(id, schedule=schedule)
        for request in self.bookings:
            hold = await engine.reserve_request(request)
            await engine.confirm(hold.uid)

    def __repr__(self) -> str:
        return (
            f"<Catalog: {len(self.event_types)} event types, "
            f"{len(self.resources)} users, {len(self.bookings)} bookings>"
        )


# --- From tables to catalog ------------------------------------------------------------


def _catalog(file: _File) -> Catalog:
    """Build the catalog of a file in which nothing is wrong."""
    schedules = {table.id: _schedule(table) for _, table in file.schedules}
    resources = {
        _resource(user.id): schedules.get(user.default_schedule_id or 0) for _, user in file.users
    }
    build = _EventTypeBuilder(file, schedules, resources)
    event_types = {table.id: build(table) for _, table in file.event_types}
    bookings = tuple(
        _booking(table, event_types[table.event_type_id])
        for _, table in file.bookings
        if table.status not in _INACTIVE
    )
    return Catalog(
        event_types=event_types,
        resources=resources,
        bookings=bookings,
        api_keys=Keyring(
            (key.get_secret_value(), user.id) for _, user in file.users for key in user.api_keys
        ),
        access_tokens=_access_tokens(file),
        oauth_clients={
            client.id: OAuthClient(
                client.owner_id, Keyring([(client.secret.get_secret_value(), True)])
            )
            for _, client in file.oauth_clients
        },
    )


def _resource(user_id: int) -> str:
    return f"user:{user_id}"


def _access_tokens(file: _File) -> Keyring[AccessToken]:
    origins = {
        client.id: frozenset(filter(None, map(_origin, client.redirect_uris)))
        for _, client in file.oauth_clients
    }
    return Keyring(
        (
            token.token.get_secret_value(),
            AccessToken(user.id, None if token.client_id is None else origins[token.client_id]),
        )
        for _, user in file.users
        for token in user.access_tokens
    )


def _booking(table: _Booking, event_type: EventType) -> Request:
    template = event_type.candidates[0].claims[0]
    hosts = {_resource(host) for host in table.host_ids or ()}
    claims = (
        tuple(replace(template, resource=resource) for resource in sorted(hosts))
        if hosts
        else event_type.candidates[0].claims
    )
    seats = event_type.seats
    return Request(
        table.start,
        table.end - table.start,
        claims,
        event_type=str(event_type.id),
        seats=seats and seats._replace(wanted=table.attendees_count or 1),
        schedule=ALWAYS_OPEN,  # it was agreed, whatever the hours are today
    )


class _EventTypeBuilder:
    """Turns tables of event types into event types."""

    def __init__(
        self,
        file: _File,
        schedules: Mapping[int, Windows],
        resources: Mapping[str, Windows | None],
    ) -> None:
        self._schedules = schedules
        self._resources = resources
        self._teams = {team.id: team for _, team in file.teams}
        self._groups: dict[int, frozenset[int]] = {
            group.id: frozenset(member.user_id for member in group.members if member.accepted)
            for _, group in [*file.organizations, *file.teams]
        }

    def __call__(self, table: _EventType) -> EventType:
        groups = _rotating(table)
        combinations = [(*_fixed(table), *rotating) for rotating in product(*groups)]
        weighted = any(host.weight is not None for group in groups for host in group)
        return EventType(
            id=table.id,
            slug=table.slug,
            length=table.length_in_minutes,
            lengths=tuple(table.length_in_minutes_options),
            before=timedelta(minutes=table.before_event_buffer),
            after=timedelta(minutes=table.after_event_buffer),
            seats=None if table.seats is None else Seats(table.seats.seats_per_time_slot),
            round_robin=table.scheduling_type == "roundRobin",
            candidates=tuple(self._candidate(table, hosts) for hosts in combinations),
            # Weights come with a single group only, so candidates are its hosts, in order.
            weights=tuple(host.weight or _USUAL_WEIGHT for host in groups[0]) if weighted else None,
            fixed=frozenset(_resource(host.user_id) for host in _fixed(table)),
            permitted=self._permitted(table),
        )

    def _candidate(self, table: _EventType, hosts: tuple[_Host, ...]) -> Candidate:
        user_ids = [host.user_id for host in hosts] or _host_ids(table)
        before = timedelta(minutes=table.before_event_buffer)
        after = timedelta(minutes=table.after_event_buffer)
        claims = tuple(
            Claim(_resource(user_id), before=before, after=after) for user_id in user_ids
        )
        return Candidate(claims, self._hours(table, hosts))

    def _hours(self, table: _EventType, hosts: tuple[_Host, ...]) -> Windows | None:
        """Return the hours that count instead of the hosts' own.

        The event type's schedule comes first; then the one chosen for a host;
        then the host's own.
        """
        if table.schedule_id is not None:
            return self._schedules[table.schedule_id]
        if all(host.schedule_id is None for host in hosts):
            return None
        hours = (
            self._resources[_resource(host.user_id)]
            if host.schedule_id is None
            else self._schedules[host.schedule_id]
            for host in hosts
        )
        return AllOf(tuple(each for each in hours if each is not None))

    def _permitted(self, table: _EventType) -> frozenset[int]:
        if table.owner_id is not None:
            shared = (group for group in self._groups.values() if table.owner_id in group)
            return frozenset({table.owner_id}).union(*shared)
        assert table.team_id is not None
        parent = self._teams[table.team_id].parent_id
        return self._groups[table.team_id] | self._groups.get(parent or 0, frozenset())


_USUAL_WEIGHT: Final = 100
"""The weight of a host of whom nothing is said, where others have one; as in Cal.com."""
