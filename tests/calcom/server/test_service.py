"""The server as plain values: what is decided by a head alone, and what is done with a body."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotengine import SlotEngine
from slotengine.calcom.catalog.load import catalog_from
from slotengine.calcom.catalog.quotas import NO_QUOTAS
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.server.bodies import MAX_BODY_BYTES, MAX_GZIP_MEMBERS, decompressed
from slotengine.calcom.server.messages import PROXY_HEADERS, Head, Refusal, Response
from slotengine.calcom.server.service import Admitted, Service
from slotengine.calcom.wire import HttpError
from slotengine.testing import SimClock
from tests.calcom.server.api import NOW, PATH, RAW_CATALOG

pytestmark = pytest.mark.anyio

VERSION = {"cal-api-version": "2024-09-04"}
BODY = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def engine() -> AsyncIterator[SlotEngine]:
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        yield engine


async def serving(engine: SlotEngine, **options: Any) -> Service:
    catalog = options.pop("catalog", RAW_CATALOG)
    told: dict[str, Any] = {"rate_limits": UNLIMITED, "quotas": NO_QUOTAS} | options
    service = Service(catalog_from(catalog), engine, enforce_availability=True, **told)
    await service.populate()
    return service


def head(method: str = "POST", target: str = PATH, **headers: str) -> Head:
    sent = VERSION | {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method, target, Folded(sent), "192.0.2.7")


class Folded(dict[str, str]):
    """Headers that are found in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())


def error_of(outcome: Refusal | Admitted | Response) -> tuple[int, Any]:
    response = outcome.response if isinstance(outcome, Refusal) else outcome
    assert isinstance(response, Response)
    assert isinstance(response.body, bytes)
    return response.status, orjson.loads(response.body)["error"]


REFUSED_BEFORE_THE_BODY = {
    "no endpoint": (head(target="/v2/nothing", Content_Length="9"), 404),
    "no such method": (head("PUT", Content_Length="9"), 404),
    "another version": (head(cal_api_version="2024-08-13", Content_Length="9"), 404),
    "wrong credentials": (head(Authorization="Bearer x", Content_Length="9"), 401),
    "an unknown key": (head("PATCH", f"{PATH}/x", Authorization="Bearer cal_x"), 401),
    "another type": (head(Content_Type="text/plain", Content_Length="9"), 415),
    "an unknown encoding": (head(Content_Encoding="br", Content_Length="9"), 415),
    "too large": (head(Content_Length=str(MAX_BODY_BYTES + 1)), 413),
    "much too large": (head(Content_Length="9" * 5000), 413),
    "no length": (head(Content_Length="-1"), 400),
    "no digits": (head(Content_Length="²"), 400),
    "another expectation": (head(Expect="nonsense", Content_Length="9"), 417),
}


@pytest.mark.parametrize(
    ("sent", "status"), REFUSED_BEFORE_THE_BODY.values(), ids=list(REFUSED_BEFORE_THE_BODY)
)
async def test_refused_without_a_byte_of_the_body(
    engine: SlotEngine, sent: Head, status: int
) -> None:
    service = await serving(engine)
    left = service.body_memory.left
    assert error_of(service.admit(sent))[0] == status
    assert service.body_memory.left == left


async def test_what_is_too_often_is_refused_before_its_body(engine: SlotEngine) -> None:
    service = await serving(engine, rate_limits=RateLimits(address=RateLimit(1)))
    packed = head(Content_Encoding="gzip", Content_Length="95000")
    first = service.admit(packed)
    assert isinstance(first, Admitted)
    service.done(first)
    left = service.body_memory.left
    for _ in range(100):
        assert error_of(service.admit(packed))[0] == 429
        assert service.body_memory.left == left


@pytest.mark.parametrize(
    ("sent", "bound", "room"),
    [
        (head(), 0, 0),
        (head(Content_Length="53"), 53, 53),
        (head(Content_Length="53", Content_Encoding="gzip"), 53, 53 + MAX_BODY_BYTES),
        (head(Content_Length="53", Content_Encoding="identity"), 53, 53),
        (head(Transfer_Encoding="chunked"), MAX_BODY_BYTES, MAX_BODY_BYTES),
        (head("PATCH", f"{PATH}/x", Content_Length="53"), 53, 53),
        (head("GET", f"{PATH}/x", Content_Length="53"), 0, 0),
        (head("DELETE", f"{PATH}/x", Content_Length="99999999"), 0, 0),
        (head("OPTIONS", "*", Content_Length="53"), 0, 0),
    ],
)
async def test_how_long_a_body_may_be(
    engine: SlotEngine, sent: Head, bound: int, room: int
) -> None:
    service = await serving(engine)
    left = service.body_memory.left
    admitted = service.admit(sent)
    assert isinstance(admitted, Admitted)
    assert admitted.bound == bound
    assert left - service.body_memory.left == room
    service.done(admitted)
    assert service.body_memory.left == left


async def test_a_longer_body_than_was_admitted_is_refused(engine: SlotEngine) -> None:
    service = await serving(engine)
    admitted = service.admit(head(Content_Length="5"))
    assert isinstance(admitted, Admitted)
    assert error_of(await service.handle(admitted, BODY))[0] == 413


async def test_bodies_in_flight_share_some_memory(engine: SlotEngine) -> None:
    service = await serving(engine, max_bytes_in_flight=3 * MAX_BODY_BYTES)
    packed = head(Content_Encoding="gzip", Content_Length="1000")
    admitted = [service.admit(packed) for _ in range(2)]
    assert all(isinstance(one, Admitted) for one in admitted)
    busy = service.admit(packed)
    status, error = error_of(busy)
    assert (status, error["code"]) == (503, "ServiceUnavailableException")
    assert isinstance(busy, Refusal)
    assert busy.response.headers["Retry-After"] == "1"
    assert isinstance(service.admit(head("GET", f"{PATH}/x")), Admitted)  # without a body
    assert isinstance(admitted[0], Admitted)
    service.done(admitted[0])
    again = service.admit(packed)
    assert isinstance(again, Admitted)
    answer = await service.handle(again, gzip.compress(BODY))
    assert answer.status == 201


@pytest.mark.parametrize(
    ("target", "there"),
    [
        (PATH, True),
        (f"{PATH}/", True),
        (f"/api{PATH}", True),
        ("/v2/ee/slots/reservations", True),
        ("/api/v2/ee/slots/reservations/?x=y", True),
        ("/v2/%73lots/reservations#x", True),
        (f"http://x{PATH}", True),
        (f"{PATH}//", False),
        (f"/{PATH}", False),
        (f"{PATH}?/x", True),
        ("/v2/slots%2Freservations", False),
        ("/api/api/v2/slots/reservations", False),
    ],
)
async def test_aliases(engine: SlotEngine, target: str, there: bool) -> None:
    service = await serving(engine)
    outcome = service.admit(head(target=target))
    assert isinstance(outcome, Admitted) == there


@pytest.mark.parametrize(
    ("uid", "sent"), [("x/y", "x%2Fy"), ("ä", "%C3%A4"), ("..", ".."), ("a b", "a%20b")]
)
async def test_uids(engine: SlotEngine, uid: str, sent: str) -> None:
    service = await serving(engine)
    admitted = service.admit(head("GET", f"{PATH}/{sent}"))
    assert isinstance(admitted, Admitted)
    assert admitted.uid == uid


# --- The version -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [(None, "is missing"), ("2024-08-13", "is '2024-08-13'"), ("x" * 500, f"is '{'x' * 64}'")],
)
async def test_what_is_wrong_with_the_version_is_a_hint(
    engine: SlotEngine, sent: str | None, said: str
) -> None:
    service = await serving(engine)
    headers = Folded({} if sent is None else {"Cal-Api-Version": sent})
    for target in (f"{PATH}/x?y", "/v2/nothing"):
        status, error = error_of(service.admit(Head("GET", target, headers, "")))
        message = f"Cannot GET {target}"
        hint = f"The header 'cal-api-version' {said}; send 'cal-api-version: 2024-09-04'"
        assert (status, error["code"], error["message"]) == (404, "NotFoundException", message)
        assert error["details"] == {
            "message": message,
            "error": "Not Found",
            "statusCode": 404,
            "hint": hint,
        }


async def test_without_anything_wrong_with_it_there_is_no_hint(engine: SlotEngine) -> None:
    service = await serving(engine)
    _, error = error_of(service.admit(head("GET", "/v2/nothing")))
    assert "hint" not in error["details"]
    assert isinstance(service.admit(Head("GET", "/docs", Folded({}), "")), Admitted)


# --- A proxy ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROXY_HEADERS)
async def test_a_proxy_that_the_catalog_does_not_know_is_warned_of_once(
    engine: SlotEngine, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serving(engine)
    service.admit(head("GET", f"{PATH}/x"))
    assert not caplog.records
    for _ in range(3):
        service.admit(head("GET", f"{PATH}/x", **{name.lower(): "192.0.2.9"}))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert said.startswith(f"a request has the header {name} of a proxy")
    assert "the catalog names no addressHeader" in said


@pytest.mark.parametrize(
    ("sent", "warned"),
    [
        ({"X-Real-IP": "192.0.2.9"}, False),
        ({"X-Real-IP": "192.0.2.9", "X-Forwarded-For": "192.0.2.9"}, False),
        ({"X-Forwarded-For": "192.0.2.9"}, True),
        ({}, False),
    ],
)
async def test_a_proxy_that_the_catalog_knows_is_not(
    engine: SlotEngine, sent: dict[str, str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"rateLimits": {"addressHeader": "x-real-ip"}}
    service = await serving(engine, catalog=RAW_CATALOG | limits)
    service.admit(head("GET", f"{PATH}/x", **sent))
    assert bool(caplog.records) == warned
    for record in caplog.records:
        assert "not the catalog's addressHeader, x-real-ip" in record.getMessage()


# --- Packed bodies ---------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


PACKERS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
}


@pytest.mark.parametrize(("encoding", "pack"), PACKERS.values(), ids=list(PACKERS))
def test_a_packed_body_is_what_it_was(encoding: str, pack: Any) -> None:
    @settings(deadline=None)
    @given(data=st.binary(max_size=3000))
    def check(data: bytes) -> None:
        assert decompressed(pack(data), encoding) == data

    check()
    for size in (MAX_BODY_BYTES - 1, MAX_BODY_BYTES):
        assert len(decompressed(pack(bytes(size)), encoding)) == size
    with pytest.raises(HttpError, match="larger"):
        decompressed(pack(bytes(MAX_BODY_BYTES + 1)), encoding)
    whole = pack(bytes(5000))
    for broken in (whole[:-1], whole[: len(whole) // 2], whole[:-9] + b"x" * 9):
        with pytest.raises(HttpError, match="broken"):
            decompressed(broken, encoding)


def test_what_is_no_packed_body() -> None:
    assert decompressed(b"", "gzip") == b""
    for sent in (
        b"x",
        b"{}",
        gzip.compress(b"x") + b"x",
        gzip.compress(b"x") * (MAX_GZIP_MEMBERS + 1),
    ):
        with pytest.raises(HttpError, match="broken"):
            decompressed(sent, "gzip")
    with pytest.raises(HttpError, match="broken"):
        decompressed(zlib.compress(b"x") + b"x", "deflate")


def test_a_packed_body_may_have_a_number_of_members() -> None:
    assert decompressed(gzip.compress(b"x") * MAX_GZIP_MEMBERS, "gzip") == b"x" * MAX_GZIP_MEMBERS


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(HttpError, match="larger"):
        decompressed(bomb, "gzip")
