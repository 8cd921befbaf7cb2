"""The Cal.com adapter: a client of a remote one, and a server that speaks as one.

The client is `CalComClient` (extra ``calcom``), with the values it returns and
the errors it raises; `CalComSync` (same extra) keeps an engine in step with a
remote through it; the server is ``slotengine.calcom.server`` (extra
``server``), with its catalog in ``slotengine.calcom.catalog``.

Names are imported on first use, so that each part works where the extras of
the others are not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from slotengine.extras import require

if TYPE_CHECKING:
    from slotengine.calcom.client.circuit_breaker import CircuitState
    from slotengine.calcom.client.client import CalComClient, ClientStatistics, DateListener
    from slotengine.calcom.client.credentials import Refresh
    from slotengine.calcom.client.errors import (
        HELD_BACK,
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
    from slotengine.calcom.client.wire import Format, RemoteReservation, RemoteSeats, RemoteSlot
    from slotengine.calcom.sync.errors import (
        RemoteBusy,
        RemoteUncertain,
        SyncClosed,
        SyncOverloaded,
    )
    from slotengine.calcom.sync.remote_state import RemoteState, RevokeReason
    from slotengine.calcom.sync.sync import CalComSync
    from slotengine.calcom.sync.values import (
        CaughtUp,
        ConfirmCallback,
        Difference,
        Diverged,
        Finding,
        Mode,
        Offers,
        OnConfirm,
        Report,
        Revoked,
        SavedHold,
        SavedOrphan,
        SavedState,
        SyncedEventType,
        SyncEvent,
        SyncStatistics,
        Unsent,
        WhenStale,
    )

__all__ = [
    "HELD_BACK",
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
    "Format",
    "Mode",
    "Offers",
    "OnConfirm",
    "OutcomeUnknown",
    "Permits",
    "RateLimited",
    "Refresh",
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
    "Report",
    "RevokeReason",
    "Revoked",
    "SavedHold",
    "SavedOrphan",
    "SavedState",
    "SyncClosed",
    "SyncEvent",
    "SyncOverloaded",
    "SyncStatistics",
    "SyncedEventType",
    "Unsent",
    "WhenStale",
]

_MODULES: Final = {
    "HELD_BACK": "client.errors",
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
    "Format": "client.wire",
    "Mode": "sync.values",
    "Offers": "sync.values",
    "OnConfirm": "sync.values",
    "OutcomeUnknown": "client.errors",
    "Permits": "client.rate_limiter",
    "RateLimited": "client.errors",
    "Refresh": "client.credentials",
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
    "Report": "sync.values",
    "RevokeReason": "sync.remote_state",
    "Revoked": "sync.values",
    "SavedHold": "sync.values",
    "SavedOrphan": "sync.values",
    "SavedState": "sync.values",
    "SyncClosed": "sync.errors",
    "SyncEvent": "sync.values",
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
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
