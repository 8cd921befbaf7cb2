"""Builds event types as the engine knows them from their tables.

The hours of a host are those of the event type's schedule, else of the schedule
chosen for the host, else the host's own.  Absences count for all of them, trips for
the host's own hours only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from slotengine.calcom.catalog.catalog import CatalogEventType
from slotengine.calcom.catalog.directory import resource_of
from slotengine.calcom.catalog.event_type_tables import (
    BookingWindowTable,
    EventTypeTable,
    HostTable,
    LimitsTable,
)
from slotengine.calcom.catalog.schema import Tables
from slotengine.calcom.catalog.user_tables import UserTable
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.schedule import Hours, Schedule, ScheduleIntersection, Windows

DEFAULT_WEIGHT: Final = 100
"""The default weight of a host; as in Cal.com."""

_ALL_WEEK: Final = {weekday: (Hours(0, 24 * 60),) for weekday in range(7)}


class EventTypeBuilder:
    """Builds event types from their tables."""

    def __init__(self, tables: Tables, schedules: Mapping[int, Schedule]) -> None:
        self._schedules = schedules
        self._users = {user.id: user for _, user in tables.users}
        self._parents = {team.id: team.parent_id for _, team in tables.teams}
        self._members = {group.id: group.accepted for _, group in tables.groups}

    def __call__(self, table: EventTypeTable) -> CatalogEventType:
        return CatalogEventType(
            id=table.id,
            slug=table.slug,
            rules=self._rules(table),
            round_robin=table.scheduling_type == "roundRobin",
            same_host=table.reschedule_with_same_round_robin_host,
            permitted=self._permitted(table),
        )

    def _rules(self, table: EventTypeTable) -> EventType:
        interval = table.slot_interval
        return EventType(
            id=str(table.id),
            length=_minutes(table.length_in_minutes),
            lengths=[_minutes(length) for length in table.length_in_minutes_options],
            all_of=[self._host(table, host) for host in table.fixed],
            any_of=[[self._host(table, host) for host in group] for group in table.rotating],
            interval=None if interval is None else _minutes(interval),
            offset=_minutes(table.offset_start),
            before=table.before,
            after=table.after,
            notice=_minutes(table.minimum_booking_notice),
            window=_window(table.booking_window),
            limits=[
                *_limits(table.booking_limits_count, by_time=False),
                *_limits(table.booking_limits_duration, by_time=True),
            ],
            seats=None if table.seats is None else table.seats.seats_per_time_slot,
            first_only=table.only_show_first_available_slot,
            optimized=table.show_optimized_slots,
            zone=self._zone(table),
        )

    def _host(self, table: EventTypeTable, host: HostTable) -> Host:
        hours = self._hours(table.schedule_id or host.schedule_id, self._users[host.user_id])
        return Host(resource_of(host.user_id), host.weight or DEFAULT_WEIGHT, hours)

    def _hours(self, schedule_id: int | None, user: UserTable) -> Windows | None:
        """Return the hours in place of the user's own; None: the user's own count."""
        if schedule_id is None:
            return None
        schedule = self._schedules[schedule_id]
        if not user.out_of_office:
            return schedule
        assert user.default_schedule_id is not None  # the dates are in its zone
        zone = self._schedules[user.default_schedule_id].zone
        return ScheduleIntersection((schedule, Schedule(zone, _ALL_WEEK, away=user.absences())))

    def _zone(self, table: EventTypeTable) -> str | None:
        """Return the time zone of booking windows and limits: that of the first schedule."""
        for schedule_id in (table.schedule_id, *self._schedule_ids(table)):
            if schedule_id is not None:
                return self._schedules[schedule_id].zone
        return None

    def _schedule_ids(self, table: EventTypeTable) -> Iterator[int | None]:
        for host in table.all_hosts:
            yield host.schedule_id or self._users[host.user_id].default_schedule_id

    def _permitted(self, table: EventTypeTable) -> frozenset[int]:
        if table.owner_id is not None:
            shared = (members for members in self._members.values() if table.owner_id in members)
            return frozenset({table.owner_id}).union(*shared)
        assert table.team_id is not None
        organization_id = self._parents[table.team_id]
        of_team = self._members[table.team_id]
        return of_team if organization_id is None else of_team | self._members[organization_id]


def _window(table: BookingWindowTable | None) -> RollingDays | DateRange | None:
    if table is None or table.disabled:
        return None
    if table.dates is not None:
        return DateRange(*table.dates)
    assert table.days is not None
    return RollingDays(table.days, business=table.type == "businessDays")


def _limits(table: LimitsTable | None, *, by_time: bool) -> Iterator[Limit]:
    for period, most in (table.by_period() if table else {}).items():
        if by_time:
            yield Limit(Period(period), time=_minutes(most))
        else:
            yield Limit(Period(period), count=most)


def _minutes(count: int) -> timedelta:
    return timedelta(minutes=count)
