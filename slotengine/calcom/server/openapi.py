"""The OpenAPI 3.1 document of the server.

Schemas of bodies, parameters and responses come from the models that validate requests,
and statuses from `wire`.  Only paths, headers and credentials are written here.
`docs_page` publishes the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from slotengine.calcom.server.models import Done, Error, InternalError, Success
from slotengine.calcom.server.reservations_wire import (
    Bounds,
    ReservationMade,
    ReservationRead,
    reservation_request,
)
from slotengine.calcom.server.slots_wire import QUERIES, SlotsByDate, SlotsQuery, own_parameters
from slotengine.calcom.wire import ERRORS, VERSION

Json = dict[str, Any]

ANY_ENDPOINT: Final = (400, 401, 404, 408, 413, 417, 429, 503)
"""The error statuses of all endpoints."""
_WITH_BODY: Final = (403, 415, 422)
"""The further error statuses of endpoints with a body."""


def document(bounds: Bounds, *, version: str) -> Json:
    """Return the document, with bounds for how long a hold may last.

    >>> sorted(document(Bounds(1, 60), version="1")["paths"])
    ['/v2/slots', '/v2/slots/reservations', '/v2/slots/reservations/{uid}']
    """
    request = reservation_request(bounds)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "slotengine",
            "version": version,
            "summary": f"Cal.com's slots API, {VERSION}: search slots, and hold them.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"clientId": [], "clientSecret": []}],
        "paths": {
            "/v2/slots": {"get": _search()},
            "/v2/slots/reservations": {"post": _post(request)},
            "/v2/slots/reservations/{uid}": {
                "parameters": [_uid()],
                "get": _get(),
                "patch": _patch(request),
                "delete": _delete(),
            },
        },
        "components": {
            "schemas": _schemas(request, *_RESPONSES),
            "responses": {f"Error{status}": _error(status) for status in ERRORS}
            | {"Error500": _internal_error()},
            "headers": _headers(),
            "parameters": {"Version": _version()},
            "securitySchemes": _security(),
        },
    }


# --- Schemas ---------------------------------------------------------------------------

_RESPONSES: Final = (SlotsByDate, ReservationRead, ReservationMade, Error, InternalError)
_REF: Final = "#/components/schemas/{model}"


class _Schemas(GenerateJsonSchema):
    """Generates schemas without titles of fields, which would repeat their names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _schemas(*models: type[BaseModel]) -> Json:
    """Return the schemas of models, and of those they refer to, by name."""
    _, shared = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF, schema_generator=_Schemas
    )
    schemas: Json = shared["$defs"]
    return schemas


def _schema(model: type[BaseModel]) -> Json:
    """Return the schema of a model, without those it refers to, which are components."""
    schema = model.model_json_schema(ref_template=_REF, schema_generator=_Schemas)
    return {key: value for key, value in schema.items() if key not in {"$defs", "title"}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


# --- Operations ------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    success: tuple[int, str, type[BaseModel]],
    *,
    parameters: tuple[Json, ...] = (),
    body: type[BaseModel] | None = None,
) -> Json:
    status, description, data = success
    errors = ANY_ENDPOINT if body is None else (*ANY_ENDPOINT, *_WITH_BODY)
    responses: Json = {
        str(status): {
            "description": description,
            "headers": _header_refs(),
            "content": _content(_schema(data)),
        }
    }
    for each in sorted((*errors, 500)):
        responses[str(each)] = {"$ref": f"#/components/responses/Error{each}"}
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": [{"$ref": "#/components/parameters/Version"}, *parameters],
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(_ref(body))}
    return operation


def _search() -> Json:
    return _operation(
        "searchSlots",
        "Search available slots of an event type, or of several users together",
        (200, "The available slots by date.", Success[SlotsByDate]),
        parameters=tuple(_query_parameters()),
    )


def _post(request: type[BaseModel]) -> Json:
    made = (201, "The hold, which expires by itself.", Success[ReservationMade])
    operation = _operation("holdSlot", "Hold a slot for some minutes", made, body=request)
    operation["responses"]["201"]["links"] = {
        name: {
            "operationId": name,
            "parameters": {"uid": "$response.body#/data/reservationUid"},
            "description": "An operation on the hold; anyone who knows its uid may use it.",
        }
        for name in ("readHold", "moveHold", "releaseHold")
    }
    return operation


def _get() -> Json:
    description = "The hold, also for an hour after it has expired; otherwise null."
    return _operation(
        "readHold", "Read a hold", (200, description, Success[ReservationRead | None])
    )


def _patch(request: type[BaseModel]) -> Json:
    moved = (200, "The hold after the move.", Success[ReservationMade])
    return _operation("moveHold", "Move a hold to another slot, and renew it", moved, body=request)


def _delete() -> Json:
    return _operation(
        "releaseHold",
        "Release a hold; without effect for any other uid",
        (200, "The slot is no longer held.", Done),
    )


# --- Parameters ------------------------------------------------------------------------


def _version() -> Json:
    return {
        "name": "cal-api-version",
        "in": "header",
        "required": True,
        "description": "Without it, or with another version, every path is a 404.",
        "schema": {"const": VERSION},
    }


def _uid() -> Json:
    return {
        "name": "uid",
        "in": "path",
        "required": True,
        "description": "The `reservationUid`.  Anyone who knows it may read, move or release it.",
        "schema": {"type": "string", "minLength": 1},
    }


def _query_parameters() -> list[Json]:
    """Return the parameters of the search, first those of every query."""
    required = set(_schema(SlotsQuery)["required"])
    properties: Json = {}
    for query in (SlotsQuery, *QUERIES):
        properties |= _schema(query)["properties"]
    return [
        _query_parameter(name, properties[name], required=name in required) for name in properties
    ]


def _query_parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> Json:
    meaning = schema["description"]
    groups = [own_parameters(query) for query in QUERIES]
    others = [[f"`{each}`" for each in own if each != name] for own in groups if name in own]
    if any(others):
        meaning += "; beside " + ", or ".join(" and ".join(each) for each in others)
    parameter: Json = {
        "name": name,
        "in": "query",
        "description": meaning,
        "schema": {key: value for key, value in schema.items() if key != "description"},
    }
    if required:
        parameter["required"] = True
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


# --- Responses -------------------------------------------------------------------------


def _error(status: int) -> Json:
    code, name = ERRORS[status]
    this = {"properties": {"error": {"properties": {"code": {"const": code}}}}}
    return {
        "description": name,
        "headers": _header_refs(),
        "content": _content({"allOf": [_ref(Error), this]}),
    }


def _internal_error() -> Json:
    return {
        "description": "Internal Server Error",
        "headers": _header_refs(),
        "content": _content(_ref(InternalError)),
    }


_RATE_LIMIT: Final = {
    "X-RateLimit-Limit-Default": "The requests allowed in a window",
    "X-RateLimit-Remaining-Default": "The requests left in the window",
    "X-RateLimit-Reset-Default": "Seconds until the window or the block ends",
}


def _headers() -> Json:
    number = {"type": "integer", "minimum": 0}
    return {
        "X-Request-Id": {
            "required": True,
            "description": "The id of the request in logs",
            "schema": {"type": "string", "format": "uuid"},
        }
    } | {name: {"description": meaning, "schema": number} for name, meaning in _RATE_LIMIT.items()}


def _header_refs() -> Json:
    return {
        name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *_RATE_LIMIT)
    }


def _security() -> Json:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "API key or access token"},
        "clientId": {"type": "apiKey", "in": "header", "name": "x-cal-client-id"},
        "clientSecret": {"type": "apiKey", "in": "header", "name": "x-cal-secret-key"},
    }
