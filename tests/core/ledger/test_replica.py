"""A ledger that was only given the changes decides as the one that made them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from slotengine.core.ledger.changes import Changes
from slotengine.core.ledger.commands import Command
from slotengine.core.ledger.decide import decide
from slotengine.core.ledger.ledger import Ledger
from slotengine.errors import Refused, SlotError
from slotengine.testing.internal.observed import describe
from tests.core.ledger.test_ledger_model import TERMS, LedgerAgainstNaive, add_all
from tests.sizes import machine_size


class ReplicaDecidesTheSame(LedgerAgainstNaive):
    """Goal: the changes say all that decisions depend on, at any step.

    Method: each step is replayed by a second ledger as soon as it is told.  Before a
    command is carried out by the first one, both decide it, and must agree on the changes,
    the answers, and the refusals with all their details.
    """

    terms = replace(TERMS, max_holds=4, max_lapses=2, cool_down=4)

    @cached_property
    def replica(self) -> Ledger:
        replica = Ledger(self.terms, maintenance=0)  # what lapses there, it is told
        add_all(replica)
        return replica

    def stepped(self, changes: Changes) -> None:
        super().stepped(changes)
        self.replica.replay([changes])
        self.replica.look(self.now)
        assert self.replica.snapshot() == self.ledger.snapshot()

    def expect(self, command: Command) -> None:
        assert decided(self.ledger, command, self.now) == decided(self.replica, command, self.now)


def decided(ledger: Ledger, command: Command, now: int) -> object:
    """Return what a ledger decides, or how it refuses, as a value to compare."""
    try:
        decision = decide(ledger.state, command, now)
    except SlotError as error:
        return describe(error)
    answers = [describe(one) if isinstance(one, Refused) else one for one in decision.answers]
    return decision.changes, answers


TestReplicaDecidesTheSame = ReplicaDecidesTheSame.TestCase
TestReplicaDecidesTheSame.settings = machine_size(steps=30)
