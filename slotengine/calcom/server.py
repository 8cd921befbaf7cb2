"""Cal.com's slots API (2024-09-04), served from an engine: search, and reservations.

``GET /v2/slots`` is `search`'s, ``/v2/slots/reservations[/{uid}]`` `reservations`',
and what the server says of itself, ``/openapi.json`` and ``/docs``, `pages`'.
What stands on the wire is `slots_wire`'s and `wire`'s, what can be reserved the
catalog's, and whether it can be had the engine's.  Here it is put together, with
what every endpoint checks.

`create_app` makes an aiohttp application, to run or to embed; `serve` runs one
until it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

import orjson
from aiohttp import web

from slotengine.calcom.answers import (
    CALLER,
    CATALOG,
    ENGINE,
    PREFLIGHT,
    THROTTLE,
    TRAFFIC,
    Reply,
    path_of,
    refusal,
    respond,
)
from slotengine.calcom.bodies import LARGEST_BODY, NOT_DECODED, expected
from slotengine.calcom.callers import caller_of
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.connection import Connection, Outbox
from slotengine.calcom.openapi import document
from slotengine.calcom.pages import NAMES, Pages
from slotengine.calcom.rates import UNLIMITED, RateLimits
from slotengine.calcom.reservations import Reservations
from slotengine.calcom.search import SlotSearch
from slotengine.calcom.throttle import Throttle
from slotengine.calcom.traffic import Traffic
from slotengine.calcom.whole import Whole
from slotengine.calcom.wire import VERSION, HttpError, error_body, stamp
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid

__all__ = ["ENGINE", "create_app", "serve"]

WHOLE: Final = web.AppKey("whole", Whole)
NOWHERE: Final = "nowhere"
"""The route of all that is no endpoint: without one, aiohttp itself answers an unknown Expect."""

logger = logging.getLogger(__name__)


# --- The application -------------------------------------------------------------------


def create_app(
    catalog: Catalog,
    *,
    engine: SlotEngine | None = None,
    clock: Clock | None = None,
    enforce_availability: bool = True,
    rate_limits: RateLimits = UNLIMITED,
) -> web.Application:
    """Return an application that serves a catalog.

    Without an ``engine`` it makes one, on the ``clock`` if given, and runs it
    from startup to cleanup.  A lent engine must be running at startup, and
    remains the caller's; the catalog's users, event types, bookings and
    calendars are added to it.

    With ``enforce_availability``, reservations outside working hours, in the
    past, at too short notice or too far ahead are refused; the original accepts
    them.

    Callers are held to the catalog's rate limits; if it says nothing of them, to
    ``rate_limits``, which is nothing here and the original's in `serve`: whoever
    embeds the application may have limits of their own.

        app = create_app(load_catalog("examples/catalog.toml"))
        web.run_app(app)
    """
    if engine is not None and clock is not None:
        raise ValueError("an engine that is lent has its clock already")
    serving = engine if engine is not None else SlotEngine(clock=clock)
    app = web.Application(middlewares=[_answer], client_max_size=LARGEST_BODY)
    app[ENGINE] = serving
    app[CATALOG] = catalog
    app[TRAFFIC] = Traffic()
    app[THROTTLE] = Throttle(catalog.rate_limits or rate_limits)
    reservations = Reservations(catalog, serving, enforce_availability=enforce_availability)
    search = SlotSearch(catalog, serving, reservations.find)

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with contextlib.nullcontext() if engine is not None else _running(serving):
            search.know(await catalog.populate(serving))
            yield

    app.cleanup_ctx.append(run)
    app[WHOLE] = Whole(app, reservations, search)
    search.add_to(app.router)
    reservations.add_to(app.router)
    Pages(document(reservations.bounds, version=VERSION)).add_to(app.router)
    app.router.add_route("*", r"/{path:[\s\S]*}", _nowhere, name=NOWHERE, expect_handler=expected)
    return app


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


NewLoop = Callable[[], asyncio.AbstractEventLoop]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer each request, one way or another."""
    if isinstance(request.protocol, Connection):
        request.protocol.head_arrived()
    traffic = request.app[TRAFFIC]
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
        return web.Response(status=204, headers=PREFLIGHT | {"X-Request-Id": new_uid()})
    shown: dict[str, str] = {}
    try:
        _check_route(request)
        app, headers = request.app, request.headers
        caller = request[CALLER] = caller_of(headers, app[CATALOG])
        account = app[THROTTLE].account(caller, headers, request.remote or "")
        if account is not None:
            admission = account.admit(app[ENGINE].now)
            shown = admission.headers()
            admission.check()
        response = await handler(request)
    except Exception as error:
        response = refusal(request, error)
    response.headers.update(shown)
    return response


def _check_route(request: web.Request) -> None:
    """Refuse what is not an endpoint; with another version's header nothing is."""
    found = request.match_info.http_exception is None
    name = request.match_info.route.name
    if found and name in NAMES:  # what the server says of itself
        return
    if not found or name == NOWHERE or request.headers.get("cal-api-version") != VERSION:
        raise HttpError(404, f"Cannot {request.method} {path_of(request.raw_path)}")


async def _nowhere(request: web.Request) -> NoReturn:
    raise AssertionError("`_check_route` refuses it")


# --- Running it ------------------------------------------------------------------------


def serve(
    catalog: Catalog,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    enforce_availability: bool = True,
    announce: Callable[[str], None] = logger.info,
    grace_s: float = 10.0,
    new_loop: NewLoop | None = None,
) -> None:
    """Serve a catalog until SIGTERM or SIGINT.

    Then it accepts no more, gives requests under way ``grace_s`` seconds to
    finish, answers those that have not sent their body by then with 503, and
    returns; a second signal ends the wait.  Once it listens, ``announce`` is
    told where, and a command to try it with; with port 0 the system chooses
    the port.  It runs on asyncio's usual event loop, or on what ``new_loop``
    makes, such as ``uvloop.new_event_loop``; which makes no difference to speak
    of: measured, 2 % of the time of a request.

    Raises `OSError` if it cannot listen there.
    """
    app = create_app(catalog, enforce_availability=enforce_availability, rate_limits=RateLimits())
    with asyncio.Runner(loop_factory=new_loop) as runner, _collecting_less():
        runner.run(_serve(app, host, port, announce, grace_s))


COLLECTED_EVERY: Final = 10_000
"""So many more objects than before make the cycle collector look for cycles; usually 700.

Holding a slot leaves a few that stay, and a collector that looks at all of them
again and again takes a tenth of the time and more."""


@contextlib.contextmanager
def _collecting_less() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.freeze()  # the catalog is there to stay
    gc.set_threshold(COLLECTED_EVERY, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


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
            app[TRAFFIC].give_up()
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
        await app[TRAFFIC].stop(grace_s)
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
    understand, outbox = runner.app[WHOLE].understand, Outbox()
    try:
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(server, _unreadable, understand, outbox, access_log=None),
            host,
            port,
            backlog=128,
        )
    except UnicodeError as error:  # no host name at all, such as "a..b"
        raise OSError(f"{host!r} is no host name: {error}") from None


def _unreadable(status: int) -> web.Response:
    message = NOT_DECODED if status == 415 else "The request is not valid HTTP"
    error = HttpError(status, message)
    return respond(Reply(status, error_body(error, path="/", now=datetime.now(UTC))))


_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What stands for all addresses of a machine, and one of them that can be connected to."""


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _example(url: str, app: web.Application) -> str:
    """Return a command that reserves something: if possible, of what is open at all hours."""
    if not app[CATALOG].event_types:
        return "there is nothing to reserve, since the catalog has no event types"
    catalog, now = app[CATALOG], app[ENGINE].now()
    always_open = (
        offer
        for offer in catalog.event_types.values()
        if not any(
            host.schedule or catalog.resources[host.resource] for host in offer.rules.hosts()
        )
    )
    offer = next(always_open, None) or next(iter(catalog.event_types.values()))
    start = (now + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    body = {"eventTypeId": offer.id, "slotStart": stamp(start)}
    return (
        f"try: curl --request POST --url {url}/v2/slots/reservations"
        f" --header 'Content-Type: application/json' --header 'cal-api-version: {VERSION}'"
        f" --data '{orjson.dumps(body).decode()}'"
    )
