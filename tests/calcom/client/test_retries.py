"""When the client waits, for how long, and when it does not: limits, backoff, circuit breaker."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any, cast

import pytest

from slotengine.calcom import (
    NOT_SENT,
    CalComClient,
    CircuitState,
    RateLimited,
    RemoteConflict,
    RemoteDown,
    RemoteFailed,
    RemoteReservation,
)
from tests.calcom.client.scripted import (
    CREATED,
    DONE,
    DROP,
    START,
    TOO_MANY,
    UID,
    Hang,
    Longest,
    PassingTime,
    Reply,
    StandingTime,
    error,
    remote,
    success,
    until,
)

pytestmark = pytest.mark.anyio

FOUND = success(None)


def client_of(url: str, time: PassingTime, **options: Any) -> CalComClient:
    options.setdefault("random", cast(Random, Longest()))
    return CalComClient(url, clock=time.clock, sleep=time.sleep, **options)


# --- 429 ---------------------------------------------------------------------------------

RESETS = {
    "seconds": ({"X-RateLimit-Reset-Default": "12"}, 12),
    "in lower case": ({"x-ratelimit-reset-default": "12"}, 12),
    "a fraction": ({"X-RateLimit-Reset-Default": "1.5"}, 1.5),
    "milliseconds": ({"X-RateLimit-Reset-Default": "12000"}, 12),
    "not a number": ({"X-RateLimit-Reset-Default": "soon"}, 60),
    "none": ({}, 60),
    "the first of several limits": ({"X-RateLimit-Reset-A": "50", "X-RateLimit-Reset-B": "20"}, 20),
    "the default one of several": (
        {"X-RateLimit-Reset-A": "5", "X-RateLimit-Reset-Default": "7"},
        7,
    ),
    "from a proxy": ({"Retry-After": "9"}, 9),
    "from a proxy, as a date": ({"Retry-After": "Mon, 05 Sep 2050 10:00:00 GMT"}, 60),
    "absurd": ({"X-RateLimit-Reset-Default": "1767225600"}, 3600),
}


@pytest.mark.parametrize(("headers", "seconds"), RESETS.values(), ids=RESETS)
async def test_a_429_says_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    time = PassingTime()
    limited = Reply(429, error(429).body, headers)
    async with (
        remote(limited, CREATED) as server,
        client_of(server.url, time, timeout_s=10_000) as client,
    ):
        assert isinstance(await client.reserve(1, START), RemoteReservation)
    assert time.slept == [seconds + 0.5]


async def test_a_429_holds_all_calls_back() -> None:
    time = StandingTime()
    async with remote(TOO_MANY, FOUND, FOUND) as server, client_of(server.url, time) as client:
        first = asyncio.ensure_future(client.get(UID))
        await until(lambda: time.sleepers == 1)
        second = asyncio.ensure_future(client.get(UID))
        await until(lambda: time.sleepers == 2)
        assert time.slept == [12.5, 12]
        time.advance(11.9)
        await asyncio.sleep(0)
        assert len(server.seen) == 1
        time.advance(0.6)
        await first
        await second


async def test_a_429_that_takes_too_long_is_raised_at_once() -> None:
    time = PassingTime()
    async with remote(TOO_MANY) as server, client_of(server.url, time, timeout_s=10) as client:
        with pytest.raises(RateLimited, match="try again in 12") as limited:
            await client.reserve(1, START)
        with pytest.raises(RateLimited, match="not sent") as held_back:
            await client.reserve(1, START)
    assert (limited.value.retry_after_s, limited.value.code) == (12, "Code")
    assert (held_back.value.retry_after_s, held_back.value.code) == (12, NOT_SENT)
    assert time.slept == []


async def test_without_waiting_a_limited_call_raises_at_once() -> None:
    time = PassingTime()
    async with (
        remote(TOO_MANY) as server,
        client_of(server.url, time, wait_for_permit=False) as client,
    ):
        for _ in range(2):
            with pytest.raises(RateLimited):
                await client.reserve(1, START)
    assert len(server.seen) == 1


async def test_the_client_pauses_when_nothing_remains() -> None:
    """One request too many, and the remote shuts the caller out for another minute."""
    time = PassingTime()
    last = {"X-RateLimit-Remaining-Default": "0", "X-RateLimit-Reset-Default": "7"}
    more = {"X-RateLimit-Remaining-A": "0", "X-RateLimit-Remaining-B": "1"}
    async with (
        remote(Reply(200, FOUND.body, more), Reply(200, FOUND.body, last), FOUND) as server,
        client_of(server.url, time) as client,
    ):
        await client.get(UID)
        await client.get(UID)
        assert time.slept == []
        await client.get(UID)
    assert time.slept == [7]


# --- The client's own limit ----------------------------------------------------------------


async def test_the_limit_of_a_minute_is_kept() -> None:
    time = PassingTime()
    async with (
        remote(*[FOUND] * 5) as server,
        client_of(server.url, time, per_minute=2, timeout_s=100) as client,
    ):
        for _ in range(5):
            await client.get(UID)
    assert time.slept == [60, 60]


async def test_concurrent_calls_keep_the_limit_in_their_order() -> None:
    time = StandingTime()
    order: list[int] = []

    async def call(client: CalComClient, number: int) -> None:
        await client.get(UID)
        order.append(number)

    async with (
        remote(*[FOUND] * 5) as server,
        client_of(server.url, time, per_minute=2, timeout_s=200) as client,
    ):
        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(call(client, number))
            for done in (2, 4):
                await until(lambda done=done: len(order) == done)  # type: ignore[misc]
                assert client.statistics().waiting == 5 - done
                time.advance(60)
                await until(lambda done=done: len(order) > done)  # type: ignore[misc]
                if done == 2:
                    await until(lambda: time.sleepers == 1)
        assert client.statistics().waiting == 0
    assert [sorted(order[:2]), sorted(order[2:4]), order[4:]] == [[0, 1], [2, 3], [4]]


async def test_a_call_whose_wait_would_be_too_long_raises_at_once() -> None:
    time = PassingTime()
    async with remote(FOUND) as server, client_of(server.url, time, per_minute=1) as client:
        await client.get(UID)
        with pytest.raises(RateLimited) as limited:
            await client.reserve(1, START)
        assert (limited.value.status, limited.value.code) == (429, NOT_SENT)
        assert limited.value.retry_after_s == 60
        assert client.statistics().waiting == 0
    assert time.slept == []


async def test_without_a_limit_nobody_waits() -> None:
    time = PassingTime()
    async with (
        remote(*[FOUND] * 130) as server,
        client_of(server.url, time, per_minute=None) as client,
    ):
        for _ in range(130):
            await client.get(UID)
    assert time.slept == []


# --- Backoff -----------------------------------------------------------------------------


async def test_backoff_doubles_up_to_a_maximum() -> None:
    time = PassingTime()
    async with (
        remote(*[DROP] * 7) as server,
        client_of(server.url, time, attempts=7, timeout_s=1000, failures=99) as client,
    ):
        with pytest.raises(RemoteFailed):
            await client.get(UID)
    assert time.slept == [0.5, 1, 2, 4, 8, 8]


async def test_backoff_is_random() -> None:
    waits = []
    for seed in (1, 1, 2):
        time = PassingTime()
        async with (
            remote(*[DROP] * 3) as server,
            client_of(server.url, time, random=Random(seed)) as client,
        ):
            with pytest.raises(RemoteFailed):
                await client.get(UID)
        waits.append(time.slept)
    assert waits[0] == waits[1] != waits[2]
    assert 0 <= waits[0][0] <= 0.5


async def test_no_retry_begins_after_the_deadline() -> None:
    time = PassingTime()
    async with (
        remote(DROP, DROP) as server,
        client_of(server.url, time, attempts=9, timeout_s=1.5) as client,
    ):
        with pytest.raises(RemoteFailed):
            await client.get(UID)
    assert time.slept == [0.5]


# --- The circuit breaker -----------------------------------------------------------------


async def test_a_remote_that_is_down_gets_no_requests_and_then_a_probe(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time = PassingTime()
    async with (
        remote(error(500), DROP, error(500), FOUND, FOUND) as server,
        client_of(server.url, time, attempts=1, failures=2, cooldown_s=30) as client,
    ):
        with caplog.at_level(logging.WARNING, "slotengine"):
            for _ in range(2):
                with pytest.raises(RemoteFailed):
                    await client.get(UID)
        assert caplog.messages == [
            "the circuit breaker opened after get: no response: ServerDisconnectedError"
        ]
        time.now += 10
        for _ in range(3):
            with pytest.raises(RemoteDown, match="try again in 20") as down:
                await client.reserve(1, START)
            assert down.value.retry_after_s == 20
        assert client.statistics().circuit is CircuitState.OPEN
        assert len(server.seen) == 2

        time.now += 20
        with pytest.raises(RemoteFailed):
            await client.get(UID)  # the probe fails
        with pytest.raises(RemoteDown, match="try again in 30"):
            await client.get(UID)
        time.now += 30
        await client.get(UID)  # the probe succeeds
        await client.get(UID)
        statistics = client.statistics()
    assert (statistics.circuit, statistics.times_opened) == (CircuitState.CLOSED, 2)
    assert (statistics.calls, statistics.sent) == (9, 5)


async def test_there_is_only_one_probe_at_a_time() -> None:
    time = PassingTime()
    hang = Hang(then=FOUND)
    async with (
        remote(DROP, hang, FOUND) as server,
        client_of(server.url, time, attempts=1, failures=1) as client,
    ):
        with pytest.raises(RemoteFailed):
            await client.get(UID)
        time.now += 30
        probe = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        assert client.statistics().circuit is CircuitState.HALF_OPEN
        with pytest.raises(RemoteDown):
            await client.get(UID)
        hang.go.set()
        await probe
        await client.get(UID)


async def test_a_refusal_counts_as_a_success() -> None:
    time = PassingTime()
    async with (
        remote(DROP, error(422), DROP, error(422), DROP) as server,
        client_of(server.url, time, attempts=1, failures=2) as client,
    ):
        for _ in range(2):
            with pytest.raises(RemoteFailed):
                await client.get(UID)
            with pytest.raises(RemoteConflict):
                await client.get(UID)
        with pytest.raises(RemoteFailed):
            await client.get(UID)
        assert client.statistics().circuit is CircuitState.CLOSED


async def test_calls_that_wait_for_the_limit_raise_when_the_breaker_opens() -> None:
    time = StandingTime()
    hang = Hang(then=error(500))
    async with (
        remote(FOUND, hang) as server,
        client_of(
            server.url, time, per_minute=2, attempts=1, failures=1, timeout_s=100, cooldown_s=90
        ) as client,
    ):
        await client.get(UID)
        second = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        third = asyncio.ensure_future(client.get(UID))
        await until(lambda: time.sleepers == 1)
        hang.go.set()
        with pytest.raises(RemoteFailed):
            await second
        time.advance(60)
        with pytest.raises(RemoteDown):
            await third


async def test_calls_do_not_wait_for_the_limit_while_the_breaker_is_open() -> None:
    time = PassingTime()
    async with (
        remote(DROP) as server,
        client_of(server.url, time, per_minute=1, attempts=1, failures=1, timeout_s=100) as client,
    ):
        with pytest.raises(RemoteFailed):
            await client.get(UID)
        with pytest.raises(RemoteDown):
            await client.get(UID)
    assert time.slept == []


# --- Cancellation --------------------------------------------------------------------------


async def cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_request_leaves_no_connection_and_nothing_in_flight() -> None:
    hang = Hang()
    async with remote(hang, FOUND) as server, client_of(server.url, PassingTime()) as client:
        task = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        assert client.statistics().in_flight == 1
        await cancelled(task)
        await server.quiet()
        assert client.statistics().in_flight == 0
        assert client.statistics().failed == 0
        await client.get(UID)


async def test_after_a_cancelled_probe_the_next_request_is_the_probe() -> None:
    time = PassingTime()
    hang = Hang()
    async with (
        remote(DROP, hang, FOUND) as server,
        client_of(server.url, time, attempts=1, failures=1) as client,
    ):
        with pytest.raises(RemoteFailed):
            await client.get(UID)
        time.now += 30
        probe = asyncio.ensure_future(client.get(UID))
        await hang.read.wait()
        await cancelled(probe)
        await client.get(UID)
        assert client.statistics().circuit is CircuitState.CLOSED


async def test_a_cancelled_wait_for_the_limit_gives_its_permit_back() -> None:
    time = StandingTime()
    async with (
        remote(FOUND, FOUND) as server,
        client_of(server.url, time, per_minute=1, timeout_s=100) as client,
    ):
        await client.get(UID)
        first = asyncio.ensure_future(client.get(UID))
        await until(lambda: time.sleepers == 1)
        await cancelled(first)
        assert client.statistics().waiting == 0
        second = asyncio.ensure_future(client.get(UID))
        await until(lambda: time.sleepers == 1)
        time.advance(60)
        await second


async def test_a_cancelled_backoff_sends_nothing_more() -> None:
    time = StandingTime()
    async with remote(DROP, DONE) as server, client_of(server.url, time) as client:
        task = asyncio.ensure_future(client.delete(UID))
        await until(lambda: time.sleepers == 1)
        await cancelled(task)
        assert len(server.seen) == 1
        await client.delete(UID)


async def test_leaving_the_client_ends_requests_in_flight() -> None:
    hang = Hang()
    async with remote(hang) as server:
        async with client_of(server.url, PassingTime(), attempts=1) as client:
            task = asyncio.ensure_future(client.get(UID))
            await hang.read.wait()
        with pytest.raises(RemoteFailed):
            await task
        await server.quiet()
