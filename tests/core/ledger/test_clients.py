"""Command ids: what is remembered of the commands of a client, and for how long."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slotengine.core.ledger.clients import (
    IDLE,
    MOST_NUMBER,
    WINDOW,
    Answer,
    Clients,
    CommandId,
    Outcome,
    opened_at,
    session_id,
)
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import SECOND
from slotengine.errors import InvalidField, SessionExpired

OPENED = 61 * SECOND
SESSION = session_id(OPENED, b"12345678")
OTHER = session_id(OPENED, b"abcdefgh")
DONE: Outcome = (Answer("uid", 1),)


def known() -> Clients:
    """Return what is known when commands 3 and 4 of a session were accepted."""
    clients = Clients()
    clients.record(CommandId(SESSION, 3, 3), DONE, OPENED + 5)
    clients.record(CommandId(SESSION, 4, 3), (None, Answer("b", 2)), OPENED + 6)
    return clients


def test_a_repeat_finds_what_came_of_the_first() -> None:
    clients = known()
    assert clients.find(CommandId(SESSION, 3, 3), OPENED + 7) == DONE
    assert clients.find(CommandId(SESSION, 4, 4), OPENED + 7) == (None, Answer("b", 2))
    assert clients.find(CommandId(SESSION, 5, 3), OPENED + 7) is None
    assert clients.find(CommandId(OTHER, 3, 3), OPENED + 7) is None


def test_what_is_no_longer_awaited_is_dropped_and_never_decided() -> None:
    clients = known()
    clients.record(CommandId(SESSION, 6, 4), DONE, OPENED + 7)
    with pytest.raises(InvalidField, match="must be at least 4, the lowest") as caught:
        clients.find(CommandId(SESSION, 3, 3), OPENED + 8)
    assert caught.value.field == "number"
    assert clients.find(CommandId(SESSION, 4, 3), OPENED + 8) is not None
    clients.record(CommandId(SESSION, 5, 2), DONE, OPENED + 9)  # overtaken: 4 is awaited still
    assert clients.find(CommandId(SESSION, 4, 3), OPENED + 9) is not None
    clients.check_invariants()


def test_a_session_ends_when_it_is_idle() -> None:
    clients = known()
    end = OPENED + 6 + IDLE
    assert clients.find(CommandId(SESSION, 3, 3), end - 1) == DONE
    with pytest.raises(SessionExpired) as caught:
        clients.find(CommandId(SESSION, 3, 3), end)
    assert caught.value.session == SESSION
    assert clients.due == end == clients.expires_at(SESSION)
    assert clients.expires_at(OTHER) == OPENED + IDLE
    assert clients.ended(end - 1) == []
    assert clients.ended(end) == [SESSION]
    clients.drop(SESSION)
    for number in (3, 5):  # neither a repeat nor another command
        with pytest.raises(SessionExpired):
            clients.find(CommandId(SESSION, number, 0), end)
    assert (len(clients), clients.due) == (0, NEVER)


@pytest.mark.parametrize("wrong", [None, "x", (SESSION, 3, 3)])
def test_what_is_no_id_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidField, match="command_id must be a CommandId"):
        known().find(wrong, OPENED + 7)


def test_a_session_that_is_not_known_has_to_be_new() -> None:
    clients, first = Clients(), CommandId(SESSION, 0, 0)
    with pytest.raises(InvalidField, match="session was opened in the future"):
        clients.find(first, OPENED - 1)
    assert clients.find(first, OPENED) is None
    assert clients.find(first, OPENED + IDLE - 1) is None
    with pytest.raises(SessionExpired):
        clients.find(first, OPENED + IDLE)


def test_sessions_end_in_the_order_of_their_last_use() -> None:
    clients = known()
    clients.record(CommandId(OTHER, 0, 0), DONE, OPENED + 7)
    clients.record(CommandId(SESSION, 5, 4), DONE, OPENED + 8)
    later = OPENED + 8 + IDLE
    assert clients.ended(later - 1) == [OTHER]
    assert clients.ended(later) == [OTHER, SESSION]
    assert clients.ended(later, limit=1) == [OTHER]


def test_the_same_is_known_from_what_was_recorded() -> None:
    clients = known()
    clients.record(CommandId(OTHER, 9, 0), DONE, OPENED + 7)
    clients.record(CommandId(SESSION, 6, 4), DONE, OPENED + 8)
    again = Clients()
    for command_id, outcome, at in clients.recorded():
        again.record(command_id, outcome, at)
    assert list(again.recorded()) == list(clients.recorded())
    assert again.ended(NEVER) == clients.ended(NEVER) == [OTHER, SESSION]


@pytest.mark.parametrize(
    ("command_id", "field"),
    [
        (CommandId(SESSION[:15], 0, 0), "session"),
        (CommandId("0" * 16, 0, 0), "session"),  # type: ignore[arg-type]
        (CommandId(SESSION, True, 0), "number"),
        (CommandId(SESSION, 0, 0.0), "number"),  # type: ignore[arg-type]
        (CommandId(SESSION, 0, -1), "number"),
        (CommandId(SESSION, MOST_NUMBER, MOST_NUMBER), "number"),
        (CommandId(SESSION, 0, 1), "awaited"),
        (CommandId(SESSION, WINDOW, 0), "awaited"),
    ],
)
def test_what_is_no_command_id(command_id: CommandId, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        Clients().find(command_id, OPENED)
    assert caught.value.field == field


def test_the_highest_number_is_the_last() -> None:
    assert Clients().find(CommandId(SESSION, MOST_NUMBER - 1, MOST_NUMBER - 1), OPENED) is None


def test_the_opening_of_a_session_can_be_read() -> None:
    for opened in (0, OPENED, -OPENED, 2**62):
        assert opened_at(session_id(opened, b"\xff" * 8)) == opened


def test_no_session_grows_however_long_it_lasts() -> None:
    clients = Clients()
    for number in range(3 * WINDOW):
        command_id = CommandId(SESSION, number, max(0, number - WINDOW + 1))
        now = OPENED + number * SECOND
        assert clients.find(command_id, now) is None
        clients.record(command_id, DONE, now)
        clients.check_invariants()
    assert sum(1 for _ in clients.recorded()) == WINDOW


class ClientsAgainstHistory(RuleBasedStateMachine):
    """Goal: no command of a client is ever carried out twice, however late it is repeated.

    Method: a list of all commands that were ever carried out.  Commands come in any order, are
    repeated at any time, and sessions are dropped at any time after their end.  Each is either
    answered as before, refused, or carried out, and then for the first time.
    """

    @initialize()
    def begin(self) -> None:
        self.clients = Clients()
        self.now = OPENED
        self.sessions = [SESSION]
        self.done: dict[tuple[bytes, int], Outcome] = {}
        self.latest: dict[bytes, int] = {}
        self.awaited: dict[bytes, int] = {}

    @rule(step=st.sampled_from((0, 1, 7 * SECOND, IDLE // 2, IDLE - 1, IDLE)))
    def wait(self, step: int) -> None:
        self.now += step

    @rule(ahead=st.sampled_from((0, 0, -IDLE // 2, 5)))
    def open(self, ahead: int) -> None:
        """Open a session, by a clock that may be wrong."""
        self.sessions.append(session_id(self.now + ahead, len(self.sessions).to_bytes(8)))

    @rule(data=st.data(), number=st.integers(0, 4), back=st.integers(0, 4), accept=st.booleans())
    def command(self, data: st.DataObject, number: int, back: int, accept: bool) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        command_id = CommandId(session, number, max(0, number - back))
        try:
            found = self.clients.find(command_id, self.now)
        except SessionExpired:
            last = self.latest.get(session, opened_at(session))
            assert last + IDLE <= self.now
            return
        except InvalidField:
            assert opened_at(session) > self.now or number < self.awaited.get(session, 0)
            return
        assert found == self.done.get((session, number))
        if found is None and accept:
            outcome = (Answer(f"uid-{len(self.done)}", 1),)
            self.done[session, number] = outcome
            self.latest[session] = self.now
            self.awaited[session] = max(self.awaited.get(session, 0), command_id.awaited)
            self.clients.record(command_id, outcome, self.now)

    @rule(limit=st.sampled_from((1, 9)))
    def drop(self, limit: int) -> None:
        for session in self.clients.ended(self.now, limit):
            self.clients.drop(session)

    @invariant()
    def what_ended_can_be_dropped(self) -> None:
        self.clients.check_invariants()
        live = [one for one, last in self.latest.items() if last + IDLE > self.now]
        assert len(self.clients) - len(self.clients.ended(self.now)) == len(live)


TestClientsAgainstHistory = ClientsAgainstHistory.TestCase
