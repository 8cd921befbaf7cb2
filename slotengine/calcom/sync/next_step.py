"""The next step for one reservation, on the way from the observed to the desired state.

`next_step` looks only at the present state, never at how it came about.  So
changes that were missed, repeated, reordered or interrupted make no difference.
A restart, an outage and an ordinary change are all the same case.

Pure.  Knows nothing of requests: `outbound` performs the steps.  Times are UTC
microseconds of our own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import RemoteState, RevokeReason
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import SECOND


class Desired(NamedTuple):
    """The hold that the remote should have: where, and at least until when."""

    span: RemoteSpan
    until: int
    booked: bool = False
    """It is a booking here, so it is not revoked if the remote refuses it."""
    to_book: bool = False
    """The callback is to book it at the remote, and was not called yet."""


class Failure(Enum):
    """How the last request failed, if it did."""

    NONE = "none"
    NOT_DONE = "not done"
    """It certainly changed nothing."""
    LOST = "lost"
    """There was no response, so it may have been carried out."""
    LOST_AGAIN = "lost again"
    """The same, for at least the second time in a row."""
    REFUSED = "refused"
    """The remote said no, perhaps because of an orphaned hold of our own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of an event type that a decision needs."""

    strict: bool
    renew_in_place: bool
    """The remote can renew a hold without deleting it."""
    renew_before: int
    """How long before its end at the remote a hold is renewed."""


@dataclass(slots=True)
class Observed:
    """What is known of a reservation's hold at the remote, and what a decision needs besides."""

    state: RemoteState = RemoteState.ABSENT
    span: RemoteSpan | None = None
    """Where the hold was last known to be."""
    covered_until: int = 0
    """The remote holds it at least until then."""
    gone_after: int = 0
    """The remote holds it at most until then."""
    failure: Failure = Failure.NONE
    not_before: int = 0
    """When a request that failed may be retried."""
    orphan_until: int = 0
    """Until then the refusal may be due to an orphaned hold of our own."""
    urgent: bool = False
    """A caller waits for the hold to be extended."""
    restored: bool = False
    """The reservation survived a restart, so a refusal may be due to its own hold."""
    can_move_back: bool = False
    """It was moved here and can be moved back."""


class Action(Enum):
    """What a step does."""

    NOTHING = "nothing"
    """Observed and desired agree."""
    WAIT = "wait"
    POST = "post"
    PATCH = "patch"
    DELETE = "delete"
    GET = "get"
    BOOK = "book"
    """Call the callback that books at the remote."""
    LAPSE = "lapse"
    """Record that the hold at the remote has expired."""
    MOVE_BACK = "move back"
    """Undo a move here, because the remote did not accept it."""
    REVOKE = "revoke"
    """Release the hold here."""


class Step(NamedTuple):
    """What to do now; for `Action.WAIT` and `Action.NOTHING`, when to look again."""

    action: Action
    at: int = NEVER
    reason: RevokeReason | None = None


REQUESTS: Final = frozenset({Action.POST, Action.PATCH, Action.DELETE, Action.GET, Action.BOOK})
"""The actions that send a request, or call the callback."""


def next_step(
    observed: Observed, desired: Desired | None, rules: Rules, *, now: int, blocked: bool
) -> Step:
    """Return the next step; O(1).

    ``desired`` is None if the remote should hold nothing.  ``blocked`` says that
    another hold of our own is in the way at the remote, but will be deleted or
    moved.

    >>> rules = Rules(strict=True, renew_in_place=False, renew_before=30)
    >>> desired = Desired(RemoteSpan(1, 1000, 1030), until=300)
    >>> next_step(Observed(), desired, rules, now=0, blocked=False).action
    <Action.POST: 'post'>
    >>> held = Observed(RemoteState.HELD, desired.span, covered_until=200, gone_after=201)
    >>> next_step(held, desired, rules, now=0, blocked=False)
    Step(action=<Action.WAIT: 'wait'>, at=170, reason=None)
    >>> next_step(held, None, rules, now=0, blocked=False).action
    <Action.DELETE: 'delete'>
    """
    if desired is None:
        return _remove(observed, now)
    if desired.to_book:
        return _when_due(observed, now, Action.BOOK)
    # A booking is never given up, but a move of one can be.
    can_give_up = not desired.booked or observed.can_move_back
    strict = rules.strict and can_give_up and not observed.restored
    match observed.state:
        case RemoteState.REFUSED:
            return _after_refusal(observed, desired)
        case RemoteState.ABSENT:
            return _create(observed, now, strict=strict, blocked=blocked)
        case RemoteState.CREATE_UNKNOWN:
            return _after_lost_post(observed, now, strict=strict, blocked=blocked)
        case RemoteState.HELD:
            return _keep(observed, desired, rules, now, strict=strict, blocked=blocked)
        case RemoteState.MOVE_UNKNOWN:
            if strict and observed.failure is Failure.NOT_DONE:
                return _give_up(observed, RevokeReason.UNCERTAIN)
            return Step(Action.GET) if strict else _when_due(observed, now, Action.GET)
        case RemoteState.DELETE_UNKNOWN:
            if strict and observed.failure not in {Failure.NONE, Failure.LOST}:
                return _give_up(observed, RevokeReason.UNCERTAIN)
            if now >= observed.gone_after:
                return Step(Action.LAPSE)
            return Step(Action.DELETE) if strict else _when_due(observed, now, Action.DELETE)
        case _:
            raise AssertionError(f"a request is in flight: {observed.state}")


# --- The rate limit -----------------------------------------------------------------------


def permits_for(step: Step, observed: Observed, desired: Desired | None) -> int:
    """Return how many permits a step needs before it begins; 0 if it needs none.  O(1).

    A renewal deletes a hold and makes it anew.  Both requests must be sent back
    to back: if the second had to wait for the rate limit, the sync itself would
    have given away the slot.

    >>> observed = Observed(RemoteState.HELD, RemoteSpan(1, 0, 30), covered_until=20)
    >>> permits_for(Step(Action.DELETE), observed, Desired(RemoteSpan(1, 0, 30), until=40))
    2
    >>> permits_for(Step(Action.DELETE), observed, None)
    0
    """
    if desired is None:
        return 0
    if step.action is Action.DELETE:
        # A repeated DELETE needs no permits: the hold may be gone already.
        return 2 if observed.state is RemoteState.HELD else 0
    return 1 if step.action is Action.PATCH and observed.span == desired.span else 0


def while_waiting_for_permits(
    observed: Observed, desired: Desired, *, now: int, ready_at: int
) -> Step | None:
    """Return the step to take while permits are not ready; None if that counts as a failure.

    A renewal can wait for its permits as long as the hold lasts, unless a
    caller waits for it.  O(1).

    >>> observed = Observed(RemoteState.HELD, RemoteSpan(1, 0, 30), covered_until=20)
    >>> desired = Desired(RemoteSpan(1, 0, 30), until=40)
    >>> while_waiting_for_permits(observed, desired, now=10, ready_at=70)
    Step(action=<Action.WAIT: 'wait'>, at=20, reason=None)
    """
    at_its_span = observed.state is RemoteState.HELD and observed.span == desired.span
    if at_its_span and not observed.urgent and now < observed.covered_until:
        return Step(Action.WAIT, min(ready_at, observed.covered_until))
    return None


_ROUND: Final = 60 * SECOND
_LATENESS: Final = 30 * SECOND


def max_renewals(per_minute: int, rules: Rules, lasts: int) -> int:
    """Return how many holds can be renewed in time in the worst case; O(1).

    ``lasts`` is how long the remote's holds last.  In the worst case all holds
    are due for renewal at the same moment, and all requests of that minute have
    been sent already.  Then renewals are made in rounds, one each minute, of
    which the last begins shortly before the holds end.  Only rounds before the
    first renewed hold is due again count.

    >>> rules = Rules(strict=True, renew_in_place=False, renew_before=150 * SECOND)
    >>> max_renewals(120, rules, lasts=300 * SECOND)
    120
    """
    rounds = max(1, (rules.renew_before - _LATENESS) // _ROUND)
    within = min(rounds * _ROUND, max(_ROUND, lasts - rules.renew_before))
    permits = 1 if rules.renew_in_place else 2
    return per_minute * within // _ROUND // permits if per_minute >= permits else 0


# --- One state each -----------------------------------------------------------------------


def _when_due(observed: Observed, now: int, action: Action) -> Step:
    if now >= observed.not_before:
        return Step(action)
    return Step(Action.WAIT, observed.not_before)


def _remove(observed: Observed, now: int) -> Step:
    match observed.state:
        case RemoteState.HELD | RemoteState.MOVE_UNKNOWN | RemoteState.DELETE_UNKNOWN:
            if now >= observed.gone_after:
                return Step(Action.LAPSE)
            step = _when_due(observed, now, Action.DELETE)
            if step.action is Action.WAIT:
                return step._replace(at=min(step.at, observed.gone_after))
            return step
        case _:
            return Step(Action.NOTHING)


def _after_refusal(observed: Observed, desired: Desired) -> Step:
    if observed.failure is Failure.NONE:  # another span is desired now
        return Step(Action.POST)
    if desired.booked and not observed.can_move_back:
        return Step(Action.NOTHING, desired.until)
    return _give_up(observed, RevokeReason.REFUSED)


def _create(observed: Observed, now: int, *, strict: bool, blocked: bool) -> Step:
    if strict and observed.failure is not Failure.NONE:
        return _give_up(observed, RevokeReason.NOT_REACHED)
    # When the hold that is in the way is gone, this one is looked at again.
    if blocked:
        return Step(Action.WAIT)
    return Step(Action.POST) if strict else _when_due(observed, now, Action.POST)


def _after_lost_post(observed: Observed, now: int, *, strict: bool, blocked: bool) -> Step:
    if strict and observed.failure not in {Failure.NONE, Failure.LOST}:
        return _give_up(observed, RevokeReason.UNCERTAIN)
    if observed.failure is Failure.REFUSED and now < observed.orphan_until:
        return Step(Action.WAIT, observed.orphan_until)
    if blocked:
        return Step(Action.WAIT)
    # Strict mode sends another POST immediately.  If it is accepted, the first was not carried out.
    return Step(Action.POST) if strict else _when_due(observed, now, Action.POST)


def _give_up(observed: Observed, reason: RevokeReason) -> Step:
    action = Action.MOVE_BACK if observed.can_move_back else Action.REVOKE
    return Step(action, reason=reason)


def _keep(
    observed: Observed, desired: Desired, rules: Rules, now: int, *, strict: bool, blocked: bool
) -> Step:
    assert observed.span is not None
    if observed.span != desired.span:
        return _move(observed, desired, now, strict=strict, blocked=blocked)
    if desired.until <= observed.covered_until:
        return Step(Action.NOTHING, desired.until if desired.booked else NEVER)
    covered, failed = now < observed.covered_until, observed.failure is not Failure.NONE
    if strict and failed and not covered:
        return _give_up(observed, RevokeReason.NOT_REACHED)
    renew_at = now if observed.urgent else observed.covered_until - rules.renew_before
    due = max(renew_at, observed.not_before)
    if strict:
        due = min(due, observed.covered_until)
    if due > now:
        return Step(Action.WAIT, due)
    # A hold that has ended cannot be renewed in place, because others may have taken the time.
    # The original Cal.com never can, because it counts the hold as a conflict with itself.
    return Step(Action.PATCH if rules.renew_in_place and covered and not failed else Action.DELETE)


def _move(observed: Observed, desired: Desired, now: int, *, strict: bool, blocked: bool) -> Step:
    assert observed.span is not None
    if observed.failure is Failure.REFUSED and not desired.booked:
        return _give_up(observed, RevokeReason.REFUSED)
    if strict and observed.failure is not Failure.NONE:
        return _give_up(observed, RevokeReason.NOT_REACHED)
    if strict and blocked:
        return Step(Action.WAIT)
    # A PATCH to an overlapping span is refused: the remote counts the hold as a conflict with
    # itself.  And two holds that swap spans would wait for each other forever, so a blocked one
    # is deleted first.
    apart = not observed.span.overlaps(desired.span)
    apart = apart and not blocked and observed.failure is not Failure.REFUSED
    action = Action.PATCH if apart else Action.DELETE
    return Step(action) if strict else _when_due(observed, now, action)
