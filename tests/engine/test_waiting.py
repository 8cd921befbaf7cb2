"""Waiting for a slot: who gets it, when, and what becomes of those who do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from slotengine import (
    AllOf,
    BlockingEngine,
    Claim,
    EachOf,
    EngineClosed,
    Event,
    EventType,
    FixedWindows,
    InvalidField,
    KeyReused,
    Kind,
    Limit,
    LimitReached,
    NoneFree,
    OneOf,
    OutsideHours,
    Period,
    Put,
    Quota,
    QuotaExceeded,
    Refused,
    Request,
    Reservation,
    ResourceConfig,
    Seats,
    SlotAwaited,
    SlotEngine,
    SlotTaken,
    State,
    TooManyWaiting,
    TooSoon,
    minutes,
)
from slotengine.core.time.instant import to_us
from slotengine.engine.waiting import TRIES_PER_TURN
from slotengine.testing import SimClock
from tests.engine.conftest import HOUR, NOW
from tests.engine.test_cancellation import give_way_next
from tests.standing import standing

START = NOW + HOUR
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)

pytestmark = pytest.mark.anyio


async def settle() -> None:
    await anyio.wait_all_tasks_blocked()


class Callers:
    """Calls that wait, each in a task of its own: what became of them, in order."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self.answers: dict[str, Reservation | Exception] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def begin(self, name: str, call: Awaitable[Reservation]) -> None:
        """Begin a call, and return when it waits or has ended."""
        self.start(name, call)
        await settle()

    def start(self, name: str, call: Awaitable[Reservation]) -> None:
        """Begin a call that comes to wait in others' turn; nobody says in what order."""
        scope = self.scopes[name] = anyio.CancelScope()

        async def run() -> None:
            with scope:
                try:
                    self.answers[name] = await call
                except Exception as error:
                    self.answers[name] = error

        self._tasks.start_soon(run)

    @property
    def held(self) -> list[str]:
        """Who got something, in the order in which they were told."""
        return [name for name, one in self.answers.items() if isinstance(one, Reservation)]

    def reservation(self, name: str) -> Reservation:
        answer = self.answers[name]
        assert isinstance(answer, Reservation)
        return answer

    def refusal(self, name: str) -> Any:
        answer = self.answers[name]
        assert isinstance(answer, Exception)
        return answer


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    async with anyio.create_task_group() as tasks:
        yield Callers(tasks)
        tasks.cancel_scope.cancel()


def asks(
    engine: SlotEngine, resource: str = "room", start: datetime = START, **more: Any
) -> Awaitable[Reservation]:
    return engine.reserve(resource, start, HALF_HOUR, **{"wait": HOUR, **more})


# --- What wakes ----------------------------------------------------------------------------


async def by_release(engine: SlotEngine, clock: SimClock) -> None:
    await engine.release("1")


async def by_lapse(engine: SlotEngine, clock: SimClock) -> None:
    await clock.advance(minutes(5))


async def by_cancel(engine: SlotEngine, clock: SimClock) -> None:
    await engine.confirm("1")
    await settle()
    await engine.cancel("1")


async def by_move(engine: SlotEngine, clock: SimClock) -> None:
    await engine.move("1", START + DAY)


async def by_move_any(engine: SlotEngine, clock: SimClock) -> None:
    await engine.move("1", OneOf([Request(START + DAY, HALF_HOUR, (Claim("room"),))]))


async def by_move_request(engine: SlotEngine, clock: SimClock) -> None:
    await engine.move("1", Request(START + DAY, HALF_HOUR, (Claim("room"),)))


async def by_move_slot(engine: SlotEngine, clock: SimClock) -> None:
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
    await engine.move_slot("1", START + DAY, event_type="talk")


WAYS = [by_release, by_lapse, by_cancel, by_move, by_move_any, by_move_request, by_move_slot]


@pytest.mark.parametrize("free", WAYS)
async def test_a_caller_waits_until_the_slot_is_free(
    engine: SlotEngine,
    clock: SimClock,
    callers: Callers,
    free: Callable[[SlotEngine, SimClock], Awaitable[None]],
) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, start=START + minutes(10), holder="customer-1"))
    assert callers.answers == {}
    assert engine.statistics().waiting == 1
    await free(engine, clock)
    await settle()
    hold = callers.reservation("a")
    assert (hold.holder, hold.created, hold.until) == (
        "customer-1", clock.moment, clock.moment + minutes(5),
    )  # fmt: skip
    assert engine.local.get(hold.uid) == hold
    assert (engine.statistics().waiting, engine.statistics().refused) == (0, 0)


async def test_imported_busy_time_that_is_no_more_wakes(
    engine: SlotEngine, callers: Callers
) -> None:
    await engine.replace_busy("calendar", {"room": [(START, START + HOUR)]})
    await callers.begin("a", asks(engine))
    await engine.replace_busy("calendar", {"room": [(START + HALF_HOUR, START + HOUR)]})
    await settle()
    assert callers.held == ["a"]


async def test_more_units_are_given_to_those_who_wait(engine: SlotEngine, callers: Callers) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine))
    await engine.configure([Put(Kind.RESOURCE, "room", ResourceConfig(capacity=2))])
    await settle()
    assert callers.held == ["a"]


async def test_a_move_that_is_refused_frees_nothing(engine: SlotEngine, callers: Callers) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await engine.reserve("room", START + HOUR, HALF_HOUR)
    await callers.begin("a", asks(engine))
    with pytest.raises(SlotTaken):
        await engine.move(hold.uid, START + HOUR)
    with pytest.raises(Refused):
        await engine.move("nobody", Request(START + DAY, HALF_HOUR, (Claim("room"),)))
    await settle()
    assert callers.answers == {}
    await engine.release(hold.uid)
    await settle()
    assert callers.held == ["a"]


async def test_what_is_free_is_not_waited_for(engine: SlotEngine) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()  # waiting for anything would be noticed
        hold = await asks(engine)
    assert hold.state is State.HELD
    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(SlotTaken):
            await asks(engine, wait=timedelta())


# --- Whose turn it is ------------------------------------------------------------------------


async def test_those_who_came_first_are_served_first(engine: SlotEngine, callers: Callers) -> None:
    uid = (await engine.reserve("room", START, HALF_HOUR)).uid
    names = [f"caller-{number}" for number in range(5)]
    for name in names:
        await callers.begin(name, asks(engine))
    for name in names:
        await engine.release(uid)
        await settle()
        assert callers.held[-1] == name
        uid = callers.reservation(name).uid
    assert callers.held == names


async def test_spans_that_do_not_conflict_are_served_alike(
    engine: SlotEngine, callers: Callers
) -> None:
    hold = await engine.reserve("room", START, HOUR)
    await callers.begin("early", asks(engine))
    await callers.begin("late", asks(engine, start=START + HALF_HOUR))
    await engine.release(hold.uid)
    await settle()
    assert sorted(callers.held) == ["early", "late"]  # in one step; who runs first is chance


async def test_nobody_overtakes(engine: SlotEngine, callers: Callers) -> None:
    """Of an hour, the second half is taken: who comes later for the first does not get it."""
    late = START + HALF_HOUR
    hold = await engine.reserve("room", late, HALF_HOUR)
    await callers.begin("whole", engine.reserve("room", START, HOUR, wait=HOUR))
    await callers.begin("half", asks(engine))
    request = Request(START, HALF_HOUR, (Claim("room"),))
    with pytest.raises(SlotAwaited) as awaited:
        await engine.reserve("room", START, HALF_HOUR)
    assert awaited.value.resource == "room"
    assert (awaited.value.start, awaited.value.end) == (START, START + HALF_HOUR)
    assert (awaited.value.in_the_way, awaited.value.retry_at) == ((), NOW + HOUR)
    assert str(awaited.value).startswith("other callers are waiting for room between")
    with pytest.raises(SlotAwaited):
        await engine.reserve(AllOf([request]))
    assert not await engine.is_free(request)
    elsewhere = Request(START, HALF_HOUR, (Claim("annex"),))
    assert (await engine.reserve(OneOf([request, elsewhere]))).resources == ("annex",)
    assert [type(one) for one in await engine.reserve(EachOf([request]))] == [SlotAwaited]
    await engine.release(hold.uid)
    assert await engine.busy("room", START, late + HALF_HOUR) == []
    with pytest.raises(SlotAwaited):  # also before those who wait were told
        await engine.reserve("room", late, HALF_HOUR)
    await settle()
    assert callers.held == ["whole"]
    with pytest.raises(SlotAwaited) as awaited:
        await engine.reserve("room", START, HALF_HOUR)
    assert [way.booked for way in awaited.value.in_the_way] == [False]
    assert awaited.value.retry_at == NOW + minutes(5)


async def test_a_batch_is_in_its_own_way_before_those_who_wait(
    engine: SlotEngine, callers: Callers
) -> None:
    """The first half of an hour is held and awaited, the second half goes to the batch."""
    await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("waits", asks(engine))
    late = START + HALF_HOUR
    second, whole = (
        Request(late, HALF_HOUR, (Claim("room"),)),
        Request(START, HOUR, (Claim("room"),)),
    )
    with pytest.raises(SlotAwaited) as awaited:
        await engine.reserve(AllOf([second, whole]))
    assert (awaited.value.index, awaited.value.retry_at) == (1, None)
    assert [way.start for way in awaited.value.in_the_way] == [START, late]
    assert not awaited.value.only_holds
    with pytest.raises(SlotAwaited) as awaited:
        await engine.reserve(AllOf([whole]))
    assert [way.start for way in awaited.value.in_the_way] == [START]
    assert awaited.value.only_holds


async def test_what_moves_does_not_overtake(engine: SlotEngine, callers: Callers) -> None:
    """Who waits for ten o'clock came before whoever would rather be there than at nine."""
    late = START + HOUR
    taken = await engine.reserve("room", late + HALF_HOUR, HALF_HOUR, ttl=minutes(2))
    mine = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("waits", engine.reserve("room", late, HOUR, wait=HOUR))
    with pytest.raises(SlotAwaited) as awaited:
        await engine.move(mine.uid, late)
    assert (awaited.value.start, awaited.value.retry_at) == (late, NOW + HOUR)
    with pytest.raises(SlotAwaited):
        await engine.move(mine.uid, late - minutes(15))  # the second half of it
    there = Request(late, HALF_HOUR, (Claim("room"),))
    with pytest.raises(SlotAwaited):
        await engine.move(mine.uid, there)
    with pytest.raises(NoneFree) as none:
        await engine.move(mine.uid, OneOf([there]))
    assert [type(one) for one in none.value.refusals] == [SlotAwaited]
    assert await engine.get(mine.uid) == mine
    assert (await engine.move(mine.uid, late - HALF_HOUR)).start == late - HALF_HOUR
    with pytest.raises(SlotAwaited) as awaited:
        await engine.move(mine.uid, late - minutes(15))
    assert awaited.value.in_the_way == ()  # not itself
    await engine.release(taken.uid)
    await settle()
    assert callers.held == ["waits"]


async def test_what_moves_may_keep_what_it_has(engine: SlotEngine, callers: Callers) -> None:
    """Who stands in somebody's way is no more so for making a little room."""
    mine = await engine.reserve("room", START, HOUR)
    await callers.begin("waits", engine.reserve("room", START, HALF_HOUR, wait=HOUR))
    shorter = await engine.move(mine.uid, START + minutes(15), minutes(45))
    assert shorter.length == minutes(45)
    with pytest.raises(SlotAwaited):  # no longer its own
        await engine.move(mine.uid, START, HOUR)
    assert (await engine.move(mine.uid, START + minutes(20), HOUR)).length == HOUR
    await engine.move(mine.uid, START + HALF_HOUR)
    await settle()
    assert callers.held == ["waits"]


async def test_of_a_group_one_moves_to_whom_nobody_waits_for(
    engine: SlotEngine, callers: Callers
) -> None:
    group = EventType(id="any", length=HALF_HOUR, any_of=[["room", "annex"]])
    engine.add_event_type(group)
    mine = await engine.reserve_slot("any", START + HOUR, only=["room"])
    taken = await engine.reserve("room", START + HALF_HOUR, HALF_HOUR)
    await callers.begin("waits", engine.reserve("room", START, HOUR, wait=HOUR))
    assert (await engine.move(mine.uid, START)).resources == ("annex",)
    with pytest.raises(SlotAwaited):
        await engine.move_slot(mine.uid, START, only=["room"])
    await engine.release(taken.uid)
    await settle()
    assert callers.held == ["waits"]


async def test_of_a_group_one_stays_with_whom_it_has_though_others_wait(
    engine: SlotEngine, callers: Callers
) -> None:
    lengths = [HALF_HOUR, HOUR]
    engine.add_event_type(
        EventType(id="any", length=HOUR, lengths=lengths, any_of=[["room", "annex"]])
    )
    mine = await engine.reserve_slot("any", START)
    assert mine.resources == ("room",)
    await callers.begin("waits", engine.reserve("room", START, HALF_HOUR, wait=HOUR))
    shorter = await engine.move_slot(mine.uid, START, length=HALF_HOUR)
    assert (shorter.resources, shorter.length) == (("room",), HALF_HOUR)
    await engine.release(mine.uid)
    await settle()
    assert callers.held == ["waits"]


async def test_a_hold_that_has_lapsed_is_not_confirmed_before_those_who_wait(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    late = await engine.reserve("room", START, HALF_HOUR, ttl=minutes(2))
    await engine.reserve("room", START + HALF_HOUR, HALF_HOUR, ttl=minutes(3))
    await callers.begin("waits", engine.reserve("room", START, HOUR, wait=HOUR))
    clock.set(NOW + minutes(2))  # nobody has run yet
    with pytest.raises(SlotAwaited):
        await engine.confirm(late.uid, if_still_free=True)
    await clock.advance(minutes(1))
    assert callers.held == ["waits"]
    with pytest.raises(SlotTaken):
        await engine.confirm(late.uid, if_still_free=True)


async def test_what_is_promised_goes_first(engine: SlotEngine, callers: Callers) -> None:
    late = START + HALF_HOUR
    hold = await engine.reserve("room", late, HALF_HOUR)
    await callers.begin("whole", engine.reserve("room", START, HOUR, wait=HOUR))
    first = engine.local.reserve("room", START, HALF_HOUR, jump=True)
    with pytest.raises(SlotTaken):
        engine.local.move(hold.uid, START, jump=True)
    engine.local.move(first.uid, START - HALF_HOUR)
    with pytest.raises(SlotAwaited):
        engine.local.move(hold.uid, START)
    engine.local.move(hold.uid, START, jump=True)
    with pytest.raises(SlotAwaited):
        engine.local.move(hold.uid, late)
    engine.local.release(hold.uid)
    await settle()
    assert callers.held == ["whole"]


async def test_when_one_gives_up_those_behind_have_their_turn(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    await engine.reserve("room", START + HALF_HOUR, HALF_HOUR, ttl=HOUR)
    await callers.begin("whole", engine.reserve("room", START, HOUR, wait=minutes(2)))
    await callers.begin("half", asks(engine))
    await clock.advance(minutes(2))
    assert callers.held == ["half"]
    assert isinstance(callers.refusal("whole"), SlotTaken)


async def test_more_than_a_turn_of_the_sweeper_are_served(
    engine: SlotEngine, callers: Callers
) -> None:
    await engine.replace_busy("calendar", {"room": [(START, START + 2 * DAY)]})
    names = [str(number) for number in range(TRIES_PER_TURN + 6)]
    for name in names:
        callers.start(name, asks(engine, start=START + int(name) * HALF_HOUR))
    await settle()
    await engine.replace_busy("calendar", {})
    await settle()
    assert sorted(callers.held) == sorted(names)


async def test_a_quota_is_no_reason_to_wait(clock: SimClock) -> None:
    async with SlotEngine(
        clock=clock, max_holds=1, max_held=HALF_HOUR, max_lapses=2, cool_down=HOUR
    ) as engine:
        engine.add_resource("room")
        await engine.reserve("room", START, HALF_HOUR, holder="customer-1")
        with pytest.raises(QuotaExceeded) as refused:
            await asks(engine, holder="customer-1")
        assert refused.value.retry_at == NOW + minutes(5)
        with pytest.raises(QuotaExceeded) as refused:
            await engine.reserve("room", START, HOUR, holder="customer-2", wait=HOUR)
        assert (refused.value.quota, refused.value.limit) == ("time", HALF_HOUR)


async def test_many_units_are_not_taken_away_one_by_one(
    engine: SlotEngine, callers: Callers
) -> None:
    holds = [await engine.reserve("hall", START, HALF_HOUR) for _ in range(3)]
    await callers.begin("all", asks(engine, "hall", units=3))
    await callers.begin("one", asks(engine, "hall"))
    for hold in holds:
        assert callers.held == []
        await engine.release(hold.uid)
        await settle()
    assert callers.held == ["all"]


async def test_several_resources_are_had_together(engine: SlotEngine, callers: Callers) -> None:
    room = await engine.reserve("room", START, HALF_HOUR)
    annex = await engine.reserve("annex", START, HALF_HOUR)
    both = Request(START, HALF_HOUR, (Claim("room"), Claim("annex")), holder="customer-1")
    await callers.begin("a", engine.reserve(both, wait=HOUR))
    await engine.release(room.uid)
    await settle()
    assert callers.held == []
    await engine.release(annex.uid)
    await settle()
    assert callers.reservation("a").resources == ("room", "annex")


# --- Event types -----------------------------------------------------------------------------


async def test_of_a_group_one_waits_for_whoever_is_free_first(
    engine: SlotEngine, callers: Callers
) -> None:
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, any_of=[["room", "annex"]]))
    holds = [await engine.reserve_slot("talk", START) for _ in range(2)]
    await callers.begin("room", asks(engine, "room"))
    await callers.begin("any", engine.reserve_slot("talk", START, wait=HOUR, holder="any"))
    with pytest.raises(SlotAwaited) as awaited:
        await engine.reserve_slot("talk", START)
    assert awaited.value.retry_at == NOW + minutes(5)
    (in_annex,) = [one for one in holds if one.resources == ("annex",)]
    await engine.release(in_annex.uid)
    await settle()
    assert callers.held == ["any"]
    assert callers.reservation("any").resources == ("annex",)


async def test_a_limit_is_waited_for(engine: SlotEngine, callers: Callers) -> None:
    limit = Limit(count=1, per=Period.DAY)
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"], limits=[limit]))
    hold = await engine.reserve_slot("talk", START)
    await callers.begin("a", engine.reserve_slot("talk", START + HOUR, wait=HOUR))
    with pytest.raises(LimitReached):  # and nobody is refused for those who wait elsewhere
        await engine.reserve_slot("talk", START + 2 * HOUR)
    await engine.release(hold.uid)
    await settle()
    assert callers.held == ["a"]


async def test_for_more_than_a_limit_has_nobody_waits(engine: SlotEngine, callers: Callers) -> None:
    """Whoever did would keep others off until its patience is over, and be refused then."""
    limit = Limit(time=HALF_HOUR, per=Period.DAY)
    lengths = (HALF_HOUR, HOUR)
    engine.add_event_type(
        EventType(id="talk", length=HALF_HOUR, lengths=lengths, all_of=["room"], limits=[limit])
    )
    await callers.begin("a", engine.reserve_slot("talk", START, length=HOUR, wait=HOUR))
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("b", engine.reserve_slot("talk", START, length=HOUR, wait=HOUR))
    refusals = [type(callers.refusal(name)) for name in "ab"]
    assert refusals == [LimitReached, SlotTaken]  # which is found first makes no difference
    await engine.release(hold.uid)
    await engine.reserve("room", START, HALF_HOUR)  # and nobody is refused for their sake


async def test_for_what_is_closed_nobody_waits(engine: SlotEngine, callers: Callers) -> None:
    """Whatever is found in the way first: nobody else may be kept off by a hopeless wait."""
    never = FixedWindows([(to_us(NOW - DAY), to_us(NOW - HOUR))])
    for name in ("closed-1", "closed-2"):
        engine.add_resource(name, schedule=never)
    pools: dict[str, dict[str, Any]] = {
        "room and nobody": {"all_of": ["room"], "any_of": [["closed-1", "closed-2"]]},
        "room and one who is closed": {"all_of": ["room"], "any_of": [["closed-1"]]},
        "two pools": {"any_of": [["room"], ["closed-1", "closed-2"]]},
        "all of it": {"all_of": ["room", "closed-1"], "any_of": [["annex"]]},
    }
    for name, hosts in pools.items():
        engine.add_event_type(EventType(id=name, length=HALF_HOUR, **hosts))
    hold = await engine.reserve("room", START, HALF_HOUR, ttl=minutes(15))
    for name in pools:
        await callers.begin(name, engine.reserve_slot(name, START, wait=HOUR))
    both = Request(START, HALF_HOUR, (Claim("room"), Claim("closed-1")))
    await callers.begin("request", engine.reserve(both, wait=HOUR))
    assert engine.statistics().waiting == 0
    assert {name: type(callers.refusal(name)) for name in (*pools, "request")} == {
        "room and nobody": NoneFree,
        "room and one who is closed": OutsideHours,
        "two pools": NoneFree,
        "all of it": OutsideHours,
        "request": OutsideHours,
    }
    # Nor does one wait behind others for what it will never have.
    await callers.begin("a", asks(engine))
    await callers.begin("b", engine.reserve_slot("room and nobody", START, wait=HOUR))
    assert isinstance(callers.refusal("b"), NoneFree)
    await engine.release(hold.uid)
    await settle()
    assert callers.held == ["a"]
    await engine.release(callers.reservation("a").uid)
    await engine.reserve("room", START, HALF_HOUR)  # and nobody is refused for their sake


async def test_who_is_open_is_waited_for_though_others_are_closed(
    engine: SlotEngine, callers: Callers
) -> None:
    never = FixedWindows([(to_us(NOW - DAY), to_us(NOW - HOUR))])
    engine.add_resource("closed", schedule=never)
    engine.add_event_type(
        EventType(id="visit", length=HALF_HOUR, all_of=["room"], any_of=[["closed", "annex"]])
    )
    holds = [await engine.reserve(name, START, HALF_HOUR) for name in ("room", "annex")]
    await callers.begin("a", engine.reserve_slot("visit", START, wait=HOUR))
    for hold in holds:
        assert callers.held == []
        await engine.release(hold.uid)
        await settle()
    assert callers.reservation("a").resources == ("room", "annex")


async def test_seats_out_of_hours_are_waited_for_as_long_as_there_is_a_session(
    engine: SlotEngine, callers: Callers
) -> None:
    """Whoever joins one takes it as it is; without one there is nothing to be had at all."""
    never = FixedWindows([(to_us(NOW - DAY), to_us(NOW - HOUR))])
    engine.add_resource("closed", schedule=never)
    engine.add_event_type(
        EventType(id="tour", length=HALF_HOUR, all_of=["room"], any_of=[["closed"]], seats=1)
    )
    full = await engine.reserve_slot("tour", START, enforce=False)
    await callers.begin("a", engine.reserve_slot("tour", START, wait=HOUR))
    assert engine.statistics().waiting == 1
    engine.local.release(full.uid)
    engine.local.reserve("room", START, HALF_HOUR, jump=True)
    await settle()
    assert isinstance(callers.refusal("a"), OutsideHours)


async def test_more_seats_are_had_in_turn_and_fewer_let_others_in(
    engine: SlotEngine, callers: Callers
) -> None:
    engine.add_event_type(EventType(id="tour", length=HALF_HOUR, all_of=["room"], seats=3))
    mine = await engine.reserve_slot("tour", START)
    other = await engine.reserve_slot("tour", START)
    await callers.begin("two", engine.reserve_slot("tour", START, seats=2, wait=HOUR))
    with pytest.raises(SlotAwaited):  # there is a seat, but somebody else came first
        await engine.move_slot(mine.uid, START, seats=2)
    assert (await engine.move_slot(mine.uid, START)).seats == Seats(3, 1)
    await engine.release(other.uid)
    await settle()
    assert callers.held == ["two"]
    await callers.begin("one", engine.reserve_slot("tour", START, wait=HOUR))
    await engine.move_slot(callers.reservation("two").uid, START, seats=1)
    await settle()
    assert callers.held == ["two", "one"]


async def test_seats_are_waited_for(engine: SlotEngine, callers: Callers) -> None:
    def seats(wanted: int) -> Request:
        claims = (Claim("room"),)
        return Request(START, HALF_HOUR, claims, event_type="tour", seats=Seats(3, wanted))

    first = await engine.reserve(seats(2))
    await engine.reserve(seats(1))
    await callers.begin("two", engine.reserve(seats(2), wait=HOUR))
    await callers.begin("one", engine.reserve(seats(1), wait=minutes(1)))
    await engine.release(first.uid)
    await settle()
    assert callers.held == ["two"]


async def test_a_session_that_opens_elsewhere_can_be_joined(
    engine: SlotEngine, callers: Callers
) -> None:
    def seat(resource: str) -> Request:
        claims = (Claim(resource),)
        return Request(START, HALF_HOUR, claims, event_type="tour", seats=Seats(3))

    await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", engine.reserve(seat("room"), wait=HOUR))
    await engine.reserve(seat("annex"))
    await settle()
    assert callers.reservation("a").resources == ("annex",)


async def test_what_waiting_cannot_help_is_refused_at_once(
    engine: SlotEngine, callers: Callers
) -> None:
    weekdays = FixedWindows([(to_us(NOW), to_us(NOW + 9 * HOUR))])
    for name in ("host-1", "host-2"):
        engine.add_resource(name, schedule=weekdays)
    engine.add_event_type(
        EventType(id="talk", length=HALF_HOUR, any_of=[["host-1", "host-2"]], notice=HALF_HOUR)
    )
    night = START.replace(hour=22)
    with pytest.raises(OutsideHours):
        await asks(engine, "host-1", night)
    with pytest.raises(NoneFree):
        await engine.reserve_slot("talk", night, wait=HOUR)
    with pytest.raises(TooSoon):
        await engine.reserve_slot("talk", NOW + minutes(15), wait=HOUR)
    await engine.reserve("host-1", START, HALF_HOUR)
    await engine.reserve("host-2", START, HALF_HOUR)
    await callers.begin("a", engine.reserve_slot("talk", START, wait=HOUR))
    assert engine.statistics().waiting == 1
    assert engine.statistics().refused == 3


async def test_what_waiting_can_help_no_more_is_refused_then(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    """It was free in time, but nobody was there to see it: the machine slept."""
    engine.add_event_type(
        EventType(id="talk", length=HALF_HOUR, all_of=["room"], notice=minutes(56))
    )
    await engine.reserve("room", START, HALF_HOUR, ttl=minutes(3))
    await callers.begin("a", engine.reserve_slot("talk", START, wait=2 * HOUR))
    await clock.advance(minutes(5))
    assert isinstance(callers.refusal("a"), TooSoon)


# --- The end of patience -----------------------------------------------------------------------


async def test_who_has_waited_long_enough_hears_what_is_in_the_way_by_then(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, wait=minutes(4)))
    await engine.extend(hold.uid, ttl=minutes(30))
    await clock.advance(minutes(4) - timedelta(microseconds=1))
    assert callers.answers == {}
    await clock.advance(timedelta(microseconds=1))
    refusal = callers.refusal("a")
    await engine.release(hold.uid)
    assert type(refusal) is SlotTaken
    assert refusal.retry_at == NOW + minutes(30)
    assert [way.booked for way in refusal.in_the_way] == [False]
    assert engine.statistics().refused == 1
    assert len(engine.waitlist) == 0


async def test_patience_that_ends_with_the_hold_is_enough(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, wait=minutes(5)))
    await callers.begin("b", asks(engine, wait=minutes(5)))
    await clock.advance(minutes(5))
    assert callers.held == ["a"]
    assert callers.refusal("b").retry_at == NOW + minutes(10)


async def test_nobody_waits_longer_than_the_slot_may_be_booked(
    engine: SlotEngine, clock: SimClock, callers: Callers
) -> None:
    """Who can no longer be served keeps nobody off."""
    engine.add_event_type(
        EventType(id="early", length=HALF_HOUR, all_of=["room"], notice=minutes(50))
    )
    await engine.reserve("room", START, minutes(15), ttl=minutes(40))
    await callers.begin("early", engine.reserve_slot("early", START, wait=HOUR))
    await callers.begin("never", engine.reserve_slot("early", START, wait=HOUR, enforce=False))
    await callers.begin("half", engine.reserve("room", START + minutes(15), HALF_HOUR, wait=HOUR))
    await clock.advance(minutes(10))
    assert isinstance(callers.refusal("early"), SlotTaken)
    with pytest.raises(SlotTaken):  # nor does anybody begin to
        await engine.reserve_slot("early", START, wait=HOUR)
    callers.scopes["never"].cancel()
    await settle()
    assert callers.held == ["half"]


async def test_patience_can_be_endless(engine: SlotEngine, callers: Callers) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, wait=timedelta.max))
    await engine.release(hold.uid)
    await settle()
    assert callers.held == ["a"]


async def test_only_so_many_may_wait(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, max_waiters=1) as engine, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR)
        await callers.begin("a", asks(engine))
        with pytest.raises(TooManyWaiting, match="its maximum of 1;"):
            await asks(engine)
        await engine.release(hold.uid)
        await settle()
        assert callers.held == ["a"]
        await callers.begin("b", asks(engine))
        assert engine.statistics().waiting == 1
        tasks.cancel_scope.cancel()


async def test_one_holder_takes_only_so_many_places(clock: SimClock) -> None:
    async with (
        SlotEngine(clock=clock, max_waiters=3, max_holds=1, max_waits=2) as engine,
        anyio.create_task_group() as tasks,
    ):
        callers = Callers(tasks)
        engine.add_resource("room")
        holds = [await engine.reserve("room", START + n * HOUR, HALF_HOUR) for n in range(4)]
        for n in range(2):
            await callers.begin(str(n), asks(engine, start=START + n * HOUR, holder="greedy"))
        with pytest.raises(QuotaExceeded) as refused:
            await asks(engine, start=START + 2 * HOUR, holder="greedy")
        assert refused.value.args == ("waits", 2, 2, None)
        await callers.begin("nobody", asks(engine, start=START + 2 * HOUR))
        with pytest.raises(TooManyWaiting):
            await asks(engine, start=START + 3 * HOUR, holder="modest")
        await engine.release(holds[0].uid)
        await settle()
        assert callers.held == ["0"]
        await callers.begin("modest", asks(engine, start=START + 3 * HOUR, holder="modest"))
        await engine.release(holds[1].uid)  # of two holds the greedy may have one
        await settle()
        assert callers.refusal("1").quota == "holds"
        await clock.advance(HOUR)  # nobody waits any more
        assert engine.statistics().waiting == 0
        assert not engine.ledger.waitlist.by_holder


@pytest.mark.parametrize(("mine", "most"), [(1, 1), (3, 2), (None, 2)])
async def test_a_request_brings_a_quota_of_places(
    clock: SimClock, mine: int | None, most: int
) -> None:
    """Beside that of the engine: the lower one decides."""
    async with (
        SlotEngine(clock=clock, max_waits=2) as engine,
        anyio.create_task_group() as tasks,
    ):
        callers = Callers(tasks)
        engine.add_resource("room")
        quota = Quota(holds=1, waits=mine)
        for n in range(3):
            await engine.reserve("room", START + n * HOUR, HALF_HOUR)
        for n in range(most):
            asking = asks(engine, start=START + n * HOUR, holder="me", quota=quota)
            await callers.begin(str(n), asking)
        with pytest.raises(QuotaExceeded) as refused:
            await asks(engine, start=START + 2 * HOUR, holder="me", quota=quota)
        assert refused.value.args == ("waits", most, most, None)
        tasks.cancel_scope.cancel()


async def test_who_is_cancelled_frees_a_place(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, max_waits=1) as engine:
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR)
        for _ in range(2):
            with anyio.move_on_after(0) as scope:
                await asks(engine, holder="customer-1")
            assert scope.cancelled_caught
            assert not engine.ledger.waitlist.by_holder
        async with anyio.create_task_group() as tasks:
            callers = Callers(tasks)
            await callers.begin("a", asks(engine, holder="customer-1"))
            await engine.release(hold.uid)
            await settle()
            assert callers.held == ["a"]
        assert not engine.ledger.waitlist.by_holder


async def test_it_may_be_that_nobody_may_wait(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, max_waiters=0) as engine:
        engine.add_resource("room")
        await asks(engine)
        with pytest.raises(TooManyWaiting):
            await asks(engine)


async def test_a_thousand_may_wait_unless_it_is_said_otherwise(clock: SimClock) -> None:
    async with SlotEngine(clock=clock) as engine, anyio.create_task_group() as tasks:
        engine.add_resource("room")
        await engine.reserve("room", START, HALF_HOUR)
        callers = Callers(tasks)
        for number in range(1000):
            callers.start(str(number), asks(engine))
        await settle()
        assert engine.statistics().waiting == 1000
        with pytest.raises(TooManyWaiting, match="its maximum of 1000;"):
            await asks(engine)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("most", [-1, 0, 1.5, True, "1"])
def test_how_many_places_one_has_is_a_whole_number(most: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        SlotEngine(max_waits=most)
    assert refused.value.field == "max_waits"


@pytest.mark.parametrize("most", [-1, 1.5, None, True])
def test_how_many_may_wait_is_a_whole_number(most: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        SlotEngine(max_waiters=most)
    assert refused.value.field == "max_waiters"


async def test_bad_input_is_told_at_once(engine: SlotEngine) -> None:
    await engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(InvalidField, match="wait must not be negative"):
        await asks(engine, wait=-HOUR)
    with pytest.raises(InvalidField, match="wait must be a timedelta"):
        await asks(engine, wait=5)
    with pytest.raises(InvalidField, match="ttl must be a timedelta"):
        await asks(engine, ttl=5)


async def test_those_who_wait_when_the_engine_is_left_are_told(clock: SimClock) -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with SlotEngine(clock=clock) as engine:
            engine.add_resource("room")
            hold = await engine.reserve("room", START, HALF_HOUR)
            for name in "abc":
                await callers.begin(name, asks(engine))
            await engine.release(hold.uid)
        await settle()
        assert [type(callers.refusal(name)) for name in "abc"] == [EngineClosed] * 3
        with pytest.raises(EngineClosed):
            await asks(engine)


class Oops(Exception):
    """What goes wrong in somebody's program."""


async def test_an_error_of_the_callers_own_reaches_the_caller(
    engine: SlotEngine, callers: Callers
) -> None:
    class Hours(FixedWindows):
        broken = False

        def covers(self, start: int, end: int) -> bool:
            if self.broken:
                raise Oops
            return super().covers(start, end)

    hours = Hours([(to_us(NOW), to_us(NOW + DAY))])
    engine.add_resource("barn", schedule=hours)
    hold = await engine.reserve("barn", START, HALF_HOUR)
    request = Request(START, HALF_HOUR, (Claim("barn"),))
    await callers.begin("a", engine.reserve(request, wait=HOUR))
    hours.broken = True
    await engine.release(hold.uid)
    await settle()
    assert isinstance(callers.refusal("a"), Oops)
    assert engine.statistics().waiting == 0


# --- Keys --------------------------------------------------------------------------------------


async def test_a_repeat_that_waits_gets_the_same(engine: SlotEngine, callers: Callers) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, key="k"))
    await callers.begin("again", asks(engine, key="k"))
    await callers.begin("other", asks(engine, key="k", holder="other"))
    await engine.release(hold.uid)
    await settle()
    assert callers.reservation("again") == callers.reservation("a")
    assert isinstance(callers.refusal("other"), KeyReused)
    # A repeat is no newcomer, whoever waits by now.
    await callers.begin("b", asks(engine))
    assert await engine.reserve("room", START, HALF_HOUR, key="k") == callers.reservation("a")


# --- Cancelling --------------------------------------------------------------------------------


async def test_who_is_cancelled_while_waiting_is_gone(engine: SlotEngine, callers: Callers) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine))
    await callers.begin("b", asks(engine))
    callers.scopes["a"].cancel()
    await settle()
    assert engine.statistics().waiting == 1
    await engine.release(hold.uid)
    await settle()
    assert callers.held == ["b"]
    assert engine.statistics().held == 1


async def hand_over_and_cancel(
    engine: SlotEngine, callers: Callers, name: str, uid: str, then: Callable[[], None]
) -> None:
    """Release a hold, and cancel a caller in the very step in which it is handed the slot.

    Before: who is cancelled after it was woken returns, and knows of what it holds.
    """
    serve = engine.sleeping.serve

    def and_cancel(now: int) -> None:
        engine.sleeping.serve = serve  # type: ignore[method-assign]
        callers.scopes[name].cancel()
        before = engine.statistics().accepted
        serve(now)
        assert engine.statistics().accepted == before + 1
        then()

    engine.sleeping.serve = and_cancel  # type: ignore[method-assign]
    await engine.release(uid)
    await settle()
    assert name not in callers.answers


async def test_who_is_cancelled_when_just_handed_the_slot_passes_it_on(
    engine: SlotEngine, callers: Callers
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, holder="a"))
    await callers.begin("b", asks(engine, holder="b"))
    await hand_over_and_cancel(engine, callers, "a", hold.uid, lambda: None)
    assert callers.held == ["b"]
    (held,) = (await engine.find(standing("room", START, START + HOUR))).reservations
    assert held == callers.reservation("b")
    assert engine.statistics().accepted == 3


async def test_with_a_key_the_slot_is_kept_for_whoever_asks_again(
    engine: SlotEngine, callers: Callers
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine, key="k"))
    await hand_over_and_cancel(engine, callers, "a", hold.uid, lambda: None)
    assert (await engine.reserve("room", START, HALF_HOUR, key="k")).state is State.HELD
    assert engine.statistics().accepted == 2


@pytest.mark.parametrize(("verb", "state"), [("confirm", State.CONFIRMED), ("extend", State.HELD)])
async def test_what_somebody_else_has_changed_since_is_kept(
    engine: SlotEngine, callers: Callers, verb: str, state: State
) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    await callers.begin("a", asks(engine))
    events = engine.subscribe()

    def change() -> None:
        (held,) = engine.local.find(standing("room", START, START + HOUR)).reservations
        getattr(engine.local, verb)(held.uid)

    await hand_over_and_cancel(engine, callers, "a", hold.uid, change)
    (held,) = (await engine.find(standing("room", START, START + HOUR))).reservations
    assert held.state is state
    events.close()
    told = [one.verb.value async for one in events if isinstance(one, Event)]
    assert told == ["release", "reserve", verb]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_a_call_is_given_may_be_forgotten_before_it_wakes(
    clock: SimClock, cancelled: bool
) -> None:
    """Somebody else has given it up, and nothing is retained."""
    async with SlotEngine(clock=clock, retention=timedelta(0)) as engine:
        engine.add_resource("room")
        hold = await engine.reserve("room", START, HALF_HOUR)
        answers: list[Reservation] = []
        serve = engine.sleeping.serve

        def and_forget(now: int) -> None:
            engine.sleeping.serve = serve  # type: ignore[method-assign]
            if cancelled:
                tasks.cancel_scope.cancel()
            serve(now)
            (held,) = engine.local.find(standing("room", START, START + HOUR)).reservations
            engine.local.release(held.uid)
            engine.local.sweep()
            assert engine.local.get(held.uid) is None

        async def call() -> None:
            answers.append(await engine.reserve("room", START, HALF_HOUR, wait=minutes(5)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await settle()
            engine.sleeping.serve = and_forget  # type: ignore[method-assign]
            await engine.release(hold.uid)
            await settle()
        assert [(one.state, one.version) for one in answers] == [(State.HELD, 1)][cancelled:]
        engine.check_invariants()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_natively_passes_it_on(engine: SlotEngine) -> None:
    """Such a cancellation arrives even after the task was woken."""
    hold = await engine.reserve("room", START, HALF_HOUR)
    task = asyncio.ensure_future(asks(engine))
    await settle()
    serve = engine.sleeping.serve

    def and_cancel(now: int) -> None:
        serve(now)
        assert engine.statistics().held == 1
        task.cancel()

    engine.sleeping.serve = and_cancel  # type: ignore[method-assign]
    await engine.release(hold.uid)
    with pytest.raises(asyncio.CancelledError):
        await task
    engine.sleeping.serve = serve  # type: ignore[method-assign]
    assert engine.statistics().held == 0
    assert (await engine.reserve("room", START, HALF_HOUR)).state is State.HELD


patience = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=8,
)


# With a seed, not a source of chance: that must not be asked inside a task group.
@given(lives=patience, seed=st.integers(0, 2**32))
@settings(max_examples=80)
async def test_whoever_is_cancelled_whenever_nothing_is_lost(
    lives: list[tuple[int, int, int, bool]], seed: int
) -> None:
    """Goal: each live hold is known to a caller that returned; nobody sleeps beside a free slot.

    Method: tasks wait for overlapping spans and release what they get a little
    later; each is cancelled at some turn, at whichever await it is then.
    """
    clock = SimClock(NOW)
    known: dict[str, Reservation] = {}
    chance = Random(seed)

    async with SlotEngine(clock=clock) as engine, anyio.create_task_group() as tasks:
        engine.add_resource("room")
        scopes = [anyio.CancelScope() for _ in lives]

        async def live(slot: int, halves: int, keep: bool, scope: anyio.CancelScope) -> None:
            with scope:
                give_way_next(engine)
                start = START + slot * HALF_HOUR
                hold = await engine.reserve("room", start, halves * HALF_HOUR, wait=HOUR, ttl=HOUR)
                known[hold.uid] = hold
                if not keep:
                    engine.local.release(hold.uid)

        for (slot, halves, _, keep), scope in zip(lives, scopes, strict=True):
            tasks.start_soon(live, slot, halves, keep, scope)
        for turn in range(10):
            for (_, _, cancelled_at, _), scope in zip(lives, scopes, strict=True):
                if cancelled_at == turn and chance.random() < 0.8:
                    scope.cancel()
            await anyio.lowlevel.checkpoint()
            engine.check_invariants()
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        found = engine.local.find(standing("room", START, START + DAY)).reservations
        assert {one.uid for one in found} <= known.keys()
        engine.check_invariants()
        assert not any(waiting.ready for waiting in engine.waitlist)
        tasks.cancel_scope.cancel()
    assert len(engine.waitlist) == 0


# --- Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_threads_can_wait(anyio_backend: str, backend: str) -> None:
    found: list[Reservation] = []
    with BlockingEngine(SlotEngine(), backend=backend) as engine:
        engine.add_resource("room")
        hold = engine.reserve("room", START, HALF_HOUR)

        def wait() -> None:
            found.append(engine.reserve("room", START, HALF_HOUR, wait=HOUR, holder="other"))

        thread = threading.Thread(target=wait)
        thread.start()
        for _ in range(100_000):
            if engine.statistics().waiting:
                break
        engine.release(hold.uid)
        thread.join(30)
        with pytest.raises(SlotTaken) as refused:
            engine.reserve("room", START, HALF_HOUR, wait=timedelta(milliseconds=1))
        assert refused.value.retry_at == found[0].until
    assert [one.holder for one in found] == ["other"]
