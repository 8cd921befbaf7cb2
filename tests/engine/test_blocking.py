"""The blocking facade: the same verbs from any thread, and the same answers and refusals."""

from __future__ import annotations

import inspect
import json
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import anyio
import pytest

from slotengine import (
    AllOf,
    BlockingEngine,
    BusySpan,
    Claim,
    EachOf,
    EngineClosed,
    EngineMisused,
    Event,
    EventType,
    FixedWindows,
    InTheWay,
    InvalidField,
    Lagged,
    NoneFree,
    NoSeatsLeft,
    OneOf,
    OutsideHours,
    Policy,
    Refused,
    Request,
    Reservation,
    Seats,
    SlotEngine,
    SlotQuery,
    SlotTaken,
    StaleVersion,
    State,
    UnknownResource,
    Verb,
    minutes,
)
from slotengine.core.time.instant import to_us
from tests.standing import standing

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

NOW = datetime(2030, 1, 7, 8, tzinfo=UTC)
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
HALF_HOUR = minutes(30)
DAY = timedelta(days=1)
PATIENCE_S = 30
"""No test takes as long, unless something hangs."""


class StillClock:
    """A clock that any thread may set, and that wakes nobody: what lapsed is found on use."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> int:
        return to_us(self.moment)

    async def wait(self, wake: anyio.Event, until: int) -> None:
        await wake.wait()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def engine(backend: str, clock: StillClock) -> Iterator[BlockingEngine]:
    with BlockingEngine(SlotEngine(clock=clock), backend=backend) as engine:
        engine.add_resource("room")
        engine.add_resource("annex")
        engine.add_resource("hall", capacity=3)
        yield engine


def asks(resource: str, **more: Any) -> Request:
    return Request(START, HALF_HOUR, (Claim(resource),), **more)


# --- The same verbs ----------------------------------------------------------------------

VERBS = [
    name
    for name, member in inspect.getmembers(SlotEngine, inspect.iscoroutinefunction)
    if not name.startswith("_") and name not in {"start", "aclose"}
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_with_the_same_parameters(verb: str) -> None:
    blocking = getattr(BlockingEngine, verb)
    assert not inspect.iscoroutinefunction(blocking)
    parameters = inspect.signature(blocking).parameters
    assert parameters == inspect.signature(getattr(SlotEngine, verb)).parameters
    assert blocking.__doc__


def test_event_types(backend: str, clock: StillClock) -> None:
    blocking = BlockingEngine(SlotEngine(clock=clock), backend=backend)
    blocking.add_resource("room")
    blocking.add_event_type(EventType(id="talk", length=HALF_HOUR, all_of=["room"]))
    with blocking as engine:
        engine.add_event_type(EventType(id="visit", length=HALF_HOUR, all_of=["room"]))
        hold = engine.reserve_slot("talk", START, ttl=minutes(1))
        assert engine.next_free(SlotQuery("visit", START))[0].start == START + HALF_HOUR
        assert engine.slots(SlotQuery("talk", START, START + HALF_HOUR)) == []
        assert engine.move_slot(hold.uid, START + HALF_HOUR).start == START + HALF_HOUR
        engine.replace_busy("calendar", {"room": [(START, START + HALF_HOUR)]})
        assert len(engine.imported("room", START, START + HALF_HOUR)) == 1
        with pytest.raises(SlotTaken) as caught:
            engine.reserve_slot("visit", START)
        assert caught.value.retry_at is None  # found where the engine is, read here


def test_the_life_of_a_reservation(engine: BlockingEngine, clock: StillClock) -> None:
    hold = engine.reserve("room", START, HALF_HOUR, holder="me", ttl=minutes(1))
    assert engine.now() == NOW
    assert engine.get(hold.uid) == hold
    assert hold.until == NOW + minutes(1)
    assert engine.extend(hold.uid).until == NOW + minutes(5)
    assert engine.move(hold.uid, START + HALF_HOUR).start == START + HALF_HOUR
    assert engine.move(hold.uid, asks("annex")).resources == ("annex",)
    assert engine.move(hold.uid, OneOf([asks("room")])).resources == ("room",)
    assert engine.confirm(hold.uid).state is State.CONFIRMED
    assert engine.cancel(hold.uid).state is State.CANCELLED
    other = engine.reserve(asks("hall"))
    assert engine.release(other.uid).state is State.RELEASED
    third = engine.reserve(OneOf([asks("room"), asks("annex")], policy=Policy.LEAST_LOADED))
    clock.moment = NOW + minutes(5)
    lapsed = engine.get(third.uid)
    assert lapsed is not None
    assert lapsed.state is State.EXPIRED
    assert engine.confirm(third.uid, if_still_free=True).state is State.CONFIRMED


def test_batches_and_readings(engine: BlockingEngine) -> None:
    both = engine.reserve(AllOf([asks("room"), asks("annex")]))
    assert [one.resources for one in both] == [("room",), ("annex",)]
    answers = engine.reserve(EachOf([asks("hall"), asks("room")]))
    assert isinstance(answers[0], Reservation)
    assert isinstance(answers[1], SlotTaken)
    assert not engine.is_free(asks("room"))
    assert engine.busy("room", NOW, NOW + DAY) == [BusySpan(START, START + HALF_HOUR, 1)]
    assert engine.find(standing("room", NOW, NOW + DAY)).reservations == [both[0]]
    statistics = engine.statistics()
    assert (statistics.held, statistics.refused, statistics.resources) == (3, 1, 3)


def test_what_is_added_is_added_where_the_engine_is(clock: StillClock) -> None:
    """Goal: no other thread touches the ledger.  On the backend that is the default one."""
    added: list[tuple[str, int]] = []

    class Watched(SlotEngine):
        def add_resource(self, id: str, **more: Any) -> None:
            added.append((id, threading.get_ident()))
            super().add_resource(id, **more)

        def add_event_type(self, event_type: EventType) -> None:
            added.append((event_type.id, threading.get_ident()))
            super().add_event_type(event_type)

    with BlockingEngine(Watched(clock=clock)) as engine:
        engine.add_resource("shop", schedule=FixedWindows([(to_us(NOW), to_us(START))]))
        engine.add_event_type(EventType(id="visit", length=HALF_HOUR, all_of=["shop"]))
        with pytest.raises(OutsideHours):
            engine.reserve("shop", START, HALF_HOUR)
    assert [name for name, _ in added] == ["shop", "visit"]
    assert threading.get_ident() not in {thread for _, thread in added}


# --- Many threads --------------------------------------------------------------------------


def test_one_of_a_thousand_calls_from_twenty_threads_wins(engine: BlockingEngine) -> None:
    def call(number: int) -> Reservation | Refused:
        try:
            return engine.reserve("room", START, HALF_HOUR, holder=str(number))
        except Refused as refusal:
            return refusal

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(call, range(1_000), timeout=PATIENCE_S))
    winners = [answer for answer in answers if isinstance(answer, Reservation)]
    assert len(winners) == 1
    assert engine.find(standing("room", NOW, NOW + DAY)).reservations == winners
    assert engine.statistics().refused == 999


def test_threads_never_oversell(engine: BlockingEngine) -> None:
    def life(number: int) -> None:
        try:
            start = START + minutes(number % 10 * 15)
            hold = engine.reserve("hall", start, HALF_HOUR, units=1 + number % 2)
            verb = (engine.confirm, engine.release, engine.extend)[number % 3]
            verb(hold.uid)
        except SlotTaken:
            pass
        assert all(span.units <= 3 for span in engine.busy("hall", NOW, NOW + DAY))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(life, range(300), timeout=PATIENCE_S))
    assert engine.statistics().refused
    engine.engine.ledger.check_invariants()


# --- Refusals, read in another thread --------------------------------------------------------


def test_a_refusal_carries_its_details_out_of_the_engines_thread(
    engine: BlockingEngine, clock: StillClock
) -> None:
    """Goal: what a refusal says is as of the refusal, and finding it touches no ledger later.

    Method: everything in the way is gone before the details are read.
    """
    hold = engine.reserve("room", START, HALF_HOUR)
    in_the_way = (InTheWay(START, START + HALF_HOUR, 1, booked=False),)
    refusals: list[Refused] = []
    attempts: list[Callable[[], object]] = [
        lambda: engine.reserve("room", START, HALF_HOUR),
        lambda: engine.reserve(asks("room")),
        lambda: engine.reserve(AllOf([asks("hall"), asks("room")])),
    ]
    for attempt in attempts:
        with pytest.raises(SlotTaken) as taken:
            attempt()
        refusals.append(taken.value)
    other = engine.reserve("annex", START, HALF_HOUR)
    with pytest.raises(SlotTaken) as taken:
        engine.move(other.uid, START, resource="room")
    refusals.append(taken.value)
    with pytest.raises(NoneFree) as none_free:
        engine.reserve(OneOf([asks("room")]))
    refusals += none_free.value.refusals
    refusals += [one for one in engine.reserve(EachOf([asks("room")])) if isinstance(one, Refused)]
    engine.release(hold.uid)
    assert len(refusals) == 6
    for refusal in refusals:
        assert isinstance(refusal, SlotTaken)
        assert (refusal.in_the_way, refusal.retry_at) == (in_the_way, hold.until)
        assert pickle.loads(pickle.dumps(refusal)).obstruction == refusal.obstruction


def test_a_batch_tells_which_of_its_requests_failed(engine: BlockingEngine) -> None:
    engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(SlotTaken) as taken:
        engine.reserve(AllOf([asks("annex"), asks("room")]))
    assert (taken.value.index, taken.value.resource) == (1, "room")


def test_seats_that_are_taken_are_told_too(engine: BlockingEngine) -> None:
    yoga = asks("room", event_type="yoga", seats=Seats(1))
    hold = engine.reserve(yoga)
    with pytest.raises(NoSeatsLeft) as caught:
        engine.reserve(yoga)
    engine.release(hold.uid)
    assert caught.value.retry_at == hold.until


def test_other_errors_keep_their_fields(engine: BlockingEngine) -> None:
    with pytest.raises(UnknownResource) as unknown:
        engine.reserve("attic", START, HALF_HOUR)
    assert unknown.value.resource == "attic"
    hold = engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(StaleVersion) as stale:
        engine.confirm(hold.uid, version=9)
    assert (stale.value.expected, stale.value.actual) == (9, 1)
    with pytest.raises(InvalidField) as invalid:
        engine.busy("room", START, START)
    assert invalid.value.field == "end"


# --- Events ----------------------------------------------------------------------------------


def test_a_thread_can_follow_the_changes(engine: BlockingEngine) -> None:
    with engine.subscribe() as events:
        hold = engine.reserve("room", START, HALF_HOUR)
        first = next(events)
        assert isinstance(first, Event)
        assert (first.verb, first.reservation) == (Verb.RESERVE, hold)
        reader = ThreadPoolExecutor(1)
        waiting = reader.submit(next, events)
        engine.confirm(hold.uid)
        second = waiting.result(PATIENCE_S)
        assert isinstance(second, Event)
        assert second.verb is Verb.CONFIRM
        reader.shutdown()
        assert engine.statistics().subscribers == 1
    assert engine.statistics().subscribers == 0
    assert list(events) == []


def test_a_thread_that_lags_is_told(engine: BlockingEngine) -> None:
    with engine.subscribe(buffer=2) as events:
        for day in range(5):
            engine.reserve("room", START + day * DAY, HALF_HOUR)
        assert next(events) == Lagged(3)
    assert len(list(events)) == 2
    with pytest.raises(InvalidField), engine.subscribe(buffer=0):
        raise AssertionError("unreachable")


def follow(engine: BlockingEngine, ready: threading.Event) -> int:
    """Return how many events there were until the stream ended."""
    with engine.subscribe() as events:
        ready.set()
        return sum(1 for _ in events)


def test_leaving_the_engine_ends_the_iterator_of_a_waiting_thread(backend: str) -> None:
    ready = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        with BlockingEngine(backend=backend) as engine:
            count = threads.submit(follow, engine, ready)
            assert ready.wait(PATIENCE_S)
        assert count.result(PATIENCE_S) == 0


def test_leaving_the_engine_ends_a_stream_that_is_still_open(backend: str) -> None:
    """As a thread finds it that was slower than the one that left the engine."""
    with ExitStack() as stack:
        with BlockingEngine(backend=backend) as engine:
            engine.add_resource("room")
            events = stack.enter_context(engine.subscribe())
            engine.reserve("room", START, HALF_HOUR)
        assert len(list(events)) <= 1  # what was buffered, or nothing, but no error


def test_a_stream_is_read_by_one_thread(engine: BlockingEngine) -> None:
    """Whichever of two comes second is told so; the first goes on."""
    with ThreadPoolExecutor(2) as threads, engine.subscribe() as events:
        readers = [threads.submit(next, events) for _ in range(2)]
        (second,), (first,) = wait(readers, PATIENCE_S, FIRST_COMPLETED)
        with pytest.raises(EngineMisused, match="another task waits for this stream"):
            second.result()
        engine.reserve("room", START, HALF_HOUR)
        assert isinstance(first.result(PATIENCE_S), Event)


# --- Entering and leaving --------------------------------------------------------------------


def test_before_entering_and_after_leaving(backend: str) -> None:
    engine = BlockingEngine(backend=backend)
    engine.add_resource("before")
    for attempt in range(2):
        if attempt == 1:
            with engine as same:
                assert same is engine
                engine.reserve("before", START, HALF_HOUR)
                engine.add_resource("during", capacity=2)
                engine.reserve("during", START, HALF_HOUR, units=2)
                with pytest.raises(InvalidField):
                    engine.add_resource("during")
        for call in (
            lambda: engine.reserve("before", START, HALF_HOUR),
            lambda: engine.get("1"),
            engine.now,
            engine.statistics,
        ):
            with pytest.raises(EngineClosed):
                call()
        with pytest.raises(EngineClosed), engine.subscribe():
            raise AssertionError("unreachable")
    engine.add_resource("after")


def test_it_is_entered_once(backend: str) -> None:
    engine = BlockingEngine(backend=backend)
    with engine:
        with pytest.raises(EngineClosed), engine:
            raise AssertionError("unreachable")
        engine.add_resource("room")
        assert engine.reserve("room", START, HALF_HOUR).uid  # it runs all the same
    with pytest.raises(EngineClosed), engine:
        raise AssertionError("unreachable")


def test_what_the_body_raises_comes_out_as_it_is(backend: str) -> None:
    class Oops(Exception):
        pass

    oops = Oops()
    with pytest.raises(Oops) as caught, BlockingEngine(backend=backend):
        raise oops
    assert caught.value is oops


def test_a_thread_that_comes_too_late_is_told_so(backend: str) -> None:
    """Goal: whoever calls while another thread leaves the engine is served or told, no more.

    Method: threads call in a loop until the engine is left under them.
    """
    ends: list[BaseException] = []
    started = threading.Barrier(5)

    def caller(engine: BlockingEngine) -> None:
        started.wait(PATIENCE_S)
        try:
            for _ in range(1_000_000):
                engine.get("1")
        except BaseException as end:  # whatever it is: that is the question
            ends.append(end)

    with BlockingEngine(backend=backend) as engine:
        threads = [threading.Thread(target=caller, args=(engine,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait(PATIENCE_S)
        engine.get("1")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [type(end) for end in ends] == [EngineClosed] * 4


def test_a_call_that_the_end_overtakes_is_told_so(backend: str) -> None:
    """Left by an error, the engine cancels what is under way; later calls find no portal."""
    ends: list[BaseException] = []
    entered = threading.Event()

    async def linger() -> None:
        entered.set()
        await anyio.sleep_forever()

    def call(engine: BlockingEngine) -> None:
        try:
            engine.loop_thread.call(linger)
        except EngineClosed as closed:
            ends.append(closed)

    with pytest.raises(ZeroDivisionError), BlockingEngine(backend=backend) as engine:  # noqa: PT012
        portal = engine.loop_thread.portal
        thread = threading.Thread(target=call, args=(engine,))
        thread.start()
        assert entered.wait(PATIENCE_S)
        raise ZeroDivisionError
    thread.join(PATIENCE_S)
    assert [type(end) for end in ends] == [EngineClosed]
    engine.loop_thread.portal = portal  # as a thread sees it that looked just before the end
    with pytest.raises(EngineClosed):
        engine.now()


def test_the_end_waits_for_calls_that_are_on_their_way(backend: str) -> None:
    """Goal: no call reaches a loop that is gone.

    Method: a call is stopped just before it enters the loop, and goes on only when the
    thread that leaves the engine waits for it.
    """

    class WatchedCondition(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            end_waits.set()
            return super().wait(timeout)

    end_waits, on_its_way = threading.Event(), threading.Event()
    engine = BlockingEngine(backend=backend)
    engine.start()
    portal = engine.loop_thread.portal
    assert portal is not None
    enter = portal.start_task_soon

    def enter_late(function: Callable[[], Any]) -> Future[Any]:
        del portal.start_task_soon
        on_its_way.set()
        assert end_waits.wait(PATIENCE_S)
        return enter(function)

    portal.start_task_soon = enter_late  # type: ignore[assignment, method-assign]
    engine.loop_thread.state = WatchedCondition()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(engine.statistics)
        assert on_its_way.wait(PATIENCE_S)
        engine.loop_thread.stop()
        assert answer.result(PATIENCE_S).held == 0
    engine.close()


# --- An example: reservations over WSGI --------------------------------------------------------


class BookingApp:
    """A web application: ``POST /room-1?start=...`` holds half an hour, or says when to retry."""

    def __init__(self, engine: BlockingEngine) -> None:
        self._engine = engine

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        resource = environ["PATH_INFO"].removeprefix("/")
        start = datetime.fromisoformat(environ["QUERY_STRING"].removeprefix("start="))
        headers = [("Content-Type", "application/json")]
        try:
            hold = self._engine.reserve(resource, start, HALF_HOUR)
        except SlotTaken as taken:
            if taken.retry_at is not None:
                wait_s = (taken.retry_at - self._engine.now()).total_seconds()
                headers.append(("Retry-After", f"{wait_s:.0f}"))
            start_response("409 Conflict", headers)
            return [b"{}"]
        except UnknownResource:
            start_response("404 Not Found", headers)
            return [b"{}"]
        start_response("201 Created", headers)
        return [json.dumps({"uid": hold.uid, "until": str(hold.until)}).encode()]


def post(app: Callable[..., Iterable[bytes]], path: str) -> tuple[str, dict[str, str], Any]:
    """Return the status, headers and body of the answer to one request."""
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path,
        "QUERY_STRING": f"start={START.isoformat()}",
    }  # fmt: skip
    setup_testing_defaults(environ)
    answer: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        answer.extend((status, dict(headers)))
        return lambda _: None

    body = app(environ, start_response)
    text = b"".join(body)
    body.close()  # type: ignore[attr-defined]
    return answer[0], answer[1], json.loads(text)


def test_a_wsgi_application(engine: BlockingEngine, clock: StillClock) -> None:
    app = validator(BookingApp(engine))
    status, _, body = post(app, "/room")
    assert status == "201 Created"
    assert engine.get(body["uid"])
    clock.moment += minutes(1)
    assert post(app, "/room")[:2] == (
        "409 Conflict", {"Content-Type": "application/json", "Retry-After": "240"}
    )  # fmt: skip
    engine.confirm(body["uid"])
    assert post(app, "/room")[1] == {"Content-Type": "application/json"}
    assert post(app, "/attic")[0] == "404 Not Found"
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: post(app, "/hall")[0], range(100)))
    assert answers.count("201 Created") == 3
