"""What callers tell `CalComSync`, and what it tells them: values, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.sync.reconcile import Reason, Rules
from slotengine.calcom.sync.remote_state import Belief
from slotengine.core.event_type import EventType
from slotengine.core.instant import MINUTE, duration_us
from slotengine.core.proposal import is_count
from slotengine.engine.values import NO_TIME, Reservation, Slot
from slotengine.errors import InvalidField

USUAL_MINUTES: Final = 5
"""How long the remote holds for whoever may not say how long."""


# --- What callers say ------------------------------------------------------------------


class Mode(Enum):
    """When a hold is returned."""

    STRICT = "strict"
    """Once the remote has accepted it."""
    BACKGROUND = "background"
    """At once; it is revoked should the remote refuse it."""


class Confirm(Enum):
    """What becomes of the remote's hold when a reservation is confirmed."""

    KEEP = "keep"
    """It is kept, and renewed until the end of the slot."""
    RELEASE = "release"
    """It is released."""


Booker = Callable[[Reservation, str | None], Awaitable[None]]
"""Makes the booking at the remote; is given the reservation and the uid of the remote's hold.

What it raises means that nothing was booked."""


class WhenStale(Enum):
    """What to do with slots if the remote has not been heard of for too long."""

    OFFER = "offer"
    HIDE = "hide"


_LEAST: Final = {
    "headroom": 0,
    "longest": MINUTE,
    "renew_before": 0,
    "poll_every": 1,
    "interest": 1,
    "stale_after": 1,
}


@dataclass(frozen=True, slots=True)
class SyncedEventType:
    """What an event type of the remote's is here, and how the two are kept in step.

    The engine must know the same ``event_type``, and the remote's must have the
    same length.  ``timed`` says that the client's credentials may choose how
    long a hold lives; without them it is five minutes, and longer ones are
    renewed.  ``in_place`` says that the remote can renew a hold where it is:
    our own server can, the original cannot.  A hold is asked for with
    ``headroom`` on top, so that extending within it needs no renewal, and is
    renewed ``renew_before`` its end: long before, because a rate limit may make
    it wait for two minutes (see `docs/calcom.md`).  For more than the ``longest`` time it is
    never asked: what lives longer is renewed, and if a request is lost, what it
    may have left is in nobody's way for longer than that.

    Its slots are polled every ``poll_every``, give or take the ``jitter`` (a
    fraction of it), on days that somebody has asked for within the last
    ``interest``.  Slots that were not compared for ``stale_after`` are stale.

    >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
    >>> SyncedEventType(talk, Mode.BACKGROUND, timed=True).id
    'talk'

    :raises InvalidField: for values that make no sense.
    """

    event_type: EventType
    mode: Mode = Mode.STRICT
    confirm: Confirm | Booker = Confirm.KEEP
    timed: bool = False
    in_place: bool = False
    headroom: timedelta = NO_TIME
    longest: timedelta = timedelta(hours=1)
    renew_before: timedelta = timedelta(seconds=150)
    poll_every: timedelta = timedelta(minutes=1)
    jitter: float = 0.1
    interest: timedelta = timedelta(minutes=10)
    stale_after: timedelta = timedelta(minutes=3)
    when_stale: WhenStale = WhenStale.OFFER

    def __post_init__(self) -> None:
        if not isinstance(self.event_type, EventType):
            raise InvalidField("event_type", f"must be an EventType, not {self.event_type!r}")
        for name, least in _LEAST.items():
            if duration_us(getattr(self, name), name) < least:
                raise InvalidField(name, "is too short")
        if duration_us(self.renew_before, "renew_before") >= self.longest_us:
            raise InvalidField("renew_before", "must be shorter than what the remote holds at once")
        if not 0 <= self.jitter < 1:
            raise InvalidField("jitter", "must be from 0 to less than 1")

    @property
    def id(self) -> str:
        """The engine's name of it."""
        return self.event_type.id

    @property
    def strict(self) -> bool:
        """Whether a hold is returned only once the remote has accepted it."""
        return self.mode is Mode.STRICT

    @property
    def longest_us(self) -> int:
        """How long the remote can be made to hold at once."""
        if not self.timed:
            return USUAL_MINUTES * MINUTE
        return duration_us(self.longest, "longest") // MINUTE * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced(SyncedEventType):
    """The same, for the inside: with the remote's id of it, and what follows from the settings."""

    remote_id: int

    @property
    def rules(self) -> Rules:
        """What decisions need of this."""
        return Rules(self.strict, self.in_place, duration_us(self.renew_before, "renew_before"))

    def minutes_for(self, us: int) -> int | None:
        """Return how many minutes to ask for, to cover so much time; None if we may not say.

        >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
        >>> Synced(talk, timed=True, remote_id=17).minutes_for(61_000_000)
        2
        """
        if not self.timed:
            return None
        wanted = min(us + duration_us(self.headroom, "headroom"), self.longest_us)
        return max(1, -(-wanted // MINUTE))


def paired(event_types: Mapping[int, SyncedEventType]) -> dict[str, Synced]:
    """Return what callers have given, by the engine's names.

    Raises `InvalidField` if it is no mapping of ids to them, or names one twice.

    >>> talk = EventType(id="talk", length=timedelta(minutes=30), all_of=["room"])
    >>> paired({17: SyncedEventType(talk)})["talk"].remote_id
    17
    """
    field = "event_types"
    if not isinstance(event_types, Mapping):
        raise InvalidField(field, "must be a mapping: the remote's ids, and what those are here")
    found: dict[str, Synced] = {}
    for remote_id, one in event_types.items():
        if not is_count(remote_id):
            raise InvalidField(
                field, f"must have positive whole numbers as keys, not {remote_id!r}"
            )
        if not isinstance(one, SyncedEventType):
            raise InvalidField(field, f"must have a SyncedEventType for {remote_id}, not {one!r}")
        if one.id in found:
            raise InvalidField(field, f"must name each event type once, and {one.id!r} is twice")
        found[one.id] = Synced(
            **{each.name: getattr(one, each.name) for each in fields(one)}, remote_id=remote_id
        )
    return found


# --- What they are told ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Revoked:
    """A hold that somebody was given is theirs no longer."""

    uid: str
    event_type: str
    start: datetime
    end: datetime
    reason: Reason
    problem: str
    """What the remote said, or why nothing could be known."""


@dataclass(frozen=True, slots=True)
class Diverged:
    """The two sides differ about a reservation, and nothing here will change that.

    A booking that the remote does not hold, or a callback that has failed.
    """

    uid: str
    event_type: str
    problem: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """After some trouble nothing waits for the remote any more."""

    at: datetime


SyncEvent = Revoked | Diverged | CaughtUp


class Offers(NamedTuple):
    """Slots, and how old what is known of the remote is."""

    slots: list[Slot]
    as_of: datetime | None
    """When the remote was last heard of, for the whole range; None if never."""
    stale: bool


class Difference(Enum):
    """How the two sides differ about one reservation."""

    MISSING_THERE = "missing there"
    """Held or booked here, and the remote has no hold for it."""
    ELSEWHERE = "elsewhere"
    """The remote has it at another time."""
    ENDS_EARLIER = "ends earlier"
    """The remote's hold ends before we believed it would."""
    NOT_WANTED = "not wanted"
    """The remote has a hold for what has ended here."""
    NOT_FOLLOWED = "not followed"
    """It was made here without our noticing."""
    GHOST = "ghost"
    """A request was lost: the remote may have a hold that nobody knows the uid of."""
    UNKNOWN = "unknown"
    """The remote could not be asked."""


class Finding(NamedTuple):
    """One difference between the two sides."""

    difference: Difference
    uid: str | None
    """Of the reservation here; None for a ghost."""
    start: datetime
    end: datetime
    mended: bool
    """It is gone now."""
    until: datetime | None = None
    """By when it ends by itself, if it does."""


class Report(NamedTuple):
    """What `reconcile` has found."""

    at: datetime
    compared: int
    """Reservations that were looked at on both sides."""
    findings: tuple[Finding, ...]

    @property
    def agrees(self) -> bool:
        """Whether the two sides are in step now."""
        return all(finding.mended for finding in self.findings)


class Unsent(NamedTuple):
    """What the remote was not told before the sync was left."""

    uid: str
    start: datetime
    end: datetime
    wanted: bool
    """The remote should hold it; otherwise it should let it go."""
    belief: Belief


class SavedLink(NamedTuple):
    """What is to be kept of a reservation over a restart; plain values, times in microseconds."""

    uid: str
    remote_uid: str | None
    belief: str
    remote_id: int
    start: int
    end: int
    covered_until: int
    gone_after: int
    booked: bool
    over: bool = False
    """It is followed no longer: nothing of it need be kept."""


class SavedGhost(NamedTuple):
    """What is to be kept of a lost request over a restart; until then, and no longer."""

    remote_id: int
    start: int
    end: int
    until: int


class Saved(NamedTuple):
    """What a later sync needs to go on where this one is."""

    links: tuple[SavedLink, ...] = ()
    ghosts: tuple[SavedGhost, ...] = ()
    keys: tuple[tuple[str, int], ...] = ()
    """How many attempts with a caller's key were given back."""


@dataclass(frozen=True, slots=True)
class SyncStatistics:
    """What a sync has done since it was entered, and how it is now."""

    followed: int
    """Reservations that the remote is to have, or still has, a hold for."""
    backlog: int
    """Those of them whose last change has not arrived there."""
    held: int
    """Holds there whose uid is known."""
    ghosts: int
    """Lost requests that may have left a hold there."""
    sent: int
    """Calls of the client that change something."""
    accepted: int
    refused: int
    """Holds and moves that the remote said no to."""
    lost: int
    """Calls of which nobody knows whether they were done."""
    not_done: int
    """Calls that failed, and certainly changed nothing."""
    retried: int
    """Calls that repeated one that had failed."""
    renewed: int
    """Holds made anew where they were, because the remote's were about to end, or gone."""
    revoked: int
    given_back: int
    """Holds never returned, because the remote had not accepted them."""
    diverged: int
    polls: int
    polls_failed: int
    busy_spans: int
    """Imported under the source ``cal.com`` now."""
    hidden: int
    """Starts that are not offered although no imported span is in their way."""
    staleness: timedelta | None
    """How old the oldest is that is known of a day somebody asks for; None if there is none."""
    drift: timedelta | None
    """How far the remote's clock is ahead: by the last hold that it made, or a date since."""
    drift_error: timedelta | None
    """That may be wrong by so much."""
    drift_most: timedelta
    """The largest that was measured, either way."""
    drift_jumps: int
    """How often its clock was set, or ours: by more than a second and the requests explain."""
