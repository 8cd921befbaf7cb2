"""How much a soak does, of what kind, and what it is about: all that can be said beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slotengine import EventType, Limit, Period, SlotEngine, SystemClock

QUARTERS: Final = 4
"""After warming up, the time is in so many parts; the last is held against the first."""


@dataclass(frozen=True)
class Plan:
    """A soak.  Times are in seconds."""

    seconds: float = 1200.0
    rate: float = 1000.0
    """Calls due each second."""
    seed: int = 1
    row_s: float = 10.0
    """What is seen in so much time is one row of what is written, and one point of the picture."""
    sample_s: float = 1.0
    audit_s: float = 20.0
    """From the end of one whole audit to the beginning of the next."""
    horizon_s: float = 150.0
    """So far ahead is booked: no booking lives much longer."""
    shortest_ttl_s: float = 1.0
    longest_ttl_s: float = 15.0
    retention_s: float = 20.0
    forget_s: float = 2.0
    """So often bookings that are over are forgotten."""
    patience_s: float = 2.0
    """So long, at most, somebody waits for a slot."""
    most_waiting: int = 200
    """So many at once: whoever comes then is turned away, and counted."""
    grace_s: float = 10.0
    """So long after its time something may be there before it is taken to stay for good."""

    @property
    def settled_s(self) -> float:
        """So long it takes until as many end, and are forgotten, as begin."""
        return self.horizon_s + self.longest_ttl_s + self.retention_s

    @property
    def settles(self) -> bool:
        """Whether all that begins settles in the first half, so that growth means something."""
        return self.settled_s <= self.seconds / 2

    @property
    def warm_up_s(self) -> float:
        """What is not judged by: until it has settled; of a short run a quarter."""
        return min(self.settled_s, self.seconds / 4)

    @property
    def rooms(self) -> int:
        """As many as calls a second, so that what stands on each does not depend on the rate."""
        return max(4, int(self.rate))

    @property
    def some(self) -> int:
        """How many there are of each of the rarer kinds of resources."""
        return max(2, int(self.rate / 20))

    def quarter(self, second: float) -> int | None:
        """Return in which part a moment is; None while warming up.

        >>> plan = Plan(seconds=1200, horizon_s=165)  # and 35 until all is forgotten
        >>> plan.quarter(199), plan.quarter(200), plan.quarter(1199), plan.quarter(1205)
        (None, 0, 3, 3)
        """
        if second < self.warm_up_s:
            return None
        part = (second - self.warm_up_s) / (self.seconds - self.warm_up_s)
        return min(int(part * QUARTERS), QUARTERS - 1)


QUICK: Final = Plan(
    seconds=1.0, rate=250.0, row_s=0.2, sample_s=0.1, audit_s=0.2, horizon_s=2.0,
    shortest_ttl_s=0.02, longest_ttl_s=0.2, retention_s=0.15, forget_s=0.2, patience_s=0.2,
    most_waiting=20, grace_s=1.5,
)  # fmt: skip
"""To see that it works; what it finds of drift means nothing."""

UNITS: Final = 4
SEATS: Final = 8
HOT: Final = 10
"""Rooms that everybody wants, at the same time."""
GREEDY: Final = 8
"""Holders who want more than their quota."""
HOSTS: Final = 4
"""Of each talk, one of whom takes part."""


def engine(plan: Plan, clock: SystemClock) -> SlotEngine:
    """Return an engine with all that is to be booked, not yet entered."""
    made = SlotEngine(
        clock=clock,
        default_ttl=timedelta(seconds=plan.longest_ttl_s),
        min_ttl=timedelta(seconds=plan.shortest_ttl_s),
        max_life=timedelta(seconds=4 * plan.longest_ttl_s),
        retention=timedelta(seconds=plan.retention_s),
        max_holds=10,
        max_lapses=4,
        cool_down=timedelta(seconds=plan.longest_ttl_s),
    )
    for number in range(plan.rooms):
        made.add_resource(f"room-{number}")
    for number in range(HOT):
        made.add_resource(f"hot-{number}")
    for number in range(plan.some):
        made.add_resource(f"pool-{number}", capacity=UNITS)
        made.add_resource(f"hall-{number}")
        made.add_event_type(_lesson(number))
        hosts = [f"host-{number}-{host}" for host in range(HOSTS)]
        for host in hosts:
            made.add_resource(host)
        made.add_event_type(_talk(number, hosts))
    return made


def _lesson(number: int) -> EventType:
    minute = timedelta(minutes=1)
    return EventType(
        id=f"lesson-{number}", length=minute, all_of=[f"hall-{number}"], seats=SEATS,
        after=timedelta(seconds=5),
    )  # fmt: skip


def _talk(number: int, hosts: list[str]) -> EventType:
    minute = timedelta(minutes=1)
    limit = Limit(Period.DAY, count=2 * HOSTS)
    return EventType(id=f"talk-{number}", length=minute, any_of=[hosts], limits=[limit])
