"""Event types through the engine: slots, turns, limits and imported busy time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from slotengine import (
    EventType,
    ImportedSpan,
    InvalidField,
    Limit,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    Period,
    Schedule,
    Seats,
    SeatsLeft,
    Slot,
    SlotEngine,
    SlotQuery,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    TooSoon,
    UnknownReservation,
    UnknownResource,
    minutes,
)
from slotengine.core.time.instant import to_us
from slotengine.testing import SimClock

pytestmark = pytest.mark.anyio

MONDAY = datetime(2030, 1, 7, tzinfo=UTC)
NOW = MONDAY + timedelta(hours=6)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OFFICE = Schedule.weekly_hours("Europe/Rome", "mon-fri 09:00-12:00")


def at(hour: float) -> datetime:
    return MONDAY + hour * HOUR


@pytest.fixture
def clock() -> SimClock:
    return SimClock(NOW)


@pytest.fixture
async def engine(clock: SimClock) -> Any:
    numbers = count(1)
    async with SlotEngine(clock=clock, new_uid=lambda _: str(next(numbers))) as engine:
        for name in ("room-1", "room-2"):
            engine.add_resource(name, schedule=OFFICE)
        engine.add_event_type(
            EventType(
                id="talk",
                length=HOUR,
                any_of=[["room-1", "room-2"]],
                notice=HOUR,
                limits=[Limit(Period.DAY, count=3)],
            )
        )
        engine.add_event_type(EventType(id="class", length=HOUR, all_of=["room-1"], seats=2))
        yield engine
        engine.check_invariants()


async def hours_offered(engine: SlotEngine, event_type: str = "talk", **more: Any) -> list[int]:
    return [
        slot.start.hour
        for slot in await engine.slots(SlotQuery(event_type, MONDAY, at(24), **more))
    ]


async def test_slots_are_spans_in_utc(engine: SlotEngine) -> None:
    slots = await engine.slots(SlotQuery("talk", MONDAY, at(24)))
    assert slots == [Slot(at(hour), at(hour + 1)) for hour in (8, 9, 10)]
    assert slots[0].start.tzinfo is UTC
    assert await engine.slots(SlotQuery("class", at(8), at(9))) == [
        Slot(at(8), at(9), SeatsLeft(0, 2))
    ]


async def test_what_is_held_is_not_offered_until_it_lapses(
    engine: SlotEngine, clock: SimClock
) -> None:
    holds = [await engine.reserve_slot("talk", at(9), ttl=minutes(2)) for _ in range(2)]
    assert [hold.resources for hold in holds] == [("room-1",), ("room-2",)]
    assert await hours_offered(engine) == [8, 10]
    assert await hours_offered(engine, ignoring=[holds[1].uid]) == [8, 9, 10]
    with pytest.raises(NoneFree) as caught:
        await engine.reserve_slot("talk", at(9))
    assert caught.value.retry_at == NOW + minutes(2)
    clock.set(NOW + minutes(2))
    assert await hours_offered(engine) == [8, 9, 10]


async def test_claims_on_limits_are_nobodys_business(engine: SlotEngine) -> None:
    hold = await engine.reserve_slot("talk", at(9), holder="me", key="k")
    assert hold.resources == ("room-1",)
    assert [claim.resource for claim in hold.claims] == ["room-1"]
    assert hold == await engine.reserve_slot("talk", at(9), holder="me", key="k")
    with pytest.raises(InvalidField, match="limit:"):
        engine.add_resource("limit:day count:other")
    with pytest.raises(UnknownResource):
        await engine.reserve("limit:day count:talk", at(9), HOUR)
    with pytest.raises(UnknownResource):
        await engine.busy("limit:day count:talk", at(9), at(10))
    assert engine.statistics().resources == 2


async def test_a_move_goes_by_the_rules_of_the_event_type(engine: SlotEngine) -> None:
    uids = [(await engine.reserve_slot("talk", at(8))).uid]
    uids += [(await engine.reserve_slot("talk", at(10))).uid for _ in range(2)]
    with pytest.raises(LimitReached):
        await engine.reserve_slot("talk", at(9))
    # Its own place in the limit is not in its way, and moves along.
    assert (await engine.move(uids[0], at(9))).start == at(9)
    assert (await engine.move(uids[0], at(33))).start == at(33)
    assert (await engine.reserve_slot("talk", at(9))).start == at(9)
    with pytest.raises(LimitReached):
        await engine.move(uids[0], at(8))
    moved = await engine.move(uids[0], at(34), resource="room-2", ttl=minutes(9), version=3)
    assert (moved.resources, moved.until) == (("room-2",), NOW + minutes(9))
    with pytest.raises(TooSoon):
        await engine.move(uids[0], at(6.5))
    for wrong in ("room-3", "nonsense"):
        with pytest.raises(InvalidField, match="in no group"):
            await engine.move(uids[0], at(34), resource=wrong)


async def test_a_move_to_another_event_type(engine: SlotEngine) -> None:
    plain = await engine.reserve("room-2", at(8), HOUR)
    with pytest.raises(InvalidField, match="is of none"):
        await engine.move_slot(plain.uid, at(8))
    moved = await engine.move_slot(plain.uid, at(9), event_type="class")
    assert (moved.resources, moved.event_type, moved.seats) == (("room-1",), "class", Seats(2))
    assert await engine.slots(SlotQuery("class", at(9), at(10))) == [
        Slot(at(9), at(10), SeatsLeft(1, 2))
    ]
    assert SeatsLeft(1, 2).left == 1
    back = await engine.move_slot(moved.uid, at(10), event_type="talk")
    assert (back.event_type, back.seats) == ("talk", None)
    again = await engine.move_slot(back.uid, at(9))
    assert (again.event_type, again.start) == ("talk", at(9))
    with pytest.raises(UnknownReservation):
        await engine.move_slot("nobody", at(9))


async def test_what_moves_keeps_its_length_and_its_seats(engine: SlotEngine) -> None:
    lengths = [HOUR, 2 * HOUR]
    engine.add_event_type(EventType(id="tour", length=HOUR, lengths=lengths, all_of=["room-1"]))
    long = await engine.reserve_slot("tour", at(8), length=2 * HOUR)
    assert (await engine.move_slot(long.uid, at(9))).length == 2 * HOUR
    assert (await engine.move_slot(long.uid, at(9), length=HOUR)).length == HOUR
    # To another event type it goes with the length of that, if none is given.
    await engine.move_slot(long.uid, at(9), length=2 * HOUR)
    assert (await engine.move_slot(long.uid, at(10), event_type="talk")).length == HOUR
    pair = await engine.reserve_slot("class", at(8), seats=2)
    assert (await engine.move_slot(pair.uid, at(9))).seats == Seats(2, 2)


async def test_seats_are_resized_where_they_are(engine: SlotEngine, clock: SimClock) -> None:
    """In one step, its own seats not in its way, however little notice is left."""
    engine.add_event_type(
        EventType(id="course", length=HOUR, any_of=[["room-1", "room-2"]], seats=5, notice=HOUR)
    )
    start = at(9)
    mine = await engine.reserve_slot("course", start, seats=2, ttl=4 * HOUR)
    others = await engine.reserve_slot("course", start, seats=2, ttl=4 * HOUR)
    clock.set(at(8.5) + timedelta(seconds=1))
    before = mine
    with pytest.raises(NoSeatsLeft):
        await engine.move_slot(mine.uid, start, seats=4)
    with pytest.raises(TooManyUnits):
        await engine.move_slot(mine.uid, start, seats=6)
    for wrong in (0, -1, True, "2"):
        with pytest.raises(InvalidField):
            await engine.move_slot(mine.uid, start, seats=wrong)  # type: ignore[arg-type]
    assert await engine.get(mine.uid) == before
    for wanted in (3, 1, 3):
        mine = await engine.move_slot(mine.uid, start, seats=wanted)
        assert (mine.seats, mine.resources, mine.start) == (
            Seats(5, wanted),
            before.resources,
            start,
        )
        assert mine.until == before.until
        slots = await engine.slots(SlotQuery("course", start, start + HOUR, ignoring=[others.uid]))
        assert slots == []  # too late to join
        session = engine.ledger.occupancy.sessions["course", to_us(start)]
        assert session.taken == wanted + 2
    assert mine.version == before.version + 3
    booking = await engine.confirm(mine.uid)
    assert (await engine.move_slot(booking.uid, start, seats=1)).seats == Seats(5, 1)
    with pytest.raises(StaleVersion):
        await engine.move_slot(booking.uid, start, seats=2, version=1)
    # Alone in it, one can have all of them, and the session stays with its host.
    await engine.release(others.uid)
    alone = await engine.move_slot(booking.uid, start, seats=5)
    assert (alone.seats, alone.resources) == (Seats(5, 5), before.resources)
    talk = await engine.reserve_slot("talk", at(10), enforce=False)
    with pytest.raises(InvalidField, match="has none"):
        await engine.move_slot(talk.uid, at(10), seats=2)
    engine.check_invariants()


async def test_openings_are_the_slots_as_numbers(engine: SlotEngine) -> None:
    await engine.reserve_slot("class", at(8))
    for event_type in ("talk", "class"):
        slots = await engine.slots(SlotQuery(event_type, MONDAY, at(24)))
        openings = engine.local.openings(SlotQuery(event_type, MONDAY, at(24)))
        assert list(openings.starts) == [to_us(slot.start) for slot in slots]
        assert openings.length == to_us(slots[0].end) - to_us(slots[0].start)


async def test_the_next_free_slots(engine: SlotEngine, clock: SimClock) -> None:
    assert await engine.next_free(SlotQuery("talk")) == [Slot(at(8), at(9))]
    found = await engine.next_free(SlotQuery("talk", at(10), zone="Europe/Rome"), 2)
    assert [slot.start for slot in found] == [at(10), at(32)]
    assert await engine.next_free(SlotQuery("talk", at(11), at(20))) == []
    far = SlotQuery("talk", at(11), at(11) + timedelta(days=3660))
    assert await engine.next_free(far) == [Slot(at(32), at(33))]
    with pytest.raises(InvalidField, match="3660 days"):
        await engine.next_free(replace(far, start=at(11) - timedelta(microseconds=1)))
    clock.set(at(60))
    assert [slot.start for slot in await engine.next_free(SlotQuery("talk"))] == [at(80)]


async def test_busy_time_comes_and_goes_by_source(engine: SlotEngine) -> None:
    held = await engine.reserve_slot("talk", at(8))
    spans = {"room-1": [(at(7), at(9.5))], "room-2": [(at(9), at(10))]}
    await engine.replace_busy("calendar", spans)
    assert await hours_offered(engine) == [8, 10]
    assert await engine.imported("room-1", MONDAY, at(9)) == [
        ImportedSpan(at(7), at(9), "calendar")
    ]
    assert (await engine.busy("room-1", at(9), at(10)))[0].end == at(9.5)
    assert (await engine.confirm(held.uid)).resources == ("room-1",)
    with pytest.raises(SlotTaken) as caught:
        await engine.reserve("room-2", at(9), HOUR)
    assert caught.value.in_the_way[0].booked
    await engine.replace_busy("calendar", {})
    assert await hours_offered(engine) == [8, 9, 10]


@pytest.mark.parametrize(
    ("error", "spans"),
    [
        (InvalidField, None),
        (InvalidField, [("room-1", [])]),
        (InvalidField, {"room-1": [(at(9).replace(tzinfo=None), at(10))]}),
        (InvalidField, {"room-1": [(at(9), at(9))]}),
        (InvalidField, {"room-1": [at(9)]}),
        (InvalidField, {"room-1": 7}),
        (UnknownResource, {"room-3": []}),
    ],
)
async def test_wrong_busy_time_is_refused(
    engine: SlotEngine, error: type[Exception], spans: Any
) -> None:
    with pytest.raises(error):
        await engine.replace_busy("calendar", spans)
    assert await engine.imported("room-1", MONDAY, at(24)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"ignoring": "uid"},
        {"ignoring": 7},
        {"ignoring": [["uid"]]},
        {"only": [1]},
        {"only": ["nobody"]},
        {"only": "room-1"},
        {"zone": "Mars/Phobos"},
        {"zone": None},
        {"length": 30},
    ],
)
async def test_wrong_questions_are_refused(engine: SlotEngine, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        await engine.slots(SlotQuery("talk", MONDAY, at(24), **wrong))
    with pytest.raises(InvalidField):
        await engine.next_free(SlotQuery("talk", **wrong))


async def test_naive_times_are_refused(engine: SlotEngine) -> None:
    naive = MONDAY.replace(tzinfo=None)
    for attempt in (
        lambda: engine.slots(SlotQuery("talk", naive, MONDAY)),
        lambda: engine.next_free(SlotQuery("talk", naive)),
        lambda: engine.reserve_slot("talk", naive),
        lambda: engine.imported("room-1", naive, MONDAY),
    ):
        with pytest.raises(InvalidField, match="timezone-aware"):
            await attempt()


async def test_event_types_can_be_added_before_and_after_entering() -> None:
    engine = SlotEngine(clock=SimClock(NOW))
    engine.add_resource("room")
    engine.add_event_type(EventType(id="early", length=HOUR, all_of=["room"]))
    async with engine:
        engine.add_event_type(EventType(id="late", length=HOUR, all_of=["room"]))
        first = await engine.next_free(SlotQuery("late"))
        assert [slot.start for slot in first] == [at(7)]
        await engine.reserve_slot("early", first[0].start)
        assert [slot.start for slot in await engine.next_free(SlotQuery("late"))] == [at(8)]
