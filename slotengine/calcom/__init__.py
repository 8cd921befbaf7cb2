"""The Cal.com adapter: a client of a remote one, and a server that speaks as one.

The client is `CalComClient` (extra ``calcom``), with the values it returns and
the errors it raises; `CalComSync` (same extra) keeps an engine in step with a
remote through it; the server is ``slotengine.calcom.server`` (extra
``server``), with its catalog in ``slotengine.calcom.catalog_file``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotengine.calcom.errors import (
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
from slotengine.calcom.sync_errors import (
    RemoteBusy,
    RemoteUncertain,
    SyncClosed,
    SyncOverloaded,
)

if TYPE_CHECKING:
    from slotengine.calcom.belief import Belief
    from slotengine.calcom.breaker import Circuit
    from slotengine.calcom.client import CalComClient, ClientStatistics, Dated
    from slotengine.calcom.client_wire import Format, RemoteReservation, RemoteSeats, RemoteSlot
    from slotengine.calcom.credentials import Refresh
    from slotengine.calcom.pace import Claim
    from slotengine.calcom.reconcile import Reason
    from slotengine.calcom.sync import CalComSync
    from slotengine.calcom.sync_values import (
        Booker,
        CaughtUp,
        Confirm,
        Difference,
        Diverged,
        Finding,
        Mode,
        Offers,
        Report,
        Revoked,
        Saved,
        SavedGhost,
        SavedLink,
        SyncedEventType,
        SyncEvent,
        SyncStatistics,
        Unsent,
        WhenStale,
    )

__all__ = [
    "HELD_BACK",
    "Belief",
    "Booker",
    "CalComClient",
    "CalComSync",
    "CaughtUp",
    "Circuit",
    "Claim",
    "ClientClosed",
    "ClientStatistics",
    "Confirm",
    "Dated",
    "Difference",
    "Diverged",
    "Finding",
    "Format",
    "Mode",
    "Offers",
    "OutcomeUnknown",
    "RateLimited",
    "Reason",
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
    "RemoteUncertain",
    "RemoteUnreachable",
    "Report",
    "Revoked",
    "Saved",
    "SavedGhost",
    "SavedLink",
    "SyncClosed",
    "SyncEvent",
    "SyncOverloaded",
    "SyncStatistics",
    "SyncedEventType",
    "Unsent",
    "WhenStale",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the server works where the client's extra is not installed.
    if name in __all__:
        from slotengine.calcom import (
            belief,
            breaker,
            client,
            client_wire,
            credentials,
            pace,
            reconcile,
            sync,
            sync_values,
        )

        found_in = client, client_wire, credentials, breaker, pace
        for module in (*found_in, sync, sync_values, belief, reconcile):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
