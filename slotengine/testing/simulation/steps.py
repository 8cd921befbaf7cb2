"""The steps of a history, as plain values: each makes sense without the others.

So any step can be left out, and the rest is still a history.  That is why a step
names no uid and no moment of expiry.  It says "the latest of client 3" or "a tick
before that one expires", which is resolved when it is played.

A tick is a minute, and the clock begins at tick 0.  There are few instants, so
that spans touch, nest and repeat, and things happen at the moment at which others
end.  Sometimes the clock stands some seconds past a tick, or a microsecond beside
such a moment.  What can be reserved lies some ticks ahead, so that notice and
booking windows matter.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from slotengine.core.ledger.commands import ImportBusy
from slotengine.core.ledger.config import Kind, Put, ResourceConfig
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.event_type import EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import MINUTE, to_us
from slotengine.core.time.schedule import FixedWindows, Windows
from slotengine.core.time.schedule_text import schedule_text
from slotengine.testing.internal.action_text import Scale, text
from slotengine.testing.internal.actions import AboutOne, Action

# --- Time ------------------------------------------------------------------------------------

TICK: Final = MINUTE
MONDAY: Final = 32
"""The tick at which a week begins in Kathmandu, in the middle of the bookable time."""
ORIGIN: Final = to_us(datetime(2030, 1, 6, 18, 15, tzinfo=UTC)) - MONDAY * TICK
"""The instant of tick 0."""
SCALE: Final = Scale(ORIGIN, TICK)
FIRST: Final = 25
LAST: Final = 39
"""Slots lie between these ticks.  The clock goes on past them."""


def at(tick: int) -> int:
    """Return the instant of a tick.

    >>> at(3) - at(0) == 3 * TICK
    True
    """
    return ORIGIN + tick * TICK


# --- Resources and event types -----------------------------------------------------------

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
TERMS_WITHOUT_QUOTAS: Final = replace(
    TERMS, max_life=None, max_holds=None, max_held=None, max_lapses=None
)
"""The same without quotas, as the ledger then decides the usual case by a shortcut.

Nor is there a longest life, so holds need not lapse at all."""
MOST_WAITING: Final = 4
"""The most calls that may wait at once."""
RESOURCES: Final[dict[str, tuple[int, Windows | None]]] = {
    "room": (1, None),
    "annex": (1, None),
    "desk": (1, FixedWindows([(at(25), at(31)), (at(32), at(39))])),
    "hall": (3, None),
}
"""Capacity and opening hours of each resource."""


def usual_config(name: str) -> ResourceConfig:
    """Return the configuration that a resource has at first."""
    capacity, hours = RESOURCES[name]
    return ResourceConfig(capacity, None if hours is None else schedule_text(hours))


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
            limits=[Limit(Period.MONTH, time=_minutes(6))],  # the longest length exceeds it
            zone="Asia/Dhaka",  # where a bookable day begins at tick 17
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
"""Event types: one host of a group, a shared session, three lengths, and a single host."""


def _with_hosts(id: str, *group: str | Host) -> EventType:
    return replace(EVENT_TYPES[id], any_of=[group])


VARIANTS: Final = {
    "talk": (
        _with_hosts("talk", "room", Host("annex", weight=2)),
        _with_hosts("talk", "room", "desk"),
        _with_hosts("talk", "room", Host("annex", weight=2), "desk", "hall"),
        _with_hosts("talk", Host("hall", credit=1), "annex", "desk"),
        replace(EVENT_TYPES["talk"], limits=[Limit(Period.DAY, count=3)]),
        replace(EVENT_TYPES["talk"], limits=[Limit(Period.DAY, count=1)]),
    ),
    "course": (_with_hosts("course", "room"), _with_hosts("course", "annex", "room", "desk")),
    "visit": (replace(EVENT_TYPES["visit"], notice=_minutes(4)),),
    "call": (replace(EVENT_TYPES["call"], notice=_minutes(5)),),
}
"""How event types are for a while: with hosts who join or leave, or with other rules."""

USUAL: Final[dict[str, Put]] = {
    **{name: Put(Kind.RESOURCE, name, usual_config(name)) for name in RESOURCES},
    **{name: Put(Kind.EVENT_TYPE, name, event_type) for name, event_type in EVENT_TYPES.items()},
}
"""What lets each resource and each event type be again as it was at first."""


# --- Steps ------------------------------------------------------------------------------


class CallMode(Enum):
    """How a call is made, and what becomes of its answer."""

    ASYNC = "async"
    """The async verb; the client learns the answer."""
    AT_ONCE = "at once"
    """The verb of the `LocalEngine`, before any other task runs."""
    LOST = "reply lost"
    """Carried out, but the client never gets the answer."""
    PARKED = "parked"
    """Kept where it gives way to others, for some steps; then carried out, or cancelled."""


class Shorten(NamedTuple):
    """Move it to where it is, but shorter, if it can be."""

    uid: str = ""


class Prolong(NamedTuple):
    """Extend it to the end of the life that it may have, ``off`` by microseconds.

    With ``moving``, by a move to where it is, which renews it.
    """

    uid: str = ""
    off: int = 0
    moving: bool = False


class ForgetUpTo(NamedTuple):
    """Have all bookings forgotten that are over by its end, ``off`` by microseconds."""

    uid: str = ""
    off: int = 0


Fitted: TypeAlias = Shorten | Prolong | ForgetUpTo
"""What fits a reservation as it is: an action is made of it when it is played."""


class Call(NamedTuple):
    """A client calls an engine.

    If the action is about a reservation, it names no uid: it is about the client's ``nth``
    from the latest.
    """

    client: int
    action: Action | Fitted
    nth: int = 0
    mode: CallMode = CallMode.ASYNC
    numbered: bool = False
    """Whether it has a command id, under which `Repeat` can repeat it."""

    def __str__(self) -> str:
        which = ""
        if is_about_one(self.action):
            which = f"its latest but {self.nth}: " if self.nth else "its latest: "
        mode = "" if self.mode is CallMode.ASYNC else f" ({self.mode.value})"
        number = ", numbered" if self.numbered else ""
        return f"client {self.client}: {which}{words(self.action)}{number}{mode}"


class Repeat(NamedTuple):
    """A client repeats a numbered call, its ``nth`` from the latest, under the same id."""

    client: int
    nth: int = 0
    mode: CallMode = CallMode.ASYNC

    def __str__(self) -> str:
        mode = "" if self.mode is CallMode.ASYNC else f" ({self.mode.value})"
        return f"client {self.client}: repeats its latest numbered call but {self.nth}{mode}"


def is_about_one(action: Action | Fitted) -> bool:
    """Return whether an action is about a reservation that is there."""
    return isinstance(action, AboutOne | Fitted)


def words(action: Action | Fitted) -> str:
    """Return an action in words."""
    match action:
        case Shorten():
            return "shorten"
        case Prolong(off=off, moving=moving):
            how = "move and renew" if moving else "extend"
            return f"{how} to the end of its life" + (f", {off:+}us" if off else "")
        case ForgetUpTo(off=off):
            return "forget bookings up to its end" + (f", {off:+}us" if off else "")
        case _:
            return text(action, SCALE)


class Probe(NamedTuple):
    """A client lists the offered slots, and takes the ``nth``, if there are any.

    It lists a range, or the next ``most`` slots from its start on.  If it ``moves``,
    its latest reservation is ignored in the search, and then moved to the slot.
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
    """The ``nth`` waiting call from the latest is cancelled: now, or when it is served."""

    nth: int = 0
    when_served: bool = False

    def __str__(self) -> str:
        when = ", once it is served" if self.when_served else ""
        return f"the latest but {self.nth} who waits is cancelled{when}"


class Resume(NamedTuple):
    """The oldest parked call goes on, or is cancelled."""

    cancel: bool = False

    def __str__(self) -> str:
        return "what is parked is cancelled" if self.cancel else "what is parked goes on"


class Jump(NamedTuple):
    """The clock jumps by whole ticks, forward or back, plus ``odd`` microseconds."""

    by: int
    odd: int = 0

    def __str__(self) -> str:
        return f"clock {self.by:+}" + (f" and {self.odd}us" if self.odd else "")


class JumpTo(NamedTuple):
    """The clock jumps to where a client's ``nth`` ends, ``off`` by microseconds.

    That is the expiry of a hold; and of a booking the end of all that it takes.
    """

    client: int
    nth: int = 0
    off: int = 0

    def __str__(self) -> str:
        ticks = f", {SCALE.lasts(self.off)} later" if self.off > TICK // 2 else ""
        off = ticks or (f", {self.off:+}us" if self.off else "")
        return f"clock to where client {self.client}'s latest but {self.nth} ends{off}"


class JumpToEnd(NamedTuple):
    """The clock jumps to the end of the ``nth`` wait from the latest, ``off`` by microseconds."""

    nth: int = 0
    off: int = 0

    def __str__(self) -> str:
        off = f", {self.off:+}us" if self.off else ""
        return f"clock to where the latest but {self.nth} who waits has no more patience{off}"


class JumpToExpiry(NamedTuple):
    """The clock jumps to the end of a client's session, ``off`` by microseconds."""

    client: int
    off: int = 0

    def __str__(self) -> str:
        off = f", {self.off:+}us" if self.off else ""
        return f"clock to where the session of client {self.client} ends{off}"


class StallSweeper(NamedTuple):
    """The sweeper gets no turns, or gets them again."""

    on: bool = True

    def __str__(self) -> str:
        return "sweeper stalls" if self.on else "sweeper goes on"


class StallSubscriber(NamedTuple):
    """A subscriber stops reading, or goes on."""

    subscriber: int
    on: bool = True

    def __str__(self) -> str:
        return f"subscriber {self.subscriber} {'stalls' if self.on else 'goes on'}"


class Import(NamedTuple):
    """A source imports busy spans, in place of all that it imported before."""

    command: ImportBusy

    def __str__(self) -> str:
        return text(self.command, SCALE)


class Crash(NamedTuple):
    """The engine crashes and restarts; up to ``lost`` unacknowledged steps are lost.

    The next engine may have no ``quotas``.  Without ``tidy``, its calls do no
    maintenance and its sweeper is stalled, so that calls find expired holds that
    are not yet marked.
    """

    lost: int = 0
    quotas: bool = True
    tidy: bool = True

    def __str__(self) -> str:
        quotas = "" if self.quotas else ", then without quotas"
        tidy = "" if self.tidy else ", then nothing is tidied"
        return f"crash, {self.lost} steps lost{quotas}{tidy}"


Step = (
    Call
    | Repeat
    | Probe
    | GiveUp
    | Resume
    | Jump
    | JumpTo
    | JumpToEnd
    | JumpToExpiry
    | StallSweeper
    | StallSubscriber
    | Import
    | Crash
)
