"""The types of values in a catalog file, and the base of its tables."""

from __future__ import annotations

import re
import reprlib
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from slotengine.calcom.catalog.secrets import HashedSecret, read_secret
from slotengine.calcom.wire import MINUTE, parse_timestamp
from slotengine.core.ledger.terms import Terms

LONGEST_SPAN: Final = timedelta(microseconds=Terms().longest_span)
"""The longest slot with its buffers, as an engine allows by default."""
LONGEST_MINUTES: Final = LONGEST_SPAN // MINUTE
"""The same in minutes, 366 days: the longest slot or buffer."""
MAX_DAYS_AHEAD: Final = 36_525
"""The farthest that a booking window may reach: a hundred years."""


def short_repr(value: object) -> str:
    """Return a value for an error message, shortened if it is long."""
    return reprlib.repr(value)


def _read_time(value: object) -> object:
    """Read a time in ISO 8601, or one that TOML has parsed already."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    timestamp = parse_timestamp(value) if isinstance(value, str) else None
    if timestamp is None or timestamp.moment is None:
        raise ValueError(f"must be an ISO 8601 time, not {short_repr(value)}")
    return timestamp.moment


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"must be in the years 1 to 9999, in UTC too, not {moment}") from None


def _read_date(value: object) -> date:
    """Read a date as text, or one that TOML has parsed already."""
    parsed = _parse_date(value)
    if parsed is None:
        raise ValueError(f"must be a date, such as 2050-09-05, not {short_repr(value)}")
    return parsed


def _parse_date(value: object) -> date | None:
    if type(value) is date:
        return value
    if isinstance(value, str) and len(value) == len("2050-09-05"):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return None


_TIME_OF_DAY: Final = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def _check_time_of_day(value: str) -> str:
    if not _TIME_OF_DAY.fullmatch(value):
        raise ValueError(f"must be a time of day, such as 09:00, not {short_repr(value)}")
    return value


def _read_window(value: object) -> int | tuple[date, date]:
    """Read a number of days, or the first and the last date."""
    if type(value) is int and 1 <= value <= MAX_DAYS_AHEAD:
        return value
    if isinstance(value, list) and len(value) == 2:
        first, last = map(_parse_date, value)
        if first is not None and last is not None:
            return first, last
    raise ValueError(
        f"must be 1 to {MAX_DAYS_AHEAD} days, or a list of two dates, not {short_repr(value)}"
    )


def _read_secret(value: object, info: ValidationInfo) -> HashedSecret:
    """Read a secret, with the environment as the context of the validation."""
    if not isinstance(value, str):  # never shown: it may be the secret
        raise ValueError("must be a valid string")
    return read_secret(value, info.context or {})


def _read_quota(value: object) -> int | None:
    """Read a number, or None for ``"unlimited"``."""
    if value == _UNLIMITED:
        return None
    if type(value) is int and 1 <= value <= MAX_QUOTA:
        return value
    raise ValueError(
        f'must be a whole number from 1 to {MAX_QUOTA}, or "unlimited", not {short_repr(value)}'
    )


_UNLIMITED: Final = "unlimited"
MAX_QUOTA: Final = 1_000_000

Id = Annotated[int, Field(gt=0, lt=2**53)]
Amount = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
"""Shorter than the longest id of an engine, since many ids are a name with a prefix."""
Length = Annotated[int, Field(ge=1, le=LONGEST_MINUTES)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Minutes = Annotated[int, Field(ge=0, le=LONGEST_MINUTES)]
TimeOfDay = Annotated[str, AfterValidator(_check_time_of_day)]
UtcTime = Annotated[datetime, BeforeValidator(_read_time)]
Date = Annotated[date, BeforeValidator(_read_date)]
QuotaAmount = Annotated[int | None, PlainValidator(_read_quota)]
WindowValue = Annotated[int | tuple[date, date], PlainValidator(_read_window)]
Secret = Annotated[HashedSecret, PlainValidator(_read_secret)]
Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class Table(BaseModel):
    """The base of all tables."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",  # a misspelt key is a problem, not a default
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        strict=True,
    )
