"""Commands that wait in a ledger: who is served, when, and with what.  No engine, no tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from slotengine.core.ledger.changes import Decision, Moved, ReservationChange, Reserved, Waits
from slotengine.core.ledger.clients import IDLE, CommandId, session_id
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    Cancel,
    Choice,
    Command,
    Confirm,
    Extend,
    Move,
    Release,
    Replace,
    Reserve,
)
from slotengine.core.ledger.config import Kind, Remove
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Entry, Seats, Verb
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.waitlist import Waitlist
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import (
    InvalidField,
    KeyReused,
    LimitReached,
    NoneFree,
    OutsideHours,
    QuotaExceeded,
    SlotAwaited,
    SlotTaken,
    TooManyWaiting,
    TooSoon,
)
from slotengine.testing.internal.keyed import keyed
from tests.core.ledger.untouched import untouched

TERMS = Terms(default_ttl=50, shortest_ttl=1, longest_ttl=1000, retention=100, max_waiters=5)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(TERMS)
    for name in ("room", "annex"):
        made.add_resource(name)
    made.add_resource("hall", capacity=3)
    yield made
    made.check_invariants()


def test_credits_count_while_commands_wait(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20, "hall", ttl=900)._replace(
        claims=(Claim("hall", 10, 20, 3),)
    ))  # fmt: skip
    waits = Reserve((slot(10, 20, "hall"),), ("b",), wait=500)
    assert isinstance(ledger.step(waits, 1).answers[0], Waits)
    pool = Pool((Claim("room", 10, 20), Claim("annex", 10, 20)), credits=(2, 0))
    asked = Proposal(10, 20, (), 50, event_type="talk", pools=(pool,))
    entry = ledger.reserve_proposal(asked, uid="c", now=2)
    assert [claim.resource for claim in entry.all_claims()] == ["annex"]


def slot(start: int, end: int, *names: str, ttl: int = 50) -> Proposal:
    claims = tuple(Claim(name, start, end) for name in names or ("room",))
    return Proposal(start, end, claims, ttl)


def hold(ledger: Ledger, uid: str, request: Proposal, now: int = 0) -> None:
    assert ledger.step(Reserve((request,), (uid,)), now).answers == (uid,)


def wait(ledger: Ledger, uid: str, request: Proposal, wait: int = 100, now: int = 0) -> int:
    """Let a command wait, and return its ticket."""
    (answer,) = ledger.step(Reserve((request,), (uid,), wait=wait), now).answers
    assert isinstance(answer, Waits)
    return answer.ticket


def served(ledger: Ledger, now: int, limit: int | None = None) -> list[object]:
    """Return what is served: the uid of each reservation, or the class of each refusal."""
    found: list[object] = []
    for _, answer in ledger.serve(now, limit):
        found.append(answer.answers[0] if isinstance(answer, Decision) else type(answer))
    return found


# --- Joining and being served --------------------------------------------------------------


def test_a_command_that_is_refused_waits_and_its_ticket_is_answered(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    command = Reserve((slot(15, 25),), ("b",), wait=40)
    with untouched(ledger):
        decision = decide(ledger.state, command, 7)
    assert decision == Decision((), (Waits(ticket=1, until=47),))
    assert ledger.step(command, 7) == decision
    assert ledger.serve(7) == []
    ledger.step(Release("a"), 9)
    ((ticket, answer),) = ledger.serve(13)
    assert ticket == 1
    assert isinstance(answer, Decision)
    (change,) = answer.changes
    assert isinstance(change, Reserved)
    assert (change.verb, change.uid, change.at, change.until) == (Verb.RESERVE, "b", 13, 63)
    assert ledger.serve(13) == []


def test_a_command_that_is_tried_in_vain_waits_on_until_its_deadline(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20, ttl=90))
    command = Reserve((slot(15, 25),), ("b",), wait=40)
    (waits,) = ledger.step(command, 7).answers
    assert decide(ledger.state, command, 30, ticket=1).answers == (waits,)
    assert decide(ledger.state, command, 60, ticket=1).answers == (waits,)


def test_a_command_that_is_accepted_does_not_wait(ledger: Ledger) -> None:
    assert ledger.step(Reserve((slot(10, 20),), ("a",), wait=40), 0).answers == ("a",)
    assert len(ledger.waitlist) == 0


WAYS: list[tuple[str, list[Command]]] = [
    ("release", [Release("a")]),
    ("cancel", [Confirm("a"), Cancel("a")]),
    ("move away", [Move("a", (slot(70, 80),))]),
    ("move to another resource", [Move("a", (slot(10, 20, "annex"),))]),
    ("become shorter", [Move("a", (slot(15, 20),))]),
    ("be replaced", [Replace("a", slot(70, 80), "c")]),
    ("move to one of several", [Move("a", (slot(70, 80),), choice=Choice())]),
]


@pytest.mark.parametrize("commands", [way for _, way in WAYS], ids=[name for name, _ in WAYS])
def test_what_a_reservation_leaves_is_had(ledger: Ledger, commands: list[Command]) -> None:
    hold(ledger, "a", slot(10, 20))
    wait(ledger, "b", slot(10, 15))
    for command in commands:
        assert served(ledger, 1) == []
        ledger.step(command, 1)
    assert served(ledger, 1) == ["b"]


@pytest.mark.parametrize("maintenance", [0, 16])
def test_what_an_expired_hold_leaves_is_had(maintenance: int) -> None:
    ledger = Ledger(TERMS, maintenance=maintenance)
    ledger.add_resource("room")
    hold(ledger, "a", slot(10, 20, ttl=30))
    wait(ledger, "b", slot(15, 25))
    assert served(ledger, 29) == []
    assert ledger.due == 30
    if not maintenance:
        assert served(ledger, 30) == []  # nothing has marked it yet
        ledger.check_invariants()
        ledger.expire(30)
    assert served(ledger, 30) == ["b"]


def test_a_hold_that_is_forgotten_as_soon_as_it_expires_makes_others_ready() -> None:
    ledger = Ledger(replace(TERMS, retention=0))
    ledger.add_resource("room")
    hold(ledger, "a", slot(10, 20, ttl=30))
    wait(ledger, "b", slot(15, 25))
    assert served(ledger, 31) == ["b"]
    assert ledger.get("a", now=31) is None


def test_an_expiry_that_a_decision_needs_makes_others_ready_as_well(ledger: Ledger) -> None:
    """The lapsed hold took two rooms; a hold in one of them marks it."""
    ledger.maintenance = 0
    hold(ledger, "a", slot(10, 20, "room", "annex", ttl=30))
    wait(ledger, "b", slot(10, 20, "room"))
    hold(ledger, "c", slot(10, 20, "annex"), now=30)
    assert served(ledger, 30) == ["b"]


def test_a_limit_that_goes_no_longer_counts_for_those_who_wait(ledger: Ledger) -> None:
    ledger.add_limit("limit:some", 2)
    limits = tuple(Claim(f"limit:{name}", 0, 100) for name in ("some", "more"))
    ledger.add_limit("limit:more", 3)
    hold(ledger, "a", slot(10, 20, ttl=900))
    waits = Reserve((slot(13, 17)._replace(limits=limits),), ("b",), wait=500)
    (answer,) = ledger.step(waits, 1).answers
    assert isinstance(answer, Waits)
    ledger.configure([Remove(Kind.LIMIT, "limit:some")], now=2)
    assert ledger.serve(3) == []
    ledger.release("a", now=4)
    (served,) = ledger.serve(5)
    assert served.ticket == answer.ticket
    entry = ledger.get("b", now=5)
    assert entry is not None
    assert entry.all_claims() == (Claim("room", 13, 17), limits[1])


def test_what_a_source_of_busy_time_says_no_more_is_had(ledger: Ledger) -> None:
    ledger.replace_busy("calendar", {"room": [(0, 100)]}, now=0)
    wait(ledger, "a", slot(10, 20))
    ledger.replace_busy("calendar", {"room": [(20, 100)]}, now=1)
    assert ledger.due < 0
    assert served(ledger, 1) == ["a"]


def test_what_a_forgotten_booking_leaves_is_had(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    ledger.step(Confirm("a"), 1)
    wait(ledger, "b", slot(15, 25))
    ledger.look(20)
    assert ledger.forget_bookings(19, ["a"]) == 0
    assert served(ledger, 20) == []
    assert ledger.forget_bookings(20, ["a"]) == 1
    assert served(ledger, 20) == ["b"]


@pytest.mark.parametrize("command", [Extend("a", 70), Confirm("a")])
def test_what_frees_nothing_makes_nothing_ready(ledger: Ledger, command: Command) -> None:
    hold(ledger, "a", slot(10, 20))
    ticket = wait(ledger, "b", slot(10, 20))
    ledger.step(command, 1)
    assert not ledger.waitlist.by_ticket[ticket].ready


def test_commands_are_served_in_order_and_no_more_than_the_limit(ledger: Ledger) -> None:
    hold(ledger, "a", slot(0, 100, "room", "annex"))
    for uid, start in (("b", 30), ("c", 10), ("d", 50)):
        wait(ledger, uid, slot(start, start + 10))
    wait(ledger, "e", slot(30, 40, "annex"))
    wait(ledger, "f", slot(31, 39, "annex"))
    ledger.step(Release("a"), 1)
    assert ledger.serve(1, 0) == []
    assert served(ledger, 1, 2) == ["b", "c"]
    assert served(ledger, 1) == ["d", "e"]
    assert [one.command.uids for one in ledger.waitlist] == [("f",)]


def test_those_behind_are_served_when_the_first_leaves(ledger: Ledger) -> None:
    hold(ledger, "a", slot(20, 30))
    first = wait(ledger, "b", slot(10, 30))
    wait(ledger, "c", slot(10, 20))
    assert served(ledger, 1) == []
    ledger.leave(first)
    ledger.leave(first)
    assert served(ledger, 1) == ["c"]


# --- Order ---------------------------------------------------------------------------------


def test_a_later_command_gets_nothing_that_is_awaited(ledger: Ledger) -> None:
    hold(ledger, "a", slot(20, 30))
    wait(ledger, "b", slot(10, 30), wait=77)
    with pytest.raises(SlotAwaited) as refused:
        ledger.reserve("room", 10, 20, uid="x", now=3, ttl=50)
    assert (refused.value.resource, refused.value.in_the_way) == ("room", ())
    assert refused.value.retry_at == from_us(77)
    for mode, kind in ((ALL, SlotAwaited), (ANY, NoneFree)):
        with pytest.raises(kind):
            ledger.step(Reserve((slot(10, 20),), ("x",), mode), 3)
    (answer,) = ledger.step(Reserve((slot(10, 20),), ("x",), EACH), 3).answers
    assert type(answer) is SlotAwaited
    assert not ledger.is_free(slot(10, 20), now=3)
    assert ledger.is_free(slot(10, 20, "annex"), now=3)


def test_of_a_pool_it_gets_what_nobody_waits_for(ledger: Ledger) -> None:
    hold(ledger, "a", slot(20, 30))
    wait(ledger, "b", slot(10, 30))
    pool = Pool((Claim("room", 10, 20), Claim("annex", 10, 20)))
    request = Proposal(10, 20, (), 50, event_type="talk", pools=(pool,))
    decision = ledger.step(Reserve((request,), ("x",)), 3)
    change = decision.changes[-1]
    assert isinstance(change, Reserved)
    assert change.claims == (Claim("annex", 10, 20),)
    with pytest.raises(SlotAwaited) as refused:
        ledger.step(Reserve((request._replace(pools=(Pool(pool.claims[:1]),)),), ("y",)), 3)
    assert (refused.value.resource, refused.value.in_the_way) == ("room", ())


def test_what_moves_keeps_what_it_has_and_takes_nothing_awaited(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 30))
    wait(ledger, "b", slot(10, 25))
    ledger.step(Move("a", (slot(20, 30),)), 1)
    with pytest.raises(SlotAwaited):
        ledger.step(Move("a", (slot(10, 30),)), 1)
    assert ledger.step(Move("a", (slot(24, 40),)), 1).answers == ("a",)


def test_a_replacement_keeps_what_was_there_and_takes_nothing_awaited(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 30))
    wait(ledger, "b", slot(10, 35))
    with pytest.raises(SlotAwaited):
        ledger.step(Replace("a", slot(20, 33), "c"), 1)
    ledger.step(Replace("a", slot(20, 30), "c"), 1)
    assert served(ledger, 1) == []
    ledger.step(Replace("c", slot(20, 33), "d", jump=True), 1)
    ledger.step(Release("d"), 1)
    assert served(ledger, 1) == ["b"]


def test_what_moves_within_a_pool_keeps_its_resource(ledger: Ledger) -> None:
    def either(end: int) -> Proposal:
        pool = Pool((Claim("annex", 10, end), Claim("room", 10, end)))
        return Proposal(10, end, (), 50, event_type="talk", pools=(pool,))

    hold(ledger, "a", slot(10, 30))
    wait(ledger, "b", slot(10, 30))
    decision = ledger.step(Move("a", (either(20),)), 1)
    change = decision.changes[-1]
    assert isinstance(change, Moved)
    assert change.claims == (Claim("room", 10, 20),)


def test_more_seats_are_not_kept(ledger: Ledger) -> None:
    def seats(wanted: int, start: int = 10) -> Proposal:
        request = slot(start, start + 10)
        return request._replace(event_type="tour", seats=Seats(3, wanted))

    hold(ledger, "a", seats(1))
    hold(ledger, "b", seats(1))
    wait(ledger, "c", seats(2))
    with pytest.raises(SlotAwaited):
        ledger.step(Move("a", (seats(2),)), 1)
    for other in (seats(1), seats(2, start=40)):
        assert decide(ledger.state, Move("a", (other,)), 1).changes
    with pytest.raises(SlotTaken):  # of the session that it would leave
        decide(ledger.state, Move("a", (slot(10, 20),)), 1)
    ledger.step(Release("b"), 1)
    assert served(ledger, 1) == ["c"]


def test_an_expired_hold_is_not_reinstated_before_those_who_wait(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20, ttl=30))
    hold(ledger, "b", slot(20, 30, ttl=90))
    wait(ledger, "c", slot(10, 30))
    with pytest.raises(SlotAwaited):
        ledger.step(Confirm("a", if_still_free=True), 30)
    assert ledger.step(Confirm("a", if_still_free=True, jump=True), 30).answers == ("a",)
    assert served(ledger, 30) == []


def test_a_session_that_is_reinstated_can_be_joined(ledger: Ledger) -> None:
    def seats(name: str) -> Proposal:
        return slot(10, 20, name)._replace(event_type="tour", seats=Seats(3, 1))

    hold(ledger, "a", seats("annex"))
    hold(ledger, "b", slot(10, 20, ttl=200))
    ledger.expire(50)
    wait(ledger, "c", seats("room"), now=50)
    assert ledger.step(Confirm("a", if_still_free=True), 51).answers == ("a",)
    assert served(ledger, 51) == ["c"]


def test_a_command_that_jumps_comes_first(ledger: Ledger) -> None:
    hold(ledger, "a", slot(20, 30))
    wait(ledger, "b", slot(10, 30))
    hold_it = Reserve((slot(10, 20),), ("x",), jump=True)
    with pytest.raises(SlotAwaited):
        ledger.step(hold_it._replace(jump=False), 1)
    assert ledger.step(hold_it, 1).answers == ("x",)
    with pytest.raises(SlotTaken) as refused:
        ledger.step(Reserve((slot(20, 30),), ("y",), jump=True), 1)
    assert type(refused.value) is SlotTaken
    back = Move("x", (slot(10, 20),))
    ledger.step(back._replace(candidates=(slot(60, 70),)), 1)
    with pytest.raises(SlotAwaited):
        ledger.step(back, 1)
    assert ledger.step(back._replace(jump=True), 1).answers == ("x",)


# --- What is not waited for ----------------------------------------------------------------


def test_waiting_is_for_a_single_request_that_does_not_jump(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    for command in (
        Reserve((slot(10, 20),), ("b",), ALL, wait=9),
        Reserve((slot(10, 20),), ("b",), jump=True, wait=9),
        Reserve((slot(10, 20),), ("b",), wait=-1),
    ):
        with pytest.raises(InvalidField) as refused:
            ledger.step(command, 0)
        assert refused.value.field == "wait"


def test_what_does_not_pass_is_refused(ledger: Ledger) -> None:
    ledger.add_resource("closed", schedule=FixedWindows([(0, 5)]))
    ledger.add_limit("limit:day", 2)
    hold(ledger, "a", slot(10, 20))
    rule = StartRule("talk", 5, 0, 100)
    nobody = Pool((Claim("closed", 10, 20), Claim("closed", 10, 20)))
    for request, kind in (
        (slot(10, 20, "closed"), OutsideHours),
        (slot(10, 20, "room", "closed"), OutsideHours),
        (slot(10, 20)._replace(event_type="talk", pools=(nobody,)), NoneFree),
        (slot(10, 20)._replace(limits=(Claim("limit:day", 0, 99, 3),)), SlotTaken),
        (slot(40, 50)._replace(limits=(Claim("limit:day", 0, 99, 3),)), LimitReached),
        (slot(10, 20)._replace(rule=rule._replace(notice=11)), TooSoon),
        (slot(10, 20)._replace(rule=rule._replace(notice=10)), SlotTaken),  # by now it is too late
    ):
        with pytest.raises(kind) as refused:
            ledger.step(Reserve((request,), ("b",), wait=50), 0)
        assert type(refused.value) is kind
    assert len(ledger.waitlist) == 0


def test_of_several_hosts_one_that_is_taken_is_waited_for(ledger: Ledger) -> None:
    ledger.add_resource("closed", schedule=FixedWindows([(0, 5)]))
    hold(ledger, "a", slot(10, 20))
    pool = Pool((Claim("closed", 10, 20), Claim("room", 10, 20)))
    wait(ledger, "b", Proposal(10, 20, (), 50, event_type="talk", pools=(pool,)))
    ledger.step(Release("a"), 1)
    assert served(ledger, 1) == ["b"]


def test_no_more_wait_than_the_terms_and_the_quota_allow(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    mine = slot(10, 20)._replace(holder="customer-1", quota=Quota(waits=1))
    wait(ledger, "b", mine)
    with pytest.raises(QuotaExceeded) as refused:
        ledger.step(Reserve((mine,), ("c",), wait=9), 0)
    assert refused.value.args == ("waits", 1, 1, None)
    for uid in "defg":
        wait(ledger, uid, slot(10, 20))
    with pytest.raises(TooManyWaiting):
        ledger.step(Reserve((slot(10, 20),), ("h",), wait=9), 0)


# --- The answer ----------------------------------------------------------------------------


def test_when_the_wait_is_over_it_is_tried_once_more(ledger: Ledger) -> None:
    ledger.maintenance = 0
    hold(ledger, "a", slot(10, 20, ttl=30))
    wait(ledger, "b", slot(10, 20), wait=30)
    hold(ledger, "c", slot(20, 30, ttl=90))
    wait(ledger, "d", slot(20, 30), wait=29)
    wait(ledger, "e", slot(20, 30), wait=28)
    assert served(ledger, 27) == []
    assert served(ledger, 30) == [SlotAwaited, SlotTaken, "b"]


def test_the_last_try_comes_after_all_that_can_be_served(ledger: Ledger) -> None:
    """A session that a later command opens can still be joined by one whose wait ends then."""

    def seat(name: str) -> Proposal:
        return slot(10, 20, name)._replace(event_type="tour", seats=Seats(3, 1))

    hold(ledger, "a", slot(10, 20, ttl=90))
    wait(ledger, "b", seat("room"), wait=40)
    ledger.replace_busy("calendar", {"annex": [(0, 100)]}, now=0)
    wait(ledger, "c", seat("annex"))
    ledger.replace_busy("calendar", {}, now=40)
    assert served(ledger, 40) == ["c", "b"]


def test_a_refusal_tells_what_was_in_the_way_then(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20, ttl=90))
    wait(ledger, "b", slot(10, 20), wait=40)
    ((_, refusal),) = ledger.serve(40)
    ledger.step(Release("a"), 40)
    assert isinstance(refusal, SlotTaken)
    assert [way.booked for way in refusal.in_the_way] == [False]


def test_what_has_come_in_between_is_answered_immediately(ledger: Ledger) -> None:
    ledger.add_resource("closed", schedule=FixedWindows([(0, 5)]))
    tour = slot(30, 40, "closed")._replace(event_type="tour", seats=Seats(1, 1))
    ledger.adopt(tour, uid="a", now=0)
    wait(ledger, "b", tour)
    hold(ledger, "c", slot(50, 60))
    wait(ledger, "d", slot(50, 60)._replace(holder="customer-1", quota=Quota(holds=1)))
    hold(ledger, "e", slot(70, 80, "annex")._replace(holder="customer-1"))
    ledger.step(Cancel("a"), 1)  # there is no session to join any more
    ledger.step(Release("c"), 1)
    assert served(ledger, 1) == [OutsideHours, QuotaExceeded]


def test_a_repeat_that_waits_gets_the_same(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    wait(ledger, "b", keyed(slot(10, 20)))
    wait(ledger, "c", keyed(slot(10, 20)))
    wait(ledger, "d", keyed(slot(10, 20)._replace(holder="customer-1")))
    ledger.step(Release("a"), 1)
    assert served(ledger, 1) == ["b", "b", KeyReused]


def test_a_repeat_of_a_client_waits_in_the_place_of_the_first(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    command_id = CommandId(session_id(0, bytes(8)), 1, 1)
    command = Reserve((slot(10, 20),), ("b",), wait=90, client=command_id)
    other = Reserve((slot(10, 20),), ("c",), wait=90)
    answers = [ledger.step(one, now).answers[0] for now, one in enumerate((command, other), 1)]
    answers.append(ledger.step(command._replace(uids=("d",)), 3).answers[0])
    assert answers == [Waits(1, 91), Waits(2, 92), Waits(1, 91)]
    assert len(ledger.waitlist) == 2
    ledger.check_invariants()
    with pytest.raises(SlotTaken):  # it does not wait
        ledger.step(command._replace(wait=None), 3)
    ledger.step(Release("a"), 3)
    assert served(ledger, 3) == ["b"]
    assert ledger.step(command, 4).answers == ("b",)


def test_a_command_that_its_client_awaits_no_more_gets_nothing(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20))
    session = session_id(0, bytes(8))
    command = Reserve((slot(10, 20),), ("b",), wait=90, client=CommandId(session, 1, 1))
    ledger.step(command, 1)
    ledger.step(Reserve((slot(30, 40),), ("c",), client=CommandId(session, 2, 2)), 2)
    ledger.check_invariants()
    ledger.step(Release("a"), 3)
    assert served(ledger, 3) == [InvalidField]
    assert ledger.get("b", now=3) is None


def test_a_client_waits_no_longer_than_its_session_lasts(ledger: Ledger) -> None:
    hold(ledger, "a", slot(10, 20, ttl=1000))
    ledger.step(Confirm("a"), 0)
    command_id = CommandId(session_id(7, bytes(8)), 1, 1)
    command = Reserve((slot(10, 20),), ("b",), wait=2 * IDLE, client=command_id)
    assert ledger.step(command, 9).answers == (Waits(1, 7 + IDLE - 1),)
    assert served(ledger, 7 + IDLE - 1) == [SlotTaken]


class Broken(FixedWindows):
    """Hours that cannot be asked any more."""

    broken = False

    def covers(self, start: int, end: int) -> bool:
        if self.broken:
            raise ZeroDivisionError
        return super().covers(start, end)


def test_an_error_is_the_answer_to_the_command_that_meets_it(ledger: Ledger) -> None:
    hours = Broken([(0, 100)])
    ledger.add_resource("barn", schedule=hours)
    hold(ledger, "a", slot(10, 20, "room", "barn"))
    wait(ledger, "b", slot(10, 20, "barn"))
    wait(ledger, "c", slot(10, 20))
    hours.broken = True
    ledger.step(Release("a"), 1)
    assert served(ledger, 1) == [ZeroDivisionError, "c"]


def test_a_wait_ends_at_the_last_moment_at_which_it_may_be_served(ledger: Ledger) -> None:
    hold(ledger, "a", slot(60, 80, ttl=900))
    request = slot(60, 80)._replace(demand=Demand.RULES, rule=StartRule("talk", 20, 0, 100))
    wait(ledger, "b", request)
    wait(ledger, "c", slot(60, 80)._replace(demand=Demand.AHEAD))
    assert [one.until for one in ledger.waitlist] == [40, 79]
    assert served(ledger, 40) == [SlotTaken]
    assert served(ledger, 79) == [SlotTaken]


def test_a_command_that_sleeps_although_it_could_be_served_breaks_an_invariant(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(ledger, "a", slot(10, 20))
    ticket = wait(ledger, "b", slot(10, 20))
    ledger.check_invariants()
    with monkeypatch.context() as patch:
        patch.setattr(Waitlist, "on_changes", lambda *_: None)
        ledger.step(Release("a"), 1)
    with pytest.raises(AssertionError):
        ledger.check_invariants()
    ledger.leave(ticket)


def test_changes_are_told_of_as_of_any_command(ledger: Ledger) -> None:
    told: list[tuple[Verb, str]] = []

    def tell(change: ReservationChange, entry: Entry) -> None:
        told.append((change.verb, entry.uid))

    ledger.on_change = tell
    hold(ledger, "a", slot(10, 20))
    wait(ledger, "b", slot(10, 20))
    ledger.step(Release("a"), 1)
    ledger.serve(1)
    assert told == [(Verb.RESERVE, "a"), (Verb.RELEASE, "a"), (Verb.RESERVE, "b")]
