"""slotengine: reserve slots of time, without ever booking one twice.

The engine decides, atomically and in memory, whether a span of time on one or more
resources can be held.  It keeps a hold for a limited time, and turns it into a booking
or lets it lapse.

The packages:

``slotengine.core``
    The rules: synchronous and deterministic, without I/O.

    ``core.time``
        Instants, spans, time zones, and schedules: when a resource is open.
    ``core.ledger``
        Who has reserved what, and who may.  `decide` decides, and `state` has the state and
        applies the changes; `ledger` does both in one step.  `timeline` is the interval index,
        `expiry` knows which hold lapses next, `waitlist` has the commands that wait, and
        `holders` counts what each holder has.
    ``core.offer``
        What can be booked.  `event_type` has the event types as callers write them,
        `booking_rules` prepares them for the ledger, `booking_service` reserves by them,
        and `availability` searches for available slots.
``slotengine.engine``
    `SlotEngine` for tasks, `BlockingEngine` for threads, and the synchronous `LocalEngine`
    under both; and what they need: clock, sweeper, events and waiting.
``slotengine.calcom``
    A server that speaks Cal.com's slots API (extra ``server``); and `CalComClient` and
    `CalComSync`, which call one and keep in step with it (extra ``calcom``).
``slotengine.ical``
    Busy time from iCalendar files.
``slotengine.testing``
    For your own tests: a virtual clock, a watch that checks invariants, a naive model, a
    simulator, Hypothesis strategies (extra ``testing``) and a stand-in for Cal.com (extra
    ``calcom``).
``slotengine.cli``
    The command ``slotengine`` (extra ``cli``).
``slotengine.errors``
    Every exception that slotengine raises.

To follow a hold from beginning to end, read this file, then ``core/ledger/ledger.py``,
then ``engine/local.py``.
"""

from __future__ import annotations

from slotengine.core.ledger.clients import CommandId
from slotengine.core.ledger.config import (
    Document,
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
)
from slotengine.core.ledger.extra import Series
from slotengine.core.ledger.index import Order
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.reservation import Seats, State, Verb
from slotengine.core.offer.event_type import (
    DateRange,
    EventType,
    Host,
    Limit,
    Period,
    RollingDays,
)
from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    Away,
    FixedWindows,
    Hours,
    Schedule,
    ScheduleIntersection,
    Travel,
    Windows,
    hours,
)
from slotengine.engine.blocking import BlockingEngine
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.command_ids import CommandIds
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event, Lagged, Subscription
from slotengine.engine.listing import ReservationPage, ReservationQuery
from slotengine.engine.local import LocalEngine
from slotengine.engine.protocol import Engine
from slotengine.engine.requests import AllOf, EachOf, OneOf, SlotQuery
from slotengine.engine.values import (
    PENDING,
    Ask,
    BusySpan,
    Claim,
    ImportedSpan,
    Quota,
    Request,
    Reservation,
    SeatsLeft,
    Slot,
    Statistics,
    minutes,
)
from slotengine.errors import (
    AlreadyOver,
    BadCalendar,
    CursorExpired,
    EngineClosed,
    EngineMisused,
    HoldExpired,
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    KeySpent,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    Obstruction,
    OutsideHours,
    QuotaExceeded,
    Refused,
    ReplayError,
    Retired,
    SessionExpired,
    SettingInUse,
    SlotAwaited,
    SlotError,
    SlotTaken,
    StaleSetting,
    StaleVersion,
    StillTaken,
    TooManyUnits,
    TooManyWaiting,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
    UnknownSetting,
    WrongState,
)

__version__ = "0.1.0"

__all__ = [
    "ALWAYS_OPEN",
    "PENDING",
    "AllOf",
    "AlreadyOver",
    "Ask",
    "Away",
    "BadCalendar",
    "BlockingEngine",
    "BusySpan",
    "Claim",
    "Clock",
    "CommandId",
    "CommandIds",
    "CursorExpired",
    "DateRange",
    "Document",
    "EachOf",
    "Engine",
    "EngineClosed",
    "EngineMisused",
    "Event",
    "EventType",
    "FixedWindows",
    "HoldExpired",
    "Host",
    "Hours",
    "ImportedSpan",
    "InTheWay",
    "InvalidField",
    "InvalidRequest",
    "InvalidTTL",
    "KeyReused",
    "KeySpent",
    "Kind",
    "Lagged",
    "LifeExceeded",
    "Limit",
    "LimitConfig",
    "LimitReached",
    "LocalEngine",
    "NoSeatsLeft",
    "NoneFree",
    "NotBookable",
    "Obstruction",
    "OneOf",
    "Order",
    "OutsideHours",
    "Period",
    "Policy",
    "Put",
    "Quota",
    "QuotaExceeded",
    "Refused",
    "Remove",
    "ReplayError",
    "Request",
    "Reservation",
    "ReservationPage",
    "ReservationQuery",
    "ResourceConfig",
    "Retire",
    "Retired",
    "RollingDays",
    "Schedule",
    "ScheduleIntersection",
    "Seats",
    "SeatsLeft",
    "Series",
    "SessionExpired",
    "Setting",
    "SettingInUse",
    "Slot",
    "SlotAwaited",
    "SlotEngine",
    "SlotError",
    "SlotQuery",
    "SlotTaken",
    "StaleSetting",
    "StaleVersion",
    "State",
    "Statistics",
    "StillTaken",
    "Subscription",
    "SystemClock",
    "TooManyUnits",
    "TooManyWaiting",
    "TooSoon",
    "Travel",
    "UnknownEventType",
    "UnknownReservation",
    "UnknownResource",
    "UnknownSetting",
    "Verb",
    "Windows",
    "WrongState",
    "hours",
    "minutes",
]
