"""The errors of `CalComSync`, beside those of the engine and of the client.

``RemoteUncertain``   it is unknown whether the remote holds the time for us
``RemoteBusy``        the remote did not offer that start when it was last polled
``SyncOverloaded``    too many holds wait for the remote, or have to be renewed there
``SyncClosed``        the sync is not running
"""

from __future__ import annotations

from datetime import datetime

from slotengine.errors import Refused, SlotError


class RemoteUncertain(Refused):
    """The remote may or may not hold the time for us, so the hold was released here.

    A request was lost, and the next one was refused.  Perhaps the lost request
    has made a hold, whose uid nobody knows, and that hold is in the way.  By
    ``retry_at`` such an orphaned hold has ended.

    >>> from datetime import UTC
    >>> print(RemoteUncertain("talk", datetime(2030, 1, 7, tzinfo=UTC), None))
    talk at 2030-01-07T00:00:00+00:00: it is unknown whether the remote holds it
    """

    def __init__(self, event_type: str, start: datetime, retry_at: datetime | None) -> None:
        super().__init__(event_type, start, retry_at)
        self.event_type = event_type
        self.start = start
        self.retry_at = retry_at

    def __str__(self) -> str:
        again = "" if self.retry_at is None else f"; try again at {self.retry_at.isoformat()}"
        return (
            f"{self.event_type} at {self.start.isoformat()}: "
            f"it is unknown whether the remote holds it{again}"
        )


class RemoteBusy(Refused):
    """The remote did not offer that start when it was last polled, at ``as_of``."""

    def __init__(self, event_type: str, start: datetime, as_of: datetime) -> None:
        super().__init__(event_type, start, as_of)
        self.event_type = event_type
        self.start = start
        self.as_of = as_of

    def __str__(self) -> str:
        return (
            f"{self.event_type} at {self.start.isoformat()}: "
            f"not offered by the remote at {self.as_of.isoformat()}"
        )


class SyncOverloaded(SlotError):
    """Too many reservations wait for the remote, or the rate limit allows no more renewals.

    In the second case the present holds need all renewals that the rate limit
    allows, and the first of them ends at ``retry_at``.

    >>> print(SyncOverloaded(7))
    7 reservations wait for the remote; try again later
    """

    def __init__(self, waiting: int, retry_at: datetime | None = None) -> None:
        super().__init__(waiting, retry_at)
        self.waiting = waiting
        self.retry_at = retry_at

    def __str__(self) -> str:
        if self.retry_at is None:
            return f"{self.waiting} reservations wait for the remote; try again later"
        return (
            f"{self.waiting} reservations are renewed at the remote, and the rate limit allows "
            f"no more; try again at {self.retry_at.isoformat()}"
        )


class SyncClosed(SlotError):
    """The sync is not running: it was not entered yet, or has been closed."""

    def __str__(self) -> str:
        return (
            "the sync is not running; enter it once, with "
            "'async with CalComSync(...) as sync:', and call it inside the block"
        )
