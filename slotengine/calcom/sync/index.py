"""All reservations that are followed, where the remote may have them, and what is wanted there.

Says what is; who does something about it is `outbound`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from slotengine.calcom.sync.clock_skew import Drift
from slotengine.calcom.sync.reconcile import Wanted
from slotengine.calcom.sync.remote_state import PRESENT, Ghost, Ghosts, News, Place, Places
from slotengine.calcom.sync.tracked_hold import Lasting, Link, is_live, place_of
from slotengine.calcom.sync.values import Confirm, Synced
from slotengine.core.instant import SECOND, to_us
from slotengine.core.reservation import State
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation

_TRACES_KEPT: Final = 60 * SECOND

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


class Links:
    """The links, by the uids of their reservations."""

    def __init__(
        self,
        engine: SlotEngine,
        synced: dict[str, Synced],
        *,
        keep: Callable[[Link], None],
        keep_ghost: Callable[[Ghost], None],
    ) -> None:
        self.by_uid: dict[str, Link] = {}
        self.ghosts = Ghosts()
        self.drift = Drift()
        self.blocked: set[Link] = set()
        """Those that wait until others have left their place at the remote."""
        self.unblock: Callable[[Link], None]
        """Called with those when any other has changed."""
        self.sooner: Callable[[Link], None]
        """Called with those that end sooner there than was believed."""
        self._engine = engine
        self._synced = synced
        self._keep = keep
        self._keep_ghost = keep_ghost
        self._present: Places[Link] = Places()
        self._traces: deque[tuple[Place, int]] = deque()

    def now(self) -> int:
        """Return the time by which the engine decides."""
        return to_us(self._engine.now())

    def track(self, reservation: Reservation, synced: Synced) -> Link:
        """Return the link of a reservation, a new one if need be."""
        link = self.by_uid.get(reservation.uid)
        if link is None:
            link = self.by_uid[reservation.uid] = Link(reservation.uid, synced)
        return link

    def adopt(self, link: Link) -> None:
        """Take on a link that was made elsewhere."""
        self.by_uid[link.uid] = link
        self._index(link)

    def forget(self, link: Link) -> None:
        """Follow a reservation no longer."""
        del self.by_uid[link.uid]
        link.over = True
        self._keep(link)

    def haunt(self, ghost: Ghost) -> None:
        """Reckon with what a lost request may have left."""
        self.ghosts.add(ghost, self.drift.stand)
        self._keep_ghost(ghost)

    def wanted(self, link: Link) -> Wanted | None:
        """Return what the remote should have for a link, by the engine's state of this moment."""
        reservation = self._engine.get_nowait(link.uid)
        if reservation is None or not is_live(reservation):
            return None
        synced = self._synced.get(reservation.event_type or "")
        if synced is None:  # moved to what the remote knows nothing of
            return None
        link.synced = synced
        place = place_of(reservation, synced)
        if link.booking.locked():  # whose uid the callback was given stays as it is
            return Wanted(place, 0, booked=reservation.state is State.CONFIRMED)
        if reservation.state is State.HELD:
            assert reservation.until is not None
            return Wanted(place, to_us(reservation.until))
        return self._wanted_booking(link, place)

    def _wanted_booking(self, link: Link, place: Place) -> Wanted | None:
        confirm = link.synced.confirm
        if confirm is Confirm.RELEASE or link.booked:
            return None
        if confirm is not Confirm.KEEP and not link.kept:
            return Wanted(place, place.end, booked=True, to_book=True)
        return Wanted(place, place.end, booked=True) if place.end > self.now() else None

    def now_booked(self, link: Link) -> None:
        """Note that the callback has booked it at the remote."""
        link.booked = True
        self._keep(link)

    def lasts(self, link: Link, covered_until: int, gone_after: int) -> None:
        """Note that its hold there lasts until then at least, and until then at most."""
        link.lasting = Lasting(covered_until, gone_after, self.drift.stand)
        link.sight.covered_until, link.sight.gone_after = covered_until, gone_after

    def clock_was_set(self) -> None:
        """Reckon with it that holds end sooner there, or later, than was believed.

        None lasts longer for certain, nor is it over sooner: it may have been
        another clock, and may be set back.  O(n) for n links.
        """
        for link in self.by_uid.values():
            if link.sight.belief in PRESENT:
                self._clock_was_set(link)
        for ghost in self.ghosts.clock_was_set(self.drift):
            self._keep_ghost(ghost)

    def _clock_was_set(self, link: Link) -> None:
        sight, (covered_until, gone_after, stand) = link.sight, link.lasting
        by = self.drift.set_since(stand)
        before = sight.covered_until, sight.gone_after
        sight.covered_until = min(sight.covered_until, covered_until - by.most)
        sight.gone_after = max(sight.gone_after, gone_after - by.least)
        if before != (sight.covered_until, sight.gone_after):
            self._keep(link)
            self.sooner(link)

    def learn(self, link: Link, news: News) -> None:
        """Believe news of a link; for who has its lock."""
        link.learn(news)
        # What was refused, or not even sent, has left no trace at the remote.
        self._index(link, traced=news not in {News.REFUSED, News.NOT_DONE})
        self._keep(link)

    def _index(self, link: Link, *, traced: bool = False) -> None:
        """Note where it is now, and wake those who were in its way."""
        places = link.places
        if places == link.indexed:
            return
        now = self.now()
        for place in link.indexed:
            self._present.remove(place, link)
            if traced and place not in places:
                self._traces.append((place, now))
        while self._traces and self._traces[0][1] < now - _TRACES_KEPT:
            self._traces.popleft()
        for place in places:
            self._present.add(place, link)
        link.indexed = places
        for blocked in tuple(self.blocked):
            self.unblock(blocked)

    def presences(self, since: int) -> Iterator[Place]:
        """Yield where the remote has had, or may have had, holds of ours since some moment."""
        for link in self.by_uid.values():
            yield from link.indexed
        for ghost in self.ghosts.live(since):
            yield ghost.place
        for place, gone_at in self._traces:
            if gone_at >= since:
                yield place

    def in_the_way(self, link: Link, wanted: Wanted | None) -> list[Link]:
        """Return the links that occupy the place at the remote, and are to leave it."""
        if wanted is None:
            return []
        found = []
        for other in self._present.overlapping(wanted.place):
            if other is not link and other not in found:
                theirs = self.wanted(other)
                if theirs is None or not theirs.place.overlaps(wanted.place):
                    found.append(other)
        return found

    def survivors(self) -> Iterator[Reservation]:
        """Yield the live reservations of the event types that are synced.  O(n) for n of them."""
        seen: set[str] = set()
        hosts = (host for one in self._synced.values() for host in one.event_type.hosts())
        for resource in {host.resource: None for host in hosts}:
            for found in self._engine.reservations_nowait(resource, _BEGINNING, _END):
                if found.uid not in seen and found.event_type in self._synced:
                    seen.add(found.uid)
                    yield found
