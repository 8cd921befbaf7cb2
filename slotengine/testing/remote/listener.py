"""A web server that can hang up, and come back on the same port; how the stand-in answers.

Knows nothing of what is asked; whatever it is, it is answered, with the time that the
stand-in believes it is, or the connection cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from slotengine.engine.uids import new_uid
from slotengine.testing.remote.answers import Answer
from slotengine.testing.remote.faults import Cut

_LAST_WORDS_S: Final = 0.1
"""How long requests that still wait may take when the stand-in is left."""

_ALWAYS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Content-Type": "application/json; charset=utf-8",
}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,PATCH,DELETE,HEAD,POST,PUT,OPTIONS",
    "Access-Control-Allow-Headers": (
        "x-cal-client-id,x-cal-secret-key,x-cal-platform-embed,cal-api-version,"
        "Accept,Authorization,Content-Type,Origin"
    ),
    "Access-Control-Max-Age": "86400",
}


class Listener:
    """A web server that can hang up, and come back on the same port."""

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[Answer]],
        now: Callable[[], datetime],
    ) -> None:
        self._answer = answer
        self._now = now
        self._server: web.Server | None = None
        self._open: asyncio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port, once it has listened for the first time.

        Raises `RuntimeError` before that.
        """
        if not self._port:
            raise RuntimeError("it does not listen yet: use it with `async with`")
        return self._port

    async def listen(self) -> None:
        """Listen, if it does not yet."""
        if self._open is not None:
            return
        if self._server is None:
            self._server = web.Server(self._handle, access_log=None)
        loop = asyncio.get_running_loop()
        self._open = await loop.create_server(self._server, "127.0.0.1", self._port)
        self._port = self._open.sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        """Drop all connections, and accept none."""
        if self._open is None:
            return
        self._open.close()
        self._open = None
        assert self._server is not None
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        """Stop for good."""
        self.hang_up()
        if self._server is not None:
            await self._server.shutdown(_LAST_WORDS_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=_PREFLIGHT | self._always())
        try:
            status, body, headers = await self._answer(request)
        except Cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # nobody will read it
        sent = {**_ALWAYS, **headers, **self._always()}
        return web.Response(status=status, body=body, headers=sent)

    def _always(self) -> dict[str, str]:
        return {"Date": format_datetime(self._now(), usegmt=True), "X-Request-Id": new_uid()}
