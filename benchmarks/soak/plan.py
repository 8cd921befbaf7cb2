"""The plan of a soak: its length, its rates, and what is booked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slotengine import EventType, Limit, Period, SlotEngine, SystemClock

QUARTERS: Final = 4
"""The time after warming up is divided into quarters; the last is compared with the first."""


@dataclass(frozen=True)
class Plan:
    """The plan of a soak.  Times are in seconds."""

    seconds: float = 1200.0
    rate: float = 1000.0
    """Calls due each second."""
    seed: int = 1
    row_s: float = 10.0
    """The time covered by one row of the results, and one point of the picture."""
    sample_s: float = 1.0
    audit_s: float = 20.0
    """The time from the end of one complete audit to the start of the next."""
    horizon_s: float = 150.0
    """How far ahead is booked; no booking lives much longer."""
    shortest_ttl_s: float = 1.0
    longest_ttl_s: float = 15.0
    retention_s: float = 20.0
    forget_s: float = 2.0
    """The time between two forgettings of past bookings."""
    patience_s: float = 2.0
    """The longest that a customer waits for a slot."""
    most_waiting: int = 200
    """The most customers who wait at once; further ones are turned away, and counted."""
    grace_s: float = 10.0
    """How long after its time something may still be there before it counts as left over."""

    @property
    def settled_s(self) -> float:
        """The time until as many reservations end and are forgotten as begin."""
        return self.horizon_s + self.longest_ttl_s + self.retention_s

    @property
    def settles(self) -> bool:
        """Whether the load is steady within the first half, so that growth is meaningful."""
        return self.settled_s <= self.seconds / 2

    @property
    def warm_up_s(self) -> float:
        """The time that is not judged: until the load is steady, or a quarter of a short run."""
        return min(self.settled_s, self.seconds / 4)

    @property
    def rooms(self) -> int:
        """As many as calls per second, so that the load on each does not depend on the rate."""
        return max(4, int(self.rate))

    @property
    def some(self) -> int:
        """The number of resources of each rarer kind."""
        return max(2, int(self.rate / 20))

    def quarter(self, second: float) -> int | None:
        """Return the quarter that a moment is in; None while warming up.

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
"""A short soak, to see that it works.  It says nothing about drift."""

UNITS: Final = 4
SEATS: Final = 8
HOT: Final = 10
"""Rooms that everybody wants at the same time."""
GREEDY: Final = 8
"""Holders who want more than their quota."""
HOSTS: Final = 4
"""The hosts of a talk, one of whom takes part."""


def engine(plan: Plan, clock: SystemClock) -> SlotEngine:
    """Return an engine with everything that can be booked, not yet started."""
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
