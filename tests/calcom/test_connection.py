"""A connection by itself; what it answers is also tested where the command is, in a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from aiohttp import web

from slotengine.calcom import connection, server
from slotengine.calcom.catalog import Catalog
from slotengine.calcom.server import create_app

pytestmark = pytest.mark.anyio


async def answered(catalog: Catalog, sent: bytes) -> bytes:
    """Return what comes back until the server closes."""
    runner = web.AppRunner(create_app(catalog), access_log=None)
    await runner.setup()
    listener = await server._listen(runner, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # it has not read all that was sent
            received = await reader.read()
        writer.close()
    finally:
        listener.close()
        await runner.cleanup()
    return received


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
async def test_a_head_that_never_comes(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0)
    assert await answered(catalog, sent) == b""


async def test_what_cannot_be_read_is_no_error_of_ours(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert b"The request is not valid HTTP" in await answered(catalog, b"GET / nonsense\r\n\r\n")
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.parametrize("end", [b"\0", b"\x01x", b"\rx", b"x" * 9000])
async def test_a_key_is_not_logged_where_it_cannot_be_read(
    catalog: Catalog, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cal_owner" + end + b"\r\n\r\n"
    answer = await answered(catalog, sent)
    assert b" 400 " in answer
    assert b"cal_owner" not in answer
    assert "cannot be read" in caplog.text
    assert "cal_owner" not in caplog.text
