"""All tables of a catalog file, each read and validated by itself.

`Tables` keeps every table that is right, and lists a `Problem` for everything else.
The keys of the tables, in Cal.com's own spelling, are in `user_tables`,
`event_type_tables` and `limit_tables`, with their limits and defaults; `values` has the
types of their values.

`checks` validates the tables against each other.  Every key is explained in
``docs/server.md``, and shown in ``examples/catalog.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from slotengine.calcom.catalog.event_type_tables import BookingTable, EventTypeTable
from slotengine.calcom.catalog.limit_tables import QuotasTable, RateLimitsTable
from slotengine.calcom.catalog.user_tables import (
    OAuthClientTable,
    OrganizationTable,
    ScheduleTable,
    TeamTable,
    UserTable,
)
from slotengine.calcom.catalog.values import Table, short_repr

SECTIONS: Final = {
    "schedules": "schedule",
    "users": "user",
    "oauthClients": "OAuth client",
    "organizations": "organization",
    "teams": "team",
    "eventTypes": "event type",
    "bookings": "booking",
}
"""The lists of tables in a file, and the name of one table of each."""
_RATE_LIMITS: Final = "rateLimits"
_QUOTAS: Final = "quotas"
"""The keys of single tables."""


TableT = TypeVar("TableT", bound=Table, covariant=True)
OneT = TypeVar("OneT", bound=Table)


class Profile(NamedTuple):
    """A username, its key in the catalog, and the organization in which it is used."""

    key: str
    username: str
    organization_id: int | None
    """None: outside of all organizations."""
    user_id: int


class Problem(NamedTuple):
    """One problem of a catalog."""

    key: str
    """The key, such as ``eventTypes[2].ownerId``; empty for the file as a whole."""
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class Row(NamedTuple, Generic[TableT]):
    """A valid table and its key."""

    key: str
    table: TableT


class Tables:
    """The valid tables of a file, and the problems of the others."""

    def __init__(self, raw: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        known = {*SECTIONS, _RATE_LIMITS, _QUOTAS}
        self.problems = [
            Problem(key, "is not a known table; remove it, or correct its spelling")
            for key in raw
            if key not in known
        ]
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
        """Organizations and teams: both have members."""
        return [*self.organizations, *self.teams]

    def profiles(self) -> list[Profile]:
        """Return the names of users: in organizations first, then outside of all.

        A member of an organization, or of one of its teams, has a name in it: the
        one in the member's table, or else the user's own.  A user's own name that is
        used in an organization is not used outside.
        """
        names = {user.id: (f"{key}.username", user.username) for key, user in self.users}
        found: list[Profile] = []
        inside: set[int] = set()
        for key, each in self.organizations:
            given = {
                member.user_id: (f"{key}.members[{at}].username", member.username)
                for at, member in enumerate(each.members)
                if member.username is not None
            }
            teams = [team.accepted for _, team in self.teams if team.parent_id == each.id]
            for user_id in sorted(each.accepted.union(*teams) & names.keys()):
                found.append(Profile(*(given.get(user_id) or names[user_id]), each.id, user_id))
                if user_id not in given:
                    inside.add(user_id)
        return found + [
            Profile(*name, None, user_id)
            for user_id, name in names.items()
            if user_id not in inside
        ]

    def ids(self, section: str) -> set[object]:
        """Return all ids, those of invalid tables too: a reference to them is not a problem."""
        ids = (entry.get("id") for entry in self._entries(section) if isinstance(entry, dict))
        return {id for id in ids if isinstance(id, Hashable)}  # noqa: A001

    def _entries(self, section: str) -> list[Any]:
        entries = self._raw.get(section, [])
        return entries if isinstance(entries, list) else []

    def _one(self, section: str, model: type[OneT]) -> OneT | None:
        """Return a single table; None if it is missing or invalid."""
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
"""The subject of pydantic's messages: input, string, list..."""
_SHOWN: Final = frozenset(
    {
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "literal_error",
        "string_pattern_mismatch",
    }
)
"""Errors whose messages show the value: it is a number, or of a key that holds no secrets.

Any other value may be a secret under a wrong key."""


def _problems(key: str, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in detail["loc"])
        match detail["type"]:
            case "missing":
                reason = "is missing"
            case "extra_forbidden":
                reason = "is not a known key; remove it, or correct its spelling"
            case "model_type":
                reason = "must be a table"
            case _:
                message = detail["msg"].removeprefix("Value error, ")
                reason = _SUBJECT.sub("must ", message)
                if detail["type"] in _SHOWN:
                    reason += f", not {short_repr(detail['input'])}"
        yield Problem(key + path, reason)
