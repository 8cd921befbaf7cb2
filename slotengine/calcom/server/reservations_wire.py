"""Reservations on the wire: the body of POST and PATCH, and the bodies of responses.

Pure: knows nothing of catalogs or engines.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import orjson
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from slotengine.calcom.server.models import (
    IS_INT,
    IS_TIME,
    TIME,
    ApiModel,
    ResponseBody,
    Whole,
    broken_constraints,
    whole,
)
from slotengine.calcom.wire import (
    NUMERIC,
    HttpError,
    Timestamp,
    instant,
    parse_timestamp,
    stamp_us,
)
from slotengine.core.time.instant import MINUTE, to_us

# --- The body of POST and PATCH --------------------------------------------------------


class Bounds(NamedTuple):
    """The fewest and the most minutes that a hold may last."""

    least: int
    most: int | None = None


def _timestamp(value: object) -> Timestamp:
    timestamp = parse_timestamp(value) if isinstance(value, str) else None
    if timestamp is None:
        raise ValueError("not a time")
    return timestamp


def _whole_or_digits(value: object) -> int:
    """Read a whole number, also as text: the published example has "30" in quotes."""
    return int(value) if isinstance(value, str) and NUMERIC.fullmatch(value) else whole(value)


_Length = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_whole_or_digits),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^0*[1-9][0-9]*$", "maxLength": 18},
            ]
        }
    ),
]
"""Whether the event type has this length is checked later, once it has been found."""

_HOLD: Final = Field(description="How long to hold the slot, in minutes; needs credentials")


class ReservationRequest(ApiModel):
    """The slot to hold.  Unknown properties are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"eventTypeId": 1, "slotStart": "2050-09-05T09:00:00Z"}]}
    )

    event_type_id: Annotated[Whole, IS_INT]
    slot_start: Annotated[
        Timestamp, SkipValidation, BeforeValidator(_timestamp), WithJsonSchema(TIME), IS_TIME
    ]
    slot_duration: Annotated[
        _Length | None,
        IS_INT,
        Field(description="In minutes, as a number or text; one of the event type's lengths"),
    ] = None
    reservation_duration: Annotated[Whole | None, IS_INT, _HOLD] = None


@cache
def reservation_request(bounds: Bounds) -> type[ReservationRequest]:
    """Return the model of a request whose hold may last for these minutes."""
    minutes = Annotated[int, Field(ge=bounds.least, le=bounds.most), BeforeValidator(whole)]
    return create_model(
        ReservationRequest.__name__,
        __base__=ReservationRequest,
        __doc__=ReservationRequest.__doc__,
        reservation_duration=(Annotated[minutes | None, IS_INT, _HOLD], None),
    )


class WantedSlot(NamedTuple):
    """The slot of a valid `ReservationRequest`."""

    event_type_id: int
    start_sent: str
    """The start as it was sent."""
    start: int | None
    """In UTC microseconds; None for a date that does not exist."""
    slot_duration: int | None = None
    """Its length in minutes; None: the event type's own."""
    reservation_duration: int | None = None
    """How many minutes to hold it; None: as long as usual."""


LONGEST_USUAL: Final = len("2050-09-05T10:15:00.000+02:00")
"""The longest text of a time that is cached."""


class BodyReader:
    """Reads bodies of POST and PATCH, with bounds for how long a hold may last.

    >>> reader = BodyReader(Bounds(1, 1440))
    >>> reader.read(b'{"eventTypeId": 1, "slotStart": "1970-01-02"}')
    WantedSlot(event_type_id=1, start_sent='1970-01-02', start=86400000000, ...)
    """

    __slots__ = ("_model", "_validate")

    def __init__(self, bounds: Bounds) -> None:
        self._model = reservation_request(bounds)
        # 0.4 µs of 2.6 less than by `model_validate`.
        self._validate = TypeAdapter(self._model).validator.validate_python

    def read(self, raw: bytes) -> WantedSlot:
        """Return the slot that a body asks for.

        An empty body is an object without fields.  Unknown fields are dropped.  For an
        optional field null is the same as absent.

        Raises `HttpError` 400 with all problems.
        """
        sent = _object(raw)
        # Nearly all bodies are an id and a time.  Reading those takes a fourth of what the model
        # takes, and a test compares the two.
        if len(sent) == 2:
            event_type_id, text = sent.get("eventTypeId"), sent.get("slotStart")
            if type(event_type_id) is int and type(text) is str and len(text) <= LONGEST_USUAL:
                start = instant(text)
                if start is not None:
                    return WantedSlot(event_type_id, text, start)
        return self._validated(sent)

    def _validated(self, sent: dict[str, Any]) -> WantedSlot:
        try:
            request: ReservationRequest = self._validate(sent)
        except ValidationError as error:
            raise _violated(self._model, sent, error) from None
        text, moment = request.slot_start
        return WantedSlot(
            request.event_type_id,
            text,
            None if moment is None else to_us(moment),
            request.slot_duration,
            request.reservation_duration,
        )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        # Not pydantic's own parser, which takes NaN and Infinity for JSON.
        sent = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"The body is not valid JSON: {error}") from None
    if not isinstance(sent, dict):
        raise HttpError(400, "The body must be a JSON object")
    return sent


# --- Invalid bodies --------------------------------------------------------------------

# A valid body does not nest.  An invalid one is echoed, and orjson limits the depth.
_DEEPEST_ECHO: Final = 32


def _violated(
    request: type[ReservationRequest], sent: dict[str, Any], error: ValidationError
) -> HttpError:
    known = [field.alias for field in request.model_fields.values()]
    target = {field: sent[field] for field in known if field in sent}
    if _deeper_than(_DEEPEST_ECHO, target):
        return HttpError(400, "The body is nested too deeply")
    errors = []
    for field, key, text in broken_constraints(request, error):
        violation: dict[str, object] = {"target": target, "property": field}
        if field in target:
            violation["value"] = target[field]
        errors.append(violation | {"children": [], "constraints": {key: text}})
    return HttpError(400, "Bad Request Exception", {"errors": errors})


def _deeper_than(limit: int, value: object) -> bool:
    """Return whether JSON nests deeper than a limit; without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True


# --- Responses -------------------------------------------------------------------------

_Minutes = Annotated[int, Field(ge=1)]


class ReservationRead(ResponseBody):
    """A hold, as GET returns it."""

    event_type_id: int
    slot_start: datetime
    slot_end: datetime
    slot_duration: _Minutes
    reservation_uid: UUID
    reservation_until: datetime


class ReservationMade(ReservationRead):
    """A hold, as POST and PATCH return it."""

    reservation_duration: _Minutes


def held_body(
    event_type_id: int, start: int, end: int, uid: str, reservation_minutes: int, until: int
) -> bytes:
    """Return the success envelope of a `ReservationMade`; times are UTC microseconds.

    By hand, since nothing in it needs escaping: 1.7 µs, against 9.5 with pydantic.
    """
    return (
        f'{{"status":"success","data":{{"eventTypeId":{event_type_id},'
        f'"slotStart":"{stamp_us(start)}","slotEnd":"{stamp_us(end)}",'
        f'"slotDuration":{(end - start) // MINUTE},"reservationUid":"{uid}",'
        f'"reservationDuration":{reservation_minutes},"reservationUntil":"{stamp_us(until)}"}}}}'
    ).encode()
