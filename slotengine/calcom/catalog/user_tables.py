"""Tables of users: their schedules, their credentials, and the teams they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final, get_args
from urllib.parse import urlsplit

from pydantic import Field

from slotengine.calcom.catalog.values import Date, Id, Name, Secret, Table, TimeOfDay, Weekday
from slotengine.core.time.schedule import Away, Hours, Schedule, Travel

_WEEKDAYS: Final = {name: number for number, name in enumerate(get_args(Weekday))}


# --- Schedules -------------------------------------------------------------------------


class HoursTable(Table):
    """Hours on some days of the week."""

    days: Annotated[list[Weekday], Field(min_length=1)]
    start_time: TimeOfDay
    end_time: TimeOfDay


_OFFICE_HOURS: Final = HoursTable.model_validate(
    {
        "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
        "startTime": "09:00",
        "endTime": "17:00",
    }
)
"""The hours of a schedule that names none; as in Cal.com."""


class OverrideTable(Table):
    """Hours of one date, in place of the weekly hours."""

    date: Date
    start_time: TimeOfDay
    end_time: TimeOfDay


class ScheduleTable(Table):
    """Weekly hours in a time zone, with overrides for single dates."""

    id: Id
    name: str = ""
    time_zone: Name
    availability: list[HoursTable] = Field(default_factory=lambda: [_OFFICE_HOURS])
    overrides: list[OverrideTable] = Field(default_factory=list)

    def schedule(self, travel: Sequence[Travel] = (), away: Sequence[Away] = ()) -> Schedule:
        """Return the schedule, with the trips and absences of a user.

        Raises `InvalidField` for an unknown time zone and for overlapping trips.
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
    # Cal.com cannot write 24:00, and writes 23:59 for it.
    return Hours(_minute_of_day(rule.start_time), 1440 if end_min == 1439 else end_min)


def _minute_of_day(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


# --- Users and organizations -----------------------------------------------------------


class AccessTokenTable(Table):
    """A bearer token of a user; with a client id, for that platform's web origins only."""

    token: Secret
    client_id: Name | None = None


class TravelTable(Table):
    """A trip: on these dates, both included, a user's default hours are in another time zone."""

    start_date: Date
    end_date: Date
    time_zone: Name

    def trip(self) -> Travel:
        """Return the trip.  Raises `InvalidField`."""
        return Travel(self.start_date, self.end_date, self.time_zone)


class AbsenceTable(Table):
    """The first and last date of an absence."""

    start: Date
    end: Date

    def away(self) -> Away:
        """Return the absence.  Raises `InvalidField`."""
        return Away(self.start, self.end)


class UserTable(Table):
    """A user: a host, a caller of the API, or both."""

    id: Id
    username: Name
    name: str = ""
    default_schedule_id: Id | None = None
    api_keys: list[Secret] = Field(default_factory=list)
    access_tokens: list[AccessTokenTable] = Field(default_factory=list)
    travel: list[TravelTable] = Field(default_factory=list)
    out_of_office: list[AbsenceTable] = Field(default_factory=list)
    calendars: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list
    )  # paths, which may be long
    emails: list[Name] = Field(default_factory=list)
    allow_dynamic_booking: bool = True

    def trips(self) -> tuple[Travel, ...]:
        """Return the user's trips.  Raises `InvalidField`."""
        return tuple(each.trip() for each in self.travel)

    def absences(self) -> tuple[Away, ...]:
        """Return the user's absences.  Raises `InvalidField`."""
        return tuple(each.away() for each in self.out_of_office)


class OAuthClientTable(Table):
    """A platform that calls with a client id and a secret."""

    id: Name
    secret: Secret
    owner_id: Id
    redirect_uris: list[str] = Field(default_factory=list)


def origin(uri: str) -> str | None:
    """Return scheme, host and port of a URL, as browsers send them in ``Origin``.

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


class MemberTable(Table):
    """A member of a team or organization; an invitation until it is accepted.

    ``username`` is the name in the organization, if it differs from the user's own.
    """

    user_id: Id
    accepted: bool = True
    username: Name | None = None


class OrganizationTable(Table):
    """An organization: its teams name it as their parent."""

    id: Id
    slug: Name
    name: str = ""
    members: list[MemberTable] = Field(default_factory=list)

    @property
    def accepted(self) -> frozenset[int]:
        """The user ids of members who accepted."""
        return frozenset(member.user_id for member in self.members if member.accepted)


class TeamTable(OrganizationTable):
    """A team, perhaps of an organization."""

    parent_id: Id | None = None
