"""The remote's time, as the dates of its responses tell listeners."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom import CalComClient, RemoteFailed, RemoteRefused
from slotengine.calcom.client.responses import Response
from tests.calcom.client.scripted import DROP, UID, Hang, PassingTime, Reply, error, remote, success

pytestmark = pytest.mark.anyio

NINE = "Mon, 05 Sep 2050 09:00:00 GMT"
AT_NINE = datetime(2050, 9, 5, 9, tzinfo=UTC)


async def test_the_date_of_every_response_is_reported() -> None:
    heard: list[tuple[datetime, float]] = []
    steps = (
        Reply(200, success(None).body, {"Date": NINE}),
        error(404, Date=NINE),
        Reply(500, b"<html>", {"date": NINE}),
    )
    async with remote(*steps) as server, CalComClient(server.url, attempts=1) as client:
        client.on_date(lambda date, took_s: heard.append((date, took_s)))
        await client.get(UID)
        with pytest.raises(RemoteRefused):
            await client.get(UID)
        with pytest.raises(RemoteFailed):
            await client.get(UID)
    assert [date for date, _ in heard] == [AT_NINE] * 3
    assert all(took_s >= 0 for _, took_s in heard)


async def test_the_time_since_the_request_is_reported() -> None:
    time = PassingTime()
    heard: list[float] = []
    slow = Hang(then=Reply(200, success(None).body, {"Date": NINE}))
    async with (
        remote(slow) as server,
        CalComClient(server.url, clock=time.clock, sleep=time.sleep) as client,
    ):
        client.on_date(lambda _, took_s: heard.append(took_s))
        asked = asyncio.ensure_future(client.get(UID))
        await slow.read.wait()
        time.now += 7
        slow.go.set()
        await asked
    assert heard == [7]


async def test_a_response_without_a_usable_date_is_not_reported() -> None:
    heard: list[datetime] = []
    steps = (
        success(None),
        Reply(200, success(None).body, {"Date": "yesterday"}),
        Reply(200, success(None).body, {"Date": NINE, "Age": "3"}),  # from a cache
        DROP,
    )
    async with remote(*steps) as server, CalComClient(server.url, attempts=1) as client:
        client.on_date(lambda date, _: heard.append(date))
        for _ in range(3):
            await client.get(UID)
        with pytest.raises(RemoteFailed):
            await client.get(UID)
    assert heard == []


async def test_a_listener_can_be_removed() -> None:
    first: list[datetime] = []
    second: list[datetime] = []
    dated = Reply(200, success(None).body, {"Date": NINE})
    async with remote(dated, dated, dated) as server, CalComClient(server.url) as client:
        stop = client.on_date(lambda date, _: first.append(date))
        client.on_date(lambda date, _: second.append(date))
        await client.get(UID)
        await client.get(UID)
        stop()
        await client.get(UID)
    assert (len(first), len(second)) == (2, 3)


@pytest.mark.parametrize(
    "text", [NINE, "Monday, 05-Sep-50 09:00:00 GMT", "Mon Sep  5 09:00:00 2050"]
)
def test_all_three_formats_are_read(text: str) -> None:
    assert Response(200, {"date": text}, b"").date() == AT_NINE


@given(st.text() | st.from_regex(r"Mon, [0-9]{2} Sep [0-9]{4} [0-9:]{8} [+-][0-9]{4}"))
def test_no_text_raises(text: str) -> None:
    date = Response(200, {"date": text}, b"").date()
    assert date is None or date.utcoffset() is not None
