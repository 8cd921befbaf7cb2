"""What the keys of a catalog file may hold, and the base of its tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo
from pydantic.alias_generators import to_camel

from slotengine.calcom.catalog.secrets import Kept, kept
from slotengine.calcom.wire import MINUTE, parse_timestamp
from slotengine.core.ledger.terms import Terms

LONGEST_SPAN: Final = timedelta(microseconds=Terms().longest_span)
"""The longest that anything may take, with its buffers: what an engine allows by default."""
LONGEST: Final = LONGEST_SPAN // MINUTE
"""The same in minutes, and so the longest slot or buffer: 366 days."""
MOST_DAYS: Final = 36_525
"""How far ahead a booking window may reach: a hundred years."""


def _read_instant(value: object) -> object:
    """Read a time as the wire does, or as TOML has read it already."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    timestamp = parse_timestamp(value) if isinstance(value, str) else None
    if timestamp is None or timestamp.moment is None:
        raise ValueError("must be an ISO 8601 time")
    return timestamp.moment


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999, in UTC too") from None


def _read_date(value: object) -> object:
    if isinstance(value, str) and len(value) == len("2050-09-05"):
        return date.fromisoformat(value)
    return value


def _read_days(value: object) -> int | tuple[date, date]:
    """Read a number of days, or the first and the last of them."""
    if type(value) is int and 1 <= value <= MOST_DAYS:
        return value
    if isinstance(value, list) and len(value) == 2:
        first, last = map(_read_date, value)
        if type(first) is date and type(last) is date:
            return first, last
    raise ValueError(f"must be 1 to {MOST_DAYS} days, or a list of two dates")


def _read_secret(value: object, info: ValidationInfo) -> Kept:
    """Read what stands for a secret, which may be in the environment: the context."""
    if not isinstance(value, str):
        raise ValueError("must be a valid string")
    return kept(value, info.context or {})


def _read_most(value: object) -> int | None:
    """Read the most of something; None for any number."""
    if value == UNLIMITED_WORD:
        return None
    if type(value) is int and 1 <= value <= MOST_OF_ANYTHING:
        return value
    raise ValueError(f'must be a whole number from 1 to {MOST_OF_ANYTHING}, or "unlimited"')


UNLIMITED_WORD: Final = "unlimited"
MOST_OF_ANYTHING: Final = 1_000_000

Id = Annotated[int, Field(gt=0, lt=2**53)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
"""Shorter than an id may be: many an id is a name with something before it."""
Length = Annotated[int, Field(ge=1, le=LONGEST)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Minutes = Annotated[int, Field(ge=0, le=LONGEST)]
Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Day = Annotated[date, BeforeValidator(_read_date)]
Most = Annotated[int | None, PlainValidator(_read_most)]
Days = Annotated[int | tuple[date, date], PlainValidator(_read_days)]
Secret = Annotated[Kept, PlainValidator(_read_secret)]
Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class Table(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",  # a misspelt key is a problem, not a default
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        strict=True,
    )
