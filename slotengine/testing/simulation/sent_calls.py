"""The calls that clients have numbered, each in a session, so that they can be repeated.

A client numbers its calls as `slotengine.engine.command_ids.CommandIds` does, and awaits the
answer of a call until it learns it.  It may repeat any of them.  A repeat is refused if the client
has said that it awaits the answer no longer, or if the session has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from slotengine.core.ledger.clients import CommandId, session_id
from slotengine.engine.clock import Clock
from slotengine.engine.command_ids import USED_FOR
from slotengine.errors import InvalidField, SessionExpired
from slotengine.testing.internal.actions import Action, Identified, MoveSlot, MoveTo, ReserveSlot
from slotengine.testing.internal.naive_clients import ends_at, outcome_of
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.simulation.steps import Fitted, ForgetUpTo


class Sent(NamedTuple):
    """A call as it was sent."""

    command_id: CommandId
    action: Identified


class Numbering:
    """What one client knows of its sessions, and the calls that it has numbered."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.opened = 0
        self.session = b""
        self.number = 0
        self.awaited: set[int] = set()


class SentCalls:
    """The numbered calls of all clients of a run."""

    def __init__(
        self,
        naive: NaiveLedger,
        clock: Clock,
        waiting: Callable[[], Collection[CommandId]],
    ) -> None:
        self._naive = naive
        self._clock = clock
        self._waiting = waiting
        self._clients: dict[int, Numbering] = {}

    def numbered(self, number: int, action: Action) -> Action:
        """Return an action with the next id of a client, unless it is none that can have one."""
        if not isinstance(action, Identified):
            return action
        client = self._clients.setdefault(number, Numbering())
        now = max(self._clock.now(), self._naive.now)
        if not client.session or now >= client.opened + USED_FOR:
            random = number.to_bytes(4, "big") + len(client.sent).to_bytes(4, "big")
            client.opened, client.session = now, session_id(now, random)
            client.number, client.awaited = 0, set()
        client.awaited.add(client.number)
        command_id = CommandId(client.session, client.number, min(client.awaited))
        client.number += 1
        action = action._replace(client=command_id)
        client.sent.append(Sent(command_id, action))
        return action

    def learned(self, number: int, action: Action) -> None:
        """Note that a client has the answer to a call, which it then awaits no longer."""
        command_id: CommandId | None = getattr(action, "client", None)
        client = self._clients.get(number)
        if client is not None and command_id is not None and command_id.session == client.session:
            client.awaited.discard(command_id.number)

    def again(self, number: int, nth: int) -> Action | None:
        """Return the ``nth`` numbered call of a client from the latest, if it can be repeated."""
        client = self._clients.get(number)
        found = [] if client is None else list(filter(self._can_be_repeated, client.sent))
        return found[-1 - nth].action if nth < len(found) else None

    def _can_be_repeated(self, sent: Sent) -> bool:
        command_id, action = sent
        if command_id in self._waiting():
            return False
        self._naive.at(self._clock.now())
        try:
            done = outcome_of(self._naive, command_id) is not None
        except (SessionExpired, InvalidField):
            return True
        return done or not fits_only_now(action)

    def session_ends_at(self, number: int) -> int | None:
        """Return when the session of a client's latest call ends."""
        client = self._clients.get(number)
        return None if client is None else ends_at(self._naive, client.session)


def can_be_numbered(action: Action | Fitted) -> bool:
    """Return whether an action can have a command id."""
    if isinstance(action, Fitted):
        return not isinstance(action, ForgetUpTo)
    return isinstance(action, Identified)


MOVES: Final = (MoveTo, MoveSlot)
"""Actions that fit the reservation as it is, which may be another one later."""


def fits_only_now(action: Action) -> bool:
    """Return whether an action may make no sense later."""
    names_hosts = isinstance(action, ReserveSlot) and action.request.only is not None
    return names_hosts or isinstance(action, MOVES)
