"""Cal.com's slots API (2024-09-04) over aiohttp: an application to run or to embed.

`service` decides what is answered; this file is the only one that knows aiohttp.
`create_app` makes an application, and `serve` runs one until it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.quotas import DEFAULT_QUOTAS, CallerQuotas
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimits
from slotengine.calcom.server.bodies import BROKEN, LARGEST_BODY, TOO_LARGE
from slotengine.calcom.server.messages import UPGRADE, Body, Head, Refusal, Response
from slotengine.calcom.server.responses import Reply, respond
from slotengine.calcom.server.service import Admitted, Service
from slotengine.calcom.server.traffic import LAST_WORDS_S, Traffic
from slotengine.calcom.wire import VERSION, HttpError, error_body, stamp
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine

__all__ = ["ENGINE", "create_app", "serve"]

ENGINE: Final = web.AppKey("slotengine", SlotEngine)
"""Where an application keeps its engine: ``app[ENGINE]``."""
logger = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 30
"""How long a body may take to arrive."""
LARGEST_PIECE: Final = 64 * 1024
"""In bytes: a larger answer is sent in pieces of this size."""
STALL_S: Final = 30
"""How long a client may take for a piece.  A slower one is cut off, since its answer would stay in
memory for ever."""

RECEIVED: Final = 16 * 1024
"""In bytes: how much the system keeps of what a client has sent and nobody has read yet."""

_RESERVATIONS: Final = "/v2/slots/reservations"
_EVERYTHING: Final = r"/{path:[\s\S]*}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NewLoop = Callable[[], asyncio.AbstractEventLoop]

# --- The application -------------------------------------------------------------------


def create_app(
    catalog: Catalog,
    *,
    engine: SlotEngine | None = None,
    clock: Clock | None = None,
    enforce_availability: bool = True,
    rate_limits: RateLimits = UNLIMITED,
    quotas: CallerQuotas = DEFAULT_QUOTAS,
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

    What each caller may have on hold is up to the catalog; if it says nothing of that,
    to ``quotas``: by default 20 holds for each address, of 30 minutes at most, and
    anything for all who call with credentials.  Quotas of a lent engine apply as well.

    Raises `ValueError` for a clock beside a lent engine, and for a quota under which
    not even the engine's shortest hold could live.

        app = create_app(load_catalog("examples/catalog.toml"))
        web.run_app(app)
    """
    if engine is not None and clock is not None:
        raise ValueError("an engine that is lent has its clock already")
    serving = engine if engine is not None else SlotEngine(clock=clock)
    service = Service(
        catalog,
        serving,
        enforce_availability=enforce_availability,
        rate_limits=rate_limits,
        quotas=quotas,
    )
    endpoint = _Endpoint(service, Traffic())

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await endpoint.answer(request)

    app = web.Application(middlewares=[answer], handler_args=OPTIONS)
    app[ENGINE] = serving
    app[ENDPOINT] = endpoint
    # The service finds the endpoint itself.  aiohttp wants a route for every path, and finds a
    # fixed one faster; the middleware is for targets that no route matches, such as "*".
    for path in (_RESERVATIONS, _EVERYTHING):
        route = app.router.add_route("*", path, endpoint.answer, expect_handler=_expected)

    async def run(_: web.Application) -> AsyncIterator[None]:
        assert route.resource is not None
        endpoint.prefix = route.resource.canonical.removesuffix("/{path}")
        async with contextlib.nullcontext() if engine is not None else serving:
            await service.populate()
            yield

    app.cleanup_ctx.append(run)
    return app


# --- A request -------------------------------------------------------------------------


async def _expected(_: web.Request) -> None:
    """Leave it to the endpoint whether a client is to send the body that it waits with."""


class _Endpoint:
    """Carries requests to the service, and its answers back."""

    __slots__ = ("prefix", "service", "traffic", "usual")

    def __init__(self, service: Service, traffic: Traffic, *, usual: bool = False) -> None:
        self.service = service
        self.traffic = traffic
        self.usual = usual
        """Whether usual answers are written here: no middleware or signal sees them."""
        self.prefix = ""
        """Of all paths, if the application is part of another."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        traffic, service = self.traffic, self.service
        traffic.under_way += 1
        try:
            version = request.version
            if version not in _VERSIONS:
                return _whole(_not_http(), close=True)
            method, headers, content = request.method, request.headers, request.content
            target = request.raw_path
            if self.prefix:
                target = target.removeprefix(self.prefix)
            close = False
            admitted = service.admit(Head(method, target, headers, request.remote or ""))
            if isinstance(admitted, Refusal):
                response = admitted.response
            else:
                try:
                    sent = b""
                    if admitted.bound:
                        if admitted.encoding is not None:
                            admitted = _as_unpacked(admitted, content)
                        # Nearly always it came along with its head.
                        sent = (
                            content.read_nowait()
                            if content.is_eof()
                            else await self._received(request, admitted.bound)
                        )
                    response = await service.handle(admitted, sent)
                except HttpError as error:  # of reading
                    response, close = service.refused(admitted, error), True
                finally:
                    service.done(admitted)
            # Of what comes along with an offer to upgrade, aiohttp drops some, and not all.
            close = close or traffic.stopping or UPGRADE in headers
            if not close and not content.is_eof():
                close = _should_close(request)
            body = response.body
            if isinstance(body, bytes) and (len(body) <= LARGEST_PIECE or method == "HEAD"):
                if (
                    self.usual
                    and body
                    and not close
                    and method != "HEAD"
                    and version == HttpVersion11
                    and request.keep_alive
                ):
                    await request.writer.write_eof(_message(response, body))
                    return _SENT
                return _whole(response, close=close)
            return await _in_pieces(request, response, close=close)
        finally:
            traffic.done()

    async def _received(self, request: web.BaseRequest, bound: int) -> bytes:
        """Return a body that is still to come.  Raises `HttpError`."""
        traffic = self.traffic
        try:
            if "Expect" in request.headers and request.version == HttpVersion11:
                _ask_for_body(request)
            async with traffic.patience(BODY_TIMEOUT_S):
                return await _read(request.content, bound)
        except TimeoutError:
            if traffic.given_up:
                raise HttpError(503, "The server is stopping; try again") from None
            late = f"The body did not arrive within {BODY_TIMEOUT_S} seconds"
            raise HttpError(408, late) from None
        except ConnectionError:
            logger.debug("%s %s: the client went away", request.method, request.path)
            raise HttpError(400, "The body did not arrive") from None  # which seldom anybody reads
        except (web.RequestPayloadError, HttpProcessingError):
            raise HttpError(400, BROKEN) from None


ENDPOINT: Final = web.AppKey("endpoint", _Endpoint)
_VERSIONS: Final = frozenset({HttpVersion10, HttpVersion11})


def _should_close(request: web.BaseRequest) -> bool:
    """Return whether a connection must end because the rest of a body is not wanted.

    Otherwise aiohttp reads the body to its end, for ten seconds at most, and goes on
    with the next request.
    """
    headers = request.headers
    if "Expect" in headers or "Content-Encoding" in headers:
        return True
    length = request.content_length
    return length is None or length > LARGEST_BODY or request.content.exception() is not None


def _as_unpacked(admitted: Admitted, content: StreamReader) -> Admitted:
    """Return what is to be read if aiohttp unpacks: where another application has it do so."""
    if content.total_compressed_bytes is None:
        return admitted
    return admitted._replace(bound=LARGEST_BODY, encoding=None)


def _ask_for_body(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _read(content: StreamReader, bound: int) -> bytes:
    parts = []
    while part := await content.readany():
        parts.append(part)
        bound -= len(part)
        if bound < 0:
            raise HttpError(413, TOO_LARGE)
    return b"".join(parts)


class _Sent(web.StreamResponse):
    """An answer that is sent already, over a connection of HTTP/1.1 that goes on.

    aiohttp's own finds out how an answer is to be sent, header by header, in nine
    coroutines.  Measured: 14 µs of a request's 115, and 3 more to make one.
    """

    @property
    def keep_alive(self) -> bool:
        """That the connection goes on."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: it is sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it is sent."""


_SENT: Final = _Sent()

_STATUS_LINES: Final = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus
}


def _message(response: Response, body: bytes) -> bytes:
    """Return an answer as HTTP/1.1 writes it, with a body of known length."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
    head = (
        f"{_STATUS_LINES[response.status]}{lines}"
        f"Content-Length: {len(body)}\r\nDate: {_date()}\r\n\r\n"
    )
    return head.encode() + body


_dates: dict[int, str] = {}
"""The present second, and how HTTP writes it, which takes 2 µs."""


def _date() -> str:
    now = int(time.time())
    date = _dates.get(now)
    if date is None:
        _dates.clear()
        date = _dates[now] = formatdate(now, usegmt=True)
    return date


def _whole(response: Response, *, close: bool) -> web.Response:
    found = web.Response(status=response.status, headers=response.headers, body=response.body)
    if close:
        found.force_close()
    return found


async def _in_pieces(
    request: web.BaseRequest, response: Response, *, close: bool
) -> web.StreamResponse:
    """Send an answer piece by piece, to a client that takes each in time."""
    found = web.StreamResponse(status=response.status, headers=response.headers)
    if close:
        found.force_close()
    body = response.body
    if isinstance(body, bytes):
        found.content_length = len(body)
    try:
        await found.prepare(request)
        async for piece in _pieces(body):
            if request.method == "HEAD":
                break
            async with asyncio.timeout(STALL_S):
                await found.write(piece)
        async with asyncio.timeout(STALL_S):
            await found.write_eof()
    except TimeoutError:
        logger.debug("a client does not read its answer")
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from None
    return found


async def _pieces(body: Body) -> AsyncIterator[bytes | memoryview]:
    if isinstance(body, bytes):
        for at in range(0, len(body), LARGEST_PIECE):
            yield memoryview(body)[at : at + LARGEST_PIECE]
    else:
        async for piece in body:
            yield piece


def _not_http() -> Response:
    error = HttpError(400, "The request is not valid HTTP")
    return respond(Reply(400, error_body(error, path="/", now=datetime.now(UTC))))


# --- What is logged --------------------------------------------------------------------


_THEIRS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What is the client's fault."""


def _quiet() -> logging.Logger:
    """Return where aiohttp logs to: what clients do wrong is no error of ours."""
    found = logging.getLogger(f"{__name__}.aiohttp")
    found.addFilter(_less_loud)
    return found


def _less_loud(record: logging.LogRecord) -> bool:
    """Let what is a client's fault be of the level debug, and without a traceback.

    That would quote what was sent, which may have a key in it.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, _THEIRS):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.msg, record.args = "a request cannot be read: %s", (type(error).__name__,)
        record.exc_info = record.exc_text = None
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    return True


# --- How aiohttp is to read ------------------------------------------------------------

OPTIONS: Final[dict[str, Any]] = {
    "auto_decompress": False,  # nothing is unpacked before it is admitted
    "read_bufsize": 16 * 1024,  # of a body, before aiohttp stops to read on
    "max_headers": 64,
    "logger": _quiet(),
}
"""Of an application, whoever runs it."""
SERVE_OPTIONS: Final[dict[str, Any]] = OPTIONS | {
    "keepalive_timeout": 75.0,  # a little longer than proxies keep idle connections
    "handler_cancellation": True,  # of a search for a client that has left
    "access_log": None,
}
"""Of a server that `serve` runs."""


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
    engine = SlotEngine()
    service = Service(
        catalog,
        engine,
        enforce_availability=enforce_availability,
        rate_limits=RateLimits(),
        quotas=DEFAULT_QUOTAS,
    )
    with asyncio.Runner(loop_factory=new_loop) as runner, _collecting_less():
        runner.run(_serve(service, host, port, announce, grace_s))


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
    service: Service, host: str, port: int, announce: Callable[[str], None], grace_s: float
) -> None:
    stop, traffic = asyncio.Event(), Traffic()

    def on_signal() -> None:
        if stop.is_set():  # whoever says it twice is in a hurry
            traffic.give_up()
        stop.set()

    _on_signal(on_signal)
    async with service.engine:
        await service.populate()
        async with listening(_Endpoint(service, traffic, usual=True), host, port) as listener:
            url = _url(listener)
            announce(f"Listening on {url} - {_example(url, service)}")
            await stop.wait()
            listener.close()
            await traffic.stop(grace_s)


@contextlib.asynccontextmanager
async def listening(endpoint: _Endpoint, host: str, port: int) -> AsyncIterator[asyncio.Server]:
    """Run a server on an address.

    Not an application: what finds its routes and runs its middlewares takes time,
    and there is one endpoint.
    """
    server = web.Server(endpoint.answer, **SERVE_OPTIONS)
    runner = web.ServerRunner(server, shutdown_timeout=LAST_WORDS_S)
    await runner.setup()
    try:
        listener = await _listen(server, host, port)
        try:
            yield listener
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _on_signal(callback: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


async def _listen(server: web.Server, host: str, port: int) -> asyncio.Server:
    try:
        listener = await asyncio.get_running_loop().create_server(
            server, host, port, backlog=128, start_serving=False
        )
    except UnicodeError as error:  # no host name at all, such as "a..b"
        raise OSError(f"{host!r} is no host name: {error}") from None
    if not listener.sockets:  # as Python 3.11 says nothing of a machine without IPv6, or IPv4
        raise OSError("the system has no addresses of this kind")
    for each in listener.sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    await listener.start_serving()
    return listener


_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What stands for all addresses of a machine, and one of them that can be connected to."""


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _example(url: str, service: Service) -> str:
    """Return a command that reserves something: if possible, of what is open at all hours."""
    catalog, now = service.catalog, service.engine.now()
    if not catalog.event_types:
        return "there is nothing to reserve, since the catalog has no event types"
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
