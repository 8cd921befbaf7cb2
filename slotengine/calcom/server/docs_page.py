"""The endpoints of the documentation: the OpenAPI document, and an HTML page of it.

The page is rendered once, from the document alone.  It loads nothing and runs no scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

import orjson

from slotengine.calcom.server.messages import COMMON_HEADERS, Response
from slotengine.calcom.server.responses import respond
from slotengine.engine.uids import new_uid

_PAGE_HEADERS: Final = COMMON_HEADERS | {"Content-Type": "text/html; charset=utf-8"}
_PAGE_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
}


class DocsPages:
    """The endpoints ``/openapi.json`` and ``/docs``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = orjson.dumps(document)
        self._page = render_page(document).encode()

    def openapi(self) -> Response:
        """Return the document."""
        return respond((200, self._document))

    def docs(self) -> Response:
        """Return the page."""
        return Response(200, self._page, _PAGE_HEADERS, new_uid(), _PAGE_POLICY)


_STYLE: Final = """
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{border:1px solid #8886;padding:.25rem .5rem;text-align:left;vertical-align:top}
pre{background:#8882;padding:.75rem;overflow:auto}code{font-size:.9em}
h2{border-top:1px solid #8886;padding-top:1rem}:root{color-scheme:light dark}
"""


def render_page(document: dict[str, Any]) -> str:
    """Render a document as HTML.

    >>> render_page({"info": {"title": "a<b", "version": "1", "summary": ""}, "paths": {}})[:57]
    '<!doctype html><html lang="en"><meta charset="utf-8"><tit'
    """
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    parts = (*_operations(document), *_schemas(document))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(info['summary'])}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a></p>'
        f"{''.join(parts)}</html>"
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if method == "parameters":
                continue
            name = f"{method.upper()} {path}"
            yield f'<h2 id="{escape(operation["operationId"])}"><code>{escape(name)}</code></h2>'
            yield f"<p>{escape(operation['summary'])}.</p>"
            yield _parameters(document, [*shared, *operation["parameters"]])
            if "requestBody" in operation:
                yield f"<p>Body: {_link(_schema_of(operation['requestBody']))}</p>"
            yield _responses(document, operation["responses"])


def _parameters(document: dict[str, Any], parameters: list[dict[str, Any]]) -> str:
    rows = []
    for parameter in (_resolved(document, each) for each in parameters):
        needed = "yes" if parameter.get("required") else ""
        schema = escape(orjson.dumps(_brief(parameter["schema"])).decode())
        where = f"{escape(parameter['name'])}</code> ({parameter['in']})"
        rows.append(
            f"<tr><td><code>{where}<td>{needed}<td>{escape(parameter['description'])}"
            f"<td><code>{schema}</code>"
        )
    return f"<table><tr><th>Parameter<th>Required<th>Meaning<th>Schema{''.join(rows)}</table>"


def _brief(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in {"description", "examples"}}


def _responses(document: dict[str, Any], responses: dict[str, Any]) -> str:
    rows = []
    for status, each in responses.items():
        response = _resolved(document, each)
        schema = _schema_of(response)
        rows.append(f"<tr><td>{status}<td>{escape(response['description'])}<td>{_link(schema)}")
    return f"<table><tr><th>Status<th>Meaning<th>Body{''.join(rows)}</table>"


def _resolved(document: dict[str, Any], each: dict[str, Any]) -> dict[str, Any]:
    """Resolve a reference; anything else is returned unchanged."""
    if "$ref" not in each:
        return each
    found: dict[str, Any] = document
    for part in each["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _schema_of(message: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = message["content"]["application/json"]["schema"]
    return schema


def _link(schema: dict[str, Any]) -> str:
    """Return links to the schemas that a body refers to."""
    text = orjson.dumps(schema).decode()
    names = dict.fromkeys(part.split('"')[0] for part in text.split('"#/components/schemas/')[1:])
    links = (f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    return ", ".join(links) or f"<code>{escape(text)}</code>"


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        shown = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><pre>{escape(shown)}</pre>'
