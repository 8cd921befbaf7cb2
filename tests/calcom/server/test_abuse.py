"""Whatever is sent, it is answered, and changes nothing."""

from __future__ import annotations

import gzip
import logging
import re
from datetime import timedelta
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotengine.calcom.server import app as server
from slotengine.calcom.server.bodies import MAX_BODY_BYTES
from tests.calcom.server.api import (
    OWNER,
    PATH,
    SEARCH,
    VERSION,
    Api,
)

pytestmark = pytest.mark.anyio

# --- Abuse -----------------------------------------------------------------------------

HUGE = "9" * 5000

HEAD = b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"

ABUSE: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"0",
    b'""',
    b"{",
    b"}",
    b"\x00\x01",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"eventTypeId":NaN}',
    b'{"eventTypeId":-Infinity}',
    b'{"eventTypeId":1e999}',
    b'{"eventTypeId":-0,"slotStart":"2050"}',
    b'{"eventTypeId":' + HUGE.encode() + b',"slotStart":"2050"}',
    b'{"eventTypeId":0.' + HUGE.encode() + b',"slotStart":"2050"}',
    b'{"eventTypeId":9223372036854775808,"slotStart":"2050"}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":"' + HUGE.encode() + b'"}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","slotDuration":-1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":1e308}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":0}',
    b'{"eventTypeId":1,"slotStart":"2050","reservationDuration":-0.0}',
    b'{"eventTypeId":true,"slotStart":true,"slotDuration":true,"reservationDuration":true}',
    b'{"eventTypeId":{},"slotStart":{},"slotDuration":{},"reservationDuration":{}}',
    b'{"eventTypeId":[1],"slotStart":["2050-09-05"]}',
    b'{"eventTypeId":1,"slotStart":"\\ud800"}',
    b'{"eventTypeId":1,"slotStart":"\\u0000"}',
    b'{"eventTypeId":1,"slotStart":"\xf0\x9f\xa6\x89"}',
    b'{"eventTypeId":1,"slotStart":"' + b"9" * 50_000 + b'"}',
    b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00:60Z"}',
    b'{"eventTypeId":1,"slotStart":"0000-01-01"}',
    b'{"eventTypeId":1,"slotStart":"0001-01-01T00:00+23:59"}',
    b'{"eventTypeId":1,"slotStart":"0001-01-01T00:00Z"}',
    b'{"eventTypeId":1,"slotStart":"9999-12-31T24:00Z"}',
    b'{"eventTypeId":1,"slotStart":"9999-12-31T23:59:59.999Z"}',
    b'{"eventTypeId":4,"slotStart":"9999-12-31T23:29Z"}',
    b'{"eventTypeId":1,"slotStart":"2050-W53-7"}',
    b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00:00+99:99"}',
    b'{"__proto__":{"eventTypeId":1},"constructor":1}',
    b"[" * 90_000,
    b'{"a":' * 15_000,
    b'{"eventTypeId":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"eventTypeId":' + b'{"a":' * 300 + b"1" + b"}" * 301,
    b'{"junk":' + b"[" * 900 + b"]" * 900 + b"}",
    b"{" + b",".join(b'"k%d":0' % i for i in range(5000)) + b"}",
]


@pytest.mark.parametrize("raw", ABUSE, ids=range(len(ABUSE)))
async def test_abuse_is_refused_and_changes_nothing(api: Api, raw: bytes) -> None:
    uid = await api.hold(slotStart="2050-09-20T10:00:00Z")
    before = api.state()
    headers = VERSION | OWNER | {"Content-Type": "application/json"}
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{uid}")):
        answer = await api.call(method, path, headers=headers, data=raw)
        assert 400 <= answer.status < 500
        assert answer.body["status"] == "error"
        assert answer.message
    assert api.state() == before


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 10 * MAX_BODY_BYTES])
async def test_a_body_that_is_too_large(api: Api, size: int) -> None:
    before = api.state()
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05","x":"'
    raw += b"x" * (size - len(raw) - 2) + b'"}'
    answer = await api.call(
        "POST", headers=VERSION | {"Content-Type": "application/json"}, data=raw
    )
    assert answer.status == 413
    assert answer.body["error"]["code"] == "PayloadTooLargeException"
    assert api.state() == before


async def test_the_largest_body(api: Api) -> None:
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00","x":"'
    raw += b"x" * (MAX_BODY_BYTES - len(raw) - 2) + b'"}'
    answer = await api.call(
        "POST", headers=VERSION | {"Content-Type": "application/json"}, data=raw
    )
    assert answer.status == 201


async def test_a_body_that_never_comes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT_S", 0)
    async with api.connection() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_is_announced_as_too_large(api: Api) -> None:
    for expect in (b"", b"Expect: 100-continue\r\n"):
        async with api.connection() as (reader, writer):
            writer.write(HEAD + expect + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("encoding", [b"compress", b"gzip, gzip", b"utf-8", b"x" * 500, b""])
async def test_encodings_that_are_not_decoded(api: Api, encoding: bytes) -> None:
    answer = await api.raw(
        HEAD + b"Connection: close\r\nContent-Encoding: " + encoding + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"The Content-Encoding must be gzip, deflate or identity" in answer


@pytest.mark.parametrize("expect", [b"nonsense", b"\xff"])
async def test_other_expectations(api: Api, expect: bytes) -> None:
    answer = await api.raw(HEAD + b"Connection: close\r\nExpect: " + expect + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b'"code":"ExpectationFailedException"' in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"GET", b"/v2/slots/reservations/x"),
        (b"DELETE", b"/v2/slots/reservations/x"),
        (b"GET", b"/v2/slots"),
        (b"GET", b"/docs"),
        (b"PUT", b"/v2/slots/reservations"),
        (b"POST", b"/docs"),
        (b"GET", b"/v2/nothing"),
        (b"GET", b"/"),
        (b"GET", b"//"),
        (b"GET", b"/%ff%0a?x"),
        (b"OPTIONS", b"/v2/slots"),
    ],
)
async def test_other_expectations_of_what_has_no_body(api: Api, method: bytes, path: bytes) -> None:
    head = HEAD.replace(b"POST", method).replace(b"/v2/slots/reservations", path)
    answer = await api.raw(head + b"Connection: close\r\nExpect: nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b'"code":"ExpectationFailedException"' in answer


async def test_a_compressed_body(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    headers = VERSION | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    bomb = gzip.compress(b" " * 50_000_000)
    broken = await api.call("POST", headers=headers, data=b"this is no gzip")
    assert broken.status == 400
    assert broken.message == "The body cannot be read: its encoding is broken"
    assert not caplog.records
    assert (await api.call("POST", headers=headers, data=bomb)).status == 413
    assert (await api.call("POST", headers=headers, data=gzip.compress(raw))).status == 201


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 201),
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON;charset=UTF-8", 201),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("multipart/form-data", 415),
        ("nonsense", 415),
        ("", 415),
    ],
)
async def test_content_types(api: Api, content_type: str | None, status: int) -> None:
    raw = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    header = b"" if content_type is None else f"Content-Type: {content_type}\r\n".encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\nConnection: close\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(raw)
    answer = await api.raw(head % PATH.encode() + header + length + raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 415:
        assert b'"code":"UnsupportedMediaTypeException"' in answer


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/slots/reservations/\xff\xfe",
        b"/v2/slots/reservations/%FF%FE",
        b"/v2/slots/reservations/%ED%A0%80",
        b"/v2/slots/reservations/%",
        b"/v2/slots/reservations/{uid}",
        b"/v2/slots/reservations/..%2f..%2fetc",
        b"/v2/slots/reservations/../../etc",
        b"/v2/slots/reservations/x?\xff=\xfe",
        b"//v2//slots",
        b"/\xf0\x9f\xa6\x89",
        b"*",
        b"http://127.0.0.1/v2/slots/reservations/x",
        b"http://[nonsense/v2",
        b"/" + b"x" * 8000,
        b"/" + b"x" * 10_000,
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"PATCH", b"DELETE", b"POST"])
async def test_odd_targets(api: Api, method: bytes, target: bytes) -> None:
    await api.hold()
    before = api.state()
    body = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    answer = await api.raw(
        method + b" " + target + b" HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert re.match(rb"HTTP/1\.[01] [24]", answer)
    assert api.state() == before


@pytest.mark.parametrize(
    "headers",
    [
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer cal_\xff",
        b"Authorization: \xff",
        b"x-cal-client-id: \xff\r\nx-cal-secret-key: \xfe",
        b"x-cal-client-id: platform\r\nx-cal-secret-key: \xfe",
        b"Authorization: Bearer web\r\nOrigin: \xff",
        b"Authorization: Bearer " + b"x" * 5000,
        b"Content-Type: \xff",
        b"Content-Type: application/json; charset=\xff",
        b"Content-Encoding: \xff",
        b"Transfer-Encoding: chunked\r\n\r\nnonsense",
        b"Content-Length: -1",
        b"Content-Length: nonsense",
        b"Expect: nonsense",
        b"nonsense",
        b"X: " + b"x" * 100_000,
    ],
)
async def test_odd_headers(api: Api, headers: bytes) -> None:
    before = api.state()
    try:
        answer = await api.raw(
            b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
            b"Connection: close\r\n" + headers + b"\r\n\r\n"
        )
    except ConnectionResetError:  # aiohttp closes before it has read all of such a head
        assert len(headers) > 50_000
    else:
        assert re.match(rb"HTTP/1\.[01] 4", answer)
    assert api.state() == before


async def test_a_client_that_goes_away_changes_nothing_and_is_no_error(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    before = api.state()
    caplog.set_level(logging.DEBUG, logger=server.__name__)
    async with api.connection() as (reader, writer):
        # That the server asks for the body shows that it is being waited for.
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        writer.write(b'{"eventTypeId":1,')
    for _ in range(200):
        assert (await api.get("unknown")).status == 200  # meanwhile it notices
    assert {record.levelname for record in caplog.records} <= {"DEBUG"}
    assert api.state() == before


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["2050-09-05T10:00:00Z", "30", 1, 3, 15, 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
FIELDS = ("eventTypeId", "slotStart", "slotDuration", "reservationDuration", "other")
bodies = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values))
segments = st.just("") | st.text(
    st.characters(codec="utf-8", exclude_characters="/\\"), max_size=30
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@settings(
    max_examples=max(150, settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["POST", "GET", "PATCH", "DELETE", "PUT", "OPTIONS"]),
    segment=segments,
    sent=bodies | json_values,
    authorization=st.none() | header_texts | header_texts.map("Bearer {}".format),
    version=st.just("2024-09-04") | header_texts,
)
async def test_whatever_is_sent_is_answered(
    api: Api, method: str, segment: str, sent: object, authorization: str | None, version: str
) -> None:
    headers = {"cal-api-version": version, "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    before = api.state()
    path = reservation_path(segment)
    raw = orjson.dumps(sent, option=orjson.OPT_NON_STR_KEYS)
    answer = await api.call(method, path, headers=headers, data=raw)
    assert answer.status in {200, 201, 204, 400, 401, 403, 404, 415, 422}
    if answer.status == 201:
        await api.delete(answer.data["reservationUid"])
        await api.clock.advance(timedelta(hours=2))
    elif answer.status >= 400:
        assert answer.body["status"] == "error"
        assert api.state() == before


def reservation_path(segment: str) -> str:
    return f"{PATH}/{quote(segment, safe='')}" if segment not in {"", ".", ".."} else PATH


texts = st.text(st.characters(codec="utf-8"), max_size=20)
moments = st.sampled_from(
    ["0001-01-01", "2050-09-05", "2050-09-06T10:00Z", "2050-W37", "9999-12-31", "2050-02-30"]
)
PARAMETERS: dict[str, st.SearchStrategy[str]] = {
    "eventTypeId": st.integers(0, 14).map(str) | texts,
    "username": st.sampled_from(["owner", "office"]) | texts,
    "teamSlug": st.sampled_from(["hosts", "desk"]) | texts,
    "eventTypeSlug": st.sampled_from(["any", "panel", "talk"]) | texts,
    "usernames": st.sampled_from(["host-1,host-2", "office,office,office"]) | texts,
    "organizationSlug": st.just("org") | texts,
    "start": moments | texts,
    "end": moments | texts,
    "timeZone": st.sampled_from(["Europe/Rome", "asia/kathmandu", "UTC"]) | texts,
    "duration": st.integers(-1, 600_000).map(str) | texts,
    "format": st.sampled_from(["range", "TIME", ""]) | texts,
    "bookingUidToReschedule": st.sampled_from(["booked-1", "booked-class"]) | texts,
    "rrHostSubsetIds": st.lists(st.integers(-1, 12), max_size=4).map(
        lambda ids: ",".join(map(str, ids))
    ),
}
names = st.sampled_from([*PARAMETERS, *(f"{name}[]" for name in PARAMETERS), "other"])
TARGETS = [
    {"eventTypeId"},
    {"username", "eventTypeSlug"},
    {"teamSlug", "eventTypeSlug", "organizationSlug"},
    {"usernames", "organizationSlug"},
]


@st.composite
def searches(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Draw a search that is nearly right, and some of what makes others wrong."""
    known = draw(st.sampled_from(TARGETS)) | {"start", "end"}
    known |= draw(st.sets(st.sampled_from(sorted(PARAMETERS.keys() - set().union(*TARGETS)))))
    pairs = [(name, draw(PARAMETERS[name])) for name in sorted(known)]
    return pairs + draw(st.lists(st.tuples(names, texts), max_size=1))


@settings(
    max_examples=max(150, settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=searches())
async def test_whatever_is_searched_for_is_answered(api: Api, sent: list[tuple[str, str]]) -> None:
    before = api.state()
    answer = await api.call("GET", SEARCH, params=sent)
    assert answer.status in {200, 400, 404}
    if answer.status == 200:
        days = list(answer.data)
        assert days == sorted(days)
        assert all(answer.data.values())
    else:
        assert answer.body["status"] == "error"
    assert api.state() == before
