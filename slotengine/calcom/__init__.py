"""The Cal.com adapter: a client of a remote one, and a server that speaks as one.

The client is `CalComClient` (extra ``calcom``), with the values it returns and
the errors it raises; the server is ``slotengine.calcom.server`` (extra
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

if TYPE_CHECKING:
    from slotengine.calcom.breaker import Circuit
    from slotengine.calcom.client import CalComClient, ClientStatistics
    from slotengine.calcom.client_wire import RemoteReservation, RemoteSeats, RemoteSlot

__all__ = [
    "HELD_BACK",
    "CalComClient",
    "Circuit",
    "ClientClosed",
    "ClientStatistics",
    "OutcomeUnknown",
    "RateLimited",
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
    "RemoteUnreachable",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the server works where the client's extra is not installed.
    if name in __all__:
        from slotengine.calcom import breaker, client, client_wire

        for module in (client, client_wire, breaker):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
