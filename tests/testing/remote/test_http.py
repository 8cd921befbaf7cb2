"""The stand-in line by line, sections 1 to 3: routes, versions, credentials, envelopes, errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from slotengine.testing.remote import (
    RemoteAccessToken,
    RemoteApiKey,
    RemoteEventType,
    RemoteOAuthClient,
    RemoteUser,
)
from tests.calcom.server.api import UUID4
from tests.testing.remote.client import PATH, SLOTS, TEN, VERSION, Client, Start, bearer

pytestmark = pytest.mark.anyio

QUERY = "?eventTypeId=1&start=2050-09-05&end=2050-09-05"


# --- 1 Overview ------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("root", ["/v2", "/v2/ee"])
async def test_section_1_paths_and_their_aliases(client: Client, prefix: str, root: str) -> None:
    path = f"{prefix}{root}/slots"
    sent = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"}
    made = await client.call("POST", f"{path}/reservations", json=sent)
    uid = made.data["reservationUid"]
    statuses = [
        (await client.call("GET", path + QUERY)).status,
        made.status,
        (await client.call("GET", f"{path}/reservations/{uid}")).status,
        (
            await client.call(
                "PATCH",
                f"{path}/reservations/{uid}",
                json=sent | {"slotStart": "2050-09-05T12:00:00Z"},
            )
        ).status,
        (await client.call("DELETE", f"{path}/reservations/{uid}")).status,
    ]
    assert statuses == [200, 201, 200, 200, 200]
    assert {one.path.partition("/slots")[0] for one in client.remote.log} == {"/v2"}
    assert [one.op for one in client.remote.log] == ["post", "search", "get", "patch", "delete"]


async def test_section_1_head_is_a_get_without_a_body(client: Client) -> None:
    uid = await client.uid()
    answer = await client.call("HEAD", f"{PATH}/{uid}")
    assert (answer.status, answer.raw, client.remote.log[-1].op) == (200, b"", "get")


async def test_section_1_the_uid_is_a_random_uuid(client: Client) -> None:
    assert UUID4.fullmatch(await client.uid())


# --- 2.1 cal-api-version -----------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({"cal-api-version": each} for each in ("2024-04-15", "2024-06-11", "2024-06-14")),
        {"cal-api-version": "2024-08-13"},
        {"cal-api-version": "2030-01-01"},
    ],
)
async def test_section_2_1_any_other_version_is_404(
    client: Client, headers: dict[str, str]
) -> None:
    found = await client.call("GET", SLOTS + QUERY, headers=headers)
    assert found.refusal == (404, f"Cannot GET {SLOTS}{QUERY}")
    made = await client.call("POST", PATH, headers=headers, json={})
    assert made.refusal == (404, f"Cannot POST {PATH}")
    assert made.error["code"] == "NotFoundException"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/slots/available"),
        ("POST", "/v2/slots/reserve"),
        ("DELETE", "/v2/slots/selected-slot?uid=1"),
        ("POST", SLOTS),
        ("GET", PATH),
        ("POST", f"{PATH}/uid"),
        ("PUT", f"{PATH}/uid"),
        ("GET", "/v2/bookings"),
    ],
)
async def test_section_2_1_the_old_routes_do_not_exist(
    client: Client, method: str, path: str
) -> None:
    assert (await client.call(method, path)).refusal == (404, f"Cannot {method} {path}")


# --- 2.2 Authentication ----------------------------------------------------------------

UNKNOWN = "CustomThrottlerGuard - Invalid API Key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", SLOTS + QUERY),
        ("POST", PATH),
        ("GET", f"{PATH}/uid"),
        ("PATCH", f"{PATH}/uid"),
        ("DELETE", f"{PATH}/uid"),
    ],
)
async def test_section_2_2_an_unknown_api_key_is_401_everywhere(
    client: Client, method: str, path: str
) -> None:
    answer = await client.call(method, path, headers=VERSION | bearer("cal_none"))
    assert answer.refusal == (401, UNKNOWN)


INVALID: list[tuple[dict[str, str], str]] = [
    (bearer("cal_old"), "api key - Your api key is expired"),
    (bearer("nonsense"), "access token - Invalid Access Token."),
    ({"Authorization": "Basic abc"}, "access token - Invalid Access Token."),
    (
        {"x-cal-client-id": "nobody", "x-cal-secret-key": "secret"},
        "oAuth client - Client with ID nobody not found",
    ),
    (
        {"x-cal-client-id": "platform", "x-cal-secret-key": "wrong"},
        "oAuth client - Invalid client secret",
    ),
]


@pytest.mark.parametrize(("headers", "text"), INVALID)
async def test_section_2_2_invalid_credentials_are_401_on_post_alone(
    client: Client, headers: dict[str, str], text: str
) -> None:
    answer = await client.post(headers=headers)
    assert answer.refusal == (401, f"ApiAuthStrategy - {text}")
    assert answer.error["details"] == {
        "message": f"ApiAuthStrategy - {text}",
        "error": "Unauthorized",
        "statusCode": 401,
    }
    uid = client.remote.hold(1, TEN).uid
    later = await client.patch(uid, headers=headers, slotStart="2050-09-05T12:00:00Z")
    assert later.status == 200
    for method, path in (
        ("GET", SLOTS + QUERY),
        ("GET", f"{PATH}/{uid}"),
        ("DELETE", f"{PATH}/{uid}"),
    ):
        assert (await client.call(method, path, headers=VERSION | headers)).status == 200


async def test_section_2_2_an_access_token_keeps_to_its_origins(client: Client) -> None:
    origin = {"Origin": "https://platform.example"}
    assert (await client.post(headers=bearer("web"), reservationDuration=1)).status == 201
    away = await client.post(headers=bearer("web") | {"Origin": "https://other.example"})
    assert away.status == 401
    later = {"slotStart": "2050-09-05T12:00:00Z"}
    assert (await client.post(headers=bearer("web") | origin, **later)).status == 201
    assert (await client.post(headers=bearer("token") | origin, eventTypeId=2)).status == 201


@pytest.mark.parametrize(
    "headers", [{}, {"x-cal-client-id": "platform"}, {"x-cal-secret-key": "wrong"}]
)
async def test_section_2_2_half_or_no_credentials_are_anonymous(
    client: Client, headers: dict[str, str]
) -> None:
    assert (await client.post(headers=headers)).status == 201
    refused = await client.post(headers=headers, reservationDuration=1)
    assert refused.status == 401


async def test_section_2_2_the_oauth_pair_is_looked_at_first(client: Client) -> None:
    pair = {"x-cal-client-id": "platform", "x-cal-secret-key": "secret"}
    both = pair | bearer("nonsense")
    assert (await client.post(headers=both, reservationDuration=1)).status == 201


# --- 2.3 Other headers -----------------------------------------------------------------


async def test_every_response_has_the_date_of_its_own_clock(client: Client) -> None:
    dates = []
    for skew in (timedelta(0), timedelta(hours=-30, milliseconds=999)):
        client.remote.skew = skew
        answers = [
            await client.get("none"),
            await client.call("GET", "/v2/nothing"),
            await client.call("OPTIONS", PATH),
        ]
        dates += [answer.headers.getall("Date") for answer in answers]
    first, then = ["Mon, 05 Sep 2050 06:00:00 GMT"], ["Sun, 04 Sep 2050 00:00:00 GMT"]
    assert dates == [first] * 3 + [then] * 3


async def test_section_2_3_every_response_has_a_request_id_and_open_cors(client: Client) -> None:
    answers = [
        await client.get("none"),
        await client.call("GET", "/v2/nothing"),
        await client.call("OPTIONS", PATH),
    ]
    assert [answer.status for answer in answers] == [200, 404, 204]
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 3
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {"*"}
    preflight = answers[-1].headers
    assert preflight["Access-Control-Allow-Methods"] == "GET,PATCH,DELETE,HEAD,POST,PUT,OPTIONS"
    assert preflight["Access-Control-Max-Age"] == "86400"
    assert preflight["Access-Control-Allow-Headers"].split(",") == [
        "x-cal-client-id", "x-cal-secret-key", "x-cal-platform-embed", "cal-api-version",
        "Accept", "Authorization", "Content-Type", "Origin",
    ]  # fmt: skip


# --- 3 Envelopes and errors ------------------------------------------------------------


async def test_section_3_delete_has_no_data_key(client: Client) -> None:
    assert (await client.delete("none")).body == {"status": "success"}


async def test_section_3_the_error_envelope(client: Client) -> None:
    client.remote.skew = timedelta(hours=1, microseconds=123_999)
    await client.uid()
    answer = await client.call(
        "POST",
        "/api/v2/slots/reservations?x=1",
        json={"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"},
    )
    message = "This time slot is already reserved by another user. Please choose a different time."
    assert (answer.status, answer.body) == (
        422,
        {
            "status": "error",
            "timestamp": "2050-09-05T07:00:00.123Z",
            "path": "/v2/slots/reservations?x=1",
            "error": {
                "code": "UnprocessableEntityException",
                "message": message,
                "details": {
                    "message": message,
                    "error": "Unprocessable Entity",
                    "statusCode": 422,
                },
            },
        },
    )


async def test_section_3_the_unexpected_is_500_outside_the_envelope(client: Client) -> None:
    endless = await client.post(headers=bearer("cal_owner"), reservationDuration=10**12)
    assert (endless.status, endless.body) == (
        500,
        {"statusCode": 500, "message": "Internal server error"},
    )


# --- 3.1 Body validation ---------------------------------------------------------------

WRONG_IDS: list[object] = ["1", 1.5, None, True, []]
WRONG_STARTS: list[object] = [1, None, "tomorrow", "2050-13-01"]
START = "slotStart must be a valid ISO 8601 date string"


async def test_section_3_1_all_violations_are_reported(client: Client) -> None:
    answer = await client.call("POST", PATH, json={"eventTypeId": "1", "foo": 2})
    target = {"eventTypeId": "1"}
    assert answer.status == 400
    assert answer.error == {
        "code": "BadRequestException",
        "message": "Bad Request Exception",
        "details": {
            "errors": [
                {
                    "target": target,
                    "value": "1",
                    "property": "eventTypeId",
                    "children": [],
                    "constraints": {"isInt": "eventTypeId must be an integer number"},
                },
                {
                    "target": target,
                    "property": "slotStart",
                    "children": [],
                    "constraints": {"isDateString": START},
                },
            ]
        },
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, bad) for name in ("slotDuration", "reservationDuration") for bad in ("30", 1.5)),
        *(("eventTypeId", bad) for bad in WRONG_IDS),
        *(("slotStart", bad) for bad in WRONG_STARTS),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_section_3_1_there_is_no_coercion(
    client: Client, method: str, field: str, value: object
) -> None:
    sent: dict[str, Any] = {"eventTypeId": 1, "slotStart": "2050-09-05"} | {field: value}
    path = PATH if method == "POST" else f"{PATH}/none"
    answer = await client.call(method, path, json=sent)
    (error,) = answer.error["details"]["errors"]
    text = f"{field} must be an integer number"
    expected = {"isDateString": START} if field == "slotStart" else {"isInt": text}
    assert (error["property"], error["value"], error["constraints"]) == (field, value, expected)


async def test_section_3_1_what_is_no_json_is_400(client: Client) -> None:
    for raw in (b"{", b"[]", b"\xff"):
        assert (await client.call("POST", PATH, data=raw)).status == 400
    empty = await client.call("POST", PATH)
    assert [one["property"] for one in empty.error["details"]["errors"]] == [
        "eventTypeId",
        "slotStart",
    ]


# --- 3.2 Query validation --------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"foo": "1"}, "foo property is wrong,property foo should not exist "),
        (
            {"slotFormat": "time"},
            "slotFormat property is wrong,property slotFormat should not exist ",
        ),
        ({"start": None}, "start property is wrong,start must be a valid ISO 8601 date string "),
        ({"end": "2050-02-30"}, "end property is wrong,end must be a valid ISO 8601 date string "),
        (
            {"timeZone": "Mars/Base"},
            "timeZone property is wrong,timeZone must be a valid IANA time-zone ",
        ),
        (
            {"timeZone": "../etc"},
            "timeZone property is wrong,timeZone must be a valid IANA time-zone ",
        ),
        (
            {"duration": "long"},
            "duration property is wrong,"
            "duration must be a number conforming to the specified constraints ",
        ),
        (
            {"format": "list"},
            "format property is wrong,slotFormat must be either 'range' or 'time' ",
        ),
        (
            {"usernames": "first", "organizationSlug": "org"},
            "usernames property is wrong,The array must contain at least 2 elements. ",
        ),
        (
            {"usernames": "first,owner", "username": "owner", "organizationSlug": "org"},
            "username property is wrong,property username should not exist ",
        ),
        (
            {"usernames": "first,owner"},
            "organizationSlug property is wrong,organizationSlug must be a string ",
        ),
        (
            {"eventTypeId": "x"},
            "eventTypeId property is wrong,"
            "eventTypeId must be a number conforming to the specified constraints ",
        ),
        (
            {"eventTypeId": "1", "username": "owner"},
            "username property is wrong,property username should not exist ",
        ),
        (
            {"end": "x", "start": "y"},
            "start property is wrong,start must be a valid ISO 8601 date string , "
            "end property is wrong,end must be a valid ISO 8601 date string ",
        ),
    ],
)
async def test_section_3_2_query_validation(
    client: Client, query: dict[str, str], message: str
) -> None:
    answer = await client.search(**query)
    assert answer.refusal == (400, message)
    assert answer.error["code"] == "BadRequestException"


async def test_section_4_1_no_target_at_all_is_validated_as_group_4(client: Client) -> None:
    answer = await client.call("GET", f"{SLOTS}?start=2050-09-05&end=2050-09-05")
    assert answer.refusal == (
        400,
        "usernames property is wrong,The array must contain at least 2 elements. , "
        "organizationSlug property is wrong,organizationSlug must be a string ",
    )


async def test_section_3_1_a_whole_number_is_an_integer_however_written(client: Client) -> None:
    raw = b'{"eventTypeId": 1.0, "slotStart": "2050-09-05", "slotDuration": 4.5e1}'
    assert (await client.call("POST", PATH, data=raw)).data["slotDuration"] == 45


async def test_section_3_2_what_comes_twice_is_wrong(client: Client) -> None:
    query = QUERY + "&timeZone=UTC&timeZone=UTC&duration=5&duration=5&start=2050"
    assert (await client.call("GET", SLOTS + query)).refusal == (
        400,
        "start property is wrong,start must be a valid ISO 8601 date string , "
        "timeZone property is wrong,timeZone must be a valid IANA time-zone , "
        "duration property is wrong,"
        "duration must be a number conforming to the specified constraints ",
    )


@pytest.mark.parametrize("name", ["bookingUidToReschedule", "teamSlug"])
async def test_section_3_2_a_string_parameter_comes_once(client: Client, name: str) -> None:
    target = "teamSlug=hosts&eventTypeSlug=talk" if name == "teamSlug" else "eventTypeId=1"
    query = f"?{target}&start=2050-09-05&end=2050-09-05&{name}=a&{name}=b"
    answer = await client.call("GET", SLOTS + query)
    assert answer.refusal == (400, f"{name} property is wrong,{name} must be a string ")


# --- The stand-in itself ---------------------------------------------------------------


async def test_secrets_are_in_no_repr(client: Client) -> None:
    await client.post(headers=bearer("cal_owner"))
    for one in (
        RemoteApiKey("hush", 1),
        RemoteAccessToken("hush", 1),
        RemoteOAuthClient("platform", "hush", 1),
    ):
        assert "hush" not in repr(one)
    assert "cal_owner" not in repr(client.remote.log)


async def test_what_cannot_be_is_refused_by_the_constructors(start: Start) -> None:
    wrongs: list[dict[str, Any]] = [{"length": 0}, {"step": 0}, {"lengths": (15,)}, {"before": -1}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="must"):
            RemoteEventType(id=1, **wrong)
    with pytest.raises(ValueError, match="same id"):
        await start(RemoteEventType(id=1), RemoteEventType(id=1))
    assert RemoteUser(id=1).username is None
