"""Hypothesis strategies: spans, schedules, event types, requests and so on (extra ``testing``).

They choose from few instants, resources and small capacities, so that spans
touch, nest and repeat, holds conflict, and things happen at the moment at which
others end.  That is where faults are.

>>> from hypothesis import given
>>> @given(spans(last=10))
... def test_a_span_ends_after_its_start(span):
...     start, end = span
...     assert 0 <= start < end <= 14
>>> test_a_span_ends_after_its_start()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from slotengine.extras import missing

try:
    import hypothesis.strategies as st
except ModuleNotFoundError:
    raise missing("slotengine.testing.strategies", "testing", "hypothesis") from None

from slotengine.core.ledger.config import Kind, Put, ResourceConfig, Retire, SettingChange
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import DAY, MINUTE, SECOND, from_us
from slotengine.core.time.schedule import (
    Away,
    FixedWindows,
    Hours,
    Schedule,
    Travel,
    hours,
)
from slotengine.engine.values import Claim, Request

# --- Instants and spans ----------------------------------------------------------------------

ODD: Final = (0, 0, 1, SECOND, 29 * SECOND + 500_000, 30 * SECOND, MINUTE - SECOND, MINUTE - 1)
"""Offsets from a full minute, in microseconds; often none."""


def instants(whole: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """Instants or durations at, or shortly after, ``whole`` ones; in microseconds.

    A clock seldom shows a full minute, and rules that cut or round fail in between.
    """
    return st.tuples(whole, st.sampled_from(ODD)).map(sum)


def spans(*, last: int = 10, longest: int = 4) -> st.SearchStrategy[tuple[int, int]]:
    """Pairs of start and end: starts from 0 to ``last`` - 1, lengths from 1 to ``longest``."""
    return st.tuples(st.integers(0, last - 1), st.integers(1, longest)).map(
        lambda pair: (pair[0], pair[0] + pair[1])
    )


# --- Schedules -------------------------------------------------------------------------------

ZONES: Final = (
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
)
"""Time zones with peculiarities: offsets of half and quarter hours, a skipped day."""

# Clocks change at night, so most of these hours begin and end then.
times_of_day = st.sampled_from([0, 30, 60, 90, 119, 120, 121, 150, 180, 240, 540, 1380, 1410, 1439])
times_of_day |= st.integers(0, 1439)
"""Minutes since midnight."""

hour_ranges = st.lists(
    st.builds(Hours, times_of_day, times_of_day | st.just(1440)), max_size=3
).map(tuple)
"""Up to three ranges of opening hours of a day; some reach past midnight."""


@st.composite
def schedules(draw: st.DrawFn, zone: str, near: date, *, zones: Sequence[str] = ZONES) -> Schedule:
    """Schedules in a zone, with overrides, absences and travel to other ``zones`` near a date."""
    days = st.integers(-4, 4).map(lambda by: near + timedelta(by))
    absences = draw(st.lists(st.tuples(days, days).map(sorted), max_size=1))
    ends = sorted(draw(st.lists(days, max_size=4, unique=True)))
    others = st.sampled_from(zones)
    return Schedule(
        zone,
        weekly=draw(st.dictionaries(st.integers(0, 6), hour_ranges, min_size=4)),
        overrides=draw(st.dictionaries(days, hour_ranges, max_size=3)),
        travel=[Travel(*pair, draw(others)) for pair in zip(ends[::2], ends[1::2], strict=False)],
        away=[Away(*pair) for pair in absences],
    )


# --- Event types ----------------------------------------------------------------------

MORNINGS: Final = Schedule("Europe/Rome", dict.fromkeys(range(7), hours("08:00-12:00")))
# How many fixed hosts there are, and how many in each group.
_SHAPES: Final = ((1, ()), (1, ()), (2, ()), (0, (2,)), (0, (3,)), (1, (2,)), (0, (2, 2)))
LIMITS: Final = (
    (),
    (),
    (Limit(Period.DAY, count=1),),
    (Limit(Period.DAY, count=2),),
    (Limit(Period.WEEK, time=timedelta(hours=1)), Limit(Period.DAY, count=2)),
    (Limit(Period.MONTH, count=2), Limit(Period.YEAR, count=3)),
)
"""Limits of event types; often none."""


def _minutes(*choices: int) -> st.SearchStrategy[timedelta]:
    return st.sampled_from(choices).map(lambda minutes: timedelta(minutes=minutes))


lengths = _minutes(30, 30, 60, 45, 20, 7)
"""Lengths of slots: most match the grid, some do not."""
buffers = _minutes(0, 0, 0, 10, 15)
"""Buffers; mostly none."""


@st.composite
def hosts(draw: st.DrawFn, resource: str, units: int, start: int) -> Host:
    """Hosts for a resource of ``units`` units; some are open only for the day from ``start`` on."""
    day = FixedWindows([(start, start + DAY)])
    return Host(
        resource,
        units=draw(st.sampled_from((1, 2))) if units > 1 else 1,
        weight=draw(st.sampled_from((1, 1, 3))),
        schedule=draw(st.sampled_from((None, None, None, day))),
    )


@st.composite
def event_types(draw: st.DrawFn, id: str, resources: Mapping[str, int], start: int) -> EventType:
    """Event types that need some of at least four ``resources``, given with their capacities.

    Their booking windows are near ``start``, in microseconds.
    """
    fixed, groups = draw(st.sampled_from(_SHAPES))
    parties = iter(
        [draw(hosts(one, resources[one], start)) for one in draw(st.permutations(list(resources)))]
    )
    length, on = draw(lengths), from_us(start).date()
    windows = (
        *(None, None, RollingDays(0), RollingDays(1), RollingDays(1, business=True)),
        *(DateRange(on, on), DateRange(date(2000, 1, 1), on)),
    )
    zones = st.sampled_from(ZONES)
    return EventType(
        id=id,
        length=length,
        all_of=[next(parties) for _ in range(fixed)],
        any_of=[[next(parties) for _ in range(size)] for size in groups],
        lengths=draw(st.sampled_from(((), (), (length, length * 2)))),
        interval=draw(st.one_of(st.none(), st.none(), lengths)),
        offset=draw(buffers),
        before=draw(buffers),
        after=draw(buffers),
        notice=draw(st.sampled_from((0, 0, 30, 120))) * timedelta(minutes=1),
        window=draw(st.sampled_from(windows)),
        limits=draw(st.sampled_from(LIMITS)),
        seats=draw(st.sampled_from((None, 2, 3))),
        schedule=draw(st.sampled_from((None, None, MORNINGS))),
        first_only=draw(st.sampled_from((False, False, True))),
        optimized=draw(st.sampled_from((False, False, True))),
        zone=draw(zones),
    )


# --- Requests and configurations -------------------------------------------------------------

QUARTER: Final = timedelta(minutes=15)
"""The grid on which slots of `requests` begin and end."""


@st.composite
def requests(
    draw: st.DrawFn, resources: Mapping[str, int], first: datetime, *, quarters: int = 10
) -> Request:
    """Requests for one or two of the ``resources``, given with their capacities.

    They begin in the ``quarters`` of an hour from ``first`` on, which must be aware.  Some have
    buffers, a holder, tags, or a short life, and some are only requested.

    >>> from datetime import UTC
    >>> from hypothesis import find
    >>> nine = datetime(2030, 1, 7, 9, tzinfo=UTC)
    >>> wanted = find(requests({"room-1": 1, "hall": 40}, nine), lambda one: len(one.claims) > 1)
    >>> wanted.start == nine, wanted.length, [claim.resource for claim in wanted.claims]
    (True, datetime.timedelta(seconds=900), ['room-1', 'hall'])
    """
    names = draw(st.lists(st.sampled_from(list(resources)), min_size=1, max_size=2, unique=True))
    before, after = draw(buffers), draw(buffers)
    return Request(
        first + draw(st.integers(0, quarters - 1)) * QUARTER,
        draw(st.sampled_from((1, 1, 2, 4))) * QUARTER,
        tuple(
            Claim(name, draw(st.integers(1, min(3, resources[name]))), before, after)
            for name in names
        ),
        holder=draw(st.sampled_from((None, "holder-1", "holder-2"))),
        ttl=draw(st.sampled_from((None, None, None, timedelta(minutes=1)))),
        tags=draw(st.sampled_from(((), (), ("vip",), ("vip", "new")))),
        requested=draw(st.sampled_from((False, False, False, True))),
    )


@st.composite
def configurations(draw: st.DrawFn, resources: Mapping[str, int]) -> tuple[SettingChange, ...]:
    """Changes of some of the ``resources``, given with their capacities, to `configure` an engine.

    Each gets another capacity, from 1 to one more than it has; or it is retired, or taken back.
    """
    names = draw(st.lists(st.sampled_from(list(resources)), min_size=1, max_size=2, unique=True))
    return tuple(draw(_setting_change(name, resources[name])) for name in names)


def _setting_change(name: str, capacity: int) -> st.SearchStrategy[SettingChange]:
    def with_units(units: int) -> SettingChange:
        return Put(Kind.RESOURCE, name, ResourceConfig(units))

    def retired(retired: bool) -> SettingChange:
        return Retire(Kind.RESOURCE, name, retired)

    return st.integers(1, capacity + 1).map(with_units) | st.booleans().map(retired)


# --- Catalogs --------------------------------------------------------------------------------


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, Any]:
    """Valid catalogs of a server, as read from a file: users, a team, and event types of both.

    Load one with `slotengine.calcom.catalog.load.catalog_from`.
    """
    users = range(1, draw(st.integers(2, 4)) + 1)
    return {
        "schedules": [draw(_schedule_tables(user)) for user in users],
        "users": [
            {
                "id": user,
                "username": f"user-{user}",
                "apiKeys": [f"sha256:{user:064x}"],
                "defaultScheduleId": draw(st.sampled_from((None, user))),
            }
            for user in users
        ],
        "teams": [{"id": 10, "slug": "team", "members": [{"userId": user} for user in users]}],
        "eventTypes": [
            draw(_event_type_tables(number, users))
            for number in range(1, draw(st.integers(1, 4)) + 1)
        ],
    }


@st.composite
def _schedule_tables(draw: st.DrawFn, id: int) -> dict[str, Any]:
    days = st.sampled_from(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"))
    ranges = st.sampled_from((("09:00", "17:00"), ("00:00", "12:00"), ("13:30", "20:15")))
    start, end = draw(ranges)
    some = draw(st.lists(days, min_size=1, unique=True))
    availability = {"days": some, "startTime": start, "endTime": end}
    return {"id": id, "timeZone": draw(st.sampled_from(ZONES)), "availability": [availability]}


@st.composite
def _event_type_tables(draw: st.DrawFn, id: int, users: Sequence[int]) -> dict[str, Any]:
    length = draw(st.sampled_from((15, 30, 45, 60)))
    made: dict[str, Any] = {
        "id": id,
        "slug": f"event-{id}",
        "lengthInMinutes": length,
        "lengthInMinutesOptions": draw(st.sampled_from(([length], [length, 2 * length]))),
        "beforeEventBuffer": draw(st.sampled_from((0, 0, 10))),
        "afterEventBuffer": draw(st.sampled_from((0, 0, 15))),
        "minimumBookingNotice": draw(st.sampled_from((0, 0, 120))),
        "slotInterval": draw(st.sampled_from((None, 15, 60))),
    }
    if draw(st.booleans()):
        made["seats"] = {"seatsPerTimeSlot": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        made["ownerId"] = draw(st.sampled_from(users))
        return made
    some = draw(st.lists(st.sampled_from(users), min_size=1, unique=True))
    kind = draw(st.sampled_from(("collective", "roundRobin")))
    return made | {
        "teamId": 10,
        "schedulingType": kind,
        "hosts": [{"userId": user} for user in some],
    }
