"""slotengine: may this person have this time?

An engine that decides, atomically and in memory, whether a span of time on one
or more resources can be held, keeps the hold for a bounded time, and turns it
into a booking or lets it lapse.

Where things are:

``slotengine.core``
    The rules: synchronous and deterministic.

    ``core.time``
        Instants, spans, zones, and when a resource is open.
    ``core.ledger``
        Who may have what.  `ledger` decides and `books` applies; `timeline` is
        the interval index, `expiry` knows which hold lapses next, `line` who
        waits, and `holders` how much each holder has.
    ``core.offer``
        `event_type` says what can be booked, `planner` by which proposal to the
        ledger, and `slots` which slots are offered.
``slotengine.engine``
    `SlotEngine` and what surrounds it: clock, sweeper, events, waiting, `BlockingEngine`.
``slotengine.calcom``
    A server that speaks Cal.com's slots API (extra ``server``), and
    `CalComClient`, a client of it (extra ``calcom``).
``slotengine.ical``
    When an iCalendar file says that its owner is busy.
``slotengine.testing``
    A virtual clock, a watch, a naive ledger, a simulator, strategies (extra
    ``testing``) and a stand-in for Cal.com (extra ``calcom``), for your tests as
    for ours.
``slotengine.cli``
    The command ``slotengine`` (extra ``cli``).
``slotengine.errors``
    Everything that can be raised.

Read this file, then ``core/ledger/ledger.py``, then ``engine/engine.py``: that is the
whole path of a hold.
"""

from __future__ import annotations

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
    AllOf,
    Away,
    FixedWindows,
    Hours,
    Schedule,
    Travel,
    Windows,
    hours,
)
from slotengine.engine.blocking import BlockingEngine
from slotengine.engine.clock import Clock, SystemClock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.events import Event, Lagged, Subscription
from slotengine.engine.values import (
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
    EngineClosed,
    EngineMisused,
    HoldExpired,
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    Obstruction,
    OutsideHours,
    QuotaExceeded,
    Refused,
    SlotAwaited,
    SlotError,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    TooManyWaiting,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
    WrongState,
)

__version__ = "0.1.0"

__all__ = [
    "ALWAYS_OPEN",
    "AllOf",
    "AlreadyOver",
    "Away",
    "BadCalendar",
    "BlockingEngine",
    "BusySpan",
    "Claim",
    "Clock",
    "DateRange",
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
    "Lagged",
    "LifeExceeded",
    "Limit",
    "LimitReached",
    "NoSeatsLeft",
    "NoneFree",
    "NotBookable",
    "Obstruction",
    "OutsideHours",
    "Period",
    "Policy",
    "Quota",
    "QuotaExceeded",
    "Refused",
    "Request",
    "Reservation",
    "RollingDays",
    "Schedule",
    "Seats",
    "SeatsLeft",
    "Slot",
    "SlotAwaited",
    "SlotEngine",
    "SlotError",
    "SlotTaken",
    "StaleVersion",
    "State",
    "Statistics",
    "Subscription",
    "SystemClock",
    "TooManyUnits",
    "TooManyWaiting",
    "TooSoon",
    "Travel",
    "UnknownEventType",
    "UnknownReservation",
    "UnknownResource",
    "Verb",
    "Windows",
    "WrongState",
    "hours",
    "minutes",
]
