"""Loads a catalog: reads the file, validates it, and builds a `Catalog`.

`load_catalog` reads TOML or JSON, and `catalog_from` takes a parsed file.  Both raise
`CatalogError` for an invalid catalog, with the key and the reason of every problem.

`schema` and `checks` validate the tables.  `event_types` builds the event types, and
`calendars` reads the calendars.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from slotengine.calcom.catalog.booking_warnings import booking_warnings
from slotengine.calcom.catalog.calendar_files import CalendarCopies
from slotengine.calcom.catalog.calendars import CalendarReader
from slotengine.calcom.catalog.catalog import AccessToken, Booking, Catalog, Keyring, OAuthClient
from slotengine.calcom.catalog.checks import find_problems
from slotengine.calcom.catalog.directory import Directory, resource_of
from slotengine.calcom.catalog.event_type_tables import BookingTable, EventTypeTable
from slotengine.calcom.catalog.event_types import EventTypeBuilder
from slotengine.calcom.catalog.schema import Problem, Tables
from slotengine.calcom.catalog.user_tables import origin
from slotengine.core.time.schedule import Schedule
from slotengine.errors import InvalidRequest

# --- Reading ---------------------------------------------------------------------------


class CatalogError(InvalidRequest):
    """A catalog is invalid; ``problems`` lists every problem with its key.

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


def load_catalog(
    path: str | Path,
    *,
    now: datetime | None = None,
    environ: Mapping[str, str] | None = None,
    keep_calendars: str | Path | None = None,
) -> Catalog:
    """Read a catalog from a TOML file, or from JSON if it is named ``*.json``.

    Calendar files are read and checked as of ``now``, by default the system's
    time.  Secrets outside the file are read from ``environ``, by default the
    environment of the process.  ``keep_calendars`` is a folder for copies of
    complete calendar files: the copy of a file that is truncated, or no longer a
    calendar, counts as well.  Assumptions about calendars are among the
    catalog's warnings.

    Raises `CatalogError`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        is_json = path.suffix.lower() == ".json"
        raw = json.loads(text, object_pairs_hook=_table) if is_json else tomllib.loads(text)
    except OSError as error:
        raise CatalogError(str(path), (Problem("", error.strerror or str(error)),)) from None
    except (ValueError, RecursionError) as error:  # both parsers, and UTF-8
        raise CatalogError(str(path), (Problem("", f"cannot be read: {error}"),)) from None
    return catalog_from(
        raw,
        file=str(path),
        folder=path.parent,
        now=now,
        environ=environ,
        keep_calendars=keep_calendars,
    )


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object without repeated keys; TOML refuses those itself."""
    table: dict[str, object] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} is given twice in one object")
        table[key] = value
    return table


def catalog_from(
    raw: object,
    *,
    file: str = "the catalog",
    folder: str | Path = ".",
    now: datetime | None = None,
    environ: Mapping[str, str] | None = None,
    keep_calendars: str | Path | None = None,
) -> Catalog:
    """Build a catalog from a parsed file.

    Paths of calendars are relative to ``folder``; ``file`` is the name that
    errors show.  All else is as for `load_catalog`.  Raises `CatalogError`.

    >>> catalog_from({"users": [{"id": 1, "username": "front-desk"}]})
    <Catalog: 0 event types, 1 users, 0 bookings>
    """
    if not isinstance(raw, dict):
        raise CatalogError(file, (Problem("", f"must be a table, not {type(raw).__name__}"),))
    tables = Tables(raw, os.environ if environ is None else environ)
    copies = None if keep_calendars is None else CalendarCopies(Path(keep_calendars))
    calendars = CalendarReader(tables.users, Path(folder), now or datetime.now(UTC), copies)
    problems = (*tables.problems, *find_problems(tables), *calendars.problems)
    if problems:
        raise CatalogError(file, problems)
    return _catalog(tables, calendars)


# --- Building, from valid tables -------------------------------------------------------


def _catalog(tables: Tables, calendars: CalendarReader) -> Catalog:
    schedules = {table.id: table.schedule() for _, table in tables.schedules}
    build = EventTypeBuilder(tables, schedules)
    event_types = {table.id: table for _, table in tables.event_types}
    resources = {
        resource_of(user.id): schedules.get(user.default_schedule_id or 0)
        for _, user in tables.users
    } | _personal_hours(tables)
    return Catalog(
        event_types={id: build(table) for id, table in event_types.items()},  # noqa: A001
        resources=resources,
        bookings=tuple(
            _booking(table, event_types[table.event_type_id])
            for _, table in tables.bookings
            if table.takes_time
        ),
        calendars=calendars.of_users(schedules),
        directory=_directory(tables),
        api_keys=Keyring(
            (key.digest, user.id) for _, user in tables.users for key in user.api_keys
        ),
        access_tokens=_access_tokens(tables),
        oauth_clients={
            client.id: OAuthClient(client.owner_id, Keyring([(client.secret.digest, True)]))
            for _, client in tables.oauth_clients
        },
        rate_limits=tables.rate_limits,
        quotas=tables.quotas,
        warnings=(*map(str, booking_warnings(tables)), *calendars.warnings),
    )


def _personal_hours(tables: Tables) -> dict[str, Schedule]:
    """Return the hours of users who travel or are away, by resource.

    All others share the schedules of the catalog.
    """
    own = {table.id: table for _, table in tables.schedules}
    return {
        resource_of(user.id): own[user.default_schedule_id].schedule(user.trips(), user.absences())
        for _, user in tables.users
        if user.default_schedule_id is not None and (user.travel or user.out_of_office)
    }


def _directory(tables: Tables) -> Directory:
    event_types = [(each.owner_id, each.team_id, each) for _, each in tables.event_types]
    return Directory(
        users=_usernames(tables),
        organizations={each.slug: each.id for _, each in tables.organizations},
        teams={(team.parent_id, team.slug): team.id for _, team in tables.teams},
        user_event_types={(owner, each.slug): each.id for owner, _, each in event_types if owner},
        team_event_types={(team, each.slug): each.id for _, team, each in event_types if team},
        without_dynamic_booking=frozenset(
            user.id for _, user in tables.users if not user.allow_dynamic_booking
        ),
    )


def _usernames(tables: Tables) -> dict[tuple[int | None, str], int]:
    """Return user ids by organization and username; None: outside of all organizations.

    A user's own name also works outside of the user's organization, unless another user
    has the same one.
    """
    own: dict[str, set[int]] = {}
    for _, user in tables.users:
        own.setdefault(user.username, set()).add(user.id)
    found: dict[tuple[int | None, str], int] = {
        (None, username): user_id
        for username, user_ids in own.items()
        for user_id in (user_ids if len(user_ids) == 1 else ())
    }
    for each in tables.profiles():
        found[each.organization_id, each.username] = each.user_id
    return found


def _access_tokens(tables: Tables) -> Keyring[AccessToken]:
    origins = {
        client.id: frozenset(filter(None, map(origin, client.redirect_uris)))
        for _, client in tables.oauth_clients
    }
    return Keyring(
        (
            token.token.digest,
            AccessToken(user.id, None if token.client_id is None else origins[token.client_id]),
        )
        for _, user in tables.users
        for token in user.access_tokens
    )


def _booking(table: BookingTable, event_type: EventTypeTable) -> Booking:
    user_ids = event_type.host_ids if table.host_ids is None else table.host_ids
    return Booking(
        table.uid,
        table.event_type_id,
        table.start,
        table.end - table.start,
        frozenset(map(resource_of, user_ids)),
        1 if event_type.seats is None else table.seats_taken,
    )
