"""Under which names users, teams, organizations and event types are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Directory:
    """Names, and the ids that they stand for."""

    users: Mapping[tuple[int | None, str], int]
    """By the organization in which they have a name, None for outside of all, and that name."""
    organizations: Mapping[str, int]
    """By slug."""
    teams: Mapping[tuple[int | None, str], int]
    """By the organization that they are part of, None for no such, and their slug."""
    of_users: Mapping[tuple[int, str], int]
    """Event types, by the user who owns them and their slug."""
    of_teams: Mapping[tuple[int, str], int]
    """Event types, by their team and their slug."""
    apart: frozenset[int]
    """Users who are not to be found together with others."""

    def user(self, username: str, organization_id: int | None) -> int | None:
        """Return who has a name inside an organization, or outside of all; None if nobody has."""
        return self.users.get((organization_id, username))


def resource_of(user_id: int) -> str:
    """Return the id of a user's resource.

    >>> resource_of(7)
    'user:7'
    """
    return f"user:{user_id}"
