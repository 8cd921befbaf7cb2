"""Commands with an id: however often one is sent, it is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slotengine.core.ledger.changes import (
    Answered,
    Changes,
    ClientDropped,
    Decision,
    ReservationChange,
    Reserved,
    Waits,
)
from slotengine.core.ledger.clients import IDLE, Answer, CommandId, session_id
from slotengine.core.ledger.commands import (
    Adopt,
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
    Reserve,
)
from slotengine.core.ledger.config import Configure, Kind, Remove
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, State, Verb
from slotengine.core.ledger.terms import Terms
from slotengine.core.time.instant import MINUTE, SECOND
from slotengine.errors import (
    InvalidField,
    Refused,
    SessionExpired,
    SlotTaken,
    StaleVersion,
    UnknownReservation,
    UnknownResource,
)
from tests.core.ledger.untouched import untouched

NOW = 61 * SECOND + 7
TERMS = Terms(default_ttl=5 * MINUTE, shortest_ttl=1, longest_ttl=60 * MINUTE, retention=MINUTE)
SESSION = session_id(NOW, b"12345678")


def sent(number: int, awaited: int = 0) -> CommandId:
    return CommandId(SESSION, number, awaited)


def slot(start: int, name: str = "room", ttl: int = 5 * MINUTE) -> Proposal:
    return Proposal(start, start + 10, (Claim(name, start, start + 10),), ttl)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger(TERMS)
    made.add_resource("room")
    made.add_resource("desk")
    return made


def done(ledger: Ledger, command: Command, now: int = NOW) -> tuple[object, ...]:
    return ledger.step(command, now).answers


COMMANDS: list[tuple[Command, int]] = [
    (Reserve((slot(50),), ("new",), client=sent(0)), 1),
    (Reserve((slot(50), slot(60)), ("new", "another"), Mode.ALL, client=sent(0)), 1),
    (Reserve((slot(10), slot(60)), ("new",), Mode.ANY, Choice(), client=sent(0)), 1),
    (Adopt(slot(10), "new", client=sent(0)), 2),
    (Move("held", (slot(60),), version=1, client=sent(0)), 2),
    (Extend("held", 7 * MINUTE, version=1, client=sent(0)), 2),
    (Confirm("held", version=1, client=sent(0)), 2),
    (Release("held", version=1, client=sent(0)), 2),
    (Cancel("booked", version=2, client=sent(0)), 3),
]


@pytest.mark.parametrize(
    ("command", "version"), COMMANDS, ids=[type(one).__name__ for one, _ in COMMANDS]
)
def test_a_repeat_is_answered_as_the_first_was_and_does_nothing(
    ledger: Ledger, command: Command, version: int
) -> None:
    ledger.step(Reserve((slot(10),), ("held",)), NOW)
    ledger.step(Adopt(slot(30), "booked"), NOW)
    first = ledger.step(command, NOW)
    answer = first.answers[0]
    assert isinstance(answer, str)
    assert first.changes[-1] == Answered(
        ledger.state.seq, NOW, sent(0), tuple(Answer(str(uid), version) for uid in first.answers)
    )
    entry = ledger.get(answer, now=NOW)
    assert entry is not None
    assert entry.version == version
    before = ledger.tally()
    with untouched(ledger):
        again = decide(ledger.state, command, NOW + 1)
    assert again == Decision((), first.answers)
    assert ledger.step(command, NOW + 1) == again
    assert ledger.tally() == before
    ledger.check_invariants()


def test_what_is_forgotten_is_forgotten_once(ledger: Ledger) -> None:
    ledger.step(Adopt(slot(10), "a"), NOW)
    ledger.step(Adopt(slot(20), "b"), NOW)
    command = Forget(NOW, ("a",), client=sent(0))
    assert ledger.step(command, NOW).answers == ("a",)
    again = ledger.step(command, NOW + 1)
    assert (again.changes, again.answers) == ((), ("a",))
    # The same id with other uids is answered alike: it is the same command.
    assert ledger.step(command._replace(uids=("b",)), NOW + 1) == again
    assert ledger.get("b", now=NOW + 1) is not None


def test_busy_time_is_imported_once(ledger: Ledger) -> None:
    first = ImportBusy("calendar", (("room", ((10, 20),)),), client=sent(0))
    assert len(ledger.step(first, NOW).changes) == 2
    ledger.step(ImportBusy("calendar", (("room", ((30, 40),)),), client=sent(1)), NOW)
    assert ledger.step(first, NOW + 1).changes == ()
    assert ledger.imported("room", 0, 99) == [(30, 40, "calendar")]


def test_a_repeat_is_answered_with_reservations_as_they_stand(ledger: Ledger) -> None:
    command = Reserve((slot(10),), ("a",), client=sent(0))
    ledger.step(command, NOW)
    ledger.step(Release("a"), NOW + 1)
    assert done(ledger, command, NOW + 2) == ("a",)
    entry = ledger.get("a", now=NOW + 2)
    assert entry is not None
    assert entry.state is State.RELEASED
    with pytest.raises(UnknownReservation):
        ledger.step(command, NOW + 1 + TERMS.retention)


def test_a_refused_command_is_decided_anew(ledger: Ledger) -> None:
    ledger.step(Reserve((slot(10),), ("a",)), NOW)
    command = Reserve((slot(10),), ("b",), client=sent(0))
    with pytest.raises(SlotTaken):
        ledger.step(command, NOW)
    assert len(ledger.state.clients) == 0
    ledger.step(Release("a"), NOW)
    assert done(ledger, command) == ("b",)


def test_a_command_that_changes_nothing_is_not_remembered(ledger: Ledger) -> None:
    ledger.step(Adopt(slot(10), "a"), NOW)
    command = Confirm("a", version=2, client=sent(0))
    assert ledger.step(command, NOW).changes == ()
    ledger.step(Move("a", (slot(20),)), NOW)
    with pytest.raises(StaleVersion):
        ledger.step(command, NOW)


def test_requests_of_a_batch_that_were_refused_are_decided_anew(ledger: Ledger) -> None:
    ledger.step(Reserve((slot(10),), ("a",)), NOW)
    requests = slot(10), slot(20), slot(10), slot(30)
    command = Reserve(requests, ("b", "c", "d", "e"), Mode.EACH, client=sent(0))
    first = ledger.step(command, NOW)
    assert [one if isinstance(one, str) else type(one) for one in first.answers] == [
        SlotTaken, "c", SlotTaken, "e",
    ]  # fmt: skip
    ledger.step(Release("a"), NOW)
    second = ledger.step(command, NOW + 1)
    assert second.answers[:2] == ("b", "c")
    assert isinstance(second.answers[2], SlotTaken)
    assert second.answers[2].index == 2
    assert second.answers[2].__notes__ == ["in the request at index 2 of the batch"]
    reserved, answered = second.changes
    assert isinstance(reserved, Reserved)
    assert isinstance(answered, Answered)
    assert answered.outcome == (Answer("b", 1), Answer("c", 1), None, Answer("e", 1))
    ledger.step(Release("c"), NOW + 2)
    ledger.step(Release("b"), NOW + 2)
    third = ledger.step(command, NOW + 2)
    assert third.answers == ("b", "c", "d", "e")
    later = NOW + 2 + TERMS.retention
    answers = ledger.step(command, later).answers
    assert [one if isinstance(one, str) else (type(one), one.index) for one in answers] == [
        (UnknownReservation, 0), (UnknownReservation, 1), "d", "e",
    ]  # fmt: skip
    with pytest.raises(InvalidField, match="number was given to another command"):
        ledger.step(command._replace(requests=requests[:3]), later)
    ledger.check_invariants()


def test_what_came_of_a_part_of_a_batch_stays_known_when_it_is_forgotten(ledger: Ledger) -> None:
    ledger.step(Reserve((slot(20, "desk"),), ("a",)), NOW)
    command = Reserve((slot(10), slot(20, "desk")), ("b", "c"), Mode.EACH, client=sent(0))
    ledger.step(command, NOW)
    ledger.step(Release("b"), NOW + 1)
    ledger.step(Release("a"), NOW + 1)
    later = NOW + 1 + TERMS.retention
    *_, answered = ledger.step(command, later).changes
    assert isinstance(answered, Answered)
    assert answered.outcome == (Answer("b", 1), Answer("c", 1))
    answers = ledger.step(command, later).answers
    assert isinstance(answers[0], UnknownReservation)
    assert answers[1] == "c"
    assert ledger.tally().accepted == 3


def test_bad_input_in_the_rest_of_a_batch_is_told_with_its_place_in_the_batch(
    ledger: Ledger,
) -> None:
    """Though it was none when the batch was first sent."""
    ledger.step(Reserve((slot(10, "desk"),), ("a",)), NOW)
    command = Reserve((slot(10), slot(10, "desk")), ("b", "c"), Mode.EACH, client=sent(0))
    ledger.step(command, NOW)
    ledger.step(Release("a"), NOW)
    ledger.step(Configure((Remove(Kind.RESOURCE, "desk"),)), NOW)
    with untouched(ledger), pytest.raises(UnknownResource) as raised:
        decide(ledger.state, command, NOW)
    assert raised.value.index == 1
    assert raised.value.__notes__ == ["in the request at index 1 of the batch"]
    wrong = command._replace(uids=("b", ""))
    with pytest.raises(InvalidField, match="uid"):
        decide(ledger.state, wrong, NOW)


@pytest.mark.parametrize(
    "other",
    [
        Release("a", client=sent(0)),
        Configure((), client=sent(0)),
        Reserve((slot(30),), ("d",), client=sent(0)),
        Reserve((slot(30), slot(40), slot(50)), ("d", "e", "f"), Mode.ALL, client=sent(0)),
    ],
    ids=["one", "none", "one request", "three"],
)
def test_another_command_with_the_same_id_is_refused_if_it_has_other_answers(
    ledger: Ledger, other: Command
) -> None:
    both = Reserve((slot(10), slot(20)), ("a", "b"), Mode.EACH, client=sent(0))
    ledger.step(both, NOW)
    with untouched(ledger), pytest.raises(InvalidField, match="given to another command"):
        decide(ledger.state, other, NOW)


def test_a_batch_of_which_a_part_was_refused_is_not_repeated_by_one_request(
    ledger: Ledger,
) -> None:
    both = Reserve((slot(10), slot(10)), ("a", "b"), Mode.EACH, client=sent(0))
    ledger.step(both, NOW)
    with pytest.raises(InvalidField, match="given to another command"):
        ledger.step(Release("a", client=sent(0)), NOW)


def test_it_can_be_asked_whether_a_command_is_a_repeat(ledger: Ledger) -> None:
    assert ledger.repeated(sent(0), now=NOW) is None
    made = ledger.do(Reserve((slot(10),), ("a",), client=sent(0)), now=NOW)
    assert ledger.repeated(sent(0), now=NOW) == made
    assert ledger.repeated(sent(0), now=NOW - IDLE) == made  # time does not go backwards
    with pytest.raises(SessionExpired):
        ledger.repeated(sent(0), now=NOW + IDLE)


def test_a_command_that_waits_is_done_once(ledger: Ledger) -> None:
    ledger.step(Reserve((slot(10),), ("a",)), NOW)
    command = Reserve((slot(10),), ("b",), wait=MINUTE, client=sent(0))
    (first,) = done(ledger, command)
    (second,) = done(ledger, command._replace(uids=("c",)), NOW + 1)
    assert isinstance(first, Waits)
    assert second == first
    ledger.step(Release("a"), NOW + 1)
    answers = [one.answer for one in ledger.serve(NOW + 1)]
    assert [getattr(one, "answers", one) for one in answers] == [("b",)]
    assert done(ledger, command, NOW + 2) == ("b",)
    ledger.check_invariants()


def test_a_session_that_ended_is_dropped_and_its_commands_are_refused(ledger: Ledger) -> None:
    steps: list[Changes] = []
    ledger.on_step = steps.append
    command = Reserve((slot(10),), ("a",), client=sent(3, 2))
    ledger.step(command, NOW + 5)
    assert ledger.state.maintenance_due <= NOW + 5 + IDLE
    assert done(ledger, Release("a", client=sent(2, 2)), NOW + 6) == ("a",)
    end = NOW + 6 + IDLE
    assert [changes[1:] for changes in steps] == [
        (Answered(4, NOW + 5, sent(3, 2), (Answer("a", 1),)),),
        (Answered(6, NOW + 6, sent(2, 2), (Answer("a", 2),)),),
    ]
    with pytest.raises(SessionExpired):
        decide(ledger.state, command, end)
    ledger.expire(end)
    assert steps[2:] == [(ClientDropped(7, end, SESSION),)]
    assert len(ledger.state.clients) == 0
    with pytest.raises(SessionExpired):
        ledger.step(command, end)
    ledger.check_invariants()


class DoneOnce(RuleBasedStateMachine):
    """Goal: a command is done at most once, however often and late it is sent.

    Method: commands are sent, and any of them is sent again at any time.  What was
    accepted first is kept in a dictionary for ever.  A second ledger is only given the records.
    """

    @initialize()
    def begin(self) -> None:
        self.ledger, self.replica = Ledger(TERMS), Ledger(TERMS, maintenance=0)
        for each in (self.ledger, self.replica):
            each.add_resource("room")
            each.add_resource("desk")
        self.ledger.on_step = lambda changes: self.replica.replay([changes])
        self.now = NOW
        self.sent: list[Any] = []
        self.done: dict[tuple[bytes, int], list[str | None]] = {}
        self.made: list[str] = ["nobody"]
        self.session = SESSION

    @rule(step=st.sampled_from((0, 7, MINUTE, TERMS.retention, IDLE - MINUTE, IDLE)))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def open(self) -> None:
        self.session = session_id(self.now, len(self.sent).to_bytes(8))

    @rule()
    def sweep(self) -> None:
        self.ledger.expire(self.now)

    def fresh(self, back: int) -> CommandId:
        number = sum(one.client.session == self.session for one in self.sent)
        return CommandId(self.session, number, max(0, number - back))

    slots = st.builds(slot, st.sampled_from((0, 5, 20)), st.sampled_from(("room", "desk")))

    @rule(
        batch=st.lists(slots, min_size=1, max_size=3),
        mode=st.sampled_from((Mode.ALL, Mode.EACH)),
        back=st.integers(0, 2),
    )
    def reserve(self, batch: list[Proposal], mode: Mode, back: int) -> None:
        uids = tuple(f"uid-{len(self.sent)}-{i}" for i in range(len(batch)))
        self.send(Reserve(tuple(batch), uids, mode, client=self.fresh(back)))

    @rule(
        data=st.data(),
        make=st.sampled_from((Confirm, Release, Cancel, lambda uid: Extend(uid, 9 * MINUTE))),
        back=st.integers(0, 2),
    )
    def change(self, data: st.DataObject, make: Callable[[str], Any], back: int) -> None:
        uid = data.draw(st.sampled_from(self.made))
        self.send(make(uid)._replace(client=self.fresh(back)))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.sent:
            self.send(data.draw(st.sampled_from(self.sent)))

    def send(self, command: Any) -> None:
        self.sent.append(command)
        key = command.client[:2]
        before = self.done.get(key)
        try:
            decision = self.ledger.step(command, self.now)
        except (Refused, InvalidField):
            return
        answers = decision.answers
        if before is not None:
            for old, new in zip(before, answers, strict=True):
                assert old in (None, new) or isinstance(new, UnknownReservation)
            made = [one for one in decision.changes if isinstance(one, ReservationChange)]
            changed = {change.uid for change in made if change.verb is not Verb.EXPIRE}
            assert not changed & set(before)
        if decision.changes:
            uids = [one if isinstance(one, str) else None for one in answers]
            self.done[key] = [old or new for old, new in zip(before or uids, uids, strict=True)]
            self.made += [uid for uid in uids if uid is not None]

    @invariant()
    def the_replica_knows_the_same(self) -> None:
        self.ledger.check_invariants()
        ours, theirs = self.ledger.state.clients, self.replica.state.clients
        assert list(ours.recorded()) == list(theirs.recorded())


TestDoneOnce = DoneOnce.TestCase
