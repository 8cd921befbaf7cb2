"""The shortcut for simple event types gives the same answers as the full path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import event, given

from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.terms import Terms
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import DAY, HOUR, MINUTE, to_us
from slotengine.core.time.schedule import Schedule, hours
from slotengine.errors import InvalidRequest, Refused

MONDAY: Final = to_us(datetime(2030, 1, 7, tzinfo=UTC))
MORNING: Final = Schedule("UTC", dict.fromkeys(range(7), hours("08:00-12:00")))
HALF_HOUR: Final = timedelta(minutes=30)

USUAL: Final[dict[str, Any]] = {"id": "talk", "length": HALF_HOUR, "all_of": ["room"]}

MORE: Final[dict[str, dict[str, Any]]] = {
    "several units": {"all_of": [Host("room", units=2)]},
    "two hosts": {"all_of": ["room", "host-1"]},
    "a group": {"any_of": [["host-1", "host-2"]]},
    "only a group": {"all_of": [], "any_of": [["host-1", "host-2"]]},
    "seats": {"seats": 5},
    "a buffer before": {"before": HALF_HOUR},
    "a buffer after": {"after": HALF_HOUR},
}


def service(terms: Terms | None = None, **more: Any) -> BookingService:
    ledger = Ledger(terms)
    ledger.add_resource("room", capacity=2, schedule=MORNING)
    for name in ("host-1", "host-2"):
        ledger.add_resource(name)
    found = BookingService(ledger)
    found.add(EventType(**USUAL | more))
    return found


def test_what_is_usual() -> None:
    assert service().rules_of("talk").sole_resource == "room"
    assert service(lengths=[HALF_HOUR, 2 * HALF_HOUR]).rules_of("talk").sole_resource == "room"
    assert service(limits=[Limit(Period.DAY, count=1)]).rules_of("talk").sole_resource == "room"


@pytest.mark.parametrize("more", MORE.values(), ids=list(MORE))
def test_what_is_more(more: dict[str, Any]) -> None:
    assert service(**more).rules_of("talk").sole_resource is None


def test_a_live_hold_of_an_event_type_is_confirmed_without_its_rules() -> None:
    found = service()
    at = MONDAY + 9 * HOUR
    found.reserve(SlotRequest("talk", at, None, 5 * MINUTE), uid="a", now=MONDAY)
    assert found.confirm("a", now=MONDAY + 7, if_still_free=True).version == 2
    assert found.confirm("a", now=MONDAY + 8, if_still_free=True).version == 2


# --- Both paths --------------------------------------------------------------------------


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 7 + [*others])


event_types = st.fixed_dictionaries(
    {},
    optional={
        "lengths": st.just([HALF_HOUR, 2 * HALF_HOUR]),
        "limits": st.lists(
            st.sampled_from(
                [
                    Limit(Period.DAY, count=1),
                    Limit(Period.DAY, time=3 * HALF_HOUR),
                    Limit(Period.WEEK, count=3),
                    Limit(Period.YEAR, time=HALF_HOUR),
                ]
            ),
            unique_by=lambda limit: (limit.per, limit.count is None),
        ),
        "notice": st.just(timedelta(hours=9)),
        "window": st.just(RollingDays(1)),
        "schedule": st.just(Schedule("UTC", dict.fromkeys(range(7), hours("10:00-24:00")))),
    },
)
terms = st.sampled_from(
    [Terms(), Terms(max_holds=2), Terms(default_ttl=HOUR, shortest_ttl=10 * MINUTE)]
)
requests = st.builds(
    SlotRequest,
    st.just("talk"),
    start=st.sampled_from([MONDAY + hour * HOUR // 2 for hour in (14, 16, 17, 20, 21, 22, 48)]),
    length=mostly(None, HOUR // 2, HOUR, 7 * MINUTE),
    ttl=mostly(10 * MINUTE, HOUR, 5 * MINUTE, 0, 366 * DAY),
    holder=mostly("somebody", None, ""),
    seats=mostly(1, 2, 0),
    only=mostly(None, frozenset({"room"}), frozenset({"host-1"})),
    key=mostly(None, "once"),
    enforce=st.booleans(),
)


def outcome(service: BookingService, request: SlotRequest, uid: str, now: int) -> object:
    try:
        entry = service.reserve(request, uid=uid, now=now)
    except Refused as refusal:
        event(type(refusal).__name__)
        return type(refusal), refusal.args
    except InvalidRequest:  # with several errors, either may be reported first
        event("invalid")
        return InvalidRequest
    event("held")
    return entry.uid, entry.until, entry.holder, entry.event_type, entry.seats, entry.all_claims()


@given(
    terms=terms,
    more=event_types,
    calls=st.lists(st.tuples(requests, st.integers(0, 10 * MINUTE)), min_size=5, max_size=20),
)
def test_the_short_way_leads_to_the_same(
    terms: Terms, more: dict[str, Any], calls: list[tuple[SlotRequest, int]]
) -> None:
    """Goal: the shortcut cannot be told from the full path.

    Method: two booking services get the same calls, and one of them is kept from the shortcut.
    """
    short, long = service(terms, **more), service(terms, **more)
    assert short.rules_of("talk").sole_resource is not None
    long.rules_of("talk").sole_resource = None
    now = MONDAY
    for number, (request, passes) in enumerate(calls):
        now += passes
        outcomes = [outcome(each, request, f"uid-{number}", now) for each in (short, long)]
        assert outcomes[0] == outcomes[1]
        for each in (short, long):
            each.ledger.check_invariants()
