"""The public API as a type checker sees it.  Checked by mypy; never run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import assert_type

from slotengine import (
    ALWAYS_OPEN,
    AllOf,
    Away,
    BlockingEngine,
    BusySpan,
    Claim,
    Clock,
    DateRange,
    EachOf,
    Event,
    EventType,
    FixedWindows,
    Host,
    Hours,
    ImportedSpan,
    InTheWay,
    Lagged,
    Limit,
    LimitReached,
    NoneFree,
    NotBookable,
    OneOf,
    Period,
    Policy,
    Quota,
    Refused,
    Request,
    Reservation,
    RollingDays,
    Schedule,
    ScheduleIntersection,
    Seats,
    SeatsLeft,
    Slot,
    SlotEngine,
    SlotError,
    SlotQuery,
    SlotTaken,
    StaleVersion,
    State,
    Statistics,
    Subscription,
    SystemClock,
    TooSoon,
    Travel,
    UnknownEventType,
    UnknownReservation,
    Verb,
    Windows,
    WrongState,
    hours,
    minutes,
)
from slotengine.testing import SimClock, Watch, attach

START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
REQUEST = Request(START, HALF_HOUR, (Claim("room"),))
QUOTA = Quota(holds=20, held=minutes(600), waits=3, life=minutes(30))
LIMITED = Request(START, HALF_HOUR, (Claim("room"),), holder="customer-7", quota=QUOTA)


async def reserving(engine: SlotEngine) -> None:
    assert_type(await engine.reserve("room", START, HALF_HOUR), Reservation)
    assert_type(
        await engine.reserve(
            "room", START, HALF_HOUR,
            units=2, holder="me", ttl=minutes(1), key="k", event_type="chat",
        ),
        Reservation,
    )  # fmt: skip
    assert_type(await engine.reserve("room", START, HALF_HOUR, wait=minutes(5)), Reservation)
    assert_type(await engine.reserve("room", START, HALF_HOUR, wait=None), Reservation)
    assert_type(engine.local.reserve("room", START, HALF_HOUR), Reservation)
    assert_type(await engine.reserve(REQUEST), Reservation)
    assert_type(await engine.adopt(REQUEST), Reservation)
    assert_type(await engine.reserve(REQUEST, wait=minutes(5)), Reservation)
    assert_type(await engine.reserve(AllOf([REQUEST])), list[Reservation])
    assert_type(await engine.reserve(AllOf((REQUEST,))), list[Reservation])
    assert_type(await engine.reserve(EachOf([REQUEST])), list[Reservation | Refused])
    assert_type(
        await engine.reserve(
            OneOf([REQUEST], policy=Policy.WEIGHTED, weights=[1], load_in=(START, START), key="k")
        ),
        Reservation,
    )
    for answer in engine.local.reserve(EachOf([REQUEST])):
        if isinstance(answer, Reservation):
            assert_type(answer, Reservation)
        else:
            assert_type(answer, Refused)


async def event_types(engine: SlotEngine) -> None:
    talk = EventType(
        id="talk",
        length=HALF_HOUR,
        all_of=["room", Host("desk", units=2)],
        any_of=[["first", Host("second", weight=2, schedule=ALWAYS_OPEN)], ("third",)],
        lengths=[HALF_HOUR],
        interval=minutes(15),
        window=RollingDays(30, business=True),
        limits=[Limit(Period.DAY, count=3), Limit(Period.WEEK, time=minutes(90))],
        seats=8,
        schedule=ScheduleIntersection((ALWAYS_OPEN, Schedule("Europe/Rome"))),
        zone="Europe/Rome",
    )
    engine.add_event_type(talk)
    engine.add_event_type(
        EventType(
            id="fair",
            length=HALF_HOUR,
            all_of=("room",),
            window=DateRange(date(2030, 1, 1), date(2030, 1, 2)),
        )
    )
    assert_type(await engine.reserve_slot("talk", START, seats=2, only={"first"}), Reservation)
    assert_type(await engine.move_slot("uid", START, event_type="fair"), Reservation)
    assert_type(await engine.reserve_slot("talk", START, wait=minutes(5)), Reservation)
    slots = await engine.slots(
        SlotQuery("talk", START, START, zone="Europe/Rome", ignoring=["uid"])
    )
    assert_type(slots, list[Slot])
    assert_type(slots[0].start, datetime)
    assert_type(slots[0].seats, SeatsLeft | None)
    assert_type(await engine.next_free(SlotQuery("talk"), count=3), list[Slot])
    await engine.replace_busy("calendar", {"room": [(START, START)], "desk": ()})
    assert_type(await engine.forget_bookings(START), int)
    assert_type(await engine.imported("room", START, START), list[ImportedSpan])
    try:
        engine.local.reserve_slot("talk", START)
    except LimitReached as reached:
        assert_type(reached.retry_at, datetime | None)
    except TooSoon as soon:
        assert_type(soon.earliest, datetime)
    except NotBookable as closed:
        assert_type((closed.first, closed.end), tuple[datetime, datetime])
    except UnknownEventType as unknown:
        assert_type(unknown.event_type, str)


async def living(engine: SlotEngine) -> None:
    assert_type(await engine.extend("uid", ttl=minutes(1), version=1), Reservation)
    assert_type(await engine.move("uid", START), Reservation)
    assert_type(
        await engine.move("uid", START, HALF_HOUR, resource="room", ttl=minutes(1), version=1),
        Reservation,
    )
    assert_type(await engine.move("uid", REQUEST, version=1), Reservation)
    assert_type(await engine.move("uid", OneOf([REQUEST], policy=Policy.FIRST)), Reservation)
    assert_type(await engine.confirm("uid", if_still_free=True, version=1), Reservation)
    assert_type(await engine.release("uid", version=1), Reservation)
    assert_type(await engine.cancel("uid", version=1), Reservation)
    assert_type(engine.local.cancel("uid"), Reservation)


async def reading(engine: SlotEngine) -> None:
    assert_type(await engine.get("uid"), Reservation | None)
    assert_type(await engine.busy("room", START, START), list[BusySpan])
    assert_type(await engine.is_free(REQUEST), bool)
    assert_type(engine.now(), datetime)
    assert_type(engine.default_ttl, timedelta)
    assert_type(engine.ttl_bounds, tuple[timedelta, timedelta])
    statistics = engine.statistics()
    assert_type(statistics, Statistics)
    assert_type(statistics.overdue, timedelta)
    assert_type(statistics.held, int)


async def following(engine: SlotEngine) -> None:
    with engine.subscribe(buffer=8) as events:
        assert_type(events, Subscription)
        async for event in events:
            assert_type(event, Event | Lagged)
            match event:
                case Lagged(missed=missed):
                    assert_type(missed, int)
                case Event(verb=verb, at=at, reservation=reservation):
                    assert_type(verb, Verb)
                    assert_type(at, datetime)
                    assert_type(reservation, Reservation)


async def configuring(clock: Clock) -> None:
    async with SlotEngine(
        default_ttl=minutes(5),
        min_ttl=minutes(1),
        max_ttl=minutes(60),
        max_life=None,
        retention=minutes(60),
        clock=clock,
        new_uid=lambda _: "uid",
    ) as engine:
        assert_type(engine, SlotEngine)
        engine.add_resource("room", capacity=2, schedule=Schedule("Europe/Rome"))
        engine.add_resource("shop", schedule=FixedWindows([(0, 1)]))
        engine.add_resource("hut", schedule=ALWAYS_OPEN)
        engine.add_resource("hall")


def clocks() -> list[Clock]:
    virtual = SimClock(START)
    assert_type(virtual.moment, datetime)
    return [SystemClock(), virtual]


def schedules() -> list[Windows]:
    assert_type(hours("09:00-17:00"), tuple[Hours, ...])
    office = Schedule.weekly_hours(
        "Europe/Rome",
        "mon-fri 09:00-17:00",
        overrides={date(2030, 1, 7): hours("10:00-12:00")},
        travel=[Travel(date(2030, 2, 1), date(2030, 2, 2), "Asia/Tokyo")],
        away=[Away(date(2030, 3, 1), date(2030, 3, 2))],
    )
    assert_type(office, Schedule)
    return [office, FixedWindows([(0, 1)]), ALWAYS_OPEN]


def reservation_says(one: Reservation) -> None:
    assert_type(one.uid, str)
    assert_type(one.state, State)
    assert_type(one.version, int)
    assert_type(one.start, datetime)
    assert_type(one.end, datetime)
    assert_type(one.length, timedelta)
    assert_type(one.until, datetime | None)
    assert_type(one.created, datetime)
    assert_type(one.holder, str | None)
    assert_type(one.event_type, str | None)
    assert_type(one.seats, Seats | None)
    assert_type(one.claims, tuple[Claim, ...])
    assert_type(one.resources, tuple[str, ...])
    one.uid = "another"  # type: ignore[misc]
    REQUEST.start = START  # type: ignore[misc]


def refusals(engine: SlotEngine) -> None:
    try:
        engine.local.confirm("uid")
    except SlotTaken as taken:
        assert_type(taken.resource, str)
        assert_type(taken.start, datetime)
        assert_type(taken.in_the_way, tuple[InTheWay, ...])
        assert_type(taken.retry_at, datetime | None)
    except NoneFree as none_free:
        assert_type(none_free.refusals, tuple[Refused, ...])
        assert_type(none_free.retry_at, datetime | None)
    except StaleVersion as stale:
        assert_type((stale.uid, stale.expected, stale.actual), tuple[str, int, int])
    except WrongState as wrong:
        assert_type((wrong.uid, wrong.state, wrong.verb), tuple[str, str, str])
    except UnknownReservation as unknown:
        assert_type(unknown.uid, str)
    except SlotError:
        raise


def blocking() -> None:
    with BlockingEngine(SlotEngine(default_ttl=minutes(1)), backend="trio") as engine:
        assert_type(engine, BlockingEngine)
        engine.add_resource("room", capacity=2)
        assert_type(engine.reserve("room", START, HALF_HOUR, holder="me"), Reservation)
        assert_type(engine.reserve(EachOf([REQUEST])), list[Reservation | Refused])
        assert_type(engine.move("uid", START, resource="room"), Reservation)
        assert_type(engine.get("uid"), Reservation | None)
        assert_type(engine.busy("room", START, START), list[BusySpan])
        assert_type(engine.statistics(), Statistics)
        engine.reserve("room", START)  # type: ignore[call-overload]
        engine.reserve("room", START, 30)  # type: ignore[call-overload]
        with engine.subscribe() as events:
            for event in events:
                assert_type(event, Event | Lagged)


async def watching(engine: SlotEngine, clock: SimClock) -> None:
    with attach(engine) as watch:
        assert_type(watch, Watch)
        await clock.advance_to(START)
        assert_type(clock.next_wake, datetime | None)
        watch.check()
        watch.check_swept()


async def what_a_checker_refuses(engine: SlotEngine) -> None:
    await engine.reserve("room", START)  # type: ignore[call-overload]
    await engine.reserve("room", START, HALF_HOUR, 2)  # type: ignore[call-overload]
    await engine.reserve("room", START, 30)  # type: ignore[call-overload]
    await engine.reserve("room", START, HALF_HOUR, ttl=300)  # type: ignore[call-overload]
    await engine.confirm(await engine.get("uid"))  # type: ignore[arg-type]
    engine.add_resource("room", 2)  # type: ignore[call-arg]
    SlotEngine(minutes(5))  # type: ignore[call-arg]
    SlotEngine(clock=lambda: 0)  # type: ignore[arg-type]
