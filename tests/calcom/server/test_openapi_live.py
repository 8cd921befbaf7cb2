"""The server does what its OpenAPI document says, whatever is sent, over real connections.

Schemathesis makes requests of the document, right and wrong ones, and holds the
answers against it.  ``HYPOTHESIS_PROFILE=long`` makes more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from slotengine.calcom.server.openapi import document
from slotengine.calcom.server.reservations_wire import Bounds
from slotengine.calcom.wire import VERSION
from tests.calcom.server.api import OAUTH, OWNER, RAW_CATALOG


def operations(schema: Any) -> dict[str, Any]:
    return {each.ok().label: each.ok() for each in schema.get_all_operations()}


SCHEMA: Final = schemathesis.openapi.from_dict(document(Bounds(1, 1440), version=VERSION))
OPERATIONS: Final = operations(SCHEMA)
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
REFUSED: Final = {400, 401, 404}
CREDENTIALS: Final[list[dict[str, str]]] = [{}, OWNER, OAUTH, {"Authorization": "Bearer cal_x"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    catalog = tmp_path_factory.mktemp("openapi") / "catalog.json"
    unlimited = {"rateLimits": {"disabled": True}, "quotas": {"disabled": True}}
    catalog.write_text(json.dumps(RAW_CATALOG | unlimited))
    command = [sys.executable, "-m", "slotengine", "serve", "--catalog", str(catalog), "--port=0"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[2]
        finally:
            process.terminate()


def test_the_server_publishes_the_document(url: str) -> None:
    assert schemathesis.openapi.from_url(f"{url}/openapi.json").raw_schema == SCHEMA.raw_schema


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_documented(url: str, label: str, mode: GenerationMode) -> None:
    statuses = answers(url, OPERATIONS[label], mode)
    # A run in which all is refused, or nothing is, would show little.
    assert statuses if mode is GenerationMode.POSITIVE else statuses & REFUSED


def answers(url: str, operation: Any, mode: GenerationMode) -> set[int]:
    """Make requests, hold each answer against the document, and return the statuses."""
    statuses: set[int] = set()

    @settings(
        max_examples=max(15, settings().max_examples // 4),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode), credentials=st.sampled_from(CREDENTIALS)
    )
    def answered(case: Any, credentials: dict[str, str]) -> None:
        response = case.call(base_url=url, headers=credentials, timeout=10)
        case.validate_response(response, checks=CHECKS)
        statuses.add(response.status_code)

    answered()
    return statuses


def test_an_answer_that_is_not_documented_is_found(url: str) -> None:
    raw = document(Bounds(1, 1440), version=VERSION)
    raw["components"]["schemas"]["Error"]["properties"]["path"] = {"type": "integer"}
    wrong = schemathesis.openapi.from_dict(raw)
    operation = operations(wrong)["GET /v2/slots"]
    with pytest.raises(FailureGroup):
        answers(url, operation, GenerationMode.NEGATIVE)
