"""A web server that can stop, and listen again on the same port.

It passes every request on, and sends the response, dated by the stand-in's clock;
or it cuts the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from slotengine.engine.uids import new_uid
from slotengine.testing.remote.faults import Cut
from slotengine.testing.remote.responses import Answer

_LAST_WORDS_S: Final = 0.1
"""How long open requests may take when the stand-in ends."""

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
    """A web server that can stop, and listen again on the same port."""

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
        """The port; known once it has listened.

        Raises `RuntimeError` before that.
        """
        if not self._port:
            raise RuntimeError("the stand-in does not listen yet: start it with `async with`")
        return self._port

    async def listen(self) -> None:
        """Listen, unless it does already."""
        if self._open is not None:
            return
        if self._server is None:
            self._server = web.Server(self._handle, access_log=None)
        loop = asyncio.get_running_loop()
        self._open = await loop.create_server(self._server, "127.0.0.1", self._port)
        self._port = self._open.sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        """Cut all connections, and accept none."""
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
