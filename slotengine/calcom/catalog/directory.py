"""The names by which users, teams, organizations and event types are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Directory:
    """Names and slugs, and the ids that they stand for."""

    users: Mapping[tuple[int | None, str], int]
    """Users by organization id and username; organization None: outside of all."""
    organizations: Mapping[str, int]
    """Organizations by slug."""
    teams: Mapping[tuple[int | None, str], int]
    """Teams by organization id and slug; organization None: outside of all."""
    user_event_types: Mapping[tuple[int, str], int]
    """Event types by the id of the user who owns them, and slug."""
    team_event_types: Mapping[tuple[int, str], int]
    """Event types by team id and slug."""
    without_dynamic_booking: frozenset[int]
    """Users who do not allow searches for several users together."""

    def user(self, username: str, organization_id: int | None) -> int | None:
        """Return the id of a user by name, inside an organization or outside of all (None)."""
        return self.users.get((organization_id, username))


def resource_of(user_id: int) -> str:
    """Return the id of a user's resource.

    >>> resource_of(7)
    'user:7'
    """
    return f"user:{user_id}"
