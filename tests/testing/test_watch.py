"""The watch: leaves an engine that is right alone, and names what is wrong with one that is not."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from slotengine import (
    AllOf,
    Claim,
    EventType,
    FixedWindows,
    Kind,
    Limit,
    Period,
    Put,
    Request,
    Reservation,
    ResourceConfig,
    Seats,
    SlotEngine,
    SlotTaken,
    State,
    minutes,
)
from slotengine.core.ledger.changes import Expired, ReservationChange, Reserved
from slotengine.core.ledger.commands import Reserve
from slotengine.core.ledger.reservation import Entry
from slotengine.core.time.instant import to_us
from slotengine.testing import InvariantBroken, SimClock, Watch, attach
from slotengine.testing.simulation.faults import fault
from slotengine.testing.watch import CHECKED_PER_TURN, RULES
from tests.standing import standing

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
SECOND = 1_000_000

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> SimClock:
    return SimClock(NOW)


def engine_on(clock: SimClock) -> SlotEngine:
    engine = SlotEngine(clock=clock)
    engine.add_resource("room")
    engine.add_resource("hall", capacity=3)
    engine.add_resource("shop", schedule=FixedWindows([(to_us(NOW), to_us(START + HALF_HOUR))]))
    return engine


def both(length: int = 30) -> Request:
    claims = (Claim("room"), Claim("hall", units=2, before=minutes(5)))
    return Request(START, minutes(length), claims)


def seat() -> Request:
    return Request(
        START, HALF_HOUR, (Claim("room"),), event_type="class", seats=Seats(2), ttl=minutes(9)
    )


# --- An engine that is right ---------------------------------------------------------------


async def test_all_that_is_right_is_left_alone(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        with attach(engine) as watch:
            first = await engine.reserve("room", START, HALF_HOUR, key="k")
            assert await engine.reserve("room", START, HALF_HOUR, key="k") == first
            await engine.extend(first.uid, ttl=minutes(9))
            await engine.move(first.uid, START + minutes(15))
            await engine.confirm(first.uid)
            with pytest.raises(SlotTaken):
                await engine.reserve("room", START, HALF_HOUR)
            several = await engine.reserve(
                AllOf([both(15), Request(NOW, HALF_HOUR, (Claim("shop"),))])
            )
            await engine.release(several[0].uid)
            watch.check()
            await engine.replace_busy("calendar", {"hall": [(NOW, START)]})
            await clock.advance(minutes(5))
            watch.check_swept()
            again = await engine.confirm(several[1].uid, if_still_free=True)
            assert again.state is State.CONFIRMED
            await engine.cancel(first.uid)
            members = [await engine.reserve(seat()) for _ in range(2)]
            await clock.advance(minutes(70))
            watch.check_swept()
            watch.check()
            assert await engine.get(members[0].uid) is None
            assert await engine.get(first.uid) is None
        assert watch.broken == []
        assert watch.seen == 14
        await engine.reserve("room", START, HALF_HOUR)
        assert watch.seen == 14  # it looks no more


async def test_what_is_adopted_may_stand_beyond_what_there_is(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        with attach(engine) as watch:
            bookings = [await engine.adopt(both(length)) for length in (30, 20, 40)]
            for booking in bookings[::-1]:
                await engine.cancel(booking.uid)
            await engine.reserve(both())
            watch.check()


async def test_what_is_adopted_may_stand_in_busy_time_and_beyond_the_seats(
    clock: SimClock,
) -> None:
    seats = Seats(2, 2)
    seat = Request(START, HALF_HOUR, (Claim("room"),), event_type="course", seats=seats, past=True)
    async with engine_on(clock) as engine:
        with attach(engine) as watch:
            await engine.replace_busy("feed", {"room": [(START, START + HALF_HOUR)]})
            await engine.adopt(seat)
            await engine.adopt(seat)
            assert watch.seen == 4


async def test_room_for_a_change_of_the_configuration_may_be_made_out_of_turn(
    clock: SimClock,
) -> None:
    engine = engine_on(clock)
    engine.ledger.maintenance = 0
    async with engine:
        with attach(engine) as watch:
            first = await engine.reserve("room", START, HALF_HOUR, ttl=minutes(1))
            await engine.reserve("hall", START, HALF_HOUR, units=3, ttl=minutes(2))
            clock.set(NOW + minutes(3))
            await engine.configure([Put(Kind.RESOURCE, "hall", ResourceConfig(1))])
            assert watch.seen == 3  # only what is in the way is told to have expired
            await clock.advance(minutes(0))
            watch.check_swept()
            assert watch.reservations[first.uid].state is State.EXPIRED


async def test_an_engine_that_has_lived_before_is_believed_at_first(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        hold = await engine.reserve("room", START, HALF_HOUR)
        lapsing = await engine.reserve("hall", START, HALF_HOUR, ttl=minutes(1))
        booking = await engine.confirm((await engine.reserve("hall", NOW, HALF_HOUR)).uid)
        with attach(engine) as unaware:
            clock.set(NOW + minutes(1))  # the sweeper has not run yet
            known = [engine.local.get(one.uid) for one in (hold, lapsing, booking)]
            aware = Watch(engine, [one for one in known if one is not None])
            await clock.advance(minutes(0))
            await engine.confirm(hold.uid)
            await engine.cancel(booking.uid)
            for watch in (aware, unaware):
                watch.check()
                watch.check_swept()
                assert watch.seen == 3


async def refused_while_broken(engine: SlotEngine) -> None:
    with attach(engine) as watch:
        watch.broken.append(InvariantBroken("busy", "it is"))
        await engine.reserve(AllOf([both(), both()]))


async def test_what_the_block_raises_is_not_hidden(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        with pytest.raises(SlotTaken):
            await refused_while_broken(engine)


# --- An engine that is wrong ---------------------------------------------------------------


def entry_of(engine: SlotEngine, uid: str) -> Entry:
    entry = engine.ledger.get(uid, now=engine.ledger.state.now)
    assert entry is not None
    return entry


class Silence:
    """Nothing is told while the block lasts; afterwards it can be told what did not happen."""

    def __init__(self, engine: SlotEngine) -> None:
        self.ledger = engine.ledger
        self.on_change = self.ledger.on_change

    def __enter__(self) -> Self:
        self.ledger.on_change = None
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.on_change = self.on_change

    def tell(self, entry: Entry, kind: type[Reserved | Expired], at: int) -> None:
        """Tell that a reservation was made, or that it has expired."""
        change: ReservationChange = Expired(1, at, entry.uid, entry.version, entry.until)
        if kind is Reserved:
            span = entry.start, entry.end, entry.all_claims()
            change = Reserved(1, at, entry.uid, entry.version, entry.until, *span)
        assert self.on_change is not None
        assert self.ledger.on_step is not None
        self.on_change(change, entry)
        self.ledger.on_step((change,))


Scene = Callable[[SlotEngine, SimClock], Awaitable[None]]


async def told_twice(engine: SlotEngine, clock: SimClock) -> None:
    with fault("expiry-told-twice"):
        await engine.reserve("room", START, HALF_HOUR)
        await clock.advance(minutes(5))


async def same_version(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    entry_of(engine, hold.uid).version -= 1
    await engine.confirm(hold.uid)


async def beyond_until(engine: SlotEngine, clock: SimClock) -> None:
    with fault("until-off-by-one"):
        hold = await engine.reserve("room", START, HALF_HOUR)
        clock.set(NOW + minutes(5))
        await engine.confirm(hold.uid)


async def early(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    with Silence(engine) as silence:
        engine.ledger.expire(to_us(NOW + minutes(5)))  # as if it were then; told to be now
    silence.tell(entry_of(engine, hold.uid), Expired, to_us(NOW))


async def out_of_order(engine: SlotEngine, clock: SimClock) -> None:
    holds = [await engine.reserve("hall", START, HALF_HOUR, ttl=minutes(i)) for i in (1, 2)]
    clock.set(NOW + minutes(3))
    with Silence(engine) as silence:
        engine.ledger.expire(clock.now())
    for hold in reversed(holds):
        silence.tell(entry_of(engine, hold.uid), Expired, clock.now())


async def back_in_time(engine: SlotEngine, clock: SimClock) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    engine.ledger.state.now -= 1_000_000
    clock.set(NOW - minutes(1))
    await engine.reserve("hall", START, HALF_HOUR)


async def oversold(engine: SlotEngine, clock: SimClock) -> None:
    with fault("oversold"):
        for _ in range(4):
            await engine.reserve("hall", START, HALF_HOUR)


async def overbooked_class(engine: SlotEngine, clock: SimClock) -> None:
    for _ in range(2):
        await engine.reserve(seat())
    next(iter(engine.ledger.occupancy.sessions.values())).taken = 0
    await engine.reserve(seat())


async def given_though_imported(engine: SlotEngine, clock: SimClock) -> None:
    await engine.replace_busy("calendar", {"room": [(START, START + HALF_HOUR)]})
    room = engine.ledger.resource("room")
    busy, room.busy = room.busy, None
    with Silence(engine) as silence:
        hold = await engine.reserve("room", START, HALF_HOUR)
    room.busy = busy
    silence.tell(entry_of(engine, hold.uid), Reserved, clock.now())


async def vanished(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await engine.confirm(hold.uid)
    engine.ledger.state.forget(entry_of(engine, hold.uid).number)


async def silently_changed(engine: SlotEngine, clock: SimClock) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    entry_of(engine, hold.uid).until += 1


async def not_given_back(engine: SlotEngine, clock: SimClock) -> None:
    with fault("forgotten-claim"):
        hold = await engine.reserve(both())
        await engine.release(hold.uid)


async def unannounced(engine: SlotEngine, clock: SimClock) -> None:
    with fault("expiry-not-told"):
        await engine.reserve("room", START, HALF_HOUR)
        await clock.advance(minutes(5))


async def unheard_of(engine: SlotEngine, clock: SimClock) -> None:
    with Silence(engine):
        hold = await engine.reserve("room", START, HALF_HOUR)
    await engine.confirm(hold.uid)


async def slept_through(engine: SlotEngine, clock: SimClock) -> None:
    wish = Request(START, HALF_HOUR, (Claim("room"),)).proposal(default_ttl=60_000_000)
    with fault("lapse-wakes-nobody"):
        await engine.reserve("room", START, HALF_HOUR)
        # The second is behind the first, and has no chance to sleep through anything.
        for uid in ("first", "second"):
            command = Reserve((wish,), (uid,), wait=3_600_000_000)
            engine.ledger.step(command, engine.ledger.state.now)
        await clock.advance(minutes(5))


WRONG: list[tuple[str, Scene]] = [
    ("served", slept_through),
    ("transition", told_twice),
    ("version", same_version),
    ("until", beyond_until),
    ("until", early),
    ("order", out_of_order),
    ("order", back_in_time),
    ("capacity", oversold),
    ("capacity", overbooked_class),
    ("imported", given_though_imported),
    ("kept", vanished),
    ("kept", silently_changed),
    ("busy", not_given_back),
    ("announced", unannounced),
    ("reserved once", unheard_of),
]


@pytest.mark.parametrize(("rule", "scene"), WRONG, ids=[scene.__name__ for _, scene in WRONG])
async def test_what_is_wrong_is_found_and_named(rule: str, scene: Scene, clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        await scene(engine, clock)
        check = watch.check_swept if rule in {"announced", "served"} else watch.check
        with pytest.raises(InvariantBroken) as found:
            check()
        assert found.value.rule == rule
        assert str(found.value).startswith(rule)
        assert found.value is watch.broken[0]


async def test_what_is_said_to_be_held_beyond_its_until_is_found(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        with fault("until-off-by-one"):
            await engine.reserve("room", START, HALF_HOUR)
            clock.set(NOW + minutes(5))
            with pytest.raises(InvariantBroken, match="until"):
                watch.check()


class RunningClock(SimClock):
    """A clock that goes on by a second whenever it is read, as a real one does, if by less."""

    def now(self) -> int:
        now = super().now()
        self._now += SECOND
        return now


@pytest.mark.parametrize("seconds", range(1, 9))
async def test_a_hold_may_lapse_while_it_is_looked_at(seconds: int) -> None:
    async with engine_on(RunningClock(NOW)) as engine:
        watch = Watch(engine)
        await engine.reserve("room", START, HALF_HOUR, ttl=timedelta(seconds=seconds))
        watch.check()


async def test_it_can_be_checked_in_turns_while_the_engine_goes_on(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        holds = [
            await engine.reserve("hall", START + n * HALF_HOUR, HALF_HOUR)
            for n in range(2 * CHECKED_PER_TURN)
        ]
        for turn, _ in enumerate(watch.check_in_turns()):
            await engine.release(holds[-1 - turn].uid)
            await engine.reserve("room", START + turn * HALF_HOUR, HALF_HOUR)
        checking = watch.check_in_turns()
        next(checking)
        engine.ledger.state.forget(entry_of(engine, holds[CHECKED_PER_TURN].uid).number)
        with pytest.raises(InvariantBroken, match="kept"):
            list(checking)


async def test_what_is_forgotten_while_it_is_checked_is_not_missed(clock: SimClock) -> None:
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        gone = await engine.reserve("room", START, HALF_HOUR)
        await engine.release(gone.uid)
        checking = watch.check_in_turns()
        next(checking)
        await clock.advance(minutes(60))  # the retention
        await engine.release((await engine.reserve("room", START, HALF_HOUR)).uid)
        assert list(checking) == [None]  # one more turn: the room


async def test_bookings_that_are_over_may_be_forgotten_if_that_was_asked_for(
    clock: SimClock,
) -> None:
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        early, late = NOW - 2 * HALF_HOUR, NOW - HALF_HOUR
        for start in (early, late):
            hold = await engine.reserve("room", start, HALF_HOUR, past=True)
            await engine.confirm(hold.uid)
        assert await engine.forget_bookings(late) == 1
        await engine.reserve("room", early, HALF_HOUR, past=True)  # there is room again
        watch.check()
        watch.check()
        await engine.reserve("room", START, HALF_HOUR)
        watch.check()
        assert len(watch.reservations) == 3
        engine.ledger.forget_bookings(0, [])
        [booking] = (await engine.find(standing("room", late, NOW))).reservations
        engine.ledger.state.forget(entry_of(engine, booking.uid).number)  # which nobody asked for
        with pytest.raises(InvariantBroken, match="kept"):
            watch.check()


async def test_a_booking_that_counts_for_a_limit_is_there_though_it_is_over(
    clock: SimClock,
) -> None:
    """So others may join its session, whatever was imported since."""
    start = NOW - 2 * HALF_HOUR
    async with engine_on(clock) as engine:
        engine.add_event_type(
            EventType(
                id="class",
                length=HALF_HOUR,
                all_of=["room"],
                seats=3,
                limits=[Limit(Period.YEAR, count=9)],
            )
        )
        watch = Watch(engine)
        first = await engine.reserve_slot("class", start, enforce=False)
        await engine.confirm(first.uid)
        await engine.replace_busy("calendar", {"room": [(start, NOW)]})
        assert await engine.forget_bookings(NOW) == 0
        await engine.reserve_slot("class", start, enforce=False)
        watch.check()


def test_every_rule_is_shown_to_be_watched() -> None:
    assert {rule for rule, _ in WRONG} == RULES.keys()


def test_what_is_found_pickles() -> None:
    error = InvariantBroken("kept", "it vanished")
    again = pickle.loads(pickle.dumps(error))
    assert (again.rule, again.details, str(again)) == ("kept", "it vanished", str(error))


async def test_nothing_is_raised_inside_the_engine(clock: SimClock) -> None:
    """A caller does not suffer from being watched, even when the engine is wrong."""
    async with engine_on(clock) as engine:
        watch = Watch(engine)
        await oversold(engine, clock)
        assert len(watch.broken) == 1
        accepted: Reservation = await engine.reserve("room", START, HALF_HOUR)
        assert accepted.state is State.HELD
