"""What the strategies make is what slotengine takes, and they make all sorts of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import count
from typing import Any, TypeVar

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import Phase, find, given, settings

from slotengine import (
    InvalidRequest,
    LocalEngine,
    Put,
    Refused,
    Request,
    Retire,
    SlotEngine,
    SlotQuery,
    TooManyUnits,
    minutes,
)
from slotengine.calcom.catalog.load import catalog_from
from slotengine.core.ledger.commands import Command, Confirm, Mode, Move, Reserve
from slotengine.core.ledger.config import SettingChange
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import State
from slotengine.core.time.instant import MINUTE, from_us, to_us
from slotengine.core.time.schedule import Schedule
from slotengine.testing import SimClock, attach, strategies
from slotengine.testing.internal import strategies as ledger_strategies
from slotengine.testing.internal.actions import is_series, requests_of, with_uids
from slotengine.testing.internal.engine_calls import in_engine
from slotengine.testing.internal.naive_calls import in_model
from slotengine.testing.internal.naive_configuration import number_settings
from slotengine.testing.internal.naive_ledger import NaiveLedger
from tests.engine.callers import RESOURCES, TERMS, engine_on

UNITS = {name: capacity for name, (capacity, _) in RESOURCES.items()}
Thing = TypeVar("Thing")
NOON = datetime(2030, 1, 7, 12, tzinfo=UTC)


def some(strategy: st.SearchStrategy[Thing], condition: Callable[[Thing], bool]) -> Thing:
    """Return an example for which a condition holds; not the simplest, which takes a while."""
    quick = settings(max_examples=5_000, phases=[Phase.generate], database=None)
    return find(strategy, condition, settings=quick)


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[int, Command]]:
    """Commands about a few reservations, and how many ticks pass before each."""
    uids = [f"r{number}" for number in range(1, 7)]
    step = st.tuples(st.sampled_from((0, 0, 1, 2, 5)), ledger_strategies.commands(UNITS, uids))
    return draw(st.lists(step, max_size=25))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(life=lives())
@settings(max_examples=100)
def test_an_engine_answers_as_the_model_does(backend: str, life: list[tuple[int, Command]]) -> None:
    """Goal: the engine says what the rules say, whatever it is asked.

    Method: the same commands to both; all answers are compared, and the
    engine is watched.
    """
    naive = NaiveLedger(TERMS, dict(RESOURCES))
    number_settings(naive)
    clock = SimClock(from_us(0))
    numbers = count(1)

    async def main() -> None:
        async with engine_on(clock, lambda _: f"r{next(numbers)}") as engine:
            with attach(engine) as watch:
                for ticks, command in life:
                    clock.set(from_us(clock.now() + ticks))
                    answer = await in_engine(engine, command)
                    expected = in_model(naive, with_uids(command, answer), clock.now())
                    assert answer == expected
                await clock.advance(minutes(0))
                watch.check_swept()

    anyio.run(main, backend=backend)


def test_commands_do_all_there_is_to_do() -> None:
    commands = ledger_strategies.commands(UNITS, ["a", "b"])
    requested = some(commands, lambda one: any(each.requested for each in requests_of(one)))
    assert isinstance(requested, Reserve)
    for kind in set(ledger_strategies.KINDS):
        some(commands, lambda one, kind=kind: isinstance(one, kind))  # type: ignore[misc]
    for mode in Mode:
        some(commands, lambda one, mode=mode: isinstance(one, Reserve) and one.mode is mode)  # type: ignore[misc]
    some(commands, lambda one: isinstance(one, Reserve) and is_series(one))
    some(commands, lambda one: isinstance(one, Confirm) and one.if_still_free)
    some(commands, lambda one: isinstance(one, Move) and one.renew and one.version is not None)


@given(ledger_strategies.proposals(UNITS, hosts=("room", "annex")))
def test_proposals_make_sense(proposal: Proposal) -> None:
    proposal.check()
    assert 0 <= proposal.start < proposal.end
    assert all(claim.units <= UNITS[claim.resource] for claim in proposal.claims)
    assert len(proposal.claims) + len(proposal.pools) >= 1


def test_without_hosts_nobody_needs_one() -> None:
    with_seats = some(ledger_strategies.proposals(UNITS), lambda one: one.seats is not None)
    assert with_seats.event_type == "workshop"
    assert not with_seats.pools


hours_near = strategies.instants(st.integers(-100, 100).map((60 * MINUTE).__mul__))


@given(strategies.schedules("Europe/Rome", date(2030, 3, 31)), hours_near)
def test_schedules_answer(schedule: Schedule, by: int) -> None:
    start = to_us(datetime(2030, 3, 31, tzinfo=UTC)) + by
    open_then = schedule.covers(start, start + 1)
    assert open_then == any(
        low <= start and start + 1 <= high for low, high in schedule.windows(start, start + 1)
    )


def test_instants_have_seconds_and_microseconds() -> None:
    whole = strategies.instants(st.integers(0, 3).map(MINUTE.__mul__))
    assert some(whole, lambda one: one % MINUTE == 0) % MINUTE == 0
    assert some(whole, lambda one: one % MINUTE > 0 and one % 1_000_000 == 0)
    assert some(whole, lambda one: one % 1_000_000 > 0)


def test_schedules_are_open_and_closed_and_away() -> None:
    schedules = strategies.schedules("Pacific/Apia", date(2011, 12, 30))
    found = some(schedules, lambda one: bool(one.travel and one.away and one.overrides))
    assert found.zone == "Pacific/Apia"


@given(st.data())
@settings(max_examples=50)
def test_event_types_can_be_added_and_what_they_offer_be_had(data: st.DataObject) -> None:
    resources = {"host-1": 1, "host-2": 1, "host-3": 1, "hall": 2}
    event_type = data.draw(strategies.event_types("talk", resources, to_us(NOON)))

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOON)) as engine:
            for name, capacity in resources.items():
                engine.add_resource(name, capacity=capacity)
            engine.add_event_type(event_type)
            offered = await engine.next_free(SlotQuery("talk", NOON), 2)
            if offered:
                held = await engine.reserve_slot("talk", data.draw(st.sampled_from(offered)).start)
                assert held.state is State.HELD

    anyio.run(main)


@given(strategies.catalogs(), st.data())
@settings(max_examples=50)
def test_catalogs_are_right_and_what_they_offer_can_be_had(
    raw: dict[str, Any], data: st.DataObject
) -> None:
    catalog = catalog_from(raw)
    assert len(catalog.event_types) == len(raw["eventTypes"])

    async def main() -> None:
        async with SlotEngine(clock=SimClock(NOON)) as engine:
            await catalog.populate(engine)
            offer = data.draw(st.sampled_from(list(catalog.event_types.values())))
            offered = await engine.next_free(
                SlotQuery(offer.rules.id, NOON, NOON + minutes(60 * 24 * 14)), 3
            )
            for slot in offered:
                try:
                    await engine.reserve_slot(offer.rules.id, slot.start)
                except (Refused, InvalidRequest):
                    assert slot != offered[0]  # one may be in the way of the next

    anyio.run(main)


@given(
    wanted=st.lists(strategies.requests(UNITS, NOON), max_size=8),
    changes=strategies.configurations(UNITS),
)
def test_requests_are_had_or_refused(
    wanted: list[Request], changes: tuple[SettingChange, ...]
) -> None:
    engine = LocalEngine(clock=SimClock(NOON))
    for name, capacity in UNITS.items():
        engine.add_resource(name, capacity=capacity)
    for request in wanted[:4]:
        with suppress(Refused):
            made = engine.reserve(request)
            assert (made.state is State.REQUESTED) == request.requested
    with suppress(Refused):
        engine.configure(changes)
    for request in wanted[4:]:
        with suppress(Refused, TooManyUnits):
            engine.reserve(request)
    engine.check_invariants()


def test_requests_and_configurations_have_all_sorts() -> None:
    requests = strategies.requests(UNITS, NOON)
    for has in (
        lambda one: len(one.claims) > 1 and one.claims[0].before != one.claims[0].after,
        lambda one: one.holder and one.tags and one.ttl,
        lambda one: one.requested and one.length > minutes(30),
    ):
        some(requests, has)  # or else it raises
    latest = NOON + minutes(15)
    some(strategies.requests(UNITS, NOON, quarters=2), lambda one: one.start == latest)
    changes = strategies.configurations(UNITS)
    some(changes, lambda batch: {type(one) for one in batch} == {Put, Retire})


def test_catalogs_have_all_sorts() -> None:
    catalogs = strategies.catalogs()

    def has(**what: object) -> None:
        some(
            catalogs,
            lambda raw: any(what.items() <= one.items() for one in raw["eventTypes"]),
        )

    has(schedulingType="collective")
    has(schedulingType="roundRobin", minimumBookingNotice=120)
    has(ownerId=2, afterEventBuffer=15)
    has(seats={"seatsPerTimeSlot": 3})
