"""What is believed of a hold at the remote, and what may become of that belief.

One table, `NEXT`, holds every transition::

    UNSENT ──post──▶ SENDING ──accepted──▶ HELD ──patch──▶ MOVING ──lost──▶ ASTRAY
      ▲                 │ │ └──refused──▶ REFUSED  │
      │                 │ └──lost, contested──▶ UNKNOWN
      └──not done───────┘                          └─delete─▶ LEAVING ──lost──▶ PARTING

The state is changed *before* a request is sent, so that whoever is interrupted
in the middle of one leaves the truth behind: that something may have happened.

Of a POST without an answer nobody knows the uid, if it was done.  What it may
have left is a *ghost*: a hold that nobody can release, and that is over when
its time is.  Ghosts outlive the link that made them, and so are kept apart.

Pure.  Times are UTC microseconds of our own clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from slotengine.calcom.sync.clock_skew import Drift, Stand
from slotengine.core.instant import DAY


class Belief(Enum):
    """What is believed of one reservation's hold at the remote."""

    UNSENT = "unsent"
    """Nothing of it is there, but perhaps a ghost."""
    SENDING = "sending"
    """A POST is under way."""
    UNKNOWN = "unknown"
    """A POST may have been done; the uid is not known."""
    HELD = "held"
    """It is there, and we know its uid and until when."""
    MOVING = "moving"
    """A PATCH is under way."""
    ASTRAY = "astray"
    """It is where it was or where it was to go; a GET can tell."""
    LEAVING = "leaving"
    """A DELETE is under way."""
    PARTING = "parting"
    """A DELETE may have been done; another does no harm."""
    REFUSED = "refused"
    """The remote said no: somebody else has the time."""


class News(Enum):
    """What changes a belief: a request that is about to be sent, or what came of it."""

    POST = "post"
    PATCH = "patch"
    DELETE = "delete"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CONTESTED = "contested"
    """Refused, perhaps because of a ghost of our own."""
    LOST = "lost"
    """No answer: it may have been done."""
    NOT_DONE = "not done"
    """Certainly not."""
    FOUND = "found"
    """A GET has shown where it is."""
    MISSING = "missing"
    """A GET, or a 404, has shown that it is not there."""
    LAPSED = "lapsed"
    """Its time at the remote, or that of what may be there, is over."""


NEXT: Final[dict[Belief, dict[News, Belief]]] = {
    Belief.UNSENT: {News.POST: Belief.SENDING},
    Belief.SENDING: {
        News.ACCEPTED: Belief.HELD,
        News.REFUSED: Belief.REFUSED,
        News.CONTESTED: Belief.UNKNOWN,
        News.LOST: Belief.UNKNOWN,
        News.NOT_DONE: Belief.UNSENT,
    },
    Belief.UNKNOWN: {News.POST: Belief.SENDING},
    Belief.HELD: {
        News.PATCH: Belief.MOVING,
        News.DELETE: Belief.LEAVING,
        News.FOUND: Belief.HELD,
        News.MISSING: Belief.UNSENT,
        News.LAPSED: Belief.UNSENT,
    },
    Belief.MOVING: {
        News.ACCEPTED: Belief.HELD,
        News.REFUSED: Belief.HELD,
        News.NOT_DONE: Belief.HELD,
        News.MISSING: Belief.UNSENT,
        News.LOST: Belief.ASTRAY,
    },
    Belief.ASTRAY: {
        News.DELETE: Belief.PARTING,
        News.FOUND: Belief.HELD,
        News.MISSING: Belief.UNSENT,
        News.LAPSED: Belief.UNSENT,
    },
    Belief.LEAVING: {
        News.ACCEPTED: Belief.UNSENT,
        News.NOT_DONE: Belief.HELD,
        News.LOST: Belief.PARTING,
    },
    Belief.PARTING: {
        News.DELETE: Belief.PARTING,
        News.ACCEPTED: Belief.UNSENT,
        News.NOT_DONE: Belief.PARTING,
        News.LOST: Belief.PARTING,
        News.LAPSED: Belief.UNSENT,
    },
    Belief.REFUSED: {News.POST: Belief.SENDING},
}
"""Every transition.  A pair that is not here cannot happen."""

UNDER_WAY: Final = frozenset({Belief.SENDING, Belief.MOVING, Belief.LEAVING})
"""Where a request was sent and has no answer yet."""

PRESENT: Final = frozenset(
    {Belief.HELD, Belief.MOVING, Belief.ASTRAY, Belief.LEAVING, Belief.PARTING}
)
"""Where the remote has, or may have, a hold whose uid we know."""


def after(belief: Belief, news: News) -> Belief:
    """Return what is believed next.

    >>> after(Belief.SENDING, News.LOST)
    <Belief.UNKNOWN: 'unknown'>
    """
    assert news in NEXT[belief], (belief, news)
    return NEXT[belief][news]


# --- Places ----------------------------------------------------------------------------


class Place(NamedTuple):
    """What a hold at the remote is for."""

    remote_id: int
    """Of the remote's event type."""
    start: int
    end: int

    def overlaps(self, other: Place) -> bool:
        """Tell whether the remote finds one in the way of the other.

        >>> Place(1, 0, 30).overlaps(Place(1, 20, 50)), Place(1, 0, 30).overlaps(Place(1, 30, 60))
        (True, False)
        """
        return (
            self.remote_id == other.remote_id and self.start < other.end and other.start < self.end
        )


T = TypeVar("T")


class Places(Generic[T]):
    """Who is where: finds those whose place overlaps another, by the days that it touches.

    >>> places: Places[str] = Places()
    >>> places.add(Place(1, 0, 30), "ann")
    >>> list(places.overlapping(Place(1, 20, 50))), list(places.overlapping(Place(2, 20, 50)))
    (['ann'], [])
    """

    def __init__(self) -> None:
        self._days: dict[tuple[int, int], list[tuple[Place, T]]] = {}

    def add(self, place: Place, who: T) -> None:
        """Put somebody there.  O(1)."""
        for day in _days(place):
            self._days.setdefault(day, []).append((place, who))

    def remove(self, place: Place, who: T) -> None:
        """Take somebody away who is there.  O(k) for k on that day."""
        for day in _days(place):
            there = self._days[day]
            there.remove((place, who))
            if not there:
                del self._days[day]

    def overlapping(self, place: Place) -> Iterator[T]:
        """Yield who is in the way, once for each of their days.  O(k) for k on those days."""
        for day in _days(place):
            for other, who in self._days.get(day, ()):
                if other.overlaps(place):
                    yield who

    def __len__(self) -> int:
        return sum(len(there) for there in self._days.values())


def _days(place: Place) -> Iterator[tuple[int, int]]:
    for day in range(place.start // DAY, (place.end - 1) // DAY + 1):
        yield place.remote_id, day


# --- Ghosts ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ghost:
    """What a POST without an answer may have left at the remote, until then at the latest."""

    place: Place
    until: int


class Ghosts:
    """All that may be there of ours without our knowing a uid.

    >>> ghosts = Ghosts()
    >>> ghosts.add(Ghost(Place(1, 0, 30), until=100))
    >>> ghosts.until(Place(1, 20, 50), now=99), ghosts.until(Place(1, 20, 50), now=100)
    (100, None)
    """

    def __init__(self) -> None:
        self._all: list[tuple[Ghost, Ghost, Stand]] = []  # as it is now, and was at first

    def add(self, ghost: Ghost, stand: Stand = (None, None)) -> None:
        """Keep in mind what may be there, and how its clock stood when that was reckoned.  O(1)."""
        self._all.append((ghost, ghost, stand))

    def until(self, place: Place, now: int) -> int | None:
        """Return when the last that may be in the way is over; None if there is none.

        O(n) for n ghosts, which are few: lost answers of the last minutes.
        """
        self._forget(now)
        return max((g.until for g, *_ in self._all if g.place.overlaps(place)), default=None)

    def live(self, now: int) -> tuple[Ghost, ...]:
        """Return all that may still be there."""
        self._forget(now)
        return tuple(ghost for ghost, *_ in self._all)

    def clock_was_set(self, drift: Drift) -> list[Ghost]:
        """Return those that last longer now that the remote's clock was set; none lasts shorter."""
        longer = []
        for index, (ghost, first, stand) in enumerate(self._all):
            until = first.until - drift.set_since(stand).least
            if until > ghost.until:
                longer.append(replace(ghost, until=until))
                self._all[index] = longer[-1], first, stand
        return longer

    def _forget(self, now: int) -> None:
        if self._all:
            self._all = [entry for entry in self._all if entry[0].until > now]
