"""A client of a remote Cal.com: slots API 2024-09-04, all five operations.

The rest of the package has one part each: `wire` the JSON, `rate_limiter` when
a request may start, `circuit_breaker` whether it is worth trying, `credentials`
who we are, `retries` what may be repeated, `transport` one request and its
response.  This module has the session, the order in which those are asked, and
what each response means.

Of each operation the question that matters is whether it was done.  Only
`OutcomeUnknown` leaves that open, so it is raised whenever a change was sent,
in any of the tries, and nothing certain came back.
"""

from __future__ import annotations

import asyncio
import logging
import random as chance
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Self, TypeVar

import aiohttp

from slotengine.calcom.client.circuit_breaker import Breaker, Circuit
from slotengine.calcom.client.credentials import Credentials, Refresh
from slotengine.calcom.client.errors import (
    HELD_BACK,
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
from slotengine.calcom.client.rate_limiter import Claim, Pace
from slotengine.calcom.client.responses import Answer, refusal
from slotengine.calcom.client.retries import Retries
from slotengine.calcom.client.transport import Lost, base_of, exchange, new_session
from slotengine.calcom.client.wire import (
    RESERVATIONS_PATH,
    SLOTS_PATH,
    Format,
    RemoteReservation,
    RemoteSlot,
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

# An attempt that begins at the very end of a call's time; 0 would mean forever to aiohttp.
_LEAST_S: Final = 0.1

# Not followed.  The API itself never redirects, so whatever does stands in front of it, and has
# not done what was asked.
_ELSEWHERE: Final = frozenset({301, 302, 307, 308})

T = TypeVar("T")

Dated = Callable[[datetime, float], None]
"""Is told what time it was at the remote, and how many seconds ago the request was sent."""


class ClientStatistics(NamedTuple):
    """What a client has done since it was made, and how it is now."""

    calls: int
    """Calls of the five operations that were right enough to be sent."""
    sent: int
    """Requests; a call may take several, or none."""
    retried: int
    """Requests that repeated another, a refreshed token's included."""
    refused: int
    """Answers that said no: statuses from 300 to 499."""
    failed: int
    """Requests without a usable answer, once sent."""
    unreachable: int
    """Requests that were not sent, for want of a connection."""
    opened: int
    """How often the breaker opened."""
    circuit: Circuit
    """Whether requests may pass the breaker."""
    under_way: int
    """Requests without an answer yet."""
    waiting: int
    """Calls that wait until the rate limit lets them pass."""


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
    """One call of an operation, over all its tries."""

    operation: str
    method: str
    path: str
    body: bytes | None
    deadline: float
    headers: Mapping[str, str]
    """The credentials that the last try was sent with."""
    claim: Claim | None = None
    """What the next try may use a turn of."""
    doubt: OutcomeUnknown | None = None
    """Of some try it is not known whether it was done."""

    @property
    def changes(self) -> bool:
        return self.method != "GET"


class CalComClient:
    """A client of a Cal.com at ``base_url``; enter it, once, and call it inside.

    Credentials are at most one of ``api_key``, ``token`` and the pair of
    ``client_id`` and ``client_secret``.  When a token is refused, ``refresh``
    is awaited for another one, once for all calls that need it, and each is
    repeated once.

    A lent ``session`` stays the caller's, but its client middlewares are not
    used.  Without one the client has its own, of at most ``connections``.

    A call takes ``timeout_s`` at most, with all its waiting and its at most
    ``attempts`` requests, each of which takes ``attempt_timeout_s``, and half of
    it for connecting.  No more than ``per_minute`` requests are sent in any
    minute; None for no limit.  A call whose turn, or whose retry after a 429,
    comes too late for it raises `RateLimited` at once, and without
    ``wait_for_turn`` any that cannot be sent at once does.

    After ``failures`` failed requests in a row all calls raise `RemoteDown` for
    ``cooldown_s``; then one request tries again.

    ``clock`` (seconds, not the wall's), ``sleep`` and ``random`` are for tests.
    Raises `InvalidField` for arguments that make no sense.

        async with CalComClient(api_key=key) as calcom:
            hold = await calcom.reserve(1, start)
    """

    def __init__(
        self,
        base_url: str = PRODUCTION,
        *,
        api_key: str | None = None,
        token: str | None = None,
        refresh: Refresh | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        session: aiohttp.ClientSession | None = None,
        connections: int = 100,
        timeout_s: float = 30,
        attempt_timeout_s: float = 10,
        attempts: int = 3,
        per_minute: int | None = 120,
        wait_for_turn: bool = True,
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
            if number is not None and not number > 0:
                raise InvalidField(name, "must be more than 0")
        self._lent = session
        self._session: aiohttp.ClientSession | None = None
        self._entered = False
        self._connections = connections
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._wait_for_turn = wait_for_turn
        self._clock = clock
        self._sleep = sleep
        self._retries = Retries(
            attempts, wait_for_turn, clock, sleep, random or chance.Random(), self._count_retry
        )
        self._per_minute = per_minute
        self._pace = Pace(limit=per_minute, clock=clock)
        self._breaker = Breaker(failures=failures, cooldown_s=cooldown_s, clock=clock)
        self._counters = _Counters()
        self._dated: list[Dated] = []

    def __repr__(self) -> str:
        return f"<CalComClient: {self._base}, {self._credentials!r}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ClientClosed
        self._entered = True
        self._session = self._lent or new_session(self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        try:
            await self._credentials.aclose()
        finally:
            if session is not None and session is not self._lent:
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
        format: Format = "range",
        time_zone: str | None = None,
        slot_minutes: int | None = None,
        booking_uid_to_reschedule: str | None = None,
    ) -> list[RemoteSlot]:
        """Return the slots that lie inside the span, in order of start.

        Whose, is said by one of four groups: ``event_type_id``; ``username`` and
        ``event_type_slug``; ``team_slug`` and ``event_type_slug``; or at least two
        ``usernames`` and their ``organization_slug``, which is optional for the
        second and third.  Anything else is an `InvalidField`.

        The span is what it says: an ``end`` at midnight is that midnight, not the
        end of the day.  The remote rounds starts to a grid in ``time_zone``, an
        IANA name; the slots are in UTC nevertheless.
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
        return await self._call("slots", "GET", f"{SLOTS_PATH}?{query}", parse_slots)

    async def reserve(
        self,
        event_type_id: int,
        start: datetime,
        *,
        slot_minutes: int | None = None,
        reservation_minutes: int | None = None,
        claim: Claim | None = None,
    ) -> RemoteReservation:
        """Hold a slot for ``reservation_minutes``, usually 5; other times need credentials.

        ``slot_minutes`` is for event types of several lengths only.  Raises
        `RemoteConflict` if the time is taken.
        """
        body = reservation_body(
            event_type_id,
            start,
            slot_minutes=slot_minutes,
            reservation_minutes=reservation_minutes,
        )
        return await self._call(
            "reserve", "POST", RESERVATIONS_PATH, parse_reservation, body, claim
        )

    async def get(self, uid: str) -> RemoteReservation | None:
        """Return a hold, None if there is none; one that is over may still be there."""
        return await self._call("get", "GET", reservation_path(uid), parse_found)

    async def update(
        self,
        uid: str,
        event_type_id: int,
        start: datetime,
        *,
        slot_minutes: int | None = None,
        reservation_minutes: int | None = None,
        claim: Claim | None = None,
    ) -> RemoteReservation:
        """Put a hold in another place, and begin its time anew.

        It replaces all: lengths that are left out fall back to the usual ones.
        The original finds the hold itself in its way, and raises
        `RemoteConflict` for a time that overlaps its old one.
        """
        path = reservation_path(uid)
        body = reservation_body(
            event_type_id,
            start,
            slot_minutes=slot_minutes,
            reservation_minutes=reservation_minutes,
        )
        return await self._call("update", "PATCH", path, parse_reservation, body, claim)

    async def delete(self, uid: str, *, claim: Claim | None = None) -> None:
        """Release a hold; of one that is over, or never was, that is as good as done."""
        await self._call("delete", "DELETE", reservation_path(uid), parse_done, None, claim)

    @property
    def per_minute(self) -> int | None:
        """How many requests are sent in any minute at most; None for no limit."""
        return self._per_minute

    def claim(self, turns: int) -> Claim:
        """Return a claim on so many requests that can be sent at once, ahead of all others.

        Hand it to `reserve`, `update` and `delete`: each uses a turn of it if all
        that are left have come, and waits as usual if they have not.  So whoever
        deletes a hold to make it anew does not begin what cannot be ended.  While
        it is not given back, others wait behind it.  O(n) for n waiting.

            claim = calcom.claim(2)
            if claim.wait_s() == 0:
                await calcom.delete(hold.uid, claim=claim)
                hold = await calcom.reserve(1, start, claim=claim)
            claim.give_back()
        """
        return Claim(self._pace, turns)

    def on_date(self, listener: Dated) -> Callable[[], None]:
        """Let a listener hear the ``Date`` of every answer; what is returned ends that.

        It is called before whoever has made the request is told, with the date
        (UTC, in whole seconds, rounded down) and how many seconds ago, by the
        client's clock, the request was sent: the answer was made since then.
        It must be quick, and not raise.

            stop = calcom.on_date(lambda date, took_s: print(date))
        """
        self._dated.append(listener)
        return lambda: self._dated.remove(listener)

    def statistics(self) -> ClientStatistics:
        """Return what was done so far, and how things are.  O(1)."""
        counters = self._counters
        return ClientStatistics(
            calls=counters.calls,
            sent=counters.sent,
            retried=counters.retried,
            refused=counters.refused,
            failed=counters.failed,
            unreachable=counters.unreachable,
            opened=self._breaker.opened,
            circuit=self._breaker.circuit,
            under_way=self._pace.under_way,
            waiting=self._pace.waiting,
        )

    # --- A call, and its tries ---------------------------------------------------------

    async def _call(
        self,
        operation: str,
        method: str,
        path: str,
        parse: Callable[[bytes], T],
        body: bytes | None = None,
        claim: Claim | None = None,
    ) -> T:
        self._open_session()
        deadline = self._clock() + self._timeout_s
        call = _Call(operation, method, path, body, deadline, self._credentials.headers, claim)
        self._counters.calls += 1
        try:
            return await self._authorized(call, parse)
        except OutcomeUnknown:
            raise
        except (RemoteError, ClientClosed):
            if call.doubt is None:
                raise
        # The last try was certainly not done, but one before it may have been.
        raise call.doubt

    async def _authorized(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        try:
            return await self._tries(call, parse)
        except RemoteDenied as denied:
            if denied.status != 401 or not await self._refresh(call):
                raise
        self._count_retry()
        return await self._tries(call, parse)

    async def _refresh(self, call: _Call) -> bool:
        return await self._credentials.refresh(call.headers, call.deadline - self._clock())

    async def _tries(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        return await self._retries.run(self._try, call.method, call.deadline, call, parse)

    def _count_retry(self) -> None:
        self._counters.retried += 1

    async def _try(self, call: _Call, parse: Callable[[bytes], T]) -> T:
        """Send one request, when its time has come."""
        self._check_breaker(call)  # before waiting for a turn
        await self._turn(call)
        self._check_breaker(call)  # and again: nothing else happens until it is passed
        session = self._open_session()
        with self._breaker.passage() as passage, self._pace.request():
            call.headers = self._credentials.headers
            outcome = await self._exchange(session, call)
            try:
                value = self._judge(call, outcome, parse)
            except (RemoteFailed, OutcomeUnknown, RemoteUnreachable) as error:
                if passage.failed():
                    logger.warning("the remote is taken to be down, after %s", error)
                raise
            except RemoteRefused:
                passage.succeeded()
                raise
            passage.succeeded()
            return value

    def _check_breaker(self, call: _Call) -> None:
        if closed_for_s := self._breaker.closed_for_s():
            raise RemoteDown(call.operation, closed_for_s)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise ClientClosed
        return self._session

    async def _turn(self, call: _Call) -> None:
        """Return when the rate limit lets a request pass; nothing may come between."""
        claim, call.claim = call.claim, None  # what is left of it is for others
        if claim is not None and claim.use():
            return
        number = self._pace.join(first=claim is not None)
        try:
            while wait_s := self._pace.wait_s(number):
                if not self._wait_for_turn or self._clock() + wait_s >= call.deadline:
                    said = "not sent, to stay under the remote's limit"
                    raise RateLimited(call.operation, 429, HELD_BACK, said, None, wait_s)
                await self._sleep(wait_s)
        finally:
            self._pace.leave(number)

    # --- A request, and its answer -----------------------------------------------------

    async def _exchange(self, session: aiohttp.ClientSession, call: _Call) -> Answer | Lost:
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
        left_s = max(_LEAST_S, call.deadline - sent_at)
        outcome = await exchange(
            session,
            call.method,
            self._base + call.path,
            headers=headers,
            body=call.body,
            timeout_s=min(self._attempt_timeout_s, left_s),
        )
        if self._dated and isinstance(outcome, Answer):
            self._tell_date(outcome, self._clock() - sent_at)
        return outcome

    def _tell_date(self, answer: Answer, took_s: float) -> None:
        date = answer.date()
        if date is not None:
            for listener in tuple(self._dated):
                listener(date, took_s)

    def _judge(self, call: _Call, outcome: Answer | Lost, parse: Callable[[bytes], T]) -> T:
        """Return what the answer says, or raise what it means."""
        if isinstance(outcome, Lost):
            if outcome.sent:
                raise self._failure(call, outcome.problem, None)
            self._counters.unreachable += 1
            raise RemoteUnreachable(call.operation, outcome.problem)
        self._heed(outcome)
        status = outcome.status
        if 200 <= status < 300:
            try:
                return parse(outcome.raw)
            except Unreadable as unreadable:
                problem = f"{status}, but {unreadable}"
            raise self._failure(call, problem, outcome)
        if 400 <= status < 500 or status in _ELSEWHERE:
            self._counters.refused += 1
            raise refusal(call.operation, outcome, self._credentials.clear)
        raise self._failure(call, f"status {status}", outcome)

    def _failure(self, call: _Call, problem: str, answer: Answer | None) -> RemoteError:
        self._counters.failed += 1
        facts: tuple[int | None, str | None, str, str] = None, None, "", ""
        if answer is not None:
            clear = self._credentials.clear
            facts = answer.status, answer.request_id(clear), *answer.said(clear)
        if not call.changes:
            return RemoteFailed(call.operation, problem, *facts)
        call.doubt = OutcomeUnknown(call.operation, problem, *facts)
        return call.doubt

    def _heed(self, answer: Answer) -> None:
        """Pause when the remote says that it will refuse, or does."""
        left = answer.remaining()
        if answer.status == 429 or left == 0:
            self._pace.pause(answer.reset_s())
        elif left is not None:
            self._pace.heard(left, answer.reset_s())
