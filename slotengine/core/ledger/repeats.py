"""What a repeated command is answered, and what is remembered of one that may be repeated.

For commands with a `CommandId`: see `clients`.  Reads only, as all of deciding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from slotengine.core.ledger.changes import Answered, Decision, ReservationChange, Waits
from slotengine.core.ledger.clients import Answer, CommandId, Outcome
from slotengine.core.ledger.commands import EACH, Command, Forget, ImportBusy, Reserve
from slotengine.core.ledger.config import Configure
from slotengine.errors import InvalidField, Refused, SlotError, UnknownReservation

if TYPE_CHECKING:
    from slotengine.core.ledger.state import LedgerState

Error = TypeVar("Error", bound=SlotError)


def decide_once(
    state: LedgerState,
    command: Command,
    now: int,
    decide: Callable[[Command], Decision],
    *,
    newcomer: bool = True,
) -> Decision:
    """Return what came of a command if it is a repeat, or else what comes of it.

    Of a batch in which each request stands for itself, the requests that were refused are
    decided anew.  A command that changes nothing is not remembered: deciding it again is as
    good as having decided it then.  Of a command that waits, a repeat (which comes as a
    ``newcomer``) waits in its place.

    Raises `SessionExpired` or `InvalidField`, what `decide` raises, and
    `UnknownReservation` if what came of the command is forgotten.
    """
    command_id = command.client
    assert command_id is not None
    plain = command._replace(client=None)
    before = state.clients.find(command_id, now)
    if before is None and newcomer and isinstance(command, Reserve) and command.wait is not None:
        waiting = state.waitlist.repeated(command_id)
        if waiting is not None:
            return Decision((), (Waits(waiting.ticket, waiting.until),))
    if before is None:
        decision = decide(plain)
    elif isinstance(plain, Reserve) and plain.mode is EACH:
        decision = _decide_rest(state, plain, before, now, decide)
    elif isinstance(plain, Forget):  # of what it forgot, nothing is there
        return Decision((), tuple(one.uid for one in before if one is not None))
    else:
        return Decision((), _as_answered(state, before, _answers(plain), now))
    if not decision.changes:
        expires_at = state.clients.expires_at(command_id.session)
        return decision._replace(
            answers=tuple(
                # When it has expired, what waits in it would be refused.
                Waits(one.ticket, min(one.until, expires_at - 1)) if isinstance(one, Waits) else one
                for one in decision.answers
            )
        )
    answered = _answered(state, command_id, decision, before, now)
    return decision._replace(changes=(*decision.changes, answered))


def answered_before(
    state: LedgerState, command_id: CommandId, answers: int, now: int
) -> tuple[str, ...] | None:
    """Return the uids that were answered to a command if it is a repeat, or None.

    Raises `UnknownReservation` if one of them is forgotten; `InvalidField` if another
    command, with another number of answers, had the id; and `SessionExpired`.
    """
    before = state.clients.find(command_id, now)
    return None if before is None else _as_answered(state, before, answers, now)


def _as_answered(state: LedgerState, before: Outcome, answers: int, now: int) -> tuple[str, ...]:
    uids = tuple(one.uid for one in before if one is not None)
    if not answers == len(uids) == len(before):
        raise _other_command()
    for uid in uids:
        if not state.knows(uid, now):
            raise UnknownReservation(uid)
    return uids


def _answers(command: Command) -> int:
    """Return how many answers a command has, if none of its requests is refused."""
    if isinstance(command, Configure | ImportBusy):
        return 0
    return len(command.uids) if isinstance(command, Reserve) else 1


def _other_command() -> InvalidField:
    return InvalidField("number", "was given to another command before; use another")


def _decide_rest(
    state: LedgerState,
    command: Reserve,
    before: Outcome,
    now: int,
    decide: Callable[[Command], Decision],
) -> Decision:
    """Decide those requests of a batch that were refused before."""
    if len(before) != len(command.requests):
        raise _other_command()
    answers: list[str | Refused | Waits] = []
    for i, one in enumerate(before):
        if one is None or state.knows(one.uid, now):
            answers.append("" if one is None else one.uid)
        else:
            answers.append(_of_request(UnknownReservation(one.uid), i))
    rest = [i for i, one in enumerate(before) if one is None]
    if not rest:
        return Decision((), tuple(answers))
    try:
        decision = decide(
            command._replace(
                requests=tuple(command.requests[i] for i in rest),
                uids=tuple(command.uids[i] for i in rest),
            )
        )
    except SlotError as error:
        if error.index is not None:
            _of_request(error, rest[error.index])
        raise
    for i, answer in zip(rest, decision.answers, strict=True):
        answers[i] = _of_request(answer, i) if isinstance(answer, Refused) else answer
    return decision._replace(answers=tuple(answers))


def _of_request(error: Error, index: int) -> Error:
    """Return an error as that of another request of the batch."""
    if error.index is not None:
        error.index = None
        error.__notes__.pop()
    error.of_request(index)
    return error


def _answered(
    state: LedgerState,
    command_id: CommandId,
    decision: Decision,
    before: Outcome | None,
    now: int,
) -> Answered:
    """Return what is to be remembered of a command, of which some came of it ``before``.

    That is not forgotten with its reservations, or else a later repeat would make them again.
    """
    changed = Counter(one.uid for one in decision.changes if isinstance(one, ReservationChange))

    def answer(given: object) -> Answer | None:
        if not isinstance(given, str):
            return None
        entry = state.entries.get(given)
        before = 0 if entry is None else entry.version
        return Answer(given, before + changed[given])

    known = before or (None,) * len(decision.answers)
    outcome = tuple(
        old or answer(given) for old, given in zip(known, decision.answers, strict=True)
    )
    return Answered(decision.changes[-1].seq + 1, now, command_id, outcome)
