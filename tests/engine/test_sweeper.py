"""The sweeper: announces every expiry once, in order, never early, and sleeps otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import anyio
import pytest

from slotengine import (
    AllOf,
    Claim,
    EachOf,
    Event,
    HoldExpired,
    Lagged,
    OneOf,
    Request,
    SlotEngine,
    State,
    Subscription,
    Verb,
    minutes,
)
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import to_us
from slotengine.engine.engine import EXPIRIES_PER_TURN
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
MICROSECOND = timedelta(microseconds=1)
RETENTION = timedelta(hours=1)

pytestmark = pytest.mark.anyio


class WatchedClock(SimClock):
    """A clock that keeps until when each wait of the sweeper was to last."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.waits: list[int] = []

    async def wait(self, wake: anyio.Event, until: int) -> None:
        self.waits.append(until)
        await super().wait(wake, until)


@pytest.fixture
def clock() -> WatchedClock:
    return WatchedClock()


@pytest.fixture
async def events(engine: SlotEngine) -> AsyncIterator[Subscription]:
    with engine.subscribe(buffer=100_000) as subscription:
        yield subscription


async def expired(events: Subscription) -> list[Event]:
    """Return the expiries announced since the last call."""
    found = []
    while events.feed.buffer:
        event = await anext(events)
        assert isinstance(event, Event)
        if event.verb is Verb.EXPIRE:
            found.append(event)
    return found


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def test_an_expiry_is_announced_at_its_moment_and_once(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await clock.advance(minutes(5) - MICROSECOND)
    assert await expired(events) == []
    await clock.advance(MICROSECOND)
    (event,) = await expired(events)
    assert event.at == hold.until == NOW + minutes(5)
    assert event.reservation == await engine.get(hold.uid)
    assert (event.reservation.state, event.reservation.version) == (State.EXPIRED, 2)
    await clock.advance(minutes(5))
    assert await expired(events) == []
    assert engine.statistics().expired == 1


@pytest.mark.parametrize("step", [timedelta(seconds=7), minutes(60)])
async def test_expiries_are_announced_in_order_each_once_and_never_early(
    engine: SlotEngine, clock: WatchedClock, events: Subscription, step: timedelta
) -> None:
    random = Random(7)
    engine.add_resource("stadium", capacity=1_000)
    lapses: dict[str, datetime | None] = {}
    for _ in range(300):
        clock.set(clock.moment + timedelta(seconds=random.random()))
        ttl = timedelta(seconds=random.choice((30, 60, 300, random.uniform(10, 600))))
        hold = await engine.reserve("stadium", START, HALF_HOUR, ttl=ttl)
        lapses[hold.uid] = hold.until
    told: list[Event] = []
    while engine.statistics().held:
        told += await expired(events)  # those of the last step's maintenance, too
        clock.set(clock.moment + step)
        await settle()
        fresh = await expired(events)
        assert all(event.at == clock.moment for event in fresh)
        told += fresh
    assert {event.reservation.uid: event.reservation.until for event in told} == lapses
    assert len(told) == len(lapses)
    moments = [event.reservation.until for event in told]
    assert moments == sorted(moment for moment in moments if moment is not None)
    assert all(event.reservation.until <= event.at for event in told if event.reservation.until)


async def test_what_was_extended_or_ended_is_not_announced(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    extended, confirmed, released, moved = [
        await engine.reserve("hall", START + day * timedelta(days=1), HALF_HOUR) for day in range(4)
    ]
    await clock.advance(minutes(4))
    await engine.extend(extended.uid)
    await engine.confirm(confirmed.uid)
    await engine.release(released.uid)
    await engine.move(moved.uid, START + HALF_HOUR, ttl=minutes(10))
    await clock.advance(minutes(1))
    assert await expired(events) == []
    await clock.advance(minutes(4))
    assert [event.reservation.uid for event in await expired(events)] == [extended.uid]
    await clock.advance(minutes(5))
    assert [event.reservation.uid for event in await expired(events)] == [moved.uid]
    await clock.advance(timedelta(days=2))
    assert await expired(events) == []


async def test_the_sweeper_sleeps_while_nothing_is_due(
    engine: SlotEngine, clock: WatchedClock
) -> None:
    await settle()
    assert clock.waits == [NEVER]
    engine.add_resource("stadium", capacity=1_000)
    hold = await engine.reserve("stadium", START, HALF_HOUR)
    for _ in range(500):
        await engine.reserve("stadium", START, HALF_HOUR)
        await settle()
    assert clock.waits == [NEVER, to_us(NOW + minutes(5))]
    await engine.extend(hold.uid)
    await engine.release(hold.uid)
    await engine.get(hold.uid)
    clock.set(NOW + minutes(5) - MICROSECOND)
    await settle()
    assert len(clock.waits) == 2


async def test_the_sweeper_wakes_for_an_earlier_deadline(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    await settle()
    brief = await engine.reserve("annex", START, HALF_HOUR, ttl=minutes(2))
    await settle()
    late = await engine.reserve("hall", START, HALF_HOUR, ttl=minutes(9))
    await settle()
    assert clock.waits == [NEVER, to_us(NOW + minutes(5)), to_us(NOW + minutes(2))]
    await engine.extend(late.uid, ttl=minutes(1))
    await settle()
    assert clock.waits[-1] == to_us(NOW + minutes(1))
    await clock.advance(minutes(2))
    assert [event.reservation.uid for event in await expired(events)] == [late.uid, brief.uid]


@pytest.mark.parametrize("verb", ["reserve_each", "reserve_all", "reserve_any", "move"])
async def test_every_verb_that_makes_a_deadline_wakes_the_sweeper(
    engine: SlotEngine, clock: WatchedClock, verb: str
) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    await settle()
    request = Request(START, HALF_HOUR, (Claim("annex"),), ttl=minutes(1))
    if verb == "reserve_each":
        await engine.reserve(EachOf([request]))
    elif verb == "reserve_all":
        await engine.reserve(AllOf([request]))
    elif verb == "reserve_any":
        await engine.reserve(OneOf([request]))
    else:
        await engine.move("1", START + HALF_HOUR, ttl=minutes(1))
    await settle()
    assert clock.waits[-1] == to_us(NOW + minutes(1))


@pytest.mark.parametrize("extra", [0, 1])
async def test_a_mass_expiry_gives_way_to_others(
    engine: SlotEngine, clock: WatchedClock, extra: int
) -> None:
    """Goal: 5,000 holds that lapse at one moment keep nobody waiting for all of them.

    Method: a task that takes every turn it gets notes how many were marked.
    """
    holds = 5_120 + extra
    engine.add_resource("stadium", capacity=holds)
    for _ in range(holds):
        await engine.reserve("stadium", START, HALF_HOUR)
    marked: list[int] = []

    async def ticker() -> None:
        while True:
            marked.append(engine.statistics().expired)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker)
        await settle()
        clock.set(NOW + minutes(5))
        while engine.statistics().expired < holds:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    jumps = [later - earlier for earlier, later in pairwise(marked)]
    assert max(jumps) <= 2 * EXPIRIES_PER_TURN  # a turn is lost to chance at most
    assert sum(jump > 0 for jump in jumps) >= 5
    await settle()
    statistics = engine.statistics()
    assert (statistics.held, statistics.expired, statistics.ended) == (0, holds, holds)


async def test_calls_during_a_mass_expiry_are_decided_as_ever(
    engine: SlotEngine, clock: WatchedClock
) -> None:
    engine.add_resource("stadium", capacity=2_000)
    for _ in range(2_000):
        await engine.reserve("stadium", START, HALF_HOUR)
    clock.set(NOW + minutes(5))
    # Nothing was marked yet, but all of it is free.
    fresh = await engine.reserve("stadium", START, HALF_HOUR, units=2_000)
    for _ in range(2_000 // EXPIRIES_PER_TURN):
        await settle()
    assert (await engine.busy("stadium", START, START + HALF_HOUR))[0].units == 2_000
    assert engine.statistics().expired == 2_000
    assert (await engine.confirm(fresh.uid)).state is State.CONFIRMED


async def test_a_clock_that_jumps_ahead_expires_everything_on_the_way(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    uids = []
    for ttl in (3, 1, 2):
        hold = await engine.reserve("hall", START, HALF_HOUR, ttl=minutes(ttl))
        uids.append(hold.uid)
    await clock.advance(timedelta(minutes=30))
    told = await expired(events)
    assert [event.reservation.uid for event in told] == [uids[1], uids[2], uids[0]]
    assert {event.at for event in told} == {NOW + timedelta(minutes=30)}


async def test_a_clock_that_jumps_back_takes_nothing_back(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    lapsed = await engine.reserve("room", START, HALF_HOUR)
    await clock.advance(minutes(5))
    assert len(await expired(events)) == 1
    clock.set(NOW)
    await settle()
    with pytest.raises(HoldExpired):
        await engine.confirm(lapsed.uid)
    fresh = await engine.reserve("room", START, HALF_HOUR)
    assert fresh.until == NOW + minutes(10)  # by the time the engine has seen
    await clock.advance(minutes(10) - MICROSECOND)
    assert await expired(events) == []
    await clock.advance(MICROSECOND)
    assert [event.reservation.uid for event in await expired(events)] == [fresh.uid]


async def test_what_ended_is_forgotten_after_its_retention(
    engine: SlotEngine, clock: WatchedClock
) -> None:
    held = await engine.reserve("room", START, HALF_HOUR, key="k")
    booked = await engine.reserve("annex", START, HALF_HOUR)
    await engine.confirm(booked.uid)
    await clock.advance(minutes(5))
    await engine.cancel(booked.uid)
    assert engine.statistics().ended == 2
    clock.set(NOW + minutes(5) + RETENTION - MICROSECOND)
    await settle()
    assert engine.statistics().ended == 2
    clock.set(NOW + minutes(5) + RETENTION)
    await settle()
    assert engine.statistics().ended == 0
    assert await engine.get(held.uid) is None
    ledger = engine.ledger
    tally = ledger.tally()
    assert (len(ledger.uids()), tally.keys, tally.ended) == (0, 1, 0)
    clock.set(NOW + timedelta(days=1))  # the least time for which a key is remembered
    await settle()
    assert ledger.tally().keys == 0
    assert clock.waits[-1] == NEVER


async def test_the_announcement_comes_before_a_hold_is_reinstated(
    engine: SlotEngine, clock: WatchedClock
) -> None:
    with engine.subscribe() as events:
        hold = await engine.reserve("room", START, HALF_HOUR)
        clock.set(NOW + minutes(5))
        engine.local.confirm(hold.uid, if_still_free=True)  # before the sweeper could run
        await settle()
    told = [event async for event in events]
    assert not any(isinstance(event, Lagged) for event in told)
    assert [event.verb for event in told if isinstance(event, Event)] == [
        Verb.RESERVE, Verb.EXPIRE, Verb.REINSTATE
    ]  # fmt: skip
    assert [event.reservation.version for event in told if isinstance(event, Event)] == [1, 2, 3]


async def test_a_clock_set_back_does_not_put_expiries_off() -> None:
    clock = SimClock(START)
    async with SlotEngine(clock=clock) as engine:
        engine.add_resource("room")
        hold = await engine.reserve("room", START, minutes(30))
        clock.set(START + minutes(6))
        assert engine.now() == START + minutes(6)
        clock.set(START + minutes(1))
        await anyio.wait_all_tasks_blocked()
        found = await engine.get(hold.uid)
        assert found is not None
        assert found.state is State.EXPIRED
        assert engine.statistics().expired == 1


async def test_what_is_told_could_have_happened_however_late_the_sweeper_is(
    engine: SlotEngine, clock: WatchedClock, events: Subscription
) -> None:
    """Goal: no successor is told before its predecessor's expiry, whatever the backlog.

    Method: far more holds are overdue than are marked in a turn; some of their spans
    are taken at once, and the stream is replayed into a set of what is taken.
    """
    engine.add_resource("stadium", capacity=4 * EXPIRIES_PER_TURN)
    spans = [START + minutes(5) * n for n in range(4 * EXPIRIES_PER_TURN)]
    random = Random(3)
    for start in spans:
        await engine.reserve("room", start, minutes(5), ttl=minutes(random.choice([3, 4, 5])))
    clock.set(NOW + minutes(7) + timedelta(seconds=29, microseconds=1))
    for start in random.sample(spans, 99):
        engine.local.reserve("room", start, minutes(5), ttl=minutes(30))
    await clock.advance(minutes(0))
    taken: dict[datetime, str] = {}
    ended: list[str] = []
    at = NOW
    while events.feed.buffer:
        event = await anext(events)
        assert isinstance(event, Event)
        one = event.reservation
        assert at <= event.at
        at = event.at
        if event.verb is Verb.EXPIRE:
            assert one.until is not None
            assert one.until <= event.at
            assert taken.pop(one.start) == one.uid
            ended.append(one.uid)
        else:
            assert event.verb is Verb.RESERVE
            assert one.start not in taken
            taken[one.start] = one.uid
    assert len(ended) == len(set(ended)) == len(spans)
    assert len(taken) == 99
