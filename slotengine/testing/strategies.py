"""Hypothesis strategies for what slotengine is told (extra ``testing``).

They choose few instants, few resources and small capacities, often the same
ones: so spans touch, nest and repeat, holds are in each other's way, and things
happen at the very moment at which others end.  That is where faults are.

>>> from hypothesis import given
>>> @given(spans(last=10))
... def test_a_span_ends_after_its_start(span):
...     start, end = span
...     assert 0 <= start < end <= 14
>>> test_a_span_ends_after_its_start()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from slotengine.extras import missing

try:
    import hypothesis.strategies as st
except ModuleNotFoundError:
    raise missing("slotengine.testing.strategies", "testing", "hypothesis") from None

from slotengine.core.ledger.policy import Policy
from slotengine.core.ledger.proposal import Pool, Proposal
from slotengine.core.ledger.quota import Quota
from slotengine.core.ledger.reservation import Claim, Demand, Seats
from slotengine.core.offer.event_type import DateRange, EventType, Host, Limit, Period, RollingDays
from slotengine.core.time.instant import DAY, MINUTE, SECOND, from_us
from slotengine.core.time.schedule import (
    ALWAYS_OPEN,
    Away,
    FixedWindows,
    Hours,
    Schedule,
    Travel,
    hours,
)
from slotengine.testing.operations import Operation

# --- Instants and spans ----------------------------------------------------------------------

ODD: Final = (0, 0, 1, SECOND, 29 * SECOND + 500_000, 30 * SECOND, MINUTE - SECOND, MINUTE - 1)
"""What clocks show beyond full minutes: often nothing, else seconds or microseconds."""


def instants(whole: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """Moments, or durations, near ``whole`` ones: in microseconds, and few of full minutes.

    A clock seldom shows a full minute, and rules that cut or round go wrong in between.
    """
    return st.tuples(whole, st.sampled_from(ODD)).map(sum)


def spans(*, last: int = 10, longest: int = 4) -> st.SearchStrategy[tuple[int, int]]:
    """Spans that begin from 0 to before ``last`` and are no longer than ``longest``."""
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
"""Zones of which each is odd in its way: by half an hour, by a quarter, by a day left out."""

# Clocks change at night, so that is when most of these hours begin and end.
times_of_day = st.sampled_from([0, 30, 60, 90, 119, 120, 121, 150, 180, 240, 540, 1380, 1410, 1439])
times_of_day |= st.integers(0, 1439)
"""Minutes since midnight."""

hour_ranges = st.lists(
    st.builds(Hours, times_of_day, times_of_day | st.just(1440)), max_size=3
).map(tuple)
"""Up to three ranges of hours of a day; some go on after midnight."""


@st.composite
def schedules(draw: st.DrawFn, zone: str, near: date, *, zones: Sequence[str] = ZONES) -> Schedule:
    """Schedules of a zone: with overrides, absences and trips to other ``zones`` near a date."""
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


# --- What somebody would like to hold --------------------------------------------------------

ttls: st.SearchStrategy[int] = st.sampled_from((5, 5, 5, 1, 2, 3, 12))
"""TTLs, most of them alike, as those of a service are."""

quotas: st.SearchStrategy[Quota] = st.builds(
    Quota,
    st.sampled_from((None, 1, 2, 3)),
    st.sampled_from((None, 3, 4, 7)),
    st.none(),
    st.sampled_from((None, None, None, 4, 7, 13)),
)
"""Quotas, no two alike for one holder; some allow a hold less life than it asks for."""

LIKELY: Final = ((2, 5), (2, 5), (2, 6), (6, 8))
"""Slots that are asked for more often than others, or sessions would hardly ever be shared."""


@st.composite
def pools(draw: st.DrawFn, hosts: Sequence[str], start: int, end: int) -> Pool:
    """Pools of the first two of two or three hosts, or of all of them."""
    some = draw(st.sampled_from((hosts[:2], hosts)))
    size = len(some)
    return Pool(
        tuple(Claim(host, start, end, 1) for host in some),
        draw(st.sampled_from((None, (1,) * size, (3, *range(1, size))))),
        draw(st.sampled_from((None, (ALWAYS_OPEN,) * size, (None, ALWAYS_OPEN, None)[:size]))),
    )


@st.composite
def proposals(
    draw: st.DrawFn,
    resources: Mapping[str, int],
    *,
    hosts: Sequence[str] = (),
    with_key: bool = True,
    with_quota: bool = True,
    last: int = 10,
) -> Proposal:
    """Proposals for some of the resources, of which there are so many units.

    With buffers, seats, keys (``with_key``) and quotas (``with_quota``); of two or
    three ``hosts`` one may be needed as well, or instead.
    """
    start, end = draw(st.one_of(spans(last=last), st.sampled_from(LIKELY)))
    names = draw(st.lists(st.sampled_from(list(resources)), min_size=1, max_size=2, unique=True))
    before, after = draw(st.sampled_from(((0, 0), (0, 0), (1, 0), (1, 2))))
    units = draw(st.sampled_from((1, 1, 2, 3)))
    claims = tuple(
        Claim(one, start - before, end + after, min(units, resources[one])) for one in names
    )
    holder = draw(st.sampled_from((None, "holder-1", "holder-2")))
    seats = draw(st.sampled_from((None, None, Seats(2), Seats(3), Seats(3), Seats(3, 2))))
    needed: tuple[Pool, ...] = ()
    with_host = draw(st.booleans()) if hosts else False
    if with_host:
        claims = draw(st.sampled_from(((), claims)))
        needed = (draw(pools(hosts, start - before, end + after)),)
    schedule = draw(st.sampled_from((None, None, None, ALWAYS_OPEN)))
    ahead = Demand.HOURS if schedule is None else Demand.AHEAD
    return Proposal(
        start,
        end,
        claims,
        draw(ttls),
        holder,
        "workshop" if seats or needed else draw(st.sampled_from((None, "consultation"))),
        seats,
        draw(st.sampled_from((None, None, "key-1", "key-2"))) if with_key else None,
        schedule,
        needed,
        quota=draw(st.none() | quotas) if holder and with_quota else None,
        demand=draw(st.sampled_from((Demand.NOTHING, Demand.NOTHING, ahead))),
    )


versions = st.sampled_from((None, None, None, 1, 2, 3))
"""What callers say a reservation's version is: mostly nothing."""


@st.composite
def operations(
    draw: st.DrawFn, resources: Mapping[str, int], uids: Sequence[str], *, last: int = 10
) -> Operation:
    """Operations of callers, about any of the ``uids``: to be done to an engine, or to a model.

    >>> from hypothesis import find
    >>> print(find(operations({"room-1": 1}, ["a"]), lambda one: one.verb == "confirm"))
    confirm a
    """
    wishes = proposals(resources, last=last)
    unkeyed = proposals(resources, with_key=False, last=last)
    several = st.lists(unkeyed, min_size=2, max_size=3).map(tuple)
    verb = draw(st.sampled_from(VERBS))
    match verb:
        case "reserve_request":
            return Operation(verb, (draw(wishes),))
        case "reserve_all" | "reserve_each":
            return Operation(verb, draw(several))
        case "reserve_any":
            policy = draw(st.sampled_from((Policy.FIRST, Policy.LEAST_LOADED)))
            return Operation(verb, draw(several), policy=policy)
        case _:
            moves = verb == "move_request"
            return Operation(
                verb,
                (draw(unkeyed),) if moves else (),
                uid=draw(st.sampled_from(uids)),
                ttl=draw(ttls),
                version=draw(st.sampled_from((None, None, None, 1, 2, 3)))
                if verb != "get"
                else None,
                renew=draw(st.booleans()) if moves else False,
                if_still_free=draw(st.booleans()) if verb == "confirm" else False,
            )


VERBS: Final = (
    *("reserve_request",) * 4,
    *("reserve_all", "reserve_each", "reserve_any"),
    *("extend", "move_request", "move_request", "confirm", "confirm", "release", "cancel", "get"),
)
"""The verbs of `operations`, the likelier ones several times."""


# --- What can be booked ----------------------------------------------------------------------

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
"""Limits of event types; there are often none."""


def _minutes(*choices: int) -> st.SearchStrategy[timedelta]:
    return st.sampled_from(choices).map(lambda minutes: timedelta(minutes=minutes))


lengths = _minutes(30, 30, 60, 45, 20, 7)
"""How long slots are: most of them as the grid is, and some as it is not."""
buffers = _minutes(0, 0, 0, 10, 15)
"""Buffers, mostly none."""


@st.composite
def hosts(draw: st.DrawFn, resource: str, units: int, start: int) -> Host:
    """Hosts of a resource of so many units; some have hours for the day from ``start`` on alone."""
    day = FixedWindows([(start, start + DAY)])
    return Host(
        resource,
        units=draw(st.sampled_from((1, 2))) if units > 1 else 1,
        weight=draw(st.sampled_from((1, 1, 3))),
        schedule=draw(st.sampled_from((None, None, None, day))),
    )


@st.composite
def event_types(draw: st.DrawFn, id: str, resources: Mapping[str, int], start: int) -> EventType:
    """Event types that need some of at least four resources, of which there are so many units.

    ``start`` is a moment, in microseconds, near which they are booked.
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


# --- Catalogs --------------------------------------------------------------------------------


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, Any]:
    """Catalogs of a server, as read from a file: with users, a team, and event types of both.

    `slotengine.calcom.catalog.load.catalog_from` takes them, and finds nothing wrong.
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
