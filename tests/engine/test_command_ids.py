"""Commands that are repeated: whatever is sent twice is done once, through every way in."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from slotengine import (
    AllOf,
    BlockingEngine,
    Claim,
    CommandId,
    CommandIds,
    EachOf,
    Engine,
    EngineClosed,
    Event,
    EventType,
    FixedWindows,
    InvalidField,
    Kind,
    LocalEngine,
    OneOf,
    Put,
    Remove,
    Request,
    Reservation,
    ResourceConfig,
    SessionExpired,
    SlotEngine,
    SlotTaken,
    State,
    UnknownReservation,
    minutes,
)
from slotengine.core.ledger.clients import IDLE, WINDOW, opened_at
from slotengine.core.time.instant import MICROSECOND, to_us
from slotengine.engine.command_ids import USED_FOR
from slotengine.testing import SimClock
from tests.engine.conftest import NOW

START = datetime(2030, 1, 7, 9, 7, 23, tzinfo=UTC)
HALF_HOUR = minutes(30)
IDLE_TIME = IDLE * MICROSECOND

pytestmark = pytest.mark.anyio


def asks(resource: str, start: datetime = START) -> Request:
    return Request(start, HALF_HOUR, (Claim(resource),))


BOTH = [asks("room"), asks("hall")]
FREE = [asks("shop"), asks("hall")]

# Calls on an engine where "1" is a hold and "2" a booking of the room, and "3" a hold of a slot
# of "talk".  Whatever can be said of a version is said.
CHANGES: dict[str, tuple[str, tuple[object, ...], dict[str, object]]] = {
    "reserve": ("reserve", ("hall", START, HALF_HOUR), {}),
    "reserve a request": ("reserve", (asks("hall"),), {}),
    "reserve all": ("reserve", (AllOf(FREE),), {}),
    "reserve each": ("reserve", (EachOf(BOTH),), {}),
    "reserve one of": ("reserve", (OneOf(BOTH),), {}),
    "adopt": ("adopt", (asks("room"),), {}),
    "reserve a slot": ("reserve_slot", ("talk", START + HALF_HOUR), {}),
    "reserve a slot of a group": ("reserve_slot", ("visit", START), {}),
    "move a slot": ("move_slot", ("3", START + HALF_HOUR), {"version": 1}),
    "extend": ("extend", ("1",), {"ttl": minutes(9), "version": 1}),
    "move": ("move", ("1", START + 3 * HALF_HOUR), {"version": 1}),
    "move by rules": ("move", ("3", START + HALF_HOUR), {"version": 1}),
    "move to a request": ("move", ("1", asks("hall")), {"version": 1}),
    "move to one of": ("move", ("1", OneOf(FREE)), {"version": 1}),
    "confirm": ("confirm", ("1",), {"version": 1}),
    "release": ("release", ("1",), {"version": 1}),
    "cancel": ("cancel", ("2",), {"version": 2}),
    "replace": ("replace", ("1", asks("hall")), {"version": 1}),
    "annotate": ("annotate", ("1",), {"tags": ["vip"], "version": 1}),
}
CASES = pytest.mark.parametrize(("verb", "args", "options"), CHANGES.values(), ids=CHANGES)


def prepare(engine: LocalEngine) -> None:
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["annex"]))
    engine.add_event_type(EventType(id="visit", length=HALF_HOUR, any_of=[["hall", "shop"]]))
    engine.reserve("room", START, HALF_HOUR)
    engine.confirm(engine.reserve("room", START + HALF_HOUR, HALF_HOUR).uid)
    engine.reserve_slot("talk", START)


def uids_of(answer: object) -> list[object]:
    several = answer if isinstance(answer, list) else [answer]
    return [one.uid if isinstance(one, Reservation) else type(one) for one in several]


async def answer_of(call: Callable[..., Any], *args: object, **options: object) -> object:
    answer = call(*args, **options)
    return await answer if inspect.isawaitable(answer) else answer


# --- Every verb, in every form -------------------------------------------------------------


@CASES
@pytest.mark.parametrize("form", ["local", "tasks"])
async def test_what_is_repeated_is_done_once(
    engine: SlotEngine, verb: str, args: tuple[object, ...], options: dict[str, object], form: str
) -> None:
    """Goal: a repeat is answered as the first call was, and does nothing.

    Method: events are counted, and everything that a repeat could have changed is compared.
    """
    prepare(engine.local)
    events: list[Event] = []
    stop = engine.observe(events.append)
    call = getattr(engine.local if form == "local" else engine, verb)
    with CommandIds(engine.now).next() as command_id:
        first = await answer_of(call, *args, **options, command_id=command_id)
        assert events
        done, before = len(events), engine.statistics()
        again = await answer_of(call, *args, **options, command_id=command_id)
    assert uids_of(again) == uids_of(first)
    if not isinstance(first, list):
        assert again == first
    assert len(events) == done
    assert engine.statistics().accepted == before.accepted
    stop()


@CASES
async def test_a_repeat_is_asked_before_anything_else(
    engine: SlotEngine, verb: str, args: tuple[object, ...], options: dict[str, object]
) -> None:
    """Whatever has become of the reservation, and of the configuration, since."""
    prepare(engine.local)
    with CommandIds(engine.now).next() as command_id:
        first: Any = await getattr(engine, verb)(*args, **options, command_id=command_id)
        uids = {one for one in uids_of(first) if isinstance(one, str)}
        for uid in {"1", "2", "3", *uids}:
            found = engine.local.get(uid)
            assert found is not None
            if found.state is State.HELD:
                engine.local.release(uid)
            elif found.state is State.CONFIRMED:
                engine.local.cancel(uid)
        gone = [Remove(Kind.EVENT_TYPE, name) for name in ("talk", "visit")]
        gone += [Remove(Kind.RESOURCE, name) for name in ("annex", "shop")]
        await engine.configure(gone)
        batch = isinstance(args[0], EachOf)
        if not batch:  # what was refused then is decided anew
            again = await getattr(engine, verb)(*args, **options, command_id=command_id)
            assert uids_of(again) == uids_of(first)
            one = again if isinstance(again, Reservation) else again[0]
            assert one.state in (State.RELEASED, State.CANCELLED)


async def test_a_configuration_is_set_once(engine: SlotEngine) -> None:
    put = Put(Kind.RESOURCE, "attic", ResourceConfig(), version=0)
    with CommandIds(engine.now).next() as command_id:
        assert len(await engine.configure([put], command_id=command_id)) == 1
        await engine.configure([Remove(Kind.RESOURCE, "attic")])
        assert await engine.configure([put], command_id=command_id) == ()
    assert engine.setting(Kind.RESOURCE, "attic") is None


async def test_busy_time_is_imported_once(engine: SlotEngine) -> None:
    """A late repeat does not take back what the source says since."""
    early, late = (START, START + HALF_HOUR), (START + HALF_HOUR, START + 2 * HALF_HOUR)
    ids = CommandIds(engine.now)
    with ids.next() as first, ids.next() as second:
        await engine.replace_busy("calendar", {"room": [early]}, command_id=first)
        await engine.replace_busy("calendar", {"room": [late]}, command_id=second)
        await engine.replace_busy("calendar", {"room": [early]}, command_id=first)
    (span,) = await engine.imported("room", NOW, START + 9 * HALF_HOUR)
    assert (span.start, span.end) == late


async def test_a_repeat_in_threads(clock: SimClock) -> None:
    with BlockingEngine(SlotEngine(clock=clock)) as engine:
        engine.add_resource("room")
        with CommandIds(engine.now).next() as command_id:
            holds = {
                engine.reserve("room", START, HALF_HOUR, command_id=command_id).uid
                for _ in range(3)
            }
            (uid,) = holds
        with CommandIds(engine.now).next() as command_id:
            for _ in range(2):
                assert engine.confirm(uid, version=1, command_id=command_id).version == 2


def test_every_verb_that_changes_a_reservation_can_be_repeated() -> None:
    said = {
        name
        for name, verb in inspect.getmembers(Engine, inspect.isfunction)
        if "command_id" in inspect.signature(verb).parameters
    }
    named = {verb for verb, _, _ in CHANGES.values()} | {"configure", "replace_busy"}
    # The protocol has `reserve` in overloads only.
    assert said | {"reserve"} == named
    # What reads, and what does the same when it is done again.
    assert {name for name in vars(Engine) if not name.startswith("_")} - named == {
        "busy", "default_ttl", "find", "forget_bookings", "get", "imported", "is_free", "next_free",
        "now", "openings", "slots", "ttl_bounds",
    }  # fmt: skip


# --- What is decided anew, and what is not ---------------------------------------------------


async def test_what_was_refused_is_decided_anew(engine: SlotEngine) -> None:
    taken = await engine.reserve("room", START, HALF_HOUR)
    with CommandIds(engine.now).next() as command_id:
        with pytest.raises(SlotTaken):
            await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
        await engine.release(taken.uid)
        hold = await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
        assert await engine.reserve("room", START, HALF_HOUR, command_id=command_id) == hold


async def test_the_refused_requests_of_a_batch_are_decided_anew(engine: SlotEngine) -> None:
    taken = await engine.reserve("room", START, HALF_HOUR)
    with CommandIds(engine.now).next() as command_id:
        refused, held = await engine.reserve(EachOf(BOTH), command_id=command_id)
        assert isinstance(refused, SlotTaken)
        await engine.release(taken.uid)
        now_held, again = await engine.reserve(EachOf(BOTH), command_id=command_id)
        assert again == held
        assert isinstance(now_held, Reservation)


async def test_a_late_repeat_is_refused(engine: SlotEngine, clock: SimClock) -> None:
    with CommandIds(engine.now).next() as command_id:
        hold = await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
        clock.set(NOW + IDLE_TIME - MICROSECOND)
        again = await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
        assert (again.uid, again.state) == (hold.uid, State.EXPIRED)
        clock.set(NOW + IDLE_TIME)
        calls: list[Callable[[], Any]] = [
            lambda: engine.reserve("room", START, HALF_HOUR, command_id=command_id),
            lambda: engine.confirm(hold.uid, if_still_free=True, command_id=command_id),
            lambda: engine.reserve_slot("talk", START, command_id=command_id),
            lambda: engine.reserve_slot("talk", START, wait=HALF_HOUR, command_id=command_id),
        ]
        for call in calls:
            with pytest.raises(SessionExpired):
                await call()
        assert engine.statistics().refused == 3  # of those that would reserve
    assert engine.statistics().held == 0


async def test_a_repeat_for_what_is_forgotten(clock: SimClock) -> None:
    async with SlotEngine(clock=clock, retention=minutes(1)) as engine:
        engine.add_resource("room")
        with CommandIds(engine.now).next() as command_id:
            hold = await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
            await engine.release(hold.uid)
            clock.set(NOW + minutes(1))
            with pytest.raises(UnknownReservation):
                await engine.reserve("room", START, HALF_HOUR, command_id=command_id)


async def test_an_id_is_for_one_command(engine: SlotEngine) -> None:
    prepare(engine.local)
    with CommandIds(engine.now).next() as command_id:
        await engine.reserve(AllOf(FREE), command_id=command_id)
        calls: list[Callable[[], Any]] = [
            lambda: engine.confirm("1", command_id=command_id),
            lambda: engine.release("1", command_id=command_id),
            lambda: engine.reserve(AllOf([*FREE, asks("annex")]), command_id=command_id),
            lambda: engine.reserve(EachOf([asks("annex")]), command_id=command_id),
            lambda: engine.configure([], command_id=command_id),
        ]
        for call in calls:
            with pytest.raises(InvalidField, match="another command") as caught:
                await call()
            assert caught.value.field == "number"


@pytest.mark.parametrize("wrong", ["x", 5, b"x" * 16, (b"x" * 16, 0, 0)])
async def test_what_is_no_id_is_refused(engine: SlotEngine, wrong: Any) -> None:
    prepare(engine.local)
    for verb, args, options in CHANGES.values():
        with pytest.raises(InvalidField) as caught:
            await getattr(engine, verb)(*args, **options, command_id=wrong)
        assert caught.value.field == "command_id"


# --- Waiting -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["span", "slot"])
async def test_a_call_that_waits_can_be_repeated(engine: SlotEngine, by: str) -> None:
    """Two connections wait for the answer to one command: both get it."""
    engine.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
    taken = await engine.reserve("room", START, HALF_HOUR)
    answers: list[Reservation] = []
    with CommandIds(engine.now).next() as command_id:

        async def call() -> None:
            if by == "slot":
                answers.append(
                    await engine.reserve_slot("talk", START, wait=minutes(4), command_id=command_id)
                )
                return
            answers.append(
                await engine.reserve(
                    "room", START, HALF_HOUR, wait=minutes(4), command_id=command_id
                )
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert engine.statistics().waiting == 1
            await engine.release(taken.uid)
        await call()
    assert [one.uid for one in answers] == [answers[0].uid] * 3
    assert engine.statistics().held == 1


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_command_waits_as_long_as_one_of_its_calls(clock: SimClock, cancelled: int) -> None:
    """A connection that breaks takes nothing from the one on which the command is repeated."""
    async with SlotEngine(clock=clock, max_waits=1) as engine:
        engine.add_resource("room")
        taken = await engine.reserve("room", START, HALF_HOUR)
        scopes = [anyio.CancelScope(), anyio.CancelScope()]
        answers: list[Reservation] = []
        with CommandIds(engine.now).next() as command_id:

            async def call(scope: anyio.CancelScope) -> None:
                with scope:
                    answers.append(
                        await engine.reserve(
                            "room", START, HALF_HOUR,
                            holder="ada", wait=minutes(4), command_id=command_id,
                        )
                    )  # fmt: skip

            async with anyio.create_task_group() as tasks:
                for scope in scopes:
                    tasks.start_soon(call, scope)
                await anyio.wait_all_tasks_blocked()
                scopes[cancelled].cancel()
                await anyio.wait_all_tasks_blocked()
                assert engine.statistics().waiting == 1
                await engine.release(taken.uid)
        assert [one.holder for one in answers] == ["ada"]
        assert engine.statistics().waiting == 0
        engine.check_invariants()


class Breaking(FixedWindows):
    """Hours that cannot be asked any more once they are broken."""

    broken = False

    def covers(self, start: int, end: int) -> bool:
        if self.broken:
            raise ZeroDivisionError
        return super().covers(start, end)


@pytest.mark.parametrize("ends", ["the wait", "the engine", "an error"])
async def test_both_calls_of_a_command_are_told_why_it_is_refused(
    clock: SimClock, ends: str
) -> None:
    engine = SlotEngine(clock=clock)
    hours = Breaking([(to_us(START), to_us(START + HALF_HOUR))])
    engine.add_resource("room", schedule=hours)
    await engine.start()
    taken = await engine.reserve("room", START, HALF_HOUR)
    errors: list[Exception] = []
    with CommandIds(engine.now).next() as command_id:

        async def call() -> None:
            with pytest.raises((SlotTaken, EngineClosed, ZeroDivisionError)) as raised:
                await engine.reserve(
                    "room", START, HALF_HOUR, wait=minutes(4), command_id=command_id
                )
            errors.append(raised.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            if ends == "the wait":
                await clock.advance(minutes(4))
            elif ends == "an error":
                hours.broken = True
                await engine.release(taken.uid)
            else:
                await engine.aclose()
    await engine.aclose()
    first, second = errors
    assert str(first) == str(second)
    assert (first is second) == isinstance(first, ZeroDivisionError)
    if isinstance(first, SlotTaken):
        assert isinstance(second, SlotTaken)
        assert first.in_the_way == second.in_the_way != ()


@pytest.mark.parametrize("repeatable", [True, False])
async def test_what_a_cancelled_call_was_given_is_kept_for_a_repeat(
    engine: SlotEngine, repeatable: bool
) -> None:
    taken = await engine.reserve("room", START, HALF_HOUR)
    with CommandIds(engine.now).next() as command_id:

        async def call() -> None:
            await engine.reserve(
                "room", START, HALF_HOUR,
                wait=minutes(4), command_id=command_id if repeatable else None,
            )  # fmt: skip

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            # In the very step in which it is answered, before it can run.
            engine.sleeping.on_answer = lambda ticket, answer: tasks.cancel_scope.cancel()
            await engine.release(taken.uid)
            await anyio.sleep_forever()
        engine.sleeping.on_answer = None
        assert engine.statistics().held == repeatable
        if repeatable:
            hold = await engine.reserve("room", START, HALF_HOUR, command_id=command_id)
            assert hold.state is State.HELD
            assert engine.statistics().held == 1


# --- Who gives the ids -----------------------------------------------------------------------


def drawn(count: int) -> bytes:
    return b"r" * count


def test_commands_are_numbered_and_the_lowest_that_is_awaited_is_told(clock: SimClock) -> None:
    ids = CommandIds(lambda: clock.moment, random=drawn)
    with ids.next() as first, ids.next() as second:
        assert first.session == second.session
        assert opened_at(first.session) == to_us(NOW)
        assert first.session.endswith(b"r" * 8)
        assert (first[1:], second[1:]) == ((0, 0), (1, 0))
        with ids.next() as third:
            assert third[1:] == (2, 0)
    with ids.next() as fourth:
        assert fourth[1:] == (3, 3)
    fails = LocalEngine(clock=clock)
    with pytest.raises(UnknownReservation), ids.next() as fifth:
        fails.confirm("uid", command_id=fifth)
    assert fifth[1:] == (4, 4)
    with ids.next() as sixth:
        assert sixth[1:] == (5, 5)


def test_two_clients_never_have_the_same_session() -> None:
    clients = [CommandIds(lambda: NOW) for _ in range(2)]
    with clients[0].next() as one, clients[1].next() as other:
        assert one.session != other.session


@pytest.mark.parametrize("by", [timedelta(microseconds=USED_FOR), -MICROSECOND])
def test_after_a_while_another_session_is_opened(clock: SimClock, by: timedelta) -> None:
    ids = CommandIds(lambda: clock.moment)
    with ids.next() as first:
        clock.set(NOW + timedelta(microseconds=USED_FOR - 1))
        with ids.next() as second:
            assert second.session == first.session
        clock.set(NOW + by)
        with ids.next() as third:
            assert third.session != first.session
            assert opened_at(third.session) == to_us(clock.moment)
            assert third[1:] == (0, 0)
    with ids.next() as fourth:
        assert fourth == CommandId(third.session, 1, 1)


def test_another_session_is_opened_when_one_command_takes_too_long() -> None:
    ids = CommandIds(lambda: NOW)
    with ids.next() as slow:
        for number in range(1, WINDOW):
            with ids.next() as command_id:
                assert command_id == CommandId(slow.session, number, 0)
        with ids.next() as other:
            assert other.session != slow.session


def test_a_forked_child_gives_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = CommandIds(lambda: NOW)
    with ids.next() as first:
        pass
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    with ids.next() as second:
        assert second.session != first.session


def test_threads_share_one() -> None:
    ids, given = CommandIds(lambda: NOW), []

    def work() -> None:
        for _ in range(200):
            with ids.next() as command_id:
                given.append(command_id)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(one.session, one.number) for one in given}) == 800


@pytest.mark.parametrize("said", [{"now": NOW}, {"now": lambda: NOW, "random": b"x"}])
def test_what_is_no_function_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match="must be a function"):
        CommandIds(**said)
