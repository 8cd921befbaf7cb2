"""Comparing both sides in full, and mending what differs."""

from __future__ import annotations

from slotengine.calcom.sync.inbound import Inbound
from slotengine.calcom.sync.index import Links
from slotengine.calcom.sync.outbound import Outbound
from slotengine.calcom.sync.remote_state import PRESENT, Belief
from slotengine.calcom.sync.requests import Requests
from slotengine.calcom.sync.tracked_hold import Link, is_live
from slotengine.calcom.sync.values import Difference, Finding, Report, Synced
from slotengine.core.instant import SECOND, from_us, to_us
from slotengine.engine.engine import SlotEngine
from slotengine.engine.values import Reservation

_TOLERANCE = SECOND
"""So much earlier than believed a hold may end at the remote without being worth a word."""


class Mending:
    """Looks at everything, where the rest looks at what has changed."""

    def __init__(
        self,
        engine: SlotEngine,
        links: Links,
        requests: Requests,
        outbound: Outbound,
        inbound: Inbound,
        synced: dict[str, Synced],
    ) -> None:
        self._engine = engine
        self._links = links
        self._ask = requests
        self._out = outbound
        self._in = inbound
        self._synced = synced

    def adopt(self, reservation: Reservation) -> Link | None:
        """Follow what was made or moved here without us; None if it is not to be followed."""
        synced = self._synced.get(reservation.event_type or "")
        current = self._engine.get_nowait(reservation.uid)
        if synced is None or not is_live(current):
            return None
        link = self._links.track(reservation, synced)
        link.promised = True
        self._out.enqueue(link)
        return link

    def look_at_all(self) -> list[Link]:
        """Follow whatever may have changed; return what was not followed before."""
        for link in list(self._links.by_uid.values()):
            self._out.enqueue(link)
        adopted = [
            self.adopt(one) for one in self._links.survivors() if one.uid not in self._links.by_uid
        ]
        return [link for link in adopted if link is not None]

    async def reconcile(self) -> Report:
        """Compare, mend, and report."""
        new = {link.uid for link in self.look_at_all()}
        found: list[Finding] = []
        links = list(self._links.by_uid.values())
        for link in links:
            finding = await self._out.own(self._compare(link, is_new=link.uid in new))
            if finding is not None:
                found.append(finding)
        for ghost in self._links.ghosts.live(self._out.now()):
            _, start, end = ghost.place
            span = from_us(start), from_us(end)
            found.append(Finding(Difference.GHOST, None, *span, False, from_us(ghost.until)))
        await self._in.poll_all()
        return Report(from_us(self._out.now()), len(links), tuple(found))

    async def _compare(self, link: Link, *, is_new: bool) -> Finding | None:
        await self._out.settle(link)  # what is merely late is no difference
        if link.over and not is_new:
            return None
        async with link.lock:
            difference = await self._difference(link)
        if is_new:
            difference = Difference.NOT_FOLLOWED
        if difference is None:
            return None
        self._out.ask_again(link)
        await self._out.settle(link)
        wanted = self._links.wanted(link)
        sight = link.sight
        if wanted is None:
            mended = sight.belief not in PRESENT
        else:
            mended = link.held_at(wanted.place) and self._out.now() < sight.covered_until
        place = wanted.place if wanted is not None else sight.place or link.target
        if place is None:
            return None
        until = from_us(sight.gone_after) if sight.belief in PRESENT else None
        return Finding(
            difference, link.uid, from_us(place.start), from_us(place.end), mended, until
        )

    async def _difference(self, link: Link) -> Difference | None:
        """Return how the sides differ about a link, and believe what the remote says of it."""
        sight, wanted = link.sight, self._links.wanted(link)
        if link.remote_uid is None or sight.belief not in {Belief.HELD, Belief.ASTRAY}:
            if wanted is None:
                return Difference.NOT_WANTED if sight.belief in PRESENT else None
            return Difference.MISSING_THERE
        believed, covered = sight.place, sight.covered_until
        found = await self._ask.look_up(link)
        if found is None:
            if sight.belief in PRESENT:
                return Difference.UNKNOWN
            return None if wanted is None else Difference.MISSING_THERE
        drift = self._ask.drift
        ends = to_us(found.until) - drift.ahead
        if drift.measured and ends + drift.error + _TOLERANCE < covered:
            self._links.lasts(link, ends, sight.gone_after)
            return Difference.ENDS_EARLIER
        if wanted is None:
            return Difference.NOT_WANTED
        return None if sight.place == believed == wanted.place else Difference.ELSEWHERE
