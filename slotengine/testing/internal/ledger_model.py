"""The naive ledger as a model for `slotengine.testing.linearizability`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Demand, State
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.event_type import EventType
from slotengine.core.time.schedule import Windows
from slotengine.testing.histories import NEVER_ANSWERED, RecordedCall
from slotengine.testing.internal import naive_booking_rules
from slotengine.testing.internal.action_text import answer_text, text
from slotengine.testing.internal.actions import (
    Action,
    Answer,
    ForgetBookings,
    ListLive,
    requests_of,
    uids_in,
    with_uids,
)
from slotengine.testing.internal.naive_calls import in_model
from slotengine.testing.internal.naive_clients import NaiveSession
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.observed import ObservedReservation


class LedgerState(NamedTuple):
    """A state of `NaiveLedger` that can be compared and hashed."""

    known: tuple[ObservedReservation, ...] = ()
    keys: tuple[tuple[str, tuple[object, str, int]], ...] = ()
    opened: tuple[tuple[Any, int], ...] = ()
    demands: tuple[tuple[str, Demand], ...] = ()
    lapses: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    wanted: tuple[tuple[str, Proposal], ...] = ()
    sessions: tuple[tuple[bytes, NaiveSession], ...] = ()


class LedgerModel:
    """The rules of reservations, and of ``event_types``, for one call after the other.

    It knows no calls that wait, as these do not take effect at one moment.  ``view``
    returns what callers see of the answer to an action; by default, all of it.
    """

    def __init__(
        self,
        terms: Terms,
        resources: dict[str, tuple[int, Windows | None]],
        view: Callable[[Action, Answer], Answer] = lambda _, answer: answer,
        event_types: Iterable[EventType] = (),
    ) -> None:
        self._terms = terms
        self._view = view
        naive = NaiveLedger(terms, dict(resources))
        for event_type in event_types:
            naive_booking_rules.add(naive, event_type)
        self._resources, self._event_types = naive.resources, naive.event_types

    def begin(self) -> LedgerState:
        """Return the state in which nobody has reserved anything."""
        return LedgerState()

    def step(self, state: LedgerState, call: RecordedCall) -> LedgerState | None:
        """Return the state after a call, or None if it would have been answered otherwise."""
        naive = NaiveLedger(self._terms, self._resources)
        naive.event_types = self._event_types
        naive.lapses = {holder: list(theirs) for holder, theirs in state.lapses}
        naive.known = {one.uid: one for one in state.known}
        naive.keys, naive.opened = dict(state.keys), dict(state.opened)
        naive.demands, naive.wanted = dict(state.demands), dict(state.wanted)
        naive.sessions = dict(state.sessions)
        action: Action = call.what
        if call.answered_at is NEVER_ANSWERED:
            in_model(naive, with_uids(action, None, f"unknown-{call.asked_at}"), call.now)
        else:
            answer = in_model(naive, with_uids(action, call.answer), call.now)
            if self._view(action, answer) != self._view(action, call.answer):
                return None
        return LedgerState(
            tuple(sorted(naive.known.values(), key=_uid)),
            tuple(sorted(naive.keys.items(), key=lambda item: item[0])),
            tuple(sorted(naive.opened.items(), key=repr)),
            tuple((uid, naive.demands[uid]) for uid in sorted(naive.known)),
            tuple(sorted((holder, tuple(theirs)) for holder, theirs in naive.lapses.items())),
            tuple(
                (uid, naive.wanted[uid])
                for uid, one in sorted(naive.known.items())
                if one.state is State.REQUESTED
            ),
            tuple(sorted(naive.sessions.items())),
        )

    def text(self, call: RecordedCall) -> str:
        """Return a call and its answer in words."""
        return f"{text(call.what)} -> {answer_text(call.answer)}"

    def touches(self, call: RecordedCall) -> Iterator[Hashable]:
        """Yield what a call is about: calls that have nothing of it in common are independent."""
        action: Action = call.what
        if isinstance(action, ForgetBookings):
            yield from (("resource", name) for name in self._resources)
        if isinstance(action, ListLive):
            yield "resource", action.resource
        for request in requests_of(action):
            yield from _touched(request)
        slot = getattr(action, "request", None)
        if isinstance(slot, SlotRequest):
            yield from self._touched_by(slot)
        key = getattr(action, "key", None)
        if key is not None:
            yield "key", key
        client = getattr(action, "client", None)
        if client is not None:
            yield "session", client.session
        uid = getattr(action, "uid", "")
        if uid:
            yield "uid", uid
        for uid in uids_in(call.answer):
            yield "uid", uid

    def _touched_by(self, ask: SlotRequest) -> Iterator[Hashable]:
        if ask.event_type:  # or it is of one that moves, as is known of its uid
            event_type = self._event_types[ask.event_type]
            yield "event type", ask.event_type
            yield from (("resource", host.resource) for host in event_type.hosts())
        if ask.key is not None:
            yield "key", ask.key
        if ask.holder is not None:  # whose quota may count everything that it has
            yield "holder", ask.holder


def _touched(request: Proposal) -> Iterator[Hashable]:
    for claim in request.claims:
        yield "resource", claim.resource
    if request.key is not None:
        yield "key", request.key
    if request.seats is not None:
        yield "session", (request.event_type, request.start)
    if request.holder is not None:  # whose quota may count everything that it has
        yield "holder", request.holder


def _uid(one: ObservedReservation) -> str:
    return one.uid
