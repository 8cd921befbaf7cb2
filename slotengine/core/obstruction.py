"""What a refusal tells: what is in the way, and when a retry could succeed.

Pure functions over what is taken, run only when somebody reads a refusal's
details.  What they let out is spans, units and whether it is a booking; never
uids or holders, for the reader is a stranger to them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from slotengine.core.instant import from_us
from slotengine.core.reservation import BOOKED_UNTIL, Claim, Entry, Session
from slotengine.core.timeline import Taken
from slotengine.errors import InTheWay, Obstruction

Standing = Taken[Entry | Session]


class Busy(NamedTuple):
    """A span in which the same number of units of a resource is taken."""

    start: int
    end: int
    units: int


class Obstacle(NamedTuple):
    """Something that stands on a resource, and until when."""

    start: int
    end: int
    units: int
    until: int


def steps(taken: Iterable[Standing | Obstacle], start: int, end: int) -> list[Busy]:
    """Return the step function of what is taken, cut to the span, without the steps at 0.

    O(k log k).
    """
    changes: Counter[int] = Counter()
    for one in taken:
        changes[max(one.start, start)] += one.units
        changes[min(one.end, end)] -= one.units
    pieces: list[Busy] = []
    level, since = 0, start
    for edge in sorted(edge for edge, change in changes.items() if change):
        if level:
            pieces.append(Busy(since, edge, level))
        level += changes[edge]
        since = edge
    return pieces


def obstacles(
    standing: Iterable[Standing], resource: str, now: int, own: Entry | None
) -> list[Obstacle]:
    """Return what of this is live, and not there for the sake of ``own`` alone."""
    found = []
    for owner in (one.owner for one in standing):
        until = owner.until_without(own)
        if until > now:
            # Ask the owner for its span: a long timeline may have cut it where two parts meet.
            theirs = next(one for one in owner.all_claims() if one.resource == resource)
            found.append(Obstacle(theirs.start, theirs.end, theirs.units, until))
    return found


def free_from(in_the_way: Sequence[Obstacle], claim: Claim, capacity: int, now: int) -> int:
    """Return the earliest moment at which the claim fits, if nobody else does anything.

    ``BOOKED_UNTIL`` if that takes the end of a booking.  It can only be a
    moment at which a hold lapses, and later is never worse, so bisection
    finds it: O(k log² k).
    """

    def fits(moment: int) -> bool:
        left = (one for one in in_the_way if one.until > moment)
        peak = max((step.units for step in steps(left, claim.start, claim.end)), default=0)
        return peak + claim.units <= capacity

    moments = sorted({now} | {one.until for one in in_the_way})
    return moments[bisect_left(moments, True, key=fits)]


def claim_obstruction(claim: Claim, in_the_way: Sequence[Obstacle], retry_at: int) -> Obstruction:
    """Return what is in the way of a claim."""
    return Obstruction(
        from_us(claim.start),
        from_us(claim.end),
        tuple(
            InTheWay(from_us(one.start), from_us(one.end), one.units, one.until == BOOKED_UNTIL)
            for one in in_the_way
        ),
        _moment_or_none(retry_at),
    )


def session_obstruction(session: Session, most: int, now: int, own: Entry | None) -> Obstruction:
    """Return how a session is in the way of one who could have it with ``most`` seats taken.

    ``most`` is 0 for one who cannot join it, and so needs it gone.  A seat of
    its ``own`` is not counted.
    """
    members = [
        member for member in session.members.values() if member.until > now and member is not own
    ]
    left = taken = sum(member.seats_wanted for member in members)
    free_at = now
    for member in sorted(members, key=_until):
        if left <= most:
            break
        left -= member.seats_wanted
        free_at = member.until
    booked = any(member.until == BOOKED_UNTIL for member in members)
    start, end = from_us(session.start), from_us(session.end)
    in_the_way = (InTheWay(start, end, taken, booked),) if members else ()
    return Obstruction(start, end, in_the_way, _moment_or_none(free_at))


def _until(entry: Entry) -> int:
    return entry.until


def _moment_or_none(moment: int) -> datetime | None:
    return None if moment == BOOKED_UNTIL else from_us(moment)
