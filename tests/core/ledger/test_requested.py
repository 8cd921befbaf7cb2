"""What is requested: kept as it is wanted, and decided when it is confirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from slotengine.core.ledger.changes import Confirmed, Granted, Moved, Requested, ReservationKept
from slotengine.core.ledger.commands import (
    Adopt,
    Annotate,
    Choice,
    Command,
    Confirm,
    Extend,
    Mode,
    Move,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Kind, LimitConfig, Put, Remove, Retire
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.extra import Extra
from slotengine.core.ledger.index import Query
from slotengine.core.ledger.ledger import Ledger, Served
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule, Wanted
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.replay import replay
from slotengine.core.ledger.reservation import Claim, Demand, Entry, Seats, State, Verb
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import (
    AlreadyOver,
    InvalidField,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    OutsideHours,
    ReplayError,
    Retired,
    SlotTaken,
    StaleVersion,
    TooManyUnits,
    TooSoon,
    UnknownResource,
    WrongState,
)
from tests.core.ledger.untouched import untouched

TERMS = Terms(default_ttl=100, shortest_ttl=10, longest_ttl=1_000, retention=500, max_holds=1)
LIMIT = Claim("limit:some", 0, 99)
DIGEST = b"0123456789abcdef"


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger(TERMS)
    for name in ("room", "host-1", "host-2"):
        made.add_resource(name)
    made.add_resource("shop", schedule=FixedWindows([(0, 50)]))
    made.add_limit("limit:some", 1)
    return made


def asks(start: int = 10, name: str = "room", requested: bool = True) -> Proposal:
    claims = (Claim(name, start, start + 10),)
    return Proposal(start, start + 10, claims, 100, "ada", requested=requested)


def request(ledger: Ledger, proposal: Proposal, uid: str = "a", now: int = 0) -> Entry:
    return ledger.reserve_proposal(proposal._replace(requested=True), uid=uid, now=now)


def state_of(ledger: Ledger, uid: str, now: int = 1) -> State:
    entry = ledger.get(uid, now=now)
    assert entry is not None
    return entry.state_at(now)


def test_it_occupies_nothing_counts_for_nothing_and_never_lapses(ledger: Ledger) -> None:
    limited = asks()._replace(limits=(LIMIT,), quota=Quota(holds=1))
    for uid in ("a", "b", "c"):  # three, of a holder who may have one hold
        entry = request(ledger, limited, uid)
        assert (entry.state, entry.until, entry.version) == (State.REQUESTED, NEVER, 1)
    assert ledger.busy("room", 0, 99, now=0) == []
    assert ledger.reserve_proposal(asks(requested=False), uid="d", now=0).state is State.HELD
    tally = ledger.tally()
    assert (tally.held, tally.requested, tally.confirmed, tally.ended) == (1, 3, 0, 0)
    ledger.expire(10**9)
    assert state_of(ledger, "a", 10**9) is State.REQUESTED
    ledger.check_invariants()


def test_it_can_be_found(ledger: Ledger) -> None:
    request(ledger, asks()._replace(extra=Extra(tags=("vip",))))
    ledger.reserve_proposal(asks(requested=False), uid="held", now=0)
    requested = Query(states=frozenset({State.REQUESTED}))
    for query in (requested, Query(tag="vip"), requested._replace(holder="ada")):
        found = ledger.find(query, now=0, limit=9).entries
        assert [one.uid for one in found] == ["a"]
    assert ledger.reservations_in("room", 0, 99, now=0) == [ledger.state.entries["held"]]
    request(ledger, asks(30), "b")  # from now on there is an index
    ledger.move("b", asks(50, requested=False), now=0)
    later = requested._replace(within=(50, 51))
    assert [one.uid for one in ledger.find(later, now=0, limit=9).entries] == ["b"]
    for uid in ("a", "b"):
        ledger.cancel(uid, now=1)
    assert ledger.find(requested, now=1, limit=9).entries == []
    ledger.check_invariants()


def test_confirming_it_makes_it_a_booking(ledger: Ledger) -> None:
    request(ledger, asks()._replace(limits=(LIMIT,)))
    decision = ledger.step(Confirm("a", version=1), 1)
    granted = decision.changes[-1]
    assert isinstance(granted, Granted)
    assert granted.verb is Verb.CONFIRM
    assert granted.claims == (Claim("room", 10, 20), LIMIT)
    assert state_of(ledger, "a") is State.CONFIRMED
    with pytest.raises(SlotTaken):
        ledger.reserve_proposal(asks(requested=False), uid="b", now=1)
    other = asks(30, requested=False)._replace(limits=(LIMIT,))
    with pytest.raises(LimitReached):
        ledger.reserve_proposal(other, uid="b", now=1)
    assert ledger.confirm("a", now=2).version == 2  # it is one already
    ledger.cancel("a", now=3)
    assert ledger.busy("room", 0, 99, now=3) == []
    ledger.check_invariants()


def test_of_a_pool_one_is_chosen_when_it_is_confirmed(ledger: Ledger) -> None:
    pool = Pool((Claim("host-1", 10, 20), Claim("host-2", 10, 20)))
    wanted = asks()._replace(claims=(), pools=(pool,), event_type="talk")
    for uid in ("a", "b", "c"):
        assert request(ledger, wanted, uid).all_claims() == ()
    assert ledger.confirm("a", now=1).all_claims() == (Claim("host-1", 10, 20),)
    assert ledger.confirm("b", now=1).all_claims() == (Claim("host-2", 10, 20),)
    with pytest.raises(NoneFree):
        ledger.confirm("c", now=1)
    assert state_of(ledger, "c") is State.REQUESTED
    ledger.check_invariants()


def test_seats_are_taken_when_it_is_confirmed(ledger: Ledger) -> None:
    class_of_two = asks()._replace(event_type="class", seats=Seats(2))
    for uid in ("a", "b", "c"):
        assert request(ledger, class_of_two, uid).session is None
    sessions = {ledger.confirm(uid, now=1).session for uid in ("a", "b")}
    assert len(sessions) == 1
    with pytest.raises(NoSeatsLeft):
        ledger.confirm("c", now=1)
    ledger.check_invariants()


def reserved(ledger: Ledger) -> None:
    ledger.reserve("room", 15, 16, uid="other", now=0, ttl=100)


def retired(ledger: Ledger) -> None:
    ledger.configure([Retire(Kind.RESOURCE, "room")])


def removed(ledger: Ledger) -> None:
    ledger.configure([Remove(Kind.RESOURCE, "room")])


@pytest.mark.parametrize(
    ("happens", "error"),
    [(reserved, SlotTaken), (retired, Retired), (removed, UnknownResource)],
)
def test_it_is_decided_as_things_are_then(
    ledger: Ledger, happens: Callable[[Ledger], None], error: type[Exception]
) -> None:
    request(ledger, asks())
    happens(ledger)
    with untouched(ledger), pytest.raises(error):
        decide(ledger.state, Confirm("a"), 1)
    assert state_of(ledger, "a") is State.REQUESTED


def test_hours_and_the_past_count_when_it_is_confirmed(ledger: Ledger) -> None:
    request(ledger, asks(45, "shop")._replace(demand=Demand.HOURS), "late")
    with pytest.raises(OutsideHours):
        ledger.confirm("late", now=1)
    request(ledger, asks()._replace(demand=Demand.AHEAD), "past")
    with pytest.raises(AlreadyOver):
        ledger.confirm("past", now=20)
    request(ledger, asks()._replace(closed=("room",)), "shut")
    with pytest.raises(OutsideHours):
        ledger.confirm("shut", now=1)
    for uid in ("late", "past", "shut"):  # whoever may overrule that
        assert ledger.confirm(uid, now=20, enforce=False).state is State.CONFIRMED
        ledger.cancel(uid, now=20)


def test_a_request_that_was_worked_out_anew_takes_its_place(ledger: Ledger) -> None:
    request(ledger, asks())
    rule = StartRule("talk", notice=5, opens=0, closes=99)
    anew = asks(requested=False)._replace(claims=(Claim("host-1", 9, 20),), rule=rule)
    with pytest.raises(TooSoon):
        ledger.do(Confirm("a", request=anew._replace(rule=rule._replace(notice=10))), now=1)
    many = anew._replace(claims=(Claim("host-1", 9, 20, 2),))
    with pytest.raises(TooManyUnits):
        ledger.do(Confirm("a", request=many), now=1)
    assert ledger.do(Confirm("a", request=anew), now=5).all_claims() == (Claim("host-1", 9, 20),)
    ledger.check_invariants()


def test_a_limit_that_is_gone_counts_no_more(ledger: Ledger) -> None:
    request(ledger, asks()._replace(limits=(LIMIT,)))
    ledger.configure([Remove(Kind.LIMIT, "limit:some")])
    assert ledger.confirm("a", now=1).all_claims() == (Claim("room", 10, 20),)
    ledger.configure([Put(Kind.LIMIT, "limit:some", LimitConfig(1))])
    ledger.check_invariants()


def test_a_lapsed_hold_in_its_way_is_told_first(ledger: Ledger) -> None:
    told: list[Verb] = []
    ledger.maintenance = 0
    ledger.reserve("room", 10, 20, uid="held", now=0, ttl=10)
    request(ledger, asks())
    ledger.on_change = lambda change, _: told.append(change.verb)
    ledger.confirm("a", now=10)
    assert told == [Verb.EXPIRE, Verb.CONFIRM]


def test_moving_it_changes_what_is_wanted_and_decides_nothing(ledger: Ledger) -> None:
    ledger.reserve("host-1", 30, 40, uid="other", now=0, ttl=1_000)
    request(ledger, asks())
    moved = ledger.move("a", asks(30, "host-1", requested=False), now=1, renew=True, version=1)
    assert (moved.state, moved.until, moved.version) == (State.REQUESTED, NEVER, 2)
    assert (moved.start, moved.all_claims()) == (30, (Claim("host-1", 30, 40),))
    with pytest.raises(SlotTaken):
        ledger.confirm("a", now=1)
    ledger.release("other", now=2)
    assert ledger.confirm("a", now=2).start == 30
    with pytest.raises(StaleVersion):
        ledger.confirm("a", now=2, version=1)
    ledger.check_invariants()


@pytest.mark.parametrize(("verb", "state"), [("release", "released"), ("cancel", "cancelled")])
def test_ending_it_forgets_what_was_wanted(ledger: Ledger, verb: str, state: str) -> None:
    request(ledger, asks())
    ended = getattr(ledger, verb)("a", now=1)
    assert (ended.state.value, ended.until, ended.version) == (state, 1, 2)
    assert ended.wanted is None
    assert getattr(ledger, verb)("a", now=2) == ended
    ledger.check_invariants()
    ledger.expire(501)
    assert ledger.get("a", now=501) is None
    ledger.check_invariants()


def test_a_key_finds_it_whatever_has_become_of_it(ledger: Ledger) -> None:
    asked = asks()._replace(key="k", digest=DIGEST)
    entry = request(ledger, asked)
    assert request(ledger, asked, "b") == entry
    ledger.confirm("a", now=1)
    assert request(ledger, asked, "c").state is State.CONFIRMED
    assert ledger.tally().accepted == 1


def test_a_lapsed_hold_with_its_key_or_its_uid_is_told_first() -> None:
    ledger = Ledger(replace(TERMS, retention=0), maintenance=0)
    ledger.add_resource("room")
    held = asks(requested=False)._replace(key="k", digest=DIGEST, ttl=10)
    ledger.reserve_proposal(held, uid="a", now=0)
    later = 10 + 24 * 3600 * 10**6
    decision = ledger.step(Reserve((asks()._replace(key="k", digest=DIGEST),), ("b",)), later)
    assert [type(one) for one in decision.changes][-1] is Requested
    ledger.check_invariants()
    ledger.reserve("room", 10, 20, uid="c", now=later, ttl=10)
    assert request(ledger, asks(), "c", now=later + 10).state is State.REQUESTED
    ledger.check_invariants()


def test_in_a_batch_it_takes_nothing_from_the_others(ledger: Ledger) -> None:
    both = [asks(), asks(requested=False), asks(30)]
    made = ledger.reserve_all(both, uids=["a", "b", "c"], now=0)
    assert [one.state for one in made] == [State.REQUESTED, State.HELD, State.REQUESTED]
    assert [one.serial for one in made] == [1, 2, 3]
    each = ledger.reserve_each([asks(), asks(requested=False)], uids=["d", "e"], now=0)
    assert isinstance(each[0], Entry)
    assert not isinstance(each[1], Entry)
    ledger.check_invariants()


def test_it_waits_for_nothing_and_whoever_waits_comes_before_it(ledger: Ledger) -> None:
    taken = ledger.reserve("room", 10, 20, uid="taken", now=0, ttl=100)
    request(ledger, asks())
    waiting = Reserve((asks(requested=False)._replace(holder=None),), ("waits",), wait=1_000)
    ledger.step(waiting, 0)
    request(ledger, asks(), "late")
    ledger.release(taken.uid, now=1)
    with pytest.raises(SlotTaken):
        ledger.confirm("a", now=1)
    (served,) = ledger.serve(1)
    assert isinstance(served, Served)
    ledger.release("waits", now=2)
    assert ledger.confirm("a", now=2).state is State.CONFIRMED


def test_whoever_waits_for_a_seat_gets_one_in_a_session_that_is_granted(ledger: Ledger) -> None:
    seat = asks()._replace(event_type="class", seats=Seats(2))
    ledger.reserve("room", 10, 20, uid="taken", now=0, ttl=100)
    request(ledger, seat)
    joins = seat._replace(requested=False, holder=None)
    ledger.step(Reserve((joins,), ("waits",), wait=1_000), 0)
    ledger.release("taken", now=1)
    assert ledger.do(Confirm("a", jump=True), now=1).state is State.CONFIRMED
    assert len(ledger.serve(1)) == 1
    assert state_of(ledger, "waits") is State.HELD
    ledger.check_invariants()


REFUSED: dict[str, tuple[Command, type[Exception]]] = {
    "extend": (Extend("a", 100), WrongState),
    "replace": (Replace("a", asks(requested=False), "new"), WrongState),
    "move to one of several": (Move("a", (asks(requested=False),), choice=Choice()), WrongState),
    "one of several": (Reserve((asks(),), ("new",), Mode.ANY), InvalidField),
    "adopt": (Adopt(asks(), "new"), InvalidField),
    "move to what is requested": (Move("a", (asks(),)), InvalidField),
    "replace by what is requested": (Replace("held", asks(), "new"), InvalidField),
    "too many": (Reserve((asks()._replace(claims=(Claim("room", 10, 20, 2),)),), ("b",)),
                 TooManyUnits),
    "nowhere": (Reserve((asks(name="attic"),), ("b",)), UnknownResource),
}  # fmt: skip


@pytest.mark.parametrize(("command", "error"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done(ledger: Ledger, command: Command, error: type[Exception]) -> None:
    request(ledger, asks())
    ledger.reserve("host-1", 10, 20, uid="held", now=0, ttl=100)
    with untouched(ledger), pytest.raises(error):
        decide(ledger.state, command, 1)


def test_an_event_type_that_is_retired_is_requested_no_more(ledger: Ledger) -> None:
    talk_type = EventType(id="talk", length=timedelta(minutes=1), all_of=["room"])
    ledger.configure([Put(Kind.EVENT_TYPE, "talk", talk_type)])
    talk = asks()._replace(event_type="talk")
    request(ledger, talk)
    request(ledger, asks(), "other")
    ledger.configure([Retire(Kind.EVENT_TYPE, "talk")])
    calls: list[Callable[[], object]] = [
        lambda: request(ledger, talk, "b"),
        lambda: ledger.reserve_all([talk], uids=["b"], now=0),
        lambda: ledger.confirm("a", now=0),
        lambda: ledger.move("other", talk._replace(requested=False), now=0),
    ]
    for call in calls:
        with pytest.raises(Retired):
            call()


# --- Recorded -------------------------------------------------------------------------------


def test_replay_and_a_snapshot_keep_what_is_wanted(ledger: Ledger) -> None:
    steps = [ledger.snapshot()]
    ledger.on_step = steps.append
    pool = Pool((Claim("host-1", 30, 40), Claim("host-2", 30, 40)))
    request(ledger, asks()._replace(key="k", digest=DIGEST, limits=(LIMIT,)), "a")
    request(ledger, asks(), "b")
    wanted = asks(30, requested=False)._replace(claims=(), pools=(pool,), event_type="talk")
    ledger.move("b", wanted, now=1)
    request(ledger, asks(50)._replace(event_type="class", seats=Seats(2)), "c")
    ledger.annotate(Annotate("b", tags=("vip",)), now=2)
    request(ledger, asks(70), "d")
    ledger.confirm("c", now=3)
    ledger.release("d", now=3)
    replica, restored = Ledger(TERMS), Ledger(TERMS)
    replay(replica.state, steps)
    replay(restored.state, [ledger.snapshot()])
    for other in (replica, restored):
        assert other.snapshot() == ledger.snapshot()
        other.check_invariants()
        assert other.confirm("a", now=4).all_claims() == (Claim("room", 10, 20), LIMIT)
        assert other.confirm("b", now=4).all_claims() == (Claim("host-1", 30, 40),)


ROOM = (Claim("room", 10, 20),)
WRONG: dict[str, tuple[object, str]] = {
    "twice": (Requested(9, 0, "a", 1, 10, 20, ROOM, Wanted(), serial=9), "already"),
    "version": (Requested(9, 0, "b", 2, 10, 20, ROOM, Wanted(), serial=9), "version 1"),
    "no claims": (Requested(9, 0, "b", 1, 10, 20, (), Wanted(), serial=9), "takes something"),
    "no length": (Requested(9, 0, "b", 1, 10, 10, ROOM, Wanted(), serial=9), "end must be after"),
    "in a pool": (
        Requested(9, 0, "b", 1, 10, 20, (), Wanted((Pool((Claim("attic", 1, 2),)),)), serial=9),
        "no resource 'attic'",
    ),
    "confirmed": (Confirmed(9, 0, "a", 2), "is no hold"),
    "granted": (Granted(9, 0, "held", 2, ROOM), "was not requested"),
    "granted nothing": (Granted(9, 0, "a", 2, ()), "takes something"),
    "granted elsewhere": (Granted(9, 0, "a", 2, (Claim("attic", 1, 2),)), "no resource"),
    "moved": (Moved(9, 0, "a", 2, NEVER, 10, 20, ROOM), "wants something"),
    "moved, no request": (
        Moved(9, 0, "held", 2, 100, 10, 20, ROOM, wanted=Wanted()), "wants something",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "problem"), WRONG.values(), ids=WRONG)
def test_what_cannot_follow_is_not_replayed(ledger: Ledger, change: object, problem: str) -> None:
    request(ledger, asks())
    ledger.reserve("host-1", 10, 20, uid="held", now=0, ttl=100)
    change = change._replace(seq=ledger.state.seq + 1)  # type: ignore[attr-defined]
    with pytest.raises(ReplayError, match=problem) as caught:
        replay(ledger.state, [(change,)])  # type: ignore[list-item]
    assert caught.value.seq == ledger.state.seq + 1


def test_a_seat_is_granted_only_in_a_session_that_takes_the_same(ledger: Ledger) -> None:
    seat = asks()._replace(event_type="class", seats=Seats(3))
    request(ledger, seat)
    ledger.reserve_proposal(seat._replace(requested=False), uid="b", now=0)
    wrong = Granted(ledger.state.seq + 1, 1, "a", 2, (Claim("host-1", 10, 20),), Seats(3))
    with pytest.raises(ReplayError, match="takes the same for all"):
        replay(ledger.state, [(wrong,)])
    right = wrong._replace(claims=seat.claims)
    replay(ledger.state, [(right,)])
    entry = ledger.state.entries["a"]
    assert (entry.seats, entry.state) == (Seats(3), State.CONFIRMED)
    ledger.check_invariants()


def test_a_snapshot_without_what_is_wanted_is_refused(ledger: Ledger) -> None:
    request(ledger, asks())
    broken = tuple(
        one._replace(wanted=None) if isinstance(one, ReservationKept) else one
        for one in ledger.snapshot()
    )
    with pytest.raises(ReplayError, match="a request wants something"):
        replay(Ledger(TERMS).state, [broken])
