"""The base of the models of the API, and the envelopes of its responses.

Every body, query and response is declared once, as a model: pydantic validates requests
by it, and the OpenAPI document is made of it.  Those of reservations are in
`reservations_wire`, those of the search in `slots_wire`.

The original reports invalid requests in the words of class-validator.  A field carries
those words as a `Constraint`, and `broken_constraints` finds them for an error of pydantic's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from slotengine.calcom.wire import integer

T = TypeVar("T")


class ApiModel(BaseModel):
    """A JSON object; its keys are the names of the fields in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


# --- Constraints -----------------------------------------------------------------------


class Constraint(NamedTuple):
    """The name of a constraint and its text, in which ``{field}`` stands for the field's name."""

    key: str
    text: str


IS_INT: Final = Constraint("isInt", "{field} must be an integer number")
IS_NUMBER: Final = Constraint(
    "isNumber", "{field} must be a number conforming to the specified constraints"
)
IS_STRING: Final = Constraint("isString", "{field} must be a string")
IS_TIME: Final = Constraint("isDateString", "{field} must be a valid ISO 8601 date string")

_BOUNDS: Final = {
    "greater_than_equal": Constraint("min", "{field} must not be less than {ge}"),
    "less_than_equal": Constraint("max", "{field} must not be greater than {le}"),
    "extra_forbidden": Constraint("whitelistValidation", "property {field} should not exist"),
}
"""Constraints by the type of pydantic's error; any other breaks the field's own constraint."""


class BrokenConstraint(NamedTuple):
    """A constraint that a field breaks."""

    field: str
    key: str
    text: str


def broken_constraints(model: type[ApiModel], error: ValidationError) -> Iterator[BrokenConstraint]:
    """Yield the constraint behind each error, in the order of the model's fields."""
    own = {
        field.alias: each
        for field in model.model_fields.values()
        for each in field.metadata
        if isinstance(each, Constraint)
    }
    for detail in error.errors(include_url=False, include_input=False):
        field = str(detail["loc"][0])
        constraint = _BOUNDS.get(detail["type"]) or own[field]
        bounds = detail.get("ctx", {})
        yield BrokenConstraint(field, constraint.key, constraint.text.format(field=field, **bounds))


# --- Values of requests ----------------------------------------------------------------


def whole(value: object) -> int:
    """Return a JSON number without a fraction as an int.  Raises `ValueError`."""
    number = integer(value)
    if number is None:
        raise ValueError("not a whole number")
    return number


Whole = Annotated[int, BeforeValidator(whole)]

TIME: Final[JsonDict] = {
    "type": "string",
    "description": "ISO 8601; in UTC unless it has an offset, and a date alone is its midnight",
    "examples": ["2050-09-05", "2050-09-05T09:00:00Z"],
}
"""The JSON Schema of a time in a request."""


def _never_null(schema: JsonDict) -> None:
    choices = schema.pop("anyOf", None)
    if isinstance(choices, list) and isinstance(choices[0], dict):
        schema.update(choices[0])
    if schema.get("default") is None:
        schema.pop("default", None)


ABSENT: Final = Field(json_schema_extra=_never_null)
"""Marks a field whose None stands for an absent key, never for null."""


# --- Responses -------------------------------------------------------------------------


class ResponseBody(ApiModel):
    """A JSON object with no other keys than these."""

    model_config = ConfigDict(extra="forbid")


class Success(ResponseBody, Generic[T]):
    """The success envelope."""

    status: Literal["success"]
    data: T


class Done(ResponseBody):
    """The success envelope without data."""

    status: Literal["success"]


class ErrorDetails(ResponseBody):
    """The error as the original's framework reports it."""

    model_config = ConfigDict(extra="allow")

    message: str
    error: str
    status_code: int


class Violation(ApiModel):
    """One invalid property of a body."""

    target: Annotated[dict[str, Any], Field(description="The body without unknown properties")]
    property: str
    value: Annotated[Any, ABSENT, Field(description="The value sent; absent if none was")] = None
    children: list[Any]
    constraints: Annotated[dict[str, str], Field(description="Messages by broken constraint")]


class Violations(ResponseBody):
    """All invalid properties of a body."""

    errors: Annotated[list[Violation], Field(min_length=1)]


class ErrorFacts(ResponseBody):
    """The code and message of an error."""

    code: str
    message: str
    details: ErrorDetails | Violations | str


class Error(ResponseBody):
    """The error envelope."""

    status: Literal["error"]
    timestamp: datetime
    path: str
    error: ErrorFacts


class InternalError(ResponseBody):
    """The response to a request that fails by a bug of the server."""

    status_code: Literal[500]
    message: str
