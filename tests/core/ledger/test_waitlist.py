"""The waitlist by itself: what is ready after which change, and in which order."""

from __future__ import annotations

import pytest

from slotengine.core.ledger.admission import deadline
from slotengine.core.ledger.changes import Forgotten
from slotengine.core.ledger.commands import Reserve
from slotengine.core.ledger.proposal import Pool, Proposal, StartRule
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.ledger.waitlist import NEWCOMER, Place, Waitlist
from slotengine.errors import QuotaExceeded, TooManyWaiting


def ask(*claims: Claim, pools: tuple[Pool, ...] = (), limits: tuple[Claim, ...] = ()) -> Proposal:
    spans = [(one.start, one.end) for one in (*claims, *(c for pool in pools for c in pool.claims))]
    return Proposal(*spans[0], claims, 5, pools=pools, limits=limits)


def join(waitlist: Waitlist, request: Proposal, uid: str = "x", until: int = 100) -> int:
    """Let a command join, and return its ticket."""
    ticket = waitlist.next_ticket
    waitlist.join(Reserve((request,), (uid,)), until)
    return ticket


def joined(*claims: tuple[str, Claim]) -> Waitlist:
    """Return a waitlist with a command for each uid and claim; the first has ticket 1."""
    waitlist = Waitlist(10)
    for uid, claim in claims:
        join(waitlist, ask(claim), uid)
    return waitlist


def tried(waitlist: Waitlist) -> list[str]:
    """Return the uids of the commands that are tried, in order, if none gets anything."""
    found: list[str] = []
    while (waiting := waitlist.next_ready()) is not None:
        found += waiting.command.uids
    waitlist.check_invariants(lambda waiting: False)
    return found


def test_the_first_for_a_span_is_tried_and_the_next_when_it_has_left() -> None:
    waitlist = joined(*((name, Claim("room", 1, 3)) for name in "abc"))
    waitlist.free([Place("room", 2, 9)])
    assert tried(waitlist) == ["a"]
    waitlist.leave(1)
    waitlist.leave(1)
    assert tried(waitlist) == ["b"]
    waitlist.leave(2)
    assert tried(waitlist) == ["c"]
    assert len(waitlist) == 1


def test_a_command_is_behind_earlier_ones_for_an_overlapping_span() -> None:
    waitlist = joined(
        ("a", Claim("room", 1, 5)), ("b", Claim("room", 4, 6)), ("c", Claim("room", 5, 7))
    )
    waitlist.free([Place("room", 0, 9)])
    assert tried(waitlist) == ["a"]  # and c is behind b
    waitlist.leave(1)
    assert tried(waitlist) == ["b"]


def test_spans_that_only_touch_and_other_resources_are_independent() -> None:
    waitlist = joined(
        ("a", Claim("room", 1, 3)), ("b", Claim("room", 3, 5)), ("c", Claim("hall", 1, 3))
    )
    waitlist.free([Place("room", 0, 9)])
    assert tried(waitlist) == ["a", "b"]
    waitlist.free([Place("room", 3, 4)])
    assert tried(waitlist) == ["b"]
    waitlist.free([Place("nowhere", 3, 4)])
    assert tried(waitlist) == []
    waitlist.free_all()
    assert tried(waitlist) == ["a", "b", "c"]


def test_awaited_members_are_left_out_of_a_pool() -> None:
    waitlist = Waitlist(10)
    both = Pool((Claim("host-1", 1, 3), Claim("host-2", 1, 3)), (2, 1))
    join(waitlist, ask(Claim("host-1", 2, 3)), "a")
    ticket = join(waitlist, ask(pools=(both,)), "b")
    assert waitlist.awaited(ask(pools=(both,)), ticket) is None
    (pool,) = waitlist.without_awaited(ask(pools=(both,)), ticket).pools
    assert pool == Pool((Claim("host-2", 1, 3),), (1,))
    assert waitlist.awaited(ask(pools=(both,))) == Claim("host-1", 1, 3)
    waitlist.free([Place("host-2", 1, 3)])
    assert tried(waitlist) == ["b"]
    waitlist.leave(1)
    (pool,) = waitlist.without_awaited(ask(pools=(both,)), ticket).pools
    assert pool == both


def test_a_host_of_two_pools_is_queued_for_once() -> None:
    waitlist = Waitlist(10)
    either = Pool((Claim("host-1", 1, 3), Claim("host-2", 1, 3)))
    join(waitlist, ask(pools=(either, either)), "a")
    waitlist.free([Place("host-2", 1, 3)])
    assert tried(waitlist) == ["a"]
    waitlist.leave(1)
    assert waitlist.awaited(ask(Claim("host-1", 1, 3))) is None


def test_what_is_held_already_is_not_awaited() -> None:
    waitlist = joined(("a", Claim("room", 4, 6)))

    def is_behind(*held: Claim) -> bool:
        return waitlist.awaited(ask(Claim("room", 2, 8)), held=held) is not None

    assert is_behind()
    assert not is_behind(Claim("room", 4, 6))
    assert not is_behind(Claim("desk", 4, 6), Claim("room", 3, 9, 2))
    assert is_behind(Claim("room", 3, 5))  # the rest is newly taken
    assert is_behind(Claim("room", 5, 7))
    assert is_behind(Claim("room", 8, 9))
    assert is_behind(Claim("annex", 4, 6))
    assert waitlist.awaited(ask(Claim("room", 2, 8, 2)), held=[Claim("room", 4, 6)]) is not None
    pool = Pool((Claim("room", 2, 8), Claim("annex", 2, 8)))
    asked = ask(pools=(pool,))
    assert waitlist.without_awaited(asked).pools == (Pool((Claim("annex", 2, 8),)),)
    assert waitlist.without_awaited(asked, held=[Claim("room", 4, 6)]) == asked


@pytest.mark.parametrize(("held", "awaited"), [((2, 4), (1, 3)), ((6, 8), (7, 9))])
def test_at_an_end_that_is_held_nothing_is_awaited(
    held: tuple[int, int], awaited: tuple[int, int]
) -> None:
    waitlist = joined(("a", Claim("room", *awaited)))
    assert waitlist.awaited(ask(Claim("room", 2, 8)), held=[Claim("room", *held)]) is None


def test_a_pool_without_weights_has_none_afterwards_either() -> None:
    waitlist = joined(("a", Claim("host-1", 2, 3)))
    both = Pool((Claim("host-1", 1, 3), Claim("host-2", 1, 3)))
    assert waitlist.without_awaited(ask(pools=(both,))).pools == (Pool((Claim("host-2", 1, 3),)),)


def test_what_is_freed_twice_is_tried_once() -> None:
    waitlist = joined(("a", Claim("room", 1, 3)))
    waitlist.free([Place("room", 1, 3)] * 2)
    assert tried(waitlist) == ["a"]


def test_a_claim_is_awaited_until_the_last_deadline() -> None:
    waitlist = Waitlist(10)
    for until, claim in (
        (10, Claim("room", 1, 3)),
        (30, Claim("room", 1, 3)),
        (20, Claim("room", 2, 5)),
        (99, Claim("room", 5, 9)),
        (99, Claim("hall", 1, 3)),
    ):
        join(waitlist, ask(claim), until=until)
    assert waitlist.last_deadline(Claim("room", 2, 5)) == 30
    assert waitlist.last_deadline(Claim("room", 3, 5)) == 20
    assert waitlist.last_deadline(Claim("desk", 3, 5)) == START_OF_TIME


def test_a_limit_makes_all_ready_and_keeps_nothing_away() -> None:
    waitlist = Waitlist(10)
    day = (Claim("limit:day", 0, 99),)
    join(waitlist, ask(Claim("room", 1, 3), limits=day), "a")
    join(waitlist, ask(Claim("room", 5, 7), limits=day), "b")
    waitlist.free([Place("limit:day", 0, 99)])
    assert tried(waitlist) == ["a", "b"]
    assert waitlist.awaited(ask(Claim("room", 3, 5), limits=day)) is None
    for waiting in waitlist:
        waitlist.leave(waiting.ticket)
        waitlist.check_invariants(lambda waiting: False)
    waitlist.free([Place("limit:day", 0, 99)])
    assert tried(waitlist) == []


def test_a_session_makes_ready_what_would_join_it() -> None:
    waitlist = Waitlist(10)
    claims = (Claim("room", 1, 3),)
    join(waitlist, Proposal(1, 3, claims, 5, event_type="talk", seats=Seats(2)), "a")
    waitlist.free([Place(("talk", 2), 2, 3)])
    assert tried(waitlist) == []
    waitlist.free([Place(("talk", 1), 1, 2)])
    assert tried(waitlist) == ["a"]


def test_what_is_no_change_of_a_reservation_makes_all_ready_that_is_first() -> None:
    waitlist = joined(
        ("a", Claim("room", 1, 3)), ("b", Claim("room", 1, 3)), ("c", Claim("hall", 1, 3))
    )
    waitlist.on_changes([Forgotten(3, 0, 0, ())], {})
    assert tried(waitlist) == ["a", "c"]


def test_waits_end_in_order_of_their_deadlines() -> None:
    waitlist = Waitlist(10)
    late = join(waitlist, ask(Claim("room", 1, 3)), "late", 20)
    soon = join(waitlist, ask(Claim("room", 1, 3)), "soon", 10)

    def overdue(now: int) -> int | None:
        waiting = waitlist.overdue(now)
        return None if waiting is None else waiting.ticket

    assert waitlist.due == 10
    assert overdue(9) is None
    assert overdue(10) == soon
    waitlist.leave(soon)
    assert tried(waitlist) == ["late"]
    assert overdue(20) == late
    waitlist.leave(late)
    assert tried(waitlist) == []
    assert overdue(99) is None
    assert waitlist.due == NEWCOMER


def test_what_is_ready_is_due_at_any_time() -> None:
    waitlist = joined(("a", Claim("room", 1, 3)))
    waitlist.free([Place("room", 1, 3)])
    assert waitlist.due == START_OF_TIME
    waitlist.leave(1)
    assert waitlist.due == NEWCOMER
    assert waitlist.next_ready() is None


def test_no_more_commands_wait_than_are_allowed() -> None:
    waitlist = Waitlist(1)
    request = ask(Claim("room", 1, 3))
    waitlist.check_room(request)
    join(waitlist, request)
    with pytest.raises(TooManyWaiting) as refused:
        waitlist.check_room(ask(Claim("hall", 1, 3)))
    assert refused.value.limit == 1
    waitlist.leave(1)
    waitlist.check_room(request)
    assert join(waitlist, request) == 2


@pytest.mark.parametrize(("most_each", "quota"), [(1, None), (2, 1), (None, 1), (1, 2)])
def test_no_more_commands_of_one_holder_wait_than_are_allowed(
    most_each: int | None, quota: int | None
) -> None:
    waitlist = Waitlist(10, most_each)
    mine = ask(Claim("room", 1, 3))._replace(
        holder="customer-1", quota=None if quota is None else Quota(waits=quota)
    )
    ticket = join(waitlist, mine)
    waitlist.leave(join(waitlist, mine))
    with pytest.raises(QuotaExceeded) as refused:
        waitlist.check_room(mine)
    assert refused.value.args == ("waits", 1, 1, None)
    for other in ("customer-2", None):
        waitlist.check_room(ask(Claim("room", 1, 3))._replace(holder=other))
    waitlist.leave(ticket)
    assert waitlist.by_holder == {}
    waitlist.check_room(mine)


def test_a_cleared_waitlist_is_empty_and_numbers_go_on() -> None:
    waitlist = joined(("a", Claim("room", 1, 3)), ("b", Claim("room", 1, 3)))
    waitlist.free_all()
    assert [one.ticket for one in waitlist.clear()] == [1, 2]
    assert (len(waitlist), waitlist.due, waitlist.next_ticket) == (0, NEWCOMER, 3)
    waitlist.check_invariants(lambda waiting: False)


RULE = StartRule("talk", notice=5, opens=0, closes=100)


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({}, 107),
        ({"demand": Demand.AHEAD}, 32),  # the slot is over at 33
        ({"rule": RULE}, 16),
        ({"rule": RULE, "demand": Demand.RULES}, 16),
        ({"rule": RULE._replace(notice=-20), "demand": Demand.RULES}, 32),
    ],
)
def test_a_wait_ends_when_the_slot_can_no_longer_be_had(
    changes: dict[str, object], until: int
) -> None:
    request = Proposal(21, 33, (Claim("room", 21, 33),), 5)._replace(**changes)  # type: ignore[arg-type]
    assert deadline(request, wait=100, now=7) == until
    assert deadline(request, wait=2, now=7) == 9
    assert deadline(request, wait=0, now=50) == min(until, 50)
