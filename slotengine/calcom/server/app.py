"""Cal.com's slots API (2024-09-04) over aiohttp.

`create_app` returns an application to embed, and `serve` runs a server until it is
stopped.  `service` handles requests; this is the only module that knows aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
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
from slotengine.calcom.server.bodies import BAD_ENCODING, MAX_BODY_BYTES, TOO_LARGE
from slotengine.calcom.server.messages import JSON_HEADERS, UPGRADE, Body, Head, Refusal, Response
from slotengine.calcom.server.responses import respond
from slotengine.calcom.server.service import Admitted, Service
from slotengine.calcom.server.shutdown import ABORT_GRACE_S, GracefulShutdown
from slotengine.calcom.wire import VERSION, HttpError, error_body, stamp
from slotengine.core.time.instant import to_us
from slotengine.engine.clock import Clock
from slotengine.engine.engine import SlotEngine

__all__ = ["ENGINE", "create_app", "serve"]

ENGINE: Final = web.AppKey("slotengine", SlotEngine)
"""The key of an application's engine: ``app[ENGINE]``."""
logger = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 30
"""The longest time for a body to arrive."""
MAX_CHUNK_BYTES: Final = 64 * 1024
"""Larger responses are sent in chunks of this size."""
WRITE_TIMEOUT_S: Final = 30
"""The longest time for a client to read a chunk.  A slower client is disconnected, since its
response would stay in memory."""

RECEIVE_BUFFER_BYTES: Final = 16 * 1024
"""The receive buffer of a connection, in the operating system."""

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

    Without an ``engine``, the application runs its own from startup to cleanup, on the
    ``clock`` if given.  A lent engine must be running at startup, and remains the
    caller's; the catalog's users, event types, bookings and calendars are added to it.

    With ``enforce_availability``, reservations outside working hours, in the past, at
    too short notice or too far ahead are refused; the original accepts them.

    ``rate_limits`` and ``quotas`` apply if the catalog sets none.  By default there are
    no rate limits here, unlike in `serve`, since the embedding application may have its
    own; and an address may have 20 holds, of 30 minutes at most, while callers with
    credentials have no quota.  The quotas of a lent engine apply as well.

    Raises `ValueError` for a clock together with a lent engine, and for a quota that is
    shorter than the engine's shortest hold.

        app = create_app(load_catalog("examples/catalog.toml"))
        web.run_app(app)
    """
    if engine is not None and clock is not None:
        raise ValueError("a lent engine has a clock of its own: pass engine or clock, not both")
    serving = engine if engine is not None else SlotEngine(clock=clock)
    service = Service(
        catalog,
        serving,
        enforce_availability=enforce_availability,
        rate_limits=rate_limits,
        quotas=quotas,
    )
    adapter = _Adapter(service, GracefulShutdown())

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await adapter.respond(request)

    app = web.Application(middlewares=[middleware], handler_args=HANDLER_OPTIONS)
    app[ENGINE] = serving
    app[ADAPTER] = adapter
    # The service finds its endpoints itself.  aiohttp needs a route for every path, and finds a
    # fixed one faster; the middleware is for targets that no route matches, such as "*".
    for path in (_RESERVATIONS, _EVERYTHING):
        route = app.router.add_route("*", path, adapter.respond, expect_handler=_expected)

    async def run(_: web.Application) -> AsyncIterator[None]:
        assert route.resource is not None
        adapter.prefix = route.resource.canonical.removesuffix("/{path}")
        async with contextlib.nullcontext() if engine is not None else serving:
            await service.populate()
            yield

    app.cleanup_ctx.append(run)
    return app


# --- A request -------------------------------------------------------------------------


async def _expected(_: web.Request) -> None:
    """Do nothing: the adapter decides whether a client should send its body."""


class _Adapter:
    """Passes requests of aiohttp to the service, and sends its responses."""

    __slots__ = ("prefix", "service", "shutdown", "writes_directly")

    def __init__(
        self, service: Service, shutdown: GracefulShutdown, *, writes_directly: bool = False
    ) -> None:
        self.service = service
        self.shutdown = shutdown
        self.writes_directly = writes_directly
        """Whether usual responses are written here; no middleware or signal sees them."""
        self.prefix = ""
        """The prefix of all paths, if the application is part of another."""

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to a request."""
        # What usually happens is in one coroutine: each further one takes 3,000 instructions.
        shutdown, service = self.shutdown, self.service
        shutdown.in_flight += 1
        try:
            if request.version not in _VERSIONS:
                return _complete(_bad_http(), close=True)
            admitted, close = self._admit(request), False
            if isinstance(admitted, Refusal):
                response = admitted.response
            else:
                try:
                    sent, content = b"", request.content
                    if admitted.bound:
                        if admitted.encoding is not None:
                            admitted = _as_decompressed(admitted, content)
                        # Usually it arrived with the head.
                        sent = (
                            content.read_nowait()
                            if content.is_eof()
                            else await self._received(request, admitted.bound)
                        )
                    response = await service.handle(admitted, sent)
                except HttpError as error:  # from reading the body
                    response, close = service.refused(admitted, error), True
                finally:
                    service.done(admitted)
            close = close or self._must_close(request)
            message = self._message(request, response, close=close)
            if message is None:
                return await _not_at_once(request, response, close=close)
        finally:
            shutdown.done()
        # No longer in flight: a client that does not read must not delay the shutdown.
        try:
            await request.writer.write_eof(message)
        except ConnectionError:
            logger.debug("%s %s: the client went away", request.method, request.path)
        return _SENT

    def _admit(self, request: web.BaseRequest) -> Refusal | Admitted:
        target = request.raw_path
        if self.prefix:
            target = target.removeprefix(self.prefix)
        return self.service.admit(
            Head(request.method, target, request.headers, request.remote or "")
        )

    def _must_close(self, request: web.BaseRequest) -> bool:
        """Return whether the connection must close after the response."""
        # aiohttp drops some of the data that follows an Upgrade header.
        if self.shutdown.stopping or UPGRADE in request.headers:
            return True
        return not request.content.is_eof() and _has_too_much_left(request)

    def _message(
        self, request: web.BaseRequest, response: Response, *, close: bool
    ) -> bytes | None:
        """Return the bytes of a usual response; None for any other, which aiohttp sends."""
        body = response.body
        if (
            self.writes_directly
            and isinstance(body, bytes)
            and 0 < len(body) <= MAX_CHUNK_BYTES
            and not close
            and request.method != "HEAD"
            and request.version == HttpVersion11
            and request.keep_alive
        ):
            return _message(response, body)
        return None

    async def _received(self, request: web.BaseRequest, bound: int) -> bytes:
        """Return a body that has not arrived yet.  Raises `HttpError`."""
        shutdown = self.shutdown
        try:
            if "Expect" in request.headers and request.version == HttpVersion11:
                _ask_for_body(request)
            async with shutdown.timeout(BODY_TIMEOUT_S):
                return await _read(request.content, bound)
        except TimeoutError:
            if shutdown.aborted:
                raise HttpError(503, "The server is stopping; try again") from None
            late = f"The body did not arrive within {BODY_TIMEOUT_S} seconds"
            raise HttpError(408, late) from None
        except ConnectionError:
            logger.debug("%s %s: the client went away", request.method, request.path)
            raise HttpError(400, "The body did not arrive") from None  # rarely read by anyone
        except (web.RequestPayloadError, HttpProcessingError):
            raise HttpError(400, BAD_ENCODING) from None


ADAPTER: Final = web.AppKey("adapter", _Adapter)
_VERSIONS: Final = frozenset({HttpVersion10, HttpVersion11})


def _has_too_much_left(request: web.BaseRequest) -> bool:
    """Return whether a connection must close because its body is not read to the end.

    Otherwise aiohttp reads the rest of the body, for ten seconds at most, and continues
    with the next request.
    """
    headers = request.headers
    if "Expect" in headers or "Content-Encoding" in headers:
        return True
    length = request.content_length
    return length is None or length > MAX_BODY_BYTES or request.content.exception() is not None


def _as_decompressed(admitted: Admitted, content: StreamReader) -> Admitted:
    """Return how to read a body that aiohttp decompresses, where an outer application has it so."""
    if content.total_compressed_bytes is None:
        return admitted
    return admitted._replace(bound=MAX_BODY_BYTES, encoding=None)


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
    """A response that has been sent, over an HTTP/1.1 connection that stays open.

    aiohttp's own decides how to send a response header by header, in nine coroutines.
    Measured: 14 µs of a request's 115, and 3 more to make one.
    """

    @property
    def keep_alive(self) -> bool:
        """The connection stays open."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the response has been sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the response has been sent."""


_SENT: Final = _Sent()

_STATUS_LINES: Final = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus
}


def _message(response: Response, body: bytes) -> bytes:
    """Return the bytes of a response in HTTP/1.1."""
    status, _, shared_headers, request_id, own_headers = response
    if shared_headers is JSON_HEADERS:
        head = _JSON_HEADS[status]
    else:
        head = f"{_STATUS_LINES[status]}{_lines(shared_headers)}"
    own = _lines(own_headers) if own_headers else ""
    head = (
        f"{head}X-Request-Id: {request_id}\r\n{own}"
        f"Content-Length: {len(body)}\r\nDate: {_date()}\r\n\r\n"
    )
    return head.encode() + body


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


_JSON_HEADS: Final = {
    status: f"{line}{_lines(JSON_HEADERS)}" for status, line in _STATUS_LINES.items()
}
"""What JSON responses of each status begin with."""


_dates: dict[int, str] = {}
"""A cache of the Date header of the present second, which takes 2 µs to format."""


def _date() -> str:
    now = int(time.time())
    date = _dates.get(now)
    if date is None:
        _dates.clear()
        date = _dates[now] = formatdate(now, usegmt=True)
    return date


def _complete(response: Response, *, close: bool) -> web.Response:
    found = web.Response(status=response.status, headers=response.headers, body=response.body)
    if close:
        found.force_close()
    return found


async def _not_at_once(
    request: web.BaseRequest, response: Response, *, close: bool
) -> web.StreamResponse:
    body = response.body
    if isinstance(body, bytes) and (len(body) <= MAX_CHUNK_BYTES or request.method == "HEAD"):
        return _complete(response, close=close)
    return await _in_chunks(request, response, close=close)


async def _in_chunks(
    request: web.BaseRequest, response: Response, *, close: bool
) -> web.StreamResponse:
    """Send a response in chunks, each of which the client must read in time."""
    found = web.StreamResponse(status=response.status, headers=response.headers)
    if close:
        found.force_close()
    body = response.body
    if isinstance(body, bytes):
        found.content_length = len(body)
    try:
        await found.prepare(request)
        async for chunk in _chunks(body):
            if request.method == "HEAD":
                break
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await found.write(chunk)
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await found.write_eof()
    except TimeoutError:
        logger.debug("a client does not read its response")
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from None
    return found


async def _chunks(body: Body) -> AsyncIterator[bytes | memoryview]:
    if isinstance(body, bytes):
        for at in range(0, len(body), MAX_CHUNK_BYTES):
            yield memoryview(body)[at : at + MAX_CHUNK_BYTES]
    else:
        async for chunk in body:
            yield chunk


def _bad_http() -> Response:
    error = HttpError(400, "The request is not valid HTTP")
    return respond((400, error_body(error, path="/", now=to_us(datetime.now(UTC)))))


# --- Logging ---------------------------------------------------------------------------


_CLIENT_ERRORS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""Errors that are the client's fault."""


def _aiohttp_logger() -> logging.Logger:
    """Return a logger for aiohttp, which logs errors of clients at the level debug."""
    found = logging.getLogger(f"{__name__}.aiohttp")
    found.addFilter(_quiet_client_errors)
    return found


def _quiet_client_errors(record: logging.LogRecord) -> bool:
    """Lower errors of clients to the level debug, and drop the traceback.

    A traceback could quote the request, with a key in it.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, _CLIENT_ERRORS):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.msg, record.args = "a request cannot be read: %s", (type(error).__name__,)
        record.exc_info = record.exc_text = None
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    return True


# --- Options of aiohttp ----------------------------------------------------------------

HANDLER_OPTIONS: Final[dict[str, Any]] = {
    "auto_decompress": False,  # nothing is decompressed before it is admitted
    "read_bufsize": 16 * 1024,  # of a body, before aiohttp pauses reading
    "max_headers": 64,
    "logger": _aiohttp_logger(),
}
"""The options of an application, also of an embedded one."""
SERVE_OPTIONS: Final[dict[str, Any]] = HANDLER_OPTIONS | {
    "keepalive_timeout": 75.0,  # a little longer than proxies keep idle connections open
    "handler_cancellation": True,  # of a search whose client has disconnected
    "access_log": None,
}
"""The options of the server that `serve` runs."""


# --- Running a server ------------------------------------------------------------------


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

    Then the server accepts no more connections and gives requests in flight ``grace_s``
    seconds to finish.  Requests whose body has not arrived by then get a 503.  A second
    signal ends the wait.

    Once the server listens, ``announce`` is called with its URL and a command to try.
    With port 0 the system chooses the port.  ``new_loop`` makes the event loop, such as
    ``uvloop.new_event_loop``; measured, that saves 2 % of the time of a request.

    Raises `OSError` if it cannot listen on the address.
    """
    engine = SlotEngine()
    service = Service(
        catalog,
        engine,
        enforce_availability=enforce_availability,
        rate_limits=RateLimits(),
        quotas=DEFAULT_QUOTAS,
    )
    with asyncio.Runner(loop_factory=new_loop) as runner, _fewer_collections():
        runner.run(_serve(service, host, port, announce, grace_s))


GC_THRESHOLD: Final = 10_000
"""The number of new objects that triggers the garbage collector; Python's default is 700.

A hold leaves a few objects, and frequent collections take a tenth of the time and more."""


@contextlib.contextmanager
def _fewer_collections() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.freeze()  # the catalog stays
    gc.set_threshold(GC_THRESHOLD, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


async def _serve(
    service: Service, host: str, port: int, announce: Callable[[str], None], grace_s: float
) -> None:
    stop, shutdown = asyncio.Event(), GracefulShutdown()

    def on_signal() -> None:
        if stop.is_set():  # the second signal
            shutdown.abort()
        stop.set()

    _on_signal(on_signal)
    async with service.engine:
        await service.populate()
        async with listening(
            _Adapter(service, shutdown, writes_directly=True), host, port
        ) as listener:
            url = _url(listener)
            announce(f"Listening on {url} - {_example(url, service)}")
            await stop.wait()
            listener.close()
            await shutdown.stop(grace_s)


@contextlib.asynccontextmanager
async def listening(adapter: _Adapter, host: str, port: int) -> AsyncIterator[asyncio.Server]:
    """Run a server on an address.

    Not an application, whose routes and middlewares take time: there is one handler.
    """
    server = web.Server(adapter.respond, **SERVE_OPTIONS)
    runner = web.ServerRunner(server, shutdown_timeout=ABORT_GRACE_S)
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
    except UnicodeError as error:  # an impossible host name, such as "a..b"
        raise OSError(f"{host!r} is not a host name: {error}") from None
    if not listener.sockets:  # Python 3.11 raises no error on a machine without IPv6, or IPv4
        raise OSError("the system has no addresses of this kind")
    for each in listener.sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    await listener.start_serving()
    return listener


_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address to connect to, for each that stands for all addresses of a machine."""


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _example(url: str, service: Service) -> str:
    """Return a command that reserves a slot, of an event type that is always open if possible."""
    catalog, now = service.catalog, service.engine.now()
    if not catalog.event_types:
        return "there is nothing to reserve, since the catalog has no event types"
    always_open = (
        event_type
        for event_type in catalog.event_types.values()
        if not any(
            host.schedule or catalog.resources[host.resource] for host in event_type.rules.hosts()
        )
    )
    event_type = next(always_open, None) or next(iter(catalog.event_types.values()))
    start = (now + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    body = {"eventTypeId": event_type.id, "slotStart": stamp(start)}
    return (
        f"try: curl --request POST --url {url}/v2/slots/reservations"
        f" --header 'Content-Type: application/json' --header 'cal-api-version: {VERSION}'"
        f" --data '{orjson.dumps(body).decode()}'"
    )
