"""What the server offers, as an OpenAPI 3.1 document.

Statuses, bounds, field and parameter names are those that the code validates by;
tests hold the rest, types and what must be given, against it too.  Pure: makes a
value, which `docs_page` publishes.
"""

from __future__ import annotations

from typing import Any, Final

from slotengine.calcom.server.slots_wire import LONGEST, QUERY_GROUPS
from slotengine.calcom.wire import ERRORS, VERSION, Bounds

Json = dict[str, Any]

_DATE: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

ALWAYS: Final = (400, 401, 404, 408, 413, 417, 429, 503)
"""The statuses of errors that any endpoint can answer with, by what surrounds it."""

# Of each operation, beside those.
_WITH_BODY: Final = (403, 415, 422)


def document(bounds: Bounds, *, version: str) -> Json:
    """Return the document; holds may be asked for within the bounds, in minutes.

    >>> sorted(document(Bounds(1, 60), version="1")["paths"])
    ['/v2/slots', '/v2/slots/reservations', '/v2/slots/reservations/{uid}']
    """
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
            "/v2/slots/reservations": {"post": _post()},
            "/v2/slots/reservations/{uid}": {
                "parameters": [_uid()],
                "get": _get(),
                "patch": _patch(),
                "delete": _delete(),
            },
        },
        "components": {
            "schemas": _schemas(bounds),
            "responses": {f"Error{status}": _error(status) for status in ERRORS}
            | {"Error500": _bug()},
            "headers": _headers(),
            "parameters": {"Version": _version()},
            "securitySchemes": _security(),
        },
    }


# --- Operations ------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    success: tuple[int, str, Json],
    *,
    parameters: tuple[Json, ...] = (),
    body: bool = False,
) -> Json:
    status, description, schema = success
    statuses = (*ALWAYS, *(_WITH_BODY if body else ()))
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": [{"$ref": "#/components/parameters/Version"}, *parameters],
        "responses": {
            str(status): {
                "description": description,
                "headers": _header_refs(),
                "content": {"application/json": {"schema": schema}},
            }
        }
        | {
            str(each): {"$ref": f"#/components/responses/Error{each}"}
            for each in sorted((*statuses, 500))
        },
    }
    if body:
        content = {"application/json": {"schema": _ref("ReservationRequest")}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _success(data: Json | None) -> Json:
    properties: Json = {"status": {"const": "success"}}
    if data is not None:
        properties["data"] = data
    return {"type": "object", "properties": properties, "required": list(properties)}


def _search() -> Json:
    shown = (200, "The slots that can be had, by date, in order.", _success(_ref("Slots")))
    return _operation(
        "searchSlots",
        "Search slots, of one event type or of several users together",
        shown,
        parameters=tuple(_query_parameter(name) for name in QUERY_PARAMETERS),
    )


def _post() -> Json:
    made = (201, "The hold, which lapses by itself.", _success(_ref("ReservationMade")))
    operation = _operation("holdSlot", "Hold a slot for some minutes", made, body=True)
    operation["responses"]["201"]["links"] = {
        name: {
            "operationId": name,
            "parameters": {"uid": "$response.body#/data/reservationUid"},
            "description": "What can be done with it; whoever knows its uid may.",
        }
        for name in ("readHold", "moveHold", "releaseHold")
    }
    return operation


def _get() -> Json:
    data = {"anyOf": [_ref("Reservation"), {"type": "null"}]}
    read = (200, "The hold, also for an hour after it has lapsed; else null.", _success(data))
    return _operation("readHold", "Read a hold", read)


def _patch() -> Json:
    moved = (200, "The hold as it is now.", _success(_ref("ReservationMade")))
    return _operation("moveHold", "Move a hold to another slot, and renew it", moved, body=True)


def _delete() -> Json:
    return _operation(
        "releaseHold",
        "Release a hold; whatever else the uid is, nothing happens",
        (200, "It is held no longer.", _success(None)),
    )


# --- Parameters ------------------------------------------------------------------------


def _version() -> Json:
    return {
        "name": "cal-api-version",
        "in": "header",
        "required": True,
        "description": "Without it, or with another, there is no such endpoint: 404.",
        "schema": {"const": VERSION},
    }


def _uid() -> Json:
    return {
        "name": "uid",
        "in": "path",
        "required": True,
        "description": "The `reservationUid`.  Whoever has it may read, move and release the hold.",
        "schema": {"type": "string", "minLength": 1},
    }


_INTEGER: Final[Json] = {"type": "integer", "format": "int64"}
_TEXT: Final[Json] = {"type": "string"}
_MOMENT: Final[Json] = {
    "type": "string",
    "description": "ISO 8601; in UTC unless it carries an offset, and a date alone is its midnight",
    "examples": ["2050-09-05", "2050-09-05T09:00:00Z"],
}

QUERY_PARAMETERS: Final[dict[str, tuple[str, Json]]] = {
    "start": ("The earliest start", _MOMENT),
    "end": ("Until when; a midnight is the end of that day", _MOMENT),
    "timeZone": ("An IANA name; times and dates are shown in that zone", _TEXT),
    "duration": (
        "In minutes; one of the event type's",
        {"type": "integer", "minimum": 1, "maximum": LONGEST},
    ),
    "format": (
        "With `range` each slot has its end, too",
        {"type": "string", "enum": ["time", "range", ""]},
    ),
    "bookingUidToReschedule": ("A booking or hold that is not in the way", _TEXT),
    "rrHostSubsetIds": (
        "Round robin: the only users who may host",
        {"type": "array", "items": _INTEGER},
    ),
    "eventTypeId": ("An event type, by its id", _INTEGER | {"examples": [1]}),
    "eventTypeSlug": ("An event type of `username` or `teamSlug`", _TEXT),
    "username": ("Whose event type", _TEXT),
    "teamSlug": ("Which team's event type", _TEXT),
    "usernames": (
        "No event type: when all of these are free",
        {"type": "array", "items": {"type": "string"}, "minItems": 2},
    ),
    "organizationSlug": ("Of which organization the user, team or users are", _TEXT),
}
"""What each parameter of the search means, and its schema."""

_NEEDED: Final = frozenset({"start", "end"})


def _query_parameter(name: str) -> Json:
    meaning, schema = QUERY_PARAMETERS[name]
    groups = [group for group in QUERY_GROUPS if name in group]
    if groups:
        meaning += "; for " + ", or ".join(" with ".join(f"`{one}`" for one in g) for g in groups)
    parameter: Json = {"name": name, "in": "query", "description": meaning, "schema": schema}
    if name in _NEEDED:
        parameter["required"] = True
    if schema["type"] == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


# --- Schemas ---------------------------------------------------------------------------


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _schemas(bounds: Bounds) -> Json:
    return {
        "ReservationRequest": _request(bounds),
        "Reservation": _reservation(made=False),
        "ReservationMade": _reservation(made=True),
        "Slots": {
            "type": "object",
            "propertyNames": {"pattern": _DATE},
            "additionalProperties": {"type": "array", "items": _ref("Slot"), "minItems": 1},
        },
        "Slot": _slot(),
        "Error": _envelope(),
        "ErrorDetails": {
            "type": "object",
            "required": ["message", "error", "statusCode"],
            "properties": {"message": _TEXT, "error": _TEXT, "statusCode": {"type": "integer"}},
        },
        "Violations": _violations(),
    }


def _request(bounds: Bounds) -> Json:
    hold: Json = {"type": ["integer", "null"], "minimum": bounds.least}
    if bounds.most is not None:
        hold["maximum"] = bounds.most
    length = {"description": "In minutes, as a number or text; one of the event type's"}
    lengths = [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": "^0*[1-9][0-9]*$", "maxLength": 18},
        {"type": "null"},
    ]
    return {
        "type": "object",
        "description": "Other properties are dropped.",
        "required": ["eventTypeId", "slotStart"],
        "properties": {
            "eventTypeId": {"type": "integer"},
            "slotStart": _MOMENT,
            "slotDuration": length | {"anyOf": lengths},
            "reservationDuration": hold
            | {"description": "How long to hold, in minutes; only with credentials"},
        },
        "examples": [{"eventTypeId": 1, "slotStart": "2050-09-05T09:00:00Z"}],
    }


def _reservation(*, made: bool) -> Json:
    moment = {"type": "string", "format": "date-time"}
    minutes = {"type": "integer", "minimum": 1}
    properties: Json = {
        "eventTypeId": {"type": "integer"},
        "slotStart": moment,
        "slotEnd": moment,
        "slotDuration": minutes,
        "reservationUid": {"type": "string", "format": "uuid"},
    }
    if made:
        properties["reservationDuration"] = minutes
    properties["reservationUntil"] = moment
    return _exactly(properties)


def _slot() -> Json:
    moment = {"type": "string", "format": "date-time"}
    seats = {"type": "integer", "minimum": 0}
    return _exactly(
        {
            "start": moment,
            "end": moment | {"description": "With `format=range`"},
            "seatsBooked": seats,
            "seatsRemaining": seats,
            "seatsTotal": seats,
            "bookingUid": _TEXT,
        },
        required=["start"],
    )


def _exactly(properties: Json, required: list[str] | None = None) -> Json:
    return {
        "type": "object",
        "required": list(properties) if required is None else required,
        "properties": properties,
        "additionalProperties": False,
    }


def _envelope() -> Json:
    details = {"anyOf": [_ref("ErrorDetails"), _ref("Violations"), _TEXT]}
    error = _exactly({"code": _TEXT, "message": _TEXT, "details": details})
    timestamp = {"type": "string", "format": "date-time"}
    return _exactly(
        {"status": {"const": "error"}, "timestamp": timestamp, "path": _TEXT, "error": error}
    )


def _violations() -> Json:
    constraints = {"type": "object", "additionalProperties": _TEXT}
    violation = {
        "type": "object",
        "required": ["target", "property", "children", "constraints"],
        "properties": {
            "target": {"type": "object"},
            "property": _TEXT,
            "value": {},
            "children": {"type": "array"},
            "constraints": constraints,
        },
    }
    return _exactly({"errors": {"type": "array", "items": violation, "minItems": 1}})


# --- Answers ---------------------------------------------------------------------------


def _error(status: int) -> Json:
    code, name = ERRORS[status]
    this = {"properties": {"error": {"properties": {"code": {"const": code}}}}}
    return {
        "description": name,
        "headers": _header_refs(),
        "content": {"application/json": {"schema": {"allOf": [_ref("Error"), this]}}},
    }


def _bug() -> Json:
    schema = _exactly({"statusCode": {"const": 500}, "message": _TEXT})
    return {
        "description": "Internal Server Error",
        "headers": _header_refs(),
        "content": {"application/json": {"schema": schema}},
    }


_RATE_LIMIT: Final = {
    "X-RateLimit-Limit-Default": "How many requests a window has",
    "X-RateLimit-Remaining-Default": "How many of them are left",
    "X-RateLimit-Reset-Default": "Seconds until all begins anew",
}


def _headers() -> Json:
    number = {"type": "integer", "minimum": 0}
    return {
        "X-Request-Id": {
            "required": True,
            "description": "What names this request in logs",
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
