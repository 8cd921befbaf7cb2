"""Who may try after which change: the order among those who wait."""

from __future__ import annotations

import pytest

from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.line import Line, Place, Waiter, places_of, sessions_of
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import Claim, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.errors import TooManyWaiting


def ask(*claims: Claim, pools: tuple[Pool, ...] = (), limits: tuple[Claim, ...] = ()) -> Proposal:
    spans = [(one.start, one.end) for one in (*claims, *(c for pool in pools for c in pool.claims))]
    return Proposal(*spans[0], claims, 5, pools=pools, limits=limits)


def callers(line: Line[str]) -> list[str]:
    """Return who tries, in order, if nobody gets anything."""
    found = []
    while (waiter := line.next()) is not None:
        found.append(waiter.caller)
    line.check_invariants(lambda waiter: False)
    return found


def joined(line: Line[str], *claims: tuple[str, Claim]) -> list[Waiter[str]]:
    return [line.join(ask(claim), 100, name) for name, claim in claims]


def test_the_first_of_a_span_tries_and_the_others_when_it_has_left() -> None:
    line = Line[str](10)
    first, second, _ = joined(line, *((name, Claim("room", 1, 3)) for name in "abc"))
    line.freed([Place("room", 2, 9)])
    assert callers(line) == ["a"]
    line.leave(first)
    line.leave(first)
    assert callers(line) == ["b"]
    line.leave(second)
    assert callers(line) == ["c"]
    assert len(line) == 1


def test_one_is_behind_whoever_waits_for_an_overlapping_span() -> None:
    line = Line[str](10)
    first, *_ = joined(
        line, ("a", Claim("room", 1, 5)), ("b", Claim("room", 4, 6)), ("c", Claim("room", 5, 7))
    )
    line.freed([Place("room", 0, 9)])
    assert callers(line) == ["a"]  # and c is behind b
    line.leave(first)
    assert callers(line) == ["b"]


def test_spans_that_only_touch_and_other_resources_are_no_concern() -> None:
    line = Line[str](10)
    joined(line, ("a", Claim("room", 1, 3)), ("b", Claim("room", 3, 5)), ("c", Claim("hall", 1, 3)))
    line.freed([Place("room", 0, 9)])
    assert callers(line) == ["a", "b"]
    line.freed([Place("room", 3, 4)])
    assert callers(line) == ["b"]
    line.freed([Place("nowhere", 3, 4)])
    assert callers(line) == []
    line.freed_all()
    assert callers(line) == ["a", "b", "c"]


def test_of_a_pool_what_others_wait_for_is_left_out() -> None:
    line = Line[str](10)
    both = Pool((Claim("host-1", 1, 3), Claim("host-2", 1, 3)), (2, 1), (None, None))
    first = line.join(ask(Claim("host-1", 2, 3)), 100, "a")
    line.join(ask(pools=(both,)), 100, "b")
    assert line.behind(ask(pools=(both,)), ticket=2) is None
    (pool,) = line.without_awaited(ask(pools=(both,)), ticket=2).pools
    assert pool == Pool((Claim("host-2", 1, 3),), (1,), (None,))
    assert line.behind(ask(pools=(both,))) == Claim("host-1", 1, 3)
    line.freed([Place("host-2", 1, 3)])
    assert callers(line) == ["b"]
    line.leave(first)
    (pool,) = line.without_awaited(ask(pools=(both,)), ticket=2).pools
    assert pool == both


def test_what_is_held_already_is_not_waited_for() -> None:
    line = Line[str](10)
    joined(line, ("a", Claim("room", 4, 6)))

    def is_behind(*held: Claim) -> bool:
        return line.behind(ask(Claim("room", 2, 8)), held=held) is not None

    assert is_behind()
    assert not is_behind(Claim("room", 4, 6))
    assert not is_behind(Claim("desk", 4, 6), Claim("room", 3, 9, 2))
    assert is_behind(Claim("room", 3, 5))  # the rest is taken anew
    assert is_behind(Claim("room", 5, 7))
    assert is_behind(Claim("room", 8, 9))
    assert is_behind(Claim("annex", 4, 6))
    assert line.behind(ask(Claim("room", 2, 8, 2)), held=[Claim("room", 4, 6)]) is not None
    pool = Pool((Claim("room", 2, 8), Claim("annex", 2, 8)))
    asked = ask(pools=(pool,))
    assert line.without_awaited(asked).pools == (Pool((Claim("annex", 2, 8),)),)
    assert line.without_awaited(asked, held=[Claim("room", 4, 6)]) == asked


@pytest.mark.parametrize(("held", "awaited"), [((2, 4), (1, 3)), ((6, 8), (7, 9))])
def test_at_an_end_that_is_held_there_is_nothing_to_wait_for(
    held: tuple[int, int], awaited: tuple[int, int]
) -> None:
    line = Line[str](10)
    joined(line, ("a", Claim("room", *awaited)))
    assert line.behind(ask(Claim("room", 2, 8)), held=[Claim("room", *held)]) is None


def test_a_pool_without_weights_has_none_afterwards_either() -> None:
    line = Line[str](10)
    line.join(ask(Claim("host-1", 2, 3)), 100, "a")
    both = Pool((Claim("host-1", 1, 3), Claim("host-2", 1, 3)))
    assert line.without_awaited(ask(pools=(both,))).pools == (Pool((Claim("host-2", 1, 3),)),)


def test_who_is_called_twice_tries_once() -> None:
    line = Line[str](10)
    joined(line, ("a", Claim("room", 1, 3)))
    line.freed([Place("room", 1, 3)] * 2)
    assert callers(line) == ["a"]


def test_a_span_is_free_of_those_who_wait_when_the_last_has_given_up() -> None:
    line = Line[str](10)
    for until, claim in (
        (10, Claim("room", 1, 3)),
        (30, Claim("room", 1, 3)),
        (20, Claim("room", 2, 5)),
        (99, Claim("room", 5, 9)),
        (99, Claim("hall", 1, 3)),
    ):
        line.join(ask(claim), until, "x")
    assert line.free_of(Claim("room", 2, 5)) == 30
    assert line.free_of(Claim("room", 3, 5)) == 20
    assert line.free_of(Claim("desk", 3, 5)) == START_OF_TIME


def test_a_reservation_is_in_the_way_of_its_claims_and_of_its_session() -> None:
    ledger = Ledger(Terms(5, 1, 9))
    ledger.add_resource("room")
    ledger.add_limit("limit:day", 9)
    claims = (Claim("room", 1, 3),)
    alone = Proposal(1, 3, claims, 5, limits=(Claim("limit:day", 0, 99, 2),))
    entry = ledger.reserve_proposal(alone, uid="a", now=0)
    assert places_of(entry) == [Place("room", 1, 3), Place("limit:day", 0, 99)]
    assert sessions_of(entry) == []
    ledger.release("a", now=0)
    shared = Proposal(1, 3, claims, 5, event_type="talk", seats=Seats(2))
    entry = ledger.reserve_proposal(shared, uid="b", now=0)
    assert sessions_of(entry) == [Place(("talk", 1), 1, 2)]
    assert places_of(entry) == [Place("room", 1, 3), *sessions_of(entry)]


def test_a_limit_wakes_everybody_and_keeps_nobody_off() -> None:
    line = Line[str](10)
    day = (Claim("limit:day", 0, 99),)
    line.join(ask(Claim("room", 1, 3), limits=day), 100, "a")
    line.join(ask(Claim("room", 5, 7), limits=day), 100, "b")
    line.freed([Place("limit:day", 0, 99)])
    assert callers(line) == ["a", "b"]
    assert line.behind(ask(Claim("room", 3, 5), limits=day)) is None
    for waiter in line:
        line.leave(waiter)
        line.check_invariants(lambda waiter: False)
    line.freed([Place("limit:day", 0, 99)])
    assert callers(line) == []


def test_a_session_wakes_those_who_would_join() -> None:
    line = Line[str](10)
    claims = (Claim("room", 1, 3),)
    line.join(Proposal(1, 3, claims, 5, event_type="talk", seats=Seats(2)), 100, "a")
    line.freed([Place(("talk", 2), 2, 3)])
    assert callers(line) == []
    line.freed([Place(("talk", 1), 1, 2)])
    assert callers(line) == ["a"]


def test_time_is_over_in_order() -> None:
    line = Line[str](10)
    late = line.join(ask(Claim("room", 1, 3)), 20, "late")
    soon = line.join(ask(Claim("room", 1, 3)), 10, "soon")
    assert line.due == 10
    assert line.overdue(9) is None
    assert line.overdue(10) is soon
    line.leave(soon)
    assert callers(line) == ["late"]
    assert line.overdue(20) is late
    line.leave(late)
    assert callers(line) == []
    assert line.overdue(99) is None
    assert line.due == 2**63 - 1


def test_whoever_may_try_is_due_at_once() -> None:
    line = Line[str](10)
    (first,) = joined(line, ("a", Claim("room", 1, 3)))
    line.freed([Place("room", 1, 3)])
    assert line.due < 0
    line.leave(first)
    assert line.next() is None


def test_no_more_wait_than_may() -> None:
    line = Line[str](1)
    (first,) = joined(line, ("a", Claim("room", 1, 3)))
    with pytest.raises(TooManyWaiting) as refused:
        joined(line, ("b", Claim("hall", 1, 3)))
    assert refused.value.limit == 1
    line.leave(first)
    joined(line, ("b", Claim("hall", 1, 3)))
    assert [one.caller for one in line] == ["b"]
