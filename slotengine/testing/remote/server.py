"""The stand-in's server: routes, headers, the steps of a request, and faults in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import unquote

import orjson
from aiohttp import web

from slotengine.calcom.wire import DONE, UNEXPECTED, HttpError, success
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.clock import Clock, SystemClock
from slotengine.testing.remote.auth import (
    Credentials,
    Limiter,
    RateLimits,
    RemoteAccessToken,
    RemoteApiKey,
    RemoteOAuthClient,
    Throttled,
)
from slotengine.testing.remote.directory import (
    Directory,
    RemoteEventType,
    RemoteOrganization,
    RemoteTeam,
    RemoteUser,
)
from slotengine.testing.remote.faults import (
    At,
    Cut,
    Error429,
    Exchange,
    Faults,
    Latency,
    Op,
    Wait,
)
from slotengine.testing.remote.listener import Listener
from slotengine.testing.remote.query import parse_query
from slotengine.testing.remote.responses import Answer, BareError, refusal
from slotengine.testing.remote.rules import (
    USUAL_HOLD_MINUTES,
    check_anonymous,
    check_patch,
    check_permission,
    check_post,
    event_type_of,
    read_body,
    shown,
    wanted_by,
)
from slotengine.testing.remote.search import Cache, resolve, search
from slotengine.testing.remote.tables import RemoteBooking, SelectedSlot, Status, Tables, Wanted

logger = logging.getLogger(__name__)

VERSION: Final = "2024-09-04"
STALE: Final = timedelta(seconds=2)
"""How long the response to a search is reused."""

_SLOTS: Final = "/v2/slots"
_RESERVATIONS: Final = "/v2/slots/reservations"


class RemoteCalCom:
    """A stand-in for Cal.com's slots API (2024-09-04), on a free port of 127.0.0.1.

    It behaves like the original, defects included, and fails as `faults` says.  The
    test can read and change its tables without a request.  Concurrent requests race
    as in the original; sequential ones do not.

    The time is the ``clock``'s plus `skew`.  With a `slotengine.testing.SimClock`
    nothing here waits: reused searches and rate limits follow the clock alone.

    >>> import aiohttp
    >>> from slotengine.testing import SimClock
    >>> from datetime import UTC
    >>> async def main():
    ...     clock = SimClock(datetime(2050, 9, 5, 6, tzinfo=UTC))
    ...     async with RemoteCalCom([RemoteEventType(id=1)], clock=clock) as remote:
    ...         body = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"}
    ...         headers = {"cal-api-version": "2024-09-04"}
    ...         async with aiohttp.ClientSession(remote.url, headers=headers) as session:
    ...             for _ in range(2):
    ...                 async with session.post("/v2/slots/reservations", json=body) as answer:
    ...                     print(answer.status)
    ...         print(len(remote.rows), [one.effect for one in remote.log])
    >>> asyncio.run(main())
    201
    422
    1 ['reserved', None]

    :raises ValueError: if two event types have the same id.
    """

    def __init__(
        self,
        event_types: Iterable[RemoteEventType],
        *,
        users: Iterable[RemoteUser] = (),
        teams: Iterable[RemoteTeam] = (),
        organizations: Iterable[RemoteOrganization] = (),
        api_keys: Iterable[RemoteApiKey] = (),
        access_tokens: Iterable[RemoteAccessToken] = (),
        oauth_clients: Iterable[RemoteOAuthClient] = (),
        limits: RateLimits | None = None,
        stale: timedelta = STALE,
        clock: Clock | None = None,
        skew: timedelta = timedelta(0),
    ) -> None:
        self.skew = skew
        """How far the stand-in's clock is ahead; negative if it is behind."""
        self.faults = Faults()
        """The faults of requests."""
        self.log: list[Exchange] = []
        """All requests, in the order in which they arrived."""
        self.undecided = 0
        """The number of requests that were checked and have not taken effect yet."""
        self._clock = clock if clock is not None else SystemClock()
        self._directory = Directory(event_types, users, teams, organizations)
        self._credentials = Credentials(api_keys, access_tokens, oauth_clients)
        self._limiter = Limiter(limits or RateLimits(), self._credentials)
        self._cache = Cache(stale)
        self._tables = Tables()
        self._replica: Tables | None = None
        self._listener = Listener(self._serve, self.now)

    # --- Listening -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listener.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening; requests that wait at a gate are cut."""
        await self._listener.close()

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:40123``; the same before and after `down`."""
        return f"http://127.0.0.1:{self._listener.port}"

    async def down(self) -> None:
        """Cut all connections, and refuse new ones until `up`; the tables stay."""
        self._listener.hang_up()

    async def up(self) -> None:
        """Listen again, on the same port."""
        await self._listener.listen()

    def lag(self) -> None:
        """Check requests against the tables as they are now, until `catch_up`.

        The original's checks may read a replica of its database that lags behind.
        """
        self._replica = self._tables.copy()

    def catch_up(self) -> None:
        """Check requests against the current tables again."""
        self._replica = None

    # --- For the test --------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the stand-in's time, in whole milliseconds."""
        now = from_us(self._clock.now()) + self.skew
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    @property
    def rows(self) -> tuple[SelectedSlot, ...]:
        """All rows of holds, expired ones included."""
        return tuple(self._tables.rows)

    @property
    def bookings(self) -> tuple[RemoteBooking, ...]:
        """All bookings, cancelled ones included."""
        return tuple(self._tables.bookings)

    def live(self, event_type_id: int | None = None) -> tuple[SelectedSlot, ...]:
        """Return the live holds: all, or those of one event type."""
        return tuple(
            row
            for row in self._tables.live(self.now())
            if event_type_id in {None, row.event_type_id}
        )

    def hold(
        self,
        event_type_id: int,
        start: datetime,
        *,
        length: int | None = None,
        minutes: int = USUAL_HOLD_MINUTES,
        uid: str | None = None,
    ) -> SelectedSlot:
        """Hold a slot for another caller, without any check.

        Raises `LookupError` for an unknown event type, `InvalidField` for a naive start.
        """
        event_type = self._event_type(event_type_id)
        start, end = _span(event_type, start, length)
        wanted = Wanted(event_type, start, "", end, minutes)
        return self._tables.insert(wanted, event_type.takers[0].user_id, self.now(), uid=uid)

    def release(self, uid: str) -> int:
        """Remove all rows of a uid, and return their number."""
        return self._tables.delete(uid)

    def book(
        self,
        event_type_id: int,
        start: datetime,
        *,
        length: int | None = None,
        status: Status = Status.ACCEPTED,
        attendees: int = 1,
        user_ids: Iterable[int] | None = None,
    ) -> RemoteBooking:
        """Book a slot, without any check.

        The first of ``user_ids`` owns it.  By default these are the owner, or all
        hosts; with round robin, the first host and all fixed ones.

        Raises `LookupError` for an unknown event type, `InvalidField` for a naive start.
        """
        event_type = self._event_type(event_type_id)
        start, end = _span(event_type, start, length)
        if user_ids is None:
            user_ids = (
                host.user_id
                for index, host in enumerate(event_type.takers)
                if not event_type.round_robin or host.fixed or index == 0
            )
        return self._tables.book(
            event_type,
            start,
            end,
            user_ids=tuple(user_ids),
            status=status,
            attendees=attendees,
        )

    def cancel(self, uid: str) -> RemoteBooking:
        """Cancel a booking, and return it.  Raises `LookupError` if there is none."""
        return self._tables.cancel(uid)

    def _event_type(self, id: int) -> RemoteEventType:
        event_type = self._directory.find_event_type(id)
        if event_type is None:
            raise LookupError(id)
        return event_type

    # --- One request, from arrival to response -------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> Answer:
        """Return the response to a request.  Raises `Cut`."""
        path = rewritten(request.raw_path)
        op, uid = _route(request.method, path, request.headers.get("cal-api-version"))
        exchange = Exchange(self.now(), request.method, path, op, uid)
        self.log.append(exchange)
        exchange.faults = self.faults.of(exchange)
        headers: dict[str, str] = {}
        try:
            answer = await self._answer(_Asked(request, exchange, headers))
        except (HttpError, BareError) as error:
            answer = refusal(error, path=path, now=self.now())
        except Cut:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, path)
            answer = Answer(500, UNEXPECTED)
        exchange.status = answer.status
        return answer._replace(headers={**headers, **answer.headers})

    async def _answer(self, asked: _Asked) -> Answer:
        answer = await self._go_wrong(asked, At.BEFORE)
        if answer is None:
            try:
                answer = await self._perform(asked)
            except (HttpError, BareError) as error:
                answer = refusal(error, path=asked.exchange.path, now=self.now())
        return await self._go_wrong(asked, At.AFTER) or answer

    async def _go_wrong(self, asked: _Asked, at: At) -> Answer | None:
        """Apply the faults of this point; return a response to send instead, if any."""
        for fault in asked.exchange.faults:
            if fault.at is not at:
                continue
            if isinstance(fault, Wait | Latency):
                await fault.over(self._clock)
                continue
            if isinstance(fault, Error429):
                asked.headers.update(fault.headers)
            return fault.answer(asked.exchange)
        return None

    async def _perform(self, asked: _Asked) -> Answer:
        op = asked.exchange.op
        if op is None:
            exchange = asked.exchange
            raise HttpError(404, f"Cannot {exchange.method} {exchange.path}")
        try:
            address = asked.request.remote or ""
            asked.headers.update(
                self._limiter.admit(asked.request.headers, address, self._clock.now())
            )
        except Throttled as throttled:
            asked.headers.update(throttled.headers)
            raise throttled.error from None
        perform: dict[Op, Callable[[_Asked], Awaitable[Answer]]] = {
            "search": self._search,
            "post": self._post,
            "get": self._get,
            "patch": self._patch,
            "delete": self._delete,
        }
        return await perform[op](asked)

    async def _between(self, asked: _Asked) -> Answer | None:
        """Let other requests in between a check and the change that it allows."""
        self.undecided += 1
        try:
            await asyncio.sleep(0)
            return await self._go_wrong(asked, At.BETWEEN)
        finally:
            self.undecided -= 1

    # --- The endpoints -------------------------------------------------------------------

    async def _search(self, asked: _Asked) -> Answer:
        query = parse_query(asked.request.rel_url.query.items())
        offer = resolve(self._directory, query)
        if instead := await self._between(asked):
            return instead
        slots = self._cache.get(query, self._clock.now())
        if slots is None:
            if self._tables.purge(offer.event_type.id, self.now()):
                asked.exchange.effect = "purged"
            slots = search(self._tables, self._directory, offer, query, self.now())
            self._cache.put(query, slots, self._clock.now())
        return Answer(200, success(slots))

    async def _post(self, asked: _Asked) -> Answer:
        user_id = self._credentials.caller(asked.request.headers)
        body = read_body(await _received(asked.request))
        check_anonymous(body, user_id)
        event_type = event_type_of(self._directory, body)
        check_permission(self._directory, event_type, body, user_id)
        wanted = wanted_by(body, event_type)
        taker = check_post(self._replica or self._tables, wanted, self.now())
        if instead := await self._between(asked):
            return instead
        row = self._tables.insert(wanted, taker, self.now())
        asked.exchange.uid, asked.exchange.effect = row.uid, "reserved"
        return Answer(201, success(shown(row, wanted.hold_minutes)))

    async def _get(self, asked: _Asked) -> Answer:
        if instead := await self._between(asked):
            return instead
        row = self._tables.find(asked.uid)
        return Answer(200, success(None if row is None else shown(row)))

    async def _patch(self, asked: _Asked) -> Answer:
        body = read_body(await _received(asked.request))
        row = self._tables.find(asked.uid)
        if row is None:
            raise HttpError(404, f"Slot with uid={asked.uid} not found")
        wanted = wanted_by(body, event_type_of(self._directory, body))
        check_patch(self._replica or self._tables, wanted, self.now())
        if instead := await self._between(asked):
            return instead
        row = self._tables.update(row.id, wanted, self.now())
        asked.exchange.effect = "moved"
        return Answer(200, success(shown(row, wanted.hold_minutes)))

    async def _delete(self, asked: _Asked) -> Answer:
        if instead := await self._between(asked):
            return instead
        if self._tables.delete(asked.uid):
            asked.exchange.effect = "released"
        return Answer(200, DONE)


class _Asked(NamedTuple):
    """A request in progress, and the headers of its response."""

    request: web.BaseRequest
    exchange: Exchange
    headers: dict[str, str]

    @property
    def uid(self) -> str:
        """The reservation that it names."""
        assert self.exchange.uid is not None
        return self.exchange.uid


def _span(
    event_type: RemoteEventType, start: datetime, length: int | None
) -> tuple[datetime, datetime]:
    start = from_us(to_us(start, "start"))
    return start, start + timedelta(minutes=event_type.length if length is None else length)


# --- Requests ----------------------------------------------------------------------------


def rewritten(target: str) -> str:
    """Return a request target with aliases rewritten, as in the original.

    >>> rewritten("/api/v2/slots?start=1"), rewritten("/v2/ee/slots")
    ('/v2/slots?start=1', '/v2/slots')
    """
    if target.startswith("/api/v2/"):
        target = target.removeprefix("/api")
    if target.startswith("/v2/ee/"):
        target = "/v2/" + target.removeprefix("/v2/ee/")
    return target


def _route(method: str, target: str, version: str | None) -> tuple[Op | None, str | None]:
    """Return the endpoint, and the uid in the path.

    Other API versions have other endpoints, none of which are here.
    """
    path = target.partition("?")[0].removesuffix("/")
    method = "GET" if method == "HEAD" else method
    if version != VERSION:
        return None, None
    if path == _SLOTS:
        return ("search" if method == "GET" else None), None
    if path == _RESERVATIONS:
        return ("post" if method == "POST" else None), None
    parent, _, uid = path.rpartition("/")
    ops: dict[str, Op] = {"GET": "get", "PATCH": "patch", "DELETE": "delete"}
    if parent == _RESERVATIONS and method in ops:
        return ops[method], unquote(uid)
    return None, None


async def _received(request: web.BaseRequest) -> dict[str, Any]:
    raw = await request.read()
    try:
        sent = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise HttpError(400, str(error)) from None
    if not isinstance(sent, dict):
        raise HttpError(400, "The body must be a JSON object")
    return sent
