"""Subscribers that come back go on where they were, or are told to begin anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotengine import (
    BlockingEngine,
    Claim,
    CursorExpired,
    Event,
    InvalidField,
    Lagged,
    LocalEngine,
    Request,
    Reservation,
    ReservationQuery,
    SlotEngine,
    SlotError,
    State,
    Verb,
    minutes,
)
from slotengine.core.ledger.reservation import ENDED
from slotengine.engine.events import Backlog, Position, position_of
from slotengine.testing import SimClock

NOW = datetime(2030, 1, 7, 8, 0, 3, tzinfo=UTC)
START = NOW + minutes(61)
LENGTH = timedelta(minutes=29, seconds=47)
RETENTION = minutes(50)

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> SimClock:
    return SimClock(NOW)


@pytest.fixture
async def engine(clock: SimClock) -> AsyncIterator[SlotEngine]:
    async with SlotEngine(clock=clock, backlog=4) as engine:
        engine.add_resource("room", capacity=99)
        yield engine


async def read(engine: SlotEngine, after: str, count: int) -> list[Event]:
    """Return so many events after a cursor, and make sure that there are no more."""
    found: list[Event] = []
    with engine.subscribe(after=after) as events:
        while len(found) < count:
            event = await anext(events)
            assert isinstance(event, Event)
            found.append(event)
        assert events.cursor == (found[-1].cursor if found else after)
        with anyio.move_on_after(0):
            found.append(await anext(events))  # type: ignore[arg-type]
    return found


async def test_a_subscriber_goes_on_without_a_gap(engine: SlotEngine) -> None:
    with engine.subscribe() as events:
        first = events.cursor
        hold = await engine.reserve("room", START, LENGTH)
        event = await anext(events)
        assert isinstance(event, Event)
        assert events.cursor == event.cursor != first
    await engine.confirm(hold.uid)
    await engine.cancel(hold.uid)
    later = await read(engine, event.cursor, 2)
    assert [one.verb for one in later] == [Verb.CONFIRM, Verb.CANCEL]
    assert [one.seq for one in later] == [event.seq + 1, event.seq + 2]
    assert [one.verb for one in await read(engine, first, 3)] == [
        Verb.RESERVE, Verb.CONFIRM, Verb.CANCEL,
    ]  # fmt: skip
    assert await read(engine, later[-1].cursor, 0) == []


async def test_what_comes_next_follows_what_was_missed(engine: SlotEngine) -> None:
    """Whatever the buffer takes."""
    with engine.subscribe() as events:
        cursor = events.cursor
    holds = [await engine.reserve("room", START, LENGTH) for _ in range(3)]
    with engine.subscribe(buffer=1, after=cursor) as events:
        holds += [await engine.reserve("room", START, LENGTH) for _ in range(2)]
        found = [await anext(events) for _ in range(5)]
    uids = [one.reservation.uid for one in found if isinstance(one, Event)]
    assert uids == [hold.uid for hold in (*holds[:3], holds[4])]
    assert found[3] == Lagged(1)


async def test_events_that_are_gone_are_not_passed_over(engine: SlotEngine) -> None:
    with engine.subscribe() as events:
        cursor = events.cursor
        for _ in range(4):
            await engine.reserve("room", START, LENGTH)
    assert len(await read(engine, cursor, 4)) == 4
    with engine.subscribe():
        await engine.reserve("room", START, LENGTH)
    with pytest.raises(CursorExpired, match="list the reservations"):
        engine.subscribe(after=cursor)


async def test_events_are_kept_for_as_many_as_nobody_hears(engine: SlotEngine) -> None:
    with engine.subscribe() as events:
        cursor = events.cursor
    assert engine.ledger.on_change is not None
    for _ in range(3):
        await engine.reserve("room", START, LENGTH)
    assert len(await read(engine, cursor, 3)) == 3
    for _ in range(4):
        assert engine.ledger.on_change is not None
        await engine.reserve("room", START, LENGTH)
    assert engine.ledger.on_change is None  # none is made any more
    with pytest.raises(CursorExpired):
        engine.subscribe(after=cursor)
    assert engine.statistics().subscribers == 0


async def test_observers_do_not_come_back(engine: SlotEngine) -> None:
    stop = engine.observe(lambda event: None)
    await engine.reserve("room", START, LENGTH)
    stop()
    assert engine.ledger.on_change is None


async def test_a_cursor_is_for_one_history(engine: SlotEngine, clock: SimClock) -> None:
    with engine.subscribe() as events:
        cursor = events.cursor
    async with SlotEngine(clock=clock) as other:
        with other.subscribe(), pytest.raises(CursorExpired):
            other.subscribe(after=cursor)
    position = position_of(cursor)
    for wrong in (position._replace(seq=position.seq + 1), position._replace(shard=1)):
        with pytest.raises(CursorExpired):
            engine.subscribe(after=wrong.cursor())
    with pytest.raises(InvalidField):
        engine.subscribe(buffer=0, after=cursor)


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "AQ==", "AgAAAAAAAAAAAAAAAAAAAAAABw==", "AQAAAAAA\nAAAAAAAAAAAAAAAABw==",
        "AQAAAAAAAAAAAAAAAAAAAAAABx==", b"AQAAAAAAAAAAAAAAAAAAAAAABw==", 7, "é",
    ],
)  # fmt: skip
async def test_what_is_no_cursor_is_refused(engine: SlotEngine, cursor: Any) -> None:
    with pytest.raises(InvalidField, match="after must be the cursor"):
        engine.subscribe(after=cursor)


@pytest.mark.parametrize("backlog", [-1, True, 1.5, None])
def test_a_backlog_is_a_number(backlog: Any) -> None:
    with pytest.raises(InvalidField, match="backlog"):
        LocalEngine(backlog=backlog)


def test_a_cursor_is_text_that_says_where() -> None:
    position = Position(b"12345678", 4_095, 2**53)
    assert position_of(position.cursor()) == position


async def test_bookings_that_are_forgotten_are_told_together(
    engine: SlotEngine, clock: SimClock
) -> None:
    """And it is only from the last of them that one can go on."""
    uids = [(await engine.reserve("room", START, LENGTH)).uid for _ in range(3)]
    for uid in uids:
        await engine.confirm(uid)
    with engine.subscribe() as events:
        clock.set(START + minutes(60))
        assert await engine.forget_bookings(clock.moment) == 3
        found = [await anext(events) for _ in range(3)]
    told = [one for one in found if isinstance(one, Event)]
    assert [(one.verb, one.reservation.uid) for one in told] == [(Verb.FORGET, uid) for uid in uids]
    assert {one.reservation.state for one in told} == {State.CONFIRMED}
    assert len({one.seq for one in told}) == 1
    assert len(await read(engine, told[0].cursor, 3)) == 3
    assert await read(engine, told[2].cursor, 0) == []


def test_threads_go_on_after_a_cursor() -> None:
    with BlockingEngine() as engine:
        engine.add_resource("room", capacity=9)
        with engine.subscribe() as events:
            begin = events.cursor
            engine.reserve("room", START, LENGTH, ttl=minutes(9))
            event = next(events)
            assert isinstance(event, Event)
            assert events.cursor == event.cursor != begin
        with engine.subscribe(after=begin) as events:
            assert events.cursor == begin
            assert next(events) == event
        hold = engine.reserve("room", START, LENGTH)
        with engine.subscribe(after=event.cursor) as events:
            event = next(events)
            assert isinstance(event, Event)
            assert event.reservation == hold


def test_a_backlog_of_none_keeps_nothing() -> None:
    backlog = Backlog(0)
    backlog.open(3)
    with pytest.raises(CursorExpired):
        backlog.after(3, latest=3)


# --- The mirror -----------------------------------------------------------------------------------


class Mirror:
    """All reservations of an engine, by the recipe: list, then follow; come back, or begin anew."""

    def __init__(self, engine: SlotEngine) -> None:
        self.engine = engine
        self.reservations: dict[str, Reservation] = {}
        self.cursor: str | None = None
        self.begun = 0

    async def catch_up(self, patience: int) -> None:
        """Read what there is, but no more than so many events."""
        try:
            events = self.engine.subscribe(buffer=5, after=self.cursor)
        except CursorExpired:
            self.cursor = None
            events = self.engine.subscribe(buffer=5)
        with events:
            if self.cursor is None:
                await self._begin()
                self.cursor = events.cursor
            for _ in range(patience):
                with anyio.move_on_after(0):
                    event = await anext(events)
                    assert isinstance(event, Event)
                    self._take(event)
                    self.cursor = event.cursor

    async def _begin(self) -> None:
        self.begun += 1
        self.reservations.clear()
        query = ReservationQuery(limit=2)
        while True:
            page = await self.engine.find(query)
            self.reservations |= {one.uid: one for one in page.reservations}
            if page.cursor is None:
                return
            query = query.following(page)

    def _take(self, event: Event) -> None:
        one = event.reservation
        known = self.reservations.get(one.uid)
        if event.verb is Verb.FORGET:
            self.reservations.pop(one.uid, None)
        elif known is None or known.version < one.version or known.serial != one.serial:
            self.reservations[one.uid] = one

    def at(self, now: datetime) -> dict[str, Reservation]:
        """Return what is known, without what is past its retention."""
        return {
            uid: one
            for uid, one in self.reservations.items()
            if one.state not in ENDED or (one.until is not None and one.until + RETENTION > now)
        }


ACTIONS = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 5)),
    st.tuples(st.sampled_from(("confirm", "cancel", "release", "extend", "annotate", "again")),
              st.integers(0, 30)),
    st.tuples(st.sampled_from(("wait", "forget", "catch up")), st.integers(0, 4)),
)  # fmt: skip


async def act(engine: SlotEngine, clock: SimClock, uids: list[str], what: str, which: int) -> None:
    uid = uids[which % len(uids)] if uids else "nobody"
    match what:
        case "reserve":
            uids.append((await engine.reserve("room", START + which * LENGTH, LENGTH)).uid)
        case "confirm":
            await engine.confirm(uid, if_still_free=True)
        case "cancel":
            await engine.cancel(uid)
        case "release":
            await engine.release(uid)
        case "extend":
            await engine.extend(uid, ttl=minutes(7))
        case "annotate":
            await engine.annotate(uid, tags=[f"tag-{which}"])
        case "again":
            claims = (Claim("room"),)
            await engine.replace(uid, Request(START + which * LENGTH, LENGTH, claims))
        case "forget":
            await engine.forget_bookings(clock.moment)
        case _:
            clock.set(clock.moment + which * timedelta(minutes=13, seconds=1))
            await anyio.lowlevel.checkpoint()


@given(st.lists(ACTIONS, max_size=40), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("here", ["asyncio", "trio"])
def test_a_mirror_equals_the_engine(
    here: str, actions: list[tuple[str, int]], backlog: int
) -> None:
    async def main() -> None:
        clock = SimClock(NOW)
        async with SlotEngine(clock=clock, retention=RETENTION, backlog=backlog) as engine:
            engine.add_resource("room", capacity=99)
            mirror = Mirror(engine)
            uids: list[str] = []
            for what, which in actions:
                if what == "catch up":
                    await mirror.catch_up(which)
                    continue
                with suppress(SlotError):
                    await act(engine, clock, uids, what, which)
            await engine.run(LocalEngine.sweep)
            await mirror.catch_up(99)
            everything = await engine.find(ReservationQuery(limit=999))
            assert mirror.at(engine.now()) == {one.uid: one for one in everything.reservations}

    anyio.run(main, backend=here)


async def test_a_mirror_goes_on_and_begins_anew(engine: SlotEngine, clock: SimClock) -> None:
    mirror = Mirror(engine)
    uids = [(await engine.reserve("room", START, LENGTH)).uid for _ in range(3)]
    await mirror.catch_up(9)
    assert (set(mirror.reservations), mirror.begun) == (set(uids), 1)
    await engine.confirm(uids[0])
    await engine.cancel(uids[0])
    await mirror.catch_up(1)
    assert mirror.reservations[uids[0]].state is State.CONFIRMED
    await mirror.catch_up(9)
    assert (mirror.reservations[uids[0]].state, mirror.begun) == (State.CANCELLED, 1)
    for _ in range(5):
        await engine.extend(uids[1], ttl=minutes(9))
    await mirror.catch_up(9)
    assert (mirror.reservations[uids[1]].version, mirror.begun) == (6, 2)
