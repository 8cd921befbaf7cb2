"""The least that an aiohttp application can do with a request: ``python -m benchmarks.hello``.

It has one route and no middleware.  It reads the body, and answers with fixed bytes, as
many as in the response to an accepted reservation.  It prints where it listens, as
``slotengine serve`` does, and stops on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from aiohttp import web

ANSWER: Final = (
    b'{"status":"success","data":{"eventTypeId":100,"slotStart":"2050-09-05T10:00:00.000Z",'
    b'"slotEnd":"2050-09-05T10:15:00.000Z","slotDuration":15,"reservationUid":'
    b'"5f0c4a4e-6c1e-4b59-9d1f-0d8f5b0a3c11","reservationDuration":5,'
    b'"reservationUntil":"2050-09-05T06:05:00.000Z"}}'
)


async def hello(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=ANSWER)


async def main() -> None:
    app = web.Application()
    app.router.add_post("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        print(f"Listening on http://{host}:{port}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
