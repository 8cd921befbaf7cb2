"""What a ledger did can be replayed from any step on; what does not follow is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slotengine.core.ledger.changes import (
    Answered,
    BusyImported,
    Cancelled,
    Changes,
    ClientDropped,
    Confirmed,
    Expired,
    Extended,
    Forgotten,
    KeyKept,
    LapsesKept,
    Moved,
    Reinstated,
    Released,
    ReservationKept,
    Reserved,
    SessionKept,
    SnapshotBegun,
)
from slotengine.core.ledger.clients import IDLE, Answer, CommandId, session_id
from slotengine.core.ledger.commands import (
    Adopt,
    Annotate,
    Cancel,
    Command,
    Confirm,
    Extend,
    Forget,
    ImportBusy,
    Mode,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import (
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
    Setting,
    limit_id,
)
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.extra import Extra, Series
from slotengine.core.ledger.keys import KEY_LIFE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import BOOKED_UNTIL, Claim, Demand, Seats, State
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import FIRST_US, LAST_US, MINUTE
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.schedule_text import schedule_text
from slotengine.errors import InvalidField, ReplayError, SlotTaken
from slotengine.testing.internal.keyed import keyed

DAY = 1440 * MINUTE
TERMS = Terms(
    default_ttl=50, shortest_ttl=1, longest_ttl=DAY, retention=1_000, max_holds=9, max_lapses=3,
    cool_down=400,
)  # fmt: skip
SESSION = session_id(opened=3, random=bytes(8))
LIMIT = limit_id("talk", "day", by_minutes=False)


def slot(start: int, *resources: str, ttl: int = 50, holder: str | None = None) -> Proposal:
    claims = tuple(Claim(name, start, start + 10) for name in resources or ("room",))
    return Proposal(start, start + 10, claims, ttl, holder)


def seat(start: int, ttl: int = 50) -> Proposal:
    return slot(start, "hall", ttl=ttl)._replace(event_type="class", seats=Seats(3))


COMMANDS: list[tuple[int, Command]] = [
    (
        0,
        Configure(
            (
                Put(Kind.SCHEDULE, "always", schedule_text(FixedWindows([(-DAY, DAY)]))),
                Put(Kind.RESOURCE, "room", ResourceConfig(1, "always")),
                Put(Kind.RESOURCE, "desk", ResourceConfig(2)),
                Put(Kind.RESOURCE, "hall", ResourceConfig(3)),
                Put(Kind.RESOURCE, "attic", ResourceConfig(1)),
                Put(
                    Kind.EVENT_TYPE,
                    "talk",
                    EventTypeConfig(
                        10, (HostConfig("desk"),), limits=(PeriodLimitConfig("day", 3),)
                    ),
                ),
                Put(Kind.DOCUMENT, "hook", Document("body", "s3cret"), collection="hooks"),
            )
        ),
    ),
    (3, Reserve((seat(110),), ("opener",), client=CommandId(SESSION, 7, 5))),
    (4, Reserve((seat(110, ttl=900),), ("seat",))),
    (5, Release("opener")),
    (7, Reserve((keyed(slot(20, holder="ada"), "key"),), ("a",))),
    (8, Reserve((slot(40, holder="ada"), slot(60, holder="bob")), ("b", "c"), Mode.ALL)),
    (9, Extend("b", 70)),
    (10, Move("b", (slot(43, "desk"),))),
    (11, Adopt(slot(0, "desk"), "booked")),
    (12, Move("booked", (slot(1, "desk"),))),
    (13, Annotate("booked", (("guests", "3"),), "by phone", ("vip",))),
    (14, Replace("c", slot(61, holder="bob"), "d")),
    (15, Confirm("d")),
    (16, Replace("d", slot(63), "e")),
    (17, Cancel("e")),
    (18, ImportBusy("calendar", (("attic", ((0, 5), (3, 9))), ("room", ())))),
    (19, Reserve((slot(500, "attic", ttl=1_000)._replace(quota=Quota(holds=4), holder="eve"),),
                 ("f",))),
    (
        20,
        Reserve(
            (
                slot(600, "attic", ttl=5)._replace(
                    extra=Extra(series=Series("s", 0)), limits=(Claim(LIMIT, 0, 1_000),),
                    event_type="talk", demand=Demand.AHEAD,
                ),
            ),
            ("g",),
        ),
    ),
    (40, Forget(30, ("booked", "a", "nobody"))),
    (90, Reserve((slot(20, holder="ada"),), ("h",))),  # "a" lapsed at 57
    (141, Confirm("h", if_still_free=True)),
    (150, Configure((Remove(Kind.DOCUMENT, "hook", collection="hooks"),))),
]  # fmt: skip


def played(until: int = len(COMMANDS)) -> tuple[Ledger, list[Changes]]:
    """Return a ledger that has done the first commands, and its steps."""
    steps: list[Changes] = []
    ledger = Ledger(TERMS, maintenance=0)
    ledger.on_step = steps.append
    for now, command in COMMANDS[:until]:
        ledger.step(command, now)
    return ledger, steps


def replayed(steps: list[Changes], now: int | None = None) -> Ledger:
    again = Ledger(TERMS, maintenance=0)
    again.replay(steps)
    if now is not None:
        again.look(now)
    again.check_invariants()
    return again


# --- Replay and snapshots -----------------------------------------------------------------------


@pytest.mark.parametrize("until", range(len(COMMANDS) + 1))
def test_any_prefix_that_ends_at_a_step_makes_the_same(until: int) -> None:
    ledger, steps = played(until)
    now = ledger.state.now
    snapshot = ledger.snapshot()
    assert replayed(steps, now).snapshot() == snapshot
    assert replayed([snapshot]).snapshot() == snapshot
    assert replayed([snapshot]).tally()._replace(keys=0) == ledger.tally()._replace(keys=0)
    # What is left of it is done by each of them alike, from the snapshot and from the steps.
    others = replayed(steps, now), replayed([snapshot])
    for at, command in COMMANDS[until:]:
        decision = decide(ledger.state, command, at)
        for other in others:
            assert decide(other.state, command, at) == decision
            other.step(command, at)
        ledger.step(command, at)
    for other in others:
        assert other.snapshot() == ledger.snapshot()


def test_every_change_has_the_number_after_the_one_before() -> None:
    _, steps = played()
    changes = [change for changes in steps for change in changes]
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    assert {Reserved, Expired, Reinstated, Forgotten, BusyImported, Answered} <= {
        type(change) for change in changes
    }


def test_numbers_rise_though_nobody_listens() -> None:
    ledger, steps = played()
    silent = Ledger(TERMS, maintenance=0)
    for now, command in COMMANDS:
        silent.step(command, now)
    assert silent.state.seq == ledger.state.seq == steps[-1][-1].seq
    assert silent.expire(900) == ledger.expire(900) > 0
    assert silent.snapshot() == ledger.snapshot()
    silent.reserve("desk", 900, 907, uid="z", now=900, ttl=50)
    assert silent.state.seq == ledger.state.seq + 1


def test_lapses_and_ended_sessions_are_steps_of_their_own() -> None:
    ledger, steps = played(4)
    done, seq = len(steps), steps[-1][-1].seq
    end = 3 + 10 * MINUTE
    ledger.expire(end)
    assert steps[done:] == [
        (ClientDropped(seq + 1, end, SESSION),),
        (Expired(seq + 2, end, "seat", 2, 904),),
    ]
    assert replayed(steps).snapshot() == ledger.snapshot()


def test_a_session_whose_opener_left_is_restored_with_its_uid() -> None:
    ledger, _ = played(4)
    (kept,) = [one for one in ledger.snapshot() if isinstance(one, SessionKept)]
    assert (kept.event_type, kept.start, kept.created) == ("class", 110, 3)
    again = replayed([ledger.snapshot()])
    (ours,), (theirs,) = (one.occupancy.sessions.values() for one in (ledger, again))
    assert (ours.uid, ours.created, ours.taken) == (theirs.uid, theirs.created, theirs.taken)


def test_lapses_count_after_a_restart() -> None:
    """Three in a row, and a fourth hold is refused for the cool-down; before and after."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    for i in range(3):
        ledger.step(Reserve((slot(20 * i, holder="ada", ttl=5),), (f"u{i}",)), 10 * i)
    ledger.expire(30)
    again = replayed([ledger.snapshot()])
    assert LapsesKept in {type(one) for one in again.snapshot()}
    for one in (ledger, again):
        with pytest.raises(Exception, match="lapses"):
            decide(one.state, Reserve((slot(90, holder="ada"),), ("x",)), 40)
    assert not [one for one in ledger.snapshot() if isinstance(one, LapsesKept) and one.lapses > 3]
    # When they are too long ago to count they are left out, unless a hold may continue the row.
    ledger.look(1_000)
    assert not [one for one in ledger.snapshot() if isinstance(one, LapsesKept)]


def test_lapses_count_while_a_hold_that_may_continue_the_row_lives() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((slot(0, holder="ada", ttl=5),), ("a",)), 0)
    ledger.step(Reserve((slot(20, holder="ada", ttl=900),), ("b",)), 7)
    ledger.expire(600)
    (kept,) = [one for one in ledger.snapshot() if isinstance(one, LapsesKept)]
    assert (kept.holder, kept.lapses, kept.last_lapse) == ("ada", 1, 5)
    assert replayed([ledger.snapshot()]).snapshot() == ledger.snapshot()


def test_keys_are_restored_with_and_without_their_reservations() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    request = keyed(slot(0), "key")
    ledger.step(Reserve((request,), ("a",)), 0)
    ledger.step(Release("a"), 1)
    ledger.step(Reserve((keyed(slot(20, ttl=DAY), "other"),), ("b",)), 2)
    ledger.look(2_000)  # "a" is past its retention, and not forgotten yet
    again = replayed([ledger.snapshot()])
    assert [one.uid for one in again.snapshot() if isinstance(one, KeyKept)] == ["a", "b"]
    for one in (ledger, again):
        with pytest.raises(Exception, match="a"):
            decide(one.state, Reserve((request,), ("c",)), 2_000)
        assert decide(one.state, Reserve((keyed(slot(20, ttl=DAY), "other"),), ("c",)), 2_000)
    ledger.look(3 * DAY)
    assert not [one for one in ledger.snapshot() if isinstance(one, KeyKept)]


def test_a_key_that_is_over_is_left_out_though_its_uid_was_given_to_another() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((keyed(slot(0), "key"),), ("a",)), 0)
    ledger.step(Release("a"), 1)
    ledger.expire(2_000)
    ledger.step(Reserve((slot(20, ttl=DAY),), ("a",)), DAY - 1)
    assert [one.key for one in ledger.snapshot() if isinstance(one, KeyKept)] == ["key"]
    again = replayed([ledger.snapshot()])
    entry = again.get("a", now=DAY - 1)
    assert entry is not None
    assert entry.key is None
    ledger.look(DAY)
    assert not [one for one in ledger.snapshot() if isinstance(one, KeyKept)]


def test_an_ended_reservation_outlives_its_resource() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((slot(0),), ("a",)), 0)
    ledger.step(Release("a"), 1)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=2)
    again = replayed([ledger.snapshot()])
    entry = again.get("a", now=2)
    assert entry is not None
    assert entry.all_claims() == (Claim("room", 0, 10),)
    assert again.snapshot() == ledger.snapshot()


def test_what_was_taken_of_more_units_than_there_are_stands_again() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room", capacity=3)
    ledger.step(Reserve((Proposal(0, 10, (Claim("room", 0, 10, 3),), 50),), ("a",)), 0)
    ledger.configure([Put(Kind.RESOURCE, "room", ResourceConfig(1))], now=1, force=True)
    again = replayed([ledger.snapshot()])
    assert again.busy("room", 0, 20, now=1) == [(0, 10, 1)]
    assert again.resource("room").overbooked


@pytest.mark.parametrize("again", [False, True])
def test_busy_time_of_a_resource_that_was_removed_is_not_restored(again: bool) -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    ledger.replace_busy("calendar", {"room": [(0, 9)], "desk": [(3, 7)]}, now=1)
    ledger.replace_busy("other", {"room": [(0, 9)]}, now=1)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=2)
    if again:
        ledger.add_resource("room")
    restored = replayed([ledger.snapshot()])
    restored.check_invariants()
    assert restored.snapshot() == ledger.snapshot()
    assert restored.occupancy.sources() == ["calendar"]
    assert restored.imported("desk", 0, 99) == ledger.imported("desk", 0, 99) != []


def test_lapses_are_not_restored_where_no_quota_counts_them() -> None:
    """Holders are counted since a request with a quota came, but it is not there any more."""
    terms = Terms(default_ttl=50, shortest_ttl=1, longest_ttl=DAY, retention=10)
    ledger = Ledger(terms, maintenance=0)
    ledger.add_resource("room", capacity=9)
    with_quota = slot(0, holder="ada")._replace(quota=Quota(holds=5))
    ledger.step(Reserve((with_quota,), ("a",)), 0)
    ledger.step(Release("a"), 1)
    ledger.step(Reserve((slot(0, holder="ada"),), ("b",)), 2)
    ledger.step(Reserve((slot(0, ttl=900, holder="ada"),), ("c",)), 3)
    ledger.step(Confirm("c"), 60)  # "b" has lapsed, and is not marked
    restored = Ledger(terms)
    restored.replay([ledger.snapshot()])
    restored.check_invariants()
    assert restored.snapshot() == ledger.snapshot()


def test_what_was_reinstated_and_has_ended_again_comes_last_of_what_has_ended() -> None:
    ledger = Ledger(TERMS)
    ledger.add_resource("room")
    ledger.add_resource("desk")
    ledger.step(Reserve((slot(0),), ("a",)), 0)
    ledger.expire(60)
    ledger.step(Reserve((slot(0, "desk"),), ("b",)), 61)
    ledger.step(Release("b"), 62)
    ledger.step(Confirm("a", if_still_free=True), 63)
    ledger.step(Cancel("a"), 64)
    restored = replayed([ledger.snapshot()])
    for one in ledger, restored:
        one.expire(65)
    assert restored.snapshot() == ledger.snapshot()


def test_a_snapshot_has_all_that_is_known_of_a_reservation() -> None:
    ledger, _ = played()
    again = replayed([ledger.snapshot()])
    assert {"f", "g", "h", "d", "e"} <= set(again.uids())
    for uid in ledger.uids():
        one, other = ledger.state.entries[uid], again.state.entries[uid]
        for name in ("quota", "demand", "extra", "holder", "event_type", "created", "changed"):
            assert getattr(other, name) == getattr(one, name)
    assert again.state.entries["f"].quota == Quota(holds=4)
    assert again.state.entries["g"].demand is Demand.AHEAD
    assert again.state.entries["d"].extra == Extra(replaces="c", replaced_by="e")


def test_what_ended_is_in_a_snapshot_until_its_retention_is_over() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((slot(0),), ("a",)), 0)
    ledger.step(Release("a"), 7)
    for now, known in ((7 + 999, True), (7 + 1_000, False)):
        ledger.look(now)
        kept = [one.uid for one in ledger.snapshot() if isinstance(one, ReservationKept)]
        assert kept == (["a"] if known else [])


def test_the_key_of_a_booking_is_in_a_snapshot_as_long_as_the_booking() -> None:
    """And cannot be used again, which a replay would refuse."""
    steps: list[Changes] = []
    ledger = Ledger(TERMS, maintenance=0)
    ledger.on_step = steps.append
    ledger.add_resource("room")
    ledger.add_resource("desk")
    ledger.step(Reserve((keyed(slot(0), "key"),), ("a",)), 5)
    ledger.step(Confirm("a"), 6)
    ledger.look(2 * KEY_LIFE)
    assert [one.key for one in ledger.snapshot() if isinstance(one, KeyKept)] == ["key"]
    again = Reserved(
        ledger.state.seq + 1, 2 * KEY_LIFE, "x", 1, 3 * KEY_LIFE, 0, 10, (Claim("desk", 0, 10),),
        key="key", digest=b"d", serial=99,
    )  # fmt: skip
    for other in (replayed(steps), replayed([ledger.snapshot()])):
        with pytest.raises(ReplayError, match="'key' was used before"):
            other.replay([(again,)])


def test_a_key_that_is_over_is_replayed_again_without_its_reservation() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((keyed(slot(0), "key"),), ("a",)), 5)
    ledger.step(Release("a"), 6)
    ledger.expire(6 + TERMS.retention)
    assert (ledger.uids(), ledger.tally().keys) == ([], 1)
    now = 5 + KEY_LIFE
    again = Reserved(
        ledger.state.seq + 1, now, "x", 1, now + 9, 0, 10, (Claim("room", 0, 10),), key="key",
        digest=b"d", serial=99,
    )  # fmt: skip
    with pytest.raises(ReplayError, match="'key' was used before"):
        ledger.replay([(again._replace(at=now - 1),)])
    ledger.replay([(again,)])
    ledger.check_invariants()


def test_a_snapshot_is_for_an_empty_ledger() -> None:
    ledger, _ = played()
    with pytest.raises(ReplayError, match="empty"):
        ledger.replay([ledger.snapshot()])


def test_a_question_can_be_asked_before_a_snapshot_comes() -> None:
    """The index that it made goes on with what is restored."""
    from slotengine.core.ledger.index import Query

    ledger, _ = played()
    again = Ledger(TERMS)
    again.find(Query(), now=0, limit=1)
    again.replay([ledger.snapshot()])
    again.check_invariants()
    found = again.find(Query(), now=150, limit=99)
    assert {one.uid for one in found.entries} == set(ledger.uids())


# --- What replay found --------------------------------------------------------------------------


def test_a_uid_may_be_used_again_when_its_reservation_is_past_its_retention() -> None:
    """Whether or not it was forgotten, marked, or even found to be so by anybody."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    steps: list[Changes] = [ledger.snapshot()]
    ledger.on_step = steps.append
    ledger.step(Reserve((slot(0),), ("a",)), 0)
    ledger.step(Release("a"), 7)
    ledger.step(Reserve((slot(20, ttl=9),), ("b",)), 7)
    with pytest.raises(InvalidField, match="in use"):
        ledger.step(Reserve((slot(40),), ("a",)), 1_006)
    with pytest.raises(InvalidField, match="in use"):
        ledger.reserve("room", 40, 50, uid="a", now=1_006, ttl=50)
    ledger.reserve("room", 40, 50, uid="a", now=1_007, ttl=50)
    assert [type(change) for change in steps[-1]] == [Reserved]  # the lapse of "b" is left
    ledger.step(Reserve((slot(60),), ("b",)), 1_016)
    assert [type(change) for change in steps[-1]] == [Expired, Reserved]
    ledger.check_invariants()
    assert ledger.tally().ended == 0
    assert replayed(steps).snapshot() == ledger.snapshot()
    ledger.expire(9_000)
    ledger.expire(9_000)
    assert ledger.uids() == []
    ledger.check_invariants()


def test_a_hold_is_reinstated_on_the_resource_that_there_is() -> None:
    """One of the same id, when its own was removed and added again meanwhile."""
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((slot(0),), ("a",)), 0)
    ledger.expire(60)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=61)
    ledger.add_resource("room")
    ledger.step(Confirm("a", if_still_free=True), 62)
    ledger.check_invariants()
    with pytest.raises(SlotTaken):
        ledger.step(Reserve((slot(5),), ("b",)), 63)


def test_a_hold_of_more_units_than_there_are_left_is_not_reinstated() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room", capacity=3)
    ledger.step(Reserve((Proposal(0, 10, (Claim("room", 0, 10, 3),), 50),), ("a",)), 0)
    ledger.expire(60)
    ledger.configure([Put(Kind.RESOURCE, "room", ResourceConfig(1))], now=61)
    with pytest.raises(SlotTaken):
        ledger.step(Confirm("a", if_still_free=True), 62)


def test_each_session_of_one_reservation_has_a_uid_of_its_own() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("hall")
    ledger.step(Reserve((seat(0),), ("a",)), 0)
    uids = [session.uid for session in ledger.occupancy.sessions.values()]
    ledger.step(Move("a", (seat(20),)), 1)
    uids += [session.uid for session in ledger.occupancy.sessions.values()]
    assert len(set(uids)) == 2


def test_only_who_is_alone_in_a_session_moves_it_to_something_else() -> None:
    steps: list[Changes] = []
    ledger = Ledger(TERMS, maintenance=0)
    ledger.on_step = steps.append
    for name in ("hall", "desk"):
        ledger.add_resource(name)
    ledger.step(Reserve((seat(0),), ("a",)), 0)
    elsewhere = seat(0)._replace(claims=(Claim("desk", 0, 10),))
    ledger.step(Move("a", (elsewhere,)), 1)
    assert replayed(steps).snapshot() == ledger.snapshot()
    ledger.step(Reserve((elsewhere,), ("b",)), 2)
    ledger.step(Move("b", (elsewhere,)), 3)
    again = replayed(steps)
    assert again.snapshot() == ledger.snapshot()
    for one, problem in ((seat(0), "takes the same for all"), (slot(0, "hall"), None)):
        moved = Moved(
            again.state.seq + 1, 4, "b", 3, 900, 0, 10, one.claims, one.seats, one.event_type
        )
        if problem is None:
            again.replay([(moved,)])
        else:
            with pytest.raises(ReplayError, match=problem):
                again.replay([(moved,)])
    again.check_invariants()


def test_what_a_source_said_already_is_no_change() -> None:
    ledger, steps = played()
    done = len(steps)
    ledger.replace_busy("calendar", {"attic": [(3, 9), (0, 5)], "desk": []}, now=200)
    ledger.replace_busy("other", {}, now=200)
    ledger.forget_bookings(0, ledger.uids())
    assert len(steps) == done
    ledger.replace_busy("calendar", {"desk": [(0, 7)]}, now=201)
    assert steps[done:] == [
        (BusyImported(ledger.state.seq, 201, "calendar", (("desk", ((0, 7),)),)),)
    ]


# --- What does not follow -----------------------------------------------------------------------

TALK_ONCE = EventTypeConfig(10, (HostConfig("desk"),), limits=(PeriodLimitConfig("day", 1),))


def new(seq: int) -> Any:
    """Return a change that makes a reservation, and would follow if nothing of it was replaced."""
    return Reserved(seq, 200, "x", 1, 900, 0, 10, (Claim("desk", 0, 10),), serial=99)


NEXT: dict[str, Callable[[int], Any]] = {
    "comes next": lambda seq: Released(seq + 1, 200, "f", 2),
    "came again": lambda seq: Released(seq - 1, 200, "f", 2),
    "before the change": lambda seq: Released(seq, 149, "f", 2),
    "beyond the calendar": lambda seq: Released(seq, LAST_US + 1, "f", 2),
    "no change in a step": lambda seq: ("released", "f"),
    "no change in a step: ReservationKept": lambda seq: HELD._replace(seq=seq, at=200, uid="x"),
    "an empty ledger": lambda seq: SnapshotBegun(seq, 200, 9, 0, 0),
    "there is no reservation 'nobody'": lambda seq: Released(seq, 200, "nobody", 2),
    "'h' is confirmed": lambda seq: Extended(seq, 200, "h", 4, 900),
    "version 1, which 3": lambda seq: Extended(seq, 200, "f", 3, 900),
    "no resource 'cellar'": lambda seq: Moved(
        seq, 200, "f", 2, 1_019, 0, 10, (Claim("cellar", 0, 10),)
    ),
    "takes nothing": lambda seq: Moved(seq, 200, "f", 2, 1_019, 0, 10, (Claim("room", 9, 9),)),
    "a slot takes": lambda seq: Moved(seq, 200, "f", 2, 1_019, 0, 10, ()),
    "end must be after": lambda seq: Moved(seq, 200, "f", 2, 1_019, 9, 9, (Claim("room", 0, 9),)),
    "does not lapse": lambda seq: Moved(seq, 200, "h", 4, 1_019, 0, 10, (Claim("room", 0, 10),)),
    "of an event type": lambda seq: Moved(
        seq, 200, "f", 2, 1_019, 0, 10, (Claim("room", 0, 10),), Seats(3)
    ),
    "a seat is taken": lambda seq: Moved(
        seq, 200, "f", 2, 1_019, 0, 10, (Claim("room", 0, 10),), Seats(3, 0), "class"
    ),
    "has version 1": lambda seq: Confirmed(seq, 200, "f", 1),
    "'f' lapses at 1019": lambda seq: Expired(seq, 2_000, "f", 2, 1_018),
    "has not lapsed": lambda seq: Expired(seq, 200, "f", 2, 1_019),
    "reservation 'f' already": lambda seq: Reserved(
        seq, 200, "f", 1, 900, 0, 10, (Claim("room", 0, 10),), serial=99
    ),
    "new reservation has version 1": lambda seq: Reserved(
        seq, 200, "x", 2, 900, 0, 10, (Claim("room", 0, 10),), serial=99
    ),
    "serial numbers rise": lambda seq: Reserved(
        seq, 200, "x", 1, 900, 0, 10, (Claim("room", 0, 10),), serial=3
    ),
    "given with a key": lambda seq: Reserved(
        seq, 200, "x", 1, 900, 0, 10, (Claim("room", 0, 10),), key="k", serial=99
    ),
    "no booking 'f'": lambda seq: Forgotten(seq, 200, 100, ("f",)),
    "no booking 'nobody'": lambda seq: Forgotten(seq, 200, 100, ("nobody",)),
    "a booking twice": lambda seq: Forgotten(seq, 200, 100, ("h", "h")),
    "no such resource|cellar": lambda seq: BusyImported(
        seq, 200, "calendar", (("cellar", ((0, 9),)),)
    ),
    "not touch": lambda seq: BusyImported(seq, 200, "calendar", (("desk", ((0, 9), (9, 12))),)),
    "no such session": lambda seq: ClientDropped(seq, 200, bytes(16)),
    "is edition 9 of the configuration, not 3": lambda seq: Configured(seq, 200, 9, ()),
    "no document has the id 'hooks/hook'": lambda seq: Configured(
        seq, 200, 3, (Setting(Kind.DOCUMENT, "hook", None, 3, "hooks"),)
    ),
    "a limit cannot be": lambda seq: Configured(
        seq, 200, 3, (Setting(Kind.LIMIT, "limit:x", ResourceConfig(1), 3),)
    ),
    "no schedule has the id 'never'": lambda seq: Configured(
        seq, 200, 3, (Setting(Kind.RESOURCE, "den", ResourceConfig(1, "never"), 3),)
    ),
    "each entry once": lambda seq: Configured(
        seq,
        200,
        3,
        (
            Setting(Kind.RESOURCE, "den", ResourceConfig(1), 3),
            Setting(Kind.RESOURCE, "den", None, 3),
            Setting(Kind.EVENT_TYPE, "chat", EventTypeConfig(10, (HostConfig("den"),)), 3),
        ),
    ),
    "no resource has the id 'den'": lambda seq: Configured(
        seq,
        200,
        3,
        (Setting(Kind.EVENT_TYPE, "chat", EventTypeConfig(10, (HostConfig("den"),)), 3),),
    ),
    "cannot have the version 2": lambda seq: Configured(
        seq, 200, 3, (Setting(Kind.RESOURCE, "den", ResourceConfig(1), 2),)
    ),
    "resource 'room' would be left with 0": lambda seq: Configured(
        seq, 200, 3, (Setting(Kind.RESOURCE, "room", None, 3),)
    ),
    "'g' lapsed at 25": lambda seq: Confirmed(seq, 200, "g", 2),
    "'f' lapsed at 1019": lambda seq: Confirmed(seq, 1_019, "f", 2),
    "cannot lapse at 200": lambda seq: Extended(seq, 200, "f", 2, 200),
    "cannot lapse at 199": lambda seq: Moved(seq, 200, "f", 2, 199, 0, 10, (Claim("room", 0, 10),)),
    f"cannot lapse at {2**62}": lambda seq: new(seq)._replace(until=2**62),
    "uid is a text": lambda seq: new(seq)._replace(uid=""),
    "holder must be": lambda seq: new(seq)._replace(holder=5),
    "serial numbers rise: 11": lambda seq: new(seq)._replace(serial=2**53),
    "serial numbers rise: 11 was used": lambda seq: new(seq)._replace(serial=11),
    "key 'key' was used before": lambda seq: new(seq)._replace(key="key", digest=b"d"),
    "quota must be": lambda seq: new(seq)._replace(quota=5),
    "takes the same for all": lambda seq: new(seq)._replace(
        start=110, end=120, event_type="class", seats=Seats(3)
    ),
    "takes a span twice": lambda seq: new(seq)._replace(claims=2 * (Claim("desk", 0, 10),)),
    "'h' is not over by 29": lambda seq: Forgotten(seq, 200, 29, ("h",)),
    "session must be 16 bytes": lambda seq: Answered(seq, 200, CommandId(b"", 0, 0), ()),
    "an answer is a uid": lambda seq: Answered(
        seq, 200, CommandId(session_id(150, bytes(8)), 0, 0), (Answer("", 1),)
    ),
    "the session goes on": lambda seq: ClientDropped(seq, 200, SESSION),
    r"not what it should be \(TypeError\)": lambda seq: new(seq)._replace(until=None),
    r"not what it should be \(AttributeError\)": lambda seq: new(seq)._replace(
        seats=3, event_type="x"
    ),
}


@pytest.mark.parametrize("problem", NEXT)
def test_what_does_not_follow_is_refused(problem: str) -> None:
    ledger, _ = played()
    before = ledger.snapshot()
    change = NEXT[problem](ledger.state.seq + 1)
    words = "must come next" if problem in {"comes next", "came again"} else problem
    with pytest.raises(ReplayError, match=words) as caught:
        ledger.replay([(change,)])
    assert caught.value.seq == getattr(change, "seq", ledger.state.seq + 1)
    assert ledger.snapshot() == before
    ledger.check_invariants()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((Setting(Kind.RESOURCE, "room", ResourceConfig(1, "always"), 3),), id="is so"),
        pytest.param((Setting(Kind.EVENT_TYPE, "talk", TALK_ONCE, 3),), id="without its limit"),
        pytest.param(
            (
                Setting(Kind.EVENT_TYPE, "chat", EventTypeConfig(10, (HostConfig("den"),)), 3),
                Setting(Kind.RESOURCE, "den", ResourceConfig(1), 3),
            ),
            id="in another order",
        ),
        pytest.param(
            (
                Setting(Kind.LIMIT, LIMIT, LimitConfig(1), 3),
                Setting(Kind.EVENT_TYPE, "talk", TALK_ONCE, 3),
            ),
            id="before a hold that has lapsed is marked",
        ),
    ],
)
def test_a_configuration_that_no_command_sets_is_refused(settings: tuple[Setting, ...]) -> None:
    ledger, _ = played()
    before = ledger.snapshot()
    with pytest.raises(ReplayError, match="not what a configuration is set to"):
        ledger.replay([(Configured(ledger.state.seq + 1, 200, 3, settings),)])
    assert ledger.snapshot() == before


FOLLOWS: list[Callable[[int], Any]] = [
    lambda seq: Extended(seq, 200, "f", 2, 900),
    lambda seq: Extended(seq, 200, "f", 2, LAST_US),
    lambda seq: Moved(seq, 200, "h", 4, BOOKED_UNTIL, 0, 10, (Claim("desk", 0, 10),)),
    lambda seq: Cancelled(seq, 200, "h", 4, "x"),
    lambda seq: Reserved(
        seq, 2_000, "a", 1, 2_900, 0, 10, (Claim("desk", 0, 10),), key="k", digest=b"d", serial=99
    ),
    new,
    lambda seq: new(seq)._replace(at=2 * KEY_LIFE, until=2 * KEY_LIFE + 1, key="key", digest=b"d"),
    lambda seq: ClientDropped(seq, 3 + IDLE, SESSION),
    lambda seq: Configured(
        seq,
        200,
        3,
        (
            Setting(Kind.SCHEDULE, "never", schedule_text(FixedWindows([])), 3),
            Setting(Kind.RESOURCE, "den", ResourceConfig(1, "never"), 3),
            Setting(Kind.LIMIT, "limit:x", LimitConfig(1), 3),
            Setting(Kind.EVENT_TYPE, "chat", EventTypeConfig(10, (HostConfig("den"),)), 3),
        ),
    ),
]


@pytest.mark.parametrize("change", FOLLOWS)
def test_what_follows_is_carried_out(change: Callable[[int], Any]) -> None:
    ledger, _ = played()
    ledger.replay([(change(ledger.state.seq + 1),)])
    ledger.check_invariants()
    with pytest.raises(ReplayError):
        ledger.replay([(change(ledger.state.seq),)])


@pytest.mark.parametrize(
    "step", ["step", (), None, [Released(1, 2, "a", 2)], Released(1, 2, "a", 2)]
)
def test_only_steps_are_replayed(step: Any) -> None:
    with pytest.raises(ReplayError, match="a step must be a tuple of changes") as caught:
        Ledger(TERMS).replay([step])
    assert caught.value.seq == 1


BEGUN = SnapshotBegun(7, 5, 9, 2, -3)
HELD: Any = ReservationKept(
    7, 5, "a", 2, State.HELD, 50, 0, 10, (Claim("room", 0, 10),), None, None, None, 4, 5, None,
    Demand.NOTHING, 7, None,
)  # fmt: skip
ROOM = Configured(7, 5, 1, (Setting(Kind.RESOURCE, "room", ResourceConfig(1), 1),))
DEN = Setting(Kind.RESOURCE, "den", ResourceConfig(1), 2)
OTHER = CommandId(session_id(1, b"12345678"), 0, 0)
TALK = SessionKept(7, 5, "s", "talk", 0, 10, (Claim("room", 0, 10),), 4)


KEY: Any = KeyKept(7, 5, "k", b"d", "a", 4)
RELEASED = HELD._replace(state=State.RELEASED, until=5, uid="b", serial=8)
SEAT = HELD._replace(seats=Seats(3), event_type="talk")
ANSWERED = Answered(7, 5, CommandId(session_id(1, bytes(8)), 0, 0), (Answer("a", 1),))
LAPSES = LapsesKept(7, 5, "ada", 1, 4, 3, 0, (), 0)


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        ("number from 0", (BEGUN._replace(seq=-1),)),
        ("an empty ledger", (BEGUN, BEGUN)),
        ("an empty ledger", (BEGUN._replace(seq=0), ROOM._replace(seq=0), BEGUN)),
        ("beyond the calendar", (BEGUN._replace(at=LAST_US + 1),)),
        ("counts nothing", (BEGUN._replace(expired=-1),)),
        ("counts nothing", (BEGUN._replace(serial=2**53),)),
        ("no part of this snapshot", (BEGUN, ROOM._replace(seq=8))),
        ("no change in a snapshot", (BEGUN, ROOM, Released(7, 5, "a", 2))),
        ("after the snapshot", (BEGUN, ROOM._replace(at=6))),
        ("cannot have the version 2", (BEGUN, ROOM._replace(settings=(DEN,)))),
        ("no resource 'room'", (BEGUN, HELD)),
        ("there twice", (BEGUN, ROOM, HELD, HELD)),
        ("uid is a text", (BEGUN, ROOM, HELD._replace(uid=""))),
        ("holder must be", (BEGUN, ROOM, HELD._replace(holder=7))),
        ("wants something", (BEGUN, ROOM, HELD._replace(state=State.REQUESTED))),
        ("versions begin", (BEGUN, ROOM, HELD._replace(version=0))),
        ("serial number was not", (BEGUN, ROOM, HELD._replace(serial=10))),
        ("serial number was not", (BEGUN, ROOM, HELD._replace(serial=0))),
        ("serial number is there twice", (BEGUN, ROOM, HELD, RELEASED._replace(serial=7))),
        ("cannot have changed", (BEGUN, ROOM, HELD._replace(changed=6))),
        ("cannot have changed", (BEGUN, ROOM, HELD._replace(changed=3))),
        ("held cannot be so until", (BEGUN, ROOM, HELD._replace(until=2**62))),
        ("confirmed cannot be so", (BEGUN, ROOM, HELD._replace(state=State.CONFIRMED))),
        ("released cannot be so", (BEGUN, ROOM, RELEASED._replace(until=6))),
        ("quota must be", (BEGUN, ROOM, HELD._replace(quota=3))),
        ("takes nothing", (BEGUN, RELEASED._replace(claims=(Claim("room", 3, 3),)))),
        ("no session", (BEGUN, ROOM, SEAT)),
        ("session .* already", (BEGUN, ROOM, TALK, TALK)),
        ("session is of an event type", (BEGUN, ROOM, TALK._replace(event_type=""))),
        ("session takes something", (BEGUN, ROOM, TALK._replace(claims=()))),
        ("session takes the same", (BEGUN, ROOM, TALK, SEAT._replace(end=9))),
        ("nobody is in the session", (BEGUN, ROOM, TALK)),
        ("what the key 'k' was used", (BEGUN, ROOM, HELD._replace(key="k"))),
        ("key 'k' is there twice", (BEGUN, KEY, KEY)),
        ("been used later", (BEGUN, KEY._replace(made=6))),
        ("digest must be", (BEGUN, KEY._replace(digest=None))),
        ("before another", (BEGUN, ANSWERED, ANSWERED._replace(at=4, command_id=OTHER))),
    ],
)
def test_a_snapshot_is_checked(problem: str, step: Changes) -> None:
    with pytest.raises(ReplayError, match=problem) as caught:
        Ledger(Terms(shortest_ttl=1)).replay([step])
    assert isinstance(caught.value.seq, int)
    if caught.value.__cause__ is None and "no change in a snapshot" not in problem:
        assert caught.value.seq == step[-1].seq
    # What any other part of the ledger refuses comes after what was carried out.
    else:
        assert caught.value.seq in (1, step[-1].seq + 1)


@pytest.mark.parametrize(
    "kept",
    [
        HELD._replace(until=FIRST_US),
        HELD._replace(until=LAST_US),
        RELEASED._replace(until=FIRST_US),
    ],
)
def test_what_a_snapshot_has_may_end_at_any_time_there_is(kept: ReservationKept) -> None:
    ledger = Ledger(Terms(shortest_ttl=1))
    ledger.replay([(BEGUN, ROOM, kept)])
    assert ledger.state.entries[kept.uid].until == kept.until


@pytest.mark.parametrize(
    ("problem", "lapses"),
    [
        ("no lapses are such", LAPSES._replace(lapses=-1)),
        ("no lapses are such", LAPSES._replace(holder="")),
        ("no lapses are such", LAPSES._replace(pending=((4, 3), (3, 3)))),
        ("before it is made", LAPSES._replace(pending=((3, 4),))),
    ],
)
def test_the_lapses_of_a_snapshot_are_checked(problem: str, lapses: LapsesKept) -> None:
    with pytest.raises(ReplayError, match=problem) as caught:
        Ledger(TERMS).replay([(BEGUN, lapses)])
    assert caught.value.seq == lapses.seq
    Ledger(TERMS).replay([(BEGUN, LAPSES._replace(pending=((3, 3), (4, 3))))])


@pytest.mark.parametrize("most", [None, 9])
def test_lapses_are_no_matter_where_the_terms_are_others_now(most: int | None) -> None:
    ledger = Ledger(Terms(shortest_ttl=1, max_holds=most))
    ledger.replay([(BEGUN, ROOM, LAPSES)])
    ledger.check_invariants()
    assert ledger.state.holders is None or not ledger.state.holders.records


def test_a_key_of_another_reservation_with_the_same_uid_is_not_taken_for_its_own() -> None:
    """Though both were made at one moment, because nothing is retained."""
    terms = Terms(shortest_ttl=1, retention=0)
    ledger = Ledger(terms, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((keyed(slot(0), "first"),), ("a",)), 5)
    ledger.step(Release("a"), 5)
    ledger.step(Reserve((keyed(slot(20), "second"),), ("a",)), 5)
    restored = Ledger(terms, maintenance=0)
    restored.replay([ledger.snapshot()])
    restored.check_invariants()
    assert restored.snapshot() == ledger.snapshot()
    entry = restored.get("a", now=5)
    assert entry is not None
    assert entry.key == "second"


def test_a_hold_that_is_past_its_retention_has_no_key_in_a_snapshot() -> None:
    ledger = Ledger(TERMS, maintenance=0)
    ledger.add_resource("room")
    ledger.step(Reserve((keyed(slot(0), "key"),), ("a",)), 5)
    for now, known in ((5 + 49, True), (5 + 50 + TERMS.retention, False), (5 + KEY_LIFE, False)):
        ledger.look(now)
        (kept,) = [one for one in ledger.snapshot() if isinstance(one, ReservationKept)]
        assert (kept.key == "key") is known
        assert replayed([ledger.snapshot()]).snapshot() == ledger.snapshot()


def test_a_quota_that_a_snapshot_has_is_counted() -> None:
    ledger = Ledger(Terms(shortest_ttl=1))
    ledger.replay([(BEGUN, ROOM, HELD._replace(holder="ada", quota=Quota(holds=1)))])
    assert ledger.state.holders is not None
    ledger.check_invariants()
    # What comes next goes on from the number of the snapshot.
    ledger.replay([(Released(8, 6, "a", 3),)])
    assert ledger.state.seq == 8
