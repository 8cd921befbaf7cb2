"""Who calls, and what they may: sections 2.2 and 5.1 of the contract."""

from __future__ import annotations

import pytest

from tests.calcom.server.api import (
    OAUTH,
    OWNER,
    PATH,
    VERSION,
    Api,
)

pytestmark = pytest.mark.anyio

# --- 2.2: authentication ---------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-cal-client-id": "platform"},  # half a pair is nobody
        {"x-cal-secret-key": "wrong"},
        {"x-cal-client-id": "unknown"},
        {"Authorization": ""},
    ],
)
async def test_anonymous(api: Api, headers: dict[str, str]) -> None:
    assert (await api.post(headers=headers)).status == 201
    answer = await api.post(headers=headers, reservationDuration=5)
    assert answer.status == 401
    assert answer.message == (
        "reservationDuration can only be used for authenticated requests - "
        "use access token, api key or OAuth credentials"
    )


@pytest.mark.parametrize(
    "headers",
    [
        OWNER,
        {"Authorization": "bearer cal_owner"},
        {"Authorization": "cal_owner"},  # the original takes away "Bearer " if it is there
        {"Authorization": "Bearer owner-token"},
        {"Authorization": "Bearer owner-token", "Origin": "https://anywhere.example"},
        {"Authorization": "Bearer web"},
        {"Authorization": "Bearer web", "Origin": "https://platform.example"},
        OAUTH,
        OAUTH | {"Authorization": "Bearer never-looked-at"},
        {"Authorization": "Bearer cal_colleague"},  # a team in common with the owner
    ],
)
async def test_who_may_choose_how_long_a_hold_lives(api: Api, headers: dict[str, str]) -> None:
    answer = await api.post(headers=headers, reservationDuration=7)
    assert answer.status == 201
    assert answer.data["reservationDuration"] == 7
    assert answer.data["reservationUntil"] == "2050-09-05T06:07:00.000Z"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": "Bearer cal_wrong"}, "CustomThrottlerGuard - Invalid API Key"),
        ({"Authorization": "Bearer cal_"}, "CustomThrottlerGuard - Invalid API Key"),
        (OAUTH | {"Authorization": "Bearer cal_x"}, "CustomThrottlerGuard - Invalid API Key"),
        (
            {"Authorization": "Bearer wrong"},
            "ApiAuthStrategy - access token - Invalid Access Token.",
        ),
        ({"Authorization": "Bearer"}, "ApiAuthStrategy - access token - Invalid Access Token."),
        ({"Authorization": "Basic x"}, "ApiAuthStrategy - access token - Invalid Access Token."),
        ({"Authorization": "cal_wrong"}, "CustomThrottlerGuard - Invalid API Key"),
        (
            {"Authorization": "Bearer web", "Origin": "https://elsewhere.example"},
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        ),
        (
            {"Authorization": "Bearer web", "Origin": "https://platform.example.evil"},
            "ApiAuthStrategy - access token - "
            "The origin matches no redirect URI of the token's OAuth client.",
        ),
        (
            {"x-cal-client-id": "who", "x-cal-secret-key": "secret"},
            "ApiAuthStrategy - oAuth client - Client with ID who not found",
        ),
        (
            OAUTH | {"x-cal-secret-key": "wrong"},
            "ApiAuthStrategy - oAuth client - Invalid client secret",
        ),
        (
            OAUTH | {"x-cal-secret-key": "wrong"} | OWNER,  # the first method decides
            "ApiAuthStrategy - oAuth client - Invalid client secret",
        ),
    ],
)
async def test_wrong_credentials_are_refused_though_none_are_needed(
    api: Api, headers: dict[str, str], message: str
) -> None:
    uid = await api.hold()
    before = api.state()
    for answer in (
        await api.post(headers=headers, slotStart="2050-09-05T12:00:00Z"),
        await api.patch(uid, headers=headers, reservationDuration=5),
        await api.call("POST", headers=VERSION | headers, data=b"not even JSON"),
    ):
        assert (answer.status, answer.message) == (401, message)
        assert answer.body["error"]["code"] == "UnauthorizedException"
    assert api.state() == before


async def test_an_unknown_api_key_is_refused_everywhere(api: Api) -> None:
    uid = await api.hold()
    headers = VERSION | {"Authorization": "Bearer cal_wrong"}
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.call(method, f"{PATH}/{uid}", headers=headers)
        assert (answer.status, answer.message) == (401, "CustomThrottlerGuard - Invalid API Key")
    assert (await api.get(uid)).data is not None


async def test_other_wrong_credentials_do_not_matter_where_none_are_asked_for(api: Api) -> None:
    uid = await api.hold()
    for headers in ({"Authorization": "Bearer wrong"}, OAUTH | {"x-cal-secret-key": "wrong"}):
        assert (await api.call("GET", f"{PATH}/{uid}", headers=VERSION | headers)).status == 200
    assert (await api.call("DELETE", f"{PATH}/{uid}", headers=VERSION | headers)).status == 200


@pytest.mark.parametrize(
    ("key", "event_type", "status"),
    [
        ("cal_owner", 1, 201),
        ("cal_colleague", 1, 201),
        ("cal_invited", 1, 403),  # invited to the owner's team, and has not accepted
        ("cal_director", 1, 403),  # of the organization of another team
        ("cal_stranger", 1, 403),
        ("cal_director", 6, 201),  # of the team's organization
        ("cal_invited", 6, 201),  # a member of the team
        ("cal_owner", 6, 403),
        ("cal_colleague", 4, 403),
        ("cal_director", 4, 403),  # a team's organization counts for the team's event types only
    ],
)
async def test_permission(api: Api, key: str, event_type: int, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await api.post(headers=headers, eventTypeId=event_type, reservationDuration=1)
    assert answer.status == status
    # Without a duration there is nothing to permit.
    assert (await api.post(headers=headers, slotStart="2050-09-07")).status == 201


async def test_patch_asks_who_calls_only_if_it_matters(api: Api) -> None:
    uid = await api.hold()
    for headers in ({"Authorization": "Bearer wrong"}, OAUTH | {"x-cal-secret-key": "wrong"}):
        assert (await api.patch(uid, headers=headers)).status == 200
        assert (await api.patch(uid, headers=headers, slotStart="soon")).status == 400
        assert (await api.patch(uid, headers=headers, reservationDuration=5)).status == 401
