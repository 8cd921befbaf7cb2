"""A connection that answers like the server also where no request could be read.

aiohttp answers what is not HTTP before it asks the application, in plain text,
and logs it as an error of ours.  Here the application answers that too.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S: Final = 30
IDLE_TIMEOUT_S: Final = 75
"""A little longer than the proxies in front keep connections that nobody uses."""

Answer = Callable[[int], web.Response]
"""What answers a request that could not be read: 400, or 415 for an encoding of the body."""


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_answer", "_silence")

    def __init__(self, server: web.Server, answer: Answer, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=IDLE_TIMEOUT_S, **options)
        self._answer = answer
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client some time for its first request; after that, being idle counts."""
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(HEAD_TIMEOUT_S, self.force_close)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        self.head_arrived()
        super().connection_lost(exc)

    def head_arrived(self) -> None:
        """Stop waiting for the first request."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

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
        logger.debug("a request from %s cannot be read: %s", request.remote, exc)
        response = self._answer(415 if isinstance(exc, ContentEncodingError) else 400)
        response.force_close()
        return response
