"""Validates the tables of a catalog against each other.

Duplicate ids, references to missing tables, hosts who are not members of their
team, and the like: `find_problems` yields a `Problem` for each.

A table that is invalid by itself is skipped here, but others may refer to it: one
mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

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
from slotengine.calcom.catalog.values import LONGEST_MINUTES, LONGEST_SPAN, short_repr
from slotengine.calcom.wire import MINUTE
from slotengine.core.time.schedule import Schedule
from slotengine.errors import InvalidField

T = TypeVar("T")


def find_problems(tables: Tables) -> Iterator[Problem]:
    """Yield the problems between tables.  O(n log n) for n tables with few problems."""
    yield from _check_ids(tables)
    yield from _check_names(tables)
    yield from _check_schedules(tables)
    yield from _check_users(tables)
    yield from _check_oauth_clients(tables)
    yield from _check_groups(tables)
    yield from _check_event_types(tables)
    yield from _check_bookings(tables)


# --- Helpers ---------------------------------------------------------------------------


def indexed(key: str, entries: Iterable[T]) -> Iterator[tuple[str, T]]:
    """Yield the entries of a list with their keys."""
    for index, entry in enumerate(entries):
        yield f"{key}[{index}]", entry


def _entries(
    rows: Iterable[Row[TableT]], name: str, of: Callable[[TableT], Iterable[T]]
) -> Iterator[tuple[str, T]]:
    """Yield the entries of a list that each row has, with their keys."""
    for key, table in rows:
        yield from indexed(f"{key}.{name}", of(table))


def _duplicates(values: Iterable[tuple[str, Hashable]]) -> Iterator[Problem]:
    """Yield values that occur more than once.  Never shows them: they may be secrets."""
    first: dict[Hashable, str] = {}
    for key, value in values:
        if value in first:
            yield Problem(key, f"is the same as {first[value]}; it must be unique")
        first.setdefault(value, key)


def _missing_references(
    tables: Tables, section: str, references: Iterable[tuple[str, Hashable | None]]
) -> Iterator[Problem]:
    """Yield references to tables that are missing."""
    ids = tables.ids(section)
    for key, reference in references:
        if reference is not None and reference not in ids:
            yield Problem(key, f"there is no {SECTIONS[section]} with id {reference!r}")


# --- Duplicates ------------------------------------------------------------------------


def _check_ids(tables: Tables) -> Iterator[Problem]:
    sections: list[list[Row[Any]]] = [
        tables.schedules,
        tables.users,
        tables.oauth_clients,
        tables.groups,
        tables.event_types,
    ]
    for rows in sections:
        yield from _duplicates((f"{key}.id", table.id) for key, table in rows)
    yield from _duplicates((f"{key}.uid", table.uid) for key, table in tables.bookings)


def _check_names(tables: Tables) -> Iterator[Problem]:
    names = ((each.key, (each.organization_id, each.username)) for each in tables.profiles())
    # Once, although the same two users may be in several organizations.
    yield from dict.fromkeys(_duplicates(names))
    yield from _duplicates((f"{key}.slug", each.slug) for key, each in tables.organizations)
    yield from _duplicates(
        (f"{key}.slug", (team.parent_id, team.slug)) for key, team in tables.teams
    )
    yield from _duplicates(
        (f"{key}.slug", (each.owner_id, each.team_id, each.slug))
        for key, each in tables.event_types
    )


# --- Schedules -------------------------------------------------------------------------


def _check_schedules(tables: Tables) -> Iterator[Problem]:
    for row_key, table in tables.schedules:
        for key, hours in indexed(f"{row_key}.availability", table.availability):
            if hours.start_time >= hours.end_time:
                yield Problem(
                    f"{key}.endTime",
                    f"must be after startTime, {hours.start_time}, not {hours.end_time}; "
                    "23:59 stands for midnight",
                )
        for key, override in indexed(f"{row_key}.overrides", table.overrides):
            if override.start_time > override.end_time:
                yield Problem(
                    f"{key}.endTime",
                    f"must be after startTime, {override.start_time}, not {override.end_time}; "
                    "or equal to it, to close the date",
                )
        try:
            table.schedule()
        except InvalidField as error:  # only the time zone can still be wrong
            yield Problem(f"{row_key}.timeZone", error.problem)


# --- Users, credentials, teams ---------------------------------------------------------


def _check_users(tables: Tables) -> Iterator[Problem]:
    users = tables.users
    yield from _missing_references(
        tables,
        "schedules",
        ((f"{key}.defaultScheduleId", user.default_schedule_id) for key, user in users),
    )
    yield from _check_credentials(tables)
    for key, user in users:
        yield from _check_travel(key, user)
        yield from _check_absences(key, user)
        yield from _duplicates(indexed(f"{key}.calendars", user.calendars))


def _check_credentials(tables: Tables) -> Iterator[Problem]:
    api_keys = list(_entries(tables.users, "apiKeys", lambda user: user.api_keys))
    tokens = list(_entries(tables.users, "accessTokens", lambda user: user.access_tokens))
    yield from _duplicates((key, each.digest) for key, each in api_keys)
    yield from _duplicates((f"{key}.token", each.token.digest) for key, each in tokens)
    yield from _missing_references(
        tables, "oauthClients", ((f"{key}.clientId", each.client_id) for key, each in tokens)
    )
    for key, each in api_keys:
        if each.is_api_key is False:
            yield Problem(key, f"must be {API_KEY_PREFIX!r} followed by letters and digits")
    for key, token in tokens:
        if token.token.is_api_key:
            yield Problem(
                f"{key}.token", f"must not start with {API_KEY_PREFIX!r}, which marks API keys"
            )


def _check_travel(row_key: str, user: UserTable) -> Iterator[Problem]:
    if user.travel and user.default_schedule_id is None:
        yield Problem(
            f"{row_key}.travel",
            "needs a defaultScheduleId: the hours of that schedule are kept in the other time zone",
        )
    trips = []
    for key, table in indexed(f"{row_key}.travel", user.travel):
        if table.start_date > table.end_date:
            yield Problem(
                f"{key}.endDate",
                f"must not be before startDate, {table.start_date}, but is {table.end_date}",
            )
            continue
        try:
            trips.append(table.trip())
        except InvalidField as error:  # only the time zone can still be wrong
            yield Problem(f"{key}.timeZone", error.problem)
    try:
        Schedule("UTC", travel=trips)
    except InvalidField as error:  # trips overlap
        yield Problem(f"{row_key}.travel", error.problem)


def _check_absences(row_key: str, user: UserTable) -> Iterator[Problem]:
    if user.out_of_office and user.default_schedule_id is None:
        yield Problem(
            f"{row_key}.outOfOffice",
            "needs a defaultScheduleId: the dates are in the time zone of that schedule",
        )
    for key, absence in indexed(f"{row_key}.outOfOffice", user.out_of_office):
        if absence.start > absence.end:
            yield Problem(
                f"{key}.end",
                f"must not be before the start, {absence.start}, but is {absence.end}",
            )


def _check_oauth_clients(tables: Tables) -> Iterator[Problem]:
    clients = tables.oauth_clients
    yield from _missing_references(
        tables, "users", ((f"{key}.ownerId", client.owner_id) for key, client in clients)
    )
    for key, uri in _entries(clients, "redirectUris", lambda client: client.redirect_uris):
        if origin(uri) is None:
            yield Problem(key, f"must be an http or https address, not {short_repr(uri)}")


def _check_groups(tables: Tables) -> Iterator[Problem]:
    yield from _missing_references(
        tables,
        "organizations",
        ((f"{key}.parentId", team.parent_id) for key, team in tables.teams),
    )
    for row_key, group in tables.groups:
        members = [
            (f"{key}.userId", member.user_id)
            for key, member in indexed(f"{row_key}.members", group.members)
        ]
        yield from _missing_references(tables, "users", members)
        yield from _duplicates(members)
    for key, member in _entries(tables.teams, "members", lambda team: team.members):
        if member.username is not None:
            yield Problem(
                f"{key}.username",
                "is for members of organizations; a member of a team has the name of its "
                "organization",
            )


# --- Event types -----------------------------------------------------------------------


def _check_event_types(tables: Tables) -> Iterator[Problem]:
    rows = tables.event_types
    hosts = list(_entries(rows, "hosts", lambda each: each.hosts))
    references: list[tuple[str, Iterator[tuple[str, int | None]]]] = [
        ("users", ((f"{key}.ownerId", each.owner_id) for key, each in rows)),
        ("teams", ((f"{key}.teamId", each.team_id) for key, each in rows)),
        ("schedules", ((f"{key}.scheduleId", each.schedule_id) for key, each in rows)),
        ("users", ((f"{key}.userId", host.user_id) for key, host in hosts)),
        ("schedules", ((f"{key}.scheduleId", host.schedule_id) for key, host in hosts)),
    ]
    for section, each in references:
        yield from _missing_references(tables, section, each)
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
    yield from _duplicates(indexed(f"{key}.lengthInMinutesOptions", options))
    if options and event_type.length_in_minutes not in options:
        yield Problem(
            f"{key}.lengthInMinutesOptions",
            f"must contain lengthInMinutes, {event_type.length_in_minutes}; it is {options}",
        )
    longest = max([event_type.length_in_minutes, *options]) * MINUTE
    if event_type.before + longest + event_type.after > LONGEST_SPAN:
        yield Problem(
            f"{key}.lengthInMinutes", f"must be no more than {LONGEST_MINUTES} with both buffers"
        )


def _check_limits(key: str, limits: LimitsTable | None) -> Iterator[Problem]:
    if limits is None:
        return
    by_period = limits.by_period()
    if limits.disabled and by_period:
        yield Problem(f"{key}.disabled", "must not be true beside limits; remove one or the other")
    if not limits.disabled and not by_period:
        yield Problem(key, "must have a limit for a day, week, month or year, or disabled = true")
    for (period, most), (longer, most_of_longer) in pairwise(by_period.items()):
        if most > most_of_longer:
            yield Problem(
                f"{key}.{period}",
                f"must be no more than in a {longer}, {most_of_longer}, but is {most}",
            )


def _check_time_left(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    limits = event_type.booking_limits_duration
    options = event_type.length_in_minutes_options
    shortest = min([event_type.length_in_minutes, *options])
    for period, most in limits.by_period().items() if limits is not None else ():
        if most < shortest:
            yield Problem(
                f"{key}.{period}",
                f"must be at least the length of the shortest slot, {shortest}, but is {most}",
            )


def _check_window(key: str, window: BookingWindowTable | None) -> Iterator[Problem]:
    if window is None:
        return
    if window.disabled:
        if window.model_fields_set != {"disabled"}:
            yield Problem(
                f"{key}.disabled", "must not be true beside a window; remove one or the other"
            )
        return
    if window.type is None:
        yield Problem(f"{key}.type", "is missing; give a type, or disabled = true")
    elif window.type == "range" and window.dates is None:
        yield Problem(
            f"{key}.value", f"must be the first and the last date for type {window.type!r}"
        )
    elif window.type != "range" and window.days is None:
        yield Problem(f"{key}.value", f"must be a number of days for type {window.type!r}")
    if window.dates is not None and window.dates[0] > window.dates[1]:
        yield Problem(
            f"{key}.value", f"must not end before it starts: {window.dates[0]} to {window.dates[1]}"
        )
    if window.rolling:
        yield Problem(
            f"{key}.rolling",
            "is not supported: days count from today, whether or not they have free slots; "
            "remove it",
        )


def _check_individual(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    if event_type.owner_id is None:
        yield Problem(key, "must have an ownerId or a teamId")
    if event_type.hosts:
        yield Problem(
            f"{key}.hosts", "are for event types of a team; of this one the owner is the host"
        )
    if event_type.scheduling_type is not None:
        yield Problem(f"{key}.schedulingType", "is for event types of a team")
    if event_type.reschedule_with_same_round_robin_host:
        yield Problem(
            f"{key}.rescheduleWithSameRoundRobinHost", "is for round robin event types; remove it"
        )


def _check_team_type(key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    if event_type.owner_id is not None:
        yield Problem(key, "must have an ownerId or a teamId, not both")
    if not event_type.hosts:
        yield Problem(f"{key}.hosts", "must name at least one host, for an event type of a team")
    hosts = indexed(f"{key}.hosts", event_type.hosts)
    yield from _duplicates((f"{host_key}.userId", host.user_id) for host_key, host in hosts)
    match event_type.scheduling_type:
        case None:
            yield Problem(
                f"{key}.schedulingType",
                "is missing; it must be 'collective' or 'roundRobin' for an event type of a team",
            )
        case "collective":
            yield from _check_collective(key, event_type)


def _check_members(
    row_key: str, event_type: EventTypeTable, members: frozenset[int] | None
) -> Iterator[Problem]:
    if members is None:  # the team is missing or invalid, which is reported already
        return
    for key, host in indexed(f"{row_key}.hosts", event_type.hosts):
        if host.user_id not in members:
            yield Problem(
                f"{key}.userId",
                f"user {host.user_id} is not an accepted member of team {event_type.team_id}",
            )


def _check_collective(row_key: str, event_type: EventTypeTable) -> Iterator[Problem]:
    for key, host in indexed(f"{row_key}.hosts", event_type.hosts):
        for name in sorted(host.model_fields_set & {"is_fixed", "weight", "group_id"}):
            yield Problem(
                f"{key}.{to_camel(name)}",
                "is for round robin; every host takes part in a collective event type",
            )
    if event_type.reschedule_with_same_round_robin_host:
        yield Problem(
            f"{row_key}.rescheduleWithSameRoundRobinHost",
            "is for round robin event types; remove it",
        )


# --- Bookings --------------------------------------------------------------------------


def _check_bookings(tables: Tables) -> Iterator[Problem]:
    rows = tables.bookings
    yield from _missing_references(
        tables, "eventTypes", ((f"{key}.eventTypeId", each.event_type_id) for key, each in rows)
    )
    event_types = {each.id: each for _, each in tables.event_types}
    users = tables.ids("users")
    for key, booking in rows:
        event_type = event_types.get(booking.event_type_id)
        if event_type is not None:  # else missing or invalid, which is reported already
            yield from _check_booking(key, booking, event_type, users)


def _check_booking(
    key: str, booking: BookingTable, event_type: EventTypeTable, users: set[object]
) -> Iterator[Problem]:
    if booking.start >= booking.end:
        yield Problem(
            f"{key}.end", f"must be after the start, {booking.start}, but is {booking.end}"
        )
    try:
        start, end = booking.occupied(event_type)
    except OverflowError:
        yield Problem(key, "the buffers of its event type reach beyond the years 1 to 9999")
    else:
        if end - start > LONGEST_SPAN:
            yield Problem(
                f"{key}.end",
                f"must be {LONGEST_MINUTES} minutes after the start at most, buffers included",
            )
    if booking.attendees_count is not None and event_type.seats is None:
        yield Problem(f"{key}.attendeesCount", "is for event types with seats; remove it")
    yield from _check_booked_hosts(f"{key}.hostIds", booking.host_ids, event_type, users)


def _check_booked_hosts(
    key: str, host_ids: list[int] | None, event_type: EventTypeTable, users: set[object]
) -> Iterator[Problem]:
    if host_ids is None:
        if event_type.scheduling_type == "roundRobin":
            yield Problem(key, "is missing: a round robin booking needs its host")
        return
    if not host_ids:
        yield Problem(key, "must name at least one host, or be left out")
    for host_key, host in indexed(key, host_ids):
        if host not in users:
            yield Problem(host_key, f"there is no user with id {host}")
    yield from _duplicates(indexed(key, host_ids))
