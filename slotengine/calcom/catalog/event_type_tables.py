"""Tables of event types and bookings."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from slotengine.calcom.catalog.values import (
    Amount,
    Id,
    Length,
    Minutes,
    Name,
    Table,
    UtcTime,
    WindowValue,
)

# --- Event types and bookings ----------------------------------------------------------


class SeatsTable(Table):
    """The seats of a slot; the other two keys are for Cal.com's own booking pages."""

    seats_per_time_slot: Annotated[int, Field(ge=1, le=1000)]
    show_attendee_info: bool = False
    show_availability_count: bool = True


class HostTable(Table):
    """A user as a host of one event type."""

    user_id: Id
    # The API calls it "mandatory", everything else in Cal.com "isFixed".
    is_fixed: Annotated[bool, Field(validation_alias=AliasChoices("isFixed", "mandatory"))] = False
    weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    group_id: Name | None = None
    schedule_id: Id | None = None


class LimitsTable(Table):
    """The most bookings, or minutes, of an event type in each period."""

    day: Amount | None = None
    week: Amount | None = None
    month: Amount | None = None
    year: Amount | None = None
    disabled: bool = False

    def by_period(self) -> dict[str, int]:
        """Return the limits that are set, the shortest period first.

        >>> LimitsTable(year=9, day=2).by_period()
        {'day': 2, 'year': 9}
        """
        periods = {"day": self.day, "week": self.week, "month": self.month, "year": self.year}
        return {period: most for period, most in periods.items() if most is not None}


class BookingWindowTable(Table):
    """How far ahead an event type can be booked: a number of days, or a range of dates."""

    type: Literal["calendarDays", "businessDays", "range"] | None = None
    value: WindowValue | None = None
    rolling: bool = False
    disabled: bool = False

    @property
    def days(self) -> int | None:
        """The number of days; None for a range of dates."""
        return self.value if isinstance(self.value, int) else None

    @property
    def dates(self) -> tuple[date, date] | None:
        """The first and the last date; None for a number of days."""
        return self.value if isinstance(self.value, tuple) else None


class EventTypeTable(Table):
    """An event type, of a user or of a team and its hosts."""

    id: Id
    slug: Name
    title: str = ""
    owner_id: Id | None = None
    team_id: Id | None = None
    scheduling_type: Literal["collective", "roundRobin"] | None = None
    hosts: list[HostTable] = Field(default_factory=list)
    length_in_minutes: Length
    length_in_minutes_options: list[Length] = Field(default_factory=list)
    before_event_buffer: Minutes = 0
    after_event_buffer: Minutes = 0
    schedule_id: Id | None = None
    seats: SeatsTable | None = None
    slot_interval: Length | None = None
    offset_start: Minutes = 0
    minimum_booking_notice: Minutes = 120
    only_show_first_available_slot: bool = False
    show_optimized_slots: bool = False
    booking_window: BookingWindowTable | None = None
    booking_limits_count: LimitsTable | None = None
    booking_limits_duration: LimitsTable | None = None
    reschedule_with_same_round_robin_host: bool = False

    @property
    def all_hosts(self) -> list[HostTable]:
        """All hosts; for an individual event type, its owner."""
        if self.owner_id is not None:
            return [HostTable.model_validate({"userId": self.owner_id})]
        return self.hosts

    @property
    def host_ids(self) -> list[int]:
        """The user ids of all hosts."""
        return [host.user_id for host in self.all_hosts]

    @property
    def fixed(self) -> list[HostTable]:
        """The hosts who take part in every slot."""
        everybody = self.scheduling_type != "roundRobin"
        return [host for host in self.all_hosts if everybody or host.is_fixed]

    @property
    def rotating(self) -> list[list[HostTable]]:
        """The host groups: one host of each takes part.  Hosts without a group are one group."""
        groups: dict[str | None, list[HostTable]] = {}
        if self.scheduling_type == "roundRobin":
            for host in self.hosts:
                if not host.is_fixed:
                    groups.setdefault(host.group_id, []).append(host)
        return list(groups.values())

    @property
    def before(self) -> timedelta:
        """The buffer before a slot."""
        return timedelta(minutes=self.before_event_buffer)

    @property
    def after(self) -> timedelta:
        """The buffer after a slot."""
        return timedelta(minutes=self.after_event_buffer)


class BookingTable(Table):
    """An existing booking."""

    uid: Name
    event_type_id: Id
    start: UtcTime
    end: UtcTime
    status: Literal["accepted", "pending", "awaiting_host", "cancelled", "rejected"] = "accepted"
    host_ids: list[Id] | None = None
    attendees_count: Annotated[int, Field(ge=1, le=1000)] | None = None

    @property
    def takes_time(self) -> bool:
        """Whether the booking makes its hosts busy."""
        return self.status not in {"cancelled", "rejected"}

    @property
    def seats_taken(self) -> int:
        """The number of seats taken, for an event type with seats."""
        return self.attendees_count or 1

    def occupied(self, event_type: EventTypeTable) -> tuple[datetime, datetime]:
        """Return start and end, buffers included.  Raises `OverflowError`."""
        return self.start - event_type.before, self.end + event_type.after
