"""Long searches: what they count as, that they give way, and that they find the same in pieces."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import anyio
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotengine import SlotEngine
from slotengine.calcom.catalog.load import catalog_from
from slotengine.calcom.catalog.quotas import NO_QUOTAS
from slotengine.calcom.catalog.rate_limits import UNLIMITED, RateLimit, RateLimits
from slotengine.calcom.server import search_size
from slotengine.calcom.server import slots as search
from slotengine.calcom.server.messages import Head, Refusal, Response
from slotengine.calcom.server.search_size import SearchSize
from slotengine.calcom.server.service import Service
from slotengine.core.time.instant import DAY, MINUTE
from slotengine.testing import SimClock

NOW = datetime(2030, 3, 1, 6, 17, 31, tzinfo=UTC)  # clocks change in this month
VERSION = {"cal-api-version": "2024-09-04"}

SCHEDULES: list[dict[str, Any]] = [
    {"id": 1, "timeZone": "Europe/Rome"},
    {
        "id": 2,
        "timeZone": "America/New_York",
        "availability": [
            {"days": ["Monday", "Tuesday", "Saturday"], "startTime": "00:00", "endTime": "23:59"},
            {"days": ["Sunday"], "startTime": "18:15", "endTime": "23:59"},
        ],
    },
]
USERS: list[dict[str, Any]] = [
    {"id": 1, "username": "always"},
    {"id": 2, "username": "office", "defaultScheduleId": 1},
    {"id": 3, "username": "days", "defaultScheduleId": 2},
]

rules: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "lengthInMinutes": st.sampled_from([15, 30, 45, 50, 90, 120]),
        "minimumBookingNotice": st.sampled_from([0, 120, 1500]),
    },
    optional={
        "slotInterval": st.sampled_from([10, 30, 45, 50, 90]),
        "offsetStart": st.sampled_from([5, 20]),
        "beforeEventBuffer": st.sampled_from([5, 60]),
        "afterEventBuffer": st.sampled_from([10, 90]),
        "onlyShowFirstAvailableSlot": st.booleans(),
        "showOptimizedSlots": st.booleans(),
        "bookingLimitsCount": st.sampled_from([{"day": 1}, {"week": 2}]),
        "bookingWindow": st.sampled_from(
            [
                {"type": "calendarDays", "value": 9, "rolling": False},
                {"type": "range", "value": ["2030-03-05", "2030-03-20"]},
            ]
        ),
    },
)
who: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"ownerId": owner} for owner in (1, 2, 3)]
    + [
        {"teamId": 1, "schedulingType": kind, "hosts": [{"userId": host} for host in hosts]}
        for kind in ("collective", "roundRobin")
        for hosts in ((2, 3), (1, 2), (1, 2, 3))
    ]
)
seats = st.none() | st.just({"seatsPerTimeSlot": 3})
ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]


def catalog(event_type: dict[str, Any], bookings: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schedules": SCHEDULES,
        "users": USERS,
        "teams": [{"id": 1, "slug": "all", "members": [{"userId": each["id"]} for each in USERS]}],
        "eventTypes": [{"id": 1, "slug": "one"} | event_type],
        "bookings": bookings,
    }


def query(**more: object) -> Head:
    asked = {"eventTypeId": 1, "start": "2030-03-01", "end": "2030-04-02"} | more
    return Head("GET", f"/v2/slots?{urlencode(asked)}", VERSION, "192.0.2.1")


async def answer(service: Service, head: Head) -> Response:
    admitted = service.admit(head)
    if isinstance(admitted, Refusal):
        return admitted.response
    try:
        return await service.handle(admitted, b"")
    finally:
        service.done(admitted)


def data(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    assert response.status == 200, response.body
    return orjson.loads(response.body)["data"]


def in_small_pieces(patch: pytest.MonkeyPatch) -> None:
    for module in (search, search_size):
        patch.setattr(module, "PIECE_HOST_TIME", DAY)
        patch.setattr(module, "PIECE_STARTS", 1)


def in_one_piece(patch: pytest.MonkeyPatch) -> None:
    for module in (search, search_size):
        patch.setattr(module, "PIECE_HOST_TIME", 10**6 * DAY)
        patch.setattr(module, "PIECE_STARTS", 10**9)


@st.composite
def held(draw: st.DrawFn) -> list[datetime]:
    minutes = st.integers(0, 31 * 24 * 12).map(lambda five: 5 * five)
    return [
        datetime(2030, 3, 1, tzinfo=UTC) + timedelta(minutes=each)
        for each in draw(st.lists(minutes, max_size=12))
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_pieces_the_same_is_found(backend: str) -> None:
    @settings(deadline=None)
    @given(
        rules=rules,
        who=who,
        seats=seats,
        starts=held(),
        zone=st.sampled_from(ZONES),
        first=st.sampled_from(["2030-03-01", "2030-03-04T07:13:20Z", "2030-02-01"]),
        form=st.sampled_from(["time", "range"]),
    )
    def same(
        rules: dict[str, Any],
        who: dict[str, Any],
        seats: dict[str, Any] | None,
        starts: list[datetime],
        zone: str,
        first: str,
        form: str,
    ) -> None:
        event_type = rules | who | ({} if seats is None else {"seats": seats})
        head = query(timeZone=zone, start=first, format=form)

        async def main() -> None:
            async with SlotEngine(clock=SimClock(NOW)) as engine:
                service = Service(
                    catalog_from(catalog(event_type, [])),
                    engine,
                    enforce_availability=False,
                    rate_limits=UNLIMITED,
                    quotas=NO_QUOTAS,
                )
                await service.populate()
                for number, start in enumerate(starts):
                    body = orjson.dumps({"eventTypeId": 1, "slotStart": start})
                    sent = {**VERSION, "Content-Length": str(len(body))}
                    head_of = Head("POST", "/v2/slots/reservations", sent, "192.0.2.1")
                    admitted = service.admit(head_of)
                    assert not isinstance(admitted, Refusal)
                    made = await service.handle(admitted, body)
                    service.done(admitted)
                    if made.status == 201 and number % 2:
                        assert isinstance(made.body, bytes)
                        uid = orjson.loads(made.body)["data"]["reservationUid"]
                        await engine.confirm(uid)
                with pytest.MonkeyPatch.context() as patch:
                    in_one_piece(patch)
                    whole = await answer(service, head)
                    in_small_pieces(patch)
                    pieces = await answer(service, head)
                assert pieces.body == whole.body
                assert pieces.status == 200

        anyio.run(main, backend=backend)

    same()


pytestmark = pytest.mark.anyio


async def serving(
    engine: SlotEngine, event_type: dict[str, Any], limits: RateLimits = UNLIMITED
) -> Service:
    service = Service(
        catalog_from(catalog(event_type, [])),
        engine,
        enforce_availability=True,
        rate_limits=limits,
        quotas=NO_QUOTAS,
    )
    await service.populate()
    return service


ALWAYS: dict[str, Any] = {"ownerId": 1, "lengthInMinutes": 30, "minimumBookingNotice": 0}


async def test_a_long_search_gives_way_and_each_date_is_as_it_is_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_small_pieces(monkeypatch)
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        service = await serving(engine, ALWAYS)
        found: list[Response] = []
        moments: list[None] = []

        async def look() -> None:
            found.append(await answer(service, query()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            while not moments or not found:
                await anyio.lowlevel.checkpoint()
                if len(moments) == 2:  # under way: what is late is not looked at yet
                    late = datetime(2030, 3, 30, 12, tzinfo=UTC)
                    await engine.reserve_slot("1", late)
                    early = datetime(2030, 3, 1, 12, tzinfo=UTC)
                    await engine.reserve_slot("1", early)
                moments.append(None)
        days = data(found[0])
        assert {"start": "2030-03-30T12:00:00.000Z"} not in days["2030-03-30"]
        assert {"start": "2030-03-01T12:00:00.000Z"} in days["2030-03-01"]
        assert list(days) == [
            (date(2030, 3, 1) + timedelta(days=day)).isoformat() for day in range(33)
        ]
        assert len(moments) > 33


async def test_what_is_past_by_then_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_pieces(monkeypatch)
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock) as engine:
        service = await serving(engine, ALWAYS)
        found: list[Response] = []

        async def look() -> None:
            found.append(await answer(service, query(end="2030-03-05")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            assert not found
            await clock.advance(timedelta(days=1, hours=5, minutes=13, seconds=7))
        days = data(found[0])
        assert "2030-03-01" not in days
        assert days["2030-03-02"][0] == {"start": "2030-03-02T12:00:00.000Z"}


@pytest.mark.parametrize(
    ("zone", "day", "again"),
    [
        ("America/St_Johns", date(2006, 10, 28), "2006-10-28"),  # at 00:01 back to 23:01
        ("America/Juneau", date(1867, 10, 18), "1867-10-18"),  # from Asia's date to America's
    ],
)
async def test_a_date_that_comes_back_is_in_the_answer_once(
    monkeypatch: pytest.MonkeyPatch, zone: str, day: date, again: str
) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=3)
    asked = query(
        start=start.date(), end=start.date() + timedelta(days=6), timeZone=zone, format="range"
    )
    found = []
    for cut in (in_one_piece, in_small_pieces):
        cut(monkeypatch)
        async with SlotEngine(clock=SimClock(start)) as engine:
            response = await answer(await serving(engine, ALWAYS), asked)
        assert isinstance(response.body, bytes)
        assert response.body.count(again.encode() + b'":') == 1
        found.append(data(response))
    assert found[0] == found[1]


async def test_one_long_search_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_pieces(monkeypatch)
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        service = await serving(engine, ALWAYS)
        order: list[str] = []

        async def look(name: str, **more: object) -> None:
            await answer(service, query(**more))
            order.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: look("a"))
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(lambda: look("b", end="2030-03-02"))
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(lambda: look("short", end="2030-03-01T07:00:00Z"))
        assert order == ["short", "a", "b"]


async def test_a_search_that_is_given_up_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_small_pieces(monkeypatch)
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        service = await serving(engine, ALWAYS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, service, query())
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert data(await answer(service, query()))


# --- What they count as ----------------------------------------------------------------

DAYS = {"a week": 7, "a month": 31}


@pytest.mark.parametrize("days", DAYS.values(), ids=list(DAYS))
@pytest.mark.parametrize("step", [5, 15, 30, 60])
def test_ordinary_searches_count_as_one(days: int, step: int) -> None:
    assert SearchSize(days * DAY + 1, 1, step * MINUTE).cost == 1
    assert SearchSize(days * DAY + 1, 10, max(step, 15) * MINUTE).cost == 1


def test_larger_ones_count_for_more() -> None:
    assert SearchSize(3650 * DAY, 10, 30 * MINUTE).cost == 99
    assert SearchSize(365 * DAY, 1, 5 * MINUTE).cost == 12
    assert SearchSize(31 * DAY, 500, 30 * MINUTE).cost == 42
    assert SearchSize(0, 1, MINUTE).cost == 1


def remaining(response: Response) -> int:
    return int(response.headers["X-RateLimit-Remaining-Default"])


async def test_a_large_search_is_charged_by_its_size() -> None:
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        service = await serving(engine, ALWAYS, RateLimits())
        assert remaining(await answer(service, query())) == 119
        year = query(end="2031-03-01", duration=30)
        assert remaining(await answer(service, year)) == 118 - 1  # 17,520 starts: two
        six = query(end="2036-03-01")
        assert remaining(await answer(service, six)) == 117 - 12
        assert (await answer(service, query(end="nonsense"))).status == 400
        assert remaining(await answer(service, query(end="2060-03-01"))) == 103  # refused: one


async def test_what_is_left_is_for_smaller_ones() -> None:
    limits = RateLimits(address=RateLimit(15))
    async with SlotEngine(clock=SimClock(NOW)) as engine:
        service = await serving(engine, ALWAYS, limits)
        large = query(end="2036-03-01")
        assert remaining(await answer(service, query())) == 14
        assert remaining(await answer(service, query())) == 13
        assert remaining(await answer(service, large)) == 1
        refused = await answer(service, large)
        assert (refused.status, remaining(refused)) == (429, 0)
        assert isinstance(refused.body, bytes)
        error = orjson.loads(refused.body)["error"]
        assert error["message"].startswith("CustomThrottlerGuard - Too many requests.")
        assert "counts as 12 requests, of which 0 are left" in error["details"]


async def test_one_that_is_larger_than_a_window_may_be_the_first_in_it() -> None:
    limits = RateLimits(address=RateLimit(5))
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock) as engine:
        service = await serving(engine, ALWAYS, limits)
        large, small = query(end="2036-03-01"), query()
        first = await answer(service, large)
        assert (first.status, remaining(first)) == (200, 0)
        assert (await answer(service, small)).status == 429
        await clock.advance(timedelta(seconds=61))
        assert (await answer(service, small)).status == 200
        assert (await answer(service, large)).status == 429
        assert remaining(await answer(service, small)) == 2


def test_a_piece_has_at_least_a_date() -> None:
    assert SearchSize(DAY, 100_000, MINUTE).dates == 1
    assert SearchSize(DAY, 1, DAY).dates == 120
