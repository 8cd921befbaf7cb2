"""The requests to the remote, one function each; they record every outcome.

The remote state changes before a request is sent.  So if the request is
interrupted, by a cancellation for example, the state already says that it may
have been carried out.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime
from math import ceil
from typing import Final

from slotengine.calcom.client.client import CalComClient
from slotengine.calcom.client.errors import (
    NOT_SENT,
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
from slotengine.calcom.sync.environment import Environment
from slotengine.calcom.sync.index import HoldIndex
from slotengine.calcom.sync.monitor import Monitor
from slotengine.calcom.sync.next_step import Desired, Failure
from slotengine.calcom.sync.orphans import SLACK, Orphan
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import RemoteEvent, RemoteState
from slotengine.calcom.sync.tracked_hold import TrackedHold
from slotengine.calcom.sync.values import DEFAULT_MINUTES, OnConfirm, Synced
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import MINUTE, SECOND, from_us, to_us
from slotengine.errors import EngineClosed, InvalidField

logger = logging.getLogger(__name__)

_FIRST_BACKOFF: Final = SECOND
_LAST_BACKOFF: Final = 60 * SECOND


class Requests:
    """The requests for one tracked hold; the caller must have the lock of that hold."""

    def __init__(
        self, env: Environment, client: CalComClient, index: HoldIndex, monitor: Monitor
    ) -> None:
        self.monitor = monitor
        self.clock_skew = index.clock_skew
        self._counters = monitor.counters
        self._engine = env.engine
        self._client = client
        self._random = env.random
        self._index = index

    # --- Permits --------------------------------------------------------------------------

    @property
    def per_minute(self) -> int | None:
        """The most requests that can be made in a minute."""
        return self._client.per_minute

    def wait_for_permits(self, tracked: TrackedHold, count: int) -> int:
        """Ask for permits; return in how many microseconds they are ready, 0 if they are now."""
        if tracked.permits is None or tracked.permits.left != count:
            self.give_back_permits(tracked)
            tracked.permits = self._client.permits(count)
        return ceil(tracked.permits.wait_s() * SECOND)

    def give_back_permits(self, tracked: TrackedHold) -> None:
        """Give back all permits of a hold."""
        if tracked.permits is not None:
            tracked.permits.give_back()
            tracked.permits = None

    def record_not_sent(self, tracked: TrackedHold, wait: int) -> None:
        """Record that a request was not sent; its permits are ready in ``wait`` microseconds."""
        said = "not sent, to stay under the remote's limit"
        error = RateLimited("renew", 429, NOT_SENT, said, None, wait / SECOND)
        self._failed(tracked, Failure.NOT_DONE, error)

    # --- The remote's clock ---------------------------------------------------------------

    def on_date(self, date: datetime, took_s: float) -> None:
        """Learn the remote's time from a response whose request was sent ``took_s`` ago."""
        with suppress(EngineClosed):  # the engine was closed first
            received = self._index.now()
            sent = received - max(0, ceil(took_s * SECOND))
            if self.clock_skew.observe_date(to_us(date), sent, received):
                self._clock_jumped()

    def _clock_jumped(self) -> None:
        ahead_s = self.clock_skew.ahead / SECOND
        logger.warning("the remote's clock was adjusted; it is now %.1f s ahead of ours", ahead_s)
        self._index.clock_jumped()

    # --- Requests -------------------------------------------------------------------------

    async def post(self, tracked: TrackedHold, desired: Desired) -> None:
        """Ask the remote to hold what is desired."""
        observed, span = tracked.observed, desired.span
        minutes = tracked.synced.minutes_for(max(0, desired.until - self._index.now()))
        was_unknown = observed.state is RemoteState.CREATE_UNKNOWN
        sent_at = self._before_sending(tracked, RemoteEvent.POST, span)
        try:
            remote = await self._client.reserve(
                span.remote_id,
                from_us(span.start),
                slot_minutes=_slot_minutes(tracked.synced, span),
                reservation_minutes=minutes,
                permits=tracked.permits,
            )
        except RemoteConflict as refused:
            orphan = self._index.orphans.until(span, sent_at)
            observed.orphan_until = orphan or 0
            self._failed(tracked, Failure.REFUSED, refused)
            event = RemoteEvent.REFUSED if orphan is None else RemoteEvent.CONTESTED
            self._index.record(tracked, event)
            await self._report_if_booked(tracked, Failure.REFUSED, refused)
        except OutcomeUnknown as unknown:
            self._add_orphan(span, minutes)
            self._failed(tracked, Failure.LOST, unknown)
            self._index.record(tracked, RemoteEvent.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(tracked, _failure_of(error), error)
            event = _event_for(failure)
            if event is RemoteEvent.NOT_DONE and was_unknown:
                event = RemoteEvent.LOST
            self._index.record(tracked, event)
            await self._report_if_booked(tracked, failure, error)
        except BaseException:
            self._add_orphan(span, minutes)
            self._index.record(tracked, RemoteEvent.LOST)
            raise
        else:
            self._accepted(tracked, remote, minutes, sent_at)

    async def patch(self, tracked: TrackedHold, desired: Desired) -> None:
        """Ask the remote to move the hold to what is desired, or to renew it there."""
        assert tracked.remote_uid is not None
        span = desired.span
        # Every PATCH may choose the time to live, but without `custom_ttl` no POST may.  The
        # default is used for both, so that the hold lives equally long if it is made anew.
        minutes = tracked.synced.minutes_for(max(0, desired.until - self._index.now()))
        sent_at = self._before_sending(tracked, RemoteEvent.PATCH, span)
        try:
            remote = await self._client.update(
                tracked.remote_uid,
                span.remote_id,
                from_us(span.start),
                slot_minutes=_slot_minutes(tracked.synced, span),
                reservation_minutes=minutes,
                permits=tracked.permits,
            )
        except OutcomeUnknown as unknown:
            self._may_last_longer(tracked, minutes)
            self._failed(tracked, Failure.LOST, unknown)
            self._index.record(tracked, RemoteEvent.LOST)
        except RemoteNotFound as missing:
            # The hold is gone.  If the event type is gone, too, the next POST will say so.
            self._counters.not_done += 1
            tracked.last_error = missing
            self._index.record(tracked, RemoteEvent.MISSING)
        except (RemoteError, ClientClosed, InvalidField) as error:
            failure = self._failed(tracked, _failure_of(error), error)
            self._index.record(tracked, _event_for(failure))
            await self._report_if_booked(tracked, failure, error)
        except BaseException:
            self._may_last_longer(tracked, minutes)
            self._index.record(tracked, RemoteEvent.LOST)
            raise
        else:
            self._accepted(tracked, remote, minutes, sent_at)

    async def delete(self, tracked: TrackedHold) -> None:
        """Ask the remote to release the hold."""
        assert tracked.remote_uid is not None
        # A repeated DELETE leaves the permits to the POST that follows.
        held = tracked.observed.state is RemoteState.HELD
        permits = tracked.permits if held else None
        self._before_sending(tracked, RemoteEvent.DELETE, None)
        try:
            await self._client.delete(tracked.remote_uid, permits=permits)
        except OutcomeUnknown as unknown:
            self._failed(tracked, Failure.LOST, unknown)
            self._index.record(tracked, RemoteEvent.LOST)
        except (RemoteError, ClientClosed, InvalidField) as error:
            self._failed(tracked, Failure.NOT_DONE, error)
            self._index.record(tracked, RemoteEvent.NOT_DONE)
        except BaseException:
            self._index.record(tracked, RemoteEvent.LOST)
            raise
        else:
            tracked.succeeded()
            self._index.record(tracked, RemoteEvent.ACCEPTED)

    async def look_up(self, tracked: TrackedHold) -> RemoteReservation | None:
        """Ask the remote where a hold is, and record the answer."""
        assert tracked.remote_uid is not None
        observed, asked_at = tracked.observed, self._index.now()
        try:
            found = await self._client.get(tracked.remote_uid)
        except (RemoteError, ClientClosed) as error:
            self._failed(tracked, Failure.NOT_DONE, error)
            return None
        tracked.succeeded()
        if found is None:
            self._index.record(tracked, RemoteEvent.MISSING)
            return None
        span = _span_in(found, observed.span, tracked.target)
        if observed.state is RemoteState.MOVE_UNKNOWN:
            self._set_lifetime_as_found(tracked, to_us(found.until), asked_at)
        observed.span = span
        self._index.record(tracked, RemoteEvent.FOUND)
        return found

    async def book(self, tracked: TrackedHold) -> None:
        """Call the callback that books at the remote."""
        on_confirm = tracked.synced.on_confirm
        assert not isinstance(on_confirm, OnConfirm)
        reservation = await self._engine.get(tracked.uid)
        assert reservation is not None
        try:
            await on_confirm(reservation, tracked.remote_uid)
        except (RemoteDown, RateLimited) as error:
            self._failed(tracked, Failure.NOT_DONE, error)
        except Exception as error:  # the callback is the caller's code
            tracked.callback_failed = True
            tracked.succeeded()
            self.monitor.diverged(
                tracked, f"the callback did not book it at the remote: {type(error).__name__}"
            )
        else:
            tracked.succeeded()
            self._index.record_booked(tracked)

    # --- Outcomes -------------------------------------------------------------------------

    def _before_sending(
        self, tracked: TrackedHold, event: RemoteEvent, target: RemoteSpan | None
    ) -> int:
        """Record that a request is about to be sent, and return the time."""
        tracked.target = target
        self._counters.sent += 1
        self._counters.retried += tracked.failures > 0
        self._index.record(tracked, event)
        return self._index.now()

    def _accepted(
        self, tracked: TrackedHold, remote: RemoteReservation, asked: int | None, sent_at: int
    ) -> None:
        assert tracked.target is not None
        observed, received = tracked.observed, self._index.now()
        lives = (remote.reservation_minutes or asked or DEFAULT_MINUTES) * MINUTE
        if self.clock_skew.observe_hold(to_us(remote.until), lives, sent_at, received):
            self._clock_jumped()
        # By our own clock: the hold was made between the request and the response.
        self._index.set_lifetime(tracked, sent_at + lives, received + lives + SLACK)
        self._counters.renewed += observed.span == tracked.target
        observed.span = tracked.target
        observed.urgent = observed.restored = False
        tracked.diverged = False
        tracked.succeeded()
        self._counters.accepted += 1
        tracked.remote_uid = remote.uid
        self._index.record(tracked, RemoteEvent.ACCEPTED)
        if to_us(remote.end) != tracked.target.end:
            self.monitor.diverged(tracked, f"the remote's slot ends at {remote.end.isoformat()}")

    def _failed(self, tracked: TrackedHold, failure: Failure, error: Exception) -> Failure:
        counters = self._counters
        tracked.failed(failure, error)
        self.monitor.troubled |= tracked.promised and failure is not Failure.REFUSED
        if failure is Failure.REFUSED:
            counters.refused += 1
        elif failure is Failure.LOST:
            counters.lost += 1
        else:
            counters.not_done += 1
        tracked.observed.not_before = self._index.now() + self._backoff(tracked, failure, error)
        return failure

    async def _report_if_booked(
        self, tracked: TrackedHold, failure: Failure, error: Exception
    ) -> None:
        """Report what the remote has refused if it is booked here."""
        if failure is not Failure.REFUSED:
            return
        reservation = await self._engine.get(tracked.uid)
        if reservation is not None and reservation.state is State.CONFIRMED:
            self.monitor.diverged(tracked, f"it is booked here, but the remote refused it: {error}")

    def _backoff(self, tracked: TrackedHold, failure: Failure, error: Exception) -> int:
        retry_after_s = error.retry_after_s if isinstance(error, RateLimited | RemoteDown) else 0.0
        longest = min(_LAST_BACKOFF, _FIRST_BACKOFF << min(tracked.failures - 1, 10))
        if isinstance(error, RateLimited) and error.code == NOT_SENT:
            longest = _FIRST_BACKOFF  # the time of the next permit is known
        pause = int(retry_after_s * SECOND) + int(self._random.uniform(0.5, 1) * longest)
        # There is no pause after a refusal, nor after the first lost response.
        first_lost = failure is Failure.LOST and tracked.failures == 1
        return 0 if failure is Failure.REFUSED or first_lost else pause

    def _may_last_longer(self, tracked: TrackedHold, minutes: int | None) -> None:
        """Expect the hold to last longer, because a lost PATCH may have renewed it."""
        observed = tracked.observed
        gone_after = max(observed.gone_after, self._index.now() + _lifetime(minutes) + SLACK)
        self._index.set_lifetime(tracked, observed.covered_until, gone_after)

    def _set_lifetime_as_found(self, tracked: TrackedHold, until: int, asked_at: int) -> None:
        """Set how long a hold lasts, from its end by the remote's clock if the skew is known."""
        observed, clock_skew = tracked.observed, self.clock_skew
        if clock_skew.hold_observed:
            ends = until - clock_skew.ahead
            gone_after = max(ends, asked_at) + clock_skew.error + SLACK
            self._index.set_lifetime(tracked, ends - clock_skew.error, gone_after)
        else:
            latest = asked_at + tracked.synced.max_ttl_us + SLACK
            self._index.set_lifetime(tracked, asked_at, max(observed.gone_after, latest))

    def _add_orphan(self, span: RemoteSpan, minutes: int | None) -> None:
        self._index.add_orphan(Orphan(span, self._index.now() + _lifetime(minutes) + SLACK))


def _span_in(found: RemoteReservation, *expected: RemoteSpan | None) -> RemoteSpan:
    """Return where a hold is: an expected span if one has the same start."""
    start = to_us(found.start)
    for span in expected:
        if span is not None and (span.remote_id, span.start) == (found.event_type_id, start):
            return span
    return RemoteSpan(found.event_type_id, start, to_us(found.end))


def _lifetime(minutes: int | None) -> int:
    return (minutes or DEFAULT_MINUTES) * MINUTE


def _failure_of(error: Exception) -> Failure:
    """Return `Failure.REFUSED` for what waiting does not change, else `Failure.NOT_DONE`."""
    if isinstance(error, RateLimited):
        return Failure.NOT_DONE
    return Failure.REFUSED if isinstance(error, RemoteRefused | InvalidField) else Failure.NOT_DONE


def _event_for(failure: Failure) -> RemoteEvent:
    return RemoteEvent.REFUSED if failure is Failure.REFUSED else RemoteEvent.NOT_DONE


def _slot_minutes(synced: Synced, span: RemoteSpan) -> int | None:
    """Return the length to send: none for an event type with a single length."""
    if not synced.event_type.lengths:
        return None
    return (span.end - span.start) // MINUTE
