"""What can be booked follows the configuration at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from slotengine.core.ledger.config import (
    EventTypeConfig,
    HostConfig,
    Kind,
    Put,
    Remove,
    ResourceConfig,
    Retire,
    Setting,
)
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.proposal import Proposal
from slotengine.core.ledger.reservation import Claim
from slotengine.core.offer.availability import AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import EventType, Host, Limit, Period
from slotengine.core.time.instant import HOUR, MINUTE
from slotengine.core.time.schedule import FixedWindows
from slotengine.errors import (
    InvalidField,
    LimitReached,
    OutsideHours,
    Retired,
    TooManyUnits,
    UnknownEventType,
)

TTL = 10 * HOUR
EARLY = FixedWindows([(2 * HOUR, 3 * HOUR)])
LATE = FixedWindows([(4 * HOUR, 5 * HOUR)])


def talk(**more: object) -> EventType:
    fields: dict[str, object] = {"length": timedelta(minutes=30), "all_of": ["anna"], **more}
    return EventType(id="talk", **fields)  # type: ignore[arg-type]


@pytest.fixture
def service() -> BookingService:
    """One with a host who is there early, and an event type."""
    service = BookingService(Ledger())
    service.ledger.look(0)
    configure(
        service,
        Put(Kind.SCHEDULE, "early", EARLY),
        Put(Kind.RESOURCE, "anna", ResourceConfig(schedule="early")),
        Put(Kind.RESOURCE, "ben", ResourceConfig(schedule=LATE)),
        Put(Kind.EVENT_TYPE, "talk", talk()),
    )
    return service


def configure(service: BookingService, *entries: Put | Remove | Retire) -> tuple[Setting, ...]:
    return service.configure(entries, now=service.ledger.state.now)


def starts(service: BookingService) -> list[int]:
    """Return the starts that are offered in the first six hours, in minutes."""
    query = AvailabilityQuery("talk", 0, 6 * HOUR)
    found = list(service.available_slots(query, now=service.ledger.state.now).starts)
    following = service.next_available_slots(query, 100, now=service.ledger.state.now)
    assert list(following.starts) == found
    return [start // MINUTE for start in found]


def reserve(service: BookingService, minute: int, uid: str = "a") -> str:
    """Reserve a slot, and return its host."""
    request = SlotRequest("talk", minute * MINUTE, ttl=TTL)
    entry = service.reserve(request, uid=uid, now=service.ledger.state.now)
    return entry.all_claims()[0].resource


def test_other_hours_offer_other_slots(service: BookingService) -> None:
    assert starts(service) == [120, 150]
    configure(service, Put(Kind.SCHEDULE, "early", LATE))
    assert starts(service) == [240, 270]
    with pytest.raises(OutsideHours):
        reserve(service, 120)
    assert reserve(service, 240) == "anna"


def test_other_rules_offer_other_slots(service: BookingService) -> None:
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk(interval=timedelta(minutes=15))))
    assert starts(service) == [120, 135, 150]
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk(all_of=(), any_of=[["anna", "ben"]])))
    assert starts(service) == [120, 150, 240, 270]
    assert reserve(service, 240) == "ben"
    config = EventTypeConfig(
        30 * MINUTE, groups=((HostConfig("anna", schedule="early"), HostConfig("ben")),)
    )
    configure(service, Put(Kind.EVENT_TYPE, "talk", config))
    assert starts(service) == [120, 150, 270]


def test_more_capacity_offers_a_slot_again(service: BookingService) -> None:
    reserve(service, 120)
    assert starts(service) == [150]
    configure(service, Put(Kind.RESOURCE, "anna", ResourceConfig(2, "early")))
    assert starts(service) == [120, 150]


@pytest.mark.parametrize("minutes", [30, 17])
def test_a_retired_host_is_passed_over(service: BookingService, minutes: int) -> None:
    """With a grid that bookings cannot move, and with one that they can."""
    either = talk(all_of=(), any_of=[["anna", "ben"]], length=timedelta(minutes=minutes))
    configure(service, Put(Kind.EVENT_TYPE, "talk", either), Retire(Kind.RESOURCE, "anna"))
    assert [start // 60 for start in starts(service)] == [4] * (60 // minutes)
    assert reserve(service, 240) == "ben"
    configure(service, Retire(Kind.RESOURCE, "ben"))
    assert starts(service) == []
    configure(service, Retire(Kind.RESOURCE, "anna", retired=False))
    assert [start // 60 for start in starts(service)] == [2] * (60 // minutes)


def test_a_retired_event_type_is_not_offered(service: BookingService) -> None:
    reserve(service, 120)
    configure(service, Retire(Kind.EVENT_TYPE, "talk"))
    assert starts(service) == []
    for key in (None, "key"):
        request = SlotRequest("talk", 150 * MINUTE, ttl=TTL, key=key)
        with pytest.raises(Retired):
            service.reserve(request, uid="b", now=0)
    with pytest.raises(Retired):
        service.move("a", SlotRequest("talk", 150 * MINUTE, ttl=TTL), now=0)
    service.confirm("a", now=0)
    configure(service, Retire(Kind.EVENT_TYPE, "talk", retired=False))
    assert starts(service) == [150]


def test_an_event_type_that_is_gone_is_unknown(service: BookingService) -> None:
    assert starts(service) == [120, 150]
    configure(service, Remove(Kind.EVENT_TYPE, "talk"))
    with pytest.raises(UnknownEventType):
        starts(service)
    service.add(talk())
    assert starts(service) == [120, 150]


def test_a_limit_counts_while_it_is_there(service: BookingService) -> None:
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk(limits=[Limit(Period.DAY, count=1)])))
    reserve(service, 120)
    assert starts(service) == []
    with pytest.raises(LimitReached):
        reserve(service, 150, "b")
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk(limits=[Limit(Period.DAY, count=2)])))
    assert starts(service) == [150]
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk()))
    reserve(service, 150, "b")
    service.ledger.check_invariants()


def test_a_newcomer_does_not_get_every_next_booking(service: BookingService) -> None:
    either = talk(all_of=(), any_of=[["ben", "carl"]])
    configure(
        service, Put(Kind.RESOURCE, "ben", ResourceConfig()),
        Put(Kind.RESOURCE, "carl", ResourceConfig()), Put(Kind.EVENT_TYPE, "talk", either),
    )  # fmt: skip
    for i in range(6):
        reserve(service, 60 * i, f"old-{i}")
    configure(
        service, Put(Kind.RESOURCE, "new", ResourceConfig()),
        Put(Kind.EVENT_TYPE, "talk", talk(all_of=(), any_of=[["ben", "carl", "new"]])),
    )  # fmt: skip
    hosts = []
    for i in range(6):
        service.ledger.look(i + 1)
        hosts.append(reserve(service, 600 + 60 * i, f"uid-{i}"))
    assert sorted(hosts) == ["ben", "ben", "carl", "carl", "new", "new"]
    assert hosts[:3] == ["new", "ben", "carl"]


class OwnWindows:
    """A schedule of somebody's own."""

    def covers(self, start: int, end: int) -> bool:
        return start % 2 == 0

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


@pytest.mark.parametrize(
    "entry",
    [
        Put(Kind.RESOURCE, "anna", ResourceConfig(schedule=OwnWindows())),
        Put(Kind.EVENT_TYPE, "talk", talk(schedule=OwnWindows())),
        Put(Kind.EVENT_TYPE, "talk", talk(all_of=[Host("anna", schedule=OwnWindows())])),
        Put(
            Kind.EVENT_TYPE,
            "talk",
            EventTypeConfig(30 * MINUTE, (HostConfig("anna"),), schedule=OwnWindows()),
        ),
        Put(Kind.SCHEDULE, "early", OwnWindows()),
    ],
)
def test_what_cannot_be_written_down_is_refused(service: BookingService, entry: Put) -> None:
    with pytest.raises(InvalidField, match=r"schedule must be a Schedule, FixedWindows, .* not <"):
        configure(service, entry)
    assert starts(service) == [120, 150]


def test_it_can_be_added_in_memory(service: BookingService) -> None:
    service.ledger.add_resource("odd", schedule=OwnWindows())
    service.add(EventType(id="visit", length=timedelta(minutes=30), all_of=["odd"]))
    assert service.rules_of("visit").fixed[0].hours is not None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Put(Kind.EVENT_TYPE, "visit", talk()), "id must be that of the event type, 'talk'"),
        (Put(Kind.EVENT_TYPE, "visit", EventTypeConfig(30 * MINUTE)), "all_of and any_of are both"),
        (Put(Kind.RESOURCE, "talk", talk()), "value of a resource cannot be a EventTypeConfig"),
    ],
)
def test_rules_are_checked(service: BookingService, entry: Put, problem: str) -> None:
    with pytest.raises(InvalidField) as caught:
        configure(service, entry)
    assert str(caught.value).startswith(problem)


def test_rules_that_are_only_asked_about_are_checked_against_what_is_there(
    service: BookingService,
) -> None:
    with pytest.raises(TooManyUnits):
        service.rules_of(talk(all_of=[Host("anna", units=2)]))
    with pytest.raises(InvalidField, match="length must be at most 366 days"):
        service.rules_of(talk(length=timedelta(days=367)))
    assert service.bucket("talk") == service.rules_of("talk").bucket
    assert service.bucket("no such event type") == service.bucket(7) == 0


def test_what_is_adopted_counts_towards_the_limits_of_the_day(service: BookingService) -> None:
    configure(service, Put(Kind.EVENT_TYPE, "talk", talk(limits=[Limit(Period.DAY, count=1)])))
    span = 120 * MINUTE, 150 * MINUTE
    proposal = Proposal(*span, (Claim("anna", *span),), TTL, event_type="talk")
    service.adopt(proposal, uid="a", now=0)
    assert starts(service) == []
