"""Tables of event types, and of what is booked already."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from slotengine.calcom.catalog.values import Count, Days, Id, Instant, Length, Minutes, Name, Table

# --- Event types and bookings ----------------------------------------------------------


class SeatsTable(Table):
    """How many share a slot; the other two keys say what Cal.com's own pages show of that."""

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
    """The most that may be booked of an event type in each period."""

    day: Count | None = None
    week: Count | None = None
    month: Count | None = None
    year: Count | None = None
    disabled: bool = False

    def by_period(self) -> dict[str, int]:
        """Return the limits that there are, of the shortest period first.

        >>> LimitsTable(year=9, day=2).by_period()
        {'day': 2, 'year': 9}
        """
        periods = {"day": self.day, "week": self.week, "month": self.month, "year": self.year}
        return {period: most for period, most in periods.items() if most is not None}


class BookingWindowTable(Table):
    """How far ahead an event type can be booked: some days from today, or certain dates."""

    type: Literal["calendarDays", "businessDays", "range"] | None = None
    value: Days | None = None
    rolling: bool = False
    disabled: bool = False

    @property
    def days(self) -> int | None:
        """How many days ahead, if it is days that count."""
        return self.value if isinstance(self.value, int) else None

    @property
    def dates(self) -> tuple[date, date] | None:
        """The first date and the last, both included, if it is dates that count."""
        return self.value if isinstance(self.value, tuple) else None


class EventTypeTable(Table):
    """What can be booked: of an owner, or of a team and its hosts."""

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
        """Everybody who may host: of an individual event type, its owner."""
        if self.owner_id is not None:
            return [HostTable.model_validate({"userId": self.owner_id})]
        return self.hosts

    @property
    def host_ids(self) -> list[int]:
        """The ids of everybody who may host."""
        return [host.user_id for host in self.all_hosts]

    @property
    def fixed(self) -> list[HostTable]:
        """The hosts who take part in every slot."""
        everybody = self.scheduling_type != "roundRobin"
        return [host for host in self.all_hosts if everybody or host.is_fixed]

    @property
    def rotating(self) -> list[list[HostTable]]:
        """The groups of hosts of each of whom one takes part; without groups, all are one."""
        groups: dict[str | None, list[HostTable]] = {}
        if self.scheduling_type == "roundRobin":
            for host in self.hosts:
                if not host.is_fixed:
                    groups.setdefault(host.group_id, []).append(host)
        return list(groups.values())

    @property
    def before(self) -> timedelta:
        """The buffer before."""
        return timedelta(minutes=self.before_event_buffer)

    @property
    def after(self) -> timedelta:
        """The buffer after."""
        return timedelta(minutes=self.after_event_buffer)


class BookingTable(Table):
    """What is booked already."""

    uid: Name
    event_type_id: Id
    start: Instant
    end: Instant
    status: Literal["accepted", "pending", "awaiting_host", "cancelled", "rejected"] = "accepted"
    host_ids: list[Id] | None = None
    attendees_count: Annotated[int, Field(ge=1, le=1000)] | None = None

    @property
    def takes_time(self) -> bool:
        """Whether its hosts are not free meanwhile."""
        return self.status not in {"cancelled", "rejected"}

    @property
    def seats_taken(self) -> int:
        """How many seats it takes, where there are seats."""
        return self.attendees_count or 1

    def occupied(self, event_type: EventTypeTable) -> tuple[datetime, datetime]:
        """Return the span that it takes, buffers included.  Raises `OverflowError`."""
        return self.start - event_type.before, self.end + event_type.after
