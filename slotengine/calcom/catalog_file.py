"""From a file to a catalog: read it, refuse a wrong one, or build what it means.

`load_catalog` reads TOML or JSON, and `catalog_from` takes what is parsed
already.  Both refuse a wrong catalog with `CatalogError`, which lists
everything that is wrong with it, each with its key and the reason.

What stands in the tables is `catalog_tables`', how they must fit together
`catalog_checks`', and what comes out `catalog`'s.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final

from slotengine.calcom.catalog import (
    AccessToken,
    Candidate,
    Catalog,
    EventType,
    Keyring,
    OAuthClient,
)
from slotengine.calcom.catalog_checks import check
from slotengine.calcom.catalog_tables import (
    BookingTable,
    EventTypeTable,
    HostTable,
    Problem,
    Tables,
    origin,
)
from slotengine.core.reservation import Seats
from slotengine.core.schedule import ALWAYS_OPEN, AllOf, Schedule, Windows
from slotengine.engine.values import Claim, Request
from slotengine.errors import InvalidRequest

USUAL_WEIGHT: Final = 100
"""The weight of a host of whom nothing is said, where others have one; as in Cal.com."""


# --- Reading ---------------------------------------------------------------------------


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


def load_catalog(path: str | Path) -> Catalog:
    """Read a catalog from a TOML file, or from JSON if it is named ``*.json``.

    Raises `CatalogError`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a mark
        is_json = path.suffix.lower() == ".json"
        raw = json.loads(text, object_pairs_hook=_table) if is_json else tomllib.loads(text)
    except OSError as error:
        raise CatalogError(str(path), (Problem("", error.strerror or str(error)),)) from None
    except (ValueError, RecursionError) as error:  # both parsers, and UTF-8
        raise CatalogError(str(path), (Problem("", f"cannot be read: {error}"),)) from None
    return catalog_from(raw, file=str(path))


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object, of which no key may be given twice; TOML refuses that itself."""
    table: dict[str, object] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} is given twice in one object")
        table[key] = value
    return table


def catalog_from(raw: object, *, file: str = "the catalog") -> Catalog:
    """Make a catalog of what a file holds, as parsed already.

    Raises `CatalogError`, naming ``file``.

    >>> catalog_from({"users": [{"id": 1, "username": "front-desk"}]})
    <Catalog: 0 event types, 1 users, 0 bookings>
    """
    if not isinstance(raw, dict):
        raise CatalogError(file, (Problem("", "must be a table"),))
    tables = Tables(raw)
    problems = (*tables.problems, *check(tables))
    if problems:
        raise CatalogError(file, problems)
    return _catalog(tables)


# --- Building, of tables in which nothing is wrong -------------------------------------


def _catalog(tables: Tables) -> Catalog:
    schedules = {table.id: table.schedule() for _, table in tables.schedules}
    resources = {
        _resource(user.id): schedules.get(user.default_schedule_id or 0) for _, user in tables.users
    } | _of_travellers(tables)
    build = _EventTypeBuilder(tables, schedules, resources)
    event_types = {table.id: build(table) for _, table in tables.event_types}
    return Catalog(
        event_types=event_types,
        resources=resources,
        bookings=tuple(
            _booking(table, event_types[table.event_type_id])
            for _, table in tables.bookings
            if table.takes_time
        ),
        api_keys=Keyring(
            (key.get_secret_value(), user.id) for _, user in tables.users for key in user.api_keys
        ),
        access_tokens=_access_tokens(tables),
        oauth_clients={
            client.id: OAuthClient(
                client.owner_id, Keyring([(client.secret.get_secret_value(), True)])
            )
            for _, client in tables.oauth_clients
        },
    )


def _of_travellers(tables: Tables) -> dict[str, Schedule]:
    """Return the hours of users who travel or are away; all others share their schedules."""
    own = {table.id: table for _, table in tables.schedules}
    return {
        _resource(user.id): own[user.default_schedule_id].schedule(user.trips(), user.absences())
        for _, user in tables.users
        if user.default_schedule_id is not None and (user.travel or user.out_of_office)
    }


def _resource(user_id: int) -> str:
    return f"user:{user_id}"


def _access_tokens(tables: Tables) -> Keyring[AccessToken]:
    origins = {
        client.id: frozenset(filter(None, map(origin, client.redirect_uris)))
        for _, client in tables.oauth_clients
    }
    return Keyring(
        (
            token.token.get_secret_value(),
            AccessToken(user.id, None if token.client_id is None else origins[token.client_id]),
        )
        for _, user in tables.users
        for token in user.access_tokens
    )


def _booking(table: BookingTable, event_type: EventType) -> Request:
    claims = event_type.candidates[0].claims
    if table.host_ids is not None:
        hosts = sorted(map(_resource, table.host_ids))
        claims = tuple(replace(claims[0], resource=host) for host in hosts)
    seats = event_type.seats
    return Request(
        table.start,
        table.end - table.start,
        claims,
        event_type=str(event_type.id),
        seats=seats and seats._replace(wanted=table.seats_taken),
        schedule=ALWAYS_OPEN,  # it was agreed, whatever the hours are today
    )


class _EventTypeBuilder:
    """Turns tables of event types into event types."""

    def __init__(
        self,
        tables: Tables,
        schedules: Mapping[int, Windows],
        resources: Mapping[str, Windows | None],
    ) -> None:
        self._schedules = schedules
        self._resources = resources
        self._parents = {team.id: team.parent_id for _, team in tables.teams}
        self._members = {group.id: group.accepted for _, group in tables.groups}

    def __call__(self, table: EventTypeTable) -> EventType:
        groups = table.rotating
        combinations = [(*table.fixed, *rotating) for rotating in product(*groups)]
        weighted = any(host.weight is not None for group in groups for host in group)
        return EventType(
            id=table.id,
            slug=table.slug,
            length=table.length_in_minutes,
            lengths=tuple(table.length_in_minutes_options),
            before=table.before,
            after=table.after,
            seats=None if table.seats is None else Seats(table.seats.seats_per_time_slot),
            round_robin=table.scheduling_type == "roundRobin",
            candidates=tuple(self._candidate(table, hosts) for hosts in combinations),
            # Weights come with a single group only, so candidates are its hosts, in order.
            weights=tuple(host.weight or USUAL_WEIGHT for host in groups[0]) if weighted else None,
            fixed=frozenset(_resource(host.user_id) for host in table.fixed),
            permitted=self._permitted(table),
        )

    def _candidate(self, table: EventTypeTable, hosts: tuple[HostTable, ...]) -> Candidate:
        user_ids = [host.user_id for host in hosts] or table.host_ids
        claims = tuple(
            Claim(_resource(user_id), before=table.before, after=table.after)
            for user_id in user_ids
        )
        return Candidate(claims, self._hours(table, hosts))

    def _hours(self, table: EventTypeTable, hosts: tuple[HostTable, ...]) -> Windows | None:
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

    def _permitted(self, table: EventTypeTable) -> frozenset[int]:
        if table.owner_id is not None:
            shared = (members for members in self._members.values() if table.owner_id in members)
            return frozenset({table.owner_id}).union(*shared)
        assert table.team_id is not None
        organization_id = self._parents[table.team_id]
        of_team = self._members[table.team_id]
        return of_team if organization_id is None else of_team | self._members[organization_id]
