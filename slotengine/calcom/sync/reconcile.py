"""What to do next about one reservation, given what is wanted and what is believed.

`next_step` looks at the present state alone, never at how it came about: what
was missed, repeated, reordered or interrupted makes no difference.  So a
restart, an outage and an ordinary change are one case.

Pure.  Knows nothing of requests: `outbound` performs the steps.  Times are UTC
microseconds of our own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from slotengine.calcom.sync.remote_state import Belief, Place
from slotengine.core.expiry import NEVER
from slotengine.core.instant import SECOND


class Reason(Enum):
    """Why a hold was given up."""

    REFUSED = "refused"
    """The remote said no: somebody else has the time, or we may not."""
    UNCERTAIN = "uncertain"
    """It could not be found out in time whether the remote holds it."""
    NOT_REACHED = "not reached"
    """The remote could not be asked, and does not hold it."""


class Wanted(NamedTuple):
    """What the engine's side asks of the remote: a hold there, until then at least."""

    place: Place
    until: int
    booked: bool = False
    """It is a booking here: whatever the remote says, it is not given up."""
    to_book: bool = False
    """The callback that books it there has not been called yet."""


class Failure(Enum):
    """How the last request ended, if not as it should."""

    NONE = "none"
    NOT_DONE = "not done"
    LOST = "lost"
    LOST_AGAIN = "lost again"
    REFUSED = "refused"
    """The remote said no; perhaps because of a ghost of our own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one event type is kept in step."""

    strict: bool
    in_place: bool
    """The remote can renew a hold where it is."""
    renew_before: int
    """How long before its end there a hold is renewed."""


@dataclass(slots=True)
class Sight:
    """What is believed of one reservation's hold, as far as a decision needs it."""

    belief: Belief = Belief.UNSENT
    place: Place | None = None
    """Where it is there, or is believed to be."""
    covered_until: int = 0
    """It is held there at least so long."""
    gone_after: int = 0
    """And at most so long."""
    failure: Failure = Failure.NONE
    not_before: int = 0
    """When a request that failed may be repeated."""
    ghost_until: int = 0
    """What refused us may be a ghost of our own until then."""
    eager: bool = False
    """Somebody waits to be told that it is extended."""
    patient: bool = False
    """It survived a restart: that the remote refuses it says little."""
    can_go_back: bool = False
    """It was moved here, and can be moved back."""


class Do(Enum):
    """A kind of step."""

    NOTHING = "nothing"
    """All is as it should be."""
    WAIT = "wait"
    POST = "post"
    PATCH = "patch"
    DELETE = "delete"
    GET = "get"
    BOOK = "book"
    """Call the callback."""
    LAPSE = "lapse"
    """Believe no longer what is over."""
    BACK = "back"
    """Move it back here, where it still is there."""
    REVOKE = "revoke"
    """Give it up here."""


class Step(NamedTuple):
    """What to do: now, or for `Do.WAIT` and `Do.NOTHING` when to look again."""

    do: Do
    at: int = NEVER
    reason: Reason | None = None


REQUESTS: Final = frozenset({Do.POST, Do.PATCH, Do.DELETE, Do.GET, Do.BOOK})
"""The steps that ask somebody else."""


def next_step(seen: Sight, wanted: Wanted | None, rules: Rules, *, now: int, blocked: bool) -> Step:
    """Return the next step; O(1).

    ``wanted`` is None if the remote should hold nothing.  It is ``blocked`` if
    a hold of our own, on its way elsewhere, is in the way at the remote.

    >>> rules = Rules(strict=True, in_place=False, renew_before=30)
    >>> wanted = Wanted(Place(1, 1000, 1030), until=300)
    >>> next_step(Sight(), wanted, rules, now=0, blocked=False).do
    <Do.POST: 'post'>
    >>> held = Sight(Belief.HELD, wanted.place, covered_until=200, gone_after=201)
    >>> next_step(held, wanted, rules, now=0, blocked=False)
    Step(do=<Do.WAIT: 'wait'>, at=170, reason=None)
    >>> next_step(held, None, rules, now=0, blocked=False).do
    <Do.DELETE: 'delete'>
    """
    if wanted is None:
        return _leave(seen, now)
    if wanted.to_book:
        return _when_due(seen, now, Do.BOOK)
    # A booking is never given up, but a move of one can be.
    bound = not wanted.booked or seen.can_go_back
    strict = rules.strict and bound and not seen.patient
    match seen.belief:
        case Belief.REFUSED:
            return _after_refusal(seen, wanted)
        case Belief.UNSENT:
            return _begin(seen, now, strict=strict, blocked=blocked)
        case Belief.UNKNOWN:
            return _after_lost_post(seen, now, strict=strict, blocked=blocked)
        case Belief.HELD:
            return _keep(seen, wanted, rules, now, strict=strict, blocked=blocked)
        case Belief.ASTRAY:
            if strict and seen.failure is Failure.NOT_DONE:
                return _give_up(seen, Reason.UNCERTAIN)
            return Step(Do.GET) if strict else _when_due(seen, now, Do.GET)
        case Belief.PARTING:
            if strict and seen.failure not in {Failure.NONE, Failure.LOST}:
                return _give_up(seen, Reason.UNCERTAIN)
            if now >= seen.gone_after:
                return Step(Do.LAPSE)
            return Step(Do.DELETE) if strict else _when_due(seen, now, Do.DELETE)
        case _:
            raise AssertionError(f"a request is under way: {seen.belief}")


# --- The rate limit -----------------------------------------------------------------------


def turns_for(step: Step, seen: Sight, wanted: Wanted | None) -> int:
    """Return how many requests must be able to follow each other at once; O(1).

    A hold that is wanted is deleted only to be made anew: whoever had to wait
    in between would have destroyed it itself.  0 if it does not matter.

    >>> seen = Sight(Belief.HELD, Place(1, 0, 30), covered_until=20)
    >>> turns_for(Step(Do.DELETE), seen, Wanted(Place(1, 0, 30), until=40))
    2
    >>> turns_for(Step(Do.DELETE), seen, None)
    0
    """
    if wanted is None:
        return 0
    if step.do is Do.DELETE:  # one that is repeated has destroyed it already, or may have
        return 2 if seen.belief is Belief.HELD else 0
    return 1 if step.do is Do.PATCH and seen.place == wanted.place else 0


def held_back(seen: Sight, wanted: Wanted, *, now: int, ready_at: int) -> Step | None:
    """Return what to do while the turns for a step are not there; None if that is a failure.

    A renewal that nobody waits for is made when they come, as long as the hold
    lasts.  O(1).

    >>> seen = Sight(Belief.HELD, Place(1, 0, 30), covered_until=20)
    >>> held_back(seen, Wanted(Place(1, 0, 30), until=40), now=10, ready_at=70)
    Step(do=<Do.WAIT: 'wait'>, at=20, reason=None)
    """
    renewal = seen.belief is Belief.HELD and seen.place == wanted.place and not seen.eager
    if renewal and now < seen.covered_until:
        return Step(Do.WAIT, min(ready_at, seen.covered_until))
    return None


_ROUND: Final = 60 * SECOND
_LATENESS: Final = 30 * SECOND


def most_renewals(per_minute: int, rules: Rules, lasts: int) -> int:
    """Return how many holds that last so long can be renewed, come what may; O(1).

    When the first is due, the minute's requests may all have been sent already,
    and all others may be due with it.  So they are made in the rounds of a
    minute that begin between then and shortly before their end; and no more
    than what is done before the first of them is due again.

    >>> rules = Rules(strict=True, in_place=False, renew_before=150 * SECOND)
    >>> most_renewals(120, rules, lasts=300 * SECOND)
    120
    """
    rounds = max(1, (rules.renew_before - _LATENESS) // _ROUND)
    within = min(rounds * _ROUND, max(_ROUND, lasts - rules.renew_before))
    turns = 1 if rules.in_place else 2
    return per_minute * within // _ROUND // turns if per_minute >= turns else 0


def _when_due(seen: Sight, now: int, do: Do) -> Step:
    return Step(do) if now >= seen.not_before else Step(Do.WAIT, seen.not_before)


def _leave(seen: Sight, now: int) -> Step:
    match seen.belief:
        case Belief.HELD | Belief.ASTRAY | Belief.PARTING:
            if now >= seen.gone_after:
                return Step(Do.LAPSE)
            step = _when_due(seen, now, Do.DELETE)
            return step._replace(at=min(step.at, seen.gone_after)) if step.do is Do.WAIT else step
        case _:
            return Step(Do.NOTHING)


def _after_refusal(seen: Sight, wanted: Wanted) -> Step:
    if seen.failure is Failure.NONE:  # it is another place that is wanted now
        return Step(Do.POST)
    if wanted.booked and not seen.can_go_back:
        return Step(Do.NOTHING, wanted.until)
    return _give_up(seen, Reason.REFUSED)


def _begin(seen: Sight, now: int, *, strict: bool, blocked: bool) -> Step:
    if strict and seen.failure is not Failure.NONE:
        return _give_up(seen, Reason.NOT_REACHED)
    # Whoever is in the way is about to leave, and wakes those who wait.
    if blocked:
        return Step(Do.WAIT)
    return Step(Do.POST) if strict else _when_due(seen, now, Do.POST)


def _after_lost_post(seen: Sight, now: int, *, strict: bool, blocked: bool) -> Step:
    if strict and seen.failure not in {Failure.NONE, Failure.LOST}:
        return _give_up(seen, Reason.UNCERTAIN)
    if seen.failure is Failure.REFUSED and now < seen.ghost_until:
        return Step(Do.WAIT, seen.ghost_until)
    if blocked:
        return Step(Do.WAIT)
    # Strict asks once more, at once: if that is accepted, the first was not done.
    return Step(Do.POST) if strict else _when_due(seen, now, Do.POST)


def _give_up(seen: Sight, reason: Reason) -> Step:
    return Step(Do.BACK if seen.can_go_back else Do.REVOKE, reason=reason)


def _keep(
    seen: Sight, wanted: Wanted, rules: Rules, now: int, *, strict: bool, blocked: bool
) -> Step:
    assert seen.place is not None
    if seen.place != wanted.place:
        return _go(seen, wanted, now, strict=strict, blocked=blocked)
    if wanted.until <= seen.covered_until:
        return Step(Do.NOTHING, wanted.until if wanted.booked else NEVER)
    covered, failed = now < seen.covered_until, seen.failure is not Failure.NONE
    if strict and failed and not covered:
        return _give_up(seen, Reason.NOT_REACHED)
    due = max(now if seen.eager else seen.covered_until - rules.renew_before, seen.not_before)
    if strict:
        due = min(due, seen.covered_until)
    if due > now:
        return Step(Do.WAIT, due)
    # Past its end there somebody else may have it; and the original finds it in its own way.
    return Step(Do.PATCH if rules.in_place and covered and not failed else Do.DELETE)


def _go(seen: Sight, wanted: Wanted, now: int, *, strict: bool, blocked: bool) -> Step:
    assert seen.place is not None
    if seen.failure is Failure.REFUSED and not wanted.booked:
        return _give_up(seen, Reason.REFUSED)
    if strict and seen.failure is not Failure.NONE:
        return _give_up(seen, Reason.NOT_REACHED)
    if strict and blocked:
        return Step(Do.WAIT)
    # It is in its own way where the places overlap.  And two that change places would wait for
    # each other for ever, so one that is blocked gives up its own first.
    apart = not seen.place.overlaps(wanted.place)
    apart = apart and not blocked and seen.failure is not Failure.REFUSED
    do = Do.PATCH if apart else Do.DELETE
    return Step(do) if strict else _when_due(seen, now, do)
