"""A client of a remote Cal.com: all five operations of the slots API 2024-09-04.

The other modules of this package have one task each.  `wire` writes and reads
JSON, `credentials` makes the headers that identify the caller, `rate_limiter`
and `circuit_breaker` say when a request may be sent, `retries` says what may be
repeated, and `transport` sends one request and reads its response.  This module
has the session, calls the others in the right order, and decides what each
response means.

After an error callers need to know whether a change was made.  Only
`OutcomeUnknown` leaves that open.  It is raised whenever an attempt has sent a
change and its response did not say what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import random as chance
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Final, NamedTuple, Self, TypeVar

from slotengine.extras import missing

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise missing("slotengine.calcom.client", "calcom", error.name or "aiohttp") from None

from slotengine.calcom.client.circuit_breaker import CircuitBreaker, CircuitState
from slotengine.calcom.client.credentials import Credentials, RefreshCallback
from slotengine.calcom.client.errors import (
    NOT_SENT,
    ClientClosed,
    OutcomeUnknown,
    RateLimited,
    RemoteDenied,
    RemoteDown,
    RemoteError,
    RemoteFailed,
    RemoteRefused,
    RemoteUnreachable,
)
from slotengine.calcom.client.rate_limiter import Permits, RateLimiter
from slotengine.calcom.client.responses import Response, refusal
from slotengine.calcom.client.retries import Retries
from slotengine.calcom.client.transport import NoResponse, Request, base_of, new_session, send
from slotengine.calcom.client.wire import (
    RESERVATIONS_PATH,
    SLOTS_PATH,
    RemoteReservation,
    RemoteSlot,
    SlotFormat,
    SlotTarget,
    Unreadable,
    parse_done,
    parse_found,
    parse_reservation,
    parse_slots,
    reservation_body,
    reservation_path,
    slots_query,
)
from slotengine.calcom.wire import VERSION
from slotengine.errors import InvalidField

logger = logging.getLogger(__name__)

PRODUCTION: Final = "https://api.cal.com"

# For an attempt that begins at the very end of a call's time; aiohttp takes 0 for no timeout.
_MIN_TIMEOUT_S: Final = 0.1

MAX_PERMITS: Final = 1000
"""The most permits that one call of `CalComClient.permits` may ask for."""

# The API itself never redirects.  A redirect comes from something in front of it, so the request
# was not carried out.
_REDIRECTS: Final = frozenset({301, 302, 307, 308})

T = TypeVar("T")

DateListener = Callable[[datetime, float], None]
"""Called with the remote's time and with how many seconds ago the request was sent."""


class ClientStatistics(NamedTuple):
    """What a client has done since it was made, and its present state."""

    calls: int
    """Calls of the five operations with valid arguments."""
    sent: int
    """Requests; a call may take several, or none."""
    retried: int
    """Requests that repeated an earlier one, also after a token was refreshed."""
    refused: int
    """Responses that refused the request: statuses from 300 to 499."""
    failed: int
    """Requests that were sent and got no usable response."""
    unreachable: int
    """Requests that could not be sent, because there was no connection."""
    times_opened: int
    """How often the circuit breaker opened."""
    circuit: CircuitState
    """Whether the circuit breaker lets requests pass."""
    in_flight: int
    """Requests that have no response yet."""
    waiting: int
    """Calls that wait for the rate limit."""


@dataclass(slots=True)
class _Counters:
    calls: int = 0
    sent: int = 0
    retried: int = 0
    refused: int = 0
    failed: int = 0
    unreachable: int = 0


@dataclass(slots=True)
class _Call:
    """One call of an operation, over all its attempts."""

    operation: str
    method: str
    path: str
    body: bytes | None = None
    permits: Permits | None = None
    """Permits of the caller that the next attempt may use."""
    deadline: float = inf
    headers: Mapping[str, str] = field(default_factory=dict)
    """The credentials that the last attempt was sent with."""
    unknown: OutcomeUnknown | None = None
    """Set once the outcome of any attempt is unknown."""

    @property
    def changes(self) -> bool:
        return self.method != "GET"


class CalComClient:
    """A client of the Cal.com at ``base_url``; enter it once, and call it inside the block.

    Give at most one kind of credentials: ``api_key``, ``token``, or
    ``client_id`` with ``client_secret``.  If a token is refused, ``refresh`` is
    awaited for a new one, once for all calls that need it, and each of them is
    repeated once.

    A ``session`` that is passed in is left open, and its client middlewares are
    not used.  Otherwise the client has its own, of at most ``connections``
    connections.

    A call takes at most ``timeout_s``, including all waits, and makes at most
    ``attempts`` requests.  Each request takes at most ``attempt_timeout_s``,
    half of which is for connecting.  At most ``per_minute`` requests are sent
    in any minute; None means no limit.  If the rate limit, or the wait after a
    429, would exceed the call's time, the call raises `RateLimited` immediately.
    With ``wait_for_permit=False`` calls never wait for the rate limit.

    After ``failures`` failed requests in a row the circuit breaker opens: all
    calls raise `RemoteDown` for ``cooldown_s``.  Then one request, the probe,
    may pass.

    ``clock`` (in seconds, monotonic), ``sleep`` and ``random`` are for tests.
    Raises `InvalidField` for invalid arguments.

        async with CalComClient(api_key=key) as calcom:
            hold = await calcom.reserve(1, start)
    """

    def __init__(
        self,
        base_url: str = PRODUCTION,
        *,
        api_key: str | None = None,
        token: str | None = None,
        refresh: RefreshCallback | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        session: aiohttp.ClientSession | None = None,
        connections: int = 100,
        timeout_s: float = 30,
        attempt_timeout_s: float = 10,
        attempts: int = 3,
        per_minute: int | None = 120,
        wait_for_permit: bool = True,
        failures: int = 5,
        cooldown_s: float = 30,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: chance.Random | None = None,
    ) -> None:
        self._base = base_of(base_url)
        self._credentials = Credentials(
            api_key=api_key,
            token=token,
            refresh=refresh,
            client_id=client_id,
            client_secret=client_secret,
        )
        for name, number in (
            ("connections", connections),
            ("timeout_s", timeout_s),
            ("attempt_timeout_s", attempt_timeout_s),
            ("attempts", attempts),
            ("per_minute", per_minute),
            ("failures", failures),
            ("cooldown_s", cooldown_s),
        ):
            if number is not None and not _is_positive(number):
                raise InvalidField(name, f"must be more than 0, not {number!r}")
        self._session_given = session
        self._session: aiohttp.ClientSession | None = None
        self._entered = False
        self._connections = connections
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._wait_for_permit = wait_for_permit
        self._clock = clock
        self._sleep = sleep
        self._retries = Retries(
            attempts, wait_for_permit, clock, sleep, random or chance.Random(), self._count_retry
        )
        self._per_minute = per_minute
        self._limiter = RateLimiter(limit=per_minute, clock=clock)
        self._breaker = CircuitBreaker(failures=failures, cooldown_s=cooldown_s, clock=clock)
        self._counters = _Counters()
        self._date_listeners: list[DateListener] = []

    def __repr__(self) -> str:
        return f"<CalComClient: {self._base}, {self._credentials!r}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ClientClosed
        self._entered = True
        self._session = self._session_given or new_session(self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        try:
            await self._credentials.aclose()
        finally:
            if session is not None and session is not self._session_given:
                await session.close()

    # --- The operations ----------------------------------------------------------------

    async def slots(
        self,
        start: datetime,
        end: datetime,
        *,
        event_type_id: int | None = None,
        event_type_slug: str | None = None,
        username: str | None = None,
        team_slug: str | None = None,
        usernames: Sequence[str] | None = None,
        organization_slug: str | None = None,
        format: SlotFormat = "range",
        time_zone: str | None = None,
        slot_minutes: int | None = None,
        booking_uid_to_reschedule: str | None = None,
    ) -> list[RemoteSlot]:
        """Return the slots that lie inside the span, in order of start.

        Name the event type by one of four groups of arguments:
        ``event_type_id``; ``username`` and ``event_type_slug``; ``team_slug``
        and ``event_type_slug``; or at least two ``usernames`` and their
        ``organization_slug``, which is optional for the second and third group.
        Anything else raises `InvalidField`.

        An ``end`` at midnight is that midnight, not the end of the day.  The
        remote rounds starts to a grid in ``time_zone``, an IANA name; the slots
        are returned in UTC nevertheless.
        """
        target = SlotTarget(
            event_type_id=event_type_id,
            event_type_slug=event_type_slug,
            username=username,
            team_slug=team_slug,
            usernames=usernames,
            organization_slug=organization_slug,
        )
        query = slots_query(
            target,
            start,
            end,
            format=format,
            time_zone=time_zone,
            slot_minutes=slot_minutes,
            booking_uid_to_reschedule=booking_uid_to_reschedule,
        )
        return await self._run(_Call("slots", "GET", f"{SLOTS_PATH}?{query}"), parse_slots)

    async def reserve(
        self,
        event_type_id: int,
        start: datetime,
        *,
        slot_minutes: int | None = None,
        reservation_minutes: int | None = None,
        permits: Permits | None = None,
    ) -> RemoteReservation:
        """Hold a slot for ``reservation_minutes``, 5 by default; other values need credentials.

        ``slot_minutes`` is for event types with several lengths only.  Raises
        `RemoteConflict` if the time is taken.
        """
        body = reservation_body(
            event_type_id,
            start,
            slot_minutes=slot_minutes,
            reservation_minutes=reservation_minutes,
        )
        call = _Call("reserve", "POST", RESERVATIONS_PATH, body, permits)
        return await self._run(call, parse_reservation)

    async def get(self, uid: str) -> RemoteReservation | None:
        """Return a hold, or None if there is none; an expired hold may still be there."""
        return await self._run(_Call("get", "GET", reservation_path(uid)), parse_found)

    async def update(
        self,
        uid: str,
        event_type_id: int,
        start: datetime,
        *,
        slot_minutes: int | None = None,
        reservation_minutes: int | None = None,
        permits: Permits | None = None,
    ) -> RemoteReservation:
        """Move a hold to another time, and restart its time to live.

        This replaces all fields: lengths that are left out become the defaults.
        The original Cal.com counts the hold as a conflict with itself, so a
        time that overlaps its present one raises `RemoteConflict`.
        """
        path = reservation_path(uid)
        body = reservation_body(
            event_type_id,
            start,
            slot_minutes=slot_minutes,
            reservation_minutes=reservation_minutes,
        )
        return await self._run(_Call("update", "PATCH", path, body, permits), parse_reservation)

    async def delete(self, uid: str, *, permits: Permits | None = None) -> None:
        """Release a hold; also succeeds if it has expired or never existed."""
        call = _Call("delete", "DELETE", reservation_path(uid), permits=permits)
        await self._run(call, parse_done)

    @property
    def per_minute(self) -> int | None:
        """The most requests that are sent in any minute; None for no limit."""
        return self._per_minute

    def permits(self, count: int) -> Permits:
        """Return permits for requests that are sent back to back, ahead of other calls.

        For example, a hold should be deleted only if the request that makes it
        anew may follow immediately.  Pass the permits to `reserve`, `update`
        and `delete`.  A call uses one permit if the rate limit admits all
        permits that are left at this moment; otherwise it waits in the ordinary
        queue.  Other calls wait until the permits are used or given back.  O(n)
        for n waiting calls.

            permits = calcom.permits(2)
            if permits.wait_s() == 0:
                await calcom.delete(hold.uid, permits=permits)
                hold = await calcom.reserve(1, start, permits=permits)
            permits.give_back()

        Raises `InvalidField` for a count that is not from 1 to `MAX_PERMITS`.
        """
        if type(count) is not int or not 1 <= count <= MAX_PERMITS:
            raise InvalidField(
                "count", f"must be a whole number from 1 to {MAX_PERMITS}, not {count!r}"
            )
        return Permits(self._limiter, count)

    def on_date(self, listener: DateListener) -> Callable[[], None]:
        """Call a listener with the ``Date`` of every response; return a function that removes it.

        The listener is called before the caller of the operation gets its
        result.  It is given the date (UTC, rounded down to a second), and how
        many seconds ago, by the client's clock, the request was sent; the
        response was made in between.  It must be quick and must not raise.

            stop = calcom.on_date(lambda date, took_s: print(date))
        """
        self._date_listeners.append(listener)
        return lambda: self._date_listeners.remove(listener)

    def statistics(self) -> ClientStatistics:
        """Return what was done so far, and the present state.  O(1)."""
        counters = self._counters
        return ClientStatistics(
            calls=counters.calls,
            sent=counters.sent,
            retried=counters.retried,
            refused=counters.refused,
            failed=counters.failed,
            unreachable=counters.unreachable,
            times_opened=self._breaker.times_opened,
            circuit=self._breaker.circuit,
            in_flight=self._limiter.in_flight,
            waiting=self._limiter.waiting,
        )

    # --- A call, and its attempts ------------------------------------------------------

    async def _run(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        permits = call.permits
        if permits is not None and not isinstance(permits, Permits):
            raise InvalidField("permits", f"must come from CalComClient.permits(), not {permits!r}")
        self._open_session()
        call.deadline = self._clock() + self._timeout_s
        self._counters.calls += 1
        try:
            return await self._with_refresh(call, parse)
        except OutcomeUnknown:
            raise
        except (RemoteError, ClientClosed):
            if call.unknown is None:
                raise
        # The last attempt was certainly not carried out, but an earlier one may have been.
        raise call.unknown

    async def _with_refresh(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        try:
            return await self._with_retries(call, parse)
        except RemoteDenied as denied:
            if denied.status != 401 or not await self._refresh(call):
                raise
        self._count_retry()
        return await self._with_retries(call, parse)

    async def _refresh(self, call: _Call) -> bool:
        return await self._credentials.refresh(call.headers, call.deadline - self._clock())

    async def _with_retries(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        return await self._retries.run(self._attempt, call.method, call.deadline, call, parse)

    def _count_retry(self) -> None:
        self._counters.retried += 1

    async def _attempt(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        """Send one request as soon as it may be sent."""
        self._check_breaker(call)  # before waiting for the rate limit
        await self._acquire(call)
        self._check_breaker(call)  # and again: from here to the attempt nothing else happens
        session = self._open_session()
        with self._breaker.attempt() as attempt, self._limiter.request():
            call.headers = self._credentials.headers
            outcome = await self._send_request(session, call)
            try:
                value = self._interpret(call, outcome, parse)
            except (RemoteFailed, OutcomeUnknown, RemoteUnreachable) as error:
                if attempt.failed():
                    logger.warning("the circuit breaker opened after %s", error)
                raise
            except RemoteRefused:
                attempt.succeeded()
                raise
            attempt.succeeded()
            return value

    def _check_breaker(self, call: _Call) -> None:
        if retry_after_s := self._breaker.retry_after_s():
            raise RemoteDown(call.operation, retry_after_s)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise ClientClosed
        return self._session

    async def _acquire(self, call: _Call) -> None:
        """Wait until the rate limit admits a request; send it before the next await."""
        permits, call.permits = call.permits, None  # a retry leaves the rest to others
        if permits is not None and permits.use():
            return
        ticket = self._limiter.join(first=permits is not None)
        try:
            while wait_s := self._limiter.wait_s(ticket):
                if not self._wait_for_permit or self._clock() + wait_s >= call.deadline:
                    said = "not sent, to stay under the remote's limit"
                    raise RateLimited(call.operation, 429, NOT_SENT, said, None, wait_s)
                await self._sleep(wait_s)
        finally:
            self._limiter.leave(ticket)

    # --- A request, and its response ---------------------------------------------------

    async def _send_request(
        self, session: aiohttp.ClientSession, call: _Call
    ) -> Response | NoResponse:
        self._counters.sent += 1
        headers = {
            "Accept": "application/json",
            "User-Agent": "slotengine",
            "cal-api-version": VERSION,
            **call.headers,
        }
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        sent_at = self._clock()
        left_s = max(_MIN_TIMEOUT_S, call.deadline - sent_at)
        timeout_s = min(self._attempt_timeout_s, left_s)
        url = self._base + call.path
        outcome = await send(session, Request(call.method, url, headers, call.body, timeout_s))
        if self._date_listeners and isinstance(outcome, Response):
            self._report_date(outcome, self._clock() - sent_at)
        return outcome

    def _report_date(self, response: Response, took_s: float) -> None:
        date = response.date()
        if date is not None:
            for listener in tuple(self._date_listeners):
                listener(date, took_s)

    def _interpret(
        self, call: _Call, outcome: Response | NoResponse, parse: Callable[[bytes], T]
    ) -> T:
        """Return the value in a response, or raise the error for the outcome."""
        if isinstance(outcome, NoResponse):
            if outcome.sent:
                raise self._failure(call, outcome.problem, None)
            self._counters.unreachable += 1
            raise RemoteUnreachable(call.operation, outcome.problem)
        self._apply_limits(outcome)
        status = outcome.status
        if 200 <= status < 300:
            try:
                return parse(outcome.raw)
            except Unreadable as unreadable:
                problem = f"{status}, but {unreadable}"
            raise self._failure(call, problem, outcome)
        if 400 <= status < 500 or status in _REDIRECTS:
            self._counters.refused += 1
            raise refusal(call.operation, outcome, self._credentials.redact)
        raise self._failure(call, f"status {status}", outcome)

    def _failure(self, call: _Call, problem: str, response: Response | None) -> RemoteError:
        self._counters.failed += 1
        facts: tuple[int | None, str | None, str, str] = None, None, "", ""
        if response is not None:
            redact = self._credentials.redact
            facts = response.status, response.request_id(redact), *response.said(redact)
        if not call.changes:
            return RemoteFailed(call.operation, problem, *facts)
        call.unknown = OutcomeUnknown(call.operation, problem, *facts)
        return call.unknown

    def _apply_limits(self, response: Response) -> None:
        """Pause if the remote's rate limit is used up; otherwise note what is left of it."""
        remaining = response.remaining()
        if response.status == 429 or remaining == 0:
            self._limiter.pause(response.reset_s())
        elif remaining is not None:
            self._limiter.set_remaining(remaining, response.reset_s())


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0
