"""What each error of the engine is over HTTP, and how a refusal is worded."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta
from typing import Final

import pytest

from slotengine import SlotEngine, errors, minutes
from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.server.refusals import refusal_error
from slotengine.calcom.server.responses import STATUS_BY_ERROR, status_of
from slotengine.calcom.wire import ERRORS
from slotengine.errors import (
    AlreadyOver,
    CursorExpired,
    EngineClosed,
    HoldExpired,
    InTheWay,
    InvalidRequest,
    KeySpent,
    LifeExceeded,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    Obstruction,
    OutsideHours,
    QuotaExceeded,
    Refused,
    Retired,
    SessionExpired,
    SettingInUse,
    SlotAwaited,
    SlotError,
    SlotTaken,
    StaleSetting,
    StaleVersion,
    StillTaken,
    TooManyWaiting,
    TooSoon,
    UnknownReservation,
    WrongState,
)
from slotengine.testing import SimClock
from tests.calcom.server.api import NOW, Start

END: Final = NOW + minutes(30)
HELD: Final = Obstruction(NOW, END, (InTheWay(NOW, END, 1, booked=False),), END)
BOOKED: Final = Obstruction(NOW, END, (InTheWay(NOW, END, 1, booked=True),), None)

RESERVED: Final = (
    "This time slot is already reserved by another user. Please choose a different time."
)
CLOSED: Final = "This time slot is outside working hours. Please choose a different time."
NO_HOSTS: Final = (
    "Can't reserve the slot because the round robin event type has no available hosts left "
    "at this time slot."
)
REFUSALS: Final[list[tuple[Refused, int, str]]] = [
    (SlotTaken("user:1", HELD), 422, RESERVED),
    (SlotTaken("user:1", BOOKED), 422, "Can't reserve a slot if the event is already booked."),
    (SlotAwaited("user:1", HELD), 422, RESERVED),
    (SlotAwaited("user:1", BOOKED), 422, RESERVED),
    (NoSeatsLeft("user:1", HELD), 422, "Booking with id=1 at as sent has no more seats left."),
    (
        LimitReached("limit:day count:1", BOOKED),
        422,
        "The booking limits of this event type are reached. Please choose a different time.",
    ),
    (OutsideHours("user:1", NOW, END), 422, CLOSED),
    (TooSoon("1", END), 422, "This time slot is too soon. Please choose a later time."),
    (
        NotBookable("1", NOW, END),
        422,
        "This time slot is outside the dates that can be booked. Please choose a different time.",
    ),
    (NoneFree((SlotTaken("user:1", HELD), OutsideHours("user:2", NOW, END))), 422, NO_HOSTS),
    (NoneFree((OutsideHours("user:2", NOW, END),)), 422, CLOSED),
    (
        QuotaExceeded("time", minutes(30), minutes(30), END),
        422,
        "No more than 30 minutes may be held at once, all slots together. "
        "Try again at 2050-09-05T06:30:00.000Z.",
    ),
    (
        QuotaExceeded("time", minutes(7.5), minutes(30), None),
        422,
        "No more than 7.5 minutes may be held at once, all slots together.",
    ),
    (
        QuotaExceeded("holds", 20, 21, END + timedelta(seconds=7, microseconds=1)),
        422,
        "No more than 20 slots may be held at once. Try again at 2050-09-05T06:30:07.001Z.",
    ),
    (QuotaExceeded("holds", 1, 1, None), 422, "No more than 1 slot may be held at once."),
    (
        QuotaExceeded("time", minutes(1), minutes(1), None),
        422,
        "No more than 1 minute may be held at once, all slots together.",
    ),
    (
        QuotaExceeded("time", minutes(1_000_000), minutes(1), None),
        422,
        "No more than 1000000 minutes may be held at once, all slots together.",
    ),
    (
        QuotaExceeded("lapses", 3, 3, END),
        422,
        "Too many holds in a row expired unused. Try again at 2050-09-05T06:30:00.000Z.",
    ),
    (
        LifeExceeded("some-uid", END),
        422,
        "This slot may be held until 2050-09-05T06:30:00.000Z at the latest. "
        "Please release it and reserve anew.",
    ),
    (Retired("resource", "user:1"), 422, "This event type can no longer be booked with its host."),
    # None of these is asked of an event type.
    (
        StaleSetting("resource", "user:1", 1, 2),
        422,
        "resource 'user:1' is at version 2, not 1; read it again before you change it",
    ),
    (
        SettingInUse("schedule", "office", (("resource", "user:1"),), 1),
        422,
        "schedule 'office' is used by resource 'user:1'; change that first",
    ),
    (
        StillTaken("resource", "user:1", 1, 2, (InTheWay(NOW, END, 2, False),), 1),
        422,
        "resource 'user:1' would be left with 1, but up to 2 are taken, by a hold among others, "
        f"in 1 span(s) from {NOW.isoformat()} to {END.isoformat()}",
    ),
    (
        UnknownReservation("a"),
        404,
        "no reservation has the uid 'a'; it never existed, or ended long ago",
    ),
    (WrongState("a", "confirmed", "move"), 404, "cannot move reservation a: it is confirmed"),
    (HoldExpired("a", "expired", "move"), 404, "cannot move reservation a: it is expired"),
    (
        StaleVersion("a", 1, 2),
        422,
        "reservation a is at version 2, not 1; read it again before you change it",
    ),
    (
        KeySpent("k", "a"),
        422,
        "the key 'k' was used for reservation a, which was forgotten since; "
        "use a new key to reserve anew",
    ),
    (
        SessionExpired(b"\1\2"),
        422,
        "the client session 0102 has ended; read what came of its last commands, "
        "then open another session",
    ),
    (
        CursorExpired(),
        422,
        "the events after this cursor are not there any more: subscribe without one, "
        "list the reservations, then follow",
    ),
    (AlreadyOver(END), 422, "This time slot is too soon. Please choose a later time."),
    (TooManyWaiting(7), 503, "the waitlist has reached its maximum of 7; try again later"),
]


KINDS: Final = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, SlotError) and kind is not SlotError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_status_of_its_own(kind: type[SlotError]) -> None:
    """An error that is new must be thought of: its parent's status may not be right for it."""
    assert STATUS_BY_ERROR[kind] in ERRORS


def test_what_can_never_be_had_is_400() -> None:
    for kind in KINDS:
        assert (STATUS_BY_ERROR[kind] == 400) == issubclass(kind, InvalidRequest)


def test_every_refusal_is_worded() -> None:
    worded = {type(refusal) for refusal, _, _ in REFUSALS}
    assert worded == {kind for kind in KINDS if issubclass(kind, Refused)} - {Refused}


@pytest.mark.parametrize(
    ("refusal", "status", "message"), REFUSALS, ids=[repr(one[0])[:30] for one in REFUSALS]
)
def test_how_it_is_worded(catalog: Catalog, refusal: Refused, status: int, message: str) -> None:
    error = refusal_error(refusal, catalog.event_types[1], "as sent")
    assert (error.status, error.message) == (status, message)


def test_an_error_of_the_application_s_own_has_its_parent_s_status() -> None:
    class Vetoed(SlotAwaited):
        pass

    assert status_of(Vetoed("user:1", HELD)) == 422
    assert status_of(EngineClosed()) == 503


# --- What only a lent engine can refuse -----------------------------------------------------


@pytest.mark.anyio
async def test_others_wait_for_the_slot(start: Start) -> None:
    """Who stands in line is first, also when the slot is free for the moment."""
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock) as engine, asyncio.TaskGroup() as tasks:
        api = await start(clock, engine=engine)
        slot = NOW.replace(hour=10)
        first = await engine.reserve_slot("1", slot, ttl=minutes(1))
        waiting = tasks.create_task(engine.reserve_slot("1", slot, wait=minutes(5)))
        await asyncio.sleep(0)
        assert engine.statistics().waiting == 1
        engine.local.release(first.uid)
        answer = await api.post(slotStart="2050-09-05T10:15:00Z")
        assert (answer.status, answer.message) == (422, RESERVED)
        assert "Retry-After" not in answer.headers
        assert (await waiting).start == slot


@pytest.mark.anyio
async def test_the_holder_has_as_much_as_may_be(start: Start) -> None:
    clock = SimClock(NOW)
    async with SlotEngine(clock=clock, max_held=timedelta(minutes=45)) as engine:
        api = await start(clock, engine=engine)
        held = await engine.reserve_slot("1", NOW.replace(hour=10), holder="somebody")
        assert (await api.patch(held.uid, slotDuration=45)).status == 200
        answer = await api.patch(held.uid, eventTypeId=2)
        assert answer.status == 422
        assert answer.message == (
            "No more than 45 minutes may be held at once, all slots together."
        )
        assert "Retry-After" not in answer.headers
        found = await api.get(held.uid)
        assert (found.data["eventTypeId"], found.data["slotDuration"]) == (1, 45)
        # What is held over the wire has a holder, too, who may have as much.
        assert (await api.post(slotStart="2050-09-05T12:00:00Z")).status == 201
        answer = await api.post(slotStart="2050-09-05T14:00:00Z")
        assert answer.message.endswith("Try again at 2050-09-05T06:05:00.000Z.")
        facts = {"name": "time", "limit": 45, "used": 30, "retryAt": "2050-09-05T06:05:00.000Z"}
        assert answer.body["error"]["details"]["quota"] == facts
