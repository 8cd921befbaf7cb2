"""What somebody would like to hold, on what terms, and which of several they would rather have.

Owns the checks of input that need to know nothing but the input itself.
Times are UTC microseconds, durations microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from slotengine.core.instant import DAY, FIRST_US, HOUR, LAST_US, MINUTE, SECOND
from slotengine.core.reservation import ANYTHING_GOES, Claim, Demand, Placement, Seats
from slotengine.errors import InvalidField, InvalidTTL, TooManyUnits, UnknownResource

if TYPE_CHECKING:
    from slotengine.core.schedule import Windows

LONGEST_TEXT: Final = 512
"""So many characters may an id, a holder, a key, a label or the name of a source have."""

LONGEST_LIFE: Final = 100 * 366 * DAY
"""So that no moment the engine ever computes lies beyond the calendar, for some millennia."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things live.  All in microseconds.

    Raises `InvalidField` if they contradict each other.
    """

    default_ttl: int = 5 * MINUTE
    shortest_ttl: int = SECOND
    longest_ttl: int = DAY
    max_life: int | None = None
    """No hold may be extended past this age; None: no cap."""
    retention: int = HOUR
    """How long an ended reservation can still be asked about."""
    longest_span: int = 366 * DAY
    """No claim may occupy more, buffers included: the work it makes grows with it."""
    max_holds: int | None = None
    """So many live holds each holder may have; None: any number, as below."""
    max_held: int | None = None
    """So long may the slots be, together, that a holder has on hold."""
    max_lapses: int | None = None
    """After so many lapses in a row, a holder gets no hold until it has cooled down."""
    cool_down: int = 5 * MINUTE
    """How long that takes; the lapse of a hold that was made so long after one is not in a row."""

    def __post_init__(self) -> None:
        if not 0 < self.shortest_ttl <= self.longest_ttl:
            raise InvalidField("min_ttl", "must be positive and no more than max_ttl")
        if not self.shortest_ttl <= self.default_ttl <= self.longest_ttl:
            raise InvalidField("default_ttl", "must lie between min_ttl and max_ttl")
        if self.max_life is not None:
            if self.max_life < self.default_ttl:
                raise InvalidField("max_life", "must be no less than default_ttl")
            object.__setattr__(self, "longest_ttl", min(self.longest_ttl, self.max_life))
        if self.retention < 0:
            raise InvalidField("retention", "must not be negative")
        if self.longest_span < 1:
            raise InvalidField("max_length", "must be positive")
        if max(self.longest_ttl, self.retention) > LONGEST_LIFE:
            raise InvalidField("max_ttl", "and retention must be no more than a hundred years")
        for name in ("max_holds", "max_held", "max_lapses"):
            quota = getattr(self, name)
            if quota is not None and not is_count(quota):
                raise InvalidField(name, f"must be positive, and whole, not {quota!r}")
        if not 0 < self.cool_down <= LONGEST_LIFE:
            raise InvalidField("cool_down", "must be positive, and no more than a hundred years")

    def has_quotas(self) -> bool:
        """Return whether what a holder may have is limited."""
        return (self.max_holds, self.max_held, self.max_lapses) != (None, None, None)

    def check_span(self, start: int, end: int) -> None:
        """Raise `InvalidField` unless the span makes sense, and is not too long.

        >>> Terms(longest_span=10).check_span(0, 10)
        """
        check_span(start, end)
        if end - start > self.longest_span:
            longest = _delta(self.longest_span)
            raise InvalidField("length", f"must be no more than {longest}, buffers included")

    def check_ttl(self, ttl: int) -> None:
        """Raise `InvalidTTL` unless the TTL is within the bounds."""
        if not self.shortest_ttl <= ttl <= self.longest_ttl:
            raise self.invalid_ttl(ttl, self.longest_ttl)

    def invalid_ttl(self, ttl: int, longest: int) -> InvalidTTL:
        """Return what tells that a TTL is too short, or longer than the longest."""
        longest = min(longest, self.longest_ttl)
        return InvalidTTL(_delta(ttl), _delta(self.shortest_ttl), _delta(longest))


@dataclass(frozen=True, slots=True)
class Quota:
    """How much the holder of one request may have at once; None: any amount.

    It applies beside the quotas of `Terms`, and the lower limit decides.  ``held``
    and ``life`` are in microseconds.  Raises `InvalidField`.
    """

    holds: int | None = None
    """How many live holds."""
    held: int | None = None
    """How long the slots of all live holds may be, together."""
    waits: int | None = None
    """How many places in the queues for slots."""
    life: int | None = None
    """How long the hold that is made may live in all, however often it is renewed or moved."""

    def __post_init__(self) -> None:
        for name in ("holds", "held", "waits", "life"):
            limit = getattr(self, name)
            if limit is not None and not is_count(limit):
                raise InvalidField(name, f"must be positive, and whole, not {limit!r}")
        if self.life is not None and self.life > LONGEST_LIFE:
            raise InvalidField("life", "must be no more than a hundred years")

    @property
    def counts(self) -> bool:
        """Whether the holder's other holds matter."""
        return self.holds is not None or self.held is not None


def stricter(one: int | None, other: int | None) -> int | None:
    """Return the lower of two limits; None is no limit.

    >>> stricter(3, 2), stricter(None, 2), stricter(None, None)
    (2, 2, None)
    """
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


class Pool(NamedTuple):
    """Resources of which one is to be claimed: one that is free, and whose turn it is.

    Turns are counted for each event type by itself: see `by_turn`.
    """

    claims: tuple[Claim, ...]
    weights: tuple[int, ...] | None = None
    """How often each is to be taken, compared with the others; None: all alike."""
    schedules: tuple[Windows | None, ...] | None = None
    """Hours of each, instead of the resource's own where there are any."""


class Proposal(NamedTuple):
    """What somebody would like to hold.

    ``start`` and ``end`` are the slot; each claim has the occupied span
    (buffers included) on its resource, and of each pool one is claimed as well.
    ``seats`` joins, or opens, the session of this ``event_type`` and ``start``.
    ``schedule`` takes the place of the resources' own, if given, but not of the
    pools'; ``schedules`` do so claim by claim.  ``limits`` are claims on limits
    (`LIMIT`), which may leave out some of the slot, or reach far beyond.  A
    session is joined only if its ``hosts`` are among these; None: whoever has it.
    ``request`` is what the caller asked for, if that is not the proposal itself.
    ``quota`` is how much the holder may have; it says nothing of what is asked for, so a
    request that is repeated with a key is the same under another quota.
    """

    start: int
    end: int
    claims: tuple[Claim, ...]
    ttl: int
    holder: str | None = None
    event_type: str | None = None
    seats: Seats | None = None
    key: str | None = None
    schedule: Windows | None = None
    pools: tuple[Pool, ...] = ()
    limits: tuple[Claim, ...] = ()
    schedules: tuple[Windows, ...] | None = None
    hosts: frozenset[str] | None = None
    request: tuple[object, ...] | None = None
    quota: Quota | None = None
    demand: Demand = ANYTHING_GOES

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

    def fingerprint(self) -> tuple[object, ...]:
        """Return what makes two requests the same: everything but the key and the quota.

        If there is a ``request``, that is it: what the caller asked for, without
        what was looked up in the configuration.  Schedules are the same if they
        are equal.
        """
        if self.request is not None:
            return self.request
        return tuple(self._replace(key=None, quota=None))

    def check(self) -> None:
        """Raise `InvalidField` or `TooManyUnits` unless the proposal makes sense in itself.

        Pools and claims on limits are made by the planner, which has checked them.
        """
        start, end, claims, _, holder, event_type, seats, key, schedule = self[:9]
        check_span(start, end)
        if holder is not None or event_type is not None or key is not None:
            check_text("holder", holder)
            check_text("event_type", event_type)
            check_text("key", key)
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
        if seats is not None:
            self._check_seats(seats)
        if schedule is not None:
            check_schedule(schedule)

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


class Policy(Enum):
    """Which candidate to prefer when several would do."""

    FIRST = "first"
    """The first that fits, in the order given."""
    LEAST_LOADED = "least loaded"
    """The one whose resources have the fewest live claims; ties in the order given."""
    WEIGHTED = "weighted"
    """In turn, in proportion to the weights; ties in the order given.

    The quota method (M. L. Balinski and H. P. Young, "The quota method of
    apportionment", 1975): of the candidates whose next claim would not exceed
    their fair share, rounded up, the one with the lowest (claims + 1) / weight.
    With all candidates free, nobody is ever a whole claim away from their share."""


def by_preference(policy: Policy, loads: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Return the indexes of candidates with these loads, the preferred one first.  O(n log n).

    >>> by_preference(Policy.FIRST, [2, 1, 0], [1, 1, 1])
    [0, 1, 2]
    >>> by_preference(Policy.LEAST_LOADED, [2, 1, 0], [1, 1, 1])
    [2, 1, 0]
    >>> by_preference(Policy.WEIGHTED, [2, 1, 0], [6, 1, 1])
    [0, 2, 1]
    """
    indexes = list(range(len(loads)))
    if policy is Policy.FIRST:
        return indexes
    if policy is Policy.LEAST_LOADED:
        return sorted(indexes, key=loads.__getitem__)
    return by_turn(loads, weights, [0] * len(loads))


def by_turn(loads: Sequence[int], weights: Sequence[int], latest: Sequence[int]) -> list[int]:
    """Return the indexes of those who share work by weight, whose turn it is first.  O(n log n).

    As `Policy.WEIGHTED`; among those to whom it would be equally fair, the one
    whose ``latest`` work was given to them the longest ago.

    >>> by_turn([1, 0, 0], [1, 1, 1], [5, 7, 6])
    [2, 1, 0]
    >>> by_turn([1, 1], [2, 1], [5, 6])
    [0, 1]
    """
    if len(set(weights)) == 1:  # then it is a matter of counting, and fractions cost 1 µs each
        return sorted(range(len(loads)), key=lambda i: (loads[i], latest[i]))
    next_total, weight_of_all = sum(loads) + 1, sum(weights)

    def rank(i: int) -> tuple[bool, Fraction, int]:
        within_quota = loads[i] * weight_of_all < weights[i] * next_total
        return not within_quota, Fraction(loads[i] + 1, weights[i]), latest[i]

    return sorted(range(len(loads)), key=rank)


def is_count(value: object) -> bool:
    """Return whether a value is a positive whole number (True is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text(value: object) -> bool:
    """Return whether a value is a string with something in it."""
    return isinstance(value, str) and value != ""


def check_text(field: str, value: object) -> None:
    """Raise `InvalidField` unless the value is None or a text that can be kept."""
    if value is not None:
        check_name(field, value)


def check_name(field: str, value: object) -> None:
    """Raise `InvalidField` unless the value is a text that can be kept, and written anywhere.

    It has at most `LONGEST_TEXT` characters, no NUL, which databases refuse, and no
    lone surrogates, which no encoding has.  Subclasses of ``str`` will do.
    """
    if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and "\0" not in value:
        if value.isascii():
            return
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    raise InvalidField(
        field,
        f"must be a non-empty string of at most {LONGEST_TEXT} characters, without NUL or "
        f"lone surrogates, not {value!r:.99}",
    )


def check_quota(quota: object, holder: str | None) -> None:
    """Raise `InvalidField` unless it is a quota, and there is a holder to count for."""
    if not isinstance(quota, Quota):
        raise InvalidField("quota", f"must be a Quota, not {quota!r}")
    if holder is None and (quota.counts or quota.waits is not None):
        raise InvalidField("holder", "must be given with a quota on what a holder may have")


def check_schedule(schedule: object) -> None:
    """Raise `InvalidField` unless there is no schedule, or it tells when it is open."""
    if schedule is None:
        return
    answers = (callable(getattr(schedule, name, None)) for name in ("covers", "windows"))
    if isinstance(schedule, type) or not all(answers):
        raise InvalidField("schedule", f"must tell when it is open, as {schedule!r} cannot")


def check_span(start: int, end: int) -> None:
    """Raise `InvalidField` unless the span ends after its start, within the calendar."""
    if start >= end:
        raise InvalidField("end", "must be after the start")
    if start < FIRST_US or end > LAST_US:
        raise InvalidField("span", "reaches beyond the calendar, the years 1 to 9999")


def _delta(us: int) -> timedelta:
    return timedelta(0, 0, us)
