"""The next step, for every possible state."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from slotengine.calcom.sync.next_step import (
    REQUESTS,
    Action,
    Desired,
    Failure,
    Observed,
    Rules,
    Step,
    max_renewals,
    next_step,
    permits_for,
    while_waiting_for_permits,
)
from slotengine.calcom.sync.remote_span import RemoteSpan
from slotengine.calcom.sync.remote_state import (
    IN_FLIGHT,
    NEXT,
    PRESENT,
    RemoteEvent,
    RemoteState,
    RevokeReason,
)
from slotengine.core.time.instant import SECOND

HERE = RemoteSpan(1, 1000, 1030)
NEAR = RemoteSpan(1, 1010, 1040)
FAR = RemoteSpan(1, 2000, 2030)
NOW = 100

STRICT = Rules(strict=True, renew_in_place=False, renew_before=30)
BACKGROUND = Rules(strict=False, renew_in_place=False, renew_before=30)
IN_PLACE = Rules(strict=False, renew_in_place=True, renew_before=30)


def held(span: RemoteSpan = HERE, **changes: object) -> Observed:
    return Observed(RemoteState.HELD, span, covered_until=200, gone_after=205, **changes)  # type: ignore[arg-type]


def step(
    observed: Observed,
    desired: Desired | None = None,
    rules: Rules = STRICT,
    *,
    now: int = NOW,
    blocked: bool = False,
) -> Step:
    return next_step(observed, desired, rules, now=now, blocked=blocked)


DESIRED = Desired(HERE, until=150)
LONGER = Desired(HERE, until=400)
BOOKED = Desired(HERE, until=1030, booked=True)

REFUSED = Observed(RemoteState.REFUSED, failure=Failure.REFUSED)


def post_lost(failure: Failure = Failure.REFUSED, **changes: object) -> Observed:
    return Observed(RemoteState.CREATE_UNKNOWN, failure=failure, **changes)  # type: ignore[arg-type]


def delete_lost(failure: Failure) -> Observed:
    return Observed(RemoteState.DELETE_UNKNOWN, HERE, gone_after=300, failure=failure)


WAIT = Step(Action.WAIT)
POST = Step(Action.POST)
PATCH = Step(Action.PATCH)
DELETE = Step(Action.DELETE)
NOTHING = Step(Action.NOTHING)


def revoke(reason: RevokeReason) -> Step:
    return Step(Action.REVOKE, reason=reason)


def move_back(reason: RevokeReason) -> Step:
    return Step(Action.MOVE_BACK, reason=reason)


CASES: dict[str, tuple[Step, Step]] = {
    "a new hold is created": (step(Observed(), DESIRED), POST),
    "a new hold waits for the one that leaves its span": (
        step(Observed(), DESIRED, blocked=True),
        WAIT,
    ),
    "strict: a hold that could not be created is revoked": (
        step(Observed(failure=Failure.NOT_DONE), DESIRED),
        revoke(RevokeReason.NOT_REACHED),
    ),
    "background: a hold that could not be created is retried later": (
        step(Observed(failure=Failure.NOT_DONE, not_before=120), DESIRED, BACKGROUND),
        Step(Action.WAIT, 120),
    ),
    "background: a retry that is due": (
        step(Observed(failure=Failure.NOT_DONE, not_before=NOW), DESIRED, BACKGROUND),
        POST,
    ),
    "a refused hold is revoked": (
        step(REFUSED, DESIRED, BACKGROUND),
        revoke(RevokeReason.REFUSED),
    ),
    "a refused booking is kept": (step(REFUSED, BOOKED), Step(Action.NOTHING, 1030)),
    "strict: a lost POST is repeated at once": (
        step(post_lost(Failure.LOST, not_before=120), DESIRED),
        POST,
    ),
    "strict: a POST that is lost twice is given up": (
        step(post_lost(Failure.LOST_AGAIN), DESIRED),
        revoke(RevokeReason.UNCERTAIN),
    ),
    "strict: a refusal after a lost POST is uncertain": (
        step(post_lost(orphan_until=500), DESIRED),
        revoke(RevokeReason.UNCERTAIN),
    ),
    "background: the orphan is waited for": (
        step(post_lost(orphan_until=500), DESIRED, BACKGROUND),
        Step(Action.WAIT, 500),
    ),
    "after a restart the orphan is waited for": (
        step(post_lost(orphan_until=500, restored=True), DESIRED),
        Step(Action.WAIT, 500),
    ),
    "background: the orphan has ended": (
        step(post_lost(orphan_until=NOW), DESIRED, BACKGROUND),
        POST,
    ),
    "a hold that lasts long enough": (step(held(), DESIRED), NOTHING),
    "a booking that is held until it is over": (
        step(Observed(RemoteState.HELD, HERE, covered_until=1100, gone_after=1105), BOOKED),
        Step(Action.NOTHING, 1030),
    ),
    "a renewal that is not due yet": (step(held(), LONGER), Step(Action.WAIT, 170)),
    "a renewal deletes first": (step(held(), LONGER, now=170), DELETE),
    "a renewal in place": (step(held(), LONGER, IN_PLACE, now=170), PATCH),
    "a renewal in place that was refused": (
        step(held(failure=Failure.REFUSED), LONGER, IN_PLACE, now=170),
        DELETE,
    ),
    "a renewal in place that is too late": (step(held(), LONGER, IN_PLACE, now=200), DELETE),
    "a renewal that a caller waits for": (step(held(urgent=True), LONGER), DELETE),
    "a renewal that failed is retried": (
        step(held(failure=Failure.NOT_DONE, not_before=180), LONGER, now=170),
        Step(Action.WAIT, 180),
    ),
    "strict: a renewal is retried until the hold ends": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, now=170),
        Step(Action.WAIT, 200),
    ),
    "strict: a hold that ended unrenewed is revoked": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, now=200),
        revoke(RevokeReason.NOT_REACHED),
    ),
    "background: a hold that ended unrenewed is retried": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, BACKGROUND, now=200),
        Step(Action.WAIT, 900),
    ),
    "a move": (step(held(FAR), DESIRED), PATCH),
    "a move that overlaps deletes first": (step(held(NEAR), DESIRED), DELETE),
    "strict: a move waits for the hold that leaves its span": (
        step(held(FAR), DESIRED, blocked=True),
        WAIT,
    ),
    "background: a blocked move deletes first, so that two can change places": (
        step(held(FAR), DESIRED, BACKGROUND, blocked=True),
        DELETE,
    ),
    "a refused move is undone": (
        step(held(FAR, failure=Failure.REFUSED, can_move_back=True), DESIRED),
        move_back(RevokeReason.REFUSED),
    ),
    "a refused move that cannot be undone is revoked": (
        step(held(FAR, failure=Failure.REFUSED), DESIRED, BACKGROUND),
        revoke(RevokeReason.REFUSED),
    ),
    "a refused move of a booking deletes first": (
        step(held(FAR, failure=Failure.REFUSED), BOOKED),
        DELETE,
    ),
    "strict: a move that could not be sent is undone": (
        step(held(FAR, failure=Failure.NOT_DONE, can_move_back=True), DESIRED),
        move_back(RevokeReason.NOT_REACHED),
    ),
    "background: a move that could not be sent is retried later": (
        step(held(FAR, failure=Failure.NOT_DONE, not_before=120), DESIRED, BACKGROUND),
        Step(Action.WAIT, 120),
    ),
    "a move that was refused after the delete is undone": (
        step(replace(REFUSED, can_move_back=True), DESIRED),
        move_back(RevokeReason.REFUSED),
    ),
    "an uncertain move of a booking is undone": (
        step(post_lost(can_move_back=True), BOOKED),
        move_back(RevokeReason.UNCERTAIN),
    ),
    "a hold that was moved back is created": (
        step(Observed(RemoteState.REFUSED), DESIRED),
        POST,
    ),
    "a lost PATCH is looked up": (
        step(Observed(RemoteState.MOVE_UNKNOWN, FAR, failure=Failure.LOST), DESIRED),
        Step(Action.GET),
    ),
    "strict: a lost PATCH that cannot be looked up is given up": (
        step(Observed(RemoteState.MOVE_UNKNOWN, FAR, failure=Failure.NOT_DONE), DESIRED),
        revoke(RevokeReason.UNCERTAIN),
    ),
    "a lost DELETE is repeated": (step(delete_lost(Failure.LOST), LONGER), DELETE),
    "strict: a DELETE that is lost twice is given up": (
        step(delete_lost(Failure.LOST_AGAIN), LONGER),
        revoke(RevokeReason.UNCERTAIN),
    ),
    "the callback comes first": (
        step(held(), Desired(HERE, 1030, booked=True, to_book=True)),
        Step(Action.BOOK),
    ),
    "a hold that has ended here is deleted": (step(held()), DELETE),
    "a failed DELETE is retried later": (step(held(not_before=120)), Step(Action.WAIT, 120)),
    "a hold that has ended on both sides lapses": (step(held(), now=205), Step(Action.LAPSE)),
    "a hold that was never created and is not desired": (step(Observed()), NOTHING),
}


@pytest.mark.parametrize(("found", "right"), CASES.values(), ids=CASES)
def test_the_next_step(found: Step, right: Step) -> None:
    assert found == right


# --- The rate limit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "observed", "desired", "permits"),
    [
        (Action.DELETE, held(), LONGER, 2),
        (Action.DELETE, held(NEAR), DESIRED, 2),
        (Action.DELETE, held(), None, 0),
        (Action.DELETE, Observed(RemoteState.DELETE_UNKNOWN, HERE), LONGER, 0),
        (Action.PATCH, held(), LONGER, 1),
        (Action.PATCH, held(FAR), DESIRED, 0),
        (Action.POST, Observed(), DESIRED, 0),
    ],
)
def test_a_hold_that_is_made_anew_takes_two_permits(
    action: Action, observed: Observed, desired: Desired | None, permits: int
) -> None:
    assert permits_for(Step(action), observed, desired) == permits


@pytest.mark.parametrize(
    ("observed", "desired", "later"),
    [
        (held(), LONGER, Step(Action.WAIT, 160)),
        (Observed(RemoteState.HELD, HERE, covered_until=150), LONGER, Step(Action.WAIT, 150)),
        (Observed(RemoteState.HELD, HERE, covered_until=NOW), LONGER, None),
        (held(urgent=True), LONGER, None),
        (held(NEAR), DESIRED, None),
    ],
    ids=["in time", "not past its end", "too late", "a caller waits", "a move"],
)
def test_a_renewal_waits_for_its_permits(
    observed: Observed, desired: Desired, later: Step | None
) -> None:
    assert while_waiting_for_permits(observed, desired, now=NOW, ready_at=160) == later


@pytest.mark.parametrize(
    ("before_s", "lasts_s", "renew_in_place", "most"),
    [
        (150, 300, False, 120),
        (90, 300, False, 60),
        (30, 300, False, 60),
        (210, 300, False, 90),
        (150, 3600, False, 120),
        (150, 300, True, 240),
    ],
)
def test_how_many_holds_can_be_renewed(
    before_s: int, lasts_s: int, renew_in_place: bool, most: int
) -> None:
    rules = Rules(strict=True, renew_in_place=renew_in_place, renew_before=before_s * SECOND)
    assert max_renewals(120, rules, lasts_s * SECOND) == most


# --- All states --------------------------------------------------------------------------

OBSERVED = [
    Observed(
        state, span, covered_until=covered, gone_after=covered + 5,
        failure=failure, not_before=not_before, orphan_until=orphan,
        urgent=urgent, restored=restored, can_move_back=can_move_back,
    )
    for (
        state, span, covered, failure, not_before, orphan, urgent, restored, can_move_back
    ) in product(
        set(RemoteState) - IN_FLIGHT, (HERE, NEAR, FAR), (90, 200), Failure, (0, 120), (0, 500),
        (False, True), (False, True), (False, True),
    )
]  # fmt: skip
WANTS = [None, DESIRED, LONGER, BOOKED, Desired(HERE, 1030, booked=True, to_book=True)]
EVENTS = {
    Action.POST: RemoteEvent.POST,
    Action.PATCH: RemoteEvent.PATCH,
    Action.DELETE: RemoteEvent.DELETE,
    Action.LAPSE: RemoteEvent.LAPSED,
}


@pytest.mark.parametrize(
    "rules", [STRICT, BACKGROUND, IN_PLACE], ids=["strict", "background", "in place"]
)
@pytest.mark.parametrize("desired", WANTS, ids=["gone", "held", "longer", "booked", "to book"])
@pytest.mark.parametrize("blocked", [False, True])
def test_every_state_has_a_sensible_step(
    desired: Desired | None, rules: Rules, blocked: bool
) -> None:
    for observed in OBSERVED:
        action, at, reason = next_step(observed, desired, rules, now=NOW, blocked=blocked)
        if action in EVENTS:
            assert EVENTS[action] in NEXT[observed.state], (observed, action)
        if action is Action.GET:
            assert observed.state is RemoteState.MOVE_UNKNOWN
        if action is Action.WAIT:
            assert at > NOW, observed
        if action is Action.REVOKE:
            assert desired is not None
            assert reason is not None
            assert not desired.booked
        if action is Action.MOVE_BACK:
            assert observed.can_move_back
        if desired is None:
            assert action in {
                Action.DELETE,
                Action.LAPSE,
                Action.WAIT,
                Action.NOTHING,
            }
            assert (action is Action.NOTHING) == (observed.state not in PRESENT)
        strict = rules.strict and not observed.restored
        if (
            strict
            and desired in {DESIRED, LONGER}
            and action in {Action.WAIT, Action.NOTHING}
            and not blocked
        ):
            # A strict hold never outlasts what the remote certainly holds.
            assert observed.state is RemoteState.HELD, observed
            assert observed.covered_until > NOW
            assert at <= observed.covered_until or desired.until <= observed.covered_until
        assert (action in REQUESTS) == (action.value in {"post", "patch", "delete", "get", "book"})
