"""What callers give and get: immutable, comparable, and the same after a journey."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from slotengine import (
    ALWAYS_OPEN,
    BusySpan,
    Claim,
    Event,
    InvalidField,
    Lagged,
    Policy,
    Request,
    Reservation,
    Seats,
    SlotEngine,
    State,
    Statistics,
    Verb,
    minutes,
)
from slotengine.core.ledger.keys import digest
from slotengine.engine.events import Position
from slotengine.engine.values import asked_by

START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)

# Every way to make another one of a value.
JOURNEYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "old pickle": lambda value: pickle.loads(pickle.dumps(value, 2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


async def reservations(engine: SlotEngine) -> list[Reservation]:
    """Return one reservation of each kind."""
    simple = await engine.reserve("room", START, HALF_HOUR, holder="me", event_type="chat")
    booking = await engine.confirm(simple.uid)
    claims = (Claim("annex", before=minutes(5)), Claim("hall", 2, after=minutes(10)))
    several = await engine.reserve(Request(START, HALF_HOUR, claims))
    yoga = Request(START, HALF_HOUR, (Claim("shop"),), event_type="yoga", seats=Seats(9, 2))
    seated = await engine.reserve(yoga)
    return [simple, booking, several, seated, await engine.release(seated.uid)]


VALUES = [
    Claim("room", 2, minutes(5), minutes(10)),
    Request(START, HALF_HOUR, (Claim("room"),), "me", minutes(1), "k", "yoga", Seats(9, 2)),
    BusySpan(START, START + HALF_HOUR, 2),
    Seats(3),
    Lagged(7),
    Statistics(1, 2, 3, 4, 5, 6, 7, 8, 9, timedelta(seconds=10), 11, 12, 13),
    State.HELD,
    Verb.REINSTATE,
    Policy.WEIGHTED,
]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_the_same_after_a_journey(journey: Callable[[Any], Any], value: object) -> None:
    arrived = journey(value)
    assert arrived == value
    assert hash(arrived) == hash(value)
    assert repr(arrived) == repr(value)
    assert type(arrived) is type(value)


@pytest.mark.anyio
@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
async def test_a_reservation_is_the_same_after_a_journey(
    engine: SlotEngine, journey: Callable[[Any], Any]
) -> None:
    for one in await reservations(engine):
        arrived = journey(one)
        assert arrived == one
        assert hash(arrived) == hash(one)
        assert repr(arrived) == repr(one)
        event = Event(Verb.RESERVE, START, one, 7, Position(bytes(8), 0, 7))
        assert journey(event) == event


@pytest.mark.anyio
async def test_reservations_compare_by_all_they_say(engine: SlotEngine) -> None:
    simple, booking, several, seated, released = await reservations(engine)
    everyone = [simple, booking, several, seated, released]
    assert len(set(everyone)) == 5
    assert all((one == other) == (one is other) for one in everyone for other in everyone)
    assert simple.uid == booking.uid
    assert simple != simple.uid
    assert await engine.get(booking.uid) == booking


PROPERTIES = [name for name in vars(Reservation) if not name.startswith("_")]


@pytest.mark.anyio
@pytest.mark.parametrize("name", PROPERTIES)
async def test_a_reservation_cannot_be_changed(engine: SlotEngine, name: str) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(AttributeError):
        setattr(hold, name, None)
    with pytest.raises(AttributeError):
        delattr(hold, name)
    assert not hasattr(hold, "__dict__")
    assert getattr(Reservation, name).__doc__


@pytest.mark.anyio
async def test_a_reservation_stays_as_it_was(engine: SlotEngine) -> None:
    hold = await engine.reserve("room", START, HALF_HOUR)
    before = repr(hold), pickle.dumps(hold)
    await engine.extend(hold.uid, ttl=minutes(9))
    await engine.move(hold.uid, START + HALF_HOUR, resource="annex")
    await engine.confirm(hold.uid)
    await engine.cancel(hold.uid)
    assert (repr(hold), pickle.dumps(hold)) == before


@pytest.mark.parametrize(
    "value", [one for one in VALUES if hasattr(one, "__dataclass_fields__")], ids=repr
)
def test_a_value_cannot_be_changed(value: Any) -> None:
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)
    assert not hasattr(value, "__dict__")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "claims",
    [
        (Claim("room"),),
        (Claim("room", before=minutes(5)),),
        (Claim("hall", 3, minutes(5), timedelta(microseconds=1)),),
        (Claim("hall", 2), Claim("room", after=minutes(10)), Claim("annex")),
    ],
)
async def test_claims_come_back_as_they_were_given(
    engine: SlotEngine, claims: tuple[Claim, ...]
) -> None:
    hold = await engine.reserve(Request(START, HALF_HOUR, claims))
    assert hold.claims == claims
    assert hold.resources == tuple(claim.resource for claim in claims)
    assert (hold.start, hold.end, hold.length) == (START, START + HALF_HOUR, HALF_HOUR)
    again = Request(hold.start, hold.length, hold.claims)
    await engine.release(hold.uid)
    assert (await engine.reserve(again)).claims == claims


@pytest.mark.anyio
async def test_what_a_reservation_says(engine: SlotEngine) -> None:
    simple, booking, several, seated, released = await reservations(engine)
    now = engine.now()
    assert (simple.state, simple.version, simple.holder) == (State.HELD, 1, "me")
    assert (simple.event_type, simple.seats, simple.created) == ("chat", None, now)
    assert (simple.until, booking.until, released.until) == (now + minutes(5), None, now)
    assert seated.seats == Seats(9, 2)
    assert several.holder is None


@pytest.mark.anyio
async def test_how_a_reservation_shows(engine: SlotEngine) -> None:
    simple, booking, several, _, _ = await reservations(engine)
    assert repr(simple) == (
        "<Reservation 1 v1: room 2030-01-07T09:00:00+00:00 to 2030-01-07T09:30:00+00:00, "
        "held until 2030-01-07T08:05:00+00:00>"
    )
    assert repr(booking).endswith("v2: room 2030-01-07T09:00:00+00:00 to "
                                  "2030-01-07T09:30:00+00:00, confirmed>")  # fmt: skip
    assert "annex, hall" in repr(several)


def test_a_request_can_be_varied() -> None:
    request = Request(START, HALF_HOUR, (Claim("room"),))
    later = replace(request, start=START + HALF_HOUR)
    assert later != request
    assert replace(later, start=START) == request
    assert len({request, later, replace(later, start=START)}) == 2


@pytest.mark.parametrize(("count", "length"), [(1, 60), (0.5, 30), (-2, -120), (0, 0)])
def test_minutes(count: float, length: int) -> None:
    assert minutes(count) == timedelta(seconds=length)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(datetime(2030, 1, 7), HALF_HOUR, ()), "start"),  # noqa: DTZ001
        (Request(START, 30, ()), "length"),  # type: ignore[arg-type]
        (Request(START, HALF_HOUR, (Claim("room", before=5),)), "before"),  # type: ignore[arg-type]
        (Request(START, HALF_HOUR, (Claim("room", after="5"),)), "after"),  # type: ignore[arg-type]
        (Request(START, HALF_HOUR, (), ttl=300), "ttl"),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_says_which_field_is_wrong(request_: Request, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        request_.proposal(1)
    assert caught.value.field == field


@pytest.mark.parametrize("claims", ["room", ("room",), (None,), (("room", 1),)])
def test_claims_must_be_claims(claims: tuple[Claim, ...]) -> None:
    request = Request(datetime(2030, 1, 7, 9, tzinfo=UTC), minutes(30), claims)
    with pytest.raises(InvalidField, match="must be a tuple of Claims"):
        request.proposal(1)


def test_the_digest_of_a_request_never_changes() -> None:
    """Also if requests can say more: what is not said is no part of it."""
    start = datetime(2030, 1, 7, 9, 0, 30, tzinfo=UTC)
    plain = Request(start, minutes(30), (Claim("room"),))
    full = Request(
        start.astimezone(ZoneInfo("Asia/Kolkata")),
        minutes(30),
        (Claim("room", 2, before=minutes(5)), Claim("desk")),
        "caffè",
        minutes(7),
        event_type="class",
        seats=Seats(3, 2),
        schedule=ALWAYS_OPEN,
        past=True,
    )
    assert [digest("reserve", **asked_by(one)).hex() for one in (plain, full)] == [
        "019974ad50b0a09bcdbae6ad2fd54bc57f",
        "01266b54ec3945198ec220e404df11cacf",
    ]
    explicit = Request(start, minutes(30), (Claim("room", units=1),), ttl=None, past=False)
    assert asked_by(explicit) == asked_by(plain)
    assert set(asked_by(plain)) == {"start", "length", "claims"}
