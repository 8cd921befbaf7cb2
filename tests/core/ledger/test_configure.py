"""The configuration as state: a batch of puts and removals is done, or refused, as one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import Answered, Changes, Waits
from slotengine.core.ledger.clients import CommandId, session_id
from slotengine.core.ledger.commands import Reserve
from slotengine.core.ledger.config import (
    LONGEST_DOCUMENT,
    Configure,
    Configured,
    Document,
    EventTypeConfig,
    HostConfig,
    Kind,
    LimitConfig,
    PeriodLimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
    SettingChange,
    event_type_of_limit,
    limit_id,
)
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.schedule_text import schedule_text
from slotengine.errors import (
    InTheWay,
    InvalidField,
    NoneFree,
    OutsideHours,
    Retired,
    SettingInUse,
    SlotError,
    SlotTaken,
    StaleSetting,
    StillTaken,
    TooManyUnits,
    UnknownEventType,
    UnknownResource,
    UnknownSetting,
)
from tests.core.ledger.untouched import untouched

TERMS = Terms(default_ttl=300, shortest_ttl=1, longest_ttl=1000, longest_span=10_000)
MORNING = schedule_text(FixedWindows([(0, 1007)]))
EVENING = schedule_text(FixedWindows([(1007, 2003)]))

ROOM = Put(Kind.RESOURCE, "room", ResourceConfig())
HALL = Put(Kind.RESOURCE, "hall", ResourceConfig(capacity=3))
OFFICE = Put(Kind.SCHEDULE, "office", MORNING)
TALK = Put(Kind.EVENT_TYPE, "talk", EventTypeConfig(30, fixed=(HostConfig("room"),)))


def configured(*entries: SettingChange) -> Ledger:
    ledger = Ledger(TERMS)
    ledger.configure(entries, now=0)
    return ledger


def book(ledger: Ledger, uid: str, start: int, end: int, *, on: str = "hall", **more: Any) -> None:
    """Make a booking of one unit."""
    proposal = Proposal(start, end, (Claim(on, start, end),), 300, **more)
    ledger.reserve_proposal(proposal, uid=uid, now=ledger.state.now)
    ledger.confirm(uid, now=ledger.state.now)


def hold(ledger: Ledger, uid: str, start: int, end: int, *, on: str = "hall", now: int = 0) -> None:
    ledger.reserve_proposal(Proposal(start, end, (Claim(on, start, end),), 300), uid=uid, now=now)


def refused(
    ledger: Ledger, *entries: SettingChange, force: bool = False, now: int = 0
) -> SlotError:
    """Return how a ledger refuses a batch, of which it then has done nothing."""
    before = list(ledger.configuration.settings())
    with pytest.raises(SlotError) as caught, untouched(ledger):
        decide(ledger.state, Configure(entries, force=force), now)
    with pytest.raises(type(caught.value)):
        ledger.configure(entries, force=force, now=now)
    assert list(ledger.configuration.settings()) == before
    ledger.check_invariants()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


# --- Puts, removals and versions ------------------------------------------------------------


def test_each_kind_is_put_and_removed() -> None:
    hook = Put(Kind.DOCUMENT, "7", Document("https://example.com", "s3cret"), collection="hooks")
    limit = Put(Kind.LIMIT, "limit:doors", LimitConfig(5))
    entries = (hook, TALK, limit, ROOM, OFFICE)
    ledger = configured(*entries)
    for entry in entries:
        setting = ledger.configuration.get(entry.kind, entry.id, entry.collection)
        assert setting is not None
        assert (setting.kind, setting.id, setting.value) == (entry.kind, entry.id, entry.value)
        assert setting.version == 1
    ledger.check_invariants()
    kinds = [setting.kind for setting in ledger.configuration.settings()]
    assert kinds == list(Kind)  # none refers to a later one
    json.dumps(list(ledger.configuration.settings()))
    gone = ledger.configure(
        [Remove(entry.kind, entry.id, collection=entry.collection) for entry in entries], now=7
    )
    assert [setting.value for setting in gone] == [None] * len(entries)
    assert list(ledger.configuration.settings()) == []
    ledger.check_invariants()


def test_a_batch_may_refer_to_itself_in_any_order() -> None:
    named = Put(Kind.RESOURCE, "room", ResourceConfig(schedule="office"))
    ledger = configured(TALK, named, OFFICE)
    assert ledger.resource("room").schedule == FixedWindows([(0, 1007)])
    told = refused(ledger, Remove(Kind.SCHEDULE, "office"))
    assert isinstance(told, SettingInUse)
    ledger.configure([Remove(Kind.SCHEDULE, "office"), ROOM], now=0)
    assert ledger.resource("room").schedule is None


def test_what_is_so_already_is_no_change() -> None:
    ledger = configured(ROOM, OFFICE)
    spaced = Put(Kind.SCHEDULE, "office", '{"spans": [[0, 500], [500, 1007]]}')
    assert decide(ledger.state, Configure((ROOM, spaced)), 5).changes == ()
    assert ledger.configure([ROOM, spaced], now=5) == ()
    assert ledger.configuration.edition == 1


def test_versions_are_of_each_entry_and_never_come_again() -> None:
    ledger = configured(ROOM, HALL)
    larger = Put(Kind.RESOURCE, "hall", ResourceConfig(capacity=4), version=1)
    (setting,) = ledger.configure([larger], now=0)
    assert setting.version == 2
    assert ledger.configuration.get(Kind.RESOURCE, "room") == Setting(
        Kind.RESOURCE, "room", ResourceConfig(), 1
    )
    stale = refused(ledger, Put(Kind.RESOURCE, "new", ResourceConfig()), larger)
    assert isinstance(stale, StaleSetting)
    assert (stale.kind, stale.id, stale.expected, stale.actual) == ("resource", "hall", 1, 2)
    assert (
        str(stale) == "resource 'hall' is at version 2, not 1; read it again before you change it"
    )
    ledger.configure([Remove(Kind.RESOURCE, "hall", version=2)], now=0)
    (setting,) = ledger.configure([Put(Kind.RESOURCE, "hall", ResourceConfig(), 0)], now=0)
    assert setting.version == 4


def test_version_0_is_of_what_is_not_there() -> None:
    ledger = configured(ROOM)
    stale = refused(ledger, ROOM._replace(version=0))
    assert stale.args == ("resource", "room", 0, 1)
    stale = refused(ledger, HALL._replace(version=3))
    assert stale.args == ("resource", "hall", 3, 0)


def test_the_change_says_all_of_it() -> None:
    ledger = configured(ROOM)
    (change,) = decide(ledger.state, Configure((HALL, OFFICE)), 17).changes
    assert change == Configured(
        2,
        17,
        2,
        (
            Setting(Kind.SCHEDULE, "office", MORNING, 2),
            Setting(Kind.RESOURCE, "hall", ResourceConfig(3), 2),
        ),
    )


WRONG: Any = 7
HOOK = Put(Kind.DOCUMENT, "7", Document("body"), collection="hooks")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("room", "entries must be Put, Remove or Retire, not 'room'"),
        (ROOM._replace(kind=WRONG), "kind must be a Kind, not 7"),
        (ROOM._replace(id=""), "id must be a non-empty string"),
        (ROOM._replace(version=-1), "version must be a version, or 0, not -1"),
        (ROOM._replace(version=True), "version must be a version, or 0, not True"),
        (ROOM._replace(collection="x"), "collection is for documents, but a resource has 'x'"),
        (HOOK._replace(collection=None), "collection must be a non-empty string"),
        (ROOM._replace(value=MORNING), "value of a resource cannot be a str"),
        (OFFICE._replace(value=LimitConfig(1)), "value of a schedule cannot be a LimitConfig"),
        (OFFICE._replace(value=WRONG), "schedule must be a Schedule, FixedWindows,"),
        (ROOM._replace(id="limit:x"), "resource must not have an id that begins with 'limit:'"),
        (Put(Kind.LIMIT, "x", LimitConfig(1)), "limit must have an id that begins with 'limit:'"),
        (Put(Kind.LIMIT, "limit:x", LimitConfig(0)), "units must be a whole number of"),
        (ROOM._replace(value=ResourceConfig(0)), "capacity must be a whole number of units"),
        (ROOM._replace(value=ResourceConfig(retired=WRONG)), "retired must be True or False"),
        (ROOM._replace(value=ResourceConfig(schedule="")), "schedule must be a non-empty string"),
        (ROOM._replace(value=ResourceConfig(schedule="{}")), "schedule must be the text of a"),
        (ROOM._replace(value=ResourceConfig(schedule=WRONG)), "schedule must tell when it is"),
        (OFFICE._replace(id="{}"), "id of a schedule must not begin with '{'"),
        (OFFICE._replace(value="9 to 5"), "schedule must be the text of a schedule"),
        (TALK._replace(value=EventTypeConfig(10_001)), "length must be at most 0:00:00.01"),
        (HOOK._replace(value=Document(WRONG)), "body of a document must be text, not a int"),
        (HOOK._replace(value=Document("", WRONG)), "secret of a document must be text, not"),
        (HOOK._replace(value=Document("", "\ud800")), "secret of a document must have no lone"),
    ],
)
def test_bad_input(entry: Any, problem: str) -> None:
    ledger = configured(ROOM)
    told = refused(ledger, HALL, entry)
    assert isinstance(told, InvalidField)
    assert str(told).startswith(problem)


def test_each_entry_once() -> None:
    told = refused(configured(), ROOM, ROOM._replace(value=ResourceConfig(2)))
    assert str(told) == "entries must name each entry once, not 'room' twice"


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (Remove(Kind.RESOURCE, "room"), UnknownResource("room")),
        (Remove(Kind.EVENT_TYPE, "talk"), UnknownEventType("talk")),
        (Remove(Kind.SCHEDULE, "office"), UnknownSetting("schedule", "office")),
        (Remove(Kind.LIMIT, "limit:x"), UnknownSetting("limit", "limit:x")),
        (Remove(Kind.DOCUMENT, "7", collection="a"), UnknownSetting("document", "a/7")),
        (TALK, UnknownResource("room")),
        (
            TALK._replace(value=EventTypeConfig(30, fixed=(HostConfig("hall", schedule="x"),))),
            UnknownSetting("schedule", "x"),
        ),
        (
            TALK._replace(value=EventTypeConfig(30, groups=((HostConfig("hall", units=4),),))),
            TooManyUnits("hall", 4, 3),
        ),
        (ROOM._replace(value=ResourceConfig(schedule="x")), UnknownSetting("schedule", "x")),
    ],
)
def test_what_is_not_there(entry: Put | Remove, error: SlotError) -> None:
    told = refused(configured(HALL), entry)
    assert type(told) is type(error)
    assert told.args == error.args


# --- Documents -------------------------------------------------------------------------------


def test_a_secret_is_told_nowhere() -> None:
    document = Document("https://example.com", secret="s3cret")
    put = HOOK._replace(value=document)
    ledger = configured()
    decision = decide(ledger.state, Configure((put,)), 0)
    (change,) = decision.changes
    assert isinstance(change, Configured)
    for one in (document, put, Configure((put,)), decision, change, f"{change}"):
        assert "s3cret" not in repr(one)
    ledger.configure([put], now=0)
    told = change.without_secrets()
    assert told.settings[0].value == Document("https://example.com")
    assert "s3cret" not in json.dumps(told)
    assert "secret=None" in repr(told)
    setting = ledger.configuration.get(Kind.DOCUMENT, "7", "hooks")
    assert setting is not None
    assert setting.value == document  # for whoever asks for this very one
    room = Setting(Kind.RESOURCE, "room", ResourceConfig(), 1)
    assert room.without_secret() is room


def test_a_document_has_64_kib() -> None:
    ledger = configured(
        HOOK._replace(value=Document("é" * (LONGEST_DOCUMENT // 2 - 4), "12345678"))
    )
    told = refused(ledger, HOOK._replace(value=Document("é" * (LONGEST_DOCUMENT // 2), "1")))
    assert str(told) == "body and secret must be at most 65536 bytes in UTF-8, not 65537"


def test_documents_of_two_collections_may_have_one_id() -> None:
    ledger = configured(HOOK, HOOK._replace(collection="keys", value=Document("other")))
    ledger.configure([Remove(Kind.DOCUMENT, "7", collection="keys")], now=0)
    assert ledger.configuration.get(Kind.DOCUMENT, "7", "keys") is None
    assert ledger.configuration.get(Kind.DOCUMENT, "7", "hooks") is not None
    assert ledger.configuration.get(Kind.DOCUMENT, "7") is None


# --- Hours -----------------------------------------------------------------------------------


def test_all_who_name_a_schedule_follow_it() -> None:
    named = ResourceConfig(schedule="office")
    ledger = configured(
        OFFICE,
        Put(Kind.RESOURCE, "room", named),
        Put(Kind.RESOURCE, "desk", named),
        Put(Kind.RESOURCE, "hall", ResourceConfig(schedule=MORNING)),
    )
    assert ledger.resource("room").schedule is ledger.resource("hall").schedule
    hold(ledger, "a", 900, 1000, on="room")
    ledger.configure([OFFICE._replace(value=EVENING)], now=0)
    with pytest.raises(OutsideHours):
        hold(ledger, "b", 900, 1000, on="desk")
    hold(ledger, "b", 1900, 2000, on="room")
    hold(ledger, "c", 900, 1000, on="hall")
    assert ledger.confirm("a", now=0).until  # what stands stays
    ledger.check_invariants()


class Sometimes:
    """A schedule of somebody's own."""

    def covers(self, start: int, end: int) -> bool:
        return start % 2 == 0

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


def test_in_memory_a_schedule_may_be_of_any_class() -> None:
    own = Sometimes()
    ledger = configured(ROOM._replace(value=ResourceConfig(schedule=own)))
    assert ledger.resource("room").schedule is own
    hold(ledger, "a", 2, 7, on="room")
    with pytest.raises(OutsideHours):
        hold(ledger, "b", 17, 20, on="room")


def test_what_refers_to_a_schedule_is_named() -> None:
    many = [Put(Kind.RESOURCE, f"room-{i}", ResourceConfig(schedule="office")) for i in range(103)]
    ledger = configured(OFFICE, ROOM, *many)
    ledger.configure(
        [TALK._replace(value=EventTypeConfig(30, (HostConfig("room", schedule="office"),)))], now=0
    )
    told = refused(ledger, Remove(Kind.SCHEDULE, "office"))
    assert isinstance(told, SettingInUse)
    assert (told.kind, told.id, told.count, len(told.by)) == ("schedule", "office", 104, 100)
    assert told.by[0] == ("resource", "room-0")
    assert str(told) == (
        "schedule 'office' is used by resource 'room-0' and 103 more; change that first"
    )
    gone = [Remove(Kind.RESOURCE, one.id) for one in many]
    told = refused(ledger, Remove(Kind.SCHEDULE, "office"), *gone)
    assert str(told) == "schedule 'office' is used by event type 'talk'; change that first"
    ledger.configure([Remove(Kind.SCHEDULE, "office"), TALK, *gone], now=0)


# --- Capacity --------------------------------------------------------------------------------


def test_more_capacity_is_there_at_once() -> None:
    ledger = configured(ROOM)
    hold(ledger, "a", 100, 200, on="room")
    with pytest.raises(SlotTaken):
        hold(ledger, "b", 150, 250, on="room")
    ledger.configure([ROOM._replace(value=ResourceConfig(2))], now=0)
    hold(ledger, "b", 150, 250, on="room")
    with pytest.raises(SlotTaken):
        hold(ledger, "c", 199, 201, on="room")
    ledger.check_invariants()


def test_less_than_is_taken_says_what_is_in_the_way() -> None:
    ledger = configured(HALL)
    book(ledger, "a", 100, 217)
    hold(ledger, "b", 150, 250)
    hold(ledger, "c", 200, 300)
    hold(ledger, "d", 400, 500)
    hold(ledger, "e", 450, 460)
    told = refused(ledger, HALL._replace(value=ResourceConfig(1)))
    assert isinstance(told, StillTaken)
    assert (told.kind, told.id, told.units, told.most, told.count) == ("resource", "hall", 1, 3, 4)

    def way(start: int, end: int, units: int, booked: bool) -> InTheWay:
        return InTheWay(from_us(start), from_us(end), units, booked)

    assert told.spans == (
        way(150, 200, 2, True),
        way(200, 217, 3, True),
        way(217, 250, 2, False),
        way(450, 460, 2, False),
    )
    assert str(told) == (
        "resource 'hall' would be left with 1, but up to 3 are taken, by a booking among others, "
        f"in 4 span(s) from {from_us(150).isoformat()} to {from_us(460).isoformat()}"
    )
    ledger.configure([HALL._replace(value=ResourceConfig(3, EVENING))], now=0)
    told = refused(ledger, HALL._replace(value=ResourceConfig(2)))
    assert told.args[3:] == (3, (way(200, 217, 3, True),), 1)
    ledger.release("c", now=0)
    ledger.configure([HALL._replace(value=ResourceConfig(2))], now=0)
    ledger.check_invariants()


def test_by_force_what_stands_stays_and_nothing_new_fits() -> None:
    ledger = configured(HALL)
    book(ledger, "a", 100, 200)
    hold(ledger, "b", 150, 250)
    ledger.configure([HALL._replace(value=ResourceConfig(1))], now=0, force=True)
    assert ledger.resource("hall").overbooked
    with pytest.raises(SlotTaken):
        hold(ledger, "c", 240, 260)
    hold(ledger, "c", 250, 260)
    ledger.extend("b", ttl=500, now=10)
    ledger.confirm("b", now=20)
    ledger.check_invariants()
    ledger.cancel("a", now=30)
    ledger.cancel("b", now=30)
    ledger.check_invariants()


def test_what_is_over_or_has_lapsed_is_not_in_the_way() -> None:
    ledger = configured(HALL)
    book(ledger, "a", 100, 200)
    book(ledger, "b", 150, 250)
    hold(ledger, "c", 600, 700)
    hold(ledger, "d", 600, 700)
    told: list[str] = []
    ledger.on_change = lambda change, entry: told.append(entry.uid)
    ledger.configure([HALL._replace(value=ResourceConfig(1))], now=300)
    assert told == ["c", "d"]  # they have lapsed, which is told before
    ledger.check_invariants()
    hold(ledger, "e", 600, 700, now=300)
    assert ledger.resource("hall").overbooked  # in the past


def test_an_event_type_needs_its_units() -> None:
    value = EventTypeConfig(30, groups=((HostConfig("hall", units=2), HostConfig("room")),))
    ledger = configured(HALL, ROOM, TALK._replace(value=value))
    told = refused(ledger, HALL._replace(value=ResourceConfig(1)), force=True)
    assert told.args == ("resource", "hall", (("event_type", "talk"),), 1)
    ledger.configure([HALL._replace(value=ResourceConfig(1)), TALK], now=0)
    told = refused(ledger, Remove(Kind.RESOURCE, "room"))
    assert told.args == ("resource", "room", (("event_type", "talk"),), 1)
    ledger.configure([Remove(Kind.RESOURCE, "hall")], now=0)
    ledger.configure([Remove(Kind.RESOURCE, "room"), Remove(Kind.EVENT_TYPE, "talk")], now=0)


# --- Removing ----------------------------------------------------------------------------------


def test_a_resource_on_which_something_stands_stays() -> None:
    ledger = configured(ROOM)
    book(ledger, "a", 100, 200, on="room")
    for force in (False, True):
        told = refused(ledger, Remove(Kind.RESOURCE, "room"), force=force, now=500)
        assert isinstance(told, StillTaken)
        assert (told.units, told.most, told.count) == (0, 1, 1)
    ledger.forget_bookings(300, ["a"])
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=500)
    with pytest.raises(UnknownResource):
        hold(ledger, "b", 600, 700, on="room", now=500)


def test_what_had_ended_cannot_come_back_to_a_resource_that_is_gone() -> None:
    ledger = configured(ROOM, HALL)
    hold(ledger, "a", 400, 500, on="room")
    told: list[str] = []
    ledger.on_change = lambda change, entry: told.append(entry.uid)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=301)
    assert told == ["a"]
    entry = ledger.get("a", now=301)
    assert entry is not None
    assert entry.all_claims() == (Claim("room", 400, 500),)
    with pytest.raises(UnknownResource):
        ledger.confirm("a", if_still_free=True, now=301)
    ledger.check_invariants()


def test_imported_busy_time_goes_with_its_resource() -> None:
    ledger = configured(ROOM, HALL)
    ledger.replace_busy("calendar", {"room": [(0, 50)], "hall": [(0, 60)]}, now=0)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=0)
    ledger.configure([ROOM], now=0)
    hold(ledger, "a", 0, 50, on="room")
    ledger.configure([Remove(Kind.RESOURCE, "hall")], now=0)
    ledger.replace_busy("calendar", {"room": [(60, 70)]}, now=0)
    assert [one.source for one in ledger.imported("room", 0, 100)] == ["calendar"]
    ledger.check_invariants()


def test_an_event_type_stays_while_it_has_reservations() -> None:
    ledger = configured(ROOM, TALK)
    book(ledger, "a", 100, 200, on="room", event_type="talk")
    told = refused(ledger, Remove(Kind.EVENT_TYPE, "talk"), now=150)
    assert isinstance(told, StillTaken)
    assert (told.kind, told.id, told.units, told.most) == ("event_type", "talk", 0, 1)
    assert told.spans == (InTheWay(from_us(150), from_us(200), 1, True),)
    ledger.configure([Remove(Kind.EVENT_TYPE, "talk")], now=150, force=True)
    assert ledger.cancel("a", now=150).event_type == "talk"


def test_an_event_type_that_was_is_removed() -> None:
    ledger = configured(ROOM, TALK)
    book(ledger, "a", 100, 200, on="room", event_type="talk")
    hold(ledger, "b", 300, 400, on="room")
    ledger.configure([Remove(Kind.EVENT_TYPE, "talk")], now=200)


# --- Retiring ------------------------------------------------------------------------------------

RETIRED = ROOM._replace(value=ResourceConfig(retired=True))


def test_of_a_retired_resource_nothing_new_can_be_had() -> None:
    ledger = configured(ROOM)
    hold(ledger, "a", 100, 200, on="room")
    hold(ledger, "b", 200, 300, on="room")
    hold(ledger, "c", 300, 400, on="room")
    ledger.configure([RETIRED], now=0)
    with pytest.raises(Retired) as caught:
        hold(ledger, "d", 500, 600, on="room")
    assert caught.value.args == ("resource", "room")
    assert str(caught.value) == ("resource 'room' is retired, so nothing new can be reserved of it")
    with pytest.raises(Retired):
        ledger.reserve("room", 500, 600, uid="d", now=0, ttl=10)
    with pytest.raises(Retired):
        ledger.move("b", Proposal(500, 600, (Claim("room", 500, 600),), 300), now=0)
    ledger.extend("a", ttl=700, now=10)
    ledger.confirm("a", now=20)
    ledger.cancel("a", now=30)
    ledger.release("b", now=30)
    with pytest.raises(Retired):
        ledger.confirm("c", if_still_free=True, now=301)
    ledger.configure([ROOM], now=310)
    ledger.confirm("c", if_still_free=True, now=320)
    ledger.check_invariants()


def test_retired_is_told_before_closed_and_taken() -> None:
    ledger = configured(ROOM._replace(value=ResourceConfig(1, MORNING, retired=True)))
    ledger.replace_busy("calendar", {"room": [(100, 200)]}, now=0)
    for start in (100, 500, 5000):
        with pytest.raises(Retired):
            hold(ledger, "a", start, start + 10, on="room")
        with pytest.raises(Retired):
            ledger.reserve("room", start, start + 10, uid="a", now=0, ttl=10)
    ledger.replace_busy("calendar", {}, now=0)
    with pytest.raises(Retired):
        ledger.reserve("room", 100, 110, uid="a", now=0, ttl=10)
    ledger.check_invariants()


def test_retiring_keeps_all_else_that_is_set() -> None:
    ledger = configured(HALL, TALK, ROOM)
    settings = ledger.configure(
        [Retire(Kind.EVENT_TYPE, "talk", version=1), Retire(Kind.RESOURCE, "hall")], now=0
    )
    assert [setting.id for setting in settings] == ["hall", "talk"]
    assert settings[0].value == ResourceConfig(3, retired=True)
    assert ledger.configure([Retire(Kind.RESOURCE, "hall")], now=0) == ()
    ledger.configure([Retire(Kind.RESOURCE, "hall", retired=False)], now=0)
    hold(ledger, "a", 100, 200)
    assert refused(ledger, Retire(Kind.RESOURCE, "hall", version=2)).args[2:] == (2, 3)
    assert refused(ledger, Retire(Kind.RESOURCE, "desk")).args == ("desk",)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Retire(Kind.SCHEDULE, "office"), "kind must be one that can be retired, which a schedule"),
        (Retire(Kind.RESOURCE, "room", WRONG), "retired must be True or False, not 7"),
    ],
)
def test_what_cannot_be_retired(entry: Retire, problem: str) -> None:
    told = refused(configured(OFFICE, ROOM), entry)
    assert str(told).startswith(problem)


def test_adopting_asks_nothing_of_a_retired_resource() -> None:
    ledger = configured(RETIRED)
    proposal = Proposal(100, 200, (Claim("room", 100, 200),), 300)
    assert ledger.adopt(proposal, uid="a", now=0).placed


def pool(*names: str, start: int = 100, end: int = 200) -> Proposal:
    claims = tuple(Claim(name, start, end) for name in names)
    return Proposal(start, end, (), 300, event_type="talk", pools=(Pool(claims),))


def test_pools_pass_over_a_retired_resource() -> None:
    ledger = configured(RETIRED, HALL)
    entry = ledger.reserve_proposal(pool("room", "hall"), uid="a", now=0)
    assert entry.all_claims()[0].resource == "hall"
    with pytest.raises(Retired):
        ledger.reserve_proposal(pool("room"), uid="b", now=0)
    ledger.configure([HALL._replace(value=ResourceConfig(3, retired=True))], now=0)
    with pytest.raises(NoneFree):
        ledger.reserve_proposal(pool("room", "hall"), uid="b", now=0)


def test_a_session_takes_more_seats_after_its_resource_is_retired() -> None:
    """A seat takes nothing new of the resource."""
    ledger = configured(ROOM)
    seat = Proposal(100, 200, (Claim("room", 100, 200),), 300, event_type="class", seats=Seats(2))
    ledger.reserve_proposal(seat, uid="a", now=0)
    ledger.configure([RETIRED], now=0)
    ledger.reserve_proposal(seat, uid="b", now=0)
    with pytest.raises(Retired):
        ledger.reserve_proposal(
            seat._replace(start=90, claims=(Claim("room", 90, 200),)), uid="c", now=0
        )


def test_of_a_retired_event_type_nothing_new_can_be_had() -> None:
    ledger = configured(ROOM, TALK)
    asked = Proposal(
        100, 200, (Claim("room", 100, 200),), 300, event_type="talk", demand=Demand.RULES
    )
    ledger.reserve_proposal(asked, uid="a", now=0)
    value = TALK.value
    assert isinstance(value, EventTypeConfig)
    ledger.configure([TALK._replace(value=value._replace(retired=True))], now=0)
    later = asked._replace(start=300, end=400, claims=(Claim("room", 300, 400),))
    for again in (later, asked):
        with pytest.raises(Retired) as caught:
            ledger.reserve_proposal(again, uid="b", now=0)
        assert caught.value.args == ("event_type", "talk")
    with pytest.raises(Retired):
        ledger.move("a", later, now=0)
    with pytest.raises(Retired):
        ledger.reserve("room", 300, 400, uid="b", now=0, ttl=10, event_type="talk")
    ledger.reserve("room", 300, 400, uid="b", now=0, ttl=10, event_type="other")
    ledger.extend("a", ttl=500, now=10)
    assert ledger.confirm("a", now=20).event_type == "talk"
    ledger.configure([TALK], now=30)
    ledger.release("b", now=30)
    ledger.move("a", later, now=30)
    ledger.check_invariants()


def test_no_error_has_a_secret_with_it() -> None:
    """Not even as what it was raised in the handling of."""
    ledger = configured(ROOM)
    hook = Put(Kind.DOCUMENT, "hook", Document("body", "s3cret \ud800"), collection="hooks")
    with pytest.raises(InvalidField, match="secret of a document must have no lone") as caught:
        ledger.configure([hook], now=0)
    assert caught.value.__context__ is None


# --- Limits ---------------------------------------------------------------------------------------


def with_limits(*limits: PeriodLimitConfig, **more: Any) -> Put:
    return TALK._replace(value=EventTypeConfig(30, (HostConfig("room"),), limits=limits, **more))


DAY_3 = PeriodLimitConfig("day", 3)
LIMIT = "limit:day count:talk"


def counted(ledger: Ledger, uid: str, start: int) -> None:
    proposal = Proposal(
        start, start + 30, (Claim("room", start, start + 30),), 300,
        event_type="talk", limits=(Claim(LIMIT, 0, 1000),),
    )  # fmt: skip
    ledger.reserve_proposal(proposal, uid=uid, now=ledger.state.now)


def test_an_event_type_brings_its_limits() -> None:
    weekly = PeriodLimitConfig("week", 90, by_minutes=True)
    ledger = configured(ROOM, with_limits(DAY_3, weekly))
    assert {name: one.capacity for name, one in ledger.configuration.limits.items()} == {
        LIMIT: 3,
        "limit:week time:talk": 90,
    }
    ledger.configure([with_limits(DAY_3._replace(most=5))], now=0)
    assert {name: one.capacity for name, one in ledger.configuration.limits.items()} == {LIMIT: 5}
    ledger.configure([Remove(Kind.EVENT_TYPE, "talk")], now=0)
    assert not ledger.configuration.limits
    assert limit_id("talk", "day", by_minutes=False) == LIMIT
    assert event_type_of_limit(LIMIT) == "talk"


def test_a_limit_of_an_event_type_is_as_that_says() -> None:
    ledger = configured(ROOM, with_limits(DAY_3))
    for entry in (Put(Kind.LIMIT, LIMIT, LimitConfig(4)), Remove(Kind.LIMIT, LIMIT)):
        told = refused(ledger, entry)
        assert told.args == ("limit", LIMIT, (("event_type", "talk"),), 1)
    assert ledger.configure([Put(Kind.LIMIT, LIMIT, LimitConfig(3))], now=0) == ()
    ledger.configure([Put(Kind.LIMIT, "limit:week count:talk", LimitConfig(3))], now=0)


def test_a_lower_limit_than_is_counted_is_refused() -> None:
    ledger = configured(ROOM, with_limits(DAY_3))
    counted(ledger, "a", 100)
    counted(ledger, "b", 200)
    told = refused(ledger, with_limits(PeriodLimitConfig("day", 1)))
    assert isinstance(told, StillTaken)
    assert (told.kind, told.id, told.units, told.most) == ("limit", LIMIT, 1, 2)
    ledger.configure([with_limits(PeriodLimitConfig("day", 1))], now=0, force=True)
    ledger.check_invariants()
    ledger.configure([with_limits(PeriodLimitConfig("day", 2))], now=0)
    with pytest.raises(SlotTaken):
        counted(ledger, "c", 300)
    ledger.configure([with_limits(PeriodLimitConfig("day", 4))], now=0)
    counted(ledger, "c", 300)
    ledger.check_invariants()


def test_a_limit_stays_while_any_reservation_knows_it() -> None:
    """One that has expired can be reinstated, and is counted again then."""
    ledger = configured(ROOM, with_limits(DAY_3))
    counted(ledger, "a", 400)
    ledger.configure([with_limits()], now=310)
    assert LIMIT in ledger.configuration.limits
    ledger.confirm("a", if_still_free=True, now=310)
    ledger.cancel("a", now=310)
    ledger.check_invariants()
    ledger.configure([with_limits(DAY_3)], now=320)
    ledger.configure([with_limits()], now=310 + TERMS.retention)
    ledger.expire(310 + TERMS.retention)
    ledger.configure([with_limits(DAY_3)], now=310 + TERMS.retention)
    ledger.configure([Remove(Kind.EVENT_TYPE, "talk")], now=310 + TERMS.retention)
    assert not ledger.configuration.limits


@pytest.mark.parametrize("released", [True, False])
def test_a_limit_is_known_for_as_long_as_a_reservation_is_retained(released: bool) -> None:
    """Whether or not what is past its retention was forgotten, or even marked as expired."""
    ledger = configured(ROOM, with_limits(DAY_3))
    ledger.maintenance = 0
    counted(ledger, "a", 400)
    ended = ledger.state.entries["a"].until
    if released:
        ledger.release("a", now=7)
        ended = 7
    ledger.configure([with_limits()], now=ended + TERMS.retention - 1)
    assert LIMIT in ledger.configuration.limits
    ledger.configure([with_limits(DAY_3)], now=ended + TERMS.retention - 1)
    ledger.configure([with_limits()], now=ended + TERMS.retention)
    assert not ledger.configuration.limits
    ledger.check_invariants()


# --- Turns ----------------------------------------------------------------------------------------


def team(*hosts: HostConfig | str) -> Put:
    group = tuple(HostConfig(one) if isinstance(one, str) else one for one in hosts)
    return Put(Kind.EVENT_TYPE, "talk", EventTypeConfig(30, groups=(group,)))


def credits_of(ledger: Ledger) -> list[int | None]:
    setting = ledger.configuration.get(Kind.EVENT_TYPE, "talk")
    assert setting is not None
    assert isinstance(setting.value, EventTypeConfig)
    return [host.credit for host in setting.value.hosts()]


def hosts(*names: str) -> list[Put]:
    return [Put(Kind.RESOURCE, name, ResourceConfig()) for name in names]


def given(ledger: Ledger, host: str, count: int, *, since: int = 0) -> None:
    for i in range(since, since + count):
        book(ledger, f"{host}-{i}", 100 * i, 100 * i + 30, on=host, event_type="talk")


def test_a_newcomer_starts_level_with_the_least_loaded() -> None:
    ledger = configured(*hosts("anna", "ben", "new"), team("anna", "ben"))
    assert credits_of(ledger) == [0, 0]
    given(ledger, "anna", 5)
    given(ledger, "ben", 3)
    ledger.configure([team("anna", "ben", "new")], now=0)
    assert credits_of(ledger) == [0, 0, 3]
    given(ledger, "ben", 4, since=10)
    assert ledger.configure([team("anna", "ben", "new")], now=0) == ()  # it keeps its credit
    ledger.configure([*hosts("more"), team("anna", "ben", "new", "more")], now=0)
    assert credits_of(ledger) == [0, 0, 3, 3]  # the newcomer is the least loaded


def test_a_credit_is_in_proportion_to_the_weight() -> None:
    ledger = configured(*hosts("anna", "ben", "new"), team(HostConfig("anna", 2), "ben"))
    given(ledger, "anna", 7)
    given(ledger, "ben", 5)
    ledger.configure([team(HostConfig("anna", 2), "ben", HostConfig("new", 3))], now=0)
    assert credits_of(ledger) == [0, 0, 10]  # 7 / 2 × 3, in whole turns


def test_a_credit_can_be_given() -> None:
    ledger = configured(*hosts("anna", "ben"), team("anna"))
    given(ledger, "anna", 3)
    ledger.configure([team("anna", HostConfig("ben", credit=1))], now=0)
    assert credits_of(ledger) == [0, 1]
    ledger.configure([team(HostConfig("anna", credit=2), HostConfig("ben", credit=0))], now=0)
    assert credits_of(ledger) == [2, 0]


def test_the_first_hosts_of_a_group_start_with_nothing() -> None:
    ledger = configured(*hosts("anna", "ben"), team("anna"))
    given(ledger, "anna", 3)
    ledger.configure([team("ben")], now=0)
    assert credits_of(ledger) == [0]


def test_turns_count_a_credit() -> None:
    ledger = configured(*hosts("anna", "new"))
    ledger.count_turns(["anna", "new"])
    given(ledger, "anna", 3)
    taken = []
    for i in range(4):
        low, high = 5000 + 100 * i, 5030 + 100 * i
        claims = (Claim("anna", low, high), Claim("new", low, high))
        asked = Proposal(
            low, high, (), 300, event_type="talk", pools=(Pool(claims, credits=(0, 3)),)
        )
        entry = ledger.reserve_proposal(asked, uid=f"uid-{i}", now=i)
        taken.append(entry.all_claims()[0].resource)
    assert taken == ["new", "anna", "new", "anna"]


# --- Replay -------------------------------------------------------------------------------------


def test_a_configuration_is_recorded_whoever_steps() -> None:
    steps: list[Changes] = []
    ledger = Ledger(TERMS)
    ledger.on_step = steps.append
    ledger.step(Configure((OFFICE,)), 7)
    assert steps == [(Configured(1, 7, 1, tuple(ledger.configuration.settings())),)]


def test_a_ledger_is_made_of_its_changes() -> None:
    """No program has to add resources first."""
    steps: list[Changes] = []
    ledger = Ledger(TERMS)
    ledger.on_step = steps.append
    ledger.configure([OFFICE, Put(Kind.RESOURCE, "hall", ResourceConfig(3, "office"))], now=0)
    hold(ledger, "a", 100, 200)
    hold(ledger, "b", 150, 217)
    ledger.configure([HALL._replace(value=ResourceConfig(1))], now=7, force=True)
    ledger.configure([Remove(Kind.SCHEDULE, "office"), ROOM], now=8)
    ledger.configure([Put(Kind.RESOURCE, "hall", ResourceConfig(2, retired=True))], now=9)
    replica = Ledger(TERMS)
    replica.replay(steps)
    replica.check_invariants()
    assert list(replica.configuration.settings()) == list(ledger.configuration.settings())
    assert replica.configuration.edition == ledger.configuration.edition
    again = Configure((HALL, TALK))
    assert decide(replica.state, again, 10) == decide(ledger.state, again, 10)
    assert [one.uid for one in replica.reservations_in("hall", 0, 300, now=10)] == ["a", "b"]


def test_snapshots_begin_with_the_settings() -> None:
    """Applied as one change, in their order, they make the same configuration."""
    ledger = configured(OFFICE, HALL, ROOM, with_limits(DAY_3, schedule="office"), HOOK)
    ledger.configure([HALL._replace(value=ResourceConfig(7, EVENING))], now=0)
    other = Ledger(TERMS)
    settings = tuple(ledger.configuration.settings())
    change = Configured(1, 5, ledger.configuration.edition, settings)
    for _ in range(2):  # what is there already is put once more
        apply(other.state, change)
    assert tuple(other.configuration.settings()) == settings
    other.check_invariants()


# --- The waitlist ----------------------------------------------------------------------------


def waits(ledger: Ledger, uid: str, start: int, *, on: str = "room") -> int:
    """Let a command wait for a span, and return its ticket."""
    request = Proposal(start, start + 30, (Claim(on, start, start + 30),), 300)
    (answer,) = ledger.step(Reserve((request,), (uid,), wait=500), ledger.state.now).answers
    assert isinstance(answer, Waits)
    return answer.ticket


def test_more_capacity_is_given_to_those_who_wait() -> None:
    ledger = configured(ROOM)
    hold(ledger, "a", 100, 200, on="room")
    tickets = [waits(ledger, uid, 100 + 7 * i) for i, uid in enumerate("bcd")]
    assert ledger.serve(7) == []
    ledger.configure([ROOM._replace(value=ResourceConfig(3))], now=13)
    served = ledger.serve(17)
    assert [one.ticket for one in served] == tickets[:2]
    assert ledger.get("c", now=17) is not None
    assert len(ledger.waitlist) == 1
    ledger.check_invariants()


def test_who_waits_for_what_is_retired_or_gone_is_refused() -> None:
    ledger = configured(ROOM, HALL)
    hold(ledger, "a", 100, 200, on="room")
    ledger.replace_busy("calendar", {"hall": [(100, 200)]}, now=0)
    waits(ledger, "b", 100)
    waits(ledger, "c", 100, on="hall")
    ledger.configure([RETIRED, Remove(Kind.RESOURCE, "hall")], now=13)
    first, second = ledger.serve(17)
    assert isinstance(first.answer, Retired)
    assert isinstance(second.answer, UnknownResource)
    assert len(ledger.waitlist) == 0


def test_later_hours_are_for_those_who_wait_too() -> None:
    ledger = configured(ROOM._replace(value=ResourceConfig(1, MORNING)))
    hold(ledger, "a", 900, 1000, on="room")
    waits(ledger, "b", 900)
    ledger.configure([ROOM._replace(value=ResourceConfig(1, EVENING))], now=13)
    (served,) = ledger.serve(17)
    assert isinstance(served.answer, OutsideHours)


def test_a_repeat_of_a_command_changes_nothing_more() -> None:
    ledger = configured(ROOM)
    name = CommandId(session_id(opened=0, random=bytes(8)), number=1, awaited=1)
    command = Configure((HALL._replace(version=0),), client=name)
    decision = ledger.step(command, 7)
    assert [type(one) for one in decision.changes] == [Configured, Answered]
    ledger.configure([Remove(Kind.RESOURCE, "hall")], now=8)
    assert ledger.step(command, 9).changes == ()  # version and all else is not asked again
    assert "hall" not in ledger.configuration.resources
