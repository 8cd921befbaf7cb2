"""Reservations on the wire by themselves: bytes in, values out, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.server.models import Error, Success
from slotengine.calcom.server.reservations_wire import (
    BodyReader,
    Bounds,
    ReservationMade,
    ReservationRead,
    WantedSlot,
    held_body,
)
from slotengine.calcom.wire import HttpError, error_body, reservation_data, success
from slotengine.core.time.instant import from_us, to_us

READER = BodyReader(Bounds(1, 1440))
NOON = datetime(2050, 9, 5, 12, tzinfo=UTC)


def body(**fields: object) -> bytes:
    return orjson.dumps({"eventTypeId": 1, "slotStart": "2050-09-05T12:00:00Z"} | fields)


def errors(raw: bytes) -> list[dict[str, Any]]:
    with pytest.raises(HttpError) as caught:
        READER.read(raw)
    assert (caught.value.status, caught.value.message) == (400, "Bad Request Exception")
    assert isinstance(caught.value.details, Mapping)
    found = caught.value.details["errors"]
    assert isinstance(found, list)
    return found


def constraints(raw: bytes) -> dict[str, dict[str, str]]:
    return {error["property"]: error["constraints"] for error in errors(raw)}


# --- Bodies ----------------------------------------------------------------------------


def test_a_full_body() -> None:
    parsed = READER.read(body(slotDuration=30, reservationDuration=5))
    assert parsed.event_type_id == 1
    assert (parsed.start_sent, parsed.start) == ("2050-09-05T12:00:00Z", to_us(NOON))
    assert parsed.slot_duration == 30
    assert parsed.reservation_duration == 5


def test_null_is_absent_for_optional_fields() -> None:
    parsed = READER.read(body(slotDuration=None, reservationDuration=None))
    assert parsed.slot_duration is None
    assert parsed.reservation_duration is None


def test_the_published_example_quotes_the_slot_duration() -> None:
    assert READER.read(body(slotDuration="30")).slot_duration == 30


def test_a_whole_number_may_be_written_with_a_fraction_of_zero() -> None:
    parsed = READER.read(b'{"eventTypeId": 1.0, "slotStart": "2050", "slotDuration": 3e1}')
    assert (parsed.event_type_id, parsed.slot_duration) == (1, 30)
    assert type(parsed.event_type_id) is type(parsed.slot_duration) is int


@pytest.mark.parametrize("value", ["1", True, False, None, 1.5, [], [1], {}, {"id": 1}, ""])
def test_event_type_id_must_be_an_integer(value: object) -> None:
    assert constraints(body(eventTypeId=value)) == {
        "eventTypeId": {"isInt": "eventTypeId must be an integer number"}
    }


@pytest.mark.parametrize("value", [None, 2050, 1788597000000, True, [], ["2050"], {}, "soon"])
def test_slot_start_must_be_a_time(value: object) -> None:
    assert constraints(body(slotStart=value)) == {
        "slotStart": {"isDateString": "slotStart must be a valid ISO 8601 date string"}
    }


@pytest.mark.parametrize(
    "value", ["", "abc", "30.0", " 30", "30\n", "0x1e", "٣٠", "9" * 50, True, 30.5, [30], {}]
)
def test_slot_duration_must_be_an_integer(value: object) -> None:
    assert constraints(body(slotDuration=value)) == {
        "slotDuration": {"isInt": "slotDuration must be an integer number"}
    }


@pytest.mark.parametrize("value", ["5", True, 0.5, [], {}])
def test_reservation_duration_must_be_an_integer(value: object) -> None:
    assert constraints(body(reservationDuration=value)) == {
        "reservationDuration": {"isInt": "reservationDuration must be an integer number"}
    }


@pytest.mark.parametrize("value", [0, -1, -(2**63), "0", "-30", -1e300, -0.0])
def test_slot_duration_has_a_least(value: object) -> None:
    assert constraints(body(slotDuration=value)) == {
        "slotDuration": {"min": "slotDuration must not be less than 1"}
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, {"min": "reservationDuration must not be less than 1"}),
        (-5, {"min": "reservationDuration must not be less than 1"}),
        (1441, {"max": "reservationDuration must not be greater than 1440"}),
        (2**63, {"max": "reservationDuration must not be greater than 1440"}),
        (1e300, {"max": "reservationDuration must not be greater than 1440"}),
    ],
)
def test_reservation_duration_has_bounds(value: object, expected: dict[str, str]) -> None:
    assert constraints(body(reservationDuration=value)) == {"reservationDuration": expected}


@pytest.mark.parametrize("value", [1, 1440])
def test_the_bounds_themselves_are_allowed(value: int) -> None:
    assert READER.read(body(reservationDuration=value)).reservation_duration == value


def test_all_violations_are_reported_in_the_order_of_the_fields() -> None:
    found = errors(
        b'{"reservationDuration": "5", "slotDuration": 0, "slotStart": 7, "eventTypeId": null}'
    )
    assert [error["property"] for error in found] == [
        "eventTypeId",
        "slotStart",
        "slotDuration",
        "reservationDuration",
    ]


def test_a_violation_has_the_shape_of_the_contract() -> None:
    assert errors(b'{"eventTypeId": 1, "unknown": true}') == [
        {
            "target": {"eventTypeId": 1},  # stripped of what is unknown
            "property": "slotStart",
            "children": [],
            "constraints": {"isDateString": "slotStart must be a valid ISO 8601 date string"},
        }
    ]
    assert errors(b'{"eventTypeId": 1, "slotStart": null}')[0]["value"] is None


def test_unknown_fields_are_dropped() -> None:
    assert READER.read(body(uid="x", metadata={"deep": [[[1]]]})).event_type_id == 1


@pytest.mark.parametrize("raw", [b"", b"{}"])
def test_an_empty_body_lacks_every_required_field(raw: bytes) -> None:
    assert set(constraints(raw)) == {"eventTypeId", "slotStart"}


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"nonsense",
        b"{'eventTypeId': 1}",
        b'{"eventTypeId": NaN}',
        b'{"eventTypeId": Infinity}',
        b'{"eventTypeId": 1e999}',
        b'{"eventTypeId": 01}',
        b'{"eventTypeId": 1}{"eventTypeId": 1}',
        b'{"eventTypeId": "\xff"}',
        b'{"slotStart": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b" ",
        b"[" * 50_000,
        b"[" * 2_000 + b"]" * 2_000,
        b'{"a":' * 50_000,
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(HttpError, match="not valid JSON") as caught:
        READER.read(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"', b"true", b"[{}]"])
def test_what_is_not_an_object_is_refused(raw: bytes) -> None:
    with pytest.raises(HttpError, match="must be a JSON object") as caught:
        READER.read(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize("depth", [33, 500])
def test_what_nests_too_deeply_is_refused_and_not_echoed(depth: int) -> None:
    raw = b'{"eventTypeId":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(HttpError, match="nested too deeply") as caught:
        READER.read(raw)
    assert caught.value.details is None


def test_what_nests_a_little_is_echoed() -> None:
    assert errors(body(eventTypeId=[[[1]], {"a": {}}]))[0]["value"] == [[[1]], {"a": {}}]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "eventTypeId": json_values,
            "slotStart": json_values | st.datetimes().map(datetime.isoformat),
            "slotDuration": json_values,
            "reservationDuration": json_values,
            "other": json_values,
        },
    )
)
def test_any_object_is_read_or_refused_with_a_body_that_can_be_written(
    sent: dict[str, object],
) -> None:
    outcome = parsed_or_refused(orjson.dumps(sent, option=orjson.OPT_NON_STR_KEYS))
    if isinstance(outcome, HttpError):
        assert outcome.status == 400
        Error.model_validate_json(error_body(outcome, path="/", now=to_us(NOON)))
    else:
        assert type(outcome.event_type_id) is int
        assert outcome.slot_duration is None or outcome.slot_duration >= 1
        assert outcome.reservation_duration is None or 1 <= outcome.reservation_duration <= 1440


def parsed_or_refused(raw: bytes) -> WantedSlot | HttpError:
    try:
        return READER.read(raw)
    except HttpError as error:
        return error


starts = st.one_of(
    st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M}:00Z"),
    st.from_regex(
        "[0-9]{4}-[0-3][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:00(\\.000)?Z", fullmatch=True
    ),
    json_values,
)


@given(event_type_id=st.integers(-(2**63), 2**63 - 1) | json_values, start=starts)
def test_a_usual_body_is_read_as_any_other(event_type_id: object, start: object) -> None:
    usual = orjson.dumps({"eventTypeId": event_type_id, "slotStart": start})
    with_null = orjson.dumps(orjson.loads(usual) | {"slotDuration": None})  # read by the model
    outcome, expected = parsed_or_refused(usual), parsed_or_refused(with_null)
    if isinstance(expected, HttpError):
        assert isinstance(outcome, HttpError)
        assert (outcome.status, outcome.message) == (expected.status, expected.message)
    else:
        assert outcome == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        READER.read(raw)
    assert caught.value.status == 400


# --- Answers ---------------------------------------------------------------------------

moments = st.integers(-60_000_000_000_000_000, 250_000_000_000_000_000).map(from_us)


@given(
    st.integers(1, 2**53), moments, st.integers(1, 1440), st.uuids(), st.integers(1, 1440), moments
)
def test_answers_are_as_declared(
    event_type_id: int, start: datetime, length: int, uid: UUID, hold: int, until: datetime
) -> None:
    end = start + timedelta(minutes=length)
    made = held_body(event_type_id, to_us(start), to_us(end), str(uid), hold, to_us(until))
    data = Success[ReservationMade].model_validate_json(made).data
    assert data.event_type_id == event_type_id
    assert (data.slot_start, data.slot_end) == (cut(start), cut(end))
    assert (data.slot_duration, data.reservation_duration) == (length, hold)
    assert (data.reservation_uid, data.reservation_until) == (uid, cut(until))
    read = reservation_data(
        event_type_id=event_type_id, start=start, end=end, uid=str(uid), until=until
    )
    Success[ReservationRead].model_validate_json(success(read))
    with_minutes = reservation_data(
        event_type_id=event_type_id,
        start=start,
        end=end,
        uid=str(uid),
        until=until,
        reservation_minutes=hold,
    )
    assert success(with_minutes) == made


def cut(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
