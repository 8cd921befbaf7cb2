"""The server over a real socket, with a real client, on a virtual clock: routes, headers, errors.

In the order of the contract's sections, as in the other files named like this one.
Nothing here sleeps.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import orjson
import pytest

from slotengine import minutes
from tests.calcom.server.api import (
    NOW,
    OWNER,
    PATH,
    UUID4,
    VERSION,
    Api,
)

pytestmark = pytest.mark.anyio

# --- The documented request ------------------------------------------------------------


async def test_the_documented_request(api: Api) -> None:
    sent = {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00Z",
        "slotDuration": "30",
        "reservationDuration": 5,
    }
    headers = VERSION | OWNER
    first = await api.call("POST", json=sent, headers=headers)
    assert first.status == 201
    uid = first.data["reservationUid"]
    assert UUID4.fullmatch(uid)
    assert first.body == {
        "status": "success",
        "data": {
            "eventTypeId": 1,
            "slotStart": "2050-09-05T10:00:00.000Z",
            "slotEnd": "2050-09-05T10:30:00.000Z",
            "slotDuration": 30,
            "reservationUid": uid,
            "reservationDuration": 5,
            "reservationUntil": "2050-09-05T06:05:00.000Z",
        },
    }

    second = await api.call("POST", json=sent, headers=headers)
    assert second.status == 422

    await api.clock.advance(minutes(5) - timedelta(microseconds=1))
    assert (await api.call("POST", json=sent, headers=headers)).status == 422
    await api.clock.advance(timedelta(microseconds=1))
    assert (await api.call("POST", json=sent, headers=headers)).status == 201


async def test_a_thousand_at_once_and_one_gets_it(api: Api) -> None:
    answers = await asyncio.gather(*(api.post() for _ in range(1000)))
    assert sorted(answer.status for answer in answers) == [201] + [422] * 999


# --- 1: routes -------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("root", ["/v2", "/v2/ee"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_aliases(api: Api, prefix: str, root: str, slash: str) -> None:
    path = f"{prefix}{root}/slots/reservations"
    body = {"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"}
    made = await api.call("POST", path + slash, json=body)
    assert made.status == 201
    one = f"{path}/{made.data['reservationUid']}{slash}"
    assert (await api.call("GET", one)).data["eventTypeId"] == 1
    assert (await api.call("PATCH", one, json=body)).status == 200
    assert (await api.call("DELETE", one)).status == 200
    assert (await api.call("GET", one)).data is None


@pytest.mark.parametrize(
    ("method", "path", "shown"),
    [
        ("GET", "/", "/"),
        ("GET", "/v2", "/v2"),
        ("GET", PATH, PATH),
        ("PUT", PATH, PATH),
        ("PATCH", PATH, PATH),
        ("DELETE", PATH + "/", PATH + "/"),
        ("POST", PATH + "/some-uid", PATH + "/some-uid"),
        ("PUT", PATH + "/some-uid?a=b&c", PATH + "/some-uid?a=b&c"),
        ("GET", PATH + "/a/b", PATH + "/a/b"),
        ("GET", "/api/v2/nothing?x=1", "/v2/nothing?x=1"),
        ("GET", "/v2/ee/nothing", "/v2/nothing"),
        ("GET", "/api/v2/ee/nothing", "/v2/nothing"),
        ("POST", "/v1/slots/reservations", "/v1/slots/reservations"),
        ("TRACE", PATH, PATH),
        ("PROPFIND", PATH, PATH),
    ],
)
async def test_what_is_not_an_endpoint(api: Api, method: str, path: str, shown: str) -> None:
    answer = await api.call(method, path)
    assert answer.status == 404
    assert answer.message == f"Cannot {method} {shown}"
    assert answer.body["path"] == shown


async def test_head_is_get_without_a_body(api: Api) -> None:
    uid = await api.hold()
    answer = await api.call("HEAD", f"{PATH}/{uid}")
    assert (answer.status, answer.body) == (200, None)


# --- 2.1: cal-api-version --------------------------------------------------------------


@pytest.mark.parametrize(
    "version", [None, "", "2024-04-15", "2024-06-14", "2024-08-13", "2099-01-01", "nonsense"]
)
async def test_another_version_has_no_such_endpoints(api: Api, version: str | None) -> None:
    headers = {} if version is None else {"cal-api-version": version}
    before = api.state()
    for method, path in [("POST", PATH), ("GET", f"{PATH}/x"), ("DELETE", f"{PATH}/x")]:
        answer = await api.call(method, path, headers=headers)
        assert answer.status == 404
        assert answer.message == f"Cannot {method} {path}"
    assert api.state() == before


# --- 2.3: other headers ----------------------------------------------------------------


async def test_every_response_has_its_own_request_id_and_allows_every_origin(api: Api) -> None:
    answers = [
        await api.post(),
        await api.post(),
        await api.get("unknown"),
        await api.call("GET", "/nowhere"),
        await api.call("POST", json=[]),
        await api.call("OPTIONS"),
    ]
    assert [answer.status for answer in answers] == [201, 422, 200, 404, 400, 204]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(UUID4.fullmatch(id) for id in ids)  # noqa: A001
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {"*"}
    assert {answer.headers["Server"] for answer in answers} == {"slotengine"}
    bodies = answers[:-1]
    assert {answer.headers["Content-Type"] for answer in bodies} == {
        "application/json; charset=utf-8"
    }


@pytest.mark.parametrize("path", [PATH, f"{PATH}/uid", "/api" + PATH, "/anything"])
async def test_preflight(api: Api, path: str) -> None:
    answer = await api.call(
        "OPTIONS",
        path,
        headers={"Origin": "https://a.example", "Access-Control-Request-Method": "PATCH"},
    )
    assert (answer.status, answer.body) == (204, None)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    methods = set(answer.headers["Access-Control-Allow-Methods"].split(","))
    assert methods == {"GET", "PATCH", "DELETE", "HEAD", "POST", "PUT", "OPTIONS"}
    assert set(answer.headers["Access-Control-Allow-Headers"].split(",")) == {
        "x-cal-client-id",
        "x-cal-secret-key",
        "x-cal-platform-embed",
        "cal-api-version",
        "Accept",
        "Authorization",
        "Content-Type",
        "Origin",
    }
    assert answer.headers["Access-Control-Max-Age"] == "86400"


# --- 3: errors -------------------------------------------------------------------------


async def test_the_error_envelope(api: Api) -> None:
    await api.hold()
    api.clock.set(NOW + timedelta(milliseconds=123, microseconds=456))
    answer = await api.call(
        "POST",
        "/api/v2/ee/slots/reservations?a=1&b=%20",
        json={"eventTypeId": 1, "slotStart": "2050-09-05T10:00:00Z"},
    )
    message = "This time slot is already reserved by another user. Please choose a different time."
    assert answer.status == 422
    assert answer.body == {
        "status": "error",
        "timestamp": "2050-09-05T06:00:00.123Z",
        "path": "/v2/slots/reservations?a=1&b=%20",
        "error": {
            "code": "UnprocessableEntityException",
            "message": message,
            "details": {"message": message, "error": "Unprocessable Entity", "statusCode": 422},
        },
    }


async def test_a_body_with_several_errors(api: Api) -> None:
    answer = await api.post(eventTypeId="1", slotStart="soon", extra=1)
    assert answer.status == 400
    target = {"eventTypeId": "1", "slotStart": "soon"}
    assert answer.body["error"] == {
        "code": "BadRequestException",
        "message": "Bad Request Exception",
        "details": {
            "errors": [
                {
                    "target": target,
                    "property": "eventTypeId",
                    "value": "1",
                    "children": [],
                    "constraints": {"isInt": "eventTypeId must be an integer number"},
                },
                {
                    "target": target,
                    "property": "slotStart",
                    "value": "soon",
                    "children": [],
                    "constraints": {
                        "isDateString": "slotStart must be a valid ISO 8601 date string"
                    },
                },
            ]
        },
    }


async def test_a_bug_of_ours_gives_the_framework_body_and_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("the wheel has come off")

    uid = await api.hold()
    monkeypatch.setattr(api.engine.local, "get", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.get(uid)
    assert answer.status == 500
    assert answer.body == {"statusCode": 500, "message": "Internal server error"}
    assert answer.headers["X-Request-Id"]
    assert "the wheel has come off" in caplog.text


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("http://api.example/api/v2/nothing?x=http://y", "/v2/nothing?x=http://y"),
        ("HTTPS://api.example:443/v2/ee/nothing", "/v2/nothing"),
        ("http://api.example", "/"),
        ("http://api.example?x", "/?x"),
    ],
)
async def test_an_absolute_target_is_its_path(api: Api, target: str, shown: str) -> None:
    answer = await api.raw(
        f"GET {target} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n".encode()
    )
    body = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["path"] == shown
    assert body["error"]["message"] == f"Cannot GET {shown}"
