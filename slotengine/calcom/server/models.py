"""What the models of the API have in common; each body, query and answer is declared as one.

A model says all there is to say of its JSON: `pydantic` validates by it, and the OpenAPI
document is made of it.  Requests are in `reservations_wire` and `slots_wire`, beside the
answers to them; the envelopes of all answers are here.

The original reports what is wrong with a request in the words of class-validator.  A field
carries those words as a `Constraint`, and `broken` finds them for an error of pydantic's.
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


class Model(BaseModel):
    """A JSON object; its keys are the names of the fields in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


# --- What is wrong with a request ------------------------------------------------------


class Constraint(NamedTuple):
    """What a field must be: the key and the text of class-validator, ``{field}`` to fill in."""

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
"""By the types of pydantic's errors; any other error breaks the constraint of the field itself."""


class Broken(NamedTuple):
    """A constraint that a request breaks."""

    field: str
    key: str
    text: str


def broken(model: type[Model], error: ValidationError) -> Iterator[Broken]:
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
        yield Broken(field, constraint.key, constraint.text.format(field=field, **bounds))


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
"""For a field whose None stands for a key that is absent, and never for null."""


# --- Answers ---------------------------------------------------------------------------


class Answer(Model):
    """JSON with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Success(Answer, Generic[T]):
    """The success envelope."""

    status: Literal["success"]
    data: T


class Done(Answer):
    """The success envelope without data."""

    status: Literal["success"]


class ErrorDetails(Answer):
    """The error once more, as the original's framework tells it."""

    model_config = ConfigDict(extra="allow")

    message: str
    error: str
    status_code: int


class Violation(Model):
    """What is wrong with one property of a body."""

    target: Annotated[dict[str, Any], Field(description="The body, without unknown properties")]
    property: str
    value: Annotated[Any, ABSENT, Field(description="What was sent, if anything was")] = None
    children: list[Any]
    constraints: Annotated[dict[str, str], Field(description="Texts, by the constraint broken")]


class Violations(Answer):
    """Everything that is wrong with a body."""

    errors: Annotated[list[Violation], Field(min_length=1)]


class ErrorFacts(Answer):
    """Which error it is."""

    code: str
    message: str
    details: ErrorDetails | Violations | str


class Error(Answer):
    """The error envelope."""

    status: Literal["error"]
    timestamp: datetime
    path: str
    error: ErrorFacts


class InternalError(Answer):
    """What answers a request that fails by a mistake of the server's."""

    status_code: Literal[500]
    message: str
