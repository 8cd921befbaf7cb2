"""One request to the remote each, and what follows from its answer, or from there being none.

The belief is changed before a request is sent, and whatever interrupts it, a
cancellation included, leaves behind that it may have been done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from math import ceil
from random import Random
from typing import Final

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.client.errors import (
    HELD_BACK,
    ClientClosed,
    OutcomeUnknown,
    RateLimited,
    RemoteConflict,
    RemoteDown,
    RemoteError,
    RemoteNotFound,
    RemoteRefused,
)
from slotengine.calcom.client.wire import RemoteReservation
from slotengine.calcom.sync.index import Links
from slotengine.calcom.sync.reconcile import Failure, Wanted
from slotengine.calcom.sync.remote_state import Belief, Ghost, News, Place
from slotengine.calcom.sync.tracked_hold import Link
from slotengine.calcom.sync.values import (
    USUAL_MINUTES,
    Confirm,
    Diverged,
    Synced,
    SyncEvent,
)
from slotengine.core.instant import MINUTE, SECOND, from_us, to_us
from slotengine.core.reservation import State
from slotengine.engine.engine import SlotEngine
from slotengine.errors import EngineClosed, InvalidField

logger = logging.getLogger(__name__)

SLACK: Final = 5 * SECOND
"""How much longer than its time a ghost is reckoned with: the request may have been slow."""

_FIRST_BACKOFF: Final = SECOND
_LAST_BACKOFF: Final = 60 * SECOND


class Counters:
    """What was done so far; see `SyncStatistics`."""

    def __init__(self) -> None:
        self.sent = 0
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.not_done = 0
        self.retried = 0
        self.renewed = 0
        self.revoked = 0
        self.given_back = 0
        self.diverged = 0


class Requests:
    """What can be asked of the remote about one link; each is for who has its lock."""

    def __init__(
        self,
        engine: SlotEngine,
        client: CalComClient,
        links: Links,
        *,
        random: Random,
        tell: Callable[[SyncEvent], None],
    ) -> None:
        self.counters = Counters()
        self.drift = links.drift
        self.troubled = False
        """Something promised could not be sent; until somebody says that all is well again."""
        self._engine = engine
        self._client = client
        self._links = links
        self._random = random
        self._tell = tell

    # --- Turns ----------------------------------------------------------------------------

    @property
    def per_minute(self) -> int | None:
        """How many requests can be made in a minute."""
        return self._client.per_minute

    def wait_for_turns(self, link: Link, turns: int) -> int:
        """Claim so many requests at once, and return how long that takes; 0 if they can be sent."""
        if link.claim is None or link.claim.turns != turns:
            self.give_back_turns(link)
            link.claim = self._client.claim(turns)
        return ceil(link.claim.wait_s() * SECOND)

    def give_back_turns(self, link: Link) -> None:
        """Claim nothing any more."""
        if link.claim is not None:
            link.claim.give_back()
            link.claim = None

    def held_back(self, link: Link, us: int) -> None:
        """Note that the next request was not made, because of our own limit."""
        said = "not sent, to stay under the remote's limit"
        error = RateLimited("renew", 429, HELD_BACK, said, None, us / SECOND)
        self._failed(link, Failure.NOT_DONE, error)

    # --- The clock there ------------------------------------------------------------------

    def hear(self, date: datetime, took_s: float) -> None:
        """Learn what time it was there, from any answer to what was sent so long ago."""
        with suppress(EngineClosed):  # left first
            received = self._links.now()
            sent = received - max(0, ceil(took_s * SECOND))
            if self.drift.hear(to_us(date), sent, received):
                self._clock_was_set()

    def _clock_was_set(self) -> None:
        drift = self.drift
        logger.warning("the remote's clock was set; it is %.1f s ahead", drift.ahead / SECOND)
        self._links.clock_was_set()

    # --- Requests -------------------------------------------------------------------------

    async def post(self, link: Link, wanted: Wanted) -> None:
        """Ask the remote to hold what is wanted."""
        sight, place = link.sight, wanted.place
        minutes = link.synced.minutes_for(max(0, wanted.until - self._links.now()))
        in_doubt = sight.belief is Belief.UNKNOWN
        sent_at = self._send(link, News.POST, place)
        try:
            remote = await self._client.reserve(
                place.remote_id,
                from_us(place.start),
                slot_minutes=_slot_minutes(link.synced, place),
                reservation_minutes=minutes,
                claim=link.claim,
            )
        except RemoteConflict as refused:
            ghost = self._links.ghosts.until(place, sent_at)
            sight.ghost_until = ghost or 0
            self._failed(link, Failure.REFUSED, refused)
            self._links.learn(link, News.REFUSED if ghost is None else News.CONTESTED)
        except OutcomeUnknown as unknown:
            self._haunt(place, minutes)
            self._failed(link, Failure.LOST, unknown)
            self._links.learn(link, News.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(link, _kind(error), error)
            doubtful = failure is Failure.NOT_DONE and in_doubt
            said = News.REFUSED if failure is Failure.REFUSED else News.NOT_DONE
            self._links.learn(link, News.LOST if doubtful else said)
        except BaseException:
            self._haunt(place, minutes)
            self._links.learn(link, News.LOST)
            raise
        else:
            self._accepted(link, remote, minutes, sent_at)

    async def patch(self, link: Link, wanted: Wanted) -> None:
        """Ask it to move the hold to what is wanted, or to renew it there."""
        assert link.remote_uid is not None
        place = wanted.place
        # The length of time is everybody's to choose here, but one that is not theirs to choose
        # elsewhere had better be the same.
        minutes = link.synced.minutes_for(max(0, wanted.until - self._links.now()))
        sent_at = self._send(link, News.PATCH, place)
        try:
            remote = await self._client.update(
                link.remote_uid,
                place.remote_id,
                from_us(place.start),
                slot_minutes=_slot_minutes(link.synced, place),
                reservation_minutes=minutes,
                claim=link.claim,
            )
        except OutcomeUnknown as unknown:
            self._last_longer(link, minutes)
            self._failed(link, Failure.LOST, unknown)
            self._links.learn(link, News.LOST)
        except RemoteNotFound as missing:
            # Its row is gone; whether the event type is, a POST will tell.
            self.counters.not_done += 1
            link.verdict = missing
            self._links.learn(link, News.MISSING)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(link, _kind(error), error)
            self._links.learn(link, News.REFUSED if failure is Failure.REFUSED else News.NOT_DONE)
        except BaseException:
            self._last_longer(link, minutes)
            self._links.learn(link, News.LOST)
            raise
        else:
            self._accepted(link, remote, minutes, sent_at)

    async def delete(self, link: Link) -> None:
        """Ask it to let the hold go."""
        assert link.remote_uid is not None
        claim = link.claim if link.sight.belief is Belief.HELD else None  # the rest is the POST's
        self._send(link, News.DELETE, None)
        try:
            await self._client.delete(link.remote_uid, claim=claim)
        except OutcomeUnknown as unknown:
            self._failed(link, Failure.LOST, unknown)
            self._links.learn(link, News.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            self._failed(link, Failure.NOT_DONE, error)
            self._links.learn(link, News.NOT_DONE)
        except BaseException:
            self._links.learn(link, News.LOST)
            raise
        else:
            link.succeeded()
            self._links.learn(link, News.ACCEPTED)

    async def look_up(self, link: Link) -> RemoteReservation | None:
        """Ask the remote where a hold is, and believe it; for who has the link's lock."""
        assert link.remote_uid is not None
        sight, asked_at = link.sight, self._links.now()
        try:
            found = await self._client.get(link.remote_uid)
        except (RemoteError, ClientClosed) as error:
            self._failed(link, Failure.NOT_DONE, error)
            return None
        link.succeeded()
        if found is None:
            self._links.learn(link, News.MISSING)
            return None
        place = _nearest(found, sight.place, link.target)
        if sight.belief is Belief.ASTRAY:
            self._last_as_found(link, to_us(found.until), asked_at)
        sight.place = place
        self._links.learn(link, News.FOUND)
        return found

    async def book(self, link: Link) -> None:
        """Let the callback book it at the remote."""
        confirm = link.synced.confirm
        assert not isinstance(confirm, Confirm)
        reservation = self._engine.get_nowait(link.uid)
        assert reservation is not None
        try:
            await confirm(reservation, link.remote_uid)
        except (RemoteDown, RateLimited) as error:
            self._failed(link, Failure.NOT_DONE, error)
        except Exception as error:  # it is the caller's code
            link.kept = True
            link.succeeded()
            self.diverge(link, f"it was not booked there: {type(error).__name__}")
        else:
            link.succeeded()
            self._links.now_booked(link)

    def _send(self, link: Link, news: News, target: Place | None) -> int:
        """Note that a request is about to be sent, and return when."""
        link.target = target
        self.counters.sent += 1
        self.counters.retried += link.failures > 0
        self._links.learn(link, news)
        return self._links.now()

    def _accepted(
        self, link: Link, remote: RemoteReservation, asked: int | None, sent_at: int
    ) -> None:
        assert link.target is not None
        sight, received = link.sight, self._links.now()
        minutes = remote.reservation_minutes or asked or USUAL_MINUTES
        if self.drift.measure(to_us(remote.until), minutes * MINUTE, sent_at, received):
            self._clock_was_set()
        # It was made after it was sent and before it was answered, whatever the clock there says.
        lives = minutes * MINUTE
        self._links.lasts(link, sent_at + lives, received + lives + SLACK)
        self.counters.renewed += sight.place == link.target
        sight.place = link.target
        sight.eager = sight.patient = False
        link.diverged = False
        link.succeeded()
        self.counters.accepted += 1
        link.remote_uid = remote.uid
        self._links.learn(link, News.ACCEPTED)
        if to_us(remote.end) != link.target.end:
            self.diverge(link, f"the remote's slot ends at {remote.end.isoformat()}")

    def _failed(self, link: Link, failure: Failure, error: Exception) -> Failure:
        counters = self.counters
        link.failed(failure, error)
        self.troubled |= link.promised and failure is not Failure.REFUSED
        if failure is Failure.REFUSED:
            counters.refused += 1
            reservation = self._engine.get_nowait(link.uid)
            if reservation is not None and reservation.state is State.CONFIRMED:
                self.diverge(link, f"it is booked here, but {error}")
        elif failure is Failure.LOST:
            counters.lost += 1
        else:
            counters.not_done += 1
        told_s = error.retry_after_s if isinstance(error, RateLimited | RemoteDown) else 0.0
        most = min(_LAST_BACKOFF, _FIRST_BACKOFF << min(link.failures - 1, 10))
        if isinstance(error, RateLimited) and error.code == HELD_BACK:
            most = _FIRST_BACKOFF  # when the next can be made is known
        pause = int(told_s * SECOND) + int(self._random.uniform(0.5, 1) * most)
        if failure is Failure.REFUSED or (failure is Failure.LOST and link.failures == 1):
            pause = 0  # it is well, or may be
        link.sight.not_before = self._links.now() + pause
        return failure

    def _last_longer(self, link: Link, minutes: int | None) -> None:
        """Reckon with it that what was asked for has been done."""
        sight = link.sight
        gone_after = max(sight.gone_after, self._links.now() + _us(minutes) + SLACK)
        self._links.lasts(link, sight.covered_until, gone_after)

    def _last_as_found(self, link: Link, until: int, asked_at: int) -> None:
        """Believe how long a hold lasts, by the remote's clock, as far as that is known."""
        sight, drift = link.sight, self.drift
        if drift.measured:
            left = until - drift.ahead
            gone_after = max(left, asked_at) + drift.error + SLACK
            self._links.lasts(link, left - drift.error, gone_after)
        else:
            longest = asked_at + link.synced.longest_us + SLACK
            self._links.lasts(link, asked_at, max(sight.gone_after, longest))

    def _haunt(self, place: Place, minutes: int | None) -> None:
        self._links.haunt(Ghost(place, self._links.now() + _us(minutes) + SLACK))

    def diverge(self, link: Link, problem: str) -> None:
        """Say, once, that the two sides differ."""
        if not link.diverged:
            link.diverged = True
            self.counters.diverged += 1
            synced = link.synced
            self._tell(Diverged(link.uid, synced.id, problem))


def _nearest(found: RemoteReservation, *believed: Place | None) -> Place:
    """Return which of the places it is at; that its length differs there is another matter."""
    start = to_us(found.start)
    for place in believed:
        if place is not None and (place.remote_id, place.start) == (found.event_type_id, start):
            return place
    return Place(found.event_type_id, start, to_us(found.end))


def _us(minutes: int | None) -> int:
    return (minutes or USUAL_MINUTES) * MINUTE


def _kind(error: Exception) -> Failure:
    """Tell a refusal that waiting will not change from trouble on the way."""
    if isinstance(error, RateLimited):
        return Failure.NOT_DONE
    return Failure.REFUSED if isinstance(error, RemoteRefused | InvalidField) else Failure.NOT_DONE


def _slot_minutes(synced: Synced, place: Place) -> int | None:
    """Return what the remote is to be told of the length; it refuses to be told for nothing."""
    if not synced.event_type.lengths:
        return None
    return (place.end - place.start) // MINUTE
