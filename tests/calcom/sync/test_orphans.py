"""Orphaned holds: in the way until they have ended."""

from __future__ import annotations

from slotengine.calcom.sync.orphans import Orphan, Orphans
from slotengine.calcom.sync.remote_span import RemoteSpan


def test_orphans_are_in_the_way_until_they_end() -> None:
    orphans = Orphans()
    orphans.add(Orphan(RemoteSpan(1, 0, 30), until=100))
    orphans.add(Orphan(RemoteSpan(1, 20, 50), until=200))
    assert orphans.until(RemoteSpan(1, 25, 26), now=0) == 200
    assert orphans.until(RemoteSpan(1, 0, 10), now=0) == 100
    assert orphans.until(RemoteSpan(1, 50, 80), now=0) is None
    assert orphans.until(RemoteSpan(2, 0, 30), now=0) is None
    assert [one.until for one in orphans.live(100)] == [200]
    assert orphans.live(200) == ()
