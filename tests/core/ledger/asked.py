"""What a verb asks of a ledger: its command, which is not decided yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from slotengine.core.ledger.commands import Command, Reserve
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.waitlist import Waiting

NOBODY = Waiting(0, Reserve((Proposal(0, 1, (), 1),), ("nobody",)), 0)


class Asked(Exception):
    """A verb has made its command."""


def asked(ledger: Ledger, verb: Callable[[], object]) -> Command:
    """Return the command that a call of a verb makes; nothing is done."""
    made: list[Command] = []

    def ask(command: Command, now: int) -> NoReturn:
        made.append(command)
        raise Asked

    waiting = ledger.state.waiting
    ledger.state.waiting = {0: NOBODY}  # so that no shortcut is taken
    instead = {"step": ask, "_do": ask, "_maintain": lambda *_: 0}
    vars(ledger).update(instead)
    try:
        verb()
    except Asked:
        return made[0]
    finally:
        for name in instead:
            del vars(ledger)[name]
        ledger.state.waiting = waiting
    raise AssertionError("it asks nothing")
