"""The wire by itself: bytes in, values out, and the other way round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.wire import (
    DONE,
    ERRORS,
    HttpError,
    error_body,
    instant,
    parse_timestamp,
    reservation_data,
    stamp,
    stamp_us,
    success,
)
from slotengine.core.time.instant import FIRST_US, LAST_US, to_us

NOON = datetime(2050, 9, 5, 12, tzinfo=UTC)


# --- Times -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2050-09-05T12:00:00Z", NOON),
        ("2050-09-05T12:00:00z", NOON),
        ("2050-09-05T12:00:00.000Z", NOON),
        ("2050-09-05T12:00:00", NOON),  # no offset is UTC
        ("2050-09-05T12:00Z", NOON),
        ("2050-09-05T12Z", NOON),
        ("2050-09-05T12", NOON),
        ("2050-09-05T14:00:00+02:00", NOON),
        ("2050-09-05T14:00:00+0200", NOON),
        ("2050-09-05T14:00:00+02", NOON),
        ("2050-09-04T12:01:00-23:59", NOON),
        ("20500905T120000Z", NOON),
        ("20500905T12:00Z", NOON),
        ("2050-W36-1T12:00Z", NOON),
        ("2050W361T12Z", NOON),
        ("2050-248T12:00Z", NOON),
        ("2050248T12:00Z", NOON),
        ("2050-09-05", NOON.replace(hour=0)),
        ("20500905", NOON.replace(hour=0)),
        ("2050-W36", NOON.replace(hour=0)),
        ("2050W36", NOON.replace(hour=0)),
        ("2050-09", datetime(2050, 9, 1, tzinfo=UTC)),
        ("2050", datetime(2050, 1, 1, tzinfo=UTC)),
        ("2050-12-31", datetime(2050, 12, 31, tzinfo=UTC)),
        ("2048-366", datetime(2048, 12, 31, tzinfo=UTC)),
        ("2050-09-04T24:00", NOON.replace(hour=0)),
        ("2050-09-04T24:00:00.000Z", NOON.replace(hour=0)),
        ("2050-09-05T12:00:00,5Z", NOON.replace(microsecond=500_000)),
        ("2050-09-05T12:00:00.123999999999Z", NOON.replace(microsecond=123_000)),
        pytest.param("2050-09-05T12:00:00." + "0" * 5000 + "Z", NOON, id="5,000 decimals"),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999Z", datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        # The local time lies outside the calendar, but not the moment.
        ("9999-12-31T24:00+01:00", datetime(9999, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_a_time_means_one_moment(text: str, moment: datetime) -> None:
    instant = parse_timestamp(text)
    assert instant is not None
    assert instant == (text, moment)


@pytest.mark.parametrize(
    "text",
    [
        "2050-02-29",
        "2050-02-30T10:00:00Z",
        "2050-04-31",
        "2050-366",
        "2050-000",
        "2050-367",
        "2050-W00-1",
        "2050-W53-1",
        "0000-01-01",
        "0001-01-01T00:00+00:01",
        "9999-12-31T24:00Z",
        "9999-12-31T23:59-00:01",
        "2050-09-05T24:00:01Z",
        "2050-09-05T24:30Z",
        "2050-09-05 12:00:00Z",
    ],
)
def test_a_well_written_time_may_mean_nothing(text: str) -> None:
    assert parse_timestamp(text) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "now",
        "tomorrow",
        "1788597000",
        "12:00",
        "T12:00",
        "205009",
        "20509",
        "2050-9-5",
        "2050-13-01",
        "2050-00-01",
        "2050-09-32",
        "2050-09-00",
        "2050-0905",
        "2050/09/05",
        "05-09-2050",
        "+2050-09-05",
        "-2050-09-05",
        "+012050-09-05",
        "12050-09-05",
        "2050-W54-1",
        "2050-W36-0",
        "2050-W36-8",
        "2050-W6-1",
        "2050-09-05T",
        "2050-09-05Z",
        "2050-09-05t12:00:00Z",
        "2050-09-05T12:00:60Z",  # leap seconds do not exist here
        "2050-06-30T23:59:60Z",
        "2050-09-05T12:60Z",
        "2050-09-05T25:00Z",
        "2050-09-05T1:00Z",
        "2050-09-05T12:0000Z",
        "2050-09-05T12:00.5Z",
        "2050-09-05T12:00:00.Z",
        "2050-09-05T12:00:00+24:00",
        "2050-09-05T12:00:00+99:99",
        "2050-09-05T12:00:00+2:00",
        "2050-09-05T12:00:00+02:60",
        "2050-09-05T12:00:00+02:00Z",
        "2050-09-05T12:00:00[Europe/Rome]",
        "2050-09-05T12:00:00 UTC",
        "2050-09-05T12:00:00Z\n",
        " 2050-09-05T12:00:00Z",
        "2050-09-05T12:00:00Z\x00",
        "２０５０-09-05",  # full-width digits
        "٢٠٥٠-09-05",
        "2050‐09‐05",  # typographic hyphens
        "Mon, 05 Sep 2050 12:00:00 GMT",
        "2050-09-05T12:00:00Z/2050-09-05T13:00:00Z",
        "P1D",
        pytest.param("9" * 100_000, id="100,000 digits"),
    ],
)
def test_what_is_not_written_like_a_time_is_no_time(text: str) -> None:
    assert parse_timestamp(text) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_stamp_reads_back_to_the_millisecond(moment: datetime) -> None:
    instant = parse_timestamp(stamp(moment))
    assert instant is not None
    assert instant.moment == moment - timedelta(microseconds=moment.microsecond % 1000)


@given(st.from_regex(r"[0-9]{4}-?[0-9W]{2,3}-?[0-9]{0,2}(T[0-9:.,]{0,12}[Z+-]?[0-9:]{0,5})?"))
def test_any_text_is_read_or_refused_but_never_fails(text: str) -> None:
    instant = parse_timestamp(text)
    if instant is not None and instant.moment is not None:
        assert instant.moment.tzinfo is UTC
        assert instant.moment.microsecond % 1000 == 0


def test_stamps_have_milliseconds_and_four_digit_years() -> None:
    assert stamp(datetime(1, 2, 3, 4, 5, 6, 7_999, tzinfo=UTC)) == "0001-02-03T04:05:06.007Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_stamp_of_microseconds_is_that_of_the_moment(moment: datetime) -> None:
    assert stamp_us(to_us(moment)) == stamp(moment)


def test_a_stamp_of_microseconds_at_the_ends_of_time() -> None:
    assert stamp_us(FIRST_US) == "0001-01-01T00:00:00.000Z"
    assert stamp_us(LAST_US) == "9999-12-31T23:59:59.999Z"
    assert stamp_us(-1) == "1969-12-31T23:59:59.999Z"


@given(st.datetimes(timezones=st.just(UTC)).map(stamp) | st.text(max_size=12))
def test_an_instant_is_that_of_the_timestamp(text: str) -> None:
    timestamp = parse_timestamp(text)
    moment = None if timestamp is None else timestamp.moment
    assert instant(text) == (None if moment is None else to_us(moment))


# --- Answers ---------------------------------------------------------------------------


def test_success_envelopes() -> None:
    assert orjson.loads(success({"a": 1})) == {"status": "success", "data": {"a": 1}}
    assert orjson.loads(success(None)) == {"status": "success", "data": None}
    assert orjson.loads(DONE) == {"status": "success"}


def test_the_payload_of_section_5_5() -> None:
    given_minutes = reservation_data(
        event_type_id=17,
        start=datetime(2050, 9, 5, 10, tzinfo=UTC),
        end=datetime(2050, 9, 5, 11, tzinfo=UTC),
        uid="5f0c4a4e-6c1e-4b59-9d1f-0d8f5b0a3c11",
        until=datetime(2049, 9, 5, 12, 5, tzinfo=UTC),
        reservation_minutes=5,
    )
    assert given_minutes == {
        "eventTypeId": 17,
        "slotStart": "2050-09-05T10:00:00.000Z",
        "slotEnd": "2050-09-05T11:00:00.000Z",
        "slotDuration": 60,
        "reservationUid": "5f0c4a4e-6c1e-4b59-9d1f-0d8f5b0a3c11",
        "reservationDuration": 5,
        "reservationUntil": "2049-09-05T12:05:00.000Z",
    }


@pytest.mark.parametrize("status", ERRORS)
def test_error_envelopes(status: int) -> None:
    answer = orjson.loads(error_body(HttpError(status, "why"), path="/p?q=1", now=to_us(NOON)))
    code, name = ERRORS[status]
    assert answer == {
        "status": "error",
        "timestamp": "2050-09-05T12:00:00.000Z",
        "path": "/p?q=1",
        "error": {
            "code": code,
            "message": "why",
            "details": {"message": "why", "error": name, "statusCode": status},
        },
    }
