"""Command ids again: what came of each command of a client, to answer its repeats.

Compare it with `slotengine.core.ledger.clients` and `repeats`.  Nothing is dropped here: a
session that has ended is refused because of the time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from slotengine.core.ledger.clients import IDLE, CommandId, opened_at
from slotengine.core.ledger.commands import EACH, Reserve
from slotengine.errors import InvalidField, SessionExpired, UnknownReservation
from slotengine.testing.internal.naive_ledger import NaiveLedger
from slotengine.testing.internal.observed import ObservedReservation

Outcome: TypeAlias = tuple[str | None, ...]
"""The uids that were answered; None for a request that was refused."""


class NaiveSession(NamedTuple):
    """What came of the commands of one session, by their numbers."""

    latest: int
    """When a command of it was last accepted."""
    awaited: int
    """The lowest number that its client still awaited then."""
    outcomes: tuple[tuple[int, Outcome], ...] = ()


def once(
    naive: NaiveLedger,
    command_id: CommandId,
    action: object,
    now: int,
    do: Callable[[Outcome], object],
) -> object:
    """Return what came of an action if it is a repeat, or else do it and remember that.

    ``do`` is given what came of each request before, if anything, and returns the answer.
    """
    naive.at(now)
    before = outcome_of(naive, command_id)
    if before is not None and not (isinstance(action, Reserve) and action.mode is EACH):
        return _as_it_stands(naive, action, before)
    seen = _all_there_is(naive)
    answer = do(before or ())
    if _all_there_is(naive) != seen:
        remember(naive, command_id, before or (), answer)
    return answer


def ends_at(naive: NaiveLedger, session: bytes) -> int:
    """Return when a session ends, unless another command of it is accepted before."""
    known = naive.sessions.get(session)
    return (opened_at(session) if known is None else known.latest) + IDLE


def check_session(naive: NaiveLedger, session: bytes) -> None:
    """Raise `SessionExpired` if a session has ended."""
    if ends_at(naive, session) <= naive.now:
        raise SessionExpired(session)


def outcome_of(naive: NaiveLedger, command_id: CommandId) -> Outcome | None:
    """Return what came of a command before, or None.

    Raises `SessionExpired`, or `InvalidField` for one whose answer is awaited no longer.
    """
    name, number, _ = command_id
    check_session(naive, name)
    known = naive.sessions.get(name)
    if known is None:
        return None
    if number < known.awaited:
        least = f"{known.awaited}, the lowest that was still awaited"
        raise InvalidField("number", f"must be at least {least}, not {number}")
    return dict(known.outcomes).get(number)


def _as_it_stands(naive: NaiveLedger, action: object, before: Outcome) -> object:
    found: list[ObservedReservation] = []
    for uid in before:
        assert uid is not None
        if uid not in naive.known:
            raise UnknownReservation(uid)
        found.append(naive.known[uid])
    single = len(found) == 1 and not (isinstance(action, Reserve) and action.mode.value == "all")
    return found[0] if single else found


def _all_there_is(naive: NaiveLedger) -> object:
    return dict(naive.known), naive.edition, dict(naive.imported)


def remember(naive: NaiveLedger, command_id: CommandId, before: Outcome, answer: object) -> None:
    """Remember what came of a command, of which some came of it ``before``, if anything did."""
    answers = answer if isinstance(answer, list) else [answer]
    uids = [one.uid if isinstance(one, ObservedReservation) else None for one in answers]
    if not any(uids):  # a change of the configuration answers with settings
        uids = []
    # What was answered before is remembered, though it may be forgotten by now.
    merged = tuple(old or new for old, new in zip(before or uids, uids, strict=True))
    name, number, awaited = command_id
    session = naive.sessions.get(name)
    outcomes = {} if session is None else dict(session.outcomes)
    outcomes[number] = merged
    if session is not None:
        awaited = max(awaited, session.awaited)
    naive.sessions[name] = NaiveSession(naive.now, awaited, tuple(outcomes.items()))
