"""A client lists the slots that are offered, and takes one of them.

The list must be the one that the rules give, and the slot must be reservable.
"""

from __future__ import annotations

from datetime import timedelta

from slotengine.core.ledger.reservation import ENDED
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.time.instant import from_us, to_us
from slotengine.engine.requests import SlotQuery
from slotengine.engine.values import Slot
from slotengine.testing.internal.action_text import text
from slotengine.testing.internal.actions import Action, MoveSlot, ReserveSlot
from slotengine.testing.internal.engine_calls import in_engine
from slotengine.testing.internal.naive_booking_rules import offered
from slotengine.testing.internal.observed import ObservedReservation
from slotengine.testing.simulation.run import Run
from slotengine.testing.simulation.steps import SCALE, TERMS, Call, Probe
from slotengine.testing.watch import InvariantBroken


async def probe(run: Run, step: Probe) -> None:
    """List slots, compare them with the naive list, and take one.

    Raises `InvariantBroken` if the list differs, or if the slot cannot be reserved.
    """
    own = _to_be_moved(run, step) if step.moves else None
    if step.moves and own is None:
        run.note(step, "nothing to do")
        return
    if own is not None and own.seats is not None:
        step = step._replace(seats=own.seats.wanted)
    ignoring = frozenset() if own is None else frozenset({own.uid})
    found = _seats_by_start(await _slots(run, step, ignoring))
    run.note(step, f"offered: {_text(found)}")
    expected = _expected(run, step, ignoring)
    if found != expected:
        raise InvariantBroken("offered", f"{_text(found)}, must be {_text(expected)}")
    if found:
        start = list(found)[step.nth % len(found)]
        await _take(run, step, start, own)


def _to_be_moved(run: Run, step: Probe) -> ObservedReservation | None:
    """Return the client's latest reservation, if it is a live one of this event type."""
    one = run.reservation_of(step.client)
    if one is None or one.event_type != step.event_type or one.state in ENDED:
        return None
    return one


async def _slots(run: Run, step: Probe, ignoring: frozenset[str]) -> list[Slot]:
    start, end, engine = from_us(step.start), from_us(step.end), run.engine
    length = None if step.length is None else timedelta(0, 0, step.length)
    if step.most is None:
        return await engine.slots(SlotQuery(
            step.event_type, start, end,
            length=length, seats=step.seats, ignoring=ignoring, only=step.only,
        ))  # fmt: skip
    return await engine.next_free(SlotQuery(
        step.event_type, start, end,
        length=length, seats=step.seats, ignoring=ignoring, only=step.only,
    ), step.most)  # fmt: skip


def _seats_by_start(slots: list[Slot]) -> dict[int, int]:
    return {
        to_us(slot.start, "start"): 0 if slot.seats is None else slot.seats.taken for slot in slots
    }


def _expected(run: Run, step: Probe, ignoring: frozenset[str]) -> dict[int, int]:
    query = AvailabilityQuery(
        step.event_type, step.start, step.end, step.length,
        seats=step.seats, ignoring=ignoring, only=step.only,
    )  # fmt: skip
    slots = offered(run.naive, query, run.clock.now())
    return dict(list(slots.items())[: step.most])


async def _take(run: Run, step: Probe, start: int, own: ObservedReservation | None) -> None:
    request = SlotRequest(
        step.event_type, start, step.length, TERMS.default_ttl, seats=step.seats, only=step.only
    )
    action: Action = ReserveSlot(request) if own is None else MoveSlot(own.uid, request)
    answer = await in_engine(run.engine, action)
    run.answered(Call(step.client, action), action, answer)
    # A move may exceed the holder's quota, and other calls may wait for what is offered.
    if not isinstance(answer, ObservedReservation) and own is None and not run.waitlist:
        raise InvariantBroken("offered", f"{text(action, SCALE)}, and cannot be reserved: {answer}")


def _text(slots: dict[int, int]) -> str:
    starts = (
        SCALE.at(start) + (f" ({taken} taken)" if taken else "") for start, taken in slots.items()
    )
    return ", ".join(starts) or "nothing"
