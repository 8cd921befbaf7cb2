"""What a verb asks of a ledger: its command, which is not decided yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from slotengine.core.ledger.commands import Command
from slotengine.core.ledger.ledger import Ledger


class Asked(Exception):
    """A verb has made its command."""


def asked(ledger: Ledger, verb: Callable[[], object]) -> Command:
    """Return the command that a call of a verb makes; nothing is done."""
    made: list[Command] = []

    def ask(command: Command, now: int) -> NoReturn:
        made.append(command)
        raise Asked

    screen = ledger.state.screen
    ledger.state.screen = lambda proposal, _: proposal  # so that no shortcut is taken
    instead = {"step": ask, "_do": ask, "_maintain": lambda *_: 0}
    vars(ledger).update(instead)
    try:
        verb()
    except Asked:
        return made[0]
    finally:
        for name in instead:
            del vars(ledger)[name]
        ledger.state.screen = screen
    raise AssertionError("it asks nothing")
