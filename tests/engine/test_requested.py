"""What is requested, and decided when it is confirmed: through the engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from slotengine import (
    AllOf,
    Claim,
    Event,
    EventType,
    InvalidField,
    Kind,
    Limit,
    LimitReached,
    LocalEngine,
    Period,
    Put,
    Quota,
    Remove,
    Request,
    Reservation,
    ReservationQuery,
    SlotEngine,
    SlotTaken,
    State,
    TooSoon,
    UnknownEventType,
    Verb,
    WrongState,
    minutes,
)
from slotengine.testing import SimClock, Watch
from tests.engine.conftest import NOW

START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)
VISIT = EventType(
    id="visit", length=HALF_HOUR, any_of=[["room", "annex"]], notice=minutes(30),
    limits=[Limit(Period.DAY, count=2)],
)  # fmt: skip

pytestmark = pytest.mark.anyio


def wanted(resource: str = "room", start: datetime = START, **more: object) -> Request:
    return Request(start, HALF_HOUR, (Claim(resource),), requested=True, **more)  # type: ignore[arg-type]


async def test_from_request_to_booking(engine: SlotEngine) -> None:
    events: list[Event] = []
    watch = Watch(engine)
    stop = engine.observe(events.append)
    asked = await engine.reserve(wanted(holder="ada", tags=("vip",), quota=Quota(holds=1)))
    assert (asked.state, asked.until, asked.version) == (State.REQUESTED, None, 1)
    assert asked.claims == (Claim("room"),)
    assert asked.as_dict()["state"] == "requested"
    assert engine.statistics().requested == 1
    assert engine.statistics().held == 0
    hold = await engine.reserve("room", START, HALF_HOUR, holder="ada", quota=Quota(holds=1))
    with pytest.raises(SlotTaken):
        await engine.confirm(asked.uid)
    await engine.release(hold.uid)
    booking = await engine.confirm(asked.uid, version=1)
    assert (booking.uid, booking.state, booking.version) == (asked.uid, State.CONFIRMED, 2)
    assert (booking.tags, booking.holder, booking.serial) == (("vip",), "ada", asked.serial)
    verbs = [event.verb for event in events]
    assert verbs == [Verb.REQUEST, Verb.RESERVE, Verb.RELEASE, Verb.CONFIRM]
    stop()
    watch.check()


async def test_it_does_not_lapse_and_can_be_found(engine: SlotEngine, clock: SimClock) -> None:
    asked = await engine.reserve(wanted())
    clock.set(NOW + 400 * DAY)
    page = await engine.find(ReservationQuery(states=[State.REQUESTED], resource="room"))
    assert page.reservations == [asked]
    assert (await engine.release(asked.uid)).state is State.RELEASED


@pytest.mark.parametrize(
    ("end", "state"), [("release", State.RELEASED), ("cancel", State.CANCELLED)]
)
async def test_it_can_be_withdrawn_or_declined(engine: SlotEngine, end: str, state: State) -> None:
    watch = Watch(engine)
    asked = await engine.reserve(wanted())
    ended: Reservation = await getattr(engine, end)(asked.uid)
    assert ended.state is state
    with pytest.raises(WrongState):
        await engine.confirm(asked.uid)
    assert (await engine.annotate(asked.uid, details="why")).details == "why"
    watch.check()


async def test_it_moves_without_being_decided(engine: SlotEngine) -> None:
    watch = Watch(engine)
    await engine.reserve("room", START + HALF_HOUR, HALF_HOUR)
    asked = await engine.reserve(wanted())
    moved = await engine.move(asked.uid, START + HALF_HOUR)
    assert (moved.state, moved.start, moved.version) == (
        State.REQUESTED, START + HALF_HOUR, 2,
    )  # fmt: skip
    with pytest.raises(SlotTaken):
        await engine.confirm(asked.uid)
    await engine.move(asked.uid, Request(START, HALF_HOUR, (Claim("annex"),)))
    assert (await engine.confirm(asked.uid)).resources == ("annex",)
    watch.check()


async def test_a_key_finds_what_was_requested(engine: SlotEngine) -> None:
    asked = await engine.reserve(wanted(key="k"))
    assert await engine.reserve(wanted(key="k")) == asked
    engine.add_event_type(VISIT)
    slot = await engine.reserve_slot("visit", START, key="s", requested=True)
    assert await engine.reserve_slot("visit", START, key="s", requested=True) == slot


async def test_several_are_requested_at_once(engine: SlotEngine) -> None:
    both = await engine.reserve(AllOf([wanted(), wanted()], series=True))
    assert [one.state for one in both] == [State.REQUESTED] * 2
    assert len({one.series and one.series.uid for one in both}) == 1


# --- By the rules of an event type ------------------------------------------------------------


def test_a_host_is_chosen_when_it_is_confirmed(clock: SimClock) -> None:
    engine = clinic(clock)
    starts = (START, START, START + 2 * HALF_HOUR)
    asked = [engine.reserve_slot("visit", start, requested=True) for start in starts]
    assert [one.resources for one in asked] == [(), (), ()]
    chosen = [engine.confirm(one.uid).resources for one in asked[:2]]
    assert sorted(chosen) == [("annex",), ("room",)]
    with pytest.raises(LimitReached):
        engine.confirm(asked[2].uid)
    engine.check_invariants()


def clinic(clock: SimClock) -> LocalEngine:
    engine = LocalEngine(clock=clock)
    for name in ("room", "annex"):
        engine.add_resource(name)
    engine.add_event_type(VISIT)
    return engine


def test_hosts_are_among_those_who_were_wanted(clock: SimClock) -> None:
    engine = clinic(clock)
    engine.reserve("annex", START, HALF_HOUR)
    asked = engine.reserve_slot("visit", START, only=["annex"], requested=True)
    with pytest.raises(SlotTaken):
        engine.confirm(asked.uid)
    others = EventType(id="visit", length=HALF_HOUR, any_of=[["room", "attic"]])
    engine.add_resource("attic")
    engine.configure([Put(Kind.EVENT_TYPE, "visit", others)])
    assert engine.confirm(asked.uid).resources in {("room",), ("attic",)}


def test_the_rules_of_then_decide(clock: SimClock) -> None:
    engine = clinic(clock)
    early, late = (
        engine.reserve_slot("visit", start, requested=True) for start in (START, START + DAY)
    )
    clock.set(START - minutes(29))
    with pytest.raises(TooSoon):
        engine.confirm(early.uid)
    assert engine.confirm(early.uid, enforce=False).state is State.CONFIRMED
    longer = EventType(id="visit", length=HALF_HOUR, all_of=["room"], notice=2 * DAY)
    engine.configure([Put(Kind.EVENT_TYPE, "visit", longer)])
    with pytest.raises(TooSoon):
        engine.confirm(late.uid)
    soon = EventType(id="visit", length=HALF_HOUR, all_of=["room"], after=minutes(15))
    engine.configure([Put(Kind.EVENT_TYPE, "visit", soon)])
    (claim,) = engine.confirm(late.uid).claims
    assert claim == Claim("room", after=minutes(15))
    engine.check_invariants()


def test_without_its_event_type_it_stays_requested(clock: SimClock) -> None:
    engine = clinic(clock)
    asked = engine.reserve_slot("visit", START, requested=True)
    engine.configure([Remove(Kind.EVENT_TYPE, "visit")])
    with pytest.raises(UnknownEventType):
        engine.confirm(asked.uid)
    engine.cancel(asked.uid)
    engine.check_invariants()


def test_what_was_requested_without_rules_is_decided_as_it_is_kept(clock: SimClock) -> None:
    engine = clinic(clock)
    asked = engine.reserve_slot("visit", NOW, enforce=False, requested=True)
    assert engine.confirm(asked.uid).state is State.CONFIRMED


def test_a_slot_that_is_requested_moves_by_its_rules_later(clock: SimClock) -> None:
    """Notice, too, counts only when it is confirmed."""
    engine = clinic(clock)
    asked = engine.reserve_slot("visit", START, requested=True)
    moved = engine.move(asked.uid, NOW + minutes(10))
    assert moved.state is State.REQUESTED
    with pytest.raises(TooSoon):
        engine.confirm(asked.uid)
    moved = engine.move_slot(asked.uid, START + HALF_HOUR)
    assert engine.confirm(asked.uid).start == moved.start


def test_seats_are_requested(clock: SimClock) -> None:
    engine = clinic(clock)
    engine.add_event_type(EventType(id="class", length=HALF_HOUR, all_of=["room"], seats=3))
    asked = [engine.reserve_slot("class", START, seats=2, requested=True) for _ in range(2)]
    assert engine.confirm(asked[0].uid).session is not None
    with pytest.raises(SlotTaken):
        engine.confirm(asked[1].uid)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.adopt(wanted()),
        lambda e: e.move(e.reserve("annex", START, HALF_HOUR).uid, wanted()),
        lambda e: e.replace(e.reserve("annex", START, HALF_HOUR).uid, wanted()),
    ],
)
def test_only_what_is_reserved_can_be_requested(
    clock: SimClock, call: Callable[[LocalEngine], object]
) -> None:
    with pytest.raises(InvalidField, match="requested"):
        call(clinic(clock))
