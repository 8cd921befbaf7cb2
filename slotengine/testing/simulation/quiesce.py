"""After a history, when all faults are over: does everything come to its end?

An engine that did nothing would do nothing wrong.  So in the end holds must
expire, free time must be reservable, and ended reservations must be forgotten,
until the engine is empty and its sweeper sleeps.
"""

from __future__ import annotations

from typing import Final

from slotengine.core.ledger.commands import Cancel, ImportBusy, Release, Reserve
from slotengine.core.ledger.config import Configure
from slotengine.core.ledger.expiry import NEVER
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, State
from slotengine.core.time.instant import from_us
from slotengine.testing.internal.action_text import text
from slotengine.testing.internal.actions import Action, with_uids
from slotengine.testing.internal.engine_calls import in_engine
from slotengine.testing.internal.naive_calls import in_model
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation.run import Run
from slotengine.testing.simulation.steps import (
    FIRST,
    LAST,
    RESOURCES,
    SCALE,
    TERMS,
    USUAL,
    at,
)
from slotengine.testing.simulation.transcript import difference
from slotengine.testing.watch import ALWAYS, InvariantBroken

WHOLE: Final = {name: (at(FIRST), at(31) if name == "desk" else at(LAST)) for name in RESOURCES}
"""The longest span of each resource that one reservation can have."""
MOST_VAIN_SWEEPS: Final = 64
"""How often the sweeper may wake when nothing is left to sweep."""


async def quiesce(run: Run) -> None:
    """Bring a run to its end.  Raises `InvariantBroken` if anything is left."""
    run.check_all()
    await _expire_holds(run)
    await _cancel_bookings(run)
    await _expire_holds(run)  # of calls that waited for the cancelled bookings
    _check_waitlist(run)
    await _reserve_everything(run)
    run.set_clock(run.naive.now + TERMS.retention)
    await run.rest()
    await _sweep_to_the_end(run)
    run.check()
    run.check_all()
    run.watch.check_swept()
    _check_empty(run)


async def _expire_holds(run: Run) -> None:
    pending = [one.uid for one in run.naive.known.values() if _is_pending(one)]
    for uid in pending:
        await _do(run, Release(uid))
    while held := [one for one in run.naive.known.values() if one.state is State.HELD]:
        run.set_clock(max(run.clock.now(), min(one.until for one in held)))
        await run.rest()
        run.check()
        run.watch.check_swept()
    statistics = run.engine.statistics()
    if statistics.held or statistics.overdue:
        raise InvariantBroken("settles", f"holds are left: {statistics}")


def _is_pending(one: ObservedReservation) -> bool:
    """Return whether something stays until somebody decides about it."""
    return one.state is State.REQUESTED or (one.state is State.HELD and one.until == NEVER)


async def _cancel_bookings(run: Run) -> None:
    await _do(run, Configure(tuple(USUAL.values()), force=True))
    booked = [one.uid for one in run.naive.known.values() if one.state is State.CONFIRMED]
    for uid in booked:
        await _do(run, Cancel(uid))
    for source in ("calendar", "feed"):
        run.import_busy(ImportBusy(source, ()))
    await run.rest()


def _check_waitlist(run: Run) -> None:
    """Every waiting call is served, or refused at the end of its wait."""
    if run.engine.statistics().waiting or run.engine.ledger.state.waiting:
        raise InvariantBroken(
            "settles", f"calls still wait: {[str(one.caller) for one in run.waitlist]}"
        )


async def _reserve_everything(run: Run) -> None:
    """All time that was given back can be reserved."""
    for resource in RESOURCES:
        if busy := run.engine.local.busy(resource, *ALWAYS):
            raise InvariantBroken("settles", f"{resource} is still busy: {busy}")
    for name, (start, end) in WHOLE.items():
        units, _ = RESOURCES[name]
        proposal = Proposal(start, end, (Claim(name, start, end, units),), TERMS.default_ttl)
        answer = await _do(run, Reserve((proposal,), ()))
        if not isinstance(answer, ObservedReservation):
            raise InvariantBroken("settles", f"{name} cannot be reserved: {answer}")
        await _do(run, Release(answer.uid))


async def _do(run: Run, action: Action) -> object:
    """Do something when all is at rest; compare the answer, and return it."""
    await run.rest()
    answer = await in_engine(run.engine, action)
    expected = in_model(run.naive, with_uids(action, answer), run.clock.now())
    if answer != expected:
        raise InvariantBroken("answer", f"{text(action, SCALE)}: {difference(answer, expected)}")
    return answer


async def _sweep_to_the_end(run: Run) -> None:
    """Let the sweeper run until it has no more wakeups, of which some may find nothing to do."""
    for _ in range(MOST_VAIN_SWEEPS):
        moment = run.clock.next_wake
        if moment is None:
            return
        run.clock.set(moment)
        await run.rest()
    raise InvariantBroken("settles", f"the sweeper still waits, for {run.clock.next_wake}")


def _check_empty(run: Run) -> None:
    statistics = run.engine.statistics()
    left = (
        statistics.held, statistics.confirmed, statistics.requested,
        statistics.ended, statistics.sessions,
    )  # fmt: skip
    if any(left):
        raise InvariantBroken("forgets", f"not everything is forgotten: {statistics}")
    if clients := len(run.engine.ledger.state.clients):
        raise InvariantBroken("forgets", f"{clients} sessions of clients are left")
    if run.engine.now() < from_us(run.naive.now):
        raise InvariantBroken("order", f"the time went back to {run.engine.now()}")
