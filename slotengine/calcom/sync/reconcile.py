"""The next step for one reservation: how to get from the observed to the desired state.

`next_step` looks only at the present state, never at how it came about.  So
missed, repeated, reordered and interrupted changes make no difference, and a
restart, an outage and an ordinary change are one case.

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
    """What the engine's side wants of the remote: a hold, until then at least."""

    span: RemoteSpan
    until: int
    booked: bool = False
    """It is a booking here, so it is not given up, whatever the remote says."""
    to_book: bool = False
    """The callback that books it at the remote has not been called yet."""


class Failure(Enum):
    """How the last request failed, if it did."""

    NONE = "none"
    NOT_DONE = "not done"
    LOST = "lost"
    LOST_AGAIN = "lost again"
    REFUSED = "refused"
    """The remote said no, perhaps because of an orphaned hold of our own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one event type is kept in step."""

    strict: bool
    renew_in_place: bool
    """The remote can renew a hold without deleting it."""
    renew_before: int
    """How long before its end at the remote a hold is renewed."""


@dataclass(slots=True)
class Observed:
    """What is known of one reservation's hold at the remote, as far as a decision needs it."""

    state: RemoteState = RemoteState.ABSENT
    span: RemoteSpan | None = None
    """Where the hold is, as far as is known."""
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
    """Note that the hold at the remote has expired."""
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
"""The actions that ask the remote, or the callback."""


def next_step(
    observed: Observed, desired: Desired | None, rules: Rules, *, now: int, blocked: bool
) -> Step:
    """Return the next step; O(1).

    ``desired`` is None if the remote should hold nothing.  ``blocked`` says that
    another hold of our own, which is about to leave, is in the way at the remote.

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
    """Return how many requests must be able to follow each other at once; O(1).

    A hold that is desired is deleted only to be made anew.  If the sync had to
    wait in between, it would itself have lost the hold.  0 means that it does
    not matter.

    >>> observed = Observed(RemoteState.HELD, RemoteSpan(1, 0, 30), covered_until=20)
    >>> permits_for(Step(Action.DELETE), observed, Desired(RemoteSpan(1, 0, 30), until=40))
    2
    >>> permits_for(Step(Action.DELETE), observed, None)
    0
    """
    if desired is None:
        return 0
    if step.action is Action.DELETE:  # a repeated one has, or may have, deleted the hold already
        return 2 if observed.state is RemoteState.HELD else 0
    return 1 if step.action is Action.PATCH and observed.span == desired.span else 0


def while_waiting_for_permits(
    observed: Observed, desired: Desired, *, now: int, ready_at: int
) -> Step | None:
    """Return what to do while a step waits for its permits; None if that is a failure.

    A renewal that no caller waits for is made when the permits are ready, as
    long as the hold lasts.  O(1).

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
    """Return how many holds that last so long can be renewed in the worst case; O(1).

    When the first renewal is due, all requests of that minute may have been
    sent already, and all other holds may be due as well.  So renewals are made
    in rounds of a minute, which begin between then and shortly before the end
    of the holds.  No more count than are made before the first is due again.

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
    # The hold that is in the way is about to leave, and wakes those that wait.
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
    # Strict mode asks again at once: if that is accepted, the first POST was not carried out.
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
    # Once the hold has ended, others may have the time; and the original remote finds a hold in
    # its own way.
    return Step(Action.PATCH if rules.renew_in_place and covered and not failed else Action.DELETE)


def _move(observed: Observed, desired: Desired, now: int, *, strict: bool, blocked: bool) -> Step:
    assert observed.span is not None
    if observed.failure is Failure.REFUSED and not desired.booked:
        return _give_up(observed, RevokeReason.REFUSED)
    if strict and observed.failure is not Failure.NONE:
        return _give_up(observed, RevokeReason.NOT_REACHED)
    if strict and blocked:
        return Step(Action.WAIT)
    # Where the spans overlap, the hold is in its own way.  And two holds that change places would
    # wait for each other for ever, so a blocked one gives up its own span first.
    apart = not observed.span.overlaps(desired.span)
    apart = apart and not blocked and observed.failure is not Failure.REFUSED
    action = Action.PATCH if apart else Action.DELETE
    return Step(action) if strict else _when_due(observed, now, action)
