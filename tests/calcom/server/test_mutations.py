"""Requests with something broken in them: whatever they are taken for, nothing fails.

``HYPOTHESIS_PROFILE=long`` tries more.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calcom.server.test_connections import (
    CHUNKED,
    HOLD,
    OLD,
    READ,
    SEARCH,
    SLOWLY,
    UID,
    request,
    served,
    statuses,
)

PATH = "/v2/slots/reservations"
REQUESTS = [
    HOLD,
    READ,
    SEARCH,
    CHUNKED,
    OLD,
    SLOWLY,
    request("PATCH", f"{PATH}/{UID}", "{}"),
    request("DELETE", f"{PATH}/{UID}", "{}", "Authorization: Bearer x"),
    request("POST", f"/api{PATH}/", "{}", "Content-Type: text/plain"),
    request("POST", PATH, "{}", "Content-Encoding: deflate"),
    request("OPTIONS", "*"),
]
WORDS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b"%00", b"\xff", b"\xf0\x9f\xa6\x89",
    b"Content-Length: 1\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Upgrade: h2c\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Expect: 100-continue\r\n",
    b"Content-Encoding: gzip\r\n", b"cal-api-version: 2024-09-04\r\n", b"Host: y\r\n", b" x: y\r\n",
    b"?", b"#", b"//", b"/../", b"%2e", b"HTTP/1.0", b"HTTP/1.1", b"\r\n\r\n", b"{", b"}",
    b"0\r\n\r\n",
]  # fmt: skip
puts = st.sampled_from(WORDS) | st.binary(max_size=4)
mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), puts), max_size=3)


def mutated(sent: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    for at, gone, put in mutations:
        sent = sent[:at] + put + sent[at + gone :]
    return sent


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.sampled_from(REQUESTS), mutations=mutations)
def test_what_is_broken_is_no_error(
    sent: bytes, mutations: list[tuple[int, int, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        async with served() as it, asyncio.timeout(60):
            async with it.connection() as (reader, writer):
                writer.write(HOLD)
                assert await it.answer(reader) == 201
                with suppress(ConnectionError):
                    writer.write(mutated(sent, mutations))
                    assert await it.answers(READ) == [200]  # by then it was looked at
                    writer.write_eof()
                    found = statuses(await reader.read())
                    assert not [status for status in found if status >= 500]
            assert await it.answers(READ) == [200]
            assert it.engine.statistics().held <= 2

    asyncio.run(main())
    assert not caplog.records
