"""The settings, results, events and saved state of `CalComSync`: plain values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.sync.remote_state import RemoteState, RevokeReason
from slotengine.core.ledger.checks import is_count
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.instant import MICROSECOND, MINUTE, duration_us
from slotengine.engine.values import NO_TIME, Reservation, Slot
from slotengine.errors import InvalidField

DEFAULT_MINUTES: Final = 5
"""How long the remote holds a slot for a client that may not choose."""


# --- Settings --------------------------------------------------------------------------


class SyncMode(Enum):
    """When a hold is returned to its caller."""

    STRICT = "strict"
    """Once the remote has accepted it."""
    BACKGROUND = "background"
    """At once; it is revoked if the remote refuses it."""


class OnConfirm(Enum):
    """What happens to the remote's hold when the hold here is confirmed."""

    KEEP = "keep"
    """It is kept, and renewed until the end of the slot."""
    RELEASE = "release"
    """It is released."""


ConfirmCallback = Callable[[Reservation, str | None], Awaitable[None]]
"""Makes the booking at the remote; called with the reservation and the uid of the remote's hold.

If it raises, nothing was booked."""


class WhenStale(Enum):
    """What happens to slots if the last poll of the remote is too old."""

    OFFER = "offer"
    """They are offered."""
    HIDE = "hide"
    """None is offered."""


_LEAST: Final = {
    "headroom": 0,
    "max_ttl": MINUTE,
    "renew_before": 0,
    "poll_every": 1,
    "poll_for": 1,
    "stale_after": 1,
}
_KINDS: Final = {
    "mode": SyncMode,
    "custom_ttl": bool,
    "renew_in_place": bool,
    "when_stale": WhenStale,
}


@dataclass(frozen=True, slots=True)
class SyncedEventType:
    """An event type of the engine, and how it is kept in step with the remote's.

    ``event_type`` must have been added to the engine, and the remote's event
    type must have the same length.

    ``custom_ttl`` says that the client's credentials may choose how long a hold
    lives.  Without it a hold lives for five minutes at the remote, and is
    renewed there if it lives longer here.  ``renew_in_place`` says that the
    remote can renew a hold without deleting it: our own server can, the
    original Cal.com cannot.

    Holds are requested for ``headroom`` longer than they live here.  Extending
    one by less than that needs no renewal.  ``renew_before`` is how long before
    its end a hold is renewed; the default is long, because the rate limit may
    delay a renewal by two minutes (see `docs/calcom.md`).  The remote is never
    asked to hold for longer than ``max_ttl``: a hold that lives longer here is
    renewed, and an orphaned hold is in the way for no longer than that.

    The remote's slots are polled at intervals of ``poll_every``, varied at
    random by up to ``jitter``, a fraction of it.  A day is polled for
    ``poll_for`` after a caller last asked for it.  Slots are stale if the last
    poll is older than ``stale_after``.

    >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
    >>> SyncedEventType(talk, SyncMode.BACKGROUND, custom_ttl=True).id
    'talk'

    :raises InvalidField: for invalid values.
    """

    event_type: EventType
    mode: SyncMode = SyncMode.STRICT
    on_confirm: OnConfirm | ConfirmCallback = OnConfirm.KEEP
    custom_ttl: bool = False
    renew_in_place: bool = False
    headroom: timedelta = NO_TIME
    max_ttl: timedelta = timedelta(hours=1)
    renew_before: timedelta = timedelta(seconds=150)
    poll_every: timedelta = timedelta(minutes=1)
    jitter: float = 0.1
    poll_for: timedelta = timedelta(minutes=10)
    stale_after: timedelta = timedelta(minutes=3)
    when_stale: WhenStale = WhenStale.OFFER

    def __post_init__(self) -> None:
        if not isinstance(self.event_type, EventType):
            raise InvalidField("event_type", f"must be an EventType, not {self.event_type!r}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if duration_us(value, name) < least:
                raise InvalidField(name, f"must be at least {least * MICROSECOND}, not {value}")
        if duration_us(self.renew_before, "renew_before") >= self.max_ttl_us:
            most = self.max_ttl_us * MICROSECOND
            raise InvalidField(
                "renew_before",
                f"must be shorter than {most}, the longest that a hold lives at the remote, "
                f"not {self.renew_before}",
            )
        for name, kind in _KINDS.items():
            if not isinstance(getattr(self, name), kind):
                wanted = f"must be a {kind.__name__}, not {getattr(self, name)!r:.99}"
                raise InvalidField(name, wanted)
        if not isinstance(self.on_confirm, OnConfirm) and not callable(self.on_confirm):
            raise InvalidField(
                "on_confirm", f"must be an OnConfirm or a function, not {self.on_confirm!r:.99}"
            )
        jitter: object = self.jitter
        if not isinstance(jitter, int | float) or not 0 <= jitter < 1:
            raise InvalidField("jitter", f"must be at least 0 and less than 1, not {jitter!r:.99}")

    @property
    def id(self) -> str:
        """The engine's id of the event type."""
        return self.event_type.id

    @property
    def strict(self) -> bool:
        """Whether a hold is returned only once the remote has accepted it."""
        return self.mode is SyncMode.STRICT

    @property
    def max_ttl_us(self) -> int:
        """The longest time to live that one request can ask for, in microseconds."""
        if not self.custom_ttl:
            return DEFAULT_MINUTES * MINUTE
        return duration_us(self.max_ttl, "max_ttl") // MINUTE * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced(SyncedEventType):
    """A synced event type with the remote's id of it, for internal use."""

    remote_id: int

    def minutes_for(self, us: int) -> int | None:
        """Return how many minutes to request to cover some time; None if we may not choose.

        >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
        >>> Synced(talk, custom_ttl=True, remote_id=17).minutes_for(61_000_000)
        2
        """
        if not self.custom_ttl:
            return None
        ttl = min(us + duration_us(self.headroom, "headroom"), self.max_ttl_us)
        return max(1, -(-ttl // MINUTE))


def synced_by_id(event_types: Mapping[int, SyncedEventType]) -> dict[str, Synced]:
    """Return the synced event types by the engine's ids of them.

    Raises `InvalidField` unless they are a mapping by the remote's ids that has
    each event type once.

    >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
    >>> synced_by_id({17: SyncedEventType(talk)})["talk"].remote_id
    17
    """
    field = "event_types"
    if not isinstance(event_types, Mapping):
        raise InvalidField(
            field,
            "must map the remote's ids to SyncedEventTypes, "
            f"not be of type {type(event_types).__name__}",
        )
    found: dict[str, Synced] = {}
    for remote_id, one in event_types.items():
        if not is_count(remote_id):
            raise InvalidField(
                field, f"must have positive whole numbers as keys, not {remote_id!r}"
            )
        if not isinstance(one, SyncedEventType):
            raise InvalidField(field, f"must have a SyncedEventType for {remote_id}, not {one!r}")
        if one.id in found:
            raise InvalidField(field, f"must have each event type once, but has {one.id!r} twice")
        found[one.id] = Synced(
            **{each.name: getattr(one, each.name) for each in fields(one)}, remote_id=remote_id
        )
    return found


# --- Events and results ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Revoked:
    """A hold was released here after a caller was given it: the remote does not hold the slot."""

    uid: str
    event_type: str
    start: datetime
    end: datetime
    reason: RevokeReason
    problem: str
    """What the remote said, or why it is unknown whether it holds the slot."""


@dataclass(frozen=True, slots=True)
class Diverged:
    """The two sides differ about a reservation, and the sync will not change that.

    For example, the remote does not hold a booking, or a callback has failed.
    """

    uid: str
    event_type: str
    problem: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Requests had failed, and now the remote has been told everything again."""

    at: datetime


SyncEvent = Revoked | Diverged | CaughtUp


class AvailableSlots(NamedTuple):
    """The slots that both sides offer, and how recent the remote's are."""

    slots: list[Slot]
    as_of: datetime | None
    """When the remote was last polled for the whole range; None if never."""
    stale: bool
    """Whether that is longer ago than `SyncedEventType.stale_after`."""


class Difference(Enum):
    """How the two sides differ about one reservation."""

    MISSING_THERE = "missing there"
    """It is held or booked here, and the remote has no hold for it."""
    ELSEWHERE = "elsewhere"
    """The remote holds it at another time."""
    ENDS_EARLIER = "ends earlier"
    """The remote's hold ends earlier than expected."""
    LEFT_OVER = "left over"
    """It has ended here, and the remote still has a hold for it."""
    UNTRACKED = "untracked"
    """It was made here without the sync noticing."""
    ORPHAN = "orphan"
    """A request was lost: the remote may have a hold whose uid nobody knows."""
    UNKNOWN = "unknown"
    """The remote could not be asked."""


class Finding(NamedTuple):
    """One difference between the two sides."""

    difference: Difference
    uid: str | None
    """Of the reservation here; None for an orphaned hold."""
    start: datetime
    end: datetime
    repaired: bool
    """Whether the difference is gone now."""
    until: datetime | None = None
    """When the difference ends by itself at the latest, if it does."""


class ReconcileReport(NamedTuple):
    """What `CalComSync.reconcile` has found."""

    at: datetime
    compared: int
    """How many reservations were compared."""
    findings: tuple[Finding, ...]

    @property
    def agrees(self) -> bool:
        """Whether the two sides agree now."""
        return all(finding.repaired for finding in self.findings)


class Unsent(NamedTuple):
    """A change that the remote had not been told when the sync was closed."""

    uid: str
    start: datetime
    end: datetime
    desired: bool
    """Whether the remote should hold it; if not, it should release it."""
    remote_state: RemoteState


class SavedHold(NamedTuple):
    """What to save of a tracked reservation for a restart; times are UTC microseconds."""

    uid: str
    remote_uid: str | None
    remote_state: str
    """The value of a `RemoteState`."""
    remote_id: int
    start: int
    end: int
    covered_until: int
    """The remote holds it at least until then."""
    gone_after: int
    """The remote holds it at most until then."""
    booked: bool
    """The callback has booked it at the remote."""
    over: bool = False
    """It is no longer tracked, and can be dropped."""


class SavedOrphan(NamedTuple):
    """What to save of a lost request, until ``until``; times are UTC microseconds."""

    remote_id: int
    start: int
    end: int
    until: int


class SavedState(NamedTuple):
    """What a later sync needs to continue where this one is."""

    holds: tuple[SavedHold, ...] = ()
    orphans: tuple[SavedOrphan, ...] = ()
    keys: tuple[tuple[str, int], ...] = ()
    """For each idempotency key, how many of its holds were given back."""


@dataclass(frozen=True, slots=True)
class SyncStatistics:
    """What a sync has done since it was entered, and its present state."""

    tracked: int
    """Reservations that have, or should have, a hold at the remote."""
    backlog: int
    """Tracked reservations whose last change the remote does not have yet."""
    held: int
    """Tracked reservations whose hold the remote has."""
    orphans: int
    """Lost requests that may have left a hold at the remote."""
    sent: int
    """Calls of the client that change something."""
    accepted: int
    refused: int
    """Holds and moves that the remote refused."""
    lost: int
    """Calls whose outcome is unknown."""
    not_done: int
    """Calls that failed and certainly changed nothing."""
    retried: int
    """Calls that repeated one that had failed."""
    renewed: int
    """Holds made anew for the same span, because the remote's would have ended or were gone."""
    revoked: int
    """Holds that were released here after a caller was given them."""
    given_back: int
    """Holds that were released here before a caller was given them."""
    diverged: int
    """Reservations about which `Diverged` was reported."""
    polls: int
    """Searches that were sent to poll slots."""
    polls_failed: int
    busy_spans: int
    """Busy spans imported under the source ``cal.com`` now."""
    hidden: int
    """Starts that are not offered although no imported span is in their way."""
    staleness: timedelta | None
    """The age of the oldest poll of a watched day; None if there is none."""
    clock_skew: timedelta | None
    """How far the remote's clock is ahead, judged by its last hold, or by a date since."""
    clock_skew_error: timedelta | None
    """The largest error of ``clock_skew``."""
    clock_skew_max: timedelta
    """The largest skew that was measured, in either direction."""
    clock_jumps: int
    """How often the remote's clock, or ours, was noticed to have been adjusted."""
