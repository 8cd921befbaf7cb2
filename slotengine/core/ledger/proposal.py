"""What a caller would like to hold.

Checks what needs to know nothing but the proposal itself.
Times are UTC microseconds, durations microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slotengine.core.ledger.checks import check_key, check_span, check_text, is_count, is_text
from slotengine.core.ledger.quota import check_quota
from slotengine.core.ledger.reservation import ANYTHING_GOES, Claim, Demand, Placement, Seats
from slotengine.core.ledger.uids import bucket_for
from slotengine.core.time.instant import from_us
from slotengine.errors import InvalidField, NotBookable, TooManyUnits, TooSoon, UnknownResource

if TYPE_CHECKING:
    from slotengine.core.ledger.extra import Extra
    from slotengine.core.ledger.quota import Quota


class Pool(NamedTuple):
    """Resources of which one is to be claimed: one that is free, and whose turn it is.

    Turns are counted for each event type by itself: see `by_turn`.
    """

    claims: tuple[Claim, ...]
    weights: tuple[int, ...] | None = None
    """How often each is to be taken, compared with the others; None: all alike."""
    credits: tuple[int, ...] | None = None
    """How many turns each counts as having had, beside those it had; None: none."""


class StartRule(NamedTuple):
    """When a slot of an event type may begin: after the notice, and in the booking window.

    The window is the one of the moment at which it was asked for.  It stays right
    while a command waits: the window never opens before the notice is over, and its end
    only moves away.
    """

    event_type: str
    notice: int
    opens: int
    closes: int

    def check(self, start: int, now: int) -> None:
        """Raise `TooSoon` or `NotBookable` unless a slot may begin then."""
        if start < now + self.notice:
            raise TooSoon(self.event_type, from_us(now + self.notice))
        if not self.opens <= start < self.closes:
            raise NotBookable(self.event_type, from_us(self.opens), from_us(self.closes))


class Proposal(NamedTuple):
    """What somebody would like to hold.

    The TTL of a hold that does not lapse by itself is `PENDING`.
    ``start`` and ``end`` are the slot; each claim has the occupied span
    (buffers included) on its resource, and of each pool one is claimed as well.
    ``seats`` joins, or opens, the session of this ``event_type`` and ``start``.
    ``closed`` names the claimed resources that are not open for the slot; if it is None,
    the resources' own schedules decide.  ``limits`` are claims on limits
    (`LIMIT`), which may leave out some of the slot, or reach far beyond.  A
    session is joined only if its ``hosts`` are among these; None: whoever has it.
    A ``key`` goes with the ``digest`` of what the caller asked (`keys.digest`).
    ``quota`` is how much the holder may have, and ``rule`` says when the slot may begin; both
    are asked only if something new is made, so a repeat with the same key may have others.
    What is ``requested`` is kept as it is wanted, and decided when it is confirmed.
    """

    start: int
    end: int
    claims: tuple[Claim, ...]
    ttl: int
    holder: str | None = None
    event_type: str | None = None
    seats: Seats | None = None
    key: str | None = None
    digest: bytes | None = None
    pools: tuple[Pool, ...] = ()
    limits: tuple[Claim, ...] = ()
    closed: tuple[str, ...] | None = None
    hosts: frozenset[str] | None = None
    quota: Quota | None = None
    demand: Demand = ANYTHING_GOES
    rule: StartRule | None = None
    extra: Extra | None = None
    requested: bool = False

    def slot(self) -> Placement:
        """Return what a reservation of this would be for."""
        return Placement(
            self.start, self.end, self.claims, self.event_type, self.seats, self.hosts, self.demand
        )

    def is_over(self, now: int) -> bool:
        """Return whether it is too late, for one that must not be over."""
        return self.end <= now and self.demand is not ANYTHING_GOES

    def all_claims(self) -> tuple[Claim, ...]:
        """Return the claims, and those of which one of each pool will be one."""
        return self.claims + tuple(claim for pool in self.pools for claim in pool.claims)

    def bucket(self) -> int:
        """Return the bucket in which it is decided: that of the first resource it names."""
        claims = self.all_claims()
        return bucket_for(claims[0].resource) if claims else 0

    def check(self) -> None:
        """Raise `InvalidField` or `TooManyUnits` unless the proposal makes sense in itself.

        Pools and claims on limits are made by the booking service, which has checked them.
        """
        start, end, claims, _, holder, event_type, seats, key, digest = self[:9]
        check_span(start, end)
        if holder is not None or event_type is not None or key is not None:
            check_text("holder", holder)
            check_text("event_type", event_type)
            check_key(key, digest)
        if not claims and not self.pools:
            raise InvalidField("claims", "must name at least one resource")
        for resource, opens, closes, units in claims:
            # Asked by class first, here and below: nearly always that is the whole answer.
            if (resource.__class__ is not str or not resource) and not is_text(resource):
                raise UnknownResource(resource)
            if (units.__class__ is not int or units < 1) and not is_count(units):
                raise InvalidField("units", f"must be a positive whole number, not {units!r}")
            if opens > start or closes < end:
                raise InvalidField("claims", "must each occupy all of the slot")
        if len(claims) > 1 and len({claim.resource for claim in claims}) < len(claims):
            raise InvalidField("claims", "must name each resource once")
        if self.quota is not None:
            check_quota(self.quota, holder)
        if self.extra is not None:
            self.extra.check()
        if seats is not None:
            self._check_seats(seats)

    def _check_seats(self, seats: Seats) -> None:
        if self.event_type is None:
            raise InvalidField("event_type", "must be given with seats: a session belongs to one")
        if not isinstance(seats, Seats):
            raise InvalidField("seats", f"must be Seats, not {seats!r}")
        if not is_count(seats.total) or not is_count(seats.wanted):
            raise InvalidField("seats", "must be positive whole numbers")
        if seats.wanted > seats.total:
            raise TooManyUnits(self.claims[0].resource, seats.wanted, seats.total)


Slotted = Placement | Proposal
"""Whatever says what a reservation is for: start, end, claims, event type, seats and hosts."""


class Wanted(NamedTuple):
    """What is kept of a request until it is confirmed, beside slot, claims and seats.

    The fields are those of `Proposal`.
    """

    pools: tuple[Pool, ...] = ()
    limits: tuple[Claim, ...] = ()
    closed: tuple[str, ...] | None = None
    hosts: frozenset[str] | None = None

    @classmethod
    def of(cls, proposal: Proposal) -> Wanted:
        """Return what is kept of a proposal."""
        return cls(proposal.pools, proposal.limits, proposal.closed, proposal.hosts)
