"""What a move and a batch see: room beside others, and which expired holds are in the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slotengine.core.ledger.changes import ReservationChange
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, Entry, Seats
from slotengine.core.ledger.terms import Terms
from slotengine.errors import NoSeatsLeft, SlotTaken


class Told(Ledger):
    """A ledger that never tidies on the side, and what it told."""

    def __init__(self) -> None:
        self.told: list[str] = []

        def note(change: ReservationChange, entry: Entry) -> None:
            self.told.append(f"{change.verb.value} {entry.uid}")

        terms = Terms(shortest_ttl=1, longest_ttl=10**9)
        super().__init__(terms, on_change=note, maintenance=0)
        self.add_resource("room")
        self.add_resource("annex")
        self.add_resource("hall", capacity=3)

    def hold(self, uid: str, resource: str, start: int, end: int, ttl: int = 10**9) -> None:
        self.reserve(resource, start, end, uid=uid, now=0, ttl=ttl)

    def after(self, change: Callable[[], object]) -> list[str]:
        """Return what was told of a change."""
        self.told.clear()
        change()
        self.check_invariants()
        return self.told


@pytest.fixture
def ledger() -> Told:
    return Told()


def slot(start: int, end: int, resource: str, units: int = 1) -> Proposal:
    return Proposal(start, end, (Claim(resource, start, end, units),), 10**9)


def seat(start: int, resource: str, wanted: int = 1, total: int = 3) -> Proposal:
    return slot(start, start + 10, resource)._replace(event_type="yoga", seats=Seats(total, wanted))


def test_a_move_marks_no_expired_hold_if_there_is_room_without_what_it_has(ledger: Told) -> None:
    ledger.hold("expired", "hall", 0, 10, ttl=5)
    ledger.hold("other", "hall", 0, 10)
    ledger.hold("mine", "hall", 0, 10)
    shorter = slot(0, 5, "hall")
    assert ledger.after(lambda: ledger.move("mine", shorter, now=5)) == ["move mine"]
    # From 5 to 10 it has nothing, but one unit is free; of two units one is not.
    longer, wider = slot(0, 10, "hall"), slot(0, 10, "hall", 2)
    assert ledger.after(lambda: ledger.move("mine", longer, now=5)) == ["move mine"]
    assert ledger.after(lambda: ledger.move("mine", wider, now=5)) == [
        "expire expired", "move mine",
    ]  # fmt: skip
    with pytest.raises(SlotTaken):
        ledger.move("mine", slot(0, 10, "hall", 3), now=5)


def test_a_move_marks_an_expired_hold_only_where_it_has_to(ledger: Told) -> None:
    ledger.hold("mine", "hall", 0, 10)
    ledger.hold("wide", "hall", 0, 20)
    ledger.hold("first", "hall", 0, 10, ttl=5)
    ledger.hold("second", "hall", 10, 20, ttl=5)
    ledger.hold("third", "hall", 10, 20, ttl=5)
    longer = slot(0, 20, "hall")
    assert ledger.after(lambda: ledger.move("mine", longer, now=5)) == [
        "expire second", "expire third", "move mine",
    ]  # fmt: skip


def test_a_move_on_a_resource_of_one_unit_passes_over_what_it_has(ledger: Told) -> None:
    ledger.hold("mine", "room", 0, 10)
    ledger.hold("expired", "room", 10, 20, ttl=5)
    assert ledger.after(lambda: ledger.move("mine", slot(5, 10, "room"), now=4)) == ["move mine"]
    assert ledger.after(lambda: ledger.move("mine", slot(5, 20, "room"), now=5)) == [
        "expire expired", "move mine",
    ]  # fmt: skip
    ledger.hold("other", "room", 20, 30)
    with pytest.raises(SlotTaken):
        ledger.move("mine", slot(5, 21, "room"), now=5)


def test_a_batch_marks_no_expired_hold_if_there_is_room_beside_it(ledger: Told) -> None:
    ledger.hold("expired", "hall", 0, 10, ttl=5)

    def reserve(*proposals: Proposal, prefix: str) -> Callable[[], object]:
        uids = [f"{prefix}{i}" for i in range(len(proposals))]
        return lambda: ledger.reserve_all(proposals, uids=uids, now=5)

    elsewhere, one = slot(0, 10, "annex"), slot(0, 10, "hall")
    assert ledger.after(reserve(elsewhere, one, prefix="a")) == ["reserve a0", "reserve a1"]
    # One unit is free, and one more if what has expired is gone.
    with pytest.raises(SlotTaken) as taken:
        reserve(one, one, one, prefix="b")()
    assert getattr(taken.value, "index", None) == 2
    assert ledger.after(reserve(slot(0, 5, "hall"), slot(5, 10, "hall"), prefix="c")) == [
        "reserve c0", "reserve c1",
    ]  # fmt: skip
    ledger.release("c0", now=5)
    ledger.release("c1", now=5)
    assert ledger.after(reserve(one, one, prefix="d")) == [
        "expire expired", "reserve d0", "reserve d1",
    ]  # fmt: skip


def test_a_batch_sees_where_on_a_resource_its_claims_are(ledger: Told) -> None:
    ledger.hold("early", "hall", 0, 10)
    batch = [
        slot(0, 10, "hall", 2),
        slot(20, 30, "hall", 2),
        slot(5, 25, "hall"),  # nothing is left from 5 to 10
        slot(10, 30, "hall"),
        slot(10, 20, "hall", 3),  # one unit is the batch's
        slot(30, 40, "hall", 3),
    ]
    uids = [f"uid-{i}" for i in range(len(batch))]
    results = ledger.reserve_each(batch, uids=uids, now=1)
    assert [isinstance(one, Entry) for one in results] == [True, True, False, True, False, True]
    ledger.check_invariants()


def test_a_move_of_a_member_passes_over_its_session_only_if_it_is_alone(ledger: Told) -> None:
    ledger.reserve_proposal(seat(0, "hall"), uid="mine", now=0)
    for uid in ("a", "b"):
        ledger.hold(uid, "hall", 0, 10)
    ledger.reserve_proposal(seat(0, "hall"), uid="other", now=0)
    alone = slot(5, 15, "hall")
    with pytest.raises(SlotTaken):
        ledger.move("mine", alone, now=1)
    ledger.release("other", now=1)
    assert ledger.move("mine", alone, now=1).seats is None
    ledger.check_invariants()


def test_seats_are_counted_without_what_moves_and_with_the_batch(ledger: Told) -> None:
    ledger.reserve_proposal(seat(0, "room"), uid="mine", now=0)
    ledger.reserve_proposal(seat(0, "room")._replace(ttl=5), uid="expires", now=0)
    with pytest.raises(NoSeatsLeft):
        ledger.move("mine", seat(0, "room", 3), now=4)
    ledger.move("mine", seat(0, "room", 2), now=4)
    ledger.move("mine", seat(0, "room", 3), now=5)
    ledger.move("mine", seat(0, "room", 1), now=5)
    batch = [seat(0, "room"), seat(0, "room", 2), seat(0, "room"), seat(20, "room")]
    uids = [f"uid-{i}" for i in range(len(batch))]
    results = ledger.reserve_each(batch, uids=uids, now=6)
    assert [isinstance(one, Entry) for one in results] == [True, False, True, True]
    ledger.check_invariants()


def test_a_move_marks_expired_holds_of_its_holder_only_if_it_is_a_hold(ledger: Told) -> None:
    ledger.state.count_holders()
    for uid, ttl in (("mine", 10**9), ("expired", 5)):
        ledger.reserve("hall", 0, 10, uid=uid, now=0, ttl=ttl, holder="holder-1")
    ledger.reserve("room", 0, 10, uid="booking", now=0, ttl=9, holder="holder-1")
    ledger.confirm("booking", now=0)
    later = slot(30, 40, "room")
    assert ledger.after(lambda: ledger.move("booking", later, now=5)) == ["move booking"]
    assert ledger.after(lambda: ledger.move("mine", slot(30, 40, "hall"), now=5)) == [
        "expire expired", "move mine",
    ]  # fmt: skip


def test_an_expired_hold_elsewhere_makes_no_room(ledger: Told) -> None:
    ledger.hold("expired", "room", 0, 10, ttl=5)
    for uid in ("a", "b", "c"):
        ledger.hold(uid, "hall", 0, 10)

    def refused() -> None:
        with pytest.raises(SlotTaken):
            ledger.reserve("hall", 2, 4, uid="d", now=5, ttl=10)

    assert ledger.after(refused) == []


def test_an_expired_hold_makes_room_beside_others_that_follow_each_other(ledger: Told) -> None:
    ledger.hold("expired", "hall", 0, 10, ttl=5)
    for uid, start, end in (("a", 0, 5), ("b", 5, 10), ("c", 0, 10)):
        ledger.hold(uid, "hall", start, end)
    assert ledger.after(lambda: ledger.reserve("hall", 0, 10, uid="d", now=5, ttl=10)) == [
        "expire expired", "reserve d",
    ]  # fmt: skip
