"""A placeholder keeps free, here, what a move leaves, until the remote has accepted the move.

Without it somebody else could take the old time in the meantime, and a move
that the remote refuses could not be undone.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from slotengine.core.time.instant import MICROSECOND, from_us, to_us
from slotengine.core.time.interval import Span, without
from slotengine.core.time.schedule import ALWAYS_OPEN
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Claim, Request, Reservation
from slotengine.errors import SlotError

logger = logging.getLogger(__name__)

PLACEHOLDER_TTL: Final = timedelta(minutes=5)
"""The most that a placeholder lives, in case nobody releases it."""


def hold_placeholder(engine: SlotEngine, before: Reservation, moved: Reservation) -> str | None:
    """Hold what a move has left, and return the placeholder's uid; None if nothing is left."""
    spans = list(_left(before, moved))
    if not spans:
        return None
    first = min(start for _, start, _ in spans)
    last = max(end for _, _, end in spans)
    # One hold for all spans: a claim's buffers can be negative, and so make it shorter.
    claims = tuple(
        Claim(
            claim.resource,
            claim.units,
            before=(first - start) * MICROSECOND,
            after=(end - last) * MICROSECOND,
        )
        for claim, start, end in spans
    )
    request = Request(
        from_us(first), (last - first) * MICROSECOND, claims,
        ttl=min(PLACEHOLDER_TTL, engine.ttl_bounds[1]), schedule=ALWAYS_OPEN, past=True,
    )  # fmt: skip
    try:
        return engine.reserve_request_nowait(request).uid
    except SlotError as error:  # for example, others are still in a shared session
        logger.debug("no placeholder for what a move has left: %s", error)
        return None


def _left(before: Reservation, moved: Reservation) -> list[tuple[Claim, int, int]]:
    """Return what was claimed before and is not claimed now."""
    taken = {claim.resource: _occupied(moved, claim) for claim in moved.claims}
    found = []
    for claim in before.claims:
        left = [_occupied(before, claim)]
        if claim.resource in taken:
            left = without(left, [taken[claim.resource]])
        found += [(claim, *span) for span in left]
    return found


def _occupied(reservation: Reservation, claim: Claim) -> Span:
    return to_us(reservation.start - claim.before), to_us(reservation.end + claim.after)
