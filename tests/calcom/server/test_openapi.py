"""The OpenAPI document by itself: valid, and saying what the code does; and the page made of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from slotengine.calcom.server.docs_page import render_page
from slotengine.calcom.server.openapi import ANY_ENDPOINT, document
from slotengine.calcom.server.reservations_wire import BodyReader, Bounds
from slotengine.calcom.server.slots_wire import QUERIES, parse_query
from slotengine.calcom.wire import ERRORS, VERSION, HttpError
from tests.calcom.server.api import PATH, SEARCH, Api
from tests.calcom.server.api import VERSION as HEADERS

BOUNDS: Final = Bounds(1, 90)
DOCUMENT: Final = document(BOUNDS, version=VERSION)
SCHEMAS: Final = DOCUMENT["components"]["schemas"]
READER: Final = BodyReader(BOUNDS)
REQUEST: Final = OAS31Validator(SCHEMAS["ReservationRequest"])


@pytest.mark.parametrize("bounds", [BOUNDS, Bounds(1), Bounds(7, 7)])
def test_the_document_is_valid(bounds: Bounds) -> None:
    raw = document(bounds, version=VERSION)
    assert list(OpenAPIV31SpecValidator(raw).iter_errors()) == []
    assert orjson.loads(orjson.dumps(raw)) == raw


def test_a_wrong_document_would_be_found() -> None:
    raw = document(BOUNDS, version=VERSION)
    del raw["components"]["schemas"]["SlotShown"]
    raw["paths"][SEARCH]["get"]["responses"] = {}
    assert list(OpenAPIV31SpecValidator(raw).iter_errors())


def operations() -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for item in DOCUMENT["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_every_status_that_there_is_is_an_answer_of_something() -> None:
    statuses = {int(each) for one in operations().values() for each in one["responses"]}
    assert statuses == {200, 201, 500, *ERRORS}
    for operation in operations().values():
        assert {str(status) for status in ANY_ENDPOINT} < operation["responses"].keys()


# --- The body --------------------------------------------------------------------------

numbers = st.integers(-2, 100) | st.sampled_from([30.0, 1.5, 2**53, True, -1.0])
values = numbers | st.none() | st.sampled_from(["30", "0", "030", "-3", "x", "", [], {}, "9" * 19])
starts: st.SearchStrategy[object] = st.sampled_from(
    ["2050-09-05", "2050-09-05T10:00:00Z", 5, None, []]
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "eventTypeId": values,
        "slotStart": starts,
        "slotDuration": values,
        "reservationDuration": values,
        "other": values,
    },
)


@given(bodies | values)
def test_a_body_is_right_if_the_document_says_so(body: Any) -> None:
    try:
        READER.read(orjson.dumps(body))
    except HttpError:
        assert not REQUEST.is_valid(body)
    else:
        assert REQUEST.is_valid(body)


# --- The query -------------------------------------------------------------------------


PARAMETERS: Final = {
    each["name"]: each for each in operations()["searchSlots"]["parameters"] if "name" in each
}


def test_every_parameter_is_in_the_document() -> None:
    names = {field.alias for query in QUERIES for field in query.model_fields.values()}
    assert PARAMETERS.keys() == names


RIGHT: Final = {"eventTypeId": "1", "start": "2050-09-05", "end": "2050-09-05"}


@given(st.integers(-5, 600_000))
def test_a_duration_is_right_if_the_document_says_so(duration: int) -> None:
    schema = OAS31Validator(PARAMETERS["duration"]["schema"])
    try:
        parse_query((RIGHT | {"duration": str(duration)}).items())
    except HttpError:
        assert not schema.is_valid(duration)
    else:
        assert schema.is_valid(duration)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_what_must_be_given(name: str) -> None:
    with pytest.raises(HttpError):
        parse_query((key, value) for key, value in RIGHT.items() if key != name)
    assert PARAMETERS[name].get("required", False) is (name != "eventTypeId")  # there are others


@pytest.mark.parametrize("format_", PARAMETERS["format"]["schema"]["enum"])
def test_every_format_is_one(format_: str) -> None:
    parse_query((RIGHT | {"format": format_}).items())


# --- The page --------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects where a page leads, and what can be led to."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: set[str] = set()
        self.ids: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert value is not None
            if name in {"href", "src"}:
                self.leads.add(value)
            elif name == "id":
                self.ids.add(value)


def test_the_page_shows_all_and_needs_nothing_from_elsewhere() -> None:
    shown = render_page(DOCUMENT)
    links = Links()
    links.feed(shown)
    assert operations().keys() | SCHEMAS.keys() == links.ids
    assert links.leads - {"/openapi.json"} <= {f"#{name}" for name in links.ids}
    assert links.leads - {"/openapi.json"}
    assert not links.tags & {"script", "link", "img", "iframe"}
    assert not re.search("url\\(|@import", shown)


def test_the_page_is_safe_whatever_the_document_says() -> None:
    raw = document(BOUNDS, version="<script>")
    raw["paths"][SEARCH]["get"]["summary"] = "<script>"
    raw["components"]["schemas"]["SlotShown"]["description"] = "</pre><script>"
    links = Links()
    links.feed(render_page(raw))
    assert "script" not in links.tags


# --- Over the wire ---------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, HEADERS])
async def test_both_are_published(api: Api, headers: dict[str, str]) -> None:
    answer = await api.session.get("/openapi.json", headers=headers)
    assert (answer.status, answer.content_type) == (200, "application/json")
    published = await answer.json()
    assert published["paths"].keys() == {SEARCH, PATH, f"{PATH}/{{uid}}"}
    answer = await api.session.get("/docs", headers=headers)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert await answer.text() == render_page(published)


@pytest.mark.anyio
async def test_neither_can_be_posted_to(api: Api) -> None:
    for path in ("/openapi.json", "/docs"):
        assert (await api.session.post(path, headers=HEADERS)).status == 404
