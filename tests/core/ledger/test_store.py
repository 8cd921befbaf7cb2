"""The rows of reservations against a dictionary of them."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slotengine.core.ledger.config import Kind, Put, Remove, ResourceConfig
from slotengine.core.ledger.extra import Extra
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Wanted
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import (
    ANYTHING_GOES,
    Claim,
    Demand,
    Entry,
    Seats,
    State,
)
from slotengine.core.ledger.store import OTHER_CLAIMS, WIDTH, Rows
from slotengine.core.ledger.terms import Terms
from slotengine.errors import SlotTaken
from tests.core.ledger.entries import Made

moments = st.integers(-(2**63), 2**63 - 1)
names = st.sampled_from(("a", "b"))

WRITTEN: Final[dict[str, st.SearchStrategy[Any]]] = {
    "start": moments,
    "end": moments,
    "until": moments,
    "changed": moments,
    "state": st.sampled_from(State),
    "version": st.integers(1, 2**50),
    "placed": st.booleans(),
    "holder": st.none() | names,
    "event_type": st.none() | names,
    "claims": st.none() | st.just((Claim("room", 1, 2),)),
    "seats": st.none() | st.just(Seats(4)),
    "key": st.none() | names,
    "quota": st.none() | st.just(Quota(holds=1)),
    "demand": st.sampled_from(Demand),
    "extra": st.none() | st.just(Extra(tags=("tag",))),
    "wanted": st.none() | st.just(Wanted(closed=("room",))),
}
"""What can be written of a reservation."""

FIELDS: Final = (*WRITTEN, "uid", "serial", "created", "resource", "session")


def told(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in FIELDS}


class RowsAgainstDictionary(RuleBasedStateMachine):
    """Goal: a reservation is what was written, whatever came and went before and beside it.

    Method: the same is written into a dictionary for each.  Some uids are used again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made = Made()
        self.room = self.made.resource("room")
        self.kept: dict[str, dict[str, object]] = {}
        self.entries: dict[str, Entry] = {}
        self.forgotten: list[Entry] = []

    @rule(number=st.integers(0, 9), start=moments, end=moments, until=moments, created=moments)
    def add(self, number: int, start: int, end: int, until: int, created: int) -> None:
        uid = f"uid-{number}"
        if uid in self.kept:
            return
        self.entries[uid] = entry = self.made.entry(
            start, end, until=until, created=created, uid=uid
        )
        self.kept[uid] = {
            "start": start, "end": end, "until": until, "created": created, "changed": created,
            "uid": uid, "serial": entry.serial, "state": State.HELD, "version": 1,
            "placed": False, "demand": ANYTHING_GOES,
        }  # fmt: skip

    def one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.kept)))

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), name=st.sampled_from(sorted(WRITTEN)))
    def write(self, data: st.DataObject, name: str) -> None:
        uid, value = self.one(data), data.draw(WRITTEN[name])
        setattr(self.entries[uid], name, value)
        self.kept[uid][name] = value

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), plain=st.booleans())
    def let_it_take_the_room(self, data: st.DataObject, plain: bool) -> None:
        uid, resource = self.one(data), self.room if plain else None
        self.entries[uid].resource = self.kept[uid]["resource"] = resource

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        uid = self.one(data)
        del self.kept[uid]
        self.forgotten.append(self.entries.pop(uid))
        self.made.rows.remove(self.forgotten[-1].number)

    @invariant()
    def everything_is_there(self) -> None:
        self.made.rows.check_invariants()
        assert len(self.made.entries) == len(self.made.rows) == len(self.kept)
        assert list(self.made.entries) == list(self.kept)
        for uid, fields in self.kept.items():
            found = self.made.entries[uid]
            assert found == self.entries[uid]
            assert told(found) == dict.fromkeys(FIELDS) | fields

    @invariant()
    def what_is_forgotten_cannot_be_read(self) -> None:
        for entry in self.forgotten:
            assert not entry.is_known()
            assert entry not in self.entries.values()
            with pytest.raises(AssertionError):
                told(entry)


TestRowsAgainstDictionary = RowsAgainstDictionary.TestCase


def test_a_row_is_used_again_without_what_stood_beside_it() -> None:
    made = Made()
    first = made.entry()
    first.holder, first.key, first.extra = "h", "k", Extra(tags=("tag",))
    first.claims, first.seats, first.quota = (Claim("room", 1, 2),), Seats(4), Quota(holds=1)
    first.event_type, first.demand, first.wanted = "talk", Demand.AHEAD, Wanted()
    made.rows.remove(first.number)
    second = made.entry()
    assert second.number == first.number
    assert second != first
    fields = told(second)
    assert [name for name, value in fields.items() if value is None] == [
        "holder", "event_type", "claims", "seats", "key", "quota", "extra", "wanted", "resource",
        "session",
    ]  # fmt: skip
    assert second.demand is ANYTHING_GOES
    made.rows.check_invariants()


READS: Final[dict[str, Callable[[Entry], object]]] = {
    name: attrgetter(name) for name in FIELDS if name != "serial"
}


@pytest.mark.parametrize("name", sorted(READS))
def test_a_reservation_that_is_forgotten_cannot_be_read(name: str) -> None:
    """Not even when its row is used again, which would tell of another reservation."""
    made = Made()
    entry = made.entry()
    assert entry.is_known()
    made.rows.remove(entry.number)
    with pytest.raises(AssertionError, match="forgotten"):
        READS[name](entry)
    made.entry()
    with pytest.raises(AssertionError, match="forgotten"):
        READS[name](entry)
    assert not entry.is_known()


def test_reservations_are_equal_if_they_are_the_same_of_one_ledger() -> None:
    made, other = Made(), Made()
    entry, twin = made.entry(uid="a"), other.entry(uid="a")
    assert entry == made.entries["a"] == made.entries.at(entry.number)
    assert hash(entry) == hash(made.entries["a"])
    assert entry != twin
    assert entry != "a"
    assert entry != made.entry()


def test_a_reservation_says_which_it_is() -> None:
    made = Made()
    entry = made.entry(uid="a")
    assert repr(entry) == "<Entry a held>"
    made.rows.remove(entry.number)
    assert repr(entry) == "<Entry 1, forgotten>"


def test_reservations_are_found_by_uid() -> None:
    made = Made()
    entry = made.entry(uid="a")
    assert "a" in made.entries
    assert "b" not in made.entries
    assert made.entries.get("b") is None
    assert list(made.entries.values()) == [entry]
    assert made.rows.uid(entry.number) == "a"


def test_a_row_is_read_at_once() -> None:
    made = Made()
    entry = made.entry(3, 4, until=5, created=2)
    row = made.rows.read(entry.number)
    assert len(row) == WIDTH
    assert row[:5] == (3, 4, 5, 2, 2)


# --- Numbers of resources ------------------------------------------------------------------


def test_a_resource_that_is_added_again_is_that_of_its_reservations() -> None:
    made = Made()
    entry = made.entry()
    entry.resource = made.resource("room")
    made.rows.remove_resource("room")
    assert entry.resource is not None
    assert entry.resource.id == "room"
    again = made.resource("room")
    assert entry.resource is again
    made.rows.check_invariants()


def test_numbers_of_resources_that_nobody_refers_to_are_used_again() -> None:
    rows = Rows(unused=4)
    made = Made()
    made.rows = rows
    kept = made.resource("kept")
    row = rows.add("a", 0, 1, 5, 0, 0, kept.number, 1)
    for number in range(100):
        made.resource(f"room-{number}")
        rows.remove_resource(f"room-{number}")
        rows.check_invariants()
    rows.remove_resource("kept")
    for number in range(3):
        made.resource(f"last-{number}")
        rows.remove_resource(f"last-{number}")
    assert len(rows.resources) < 12
    assert rows.resources[kept.number] is kept
    rows.remove(row)
    for number in range(4):
        made.resource(f"end-{number}")
        rows.remove_resource(f"end-{number}")
    assert "kept" not in rows.number_of
    rows.check_invariants()


def test_an_expired_hold_is_reinstated_on_a_resource_that_was_made_anew() -> None:
    ledger = Ledger(Terms(default_ttl=100, shortest_ttl=1, longest_ttl=1_000, retention=10_000))
    ledger.add_resource("room")
    ledger.reserve("room", 10_000, 10_030, uid="a", now=0, ttl=100)
    ledger.configure([Remove(Kind.RESOURCE, "room")], now=100)
    ledger.configure([Put(Kind.RESOURCE, "room", ResourceConfig())], now=101)
    assert ledger.confirm("a", now=102, if_still_free=True).state is State.CONFIRMED
    with pytest.raises(SlotTaken):
        ledger.reserve("room", 10_000, 10_030, uid="b", now=103, ttl=100)
    ledger.check_invariants()
    assert ledger.state.entries["a"].resource is ledger.resource("room")


def test_a_plain_reservation_refers_to_no_claims() -> None:
    ledger = Ledger(Terms(default_ttl=100, shortest_ttl=1, longest_ttl=1_000))
    ledger.add_resource("room")
    plain = ledger.reserve("room", 10_000, 10_030, uid="a", now=0, ttl=100)
    assert plain.claims is None
    assert plain.rows.read(plain.number)[6] != OTHER_CLAIMS
    assert not plain.rows.claims_of
