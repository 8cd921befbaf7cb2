"""What the client writes, strictly, and what it reads, leniently.  No sockets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine import InvalidField, minutes
from slotengine.calcom.client.wire import (
    RemoteReservation,
    RemoteSlot,
    SlotTarget,
    Unreadable,
    parse_done,
    parse_error,
    parse_found,
    parse_reservation,
    parse_slots,
    reservation_body,
    reservation_path,
    slots_query,
)
from slotengine.calcom.server.reservations_wire import BodyReader, Bounds
from slotengine.calcom.wire import reservation_data, success
from slotengine.core.time.instant import to_us

START = datetime(2050, 9, 5, 10, tzinfo=UTC)
DAY = timedelta(days=1)

# --- Writing -----------------------------------------------------------------------------

milliseconds = st.integers(-62_135_510_400_000, 253_402_128_000_000)
moments = milliseconds.map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))


@given(moment=moments, offset=st.integers(-1439, 1439), slot=st.none() | st.integers(1))
def test_the_server_reads_the_body_that_the_client_writes(
    moment: datetime, offset: int, slot: int | None
) -> None:
    try:
        local = moment.astimezone(timezone(timedelta(minutes=offset)))
    except OverflowError:
        local = moment
    slot = None if slot is None else min(slot, 2**53)
    raw = reservation_body(7, local, slot_minutes=slot, reservation_minutes=5)
    body = BodyReader(Bounds(1, 1440)).read(raw)
    assert (body.event_type_id, body.start) == (7, to_us(moment))
    assert (body.slot_duration, body.reservation_duration) == (slot, 5)


@given(start=moments, length=st.integers(1, 1440), minutes_held=st.none() | st.integers(1, 1440))
def test_the_client_reads_the_reservation_that_the_server_writes(
    start: datetime, length: int, minutes_held: int | None
) -> None:
    data = reservation_data(
        event_type_id=7,
        start=start,
        end=start + minutes(length),
        uid="u",
        until=start,
        reservation_minutes=minutes_held,
    )
    expected = RemoteReservation("u", 7, start, start + minutes(length), start, minutes_held)
    assert parse_reservation(success(data)) == expected
    assert parse_found(success(data)) == expected


@given(uid=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_uid_is_one_segment_of_the_path(uid: str) -> None:
    if uid in {".", ".."}:
        return
    path = reservation_path(uid)
    assert path.isascii()
    assert path.count("/") == 4
    assert urlsplit(path).path == path


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("event_type_id", {"event_type_id": 0}),
        ("event_type_id", {"event_type_id": True}),
        ("event_type_id", {"event_type_id": "1"}),
        ("start", {"start": START.replace(tzinfo=None)}),
        ("start", {"start": "2050-09-05"}),
        ("start", {"start": START + timedelta(microseconds=1)}),
        ("start", {"start": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}),
        ("slot_minutes", {"slot_minutes": 0}),
        ("slot_minutes", {"slot_minutes": 30.0}),
        ("reservation_minutes", {"reservation_minutes": -1}),
    ],
)
def test_values_that_the_wire_format_cannot_express_are_refused(
    field: str, changed: dict[str, Any]
) -> None:
    values: dict[str, Any] = {"slot_minutes": None, "reservation_minutes": None}
    values |= {"event_type_id": 1, "start": START} | changed
    with pytest.raises(InvalidField) as caught:
        reservation_body(values.pop("event_type_id"), values.pop("start"), **values)
    assert caught.value.field == field


# --- A search ----------------------------------------------------------------------------


def query(target: SlotTarget | None = None, **changed: Any) -> dict[str, str]:
    values: dict[str, Any] = {
        "start": START,
        "end": START + DAY,
        "format": "range",
        "time_zone": None,
        "slot_minutes": None,
        "booking_uid_to_reschedule": None,
    } | changed
    text = slots_query(
        target or SlotTarget(event_type_id=1), values.pop("start"), values.pop("end"), **values
    )
    return {name: value for name, (value,) in parse_qs(text, strict_parsing=True).items()}


TARGETS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"event_type_id": 7}, {"eventTypeId": "7"}),
    (
        {"username": "ann", "event_type_slug": "chat"},
        {"username": "ann", "eventTypeSlug": "chat"},
    ),
    (
        {"username": "ann", "event_type_slug": "chat", "organization_slug": "org"},
        {"username": "ann", "eventTypeSlug": "chat", "organizationSlug": "org"},
    ),
    (
        {"team_slug": "team", "event_type_slug": "chat"},
        {"teamSlug": "team", "eventTypeSlug": "chat"},
    ),
    (
        {"team_slug": "team", "event_type_slug": "chat", "organization_slug": "org"},
        {"teamSlug": "team", "eventTypeSlug": "chat", "organizationSlug": "org"},
    ),
    (
        {"usernames": ["ann", "bob"], "organization_slug": "org"},
        {"usernames": "ann,bob", "organizationSlug": "org"},
    ),
]


@pytest.mark.parametrize(("target", "sent"), TARGETS, ids=[str([*sent]) for _, sent in TARGETS])
def test_each_group_of_target_parameters(target: dict[str, Any], sent: dict[str, str]) -> None:
    common = {
        "start": "2050-09-05T10:00:00.000Z",
        "end": "2050-09-06T10:00:00.000Z",
        "format": "range",
    }
    assert query(SlotTarget(**target)) == sent | common


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({}, "event_type_id"),
    ({"event_type_slug": "chat"}, "event_type_id"),
    ({"organization_slug": "org"}, "event_type_id"),
    ({"event_type_id": 1, "username": "ann"}, "username"),
    ({"event_type_id": 1, "event_type_slug": "chat"}, "event_type_slug"),
    ({"event_type_id": 1, "organization_slug": "org"}, "organization_slug"),
    ({"event_type_id": 1, "usernames": ["a", "b"]}, "usernames"),
    ({"username": "ann"}, "event_type_slug"),
    ({"username": "ann", "team_slug": "team", "event_type_slug": "chat"}, "team_slug"),
    ({"username": "ann", "usernames": ["a", "b"], "event_type_slug": "chat"}, "usernames"),
    ({"team_slug": "team"}, "event_type_slug"),
    ({"usernames": ["ann", "bob"]}, "organization_slug"),
    ({"usernames": ["a", "b"], "organization_slug": "o", "event_type_slug": "c"},
     "event_type_slug"),
    ({"usernames": ["ann"], "organization_slug": "org"}, "usernames"),
    ({"usernames": "ann,bob", "organization_slug": "org"}, "usernames"),
    ({"usernames": ["ann", "b,c"], "organization_slug": "org"}, "usernames"),
    ({"usernames": ["ann", " bob"], "organization_slug": "org"}, "usernames"),
    ({"usernames": ["ann", ""], "organization_slug": "org"}, "usernames"),
    ({"event_type_id": 0}, "event_type_id"),
    ({"username": "", "event_type_slug": "chat"}, "username"),
    ({"username": "\ud800", "event_type_slug": "chat"}, "username"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "field"), IMPOSSIBLE, ids=[str(t) for t, _ in IMPOSSIBLE])
def test_other_combinations_are_refused(target: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        SlotTarget(**target).parameters()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"start": START.replace(tzinfo=None)}, "start"),
        ({"end": START.replace(tzinfo=None)}, "end"),
        ({"end": START}, "end"),
        ({"format": "both"}, "format"),
        ({"time_zone": ""}, "time_zone"),
        ({"slot_minutes": 0}, "slot_minutes"),
        ({"booking_uid_to_reschedule": ""}, "booking_uid_to_reschedule"),
    ],
)
def test_an_invalid_search_is_refused(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        query(**changed)
    assert caught.value.field == field


MIDNIGHT = datetime(2050, 9, 6, tzinfo=UTC)
ROME = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("end", "sent"),
    [
        (MIDNIGHT, "2050-09-05T23:59:59.999Z"),
        (MIDNIGHT + timedelta(milliseconds=999), "2050-09-05T23:59:59.999Z"),
        (MIDNIGHT + timedelta(seconds=1), "2050-09-06T00:00:01.000Z"),
        (MIDNIGHT - timedelta(seconds=1), "2050-09-05T23:59:59.000Z"),
        (datetime(2050, 9, 6, 2, tzinfo=ROME), "2050-09-05T23:59:59.999Z"),
        (datetime(2050, 9, 6, tzinfo=ROME), "2050-09-05T22:00:00.000Z"),
    ],
)
def test_a_midnight_is_not_the_end_of_the_day_after_it(end: datetime, sent: str) -> None:
    assert query(end=end)["end"] == sent


# --- Reading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        {"2050-09-05": {}},
        {"2050-09-05": [7]},
        {"2050-09-05": [{}]},
        {"2050-09-05": [{"start": "soon"}]},
        {"2050-09-05": [{"start": "2050-09-05T10:00:00Z", "seatsTotal": 2}]},
        {"2050-09-05": [{"start": "2050-09-05T10:00:00Z", "seatsTotal": "many"}]},
        {"2050-09-05": [{"start": "2050-09-05T10:00:00Z", "end": True}]},
    ],
    ids=str,
)
def test_unreadable_days(data: object) -> None:
    with pytest.raises(Unreadable):
        parse_slots(success(data))


def test_slots_are_in_order_across_days() -> None:
    late, early = {"start": "2050-09-05T11:00:00Z"}, {"start": "2050-09-05T10:00:00Z"}
    slots = parse_slots(success({"2050-09-06": [late, early], "2050-09-05": []}))
    assert slots == [
        RemoteSlot(START, None, None, None),
        RemoteSlot(START + minutes(60), None, None, None),
    ]


def test_four_digits_are_a_year() -> None:
    slots = parse_slots(success({"2050-01-01": ["2050", "20500905"]}))
    assert [slot.start for slot in slots] == [
        datetime(2050, 1, 1, tzinfo=UTC),
        datetime(2050, 9, 5, tzinfo=UTC),
    ]


def test_null_means_no_reservation() -> None:
    assert parse_found(success(None)) is None


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'{"status": "error"}', b"{"])
def test_a_delete_without_success_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_done(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = ["eventTypeId", "slotStart", "slotEnd", "slotDuration", "reservationUid",
          "reservationDuration", "reservationUntil", "start", "end", "seatsTotal",
          "seatsBooked", "seatsRemaining", "bookingUid"]  # fmt: skip
objects = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4)


@given(
    data=objects | json_values,
    days=st.dictionaries(st.text(max_size=3), st.lists(objects, max_size=2), max_size=2),
)
def test_any_json_is_read_or_raises_unreadable(data: object, days: dict[str, object]) -> None:
    """Nothing that arrives raises any other error."""
    for parse, value in ((parse_reservation, data), (parse_found, data), (parse_slots, days)):
        try:
            parse(success(value))
        except Unreadable:
            continue


@given(body=json_values, raw=st.binary(max_size=20))
def test_any_error_yields_a_code_and_a_message(body: object, raw: bytes) -> None:
    for sent in (
        raw,
        orjson.dumps(body),
        orjson.dumps({"error": body}),
        orjson.dumps({"error": {"code": body, "message": body, "details": body}}),
        orjson.dumps({"error": {"details": {"errors": body}}}),
    ):
        code, message = parse_error(sent)
        assert isinstance(code, str)
        assert isinstance(message, str)
