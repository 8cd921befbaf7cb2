"""Which units are taken at each instant, and what is in the way of a proposal, the slow way.

Every answer is worked out from the list of reservations, at each moment at
which anything begins or ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.reservation import BOOKED_UNTIL, NOWHERE, UNDYING, Claim, is_limit
from slotengine.core.time.instant import from_us
from slotengine.core.time.schedule import Windows
from slotengine.errors import (
    InTheWay,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    Obstruction,
    OutsideHours,
    Refused,
    Retired,
    SlotTaken,
)
from slotengine.testing.internal.observed import ObservedReservation


class NaiveOccupancy:
    """Reservations, resources and imported busy time, and what fits beside them."""

    def __init__(self, resources: dict[str, tuple[int, Windows | None]]) -> None:
        self.resources = resources
        """Capacity and opening hours of each."""
        self.retired: set[str] = set()
        """Resources, and event types, of which nothing new can be had."""
        self.edition = 0
        """How often the configuration was changed."""
        self.versions: dict[tuple[str, str], int] = {}
        """In which edition each entry was last changed, by kind and id."""
        self.now = 0
        self.known: dict[str, ObservedReservation] = {}
        """All reservations that are not forgotten, by uid."""
        self.imported: dict[str, Mapping[str, Sequence[tuple[int, int]]]] = {}
        """Busy spans by source and resource."""
        self.opened: dict[object, int] = {}
        """When the first reservation of each shared session was made."""

    def live(self, own: ObservedReservation | None) -> list[ObservedReservation]:
        return [
            one
            for one in self.known.values()
            if one.state not in NOWHERE and (own is None or one.uid != own.uid)
        ]

    def taken(self, resource: str, instant: int, live: Iterable[ObservedReservation]) -> int:
        capacity, _ = self.resources[resource]
        if self._imported_at(resource, instant):
            return capacity
        standing = {
            (one.session, claim)
            for one in live
            for claim in one.claims
            if claim.resource == resource and claim.start <= instant < claim.end
        }
        return sum(claim.units for _, claim in standing)

    def edges(
        self, resource: str, start: int, end: int, live: Iterable[ObservedReservation]
    ) -> list[int]:
        """Return the ends of a span, and each moment in it at which a claim begins or ends."""
        theirs = (claim for one in live for claim in one.claims if claim.resource == resource)
        moments = {moment for claim in theirs for moment in (claim.start, claim.end)}
        moments |= {moment for span in self.imported_spans(resource) for moment in span}
        return sorted({start, end, *(one for one in moments if start < one < end)})

    def imported_spans(self, resource: str) -> list[tuple[int, int]]:
        """Return the imported busy time of all sources, as joined spans."""
        every = (span for theirs in self.imported.values() for span in theirs.get(resource, ()))
        return _joined(every)

    def imported_by_source(self, resource: str) -> list[tuple[str, int, int]]:
        """Return the imported busy time by source, sorted, as joined spans."""
        return sorted(
            (source, *span)
            for source, theirs in self.imported.items()
            for span in _joined(theirs.get(resource, ()))
        )

    def _imported_at(self, resource: str, instant: int) -> bool:
        return any(start <= instant < end for start, end in self.imported_spans(resource))

    def _fits(self, claim: Claim, live: Sequence[ObservedReservation]) -> bool:
        name, start, end, units = claim
        capacity, _ = self.resources[name]
        return all(
            self.taken(name, instant, live) + units <= capacity
            for instant in self.edges(name, start, end, live)[:-1]
        )

    def decide(
        self, proposal: Proposal, own: ObservedReservation | None = None, *, hours: bool = True
    ) -> tuple[Claim, ...]:
        """Return the claims that the proposal would get, or raise."""
        live, fixed, limits = self.live(own), proposal.claims, proposal.limits
        asked = proposal._replace(claims=fixed + limits)
        members = members_of(proposal, live)
        if members:
            claims = self._claims(asked, live)
            if claims is not None:
                return claims
            will_do = _will_do(members[0], proposal)
            kind = NoSeatsLeft if will_do and members[0].end == proposal.end else SlotTaken
            refused = members[0].claims[0].resource
            raise kind(refused, partial(self.obstruction, asked, refused, own))
        for claim in fixed:
            self._check_not_retired(claim)
            if hours:
                self._check_hours(claim, proposal)
        for claim in fixed:
            self._check_fits(claim, asked, own)
        picks = fixed
        for pool in proposal.pools:
            picks += (self._pick(pool, proposal, own),)
        asked = proposal._replace(claims=picks + limits)
        for claim in limits:
            self._check_fits(claim, asked, own)
        return asked.claims

    def check_open(self, proposal: Proposal) -> None:
        """Raise if a proposal would be outside of opening hours even without other reservations.

        A proposal that joins a session takes it as it is.
        """
        members = members_of(proposal, self.live(None))
        if not (members and members[0].end == proposal.end and _will_do(members[0], proposal)):
            empty = NaiveOccupancy(self.resources)
            empty.retired = self.retired
            empty.decide(proposal._replace(limits=()))

    def check_type_not_retired(self, event_type: str | None) -> None:
        if event_type in self.retired:
            raise Retired("event_type", event_type)

    def _check_not_retired(self, claim: Claim) -> None:
        if claim.resource in self.retired:
            raise Retired("resource", claim.resource)

    def _check_hours(self, claim: Claim, proposal: Proposal) -> None:
        own = self.resources[claim.resource][1]
        is_closed = own is not None and not own.covers(proposal.start, proposal.end)
        if proposal.closed is not None:
            is_closed = claim.resource in proposal.closed
        if is_closed:
            span = from_us(proposal.start), from_us(proposal.end)
            raise OutsideHours(claim.resource, *span)

    def _check_fits(self, claim: Claim, asked: Proposal, own: ObservedReservation | None) -> None:
        if not self._fits(claim, self.live(own)):
            kind = LimitReached if is_limit(claim.resource) else SlotTaken
            raise kind(claim.resource, partial(self.obstruction, asked, claim.resource, own))

    def _pick(self, pool: Pool, proposal: Proposal, own: ObservedReservation | None) -> Claim:
        """Return the claim of the free host whose turn it is."""
        refusals: dict[int, Refused] = {}
        for i in self._turns(pool, proposal.event_type, own):
            claim = pool.claims[i]
            asked = proposal._replace(claims=(*proposal.claims, claim))
            try:
                self._check_not_retired(claim)
                self._check_hours(claim, proposal)
                self._check_fits(claim, asked, own)
            except Refused as refusal:
                refusals[i] = refusal
            else:
                return claim
        if len(refusals) == 1:
            raise refusals[0]
        raise NoneFree(tuple(refusals[i] for i in range(len(refusals))))

    def _turns(
        self, pool: Pool, event_type: str | None, own: ObservedReservation | None
    ) -> list[int]:
        given: list[dict[object, int]] = [
            {
                one.session: one.created if one.seats is None else self.opened[one.session]
                for one in self.live(own)
                if one.event_type == event_type
                and claim.resource in {theirs.resource for theirs in one.claims}
            }
            for claim in pool.claims
        ]
        keep = {claim.resource for claim in own.claims} if own is not None else set()
        shares = pool.weights or (1,) * len(given)
        loads = [
            len(theirs) + credit
            for theirs, credit in zip(given, pool.credits or (0,) * len(given), strict=True)
        ]

        def rank(i: int) -> object:
            load = loads[i]
            fair_share = Fraction(shares[i] * (sum(loads) + 1), sum(shares))
            latest = max(given[i].values(), default=-1)
            kept = pool.claims[i].resource in keep
            return not kept, load >= fair_share, Fraction(load + 1, shares[i]), latest

        return sorted(range(len(given)), key=rank)  # type: ignore[arg-type]

    def _claims(
        self, proposal: Proposal, live: Sequence[ObservedReservation]
    ) -> tuple[Claim, ...] | None:
        """Return the claims that a proposal would get beside live reservations, or None."""
        members = members_of(proposal, live)
        if members:
            assert proposal.seats is not None
            total, wanted = proposal.seats
            room = members[0].end == proposal.end and _seats(members) + wanted <= total
            return members[0].claims if room and _will_do(members[0], proposal) else None
        return proposal.claims if all(self._fits(one, live) for one in proposal.claims) else None

    def obstruction(
        self, proposal: Proposal, refused: str, own: ObservedReservation | None
    ) -> Obstruction:
        """Return what is in the way, and when a retry could succeed: each expiry is tried."""
        live = self.live(own)
        retry_at = next(
            (
                moment
                for moment in sorted({self.now, *(one.until for one in live)})
                if self._claims(proposal, [one for one in live if one.until > moment]) is not None
            ),
            BOOKED_UNTIL,  # imported busy time does not expire
        )
        members = members_of(proposal, live)
        if members:
            span = members[0].start, members[0].end
            ways = [self._way(*span, _seats(members), members)]
        else:
            whole = Claim(refused, proposal.start, proposal.end)
            where = next((one for one in proposal.claims if one.resource == refused), None)
            where = where or next(iter(proposal.claims), whole)
            span = where.start, where.end
            by_session = {
                one.session: self._way(theirs.start, theirs.end, theirs.units, sharing(one, live))
                for one in live
                for theirs in one.claims
                if theirs.resource == refused
                and theirs.start < where.end
                and where.start < theirs.end
            }
            ways = [*by_session.values(), *self._imported_ways(refused, where)]
            if is_limit(refused):
                units = Counter[bool]()
                for way in ways:
                    units[way.booked] += way.units
                ways = [way._replace(units=units[way.booked]) for way in ways]
                ways = list({way.booked: way for way in ways}.values())
        return Obstruction(
            from_us(span[0]),
            from_us(span[1]),
            tuple(sorted(ways)) if retry_at > self.now else (),
            None if retry_at >= UNDYING else from_us(retry_at),
        )

    def _imported_ways(self, resource: str, where: Claim) -> Iterable[InTheWay]:
        """Return the imported busy spans that are in the way."""
        capacity, _ = self.resources[resource]
        return [
            InTheWay(from_us(start), from_us(end), capacity, True)
            for start, end in self.imported_spans(resource)
            if start < where.end and where.start < end
        ]

    @staticmethod
    def _way(start: int, end: int, units: int, owners: Iterable[ObservedReservation]) -> InTheWay:
        booked = any(one.until == BOOKED_UNTIL for one in owners)
        return InTheWay(from_us(start), from_us(end), units, booked)


def _joined(several: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in sorted(several):
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((start, end))
    return spans


def sharing(
    one: ObservedReservation, live: Iterable[ObservedReservation]
) -> list[ObservedReservation]:
    """Return the reservations that share a session with one, itself included."""
    return [other for other in live if other.session == one.session]


def members_of(
    proposal: Proposal, live: Iterable[ObservedReservation]
) -> list[ObservedReservation]:
    """Return the reservations in the session that a proposal is for."""
    return [
        one
        for one in live
        if proposal.seats is not None
        and one.seats is not None
        and (one.event_type, one.start) == (proposal.event_type, proposal.start)
    ]


def _will_do(one: ObservedReservation, proposal: Proposal) -> bool:
    """Return whether a proposal accepts the hosts of a session."""
    theirs = {claim.resource for claim in one.claims if not is_limit(claim.resource)}
    return proposal.hosts is None or theirs <= proposal.hosts


def _seats(members: Iterable[ObservedReservation]) -> int:
    return sum(one.seats.wanted for one in members if one.seats is not None)
