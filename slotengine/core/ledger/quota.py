"""How much one holder may have at once."""

from __future__ import annotations

from dataclasses import dataclass

from slotengine.core.ledger.checks import is_count
from slotengine.core.ledger.terms import LONGEST_LIFE
from slotengine.errors import InvalidField


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


def check_quota(quota: object, holder: str | None) -> None:
    """Raise `InvalidField` unless it is a quota, and there is a holder to count for."""
    if not isinstance(quota, Quota):
        raise InvalidField("quota", f"must be a Quota, not {quota!r}")
    if holder is None and (quota.counts or quota.waits is not None):
        raise InvalidField("holder", "must be given with a quota on what a holder may have")
