"""The next step, for every state there can be."""

from __future__ import annotations

from itertools import product

import pytest

from slotengine.calcom.sync.reconcile import (
    REQUESTS,
    Do,
    Failure,
    Reason,
    Rules,
    Sight,
    Step,
    Wanted,
    held_back,
    most_renewals,
    next_step,
    turns_for,
)
from slotengine.calcom.sync.remote_state import NEXT, PRESENT, UNDER_WAY, Belief, News, Place
from slotengine.core.instant import SECOND

HERE = Place(1, 1000, 1030)
NEAR = Place(1, 1010, 1040)
FAR = Place(1, 2000, 2030)
NOW = 100

STRICT = Rules(strict=True, in_place=False, renew_before=30)
BACKGROUND = Rules(strict=False, in_place=False, renew_before=30)
IN_PLACE = Rules(strict=False, in_place=True, renew_before=30)


def held(place: Place = HERE, **changes: object) -> Sight:
    return Sight(Belief.HELD, place, covered_until=200, gone_after=205, **changes)  # type: ignore[arg-type]


def step(
    seen: Sight,
    wanted: Wanted | None = None,
    rules: Rules = STRICT,
    *,
    now: int = NOW,
    blocked: bool = False,
) -> Step:
    return next_step(seen, wanted, rules, now=now, blocked=blocked)


WANTED = Wanted(HERE, until=150)
LONGER = Wanted(HERE, until=400)
BOOKED = Wanted(HERE, until=1030, booked=True)

CASES: dict[str, tuple[Step, Step]] = {
    "a new hold is sent": (step(Sight(), WANTED), Step(Do.POST)),
    "but not into a place that is being left": (step(Sight(), WANTED, blocked=True), Step(Do.WAIT)),
    "what could not be sent is given back": (
        step(Sight(failure=Failure.NOT_DONE), WANTED),
        Step(Do.REVOKE, reason=Reason.NOT_REACHED),
    ),
    "or tried again later": (
        step(Sight(failure=Failure.NOT_DONE, not_before=120), WANTED, BACKGROUND),
        Step(Do.WAIT, 120),
    ),
    "and then": (
        step(Sight(failure=Failure.NOT_DONE, not_before=NOW), WANTED, BACKGROUND),
        Step(Do.POST),
    ),
    "what is refused is revoked": (
        step(Sight(Belief.REFUSED, failure=Failure.REFUSED), WANTED, BACKGROUND),
        Step(Do.REVOKE, reason=Reason.REFUSED),
    ),
    "but no booking is": (
        step(Sight(Belief.REFUSED, failure=Failure.REFUSED), BOOKED),
        Step(Do.NOTHING, 1030),
    ),
    "a lost POST is repeated at once": (
        step(Sight(Belief.UNKNOWN, failure=Failure.LOST, not_before=120), WANTED),
        Step(Do.POST),
    ),
    "once": (
        step(Sight(Belief.UNKNOWN, failure=Failure.LOST_AGAIN), WANTED),
        Step(Do.REVOKE, reason=Reason.UNCERTAIN),
    ),
    "its refusal may be our own doing": (
        step(Sight(Belief.UNKNOWN, failure=Failure.REFUSED, ghost_until=500), WANTED),
        Step(Do.REVOKE, reason=Reason.UNCERTAIN),
    ),
    "in the background that is waited for": (
        step(Sight(Belief.UNKNOWN, failure=Failure.REFUSED, ghost_until=500), WANTED, BACKGROUND),
        Step(Do.WAIT, 500),
    ),
    "and after a restart": (
        step(
            Sight(Belief.UNKNOWN, failure=Failure.REFUSED, ghost_until=500, patient=True), WANTED
        ),
        Step(Do.WAIT, 500),
    ),
    "until the ghost is gone": (
        step(Sight(Belief.UNKNOWN, failure=Failure.REFUSED, ghost_until=NOW), WANTED, BACKGROUND),
        Step(Do.POST),
    ),
    "what is held long enough is left alone": (step(held(), WANTED), Step(Do.NOTHING)),
    "a booking until it is over": (
        step(Sight(Belief.HELD, HERE, covered_until=1100, gone_after=1105), BOOKED),
        Step(Do.NOTHING, 1030),
    ),
    "what is not is renewed in time": (step(held(), LONGER), Step(Do.WAIT, 170)),
    "by deleting it": (step(held(), LONGER, now=170), Step(Do.DELETE)),
    "or in place": (step(held(), LONGER, IN_PLACE, now=170), Step(Do.PATCH)),
    "but not if that has failed": (
        step(held(failure=Failure.REFUSED), LONGER, IN_PLACE, now=170),
        Step(Do.DELETE),
    ),
    "nor past its end": (step(held(), LONGER, IN_PLACE, now=200), Step(Do.DELETE)),
    "at once if somebody waits for it": (step(held(eager=True), LONGER), Step(Do.DELETE)),
    "a renewal that failed is repeated": (
        step(held(failure=Failure.NOT_DONE, not_before=180), LONGER, now=170),
        Step(Do.WAIT, 180),
    ),
    "strict, not later than its end": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, now=170),
        Step(Do.WAIT, 200),
    ),
    "at which it is given up": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, now=200),
        Step(Do.REVOKE, reason=Reason.NOT_REACHED),
    ),
    "in the background it is not": (
        step(held(failure=Failure.NOT_DONE, not_before=900), LONGER, BACKGROUND, now=200),
        Step(Do.WAIT, 900),
    ),
    "a move is a PATCH": (step(held(FAR), WANTED), Step(Do.PATCH)),
    "but where it would be in its own way": (step(held(NEAR), WANTED), Step(Do.DELETE)),
    "a move into a place that is being left waits": (
        step(held(FAR), WANTED, blocked=True),
        Step(Do.WAIT),
    ),
    "or lets go, lest two wait for each other": (
        step(held(FAR), WANTED, BACKGROUND, blocked=True),
        Step(Do.DELETE),
    ),
    "a move that is refused is undone": (
        step(held(FAR, failure=Failure.REFUSED, can_go_back=True), WANTED),
        Step(Do.BACK, reason=Reason.REFUSED),
    ),
    "if it can be": (
        step(held(FAR, failure=Failure.REFUSED), WANTED, BACKGROUND),
        Step(Do.REVOKE, reason=Reason.REFUSED),
    ),
    "a booking is moved the hard way then": (
        step(held(FAR, failure=Failure.REFUSED), BOOKED),
        Step(Do.DELETE),
    ),
    "a move that could not be sent is undone": (
        step(held(FAR, failure=Failure.NOT_DONE, can_go_back=True), WANTED),
        Step(Do.BACK, reason=Reason.NOT_REACHED),
    ),
    "or tried later": (
        step(held(FAR, failure=Failure.NOT_DONE, not_before=120), WANTED, BACKGROUND),
        Step(Do.WAIT, 120),
    ),
    "refused where it moved the hard way, it goes back": (
        step(Sight(Belief.REFUSED, failure=Failure.REFUSED, can_go_back=True), WANTED),
        Step(Do.BACK, reason=Reason.REFUSED),
    ),
    "a booking too": (
        step(Sight(Belief.UNKNOWN, failure=Failure.REFUSED, can_go_back=True), BOOKED),
        Step(Do.BACK, reason=Reason.UNCERTAIN),
    ),
    "and is asked for there": (step(Sight(Belief.REFUSED), WANTED), Step(Do.POST)),
    "what is astray is looked for": (
        step(Sight(Belief.ASTRAY, FAR, failure=Failure.LOST), WANTED),
        Step(Do.GET),
    ),
    "in vain": (
        step(Sight(Belief.ASTRAY, FAR, failure=Failure.NOT_DONE), WANTED),
        Step(Do.REVOKE, reason=Reason.UNCERTAIN),
    ),
    "a lost DELETE is repeated": (
        step(Sight(Belief.PARTING, HERE, gone_after=300, failure=Failure.LOST), LONGER),
        Step(Do.DELETE),
    ),
    "once, if strict": (
        step(Sight(Belief.PARTING, HERE, gone_after=300, failure=Failure.LOST_AGAIN), LONGER),
        Step(Do.REVOKE, reason=Reason.UNCERTAIN),
    ),
    "the callback comes first": (
        step(held(), Wanted(HERE, 1030, booked=True, to_book=True)),
        Step(Do.BOOK),
    ),
    "what has ended here is deleted there": (step(held()), Step(Do.DELETE)),
    "again, if need be": (step(held(not_before=120)), Step(Do.WAIT, 120)),
    "until it has lapsed": (step(held(), now=205), Step(Do.LAPSE)),
    "of what was never there nothing is to be done": (step(Sight()), Step(Do.NOTHING)),
}  # fmt: skip


@pytest.mark.parametrize(("found", "right"), CASES.values(), ids=CASES)
def test_the_step(found: Step, right: Step) -> None:
    assert found == right


# --- The rate limit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "seen", "wanted", "turns"),
    [
        (Do.DELETE, held(), LONGER, 2),
        (Do.DELETE, held(NEAR), WANTED, 2),
        (Do.DELETE, held(), None, 0),
        (Do.DELETE, Sight(Belief.PARTING, HERE), LONGER, 0),
        (Do.PATCH, held(), LONGER, 1),
        (Do.PATCH, held(FAR), WANTED, 0),
        (Do.POST, Sight(), WANTED, 0),
    ],
)
def test_what_is_deleted_to_be_made_anew_takes_two_turns(
    do: Do, seen: Sight, wanted: Wanted | None, turns: int
) -> None:
    assert turns_for(Step(do), seen, wanted) == turns


@pytest.mark.parametrize(
    ("seen", "wanted", "later"),
    [
        (held(), LONGER, Step(Do.WAIT, 160)),
        (Sight(Belief.HELD, HERE, covered_until=150), LONGER, Step(Do.WAIT, 150)),
        (Sight(Belief.HELD, HERE, covered_until=NOW), LONGER, None),
        (held(eager=True), LONGER, None),
        (held(NEAR), WANTED, None),
    ],
    ids=["in time", "not past its end", "too late", "somebody waits", "a move"],
)
def test_a_renewal_waits_for_its_turns(seen: Sight, wanted: Wanted, later: Step | None) -> None:
    assert held_back(seen, wanted, now=NOW, ready_at=160) == later


@pytest.mark.parametrize(
    ("before_s", "lasts_s", "in_place", "most"),
    [
        (150, 300, False, 120),
        (90, 300, False, 60),
        (30, 300, False, 60),
        (210, 300, False, 90),
        (150, 3600, False, 120),
        (150, 300, True, 240),
    ],
)
def test_how_many_can_be_kept_alive(before_s: int, lasts_s: int, in_place: bool, most: int) -> None:
    rules = Rules(strict=True, in_place=in_place, renew_before=before_s * SECOND)
    assert most_renewals(120, rules, lasts_s * SECOND) == most


# --- All states --------------------------------------------------------------------------

SIGHTS = [
    Sight(
        belief, place, covered_until=covered, gone_after=covered + 5,
        failure=failure, not_before=not_before, ghost_until=ghost,
        eager=eager, patient=patient, can_go_back=can_go_back,
    )
    for belief, place, covered, failure, not_before, ghost, eager, patient, can_go_back in product(
        set(Belief) - UNDER_WAY, (HERE, NEAR, FAR), (90, 200), Failure, (0, 120), (0, 500),
        (False, True), (False, True), (False, True),
    )
]  # fmt: skip
WANTS = [None, WANTED, LONGER, BOOKED, Wanted(HERE, 1030, booked=True, to_book=True)]
NEWS = {Do.POST: News.POST, Do.PATCH: News.PATCH, Do.DELETE: News.DELETE, Do.LAPSE: News.LAPSED}


@pytest.mark.parametrize("rules", [STRICT, BACKGROUND, IN_PLACE], ids=["strict", "behind", "place"])
@pytest.mark.parametrize("wanted", WANTS, ids=["gone", "held", "longer", "booked", "to book"])
@pytest.mark.parametrize("blocked", [False, True])
def test_every_state_has_a_step_that_makes_sense(
    wanted: Wanted | None, rules: Rules, blocked: bool
) -> None:
    for seen in SIGHTS:
        do, at, reason = next_step(seen, wanted, rules, now=NOW, blocked=blocked)
        if do in NEWS:
            assert NEWS[do] in NEXT[seen.belief], (seen, do)
        if do is Do.GET:
            assert seen.belief is Belief.ASTRAY
        if do is Do.WAIT:
            assert at > NOW, seen
        if do is Do.REVOKE:
            assert wanted is not None
            assert reason is not None
            assert not wanted.booked
        if do is Do.BACK:
            assert seen.can_go_back
        if wanted is None:
            assert do in {Do.DELETE, Do.LAPSE, Do.WAIT, Do.NOTHING}
            assert (do is Do.NOTHING) == (seen.belief not in PRESENT)
        strict = rules.strict and not seen.patient
        if strict and wanted in {WANTED, LONGER} and do in {Do.WAIT, Do.NOTHING} and not blocked:
            # Nobody keeps what the remote does not hold for certain, for longer than it does.
            assert seen.belief is Belief.HELD, seen
            assert seen.covered_until > NOW
            assert at <= seen.covered_until or wanted.until <= seen.covered_until
        assert (do in REQUESTS) == (do.value in {"post", "patch", "delete", "get", "book"})
