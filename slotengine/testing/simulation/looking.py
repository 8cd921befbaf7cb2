"""A client looks at what is offered, and takes some of it: is the list right, and can it be had?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from slotengine.core.ledger.reservation import ENDED
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.values import Slot
from slotengine.testing.model import Seen
from slotengine.testing.naive_plan import offered
from slotengine.testing.operations import Operation, in_engine
from slotengine.testing.simulation.steps import SCALE, TERMS, Call, Look
from slotengine.testing.watch import InvariantBroken

if TYPE_CHECKING:
    from slotengine.testing.simulation.world import World


async def look(world: World, step: Look) -> None:
    """Look, hold what is offered against the model's, and take one, which must be possible.

    Raises `InvariantBroken`.
    """
    own = _to_be_moved(world, step) if step.moves else None
    if step.moves and own is None:
        world.note(step, "nothing to do")
        return
    if own is not None and own.seats is not None:
        step = step._replace(seats=own.seats.wanted)
    ignoring = frozenset() if own is None else frozenset({own.uid})
    found = _found(await _slots(world, step, ignoring))
    world.note(step, f"offered: {_text(found)}")
    expected = _expected(world, step, ignoring)
    if found != expected:
        raise InvariantBroken("offered", f"{_text(found)}, must be {_text(expected)}")
    if found:
        start = list(found)[step.nth % len(found)]
        await _take(world, step, start, own)


def _to_be_moved(world: World, step: Look) -> Seen | None:
    """Return the client's latest reservation, if it is one of this event type."""
    one = world.latest(step.client)
    if one is None or one.event_type != step.event_type or one.state in ENDED:
        return None
    return one


async def _slots(world: World, step: Look, ignoring: frozenset[str]) -> list[Slot]:
    start, end, engine = from_us(step.start), from_us(step.end), world.engine
    length = None if step.length is None else timedelta(0, 0, step.length)
    if step.most is None:
        return await engine.slots(
            step.event_type, start, end,
            length=length, seats=step.seats, ignoring=ignoring, only=step.only,
        )  # fmt: skip
    return await engine.next_free(
        step.event_type, start, step.most,
        within=end - start, length=length, seats=step.seats, ignoring=ignoring, only=step.only,
    )  # fmt: skip


def _found(slots: list[Slot]) -> dict[int, int]:
    return {
        to_us(slot.start, "start"): 0 if slot.seats is None else slot.seats.taken for slot in slots
    }


def _expected(world: World, step: Look, ignoring: frozenset[str]) -> dict[int, int]:
    query = AvailabilityQuery(
        step.event_type, step.start, step.end, step.length,
        seats=step.seats, ignoring=ignoring, only=step.only,
    )  # fmt: skip
    slots = offered(world.naive, query, world.clock.now())
    return dict(list(slots.items())[: step.most])


async def _take(world: World, step: Look, start: int, own: Seen | None) -> None:
    ask = SlotRequest(
        step.event_type, start, step.length, TERMS.default_ttl, seats=step.seats, only=step.only
    )
    if own is None:
        operation = Operation("reserve_slot", ask=ask)
    else:
        operation = Operation("move_slot", uid=own.uid, ask=ask)
    answer = await in_engine(world.engine, operation)
    world.answered(Call(step.client, operation), operation, answer)
    # A hold may be too long for its holder, and what is offered may be waited for.
    if not isinstance(answer, Seen) and own is None and not world.waiters.line:
        raise InvariantBroken("offered", f"{operation.text(SCALE)}, and cannot be had: {answer}")


def _text(slots: dict[int, int]) -> str:
    starts = (
        SCALE.at(start) + (f" ({taken} taken)" if taken else "") for start, taken in slots.items()
    )
    return ", ".join(starts) or "nothing"
