"""Reading and deciding write nothing: everything is tried on a state that refuses to be written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from slotengine.core.ledger.commands import Command, Reserve
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim
from slotengine.core.ledger.terms import Terms
from slotengine.errors import SlotError
from tests.core.ledger.test_ledger_model import LedgerAgainstNaive
from tests.core.ledger.test_waitlist_model import WaitlistAgainstNaive
from tests.core.ledger.untouched import Written, untouched


class NothingIsTouched(LedgerAgainstNaive):
    """Goal: whatever is asked or decided, in whatever state, nothing of the state changes.

    Method: each verb is first decided, and not done, and each question is asked, on a
    state that refuses to be written; then all goes on as in `LedgerAgainstNaive`, so
    what was decided is also right.
    """

    terms = replace(LedgerAgainstNaive.terms, max_holds=4, max_lapses=3, cool_down=4)

    def expect(self, command: Command) -> None:
        with untouched(self.ledger), suppress(SlotError):
            decide(self.ledger.state, command, self.now)
        for request in command.requests[:1] if isinstance(command, Reserve) else ():
            with untouched(self.ledger), suppress(SlotError):
                self.ledger.is_free(request, now=self.now)

    @invariant()
    def same_to_look_at(self) -> None:
        super().same_to_look_at()  # what a question is answered by is made when it is first asked
        with untouched(self.ledger):
            super().same_to_look_at()


TestNothingIsTouched = NothingIsTouched.TestCase
TestNothingIsTouched.settings = settings(max_examples=20, stateful_step_count=20)


class NothingIsTouchedWhileCommandsWait(WaitlistAgainstNaive):
    """Goal: deciding changes nothing of the waitlist either; what waits has not joined it yet."""

    def decided(self, command: Command) -> tuple[object, ...]:
        with untouched(self.ledger), suppress(SlotError):
            decide(self.ledger.state, command, self.now)
        return super().decided(command)


TestNothingIsTouchedWhileCommandsWait = NothingIsTouchedWhileCommandsWait.TestCase
TestNothingIsTouchedWhileCommandsWait.settings = settings(max_examples=20, stateful_step_count=20)


@pytest.mark.parametrize("name", ["until", "capacity", "put in"])
def test_what_is_written_is_found(name: str) -> None:
    ledger = Ledger(Terms())
    ledger.add_resource("room")
    entry = ledger.reserve("room", 0, 10, uid="a", now=0, ttl=10**7)
    room = ledger.resource("room")

    def write() -> None:
        match name:
            case "until":
                entry.until += 1
            case "capacity":
                room.capacity = 2
            case _:
                room.take(room.timeline.room(20, 30, 1), 20, 30, 1, entry)

    with pytest.raises(AssertionError), untouched(ledger):
        write()
    with pytest.raises(Written), untouched(ledger):
        ledger.occupancy.resources["desk"] = ledger.occupancy.resources.pop("room")


def test_what_is_only_read_is_let_through() -> None:
    ledger = Ledger(Terms())
    ledger.add_resource("room")
    ledger.reserve("room", 0, 10, uid="a", now=0, ttl=10**7)
    with untouched(ledger):
        assert not ledger.is_free(Proposal(5, 8, (Claim("room", 5, 8),), 10**7), now=10)
        assert ledger.is_free(Proposal(5, 8, (Claim("room", 5, 8),), 10**7), now=10**7)
