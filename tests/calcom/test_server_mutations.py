"""Requests with something broken in them: at once or the usual way, the answers are the same.

Whatever one way took for another request than the other, or for more or fewer of
them, could be used to slip something past what is in front of the server.
``HYPOTHESIS_PROFILE=long`` tries more.
"""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calcom.test_server_at_once import POST, UNUSUAL, USUAL, answered, responses

REQUESTS = [sent for name, sent in (USUAL | UNUSUAL).items() if name != "head"]
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
def test_what_is_broken_is_answered_alike(
    sent: bytes, mutations: list[tuple[int, int, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    pieces = [POST, mutated(sent, mutations), POST]
    at_once = responses(asyncio.run(answered(pieces, at_once=True)))
    assert at_once == responses(asyncio.run(answered(pieces, at_once=False)))
    assert not [status for status, _, _ in at_once if status.startswith(b"HTTP/1.1 5")]
    assert not caplog.records
