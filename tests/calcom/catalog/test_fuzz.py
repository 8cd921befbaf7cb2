"""Whatever a catalog file has in it, it is read, or refused with `CatalogError`.

``HYPOTHESIS_PROFILE=long`` tries more.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.load import CatalogError, catalog_from, load_catalog
from tests.calcom.conftest import RIGHT

EXAMPLE: Final = (Path(__file__).parents[3] / "examples" / "catalog.toml").read_text()

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(
        ["sha256:", "env:HOME", "2030-01-01", "24:00", "Europe/Rome", "\ud800", 2**63, -1]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a catalog."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


def change(raw: Any, path: tuple[Any, ...], value: object) -> None:
    for part in path[:-1]:
        raw = raw[part]
    raw[path[-1]] = value


LIMITED: Final = RIGHT | {
    "rateLimits": {"apiKey": {"requests": 5, "windowSeconds": 5}},
    "quotas": {"address": {"holds": 5, "heldMinutes": "unlimited", "lifeMinutes": 60}},
}
changes = st.lists(st.tuples(st.sampled_from(places(LIMITED)), values), min_size=1, max_size=3)


def made(raw: object) -> None:
    with suppress(CatalogError):
        assert isinstance(catalog_from(raw, environ={}), Catalog)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(changes)
def test_a_catalog_with_anything_anywhere(changes: list[tuple[tuple[Any, ...], object]]) -> None:
    raw = copy.deepcopy(LIMITED)
    for path, value in changes:
        with suppress(TypeError, KeyError, IndexError):  # an earlier change took the place away
            change(raw, path, value)
    made(raw)


@given(values | st.dictionaries(st.sampled_from(list(LIMITED)), values))
def test_what_is_hardly_a_catalog(raw: object) -> None:
    made(raw)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(EXAMPLE)),
    until=st.integers(0, 40),
    put=st.binary(max_size=8)
    | st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")),
)
def test_a_file_with_anything_in_it(tmp_path: Path, at: int, until: int, put: bytes) -> None:
    file = tmp_path / "catalog.toml"
    raw = EXAMPLE.encode()
    file.write_bytes(raw[:at] + put + raw[at + until :])
    (tmp_path / "calendars").mkdir(exist_ok=True)
    with suppress(CatalogError):
        assert isinstance(load_catalog(file, environ={}), Catalog)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_json_with_anything_in_it(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "catalog.json"
    file.write_bytes(raw)
    with suppress(CatalogError):
        assert isinstance(load_catalog(file, environ={}), Catalog)
