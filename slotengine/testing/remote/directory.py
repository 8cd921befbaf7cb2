"""The stand-in's users, teams, organizations and event types, and how to find them.

The test gives them as values.  This module knows nothing of bookings, holds,
requests or credentials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from slotengine.calcom.wire import HttpError
from slotengine.core.time.schedule import ALWAYS_OPEN, Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUser:
    """A user with a calendar.  Users that are not described exist, and are always open."""

    id: int
    username: str | None = None
    """The name outside organizations, if any."""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """The name in each organization, by the organization's slug."""
    hours: Windows = ALWAYS_OPEN
    dynamic: bool = True
    """Whether the user may be booked as one of several ``usernames``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOrganization:
    """An organization and its accepted members."""

    id: int
    slug: str
    members: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTeam:
    """A team and its accepted members; ``organization`` is the id of its organization, if any."""

    id: int
    slug: str
    members: frozenset[int] = frozenset()
    organization: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteHost:
    """A user as host of a team's event type."""

    user_id: int
    fixed: bool = False
    """With round robin: whether the host takes part in every booking."""
    group: str = ""
    """With round robin, one host of each group takes part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEventType:
    """An event type.  All durations are in minutes.

    Its host is the ``owner``.  With a ``team``, they are the ``hosts``: all of them
    or, with ``round_robin``, one after the other.

    Raises `ValueError` for durations that contradict each other.

    >>> RemoteEventType(id=1, length=30, lengths=(15, 30)).takers
    (RemoteHost(user_id=1, fixed=True, group=''),)
    """

    id: int
    slug: str = ""
    length: int = 30
    lengths: tuple[int, ...] = ()
    """The values that ``slotDuration`` may have; empty for none."""
    owner: int = 1
    team: int | None = None
    hosts: tuple[RemoteHost, ...] = ()
    round_robin: bool = False
    host_subsets: bool = False
    """Whether ``rrHostSubsetIds`` has an effect."""
    seats: int | None = None
    step: int | None = None
    """The step from one slot to the next; by default the length."""
    offset: int = 0
    before: int = 0
    after: int = 0
    notice: int = 120
    """The minimum notice of a slot in a search; by default, the original's."""
    hours: Windows | None = None
    """Opening hours in place of the hosts' own."""
    blocks_unconfirmed: bool = False
    """Whether pending bookings block slots."""
    first_only: bool = False
    """Whether a search shows only the first slot of each day."""

    def __post_init__(self) -> None:
        if self.length <= 0 or (self.step is not None and self.step <= 0):
            raise ValueError("the length and the step must be positive")
        if self.lengths and self.length not in self.lengths:
            raise ValueError("the lengths must contain the length")
        if min(self.offset, self.before, self.after, self.notice) < 0:
            raise ValueError("offset, buffers and notice must not be negative")

    @property
    def takers(self) -> tuple[RemoteHost, ...]:
        """The hosts: the owner, or those of the team."""
        return (RemoteHost(self.owner, fixed=True),) if self.team is None else self.hosts

    @property
    def has_fixed(self) -> bool:
        """Whether some host takes part in every booking."""
        return any(host.fixed for host in self.hosts)


class Directory:
    """Everything that the test gave, by id, name and slug."""

    def __init__(
        self,
        event_types: Iterable[RemoteEventType],
        users: Iterable[RemoteUser],
        teams: Iterable[RemoteTeam],
        organizations: Iterable[RemoteOrganization],
    ) -> None:
        listed = list(event_types)
        self._event_types = {one.id: one for one in listed}
        if len(self._event_types) < len(listed):
            raise ValueError("two event types have the same id")
        self._users = {one.id: one for one in users}
        self._teams = {one.id: one for one in teams}
        self._organizations = {one.id: one for one in organizations}

    # --- Finding: a 404 for the unknown --------------------------------------------------

    def find_event_type(self, id: int) -> RemoteEventType | None:
        """Return the event type of that id."""
        return self._event_types.get(id)

    def event_type_by_slug(
        self, slug: str, *, owner: int | None = None, team: int | None = None
    ) -> RemoteEventType | None:
        """Return the event type of that slug of an owner, or of a team."""
        for one in self._event_types.values():
            whose = one.team == team if team is not None else one.team is None
            if one.slug == slug and whose and owner in {None, one.owner}:
                return one
        return None

    def user(self, id: int) -> RemoteUser:
        """Return the user of that id; one that is not described is always open."""
        return self._users.get(id) or RemoteUser(id=id)

    def user_named(self, username: str, organization: str | None) -> RemoteUser:
        """Return the user of that name, in an organization or outside all."""
        if organization is not None:
            self.organization(organization)
        for user in self._users.values():
            name = user.username if organization is None else user.profiles.get(organization)
            if name == username:
                return user
        raise HttpError(404, f"User with username {username} not found")

    def team_with(self, slug: str, organization: str | None) -> RemoteTeam:
        """Return the team of that slug, in an organization or outside all."""
        parent = None if organization is None else self.organization(organization).id
        for team in self._teams.values():
            if team.slug == slug and team.organization == parent:
                return team
        raise HttpError(404, f"Team with slug {slug} not found")

    def organization(self, slug: str) -> RemoteOrganization:
        """Return the organization of that slug."""
        for organization in self._organizations.values():
            if organization.slug == slug:
                return organization
        raise HttpError(404, f"slots-input.service.ts: Organization with slug {slug} not found")

    # --- Permissions -------------------------------------------------------------------------

    def may_time(self, user_id: int, event_type: RemoteEventType) -> bool:
        """Return whether a user may choose the duration of a hold of the event type."""
        if event_type.team is None:
            owner = event_type.owner
            return user_id == owner or any(
                {user_id, owner} <= group.members for group in self._groups()
            )
        team = self._teams.get(event_type.team)
        if team is None:
            return False
        parent = self._organizations.get(team.organization or 0)
        return user_id in team.members or (parent is not None and user_id in parent.members)

    def _groups(self) -> Iterator[RemoteTeam | RemoteOrganization]:
        yield from self._teams.values()
        yield from self._organizations.values()
