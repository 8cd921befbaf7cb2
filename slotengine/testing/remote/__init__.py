"""A faithful stand-in for Cal.com's slots API, for tests (extra ``calcom``).

`RemoteCalCom` listens on a local port and behaves as version 2024-09-04 of the
real one does, with its defects; see ``docs/standin.md``.

`server` is the order of steps, on the socket of `listener`.  Beneath it all is pure: `rules`
accept holds, `books` keep them, `query` and `search` find slots on the `grid`,
`access` knows callers and their limits, `directory` whom there is, `answers`
what is said, and `faults` what goes wrong on purpose.
"""

from __future__ import annotations

from slotengine import extras

extras.require("slotengine.testing.remote", "calcom", "aiohttp", "orjson")

# What is imported here needs those packages.
# ruff: noqa: E402
from slotengine.calcom.catalog.rate_limits import RateLimit
from slotengine.testing.remote.access import (
    RateLimits,
    RemoteAccessToken,
    RemoteApiKey,
    RemoteOAuthClient,
)
from slotengine.testing.remote.books import RemoteBooking, SelectedSlot, Status
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
