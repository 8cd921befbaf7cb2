"""From a file to a catalog: what cannot be read, and what the tables come to mean."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any, Final

import pytest

from slotengine import DateRange, EventType, Limit, Period, RollingDays, Schedule, Windows, minutes
from slotengine.calcom.catalog.load import CatalogError, catalog_from, load_catalog
from slotengine.core.time.instant import to_us

EXAMPLE = Path(__file__).parents[3] / "examples" / "catalog.toml"
MONDAY = datetime(2030, 9, 2, tzinfo=UTC)

# --- Reading ---------------------------------------------------------------------------


def test_what_is_right_becomes_a_catalog(right: dict[str, Any]) -> None:
    assert repr(catalog_from(right)) == "<Catalog: 4 event types, 3 users, 2 bookings>"


@pytest.mark.parametrize("raw", [None, [], "text", 7])
def test_what_is_no_table_is_refused(raw: object) -> None:
    with pytest.raises(CatalogError) as caught:
        catalog_from(raw)
    assert caught.value.problems == (("", f"must be a table, not {type(raw).__name__}"),)


def test_the_example_is_right() -> None:
    assert load_catalog(EXAMPLE).event_types.keys() == set(range(1, 9))


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    raw = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    path = tmp_path / "catalog.JSON"
    path.write_text(json.dumps(raw), encoding="utf-8")
    shutil.copytree(EXAMPLE.parent / "calendars", tmp_path / "calendars")
    from_json, from_toml = load_catalog(path), load_catalog(str(EXAMPLE))
    assert from_json.calendars == from_toml.calendars
    assert from_json.directory == from_toml.directory
    assert from_json.event_types == from_toml.event_types
    assert from_json.resources == from_toml.resources
    assert from_json.bookings == from_toml.bookings


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.toml", b"users = [", "cannot be read: "),
        ("a.toml", b"\xff", "cannot be read: "),
        ("a.toml", b"a = " + b"[" * 5000, "cannot be read: "),
        ("a.json", b"{", "cannot be read: "),
        ("a.json", b"[" * 100_000, "cannot be read: "),
        ("a.json", b"[]", "must be a table, not list"),
        ("a.json", b'{"users": [{"id": 1}]}', "users[0].username: is missing"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert str(caught.value).startswith(f"{path} is not a usable catalog:\n  {reason}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError) as caught:
            load_catalog(path)
        assert caught.value.file == str(path)


SECRETS = ("cal_one", "cal_two", "token-one", "oauth-secret")


def test_secrets_are_shown_nowhere(right: dict[str, Any]) -> None:
    catalog = catalog_from(right)
    shown = [repr(catalog), repr(catalog.api_keys), repr(catalog.access_tokens)]
    shown += [repr(client) for client in catalog.oauth_clients.values()]

    right["users"][0]["apiKeys"] = "cal_one"
    right["users"][1]["accessTokens"] = [{"token": ["token-one"]}, {"token": "token-one", "a": 1}]
    right["oauthClients"][0]["secret"] = {"value": "oauth-secret"}
    with pytest.raises(CatalogError) as caught:
        catalog_from(right)
    shown += [str(caught.value), repr(caught.value)]
    assert len(caught.value.problems) == 5
    assert not [secret for secret in SECRETS for text in shown if secret in text]


# --- Event types -----------------------------------------------------------------------


def team_type(*hosts: Mapping[str, object], **fields: object) -> dict[str, object]:
    kind = {"teamId": 10, "schedulingType": "roundRobin", "hosts": list(hosts)}
    return {"id": 9, "slug": "another", "lengthInMinutes": 30} | kind | fields


def rules(right: dict[str, Any], **fields: object) -> EventType:
    """Return what the first event type becomes with these fields."""
    right["eventTypes"][0] |= fields
    return catalog_from(right).event_types[1].rules


def test_an_individual_event_type(right: dict[str, Any]) -> None:
    solo = catalog_from(right).event_types[1]
    assert (solo.length, solo.lengths, solo.round_robin) == (30, (15, 30), False)
    made = solo.rules
    assert (made.id, made.length, made.lengths) == ("1", minutes(30), (minutes(15), minutes(30)))
    assert [(host.resource, host.schedule) for host in made.fixed] == [("user:1", None)]
    assert (made.groups, made.seats, made.limits, made.window) == ((), None, (), None)
    assert (made.notice, made.interval, made.offset) == (minutes(120), None, minutes(0))
    assert (made.first_only, made.optimized, made.zone) == (False, False, "Europe/Rome")


def test_seats_and_buffers(right: dict[str, Any]) -> None:
    made = catalog_from(right).event_types[4].rules
    assert (made.seats, made.before, made.after) == (3, minutes(15), minutes(30))


def test_rules(right: dict[str, Any]) -> None:
    made = rules(
        right,
        slotInterval=20,
        offsetStart=5,
        minimumBookingNotice=0,
        onlyShowFirstAvailableSlot=True,
        showOptimizedSlots=True,
        bookingLimitsCount={"day": 2, "week": 5},
        bookingLimitsDuration={"month": 600, "year": 6000},
    )
    assert (made.interval, made.offset, made.notice) == (minutes(20), minutes(5), minutes(0))
    assert (made.first_only, made.optimized) == (True, True)
    assert made.limits == (
        Limit(Period.DAY, count=2),
        Limit(Period.WEEK, count=5),
        Limit(Period.MONTH, time=minutes(600)),
        Limit(Period.YEAR, time=minutes(6000)),
    )


@pytest.mark.parametrize(
    ("window", "meant"),
    [
        ({"type": "calendarDays", "value": 7}, RollingDays(7)),
        ({"type": "businessDays", "value": 3}, RollingDays(3, business=True)),
        (
            {"type": "range", "value": ["2030-01-01", "2030-01-31"]},
            DateRange(date(2030, 1, 1), date(2030, 1, 31)),
        ),
        ({"disabled": True}, None),
    ],
)
def test_windows(right: dict[str, Any], window: dict[str, object], meant: object) -> None:
    assert rules(right, bookingWindow=window).window == meant


def test_no_limits(right: dict[str, Any]) -> None:
    none = {"disabled": True}
    assert rules(right, bookingLimitsCount=none, bookingLimitsDuration=none).limits == ()


def test_who_takes_part(right: dict[str, Any]) -> None:
    right["users"] += [{"id": 4, "username": "four"}]
    right["teams"][0]["members"] = [{"userId": user["id"]} for user in right["users"]]
    one, two, three, four = (dict[str, object](userId=number) for number in (1, 2, 3, 4))

    def hosts_of(*hosts: Mapping[str, object], **fields: object) -> list[list[str]]:
        right["eventTypes"][4:] = [team_type(*hosts, **fields)]
        made = catalog_from(right).event_types[9].rules
        return [[host.resource for host in hosts] for hosts in (made.fixed, *made.groups)]

    assert hosts_of(one, two, schedulingType="collective") == [["user:1", "user:2"]]
    assert hosts_of(one, two) == [[], ["user:1", "user:2"]]
    fixed = two | {"mandatory": True}
    assert hosts_of(one, fixed, three) == [["user:2"], ["user:1", "user:3"]]
    assert hosts_of(fixed) == [["user:2"]]
    a, b = dict[str, object](groupId="a"), dict[str, object](groupId="b")
    assert hosts_of(one | a, two | b, three | a, four) == [
        [],
        ["user:1", "user:3"],
        ["user:2"],
        ["user:4"],
    ]


def test_weights(right: dict[str, Any]) -> None:
    right["eventTypes"] += [team_type({"userId": 1, "weight": 300}, {"userId": 2})]
    catalog = catalog_from(right)
    weights = [
        [host.weight for host in catalog.event_types[id].rules.groups[0]]
        for id in (3, 9)  # noqa: A001
    ]
    assert weights == [[100, 100], [300, 100]]


def test_whose_hours_count(right: dict[str, Any]) -> None:
    """The event type's schedule; else those chosen for its hosts; else their own."""

    def hours(**fields: object) -> list[Windows | None]:
        hosts = {"userId": 1}, {"userId": 2, "scheduleId": 2}
        right["eventTypes"][4:] = [team_type(*hosts, **fields)]
        return [host.schedule for host in catalog_from(right).event_types[9].rules.hosts()]

    one = catalog_from(right).resources["user:1"]
    assert hours(scheduleId=1) == [one, one]
    own, chosen = hours()
    assert own is None
    assert isinstance(chosen, Schedule)
    assert chosen.zone == "UTC"


def test_whose_dates_count(right: dict[str, Any]) -> None:
    """Those of the event type's schedule; else of the first host's."""

    def zone(*hosts: Mapping[str, object], **fields: object) -> str | None:
        right["eventTypes"][4:] = [team_type(*hosts, **fields)]
        return catalog_from(right).event_types[9].rules.zone

    right["schedules"][1]["timeZone"] = "Asia/Tokyo"
    assert zone({"userId": 1}, scheduleId=2) == "Asia/Tokyo"
    assert zone({"userId": 1, "scheduleId": 2}) == "Asia/Tokyo"
    assert zone({"userId": 2}, {"userId": 1}) == "Europe/Rome"
    assert zone({"userId": 2}) is None


def test_who_is_away_is_away_from_other_hours_too(right: dict[str, Any]) -> None:
    right["users"][0] |= {"outOfOffice": [{"start": "2030-09-02", "end": "2030-09-02"}]}
    right["schedules"][1] |= {"timeZone": "Asia/Tokyo"}
    right["schedules"][1]["availability"][0] |= {"startTime": "00:00", "endTime": "12:00"}
    (host,) = rules(right, scheduleId=2).fixed
    assert host.schedule is not None
    # Mondays from midnight to noon in Tokyo; in Rome it is Sunday until 07:00 there.
    first = to_us(MONDAY - timedelta(hours=9))
    hour = 3_600_000_000
    assert list(host.schedule.windows(first, first + 30 * hour)) == [(first, first + 7 * hour)]
    later = first + 7 * 24 * hour
    assert list(host.schedule.windows(later, later + 30 * hour)) == [(later, later + 12 * hour)]


def test_who_is_away_has_no_hours(right: dict[str, Any]) -> None:
    right["users"][0]["outOfOffice"] = [{"start": "2030-09-02", "end": "2030-09-02"}]
    right["users"][1]["defaultScheduleId"] = 1
    resources = catalog_from(right).resources
    one, two = resources["user:1"], resources["user:2"]
    assert one is not None
    assert two is not None
    day = to_us(MONDAY), to_us(MONDAY + timedelta(days=1))
    assert len(list(two.windows(*day))) == 1
    assert list(one.windows(*day)) == []


# --- Credentials -----------------------------------------------------------------------


def test_who_may_choose_durations(right: dict[str, Any]) -> None:
    event_types = catalog_from(right).event_types
    assert event_types[1].permitted == {1, 2}  # the owner, and who shares the team
    assert event_types[4].permitted == {1, 2}
    assert event_types[2].permitted == {1, 2, 3}  # the team, and its organization


def test_credentials_are_found_by_what_was_sent(right: dict[str, Any]) -> None:
    catalog = catalog_from(right)
    assert catalog.api_keys.find("cal_one") == 1
    assert catalog.api_keys.find("cal_two") == 2
    assert catalog.api_keys.find("cal_three") is None
    token = catalog.access_tokens.find("token-one")
    assert token is not None
    assert token.user_id == 1
    assert token.origins == frozenset({"https://platform.example"})
    assert catalog.oauth_clients["platform"].secret.find("oauth-secret")
    assert not catalog.oauth_clients["platform"].secret.find("oauth-secret2")


# --- Bookings --------------------------------------------------------------------------


def test_bookings_as_toml_writes_them() -> None:
    raw = tomllib.loads(
        """
        users = [{ id = 1, username = "one" }]
        eventTypes = [{ id = 1, slug = "one", ownerId = 1, lengthInMinutes = 30 }]
        [[bookings]]
        uid = "a"
        eventTypeId = 1
        start = 2030-09-02T12:00:00+02:00
        end = 2030-09-02T11:00:00
        [[bookings]]
        uid = "b"
        eventTypeId = 1
        start = 2030-09-03
        end = 2030-09-04
        """
    )
    assert [(each.start, each.length) for each in catalog_from(raw).bookings] == [
        (MONDAY.replace(hour=10), timedelta(hours=1)),
        (MONDAY + timedelta(days=1), timedelta(days=1)),
    ]


def test_who_has_a_booking(right: dict[str, Any]) -> None:
    """Who is named; else the owner, or all hosts."""
    times = {"start": "2030-10-01", "end": "2030-10-02"}
    right["bookings"] = [
        {"uid": "a", "eventTypeId": 2, "hostIds": [2]} | times,
        {"uid": "b", "eventTypeId": 1} | times,
        {"uid": "c", "eventTypeId": 2, "start": "2030-11-01", "end": "2030-11-02"},
    ]
    bookings = catalog_from(right).bookings
    assert [each.hosts for each in bookings] == [{"user:2"}, {"user:1"}, {"user:1", "user:2"}]


def test_a_key_that_is_given_twice_is_refused_in_json_too(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text('{"users": [{"id": 1, "username": "a", "id": 2}]}', encoding="utf-8")
    with pytest.raises(CatalogError, match="the key 'id' is given twice"):
        load_catalog(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("marked.json", '{"users": [{"id": 1, "username": "a"}]}'),
        ("marked.toml", '[[users]]\nid = 1\nusername = "a"\n'),
    ],
)
def test_a_byte_order_mark_does_not_matter(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert list(load_catalog(path).resources) == ["user:1"]


# --- Names -----------------------------------------------------------------------------


def test_who_is_found_where(right: dict[str, Any]) -> None:
    directory = catalog_from(right).directory
    assert directory.user("one", None) == 1
    assert directory.user("one", 100) == 1  # of a team of it
    assert directory.user("three", 100) == 3  # of the organization itself
    right["teams"][0]["members"][0]["accepted"] = False
    right["eventTypes"][1:] = []
    right["bookings"] = []
    directory = catalog_from(right).directory
    assert directory.user("one", 100) is None
    assert directory.user("nobody", None) is None


# --- CalendarReader -------------------------------------------------------------------------

CALENDAR = """BEGIN:VCALENDAR
BEGIN:VEVENT
UID:private@example.com
DTSTART:20300902T100000
DURATION:PT1H
SUMMARY:A secret
END:VEVENT
END:VCALENDAR
"""


def test_calendars_are_read_from_the_catalogs_folder(right: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_text(CALENDAR, encoding="utf-8")
    right["users"][0]["calendars"] = ["a.ics"]
    right["users"][1]["calendars"] = [str(tmp_path / "a.ics"), "a.ics"]
    catalog = catalog_from(right, folder=tmp_path)
    found = [(each.source, each.resource, each.zone) for each in catalog.calendars]
    assert found == [
        ("calendar:a.ics", "user:1", "Europe/Rome"),
        (f"calendar:{tmp_path / 'a.ics'}", "user:2", None),
        ("calendar:a.ics", "user:2", None),
    ]
    ten = MONDAY.replace(hour=10)
    assert catalog.calendars[0].busy(MONDAY)[0][0] == ten - timedelta(hours=2)
    assert catalog.calendars[2].busy(MONDAY) == [(ten, ten + timedelta(hours=1))]
    assert "secret" not in repr(catalog.calendars)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none.ics", "'none.ics' cannot be read: No such file or directory"),
        (".", "'.' cannot be read: Is a directory"),
        ("empty.ics", "'empty.ics' cannot be read: the file: it is empty"),
        ("text.ics", "'text.ics' cannot be read: the file: it is not iCalendar text"),
        ("a\0b", "'a\\x00b' cannot be read: "),
    ],
)
def test_a_calendar_that_cannot_be_read(
    right: dict[str, Any], tmp_path: Path, path: str, reason: str
) -> None:
    (tmp_path / "empty.ics").write_text("", encoding="utf-8")
    (tmp_path / "text.ics").write_text("A secret", encoding="utf-8")
    right["users"][1]["calendars"] = [path, path + "2"]
    with pytest.raises(CatalogError) as caught:
        catalog_from(right, folder=tmp_path)
    first, second = caught.value.problems
    assert (first.key, second.key) == ("users[1].calendars[0]", "users[1].calendars[1]")
    assert first.reason.startswith(reason)
    assert "secret" not in str(caught.value)


def test_what_a_user_declined_takes_no_time(right: dict[str, Any], tmp_path: Path) -> None:
    declined = "ATTENDEE;PARTSTAT=DECLINED:mailto:one@example.org\nSUMMARY"
    (tmp_path / "a.ics").write_text(CALENDAR.replace("SUMMARY", declined), encoding="utf-8")
    right["users"][0] |= {"calendars": ["a.ics"], "emails": ["two@example.org", "One@example.org"]}
    right["users"][1]["calendars"] = ["a.ics"]
    own, other = catalog_from(right, folder=tmp_path).calendars
    assert own.busy(MONDAY) == []
    assert len(other.busy(MONDAY)) == 1
    assert "example.org" not in repr((own, other))


def test_the_calendars_zone_counts_before_the_users(right: dict[str, Any], tmp_path: Path) -> None:
    text = CALENDAR.replace("BEGIN:VEVENT", "X-WR-TIMEZONE:America/New_York\nBEGIN:VEVENT", 1)
    (tmp_path / "a.ics").write_text(text, encoding="utf-8")
    right["users"][0]["calendars"] = right["users"][1]["calendars"] = ["a.ics"]
    for calendar in catalog_from(right, folder=tmp_path).calendars:
        assert calendar.busy(MONDAY)[0][0] == MONDAY.replace(hour=14)


def test_what_is_wrong_in_a_calendar_is_a_warning(right: dict[str, Any], tmp_path: Path) -> None:
    odd = "BEGIN:VEVENT\nUID:odd\nDTSTART:20300902T120000Z\nDTEND:later\nEND:VEVENT\n"
    text = CALENDAR.replace("END:VCALENDAR", odd * 7 + "END:VCALENDAR")
    (tmp_path / "a.ics").write_text(text, encoding="utf-8")
    right["users"][0]["calendars"] = right["users"][1]["calendars"] = ["a.ics"]
    catalog = catalog_from(right, folder=tmp_path)
    assert len(catalog.calendars[1].busy(MONDAY)) == 2
    assert list(catalog.warnings) == [
        *(
            f"the calendar a.ics: event 'odd', line {line}: DTEND cannot be read: 'later'; "
            "assumed: it lasts a day, unless something else says how long"
            for line in range(11, 36, 5)
        ),
        "the calendar a.ics: 2 more problems",
    ]


LATER: Final = CALENDAR.replace("20300902T100000", "20300902T150000")
SHORT: Final = {
    "cut short": LATER[:-20],
    "cut shorter": LATER[:20],
    "an error page": "<html></html>",
    "nothing": "",
}


@pytest.mark.parametrize("text", SHORT.values(), ids=SHORT)
def test_a_file_that_is_cut_short_frees_nothing(
    right: dict[str, Any], tmp_path: Path, text: str
) -> None:
    """What it said as a whole counts until it is whole again, over restarts."""
    file, copies = tmp_path / "a.ics", tmp_path / "kept" / "calendars"
    right["users"][1]["calendars"] = ["a.ics"]
    warnings: list[str] = []

    def hours() -> list[int]:
        catalog = catalog_from(right, folder=tmp_path, keep_calendars=copies)
        warnings[:] = catalog.warnings
        return sorted({begin.hour for begin, _ in catalog.calendars[0].busy(MONDAY)})

    file.write_text(CALENDAR, encoding="utf-8")
    assert hours() == [10]
    (copy,) = copies.iterdir()
    assert (copy.read_text(encoding="utf-8"), copy.stat().st_mode & 0o77) == (CALENDAR, 0)
    file.write_text(text, encoding="utf-8")
    assert warnings == []
    for _ in range(2):
        assert hours() == ([10, 15] if text == SHORT["cut short"] else [10])
        assert "its last complete copy counts as well" in warnings[0]
    file.write_text(LATER, encoding="utf-8")
    assert hours() == [15]
    file.write_text(text, encoding="utf-8")
    assert hours() == [15]
    assert list(copies.iterdir()) == [copy]


@pytest.mark.parametrize("damaged", ["", "junk"])
@pytest.mark.parametrize("text", [LATER[:-20], "<html></html>"], ids=["cut short", "an error"])
def test_a_copy_that_is_damaged_is_none(
    right: dict[str, Any], tmp_path: Path, text: str, damaged: str
) -> None:
    file, copies = tmp_path / "a.ics", tmp_path / "kept"
    right["users"][1]["calendars"] = ["a.ics"]
    file.write_text(CALENDAR, encoding="utf-8")
    catalog_from(right, folder=tmp_path, keep_calendars=copies)
    (copy,) = copies.iterdir()
    copy.write_text(damaged, encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    if text in LATER:
        catalog = catalog_from(right, folder=tmp_path, keep_calendars=copies)
        assert [begin.hour for begin, _ in catalog.calendars[0].busy(MONDAY)] == [15]
        assert "there is no copy of it" in catalog.warnings[0]
    else:
        with pytest.raises(CatalogError, match=r"not iCalendar text"):
            catalog_from(right, folder=tmp_path, keep_calendars=copies)
    file.write_text(CALENDAR, encoding="utf-8")
    catalog_from(right, folder=tmp_path, keep_calendars=copies)
    assert copy.read_text(encoding="utf-8") == CALENDAR


def test_a_copy_that_cannot_be_written_leaves_nothing(
    right: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: int) -> None:
        raise OSError(ENOSPC, "No space left on device")

    (tmp_path / "a.ics").write_text(CALENDAR, encoding="utf-8")
    right["users"][1]["calendars"] = ["a.ics"]
    monkeypatch.setattr("slotengine.calcom.catalog.calendar_files.os.fsync", full)
    catalog_from(right, folder=tmp_path, keep_calendars=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []
    assert "No space left on device" in caplog.text


def test_without_a_copy_a_file_that_is_cut_short_says_what_is_there(
    right: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a.ics").write_text(LATER[:-20], encoding="utf-8")
    right["users"][1]["calendars"] = ["a.ics"]
    catalog = catalog_from(right, folder=tmp_path)
    assert [begin.hour for begin, _ in catalog.calendars[0].busy(MONDAY)] == [15]
    assert catalog.warnings[0] == (
        "the calendar a.ics cannot be read to its end (it is truncated, or takes too much work); "
        "there is no copy of it"
    )


def test_a_folder_that_cannot_be_written_is_a_warning(
    right: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.ics").write_text(CALENDAR, encoding="utf-8")
    right["users"][1]["calendars"] = ["a.ics"]
    catalog_from(right, folder=tmp_path, keep_calendars=tmp_path / "a.ics")
    assert "cannot save a copy of the calendar" in caplog.text
