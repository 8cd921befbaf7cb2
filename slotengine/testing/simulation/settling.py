"""After a history, when nothing goes wrong any more: does everything come to its end?

That nothing wrong happens is easy to have: by doing nothing.  So with all
faults over, holds must lapse, what is free must be had, and what has ended be
forgotten, until the engine is as empty as on its first day and sleeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim, State
from slotengine.core.time.instant import from_us
from slotengine.testing.model import Seen
from slotengine.testing.operations import Operation, in_engine, in_model, uids_for
from slotengine.testing.simulation.steps import FIRST, LAST, RESOURCES, TERMS, Import, at
from slotengine.testing.watch import ALWAYS, InvariantBroken

if TYPE_CHECKING:
    from slotengine.testing.simulation.world import World

WHOLE: Final = {name: (at(FIRST), at(31) if name == "desk" else at(LAST)) for name in RESOURCES}
"""As much of each resource as one can have at once."""
MOST_VAIN_SWEEPS: Final = 64
"""How often the sweeper may wake when there is nothing left."""


async def settle_down(world: World) -> None:
    """Let a world come to its end.  Raises `InvariantBroken` if it does not."""
    await world.resume_all()
    world.check_all()
    await _let_holds_lapse(world)
    await _cancel_bookings(world)
    await _let_holds_lapse(world)  # of those who had waited for what was booked
    _check_nobody_waits(world)
    await _have_everything(world)
    world.set_clock(world.naive.now + TERMS.retention)
    await world.rest()
    await _sweep_to_the_end(world)
    world.check()
    world.check_all()
    world.watch.check_swept()
    _check_empty(world)


async def _let_holds_lapse(world: World) -> None:
    while held := [one for one in world.naive.known.values() if one.state is State.HELD]:
        world.set_clock(max(world.clock.now(), min(one.until for one in held)))
        await world.rest()
        world.check()
        world.watch.check_swept()
    statistics = world.engine.statistics()
    if statistics.held or statistics.overdue:
        raise InvariantBroken("settles", f"holds are left: {statistics}")


async def _cancel_bookings(world: World) -> None:
    booked = [one.uid for one in world.naive.known.values() if one.state is State.CONFIRMED]
    for uid in booked:
        await _done(world, Operation("cancel", uid=uid))
    for source in ("calendar", "feed"):
        world.import_busy(Import(source, ()))
    await world.rest()


def _check_nobody_waits(world: World) -> None:
    """Whoever has patience is served, or told why not, before that ends."""
    if world.engine.statistics().waiting or world.engine.ledger.screen is not None:
        raise InvariantBroken(
            "settles", f"these wait still: {[str(one.caller) for one in world.waiters.line]}"
        )


async def _have_everything(world: World) -> None:
    """Whatever was given back can be had by somebody else."""
    for resource in RESOURCES:
        if busy := world.engine.busy_nowait(resource, *ALWAYS):
            raise InvariantBroken("settles", f"{resource} is still busy: {busy}")
    for name, (start, end) in WHOLE.items():
        units, _ = RESOURCES[name]
        wish = Proposal(start, end, (Claim(name, start, end, units),), TERMS.default_ttl)
        answer = await _done(world, Operation("reserve", (wish,)))
        if not isinstance(answer, Seen):
            raise InvariantBroken("settles", f"{name} cannot be had: {answer}")
        await _done(world, Operation("release", uid=answer.uid))


async def _done(world: World, operation: Operation) -> object:
    """Do it when all are at rest, hold the answer against the model's, and return it."""
    await world.rest()
    answer = await in_engine(world.engine, operation)
    expected = in_model(world.naive, operation, uids_for(operation, answer), world.clock.now())
    if answer != expected:
        raise InvariantBroken("answer", f"{operation}: is {answer}, must be {expected}")
    return answer


async def _sweep_to_the_end(world: World) -> None:
    """A hold that ended early may leave the sweeper a moment at which there is nothing to do."""
    for _ in range(MOST_VAIN_SWEEPS):
        moment = world.clock.next_wake
        if moment is None:
            return
        world.clock.set(moment)
        await world.rest()
    raise InvariantBroken("settles", f"the sweeper still waits, for {world.clock.next_wake}")


def _check_empty(world: World) -> None:
    statistics = world.engine.statistics()
    left = statistics.held, statistics.confirmed, statistics.ended, statistics.sessions
    if any(left):
        raise InvariantBroken("forgets", f"not all is forgotten: {statistics}")
    if world.engine.now() < from_us(world.naive.now):
        raise InvariantBroken("order", f"it is {world.engine.now()} again")
