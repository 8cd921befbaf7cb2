"""The ledger against the naive one, which works everything out from scratch.

Few instants, few resources, small capacities and short lives, so that spans
touch, nest and repeat, and holds lapse at the very moment something happens.
The ledger does some of its maintenance on the side, or all, or none: nothing that
can be seen may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from slotengine.core.ledger.changes import Changes, Forgotten, Granted, ReservationChange
from slotengine.core.ledger.commands import (
    ALL,
    ANY,
    EACH,
    Adopt,
    Annotate,
    Cancel,
    Choice,
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
    Kind,
    LimitConfig,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    SettingChange,
)
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.ledger.extra import KEEP, Extra, Keep
from slotengine.core.ledger.index import LIVE, Order, Query
from slotengine.core.ledger.keys import KEY_LIFE
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import NOWHERE, Claim, Entry, State, Verb
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.schedule import FixedWindows
from slotengine.core.time.schedule_text import schedule_text
from slotengine.errors import Refused
from slotengine.testing import strategies
from slotengine.testing.internal import strategies as ledger_strategies
from slotengine.testing.internal.actions import uids_in
from slotengine.testing.internal.keyed import digest_of
from slotengine.testing.internal.naive_calls import decided
from slotengine.testing.internal.naive_configuration import number_settings
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.observed import ObservedReservation, describe, outcome
from tests.sizes import machine_size

TERMS = Terms(default_ttl=5, shortest_ttl=1, longest_ttl=12, max_life=20, retention=6)
LAST = 10
RESOURCES = {
    "sole": (1, None),
    "hours": (1, FixedWindows([(1, 5), (6, 10)])),
    "many": (3, None),
    "host-1": (1, None),
    "host-2": (1, FixedWindows([(0, 7)])),
    "host-3": (1, None),
    "limit:some": (3, None),
}
LIMITS = {"limit:some"}
HOURS = [schedule_text(schedule) for _, schedule in RESOURCES.values() if schedule is not None]
THINGS = [name for name in RESOURCES if name not in LIMITS]

UNITS = {"sole": 1, "hours": 1, "many": 3}
HOSTS = ("host-1", "host-2", "host-3")

spans = strategies.spans(last=LAST)
ttls = ledger_strategies.ttls | st.just(PENDING)
# Seldom so long that keys of forgotten reservations are free again.
steps = st.sampled_from((*(0, 0, 0, 1, 2, 5) * 4, KEY_LIFE))
holders = st.sampled_from((None, "holder-1", "holder-2"))
maybe_version = ledger_strategies.versions


def windows(start: int, end: int) -> tuple[int, int]:
    """Return the period in which a slot is counted."""
    return (-3, 5) if start < 5 else (5, 30)


@st.composite
def proposals(draw: st.DrawFn, *, with_key: bool = True) -> Proposal:
    """Proposals of callers, and what only event types add: limits, a second pool, and so on."""
    made = draw(ledger_strategies.proposals(UNITS, hosts=HOSTS, with_key=with_key, last=LAST))
    start, end, claims = made[:3]
    another = draw(st.booleans())
    if made.pools and another:
        claims = tuple(claim for claim in claims if claim.resource != "sole")
        made = made._replace(claims=claims, pools=(*made.pools, Pool((Claim("sole", start, end),))))
    limit = Claim("limit:some", *windows(start, end), draw(st.sampled_from((1, 1, 2, 4))))
    return made._replace(
        limits=draw(st.sampled_from(((), (), (limit,)))),
        extra=draw(st.sampled_from((None, None, None, Extra(tags=("vip",))))),
        ttl=draw(st.sampled_from((made.ttl, made.ttl, made.ttl, PENDING))),
        closed=draw(st.sampled_from((None, (), ("sole",), ("many", "host-1")))),
        hosts=draw(
            st.sampled_from((None, None, frozenset(RESOURCES), frozenset({"many", "host-1"})))
        ),
    )


requests = proposals().map(lambda one: one._replace(requested=True))
candidates = st.lists(proposals(with_key=False), min_size=1, max_size=3)
preferences = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(Policy),
        "load_in": st.sampled_from((None, (0, 5), (4, 9))),
    }
)
tag_lists = st.sampled_from((KEEP, (), ("vip",), ("vip", "new")))
weight_lists = st.one_of(st.none(), st.lists(st.integers(1, 4), min_size=3, max_size=3))


def add_all(ledger: Ledger) -> None:
    for name, (capacity, schedule) in RESOURCES.items():
        if name in LIMITS:
            ledger.add_limit(name, capacity)
        else:
            ledger.add_resource(name, capacity=capacity, schedule=schedule)


@st.composite
def batches(draw: st.DrawFn) -> list[SettingChange]:
    """Changes of the configuration: of what the proposals claim, and of one more resource."""
    names = [*RESOURCES, "extra"]
    entries: list[SettingChange] = []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        version = draw(st.sampled_from((None, None, None, 0, 1, 8, 9)))
        units = draw(st.integers(1, 3))
        if name in LIMITS:
            entries.append(Put(Kind.LIMIT, name, LimitConfig(units), version))
        elif draw(st.integers(0, 3)) == 0:
            entries.append(Retire(Kind.RESOURCE, name, draw(st.booleans()), version))
        elif name == "extra" and draw(st.booleans()):
            entries.append(Remove(Kind.RESOURCE, name, version))
        else:
            hours = draw(st.sampled_from((None, None, *HOURS)))
            retired = draw(st.sampled_from((False, False, True)))
            entries.append(Put(Kind.RESOURCE, name, ResourceConfig(units, hours, retired), version))
    return entries


class LedgerAgainstNaive(RuleBasedStateMachine):
    """Goal: whatever is done, the two ledgers say the same.

    Method: each rule lets some time pass, does one thing to both, and compares
    the answers, refusals and their details included; then everything that can
    be seen is compared, and the ledger's invariants are asserted.  At the end
    the recorded changes are replayed into a fresh ledger, which must be equal.
    """

    uids = Bundle("uids")
    terms = TERMS

    @initialize(maintenance=st.sampled_from((0, 1, 16)))
    def begin(self, maintenance: int) -> None:
        self.steps: list[Changes] = []
        self.seen: dict[str, ObservedReservation] = {}
        self.lapses: list[tuple[int, str, int]] = []
        self.in_turn: list[int] = []
        self.latest, self.adopted = -1, False
        self.maintenance = maintenance
        self.ledger = Ledger(self.terms, maintenance=maintenance)
        self.naive = NaiveLedger(self.terms, dict(RESOURCES))
        add_all(self.ledger)
        self.listen()
        number_settings(self.naive)
        self.now = 1
        self.made = 0
        self.known: set[str] = set()

    def listen(self) -> None:
        """Hear of what the ledger does, which was not recorded so far."""
        self.unrecorded = self.ledger.snapshot()
        self.ledger.on_change = self.changed
        self.ledger.on_step = self.stepped

    def stepped(self, changes: Changes) -> None:
        """All changes of a step are told at once, in the order of their numbers."""
        assert [one.seq for one in changes] == list(
            range(self.ledger.state.seq - len(changes) + 1, self.ledger.state.seq + 1)
        )
        self.steps.append(changes)
        for change in changes:
            assert change.at == self.now
            if isinstance(change, Configured):  # after the lapses that made room for it
                assert change.edition == self.naive.edition + 1
                self.in_turn.clear()
            if isinstance(change, Forgotten):
                for uid in change.uids:
                    del self.seen[uid]

    def changed(self, change: ReservationChange, entry: Entry) -> None:
        """Every change is told once, after the fact, and raises the version by one."""
        verb, at = change.verb, change.at
        before = self.seen.get(entry.uid)
        assert entry.version == change.version == (1 if before is None else before.version + 1)
        assert at == self.now
        if verb is Verb.EXPIRE:
            assert entry.until <= at
            self.in_turn.append(entry.until)  # unless a change follows for which it made room
            self.lapses.append((entry.until, entry.uid, entry.version))
        else:
            self.in_turn.clear()
        self.seen[entry.uid] = ObservedReservation.of(entry, at)
        takes = verb in {Verb.RESERVE, Verb.MOVE, Verb.REINSTATE} or isinstance(change, Granted)
        if takes and entry.state not in NOWHERE and not self.adopted:
            self.could_have_happened(self.seen[entry.uid])

    def could_have_happened(self, one: ObservedReservation) -> None:
        """As far as anybody was told, there is room for what is told now."""
        live = [two for two in self.seen.values() if two.state not in NOWHERE]
        for claim in one.claims:
            capacity, _ = self.naive.resources[claim.resource]
            theirs = {(two.session, each) for two in live for each in two.claims}
            at = [each for _, each in theirs if each.resource == claim.resource]
            for moment in {claim.start, *(each.start for each in at)}:
                if claim.start <= moment < claim.end:
                    there = [each.units for each in at if each.start <= moment < each.end]
                    assert sum(there) <= capacity
        if one.seats is not None:
            together = [two.seats for two in live if two.session == one.session and two.seats]
            assert sum(seats.wanted for seats in together) <= one.seats.total
        if one.holder is not None and one.state is State.HELD and self.terms.max_holds is not None:
            held = [two for two in live if (two.holder, two.state) == (one.holder, State.HELD)]
            assert len(held) <= self.terms.max_holds

    def same(
        self, command: Command, step: int, ours: Callable[[], Entry] | None = None
    ) -> list[str]:
        """Let time pass, give both a command, compare, and return the uids that were accepted.

        The ledger may be asked in another way (``ours``), which says the same.
        """
        self.now += step
        self.expect(command)
        got = outcome(lambda: self.answer(command) if ours is None else self.told(ours().uid))
        assert got == outcome(lambda: decided(self.naive, command, self.now))
        return uids_in(got)

    def expect(self, command: Command) -> None:
        """Be told of a command right before it is carried out."""

    def answer(self, command: Command) -> object:
        """Carry out a command, and return what it is answered, as the naive ledger says it."""
        decision = self.ledger.step(command, self.now)
        if isinstance(command, Configure):
            changes = (one for one in decision.changes if isinstance(one, Configured))
            return [setting for one in changes for setting in one.settings]
        if isinstance(command, ImportBusy):
            return None
        if isinstance(command, Forget):
            return len(decision.answers)
        answers = [self.told(one) for one in decision.answers]
        is_batch = isinstance(command, Reserve) and command.mode in {ALL, EACH}
        return answers if is_batch else answers[0]

    def told(self, answer: object) -> object:
        """Return one of several answers as a value to compare."""
        if isinstance(answer, Refused):
            return describe(answer)
        return ObservedReservation.of(self.ledger.state.entries[str(answer)], self.now)

    def fresh(self) -> str:
        self.made += 1
        self.known.add(f"uid-{self.made}")
        return f"uid-{self.made}"

    @rule(
        target=uids,
        span=spans,
        resource=st.sampled_from(("sole", "hours")),
        ttl=ttls,
        holder=holders,
        quota=st.none() | ledger_strategies.quotas,
        step=steps,
    )
    def reserve(
        self,
        span: tuple[int, int],
        resource: str,
        ttl: int,
        holder: str | None,
        quota: Quota | None,
        step: int,
    ) -> Any:
        uid = self.fresh()
        if quota is not None and holder is None:  # then only the hold itself is limited
            quota = Quota(life=quota.life)
        proposal = Proposal(*span, (Claim(resource, *span),), ttl, holder, quota=quota)
        self.same(
            Reserve((proposal,), (uid,)),
            step,
            lambda: self.ledger.reserve(
                resource, *span, uid=uid, now=self.now, ttl=ttl, holder=holder, quota=quota
            ),
        )
        return uid

    @rule(target=uids, proposal=proposals(), step=steps)
    def adopt(self, proposal: Proposal, step: int) -> Any:
        """Bookings that were made elsewhere stand, whatever is in their way."""
        uid = self.fresh()
        self.adopted = True
        claims = proposal.claims or (proposal.pools[0].claims[0],)
        proposal = proposal._replace(claims=claims, pools=(), closed=None)
        self.same(Adopt(proposal, uid), step)
        return uid

    @rule(target=uids, proposal=proposals(), step=steps)
    def reserve_proposal(self, proposal: Proposal, step: int) -> Any:
        uid = self.fresh()
        self.now += step
        free = outcome(lambda: self.ledger.is_free(proposal, now=self.now))
        assert free == outcome(lambda: self.naive.is_free(proposal, self.now))
        made = self.same(Reserve((proposal,), (uid,)), 0)
        assert proposal.key is not None or (free is True) == (made != [])
        return uid

    @rule(target=uids, proposal=proposals(), step=steps)
    def request(self, proposal: Proposal, step: int) -> Any:
        """It is kept as it is wanted, whatever is taken."""
        uid = self.fresh()
        self.same(Reserve((proposal._replace(requested=True),), (uid,)), step)
        return uid

    @rule(
        target=uids, mode=st.sampled_from((ALL, EACH)),
        batch=st.lists(requests | proposals(), min_size=2, max_size=3), step=steps,
    )  # fmt: skip
    def reserve_several(self, mode: Mode, batch: Sequence[Proposal], step: int) -> Any:
        keys = [proposal.key for proposal in batch if proposal.key is not None]
        if len(set(keys)) < len(keys):
            batch = [proposal._replace(key=None) for proposal in batch]
        uids = [self.fresh() for _ in batch]
        self.same(Reserve(tuple(batch), tuple(uids), mode), step)
        return multiple(*uids)

    @rule(
        target=uids, choice=candidates, how=preferences, weights=weight_lists,
        key=st.sampled_from((None, None, "key-3")), step=steps,
    )  # fmt: skip
    def reserve_any(
        self,
        choice: Sequence[Proposal],
        how: dict[str, Any],
        weights: list[int] | None,
        key: str | None,
        step: int,
    ) -> Any:
        uid = self.fresh()
        how = {**how, "weights": weights and tuple(weights[: len(choice)])}
        digest = None if key is None else digest_of(choice, **how)
        self.same(Reserve(tuple(choice), (uid,), ANY, Choice(**how), key, digest), step)
        return uid

    @rule(uid=uids, ttl=ttls, version=maybe_version, step=steps)
    def extend(self, uid: str, ttl: int, version: int | None, step: int) -> None:
        self.same(Extend(uid, ttl, version), step)

    @rule(
        uid=uids, choice=candidates, how=preferences, weights=weight_lists,
        renew=st.booleans(), version=maybe_version, step=steps,
    )  # fmt: skip
    def move_any(
        self,
        uid: str,
        choice: Sequence[Proposal],
        how: dict[str, Any],
        weights: list[int] | None,
        renew: bool,
        version: int | None,
        step: int,
    ) -> None:
        how = {**how, "weights": weights and tuple(weights[: len(choice)])}
        self.same(Move(uid, tuple(choice), renew, Choice(**how), version), step)

    @rule(uid=uids, proposal=proposals(with_key=False), renew=st.booleans(), step=steps)
    def move(self, uid: str, proposal: Proposal, renew: bool, step: int) -> None:
        self.same(Move(uid, (proposal,), renew), step)

    @rule(uid=uids, if_still_free=st.booleans(), version=maybe_version, step=steps)
    def confirm(self, uid: str, if_still_free: bool, version: int | None, step: int) -> None:
        self.same(Confirm(uid, if_still_free, version), step)

    @rule(uid=uids, version=maybe_version, step=steps)
    def release(self, uid: str, version: int | None, step: int) -> None:
        self.same(Release(uid, version), step)

    @rule(uid=uids, version=maybe_version, step=steps)
    def cancel(self, uid: str, version: int | None, step: int) -> None:
        self.same(Cancel(uid, version), step)

    @rule(
        uid=uids, metadata=st.sampled_from((KEEP, (), (("guests", "3"),))),
        details=st.sampled_from((KEEP, None, "by phone")), tags=tag_lists,
        version=maybe_version, step=steps,
    )  # fmt: skip
    def annotate(
        self,
        uid: str,
        metadata: tuple[tuple[str, str], ...] | Keep,
        details: str | Keep | None,
        tags: tuple[str, ...] | Keep,
        version: int | None,
        step: int,
    ) -> None:
        self.same(Annotate(uid, metadata, details, tags, version), step)

    @rule(target=uids, uid=uids, proposal=proposals(), version=maybe_version, step=steps)
    def replace(self, uid: str, proposal: Proposal, version: int | None, step: int) -> Any:
        return multiple(*self.same(Replace(uid, proposal, self.fresh(), version), step))

    @rule(
        query=st.builds(
            Query,
            holder=holders,
            series=st.none(),
            event_type=st.sampled_from((None, None, "workshop")),
            changed_since=st.none(),
            tag=st.sampled_from((None, None, "vip")),
            resource=st.sampled_from((None, "sole", "host-1")),
            states=st.none() | st.frozensets(st.sampled_from(State), min_size=1),
            within=st.none() | st.just((3, 7)),
            created_since=st.none() | st.integers(0, 30),
            order=st.sampled_from((Order.START, Order.CREATED)),
            descending=st.booleans(),
        )
    )
    def find(self, query: Query) -> None:
        page = self.ledger.find(query, now=self.now, limit=1000, count=True)
        expected = self.naive.find(query, self.now)
        assert [entry.uid for entry in page.entries] == expected
        assert page.total == len(expected)

    @rule(uid=consumes(uids), step=steps)
    def back_in_time(self, uid: str, step: int) -> None:
        """A time before the latest is read as the latest."""
        confirm = Confirm(uid)
        got = outcome(lambda: self.told(self.ledger.step(confirm, self.now - step).answers[0]))
        assert got == outcome(lambda: decided(self.naive, confirm, self.now))

    @rule(limit=st.sampled_from((None, 1, 2)), step=steps)
    def expire(self, limit: int | None, step: int) -> None:
        self.now += step
        marked = self.ledger.expire(self.now, limit)
        assert limit is None or marked <= limit
        self.naive.at(self.now)
        if limit is None:
            held = [one for one in self.naive.known.values() if one.state is State.HELD]
            assert self.ledger.tally().held == len(held)
            assert self.ledger.state.next_expiry() > self.now

    @rule(
        source=st.sampled_from(("calendar", "feed")),
        busy=st.dictionaries(st.sampled_from(THINGS), st.lists(spans, max_size=2), max_size=2),
        step=steps,
    )
    def replace_busy(self, source: str, busy: dict[str, list[tuple[int, int]]], step: int) -> None:
        spans = tuple((name, tuple(theirs)) for name, theirs in busy.items())
        self.same(ImportBusy(source, spans), step)

    @rule(before=st.integers(-3, 3), step=steps)
    def forget(self, before: int, step: int) -> None:
        self.same(Forget(self.now + step + before, tuple(self.ledger.uids())), step)

    @rule(whole=st.booleans())
    def restart(self, whole: bool) -> None:
        """Another ledger takes over, made of a snapshot or of all that was recorded."""
        steps = [self.ledger.snapshot()] if whole else [self.unrecorded, *self.steps]
        again = Ledger(self.terms, maintenance=self.maintenance)
        again.replay(steps)
        again.look(self.now)
        again.check_invariants()
        self.ledger.look(self.now)
        assert again.snapshot() == self.ledger.snapshot()
        self.ledger = again
        if whole:
            self.steps.clear()
            self.listen()
        else:
            self.ledger.on_change, self.ledger.on_step = self.changed, self.stepped

    @rule(entries=batches(), force=st.booleans(), step=steps)
    def configure(self, entries: list[SettingChange], force: bool, step: int) -> None:
        # What is over may have taken more than there is from now on.
        self.adopted = self.adopted or any(isinstance(entry, Put) for entry in entries)
        self.same(Configure(tuple(entries), force), step)
        assert list(self.ledger.configuration.resources) == [
            name for name in self.naive.resources if name not in LIMITS
        ]

    @invariant()
    def same_to_look_at(self) -> None:
        for uid in self.known:
            entry = self.ledger.get(uid, now=self.now)
            ours = None if entry is None else ObservedReservation.of(entry, self.now)
            theirs = self.naive.get(uid, self.now)
            assert ours == theirs
            assert (ours and ours.serial) == (theirs and theirs.serial)
        for resource in THINGS:
            for span in ((-2, LAST + 6), (3, 5)):
                busy = self.ledger.busy(resource, *span, now=self.now)
                assert busy == self.naive.busy(resource, *span, self.now)
                found = self.ledger.reservations_in(resource, *span, now=self.now)
                uids = [entry.uid for entry in found]
                assert len(uids) == len(set(uids))
                assert set(uids) == self.naive.reservations_in(resource, *span, self.now)
                query = Query(resource=resource, states=LIVE, within=span)
                page = self.ledger.find(query, now=self.now, limit=1000)
                assert {entry.uid for entry in page.entries} == set(uids)

    @invariant()
    def invariants_hold(self) -> None:
        self.ledger.check_invariants()
        assert self.in_turn == sorted(self.in_turn)
        assert self.latest <= min(self.in_turn, default=self.latest)
        self.latest = max(self.in_turn, default=self.latest)
        self.in_turn.clear()

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self.ledger.expire(self.now)
        again = Ledger(self.terms)
        again.replay([self.unrecorded, *self.steps])
        again.check_invariants()
        for uid in self.known:
            ours, theirs = self.ledger.get(uid, now=self.now), again.get(uid, now=self.now)
            assert (ours and ObservedReservation.of(ours, self.now)) == (
                theirs and ObservedReservation.of(theirs, self.now)
            )
        # Nor is it known how much a holder may still have, whoever has counted so far.
        again.look(self.now)
        again.state.count_holders()
        self.ledger.state.count_holders()
        for holder in ("holder-1", "holder-2"):
            assert quotas_left(again, holder) == quotas_left(self.ledger, holder)
        assert again.snapshot() == self.ledger.snapshot()
        # When memory is freed is nobody's business: what is forgotten is told by get().
        assert again.tally()._replace(ended=0, keys=0) == self.ledger.tally()._replace(
            ended=0, keys=0
        )
        # Each lapse was announced once: no version of a reservation expires twice.
        assert len(set(self.lapses)) == len(self.lapses)


def quotas_left(ledger: Ledger, holder: str) -> list[object]:
    """Return what a holder would be told that asks for holds of each length."""
    assert ledger.state.holders is not None
    check, view = ledger.state.holders.check, ledger.occupancy.view(ledger.state.now)
    return [
        outcome(lambda n=length, q=quota: check(holder, n, view, q))  # type: ignore[misc]
        for length in range(1, 9)
        for quota in (None, Quota(holds=1), Quota(holds=2), Quota(held=9))
    ]


class QuotasAgainstNaive(LedgerAgainstNaive):
    """The same, where each holder may have so much and no more."""

    terms = replace(TERMS, max_holds=3, max_held=7, max_lapses=2, cool_down=4)


class LapsesAgainstNaive(LedgerAgainstNaive):
    """The same, where only lapses count."""

    terms = replace(TERMS, max_lapses=1, cool_down=7)


class PendingAgainstNaive(LedgerAgainstNaive):
    """The same, where holds need not lapse."""

    terms = replace(TERMS, max_life=None, max_holds=3, max_held=9)


TestPendingAgainstNaive = PendingAgainstNaive.TestCase
TestPendingAgainstNaive.settings = machine_size(steps=40)
TestQuotasAgainstNaive = QuotasAgainstNaive.TestCase
TestQuotasAgainstNaive.settings = machine_size(steps=50)
TestLapsesAgainstNaive = LapsesAgainstNaive.TestCase
TestLapsesAgainstNaive.settings = machine_size(steps=30)
TestLedgerAgainstNaive = LedgerAgainstNaive.TestCase
TestLedgerAgainstNaive.settings = machine_size(steps=40)
