"""Quotas over the wire: how much each caller may hold, for how long, and for whom it counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from slotengine import Quota, SlotEngine, minutes
from slotengine.calcom.catalog.load import CatalogError, catalog_from
from slotengine.calcom.catalog.quotas import ADDRESS_QUOTA, NO_QUOTAS, CallerQuotas
from slotengine.calcom.catalog.secrets import fingerprint
from slotengine.calcom.server import create_app
from slotengine.testing import SimClock
from tests.calcom.server.api import (
    NOW,
    OAUTH,
    OWNER,
    PATH,
    RAW_CATALOG,
    Answer,
    Api,
    Start,
)
from tests.standing import standing

pytestmark = pytest.mark.anyio

TOKEN = {"Authorization": "Bearer owner-token"}
COLLEAGUE = {"Authorization": "Bearer cal_colleague"}
HEADER = "X-Real-IP"
HALF_HOUR, SEVEN = minutes(30), minutes(7)
ODD = timedelta(minutes=1, seconds=7, microseconds=123_456)


def behind_a_proxy(**quotas: object) -> Any:
    """Return a catalog that names the header of a proxy, though it has no rate limits."""
    raw = RAW_CATALOG | {"rateLimits": {"disabled": True, "addressHeader": HEADER}}
    return catalog_from(raw | ({"quotas": quotas} if quotas else {}))


def of(address: str) -> dict[str, str]:
    return {HEADER: address}


def slot(number: int) -> str:
    """Return the start of a slot that is free in the beginning: one of many."""
    return f"2050-09-{12 + number // 24:02}T{number % 24:02}:00:00Z"


async def hold(api: Api, number: int, headers: dict[str, str] | None = None, **body: Any) -> Answer:
    return await api.post(headers=headers, slotStart=slot(number), **body)


async def fill(api: Api, headers: dict[str, str] | None = None, *, first: int = 0) -> list[str]:
    """Hold 20 slots, a while apart, and return their uids."""
    uids = []
    for number in range(first, first + 20):
        answer = await hold(api, number, headers)
        assert answer.status == 201
        uids.append(answer.data["reservationUid"])
        await api.clock.advance(timedelta(seconds=1, microseconds=7_001))
    return uids


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def quota(answer: Answer) -> dict[str, Any]:
    assert answer.status == 422
    details = answer.body["error"]["details"]
    assert details["message"] == answer.message
    assert (details["error"], details["statusCode"]) == ("Unprocessable Entity", 422)
    facts = details["quota"]
    assert isinstance(facts, dict)
    return facts


async def test_an_address_holds_twenty_slots_and_is_told_when_there_is_room(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    uids = await fill(api)
    answer = await hold(api, 20)
    facts = quota(answer)
    again = facts.pop("retryAt")
    assert facts == {"name": "holds", "limit": 20, "used": 20}
    assert answer.message == (f"No more than 20 slots may be held at once. Try again at {again}.")
    assert not any(uid in str(answer.body) for uid in uids)
    assert "127.0.0.1" not in str(answer.body)
    # A moment before there is none; then there is, for one.
    first = (await api.engine.get(uids[0])).until  # type: ignore[union-attr]
    assert first is not None
    assert timedelta() <= moment(again) - first < timedelta(milliseconds=1)
    await api.clock.advance(first - api.clock.moment - timedelta(microseconds=1))
    assert quota(await hold(api, 20))["retryAt"] == again
    await api.clock.advance(moment(again) - api.clock.moment)
    assert (await hold(api, 20)).status == 201
    assert quota(await hold(api, 21))["used"] == 20
    # Whoever gives one back may have another.
    assert (await api.call("DELETE", f"{PATH}/{uids[7]}")).status == 200
    assert (await hold(api, 21)).status == 201
    assert (await hold(api, 22)).status == 422


async def test_renewing_is_no_way_to_keep_more_nor_longer(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    made = api.clock.moment
    answer = await hold(api, 0)
    uid, until = answer.data["reservationUid"], answer.data["reservationUntil"]
    for number in range(1, 30):
        await api.clock.advance(timedelta(minutes=4, seconds=1, microseconds=1))
        # By turns it moves and stays; and it is patched by whoever likes.
        headers = ({}, OWNER, OAUTH, TOKEN)[number % 4]
        answer = await api.patch(uid, headers=headers, slotStart=slot(number // 2))
        if answer.status != 200:
            break
        until = answer.data["reservationUntil"]
        assert moment(until) <= made + minutes(30)
    facts = quota(answer)
    latest = facts["latest"]
    assert facts == {"name": "life", "latest": latest, "retryAt": None}
    assert timedelta() <= made + minutes(30) - moment(latest) < timedelta(milliseconds=1)
    assert answer.message == (
        f"This slot may be held until {latest} at the latest. Please release it and reserve anew."
    )
    assert api.clock.moment < moment(until)  # and so it is still there, as it was
    read = await api.get(uid)
    assert read.data["reservationUntil"] == until
    answer = await api.patch(uid, headers=OWNER, slotStart=slot(0), reservationDuration=6)
    assert quota(answer)["name"] == "life"
    await api.clock.advance(made + minutes(30) - api.clock.moment)
    assert (await api.patch(uid, slotStart=slot(0))).status == 404


async def test_a_hold_may_be_renewed_for_just_as_long_as_it_may_live(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    uid = (await hold(api, 0)).data["reservationUid"]
    for number in range(1, 7):
        await api.clock.advance(minutes(5) - timedelta(microseconds=1))
        renewed = await api.patch(uid, slotStart=slot(0))
        assert renewed.status == (200 if number < 6 else 422)
    renewed = await api.patch(uid, headers=OWNER, slotStart=slot(0), reservationDuration=1)
    assert renewed.status == 422
    found = await api.engine.get(uid)
    assert found is not None
    assert found.until == NOW + ODD + minutes(30) - timedelta(microseconds=5)


async def test_who_counts_as_whom(start: Start) -> None:
    """Addresses by themselves, IPv6 by networks; whoever is known by credentials is no address."""
    api = await start(SimClock(NOW + ODD), catalog=behind_a_proxy())
    await fill(api, of("2001:db8:1:2::7"))
    for same in (
        "2001:db8:1:2::8",
        "2001:DB8:1:2:ffff::",
        "[2001:db8:1:2::9]:443",
        "x, 2001:db8:1:2::1",
    ):
        assert (await hold(api, 20, of(same))).status == 422
    assert (await hold(api, 20, of("2001:db8:1:3::7"))).status == 201
    await fill(api, of("192.0.2.7"), first=21)
    for same in ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7:50123", "198.51.100.1, 192.0.2.7"):
        assert (await hold(api, 41, of(same))).status == 422
    assert (await hold(api, 41, of("192.0.2.8"))).status == 201
    assert (await hold(api, 42)).status == 201  # whoever has connected, without the header
    # Credentials, from an address that has no more room.
    for number, headers in enumerate((OWNER, TOKEN, OAUTH, COLLEAGUE), 43):
        assert (await hold(api, number, of("192.0.2.7") | headers)).status == 201
    # Wrong ones are no way around it.
    wrong = of("192.0.2.7") | {"Authorization": "Bearer cal_wrong"}
    assert (await hold(api, 48, wrong)).status == 401
    wrong = of("192.0.2.7") | {"x-cal-client-id": "platform"}
    assert (await hold(api, 48, wrong)).status == 422
    await api.clock.advance(minutes(1))
    assert (await hold(api, 48, of("user:1"))).status == 201  # a name is no user
    assert {one.holder for one in api.engine.local.find(standing(
        "user:1", NOW, NOW + timedelta(days=30)
    )).reservations} == {
        "address:2001:db8:1:2::/64", "address:2001:db8:1:3::/64", "address:192.0.2.7",
        "address:192.0.2.8", "address:127.0.0.1", "address:user", "user:1", "user:2", None,
    }  # fmt: skip


async def test_two_addresses_that_connect_are_two(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    await fill(api)
    assert (await hold(api, 20)).status == 422
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", connector=connector) as other:
        theirs = Api(other, api.port, api.engine, api.clock)
        assert (await hold(theirs, 20)).status == 201
        # What the other renews or moves counts for whoever made it.
        uid = (await hold(theirs, 21)).data["reservationUid"]
        moved = await api.patch(uid, slotStart=slot(22))
        assert moved.status == 200
        assert (await hold(api, 23)).status == 422
        for number in range(23, 41):
            assert (await hold(theirs, number)).status == 201
        assert (await hold(theirs, 41)).status == 422


async def test_a_forged_header_counts_for_nothing_unless_it_is_named(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    await fill(api, of("192.0.2.7"))
    assert (await hold(api, 20, of("192.0.2.8") | {"X-Forwarded-For": "192.0.2.9"})).status == 422


async def test_api_keys_hold_anything_for_as_long_as_they_like(start: Start) -> None:
    api = await start(SimClock(NOW + ODD))
    uids = [
        (await hold(api, number, OWNER)).data["reservationUid"] for number in range(45)
    ]  # fmt: skip
    for _ in range(8):
        await api.clock.advance(timedelta(minutes=4, seconds=59))
        assert (await api.patch(uids[0], slotStart=slot(0))).status == 200


async def test_the_catalog_gives_each_kind_of_caller_a_quota(start: Start) -> None:
    """All the credentials of a user count as one, by the quota of those that are used."""
    raw = RAW_CATALOG | {
        "quotas": {
            "apiKey": {"holds": 3, "lifeMinutes": 10},
            "accessToken": {"holds": 2},
            "oauthClient": {"heldMinutes": 120},
            "address": {"holds": "unlimited", "lifeMinutes": 3},
        },
        "users": [
            user | {"apiKeys": [*user.get("apiKeys", ()), fingerprint("cal_second")]}
            if user["id"] == 1
            else user
            for user in RAW_CATALOG["users"]
        ],
    }
    api = await start(SimClock(NOW + ODD), catalog=catalog_from(raw))
    assert (await hold(api, 0, OWNER)).status == 201
    assert (await hold(api, 1, {"Authorization": "Bearer cal_second"})).status == 201
    assert quota(await hold(api, 2, TOKEN))["limit"] == 2
    held = await hold(api, 2, OWNER)
    assert quota(await hold(api, 3, {"Authorization": "Bearer cal_second"}))["limit"] == 3
    assert (await hold(api, 3, OAUTH)).status == 201  # 90 minutes of his by now, and with it 120
    facts = quota(await hold(api, 4, OAUTH))
    assert (facts["name"], facts["limit"], facts["used"]) == ("time", 120, 120)
    assert (await hold(api, 4, COLLEAGUE)).status == 201
    # How long they may live: what asks for more is told so, and usual holds are shorter.
    answer = await hold(api, 5, COLLEAGUE, reservationDuration=11)
    assert answer.status == 400
    assert "reservationDuration must not be greater than 10" in str(answer.body["error"])
    uid = held.data["reservationUid"]
    assert (
        await api.patch(uid, headers=OWNER, slotStart=slot(2), reservationDuration=10)
    ).status == 200
    await api.clock.advance(timedelta(seconds=1))
    assert (
        await api.patch(uid, headers=OWNER, slotStart=slot(2), reservationDuration=10)
    ).status == 422
    answer = await hold(api, 5)
    assert answer.data["reservationDuration"] == 3
    assert moment(answer.data["reservationUntil"]) - api.clock.moment <= minutes(3)
    for number in range(6, 30):
        assert (await hold(api, number)).status == 201


async def test_a_client_with_a_wrong_token_is_still_the_client(start: Start) -> None:
    """Also where its requests count as an address's: it is known who answers for them."""
    api = await start(SimClock(NOW + ODD))
    both = OAUTH | {"Authorization": "Bearer wrong"}
    for number in range(25):
        assert (await hold(api, number, both)).status == 201
    for number in range(25, 45):
        assert (await hold(api, number)).status == 201
    assert (await hold(api, 45)).status == 422


async def test_a_longer_slot_counts_for_whoever_made_the_hold(start: Start) -> None:
    api = await start(SimClock(NOW + ODD), catalog=behind_a_proxy(address={"heldMinutes": 100}))
    uids = [
        (await hold(api, n, of("192.0.2.7"))).data["reservationUid"] for n in range(3)
    ]  # fmt: skip
    for headers in (of("192.0.2.8"), OWNER, of("192.0.2.7")):
        answer = await api.patch(uids[0], headers=headers, slotStart=slot(0), slotDuration=45)
        assert quota(answer)["used"] == 90
        answer = await api.patch(uids[0], headers=headers, slotStart=slot(0), eventTypeId=2)
        assert quota(answer)["name"] == "time"
    assert (await hold(api, 3, of("192.0.2.8"))).status == 201
    assert (await hold(api, 4, of("192.0.2.7"))).status == 422
    assert quota(await hold(api, 4, of("192.0.2.7")))["used"] == 90
    assert (await api.patch(uids[0], slotStart=slot(0), slotDuration=15)).status == 200
    assert (
        await api.patch(uids[1], headers=OWNER, slotStart=slot(1), slotDuration=45)
    ).status == 200


async def test_quotas_of_a_lent_engine_apply_as_well(start: Start) -> None:
    clock = SimClock(NOW + ODD)
    async with SlotEngine(clock=clock, max_holds=2, max_life=minutes(7)) as engine:
        api = await start(clock, engine=engine, quotas=CallerQuotas(api_key=Quota(holds=1)))
        assert (await hold(api, 0, OWNER)).status == 201
        assert quota(await hold(api, 1, OWNER))["limit"] == 1
        first = await hold(api, 1)
        await hold(api, 2)
        assert quota(await hold(api, 3))["limit"] == 2
        await clock.advance(minutes(2) + timedelta(microseconds=1))
        uid = first.data["reservationUid"]
        assert quota(await api.patch(uid, slotStart=slot(1)))["name"] == "life"


async def test_a_quota_that_no_hold_could_keep_is_refused_at_once() -> None:
    catalog = catalog_from(RAW_CATALOG)
    engine = SlotEngine(min_ttl=minutes(31), default_ttl=minutes(45))
    with pytest.raises(ValueError, match=r"quota of an address .* 0:30:00 .* 0:31:00.* min_ttl"):
        create_app(catalog, engine=engine)
    quotas = CallerQuotas(access_token=Quota(life=timedelta(seconds=59)))
    with pytest.raises(ValueError, match=r"quota of an access token .* 0:00:59 .* 0:01:00"):
        create_app(catalog, quotas=quotas)
    create_app(catalog, engine=engine, quotas=NO_QUOTAS)


@pytest.mark.parametrize(
    ("given", "said", "quotas"),
    [
        ({}, None, CallerQuotas()),
        ({"quotas": NO_QUOTAS}, None, NO_QUOTAS),
        ({"quotas": NO_QUOTAS}, {}, CallerQuotas()),
        ({}, {"disabled": True}, NO_QUOTAS),
        ({}, {"address": {"disabled": True}}, NO_QUOTAS),
        ({}, {"address": {"holds": "unlimited"}}, CallerQuotas(address=Quota(life=HALF_HOUR))),
        ({}, {"address": {"holds": 7}}, CallerQuotas(address=Quota(holds=7, life=HALF_HOUR))),
        ({}, {"apiKey": {"holds": 7}}, CallerQuotas(api_key=Quota(holds=7))),
        ({}, {"oauthClient": {"lifeMinutes": 7}}, CallerQuotas(oauth_client=Quota(life=SEVEN))),
        ({}, {"accessToken": {"heldMinutes": 7}}, CallerQuotas(access_token=Quota(held=SEVEN))),
    ],
)  # fmt: skip
async def test_who_says_how_much(
    start: Start, given: dict[str, Any], said: dict[str, Any] | None, quotas: CallerQuotas
) -> None:
    catalog = catalog_from(RAW_CATALOG | ({} if said is None else {"quotas": said}))
    assert catalog.quotas == (None if said is None else quotas)
    api = await start(SimClock(NOW + ODD), catalog=catalog, **given)
    held = [(await hold(api, number)).status for number in range(21)].count(201)
    most = quotas.address.holds if quotas.address is not None else None
    assert held == (21 if most is None else most)


async def test_all_that_is_wrong_with_quotas_is_listed() -> None:
    wrong = {
        "address": {"holds": 0, "lifeMinutes": 2.5, "heldMinutes": "some"},
        "apiKey": {"holds": True, "hold": 3},
        "accessToken": 20,
        "anonymous": {"holds": 3},
    }
    with pytest.raises(CatalogError) as caught:
        catalog_from(RAW_CATALOG | {"quotas": wrong})
    unknown = "is not a known key; remove it, or correct its spelling"
    number = 'must be a whole number from 1 to 1000000, or "unlimited"'
    assert {str(problem) for problem in caught.value.problems} == {
        f"quotas.address.holds: {number}, not 0",
        f"quotas.address.lifeMinutes: {number}, not 2.5",
        f"quotas.address.heldMinutes: {number}, not 'some'",
        f"quotas.apiKey.holds: {number}, not True",
        f"quotas.apiKey.hold: {unknown}",
        "quotas.accessToken: must be a table",
        f"quotas.anonymous: {unknown}",
    }
    with pytest.raises(CatalogError) as caught:
        catalog_from(RAW_CATALOG | {"quotas": []})
    assert str(caught.value.problems[0]) == "quotas: must be a table"


def test_what_strangers_may_have() -> None:
    assert Quota(holds=20, life=minutes(30)) == ADDRESS_QUOTA
