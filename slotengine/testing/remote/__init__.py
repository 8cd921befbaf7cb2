"""A faithful stand-in for Cal.com's slots API, for tests (extra ``calcom``).

`RemoteCalCom` listens on a local port and behaves like version 2024-09-04 of the
original, defects included; see ``docs/standin.md``.

`server` handles requests, on the socket of `listener`.  All other modules are
pure: `rules` accept holds, `tables` keep them, `query` and `search` find slots on
the `grid`, `auth` checks callers and their limits, `directory` has users, teams and
event types, `responses` has the errors, and `faults` says what fails on purpose.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.testing.remote", "calcom", "aiohttp", "orjson")

# The imports below need these packages.
# ruff: noqa: E402
from slotengine.calcom.catalog.rate_limits import RateLimit
from slotengine.testing.remote.auth import (
    RateLimits,
    RemoteAccessToken,
    RemoteApiKey,
    RemoteOAuthClient,
)
from slotengine.testing.remote.directory import (
    RemoteEventType,
    RemoteHost,
    RemoteOrganization,
    RemoteTeam,
    RemoteUser,
)
from slotengine.testing.remote.faults import (
    At,
    DropAfter,
    DropBefore,
    EngineError,
    Error429,
    Error500,
    Exchange,
    Fault,
    Faults,
    Garbage,
    Gate,
    Latency,
    Wait,
)
from slotengine.testing.remote.server import RemoteCalCom
from slotengine.testing.remote.tables import RemoteBooking, SelectedSlot, Status

__all__ = [
    "At",
    "DropAfter",
    "DropBefore",
    "EngineError",
    "Error429",
    "Error500",
    "Exchange",
    "Fault",
    "Faults",
    "Garbage",
    "Gate",
    "Latency",
    "RateLimit",
    "RateLimits",
    "RemoteAccessToken",
    "RemoteApiKey",
    "RemoteBooking",
    "RemoteCalCom",
    "RemoteEventType",
    "RemoteHost",
    "RemoteOAuthClient",
    "RemoteOrganization",
    "RemoteTeam",
    "RemoteUser",
    "SelectedSlot",
    "Status",
    "Wait",
]
