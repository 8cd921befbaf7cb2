"""A connection that answers like the server also where no request could be read.

aiohttp answers what is not HTTP before it asks the application, in plain text,
and logs it as an error of ours.  Here the application answers that too.  And it
is asked first whether it has an answer at once: then aiohttp does nothing but
read the request.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S: Final = 30
IDLE_TIMEOUT_S: Final = 75
"""A little longer than the proxies in front keep connections that nobody uses."""

LINGER_S: Final = 5
"""How long a client that is told that it makes no sense may go on sending."""

STALL_S: Final = 30
LEAST_TAKEN: Final = 64 * 1024
"""A client who takes less than so many bytes of an answer in that time, and not the last of them
either, is one who reads none: what waits for it would stay in memory for ever."""

Answer = Callable[[int], web.Response]
"""What answers a request that could not be read: 400, or 415 for an encoding of the body."""


class Understood(NamedTuple):
    """What the head of a request comes to."""

    length: int
    """Of the body, in bytes."""
    answer: Callable[[bytes], bytes | None]
    """What answers at once, given a body; None to let the request take the usual way, now."""


Understand = Callable[[RawRequestMessage, str], Understood | None]
"""What understands a head, given the address of the client; None if it is not one of the usual."""

LARGEST_HEAD: Final = 32 * 1024
"""In bytes, give or take what comes with its end.  aiohttp takes up to a megabyte, in many fields,
and keeps each twice."""
LONGEST_AT_ONCE: Final = 8 * 1024
"""In bytes.  A sensible request has five hundred."""
HEADS_KNOWN: Final = 8
"""So many heads a connection remembers."""
LONGEST_KNOWN: Final = 1024
"""In bytes: how long one may be.  There can be many thousands of connections."""

# What `Connection` knows of aiohttp that is not said in public: where the parser is kept, what
# waits while there is nothing to do, when a connection has been idle for too long, which requests
# wait, or what is still to be read as such, whether there are too many of them, and what lets the
# one under way be the last.
_KNOWN: Final = (
    "_parser",
    "_waiter",
    "_next_keepalive_close_time",
    "_messages",
    "_message_tail",
    "_buffer_paused",
    "_close",
)

_MOST_RECEIVED: Final = 64 * 1024
"""How many bytes are received at once.  For as many as asyncio asks for, four times this, memory
may be fetched from the system each time and given back: up to 11 µs on Linux."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_EMPTY_LINES: Final = (b"\r", b"\n")
"""What may come before a head."""
_VERSIONS: Final = frozenset({HttpVersion10, HttpVersion11})


class Outbox:
    """Answers of all connections that are sent together, once everything that has come is read.

    Sending wakes the client, who then disturbs whatever is done meanwhile.  With
    32 busy clients on the same machine an answer costs the system 17 µs if it is
    sent before the next request is looked at, and 8 if it is sent with others.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Send an answer soon: before anything else that comes of its connection."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append((transport, answer))

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, answer in waiting:
            if not transport.is_closing():
                transport.write(answer)


class Connection(web.RequestHandler):
    """One connection of a client.

    What it can ``understand`` is answered at once, by the ``outbox``.  With an
    aiohttp that is not as we know it, nothing is.
    """

    __slots__ = (
        "_address",
        "_answer",
        "_content",
        "_ended",
        "_head_size",
        "_heads",
        "_known",
        "_outbox",
        "_place",
        "_said_all",
        "_server",
        "_silence",
        "_stall",
        "_understand",
        "_unsent",
        "_wire",
    )

    def __init__(
        self,
        server: web.Server,
        answer: Answer,
        understand: Understand | None,
        outbox: Outbox,
        **options: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=IDLE_TIMEOUT_S, **options)
        self._server = server
        self._answer = answer
        self._silence: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unsent = 0  # so many bytes, when it was last looked whether the client reads
        self._wire: Any = None  # the transport, also once aiohttp has left it
        self._address = ""
        self._ended = False
        # Done when a client that makes no sense has sent all that it wanted to.
        self._said_all: asyncio.Future[None] | None = None
        self._content: Any = None  # the body of the latest request, as far as it has come
        self._understand = understand
        self._outbox = outbox
        self._place = _Place()
        self._head_size = 0  # so much has come of a head that has not ended
        # The heads of requests that were answered at once.
        self._heads: dict[bytes, Understood] = {}
        self._known = all(hasattr(web.RequestHandler, name) for name in _KNOWN)
        if understand is not None and self._known:
            self._parser: Any = _Parser(self._parser, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client some time for its first request; after that, being idle counts."""
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(HEAD_TIMEOUT_S, self.force_close)
        if hasattr(transport, "max_size"):  # asyncio's own, not uvloop's
            transport.max_size = _MOST_RECEIVED
        self._wire = transport
        self._wire.set_write_buffer_limits(high=0)  # so that we know of all that is not sent
        self._address = _address_of(transport.get_extra_info("peername"))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        self.head_arrived()
        self._stall_no_more()
        super().connection_lost(exc)
        self._hear_no_more()
        self._expect_no_more()  # aiohttp forgets that if the request is about to be looked at

    def head_arrived(self) -> None:
        """Stop waiting for the first request."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def pause_writing(self) -> None:
        """Give the client some time to take what cannot be sent yet."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Note that all is sent."""
        self._stall_no_more()
        super().resume_writing()

    def _watch_reader(self) -> None:
        self._unsent = self._wire.get_write_buffer_size()
        self._stall = self._loop.call_later(STALL_S, self._check_reader)

    def _check_reader(self) -> None:
        """Cut off a client who does not read; closing would wait for it."""
        if self._unsent - self._wire.get_write_buffer_size() < LEAST_TAKEN:
            logger.debug("a client does not read its answer")
            self._wire.abort()
        else:
            self._watch_reader()

    def _stall_no_more(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def data_received(self, data: bytes) -> None:
        """Read what comes, unless it begins as a request before it did.

        Clients send the same few heads again and again.  Without reading them
        holding a slot takes half the time, less what the system takes.
        """
        if self._said_all is not None:
            return  # it is no use to read on
        if self._place.at_beginning:
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            understood = self._heads.get(data[:end])
            if understood is not None and self._answered(understood, data[end:]):
                return
        super().data_received(data)

    def read(self, messages: list[tuple[RawRequestMessage, Any]], data: bytes) -> bool:
        """Take note of the requests that have begun with some data, and try to answer them."""
        if any(message.version not in _VERSIONS for message, _ in messages):
            raise BadHttpMessage("neither HTTP/1.0 nor HTTP/1.1")
        found = self._place.read([message for message, _ in messages], data)
        if not messages:
            self._check_head(len(data))
            return False
        message, self._content = messages[-1]
        self._head_size = 0
        if message.upgrade and not self._place.at_beginning:
            # The parser drops what has come after it, until something comes the next time: of a
            # request that is cut in two there, the rest would be read as another.
            messages[-1] = message._replace(should_close=True), self._content
        return found is not None and self._understood(message, *found)

    def _check_head(self, more: int) -> None:
        """Raise `BadHttpMessage` if a head is too large with so many bytes more of it."""
        in_body = self._content is not None and not self._content.is_eof()
        if not in_body and not self._buffer_paused:
            self._head_size += more
            if self._head_size > LARGEST_HEAD:
                raise BadHttpMessage("the head is too large")

    def _understood(self, message: RawRequestMessage, head: bytes, body: bytes) -> bool:
        """Answer a request at once, if it is one of the usual; all of it is there."""
        if len(head) + len(body) > LONGEST_AT_ONCE:
            return False
        assert self._understand is not None
        understood = self._understand(message, self._address)
        if understood is None or not self._answered(understood, body):
            return False
        # Without a body, it says all in its head: seldom twice.
        if body and len(head) <= LONGEST_KNOWN:
            if len(self._heads) == HEADS_KNOWN:
                self._heads.clear()
            self._heads[head] = understood
        return True

    def _answered(self, understood: Understood, body: bytes) -> bool:
        """Answer a request at once, if it is whole and nothing else is under way."""
        if len(body) != understood.length:  # there is more to come, or more has come than this
            return False
        waiter = self._waiter
        if waiter is None or waiter.done() or self.writing_paused:
            return False
        response = understood.answer(body)
        if response is None:
            return False
        if self._silence is not None:
            self.head_arrived()
        self._server.requests_count += 1
        self._next_keepalive_close_time = self._loop.time() + IDLE_TIMEOUT_S
        assert self.transport is not None
        self._outbox.put(self.transport, response)
        return True

    def eof_received(self) -> bool:  # type: ignore[override]  # which closes in any case
        """Answer what has come before the client said that no more will; then close.

        aiohttp closes at once, which may be after a slot was held, and before
        its holder learns of it.
        """
        self._hear_no_more()
        waiter = self._waiter
        if not self._known or (waiter is not None and not waiter.done()):
            return False
        self._ended = True
        self._close = not self._is_more_to_do()  # after what is under way
        self._expect_no_more()
        return True

    def _expect_no_more(self) -> None:
        """Let nobody wait for the rest of a body that will not come."""
        content = self._content
        if content is not None and not content.is_eof():
            content.set_exception(ConnectionResetError("the client sends no more"))
            content.feed_eof()  # or aiohttp waits for it once more

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; and close after it, if it is the last of a client that has ended."""
        if not self._ended and _is_packed(request):
            # Nobody wants the rest, and to unpack it can take a thousand times as long as to
            # send it.
            resp.force_close()
            self._said_all = self._loop.create_future()
        sent = await super().finish_response(request, resp, start_time)
        if self._said_all is not None:
            await self._hear_out(self._said_all)
        if self._ended and not self._is_more_to_do():
            self._close = True
        return sent

    def _is_more_to_do(self) -> bool:
        return bool(self._messages or self._message_tail)

    async def _hear_out(self, said_all: asyncio.Future[None]) -> None:
        """Let a client that makes no sense say all that it wants to, for a while.

        A connection that is closed before all that has come was received is cut,
        and takes the answer with it that the client did not read yet.
        """
        if self.transport is not None and not self._ended:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.transport.resume_reading()
            await asyncio.wait([said_all], timeout=LINGER_S)
        self._expect_no_more()

    def _hear_no_more(self) -> None:
        if self._said_all is not None and not self._said_all.done():
            self._said_all.set_result(None)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what went wrong, unless it is a body that nobody wanted: broken, or not all there."""
        if isinstance(kw.get("exc_info"), _NOT_OURS):
            logger.debug("the rest of a body cannot be read: %s", type(kw["exc_info"]).__name__)
            return
        super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read as a request."""
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self.head_arrived()
        # Not its text: that quotes the line, which may have a key in it.
        logger.debug("a request from %s cannot be read: %s", request.remote, type(exc).__name__)
        self._said_all = self._loop.create_future()
        response = self._answer(415 if isinstance(exc, ContentEncodingError) else 400)
        response.force_close()
        return response


def _is_packed(request: web.BaseRequest) -> bool:
    """Tell whether some of a compressed body is still to come."""
    return "Content-Encoding" in request.headers and not request.content.is_eof()


_NOT_OURS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What is the client's fault."""


def _address_of(peer: object) -> str:
    """Return the address that connects, as aiohttp's ``request.remote`` is."""
    if isinstance(peer, tuple):
        return str(peer[0])
    return "" if peer is None else str(peer)


class _Place:
    """Where in a stream of requests a parser is, which tells of the heads that it has read.

    It must be certain where one begins, lest part of one is taken for another:
    if it is not, as after a body in chunks, it never is again.

    >>> head = b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
    >>> place = _Place()
    >>> place.read([], head[:9]), place.at_beginning
    (None, False)
    """

    __slots__ = ("_begun", "_left")

    def __init__(self) -> None:
        self._left = 0  # so many bytes are to come of the last request
        self._begun: bytes | None = b""  # what has come of the next; None if that is not certain

    @property
    def at_beginning(self) -> bool:
        """Whether all of a request has come, and nothing more."""
        return not self._left and self._begun == b""

    def read(self, messages: list[RawRequestMessage], data: bytes) -> tuple[bytes, bytes] | None:
        """Go on to where the parser is, having read some data and found these heads in it.

        If that was one request, with nothing before and after, return its head and its body.
        """
        if self._begun is None:
            return None
        data, at, end = self._begun + data, self._left, 0
        began = at
        for message in messages:
            while data[at : at + 1] in _EMPTY_LINES:
                at += 1
            end = data.find(_END_OF_HEAD, at) + len(_END_OF_HEAD)
            if message.chunked or end < len(_END_OF_HEAD):
                self._begun = None
                return None
            at = end + int(message.headers.get("Content-Length", 0))
        self._left = max(0, at - len(data))
        self._begun = data[at:]
        if len(self._begun) > LONGEST_AT_ONCE:
            self._begun = None
        alone = len(messages) == 1 and not began and data[:1] not in _EMPTY_LINES
        return (data[:end], data[end:]) if alone and self.at_beginning else None


class _Parser:
    """aiohttp's parser, less the requests that are answered already."""

    __slots__ = ("_connection", "_parser")

    def __init__(self, parser: Any, connection: Connection) -> None:
        self._parser = parser
        self._connection = connection

    def feed_data(self, data: bytes) -> Any:
        """Return the requests that have begun; whether it is HTTP no longer; and what is left."""
        found = self._parser.feed_data(data)
        if self._connection.read(found[0], data):
            self._parser.message_consumed()
            return (), *found[1:]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)
