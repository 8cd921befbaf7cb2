"""The index of spans at the remote, against a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.sync.remote_span import RemoteSpan, SpanIndex
from slotengine.core.time.instant import DAY

# Few days and few spans, so that they overlap.
spans = st.builds(
    lambda remote_id, start, length: RemoteSpan(remote_id, start, start + length),
    st.integers(1, 2),
    st.integers(DAY - 4, DAY + 4),
    st.sampled_from([1, 3, DAY]),
)


@given(st.lists(spans, max_size=6), st.data())
def test_the_index_answers_as_a_list_would(
    all_spans: list[RemoteSpan], data: st.DataObject
) -> None:
    index: SpanIndex[int] = SpanIndex()
    there = dict(enumerate(all_spans))
    for owner, span in there.items():
        index.add(span, owner)
    leaving = data.draw(st.sets(st.integers(0, 5)))
    for owner in leaving & there.keys():
        index.remove(there.pop(owner), owner)
    desired = data.draw(spans)
    assert set(index.overlapping(desired)) == {w for w, p in there.items() if p.overlaps(desired)}
    assert (len(index) == 0) == (not there)
