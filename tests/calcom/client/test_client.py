"""The client against our own server, and exactly what it sends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import aiohttp
import orjson
import pytest

from slotengine import InvalidField, minutes
from slotengine.calcom import (
    CalComClient,
    CircuitState,
    ClientClosed,
    OutcomeUnknown,
    RemoteConflict,
    RemoteDenied,
    RemoteNotFound,
    RemoteRefused,
    RemoteReservation,
    RemoteSeats,
    RemoteSlot,
)
from slotengine.testing import SimClock
from tests.calcom.client.scripted import (
    CREATED,
    DONE,
    HELD,
    START,
    UID,
    Reply,
    error,
    remote,
    success,
)
from tests.calcom.server.api import NOW, Api

pytestmark = pytest.mark.anyio


def url(api: Api) -> str:
    return f"http://127.0.0.1:{api.port}"


# --- Against our own server --------------------------------------------------------------


async def test_the_life_of_a_hold(api: Api) -> None:
    async with CalComClient(url(api), api_key="cal_owner") as client:
        held = await client.reserve(1, START, slot_minutes=45, reservation_minutes=10)
        assert held == RemoteReservation(
            uid=held.uid,
            event_type_id=1,
            start=START,
            end=START + minutes(45),
            until=NOW + minutes(10),
            reservation_minutes=10,
        )
        read = await client.get(held.uid)
        assert read is not None
        assert read.reservation_minutes is None
        assert (read.uid, read.end, read.until) == (held.uid, held.end, held.until)

        later = START + minutes(120)
        moved = await client.update(held.uid, 1, later, slot_minutes=15, reservation_minutes=7)
        assert (moved.uid, moved.start, moved.end) == (held.uid, later, later + minutes(15))
        assert (moved.until, moved.reservation_minutes) == (NOW + minutes(7), 7)

        await client.delete(held.uid)
        await client.delete(held.uid)
        assert await client.get(held.uid) is None
        statistics = client.statistics()
    assert (statistics.calls, statistics.sent, statistics.retried) == (6, 6, 0)
    assert (statistics.refused, statistics.failed, statistics.in_flight) == (0, 0, 0)
    assert statistics.circuit is CircuitState.CLOSED


async def test_refusals_of_the_server(api: Api) -> None:
    async with (
        CalComClient(url(api)) as anonymous,
        CalComClient(url(api), api_key="cal_stranger") as stranger,
    ):
        await anonymous.reserve(1, START)
        with pytest.raises(RemoteConflict) as conflict:
            await anonymous.reserve(1, START)
        with pytest.raises(RemoteDenied) as unauthorized:
            await anonymous.reserve(1, START, reservation_minutes=5)
        with pytest.raises(RemoteDenied) as forbidden:
            await stranger.reserve(1, START, reservation_minutes=5)
        with pytest.raises(RemoteNotFound) as unknown:
            await anonymous.update("nothing", 1, START)
        with pytest.raises(RemoteNotFound) as no_event_type:
            await anonymous.reserve(77, START)
        with pytest.raises(RemoteRefused) as no_length:
            await anonymous.reserve(2, START, slot_minutes=60)
        assert anonymous.statistics().refused == 5

    assert conflict.value.code == "UnprocessableEntityException"
    assert conflict.value.message.startswith("This time slot is already reserved")
    assert conflict.value.request_id is not None
    assert (unauthorized.value.status, forbidden.value.status) == (401, 403)
    assert unknown.value.message == "Slot with uid=nothing not found"
    assert no_event_type.value.message == "Event Type with ID=77 not found"
    assert type(no_length.value) is RemoteRefused
    assert no_length.value.status == 400


@pytest.mark.parametrize(
    "credentials",
    [
        {"api_key": "cal_owner"},
        {"token": "owner-token"},
        {"client_id": "platform", "client_secret": "secret"},
    ],
    ids=lambda credentials: next(iter(credentials)),
)
async def test_each_kind_of_credentials_is_accepted(api: Api, credentials: dict[str, str]) -> None:
    async with CalComClient(url(api), **credentials) as client:  # type: ignore[arg-type]
        assert (await client.reserve(1, START, reservation_minutes=9)).reservation_minutes == 9


async def test_an_expired_hold_can_still_be_read(api: Api) -> None:
    async with CalComClient(url(api)) as client:
        held = await client.reserve(1, START)
        await api.clock.advance(minutes(6))
        read = await client.get(held.uid)
        assert read is not None
        assert read.until < api.clock.moment


async def test_a_uid_leads_to_no_other_path(api: Api) -> None:
    async with CalComClient(url(api)) as client:
        held = await client.reserve(1, START)
        for uid in (f"x/../{held.uid}", f"{held.uid}?a", f"{held.uid}#a", f"../{held.uid}"):
            assert await client.get(uid) is None
            await client.delete(uid)
        assert await client.get(held.uid) is not None
        for uid in ("", ".", "..", "\ud800"):
            with pytest.raises(InvalidField, match="uid"):
                await client.delete(uid)


# --- Requests ----------------------------------------------------------------------------


async def test_the_requests_of_a_reservation() -> None:
    async with (
        remote(CREATED, CREATED, success(None), DONE) as server,
        CalComClient(server.url, api_key="cal_key") as client,
    ):
        rome = timezone(timedelta(hours=2))
        await client.reserve(1, datetime(2050, 9, 5, 12, tzinfo=rome), reservation_minutes=5)
        await client.update("u/1", 1, START, slot_minutes=30)
        await client.get("ü")
        await client.delete("a b")
    post, patch, get, delete = server.seen
    assert (post.method, post.target) == ("POST", "/v2/slots/reservations")
    assert orjson.loads(post.body) == {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00.000Z",
        "reservationDuration": 5,
    }
    assert (patch.method, patch.target) == ("PATCH", "/v2/slots/reservations/u%2F1")
    assert orjson.loads(patch.body) == {
        "eventTypeId": 1,
        "slotStart": "2050-09-05T10:00:00.000Z",
        "slotDuration": 30,
    }
    assert (get.method, get.target) == ("GET", "/v2/slots/reservations/%C3%BC")
    assert (delete.method, delete.target) == ("DELETE", "/v2/slots/reservations/a%20b")
    for seen in server.seen:
        assert seen.headers["cal-api-version"] == "2024-09-04"
        assert seen.headers["authorization"] == "Bearer cal_key"
        assert ("content-type" in seen.headers) == (seen.method in {"POST", "PATCH"})
    assert post.headers["content-type"] == "application/json"
    assert server.connections == 1


async def test_headers_of_an_oauth_client_and_without_credentials() -> None:
    async with remote(DONE, DONE) as server:
        async with CalComClient(server.url, client_id="id", client_secret="pst") as client:
            await client.delete("u")
        async with CalComClient(server.url) as client:
            await client.delete("u")
    pair, nothing = (seen.headers for seen in server.seen)
    assert (pair["x-cal-client-id"], pair["x-cal-secret-key"]) == ("id", "pst")
    assert "authorization" not in pair
    assert nothing.keys().isdisjoint({"authorization", "x-cal-client-id", "x-cal-secret-key"})


@pytest.mark.parametrize(
    ("suffix", "prefix"),
    [("", ""), ("/", ""), ("/v2", ""), ("/v2/", ""), ("/api/", "/api"), ("/a%2Fb/v2", "/a%2Fb")],
)
async def test_the_base_url_may_have_a_path(suffix: str, prefix: str) -> None:
    async with remote(DONE) as server, CalComClient(server.url + suffix) as client:
        await client.delete("u")
    assert server.seen[0].target == f"{prefix}/v2/slots/reservations/u"


async def test_production_is_the_default() -> None:
    assert repr(CalComClient()) == "<CalComClient: https://api.cal.com, <Credentials: none>>"


async def test_a_search_sends_its_query_and_reads_all_kinds_of_slots() -> None:
    seats = {"seatsBooked": 1, "seatsRemaining": "2", "seatsTotal": 3, "bookingUid": "b"}
    days = {
        "2050-09-05": [
            {"start": "2050-09-05T12:00:00.000+02:00", "end": "2050-09-05T13:00:00.000+02:00"},
            {"start": "2050-09-05T09:00:00.000Z", "new": {}} | seats,
        ],
        "2050-09-04": ["2050-09-04T08:00:00Z"],
    }
    async with remote(success(days)) as server, CalComClient(server.url) as client:
        slots = await client.slots(
            datetime(2050, 9, 4, tzinfo=UTC),
            datetime(2050, 9, 6, tzinfo=UTC),
            username="ann",
            event_type_slug="chat & more",
            organization_slug="org",
            time_zone="Europe/Rome",
            slot_minutes=60,
            format="time",
            booking_uid_to_reschedule="b+1",
        )
    assert slots == [
        RemoteSlot(datetime(2050, 9, 4, 8, tzinfo=UTC), None, None, None),
        RemoteSlot(datetime(2050, 9, 5, 9, tzinfo=UTC), None, RemoteSeats(1, 2, 3), "b"),
        RemoteSlot(START, START + minutes(60), None, None),
    ]
    assert server.seen[0].target == (
        "/v2/slots?username=ann&eventTypeSlug=chat%20%26%20more&organizationSlug=org"
        "&start=2050-09-04T00%3A00%3A00.000Z&end=2050-09-05T23%3A59%3A59.999Z&format=time"
        "&timeZone=Europe%2FRome&duration=60&bookingUidToReschedule=b%2B1"
    )


async def test_invalid_arguments_are_not_sent(api: Api) -> None:
    async with CalComClient(url(api)) as client:
        with pytest.raises(InvalidField, match="start"):
            await client.reserve(1, datetime(2050, 9, 5, 10))  # noqa: DTZ001
        with pytest.raises(InvalidField, match="reservation_minutes"):
            await client.reserve(1, START, reservation_minutes=0)
        with pytest.raises(InvalidField, match="event_type_slug must be given with username"):
            await client.slots(START, START + minutes(60), username="ann")
        assert client.statistics().sent == client.statistics().calls == 0


# --- Responses ---------------------------------------------------------------------------

LENIENT = {
    "a number as text": {"eventTypeId": "1", "reservationDuration": "5"},
    "a whole number as a float": {"eventTypeId": 1.0},
    "no milliseconds": {"slotStart": "2050-09-05T10:00:00Z"},
    "an offset": {"slotStart": "2050-09-05T12:00:00+02:00"},
    "seconds": {"reservationUntil": 2545970700},
    "milliseconds": {"reservationUntil": 2545970700000},
    "milliseconds as text": {"reservationUntil": "2545970700000"},
    "a fraction of zero": {"reservationUntil": 2545970700.0},
    "a fraction of zero as text": {"reservationUntil": "2545970700000.000"},
    "no end": {"slotEnd": None, "slotDuration": "30"},
    "unknown fields": {"host": {"id": 7}, "slotDuration": "half an hour"},
}


@pytest.mark.parametrize("change", LENIENT.values(), ids=LENIENT)
async def test_a_reservation_is_read_leniently(change: dict[str, object]) -> None:
    data = HELD | change
    async with (
        remote(Reply(200, {"status": "success", "data": data, "x": 1})) as server,
        CalComClient(server.url) as client,
    ):
        held = await client.reserve(1, START)
    until = datetime(2050, 9, 5, 6, 5, tzinfo=UTC)
    assert held == RemoteReservation(UID, 1, START, START + minutes(30), until, 5)


UNREADABLE = {
    "nothing": b"",
    "a page": b"<html>Welcome</html>",
    "half": b'{"status": "success", "data": {"eventTyp',
    "not an object": b"[]",
    "no success": {"status": "error", "data": HELD},
    "no data": {"status": "success"},
    "null": {"status": "success", "data": None},
    "only a uid": {"status": "success", "data": UID},
    "no uid": {"status": "success", "data": HELD | {"reservationUid": None}},
    "no time": {"status": "success", "data": HELD | {"reservationUntil": "soon"}},
    "30 February": {"status": "success", "data": HELD | {"slotStart": "2050-02-30"}},
    "no time at all": {"status": "success", "data": HELD | {"slotStart": 1e300}},
    "no number": {"status": "success", "data": HELD | {"eventTypeId": True}},
    "no end": {"status": "success", "data": HELD | {"slotEnd": None, "slotDuration": 1e300}},
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_success_is_an_unknown_outcome(body: object) -> None:
    async with remote(Reply(201, body)) as server, CalComClient(server.url) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.reserve(1, START)
    assert caught.value.status == 201
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [b"", b" \n", {"status": "success", "data": None}])
async def test_a_delete_succeeds_with_or_without_a_body(body: object) -> None:
    async with remote(Reply(200, body)) as server, CalComClient(server.url) as client:
        await client.delete("u")


# --- The session -------------------------------------------------------------------------


async def test_a_given_session_stays_open_and_gets_no_credentials() -> None:
    async with (
        remote(DONE, error(422)) as server,
        aiohttp.ClientSession("http://elsewhere.invalid", raise_for_status=True) as lent,
    ):
        async with CalComClient(server.url, session=lent, api_key="cal_x") as client:
            await client.delete("u")
            with pytest.raises(RemoteConflict):
                await client.reserve(1, START)
        assert not lent.closed
        assert "Authorization" not in lent.headers


async def test_the_pool_of_its_own_session_is_bounded() -> None:
    async with (
        remote(*[success(None)] * 5) as server,
        CalComClient(server.url, connections=2) as client,
    ):
        await asyncio.gather(*(client.get(UID) for _ in range(5)))
        assert (server.connections, client.statistics().sent) == (2, 5)


async def test_a_closed_client_says_so() -> None:
    client = CalComClient("http://127.0.0.1:9")
    with pytest.raises(ClientClosed, match="async with"):
        await client.delete("u")
    async with client:
        pass
    with pytest.raises(ClientClosed):
        await client.delete("u")
    with pytest.raises(ClientClosed):
        await client.__aenter__()
    assert client.statistics().calls == 0


async def test_a_given_session_that_was_closed_says_so() -> None:
    async with aiohttp.ClientSession() as lent, CalComClient(session=lent) as client:
        await lent.close()
        with pytest.raises(ClientClosed):
            await client.delete("u")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"base_url": "api.cal.com"}, "base_url"),
        ({"base_url": "ftp://api.cal.com"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://a.example:port"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"base_url": "https://a:b@a.example"}, "base_url"),
        ({"base_url": "https://a.example/?a=1"}, "base_url"),
        ({"base_url": "https://a.example/#a"}, "base_url"),
        ({"api_key": "a", "token": "b"}, "token"),
        ({"token": "a", "client_id": "b", "client_secret": "c"}, "client_id"),
        ({"client_id": "a"}, "client_secret"),
        ({"client_secret": "a"}, "client_secret"),
        pytest.param({"refresh": lambda: None}, "refresh", id="refresh alone"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "a\r\nx: y"}, "api_key"),
        ({"token": "a b"}, "token"),
        ({"client_id": "ä", "client_secret": "a"}, "client_id"),
        ({"client_id": "a", "client_secret": b"a"}, "client_secret"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"attempts": 0}, "attempts"),
        ({"per_minute": -1}, "per_minute"),
        ({"cooldown_s": float("nan")}, "cooldown_s"),
    ],
    ids=str,
)
def test_invalid_arguments_are_refused(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        CalComClient(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_the_servers_virtual_clock_is_not_the_clients(api: Api) -> None:
    """The client reads the server's times, never its own clock."""
    assert isinstance(api.clock, SimClock)
    async with CalComClient(url(api)) as client:
        assert (await client.reserve(1, START)).until == api.clock.moment + minutes(5)
