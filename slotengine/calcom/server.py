"""Cal.com's reservation endpoints (slots API 2024-09-04), served from an engine.

``POST``, ``GET``, ``PATCH`` and ``DELETE`` of ``/v2/slots/reservations[/{uid}]``.
What stands on the wire is `wire`'s, what can be reserved the catalog's, and
whether it can be had the engine's; here are headers, credentials, the order of
checks, and which answer goes with which refusal.

`create_app` makes an aiohttp application, to run or to embed; `serve` runs one
until it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from slotengine.calcom.catalog import API_KEY_PREFIX, Catalog, EventType
from slotengine.calcom.connection import Connection
from slotengine.calcom.wire import (
    DONE,
    MINUTE,
    UNEXPECTED,
    VERSION,
    Bounds,
    HttpError,
    ReservationBody,
    error_body,
    parse_body,
    reservation_data,
    stamp,
    success,
)
from slotengine.core.reservation import State
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid
from slotengine.engine.values import Request, Reservation
from slotengine.errors import (
    EngineClosed,
    InvalidRequest,
    NoneFree,
    NoSeatsLeft,
    OutsideHours,
    Refused,
    SlotError,
    SlotTaken,
    StaleVersion,
    UnknownReservation,
    WrongState,
)

logger = logging.getLogger(__name__)

USUAL_HOLD_MINUTES: Final = 5
LARGEST_BODY: Final = 100 * 1024
"""In bytes, as in the original.  A sensible body has two hundred."""
BODY_TIMEOUT_S: Final = 30
_LAST_WORDS_S: Final = 1
"""How long answers to requests that were given up may take."""

ENGINE: Final = web.AppKey("slotengine", SlotEngine)
"""Where an application keeps its engine: ``app[ENGINE]``."""

STATUS: Final[dict[type[SlotError], int]] = {
    Refused: 422,
    UnknownReservation: 404,
    WrongState: 404,  # it is a reservation no longer
    InvalidRequest: 400,
    EngineClosed: 503,
}
"""The status for each error of the engine; for one that is not here, its parent's."""

_ALWAYS: Final = {"Access-Control-Allow-Origin": "*", "Server": "slotengine"}
_PREFLIGHT: Final = _ALWAYS | {
    "Access-Control-Allow-Methods": "GET,PATCH,DELETE,HEAD,POST,PUT,OPTIONS",
    "Access-Control-Allow-Headers": (
        "x-cal-client-id,x-cal-secret-key,x-cal-platform-embed,cal-api-version,"
        "Accept,Authorization,Content-Type,Origin"
    ),
    "Access-Control-Max-Age": "86400",
}
_JSON: Final = _ALWAYS | {"Content-Type": "application/json; charset=utf-8"}

# The aliases that the original rewrites.
_PREFIXES: Final = ("", "/api")
_ROOTS: Final = ("/v2", "/v2/ee")


# --- The application -------------------------------------------------------------------


def create_app(
    catalog: Catalog,
    *,
    engine: SlotEngine | None = None,
    clock: Clock | None = None,
    enforce_availability: bool = True,
) -> web.Application:
    """Return an application that serves a catalog.

    Without an ``engine`` it makes one, on the ``clock`` if given, and runs it
    from startup to cleanup.  A lent engine must be running at startup, and
    remains the caller's; the catalog's users and bookings are added to it.

    With ``enforce_availability``, reservations outside working hours or in the
    past are refused; the original accepts them.

        app = create_app(load_catalog("examples/catalog.toml"))
        web.run_app(app)
    """
    if engine is not None and clock is not None:
        raise ValueError("an engine that is lent has its clock already")
    serving = engine if engine is not None else SlotEngine(clock=clock)
    app = web.Application(middlewares=[_answer], client_max_size=LARGEST_BODY)
    app[ENGINE] = serving
    app[_CATALOG] = catalog
    app[_TRAFFIC] = _Traffic()

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with contextlib.nullcontext() if engine is not None else _running(serving):
            await catalog.populate(serving)
            yield

    app.cleanup_ctx.append(run)
    _Reservations(catalog, serving, enforce_availability=enforce_availability).add_to(app.router)
    return app


class _Traffic:
    """The requests under way, so that stopping can wait for them.

    aiohttp's own shutdown waits for handlers, but no longer reads what they
    wait for: it drops bodies that have not arrived yet.
    """

    __slots__ = ("_idle", "_waits", "given_up", "stopping", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.stopping = False
        self.given_up = False
        self._idle = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` if what is inside takes longer, or at once when giving up."""
        async with asyncio.timeout(seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def done(self) -> None:
        """Count one request less."""
        self.under_way -= 1
        if self.stopping and not self.under_way:
            self._idle.set()

    async def stop(self, grace_s: float) -> None:
        """Let connections end with the request they are at, and wait for those.

        What takes longer than the grace is given up.
        """
        self.stopping = True
        await self._until_idle(grace_s)
        self.give_up()
        await self._until_idle(_LAST_WORDS_S)

    def give_up(self) -> None:
        """Wait no longer, neither for bodies nor for the requests under way."""
        self.given_up = True
        for wait in self._waits:
            with contextlib.suppress(RuntimeError):  # it is ending already
                wait.reschedule(0)

    async def _until_idle(self, seconds: float) -> None:
        if self.under_way:
            with contextlib.suppress(TimeoutError):
                async with self.patience(seconds):
                    await self._idle.wait()


_CATALOG: Final = web.AppKey("catalog", Catalog)
_TRAFFIC: Final = web.AppKey("traffic", _Traffic)


@contextlib.asynccontextmanager
async def _running(engine: SlotEngine) -> AsyncIterator[None]:
    """Run an engine in a task of its own.

    It has a task group inside, which must be left by the task that entered it,
    and an application may be started and stopped by different ones.
    """
    ready, stop = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with engine:
            ready.set()
            await stop.wait()

    task = asyncio.create_task(run())
    task.add_done_callback(lambda _: ready.set())  # also if it fails to start
    try:
        await ready.wait()
        if not task.done():
            yield
    finally:
        stop.set()
        await task


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer each request, one way or another."""
    if isinstance(request.protocol, Connection):
        request.protocol.head_arrived()
    traffic = request.app[_TRAFFIC]
    traffic.under_way += 1
    try:
        response = await _outcome(request, handler)
    finally:
        traffic.done()
    if traffic.stopping:
        response.force_close()
    return response


async def _outcome(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check what every endpoint checks, and turn whatever goes wrong into an answer."""
    if request.method == "OPTIONS":
        return web.Response(status=204, headers=_PREFLIGHT | {"X-Request-Id": new_uid()})
    try:
        _check_route(request)
        _check_api_key(request)
        return await handler(request)
    except HttpError as error:
        return _refusal(request, error)
    except SlotError as error:
        return _refusal(request, HttpError(_status(error), str(error)))
    except Exception:
        logger.exception("%s %s failed", request.method, _path(request))
        return _respond(500, UNEXPECTED)


def _check_route(request: web.Request) -> None:
    """Refuse what is not an endpoint; with another version's header nothing is."""
    found = request.match_info.http_exception is None
    if not found or request.headers.get("cal-api-version") != VERSION:
        raise HttpError(404, f"Cannot {request.method} {_path(request)}")


def _check_api_key(request: web.Request) -> None:
    """Refuse an unknown API key, wherever it is sent."""
    token = _bearer(request)
    if token is None or not token.startswith(API_KEY_PREFIX):
        return
    if request.app[_CATALOG].api_keys.find(token) is None:
        raise HttpError(401, "CustomThrottlerGuard - Invalid API Key")


def _status(error: SlotError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _refusal(request: web.Request, error: HttpError) -> web.Response:
    try:
        now = request.app[ENGINE].now()
    except EngineClosed:
        now = datetime.now(UTC)
    response = _respond(error.status, error_body(error, path=_path(request), now=now))
    if request.content.exception() is not None:  # where the next request begins is unknown
        response.force_close()
    return response


def _respond(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers=_JSON | {"X-Request-Id": new_uid()})


_SCHEME_AND_HOST: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def _path(request: web.Request) -> str:
    """Return the request target as the original sees it: aliases rewritten."""
    path = _text(request.raw_path)
    if absolute := _SCHEME_AND_HOST.match(path):
        path = "/" + path[absolute.end() :].removeprefix("/")
    if path.startswith("/api/v2/"):
        path = path.removeprefix("/api")
    if path.startswith("/v2/ee/"):
        path = "/v2/" + path.removeprefix("/v2/ee/")
    return path


def _text(received: str) -> str:
    """Return text that can be sent back; bytes that are not UTF-8 arrive as surrogates."""
    return received.encode("utf-8", "replace").decode()


# --- Credentials -----------------------------------------------------------------------


def _bearer(request: web.Request) -> str | None:
    """Return the credentials of the Authorization header, if there is one."""
    header = request.headers.get("Authorization")
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    # Anything but a bearer token is no token of ours either, and so as good as a wrong one.
    return token.strip() if scheme.lower() == "bearer" else header


def _authenticate(request: web.Request, catalog: Catalog) -> int | None:
    """Return the id of the user who calls, None if nobody says.

    Raises `HttpError` 401 for wrong credentials, although none are needed.
    """
    client_id = request.headers.get("x-cal-client-id")
    secret = request.headers.get("x-cal-secret-key")
    if client_id and secret:
        return _oauth_owner(catalog, client_id, secret)
    token = _bearer(request)
    if token is None:
        return None
    if token.startswith(API_KEY_PREFIX):
        return catalog.api_keys.find(token)
    return _token_owner(catalog, token, request.headers.get("Origin"))


def _oauth_owner(catalog: Catalog, client_id: str, secret: str) -> int:
    client = catalog.oauth_clients.get(client_id)
    if client is None:
        shown = _text(client_id)
        raise HttpError(401, f"ApiAuthStrategy - oAuth client - Client with ID {shown} not found")
    if client.secret.find(secret) is None:
        raise HttpError(401, "ApiAuthStrategy - oAuth client - Invalid client secret")
    return client.owner_id


def _token_owner(catalog: Catalog, token: str, origin: str | None) -> int:
    access = catalog.access_tokens.find(token)
    if access is None:
        raise HttpError(401, "ApiAuthStrategy - access token - Invalid Access Token.")
    if origin is not None and access.origins is not None and origin.lower() not in access.origins:
        raise HttpError(
            401,
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        )
    return access.user_id


# --- The endpoints ---------------------------------------------------------------------


class _Wanted(NamedTuple):
    """A slot that may be asked for, by whom it is asked: all but free is known of it."""

    event_type: EventType
    start: datetime
    start_sent: str
    end: datetime
    hold_minutes: int

    def requests(self, *, in_hours: bool) -> list[Request]:
        return self.event_type.requests(
            self.start,
            self.end - self.start,
            ttl=timedelta(minutes=self.hold_minutes),
            in_hours=in_hours,
        )


class _Reservations:
    """The four endpoints."""

    def __init__(self, catalog: Catalog, engine: SlotEngine, *, enforce_availability: bool) -> None:
        self._catalog = catalog
        self._engine = engine
        self._enforce = enforce_availability
        self._bounds = _bounds(engine)
        self._ids = {str(id): id for id in catalog.event_types}  # noqa: A001

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes, with all their aliases."""
        for prefix in _PREFIXES:
            for root in _ROOTS:
                for slash in ("", "/"):
                    path = f"{prefix}{root}/slots/reservations"
                    router.add_post(path + slash, self.post, expect_handler=_expected)
                    one = router.add_resource(path + "/{uid:[^/]+}" + slash)
                    one.add_route("GET", self.get)
                    one.add_route("HEAD", self.get)
                    one.add_route("PATCH", self.patch, expect_handler=_expected)
                    one.add_route("DELETE", self.delete)

    async def post(self, request: web.Request) -> web.Response:
        """Hold a slot."""
        user_id = _authenticate(request, self._catalog)
        body = await self._read(request)
        _check_caller(user_id, body)
        wanted = self._admit(user_id, body)
        try:
            held = await self._reserve(wanted)
        except Refused as refusal:
            raise _explained(refusal, wanted) from None
        return _respond(201, self._shown(held, wanted.hold_minutes))

    async def get(self, request: web.Request) -> web.Response:
        """Read a hold; one that has expired too, for as long as the engine remembers it."""
        found = await self._find(request.match_info["uid"])
        if found is None or found.state not in {State.HELD, State.EXPIRED}:
            return _respond(200, success(None))
        return _respond(200, self._shown(found))

    async def patch(self, request: web.Request) -> web.Response:
        """Move a hold to another slot, or leave it where it is; and renew it."""
        body = await self._read(request)
        # Who calls does not matter here, unless something is asked for that not all may have.
        asks_for_more = body.reservation_duration is not None
        user_id = _authenticate(request, self._catalog) if asks_for_more else None
        _check_caller(user_id, body)
        uid = request.match_info["uid"]
        held = await self._held(uid)
        wanted = self._admit(user_id, body)
        while True:
            try:
                moved = await self._move(held, wanted)
                return _respond(200, self._shown(moved, wanted.hold_minutes))
            except StaleVersion:  # somebody else has changed it; look again
                held = await self._held(uid)
            except (UnknownReservation, WrongState):
                raise _no_slot(uid) from None
            except Refused as refusal:
                raise _explained(refusal, wanted) from None

    async def delete(self, request: web.Request) -> web.Response:
        """Release a hold; whatever else the uid is, leave it alone."""
        uid = request.match_info["uid"]
        while (held := await self._find(uid)) is not None and held.state is State.HELD:
            try:
                await self._engine.release(uid, version=held.version)
            except StaleVersion:  # somebody else has changed it; look again
                continue
            except (UnknownReservation, WrongState):
                pass
            break
        return _respond(200, DONE)

    # --- The steps of the endpoints ------------------------------------------------------

    async def _read(self, request: web.Request) -> ReservationBody:
        sent_as = request.headers.get("Content-Type", "application/json")
        if sent_as != "application/json" and (
            request.content_type != "application/json"
            or (request.charset or "utf-8").lower() != "utf-8"
        ):
            raise HttpError(415, "The body must be application/json, in UTF-8")
        return parse_body(await _received(request), self._bounds)

    def _admit(self, user_id: int | None, body: ReservationBody) -> _Wanted:
        """Check all that does not depend on what is taken, in the contract's order."""
        event_type = self._catalog.event_types.get(body.event_type_id)
        if event_type is None:
            raise HttpError(404, f"Event Type with ID={body.event_type_id} not found")
        if body.reservation_duration is not None and user_id not in event_type.permitted:
            raise HttpError(403, _FORBIDDEN)
        start = body.slot_start.moment
        if start is None or start < event_type.earliest:
            raise HttpError(400, "Invalid start date")
        length = _slot_minutes(event_type, body.slot_duration)
        try:
            end = event_type.end(start, length)
        except OverflowError:
            raise HttpError(400, "Invalid end date") from None
        if self._enforce and start < self._engine.now():
            raise HttpError(422, "This time slot is in the past. Please choose a different time.")
        hold_minutes = body.reservation_duration or self._usual_hold_minutes
        return _Wanted(event_type, start, body.slot_start.text, end, hold_minutes)

    @property
    def _usual_hold_minutes(self) -> int:
        least, most = self._bounds
        return max(least, min(USUAL_HOLD_MINUTES, most or USUAL_HOLD_MINUTES))

    async def _reserve(self, wanted: _Wanted) -> Reservation:
        requests = wanted.requests(in_hours=self._enforce)
        if not wanted.event_type.round_robin:
            return await self._engine.reserve_request(requests[0])
        return await self._engine.reserve_any(
            requests, policy=wanted.event_type.policy, weights=wanted.event_type.weights
        )

    async def _move(self, held: Reservation, wanted: _Wanted) -> Reservation:
        requests = wanted.requests(in_hours=self._enforce)
        if not wanted.event_type.round_robin:
            return await self._engine.move_request(held.uid, requests[0], version=held.version)
        # Who has it keeps it if they can: renewing a hold must not change hands.
        hosts = frozenset(held.resources)
        for candidate, request in zip(wanted.event_type.candidates, requests, strict=True):
            if candidate.resources == hosts:
                with contextlib.suppress(SlotTaken, OutsideHours):
                    return await self._engine.move_request(held.uid, request, version=held.version)
        return await self._engine.move_any(
            held.uid,
            requests,
            policy=wanted.event_type.policy,
            weights=wanted.event_type.weights,
            version=held.version,
        )

    async def _find(self, uid: str) -> Reservation | None:
        """Return a reservation of the catalog's; a lent engine may have others."""
        found = await self._engine.get(uid)
        return found if found is not None and found.event_type in self._ids else None

    async def _held(self, uid: str) -> Reservation:
        held = await self._find(uid)
        if held is None or held.state is not State.HELD:
            raise _no_slot(uid)
        return held

    def _shown(self, reservation: Reservation, hold_minutes: int | None = None) -> bytes:
        """Return the success envelope of a hold of the catalog's."""
        until = reservation.until
        assert until is not None
        assert reservation.event_type is not None
        return success(
            reservation_data(
                event_type_id=self._ids[reservation.event_type],
                start=reservation.start,
                end=reservation.end,
                uid=reservation.uid,
                until=until,
                reservation_minutes=hold_minutes,
            )
        )


_FORBIDDEN: Final = (
    "authenticated user is not owner of event type, does not have memberships in common with "
    "owner of the event type, nor does belong to event type's team or org."
)


def _bounds(engine: SlotEngine) -> Bounds:
    """Return how many whole minutes the engine lets a hold live."""
    shortest, longest = engine.ttl_bounds
    return Bounds(max(1, -(-shortest // MINUTE)), longest // MINUTE)


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """Ask for a body that waits to be asked for, unless it will be refused anyway."""
    if request.headers["Expect"].lower() != "100-continue":
        return _refusal(request, HttpError(417, "The only Expect is 100-continue"))
    if request.version >= HttpVersion11 and not _is_too_large(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun
    return None


def _is_too_large(request: web.Request) -> bool:
    return (request.content_length or 0) > LARGEST_BODY


_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})
_NOT_DECODED: Final = "The Content-Encoding must be gzip, deflate or identity"
_TOO_LARGE: Final = f"The body is larger than {LARGEST_BODY} bytes"


async def _received(request: web.Request) -> bytes:
    """Return the raw body, however it arrives."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in _ENCODINGS:
        raise HttpError(415, _NOT_DECODED)
    if _is_too_large(request):  # or whoever announces it could keep us waiting
        raise HttpError(413, _TOO_LARGE)
    traffic = request.app[_TRAFFIC]
    try:
        if request.content.is_eof():  # nearly always: it came along with its head
            return await request.read()
        async with traffic.patience(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        if traffic.given_up:
            request.content.feed_eof()  # or aiohttp goes on waiting for the rest
            raise HttpError(503, "The server is stopping; try again") from None
        raise HttpError(408, f"The body did not arrive within {BODY_TIMEOUT_S} seconds") from None
    except ConnectionError:
        logger.debug("%s %s: the client went away", request.method, _path(request))
        raise HttpError(400, "The body did not arrive") from None  # nobody will read it
    except web.HTTPRequestEntityTooLarge:
        raise HttpError(413, _TOO_LARGE) from None
    except (web.RequestPayloadError, HttpProcessingError):
        # Nothing more can be read of it; otherwise aiohttp tries, fails, and logs that.
        request.content.feed_eof()
        raise HttpError(400, "The body cannot be read: its encoding is broken") from None


def _check_caller(user_id: int | None, body: ReservationBody) -> None:
    if body.reservation_duration is not None and user_id is None:
        raise HttpError(
            401,
            "reservationDuration can only be used for authenticated requests - "
            "use access token, api key or OAuth credentials",
        )


def _slot_minutes(event_type: EventType, asked: int | None) -> int:
    if asked is None:
        return event_type.length
    if not event_type.lengths:
        raise HttpError(
            400,
            "You passed 'slotDuration' but this event type is not a variable length event type.",
        )
    if asked not in event_type.lengths:
        raise HttpError(
            400,
            "Provided 'slotDuration' is not one of the possible lengths for the event type. "
            "The possible lengths for this variable length event type are: "
            + ", ".join(map(str, event_type.lengths)),
        )
    return asked


def _no_slot(uid: str) -> HttpError:
    return HttpError(404, f"Slot with uid={_text(uid)} not found")


# --- Refusals, in the words of the original --------------------------------------------

_RESERVED: Final = (
    "This time slot is already reserved by another user. Please choose a different time."
)
_BOOKED: Final = "Can't reserve a slot if the event is already booked."
_NO_HOSTS: Final = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)
_CLOSED: Final = "This time slot is outside working hours. Please choose a different time."


def _explained(refusal: Refused, wanted: _Wanted) -> HttpError:
    return HttpError(_status(refusal), _reason(refusal, wanted))


def _reason(refusal: Refused, wanted: _Wanted) -> str:
    match refusal:
        case NoSeatsLeft():
            # The original calls the event type a booking here, and clients may know the text.
            shown = f"Booking with id={wanted.event_type.id} at {wanted.start_sent}"
            return f"{shown} has no more seats left."
        case SlotTaken():
            return _BOOKED if _is_booked(refusal) else _RESERVED
        case OutsideHours():
            return _CLOSED
        case NoneFree():
            return _why_none(refusal, wanted)
        case _:
            return str(refusal)


def _is_booked(refusal: SlotTaken) -> bool:
    """Tell whether a booking is in the way, on any of the hosts: not only on the refused one.

    A host can be in one place at a time, so that whatever is in the way must
    end first; and only a booking never lapses.
    """
    return refusal.retry_at is None


def _why_none(none_free: NoneFree, wanted: _Wanted) -> str:
    """Say why none is free: nobody works then, the session is full, a fixed host is booked..."""
    refusals = none_free.refusals
    if all(isinstance(each, OutsideHours) for each in refusals):
        return _CLOSED
    full = next((each for each in refusals if isinstance(each, NoSeatsLeft)), None)
    if full is not None:
        return _reason(full, wanted)
    for each in refusals:
        if (
            isinstance(each, SlotTaken)
            and each.resource in wanted.event_type.fixed
            and any(one.booked for one in each.in_the_way)
        ):
            return _BOOKED
    return _NO_HOSTS


# --- Running it ------------------------------------------------------------------------


def serve(
    catalog: Catalog,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    enforce_availability: bool = True,
    announce: Callable[[str], None] = logger.info,
    grace_s: float = 10.0,
) -> None:
    """Serve a catalog until SIGTERM or SIGINT.

    Then it accepts no more, gives requests under way ``grace_s`` seconds to
    finish, answers those that have not sent their body by then with 503, and
    returns; a second signal ends the wait.  Once it listens, ``announce`` is
    told where, and a command to try it with; with port 0 the system chooses
    the port.

    Raises `OSError` if it cannot listen there.
    """
    app = create_app(catalog, enforce_availability=enforce_availability)
    asyncio.run(_serve(app, host, port, announce, grace_s))


async def _serve(
    app: web.Application,
    host: str,
    port: int,
    announce: Callable[[str], None],
    grace_s: float,
) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():  # whoever says it twice is in a hurry
            app[_TRAFFIC].give_up()
        stop.set()

    _on_signal(on_signal)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = await _listen(runner, host, port)
        url = _url(listener)
        announce(f"Listening on {url} - {_example(url, app)}")
        await stop.wait()
        listener.close()
        await app[_TRAFFIC].stop(grace_s)
    finally:
        await runner.cleanup()


def _on_signal(callback: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


async def _listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
    server = runner.server
    assert server is not None
    try:
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(server, _unreadable, access_log=None), host, port, backlog=128
        )
    except UnicodeError as error:  # no host name at all, such as "a..b"
        raise OSError(f"{host!r} is no host name: {error}") from None


def _unreadable(status: int) -> web.Response:
    message = _NOT_DECODED if status == 415 else "The request is not valid HTTP"
    error = HttpError(status, message)
    return _respond(status, error_body(error, path="/", now=datetime.now(UTC)))


_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What stands for all addresses of a machine, and one of them that can be connected to."""


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _example(url: str, app: web.Application) -> str:
    """Return a command that reserves something: if possible, of what is open at all hours."""
    if not app[_CATALOG].event_types:
        return "there is nothing to reserve, since the catalog has no event types"
    catalog, now = app[_CATALOG], app[ENGINE].now()
    always_open = (
        event_type
        for event_type in catalog.event_types.values()
        if event_type.candidates[0].schedule is None
        and not any(catalog.resources[id] for id in event_type.candidates[0].resources)  # noqa: A001
    )
    event_type = next(always_open, None) or next(iter(catalog.event_types.values()))
    start = (now + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    body = {"eventTypeId": event_type.id, "slotStart": stamp(start)}
    return (
        f"try: curl --request POST --url {url}/v2/slots/reservations"
        f" --header 'Content-Type: application/json' --header 'cal-api-version: {VERSION}'"
        f" --data '{orjson.dumps(body).decode()}'"
    )
