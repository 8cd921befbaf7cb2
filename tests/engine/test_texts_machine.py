"""Whatever is done with texts, nothing of them is left when it is over."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from slotengine import Claim, EventType, Quota, Refused, Request, Reservation, Seats, SlotEngine
from slotengine.engine.values import minutes
from slotengine.errors import InvalidRequest
from slotengine.testing import SimClock
from tests.engine.test_texts import sizes

NOW = datetime(2030, 1, 7, 8, 3, 41, tzinfo=UTC)
HALF_HOUR = minutes(30)
LISTS_LEFT = 100
"""How many entries lists may have more: some are emptied when the next hold lapses."""

resources = st.sampled_from(["room", "one", "two", "hall"])
slots = st.integers(1, 8)
labels = st.sampled_from(["holder", "key", "event_type"])


class TextsThatAreOver(RuleBasedStateMachine):
    """Goal: labels, keys, holders, sources and uids are gone when what they were for is.

    Method: every text is a new one.  At the end all is released, lapses or is
    forgotten, and all containers that the engine reaches are measured; before, the
    same is done once after each verb was called, so that what stays for good is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = SimClock(NOW)
        self.engine = SlotEngine(clock=self.clock, max_holds=9, max_lapses=5, max_waits=2)
        # There is no event loop, and so no sweeper: each call lets time pass.
        self.engine.local.read_clock = self.clock.now
        for resource in ("room", "one", "two"):
            self.engine.add_resource(resource)
        self.engine.add_resource("hall", capacity=3)
        pool = EventType(id="talk", length=HALF_HOUR, any_of=[["one", "two"]])
        self.engine.add_event_type(pool)
        self.known: list[Reservation] = []
        self.texts = count()
        for resource in ("room", "one", "two", "hall"):
            self.hold(resource, 1, {"holder", "key", "event_type"}, quota=True)
        self.hold_by_rules(1, {"holder", "key"})
        self.join(2)
        self.import_busy("room", 4)
        self.end(0, "confirm")
        self.end_all()
        self.before = sizes(self.engine)

    def text(self) -> str:
        return f"text {next(self.texts)}"

    def at(self, slot: int) -> datetime:
        return self.clock.moment + slot * HALF_HOUR

    def keep(self, found: Reservation) -> None:
        self.known.append(found)

    @rule(resource=resources, slot=slots, named=st.sets(labels), quota=st.booleans())
    def hold(self, resource: str, slot: int, named: set[str], *, quota: bool) -> None:
        texts = {name: self.text() for name in named}
        more = Quota(holds=3, waits=1) if quota and "holder" in named else None
        with suppress(Refused):
            self.keep(
                self.engine.local.reserve(  # type: ignore[call-overload]
                    resource,
                    self.at(slot),
                    HALF_HOUR,
                    quota=more,
                    **texts,
                )
            )

    @rule(slot=slots, named=st.sets(st.sampled_from(["holder", "key"])))
    def hold_by_rules(self, slot: int, named: set[str]) -> None:
        texts = {name: self.text() for name in named}
        with suppress(Refused):
            self.keep(self.engine.local.reserve_slot("talk", self.at(slot), **texts))  # type: ignore[arg-type]

    @rule(slot=slots)
    def join(self, slot: int) -> None:
        request = Request(
            self.at(slot), HALF_HOUR, (Claim("hall"),), event_type=self.text(), seats=Seats(2)
        )
        with suppress(Refused):
            self.keep(self.engine.local.reserve(request))

    @rule(resource=resources, slot=slots)
    def import_busy(self, resource: str, slot: int) -> None:
        source = self.text()
        self.engine.local.replace_busy(source, {resource: [(self.at(slot), self.at(slot + 1))]})
        self.engine.local.replace_busy(source, {})

    @rule(one=st.integers(0, 50), verb=st.sampled_from(["confirm", "release", "cancel", "get"]))
    def end(self, one: int, verb: str) -> None:
        if self.known:
            uid = self.known[one % len(self.known)].uid
            with suppress(Refused):
                getattr(self.engine.local, verb)(uid)

    @rule(one=st.integers(0, 50), resource=resources, slot=slots)
    def move(self, one: int, resource: str, slot: int) -> None:
        if self.known:
            request = Request(self.at(slot), HALF_HOUR, (Claim(resource),), event_type=self.text())
            with suppress(Refused, InvalidRequest):
                self.engine.local.move(self.known[one % len(self.known)].uid, request)

    @rule(by=st.sampled_from([minutes(1), minutes(5), minutes(61)]))
    def wait(self, by: timedelta) -> None:
        self.clock.set(self.clock.moment + by)

    @rule()
    def listen(self) -> None:
        self.engine.subscribe()

    def end_all(self) -> None:
        """Let all that there is end, and be forgotten."""
        for one in self.known:
            for verb in ("release", "cancel"):
                with suppress(Refused):
                    getattr(self.engine.local, verb)(one.uid)
        self.known.clear()
        ledger = self.engine.ledger
        for _ in range(30):  # lapses are forgotten as others lapse, a few at a time
            self.clock.set(self.clock.moment + timedelta(days=2))
            ledger.expire(self.clock.now(), 10_000)
            self.engine.local.reserve("room", self.at(1), HALF_HOUR, holder="last")
        self.clock.set(self.clock.moment + timedelta(days=2))
        ledger.expire(self.clock.now(), 10_000)
        self.engine.local.forget_bookings(self.clock.moment)
        statistics = self.engine.statistics()
        assert (statistics.held, statistics.ended, statistics.confirmed) == (0, 0, 0)
        assert (statistics.subscribers, statistics.waiting) == (0, 0)

    def teardown(self) -> None:
        self.end_all()
        self.engine.check_invariants()
        for kind, size in sizes(self.engine).items():
            more = LISTS_LEFT if kind == "list" else 0
            assert size <= self.before[kind] + more, (kind, self.before[kind], size)


TestTextsThatAreOver = TextsThatAreOver.TestCase
# Measuring takes longer than all else, since it looks at every object there is; so few examples.
TestTextsThatAreOver.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, phases=[Phase.generate, Phase.shrink]
)
