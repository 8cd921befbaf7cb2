"""What a refusal tells: what is in the way, and when a retry could succeed.

Pure functions over what is taken, run only when somebody reads a refusal's
details.  What they let out is spans, units and whether it is a booking; never
uids or holders, for the reader is a stranger to them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from slotengine.core.ledger.proposal import Slotted
from slotengine.core.ledger.reservation import (
    BOOKED_UNTIL,
    UNDYING,
    Claim,
    Entry,
    Seats,
    Session,
    is_limit,
)
from slotengine.core.ledger.timeline import Taken
from slotengine.core.time.instant import from_us
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


class Finder:
    """What finds the details of a refusal, and less of them for less, when somebody asks."""

    __slots__ = ("_find", "only_holds")

    def __init__(self, find: Callable[..., Obstruction], only_holds: Callable[..., bool]) -> None:
        self._find = find
        self.only_holds = only_holds

    def __call__(self, *about: object) -> Obstruction:
        """Return the details."""
        return self._find(*about)


def imported_obstacles(spans: Iterable[tuple[int, int]], capacity: int) -> list[Obstacle]:
    """Return imported busy spans as what stands in the way: all units, and never lapsing."""
    return [Obstacle(start, end, capacity, BOOKED_UNTIL) for start, end in spans]


def steps(
    taken: Iterable[Standing | Obstacle], start: int, end: int, *, most: int | None = None
) -> list[Busy]:
    """Return the step function of what is taken, cut to the span, without the steps at 0.

    What is taken twice over counts as ``most``, if given.  O(k log k).
    """
    changes: Counter[int] = Counter()
    for one in taken:
        changes[max(one.start, start)] += one.units
        changes[min(one.end, end)] -= one.units
    pieces: list[Busy] = []
    level, since = 0, start
    for edge in sorted(edge for edge, change in changes.items() if change):
        if level:
            units = level if most is None else min(level, most)
            if pieces and pieces[-1][1:] == (since, units):
                pieces[-1] = pieces[-1]._replace(end=edge)
            else:
                pieces.append(Busy(since, edge, units))
        level += changes[edge]
        since = edge
    return pieces


def obstacles(live: Iterable[Standing], resource: str, own: Entry | None) -> list[Obstacle]:
    """Return what of this is in the way of all but ``own``, for as long as others have it."""
    found = []
    for owner in (one.owner for one in live):
        # Ask the owner for its span: a long timeline may have cut it where two parts meet.
        claims = owner.all_claims()
        theirs = claims[0]
        if theirs.resource != resource:
            theirs = next(one for one in claims if one.resource == resource)
        until = owner.until_without(own)
        found.append(Obstacle(theirs.start, theirs.end, theirs.units, until))
    return found


def free_from(in_the_way: Sequence[Obstacle], claim: Claim, capacity: int, now: int) -> int:
    """Return the earliest moment at which the claim fits, if nobody else does anything.

    ``BOOKED_UNTIL`` if that takes the end of a booking, or more than there is.  It can only be a
    moment at which a hold lapses, and later is never worse, so bisection
    finds it: O(k log² k).
    """
    if claim.units > capacity:  # such as of a limit that is lower by now
        return BOOKED_UNTIL
    if capacity == 1:  # all of them must be gone
        return max((one.until for one in in_the_way), default=now)
    if all(one.start <= claim.start and claim.end <= one.end for one in in_the_way):
        # All of them at all of its instants, as with limits, which may have thousands.
        left, moment = sum(one.units for one in in_the_way), now
        for one in sorted(in_the_way, key=_lapse):
            if left + claim.units <= capacity:
                break
            left, moment = left - one.units, one.until
        return moment if left + claim.units <= capacity else BOOKED_UNTIL

    def fits(moment: int) -> bool:
        left = (one for one in in_the_way if one.until > moment)
        peak = max((step.units for step in steps(left, claim.start, claim.end)), default=0)
        return peak + claim.units <= capacity

    moments = sorted({now} | {one.until for one in in_the_way})
    return moments[bisect_left(moments, True, key=fits)]


def claim_obstruction(
    claim: Claim, in_the_way: Sequence[Obstacle], retry_at: int, now: int
) -> Obstruction:
    """Return what is in the way of a claim; nothing is, if a retry could succeed now."""
    start, end = from_us(claim.start), from_us(claim.end)
    ways: list[InTheWay] = []
    if retry_at > now:
        ways = [
            InTheWay(from_us(one.start), from_us(one.end), one.units, one.until == BOOKED_UNTIL)
            for one in sorted(in_the_way)
        ]
        if is_limit(claim.resource):  # how much it is, not a line for each reservation of a year
            units = Counter[bool]()
            for way in ways:
                units[way.booked] += way.units
            ways = [InTheWay(start, end, units[booked], booked) for booked in sorted(units)]
    return Obstruction(start, end, tuple(ways), _moment_or_none(retry_at))


def session_obstruction(
    session: Session, slot: Slotted, now: int, own: Entry | None, free_at: int
) -> Obstruction:
    """Return how a live session is in the way of a slot that is for the same event and start.

    One can join when enough seats are free, and its hosts will do.  Failing that, and
    with another length in any case, one can open a session of one's own when this one is
    over and the claims are ``free_at`` last.
    """
    others = [one for one in session.members.values() if one.until > now and one != own]
    others.sort(key=_until)
    last = others[-1].until
    retry_at = max(free_at, last)
    if slot.end == session.end and session.is_among(slot.hosts):
        retry_at = min(retry_at, _seats_free_from(others, slot.seats, now))
    start, end = from_us(session.start), from_us(session.end)
    taken = sum(one.seats_wanted for one in others)
    way = InTheWay(start, end, taken, last == BOOKED_UNTIL)
    return Obstruction(start, end, (way,) if retry_at > now else (), _moment_or_none(retry_at))


def _seats_free_from(members: Sequence[Entry], seats: Seats | None, now: int) -> int:
    """Return when enough seats are free while somebody is still there; `BOOKED_UNTIL` if never."""
    assert seats is not None
    left = sum(one.seats_wanted for one in members)
    moment, last = now, members[-1].until
    for member in members:
        if left <= seats.total - seats.wanted and moment < last:
            return moment
        left -= member.seats_wanted
        moment = member.until
    return BOOKED_UNTIL


def _lapse(obstacle: Obstacle) -> int:
    return obstacle.until


def _until(entry: Entry) -> int:
    return entry.until


def _moment_or_none(moment: int) -> datetime | None:
    return None if moment >= UNDYING else from_us(moment)
