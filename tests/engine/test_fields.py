"""What a reservation has beside what it takes, holds that do not lapse, and questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from slotengine import (
    PENDING,
    AllOf,
    BlockingEngine,
    Claim,
    Event,
    HoldExpired,
    InvalidField,
    InvalidTTL,
    KeyReused,
    Kind,
    LocalEngine,
    Order,
    Quota,
    QuotaExceeded,
    Remove,
    Request,
    Reservation,
    ReservationQuery,
    Seats,
    Series,
    SlotTaken,
    StaleVersion,
    State,
    UnknownReservation,
    WrongState,
    minutes,
)
from slotengine.core.ledger.uids import bucket_for, bucket_in
from slotengine.core.time.instant import from_us
from slotengine.engine.listing import each_found
from slotengine.testing import SimClock

START = datetime(2030, 1, 7, 9, 7, 13, tzinfo=UTC)
NOW = datetime(2030, 1, 1, 8, 3, 21, tzinfo=UTC)
HALF_HOUR = minutes(30)
BIG = "x" * 65_536


@pytest.fixture
def clock() -> SimClock:
    return SimClock(NOW)


@pytest.fixture
def engine(clock: SimClock) -> LocalEngine:
    engine = LocalEngine(clock=clock)
    engine.add_resource("room")
    engine.add_resource("hall", capacity=50)
    return engine


def later(clock: SimClock, by: timedelta) -> None:
    clock.set(from_us(clock.now()) + by)


def asks(start: datetime = START, resource: str = "room", **more: Any) -> Request:
    return Request(start, HALF_HOUR, (Claim(resource),), **more)


# --- Metadata, details, tags -------------------------------------------------------------------


def test_a_reservation_keeps_what_is_noted_of_it(engine: LocalEngine) -> None:
    noted = {"guests": "3", "ä": ""}
    hold = engine.reserve(asks(metadata=noted, details='{"a": 1}', tags=["vip", "new"]))
    noted["guests"] = "4"
    booking = engine.confirm(hold.uid)
    for one in (hold, booking, engine.get(hold.uid)):
        assert one is not None
        assert one.metadata == {"guests": "3", "ä": ""}
        assert (one.details, one.tags, one.series) == ('{"a": 1}', ("vip", "new"), None)
    hold.metadata["guests"] = "5"
    assert hold.metadata["guests"] == "3"
    plain = engine.reserve("hall", START, HALF_HOUR)
    assert (plain.metadata, plain.details, plain.tags, plain.key) == ({}, None, (), None)
    assert (plain.serial, hold.serial) == (2, 1)
    assert (plain.replaces, plain.replaced_by) == (None, None)


def test_annotating_replaces_what_is_given_and_nothing_else(
    engine: LocalEngine, clock: SimClock
) -> None:
    events: list[Event] = []
    engine.observe(events.append)
    hold = engine.reserve(asks(metadata={"a": "1"}, tags=["vip"], key="k"))
    later(clock, timedelta(seconds=7))
    one = engine.annotate(hold.uid, metadata={"b": "2"}, version=1)
    assert (one.metadata, one.tags, one.details, one.version) == ({"b": "2"}, ("vip",), None, 2)
    assert (one.until, one.state, one.key) == (hold.until, State.HELD, "k")
    assert one.changed == NOW + timedelta(seconds=7)
    assert engine.annotate(hold.uid, metadata={"b": "2"}, tags=["vip"]) == one
    with pytest.raises(StaleVersion):
        engine.annotate(hold.uid, details="late", version=1)
    engine.annotate(hold.uid, details=BIG, tags=())
    booking = engine.confirm(hold.uid)
    assert (booking.details, booking.tags, booking.version) == (BIG, (), 4)
    engine.cancel(hold.uid)
    last = engine.annotate(hold.uid, metadata={}, details=None)
    assert (last.metadata, last.details, last.state) == ({}, None, State.CANCELLED)
    verbs = ["reserve", "annotate", "annotate", "confirm", "cancel", "annotate"]
    assert [event.verb.value for event in events] == verbs
    assert [event.reservation.version for event in events] == [1, 2, 3, 4, 5, 6]
    engine.check_invariants()


def test_what_has_expired_or_is_not_known_cannot_be_annotated(
    engine: LocalEngine, clock: SimClock
) -> None:
    hold = engine.reserve("room", START, HALF_HOUR)
    later(clock, minutes(5))
    with pytest.raises(HoldExpired):
        engine.annotate(hold.uid, tags=["late"])
    with pytest.raises(UnknownReservation):
        engine.annotate("nobody", tags=["late"])


BAD: list[tuple[str, dict[str, Any]]] = [
    ("metadata must map", {"metadata": ["a"]}),
    ("metadata must have names that are strings", {"metadata": {5: "x"}}),
    ("metadata must have names of 1 to 40", {"metadata": {"": "x"}}),
    ("metadata must have names of 1 to 40", {"metadata": {"n" * 41: "x"}}),
    ("metadata must have texts of at most 500", {"metadata": {"n": "x" * 501}}),
    ("metadata must have texts of at most 500", {"metadata": {"n": 5}}),
    ("metadata must have texts of at most 500", {"metadata": {"n": "\ud800"}}),
    ("metadata must have at most 50", {"metadata": {f"n{i}": "" for i in range(51)}}),
    ("details must be a string of at most 65536 bytes", {"details": b"x"}),
    ("details must be a string of at most 65536 bytes", {"details": f"{BIG}x"}),
    ("details must be a string of at most 65536 bytes", {"details": "a\0"}),
    ("details must be at most 65536 bytes, not 65537", {"details": f"{BIG[:-1]}ä"}),
    ("tags must be several", {"tags": "vip"}),
    ("tags must be strings of 1 to 64", {"tags": [""]}),
    ("tags must be strings of 1 to 64", {"tags": ["x" * 65]}),
    ("tags must be strings of 1 to 64", {"tags": [5]}),
    ("tags must be at most 16, not 17", {"tags": [f"t{i}" for i in range(17)]}),
    ("tags must each be given once", {"tags": ["a", "b", "a"]}),
]


@pytest.mark.parametrize(("problem", "given"), BAD)
def test_what_cannot_be_kept_is_refused(
    engine: LocalEngine, problem: str, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidField, match=problem):
        engine.reserve(asks(**given))
    hold = engine.reserve("room", START, HALF_HOUR)
    with pytest.raises(InvalidField, match=problem):
        engine.annotate(hold.uid, **given)
    assert engine.get(hold.uid) == hold


def test_as_much_as_may_be_kept_is_kept(engine: LocalEngine) -> None:
    metadata = {"n" * (i % 40) + f"{i:02}"[-1 - (i % 40 < 39) :]: "x" * 500 for i in range(50)}
    tags = [f"{i:064}" for i in range(16)]
    made = engine.reserve(asks(metadata=metadata, tags=tags, details=BIG))
    assert (made.metadata, list(made.tags), made.details) == (metadata, tags, BIG)


def test_a_key_is_for_one_request_with_all_that_is_noted(engine: LocalEngine) -> None:
    hold = engine.reserve(asks(key="k", tags=["vip"]))
    assert engine.reserve(asks(key="k", tags=["vip"])) == hold
    with pytest.raises(KeyReused):
        engine.reserve(asks(key="k", tags=["new"]))


def test_all_of_a_reservation_is_told_as_json(engine: LocalEngine) -> None:
    request = Request(
        START, HALF_HOUR, (Claim("room", before=minutes(5)), Claim("hall", units=2)),
        holder="ada", key="k", event_type="talk", metadata={"a": "1"}, details="d", tags=("vip",),
    )  # fmt: skip
    hold = engine.reserve(request)
    assert json.loads(json.dumps(hold.as_dict())) == {
        "uid": hold.uid, "serial": 1, "state": "held", "version": 1,
        "start": "2030-01-07T09:07:13+00:00", "end": "2030-01-07T09:37:13+00:00",
        "until": "2030-01-01T08:08:21+00:00", "created": "2030-01-01T08:03:21+00:00",
        "changed": "2030-01-01T08:03:21+00:00", "holder": "ada", "event_type": "talk", "key": "k",
        "seats": None, "session": None, "metadata": {"a": "1"}, "details": "d", "tags": ["vip"],
        "series": None,
        "replaces": None, "replaced_by": None,
        "claims": [
            {"resource": "room", "units": 1,
             "start": "2030-01-07T09:02:13+00:00", "end": "2030-01-07T09:37:13+00:00"},
            {"resource": "hall", "units": 2,
             "start": "2030-01-07T09:07:13+00:00", "end": "2030-01-07T09:37:13+00:00"},
        ],
    }  # fmt: skip
    assert engine.confirm(hold.uid).as_dict()["until"] is None


@pytest.mark.parametrize("sweeps", [True, False])
def test_what_has_lapsed_is_in_no_session(
    engine: LocalEngine, clock: SimClock, sweeps: bool
) -> None:
    """Whether or not it is marked yet."""
    request = asks(ttl=minutes(1), event_type="class", seats=Seats(3))
    hold = engine.reserve(request)
    assert engine.reserve(replace(request, ttl=None)).session == hold.session is not None
    later(clock, minutes(1))
    if sweeps:
        engine.sweep()
    lapsed = engine.get(hold.uid)
    assert lapsed is not None
    assert (lapsed.session, lapsed.as_dict()["session"]) == (None, None)


def test_reservations_are_equal_however_their_claims_are_kept(
    engine: LocalEngine, clock: SimClock
) -> None:
    """A resource that has been removed is only named in what is restored."""
    hold = engine.release(engine.reserve("room", START, HALF_HOUR).uid)
    engine.configure([Remove(Kind.RESOURCE, "room")])
    restored = LocalEngine(clock=clock)
    restored.replay([engine.snapshot()])
    assert restored.get(hold.uid) == engine.get(hold.uid) == hold
    assert hash(restored.get(hold.uid)) == hash(hold)


def test_a_seat_names_its_session(engine: LocalEngine) -> None:
    def seat(start: datetime = START) -> Request:
        return asks(start, event_type="yoga", seats=Seats(3))

    first, second = engine.reserve(seat()), engine.reserve(seat())
    session = first.session
    assert session is not None
    assert second.session == session
    assert UUID(session).version == 4
    assert bucket_in(session) == bucket_for("room")
    assert first.as_dict()["session"] == session
    assert engine.release(first.uid).session is None
    assert engine.reserve(seat()).session == session
    moved = engine.move(second.uid, seat(START + minutes(60)))
    back = engine.move(moved.uid, seat())
    assert moved.session not in {session, None}
    assert back.session == session


# --- Holds that do not lapse -------------------------------------------------------------------


def test_a_pending_hold_does_not_lapse(engine: LocalEngine, clock: SimClock) -> None:
    ways: list[Callable[[datetime], Reservation]] = [
        lambda start: engine.reserve("room", start, HALF_HOUR, ttl=PENDING),
        lambda start: engine.reserve(asks(start, ttl=PENDING)),
    ]
    for i, make in enumerate(ways):
        start = START + timedelta(days=100 * i)
        hold = make(start)
        assert (hold.until, hold.state) == (None, State.HELD)
        later(clock, timedelta(days=40))
        engine.sweep()
        assert engine.get(hold.uid) == hold
        with pytest.raises(SlotTaken) as refusal:
            engine.reserve("room", start, HALF_HOUR, past=True)
        assert refusal.value.retry_at is None
        engine.check_invariants()
        if i:
            assert engine.confirm(hold.uid).state is State.CONFIRMED
        else:
            assert engine.release(hold.uid).state is State.RELEASED
        engine.check_invariants()


def test_a_hold_becomes_pending_and_lapses_again(engine: LocalEngine, clock: SimClock) -> None:
    hold = engine.reserve("room", START, HALF_HOUR)
    assert engine.extend(hold.uid, ttl=PENDING).until is None
    moved = engine.move(hold.uid, START + minutes(5))
    assert (moved.until, moved.version) == (None, 3)
    later(clock, minutes(60))
    assert engine.extend(hold.uid, ttl=minutes(1)).until == NOW + minutes(61)
    assert engine.move(hold.uid, START, ttl=PENDING).until is None
    engine.extend(hold.uid, ttl=minutes(1))
    later(clock, minutes(1))
    assert engine.sweep() == 1
    engine.check_invariants()


def test_what_caps_the_life_of_holds_admits_no_pending_ones(clock: SimClock) -> None:
    engine = LocalEngine(clock=clock, max_life=minutes(60), max_holds=1)
    engine.add_resource("room")
    with pytest.raises(InvalidTTL):
        engine.reserve("room", START, HALF_HOUR, ttl=PENDING)
    free = LocalEngine(clock=clock, max_holds=1)
    free.add_resource("room", capacity=2)
    with pytest.raises(InvalidTTL):
        free.reserve(
            "room", START, HALF_HOUR, ttl=PENDING, holder="a", quota=Quota(life=minutes(60))
        )
    free.reserve("room", START, HALF_HOUR, ttl=PENDING, holder="a")
    with pytest.raises(QuotaExceeded) as refusal:
        free.reserve("room", START, HALF_HOUR, holder="a")
    assert refusal.value.retry_at is None


# --- Questions ---------------------------------------------------------------------------------


def test_pages_are_right_while_others_come_and_go(engine: LocalEngine, clock: SimClock) -> None:
    made = [
        engine.reserve("hall", START + minutes(i), HALF_HOUR, holder="ada" if i % 2 else "bob")
        for i in range(20)
    ]
    query = ReservationQuery(resource="hall", limit=6, total=True)
    page = engine.find(query)
    assert page.total == 20
    told = list(page.reservations)
    while page.cursor is not None:
        engine.reserve("hall", START - minutes(len(told)), HALF_HOUR)
        engine.release(made[0].uid)
        engine.confirm(made[1].uid)
        page = engine.find(query.following(page))
        told += page.reservations
    assert [one.uid for one in told] == [one.uid for one in made]
    with pytest.raises(InvalidField, match="after must not be asked for"):
        query.following(page)
    engine.check_invariants()
    held = ReservationQuery(holder="ada", states={State.HELD}, order=Order.CREATED, descending=True)
    assert [one.uid for one in engine.find(held).reservations] == [
        one.uid for one in reversed(made[3::2])
    ]
    later(clock, minutes(5))
    expired = ReservationQuery(holder="ada", states=[State.EXPIRED])
    assert len(engine.find(expired).reservations) == 9
    assert engine.sweep() == 21
    assert len(engine.find(expired).reservations) == 9
    engine.check_invariants()
    recent = ReservationQuery(changed_since=engine.now(), order=Order.CHANGED)
    assert len(engine.find(recent).reservations) == 21
    later(clock, minutes(60))
    engine.sweep()
    assert engine.find(ReservationQuery(created_since=NOW)).reservations == [
        engine.get(made[1].uid)
    ]
    engine.forget_bookings(engine.now())
    engine.check_invariants()


def test_tags_and_ranges_are_found(engine: LocalEngine) -> None:
    vip = engine.reserve(asks(tags=["vip"]))
    span = {"start": START + minutes(29), "end": START + minutes(40)}
    found = engine.find(ReservationQuery(tag="vip", **span))  # type: ignore[arg-type]
    assert found.reservations == [vip]
    engine.annotate(vip.uid, tags=["new"])
    desk = engine.reserve(asks(resource="hall", tags=["desk"]))
    assert engine.find(ReservationQuery(tag="desk")).reservations == [desk]
    assert engine.find(ReservationQuery(tag="vip")).reservations == []
    found = engine.find(ReservationQuery(tag="new", resource="room", created_since=NOW))
    assert [one.uid for one in found.reservations] == [vip.uid]


@pytest.mark.parametrize(
    ("problem", "ask"),
    [
        ("query must be", lambda: "room"),
        ("holder must be", lambda: ReservationQuery(holder="")),
        ("states must be", lambda: ReservationQuery(states="held")),  # type: ignore[arg-type]
        ("states must be", lambda: ReservationQuery(states=[])),
        ("states must be", lambda: ReservationQuery(states=5)),  # type: ignore[arg-type]
        ("order must be", lambda: ReservationQuery(order="start")),  # type: ignore[arg-type]
        ("limit must be", lambda: ReservationQuery(limit=0)),
        ("limit must be", lambda: ReservationQuery(limit=1001)),
        ("end and start", lambda: ReservationQuery(start=START)),
        ("end must be after", lambda: ReservationQuery(start=START, end=START)),
        ("created_since", lambda: ReservationQuery(created_since=datetime(2030, 1, 1))),  # noqa: DTZ001
        ("after must be the cursor of a page", lambda: ReservationQuery(after="x")),
        ("after must be the cursor of a page", lambda: ReservationQuery(after="AAAA")),
        ("after must be the cursor of a page", lambda: ReservationQuery(after=5)),  # type: ignore[arg-type]
    ],
)
def test_questions_that_make_no_sense_are_refused(
    engine: LocalEngine, problem: str, ask: Callable[[], ReservationQuery]
) -> None:
    with pytest.raises(InvalidField, match=problem):
        engine.find(ask())


def test_a_cursor_is_for_its_own_question(engine: LocalEngine) -> None:
    for i in range(3):
        engine.reserve("hall", START, HALF_HOUR, holder=f"h{i}")
    page = engine.find(ReservationQuery(limit=1, states=[State.HELD, State.CONFIRMED]))
    with pytest.raises(InvalidField, match="cursor of another question"):
        engine.find(ReservationQuery(limit=1, after=page.cursor))
    states = (State.CONFIRMED, State.HELD)
    again = ReservationQuery(limit=5, states=states, after=page.cursor)
    assert len(engine.find(again).reservations) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda cursor: f"{cursor}\n",
        lambda cursor: f"{cursor}=",
        lambda cursor: f"{cursor[:5]}!{cursor[5:]}",
        lambda cursor: f"{cursor[:4]}{cursor[8:]}",
        lambda cursor: cursor.encode(),
    ],
)
def test_a_damaged_cursor_of_a_page_is_refused(
    engine: LocalEngine, damage: Callable[[str], Any]
) -> None:
    for _ in range(2):
        engine.reserve("hall", START, HALF_HOUR)
    query = ReservationQuery(limit=1)
    cursor = engine.find(query).cursor
    assert cursor is not None
    with pytest.raises(InvalidField, match="after must be the cursor of a page"):
        engine.find(replace(query, after=damage(cursor)))


# --- In place of another, and in series --------------------------------------------------------


def test_a_hold_is_replaced_by_a_hold(engine: LocalEngine, clock: SimClock) -> None:
    events: list[Event] = []
    old = engine.reserve(asks(holder="ada", tags=["vip"], ttl=minutes(9)))
    engine.observe(events.append)
    later(clock, minutes(1))
    request = asks(START + minutes(7), ttl=minutes(2), key="k")
    new = engine.replace(old.uid, request, version=1)
    assert (new.state, new.holder, new.tags, new.version) == (State.HELD, "ada", ("vip",), 1)
    assert (new.start, new.until) == (START + minutes(7), NOW + minutes(3))
    assert (new.replaces, new.replaced_by) == (old.uid, None)
    gone = engine.get(old.uid)
    assert gone is not None
    assert (gone.state, gone.replaced_by, gone.version) == (State.RELEASED, new.uid, 2)
    assert [event.verb.value for event in events] == ["release", "reserve"]
    assert engine.replace(old.uid, request, version=1) == new
    with pytest.raises(WrongState):
        engine.replace(old.uid, asks(START + minutes(7)))
    third = engine.replace(new.uid, asks(tags=["new"], holder="bob"), jump=True)
    assert (third.holder, third.tags, third.replaces) == ("bob", ("new",), new.uid)
    engine.check_invariants()


def test_a_booking_is_replaced_by_a_booking(engine: LocalEngine) -> None:
    old = engine.confirm(engine.reserve("room", START, HALF_HOUR).uid)
    new = engine.replace(old.uid, asks(START + minutes(10)))
    assert (new.state, new.until, new.version) == (State.CONFIRMED, None, 2)
    gone = engine.get(old.uid)
    assert gone is not None
    assert (gone.state, gone.replaced_by) == (State.CANCELLED, new.uid)
    engine.check_invariants()


def test_nothing_has_changed_if_the_new_one_is_refused(engine: LocalEngine) -> None:
    old = engine.reserve("room", START, HALF_HOUR, holder="ada")
    engine.reserve("room", START + HALF_HOUR, HALF_HOUR)
    before = engine.statistics()
    with pytest.raises(SlotTaken):
        engine.replace(old.uid, asks(START + minutes(10)))
    assert engine.get(old.uid) == old
    assert engine.statistics().accepted == before.accepted
    assert engine.statistics().refused == before.refused + 1


def test_what_is_replaced_does_not_count_for_the_quota(clock: SimClock) -> None:
    engine = LocalEngine(clock=clock)
    engine.add_resource("room", capacity=3)
    quota = Quota(holds=1)
    old = engine.reserve("room", START, HALF_HOUR, holder="ada", quota=quota)
    new = engine.replace(old.uid, asks(holder="ada", quota=quota))
    other = engine.reserve("room", START, HALF_HOUR, holder="bob")
    with pytest.raises(QuotaExceeded):
        engine.replace(other.uid, asks(holder="ada", quota=quota))
    assert engine.replace(new.uid, asks(holder="ada", quota=quota)).holder == "ada"
    strict = LocalEngine(clock=clock)
    strict.add_resource("room")
    first = strict.reserve("room", START, HALF_HOUR, holder="ada")
    again = strict.replace(first.uid, asks(holder="ada", quota=Quota(holds=1)))
    with pytest.raises(QuotaExceeded):
        strict.replace(again.uid, asks(holder="ada", quota=Quota(held=minutes(29))))
    strict.check_invariants()


def test_reservations_of_a_series_say_which_they_are(engine: LocalEngine) -> None:
    weekly = [asks(START + timedelta(weeks=i), tags=["yoga"] if i else []) for i in range(3)]
    made = engine.reserve(AllOf(weekly, series=True))
    uid = made[0].series and made[0].series.uid
    assert [one.series for one in made] == [Series(uid or "", i) for i in range(3)]
    assert [one.tags for one in made] == [(), ("yoga",), ("yoga",)]
    assert made[1].as_dict()["series"] == {"uid": uid, "position": 1}
    engine.release(made[1].uid)
    assert len(engine.find(ReservationQuery(series=uid)).reservations) == 3
    assert engine.reserve(AllOf([], series=True)) == []
    with pytest.raises(SlotTaken):
        engine.reserve(AllOf(weekly, series=True))


def test_threads_and_tasks_have_the_same_verbs() -> None:
    with BlockingEngine() as engine:
        engine.add_resource("room")
        hold = engine.reserve("room", START, HALF_HOUR)
        new = engine.replace(hold.uid, asks())
        assert engine.annotate(new.uid, tags=["vip"]).tags == ("vip",)
        (found,) = engine.find(ReservationQuery(tag="vip")).reservations
        assert found.uid == new.uid


def test_all_that_is_found_is_yielded_page_after_page() -> None:
    engine = LocalEngine(clock=SimClock(NOW))
    engine.add_resource("room", capacity=9)
    uids = [engine.reserve("room", START, HALF_HOUR).uid for _ in range(5)]
    found = each_found(engine.find, ReservationQuery(limit=2))
    assert [one.uid for one in found] == uids
