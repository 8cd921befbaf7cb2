"""The steps of a history: plain values, each of which makes sense whatever else is left out.

So a history can be cut short, step by step, and what is left is a history.
That is why a step names no uid and no moment of expiry: it says "the latest of
client 3", and "a tick before that one lapses", and finds out when it is played.

A tick is a minute, and the clock begins at 0: few instants, so that spans touch,
nest and repeat, and things happen at the very moment at which others end.  The
clock is sometimes some seconds on, and where it jumps to such a moment, it may be
a microsecond off.  What there is
to be had lies some ticks ahead, so that it matters by when it has to be booked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.event_type import EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import MINUTE, to_us
from slotengine.core.time.schedule import FixedWindows, Windows
from slotengine.testing.operations import Operation, Scale

# --- Time ------------------------------------------------------------------------------------

TICK: Final = MINUTE
MONDAY: Final = 32
"""The tick at which a week begins in Kathmandu, in the middle of what can be booked."""
ORIGIN: Final = to_us(datetime(2030, 1, 6, 18, 15, tzinfo=UTC)) - MONDAY * TICK
"""The moment of tick 0."""
SCALE: Final = Scale(ORIGIN, TICK)
FIRST: Final = 25
LAST: Final = 39
"""Slots lie between these ticks.  The clock goes beyond: that one is over frees nobody from it."""


def at(tick: int) -> int:
    """Return the moment of a tick.

    >>> at(3) - at(0) == 3 * TICK
    True
    """
    return ORIGIN + tick * TICK


# --- What there is -----------------------------------------------------------------------------

TERMS: Final = Terms(
    default_ttl=8 * TICK,
    shortest_ttl=TICK,
    longest_ttl=20 * TICK,
    max_life=25 * TICK,
    retention=15 * TICK,
    longest_span=20 * TICK,
    max_holds=3,
    max_held=6 * TICK,
    max_lapses=2,
    cool_down=6 * TICK,
)
FREE_TERMS: Final = replace(TERMS, max_holds=None, max_held=None, max_lapses=None)
"""The same, without quotas: then the usual case is decided on a way of its own."""
MOST_WAITING: Final = 4
"""So many may wait at once."""
RESOURCES: Final[dict[str, tuple[int, Windows | None]]] = {
    "room": (1, None),
    "annex": (1, None),
    "desk": (1, FixedWindows([(at(25), at(31)), (at(32), at(39))])),
    "hall": (3, None),
}
"""What there is: capacity and hours of each."""


def _minutes(ticks: int) -> timedelta:
    return timedelta(0, 0, ticks * TICK)


EVENT_TYPES: Final = {
    one.id: one
    for one in (
        EventType(
            id="talk",
            length=_minutes(2),
            any_of=[["room", Host("annex", weight=2), "desk"]],
            interval=_minutes(1),
            after=_minutes(1),
            notice=_minutes(3),
            limits=[Limit(Period.DAY, count=2)],
            zone="Asia/Kathmandu",
        ),
        EventType(
            id="course",
            length=_minutes(3),
            all_of=[Host("hall", units=2)],
            any_of=[["annex", "room"]],
            limits=[Limit(Period.WEEK, time=_minutes(6))],
            seats=3,
            zone="Asia/Kathmandu",
        ),
        EventType(
            id="visit",
            length=_minutes(2),
            lengths=[_minutes(2), _minutes(4), _minutes(7)],
            all_of=[Host("desk", schedule=FixedWindows([(at(27), at(39))]))],
            before=_minutes(1),
            window=RollingDays(0),
            limits=[Limit(Period.MONTH, time=_minutes(6))],  # the longest is too long for any
            zone="Asia/Dhaka",  # where a day begins at tick 17, and what follows can be booked
        ),
        EventType(
            id="call",
            length=_minutes(2),
            all_of=[Host("annex", schedule=FixedWindows([(at(27), at(30)), (at(33), at(37))]))],
            notice=_minutes(2),
            zone="Asia/Kathmandu",
        ),
    )
}
"""What can be booked by rules: of one out of several, shared, in three lengths, and all alone."""

# --- What happens ------------------------------------------------------------------------------


class How(Enum):
    """What becomes of a call."""

    ASYNC = "async"
    """Awaited, and its answer believed."""
    AT_ONCE = "at once"
    """The ``_nowait`` verb, before any other task can run."""
    OUT_OF_TURN = "out of turn"
    """The ``_nowait`` verb, before those who wait."""
    LOST = "reply lost"
    """Done, but the client never hears of it."""
    PARKED = "parked"
    """Gives way to others for some steps, before it is done, or is cancelled there."""


class Call(NamedTuple):
    """A client calls a verb; if that is about a reservation, its ``nth`` from the latest."""

    client: int
    operation: Operation
    nth: int = 0
    how: How = How.ASYNC

    def __str__(self) -> str:
        about = "" if self.operation.proposals and self.operation.verb.startswith("res") else "its "
        which = "" if not about else ("latest: " if not self.nth else f"latest but {self.nth}: ")
        how = "" if self.how is How.ASYNC else f" ({self.how.value})"
        return f"client {self.client}: {about}{which}{self.operation.text(SCALE)}{how}"


class Look(NamedTuple):
    """A client looks at the slots that are offered, and takes the ``nth``, if there are any.

    It looks at a range, or for the ``most`` that come next from its start on.  If
    it ``moves``, it looks through its latest reservation, and moves that there.
    """

    client: int
    event_type: str
    start: int
    end: int
    length: int | None = None
    seats: int = 1
    most: int | None = None
    nth: int = 0
    moves: bool = False
    only: frozenset[str] | None = None

    def __str__(self) -> str:
        who = "" if self.only is None else f" with {' or '.join(sorted(self.only))}"
        what = "slots" if self.most is None else f"the next {self.most}"
        length = "" if self.length is None else f" of {SCALE.lasts(self.length)}"
        then = "moves its latest to" if self.moves else "takes"
        return (
            f"client {self.client}: looks at {what} of {self.event_type}{who}{length}"
            f" for {self.seats}, {SCALE.span(self.start, self.end)}, and {then} number {self.nth}"
        )


class GiveUp(NamedTuple):
    """The ``nth`` from the latest who waits is cancelled: at once, or as soon as it is served."""

    nth: int = 0
    when_served: bool = False

    def __str__(self) -> str:
        when = ", once it is served" if self.when_served else ""
        return f"the latest but {self.nth} who waits is cancelled{when}"


class Resume(NamedTuple):
    """The oldest call that is parked goes on, or is cancelled where it stands."""

    cancel: bool = False

    def __str__(self) -> str:
        return "what is parked is cancelled" if self.cancel else "what is parked goes on"


class Jump(NamedTuple):
    """The clock jumps so many whole ticks forward or back, and some microseconds beyond."""

    by: int
    odd: int = 0

    def __str__(self) -> str:
        return f"clock {self.by:+}" + (f" and {self.odd}us" if self.odd else "")


class JumpTo(NamedTuple):
    """The clock jumps to when a client's nth reservation lapses, or did, or near that moment."""

    client: int
    nth: int = 0
    off: int = 0

    def __str__(self) -> str:
        ticks = f", {SCALE.lasts(self.off)} later" if self.off > TICK // 2 else ""
        off = ticks or (f", {self.off:+}us" if self.off else "")
        return f"clock to where client {self.client}'s latest but {self.nth} lapses{off}"


class JumpToEnd(NamedTuple):
    """The clock jumps to when the nth from the latest has no more patience, or nearly so."""

    nth: int = 0
    off: int = 0

    def __str__(self) -> str:
        off = f", {self.off:+}us" if self.off else ""
        return f"clock to where the latest but {self.nth} who waits has no more patience{off}"


class Stall(NamedTuple):
    """The sweeper gets no turn any more, or gets them again."""

    on: bool = True

    def __str__(self) -> str:
        return "sweeper stalls" if self.on else "sweeper goes on"


class Deafen(NamedTuple):
    """A subscriber stops to read, or goes on."""

    subscriber: int
    on: bool = True

    def __str__(self) -> str:
        return f"subscriber {self.subscriber} {'stalls' if self.on else 'goes on'}"


class Import(NamedTuple):
    """A source says when resources are busy, and nothing it said before holds."""

    source: str
    spans: tuple[tuple[str, int, int], ...]

    def __str__(self) -> str:
        said = ", ".join(f"{name} {SCALE.span(*span)}" for name, *span in self.spans)
        return f"{self.source} says busy: {said or 'nothing'}"


class Crash(NamedTuple):
    """The engine dies and starts anew; so many records that nobody was told of are lost.

    The next one has no ``quotas``; or its calls do not ``tidy``, and its sweeper stalls
    from the start, so that they come upon holds that have lapsed and still stand there.
    """

    lost: int = 0
    quotas: bool = True
    tidy: bool = True

    def __str__(self) -> str:
        quotas = "" if self.quotas else ", then without quotas"
        tidy = "" if self.tidy else ", then nothing is tidied"
        return f"crash, {self.lost} records lost{quotas}{tidy}"


Step = Call | Look | GiveUp | Resume | Jump | JumpTo | JumpToEnd | Stall | Deafen | Import | Crash
