"""What may become of a belief: every pair of belief and news, places, and ghosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.sync.remote_state import (
    NEXT,
    PRESENT,
    UNDER_WAY,
    Belief,
    Ghost,
    Ghosts,
    News,
    Place,
    Places,
    after,
)
from slotengine.core.instant import DAY

PAIRS = [(belief, news) for belief in Belief for news in News]


@pytest.mark.parametrize(("belief", "news"), PAIRS, ids=lambda one: one.value)
def test_every_pair(belief: Belief, news: News) -> None:
    """Either the pair is in the table, or it is a bug."""
    if news not in NEXT[belief]:
        with pytest.raises(AssertionError):
            after(belief, news)
        return
    then = after(belief, news)
    if belief in UNDER_WAY and news is News.LOST:
        assert then in {Belief.UNKNOWN, Belief.ASTRAY, Belief.PARTING}  # never certain
    if news in {News.POST, News.PATCH, News.DELETE}:
        assert then in {*UNDER_WAY, Belief.PARTING}
    if news in {News.MISSING, News.LAPSED}:
        assert then is Belief.UNSENT
    if news is News.FOUND:
        assert then is Belief.HELD


def test_whatever_is_under_way_can_end_in_every_way() -> None:
    for belief in UNDER_WAY:
        assert {News.ACCEPTED, News.LOST, News.NOT_DONE} <= NEXT[belief].keys()


def test_a_hold_whose_uid_is_known_can_always_be_deleted_or_is_over() -> None:
    for belief in PRESENT - UNDER_WAY:
        assert {News.DELETE, News.LAPSED} <= NEXT[belief].keys()


def test_only_what_is_sent_can_make_a_uid_known() -> None:
    ways = {(b, n) for b, table in NEXT.items() for n, then in table.items() if then in PRESENT}
    assert {belief for belief, _ in ways} - PRESENT == {Belief.SENDING}


# Few days and few places, so that they meet.
places = st.builds(
    lambda remote_id, start, length: Place(remote_id, start, start + length),
    st.integers(1, 2),
    st.integers(DAY - 4, DAY + 4),
    st.sampled_from([1, 3, DAY]),
)


@given(st.lists(places, max_size=6), st.data())
def test_places_answer_as_a_list_would(all_places: list[Place], data: st.DataObject) -> None:
    index: Places[int] = Places()
    there = dict(enumerate(all_places))
    for who, place in there.items():
        index.add(place, who)
    leaving = data.draw(st.sets(st.integers(0, 5)))
    for who in leaving & there.keys():
        index.remove(there.pop(who), who)
    wanted = data.draw(places)
    assert set(index.overlapping(wanted)) == {w for w, p in there.items() if p.overlaps(wanted)}
    assert (len(index) == 0) == (not there)


def test_ghosts_are_there_until_their_time_is_over() -> None:
    ghosts = Ghosts()
    ghosts.add(Ghost(Place(1, 0, 30), until=100))
    ghosts.add(Ghost(Place(1, 20, 50), until=200))
    assert ghosts.until(Place(1, 25, 26), now=0) == 200
    assert ghosts.until(Place(1, 0, 10), now=0) == 100
    assert ghosts.until(Place(1, 50, 80), now=0) is None
    assert ghosts.until(Place(2, 0, 30), now=0) is None
    assert [one.until for one in ghosts.live(100)] == [200]
    assert ghosts.live(200) == ()
