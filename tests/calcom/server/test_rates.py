"""Rate limits over the wire, at once and the usual way: who is counted as whom, and the 429."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from slotengine.calcom.catalog.load import catalog_from
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.server.throttle import TOO_MANY, Throttle, rate_limit_address
from tests.calcom.server.api import OAUTH, OWNER, PATH, RAW_CATALOG, VERSION, Api, Start

pytestmark = pytest.mark.anyio

NONE = "00000000-0000-4000-8000-000000000000"
TOKEN = {"Authorization": "Bearer owner-token"}


def limited(**tables: object) -> Any:
    return catalog_from(RAW_CATALOG | {"rateLimits": tables})


async def read(api: Api, headers: dict[str, str] | None = None) -> tuple[int, list[str | None]]:
    """Read a hold that is not there; return the status, and the three headers."""
    answer = await api.session.get(f"{PATH}/{NONE}", headers=VERSION | (headers or {}))
    kinds = ("Limit", "Remaining", "Reset")
    return answer.status, [answer.headers.get(f"X-RateLimit-{kind}-Default") for kind in kinds]


async def test_without_a_word_of_them_there_are_none(api: Api) -> None:
    status, shown = await read(api)
    assert (status, shown) == (200, [None] * 3)


async def test_a_window_a_block_and_a_window_again(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 2, "blockSeconds": 90}))
    assert await read(api) == (200, ["2", "1", "60"])
    await api.clock.advance(timedelta(seconds=20.5))
    assert await read(api) == (200, ["2", "0", "40"])
    assert await read(api) == (429, ["2", "0", "90"])
    await api.clock.advance(timedelta(seconds=89))
    assert await read(api) == (429, ["2", "0", "1"])
    await api.clock.advance(timedelta(seconds=1))
    assert await read(api) == (200, ["2", "1", "60"])


async def test_the_429_is_the_original_s(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 1}))
    await read(api)
    answer = await api.session.get(f"/api{PATH}/{NONE}", headers=VERSION)
    body = await answer.json()
    assert answer.status == 429
    assert "Retry-After" not in answer.headers
    assert body["error"] == {"code": "ThrottlerException", "message": TOO_MANY, "details": TOO_MANY}
    assert body["path"] == f"{PATH}/{NONE}"


async def test_a_refused_request_does_nothing(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 1}))
    body = {"eventTypeId": 99, "slotStart": "2050-09-05T10:00:00Z"}
    statuses = []
    for event_type in (99, 1):  # a refusal counts as well
        content = body | {"eventTypeId": event_type}
        statuses.append((await api.session.post(PATH, json=content, headers=VERSION)).status)
    assert statuses == [404, 429]
    assert api.engine.statistics().held == 0


async def test_each_kind_of_caller_counts_by_itself(start: Start) -> None:
    one = {"requests": 1}
    api = await start(catalog=limited(address=one, apiKey=one, accessToken=one, oauthClient=one))
    callers: list[dict[str, str]] = [
        {},
        OWNER,
        {"Authorization": "Bearer cal_colleague"},
        TOKEN,
        OAUTH,
    ]
    assert [(await read(api, caller))[0] for caller in callers] == [200] * 5
    assert [(await read(api, caller))[0] for caller in callers] == [429] * 5


CLAIMS: list[dict[str, str]] = [
    {"Authorization": "Bearer unknown-token"},
    {"x-cal-client-id": "platform"},
    OAUTH | {"x-cal-secret-key": "wrong"},
    {"x-cal-client-id": "nobody", "x-cal-secret-key": "secret"},
    {"cf-connecting-ip": "192.0.2.7"},
]


@pytest.mark.parametrize("claim", CLAIMS)
async def test_who_only_claims_to_be_somebody_counts_as_an_address(
    start: Start, claim: dict[str, str]
) -> None:
    api = await start(catalog=limited(address={"requests": 1}))
    assert (await read(api, claim))[0] == 200
    assert (await read(api))[0] == 429
    assert (await read(api, OAUTH))[0] == 200


async def test_keys_cannot_be_tried_without_end(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 2}))
    tried = [{"Authorization": f"Bearer cal_{number}"} for number in range(4)]
    assert [(await read(api, each))[0] for each in tried] == [401, 401, 429, 429]
    assert (await read(api, OWNER))[0] == 200


async def test_what_is_no_endpoint_is_not_counted(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 1}))
    for path, headers in (("/v2/nothing", VERSION), (f"{PATH}/{NONE}", {})):
        assert (await api.session.get(path, headers=headers)).status == 404
    assert (await api.session.options(PATH)).status == 204
    assert (await read(api))[0] == 200


async def test_a_proxy_may_say_which_address_calls(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 1}, addressHeader="X-Real-IP"))
    for address in ("192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8:0:1::1"):
        assert (await read(api, {"x-real-ip": address}))[0] == 200
    for address in ("192.0.2.7", "::ffff:192.0.2.8", " 2001:db8::ffff:1 "):
        assert (await read(api, {"x-real-ip": address}))[0] == 429
    assert (await read(api))[0] == 200  # past the proxy


async def test_the_catalog_decides_before_whoever_embeds(start: Start) -> None:
    given = RateLimits(address=RateLimit(7))
    api = await start(rate_limits=given)
    assert (await read(api))[1][0] == "7"
    api = await start(catalog=limited(disabled=True), rate_limits=given)
    assert (await read(api))[1][0] is None
    api = await start(catalog=limited(), rate_limits=given)
    assert (await read(api))[1][0] == "120"


async def test_without_limits_unknown_keys_are_refused_all_the_same(start: Start) -> None:
    api = await start(rate_limits=UNLIMITED)
    assert (await read(api, {"Authorization": "Bearer cal_wrong"}))[0] == 401


async def test_what_a_proxy_has_found_in_the_header_does_not_count(start: Start) -> None:
    api = await start(catalog=limited(address={"requests": 1}, addressHeader="X-Forwarded-For"))
    lines = b"Connection: close\r\nX-Forwarded-For: %d\r\n"
    # Some proxies add to the line that the client has sent, others add one.
    for number, (added, status) in enumerate(
        [(b"X-Forwarded-For: 192.0.2.7", 200), (b"x-forwarded-for: 8, 192.0.2.7:50123", 429)]
    ):
        head = (
            b"GET /v2/slots/reservations/x HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        )
        answer = await api.raw(head + lines % number + added + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)


FORWARDED = [
    (["for=192.0.2.7"], "192.0.2.7"),
    (['For="192.0.2.7:50123";proto=https;by=203.0.113.4'], "192.0.2.7"),
    (['proto=https;for="[2001:db8::5:6:7:8]:50123"'], "2001:db8::/64"),
    (["for=192.0.2.1, for=192.0.2.7"], "192.0.2.7"),
    (["for=192.0.2.1", "for=192.0.2.7"], "192.0.2.7"),
    (['for="192.0.2.1, for=192.0.2.7'], "192.0.2.7"),
    (['for=192.0.2.1;x=", for=192.0.2.7;host="h"'], "192.0.2.7"),
    (['for=192.0.2.7;host="h, for=192.0.2.1"'], "192.0.2.7"),
    (['host="h;for=192.0.2.1";for=192.0.2.7'], "192.0.2.7"),
    (["for=_hidden"], "_hidden"),
    (["for=192.0.2.1, proto=https"], "198.51.100.1"),
    (["192.0.2.1"], "198.51.100.1"),
    ([""], "198.51.100.1"),
]


@pytest.mark.parametrize(("lines", "address"), FORWARDED)
def test_the_standard_header_of_proxies_says_who_calls(lines: list[str], address: str) -> None:
    throttle = Throttle(replace(UNLIMITED, address_header="Forwarded"))
    headers = CIMultiDict([("forwarded", line) for line in lines])
    assert throttle.address(headers, "198.51.100.1") == address


async def test_what_an_address_may_be() -> None:
    assert rate_limit_address("") == ""
    assert rate_limit_address("fe80::1%eth0") == rate_limit_address("fe80::2") == "fe80::/64"
    assert len(rate_limit_address("x" * 10_000)) == 64


WRONG: list[tuple[dict[str, object], str]] = [
    ({"apiKey": {"requests": 0}}, "rateLimits.apiKey.requests: must be greater than or equal to 1"),
    ({"address": {"windowSeconds": 0}}, "rateLimits.address.windowSeconds: must be greater"),
    ({"address": {"blockSeconds": 86_401}}, "rateLimits.address.blockSeconds: must be less"),
    ({"addressHeader": "a b"}, "rateLimits.addressHeader: must match"),
    ({"adress": {}}, "rateLimits.adress: is not a known key"),
]


@pytest.mark.parametrize(("table", "problem"), WRONG)
async def test_what_the_catalog_may_not_say(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match="rateLimits") as caught:
        limited(**table)
    assert problem in str(caught.value)
