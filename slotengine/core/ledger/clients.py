"""Command ids: which commands of a client were carried out, so that each can be repeated.

A client that got no answer, because a connection broke or an owner failed, sends the same
command again.  With a `CommandId` the ledger knows the repeat and answers with what came of
the first, instead of doing it twice.  This is for transports; a caller with an idempotency
key of its own needs none.

A client numbers its commands, within a session, and says with each the lowest number whose
answer it still awaits.  What is kept of a command is the uids and versions that came of it,
as long as its answer may be awaited; of one that was refused, or changed nothing, nothing is
kept, because deciding it again can do no harm.

**A session ends** when nothing of it was accepted for `IDLE`, and a command in it is refused
from then on (`SessionExpired`), never decided: it may be the repeat of one that was carried
out and is no longer remembered.  Sessions that ended need not be remembered for this.  The
first eight bytes of a session are the time at which it was opened, and a session that is not
known is admitted only if it was opened less than `IDLE` ago.  One that was used, and has
ended, was opened at least `IDLE` before it ended, so it is refused for ever.  A session that
was opened in the future is refused too, or else it could be admitted after it ended.

Nothing grows: a session keeps at most `WINDOW` outcomes, and none outlives it for long.
Times are UTC microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.timeline import START_OF_TIME
from slotengine.core.time.instant import MINUTE
from slotengine.errors import InvalidField, SessionExpired

IDLE: Final = 10 * MINUTE
"""How long a session lasts after its opening, and after each command that was accepted."""

WINDOW: Final = 1024
"""How many commands of one session can be under way."""

SESSION_LENGTH: Final = 16
"""How many bytes name a session: eight for the time of its opening, the others random."""

MOST_NUMBER: Final = 2**53
"""The numbers of commands are below: so each is exact wherever it is written."""

RANDOM_LENGTH: Final = SESSION_LENGTH - 8


class CommandId(NamedTuple):
    """What makes a command one that can be repeated.

    >>> CommandId(session_id(opened=3, random=bytes(8)), number=7, awaited=5).session.hex()
    '00000000000000030000000000000000'
    """

    session: bytes
    """From `session_id`."""
    number: int
    """Of the command in its session: a repeat has the same, every other command another."""
    awaited: int
    """The lowest number whose answer the client still awaits, this command included."""


def session_id(opened: int, random: bytes) -> bytes:
    """Return what names a session that is opened at a time.  ``random`` is eight bytes.

    The time should be the ledger's own, so that no clock is ahead of it.
    """
    assert len(random) == RANDOM_LENGTH
    return opened.to_bytes(8, "big", signed=True) + random


def opened_at(session: bytes) -> int:
    """Return when a session was opened."""
    return int.from_bytes(session[:8], "big", signed=True)


class Answer(NamedTuple):
    """What one request of a command was given."""

    uid: str
    version: int
    """Of the reservation, right after the command."""


Outcome: TypeAlias = tuple[Answer | None, ...]
"""What came of a command: an answer to each of its requests; None where one was refused."""


class Session:
    """What is remembered of one session."""

    __slots__ = ("awaited", "latest", "outcomes")

    def __init__(self) -> None:
        self.latest = 0
        """When a command of it was last accepted."""
        self.awaited = 0
        """Below this number nothing is awaited."""
        self.outcomes: dict[int, Outcome] = {}


class Clients:
    """The sessions of clients, and what they may still ask about.

    >>> clients, session = Clients(), session_id(opened=0, random=bytes(8))
    >>> first = CommandId(session, number=0, awaited=0)
    >>> clients.find(first, now=5) is None  # it is to be decided
    True
    >>> clients.record(first, (Answer("uid", 1),), at=5)
    >>> clients.find(first, now=6)
    (Answer(uid='uid', version=1),)
    """

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        # In the order in which they were last used.
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: bytes) -> bool:
        return session in self._sessions

    def find(self, command_id: CommandId, now: int) -> Outcome | None:
        """Return what came of a command, or None if it is to be decided.  O(1).

        Raises `InvalidField`, or `SessionExpired`.
        """
        _check(command_id)
        name, number, _ = command_id
        session = self._sessions.get(name)
        latest = opened_at(name) if session is None else session.latest
        if latest > now:
            raise InvalidField("session", "was opened in the future; open another")
        if latest + IDLE <= now:
            raise SessionExpired(name)
        if session is None:
            return None
        if number < session.awaited:
            raise InvalidField(
                "number",
                f"must be at least {session.awaited}, the lowest that was still awaited, "
                f"not {number}",
            )
        return session.outcomes.get(number)

    def expires_at(self, name: bytes) -> int:
        """Return when a session expires, open or not, if nothing comes of its commands.  O(1)."""
        session = self._sessions.get(name)
        return (opened_at(name) if session is None else session.latest) + IDLE

    def record(self, command_id: CommandId, outcome: Outcome, at: int) -> None:
        """Note what came of a command.  O(1), and O(w) for w outcomes that are no longer awaited.

        ``at`` never goes back.
        """
        name, number, awaited = command_id
        session = self._sessions.pop(name, None) or Session()
        self._sessions[name] = session  # at the end: it was used last
        session.latest = at
        if awaited > session.awaited:
            for old in [one for one in session.outcomes if one < awaited]:
                del session.outcomes[old]
            session.awaited = awaited
        session.outcomes[number] = outcome

    @property
    def due(self) -> int:
        """When the next session ends; NEVER if there is none.  O(1)."""
        return next((one.latest + IDLE for one in self._sessions.values()), NEVER)

    @property
    def latest(self) -> int:
        """When a command of any session was last accepted; START_OF_TIME if none was.  O(1)."""
        return next((one.latest for one in reversed(self._sessions.values())), START_OF_TIME)

    def ended(self, now: int, limit: int = NEVER) -> list[bytes]:
        """Return sessions that have ended by now, at most ``limit``, in order.  O(k) for k."""
        found: list[bytes] = []
        for name, session in self._sessions.items():
            if session.latest + IDLE > now or len(found) >= limit:
                break
            found.append(name)
        return found

    def drop(self, session: bytes) -> None:
        """Forget a session.  O(1)."""
        del self._sessions[session]

    def recorded(self) -> Iterator[tuple[CommandId, Outcome, int]]:
        """Yield what `record` has to be told, in order, to know the same: for a snapshot."""
        for name, session in self._sessions.items():
            for number, outcome in session.outcomes.items():
                yield CommandId(name, number, session.awaited), outcome, session.latest

    def check_invariants(self) -> None:
        """Assert every invariant.  O(n) for n outcomes; for tests and simulation."""
        latest = [session.latest for session in self._sessions.values()]
        assert latest == sorted(latest)
        for name, session in self._sessions.items():
            assert opened_at(name) <= session.latest
            assert session.outcomes
            assert session.awaited <= min(session.outcomes)
            assert max(session.outcomes) < session.awaited + WINDOW


def _check(command_id: CommandId) -> None:
    """Raise `InvalidField` unless it can be the id of a command."""
    if not isinstance(command_id, CommandId):
        raise InvalidField("command_id", f"must be a CommandId, not {command_id!r:.99}")
    session, number, awaited = command_id
    if session.__class__ is not bytes or len(session) != SESSION_LENGTH:
        raise InvalidField("session", f"must be {SESSION_LENGTH} bytes, not {session!r:.99}")
    if type(number) is not int or type(awaited) is not int or awaited < 0:
        raise InvalidField(
            "number", f"and awaited must be whole numbers from 0, not {number!r} and {awaited!r}"
        )
    if number >= MOST_NUMBER:
        raise InvalidField("number", f"must be below {MOST_NUMBER}; open another session")
    if not awaited <= number < awaited + WINDOW:
        raise InvalidField(
            "awaited",
            f"must be no more than the number, {number}, and less than {WINDOW} below it, "
            f"not {awaited}",
        )
