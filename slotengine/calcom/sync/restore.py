"""Taking up what has survived a restart, and saying what is to be kept for the next.

What was kept of a reservation is believed, except that a request that was under
way may have been done.  Of what was not kept nothing is known: the remote may
have a hold for it, whose uid is lost, and which is waited for.
"""

from __future__ import annotations

from slotengine.calcom.sync.index import Links
from slotengine.calcom.sync.remote_state import PRESENT, Belief, Ghost, Place
from slotengine.calcom.sync.requests import SLACK
from slotengine.calcom.sync.tracked_hold import Link, is_live, place_of
from slotengine.calcom.sync.values import Saved, SavedGhost, SavedLink, Synced
from slotengine.core.instant import MINUTE, duration_us, to_us
from slotengine.core.reservation import State
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation


class Resuming:
    """Fills the links of a sync that begins, and empties them into what is kept."""

    def __init__(self, engine: SlotEngine, links: Links, synced: dict[str, Synced]) -> None:
        self._engine = engine
        self._links = links
        self._synced = synced

    def resume(self, saved: Saved) -> None:
        """Take up what was kept, and whatever else is live here."""
        for ghost in saved.ghosts:
            place = Place(ghost.remote_id, ghost.start, ghost.end)
            self._links.ghosts.add(Ghost(place, ghost.until))
        by_remote = {one.remote_id: one for one in self._synced.values()}
        for kept in saved.links:
            synced = by_remote.get(kept.remote_id)
            if synced is not None and not kept.over:
                self._resume_link(kept, synced)
        for reservation in self._links.survivors():
            if reservation.uid not in self._links.by_uid:
                synced = self._synced[reservation.event_type or ""]
                self._doubt(self._links.track(reservation, synced), reservation)
        for link in self._links.by_uid.values():
            link.promised = True

    def saved(self) -> Saved:
        """Return what is to be kept."""
        return Saved(
            tuple(link.saved() for link in self._links.by_uid.values()),
            tuple(SavedGhost(*one.place, one.until) for one in self._links.ghosts.live(0)),
        )

    def _resume_link(self, kept: SavedLink, synced: Synced) -> None:
        link = Link(kept.uid, synced, booked=kept.booked)
        sight, belief = link.sight, Belief(kept.belief)
        reservation = self._engine.get_nowait(kept.uid)
        if kept.remote_uid is not None and belief in PRESENT:
            # Whatever was under way may have been done.
            sight.belief = {
                Belief.MOVING: Belief.ASTRAY, Belief.LEAVING: Belief.PARTING
            }.get(belief, belief)  # fmt: skip
            sight.place = Place(kept.remote_id, kept.start, kept.end)
            self._links.lasts(link, kept.covered_until, kept.gone_after)
            link.remote_uid = kept.remote_uid
        elif belief in {Belief.SENDING, Belief.UNKNOWN}:
            sight.patient = True
            bound = self._links.now() + synced.longest_us + SLACK
            self._links.haunt(Ghost(Place(kept.remote_id, kept.start, kept.end), bound))
        if not is_live(reservation) and link.remote_uid is None:
            return
        self._links.adopt(link)

    def _doubt(self, link: Link, reservation: Reservation) -> None:
        """Reckon with a hold at the remote that is ours, and whose uid nobody has kept."""
        link.sight.patient = True
        synced = link.synced
        bound = self._links.now() + synced.longest_us
        if synced.timed and reservation.state is State.HELD and reservation.until is not None:
            headroom = duration_us(synced.headroom, "headroom")
            bound = min(bound, to_us(reservation.until) + headroom + MINUTE)
        self._links.haunt(Ghost(place_of(reservation, synced), bound + SLACK))
