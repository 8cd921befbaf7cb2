"""What is wrong with a catalog although each of its tables is right by itself.

Ids that repeat, references to what is not there, hosts who are no members of
the team...  `check` yields a `Problem` for each.

Bookings were made, right or not: what should not be as it is, such as two of the
same host at the same time, stands all the same.  `warnings` yields that.

A table that is wrong by itself is a problem already, and so is skipped here,
but it can be referred to: one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from pydantic.alias_generators import to_camel

from slotengine.calcom.catalog.event_type_tables import (
    BookingTable,
    BookingWindowTable,
    EventTypeTable,
    LimitsTable,
)
from slotengine.calcom.catalog.schema import SECTIONS, Problem, Row, Tables, TableT
from slotengine.calcom.catalog.secrets import API_KEY_PREFIX
from slotengine.calcom.catalog.user_tables import UserTable, origin
from slotengine.calcom.catalog.values import LONGEST, LONGEST_SPAN
from slotengine.calcom.wire import MINUTE
from slotengine.core.time.schedule import Schedule
from slotengine.errors import InvalidField

T = TypeVar("T")


def check(tables: Tables) -> Iterator[Problem]:
    """Find what does not fit together.  O(n log n) for n tables, if little is wrong."""
    yield from _check_ids(tables)
    yield from _check_names(tables)
    yield from _check_schedules(tables)
    yield from _check_users(tables)
    yield from _check_oauth_clients(tables)
    yield from _check_groups(tables)
    yield from _check_event_types(tables)
    yield from _check_bookings(tables)


def warnings(tables: Tables) -> Iterator[Problem]:
    """Find bookings that should not be as they are, but stand.  O(n log n), if there are few.

    For tables in which nothing is wrong.
    """
    event_types = {each.id: each for _, each in tables.event_types}
    placed: list[_Placed] = []
    for key, booking in tables.bookings:
        if not booking.takes_time:
            continue
        event_type = event_types[booking.event_type_id]
        yield from _warn_of_hosts(f"{key}.hostIds", booking, event_type)
        placed.append(_Placed.of(key, booking, event_type))
    # Of two that cannot both be, the earlier one is right; then the one that stands first.
    placed.sort(key=lambda each: each.booking.start)
    yield from _warn_of_overlaps(placed)
    yield from _warn_of_sessions(placed)
    yield from _warn_of_seats(placed)


# --- What the checks share -------------------------------------------------------------


def _indexed(key: str, entries: Iterable[T]) -> Iterator[tuple[str, T]]:
    """Go through a list, with the key of each of its entries."""
    for index, entry in enumerate(entries):
        yield f"{key}[{index}]", entry


def _each(
    rows: Iterable[Row[TableT]], name: str, of: Callable[[TableT], Iterable[T]]
) -> Iterator[tuple[str, T]]:
    """Go through a list that each of the rows has, with the key of each of its entries."""
    for key, table in rows:
        yield from _indexed(f"{key}.{name}", of(table))


def _repeated(values: Iterable[tuple[str, Hashable]]) -> Iterator[Problem]:
    """Find values that must differ and do not.  Never shows them: they may be secrets."""
    first: dict[Hashable, str] = {}
    for key, value in values:
        if value in first:
            yield Problem(key, f"is the same as {first[value]}")
        first.setdefault(value, key)


def _unknown(
    tables: Tables, section: str, references: Iterable[tuple[str, Hashable | None]]
) -> Iterator[Problem]:
    """Find references to what is not there."""
    ids = tables.ids(section)
    for key, reference in references:
        if reference is not None and reference not in ids:
            yield Problem(key, f"there is no {SECTIONS[section]} with id {reference!r}")


# --- What must differ ------------------------------------------------------------------


def _check_ids(tables: Tables) -> Iterator[Problem]:
    sections: list[list[Row[Any]]] = [
        tables.schedules,
        tables.users,
        tables.oauth_clients,
        tables.groups,
        tables.event_types,
    ]
    for rows in sections:
        yield from _repeated((f"{key}.id", table.id) for key, table in rows)
    yield from _repeated((f"{key}.uid", table.uid) for key, table in tables.bookings)


def _check_names(tables: Tables) -> Iterator[Problem]:
    names = ((each.key, (each.organization_id, each.username)) for each in tables.profiles())
    yield from dict.fromkeys(_repeated(names))  # two may meet in several organizations
    yield from _repeated((f"{key}.slug", each.slug) for key, each in tables.organizations)
    yield from _repeated((f"{key}.slug", (team.parent_id, team.slug)) for key, team in tables.teams)
    yield from _repeated(
        (f"{key}.slug", (each.owner_id, each.team_id, each.slug))
        for key, each in tables.event_types
    )


# --- Schedules -------------------------------------------------------------------------


def _check_schedules(tables: Tables) -> Iterator[Problem]:
    for row_key, table in tables.schedules:
        for key, hours in _indexed(f"{row_key}.availability", table.availability):
            if hours.start_time >= hours.end_time:
                yield Problem(
                    f"{key}.endTime", "must be after startTime; 23:59 stands for midnight"
                )
        for key, override in _indexed(f"{row_key}.overrides", table.overrides):
            if override.start_time > override.end_time:
                yield Problem(
                    f"{key}.endTime", "must be after startTime, or the same to close the date"
                )
        try:
            table.schedule()
        except InvalidField as error:  # the time zone is all that can be wrong still
            yield Problem(f"{row_key}.timeZone", error.problem)


# --- Users, credentials, teams ---------------------------------------------------------


def _check_users(tables: Tables) -> Iterator[Problem]:
    users = tables.users
    yield from _unknown(
        tables,
        "schedules",
        ((f"{key}.defaultScheduleId", user.default_schedule_id) for key, user in users),
    )
    yield from _check_credentials(tables)
    for key, user in users:
        yield from _check_travel(key, user)
        yield from _check_absences(key, user)
        yield from _repeated(_indexed(f"{key}.calendars", user.calendars))


def _check_credentials(tables: Tables) -> Iterator[Problem]:
    api_keys = list(_each(tables.users, "apiKeys", lambda user: user.api_keys))
    tokens = list(_each(tables.users, "accessTokens", lambda user: user.access_tokens))
    yield from _repeated((key, each.digest) for key, each in api_keys)
    yield from _repeated((f"{key}.token", each.token.digest) for key, each in tokens)
    yield from _unknown(
        tables, "oauthClients", ((f"{key}.clientId", each.client_id) for key, each in tokens)
    )
    for key, each in api_keys:
        if each.is_api_key is False:
            yield Problem(key, f"must be {API_KEY_PREFIX!r} and some letters and digits")
    for key, token in tokens:
        if token.token.is_api_key:
            yield Problem(f"{key}.token", f"must not start with {API_KEY_PREFIX!r}")


def _check_travel(row_key: str, user: UserTable) -> Iterator[Problem]:
    if user.travel and user.default_schedule_id is None:
        yield Problem(f"{row_key}.travel", "needs a defaultScheduleId, whose hours travel")
    trips = []
    for key, table in _indexed(f"{row_key}.travel", user.travel):
        if table.start_date > table.end_date:
            yield Problem(f"{key}.endDate", "must not be before startDate")
            continue
        try:
            trips.append(table.trip())
        except InvalidField as error:  # the time zone is all that can be wrong still
            yield Problem(f"{key}.timeZone", error.problem)
    try:
        Schedule("UTC", travel=trips)
    except InvalidField as error:  # they overlap
        yield Problem(f"{row_key}.travel", error.problem)


def _check_absences(row_key: str, user: UserTable) -> Iterator[Problem]:
    if user.out_of_office and user.default_schedule_id is None:
        yield Problem(
            f"{row_key}.outOfOffice", "needs a defaultScheduleId, in whose time zone the dates are"
        )
    for key, absence in _indexed(f"{row_key}.outOfOffice", user.out_of_office):
        if absence.start > absence.end:
            yield Problem(f"{key}.end", "must not be before the start")


def _check_oauth_clients(tables: Tables) -> Iterator[Problem]:
    clients = tables.oauth_clients
    yield from _unknown(
        tables, "users", ((f"{key}.ownerId", client.owner_id) for key, client in clients)
    )
    for key, uri in _each(clients, "redirectUris", lambda client: client.redirect_uris):
        if origin(uri) is None:
            yield Problem(key, "must be an http or https address")


def _check_groups(tables: Tables) -> Iterator[Problem]:
    yield from _unknown(
        tables,
        "organizations",
        ((f"{key}.parentId", team.parent_id) for key, team in tables.teams),
    )
    for row_key, group in tables.groups:
        members = [
            (f"{key}.userId", member.user_id)
            for key, member in _indexed(f"{row_key}.members", group.members)
        ]
        yield from _unknown(tables, "users", members)
        yield from _repeated(members)
    for key, member in _each(tables.teams, "members", lambda team: team.members):
        if member.username is not None:
            yield Problem(f"{key}.username", "can be said of an organization's members only")


# --- Event types -----------------------------------------------------------------------


def _check_event_types(tables: Tables) -> Iterator[Problem]:
    rows = tables.event_types
    hosts = list(_each(rows, "hosts", lambda each: each.hosts))
    references: list[tuple[str, Iterator[tuple[str, int | None]]]] = [
        ("users", ((f"{key}.ownerId", each.owner_id) for key, each in rows)),
        ("teams", ((f"{key}.teamId", each.team_id) for key, each in rows)),
        ("schedules", ((f"{key}.scheduleId", each.schedule_id) for key, each in rows)),
        ("users", ((f"{key}.userId", host.user_id) for key, host in hosts)),
        ("schedules", ((f"{key}.scheduleId", host.schedule_id) for key, host in hosts)),
    ]
    for section, each in references:
        yield from _unknown(tables, section, each)
    members = {team.id: team.accepted for _, team in tables.teams}
    for key, event_type in rows:
        yield from _check_lengths(key, event_type)
        yield from _check_limits(f"{key}.bookingLimitsCount", event_type.booking_limits_count)
        yield from _check_limits(f"{key}.bookingLimitsDuration", event_type.booking_limits_duration)
        yield from _check_time_left(f"{key}.bookingLimitsDuration", event_type)
        yield from _check_window(f"{key}.bookingWindow", event_type.booking_window)
        if event_type.team_id is None:
            yield from _check_individual(key, event_type)
        else:
            yield from _check_team_type(key, event_type)
            yield from _check_members(key, event_type, members.get(event_type.team_id))


def _check_lengths(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    options = event_type.length_in_minutes_options
    yield from _repeated(_indexed(f"{key}.lengthInMinutesOptions", options))
    if options and event_type.length_in_minutes not in options:
        yield Problem(
            f"{key}.lengthInMinutesOptions",
            f"must contain lengthInMinutes, {event_type.length_in_minutes}",
        )
    longest = max([event_type.length_in_minutes, *options]) * MINUTE
    if event_type.before + longest + event_type.after > LONGEST_SPAN:
        yield Problem(f"{key}.lengthInMinutes", f"must be no more than {LONGEST} with both buffers")


def _check_limits(key: str, limits: LimitsTable | None) -> Iterator[Problem]:
    if limits is None:
        return
    by_period = limits.by_period()
    if limits.disabled and by_period:
        yield Problem(f"{key}.disabled", "must not be true where there are limits")
    if not limits.disabled and not by_period:
        yield Problem(key, "must have a day, week, month or year, or disabled = true")
    for (period, most), (longer, most_of_longer) in pairwise(by_period.items()):
        if most > most_of_longer:
            yield Problem(f"{key}.{period}", f"must be no more than in a {longer}")


def _check_time_left(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    limits = event_type.booking_limits_duration
    options = event_type.length_in_minutes_options
    shortest = min([event_type.length_in_minutes, *options])
    for period, most in limits.by_period().items() if limits is not None else ():
        if most < shortest:
            yield Problem(f"{key}.{period}", f"must leave time for the shortest slot, {shortest}")


def _check_window(key: str, window: BookingWindowTable | None) -> Iterator[Problem]:
    if window is None:
        return
    if window.disabled:
        if window.model_fields_set != {"disabled"}:
            yield Problem(f"{key}.disabled", "must not be true where there is a window")
        return
    if window.type is None:
        yield Problem(f"{key}.type", "is missing, or disabled = true")
    elif window.type == "range" and window.dates is None:
        yield Problem(f"{key}.value", "must be the first and the last date")
    elif window.type != "range" and window.days is None:
        yield Problem(f"{key}.value", "must be a number of days")
    if window.dates is not None and window.dates[0] > window.dates[1]:
        yield Problem(f"{key}.value", "must not end before it starts")
    if window.rolling:
        yield Problem(
            f"{key}.rolling",
            "is not supported: days count from today, whether or not something is free on them",
        )


def _check_individual(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    if event_type.owner_id is None:
        yield Problem(key, "must have an ownerId, or a teamId")
    if event_type.hosts:
        yield Problem(f"{key}.hosts", "are for event types of a team; here the owner is the host")
    if event_type.scheduling_type is not None:
        yield Problem(f"{key}.schedulingType", "is for event types of a team")
    if event_type.reschedule_with_same_round_robin_host:
        yield Problem(f"{key}.rescheduleWithSameRoundRobinHost", "is for round robin")


def _check_team_type(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    if event_type.owner_id is not None:
        yield Problem(key, "must have an ownerId or a teamId, not both")
    if not event_type.hosts:
        yield Problem(f"{key}.hosts", "must be at least one, for an event type of a team")
    hosts = _indexed(f"{key}.hosts", event_type.hosts)
    yield from _repeated((f"{host_key}.userId", host.user_id) for host_key, host in hosts)
    match event_type.scheduling_type:
        case None:
            yield Problem(f"{key}.schedulingType", "must be 'collective' or 'roundRobin'")
        case "collective":
            yield from _check_collective(key, event_type)


def _check_members(
    row_key: str, event_type: EventTypeTable, members: frozenset[int] | None
) -> Iterator[Problem]:
    if members is None:  # the team is unknown or wrong itself, which was said already
        return
    for key, host in _indexed(f"{row_key}.hosts", event_type.hosts):
        if host.user_id not in members:
            yield Problem(
                f"{key}.userId",
                f"user {host.user_id} is no accepted member of team {event_type.team_id}",
            )


def _check_collective(row_key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    for key, host in _indexed(f"{row_key}.hosts", event_type.hosts):
        for name in sorted(host.model_fields_set & {"is_fixed", "weight", "group_id"}):
            yield Problem(
                f"{key}.{to_camel(name)}",
                "is for round robin; in a collective event type every host takes part",
            )
    if event_type.reschedule_with_same_round_robin_host:
        yield Problem(f"{row_key}.rescheduleWithSameRoundRobinHost", "is for round robin")


# --- Bookings --------------------------------------------------------------------------


def _check_bookings(tables: Tables) -> Iterator[Problem]:
    rows = tables.bookings
    yield from _unknown(
        tables, "eventTypes", ((f"{key}.eventTypeId", each.event_type_id) for key, each in rows)
    )
    event_types = {each.id: each for _, each in tables.event_types}
    users = tables.ids("users")
    for key, booking in rows:
        event_type = event_types.get(booking.event_type_id)
        if event_type is not None:  # else unknown, or wrong itself, which was said already
            yield from _check_booking(key, booking, event_type, users)


def _check_booking(
    key: str, booking: BookingTable, event_type: EventTypeTable, users: set[object]
) -> Iterator[Problem]:
    if booking.start >= booking.end:
        yield Problem(f"{key}.end", "must be after the start")
    try:
        start, end = booking.occupied(event_type)
    except OverflowError:
        yield Problem(key, "the buffers reach beyond the years 1 to 9999")
    else:
        if end - start > LONGEST_SPAN:
            yield Problem(
                f"{key}.end", f"must be {LONGEST} minutes after the start at most, buffers included"
            )
    if booking.attendees_count is not None and event_type.seats is None:
        yield Problem(f"{key}.attendeesCount", "is for event types with seats")
    yield from _check_booked_hosts(f"{key}.hostIds", booking.host_ids, event_type, users)


def _check_booked_hosts(
    key: str, host_ids: list[int] | None, event_type: EventTypeTable, users: set[object]
) -> Iterator[Problem]:
    if host_ids is None:
        if event_type.scheduling_type == "roundRobin":
            yield Problem(key, "is missing: with round robin, say who has the booking")
        return
    if not host_ids:
        yield Problem(key, "must be at least one")
    for host_key, host in _indexed(key, host_ids):
        if host not in users:
            yield Problem(host_key, f"there is no user with id {host}")
    yield from _repeated(_indexed(key, host_ids))


class _Placed(NamedTuple):
    """A booking that takes time, and what it takes."""

    key: str
    booking: BookingTable
    event_type: EventTypeTable
    start: datetime
    end: datetime
    hosts: tuple[int, ...]

    @classmethod
    def of(cls, key: str, booking: BookingTable, event_type: EventTypeTable) -> _Placed:
        hosts = booking.host_ids or event_type.host_ids
        return cls(key, booking, event_type, *booking.occupied(event_type), tuple(hosts))

    @property
    def name(self) -> str:
        """Where it stands in the catalog, and its uid."""
        return f"{self.key} ({self.booking.uid!r})"

    @property
    def session(self) -> tuple[int, datetime]:
        """The shared session it belongs to, if its event type has seats."""
        return self.event_type.id, self.booking.start

    def shares_with(self, other: _Placed) -> bool:
        """Tell whether both are the same session: same event type, slot, and hosts."""
        same_slot = self.session == other.session and self.end == other.end
        return (
            self.event_type.seats is not None and same_slot and set(self.hosts) == set(other.hosts)
        )


def _warn_of_hosts(
    key: str, booking: BookingTable, event_type: EventTypeTable
) -> Iterator[Problem]:
    possible = event_type.host_ids
    for host_key, host in _indexed(key, booking.host_ids or ()):
        if host not in possible:
            yield Problem(
                host_key,
                f"user {host} is no host of event type {event_type.id}; "
                f"{booking.uid!r} takes their time all the same",
            )


def _warn_of_overlaps(placed: list[_Placed]) -> Iterator[Problem]:
    """Find bookings that take the same host at the same time.  O(n log n), unless they do."""
    by_host: dict[int, list[_Placed]] = {}
    for each in placed:
        for host in each.hosts:
            by_host.setdefault(host, []).append(each)
    for host, bookings in by_host.items():
        latest: _Placed | None = None
        for each in bookings:
            if latest and each.start < latest.end and not each.shares_with(latest):
                yield Problem(
                    each.key,
                    f"{each.booking.uid!r} overlaps with {latest.name} on user {host} "
                    "(buffers, if any, included); both stand",
                )
            if latest is None or each.end > latest.end:
                latest = each


def _warn_of_sessions(placed: list[_Placed]) -> Iterator[Problem]:
    """Find bookings that cannot be one session, and would begin together."""
    first: dict[tuple[int, datetime], _Placed] = {}
    for each in placed:
        if each.event_type.seats is None:
            continue
        opened = first.setdefault(each.session, each)
        # With a host in common they overlap, which is said already.
        if not each.shares_with(opened) and not set(each.hosts) & set(opened.hosts):
            yield Problem(
                each.key,
                f"{each.booking.uid!r} begins with {opened.name}: an event type with seats has one "
                "session at a time, with the same hosts and end for all; it stands by itself",
            )


def _warn_of_seats(placed: list[_Placed]) -> Iterator[Problem]:
    taken: dict[tuple[int, datetime], int] = {}
    first: dict[tuple[int, datetime], _Placed] = {}
    for each in placed:
        seats = each.event_type.seats
        if seats is None or not each.shares_with(first.setdefault(each.session, each)):
            continue
        taken[each.session] = taken.get(each.session, 0) + each.booking.seats_taken
        if taken[each.session] > seats.seats_per_time_slot:
            yield Problem(
                f"{each.key}.attendeesCount",
                f"{each.booking.uid!r} makes {taken[each.session]} of {seats.seats_per_time_slot} "
                f"seats, with {first[each.session].name}; it stands",
            )
