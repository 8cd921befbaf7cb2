"""How long holds and records live, and how much a holder may have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slotengine.core.ledger.checks import check_span, is_count
from slotengine.core.ledger.expiry import PENDING
from slotengine.core.time.instant import DAY, HOUR, MINUTE, SECOND
from slotengine.errors import InvalidField, InvalidTTL

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
    max_waiters: int = 1000
    """How many commands can wait at the same time."""
    max_waits: int | None = None
    """How many commands of each holder can wait at the same time; None: any number."""

    shard: int = 0
    """The number of the shard, which is part of each serial number."""

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
        if self.max_waiters.__class__ is not int or self.max_waiters < 0:
            raise InvalidField("max_waiters", f"must be a whole number, not {self.max_waiters!r}")
        for name in ("max_holds", "max_held", "max_lapses", "max_waits"):
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

    def check_with_buffers(self, length: int) -> None:
        """Raise `InvalidField` unless slots may be this long, buffers included."""
        if length > self.longest_span:
            longest = _delta(self.longest_span)
            raise InvalidField(
                "length", f"must be at most {longest} with buffers, not {_delta(length)}"
            )

    def check_ttl(self, ttl: int) -> None:
        """Raise `InvalidTTL` unless the TTL is within the bounds.

        A hold may be `PENDING` if there is no ``max_life``.
        """
        if ttl == PENDING and self.max_life is None:
            return
        if not self.shortest_ttl <= ttl <= self.longest_ttl:
            raise self.invalid_ttl(ttl, self.longest_ttl)

    def invalid_ttl(self, ttl: int, longest: int) -> InvalidTTL:
        """Return what tells that a TTL is too short, or longer than the longest."""
        longest = min(longest, self.longest_ttl)
        return InvalidTTL(_delta(ttl), _delta(self.shortest_ttl), _delta(longest))


def _delta(us: int) -> timedelta:
    return timedelta(0, 0, us)
