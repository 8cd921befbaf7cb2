"""Whatever text is sent, wherever one may stand, is answered, and changes nothing."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

import orjson
import pytest

from tests.calcom.server.api import MONDAY, PATH, SEARCH, Api

pytestmark = pytest.mark.anyio

# As JSON writes them, and as bytes of an address.
TEXTS = {
    "a lone surrogate": (b"\\ud800", b"\xed\xa0\x80"),
    "halves in the wrong order": (b"\\ude00\\ud83d", b"\xed\xb8\x80\xed\xa0\xbd"),
    "NUL": (b"a\\u0000b", b"a\0b"),
    "no UTF-8": (b"\xff\xfe", b"\xff\xfe"),
    "a line break": (b"a\\r\\nb", b"a\r\nb"),
    "513 characters": (b"x" * 513, b"x" * 513),
    "513 that are not ASCII": ("é".encode() * 513, "é".encode() * 513),
    "100,000 characters": (b"x" * 100_000, b"x" * 100_000),
    "digits": (b"9" * 5000, b"9" * 5000),
    "other digits": ("٣".encode(), "٣".encode()),
    "none": (b"", b""),
}
NO_JSON = {"a lone surrogate", "halves in the wrong order", "no UTF-8"}
FIELDS = ("eventTypeId", "slotStart", "slotDuration", "reservationDuration")
BY_ID, BY_USER, BY_TEAM, BY_USERNAMES = (
    b"eventTypeId=1",
    b"username=owner&eventTypeSlug=any",
    b"teamSlug=hosts&eventTypeSlug=talk&organizationSlug=org",
    b"usernames=host-1,host-2&organizationSlug=org",
)
PARAMETERS = {
    "eventTypeId": BY_ID,
    "start": BY_ID,
    "end": BY_ID,
    "timeZone": BY_ID,
    "duration": BY_ID,
    "format": BY_ID,
    "bookingUidToReschedule": BY_ID,
    "rrHostSubsetIds": BY_ID,
    "other": BY_ID,
    "username": BY_USER,
    "eventTypeSlug": BY_USER,
    "teamSlug": BY_TEAM,
    "organizationSlug": BY_TEAM,
    "usernames": BY_USERNAMES,
}
HEADERS = (
    b"Authorization: Bearer %s",
    b"Authorization: Bearer cal_%s",
    b"Authorization: %s",
    b"x-cal-client-id: %s\r\nx-cal-secret-key: secret",
    b"x-cal-client-id: platform\r\nx-cal-secret-key: %s",
    b"Authorization: Bearer web\r\nOrigin: %s",
    b"X-Forwarded-For: %s",
    b"cal-api-version: %s",
    b"Host: %s",
    b"X-Request-Id: %s",
)


LONGEST_LINE = 8190
"""What is longer aiohttp refuses, in words of its own, and does not read on."""


async def ask(
    api: Api, method: bytes, target: str | bytes, headers: bytes = b"", body: bytes = b""
) -> int:
    """Send a request as it is, and return the status of the only answer."""
    if b"cal-api-version" not in headers:
        headers += b"cal-api-version: 2024-09-04\r\n"
    if b"Host" not in headers:
        headers += b"Host: x\r\n"
    if isinstance(target, str):
        target = target.encode()
    head = method + b" " + target + b" HTTP/1.1\r\nConnection: close\r\n" + headers
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    is_http = b"\0" not in head and all(len(line) < LONGEST_LINE for line in head.splitlines())
    try:
        answer = await api.raw(head + body)
    except ConnectionResetError:
        assert not is_http
        return 400
    begin, _, content = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", begin)
    assert found is not None, answer[:200]
    status = int(found[1])
    if b"application/json" in begin:
        assert status < 400 or orjson.loads(content)["status"] == "error"
    else:  # aiohttp itself
        assert status == 400
        assert b"Traceback" not in content
    assert not is_http or b"application/json" in begin
    return status


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_in_bodies(api: Api, text: str) -> None:
    written, _ = TEXTS[text]
    uid = await api.hold()
    before = api.state()
    right = {"eventTypeId": b"1", "slotStart": b'"2050-09-05T12:00:00Z"'}
    for field in FIELDS:
        values = right | {field: b'"%s"' % written}
        body = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in values.items())
        for method, target in ((b"POST", PATH), (b"PATCH", f"{PATH}/{uid}")):
            status = await ask(api, method, target, body=b"{%s}" % body)
            assert status in {400, 401}, (field, status)
    assert api.state() == before


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_that_nobody_asked_for(api: Api, text: str) -> None:
    """What is not a field is passed over, if it is JSON at all."""
    written, _ = TEXTS[text]
    status = 400 if text in NO_JSON else 201
    right = b'{"eventTypeId":1,"slotStart":"2050-09-05T%d:00:00Z",'
    name = right % 12 + b'"%s":1}' % written
    assert await ask(api, b"POST", PATH, body=name) == status
    value = right % 13 + b'"other":"%s"}' % written
    assert await ask(api, b"POST", PATH, body=value) == status


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_in_queries(api: Api, text: str) -> None:
    _, sent = TEXTS[text]
    before = api.state()
    for name, others in PARAMETERS.items():
        pairs = dict(pair.split(b"=") for pair in others.split(b"&"))
        pairs |= {b"start": MONDAY.encode(), b"end": MONDAY.encode()}
        pairs[name.encode()] = quote_from_bytes(sent).encode()
        query = b"&".join(b"%s=%s" % pair for pair in pairs.items())
        status = await ask(api, b"GET", SEARCH.encode() + b"?" + query)
        assert status in {200, 400, 404}, (name, status)
        name_itself = (
            SEARCH.encode() + b"?" + query + b"&" + quote_from_bytes(sent).encode() + b"=1"
        )
        assert await ask(api, b"GET", name_itself) in {400, 404} or not sent
    assert api.state() == before


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_in_paths(api: Api, text: str) -> None:
    _, sent = TEXTS[text]
    before = api.state()
    for method in (b"GET", b"PATCH", b"DELETE"):
        body = (
            b'{"eventTypeId":1,"slotStart":"2050-09-05T12:00:00Z"}' if method == b"PATCH" else b""
        )
        target = PATH.encode() + b"/" + quote_from_bytes(sent).encode()
        status = await ask(api, method, target, body=body)
        assert status in {200, 400, 404}
    assert api.state() == before


@pytest.mark.parametrize("text", [name for name in TEXTS if name != "a line break"])
async def test_texts_in_headers(api: Api, text: str) -> None:
    _, sent = TEXTS[text]
    before = api.state()
    for header in HEADERS:
        for method, target, body in (
            (b"GET", SEARCH, b""),
            (b"POST", PATH, b'{"eventTypeId":1,"slotStart":"x"}'),
        ):
            status = await ask(api, method, target, header % sent + b"\r\n", body)
            assert status in {400, 401, 404}
    assert api.state() == before
