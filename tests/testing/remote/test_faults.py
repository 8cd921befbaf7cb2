"""The stand-in's faults: what goes wrong, when, and with which request."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import aiohttp
import pytest

from slotengine import minutes
from slotengine.testing.remote import (
    At,
    DropAfter,
    DropBefore,
    EngineError,
    Error429,
    Error500,
    Fault,
    Garbage,
    Gate,
    Latency,
    RemoteCalCom,
    Wait,
)
from tests.testing.remote.client import PATH, RESERVED, TEN, Client

pytestmark = pytest.mark.anyio


def effects(client: Client) -> list[tuple[str | None, str | None, int | None]]:
    return [(one.op, one.effect, one.status) for one in client.remote.log]


# --- Each kind -------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "rows"), [(DropBefore(), 0), (DropAfter(), 1)])
async def test_a_dropped_connection(client: Client, fault: Fault, rows: int) -> None:
    client.remote.faults.script(fault)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post()
    assert len(client.remote.rows) == rows
    assert effects(client) == [("post", "reserved" if rows else None, None)]
    # Whoever tries again finds the slot free, or taken by themselves.
    assert (await client.post()).status == (422 if rows else 201)


@pytest.mark.parametrize(("at", "rows"), [(At.BEFORE, 0), (At.BETWEEN, 0), (At.AFTER, 1)])
async def test_a_500(client: Client, at: At, rows: int) -> None:
    client.remote.faults.script(Error500(at))
    answer = await client.post()
    assert (answer.status, answer.body) == (
        500,
        {"statusCode": 500, "message": "Internal server error"},
    )
    assert len(client.remote.rows) == rows
    assert client.remote.log[0].status == 500


async def test_a_500_of_the_database(client: Client) -> None:
    client.remote.faults.script(Error500(database=True))
    answer = await client.post()
    assert (answer.status, answer.error) == (
        500,
        {
            "code": "INTERNAL_SERVER_ERROR",
            "message": "There was an error, please try again later.",
        },
    )


async def test_a_429_out_of_nowhere(client: Client) -> None:
    client.remote.faults.script(Error429(reset_s=17))
    answer = await client.post()
    assert answer.status == 429
    assert answer.error["code"] == "ThrottlerException"
    kinds = ("Limit", "Remaining", "Reset")
    shown = [answer.headers[f"X-RateLimit-{kind}-Default"] for kind in kinds]
    assert shown == ["120", "0", "17"]
    assert client.remote.rows == ()


@pytest.mark.parametrize(
    ("fault", "status", "raw", "rows"),
    [
        (Garbage(), 201, b'{"status":"success","data":{"slotStart', 1),
        (Garbage(at=At.BEFORE), 201, b'{"status":"success","data":{"slotStart', 0),
        (Garbage(b"<html>", status=502), 502, b"<html>", 1),
        (Garbage(b""), 201, b"", 1),
    ],
)
async def test_a_garbage_body(
    client: Client, fault: Garbage, status: int, raw: bytes, rows: int
) -> None:
    client.remote.faults.script(fault)
    answer = await client.post()
    assert (answer.status, answer.raw, len(client.remote.rows)) == (status, raw, rows)


async def test_garbage_of_other_endpoints_is_a_200(client: Client) -> None:
    client.remote.faults.script(Garbage(), times=None)
    for answer in (await client.search(), await client.get("none"), await client.delete("none")):
        assert answer.status == 200
        with pytest.raises(ValueError, match=r"end of|unexpected"):
            _ = answer.body


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (EngineError("NOT_FOUND"), 404, {"code": "TRPCError", "message": "NOT_FOUND"}),
        (EngineError("CONFLICT", "no"), 409, {"code": "TRPCError", "message": "no"}),
        (EngineError("BAD_REQUEST"), 400, {"code": "TRPCError", "message": "BAD_REQUEST"}),
        (EngineError("UNAUTHORIZED"), 401, {"code": "TRPCError", "message": "UNAUTHORIZED"}),
    ],
)
async def test_section_3_the_engine_reports_an_error(
    client: Client, fault: EngineError, status: int, error: dict[str, str]
) -> None:
    client.remote.faults.script(fault, op="search")
    answer = await client.search()
    assert (answer.status, answer.error) == (status, error)


async def test_section_4_4_an_invalid_time_range(client: Client) -> None:
    client.remote.faults.script(EngineError("BAD_REQUEST", "Invalid time range given."))
    answer = await client.search()
    message = "Invalid time range given - check the 'start' and 'end' query parameters."
    assert answer.refusal == (400, message)
    assert answer.error["code"] == "BadRequestException"


# --- Waiting ---------------------------------------------------------------------------


async def test_latency_passes_on_the_clock(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate), Latency(2.5))
    call = asyncio.create_task(client.post())
    await gate.reached()
    gate.open()
    await client.clock.advance(timedelta(0))  # it goes on to wait for the clock
    await client.clock.advance(timedelta(seconds=2.4))
    assert not call.done()
    assert client.remote.rows == ()
    await client.clock.advance(timedelta(seconds=0.1))
    answer = await call
    # It was late, and so the hold ends later.
    assert answer.data["reservationUntil"] == "2050-09-05T06:05:02.500Z"


async def test_a_gate_before_the_effect(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate))
    call = asyncio.create_task(client.post())
    await gate.reached()
    assert (gate.waiting, gate.arrived, client.remote.rows) == (1, 1, ())
    gate.open()
    assert (await call).status == 201
    assert gate.waiting == 0


async def test_a_gate_after_the_effect_and_a_client_who_gives_up(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate, At.AFTER), op="post")
    call = asyncio.create_task(client.post())
    await gate.reached()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(client.remote.rows) == 1


async def test_the_effect_comes_although_the_client_has_gone(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate), op="post")
    call = asyncio.create_task(client.post())
    await gate.reached()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.remote.rows == ()
    gate.open()
    await client.clock.advance(timedelta(0))  # until it has nothing left to do
    assert len(client.remote.rows) == 1


async def test_section_13_1_two_posts_at_once_both_get_201(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate, At.BETWEEN), op="post", times=2)
    calls = [asyncio.create_task(client.post()) for _ in range(2)]
    await gate.reached(2)
    gate.open()
    assert [(await call).status for call in calls] == [201, 201]
    first, second = client.remote.live(1)
    assert first.overlaps(second.start, second.end)
    # One after the other they conflict.
    assert (await client.post()).refusal == (422, RESERVED)


async def test_section_13_1_what_comes_at_once_races_by_itself(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate), op="post", times=2)  # before any check
    calls = [asyncio.create_task(client.post()) for _ in range(2)]
    await gate.reached(2)
    gate.open()
    assert [(await call).status for call in calls] == [201, 201]


async def test_section_13_1_a_patch_races_with_a_post(client: Client) -> None:
    uid, gate = await client.uid(), Gate()
    client.remote.faults.script(Wait(gate, At.BETWEEN), op="patch")
    move = asyncio.create_task(client.patch(uid, slotStart="2050-09-05T12:00:00Z"))
    await gate.reached()
    assert (await client.post(slotStart="2050-09-05T12:00:00Z")).status == 201
    gate.open()
    assert (await move).status == 200
    assert {row.start for row in client.remote.live(1)} == {TEN + minutes(120)}


async def test_section_13_2_checks_may_read_a_replica_that_is_behind(client: Client) -> None:
    client.remote.lag()
    uid = await client.uid()
    client.remote.book(1, TEN)
    assert (await client.post()).status == 201
    assert (await client.patch(uid)).status == 200  # it does not see itself
    assert (await client.get(uid)).data is not None
    client.remote.catch_up()
    assert (await client.patch(uid)).status == 422
    assert (await client.post()).status == 422


async def test_a_patch_whose_row_goes_between_check_and_change(client: Client) -> None:
    uid, gate = await client.uid(), Gate()
    client.remote.faults.script(Wait(gate, At.BETWEEN), op="patch")
    move = asyncio.create_task(client.patch(uid, slotStart="2050-09-05T12:00:00Z"))
    await gate.reached()
    assert (await client.delete(uid)).status == 200
    gate.open()
    answer = await move
    assert answer.status == 404
    assert answer.error["code"] == "NOT_FOUND"
    assert "details" not in answer.error


async def test_between_is_not_reached_by_what_is_refused(client: Client) -> None:
    client.remote.faults.script(Error500(At.BETWEEN), op="post", times=2)
    assert (await client.post(eventTypeId=99)).status == 404
    assert (await client.post()).status == 500
    assert (await client.post()).status == 201


async def test_between_of_what_checks_nothing_is_before_its_effect(client: Client) -> None:
    uid = await client.uid()
    client.remote.hold(1, TEN, minutes=-1)
    client.remote.faults.script(Error500(At.BETWEEN), times=None)
    later = "2050-09-05T12:00:00Z"
    answers = [
        await client.search(),
        await client.get(uid),
        await client.patch(uid, slotStart=later),
        await client.delete(uid),
    ]
    assert [answer.status for answer in answers] == [500] * 4
    assert [one.effect for one in client.remote.log] == ["reserved", None, None, None, None]
    assert [row.start for row in client.remote.rows] == [TEN, TEN]


async def test_several_faults_befall_one_request_in_order(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate), DropAfter())
    call = asyncio.create_task(client.post())
    await gate.reached()
    gate.open()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call
    assert client.remote.log[0].faults == (Wait(gate), DropAfter())
    assert len(client.remote.rows) == 1


# --- Down and up -----------------------------------------------------------------------


async def test_nothing_is_logged_when_a_connection_is_cut(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.remote.faults.script(DropBefore())
    client.remote.faults.script(DropAfter())
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.post()
    assert [one for one in caplog.records if one.name != "asyncio"] == []


async def test_a_get_whose_connection_is_cut_twice(client: Client) -> None:
    """Cut once, nobody notices: aiohttp repeats it."""
    client.remote.faults.script(DropBefore())
    assert (await client.get("none")).status == 200
    client.remote.faults.script(DropBefore(), times=2)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.get("none")
    assert [one.status for one in client.remote.log] == [None, 200, None, None]


async def test_down_and_up_on_the_same_port(client: Client) -> None:
    uid, url = await client.uid(), client.remote.url
    await client.remote.down()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(uid)
    await client.remote.down()
    await client.remote.up()
    await client.remote.up()
    assert client.remote.url == url
    assert (await client.get(uid)).data["reservationUid"] == uid


async def test_down_drops_what_is_under_way(client: Client) -> None:
    gate = Gate()
    client.remote.faults.script(Wait(gate))
    call = asyncio.create_task(client.post())
    await gate.reached()
    await client.remote.down()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call


async def test_there_is_no_url_before_it_listens() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = RemoteCalCom([]).url


# --- Which request ---------------------------------------------------------------------


async def test_a_script_by_endpoint_and_count(client: Client) -> None:
    client.remote.faults.script(Error500(), op="get", skip=1, times=2)
    assert (await client.delete("none")).status == 200
    assert [(await client.get("none")).status for _ in range(4)] == [200, 500, 500, 200]


async def test_a_script_by_anything_else(client: Client) -> None:
    client.remote.faults.script(Error500(), match=lambda one: one.uid == "bad", times=None)
    answers = [await client.get(uid) for uid in ("good", "bad", "bad")]
    assert [answer.status for answer in answers] == [200, 500, 500]
    client.remote.faults.clear()
    assert (await client.get("bad")).status == 200


async def test_the_first_script_decides_and_then_no_chance(client: Client) -> None:
    client.remote.faults.random(1, {Error500(): 1.0})
    client.remote.faults.script(Error429(), op="get")
    client.remote.faults.script(Garbage(), op="get")
    assert [(await client.get("none")).status for _ in range(3)] == [429, 200, 500]


RATES: dict[Fault, float] = {Error500(): 0.2, Error429(): 0.1, Garbage(b"?"): 0.1}


async def fates(client: Client, seed: int, *, searches: int = 0) -> list[tuple[Fault, ...]]:
    client.remote.faults.random(seed, RATES)
    client.remote.log.clear()
    for _ in range(30):
        for _ in range(searches):
            await client.search(eventTypeId="2")
        await client.get("none")
    return [one.faults for one in client.remote.log if one.op == "get"]


async def test_chance_is_the_same_for_the_same_seed(client: Client) -> None:
    first = await fates(client, 7)
    assert first == await fates(client, 7, searches=1)
    assert first != await fates(client, 8)
    client.remote.faults.random(7, RATES)
    for _ in first:
        await client.delete("none")
    assert first != [one.faults for one in client.remote.log[-len(first) :]]
    seen = Counter(fault for faults in first for fault in faults)
    assert set(seen) <= set(RATES)
    assert 0 < sum(seen.values()) < 30


async def test_chance_keeps_to_its_endpoint_and_to_its_rates(client: Client) -> None:
    client.remote.faults.random(7, {Error500(): 1.0}, op="search")
    assert (await client.get("none")).status == 200
    assert (await client.search()).status == 500
    client.remote.faults.random(7, {Error500(): 0.0})
    assert [(await client.search()).status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("rates", [{Error500(): 0.6, Error429(): 0.6}, {Error500(): -0.1}])
async def test_rates_that_cannot_be(client: Client, rates: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="rates"):
        client.remote.faults.random(1, rates)


async def test_scripts_that_cannot_be(client: Client) -> None:
    script = client.remote.faults.script
    with pytest.raises(ValueError, match="script"):
        script()
    with pytest.raises(ValueError, match="script"):
        script(Error500(), skip=-1)
    with pytest.raises(ValueError, match="script"):
        script(Error500(), times=0)


async def test_the_log_tells_all(client: Client) -> None:
    uid = await client.uid()
    await client.clock.advance(minutes(5))
    await client.search()
    await client.call("GET", "/v2/nothing")
    shown = [(one.method, one.path.partition("?")[0], one.uid) for one in client.remote.log]
    assert shown == [
        ("POST", PATH, uid),
        ("GET", "/v2/slots", None),
        ("GET", "/v2/nothing", None),
    ]
    assert effects(client) == [
        ("post", "reserved", 201),
        ("search", "purged", 200),
        (None, None, 404),
    ]
    assert client.remote.log[1].at - client.remote.log[0].at == minutes(5)
