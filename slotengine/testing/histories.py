"""Histories seen from outside: who asked for what and when, and what they were answered.

Callers in tasks, in threads or on the other side of a network write down what
they do with a `Recorder`.  Whether there is an order of one call after the other
that explains all the answers is what `slotengine.testing.linearizable` finds out;
`LedgerModel` is how it knows what the rules of reservations make of each.

>>> recorder = Recorder()
>>> asked = recorder.ask("is anybody there?")
>>> asked.answered("yes")
>>> recorder.calls
[Asked(what='is anybody there?', asked_at=0, now=0, answer='yes', answered_at=1)]
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple

from slotengine.core.ledger.reservation import Demand
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.schedule import Windows
from slotengine.testing import naive_plan
from slotengine.testing.model import NaiveLedger, Seen
from slotengine.testing.operations import Answer, Operation, in_model, uids_for, uids_in

NEVER_ANSWERED: Final = None


@dataclass(slots=True)
class Asked:
    """A call: what was asked for, and, once it is known, the answer.

    ``asked_at`` and ``answered_at`` say which came first, over all callers;
    ``now`` is the time by which it was decided, in microseconds.  A call that
    was never answered may have happened at any time since, or not at all.
    """

    what: Any
    asked_at: int
    now: int = 0
    answer: Any = None
    answered_at: int | None = NEVER_ANSWERED
    _tick: Callable[[], int] = field(default=lambda: 0, repr=False, compare=False)

    def answered(self, answer: Any) -> None:
        """Write the answer down, as soon as it is there."""
        self.answer = answer
        self.answered_at = self._tick()


class Recorder:
    """Writes down what callers ask, and when; tasks and threads may share one.

    ``now`` tells the time by which the engine decides.  It must stand still
    while anybody waits for an answer: let the clock go on in between.
    """

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        self.calls: list[Asked] = []
        self._now = now
        self._ticks = count()

    def ask(self, what: Any) -> Asked:
        """Write down what is asked, just before it is."""
        # Counting and appending are each a single step of the interpreter, also for threads.
        asked = Asked(what, self._tick(), self._now(), _tick=self._tick)
        self.calls.append(asked)
        return asked

    def _tick(self) -> int:
        return next(self._ticks)


# --- What the rules make of a call ---------------------------------------------------------


class Books(NamedTuple):
    """A state of `NaiveLedger` that can be compared and hashed."""

    known: tuple[Seen, ...] = ()
    keys: tuple[tuple[str, tuple[object, str]], ...] = ()
    opened: tuple[tuple[Any, int], ...] = ()
    demands: tuple[tuple[str, Demand], ...] = ()
    lapses: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()


class LedgerModel:
    """The rules of reservations, one call after the other; with ``event_types``, also of those.

    Not of those who wait: there is no call of that which happens at one moment.
    ``view`` is what callers see of the answer to an operation; by default the whole of it.
    """

    def __init__(
        self,
        terms: Terms,
        resources: dict[str, tuple[int, Windows | None]],
        view: Callable[[Operation, Answer], Answer] = lambda _, answer: answer,
        event_types: Iterable[EventType] = (),
    ) -> None:
        self._terms = terms
        self._view = view
        naive = NaiveLedger(terms, dict(resources))
        for event_type in event_types:
            naive_plan.add(naive, event_type)
        self._resources, self._event_types = naive.resources, naive.event_types

    def begin(self) -> Books:
        """Return the state in which nobody has reserved anything."""
        return Books()

    def step(self, state: Books, call: Asked) -> Books | None:
        """Return the state after a call, or None if it would have been answered otherwise."""
        naive = NaiveLedger(self._terms, self._resources)
        naive.event_types = self._event_types
        naive.lapses = {holder: list(theirs) for holder, theirs in state.lapses}
        naive.known = {one.uid: one for one in state.known}
        naive.keys, naive.opened = dict(state.keys), dict(state.opened)
        naive.demands = dict(state.demands)
        operation: Operation = call.what
        if call.answered_at is NEVER_ANSWERED:
            uids = [f"unknown-{call.asked_at}-{i}" for i in range(len(operation.proposals) or 1)]
            in_model(naive, operation, uids, call.now)
        else:
            answer = in_model(naive, operation, uids_for(operation, call.answer), call.now)
            if self._view(operation, answer) != self._view(operation, call.answer):
                return None
        return Books(
            tuple(sorted(naive.known.values(), key=_uid)),
            tuple(sorted(naive.keys.items(), key=lambda item: item[0])),
            tuple(sorted(naive.opened.items(), key=repr)),
            tuple((uid, naive.demands[uid]) for uid in sorted(naive.known)),
            tuple(sorted((holder, tuple(theirs)) for holder, theirs in naive.lapses.items())),
        )

    def touches(self, call: Asked) -> Iterator[Hashable]:
        """Yield what a call is about: calls that have nothing of it in common are independent."""
        operation: Operation = call.what
        if operation.verb == "forget_bookings":
            yield from (("resource", name) for name in self._resources)
        for proposal in operation.proposals:
            for claim in proposal.claims:
                yield "resource", claim.resource
            if proposal.key is not None:
                yield "key", proposal.key
            if proposal.seats is not None:
                yield "session", (proposal.event_type, proposal.start)
            if proposal.holder is not None:  # whose quota may be about all it has
                yield "holder", proposal.holder
        if operation.ask is not None:
            yield from self._touched_by(operation.ask)
        if operation.resource is not None:
            yield "resource", operation.resource
        if operation.key is not None:
            yield "key", operation.key
        if operation.uid:
            yield "uid", operation.uid
        for uid in uids_in(call.answer):
            yield "uid", uid

    def _touched_by(self, ask: SlotRequest) -> Iterator[Hashable]:
        if ask.event_type:  # or it is of one that moves, as is known of its uid
            event_type = self._event_types[ask.event_type]
            yield "event type", ask.event_type
            yield from (("resource", host.resource) for host in event_type.hosts())
        if ask.key is not None:
            yield "key", ask.key
        if ask.holder is not None:  # whose quota may be about all it has
            yield "holder", ask.holder


def _uid(one: Seen) -> str:
    return one.uid
