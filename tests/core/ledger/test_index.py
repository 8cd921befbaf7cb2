"""What is found is what a look at each reservation finds, page by page, while all of it changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.extra import Extra, Series
from slotengine.core.ledger.index import SMALL, Index, Order, Page, Place, Query
from slotengine.core.ledger.reservation import (
    CONFIRMED,
    HELD,
    Claim,
    Entry,
    State,
)
from tests.core.ledger.entries import Made

RETENTION = 50


class World:
    """Reservations that a test makes and changes at will, with an index of them."""

    def __init__(self, small: int = SMALL) -> None:
        self.there = Made()
        self.entries = self.there.entries
        self.index = Index(self.entries, self.lapsed, RETENTION, small=small)
        self.now = 0

    def lapsed(self, now: int) -> list[Entry]:
        return [one for one in self.entries.values() if one.state is HELD and one.until <= now]

    def add(
        self,
        start: int = 0,
        end: int = 1,
        *claims: Claim,
        holder: str | None = None,
        event_type: str | None = None,
        extra: Extra | None = None,
        until: int = NEVER - 1,
        state: State = HELD,
    ) -> Entry:
        uid = f"r{self.there.count + 1}"
        entry = self.there.entry(start, end, until=until, created=self.now, uid=uid)
        entry.holder, entry.event_type, entry.extra = holder, event_type, extra
        entry.claims = claims or (Claim("room", start, end),)
        entry.state = state
        self.index.update(entry)
        return entry

    def change(self, entry: Entry, **values: Any) -> None:
        for name, value in values.items():
            setattr(entry, name, value)
        entry.changed = self.now
        self.index.update(entry)

    def forget(self, entry: Entry) -> None:
        self.index.remove(entry)
        self.there.rows.remove(entry.number)

    def find(self, query: Query, limit: int = 100, after: Place | None = None) -> Page:
        found = self.index.find(query, self.now, limit=limit, after=after, count=True)
        self.index.check_invariants()
        return found

    def uids(self, query: Query) -> list[str]:
        return [one.uid for one in self.find(query).entries]


def is_meant(entry: Entry, query: Query, now: int) -> bool:
    """Say plainly whether a reservation is looked for."""
    extra = entry.extra or Extra()
    if entry.until + RETENTION <= now:
        return False
    state = State.EXPIRED if entry.state is HELD and entry.until <= now else entry.state
    spans = [(entry.start, entry.end)]
    if query.resource is not None:
        spans = [claim[1:3] for claim in entry.all_claims() if claim.resource == query.resource]
    if query.within is not None:
        spans = [
            one for one in spans if max(one[0], query.within[0]) < min(one[1], query.within[1])
        ]
    return (
        spans != []
        and query.holder in (None, entry.holder)
        and query.event_type in (None, entry.event_type)
        and (query.tag is None or query.tag in extra.tags)
        and (query.series is None or (extra.series or ("",))[0] == query.series)
        and (query.states is None or state in query.states)
        and entry.created >= (query.created_since or 0)
        and entry.changed >= (query.changed_since or 0)
    )


def meant(world: World, query: Query) -> list[Entry]:
    """Return what is looked for, in its order."""
    found = [one for one in world.entries.values() if is_meant(one, query, world.now)]
    times = {Order.START: "start", Order.CREATED: "created", Order.CHANGED: "changed"}
    return sorted(
        found,
        key=lambda one: (getattr(one, times[query.order]), one.serial),
        reverse=query.descending,
    )


small = st.integers(0, 20)
spans = st.tuples(small, st.sampled_from([1, 2, 9, 100])).map(lambda one: (one[0], sum(one)))
resources = st.sampled_from(["room", "desk", "limit:day"])
claims = st.builds(lambda resource, span: Claim(resource, *span), resources, spans)
names = st.none() | st.sampled_from(["ada", "bob"])
extras = st.none() | st.builds(
    Extra,
    tags=st.lists(st.sampled_from(["vip", "new"]), unique=True).map(tuple),
    series=st.none() | st.builds(Series, st.sampled_from(["s1", "s2"]), st.integers(0, 3)),
)
states = st.sampled_from(State)
queries = st.builds(
    Query,
    names,
    st.none() | st.sampled_from(["vip", "new"]),
    st.none() | st.sampled_from(["s1", "s2"]),
    names,
    st.none() | st.sampled_from(["room", "desk", "hall"]),
    st.none() | st.frozensets(states, min_size=1),
    st.none() | spans,
    st.none() | small,
    st.none() | small,
    st.sampled_from(Order),
    st.booleans(),
)


class IndexAgainstList(RuleBasedStateMachine):
    """Goal: an index finds what a look at each reservation finds, and pages stay right.

    Method: the same questions are asked of a plain list.  Readers go through pages while
    all sorts of things change; each must have been told once of all that never changed.
    """

    small = SMALL

    @initialize()
    def begin(self) -> None:
        self.world = World(self.small)
        self.readers: list[tuple[Query, Place | None, list[Entry], list[Entry]]] = []

    @rule(
        span=spans, theirs=st.lists(claims, max_size=2), holder=names, event_type=names,
        extra=extras, lives=st.sampled_from([1, 5, 30, 1000]),
    )  # fmt: skip
    def add(
        self,
        span: tuple[int, int],
        theirs: list[Claim],
        holder: str | None,
        event_type: str | None,
        extra: Extra | None,
        lives: int,
    ) -> None:
        self.world.add(
            *span, Claim("room", *span), *theirs, holder=holder, event_type=event_type,
            extra=extra, until=self.world.now + lives,
        )  # fmt: skip

    def one(self, data: st.DataObject) -> Entry | None:
        entries = list(self.world.entries.values())
        return data.draw(st.sampled_from(entries)) if entries else None

    def changed(self, entry: Entry) -> None:
        for _, _, waiting, told in self.readers:
            for unchanged in (waiting, told):
                if entry in unchanged:
                    unchanged.remove(entry)

    @rule(data=st.data(), state=states, extra=extras, span=spans, step=st.integers(0, 5))
    def change(
        self,
        data: st.DataObject,
        state: State,
        extra: Extra | None,
        span: tuple[int, int],
        step: int,
    ) -> None:
        entry = self.one(data)
        self.world.now += step
        if entry is None:
            return
        until = {HELD: self.world.now + 9, CONFIRMED: NEVER}.get(state, self.world.now)
        self.world.change(
            entry, state=state, until=until, extra=extra, start=span[0], end=span[1],
            claims=(Claim("room", *span),),
        )  # fmt: skip
        self.changed(entry)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        entry = self.one(data)
        if entry is not None:
            self.world.forget(entry)
            self.changed(entry)

    @rule(query=queries, limit=st.integers(1, 4))
    def ask(self, query: Query, limit: int) -> None:
        expected = meant(self.world, query)
        page = self.world.find(query, limit)
        assert page.entries == expected[:limit]
        assert page.total == len(expected)
        assert (page.after is None) == (len(expected) <= limit)
        self.readers.append((query, page.after, expected[limit:], expected[:limit]))

    @rule(data=st.data(), limit=st.integers(1, 4))
    def read_on(self, data: st.DataObject, limit: int) -> None:
        going = [one for one in self.readers if one[1] is not None]
        if not going:
            return
        reader = data.draw(st.sampled_from(going))
        self.readers.remove(reader)
        query, after, waiting, told = reader
        page = self.world.find(query, limit, after)
        waiting = [one for one in waiting if is_meant(one, query, self.world.now)]
        unchanged = [one for one in page.entries if one in waiting]
        assert unchanged == waiting[: len(unchanged)]
        assert page.after is not None or unchanged == waiting
        assert not [one for one in page.entries if one in told]
        told += unchanged
        self.readers.append((query, page.after, waiting[len(unchanged) :], told))

    @invariant()
    def invariants_hold(self) -> None:
        self.world.index.check_invariants()


class SortedIndexAgainstList(IndexAgainstList):
    """Goal: the same, of an index that keeps everything sorted."""

    small = 0


TestIndexAgainstList = IndexAgainstList.TestCase
TestIndexAgainstList.settings = settings(max_examples=30, stateful_step_count=40)
TestSortedIndexAgainstList = SortedIndexAgainstList.TestCase
TestSortedIndexAgainstList.settings = settings(max_examples=60, stateful_step_count=40)


# --- Plain cases -------------------------------------------------------------------------------

DAY = 1000


@pytest.fixture(params=[SMALL, 0], ids=["looked through", "sorted"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_each_condition_finds_its_own(world: World) -> None:
    vip = Extra(tags=("vip", "new"), series=Series("s", 1))
    world.add(7, 9, holder="ada", event_type="talk")
    world.now = 3
    world.add(5, 6, Claim("desk", 4, 8), Claim("limit:day", 0, DAY), extra=vip)
    world.index.update(world.add(1, 2, state=CONFIRMED, until=NEVER))
    for query, expected in [
        (Query(), ["r3", "r2", "r1"]),
        (Query(descending=True), ["r1", "r2", "r3"]),
        (Query(order=Order.CREATED), ["r1", "r2", "r3"]),
        (Query(holder="ada"), ["r1"]),
        (Query(holder="bob"), []),
        (Query(event_type="talk"), ["r1"]),
        (Query(tag="new"), ["r2"]),
        (Query(series="s"), ["r2"]),
        (Query(resource="desk"), ["r2"]),
        (Query(resource="limit:day"), []),
        (Query(states=frozenset({CONFIRMED})), ["r3"]),
        (Query(within=(6, 8)), ["r1"]),
        (Query(within=(6, 7), resource="desk"), ["r2"]),
        (Query(within=(8, 9), resource="desk"), []),
        (Query(created_since=3), ["r3", "r2"]),
        (Query(created_since=3, order=Order.CREATED), ["r2", "r3"]),
        (Query(created_since=4), []),
    ]:
        assert world.uids(query) == expected
        assert world.find(query).total == len(expected)


def test_a_hold_that_has_lapsed_is_found_as_expired(world: World) -> None:
    one, other = world.add(until=10), world.add(until=30)
    held, expired = Query(states=frozenset({HELD})), Query(states=frozenset({State.EXPIRED}))
    either = Query(states=frozenset({HELD, State.EXPIRED}))
    assert world.uids(held) == ["r1", "r2"]
    world.now = 10
    assert (world.uids(held), world.uids(expired)) == (["r2"], ["r1"])
    world.now = 12
    world.change(one, state=State.EXPIRED)
    assert (world.uids(held), world.uids(expired)) == (["r2"], ["r1"])
    assert world.uids(either) == ["r1", "r2"]
    world.now = 10 + RETENTION
    assert (world.uids(expired), world.find(Query()).total) == (["r2"], 1)
    world.forget(one)
    world.change(other, holder="ada")
    assert world.uids(Query(changed_since=world.now, order=Order.CHANGED)) == ["r2"]


def test_pages_follow_each_other_while_others_come_and_go(world: World) -> None:
    for start in (1, 2, 3, 4, 5, 6):
        world.add(start, start + 1)
    for query in (Query(), Query(descending=True), Query(order=Order.CREATED)):
        told: list[str] = []
        after: Place | None = None
        going = True
        while going:
            page = world.find(query, 2, after)
            told += [entry.uid for entry in page.entries]
            after, going = page.after, page.after is not None
            world.add(0, 1, state=State.RELEASED, until=world.now - RETENTION)
        assert told == world.uids(query)
    second = world.find(Query(), 2).after
    world.forget(world.entries["r2"])
    world.change(world.entries["r1"], start=9, end=10)
    rest = world.find(Query(), 9, second)
    assert [entry.uid for entry in rest.entries] == ["r3", "r4", "r5", "r6", "r1"]


def test_what_is_looked_at_is_what_the_rarest_condition_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: cost grows with what is found, not with what there is."""
    for i in range(500):
        world.now = i
        world.add(
            i, i + 1, holder="ada" if i % 100 == 0 else "bob", event_type="talk",
            extra=Extra(tags=("vip",)) if i % 2 else None, state=CONFIRMED, until=NEVER,
        )  # fmt: skip
    world.add(3, 100_000, holder="bob", state=CONFIRMED, until=NEVER)  # long, and in no one's way
    looked = 0
    is_found = Index.is_found

    def counting(*arguments: Any) -> bool:
        nonlocal looked
        looked += 1
        return is_found(*arguments)

    monkeypatch.setattr(Index, "is_found", counting)
    for query, most in [
        (Query(holder="ada"), 5),
        (Query(holder="ada", tag="vip", event_type="talk", states=frozenset({CONFIRMED})), 5),
        (Query(within=(250, 253)), 10),
        (Query(within=(250, 253), resource="room", order=Order.CHANGED), 10),
        (Query(created_since=495), 7),
        (Query(changed_since=495, holder="bob"), 7),
        (Query(states=frozenset({HELD})), 0),
        (Query(event_type="talk"), 11),
        (Query(tag="vip", descending=True, order=Order.CHANGED), 11),
    ]:
        looked = 0
        found = world.index.find(query, world.now, limit=10)
        assert [entry.uid for entry in found.entries] == [
            entry.uid for entry in meant(world, query)[:10]
        ]
        assert looked <= most
        assert found.total is None
