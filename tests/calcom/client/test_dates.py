"""What time it is at the remote, as its answers say, for whoever wants to hear it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom import CalComClient, RemoteFailed, RemoteRefused
from slotengine.calcom.client.responses import Answer
from tests.calcom.client.scripted import DROP, UID, Hang, PassingTime, Reply, error, remote, success

pytestmark = pytest.mark.anyio

NINE = "Mon, 05 Sep 2050 09:00:00 GMT"
AT_NINE = datetime(2050, 9, 5, 9, tzinfo=UTC)


async def test_every_answer_is_heard_whatever_it_says() -> None:
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


async def test_it_is_said_how_long_ago_the_request_was_sent() -> None:
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


async def test_who_does_not_say_it_is_not_heard() -> None:
    heard: list[datetime] = []
    steps = (
        success(None),
        Reply(200, success(None).body, {"Date": "yesterday"}),
        Reply(200, success(None).body, {"Date": NINE, "Age": "3"}),  # by somebody in between
        DROP,
    )
    async with remote(*steps) as server, CalComClient(server.url, attempts=1) as client:
        client.on_date(lambda date, _: heard.append(date))
        for _ in range(3):
            await client.get(UID)
        with pytest.raises(RemoteFailed):
            await client.get(UID)
    assert heard == []


async def test_whoever_has_heard_enough_says_so() -> None:
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
    assert Answer(200, {"date": text}, b"").date() == AT_NINE


@given(st.text() | st.from_regex(r"Mon, [0-9]{2} Sep [0-9]{4} [0-9:]{8} [+-][0-9]{4}"))
def test_any_other_text_is_no_date_or_one(text: str) -> None:
    date = Answer(200, {"date": text}, b"").date()
    assert date is None or date.utcoffset() is not None
