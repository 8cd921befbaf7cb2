"""Whether only holds are in the way: a refusal tells it without its details, and the same."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slotengine.core.ledger.ledger import Ledger
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Limit, Period
from slotengine.core.time.instant import HOUR, MINUTE
from slotengine.errors import NoneFree, Refused, SlotTaken

TTL = 7 * MINUTE + 1


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def planned() -> tuple[Ledger, BookingService]:
    """Return some event types over resources of one unit and of several."""
    ledger = Ledger()
    for name, capacity in (("room", 1), ("hall", 2), ("host-1", 1), ("host-2", 1)):
        ledger.add_resource(name, capacity=capacity)
    service = BookingService(ledger)
    day = (Limit(Period.DAY, count=2),)
    for event_type in (
        EventType(id="plain", length=minutes(30), all_of=["room"]),
        EventType(id="limited", length=minutes(30), all_of=["room"], limits=day),
        EventType(id="buffered", length=minutes(30), all_of=["room"], before=minutes(5)),
        EventType(id="both", length=minutes(30), all_of=["room", "host-1"]),
        EventType(id="hall", length=minutes(30), all_of=["hall"]),
        EventType(id="wide hall", length=minutes(30), all_of=["hall"], after=minutes(5)),
        EventType(id="seats", length=minutes(30), all_of=["room"], seats=2),
        EventType(id="pool", length=minutes(30), any_of=[["host-1", "host-2"]]),
    ):
        service.add(event_type)
    return ledger, service


KINDS = ["plain", "limited", "buffered", "both", "hall", "wide hall", "seats", "pool"]
steps = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 6), st.integers(0, 3), st.booleans()),
    max_size=25,
)


@settings(deadline=None)
@given(steps=steps, busy=st.booleans())
@example(steps=[("plain", 0, 0, False), ("seats", 0, 0, False), ("plain", 0, 0, False)], busy=False)
@example(steps=[("plain", 0, 0, False)], busy=True)
def test_it_is_told_as_the_details_tell_it(
    steps: list[tuple[str, int, int, bool]], busy: bool
) -> None:
    ledger, service = planned()
    if busy:
        ledger.replace_busy("calendar", {"room": [(HOUR, HOUR + 20 * MINUTE)]}, now=0)
    now = 0
    for number, (kind, quarter, later, confirmed) in enumerate(steps):
        now += later * 3 * MINUTE
        start = HOUR + quarter * 15 * MINUTE
        request = SlotRequest(kind, start=start, ttl=TTL, enforce=False)
        try:
            service.reserve(request, uid=str(number), now=now)
        except Refused as refusal:
            for one in refusal.refusals if isinstance(refusal, NoneFree) else (refusal,):
                if isinstance(one, SlotTaken):
                    told = one.only_holds
                    assert told is (one.retry_at is not None)
                    assert one.only_holds is told  # also when the details are known
                    assert pickle.loads(pickle.dumps(one)).only_holds is told
        else:
            if confirmed:
                ledger.confirm(str(number), now=now)


@pytest.mark.parametrize("kind", ["plain", "limited", "buffered", "both", "hall", "wide hall"])
def test_of_bookings_and_of_holds(kind: str) -> None:
    ledger, service = planned()
    request = SlotRequest(kind, start=HOUR, ttl=TTL)
    uids = ["a", "b"] if "hall" in kind else ["a"]
    for uid in uids:
        service.reserve(request, uid=uid, now=0)
    for only_holds in (True, False):
        with pytest.raises(SlotTaken) as caught:
            service.reserve(request, uid="c", now=1)
        assert caught.value.only_holds is only_holds
        for uid in uids:
            ledger.confirm(uid, now=1)
