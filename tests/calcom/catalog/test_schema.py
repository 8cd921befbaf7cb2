"""Tables of a catalog: what each may hold, and how it is said that it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slotengine.calcom.catalog.event_type_tables import BookingTable, BookingWindowTable
from slotengine.calcom.catalog.schema import Problem, Tables
from slotengine.calcom.catalog.user_tables import ScheduleTable, UserTable, origin
from slotengine.calcom.catalog.values import Table
from slotengine.core.time.instant import to_us
from slotengine.core.time.schedule import Hours

ROOT = Path(__file__).parents[3]
MONDAY = datetime(2030, 9, 2, tzinfo=UTC)

# Path, value, and the reason that is given there.
WRONG: list[tuple[str, object, str]] = [
    ("colour", [], "is not a known table"),
    ("users", {}, "must be a list of tables: [[users]]"),
    ("users[0]", 7, "must be a table"),
    ("users[0].id", "1", "must be a valid integer"),
    ("users[0].id", True, "must be a valid integer"),
    ("users[0].id", 0, "must be greater than 0, not 0"),
    ("users[0].userName", "x", "is not a known key"),
    ("users[0].default_schedule_id", 1, "is not a known key"),
    ("users[0].username", "", "must have at least 1 character"),
    ("users[0].apiKeys", "cal_x", "must be a valid list"),
    ("users[0].apiKeys[1]", 7, "must be a valid string"),
    (
        "schedules[1].availability[0].endTime",
        "9:00",
        "must be a time of day, such as 09:00, not '9:00'",
    ),
    (
        "schedules[1].availability[0].endTime",
        "24:00",
        "must be a time of day, such as 09:00, not '24:00'",
    ),
    ("schedules[1].availability[0].days", [], "must have at least 1 item"),
    (
        "schedules[1].overrides[0].date",
        "25.12.2030",
        "must be a date, such as 2050-09-05, not '25.12.2030'",
    ),
    ("schedules[1].overrides[0].date", "2030-02-30", "not '2030-02-30'"),
    ("eventTypes[0].lengthInMinutes", 0, "must be greater than or equal to 1"),
    (
        "eventTypes[0].lengthInMinutes",
        10**9,
        "must be less than or equal to 527040, not 1000000000",
    ),
    ("eventTypes[0].successRedirectUrl", "x", "is not a known key"),
    ("eventTypes[0].bookingLimitsCount", 3, "must be a table"),
    ("eventTypes[0].afterEventBuffer", -5, "must be greater than or equal to 0"),
    ("eventTypes[1].schedulingType", "managed", "must be 'collective' or 'roundRobin'"),
    ("bookings[0].start", "tomorrow", "must be an ISO 8601 time, not 'tomorrow'"),
    ("bookings[0].start", "2030-02-30", "must be an ISO 8601 time"),
    ("bookings[0].start", 7, "must be an ISO 8601 time"),
    (
        "bookings[0].start",
        datetime.fromisoformat("0001-01-01T00:00+01:00"),
        "must be in the years 1 to 9999, in UTC too",
    ),
    ("bookings[0].status", "maybe", "'cancelled' or 'rejected', not 'maybe'"),
]

# Path and value, and then where the problem is, which is further in, and why it is one.
WRONG_INSIDE: list[tuple[str, object, str, str]] = [
    ("users[2]", {"id": 3}, "users[2].username", "is missing"),
    ("eventTypes[3].seats", {"seatsPerTimeSlot": 1001}, "eventTypes[3].seats.seatsPerTimeSlot", ""),
    (
        "eventTypes[0].bookingLimitsDuration",
        {"week": 0},
        "eventTypes[0].bookingLimitsDuration.week",
        "must be greater than or equal to 1",
    ),
    (
        "eventTypes[0].bookingLimitsCount",
        {"hour": 1},
        "eventTypes[0].bookingLimitsCount.hour",
        "is not a known key",
    ),
    (
        "eventTypes[0].bookingWindow",
        {"type": "rolling", "value": 3},
        "eventTypes[0].bookingWindow.type",
        "must be 'calendarDays', 'businessDays' or 'range'",
    ),
    (
        "eventTypes[0].bookingWindow",
        {"type": "range", "value": ["2030-01-01", "2030-02-30"]},
        "eventTypes[0].bookingWindow.value",
        "",
    ),
    (
        "users[0].travel",
        [{"startDate": "2030-02-30", "endDate": "2030-03-01", "timeZone": "UTC"}],
        "users[0].travel[0].startDate",
        "",
    ),
    (
        "users[0].outOfOffice",
        [{"start": "2030-03-01"}],
        "users[0].outOfOffice[0].end",
        "is missing",
    ),
    ("users[0].calendars", [""], "users[0].calendars[0]", "must have at least 1 character"),
    (
        "schedules[1].availability[0].days",
        ["Mon"],
        "schedules[1].availability[0].days[0]",
        "must be 'Monday', ",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "reason"),
    [(path, value, path, reason) for path, value, reason in WRONG] + WRONG_INSIDE,
)
def test_a_wrong_value_is_refused(
    first_problem: Callable[[str, object], Problem], path: str, value: object, key: str, reason: str
) -> None:
    problem = first_problem(path, value)
    assert problem.key == key
    assert reason in problem.reason


def test_what_is_right_is_kept_beside_what_is_not() -> None:
    tables = Tables({"users": [{"id": 1, "username": "one"}, {"id": 2}, 3]}, {})
    assert [(key, user.username) for key, user in tables.users] == [("users[0]", "one")]
    assert [key for key, _ in tables.problems] == ["users[1].username", "users[2]"]
    assert tables.ids("users") == {1, 2}


@pytest.mark.parametrize(
    "value",
    [
        *(0, 36_526, True, 1.5, "5", [], ["2030-01-01"], ["2030-01-01", 7]),
        *(["2030-01-01", MONDAY], ["2030-01-01", "January"], ["2030-01-01"] * 3),
    ],
)
def test_what_is_no_booking_window(
    first_problem: Callable[[str, object], Problem], value: object
) -> None:
    window = {"type": "range", "value": value}
    key, reason = first_problem("eventTypes[0].bookingWindow", window)
    assert key == "eventTypes[0].bookingWindow.value"
    assert reason.startswith("must be 1 to 36525 days, or a list of two dates, not ")


@pytest.mark.parametrize("file", ["examples/catalog.toml", "docs/server.md"])
def test_every_key_is_explained(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    names = {field.alias for table in tables_below(Table) for field in table.model_fields.values()}
    assert len(names) > 50
    assert {name for name in names if name and name not in text} == set()


def tables_below(table: type[Table]) -> Iterator[type[Table]]:
    for each in table.__subclasses__():
        yield each
        yield from tables_below(each)


# --- What tables mean ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2030-09-02T12:00:00+02:00", MONDAY.replace(hour=10)),
        ("2030-09-02", MONDAY),
        (datetime.fromisoformat("2030-09-02T12:00:00+02:00"), MONDAY.replace(hour=10)),
        (datetime(2030, 9, 2, 10), MONDAY.replace(hour=10)),  # noqa: DTZ001 - as TOML reads it
        (date(2030, 9, 2), MONDAY),
    ],
)
def test_times_as_json_and_toml_write_them(written: object, meant: datetime) -> None:
    raw = {"uid": "a", "eventTypeId": 1, "start": written, "end": written}
    assert BookingTable.model_validate(raw).start == meant


def test_hours_as_cal_com_means_them() -> None:
    rules = [
        {"days": ["Monday"], "startTime": "18:00", "endTime": "23:59"},
        {"days": ["Tuesday"], "startTime": "00:00", "endTime": "01:00"},
        {"days": ["Monday"], "startTime": "08:00", "endTime": "09:00"},
    ]
    raw = {"id": 1, "timeZone": "UTC", "availability": rules}
    schedule = ScheduleTable.model_validate(raw).schedule()

    def covers(hours: float, until: float) -> bool:
        start, end = MONDAY + timedelta(hours=hours), MONDAY + timedelta(hours=until)
        return schedule.covers(to_us(start), to_us(end))

    assert covers(18, 25)  # over midnight
    assert covers(8, 9)
    assert not covers(8, 9.01)


def test_hours_when_nothing_is_said_of_them() -> None:
    """Monday to Friday, 09:00 to 17:00, here in Rome."""
    schedule = ScheduleTable.model_validate({"id": 1, "timeZone": "Europe/Rome"}).schedule()
    monday = to_us(MONDAY), to_us(MONDAY + timedelta(days=1))
    hour = 3_600_000_000
    assert list(schedule.windows(*monday)) == [(monday[0] + 7 * hour, monday[0] + 15 * hour)]


@pytest.mark.parametrize("written", ["2030-12-25", date(2030, 12, 25)])
def test_several_overrides_on_one_date_add_up(written: object) -> None:
    overrides = [
        {"date": written, "startTime": "08:00", "endTime": "09:00"},
        {"date": written, "startTime": "20:00", "endTime": "23:59"},
    ]
    raw: dict[str, Any] = {"id": 1, "timeZone": "UTC", "overrides": overrides}
    hours = ScheduleTable.model_validate(raw).schedule().overrides[date(2030, 12, 25)]
    assert list(hours) == [Hours(480, 540), Hours(1200, 1440)]


def test_trips_and_absences() -> None:
    """Hours are kept, in another zone; and there are none on dates out of office."""
    raw = {
        "id": 1,
        "username": "one",
        "travel": [{"startDate": "2030-09-02", "endDate": "2030-09-02", "timeZone": "Asia/Tokyo"}],
        "outOfOffice": [{"start": date(2030, 9, 3), "end": "2030-09-04"}],
    }
    user = UserTable.model_validate(raw)
    schedule = ScheduleTable.model_validate({"id": 1, "timeZone": "UTC"}).schedule(
        user.trips(), user.absences()
    )
    week = to_us(MONDAY), to_us(MONDAY + timedelta(days=7))
    hours = [(start - week[0]) // 3_600_000_000 for start, _ in schedule.windows(*week)]
    assert hours == [0, 3 * 24 + 9, 4 * 24 + 9]  # Tokyo's nine o'clock is midnight


def test_how_far_ahead() -> None:
    def window(value: object) -> BookingWindowTable:
        return BookingWindowTable.model_validate({"type": "range", "value": value})

    assert (window(30).days, window(30).dates) == (30, None)
    dates = window(["2030-01-01", date(2030, 2, 1)])
    assert (dates.days, dates.dates) == (None, (date(2030, 1, 1), date(2030, 2, 1)))
    assert BookingWindowTable(disabled=True).days is None


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("https://platform.example/callback?a=b#c", "https://platform.example"),
        ("HTTP://Platform.Example:8080", "http://platform.example:8080"),
        ("ftp://platform.example", None),
        ("platform.example", None),
        ("https://", None),
        ("http://[", None),
    ],
)
def test_the_origin_of_an_address(uri: str, sent: str | None) -> None:
    assert origin(uri) == sent
