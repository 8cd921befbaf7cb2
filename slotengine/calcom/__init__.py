"""The Cal.com adapter: a client of Cal.com's slots API, and a server of the same API.

`CalComClient` calls a remote Cal.com, and `CalComSync` keeps an engine in step
with one.  Both need the extra ``calcom``.  The server is in
``slotengine.calcom.server``, and the catalog that it serves in
``slotengine.calcom.catalog``.  Both need the extra ``server``.

Names are imported on first use, so each part works without the extra of the
other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from slotengine.extras import require

if TYPE_CHECKING:
    from slotengine.calcom.client.circuit_breaker import CircuitState
    from slotengine.calcom.client.client import CalComClient, ClientStatistics, DateListener
    from slotengine.calcom.client.credentials import RefreshCallback
    from slotengine.calcom.client.errors import (
        NOT_SENT,
        ClientClosed,
        OutcomeUnknown,
        RateLimited,
        RemoteConflict,
        RemoteDenied,
        RemoteDown,
        RemoteError,
        RemoteFailed,
        RemoteNotFound,
        RemoteRefused,
        RemoteUnreachable,
    )
    from slotengine.calcom.client.rate_limiter import Permits
    from slotengine.calcom.client.wire import RemoteReservation, RemoteSeats, RemoteSlot, SlotFormat
    from slotengine.calcom.sync.errors import (
        RemoteBusy,
        RemoteUncertain,
        SyncClosed,
        SyncOverloaded,
    )
    from slotengine.calcom.sync.remote_state import RemoteState, RevokeReason
    from slotengine.calcom.sync.sync import CalComSync
    from slotengine.calcom.sync.values import (
        AvailableSlots,
        CaughtUp,
        ConfirmCallback,
        Difference,
        Diverged,
        Finding,
        OnConfirm,
        ReconcileReport,
        Revoked,
        SavedHold,
        SavedOrphan,
        SavedState,
        SyncedEventType,
        SyncEvent,
        SyncMode,
        SyncStatistics,
        Unsent,
        WhenStale,
    )

__all__ = [
    "NOT_SENT",
    "AvailableSlots",
    "CalComClient",
    "CalComSync",
    "CaughtUp",
    "CircuitState",
    "ClientClosed",
    "ClientStatistics",
    "ConfirmCallback",
    "DateListener",
    "Difference",
    "Diverged",
    "Finding",
    "OnConfirm",
    "OutcomeUnknown",
    "Permits",
    "RateLimited",
    "ReconcileReport",
    "RefreshCallback",
    "RemoteBusy",
    "RemoteConflict",
    "RemoteDenied",
    "RemoteDown",
    "RemoteError",
    "RemoteFailed",
    "RemoteNotFound",
    "RemoteRefused",
    "RemoteReservation",
    "RemoteSeats",
    "RemoteSlot",
    "RemoteState",
    "RemoteUncertain",
    "RemoteUnreachable",
    "RevokeReason",
    "Revoked",
    "SavedHold",
    "SavedOrphan",
    "SavedState",
    "SlotFormat",
    "SyncClosed",
    "SyncEvent",
    "SyncMode",
    "SyncOverloaded",
    "SyncStatistics",
    "SyncedEventType",
    "Unsent",
    "WhenStale",
]

_MODULES: Final = {
    "AvailableSlots": "sync.values",
    "CalComClient": "client.client",
    "CalComSync": "sync.sync",
    "CaughtUp": "sync.values",
    "CircuitState": "client.circuit_breaker",
    "ClientClosed": "client.errors",
    "ClientStatistics": "client.client",
    "ConfirmCallback": "sync.values",
    "DateListener": "client.client",
    "Difference": "sync.values",
    "Diverged": "sync.values",
    "Finding": "sync.values",
    "NOT_SENT": "client.errors",
    "OnConfirm": "sync.values",
    "OutcomeUnknown": "client.errors",
    "Permits": "client.rate_limiter",
    "RateLimited": "client.errors",
    "ReconcileReport": "sync.values",
    "RefreshCallback": "client.credentials",
    "RemoteBusy": "sync.errors",
    "RemoteConflict": "client.errors",
    "RemoteDenied": "client.errors",
    "RemoteDown": "client.errors",
    "RemoteError": "client.errors",
    "RemoteFailed": "client.errors",
    "RemoteNotFound": "client.errors",
    "RemoteRefused": "client.errors",
    "RemoteReservation": "client.wire",
    "RemoteSeats": "client.wire",
    "RemoteSlot": "client.wire",
    "RemoteState": "sync.remote_state",
    "RemoteUncertain": "sync.errors",
    "RemoteUnreachable": "client.errors",
    "RevokeReason": "sync.remote_state",
    "Revoked": "sync.values",
    "SavedHold": "sync.values",
    "SavedOrphan": "sync.values",
    "SavedState": "sync.values",
    "SlotFormat": "client.wire",
    "SyncClosed": "sync.errors",
    "SyncEvent": "sync.values",
    "SyncMode": "sync.values",
    "SyncOverloaded": "sync.errors",
    "SyncStatistics": "sync.values",
    "SyncedEventType": "sync.values",
    "Unsent": "sync.values",
    "WhenStale": "sync.values",
}
"""The module of each public name, below this package."""

_CLIENT: Final = ("aiohttp", "orjson", "tenacity", "yarl")
_NEEDS: Final = {"client.client": _CLIENT, "client.wire": ("orjson",), "sync.sync": _CLIENT}
"""The packages of the extra ``calcom`` that a module needs; the others need none."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    require(f"{__name__}.{name}", "calcom", *_NEEDS.get(module, ()))
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value  # so this is called once for each name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
