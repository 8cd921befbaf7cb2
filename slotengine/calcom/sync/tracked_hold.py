"""One reservation and its hold at the remote: what is known, and who waits for what."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from slotengine.calcom.client.rate_limiter import Claim
from slotengine.calcom.sync.clock_skew import Stand
from slotengine.calcom.sync.reconcile import Failure, Sight
from slotengine.calcom.sync.remote_state import PRESENT, Belief, News, Place, after
from slotengine.calcom.sync.values import SavedLink, Synced
from slotengine.core.instant import to_us
from slotengine.core.reservation import State
from slotengine.engine.values import Reservation


class Origin(NamedTuple):
    """Where a hold was before it was moved, and what keeps that free until the remote has agreed.

    ``guard`` is the uid of a hold here on what the move has left, if anything.
    It was ``patient`` there: what becomes of the move is decided at once all the same.
    """

    reservation: Reservation
    guard: str | None
    patient: bool


class Lasting(NamedTuple):
    """How long a hold lasts at the remote, at least and at most, as its clock stood then."""

    covered_until: int = 0
    gone_after: int = 0
    stand: Stand = (None, None)


@dataclass(eq=False, slots=True)
class Link:
    """A reservation that the remote is to have a hold for.

    Only `Outbound` changes one, and only with its ``lock``; ``turn`` is for the
    verbs of callers, which come one after the other.
    """

    uid: str
    synced: Synced
    sight: Sight = field(default_factory=Sight)
    remote_uid: str | None = None
    target: Place | None = None
    """Where a request under way, or lost, would put it."""
    promised: bool = False
    """Some caller has been told that it is theirs."""
    booking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Locked while the callback that a strict caller waits for is under way."""
    booked: bool = False
    """The callback has booked it at the remote."""
    kept: bool = False
    """The callback has failed for good, so the hold is kept instead."""
    over: bool = False
    """It is followed no longer."""
    diverged: bool = False
    """That the two sides differ has been said."""
    verdict: Exception | None = None
    """What went wrong last; for whoever waits."""
    undone: Exception | None = None
    """Why the last move was undone, if it was."""
    failures: int = 0
    """In a row."""
    origin: Origin | None = None
    blocked: bool = False
    queued: bool = False
    claim: Claim | None = None
    """On requests that must be made at once, while it waits for those."""
    due: int = 0
    """When to look at it again; 0 if nothing is due."""
    waiting: int = 0
    """Callers that wait for it to be accepted."""
    callers: int = 0
    """Those whose turn it is, or who wait for it: as long as there are any it is not forgotten."""
    lasting: Lasting = field(default_factory=Lasting)
    """As it was reckoned last; what was learned of the clock since is in its sight."""
    indexed: tuple[Place, ...] = ()
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the remote may have a hold of this link's."""
        belief, place, target = self.sight.belief, self.sight.place, self.target
        if belief is Belief.SENDING:
            return () if target is None else (target,)
        if belief not in PRESENT or place is None:
            return ()
        both = belief in {Belief.MOVING, Belief.ASTRAY} and target is not None
        return (place, target) if both and target is not None else (place,)

    def learn(self, news: News) -> None:
        """Believe what follows from the news."""
        self.sight.belief = after(self.sight.belief, news)
        if self.sight.belief not in PRESENT:
            self.remote_uid = None

    def held_at(self, place: Place) -> bool:
        """Tell whether the remote is believed to hold it there."""
        return self.sight.belief is Belief.HELD and self.sight.place == place

    def failed(self, failure: Failure, verdict: Exception) -> None:
        """Keep in mind that a request has failed."""
        self.failures += 1
        self.verdict = verdict
        if failure is Failure.LOST and self.sight.failure in {Failure.LOST, Failure.LOST_AGAIN}:
            failure = Failure.LOST_AGAIN
        self.sight.failure = failure

    def succeeded(self) -> None:
        """Forget past failures."""
        self.failures = 0
        self.sight.failure = Failure.NONE
        self.sight.not_before = 0

    def saved(self) -> SavedLink:
        """Return what a restart needs."""
        sight = self.sight
        unplaced = sight.place is None or sight.belief in {Belief.SENDING, Belief.UNKNOWN}
        place = self.target if unplaced else sight.place
        return SavedLink(
            self.uid,
            self.remote_uid,
            sight.belief.value,
            *(place or Place(self.synced.remote_id, 0, 0)),
            sight.covered_until,
            sight.gone_after,
            self.booked,
            self.over,
        )


def place_of(reservation: Reservation, synced: Synced) -> Place:
    """Return where the remote is to have a reservation."""
    start, end = to_us(reservation.start, "start"), to_us(reservation.end, "end")
    return Place(synced.remote_id, start, end)


def is_live(reservation: Reservation | None) -> bool:
    """Tell whether a reservation occupies anything here."""
    return reservation is not None and reservation.state in {State.HELD, State.CONFIRMED}
