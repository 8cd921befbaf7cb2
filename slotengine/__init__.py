"""slotengine: may this person have this time?

An engine that decides, atomically and in memory, whether a span of time on one
or more resources can be held, keeps the hold for a bounded time, and turns it
into a booking or lets it lapse.

Where things are:

``slotengine.core``
    The rules: synchronous and deterministic.  `core.ledger` decides and
    `core.books` applies; `core.timeline` is the interval index, `core.expiry`
    knows which hold lapses next, `core.schedule` when a resource is open.
``slotengine.engine``
    `SlotEngine` and what surrounds it: clock, sweeper, events, `BlockingEngine`.
``slotengine.calcom``
    A server that speaks Cal.com's reservations API (extra ``server``).
``slotengine.testing``
    A virtual clock, a naive ledger and a stand-in for Cal.com (extra ``calcom``),
    for your tests as for ours.
``slotengine.errors``
    Everything that can be raised.

Read this file, then ``core/ledger.py``, then ``engine/engine.py``: that is the
whole path of a hold.
"""

from __future__ import annotations

from slotengine.core.proposal import Policy
from slotengine.core.reservation import Seats, State, Verb
from slotengine.core.schedule import (
    ALWAYS_OPEN,
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
    Request,
    Reservation,
    Statistics,
    minutes,
)
from slotengine.errors import (
    EngineClosed,
    HoldExpired,
    InTheWay,
    InvalidField,
    InvalidRequest,
    InvalidTTL,
    KeyReused,
    LifeExceeded,
    NoneFree,
    NoSeatsLeft,
    Obstruction,
    OutsideHours,
    Refused,
    SlotError,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    UnknownReservation,
    UnknownResource,
    WrongState,
)

__version__ = "0.1.0"

__all__ = [
    "ALWAYS_OPEN",
    "Away",
    "BlockingEngine",
    "BusySpan",
    "Claim",
    "Clock",
    "EngineClosed",
    "Event",
    "FixedWindows",
    "HoldExpired",
    "Hours",
    "InTheWay",
    "InvalidField",
    "InvalidRequest",
    "InvalidTTL",
    "KeyReused",
    "Lagged",
    "LifeExceeded",
    "NoSeatsLeft",
    "NoneFree",
    "Obstruction",
    "OutsideHours",
    "Policy",
    "Refused",
    "Request",
    "Reservation",
    "Schedule",
    "Seats",
    "SlotEngine",
    "SlotError",
    "SlotTaken",
    "StaleVersion",
    "State",
    "Statistics",
    "Subscription",
    "SystemClock",
    "TooManyUnits",
    "Travel",
    "UnknownReservation",
    "UnknownResource",
    "Verb",
    "Windows",
    "WrongState",
    "hours",
    "minutes",
]
