"""The search on the wire: every line that the contract has of its query and of its data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, available_timezones

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slotengine.calcom.server.slots_wire import (
    LONGEST_MINUTES,
    AnyQuery,
    ById,
    ByTeam,
    ByUser,
    ByUsernames,
    OfferedSlot,
    SeatCount,
    SlotsByDate,
    SlotsQuery,
    parse_query,
    slots_data,
)
from slotengine.calcom.wire import HttpError, error_body
from slotengine.core.time.instant import to_us

TIMES = "start=2050-09-05&end=2050-09-06"
MIDNIGHT = datetime(2050, 9, 5, tzinfo=UTC)


def parsed(text: str) -> AnyQuery:
    return parse_query(parse_qsl(text, keep_blank_values=True))


def message(text: str) -> str:
    with pytest.raises(HttpError) as caught:
        parsed(text)
    assert (caught.value.status, caught.value.details) == (400, None)
    return caught.value.message


def with_id(text: str = "") -> AnyQuery:
    return parsed(f"eventTypeId=1&{TIMES}&{text}")


def wrong_with_id(text: str) -> str:
    return message(f"eventTypeId=1&{TIMES}&{text}")


# --- 3.2: how problems are told --------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("start=x&end=2050", "start property is wrong,start must be a valid ISO 8601 date string "),
        ("start=2050&end=x", "end property is wrong,end must be a valid ISO 8601 date string "),
        (f"{TIMES}&timeZone=Rome", "timeZone property is wrong,timeZone must be a valid IANA time-"
         "zone "),
        (f"{TIMES}&duration=x", "duration property is wrong,duration must be a number conforming "
         "to the specified constraints "),
        (f"{TIMES}&format=x", "format property is wrong,slotFormat must be either 'range' or 'time"
         "' "),
        (f"{TIMES}&foo=1", "foo property is wrong,property foo should not exist "),
        (f"{TIMES}&bookingUidToReschedule=a&bookingUidToReschedule=b",
         "bookingUidToReschedule property is wrong,bookingUidToReschedule must be a string "),
        (f"{TIMES}&rrHostSubsetIds=x", "rrHostSubsetIds property is wrong,each value in "
         "rrHostSubsetIds must be a number conforming to the specified constraints "),
    ],
)  # fmt: skip
def test_the_text_for_each_parameter(sent: str, said: str) -> None:
    assert message(f"eventTypeId=1&{sent}") == said


def test_problems_are_joined_those_of_unknown_parameters_first() -> None:
    assert message("eventTypeId=1&timeZone=Rome&bar=1&start=2050&foo=2") == (
        "bar property is wrong,property bar should not exist , "
        "foo property is wrong,property foo should not exist , "
        "end property is wrong,end must be a valid ISO 8601 date string , "
        "timeZone property is wrong,timeZone must be a valid IANA time-zone "
    )


def test_a_query_of_nothing_is_of_usernames() -> None:
    assert message("") == (
        "usernames property is wrong,The array must contain at least 2 elements. , "
        "organizationSlug property is wrong,organizationSlug must be a string , "
        "start property is wrong,start must be a valid ISO 8601 date string , "
        "end property is wrong,end must be a valid ISO 8601 date string "
    )


# --- 4.1: which slots ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kind", "target"),
    [
        ("eventTypeId=7", ById, (7,)),
        ("eventTypeId=0", ById, (0,)),
        (
            "username=bob&eventTypeSlug=talk",
            ByUser,
            ("talk", "bob", None),
        ),
        (
            "username=bob&eventTypeSlug=talk&organizationSlug=o",
            ByUser,
            ("talk", "bob", "o"),
        ),
        (
            "username=bob&eventTypeSlug=talk&organizationSlug=",
            ByUser,
            ("talk", "bob", None),
        ),
        (
            "username=&eventTypeSlug=",
            ByUser,
            ("", "", None),
        ),
        (
            "teamSlug=t&eventTypeSlug=talk",
            ByTeam,
            ("talk", "t", None),
        ),
        (
            "teamSlug=t&eventTypeSlug=talk&organizationSlug=o",
            ByTeam,
            ("talk", "t", "o"),
        ),
        (
            "teamSlug=t&eventTypeSlug=talk&organizationSlug=",
            ByTeam,
            ("talk", "t", None),
        ),
        (
            "usernames=alice,bob&organizationSlug=o",
            ByUsernames,
            (("alice", "bob"), "o"),
        ),
        (
            "usernames=+alice+,%20bob&organizationSlug=o",
            ByUsernames,
            (("alice", "bob"), "o"),
        ),
        (
            "usernames=bob&usernames=+alice&organizationSlug=o",
            ByUsernames,
            (("bob", "alice"), "o"),
        ),
        (
            "usernames[]=a&usernames[]=b,c&organizationSlug=o",
            ByUsernames,
            (("a", "b", "c"), "o"),
        ),
        (
            "usernames=alice,bob&organizationSlug=",
            ByUsernames,
            (("alice", "bob"), ""),
        ),
    ],
)
def test_the_target_groups(sent: str, kind: type[AnyQuery], target: tuple[object, ...]) -> None:
    query = parsed(f"{sent}&{TIMES}")
    assert type(query) is kind
    own = [name for name in kind.model_fields if name not in SlotsQuery.model_fields]
    assert tuple(getattr(query, name) for name in own) == target


@pytest.mark.parametrize(
    ("sent", "unknown"),
    [
        # The first group that is there is chosen, and the parameters of others are refused.
        ("eventTypeId=1&username=bob&eventTypeSlug=talk", ["username", "eventTypeSlug"]),
        ("eventTypeId=1&organizationSlug=o", ["organizationSlug"]),
        ("eventTypeId=1&usernames=alice,bob", ["usernames"]),
        ("eventTypeId=1&slotFormat=range", ["slotFormat"]),
        ("username=bob&teamSlug=t&eventTypeSlug=talk", ["teamSlug"]),
        ("username=bob&eventTypeSlug=talk&usernames=alice,bob", ["usernames"]),
        ("teamSlug=t&eventTypeSlug=talk&usernames=alice,bob", ["usernames"]),
        # An example of the published description, which fails.
        ("usernames=alice,bob&username=bob&organizationSlug=o", ["username"]),
        ("usernames=alice,bob&organizationSlug=o&eventTypeSlug=talk", ["eventTypeSlug"]),
        ("eventTypeId=1&eventtypeid=1&Start=2050&Format=range", ["eventtypeid", "Start", "Format"]),
        ("eventTypeId=1&=1", [""]),
    ],
)
def test_what_another_group_has_is_unknown(sent: str, unknown: list[str]) -> None:
    assert message(f"{sent}&{TIMES}") == ", ".join(
        f"{name} property is wrong,property {name} should not exist " for name in unknown
    )


@pytest.mark.parametrize("sent", ["usernames=alice", "usernames=", "usernames[]=alice", ""])
def test_usernames_are_two_at_least(sent: str) -> None:
    assert message(f"{sent}&organizationSlug=o&{TIMES}") == (
        "usernames property is wrong,The array must contain at least 2 elements. "
    )


def test_usernames_need_an_organization() -> None:
    assert message(f"usernames=alice,bob&{TIMES}") == (
        "organizationSlug property is wrong,organizationSlug must be a string "
    )


@pytest.mark.parametrize("value", ["", "x", "1.5", "1e3", "0x1", "1 2", "٣", "9" * 19])
def test_an_event_type_id_is_a_number(value: str) -> None:
    assert message(f"eventTypeId={value}&{TIMES}") == (
        "eventTypeId property is wrong,"
        "eventTypeId must be a number conforming to the specified constraints "
    )


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("username=a&username=b&eventTypeSlug=talk", "username"),
        ("username[]=a&eventTypeSlug=talk", "username"),
        ("username=a&eventTypeSlug=talk&eventTypeSlug=talk", "eventTypeSlug"),
        ("teamSlug=a&teamSlug=b&eventTypeSlug=talk", "teamSlug"),
        ("teamSlug=a&eventTypeSlug=talk&organizationSlug[]=o", "organizationSlug"),
        ("usernames=a,b&organizationSlug=o&organizationSlug=o", "organizationSlug"),
    ],
)
def test_text_is_given_once(sent: str, name: str) -> None:
    assert message(f"{sent}&{TIMES}") == f"{name} property is wrong,{name} must be a string "


# --- 4.1: the other parameters ---------------------------------------------------------


def test_what_is_not_said() -> None:
    assert with_id().model_dump() == {
        "event_type_id": 1,
        "start": MIDNIGHT,
        "end": datetime(2050, 9, 6, 23, 59, 59, tzinfo=UTC),
        "time_zone": None,
        "duration": None,
        "format": "time",
        "booking_uid_to_reschedule": None,
        "rr_host_subset_ids": (),
    }
    assert not with_id().ranges


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Europe/Rome", "Europe/Rome"),
        ("europe/ROME", "Europe/Rome"),
        ("utc", "UTC"),
        ("GMT", "GMT"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    ],
)
def test_time_zones(sent: str, name: str) -> None:
    assert with_id(f"timeZone={sent}").time_zone == name


@pytest.mark.parametrize(
    "name",
    [
        "", "Rome", "Europe", "../UTC", "right/UTC", "posix/UTC", "localtime", "Factory",
        "%2B01:00", "Europe/Rome%00", "%20UTC", "zone.tab", "/usr/share/zoneinfo/UTC",
    ],
)  # fmt: skip
def test_what_is_no_time_zone(name: str) -> None:
    assert wrong_with_id(f"timeZone={name}") == (
        "timeZone property is wrong,timeZone must be a valid IANA time-zone "
    )


def test_a_time_zone_is_given_once() -> None:
    assert "timeZone must be a valid" in wrong_with_id("timeZone=UTC&timeZone=UTC")


@pytest.mark.parametrize("minutes", [1, 45, LONGEST_MINUTES])
def test_durations(minutes: int) -> None:
    assert with_id(f"duration={minutes}").duration == minutes


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "must be a number conforming to the specified constraints"),
        ("30m", "must be a number conforming to the specified constraints"),
        ("30.5", "must be a number conforming to the specified constraints"),
        ("9" * 5000, "must be a number conforming to the specified constraints"),
        ("0", "must not be less than 1"),
        ("-30", "must not be less than 1"),
        (str(LONGEST_MINUTES + 1), f"must not be greater than {LONGEST_MINUTES}"),
    ],
)
def test_what_is_no_duration(value: str, said: str) -> None:
    assert wrong_with_id(f"duration={value}") == f"duration property is wrong,duration {said} "


@pytest.mark.parametrize(
    ("value", "ranges"),
    [("time", False), ("range", True), ("Range", True), ("TIME", False), ("", False)],
)
def test_formats(value: str, ranges: bool) -> None:
    assert with_id(f"format={value}").ranges is ranges


@pytest.mark.parametrize(("value", "uid"), [("abc", "abc"), ("", None)])
def test_the_booking_to_reschedule(value: str, uid: str | None) -> None:
    assert with_id(f"bookingUidToReschedule={value}").booking_uid_to_reschedule == uid


@pytest.mark.parametrize(
    ("sent", "ids"),
    [
        ("rrHostSubsetIds[]=3&rrHostSubsetIds[]=1", (3, 1)),
        ("rrHostSubsetIds%5B%5D=3", (3,)),
        ("rrHostSubsetIds=3&rrHostSubsetIds=1", (3, 1)),
        ("rrHostSubsetIds=3,+1", (3, 1)),
        ("rrHostSubsetIds=3", (3,)),
    ],
)
def test_the_subset_of_hosts(sent: str, ids: tuple[int, ...]) -> None:
    assert with_id(sent).rr_host_subset_ids == ids


@pytest.mark.parametrize("value", ["", "1,", "1,x", "1.5"])
def test_what_is_no_subset_of_hosts(value: str) -> None:
    assert wrong_with_id(f"rrHostSubsetIds={value}").startswith(
        "rrHostSubsetIds property is wrong,each value in rrHostSubsetIds must be a number "
    )


# --- 4.2: the searched window ----------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2050-09-05", MIDNIGHT),
        ("2050-09-05T00:00:00Z", MIDNIGHT),
        ("2050-09-05T07:30", MIDNIGHT.replace(hour=7, minute=30)),  # in UTC
        ("2050-09-05T07:00:00.250%2B02:00", MIDNIGHT.replace(hour=5, microsecond=250_000)),
        ("2050-09-05T00:00:00.250Z", MIDNIGHT.replace(microsecond=250_000)),
        ("2050-W36-1", MIDNIGHT),
    ],
)
def test_the_start_is_used_as_it_is(start: str, first: datetime) -> None:
    query = parsed(f"eventTypeId=1&start={start}&end=2050-09-06")
    assert query.start == first
    assert query.earliest_start == to_us(first)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("2050-09-05", MIDNIGHT.replace(hour=23, minute=59, second=59)),
        ("2050-09-05T00:00:00Z", MIDNIGHT.replace(hour=23, minute=59, second=59)),
        ("2050-09-05T02:00%2B02:00", MIDNIGHT.replace(hour=23, minute=59, second=59)),
        ("2050-09-04T24:00Z", MIDNIGHT.replace(hour=23, minute=59, second=59)),
        ("2050-09-05T00:00:01Z", MIDNIGHT.replace(second=1)),
        ("2050-09-05T00:00:00.5Z", MIDNIGHT + timedelta(days=1, seconds=-0.5)),
        ("2050-09-05T00:00%2B02:00", MIDNIGHT - timedelta(hours=2)),
        ("2050-09-05T23:59:59.999Z", MIDNIGHT + timedelta(days=1, microseconds=-1000)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_end_at_midnight_is_the_whole_date(end: str, last: datetime) -> None:
    query = parsed(f"eventTypeId=1&start=2050-09-01&end={end}")
    assert query.end == last
    assert query.latest_end == to_us(last) + 1_000_000


def test_the_time_zone_does_not_move_the_window() -> None:
    assert with_id("timeZone=Pacific/Auckland").start == with_id().start
    assert with_id("timeZone=Pacific/Auckland").end == with_id().end


def test_an_end_before_the_start_is_no_mistake() -> None:
    query = parsed("eventTypeId=1&start=2050-09-06&end=2049-09-05")
    assert query.latest_end < query.earliest_start


@pytest.mark.parametrize(
    "text",
    [
        "", "tomorrow", "2050-02-30", "2049-366", "2050-9-5", "0000", "9999-12-31T24:00Z",
        "2050-09-05&start=2050-09-05&end=2050-09-05",
        "2050-09-05T10:00:00+02:00",  # a plus in a query is a space
    ],
)  # fmt: skip
def test_times_are_strict(text: str) -> None:
    assert message(f"eventTypeId=1&start={text}&end={text}") == (
        "start property is wrong,start must be a valid ISO 8601 date string , "
        "end property is wrong,end must be a valid ISO 8601 date string "
    )


# --- Anything --------------------------------------------------------------------------

NAMES = ["start", "end", "timeZone", "duration", "format", "eventTypeId", "username", "usernames"]
NAMES += ["eventTypeSlug", "teamSlug", "organizationSlug", "rrHostSubsetIds[]", "rrHostSubsetIds"]
VALUES = ["", "1", "a,b", "2050-09-05", "range", "UTC", "\udc80", "-1"]


@given(st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.sampled_from(VALUES) | st.text())))
@example([("\udc80", "1")])
@example([("username", "\udc80"), ("eventTypeSlug", ""), ("start", "2050"), ("end", "2050")])
def test_any_query_is_read_or_refused_with_what_can_be_sent(pairs: list[tuple[str, str]]) -> None:
    outcome = parsed_or_refused(pairs)
    if isinstance(outcome, HttpError):
        assert outcome.status == 400
        assert error_body(outcome, path="/", now=to_us(MIDNIGHT))
    else:
        assert outcome.model_dump_json()
        assert outcome.start.tzinfo is outcome.end.tzinfo is UTC


def parsed_or_refused(pairs: list[tuple[str, str]]) -> AnyQuery | HttpError:
    try:
        return parse_query(pairs)
    except HttpError as error:
        return error


# --- 4.3: the answer -------------------------------------------------------------------


def offered(*starts: str, minutes: int = 60, seats: SeatCount | None = None) -> list[OfferedSlot]:
    times = [to_us(datetime.fromisoformat(start)) for start in starts]
    return [OfferedSlot(time, time + minutes * 60_000_000, seats) for time in times]


def test_the_example_of_the_contract() -> None:
    assert slots_data(offered("2050-09-05T07:00Z"), zone="Europe/Rome", ranges=True) == {
        "2050-09-05": [
            {"start": "2050-09-05T09:00:00.000+02:00", "end": "2050-09-05T10:00:00.000+02:00"}
        ]
    }


def test_no_slots_no_dates() -> None:
    assert slots_data([], zone="Europe/Rome", ranges=True) == {}


def test_slots_are_grouped_by_the_date_in_the_zone() -> None:
    slots = offered("2050-09-05T21:00Z", "2050-09-05T22:00Z", "2050-09-07T22:30Z")
    by_date = slots_data(slots, zone="Europe/Rome", ranges=False)
    assert {date: len(each) for date, each in by_date.items()} == {
        "2050-09-05": 1,
        "2050-09-06": 1,
        "2050-09-08": 1,
    }
    assert list(slots_data(slots, zone=None, ranges=False)) == ["2050-09-05", "2050-09-07"]


@pytest.mark.parametrize(
    ("zone", "written"),
    [
        (None, "2050-01-05T07:00:00.000Z"),
        ("UTC", "2050-01-05T07:00:00.000Z"),
        ("GMT", "2050-01-05T07:00:00.000Z"),
        ("Etc/UTC", "2050-01-05T07:00:00.000+00:00"),
        ("Europe/London", "2050-01-05T07:00:00.000+00:00"),
        ("Europe/Rome", "2050-01-05T08:00:00.000+01:00"),
        ("America/St_Johns", "2050-01-05T03:30:00.000-03:30"),
        ("Asia/Kathmandu", "2050-01-05T12:45:00.000+05:45"),
    ],
)
def test_how_times_are_written(zone: str | None, written: str) -> None:
    slots = offered("2050-01-05T07:00Z")
    data = slots_data(slots, zone=zone, ranges=False)
    assert data == {"2050-01-05": [{"start": written}]}
    declared = SlotsByDate.model_validate_json(orjson.dumps(data)).root["2050-01-05"]
    assert [slot.start for slot in declared] == [datetime(2050, 1, 5, 7, tzinfo=UTC)]


def test_times_are_cut_to_milliseconds() -> None:
    (slots,) = slots_data(
        offered("2050-01-05T07:00:09.087654+00:00"), zone=None, ranges=False
    ).values()
    assert slots == [{"start": "2050-01-05T07:00:09.087Z"}]


@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize("uid", [None, "booked"])
def test_seats(ranges: bool, uid: str | None) -> None:
    slots = offered("2050-09-05T07:00Z", seats=SeatCount(3, 8, uid))
    shown = {"start": "2050-09-05T07:00:00.000Z"}
    end = {"end": "2050-09-05T08:00:00.000Z"} if ranges else {}
    seats = {"seatsBooked": 3, "seatsRemaining": 5, "seatsTotal": 8}
    booking = {"bookingUid": uid} if uid else {}
    data = slots_data(slots, zone=None, ranges=ranges)
    assert data == {"2050-09-05": [{**shown, **end, **seats, **booking}]}
    declared = SlotsByDate.model_validate_json(orjson.dumps(data)).root["2050-09-05"][0]
    assert declared.model_fields_set == {
        "start", *(["end"] if ranges else []), "seats_booked", "seats_remaining", "seats_total",
        *(["booking_uid"] if uid else []),
    }  # fmt: skip


def test_an_hour_that_is_there_twice() -> None:
    slots = offered("2050-10-30T00:30Z", "2050-10-30T01:30Z", minutes=30)
    assert slots_data(slots, zone="Europe/Rome", ranges=True) == {
        "2050-10-30": [
            {"start": "2050-10-30T02:30:00.000+02:00", "end": "2050-10-30T02:00:00.000+01:00"},
            {"start": "2050-10-30T02:30:00.000+01:00", "end": "2050-10-30T03:00:00.000+01:00"},
        ]
    }


def test_dates_ascend_although_a_clock_goes_back_over_midnight() -> None:
    """In 2010 St. John's went from 00:01 of 7 November back to 23:01 of the sixth."""
    slots = offered("2010-11-07T02:30Z", "2010-11-07T02:31Z", "2010-11-07T03:31Z", minutes=1)
    shown = slots_data(slots, zone="America/St_Johns", ranges=False)
    assert list(shown) == ["2010-11-06", "2010-11-07"]
    assert [slot["start"] for slot in shown["2010-11-06"]] == ["2010-11-06T23:01:00.000-03:30"]


@pytest.mark.parametrize(
    ("start", "zone"),
    [("9999-12-31T20:00Z", "Asia/Tokyo"), ("0001-01-01T01:00Z", "America/New_York")],
)
def test_a_clock_that_leaves_the_calendar(start: str, zone: str) -> None:
    with pytest.raises(HttpError, match="Could not adjust timezone for slot ") as caught:
        slots_data(offered(start), zone=zone, ranges=False)
    said = start.replace("Z", ":00.000Z")
    assert caught.value.message == f"Could not adjust timezone for slot {said} with timezone {zone}"
    assert caught.value.status == 400


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_last_date_there_is(zone: str) -> None:
    slots = offered("9999-12-31T14:00Z", "9999-12-31T14:59Z", minutes=0)
    assert slots_data(slots, zone=zone, ranges=True) == plainly(slots, zone)


def plainly(slots: list[OfferedSlot], zone: str) -> dict[str, list[dict[str, object]]]:
    """Do the same with a conversion for each time."""

    def written(instant: int) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
        text = moment.astimezone(ZoneInfo(zone)).isoformat(timespec="milliseconds")
        return text[:23] + "Z" if zone in {"UTC", "GMT"} else text

    days: dict[str, list[dict[str, object]]] = {}
    for slot in slots:
        start = written(slot.start)
        days.setdefault(start[:10], []).append({"start": start, "end": written(slot.end)})
    return dict(sorted(days.items()))


# Every zone, also those that changed their date or kept odd offsets, and the whole calendar
# but for its edges.  Steps short enough for several on one side of a change, and long ones.
HOUR = 3_600_000_000
ZONES = st.sampled_from(sorted(available_timezones() - {"localtime"}))
INSTANTS = st.integers(-2500 * 365 * 24, 2500 * 365 * 24).map(lambda quarters: quarters * HOUR // 4)
STEPS = st.lists(st.sampled_from([HOUR // 60, HOUR // 4, HOUR, 7 * HOUR, 24 * HOUR, 1234]))
LENGTHS = st.sampled_from([0, HOUR // 4, HOUR, 30 * HOUR])


@given(ZONES, INSTANTS, STEPS, LENGTHS)
@example("Pacific/Apia", -1_000, [24 * HOUR] * 3, HOUR)
@example("Pacific/Apia", to_us(datetime(2011, 12, 29, tzinfo=UTC)), [HOUR] * 60, HOUR)
@example("Europe/Rome", to_us(datetime(2050, 3, 26, tzinfo=UTC)), [HOUR // 4] * 192, HOUR // 4)
@example("Australia/Lord_Howe", to_us(datetime(2050, 4, 2, tzinfo=UTC)), [HOUR // 4] * 192, HOUR)
@example("America/St_Johns", to_us(datetime(2010, 11, 6, tzinfo=UTC)), [HOUR // 60] * 2880, 0)
@example("Africa/Monrovia", to_us(datetime(1972, 1, 6, tzinfo=UTC)), [HOUR] * 48, HOUR)
def test_every_time_is_as_if_converted_by_itself(
    zone: str, start: int, steps: list[int], length: int
) -> None:
    slots = [OfferedSlot(start, start + length, None)]
    for step in steps:
        start += step
        slots.append(OfferedSlot(start, start + length, None))
    assert slots_data(slots, zone=zone, ranges=True) == plainly(slots, zone)


@given(ZONES, st.lists(INSTANTS))
def test_the_order_does_not_matter_to_what_is_written(zone: str, starts: list[int]) -> None:
    slots = [OfferedSlot(start, start, None) for start in starts]
    assert slots_data(slots, zone=zone, ranges=True) == plainly(slots, zone)
