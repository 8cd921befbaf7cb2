"""The stand-in line by line, section 10: rate limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from slotengine.testing.remote import RateLimit, RateLimits, RemoteApiKey
from tests.testing.remote.client import PATH, VERSION, Answer, Client, Start, bearer

pytestmark = pytest.mark.anyio


def limits_of(answer: Answer, name: str = "Default") -> tuple[int, int, int]:
    kinds = ("Limit", "Remaining", "Reset")
    limit, remaining, reset = (int(answer.headers[f"X-RateLimit-{k}-{name}"]) for k in kinds)
    return limit, remaining, reset


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ({}, 120),
        (bearer("cal_owner"), 120),
        (bearer("token"), 500),
        (bearer("unknown"), 500),
        ({"x-cal-client-id": "anything"}, 500),
        (bearer("token") | {"x-cal-client-id": "anything"}, 500),
        (bearer("cal_owner") | {"x-cal-client-id": "anything"}, 120),
    ],
)
async def test_section_10_the_default_limits(
    client: Client, headers: dict[str, str], limit: int
) -> None:
    answer = await client.call("GET", f"{PATH}/none", headers=VERSION | headers)
    assert limits_of(answer) == (limit, limit - 1, 60)


async def test_section_10_a_fixed_window_and_then_a_block(start: Start) -> None:
    client = await start(limits=RateLimits(address=RateLimit(2, window_s=60, block_s=90)))
    assert limits_of(await client.get("none")) == (2, 1, 60)
    await client.clock.advance(timedelta(seconds=20.5))
    assert limits_of(await client.get("none")) == (2, 0, 40)
    refused = await client.get("none")
    assert refused.status == 429
    assert limits_of(refused) == (2, 0, 90)
    text = "CustomThrottlerGuard - Too many requests. Please try again later."
    assert refused.error == {"code": "ThrottlerException", "message": text, "details": text}
    assert "Retry-After" not in refused.headers

    await client.clock.advance(timedelta(seconds=89))  # the window is over, the block is not
    assert limits_of(await client.get("none")) == (2, 0, 1)
    await client.clock.advance(timedelta(seconds=1))
    assert limits_of(await client.get("none")) == (2, 1, 60)


async def test_section_10_a_window_that_is_not_used_up_starts_again(start: Start) -> None:
    client = await start(limits=RateLimits(address=RateLimit(2)))
    for _ in range(3):
        assert (await client.get("none")).status == 200
        assert (await client.get("none")).status == 200
        await client.clock.advance(timedelta(seconds=60))


async def test_section_10_refusals_count_and_callers_are_apart(start: Start) -> None:
    client = await start(limits=RateLimits(address=RateLimit(1), api_key=RateLimit(1)))
    assert (await client.post(eventTypeId=99)).status == 404
    assert (await client.post()).status == 429
    assert client.remote.rows == ()
    assert (await client.post(headers=bearer("cal_owner"))).status == 201
    assert (await client.post(headers=bearer("cal_member"), eventTypeId=2)).status == 201
    elsewhere = {"cf-connecting-ip": "192.0.2.7"}
    assert (await client.post(headers=elsewhere, eventTypeId=3)).status == 201
    assert (await client.post(headers=elsewhere)).status == 429


async def test_section_10_a_key_with_limits_of_its_own(start: Start) -> None:
    own = (RateLimit(1, name="burst", window_s=10), RateLimit(2, name="steady"))
    client = await start(api_keys=(RemoteApiKey("cal_own", 1, limits=own),))
    headers = VERSION | bearer("cal_own")
    answers = [await client.call("GET", f"{PATH}/none", headers=headers) for _ in range(3)]
    # Blocked only when all are exceeded.
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert limits_of(answers[1], "Burst") == (1, 0, 60)
    assert limits_of(answers[1], "Steady") == (2, 0, 60)


async def test_section_10_what_is_no_endpoint_is_not_counted(start: Start) -> None:
    client = await start(limits=RateLimits(address=RateLimit(1)))
    for _ in range(3):
        assert (await client.call("GET", "/v2/nothing")).status == 404
    assert (await client.get("none")).status == 200
