"""Available slots around changes of the clock, with shared sessions, and under each rule.

The model test covers all of this together.  These tests show what each rule does alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from slotengine.core.ledger.apply import apply
from slotengine.core.ledger.changes import ReservationChange
from slotengine.core.ledger.ledger import Ledger
from slotengine.core.ledger.resource import Turns
from slotengine.core.ledger.timeline import CountedTimeline
from slotengine.core.offer.availability import LONGEST_RANGE, AvailabilityQuery
from slotengine.core.offer.booking_rules import SlotRequest
from slotengine.core.offer.booking_service import BookingService
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import DAY, HOUR, MINUTE, from_us, to_us
from slotengine.core.time.schedule import FixedWindows, Schedule, Travel, Windows, hours
from slotengine.core.time.zone import FIRST_LOCAL, LAST_LOCAL, Zone
from slotengine.errors import (
    InvalidField,
    KeyReused,
    LimitReached,
    NoneFree,
    NoSeatsLeft,
    NotBookable,
    OutsideHours,
    Refused,
    SlotTaken,
    TooManyUnits,
    TooSoon,
    UnknownEventType,
    UnknownReservation,
    UnknownResource,
)

MONDAY = to_us(datetime(2030, 1, 7, tzinfo=UTC))
TTL = 5 * MINUTE


def daily(zone: str, text: str, **more: Any) -> Schedule:
    return Schedule(zone, dict.fromkeys(range(7), hours(text)), **more)


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


class Shop:
    """A booking service with its ledger, and uids that count up."""

    def __init__(self, now: int = MONDAY) -> None:
        self.ledger = Ledger()
        self.service = BookingService(self.ledger)
        self.now = now
        self.made = 0

    def open(self, *names: str, hours: Windows | None = None, capacity: int = 1) -> Shop:
        for name in names:
            self.ledger.add_resource(name, capacity=capacity, schedule=hours)
        return self

    def offer(self, **more: Any) -> Shop:
        options: dict[str, Any] = {"id": "talk", "length": minutes(60), "all_of": ["room"]} | more
        self.service.add(EventType(**options))
        return self

    def reserve(
        self, start: int, event_type: str = "talk", *, book: bool = False, **more: Any
    ) -> str:
        self.made += 1
        uid = f"uid-{self.made}"
        request = SlotRequest(event_type, start, ttl=TTL, **more)
        self.service.reserve(request, uid=uid, now=self.now)
        if book:
            self.ledger.confirm(uid, now=self.now)
        return uid

    def starts(
        self, start: int = MONDAY, end: int = 0, event_type: str = "talk", **more: Any
    ) -> list[int]:
        if "zone" in more:
            more["zone"] = Zone.of(more["zone"])
        query = AvailabilityQuery(event_type, start, end or start + DAY, **more)
        return list(self.service.available_slots(query, now=self.now).starts)

    def clock(self, *args: Any, **more: Any) -> str:
        """Return the starts as UTC clock times."""
        return " ".join(f"{from_us(start):%H:%M}" for start in self.starts(*args, **more))


def at(hour: float) -> int:
    return MONDAY + round(hour * HOUR)


# --- Changes of the clock ----------------------------------------------------------------

GOLDEN = [
    # The hours are chosen so that the change is in the middle of them.
    ("Europe/Rome", "2024-03-31", "00:00-05:00", 60,
     "00:00+01:00 01:00+01:00 03:00+02:00 04:00+02:00"),
    ("Europe/Rome", "2024-10-27", "00:00-05:00", 60,
     "00:00+02:00 01:00+02:00 02:00+02:00 02:00+01:00 03:00+01:00 04:00+01:00"),
    ("America/New_York", "2024-03-10", "01:00-04:00", 30,
     "01:00-05:00 01:30-05:00 03:00-04:00 03:30-04:00"),
    ("America/New_York", "2024-11-03", "00:30-02:30", 30,
     "00:30-04:00 01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00 02:00-05:00"),
    # Half an hour, at 02:00: 02:00 to 02:30 does not exist in October, 01:30 to 02:00 is
    # there twice in April.  Elapsed hours from 01:00 on begin at half past after the change.
    ("Australia/Lord_Howe", "2024-10-06", "01:00-05:00", 60,
     "01:00+10:30 02:30+11:00 03:30+11:00"),
    ("Australia/Lord_Howe", "2024-04-07", "00:00-03:00", 30,
     "00:00+11:00 00:30+11:00 01:00+11:00 01:30+11:00 01:30+10:30 02:00+10:30 02:30+10:30"),
    ("Asia/Kathmandu", "2024-06-01", "09:00-11:00", 60, "09:00+05:45 10:00+05:45"),
    # Ramadan: Morocco is an hour behind for a month, from 03:00 on 10 March 2024.
    ("Africa/Casablanca", "2024-03-10", "01:00-05:00", 60,
     "01:00+01:00 02:00+01:00 02:00+00:00 03:00+00:00 04:00+00:00"),
    # Until 2018 the summer of Sao Paulo began at midnight: there is no 00:00 to 01:00.
    ("America/Sao_Paulo", "2018-11-04", "00:00-03:00", 30,
     "01:00-02:00 01:30-02:00 02:00-02:00 02:30-02:00"),
    ("America/Sao_Paulo", "2018-02-17", "22:00-24:00", 60,
     "22:00-02:00 23:00-02:00 23:00-03:00"),
    # Apia had no 30 December 2011 at all.
    ("Pacific/Apia", "2011-12-29", "22:00-24:00", 60, "22:00-10:00 23:00-10:00"),
    ("Pacific/Apia", "2011-12-30", "09:00-17:00", 60, ""),
    ("Pacific/Apia", "2011-12-31", "09:00-11:00", 60, "09:00+14:00 10:00+14:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "day", "open_hours", "length", "expected"),
    GOLDEN,
    ids=[f"{g[0]}-{g[1]}" for g in GOLDEN],
)
def test_slots_on_days_of_a_change(
    key: str, day: str, open_hours: str, length: int, expected: str
) -> None:
    """All slots of a local date, as local time and offset."""
    zone, on = ZoneInfo(key), date.fromisoformat(day)
    noon = to_us(datetime(on.year, on.month, on.day, 12, tzinfo=UTC))
    shop = Shop(noon - 10 * DAY).open("room", hours=daily(key, open_hours))
    shop.offer(length=minutes(length))
    found = [
        from_us(start).astimezone(zone)
        for start in shop.starts(noon - 3 * DAY, noon + 3 * DAY, zone=key)
    ]
    shown = " ".join(
        f"{one.isoformat()[11:16]}{one.isoformat()[19:]}" for one in found if one.date() == on
    )
    assert shown == expected


def test_a_slot_is_elapsed_time() -> None:
    """An hour across the change is elapsed time, so it ends two hours later in local time."""
    shop = Shop(to_us(datetime(2024, 3, 30, tzinfo=UTC))).open(
        "room", hours=daily("Europe/Rome", "01:30-03:30")
    )
    shop.offer(interval=minutes(30))
    start = to_us(datetime(2024, 3, 31, tzinfo=UTC))
    assert shop.clock(start) == "00:30"  # 01:30 to 03:30 of the wall is one hour


def test_a_trip_moves_the_hours() -> None:
    trip = Travel(date(2030, 1, 8), date(2030, 1, 8), "Asia/Tokyo")
    shop = Shop().open("room", hours=daily("Europe/Rome", "09:00-11:00", travel=[trip])).offer()
    assert shop.clock(MONDAY, MONDAY + DAY) == "08:00 09:00"
    assert shop.clock(MONDAY + DAY, MONDAY + 2 * DAY) == "00:00 01:00"


# --- What is taken -----------------------------------------------------------------------


def office(**more: Any) -> Shop:
    """A room that is open from 09:00 to 13:00, for slots of an hour."""
    return Shop().open("room", hours=FixedWindows([(at(9), at(13))])).offer(**more)


def test_a_booking_shifts_the_grid_and_a_hold_does_not() -> None:
    shop = office(length=minutes(30), lengths=[minutes(30), minutes(45)])
    assert shop.clock() == "09:00 09:30 10:00 10:30 11:00 11:30 12:00 12:30"
    assert shop.clock(length=45 * MINUTE) == "09:00 09:45 10:30 11:15 12:00"
    uid = shop.reserve(at(9))
    assert shop.clock(length=45 * MINUTE) == "09:45 10:30 11:15 12:00"
    shop.ledger.confirm(uid, now=shop.now)
    assert shop.clock(length=45 * MINUTE) == "09:30 10:15 11:00 11:45"


def test_buffers_of_both_sides_count() -> None:
    shop = office(length=minutes(30), before=minutes(15), after=minutes(30))
    shop.reserve(at(9.25), book=True)
    # It is over at 09:45; 30 minutes after it and 15 before the next are kept free.
    assert shop.clock() == "10:30 11:00 11:30 12:00 12:30"


@pytest.mark.parametrize(
    ("buffer", "taken", "seen"), [("before", 8, "10:00"), ("after", 11, "09:00")]
)
def test_buffers_reach_beyond_the_range_that_is_asked_about(
    buffer: str, taken: int, seen: str
) -> None:
    shop = Shop().open("room").offer(**{buffer: minutes(30)}).offer(id="bare")
    shop.reserve(at(taken), "bare", book=True)
    assert shop.clock(at(9), at(11)) == seen


@pytest.mark.parametrize("book", [False, True])
def test_each_buffer_counts_by_itself(book: bool) -> None:
    for more, seen in (
        ({"before": minutes(60)}, "09:00 10:00 13:00 14:00"),
        ({"after": minutes(60)}, "09:00 12:00 13:00 14:00"),
    ):
        shop = Shop().open("room", hours=FixedWindows([(at(9), at(15))])).offer(**more)
        shop.ledger.reserve("room", at(11), at(12), uid="a", now=shop.now, ttl=TTL)
        if book:
            shop.ledger.confirm("a", now=shop.now)
        assert shop.clock() == seen


def test_what_lapsed_first_does_not_hide_what_did_not() -> None:
    shop = office()
    shop.reserve(at(9))
    shop.now += TTL // 2
    shop.reserve(at(10))
    shop.reserve(at(11), book=True)
    shop.now += TTL // 2
    assert shop.clock() == "09:00 12:00"


def test_a_hold_hides_its_slot_until_it_lapses() -> None:
    shop = office()
    uid = shop.reserve(at(10))
    assert shop.clock() == "09:00 11:00 12:00"
    assert shop.clock(ignoring=frozenset({uid})) == "09:00 10:00 11:00 12:00"
    shop.now += TTL - 1
    assert shop.clock() == "09:00 11:00 12:00"
    shop.now += 1
    assert shop.clock() == "09:00 10:00 11:00 12:00"


def test_imported_busy_time_is_not_offered() -> None:
    shop = office(before=minutes(15))
    shop.ledger.replace_busy("calendar", {"room": [(at(10), at(10.5))]}, now=shop.now)
    assert shop.clock() == "09:00 11:00 12:00"
    with pytest.raises(SlotTaken) as caught:
        shop.reserve(at(10.5))  # the buffer is in the way
    assert caught.value.retry_at is None
    shop.ledger.replace_busy("calendar", {}, now=shop.now)
    assert shop.clock() == "09:00 10:00 11:00 12:00"


def test_units_of_a_resource() -> None:
    shop = Shop().open("hall", hours=FixedWindows([(at(9), at(11))]), capacity=3)
    shop.offer(all_of=[Host("hall", units=2)])
    shop.offer(id="desk", all_of=["hall"])
    shop.reserve(at(9), "desk")
    assert shop.clock() == "09:00 10:00"
    shop.reserve(at(9), "desk", book=True)
    assert shop.clock() == "10:00"
    assert shop.clock(event_type="desk") == "09:00 10:00"


@pytest.mark.parametrize("book", [False, True])
def test_the_last_unit_is_offered(book: bool) -> None:
    shop = Shop().open("hall", hours=FixedWindows([(at(9), at(11))]), capacity=2)
    shop.offer(all_of=["hall"], after=minutes(1))
    shop.reserve(at(9), book=book)
    assert shop.clock() == "09:00 10:00"
    shop.reserve(at(9), book=book)
    assert shop.clock() == ""  # the minute after reaches into the second hour


def test_steps_that_do_not_divide_the_hour_begin_anew_after_what_is_taken() -> None:
    """With buffers around it, beside a booking and imported busy time."""
    shop = Shop().open("room", hours=FixedWindows([(at(9), at(15))]))
    shop.offer(length=minutes(45), before=minutes(5), after=minutes(10))
    assert shop.clock() == "09:00 09:45 10:30 11:15 12:00 12:45 13:30 14:15"
    shop.reserve(at(9.75), book=True)
    shop.ledger.replace_busy("calendar", {"room": [(at(12), at(12.5))]}, now=shop.now)
    assert shop.clock() == "10:45 12:45 13:30 14:15"


def test_of_several_units_those_whose_hold_is_over_are_free() -> None:
    """Where the sweeper has not been, and where steps do not divide the hour."""
    shop = Shop().open("hall", hours=FixedWindows([(at(9), at(11))]), capacity=2)
    shop.offer(length=minutes(45), all_of=["hall"])
    shop.reserve(at(9))
    shop.reserve(at(9), book=True)
    assert shop.clock() == "09:45"
    shop.now += TTL
    assert shop.clock() == "09:00 09:45"


def test_an_optimized_event_type_begins_where_most_fits() -> None:
    shop = Shop().open("room", hours=FixedWindows([(at(9) + 20 * MINUTE, at(11) + 20 * MINUTE)]))
    shop.offer(optimized=True).offer(id="usual")
    assert shop.clock() == "09:20 10:20"
    assert shop.clock(event_type="usual") == "10:00"


# --- Hosts -------------------------------------------------------------------------------


def test_all_of_several_hosts() -> None:
    shop = Shop().open("first", hours=FixedWindows([(at(9), at(12))]))
    shop.open("second", hours=FixedWindows([(at(10), at(13))])).offer(all_of=["first", "second"])
    assert shop.clock() == "10:00 11:00"
    shop.ledger.reserve("second", at(10), at(10.25), uid="a", now=shop.now, ttl=TTL)
    assert shop.clock() == "11:00"


def test_whoever_is_held_is_not_free_in_whatever_place() -> None:
    shop = Shop().open("first", "second", hours=FixedWindows([(at(9), at(11))]))
    shop.offer(all_of=["first", "second"]).offer(id="any", all_of=[], any_of=[["first", "second"]])
    shop.ledger.reserve("first", at(9), at(10), uid="a", now=shop.now, ttl=TTL)
    assert shop.clock() == "10:00"
    assert shop.clock(event_type="any") == "09:00 10:00"
    shop.ledger.reserve("second", at(9), at(10), uid="b", now=shop.now, ttl=TTL)
    assert shop.clock(event_type="any") == "10:00"


def test_any_of_a_group_must_have_all_of_the_slot() -> None:
    shop = Shop().open("first", hours=FixedWindows([(at(9), at(10.5))]))
    shop.open("second", hours=FixedWindows([(at(10.5), at(12))])).offer(
        all_of=[], any_of=[["first", "second"]]
    )
    # 10:00 to 11:00 would be half with one of them and half with the other.
    assert shop.clock() == "09:00 11:00"


def test_whoever_of_a_group_is_open_counts_for_many_starts_as_for_few() -> None:
    shop = Shop().open("morning", hours=FixedWindows([(at(9), at(13))]))
    shop.open("evening", hours=FixedWindows([(at(13), at(17))]))
    shop.offer(length=minutes(5), all_of=[], any_of=[["morning", "evening"]])
    assert shop.starts() == [at(9) + step * 5 * MINUTE for step in range(96)]
    shop.ledger.reserve("morning", at(10), at(13), uid="a", now=shop.now, ttl=TTL)
    shop.ledger.reserve("evening", at(15), at(16), uid="b", now=shop.now, ttl=TTL)
    taken = {*range(12, 48), *range(72, 84)}
    assert shop.starts() == [at(9) + step * 5 * MINUTE for step in range(96) if step not in taken]


def test_one_of_each_group_and_the_fixed_ones() -> None:
    shop = Shop().open("room", "first", "second", "third", hours=FixedWindows([(at(9), at(12))]))
    shop.offer(any_of=[["first", "second"], ["third"]])
    assert shop.clock() == "09:00 10:00 11:00"
    shop.ledger.reserve("first", at(9), at(10), uid="a", now=shop.now, ttl=TTL)
    shop.ledger.reserve("second", at(10), at(11), uid="b", now=shop.now, ttl=TTL)
    shop.ledger.reserve("third", at(11), at(12), uid="c", now=shop.now, ttl=TTL)
    assert shop.clock() == "09:00 10:00"
    assert shop.clock(only=frozenset({"first", "third"})) == "10:00"
    with pytest.raises(InvalidField, match="one of each group"):
        shop.clock(only=frozenset({"first"}))
    entry = shop.ledger.get(shop.reserve(at(9)), now=shop.now)
    assert entry is not None
    assert [claim.resource for claim in entry.all_claims()] == ["room", "second", "third"]


def test_hours_of_a_host_and_of_the_event_type() -> None:
    shop = Shop().open("first", "second", hours=FixedWindows([(at(9), at(11))]))
    late = Host("second", schedule=FixedWindows([(at(14), at(15))]))
    shop.offer(all_of=[], any_of=[["first", late]])
    assert shop.clock() == "09:00 10:00 14:00"
    shop.reserve(at(14))
    with pytest.raises(NoneFree):
        shop.reserve(at(14))
    shop.offer(id="evening", all_of=["first"], schedule=FixedWindows([(at(20), at(21))]))
    assert shop.clock(event_type="evening") == "20:00"


# --- Rules -------------------------------------------------------------------------------


def test_notice() -> None:
    shop = office(notice=minutes(90))
    shop.now = at(8.75)
    assert shop.clock() == "11:00 12:00"
    with pytest.raises(TooSoon) as caught:
        shop.reserve(at(10))
    assert caught.value.earliest == from_us(at(10.25))
    shop.reserve(at(10.25))  # off the grid, but late enough


@pytest.mark.parametrize(
    ("now", "notice", "step", "first"),
    [
        # The grid cuts off seconds; then starts before the notice are dropped.
        ("12:00:01", 120, 40, "14:40"),
        ("12:00:00", 120, 40, "14:00"),
        ("12:00:00.000001", 120, 40, "14:40"),
        ("12:19:59", 120, 20, "14:20"),
        ("12:14:30", 90, 15, "13:45"),
        # Without notice, it is a minute from now without its seconds; no future start is dropped.
        ("12:14:01", 0, 15, "12:15"),
        ("12:14:59.999999", 0, 15, "12:15"),
        ("12:15:00", 0, 15, "12:30"),
        ("12:13:59", 0, 15, "12:15"),
        ("12:15:00.000001", 0, 15, "12:30"),
        ("12:14:01", 1, 15, "12:30"),
    ],
)
def test_a_clock_with_seconds(now: str, notice: int, step: int, first: str) -> None:
    shop = Shop(to_us(datetime.fromisoformat(f"2030-01-07T{now}Z"))).open("room")
    shop.offer(length=minutes(15), interval=minutes(step), notice=minutes(notice))
    assert shop.clock()[:5] == first
    begins = to_us(datetime.fromisoformat(f"2030-01-07T{first}Z"))
    assert shop.starts(shop.now)[0] == begins  # also if the search starts now
    query = AvailabilityQuery("talk", shop.now, MONDAY + DAY)
    assert shop.service.next_available_slots(query, 1, now=shop.now).starts == [begins]
    shop.reserve(begins)


def test_what_is_reserved_needs_the_whole_notice() -> None:
    """A start is offered if and only if it can be reserved, to the microsecond."""
    shop = Shop(at(12)).open("room").offer(notice=minutes(120), length=minutes(15))
    assert shop.clock()[:5] == "14:00"
    shop.ledger.release(shop.reserve(at(14)), now=shop.now)
    shop.now += 1
    assert shop.clock()[:5] == "14:15"
    with pytest.raises(TooSoon) as caught:
        shop.reserve(at(14))
    assert caught.value.earliest == from_us(at(14) + 1)


def test_a_booking_window() -> None:
    shop = Shop().open("room", hours=daily("Europe/Rome", "09:00-11:00"))
    shop.offer(window=RollingDays(1)).offer(
        id="fair", window=DateRange(date(2030, 1, 9), date(2030, 1, 9))
    )
    assert len(shop.starts(MONDAY, MONDAY + 9 * DAY)) == 4
    assert shop.starts(MONDAY, MONDAY + 9 * DAY, "fair") == [at(56), at(57)]
    with pytest.raises(NotBookable) as caught:
        shop.reserve(at(56))
    assert caught.value.end == from_us(at(47))  # midnight in Rome
    shop.now = at(80)
    assert shop.starts(MONDAY, MONDAY + 9 * DAY, "fair") == []


def test_a_window_has_its_first_moment_and_not_its_end() -> None:
    shop = Shop().open("room")
    shop.offer(window=DateRange(date(2030, 1, 8), date(2030, 1, 8)))
    found = shop.starts(MONDAY, MONDAY + 3 * DAY)
    assert (len(found), found[0], found[-1]) == (24, MONDAY + DAY, MONDAY + 2 * DAY - HOUR)
    assert shop.starts(MONDAY + DAY, MONDAY + 2 * DAY + HOUR) == found


def test_limits() -> None:
    shop = Shop().open("room", hours=daily("Europe/Rome", "09:00-12:00"))
    shop.offer(
        limits=[Limit(Period.DAY, count=2), Limit(Period.WEEK, time=minutes(300))],
        lengths=[minutes(60), minutes(120)],
    )
    week = MONDAY, MONDAY + 7 * DAY
    shop.reserve(at(8))
    held = shop.reserve(at(9))
    assert shop.starts(*week)[0] == at(32)
    with pytest.raises(LimitReached) as caught:
        shop.reserve(at(10))
    assert caught.value.retry_at == from_us(shop.now + TTL)
    assert caught.value.start == from_us(at(-1))
    assert shop.starts(*week, ignoring=frozenset({held}))[0] == at(9)
    shop.reserve(at(32), length=120 * MINUTE)
    # Four of five hours of the week are taken: there is one more, but not two.
    assert shop.starts(*week)[0] == at(34)
    assert shop.starts(*week, length=120 * MINUTE) == []
    assert shop.starts(MONDAY, MONDAY + 8 * DAY, length=120 * MINUTE)[0] == at(7 * 24 + 8)
    # Moving within the day does not count twice.
    assert shop.service.move(held, SlotRequest("talk", at(10), ttl=TTL), now=shop.now).start == at(
        10
    )
    shop.reserve(at(56))
    assert shop.starts(*week) == []


def test_each_period_has_a_limit_of_its_own() -> None:
    shop = Shop(now=MONDAY - HOUR).open("room")
    shop.offer(length=minutes(720), limits=[Limit(Period.DAY, count=1)])
    shop.reserve(MONDAY + DAY)
    days = [MONDAY + day * DAY for day in range(3)]
    whole = shop.starts(MONDAY, MONDAY + 3 * DAY)
    assert whole == [days[0], days[0] + DAY // 2, days[2], days[2] + DAY // 2]
    shop.reserve(MONDAY)
    assert shop.starts(MONDAY, MONDAY + 3 * DAY) == whole[2:]


def test_a_limit_shorter_than_the_slot() -> None:
    limits = [Limit(Period.DAY, time=minutes(45))]
    with pytest.raises(InvalidField, match="time for the shortest slot"):
        office(limits=limits)
    shop = office(limits=limits, lengths=[minutes(60), minutes(30)])
    assert shop.starts() == []
    assert len(shop.starts(length=30 * MINUTE)) == 8
    with pytest.raises(LimitReached) as caught:
        shop.reserve(at(9))
    assert caught.value.retry_at is None
    tight = office(
        length=minutes(1),
        lengths=[minutes(1), minutes(5)],
        limits=[Limit(Period.DAY, time=minutes(1))],
    )
    with pytest.raises(LimitReached):
        tight.reserve(at(9), length=5 * MINUTE)
    tight.reserve(at(9))


def test_the_first_of_each_date_only() -> None:
    shop = Shop().open("room", hours=daily("Europe/Rome", "09:00-12:00"))
    shop.offer(first_only=True)
    assert shop.starts(MONDAY, MONDAY + 2 * DAY) == [at(8), at(32)]
    # A search from 09:00 on must not return the day's second slot as its first.
    assert shop.starts(at(9), MONDAY + 2 * DAY) == [at(32)]
    assert shop.starts(at(8), MONDAY + 2 * DAY) == [at(8), at(32)]
    shop.reserve(at(8))
    assert shop.starts(MONDAY, MONDAY + 2 * DAY) == [at(9), at(32)]


def test_lengths() -> None:
    shop = office(lengths=[minutes(60), minutes(30)])
    assert shop.clock(length=30 * MINUTE) == "09:00 09:30 10:00 10:30 11:00 11:30 12:00 12:30"
    available = shop.service.available_slots(
        AvailabilityQuery("talk", at(9), at(10), 30 * MINUTE), now=shop.now
    )
    assert available == ([at(9), at(9.5)], 30 * MINUTE, None, {})
    with pytest.raises(InvalidField, match="30, 60 minutes"):
        shop.clock(length=45 * MINUTE)


# --- Shared sessions ---------------------------------------------------------------------


def test_seats() -> None:
    shop = office(seats=3)
    shop.reserve(at(9.5), seats=2, book=True)
    found = shop.service.available_slots(
        AvailabilityQuery("talk", MONDAY, MONDAY + DAY), now=shop.now
    )
    # It takes the room, and is offered where it is, off the grid.
    assert [from_us(start).hour for start in found.starts] == [9, 11, 12]
    assert found.starts[0] == at(9.5)
    assert (found.total, found.taken) == (3, {at(9.5): 2})
    assert shop.clock(seats=2) == "11:00 12:00"
    shop.reserve(at(9.5))
    assert shop.clock() == "11:00 12:00"
    with pytest.raises(TooManyUnits):
        shop.clock(seats=4)
    for wanted in (0, True):
        with pytest.raises(InvalidField, match="positive whole number"):
            shop.clock(seats=wanted)


def test_a_session_is_offered_if_it_lies_in_range_and_window() -> None:
    shop = Shop().open("room", hours=FixedWindows([(at(9), at(13))]), capacity=2)
    shop.offer(seats=2, window=DateRange(date(2030, 1, 7), date(2030, 1, 7)))
    for start in (at(10) + 1, at(24) - 1, at(24)):
        shop.reserve(start, enforce=False)
    assert shop.starts(at(10) + 1, at(11) + 1) == [at(10) + 1]
    assert shop.starts(at(10) + 2, at(12)) == [at(11)]
    assert shop.starts(at(10) + 1, at(11)) == []  # it ends a moment later
    assert shop.starts(at(20), at(30)) == [at(24) - 1]


def test_a_session_that_is_over_unmarked_is_none() -> None:
    shop = office(seats=2, length=minutes(30), lengths=[minutes(30), minutes(60)])
    shop.reserve(at(9), length=60 * MINUTE)
    query = AvailabilityQuery("talk", at(9), at(10))
    assert shop.service.available_slots(query, now=shop.now)[0::3] == ([], {at(9): 1})
    assert shop.service.available_slots(query, now=shop.now + TTL)[0::3] == ([at(9), at(9.5)], {})


def test_what_is_ignored_is_gone_also_before_1970() -> None:
    shop = Shop(now=-DAY).open("room").offer(limits=[Limit(Period.DAY, count=1)])
    uid = shop.reserve(-4 * HOUR)
    assert shop.starts(-4 * HOUR, -2 * HOUR) == []
    assert shop.starts(-4 * HOUR, -2 * HOUR, ignoring=frozenset({uid})) == [-4 * HOUR, -3 * HOUR]


def test_seats_that_are_ignored_or_have_lapsed_are_free() -> None:
    shop = office(seats=3)
    first = shop.reserve(at(9), seats=2)
    shop.now += 1
    shop.reserve(at(9))
    query = AvailabilityQuery("talk", at(9), at(10), ignoring=frozenset({first}))
    assert shop.service.available_slots(query, now=shop.now).taken == {at(9): 1}
    query = query._replace(ignoring=frozenset())
    assert shop.service.available_slots(query, now=shop.now).taken == {at(9): 3}
    assert shop.service.available_slots(query, now=shop.now + TTL - 1).taken == {at(9): 1}


def test_a_session_of_another_length_cannot_be_joined() -> None:
    shop = office(seats=3, lengths=[minutes(60), minutes(120)])
    shop.reserve(at(9))
    assert shop.clock(length=120 * MINUTE) == "11:00"
    assert shop.clock() == "09:00 10:00 11:00 12:00"


def test_a_session_is_joined_with_the_host_it_has() -> None:
    shop = Shop().open("first", "second", hours=FixedWindows([(at(9), at(10))]))
    shop.offer(all_of=[], any_of=[["first", "second"]], seats=2)
    uids = [shop.reserve(at(9)), shop.reserve(at(9))]
    entries = [shop.ledger.get(uid, now=shop.now) for uid in uids]
    assert [entry and entry.all_claims()[0].resource for entry in entries] == ["first", "first"]
    # The second is free, but there is one session for each start.
    assert shop.clock() == ""
    with pytest.raises(Refused):
        shop.reserve(at(9))


def test_a_session_with_others_is_not_joined() -> None:
    shop = Shop().open("first", "second", hours=FixedWindows([(at(9), at(11))]))
    shop.offer(all_of=[], any_of=[["first", "second"]], seats=3)
    assert shop.ledger.get(shop.reserve(at(9)), now=shop.now) is not None
    only = frozenset({"second"})
    # There is one session at 09:00, and it is the first one's.
    assert shop.clock(only=only) == "10:00"
    assert shop.clock() == "09:00 10:00"
    with pytest.raises(SlotTaken) as caught:
        shop.reserve(at(9), only=only)
    assert caught.value.retry_at == from_us(shop.now + TTL)
    shop.reserve(at(9), only=frozenset({"first"}))


def test_a_session_can_be_had_again_when_it_is_over_whoever_else_is_booked() -> None:
    shop = Shop().open("first", "second")
    shop.offer(all_of=[], any_of=[["first", "second"]], seats=1)
    shop.ledger.reserve("first", at(9), at(10), uid="a", now=shop.now, ttl=TTL)
    shop.ledger.confirm("a", now=shop.now)
    shop.reserve(at(9))
    with pytest.raises(NoSeatsLeft) as caught:
        shop.reserve(at(9))
    assert caught.value.retry_at == from_us(shop.now + TTL)
    shop.now += TTL
    shop.reserve(at(9))


def turns_of_first(shop: Shop) -> Turns:
    ledger = shop.ledger
    return ledger.occupancy.view(shop.now).turns(ledger.resource("first"), "talk")


def test_a_refused_move_leaves_the_very_session() -> None:
    """Even if the caller was alone in a session that another caller had opened."""
    changes: list[ReservationChange] = []
    shop = Shop().open("first", "second")
    shop.ledger.on_change = lambda change, entry: changes.append(change)
    shop.offer(all_of=[], any_of=[["first", "second"]], seats=2)
    opener = shop.reserve(at(9))
    shop.now += MINUTE
    shop.reserve(at(10))
    shop.now += MINUTE
    joined = shop.reserve(at(9))
    shop.ledger.release(opener, now=shop.now)
    shop.ledger.replace_busy("calendar", {"first": [(at(11), at(12))]}, now=shop.now)
    shop.ledger.reserve("second", at(11), at(12), uid="a", now=shop.now, ttl=TTL)
    before = turns_of_first(shop)
    with pytest.raises(NoneFree):
        shop.service.move(joined, SlotRequest("talk", at(11), ttl=TTL), now=shop.now)
    assert turns_of_first(shop) == before
    shop.ledger.check_invariants()
    again = Shop(shop.now).open("first", "second")
    again.offer(all_of=[], any_of=[["first", "second"]], seats=2)
    for change in changes:
        apply(again.ledger.state, change)
    asked = SlotRequest("talk", at(13), ttl=TTL)
    picks = [
        one.service.reserve(asked, uid="next", now=shop.now).all_claims()[0].resource
        for one in (shop, again)
    ]
    assert picks[0] == picks[1]


def test_one_without_seats_has_none() -> None:
    with pytest.raises(InvalidField, match="has none"):
        office().clock(seats=2)


# --- Queries -----------------------------------------------------------------------------


def test_what_does_not_lie_in_the_range_is_not_offered() -> None:
    shop = office()
    assert shop.clock(at(9.5), at(12.5)) == "10:00 11:00"
    assert shop.clock(at(9), at(10)) == "09:00"
    assert shop.clock(at(9), at(9.99)) == ""
    for wrong in (at(9), at(8)):
        with pytest.raises(InvalidField, match="after the start"):
            shop.clock(at(9), wrong)
    with pytest.raises(InvalidField, match="3660 days"):
        shop.clock(at(9), at(9) + LONGEST_RANGE + 1)


def test_nothing_is_offered_where_there_is_no_calendar() -> None:
    shop = office()
    for end in (FIRST_LOCAL - DAY, FIRST_LOCAL, LAST_LOCAL + DAY, LAST_LOCAL + 2 * DAY):
        assert shop.starts(end - DAY, end) == []


def test_of_a_range_that_is_over_nothing_is_told() -> None:
    shop = office(seats=2)
    shop.reserve(at(9), book=True)
    query = AvailabilityQuery("talk", at(9), at(10))
    assert shop.service.available_slots(query, now=at(8))[0::3] == ([at(9)], {at(9): 1})
    assert shop.service.available_slots(query, now=at(10))[0::3] == ([], {})


def test_the_next_available_slots() -> None:
    shop = office(notice=minutes(60))

    def following(count: int, start: int = MONDAY, end: int = MONDAY + 300 * DAY) -> list[int]:
        query = AvailabilityQuery("talk", start, end)
        return list(shop.service.next_available_slots(query, count, now=shop.now).starts)

    assert following(2) == [at(9), at(10)]
    assert following(9) == [at(9), at(10), at(11), at(12)]
    assert following(1, at(10.5)) == [at(11)]
    assert following(1, end=at(9.5)) == []
    # The search ends at the last slot found, and skips what is before the booking window.
    for count in (1, 4):
        few = following(count, at(0) - LONGEST_RANGE, at(0) + 2 * LONGEST_RANGE)
        assert few == [at(9), at(10), at(11), at(12)][:count]
    shop.now = at(300)
    assert following(1, end=at(10)) == []
    for wrong in (0, -1, True, 1.0):
        with pytest.raises(InvalidField, match="count"):
            following(wrong)  # type: ignore[arg-type]


def test_the_next_available_slots_are_those_of_the_whole_range() -> None:
    """The grid must not depend on how far the search looked."""
    shop = Shop().open("room", hours=daily("UTC", "09:00-17:00"))
    shop.offer(length=minutes(45))
    shop.reserve(at(9.25), book=True)
    shop.reserve(at(9 + 4 * 24), book=True)
    query = AvailabilityQuery("talk", MONDAY, MONDAY + 30 * DAY)
    whole = shop.service.available_slots(query, now=shop.now).starts
    for count in (1, 5, 35, 36, 100):
        assert shop.service.next_available_slots(query, count, now=shop.now).starts == whole[:count]


def test_the_next_available_slots_of_a_booking_window_lie_on_the_grid_of_the_range() -> None:
    """The grid begins where the range does, even if nothing can be booked before some date."""
    shop = Shop().open("room")
    shop.offer(length=minutes(35), window=DateRange(date(2030, 1, 12), date(2030, 1, 20)))
    query = AvailabilityQuery("talk", MONDAY, MONDAY + 30 * DAY)
    whole = shop.service.available_slots(query, now=shop.now).starts
    # 206 steps of 35 minutes after 00:05 on Monday; Saturday at 00:00 is none of them.
    assert from_us(whole[0]) == datetime(2030, 1, 12, 0, 15, tzinfo=UTC)
    for count in (1, 40, 300):
        assert shop.service.next_available_slots(query, count, now=shop.now).starts == whole[:count]


def test_the_next_available_slots_of_an_optimized_event_type_are_those_of_the_whole_range() -> None:
    """If a search ends within opening hours, that must not change the starts."""
    shop = Shop(at(12.5)).open("room", hours=daily("UTC", "09:20-17:00"))
    shop.offer(optimized=True)
    query = AvailabilityQuery("talk", at(12.5), at(12.5) + 30 * DAY)
    whole = shop.service.available_slots(query, now=shop.now).starts
    # Of 7 hours and 40 minutes 40 may be lost, which is up to 10:00; of those up to 12:30 only 10.
    for count in range(1, 20):
        assert shop.service.next_available_slots(query, count, now=shop.now).starts == whole[:count]


# --- The booking service -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (InvalidField, lambda shop: shop.service.add("talk")),
        (InvalidField, lambda shop: shop.offer()),
        (UnknownResource, lambda shop: shop.offer(id="other", all_of=["nowhere"])),
        (TooManyUnits, lambda shop: shop.offer(id="other", all_of=[Host("room", units=2)])),
        (UnknownEventType, lambda shop: shop.reserve(at(9), "other")),
        (UnknownEventType, lambda shop: shop.clock(event_type=["talk"])),
        (
            UnknownReservation,
            lambda shop: shop.service.move("a", SlotRequest("talk", at(9)), now=0),
        ),
        (InvalidField, lambda shop: shop.offer(id="other", length=timedelta(days=367))),
        (InvalidField, lambda shop: shop.offer(id="other", before=timedelta(days=366))),
        (UnknownResource, lambda shop: shop.offer(id="other", all_of=["limit:day count:talk"])),
        (InvalidField, lambda shop: shop.reserve(at(9), only=frozenset({"room", "other"}))),
        (InvalidField, lambda shop: shop.reserve(at(9), key=["k"])),
        (InvalidField, lambda shop: shop.service.rules_of("talk").restricted_to("room")),
    ],
)
def test_what_the_booking_service_refuses(
    error: type[Exception], wrong: Callable[[Shop], object]
) -> None:
    shop = office()
    with pytest.raises(error):
        wrong(shop)
    assert shop.service.knows("talk")
    assert not shop.service.knows("other")
    shop.ledger.check_invariants()


def test_a_repeat_is_answered_when_it_would_be_too_late_to_ask() -> None:
    shop = office(notice=minutes(60))
    shop.now = at(7.75)
    uid = shop.reserve(at(9), key="k")
    shop.now = at(8.5)
    request = SlotRequest("talk", at(9), ttl=TTL, key="k")
    assert shop.service.reserve(request, uid="again", now=shop.now).uid == uid
    with pytest.raises(TooSoon):
        shop.service.reserve(request._replace(key="other"), uid="again", now=shop.now)


def test_a_key_is_for_all_that_was_asked() -> None:
    shop = Shop().open("first", "second").offer(all_of=[], any_of=[["first", "second"]])
    request = SlotRequest("talk", at(9), ttl=TTL, key="k", only=frozenset({"first"}))
    entry = shop.service.reserve(request, uid="a", now=shop.now)
    assert shop.service.reserve(request, uid="b", now=shop.now) == entry
    for other in (
        request._replace(length=60 * MINUTE),  # a default may change, what was asked does not
        request._replace(ttl=None),
        request._replace(only=frozenset({"second"})),
        request._replace(only=None),
        request._replace(enforce=False),
        request._replace(holder="somebody"),
        request._replace(start=at(10)),
    ):
        with pytest.raises(KeyReused):
            shop.service.reserve(other, uid="b", now=shop.now)


def test_who_is_closed_is_named() -> None:
    shop = Shop().open("room").open("keeper", hours=FixedWindows([(at(9), at(10))]))
    shop.offer(all_of=["room", "keeper"])
    with pytest.raises(OutsideHours) as caught:
        shop.reserve(at(10))
    assert caught.value.resource == "keeper"


class Shut:
    """A schedule that is never open, and whose truth value is false."""

    def __len__(self) -> int:
        return 0

    def covers(self, start: int, end: int) -> bool:
        return False

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        return iter(())


def test_hours_count_whatever_their_truth_value() -> None:
    shop = (
        Shop()
        .open("room")
        .offer(schedule=Shut())
        .offer(id="pool", all_of=[], any_of=[[Host("room", schedule=Shut())]])
    )
    for event_type in ("talk", "pool"):
        assert shop.starts(event_type=event_type) == []
        with pytest.raises(OutsideHours):
            shop.reserve(at(9), event_type)


def test_a_limit_of_a_year_is_replayed_as_fast_as_any() -> None:
    """Replaying a change looks only at conflicts.  They are counted, not timed."""
    changes: list[ReservationChange] = []
    shop = Shop().open("room").offer(length=minutes(1), limits=[Limit(Period.YEAR, count=10_000)])
    shop.ledger.on_change = lambda change, entry: changes.append(change)
    for i in range(300):
        shop.reserve(at(9) + i * MINUTE)
    again = Shop().open("room").offer(length=minutes(1), limits=[Limit(Period.YEAR, count=10_000)])
    looked_at: list[int] = []
    limit = next(iter(again.ledger.occupancy.limits.values()))
    overlapping = limit.timeline.overlapping

    class Counted(CountedTimeline[Any]):
        def overlapping(self, start: int, end: int) -> list[Any]:
            found = overlapping(start, end)
            looked_at.append(len(found))
            return found

    counted: Any = Counted(10_000)
    limit.timeline = counted
    for change in changes:
        apply(again.ledger.state, change)
    assert len(limit.timeline) == 300
    assert looked_at == []


def test_renewing_asks_for_no_notice_but_moving_does() -> None:
    shop = office(notice=minutes(60), before=minutes(10))
    uid = shop.reserve(at(11))
    shop.ledger.confirm(uid, now=shop.now)
    shop.now = at(10.5)
    assert shop.service.move(uid, SlotRequest("talk", at(11), ttl=TTL), now=shop.now).start == at(
        11
    )
    with pytest.raises(TooSoon):
        shop.service.move(uid, SlotRequest("talk", at(11.25), ttl=TTL), now=shop.now)
    moved = shop.service.move(
        uid, SlotRequest("talk", at(11.25), ttl=TTL, enforce=False), now=shop.now
    )
    assert moved.start == at(11.25)
    assert shop.service.move(uid, SlotRequest("talk", at(12), ttl=TTL), now=shop.now).start == at(
        12
    )


def test_unless_enforced_hours_do_not_count_but_what_is_taken_does() -> None:
    shop = office(limits=[Limit(Period.DAY, count=2)])
    shop.now = at(20)
    shop.reserve(at(3), enforce=False)
    with pytest.raises(SlotTaken):
        shop.reserve(at(3.5), enforce=False)
    shop.reserve(at(1), enforce=False)
    with pytest.raises(LimitReached):
        shop.reserve(at(5), enforce=False)


def test_days_are_those_of_the_zone_that_can_be_found() -> None:
    tokyo, rome = daily("Asia/Tokyo", "09:00-17:00"), daily("Europe/Rome", "09:00-17:00")
    shop = Shop().open("room", hours=tokyo).open("desk")
    shop.offer().offer(id="own", schedule=rome).offer(id="said", zone="Asia/Kolkata", schedule=rome)
    shop.offer(id="none", all_of=["desk"]).offer(id="second", all_of=["desk", "room"])
    zones = [
        shop.service.rules_of(name).zone.key for name in ("talk", "own", "said", "none", "second")
    ]
    assert zones == ["Asia/Tokyo", "Europe/Rome", "Asia/Kolkata", "UTC", "Asia/Tokyo"]
